"""Audio as it comes in, the steps of a timeline as they become final out. The other half of the Analyzer."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from . import audio
from .timeline import Timeline
from .windows import Recording


class Step(NamedTuple):
    """What is known of one moment; probabilities is (classes,), speech how likely somebody speaks, dimensions
    (dimensions,), or None from a model without."""

    time_seconds: float
    probabilities: np.ndarray
    speech: float
    dimensions: np.ndarray | None = None


class Stream:
    """Audio as it comes to an Analyzer, steps as they become final: once the window is full that holds them deepest.

        stream = analyzer.stream(sample_rate=48_000)
        for block in microphone:
            for step in stream.feed(block): ...
        timeline = stream.close()

    Steps and Timeline are those that `analyze` gives for the same audio and windows, however it is cut into blocks.
    """

    def __init__(self, analyzer: Any, sample_rate: int, name: str):
        self._analyzer, self._rate = analyzer, sample_rate
        self._resample = audio.Resampler(sample_rate, analyzer.sample_rate)
        self._job = analyzer._job(Recording(name, tuple))
        self._waiting: deque = deque()   # windows, cut and not yet answered, as where the model was interrupted
        self._answered = 0   # of them
        self._steps: list[Step] = []   # known and not yet told
        self._known = 0   # steps, told or not
        self._closed = False
        self._layout: tuple[int, int] | None = None   # the axis of channels, and how many there are

    @property
    def delay_seconds(self) -> float:
        """Longest time from a sound to its final step, once the first window is full; computing left aside."""
        grid = self._analyzer._grid
        return (grid.length - grid.kept(1, False).start * grid.step) / self._analyzer.sample_rate

    @property
    def first_delay_seconds(self) -> float:
        """The same of the very first sound: a window has to be full before anything is known."""
        return self._analyzer._grid.length / self._analyzer.sample_rate

    def feed(self, block: Any) -> list[Step]:
        """The next audio, an array as for `analyze`; the steps that are final by it. Where channels are, the first
        blocks tell: later ones may be shorter than there are channels.

        Interrupted (Ctrl-C, no memory), it has heard the block: what was not answered is with the next, or at the end.
        Raises: AudioError for an array that is no audio; ValueError after close.
        """
        if self._closed:
            raise ValueError("the stream is closed: nothing can follow. Begin another with analyzer.stream.")
        samples = audio.as_array(block, self._job.recording.name)
        if samples.size:
            self._waiting += self._job.hear(self._resample(self._mono(samples)))
        self._answer()
        told, self._steps = self._steps, []
        return told

    def _mono(self, block: np.ndarray) -> np.ndarray:
        shape, name = block.shape, self._job.recording.name
        if self._layout is not None and len(shape) == 2 and shape[self._layout[0]] == self._layout[1]:
            channels = np.moveaxis(block, self._layout[0], 0)
            return np.mean([audio.from_array(one, self._rate, self._rate, name) for one in channels], axis=0)
        mono = audio.from_array(block, self._rate, self._rate, name)
        if len(shape) == 2 and 1 < min(shape):
            self._layout = int(np.argmin(shape)), min(shape)
        return mono

    def close(self) -> Timeline:
        """The answer to all that was heard. Raises: AudioError where that was nothing."""
        if not self._closed:
            self._closed = True
            self._waiting += self._job.hear(self._resample(np.empty(0, np.float32), last=True))
            if self._job.quality.num_samples:
                self._waiting.append(self._job.end())
        self._answer()
        if not self._job.complete:
            raise audio.AudioError(self._job.recording.name, "was closed before any audio came", "Feed some first.")
        return self._analyzer._result(self._job)

    def _answer(self) -> None:
        """Ask the model for the windows that wait, one by one, and know their steps."""
        while self._waiting:
            self._analyzer._answer([self._waiting[0]])
            said = self._waiting.popleft().said
            part = self._analyzer._grid.kept(self._answered, False)
            times = self._analyzer._times(self._known + part.stop - (part.start or 0))[self._known :]
            further = [] if said.step_dimensions is None else [said.step_dimensions[part]]
            rows = zip(times.tolist(), said.steps[part], said.speech[part].tolist(), *further)
            self._steps += [Step(*row) for row in rows]
            self._answered += 1
            self._known += len(times)
