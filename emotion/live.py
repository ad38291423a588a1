"""Audio as it comes: WAV or raw samples from a pipe, blocks from a microphone."""

from __future__ import annotations

import queue
import struct
from collections.abc import Generator, Iterator
from typing import BinaryIO

import numpy as np

from .audio import RATES
from .decoder import AudioError, is_promise

BLOCK_SECONDS = 0.5
FMT_BYTES, SKIPPED = 40, 1 << 16   # of a header: the longest fmt, and how much else of it is held at once
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE   # what a WAV calls the kinds of its samples
SAMPLES = {  # FFmpeg's names, and NumPy's, which has none for 24 bits
    "u8": "u1", "s16le": "<i2", "s24le": "", "s32le": "<i4", "f32le": "<f4", "f64le": "<f8",
}


def piped(
    file: BinaryIO, raw: str | None = None, sample_rate: int | None = None, channels: int = 1,
) -> tuple[int, Iterator[np.ndarray]]:
    """Sample rate in Hz, and blocks (channels, samples) of what comes over a pipe, as soon as it comes.

    A WAV tells what it holds; for anything else `raw` names its samples, one of SAMPLES.
    Raises: AudioError for neither of the two, and for a WAV whose samples are compressed.
    """
    if raw is None:
        raw, sample_rate, channels, size = _header(file)
    elif sample_rate is None:
        raise ValueError("raw samples do not tell their rate. Give it (--rate 16000).")
    else:
        size = None
    return sample_rate, _blocks(file, raw, channels, max(1, round(BLOCK_SECONDS * sample_rate)), size)


def microphone(sample_rate: int, device: str | int | None = None) -> Generator[np.ndarray, None, None]:
    """Blocks (samples,) from a microphone, without end; closed with the iterator.

    Raises: ModuleNotFoundError without sounddevice (the extra `listen`), AudioError where there is no microphone.
    """
    try:
        import sounddevice
    except (ModuleNotFoundError, OSError) as error:  # OSError: PortAudio itself is not there
        raise ModuleNotFoundError(
            f"a microphone needs sounddevice and PortAudio ({error}). Install them: pip install 'emotion[listen]', "
            "and on Linux the package libportaudio2."
        ) from None
    blocks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    try:
        stream = sounddevice.InputStream(
            sample_rate, round(BLOCK_SECONDS * sample_rate), device, channels=1, dtype="float32",
            callback=lambda block, frames, time, status: blocks.put(block[:, 0].copy()),
        )
        with stream:
            while True:
                yield blocks.get()
    except sounddevice.PortAudioError as error:
        raise AudioError("microphone", f"cannot be heard ({error})", "Plug one in, or choose with --input.") from error


def _header(file: BinaryIO) -> tuple[str, int, int, int | None]:
    """Samples, rate, channels and bytes of a WAV, read up to its first sample."""
    kind = file.read(12)
    if kind[:4] not in (b"RIFF", b"RF64") or kind[8:] != b"WAVE":
        raise AudioError(
            "standard input", "is empty" if not kind else "is not a WAV",
            "Send one (ffmpeg -i INPUT -f wav -), or raw samples and tell which (--raw s16le --rate 16000).",
        )
    layout = None
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            if layout is None:
                break
            return (*layout, size if is_promise(size) else None)
        content = file.read(min(size, FMT_BYTES))
        left = size + size % 2 - len(content)
        while left and (skipped := file.read(min(left, SKIPPED))):
            left -= len(skipped)
        if name == b"fmt " and len(content) >= 16:
            layout = _layout(content)
    raise AudioError("standard input", "ends before its first sample", "Send a whole WAV.")


def _layout(content: bytes) -> tuple[str, int, int]:
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == EXTENSIBLE and len(content) >= 26:
        tag = struct.unpack("<H", content[24:26])[0]
    name = {PCM: "u8" if bits == 8 else f"s{bits}le", FLOAT: f"f{bits}le"}.get(tag, f"format {tag}")
    if name not in SAMPLES or not channels or rate not in RATES:
        reason = f"is a WAV of {name}, {channels} channels, {rate} Hz"
        raise AudioError("standard input", reason, "Send 16-bit samples (-c:a pcm_s16le).")
    return name, rate, channels


def _blocks(file: BinaryIO, raw: str, channels: int, samples: int, size: int | None) -> Iterator[np.ndarray]:
    width = channels * (3 if raw == "s24le" else np.dtype(SAMPLES[raw]).itemsize)
    read = getattr(file, "read1", file.read)   # what has come, instead of waiting for a whole block
    held, left = b"", size
    while left != 0 and (content := read(samples * width if left is None else min(left, samples * width))):
        left = None if left is None else left - len(content)
        held += content
        whole = len(held) // width * width
        if whole:
            yield _floats(held[:whole], raw).reshape(-1, channels).T
        held = held[whole:]
    if left:
        raise AudioError("standard input", f"is cut: {left} bytes that its header promises have not come",
                         "Send the whole WAV.")


def _floats(content: bytes, raw: str) -> np.ndarray:
    """Samples as float32 of full scale 1. Shape: -> (samples * channels,)."""
    if raw == "s24le":
        three = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return (np.pad(three, ((0, 0), (1, 0))).view("<i4")[:, 0] / 2**31).astype(np.float32)
    values = np.frombuffer(content, SAMPLES[raw])
    if raw == "u8":
        return (values.astype(np.float32) - 128) / 128
    scale = 1 if values.dtype.kind == "f" else 2 ** (8 * values.dtype.itemsize - 1)
    with np.errstate(all="ignore"):   # what is no number, or none that float32 holds, is refused with its recording
        return (values / scale).astype(np.float32)
