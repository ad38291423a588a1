#!/usr/bin/env python3
"""The JL corpus as a Kaldi data directory.

File name: speaker, emotion, sentence with its half, session, such as female1_angry_2a_2.wav. Any format that libsndfile
reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

EMOTIONS = (
    "angry", "excited", "happy", "neutral", "sad",   # primary
    "anxious", "apologetic", "assertive", "concerned", "encouraging",
)
CORPUS = NamedCorpus(
    prefix="jl",
    pattern=re.compile(rf"(?P<speaker>(?:fe)?male[12])_(?P<code>{'|'.join(EMOTIONS)})_\d+[ab]_[12]"),
    example="female1_angry_2a_2.wav",
    home="the folder JL(wav+txt)",
    labels=RECIPE / "conf" / "labels.yaml",
    published=dict.fromkeys(EMOTIONS, 240),
    speakers=4,
    rate=44100,
    sexes={"female1": "f", "female2": "f", "male1": "m", "male2": "m"},
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
