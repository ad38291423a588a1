from dataclasses import replace

import numpy as np
import pytest
import soundfile

from emotion import changes
from emotion.changes import SMALL, WORLD, Sound

RATE = 16_000
ALL = {**SMALL, **WORLD}
KEEPS_THE_LEVEL = ["telephone", "upward tilt", "downward tilt", "room"]


def sound(waveform: np.ndarray, seed: int = 1) -> Sound:
    def voice(generator: np.random.Generator) -> np.ndarray:
        return generator.standard_normal(RATE // 2).astype(np.float32)

    return Sound(waveform.astype(np.float32), RATE, np.random.default_rng(seed), voice)


def tones(*frequencies: float, seconds: float = 1.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return 0.2 * np.sum([np.sin(2 * np.pi * f * times) for f in frequencies], axis=0)


def decibel(ratio: float) -> float:
    return 20 * np.log10(ratio)


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def level(waveform: np.ndarray, hertz: float) -> float:
    """Amplitude of a tone whose periods fit in."""
    return 2 * abs(np.mean(waveform * np.exp(-2j * np.pi * hertz * np.arange(len(waveform)) / RATE)))


@pytest.mark.parametrize("name", ALL)
def test_a_change_gives_finite_samples_and_the_same_ones_again(name, voice):
    first, second = (np.asarray(ALL[name](sound(voice))) for _ in range(2))
    assert first.ndim == 1 and np.isfinite(first).all() and abs(len(first) - len(voice)) <= 1000
    assert np.array_equal(first, second) and not np.array_equal(first, voice)


@pytest.mark.parametrize("name", ALL)
def test_a_change_takes_silence_and_a_single_sample(name):
    for waveform in (np.zeros(RATE // 4), np.full(1, 0.5)):
        assert np.isfinite(ALL[name](sound(waveform))).all()


@pytest.mark.parametrize("name, distances", [
    ("faint white noise", (35, 40, 45)), ("white noise", (20,)), ("babble", (20,)),
])
def test_noise_lies_that_far_below_the_speech(name, distances, voice):
    for seed in range(5):
        noise = ALL[name](sound(voice, seed)) - voice
        assert min(abs(decibel(rms(voice) / rms(noise)) - distance) for distance in distances) < 0.01


@pytest.mark.parametrize("name", ["MP3", "Opus", "telephone"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_what_a_codec_leaves_is_as_long_and_no_later(name, rate, voice):
    import soxr

    spoken = soxr.resample(voice, RATE, rate)
    heard = ALL[name](Sound(spoken, rate, np.random.default_rng(1), lambda generator: spoken))
    both = np.fft.rfft([heard, spoken], 2 * len(spoken))
    assert len(heard) == len(spoken) and np.fft.irfft(both[0] * both[1].conj()).argmax() == 0


@pytest.mark.parametrize("name", ["MP3", "Opus", "telephone"])
@pytest.mark.parametrize("samples", [12_345, 16_001])
def test_a_codec_keeps_any_length_at_any_rate(name, samples, voice):
    for rate in (22_050, 44_100):
        heard = Sound(np.resize(voice, samples), rate, np.random.default_rng(1), lambda generator: voice)
        assert len(ALL[name](heard)) == samples


def test_a_tone_of_a_slow_model_lies_below_half_its_rate():
    for seed in range(5):
        changed = changes.tone(Sound(tones(200).astype(np.float32), 8000, np.random.default_rng(seed), lambda g: None))
        added = np.abs(np.fft.rfft(changed - tones(200).astype(np.float32)))
        assert 2500 < added.argmax() * 8000 / len(changed) < 3600


def test_a_tone_stands_alone_between_5_and_7_khz_40_to_50_db_below_the_peak(voice):
    for seed in range(5):
        added = changes.tone(sound(voice, seed)) - voice
        assert 5000 <= np.abs(np.fft.rfft(added)).argmax() * RATE / len(voice) <= 7000
        distance = decibel(np.abs(voice).max() / np.abs(added).max())
        assert min(abs(distance - db) for db in (40, 45, 50)) < 0.1


@pytest.mark.parametrize("name", ["zeros before", "zeros after", "start cropped", "end cropped"])
def test_what_is_left_of_a_recording_is_as_it_was(name, voice):
    changed = ALL[name](sound(voice))
    more = len(changed) - len(voice)
    assert abs(more) in (100, 500, 1000)
    whole = {
        "zeros before": np.concatenate([np.zeros(more), voice]) if more > 0 else None,
        "zeros after": np.concatenate([voice, np.zeros(more)]) if more > 0 else None,
        "start cropped": voice[-more:], "end cropped": voice[:more],
    }[name]
    assert np.array_equal(changed, whole)


def test_clipping_reaches_one_to_three_samples_of_a_thousand(rng):
    waveform = rng.uniform(-1, 1, RATE).astype(np.float32)
    clipped = changes.clip(sound(waveform))
    assert 0.0009 < np.mean(clipped != waveform) < 0.0031
    assert np.sum(np.abs(clipped) == np.abs(clipped).max()) >= 15


def test_the_gain_is_one_of_four(voice):
    found = {round(decibel(rms(changes.gain(sound(voice, seed))) / rms(voice)), 2) for seed in range(40)}
    assert found == {-2.0, -1.0, 1.0, 2.0}


@pytest.mark.parametrize("name, inside, outside", [("high pass", 1000, 20), ("low pass", 1000, 7900)])
def test_a_filter_passes_speech_and_weakens_what_lies_beyond(name, inside, outside):
    both = tones(inside, outside)
    filtered = ALL[name](sound(both))[RATE // 2 :]
    assert abs(decibel(level(filtered, inside) / 0.2)) < 0.5
    assert decibel(level(filtered, outside) / 0.2) < -6


@pytest.mark.parametrize("name, sign", [("upward tilt", 1), ("downward tilt", -1)])
def test_a_tilt_lifts_one_end_of_the_spectrum_over_the_other_by_20_db(name, sign):
    tilted = ALL[name](sound(tones(200, 7800)))
    assert decibel(level(tilted, 7800) / level(tilted, 200)) == pytest.approx(sign * 20 * 7600 / 8000, abs=0.1)


@pytest.mark.parametrize("name", KEEPS_THE_LEVEL)
def test_a_change_of_the_line_or_the_room_keeps_the_level(name, voice):
    assert rms(ALL[name](sound(voice))) == pytest.approx(rms(voice), rel=1e-3)


def test_a_telephone_passes_nothing_above_4_khz(voice):
    spectrum = np.abs(np.fft.rfft(changes.telephone(sound(voice)))) ** 2
    frequency = np.fft.rfftfreq(len(voice), 1 / RATE)
    assert spectrum[frequency > 4200].sum() < 1e-4 * spectrum.sum()


def test_the_echoes_of_a_room_follow_the_direct_sound_and_die_away_in_time():
    for seed in range(8):
        response = changes._room_response(np.random.default_rng(seed), RATE)
        assert response[0] == pytest.approx(1) and (response >= 0).all()
        left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2) + 1e-12)
        rt60 = 3 * (np.argmax(left < -25) - np.argmax(left < -5)) / RATE   # Schroeder's integral, from 20 dB of it
        assert 0.25 < rt60 < 0.75


def test_a_codec_that_libsndfile_lacks_is_named(voice, monkeypatch):
    def refuse(*args, **settings):
        raise soundfile.SoundFileError("no such encoder")

    monkeypatch.setattr(soundfile, "write", refuse)
    with pytest.raises(ValueError, match="cannot write OPUS.*Install soundfile"):
        changes.opus(sound(voice))


@pytest.mark.parametrize("name, cuts, at", [("high pass", (50, 100, 150), 20), ("low pass", (6500, 7000, 7500), 7900)])
def test_a_filter_is_of_order_one_and_cuts_at_one_of_three(name, cuts, at):
    steep = [np.tan(np.pi * cut / RATE) / np.tan(np.pi * at / RATE) for cut in cuts]   # the bilinear transform
    expected = {cut: -10 * np.log10(1 + max(r, 1 / r) ** 2) for cut, r in zip(cuts, steep)}
    gains = [decibel(np.abs(np.fft.rfft(ALL[name](sound(np.eye(1, RATE)[0], seed))))[at]) for seed in range(20)]
    assert {cut for cut, db in expected.items() for gain in gains if abs(gain - db) < 0.1} == set(cuts)


def test_four_to_seven_people_babble():
    heard, counts = [], set()
    for seed in range(30):
        heard.clear()
        changes.babble(replace(sound(tones(200), seed), voices=lambda g: heard.append(1) or g.standard_normal(500)))
        counts.add(len(heard))
    assert counts == {4, 5, 6, 7}


@pytest.mark.parametrize("name, kbit", [("MP3", 24), ("Opus", 11)])
def test_a_codec_takes_that_many_bits(name, kbit, voice, monkeypatch):
    sizes, write, long = [], soundfile.write, np.tile(voice, 5)
    monkeypatch.setattr(soundfile, "write", lambda file, *a, **how: write(file, *a, **how) or sizes.append(file.tell()))
    ALL[name](sound(long))
    assert 8 * sizes[0] / (len(long) / RATE) / 1000 == pytest.approx(kbit, rel=0.15)


def test_a_telephone_presses_what_is_loud_four_to_one():
    pressed = changes._compressed(sound(np.concatenate([tones(500), 0.05 * tones(500)])))   # 26 dB apart
    over = 20 + decibel(2 / np.pi)   # a sinusoid's mean size over -20 dB of its peak
    ratio = decibel(rms(pressed[4000:12_000]) / rms(pressed[20_000:28_000]))
    assert ratio == pytest.approx(26.02 - 0.75 * over, abs=0.2)
