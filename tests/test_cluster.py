"""Ray on two nodes of this machine; each test scores what it made, as a user of a cluster does."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion import Analyzer, checkpoint, cluster, files, scores
from emotion.cli import main

ray = pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module", autouse=True)
def nodes():
    """A head and a second node, one core each."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100_000_000}
    both = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    both.add_node(**small)
    ray.init(both.address, log_to_driver=False, logging_level="error")
    yield both
    ray.shutdown()
    both.shutdown()


@pytest.fixture
def model(tiny, tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.write(tiny, path)
    return path


def calls(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        soundfile.write(folder / f"{i:02}.wav", rng.normal(scale=0.1, size=4000 + 500 * i), 16_000)
    (folder / "broken.wav").write_bytes(b"no audio")
    os.rename(folder / "00.wav", os.fsencode(folder) + b"/\xff.wav")   # no UTF-8
    return folder


def table(folder: Path) -> dict[str, dict]:
    rows = [row for path in folder.glob("part-*.parquet") for row in parquet.read_table(path).to_pylist()]
    found = {row["path"]: row for row in rows}
    assert len(found) == len(rows), "a recording was scored twice"
    return found


def kill_a_scorer(folder: Path, killed: list[int]) -> None:
    """Once a part is there, the process that scores is killed."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(folder.glob("part-*.parquet")):
        time.sleep(0.01)
    found = subprocess.run(["pgrep", "-f", "ray::.*Scorer"], capture_output=True, text=True).stdout.split()
    for pid in map(int, found[:1]):
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)


def test_a_killed_worker_loses_nothing_and_a_restart_scores_what_is_left(model, tiny, tmp_path, capsys):
    source, folder, killed = calls(tmp_path / "calls", 24), tmp_path / "scores", []
    killer = threading.Thread(target=kill_a_scorer, args=(folder, killed))
    killer.start()
    told = list(cluster.score(source, folder, model, part_size=2, actors=1))
    killer.join()
    assert killed and sum(part.recordings for part in told) == 25 and sum(part.failed for part in told) == 1

    rows = table(folder)
    assert rows.pop(f"{source}/broken.wav")["error"].startswith("not audio")
    analyzer = Analyzer(tiny, "cpu")
    expected = {str(path): scores.row(analyzer.analyze(path)) for path in source.glob("[0-9]*.wav")}
    assert rows.keys() - expected.keys() == {f"{source}/\\udcff.wav"}
    del rows[f"{source}/\\udcff.wav"]
    for name, row in rows.items():
        assert row["label"] == expected[name]["label"] and row["error"] == ""
        for column in ("confidence", "duration_seconds", *(f"p_{label}" for label in tiny.labels)):
            assert row[column] == pytest.approx(float(expected[name][column]), abs=2e-6)

    whole = {path: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    lost = next(path for path in whole if "05.wav" in str(parquet.read_table(path).column("path")))
    lost.unlink()
    again = {path for path in whole.keys() - {lost} if "broken.wav" in str(parquet.read_table(path).column("path"))}
    assert main(["score", str(source), "-o", str(folder), "--model", str(model), "--ray"]) == 1
    assert "scored 3 recordings" in capsys.readouterr().err   # the broken one too, which may be whole by now
    assert len(table(folder)) == 25 == parquet.read_table(folder).num_rows
    assert all(path.stat().st_mtime_ns == then for path, then in whole.items() if path not in {lost, *again})


def test_parts_of_another_model_are_refused(model, tiny, tmp_path):
    source, folder = calls(tmp_path / "calls", 1), tmp_path / "scores"
    folder.mkdir()
    (folder / cluster.META).write_text('{"model": "0123456789abcdef"}')
    with pytest.raises(ValueError, match="holds scores of the model 0123456789abcdef"):
        list(cluster.score(source, folder, model))
    for text in ('{"model": "01', "{}", "[]"):
        (folder / cluster.META).write_text(text)
        with pytest.raises(ValueError, match="_meta.json is damaged.*Give another folder"):
            list(cluster.score(source, folder, model))


def test_what_failed_is_tried_again(model, tmp_path):
    """Parts of a run whose service went away, and one recording of which is cut: it is told again."""
    source, folder = calls(tmp_path / "calls", 3), tmp_path / "scores"
    folder.mkdir()
    columns = scores.columns(Analyzer(model, "cpu").labels)
    for names in (("broken.wav", "01.wav"), ("02.wav",)):
        cluster._write(folder, [
            {"path": f"{source}/{name}", "error": "not audio." if name == "broken.wav" else "cannot be fetched (gone)."}
            for name in names
        ], columns)
    told = list(cluster.score(source, folder, model))
    rows = table(folder)
    assert sum(part.recordings for part in told) == len(rows) == 4 and sum(part.failed for part in told) == 1
    assert rows[f"{source}/broken.wav"]["error"] not in ("", "not audio.")
    assert all(rows[f"{source}/{name}"]["label"] for name in ("01.wav", "02.wav"))


def test_two_runs_do_not_share_a_folder(model, tmp_path):
    source, folder = calls(tmp_path / "calls", 1), tmp_path / "scores"
    folder.mkdir()
    with files.alone(folder / cluster.LOCK), pytest.raises(files.BusyError, match="another run is writing"):
        list(cluster.score(source, folder, model))


def test_a_part_has_the_dimensions_as_numbers(rating, tmp_path):
    ask = Analyzer(rating, "cpu")
    answer = ask.analyze(np.random.default_rng(1).normal(0, 0.1, 16_000), 16_000)
    rows = [{**scores.row(answer), "error": ""}, {"path": "b.wav", "error": "cut"}]
    cluster._write(tmp_path, rows, scores.columns(ask.labels, dimensions=ask.dimensions))
    written = table(tmp_path)
    assert {name: written["array"][name] for name in answer.dimensions} == pytest.approx(answer.dimensions, abs=1e-6)
    assert written["b.wav"]["valence"] is None
