"""What is wrong with a recording, heard in passing: too short, silent, clipped, band-limited, noisy."""

from __future__ import annotations

import numpy as np

SHORT_SECONDS = 0.5   # below it hardly a syllable is heard
SILENT_POWER = 1e-6   # mean square, -60 dB of full scale
CLIPPED_SHARE, FULL_SCALE = 0.001, 0.98   # of samples that are as large: a telephone's 8 bits reach 0.980
FRAME_SECONDS, HOP_SECONDS = 0.050, 0.2   # of the glance at the spectrum: a tenth of what the front end costs
TELEPHONE_HZ = 4200.0   # nothing above it passes a telephone
NOISY_DB = 10.0   # of signal to noise; below it a network that learned in studios hears much of the noise
FEWEST_GLANCES = 3   # of speech, and of pauses, to tell how far one is above the other
FAINT_SHARE = 3e-5   # of all power, -45 dB; speech has more there, and 16 bits leave quiet recordings hardly less


class Quality:
    """Hears the blocks of one recording; `flags` tells what was found.

    short          less than half a second              clipped        over one sample in a thousand at full scale
    silent         fainter than -60 dB of full scale                   (of mixed channels: in all of them at once)
    band_limited   less than -45 dB of the power above 4.2 kHz
    noisy          speech less than 10 dB above the pauses, where there are pauses; `is_noisy` tells, as it must know
                   where somebody speaks
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.num_samples = self.num_clipped = 0
        self.energy = self.power = self.high_power = 0.0
        self._glances: list[np.ndarray] = []   # power of each frame looked at
        self._window = np.hanning(round(FRAME_SECONDS * sample_rate)).astype(np.float32)
        self._rest, self._next = np.empty(0, np.float32), 0  # not looked at yet, and where in it the next frame starts

    def hear(self, block: np.ndarray) -> None:
        """The next float32 (samples,) of the recording."""
        self.num_samples += len(block)
        self.energy += float(np.dot(block, block))
        self.num_clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        held, width, hop = np.concatenate([self._rest, block]), len(self._window), round(HOP_SECONDS * self.sample_rate)
        count = max(0, (len(held) - width - self._next) // hop + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(held[self._next :], width)[::hop]
            power, high_power = self._look(frames[:count])
            self._glances.append(power)
            self.power, self.high_power = self.power + float(power.sum()), self.high_power + high_power
        start = self._next + count * hop
        self._rest, self._next = held[start:], max(0, start - len(held))

    def _look(self, frames: np.ndarray) -> tuple[np.ndarray, float]:
        """Power of each frame, and that of all together above TELEPHONE_HZ."""
        spectrum = np.fft.rfft(frames * self._window)
        power = spectrum.real**2 + spectrum.imag**2
        return power.sum(1), float(power[:, round(len(self._window) * TELEPHONE_HZ / self.sample_rate) :].sum())

    @property
    def glance_times(self) -> np.ndarray:
        """Seconds at which `is_noisy` wants to know whether somebody speaks."""
        return FRAME_SECONDS / 2 + HOP_SECONDS * np.arange(sum(map(len, self._glances)))

    def is_noisy(self, spoken: np.ndarray) -> bool:
        """Whether speech is less than 10 dB above the pauses; False where there is too little of either to tell.

        Shape: spoken, bool, as glance_times.
        """
        if min(spoken.sum(), (~spoken).sum()) < FEWEST_GLANCES:
            return False
        power = np.concatenate(self._glances)
        noise = np.median(power[~spoken])   # speech that was missed is no noise
        return bool(power[spoken].mean() - noise < noise * 10 ** (NOISY_DB / 10))

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of what holds, in the order above."""
        seconds = self.num_samples / self.sample_rate
        power, high_power = self.power, self.high_power
        if self.num_samples < len(self._window):  # all there is, shorter than a frame
            glance, high_power = self._look(np.pad(self._rest, (0, len(self._window) - len(self._rest)))[None])
            power = float(glance.sum())
        found = {
            "short": seconds < SHORT_SECONDS,
            "silent": self.energy < SILENT_POWER * self.num_samples,
            "clipped": self.num_clipped > CLIPPED_SHARE * self.num_samples,
            "band_limited": self.sample_rate > 2 * TELEPHONE_HZ and high_power < FAINT_SHARE * power,
        }
        return tuple(name for name, holds in found.items() if holds)
