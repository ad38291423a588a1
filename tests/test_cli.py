import csv
import dataclasses
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from planted import planted

from emotion import __version__, analyzer, audio, checkpoint, datadir, formats, labels, scores, scoring
from emotion.analyzer import Analyzer
from emotion.calibration import Calibration
from emotion.cli import main
from emotion.datadir import Utterance
from emotion.flow import answered, available_cores

CLASSES = labels.scheme("mini5").classes


def record(path: Path, seed: int = 0, seconds: float = 0.6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(scale=0.1, size=round(16_000 * seconds))
    soundfile.write(path, noise, 16_000)
    return path


@pytest.fixture
def model(tiny, tmp_path) -> str:
    """An experiment folder as training leaves it: trained on m1, validated on m2."""
    (tmp_path / "exp").mkdir()
    heard = dataclasses.replace(tiny, train_speakers=("m1",), valid_speakers=("m2",))
    checkpoint.write(heard, tmp_path / "exp" / checkpoint.FILE_NAME)
    return str(tmp_path / "exp")


@pytest.fixture
def calls(tmp_path) -> Path:
    """A folder of three recordings, and two that cannot be read."""
    for seed, name in enumerate(("c.wav", "a.flac", "sub/a.wav")):
        record(tmp_path / "calls" / name, seed)
    (tmp_path / "calls" / "b.wav").write_bytes(b"")
    (tmp_path / "calls" / "d.mp3").write_text("a letter, not audio")
    return tmp_path / "calls"


def corpus(path: Path, speakers: str = "m1 m2 m3 m4") -> str:
    utterances = [
        Utterance(f"{speaker}-{emotion}", speaker, str(record(path / f"{speaker}-{emotion}.wav", i)), emotion)
        for i, (speaker, emotion) in enumerate((s, e) for s in speakers.split() for e in CLASSES)
    ]
    datadir.write(path, utterances)
    return str(path)


def ids(directory) -> list[str]:
    return [utterance.id for utterance in datadir.read(directory)]


# score and plot

def test_a_folder_is_scored_and_its_bad_files_are_named(model, calls, tmp_path, capsys):
    table = tmp_path / "scores.csv"
    assert main(["score", str(calls), "-o", str(table), "--model", model, "--device", "cpu"]) == 1
    rows = list(csv.DictReader(table.open()))
    assert [row["path"] for row in rows] == [f"{calls}/{name}" for name in ("a.flac", "c.wav", "sub/a.wav")]
    said = capsys.readouterr().err
    assert "scored 3 recordings" in said and "2 of 5 recordings could not be scored" in said
    named = [line for line in said.splitlines() if line.startswith(f"  {calls}")]
    assert [Path(line.split(":")[0].strip()).name for line in named] == ["b.wav", "d.mp3"]
    expected = Analyzer(model, "cpu").analyze(calls / "c.wav")
    assert float(rows[1][f"p_{expected.label}"]) == pytest.approx(expected.confidence, abs=1e-5)


def test_scoring_twice_writes_the_same_bytes(model, calls, tmp_path):
    tables = [tmp_path / name for name in ("one.csv", "two.csv", "one.jsonl", "two.jsonl")]
    for table in tables:
        main(["score", str(calls), "-o", str(table), "--model", model])
    content = [table.read_bytes() for table in tables]
    assert content[0] == content[1] and content[2] == content[3]


def test_without_bad_files_the_exit_code_is_0(model, calls, tmp_path):
    table = tmp_path / "scores.jsonl"
    assert main(["score", str(calls / "sub"), "-o", str(table), "--model", model]) == 0
    assert [Path(json.loads(line)["path"]).name for line in table.open()] == ["a.wav"]
    assert main(["score", str(calls / "c.wav"), "-o", str(table), "--model", model, "--overwrite"]) == 0
    assert [Path(json.loads(line)["path"]).name for line in table.open()] == ["c.wav"]


def test_a_table_that_is_whole_is_not_scored_again_and_one_of_more_recordings_goes_on(model, calls, tmp_path, capsys):
    command = ["score", str(calls), "-o", str(tmp_path / "scores.csv"), "--model", model]
    first = [main(command), (tmp_path / "scores.csv").read_bytes()]
    assert "scored 3 recordings" in capsys.readouterr().err
    assert [main(command), (tmp_path / "scores.csv").read_bytes()] == first
    said = capsys.readouterr().err
    assert "going on after 3 of 5 recordings" in said and "2 of 5 recordings could not be scored" in said
    record(calls / "bb.wav")   # between the others; what failed is tried again
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "going on after 3 of 6 recordings" in said and "scored 1 recordings" in said
    assert "2 of 6 recordings could not be scored" in said
    assert main([*command[:3], str(tmp_path / "anew.csv"), *command[4:]]) == 1
    assert (tmp_path / "scores.csv").read_bytes().splitlines() == (tmp_path / "anew.csv").read_bytes().splitlines()


def test_several_sources_are_one_table_in_the_order_they_are_given(model, calls, tmp_path):
    given = [str(calls / "c.wav"), str(calls / "sub"), str(calls / "a.flac")]
    assert main(["score", *given, "-o", str(tmp_path / "scores.csv"), "--model", model]) == 0
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [Path(row["path"]).relative_to(calls).as_posix() for row in rows] == ["c.wav", "sub/a.wav", "a.flac"]


def test_timelines_are_of_all_recordings_of_the_table(model, calls, tmp_path, capsys):
    record(calls / "sub" / "b.wav", 7)
    turns = tmp_path / "turns.jsonl"
    command = ["score", str(calls / "sub"), "-o", str(tmp_path / "scores.csv"), "--timelines", str(turns),
               "--model", model]

    def named() -> list[str]:
        return sorted(Path(answer.name).name for answer in formats.read(turns))

    assert main(command) == 0 and named() == ["a.wav", "b.wav"]
    record(calls / "sub" / "z.wav", 8)
    assert main(command) == 0 and named() == ["a.wav", "b.wav", "z.wav"]
    turns.unlink()
    assert main(command) == 0 and named() == ["a.wav", "b.wav", "z.wav"]
    capsys.readouterr()
    assert main(command) == 0 and "is whole" in capsys.readouterr().err
    assert main([*command[:4], *command[6:]]) == 0 and "is whole" in capsys.readouterr().err   # less is asked


def test_a_kaldi_folder_of_the_same_run_is_written_again(model, voice, tmp_path, capsys):
    (tmp_path / "voices").mkdir()
    soundfile.write(tmp_path / "voices" / "a.wav", voice, 16_000)
    command = ["score", str(tmp_path / "voices"), "-o", str(tmp_path / "scores.csv"), "--timelines",
               str(tmp_path / "kaldi"), "--model", model]
    assert main(command) == 0
    assert main(command) == 0 and "is whole" in capsys.readouterr().err
    soundfile.write(tmp_path / "voices" / "b.wav", voice, 16_000)
    assert main(command) == 0 and {Path(u.wav).name for u in datadir.read(tmp_path / "kaldi")} == {"a.wav", "b.wav"}
    command[3] = str(tmp_path / "others.csv")
    assert main(command) == 1 and "Name a new folder" in capsys.readouterr().err


def test_turns_of_all_names_of_a_recording_are_heard_and_none_of_another(model, calls, tmp_path, capsys):
    (calls / "c").mkdir()
    record(calls / "c" / "c.wav", 9)
    names = [calls / "c.wav", f"{calls}/./c.wav", f"{calls}/sub/../c.wav", calls / "c" / "c.wav"]
    rows = [f"{name},{k / 10},{k / 10 + 0.2},s{k}" for k, name in enumerate(names)]
    (tmp_path / "turns.csv").write_text("\n".join(["path,start,end,speaker", *rows]))
    out = tmp_path / "told.csv"
    assert main(["score", str(calls / "c.wav"), str(calls / "c" / "c.wav"), "--turns", str(tmp_path / "turns.csv"),
                 "--timelines", str(out), "--model", model]) == 0
    told = {Path(answer.name).parent.name: [part.speaker for part in answer.segments] for answer in formats.read(out)}
    assert told == {calls.name: ["s0", "s1", "s2"], "c": ["s3"]}


def test_what_is_given_twice_is_refused(model, calls, tmp_path, capsys):
    assert main(["score", f"{calls}/./c.wav", str(calls), "-o", str(tmp_path / "s.csv"), "--model", model]) == 1
    assert "given twice" in capsys.readouterr().err
    (tmp_path / "turns.rttm").write_text("SPEAKER c 1 0.0 0.5 <NA> <NA> anna <NA> <NA>\n")
    voice = f"anna={calls / 'c.wav'}"
    assert main(["score", str(calls / "c.wav"), "--turns", str(tmp_path / "turns.rttm"), "--enroll", voice,
                 "--enroll", voice, "--model", model]) == 1
    assert "--enroll anna is given twice" in capsys.readouterr().err


def test_whose_turns_they_are_does_not_depend_on_what_was_scored_before(model, tmp_path, capsys):
    """Of two recordings called c1, turns of `c1.wav` are of the one that has this path."""
    for folder in (tmp_path, tmp_path / "sub"):
        folder.mkdir(exist_ok=True)
        record(folder / "c1.wav", seconds=1.0)
    one, other = str(tmp_path / "c1.wav"), str(tmp_path / "sub" / "c1.wav")
    turns, table = tmp_path / "turns.csv", tmp_path / "grown.csv"
    turns.write_text(f"path,start,end\n{one},0,0.5\n")
    options = ["--turns", str(turns), "--model", model, "-o", str(table)]
    assert main(["score", one, *options]) == 0
    assert main(["score", one, other, *options]) == 1
    assert f"{other}: {turns} has no turns of it" in capsys.readouterr().err
    assert [row["path"] for row in csv.DictReader(table.open())] == [one]
    turns.write_text(f"path,start,end\n{one},0,0.5\n{other},0,0.5\n")
    assert main(["score", one, *options, "--overwrite"]) == 0
    assert main(["score", one, other, *options]) == 0   # the same turns, of more recordings
    assert [row["path"] for row in csv.DictReader(table.open())] == [one, other]


def test_what_somebody_made_is_not_written_over(model, calls, tmp_path, capsys):
    turns, grid = tmp_path / "turns.csv", tmp_path / "c.TextGrid"
    turns.write_text(f"path,start,end\n{calls / 'c.wav'},0,0.5\n")
    score = ["score", str(calls / "c.wav"), "--model", model, "--timelines"]
    assert main([*score, str(turns), "--turns", str(turns)]) == 1
    assert "is read here: it would be lost" in capsys.readouterr().err and turns.read_text().startswith("path,start")
    grid.write_text("corrected")
    assert main([*score, str(grid)]) == 1 and "may have been corrected by hand" in capsys.readouterr().err
    assert main([*score, str(grid), "--overwrite"]) == 0 and "TextGrid" in grid.read_text()
    beside = [*score, str(tmp_path / "t.csv"), "-o", str(tmp_path / "s.csv")]
    assert main(beside) == 0 and main(beside) == 0   # its own
    with open(tmp_path / "t.csv", "a") as file:
        file.write("by hand")
    assert main(beside) == 1 and "may have been corrected by hand" in capsys.readouterr().err
    foreign = tmp_path / "other.csv"
    for content in ("name,value\na,1\n", "[1]\n"):
        foreign.write_text(content)
        assert main(["score", "-", "-o", str(foreign), "--model", model]) == 1 and foreign.read_text() == content
        foreign = tmp_path / "other.jsonl"
    assert capsys.readouterr().err.count("is no table of scores") == 2


@pytest.mark.parametrize("words, match", [
    (["score", "calls.txt", "-o", "a.csv"], "calls.txt is no recording. Lists of them .* are scored with --ray"),
    (["score", "kaldi", "-o", "a.csv"], "no recordings below .* A Kaldi data directory is scored with --ray"),
    (["score", "a.wav", "--turns", "none.csv"], "no such file none.csv"),
    (["convert", "none.TextGrid", "a.csv"], "no such file none.TextGrid"),
    (["plot", "a.wav", "-o", "none/a.png"], "no folder none to write a.png into"),
    (["explain", "a.wav", "-o", "a.v2"], "a.v2 must end in .png"),
    (["explain", "a.wav", "--start", "1"], "--start and --stop belong together"),
    (["doctor", "--model", "none"], "no model at none"),
])
def test_what_cannot_be_done_is_told_in_the_words_of_the_command(tmp_path, monkeypatch, capsys, words, match):
    monkeypatch.chdir(tmp_path)
    record(Path("a.wav"))
    Path("kaldi").mkdir()
    Path("kaldi", "wav.scp").write_text("a a.wav\n")
    assert main(words) == 1
    said = capsys.readouterr()
    assert re.search(match, said.err + said.out) and "install it anew" not in said.out


@pytest.mark.parametrize("out, match", [
    ("kaldi", "cannot tell channels apart"), ("a.parquet", "is not UTF-8"),
])
def test_what_segments_cannot_be_written_is_known_before_the_work(tmp_path, capsys, out, match):
    source = str(record(tmp_path / "a.wav", seconds=0.2).rename(tmp_path / "odd\udcff.wav"))
    channels = ["--channels", "mix" if "parquet" in out else "separate"]
    command = ["score", source, "--timelines", str(tmp_path / out), "--model", "nowhere", *channels]
    assert main(command) == 1 and match in capsys.readouterr().err   # no model was looked for


def test_turns_that_have_changed_are_another_question(model, calls, tmp_path, capsys):
    turns = tmp_path / "turns.rttm"
    command = ["score", str(calls / "c.wav"), "--turns", str(turns), "-o", str(tmp_path / "scores.csv"),
               "--model", model]
    for end, code in ((0.3, 0), (0.3, 0), (0.5, 1)):
        turns.write_text(f"SPEAKER c 1 0.0 {end} <NA> <NA> anna <NA> <NA>\n")
        assert main(command) == code
    assert "made with options" in capsys.readouterr().err


def test_what_is_read_aloud_tells_the_speakers_and_that_the_model_holds_back(model, calls, tmp_path, capsys):
    (tmp_path / "turns.rttm").write_text("SPEAKER c 1 0.0 0.5 <NA> <NA> anna <NA> <NA>\n")
    shy = checkpoint.read(model).with_calibration(Calibration(unknown_below=0.999))
    checkpoint.write(shy, tmp_path / "shy.safetensors")
    command = ["score", str(calls / "c.wav"), "--turns", str(tmp_path / "turns.rttm"), "--model"]
    assert main([*command, model]) == 0
    said = capsys.readouterr().out
    assert "holds back" not in said and "%  anna\n" in said
    assert main([*command, str(tmp_path / "shy.safetensors")]) == 0
    assert "unknown: the model holds back below 99.9 %" in capsys.readouterr().out


@pytest.mark.parametrize("options, reason", [
    (["CALLS", "--timelines", "all.TextGrid"], "5 recordings for .*which holds one recording"),
    (["CALLS", "--timelines", "kaldi"], "kaldi has recordings"),
    (["CALLS", "-o", "s.csv", "--timelines", "s.csv"], "cannot hold both"),
    (["none.wav", "-o", "s.csv"], "none.wav: no such file"),
    (["CALLS/c.wav", "--raw", "s16le", "--rate", "8000"], "Give - as the source"),
    (["CALLS/c.wav", "--rate", "8000"], "Add --raw"),
    (["CALLS/c.wav", "-", "-o", "s.csv"], "standard input"),
    (["CALLS/sub/a.wav", "CALLS/sub", "-o", "s.csv"], "sub/a.wav: given twice"),
    (["CALLS/c.wav", "CALLS/a.flac"], "several sources: their scores need a table"),
    (["CALLS/c.wav", "--turns", "turns.rttm", "--enroll", "carl=CALLS/c.wav"], "--enroll carl: .*names anna. Spell"),
    (["CALLS", "--ray", "-o", "parts", "--precision", "bfloat16"], "leave out --precision"),
    (["CALLS", "--ray", "-o", "parts", "--overwrite"], "leave out --overwrite"),
    (["-", "--baseline", "CALLS/c.wav"], "--baseline is for files"),
    (["-", "--turns", "turns.rttm"], "--turns are of files"),
])
def test_what_does_not_go_together_is_refused_before_anything_is_scored(
    model, calls, tmp_path, monkeypatch, capsys, options, reason,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "turns.rttm").write_text("SPEAKER c 1 0.0 0.5 <NA> <NA> anna <NA> <NA>\n")
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi/wav.scp").write_text("a a.wav\n")
    monkeypatch.setattr("emotion.scoring.analyzer_of", lambda options: pytest.fail("the model was asked"))
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["score", *(word.replace("CALLS", str(calls)) for word in options), "--model", model]) == 1
    said = capsys.readouterr().err
    assert re.search(reason, said) and said.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == before


def test_no_limit_is_inf_and_what_is_no_size_is_refused():
    assert scoring.megabytes("--embed-mb", math.inf) > 1e15 and scoring.megabytes("--embed-mb", 0.5) == 500_000
    for value in (-1.0, math.nan):
        with pytest.raises(ValueError, match="--embed-mb .* must be 0 or more megabytes"):
            scoring.megabytes("--embed-mb", value)


def test_a_table_of_another_precision_is_another_table(model, calls, tmp_path, capsys):
    command = ["score", str(calls / "sub"), "-o", str(tmp_path / "scores.csv"), "--model", model]
    assert main([*command, "--precision", "bfloat16"]) == 0
    assert json.loads((tmp_path / "scores.csv.meta.json").read_text())["options"] == {"precision": "bfloat16"}
    assert main(command) == 1 and "now they are {}" in capsys.readouterr().err


def test_timelines_hold_all_recordings_after_a_stop(model, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "CHUNK_RECORDINGS", 1)
    command = ["score", str(calls), "-o", str(tmp_path / "scores.csv"), "--timelines", str(tmp_path / "turns.jsonl"),
               "--model", model]
    settle, counts = scores.Table.settle, []

    def stop(table, done):
        settle(table, done)
        counts.append(done)
        if counts == [1, 2, 3]:
            raise KeyboardInterrupt

    monkeypatch.setattr(scores.Table, "settle", stop)
    assert main(command) == 130 and not (tmp_path / "turns.jsonl").exists()
    assert main(command) == 1
    told = [json.loads(line)["path"] for line in (tmp_path / "turns.jsonl").open()]
    assert told == [row["path"] for row in csv.DictReader((tmp_path / "scores.csv").open())] and len(told) == 3


@pytest.mark.parametrize("source", ["sub", "c.wav"])
def test_the_rate_counts_the_time_of_reading_and_scoring(model, calls, tmp_path, capsys, monkeypatch, source):
    clock = iter(range(0, 10_000, 10))   # ten seconds pass each time somebody looks
    started = []
    read, look = audio.blocks, lambda: started.append(True) or next(clock)
    monkeypatch.setattr("emotion.scoring.time", SimpleNamespace(monotonic=look))
    # nothing is read before the clock runs
    monkeypatch.setattr(audio, "blocks", lambda *args, **named: started and read(*args, **named))
    assert main(["score", str(calls / source), "-o", str(tmp_path / "scores.csv"), "--model", model]) == 0
    assert "scored 1 recordings, 1 s of audio, in 20.0 s: 0 s of audio per second" in capsys.readouterr().err


def test_one_file_prints_its_label_segments_and_flags(model, voice, tmp_path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, voice, 16_000)
    assert main(["score", str(path), "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    answer = Analyzer(model, "cpu").analyze(path)
    assert lines[0] == f"{path}  ({len(voice) / 16_000:.2f} s)"
    assert lines[2].split()[:3] == [answer.label, f"{100 * answer.confidence:.1f}", "%"]
    assert [line.split()[0] for line in lines[2:7]] == [
        label for _, label in sorted(zip(answer.probabilities, answer.labels), reverse=True)]
    part = answer.segments[0]
    assert lines[8].split() == [
        f"{part.start_seconds:.2f}", "-", f"{part.end_seconds:.2f}", "s", part.label,
        f"{100 * part.confidence:.1f}", "%"]
    assert main(["score", str(record(tmp_path / "b.wav", seconds=0.4)), "--model", model]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  flags: no_speech, short"


def test_one_file_prints_where_its_dimensions_lie_from_0_to_1(rating, voice, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", voice, 16_000)
    checkpoint.write(rating, tmp_path / "model.safetensors")
    assert main(["score", str(tmp_path / "a.wav"), "--model", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    answer = Analyzer(rating, "cpu").analyze(tmp_path / "a.wav")
    for line, (name, value) in zip(lines[8:10], answer.dimensions.items(), strict=True):
        told, number, bar = line.split()
        assert (told, number) == (name, f"{value:.2f}")
        assert bar.index("|") == round(40 * value) and len(bar) == 41


def test_segments_are_written_in_the_format_of_the_ending(model, voice, calls, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", voice, 16_000)
    expected = Analyzer(model, "cpu").analyze(tmp_path / "a.wav").segments
    for name in ("a.TextGrid", "a.csv", "a.rttm"):
        assert main(["score", str(tmp_path / "a.wav"), "--model", model, "--timelines", str(tmp_path / name)]) == 0
        (answer,) = formats.read(tmp_path / name)
        assert [part.label for part in answer.segments] == [part.label for part in expected]
    assert main(["convert", str(tmp_path / "a.TextGrid"), str(tmp_path / "b.eaf")]) == 0
    assert [part.label for part in formats.read(tmp_path / "b.eaf")[0].segments] == [part.label for part in expected]
    table = tmp_path / "all.jsonl"
    assert main(["score", str(calls), "--model", model, "--timelines", str(table)]) == 1   # two cannot be read
    assert len(formats.read(table)) == 3
    with pytest.raises(SystemExit):
        main(["score", str(calls), "--channels", "left"])
    assert main(["score", str(calls), "--model", model, "--timelines", str(tmp_path / "a.doc")]) == 1
    assert "Rename it" in capsys.readouterr().err


def test_each_channel_is_answered_where_that_is_asked(model, tmp_path, capsys):
    noise = np.random.default_rng(0).normal(scale=0.1, size=(9600, 2))
    soundfile.write(tmp_path / "two.wav", noise, 16_000)
    out = tmp_path / "scores.jsonl"
    command = ["score", str(tmp_path / "two.wav"), "--model", model, "-o", str(out), "--channels", "separate"]
    assert main(command) == 0 and "scored 1 recordings" in capsys.readouterr().err
    assert main(command) == 0 and "is whole: 1 recordings" in capsys.readouterr().err
    assert [json.loads(line)["channel"] for line in out.read_text().splitlines()] == [1, 2]
    assert main([*command[:4], "--channels", "separate"]) == 0
    assert "two.wav, channel 2  (0.60 s)" in capsys.readouterr().out
    command[5] = str(tmp_path / "scores.csv")
    assert main(command) == 0
    assert [row["channel"] for row in csv.DictReader((tmp_path / "scores.csv").open())] == ["1", "2"]


def test_turns_that_are_given_are_answered_one_by_one(model, tmp_path, capsys):
    (tmp_path / "calls").mkdir()
    for name in ("a.wav", "b.wav"):
        record(tmp_path / "calls" / name, seconds=2.0)
    turns = tmp_path / "turns.rttm"
    turns.write_text("SPEAKER a 1 0 0.8 <NA> <NA> x <NA> <NA>\nSPEAKER a 1 1 0.8 <NA> <NA> y <NA> <NA>\n")
    out = tmp_path / "out.csv"
    command = ["score", str(tmp_path / "calls"), "--model", model, "--turns", str(turns), "--timelines", str(out)]
    assert main(command) == 1
    assert "b.wav: " in (said := capsys.readouterr().err) and "Name it there" in said
    (answer,) = formats.read(out)
    assert [(part.start_seconds, part.end_seconds, part.speaker) for part in answer.segments] == [
        (0, 0.8, "x"), (1, 1.8, "y")]
    assert main([*command[:4], "--turns", str(turns), "-o", str(tmp_path / "s.csv"), "--channels", "separate"]) == 1
    assert "Leave out --channels separate" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["segments", "segs"])
def test_speakers_beside_segments_are_a_part_of_the_turns(model, calls, tmp_path, capsys, name):
    turns = tmp_path / name
    turns.write_text("one c 0.0 0.4\n")
    (tmp_path / "utt2spk").write_text("one anna\n")
    command = ["score", str(calls / "c.wav"), "--turns", str(turns), "-o", str(tmp_path / "s.jsonl"), "--model", model]
    assert main(command) == 0
    assert json.loads((tmp_path / "s.jsonl").read_text())["segments"][0]["speaker"] == "anna"
    (tmp_path / "utt2spk").write_text("one bob\n")
    assert main(command) == 1 and "was made with options" in capsys.readouterr().err


def test_turns_are_found_however_a_path_is_spelt_and_are_not_given_to_two(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("x", "y"):
        Path(folder).mkdir()
        record(Path(folder, "a.wav"), seconds=2.0)
    score = ["score", "./x/a.wav", "--model", model]
    assert main([*score, "--timelines", "turns.csv", "-o", "one.csv"]) == 0
    Path("turns.rttm").write_text("SPEAKER a 1 0 0.8 <NA> <NA> anna <NA> <NA>\n")
    assert main([*score, "--turns", "turns.rttm", "-o", "two.csv"]) == 0
    assert [row["path"] for name in ("one.csv", "two.csv") for row in csv.DictReader(open(name))] == ["./x/a.wav"] * 2
    both = ["score", "x", "y", "--model", model, "--turns", "turns.rttm", "-o", "both.csv"]
    assert main(both) == 1
    assert "turns of a, and x/a.wav, y/a.wav are called so" in capsys.readouterr().err
    Path("turns.rttm").write_text("SPEAKER x/../x/a.wav 1 0 0.8 <NA> <NA> anna <NA> <NA>\n"
                                  "SPEAKER y/a.wav 1 0 0.8 <NA> <NA> bob <NA> <NA>\n")
    assert main(both) == 0


def test_a_table_is_whole_even_where_a_format_cannot_hold_its_timelines(model, calls, tmp_path, capsys):
    (tmp_path / "turns.csv").write_text("path,start,end,speaker\nc,0,0.4,anna\nc,0.2,0.5,anna\n")   # over herself
    command = ["score", str(calls / "c.wav"), "--model", model, "--turns", str(tmp_path / "turns.csv")]
    assert main([*command, "-o", str(tmp_path / "s.csv"), "--timelines", str(tmp_path / "a.TextGrid")]) == 1
    assert "overlap" in capsys.readouterr().err and len((tmp_path / "s.csv").read_text().splitlines()) == 2


def test_nothing_is_written_of_a_recording_that_could_not_be_read(model, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    out = tmp_path / "bad.TextGrid"
    assert main(["score", str(tmp_path / "bad.wav"), "--model", model, "--timelines", str(out)]) == 1
    assert "not audio that libsndfile reads" in capsys.readouterr().err and not out.exists()


def test_what_spoke_for_an_emotion_is_drawn(model, tmp_path, capsys):
    path, out = record(tmp_path / "a.wav"), tmp_path / "why.png"
    assert main(["explain", str(path), "--model", model, "-o", str(out), "--label", "fear"]) == 0
    assert ": fear " in capsys.readouterr().out and out.read_bytes().startswith(b"\x89PNG")
    assert main(["explain", str(path), "--model", model, "-o", str(out), "--label", "boredom"]) == 1
    drawn, other = out.read_bytes(), tmp_path / "plot.png"
    assert main(["explain", str(path), "--model", model, "-o", str(out)]) == 0 and out.read_bytes() != drawn
    assert main(["plot", "--explain", str(path), "--model", model, "-o", str(other)]) == 0
    assert other.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("separate", [False, True])
def test_standard_input_gets_the_answer_of_the_file(model, tmp_path, monkeypatch, capsys, separate):
    noise = np.random.default_rng(0).normal(scale=0.1, size=(20_000, 2))
    soundfile.write(tmp_path / "two.wav", noise, 16_000, subtype="PCM_16")
    option = ["--channels", "separate"] if separate else []
    content = (tmp_path / "two.wav").read_bytes()
    rows = []
    for source, sent, name in (
        (str(tmp_path / "two.wav"), b"", "file.csv"), ("-", b"RIFF", "pipe.csv"), ("-", content, "pipe.csv"),
    ):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(sent)))
        told = main(["score", source, "--model", model, "-o", str(tmp_path / name), *option])
        assert told == (sent == b"RIFF")
        rows += [list(csv.DictReader((tmp_path / name).open()))] if told == 0 else []
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert main(["score", "-", "--model", model, "-o", str(tmp_path / "file.csv"), *option]) == 1
    assert "these rows would be lost" in capsys.readouterr().err
    for file, pipe in zip(*rows, strict=True):
        assert pipe["path"] == "-" and pipe["label"] == file["label"] and pipe["duration_seconds"] == "1.250"
        assert float(pipe["confidence"]) == pytest.approx(float(file["confidence"]), abs=1e-4)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content[44:])))
    assert main(["score", "-", "--model", model, "--raw", "s16le", "--rate", "16000", "--raw-channels", "2"]) == 0
    assert "-  (1.25 s)" in capsys.readouterr().out


def test_what_the_microphone_hears_is_told_until_it_is_enough(model, voice, tmp_path, monkeypatch, capsys):
    heard = np.tile(voice, 10)[: 9 * 16_000]
    blocks = (heard[i : i + 8000] for i in range(0, len(heard), 8000))
    asked = []
    monkeypatch.setattr("emotion.live.microphone", lambda *arguments: asked.append(arguments) or blocks)
    out = tmp_path / "said.vtt"
    assert main(["listen", "--model", model, "--input", "2", "--seconds", "8", "--timelines", str(out)]) == 0
    said = capsys.readouterr()
    moments = [line for line in said.out.splitlines() if line.endswith("#") and " s  " in line]
    assert asked == [(16_000, 2)] and 3 <= len(moments) and "microphone  (8.00 s)" in said.out
    assert "is told" in said.err and out.read_text().startswith("WEBVTT")


@pytest.mark.skipif(sys.platform != "linux", reason="only here a file name may be any bytes")
def test_a_file_name_that_is_not_utf_8_is_printed(model, tmp_path, capsys):
    path = record(tmp_path / "a.wav").rename(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    assert main(["score", str(path), "--model", model]) == 0
    assert "caf\\udce9.wav  (0.60 s)" in capsys.readouterr().out


def test_plot_draws_into_the_working_directory_or_where_told(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = record(tmp_path / "calls" / "a.wav")
    assert main(["plot", str(path), "--model", model]) == 0
    assert main(["plot", str(path), "--model", model, "-o", "calls/b.png"]) == 0
    assert capsys.readouterr().out.split() == ["a.png", "calls/b.png"]
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in ("a.png", "calls/b.png"))


# data

def test_validate_and_fix_speak_kaldis_words(tmp_path, capsys):
    directory = corpus(tmp_path / "data", "m1 m2")
    assert main(["data", "validate", directory]) == 0
    assert capsys.readouterr().out == f"Successfully validated data-directory {directory}\n"
    lines = (tmp_path / "data" / "utt2spk").read_text().splitlines()
    (tmp_path / "data" / "utt2spk").write_text("\n".join(lines[:0:-1]) + "\n")
    assert main(["data", "validate", directory]) == 1
    assert "utt2spk is not in sorted order" in capsys.readouterr().err
    assert main(["data", "fix", directory]) == 0
    assert capsys.readouterr().out.startswith("kept 9 utterances out of 9; old files are kept in")
    assert main(["data", "validate", directory]) == 0
    assert (tmp_path / "data" / ".backup" / "utt2spk").exists()
    capsys.readouterr()
    assert main(["data", "fix", directory]) == 0
    assert capsys.readouterr().out == "kept 9 utterances out of 9\n"


@pytest.mark.parametrize("options, folds", [([], {1, 2}), (["--fold", "2"], {2})])
def test_split_writes_the_folds_of_its_file(tmp_path, options, folds):
    split = tmp_path / "split.yaml"
    split.write_text("name: two\nsource: here\nfolds:\n"
                     "- {test: [m1], valid: [m2]}\n- {test: [m3, m4], valid: [m1]}\n")
    out = tmp_path / "out"
    assert main(["data", "split", corpus(tmp_path / "data"), str(split), str(out), *options]) == 0
    assert {path.name for path in out.iterdir()} == {f"fold{k}" for k in folds}
    (out / "fold3/test").mkdir(parents=True)   # of an earlier split, which had more
    (out / ".backup/fold3/of another before").mkdir(parents=True)
    assert main(["data", "split", str(tmp_path / "data"), str(split), str(out), *options]) == 0
    assert (out / "fold3").exists() == bool(options) and (out / ".backup/fold3/test").exists() != bool(options)
    for part, speakers in {"train": {"m2"}, "valid": {"m1"}, "test": {"m3", "m4"}}.items():
        assert {utterance.speaker for utterance in datadir.read(out / "fold2" / part)} == speakers


def test_data_that_would_be_lost_are_kept_or_the_command_is_refused(tmp_path, capsys):
    one, two = corpus(tmp_path / "one", "m1 m2"), corpus(tmp_path / "two", "m3")
    before = (tmp_path / "one/utt2spk").read_bytes()
    for command in (["subset", one, one, "--first", "1"], ["combine", one, two, f"{one}/"]):
        assert main(["data", *command]) == 1 and "is read here: it would be lost" in capsys.readouterr().err
    assert main(["data", "combine", one, two]) == 0
    assert ids(one) == ids(two) and (tmp_path / "one/.backup/utt2spk").read_bytes() == before
    assert f"what was there is in {one}/.backup" in capsys.readouterr().err
    assert main(["data", "combine", one, two]) == 0
    assert not (tmp_path / "one/.backup/utt2spk.1").exists()   # the same again


def test_combine_is_the_union_of_its_directories(tmp_path, capsys):
    one, two = corpus(tmp_path / "one", "m1 m2"), corpus(tmp_path / "two", "m3")
    assert main(["data", "combine", str(tmp_path / "all"), one, two]) == 0
    assert ids(tmp_path / "all") == ids(one) + ids(two)
    assert capsys.readouterr() == (f"{tmp_path / 'all'}: 15 utterances\n", "")
    Path(one, "spk2gender").write_text("m1 m\nm2 f\n")
    assert main(["data", "combine", str(tmp_path / "all"), one, two]) == 0
    assert f"{tmp_path / 'all'}: without spk2gender: " in capsys.readouterr().err


@pytest.mark.parametrize("options, expected", [
    (["--speakers", "m1,m3"], [f"{s}-{e}" for s in ("m1", "m3") for e in CLASSES]),
    (["--emotions", "anger,fear", "--first", "3"], ["m1-anger", "m1-fear", "m2-anger"]),
    (["--first", "2"], ["m1-anger", "m1-fear"]),
    (["--first", "2", "--without-utterances", "m1-anger,m2-fear"], ["m1-fear", "m1-happiness"]),
    (["--per-class", "1"], [f"m1-{e}" for e in CLASSES]),
    (["--without-speakers", "m1,m4", "--first", "1"], ["m2-anger"]),
])
def test_subset_chooses_by_each_of_its_options(tmp_path, options, expected):
    assert main(["data", "subset", corpus(tmp_path / "data"), str(tmp_path / "out"), *options]) == 0
    assert ids(tmp_path / "out") == expected


# train, calibrate, evaluate, results

@pytest.fixture
def trainings(monkeypatch):
    """What trainings were asked for, and in how many threads; none is begun."""
    asked = []
    package = ModuleType("emotion.train")
    package.config = SimpleNamespace(read=lambda path, overrides: (path, overrides))
    package.fit = SimpleNamespace(train=lambda *given: asked.append((given, os.environ["OMP_NUM_THREADS"])))
    monkeypatch.setitem(sys.modules, "emotion.train", package)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    return asked


REQUIRED = ["train", "--conf", "a.yaml", "--train", "T", "--valid", "V", "--exp", "E"]


def test_train_hands_its_options_to_training(trainings):
    assert main([*REQUIRED, "--set", "a=1", "b=2", "--set", "c=3", "--seed", "7", "--device", "cpu",
                 "--init", "I", "--teachers", "A", "B", "--devices", "2", "--nodes", "3"]) == 0
    assert main(REQUIRED) == 0
    assert [given for given, _ in trainings] == [
        (("a.yaml", ["a=1", "b=2", "c=3"]), "T", "V", "E", 7, "cpu", "I", ["A", "B"], 2, 3),
        (("a.yaml", []), "T", "V", "E", 1, "auto", None, [], None, None)]


def test_the_processes_of_a_training_have_as_many_threads_as_asked(trainings):
    assert main(REQUIRED) == 0 and main([*REQUIRED, "--threads", "3"]) == 0
    assert [threads for _, threads in trainings] == ["7", "3"]


def test_evaluate_is_told_what_was_asked(monkeypatch):
    asked = []
    monkeypatch.setattr("emotion.evaluate.evaluate", lambda *arguments: asked.append(arguments))
    assert main(["evaluate", "bundled", "data", "--out", "scores"]) == 0
    assert main(["evaluate", "exp", "data", "--own-statistics"]) == 0
    assert [(arguments[0], *arguments[-2:]) for arguments in asked] == [
        ("bundled", "scores", False), ("exp", None, True)]


@pytest.mark.parametrize("command", [
    ["score", "SOURCE", "--model", "bundled"], ["export", "bundled", "-o", "OUT.onnx"],
    ["evaluate", "bundled", "DATA", "--out", "OUT"], ["stress", "bundled", "DATA", "-o", "OUT.json"],
])
def test_every_command_knows_the_bundled_model_by_name(model, tmp_path, monkeypatch, command, capsys):
    monkeypatch.setattr(checkpoint, "BUNDLED", Path(model) / checkpoint.FILE_NAME)
    if command[0] == "export":
        pytest.importorskip("onnx")
    given = {"SOURCE": str(record(tmp_path / "a.wav")), "DATA": corpus(tmp_path / "data", "m3 m4")}
    assert main([given.get(word, word.replace("OUT", str(tmp_path / "out"))) for word in command]) == 0
    if command[0] == "stress":
        assert json.loads((tmp_path / "out.json").read_text())["models"] == [checkpoint.read(model).fingerprint]


def test_an_exported_model_is_not_called_damaged(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"exported")
    with pytest.raises(checkpoint.CheckpointError, match="is an exported model.*exported from"):
        checkpoint.read(tmp_path / "model.onnx")


def test_a_model_is_calibrated_evaluated_and_tabled(model, tmp_path, capsys):
    exp = Path(model).rename(tmp_path / "seed1")
    (tmp_path / "fold1").mkdir()
    exp = str(exp.rename(tmp_path / "fold1" / "seed1"))
    assert main(["calibrate", exp, corpus(tmp_path / "valid", "m2"), "--device", "cpu"]) == 0
    assert checkpoint.read(exp).calibration != Calibration()
    assert main(["evaluate", exp, corpus(tmp_path / "test", "m3 m4"), "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["results", str(tmp_path), "-o", str(tmp_path / "RESULTS.md")]) == 0
    table = capsys.readouterr().out
    assert table == (tmp_path / "RESULTS.md").read_text()
    uar = json.loads((tmp_path / "fold1/seed1/scores.json").read_text())["uar"]
    assert f"| UAR % | {100 * uar:.1f} |" in table


def test_heard_speakers_are_scored_when_allowed(model, tmp_path, capsys):
    directory = corpus(tmp_path / "test", "m1")
    assert main(["evaluate", model, directory]) == 1
    assert "Give other speakers" in capsys.readouterr().err
    assert main(["evaluate", model, directory, "--allow-heard"]) == 0


def test_calibrate_and_evaluate_hand_on_their_options(monkeypatch):
    asked = []
    monkeypatch.setattr("emotion.evaluate.calibrate", lambda *given: asked.append(given[3]))
    monkeypatch.setattr("emotion.evaluate.evaluate", lambda *given: asked.append(given[3:5]))
    assert main(["calibrate", "exp", "data", "--hold-back", "0.1"]) == main(["calibrate", "exp", "data"]) == 0
    assert main(["evaluate", "exp", "data", "--allow-heard", "--speeds", "0.9,1,1.1"]) == 0
    assert asked == [0.1, None, (True, (0.9, 1.0, 1.1))]


def test_results_are_told_as_rows_or_as_an_ensemble_of_the_table_that_is_named(tmp_path, capsys):
    for name, called in (("a", [1, 1]), ("b", [0, 0])):
        (tmp_path / name / "split/fold1/seed1").mkdir(parents=True)
        planted("a-1 b-1", [0, 1], called).write(tmp_path / name / "split/fold1/seed1/answers.csv")
    roots = [str(tmp_path / name / "split") for name in "ab"]
    for kind, told in (("--rows", "| a | 1 | 1 | 50.0 |"), ("--ensemble", "| | ensemble | mean | spread |")):
        assert main(["results", *roots, kind, "--table", "answers.csv"]) == 0 and told in capsys.readouterr().out


def test_report_hands_on_how_much_it_may_embed(model, calls, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("emotion.report.write", lambda answers, *given: asked.append(given[3]) or answers)
    assert main(["report", str(calls / "sub"), "-o", str(tmp_path / "r.html"), "--model", model,
                 "--embed-mb", "1", "--embed-total-mb", "7"]) == 0
    assert (asked[0].file_bytes, asked[0].total_bytes) == (1_000_000, 7_000_000)


def test_stress_and_explain_hand_on_their_options(tmp_path, monkeypatch):
    asked = []

    def enough(*given, **named):
        asked.append((given[-1], named))
        raise ValueError("enough")

    monkeypatch.setattr("emotion.stress.trials", enough)
    monkeypatch.setattr("emotion.explain.explain", enough)
    monkeypatch.setattr("emotion.analyzer.Analyzer", lambda *given: None)
    assert main(["stress", "M", "D", "-o", str(tmp_path / "r.html"), "--seed", "3"]) == 1
    assert main(["explain", "a.wav", "--label", "fear", "--start", "1", "--stop", "2.5"]) == 1
    assert asked == [(3, {}), ("a.wav", {"label": "fear", "start_seconds": 1.0, "stop_seconds": 2.5})]


# refusals

def wrong_size(model: str) -> str:
    """A model whose description has more classes than its weights: PyTorch says so in many lines."""
    lying = dataclasses.replace(checkpoint.read(model), scheme=labels.scheme("ravdess8"))
    checkpoint.write(lying, Path(model) / checkpoint.FILE_NAME)
    return model


@pytest.mark.parametrize("arguments, reason", [
    (lambda t, m: ["score", f"{t}/none.wav", "--model", m], "none.wav: no such file"),
    (lambda t, m: ["score", f"{t}/calls", "--model", m], "its scores need a table. Add -o scores.csv"),
    (lambda t, m: ["score", m, "-o", f"{t}/s.csv", "--model", m], "no recordings below"),
    (lambda t, m: ["score", f"{t}/calls", "-o", "s.txt", "--model", "none"], "must end in .csv or .jsonl"),
    (lambda t, m: ["score", f"{t}/calls", "-o", f"{t}/no/s.csv", "--model", m], "Make it first"),
    (lambda t, m: ["score", f"{t}/calls/c.wav", "--model", f"{t}/calls"], "no model at"),
    (lambda t, m: ["score", f"{t}/calls/c.wav", "--model", wrong_size(m)], "size mismatch"),
    (lambda t, m: ["score", f"{t}/calls/c.wav", "--model", m, "--device", "tpu"], "no device 'tpu'"),
    (lambda t, m: ["plot", f"{t}/calls/b.wav", "--model", m], "is empty"),
    (lambda t, m: ["calibrate", m, corpus(t / "d", "m1")], "trained on the speakers m1"),
    (lambda t, m: ["evaluate", f"{t}/calls", f"{t}/calls"], "no model at"),
    (lambda t, m: ["results", f"{t}"], "Run `emotion evaluate` first"),
    (lambda t, m: ["data", "fix", f"{t}"], "no such file"),
    (lambda t, m: ["data", "split", corpus(t / "d"), f"{t}/none.yaml", f"{t}/o"], "is no split file"),
    (lambda t, m: ["data", "subset", corpus(t / "d"), f"{t}/o", "--speakers", "m9"], "unknown speakers m9"),
    (lambda t, m: ["data", "combine", f"{t}/o", corpus(t / "d"), f"{t}/d"], "occur twice"),
])
def test_an_error_is_one_line_and_exit_code_1(model, calls, tmp_path, capsys, arguments, reason):
    arguments = arguments(tmp_path, model)
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"emotion {arguments[0]}: ") and reason in said.err


def test_a_fold_that_the_split_lacks_is_refused(tmp_path, capsys):
    split = tmp_path / "split.yaml"
    split.write_text("name: one\nsource: here\nfolds: [{test: [m1], valid: [m2]}]\n")
    assert main(["data", "split", corpus(tmp_path / "d"), str(split), "out", "--fold", "2"]) == 1
    assert "has the folds 1 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    [], ["hear"], ["score"], ["data"],
    ["score", "a.wav", "--threads", "0"], ["score", "a.wav", "--threads", "x"],
])
def test_wrong_usage_ends_with_exit_code_2(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_an_interruption_says_how_to_go_on(model, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(audio, "find", interrupt)
    assert main(["score", str(tmp_path), "-o", "scores.csv", "--model", model]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_threads_are_as_many_as_asked(model, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(analyzer, "answered", lambda jobs, answer, rate, threads, on_gpu: asked.append(
        threads) or answered(jobs, answer, rate, threads, on_gpu))
    for options in (["--threads", "3"], []):
        assert main(["score", str(record(tmp_path / "a.wav")), "--model", model, *options]) == 0
    assert asked == [3, available_cores()]


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["data", "split", "--help"]])
def test_help_answers_without_loading_torch(arguments):
    program = ("import sys\nfrom emotion.cli import main\ntry:\n    main(sys.argv[1:])\n"
               "finally:\n    print(sorted({'torch', 'numpy', 'lightning'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: emotion") and done.stdout.endswith("[]\n")


def test_the_package_is_a_program_too():
    done = subprocess.run([sys.executable, "-m", "emotion", "--version"], capture_output=True, text=True)
    assert done.stdout == f"emotion {__version__}\n"
