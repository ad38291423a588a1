"""What all tests share: quiet threads, where the real corpora are, and a small model to ask."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from browser import Browser
from tiny import tiny as untrained

from emotion import Analyzer, checkpoint

torch.set_num_threads(1)  # two threads on a busy machine are many times slower than one


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder with ravdess/, emodb/ and nemo/; a test that needs it is skipped where there is none."""
    folder = os.environ.get("EMOTION_CORPORA")
    if not folder:
        pytest.skip("EMOTION_CORPORA is not set: it names the folder with ravdess/, emodb/, nemo/")
    missing = [name for name in ("ravdess", "emodb", "nemo") if not any(Path(folder, name).rglob("*.*"))]
    assert not missing, f"EMOTION_CORPORA={folder} has no recordings in {', '.join(missing)}"
    return Path(folder)


@pytest.fixture
def tiny() -> checkpoint.Checkpoint:
    """An untrained serial model with random weights, the same each time; it answers at once."""
    return untrained()


@pytest.fixture
def small(tiny) -> Analyzer:
    return Analyzer(tiny, "cpu")


@pytest.fixture
def rating() -> checkpoint.Checkpoint:
    """The same with two dimensions, whose answers spread from 0 to 1."""
    model = untrained(dimensions=["valence", "arousal"])
    model.model.head.dimensions.weight.data *= 20
    return model


@pytest.fixture(scope="session")
def voice() -> np.ndarray:
    """An utterance of the mini recipe's synthetic voice, that a speech detector takes for one: float32 at 16 kHz."""
    path = Path(__file__).parents[1] / "recipes" / "mini" / "local" / "synthesise.py"
    spec = importlib.util.spec_from_file_location("synthesise", path)
    mini = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mini)
    return mini.utterance(mini.SPEAKERS[0], "neutral", np.random.default_rng(1)).astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture(scope="session")
def browser(tmp_path_factory, voice):
    """A headless Chromium that hears `voice` in its microphone, over and over."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if os.name != "posix" or program is None:
        pytest.skip(f"no browser found, none of {', '.join(names)}: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    soundfile.write(folder / "microphone.wav", voice, 16_000)
    browser = Browser(program, folder / "profile", folder / "microphone.wav")
    yield browser
    browser.end()
