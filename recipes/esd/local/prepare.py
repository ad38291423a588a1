#!/usr/bin/env python3
"""ESD as a Kaldi data directory.

The published folder has 0001/Angry/0001_000351.wav; older copies have evaluation, test and train below the emotion.
Any format that libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

WOMEN = ("0001", "0002", "0003", "0007", "0009", "0015", "0016", "0017", "0018", "0019")
CORPUS = NamedCorpus(
    prefix="esd",
    pattern=re.compile(
        r"(?P<speaker>00\d\d)/(?P<code>Angry|Happy|Neutral|Sad|Surprise)/(?:(?:evaluation|test|train)/)?"
        r"(?P<name>(?P=speaker)_\d{6})"
    ),
    example="0001/Angry/0001_000351.wav",
    home="the folder with 0001 ... 0020",
    labels=RECIPE / "conf" / "labels.yaml",
    published=dict.fromkeys(("Angry", "Happy", "Neutral", "Sad", "Surprise"), 7000),
    speakers=20,
    rate=16000,
    sexes={f"{n:04}": "f" if f"{n:04}" in WOMEN else "m" for n in range(1, 21)},
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
