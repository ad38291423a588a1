"""What is wrong with a recording, heard in passing: too short, silent, clipped, band-limited."""

from __future__ import annotations

import numpy as np

SHORT_SECONDS = 0.5   # below it hardly a syllable is heard
SILENT_POWER = 1e-6   # mean square, -60 dB of full scale
CLIPPED_SHARE = 0.001   # of samples at full scale
FRAME_SECONDS, HOP_SECONDS = 0.050, 0.2   # of the glance at the spectrum: a tenth of what the front end costs
TELEPHONE_HZ = 4200.0   # nothing above it passes a telephone
FAINT_SHARE = 3e-5   # of all power, -45 dB; speech has more there, and 16 bits leave quiet recordings hardly less


class Quality:
    """Hears the blocks of one recording; `flags` tells what was found.

    short          less than half a second              clipped        over one sample in a thousand at full scale
    silent         fainter than -60 dB of full scale    band_limited   less than -45 dB of the power above 4.2 kHz
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.num_samples = self.num_clipped = 0
        self.energy = self.power = self.high_power = 0.0
        self._window = np.hanning(round(FRAME_SECONDS * sample_rate)).astype(np.float32)
        self._rest, self._next = np.empty(0, np.float32), 0  # not looked at yet, and where in it the next frame starts

    def hear(self, block: np.ndarray) -> None:
        """The next float32 (samples,) of the recording."""
        self.num_samples += len(block)
        self.energy += float(np.dot(block, block))
        self.num_clipped += int(np.count_nonzero(np.abs(block) >= 0.999))
        held, width, hop = np.concatenate([self._rest, block]), len(self._window), round(HOP_SECONDS * self.sample_rate)
        count = max(0, (len(held) - width - self._next) // hop + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(held[self._next :], width)[::hop]
            power, high_power = self._look(frames[:count])
            self.power, self.high_power = self.power + power, self.high_power + high_power
        start = self._next + count * hop
        self._rest, self._next = held[start:], max(0, start - len(held))

    def _look(self, frames: np.ndarray) -> tuple[float, float]:
        """Power of all frames together, and that above TELEPHONE_HZ."""
        spectrum = np.fft.rfft(frames * self._window)
        power = spectrum.real**2 + spectrum.imag**2
        return float(power.sum()), float(power[:, round(len(self._window) * TELEPHONE_HZ / self.sample_rate) :].sum())

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of what holds, in the order above."""
        seconds = self.num_samples / self.sample_rate
        power, high_power = self.power, self.high_power
        if self.num_samples < len(self._window):  # all there is, shorter than a frame
            power, high_power = self._look(np.pad(self._rest, (0, len(self._window) - len(self._rest)))[None])
        found = {
            "short": seconds < SHORT_SECONDS,
            "silent": self.energy < SILENT_POWER * self.num_samples,
            "clipped": self.num_clipped > CLIPPED_SHARE * self.num_samples,
            "band_limited": self.sample_rate > 2 * TELEPHONE_HZ and high_power < FAINT_SHARE * power,
        }
        return tuple(name for name, holds in found.items() if holds)
