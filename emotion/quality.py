"""What is wrong with a recording, heard in passing: too short, silent, without speech, clipped, band-limited."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SHORT_SECONDS = 0.5   # below it hardly a syllable is heard
SILENT_POWER = 1e-6   # mean square, -60 dB of full scale
CLIPPED_SHARE = 0.001   # of samples at full scale
FRAME_SECONDS, HOP_SECONDS = 0.050, 0.2   # of the glance at the spectrum: a tenth of what the front end costs
VOICE_HZ = (60.0, 500.0)
VOICED = 0.6   # periodicity that noise does not reach by chance
VOICED_SECONDS, VOICED_SHARE = 0.1, 0.02   # with less of either nobody speaks
FAINTEST = 1e-8   # mean square of a frame, -80 dB: below, hum would be taken for a voice
TELEPHONE_HZ = 4200.0   # nothing above it passes a telephone
FAINT_SHARE = 3e-5   # of all power, -45 dB; speech has more there, and 16 bits leave quiet recordings hardly less


class Quality:
    """Hears the blocks of one recording; `flags` tells what was found.

    short          less than half a second              clipped        over one sample in a thousand at full scale
    silent         fainter than -60 dB of full scale    band_limited   less than -45 dB of the power above 4.2 kHz
    no_speech      less than 0.1 s or 2 % of it is periodic as a voice is: noise, whispering; music passes for speech
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.num_samples = self.num_clipped = self.num_frames = self.num_voiced = 0
        self.energy = self.power = self.high_power = 0.0

    def hear(self, block: np.ndarray) -> None:
        """The next float32 (samples,) of the recording."""
        self.num_samples += len(block)
        self.energy += float(np.dot(block, block))
        self.num_clipped += int(np.count_nonzero(np.abs(block) >= 0.999))
        window, window_correlation, shortest = _window(self.sample_rate)
        if len(block) < len(window):
            block = np.pad(block, (0, len(window) - len(block)))
        hop = round(HOP_SECONDS * self.sample_rate)
        frames = np.lib.stride_tricks.sliding_window_view(block, len(window))[::hop] * window
        spectrum = np.fft.rfft(frames, n=2 * len(window))
        power = spectrum.real**2 + spectrum.imag**2
        self.power += float(power.sum())
        self.high_power += float(power[:, round(2 * len(window) * TELEPHONE_HZ / self.sample_rate) :].sum())
        correlation = np.fft.irfft(power)[:, : len(window_correlation)]
        level = correlation[:, :1]
        periodicity = correlation[:, shortest:] / window_correlation[shortest:] / np.maximum(level, 1e-20)
        middle = periodicity[:, 1:-1]
        peaks = (middle > periodicity[:, :-2]) & (middle >= periodicity[:, 2:]) & (middle > VOICED)
        self.num_voiced += int((peaks.any(1) & (level[:, 0] > FAINTEST * len(window))).sum())
        self.num_frames += len(frames)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of what holds, in the order above."""
        seconds = self.num_samples / self.sample_rate
        voiced_seconds = seconds * self.num_voiced / max(1, self.num_frames)
        found = {
            "short": seconds < SHORT_SECONDS,
            "silent": self.energy < SILENT_POWER * self.num_samples,
            "no_speech": voiced_seconds < max(VOICED_SECONDS, VOICED_SHARE * seconds),
            "clipped": self.num_clipped > CLIPPED_SHARE * self.num_samples,
            "band_limited": self.sample_rate > 2 * TELEPHONE_HZ and self.high_power < FAINT_SHARE * self.power,
        }
        return tuple(name for name, holds in found.items() if holds)


@lru_cache
def _window(sample_rate: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Hann window, its autocorrelation over the lags of a voice (1 at no lag), and the shortest of these lags.

    Source: Boersma 1993, as in prosody: a frame's autocorrelation over its window's.
    """
    window = np.hanning(round(FRAME_SECONDS * sample_rate)).astype(np.float32)
    correlation = np.correlate(window, window, "full")[len(window) - 1 :]
    shortest, longest = (round(sample_rate / hz) for hz in reversed(VOICE_HZ))
    return window, (correlation / correlation[0])[: longest + 2], shortest - 1
