"""The table of scored recordings: a row for each, in CSV or JSON lines, beside it which model said so.

    scores.csv.part, scores.csv.part.json     while it grows: the rows, and how far they are settled
    scores.csv, scores.csv.meta.json          once it is whole

A run that was stopped, whatever stopped it, goes on where rows were settled last; the table is then the same, byte for
byte, as one made without a stop. Where recordings have come meanwhile, they follow those that it had. Where recordings
have come or changed since a table was whole, or some had failed, it is made anew with the other rows it had: only those
that have none are answered.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from . import earlier, files
from .analyzer import Analyzer, FileError
from .earlier import ROWS_OF, Places, Plan, TableError
from .files import TEXT
from .settings import to_plain
from .timeline import Timeline

FORMATS = (".csv", ".jsonl")
CHUNK_RECORDINGS, CHUNK_BYTES = 4000, 400_000_000   # of PCM, answered together, then settled: some 30 s of work
PCM = (".wav", ".aif", ".aiff", ".au", ".flac")
COMPRESSED = 8   # so many seconds of other formats are in a byte as of PCM


def check_path(path: str | os.PathLike) -> Path:
    """The path itself. Raises ValueError where its ending names no known format, or no file can be made there."""
    return files.check_output(path, FORMATS, "the ending chooses the format")


def columns(labels: Iterable[str], separate: bool = False, dimensions: Iterable[str] = ()) -> list[str]:
    """Names of the columns of a score table; separate: one row for each channel, which is told."""
    told = ["label", "confidence", "entropy", "flags", "duration_seconds", *dimensions]
    return ["path", *(["channel"] if separate else []), *told, *(f"p_{label}" for label in labels)]


def row(answer: Timeline) -> dict:
    """One recording as a row; probabilities and dimensions with six digits."""
    return {
        "path": answer.name,
        **({} if answer.channel is None else {"channel": answer.channel}),
        "label": answer.label,
        "confidence": f"{answer.confidence:.6f}",
        "entropy": f"{answer.entropy:.6f}",
        "flags": " ".join(answer.flags),
        "duration_seconds": f"{answer.duration_seconds:.3f}",
        **{name: f"{value:.6f}" for name, value in answer.dimensions.items()},
        **{f"p_{label}": f"{p:.6f}" for label, p in zip(answer.labels, answer.probabilities)},
    }


def chunks(paths: Sequence[str | os.PathLike]) -> Iterator[list]:
    """Recordings that follow each other, as many as are settled together. Batches never reach from one to the next, so
    that answers do not depend on where a run began."""
    chunk, size = [], 0
    for path in paths:
        chunk.append(path)
        size += earlier.state(path)[0] * (1 if os.fspath(path).lower().endswith(PCM) else COMPRESSED)
        if len(chunk) >= CHUNK_RECORDINGS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Table:
    """A table that grows. Of the recordings `names` so many are `done`, some of them `failed` as (name, reason); `kept`
    are rows that an earlier table had of some."""

    def __init__(
        self, file: TextIO, progress: Path, made: Mapping[str, Any], columns: Sequence[str] | None, plan: Plan,
    ):
        """columns: those of CSV; None for JSON lines."""
        self.names, self.kept, self._reordered, before = plan.names, plan.kept, plan.reordered, plan.before
        self.done: int = before.get("recordings", 0)
        self.failed: list[tuple[str, str]] = [tuple(failure) for failure in before.get("failed", ())]
        self._partly = set(before.get("partly", ()))   # that failed in one channel, and have rows of others
        self._last: str | None = None   # that got a row
        self._states: dict[str, list[int]] = {}   # as they were before they were read
        self._due = deque[str]()
        self._file, self._progress, self._made = file, progress, dict(made)
        self._plain = self._quoted = None
        if columns is not None:
            self._plain = csv.DictWriter(file, columns, lineterminator="\n")
            self._quoted = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def begin(self) -> None:
        """The head of a new table; of one that is there, what it holds is as the earlier run found it."""
        self._note(self.names[: self.done])
        if self._plain and not self._file.tell():
            self._plain.writeheader()

    @property
    def ahead(self) -> Sequence[str | os.PathLike]:
        """The recordings that are not done."""
        return self.names[self.done :]

    @property
    def num_with_rows(self) -> int:
        """How many are done, or have rows of an earlier table."""
        return self.done + sum(os.fspath(name) in self.kept for name in self.ahead)

    def without_rows(self, names: Iterable[str | os.PathLike]) -> list[str | os.PathLike]:
        """Those of the next recordings that are to be answered; the others get the rows they had."""
        names = list(names)
        self._note(names)
        self._due.extend(os.fspath(name) for name in names)
        return [name for name in names if os.fspath(name) not in self.kept]

    def add(self, answer: Timeline | FileError) -> None:
        """The next answer: a row, or one more that failed."""
        self._catch_up(answer.name)
        if isinstance(answer, FileError):
            self.failed.append((answer.name, answer.reason))
        else:
            self._write(row(answer) if self._plain else answer.to_dict())
            self._last = answer.name
        if self.failed and self.failed[-1][0] == self._last == answer.name:
            self._partly.add(answer.name)

    def _note(self, names: Iterable[str | os.PathLike]) -> None:
        self._states |= {os.fspath(name): earlier.state(name) for name in names}

    def _catch_up(self, name: str | None = None) -> None:
        """Rows that were there before, up to that recording or the last."""
        while self._due and self._due[0] != name:
            for told in self.kept.get(self._due.popleft(), ()):
                self._write(told)

    def _write(self, told: dict) -> None:
        if self._plain and self._quoted:
            (self._quoted if "\r" in told["path"] else self._plain).writerow(told)   # csv quotes other line ends itself
        else:
            self._file.write(json.dumps(told) + "\n")

    def settle(self, done: int) -> None:
        """All answers to so many recordings, from the first on, have been added: they are kept."""
        self._catch_up()
        files.to_disk(self._file)
        self.done = done
        self._made |= {
            "recordings": done, "inputs": earlier.digest(self.names[:done], self._states), "failed": self.failed,
            "partly": sorted(self._partly), "bytes": os.fstat(self._file.fileno()).st_size,
        }
        if self._reordered:
            self._made["names"] = [os.fspath(name) for name in self.names[:done]]
        self._tell()

    def close(self) -> None:
        """The table is whole: tell also the state of each recording with rows, for a later one to keep these; none of
        one that failed in part."""
        failed = {name for name, _ in self.failed}
        self._made.pop(ROWS_OF, None)
        self._made["states"] = [
            None if name in failed else self._states.get(name) or earlier.state(name)
            for name in (os.fspath(path) for path in self.names) if name not in failed or name in self._partly
        ]
        self._tell()

    def _tell(self) -> None:
        with files.whole(self._progress, **TEXT) as file:
            json.dump(self._made, file)


@contextmanager
def growing(
    path: str | os.PathLike, analyzer: Analyzer, names: Sequence[str | os.PathLike],
    options: Mapping[str, Any] | None = None, overwrite: bool = False, beside: str | os.PathLike | None = None,
) -> Iterator[Table]:
    """The table for these recordings; what an earlier run has settled is in it already (`done`).

    options: what else decides an answer, by name; told in <path>.meta.json.
    overwrite: whatever was there before goes once the new table is whole.
    beside: another file that the same run writes, of all recordings: without it an earlier table is made anew, and so
    is one that is to grow.
    Raises: BusyError where another run is at it; TableError where what is there is of another model, of other options
    or of other recordings.
    """
    places, options = Places.of(path), dict(options or {})
    check_path(places.table)
    part, progress, meta = places.part, places.progress, places.meta
    made: dict[str, Any] = {
        "model": analyzer.fingerprint, "labels": list(analyzer.labels), "windows": to_plain(analyzer.windows),
        "segments": to_plain(analyzer.segments), "options": options,
        **({} if beside is None else {"beside": os.path.abspath(beside)}),
    }
    with files.alone(part), files.full_disk_named(part):
        try:
            plan = earlier.plan(places, names, made, overwrite)
        except TableError:
            if not os.stat(part).st_size:
                part.unlink()   # made just now, to ask for it
            raise
        if not plan.before.get("unfinished"):
            progress.unlink(missing_ok=True)   # of a table that has its name by now, or lost its rows
        with open(part, "r+", **TEXT) as file:
            file.truncate(plan.before.get("bytes", 0))
            file.seek(0, os.SEEK_END)
            is_csv = places.table.suffix.lower() == ".csv"
            table = Table(file, progress, made | ({ROWS_OF: earlier.read(meta)["inputs"]} if plan.kept else {}),
                          columns(analyzer.labels, options.get("channels") == "separate", analyzer.dimensions)
                          if is_csv else None, plan)
            table.begin()
            if plan.stands:
                part.unlink()
                yield table
                return
            yield table
            table.settle(len(plan.names))
            table.close()
        shutil.copyfile(progress, meta.with_name(meta.name + ".part"))
        os.replace(meta.with_name(meta.name + ".part"), meta)
        os.replace(part, places.table)
        progress.unlink()
