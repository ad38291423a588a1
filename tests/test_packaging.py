"""What `pip install` puts on another machine: the command, the modules and the bundled model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds the package as its wheel does, and nothing of this checkout."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("emotion-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def run(installed: Path, code: str) -> str:
    """Run code where only the installed package can be found; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=installed, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bundled_model_travels_with_the_package_and_answers(installed):
    code = (
        "import emotion, numpy as np; print(emotion.__file__)\n"
        "from emotion import Analyzer\n"
        "answer = Analyzer(device='cpu').analyze(np.random.default_rng(1).normal(0, 0.1, 16000), sample_rate=16000)\n"
        "print(answer.label in (*answer.labels, 'unknown'), round(float(answer.probabilities.sum()), 4), answer.flags)"
    )
    path, answer = run(installed, code).splitlines()
    assert Path(path).is_relative_to(installed)
    assert answer == "True 1.0 ('no_speech',)"


def test_the_bundled_model_is_small_and_brings_its_card_and_licence(installed):
    folder = installed / "emotion" / "pretrained"
    assert (folder / "model.safetensors").stat().st_size < 5_000_000
    card = (folder / "CARD.md").read_text()
    for word in ("UAR", "Licence", "speakers", "RAVDESS", "EMO-DB", "what not"):
        assert word in card
    assert "CC BY-NC-SA 4.0" in (folder / "LICENSE").read_text()


@pytest.mark.parametrize("ending", ["py", "css", "template", "txt", "typed"])
def test_every_module_and_every_page_of_the_package_is_in_the_wheel(installed, ending):
    files = {path.relative_to(ROOT) for path in (ROOT / "emotion").rglob(f"*.{ending}")}
    assert files and files == {path.relative_to(installed) for path in (installed / "emotion").rglob(f"*.{ending}")}


def test_the_command_is_declared(installed):
    (entry_points,) = installed.glob("emotion-*.dist-info/entry_points.txt")
    assert "emotion = emotion.cli:main" in entry_points.read_text()
