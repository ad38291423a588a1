#!/usr/bin/env python3
"""EMOVO as a Kaldi data directory.

File name: emotion, actor and sentence, such as EMOVO/f1/dis-f1-b1.wav. Any format that libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="emovo",
    pattern=re.compile(r"(?P<code>neu|dis|gio|pau|rab|sor|tri)-(?P<speaker>(?P<sex>[fm])[123])-[bdln]\d"),
    example="dis-f1-b1.wav",
    home="the folder EMOVO with f1 ... m3",
    labels=RECIPE / "conf" / "labels.yaml",
    published=dict.fromkeys(("neu", "dis", "gio", "pau", "rab", "sor", "tri"), 84),
    speakers=6,
    rate=48000,
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
