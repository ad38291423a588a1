"""Full disks, outputs that may not be written, inputs that vanish: a clear error, and nothing is lost."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kill import TASKS, laboratory, start, undisturbed

from emotion import audio, checkpoint, datadir
from emotion.cli import main
from emotion.datadir import Utterance


@pytest.fixture(scope="module")
def base():
    with laboratory() as folder:
        yield folder


@pytest.mark.parametrize("name, file_bytes", [("score", 1000), ("train", 6000), ("prepare", 1200), ("export", 30_000)])
def test_on_a_full_disk_the_file_is_named_and_the_same_command_goes_on_later(base, name, file_bytes):
    task, folder = TASKS[name], base / f"{name}-full"
    expected, _ = undisturbed(task, base)
    folder.mkdir()
    process = start(task, folder, file_bytes)
    process.join()
    said = (folder / "log").read_text()
    assert "Make room there" in said and ".part" in said.split("Make room there")[1] and "Traceback" not in said
    assert all(content == expected[file] for file, content in task.left(folder).items() if ".part" not in file)
    start(task, folder).join()
    assert {file: content for file, content in task.left(folder).items() if ".part" not in file} == expected


@pytest.fixture
def wavs(tmp_path) -> Path:
    (tmp_path / "wavs").mkdir()
    for name in "abc":
        soundfile.write(tmp_path / "wavs" / f"{name}.wav", np.random.default_rng(1).normal(0, 0.1, 8000), 16_000)
    return tmp_path / "wavs"


@pytest.fixture
def model(tiny, tmp_path) -> str:
    checkpoint.write(tiny, tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


@pytest.mark.parametrize("command", [
    ["score", "{wavs}", "-o", "/proc/scores.csv", "--model", "{model}"],
    ["score", "{wavs}/a.wav", "--timelines", "/proc/turns.csv", "--model", "{model}"],
    ["report", "{wavs}", "-o", "/proc/report.html", "--model", "{model}"],
    ["export", "{model}", "-o", "/proc/model.onnx"],
    ["plot", "{wavs}/a.wav", "-o", "/proc/a.png", "--model", "{model}"],
    ["data", "combine", "/proc/data", "{data}"],
])
def test_where_nothing_may_be_written_one_line_says_where(command, wavs, model, tmp_path, capsys):
    datadir.write(tmp_path / "data", [Utterance("a-1", "a", str(wavs / "a.wav"), "anger")])
    names = {"wavs": wavs, "model": model, "data": tmp_path / "data"}
    assert main([word.format(**names) for word in command]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"emotion {command[0]}: ") and "/proc/" in last


def test_a_recording_that_vanished_since_it_was_listed_is_named_and_the_others_are_scored(
    wavs, model, tmp_path, capsys, monkeypatch,
):
    find = audio.find

    def listed_then_gone(folder):
        paths = find(folder)
        (wavs / "b.wav").unlink()
        return paths

    monkeypatch.setattr(audio, "find", listed_then_gone)
    assert main(["score", str(wavs), "-o", str(tmp_path / "scores.csv"), "--model", model]) == 1
    assert f"{wavs}/b.wav: no such file" in capsys.readouterr().err
    with open(tmp_path / "scores.csv") as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == ["a.wav", "c.wav"]
