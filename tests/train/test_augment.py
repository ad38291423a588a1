import dataclasses

import numpy as np
import pytest
import torch

from emotion.settings import SettingError
from emotion.train import augment
from emotion.train.augment import AugmentConfig

OFF = AugmentConfig(gain_db=0, noise_probability=0, speeds=(1.0,), time_masks=0, band_masks=0)
RATE = 16_000


def only(**settings):
    return dataclasses.replace(OFF, **settings)


def tones(frequency, seconds=0.5, count=1):
    times = torch.arange(round(seconds * RATE)) / RATE
    return (0.3 * torch.sin(2 * torch.pi * frequency * times)).repeat(count, 1)


def whole(batch):
    return torch.full((len(batch),), batch.shape[1])


def decibels(ratio):
    return 10 * torch.log10(ratio)


def stretches(zeros):
    """(start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], zeros.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2]))


# Known answers

@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
def test_noise_has_the_asked_distance_to_the_speech(snr_db):
    torch.manual_seed(1)
    batch, lengths = tones(440, count=6), torch.tensor([8000, 7999, 4001, 1000, 300, 20])
    batch[torch.arange(8000) >= lengths[:, None]] = 7.0   # loud garbage in the padding
    noise = augment.add_noise(batch, lengths, torch.full((6,), snr_db)) - batch
    for row, clean, length in zip(noise, batch, lengths):
        power = clean[:length].double().square().sum() / row[:length].double().square().sum()
        assert decibels(power).item() == pytest.approx(snr_db, abs=0.1)


def test_noise_leaves_the_padding_untouched():
    batch, lengths = tones(440, count=3), torch.tensor([8000, 4000, 100])
    noisy = augment.add_noise(batch, lengths, torch.zeros(3))
    for row, clean, length in zip(noisy, batch, lengths):
        assert torch.equal(row[length:], clean[length:])


def test_noise_in_silence_is_silent():
    assert not augment.add_noise(torch.zeros(2, 100), torch.tensor([100, 50]), torch.zeros(2)).any()


def test_the_colour_of_the_noise_lies_between_white_and_pink():
    torch.manual_seed(1)
    speech = tones(440, seconds=1, count=32)
    noise = augment.add_noise(speech, whole(speech), torch.zeros(32)) - speech
    power = torch.fft.rfft(noise.double()).abs().square()[:, 50:].log()
    frequency = torch.arange(50, 50 + power.shape[1]).double().log()
    frequency = (frequency - frequency.mean()) / (frequency - frequency.mean()).square().sum()
    slopes = power @ frequency   # of log power over log frequency: 0 is white, -1 pink
    assert -1.1 < slopes.min() < -0.9 and -0.1 < slopes.max() < 0.1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_that_share_of_the_utterances_gets_noise_in_the_asked_range(share):
    torch.manual_seed(1)
    speech = tones(440, 0.05, count=1000)
    config = only(noise_probability=share, noise_snr_db=(5.0, 15.0))
    noise = augment.waveforms(speech, whole(speech), config)[0] - speech
    noisy = noise.abs().sum(1) > 0
    assert noisy.float().mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / 1000) ** 0.5)
    if share:
        snr_db = decibels(speech[noisy].square().sum(1) / noise[noisy].square().sum(1))
        assert 4.9 < snr_db.min() < 6 and 14 < snr_db.max() < 15.1


def test_gain_is_drawn_from_its_range_for_each_utterance():
    torch.manual_seed(1)
    speech = tones(440, 0.01, count=500)
    louder, _ = augment.waveforms(speech, whole(speech), only(gain_db=6.0))
    gain_db = decibels(louder.square().sum(1) / speech.square().sum(1))
    assert -6.001 < gain_db.min() < -5.8 and 5.8 < gain_db.max() < 6.001 and abs(gain_db.mean()) < 0.5


@pytest.mark.parametrize("speed", [0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch_by_its_factor(speed):
    faster, lengths = augment.perturb_speed(tones(1000, seconds=1), torch.tensor([RATE]), speed)
    assert lengths.item() == int(RATE / speed) and abs(faster.shape[1] - RATE / speed) <= 1
    middle = faster[0, 2000:10_000] * torch.hann_window(8000)
    assert torch.fft.rfft(middle).abs().argmax() * RATE / 8000 == pytest.approx(1000 * speed, abs=1)
    assert faster[0, 2000:10_000].square().mean() == pytest.approx(0.3**2 / 2, rel=0.01)   # as loud as before


def test_speed_ends_each_utterance_where_its_length_says():
    batch, lengths = tones(1000, count=2), torch.tensor([8000, 4000])
    batch[1, 4000:] = 0
    faster, lengths = augment.perturb_speed(batch, lengths, 1.1)
    assert lengths.tolist() == [7272, 3636] and faster[1, :3630].abs().max() > 0.29
    assert faster[1, 3650:].abs().max() < 0.01   # all but the ringing of the filter


def test_every_speed_is_drawn():
    torch.manual_seed(1)
    batch, config = torch.ones(2, 100), only(speeds=(0.5, 1.0, 2.0))
    assert {augment.waveforms(batch, whole(batch), config)[1][0].item() for _ in range(20)} == {200, 100, 50}


def masked(config, lengths):
    """Which frames and which bands SpecAugment set to 0: two (batch, ...) arrays of bool."""
    torch.manual_seed(1)
    mel = augment.spectrogram(torch.ones(len(lengths), 2, 200, 40), lengths, config)
    assert ((mel == 0) | (mel == 1)).all()
    return (mel == 0).all(dim=(1, 3)).numpy(), (mel == 0).all(dim=(1, 2)).numpy()


@pytest.mark.parametrize("longest", [10, 25, 1000])
def test_a_time_mask_is_one_stretch_no_longer_than_it_says_or_a_fifth(longest):
    lengths = torch.randint(1, 201, (200,), generator=torch.Generator().manual_seed(1))
    frames, bands = masked(only(time_masks=1, time_mask_frames=longest), lengths)
    allowed = np.minimum(lengths.numpy() // 5, longest)
    assert not bands.any() and (frames.sum(1) <= allowed).all() and (frames.sum(1) == allowed).any()
    for row, length in zip(frames, lengths.tolist()):
        assert len(stretches(row)) <= 1 and not row[length:].any()   # inside the utterance


@pytest.mark.parametrize("widest", [1, 10])
def test_a_band_mask_is_one_stretch_no_wider_than_it_says(widest):
    frames, bands = masked(only(band_masks=1, band_mask_bands=widest), torch.full((300,), 200))
    assert not frames.any() and set(bands.sum(1)) == set(range(widest + 1))
    assert all(len(stretches(row)) <= 1 for row in bands) and bands.any(0).all()   # anywhere


def test_several_masks_are_several_stretches():
    frames, bands = masked(only(time_masks=2, band_masks=3), torch.full((300,), 200))
    assert max(len(stretches(row)) for row in frames) == 2 and max(len(stretches(row)) for row in bands) == 3


def test_an_utterance_shorter_than_five_frames_is_never_masked_in_time():
    frames, _ = masked(only(time_masks=5), torch.tensor([1, 2, 3, 4] * 50))
    assert not frames.any()


# Invariance

def test_with_every_option_off_nothing_changes():
    batch, lengths = torch.randn(4, 3000), torch.tensor([3000, 2000, 10, 1])
    same, same_lengths = augment.waveforms(batch, lengths, OFF)
    assert torch.equal(same, batch) and torch.equal(same_lengths, lengths)
    mel = torch.randn(4, 3, 50, 20)
    assert torch.equal(augment.spectrogram(mel, torch.tensor([50, 20, 5, 1]), OFF), mel)


def augmented(seed):
    torch.manual_seed(seed)
    speech = tones(440, count=4)
    waveforms, _ = augment.waveforms(speech, whole(speech), AugmentConfig(noise_probability=1.0))
    return [waveforms, augment.spectrogram(torch.ones(4, 3, 100, 40), torch.full((4,), 100), AugmentConfig())]


def test_the_same_seed_draws_the_same():
    assert all(torch.equal(a, b) for a, b in zip(augmented(1), augmented(1)))
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in zip(augmented(1), augmented(2)))


def test_the_batch_that_was_given_stays_as_it_is():
    batch, mel = tones(440, count=4), torch.ones(4, 1, 100, 40)
    augment.waveforms(batch, whole(batch), AugmentConfig(noise_probability=1.0, speeds=(1.0,)))
    augment.spectrogram(mel, torch.full((4,), 100), AugmentConfig())
    assert torch.equal(batch, tones(440, count=4)) and mel.all()


# Refusal

@pytest.mark.parametrize("settings, name", [
    ({"speeds": ()}, "speeds"), ({"speeds": (1.0, 0.0)}, "speeds"),
    ({"noise_probability": 1.5}, "noise_probability"), ({"noise_snr_db": (30.0, 10.0)}, "noise_snr_db"),
])
def test_settings_that_make_no_sense_are_refused(settings, name):
    with pytest.raises(SettingError, match=f"augment.*{name}"):
        AugmentConfig(**settings)
