"""The table of a scored folder: a row for each recording, in CSV or JSON lines, and beside it which model said so."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .analyzer import Analyzer, FileError
from .settings import to_plain
from .timeline import Timeline

FORMATS = (".csv", ".jsonl")
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # file names need not be valid UTF-8


def check_path(path: str | os.PathLike) -> Path:
    """The path itself. Raises ValueError where its ending names no known format, or its folder is not there."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} must end in {' or '.join(FORMATS)}: the ending chooses the format. Rename it.")
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} into. Make it first.")
    return path


def columns(labels: Iterable[str], separate: bool = False) -> list[str]:
    """Names of the columns of a score table; separate: one row for each channel, which is told."""
    told = ["label", "confidence", "entropy", "flags", "duration_seconds"]
    return ["path", *(["channel"] if separate else []), *told, *(f"p_{label}" for label in labels)]


def row(answer: Timeline) -> dict:
    """One recording as a row; probabilities with six digits."""
    return {
        "path": answer.name,
        **({} if answer.channel is None else {"channel": answer.channel}),
        "label": answer.label,
        "confidence": f"{answer.confidence:.6f}",
        "entropy": f"{answer.entropy:.6f}",
        "flags": " ".join(answer.flags),
        "duration_seconds": f"{answer.duration_seconds:.3f}",
        **{f"p_{label}": f"{p:.6f}" for label, p in zip(answer.labels, answer.probabilities)},
    }


def write(
    answers: Iterable[Timeline | FileError], path: str | os.PathLike, analyzer: Analyzer, separate: bool = False,
) -> Iterator[Timeline | FileError]:
    """Write each Timeline as it comes and hand every answer on; consume it to the end.

    separate: the answers are of single channels.
    The table grows in <path>.part and takes its name when it is whole; <path>.meta.json tells which model made it.
    """
    path = check_path(path)
    with _growing(path) as file:
        if path.suffix.lower() == ".csv":
            table = csv.DictWriter(file, columns(analyzer.labels, separate), lineterminator="\n")
            table.writeheader()
        for answer in answers:
            if isinstance(answer, Timeline):
                if path.suffix.lower() == ".csv":
                    table.writerow(row(answer))
                else:
                    file.write(json.dumps(answer.to_dict()) + "\n")
            yield answer
    meta = {
        "model": analyzer.fingerprint, "labels": analyzer.labels,
        "windows": to_plain(analyzer.windows), "segments": to_plain(analyzer.segments),
    }
    with _growing(path.with_name(path.name + ".meta.json")) as file:
        json.dump(meta, file, indent=1)


@contextmanager
def _growing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its name only once it is whole and on the disk."""
    aside = path.with_name(path.name + ".part")
    with open(aside, "w", **TEXT) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
