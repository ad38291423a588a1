"""A part of a model's answers, and its answers to another corpus: shared by local/pack.py and local/matrix.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emotion.posteriors import Posteriors


def only(answers: Posteriors, rows: np.ndarray) -> Posteriors:
    return Posteriors(
        tuple(np.array(answers.utterances)[rows]), tuple(np.array(answers.speakers)[rows]), answers.labels,
        answers.targets[rows], answers.probabilities[rows],
    )


def on_shared_classes(answers: Posteriors, heard: set[str]) -> Posteriors:
    """Utterances of the classes that training had, answers among the classes that training and test both have."""
    shared = [k for k, label in enumerate(answers.labels) if label in heard and k in answers.targets]
    kept = only(answers, np.isin(answers.targets, shared))
    probabilities = np.zeros_like(kept.probabilities)
    probabilities[:, shared] = kept.probabilities[:, shared]
    return replace(kept, probabilities=probabilities / probabilities.sum(1, keepdims=True))
