"""What an earlier run left of a table of scored recordings, and so what is to do: all, some, or nothing.

A recording is as it was if its size and its time of change are.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import datadir, files
from .decoder import printable
from .files import TEXT

REMEDY = "Give another output, or --overwrite to begin anew."
ROWS_OF = "rows_of"   # while a table is made anew: the inputs of the one whose rows it takes


class TableError(ValueError):
    """A table that is there already and cannot be gone on with."""


@dataclass(frozen=True)
class Places:
    """Where a table is, what tells how it was made, and both while it grows."""

    table: Path

    @classmethod
    def of(cls, path: str | os.PathLike) -> Places:
        """Of a link, those of the file that it stands for."""
        return cls(Path(os.path.realpath(path)))

    @property
    def meta(self) -> Path:
        return self.table.with_name(self.table.name + ".meta.json")

    @property
    def part(self) -> Path:
        return self.table.with_name(self.table.name + ".part")

    @property
    def progress(self) -> Path:
        return self.table.with_name(self.table.name + ".part.json")


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


def plan(places: Places, names: Sequence[str | os.PathLike], made: Mapping[str, Any], overwrite: bool = False) -> Plan:
    """What is left to do for these recordings after an earlier run, if there was one; overwrite: as if there was none.

    made: how the table is to be made, by name.
    What failed is tried again, as it may have been for want of a library, of a permission or of a network.
    Raises: TableError where rows would be of other models or ways, lost, or told twice.
    """
    anew, given, before = Plan(names), names, {} if overwrite else _before(places)
    if not before:
        return anew
    _check_same(places.table, before, made)
    names = _in_order(before.get("names", ()), names)
    beside, count = made.get("beside"), before["recordings"]
    are_first = count <= len(names) and before["inputs"] == digest(names[:count])
    if not before["unfinished"]:
        if are_first and count == len(names) and (beside or not before["failed"]):
            return Plan(names, before, stands=True) if beside is None or _has_beside(before, beside) else anew
        rows = _rows(places.table, before, names)
        return anew if beside else Plan(names, kept=rows, reordered=names is not given)
    if beside:
        return anew
    if not are_first:
        names = _with_what_came(places.part, before, names)
    kept = {}
    if ROWS_OF in before:
        whole = read(places.meta)
        if whole.get("inputs") != before[ROWS_OF]:
            return anew
        kept = _rows(places.table, whole, names)
    return Plan(names, before, kept, reordered=names is not given)


def _before(places: Places) -> dict[str, Any]:
    """The description of what is there and whether it is unfinished; nothing where there is none."""
    told = read(places.progress)
    if told and places.part.stat().st_size >= told["bytes"]:
        return {**told, "unfinished": True}
    if not places.table.exists():
        return {}
    told = read(places.meta)
    if not told or places.table.stat().st_size != told["bytes"]:
        raise TableError(f"{places.table} is there, and nothing tells which model made it. {REMEDY}")
    return {**told, "unfinished": False}


def read(path: Path) -> dict[str, Any]:
    """The description of a table; empty where it is none, or is not there."""
    try:
        told = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        return told if {"model", "recordings", "inputs", "failed", "bytes"} <= told.keys() else {}
    except (FileNotFoundError, ValueError, AttributeError):
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


def _with_what_came(
    part: Path, before: Mapping[str, Any], names: Sequence[str | os.PathLike],
) -> Sequence[str | os.PathLike]:
    """The recordings that an unfinished table has, then those that have come since.

    Raises: TableError where some that it has are gone or others by now.
    """
    count = before["recordings"]
    told = {name for name, _ in _told(part, before["bytes"])} | {name for name, _ in before["failed"]}
    ordered = _in_order([os.fspath(name) for name in names if os.fspath(name) in told], names)
    if len(told) < count or digest(ordered[:count]) != before["inputs"]:
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
    for name, row in _told(path):
        rows.setdefault(name, []).append(row)
    if gone := rows.keys() - {os.fspath(name) for name in names}:
        raise TableError(f"{path} holds {datadir.few(map(printable, gone))}, not among the {len(names)} recordings "
                         f"here: these rows would be lost. {REMEDY}")
    states = whole.get("states", ())
    return {name: told for (name, told), before in zip(rows.items(), states) if state(name) == before}


def _told(path: Path, size: int = -1) -> Iterator[tuple[str, dict]]:
    """Recording and row, of each in so many bytes of a table; -1: in all. Raises: TableError for what is no table."""
    is_csv = path.name.removesuffix(".part").lower().endswith(".csv")

    def lines() -> Iterator[str]:
        left = size
        with open(path, "rb") as file:
            for line in file:
                if left == 0:
                    return
                left -= len(line)
                yield line.decode(TEXT["encoding"], TEXT["errors"])

    try:
        for row in csv.DictReader(lines()) if is_csv else map(json.loads, lines()):
            yield row["path"], row
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise TableError(f"{path} is no table of scores ({error!r}). {REMEDY}") from None


def made_beside(path: str | os.PathLike, beside: str | os.PathLike) -> bool:
    """Whether the run that made a table wrote that file or folder too, and nobody has changed it since."""
    told = {**read(Places.of(path).meta), "unfinished": False}
    return _has_beside(told, os.path.abspath(beside)) and told.get("beside_content") in (None, files.content(beside))


def note_beside(path: str | os.PathLike, beside: str | os.PathLike) -> None:
    """Tells what a file or folder holds that was written beside a whole table, so that a later change is noticed."""
    meta = Places.of(path).meta
    with files.whole(meta, **TEXT) as file:
        json.dump({**read(meta), "beside_content": files.content(beside)}, file)


def _has_beside(before: Mapping[str, Any], beside: str) -> bool:
    """Whether the earlier run ended, with that file beside the table."""
    return bool(before) and not before["unfinished"] and before.get("beside") == beside and os.path.exists(beside)


def holds_only(path: str | os.PathLike, name: str) -> bool:
    """Whether a table is not there, or has no rows but of that recording. Raises: TableError for what is none."""
    path = Path(path)
    return not path.exists() or all(told == name for told, _ in _told(path))


def digest(names: Sequence[str | os.PathLike], states: Mapping[str, Sequence[int]] = MappingProxyType({})) -> str:
    """Of names, sizes and times of change, in order. states: those that are not to be asked for now."""
    hashed = hashlib.sha256()
    for name in names:
        hashed.update(os.fsencode(name) + b"\0%d %d\n" % tuple(states.get(os.fspath(name)) or state(name)))
    return hashed.hexdigest()[:16]


def state(path: str | os.PathLike) -> list[int]:
    """Size in bytes and when it was written, in nanoseconds; -1 where it is none."""
    try:
        found = os.stat(path)
    except OSError:
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]
