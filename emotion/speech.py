"""Where somebody speaks: from the probability of speech in chunks to stretches of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RATE = 16_000  # in Hz, at which the detector hears
CHUNK = 512  # samples
CHUNK_SECONDS = CHUNK / RATE


@dataclass(frozen=True, kw_only=True)
class SpeechConfig:
    threshold: float = 0.5   # probability of speech; lower finds more of it, and more noise
    bridge_seconds: float = 0.5   # a shorter pause is part of what is said
    shortest_seconds: float = 0.2   # a shorter stretch is a click, a cough

    def __post_init__(self):
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold} must be in (0, 1): else all is speech, or nothing. Use 0.5.")
        if not (0 <= self.bridge_seconds < math.inf and 0 <= self.shortest_seconds < math.inf):
            raise ValueError(
                f"bridge_seconds={self.bridge_seconds} and shortest_seconds={self.shortest_seconds} must be finite and "
                "not negative. Use 0 to switch either off."
            )


def at(times: np.ndarray, chunk_probabilities: np.ndarray) -> np.ndarray:
    """Probability of speech at any time, linear between the middles of chunks.

    Shape: times (steps,) in seconds, chunk_probabilities (chunks,) -> (steps,).
    """
    middles = CHUNK_SECONDS * (np.arange(len(chunk_probabilities)) + 0.5)
    return np.interp(times, middles, chunk_probabilities)


def stretches(probabilities: np.ndarray, step_seconds: float, config: SpeechConfig) -> list[tuple[int, int]]:
    """Where somebody speaks, as (first step, step behind the last): pauses bridged, then what is too short left out.

    Shape: probabilities (steps,) of speech.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], probabilities >= config.threshold, [False]])))
    starts, ends = edges[::2], edges[1::2]
    apart = (starts[1:] - ends[:-1]) * step_seconds >= config.bridge_seconds
    first, last = np.concatenate([[True], apart])[: len(starts)], np.concatenate([apart, [True]])[: len(ends)]
    return [
        (start, end) for start, end in zip(starts[first].tolist(), ends[last].tolist())
        if (end - start) * step_seconds >= config.shortest_seconds
    ]
