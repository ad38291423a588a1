"""A recording on its way through the model: cut into windows that overlap, put together again without a seam.

    |------ window 0 ------|              A step is taken from the window that holds it farther from its borders, so
                  |------ window 1 ------|        no seam is heard; a recording shorter than one window is answered
    steps of 0 -------|------- steps of 1 ---     whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .audio import AudioError
from .quality import Quality

if TYPE_CHECKING:
    from torch import Tensor

    Statistics = tuple[Tensor, Tensor]   # mean and deviation (channels, 1, bands)


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    length_seconds: float = 12.0
    hop_seconds: float = 10.0   # windows overlap by length - hop

    def __post_init__(self):
        if not 0 < self.hop_seconds < self.length_seconds < math.inf:
            raise ValueError(
                f"hop_seconds={self.hop_seconds} must be in (0, {self.length_seconds}), which must be finite: windows "
                "that do not overlap would show a seam at each border. Lower hop_seconds."
            )


@dataclass(frozen=True)
class Grid:
    """Windows in samples: so many long, one each hop; the model answers once in each step."""

    length: int
    hop: int
    step: int

    @classmethod
    def of(cls, config: WindowConfig, sample_rate: int, step: int) -> Grid:
        """Raises: ValueError where a window holds no step."""
        # whole steps, rounded down: rounded up a hop could pass the window's end, and leave a gap
        hop = max(1, round(config.hop_seconds * sample_rate) // step) * step
        length = round(config.length_seconds * sample_rate)
        if hop > length:
            raise ValueError(
                f"length_seconds={config.length_seconds} must hold a step of the model, {step / sample_rate} s: "
                "shorter windows leave gaps. Raise length_seconds."
            )
        return cls(length, hop, step)

    def kept(self, index: int, is_last: bool) -> slice:
        """Those steps of a window that count."""
        seam = (self.length - self.hop) // (2 * self.step)  # steps from a window's start to the seam
        return slice(seam if index else 0, None if is_last else self.hop // self.step + seam)


@dataclass(frozen=True)
class Recording:
    """A named source of audio: `blocks()` gives float32 (samples,) pieces at the model's rate.

    statistics: mean and deviation (channels, 1, bands) of its speaker, for a model normalised by speaker.
    channel: which one of the recording it is, from 1; None: all, mixed.
    """

    name: str
    blocks: Callable[[], Iterable[np.ndarray]]
    statistics: Statistics | None = None
    channel: int | None = None


class Said(NamedTuple):
    """What the model said of a window.

    Shape: probabilities (classes,), steps (steps, classes), speech (steps,), the probability that somebody speaks,
    embedding (features,) or None; dimensions (dimensions,) and step_dimensions (steps, dimensions), or None where the
    model has none.
    """

    probabilities: np.ndarray
    steps: np.ndarray
    speech: np.ndarray
    embedding: np.ndarray | None
    dimensions: np.ndarray | None
    step_dimensions: np.ndarray | None


@dataclass(eq=False)
class Window:
    """A part of a recording and, once `finish`ed, what the model said of it; the waveform is empty then.

    statistics: those of its recording.
    """

    waveform: np.ndarray
    statistics: Statistics | None = None   # not the job: each would keep the other in memory
    said: Said | None = None

    def finish(self, said: Said) -> None:
        self.said, self.waveform = said, np.empty(0, np.float32)


@dataclass(eq=False)
class Job:
    """One recording on its way: the windows cut from it and what was heard in passing."""

    recording: Recording
    quality: Quality
    grid: Grid
    windows: list[Window] = field(default_factory=list)
    held: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    complete: bool = False
    failure: AudioError | None = None   # why reading ended before the recording did
    _windows: Iterator[Window] | None = None

    def hear(self, block: np.ndarray) -> Iterator[Window]:
        """The next samples of the recording; the windows that they fill."""
        self.quality.hear(block)
        self.held = np.concatenate([self.held, block]) if len(self.held) else block
        while len(self.held) > self.grid.length:
            yield self._window(self.held[: self.grid.length])
            self.held = self.held[self.grid.hop :]

    def end(self) -> Window:
        """The last window, with what is left."""
        self.complete, rest = True, self.held
        self.held = np.empty(0, np.float32)
        return self._window(rest)

    def read(self, size: int) -> list[Window]:
        """The next windows of the recording, read block by block until they hold so many samples or it ends."""
        if self._windows is None:
            self._windows = self._cut()
        read, held = [], 0
        try:
            for window in self._windows:
                read.append(window)
                held += len(window.waveform)
                if held >= size:
                    break
        except AudioError as error:
            self.failure = error
        return read

    def _cut(self) -> Iterator[Window]:
        for block in self.recording.blocks():
            yield from self.hear(block)
        yield self.end()

    @property
    def done(self) -> bool:
        """Whether all is answered, or nothing will be."""
        return self.failure is not None or self.complete and all(window.said is not None for window in self.windows)

    @property
    def said(self) -> list[Said]:
        """What the model said of each window, once the job is done."""
        return [window.said for window in self.windows if window.said is not None]

    def joined(self) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | None]:
        """Steps of the whole recording, the speech of each window's part of them, and their dimensions."""
        last = len(self.windows) - 1
        kept = [(said, self.grid.kept(i, i == last)) for i, said in enumerate(self.said)]
        steps = np.concatenate([said.steps[part] for said, part in kept])
        speech = [said.speech[part] for said, part in kept]
        rated = [said.step_dimensions[part] for said, part in kept if said.step_dimensions is not None]
        return steps, speech, np.concatenate(rated) if rated else None

    def _window(self, waveform: np.ndarray) -> Window:
        self.windows.append(Window(waveform, self.recording.statistics))
        return self.windows[-1]
