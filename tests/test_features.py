import dataclasses

import librosa
import numpy as np
import pytest
import torch

from emotion import audio
from emotion.features import NORMALISATIONS, Frontend, FrontendConfig, from_moments, loud, moments
from emotion.prosody import NUM_CONTOURS, PitchConfig
from emotion.slopes import deltas

LEVEL = FrontendConfig(deltas=False)
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)


def noise(num_samples, seed=1, level=0.1):
    return level * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def swelling(num_samples, seed=1):
    """Noise that grows thirtyfold, so that slopes and levels differ along the utterance."""
    return noise(num_samples, seed) * torch.logspace(-1.5, 0, num_samples)


def batch(*waveforms, garbage=0.0):
    """Padded to the longest and half a second more, with that level of garbage in the padding."""
    num_samples = torch.tensor([len(waveform) for waveform in waveforms])
    padded = garbage * torch.randn(len(waveforms), int(num_samples.max()) + 8_000)
    for row, waveform in zip(padded, waveforms):
        row[: len(waveform)] = waveform
    return padded, num_samples


def alone(frontend, waveform, **kwargs):
    mel, _, _ = frontend(waveform[None], torch.tensor([len(waveform)]), **kwargs)
    return mel[0]


def power(waveform, config=LEVEL):
    """Mel power (frames, bands) of one utterance."""
    mel, _ = Frontend(config).log_mel(waveform[None], torch.tensor([len(waveform)]))
    return mel[0, 0].exp().numpy()


def librosas(waveform, config=LEVEL):
    mel = librosa.feature.melspectrogram(
        y=waveform.numpy(), sr=config.sample_rate, n_fft=config.window_samples, hop_length=config.hop_samples,
        n_mels=config.num_bands, fmin=config.low_hz, fmax=config.high_hz, power=2.0, center=True,
        pad_mode="constant", htk=False, norm="slaney",
    )
    return np.maximum(mel, config.floor).T


def assert_equals_librosa(waveform, config=LEVEL):
    ours, theirs = power(waveform, config), librosas(waveform, config)
    assert ours.shape == theirs.shape
    loudest = theirs.max(axis=1, keepdims=True)
    assert np.abs((ours - theirs) / loudest).max() < 1e-4


# Known answers

def test_frames_advance_by_whole_samples():
    assert FrontendConfig(sample_rate=11_025, high_hz=5_000).frame_seconds == 110 / 11_025
    assert FrontendConfig().frame_seconds == 0.010


@pytest.mark.filterwarnings("ignore:n_fft=400 is too large")
@pytest.mark.parametrize("num_samples", [1, 159, 160, 8_000, 16_001])
def test_the_mel_spectrogram_equals_librosas_on_noise(num_samples):
    assert_equals_librosa(swelling(num_samples))


@pytest.mark.parametrize("options", [
    {"num_bands": 20}, {"num_bands": 80}, {"low_hz": 50.0, "high_hz": 7_000.0}, {"window_seconds": 0.032},
    {"hop_seconds": 0.005}, {"sample_rate": 8_000, "high_hz": 4_000.0},
    {"sample_rate": 22_050, "high_hz": 11_025.0},
], ids=str)
def test_the_mel_spectrogram_equals_librosas_with_other_settings(options):
    assert_equals_librosa(swelling(12_345), dataclasses.replace(LEVEL, **options))


def test_the_mel_spectrogram_equals_librosas_on_a_chirp_with_silence_around():
    chirp = torch.from_numpy(librosa.chirp(fmin=50, fmax=7_900, sr=16_000, duration=1.0).astype(np.float32))
    assert_equals_librosa(torch.cat([torch.zeros(4_000), chirp, torch.zeros(4_000)]))


@pytest.mark.parametrize("corpus, pattern", [
    ("ravdess", "**/Actor_01/*.flac"), ("emodb", "**/*.wav"), ("nemo", "**/*.opus"),
])
def test_the_mel_spectrogram_equals_librosas_on_real_speech(corpora, corpus, pattern):
    files = sorted((corpora / corpus).glob(pattern))
    for path in files[:: max(1, len(files) // 3)]:
        assert_equals_librosa(torch.from_numpy(audio.read(path)))


@pytest.mark.parametrize("band", range(20))
def test_a_pure_tone_lights_the_band_that_holds_its_frequency(band):
    config = dataclasses.replace(LEVEL, num_bands=20)
    frequency = librosa.mel_frequencies(22, fmin=0, fmax=8_000)[band + 1]  # where the band's triangle peaks
    tone = 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(8_000) / 16_000)
    assert set(power(tone, config)[5:-5].argmax(axis=1)) == {band}


def test_no_band_of_the_default_front_end_is_deaf():
    assert (Frontend().mel.mel_scale.fb.sum(dim=0) > 0).all()


def test_silence_is_the_floor():
    assert power(torch.zeros(1_600), dataclasses.replace(LEVEL, floor=1e-8)) == pytest.approx(1e-8)


def test_ten_times_the_amplitude_is_a_hundred_times_the_power():
    np.testing.assert_allclose(power(10 * noise(4_000)), 100 * power(noise(4_000)), rtol=1e-4)


def test_the_slope_of_a_ramp_is_its_rise_per_frame():
    rise = torch.tensor([0.5, -2.0, 0.0])
    ramp = (torch.arange(20.0)[:, None] * rise)[None]
    torch.testing.assert_close(deltas(ramp, torch.tensor([20]))[0, 2:-2], rise.expand(16, 3))


def test_at_the_edges_the_first_and_last_frame_repeat():
    ramp = torch.arange(10.0)[None, :, None]
    slope = deltas(ramp, torch.tensor([10]))[0, :, 0]  # at frame 0: (1 * (1 - 0) + 2 * (2 - 0)) / 10
    assert slope[[0, 1, 8, 9]].tolist() == pytest.approx([0.5, 0.8, 0.8, 0.5])


def test_a_wider_regression_reaches_farther():
    step = torch.cat([torch.zeros(10), torch.ones(10)])[None, :, None]
    for width in (1, 2, 4):
        assert (deltas(step, torch.tensor([20]), width) > 0).sum() == 2 * width


def test_edges_are_those_of_each_utterance_not_of_the_batch():
    mel = torch.randn(2, 30, 4)
    short = deltas(mel[:1, :12], torch.tensor([12]))
    torch.testing.assert_close(deltas(mel, torch.tensor([12, 30]))[:1, :12], short)


def test_the_channels_are_level_slope_and_curvature():
    mel, lengths = Frontend().log_mel(swelling(8_000)[None], torch.tensor([8_000]))
    torch.testing.assert_close(mel[:, 1], deltas(mel[:, 0], lengths))
    torch.testing.assert_close(mel[:, 2], deltas(mel[:, 1], lengths))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("settings", [{}, {"window_seconds": 0.0231, "hop_seconds": 0.0077}], ids=str)
def test_the_number_of_frames_is_what_num_frames_says_at_every_rate(rate, settings):
    frontend = Frontend(FrontendConfig(sample_rate=rate, high_hz=4_000.0, num_bands=20, **settings))
    hop = frontend.config.hop_samples
    for num_samples in (1, hop - 1, hop, 10 * hop - 1, 10 * hop, 10 * hop + 1):
        mel, _, lengths = frontend(torch.randn(1, num_samples), torch.tensor([num_samples]))
        assert mel.shape == (1, 3, frontend.num_frames(num_samples), 20)
        assert lengths.tolist() == [mel.shape[2]]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_one_sample_of_audio_gives_one_finite_frame(normalisation):
    mel = alone(Frontend(FrontendConfig(normalisation=normalisation)), torch.tensor([0.5]))
    assert mel.shape == (3, 1, 64) and mel.isfinite().all()


def test_normalised_by_utterance_each_band_has_mean_zero_and_deviation_one():
    mel = alone(Frontend(FrontendConfig(normalisation="utterance")), swelling(16_000))
    torch.testing.assert_close(mel.mean(dim=1), torch.zeros(3, 64), atol=1e-3, rtol=0)
    torch.testing.assert_close(mel.std(dim=1, correction=0), torch.ones(3, 64), atol=1e-2, rtol=0)


def test_normalised_globally_all_that_was_fitted_together_has_mean_zero_and_deviation_one():
    frontend = Frontend(FrontendConfig(normalisation="global"))
    waveforms = [swelling(16_000, 1), noise(5_000, 2), noise(9_000, 3, level=0.01)]
    frontend.fit([batch(*waveforms[:2]), batch(waveforms[2])])
    mel = torch.cat([alone(frontend, waveform) for waveform in waveforms], dim=1)
    torch.testing.assert_close(mel.mean(dim=1), torch.zeros(3, 64), atol=1e-3, rtol=0)
    torch.testing.assert_close(mel.std(dim=1, correction=0), torch.ones(3, 64), atol=1e-2, rtol=0)


def test_by_speaker_pools_the_frames_of_each_speaker_over_batches():
    frontend = Frontend(FrontendConfig(normalisation="speaker"))
    a, b, c = swelling(16_000, 1), noise(9_000, 2), noise(5_000, 3, level=0.01)
    found = frontend.by_speaker([(*batch(a, b), ["ann", "bob"]), (*batch(c), ["ann"])])
    assert set(found) == {"ann", "bob"}
    of_ann = torch.cat([frontend.log_mel(x[None], torch.tensor([len(x)]))[0][0] for x in (a, c)], dim=1)
    mean, deviation = found["ann"]
    torch.testing.assert_close(mean[:, 0], of_ann.mean(dim=1), atol=1e-3, rtol=0)
    torch.testing.assert_close(deviation[:, 0], of_ann.std(dim=1, correction=0), atol=1e-2, rtol=1e-2)


def test_frames_within_30_db_of_the_loudest_are_loud():
    level = torch.tensor([0.0, -6.8, -7.0, -3.0])[None, None, :, None].repeat(1, 1, 1, 4) - 5
    kept, count = loud(level, torch.tensor([4]))
    assert count.tolist() == [3] and (kept[0, 0, :, 0] != 0).tolist() == [True, True, False, True]


def test_voices_together_are_as_wide_as_one_of_them():
    frontend = Frontend(FrontendConfig(normalisation="speaker"))
    batches = [(*batch(noise(16_000, 1), noise(16_000, 2, level=1e-3)), ["loud", "faint"])]
    own = frontend.by_speaker(batches)
    frontend.fit_voices(batches)
    for buffer, parts in zip((frontend.mean, frontend.deviation), zip(*own.values())):
        torch.testing.assert_close(buffer, (parts[0] + parts[1]) / 2)
    narrow = frontend.deviation[0].mean()
    frontend.fit(part[:2] for part in batches)
    assert frontend.deviation[0].mean() > 2 * narrow


def test_each_utterance_of_a_batch_takes_its_own_speakers_statistics():
    frontend = Frontend(FrontendConfig(normalisation="speaker"))
    a, b, other = noise(9_000, 1), noise(5_000, 2, level=0.01), swelling(16_000, 3)
    found = frontend.by_speaker([(*batch(a, b, other), ["ann", "bob", "bob"])])
    statistics = tuple(torch.stack(part) for part in zip(found["ann"], found["bob"]))
    together, _, lengths = frontend(*batch(a, b), statistics)
    for row, length, waveform, name in zip(together, lengths, (a, b), ("ann", "bob")):
        mean, deviation = found[name]
        own = (frontend.log_mel(waveform[None], torch.tensor([len(waveform)]))[0][0] - mean) / deviation
        torch.testing.assert_close(row[:, :length], own, atol=1e-3, rtol=1e-3)


def test_a_band_that_never_moves_is_not_blown_up():
    mean, deviation = from_moments(*moments(torch.full((1, 1, 50, 4), -23.0), torch.tensor([50])))
    assert mean.flatten().tolist() == pytest.approx([-23.0] * 4)
    assert deviation.flatten().tolist() == pytest.approx([0.01] * 4, rel=0.5)


# Fast equals slow

def test_a_batch_gives_what_its_utterances_give_one_by_one():
    waveforms = [swelling(n, seed=n) for n in (400, 16_000, 7_777)]
    mel, _, lengths = Frontend()(*batch(*waveforms))
    for row, length, waveform in zip(mel, lengths, waveforms):
        torch.testing.assert_close(row[:, :length], alone(Frontend(), waveform), atol=1e-3, rtol=1e-3)


# Invariance

@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("garbage", [1.0, 1e6, float("inf"), float("nan")])
def test_garbage_in_the_padding_never_reaches_a_feature(normalisation, garbage):
    frontend = Frontend(FrontendConfig(normalisation=normalisation))
    waveforms = swelling(16_000), noise(1), noise(7_777)
    clean, _, _ = frontend(*batch(*waveforms))
    dirty, _, lengths = frontend(*batch(*waveforms, garbage=garbage))
    assert torch.equal(clean, dirty)
    for row, length in zip(dirty, lengths):
        assert row[:, length:].abs().sum() == 0


def test_the_gain_of_the_recording_is_gone_when_normalised_by_utterance():
    frontend = Frontend(FrontendConfig(normalisation="utterance"))
    torch.testing.assert_close(alone(frontend, 8 * noise(8_000)), alone(frontend, noise(8_000)), atol=1e-3, rtol=1e-3)


def test_the_gain_of_the_recording_stays_when_normalised_globally():
    frontend = Frontend(FrontendConfig(normalisation="global"))
    louder, usual = alone(frontend, 8 * noise(8_000)), alone(frontend, noise(8_000))
    difference = (louder - usual).mean(dim=(1, 2))  # level, slope, curvature
    assert difference.tolist() == pytest.approx([np.log(64), 0, 0], abs=1e-2)


def test_bfloat16_autocast_leaves_the_features_in_full_precision():
    with torch.autocast("cpu", torch.bfloat16):
        inside = alone(Frontend(), swelling(8_000))
    assert inside.dtype == torch.float32 and torch.equal(inside, alone(Frontend(), swelling(8_000)))


# Options

OTHER = {"sample_rate": 22_050, "window_seconds": 0.04, "hop_seconds": 0.005, "num_bands": 32,
         "low_hz": 300.0, "high_hz": 3_000.0, "floor": 1e-3, "deltas": False, "normalisation": "utterance"}


def test_every_option_of_the_spectrogram_is_tried():
    assert OTHER.keys() | {"prosody", "pitch"} == {f.name for f in dataclasses.fields(FrontendConfig)}


@pytest.mark.parametrize("option", OTHER)
def test_every_option_changes_the_features(option):
    usual, other = (alone(Frontend(config), swelling(8_000))
                    for config in (FrontendConfig(), FrontendConfig(**{option: OTHER[option]})))
    assert usual.shape != other.shape or not torch.allclose(usual, other, atol=0.01)


def test_prosody_comes_on_the_frames_of_the_mel_only_where_it_is_asked_for():
    waveform = swelling(8_000)[None], torch.tensor([8_000])
    mel, prosody, lengths = Frontend(FrontendConfig(prosody=True))(*waveform)
    assert prosody.shape == (1, mel.shape[2], NUM_CONTOURS) and prosody.isfinite().all()
    assert Frontend()(*waveform)[1] is None


def test_the_limits_of_the_pitch_are_obeyed():
    time = torch.arange(16_000) / 16_000
    tone = (0.5 * torch.sin(2 * torch.pi * 300 * time))[None], torch.tensor([16_000])
    voicing = [
        Frontend(FrontendConfig(prosody=True, pitch=PitchConfig(highest_hz=highest)))(*tone)[1][0, 20:-20, 2].mean()
        for highest in (500.0, 250.0)
    ]
    assert voicing[0] > voicing[1]


# Refusals

@pytest.mark.parametrize("options, remedy", [
    ({"normalisation": "batch"}, "utterance, global, speaker"),
    ({"hop_seconds": 0.03}, "Lower hop_seconds"),
    ({"hop_seconds": 0.0}, "Lower hop_seconds"),
    ({"hop_seconds": 1e-5}, "must hold a sample"),
    ({"high_hz": 8_001.0}, "Lower high_hz"),
    ({"low_hz": -1.0}, "Lower high_hz"),
    ({"low_hz": 4_000.0, "high_hz": 4_000.0}, "Lower high_hz"),
    ({"num_bands": 0}, "at least 1"),
    ({"floor": 0.0}, "above 0"),
])
def test_settings_that_make_no_front_end_are_refused(options, remedy):
    with pytest.raises(ValueError, match=remedy):
        FrontendConfig(**options)


def test_an_utterance_without_samples_is_refused():
    with pytest.raises(ValueError, match="Leave it out"):
        Frontend()(torch.zeros(2, 100), torch.tensor([100, 0]))


def test_fitting_on_nothing_is_refused():
    with pytest.raises(ValueError, match="training speakers"):
        Frontend().fit([])


def test_a_slope_without_neighbours_is_refused():
    with pytest.raises(ValueError, match="Use 2"):
        deltas(torch.zeros(1, 5, 2), torch.tensor([5]), width=0)
