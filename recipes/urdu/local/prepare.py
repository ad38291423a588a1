#!/usr/bin/env python3
"""URDU as a Kaldi data directory.

File name: sex and number of the speaker, number of the file, letter and number of the emotion, such as
Angry/SM1_F1_A01.wav. Any format that libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="urdu",
    pattern=re.compile(r"(?P<speaker>S(?P<sex>[FM])\d+)_F\d+_(?P<code>[AHNS])\d+"),
    example="SM1_F1_A01.wav",
    home="the folder with Angry, Happy, Neutral and Sad",
    labels=RECIPE / "conf" / "labels.yaml",
    published=dict.fromkeys("AHNS", 100),
    speakers=29,
    rate=44100,
    cut=True,   # to two seconds or to three
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
