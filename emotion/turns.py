"""One Timeline of the answers to turns of a recording: who spoke when is given, not found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import audio, sources
from .timeline import Segment, Span, Timeline

LONGEST_WHOLE_SECONDS = 4 * 3600.0   # a GB of samples; longer recordings are read turn by turn


def reader(
    source: Any, source_rate: int | None, sample_rate: int,
) -> tuple[str, float, Callable[[float, float], np.ndarray]]:
    """Name and duration of a recording, and what reads a stretch of it: from and to so many seconds, at `sample_rate`
    Hz.

    source_rate: of an array.   Raises: AudioError.
    """
    if not sources.is_file(source):
        waveform = audio.from_array(source, sources.given(source_rate), sample_rate)
        return "array", len(waveform) / sample_rate, partial(audio.cut, waveform, sample_rate)
    opened = sources.for_each_reader(source)
    name, duration = sources.name_of(source), audio.duration(opened())
    if duration <= LONGEST_WHOLE_SECONDS and not audio.seeks(opened()):   # else each turn decodes from the start
        return name, duration, partial(audio.cut, audio.read(opened(), sample_rate), sample_rate, name=name)
    return name, duration, lambda start, stop: audio.read(opened(), sample_rate, start, stop)


def in_order(spans: Sequence[Span]) -> list[Span]:
    """Raises: TypeError where they are none."""
    try:
        return sorted(spans, key=lambda span: (span.start_seconds, span.end_seconds))
    except AttributeError:
        raise TypeError("spans are emotion.timeline.Span(start_seconds, end_seconds). Give these.") from None


def joined(
    name: str, duration_seconds: float, spans: Sequence[Span], answers: Sequence[Timeline], threshold: float,
) -> Timeline:
    """Each span as a segment; in the answer to the whole its share is what is spoken in it, or all where nobody speaks.

    threshold: the probability of speech from which on somebody speaks.   Raises: ValueError where there are none.
    """
    if not spans:
        raise ValueError(f"{name}: no spans to listen to. Leave spans out to find speech.")
    turns = tuple(
        Segment(
            float(span.start_seconds), float(span.end_seconds), answer.label, answer.confidence,
            tuple(answer.probabilities.tolist()), span.speaker, tuple(answer.dimensions.values()),
        )
        for span, answer in zip(spans, answers)
    )
    flags = {flag for answer in answers for flag in answer.flags} - {"short"}  # of turns it is no news,
    flags -= {flag for flag in ("no_speech", "silent") if any(flag not in answer.flags for answer in answers)}
    shares = [answer.duration_seconds * float((answer.step_speech >= threshold).mean()) for answer in answers]
    if not any(shares):
        shares = [answer.duration_seconds for answer in answers]
    first = answers[0]
    embeddings = [answer.embedding for answer in answers if answer.embedding is not None]
    return Timeline(
        name=name,
        labels=first.labels,
        duration_seconds=duration_seconds,
        probabilities=np.average([answer.probabilities for answer in answers], axis=0, weights=shares),
        step_times=np.concatenate([span.start_seconds + a.step_times for span, a in zip(spans, answers)]),
        step_probabilities=np.concatenate([answer.step_probabilities for answer in answers]),
        step_speech=np.concatenate([answer.step_speech for answer in answers]),
        segments=turns,
        flags=tuple(sorted(flags)),
        unknown_below=first.unknown_below,
        embedding=np.average(embeddings, axis=0, weights=shares) if embeddings else None,
        dimensions={
            dimension: float(np.average([answer.dimensions[dimension] for answer in answers], weights=shares))
            for dimension in first.dimensions
        },
        step_dimensions=None if first.step_dimensions is None
        else np.concatenate([answer.step_dimensions for answer in answers]),
    )
