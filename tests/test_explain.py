import io
import itertools
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile
import torch
from matplotlib.text import Text

from emotion import Analyzer, checkpoint, explain
from emotion.features import Frontend, FrontendConfig
from emotion.labels import Scheme, scheme
from emotion.models import MODELS
from emotion.speech import SpeechConfig
from emotion.windows import WindowConfig

RATE = 16_000
TONES = {"anger": 2500.0, "neutral": 800.0}  # Hz
SMALL = {"channels": [8, 8], "pools": [[2, 2], [1, 2]], "stem_stride": [2, 2], "features": 16, "lstm_width": 8}
MODEL_OPTIONS = {
    "serial": SMALL, "lstm": {"features": 8, "lstm_width": 8}, "parallel": {**SMALL, "prosody_features": 8},
    "conv3d": {"channels": [4, 8], "features": 8, "lstm_width": 8},
}


def utterance(label: str, start_seconds: float, rng: np.random.Generator, seconds: float = 1.2) -> np.ndarray:
    """Noise, in it 0.2 s of the label's tone."""
    waveform = 0.01 * rng.normal(size=round(seconds * RATE))
    times = np.arange(round(0.2 * RATE)) / RATE
    first = round(start_seconds * RATE)
    waveform[first : first + len(times)] += 0.1 * np.sin(2 * np.pi * TONES[label] * times)
    return waveform.astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> checkpoint.Checkpoint:
    """A model that has learned to tell one tone from another, wherever it sounds."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = checkpoint.build(
        "serial", {**SMALL, "lstm_dropout": 0.0, "cnn_dropout": 0.0}, FrontendConfig(num_bands=40),
        Scheme("tones", {label: label for label in TONES}),
    )
    waveforms = torch.from_numpy(np.stack([
        utterance(label, start, rng) for label in TONES for start in rng.uniform(0.1, 0.9, 24)
    ]))
    num_samples, targets = torch.full((48,), waveforms.shape[1]), torch.arange(2).repeat_interleave(24)
    model.frontend.fit([(waveforms, num_samples)])
    mel, prosody, lengths = model.frontend(waveforms, num_samples)
    optimizer = torch.optim.Adam(model.model.train().parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.model(mel, prosody, lengths).logits, targets).backward()
        optimizer.step()
    model.model.eval()
    return model


@pytest.fixture(scope="module")
def analyzer(trained) -> Analyzer:
    return Analyzer(trained, "cpu", speech=None, windows=WindowConfig(length_seconds=2.0, hop_seconds=1.5))


@pytest.fixture(scope="module")
def high() -> np.ndarray:
    """The tone of anger, from 0.5 to 0.7 s."""
    return utterance("anger", 0.5, np.random.default_rng(7))


@pytest.fixture(scope="module")
def explanation(analyzer, high) -> explain.Explanation:
    return explain.explain(analyzer, high, RATE)


def around(explanation: explain.Explanation, start_seconds: float, hz: float) -> np.ndarray:
    """Where the tone of 0.2 s lies, the frames and bands beside it included."""
    times = np.abs(explanation.frame_times - start_seconds - 0.1) < 0.1 + 0.03
    bands = np.abs(np.arange(40) - np.interp(hz, explanation.band_hz, np.arange(40))) < 3
    return times[:, None] & bands


# what it says is true

def test_relevance_lies_where_the_sound_is_that_the_model_learned_to_hear(explanation):
    tone = around(explanation, 0.5, TONES["anger"])
    assert explanation.label == "anger" and explanation.confidence > 0.9
    assert tone.mean() < 0.05 and explanation.relevance[tone].sum() > 0.5 * explanation.relevance.sum() > 1
    gathered = explain._gathered(explanation)
    assert tone[np.unravel_index(gathered.argmax(), gathered.shape)]


def test_an_open_file_that_cannot_be_read_twice_is_explained(analyzer, explanation, high, tmp_path):
    soundfile.write(tmp_path / "high.wav", high, RATE, subtype="FLOAT")
    with subprocess.Popen(["cat", tmp_path / "high.wav"], stdout=subprocess.PIPE) as pipe:
        found = explain.explain(analyzer, pipe.stdout)
    np.testing.assert_allclose(found.relevance, explanation.relevance, atol=1e-4)


def test_the_same_sound_speaks_against_the_other_label(analyzer, high):
    other = explain.explain(analyzer, high, RATE, label="neutral")
    assert other.label == "neutral" and other.confidence < 0.1
    assert other.relevance[around(other, 0.5, TONES["anger"])].sum() < 0.5 * other.relevance.sum() < -1


def test_the_label_loses_more_with_what_is_relevant_than_with_as_much_at_random(analyzer, explanation):
    named = explain.deletion(analyzer, explanation, (0.0, 0.1))
    random = explain.deletion(analyzer, explanation, (0.0, 0.1), by="random")
    assert named[0] == random[0] == pytest.approx(explanation.confidence, abs=1e-6)
    assert named[1] < 0.5 < 0.8 < random[1]
    assert explain.faithfulness(analyzer, explanation) > 0.2


def test_relevance_that_was_shuffled_is_no_better_than_chance(analyzer, explanation, rng):
    shuffled = replace(explanation, relevance=rng.permutation(explanation.relevance.ravel()).reshape(-1, 40))
    assert abs(explain.faithfulness(analyzer, shuffled)) < 0.15


def test_relevance_sums_to_what_the_recording_changes_against_its_baseline(analyzer, explanation, high):
    other = explain.explain(analyzer, high, RATE, label="neutral")
    log_odds = [np.log(p / (1 - p)) for p in (explanation.confidence, explanation.baseline_confidence)]
    errors = explanation.completeness_error, other.completeness_error
    assert max(map(abs, errors)) <= explain.TOLERANCE
    total = explanation.relevance.sum() - other.relevance.sum()
    assert total == pytest.approx(log_odds[0] - log_odds[1] + errors[0] - errors[1], abs=0.02)


def test_steps_are_added_until_the_sum_is_exact(analyzer, high, monkeypatch):
    monkeypatch.setattr(explain, "STEPS", (1,))
    assert abs(explain.explain(analyzer, high, RATE).completeness_error) > explain.TOLERANCE
    monkeypatch.setattr(explain, "STEPS", (1, 256))
    assert abs(explain.explain(analyzer, high, RATE).completeness_error) <= explain.TOLERANCE


def test_everything_deleted_leaves_the_baseline(analyzer, explanation):
    all_gone = explain.deletion(analyzer, explanation, (1.0,), by="random")
    assert all_gone[0] == pytest.approx(explanation.baseline_confidence, abs=1e-6)


def test_random_deletion_is_that_of_its_seed(analyzer, explanation):
    first, again, other = (
        explain.deletion(analyzer, explanation, (0.5,), by="random", seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("num_bands", [40, 64])
@pytest.mark.parametrize("low_hz, high_hz", [(0, 8000), (60, 7600), (0, 900)])
def test_bands_lie_where_librosa_has_them(num_bands, low_hz, high_hz):
    expected = librosa.mel_frequencies(num_bands + 2, fmin=low_hz, fmax=high_hz)[1:-1]
    assert explain._centres(low_hz, high_hz, num_bands) == pytest.approx(expected)


# what it explains is the answer

@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize("normalisation", ["global", "utterance"])
@pytest.mark.parametrize("name", MODELS)
def test_the_answer_explained_is_the_one_the_analyzer_gives(name, normalisation, deltas, high):
    torch.manual_seed(1)
    settings = FrontendConfig(
        num_bands=40, normalisation=normalisation, deltas=deltas, prosody=MODELS[name].uses_prosody
    )
    model = checkpoint.build(name, MODEL_OPTIONS[name], settings, Scheme("tones", {label: label for label in TONES}))
    analyzer = Analyzer(model, "cpu", speech=None)
    found, answer = explain.explain(analyzer, high, RATE), analyzer.analyze(high, RATE)
    assert found.label == answer.label and found.labels == answer.labels
    assert found.probabilities == pytest.approx(answer.probabilities, abs=1e-5)
    assert found.step_times == pytest.approx(answer.step_times)
    assert found.step_probabilities == pytest.approx(answer.step_probabilities, abs=1e-5)
    assert found.mel == pytest.approx(analyzer.spectrogram(high))
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)
    assert found.relevance.shape == found.mel.shape and abs(found.completeness_error) <= explain.TOLERANCE
    assert explain.deletion(analyzer, found, (0.0,))[0] == pytest.approx(found.confidence, abs=1e-5)


def test_the_statistics_of_an_utterance_do_not_follow_its_mel_to_the_baseline(trained, explanation):
    frontend = Frontend(replace(trained.frontend.config, normalisation="utterance"))
    mel, baseline = torch.from_numpy(explanation.mel), torch.from_numpy(explanation.baseline)
    network = explain._Network(Analyzer(replace(trained, frontend=frontend), "cpu", speech=None), mel, None)
    with torch.no_grad():  # normalised anew, one half of the way would be the whole
        whole, half = network(torch.stack([mel, (mel + baseline) / 2])).logits
    assert not torch.allclose(whole, half, atol=0.1)


def test_a_model_that_pools_otherwise_has_no_attention(high):
    model = checkpoint.build(
        "serial", {**SMALL, "pooling": "mean"}, FrontendConfig(num_bands=40), Scheme("one", {"anger": "anger"})
    )
    assert explain.explain(Analyzer(model, "cpu", speech=None), high, RATE).attention is None


def test_of_a_long_recording_the_window_is_explained_that_carried_the_answer(analyzer, high):
    low = utterance("neutral", 0.5, np.random.default_rng(8))
    found = explain.explain(analyzer, np.concatenate([low, low, low, low, high, low]), RATE, label="anger")
    assert found.stop_seconds - found.start_seconds == pytest.approx(2.0)
    assert found.start_seconds <= 4 * 1.2 + 0.5 and found.stop_seconds >= 4 * 1.2 + 0.7
    gathered = explain._gathered(found)
    assert around(found, 4 * 1.2 + 0.5, TONES["anger"])[np.unravel_index(gathered.argmax(), gathered.shape)]


def test_what_is_not_speech_carries_no_answer(analyzer):
    times = analyzer.step_seconds * np.arange(round(10 / analyzer.step_seconds))
    timeline = SimpleNamespace(
        duration_seconds=10.0, step_times=times, step_speech=((times > 7) & (times < 8)).astype(float),
        step_probabilities=np.select([times < 4, times > 7], [0.9, 0.8], 0.2)[:, None],
    )
    listening = SimpleNamespace(
        windows=analyzer.windows, step_seconds=analyzer.step_seconds, speech=SpeechConfig(threshold=0.5)
    )
    assert explain._carrying(timeline, 0, listening).start_seconds == pytest.approx(6.5, abs=0.5)
    listening.speech = None
    assert explain._carrying(timeline, 0, listening).start_seconds <= 2.0


def test_even_a_single_frame_is_explained_and_drawn(analyzer, tmp_path):
    found = explain.explain(analyzer, np.ones(100, np.float32), RATE)
    assert found.mel.shape == (1, 40) and found.relevance == pytest.approx(0, abs=1e-6)
    explain.draw(found, tmp_path / "why.png")


def test_a_span_is_explained_as_a_recording_of_its_own_at_its_own_time(analyzer, high, explanation, tmp_path):
    low = utterance("neutral", 0.5, np.random.default_rng(8))
    together = np.concatenate([low, high, low])
    path = tmp_path / "call.wav"
    soundfile.write(path, together, RATE, subtype="FLOAT")
    for source, rate in ((together, RATE), (path, None), (io.BytesIO(path.read_bytes()), None)):
        found = explain.explain(analyzer, source, rate, start_seconds=1.2, stop_seconds=2.4)
        assert (found.start_seconds, found.stop_seconds, found.label) == (1.2, pytest.approx(2.4), "anger")
        assert found.relevance == pytest.approx(explanation.relevance, abs=1e-5)
        assert found.frame_times == pytest.approx(explanation.frame_times + 1.2)
        assert found.step_times == pytest.approx(explanation.step_times + 1.2)


def test_memory_is_that_of_a_batch_and_cudnn_is_off_where_gradients_flow(analyzer, high, monkeypatch):
    monkeypatch.setattr(explain, "BATCH_FRAMES", 500)
    seen = []
    hook = analyzer.checkpoint.model.register_forward_pre_hook(
        lambda _, inputs: seen.append((inputs[0].requires_grad, len(inputs[2]), torch.backends.cudnn.enabled))
    )
    explain.explain(analyzer, high, RATE)
    hook.remove()
    with_gradients = [(size, cudnn) for gradients, size, cudnn in seen if gradients]
    assert sum(size for size, _ in with_gradients) >= explain.STEPS[0]
    assert max(size for size, _ in with_gradients) == 500 // 121 and not any(cudnn for _, cudnn in with_gradients)
    assert torch.backends.cudnn.enabled


def test_on_speech_of_people_who_did_not_train_the_model_relevance_beats_chance(corpora):
    analyzer = Analyzer(device="cpu")
    heard = analyzer.checkpoint.train_speakers
    paths = [p for p in sorted((corpora / "ravdess").rglob("03-01-*.*")) if f"ravdess{p.stem[-2:]}" not in heard]
    found = [explain.explain(analyzer, path) for path in paths[::25]]
    assert len(found) >= 4
    assert np.mean([explain.faithfulness(analyzer, one, (0.0, 0.1, 0.2)) for one in found]) > 0.02


# the picture

def test_the_picture_tells_the_label_its_evidence_and_what_was_attended_to(explanation, tmp_path):
    figure = explain.draw(explanation, tmp_path / "why.png")
    assert (tmp_path / "why.png").stat().st_size > 10_000
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any(text.startswith("anger ") and "%" in text for text in texts)
    assert {"for", "against", "frequency (kHz)", "anger\n(%)", "attention\n(x average)", "time (s)"} <= set(texts)
    assert {"0.25", "0.5", "1", "2", "4"} <= set(texts)
    grey, colours = figure.axes[0].images
    assert colours.get_clim()[0] == -colours.get_clim()[1]
    assert np.abs(colours.get_array()).max() == pytest.approx(colours.get_clim()[1])


@pytest.mark.parametrize("label", ["happiness", "fear"])
def test_names_of_axes_do_not_lie_over_each_other(explanation, label, tmp_path):
    figure = explain.draw(replace(explanation, label=label, labels=(label, "neutral")), tmp_path / "why.png")
    figure.draw_without_rendering()
    boxes = [axes.yaxis.label.get_window_extent() for axes in figure.axes if axes.get_ylabel()]
    assert len(boxes) == 4 and not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_colour_tells_the_sum_of_the_patch_around_it(explanation):
    even = replace(explanation, relevance=np.full_like(explanation.relevance, 0.01))
    assert explain._gathered(even)[10:-10, 8:-8] == pytest.approx(0.01 * 10 * 8)
    assert explain._gathered(explanation).shape == explanation.relevance.shape


def test_the_picture_leaves_out_an_attention_that_is_not_there(explanation, tmp_path):
    figure = explain.draw(replace(explanation, attention=None), tmp_path / "why.png", title="a call")
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert "a call" in texts and not any("attention" in text for text in texts)


# what is refused

@pytest.mark.parametrize("options, remedy", [
    ({"label": "joy"}, "must be one of anger, neutral"),
    ({"start_seconds": 0.5}, "Give both"),
    ({"start_seconds": -0.5, "stop_seconds": 0.5}, "Give 0 <= start"),
    ({"start_seconds": 0.5, "stop_seconds": 0.5}, "Give 0 <= start"),
    ({"start_seconds": 0.0, "stop_seconds": 9.0}, "Give a shorter one"),
])
def test_what_cannot_be_explained_is_refused(analyzer, high, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        explain.explain(analyzer, high, RATE, **options)


def test_several_recordings_are_refused(analyzer, high):
    with pytest.raises(ValueError, match="Give one path"):
        explain.explain(analyzer, [high, high], RATE)


@pytest.mark.parametrize("options, remedy", [({"by": "energy"}, "relevance or random"), ({"shares": [10]}, "Give 0.1")])
def test_a_deletion_that_is_none_is_refused(analyzer, explanation, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        explain.deletion(analyzer, explanation, **options)


def test_without_captum_the_extra_to_install_is_named(analyzer, high, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'emotion\[explain\]'"):
        explain.explain(analyzer, high, RATE)


def test_a_model_that_names_no_emotion_is_refused(tiny):
    alone = checkpoint.build("serial", {"channels": [4], "pools": [[2, 2]], "dimensions": ["arousal"]},
                             tiny.frontend.config, scheme("none"))
    with pytest.raises(ValueError, match="Give one of classes"):
        explain.explain(Analyzer(alone, "cpu"), np.zeros(16_000), 16_000)
