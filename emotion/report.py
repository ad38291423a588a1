"""A scored folder as one page to read and listen to: totals, who sounds how, each recording with its timeline.

The page needs nothing but a browser. It holds its own script and style, and small recordings too; its security policy
knows these two by their hashes and forbids all else, so that no file name can become a program.
"""

from __future__ import annotations

import base64
import html
import os
import shutil
import string
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import files, page
from .analyzer import Analyzer, FileError
from .page import escaped, shown
from .timeline import Segment, Timeline

TEMPLATE = Path(__file__).with_name("report.html.template")
ENDINGS = (".html", ".htm")
TEXT: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"}
PLAYED = {  # by browsers
    ".wav": "audio/wav", ".wave": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg",
    ".oga": "audio/ogg", ".opus": "audio/ogg",
}
LANE_HEIGHT = 24
TIMELINE_LETTERS, SPREAD_LETTERS = 46, 34  # that fit across a bar where it is narrowest


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Recordings that the page holds itself; it links to the others where they lie. 0 links to all."""

    file_bytes: int = 2_000_000   # of a recording at most
    total_bytes: int = 50_000_000   # of all of them; the page grows by four bytes for three

    def __post_init__(self):
        if self.file_bytes < 0 or self.total_bytes < 0:
            raise ValueError(
                f"file_bytes={self.file_bytes} and total_bytes={self.total_bytes} must not be negative. "
                "Use 0 to embed nothing."
            )


def check_path(path: str | os.PathLike) -> Path:
    """The path itself. Raises ValueError where its ending is not that of a page, or its folder is not there."""
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path} must end in {' or '.join(ENDINGS)}: else no browser opens it as a page. Rename it.")
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} into. Make it first.")
    return path


def write(
    answers: Iterable[Timeline | FileError], path: str | os.PathLike, analyzer: Analyzer, root: str | os.PathLike,
    embed: EmbedConfig = EmbedConfig(), model_name: str = "",
) -> Iterator[Timeline | FileError]:
    """Write the page of all answers and hand every answer on as it comes; consume it to the end.

    Paths are told from root, links lead from the page's folder. Rows wait in a nameless file until the totals above
    them are known; the page grows in <path>.part and takes its name when it is whole.

    model_name: what its readers call the model, told before its fingerprint.
    Raises: ValueError as check_path does, or for a label that has no colour.
    """
    path = check_path(path)
    page.read(TEMPLATE, analyzer.labels)   # a label without a colour is refused before anything is scored
    model, tally = f"{model_name} {analyzer.fingerprint}".strip(), _Tally()
    with files.whole(path, **TEXT) as whole, tempfile.TemporaryFile("w+", dir=path.parent, **TEXT) as rows:
        for answer in answers:
            name = shown(_relative(answer.name, root))
            if isinstance(answer, Timeline):
                rows.write(_row(answer, name, tally.sound(answer.name, path.parent, embed)))
                tally.add(answer, name)
            else:
                tally.failures.append((name, answer.reason))
            yield answer
        rows.seek(0)
        above, below = _page(tally, analyzer.labels, model, root)
        whole.write(above)
        shutil.copyfileobj(rows, whole)
        whole.write(below)


@dataclass
class _Tally:
    """What the top of the page tells of all the rows below."""

    files: Counter = field(default_factory=Counter)   # by label
    spoken_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))   # by label
    folders: defaultdict = field(default_factory=lambda: defaultdict(Counter))   # files by label
    speakers: defaultdict = field(default_factory=lambda: defaultdict(Counter))   # seconds by label
    flags: Counter = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    embedded_bytes: int = 0
    linked: bool = False

    def add(self, answer: Timeline, name: str) -> None:
        """Count one answer, under the name that the page gives it."""
        self.files[answer.label] += 1
        self.folders[name.rpartition("/")[0]][answer.label] += 1
        self.flags.update(answer.flags)
        self.seconds += answer.duration_seconds
        for part in answer.segments:
            self.spoken_seconds[part.label] += part.end_seconds - part.start_seconds
            if part.speaker is not None:
                self.speakers[part.speaker][part.label] += part.end_seconds - part.start_seconds

    def sound(self, name: str, folder: Path, embed: EmbedConfig) -> tuple[str, str]:
        """Where the page finds a recording: what its player plays, and where its name leads; "" for nowhere."""
        if not os.path.isfile(name):  # an array, a stream
            return "", ""
        kind = PLAYED.get(Path(name).suffix.lower())
        size = os.path.getsize(name)
        if kind and size <= min(embed.file_bytes, embed.total_bytes - self.embedded_bytes):
            self.embedded_bytes += size
            return f"data:{kind};base64,{base64.b64encode(Path(name).read_bytes()).decode()}", ""
        link = quote(os.fsencode(Path(os.path.relpath(name, folder)).as_posix()))
        self.linked = self.linked or bool(kind)
        return link if kind else "", link


@dataclass(frozen=True)
class _Block:
    """A part of a bar, from start over width, both in shares of it."""

    label: str
    start: float
    width: float
    title: str
    lane: int = 0


def _bar(blocks: Iterable[_Block], letters: int, lanes: int = 1) -> str:
    """An SVG of coloured blocks, each named where it has room. No style attributes: the policy forbids them."""
    drawn = []
    for block in blocks:
        label, top, height = html.escape(block.label), 100 * block.lane / lanes, 100 / lanes
        drawn.append(
            f'<rect class="{label}" x="{100 * block.start:.2f}%" y="{top:.4g}%" width="{100 * block.width:.2f}%" '
            f'height="{height:.4g}%"><title>{escaped(block.title)}</title></rect>'
        )
        if len(block.label) + 2 <= block.width * letters:
            middle = 100 * (block.start + block.width / 2)
            drawn.append(f'<text class="{label}" x="{middle:.2f}%" y="{top + height / 2:.4g}%">{label}</text>')
    return f'<svg height="{LANE_HEIGHT * lanes}"><line x2="100%" y1="50%" y2="50%"/>{"".join(drawn)}</svg>'


def _timeline(answer: Timeline) -> str:
    """The segments of a recording; a lane for each speaker, as they may speak at once."""
    speakers = list(dict.fromkeys(part.speaker for part in answer.segments))
    blocks = []
    for part in answer.segments:
        start, end = (min(1, seconds / answer.duration_seconds) for seconds in (part.start_seconds, part.end_seconds))
        blocks.append(_Block(part.label, start, end - start, _segment_title(part), speakers.index(part.speaker)))
    return _bar(blocks, TIMELINE_LETTERS, max(1, len(speakers)))


def _segment_title(part: Segment) -> str:
    speaker = "" if part.speaker is None else f"{part.speaker}: "
    times = f"{_clock(part.start_seconds)} \u2013 {_clock(part.end_seconds)}"
    return f"{times} {speaker}{part.label} {part.confidence:.2f}"


def _row(answer: Timeline, name: str, sound: tuple[str, str]) -> str:
    source, link = sound  # in base64 and in percent signs nothing is left to escape
    folder, slash, base = name.rpartition("/")
    path = f'<span class="folder">{html.escape(folder + slash)}</span>{html.escape(base)}'
    if link:
        path = f'<a href="{link}">{path}</a>'
    if answer.channel is not None:
        path += f" <small>channel {answer.channel}</small>"
    label = html.escape(answer.label)
    return "".join([
        f'<tr class="sound"><td><button class="play" aria-label="Play" data-src="{source}"></button></td>'
        if source else "<tr><td></td>",
        f'<th scope="row">{path}</th><td class="swatch {label}">{label}</td>',
        _number("confidence", answer.confidence, f"{answer.confidence:.2f}"),
        _number("entropy", answer.entropy, f"{answer.entropy:.2f}"),
        f'<td class="flags">{escaped(" ".join(answer.flags))}</td>',
        _number("duration", answer.duration_seconds, _clock(answer.duration_seconds)),
        f'<td class="line">{_timeline(answer)}</td></tr>\n',
    ])


def _number(name: str, value: float, shown: str) -> str:
    """A cell that sorts by its value; its name is told where there are no columns."""
    return f'<td class="number" data-name="{name}" data-value="{value:.6f}">{shown}</td>'


def _page(tally: _Tally, labels: Iterable[str], model: str, root: str | os.PathLike) -> tuple[str, str]:
    """The page above and below its rows."""
    labels = [*labels, *(["unknown"] if "unknown" in {*tally.files, *tally.spoken_seconds} else [])]
    template = page.read(TEMPLATE, labels)
    media = "data: 'self' file:" if tally.linked else "data:"  # a page opened from a disk has no self
    above, _, below = template.partition("$rows\n")
    return string.Template(above).substitute(
        policy=page.policy(template, media_src=media),
        title=escaped(f"Emotions in {os.path.basename(os.path.abspath(root))}"),
        totals=_totals(tally, model),
        spreads="\n".join(_spreads(tally, labels)),
        failures=_failures(tally.failures),
        legend="\n".join(
            f'<button class="chip swatch {label}" value="{label}" aria-pressed="false">{label}</button>'
            for label in labels
        ),
    ), below


def _totals(tally: _Tally, model: str) -> str:
    told = {
        "recordings": f"{tally.files.total()}",
        "length": _length(tally.seconds),
        "could not be read": f"{len(tally.failures)}" if tally.failures else "",
        "flags": "".join(
            f'<button class="text" data-search="{escaped(flag)}">{escaped(flag)} {count}</button>'
            for flag, count in sorted(tally.flags.items())
        ),
        "model": escaped(model),
    }
    return "\n".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in told.items() if value)


def _spreads(tally: _Tally, labels: list[str]) -> Iterator[str]:
    """Which emotions there are: in all recordings, in each folder, in each speaker's turns."""
    most, number = max([1, *tally.files.values()]), max(1, tally.files.total())
    rows = [
        f'<tr><th scope="row" class="swatch {label}">{label}</th>'
        f'<td>{_bar([_Block(label, 0, tally.files[label] / most, label)], 0)}</td>'
        f'<td class="number">{tally.files[label]}</td><td class="number">{tally.files[label] / number:.0%}</td>'
        f'<td class="number">{_clock(tally.spoken_seconds[label])}</td></tr>'
        for label in labels
    ]
    yield _spread("Emotions", ["", "", "recordings", "share", "time in segments"], rows)
    if len(tally.folders) > 1:
        rows = [
            f'<tr><th scope="row">{_folder(folder)}</th><td>{_stack(files, labels, "{:.0f}")}</td>'
            f'<td class="number">{files.total()}</td></tr>'
            for folder, files in sorted(tally.folders.items())
        ]
        yield _spread("By folder", ["", "", "recordings"], rows)
    if tally.speakers:
        rows = [
            f'<tr><th scope="row">{escaped(speaker)}</th><td>{_stack(seconds, labels, "{:.1f} s")}</td>'
            f'<td class="number">{_clock(seconds.total())}</td></tr>'
            for speaker, seconds in sorted(tally.speakers.items())
        ]
        yield _spread("By speaker", ["", "", "time in turns"], rows)


def _spread(title: str, columns: list[str], rows: list[str]) -> str:
    heads = "".join(f'<th class="number">{name}</th>' if name else "<td></td>" for name in columns)
    return (
        f'<section><h2>{title}</h2><div class="long"><table class="spread"><thead><tr>{heads}</tr></thead>'
        f'<tbody>\n{chr(10).join(rows)}\n</tbody></table></div></section>'
    )


def _folder(name: str) -> str:
    return f'<button class="text" data-search="{html.escape(name)}/">{html.escape(name)}</button>' if name else "./"


def _stack(amounts: Mapping[str, float], labels: list[str], form: str) -> str:
    """One bar of all that there is of each label."""
    whole, start, blocks = sum(amounts.values()) or 1, 0.0, []
    for label in labels:
        if amounts[label]:
            share = amounts[label] / whole
            blocks.append(_Block(label, start, share, f"{label} {form.format(amounts[label])}, {share:.0%}"))
            start += share
    return _bar(blocks, SPREAD_LETTERS)


def _failures(failures: list[tuple[str, str]]) -> str:
    if not failures:
        return ""
    items = "\n".join(f"<li><b>{html.escape(name)}</b>: {escaped(reason)}</li>" for name, reason in failures)
    return f'<section><h2>Could not be read</h2><ul class="failures long">\n{items}\n</ul></section>'


def _relative(name: str, root: str | os.PathLike) -> str:
    return Path(name).relative_to(root).as_posix() if Path(name).is_relative_to(root) else name


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def _length(seconds: float) -> str:
    """In words that fit its size."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
