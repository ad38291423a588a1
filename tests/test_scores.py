import csv
import json

import numpy as np
import pytest

from emotion import scores
from emotion.analyzer import Analyzer, FileError, WindowConfig
from emotion.settings import to_plain
from emotion.timeline import Segment, SegmentConfig, Timeline

LABELS = ("anger", "fear", "happiness", "neutral", "sadness")


def answer(name: str, *probabilities: float, flags: tuple[str, ...] = ()) -> Timeline:
    return Timeline(
        name=name, labels=LABELS, duration_seconds=1.25, probabilities=np.array(probabilities),
        step_times=np.array([0.03]), step_probabilities=np.array([probabilities]), step_speech=np.ones(1),
        segments=(Segment(0.0, 0.5, "anger", 0.5, (0.5, 0.5, 0, 0, 0)),
                  Segment(0.5, 1.25, "fear", 0.75, (0, 0.75, 0.25, 0, 0))), flags=flags,
    )


ANSWERS = [
    answer("a.wav", 0.5, 0.125, 0.125, 0.125, 0.125),
    FileError("b.wav", "cut. Copy it again."),
    answer('a comma, a "quote"\nand a line.wav', 0, 0, 0, 1, 0, flags=("short", "clipped")),
    answer("not utf-8 \udcff.wav", 0.2, 0.2, 0.2, 0.2, 0.2),
]
SCORED = [ANSWERS[0], *ANSWERS[2:]]


@pytest.fixture
def analyzer(tiny) -> Analyzer:
    return Analyzer(tiny, "cpu", windows=WindowConfig(length_seconds=5.0, hop_seconds=4.0),
                    segments=SegmentConfig(shortest_seconds=0.25))


def read_csv(path) -> list[dict]:
    with open(path, **scores.TEXT) as file:
        return list(csv.DictReader(file))


def test_a_csv_table_reads_back_equal(analyzer, tmp_path):
    list(scores.write(ANSWERS, tmp_path / "scores.csv", analyzer))
    rows = read_csv(tmp_path / "scores.csv")
    assert list(rows[0]) == scores.columns(LABELS) == [
        "path", "label", "confidence", "entropy", "flags", "duration_seconds",
        "p_anger", "p_fear", "p_happiness", "p_neutral", "p_sadness"]
    assert [row["path"] for row in rows] == [scored.name for scored in SCORED]
    for row, scored in zip(rows, SCORED):
        assert (row["label"], row["flags"].split()) == (scored.label, list(scored.flags))
        assert [float(row[f"p_{label}"]) for label in LABELS] == pytest.approx(scored.probabilities, abs=1e-6)
        assert float(row["confidence"]) == pytest.approx(scored.confidence, abs=1e-6)
        assert float(row["entropy"]) == pytest.approx(scored.entropy, abs=1e-6)
        assert float(row["duration_seconds"]) == 1.25


def test_json_lines_hold_what_the_answers_tell_of_themselves(analyzer, tmp_path):
    list(scores.write(ANSWERS, tmp_path / "scores.jsonl", analyzer))
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [scored.to_dict() for scored in SCORED]


def test_both_formats_hold_the_same_numbers(analyzer, tmp_path):
    for name in ("scores.csv", "scores.jsonl"):
        list(scores.write(ANSWERS, tmp_path / name, analyzer))
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    for row, fields in zip(read_csv(tmp_path / "scores.csv"), map(json.loads, lines), strict=True):
        assert (row["path"], row["label"]) == (fields["path"], fields["label"])
        for label in LABELS:
            assert float(row[f"p_{label}"]) == pytest.approx(fields["probabilities"][label], abs=1e-6)


def test_every_answer_is_handed_on_as_it_is_written(analyzer, tmp_path):
    asked = []
    source = (asked.append(item) or item for item in ANSWERS)
    answers = scores.write(source, tmp_path / "scores.csv", analyzer)
    for count, item in enumerate(ANSWERS, 1):
        assert next(answers) is item
        assert len(asked) == count


def test_a_table_takes_its_name_once_it_is_whole(analyzer, tmp_path):
    answers = scores.write(ANSWERS, tmp_path / "scores.csv", analyzer)
    for _ in ANSWERS:
        next(answers)
        assert [path.name for path in tmp_path.iterdir()] == ["scores.csv.part"]
    assert list(answers) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.csv.meta.json"]


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl"])
def test_an_interrupted_table_leaves_the_old_one_as_it_was(analyzer, tmp_path, name):
    path = tmp_path / name
    path.write_text("the old one")

    def interrupted():
        yield ANSWERS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(scores.write(interrupted(), path, analyzer))
    assert path.read_text() == "the old one"
    assert not path.with_name(f"{name}.meta.json").exists()


def test_a_reader_that_stops_early_gets_no_table(analyzer, tmp_path):
    answers = scores.write(ANSWERS, tmp_path / "scores.csv", analyzer)
    next(answers)
    answers.close()
    assert not (tmp_path / "scores.csv").exists()


def test_the_meta_file_tells_the_model_and_all_options(analyzer, tmp_path):
    list(scores.write(ANSWERS, tmp_path / "scores.csv", analyzer))
    meta = json.loads((tmp_path / "scores.csv.meta.json").read_text())
    assert meta == {
        "model": analyzer.fingerprint, "labels": list(LABELS),
        "windows": to_plain(analyzer.windows), "segments": to_plain(analyzer.segments),
    }
    assert (meta["windows"]["hop_seconds"], meta["segments"]["shortest_seconds"]) == (4.0, 0.25)


@pytest.mark.parametrize("name", ["scores.txt", "scores", "scores.csv.gz", "csv"])
def test_an_ending_that_names_no_format_is_refused_before_anything_is_written(analyzer, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.csv or \.jsonl.*Rename it"):
        list(scores.write(ANSWERS, tmp_path / name, analyzer))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["scores.csv", "SCORES.CSV", "a.b.jsonl"])
def test_endings_count_in_any_case(name):
    assert scores.check_path(name).name == name


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder .*none to write scores.csv into. Make it first"):
        scores.check_path(tmp_path / "none" / "scores.csv")
