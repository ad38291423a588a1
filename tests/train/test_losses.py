import numpy as np
import pytest
import torch
from torch import nn

from emotion import metrics
from emotion.train.losses import Loss, balanced, discordance, softened

LOGITS = torch.tensor([[2.0, -1, 0.5], [0, 0, 0], [-3, 4, 1]])
ONE_HOT = nn.functional.one_hot(torch.tensor([0, 2, 1]), 3).float()


def test_balanced_weights_are_inverse_to_the_counts_and_one_on_average():
    weights = balanced(np.array([30, 0, 10]))
    assert weights.tolist() == pytest.approx([40 / 60, 0, 40 / 20])
    assert weights @ [30, 0, 10] == pytest.approx(40)


def test_weights_are_balanced_where_an_epoch_takes_a_part_of_an_utterance():
    counts = np.array([0.5, 99.5, 0.0])
    assert balanced(counts) * counts == pytest.approx([50, 50, 0])


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_what_is_certain_has_a_finite_slope_under_any_focus(gamma):
    logits = torch.tensor([[40.0, 0.0], [0.3, 0.1]], requires_grad=True)
    Loss(np.ones(2), gamma)(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).backward()
    assert logits.grad.isfinite().all() and logits.grad[1].any()


def test_against_single_classes_it_is_torchs_weighted_cross_entropy():
    weights = np.array([0.5, 2, 1])
    expected = nn.CrossEntropyLoss(torch.tensor(weights, dtype=torch.float32))(LOGITS, torch.tensor([0, 2, 1]))
    torch.testing.assert_close(Loss(weights)(LOGITS, ONE_HOT), expected)


def test_against_a_distribution_it_is_the_cross_entropy_with_it():
    targets = torch.tensor([[0.5, 0.25, 0.25]])
    expected = -(targets * LOGITS[:1].log_softmax(1)).sum()
    torch.testing.assert_close(Loss(np.ones(3))(LOGITS[:1], targets), expected)


def test_the_focus_takes_from_what_is_right_already():
    even = torch.tensor([[0.0, 0]])   # p of the truth is a half
    loss = Loss(np.ones(2), focal_gamma=2.0)(even, torch.tensor([[1.0, 0]]))
    assert loss.item() == pytest.approx(0.25 * np.log(2))


def test_label_smoothing_shares_out_the_target():
    certain = torch.tensor([[0.0, -10, -10, -10]])   # 0.2 / 4 of the target on each, three 10 nats off
    loss = Loss(np.ones(4), label_smoothing=0.2)(certain, torch.tensor([[1.0, 0, 0, 0]]))
    assert loss.item() == pytest.approx(0.15 * 10, abs=1e-3)


def test_a_class_without_training_files_takes_no_part_in_smoothing():
    impossible = torch.tensor([[0.0, -1000, -1000, 0]])
    loss = Loss(balanced(np.array([3, 0, 0, 3])), label_smoothing=0.2)(impossible, torch.tensor([[1.0, 0, 0, 0]]))
    assert loss.item() == pytest.approx(np.log(2), abs=1e-3)


def test_a_softened_answer_keeps_its_order_and_nears_equality():
    sure = torch.tensor([[0.9, 0.09, 0.01]])
    soft = softened(sure, 2.0)
    torch.testing.assert_close(soft, sure.sqrt() / sure.sqrt().sum())
    torch.testing.assert_close(softened(sure, 1.0), sure)


def test_what_is_said_as_it_is_true_costs_nothing_and_its_opposite_costs_two():
    true = torch.tensor([[0.1], [0.4], [0.9]])
    assert discordance(true, true).item() == pytest.approx(0, abs=1e-4)
    assert discordance(2 * true.mean() - true, true).item() == pytest.approx(2, abs=1e-4)


def test_the_cost_is_one_less_the_concordance_mean_over_dimensions_without_what_nobody_rated(rng):
    true, said = torch.tensor(rng.uniform(size=(2, 9, 2)), dtype=torch.float32)
    true[2, 0] = true[5, 0] = true[5, 1] = float("nan")
    known = [true[:, k].isfinite() for k in (0, 1)]
    expected = np.mean([1 - metrics.ccc(true[known[k], k], said[known[k], k]) for k in (0, 1)])
    assert discordance(said, true).item() == pytest.approx(expected, abs=1e-4)


def test_a_dimension_with_one_rating_in_the_batch_is_left_out_and_its_gradient_is_zero_and_not_missing():
    true = torch.tensor([[0.1, 0.5], [0.4, float("nan")], [0.9, float("nan")]])
    said = torch.tensor([[0.2, 0.1], [0.2, 0.2], [0.7, 0.3]], requires_grad=True)
    discordance(said, true).backward()
    assert said.grad[:, 0].any() and not said.grad[:, 1].any()
    assert discordance(said, torch.full((3, 2), float("nan"))).item() == 0


def test_where_all_are_told_the_same_there_is_a_way_out(rng):
    """Its gradient tells apart what should be: nothing is divided by zero."""
    said = torch.full((4, 1), 0.5, requires_grad=True)
    discordance(said, torch.tensor([[0.1], [0.2], [0.8], [0.9]])).backward()
    assert said.grad.isfinite().all() and (said.grad[:2] > 0).all() and (said.grad[2:] < 0).all()
