import io
import math
from array import array
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from recorded import RATE, SHORT_WINDOWS, assert_alike, built, by_hand, folder, noise, saved

from emotion import Analyzer, Timeline, audio, checkpoint, engine, flow, labels, models
from emotion.analyzer import FileError, Recording
from emotion.calibration import Calibration
from emotion.timeline import SegmentConfig, Span


@pytest.fixture(params=models.MODELS)
def each(request) -> checkpoint.Checkpoint:
    """Every registered model."""
    return built(request.param)


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


def test_hardly_any_speech_in_a_long_recording_is_none(small, voice):
    said = np.concatenate([voice[: RATE // 2], np.zeros(60 * RATE, np.float32)])   # 0.4 s of it is heard
    assert "no_speech" in small.analyze(said, RATE).flags
    assert "no_speech" not in small.analyze(said[: 10 * RATE], RATE).flags
