#!/usr/bin/env python3
"""A split file for a data directory whose corpus publishes none as lists of speakers.

Without --parts: up to five folds of whole speakers, as alike in emotions and sexes as may be and the same each time.
Fold k tests its speakers, those of the next fold validate. With --parts: one fold, after a table that says of each
speaker whether it is for train, valid or test; speakers that have no utterance here are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from emotion import datadir

MOST = 5


def deal(utterances: list[datadir.Utterance]) -> list[list[str]]:
    """The speakers of each fold: the one with most utterances first, each to the fold that lacks it most.

    Raises: DataError for fewer than four speakers: one tests, one validates, and one alone would teach its own voice.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sexes = {}
    for u in utterances:
        counts[u.speaker][u.emotion] += 1
        sexes[u.speaker] = u.sex
    if len(counts) < 4:
        raise datadir.DataError(f"{len(counts)} speakers are too few: two must train, one validate and one test. Add "
                                "speakers, or score them with a model of another corpus: emotion evaluate MODEL DATA.")
    weights = {speaker: Counter(emotions) for speaker, emotions in counts.items()}
    for speaker, sex in sexes.items():
        weights[speaker][f"sex {sex}"] = 1
    total = sum(weights.values(), Counter())
    folds: list[tuple[Counter[str], list[str]]] = [(Counter(), []) for _ in range(min(MOST, len(counts)))]
    for speaker in sorted(counts, key=lambda s: (-counts[s].total(), datadir.c_order(s))):
        def crowding(fold, own=weights[speaker]):
            held, speakers = fold
            return sum((2 * held[key] + share) * share / total[key] ** 2 for key, share in own.items()), len(speakers)
        held, speakers = min(folds, key=crowding)
        held.update(weights[speaker])
        speakers.append(speaker)
    return [sorted(speakers, key=datadir.c_order) for _, speakers in folds]


def parted(utterances: list[datadir.Utterance], table: Path) -> list[dict[str, list[str]]]:
    """One fold after a table of speakers. Raises: DataError where nobody is left to validate or to test."""
    parts = dict(datadir.read_table(table))
    fold: dict[str, list[str]] = {"test": [], "valid": []}
    speakers = {u.speaker for u in utterances}
    if odd := [speaker for speaker in speakers if parts.get(speaker) not in ("train", "valid", "test")]:
        raise datadir.DataError(f"{table} does not say train, valid or test of {datadir.few(odd)}. Correct it.")
    for speaker in sorted(speakers, key=datadir.c_order):
        if parts[speaker] in fold:
            fold[parts[speaker]].append(speaker)
    if not all(fold.values()):
        raise datadir.DataError(f"{table} leaves {len(fold['valid'])} speakers to validate and {len(fold['test'])} to "
                                "test: one of each is needed. Take more emotions, or a whole copy of the corpus.")
    return [fold]


def main(arguments: list[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("directory", metavar="DATA")
    parser.add_argument("out", metavar="SPLIT.yaml", type=Path)
    parser.add_argument("--parts", metavar="TABLE", type=Path, help="<speaker> <train, valid or test>")
    options = parser.parse_args(arguments)
    try:
        utterances = datadir.read(options.directory)
        if options.parts:
            source, folds = f"the corpus's own table, by way of {options.parts}", parted(utterances, options.parts)
        else:
            source, groups = "recipes/folds.py", deal(utterances)
            folds = [{"test": group, "valid": after} for group, after in zip(groups, [*groups[1:], groups[0]])]
        content = {"name": options.out.stem, "source": source, "folds": folds}
        options.out.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.exit(f"folds.py: {error}")
    print(f"{options.out}: {len(folds)} folds, tested on " + ", ".join(str(len(fold["test"])) for fold in folds))


if __name__ == "__main__":
    main()
