import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion import checkpoint, datadir, labels
from emotion.features import Frontend, FrontendConfig
from emotion.train import augment, system
from emotion.train.dataset import Recordings
from emotion.train.system import System

SCHEME = labels.scheme("emodb4")


def part(data, name):
    return Recordings(datadir.read(data / name), SCHEME, 16_000, 1.0)


@pytest.fixture
def untrained(corpus, quick):
    """A System as it is before the first step, with other settings of `fit`."""
    def build(data=corpus, **options):
        settings = replace(quick, fit=replace(quick.fit, **options))
        fresh = checkpoint.build("serial", {"features": 8, "lstm_width": 8}, quick.frontend, SCHEME)
        return System(fresh, settings, part(data, "train"), part(data, "valid"), seed=1)
    return build


@pytest.fixture
def steps(monkeypatch):
    """What each training step was: learning rate, norm of its gradient, samples of each utterance, seed."""
    seen = []

    def note(self, outputs, batch, batch_index):
        norm = torch.stack([p.grad.norm() for p in self.model.parameters()]).norm().item()
        rate = self.optimizers().param_groups[0]["lr"]
        samples = batch.num_samples.tolist()
        seen.append({"rate": rate, "norm": norm, "samples": samples, "seed": torch.initial_seed()})

    monkeypatch.setattr(System, "on_train_batch_end", note)
    return seen


# The loss

def test_balanced_weights_are_inverse_to_the_counts_and_one_on_average():
    weights = system.balanced(np.array([30, 0, 10]))
    assert weights.tolist() == pytest.approx([40 / 60, 0, 40 / 20])
    assert weights @ [30, 0, 10] == pytest.approx(40)


def test_the_loss_weighs_classes_only_if_asked(corpus, untrained, tmp_path):
    datadir.write(tmp_path / "train", datadir.read(corpus / "train")[:6])   # by a: 4 anger, 2 sadness
    shutil.copytree(corpus / "valid", tmp_path / "valid")
    assert untrained(tmp_path).loss.weight.tolist() == [0.75, 0, 0, 1.5]
    assert untrained(tmp_path, class_balanced=False).loss.weight.tolist() == [1, 1, 1, 1]


def test_label_smoothing_shares_out_the_target(untrained):
    loss = untrained(label_smoothing=0.2, class_balanced=False).loss
    certain = torch.tensor([[0.0, -10, -10, -10]])   # 0.2 / 4 of the target on each, three 10 nats off
    assert loss(certain, torch.tensor([0])).item() == pytest.approx(0.15 * 10, abs=1e-3)


def test_a_class_without_training_files_takes_no_part_in_smoothing(untrained):
    loss = untrained(label_smoothing=0.2).loss   # the corpus has no happiness, no neutral
    impossible = torch.tensor([[0.0, -1000, -1000, 0]])
    share = 0.8 + 2 * 0.2 / 4   # of the target, on the two classes there are
    assert loss(impossible, torch.tensor([0])).item() == pytest.approx(share * np.log(2), abs=1e-3)


# The step

def test_weight_decay_shrinks_weights_that_have_no_gradient(untrained):
    trained = untrained(weight_decay=0.5)
    weight = next(trained.model.parameters())
    before, weight.grad = weight.detach().clone(), torch.zeros_like(weight)
    trained.configure_optimizers()["optimizer"].step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.01 * 0.5))   # learning rate 0.01


def test_gradients_are_scaled_down_to_norm_one(train, tmp_path, steps, monkeypatch):
    logits = System._logits
    monkeypatch.setattr(System, "_logits", lambda self, *given: 1000 * logits(self, *given))   # steep
    train(tmp_path, max_epochs=1)
    assert [step["norm"] for step in steps] == pytest.approx([1.0] * 3, rel=1e-3)


def test_the_norm_of_clipping_can_be_chosen(train, tmp_path, steps):
    train(tmp_path, max_epochs=1, clip_norm=0.01)
    assert [step["norm"] for step in steps] == pytest.approx([0.01] * 3, rel=1e-3)


def test_the_learning_rate_warms_up_then_stays(train, tmp_path, steps, uars):
    uars(0.1, 0.2, 0.3)
    train(tmp_path, max_epochs=3, warmup_epochs=2)   # 3 steps an epoch
    sixths = [1, 2, 3, 4, 5, 6, 6, 6, 6]
    assert [step["rate"] for step in steps] == pytest.approx([0.01 * k / 6 for k in sixths])


@pytest.mark.parametrize("patience, factor, rates", [
    (0, 0.5, [1, 1, 1 / 2, 1 / 4]), (1, 0.1, [1, 1, 1, 1 / 10]),
])
def test_the_learning_rate_falls_on_a_plateau(train, tmp_path, uars, patience, factor, rates):
    uars(0.5)
    _, learned = train(tmp_path, max_epochs=4, plateau_patience=patience, plateau_factor=factor)
    assert [row["learning_rate"] for row in learned] == pytest.approx([0.01 * rate for rate in rates])


def test_batch_size_and_longest_seconds_shape_the_batches(train, tmp_path, steps):
    train(tmp_path, max_epochs=1, batch_size=4, longest_seconds=0.28)
    assert [len(step["samples"]) for step in steps] == [4] * 6
    assert max(max(step["samples"]) for step in steps) == 0.28 * 16_000


def test_every_epoch_and_every_seed_draws_other_noise(train, tmp_path, steps):
    train(tmp_path / "1", seed=1)
    train(tmp_path / "2", seed=2)
    assert len({step["seed"] for step in steps}) == 4   # two trainings of two epochs of three steps


@pytest.mark.parametrize("precision, autocast", [("float32", False), ("bfloat16", True)])
def test_bfloat16_is_for_the_network_alone(train, quick, tmp_path, monkeypatch, precision, autocast):
    seen, heard, logits, waveforms = [], [], System._logits, augment.waveforms
    monkeypatch.setattr(
        System, "_logits", lambda *given: seen.append(torch.is_autocast_enabled("cpu")) or logits(*given))
    monkeypatch.setattr(
        augment, "waveforms", lambda *given: heard.append((given, waveforms(*given))) or heard[-1][1])
    slow = replace(quick.augment, speeds=(0.9,))   # resampling is a convolution
    train(tmp_path, replace(quick, augment=slow), max_epochs=1, precision=precision)
    assert set(seen) == {autocast}
    for (batch, lengths, _), (slower, _) in heard:
        torch.testing.assert_close(slower, augment.perturb_speed(batch, lengths, 0.9)[0], atol=1e-6, rtol=0)


def test_training_augments_and_validation_does_not(train, quick, tmp_path, monkeypatch):
    heard, forward = {True: [], False: []}, Frontend.forward

    def note(self, waveforms, lengths, *given):
        heard[self.training].extend(lengths)
        return forward(self, waveforms, lengths, *given)

    monkeypatch.setattr(Frontend, "forward", note)
    masks, spectrogram = [], augment.spectrogram
    monkeypatch.setattr(augment, "spectrogram", lambda *given: masks.append(given) or spectrogram(*given))
    train(tmp_path, replace(quick, augment=replace(quick.augment, speeds=(0.5,))), max_epochs=1)
    assert min(heard[True]) >= 8000 and max(heard[False]) < 5600   # twice as long
    assert len(masks) == 3   # one a training step


# Choosing

@pytest.mark.parametrize("counts, chosen", [
    ([5, 9], ("valid_uar", "max")), ([4, 9], ("valid_loss", "min")), ([0, 5], ("valid_uar", "max")),
])
def test_uar_chooses_the_best_epoch_or_nll_where_a_class_has_fewer_than_five_files(corpus, counts, chosen):
    valid = part(corpus, "valid")
    valid.targets = [target for target, count in enumerate(counts) for _ in range(count)]
    assert system.selection(valid) == chosen


def test_chosen_by_nll_the_lowest_is_best(corpus, train, tmp_path):
    shutil.copytree(corpus / "train", tmp_path / "train")
    datadir.write(tmp_path / "valid", datadir.subset(datadir.read(corpus / "valid"), per_class=4))
    model, learned = train(tmp_path / "exp", data=tmp_path, max_epochs=3)
    losses = [row["valid_loss"] for row in learned]
    assert model.card["selected_by"] == "valid_loss" and model.card["epoch"] == losses.index(min(losses))


# Normalisation

def test_global_statistics_are_those_of_the_training_speakers(corpus, train, quick, tmp_path):
    settings = FrontendConfig(num_bands=20, normalisation="global")
    model, _ = train(tmp_path, replace(quick, frontend=settings), max_epochs=1)
    mels = [Frontend(settings).log_mel(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))[0]
            for waveform in map(part(corpus, "train").waveform, range(24))]
    frames = torch.cat(mels, dim=2).double()
    torch.testing.assert_close(model.frontend.mean.double(), frames.mean(2)[0][:, None], atol=1e-4, rtol=1e-4)
    deviation = frames.std(2, correction=0)[0][:, None].clamp(min=0.01)
    torch.testing.assert_close(model.frontend.deviation.double(), deviation, atol=1e-3, rtol=1e-3)


def test_speaker_statistics_centre_each_speaker_and_not_each_utterance(train, quick, tmp_path, monkeypatch):
    mels, logits = {}, System._logits

    def note(self, mel, lengths):
        for row, length in zip(mel, lengths):
            mels.setdefault(self.training, []).append(row[0, :length])
        return logits(self, mel, lengths)

    monkeypatch.setattr(System, "_logits", note)
    settings = replace(quick, frontend=FrontendConfig(num_bands=20, normalisation="speaker"))
    train(tmp_path, settings, max_epochs=1)
    for heard in mels.values():   # in training and in validation
        assert torch.cat(heard).mean(0).abs().max() < 1e-3
        assert min(mel.mean(0).abs().max() for mel in heard) > 0.1


# Refusal

def test_a_loss_that_is_no_number_names_the_utterances(train, tmp_path):
    with pytest.raises(ValueError, match="not a finite loss on the batch of .*-(anger|sadness)[0-3].*Listen"):
        train(tmp_path, learning_rate=1e30)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_score_that_is_no_number_names_the_utterances(train, tmp_path, monkeypatch):
    logits = System._logits
    monkeypatch.setattr(System, "_logits", lambda self, *given: logits(self, *given) / float(self.training))
    with pytest.raises(ValueError, match="not a finite logits on the batch of .*[de]-anger[0-3]"):
        train(tmp_path)
