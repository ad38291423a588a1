import json
import logging
import pickle
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion import audio, baseline, checkpoint, cli, datadir, evaluate, files, labels
from emotion.analyzer import Analyzer
from emotion.calibration import Calibration
from emotion.datadir import DataError, Utterance
from emotion.features import FrontendConfig
from emotion.labels import LabelError
from emotion.settings import SettingError, to_plain
from emotion.train import config, fit
from emotion.train.augment import AugmentConfig
from emotion.train.dataset import Recordings
from emotion.train.system import System

SCHEME = labels.scheme("own", ["anger", "sadness"])


# Known answers

@pytest.mark.parametrize("normalisation, precision", [
    ("utterance", "float32"), ("global", "bfloat16"), ("speaker", "float32"),
])
def test_two_pitches_are_told_apart_in_new_voices(corpus, train, quick, tmp_path, normalisation, precision):
    settings = replace(quick, frontend=FrontendConfig(num_bands=20, normalisation=normalisation))
    model, learned = train(tmp_path, settings, max_epochs=10, precision=precision)
    assert max(row["valid_uar"] for row in learned) == 1.0
    assert learned[-1]["train_loss"] < learned[0]["train_loss"]
    if normalisation != "speaker":   # which wants to hear a speaker's other utterances
        for utterance in datadir.read(corpus / "valid"):
            waveform = torch.from_numpy(audio.read(utterance.wav))[None]
            features = model.frontend(waveform, torch.tensor([waveform.shape[1]]))
            assert SCHEME.classes[model.model(*features).logits.argmax()] == utterance.emotion


def test_the_model_file_says_whom_it_heard_and_how_it_was_made(train, tmp_path, uars):
    uars(0.5, 0.75)
    model, _ = train(tmp_path, seed=7)
    assert model.train_speakers == ("a", "b", "c") and model.valid_speakers == ("d", "e")
    expected = {"seed": 7, "epoch": 1, "selected_by": "valid_uar", "valid_uar": 0.75}
    assert expected.items() <= model.card.items()
    assert (model.card["train_utterances"], model.card["valid_utterances"]) == (24, 12)
    assert {"emotion_version", "commit", "torch_version"} <= model.card.keys()


def test_how_neutral_speech_sounds_is_kept_with_the_model(corpus, train, tmp_path):
    assert train(tmp_path / "without", max_epochs=1)[0].neutral is None
    for part in ("train", "valid"):
        utterances = datadir.read(corpus / part)
        named = [replace(u, emotion="neutral") if u.emotion == "sadness" else u for u in utterances]
        datadir.write(tmp_path / "data" / part, named)
    model, _ = train(tmp_path / "with", data=tmp_path / "data", max_epochs=1)
    heard = [u for u in datadir.read(tmp_path / "data" / "train") if u.emotion == "neutral"]
    expected = baseline.neutral_voice(model.frontend, ((audio.read(u.wav, 16_000), u.speaker) for u in heard))
    assert len(heard) == 12 and torch.allclose(model.neutral, expected)


def test_the_weights_of_the_best_epoch_are_saved_the_first_among_equals(train, tmp_path, uars, monkeypatch):
    uars(0.3, 0.9, 0.5, 0.9)
    seen, end = [], System.on_validation_epoch_end
    monkeypatch.setattr(System, "on_validation_epoch_end", lambda self: seen.append(
        {name: value.clone() for name, value in self.chosen.state_dict().items()}) or end(self))
    model, _ = train(tmp_path, max_epochs=4)
    assert model.card["epoch"] == 1
    assert all(torch.equal(value, seen[1][name]) for name, value in model.model.state_dict().items())
    assert not all(torch.equal(value, seen[3][name]) for name, value in model.model.state_dict().items())


def test_training_ends_early_where_nothing_gets_better(train, tmp_path, uars):
    uars(0.5, 0.6, 0.6)
    model, learned = train(tmp_path, max_epochs=20, stop_patience=3)
    assert [row["epoch"] for row in learned] == [0, 1, 2, 3, 4] and model.card["epoch"] == 1


def test_memory_is_shared_by_training_and_validation(corpus, train, tmp_path, monkeypatch):
    heard = Recordings(datadir.read(corpus / "train"), SCHEME, 16_000, 0.5)
    rooms, init = [], Recordings.__init__
    monkeypatch.setattr(Recordings, "__init__", lambda *given: rooms.append(given[4]) or init(*given))
    train(tmp_path, max_epochs=1, memory_gigabytes=0.5)
    assert rooms == [0.5, pytest.approx(0.5 - heard.kept_gigabytes)] and heard.kept_gigabytes > 1e-4


def test_the_resolved_settings_stand_beside_the_model(train, quick, tmp_path):
    model, _ = train(tmp_path, max_epochs=1)
    resolved = config.read(tmp_path / "config.yaml")
    assert resolved.frontend == quick.frontend and resolved.fit == replace(quick.fit, max_epochs=1)
    assert resolved.model == {"name": "serial", **checkpoint.options(model)}   # defaults and all


# Invariance

@pytest.fixture(scope="module")
def moving(quick):
    """Settings in which all that can move does: noise, speed, masks, crops, warm-up, plateau."""
    fit = replace(quick.fit, max_epochs=4, plateau_patience=0, longest_seconds=0.28, warmup_epochs=1)
    return replace(quick, augment=AugmentConfig(noise_probability=0.5), fit=fit)


@pytest.fixture(scope="module")
def undisturbed(train, moving, tmp_path_factory):
    torch.set_num_threads(1)
    return train(tmp_path_factory.mktemp("undisturbed"), moving)


def interrupt(monkeypatch, hook, epoch):
    original = getattr(System, hook)

    def stop(self, *given):
        if self.current_epoch == epoch:
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(System, hook, stop)


def assert_same(one, other):
    """The same weights to the last bit, the same card, the same table but for the time it took."""
    (model, learned), (expected, rows) = one, other
    assert model.fingerprint == expected.fingerprint and model.card == expected.card
    assert [{**row, "seconds": 0} for row in learned] == [{**row, "seconds": 0} for row in rows]


@pytest.mark.parametrize("hook, epoch", [
    ("training_step", 0), ("on_train_epoch_start", 1), ("training_step", 2), ("on_validation_epoch_end", 3),
])
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    train, moving, tmp_path, monkeypatch, undisturbed, hook, epoch,
):
    on_interrupt = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, hook, epoch)
        train(tmp_path, moving)
    assert not (tmp_path / "model.safetensors").exists()   # the mark of a training that ended
    assert signal.getsignal(signal.SIGINT) is on_interrupt
    assert_same(train(tmp_path, moving), undisturbed)


def test_a_training_cut_twice_and_moved_ends_as_an_undisturbed_one(
    train, moving, tmp_path, monkeypatch, undisturbed,
):
    for epoch in (1, 3):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, "training_step", epoch)
            train(tmp_path / f"exp{epoch}", moving)
        (tmp_path / f"exp{epoch}").rename(tmp_path / f"exp{epoch + 2}")
    assert_same(train(tmp_path / "exp5", moving), undisturbed)


def test_a_training_that_ended_but_could_not_be_written_only_writes(train, tmp_path, monkeypatch, uars):
    uars(0.5)
    whole = train(tmp_path / "whole", max_epochs=9, stop_patience=2)
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(checkpoint, "write", None)
        train(tmp_path / "cut", max_epochs=9, stop_patience=2)
    assert_same(train(tmp_path / "cut", max_epochs=9, stop_patience=2), whole)
    assert len(whole[1]) == 3


def test_a_finished_training_is_skipped(train, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    model, _ = train(tmp_path, max_epochs=1)
    monkeypatch.setattr(audio, "read", None)   # no recording is opened
    again, _ = train(tmp_path, max_epochs=1, memory_gigabytes=1.5, cuda_graphs=False)   # how, not what
    assert again.fingerprint == model.fingerprint and "training is done, skipped" in caplog.text


def test_resume_files_hold_plain_data(train, tmp_path):
    train(tmp_path, max_epochs=1)
    for name in ("last.ckpt", "best.ckpt"):   # weights_only refuses all that could run
        assert "state_dict" in torch.load(tmp_path / "checkpoints" / name, weights_only=True)


def test_the_seed_decides_the_result(train, moving, tmp_path):
    first, again = (train(tmp_path / name, moving, max_epochs=1) for name in ("first", "again"))
    assert_same(first, again)
    assert first[0].fingerprint != train(tmp_path / "other", moving, seed=2, max_epochs=1)[0].fingerprint


def test_lightning_is_quiet_and_left_as_it_was(train, tmp_path, caplog, recwarn):
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    caplog.set_level(logging.INFO)
    train(tmp_path, max_epochs=1)
    assert {record.name for record in caplog.records} == {
        f"emotion.train.{name}" for name in ("callbacks", "dataset", "fit")}
    assert not [w for w in recwarn if "lightning" in w.filename or "LeafSpec" in str(w.message)]
    assert [logger.level for logger in loggers] == levels


def test_an_unfinished_training_is_not_gone_on_with_under_other_settings(train, quick, tmp_path):
    train(tmp_path, max_epochs=1)
    (tmp_path / "model.safetensors").unlink()   # as if it had been stopped
    with pytest.raises(SettingError, match="with other settings .* Give another --exp"):
        train(tmp_path, max_epochs=1, learning_rate=0.5)
    with pytest.raises(SettingError, match="with other seed .* Give another --exp"):
        train(tmp_path, max_epochs=2, seed=2)
    train(tmp_path, max_epochs=2)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SettingError, match="trained for 2 epochs, and fit.max_epochs=1 are fewer"):
        train(tmp_path, max_epochs=1)
    assert config.read(tmp_path / "config.yaml").fit.max_epochs == 2
    train(tmp_path, max_epochs=2)


@pytest.mark.parametrize("averaging", ["none", "swa"])
def test_where_the_last_epoch_is_followed_it_may_not_move(train, tmp_path, averaging):
    train(tmp_path, max_epochs=1, schedule="cosine", averaging=averaging)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SettingError, match="with other settings .* Give another --exp"):
        train(tmp_path, max_epochs=2, schedule="cosine", averaging=averaging)


def test_an_unfinished_training_is_not_gone_on_with_from_another_start(train, tmp_path, parent):
    train(tmp_path, max_epochs=1, init=parent[0])
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SettingError, match="with other init[ ,]"):   # else its speakers would be forgotten
        train(tmp_path, max_epochs=2)
    with pytest.raises(SettingError, match="with other init, teachers"):
        train(tmp_path, max_epochs=2, teachers=[parent[0]])


def test_a_finished_training_does_not_pass_for_another(train, quick, corpus, tmp_path):
    exp, data = tmp_path / "exp", tmp_path / "data"
    shutil.copytree(corpus, data)
    train(exp, max_epochs=1, data=data)
    train(exp, max_epochs=1, data=data)
    with pytest.raises(SettingError, match=r"trained with other fit.learning_rate, seed, .*Give another --exp"):
        train(exp, max_epochs=1, data=data, learning_rate=0.5, seed=2)
    with pytest.raises(SettingError, match="with other model.se,"):
        train(exp, replace(quick, model={**quick.model, "se": True}), max_epochs=1, data=data)
    with pytest.raises(SettingError, match="with other teacher_models, teachers,"):
        train(exp, max_epochs=1, data=data, teachers=[exp / "model.safetensors"])
    datadir.write(data / "train", datadir.read(data / "train")[:-1])
    with pytest.raises(SettingError, match="with other utterances,"):
        train(exp, max_epochs=1, data=data)


def test_a_training_from_a_model_that_is_another_by_now_is_another(train, corpus, tmp_path):
    first, child = tmp_path / "first", tmp_path / "child"
    train(first, max_epochs=1)
    train(child, max_epochs=1, init=first)
    calibrated = checkpoint.read(first).with_calibration(Calibration(utterance=2.0))
    checkpoint.write(calibrated, first / "model.safetensors")   # whose weights are as they were
    train(child, max_epochs=1, init=f"{first}/")
    (child / "model.safetensors").rename(tmp_path / "kept")
    train(child, max_epochs=1, init=first / ".." / "first")   # goes on, and finds nothing left to do
    shutil.rmtree(first)
    train(child, max_epochs=1, init=first)   # nobody can tell
    train(first, max_epochs=1, seed=2)
    with pytest.raises(SettingError, match="trained with other init_model,"):
        train(child, max_epochs=1, init=first)
    (child / "model.safetensors").unlink()
    with pytest.raises(SettingError, match="unfinished training with other init_model "):
        train(child, max_epochs=1, init=first)


def test_recordings_may_be_elsewhere_by_now(train, corpus, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    train(tmp_path / "exp", max_epochs=1, data=data)
    moved = [replace(u, wav=f"elsewhere/{u.id}.wav") for u in datadir.read(data / "valid")]
    datadir.write(data / "valid", moved)
    model = (tmp_path / "exp" / "model.safetensors").stat()
    train(tmp_path / "exp", max_epochs=1, data=data)   # it stands: nothing is read
    assert (tmp_path / "exp" / "model.safetensors").stat() == model


def test_a_training_goes_on_however_its_folders_are_spelt(train, corpus, tmp_path):
    (tmp_path / "same").symlink_to(corpus)
    train(tmp_path / "exp", max_epochs=1)
    first = (tmp_path / "exp/epochs.csv").read_text()
    (tmp_path / "exp/model.safetensors").unlink()
    train(tmp_path / "exp", max_epochs=2, data=tmp_path / "same")
    assert (tmp_path / "exp/epochs.csv").read_text().startswith(first)   # seconds and all: it was not run again


def test_another_precision_on_the_way_is_warned_of(train, tmp_path, caplog):
    train(tmp_path, max_epochs=1)
    origin = json.loads((tmp_path / "origin.json").read_text())
    assert (origin["device"], origin["precision"]) == ("cpu", "float32")
    (tmp_path / "origin.json").write_text(json.dumps(origin | {"precision": "bfloat16"}))
    (tmp_path / "model.safetensors").unlink()
    train(tmp_path, max_epochs=2)
    assert "was begun in bfloat16 and goes on in float32" in caplog.text


def test_a_damaged_resume_file_is_refused_by_name(train, tmp_path):
    train(tmp_path, max_epochs=1)
    (tmp_path / "model.safetensors").unlink()
    last = tmp_path / "checkpoints" / "last.ckpt"
    for content in (last.read_bytes()[:1000], b""):
        last.write_bytes(content)
        with pytest.raises(SettingError, match="last.ckpt is damaged .* begin anew"):
            train(tmp_path, max_epochs=2)


@pytest.mark.parametrize("save", [pickle.dumps, torch.save], ids=["pickle", "torch"])
def test_a_resume_file_can_run_nothing(train, tmp_path, save):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    train(tmp_path, max_epochs=1)
    (tmp_path / "model.safetensors").unlink()
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(pickle.dumps(Trap())) if save is pickle.dumps else torch.save({"state_dict": Trap()}, last)
    with pytest.raises(SettingError, match="last.ckpt is damaged .* begin anew"):
        train(tmp_path, max_epochs=2)
    assert not (tmp_path / "sprung").exists()


def test_the_patience_of_a_resumed_training_is_that_of_the_settings(train, tmp_path):
    still = {"learning_rate": 1e-12, "averaging": "none"}   # no epoch is better than the first
    train(tmp_path, max_epochs=2, stop_patience=9, **still)
    (tmp_path / "model.safetensors").unlink()
    _, rows = train(tmp_path, max_epochs=9, stop_patience=3, **still)
    assert len(rows) == 4
    (tmp_path / "model.safetensors").unlink()
    _, rows = train(tmp_path, max_epochs=9, stop_patience=5, **still)   # it had ended, and is to wait longer
    assert len(rows) == 6


def test_the_command_says_only_what_matters_and_goes_on_after_a_signal(corpus, quick, tmp_path):
    config.write(quick, tmp_path / "conf.yaml")
    exp = tmp_path / "exp"
    command = ["train", "--conf", str(tmp_path / "conf.yaml"), "--exp", str(exp), "--device", "cpu",
               "--train", str(corpus / "train"), "--valid", str(corpus / "valid"), "--threads", "1",
               "--set", "fit.plateau_patience=9", "--set", "fit.batch_size=4"]
    running = subprocess.Popen(
        [sys.executable, "-m", "emotion", *command, "fit.max_epochs=500", "fit.stop_patience=500"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    said = []
    for line in running.stdout:
        said.append(line)
        if line.startswith("epoch   1"):
            running.terminate()
    assert running.wait() == 130 and said[-1].startswith("emotion train: interrupted; the same command goes")
    assert [line.split()[0] for line in said[:-1]] == ["train:", "valid:"] + ["epoch"] * (len(said) - 3)
    done = len(said) - 3
    assert cli.main([*command, f"fit.max_epochs={done + 1}"]) == 0
    assert len((exp / "epochs.csv").read_text().splitlines()) == 1 + done + 1   # the head, and one epoch more
    assert checkpoint.read(exp).train_speakers == ("a", "b", "c") and (exp / "curves.png").exists()
    resolved = config.read(exp / "config.yaml").fit
    assert (resolved.plateau_patience, resolved.batch_size) == (9, 4)   # both --set count


# Models that learn from models

@pytest.fixture(scope="module")
def parent(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent")
    torch.set_num_threads(1)
    return folder, train(folder, max_epochs=4)[0]


def test_a_training_can_start_from_another_models_weights(train, tmp_path, parent, monkeypatch):
    folder, before = parent
    seen, start = [], System.on_fit_start
    monkeypatch.setattr(System, "on_fit_start", lambda self: seen.append(
        {name: value.clone() for name, value in self.model.state_dict().items()}) or start(self))
    model, _ = train(tmp_path, max_epochs=1, init=folder)
    assert all(torch.equal(value, seen[0][name]) for name, value in before.model.state_dict().items())
    assert model.train_speakers == ("a", "b", "c") and model.card["init"] == str(folder)


def test_other_classes_get_a_new_last_layer(quick, parent):
    folder, before = parent
    options = {key: value for key, value in quick.model.items() if key != "name"}
    fresh = checkpoint.build("serial", options, quick.frontend, labels.scheme("mini5"))
    own = fresh.model.head.classifier.weight.clone()
    fit.inherit(fresh, before, "parent")
    assert torch.equal(fresh.model.head.classifier.weight, own)
    assert torch.equal(fresh.model.cnn.stem.conv.weight, before.model.cnn.stem.conv.weight)


@pytest.mark.parametrize("change", [
    {"features": 6}, {"channels": [4, 6]}, {"lstm_layers": 2}, {"lstm_layers": 0}, {"se": True}, {"pooling": "mean"},
    {"lstm_residual": True}, {"transformer_layers": 1}])
@pytest.mark.parametrize("turned", [False, True])
def test_starting_from_another_network_is_refused(quick, change, turned):
    """Whether it has more than the parent or less."""
    plain = {key: value for key, value in quick.model.items() if key != "name"}
    fresh, parent = (
        checkpoint.build("serial", options, quick.frontend, SCHEME) for options in ({**plain, **change}, plain))
    if turned:
        fresh, parent = parent, fresh
    with pytest.raises(SettingError, match=f"in {next(iter(change))}: .* Give the config.yaml"):
        fit.inherit(fresh, parent, "parent")


def test_other_dropout_and_a_sex_head_are_no_other_network(quick, parent):
    options = {key: value for key, value in quick.model.items() if key != "name"}
    fresh = checkpoint.build("serial", {**options, "lstm_dropout": 0.1, "sex_head": True}, quick.frontend, SCHEME)
    fit.inherit(fresh, parent[1], "parent")
    assert torch.equal(fresh.model.head.classifier.weight, parent[1].model.head.classifier.weight)


def test_a_student_learns_its_teachers_answers_beside_the_labels(corpus, quick, parent):
    recordings = Recordings(datadir.read(corpus / "train"), SCHEME, 16_000, 0.5)
    alone = evaluate.posteriors(recordings.utterances, Analyzer(parent[1], "cpu")).probabilities
    settings = replace(quick, fit=replace(quick.fit, teacher_weight=0.25, teacher_temperature=1.0))
    targets = fit.taught([parent[1], parent[1]], recordings, settings, "cpu")
    one_hot = torch.nn.functional.one_hot(torch.tensor(recordings.targets), 2)
    torch.testing.assert_close(targets, (0.75 * one_hot + 0.25 * torch.from_numpy(alone)).float())
    softer = fit.taught([parent[1]], recordings, replace(quick, fit=replace(quick.fit, teacher_weight=1.0)), "cpu")
    assert softer.max(1).values.mean() < torch.from_numpy(alone).max(1).values.mean()


def test_a_student_has_heard_whom_its_teachers_heard(train, tmp_path, corpus, parent):
    folder, before = parent
    teacher = tmp_path / "teacher.safetensors"
    checkpoint.write(replace(before, train_speakers=("a", "z"), valid_speakers=("d", "y")), teacher)
    model, _ = train(tmp_path / "exp", max_epochs=1, teachers=[teacher])
    assert model.train_speakers == ("a", "b", "c", "z") and model.valid_speakers == ("d", "e", "y")


def test_a_teacher_that_was_trained_on_a_validation_speaker_is_refused(train, tmp_path, parent):
    checkpoint.write(replace(parent[1], train_speakers=("a", "e")), tmp_path / "teacher.safetensors")
    with pytest.raises(DataError, match="was trained on e, who would choose the epoch"):
        train(tmp_path / "exp", teachers=[tmp_path / "teacher.safetensors"])


def test_a_teacher_of_other_classes_is_refused(train, tmp_path, parent):
    checkpoint.write(replace(parent[1], scheme=labels.scheme("mini5"), train_speakers=(), valid_speakers=(),
                             model=checkpoint.build("serial", to_plain(parent[1].model.config),
                                                    parent[1].frontend.config, labels.scheme("mini5")).model),
                     tmp_path / "teacher.safetensors")
    with pytest.raises(SettingError, match="Give teachers of these classes, or set scheme="):
        train(tmp_path / "exp", teachers=[tmp_path / "teacher.safetensors"])


def test_what_names_no_emotions_has_nothing_to_learn_of_a_teacher(corpus, quick, parent):
    recordings = Recordings(datadir.read(corpus / "train"), SCHEME, 16_000, 0.5)
    rated = replace(quick, scheme=labels.NONE, model={**quick.model, "dimensions": ["arousal"]})
    with pytest.raises(SettingError, match="Leave --teachers out"):
        fit.taught([parent[1]], recordings, rated, "cpu")


# Refusal

def test_two_directories_that_share_a_speaker_are_refused(corpus, quick, tmp_path):
    with pytest.raises(DataError, match="speaker a is in train and in valid"):
        fit.train(quick, corpus / "train", corpus / "train", tmp_path)


def test_the_same_audio_in_both_is_refused_whoever_is_said_to_speak(corpus, train, tmp_path):
    heard = datadir.read(corpus / "train")[0]
    shutil.copytree(corpus / "train", tmp_path / "train")
    copy = shutil.copy(heard.wav, tmp_path / "copy.wav")
    datadir.write(tmp_path / "valid", [Utterance("d-copy", "d", str(copy), "anger")])
    with pytest.raises(DataError, match=f"{heard.id} in train and d-copy in valid are the same audio"):
        train(tmp_path / "exp", data=tmp_path)


def test_an_emotion_outside_the_scheme_is_refused(corpus, train, tmp_path):
    shutil.copytree(corpus / "train", tmp_path / "train")
    datadir.write(tmp_path / "valid", [replace(u, emotion="fear") for u in datadir.read(corpus / "valid")])
    with pytest.raises(LabelError, match="'fear' has no class in scheme 'own'"):
        train(tmp_path / "exp", data=tmp_path)


@pytest.mark.parametrize("fault, refusal, remedy", [
    ({"scheme": "emodb4"}, DataError, "no utterance of happiness, neutral, which scheme emodb4.*set scheme=own"),
    ({"speakers": ("a",)}, DataError, "has one speaker, a: .*Add speakers"),
    ({"emotion": "angry"}, LabelError, "unknown emotion 'angry'; the vocabulary is .*Did you mean 'anger'"),
    ({"emotion": "anger calm"}, LabelError, "unknown emotion 'anger calm'"),
])
def test_data_that_cannot_teach_what_is_asked_are_refused(corpus, train, quick, tmp_path, fault, refusal, remedy):
    shutil.copytree(corpus / "valid", tmp_path / "valid")
    speakers = fault.get("speakers", ("a", "b", "c"))
    datadir.write(tmp_path / "train", datadir.subset(datadir.read(corpus / "train"), speakers))
    if "emotion" in fault:
        table = tmp_path / "train" / "utt2emotion"
        table.write_text(table.read_text().replace("anger\n", f"{fault['emotion']}\n", 1))
    with pytest.raises(refusal, match=remedy):
        train(tmp_path / "exp", replace(quick, scheme=fault.get("scheme", "own")), data=tmp_path)
    assert not (tmp_path / "exp").exists()


def test_a_class_that_may_be_lacking_is_an_answer_that_never_comes(train, quick, tmp_path):
    model, _ = train(tmp_path, replace(quick, scheme="emodb4"), max_epochs=1, may_lack_classes=True)
    assert model.labels == ("anger", "happiness", "neutral", "sadness")


def test_a_second_training_in_the_same_folder_is_refused(train, tmp_path):
    with files.alone(tmp_path / ".lock"), pytest.raises(files.BusyError, match="another run is writing"):
        train(tmp_path)


def test_one_utterance_of_nan_is_left_out_and_told_of(corpus, train, tmp_path, caplog):
    soundfile.write(tmp_path / "nan.wav", np.full(4800, np.nan), 16_000, "FLOAT")
    soundfile.write(tmp_path / "short.wav", np.random.default_rng(1).normal(size=1599), 16_000)   # 0.1 s is the least
    bad = [Utterance(f"a-{name}", "a", str(tmp_path / f"{name}.wav"), "anger") for name in ("nan", "short")]
    datadir.write(tmp_path / "train", datadir.combine([datadir.read(corpus / "train"), bad]))
    shutil.copytree(corpus / "valid", tmp_path / "valid")
    model, rows = train(tmp_path / "exp", data=tmp_path, max_epochs=1)
    assert re.search(r"train: left out 1 shorter than 0.1 s \(a-short\); 1 with NaN .* \(a-nan\)", caplog.text)
    assert model.card["train_utterances"] == 24 and np.isfinite(rows[0]["train_loss"])


def test_a_mistake_in_the_model_is_refused_before_audio_is_read(train, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "read", None)
    with pytest.raises(ValueError, match="Did you mean 'kernel'"):
        train(tmp_path, replace(quick, model={"name": "serial", "kernal": 3}))


def test_one_command_goes_on_from_a_model_with_emotions_of_ones_own(corpus, parent, tmp_path):
    """The first one tells emotions of another scheme apart."""
    settings, heard = to_plain(parent[1].model.config), parent[1].frontend.config
    before, file = checkpoint.build("serial", settings, heard, labels.scheme("mini5")), tmp_path / "mini5.safetensors"
    checkpoint.write(before, file)
    options = ["--train", corpus / "train", "--valid", corpus / "valid", "--exp", tmp_path / "own", "--init", file]
    few = ["--device", "cpu", "--set", "fit.max_epochs=1", "fit.warmup_epochs=0", "fit.batch_size=8"]
    assert cli.main([*map(str, ["train", *options]), *few]) == 0
    model = checkpoint.read(tmp_path / "own")
    assert model.labels == ("anger", "sadness") and model.scheme.name == "own" != before.scheme.name
    assert checkpoint.options(model) == checkpoint.options(before)
    assert to_plain(model.frontend.config) == to_plain(before.frontend.config)


def test_without_settings_or_a_model_there_is_nothing_to_train(corpus, tmp_path, capsys):
    assert cli.main(["train", "--train", str(corpus), "--valid", str(corpus), "--exp", str(tmp_path)]) == 1
    assert "neither --conf nor --init" in capsys.readouterr().err
