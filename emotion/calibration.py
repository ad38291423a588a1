"""Temperatures that make confidence mean what it says, and the confidence below which the answer is `unknown`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """Temperatures divide logits before the softmax: above 1 answers grow less sure, below 1 surer; their order stays.

    Utterance and step logits have their own, as pooling over time makes the one surer than the other. An utterance
    whose confidence is less than unknown_below is called unknown; 0 never is.
    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2.
    """

    utterance: float = 1.0
    step: float = 1.0
    unknown_below: float = 0.0

    def __post_init__(self):
        for name in ("utterance", "step"):
            if not LOWEST <= (value := getattr(self, name)) <= HIGHEST:
                raise ValueError(f"temperature {name}={value} must be in [{LOWEST}, {HIGHEST}]: outside, "
                                 "every answer is certain or none is. Use fit_temperature, or 1.0 for none.")
        if not 0 <= self.unknown_below < 1:
            raise ValueError(f"unknown_below={self.unknown_below} must be in [0, 1): at 1 nothing would ever be "
                             "answered. Use fit_threshold, or 0 to answer always.")

    def apply_utterance(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities of whole utterances.   Shape: (batch, classes) -> the same."""
        return _softmax(logits, self.utterance)

    def apply_steps(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities along time.   Shape: (batch, steps, classes) -> the same."""
        return _softmax(logits, self.step)


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature in [0.05, 20] under which the targets are most likely.

    With b = 1 / T the negative log likelihood is convex; its slope in b,

        mean over utterances of (sum_k p_k(b) z_k) - z_target,

    only rises, so halving an interval around its zero finds the one minimum and cannot diverge. Where all of n
    utterances are right, surer would be better without end; so a share of 1 / (n + 2) of each target is spread over all
    classes, as if one more had been wrong. Without a zero inside (worse than chance: less sure is better) the answer is
    the bound. Logits that are equal across classes say nothing, and give 1.

    Source: Platt 1999, Probabilistic outputs for support vector machines, section 2.2 (the share).
    Shape:  logits (n, classes) finite, targets (n,) class numbers.
    Raises: ValueError for other shapes, no utterances, logits not finite, or targets that are no class.
    """
    logits = logits.detach().cpu().double()  # some devices have no doubles
    targets = targets.detach().cpu().long()
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not logits.numel():
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must be (n, "
                         "classes) and (n,) with n of 1 or more: nothing can be fitted. Pass one row of "
                         "logits an utterance.")
    if not logits.isfinite().all():
        row = int((~logits.isfinite().all(dim=1)).nonzero()[0])
        raise ValueError(f"logits of row {row} are {logits[row].tolist()}; they must be finite, or no "
                         "temperature helps. Find what the model did with that utterance.")
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise ValueError(f"targets span {int(targets.min())}..{int(targets.max())}, allowed are integers "
                         f"from 0 to {logits.shape[1] - 1}: others have no logit. Map labels to the model's "
                         "classes.")
    logits = logits - logits.max(dim=1, keepdim=True).values
    doubt = 1 / (len(logits) + 2)
    of_target = (1 - doubt) * logits.gather(1, targets[:, None]).squeeze(1) + doubt * logits.mean(dim=1)
    if not logits.any():
        return 1.0

    def slope(log_temperature: float) -> float:
        expected = (_softmax(logits, math.exp(log_temperature)) * logits).sum(dim=1)
        return float((expected - of_target).mean())  # above 0: the answers are too sure

    cold, hot = math.log(LOWEST), math.log(HIGHEST)
    if slope(cold) <= 0:
        return LOWEST
    if slope(hot) >= 0:
        return HIGHEST
    for _ in range(50):  # from log(400) to below the precision of a double
        middle = (cold + hot) / 2
        cold, hot = (middle, hot) if slope(middle) > 0 else (cold, middle)
    return min(max(math.exp((cold + hot) / 2), LOWEST), HIGHEST)


def fit_threshold(probabilities: Tensor, share: float = 0.1) -> float:
    """The confidence that this share of utterances stays below: those are held back as unknown.

    Shape:  probabilities (n, classes), calibrated, of recordings like those to come.
    Raises: ValueError for a share outside [0, 1) or no utterance.
    Source: Geifman and El-Yaniv, Selective classification for deep neural networks, 2017 (confidence as the selector).
    """
    if not 0 <= share < 1 or not len(probabilities):
        raise ValueError(f"share={share} must be in [0, 1) and {len(probabilities)} utterances at least one: of "
                         "nothing no part can be held back. Use 0.1, or 0 to answer always.")
    if not share:
        return 0.0
    confidence = float(probabilities.detach().double().max(dim=1).values.quantile(share))
    return min(confidence, math.nextafter(1.0, 0.0))   # 1 would hold back what is certain


def _softmax(logits: Tensor, temperature: float) -> Tensor:
    return (logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature).softmax(dim=-1)
