import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion import Analyzer, audio, checkpoint, labels, prosody
from emotion.calibration import Calibration
from emotion.checkpoint import BUNDLED
from emotion.cli import main
from emotion.detector import SpeechDetector
from emotion.export import TOLERANCES, export
from emotion.exported import Exported
from emotion.features import FrontendConfig
from emotion.models import MODELS
from emotion.models.parallel import FUSIONS
from emotion.speech import CHUNK, CHUNK_SECONDS

onnx = pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("onnxruntime", reason="needs the export extra")

LSTM = {"lstm_width": 8, "transformer_heads": 2}
CNN = {"channels": [4, 8], "pools": [[1, 2], [2, 2]], "stem_stride": [2, 2], "features": 8, **LSTM}
CONV3D = {"channels": [4, 8], "patch_frames": 5, "features": 8, **LSTM}
BUILT = {
    "serial": ("serial", CNN, {}),
    "serial with everything": ("serial", {
        **CNN, "se": True, "transformer_layers": 2, "lstm_layers": 2, "lstm_residual": True, "bottleneck": 2,
        "bands": "average", "pooling": "statistics", "sex_head": True, "dimensions": ["arousal", "valence"],
    }, {}),
    "serial of one way": ("serial", {**CNN, "bidirectional": False, "pooling": "last"}, {}),
    "cnn": ("serial", {**CNN, "lstm_layers": 0, "pooling": "mean"}, {}),
    "lstm": ("lstm", {"features": 8, "stacked_frames": 3, **LSTM}, {}),
    "conv3d": ("conv3d", CONV3D, {}),
    "conv3d with more": ("conv3d", {**CONV3D, "se": True, "transformer_layers": 1}, {}),
    "no deltas": ("serial", CNN, {"deltas": False}),
    "utterance": ("serial", CNN, {"normalisation": "utterance"}),
    "speaker": ("lstm", {"features": 8, **LSTM}, {"normalisation": "speaker"}),
    "8 kHz": ("serial", CNN, {"sample_rate": 8000, "high_hz": 4000.0}),
    **{fusion: ("parallel", {**CNN, "prosody_features": 6, "fusion": fusion, "dimensions": ["arousal"]},
                {"prosody": True}) for fusion in FUSIONS},
}
SECONDS = (1.9, 0.73, 0.02)
OTHERS = (
    "av", "lightning", "librosa", "matplotlib", "omegaconf", "onnx", "pandas", "safetensors", "scipy", "silero_vad",
    "sklearn", "torch", "torchaudio", "tqdm", "yaml",
)
PROBABILITY_TOLERANCES = {"float32": 1e-4, "float16": 0.005}


def built(variant: str) -> checkpoint.Checkpoint:
    """Untrained, but its batch norms shift and its front end normalises, as after training."""
    name, options, frontend = BUILT[variant]
    torch.manual_seed(1)
    model = checkpoint.build(
        name, options, FrontendConfig(num_bands=20, **frontend), labels.scheme("mini5"),
        calibration=Calibration(1.7, 0.6, 0.3),
    )
    for module in model.model.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_(std=0.3)
    model.frontend.mean.fill_(-8.0)
    model.frontend.deviation.fill_(3.0)
    return model


@pytest.fixture(scope="module", params=BUILT)
def pair(request, tmp_path_factory) -> tuple[checkpoint.Checkpoint, Exported]:
    """A model and what was exported from it."""
    model, path = built(request.param), tmp_path_factory.mktemp("export") / "model.onnx"
    export(model, path)
    return model, Exported(path, num_threads=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The serial model, exported."""
    path = tmp_path_factory.mktemp("export") / "serial.onnx"
    export(built("serial"), path)
    return path


@pytest.fixture
def exported(path) -> Exported:
    return Exported(path, num_threads=1)


@pytest.fixture(scope="module")
def halved(tmp_path_factory) -> Exported:
    """The bundled model, exported in float16."""
    path = tmp_path_factory.mktemp("export") / "half.onnx"
    export(checkpoint.read(BUNDLED), path, "float16")
    return Exported(path, num_threads=1)


def noise(seconds, sample_rate: int, garbage: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A batch of these lengths, with that much noise in its padding."""
    rng, num_samples = np.random.default_rng(1), np.array([round(length * sample_rate) for length in seconds])
    waveforms = rng.normal(0, 0.1, (len(seconds), num_samples.max())).astype(np.float32)
    for row, count in zip(waveforms, num_samples):
        row[count:] *= garbage
    return waveforms, num_samples


@torch.inference_mode()
def by_torch(model: checkpoint.Checkpoint, waveforms, num_samples):
    output = model.model.eval()(*model.frontend(torch.from_numpy(waveforms), torch.from_numpy(num_samples)))
    utterances = model.calibration.apply_utterance(output.logits)
    return utterances.numpy(), model.calibration.apply_steps(output.step_logits).numpy(), output.step_lengths.numpy()


def surer_than(probabilities: np.ndarray, margin: float) -> np.ndarray:
    """Where the best class is that far before the next. Shape: (n, classes) -> (n,)."""
    ordered = np.sort(probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2] > margin


# known answers

def test_the_file_tells_what_the_checkpoint_tells(tmp_path):
    model = replace(built("serial"), train_speakers=("anna",), valid_speakers=("ben",), card={"licence": "MIT"})
    export(model, tmp_path / "model.onnx")
    told = Exported(tmp_path / "model.onnx")
    assert (told.name, told.labels, told.sample_rate) == ("serial", model.labels, 16_000)
    assert (told.unknown_below, told.fingerprint) == (0.3, model.fingerprint)
    assert (told.train_speakers, told.valid_speakers, told.card) == (("anna",), ("ben",), {"licence": "MIT"})
    assert told.chunk_seconds == CHUNK_SECONDS


def test_float16_is_about_half_the_size_and_says_so(path, tmp_path):
    export(built("serial"), tmp_path / "half.onnx", "float16")
    whole, half = Exported(path), Exported(tmp_path / "half.onnx")
    assert (whole.precision, half.precision) == ("float32", "float16")
    assert os.path.getsize(tmp_path / "half.onnx") < 0.6 * os.path.getsize(path)


def test_only_weights_of_network_and_detector_are_float16(tmp_path):
    export(built("early"), tmp_path / "half.onnx", "float16")
    for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer:
        is_weight = len(tensor.dims) > 1 and tensor.name.startswith(("model.", "detector."))
        assert (tensor.data_type == onnx.TensorProto.FLOAT16) == is_weight, tensor.name


def test_scores_of_one_precision_are_not_taken_for_those_of_another(tiny, tmp_path):
    fingerprints = {tiny.fingerprint}
    for precision, model in (("float32", tiny), ("float16", tiny), ("float16", built("serial"))):
        export(model, tmp_path / "model.onnx", precision)
        fingerprints.add(Exported(tmp_path / "model.onnx").fingerprint)
    assert len(fingerprints) == 3  # float32 answers as the checkpoint


def test_the_steps_stand_where_the_analyzer_puts_them(pair, rng):
    model, exported = pair
    timeline = Analyzer(model, "cpu", speech=None).analyze(rng.normal(0, 0.1, 16_000), sample_rate=16_000)
    steps = exported.first_step_seconds + np.arange(3) * exported.step_samples / exported.sample_rate
    assert timeline.step_times[:3] == pytest.approx(steps)


# fast equals slow

def test_every_model_is_tested():
    assert {name for name, _, _ in BUILT.values()} == set(MODELS)


@pytest.mark.parametrize("seconds", [SECONDS, (2.4, 2.4), (0.31,)], ids=str)
def test_onnxruntime_answers_as_pytorch(pair, seconds):
    model, exported = pair
    batch = noise(seconds, exported.sample_rate)
    answers = exported.answer(*batch)
    utterances, steps, step_lengths = by_torch(model, *batch)
    assert np.array_equal(answers.step_lengths, step_lengths)
    assert np.abs(answers.probabilities - utterances).max() < 1e-4
    for i, count in enumerate(step_lengths):
        assert np.abs(answers.step_probabilities[i, :count] - steps[i, :count]).max() < 1e-4


def test_onnxruntime_answers_the_dimensions_as_pytorch(pair):
    model, exported = pair
    waveforms, num_samples = noise(SECONDS, exported.sample_rate, garbage=10.0)
    answers = exported.answer(waveforms, num_samples)
    assert exported.dimensions == model.dimensions
    if not model.dimensions:
        assert answers.dimensions is None and answers.step_dimensions is None
        return
    with torch.inference_mode():
        heads = model.model.eval()(*model.frontend(torch.from_numpy(waveforms), torch.from_numpy(num_samples))).heads
    assert np.abs(answers.dimensions - heads["dimensions"].numpy()).max() < 1e-4
    for i, count in enumerate(answers.step_lengths):
        assert np.abs(answers.step_dimensions[i, :count] - heads["step_dimensions"][i, :count].numpy()).max() < 1e-4


def test_a_timeline_has_dimensions_from_the_file_as_from_the_checkpoint(rating, voice, tmp_path):
    export(rating, tmp_path / "model.onnx")
    found, expected = (Analyzer(model, "cpu").analyze(voice, 16_000) for model in (tmp_path / "model.onnx", rating))
    assert list(found.dimensions) == ["valence", "arousal"]
    assert found.dimensions == pytest.approx(expected.dimensions, abs=1e-4)
    assert found.step_dimensions == pytest.approx(expected.step_dimensions, abs=1e-4)


@pytest.mark.parametrize("num_samples", [1, 2, 159, 160, 161, 511, 512, 513])
def test_the_shortest_recordings_are_answered_as_by_pytorch(exported, num_samples, rng):
    batch = rng.normal(0, 0.1, (1, num_samples)).astype(np.float32), np.array([num_samples])
    assert np.abs(exported.answer(*batch).probabilities - by_torch(built("serial"), *batch)[0]).max() < 1e-4
    assert exported.answer(*batch).speech.shape == (1, -(-num_samples // CHUNK))


@pytest.mark.parametrize("variant", ["serial", "8 kHz"])
def test_speech_is_what_the_detector_hears(variant, voice, tmp_path):
    export(built(variant), tmp_path / "model.onnx")
    exported = Exported(tmp_path / "model.onnx", num_threads=1)
    heard = audio.from_array(voice, 16_000, exported.sample_rate)
    expected = SpeechDetector()(torch.from_numpy(heard)[None], exported.sample_rate).numpy()
    answers = exported.answer(heard[None], [len(heard)])
    assert np.abs(answers.speech - expected).max() < 1e-4
    assert (answers.speech > 0.5).any() and (answers.speech < 0.5).any()


def test_a_recording_is_answered_as_by_the_analyzer(exported, voice):
    timeline = Analyzer(built("serial"), "cpu").analyze(voice, 16_000)
    answers = exported.answer(voice[None], [len(voice)])
    assert np.abs(answers.probabilities[0] - timeline.probabilities).max() < 1e-4
    assert np.abs(answers.step_probabilities[0] - timeline.step_probabilities).max() < 1e-4


def test_the_pitch_of_a_voice_is_followed_as_by_pytorch(voice, tmp_path):
    model = built("early")
    model.model.cnn.contours.weight.data *= 10  # so that a wrong pitch shows
    export(model, tmp_path / "model.onnx")
    num_samples = np.array([len(voice), len(voice) // 2, len(voice) // 3])
    batch = np.stack([voice, np.roll(voice, 4000), voice[::-1]])
    answers = Exported(tmp_path / "model.onnx", num_threads=1).answer(batch, num_samples)
    assert np.abs(answers.probabilities - by_torch(model, batch, num_samples)[0]).max() < 1e-4
    model.frontend.contour_scale[:3] = 0  # deaf to pitch and voicing
    assert (np.abs(answers.probabilities - by_torch(model, batch, num_samples)[0]).max(1) > 1e-3).all()


@pytest.mark.parametrize("precision, tolerance", PROBABILITY_TOLERANCES.items())
@pytest.mark.parametrize("pattern", ["ravdess/**/*.flac", "emodb/wav/*.wav", "nemo/samples/*.opus"])
def test_real_speech_is_answered_as_by_the_bundled_model(corpora, pattern, precision, tolerance, tmp_path):
    model = checkpoint.read(BUNDLED)
    export(model, tmp_path / "model.onnx", precision)
    waveforms = [audio.read(path, 16_000) for path in sorted(corpora.glob(pattern))[::100]]
    num_samples = np.array([len(waveform) for waveform in waveforms])
    batch = np.stack([np.pad(waveform, (0, num_samples.max() - len(waveform))) for waveform in waveforms])
    answers = Exported(tmp_path / "model.onnx", num_threads=1).answer(batch, num_samples)
    utterances, steps, step_lengths = by_torch(model, batch, num_samples)
    assert np.abs(answers.probabilities - utterances).max() < tolerance
    for i, count in enumerate(step_lengths):
        assert np.abs(answers.step_probabilities[i, :count] - steps[i, :count]).max() < tolerance
    clear = surer_than(utterances, tolerance)
    assert np.array_equal(answers.probabilities.argmax(1)[clear], utterances.argmax(1)[clear])


def test_float16_answers_as_pytorch_but_for_its_rounding(halved, voice, rng):
    model, batch = checkpoint.read(BUNDLED), np.stack([voice, voice[::-1], *(rng.normal(0, 0.1, (6, len(voice))))])
    batch[2:5] += voice * np.float32([[0.5], [1], [3]])
    batch, num_samples = batch.astype(np.float32), np.full(len(batch), len(voice))
    answers, (utterances, steps, _) = halved.answer(batch, num_samples), by_torch(model, batch, num_samples)
    tolerance = PROBABILITY_TOLERANCES["float16"]
    assert 1e-6 < np.abs(answers.probabilities - utterances).max() < tolerance
    assert np.abs(answers.step_probabilities - steps).max() < tolerance
    clear = surer_than(utterances, tolerance)
    assert clear.any() and np.array_equal(answers.probabilities.argmax(1)[clear], utterances.argmax(1)[clear])


def test_the_analyzer_answers_from_the_file_as_from_the_checkpoint(path, voice):
    long = np.tile(voice, 8)  # over one window
    exported, expected = (Analyzer(model, "cpu").analyze(long, 16_000) for model in (path, built("serial")))
    for name in ("probabilities", "step_times", "step_probabilities", "step_speech"):
        assert np.abs(getattr(exported, name) - getattr(expected, name)).max() < 1e-4
    assert (exported.labels, exported.label, exported.flags) == (expected.labels, expected.label, expected.flags)
    assert [(s.start_seconds, s.label) for s in exported.segments] == [
        (s.start_seconds, s.label) for s in expected.segments
    ]


def test_a_folder_is_scored_with_numpy_soundfile_soxr_and_onnxruntime_alone(path, voice, tmp_path):
    soundfile.write(tmp_path / "voice.wav", voice, 16_000)
    code = (
        f"import sys\nfor name in {OTHERS}: sys.modules[name] = None\n"
        "from emotion.cli import main\n"
        f"sys.exit(main(['score', '.', '-o', 'scores.csv', '--model', {str(path)!r}, '--threads', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(audio.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    heard = Analyzer(built("serial"), "cpu").analyze(tmp_path / "voice.wav")
    (row,) = csv.DictReader(open(tmp_path / "scores.csv"))
    assert [float(row[f"p_{label}"]) for label in heard.labels] == pytest.approx(heard.probabilities, abs=1e-4)


# invariance

def test_neither_the_padding_nor_the_batch_changes_an_answer(pair):
    _, exported = pair
    waveforms, num_samples = noise(SECONDS, exported.sample_rate, garbage=10.0)
    together = exported.answer(waveforms, num_samples)
    for i, count in enumerate(num_samples):
        alone = exported.answer(waveforms[i : i + 1, :count], num_samples[i : i + 1])
        steps, chunks = alone.step_lengths[0], alone.speech.shape[1]
        assert together.step_lengths[i] == steps
        assert np.abs(together.probabilities[i] - alone.probabilities[0]).max() < 1e-5
        assert np.abs(together.step_probabilities[i, :steps] - alone.step_probabilities[0]).max() < 1e-5
        assert np.abs(together.speech[i, : chunks - 1] - alone.speech[0, :-1]).max(initial=0) < 1e-4


def test_exporting_leaves_the_model_and_the_exporter_as_they_were(tiny, tmp_path):
    unflatten, best_path = torch.Tensor.unflatten, prosody.best_path
    fingerprint, batch = tiny.fingerprint, noise((1.0,), 16_000)
    before = by_torch(tiny, *batch)[0]
    export(tiny, tmp_path / "model.onnx")
    assert np.array_equal(by_torch(tiny, *batch)[0], before)
    assert torch.Tensor.unflatten is unflatten and prosody.best_path is best_path
    assert tiny.fingerprint == fingerprint


def test_the_answers_come_without_torch(path):
    code = (
        "import sys, numpy as np; from emotion.exported import Exported\n"
        "answers = Exported('serial.onnx', 1).answer(np.full((1, 9000), 0.1), [9000])\n"
        "print(round(float(answers.probabilities.sum()), 4), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(audio.__file__).parents[1])},
    )
    assert done.stdout.split() == ["1.0", "False"], done.stderr


# refusal

def test_an_unknown_precision_is_refused_with_those_there_are(tiny, tmp_path):
    with pytest.raises(ValueError, match="float32, float16"):
        export(tiny, tmp_path / "model.onnx", "float8")


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_weights_too_large_for_float16_are_not_written(tiny, tmp_path):
    tiny.model.head.classifier.weight.data[0] = 1e5
    with pytest.raises(ValueError, match="Export in float32"):
        export(tiny, tmp_path / "model.onnx", "float16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, remedy", [("model.bin", "Rename it"), ("nowhere/model.onnx", "Make it first")])
def test_a_path_that_cannot_be_written_is_refused_first(tiny, tmp_path, name, remedy):
    with pytest.raises(ValueError, match=remedy):
        export(tiny, tmp_path / name)


def test_answers_other_than_pytorchs_are_not_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "float32", 0.0)
    with pytest.raises(ValueError, match="was not written"):
        export(tiny, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_refused_with_the_command_that_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="emotion export MODEL -o model.onnx"):
        Exported(tmp_path / "model.onnx")


def test_a_damaged_file_is_refused(path, tmp_path):
    whole = path.read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="Copy or export it again"):
        Exported(tmp_path / "half.onnx")


@pytest.mark.parametrize("change, remedy", [
    (None, "of another program"), ({"format": 99}, "Install a newer emotion"), ({"format": 0}, "Export it again"),
    ({"labels": None}, "other.onnx is damaged.*export it again"), ({"calibration": {}}, "is damaged.*'unknown_below'"),
])
def test_a_foreign_or_other_format_is_refused(path, tmp_path, change, remedy):
    program = onnx.load(path)
    (held,) = program.metadata_props
    if change is None:
        del program.metadata_props[:]
    else:
        held.value = json.dumps({**json.loads(held.value), **change})
    onnx.save(program, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=remedy):
        Exported(tmp_path / "other.onnx")


def test_an_utterance_without_samples_is_refused(exported):
    with pytest.raises(ValueError, match="no place for statistics"):
        exported.answer(np.zeros((1, 400)), [400], [None])
    with pytest.raises(ValueError, match="Leave it out of the batch"):
        exported.answer(np.zeros((2, 400)), [400, 0])


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_what_installs_it(tiny, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=r"emotion\[export\]"):
        export(tiny, tmp_path / "model.onnx")


def test_an_exported_model_has_no_checkpoint_to_show(path, voice):
    for asked in (lambda analyzer: analyzer.checkpoint, lambda analyzer: analyzer.spectrogram(voice)):
        with pytest.raises(ValueError, match="Give the model that it was exported from"):
            asked(Analyzer(path))


def test_an_exported_model_is_refused_in_another_precision(path):
    with pytest.raises(ValueError, match="an exported model has the one it was exported with"):
        Analyzer(path, precision="bfloat16")


def test_an_exported_model_is_refused_on_another_device(path):
    with pytest.raises(ValueError, match="Choose auto or cpu"):
        Analyzer(path, "cuda")


def test_without_pytorch_other_models_are_refused(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "emotion.engine", None)
    with pytest.raises(ModuleNotFoundError, match="emotion export"):
        Analyzer()
    assert Analyzer(path).labels == built("serial").labels


def test_the_command_writes_what_the_analyzer_reads(tmp_path, capsys):
    assert main(["export", "-o", str(tmp_path / "model.onnx")]) == 0
    assert Analyzer(tmp_path / "model.onnx").fingerprint == checkpoint.read(BUNDLED).fingerprint
    assert "model.onnx" in capsys.readouterr().out


def test_the_command_writes_in_the_precision_asked_for(halved, tmp_path):
    assert main(["export", "-o", str(tmp_path / "model.onnx"), "--precision", "float16"]) == 0
    written = Exported(tmp_path / "model.onnx")
    assert (written.precision, written.fingerprint) == ("float16", halved.fingerprint)


def test_answering_needs_onnxruntime(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"emotion\[export\]"):
        Exported(path)
