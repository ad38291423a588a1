"""How good the scores are: recall, F1, confusion, calibration error, concordance, and how far chance could move them.

targets and predictions are class numbers (n,), probabilities are (n, classes). Every average over classes is
over the classes present in targets: a fold without fear is not marked down for its recall of fear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

SMALLEST_PROBABILITY = 1e-12  # one certain mistake then costs 27.6 nats, not infinity


def confusion(targets: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """How often each true class (row) was called each class (column).

    Shape:  targets (n,), predictions (n,) -> (num_classes, num_classes) int64.
    Raises: ValueError for nothing to score, unequal lengths, fractions, or numbers beyond num_classes - 1.
    """
    targets, predictions = _class_numbers(targets, predictions, num_classes)
    pairs = num_classes * targets + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def recalls(targets: ArrayLike, predictions: ArrayLike, classes: int) -> np.ndarray:
    """Share of each true class that was found; nan for a class that is absent from targets.

    Shape:  targets (n,), predictions (n,) -> (classes,) in 0..1.
    """
    matrix = confusion(targets, predictions, classes)
    totals = matrix.sum(axis=1)
    return np.divide(matrix.diagonal(), totals, out=np.full(classes, np.nan), where=totals > 0)


def uar(targets: ArrayLike, predictions: ArrayLike, classes: int | None = None) -> float:
    """Unweighted average recall: the mean of recalls() over the classes present. Chance is 1 / classes.

    classes, where given, is the number of classes; a class number beyond it is refused.
    Source: Schuller et al., The INTERSPEECH 2009 Emotion Challenge.
    """
    targets, predictions = _class_numbers(targets, predictions, classes)
    right = np.bincount(targets, weights=targets == predictions)
    totals = np.bincount(targets)
    return float(np.mean(right[totals > 0] / totals[totals > 0]))


def war(targets: ArrayLike, predictions: ArrayLike, classes: int | None = None) -> float:
    """Weighted average recall, also called accuracy: the share of utterances that were called right."""
    targets, predictions = _class_numbers(targets, predictions, classes)
    return float(np.mean(targets == predictions))


def macro_f1(targets: ArrayLike, predictions: ArrayLike, classes: int | None = None) -> float:
    """Plain mean of the F1 of each class present in targets."""
    return _f1(targets, predictions, classes, "macro")


def weighted_f1(targets: ArrayLike, predictions: ArrayLike, classes: int | None = None) -> float:
    """Mean of the F1 of each class, weighted by how often the class is in targets."""
    return _f1(targets, predictions, classes, "weighted")


def reliability_bins(targets: ArrayLike, probabilities: ArrayLike,
                     bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, share right and number of utterances in equally wide bins of confidence.

    Confidence is the largest probability; a bin holds its upper edge. Both means are nan in an empty bin.

    Shape:  targets (n,), probabilities (n, classes) -> three of (bins,).
    Raises: ValueError for bins < 1, or rows of probabilities that are not finite, in 0..1, and of sum 1.
    """
    if bins < 1:
        raise ValueError(f"bins={bins} must be 1 or more: without one there is nothing to compare. Raise "
                         "bins.")
    targets, probabilities = _probabilities(targets, probabilities)
    confidence = probabilities.max(axis=1)
    where = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    counts = np.bincount(where, minlength=bins)
    sums = (np.bincount(where, weights=values, minlength=bins)
            for values in (confidence, probabilities.argmax(axis=1) == targets))
    means = [np.divide(total, counts, out=np.full(bins, np.nan), where=counts > 0) for total in sums]
    return means[0], means[1], counts


def ece(targets: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: the gap of confidence and share right, mean over utterances. 0 is best.

    Even perfect probabilities give about 0.3 * sqrt(bins / n): on few utterances the error is never 0.
    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.
    """
    confidence, right, counts = reliability_bins(targets, probabilities, bins)
    return float(np.nansum(counts * np.abs(confidence - right)) / counts.sum())


def nll(targets: ArrayLike, probabilities: ArrayLike) -> float:
    """Negative log likelihood of the truth, mean over utterances, in nats. Guessing costs log(classes)."""
    targets, probabilities = _probabilities(targets, probabilities)
    of_truth = probabilities[np.arange(len(targets)), targets]
    return float(0 - np.mean(np.log(np.maximum(of_truth, SMALLEST_PROBABILITY))))   # 0, where - alone gives -0


def ccc(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Concordance correlation coefficient of what is said with what is true: 1 where they are the same numbers.

        2 cov / (var + var + (mean - mean)^2)

    A shift or another scale counts against it, as it does not in a correlation. 0 where one of the two is constant;
    1 where both are, and alike.

    Shape:  targets (n,), predictions (n,) -> -1 to 1.
    Raises: ValueError for nothing to score, unequal lengths, or numbers that are not finite.
    Source: Lin 1989, A concordance correlation coefficient to evaluate reproducibility, Biometrics 45(1).
    """
    true, said = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if true.ndim != 1 or true.shape != said.shape or not len(true):
        raise ValueError(f"targets {true.shape} and predictions {said.shape} must both be (n,), n of 1 or more: others "
                         "pair the wrong utterances. Pass one dimension.")
    if not (np.isfinite(true) & np.isfinite(said)).all():
        raise ValueError("targets and predictions must be finite: one that is not known says nothing. Leave it out.")
    apart = true.var() + said.var() + (true.mean() - said.mean()) ** 2
    return float(2 * np.mean((true - true.mean()) * (said - said.mean())) / apart) if apart else 1.0


def cross_entropy(shares: ArrayLike, probabilities: ArrayLike) -> float:
    """Of the answers against how listeners voted, mean over utterances, in nats; never below the votes' own entropy.

    Shape:  shares (n, classes) of the votes, probabilities (n, classes).
    """
    shares, probabilities = np.asarray(shares, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    return float(-np.mean((shares * np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))).sum(axis=1)))


def agreement(shares: ArrayLike, predictions: ArrayLike) -> float:
    """Share of the listeners who chose what was predicted, mean over utterances: accuracy where all are of one mind.

    Shape:  shares (n, classes) of the votes, predictions (n,) class numbers.
    """
    shares = np.asarray(shares, dtype=np.float64)
    return float(shares[np.arange(len(shares)), np.asarray(predictions)].mean())


def bootstrap(metric: Callable[[np.ndarray, np.ndarray], float], targets: ArrayLike, predictions: ArrayLike,
              speakers: ArrayLike, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a metric when other speakers of the same kind had been recorded.

    Utterances of one speaker resemble each other, so whole speakers are drawn, with replacement; an interval
    over utterances would be far too narrow. (nan, nan) with a single speaker: one voice says nothing about
    others. With fewer than about ten speakers the interval is itself rough, and rather too narrow.

    Shape:  targets (n,), predictions (n,) or (n, classes), whatever metric takes; speakers (n,).
    Raises: ValueError for unequal lengths or draws < 1.
    Source: Field and Welsh, Bootstrapping clustered data, 2007 (percentile interval, clusters resampled).
    """
    targets, predictions, speakers = np.asarray(targets), np.asarray(predictions), np.asarray(speakers)
    if not len(targets) == len(predictions) == len(speakers) > 0:
        raise ValueError(f"{len(targets)} targets, {len(predictions)} predictions and {len(speakers)} "
                         "speakers: an utterance needs one of each, or scores go to the wrong voice. Pass "
                         "equal lengths.")
    if draws < 1:
        raise ValueError(f"draws={draws} must be 1 or more: no draw, no interval. Use 1000.")
    names, owner = np.unique(speakers, return_inverse=True)
    if len(names) == 1:
        return float("nan"), float("nan")
    utterances = [np.flatnonzero(owner == speaker) for speaker in range(len(names))]
    generator = np.random.default_rng(seed)
    scores = np.empty(draws)
    for draw in range(draws):
        drawn = generator.integers(len(names), size=len(names))
        rows = np.concatenate([utterances[speaker] for speaker in drawn])
        scores[draw] = metric(targets[rows], predictions[rows])
    low, high = np.percentile(scores, (2.5, 97.5))
    return float(low), float(high)


def summary(targets: ArrayLike, probabilities: ArrayLike, labels: Sequence[str],
            speakers: Sequence[str]) -> dict:
    """Everything above as plain floats, ready for JSON; labels name the columns of probabilities.

    nan stands where there is no answer: the recall of an absent class, the interval of a single speaker.
    """
    targets, probabilities = _probabilities(targets, probabilities)
    if len(labels) != probabilities.shape[1]:
        raise ValueError(f"{len(labels)} labels for {probabilities.shape[1]} columns of probabilities: "
                         "classes would be called by the wrong names. Pass the labels the model was "
                         "trained with.")
    predictions, classes = probabilities.argmax(axis=1), len(labels)
    low, high = bootstrap(uar, targets, predictions, speakers)
    return {
        "uar": uar(targets, predictions, classes), "uar_low": low, "uar_high": high,
        "war": war(targets, predictions, classes),
        "macro_f1": macro_f1(targets, predictions, classes),
        "weighted_f1": weighted_f1(targets, predictions, classes),
        "ece": ece(targets, probabilities), "nll": nll(targets, probabilities),
        "per_class": dict(zip(labels, recalls(targets, predictions, classes).tolist())),
        "confusion": confusion(targets, predictions, classes).tolist(),
        "num_utterances": len(targets), "num_speakers": len(set(speakers)),
    }


def _f1(targets: ArrayLike, predictions: ArrayLike, classes: int | None, average: str) -> float:
    from sklearn.metrics import f1_score

    targets, predictions = _class_numbers(targets, predictions, classes)
    return float(f1_score(targets, predictions, labels=np.unique(targets), average=average, zero_division=0))


def _class_numbers(targets: ArrayLike, predictions: ArrayLike,
                   classes: int | None) -> tuple[np.ndarray, np.ndarray]:
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if targets.ndim != 1 or targets.shape != predictions.shape or not len(targets):
        raise ValueError(f"targets {targets.shape} and predictions {predictions.shape} must both be (n,), n "
                         "of 1 or more: others pair the wrong utterances. Take argmax(axis=1) of "
                         "probabilities first.")
    for name, numbers in (("targets", targets), ("predictions", predictions)):
        top = numbers.max() if classes is None else classes - 1
        if numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > top:
            raise ValueError(f"{name} of type {numbers.dtype} span {numbers.min()}..{numbers.max()}; "
                             f"allowed are integers from 0 to {'classes' if classes is None else classes} - "
                             "1, others would be counted nowhere. Map labels to class numbers.")
    return targets.astype(np.int64), predictions.astype(np.int64)


def _probabilities(targets: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or len(probabilities) != len(targets):
        raise ValueError(f"probabilities {probabilities.shape} must be ({len(targets)}, classes), one row a "
                         "target, or the wrong utterances would be paired. Pass one row an utterance.")
    unsound = ~(np.isfinite(probabilities).all(axis=1) & (probabilities >= 0).all(axis=1)
                & (np.abs(probabilities.sum(axis=1) - 1) < 1e-3))
    if unsound.any():
        row = int(unsound.argmax())
        raise ValueError(f"row {row} of probabilities is {probabilities[row]}; it must be finite, in 0..1 "
                         "and sum to 1, or confidence means nothing. Pass logits through softmax.")
    targets, _ = _class_numbers(targets, probabilities.argmax(axis=1), probabilities.shape[1])
    return targets, probabilities
