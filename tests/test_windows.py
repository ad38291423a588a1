import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
import torch
from recorded import RATE, SHORT_WINDOWS, assert_alike, built, by_hand, noise
from torch import nn

from emotion import Analyzer, checkpoint, flow, labels, models
from emotion.analyzer import Recording, WindowConfig
from emotion.blocks import Reach
from emotion.features import Frontend, FrontendConfig
from emotion.heads import HeadConfig
from emotion.timeline import SegmentConfig

# recordings longer than a window

@pytest.mark.parametrize("seconds", [2.0, 2.01, 3.5, 3.51, 5.03, 7.777])
@pytest.mark.parametrize("windows", [SHORT_WINDOWS, WindowConfig(length_seconds=1.0, hop_seconds=0.99)])
def test_windows_give_the_steps_of_one_long_pass_without_a_gap(tiny, seconds, windows):
    whole = Analyzer(tiny, "cpu").analyze(noise(seconds), RATE)
    answer = Analyzer(tiny, "cpu", windows=windows).analyze(noise(seconds), RATE)
    num_frames = round(seconds * RATE) // 160 + 1
    assert len(answer.step_times) == len(whole.step_times) == -(-num_frames // 8)
    assert len(answer.step_probabilities) == len(answer.step_times)
    assert answer.step_times == pytest.approx(0.03 + 0.08 * np.arange(len(answer.step_times)))


def test_a_step_is_that_of_the_window_that_holds_it_farther_from_its_border(tiny):
    waveform = noise(6.0)
    steps = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS).analyze(waveform, RATE).step_probabilities
    windows = by_hand(Analyzer(tiny, "cpu"), waveform)
    assert len(windows) == 4
    for step in range(len(steps)):
        depths = {}  # of the step in each window that holds it; the recording's own ends are no border
        for k, (first, answer) in enumerate(windows):
            left, right = step - first, first + len(answer.step_times) - 1 - step
            if left >= 0 and right >= 0:
                depths[k] = min(left if k > 0 else 999, right if k < 3 else 999)
        deepest = [k for k, depth in depths.items() if depth >= max(depths.values()) - 1]  # two in the middle
        expected = [windows[k][1].step_probabilities[step - windows[k][0]] for k in deepest]
        assert any(np.allclose(steps[step], probabilities, atol=1e-5) for probabilities in expected), step


def test_the_probabilities_of_a_long_recording_are_the_mean_over_windows_by_their_steps(tiny):
    tiny.model.head.classifier.weight.data *= 100  # windows differ
    waveform = noise(3.0)
    answer = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS).analyze(waveform, RATE)
    (_, first), (_, second) = by_hand(Analyzer(tiny, "cpu"), waveform)
    kept = 18 + 3  # the hop, and half of the 7 steps that both hold
    expected = np.average([first.probabilities, second.probabilities], axis=0, weights=[kept, 38 - kept])
    assert answer.probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("block", [700, 16_000, 50_000])
def test_the_blocks_a_recording_is_read_in_change_nothing(tiny, block):
    waveform = noise(4.0)
    cut = Recording("blocks", lambda: (waveform[i : i + block] for i in range(0, len(waveform), block)))
    ask = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS)
    (answer,) = ask.run([cut])
    assert_alike(answer, ask.analyze(waveform, RATE))


def test_memory_does_not_grow_with_the_recording(tiny, monkeypatch):
    monkeypatch.setattr(flow, "GROUP_SECONDS", 4.0)
    monkeypatch.setattr(flow, "PIECE_SECONDS", 4.0)
    ask = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS)
    block = noise(1.0)

    def peak(seconds: int) -> int:
        """Bytes that NumPy and Python held at once while `seconds` of audio were heard."""
        tracemalloc.start()
        try:
            (answer,) = ask.run([Recording("long", lambda: (block.copy() for _ in range(seconds)))])
            assert answer.duration_seconds == seconds
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # what is loaded once
    assert peak(32) - peak(8) < 4 * RATE * 2  # 24 s more heard, less than 2 s more held


def test_windows_shorter_than_a_step_are_refused(tiny):
    with pytest.raises(ValueError, match="leave gaps. Raise length_seconds"):
        Analyzer(tiny, windows=WindowConfig(length_seconds=0.05, hop_seconds=0.04))


@pytest.mark.parametrize("config", [
    lambda: WindowConfig(length_seconds=math.inf), lambda: SegmentConfig(smoothing_seconds=math.nan),
    lambda: SegmentConfig(shortest_seconds=math.inf),
])
def test_lengths_that_are_not_finite_are_refused(config):
    with pytest.raises(ValueError, match="must be finite"):
        config()


@pytest.mark.parametrize("hop", [0.0, 2.0, 3.0])
def test_windows_that_do_not_overlap_are_refused(hop):
    with pytest.raises(ValueError, match="Lower hop_seconds"):
        WindowConfig(length_seconds=2.0, hop_seconds=hop)


# when

class Loudest(nn.Module):
    """Stands for a network: its steps are the loudest of `width` frames."""

    config = HeadConfig()

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.reach = Reach().through(width, width)

    def forward(self, mel, prosody, lengths):
        level = nn.functional.max_pool2d(mel[:, :1], (self.width, mel.shape[3]), ceil_mode=True)[:, 0]
        logits = torch.cat([level, -level], dim=2)
        return models.Output(logits.mean(1), logits, -(-lengths // self.width), None, {"embedding": level.mean(1)})


@pytest.mark.parametrize("width", [1, 4, 7])
def test_a_click_is_heard_at_the_step_nearest_to_it(width):
    frontend = FrontendConfig(normalisation="global", deltas=False)
    plain = checkpoint.build("serial", {}, frontend, labels.Scheme("two", {"anger": "anger", "fear": "fear"}))
    plain.frontend.mean.fill_(np.log(frontend.floor))  # silence is 0, as padding is
    plain.frontend.deviation.fill_(30)
    ask = Analyzer(dataclasses.replace(plain, model=Loudest(width)), "cpu", windows=SHORT_WINDOWS)
    for seconds in (0.2, 0.514, 1.7, 2.93, 3.6):
        waveform = np.zeros(4 * RATE, np.float32)
        waveform[round(seconds * RATE)] = 0.9
        answer = ask.analyze(waveform, RATE)
        heard = answer.step_times[answer.step_probabilities[:, 0].argmax()]
        assert heard == pytest.approx(seconds, abs=0.0051 * width)  # half a step of `width` frames


def forget(model: nn.Module) -> nn.Module:
    """The network without memory, so that a step hears its own patch of spectrogram alone."""
    for lstm in (module for module in model.modules() if isinstance(module, nn.LSTM)):
        for name, weight in lstm.named_parameters():
            _, forget_gate, *_ = weight.data.chunk(4)
            if name.startswith("weight_hh"):
                weight.data.zero_()
            elif name.startswith("weight_ih"):
                forget_gate.zero_()
            else:
                forget_gate.fill_(-1e4)
    return model


@pytest.mark.parametrize("name", [name for name in models.MODELS if not models.MODELS[name].uses_prosody])
def test_the_clicks_that_reach_a_step_lie_around_its_time(name):
    """Prosody is relative to the whole utterance: there a click is everywhere."""
    each = built(name)
    frontend = Frontend(FrontendConfig(num_bands=16, normalisation="global"))  # else a click is everywhere
    ask = Analyzer(dataclasses.replace(each, model=forget(each.model), frontend=frontend), "cpu")
    times = np.arange(0.02, 0.88, 0.01)
    clicks = np.zeros((len(times) + 1, round(0.9 * RATE)), np.float32)
    clicks[np.arange(len(times)), np.round(times * RATE).astype(int)] = 0.9
    *heard, silence = ask.analyze(list(clicks), RATE)
    middle = int(np.abs(silence.step_times - 0.45).argmin())
    changes = [answer.step_probabilities[middle] - silence.step_probabilities[middle] for answer in heard]
    reached = times[np.abs(changes).max(1) > 1e-6]
    assert 0.1 < reached.min() and reached.max() < 0.8  # all that reach it are among the clicks
    assert (reached.min() + reached.max()) / 2 == pytest.approx(silence.step_times[middle], abs=0.0051)
