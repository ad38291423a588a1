import pytest
import torch
from torch import nn

from emotion.blocks import (
    LSTM,
    CNNConfig,
    Conv,
    FrameStack,
    PatchCNN,
    Reach,
    ResidualBlock,
    SqueezeExcite,
    folded,
    strided,
)
from emotion.heads import AttentionPool
from emotion.masking import clear

LENGTHS = torch.tensor([13, 8, 1])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


def maps(channels=3, frames=13, bands=9):
    return clear(torch.randn(3, channels, frames, bands), LENGTHS)


def busy(block):
    """Batch norms that shift and scale, as after training: fresh ones would hide a mistake in the padding."""
    for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    return block.eval()


def assert_padding_is_nothing(block, inputs):
    """What comes out of the batch for each row is what comes out of the row alone, and zeros after it."""
    together, lengths = block(inputs, LENGTHS)
    for row, length, after in zip(inputs, LENGTHS, lengths):
        alone, own = block(row[None, :, :length], length[None])
        assert own == after == alone.shape[2]
    for out, row, length, after in zip(together, inputs, LENGTHS, lengths):
        alone, _ = block(row[None, :, :length], length[None])
        torch.testing.assert_close(out[:, :after], alone[0], atol=1e-5, rtol=1e-4)
        assert not out[:, after:].any()


def packed_twin(lstm):
    """torch's own bidirectional LSTM with the same weights."""
    twin = nn.LSTM(lstm.ahead[0].input_size, lstm.ahead[0].hidden_size, len(lstm.ahead),
                   batch_first=True, bidirectional=True)
    for layer, directions in enumerate(zip(lstm.ahead, lstm.back)):
        for suffix, one in zip(("", "_reverse"), directions):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(twin, f"{name}_l{layer}{suffix}").data.copy_(getattr(one, f"{name}_l0"))
    return twin


# Known answers

@pytest.mark.parametrize("length, stride, outputs", [(1, 2, 1), (4, 2, 2), (5, 2, 3), (7, 3, 3), (6, 1, 6)])
def test_a_last_incomplete_stretch_still_gives_an_output(length, stride, outputs):
    assert strided(torch.tensor([length]), stride).tolist() == [outputs]


def test_reach_counts_two_stacked_kernels_of_three_as_a_field_of_five():
    assert Reach().through(3, padding=1).through(3, padding=1) == Reach(5, 1, 0.0)


def test_reach_after_a_pool_of_two_lies_between_two_frames():
    assert Reach().through(2, 2) == Reach(2, 2, 0.5)


def test_reach_grows_by_the_hop_before_it():
    assert Reach().through(5, 2, 2).through(3, 1, 1).through(2, 2) == Reach(5 + 2 * 2 + 1 * 2, 4, 1.0)


def test_a_convolution_rectifies_unless_told_not_to():
    inputs = maps()
    assert busy(Conv(3, 4))(inputs, LENGTHS)[0].min() == 0
    assert busy(Conv(3, 4, relu=False))(inputs, LENGTHS)[0].min() < 0


def test_a_residual_block_whose_convolutions_are_dead_only_pools_its_input():
    block = ResidualBlock(3, 3, 3, (2, 3), dropout=0.0).eval()
    nn.init.zeros_(block.layers[1].norm.weight)
    inputs = maps().relu()
    pooled = nn.functional.max_pool2d(inputs, (2, 3), ceil_mode=True)
    assert block.shortcut is None and torch.equal(block(inputs, LENGTHS)[0], pooled)


def test_the_shortcut_appears_where_the_channels_change():
    block = busy(ResidualBlock(3, 5, 3, (1, 1), dropout=0.0))
    inputs = maps()
    inner, _ = block.layers[1](*block.layers[0](inputs, LENGTHS))
    expected = clear((inner + block.shortcut(inputs, LENGTHS)[0]).relu(), LENGTHS)
    torch.testing.assert_close(block(inputs, LENGTHS)[0], expected)


def test_dropout_of_a_block_takes_whole_channels_and_only_in_training():
    block = ResidualBlock(3, 64, 1, (1, 1), dropout=0.5)
    nn.init.ones_(block.layers[1].norm.bias)  # no channel is silent by itself
    silent = (block(maps(), LENGTHS)[0][0] == 0).flatten(1).all(1).float().mean()
    assert 0.25 < silent < 0.75
    assert not (block.eval()(maps(), LENGTHS)[0][0] == 0).flatten(1).all(1).any()


def test_squeeze_and_excitation_scales_a_channel_alike_everywhere_by_the_mean_of_true_frames():
    block, inputs = SqueezeExcite(3).eval(), maps()
    scale = block(inputs, LENGTHS) / inputs
    for row, own, length in zip(scale, inputs, LENGTHS):
        assert (row[:, :length] - row[:, :1, :1]).abs().max() < 1e-5
        mean = own[:, :length].mean((1, 2))
        torch.testing.assert_close(row[:, 0, 0], block.excite(block.squeeze(mean).relu()).sigmoid())


def test_frames_are_stacked_in_order_and_the_last_stack_is_filled_with_zeros():
    stack = FrameStack(1, 4, stacked_frames=4)
    nn.init.eye_(stack.project.weight)
    nn.init.zeros_(stack.project.bias)
    frames = torch.arange(1.0, 7)[None, :, None]
    steps, lengths = stack(frames, torch.tensor([6]))
    assert steps.tolist() == [[[1, 2, 3, 4], [5, 6, 0, 0]]] and lengths.tolist() == [2]


def test_a_residual_lstm_adds_its_input():
    lstm = LSTM(10, 5, 1, dropout=0.0, residual=True)
    steps = torch.randn(3, 13, 10)
    without = lstm(steps, LENGTHS) - steps
    lstm.around = None
    torch.testing.assert_close(without, lstm(steps, LENGTHS), atol=1e-6, rtol=1e-5)


def test_dropout_of_the_lstm_is_on_the_output_of_its_last_layer():
    lstm = LSTM(6, 50, 1, dropout=0.5)
    silent = (lstm(torch.randn(3, 13, 6), LENGTHS) == 0).float().mean()
    assert 0.4 < silent < 0.6
    assert (lstm.eval()(torch.randn(3, 13, 6), LENGTHS) != 0).all()


# Fast equals slow

@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_bilstm_equals_torchs_packed_one_with_the_same_weights(num_layers):
    lstm = LSTM(6, 5, num_layers, dropout=0.5).eval()
    steps = torch.randn(3, 13, 6)
    packed = nn.utils.rnn.pack_padded_sequence(steps, LENGTHS, batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed_twin(lstm)(packed)[0], batch_first=True)
    for row, wanted, length in zip(lstm(steps, LENGTHS), expected, LENGTHS):
        torch.testing.assert_close(row[:length], wanted[:length], atol=1e-6, rtol=1e-5)


def test_the_gradients_of_the_bilstm_equal_those_of_torchs_packed_one():
    lstm, inputs = LSTM(6, 5, 2, dropout=0.0), torch.randn(3, 13, 6)
    twin = packed_twin(lstm)
    lstm(inputs, LENGTHS)[torch.arange(13) < LENGTHS[:, None]].square().sum().backward()
    packed = nn.utils.rnn.pack_padded_sequence(inputs, LENGTHS, batch_first=True)
    twin(packed)[0].data.square().sum().backward()
    for layer, (ahead, back) in enumerate(zip(lstm.ahead, lstm.back)):
        for suffix, one in (("", ahead), ("_reverse", back)):
            expected = getattr(twin, f"weight_ih_l{layer}{suffix}").grad
            torch.testing.assert_close(one.weight_ih_l0.grad, expected, atol=1e-5, rtol=1e-4)


# Invariance

@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_padding_never_changes_a_convolution(kernel, stride):
    assert_padding_is_nothing(busy(Conv(3, 4, kernel, stride)), maps())


@pytest.mark.parametrize("pool", [(1, 2), (2, 2), (3, 1)])
@pytest.mark.parametrize("outputs", [3, 5])
@pytest.mark.parametrize("options", [{}, {"se": True}, {"bottleneck": 2}], ids=str)
def test_padding_never_changes_a_residual_block(outputs, pool, options):
    assert_padding_is_nothing(busy(ResidualBlock(3, outputs, 3, pool, dropout=0.5, **options)), maps())


@pytest.mark.parametrize("garbage", [1e4, float("inf"), float("nan")])
def test_garbage_in_the_padding_never_changes_the_bilstm_or_the_weights(garbage):
    lstm, attention = LSTM(6, 5, 2, dropout=0.0).eval(), AttentionPool(10, 4)
    clean, dirty = torch.randn(3, 13, 6), torch.full((3, 13, 6), garbage)
    for dirty_row, clean_row, length in zip(dirty, clean, LENGTHS):
        dirty_row[:length] = clean_row[:length]
    for a, b, length in zip(lstm(clean, LENGTHS), lstm(dirty, LENGTHS), LENGTHS):
        torch.testing.assert_close(a[:length], b[:length])
    weights = attention(lstm(clean, LENGTHS), LENGTHS)
    torch.testing.assert_close(attention(lstm(dirty, LENGTHS), LENGTHS), weights)


def test_folded_a_network_answers_alike_and_is_left_as_it_was():
    network = busy(nn.Sequential(
        ResidualBlock(2, 4, 3, (1, 2), 0.1), ResidualBlock(4, 4, 3, (1, 1), 0.1, bottleneck=2),
    ))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    fast = folded(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())
    inputs, lengths = maps(channels=2), LENGTHS
    for block, other in zip(network, fast):
        answer, steps = block(inputs, lengths)
        assert torch.allclose(other(inputs, lengths)[0], answer, atol=1e-5)
        inputs, lengths = answer, steps
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


def test_a_network_that_hears_contours_refuses_to_do_without():
    cnn = PatchCNN(3, 9, CNNConfig(), num_contours=2)
    with pytest.raises(ValueError, match="Give the front end's prosody"):
        cnn(maps(), None, LENGTHS)
