"""The README's first command, as a newcomer runs it: the whole mini recipe, once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emotion import Analyzer
from emotion.timeline import Timeline

ROOT = Path(__file__).parents[2]


def recipe(folder: Path, *options: str) -> str:
    """Run mini/run.sh of the copy in folder; what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [folder / "recipes/mini/run.sh", *options], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},   # as in conftest.py
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A folder where the recipe ran, and what it printed."""
    folder = tmp_path_factory.mktemp("mini")
    made = shutil.ignore_patterns("data", "exp", "corpus", "__pycache__")
    shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=made)
    return folder, recipe(folder, "--device", "cpu")


def exp(folder: Path) -> Path:
    return folder / "recipes/mini/exp/serial/heldout/fold1/seed1"


def test_the_recipe_ends_in_a_table_far_above_chance(finished):
    _, printed = finished
    uar = next(line for line in printed.splitlines() if line.startswith("| UAR"))
    assert float(uar.split("|")[2]) > 50   # five classes: chance is 20
    assert all(f"| recall {emotion} %" in printed for emotion in ("anger", "fear", "happiness", "neutral", "sadness"))


def test_the_recipe_leaves_model_log_posteriors_and_pictures(finished):
    folder, _ = finished
    for name in ("model.safetensors", "config.yaml", "epochs.csv", "posteriors.csv", "scores.json", "log/train.log"):
        assert (exp(folder) / name).stat().st_size > 0
    for name in ("curves.png", "reliability.png", "confusion.png"):
        assert (exp(folder) / name).read_bytes().startswith(b"\x89PNG")
    log = (exp(folder) / "log/train.log").read_text().splitlines()
    assert log[0].startswith("# emotion train") and log[-1].startswith("# Ended (code 0)")


def test_the_trained_model_answers_for_a_speaker_it_never_heard(finished):
    folder, _ = finished
    recordings = sorted((folder / "recipes/mini/corpus").rglob("mini07-*.wav"))
    answers = Analyzer(exp(folder), device="cpu").analyze([str(path) for path in recordings])
    assert all(isinstance(answer, Timeline) for answer in answers)
    right = [answer.label == Path(answer.name).stem.split("-")[1] for answer in answers]
    assert sum(right) / len(right) > 0.4


def test_a_second_run_skips_what_is_done(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in exp(folder).glob("*.*")}
    recipe(folder, "--stage", "2", "--stop-stage", "4")
    assert before == {path: path.stat().st_mtime_ns for path in exp(folder).glob("*.*")}
