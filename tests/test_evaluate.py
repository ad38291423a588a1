import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion import checkpoint, datadir, evaluate, labels, metrics
from emotion.analyzer import Analyzer
from emotion.calibration import fit_temperature
from emotion.datadir import DataError, Utterance
from emotion.features import FrontendConfig
from emotion.posteriors import POSTERIORS, Posteriors

RATE = 16_000
CLASSES = labels.scheme("mini5").classes


def noise(seed: int, seconds: float = 0.3) -> np.ndarray:
    """Noise as loud and as dull as its seed says: speakers and emotions differ."""
    rng = np.random.default_rng(seed)
    dull = np.convolve(rng.normal(size=round(seconds * RATE)), np.ones(1 + seed % 7), "same")
    return (0.05 * rng.uniform(0.2, 1) * dull).astype(np.float32)


def corpus(path: Path, speakers: str, gain: float = 1.0) -> str:
    """A data directory with one utterance of each class for every speaker."""
    utterances = []
    for speaker in speakers.split():
        for k, emotion in enumerate(CLASSES):
            wav = path / f"{speaker}-{emotion}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(wav, gain * noise(10 * ord(speaker) + k, 0.3 + 0.1 * k), RATE, subtype="FLOAT")
            utterances.append(Utterance(f"{speaker}-{emotion}", speaker, str(wav), emotion))
    datadir.write(path, utterances)
    return str(path)


@pytest.fixture
def experiment(tiny, tmp_path) -> Path:
    """A folder with a model that is far too sure, trained on speaker a, validated on speaker b."""
    tiny.model.head.classifier.weight.data *= 20
    heard = dataclasses.replace(tiny, train_speakers=("a",), valid_speakers=("b",))
    (tmp_path / "exp").mkdir()
    checkpoint.write(heard, tmp_path / "exp" / checkpoint.FILE_NAME)
    return tmp_path / "exp"


# a model against a data directory

def test_the_posteriors_of_a_directory_are_what_the_analyzer_answers(experiment, tmp_path):
    directory = corpus(tmp_path / "test", "c d")
    evaluate.evaluate(experiment, directory, "cpu")
    read = Posteriors.read(experiment / POSTERIORS)
    ask = Analyzer(experiment, "cpu")
    for name, target, probabilities in zip(read.utterances, read.targets, read.probabilities):
        answer = ask.analyze(tmp_path / "test" / f"{name}.wav")
        assert probabilities == pytest.approx(answer.probabilities, abs=2e-5)
        assert CLASSES[target] == name[2:]


def test_a_span_of_a_recording_scores_as_if_it_stood_alone(tiny, tmp_path):
    whole = np.concatenate([noise(1, 0.5), noise(2, 0.5)])
    soundfile.write(tmp_path / "a.wav", whole, RATE, subtype="FLOAT")
    span = Utterance("a-1", "a", str(tmp_path / "a.wav"), "fear", 0.5, 1.0)
    ask = Analyzer(tiny, "cpu")
    expected = ask.analyze(whole[RATE // 2 :], RATE).probabilities
    assert evaluate.posteriors([span], ask).probabilities[0] == pytest.approx(expected)


def test_evaluation_leaves_scores_posteriors_and_a_picture(experiment, tmp_path):
    scores = evaluate.evaluate(experiment, corpus(tmp_path / "test", "c d"), "cpu")
    written = json.loads((experiment / "scores.json").read_text())
    assert written == scores
    assert (scores["num_utterances"], scores["num_speakers"]) == (10, 2)
    assert scores["uar"] == Posteriors.read(experiment / POSTERIORS).summary()["uar"]
    assert {path.name for path in experiment.iterdir()} == {
        "model.safetensors", "posteriors.csv", "scores.json", "confusion.png"}


def test_evaluation_is_done_once_for_a_model_and_a_directory(experiment, tmp_path, caplog):
    caplog.set_level("INFO")
    first, other = corpus(tmp_path / "test", "c"), corpus(tmp_path / "other", "d")
    scores = evaluate.evaluate(experiment, first, "cpu")
    assert evaluate.evaluate(experiment, first, "cpu") == scores and "evaluation is done, skipped" in caplog.text
    (experiment / POSTERIORS).unlink()
    assert evaluate.evaluate(experiment, first, "cpu") == scores and (experiment / POSTERIORS).exists()
    (experiment / "scores.json").write_text('{"model": "')
    assert evaluate.evaluate(experiment, first, "cpu") == scores
    with pytest.raises(DataError, match="would be lost. Give another folder"):
        evaluate.evaluate(experiment, other, "cpu")
    assert evaluate.evaluate(experiment, other, "cpu", out=tmp_path / "out")["data"] == other
    assert (tmp_path / "out" / POSTERIORS).exists()
    model = checkpoint.read(experiment)
    model.model.head.classifier.bias.data += torch.tensor([0, 0, 0, 0, 1e4])
    checkpoint.write(model, experiment / checkpoint.FILE_NAME)
    changed = evaluate.evaluate(experiment, first, "cpu")
    assert [row[4] for row in changed["confusion"]] == [1] * 5  # all is called sadness now


def test_evaluation_is_done_again_where_the_tables_have_changed(experiment, tmp_path):
    directory = corpus(tmp_path / "test", "c")
    before = evaluate.evaluate(experiment, directory, "cpu")
    turned = [dataclasses.replace(u, emotion=CLASSES[-1 - CLASSES.index(u.emotion)]) for u in datadir.read(directory)]
    datadir.write(directory, turned)
    after = evaluate.evaluate(experiment, directory, "cpu")
    assert after["confusion"] == before["confusion"][::-1]


def test_a_folder_is_the_same_however_it_is_spelt(experiment, tmp_path, caplog):
    caplog.set_level("INFO")
    directory = corpus(tmp_path / "test", "c")
    scores = evaluate.evaluate(experiment, directory, "cpu")
    assert evaluate.evaluate(experiment, f"{directory}/", "cpu") == scores
    assert "evaluation is done, skipped" in caplog.text


@pytest.mark.parametrize("speaker", ["a", "b"])
def test_a_heard_speaker_is_refused_unless_allowed(experiment, tmp_path, speaker):
    directory = corpus(tmp_path / "test", f"{speaker} c")
    with pytest.raises(DataError, match=f"validated on the speakers {speaker}:.*Give other speakers"):
        evaluate.evaluate(experiment, directory, "cpu")
    assert not (experiment / "scores.json").exists()
    assert evaluate.evaluate(experiment, directory, "cpu", allow_heard=True)["num_speakers"] == 2
    with pytest.raises(DataError, match="Give other speakers"):   # what was allowed once is not for ever
        evaluate.evaluate(experiment, directory, "cpu")


def test_speakers_who_may_be_heard_ones_under_another_name_are_told_of(experiment, tmp_path, caplog):
    model = dataclasses.replace(checkpoint.read(experiment), train_speakers=("emodb03", "emodb08"))
    checkpoint.write(model, experiment / checkpoint.FILE_NAME)
    directory = corpus(tmp_path / "test", "c")
    datadir.write(directory, [dataclasses.replace(u, id=f"03-{u.id}", speaker="03") for u in datadir.read(directory)])
    evaluate.evaluate(experiment, directory, "cpu")
    assert "validated on emodb03: if these are your 03" in caplog.text


def test_a_model_file_is_evaluated_into_a_folder_of_the_users(experiment, tmp_path):
    directory, file = corpus(tmp_path / "test", "c"), experiment / checkpoint.FILE_NAME
    with pytest.raises(DataError, match="--out DIR"):
        evaluate.evaluate(file, directory, "cpu")
    assert evaluate.evaluate(file, directory, "cpu", out=tmp_path / "mine")["num_speakers"] == 1
    assert (tmp_path / "mine" / "scores.json").exists()


def test_an_utterance_that_cannot_be_read_is_named(experiment, tmp_path):
    directory = corpus(tmp_path / "test", "c")
    (tmp_path / "test" / "c-fear.wav").write_bytes(b"")
    with pytest.raises(DataError, match="c-fear: is empty.*Leave it out"):
        evaluate.evaluate(experiment, directory, "cpu")


# calibration

def test_calibration_lowers_the_nll_on_its_data_and_changes_no_label(experiment, tmp_path):
    directory = corpus(tmp_path / "valid", "b c d")
    utterances = datadir.read(directory)
    before = evaluate.timelines(utterances, Analyzer(experiment, "cpu"))
    fitted = evaluate.calibrate(experiment, directory, "cpu")
    after = evaluate.timelines(utterances, Analyzer(experiment, "cpu"))
    targets = [CLASSES.index(u.emotion) for u in utterances]
    step_targets = np.repeat(targets, [len(answer.step_times) for answer in before])

    def of(answers: list) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(targets, np.stack([answer.probabilities for answer in answers])),
                (step_targets, np.concatenate([answer.step_probabilities for answer in answers]))]

    for was, now in zip(of(before), of(after)):
        assert metrics.nll(*now) < metrics.nll(*was)
        again = fit_temperature(torch.tensor(now[1]).log(), torch.tensor(now[0]))
        assert again == pytest.approx(1, abs=0.01)  # nothing is left to gain
    assert [answer.label for answer in before] == [answer.label for answer in after]
    assert fitted == checkpoint.read(experiment).calibration
    assert fitted.utterance > 1 and fitted.step > 1  # the model was too sure
    assert (experiment / "reliability.png").stat().st_size > 0


def test_calibration_holds_back_the_share_that_is_least_sure(experiment, tmp_path):
    directory = corpus(tmp_path / "valid", "b c d")
    fitted = evaluate.calibrate(experiment, directory, "cpu", hold_back=0.4)
    answers = evaluate.timelines(datadir.read(directory), Analyzer(experiment, "cpu"))
    assert np.mean([answer.label == "unknown" for answer in answers]) == pytest.approx(0.4, abs=0.1)
    assert 0 < fitted.unknown_below == checkpoint.read(experiment).calibration.unknown_below


def test_a_calibrated_model_learns_what_to_hold_back_and_keeps_its_temperatures(experiment, tmp_path):
    directory = corpus(tmp_path / "valid", "b c d")
    before = evaluate.calibrate(experiment, directory, "cpu")
    after = evaluate.calibrate(experiment, directory, "cpu", hold_back=0.4)
    assert before.unknown_below == 0 and after == dataclasses.replace(before, unknown_below=after.unknown_below)
    answers = evaluate.timelines(datadir.read(directory), Analyzer(experiment, "cpu"))
    assert np.mean([answer.label == "unknown" for answer in answers]) == pytest.approx(0.4, abs=0.1)
    assert evaluate.calibrate(experiment, directory, "cpu") == after
    assert evaluate.calibrate(experiment, directory, "cpu", hold_back=0.0) == before


@pytest.mark.parametrize("enough", [2, 50])
def test_temperatures_are_those_of_single_windows_where_these_are_enough(experiment, tmp_path, monkeypatch, enough):
    """The mean over windows is no softmax of logits: of a long utterance nothing can be fitted exactly."""
    monkeypatch.setattr(evaluate, "ENOUGH", enough)
    short = datadir.read(corpus(tmp_path / "short", "b c"))
    soundfile.write(tmp_path / "long.wav", noise(3, 25.0), RATE, subtype="FLOAT")
    (tmp_path / "both").mkdir()
    datadir.write(tmp_path / "both", [*short, Utterance("d-long", "d", str(tmp_path / "long.wav"), "fear")])
    copy = tmp_path / "copy"
    copy.mkdir()
    checkpoint.write(checkpoint.read(experiment), copy / checkpoint.FILE_NAME)
    fitted = evaluate.calibrate(experiment, str(tmp_path / "short"), "cpu")
    with_long = evaluate.calibrate(copy, str(tmp_path / "both"), "cpu")
    same = dataclasses.astuple(with_long) == pytest.approx(dataclasses.astuple(fitted), rel=1e-5)
    assert same == (enough == 2)


def test_calibration_is_skipped_the_second_time(experiment, tmp_path, caplog):
    caplog.set_level("INFO")
    fitted = evaluate.calibrate(experiment, corpus(tmp_path / "valid", "b"), "cpu")
    content = (experiment / checkpoint.FILE_NAME).read_bytes()
    assert evaluate.calibrate(experiment, corpus(tmp_path / "other", "c d"), "cpu") == fitted
    assert "skipped" in caplog.text
    assert (experiment / checkpoint.FILE_NAME).read_bytes() == content


def test_calibration_on_a_training_speaker_is_refused(experiment, tmp_path):
    with pytest.raises(DataError, match="trained on the speakers a:"):
        evaluate.calibrate(experiment, corpus(tmp_path / "valid", "a b"), "cpu")


def test_whoever_calibrated_a_model_cannot_test_it(experiment, tmp_path):
    evaluate.calibrate(experiment, corpus(tmp_path / "valid", "c"), "cpu")
    assert checkpoint.read(experiment).valid_speakers == ("b", "c")
    with pytest.raises(DataError, match="validated on the speakers c:"):
        evaluate.evaluate(experiment, corpus(tmp_path / "test", "c d"), "cpu")


# models normalised by speaker

@pytest.fixture
def by_speaker(tiny) -> checkpoint.Checkpoint:
    frontend = FrontendConfig(num_bands=20, normalisation="speaker")
    return checkpoint.build("serial", checkpoint.options(tiny), frontend, labels.scheme("mini5"))


def test_each_utterance_is_normalised_by_all_frames_of_its_speaker(by_speaker, tmp_path):
    utterances = datadir.read(corpus(tmp_path, "c d"))
    answers = evaluate.posteriors(utterances, Analyzer(by_speaker, "cpu"))
    for speaker in "cd":
        own = [u for u in utterances if u.speaker == speaker]
        waveforms = [torch.from_numpy(soundfile.read(u.wav, dtype="float32")[0])[None] for u in own]
        mels = [by_speaker.frontend.log_mel(x, torch.tensor([x.shape[1]]))[0] for x in waveforms]
        frames = torch.cat(mels, dim=2)
        mean, deviation = frames.mean(2, keepdim=True), frames.std(2, keepdim=True, correction=0)
        for u, mel in zip(own, mels):
            with torch.inference_mode():
                output = by_speaker.model.eval()((mel - mean) / deviation, None, torch.tensor([mel.shape[2]]))
            row = answers.utterances.index(u.id)
            assert answers.probabilities[row] == pytest.approx(output.logits[0].softmax(0).numpy(), abs=1e-4)
    (tmp_path / "exp").mkdir()
    checkpoint.write(by_speaker, tmp_path / "exp" / checkpoint.FILE_NAME)
    assert evaluate.evaluate(tmp_path / "exp", tmp_path, "cpu")["transductive"]


def test_how_loud_a_speaker_was_recorded_changes_nothing_after_normalisation(by_speaker, tmp_path):
    ask = Analyzer(by_speaker, "cpu")
    directories = corpus(tmp_path / "1", "c d"), corpus(tmp_path / "2", "c d", gain=0.25)
    loud, quiet = (evaluate.posteriors(datadir.read(directory), ask) for directory in directories)
    assert loud.probabilities == pytest.approx(quiet.probabilities, abs=1e-4)
    alone = ask.analyze(tmp_path / "1" / "c-fear.wav").probabilities  # without the speaker's other recordings
    assert np.abs(alone - loud.probabilities[loud.utterances.index("c-fear")]).max() > 1e-3


# the statistics of the tested corpus

def test_with_its_own_statistics_a_corpus_may_be_recorded_at_any_level(experiment, tmp_path):
    loud, soft = corpus(tmp_path / "loud", "c d"), corpus(tmp_path / "soft", "c d", gain=0.1)
    told = {}
    for name, directory in (("loud", loud), ("soft", soft)):
        for own in (False, True):
            evaluate.evaluate(experiment, directory, "cpu", out=tmp_path / name / "out", own_statistics=own)
        told[name] = {kind: Posteriors.read(tmp_path / name / "out" / f"posteriors{kind}.csv") for kind in ("", "_own")}
    assert told["loud"]["_own"].probabilities == pytest.approx(told["soft"]["_own"].probabilities, abs=1e-4)
    assert np.abs(told["loud"][""].probabilities - told["soft"][""].probabilities).max() > 1e-2
    assert {path.name for path in (tmp_path / "loud/out").glob("*_own*")} == {
        "posteriors_own.csv", "scores_own.json", "confusion_own.png"}


def test_the_statistics_of_a_corpus_are_those_of_all_its_frames_and_the_model_keeps_its_own(tiny, tmp_path):
    utterances = datadir.read(corpus(tmp_path, "c d"))
    waveforms = [torch.from_numpy(soundfile.read(u.wav, dtype="float32")[0])[None] for u in utterances]
    frames = torch.cat([tiny.frontend.log_mel(x, torch.tensor([x.shape[1]]))[0] for x in waveforms], dim=2)
    fitted = evaluate.with_statistics_of(utterances, tiny).frontend
    assert torch.allclose(fitted.mean, frames.mean(2, keepdim=True)[0], atol=1e-3)
    assert torch.allclose(fitted.deviation, frames.std(2, keepdim=True, correction=0)[0], rtol=1e-3)
    assert not tiny.frontend.mean.any()


def test_a_model_that_has_no_statistics_of_its_training_is_refused(by_speaker, tmp_path):
    with pytest.raises(DataError, match="normalised by speaker.*frontend.normalisation: global"):
        evaluate.with_statistics_of(datadir.read(corpus(tmp_path, "c")), by_speaker)


# many views

def test_test_time_averaging_is_the_mean_over_speeds_in_tables_of_its_own(experiment, tmp_path):
    directory = corpus(tmp_path / "test", "c d")
    utterances, ask = datadir.read(directory), Analyzer(experiment, "cpu")
    single = [evaluate.posteriors(utterances, ask, (speed,)).probabilities for speed in (0.8, 1.0, 1.25)]
    assert not np.allclose(single[0], single[1])
    scores = evaluate.evaluate(experiment, directory, "cpu", speeds=(0.8, 1.0, 1.25))
    mean = Posteriors.read(experiment / "posteriors_speeds.csv").probabilities
    assert mean == pytest.approx(np.mean(single, axis=0), abs=1e-5)
    assert scores["speeds"] == [0.8, 1.0, 1.25] and not (experiment / "posteriors.csv").exists()
    before = (experiment / "posteriors_speeds.csv").read_bytes()
    with pytest.raises(DataError, match=r"tells of speeds \[0.8, 1.0, 1.25\]: it would be lost.*--out"):
        evaluate.evaluate(experiment, directory, "cpu", speeds=(0.5, 2.0))
    assert (experiment / "posteriors_speeds.csv").read_bytes() == before


def test_a_recording_played_faster_is_shorter_and_higher(tiny, tmp_path):
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone, RATE, subtype="FLOAT")
    utterance = Utterance("a-1", "a", str(tmp_path / "a.wav"), "anger")
    (recording,) = evaluate.recordings([utterance], Analyzer(tiny, "cpu"), evaluate.at_speed(1.25, 16_000))
    (waveform,) = recording.blocks()
    assert len(waveform) == pytest.approx(RATE / 1.25, abs=1)
    assert np.abs(np.fft.rfft(waveform)).argmax() * RATE / len(waveform) == pytest.approx(625, abs=2)


@pytest.mark.parametrize("speeds", [(), (0.4,), (1.0, 3.0)])
def test_a_speed_that_nobody_speaks_at_is_refused(experiment, tmp_path, speeds):
    with pytest.raises(ValueError, match="Use 0.9,1,1.1"):
        evaluate.evaluate(experiment, corpus(tmp_path / "test", "c"), "cpu", speeds=speeds)
