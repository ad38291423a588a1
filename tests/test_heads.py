import pytest
import torch

from emotion.heads import AttentionPool, Head, HeadConfig

LENGTHS = torch.tensor([13, 8, 1])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


def head(**options) -> Head:
    return Head(6, 4, HeadConfig(**options), bidirectional=True)


# Known answers

def test_attention_weights_are_equal_where_every_step_is_the_same():
    weights = AttentionPool(6, 4)(torch.ones(3, 13, 6), LENGTHS)
    torch.testing.assert_close(weights[1, :8], torch.full((8,), 1 / 8))


@pytest.mark.parametrize("level", [1.0, 1e4])
def test_attention_weights_sum_to_one_and_are_zero_in_the_padding(level):
    weights = AttentionPool(6, 4)(level * torch.randn(3, 13, 6), LENGTHS)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    for row, length in zip(weights, LENGTHS):
        assert (row[:length] >= 0).all() and not row[length:].any()


def test_the_logit_of_a_dimension_is_the_weighted_mean_of_its_steps():
    _, _, weights, heads = head(dimensions=("arousal", "valence"))(torch.randn(3, 13, 6), LENGTHS)
    mean = (weights[..., None] * heads["step_dimensions"].logit()).sum(1)
    torch.testing.assert_close(heads["dimensions"].logit(), mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bias, answer", [(0.0, 0.5), (100.0, 1.0), (-100.0, 0.0)])
def test_dimensions_lie_between_0_and_1_whatever_is_heard(bias, answer):
    asked = head(dimensions=("valence",))
    asked.dimensions.weight.data.zero_()
    asked.dimensions.bias.data.fill_(bias)
    heads = asked(1e6 * torch.randn(3, 13, 6), LENGTHS)[3]
    assert (heads["dimensions"] == answer).all() and (heads["step_dimensions"] == answer).all()


def test_a_head_without_further_questions_draws_the_weights_it_always_drew():
    """Results are told by their seed: that there are dimensions to ask for must not change those who do not ask."""
    weights = []
    for options in ({}, {"sex_head": True, "dimensions": ("arousal",)}):
        torch.manual_seed(1)
        weights.append(head(**options).classifier.weight)
    assert torch.equal(*weights)


# Refusals

@pytest.mark.parametrize("dimensions", [("arousl",), ("arousal", "arousal"), ("anger",)])
def test_other_dimensions_and_one_twice_are_refused(dimensions):
    with pytest.raises(ValueError, match="must be among arousal, valence, dominance, each once"):
        HeadConfig(dimensions=dimensions)
