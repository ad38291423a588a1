"""Two experiments side by side: what is a difference, and what only other voices."""

import dataclasses
import math

import numpy as np
import pytest

from emotion import compare, metrics
from emotion.cli import main
from emotion.datadir import DataError
from emotion.posteriors import Posteriors

LABELS = ("anger", "fear", "neutral")


def answers(targets, predictions, speakers=None, labels=LABELS) -> Posteriors:
    """Posteriors that call each utterance as planned; without speakers, each utterance has one of its own."""
    probabilities = np.full((len(targets), len(labels)), 0.1 / (len(labels) - 1))
    probabilities[np.arange(len(targets)), predictions] = 0.9
    speakers = [f"s{k:03}" for k in range(len(targets))] if speakers is None else list(speakers)
    names = tuple(f"{speaker}-{k}" for k, speaker in enumerate(speakers))
    return Posteriors(names, tuple(speakers), labels, np.array(targets), probabilities)


def noisy(rng, targets, right) -> np.ndarray:
    """Predictions that are right with the probabilities given, else the next class."""
    return np.where(rng.random(len(targets)) < right, targets, (targets + 1) % len(LABELS))


@pytest.fixture
def pair(rng):
    """Twelve speakers, thirty utterances each; the second system is clearly better at neutral alone."""
    targets, speakers = np.arange(360) % 3, np.repeat([f"s{k:02}" for k in range(12)], 30)
    first = answers(targets, noisy(rng, targets, 0.6), speakers)
    better = noisy(rng, targets, np.where(targets == 2, 0.95, 0.6))
    return first, answers(targets, better, speakers)


def test_mcnemar_is_the_binomial_test_on_what_one_alone_got_right():
    first, second = np.array([1] * 1 + [0] * 9 + [1] * 20 + [0] * 5, bool), np.array([0] + [1] * 29 + [0] * 5, bool)
    found = compare.mcnemar(first, second)
    assert (found.only_first, found.only_second) == (1, 9)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)   # two tails of one or none of ten
    assert compare.mcnemar(first, first) == compare.McNemar(0, 0, 1.0)


def test_the_difference_and_its_interval_are_those_of_the_bootstrap_over_speakers(pair):
    first, second = pair
    found = compare.compare([first], [second], draws=1000)
    both = np.stack([part.probabilities.argmax(1) for part in pair], axis=1)
    interval = metrics.bootstrap(
        lambda t, p: metrics.uar(t, p[:, 1]) - metrics.uar(t, p[:, 0]), first.targets, both, first.speakers
    )
    assert (found.uar.low, found.uar.high) == pytest.approx(interval)
    assert (found.uar.first, found.uar.second) == pytest.approx((first.summary()["uar"], second.summary()["uar"]))
    assert {label: part.first for label, part in found.recalls.items()} == pytest.approx(first.summary()["per_class"])


def test_a_better_system_is_told_and_in_which_class(pair):
    found = compare.compare(*([part] for part in pair))
    assert found.uar.low > 0 and found.uar.better > 0.99 and found.pairs[0].p < 0.05
    assert found.recalls["neutral"].low > 0.1 and found.recalls["anger"].low < 0 < found.recalls["anger"].high
    assert "The second is better by" in compare.sentence(found)
    assert "The first is better by" in compare.sentence(compare.compare([pair[1]], [pair[0]]))


def test_the_same_answers_are_no_better_than_themselves(pair):
    found = compare.compare([pair[0]], [pair[0]])
    assert (found.uar.low, found.uar.high, found.uar.better) == (0, 0, 0.5)
    assert "within what other speakers of the kind would move it" in compare.sentence(found)
    assert "A single training does not tell" in compare.sentence(found)
    assert "A single training" not in compare.sentence(compare.compare(pair[:1] * 2, pair[:1] * 2))


def test_turned_round_everything_changes_sign(pair):
    there, back = compare.compare([pair[0]], [pair[1]]), compare.compare([pair[1]], [pair[0]])
    assert (back.uar.low, back.uar.high) == pytest.approx((-there.uar.high, -there.uar.low))
    assert back.uar.better == pytest.approx(1 - there.uar.better)


def test_utterances_are_paired_by_their_names_not_by_their_order(pair, rng):
    first, second = pair
    order = rng.permutation(len(second.utterances))
    shuffled = Posteriors(
        tuple(np.array(second.utterances)[order]), tuple(np.array(second.speakers)[order]), LABELS,
        second.targets[order], second.probabilities[order],
    )
    assert compare.compare([first], [shuffled]) == compare.compare([first], [second])


def trial(seed: int, spread: float = 0.0) -> compare.Comparison:
    """Two systems alike on average: 40 speakers, 30 utterances each; spread: by how much a voice suits one of them."""
    rng = np.random.default_rng(seed)
    targets, owner = np.arange(1200) % 3, np.repeat(np.arange(40), 30)
    favour = spread * rng.choice([-1, 1], 40)[owner]
    sides = (answers(targets, noisy(rng, targets, 0.6 + sign * favour), owner.astype(str)) for sign in (-1, 1))
    return compare.compare(*([side] for side in sides), draws=500)


def test_systems_that_differ_by_noise_alone_are_told_apart_as_often_as_chance_does():
    from scipy.stats import kstest

    trials = [trial(seed) for seed in range(200)]
    assert kstest([one.uar.better for one in trials], "uniform").pvalue > 0.01
    assert kstest([one.pairs[0].p for one in trials], "uniform").pvalue > 0.01
    missed = np.mean([not one.uar.low <= 0 <= one.uar.high for one in trials])
    assert 0.01 <= missed <= 0.10   # 5 %, give or take three standard errors


def test_where_a_voice_suits_one_system_mcnemar_is_too_sure_and_the_interval_is_not():
    trials = [trial(seed, spread=0.25) for seed in range(200)]
    assert np.mean([one.pairs[0].p < 0.05 for one in trials]) > 0.2
    assert np.mean([not one.uar.low <= 0 <= one.uar.high for one in trials]) < 0.11


def test_seeds_are_averaged_and_each_training_is_tested_against_its_counterpart(pair):
    first, second = pair
    found = compare.compare([first, second], [second, first, first])
    uars = [part.summary()["uar"] for part in (first, second, first)]
    assert found.uar.first == pytest.approx(np.mean(uars[:2])) and found.uar.second == pytest.approx(np.mean(uars))
    assert found.spreads == pytest.approx((np.std(uars[:2], ddof=1), np.std(uars, ddof=1)))
    assert [(one.only_first, one.only_second) for one in found.pairs] == [
        (one.only_first, one.only_second)
        for one in (compare.compare([first], [second]).pairs + compare.compare([second], [first]).pairs)
    ]


def test_a_single_speaker_gives_no_interval():
    alone = answers([0, 1, 2], [0, 1, 0], ["a"] * 3)
    found = compare.compare([alone], [answers([0, 1, 2], [0, 1, 2], ["a"] * 3)])
    assert math.isnan(found.uar.low) and math.isnan(found.uar.better)
    assert compare.sentence(found) == (
        "+33.3 points of UAR on 3 utterances of 1 speaker: one voice says nothing about others."
    )
    assert "| UAR % | 66.7 | 100.0 | +33.3 | - | - |" in compare.page(found, "a", "b").splitlines()


def test_a_class_that_nobody_spoke_is_left_out_and_few_speakers_are_told():
    found = compare.compare([answers([0, 1, 0], [0, 1, 1])], [answers([0, 1, 0], [0, 1, 0])])
    assert list(found.recalls) == ["anger", "fear"]
    assert "With fewer than 10 speakers the interval is rough" in compare.sentence(found)


@pytest.mark.parametrize(("other", "said"), [
    (answers([0, 1], [0, 1]), "1 utterances were answered by one alone .s002-2.*Evaluate both on the same data"),
    (answers([0, 1, 2], [0, 1, 2], labels=("anger", "fear", "sadness")), "fewer classes.*Train both with one scheme"),
    (answers([0, 1, 1], [0, 1, 1]), "1 utterances have another speaker or another emotion.*Evaluate both anew"),
])
def test_answers_to_something_else_are_refused(other, said):
    with pytest.raises(DataError, match=said):
        compare.compare([answers([0, 1, 2], [0, 1, 2])], [other])


def test_answers_of_one_class_are_refused():
    alone = answers([0, 0], [0, 0], labels=LABELS[:1] + ("x",))
    alone = dataclasses.replace(alone, labels=("unknown",), probabilities=np.ones((2, 1)))
    with pytest.raises(DataError, match="names? no emotions.*emotion results --rows"):
        compare.compare([alone], [alone])


def test_the_command_takes_folds_and_seeds_or_one_experiment(pair, tmp_path, capsys):
    first, second = pair
    half = len(first.utterances) // 2
    for seed in (1, 2):
        for fold, rows in ((1, slice(None, half)), (2, slice(half, None))):
            folder = tmp_path / f"one/fold{fold}/seed{seed}"
            folder.mkdir(parents=True)
            part = Posteriors(first.utterances[rows], first.speakers[rows], LABELS, first.targets[rows],
                              first.probabilities[rows])
            part.write(folder / "posteriors.csv")
    (tmp_path / "other").mkdir()
    second.write(tmp_path / "other" / "answers.csv")
    for path in tmp_path.glob("one/fold*/seed*/posteriors.csv"):
        path.rename(path.with_name("answers.csv"))
    words = ["compare", str(tmp_path / "one"), str(tmp_path / "other")]
    assert main(words) == 1 and "no fold*/seed*/posteriors.csv below" in capsys.readouterr().err
    assert main([*words, "--table", "answers.csv", "-o", str(tmp_path / "out.md")]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "out.md").read_text() == said
    uars = [100 * part.summary()["uar"] for part in pair]
    assert f"| UAR % | {uars[0]:.1f} | {uars[1]:.1f} | {uars[1] - uars[0]:+.1f} | " in said
    assert "| spread of UAR over seeds | 0.0 | - | | | |" in said
    assert said.splitlines()[-1].startswith("The second is better by")


def test_trainings_that_answer_alike_on_other_probabilities_are_alike(pair):
    softer = dataclasses.replace(pair[0], probabilities=(pair[0].probabilities + 1) / (1 + len(LABELS)))
    assert compare.compare([pair[0]], [softer]).pairs == (compare.McNemar(0, 0, 1.0),)
