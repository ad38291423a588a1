"""Waveform and spectrogram of a recording as a page draws them: gathered block by block, never too many columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..features import FrontendConfig

WAVEFORM_COLUMNS, MEL_COLUMNS = 1 << 16, 1 << 15   # at most, so that an hour can still be looked at closely


class Columns:
    """Equal parts of something that grows, each reduced to one value; before they become too many, two become one.

    reduce: makes one value of many; empty: what it leaves others alone with.   most: columns, an even number.
    Shape: values (columns, ...); the last column is perhaps not full.
    """

    def __init__(self, reduce: np.ufunc, empty: float, most: int, shape: tuple[int, ...] = ()):
        self.width = 1   # items in a column
        self.num_items = 0
        self._reduce, self._empty = reduce, empty
        self._values = np.zeros((most, *shape), np.float32)   # takes memory only once it is written to
        if empty:
            self._values.fill(empty)

    def add(self, items: np.ndarray) -> None:
        """The next ones. Shape: (items, ...)."""
        while self.num_items + len(items) > len(self._values) * self.width:
            half = self._reduce(self._values[0::2], self._values[1::2])
            self._values[: len(half)], self._values[len(half) :] = half, self._empty
            self.width *= 2
        places = (self.num_items + np.arange(len(items))) // self.width
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        columns = places[starts]
        self._values[columns] = self._reduce(self._values[columns], self._reduce.reduceat(items, starts))
        self.num_items += len(items)

    @property
    def values(self) -> np.ndarray:
        return self._values[: math.ceil(self.num_items / self.width)]

    @property
    def counts(self) -> np.ndarray:
        """Items in each column. Shape: (columns,)."""
        return np.minimum(self.width, self.num_items - self.width * np.arange(len(self.values)))


class Picture:
    """What is seen of one recording.

    frontend: of the model that sees its mel, None for one that shows it to nobody.
    num_pictures: that share the columns there may be, as of the channels of a recording.
    """

    def __init__(self, sample_rate: int, frontend: FrontendConfig | None, num_pictures: int = 1):
        self.sample_rate, self.frontend = sample_rate, frontend
        self._hop_seconds = frontend.frame_seconds if frontend else math.nan
        waveform_columns, mel_columns = (2 * (most // (2 * num_pictures)) for most in (WAVEFORM_COLUMNS, MEL_COLUMNS))
        self._low = Columns(np.minimum, math.inf, waveform_columns)
        self._high = Columns(np.maximum, -math.inf, waveform_columns)
        self._mel = Columns(np.add, 0.0, mel_columns, (frontend.num_bands if frontend else 0,))

    def hear(self, block: np.ndarray) -> None:
        """The next samples of the recording."""
        self._low.add(block)
        self._high.add(block)

    def see(self, mel: np.ndarray) -> None:
        """The log-mel of the next samples, by themselves. Shape: (frames, bands)."""
        self._mel.add(mel[: max(1, len(mel) - 1)])   # its last frame is the first of the next block

    @property
    def waveform(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The lowest and highest sample of each column, and seconds in a column. Shape: (columns,) twice."""
        return self._low.values, self._high.values, self._low.width / self.sample_rate

    @property
    def spectrogram(self) -> tuple[np.ndarray, float]:
        """Mean log-mel of each column, and seconds in a column; only with a front end. Shape: (columns, bands)."""
        return self._mel.values / self._mel.counts[:, None], self._mel.width * self._hop_seconds
