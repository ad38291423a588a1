"""One body for every network of VARIANTS. A new model needs its lines in SMALL, OTHER and TIMES, and a variant."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from emotion import models
from emotion.blocks import Memory
from emotion.features import Frontend, FrontendConfig
from emotion.hardware import channels_last
from emotion.heads import POOLINGS
from emotion.models import MODELS, Inputs
from emotion.prosody import NUM_CONTOURS
from emotion.settings import SettingError, from_plain, to_plain

CHANNELS, BANDS, CLASSES = 3, 20, 5
CNN = {"channels": [4, 8], "pools": [[1, 2], [2, 2]], "stem_stride": [2, 2], "features": 8}
LSTM = {"lstm_width": 8, "transformer_heads": 2}
SMALL = {
    "serial": {**CNN, **LSTM}, "lstm": {"features": 8, **LSTM}, "parallel": {**CNN, **LSTM, "prosody_features": 6},
    "conv3d": {"channels": [4, 8], "patch_frames": 4, "features": 8, **LSTM},
}
MEMORY = {
    "transformer_layers": 1, "transformer_heads": 4, "transformer_dropout": 0.0, "lstm_layers": 2, "lstm_width": 6,
    "lstm_dropout": 0.0, "bidirectional": False, "lstm_residual": True, "pooling": "mean", "sex_head": True,
    "dimensions": ["arousal", "valence"],
}
OTHER_CNN = {
    "channels": [4, 6], "kernel": 5, "stem_stride": [1, 2], "pools": [[2, 2], [2, 2]], "features": 4,
    "bottleneck": 2, "bands": "average", "se": True, "cnn_dropout": 0.0,
}
OTHER = {   # another value for every option
    "serial": {**OTHER_CNN, **MEMORY},
    "lstm": {"stacked_frames": 3, "features": 6, **MEMORY},
    "parallel": {**OTHER_CNN, **MEMORY, "fusion": "early", "prosody_features": 4},
    "conv3d": {"patch_frames": 6, "channels": [4, 6], "kernel": 5, "features": 4, "se": True, "cnn_dropout": 0.0,
               **MEMORY},
}
ONLY_WITH = {   # options that count only beside another
    "transformer_heads": {"transformer_layers": 1}, "transformer_dropout": {"transformer_layers": 1},
}
TIMES = {
    "serial": [{}, {"pools": [[2, 2], [2, 2]]}, {"pools": [[3, 2], [1, 2]]}, {"stem_stride": [1, 2]},
               {"stem_stride": [3, 1], "kernel": 5}, {"channels": [4], "pools": [[4, 2]]}, {"bottleneck": 2}],
    "lstm": [{}, {"stacked_frames": 1}, {"stacked_frames": 7}],
    "parallel": [{"fusion": "early"}, {"fusion": "early", "stem_stride": [3, 2]}],
    "conv3d": [{}, {"patch_frames": 5}, {"kernel": 1}, {"channels": [4, 4, 4]}],
}
VARIANTS = {
    "serial": ("serial", {}),
    "cnn": ("serial", {"lstm_layers": 0}),
    "one way": ("serial", {"bidirectional": False}),
    **{pooling: ("serial", {"pooling": pooling}) for pooling in POOLINGS if pooling != "attention"},
    "last of one way": ("serial", {"pooling": "last", "bidirectional": False}),
    "dimensions": ("serial", {"dimensions": ["arousal", "valence", "dominance"]}),
    "everything": ("serial", {
        "se": True, "transformer_layers": 2, "lstm_layers": 2, "lstm_residual": True, "bottleneck": 2,
        "bands": "average", "pooling": "statistics", "sex_head": True, "dimensions": ["valence"],
    }),
    "lstm": ("lstm", {"dimensions": ["arousal"]}),
    "early": ("parallel", {"fusion": "early", "sex_head": True, "dimensions": ["arousal", "valence"]}),
    "late": ("parallel", {"fusion": "late", "sex_head": True, "dimensions": ["arousal", "valence"]}),
    "late statistics": ("parallel", {"fusion": "late", "pooling": "statistics", "se": True, "transformer_layers": 1}),
    "weighted": ("parallel", {"fusion": "weighted", "sex_head": True, "dimensions": ["dominance", "arousal"]}),
    "average": ("parallel", {"fusion": "average"}),
    "conv3d": ("conv3d", {}),
    "conv3d with se": ("conv3d", {
        "se": True, "transformer_layers": 1, "lstm_residual": True, "dimensions": ["arousal"],
    }),
}
NONLINEAR = ("last", "last of one way", "late", "late statistics", "weighted", "average")   # in their steps
EVERY_TIMES = [(name, options) for name in TIMES for options in TIMES[name]]
EVERY_OPTION = [(name, f.name) for name in MODELS for f in dataclasses.fields(MODELS[name].Config)]
DIMENSIONS = ("dimensions", "step_dimensions")   # the heads of a model that has some
every_model = pytest.mark.parametrize("name", MODELS)
every_variant = pytest.mark.parametrize("variant", VARIANTS)
close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-4)


def sizes(name, channels=CHANNELS, bands=BANDS):
    return Inputs(channels, bands, NUM_CONTOURS if MODELS[name].uses_prosody else 0)


def build_model(name, seed=1, **options):
    """Its batch norms shift and scale, as after training: fresh ones would hide a mistake in the padding."""
    torch.manual_seed(seed)
    model = models.build(name, sizes(name), CLASSES, {**SMALL[name], **options}).eval()
    for norm in (m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d))):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.bias, std=0.3)
    return model


def build(variant, seed=1):
    name, options = VARIANTS[variant]
    return build_model(name, seed, **options)


def random_features(lengths, seed=2, garbage=0.0):
    """mel and prosody with that much garbage in the padding."""
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(len(lengths), CHANNELS, max(lengths), BANDS, generator=generator)
    prosody = torch.randn(len(lengths), max(lengths), NUM_CONTOURS, generator=generator)
    for i, length in enumerate(lengths):
        mel[i, :, length:] *= garbage
        prosody[i, length:] *= garbage
    return mel, prosody


def ask(model, lengths, garbage=0.0, **kwargs):
    return model(*random_features(lengths, garbage=garbage, **kwargs), torch.tensor(lengths))


def heard_by_the_memory(model, mel, prosody):
    """What the CNN or the stack hands to the LSTM (steps, features), for one utterance."""
    (memory,) = (m for m in model.modules() if isinstance(m, Memory))
    caught = []
    hook = memory.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0][0].detach()))
    model(mel, prosody, torch.tensor([mel.shape[2]]))
    hook.remove()
    return caught[0]


def steps_that_hear(model, frame, num_frames):
    """Which steps change when that frame does, over several random utterances."""
    changed = set()
    for seed in range(4):
        mel, prosody = random_features([num_frames], seed)
        before = heard_by_the_memory(model, mel, prosody)
        mel[:, :, frame] = 10 * torch.randn(CHANNELS, BANDS)
        prosody[:, frame] = 10 * torch.randn(NUM_CONTOURS)
        changed |= set((heard_by_the_memory(model, mel, prosody) - before).abs().sum(dim=1).nonzero()[:, 0].tolist())
    return changed


# Known answers

@every_variant
def test_the_answer_has_the_shapes_it_promises(variant):
    model = build(variant)
    output = ask(model, [50, 23, 1])
    steps = output.weights.shape[1]
    assert output.logits.shape == (3, CLASSES) and output.step_logits.shape == (3, steps, CLASSES)
    assert output.step_lengths.tolist() == [-(-length // model.reach.hop) for length in (50, 23, 1)]
    assert steps == output.step_lengths[0]
    asked = {"sex": model.config.sex_head, **dict.fromkeys(DIMENSIONS, model.config.dimensions)}
    assert output.heads.keys() == {"embedding"} | {name for name in asked if asked[name]}
    assert output.heads["embedding"].ndim == 2 and len(output.heads["embedding"]) == 3
    assert not model.config.sex_head or output.heads["sex"].shape == (3, 2)
    if count := len(model.config.dimensions):
        assert [output.heads[name].shape for name in DIMENSIONS] == [(3, count), (3, steps, count)]
        assert all(((0 <= output.heads[name]) & (output.heads[name] <= 1)).all() for name in DIMENSIONS)


def test_a_learned_weight_of_the_branches_holds_for_all_that_is_answered():
    model = build("weighted")
    mel, prosody = random_features([40, 30])
    lengths = torch.tensor([40, 30])
    answers = []
    for balance in (-40.0, 40.0, 0.0):
        model.fuse.balance.data.fill_(balance)
        output = model(mel, prosody, lengths)
        answers.append([output.weights, *(output.heads[name] for name in ("sex", *DIMENSIONS))])
    for second, first, both in zip(*answers, strict=True):
        assert not torch.allclose(first, second)
        close(both, (first + second) / 2)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant not in NONLINEAR])
def test_the_utterance_is_the_weighted_mean_of_its_steps(variant):
    output = ask(build(variant), [50, 23, 1])
    for i in range(3):
        mean = sum(weight * step for weight, step in zip(output.weights[i], output.step_logits[i]))
        close(output.logits[i], mean)


def test_the_mean_of_posteriors_is_their_mean():
    model = build("average")
    features, lengths = random_features([50, 23]), torch.tensor([50, 23])
    caught = []
    for head in model.fuse.heads:
        head.register_forward_hook(lambda module, inputs, outputs: caught.append(outputs[0].softmax(1)))
    close(model(*features, lengths).logits.softmax(1), (caught[0] + caught[1]) / 2)


def test_the_last_state_is_each_direction_at_its_own_end():
    model = build("last")
    caught = []
    model.memory.register_forward_hook(lambda module, inputs, steps: caught.append(steps))
    logits = ask(model, [50, 23]).logits
    steps, lengths, half = caught[0], [13, 6], caught[0].shape[2] // 2
    ends = torch.stack([torch.cat([row[n - 1, :half], row[0, half:]]) for row, n in zip(steps, lengths)])
    close(logits, model.head.classifier(ends))


def test_statistics_are_the_mean_and_the_deviation_of_the_true_steps():
    model = build("statistics")
    caught = []
    model.memory.register_forward_hook(lambda module, inputs, steps: caught.append(steps))
    logits = ask(model, [50, 23]).logits
    moments = torch.stack([
        torch.cat([row[:n].mean(0), (row[:n].var(0, correction=0) + 1e-5).sqrt()]) for row, n in zip(caught[0], [13, 6])
    ])
    close(logits, model.head.classifier(moments))


def test_a_one_way_lstm_does_not_know_the_future():
    model, lengths = build("one way"), torch.tensor([50])
    mel, prosody = random_features([50])
    before = model(mel, prosody, lengths).step_logits
    mel[:, :, 30:] += 1
    first_to_hear = (30 - (model.reach.field - 1) / 2 - model.reach.centre) / model.reach.hop
    changed = (model(mel, prosody, lengths).step_logits - before).abs().sum(2)[0].nonzero()[:, 0]
    assert changed[0] == -(-first_to_hear // 1)


def test_prosody_joined_at_the_input_equals_channels_that_are_alike_in_all_bands():
    """Away from the lowest and the highest bands, where a 2D convolution sees zeros beyond the border."""
    cnn = build("early").cnn
    mel, prosody = random_features([50])
    maps = cnn.stem.conv(mel) + cnn.contours(prosody.transpose(1, 2))[..., None]
    kernel = cnn.contours.weight[..., None] / 5   # each of five bands gives a fifth
    wide = torch.cat([cnn.stem.conv.weight, kernel.expand(-1, -1, -1, 5)], dim=1)
    planes = prosody.transpose(1, 2)[..., None].expand(-1, -1, -1, BANDS)
    stride = cnn.stem.conv.stride
    expected = nn.functional.conv2d(torch.cat([mel, planes], dim=1), wide, stride=stride, padding=2)
    close(maps[..., 1:-1], expected[..., 1:-1])


@every_variant
def test_the_weights_sum_to_one_and_are_zero_in_the_padding(variant):
    output = ask(build(variant), [50, 23, 1])
    torch.testing.assert_close(output.weights.sum(dim=1), torch.ones(3))
    for row, length in zip(output.weights, output.step_lengths):
        assert (row >= 0).all() and not row[length:].any()


@pytest.mark.parametrize("name, options", EVERY_TIMES, ids=str)
def test_each_step_hears_exactly_the_frames_that_reach_says(name, options):
    model, num_frames = build_model(name, **options), 60
    field, hop, centre = model.reach.field, model.reach.hop, model.reach.centre
    first, last = centre - (field - 1) / 2, centre + (field - 1) / 2
    for frame in (29, 30, 31, 32):
        heard = {step for step in range(-(-num_frames // hop)) if first <= frame - step * hop <= last}
        assert steps_that_hear(model, frame, num_frames) == heard


@every_variant
def test_every_parameter_learns(variant):
    model = build(variant).train()
    output = ask(model, [50, 23, 41])
    loss = nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 4]))
    (loss + sum(head.square().mean() for name, head in output.heads.items() if name != "embedding")).backward()
    for parameter, tensor in model.named_parameters():
        assert tensor.grad.isfinite().all(), parameter
        assert tensor.grad.any() or parameter.endswith("score.2.bias"), parameter   # attention only knows differences


@every_variant
def test_one_sample_of_audio_is_answered(variant):
    model = build(variant)
    frontend = Frontend(FrontendConfig(num_bands=BANDS, prosody=model.uses_prosody))
    output = model(*frontend(torch.tensor([[0.5]]), torch.tensor([1])))
    assert output.logits.isfinite().all() and output.step_lengths.tolist() == [1]


@every_model
@pytest.mark.parametrize("num_channels, num_bands", [(1, 64), (3, 17), (1, 1)])
def test_any_number_of_channels_and_bands_fits(name, num_channels, num_bands):
    model = models.build(name, sizes(name, num_channels, num_bands), 2, SMALL[name]).eval()
    features = torch.randn(2, num_channels, 9, num_bands), torch.randn(2, 9, NUM_CONTOURS)
    output = model(*features, torch.tensor([9, 4]))
    assert output.logits.isfinite().all() and output.logits.shape == (2, 2)


# Invariance

@every_variant
@pytest.mark.parametrize("garbage", [0.0, 1.0, 1e6])
def test_padding_never_changes_a_score_even_with_loud_garbage_in_it(variant, garbage):
    model, lengths = build(variant), [50, 37, 36, 2, 1]
    together = ask(model, lengths, garbage)
    mel, prosody = random_features(lengths)
    for i, length in enumerate(lengths):
        alone = model(mel[i : i + 1, :, :length], prosody[i : i + 1, :length], torch.tensor([length]))
        steps = int(alone.step_lengths)
        close(together.logits[i], alone.logits[0])
        close(together.weights[i, :steps], alone.weights[0])
        close(together.step_logits[i, :steps], alone.step_logits[0])
        if model.config.dimensions:
            close(together.heads["dimensions"][i], alone.heads["dimensions"][0])
            close(together.heads["step_dimensions"][i, :steps], alone.heads["step_dimensions"][0])
        assert steps == together.step_lengths[i]


@every_variant
@pytest.mark.parametrize("garbage", [1.0, 1e6])
def test_padding_never_changes_a_score_from_the_waveform_on(variant, garbage):
    model = build(variant)
    frontend = Frontend(FrontendConfig(num_bands=BANDS, prosody=model.uses_prosody))
    num_samples = torch.tensor([16_000, 9_999, 160, 1])
    waveforms = 0.1 * torch.randn(4, 24_000)
    waveforms[:, 16_000:] *= garbage
    for row, count in zip(waveforms, num_samples):
        row[count:16_000] *= garbage
    together = model(*frontend(waveforms, num_samples))
    for i, count in enumerate(num_samples):
        alone = model(*frontend(waveforms[i : i + 1, :count], num_samples[i : i + 1]))
        torch.testing.assert_close(together.logits[i], alone.logits[0], atol=1e-3, rtol=1e-3)


@every_variant
def test_neighbours_in_the_batch_do_not_matter(variant):
    model, lengths = build(variant), [50, 37, 50]
    mel, prosody = random_features(lengths)
    order = [2, 0, 1]
    shuffled = model(mel[order], prosody[order], torch.tensor(lengths)[order])
    close(shuffled.logits, ask(model, lengths).logits[order])


@every_variant
def test_channels_last_memory_changes_nothing(variant):
    model, lengths = build(variant), [50, 37]
    usual = ask(model, lengths).logits
    mel, prosody = random_features(lengths)
    mel = mel.contiguous(memory_format=torch.channels_last)
    quick = channels_last(model)(mel, prosody, torch.tensor(lengths)).logits
    close(quick, usual)


@every_variant
def test_evaluation_draws_nothing(variant):
    model = build(variant)
    assert torch.equal(ask(model, [50, 37]).logits, ask(model, [50, 37]).logits)


@every_variant
def test_without_gradients_the_answer_is_the_same(variant):
    """torch has another, fused path for a Transformer layer there."""
    model = build(variant)
    usual = ask(model, [50, 37, 1]).logits
    with torch.inference_mode():
        close(ask(model, [50, 37, 1]).logits, usual.detach())


@every_variant
def test_in_bfloat16_the_answers_are_float32_and_close(variant):
    with torch.autocast("cpu", torch.bfloat16):
        output = ask(build(variant), [50, 23])
    assert output.logits.dtype == output.step_logits.dtype == output.weights.dtype == torch.float32
    torch.testing.assert_close(output.logits, ask(build(variant), [50, 23]).logits, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("variant", ["serial", "mean", "everything", "conv3d"])
def test_in_bfloat16_the_mean_over_steps_is_still_taken_in_full_precision(variant):
    with torch.autocast("cpu", torch.bfloat16):
        output = ask(build(variant), [50, 23])
    mean = (output.weights[..., None] * output.step_logits).sum(dim=1)
    torch.testing.assert_close(output.logits, mean, atol=1e-6, rtol=1e-6)


# Options

@pytest.mark.parametrize("name, option", EVERY_OPTION)
def test_every_option_changes_the_answer(name, option):
    answers = []
    for options in ({}, {option: OTHER[name][option]}):
        model = build_model(name, **ONLY_WITH.get(option, {}), **options).train()
        torch.manual_seed(3)  # the same dropout
        answers.append(ask(model, [50, 23]))
    usual, other = answers
    if head := {"sex_head": "sex", "dimensions": "dimensions"}.get(option):
        assert head in other.heads and head not in usual.heads
        return
    same_steps = usual.step_logits.shape == other.step_logits.shape
    assert not same_steps or not torch.allclose(usual.logits, other.logits)


@every_model
def test_the_default_options_build(name):
    model = models.build(name, sizes(name, 3, 64), 8, {}).eval()
    features = torch.randn(2, 3, 120, 64), torch.randn(2, 120, NUM_CONTOURS)
    assert model(*features, torch.tensor([120, 60])).logits.shape == (2, 8)


@pytest.mark.parametrize("name", ["serial", "parallel", "conv3d"])
@pytest.mark.parametrize("dropout", ["cnn_dropout", "lstm_dropout"])
def test_each_dropout_draws_in_training(name, dropout):
    model = build_model(name, **{"cnn_dropout": 0.0, "lstm_dropout": 0.0, dropout: 0.5}).train()
    assert not torch.equal(ask(model, [50, 23]).logits, ask(model, [50, 23]).logits)


def test_a_bottleneck_saves_weights():
    plain, narrow = (build_model("serial", channels=[32, 64], bottleneck=factor) for factor in (1, 4))
    count = [sum(weight.numel() for weight in model.cnn.blocks.parameters()) for model in (plain, narrow)]
    assert count[1] < count[0] / 4


# Round trip

@every_variant
def test_the_config_survives_plain_data(variant):
    config, name = build(variant).config, VARIANTS[variant][0]
    assert models.build(name, sizes(name), CLASSES, to_plain(config)).config == config


# Refusals

def test_an_unknown_model_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no model 'seriel'; there are .*serial"):
        models.build("seriel", Inputs(3, 64), 8, {})


def test_a_model_without_the_prosody_it_needs_is_refused_and_prosody_for_nothing_too():
    with pytest.raises(ValueError, match="needs prosody.*Set frontend.prosody: true"):
        models.build("parallel", Inputs(3, 64), 8, {})
    with pytest.raises(ValueError, match="no use for prosody.*Set frontend.prosody: false"):
        models.build("serial", Inputs(3, 64, 7), 8, {})


@every_model
def test_an_unknown_option_is_refused_with_the_nearest(name):
    known = dataclasses.fields(MODELS[name].Config)[0].name
    with pytest.raises(SettingError, match=f"Did you mean '{known}'"):
        models.build(name, sizes(name), 8, {known[:-1]: 1})


@pytest.mark.parametrize("name, options, remedy", [
    ("serial", {"channels": [4, 8, 16]}, "same length"),
    ("serial", {"channels": [], "pools": []}, "one entry"),
    ("serial", {"kernel": 4}, "Use 3 or 5"),
    ("serial", {"bands": "mean"}, "flatten or average"),
    ("serial", {"bottleneck": 0}, "at least 1"),
    ("serial", {"lstm_layers": -1}, "at least 0"),
    ("serial", {"lstm_width": 0}, "at least 1"),
    ("serial", {"features": 0}, "at least 1"),
    ("serial", {"stem_stride": [0, 1]}, "at least 1"),
    ("serial", {"pools": [[1, 2], [1, 0]]}, "at least 1"),
    ("serial", {"channels": [0, 8]}, "at least 1"),
    ("serial", {"pooling": "max"}, "one of attention, mean"),
    ("serial", {"pooling": "last", "lstm_layers": 0}, "Use mean"),
    ("lstm", {"stacked_frames": 0}, "at least 1"),
    ("parallel", {"fusion": "middle"}, "one of early, late"),
    ("serial", {"lstm_residual": True, "lstm_layers": 0}, "lstm_layers=0 has none"),
    ("parallel", {"lstm_layers": 0}, "CNN alone"),
    ("parallel", {"pooling": "last"}, "Use attention"),
    ("conv3d", {"kernel": 2}, "Use 3"),
    ("conv3d", {"channels": []}, "at least 1"),
    ("conv3d", {"pooling": "last", "lstm_layers": 0}, "Use mean"),
])
def test_settings_that_make_no_model_are_refused(name, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        from_plain(MODELS[name].Config, {**SMALL[name], **options})


def test_features_that_the_heads_cannot_share_are_refused():
    with pytest.raises(ValueError, match="Choose a divisor"):
        build_model("serial", transformer_layers=1, transformer_heads=3)
