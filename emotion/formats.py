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
import html
import io
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote
from xml.etree import ElementTree

import numpy as np

from . import datadir, files
from .labels import DIMENSIONS, EMOTIONS
from .timeline import Segment, Span, Timeline

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = Iterator[tuple[int, dict[str, Any]]]   # number of a line or item, and what it tells of a segment

_TEXT = {"encoding": "utf-8-sig", "errors": "surrogateescape"}   # names need not be UTF-8
_UNSAFE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\ufffe\uffff]")   # not UTF-8, XML or of one line
_TIER = re.compile(r"emotion(?: (?P<channel>\d+))?(?:: (?P<speaker>.*))?")
_PRAAT = re.compile(r'name = "((?:[^"]|"")*)"|xmin = (\S+)\s+xmax = (\S+)\s+text = "((?:[^"]|"")*)"')
_XSI = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
_when = attrgetter("start_seconds", "end_seconds")
_unword = partial(unquote, errors="surrogateescape")


class FormatError(ValueError):
    """A file that is not what its ending says, or an answer that a format cannot hold."""


@dataclass(frozen=True)
class NamedSpan(Span):
    """A span with the id that its file gives it."""

    id: str | None = None


def write(timelines: Timeline | Iterable[Timeline], path: str | os.PathLike) -> None:
    """Write segments, ordered by start, in the format that the ending chooses; times in milliseconds.

    A file takes its name once it is whole and on the disk; a Kaldi folder must not hold recordings before.
    Raises: ValueError, before anything is written, for what would be lost, or read as something else.
    """
    path, timelines = check_path(path), _ordered(timelines)
    holds, writer, _ = FORMATS[_ending(path)]
    if {"anything": 1, "recording": len({a.name for a in timelines}), "answer": len(timelines)}[holds] != 1:
        raise FormatError(f"{len(timelines)} answers for {path}, which holds one {holds}. Write a file for each.")
    texts = (text for row in _rows(timelines) for text in (row["label"], row["speaker"] or ""))
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
    try:
        return readers[_ending(path)](path)
    except (AttributeError, LookupError, TypeError, ValueError, ElementTree.ParseError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is not what its ending says ({error!r}). Write it again, or rename it.") from error


def check_path(path: str | os.PathLike) -> Path:
    """The path itself. Raises FormatError where its ending names no format, or its folder is not there."""
    path = Path(path)
    if _ending(path) not in FORMATS:
        raise FormatError(f"{path} must end in {' '.join(FORMATS)}, or in nothing for a Kaldi folder. Rename it.")
    if _ending(path) and not path.parent.is_dir():
        raise FormatError(f"no folder {path.parent} to write {path.name} into. Make it first.")
    return path


def to_dataframe(timelines: Timeline | Iterable[Timeline]) -> DataFrame:
    """The table of segments, as .csv has it. Raises: ModuleNotFoundError without pandas."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("no pandas: it makes the DataFrame. pip install 'emotion[parquet]'") from error
    kinds = {"path": object, "label": object, "speaker": object, "channel": "Int64"}   # names need not be UTF-8
    table = _table(_ordered(timelines))
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
    found = defaultdict(list)
    for number, row in readers[_ending(path)](path):
        times, recording = _times(path, number, row), row.get("path") or row.get("file")
        if not recording:
            raise FormatError(f"{path}:{number}: no path or file: the span could be of any. Name the recording.")
        found[recording].append(NamedSpan(*times, row.get("speaker") or None, row.get("id") or None))
    return {recording: sorted(spans, key=_when) for recording, spans in found.items()}


def _ending(path: Path) -> str:
    return "" if path.is_dir() else path.suffix.lower()


def _ordered(timelines: Timeline | Iterable[Timeline]) -> list[Timeline]:
    """The answers, each of another recording or channel, with segments in order and in milliseconds."""
    found = {}
    for answer in [timelines] if isinstance(timelines, Timeline) else timelines:
        if not isinstance(answer, Timeline):
            raise FormatError(f"{answer!r} is no Timeline: it would be missing in silence. Leave it out yourself.")
        if (answer.name, answer.channel) in found or not answer.name:
            raise FormatError(f"two answers for {answer.name!r}, or no name: they would read as one. Give names.")
        parts = [replace(part, start_seconds=round(part.start_seconds, 3), end_seconds=round(part.end_seconds, 3))
                 for part in sorted(answer.segments, key=_when)]
        if bad := [_when(part) for part in parts if not 0 <= part.start_seconds < part.end_seconds < math.inf]:
            raise FormatError(f"segment {bad[0]} s of {answer.name!r}: nobody can show it. Give 0 <= start < end.")
        found[answer.name, answer.channel] = replace(answer, segments=tuple(parts))
    return list(found.values())


def _rows(timelines: list[Timeline]) -> list[dict[str, Any]]:
    """A row for each segment; None for what is not known."""
    return [{
        "path": answer.name, "channel": answer.channel, "start_seconds": part.start_seconds,
        "end_seconds": part.end_seconds, "label": part.label,
        "confidence": None if math.isnan(part.confidence) else part.confidence, "speaker": part.speaker,
        **dict(zip(answer.dimensions, part.dimensions)),
        **{f"p_{label}": p for label, p in zip(answer.labels, part.probabilities)},
    } for answer in timelines for part in answer.segments]


def _table(timelines: list[Timeline]) -> dict[str, list]:
    """Columns of the table of segments; channel and speaker only where one is known."""
    names = ["path", "channel", "start_seconds", "end_seconds", "label", "confidence", "speaker"]
    names += dict.fromkeys(name for answer in timelines for name in answer.dimensions)
    names += dict.fromkeys(f"p_{label}" for answer in timelines for label in answer.labels)
    rows = _rows(timelines)
    table = {name: [row.get(name) for row in rows] for name in names}
    return {name: values for name, values in table.items() if name not in ("channel", "speaker") or any(values)}


def _gathered(reader: Callable[[Path], Rows], path: Path) -> list[Timeline]:
    """The answers that a reader's rows tell of, by recording and channel."""
    found, answers = defaultdict(list), []
    for number, row in reader(path):
        known = {name: value for name, value in row.items() if value not in ("", None)}
        found[known.get("path", path.stem), known.get("channel")].append((_times(path, number, known), known))
    for (name, channel), rows in found.items():
        columns = dict.fromkeys(column for _, known in rows for column in known if column.startswith("p_"))
        dimensions = [name for name in DIMENSIONS if all(name in known for _, known in rows)]
        answers.append(_answer(name, channel and int(channel), tuple(column[2:] for column in columns) or EMOTIONS, [
            Segment(*times, known["label"], float(known.get("confidence", math.nan)),
                    tuple(float(known[column]) for column in columns if column in known), known.get("speaker"),
                    tuple(float(known[name]) for name in dimensions))
            for times, known in rows
        ], dict.fromkeys(dimensions, math.nan)))
    return answers


def _answer(
    name: str, channel: int | None, labels: tuple[str, ...], parts: list[Segment], dimensions: dict[str, float],
) -> Timeline:
    return Timeline(
        name=name, labels=labels, duration_seconds=max((part.end_seconds for part in parts), default=0.0),
        probabilities=np.zeros(len(labels)), step_times=np.empty(0), step_probabilities=np.empty((0, len(labels))),
        step_speech=np.empty(0), segments=tuple(sorted(parts, key=_when)), unknown_below=math.inf, channel=channel,
        dimensions=dimensions,
    )


def _times(path: Path, number: int, row: dict[str, Any]) -> tuple[float, float]:
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


def _save(path: Path, content: str | bytes) -> None:
    with files.whole(path, "wb") as file:
        file.write(datadir.c_order(content) if isinstance(content, str) else content)


def _write_csv(timelines: list[Timeline], path: Path) -> None:
    text, table = io.StringIO(newline=""), _table(timelines)
    cells = ([round(value, 6) if isinstance(value, float) else value for value in values] for values in table.values())
    # All text in quotes: not every Python puts a cell there for its carriage return, which then ends the row.
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows([table, *zip(*cells)])
    _save(path, text.getvalue())


def _csv(path: Path) -> Rows:
    reader = csv.DictReader(io.StringIO(path.read_bytes().decode(**_TEXT), newline=""), strict=True)
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
    arrow, table, sink = _arrow(), _table(timelines), io.BytesIO()
    kinds = {"channel": arrow.int32(), **dict.fromkeys(("path", "label", "speaker"), arrow.string())}
    try:
        columns = {name: arrow.array(table[name], kinds.get(name, arrow.float64())) for name in table}
    except UnicodeEncodeError as error:
        raise FormatError(f"{error.object!r} is not UTF-8, as {path} must be. Rename it, or write .csv.") from None
    arrow.parquet.write_table(arrow.table(columns), sink)
    _save(path, sink.getvalue())


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
    _save(path, "".join(json.dumps({"channel": answer.channel, **answer.to_dict()}) + "\n" for answer in timelines))


def _jsonl(path: Path) -> list[Timeline]:
    answers = []
    for number, told in enumerate(map(json.loads, filter(None, path.read_text(**_TEXT).split("\n"))), 1):
        labels, probabilities = zip(*told["probabilities"].items())
        parts = [
            Segment(*_times(path, number, part), str(part["label"]), float(part["confidence"]),
                    (*map(float, part["probabilities"].values()),), part["speaker"],
                    (*map(float, (part.get("dimensions") or {}).values()),))
            for part in told["segments"]
        ]
        held = _answer(told["path"], told.get("channel"), labels, parts, told.get("dimensions") or {})
        answers.append(replace(
            held, probabilities=np.array(probabilities, float),
            duration_seconds=float(told["duration_seconds"]), flags=tuple(told["flags"]),
            unknown_below=math.inf if told["label"] == "unknown" else 0.0,
        ))
    return answers


def _word(text: str | None, unsafe: str = r"[\s%<\x00-\x1f\x7f\ud800-\udfff]") -> str:
    """One word for tables that are cut at spaces: unsafe characters as their bytes, %20; nothing as <NA>."""
    return re.sub(unsafe, lambda found: quote_from_bytes(datadir.c_order(found[0]), ""), text) if text else "<NA>"


def _write_rttm(timelines: list[Timeline], path: Path) -> None:
    """The label stands where a diarizer names the speaker, the one field that all readers of RTTM hand on: its tools
    then show and score emotions. The speaker stands where words would (ortho), since NIST's md-eval refuses SPEAKER
    lines with a subtype. All channels mixed are channel 1, since readers want a number.
    """
    _save(path, "".join(
        f"SPEAKER {_word(row['path'])} {row['channel'] or 1} {row['start_seconds']:.3f} "
        f"{row['end_seconds'] - row['start_seconds']:.3f} {_word(row['speaker'])} <NA> {_word(row['label'])} "
        + ("<NA>" if row["confidence"] is None else f"{row['confidence']:.6f}") + " <NA>\n" for row in _rows(timelines)
    ))


def _rttm(path: Path, who: str = "speaker", what: str = "label") -> Rows:
    """SPEAKER lines; who and what name the fields of words and of the speaker. Channel 1 alone is taken for all."""
    columns = ("type", "path", "channel", "start", "duration", who, "subtype", what, "confidence")
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(path.read_text(**_TEXT).split("\n"), 1):
        fields = ["" if field == "<NA>" else _unword(field) for field in line.split()]
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
    if (path / "wav.scp").exists():
        raise FormatError(f"{path} has recordings: their emotions may be what people told. Name a new folder.")
    word = partial(_word, unsafe=r"""[\s!"#%:/\x00-\x1f\x7f\ud800-\udfff]""")
    names, utterances = {answer.name for answer in timelines}, []
    short = len({Path(name).stem for name in names}) == len(names)   # else two recordings would have one id
    for answer in timelines:
        if answer.channel or answer.name.endswith("|") or "\r" in answer.name:
            raise FormatError(f"{answer.name!r}, channel {answer.channel}: wav.scp would name all channels, a command "
                              "or two lines. Make it a file of its own, and its name plain.")
        recording = word(Path(answer.name).stem if short else answer.name)
        for part in answer.segments:
            speaker = f"{recording}:{word(part.speaker)}" if part.speaker else recording
            times = "-".join(f"{round(1000 * seconds):08}" for seconds in _when(part))
            utterances.append(datadir.Utterance(f"{speaker}#{times}", speaker, answer.name, part.label, *_when(part),
                                                **dict(zip(answer.dimensions, part.dimensions))))
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


def _tiers(timelines: list[Timeline], path: Path) -> dict[str, list[Segment]]:
    """Segments by the title of their tier: `emotion`, `emotion 2: anna`. Raises: FormatError where two overlap."""
    tiers: dict[str, list[Segment]] = {}
    for answer in timelines:
        title = f"emotion {answer.channel}" if answer.channel else "emotion"
        for part in answer.segments or [None]:
            tier = tiers.setdefault(f"{title}: {part.speaker}" if part and part.speaker else title, [])
            if tier and part and part.start_seconds < tier[-1].end_seconds:
                raise FormatError(f"segments {_when(tier[-1])} and {_when(part)} s of speaker {part.speaker} overlap, "
                                  f"which a tier of {path} cannot show. Tell the speakers apart, or write .csv.")
            tier += [part] if part else []
    return tiers


def _write_textgrid(timelines: list[Timeline], path: Path) -> None:
    tiers, ends = _tiers(timelines, path), [answer.duration_seconds for answer in timelines]
    end = round(max(ends + [row["end_seconds"] for row in _rows(timelines)]), 3)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}",
             "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for i, (title, parts) in enumerate(tiers.items(), 1):
        edges = [0.0, *(edge for part in parts for edge in _when(part)), end]
        gaps = [(start, stop, "") for start, stop in zip(edges[::2], edges[1::2]) if start < stop]
        intervals = sorted([*gaps, *((*_when(part), part.label.replace('"', '""')) for part in parts)])
        tier = ['class = "IntervalTier"', 'name = "{}"'.format(title.replace('"', '""')), "xmin = 0", f"xmax = {end}",
                f"intervals: size = {len(intervals)}"]
        for k, (start, stop, label) in enumerate(intervals, 1):
            tier += [f"intervals [{k}]:", f"    xmin = {start}", f"    xmax = {stop}", f'    text = "{label}"']
        lines += [f"    item [{i}]:", *(" " * 8 + line for line in tier)]
    _save(path, "\n".join(lines) + "\n")


def _textgrid(path: Path) -> Rows:
    text, tier = path.read_text(**_TEXT), None
    if "ooTextFile" not in text or "item [" not in text:
        raise ValueError("no TextGrid in long text format and UTF-8")
    for number, (title, start, end, label) in enumerate(_PRAAT.findall(text), 1):
        if not end:
            tier = _TIER.fullmatch(title.replace('""', '"'))
        elif tier and label:
            yield number, {"start": start, "end": end, "label": label.replace('""', '"'), **tier.groupdict()}


def _write_eaf(timelines: list[Timeline], path: Path) -> None:
    """ELAN 3.0. The name of the recording as given is a property: ELAN changes the link when a file moves."""
    name, add, edges = timelines[0].name, ElementTree.SubElement, list[tuple[Any, ...]]()
    root = ElementTree.Element("ANNOTATION_DOCUMENT", AUTHOR="emotion", FORMAT="3.0", VERSION="3.0", DATE=(
        datetime.now().astimezone().isoformat(timespec="seconds")))
    root.set(_XSI, "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    header, slots = add(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds"), add(root, "TIME_ORDER")
    kind = "audio/x-wav" if name.lower().endswith(".wav") else "audio/*"
    add(header, "MEDIA_DESCRIPTOR", MEDIA_URL=Path(name).absolute().as_uri(), MIME_TYPE=kind)
    add(header, "PROPERTY", NAME="recording").text = _word(name)
    for title, parts in _tiers(timelines, path).items():
        tier = add(root, "TIER", LINGUISTIC_TYPE_REF="emotion", TIER_ID=title)
        for part in parts:
            annotation = add(add(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"a{len(edges)}")
            add(annotation, "ANNOTATION_VALUE").text = part.label
            edges += zip(_when(part), ("TIME_SLOT_REF1", "TIME_SLOT_REF2"), (annotation, annotation))
    for k, (seconds, which, annotation) in enumerate(sorted(edges, key=lambda edge: edge[0]), 1):
        annotation.set(which, f"ts{k}")
        add(slots, "TIME_SLOT", TIME_SLOT_ID=f"ts{k}", TIME_VALUE=str(round(1000 * seconds)))
    add(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="emotion", CONTROLLED_VOCABULARY_REF="emotions",
        GRAPHIC_REFERENCES="false", TIME_ALIGNABLE="true")
    add(root, "LANGUAGE", LANG_ID="und", LANG_LABEL="undetermined (und)")
    vocabulary = add(root, "CONTROLLED_VOCABULARY", CV_ID="emotions")
    add(vocabulary, "DESCRIPTION", LANG_REF="und")
    for label in dict.fromkeys([*timelines[0].labels, "unknown", *(row["label"] for row in _rows(timelines))]):
        add(add(vocabulary, "CV_ENTRY_ML", CVE_ID=f"cve_{label}"), "CVE_VALUE", LANG_REF="und").text = label
    _save(path, ElementTree.tostring(root, "utf-8", xml_declaration=True))


def _eaf(path: Path) -> Rows:
    root = ElementTree.parse(path)
    slots: dict[Any, Any] = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    name = _unword(root.findtext("HEADER/PROPERTY[@NAME='recording']", path.stem))
    for tier in root.iter("TIER"):
        title = _TIER.fullmatch(tier.get("TIER_ID", ""))
        for number, part in enumerate(tier.iter("ALIGNABLE_ANNOTATION"), 1):
            if title and (label := part.findtext("ANNOTATION_VALUE")):
                start, end = (int(slots[part.get(f"TIME_SLOT_REF{k}")]) / 1000 for k in (1, 2))
                yield number, {"path": name, "start": start, "end": end, "label": label, **title.groupdict()}


def _write_audacity(timelines: list[Timeline], path: Path) -> None:
    _save(path, "".join(
        f"{row['start_seconds']:.3f}\t{row['end_seconds']:.3f}\t" + (f"{row['speaker']}: " if row["speaker"] else "")
        + row["label"] + "\n" for row in _rows(timelines)
    ))


def _audacity(path: Path) -> Rows:
    for number, line in enumerate(path.read_text(**_TEXT).splitlines(), 1):
        start, end, text = line.split("\t")
        speaker, _, label = text.rpartition(": ")
        yield number, {"start": start, "end": end, "label": label, "speaker": speaker}


def _write_vtt(timelines: list[Timeline], path: Path) -> None:
    cues = "WEBVTT\n"
    for row in _rows(timelines):
        start, end = (f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
                      for ms in (round(1000 * row["start_seconds"]), round(1000 * row["end_seconds"])))
        voice = f"<v {html.escape(row['speaker'], quote=False)}>" if row["speaker"] else ""
        sure = "" if row["confidence"] is None else f" {row['confidence']:.2f}"
        cues += f"\n{start} --> {end}\n{voice}{html.escape(row['label'], quote=False)}{sure}\n"
    _save(path, cues)


FORMATS: dict[str, tuple[str, Any, Any]] = {   # ending: how much a file holds, its writer, its reader
    ".csv": ("anything", _write_csv, partial(_gathered, _csv)),
    ".jsonl": ("anything", _write_jsonl, _jsonl),
    ".parquet": ("anything", _write_parquet, partial(_gathered, _parquet)),
    ".rttm": ("anything", _write_rttm, partial(_gathered, _rttm)),
    "": ("anything", _write_kaldi, None),
    ".textgrid": ("recording", _write_textgrid, partial(_gathered, _textgrid)),
    ".eaf": ("recording", _write_eaf, partial(_gathered, _eaf)),
    ".txt": ("answer", _write_audacity, partial(_gathered, _audacity)),
    ".vtt": ("answer", _write_vtt, None),
}
