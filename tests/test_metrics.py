import json
import math

import numpy as np
import pytest
import sklearn.metrics

from emotion import metrics

TARGETS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
PREDICTIONS = np.array([0, 0, 0, 1, 1, 0, 2, 2, 0])  # recalls 3/4, 1/2, 2/3


def draw(n: int, classes: int, seed: int = 0):
    """Targets drawn from the very probabilities that are claimed: calibrated by construction."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.7), size=n)
    return (probabilities.cumsum(axis=1) > generator.random((n, 1))).argmax(axis=1), probabilities


def test_confusion_has_the_true_class_in_the_row():
    expected = [[3, 1, 0, 0], [1, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    assert metrics.confusion(TARGETS, PREDICTIONS, 4).tolist() == expected


def test_recalls_are_the_diagonal_over_the_row_and_nan_for_an_absent_class():
    np.testing.assert_allclose(metrics.recalls(TARGETS, PREDICTIONS, 4), [3 / 4, 1 / 2, 2 / 3, np.nan])


def test_uar_is_the_mean_of_the_recalls_and_war_the_share_right():
    assert metrics.uar(TARGETS, PREDICTIONS, 3) == pytest.approx((3 / 4 + 1 / 2 + 2 / 3) / 3)
    assert metrics.war(TARGETS, PREDICTIONS, 3) == pytest.approx(6 / 9)


def test_f1_of_each_class_is_weighted_by_its_count_or_not_at_all():
    f1 = [2 * 3 / (4 + 5), 2 * 1 / (2 + 2), 2 * 2 / (3 + 2)]  # 2 hits / (true + called)
    assert metrics.macro_f1(TARGETS, PREDICTIONS, 3) == pytest.approx(np.mean(f1))
    assert metrics.weighted_f1(TARGETS, PREDICTIONS, 3) == pytest.approx(np.average(f1, weights=[4, 2, 3]))


@pytest.mark.parametrize("classes", [2, 5, 8])
def test_always_the_same_answer_has_a_uar_of_one_over_the_classes(classes):
    targets = np.repeat(np.arange(classes), np.arange(1, classes + 1))
    assert metrics.uar(targets, np.zeros_like(targets), classes) == pytest.approx(1 / classes)


@pytest.mark.parametrize("shift, scale", [(0, 1), (0.3, 1), (0, 2), (-0.5, 0.25), (0, -1)])
def test_concordance_falls_with_a_shift_and_with_another_scale_by_lins_formula(shift, scale):
    true = np.array([0.1, 0.2, 0.4, 0.9])
    said = true.mean() + shift + scale * (true - true.mean())
    variance = true.var()
    expected = 2 * scale * variance / (variance + scale**2 * variance + shift**2)
    assert metrics.ccc(true, said) == pytest.approx(expected)


def test_concordance_of_what_never_changes_is_nothing_unless_it_is_the_truth():
    assert metrics.ccc([0.1, 0.9], [0.5, 0.5]) == 0 and metrics.ccc([0.5, 0.5], [0.5, 0.5]) == 1


@pytest.mark.parametrize("true, said, why", [
    ([0.1], [0.1, 0.2], "wrong utterances"), ([], [], "n of 1 or more"), ([0.1, np.nan], [0.1, 0.2], "Leave it out"),
])
def test_concordance_of_unequal_lengths_or_of_what_is_not_known_is_refused(true, said, why):
    with pytest.raises(ValueError, match=why):
        metrics.ccc(true, said)


def test_against_votes_the_cross_entropy_is_least_where_the_answers_are_the_votes():
    votes = np.array([[0.75, 0.25, 0], [0, 0, 1]])
    entropy = (-0.75 * math.log(0.75) - 0.25 * math.log(0.25)) / 2
    assert metrics.cross_entropy(votes, votes) == pytest.approx(entropy)
    assert metrics.cross_entropy(votes, np.full((2, 3), 1 / 3)) == pytest.approx(math.log(3))


def test_agreement_is_the_share_of_the_listeners_who_chose_what_was_predicted():
    assert metrics.agreement([[0.75, 0.25], [0.5, 0.5], [0, 1]], [0, 1, 0]) == pytest.approx((0.75 + 0.5 + 0) / 3)


@pytest.mark.parametrize("metric", [metrics.uar, metrics.war, metrics.macro_f1, metrics.weighted_f1])
def test_the_averages_are_over_the_classes_present_in_targets(metric):
    assert metric([0, 0, 2], [0, 0, 2], 5) == 1.0
    assert metric([0, 0, 2], [1, 1, 1], 5) == 0.0


def test_averages_equal_those_of_scikit_learn_when_every_class_is_present():
    generator = np.random.default_rng(1)
    targets, predictions = generator.integers(6, size=(2, 500))
    assert metrics.uar(targets, predictions) == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(targets, predictions))
    assert metrics.macro_f1(targets, predictions) == pytest.approx(
        sklearn.metrics.f1_score(targets, predictions, average="macro"))
    assert metrics.uar(targets, predictions) == pytest.approx(metrics.recalls(targets, predictions, 6).mean())


def test_ece_is_the_gap_when_confidence_is_always_the_same():
    probabilities = np.tile([0.9, 0.1], (10, 1))
    assert metrics.ece([0] * 6 + [1] * 4, probabilities) == pytest.approx(0.9 - 0.6)


def test_ece_weighs_its_bins_by_their_utterances():
    probabilities = np.array([[0.95, 0.05]] * 3 + [[0.55, 0.45]])
    assert metrics.ece([0, 0, 0, 1], probabilities) == pytest.approx((3 * 0.05 + 1 * 0.55) / 4)


def test_one_bin_compares_mean_confidence_with_accuracy():
    targets, probabilities = draw(200, 4)
    gap = abs(probabilities.max(axis=1).mean() - metrics.war(targets, probabilities.argmax(axis=1)))
    assert metrics.ece(targets, probabilities, bins=1) == pytest.approx(gap)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    _, _, counts = metrics.reliability_bins([0, 0], [[0.5, 0.5], [1.0, 0.0]], bins=2)
    assert counts.tolist() == [1, 1]


@pytest.mark.parametrize("n", [1_000, 100_000])
def test_ece_of_a_perfectly_calibrated_draw_shrinks_with_the_root_of_its_size(n):
    targets, probabilities = draw(n, 6)
    assert metrics.ece(targets, probabilities) < 2 * 0.3 * math.sqrt(15 / n)


def test_ece_sees_overconfidence():
    targets, probabilities = draw(5_000, 6)
    sharp = probabilities ** 3 / (probabilities ** 3).sum(axis=1, keepdims=True)
    assert metrics.ece(targets, sharp) > 0.1


def test_knowing_nothing_costs_the_log_of_the_number_of_classes():
    assert metrics.nll([0, 3, 5], np.full((3, 8), 1 / 8)) == pytest.approx(math.log(8))


def test_a_certain_mistake_costs_much_but_not_infinity():
    assert metrics.nll([1], [[1.0, 0.0]]) == pytest.approx(-math.log(1e-12))


def simulate(seed: int, num_speakers: int = 25, each: int = 20):
    """Speakers differ: each has an own chance of being heard right, uniform around 0.6."""
    generator = np.random.default_rng(seed)
    chance = np.repeat(generator.uniform(0.4, 0.8, num_speakers), each)
    targets = generator.integers(2, size=num_speakers * each)
    wrong = generator.random(len(targets)) > chance
    return targets, np.where(wrong, 1 - targets, targets), np.repeat(np.arange(num_speakers), each)


def accuracy(targets, predictions):
    return np.mean(targets == predictions)


def test_the_interval_covers_the_truth_about_as_often_as_it_promises():
    intervals = [metrics.bootstrap(accuracy, *simulate(seed), draws=200) for seed in range(200)]
    covered = np.mean([low <= 0.6 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.99  # 95 %, less what 25 clusters cost, give or take 3 standard errors


def test_the_interval_has_the_width_that_speakers_and_not_utterances_give():
    generator = np.random.default_rng(0)
    right = np.repeat(generator.random(100) < 0.5, 50)  # each speaker is always right or always wrong
    speakers = np.repeat(np.arange(100), 50)
    low, high = metrics.bootstrap(accuracy, np.ones(5000, int), right.astype(int), speakers)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 100), rel=0.2)


def test_the_interval_repeats_with_its_seed_and_moves_with_another():
    first = metrics.bootstrap(metrics.uar, *simulate(0), draws=50, seed=3)
    assert first == metrics.bootstrap(metrics.uar, *simulate(0), draws=50, seed=3)
    assert first != metrics.bootstrap(metrics.uar, *simulate(0), draws=50, seed=4)


def test_the_interval_takes_probabilities_too():
    targets, probabilities = draw(300, 3)
    low, high = metrics.bootstrap(metrics.nll, targets, probabilities, np.arange(300) % 20, draws=100)
    assert low < metrics.nll(targets, probabilities) < high


def test_a_single_speaker_has_no_interval():
    assert np.isnan(metrics.bootstrap(metrics.uar, TARGETS, PREDICTIONS, ["anna"] * 9)).all()


def test_averages_do_not_change_with_the_order_of_utterances():
    order = np.random.default_rng(0).permutation(9)
    for metric in (metrics.uar, metrics.war, metrics.macro_f1, metrics.weighted_f1):
        assert metric(TARGETS[order], PREDICTIONS[order]) == pytest.approx(metric(TARGETS, PREDICTIONS))


def test_summary_holds_the_metrics_as_plain_values_that_survive_json():
    targets, probabilities = draw(120, 3)
    speakers = [f"speaker{number % 6}" for number in range(120)]
    found = metrics.summary(targets, probabilities, ("anger", "fear", "neutral"), speakers)
    predictions = probabilities.argmax(axis=1)
    assert json.loads(json.dumps(found)) == found
    assert found["uar"] == metrics.uar(targets, predictions)
    assert (found["uar_low"], found["uar_high"]) == metrics.bootstrap(metrics.uar, targets, predictions, speakers)
    assert found["war"] == metrics.war(targets, predictions)
    assert found["macro_f1"] == metrics.macro_f1(targets, predictions)
    assert found["weighted_f1"] == metrics.weighted_f1(targets, predictions)
    assert found["ece"] == metrics.ece(targets, probabilities)
    assert found["nll"] == metrics.nll(targets, probabilities)
    assert list(found["per_class"]) == ["anger", "fear", "neutral"]
    assert np.mean(list(found["per_class"].values())) == pytest.approx(found["uar"])
    assert found["confusion"] == metrics.confusion(targets, predictions, 3).tolist()
    assert (found["num_utterances"], found["num_speakers"]) == (120, 6)


@pytest.mark.parametrize("targets, predictions", [
    ([0, 1], [0]), ([], []), ([0, 3], [0, 1]), ([0, -1], [0, 1]), ([0.0, 1.0], [0.0, 1.0]),
    ([0], [[0.2, 0.8, 0.0]]),
])
def test_what_is_not_a_pair_of_class_numbers_is_refused(targets, predictions):
    for metric in (metrics.uar, metrics.war, metrics.macro_f1, metrics.confusion, metrics.recalls):
        with pytest.raises(ValueError, match="Take argmax|Map labels"):
            metric(np.array(targets), np.array(predictions), 3)


@pytest.mark.parametrize("row", [[2.0, -1.0], [0.3, 0.3], [np.nan, 1.0]])
def test_logits_passed_as_probabilities_are_refused(row):
    with pytest.raises(ValueError, match="row 1 .* through softmax"):
        metrics.ece([0, 1], [[0.5, 0.5], row])


def test_probabilities_without_a_row_for_each_target_are_refused():
    with pytest.raises(ValueError, match="one row an utterance"):
        metrics.nll([0, 1, 1], [[0.5, 0.5]] * 2)


def test_no_bins_and_no_draws_are_refused():
    with pytest.raises(ValueError, match="Raise bins"):
        metrics.ece([0], [[0.5, 0.5]], bins=0)
    with pytest.raises(ValueError, match="Use 1000"):
        metrics.bootstrap(metrics.uar, [0, 1], [0, 1], ["anna", "berta"], draws=0)


def test_utterances_without_a_speaker_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        metrics.bootstrap(metrics.uar, [0, 1], [0, 1], ["anna"])


def test_labels_that_do_not_fit_the_columns_are_refused():
    with pytest.raises(ValueError, match="labels the model was trained with"):
        metrics.summary([0, 1], [[0.5, 0.5]] * 2, ["anger"], ["anna", "berta"])


def test_the_interval_leaves_one_draw_in_forty_on_either_side():
    seen = []
    low, high = metrics.bootstrap(lambda *given: seen.append(accuracy(*given)) or seen[-1], *simulate(0))
    assert np.mean(np.array(seen) < low) == pytest.approx(0.025, abs=0.005)
    assert np.mean(np.array(seen) > high) == pytest.approx(0.025, abs=0.005)
