import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from librosa import mel_frequencies

from emotion import audio, checkpoint, datadir, labels
from emotion.features import Frontend, FrontendConfig
from emotion.settings import SettingError
from emotion.train import augment, config, effects, system
from emotion.train.dataset import Recordings
from emotion.train.system import System

SCHEME = labels.scheme("own", ["anger", "sadness"])


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


# What is learnt

def test_the_loss_weighs_classes_only_if_asked(corpus, untrained, tmp_path):
    datadir.write(tmp_path / "train", datadir.read(corpus / "train")[:6])   # by a: 4 anger, 2 sadness
    shutil.copytree(corpus / "valid", tmp_path / "valid")
    assert untrained(tmp_path).loss.weights.tolist() == [0.75, 1.5]
    for balance in ("none", "sampler"):
        assert untrained(tmp_path, balance=balance).loss.weights.tolist() == [1, 1]


def test_classes_are_balanced_by_what_is_learnt_of_them(corpus, untrained, tmp_path):
    """One in four listeners heard sadness in every anger: 4 of 6 anger and 2 sadness are 3 and 3."""
    votes = {"anger": (("anger", 3), ("sadness", 1)), "sadness": ()}
    utterances = [replace(u, votes=votes[u.emotion]) for u in datadir.read(corpus / "train")[:6]]
    datadir.write(tmp_path / "train", utterances)
    shutil.copytree(corpus / "valid", tmp_path / "valid")
    learnt = untrained(tmp_path, vote_weight=1.0)
    assert learnt.loss.weights.tolist() == pytest.approx([1, 1])
    learnt.targets = torch.tensor([[0.5, 0.5]] * 4 + [[0.25, 0.75]] * 2)   # as teachers may say
    assert learnt._loss().weights.tolist() == pytest.approx([3 / 2.5, 3 / 3.5])
    learnt.targets = torch.tensor([[0.0, 1.0]] * 6)   # of anger nothing: it counts as half of its labels
    assert learnt._loss().weights.tolist() == pytest.approx([4 / 2, 4 / 6])


def test_the_sampler_draws_all_classes_equally_often(corpus, train, quick, tmp_path, monkeypatch):
    utterances = datadir.read(corpus / "train")
    few = [u for u in utterances if u.emotion == "sadness" and u.id.endswith("0")]   # 3 of 15
    datadir.write(tmp_path / "train", [u for u in utterances if u.emotion == "anger"] + few)
    shutil.copytree(corpus / "valid", tmp_path / "valid")
    drawn, step = [], System.training_step
    monkeypatch.setattr(
        System, "training_step", lambda self, batch, i: drawn.extend(batch.targets.tolist()) or step(self, batch, i))
    train(tmp_path / "exp", data=tmp_path, max_epochs=8, balance="sampler")
    assert len(drawn) == 8 * 15 and 0.35 < np.mean(np.array(drawn) == SCHEME.index("sadness")) < 0.65


def test_an_epoch_takes_as_many_of_a_speaker_as_the_settings_say(corpus, train, tmp_path, monkeypatch):
    drawn, step = [], System.training_step
    monkeypatch.setattr(
        System, "training_step", lambda self, batch, i: drawn.extend(batch.positions.tolist()) or step(self, batch, i))
    for balance in ("loss", "sampler"):
        drawn.clear()
        train(tmp_path / balance, max_epochs=1, most_per_speaker=3, balance=balance)
        assert len(drawn) == 3 * len({utterance.speaker for utterance in datadir.read(corpus / "train")})


def test_focal_loss_and_label_smoothing_reach_the_loss(untrained):
    loss = untrained(focal_gamma=2.0, label_smoothing=0.1).loss
    assert (loss.focal_gamma, loss.label_smoothing) == (2.0, 0.1)


def test_the_sex_of_the_speaker_is_learnt_where_it_is_asked_for(corpus, train, quick, tmp_path):
    for name in ("train", "valid"):
        with_sex = [replace(u, sex="m" if u.speaker in "ad" else "f") for u in datadir.read(corpus / name)]
        datadir.write(tmp_path / name, with_sex)
    settings = replace(
        quick, model={**quick.model, "sex_head": True}, fit=replace(quick.fit, sex_weight=0.5, max_epochs=1))
    model, learned = train(tmp_path / "exp", settings, data=tmp_path)
    assert model.model.head.sex.weight.shape == (2, 16) and np.isfinite(learned[0]["train_loss"])
    assert not config.like(model).model["sex_head"]   # who goes on from it need not know the sex of anybody
    with pytest.raises(SettingError, match=r"--set scheme=\[a cannot be read"):
        config.like(model, ["scheme=[a"])
    with pytest.raises(ValueError, match="sex of a, b, c is not known.*Add spk2gender"):
        train(tmp_path / "other", settings, data=corpus)


def test_mixup_trains_on_mixed_features_and_mixed_targets(train, quick, tmp_path, monkeypatch):
    seen, forward = [], system.Loss.forward
    monkeypatch.setattr(
        system.Loss, "forward", lambda self, logits, targets: seen.append(targets) or forward(self, logits, targets))
    train(tmp_path, replace(quick, augment=replace(quick.augment, mixup_alpha=1.0)), max_epochs=1)
    targets = torch.cat(seen)
    assert ((targets > 0) & (targets < 1)).any()
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))


# The step

def test_weight_decay_shrinks_weights_that_have_no_gradient(untrained):
    trained = untrained(weight_decay=0.5)
    weight = next(trained.model.parameters())
    before, weight.grad = weight.detach().clone(), torch.zeros_like(weight)
    trained.configure_optimizers()["optimizer"].step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.01 * 0.5))   # learning rate 0.01


def test_gradients_are_scaled_down_to_norm_one(train, tmp_path, steps, monkeypatch):
    ask = System._ask

    def steep(self, *given):
        output = ask(self, *given)
        return output._replace(logits=1000 * output.logits)

    monkeypatch.setattr(System, "_ask", steep)
    train(tmp_path, max_epochs=1)
    assert [step["norm"] for step in steps] == pytest.approx([1.0] * 3, rel=1e-3)


def test_the_norm_of_clipping_can_be_chosen(train, tmp_path, steps):
    train(tmp_path, max_epochs=1, clip=0.01)
    assert [step["norm"] for step in steps] == pytest.approx([0.01] * 3, rel=1e-3)


def test_gradients_can_be_clipped_each_by_itself(train, tmp_path, monkeypatch):
    largest, end = [], System.on_train_batch_end
    monkeypatch.setattr(System, "on_train_batch_end", lambda self, *given: largest.append(
        max(p.grad.abs().max().item() for p in self.model.parameters())) or end(self, *given))
    train(tmp_path, max_epochs=1, clip=1e-4, clip_by="value")
    assert largest == pytest.approx([1e-4] * 3)


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


def test_the_learning_rate_falls_as_a_cosine_to_nothing_and_the_training_goes_to_its_end(train, tmp_path, steps, uars):
    uars(0.5)
    model, learned = train(tmp_path, max_epochs=5, schedule="cosine", warmup_epochs=1, stop_patience=1)
    half_circle = (1 + np.cos(np.pi * np.arange(12) / 12)) / 2   # 4 epochs of 3 steps
    expected = [1 / 3, 2 / 3, 1, *half_circle]
    assert [step["rate"] for step in steps] == pytest.approx([0.01 * share for share in expected])
    assert len(learned) == 5 and (model.card["epoch"], model.card["selected_by"]) == (4, "epoch")


def test_ema_is_the_moving_average_of_the_weights_over_steps(train, tmp_path, monkeypatch, uars):
    uars(0.1, 0.2, 0.3)
    seen, end = [], System.on_train_batch_end
    monkeypatch.setattr(System, "on_train_batch_end", lambda self, *given: seen.append(
        self.model.head.classifier.bias.detach().clone()) or end(self, *given))
    model, _ = train(tmp_path, max_epochs=3, averaging="ema", ema_decay=0.4)   # 9 steps, the last epoch is the best
    first, *later = seen
    for steps, bias in enumerate(later, 1):
        decay = min(0.4, (1 + steps) / (10 + steps))   # 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15 = 0.4
        first = decay * first + (1 - decay) * bias
    torch.testing.assert_close(model.model.head.classifier.bias.detach(), first)


def test_counts_are_copied_where_weights_are_averaged():
    """PyTorch's own average of buffers ends in an error at batch norm's count of batches, on a GPU."""
    weights, counts = torch.tensor([1.0, 2.0]), torch.tensor(7)
    system.approach([weights, counts], [torch.tensor([4.0, 5.0]), torch.tensor(9)], 1 / 3)
    torch.testing.assert_close(weights, torch.tensor([2.0, 3.0]))
    assert counts.dtype == torch.int64 and int(counts) == 9


def test_swa_is_the_mean_of_the_last_epochs(train, tmp_path, monkeypatch, uars):
    uars(0.1, 0.2, 0.3, 0.4)   # the last epoch is the best
    seen, end = [], System.on_validation_epoch_end
    monkeypatch.setattr(System, "on_validation_epoch_end", lambda self: seen.append(
        self.model.head.classifier.bias.detach().clone()) or end(self))
    model, _ = train(tmp_path, max_epochs=4, averaging="swa", swa_start=0.5, schedule="cosine")
    torch.testing.assert_close(model.model.head.classifier.bias.detach(), (seen[2] + seen[3]) / 2)


def test_what_is_averaged_is_what_is_validated(train, tmp_path, monkeypatch):
    asked, ask = [], System._ask
    monkeypatch.setattr(System, "_ask", lambda self, model, *given: asked.append(
        (self.training, model is self.chosen)) or ask(self, model, *given))
    train(tmp_path, max_epochs=1, averaging="ema")
    assert set(asked) == {(True, False), (False, True)}


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
    seen, heard, ask, waveforms = [], [], System._ask, augment.waveforms
    monkeypatch.setattr(System, "_ask", lambda *given: seen.append(torch.is_autocast_enabled("cpu")) or ask(*given))
    monkeypatch.setattr(
        augment, "waveforms", lambda *given: heard.append((given, waveforms(*given))) or heard[-1][1])
    slow = replace(quick.augment, speeds=(0.9,))   # resampling is a convolution
    train(tmp_path, replace(quick, augment=slow), max_epochs=1, precision=precision)
    assert set(seen) == {autocast}
    for (batch, lengths, *_), (slower, _) in heard:
        torch.testing.assert_close(slower, effects.perturb_speed(batch, lengths, 0.9)[0], atol=1e-6, rtol=0)


def test_training_augments_and_validation_does_not(train, quick, tmp_path, monkeypatch):
    heard, forward = {True: [], False: []}, Frontend.forward

    def note(self, waveforms, lengths, *given):
        heard[self.training].extend(lengths)
        return forward(self, waveforms, lengths, *given)

    monkeypatch.setattr(Frontend, "forward", note)
    masks, features = [], augment.features
    monkeypatch.setattr(augment, "features", lambda *given: masks.append(given) or features(*given))
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


def test_speaker_statistics_centre_each_speaker_and_not_each_utterance(train, quick, corpus, tmp_path, monkeypatch):
    mels, ask = {}, System._ask

    def note(self, model, mel, prosody, lengths):
        for row, length in zip(mel, lengths):
            mels.setdefault(self.training, []).append(row[0, :length])
        return ask(self, model, mel, prosody, lengths)

    monkeypatch.setattr(System, "_ask", note)
    settings = replace(quick, frontend=FrontendConfig(num_bands=20, normalisation="speaker"))
    model, _ = train(tmp_path, settings, max_epochs=1)
    for heard in mels.values():   # in training and in validation
        assert torch.cat(heard).mean(0).abs().max() < 1e-3
        assert min(mel.mean(0).abs().max() for mel in heard) > 0.1
    voices, kept = Frontend(settings.frontend), model.frontend
    utterances = datadir.read(corpus / "train")
    waveforms = [torch.from_numpy(audio.read(u.wav))[None] for u in utterances]
    voices.fit_voices((w, torch.tensor([w.shape[1]]), [u.speaker]) for w, u in zip(waveforms, utterances))
    torch.testing.assert_close((kept.mean, kept.deviation), (voices.mean, voices.deviation), atol=1e-3, rtol=1e-3)


def test_the_weight_of_the_sex_counts(corpus, train, quick, tmp_path):
    for name in ("train", "valid"):
        utterances = datadir.read(corpus / name)
        datadir.write(tmp_path / name, [replace(u, sex="m" if u.speaker in "ad" else "f") for u in utterances])
    asks = replace(quick, model={**quick.model, "sex_head": True}, fit=replace(quick.fit, sex_weight=1.0))
    first = [train(tmp_path / str(weight), asks, data=tmp_path, max_epochs=1, sex_weight=weight)[1][0]["train_loss"]
             for weight in (0.1, 10.0)]
    assert first[1] > 5 * first[0]


def test_augmentation_knows_the_rate_of_the_model(train, quick, tmp_path, monkeypatch):
    rates, waveforms = [], augment.waveforms
    monkeypatch.setattr(augment, "waveforms", lambda *given: rates.append(given[3:]) or waveforms(*given))
    slow = FrontendConfig(num_bands=20, sample_rate=8000, high_hz=4000.0)
    train(tmp_path, replace(quick, frontend=slow), max_epochs=1)
    assert set(rates) == {(8000,)}


def test_a_warp_knows_the_bands_of_the_model(corpus, quick):
    heard = FrontendConfig(num_bands=20, low_hz=100.0, high_hz=6000.0)
    fresh = checkpoint.build("serial", {"features": 8, "lstm_width": 8}, heard, SCHEME)
    built = System(fresh, replace(quick, frontend=heard), part(corpus, "train"), part(corpus, "valid"), seed=1)
    assert built.corners_hz.numpy() == pytest.approx(mel_frequencies(22, fmin=100.0, fmax=6000.0))


# Refusal

def test_a_loss_that_is_no_number_names_the_utterances(train, tmp_path):
    with pytest.raises(ValueError, match="not a finite loss on the batch of .*-(anger|sadness)[0-3].*Listen"):
        train(tmp_path, learning_rate=1e30)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_score_that_is_no_number_names_the_utterances(train, tmp_path, monkeypatch):
    ask = System._ask

    def spoil(self, *given):
        output = ask(self, *given)
        return output._replace(logits=output.logits / float(self.training))

    monkeypatch.setattr(System, "_ask", spoil)
    with pytest.raises(ValueError, match="not a finite logits on the batch of .*[de]-anger[0-3]"):
        train(tmp_path)


def test_a_loss_that_is_not_finite_is_named_once_the_device_is_asked(untrained):
    trained = untrained()
    trained._unchecked = [(torch.tensor(i != 2), torch.tensor([i, i + 1])) for i in range(4)]
    with pytest.raises(ValueError, match=rf"loss on the batch of {trained.train_set.utterances[2].id}, "):
        trained._check_losses()
