import contextlib
import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion import earlier, scores
from emotion.analyzer import Analyzer, FileError, WindowConfig
from emotion.calibration import Calibration
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


NAMES = [item.name for item in ANSWERS]


def write(answers, path, analyzer, names=None, **settings) -> None:
    with scores.growing(path, analyzer, names or [item.name for item in answers], **settings) as table:
        for item in answers[table.done :]:
            table.add(item)


def read_csv(path) -> list[dict]:
    with open(path, **scores.TEXT) as file:
        return list(csv.DictReader(file))


def test_a_csv_table_reads_back_equal(analyzer, tmp_path):
    write(ANSWERS, tmp_path / "scores.csv", analyzer)
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
    write(ANSWERS, tmp_path / "scores.jsonl", analyzer)
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [scored.to_dict() for scored in SCORED]


def test_both_formats_hold_the_same_numbers(analyzer, tmp_path):
    for name in ("scores.csv", "scores.jsonl"):
        write(ANSWERS, tmp_path / name, analyzer)
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    for row, fields in zip(read_csv(tmp_path / "scores.csv"), map(json.loads, lines), strict=True):
        assert (row["path"], row["label"]) == (fields["path"], fields["label"])
        for label in LABELS:
            assert float(row[f"p_{label}"]) == pytest.approx(fields["probabilities"][label], abs=1e-6)


def names_of(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_table_takes_its_name_once_it_is_whole(analyzer, tmp_path):
    with scores.growing(tmp_path / "scores.csv", analyzer, NAMES) as table:
        for count, item in enumerate(ANSWERS, 1):
            table.add(item)
            table.settle(count)
            assert names_of(tmp_path) == ["scores.csv.part", "scores.csv.part.json"]
    assert names_of(tmp_path) == ["scores.csv", "scores.csv.meta.json"]


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl"])
def test_what_has_come_since_a_table_was_stopped_follows_what_it_has(analyzer, tmp_path, name):
    path, new = tmp_path / name, [answer("0.wav", 1, 0, 0, 0, 0), answer("bb.wav", 0, 1, 0, 0, 0)]
    with pytest.raises(KeyboardInterrupt), scores.growing(path, analyzer, NAMES) as table:
        for item in ANSWERS[:3]:
            table.add(item)
        table.settle(3)
        raise KeyboardInterrupt
    known = {item.name: item for item in [new[0], *ANSWERS[:2], new[1], *ANSWERS[2:]]}
    with pytest.raises(KeyboardInterrupt), scores.growing(path, analyzer, list(known)) as table:
        assert table.done == 3 and table.names == [*NAMES[:3], new[0].name, new[1].name, NAMES[3]]
        table.add(known[table.ahead[0]])
        table.settle(4)
        raise KeyboardInterrupt   # once more
    with scores.growing(path, analyzer, list(known)) as table:
        assert table.done == 4 and table.names[:4] == [*NAMES[:3], new[0].name]
        for left in table.ahead:
            table.add(known[left])
    before = path.read_bytes()
    with scores.growing(path, analyzer, list(known)) as table:   # what failed alone is left
        assert table.kept.keys() == known.keys() - {ANSWERS[1].name}
        for left in table.without_rows(table.names):
            table.add(known[left])
        assert table.num_with_rows == len(known) - 1
        table.settle(len(known))
        assert table.num_with_rows == len(known)
    assert path.read_bytes() == before
    told = [row["path"] for row in (read_csv(path) if name.endswith("csv") else map(json.loads, path.open()))]
    assert told == [item for item in table.names if item != ANSWERS[1].name]
    with pytest.raises(KeyboardInterrupt), scores.growing(tmp_path / f"b.{name}", analyzer, NAMES) as table:
        for item in ANSWERS[:3]:
            table.add(item)
        table.settle(3)
        raise KeyboardInterrupt
    with pytest.raises(earlier.TableError, match="of the 3 here they are not all"):
        write(ANSWERS, tmp_path / f"b.{name}", analyzer, NAMES[1:])


def test_a_line_end_of_any_kind_in_a_name_stays_in_its_row(analyzer, tmp_path):
    answers = [answer(f"a{end}b.wav", 1, 0, 0, 0, 0) for end in ("\r", "\n", "\r\n", "\u2028", "\x0b", "\t")]
    write(answers, tmp_path / "scores.csv", analyzer)
    assert [row["path"] for row in read_csv(tmp_path / "scores.csv")] == [item.name for item in answers]


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl"])
@pytest.mark.parametrize("settled, told", [(0, 1), (1, 1), (2, 4), (4, 4)])
def test_a_table_that_was_stopped_goes_on_and_is_the_same_to_the_byte(analyzer, tmp_path, name, settled, told):
    path = tmp_path / name
    write(ANSWERS, tmp_path / f"whole.{name}", analyzer)
    with pytest.raises(KeyboardInterrupt), scores.growing(path, analyzer, NAMES) as table:
        for item in ANSWERS[:settled]:
            table.add(item)
        table.settle(settled)
        for item in ANSWERS[settled:told]:
            table.add(item)
        raise KeyboardInterrupt
    assert not path.exists()
    with scores.growing(path, analyzer, NAMES) as table:
        assert table.done == settled and len(table.failed) == (settled >= 2)
        for item in ANSWERS[settled:]:
            table.add(item)
    for end in ("", ".meta.json"):
        assert (tmp_path / f"{name}{end}").read_bytes() == (tmp_path / f"whole.{name}{end}").read_bytes()
    assert names_of(tmp_path) == sorted(f"{n}{end}" for n in (name, f"whole.{name}") for end in ("", ".meta.json"))


def test_a_whole_table_is_left_as_it_is(analyzer, tmp_path):
    write(SCORED, tmp_path / "scores.csv", analyzer)
    before = (tmp_path / "scores.csv").stat()
    with scores.growing(tmp_path / "scores.csv", analyzer, [item.name for item in SCORED]) as table:
        assert (table.done, table.failed) == (3, [])
    assert (tmp_path / "scores.csv").stat() == before
    assert names_of(tmp_path) == ["scores.csv", "scores.csv.meta.json"]


def add_all(table, names) -> list[str]:
    """Answer what has no row; the names of what was asked."""
    asked = table.without_rows(names)
    for item in ANSWERS:
        if item.name in asked:
            table.add(item)
    return asked


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("first", [[0], [2], [3], [0, 3], [1, 2], [0, 1, 2]], ids=str)
def test_recordings_that_came_since_are_added_in_their_place_to_the_rows_that_are_there(
        analyzer, tmp_path, ending, first):
    path = tmp_path / f"scores.{ending}"
    write(ANSWERS, tmp_path / f"expected.{ending}", analyzer)
    write([ANSWERS[i] for i in first], path, analyzer)
    before = path.read_bytes()
    with scores.growing(path, analyzer, NAMES) as table:
        assert table.done == 0 and path.read_bytes() == before
        assert add_all(table, NAMES) == [NAMES[i] for i in range(4) if i == 1 or i not in first]   # 1 failed
    assert path.read_bytes() == (tmp_path / f"expected.{ending}").read_bytes()
    assert json.loads(path.with_name(f"{path.name}.meta.json").read_text()) == json.loads(
        (tmp_path / f"expected.{ending}.meta.json").read_text())


@pytest.mark.parametrize("settled", [1, 2, 3])
def test_a_table_that_was_stopped_while_recordings_were_added_goes_on_with_the_rows_it_had(
        analyzer, tmp_path, settled):
    path = tmp_path / "scores.csv"
    write(ANSWERS, tmp_path / "expected.csv", analyzer)
    write(ANSWERS[2:], path, analyzer)
    with pytest.raises(KeyboardInterrupt), scores.growing(path, analyzer, NAMES) as table:
        add_all(table, NAMES[:settled])
        table.settle(settled)
        raise KeyboardInterrupt
    assert [row["path"] for row in read_csv(path)] == NAMES[2:]
    with scores.growing(path, analyzer, NAMES) as table:
        assert table.done == settled and add_all(table, NAMES[settled:]) == NAMES[settled:2]
    assert path.read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_what_was_settled_of_rows_that_are_no_longer_there_is_made_again(analyzer, tmp_path):
    path = tmp_path / "scores.csv"
    write(ANSWERS[2:], path, analyzer)
    with pytest.raises(KeyboardInterrupt), scores.growing(path, analyzer, NAMES) as table:
        add_all(table, NAMES[:1])
        table.settle(1)
        raise KeyboardInterrupt
    path.unlink()
    path.with_name("scores.csv.meta.json").unlink()
    with scores.growing(path, analyzer, NAMES) as table:
        assert table.done == 0 and add_all(table, NAMES) == NAMES
    assert [row["path"] for row in read_csv(path)] == [item.name for item in SCORED]


def test_what_failed_is_tried_again_and_else_the_table_is_the_same(analyzer, tmp_path):
    """A library may have been missing, or a permission, or a network."""
    write(ANSWERS, tmp_path / "scores.csv", analyzer)
    before = (tmp_path / "scores.csv").read_bytes()
    with scores.growing(tmp_path / "scores.csv", analyzer, NAMES) as table:
        assert table.failed == [] and add_all(table, NAMES) == ["b.wav"]
    assert (tmp_path / "scores.csv").read_bytes() == before


@pytest.mark.parametrize("last", ["meta.json", "scores.csv"])
def test_a_run_that_is_stopped_while_it_renames_is_made_whole_by_the_next(analyzer, tmp_path, monkeypatch, last):
    path, replace = tmp_path / "scores.csv", os.replace

    def stop(source, target):
        replace(source, target)
        if str(target).endswith(last):
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(SCORED, path, analyzer)
    monkeypatch.setattr(os, "replace", replace)
    with scores.growing(path, analyzer, [item.name for item in SCORED]) as table:
        assert table.done == len(SCORED)
    assert [row["path"] for row in read_csv(path)] == [item.name for item in SCORED]
    assert names_of(tmp_path) == ["scores.csv", "scores.csv.meta.json"]


def test_rows_that_the_disk_lost_are_made_again(analyzer, tmp_path):
    with pytest.raises(KeyboardInterrupt), scores.growing(tmp_path / "scores.csv", analyzer, NAMES) as table:
        table.add(ANSWERS[0])
        table.settle(1)
        raise KeyboardInterrupt
    (tmp_path / "scores.csv.part").write_text("path,la")
    with scores.growing(tmp_path / "scores.csv", analyzer, NAMES) as table:
        assert table.done == 0


def test_the_meta_file_tells_the_model_and_all_options(analyzer, tmp_path):
    write(ANSWERS, tmp_path / "scores.csv", analyzer, options={"turns": "turns.rttm"})
    meta = json.loads((tmp_path / "scores.csv.meta.json").read_text())
    assert meta | {
        "model": analyzer.fingerprint, "labels": list(LABELS), "options": {"turns": "turns.rttm"}, "recordings": 4,
        "windows": to_plain(analyzer.windows), "segments": to_plain(analyzer.segments),
        "failed": [["b.wav", "cut. Copy it again."]],
    } == meta
    assert (meta["windows"]["hop_seconds"], meta["segments"]["shortest_seconds"]) == (4.0, 0.25)


# Refusals

@pytest.mark.parametrize("finished, further, names, why", [
    (True, {"options": {"channels": "separate"}}, NAMES, "made with options"),
    (False, {"options": {"channels": "separate"}}, NAMES, "made with options"),
    (True, {}, NAMES[1:], "holds a.wav, not among the 3 recordings here"),
    (False, {}, NAMES[1:], "of the 3 here they are not all"),
    (False, {}, NAMES[:1], "of the 1 here they are not all"),
    (False, {}, [*NAMES[::-1]], "of the 4 here they are not all, or in another order"),
])
def test_another_way_of_asking_or_other_recordings_are_refused(analyzer, tmp_path, finished, further, names, why):
    path = tmp_path / "scores.csv"
    stopped_after(2, path, analyzer, finished)
    before = {name: (tmp_path / name).read_bytes() for name in names_of(tmp_path)}
    with pytest.raises(earlier.TableError, match=f"{why}.*--overwrite"):
        write(ANSWERS, path, analyzer, names, **further)
    assert before == {name: (tmp_path / name).read_bytes() for name in names_of(tmp_path)}
    write(ANSWERS, path, analyzer, overwrite=True)
    assert len(read_csv(path)) == 3


def stopped_after(count: int, path, analyzer, finished: bool) -> None:
    """A run over two recordings that ended, or over all that was stopped after so many."""
    if finished:
        return write(ANSWERS[:count], path, analyzer)
    with pytest.raises(KeyboardInterrupt), scores.growing(path, analyzer, NAMES) as table:
        for item in ANSWERS[:count]:
            table.add(item)
        table.settle(count)
        raise KeyboardInterrupt


@pytest.mark.parametrize("finished", [True, False])
def test_another_model_is_refused(analyzer, tmp_path, finished):
    stopped_after(2, tmp_path / "scores.csv", analyzer, finished)
    other = Analyzer(analyzer.checkpoint.with_calibration(Calibration(utterance=2.0)), "cpu",
                     windows=analyzer.windows, segments=analyzer.segments)
    with (pytest.raises(earlier.TableError, match=f"by the model {analyzer.fingerprint}.*{other.fingerprint}"),
          scores.growing(tmp_path / "scores.csv", other, NAMES)):
        pass


def test_a_recording_that_changed_is_answered_again(analyzer, tmp_path):
    names = [str(tmp_path / name) for name in "ab"]
    for name in names:
        Path(name).write_bytes(b"1234")
    heard, cut = answer(names[0], 1, 0, 0, 0, 0), FileError(names[1], "cut. Copy it again.")
    write([heard, cut], tmp_path / "scores.csv", analyzer)
    Path(names[1]).write_bytes(b"12345")
    with scores.growing(tmp_path / "scores.csv", analyzer, names) as table:
        assert table.without_rows(names) == names[1:]
        table.add(answer(names[1], 1, 0, 0, 0, 0))
    assert [row["path"] for row in read_csv(tmp_path / "scores.csv")] == names
    os.utime(names[0], ns=(0, 1))   # as large, but written anew
    with scores.growing(tmp_path / "scores.csv", analyzer, names) as table:
        assert table.without_rows(names) == names[:1]
        table.add(heard)
    assert [row["path"] for row in read_csv(tmp_path / "scores.csv")] == names


def test_a_table_that_nothing_tells_of_is_not_overwritten(analyzer, tmp_path):
    (tmp_path / "scores.csv").write_text("somebody's")
    with pytest.raises(earlier.TableError, match="nothing tells which model made it"):
        write(ANSWERS, tmp_path / "scores.csv", analyzer)
    assert (tmp_path / "scores.csv").read_text() == "somebody's"


def test_a_second_run_into_the_same_table_is_refused(analyzer, tmp_path):
    path = tmp_path / "scores.csv"
    with scores.growing(path, analyzer, NAMES) as table:
        table.add(ANSWERS[0])
        ask = f"from emotion.files import alone\nwith alone({str(path) + '.part'!r}): pass"
        second = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        assert "another run is writing" in second.stderr and second.returncode
        for item in ANSWERS[1:]:
            table.add(item)
    assert len(read_csv(path)) == 3


@pytest.mark.parametrize("name", ["scores.txt", "scores", "scores.csv.gz", "csv"])
def test_an_ending_that_names_no_format_is_refused_before_anything_is_written(analyzer, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.csv or \.jsonl.*Rename it"):
        write(ANSWERS, tmp_path / name, analyzer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["scores.csv", "SCORES.CSV", "a.b.jsonl"])
def test_endings_count_in_any_case(name):
    assert scores.check_path(name).name == name


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder .*none to write scores.csv into. Make it first"):
        scores.check_path(tmp_path / "none" / "scores.csv")


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_model_with_dimensions_has_a_column_for_each(rating, tmp_path, ending):
    ask, rng = Analyzer(rating, "cpu"), np.random.default_rng(1)
    scored = [replace(ask.analyze(rng.normal(0, 0.1, 16_000), 16_000), name=name) for name in ("a.wav", "b.wav")]
    write(scored, tmp_path / f"scores{ending}", ask)
    if ending == ".jsonl":
        told = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
        assert [row["dimensions"] for row in told] == [answer.dimensions for answer in scored]
        return
    rows = read_csv(tmp_path / "scores.csv")
    assert list(rows[0])[5:9] == ["duration_seconds", "valence", "arousal", "p_anger"]
    for row, answer in zip(rows, scored, strict=True):
        assert {name: float(row[name]) for name in answer.dimensions} == pytest.approx(answer.dimensions, abs=1e-6)


def files_of(folder, count=3) -> list[str]:
    for name in "abc"[:count]:
        (folder / f"{name}.wav").write_text(name)
    return [str(folder / f"{name}.wav") for name in "abc"[:count]]


def said_of(name, channel=None):
    return replace(answer(name, 0.5, 0.125, 0.125, 0.125, 0.125), channel=channel)


def test_a_recording_that_changes_after_it_was_read_is_answered_again(analyzer, tmp_path):
    names = files_of(tmp_path)
    with scores.growing(tmp_path / "scores.csv", analyzer, names) as table:
        assert table.without_rows(names) == names
        Path(names[0]).write_text("another call")
        for name in names:
            table.add(said_of(name))
    with scores.growing(tmp_path / "scores.csv", analyzer, names) as table:
        assert table.without_rows(names) == names[:1]
        table.add(said_of(names[0]))
    with scores.growing(tmp_path / "scores.csv", analyzer, names) as table:
        assert table.done == 3


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("stopped", [True, False])
def test_a_recording_of_which_a_channel_failed_is_answered_again(analyzer, tmp_path, failing, stopped):
    names, options = files_of(tmp_path), {"channels": "separate"}
    with contextlib.suppress(KeyboardInterrupt), \
            scores.growing(tmp_path / "scores.csv", analyzer, names, options) as table:
        table.without_rows(names[:2])
        for channel in (1, 2):
            failed = FileError(names[0], "cut. Copy it again.", channel)
            table.add(failed if channel == failing else said_of(names[0], channel))
        table.add(said_of(names[1], 1))
        table.add(said_of(names[1], 2))
        table.settle(2)
        if stopped:
            raise KeyboardInterrupt
        table.without_rows(names[2:])
        table.add(said_of(names[2], 1))
    if stopped:
        with scores.growing(tmp_path / "scores.csv", analyzer, names, options) as table:
            assert table.done == 2 and table.without_rows(names[2:]) == names[2:]
            table.add(said_of(names[2], 1))
    with scores.growing(tmp_path / "scores.csv", analyzer, names, options) as table:
        assert table.without_rows(names) == names[:1]
        table.add(said_of(names[0], 1))
    assert [row["path"] for row in read_csv(tmp_path / "scores.csv")] == [names[0], names[1], names[1], names[2]]


def test_a_table_behind_a_link_is_written_where_it_leads(analyzer, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "scores.csv").symlink_to(tmp_path / "far" / "real.csv")
    write(ANSWERS, tmp_path / "scores.csv", analyzer)
    assert (tmp_path / "scores.csv").is_symlink() and len(read_csv(tmp_path / "far" / "real.csv")) == len(SCORED)
    (tmp_path / "table.csv").symlink_to(tmp_path / "far" / "real.txt")
    with pytest.raises(ValueError, match="real.txt must end in .csv or .jsonl"):
        write(ANSWERS, tmp_path / "table.csv", analyzer)


def test_a_chunk_ends_with_its_bytes_and_a_compressed_byte_holds_more(tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "CHUNK_BYTES", 200)
    waves, compressed = ([tmp_path / f"{name}.{ending}" for name in "abcd"] for ending in ("wav", "mp3"))
    for path in (*waves, *compressed):
        path.write_bytes(bytes(100))
    assert list(scores.chunks(waves)) == [waves[:2], waves[2:]]
    assert list(scores.chunks(compressed)) == [[path] for path in compressed]


@pytest.mark.parametrize("other", [
    {"windows": WindowConfig(length_seconds=6.0, hop_seconds=4.0)}, {"segments": SegmentConfig(shortest_seconds=0.5)}])
def test_other_windows_or_segments_are_refused(analyzer, tmp_path, other):
    stopped_after(2, tmp_path / "scores.csv", analyzer, True)
    ask = Analyzer(analyzer.checkpoint, "cpu", **{"windows": analyzer.windows, "segments": analyzer.segments} | other)
    with pytest.raises(earlier.TableError, match=f"was made with {next(iter(other))} .*--overwrite"):
        write(ANSWERS, tmp_path / "scores.csv", ask)
