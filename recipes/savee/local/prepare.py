#!/usr/bin/env python3
"""SAVEE as a Kaldi data directory.

The published folder has AudioData/DC/a01.wav: speaker, then letters of the emotion and number. Copies in one folder
call it DC_a01.wav. Any format that libsndfile reads, at any rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="savee",
    pattern=re.compile(r"(?P<speaker>DC|JE|JK|KL)[/_](?P<code>a|d|f|h|n|sa|su)\d\d"),
    example="DC/a01.wav or DC_a01.wav",
    home="the folder AudioData",
    labels=RECIPE / "conf" / "labels.yaml",
    published={**dict.fromkeys(("a", "d", "f", "h", "sa", "su"), 60), "n": 120},
    speakers=4,
    rate=44100,
    sexes=dict.fromkeys(("DC", "JE", "JK", "KL"), "m"),
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
