"""Segments as tiers and subtitles, one recording in a file: Praat, ELAN, Audacity, WebVTT."""

from __future__ import annotations

import html
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .rows import TEXT, FormatError, Rows, rows_of, save, unword, when, word
from .timeline import Segment, Timeline

_TIER = re.compile(r"emotion(?: (?P<channel>\d+))?(?:: (?P<speaker>.*))?")
_PRAAT = re.compile(r'name = "((?:[^"]|"")*)"|xmin = (\S+)\s+xmax = (\S+)\s+text = "((?:[^"]|"")*)"')
_XSI = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"


def _tiers(timelines: list[Timeline], path: Path) -> dict[str, list[Segment]]:
    """Segments by the title of their tier: `emotion`, `emotion 2: anna`. Raises: FormatError where two overlap."""
    tiers: dict[str, list[Segment]] = {}
    for answer in timelines:
        title = f"emotion {answer.channel}" if answer.channel else "emotion"
        for part in answer.segments or [None]:
            tier = tiers.setdefault(f"{title}: {part.speaker}" if part and part.speaker else title, [])
            if tier and part and part.start_seconds < tier[-1].end_seconds:
                raise FormatError(f"segments {when(tier[-1])} and {when(part)} s of speaker {part.speaker} overlap, "
                                  f"which a tier of {path} cannot show. Tell the speakers apart, or write .csv.")
            tier += [part] if part else []
    return tiers


def write_textgrid(timelines: list[Timeline], path: Path) -> None:
    """Praat's TextGrid in long text format: an interval tier for each channel and speaker, seconds."""
    tiers, ends = _tiers(timelines, path), [answer.duration_seconds for answer in timelines]
    end = round(max(ends + [row["end_seconds"] for row in rows_of(timelines)]), 3)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}",
             "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for i, (title, parts) in enumerate(tiers.items(), 1):
        edges = [0.0, *(edge for part in parts for edge in when(part)), end]
        gaps = [(start, stop, "") for start, stop in zip(edges[::2], edges[1::2]) if start < stop]
        intervals = sorted([*gaps, *((*when(part), part.label.replace('"', '""')) for part in parts)])
        tier = ['class = "IntervalTier"', 'name = "{}"'.format(title.replace('"', '""')), "xmin = 0", f"xmax = {end}",
                f"intervals: size = {len(intervals)}"]
        for k, (start, stop, label) in enumerate(intervals, 1):
            tier += [f"intervals [{k}]:", f"    xmin = {start}", f"    xmax = {stop}", f'    text = "{label}"']
        lines += [f"    item [{i}]:", *(" " * 8 + line for line in tier)]
    save(path, "\n".join(lines) + "\n")


def read_textgrid(path: Path) -> Rows:
    """The named intervals of such tiers, also in the UTF-16 that Praat takes for some names. Raises: ValueError for
    another format."""
    is_wide = path.read_bytes()[:2] in (BOM_UTF16_LE, BOM_UTF16_BE)
    text, tier = path.read_text("utf-16") if is_wide else path.read_text(**TEXT), None
    if "ooTextFile" not in text or "item [" not in text:
        raise ValueError("no TextGrid in long text format, in UTF-8 or UTF-16")
    for number, (title, start, end, label) in enumerate(_PRAAT.findall(text), 1):
        if not end:
            tier = _TIER.fullmatch(title.replace('""', '"'))
        elif tier and label:
            yield number, {"start": start, "end": end, "label": label.replace('""', '"'), **tier.groupdict()}


def write_eaf(timelines: list[Timeline], path: Path) -> None:
    """ELAN 3.0. The name of the recording as given is a property: ELAN changes the link when a file moves."""
    name, add, edges = timelines[0].name, ElementTree.SubElement, list[tuple[Any, ...]]()
    root = ElementTree.Element("ANNOTATION_DOCUMENT", AUTHOR="emotion", FORMAT="3.0", VERSION="3.0", DATE=(
        datetime.now().astimezone().isoformat(timespec="seconds")))
    root.set(_XSI, "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    header, slots = add(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds"), add(root, "TIME_ORDER")
    kind = "audio/x-wav" if name.lower().endswith(".wav") else "audio/*"
    add(header, "MEDIA_DESCRIPTOR", MEDIA_URL=Path(name).absolute().as_uri(), MIME_TYPE=kind)
    add(header, "PROPERTY", NAME="recording").text = word(name)
    for title, parts in _tiers(timelines, path).items():
        tier = add(root, "TIER", LINGUISTIC_TYPE_REF="emotion", TIER_ID=title)
        for part in parts:
            annotation = add(add(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"a{len(edges)}")
            add(annotation, "ANNOTATION_VALUE").text = part.label
            edges += zip(when(part), ("TIME_SLOT_REF1", "TIME_SLOT_REF2"), (annotation, annotation))
    for k, (seconds, which, annotation) in enumerate(sorted(edges, key=lambda edge: edge[0]), 1):
        annotation.set(which, f"ts{k}")
        add(slots, "TIME_SLOT", TIME_SLOT_ID=f"ts{k}", TIME_VALUE=str(round(1000 * seconds)))
    add(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="emotion", CONTROLLED_VOCABULARY_REF="emotions",
        GRAPHIC_REFERENCES="false", TIME_ALIGNABLE="true")
    add(root, "LANGUAGE", LANG_ID="und", LANG_LABEL="undetermined (und)")
    vocabulary = add(root, "CONTROLLED_VOCABULARY", CV_ID="emotions")
    add(vocabulary, "DESCRIPTION", LANG_REF="und")
    for label in dict.fromkeys([*timelines[0].labels, "unknown", *(row["label"] for row in rows_of(timelines))]):
        add(add(vocabulary, "CV_ENTRY_ML", CVE_ID=f"cve_{label}"), "CVE_VALUE", LANG_REF="und").text = label
    save(path, ElementTree.tostring(root, "utf-8", xml_declaration=True))


def read_eaf(path: Path) -> Rows:
    """The aligned annotations of the tiers that `write_eaf` writes."""
    root = ElementTree.parse(path)
    slots: dict[Any, Any] = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    name = unword(root.findtext("HEADER/PROPERTY[@NAME='recording']", path.stem))
    for tier in root.iter("TIER"):
        title = _TIER.fullmatch(tier.get("TIER_ID", ""))
        for number, part in enumerate(tier.iter("ALIGNABLE_ANNOTATION"), 1):
            if title and (label := part.findtext("ANNOTATION_VALUE")):
                start, end = (int(slots[part.get(f"TIME_SLOT_REF{k}")]) / 1000 for k in (1, 2))
                yield number, {"path": name, "start": start, "end": end, "label": label, **title.groupdict()}


def write_audacity(timelines: list[Timeline], path: Path) -> None:
    """A label track: start, end, and the label behind its speaker."""
    save(path, "".join(
        f"{row['start_seconds']:.3f}\t{row['end_seconds']:.3f}\t" + (f"{row['speaker']}: " if row["speaker"] else "")
        + row["label"] + "\n" for row in rows_of(timelines)
    ))


def read_audacity(path: Path) -> Rows:
    """A label track, corrected or not."""
    for number, line in enumerate(path.read_text(**TEXT).splitlines(), 1):
        start, end, text = line.split("\t")
        speaker, _, label = text.rpartition(": ")
        yield number, {"start": start, "end": end, "label": label, "speaker": speaker}


def write_vtt(timelines: list[Timeline], path: Path) -> None:
    """WebVTT subtitles: label and confidence, the speaker as the voice."""
    cues = "WEBVTT\n"
    for row in rows_of(timelines):
        start, end = (f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
                      for ms in (round(1000 * row["start_seconds"]), round(1000 * row["end_seconds"])))
        voice = f"<v {html.escape(row['speaker'], quote=False)}>" if row["speaker"] else ""
        sure = "" if row["confidence"] is None else f" {row['confidence']:.2f}"
        cues += f"\n{start} --> {end}\n{voice}{html.escape(row['label'], quote=False)}{sure}\n"
    save(path, cues)
