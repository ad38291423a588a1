"""Recordings of noise and models that nobody trained, to ask an Analyzer about."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion import Analyzer, Timeline, checkpoint, labels, models
from emotion.analyzer import WindowConfig
from emotion.calibration import Calibration
from emotion.features import FrontendConfig

RATE = 16_000
SHORT_WINDOWS = WindowConfig(length_seconds=2.0, hop_seconds=1.5)


def built(name: str) -> checkpoint.Checkpoint:
    """That model with its own defaults, untrained, calibrated to nothing in particular."""
    torch.manual_seed(1)
    return checkpoint.build(
        name, {}, FrontendConfig(num_bands=16, prosody=models.MODELS[name].uses_prosody), labels.scheme("mini5"),
        calibration=Calibration(utterance=2.0, step=0.5),
    )


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise whose loudness comes and goes, so that steps differ."""
    rng, samples = np.random.default_rng(seed), round(seconds * rate)
    loudness = rng.uniform(size=4 * samples // rate + 1).repeat(-(-rate // 4))[:samples]
    return (0.2 * loudness * rng.normal(size=samples)).astype(np.float32)


def saved(path: Path, waveform: np.ndarray) -> Path:
    soundfile.write(path, waveform, RATE, subtype="FLOAT", format="WAV")
    return path


def assert_alike(a: Timeline, b: Timeline) -> None:
    assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
    assert a.step_probabilities == pytest.approx(b.step_probabilities, abs=1e-5)
    assert np.array_equal(a.step_times, b.step_times)
    assert (a.labels, a.duration_seconds, a.flags) == (b.labels, b.duration_seconds, b.flags)


def folder(path: Path, names: str = "b.wav a.wav c/a.wav broken.wav") -> Path:
    for seed, name in enumerate(names.split()):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"RIFF") if name == "broken.wav" else saved(file, noise(0.7, seed))
    return path


def by_hand(ask: Analyzer, waveform: np.ndarray) -> list[tuple[int, Timeline]]:
    """(first step, answer) of each window: 2.0 s every 1.44 s, which is 1.5 s in whole steps of 0.08 s"""
    starts = range(0, len(waveform) - round(0.56 * RATE), round(1.44 * RATE))
    return [(start // 1280, ask.analyze(waveform[start : start + 2 * RATE], RATE)) for start in starts]
