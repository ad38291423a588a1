"""Any recording or array in, mono float32 at the model's rate out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from . import decoder, media
from .decoder import AGAIN, AudioError, Decoder, NotFinite, Source, name_of

EXTENSIONS = media.EXTENSIONS | {".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3",
                                 ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph"}

RATES = range(1_000, 1_000_001)  # outside, a damaged header would have us make thousands of samples from one
MAX_CHANNELS = 32  # of an array; a mel has more columns
OVERSHOOT_SECONDS = 0.5  # a span may end this much after the file, as in Kaldi's extract-segments
LOUDEST = 256.0  # decoders overshoot 1.0 a little, integers that nobody scaled by thousands
CHUNK = 1 << 20  # samples decoded at once
MP3_SLACK = 1152  # some encoders count the header's own frame


def read(source: Source, sample_rate: int = 16_000, start_seconds: float = 0.0,
         stop_seconds: float | None = None) -> np.ndarray:
    """A recording, or a span of it, as mono float32.

    Shape:  -> (samples,).   Unit: 1 is full scale; floats and the filter may overshoot, nothing is clipped.
    Channels are averaged, then resampled by soxr "HQ": flat within 0.02 dB to 0.91 of the lower of the two
    Nyquist frequencies, over 120 dB down beyond it. A span equals that slice of the whole, within 1e-6.
    Raises: AudioError for a file that is missing, empty, cut, not finite, not audio or ends before the span.
    """
    _check_span(name_of(source), start_seconds, stop_seconds)
    with _opened(source, sample_rate) as file:
        source_rate, first = file.samplerate, round(start_seconds * sample_rate)
        last = None if stop_seconds is None else round(stop_seconds * sample_rate)
        # Decode from a frame that falls on an output sample; the filter needs 100 samples of the lower rate.
        period = source_rate // math.gcd(source_rate, sample_rate)
        margin = 0 if source_rate == sample_rate else 128 * max(source_rate, sample_rate) // sample_rate
        begin = max(0, first * source_rate // sample_rate - margin) // period * period
        end = None if last is None else -(-last * source_rate // sample_rate) + margin
        pieces = list(_resampled(_pieces(file, begin, end), source_rate, sample_rate))
    offset = first - begin * sample_rate // source_rate
    waveform = np.concatenate([np.empty(0, np.float32), *pieces])
    waveform = waveform[offset:None if last is None else offset + last - first]
    missing_seconds = 0 if last is None else (last - first - len(waveform)) / sample_rate
    _check_end(name_of(source), start_seconds, stop_seconds, len(waveform), missing_seconds)
    return waveform


def blocks(
    source: Source, sample_rate: int = 16_000, block_seconds: float = 60.0, channel: int | None = None,
) -> Iterator[np.ndarray]:
    """A long recording in blocks of block_seconds (the last one shorter); joined they equal read().

    channel: one of them alone, from 1, instead of their mean.

    Shape:  -> (samples,) each.   Memory: a block and some 16 MB at a time, whatever the length of the file.
    Raises: as read(), when the fault is met.
    """
    size = round(block_seconds * sample_rate)
    if size < 1:
        raise ValueError(f"block_seconds={block_seconds} must hold a sample, else no block fills. Raise it.")
    with _opened(source, sample_rate) as file:
        held, heard = np.empty(0, np.float32), False
        for piece in _resampled(_pieces(file, channel=channel), file.samplerate, sample_rate):
            held, heard = np.concatenate((held, piece)), heard or len(piece) > 0
            while len(held) >= size:
                yield held[:size]
                held = held[size:]
        if len(held):
            yield held
        elif not heard:
            reason = f"{file.frames} samples at {file.samplerate} Hz are 0 at {sample_rate} Hz"
            raise AudioError(name_of(source), reason, "Give a longer one.")


def from_array(
    waveform: Any, source_rate: int, sample_rate: int = 16_000, name: str = "array", channel: int | None = None,
) -> np.ndarray:
    """A waveform in memory as read() would give it from a file; or one channel of it, from 1.

    Shape:  (samples,), or (channels, samples) or (samples, channels), told apart by length -> (samples,).
    Type:   floats of full scale 1, int8, int16, int32 or uint8 (128 is silence); NumPy, Torch or a list.
    Raises: AudioError for other types and shapes, no samples, NaN, and floats that were never scaled.
    """
    waveform = as_array(waveform, name)
    kind, bits = waveform.dtype.kind, 8 * waveform.dtype.itemsize
    if waveform.size == 0:
        raise AudioError(name, "holds 0 samples", "Give at least one.")
    if not (kind == "f" or kind == "i" and bits <= 32 or kind == "u" and bits == 8):
        raise AudioError(name, f"{waveform.dtype} has no agreed full scale", "Give int16, int32 or floats.")
    wide = waveform.reshape(1, -1) if waveform.ndim < 2 else waveform
    channels, samples = sorted(wide.shape)[:2]
    if wide.ndim > 2 or channels > MAX_CHANNELS or channels == samples > 1:
        raise AudioError(name, f"shape {waveform.shape} does not tell samples from channels",
                         f"Give (samples,), or (channels, samples) with at most {MAX_CHANNELS} channels.")
    _check_rates(name, source_rate, sample_rate, "Give it in Hz.")
    columns = (wide.T if len(wide) == channels else wide).astype(np.float32)  # (samples, channels)
    if kind != "f":
        columns = (columns - (128 if kind == "u" else 0)) / np.float32(2 ** (bits - 1))
    columns = columns if channel is None else _one(columns, channel, name)
    resampled = np.concatenate(list(_resampled([_mono(columns, name)], source_rate, sample_rate)))
    if len(resampled) == 0:
        raise AudioError(name, f"{samples} at {source_rate} Hz are 0 at {sample_rate} Hz", "Give more.")
    return resampled


def as_array(waveform: Any, name: str = "array") -> np.ndarray:
    """The numbers of a NumPy array, a Torch tensor or a list. Raises: AudioError for parts of unequal length."""
    if hasattr(waveform, "detach"):  # a Torch tensor, without importing torch
        waveform = (waveform.float() if waveform.is_floating_point() else waveform).detach().cpu().numpy()
    try:
        return np.asarray(waveform)
    except ValueError:
        raise AudioError(name, "parts of unequal length are no waveform", "Give (samples,), or the channels as one "
                         "array, and its sample_rate by itself.") from None


def cut(
    waveform: np.ndarray, sample_rate: int, start_seconds: float, stop_seconds: float, name: str = "array",
) -> np.ndarray:
    """The span of a waveform in memory, as `read` gives it of a file. Raises: AudioError as there."""
    _check_span(name, start_seconds, stop_seconds)
    first, last = round(start_seconds * sample_rate), round(stop_seconds * sample_rate)
    part = waveform[first:last]
    _check_end(name, start_seconds, stop_seconds, len(part), (last - first - len(part)) / sample_rate)
    return part


def _check_span(name: str, start_seconds: float, stop_seconds: float | None) -> None:
    if not 0 <= start_seconds < (math.inf if stop_seconds is None else stop_seconds) or stop_seconds == math.inf:
        raise AudioError(name, f"{_span(start_seconds, stop_seconds)} is empty, without an end or begins before 0",
                         "Give 0 <= start < stop.")


def _check_end(
    name: str, start_seconds: float, stop_seconds: float | None, samples: int, missing_seconds: float,
) -> None:
    if samples == 0 or missing_seconds > OVERSHOOT_SECONDS:
        raise AudioError(name, f"{_span(start_seconds, stop_seconds)} holds {samples} samples", "Give one inside it.")


def _span(start_seconds: float, stop_seconds: float | None) -> str:
    return f"the span from {start_seconds} s to {'the end' if stop_seconds is None else f'{stop_seconds} s'}"


def num_channels(source: Source) -> int:
    """Channels of a recording. Raises: AudioError as read(), for what the header shows."""
    with _opened(source) as file:
        return file.channels


def duration(source: Source) -> float:
    """Length in seconds, by the header; by decoding where that is silent (a piped FLAC, MP3 without Xing).

    Raises: AudioError as read(), for what the header shows.
    """
    with _opened(source) as file:
        return (file.frames if file.known else sum(len(piece) for piece in _pieces(file))) / file.samplerate


def told_duration(source: Source) -> float:
    """Length in seconds by the header alone; 0 where that is silent. Raises: AudioError as read(), for the header."""
    with _opened(source) as file:
        return file.frames / file.samplerate if file.known else 0.0


def seeks(source: Source) -> bool:
    """Whether a span is read without decoding what lies before it. Raises: AudioError as read(), for the header."""
    with _opened(source) as file:
        return isinstance(file, Decoder) and file.exact


def find(directory: str | os.PathLike) -> list[Path]:
    """The recordings below a directory, by extension in any case, in C-locale order of their relative paths.

    Hidden files and folders are left out; linked files are listed, linked folders not entered.
    Raises: AudioError if there is no such directory, OSError for a folder that may not be read.
    """
    def refuse(error: OSError) -> None:
        raise error

    if not os.path.isdir(directory):
        raise AudioError(name_of(directory), "is not a directory", "Give the folder that holds the recordings.")
    found: list[Path] = []
    for folder, folders, files in os.walk(os.fspath(directory), onerror=refuse):
        folders[:] = (name for name in folders if not name.startswith("."))
        found += (Path(folder, name) for name in files
                  if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS)
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(directory).as_posix()))


@contextmanager
def _opened(source: Source, sample_rate: int = 16_000) -> Iterator[Decoder | media.MediaDecoder]:
    with decoder.opened(source) as file:
        _check_rates(file.label, file.samplerate, sample_rate)
        yield file


def _pieces(
    file: Decoder | media.MediaDecoder, start: int = 0, stop: int | None = None, channel: int | None = None,
) -> Iterator[np.ndarray]:
    """The frames from start to stop (None: the end of the file), mixed down or one channel, in large pieces."""
    size, end = max(1, CHUNK // file.channels), file.frames if stop is None else stop
    if isinstance(file, Decoder) and file.exact:
        end = min(end, file.frames)
        start = file.seek(min(start, end)) if start else 0
    else:
        for dropped in range(0, start, size):
            if not len(file.read(min(start - dropped, size), "float32", always_2d=True)):
                break
    while start < end:
        asked = min(end - start, size)
        frames = file.read(asked, "float32", always_2d=True)
        if len(frames):
            yield _mono(frames if channel is None else _one(frames, channel, file.label), file.label)
        start += len(frames)
        if len(frames) < asked:
            break
    if end - start > (MP3_SLACK if file.mpeg else 0) and (file.exact or stop is None and file.known):
        raise AudioError(file.label, f"cut: the header promises {end} samples, {start} are there", AGAIN)


def _one(columns: np.ndarray, channel: int, name: str) -> np.ndarray:
    """(samples, channels) -> (samples, 1)"""
    if not 1 <= channel <= columns.shape[1]:
        raise AudioError(name, f"channel {channel} is none of its {columns.shape[1]}", "They count from 1.")
    return columns[:, channel - 1 : channel]


def _mono(columns: np.ndarray, name: str) -> np.ndarray:
    """(samples, channels) -> (samples,), the mean; refuses what no recording holds."""
    mono = columns[:, 0]
    if columns.shape[1] > 1:
        with np.errstate(invalid="ignore"):  # of inf - inf; mean(axis=1) takes six times as long
            mono = sum(columns.T[1:], mono) / np.float32(columns.shape[1])
    peak = max(mono.max(), -mono.min())
    if not np.isfinite(peak):
        raise NotFinite(name, "holds NaN or infinite samples, which spread to every score", "Write it anew.")
    if peak > LOUDEST:
        raise AudioError(name, f"floats as large as {peak:.0f}, but their full scale is 1",
                         "Divide by the full scale of the integers they were, 32768 for 16 bits.")
    return mono


class Resampler:
    """Mono float32 (samples,) at one rate to another, block by block; the last block is told, as the filter rings."""

    def __init__(self, source_rate: int, sample_rate: int):
        _check_rates("stream", source_rate, sample_rate, "Give it in Hz.")
        self._stream = None
        if source_rate != sample_rate:
            self._stream = soxr.ResampleStream(source_rate, sample_rate, 1, "float32", "HQ")

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        return block if self._stream is None else self._stream.resample_chunk(block, last=last)


def _resampled(pieces: Iterable[np.ndarray], source_rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    resample = Resampler(source_rate, sample_rate)
    yield from map(resample, pieces)
    yield resample(np.empty(0, np.float32), last=True)


def _check_rates(name: str, source_rate: float, sample_rate: int, remedy: str = "Correct its header.") -> None:
    if sample_rate not in RATES:
        raise ValueError(f"sample_rate={sample_rate} must be an integer from {RATES[0]} to {RATES[-1]}: "
                         "speech does not fit into others. Give the model's.")
    if not isinstance(source_rate, Real):
        raise TypeError(f"{name}: a sample rate of {source_rate!r} is no number. Give it in Hz.")
    if not RATES[0] <= source_rate <= RATES[-1]:
        raise AudioError(name, f"says its rate is {source_rate} Hz, outside {RATES[0]} to {RATES[-1]}", remedy)
