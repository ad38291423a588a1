#!/usr/bin/env python3
"""Two tables of UAR, who was trained in the rows, who is tested in the columns: normalised by the statistics of the
training, and by those of the tested corpus's own recordings. Means over the seeds that are there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from emotion import checkpoint, datadir
from emotion.posteriors import Posteriors

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shared_classes import on_shared_classes  # noqa: E402

TITLES = {
    "posteriors.csv": "Normalised by the statistics of the training recordings",
    "posteriors_own.csv": "Normalised by the tested corpus's own, unlabelled recordings (transductive)",
}
NOTE = (
    "UAR % over the classes that training and test both have, in brackets how many those are: chance is 100 over it. "
    "* is another part of the corpus that was trained on: speakers that were left out."
)


def cell(experiments: list[Path], column: str, table: str, heard: dict[Path, set[str]]) -> str:
    """UAR over seeds of one row on one corpus, and the number of classes; - where nothing was evaluated."""
    uars, classes = [], 0
    for experiment in experiments:
        path = experiment / "on" / column / table
        if path.is_file():
            answers = on_shared_classes(Posteriors.read(path), heard[experiment])
            if len(answers.utterances):
                uars.append(100 * answers.summary()["uar"])
                classes = len(np.unique(answers.targets))
    return f"{np.mean(uars):.1f} ({classes})" if uars else "-"


def classes_of(experiment: Path, train: Path) -> set[str]:
    """The classes that a model has heard, among those it could answer."""
    mapping = checkpoint.read(experiment).scheme.mapping
    return {mapping[utterance.emotion] for utterance in datadir.read(train)}


def tables(root: Path, data: Path, corpora: list[str]) -> str:
    """Both as Markdown. Raises: FileNotFoundError where nothing was trained."""
    without = "-".join(corpora)
    rows = {name: [(name, column) for column in corpora] for name in corpora}
    if len(corpora) > 2:
        rows["all others"] = [(f"{without}/without_{column}", column) for column in corpora]
    experiments = {
        row: sorted(path.parent for path in (root / row).glob(f"seed*/{checkpoint.FILE_NAME}"))
        for cells in rows.values() for row, _ in cells
    }
    if not any(experiments.values()):
        raise FileNotFoundError(f"no model below {root}. Run stages 2 and 4 first.")
    heard = {
        path: classes_of(path, data / row / "fold1/train") for row, paths in experiments.items() for path in paths
    }
    lines = []
    for table, title in TITLES.items():
        lines += [f"## {title}", "", f"| trained on | {' | '.join(corpora)} |", "|---|" + "---|" * len(corpora)]
        for name, cells in rows.items():
            told = (cell(experiments[row], column, table, heard) + "*" * (row == column) for row, column in cells)
            lines.append(f"| {name} | {' | '.join(told)} |")
        lines.append("")
    return "\n".join([*lines, NOTE])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", metavar="EXP", type=Path, help="holds <row>/seed<s>, as run.sh leaves it")
    parser.add_argument("data", metavar="DATA", type=Path, help="holds <row>/fold1/train")
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", help="in the order of the tables")
    parser.add_argument("-o", "--output", metavar="MD", type=Path, required=True, help="where the tables go")
    options = parser.parse_args(arguments)
    try:
        told = tables(options.root, options.data, options.corpora)
    except (OSError, ValueError) as error:
        sys.exit(f"matrix.py: {error}")
    print(told)
    options.output.write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
