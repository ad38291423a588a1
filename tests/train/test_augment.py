import dataclasses

import numpy as np
import pytest
import torch

from emotion.settings import SettingError
from emotion.train import augment
from emotion.train.augment import AugmentConfig

OFF = AugmentConfig(gain_db=0, noise_probability=0, speeds=(1.0,), time_masks=0, band_masks=0)
RATE = 16_000
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


def tones(frequency, seconds=0.5, count=1):
    times = torch.arange(round(seconds * RATE)) / RATE
    return (0.3 * torch.sin(2 * torch.pi * frequency * times)).repeat(count, 1)


def whole(batch):
    return torch.full((len(batch),), batch.shape[1])


def decibels(ratio):
    return 10 * torch.log10(ratio)


def power(batch):
    return batch.double().square().mean(-1)


def level_at(batch, frequency):
    """Power of a tone of that many hertz in each row, where its periods fit in."""
    times = torch.arange(batch.shape[1], dtype=torch.float64) / RATE
    wave = torch.exp(2j * torch.pi * frequency * times)
    return 2 * (batch.double() * wave).mean(1).abs().square()


def stretches(zeros):
    """(start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], zeros.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2]))


# Known answers

@pytest.mark.parametrize("decibel", [-12.0, 0.0, 20.0])
def test_a_tilt_lifts_high_tones_over_low_ones_and_keeps_the_loudness(decibel):
    two = tones(200) + tones(7800)
    tilted = augment.tilt(two, whole(two), torch.tensor([decibel]))
    lifted = decibels(level_at(tilted, 7800) / level_at(tilted, 200)).item()
    assert lifted == pytest.approx(decibel * 7600 / 8000, abs=0.3)
    assert power(tilted).item() == pytest.approx(power(two).item(), rel=1e-3)


def test_nothing_is_left_above_the_edge_of_a_low_pass():
    two = tones(1000) + tones(6000)
    passed = augment.low_pass(two, whole(two), torch.tensor([5000.0]), RATE)
    assert level_at(passed, 1000).item() == pytest.approx(level_at(two, 1000).item(), rel=1e-3)
    assert level_at(passed, 6000).item() < 1e-6 * level_at(two, 6000).item()


def test_a_tone_stands_at_one_frequency_at_the_asked_distance():
    torch.manual_seed(1)
    batch = torch.randn(40, 8000)
    tone = augment.add_tone(batch, whole(batch), torch.full((40,), 12.0), RATE) - batch
    assert decibels(power(batch) / power(tone)).numpy() == pytest.approx(12, abs=0.01)
    spectrum = torch.fft.rfft(tone * torch.hann_window(8000)).abs().square()
    places = spectrum.argmax(1)
    near = torch.stack([row[max(0, at - 3) : at + 4].sum() / row.sum() for row, at in zip(spectrum, places)])
    assert near.min() > 0.99
    hertz = places * RATE / 8000
    assert 45 < hertz.min() < 200 and 2000 < hertz.max() <= RATE / 2


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


def test_noise_is_drawn_from_its_range_of_distances():
    torch.manual_seed(1)
    speech = tones(440, 0.05, count=500)
    config = only(noise_probability=1.0, noise_snr_db=(5.0, 15.0))
    noise = augment.waveforms(speech, whole(speech), config)[0] - speech
    snr_db = decibels(power(speech) / power(noise))
    assert 4.99 < snr_db.min() < 5.5 and 14.5 < snr_db.max() < 15.01


def test_noise_goes_on_to_the_end_of_a_long_utterance():
    speech = tones(440, seconds=5, count=2)
    noise = augment.add_noise(speech, whole(speech), torch.zeros(2)) - speech
    halves = power(noise.unflatten(1, (10, -1)))   # ten of half a second; the slowest pink swings move them a little
    assert halves.min() > 0.2 * power(speech).min()


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize("effect", ["room", "noise", "babble", "codec"])
def test_that_share_of_the_utterances_is_changed(effect, share):
    torch.manual_seed(1)
    speech = tones(440, 0.02, count=400)
    changed, _ = augment.waveforms(speech, whole(speech), only(**{f"{effect}_probability": share}))
    rows = (changed != speech).any(1)
    assert rows.float().mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / 400) ** 0.5)


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_babble_has_the_asked_distance_to_the_speech(snr_db):
    torch.manual_seed(1)
    batch, lengths = torch.randn(6, 4000), torch.tensor([4000, 3999, 4000, 3000, 3500, 4000])
    rows = torch.tensor([1, 3])
    batch[torch.arange(4000) >= lengths[:, None]] = 70.0
    babble = augment.add_babble(batch, lengths, rows, torch.full((2,), snr_db)) - batch[rows]
    for row, noise in zip(rows, babble):
        ratio = power(batch[row, : lengths[row]]) / power(noise[: lengths[row]])
        assert decibels(ratio).item() == pytest.approx(snr_db, abs=0.1) and not noise[lengths[row]:].any()


def test_babble_is_three_to_seven_others_and_never_oneself():
    frequencies, counts = torch.arange(10) * 100 + 400, set()
    speech = torch.cat([tones(frequency) for frequency in frequencies])
    for seed in range(12):
        torch.manual_seed(seed)
        babble = augment.add_babble(speech, whole(speech), torch.arange(10), torch.zeros(10)) - speech
        heard = torch.stack([level_at(babble, frequency) for frequency in frequencies], 1) > 1e-4
        assert not heard.diagonal().any() and len(set(heard.sum(1).tolist())) == 1
        counts.add(heard.sum(1)[0].item())
    assert counts == {3, 4, 5, 6, 7}


def test_babble_is_rolled_in_time():
    torch.manual_seed(1)
    speech = torch.zeros(2, 1000)
    speech[:, 0] = 1.0   # two clicks
    starts = {augment.add_babble(speech, whole(speech), torch.tensor([0]), torch.zeros(1))[0, 1:].argmax().item()
              for _ in range(20)}
    assert len(starts) > 15 and max(starts) - min(starts) > 600


def test_one_who_is_alone_hears_no_babble():
    speech = tones(440)
    assert torch.equal(augment.add_babble(speech, whole(speech), torch.tensor([0]), torch.zeros(1)), speech)


def click(at, seconds=1.0, count=1):
    batch = torch.zeros(count, round(seconds * RATE))
    batch[:, at] = 0.5
    return batch


@pytest.mark.parametrize("rt60_seconds", [0.2, 0.5, 0.8])
def test_the_echoes_of_a_click_fall_by_sixty_decibels_in_the_reverberation_time(rt60_seconds):
    torch.manual_seed(1)
    clicks = click(0, seconds=2 * rt60_seconds, count=4)
    heard = augment.reverberate(clicks, whole(clicks), torch.full((4,), rt60_seconds), torch.zeros(4), RATE)
    remaining = heard[:, 1:].double().square().flip(1).cumsum(1).flip(1)   # Schroeder's backward integration
    for row in decibels(remaining / remaining[:, :1]):
        first, last = (row < -5).nonzero()[0].item(), (row < -35).nonzero()[0].item()   # T30 of ISO 3382
        assert 2 * (last - first) / RATE == pytest.approx(rt60_seconds, rel=0.05)


@pytest.mark.parametrize("direct_db", [-3.0, 0.0, 12.0])
def test_the_direct_path_is_that_much_stronger_than_all_echoes(direct_db):
    response = augment.impulse_response(torch.tensor([0.3]), torch.tensor([direct_db]), 8000, RATE)[0]
    assert decibels(response[0].square() / response[1:].square().sum()).item() == pytest.approx(direct_db, abs=0.01)


def test_a_room_neither_delays_nor_rings_ahead():
    clicks = click(5000, count=3)
    heard = augment.reverberate(clicks, whole(clicks), torch.tensor([0.2, 0.5, 2.0]), torch.full((3,), 6.0), RATE)
    assert heard.shape == clicks.shape and heard[:, :5000].abs().max() < 1e-5
    assert (heard.abs().argmax(1) == 5000).all() and (heard[:, 5000] > 0.3).all()


def test_a_room_is_as_loud_as_the_speech_was():
    batch, lengths = tones(440, count=3), torch.tensor([8000, 5000, 200])
    heard = augment.reverberate(batch, lengths, torch.full((3,), 0.5), torch.zeros(3), RATE)
    for before, after, length in zip(batch, heard, lengths):
        assert power(after[:length]).item() == pytest.approx(power(before[:length]).item(), rel=1e-3)


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


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050])
@pytest.mark.parametrize("frequency, through", [
    (100, False), (240, False), (360, True), (1020, True), (3340, True), (3460, False), (3900, False), (6000, False),
])
def test_a_telephone_lets_through_300_to_3400_hertz(frequency, through, rate):
    times = torch.arange(rate) / rate
    if frequency < rate / 2:
        heard = augment.telephone(0.3 * torch.sin(2 * torch.pi * frequency * times)[None], torch.tensor([rate]), rate)
        middle = heard[0, rate // 4 : -rate // 4]   # a tone that begins at once is wider than a tone
        level_db = decibels(power(middle) / (0.3**2 / 2)).item()
        assert level_db == pytest.approx(0, abs=0.1) if through else level_db < -50


def test_no_noise_of_the_quantiser_lies_outside_the_telephone_band():
    torch.manual_seed(1)
    speech = 0.1 * torch.randn(4, RATE)
    spectrum = torch.fft.rfft(augment.telephone(speech, whole(speech), RATE) * torch.hann_window(RATE)).abs().square()
    total = spectrum.sum(1)   # a bin is 1 Hz
    assert (decibels(spectrum[:, :250].sum(1) / total) < -50).all()
    assert (decibels(spectrum[:, 3450:].sum(1) / total) < -50).all()


@pytest.mark.parametrize("amplitude", [0.9, 0.3, 0.03])
def test_mu_law_is_as_good_for_the_soft_as_for_the_loud(amplitude):
    tone = amplitude / 0.3 * tones(1020, seconds=1)
    error = (augment.telephone(tone, whole(tone), RATE) - tone)[0, 4000:12_000]
    assert 33 < decibels(power(tone) / power(error)).item() < 43   # 38 dB over the whole range, ITU-T G.712


def test_a_line_that_is_overdriven_clips():
    loud = 10 * tones(1020, seconds=1)
    heard = augment.telephone(loud, whole(loud), RATE)[0, 4000:12_000]
    assert 0.9 < power(heard).sqrt() < 1.1 and heard.abs().max() < 1.5   # a square wave with one overtone left


def test_a_silent_line_is_silent():
    speech = torch.zeros(2, 8000)
    assert augment.telephone(speech, whole(speech), RATE).abs().max() < 1e-6


def test_a_shift_puts_zeros_at_an_end_or_cuts_it():
    batch, lengths = torch.arange(1.0, 41).reshape(2, 20), torch.tensor([20, 16])
    moved, lengths = augment.shift(batch, lengths, torch.tensor([2, -3]), torch.tensor([-1, 2]))
    assert lengths.tolist() == [21, 15] and moved.shape == (2, 21)
    assert moved[0].tolist() == [0, 0, *range(1, 20)]
    assert moved[1].tolist() == [*range(24, 37), *[0] * 8]   # what was in the padding is silent


def test_a_shift_leaves_at_least_half_of_an_utterance():
    batch, before = torch.rand(5, 100), torch.tensor([100, 51, 8, 3, 1])
    cut, lengths = augment.shift(batch, before, torch.full((5,), -60), torch.full((5,), -60))
    assert lengths.tolist() == [50, 27, 4, 3, 1]
    for row, clean, was, now in zip(cut, batch, before, lengths):
        assert torch.equal(row[:now], clean[was // 4 : was // 4 + now])


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
    assert lengths.tolist() == [7272, 3636] and faster[1, 3500:3630].abs().max() > 0.29
    assert not faster[1, 3636:].any()


def test_every_speed_is_drawn():
    torch.manual_seed(1)
    batch, config = torch.ones(2, 100), only(speeds=(0.5, 1.0, 2.0))
    assert {augment.waveforms(batch, whole(batch), config)[1][0].item() for _ in range(20)} == {200, 100, 50}


def masked(config, lengths):
    """Which frames and which bands SpecAugment set to 0: two (batch, ...) arrays of bool."""
    torch.manual_seed(1)
    mel = augment.features(torch.ones(len(lengths), 2, 200, 40), None, lengths, config)[0]
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
    mel, prosody = augment.features(torch.ones(3, 2, 200, 40), contours, lengths, config)
    hidden = (mel == 0).all(dim=(1, 3))
    assert hidden.any(1).all() and torch.equal(prosody[~hidden], contours[~hidden])
    for row, length in enumerate(lengths):
        mean = contours[row, :length].mean(0).expand(int(hidden[row].sum()), 7)
        torch.testing.assert_close(prosody[row, hidden[row]], mean)


def test_every_shift_of_the_bands_in_the_range_is_drawn():
    torch.manual_seed(1)
    moved = augment.features(line(30).repeat(200, 1, 1, 1), None, torch.full((200,), 5), only(band_shift=3))[0]
    assert set(moved[:, 0, 0].argmax(1).tolist()) == set(range(27, 34))


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_a_warp_moves_what_is_at_a_band_to_the_band_times_the_factor(factor):
    bands = torch.arange(64.0)
    hill = torch.exp(-(bands - 30).square() / 8)[None, None, None]
    warped = augment.warp_bands(hill, torch.tensor([factor]))[0, 0, 0]
    assert ((warped * bands).sum() / warped.sum()).item() == pytest.approx(30 * factor, abs=0.3)
    slope = augment.warp_bands(bands[None, None, None], torch.tensor([factor]))[0, 0, 0]
    torch.testing.assert_close(slope, (bands / factor).clamp(max=63))   # a straight line shows the interpolation


def test_a_warp_of_one_changes_nothing():
    mel = torch.randn(2, 3, 5, 64)
    assert torch.equal(augment.warp_bands(mel, torch.ones(2)), mel)


def test_the_factor_of_a_warp_is_drawn_from_its_range_for_each_utterance():
    torch.manual_seed(1)
    mel = torch.arange(64.0).expand(300, 1, 2, 64)
    warped = augment.features(mel, None, torch.full((300,), 2), only(warp=0.2))[0]
    factors = 20 / warped[:, 0, 0, 20]
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
    assert augment.features(mel, None, frames, OFF)[0] is mel
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
    expected = augment.features(clean, None, lengths, config)[0]
    torch.manual_seed(2)
    changed = augment.features(clean.masked_fill(outside, 1e6), None, lengths, config)[0]
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
    return [waveforms, augment.features(mel, None, torch.full((4,), 100), AugmentConfig(**ALL))[0], mixed[3]]


def test_the_same_seed_draws_the_same():
    assert all(torch.equal(a, b) for a, b in zip(augmented(1), augmented(1)))
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in zip(augmented(1), augmented(2)))


def test_the_batch_that_was_given_stays_as_it_is():
    batch, mel, lengths, targets = tones(440, count=4), torch.ones(4, 1, 100, 40), torch.full((4,), 100), torch.eye(4)
    for effect in WAVEFORM_EFFECTS.values():
        augment.waveforms(batch, whole(batch), only(**effect))
    augment.features(mel, None, lengths, AugmentConfig(**ALL))
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
