"""A tiny corpus of tones and a tiny training on it, for all tests of training."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from feelings import utterances

from emotion import checkpoint, datadir
from emotion.datadir import Utterance
from emotion.features import FrontendConfig
from emotion.train import fit, system
from emotion.train.augment import AugmentConfig
from emotion.train.config import Config, FitConfig

PITCH = {"anger": 1200, "sadness": 300}


@pytest.fixture(autouse=True)
def one_thread():
    """The same sums in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tones(folder, speakers, takes):
    """Utterances of speakers who say everything in one of two pitches, each speaker in another voice."""
    rng, found = np.random.default_rng(takes), []
    folder.mkdir()
    for speaker in speakers:
        level, harmonic = rng.uniform(0.05, 0.3, 2)
        for emotion, pitch in PITCH.items():
            for take in range(takes):
                times = np.arange(int(rng.uniform(4000, 5600))) / 16_000
                phase = 2 * np.pi * pitch * rng.uniform(0.95, 1.05) * times
                waveform = level * np.sin(phase) + level * harmonic * np.sin(2 * phase)
                path = folder / f"{speaker}-{emotion}{take}.wav"
                soundfile.write(path, waveform + 0.001 * rng.standard_normal(len(phase)), 16_000)
                found.append(Utterance(path.stem, speaker, str(path), emotion))
    return found


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with the data directories train (24 utterances by a, b, c) and valid (12 by d, e)."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, speakers, takes in (("train", "abc", 4), ("valid", "de", 3)):
        datadir.write(folder / name, tones(folder / f"{name}_wav", speakers, takes))
    return folder


@pytest.fixture(scope="session")
def rated(tmp_path_factory):
    """A folder with the data directories train (48 utterances by a, b, c, d, one without a rating), valid (20 by e, f)
    and test (22 by g, h)."""
    folder = tmp_path_factory.mktemp("rated")
    for name, speakers, takes in (("train", "abcd", 12), ("valid", "ef", 10), ("test", "gh", 11)):
        made = utterances(folder / f"{name}_wav", speakers, takes)
        datadir.write(folder / name, [replace(u, arousal=None) if u.id == "a-anger0" else u for u in made])
    return folder


@pytest.fixture(scope="session")
def feeling(quick):
    """Settings that learn arousal beside two classes."""
    return replace(
        quick, scheme="emodb4", model={**quick.model, "dimensions": ["arousal"]},
        frontend=FrontendConfig(num_bands=20, normalisation="global"),
        fit=replace(quick.fit, max_epochs=12, may_lack_classes=True),
    )


@pytest.fixture(scope="session")
def quick():
    """Settings of a training of a second: two epochs of three batches, nothing random but the weights."""
    return Config(
        scheme="own",
        model={
            "name": "serial", "channels": [4, 8], "pools": [[2, 2]] * 2, "stem_stride": [2, 2], "features": 8,
            "lstm_width": 8,
        },
        frontend=FrontendConfig(num_bands=20),
        augment=AugmentConfig(gain_db=0, noise_probability=0, speeds=(1.0,), time_masks=0, band_masks=0),
        fit=FitConfig(
            max_epochs=2, batch_size=8, learning_rate=0.01, warmup_epochs=0, averaging="none", precision="float32",
        ),
    )


@pytest.fixture(scope="session")
def train(corpus, quick):
    """Train with other settings of `fit`; answers the model and the rows of epochs.csv. Draws no figure."""
    def run(exp, settings=quick, data=corpus, seed=1, init=None, teachers=(), device="cpu", **options):
        settings = replace(settings, fit=replace(settings.fit, **options))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fit.curves, "draw", lambda rows, path, best_epoch: None)
            path = fit.train(settings, data / "train", data / "valid", exp, seed, device, init, teachers)
            model = checkpoint.read(path)
        return model, rows(exp)
    return run


def rows(exp):
    with open(exp / "epochs.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture
def uars(monkeypatch):
    """Give the validation UAR of each epoch, the last for all that follow."""
    def give(*values):
        left = list(values)
        monkeypatch.setattr(system.metrics, "uar", lambda *_: left.pop(0) if len(left) > 1 else left[0])
    return give
