"""One body for every model in MODELS. A new model needs its lines in SMALL, OTHER and TIMES."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from emotion import models
from emotion.blocks import BiLSTM
from emotion.features import Frontend, FrontendConfig
from emotion.models import MODELS
from emotion.settings import SettingError, from_plain, to_plain

CHANNELS, BANDS, CLASSES = 3, 20, 5
SMALL = {"serial": {"channels": [4, 8], "pools": [[1, 2], [2, 2]], "features": 8, "lstm_width": 8}}
OTHER = {"serial": {
    "channels": [4, 6], "kernel": 5, "stem_stride": [1, 2], "pools": [[2, 2], [2, 2]], "features": 6,
    "lstm_width": 6, "lstm_layers": 2, "cnn_dropout": 0.0, "lstm_dropout": 0.0,
}}
TIMES = {"serial": [{}, {"pools": [[2, 2], [2, 2]]}, {"pools": [[3, 2], [1, 2]]}, {"stem_stride": [1, 2]},
                    {"stem_stride": [3, 1], "kernel": 5}, {"channels": [4], "pools": [[4, 2]]}]}
EVERY_TIMES = [(name, options) for name in TIMES for options in TIMES[name]]
EVERY_OPTION = [(name, f.name) for name in MODELS for f in dataclasses.fields(MODELS[name].Config)]
every_model = pytest.mark.parametrize("name", MODELS)
close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-4)


def build(name, seed=1, **options):
    """Its batch norms shift and scale, as after training: fresh ones would hide a mistake in the padding."""
    torch.manual_seed(seed)
    model = models.build(name, CHANNELS, BANDS, CLASSES, {**SMALL[name], **options}).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.bias, std=0.3)
    return model


def random_mel(lengths, seed=2, garbage=0.0):
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(len(lengths), CHANNELS, max(lengths), BANDS, generator=generator)
    for row, length in zip(mel, lengths):
        row[:, length:] *= garbage
    return mel


def ask(model, lengths, garbage=0.0, **kwargs):
    return model(random_mel(lengths, garbage=garbage, **kwargs), None, torch.tensor(lengths))


def heard_by_the_lstm(model, mel):
    """What the CNN hands to the LSTM (steps, features), for one utterance."""
    (lstm,) = (m for m in model.modules() if isinstance(m, BiLSTM))
    caught = []
    hook = lstm.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0][0].detach()))
    model(mel, None, torch.tensor([mel.shape[2]]))
    hook.remove()
    return caught[0]


def steps_that_hear(model, frame, num_frames):
    """Which steps change when that frame does, over several random utterances."""
    changed = set()
    for seed in range(4):
        mel = random_mel([num_frames], seed)
        before = heard_by_the_lstm(model, mel)
        mel[:, :, frame] = 10 * torch.randn(CHANNELS, BANDS)
        changed |= set((heard_by_the_lstm(model, mel) - before).abs().sum(dim=1).nonzero()[:, 0].tolist())
    return changed


# Known answers

@every_model
def test_the_answer_has_the_shapes_it_promises(name):
    model = build(name)
    output = ask(model, [50, 23, 1])
    steps = output.weights.shape[1]
    assert output.logits.shape == (3, CLASSES) and output.step_logits.shape == (3, steps, CLASSES)
    assert output.step_lengths.tolist() == [-(-length // model.reach.hop) for length in (50, 23, 1)]
    assert steps == output.step_lengths[0] and isinstance(output.heads, dict)


@every_model
def test_the_utterance_is_the_weighted_mean_of_its_steps(name):
    output = ask(build(name), [50, 23, 1])
    for i in range(3):
        mean = sum(weight * step for weight, step in zip(output.weights[i], output.step_logits[i]))
        close(output.logits[i], mean)


@every_model
def test_the_weights_sum_to_one_and_are_zero_in_the_padding(name):
    output = ask(build(name), [50, 23, 1])
    torch.testing.assert_close(output.weights.sum(dim=1), torch.ones(3))
    for row, length in zip(output.weights, output.step_lengths):
        assert (row >= 0).all() and not row[length:].any()


@pytest.mark.parametrize("name, options", EVERY_TIMES, ids=str)
def test_each_step_hears_exactly_the_frames_that_reach_says(name, options):
    model, num_frames = build(name, **options), 60
    field, hop, centre = model.reach.field, model.reach.hop, model.reach.centre
    first, last = centre - (field - 1) / 2, centre + (field - 1) / 2
    for frame in (29, 30, 31, 32):
        heard = {step for step in range(-(-num_frames // hop)) if first <= frame - step * hop <= last}
        assert steps_that_hear(model, frame, num_frames) == heard


@every_model
def test_every_parameter_learns(name):
    model = build(name).train()
    output = ask(model, [50, 23, 41])
    loss = nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 4]))
    (loss + sum(head.square().mean() for head in output.heads.values())).backward()
    for parameter, tensor in model.named_parameters():
        assert tensor.grad.isfinite().all() and tensor.grad.any(), parameter


@every_model
def test_one_sample_of_audio_is_answered(name):
    mel, lengths = Frontend(FrontendConfig(num_bands=BANDS))(torch.tensor([[0.5]]), torch.tensor([1]))
    output = build(name)(mel, None, lengths)
    assert output.logits.isfinite().all() and output.step_lengths.tolist() == [1]


@every_model
@pytest.mark.parametrize("num_channels, num_bands", [(1, 64), (3, 17), (1, 1)])
def test_any_number_of_channels_and_bands_fits(name, num_channels, num_bands):
    model = models.build(name, num_channels, num_bands, 2, SMALL[name]).eval()
    output = model(torch.randn(2, num_channels, 9, num_bands), None, torch.tensor([9, 4]))
    assert output.logits.isfinite().all() and output.logits.shape == (2, 2)


# Invariance

@every_model
@pytest.mark.parametrize("garbage", [0.0, 1.0, 1e6])
def test_padding_never_changes_a_score_even_with_loud_garbage_in_it(name, garbage):
    model, lengths = build(name), [50, 37, 36, 2, 1]
    together = ask(model, lengths, garbage)
    for i, length in enumerate(lengths):
        alone = model(random_mel(lengths)[i : i + 1, :, :length], None, torch.tensor([length]))
        steps = int(alone.step_lengths)
        close(together.logits[i], alone.logits[0])
        close(together.weights[i, :steps], alone.weights[0])
        close(together.step_logits[i, :steps], alone.step_logits[0])
        assert steps == together.step_lengths[i]


@every_model
@pytest.mark.parametrize("garbage", [1.0, 1e6])
def test_padding_never_changes_a_score_from_the_waveform_on(name, garbage):
    frontend, model = Frontend(FrontendConfig(num_bands=BANDS)), build(name)
    num_samples = torch.tensor([16_000, 9_999, 160, 1])
    waveforms = 0.1 * torch.randn(4, 24_000)
    waveforms[:, 16_000:] *= garbage
    for row, count in zip(waveforms, num_samples):
        row[count:16_000] *= garbage
    mel, lengths = frontend(waveforms, num_samples)
    together = model(mel, None, lengths)
    for i, count in enumerate(num_samples):
        mel, lengths = frontend(waveforms[i : i + 1, :count], num_samples[i : i + 1])
        alone = model(mel, None, lengths)
        torch.testing.assert_close(together.logits[i], alone.logits[0], atol=1e-3, rtol=1e-3)


@every_model
def test_neighbours_in_the_batch_do_not_matter(name):
    model, lengths = build(name), [50, 37, 50]
    mel = random_mel(lengths)
    order = [2, 0, 1]
    shuffled = model(mel[order], None, torch.tensor(lengths)[order])
    close(shuffled.logits, ask(model, lengths).logits[order])


@every_model
def test_channels_last_memory_changes_nothing(name):
    model, lengths = build(name), [50, 37]
    usual = ask(model, lengths).logits
    mel = random_mel(lengths).contiguous(memory_format=torch.channels_last)
    quick = model.to(memory_format=torch.channels_last)(mel, None, torch.tensor(lengths)).logits
    close(quick, usual)


@every_model
def test_evaluation_draws_nothing(name):
    model = build(name)
    assert torch.equal(ask(model, [50, 37]).logits, ask(model, [50, 37]).logits)


@every_model
def test_in_bfloat16_the_mean_over_steps_is_still_taken_in_full_precision(name):
    with torch.autocast("cpu", torch.bfloat16):
        output = ask(build(name), [50, 23])
    mean = (output.weights[..., None] * output.step_logits).sum(dim=1)
    assert output.logits.dtype == output.step_logits.dtype == output.weights.dtype == torch.float32
    torch.testing.assert_close(output.logits, mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(output.logits, ask(build(name), [50, 23]).logits, atol=0.05, rtol=0.05)


# Options

@pytest.mark.parametrize("name, option", EVERY_OPTION)
def test_every_option_changes_the_answer(name, option):
    answers = []
    for options in ({}, {option: OTHER[name][option]}):
        model = build(name, **options).train()
        torch.manual_seed(3)  # the same dropout
        answers.append(ask(model, [50, 23]))
    usual, other = answers
    same_steps = usual.step_logits.shape == other.step_logits.shape
    assert not same_steps or not torch.allclose(usual.logits, other.logits)


@every_model
def test_the_default_options_build(name):
    model = models.build(name, 3, 64, 8, {}).eval()
    mel = torch.randn(2, 3, 120, 64)
    assert model(mel, None, torch.tensor([120, 60])).logits.shape == (2, 8)


@pytest.mark.parametrize("dropout", ["cnn_dropout", "lstm_dropout"])
def test_each_dropout_of_the_serial_model_draws_in_training(dropout):
    model = build("serial", **{"cnn_dropout": 0.0, "lstm_dropout": 0.0, dropout: 0.5}).train()
    assert not torch.equal(ask(model, [50, 23]).logits, ask(model, [50, 23]).logits)


# Round trip

@every_model
def test_the_config_survives_plain_data(name):
    config = build(name).config
    assert models.build(name, CHANNELS, BANDS, CLASSES, to_plain(config)).config == config


# Refusals

def test_an_unknown_model_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no model 'seriel'; there are .*serial"):
        models.build("seriel", 3, 64, 8, {})


@every_model
def test_an_unknown_option_is_refused_with_the_nearest(name):
    known = dataclasses.fields(MODELS[name].Config)[0].name
    with pytest.raises(SettingError, match=f"Did you mean '{known}'"):
        models.build(name, 3, 64, 8, {known[:-1]: 1})


@pytest.mark.parametrize("options, remedy", [
    ({"channels": [4, 8, 16]}, "same length"),
    ({"channels": [], "pools": []}, "one entry"),
    ({"kernel": 4}, "Use 3 or 5"),
    ({"lstm_layers": 0}, "at least 1"),
    ({"lstm_width": 0}, "at least 1"),
    ({"features": 0}, "at least 1"),
    ({"stem_stride": [0, 1]}, "at least 1"),
    ({"pools": [[1, 2], [1, 0]]}, "at least 1"),
    ({"channels": [0, 8]}, "at least 1"),
])
def test_settings_that_make_no_serial_model_are_refused(options, remedy):
    with pytest.raises(ValueError, match=remedy):
        from_plain(MODELS["serial"].Config, {**SMALL["serial"], **options})
