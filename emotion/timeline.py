"""When which emotion: probabilities over time, smoothed and merged into segments."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Segment:
    """A stretch of one emotion, or what a person said without being interrupted, where turns were given.

    probabilities: mean of the smoothed steps inside it, or the answer to the turn by itself, in the order of the
    timeline's labels; confidence is its label's.
    dimensions: mean of the steps inside it, or the turn's, in the order of the timeline's; () from a model without.
    """

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    speaker: str | None = None
    dimensions: tuple[float, ...] = ()


@dataclass(frozen=True)
class Span:
    """A stretch of a recording that somebody asks about: a turn of a speaker, a sentence."""

    start_seconds: float
    end_seconds: float
    speaker: str | None = None


@dataclass(frozen=True, eq=False)
class Timeline:
    """The answer for one recording.

    Shape: probabilities (classes,) of the whole recording; step_times (steps,), the centre of each step in seconds;
    step_probabilities (steps, classes), before smoothing; step_speech (steps,), the probability that somebody speaks.
    Segments leave out where nobody does. Below the confidence unknown_below the label is unknown: that of recordings
    and of given spans. Segments that were found are moments, which are less sure, and are named whatever it is.
    channel: which one of the recording this is, from 1; None: all, mixed.
    embedding: (features,) of the whole recording, what the network's last layer sees; None from an exported model.
    dimensions: arousal and the like of the whole recording by name, from 0 to 1; empty from a model that has none.
    step_dimensions: (steps, dimensions), before smoothing; None from such a model.
    """

    name: str
    labels: tuple[str, ...]
    duration_seconds: float
    probabilities: np.ndarray
    step_times: np.ndarray
    step_probabilities: np.ndarray
    step_speech: np.ndarray
    segments: tuple[Segment, ...]
    flags: tuple[str, ...] = field(default=())
    unknown_below: float = 0.0
    channel: int | None = None
    embedding: np.ndarray | None = None
    dimensions: dict[str, float] = field(default_factory=dict)
    step_dimensions: np.ndarray | None = None

    @property
    def label(self) -> str:
        """The most probable emotion of the whole recording, or `unknown` where the model holds back."""
        return "unknown" if self.confidence < self.unknown_below else self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Calibrated probability of the most probable emotion."""
        return float(self.probabilities.max())

    @property
    def entropy(self) -> float:
        """Spread of the probabilities: 0 where one class has all, 1 where all are alike."""
        return entropy(self.probabilities)

    def __repr__(self) -> str:
        return (
            f"Timeline({self.name!r}, {self.label} {self.confidence:.2f}, "
            f"{self.duration_seconds:.2f} s, {len(self.segments)} segments)"
        )

    def to_dict(self) -> dict:
        """Plain Python values, ready for JSON; without the steps."""
        return {
            "path": self.name,
            **({} if self.channel is None else {"channel": self.channel}),
            "label": self.label,
            "confidence": self.confidence,
            "entropy": self.entropy,
            "flags": list(self.flags),
            "duration_seconds": self.duration_seconds,
            **({"dimensions": dict(self.dimensions)} if self.dimensions else {}),
            "probabilities": dict(zip(self.labels, self.probabilities.tolist())),
            "segments": [self._plain(segment) for segment in self.segments],
        }

    def _plain(self, segment: Segment) -> dict:
        plain = {**vars(segment), "probabilities": dict(zip(self.labels, segment.probabilities))}
        del plain["dimensions"]
        return plain | ({"dimensions": dict(zip(self.dimensions, segment.dimensions))} if segment.dimensions else {})


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    smoothing_seconds: float = 0.8   # width of the moving average over step probabilities
    shortest_seconds: float = 0.5   # a shorter stretch joins the neighbour that resembles it more

    def __post_init__(self):
        if not (0 <= self.smoothing_seconds < math.inf and 0 <= self.shortest_seconds < math.inf):
            raise ValueError(
                f"smoothing_seconds={self.smoothing_seconds} and shortest_seconds={self.shortest_seconds} "
                "must be finite and not negative. Use 0 to switch either off."
            )


def entropy(probabilities: np.ndarray) -> float:
    """Entropy divided by its maximum, in [0, 1]; 0 of a single class. Shape: (classes,)."""
    if len(probabilities) == 1:
        return 0.0
    present = probabilities[probabilities > 0]
    spread = float(-(present * np.log(present)).sum() / math.log(max(2, len(probabilities))))
    return min(max(0.0, spread), 1.0)  # rounding leaves -0.0 and 1.0000002


def smooth(probabilities: np.ndarray, width: int) -> np.ndarray:
    """Moving average over `width` steps (made odd), narrower at both ends.

    Shape: (steps, classes) -> the same; rows still sum to one.
    """
    half = width // 2
    sums = np.vstack([np.zeros((1, probabilities.shape[1])), probabilities.cumsum(0, dtype=np.float64)])
    steps = np.arange(len(probabilities))
    reach = np.minimum(half, np.minimum(steps, len(probabilities) - 1 - steps))
    return (sums[steps + reach + 1] - sums[steps - reach]) / (2 * reach + 1)[:, None]


def segment(
    probabilities: np.ndarray, labels: tuple[str, ...], step_seconds: float, duration_seconds: float,
    config: SegmentConfig = SegmentConfig(), stretches: Sequence[tuple[int, int]] | None = None,
    first_seconds: float | None = None, dimensions: np.ndarray | None = None,
) -> tuple[Segment, ...]:
    """Segments that cover the stretches without gap, in a stretch no two neighbours won by the same class.

    A step stands for the time nearest to its centre, first_seconds + i * step_seconds (left out: half a step); the last
    segment ends with the recording. A last step that begins with the recording's end is left out. Nothing is smoothed
    from one stretch into the next.
    stretches: (first step, step behind the last) where somebody speaks; None: all is one.

    Shape: probabilities (steps, classes), dimensions (steps, dimensions) if there are any.   Unit: seconds.
    """
    before = 0.0 if first_seconds is None else first_seconds - step_seconds / 2  # where the first step begins
    inside = max(1, math.ceil((duration_seconds - before - 0.001) / step_seconds))  # times are told in milliseconds
    inside = min(inside, len(probabilities))
    width = round(config.smoothing_seconds / step_seconds)
    fewest = config.shortest_seconds / step_seconds - 1e-6   # 0.28 / 0.04 is a little more than 7
    segments = []
    for first, last in [(0, len(probabilities))] if stretches is None else stretches:
        smoothed = smooth(probabilities[first:last], width)[: inside - first]
        for start, end, winner in _merged(smoothed, fewest):
            mean = smoothed[start:end].mean(0).tolist()
            begin = max(0.0, before + (first + start) * step_seconds) if first + start else 0.0
            stop = duration_seconds if first + end >= inside else before + (first + end) * step_seconds
            felt = () if dimensions is None else tuple(dimensions[first + start : first + end].mean(0).tolist())
            segments.append(Segment(
                round(begin, 3), round(stop, 3), labels[winner], mean[winner], tuple(mean), dimensions=felt))
    return tuple(segments)


def _merged(smoothed: np.ndarray, fewest: float) -> list[tuple[int, int, int]]:
    """Stretches (start, end, winner) of steps that the same class wins, the short ones absorbed."""
    if not len(smoothed):
        return []
    winners = smoothed.argmax(1)
    starts = [0, *(np.flatnonzero(np.diff(winners)) + 1).tolist()]
    return _absorb(
        [(start, end, int(winners[start])) for start, end in zip(starts, [*starts[1:], len(winners)])], smoothed, fewest
    )


def _absorb(
    stretches: Sequence[tuple[int, int, int]], smoothed: np.ndarray, fewest: float,
) -> list[tuple[int, int, int]]:
    """Stretches (start, end, winner) of at least `fewest` steps, if not a single one is left.

    The shortest takes the label of the neighbour that is more probable inside it, and joins who is now alike; then the
    next. A heap finds the shortest: looking through all of them each time would take minutes for an hour of speech.
    """
    ends = {start: end for start, end, _ in stretches}
    starts = {end: start for start, end in ends.items()}
    winners = {start: winner for start, _, winner in stretches}
    heap = [(end - start, start) for start, end in ends.items()]
    heapq.heapify(heap)
    while len(ends) > 1 and heap[0][0] < fewest:
        length, start = heapq.heappop(heap)
        if ends.get(start) != start + length:
            continue  # has been joined since
        neighbours = [k for k in (starts.get(start), start + length) if k in ends]
        inside = smoothed[start : start + length].mean(0)
        winner = max((winners[k] for k in neighbours), key=inside.__getitem__)
        alike = [start, *(k for k in neighbours if winners[k] == winner)]
        start, end = min(alike), max(ends.pop(k) for k in alike)
        ends[start], starts[end], winners[start] = end, start, winner
        heapq.heappush(heap, (end - start, start))
    return [(start, ends[start], winners[start]) for start in sorted(ends)]
