"""Answers of a model that are right and wrong where a test wants them."""

import numpy as np

from emotion.posteriors import Posteriors


def planted(names: str, targets: list[int], predictions: list[int], share: float = 0.9) -> Posteriors:
    """Posteriors over anger and fear: `share` for the prediction. An id begins with its speaker."""
    probabilities = np.full((len(targets), 2), 1 - share)
    probabilities[np.arange(len(targets)), predictions] = share
    utterances = tuple(names.split())
    speakers = tuple(name[0] for name in utterances)
    return Posteriors(utterances, speakers, ("anger", "fear"), np.array(targets), probabilities)
