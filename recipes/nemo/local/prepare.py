#!/usr/bin/env python3
"""nEMO as a Kaldi data directory.

data.tsv tells of every recording who speaks, how, and of which sex the speaker is. It calls files .wav; any format
that libsndfile reads will do, at any rate, as long as the name before the extension is the same.
"""

import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import TabledCorpus, prepare  # noqa: E402

CORPUS = TabledCorpus(
    prefix="nemo",
    example="WR0_surprised_64.wav",
    home="the folder with data.tsv and samples",
    labels=RECIPE / "conf" / "labels.yaml",
    published={"anger": 749, "fear": 736, "happiness": 749, "neutral": 809, "sadness": 769, "surprised": 669},
    speakers=9,
    rate=24000,
    table="data.tsv",
    columns=("file_id", "speaker_id", "emotion", "gender"),
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
