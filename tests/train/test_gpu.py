"""Trainings on a CUDA device; without one all are skipped."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion import datadir
from emotion.analyzer import Analyzer
from emotion.train import augment
from emotion.train.augment import AugmentConfig
from emotion.train.system import System

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

EVERYTHING = AugmentConfig(
    shift_seconds=0.05, room_probability=0.5, tilt_db=12.0, noise_probability=0.5, tone_probability=0.5,
    babble_probability=0.5, codec_probability=0.5, lowpass_probability=0.5, warp=0.1, band_shift=2, mixup_alpha=0.4,
)


@pytest.mark.parametrize("cuda_graphs", [True, False])
@pytest.mark.parametrize("options", [
    {}, {"averaging": "ema"}, {"averaging": "swa", "schedule": "cosine"}, {"balance": "sampler"},
    {"precision": "bfloat16"}, {"clip_by": "value"},
])
def test_a_training_learns_and_its_model_answers_on_the_processor(corpus, train, tmp_path, options, cuda_graphs):
    model, learned = train(tmp_path, device="cuda", max_epochs=14, cuda_graphs=cuda_graphs, **options)
    assert learned[-1]["train_loss"] < learned[0]["train_loss"]
    utterances = datadir.read(corpus / "valid")
    answers = Analyzer(model, "cpu").analyze([utterance.wav for utterance in utterances])
    assert np.mean([answer.label == utterance.emotion for answer, utterance in zip(answers, utterances)]) >= 0.75


@pytest.mark.parametrize("normalisation", ["global", "utterance", "speaker"])
def test_every_normalisation_and_every_augmentation_runs(train, quick, tmp_path, normalisation):
    frontend = replace(quick.frontend, normalisation=normalisation)
    _, learned = train(tmp_path, replace(quick, augment=EVERYTHING, frontend=frontend), device="cuda", max_epochs=4)
    assert all(np.isfinite(row["train_loss"]) for row in learned)


@pytest.mark.parametrize("model", [
    {"name": "parallel", "fusion": "late"}, {"name": "parallel", "fusion": "early"}, {"name": "conv3d"},
    {"name": "lstm"}, {"name": "serial", "transformer_layers": 1, "se": True}, {"name": "serial", "pooling": "last"},
])
def test_every_network_trains(train, quick, tmp_path, model):
    frontend = replace(quick.frontend, prosody=model["name"] == "parallel")
    settings = replace(quick, model={"lstm_width": 8, **model}, frontend=frontend)
    _, learned = train(tmp_path, settings, device="cuda", max_epochs=5)
    assert learned[-1]["train_loss"] < learned[0]["train_loss"]


def test_dimensions_are_learnt(rated, feeling, train, tmp_path):
    _, learned = train(tmp_path, feeling, rated, device="cuda", max_epochs=3)
    assert all(np.isfinite(row["valid_ccc"]) for row in learned)


def test_a_model_is_gone_on_with_and_teaches(train, tmp_path):
    train(tmp_path / "first", device="cuda")
    train(tmp_path / "next", device="cuda", init=tmp_path / "first", teachers=[tmp_path / "first"])


def test_replayed_and_not_the_losses_are_alike(train, quick, tmp_path):
    """Nothing is random but the weights; batch norm counts some frames more where passes are replayed."""
    certain = replace(quick, model={**quick.model, "cnn_dropout": 0.0, "lstm_dropout": 0.0})
    losses = [[row["train_loss"] for row in train(tmp_path / str(graphs), certain, device="cuda", max_epochs=4,
                                                  cuda_graphs=graphs)[1]] for graphs in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_training_that_was_stopped_goes_on(train, tmp_path, monkeypatch):
    _, whole = train(tmp_path / "whole", device="cuda", max_epochs=4)
    begun, end = [], System.on_validation_epoch_end

    def stop(self):
        begun.append(self.current_epoch)
        if len(begun) == 3:
            raise KeyboardInterrupt
        end(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(System, "on_validation_epoch_end", stop)
        train(tmp_path / "again", device="cuda", max_epochs=4)
    _, again = train(tmp_path / "again", device="cuda", max_epochs=4)
    assert [row["epoch"] for row in again] == [row["epoch"] for row in whole]
    assert again[-1]["train_loss"] == pytest.approx(whole[-1]["train_loss"], rel=0.1)


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_what_is_not_finite_is_named(train, tmp_path, monkeypatch, cuda_graphs):
    features = augment.features
    monkeypatch.setattr(augment, "features", lambda mel, *given: features(mel * float("nan"), *given))
    with pytest.raises(ValueError, match="not a finite loss on the batch of .*lower fit.learning_rate"):
        train(tmp_path, device="cuda", cuda_graphs=cuda_graphs)


def test_no_step_waits_for_the_device(quick, train, tmp_path, monkeypatch):
    step, told = System.training_step, []

    def watched(self, batch, index):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                return step(self, batch, index)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            if self.current_epoch == 2:   # once filters are made and memory is taken
                told.extend(str(warning.message) for warning in caught)

    monkeypatch.setattr(System, "training_step", watched)
    train(tmp_path, replace(quick, augment=EVERYTHING), device="cuda", max_epochs=3)
    assert not [message for message in told if "synchroniz" in message]
