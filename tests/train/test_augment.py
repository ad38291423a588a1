import dataclasses

import numpy as np
import pytest
import torch
from librosa import mel_frequencies
from signals import RATE, click, decibels, power, tones, whole

from emotion.settings import SettingError
from emotion.train import augment
from emotion.train.augment import AugmentConfig

OFF = AugmentConfig(gain_db=0, noise_probability=0, speeds=(1.0,), time_masks=0, band_masks=0)
WAVEFORM_EFFECTS = {
    "speeds": {"speeds": (0.9,)}, "shift": {"shift_seconds": 0.1}, "room": {"room_probability": 1.0},
    "tilt": {"tilt_db": 12.0}, "noise": {"noise_probability": 1.0}, "tone": {"tone_probability": 1.0},
    "babble": {"babble_probability": 1.0}, "codec": {"codec_probability": 1.0},
    "lowpass": {"lowpass_probability": 1.0}, "gain": {"gain_db": 6.0},
}
SPECTROGRAM_EFFECTS = {
    "warp": {"warp": 0.1}, "band_shift": {"band_shift": 3}, "time_masks": {"time_masks": 2},
    "band_masks": {"band_masks": 2},
}
ALL = {name: value for effect in (WAVEFORM_EFFECTS | SPECTROGRAM_EFFECTS).values() for name, value in effect.items()}


def only(**settings):
    return dataclasses.replace(OFF, **settings)


def corners(bands):
    return torch.tensor(mel_frequencies(bands + 2, fmin=0, fmax=RATE / 2), dtype=torch.float32)


def features(mel, prosody, lengths, config):
    return augment.features(mel, prosody, lengths, config, corners(mel.shape[3]))


def stretches(zeros):
    """(start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], zeros.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2]))


# Known answers

def test_noise_is_drawn_from_its_range_of_distances():
    torch.manual_seed(1)
    speech = tones(440, 0.05, count=500)
    config = only(noise_probability=1.0, noise_snr_db=(5.0, 15.0))
    noise = augment.waveforms(speech, whole(speech), config)[0] - speech
    snr_db = decibels(power(speech) / power(noise))
    assert 4.99 < snr_db.min() < 5.5 and 14.5 < snr_db.max() < 15.01


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize("effect", ["room", "noise", "babble", "codec", "tone", "lowpass"])
def test_that_share_of_the_utterances_is_changed(effect, share):
    torch.manual_seed(1)
    speech = torch.randn(400, 320)
    changed, _ = augment.waveforms(speech, whole(speech), only(**{f"{effect}_probability": share}))
    rows = (changed != speech).any(1)
    assert rows.float().mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / 400) ** 0.5)


@pytest.mark.parametrize("effect", ["tone", "babble"])
def test_tones_and_babble_are_drawn_from_their_own_distances(effect):
    torch.manual_seed(1)
    speech = torch.randn(300, 800)
    config = only(**{f"{effect}_probability": 1.0, f"{effect}_snr_db": (3.0, 9.0)})
    snr_db = decibels(power(speech) / power(augment.waveforms(speech, whole(speech), config)[0] - speech))
    assert 2.9 < snr_db.min() < 3.5 and 8.5 < snr_db.max() < 9.1


def test_a_low_pass_is_drawn_from_its_range_at_any_rate():
    torch.manual_seed(1)
    speech, config = torch.randn(50, 8000), only(lowpass_probability=1.0, lowpass_hz=(1000.0, 2000.0))
    spectrum = torch.fft.rfft(augment.waveforms(speech, whole(speech), config, 8000)[0]).abs()   # a bin is 1 Hz
    highest = torch.stack([row.gt(5).nonzero().max() for row in spectrum])
    assert 1000 <= highest.min() < 1200 and 1850 < highest.max() <= 2100


def test_a_tilt_is_drawn_to_both_sides():
    torch.manual_seed(1)
    speech = torch.randn(200, 4000)
    changed = augment.waveforms(speech, whole(speech), only(tilt_db=12.0))[0]
    gain_db = 20 * (torch.fft.rfft(changed).abs() / torch.fft.rfft(speech).abs()).log10()
    tilt_db = gain_db[:, -300:].mean(1) - gain_db[:, :300].mean(1)
    assert -11 < tilt_db.min() < -9 and 9 < tilt_db.max() < 11


def test_every_utterance_stands_in_a_room_of_its_own():
    heard, _ = augment.waveforms(click(0, 0.5, 2), torch.tensor([8000, 8000]), only(room_probability=1.0))
    assert not torch.allclose(heard[0], heard[1], atol=1e-3)


def test_reverberation_times_and_direct_paths_are_drawn_from_their_ranges():
    torch.manual_seed(1)
    clicks = click(0, count=100)
    config = only(room_probability=1.0, room_rt60_seconds=(0.1, 0.3), room_direct_db=(0.0, 6.0))
    heard, _ = augment.waveforms(clicks, whole(clicks), config)
    echoes = heard[:, 1:].double().square()
    direct_db = decibels(heard[:, 0].square() / echoes.sum(1))
    assert -0.01 < direct_db.min() < 0.5 and 5.5 < direct_db.max() < 6.01
    late = (echoes * torch.arange(1, RATE) / RATE).sum(1) / echoes.sum(1)   # an exponential's centre: its time constant
    rt60_seconds = 6 * np.log(10) * late
    assert 0.08 < rt60_seconds.min() < 0.13 and 0.27 < rt60_seconds.max() < 0.33


@pytest.mark.parametrize("rate", [8000, 16_000])
def test_a_shift_is_drawn_from_its_range_to_both_sides(rate):
    torch.manual_seed(1)
    batch = torch.ones(300, 1000)
    moved, lengths = augment.waveforms(batch, whole(batch), only(shift_seconds=0.01), rate)
    furthest, first = 0.01 * rate, (moved == 0).long().cumprod(1).sum(1)
    assert 0.95 * furthest < first.max() <= furthest and (first == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    last = lengths - first - moved.sum(1).long()
    assert 0.95 * furthest < last.max() <= furthest and (last == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert -2 * furthest <= (lengths - 1000).min() < -1.5 * furthest


def test_gain_is_drawn_from_its_range_for_each_utterance():
    torch.manual_seed(1)
    speech = tones(440, 0.01, count=500)
    louder, _ = augment.waveforms(speech, whole(speech), only(gain_db=6.0))
    gain_db = decibels(louder.square().sum(1) / speech.square().sum(1))
    assert -6.001 < gain_db.min() < -5.8 and 5.8 < gain_db.max() < 6.001 and abs(gain_db.mean()) < 0.5


def test_every_speed_is_drawn():
    torch.manual_seed(1)
    batch, config = torch.ones(2, 100), only(speeds=(0.5, 1.0, 2.0))
    assert {augment.waveforms(batch, whole(batch), config)[1][0].item() for _ in range(20)} == {200, 100, 50}


def masked(config, lengths):
    """Which frames and which bands SpecAugment set to 0: two (batch, ...) arrays of bool."""
    torch.manual_seed(1)
    mel = features(torch.ones(len(lengths), 2, 200, 40), None, lengths, config)[0]
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


def line(band, bands=64):
    mel = torch.zeros(1, 3, 5, bands)
    mel[..., band] = 1.0
    return mel


@pytest.mark.parametrize("steps", [-10, -1, 0, 1, 10])
def test_a_shift_of_the_bands_moves_a_line_by_exactly_that_many(steps):
    assert torch.equal(augment.shift_bands(line(30), torch.tensor([steps])), line(30 + steps))


def test_bands_that_a_shift_leaves_empty_repeat_the_edge():
    mel = torch.arange(5.0).expand(3, 1, 1, 5)
    moved = augment.shift_bands(mel, torch.tensor([2, -1, 100]))
    assert moved[:, 0, 0].tolist() == [[0, 0, 0, 1, 2], [1, 2, 3, 4, 4], [0, 0, 0, 0, 0]]


def test_prosody_takes_its_mean_where_the_spectrogram_is_masked_and_stays_elsewhere():
    torch.manual_seed(1)
    config, lengths = only(time_masks=2, band_masks=2, time_mask_frames=25), torch.tensor([200, 100, 30])
    contours = torch.randn(3, 200, 7) + 1
    contours[torch.arange(200) >= lengths[:, None]] = 1e6   # garbage in the padding
    mel, prosody = features(torch.ones(3, 2, 200, 40), contours, lengths, config)
    hidden = (mel == 0).all(dim=(1, 3))
    assert hidden.any(1).all() and torch.equal(prosody[~hidden], contours[~hidden])
    for row, length in enumerate(lengths):
        mean = contours[row, :length].mean(0).expand(int(hidden[row].sum()), 7)
        torch.testing.assert_close(prosody[row, hidden[row]], mean)


def test_every_shift_of_the_bands_in_the_range_is_drawn():
    torch.manual_seed(1)
    moved = features(line(30).repeat(200, 1, 1, 1), None, torch.full((200,), 5), only(band_shift=3))[0]
    assert set(moved[:, 0, 0].argmax(1).tolist()) == set(range(27, 34))


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
@pytest.mark.parametrize("hertz", [500, 1500, 3000])
def test_a_warp_moves_what_is_at_a_frequency_to_that_times_the_factor(factor, hertz):
    centres = corners(256)[1:-1]
    hill = torch.exp(-((centres - hertz) / 300).square())[None, None, None]
    warped = augment.warp_bands(hill, torch.tensor([factor]), corners(256))[0, 0, 0]
    assert centres[warped.argmax()].item() == pytest.approx(hertz * factor, abs=70)
    slope = augment.warp_bands(centres[None, None, None], torch.tensor([factor]), corners(256))[0, 0, 0]
    low = centres < 0.6 * 8000 * min(factor, 1)
    torch.testing.assert_close(slope[low], (centres / factor)[low].clamp(min=centres[0]), rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_above_its_bend_a_warp_is_a_straight_line_to_the_highest_frequency(factor):
    centres = corners(256)[1:-1]
    slope = augment.warp_bands(centres[None, None, None], torch.tensor([factor]), corners(256))[0, 0, 0]
    bend = 0.6 * 8000 * min(factor, 1)
    high = centres > bend
    expected = 8000 - (8000 - centres[high]) * (8000 - bend / factor) / (8000 - bend)
    torch.testing.assert_close(slope[high], expected.clamp(max=centres[-1]), rtol=1e-4, atol=0.1)


def test_a_warp_of_one_changes_nothing():
    mel = torch.randn(2, 3, 5, 64)
    torch.testing.assert_close(augment.warp_bands(mel, torch.ones(2), corners(64)), mel, atol=1e-3, rtol=0)


def test_the_factor_of_a_warp_is_drawn_from_its_range_for_each_utterance():
    torch.manual_seed(1)
    centres = corners(64)[1:-1]
    warped = features(centres.expand(300, 1, 2, 64), None, torch.full((300,), 2), only(warp=0.2))[0]
    factors = centres[20] / warped[:, 0, 0, 20]
    assert 0.799 < factors.min() < 0.81 and 1.19 < factors.max() < 1.201


def pair(*lengths):
    """Two utterances, one of ones and one of twos, of two classes; loud garbage in the padding."""
    mel = torch.tensor([1.0, 2.0])[:, None, None, None].repeat(1, 3, 6, 4)
    prosody, lengths = torch.tensor([10.0, 20.0])[:, None, None].repeat(1, 6, 2), torch.tensor(lengths)
    outside = torch.arange(6) >= lengths[:, None]
    mel[outside[:, None, :, None].expand_as(mel)] = 1e6
    prosody[outside] = -1e6
    return mel, prosody, lengths, torch.eye(2)


def test_mixup_mixes_features_and_targets_with_one_weight():
    weights = []
    for seed in range(30):
        torch.manual_seed(seed)
        mel, prosody, lengths, targets = augment.mixup(*pair(6, 4), alpha=1.0)
        own = targets.diagonal()   # the weight of what was there before
        weights.append(own[0].item())
        assert torch.allclose(own, own[0]) and own[0] >= 0.5
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
        if own[0] < 1:   # each was the other's partner
            assert lengths.tolist() == [6, 6]
            torch.testing.assert_close(mel[0, 0, :, 0], own[0] * 1 + (1 - own[0]) * torch.tensor([2.0] * 4 + [0] * 2))
            torch.testing.assert_close(mel[1, 2, :, 3], own[0] * torch.tensor([2.0] * 4 + [0] * 2) + (1 - own[0]) * 1)
            torch.testing.assert_close(prosody[0, :4], (20 - 10 * own[0]).expand(4, 2))
            torch.testing.assert_close(prosody[1, 4:], (10 - 10 * own[0]).expand(2, 2))
        else:
            assert lengths.tolist() == [6, 4]
    assert 5 < sum(weight < 1 for weight in weights) < 25


def test_a_mixed_utterance_is_as_long_as_the_longer_of_the_two_and_zero_beyond():
    torch.manual_seed(1)
    mel, lengths = torch.ones(50, 1, 20, 4), torch.randint(1, 16, (50,))
    mixed, _, longer, _ = augment.mixup(mel, None, lengths, torch.eye(50), alpha=1.0)
    inside = torch.arange(20) < longer[:, None]
    assert (longer >= lengths).all() and (longer > lengths).any() and longer.max() == lengths.max()
    assert torch.equal(mixed[:, 0, :, 0] > 0, inside)


@pytest.mark.parametrize("alpha, mean", [(0.2, 0.89), (1.0, 0.75), (1000.0, 0.51)])
def test_the_weight_of_mixup_follows_a_folded_beta(alpha, mean):
    torch.manual_seed(1)
    mel, targets, weights = torch.zeros(8, 1, 2, 2), torch.eye(8), []
    for _ in range(400):
        mixed = augment.mixup(mel, None, torch.full((8,), 2), targets, alpha)[3]
        weights.append(mixed[mixed > 0].min().item())
    weights = [max(weight, 1 - weight) for weight in weights]
    assert np.mean(weights) == pytest.approx(mean, abs=0.03)


# Invariance

def test_with_every_option_off_nothing_changes_and_nothing_is_drawn():
    batch, lengths = torch.randn(4, 3000), torch.tensor([3000, 2000, 10, 1])
    mel, frames, state = torch.randn(4, 3, 50, 20), torch.tensor([50, 20, 5, 1]), torch.get_rng_state()
    same, same_lengths = augment.waveforms(batch, lengths, OFF)
    assert torch.equal(same, batch) and torch.equal(same_lengths, lengths)
    assert features(mel, None, frames, OFF)[0] is mel
    given = (mel, None, frames, torch.eye(4))
    assert all(a is b for a, b in zip(given, augment.mixup(*given, alpha=0.0)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("effect", [*WAVEFORM_EFFECTS, "all"])
def test_loud_garbage_in_the_padding_is_never_heard(effect):
    torch.manual_seed(1)
    config = only(**(ALL if effect == "all" else WAVEFORM_EFFECTS[effect]))
    clean, before = torch.randn(5, 4000), torch.tensor([4000, 3000, 1000, 20, 1])
    clean[torch.arange(4000) >= before[:, None]] = 0
    garbage = torch.where(torch.arange(4000) >= before[:, None], 1e6, clean)
    torch.manual_seed(2)
    expected, lengths = augment.waveforms(clean, before, config)
    torch.manual_seed(2)
    heard, _ = augment.waveforms(garbage, before, config)
    for row, length in enumerate(lengths):
        assert torch.equal(heard[row, :length], expected[row, :length]) and not expected[row, length:].any()
        assert expected[row, :length].any()


@pytest.mark.parametrize("effect", SPECTROGRAM_EFFECTS)
def test_the_padding_of_a_spectrogram_stays_zero_and_its_garbage_where_it_is(effect):
    torch.manual_seed(1)
    config, lengths = only(**SPECTROGRAM_EFFECTS[effect]), torch.tensor([30, 20, 5, 1])
    outside = (torch.arange(30) >= lengths[:, None])[:, None, :, None]
    clean = torch.randn(4, 3, 30, 20).masked_fill(outside, 0)
    torch.manual_seed(2)
    expected = features(clean, None, lengths, config)[0]
    torch.manual_seed(2)
    changed = features(clean.masked_fill(outside, 1e6), None, lengths, config)[0]
    assert not expected.masked_fill(~outside, 0).any() and not torch.equal(expected, clean)
    assert torch.equal(changed.masked_fill(outside, 0), expected)


@pytest.mark.parametrize("effect", [*WAVEFORM_EFFECTS, "all"])
def test_silence_and_the_shortest_of_utterances_stay_finite(effect):
    torch.manual_seed(1)
    config = only(**(ALL if effect == "all" else WAVEFORM_EFFECTS[effect]))
    for batch in (torch.zeros(3, 2000), torch.ones(3, 1), torch.ones(1, 2)):
        changed, lengths = augment.waveforms(batch, whole(batch), config)
        assert changed.isfinite().all() and lengths.min() >= 1 and lengths.max() <= changed.shape[1]
        assert changed.dtype == torch.float32 and (batch.any() or changed.abs().max() < 1e-6)


def augmented(seed):
    torch.manual_seed(seed)
    speech = tones(440, count=4)
    waveforms, _ = augment.waveforms(speech, whole(speech), AugmentConfig(**ALL))
    mel = torch.arange(40.0).expand(4, 3, 100, 40)
    mixed = augment.mixup(mel, None, torch.full((4,), 100), torch.eye(4), alpha=0.4)
    return [waveforms, features(mel, None, torch.full((4,), 100), AugmentConfig(**ALL))[0], mixed[3]]


def test_the_same_seed_draws_the_same():
    assert all(torch.equal(a, b) for a, b in zip(augmented(1), augmented(1)))
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in zip(augmented(1), augmented(2)))


def test_the_batch_that_was_given_stays_as_it_is():
    batch, mel, lengths, targets = tones(440, count=4), torch.ones(4, 1, 100, 40), torch.full((4,), 100), torch.eye(4)
    for effect in WAVEFORM_EFFECTS.values():
        augment.waveforms(batch, whole(batch), only(**effect))
    features(mel, None, lengths, AugmentConfig(**ALL))
    augment.mixup(mel, None, lengths, targets, alpha=1.0)
    assert torch.equal(batch, tones(440, count=4)) and (mel == 1).all() and torch.equal(targets, torch.eye(4))


# Refusal

@pytest.mark.parametrize("name, value, remedy", [
    ("speeds", (), r"\(1.0,\)"), ("speeds", (1.0, 0.0), r"\(1.0,\)"), ("speeds", (float("nan"),), r"\(1.0,\)"),
    ("noise_probability", 1.5, "Use 0"), ("room_probability", -0.1, "Use 0"), ("babble_probability", 2.0, "Use 0"),
    ("codec_probability", float("nan"), "Use 0"),
    ("noise_snr_db", (30.0, 10.0), "Swap"), ("babble_snr_db", (30.0, 10.0), "Swap"),
    ("room_direct_db", (6.0, 0.0), "Swap"), ("room_rt60_seconds", (0.5, 0.2), "Swap"),
    ("noise_snr_db", (0.0, float("inf")), "finite"), ("room_rt60_seconds", (0.0, 0.5), "room_probability=0"),
    ("shift_seconds", -1.0, "Use 0"), ("gain_db", float("inf"), "Use 0"), ("band_shift", -1, "Use 0"),
    ("warp", 0.6, "Use 0"), ("warp", -0.1, "Use 0"), ("mixup_alpha", -0.2, "Use 0"), ("time_masks", -1, "Use 0"),
    ("time_mask_frames", -1, "Use 0"), ("band_masks", -1, "Use 0"), ("band_mask_bands", -1, "Use 0"),
])
def test_settings_that_make_no_sense_are_refused_with_a_remedy(name, value, remedy):
    with pytest.raises(SettingError, match=rf"augment\.{name}=.*must .*{remedy}"):
        AugmentConfig(**{name: value})
