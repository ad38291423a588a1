"""Two experiments that answered the same utterances: is one better, or would other speakers turn it round?

The speakers are drawn anew, the same draw for both, so that what is hard for both does not count as a difference. That
asks of voices. It does not ask of trainings: two seeds of one configuration differ too, so each experiment may have
several, whose scores are averaged in every draw, as `emotion results` averages them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .datadir import DataError, few
from .labels import tell_apart
from .posteriors import POSTERIORS, Posteriors
from .results import FEW_SPEAKERS, by_seed

DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """A score from 0 to 1 of both experiments, and what other speakers would make of second - first.

    low, high: the 95 % interval.   better: share of the draws in which the second is ahead; ties count half.
    All three are nan with a single speaker: one voice says nothing about others.
    """

    first: float
    second: float
    low: float
    high: float
    better: float


@dataclass(frozen=True)
class McNemar:
    """Utterances that one of two trainings alone got right, and how likely so uneven a division is by chance."""

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """`uar` and `recalls` are means over the seeds, `spreads` their deviations over these (nan for one), in order.

    pairs: the first training of one with the first of the other, and so on.
    """

    uar: Difference
    recalls: dict[str, Difference]
    spreads: tuple[float, float]
    pairs: tuple[McNemar, ...]
    num_utterances: int
    num_speakers: int


def read(experiment: str | os.PathLike, table: str = POSTERIORS) -> list[Posteriors]:
    """The answers of an experiment, folds pooled, for each seed: of a folder with fold<k>/seed<s>/TABLE, or with TABLE,
    or of such a table.

    Raises: DataError where it holds none, or where seeds do not cover the same folds.
    """
    experiment = Path(experiment)
    for alone in (experiment, experiment / table):
        if alone.is_file():
            return [Posteriors.read(alone)]
    seeds = by_seed(experiment, table, Posteriors.read)
    return [Posteriors.pool(list(folds.values())) for _, folds in sorted(seeds.items())]


def compare(
    first: Sequence[Posteriors], second: Sequence[Posteriors], draws: int = DRAWS, seed: int = 0,
) -> Comparison:
    """Each the answers of an experiment, one for each of its seeds, all to the same utterances in any order.

    Whole speakers are drawn with replacement and both experiments scored on each draw; the interval is made of
    percentiles.
    Raises: DataError where they answered other utterances, in other classes, or disagree on what is true; and where
    there is one class alone.
    Source: Bisani and Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation, ICASSP 2004 (the
    same draw for both, and the share of draws in which one is better); Field and Welsh, Bootstrapping clustered data,
    JRSS B 69(3), 2007 (clusters drawn whole).
    """
    names, speakers, targets = _same(first, second)
    right = [np.stack([_aligned(answers, names) == targets for answers in side]) for side in (first, second)]
    speaker_names, owner = np.unique(speakers, return_inverse=True)
    labels = first[0].labels

    def scores(counts: np.ndarray) -> list[np.ndarray]:
        return [_scores(counts, side, targets, owner, len(labels)) for side in right]

    whole, drawn = scores(np.ones((1, len(speaker_names)))), scores(_draw(len(speaker_names), draws, seed))
    differences = [
        _difference(*(side[0, :, k].mean() for side in whole), *(side[:, :, k].mean(1) for side in drawn))
        for k in range(1 + len(labels))
    ]
    if len(speaker_names) == 1:
        differences = [replace(part, low=math.nan, high=math.nan, better=math.nan) for part in differences]
    return Comparison(
        differences[0],
        {label: part for label, part in zip(labels, differences[1:]) if not math.isnan(part.first)},
        (_spread(whole[0][0, :, 0]), _spread(whole[1][0, :, 0])),
        tuple(mcnemar(one, other) for one, other in zip(*right)),
        len(names), len(speaker_names),
    )


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """The exact two-sided test on the utterances that one alone got right; p is 1 where there are none.

    It takes utterances for independent. Those of one speaker are not, so where voices differ p is too small: it tells
    of these recordings, the interval over speakers of others.

    Shape:  both (utterances,) bool, in the same order.
    Source: McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 1947; recommended for two trained classifiers by Dietterich, Approximate statistical tests for
    comparing supervised classification learning algorithms, Neural Computation 10(7), 1998. Binomial, not chi-squared.
    """
    from scipy.stats import binomtest

    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(second_right & ~first_right))
    discordant = only_first + only_second
    p = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def page(comparison: Comparison, first: str, second: str) -> str:
    """Markdown: a table of scores in percent, McNemar's test for each pair of trainings, and what it means."""
    lines = [f"| | {first} | {second} | difference | 95 % interval | second better in |", "|---|---|---|---|---|---|"]
    rows = {"UAR": comparison.uar, **{f"recall {label}": part for label, part in comparison.recalls.items()}}
    for name, part in rows.items():
        gain, low, high = (f"{100 * value:+.1f}" for value in (part.second - part.first, part.low, part.high))
        over_speakers = "- | -" if math.isnan(part.low) else f"{low} to {high} | {100 * part.better:.0f} % of draws"
        lines.append(f"| {name} % | {100 * part.first:.1f} | {100 * part.second:.1f} | {gain} | {over_speakers} |")
    if not all(map(math.isnan, comparison.spreads)):
        cells = ("-" if math.isnan(spread) else f"{100 * spread:.1f}" for spread in comparison.spreads)
        lines.append(f"| spread of UAR over seeds | {' | '.join(cells)} | | | |")
    lines += ["", "| McNemar | only the first is right | only the second | p |", "|---|---|---|---|"]
    for k, pair in enumerate(comparison.pairs, 1):
        lines.append(f"| trainings {k} | {pair.only_first} | {pair.only_second} | {pair.p:.2g} |")
    return "\n".join([*lines, "", sentence(comparison)])


def sentence(comparison: Comparison) -> str:
    """What the comparison means, in plain words."""
    part, speakers = comparison.uar, comparison.num_speakers
    gain = 100 * (part.second - part.first)
    heard = f"{comparison.num_utterances} utterances of {speakers} speaker{'s' * (speakers > 1)}"
    if math.isnan(part.low):
        return f"{gain:+.1f} points of UAR on {heard}: one voice says nothing about others."
    if part.low <= 0 <= part.high:
        said = (f"The difference of {gain:+.1f} points of UAR on {heard} is within what other speakers of the kind "
                "would move it: it does not tell which is better.")
    else:
        better = "second" if gain > 0 else "first"
        said = (f"The {better} is better by {abs(gain):.1f} points of UAR on {heard}, more than other speakers of the "
                "kind would move it.")
    if any(map(math.isnan, comparison.spreads)):
        said += " A single training does not tell how much another seed would move it."
    if speakers < FEW_SPEAKERS:
        said += f" With fewer than {FEW_SPEAKERS} speakers the interval is rough, and rather too narrow."
    return said


def _same(first: Sequence[Posteriors], second: Sequence[Posteriors]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Utterances, speakers and true classes, in the order of the first. Raises: DataError where any differs."""
    one = first[0]
    if not tell_apart(one.labels):
        raise DataError("these models name no emotions, so that all their answers are alike. Compare their CCC with "
                        "`emotion results --rows`.")
    known = dict(zip(one.utterances, zip(one.speakers, one.targets)))
    for other in (*first[1:], *second):
        if other.labels != one.labels:
            raise DataError(f"one answers {', '.join(one.labels)}, the other {', '.join(other.labels)}: a right answer "
                            "among fewer classes is no better one. Train both with one scheme.")
        told = dict(zip(other.utterances, zip(other.speakers, other.targets)))
        if odd := known.keys() ^ told.keys():
            raise DataError(f"{len(odd)} utterances were answered by one alone ({few(odd, 3)}): of other recordings, "
                            "any difference may be theirs. Evaluate both on the same data, all folds of each.")
        if changed := {name for name in known if known[name] != told[name]}:
            raise DataError(f"{len(changed)} utterances have another speaker or another emotion in one of them "
                            f"({few(changed, 3)}): the data changed between. Evaluate both anew.")
    return one.utterances, np.array(one.speakers), one.targets


def _aligned(answers: Posteriors, names: tuple[str, ...]) -> np.ndarray:
    """The class that each of the utterances was called, in their order. Shape: (utterances,)"""
    called = dict(zip(answers.utterances, answers.probabilities.argmax(1)))
    return np.array([called[name] for name in names])


def _draw(speakers: int, draws: int, seed: int) -> np.ndarray:
    """How often each speaker is in each draw. Shape: (draws, speakers); the draws are those of metrics.bootstrap."""
    drawn = np.random.default_rng(seed).integers(speakers, size=(draws, speakers))
    cells = drawn + speakers * np.arange(draws)[:, None]
    return np.bincount(cells.ravel(), minlength=draws * speakers).reshape(draws, speakers).astype(np.float64)


def _scores(counts: np.ndarray, right: np.ndarray, targets: np.ndarray, owner: np.ndarray, classes: int) -> np.ndarray:
    """UAR, then the recall of each class, for each seed in each draw; nan where a draw holds none of a class.

    Shape: counts (draws, speakers), right (seeds, utterances), owner (utterances,) -> (draws, seeds, 1 + classes).
    """
    cells, size = owner * classes + targets, counts.shape[1] * classes
    totals = counts @ np.bincount(cells, minlength=size).reshape(-1, classes)
    found = np.stack([counts @ np.bincount(cells, row, size).reshape(-1, classes) for row in right], axis=1)
    totals = np.broadcast_to(totals[:, None], found.shape)
    recalls = np.divide(found, totals, out=np.full_like(found, np.nan), where=totals > 0)
    return np.concatenate([np.nanmean(recalls, axis=2, keepdims=True), recalls], axis=2)


def _spread(uars: np.ndarray) -> float:
    return float(np.std(uars, ddof=1)) if len(uars) > 1 else math.nan


def _difference(first: float, second: float, first_drawn: np.ndarray, second_drawn: np.ndarray) -> Difference:
    """Of a score on everyone and on each draw (draws,); draws without the class, nan, are passed over."""
    gain = second_drawn - first_drawn
    gain = gain[np.isfinite(gain)]
    low, high = np.percentile(gain, (2.5, 97.5)) if len(gain) else (math.nan, math.nan)
    better = np.mean(np.sign(gain) + 1) / 2 if len(gain) else math.nan
    return Difference(float(first), float(second), float(low), float(high), float(better))
