"""What a caller may hand over to be heard: paths, open files, arrays, several of these, folders; as Recordings."""

from __future__ import annotations

import io
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from . import audio
from .decoder import rewound
from .windows import Recording

LONGEST_PATH = 4096   # bytes


def listed(source: Any) -> tuple[Iterable[tuple[Any, str]], bool]:
    """Each thing to hear with its name if it has none itself, and whether it is but one.

    Raises: TypeError for what is neither a recording nor several.
    """
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        return ((path, "") for path in audio.find(source)), False
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], int) and np.ndim(source[0]):
        raise TypeError("an array and its rate are two arguments, not a pair. Call analyze(waveform, sample_rate).")
    if isinstance(source, bytes) and (b"\0" in source or len(source) > LONGEST_PATH):
        raise TypeError(f"{len(source)} bytes are no path. If they are a recording, give io.BytesIO(content).")
    if isinstance(source, (bytearray, memoryview, array)):
        raise TypeError(f"{type(source).__name__} may hold a file's content or samples. Give io.BytesIO(content), or "
                        "np.asarray(samples) with its sample_rate.")
    if isinstance(source, Mapping):
        raise TypeError("a dict is no recording. Give its array and its rate as two arguments: "
                        "analyze(source['array'], source['sampling_rate']).")
    if is_file(source) or _is_array(source):
        return [(source, "array")], True
    if isinstance(source, Iterable):   # a list, an iterator, a set, a column of paths
        return ((item, f"array {i}") for i, item in enumerate(_apart(source))), False
    raise TypeError(f"{source!r:.80} of type {type(source).__name__} is no recording. Give a path, an open file, an "
                    "array with its sample_rate, or several of these.")


def _apart(source: Iterable) -> Iterable:
    """The same, but of an open file that a list has more than once each is by itself, as threads read at once."""
    if not isinstance(source, (list, tuple)):
        return source
    counts = Counter(id(item) for item in source if hasattr(item, "read"))
    return (for_each_reader(item)() if counts[id(item)] > 1 else item for item in source)


def _is_array(source: Any) -> bool:
    """Numbers, not names of files."""
    if isinstance(source, (list, tuple)):
        return is_numbers(source)
    return hasattr(source, "detach") or hasattr(source, "__array__") and np.asarray(source).dtype.kind not in "OU"


def recordings(
    source: Any, source_rate: int | None, sample_rate: int, name: str, separate: bool,
) -> Iterator[Recording]:
    """One Recording at `sample_rate` Hz of one thing to hear, or one for each channel.

    source_rate: of an array, whose name is `name`.
    """
    def blocks(channel: int | None = None) -> Iterable[np.ndarray]:
        if is_file(source):
            return audio.blocks(opened(), sample_rate, channel=channel)
        if not _is_array(source) and not isinstance(source, (list, tuple)):
            reason = f"{source!r:.80} of type {type(source).__name__} is no recording"
            raise audio.AudioError(name, reason, "Give a path, an open file or an array in its place")
        return [audio.from_array(source, given(source_rate), sample_rate, name, channel)]

    if is_file(source):
        name = name_of(source)
    opened = for_each_reader(source) if separate else lambda: source
    if separate:
        for k in range(1, _num_channels(opened()) + 1):
            yield Recording(name, partial(blocks, channel=k), channel=k)
    else:
        yield Recording(name, blocks)


def is_file(source: Any) -> bool:
    return isinstance(source, (str, bytes, os.PathLike)) or hasattr(source, "read")


def for_each_reader(source: Any) -> Callable[[], Any]:
    """What is to be heard, again and again and at once: of an open file, each who asks gets one of their own."""
    if not hasattr(source, "read"):
        return lambda: source
    name = name_of(source)
    try:
        content = rewound(source, name).read()
    except audio.AudioError:
        return lambda: source   # reading it will say why

    def copy() -> io.BytesIO:
        file = io.BytesIO(content)
        file.name = name   # whose ending chooses the decoder
        return file

    return copy


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
        return max(1, min(np.shape(source))) if _is_array(source) and np.ndim(source) > 1 else 1
    try:
        return audio.num_channels(source)
    except audio.AudioError:
        return 1  # reading it will say why
