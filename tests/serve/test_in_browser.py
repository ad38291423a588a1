import json
import re
from pathlib import Path

import numpy as np
import pytest
from serving import RATE, post, record, running, until
from tiny import tiny as untrained

from emotion import formats
from emotion.analyzer import Analyzer
from emotion.timeline import Timeline

# in a browser

def opened(browser, server, width: int = 1280, scheme: str = "light") -> None:
    browser.visit(str(server.base_url), width, scheme)


def choose(browser, path: Path) -> None:
    """Choose a recording, and wait for what comes of it."""
    node = browser.call("Runtime.evaluate", expression="document.querySelector('#file')")["result"]["objectId"]
    browser.call("DOM.setFileInputFiles", files=[str(path)], objectId=node)
    browser.wait("!request && (!refused.hidden || answer?.path)")


@pytest.fixture
def spoken(voice, tmp_path) -> Path:
    """Somebody speaks twice, with a pause."""
    return record(tmp_path / "spoken.wav", np.concatenate([voice, np.zeros(RATE), voice]).astype(np.float32))


def test_a_recording_is_chosen_seen_and_played(browser, server, analyzer, spoken):
    opened(browser, server)
    choose(browser, spoken)
    expected = analyzer.analyze(spoken)
    assert browser.run("find('#label').textContent").split()[0] == expected.label
    assert len(browser.run("[...find('#segments tbody').rows].map(row => row.textContent)")) == len(expected.segments)
    assert browser.run("find('#words').textContent").endswith(f"of {expected.duration_seconds:.1f}\u00a0s.")
    browser.click("#figure", share=0.5)
    begin = browser.run("position")
    assert begin == pytest.approx(0.48 * expected.duration_seconds, rel=0.05)
    place = browser.run("find('#head').getBoundingClientRect().x")
    browser.click(".play")
    browser.wait(f"!player.paused && position > {begin} + 0.2")
    assert browser.run("find('#head').getBoundingClientRect().x") > place
    browser.click(".play")
    browser.wait("player.paused")
    assert browser.complaints == []


def listed(browser, selector: str) -> list[list[str]]:
    """What the cells of a table say, row by row."""
    return browser.run(f"[...find('{selector}').rows].map(row => [...row.cells].map(cell => cell.textContent))")


DRAWN = """(() => {  // how high the line of a dimension is drawn at a time, from 0 to 1
  const canvas = figure.querySelector("canvas"), x = scale({left: GUTTER, width: plotWidth(), ...view})(%f);
  const {data} = canvas.getContext("2d").getImageData(Math.round(x), 0, 1, canvas.height);
  const colour = paint("%s").match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16));
  const rows = [...Array(canvas.height).keys()].filter(y => colour.every((part, k) => part === data[4 * y + k]));
  const middle = (rows[0] + rows.at(-1) + 1) / 2;
  return (canvas.height - AXIS - middle) / ROWS.dimensions.height;
})()"""


def told_at(answer: Timeline, seconds: float) -> str:
    """The dimensions there, as the page tells them."""
    values = [np.interp(seconds, answer.step_times, steps) for steps in answer.step_dimensions.T]
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(answer.dimensions, values))


def test_dimensions_are_seen_beside_the_emotions(browser, rating, spoken):
    ask = Analyzer(rating, "cpu")
    expected = ask.analyze(spoken)
    with running(ask) as client:
        opened(browser, client)
        choose(browser, spoken)
        assert listed(browser, "#dimensions") == [[name, "", f"{p:.2f}"] for name, p in expected.dimensions.items()]
        widths = browser.run("[...document.querySelectorAll('#dimensions .amount')].map(bar => bar.style.width)")
        assert [float(width.rstrip("%")) / 100 for width in widths] == pytest.approx(
            list(expected.dimensions.values()), abs=1e-4)
        head, *rows = listed(browser, "#segments")
        assert head == ["time", "emotion", "confidence", "valence", "arousal"]
        assert [row[3:] for row in rows] == [[f"{p:.2f}" for p in part.dimensions] for part in expected.segments]
        place = float(expected.segments[0].start_seconds + 0.3)
        browser.run(f"seek({place})")
        assert browser.run("find('#here').textContent").endswith(f" \u00b7 {told_at(expected, place)}")
        assert browser.run("find('#legend').innerText").split() == [*ask.labels, "valence", "arousal"]
        assert browser.complaints == []
        drawn = [browser.run(DRAWN % (place, name)) for name in expected.dimensions]
        steps = [np.interp(place, expected.step_times, values) for values in expected.step_dimensions.T]
        assert drawn == pytest.approx(steps, abs=0.05)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_model_of_dimensions_alone_names_no_emotion_on_its_page(browser, spoken, width):
    ask = Analyzer(untrained("none", dimensions=["arousal"]), "cpu")
    with running(ask) as client:
        opened(browser, client, width)
        choose(browser, spoken)
        said = browser.run("document.body.innerText")
        assert not re.search("unknown|confidence|entropy|one word|which emotion", said, re.IGNORECASE)
        assert "arousal from calm (0) to active (1)" in said and said.count("Somebody speaks in") == 1
        assert listed(browser, "#segments")[0] == ["time", "arousal"]
        assert browser.run("find('#legend').innerText") == "arousal"
        place = float(ask.analyze(spoken).segments[0].start_seconds + 0.3)
        browser.run(f"seek({place})")
        assert browser.run("find('#here').textContent").split(" \u00b7 ")[1:] == [told_at(ask.analyze(spoken), place)]
        browser.click("#all")
        assert browser.run("document.documentElement.scrollWidth") <= width and browser.complaints == []


def test_without_dimensions_the_page_shows_none(browser, server, analyzer, spoken):
    opened(browser, server)
    choose(browser, spoken)
    assert not re.search("dimensions|arousal|valence|dominance|rating", browser.run("document.body.innerText"))
    assert browser.run("find('#dimensions').hidden") and listed(browser, "#segments")[0] == [
        "time", "emotion", "confidence"]
    assert browser.run("find('#legend').innerText").split() == list(analyzer.labels)


def test_the_keyboard_moves_plays_and_zooms(browser, server, spoken):
    opened(browser, server)
    choose(browser, spoken)
    browser.run("figure.focus()")
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0)):
        browser.press(key)
        assert browser.run("position") == place == float(browser.run("figure.ariaValueNow"))
    browser.press("End")
    assert browser.run("position === answer.duration_seconds")
    length = browser.run("view.length")
    browser.press("+")
    assert browser.run("view.length") == length / 2 and browser.run("whole.hidden") is False
    browser.press("-")
    assert browser.run("view.length") == length and browser.run("whole.hidden") is True
    browser.press("Home")
    browser.press(" ")
    browser.wait("!player.paused")
    browser.press(" ")
    browser.wait("player.paused")


def test_an_answer_is_downloaded_and_read_back(browser, server, analyzer, spoken, tmp_path):
    folder = tmp_path / "downloads"
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    opened(browser, server)
    choose(browser, spoken)
    browser.click("#downloads [value=textgrid]")
    until((folder / "spoken.TextGrid").exists)
    (told,) = formats.read(folder / "spoken.TextGrid")
    assert [(p.start_seconds, p.end_seconds, p.label) for p in told.segments] == [
        (p.start_seconds, p.end_seconds, p.label) for p in analyzer.analyze(spoken).segments]
    browser.click("#downloads [data-ending='.json']")
    until((folder / "spoken.json").exists)
    assert json.loads((folder / "spoken.json").read_text()) == {
        "answers": [{name: value for name, value in answer.items() if name not in ("waveform", "spectrogram")}
                    for answer in post(server, spoken, "spoken.wav").json()["answers"]]}


def test_the_microphone_is_recorded_and_analyzed(browser, server):
    opened(browser, server)
    browser.click("#record")
    browser.wait("recorder && /0:0[1-9]/.test(told.textContent) && find('#level').value > 0.01")
    browser.click("#stop")
    browser.wait("!request && answer?.path === 'recording.wav'")
    assert 0.9 <= browser.run("answer.duration_seconds") <= 9
    assert browser.run("answer.speech_seconds") > 0.3   # what the microphone is given is heard
    assert browser.run("answered.file.type") == "audio/wav" and browser.complaints == []


def test_a_refusal_is_told_in_the_words_of_the_server(browser, server, tmp_path):
    (tmp_path / "<img src=x onerror=window.ran=1>.mp3").write_text("a letter")
    opened(browser, server)
    choose(browser, tmp_path / "<img src=x onerror=window.ran=1>.mp3")
    assert "onerror=window.ran=1>.mp3: not audio that libsndfile reads" in browser.run("refused.textContent")
    assert browser.run("window.ran") is None and browser.run("find('#idle').hidden") is False
    browser.run("ask(new File([new Uint8Array(maxBytes + 1)], 'a.wav'))")
    assert "Send a part of it" in browser.run("refused.textContent")


def test_a_hostile_name_is_shown_as_what_it_is(browser, server, voice, tmp_path):
    opened(browser, server)
    choose(browser, record(tmp_path / "<img src=x onerror=window.ran=1>.wav", voice))
    assert browser.run("find('#name').textContent") == "<img src=x onerror=window.ran=1>.wav"
    assert browser.run("document.images.length") == 0 and browser.run("window.ran") is None


@pytest.mark.parametrize("width, scheme", [(360, "dark"), (1280, "light")])
def test_a_long_recording_is_seen_in_parts_on_any_screen(browser, server, tmp_path, voice, width, scheme):
    long = np.tile(np.concatenate([voice, np.zeros(RATE)]), 20).astype(np.float32)
    opened(browser, server, width, scheme)
    choose(browser, record(tmp_path / "long.wav", long))
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("view.length < answer.duration_seconds && !whole.hidden")
    browser.click("#whole", share=0.9)
    assert browser.run("view.start + view.length") > 0.89 * len(long) / RATE
    browser.run("seek(1)")
    assert browser.run("view.start <= 1")
    browser.click("#all")
    assert browser.run("view.length === answer.duration_seconds && whole.hidden")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"dark": "rgb(21, 23, 26)", "light": "rgb(255, 255, 255)"}[scheme]


def test_each_channel_can_be_looked_at(browser, server, call):
    opened(browser, server)
    browser.click("#separate")
    choose(browser, call)
    names = browser.run("[...find('#channels').children].map(button => button.textContent)")
    assert names == ["channel 1", "channel 2"]
    browser.click("#channels button:last-child")
    assert browser.run("answer.channel") == 2
