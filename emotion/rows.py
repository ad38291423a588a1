"""Segments as rows, in between answers and the formats of other tools; formats and tiers write and read them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote

import numpy as np

from . import datadir, files
from .labels import DIMENSIONS, EMOTIONS
from .timeline import Segment, Timeline

Rows = Iterator[tuple[int, dict[str, Any]]]   # number of a line or item, and what it tells of a segment

TEXT = {"encoding": "utf-8-sig", "errors": "surrogateescape"}   # names need not be UTF-8
when = attrgetter("start_seconds", "end_seconds")
unword = partial(unquote, errors="surrogateescape")


LATEST = 1e8   # seconds, three years: what is longer is a slip, and some formats could not count it in milliseconds


class FormatError(ValueError):
    """A file that is not what its ending says, or an answer that a format cannot hold."""


def ordered(timelines: Timeline | Iterable[Timeline]) -> list[Timeline]:
    """The answers, each of another recording or channel, with segments in order and in milliseconds."""
    found = {}
    for answer in [timelines] if isinstance(timelines, Timeline) else timelines:
        if not isinstance(answer, Timeline):
            raise FormatError(f"{answer!r} is no Timeline: it would be missing in silence. Leave it out yourself.")
        if (answer.name, answer.channel) in found or not answer.name:
            raise FormatError(f"two answers for {answer.name!r}, or no name: they would read as one. Give names.")
        parts = [replace(part, start_seconds=round(part.start_seconds, 3), end_seconds=round(part.end_seconds, 3))
                 for part in sorted(answer.segments, key=when)]
        if bad := [when(part) for part in parts if not 0 <= part.start_seconds < part.end_seconds < LATEST]:
            raise FormatError(f"segment {bad[0]} s of {answer.name!r}: nobody can show it. Give 0 <= start < end.")
        found[answer.name, answer.channel] = replace(answer, segments=tuple(parts))
    return list(found.values())


def rows_of(timelines: list[Timeline]) -> list[dict[str, Any]]:
    """A row for each segment; None for what is not known."""
    return [{
        "path": answer.name, "channel": answer.channel, "start_seconds": part.start_seconds,
        "end_seconds": part.end_seconds, "label": part.label,
        "confidence": None if math.isnan(part.confidence) else part.confidence, "speaker": part.speaker,
        **dict(zip(answer.dimensions, part.dimensions)),
        **{f"p_{label}": p for label, p in zip(answer.labels, part.probabilities)},
    } for answer in timelines for part in answer.segments]


def table_of(timelines: list[Timeline]) -> dict[str, list]:
    """Columns of the table of segments; channel and speaker only where one is known."""
    names = ["path", "channel", "start_seconds", "end_seconds", "label", "confidence", "speaker"]
    names += dict.fromkeys(name for answer in timelines for name in answer.dimensions)
    names += dict.fromkeys(f"p_{label}" for answer in timelines for label in answer.labels
                           if not answer.segments or any(part.probabilities for part in answer.segments))
    rows = rows_of(timelines)
    table = {name: [row.get(name) for row in rows] for name in names}
    return {name: values for name, values in table.items() if name not in ("channel", "speaker") or any(values)}


def gathered(reader: Callable[[Path], Rows], path: Path) -> list[Timeline]:
    """The answers that a reader's rows tell of, by recording and channel."""
    found, answers = defaultdict(list), []
    for number, row in reader(path):
        known = {name: value for name, value in row.items() if value not in ("", None)}
        found[known.get("path", path.stem), known.get("channel")].append((times_of(path, number, known), known))
    for (name, channel), rows in found.items():
        columns = dict.fromkeys(column for _, known in rows for column in known if column.startswith("p_"))
        dimensions = [name for name in DIMENSIONS if all(name in known for _, known in rows)]
        answers.append(answer_of(name, channel and int(channel), tuple(column[2:] for column in columns) or EMOTIONS, [
            Segment(*times, known["label"], float(known.get("confidence", math.nan)),
                    tuple(float(known[column]) for column in columns if column in known), known.get("speaker"),
                    tuple(float(known[name]) for name in dimensions))
            for times, known in rows
        ], dict.fromkeys(dimensions, math.nan)))
    return answers


def answer_of(
    name: str, channel: int | None, labels: tuple[str, ...], parts: list[Segment], dimensions: dict[str, float],
) -> Timeline:
    """An answer of which only the segments are known."""
    return Timeline(
        name=name, labels=labels, duration_seconds=max((part.end_seconds for part in parts), default=0.0),
        probabilities=np.zeros(len(labels)), step_times=np.empty(0), step_probabilities=np.empty((0, len(labels))),
        step_speech=np.empty(0), segments=tuple(sorted(parts, key=when)), unknown_below=math.inf, channel=channel,
        dimensions=dimensions,
    )


def times_of(path: Path, number: int, row: dict[str, Any]) -> tuple[float, float]:
    """Start and end of a row in seconds."""
    start: Any = row.get("start_seconds", row.get("start"))
    end: Any = row.get("end_seconds", row.get("end"))
    try:
        begin = float(start)
        stop = float(end) if "duration" not in row or end else round(begin + float(row["duration"]), 6)
        if 0 <= begin < stop < math.inf:
            return begin, stop
    except (TypeError, ValueError):
        pass
    raise FormatError(f"{path}:{number}: start {start!r} and end {end or row.get('duration')!r} must be seconds, "
                      "0 <= start < end: there is nothing to hear. Correct the line, or delete it.")


def save(path: Path, content: str | bytes) -> None:
    with files.whole(path, "wb") as file:
        file.write(datadir.c_order(content) if isinstance(content, str) else content)


def word(text: str | None, unsafe: str = r"[\s%<\x00-\x1f\x7f\ud800-\udfff]") -> str:
    """One word for tables that are cut at spaces: unsafe characters as their bytes, %20; nothing as <NA>."""
    return re.sub(unsafe, lambda found: quote_from_bytes(datadir.c_order(found[0]), ""), text) if text else "<NA>"
