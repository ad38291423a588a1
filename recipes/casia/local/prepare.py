#!/usr/bin/env python3
"""CASIA as a Kaldi data directory.

The published folder has wangzhe/angry/201.wav: speaker, emotion, sentence. Any format that libsndfile reads, at any
rate.
"""

import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, prepare  # noqa: E402

CORPUS = NamedCorpus(
    prefix="casia",
    pattern=re.compile(
        r"(?P<speaker>liuchanhg|wangzhe|zhaoquanyin|ZhaoZuoxiang)/(?P<code>angry|fear|happy|neutral|sad|surprise)/\d{3}"
    ),
    example="wangzhe/angry/201.wav",
    home="the folder with liuchanhg, wangzhe, zhaoquanyin and ZhaoZuoxiang",
    labels=RECIPE / "conf" / "labels.yaml",
    published=dict.fromkeys(("angry", "fear", "happy", "neutral", "sad", "surprise"), 200),
    speakers=4,
    rate=16000,
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
