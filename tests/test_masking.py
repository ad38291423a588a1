import pytest
import torch

from emotion.masking import clear, mask, reverse


def test_the_mask_is_true_inside_each_length():
    assert mask(torch.tensor([0, 2, 3]), 3).tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_the_mask_may_be_wider_than_every_length():
    assert mask(torch.tensor([1]), 4).sum() == 1


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_clear_leaves_what_is_inside_and_zeros_the_rest(kind):
    maps = torch.randn(2, 3, 5, 4).to(kind)
    cleared = clear(maps, torch.tensor([5, 2]))
    assert cleared.dtype == kind
    assert torch.equal(cleared[0], maps[0]) and torch.equal(cleared[1, :, :2], maps[1, :, :2])
    assert not cleared[1, :, 2:].any()
    assert torch.equal(clear(maps[:, 0], torch.tensor([5, 2])), cleared[:, 0])   # (batch, frames, features)


def test_no_gradient_flows_from_the_padding():
    maps = torch.randn(1, 1, 4, 2, requires_grad=True)
    clear(maps, torch.tensor([3])).sum().backward()
    assert maps.grad[0, 0].sum(dim=1).tolist() == [2, 2, 2, 0]


def test_each_sequence_turns_round_in_its_own_length():
    steps = torch.arange(5.0).repeat(3, 1)[..., None]
    turned = reverse(steps, torch.tensor([5, 3, 1]))[..., 0]
    assert turned.tolist() == [[4, 3, 2, 1, 0], [2, 1, 0, 3, 4], [0, 1, 2, 3, 4]]


def test_turned_round_twice_is_as_it_was():
    steps, lengths = torch.randn(4, 7, 3), torch.tensor([7, 4, 2, 1])
    assert torch.equal(reverse(reverse(steps, lengths), lengths), steps)
