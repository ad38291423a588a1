#!/usr/bin/env python3
"""EMO-DB as a Kaldi data directory.

File name: speaker (2 characters), text (3), emotion (1), version (1), such as 03a01Fa.wav. Any format that
libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="emodb",
    pattern=re.compile(r"(?P<speaker>\d\d)[ab]\d\d(?P<code>[A-Z])[a-z]?"),
    example="03a01Fa.wav",
    home="the folder wav",
    labels=RECIPE / "conf" / "labels.yaml",
    published={"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "N": 79, "T": 62},
    speakers=10,
    rate=16000,
    sexes={**dict.fromkeys(("03", "10", "11", "12", "15"), "m"), **dict.fromkeys(("08", "09", "13", "14", "16"), "f")},
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
