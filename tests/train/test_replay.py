import pytest
import torch

from emotion import checkpoint, labels
from emotion.features import FrontendConfig
from emotion.train.replay import FROM_TIME, GRID_FRAMES, Replayed, on_grid

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("frames, expected", [(1, 8), (8, 8), (9, 16), (48, 48)])
def test_frames_are_filled_up_to_the_grid(frames, expected):
    mel, prosody, lengths = torch.ones(2, 3, frames, 5), torch.ones(2, frames, 7), torch.tensor([frames, 1])
    longer, same, contours = on_grid(mel, prosody, lengths)
    assert longer.shape == (2, 3, expected, 5) and contours.shape == (2, expected, 7) and same is lengths
    assert torch.equal(longer[:, :, :frames], mel) and not longer[:, :, frames:].any()
    assert longer.is_contiguous(memory_format=torch.channels_last)
    assert len(on_grid(mel, None, lengths)) == 2


def built(name="serial", **options):
    torch.manual_seed(1)
    small = {"features": 8, "lstm_width": 8, **options}
    frontend = FrontendConfig(num_bands=20, prosody=name == "parallel")
    return checkpoint.build(name, small, frontend, labels.scheme("own", ["anger", "sadness"])).model


def batch(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(6, 3, frames, 20, generator=generator)
    prosody = torch.randn(6, frames, 7, generator=generator)
    return mel, prosody, torch.tensor([frames, frames - 1, frames - 3, 9, 8, 7])


def learnt(answer, model, given):
    """Logits, gradients of all weights and statistics of batch norm after one pass, in which all answers count."""
    model.zero_grad()
    output = answer(*given)
    (output.logits.square().sum() + sum(head.float().square().mean() for head in output.heads.values())).backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    return output.logits.detach(), gradients, {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("name", ["serial", "parallel", "conv3d", "lstm"])
def test_a_network_answers_on_the_grid_as_before(name):
    """In training batch norm counts the padding too."""
    model, (mel, prosody, lengths) = built(name).eval(), batch(GRID_FRAMES + 3)
    longer, _, contours = on_grid(mel, prosody, lengths)
    torch.testing.assert_close(model(longer, contours, lengths).logits, model(mel, prosody, lengths).logits)


@on_a_gpu
@pytest.mark.parametrize("name, options", [
    ("serial", {"cnn_dropout": 0.0, "lstm_dropout": 0.0, "lstm_layers": 2, "lstm_residual": True}),
    ("serial", {"cnn_dropout": 0.0, "lstm_dropout": 0.0, "transformer_layers": 1, "transformer_dropout": 0.0,
                "se": True, "pooling": "statistics", "sex_head": True, "dimensions": ["arousal"]}),
    ("parallel", {"cnn_dropout": 0.0, "lstm_dropout": 0.0}),
    ("conv3d", {"cnn_dropout": 0.0, "lstm_dropout": 0.0}),
])
@pytest.mark.parametrize("reduced", [False, True])
def test_a_replayed_pass_is_that_of_the_network(name, options, reduced, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)   # its products have three digits
    models = [built(name, **options).cuda().train() for _ in range(2)]
    replayed = Replayed(models[1], torch.device("cuda", 0))
    for step in range(2 * FROM_TIME):
        for frames in (GRID_FRAMES, 2 * GRID_FRAMES):
            given = [part.cuda() for part in batch(frames, step)]
            with torch.autocast("cuda", torch.bfloat16, enabled=reduced):
                ours, theirs = learnt(models[0], models[0], given), learnt(replayed, models[1], given)
            tolerance = {"rtol": 0.05, "atol": 0.05} if reduced else {"rtol": 1e-3, "atol": 1e-3}
            torch.testing.assert_close(ours, theirs, **tolerance)
    assert len(replayed._recorded) == 2


@on_a_gpu
def test_dropout_is_drawn_anew_in_every_replay():
    model = built(cnn_dropout=0.5).cuda().train()
    replayed, given = Replayed(model, torch.device("cuda", 0)), [part.cuda() for part in batch(GRID_FRAMES)]
    logits = [replayed(*given).logits.detach().clone() for _ in range(FROM_TIME + 3)]
    assert len({tuple(answer.flatten().tolist()) for answer in logits}) == len(logits)
