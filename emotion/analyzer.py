"""Recordings in, timelines out: reads, batches windows, asks the model, puts the answers together."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import audio, sources, turns
from .backend import backend
from .exported import Exported
from .flow import answered
from .quality import Quality
from .speech import CHUNK_SECONDS, SpeechConfig, at, stretches
from .timeline import SegmentConfig, Span, Timeline, segment
from .windows import Grid, Job, Recording, Said, Window, WindowConfig

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .engine import Engine
    from .stream import Stream
    from .windows import Statistics

CHANNELS = ("mix", "separate")
PRECISIONS = ("float32", "bfloat16")
SPEECH_SECONDS, SPEECH_SHARE = 0.1, 0.02  # with less of either nobody speaks


@dataclass(frozen=True)
class FileError:
    """Stands in a batch's results where a recording could not be read."""

    name: str
    reason: str
    channel: int | None = None   # where channels are answered each by itself


class Analyzer:
    """Hears which emotion is in speech, when, and how sure it is.

        Analyzer().analyze("call.wav")                      Timeline
        Analyzer().analyze(array, sample_rate=8000)         Timeline
        Analyzer().analyze(["a.wav", "b.flac"])             list of Timeline or FileError, batched
        Analyzer().analyze("calls/")                        iterator of Timeline or FileError, as it goes
        Analyzer().analyze("call.wav", channels="separate") list of Timeline, one for each channel
        Analyzer().analyze("call.wav", spans=turns)         Timeline whose segments are these turns
        Analyzer().analyze("anna.wav", baseline="calm.wav") set against how Anna sounds when nothing moves her
        Analyzer().stream(sample_rate=16_000)               Stream: feed it blocks as they come

    model: an experiment folder or model file; left out, or `bundled`, the model of the package. One that `emotion
    export` wrote, model.onnx, is answered without PyTorch, on the processor.
    device: auto, cpu, cuda, mps, or a torch.device.   speech: how speech is found; None: all is taken for speech.
    threads: how many read recordings and answer, each a batch by itself, which makes more of the cores than sharing
    each batch; PyTorch's own number of threads is then 1 in the whole process. None: the caller's, and PyTorch's own.
    precision: float32; or bfloat16, up to 1.4 times as fast where the processor computes it in hardware: probabilities
    within 0.01, the same labels wherever the two best are not as close (measured: recipes/bench/RESULTS.md).
    A process forked off after a first answer (gunicorn --preload) would wait for ever for threads of PyTorch: make
    the Analyzer in the child, or give threads=1.
    Raises: FileNotFoundError, CheckpointError for a model that cannot be used.
    """

    def __init__(
        self, model: str | os.PathLike | Checkpoint | Exported | None = None, device: Any = "auto", *,
        windows: WindowConfig = WindowConfig(), segments: SegmentConfig = SegmentConfig(),
        speech: SpeechConfig | None = SpeechConfig(), threads: int | None = None,
        precision: str = "float32",
    ):
        if threads is not None and threads < 1:
            raise ValueError(f"threads={threads} must be at least 1. Leave it out for the caller's alone.")
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r} must be one of {', '.join(PRECISIONS)}.")
        if not (speech is None or isinstance(speech, SpeechConfig)):
            raise TypeError(f"speech={speech!r} must be a SpeechConfig, or None: all is taken for speech then.")
        self._windows, self._segments, self._speech = windows, segments, speech
        self._threads = threads or 1
        self._engine = backend(model, device, detects=speech is not None, alone=threads is not None,
                               precision=precision)
        self._grid = Grid.of(windows, self._engine.sample_rate, self._engine.step_samples)
        self._enrolled: dict[str, Statistics] = {}   # by speaker

    def __repr__(self) -> str:
        return f"Analyzer({self._engine.name}, {len(self.labels)} emotions, {self.device}, {self.fingerprint})"

    @property
    def windows(self) -> WindowConfig:
        """How recordings are cut for the model."""
        return self._windows

    @property
    def segments(self) -> SegmentConfig:
        """How segments are made of steps."""
        return self._segments

    @property
    def speech(self) -> SpeechConfig | None:
        """How speech is found; None where all is taken for speech."""
        return self._speech

    @property
    def checkpoint(self) -> Checkpoint:
        """The model itself, on the device. Raises: ValueError for an exported one."""
        return self._in_torch.checkpoint

    @property
    def device(self):
        """What it computes on: a torch.device, or "cpu" for an exported model."""
        return self._engine.device

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of all in the model that decides an answer."""
        return self._engine.fingerprint

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions that the model tells apart, in the order of the probabilities."""
        return self._engine.labels

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Arousal and the like, where the model answers them: the names in Timeline.dimensions."""
        return self._engine.dimensions

    @property
    def sample_rate(self) -> int:
        """Rate in Hz at which the model hears; recordings of any rate are resampled to it."""
        return self._engine.sample_rate

    @property
    def step_seconds(self) -> float:
        """Time from one step of the timeline to the next."""
        return self._engine.step_samples / self.sample_rate

    def analyze(
        self, source: Any, sample_rate: int | None = None, *,
        channels: str = "mix", spans: Sequence[Span] | None = None, speaker: str | None = None, baseline: Any = None,
    ) -> Any:   # no type tells a path to a recording from one to a folder
        """A Timeline for one path, file object or array (samples,) or (channels, samples) with its sample_rate in Hz;
        a list for a list of these (or a set, or a column of paths); an iterator for an iterator of these, or over all
        recordings below a directory, in sorted order. Up to ten minutes of audio are answered together, so the first
        answer of an iterator comes after as much or at its end.

        channels: mix averages them; separate answers for each by itself, as where each person has a channel: a list
        instead of a Timeline, and one after the other in lists and directories.
        spans: where to listen in one recording, instead of finding speech: each becomes a segment, answered as an
        utterance by itself. They may overlap. Those of enrolled speakers are heard as such.
        speaker: the enrolled one who speaks.   baseline: recordings of neutral speech of the one who speaks, as for
        `enroll`, for this call alone.
        Raises: AudioError, naming the file and the reason, for one recording that cannot be read. Among several, a
        FileError stands in its place and the others are answered. TypeError for what is no recording; ValueError for
        an array without its sample_rate.
        """
        statistics = self._statistics(sample_rate, speaker, baseline)
        if channels not in CHANNELS:
            raise ValueError(f"channels={channels!r} must be one of {', '.join(CHANNELS)}.")
        separate = channels == "separate"
        several, one = sources.listed(source)
        if spans is not None:
            if not one or separate:
                raise ValueError("spans are of one recording, its channels mixed. Analyze one, with channels='mix'.")
            return self._turns(source, sample_rate, spans, statistics)
        recordings = (
            replace(recording, statistics=statistics)
            for item, name in several
            for recording in sources.recordings(item, sample_rate, self.sample_rate, name, separate)
        )
        answers = self._results(recordings, keep_errors=not one)
        if not one:
            return answers if isinstance(source, (str, os.PathLike, Iterator)) else list(answers)
        return list(answers) if separate else next(answers)

    def enroll(self, speaker: str, recordings: Any, sample_rate: int | None = None) -> None:
        """Learn how a speaker sounds when nothing moves them: what then differs is the emotion, not the voice.

        recordings: neutral speech, some seconds or more: a path, a folder, an array (at sample_rate Hz) or a list.
        It gains little, and may cost where recordings are like those of training (measured: recipes/bench/RESULTS.md):
        try it on some of yours.
        Raises: AudioError for the first that cannot be read; ValueError for a model that has no use for it.
        """
        self._enrolled[speaker] = self._voice(recordings, sample_rate)

    def embed(self, source: Any, sample_rate: int | None = None) -> np.ndarray:
        """What the network makes of recordings before it names an emotion, for models of your own.

        source: as for `analyze`. Shape: (features,) for one recording, (recordings, features) for several.
        Raises: AudioError for the first that cannot be read; ValueError for an exported model.
        """
        self._in_torch  # noqa: B018   an exported model is refused before anything is read
        answers = self.analyze(source, sample_rate)
        one = isinstance(answers, Timeline)
        answers = [answers] if one else list(answers)
        for answer in answers:
            if isinstance(answer, FileError):
                raise audio.AudioError(answer.name, answer.reason.rstrip("."), "Leave it out.")
        if not answers:
            raise ValueError("no recordings to embed. Give at least one.")
        embeddings = np.stack([answer.embedding for answer in answers])
        return embeddings[0] if one else embeddings

    def run(self, recordings: Iterable[Recording]) -> Iterator[Timeline | FileError]:
        """The answer for each recording, in order, as soon as it and all before it are known."""
        return self._results(recordings, keep_errors=True)

    def stream(self, sample_rate: int, name: str = "stream") -> Stream:
        """Listens as the audio comes, at that rate in Hz. For short delays use short windows, as
        Analyzer(windows=WindowConfig(length_seconds=4, hop_seconds=1)): each second is then heard four times."""
        from .stream import Stream

        return Stream(self, sample_rate, name)

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel as the front end computes it. Shape: waveform (samples,) at the model's rate -> (frames, bands).

        Raises: ValueError for an exported model, AudioError for an array that `analyze` would refuse.
        """
        return self._in_torch.spectrogram(audio.from_array(waveform, self.sample_rate, self.sample_rate))

    def pitch(self, waveform: np.ndarray) -> np.ndarray:
        """F0 of each frame of `spectrogram` in Hz, 0 where unvoiced. Shape: (samples,) -> (frames,).

        Raises: as `spectrogram`.
        """
        return self._in_torch.pitch(audio.from_array(waveform, self.sample_rate, self.sample_rate))

    @property
    def _in_torch(self) -> Engine:
        if isinstance(self._engine, Exported):
            raise ValueError("an exported model only answers: its weights and front end are one graph. Give the model "
                             "that it was exported from.")
        return self._engine

    def _statistics(self, sample_rate: int | None, speaker: str | None, baseline: Any) -> Statistics | None:
        """Of the speaker, enrolled or by a baseline; None where nobody is named."""
        if speaker is None:
            return None if baseline is None else self._voice(baseline, sample_rate)
        if baseline is not None:
            raise ValueError("speaker and baseline both say whose voice it is. Give one of them.")
        if speaker not in self._enrolled:
            enrolled = ", ".join(self._enrolled) or "nobody"
            raise ValueError(f"speaker {speaker!r} is not enrolled, {enrolled} is. Call enroll first.")
        return self._enrolled[speaker]

    def _voice(self, recordings: Any, sample_rate: int | None) -> Statistics:
        """Normalising statistics of the one who speaks neutrally in these recordings."""
        checkpoint = self._in_torch.checkpoint   # an exported model is refused before PyTorch is asked for
        from .baseline import statistics

        if isinstance(recordings, (str, os.PathLike)) and Path(recordings).is_dir():
            recordings = audio.find(recordings)
        elif not isinstance(recordings, (list, tuple)) or sources.is_numbers(recordings):
            recordings = [recordings]
        return statistics(checkpoint, (
            np.concatenate(list(recording.blocks()))
            for item in recordings
            for recording in sources.recordings(item, sample_rate, self.sample_rate, "array", separate=False)
        ))

    def _turns(
        self, source: Any, sample_rate: int | None, spans: Sequence[Span], statistics: Statistics | None,
    ) -> Timeline:
        """Each span as an utterance by itself, put together to one answer."""
        name, duration, heard = turns.reader(source, sample_rate, self.sample_rate)

        def recording(span: Span) -> Recording:
            own = statistics if span.speaker is None else self._enrolled.get(span.speaker, statistics)
            return Recording(name, lambda: [heard(span.start_seconds, span.end_seconds)], own)

        ordered = turns.in_order(spans)
        answers = [self._result(job) for job in self._answered(map(recording, ordered))]
        return turns.joined(name, duration, ordered, answers, self.speech.threshold if self.speech else 0.0)

    def _results(self, recordings: Iterable[Recording], keep_errors: bool) -> Iterator[Timeline | FileError]:
        for job in self._answered(recordings):
            if keep_errors and job.failure:
                reason = f"{job.failure.reason}. {job.failure.remedy}"
                yield FileError(job.recording.name, reason, job.recording.channel)
            else:
                yield self._result(job)

    def _answered(self, recordings: Iterable[Recording]) -> Iterator[Job]:
        on_gpu = str(self.device).startswith("cuda")   # of others it was not measured
        return answered(map(self._job, recordings), self._answer, self.sample_rate, self._threads, on_gpu)

    def _answer(self, batch: Sequence[Window]) -> None:
        """Ask the model for windows that flow.batches put together; what else is among them changes no answer."""
        num_samples = np.array([len(window.waveform) for window in batch])
        waveforms = np.zeros((len(batch), num_samples.max()), np.float32)
        for row, window in zip(waveforms, batch):
            row[: len(window.waveform)] = window.waveform
        statistics = [window.statistics for window in batch if window.statistics is not None]   # of all, or of none
        answers = self._engine.answer(waveforms, num_samples, statistics or None)
        for i, window in enumerate(batch):
            count = int(answers.step_lengths[i])
            speech = np.ones(count, np.float32)
            if self.speech is not None and answers.speech is not None:
                chunks = max(1, math.ceil(num_samples[i] / self.sample_rate / CHUNK_SECONDS))
                speech = at(self._times(count), answers.speech[i, :chunks])
            window.finish(Said(
                answers.probabilities[i],
                answers.step_probabilities[i, :count].copy(),
                speech,
                None if answers.embeddings is None else answers.embeddings[i],
                None if answers.dimensions is None else answers.dimensions[i],
                None if answers.step_dimensions is None else answers.step_dimensions[i, :count].copy(),
            ))

    def _times(self, count: int) -> np.ndarray:
        return self._engine.first_step_seconds + self.step_seconds * np.arange(count)

    def _job(self, recording: Recording) -> Job:
        return Job(recording, Quality(self.sample_rate), self._grid)

    def _result(self, job: Job) -> Timeline:
        """Raises: AudioError where the recording could not be read."""
        if job.failure:
            raise job.failure
        said, (steps, parts, step_dimensions) = job.said, job.joined()
        # the share of a window in the answer is what is spoken in it, or all where nobody speaks
        shares = np.array([(part >= self.speech.threshold).sum() if self.speech else len(part) for part in parts])
        if not shares.any():
            shares = np.array([len(part) for part in parts])
        speech, duration = np.concatenate(parts), job.quality.num_samples / self.sample_rate
        spoken = stretches(speech, self.step_seconds, self.speech) if self.speech else None
        rated = [part.dimensions for part in said if part.dimensions is not None]
        return Timeline(
            name=job.recording.name,
            labels=self.labels,
            duration_seconds=duration,
            probabilities=np.average([part.probabilities for part in said], axis=0, weights=shares),
            step_times=self._times(len(steps)),
            step_probabilities=steps,
            step_speech=speech,
            segments=segment(
                steps, self.labels, self.step_seconds, duration, self.segments, spoken,
                self._engine.first_step_seconds, step_dimensions,
            ),
            flags=self._flags(job.quality, speech, duration),
            unknown_below=self._engine.unknown_below,
            channel=job.recording.channel,
            embedding=_mean([part.embedding for part in said], shares),
            dimensions={
                name: float(np.average([vector[k] for vector in rated], weights=shares))
                for k, name in enumerate(self.dimensions)
            },
            step_dimensions=step_dimensions,
        )

    def _flags(self, quality: Quality, speech: np.ndarray, duration: float) -> tuple[str, ...]:
        if self.speech is None:
            return quality.flags
        seconds = duration * (speech >= self.speech.threshold).mean()
        nobody = seconds < max(SPEECH_SECONDS, SPEECH_SHARE * duration)
        spoken = np.interp(quality.glance_times, self._times(len(speech)), speech) >= self.speech.threshold
        noisy = not nobody and quality.is_noisy(spoken)
        return (*(("no_speech",) if nobody else ()), *quality.flags, *(("noisy",) if noisy else ()))


def _mean(vectors: Sequence[np.ndarray | None], shares: Sequence[float] | np.ndarray) -> np.ndarray | None:
    """None where there are none, as from an exported model."""
    there = [vector for vector in vectors if vector is not None]
    return np.average(there, axis=0, weights=shares) if there else None
