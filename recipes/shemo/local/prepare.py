#!/usr/bin/env python3
"""ShEMO as a Kaldi data directory.

File name: sex and number of the speaker, letter of the emotion, number, such as female/F01A01.wav. Any format that
libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="shemo",
    pattern=re.compile(r"(?P<speaker>(?P<sex>[FM])\d\d)(?P<code>[AFHNSW])\d+"),
    example="F01A01.wav",
    home="the folder with female and male",
    labels=RECIPE / "conf" / "labels.yaml",
    published={"A": 1059, "F": 38, "H": 201, "N": 1028, "S": 449, "W": 225},
    speakers=87,
    rate=44100,
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
