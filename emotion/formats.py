"""Segments in the formats of other tools, and the user's own turns, which say where to listen.

    .csv .parquet    a row for each segment              any number of recordings
    .jsonl           a line for each recording           Timeline.to_dict, and the channel
    .rttm            NIST, a line for each segment       names are words: a space is %20
    no ending        a Kaldi data directory              labels are utt2emotion; read it with datadir
    .TextGrid .eaf   Praat and ELAN, one recording       a tier for each channel and speaker
    .txt .vtt        Audacity labels, WebVTT subtitles   one answer: a recording, or a channel of it

The table of recordings is `scores`. Here a recording without segments has no row, and only .jsonl tells of it.
Dimensions, arousal and the like, are in .csv, .parquet, .jsonl and Kaldi's utt2arousal.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from . import datadir, files, tiers
from .rows import (
    TEXT,
    FormatError,
    Rows,
    answer_of,
    gathered,
    ordered,
    rows_of,
    save,
    table_of,
    times_of,
    unword,
    when,
    word,
)
from .timeline import Segment, Span, Timeline

if TYPE_CHECKING:
    from pandas import DataFrame

_UNSAFE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\ufffe\uffff]")   # not UTF-8, XML or of one line

_SURROGATE = re.compile("[\ud800-\udfff]")   # of a name that is not UTF-8


@dataclass(frozen=True)
class NamedSpan(Span):
    """A span with the id that its file gives it."""

    id: str | None = None


def write(timelines: Timeline | Iterable[Timeline], path: str | os.PathLike, ours: bool = False) -> None:
    """Write segments, ordered by start, in the format that the ending chooses; times in milliseconds.

    A file takes its name once it is whole and on the disk; a Kaldi folder must not hold recordings before, but `ours`.
    Raises: ValueError, before anything is written, for what would be lost, or read as something else.
    """
    path, timelines = check_path(path, ours=ours), ordered(timelines)
    holds, writer, _ = FORMATS[_ending(path)]
    if {"anything": 1, "recording": len({a.name for a in timelines}), "answer": len(timelines)}[holds] != 1:
        raise FormatError(f"{len(timelines)} answers for {path}, which holds one {holds}. Write a file for each.")
    texts = (text for row in rows_of(timelines) for text in (row["label"], row["speaker"] or ""))
    if holds != "anything" and (bad := next(filter(_UNSAFE.search, texts), None)):
        raise FormatError(f"{bad!r} is not UTF-8 or has control characters, which damage {path}. Rename it.")
    writer(timelines, path)


def read(path: str | os.PathLike) -> list[Timeline]:
    """What a file tells of each recording and channel.

    What its format does not hold: steps are empty, a segment's confidence nan, its probabilities (). But in .jsonl the
    recording's probabilities are 0, its dimensions nan, its label unknown, its end that of the last segment, its name
    perhaps the file's.
    Raises: FormatError for a file that is not what its ending says.
    """
    path = Path(path)
    readers = {ending: reader for ending, (*_, reader) in FORMATS.items() if reader}
    if _ending(path) not in readers:
        raise FormatError(f"{path} must end in {' '.join(readers)}; Kaldi's folders are for datadir.read. Rename it.")
    _check_there(path)
    try:
        return readers[_ending(path)](path)
    except (AttributeError, LookupError, TypeError, ValueError, ElementTree.ParseError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is not what its ending says ({error!r}). Write it again, or rename it.") from error


def check_path(
    path: str | os.PathLike, names: Collection[str | os.PathLike] = ("",), ours: bool = False, separate: bool = False,
) -> Path:
    """The path itself. Raises FormatError where its ending names no format, or one that does not hold these recordings,
    or their channels `separate`; where its folder is not there; where it is a Kaldi folder that has recordings already,
    but `ours`."""
    path = Path(path)
    if _ending(path) not in FORMATS:
        raise FormatError(f"{path} must end in {' '.join(FORMATS)}, or in nothing for a Kaldi folder. Rename it.")
    if _ending(path) and not path.parent.is_dir():
        raise FormatError(f"no folder {path.parent} to write {path.name} into. Make it first.")
    if path.parent.is_dir():
        files.check_writable(path if path.is_dir() else path.parent)
    if not _ending(path) and (path / "wav.scp").exists() and not ours:
        raise FormatError(f"{path} has recordings: their emotions may be what people told. Name a new folder.")
    holds = FORMATS[_ending(path)][0]
    if len(names) > 1 and holds != "anything":
        raise FormatError(f"{len(names)} recordings for {path}, which holds one {holds}. Write a file for each.")
    if separate and not _ending(path):
        raise FormatError(f"{path} cannot tell channels apart. Mix them, or write .csv, .jsonl, .rttm or .TextGrid.")
    if _ending(path) == ".parquet" and (odd := [name for name in names if _SURROGATE.search(str(name))]):
        raise FormatError(f"{odd[0]!r} is not UTF-8, as {path} must be. Rename it, or write .csv.")
    return path


def to_dataframe(timelines: Timeline | Iterable[Timeline]) -> DataFrame:
    """The table of segments, as .csv has it. Raises: ModuleNotFoundError without pandas."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("no pandas: it makes the DataFrame. pip install 'emotion[parquet]'") from error
    kinds = {"path": object, "label": object, "speaker": object, "channel": "Int64"}   # names need not be UTF-8
    table = table_of(ordered(timelines))
    return pandas.DataFrame({name: pandas.Series(table[name], dtype=kinds.get(name, float)) for name in table})


def read_spans(path: str | os.PathLike) -> dict[str, list[NamedSpan]]:
    """Where to listen in each recording: Kaldi segments (the file or its folder), .rttm or .csv, by start.

    Keys are the file's own ids or paths of recordings. A speaker comes from utt2spk beside segments, from SPEAKER
    lines, or from a column speaker; other columns are path or file, start or start_seconds, end or end_seconds or
    duration, id. Spans may overlap, as people do.   Raises: FormatError for the first bad line, with its number.
    """
    path = Path(path)
    path = path / "segments" if path.is_dir() else path
    readers: dict[str, Any] = {"": _kaldi_spans, ".csv": _csv, ".rttm": partial(_rttm, who="words", what="speaker")}
    if _ending(path) not in readers:
        raise FormatError(f"{path} must be Kaldi's segments, .rttm or .csv, to say where to listen. Convert it.")
    _check_there(path)
    found = defaultdict(list)
    for number, row in readers[_ending(path)](path):
        times, recording = times_of(path, number, row), row.get("path") or row.get("file")
        if not recording:
            raise FormatError(f"{path}:{number}: no path or file: the span could be of any. Name the recording.")
        if str(row.get("channel") or 1) != "1":
            raise FormatError(f"{path}:{number}: channel {row['channel']}, and turns are heard with all channels "
                              "mixed. Make each channel a file of its own.")
        found[recording].append(NamedSpan(*times, row.get("speaker") or None, row.get("id") or None))
    return {recording: sorted(spans, key=when) for recording, spans in found.items()}


def turns_of(path: str | os.PathLike, recordings: Sequence[str | os.PathLike]) -> dict[str, list[NamedSpan]]:
    """What `read_spans` finds, for each of these recordings by its path, its name or its stem; none that it leaves out.

    Raises: FormatError as there; ValueError where a name could be that of several of them.
    """
    by_path, by_name = defaultdict(list), defaultdict(list)
    for recording in [os.fspath(recording) for recording in recordings]:
        by_path[os.path.normpath(recording)].append(recording)
        for name in {Path(recording).name, Path(recording).stem}:
            by_name[name].append(recording)
    turns: dict[str, list[NamedSpan]] = defaultdict(list)
    for name, spans in read_spans(path).items():
        called = by_path.get(os.path.normpath(name)) or by_name.get(name, [])
        if len(called) > 1:
            raise ValueError(f"{path} has turns of {name}, and {datadir.few(called)} are called so. Name them by path "
                             "there, or score them one by one.")
        for recording in called:
            turns[recording] += spans
    return dict(turns)


def turns_digest(path: str | os.PathLike) -> str:
    """Sixteen hex digits that change with who speaks when, by what `read_spans` finds."""
    told = sorted((name, span.start_seconds, span.end_seconds, span.speaker or "")
                  for name, spans in read_spans(path).items() for span in spans)
    return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _check_there(path: Path) -> None:
    if not path.exists():
        raise FormatError(f"no such file {path}. Relative paths start at the working directory.")


def _ending(path: Path) -> str:
    return "" if path.is_dir() else path.suffix.lower()


def _write_csv(timelines: list[Timeline], path: Path) -> None:
    text, table = io.StringIO(newline=""), table_of(timelines)
    cells = ([round(value, 6) if isinstance(value, float) else value for value in values] for values in table.values())
    # All text in quotes: not every Python puts a cell there for its carriage return, which then ends the row.
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows([table, *zip(*cells)])
    save(path, text.getvalue())


def _csv(path: Path) -> Rows:
    reader = csv.DictReader(io.StringIO(path.read_bytes().decode(**TEXT), newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise csv.Error("more cells than columns, as where one with a comma has no quotes")
            yield reader.line_num, row
    except csv.Error as error:
        raise FormatError(f"{path}:{reader.reader.line_num}: {error}. Correct it, or save as CSV in UTF-8.") from error


def _arrow():
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("no pyarrow: it has Parquet. pip install 'emotion[parquet]'") from error
    return pyarrow


def _write_parquet(timelines: list[Timeline], path: Path) -> None:
    arrow, table, sink = _arrow(), table_of(timelines), io.BytesIO()
    kinds = {"channel": arrow.int32(), **dict.fromkeys(("path", "label", "speaker"), arrow.string())}
    try:
        columns = {name: arrow.array(table[name], kinds.get(name, arrow.float64())) for name in table}
    except UnicodeEncodeError as error:
        raise FormatError(f"{error.object!r} is not UTF-8, as {path} must be. Rename it, or write .csv.") from None
    arrow.parquet.write_table(arrow.table(columns), sink)
    save(path, sink.getvalue())


def _parquet(path: Path) -> Rows:
    arrow, content = _arrow(), io.BytesIO(path.read_bytes())
    try:
        rows = arrow.parquet.read_table(content).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"{path} is no whole Parquet file ({reason}). Write it again.") from error
    yield from enumerate(rows, 1)


def _write_jsonl(timelines: list[Timeline], path: Path) -> None:
    if bare := [answer.name for answer in timelines if not answer.probabilities.any()]:
        raise FormatError(f"{bare[0]!r} was read from a format without the recording's probabilities. Write .csv.")
    save(path, "".join(json.dumps({"channel": answer.channel, **answer.to_dict()}) + "\n" for answer in timelines))


def _jsonl(path: Path) -> list[Timeline]:
    answers = []
    for number, told in enumerate(map(json.loads, filter(None, path.read_text(**TEXT).split("\n"))), 1):
        labels, probabilities = zip(*told["probabilities"].items())
        dimensions = told.get("dimensions") or {}
        parts = [
            Segment(*times_of(path, number, part), str(part["label"]), float(part["confidence"]),
                    _values(path, number, part["probabilities"], labels), part["speaker"],
                    _values(path, number, part.get("dimensions") or {}, dimensions))
            for part in told["segments"]
        ]
        held = answer_of(told["path"], told.get("channel"), labels, parts, dimensions)
        answers.append(replace(
            held, probabilities=np.array(probabilities, float),
            duration_seconds=float(told["duration_seconds"]), flags=tuple(told["flags"]),
            unknown_below=math.inf if told["label"] == "unknown" else 0.0,
        ))
    return answers


def _values(path: Path, number: int, told: dict, names: Iterable[str]) -> tuple[float, ...]:
    """In the order of the names, as an object of JSON has none; none where it has none. Raises: FormatError where it
    has others."""
    if not told:
        return ()
    if told.keys() != set(names):
        raise FormatError(f"{path}:{number}: a segment tells {', '.join(told)}, its recording "
                          f"{', '.join(names)}. Name the same in both.")
    return tuple(float(told[name]) for name in names)


def _write_rttm(timelines: list[Timeline], path: Path) -> None:
    """The label stands where a diarizer names the speaker, the one field that all readers of RTTM hand on: its tools
    then show and score emotions. The speaker stands where words would (ortho), since NIST's md-eval refuses SPEAKER
    lines with a subtype. All channels mixed are channel 1, since readers want a number.
    """
    save(path, "".join(
        f"SPEAKER {word(row['path'])} {row['channel'] or 1} {row['start_seconds']:.3f} "
        f"{row['end_seconds'] - row['start_seconds']:.3f} {word(row['speaker'])} <NA> {word(row['label'])} "
        + ("<NA>" if row["confidence"] is None else f"{row['confidence']:.6f}") + " <NA>\n"
        for row in rows_of(timelines)
    ))


def _rttm(path: Path, who: str = "speaker", what: str = "label") -> Rows:
    """SPEAKER lines; who and what name the fields of words and of the speaker. Channel 1 alone is taken for all."""
    columns = ("type", "path", "channel", "start", "duration", who, "subtype", what, "confidence")
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(path.read_text(**TEXT).split("\n"), 1):
        fields = ["" if field == "<NA>" else unword(field) for field in line.split()]
        if fields and fields[0][:1] not in (";", "#") and len(fields) not in (9, 10):
            raise FormatError(f"{path}:{number}: {len(fields)} fields, not 9 or 10. Write a space in a name as %20.")
        if fields[:1] == ["SPEAKER"]:
            rows.append((number, dict(zip(columns, fields))))
    if all(row["channel"] == "1" for _, row in rows):
        rows = [(number, row | {"channel": None}) for number, row in rows]
    yield from rows


def _write_kaldi(timelines: list[Timeline], path: Path) -> None:
    """Utterances recording#milliseconds, or recording:speaker#milliseconds: a diarizer's speaker 1 of two recordings
    are two people. No character of an id sorts before #, so both orders agree, as Kaldi demands.
    """
    plain = partial(word, unsafe=r"""[\s!"#%:/\x00-\x1f\x7f\ud800-\udfff]""")
    names, utterances = {answer.name for answer in timelines}, []
    short = len({Path(name).stem for name in names}) == len(names)   # else two recordings would have one id
    for answer in timelines:
        if answer.channel or answer.name.endswith("|") or "\r" in answer.name:
            raise FormatError(f"{answer.name!r}, channel {answer.channel}: wav.scp would name all channels, a command "
                              "or two lines. Make it a file of its own, and its name plain.")
        recording = plain(Path(answer.name).stem if short else answer.name)
        for part in answer.segments:
            speaker = f"{recording}:{plain(part.speaker)}" if part.speaker else recording
            times = "-".join(f"{round(1000 * seconds):08}" for seconds in when(part))
            felt = dict(zip(answer.dimensions, part.dimensions))
            utterances.append(datadir.Utterance(
                f"{speaker}#{times}", speaker, answer.name, part.label, *when(part),
                arousal=felt.get("arousal"), valence=felt.get("valence"), dominance=felt.get("dominance"),
            ))
    datadir.write(path, utterances)


def _kaldi_spans(path: Path) -> Rows:
    beside = path.with_name("utt2spk")
    speakers = dict(datadir.read_table(beside)) if beside.exists() else None
    for number, (utterance, rest) in enumerate(datadir.read_table(path), 1):
        fields = datadir.words(rest)
        if len(fields) != 3 or speakers is not None and utterance not in speakers:
            raise FormatError(f"{path}:{number}: {utterance} {rest} must be <utterance-id> <recording-id> <start> <end>"
                              ", its speaker in utt2spk if that is there. Repair it: `emotion data fix DIR`.")
        who = speakers[utterance] if speakers else None
        yield number, dict(zip(("path", "start", "end"), fields), id=utterance, speaker=who)


FORMATS: dict[str, tuple[str, Any, Any]] = {   # ending: how much a file holds, its writer, its reader
    ".csv": ("anything", _write_csv, partial(gathered, _csv)),
    ".jsonl": ("anything", _write_jsonl, _jsonl),
    ".parquet": ("anything", _write_parquet, partial(gathered, _parquet)),
    ".rttm": ("anything", _write_rttm, partial(gathered, _rttm)),
    "": ("anything", _write_kaldi, None),
    ".textgrid": ("recording", tiers.write_textgrid, partial(gathered, tiers.read_textgrid)),
    ".eaf": ("recording", tiers.write_eaf, partial(gathered, tiers.read_eaf)),
    ".txt": ("answer", tiers.write_audacity, partial(gathered, tiers.read_audacity)),
    ".vtt": ("answer", tiers.write_vtt, None),
}
