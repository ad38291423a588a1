import dataclasses
import io
import json
import math
import tracemalloc
from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from emotion import Analyzer, Timeline, audio, checkpoint, engine, flow, labels, models
from emotion.analyzer import FileError, Recording, WindowConfig
from emotion.blocks import Reach
from emotion.calibration import Calibration
from emotion.features import Frontend, FrontendConfig
from emotion.heads import HeadConfig
from emotion.timeline import SegmentConfig, Span

RATE = 16_000
SHORT_WINDOWS = WindowConfig(length_seconds=2.0, hop_seconds=1.5)


@pytest.fixture
def small(tiny) -> Analyzer:
    return Analyzer(tiny, "cpu")


def built(name: str) -> checkpoint.Checkpoint:
    """That model with its own defaults, untrained, calibrated to nothing in particular."""
    torch.manual_seed(1)
    return checkpoint.build(
        name, {}, FrontendConfig(num_bands=16, prosody=models.MODELS[name].uses_prosody), labels.scheme("mini5"),
        calibration=Calibration(utterance=2.0, step=0.5),
    )


@pytest.fixture(params=models.MODELS)
def each(request) -> checkpoint.Checkpoint:
    """Every registered model."""
    return built(request.param)


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise whose loudness comes and goes, so that steps differ."""
    rng, samples = np.random.default_rng(seed), round(seconds * rate)
    loudness = rng.uniform(size=4 * samples // rate + 1).repeat(-(-rate // 4))[:samples]
    return (0.2 * loudness * rng.normal(size=samples)).astype(np.float32)


def saved(path: Path, waveform: np.ndarray) -> Path:
    soundfile.write(path, waveform, RATE, subtype="FLOAT", format="WAV")
    return path


def assert_alike(a: Timeline, b: Timeline) -> None:
    assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
    assert a.step_probabilities == pytest.approx(b.step_probabilities, abs=1e-5)
    assert np.array_equal(a.step_times, b.step_times)
    assert (a.labels, a.duration_seconds, a.flags) == (b.labels, b.duration_seconds, b.flags)


def folder(path: Path, names: str = "b.wav a.wav c/a.wav broken.wav") -> Path:
    for seed, name in enumerate(names.split()):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"RIFF") if name == "broken.wav" else saved(file, noise(0.7, seed))
    return path


# what can be asked

def test_a_path_a_file_object_and_an_array_get_the_same_answer(small, tmp_path):
    waveform = noise(1.0)
    path = saved(tmp_path / "a.wav", waveform)
    expected = small.analyze(waveform, sample_rate=RATE)
    with open(path, "rb") as file:
        for source in (path, str(path), file, io.BytesIO(path.read_bytes())):
            assert_alike(small.analyze(source), expected)
    assert small.analyze(path).name == str(path)


@pytest.mark.parametrize("layout", [
    lambda x: torch.from_numpy(x), lambda x: x.astype(np.float64), lambda x: x[None], lambda x: x[:, None],
    lambda x: np.stack([x, x]), lambda x: np.stack([x, x], axis=1), lambda x: x.tolist(),
    lambda x: np.stack([1.5 * x, 0.5 * x]),
])
def test_every_layout_of_an_array_gets_the_same_answer(small, layout):
    waveform = noise(0.5)
    assert_alike(small.analyze(layout(waveform), RATE), small.analyze(waveform, RATE))


def test_integers_are_heard_by_their_full_scale(small):
    waveform = np.round(noise(0.5) * 32768).astype(np.int16)
    assert_alike(small.analyze(waveform, RATE), small.analyze(waveform / np.float32(32768), RATE))


def test_an_array_is_resampled_from_its_own_rate_to_the_models(small):
    waveform = noise(0.5, rate=44_100)
    heard = audio.from_array(waveform, 44_100, RATE)
    assert_alike(small.analyze(waveform, 44_100), small.analyze(heard, RATE))


def test_a_list_is_answered_in_order_with_a_file_error_in_the_place_of_a_bad_one(small, tmp_path):
    good, bad = saved(tmp_path / "good.wav", noise(0.6)), tmp_path / "none.wav"
    answers = small.analyze([bad, good, str(good)])
    assert answers[0] == FileError(str(bad), "no such file. Relative paths start at the working directory.")
    assert [answer.name for answer in answers[1:]] == [str(good)] * 2
    assert small.analyze([]) == []


def test_what_is_no_recording_has_its_error_in_a_list(small, tmp_path):
    good = saved(tmp_path / "good.wav", noise(0.6))
    answers = small.analyze([good, None, math.nan, good, "x" * 300 + ".wav"])
    assert [type(answer) for answer in answers] == [Timeline, FileError, FileError, Timeline, FileError]
    assert answers[1].name == "array 1" and "None of type NoneType is no recording. Give a path" in answers[1].reason


def test_an_open_file_may_stand_in_a_list_twice(tiny, tmp_path):
    ask = Analyzer(tiny, "cpu", threads=3)
    expected = ask.analyze(saved(tmp_path / "a.wav", noise(3.0)))
    with open(tmp_path / "a.wav", "rb") as file:
        for _ in range(3):
            for answer in ask.analyze([file] * 8):
                assert_alike(answer, expected)


@pytest.mark.parametrize("several", [tuple, set, np.array, lambda paths: dict.fromkeys(paths).keys()])
def test_what_holds_paths_is_answered_as_a_list(small, tmp_path, several):
    paths = [str(saved(tmp_path / name, noise(0.5))) for name in ("a.wav", "b.wav")]
    answers = small.analyze(several(paths))
    assert isinstance(answers, list) and sorted(answer.name for answer in answers) == paths


@pytest.mark.parametrize("source, match", [
    (None, "NoneType is no recording. Give a path"), (3, "int is no recording"), ((noise(0.1), RATE), "not a pair"),
    (b"RIFF\0\0\0\0WAVE", r"give io.BytesIO\(content\)"), (array("f", [0.1] * 99), r"np.asarray\(samples\)"),
    (memoryview(noise(0.1)), "memoryview may hold"), ({"array": noise(0.1), "sampling_rate": RATE}, "two arguments"),
])
def test_what_is_no_recording_is_refused(small, source, match):
    with pytest.raises(TypeError, match=match):
        small.analyze(source, RATE)


def test_an_analyzer_tells_what_it_is(small):
    assert repr(small) == f"Analyzer(serial, 5 emotions, cpu, {small.fingerprint})"


def test_nothing_to_embed_is_refused(small):
    with pytest.raises(ValueError, match="no recordings to embed"):
        small.embed([])


def test_arrays_in_a_list_share_their_rate_and_are_named_by_position(small):
    answers = small.analyze([noise(0.3), noise(0.4), np.full(9, np.nan)], sample_rate=RATE)
    assert [answer.name for answer in answers] == ["array 0", "array 1", "array 2"]
    assert isinstance(answers[2], FileError)


def test_a_folder_is_answered_in_sorted_order_with_bad_files_in_place(small, tmp_path):
    answers = list(small.analyze(folder(tmp_path)))
    assert [Path(a.name).relative_to(tmp_path).as_posix() for a in answers] == [
        "a.wav", "b.wav", "broken.wav", "c/a.wav"]
    assert [type(answer) for answer in answers] == [Timeline, Timeline, FileError, Timeline]


def test_a_folder_yields_its_first_answer_before_the_last_file_is_read(small, tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "GROUP_SECONDS", 1.0)
    answers = small.analyze(folder(tmp_path, "a.wav b.wav c.wav d.wav"))
    assert isinstance(next(answers), Timeline)
    (tmp_path / "d.wav").write_bytes(b"written over since")
    assert [type(answer) for answer in answers] == [Timeline, Timeline, FileError]


def test_left_out_the_model_is_the_one_that_comes_with_the_package(small, tiny, tmp_path, monkeypatch):
    checkpoint.write(tiny, tmp_path / "model.safetensors")
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path / "model.safetensors")
    for packaged in (Analyzer(), Analyzer("bundled")):
        assert_alike(packaged.analyze(noise(0.5), RATE), small.analyze(noise(0.5), RATE))


def test_an_analyzer_tells_its_labels_rate_and_step(small):
    assert (small.labels, small.sample_rate) == (labels.scheme("mini5").classes, RATE)
    assert small.step_seconds == pytest.approx(8 * 0.010)  # the stem and two pools halve time


def test_the_spectrogram_is_the_front_ends_log_mel(small):
    mel, _ = small.checkpoint.frontend.log_mel(torch.from_numpy(noise(0.5))[None], torch.tensor([RATE // 2]))
    assert np.array_equal(small.spectrogram(noise(0.5)), mel[0, 0].numpy())


@pytest.mark.parametrize("seconds", [0.004, 0.7, 1.5, 4.3])
def test_spectrogram_and_pitch_of_a_long_recording_are_those_of_its_pieces(small, voice, seconds, monkeypatch):
    waveform = np.tile(voice, 4)[: round(seconds * RATE)]
    whole = small.spectrogram(waveform), small.pitch(waveform)
    monkeypatch.setattr(engine, "PIECE_SECONDS", 0.9)
    mel, f0_hz = small.spectrogram(waveform), small.pitch(waveform)
    assert mel.shape == whole[0].shape and np.abs(mel - whole[0]).max() < 1e-4
    assert f0_hz == pytest.approx(whole[1], rel=1e-3) and (f0_hz > 0).any() == (seconds > 0.5)


# the same answer in any company

def test_a_recording_scores_the_same_alone_in_a_list_and_beside_longer_ones(each):
    ask = Analyzer(each, "cpu")
    waveforms = [noise(seconds, seed) for seed, seconds in enumerate((0.9, 0.2, 2.3))]
    for waveform, answer in zip(waveforms, ask.analyze(waveforms, RATE)):
        assert_alike(answer, ask.analyze(waveform, RATE))


def test_a_recording_in_one_window_gets_the_models_calibrated_utterance_output(each):
    answer = Analyzer(each, "cpu").analyze(noise(1.0), RATE)
    with torch.inference_mode():
        output = each.model.eval()(*each.frontend(torch.from_numpy(noise(1.0))[None], torch.tensor([RATE])))
    utterance, steps = (output.logits[0] / 2.0).softmax(0), (output.step_logits[0] / 0.5).softmax(1)
    assert answer.probabilities == pytest.approx(utterance.numpy(), abs=1e-5)
    assert answer.step_probabilities == pytest.approx(steps.numpy(), abs=1e-5)


def test_the_batch_a_window_falls_into_changes_nothing(tiny, monkeypatch):
    ask = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS)
    expected = ask.analyze([noise(5.3), noise(0.4)], RATE)
    monkeypatch.setattr(flow, "BATCH_SECONDS", 0.1)
    monkeypatch.setattr(flow, "GROUP_SECONDS", 2.5)
    for answer, other in zip(ask.analyze([noise(5.3), noise(0.4)], RATE), expected):
        assert_alike(answer, other)


def test_below_the_confidence_that_the_model_states_the_answer_is_unknown(tiny):
    plain = Analyzer(tiny, "cpu").analyze(noise(1.0), RATE)
    for threshold, label in ((plain.confidence + 0.01, "unknown"), (plain.confidence - 0.01, plain.label)):
        model = tiny.with_calibration(Calibration(unknown_below=threshold))
        answer = Analyzer(model, "cpu").analyze(noise(1.0), RATE)
        assert answer.label == label and answer.confidence == pytest.approx(plain.confidence)
        assert answer.segments == plain.segments   # the confidence is one of whole recordings


def test_an_embedding_is_what_the_last_layer_sees(each, tmp_path):
    ask = Analyzer(each, "cpu")
    embedding = ask.embed(noise(1.0), RATE)
    with torch.inference_mode():
        output = each.model.eval()(*each.frontend(torch.from_numpy(noise(1.0))[None], torch.tensor([RATE])))
    assert embedding == pytest.approx(output.heads["embedding"][0].numpy(), abs=1e-5)
    several = ask.embed([noise(1.0), noise(0.5, 1)], RATE)
    assert several.shape == (2, len(embedding)) and several[0] == pytest.approx(embedding, abs=1e-5)
    assert ask.embed(folder(tmp_path, "a.wav b.wav")).shape == several.shape
    with pytest.raises(audio.AudioError, match="Leave it out"):
        ask.embed([noise(1.0), np.full(9, np.nan)], RATE)


def test_the_embedding_of_a_long_recording_is_the_mean_over_its_windows(tiny):
    waveform = noise(3.0)
    (_, first), (_, second) = by_hand(Analyzer(tiny, "cpu"), waveform)
    expected = np.average([first.embedding, second.embedding], axis=0, weights=[21, 17])
    assert Analyzer(tiny, "cpu", windows=SHORT_WINDOWS).embed(waveform, RATE) == pytest.approx(expected, abs=1e-5)


def test_the_dimensions_of_a_recording_are_the_models_utterance_output_and_those_of_its_steps(rating):
    ask, waveform = Analyzer(rating, "cpu", speech=None), noise(2.0)
    answer = ask.analyze(waveform, RATE)
    with torch.inference_mode():
        features = rating.frontend(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        heads = rating.model.eval()(*features).heads
    assert ask.dimensions == tuple(answer.dimensions) == ("valence", "arousal")
    assert list(answer.dimensions.values()) == pytest.approx(heads["dimensions"][0].tolist(), abs=1e-5)
    assert answer.step_dimensions == pytest.approx(heads["step_dimensions"][0].numpy(), abs=1e-5)
    assert np.ptp(answer.step_dimensions, axis=0).min() > 0.02


def test_the_dimensions_of_a_long_recording_are_the_mean_over_windows_by_their_steps(rating):
    waveform = np.concatenate([noise(2.0), noise(2.0, seed=7) * 0.1])
    ask = Analyzer(rating, "cpu", windows=SHORT_WINDOWS, speech=None)
    whole, stream = ask.analyze(waveform, RATE), ask.stream(RATE)
    steps = [step for i in range(0, len(waveform), 999) for step in stream.feed(waveform[i : i + 999])]
    assert whole.step_dimensions.shape == (len(whole.step_times), 2)
    assert np.array([step.dimensions for step in steps]) == pytest.approx(whole.step_dimensions[: len(steps)], abs=1e-5)
    assert stream.close().dimensions == pytest.approx(whole.dimensions, abs=1e-5)
    job = ask._job(Recording("a", lambda: [waveform]))
    while not job.complete:
        ask._answer(job.read(10 * RATE))
    _, speech, _ = job.joined()
    shares = [len(part) for part in speech]
    expected = np.average([said.dimensions for said in job.said], axis=0, weights=shares)
    assert len(shares) == 3 and list(whole.dimensions.values()) == pytest.approx(expected, abs=1e-5)


def test_turns_have_their_own_dimensions(rating):
    ask, waveform = Analyzer(rating, "cpu"), noise(3.0)
    answer = ask.analyze(waveform, RATE, spans=[Span(0, 1), Span(1, 3)])
    alone = [ask.analyze(part, RATE).dimensions for part in (waveform[:RATE], waveform[RATE:])]
    for part, expected in zip(answer.segments, alone, strict=True):
        assert part.dimensions == pytest.approx(tuple(expected.values()), abs=1e-5)
    assert answer.dimensions == pytest.approx(
        {name: (alone[0][name] + 2 * alone[1][name]) / 3 for name in alone[0]}, abs=1e-5)
    assert answer.step_dimensions.shape == (len(answer.step_times), 2)


def test_a_model_of_classes_alone_has_no_dimensions(small):
    answer = small.analyze(noise(1.0), RATE)
    assert small.dimensions == () and answer.dimensions == {} and answer.step_dimensions is None


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


def by_hand(ask: Analyzer, waveform: np.ndarray) -> list[tuple[int, Timeline]]:
    """(first step, answer) of each window: 2.0 s every 1.44 s, which is 1.5 s in whole steps of 0.08 s"""
    starts = range(0, len(waveform) - round(0.56 * RATE), round(1.44 * RATE))
    return [(start // 1280, ask.analyze(waveform[start : start + 2 * RATE], RATE)) for start in starts]


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


# where somebody speaks

def test_segments_leave_out_where_nobody_speaks(small, voice):
    silence = np.zeros(3 * RATE, np.float32)
    answer = small.analyze(np.concatenate([silence, voice, silence]), RATE)
    first, last = answer.segments[0], answer.segments[-1]
    assert first.start_seconds == pytest.approx(3.0, abs=0.3)
    assert last.end_seconds == pytest.approx(3.0 + len(voice) / RATE, abs=0.3)
    spoken = answer.step_speech > 0.5
    assert spoken[(answer.step_times > 3.3) & (answer.step_times < 2.7 + len(voice) / RATE)].mean() > 0.7
    assert not spoken[answer.step_times < 2.9].any() and answer.flags == ()


def test_a_window_counts_by_what_is_spoken_in_it(tiny, voice):
    tiny.model.head.classifier.weight.data *= 100  # windows differ
    waveform = np.concatenate([voice, np.zeros(round(4.0 * RATE), np.float32)])
    answer = Analyzer(tiny, "cpu", windows=SHORT_WINDOWS).analyze(waveform, RATE)
    windows = [timeline for _, timeline in by_hand(Analyzer(tiny, "cpu"), waveform)]
    silent = [timeline.probabilities for timeline in windows if (timeline.step_speech < 0.5).all()]
    everywhere = np.mean([timeline.probabilities for timeline in windows], axis=0)
    assert silent and np.abs(answer.probabilities - everywhere).max() > 0.01
    spoken = [timeline.probabilities for timeline in windows if (timeline.step_speech >= 0.5).any()]
    low, high = np.min(spoken, axis=0), np.max(spoken, axis=0)
    assert (answer.probabilities >= low - 1e-5).all() and (answer.probabilities <= high + 1e-5).all()


def test_without_a_search_for_speech_all_is_speech(tiny):
    answer = Analyzer(tiny, "cpu", speech=None).analyze(noise(1.0), RATE)
    assert answer.flags == () and (answer.step_speech == 1).all()
    assert (answer.segments[0].start_seconds, answer.segments[-1].end_seconds) == (0, 1)


def test_the_speech_of_a_recording_is_the_same_alone_and_beside_others(small, voice):
    alone = small.analyze(voice[:30_000], RATE)
    _, beside = small.analyze([voice, voice[:30_000]], RATE)
    assert beside.step_speech == pytest.approx(alone.step_speech, abs=1e-5)


# as it comes

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


# channels and spans

def test_each_channel_gets_the_answer_it_gets_alone(small, tmp_path):
    left, right = noise(1.0, 1), noise(1.0, 2)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    for source in (tmp_path / "two.wav", np.stack([left, right])):
        answers = small.analyze(source, RATE, channels="separate")
        assert [answer.channel for answer in answers] == [1, 2]
        for answer, waveform in zip(answers, (left, right)):
            assert_alike(answer, small.analyze(waveform, RATE))
    answers = small.analyze([tmp_path / "two.wav", left], RATE, channels="separate")
    assert [(Path(answer.name).name, answer.channel) for answer in answers] == [
        ("two.wav", 1), ("two.wav", 2), ("array 1", 1)]
    half = small.analyze([np.stack([left, np.full_like(left, np.nan)])], RATE, channels="separate")
    assert [(type(answer), answer.channel) for answer in half] == [(Timeline, 1), (FileError, 2)]
    broken = small.analyze([tmp_path / "none.wav"], channels="separate")
    assert [type(answer) for answer in broken] == [FileError]
    assert len(list(small.analyze(tmp_path, channels="separate"))) == 2
    assert small.analyze(left, RATE).channel is None


def test_spans_are_answered_as_utterances_by_themselves(small, tmp_path):
    waveform = noise(3.0)
    saved(tmp_path / "a.wav", waveform)
    turns = [Span(1.5, 3.0, "B"), Span(0.25, 2.0, "A")]
    for source in (tmp_path / "a.wav", waveform):
        answer = small.analyze(source, RATE, spans=turns)
        assert [(part.start_seconds, part.end_seconds, part.speaker) for part in answer.segments] == [
            (0.25, 2.0, "A"), (1.5, 3.0, "B")]
        alone = [small.analyze(waveform[round(a * RATE) : round(b * RATE)], RATE) for a, b in ((0.25, 2), (1.5, 3))]
        for part, expected in zip(answer.segments, alone):
            assert part.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
            assert (part.label, part.confidence) == (expected.label, max(part.probabilities))
        expected = np.average([one.probabilities for one in alone], axis=0, weights=[1.75, 1.5])
        assert answer.probabilities == pytest.approx(expected, abs=1e-5)
        assert answer.duration_seconds == 3.0 and len(answer.step_times) == len(answer.step_probabilities)
        assert answer.step_times[0] == pytest.approx(0.25 + 0.03)


class Pipe(io.RawIOBase):
    """What cannot be read twice."""

    def __init__(self, content: bytes):
        self.read = io.BytesIO(content).read


@pytest.mark.parametrize("opened", [io.BytesIO, Pipe])
def test_an_open_file_is_read_apart_by_all_who_ask_for_a_part_of_it(tiny, tmp_path, opened):
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([noise(20.0, 1), noise(20.0, 2)], axis=1), RATE)
    analyzer, content = Analyzer(tiny, "cpu", threads=4), path.read_bytes()
    expected, found = (analyzer.analyze(source, channels="separate") for source in (path, opened(content)))
    spans = [Span(i, i + 2.5) for i in range(17)]
    expected += [analyzer.analyze(path, spans=spans)]
    found += [analyzer.analyze(opened(content), spans=spans)]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.step_probabilities, other.step_probabilities, atol=1e-5)


@pytest.mark.parametrize("ending, exact", [("wav", True), ("flac", True), ("mp3", False)])
def test_turns_of_what_cannot_be_sought_are_cut_from_one_decoding(tiny, tmp_path, monkeypatch, ending, exact):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(9.0), RATE)
    spans, read, starts = [Span(i, i + 1.5) for i in range(6)], audio.read, []
    one_by_one = [Analyzer(tiny, "cpu").analyze(read(path, RATE, s.start_seconds, s.end_seconds), RATE) for s in spans]
    monkeypatch.setattr(audio, "read", lambda source, rate, *span: starts.append(span) or read(source, rate, *span))
    answer = Analyzer(tiny, "cpu").analyze(path, spans=spans)
    assert len(starts) == (len(spans) if exact else 1)
    for part, alone in zip(answer.segments, one_by_one, strict=True):
        assert part.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
    with pytest.raises(audio.AudioError, match=f"a.{ending}.*Give one inside it"):
        Analyzer(tiny, "cpu").analyze(path, spans=[Span(8.0, 20.0)])


def test_turns_without_speech_neither_flag_a_recording_nor_count_in_it(tiny, voice):
    tiny.model.head.classifier.weight.data *= 100   # turns differ
    analyzer, seconds = Analyzer(tiny, "cpu"), len(voice) / RATE
    waveform = np.concatenate([voice, np.zeros(5 * RATE, np.float32)])
    spoken, short, silent = Span(0.0, seconds), Span(0.5, 0.58), Span(seconds + 1, seconds + 4)
    alone = analyzer.analyze(waveform, RATE, spans=[spoken])
    assert alone.flags == ()
    together = analyzer.analyze(waveform, RATE, spans=[spoken, silent])
    assert together.flags == () and together.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    assert analyzer.analyze(waveform, RATE, spans=[spoken, short]).flags == ()
    assert analyzer.analyze(waveform, RATE, spans=[silent]).flags == ("no_speech", "silent")


def test_times_are_plain_numbers_whatever_spans_are_made_of(small):
    answer = small.analyze(noise(2.0), RATE, spans=[Span(np.float32(0), np.int64(1))])
    assert json.loads(json.dumps(answer.to_dict()))["segments"][0]["end_seconds"] == 1.0


@pytest.mark.parametrize("samples", range(16_000, 18_048, 128))
def test_the_last_segment_ends_with_the_recording(tiny, samples):
    answer = Analyzer(tiny, "cpu", speech=None).analyze(noise(samples / RATE), RATE)
    assert answer.segments[-1].end_seconds == pytest.approx(samples / RATE, abs=0.0006)


@pytest.mark.parametrize("ask, match", [
    (lambda small: small.analyze(noise(1), RATE, channels="left"), "mix, separate"),
    (lambda small: small.analyze([noise(1)], RATE, spans=[Span(0, 1)]), "Analyze one"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(0, 1)], channels="separate"), "channels='mix'"),
    (lambda small: small.analyze(noise(1), RATE, spans=[]), "Leave spans out"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(2, 3)]), "Give one inside it"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(0, 2)]), "Give one inside it"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(-1, 1)]), "begins before 0"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(math.nan, 1)]), "begins before 0"),
])
def test_what_cannot_be_asked_together_is_refused(small, ask, match):
    with pytest.raises(ValueError, match=match):
        ask(small)


def test_spans_of_another_kind_are_refused(small):
    with pytest.raises(TypeError, match="emotion.timeline.Span"):
        small.analyze(noise(1), RATE, spans=[(0, 1)])


# flags, errors, options

@pytest.mark.parametrize("waveform, flags", [
    (noise(0.5), ("no_speech",)), (noise(0.49), ("no_speech", "short")), (np.zeros(RATE), ("no_speech", "silent")),
    (np.clip(20 * noise(1.0), -1, 1), ("no_speech", "clipped")),
])
def test_what_is_wrong_with_a_recording_is_flagged(small, waveform, flags):
    assert small.analyze(waveform, RATE).flags == flags


def test_shortest_seconds_of_the_segments_is_obeyed(tiny):
    tiny.model.head.classifier.weight.data *= 100  # restless
    one = Analyzer(tiny, "cpu", segments=SegmentConfig(shortest_seconds=60), speech=None).analyze(noise(3.0), RATE)
    many = Analyzer(tiny, "cpu", segments=SegmentConfig(smoothing_seconds=0, shortest_seconds=0), speech=None)
    assert len(one.segments) == 1 < len(many.analyze(noise(3.0), RATE).segments)


@pytest.mark.parametrize("source", [np.zeros(9), [np.zeros(9)], [0.0, 0.1], torch.zeros(9)])
def test_an_array_without_its_rate_is_refused(small, source):
    with pytest.raises(ValueError, match=r"Call analyze\(waveform, sample_rate=...\)"):
        small.analyze(source)


def test_one_bad_file_is_refused_by_name(small, tmp_path):
    with pytest.raises(audio.AudioError, match="none.wav: no such file"):
        small.analyze(tmp_path / "none.wav")


def test_a_recording_too_short_to_be_resampled_is_a_file_error(small, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1), 48_000)
    with pytest.raises(audio.AudioError, match="1 samples at 48000 Hz are 0 at 16000 Hz"):
        small.analyze(tmp_path / "a.wav")
    assert [type(answer) for answer in small.analyze(tmp_path)] == [FileError]


def test_a_device_may_be_named_or_given(tiny):
    assert Analyzer(tiny, torch.device("cpu")).device == Analyzer(tiny, "cpu").device == torch.device("cpu")


def test_a_model_that_is_lent_to_an_analyzer_stays_as_it_is(tiny, voice):
    tiny.model.train()
    weights = {name: value.data_ptr() for name, value in tiny.model.state_dict().items()}
    ask = Analyzer(tiny, "cpu")
    ask.analyze(voice, RATE)
    assert tiny.model.training and ask.checkpoint.fingerprint == tiny.fingerprint
    assert {name: value.data_ptr() for name, value in tiny.model.state_dict().items()} == weights


def test_how_it_listens_is_settled_once(small):
    for name in ("windows", "segments", "speech"):
        with pytest.raises(AttributeError):
            setattr(small, name, None)
    with pytest.raises(TypeError, match="speech=False must be a SpeechConfig, or None"):
        Analyzer(small.checkpoint, "cpu", speech=False)


def test_a_default_type_that_models_do_not_have_is_named():
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(checkpoint.CheckpointError, match=r"makes torch.float64.*set_default_dtype\(torch.f"):
            Analyzer()
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_empty_name_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        Analyzer("")


def test_spectrogram_and_pitch_take_what_analyze_takes(small, voice):
    whole = np.round(voice * 2**15).astype(np.int16)
    for compute in (small.spectrogram, small.pitch):
        expected = compute(whole / np.float32(2**15))
        for alike in (whole, torch.from_numpy(whole), np.stack([whole, whole]), whole[::-1][::-1]):
            assert compute(alike) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("device", ["tpu", "", "cpu:x"])
def test_an_unknown_device_is_refused(tiny, device):
    with pytest.raises(ValueError, match="Choose auto"):
        Analyzer(tiny, device)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="experiment folder whose training has finished"):
        Analyzer(tmp_path)


def test_speech_in_noise_is_flagged(small, voice):
    said = np.concatenate([np.zeros(RATE), voice, np.zeros(RATE)]).astype(np.float32)
    hiss = np.random.default_rng(1).normal(size=len(said)).astype(np.float32)
    level = float(np.sqrt(np.square(voice).mean()))
    quiet, loud = (small.analyze(said + share * level * hiss, RATE).flags for share in (0.01, 0.5))
    assert "noisy" not in quiet and "noisy" in loud


def test_reduced_precision_moves_probabilities_by_less_than_a_hundredth(tiny, voice):
    exact, reduced = (Analyzer(tiny, "cpu", precision=name).analyze(voice, RATE) for name in ("float32", "bfloat16"))
    assert 0 < np.abs(exact.probabilities - reduced.probabilities).max() < 0.01
    assert np.abs(exact.step_probabilities - reduced.step_probabilities).max() < 0.02
    assert reduced.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_precision_that_nobody_computes_in_is_refused(tiny):
    with pytest.raises(ValueError, match="precision='int1' must be one of float32, bfloat16"):
        Analyzer(tiny, "cpu", precision="int1")
