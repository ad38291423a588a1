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
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from . import datadir, files
from .analyzer import Analyzer, FileError
from .decoder import printable
from .files import TEXT
from .settings import to_plain
from .timeline import Timeline

FORMATS = (".csv", ".jsonl")
CHUNK_RECORDINGS, CHUNK_BYTES = 4000, 400_000_000   # of PCM, answered together, then settled: some 30 s of work
PCM = (".wav", ".aif", ".aiff", ".au", ".flac")
COMPRESSED = 8   # so many seconds of other formats are in a byte as of PCM
REMEDY = "Give another output, or --overwrite to begin anew."
ROWS_OF = "rows_of"   # while a table is made anew: the inputs of the one whose rows it takes


class TableError(ValueError):
    """A table that is there already and cannot be gone on with."""


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
        size += _state(path)[0] * (1 if os.fspath(path).lower().endswith(PCM) else COMPRESSED)
        if len(chunk) >= CHUNK_RECORDINGS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    names: its recordings, in the order of the table.   before: the description of the table that it goes on with.
    kept: rows of an earlier table that are to be told again, by recording.   stands: nothing is left to do.
    reordered: whether the order is not that in which they were given, as some have come since others were told.
    """

    names: Sequence[str | os.PathLike]
    before: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Sequence[dict]] = field(default_factory=dict)
    stands: bool = False
    reordered: bool = False


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
        self._ahead = deque[str]()
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

    def without_rows(self, names: Iterable[str | os.PathLike]) -> list[str | os.PathLike]:
        """Those of the next recordings that are to be answered; the others get the rows they had."""
        names = list(names)
        self._note(names)
        self._ahead.extend(os.fspath(name) for name in names)
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
        self._states |= {os.fspath(name): _state(name) for name in names}

    def _catch_up(self, name: str | None = None) -> None:
        """Rows that were there before, up to that recording or the last."""
        while self._ahead and self._ahead[0] != name:
            for told in self.kept.get(self._ahead.popleft(), ()):
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
            "recordings": done, "inputs": _digest(self.names[:done], self._states), "failed": self.failed,
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
            None if name in failed else self._states.get(name) or _state(name)
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
    path = Path(os.path.realpath(check_path(path)))   # the file that a link stands for
    part, progress = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    meta = path.with_name(path.name + ".meta.json")
    options = dict(options or {})
    made: dict[str, Any] = {
        "model": analyzer.fingerprint, "labels": list(analyzer.labels), "windows": to_plain(analyzer.windows),
        "segments": to_plain(analyzer.segments), "options": options,
        **({} if beside is None else {"beside": os.path.abspath(beside)}),
    }
    with files.alone(part), files.full_disk_named(part):
        try:
            plan = _planned(path, names, {} if overwrite else _before(path, part, progress, meta), made)
        except TableError:
            if not os.stat(part).st_size:
                part.unlink()   # made just now, to ask for it
            raise
        if not plan.before.get("unfinished"):
            progress.unlink(missing_ok=True)   # of a table that has its name by now, or lost its rows
        with open(part, "r+", **TEXT) as file:
            file.truncate(plan.before.get("bytes", 0))
            file.seek(0, os.SEEK_END)
            is_csv = path.suffix.lower() == ".csv"
            table = Table(file, progress, made | ({ROWS_OF: _read(meta)["inputs"]} if plan.kept else {}),
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
        os.replace(part, path)
        progress.unlink()


def _before(path: Path, part: Path, progress: Path, meta: Path) -> dict[str, Any]:
    """What an earlier run left: its description and whether it is unfinished; nothing where there is none."""
    if progress.exists():
        told = _read(progress)
        if told and part.stat().st_size >= told["bytes"]:
            return {**told, "unfinished": True}
    if not path.exists():
        return {}
    told = _read(meta) if meta.exists() else {}
    if not told or path.stat().st_size != told["bytes"]:
        raise TableError(
            f"{path} is there, and nothing tells which model made it. Give another output, or --overwrite."
        )
    return {**told, "unfinished": False}


def _read(path: Path) -> dict[str, Any]:
    """The description of a table; empty where it is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        return told if {"model", "recordings", "inputs", "failed", "bytes"} <= told.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _check_same(path: Path, before: Mapping, made: Mapping) -> None:
    """Raises: TableError where going on would mix two models or two ways of asking."""
    if before["model"] != made["model"]:
        raise TableError(f"{path} was made by the model {before['model']}, and this one is {made['model']}: the table "
                         f"would mix both. {REMEDY}")
    for name in ("windows", "segments", "options"):
        if before.get(name) != made[name]:
            raise TableError(f"{path} was made with {name} {before.get(name)}, now they are {made[name]}: the table "
                             f"would mix both. {REMEDY}")


def _planned(
    path: Path, names: Sequence[str | os.PathLike], before: dict[str, Any], made: Mapping[str, Any],
) -> Plan:
    """What is left to do after an earlier run, if there was one.

    What failed is tried again, as it may have been for want of a library, of a permission or of a network.
    Raises: TableError where rows would be of other models or ways, lost, or told twice.
    """
    anew, given = Plan(names), names
    if not before:
        return anew
    _check_same(path, before, made)
    names = _in_order(before.get("names", ()), names)
    beside, count = made.get("beside"), before["recordings"]
    are_first = count <= len(names) and before["inputs"] == _digest(names[:count])
    if not before["unfinished"]:
        if are_first and count == len(names) and (beside or not before["failed"]):
            return Plan(names, before, stands=True) if beside is None or _has_beside(before, beside) else anew
        rows = _rows(path, before, names)
        return anew if beside else Plan(names, kept=rows, reordered=names is not given)
    if beside:
        return anew
    if not are_first:
        names = _with_what_came(path, before, names)
    meta, kept = path.with_name(path.name + ".meta.json"), {}
    if ROWS_OF in before:
        whole = _read(meta) if meta.exists() else {}
        if whole.get("inputs") != before[ROWS_OF]:
            return anew
        kept = _rows(path, whole, names)
    return Plan(names, before, kept, reordered=names is not given)


def _with_what_came(
    path: Path, before: Mapping[str, Any], names: Sequence[str | os.PathLike],
) -> Sequence[str | os.PathLike]:
    """The recordings that an unfinished table has, then those that have come since.

    Raises: TableError where some that it has are gone or others by now.
    """
    part, count = path.with_name(path.name + ".part"), before["recordings"]
    told = {name for name, _ in _told(part, path.suffix, before["bytes"])} | {name for name, _ in before["failed"]}
    ordered = _in_order([os.fspath(name) for name in names if os.fspath(name) in told], names)
    if len(told) < count or _digest(ordered[:count]) != before["inputs"]:
        raise TableError(f"{part} holds {count} recordings, and of the {len(names)} here they are not all, or in "
                         f"another order, or changed: some would be skipped or told twice. {REMEDY}")
    return ordered


def _in_order(first: Sequence[str], names: Sequence[str | os.PathLike]) -> Sequence[str | os.PathLike]:
    """The names, those that are among the first before the others."""
    if not first:
        return names
    place = {name: k for k, name in enumerate(first)}
    return sorted(names, key=lambda name: place.get(os.fspath(name), len(place)))


def _rows(path: Path, whole: Mapping[str, Any], names: Sequence[str | os.PathLike]) -> dict[str, list[dict]]:
    """The rows of a whole table, by recording, of those that are as they were. Raises: TableError where one is gone."""
    rows: dict[str, list[dict]] = {}
    for name, row in _told(path, path.suffix):
        rows.setdefault(name, []).append(row)
    if gone := rows.keys() - {os.fspath(name) for name in names}:
        raise TableError(f"{path} holds {datadir.few(map(printable, gone))}, not among the {len(names)} recordings "
                         f"here: these rows would be lost. {REMEDY}")
    states = whole.get("states", ())
    return {name: told for (name, told), state in zip(rows.items(), states) if _state(name) == state}


def _told(path: Path, ending: str, size: int = -1) -> Iterator[tuple[str, dict]]:
    """Recording and row, of each in so many bytes of a table; -1: in all. Raises: TableError for what is no table."""
    def lines() -> Iterator[str]:
        left = size
        with open(path, "rb") as file:
            for line in file:
                if left == 0:
                    return
                left -= len(line)
                yield line.decode(TEXT["encoding"], TEXT["errors"])

    try:
        for row in csv.DictReader(lines()) if ending.lower() == ".csv" else map(json.loads, lines()):
            yield row["path"], row
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise TableError(f"{path} is no table of scores ({error!r}). {REMEDY}") from None


def made_beside(path: str | os.PathLike, beside: str | os.PathLike) -> bool:
    """Whether the run that made a table wrote that file or folder too, and nobody has changed it since."""
    meta = Path(os.path.realpath(path) + ".meta.json")
    told = {**_read(meta), "unfinished": False} if meta.exists() else {}
    return _has_beside(told, os.path.abspath(beside)) and told.get("beside_content") in (None, content(beside))


def note_beside(path: str | os.PathLike, beside: str | os.PathLike) -> None:
    """Tells what a file or folder holds that was written beside a whole table, so that a later change is noticed."""
    meta = Path(os.path.realpath(path) + ".meta.json")
    with files.whole(meta, **TEXT) as file:
        json.dump({**_read(meta), "beside_content": content(beside)}, file)


def _has_beside(before: Mapping[str, Any], beside: str) -> bool:
    """Whether the earlier run ended, with that file beside the table."""
    return bool(before) and not before["unfinished"] and before.get("beside") == beside and os.path.exists(beside)


def holds_only(path: str | os.PathLike, name: str) -> bool:
    """Whether a table is not there, or has no rows but of that recording. Raises: TableError for what is none."""
    path = Path(path)
    return not path.exists() or all(told == name for told, _ in _told(path, path.suffix))


def content(path: str | os.PathLike) -> str:
    """Sixteen hex digits of what a file holds, or all files below a folder. Raises: FileNotFoundError for neither."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]:
        digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _digest(names: Sequence[str | os.PathLike], states: Mapping[str, Sequence[int]] = MappingProxyType({})) -> str:
    """Of names, sizes and times of change, in order. states: those that are not to be asked for now."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0%d %d\n" % tuple(states.get(os.fspath(name)) or _state(name)))
    return digest.hexdigest()[:16]


def _state(path: str | os.PathLike) -> list[int]:
    """Size in bytes and when it was written, in nanoseconds; -1 where it is none."""
    try:
        found = os.stat(path)
    except OSError:
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]
