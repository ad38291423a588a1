import numpy as np
import pytest
import silero_vad
import torch

from emotion import audio
from emotion.detector import SpeechDetector
from emotion.speech import CHUNK, RATE, SpeechConfig, at, stretches

PLAIN = SpeechConfig(bridge_seconds=0, shortest_seconds=0)


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector().eval()


def heard(detector: SpeechDetector, waveform: np.ndarray, rate: int = RATE) -> np.ndarray:
    return detector(torch.from_numpy(waveform.astype(np.float32))[None], rate)[0].numpy()


def music(seconds: float) -> np.ndarray:
    """Three notes at a time, each half second another, each with eight harmonics that fade."""
    times, rng = np.arange(round(seconds * RATE)) / RATE, np.random.default_rng(0)
    waveform = np.zeros(len(times))
    for start in np.arange(0, seconds, 0.5):
        inside = (times >= start) & (times < start + 0.5)
        for hz in rng.choice([220, 262, 330, 392, 440, 523], 3, replace=False):
            for harmonic in range(1, 9):
                waveform[inside] += np.sin(2 * np.pi * hz * harmonic * times[inside]) / harmonic
        waveform[inside] *= np.exp(-3 * (times[inside] - start))
    return 0.02 * waveform


# what is speech

def test_a_voice_is_speech(detector, voice):
    assert (heard(detector, voice) > 0.5).mean() > 0.7   # it starts and ends in silence


@pytest.mark.parametrize("waveform", [
    np.zeros(3 * RATE), 0.05 * np.random.default_rng(0).normal(size=3 * RATE), music(3),
    0.2 * np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE),
], ids=["silence", "noise", "music", "hum"])
def test_what_nobody_says_is_no_speech(detector, waveform):
    assert (heard(detector, waveform) > 0.5).mean() < 0.02


def test_a_voice_at_another_rate_is_speech_in_the_same_chunks(detector, voice):
    at_48 = heard(detector, audio.from_array(voice, RATE, 48_000), 48_000)
    assert ((at_48 > 0.5) == (heard(detector, voice) > 0.5)[: len(at_48)]).mean() > 0.95


def test_a_chunk_hears_what_came_before_it_alone(detector, voice):
    cut = voice[: 20 * CHUNK]
    together = detector(torch.from_numpy(np.stack([voice, np.pad(cut, (0, len(voice) - len(cut)))])), RATE)
    assert np.allclose(together[0], heard(detector, voice), atol=1e-5)
    assert np.allclose(together[1, :20], heard(detector, cut), atol=1e-5)


@pytest.mark.parametrize("samples", [1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_the_last_chunk_may_be_a_part_of_one(detector, samples):
    assert len(heard(detector, np.zeros(samples))) == -(-samples // CHUNK)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")   # of its own
def test_it_agrees_with_the_package_that_takes_one_chunk_at_a_time(detector, voice):
    """Its newer weights, which only come as a program, are not the same; its network is."""
    theirs = silero_vad.load_silero_vad()
    with torch.inference_mode():
        expected = [theirs(chunk, RATE) for chunk in torch.from_numpy(voice).split(CHUNK) if len(chunk) == CHUNK]
    assert ((heard(detector, voice)[: len(expected)] > 0.5) == (np.ravel(expected) > 0.5)).mean() > 0.95


# stretches

def test_probabilities_between_chunks_are_interpolated():
    times = np.array([0.0, 0.016, 0.032, 0.048, 9.0])
    assert at(times, np.array([0.2, 0.6])) == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.6])


@pytest.mark.parametrize("spoken, expected", [
    ("", []), ("0", []), ("1", [(0, 1)]), ("0110", [(1, 3)]), ("11011", [(0, 2), (3, 5)]), ("10", [(0, 1)]),
])
def test_stretches_are_where_the_probability_reaches_the_threshold(spoken, expected):
    assert stretches(np.array([0.5 * int(one) for one in spoken]), 0.1, PLAIN) == expected


def test_pauses_are_bridged_before_short_stretches_are_left_out():
    spoken = np.array([1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1], float)
    config = SpeechConfig(bridge_seconds=0.25, shortest_seconds=0.3)
    assert stretches(spoken, 0.1, config) == [(0, 5), (12, 15)]


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 1.0}])
def test_a_threshold_that_decides_nothing_is_refused(settings):
    with pytest.raises(ValueError, match="Use 0.5"):
        SpeechConfig(**settings)


@pytest.mark.parametrize("settings", [{"bridge_seconds": -1}, {"shortest_seconds": -0.1}, {"shortest_seconds": np.nan}])
def test_times_that_are_none_are_refused(settings):
    with pytest.raises(ValueError, match="switch either off"):
        SpeechConfig(**settings)


@pytest.mark.parametrize("pattern", ["ravdess/**/*.flac", "emodb/wav/*.wav", "nemo/samples/*.opus"])
def test_real_speech_is_speech(detector, corpora, pattern):
    for path in sorted(corpora.glob(pattern))[::100]:
        assert (heard(detector, audio.read(path, RATE)) > 0.5).mean() > 0.2, path
