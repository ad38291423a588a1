import base64
import hashlib
import json
import os
import re
import shutil
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin

import numpy as np
import pytest
import soundfile
from tiny import tiny as untrained

from emotion import audio, bars, page, report
from emotion.analyzer import Analyzer, FileError
from emotion.checkpoint import build
from emotion.features import FrontendConfig
from emotion.labels import Scheme
from emotion.plot import COLOURS, LINES
from emotion.report import EmbedConfig
from emotion.timeline import Segment, Timeline

LABELS = ("anger", "fear", "happiness", "neutral", "sadness")
HOSTILE = [
    "<script>window.ran = 1</script>.wav", "</script><script>window.ran = 1</script>.wav",
    "</style></title></table><h1>.wav", '"><img src=x onerror=window.ran=1>.wav', "' onclick='window.ran=1' x='.wav",
    "javascript:window.ran=1.wav", "a line\nand another\ttab\r\x00\x1b[31m.wav", "not utf-8 \udcff\udc80.wav",
    "half a pair \ud83d.wav", "$title ${rows} $$ {0} %s.wav", "&lt;script&gt;&quot;&#0;&amp.wav",
    "<!-- --> ]]> <![CDATA[.wav", "left \u202evaw.thgir\u2028.wav", "\\\\ ` ${window.ran = 1} `.wav",
]


@pytest.fixture
def analyzer(tiny) -> Analyzer:
    return Analyzer(tiny, "cpu", speech=None)


def answer(name: str, *probabilities: float, **further) -> Timeline:
    probabilities = np.array(probabilities or (0.5, 0.125, 0.125, 0.125, 0.125))
    settings = {
        "duration_seconds": 2.0, "segments": (
            Segment(0.0, 0.5, "anger", 0.5, tuple(probabilities)),
            Segment(1.0, 2.0, "fear", 0.75, tuple(probabilities)),
        ), **further,
    }
    return Timeline(
        name=str(name), labels=LABELS, probabilities=probabilities, step_times=np.array([0.03]),
        step_probabilities=probabilities[None], step_speech=np.ones(1), **settings,
    )


@pytest.fixture
def felt(rating) -> Analyzer:
    """Of a model of valence and arousal beside classes."""
    return Analyzer(rating, "cpu", speech=None)


@pytest.fixture
def alone() -> Analyzer:
    """Of a model of valence and arousal alone."""
    return Analyzer(untrained("none", dimensions=["valence", "arousal"]), "cpu", speech=None)


def rated(given: Timeline, valence: float, arousal: float, steps=((0.75, 0.25),), named: bool = True) -> Timeline:
    """An answer with dimensions: of the whole, of each segment, of steps at equal distances; without labels, if so."""
    steps, only = np.array(steps), {} if named else {"labels": ("unknown",), "probabilities": np.ones(1)}
    parts = (replace(part, dimensions=(valence, arousal), **({} if named else {"label": "unknown", "confidence": 1.0}))
             for part in given.segments)
    return replace(
        given, dimensions={"valence": valence, "arousal": arousal}, step_dimensions=steps, segments=tuple(parts),
        step_times=(np.arange(len(steps)) + 0.5) / len(steps) * given.duration_seconds, **only,
    )


class Element:
    """An element of a parsed page: its tag, attributes and children, which are elements and texts."""

    def __init__(self, tag: str, attributes: dict):
        self.tag, self.attributes, self.children = tag, attributes, []

    def all(self, tag: str, class_: str = "", **attributes: str) -> list["Element"]:
        """Those below it of a tag ("*": any), of a class and with these attributes, where given."""
        inside = [below for child in self.children if isinstance(child, Element) for below in (child, *child.all("*"))]
        return [
            element for element in inside
            if tag in ("*", element.tag) and {class_} <= {"", *element.attributes.get("class", "").split()}
            and attributes.items() <= element.attributes.items()
        ]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Page(HTMLParser):
    """A page as a tree of elements. Raises ValueError where an end tag does not close the last open element."""

    VOID = ("meta", "input", "col")

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open = [Element("page", {})]
        self.feed(self.source)
        self.close()
        if len(self.open) > 1:
            raise ValueError(f"{self.open[-1].tag} stays open")

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open.pop().tag != tag:
            raise ValueError(f"</{tag}> closes another element")

    def handle_data(self, data):
        self.open[-1].children.append(data)

    def all(self, *wanted: str, **attributes: str) -> list[Element]:
        return self.open[0].all(*wanted, **attributes)

    @property
    def rows(self) -> list[Element]:
        (table,) = self.all("table", id="recordings")
        (body,) = table.all("tbody")
        return body.all("tr")

    @property
    def totals(self) -> dict[str, str]:
        return dict(zip((e.text for e in self.all("dt")), (e.text for e in self.all("dd"))))

    def spread(self, title: str) -> dict[str, Element]:
        """The rows of a distribution by their names."""
        (section,) = [section for section in self.all("section") if section.all("h2")[0].text == title]
        return {row.all("th")[0].text: row for row in section.all("tbody")[0].all("tr")}

    @property
    def policy(self) -> dict[str, str]:
        (meta,) = self.all("meta", **{"http-equiv": "Content-Security-Policy"})
        return dict(rule.strip().split(" ", 1) for rule in meta.attributes["content"].split(";"))


def made(answers, analyzer, path: Path, root=".", embed=EmbedConfig()) -> Page:
    list(report.write(answers, path, analyzer, root, embed))
    return Page(path)


def blocks(element: Element) -> list[tuple]:
    """Class, start and width in percent of each block of a bar."""
    return [
        (rect.attributes["class"], *(float(rect.attributes[name].rstrip("%")) for name in ("x", "width")))
        for rect in element.all("rect")
    ]


def sound(path: Path, seconds: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(8000 * seconds)) / 8000
    soundfile.write(os.fsencode(path), 0.1 * np.sin(2 * np.pi * 440 * times), 8000, format="WAV", subtype="PCM_16")
    return path


# what the page tells

def test_a_row_tells_all_of_its_recording(analyzer, tmp_path):
    page = made([answer("calls/monday/a.wav", 0, 0.25, 0, 0.75, 0, flags=("short", "clipped"), duration_seconds=63.25)],
                analyzer, tmp_path / "report.html", "calls")
    (row,) = page.rows
    assert row.all("th")[0].text == "monday/a.wav"
    cells = [cell.text for cell in row.all("td")]
    assert cells[1:] == ["neutral", "0.75", "0.35", "short clipped", "1:03.2", row.all("svg")[0].text]
    assert [cell.attributes["class"] for cell in row.all("td")[1:]] == [
        "swatch neutral", "number", "number", "flags", "number", "line"]


def test_numbers_are_sorted_by_their_values_not_by_what_is_shown(analyzer, tmp_path):
    answers = [answer(f"{i}.wav", *p, duration_seconds=seconds) for i, (p, seconds) in enumerate([
        ((0.5012, 0.4988, 0, 0, 0), 7.04), ((0.5049, 0.4951, 0, 0, 0), 7199.99), ((1, 0, 0, 0, 0), 0.5)])]
    page = made(answers, analyzer, tmp_path / "report.html")
    for row, given in zip(page.rows, answers, strict=True):
        values = {cell.attributes["data-name"]: float(cell.attributes["data-value"])
                  for cell in row.all("td", "number")}
        assert values == pytest.approx(
            {"confidence": given.confidence, "entropy": given.entropy, "duration": given.duration_seconds}, abs=1e-6)


def test_a_timeline_has_a_block_for_each_segment_at_its_time_and_names_it(analyzer, tmp_path):
    page = made([answer("a.wav")], analyzer, tmp_path / "report.html")
    (line,) = page.rows[0].all("svg")
    assert blocks(line) == [("anger", 0, 25), ("fear", 50, 50)]
    assert [title.text for title in line.all("title")] == [
        "0:00.0 \u2013 0:00.5 anger 0.50", "0:01.0 \u2013 0:02.0 fear 0.75"]
    assert [text.text for text in line.all("text")] == ["anger", "fear"]


def test_a_block_too_narrow_for_its_name_has_it_in_its_title_only(analyzer, tmp_path):
    narrow = answer("a.wav", segments=(Segment(0.0, 0.1, "happiness", 0.5, ()),))
    (line,) = made([narrow], analyzer, tmp_path / "report.html").rows[0].all("svg")
    assert not line.all("text") and "happiness" in line.all("title")[0].text


def test_speakers_who_talk_at_once_have_a_lane_each_and_their_time_is_added_up(analyzer, tmp_path):
    turns = (Segment(0.0, 1.5, "anger", 0.5, (), "Ann"), Segment(1.0, 2.0, "fear", 0.5, (), "<Bob>"),
             Segment(1.5, 2.0, "fear", 0.5, (), "Ann"))
    page = made([answer("a.wav", segments=turns)], analyzer, tmp_path / "report.html")
    (line,) = page.rows[0].all("svg")
    assert [(rect.attributes["y"], rect.attributes["height"]) for rect in line.all("rect")] == [
        ("0%", "50%"), ("50%", "50%"), ("0%", "50%")]
    assert "<Bob>: fear" in line.all("title")[1].text
    speakers = page.spread("By speaker")
    assert list(speakers) == ["<Bob>", "Ann"]
    assert blocks(speakers["Ann"]) == [("anger", 0, 75), ("fear", 75, 25)]
    assert speakers["Ann"].all("td")[1].text == "0:02.0"


def test_a_turn_that_ends_after_its_recording_stays_inside_the_bar(analyzer, tmp_path):
    late = answer("a.wav", segments=(Segment(1.0, 4.0, "anger", 0.5, ()),))
    assert blocks(made([late], analyzer, tmp_path / "report.html").rows[0]) == [("anger", 50, 50)]


def test_the_channel_is_told_where_channels_were_answered_one_by_one(analyzer, tmp_path):
    answers = [answer("a.wav", channel=1), answer("a.wav", channel=2)]
    rows = made(answers, analyzer, tmp_path / "report.html").rows
    assert [row.all("th")[0].text for row in rows] == ["a.wav channel 1", "a.wav channel 2"]


def test_totals_count_recordings_time_flags_failures_and_name_the_model(analyzer, tmp_path):
    answers = [answer("a.wav", duration_seconds=3600.0, flags=("short",)), FileError("calls/b.wav", "cut. <Copy> it."),
               answer("c.wav", duration_seconds=1830.0, flags=("short", "clipped")), FileError("d.wav", "empty.")]
    page = made(answers, analyzer, tmp_path / "report.html", "calls")
    assert page.totals == {
        "recordings": "2", "length": "1 h 30 min", "could not be read": "2", "flags": "clipped 1short 2",
        "model": analyzer.fingerprint}
    (failures,) = page.all("ul", "failures")
    assert [item.text for item in failures.all("li")] == ["b.wav: cut. <Copy> it.", "d.wav: empty."]


def test_the_model_is_told_by_the_name_that_it_is_given(analyzer, tmp_path):
    list(report.write([], tmp_path / "report.html", analyzer, ".", model_name="exp/<best>"))
    assert Page(tmp_path / "report.html").totals["model"] == f"exp/<best> {analyzer.fingerprint}"


@pytest.mark.parametrize("seconds, told", [(9.4, "9 s"), (59.4, "59 s"), (100, "2 min"), (3599, "1 h 0 min")])
def test_a_length_is_told_in_units_of_its_size(analyzer, tmp_path, seconds, told):
    page = made([answer("a.wav", duration_seconds=seconds)], analyzer, tmp_path / "report.html")
    assert page.totals["length"] == told


def test_emotions_are_counted_overall_and_by_folder(analyzer, tmp_path):
    happy = (0, 0, 1, 0, 0)
    answers = [answer("calls/a/1.wav"), answer("calls/a/2.wav", *happy), answer("calls/a/3.wav", *happy),
               answer("calls/a/4.wav", *happy), answer("calls/b/c/5.wav"), answer("calls/6.wav")]
    page = made(answers, analyzer, tmp_path / "report.html", "calls/")
    emotions = page.spread("Emotions")
    assert list(emotions) == list(LABELS)
    assert [[cell.text for cell in emotions[label].all("td")[1:]] for label in ("anger", "fear", "happiness")] == [
        ["3", "50%", "0:03.0"], ["0", "0%", "0:06.0"], ["3", "50%", "0:00.0"]]
    folders = page.spread("By folder")
    assert [(name, row.all("td")[1].text) for name, row in folders.items()] == [("./", "1"), ("a", "4"), ("b/c", "1")]
    assert blocks(folders["a"]) == [("anger", 0, 25), ("happiness", 25, 75)]


def test_one_folder_is_not_compared_with_itself(analyzer, tmp_path):
    page = made([answer("a.wav")], analyzer, tmp_path / "report.html")
    assert [heading.text for heading in page.all("h2")] == ["Emotions", "Recordings", "How to read it"]


@pytest.mark.parametrize("unsure, labels", [(0.0, LABELS), (0.9, (*LABELS, "unknown"))])
def test_the_legend_names_what_the_model_can_say_and_unknown_where_it_held_back(analyzer, tmp_path, unsure, labels):
    page = made([answer("a.wav", unknown_below=unsure)], analyzer, tmp_path / "report.html")
    assert [chip.text for chip in page.all("button", "chip")] == list(labels) == list(page.spread("Emotions"))


def test_no_recordings_make_a_page_all_the_same(analyzer, tmp_path):
    page = made([], analyzer, tmp_path / "report.html")
    assert page.rows == [] and page.totals["recordings"] == "0"


# dimensions, of models that have some

def test_a_row_tells_each_dimension_with_a_bar_as_long(felt, tmp_path):
    page = made([rated(answer("a.wav"), 0.754, 0.25)], felt, tmp_path / "report.html")
    (row,) = page.rows
    cells = {cell.attributes["data-name"]: cell for cell in row.all("td", "number")}
    assert list(cells) == ["confidence", "entropy", "valence", "arousal", "duration"]
    for name, value, told, width in (("valence", 0.754, "0.75", 75.4), ("arousal", 0.25, "0.25", 25.0)):
        (bar,) = cells[name].all("rect")
        assert cells[name].text == told and float(cells[name].attributes["data-value"]) == value
        assert (bar.attributes["class"], bar.attributes["width"]) == (name, f"{width:.2f}%")
    (table,) = page.all("table", id="recordings")
    heads = [head.text for head in table.all("thead")[0].all("th")]
    assert heads == ["path", "label", "confidence", "entropy", "valence", "arousal", "flags", "duration", "timeline"]
    assert len(table.all("col")) == 1 + len(heads) == len(row.children)


def test_lines_follow_the_dimensions_while_somebody_speaks(felt, tmp_path):
    given = rated(answer("a.wav"), 0.5, 0.5, [(0.75, 0.0), (0.5, 0.5), (0.25, 1.0), (0.0, 0.9)])
    (line,) = made([given], felt, tmp_path / "report.html").rows[0].all("td", "line")
    drawn = {path.attributes["class"]: path.attributes["d"] for path in line.all("path")}
    assert drawn == {"valence": "M125 25h0M625 75h0L875 100", "arousal": "M125 100h0M625 0h0L875 10"}
    assert blocks(line) == [("anger", 0, 25), ("fear", 50, 50)]   # they are where they were
    assert [title.text for title in line.all("title")] == [
        "0:00.0 \u2013 0:00.5 anger 0.50, valence 0.50, arousal 0.50",
        "0:01.0 \u2013 0:02.0 fear 0.75, valence 0.50, arousal 0.50"]


def test_lines_end_where_turns_end_and_go_forward_where_two_speak_at_once(felt, tmp_path):
    turns = (Segment(0.0, 2.0, "anger", 0.5, (), "Ann"), Segment(8.0, 10.0, "fear", 0.5, (), "Bob"),
             Segment(8.5, 9.5, "fear", 0.5, (), "Ann"))
    given = rated(answer("a.wav", duration_seconds=10.0, segments=turns), 0.5, 0.5, [(0.5, 0.5)] * 6)
    times = np.array([0.5, 1.5, 8.5, 9.5, 8.6, 9.4])   # of one turn after the other
    (line,) = made([replace(given, step_times=times)], felt, tmp_path / "report.html").rows[0].all("td", "line")
    for path in line.all("path"):
        assert re.findall(r"([ML])(\d+)", path.attributes["d"]) == [
            ("M", "50"), ("L", "150"), ("M", "850"), ("L", "860"), ("L", "940"), ("L", "950")]


def test_of_many_steps_a_line_has_means(felt, tmp_path):
    steps = np.random.default_rng(1).uniform(size=(60_000, 2)) * [1.0, 0.0] + [0.0, 0.3]
    spoken = answer("a.wav", duration_seconds=3600.0, segments=(Segment(0.0, 3600.0, "anger", 0.5, ()),))
    (line,) = made([rated(spoken, 0.5, 0.3, steps)], felt, tmp_path / "report.html").rows[0].all("td", "line")
    valence, arousal = (re.findall(r"[ML](\d+) (\d+)", path.attributes["d"]) for path in line.all("path"))
    assert len(valence) == len(arousal) == bars.MOST_POINTS
    assert all(45 <= int(y) <= 55 for _, y in valence) and {y for _, y in arousal} == {"70"}
    assert [int(x) for x, _ in valence] == pytest.approx((np.arange(120) + 0.5) / 0.12, abs=1)


def test_means_are_told_of_all_of_folders_and_of_turns(felt, tmp_path):
    turns = (Segment(0.0, 1.5, "anger", 0.5, (), "Ann"), Segment(1.0, 1.5, "fear", 0.5, (), "<Bob>"))
    given = [rated(answer("calls/a/1.wav"), 0.2, 0.4), rated(answer("calls/a/2.wav"), 0.4, 0.4),
             rated(answer("calls/6.wav", segments=turns), 0.9, 0.1)]
    shorter = replace(turns[0], end_seconds=0.5, dimensions=(0.1, 0.5))
    given[2] = replace(given[2], segments=(*given[2].segments, shorter))
    page = made(given, felt, tmp_path / "report.html", "calls")
    everybody, speakers = (
        {name: [cell.text for cell in row.all("td")] for name, row in page.spread(title).items()}
        for title in ("Dimensions", "Dimensions by speaker"))
    assert everybody == {"all": ["0.50", "0.30", "3"], "./": ["0.90", "0.10", "1"], "a": ["0.30", "0.40", "2"]}
    assert speakers == {"<Bob>": ["0.90", "0.10", "0:00.5"], "Ann": ["0.70", "0.20", "0:02.0"]}


def test_a_page_of_dimensions_alone_tells_of_no_emotion(alone, tmp_path):
    given = [rated(answer("calls/a/1.wav"), 0.2, 0.4, named=False), rated(answer("calls/2.wav"), 0.4, 0.4, named=False)]
    page = made(given, alone, tmp_path / "report.html", "calls")
    (head, *_), (body,) = page.all("h1"), page.all("body")
    assert head.text == "Valence, arousal in calls"
    assert [heading.text for heading in page.all("h2")] == ["Dimensions", "Recordings", "How to read it"]
    (table,) = page.all("table", id="recordings")
    heads = [head.text for head in table.all("thead")[0].all("th")]
    assert heads == ["path", "valence", "arousal", "flags", "duration", "timeline"]
    assert [len(row.children) for row in page.rows] == [7, 7] and not page.all("button", "chip")
    told = "".join(child.text for child in body.children if isinstance(child, Element) and child.tag != "script")
    assert not re.search("unknown|emotion|confidence|entropy|label|one word", told, re.IGNORECASE)
    assert page.rows[0].all("title")[0].text == "0:00.0 \u2013 0:00.5 valence 0.20, arousal 0.40"


def test_no_recordings_have_no_mean(alone, tmp_path):
    page = made([], alone, tmp_path / "report.html")
    assert [heading.text for heading in page.all("h2")] == ["Recordings", "How to read it"]


def test_without_dimensions_a_page_does_not_name_any(analyzer, tmp_path):
    source = made([answer("a.wav")], analyzer, tmp_path / "report.html").source
    assert not re.search("dimension|arousal|valence|dominance|ratings", source, re.IGNORECASE)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    return float(np.dot([0.2126, 0.7152, 0.0722], [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]))


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("label", COLOURS)
def test_a_name_can_be_read_on_its_colour(label):
    on = re.search("--on: (#[0-9a-f]+)", page.colour(label))[1]
    assert contrast(on, COLOURS[label]) >= 4.5  # what WCAG asks for at level AA


@pytest.mark.parametrize("dimension", LINES)
def test_a_line_can_be_seen_on_a_light_and_on_a_dark_page(dimension):
    for ground in re.findall("--page: (#[0-9a-f]+)", page.STYLE.read_text(encoding="utf-8")):
        assert contrast(LINES[dimension], ground) >= 3   # what WCAG asks of graphics


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "soft", "link"])
def test_text_can_be_read_on_a_light_and_on_a_dark_page(scheme, name):
    values = [dict(re.findall(r"--(\w+): (#[0-9a-f]+)", line))
              for line in re.findall(r":root \{(.*?)\}", page.STYLE.read_text(encoding="utf-8"), re.DOTALL)]
    assert min(contrast(values[scheme][name], values[scheme][ground]) for ground in ("page", "panel")) >= 4.5


# recordings: in the page or where they lie

@pytest.mark.parametrize("name, kind", [
    ("a.wav", "audio/wav"), ("a.WAV", "audio/wav"), ("a.flac", "audio/flac"), ("a.mp3", "audio/mpeg"),
    ("a.ogg", "audio/ogg"), ("a.opus", "audio/ogg"),
])
def test_a_small_recording_is_in_the_page_byte_for_byte(analyzer, tmp_path, name, kind):
    content = bytes(range(256)) * 5
    (tmp_path / name).write_bytes(content)
    (row,) = made([answer(tmp_path / name)], analyzer, tmp_path / "report.html", tmp_path).rows
    start, _, text = row.all("button")[0].attributes["data-src"].partition(",")
    assert (start, base64.b64decode(text)) == (f"data:{kind};base64", content)
    assert not row.all("a")


def test_what_browsers_do_not_play_is_linked_without_a_player(analyzer, tmp_path):
    (tmp_path / "a.aiff").write_bytes(b"FORM")
    page = made([answer(tmp_path / "a.aiff")], analyzer, tmp_path / "report.html", tmp_path)
    assert page.rows[0].all("a", href="a.aiff") and not page.rows[0].all("button")
    assert page.policy["media-src"] == "data:"


@pytest.mark.parametrize("embed, embedded", [
    (EmbedConfig(), [True, True, True]), (EmbedConfig(file_bytes=100), [True, False, True]),
    (EmbedConfig(file_bytes=99), [False, False, False]), (EmbedConfig(total_bytes=200), [True, False, True]),
    (EmbedConfig(total_bytes=199), [True, False, False]), (EmbedConfig(total_bytes=0), [False, False, False]),
])
def test_what_is_too_large_or_no_longer_fits_is_linked(analyzer, tmp_path, embed, embedded):
    names = ["a.wav", "b.wav", "c.wav"]
    for name, size in zip(names, [100, 101, 100]):
        (tmp_path / name).write_bytes(bytes(size))
    page = made([answer(tmp_path / name) for name in names], analyzer, tmp_path / "report.html", tmp_path, embed)
    sources = [row.all("button")[0].attributes["data-src"] for row in page.rows]
    assert [source.startswith("data:") for source in sources] == embedded
    for row, name, source in zip(page.rows, names, sources):
        if not source.startswith("data:"):
            assert source == name and row.all("a", href=name)


def test_links_lead_from_the_page_to_the_recording(analyzer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound(tmp_path / "calls" / "mon day" / "50% #1?.wav")
    (tmp_path / "out").mkdir()
    page = made([answer("calls/mon day/50% #1?.wav")], analyzer, Path("out/report.html"), "calls",
                EmbedConfig(file_bytes=0))
    link = page.rows[0].all("a")[0].attributes["href"]
    assert link == "../calls/mon%20day/50%25%20%231%3F.wav" == page.rows[0].all("button")[0].attributes["data-src"]
    reached = urljoin((tmp_path / "out" / "report.html").as_uri(), link)
    assert Path(unquote(reached.removeprefix("file://"))).is_file()


def test_what_is_no_file_has_no_player_and_no_link(analyzer, tmp_path):
    page = made([answer("array 0"), answer("gone.wav"), answer(str(tmp_path))], analyzer, tmp_path / "report.html")
    assert not any(row.all("a") or row.all("button") for row in page.rows)


# nothing runs that is not the page's own

def test_names_and_reasons_change_no_element_and_no_attribute_of_the_page(analyzer, tmp_path):
    def shape(names: list[str]) -> list:
        answers = [
            answer(f"{i}/{name}", flags=(name,), segments=(Segment(0.0, 1.0, "anger", 0.5, (), name),))
            for i, name in enumerate(names)
        ]
        page = made([*answers, *(FileError(name, name) for name in names)], analyzer, tmp_path / "report.html")
        return [(element.tag, sorted(element.attributes)) for element in page.all("*")]

    assert shape(HOSTILE) == shape([f"{i}.wav" for i in range(len(HOSTILE))])


def test_nor_where_dimensions_are_all_there_is(alone, tmp_path):
    def shape(names: list[str]) -> list:
        given = (answer(f"{i}/{name}", flags=(name,), segments=(Segment(0.0, 1.0, "anger", 0.5, (), name),))
                 for i, name in enumerate(names))
        page = made([rated(item, 0.5, 0.5, named=False) for item in given], alone, tmp_path / "report.html")
        return [(element.tag, sorted(element.attributes)) for element in page.all("*")]

    assert shape(HOSTILE) == shape([f"{i}.wav" for i in range(len(HOSTILE))])


@pytest.mark.parametrize("name, told", [
    ("<b>&amp;\"'.wav", "<b>&amp;\"'.wav"), ("two\nlines\r\t.wav", "two\\nlines\\r\\t.wav"),
    ("\0\x1b[.wav", "\\x00\\x1b[.wav"), ("\udcff\ud83d.wav", "\\udcff\\ud83d.wav"),
    ("left\u202evaw.wav", "left\\u202evaw.wav"), ("\u5c71\u3000\u7530.wav", "\u5c71\u3000\u7530.wav"),
    ("\u0645\u06cc\u200c\u062e.wav", "\u0645\u06cc\u200c\u062e.wav"),
])
def test_a_name_is_told_as_it_is_but_on_one_line_and_in_its_direction(analyzer, tmp_path, name, told):
    page = made([answer(name, flags=(name,)), FileError(name, name)], analyzer, tmp_path / "report.html")
    assert page.rows[0].all("th")[0].text == told == page.rows[0].all("td", "flags")[0].text
    assert page.all("li")[0].text == f"{told}: {told}"


def test_a_title_is_no_markup_either(analyzer, tmp_path):
    page = made([], analyzer, tmp_path / "report.html", tmp_path / "</title><script>window.ran = 1")
    assert page.all("title")[0].text == page.all("h1")[0].text == "Emotions in title><script>window.ran = 1"
    assert len(page.all("script")) == 1


def test_the_policy_allows_this_script_and_this_style_alone(analyzer, tmp_path):
    page = made([answer(sound(tmp_path / "a.wav"))], analyzer, tmp_path / "report.html", tmp_path)
    assert page.policy == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "media-src": "data:",
        **{f"{tag}-src": f"'sha256-{base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()}'"
           for tag in ("script", "style") for element in page.all(tag)}}
    assert not any(name == "style" or name.startswith("on") for e in page.all("*") for name in e.attributes)


def test_recordings_beside_the_page_may_be_played_where_there_are_links(analyzer, tmp_path):
    page = made([answer(sound(tmp_path / "a.wav"))], analyzer, tmp_path / "report.html", tmp_path,
                EmbedConfig(file_bytes=0))
    assert page.policy["media-src"] == "data: 'self' file:"


def test_the_page_names_no_other_place(analyzer, tmp_path):
    source = made([answer(sound(tmp_path / "a.wav"))], analyzer, tmp_path / "report.html", tmp_path).source
    assert set(re.findall(r"\w+://[^\s\"']*", source)) == {"http://www.w3.org/2000/svg"}  # the name of SVG
    assert str(tmp_path) not in source


# writing

def test_every_answer_is_handed_on_as_it_is_written(analyzer, tmp_path):
    given, asked = [answer("a.wav"), FileError("b.wav", "cut."), answer("c.wav")], []
    answers = report.write((asked.append(item) or item for item in given), tmp_path / "report.html", analyzer, ".")
    for count, item in enumerate(given, 1):
        assert next(answers) is item and len(asked) == count
        (waiting,) = tmp_path.iterdir()
        assert (waiting.name, waiting.read_text()) == ("report.html.part", "")  # rows wait in a file without a name
    assert list(answers) == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_report_leaves_the_old_one_and_nothing_else(analyzer, tmp_path, error):
    (tmp_path / "report.html").write_text("the old one")

    def interrupted():
        yield answer("a.wav")
        raise error

    with pytest.raises(error):
        list(report.write(interrupted(), tmp_path / "report.html", analyzer, "."))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def test_a_page_that_cannot_be_finished_leaves_no_part(analyzer, tmp_path, monkeypatch):
    monkeypatch.setattr(report.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        list(report.write([answer("a.wav")], tmp_path / "report.html", analyzer, "."))
    assert not list(tmp_path.iterdir())


def test_the_same_answers_make_the_same_page(analyzer, tmp_path):
    given = [answer(sound(tmp_path / "a" / "a.wav"), flags=("short",)), answer("b.wav"), FileError("c.wav", "cut.")]
    pages = [made(given, analyzer, tmp_path / name, tmp_path).source for name in ("1.html", "2.html")]
    assert pages[0] == pages[1]


def test_many_rows_wait_on_the_disk_not_in_memory(analyzer, tmp_path):
    (tmp_path / "a.wav").write_bytes(bytes(150_000))
    given = (answer(tmp_path / "a.wav") for _ in range(100))
    tracemalloc.start()
    for _ in report.write(given, tmp_path / "report.html", analyzer, tmp_path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "report.html").stat().st_size > 20_000_000 > 5 * peak


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.html.gz", "html"])
def test_an_ending_that_no_browser_opens_is_refused_before_anything_is_written(analyzer, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.html or \.htm.*Rename it"):
        list(report.write([], tmp_path / name, analyzer, "."))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder .*none to write report.html into. Make it first"):
        report.check_path(tmp_path / "none" / "report.html")


@pytest.mark.parametrize("setting", ["file_bytes", "total_bytes"])
def test_a_negative_size_is_refused(setting):
    with pytest.raises(ValueError, match=f"{setting}=-1.*must not be negative. Use 0 to embed nothing"):
        EmbedConfig(**{setting: -1})


def test_a_label_without_a_colour_is_refused_before_any_recording_is_read(tiny, tmp_path):
    strange = build("serial", {}, FrontendConfig(num_bands=20), Scheme("own", {"awe": "awe", "anger": "anger"}))
    answers = iter([answer("a.wav")])
    with pytest.raises(ValueError, match="no colour for awe; there are colours for anger, .*Map the labels"):
        list(report.write(answers, tmp_path / "report.html", Analyzer(strange, "cpu", speech=None), "."))
    assert next(answers).name == "a.wav"


def test_a_page_of_real_speech_holds_every_recording(tmp_path, corpora):
    for path in audio.find(corpora / "emodb")[:3]:
        shutil.copy(path, tmp_path)
    (tmp_path / "cut.flac").write_bytes(b"fLaC")
    analyzer = Analyzer(device="cpu")
    page = made(analyzer.analyze(tmp_path), analyzer, tmp_path / "report.html", tmp_path)
    assert [row.all("th")[0].text for row in page.rows] == sorted(path.name for path in tmp_path.glob("*.wav"))
    for row in page.rows:
        name, source = row.all("th")[0].text, row.all("button")[0].attributes["data-src"]
        assert base64.b64decode(source.partition(",")[2]) == (tmp_path / name).read_bytes()
        assert blocks(row)
    assert page.all("li")[0].text.startswith("cut.flac: ")


# in a browser

def shown(browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('#recordings tbody tr')].filter(row => !row.hidden)"
                       ".map(row => row.cells[1].textContent)")


def test_hostile_names_neither_run_nor_break_the_page(browser, analyzer, tmp_path):
    answers = [answer(f"{i}/{name}", flags=(name,)) for i, name in enumerate(HOSTILE)]
    made([*answers, *(FileError(name, name) for name in HOSTILE)], analyzer, tmp_path / "report.html")
    browser.visit((tmp_path / "report.html").as_uri())
    assert browser.run("window.ran") is None
    assert browser.complaints == []
    assert shown(browser) == [f"{i}/{page.shown(name)}" for i, name in enumerate(HOSTILE)]
    assert browser.run("document.querySelectorAll('script').length") == 1


@pytest.mark.parametrize("smuggled", [
    "<script>window.ran = 1</script>", '<img src="data:," onerror="window.ran = 1">', "<p style='color: red'>",
    '<iframe srcdoc="<script>parent.ran = 1</script>"></iframe>', '<link rel="stylesheet" href="data:text/css,*{}">',
])
def test_the_policy_would_stop_what_escaping_missed(browser, analyzer, tmp_path, smuggled):
    source = made([answer("MARK.wav")], analyzer, tmp_path / "report.html").source
    (tmp_path / "report.html").write_text(source.replace("MARK", smuggled))
    browser.visit((tmp_path / "report.html").as_uri())
    assert browser.run("window.ran") is None
    assert any("Content Security Policy" in json.dumps(event) for event in browser.complaints)


@pytest.mark.parametrize("column, rising", [
    ("path", ["2.wav", "10.wav", "b.wav"]), ("label", ["10.wav", "2.wav", "b.wav"]),
    ("confidence", ["b.wav", "10.wav", "2.wav"]), ("entropy", ["2.wav", "10.wav", "b.wav"]),
    ("flags", ["2.wav", "b.wav", "10.wav"]), ("duration", ["b.wav", "2.wav", "10.wav"]),
])
def test_a_click_on_a_column_sorts_by_it_and_another_turns_it_round(browser, analyzer, tmp_path, column, rising):
    made([answer("10.wav", 0.55, 0.45, 0, 0, 0, flags=("short",), duration_seconds=100.0),
          answer("2.wav", 0, 0.9, 0.1, 0, 0, duration_seconds=20.0),
          answer("b.wav", 0.1, 0.1, 0.2, 0.1, 0.5, flags=("clipped",), duration_seconds=3.0)],
         analyzer, tmp_path / "report.html")
    browser.visit((tmp_path / "report.html").as_uri())
    place = ["", "", "path", "label", "confidence", "entropy", "flags", "duration"].index(column)
    for order, sorting in ((rising, "ascending"), (rising[::-1], "descending")):
        browser.click(f"#recordings thead th:nth-child({place}) button")
        assert shown(browser) == order
        assert browser.run(f"document.querySelector('[aria-sort={sorting}]').textContent") == column
        assert browser.run("document.querySelectorAll('[aria-sort]').length") == 1


@pytest.mark.parametrize("named", [True, False], ids=["with classes", "alone"])
def test_rows_sort_by_a_dimension_and_a_click_on_its_line_plays(browser, felt, alone, tmp_path, named):
    given = [rated(answer(sound(tmp_path / f"{name}.wav"), flags=flags), 0.5, arousal, [(0.5, arousal)] * 4, named)
             for name, arousal, flags in (("a", 0.7, ()), ("b", 0.1, ("short",)), ("c", 0.4, ()))]
    made(given, felt if named else alone, tmp_path / "report.html", tmp_path)
    browser.visit((tmp_path / "report.html").as_uri())
    place = 1 + browser.run("columns.indexOf('arousal')")
    for order in (["b.wav", "c.wav", "a.wav"], ["a.wav", "c.wav", "b.wav"]):
        browser.click(f"#recordings thead th:nth-child({place}) button")
        assert shown(browser) == order
    browser.click("tbody tr:nth-child(1) .curves", share=0.6)
    browser.wait("!player.paused && player.currentTime > 1.25")
    label = "fear 0.75, " if named else ""
    assert browser.run("told.textContent").endswith(f"0:01.0 \u2013 0:02.0 {label}valence 0.50, arousal 0.70")
    browser.click("[data-search=short]")
    assert shown(browser) == ["b.wav"] and browser.complaints == []
    colours = browser.run("[...document.querySelectorAll('tr:last-child path')].map(e => getComputedStyle(e).stroke)")
    assert colours == ["rgb(213, 94, 0)", "rgb(0, 114, 178)"]


def test_rows_are_filtered_by_text_by_emotion_by_folder_and_by_flag(browser, analyzer, tmp_path):
    made([answer("a/one.wav"), answer("a/two.wav", 0, 1, 0, 0, 0),
          answer("b/two.wav", 0, 0, 1, 0, 0, flags=("short",))], analyzer, tmp_path / "report.html")
    browser.visit((tmp_path / "report.html").as_uri())
    browser.click("#search")
    browser.call("Input.insertText", text="TWO")
    assert shown(browser) == ["a/two.wav", "b/two.wav"]
    browser.click(".chip[value=fear]")
    assert shown(browser) == ["a/two.wav"]
    browser.click(".chip[value=happiness]")
    assert shown(browser) == ["a/two.wav", "b/two.wav"]
    browser.click(".chip[value=fear]")
    assert shown(browser) == ["b/two.wav"]
    assert browser.run("document.querySelector('#shown').textContent") == "1 of 3 shown"
    browser.click(".chip[value=happiness]")
    browser.click("[data-search='a/']")
    assert shown(browser) == ["a/one.wav", "a/two.wav"]
    browser.click("[data-search=short]")
    assert shown(browser) == ["b/two.wav"]


@pytest.mark.parametrize("embed", [EmbedConfig(), EmbedConfig(file_bytes=0)], ids=["embedded", "linked"])
def test_a_click_on_the_timeline_plays_from_there(browser, analyzer, tmp_path, embed):
    made([answer(sound(tmp_path / "calls" / "a #1.wav")), answer(sound(tmp_path / "calls" / "b.wav"))], analyzer,
         tmp_path / "report.html", tmp_path, embed)
    browser.visit((tmp_path / "report.html").as_uri())
    browser.click("tbody tr.sound:nth-child(1) .line svg", share=0.6)
    browser.wait("!player.paused && player.currentTime > 1.25")
    assert browser.run("told.textContent").startswith("calls/a #1.wav \u00b7 0:01.")
    assert browser.run("told.textContent").endswith("0:01.0 \u2013 0:02.0 fear 0.75")
    assert browser.run("document.querySelector('tr.playing .play').ariaLabel") == "Pause"
    browser.click("tbody tr.sound:nth-child(2) .line svg", share=0.1)  # one at a time
    browser.wait("!player.paused && player.currentTime > 0.2 && player.currentTime < 1.2")
    assert browser.run("document.querySelectorAll('tr.playing, tr.chosen').length") == 1
    assert browser.complaints == []


def test_the_keyboard_plays_pauses_and_moves(browser, analyzer, tmp_path):
    made([answer(sound(tmp_path / "a.wav", 10.0), duration_seconds=10.0)], analyzer, tmp_path / "report.html", tmp_path)
    browser.visit((tmp_path / "report.html").as_uri())
    browser.run("document.querySelector('.play').focus()")
    browser.press("Enter")
    browser.wait("!player.paused && player.currentTime > 0")
    browser.press("Enter")
    browser.wait("player.paused")
    begin = browser.run("player.currentTime")
    for key, moved in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        browser.press(key)
        assert browser.run("player.currentTime") == pytest.approx(begin + moved, abs=0.01)
    for _ in range(3):
        browser.press("ArrowLeft")
    assert browser.run("player.currentTime") == 0


def test_a_recording_that_the_browser_cannot_play_is_named(browser, analyzer, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound at all")
    made([answer(tmp_path / "a.wav")], analyzer, tmp_path / "report.html", tmp_path)
    browser.visit((tmp_path / "report.html").as_uri())
    browser.click(".play")
    browser.wait("told.textContent.startsWith('a.wav cannot be played')")
    assert browser.run("document.querySelector('.play').ariaLabel") == "Play"


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_the_page_is_never_wider_than_the_screen(browser, analyzer, tmp_path, width):
    long = "/".join(["a_very_long_name_without_a_blank_" * 6] * 3)
    made([answer(f"x/{long}.wav", flags=("short", "no_speech", "band_limited")), answer("b.wav"),
          FileError(long, long)], analyzer, tmp_path / "report.html")
    browser.visit((tmp_path / "report.html").as_uri(), width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelector('#recordings .line svg').getBoundingClientRect().right") <= width
    assert browser.run("[...document.querySelectorAll('h1, th, li')].every(e => e.scrollWidth <= e.clientWidth)")


@pytest.mark.parametrize("width", [320, 768, 1280])
@pytest.mark.parametrize("scheme", ["mini5", "none"], ids=["with classes", "alone"])
def test_nor_is_a_page_with_dimensions(browser, tmp_path, width, scheme):
    ask = Analyzer(untrained(scheme, dimensions=["arousal", "valence", "dominance"]), "cpu", speech=None)
    long = "/".join(["a_very_long_name_without_a_blank_" * 6] * 3)
    made([replace(rated(answer(name, flags=("no_speech",)), 0.5, 0.5, named=scheme != "none"),
                  dimensions=dict.fromkeys(ask.dimensions, 0.5), step_dimensions=np.full((1, 3), 0.5))
          for name in (f"x/{long}.wav", "b.wav")], ask, tmp_path / "report.html")
    browser.visit((tmp_path / "report.html").as_uri(), width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelector('#recordings .line svg').getBoundingClientRect().right") <= width
    assert browser.run("[...document.querySelectorAll('#recordings .amount')].every(e => e.clientWidth > 30)")


def test_the_page_follows_the_colour_scheme_of_the_reader(browser, analyzer, tmp_path):
    made([answer("a.wav")], analyzer, tmp_path / "report.html")
    grounds = {}
    for scheme in ("light", "dark"):
        browser.visit((tmp_path / "report.html").as_uri(), scheme=scheme)
        grounds[scheme] = browser.run("getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}


def test_a_block_in_the_page_has_the_colour_of_its_label(browser, analyzer, tmp_path):
    made([answer("a.wav")], analyzer, tmp_path / "report.html")
    browser.visit((tmp_path / "report.html").as_uri())
    fills = browser.run("[...document.querySelectorAll('tbody .line rect')].map(part => getComputedStyle(part).fill)")
    assert fills == [f"rgb({', '.join(str(int(COLOURS[label][i : i + 2], 16)) for i in (1, 3, 5))})"
                     for label in ("anger", "fear")]
