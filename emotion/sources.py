"""What a caller may hand over to be heard: paths, open files, arrays, several of these, folders; as Recordings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import audio
from .windows import Recording


def listed(source: Any) -> tuple[Iterable[tuple[Any, str]], bool]:
    """Each thing to hear with its name if it has none itself, and whether it is but one."""
    if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
        return ((path, "") for path in audio.find(source)), False
    if isinstance(source, Iterator) and not is_file(source) or (
        isinstance(source, (list, tuple)) and not is_numbers(source)
    ):
        return ((item, f"array {i}") for i, item in enumerate(source)), False
    return [(source, "array")], True


def recordings(source: Any, sample_rate: int | None, rate: int, name: str, separate: bool) -> Iterator[Recording]:
    """One Recording at `rate` Hz of one thing to hear, or one for each channel.

    sample_rate: of an array, whose name is `name`.
    """
    def blocks(channel: int | None = None) -> Iterable[np.ndarray]:
        if is_file(source):
            return audio.blocks(source, rate, channel=channel)
        return [audio.from_array(source, given(sample_rate), rate, name, channel)]

    if is_file(source):
        name = name_of(source)
    if separate:
        for k in range(1, _num_channels(source) + 1):
            yield Recording(name, partial(blocks, channel=k), channel=k)
    else:
        yield Recording(name, blocks)


def is_file(source: Any) -> bool:
    return isinstance(source, (str, bytes, os.PathLike)) or hasattr(source, "read")


def is_numbers(source: list | tuple) -> bool:
    return len(source) > 0 and isinstance(source[0], (int, float, np.number))


def name_of(source: Any) -> str:
    return str(getattr(source, "name", "audio stream")) if hasattr(source, "read") else os.fsdecode(source)


def given(sample_rate: int | None) -> int:
    if sample_rate is None:
        raise ValueError(
            "an array needs its sample_rate in Hz: at a wrong rate the voice is another. "
            "Call analyze(waveform, sample_rate=...)."
        )
    return sample_rate


def _num_channels(source: Any) -> int:
    if not is_file(source):
        return 1 if np.ndim(source) < 2 else min(np.shape(source))
    try:
        return audio.num_channels(source)
    except audio.AudioError:
        return 1  # reading it will say why
