import pytest
import torch
from signals import RATE, click, decibels, power, tones, whole

from emotion.train import effects


def level_at(batch, frequency):
    """Power of a tone of that many hertz in each row, where its periods fit in."""
    times = torch.arange(batch.shape[1], dtype=torch.float64) / RATE
    wave = torch.exp(2j * torch.pi * frequency * times)
    return 2 * (batch.double() * wave).mean(1).abs().square()


@pytest.mark.parametrize("decibel", [-12.0, 0.0, 20.0])
def test_a_tilt_lifts_high_tones_over_low_ones_and_keeps_the_loudness(decibel):
    two = tones(200) + tones(7800)
    tilted = effects.tilt(two, whole(two), torch.tensor([decibel]))
    lifted = decibels(level_at(tilted, 7800) / level_at(tilted, 200)).item()
    assert lifted == pytest.approx(decibel * 7600 / 8000, abs=0.3)
    assert power(tilted).item() == pytest.approx(power(two).item(), rel=1e-3)


def test_nothing_is_left_above_the_edge_of_a_low_pass():
    two = tones(1000) + tones(6000)
    passed = effects.low_pass(two, whole(two), torch.tensor([5000.0]), RATE)
    assert level_at(passed, 1000).item() == pytest.approx(level_at(two, 1000).item(), rel=1e-3)
    assert level_at(passed, 6000).item() < 1e-6 * level_at(two, 6000).item()


def test_a_tone_stands_at_one_frequency_at_the_asked_distance():
    torch.manual_seed(1)
    batch = torch.randn(40, 8000)
    tone = effects.add_tone(batch, whole(batch), torch.full((40,), 12.0), RATE) - batch
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
    noise = effects.add_noise(batch, lengths, torch.full((6,), snr_db)) - batch
    for row, clean, length in zip(noise, batch, lengths):
        power = clean[:length].double().square().sum() / row[:length].double().square().sum()
        assert decibels(power).item() == pytest.approx(snr_db, abs=0.1)


def test_noise_leaves_the_padding_untouched():
    batch, lengths = tones(440, count=3), torch.tensor([8000, 4000, 100])
    noisy = effects.add_noise(batch, lengths, torch.zeros(3))
    for row, clean, length in zip(noisy, batch, lengths):
        assert torch.equal(row[length:], clean[length:])


def test_noise_in_silence_is_silent():
    assert not effects.add_noise(torch.zeros(2, 100), torch.tensor([100, 50]), torch.zeros(2)).any()


def test_the_colour_of_the_noise_lies_between_white_and_pink():
    torch.manual_seed(1)
    speech = tones(440, seconds=1, count=32)
    noise = effects.add_noise(speech, whole(speech), torch.zeros(32)) - speech
    power = torch.fft.rfft(noise.double()).abs().square()[:, 50:].log()
    frequency = torch.arange(50, 50 + power.shape[1]).double().log()
    frequency = (frequency - frequency.mean()) / (frequency - frequency.mean()).square().sum()
    slopes = power @ frequency   # of log power over log frequency: 0 is white, -1 pink
    assert -1.1 < slopes.min() < -0.9 and -0.1 < slopes.max() < 0.1


def test_noise_goes_on_to_the_end_of_a_long_utterance():
    speech = tones(440, seconds=5, count=2)
    noise = effects.add_noise(speech, whole(speech), torch.zeros(2)) - speech
    halves = power(noise.unflatten(1, (10, -1)))   # ten of half a second; the slowest pink swings move them a little
    assert halves.min() > 0.2 * power(speech).min()


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_babble_has_the_asked_distance_to_the_speech(snr_db):
    torch.manual_seed(1)
    batch, lengths = torch.randn(6, 4000), torch.tensor([4000, 3999, 4000, 3000, 3500, 4000])
    rows = torch.tensor([1, 3])
    batch[torch.arange(4000) >= lengths[:, None]] = 70.0
    babble = effects.add_babble(batch, lengths, rows, torch.full((2,), snr_db)) - batch[rows]
    for row, noise in zip(rows, babble):
        ratio = power(batch[row, : lengths[row]]) / power(noise[: lengths[row]])
        assert decibels(ratio).item() == pytest.approx(snr_db, abs=0.1) and not noise[lengths[row]:].any()


def test_babble_is_three_to_seven_others_and_never_oneself():
    frequencies, counts = torch.arange(10) * 100 + 400, set()
    speech = torch.cat([tones(frequency) for frequency in frequencies])
    for seed in range(12):
        torch.manual_seed(seed)
        babble = effects.add_babble(speech, whole(speech), torch.arange(10), torch.zeros(10)) - speech
        heard = torch.stack([level_at(babble, frequency) for frequency in frequencies], 1) > 1e-4
        assert not heard.diagonal().any() and len(set(heard.sum(1).tolist())) == 1
        counts.add(heard.sum(1)[0].item())
    assert counts == {3, 4, 5, 6, 7}


def test_babble_is_rolled_in_time():
    torch.manual_seed(1)
    speech = torch.zeros(2, 1000)
    speech[:, 0] = 1.0   # two clicks
    starts = {effects.add_babble(speech, whole(speech), torch.tensor([0]), torch.zeros(1))[0, 1:].argmax().item()
              for _ in range(20)}
    assert len(starts) > 15 and max(starts) - min(starts) > 600


def test_one_who_is_alone_hears_no_babble():
    speech = tones(440)
    assert torch.equal(effects.add_babble(speech, whole(speech), torch.tensor([0]), torch.zeros(1)), speech)


@pytest.mark.parametrize("rt60_seconds", [0.2, 0.5, 0.8])
def test_the_echoes_of_a_click_fall_by_sixty_decibels_in_the_reverberation_time(rt60_seconds):
    torch.manual_seed(1)
    clicks = click(0, seconds=2 * rt60_seconds, count=4)
    heard = effects.reverberate(clicks, whole(clicks), torch.full((4,), rt60_seconds), torch.zeros(4), RATE)
    remaining = heard[:, 1:].double().square().flip(1).cumsum(1).flip(1)   # Schroeder's backward integration
    for row in decibels(remaining / remaining[:, :1]):
        first, last = (row < -5).nonzero()[0].item(), (row < -35).nonzero()[0].item()   # T30 of ISO 3382
        assert 2 * (last - first) / RATE == pytest.approx(rt60_seconds, rel=0.05)


@pytest.mark.parametrize("direct_db", [-3.0, 0.0, 12.0])
def test_the_direct_path_is_that_much_stronger_than_all_echoes(direct_db):
    response = effects.impulse_response(torch.tensor([0.3]), torch.tensor([direct_db]), 8000, RATE)[0]
    assert decibels(response[0].square() / response[1:].square().sum()).item() == pytest.approx(direct_db, abs=0.01)


def test_a_room_neither_delays_nor_rings_ahead():
    clicks = click(5000, count=3)
    heard = effects.reverberate(clicks, whole(clicks), torch.tensor([0.2, 0.5, 2.0]), torch.full((3,), 6.0), RATE)
    assert heard.shape == clicks.shape and heard[:, :5000].abs().max() < 1e-5
    assert (heard.abs().argmax(1) == 5000).all() and (heard[:, 5000] > 0.3).all()


def test_a_room_is_as_loud_as_the_speech_was():
    batch, lengths = tones(440, count=3), torch.tensor([8000, 5000, 200])
    heard = effects.reverberate(batch, lengths, torch.full((3,), 0.5), torch.zeros(3), RATE)
    for before, after, length in zip(batch, heard, lengths):
        assert power(after[:length]).item() == pytest.approx(power(before[:length]).item(), rel=1e-3)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050])
@pytest.mark.parametrize("frequency, through", [
    (100, False), (190, False), (310, True), (1020, True), (3390, True), (3510, False), (3900, False), (6000, False),
])
def test_a_telephone_lets_through_300_to_3400_hertz(frequency, through, rate):
    times = torch.arange(rate) / rate
    if frequency < rate / 2:
        heard = effects.telephone(0.3 * torch.sin(2 * torch.pi * frequency * times)[None], torch.tensor([rate]), rate)
        middle = heard[0, rate // 4 : -rate // 4]   # a tone that begins at once is wider than a tone
        level_db = decibels(power(middle) / (0.3**2 / 2)).item()
        assert level_db == pytest.approx(0, abs=0.1) if through else level_db < -50


def test_a_model_slower_than_a_telephone_hears_what_it_can():
    tone = 0.3 * torch.sin(2 * torch.pi * 1000 * torch.arange(6000) / 6000)[None]
    heard = effects.telephone(tone, whole(tone), 6000)
    assert (heard - tone)[0, 1000:5000].abs().max() < 0.02


def test_no_noise_of_the_quantiser_lies_outside_the_telephone_band():
    torch.manual_seed(1)
    speech = 0.1 * torch.randn(4, RATE)
    spectrum = torch.fft.rfft(effects.telephone(speech, whole(speech), RATE) * torch.hann_window(RATE)).abs().square()
    total = spectrum.sum(1)   # a bin is 1 Hz
    assert (decibels(spectrum[:, :200].sum(1) / total) < -50).all()
    assert (decibels(spectrum[:, 3500:].sum(1) / total) < -50).all()


@pytest.mark.parametrize("amplitude", [0.9, 0.3, 0.03])
def test_mu_law_is_as_good_for_the_soft_as_for_the_loud(amplitude):
    tone = amplitude / 0.3 * tones(1020, seconds=1)
    error = (effects.telephone(tone, whole(tone), RATE) - tone)[0, 4000:12_000]
    assert 33 < decibels(power(tone) / power(error)).item() < 43   # 38 dB over the whole range, ITU-T G.712


def test_a_line_that_is_overdriven_clips():
    loud = 10 * tones(1020, seconds=1)
    heard = effects.telephone(loud, whole(loud), RATE)[0, 4000:12_000]
    assert 0.9 < power(heard).sqrt() < 1.1 and heard.abs().max() < 1.5   # a square wave with one overtone left


def test_a_silent_line_is_silent():
    speech = torch.zeros(2, 8000)
    assert effects.telephone(speech, whole(speech), RATE).abs().max() < 1e-6


def test_a_shift_puts_zeros_at_an_end_or_cuts_it():
    batch, lengths = torch.arange(1.0, 41).reshape(2, 20), torch.tensor([20, 16])
    moved, lengths = effects.shift(batch, lengths, torch.tensor([2, -3]), torch.tensor([-1, 2]))
    assert lengths.tolist() == [21, 15] and moved.shape == (2, 21)
    assert moved[0].tolist() == [0, 0, *range(1, 20)]
    assert moved[1].tolist() == [*range(24, 37), *[0] * 8]   # what was in the padding is silent


def test_a_shift_leaves_at_least_half_of_an_utterance():
    batch, before = torch.rand(5, 100), torch.tensor([100, 51, 8, 3, 1])
    cut, lengths = effects.shift(batch, before, torch.full((5,), -60), torch.full((5,), -60))
    assert lengths.tolist() == [50, 27, 4, 3, 1]
    for row, clean, was, now in zip(cut, batch, before, lengths):
        assert torch.equal(row[:now], clean[was // 4 : was // 4 + now])


@pytest.mark.parametrize("speed", [0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch_by_its_factor(speed):
    faster, lengths = effects.perturb_speed(tones(1000, seconds=1), torch.tensor([RATE]), speed)
    assert lengths.item() == int(RATE / speed) and abs(faster.shape[1] - RATE / speed) <= 1
    middle = faster[0, 2000:10_000] * torch.hann_window(8000)
    assert torch.fft.rfft(middle).abs().argmax() * RATE / 8000 == pytest.approx(1000 * speed, abs=1)
    assert faster[0, 2000:10_000].square().mean() == pytest.approx(0.3**2 / 2, rel=0.01)   # as loud as before


def test_speed_ends_each_utterance_where_its_length_says():
    batch, lengths = tones(1000, count=2), torch.tensor([8000, 4000])
    batch[1, 4000:] = 0
    faster, lengths = effects.perturb_speed(batch, lengths, 1.1)
    assert lengths.tolist() == [7272, 3636] and faster[1, 3500:3630].abs().max() > 0.29
    assert not faster[1, 3636:].any()
