#!/usr/bin/env python3
"""TESS as a Kaldi data directory.

File name: speaker, word, emotion, such as OAF_Fear/OAF_back_fear.wav. Any format that libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="tess",
    pattern=re.compile(   # OA_bite_neutral.wav is published without its F
        r"(?P<speaker>OA|YA)F?_[a-z]+_(?P<code>angry|disgust|fear|happy|neutral|ps|sad)"
    ),
    example="OAF_back_fear.wav",
    home="the folder with OAF_angry ... YAF_sad",
    labels=RECIPE / "conf" / "labels.yaml",
    published=dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"), 400),
    speakers=2,
    rate=24414,
    sexes={"OA": "f", "YA": "f"},   # the older and the younger actress
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
