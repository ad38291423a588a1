import json
import math

import pytest
import torch

from emotion.calibration import Calibration, fit_temperature, fit_threshold
from emotion.settings import from_plain, to_plain


def sample(n: int = 20_000, classes: int = 6, planted: float = 1.0, seed: int = 0):
    """Targets drawn from softmax(logits / planted): the planted temperature is the right one."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, classes, generator=generator)
    targets = torch.multinomial((logits / planted).softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits, targets


def test_a_temperature_of_one_is_the_softmax():
    logits = torch.randn(4, 5, 6)
    assert torch.equal(Calibration().apply_steps(logits), logits.softmax(dim=-1))


def test_two_classes_follow_the_logistic_of_the_gap_over_the_temperature():
    probabilities = Calibration(utterance=2.0).apply_utterance(torch.tensor([[3.0, 1.0]]))
    assert probabilities[0, 0].item() == pytest.approx(torch.tensor(1.0).sigmoid().item())


def test_utterances_and_steps_have_their_own_temperature():
    logits = torch.randn(2, 3, 4)
    temperature = Calibration(utterance=2.0, step=0.5)
    assert torch.equal(temperature.apply_utterance(logits), (logits / 2.0).softmax(dim=-1))
    assert torch.equal(temperature.apply_steps(logits), (logits / 0.5).softmax(dim=-1))


@pytest.mark.parametrize("planted", [0.3, 0.8, 1.0, 2.5, 6.0])
def test_the_planted_temperature_is_found(planted):
    assert fit_temperature(*sample(planted=planted)) == pytest.approx(planted, rel=0.05)


def test_the_fit_is_the_lowest_point_of_a_fine_grid():
    logits, targets = sample(n=50, planted=2.0)
    grid = torch.logspace(-1.3, 1.3, 2000, dtype=torch.float64)
    nll = [torch.nn.functional.cross_entropy(logits.double() / temperature, targets, label_smoothing=1 / 52)
           for temperature in grid]
    lowest = grid[torch.stack(nll).argmin()].item()
    assert fit_temperature(logits, targets) == pytest.approx(lowest, rel=0.002)


def test_scaling_the_logits_scales_the_temperature():
    logits, targets = sample(n=500, planted=1.5)
    assert fit_temperature(2 * logits, targets) == pytest.approx(2 * fit_temperature(logits, targets))


def test_adding_a_constant_to_all_classes_changes_nothing():
    logits, targets = sample(n=500, planted=1.5)
    shifted = logits.double() + 1000 * torch.randn(500, 1, dtype=torch.float64)
    assert fit_temperature(shifted, targets) == pytest.approx(fit_temperature(logits, targets))


@pytest.mark.parametrize("utterances", [4, 40, 400])
def test_answers_that_are_all_right_are_as_sure_as_so_many_can_tell(utterances):
    """By the rule of Platt, as if one more had been wrong: else an easy speaker would make all answers certain."""
    logits, targets = torch.eye(4).repeat(utterances // 4, 1), torch.arange(4).repeat(utterances // 4)
    calibration = Calibration(utterance=fit_temperature(logits, targets))
    expected = 1 - 0.75 / (utterances + 2)
    assert calibration.apply_utterance(logits).max(dim=1).values.tolist() == pytest.approx([expected] * utterances)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_logits_that_are_always_wrong_give_the_upper_bound(scale):
    assert fit_temperature(scale * torch.eye(4), torch.arange(4).roll(1)) == 20.0


def test_equal_logits_say_nothing_and_give_one():
    assert fit_temperature(torch.full((5, 3), 7.0), torch.tensor([0, 1, 2, 0, 1])) == 1.0


def test_a_single_utterance_tells_little():
    assert fit_temperature(torch.tensor([[2.0, 1.0]]), torch.tensor([0])) == pytest.approx(1 / math.log(5))


@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0, 20.0])
def test_labels_never_change(temperature):
    logits, _ = sample(n=5000)
    probabilities = Calibration(utterance=temperature).apply_utterance(logits)
    assert torch.equal(probabilities.argmax(dim=1), logits.argmax(dim=1))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5000))


def test_confidence_falls_as_temperature_rises():
    logits, _ = sample(n=100)
    rising = [Calibration(step=value) for value in (0.1, 0.5, 1, 2, 10)]
    confidence = [temperature.apply_steps(logits).max(dim=1).values for temperature in rising]
    assert all((colder >= hotter).all() for colder, hotter in zip(confidence, confidence[1:]))


def test_calibration_lowers_the_likelihood_loss_of_an_overconfident_model():
    logits, targets = sample(planted=3.0)
    fitted = fit_temperature(logits, targets)
    before, after = (torch.nn.functional.cross_entropy(logits / value, targets) for value in (1.0, fitted))
    assert after < before - 0.1


def test_half_precision_logits_give_float32_probabilities():
    assert Calibration().apply_utterance(torch.randn(2, 3).bfloat16()).dtype == torch.float32


def test_fitting_leaves_logits_and_their_graph_alone():
    logits = torch.randn(30, 4, requires_grad=True)
    kept = logits.detach().clone()
    fit_temperature(logits, torch.randint(4, (30,)))
    assert torch.equal(logits.detach(), kept) and logits.grad is None


def test_a_temperature_survives_plain_data():
    temperature = Calibration(utterance=1.7, step=0.3)
    assert from_plain(Calibration, json.loads(json.dumps(to_plain(temperature)))) == temperature


def test_the_threshold_holds_back_the_share_that_is_asked_for():
    confidence = torch.linspace(0.5, 1, 1001)[torch.randperm(1001)]
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    assert fit_threshold(probabilities, 0.1) == pytest.approx(0.55)
    assert fit_threshold(probabilities, 0.0) == 0.0


def test_the_threshold_of_answers_that_are_all_certain_holds_nothing_back():
    certain = torch.eye(3).double()
    assert Calibration(unknown_below=fit_threshold(certain, 0.1)).unknown_below <= certain.max()


@pytest.mark.parametrize("utterances, share", [(3, 1.0), (3, -0.1), (0, 0.1)])
def test_a_share_or_a_sample_of_nothing_is_refused(utterances, share):
    with pytest.raises(ValueError, match="0 to answer always"):
        fit_threshold(torch.ones(utterances, 1), share)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_out_of_bounds_is_refused(threshold):
    with pytest.raises(ValueError, match="unknown_below.*Use fit_threshold"):
        Calibration(unknown_below=threshold)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.01, 21.0, float("nan"), float("inf")])
def test_a_temperature_out_of_bounds_is_refused(value):
    with pytest.raises(ValueError, match="step.*Use fit_temperature"):
        Calibration(step=value)


def test_logits_that_are_not_finite_are_refused_by_row():
    logits = torch.zeros(3, 2)
    logits[1, 0] = float("nan")
    with pytest.raises(ValueError, match="row 1.*what the model did"):
        fit_temperature(logits, torch.tensor([0, 1, 0]))


@pytest.mark.parametrize("logits, targets", [
    (torch.zeros(3), torch.zeros(3)),
    (torch.zeros(3, 2), torch.zeros(2)),
    (torch.zeros(0, 2), torch.zeros(0)),
])
def test_other_shapes_are_refused(logits, targets):
    with pytest.raises(ValueError, match="one row of logits an utterance"):
        fit_temperature(logits, targets)


@pytest.mark.parametrize("target", [-1, 2])
def test_targets_that_are_no_class_are_refused(target):
    with pytest.raises(ValueError, match="Map labels"):
        fit_temperature(torch.zeros(1, 2), torch.tensor([target]))
