import random

import numpy as np
import pytest
import soxr

from emotion import audio
from emotion.quality import Quality

RATE = 16_000
TIMES = np.arange(2 * RATE) / RATE


def voice(hz: float = 140.0) -> np.ndarray:
    """A buzz with harmonics up to 7 kHz that comes and goes."""
    harmonics = sum(np.sin(2 * np.pi * hz * k * TIMES + k) / k for k in range(1, int(7000 / hz)))
    return (0.1 * harmonics * (np.sin(2 * np.pi * 2 * TIMES) > 0)).astype(np.float32)


def noise(level: float = 0.05) -> np.ndarray:
    return (level * np.random.default_rng(0).normal(size=len(TIMES))).astype(np.float32)


def flags(*blocks: np.ndarray, rate: int = RATE) -> tuple[str, ...]:
    quality = Quality(rate)
    for block in blocks:
        quality.hear(block.astype(np.float32))
    return quality.flags


@pytest.mark.parametrize("waveform, expected", [
    (voice(), ()),
    (voice()[: RATE // 2], ()),
    (voice()[: RATE // 2 - 1], ("short",)),
    (noise(), ()),
    (0.01 * voice(), ("silent",)),
    (np.zeros(RATE), ("silent",)),
    (np.clip(20 * voice(), -1, 1), ("clipped",)),
    (soxr.resample(soxr.resample(voice(), RATE, 8000), 8000, RATE), ("band_limited",)),
    (0.2 * np.sin(2 * np.pi * 50 * TIMES), ("band_limited",)),   # hum
    (np.clip(20 * voice(), -0.9803, 0.9803), ("clipped",)),   # as loud as mu-law can be
    (np.full(100, -1.0), ("short", "clipped")),
])
def test_each_fault_is_flagged_and_nothing_else(waveform, expected):
    assert flags(waveform) == expected


def test_where_telephones_hear_all_there_is_no_band_limit():
    assert flags(soxr.resample(voice(), RATE, 8000), rate=8000) == ()


@pytest.mark.parametrize("size", [1, 160, 512, 3000, 16_000])
def test_blocks_of_any_size_are_heard_as_one_recording(size):
    telephone = soxr.resample(soxr.resample(voice(), RATE, 8000), 8000, RATE)
    for whole, expected in ((np.concatenate([voice(), np.clip(20 * voice(), -1, 1)]), ("clipped",)),
                            (telephone, ("band_limited",)), (voice(), ())):
        whole = whole[:RATE] if size == 1 else whole
        assert flags(*(whole[i : i + size] for i in range(0, len(whole), size))) == flags(whole)
        assert size == 1 or flags(whole) == expected


@pytest.mark.parametrize("pattern", ["ravdess/**/*.flac", "emodb/wav/*.wav", "nemo/samples/*.opus"])
def test_real_speech_is_band_limited_only_after_a_telephone(corpora, pattern):
    paths = random.Random(1).sample(sorted(corpora.glob(pattern)), 20)
    for path in paths:
        waveform = audio.read(path)
        assert not {"band_limited", "short"} & set(flags(waveform)), path
        narrow = soxr.resample(soxr.resample(waveform, RATE, 8000), 8000, RATE)
        assert "band_limited" in flags(narrow), path


@pytest.mark.parametrize("level, noisy", [(0.0, False), (0.01, False), (0.1, True)])
def test_noise_is_told_by_the_pauses(level, noisy):
    said = np.concatenate([voice(), np.zeros(RATE)]) + level * np.random.default_rng(0).normal(size=3 * RATE)
    quality = Quality(RATE)
    for block in np.array_split(said.astype(np.float32), 7):
        quality.hear(block)
    times = quality.glance_times
    assert times[:2] == pytest.approx([0.025, 0.225]) and times[-1] == pytest.approx(2.825)
    assert quality.is_noisy(times < 2) == noisy


def test_without_pauses_or_speech_nobody_can_tell_noise():
    quality = Quality(RATE)
    quality.hear(noise())
    assert not quality.is_noisy(quality.glance_times > 0) and not quality.is_noisy(quality.glance_times < 0)
    assert quality.is_noisy(quality.glance_times < 1)   # the test can tell


@pytest.mark.parametrize("waveform, expected", [
    (0.0012 * np.sin(2 * np.pi * 6000 * TIMES), ("silent",)), (0.0017 * np.sin(2 * np.pi * 6000 * TIMES), ()),
    (np.where(np.arange(2 * RATE) < 31, 1.0, noise()), ()),
    (np.where(np.arange(2 * RATE) < 34, 1.0, noise()), ("clipped",)),
    (0.5 * np.sin(2000 * np.pi * TIMES) + 0.00225 * np.sin(12_000 * np.pi * TIMES), ("band_limited",)),
    (0.5 * np.sin(2000 * np.pi * TIMES) + 0.00325 * np.sin(12_000 * np.pi * TIMES), ()),
])
def test_a_fault_begins_where_its_limit_says(waveform, expected):
    assert flags(waveform) == expected


@pytest.mark.parametrize("snr_db, noisy", [(8, True), (12, False)])
def test_speech_is_noisy_below_10_db(snr_db, noisy):
    hiss, more, quality = noise(0.01), np.random.default_rng(1).normal(size=2 * RATE), Quality(RATE)
    quality.hear(np.concatenate([hiss + 0.01 * 10 ** (snr_db / 20) * more, hiss]).astype(np.float32))
    assert quality.is_noisy(quality.glance_times < 2) == noisy
