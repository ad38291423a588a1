"""`emotion data ...`: Kaldi data directories."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import command

if TYPE_CHECKING:
    from ..datadir import Utterance


def add(commands) -> None:
    data = commands.add_parser("data", help="Kaldi data directories: validate, fix, check, split, combine, subset.")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, run, summary in (
        ("validate", _validate, "Check a data directory."),
        ("fix", _fix, "Sort and repair it; originals go to .backup/."),
    ):
        command(actions, name, run, summary).add_argument("directory", metavar="DIR", help="a Kaldi data directory")
    check = command(
        actions, "check", _check, "Count classes; fail where directories share a speaker or a recording, by its sound."
    )
    check.add_argument("directories", metavar="DIR", nargs="+",
                       help="such as train, valid and test; one alone: no recording may be of two of its speakers")
    check.add_argument("--strict-text", action="store_true", help="fail for a sentence they share too (default: warn)")
    split = command(actions, "split", _split, "Write OUT/fold<k>/{train,valid,test} after a split file.")
    split.add_argument("directory", metavar="DIR", help="all utterances")
    split.add_argument("split", metavar="SPLIT.yaml", help="who tests and who validates in each fold")
    split.add_argument("out", metavar="OUT", help="the folder that the folds go into")
    split.add_argument("--fold", type=int, metavar="K", help="only this one, from 1")
    combine = command(actions, "combine", _combine, "Put data directories together.")
    combine.add_argument("out", metavar="OUT", help="the data directory to write")
    combine.add_argument("directories", metavar="DIR", nargs="+", help="those to put together; no id may be in two")
    subset = command(actions, "subset", _subset, "Choose utterances.")
    subset.add_argument("directory", metavar="DIR", help="the data directory to choose from")
    subset.add_argument("out", metavar="OUT", help="the data directory to write")
    for name, what in (
        ("speakers", "these alone"), ("without-speakers", "all but these"), ("emotions", "these alone"),
        ("without-utterances", "all but these"),
    ):
        subset.add_argument(f"--{name}", metavar="a,b,c", type=lambda text: text.split(","), help=what)
    for name, what in (("first", "so many at most"), ("per-class", "so many of each emotion, at even distances")):
        subset.add_argument(f"--{name}", type=int, metavar="N", help=what)


def _validate(options: argparse.Namespace) -> int:
    from ..datacheck import validate

    problems = validate(options.directory)
    for problem in problems:
        print(f"emotion data validate: {problem}", file=sys.stderr)
    if not problems:
        print(f"Successfully validated data-directory {options.directory}")
    return 1 if problems else 0


def _fix(options: argparse.Namespace) -> None:
    from ..datacheck import fix

    backup = Path(options.directory, ".backup")
    before = set(backup.glob("*"))
    kept, total = fix(options.directory)
    kept_back = f"; old files are kept in {backup}" if set(backup.glob("*")) != before else ""
    print(f"kept {kept} utterances out of {total}{kept_back}")


def _check(options: argparse.Namespace) -> int:
    from .. import datadir, overlap

    parts = {directory: datadir.read(directory) for directory in options.directories}
    if len(parts) < len(options.directories):
        raise datadir.DataError("a directory is given twice: it shares everything with itself. Give each once.")
    print(overlap.counts(parts))
    if len(parts) == 1:
        parts = overlap.by_speaker(*parts.values())
    errors = overlap.shared_speakers(parts) + overlap.shared_recordings(parts)
    told = {directory: overlap.texts(directory) for directory in options.directories}
    sentences = overlap.shared_texts(told)
    if options.strict_text and (bare := [directory for directory, own in told.items() if not own]):
        raise datadir.DataError(f"{', '.join(bare)} has no sentences in a table text: whether they are shared cannot "
                                "be told. Add it, or leave out --strict-text.")
    for line in [*errors, *(f"{'' if options.strict_text else 'warning: '}{line}" for line in sentences)]:
        print(f"emotion data check: {line}", file=sys.stderr)
    return 1 if errors or options.strict_text and sentences else 0


def _split(options: argparse.Namespace) -> None:
    from .. import datacheck, datadir, splits

    utterances = datadir.read(options.directory)
    folds = splits.read(options.split).folds
    if options.fold is not None and not 1 <= options.fold <= len(folds):
        raise ValueError(f"--fold {options.fold}: {options.split} has the folds 1 to {len(folds)}. Choose one of them.")
    for k, (test, valid) in enumerate(folds, 1):
        if options.fold in (None, k):
            parts = splits.divide(utterances, test, valid)
            splits.check_disjoint(**parts)
            for name, part in parts.items():
                datacheck.write(Path(options.out, f"fold{k}", name), part, [options.directory])
            print(f"fold {k}: " + ", ".join(f"{len(part)} {name}" for name, part in parts.items()))
    for k in itertools.count(len(folds) + 1):   # of an earlier split, which had more
        if options.fold is not None or not (stale := Path(options.out, f"fold{k}")).is_dir():
            break
        backup = Path(options.out, ".backup", stale.name)
        shutil.rmtree(backup, ignore_errors=True)
        backup.parent.mkdir(exist_ok=True)
        stale.rename(backup)
        print(f"{stale} is of another split: it is in {backup} now", file=sys.stderr)


def _combine(options: argparse.Namespace) -> None:
    from .. import datadir

    _write(options.out, options.directories, datadir.combine(map(datadir.read, options.directories)))


def _subset(options: argparse.Namespace) -> None:
    from .. import datadir

    utterances = datadir.read(options.directory)
    _write(options.out, [options.directory], datadir.subset(
        utterances, options.speakers, options.per_class, options.first, options.emotions,
        options.without_speakers or (), options.without_utterances or (),
    ))


def _write(out: str, sources: Sequence[str], utterances: Sequence[Utterance]) -> None:
    """Writes a data directory; what was there stays in .backup/ where it was something else.

    Raises: DataError where it is one of those that were read.
    """
    from .. import datacheck, datadir

    if os.path.realpath(out) in map(os.path.realpath, sources):
        raise datadir.DataError(f"{out} is read here: it would be lost. Name another folder.")
    if datacheck.set_aside(out, utterances):
        print(f"{out}: what was there is in {out}/.backup", file=sys.stderr)
    datacheck.write(out, utterances, sources)
    if lost := [name for name in datacheck.TABLES
                if not Path(out, name).exists() and any(Path(source, name).exists() for source in sources)]:
        print(f"{out}: without {datadir.few(lost)}: it does not go along, or is not known of every utterance",
              file=sys.stderr)
    print(f"{out}: {len(utterances)} utterances")
