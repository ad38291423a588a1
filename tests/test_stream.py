from contextlib import suppress

import numpy as np
import pytest
import torch
from recorded import RATE, SHORT_WINDOWS, assert_alike, noise

from emotion import Analyzer, audio


@pytest.mark.parametrize("seconds", [0.5, 2.0, 2.01, 5.0])
@pytest.mark.parametrize("block", [333, 16_000, 200_000])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_stream_gives_the_steps_and_the_answer_of_the_whole_recording(tiny, seconds, block, rate):
    ask = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS)
    waveform = noise(seconds, rate=rate)
    whole, stream = ask.analyze(waveform, rate), ask.stream(rate)
    steps = [step for i in range(0, len(waveform), block) for step in stream.feed(waveform[i : i + block])]
    assert_alike(stream.close(), whole)
    if rate == RATE:  # a resampler holds the last of it back
        assert len(steps) == (0 if seconds <= 2 else round((seconds - 2.0) / 1.44 + 0.5) * 18 + 3)
    for step, time, probabilities, speech in zip(
        steps, whole.step_times, whole.step_probabilities, whole.step_speech
    ):
        assert step.time_seconds == pytest.approx(time) and step.speech == pytest.approx(speech, abs=1e-4)
        assert step.probabilities == pytest.approx(probabilities, abs=1e-4)


def test_a_step_is_final_within_the_delay_that_a_stream_tells(tiny):
    stream = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS).stream(RATE)
    assert 1.5 < stream.delay_seconds < 2.0
    waits = []
    for i, start in enumerate(range(0, 8 * RATE, 160), 1):
        waits += [i * 160 / RATE - step.time_seconds for step in stream.feed(noise(8.0)[start : start + 160])]
    later = waits[21:]  # the steps before the first seam wait for the first window to fill
    assert max(waits) == pytest.approx(stream.first_delay_seconds, abs=0.1)
    assert max(later) <= stream.delay_seconds + 0.01 and max(later) > stream.delay_seconds - 0.1


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("when", [0, 2])
def test_what_interrupts_a_stream_costs_it_nothing(tiny, monkeypatch, error, when):
    """As Ctrl-C does `emotion listen`, while the model is at work."""
    ask = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS)
    waveform, answer, count = noise(7.0), ask._answer, iter(range(100))
    whole, stream, steps = ask.analyze(waveform, RATE), ask.stream(RATE), []

    def interrupted(batch):
        if next(count) == when:
            raise error
        answer(batch)

    monkeypatch.setattr(ask, "_answer", interrupted)
    for start in range(0, len(waveform), 10_000):
        with suppress(error):
            steps += stream.feed(waveform[start : start + 10_000])
    assert_alike(stream.close(), whole)
    assert [step.time_seconds for step in steps] == pytest.approx(whole.step_times[: len(steps)])
    assert all(step.probabilities == pytest.approx(p, abs=1e-4)
               for step, p in zip(steps, whole.step_probabilities)) and len(steps) > 30


def test_blocks_of_a_stream_are_what_analyze_takes(small):
    stream, blocks = small.stream(RATE), torch.randn(3, 2, 4000, dtype=torch.float64) / 10
    for block in (blocks[0].bfloat16(), blocks[1].requires_grad_(), blocks[2]):
        stream.feed(block)
    assert stream.close().duration_seconds == pytest.approx(3 * 4000 / RATE)
    with pytest.raises(audio.AudioError, match="parts of unequal length"):
        small.stream(RATE).feed([[0.1, 0.2], [0.1]])


def test_a_closed_or_silent_stream_is_refused(small):
    stream = small.stream(RATE)
    assert stream.feed(np.zeros(0)) == []
    for _ in range(2):
        with pytest.raises(audio.AudioError, match="Feed some first"):
            stream.close()
    with pytest.raises(ValueError, match="Begin another"):
        stream.feed(noise(0.5))
    stream = small.stream(RATE)
    stream.feed(noise(0.5))
    assert stream.close().duration_seconds == stream.close().duration_seconds == 0.5
    with pytest.raises(ValueError, match="Begin another"):
        stream.feed(noise(0.5))


@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize("channels_first", [True, False])
def test_blocks_may_be_shorter_than_there_are_channels(small, rate, channels_first):
    stereo = np.stack([noise(0.5, 1), noise(0.5, 2)])
    stream, cuts = small.stream(rate), np.cumsum([0, 100, 2, 1, 2, 0, 1, stereo.shape[1]])
    for first, last in zip(cuts, cuts[1:]):
        stream.feed(stereo[:, first:last] if channels_first else stereo[:, first:last].T)
    assert_alike(stream.close(), small.analyze(stereo, rate))
