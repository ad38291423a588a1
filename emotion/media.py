"""What phones, meetings and browsers record, read through FFmpeg (PyAV, the extra `media`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

EXTENSIONS = frozenset((".m4a", ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".mka", ".aac", ".3gp", ".amr", ".wma"))
AGAIN = "Copy it again from its source."
MISSING = "needs PyAV", "Install it (pip install 'emotion[media]') or convert the file (ffmpeg -i INPUT OUTPUT.wav)."


class MediaError(Exception):
    """Reason and remedy of a file that cannot be read."""


class MediaDecoder:
    """The first audio stream of a file, read on and on, as soundfile.SoundFile would be.

    Raises: MediaError without PyAV, for a file that it cannot open or that has no audio; from read for a damaged one.
    """

    frames = 1 << 63  # no header is trusted to know
    known = exact = mpeg = False

    def __init__(self, source: Any, label: str):
        try:
            import av
        except ModuleNotFoundError:
            raise MediaError(*MISSING) from None
        self._av, self.label = av, label
        try:
            self._container = av.open(source, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"FFmpeg cannot open it ({_brief(error)})", AGAIN) from error
        if not self._container.streams.audio:
            self._container.close()
            raise MediaError("has no audio stream", "Give the recording that holds the sound.")
        stream = self._container.streams.audio[0]
        self.samplerate, self.channels = getattr(stream, "rate", 0), getattr(stream, "channels", 0)   # lacking: unknown
        if not self.samplerate or not self.channels:
            self._container.close()
            raise MediaError("has an audio stream that FFmpeg cannot decode", AGAIN)
        self._promised = self._length()
        self._to_floats = av.AudioResampler("fltp", stream.layout, stream.rate)
        self._pieces = self._decode(stream)
        self._held = np.empty((0, self.channels), np.float32)

    def __enter__(self) -> MediaDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self, count: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next samples, fewer at the end. Shape: -> (count, channels) float32."""
        pieces, length = [self._held], len(self._held)
        while length < count and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        joined = np.concatenate(pieces)
        self._held = joined[count:]
        return joined[:count]

    def _length(self) -> float:
        """Seconds that the header of a Matroska file (webm, mkv, mka) promises; 0 where it does not.

        Such a file can be cut anywhere; others then fail to open, or only guess their length.
        """
        alone = len(self._container.streams) == 1
        return self._container.duration / 1e6 if (
            alone and "matroska" in self._container.format.name and self._container.duration) else 0.0

    def _decode(self, stream: Any) -> Iterator[np.ndarray]:
        decoded = 0
        try:
            for frame in self._container.decode(stream):
                for piece in self._floats(frame):
                    decoded += len(piece)
                    yield piece
            yield from self._floats(None)  # what the resampler holds
        except self._av.FFmpegError as error:
            raise MediaError(f"damaged: decoding stopped ({_brief(error)})", AGAIN) from error
        seconds = decoded / self.samplerate
        if seconds < 0.98 * self._promised - 0.5:
            raise MediaError(f"cut: the header promises {self._promised:.1f} s, {seconds:.1f} s are there", AGAIN)

    def _floats(self, frame: Any) -> Iterator[np.ndarray]:
        for converted in self._to_floats.resample(frame):
            yield converted.to_ndarray().T  # (samples, channels)


def _brief(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
