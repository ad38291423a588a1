#!/usr/bin/env python3
"""Does what `explain` names matter? The label's probability once parts of the spectrogram are deleted, best first.

    local/deletion.py EXP:DATA_DIR...     models, each with a data directory of speakers that it never heard
"""

import argparse
from pathlib import Path

import numpy as np

from emotion import Analyzer, datadir
from emotion.explain import deletion, explain

SHARES = (0.0, 0.05, 0.1, 0.2, 0.4)
COUNT = 20   # recordings of each model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="EXP:DATA_DIR")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    curves: dict[str, list[np.ndarray]] = {"relevance": [], "random": []}
    for exp, directory in (model.rsplit(":", 1) for model in options.models):
        analyzer, utterances = Analyzer(Path(exp)), datadir.read(directory)
        if heard := {*analyzer.checkpoint.train_speakers} & {utterance.speaker for utterance in utterances}:
            raise SystemExit(f"deletion.py: {exp} was trained on {datadir.few(heard)}. Give speakers it never heard.")
        for i in rng.permutation(len(utterances))[:COUNT]:
            explanation = explain(analyzer, str(utterances[i].wav))
            for by, rows in curves.items():
                rows.append(deletion(analyzer, explanation, SHARES, by))
    print(f"| deleted, {len(curves['random'])} recordings | {' | '.join(f'{100 * share:.0f} %' for share in SHARES)} |")
    print("|---" * (1 + len(SHARES)) + "|")
    for by, rows in curves.items():
        print(f"| by {by} | {' | '.join(f'{p:.3f}' for p in np.mean(rows, axis=0))} |")


if __name__ == "__main__":
    main()
