import dataclasses
import itertools
import re

import librosa
import numpy as np
import pytest
import torch

from emotion import audio
from emotion.features import Frontend, FrontendConfig
from emotion.prosody import CONTOURS, NUM_CONTOURS, PitchConfig, best_path, contours, pitch
from emotion.slopes import deltas

RATE, HOP = 16_000, 160
EDGE = 5  # frames at either end whose window reaches beyond the sound
HERTZ = [80.0, 120.0, 220.0, 400.0]
GRIDS = [(16_000, 160), (16_000, 100), (8_000, 80), (22_050, 220), (44_100, 441), (48_000, 480)]


def noise(num_samples, seed=1, level=0.1):
    return level * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def voice(hz, num_samples=None, harmonics=range(1, 9), rate=RATE, level=0.1):
    """Harmonics that fall by 6 dB per octave; hz is a number or one for each sample."""
    hz = torch.as_tensor(hz, dtype=torch.float64).expand(num_samples or len(hz))
    phase = 2 * torch.pi * (hz / rate).cumsum(0)
    return level * sum((k * phase).sin() / k * (k * hz < 0.45 * rate) for k in harmonics).float()


def glide(low, high, num_samples):
    return low * (high / low) ** torch.linspace(0, 1, num_samples, dtype=torch.float64)


def utterance():
    """What a tracker has to cope with: jumps, loud and faint parts, noise, a pause."""
    parts = [voice(110, 4_000), 0.03 * voice(glide(210, 170, 4_000)), noise(3_000, level=0.03), torch.zeros(2_000),
             voice(330, 3_000), voice(glide(80, 160, 4_000))]
    parts = torch.cat(parts)
    return parts + noise(len(parts), seed=2, level=0.004)


def batch(*waveforms, garbage=0.0):
    """Padded to the longest and half a second more, with that level of garbage in the padding."""
    num_samples = torch.tensor([len(waveform) for waveform in waveforms])
    padded = garbage * torch.randn(len(waveforms), int(num_samples.max()) + 8_000)
    for row, waveform in zip(padded, waveforms):
        row[: len(waveform)] = waveform
    return padded, num_samples


def alone(waveform, config=PitchConfig(), rate=RATE, hop=HOP):
    f0_hz, voicing = pitch(waveform[None], torch.tensor([len(waveform)]), rate, hop, config)
    return f0_hz[0], voicing[0]


def named(f0_hz, log_mel=None, voicing=None):
    """Contours of one utterance by name; the mel is flat where none is given."""
    f0_hz = torch.as_tensor(f0_hz, dtype=torch.float32)
    log_mel = torch.zeros(len(f0_hz), 4) if log_mel is None else log_mel
    voicing = (f0_hz > 0).float() if voicing is None else voicing
    found = contours(f0_hz[None], voicing[None], log_mel[None], torch.tensor([len(f0_hz)]))[0]
    return dict(zip(CONTOURS, found.unbind(1)))


# Known answers

@pytest.mark.parametrize("hz", HERTZ)
@pytest.mark.parametrize("harmonics", [[1], range(1, 9), range(1, 40)], ids=["tone", "voice", "buzz"])
def test_the_frequency_of_a_steady_sound_is_found_within_one_percent(hz, harmonics):
    f0_hz, voicing = alone(voice(hz, 16_000, harmonics))
    assert f0_hz[EDGE:-EDGE].tolist() == pytest.approx([hz] * (101 - 2 * EDGE), rel=0.01)
    assert voicing[EDGE:-EDGE].min() > 0.95


@pytest.mark.parametrize("hz", [60.5, 497.0])
def test_the_ends_of_the_range_belong_to_it(hz):
    f0_hz, _ = alone(voice(hz, 16_000))
    assert f0_hz[EDGE:-EDGE].tolist() == pytest.approx([hz] * (101 - 2 * EDGE), rel=0.01)


@pytest.mark.parametrize("rate, hop", GRIDS)
@pytest.mark.parametrize("low, high", [(90, 240), (400, 150)])
def test_a_glide_is_followed_frame_by_frame_at_every_rate(rate, hop, low, high):
    expected = glide(low, high, rate)
    f0_hz, _ = alone(voice(expected, rate=rate), rate=rate, hop=hop)
    assert len(f0_hz) == rate // hop + 1
    centres = expected[torch.arange(len(f0_hz)).mul(hop).clamp(max=rate - 1)].float()
    edge = EDGE * rate // hop // 100
    torch.testing.assert_close(f0_hz[edge:-edge], centres[edge:-edge], rtol=0.02, atol=0)


@pytest.mark.parametrize("hz", [120.0, 220.0])
def test_a_missing_fundamental_is_found(hz):
    f0_hz, _ = alone(voice(hz, 16_000, harmonics=range(2, 8)))
    assert f0_hz[EDGE:-EDGE].tolist() == pytest.approx([hz] * (101 - 2 * EDGE), rel=0.01)


def test_noise_is_unvoiced():
    f0_hz, voicing = alone(noise(160_000))
    assert (f0_hz > 0).float().mean() < 0.01 and voicing.mean() < 0.5


def test_the_share_of_noise_in_a_tone_lowers_voicing_to_the_share_of_the_tone():
    band = 1600 / 8000  # of the noise's power, white up to 8 kHz
    tone = voice(150, 160_000, harmonics=[1])
    for share in (0.9, 0.75):
        level = (0.1**2 / 2 * (1 / share - 1) / band) ** 0.5
        _, voicing = alone(tone + noise(160_000, level=level))
        assert voicing[EDGE:-EDGE].mean() == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("waveform", [
    torch.zeros(1), torch.tensor([0.5]), torch.zeros(159), torch.zeros(16_000), torch.full((16_000,), 0.5),
], ids=["no sound", "one sample", "a short silence", "silence", "a constant"])
def test_what_has_no_period_is_unvoiced(waveform):
    f0_hz, voicing = alone(waveform)
    assert f0_hz.shape == voicing.shape == (len(waveform) // HOP + 1,)
    assert f0_hz.abs().sum() == 0 and voicing.isfinite().all()


def test_a_sound_fainter_than_the_silence_threshold_is_unvoiced():
    waveform = torch.cat([voice(150, 8_000), 0.015 * voice(150, 8_000)])
    usual, _ = alone(waveform)
    keen, _ = alone(waveform, PitchConfig(silence_threshold=0.005))
    assert (usual[60:-EDGE] == 0).all() and (keen[60:-EDGE] > 0).all()


@pytest.mark.parametrize("num_samples", [1, 159, 160, 161, 16_000])
def test_pitch_and_mel_have_the_same_frames(num_samples):
    log_mel, lengths = Frontend(FrontendConfig(deltas=False)).log_mel(*batch(noise(num_samples)))
    f0_hz, voicing = pitch(*batch(noise(num_samples)), RATE, HOP)
    assert f0_hz.shape == voicing.shape == log_mel[:, 0, :, 0].shape
    assert contours(f0_hz, voicing, log_mel[:, 0], lengths).shape == (*f0_hz.shape, NUM_CONTOURS)


def test_a_voice_is_heard_where_the_mel_sees_it():
    waveform = torch.cat([torch.zeros(4_321), voice(200, 8_000), torch.zeros(5_678)])
    f0_hz, _ = alone(waveform)
    voiced = f0_hz.nonzero().float()
    assert (voiced[0] + voiced[-1]).item() / 2 == pytest.approx((4_321 + 4_000) / HOP, abs=1)


def test_twice_the_frequency_is_twelve_semitones():
    waveform = torch.cat([voice(110, 16_000), voice(220, 15_999)])
    semitones = named(alone(waveform)[0])["pitch"]
    assert (semitones[150] - semitones[50]).item() == pytest.approx(12, abs=0.1)


def test_pitch_is_relative_to_the_median_of_the_voiced_frames():
    semitones = named([0, 0, 0, 0, 100, 200, 400, 0, 0])["pitch"]
    assert semitones[4:7].tolist() == pytest.approx([-12, 0, 12], abs=1e-4)


def test_pitch_runs_straight_across_unvoiced_frames_and_is_held_at_the_ends():
    found = named([0, 0, 100, 0, 0, 0, 200, 100, 100, 0])
    assert found["pitch"].tolist() == pytest.approx([0, 0, 0, 3, 6, 9, 12, 0, 0, 0], abs=1e-4)
    assert found["voicing"].tolist() == [0, 0, 1, 0, 0, 0, 1, 1, 1, 0]


def test_where_nothing_is_voiced_pitch_is_zero():
    found = named(torch.zeros(10), voicing=torch.full((10,), 0.4))
    assert not any(found[name].any() for name in ("pitch", "pitch_slope", "voicing"))


def test_energy_is_the_log_of_the_summed_power_above_its_mean():
    power = torch.tensor([1.0, 1.0, np.e, np.e])
    log_mel = (power[:, None] * torch.tensor([0.5, 0.25, 0.25])).log()
    assert named(torch.zeros(4), log_mel)["energy"].tolist() == pytest.approx([-0.5, -0.5, 0.5, 0.5], abs=1e-5)


def test_tilt_is_the_rise_of_the_log_mel_per_band():
    level, rise = torch.tensor([[3.0], [-8.0], [0.0]]), torch.tensor([[-0.5], [0.25], [0.0]])
    for num_bands in (2, 5, 64):
        tilt = named(torch.zeros(3), level + rise * torch.arange(num_bands))["tilt"]
        assert tilt.tolist() == pytest.approx(rise.flatten().tolist(), abs=1e-5)


def test_the_slopes_are_those_of_their_contours():
    found = named(alone(utterance())[0][:100], torch.randn(100, 20))
    for name in ("pitch", "energy", "tilt"):
        slope = deltas(found[name][None, :, None], torch.tensor([100]))[0, :, 0]
        torch.testing.assert_close(found[f"{name}_slope"], slope)
    assert NUM_CONTOURS == len(CONTOURS) == len(found) == 7


@pytest.mark.parametrize("corpus, pattern, agreement, gross_error", [
    ("ravdess", r"Actor_(0[5-9]|1[0-2])/.*\.flac", 0.83, 0.02), ("emodb", r"/1[3-6]\w+\.wav", 0.83, 0.02),
])
def test_on_real_speech_pitch_agrees_with_librosas_pyin(corpora, corpus, pattern, agreement, gross_error):
    """The costs were tuned on other speakers: actors 1 to 4, and 03, 08, 09."""
    files = [path for path in sorted((corpora / corpus).rglob("*.*")) if re.search(pattern, path.as_posix())]
    same = both = wrong = count = 0
    for path in files[:: max(1, len(files) // 6)]:
        waveform = audio.read(path)
        theirs, voiced, _ = librosa.pyin(
            waveform, fmin=60, fmax=500, sr=RATE, frame_length=800, hop_length=HOP, center=True, pad_mode="constant")
        ours = alone(torch.from_numpy(waveform))[0].numpy()
        assert ours.shape == theirs.shape
        agreed = voiced & (ours > 0)
        count, same, both = count + len(ours), same + (voiced == (ours > 0)).sum(), both + agreed.sum()
        wrong += (np.abs(ours[agreed] / theirs[agreed] - 1) > 0.2).sum()
    print(f"{corpus}: {same / count:.4f} of {count} frames agree; {wrong / both:.4f} of {both} are gross errors")
    assert same / count > agreement and wrong / both < gross_error


# Fast equals slow

def test_the_best_path_is_the_best_of_all_paths():
    first, gains = torch.randn(3, 3), torch.randn(4, 3, 3, 3)
    found = best_path(first, gains)[..., 0]
    for row in range(3):
        def total(path, row=row):
            steps = zip(gains[:, row], path, path[1:])
            return first[row, path[0]] + sum(gain[a, b] for gain, a, b in steps)
        assert tuple(found[row].tolist()) == max(itertools.product(range(3), repeat=5), key=total)


def test_the_interpolation_of_a_batch_equals_numpys_one_by_one():
    f0_hz = 100 + 200 * torch.rand(20, 60)
    f0_hz[torch.rand(20, 60) < 0.7] = 0
    lengths = torch.arange(41, 61)
    found = contours(f0_hz, f0_hz.sign(), torch.zeros(20, 60, 2), lengths)[..., 0]
    for row, hz, length in zip(found, f0_hz.numpy(), lengths.tolist()):
        frames = np.flatnonzero(hz[:length])
        expected = np.interp(np.arange(length), frames, 12 * np.log2(hz[frames]))
        difference = row[:length].numpy() - expected
        np.testing.assert_allclose(difference, difference[0], atol=1e-3)  # one median for all


# Invariance

@pytest.mark.parametrize("garbage", [1.0, 1e6, float("inf"), float("nan")])
def test_garbage_in_the_padding_never_reaches_a_pitch(garbage):
    waveforms = utterance(), noise(1), voice(150, 7_777)
    clean = pitch(*batch(*waveforms), RATE, HOP)
    padded, num_samples = batch(*waveforms, garbage=garbage)
    for usual, dirty in zip(clean, pitch(padded, num_samples, RATE, HOP)):
        assert torch.equal(usual, dirty)
        for row, samples in zip(dirty, num_samples):
            assert row[samples // HOP + 1 :].abs().sum() == 0


@pytest.mark.parametrize("rate, hop", GRIDS)
def test_an_utterance_has_the_same_pitch_in_any_company(rate, hop):
    waveforms = utterance(), voice(150, 7_777), utterance()[5_000:], torch.tensor([0.5]), 1e4 * noise(30_000)
    together = pitch(*batch(*waveforms), rate, hop)
    for row, waveform in enumerate(waveforms):
        for found, own in zip(together, alone(waveform, rate=rate, hop=hop)):
            torch.testing.assert_close(found[row, : len(own)], own, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("gain", [1e-3, 30.0, 32_768.0])
def test_gain_does_not_change_pitch(gain):
    for usual, louder in zip(alone(utterance()), alone(gain * utterance())):
        torch.testing.assert_close(usual, louder, atol=1e-3, rtol=1e-3)


def test_a_constant_offset_does_not_change_pitch():
    usual, moved = alone(voice(150, 16_000))[0], alone(0.5 + voice(150, 16_000))[0]
    torch.testing.assert_close(usual[EDGE:-EDGE], moved[EDGE:-EDGE], atol=0, rtol=0.01)


def test_gain_moves_no_contour():
    f0_hz, log_mel = alone(utterance())[0], torch.randn(126, 20)
    for usual, louder in zip(named(f0_hz, log_mel).values(), named(f0_hz, log_mel + 3).values()):
        torch.testing.assert_close(usual, louder, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
def test_garbage_in_the_padding_never_reaches_a_contour(garbage):
    f0_hz, voicing = pitch(*batch(utterance(), noise(1), voice(150, 7_777)), RATE, HOP)
    lengths = torch.tensor([len(utterance()), 1, 7_777]) // HOP + 1
    log_mel = torch.randn(*f0_hz.shape, 20)
    clean = contours(f0_hz, voicing, log_mel, lengths)
    for row, length in enumerate(lengths):
        for part in (f0_hz, voicing, log_mel):
            part[row, length:] = garbage
        own = (part[row : row + 1, :length] for part in (f0_hz, voicing, log_mel))
        torch.testing.assert_close(contours(*own, length[None])[0], clean[row, :length])
    dirty = contours(f0_hz, voicing, log_mel, lengths)
    assert torch.equal(clean, dirty)
    assert all(row[length:].abs().sum() == 0 for row, length in zip(dirty, lengths))


def test_half_the_hop_gives_the_frames_between():
    coarse, fine = alone(voice(glide(90, 240, 16_000)))[0], alone(voice(glide(90, 240, 16_000)), hop=HOP // 2)[0]
    torch.testing.assert_close(coarse, fine[::2], atol=0, rtol=0.01)


def test_bfloat16_autocast_leaves_the_pitch_in_full_precision():
    with torch.autocast("cpu", torch.bfloat16):
        inside = alone(utterance())
    for found, usual in zip(inside, alone(utterance())):
        assert found.dtype == torch.float32 and torch.equal(found, usual)


def test_no_gradient_is_kept():
    waveform = utterance().requires_grad_()
    assert not any(part.requires_grad for part in alone(waveform))


# Options

OTHER = {"lowest_hz": 150.0, "highest_hz": 200.0, "window_seconds": 0.08, "bandwidth_hz": 3_000.0, "num_candidates": 1,
         "voicing_threshold": 0.9, "silence_threshold": 0.2, "octave_cost": 0.3, "octave_jump_cost": 3.0,
         "voicing_change_cost": 2.0}


@pytest.mark.parametrize("option", [f.name for f in dataclasses.fields(PitchConfig)])
def test_every_option_changes_the_pitch(option):
    usual, other = alone(utterance())[0], alone(utterance(), PitchConfig(**{option: OTHER[option]}))[0]
    assert not torch.allclose(usual, other, rtol=0.001)


# Refusals

@pytest.mark.parametrize("options, remedy", [
    ({"lowest_hz": 0.0}, "Lower highest_hz"),
    ({"lowest_hz": 500.0}, "Lower highest_hz"),
    ({"highest_hz": 801.0}, "Lower highest_hz"),
    ({"bandwidth_hz": 999.0}, "Lower highest_hz"),
    ({"window_seconds": 0.033}, "Raise window_seconds to 0.033|raise lowest_hz"),
    ({"lowest_hz": 39.0}, "Raise window_seconds to 0.051"),
    ({"num_candidates": 0}, "at least 1"),
    ({"voicing_threshold": 1.0}, "Give 0.45"),
    ({"silence_threshold": 0.0}, "Give 0.45 and 0.02"),
    ({"octave_cost": -0.1}, "Give 0 for none"),
    ({"octave_jump_cost": -0.1}, "Give 0 for none"),
    ({"voicing_change_cost": -0.1}, "Give 0 for none"),
])
def test_settings_that_track_no_pitch_are_refused(options, remedy):
    with pytest.raises(ValueError, match=remedy):
        PitchConfig(**options)


def test_a_rate_that_does_not_hold_the_bandwidth_is_refused():
    with pytest.raises(ValueError, match="Lower bandwidth_hz"):
        alone(noise(100), rate=3_000)
    assert alone(voice(100, 3_000, rate=3_000), PitchConfig(bandwidth_hz=1_500.0), rate=3_000, hop=30)[0].any()


def test_frames_that_do_not_advance_are_refused():
    with pytest.raises(ValueError, match="Give 160"):
        alone(noise(100), hop=0)


def test_an_utterance_without_samples_is_refused():
    with pytest.raises(ValueError, match="Leave it out"):
        pitch(torch.zeros(2, 100), torch.tensor([100, 0]), RATE, HOP)


def test_pitch_and_mel_of_different_frames_are_refused():
    with pytest.raises(ValueError, match="hop of the mel"):
        named(torch.zeros(10), torch.zeros(11, 4))


def test_a_mel_of_one_band_is_refused():
    with pytest.raises(ValueError, match="Raise num_bands"):
        named(torch.zeros(10), torch.zeros(10, 1))
