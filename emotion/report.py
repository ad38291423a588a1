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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from . import bars, files, page
from .analyzer import Analyzer, FileError
from .bars import Block
from .labels import tell_apart
from .page import clock, escaped, shown
from .timeline import Timeline

TEMPLATE = Path(__file__).with_name("report.html.template")
ENDINGS = (".html", ".htm")
TEXT: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"}
PLAYED = {  # by browsers
    ".wav": "audio/wav", ".wave": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg",
    ".oga": "audio/ogg", ".opus": "audio/ogg",
}
SPREAD_LETTERS = 34   # that fit across a bar where it is narrowest
AROUND = 64   # pixels beside the table: the margins of the page and a scroll bar


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
    """The path itself. Raises ValueError where its ending is not that of a page, or no file can be made there."""
    return files.check_output(path, ENDINGS, "else no browser opens it as a page")


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
        above, below = _page(tally, analyzer, model, root)
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
    folder_ratings: defaultdict = field(default_factory=lambda: defaultdict(Counter))   # sums by dimension
    speaker_ratings: defaultdict = field(default_factory=lambda: defaultdict(Counter))   # sums, times seconds
    flags: Counter = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    embedded_bytes: int = 0
    linked: bool = False

    def add(self, answer: Timeline, name: str) -> None:
        """Count one answer, under the name that the page gives it."""
        self.files[answer.label] += 1
        folder = name.rpartition("/")[0]
        self.folders[folder][answer.label] += 1
        self.folder_ratings[folder].update(answer.dimensions)
        self.flags.update(answer.flags)
        self.seconds += answer.duration_seconds
        for part in answer.segments:
            seconds = part.end_seconds - part.start_seconds
            self.spoken_seconds[part.label] += seconds
            if part.speaker is not None:
                self.speakers[part.speaker][part.label] += seconds
                ratings = zip(answer.dimensions, part.dimensions)
                self.speaker_ratings[part.speaker].update({name: seconds * value for name, value in ratings})

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


def _row(answer: Timeline, name: str, sound: tuple[str, str]) -> str:
    source, link = sound  # in base64 and in percent signs nothing is left to escape
    folder, slash, base = name.rpartition("/")
    path = f'<span class="folder">{html.escape(folder + slash)}</span>{html.escape(base)}'
    if link:
        path = f'<a href="{link}">{path}</a>'
    if answer.channel is not None:
        path += f" <small>channel {answer.channel}</small>"
    label = html.escape(answer.label)
    named = [
        f'<td class="swatch {label}">{label}</td>', bars.number("confidence", answer.confidence),
        bars.number("entropy", answer.entropy),
    ]
    return "".join([
        f'<tr class="sound"><td><button class="play" aria-label="Play" data-src="{source}"></button></td>'
        if source else "<tr><td></td>",
        f'<th scope="row">{path}</th>', *(named if tell_apart(answer.labels) else []),
        *(bars.rating(name, value) for name, value in answer.dimensions.items()),
        f'<td class="flags">{escaped(" ".join(answer.flags))}</td>',
        bars.number("duration", answer.duration_seconds, clock(answer.duration_seconds)),
        f'<td class="line">{bars.timeline(answer)}</td></tr>\n',
    ])


class _Column(NamedTuple):
    """Of the table of recordings. pixels: the least, on a screen; kind: its width in print goes by it."""

    name: str
    pixels: int
    kind: str

    @property
    def head(self) -> str:
        if not self.name:
            return "<td></td>"
        told = self.name if self.kind == "line" else f"<button>{self.name}</button>"
        return f'<th class="number">{told}</th>' if self.kind in ("number", "rating") else f"<th>{told}</th>"

    @property
    def track(self) -> str:
        """How the grid gives it room."""
        most = {"path": "1fr", "line": "340px"}.get(self.kind)
        return f"minmax({self.pixels}px, {most})" if most else f"{self.pixels}px"


def _columns(named: bool, dimensions: Iterable[str]) -> list[_Column]:
    emotions = [_Column("label", 118, "label"), _Column("confidence", 96, "number"), _Column("entropy", 84, "number")]
    return [
        _Column("", 52, "play"), _Column("path", 150, "path"), *(emotions if named else []),
        *(_Column(name, 100, "rating") for name in dimensions), _Column("flags", 112, "flags"),
        _Column("duration", 92, "number"), _Column("timeline", 200 if dimensions else 290, "line"),
    ]


def _template(colours: Iterable[str], named: bool, dimensions: Sequence[str]) -> str:
    """The template with all that the kind of the model decides."""
    columns, template = _columns(named, dimensions), page.read(TEMPLATE, colours)
    for name, text in {
        "tracks": " ".join(column.track for column in columns),
        "narrow": f"{sum(column.pixels for column in columns) + AROUND - 1}px",
        "asked": page.asked(named, dimensions),
        "columns": "".join(f'<col class="width-{column.kind}">' for column in columns),
        "heads": "\n".join(column.head for column in columns),
        "reading": "\n".join(f'<p class="note">{text}</p>' for text in _reading(named, dimensions)),
    }.items():
        template = template.replace(f"${name}", text)
    return template


def _reading(named: bool, dimensions: Sequence[str]) -> Iterator[str]:
    """How to read the page, in paragraphs."""
    if named:
        yield ("<b>Confidence</b> is the probability of the label, <b>entropy</b> how far the probabilities are "
               "spread: 0 where one emotion has all, 1 where all are alike. Sort by either to meet first what deserves "
               "an ear.")
    if dimensions:
        yield (f"<b>Dimensions</b> are ratings as listeners give them: {page.ends(dimensions)}. Lines in a timeline "
               "follow them while somebody speaks, 0 below and 1 above, in the colours of their columns.")
    told = ["time", *(["label", "confidence"] if named else []), *(["dimensions"] if dimensions else [])]
    yield (f"<b>Timeline</b>: blocks are segments{' of one emotion' if named else ''}, a bare line where nobody "
           f"speaks. Point at a block for its {', '.join(told[:-1])} and {told[-1]}; click to hear it from there. On a "
           "play button, the left and right arrow keys move by a second.")
    yield ("<b>Flags</b> say when to trust an answer less: short (under half a second), silent, no_speech, clipped, "
           "band_limited (like a telephone), noisy (speech hardly louder than its pauses).")


def _page(tally: _Tally, analyzer: Analyzer, model: str, root: str | os.PathLike) -> tuple[str, str]:
    """The page above and below its rows."""
    named, dimensions = tell_apart(analyzer.labels), analyzer.dimensions
    held_back = {"unknown"} & {*tally.files, *tally.spoken_seconds} - {*analyzer.labels}
    colours = [*analyzer.labels, *held_back]
    labels = colours if named else []
    template = _template([*colours, *dimensions], named, dimensions)
    subject = "Emotions" if named else ", ".join(dimensions).capitalize()
    media = "data: 'self' file:" if tally.linked else "data:"  # a page opened from a disk has no self
    above, _, below = template.partition("$rows\n")
    return string.Template(above).substitute(
        policy=page.policy(template, media_src=media),
        title=escaped(f"{subject} in {os.path.basename(os.path.abspath(root))}"),
        totals=_totals(tally, model),
        spreads="\n".join([*_spreads(tally, labels), *_means(tally, dimensions)]),
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
    """Which emotions there are: in all recordings, in each folder, in each speaker's turns. Nothing without labels."""
    if not labels:
        return
    most, number = max([1, *tally.files.values()]), max(1, tally.files.total())
    rows = [
        f'<tr><th scope="row" class="swatch {label}">{label}</th>'
        f'<td>{bars.bar([Block(label, 0, tally.files[label] / most, label)], 0)}</td>'
        f'<td class="number">{tally.files[label]}</td><td class="number">{tally.files[label] / number:.0%}</td>'
        f'<td class="number">{clock(tally.spoken_seconds[label])}</td></tr>'
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
            f'<td class="number">{clock(seconds.total())}</td></tr>'
            for speaker, seconds in sorted(tally.speakers.items())
        ]
        yield _spread("By speaker", ["", "", "time in turns"], rows)


def _means(tally: _Tally, dimensions: Sequence[str]) -> Iterator[str]:
    """The mean of each dimension: of all recordings, of each folder, of each speaker's turns. Nothing without any."""
    if dimensions and tally.files:
        ratings, count = tally.folder_ratings, tally.files.total()
        every = {name: sum(sums[name] for sums in ratings.values()) for name in dimensions}
        rows = [_mean("all", every, count, f"{count}")]
        if len(ratings) > 1:
            counts = {folder: files.total() for folder, files in tally.folders.items()}
            rows += [_mean(_folder(folder), sums, counts[folder], f"{counts[folder]}")
                     for folder, sums in sorted(ratings.items())]
        yield _spread("Dimensions", ["", *dimensions, "recordings"], rows)
    if dimensions and tally.speakers:
        seconds = {speaker: spoken.total() for speaker, spoken in tally.speakers.items()}
        rows = [_mean(escaped(speaker), sums, seconds[speaker], clock(seconds[speaker]))
                for speaker, sums in sorted(tally.speaker_ratings.items())]
        yield _spread("Dimensions by speaker", ["", *dimensions, "time in turns"], rows)


def _mean(name: str, sums: Mapping[str, float], amount: float, shown: str) -> str:
    ratings = "".join(bars.rating(dimension, total / amount) for dimension, total in sums.items())
    return f'<tr><th scope="row">{name}</th>{ratings}<td class="number">{shown}</td></tr>'


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
            blocks.append(Block(label, start, share, f"{label} {form.format(amounts[label])}, {share:.0%}"))
            start += share
    return bars.bar(blocks, SPREAD_LETTERS)


def _failures(failures: list[tuple[str, str]]) -> str:
    if not failures:
        return ""
    items = "\n".join(f"<li><b>{html.escape(name)}</b>: {escaped(reason)}</li>" for name, reason in failures)
    return f'<section><h2>Could not be read</h2><ul class="failures long">\n{items}\n</ul></section>'


def _relative(name: str, root: str | os.PathLike) -> str:
    return Path(name).relative_to(root).as_posix() if Path(name).is_relative_to(root) else name


def _length(seconds: float) -> str:
    """In words that fit its size."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
