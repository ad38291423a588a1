"""Recordings in, timelines out: reads, cuts into windows, batches, asks the model, puts the answers together.

    |------ window 0 ------|              Windows overlap. A step is taken from the window that holds it farther
                  |------ window 1 ------|        from its borders, so no seam is heard; a recording shorter than
    steps of 0 -------|------- steps of 1 ---     one window is answered whole.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import audio, checkpoint
from .checkpoint import Checkpoint
from .hardware import channels_last, choose_device
from .quality import Quality
from .timeline import SegmentConfig, Timeline, segment

BUNDLED = Path(__file__).with_name("pretrained") / checkpoint.FILE_NAME
HELD_SECONDS = 600.0   # of audio in memory before the model is asked
BATCH_SECONDS = 30.0   # of audio in one batch, padding included: as fast as 120, in 200 MB less


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    length_seconds: float = 12.0
    hop_seconds: float = 10.0   # windows overlap by length - hop

    def __post_init__(self):
        if not 0 < self.hop_seconds < self.length_seconds:
            raise ValueError(
                f"hop_seconds={self.hop_seconds} must be in (0, {self.length_seconds}): windows that do not overlap "
                "would show a seam at each border. Lower hop_seconds."
            )


@dataclass(frozen=True)
class FileError:
    """Stands in a batch's results where a recording could not be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Recording:
    """A named source of audio: `blocks()` gives float32 (samples,) pieces at the model's rate.

    statistics: mean and deviation (channels, 1, bands) of its speaker, for a model normalised by speaker.
    """

    name: str
    blocks: Callable[[], Iterable[np.ndarray]]
    statistics: tuple[Tensor, Tensor] | None = None


class Analyzer:
    """Hears which emotion is in speech, when, and how sure it is.

        Analyzer().analyze("call.wav")                      Timeline
        Analyzer().analyze(array, sample_rate=8000)         Timeline
        Analyzer().analyze(["a.wav", "b.flac"])             list of Timeline or FileError, batched
        Analyzer().analyze("calls/")                        iterator of Timeline or FileError, as it goes

    model: an experiment folder or model file; left out, the model that comes with the package.
    device: auto, cpu, cuda, mps.
    Raises: FileNotFoundError, CheckpointError for a model that cannot be used.
    """

    def __init__(
        self, model: str | os.PathLike | Checkpoint | None = None, device: str = "auto", *,
        windows: WindowConfig = WindowConfig(), segments: SegmentConfig = SegmentConfig(),
    ):
        self.checkpoint = model if isinstance(model, Checkpoint) else checkpoint.read(model or BUNDLED)
        self.device = choose_device(device)
        self.windows, self.segments = windows, segments
        self._model = channels_last(self.checkpoint.model.to(self.device)).eval()
        self._frontend = self.checkpoint.frontend.to(self.device).eval()
        settings = self.checkpoint.frontend.config
        reach = self._model.reach
        self._step_samples = reach.hop * settings.hop_samples
        self._first_step = reach.centre * settings.hop_samples / settings.sample_rate
        self._window = round(windows.length_seconds * settings.sample_rate)
        # whole steps, rounded down: rounded up a hop could pass the window's end, and leave a gap
        self._hop = max(1, round(windows.hop_seconds * settings.sample_rate) // self._step_samples) * self._step_samples
        if self._hop > self._window:
            raise ValueError(
                f"length_seconds={windows.length_seconds} must hold a step of the model, {self.step_seconds} s: "
                "shorter windows leave gaps. Raise length_seconds."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions that the model tells apart, in the order of the probabilities."""
        return self.checkpoint.labels

    @property
    def sample_rate(self) -> int:
        """Rate in Hz at which the model hears; recordings of any rate are resampled to it."""
        return self.checkpoint.frontend.config.sample_rate

    @property
    def step_seconds(self) -> float:
        """Time from one step of the timeline to the next."""
        return self._step_samples / self.sample_rate

    def analyze(self, source: Any, sample_rate: int | None = None):
        """A Timeline for one path, file object or array (samples,) or (channels, samples) with its sample_rate in Hz;
        a list for a list of these; an iterator over all recordings below a directory, in sorted order.

        Raises: AudioError, naming the file and the reason, for one recording that cannot be read. Among several, a
        FileError stands in its place and the others are answered.
        """
        if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
            return self.run(self._recording(path) for path in audio.find(source))
        if isinstance(source, (list, tuple)) and not _is_numbers(source):
            return list(self.run(self._recording(item, sample_rate, f"array {i}") for i, item in enumerate(source)))
        (answer,) = self._results([self._recording(source, sample_rate, "array")], keep_errors=False)
        return answer

    def run(self, recordings: Iterable[Recording]) -> Iterator[Timeline | FileError]:
        """The answer for each recording, in order, as soon as it and all before it are known."""
        return self._results(recordings, keep_errors=True)

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel as the front end computes it. Shape: waveform (samples,) at the model's rate -> (frames, bands)."""
        batch = torch.from_numpy(waveform)[None].to(self.device)
        with torch.inference_mode():
            mel, _ = self._frontend.log_mel(batch, torch.tensor([len(waveform)], device=self.device))
        return mel[0, 0].cpu().numpy()

    def _recording(self, source: Any, sample_rate: int | None = None, name: str = "") -> Recording:
        if isinstance(source, (str, bytes, os.PathLike)) or hasattr(source, "read"):
            label = os.fsdecode(source) if not hasattr(source, "read") else str(getattr(source, "name", "audio stream"))
            return Recording(label, partial(audio.blocks, source, self.sample_rate))
        if sample_rate is None:
            raise ValueError(
                "an array needs its sample_rate in Hz: at a wrong rate the voice is another. "
                "Call analyze(waveform, sample_rate=...)."
            )
        return Recording(name, lambda: [audio.from_array(source, sample_rate, self.sample_rate, name)])

    def _results(self, recordings: Iterable[Recording], keep_errors: bool) -> Iterator[Timeline | FileError]:
        jobs: deque[_Job] = deque()
        queue: list[_Window] = []
        held = 0
        for recording in recordings:
            job = _Job(recording, Quality(self.sample_rate))
            jobs.append(job)
            try:
                for window in self._cut(job):
                    queue.append(window)
                    held += len(window.waveform)
                    if held >= HELD_SECONDS * self.sample_rate:
                        self._answer(queue)
                        queue, held = [], 0
                job.complete = True
            except audio.AudioError as error:
                if not keep_errors:
                    raise
                job.error = FileError(recording.name, f"{error.reason}. {error.remedy}")
            while jobs and jobs[0].done:
                yield self._result(jobs.popleft())
        self._answer(queue)
        yield from (self._result(job) for job in jobs)

    def _cut(self, job: _Job) -> Iterator[_Window]:
        """Windows of one recording, read block by block."""
        held = np.empty(0, np.float32)
        for block in job.recording.blocks():
            job.quality.hear(block)
            held = np.concatenate([held, block]) if len(held) else block
            while len(held) > self._window:
                yield job.add(held[: self._window])
                held = held[self._hop :]
        yield job.add(held)

    @torch.inference_mode()
    def _answer(self, queue: list[_Window]) -> None:
        """Ask the model for every window, batched by length; the batch a window is in does not change its answer."""
        queue = sorted(queue, key=lambda window: len(window.waveform))
        while queue:
            longest = len(queue[-1].waveform)  # long windows first: memory is taken once
            size = max(1, int(BATCH_SECONDS * self.sample_rate / longest))
            batch, queue = queue[-size:], queue[:-size]
            waveforms = torch.zeros(len(batch), longest)
            for row, window in zip(waveforms, batch):
                row[: len(window.waveform)] = torch.from_numpy(window.waveform)
            num_samples = torch.tensor([len(window.waveform) for window in batch], device=self.device)
            statistics = None
            if batch[0].job.recording.statistics is not None:
                statistics = tuple(
                    torch.stack(part).to(self.device) for part in zip(*(w.job.recording.statistics for w in batch))
                )
            mel, prosody, lengths = self._frontend(waveforms.to(self.device), num_samples, statistics)
            output = self._model(mel.contiguous(memory_format=torch.channels_last), prosody, lengths)
            probabilities = self.checkpoint.calibration.apply_utterance(output.logits).cpu().numpy()
            steps = self.checkpoint.calibration.apply_steps(output.step_logits).cpu().numpy()
            for i, window in enumerate(batch):
                window.finish(probabilities[i], steps[i, : output.step_lengths[i]])

    def _result(self, job: _Job) -> Timeline | FileError:
        if job.error:
            return job.error
        seam = (self._window - self._hop) // (2 * self._step_samples)  # steps from a window's start to the seam
        hop = self._hop // self._step_samples
        steps, weights = [], []
        for i, window in enumerate(job.windows):
            first = seam if i else 0
            last = None if i == len(job.windows) - 1 else hop + seam
            steps.append(window.steps[first:last])
            weights.append(len(steps[-1]))
        step_probabilities = np.concatenate(steps)
        duration = job.quality.num_samples / self.sample_rate
        return Timeline(
            name=job.recording.name,
            labels=self.labels,
            duration_seconds=duration,
            probabilities=np.average([window.probabilities for window in job.windows], axis=0, weights=weights),
            step_times=self._first_step + self.step_seconds * np.arange(len(step_probabilities)),
            step_probabilities=step_probabilities,
            segments=segment(step_probabilities, self.labels, self.step_seconds, duration, self.segments),
            flags=job.quality.flags,
            unknown_below=self.checkpoint.calibration.unknown_below,
        )


@dataclass(eq=False)
class _Window:
    job: _Job
    waveform: np.ndarray | None
    probabilities: np.ndarray | None = None
    steps: np.ndarray | None = None

    def finish(self, probabilities: np.ndarray, steps: np.ndarray) -> None:
        self.probabilities, self.steps, self.waveform = probabilities, steps.copy(), None


@dataclass(eq=False)
class _Job:
    """One recording on its way: the windows cut from it and what was heard in passing."""

    recording: Recording
    quality: Quality
    windows: list[_Window] = field(default_factory=list)
    complete: bool = False
    error: FileError | None = None

    def add(self, waveform: np.ndarray) -> _Window:
        self.windows.append(_Window(self, waveform))
        return self.windows[-1]

    @property
    def done(self) -> bool:
        return self.error is not None or self.complete and self.windows[-1].steps is not None


def _is_numbers(source: list | tuple) -> bool:
    return len(source) > 0 and isinstance(source[0], (int, float, np.number))
