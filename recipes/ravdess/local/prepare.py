#!/usr/bin/env python3
"""RAVDESS speech as a Kaldi data directory.

File name: modality-channel-emotion-intensity-statement-repetition-actor, such as 03-01-06-01-02-01-12.wav.
Audio (03) of speech (01) is taken, in any format libsndfile reads, at any rate; video and song are not.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="ravdess",
    pattern=re.compile(r"03-01-(?P<code>\d\d)-\d\d-\d\d-\d\d-(?P<speaker>\d\d)"),
    example="03-01-06-01-02-01-12.wav",
    home="the folder with Actor_01 ... Actor_24",
    labels=RECIPE / "conf" / "labels.yaml",
    published={"01": 96, **{f"{code:02}": 192 for code in range(2, 9)}},   # neutral has no strong intensity
    speakers=24,
    rate=48000,
    sexes={f"{actor:02}": "fm"[actor % 2] for actor in range(1, 25)},   # odd actors are men
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
