"""From waveforms to what the networks see: log-mel spectrogram, slopes, normalisation, and prosody on the same frames.

    waveform (batch, samples) -> STFT -> power mel -> log -> [deltas] -> normalise -> (batch, channels, frames, bands)
                              -> [pitch, energy, tilt and their slopes]            -> (batch, frames, contours)

One Frontend serves training and analysis and is saved with the model, so there is nothing to drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchaudio.transforms import MelSpectrogram

from .hardware import beside
from .masking import clear, mask
from .prosody import CONTOURS, PitchConfig, contours, pitch
from .slopes import deltas
from .spectra import pieces, power

NORMALISATIONS = ("utterance", "global", "speaker")
LOUD_NATS = 6.9   # below the loudest frame, 30 dB; what is fainter is mostly pauses
CONTOUR_SCALES = {   # one over the deviation on read speech, roughly
    "pitch": 0.25, "pitch_slope": 1.0, "voicing": 2.0, "energy": 0.4, "energy_slope": 2.0, "tilt": 20.0,
    "tilt_slope": 100.0,
}


@dataclass(frozen=True, kw_only=True)
class FrontendConfig:
    sample_rate: int = 16000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    num_bands: int = 64
    low_hz: float = 0.0
    high_hz: float = 8000.0
    floor: float = 1e-10   # power below which the log is clamped
    deltas: bool = True   # slope and curvature of each band as two further channels
    normalisation: str = "global"   # of the training speakers; or utterance, or speaker (transductive)
    prosody: bool = False   # contours of pitch, voicing, energy and tilt beside the mel, as the parallel model needs
    pitch: PitchConfig = PitchConfig()

    def __post_init__(self):
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation={self.normalisation!r} must be one of {', '.join(NORMALISATIONS)}.")
        if not 0 < self.hop_seconds <= self.window_seconds:
            raise ValueError(
                f"hop_seconds={self.hop_seconds} must be in (0, {self.window_seconds}]: "
                "a longer hop leaves speech unseen between windows. Lower hop_seconds."
            )
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(
                f"low_hz={self.low_hz}, high_hz={self.high_hz} must satisfy 0 <= low < high <= "
                f"{self.sample_rate / 2}: nothing is recorded above half the sample rate. Lower high_hz."
            )
        if self.num_bands < 1 or self.floor <= 0:
            raise ValueError(f"num_bands={self.num_bands} must be at least 1 and floor={self.floor} above 0.")
        if self.hop_samples < 1 or self.window_samples < 2:
            raise ValueError(
                f"hop_seconds={self.hop_seconds}, window_seconds={self.window_seconds} must hold a sample at "
                f"{self.sample_rate} Hz. Give hop_seconds=0.010, window_seconds=0.025."
            )

    @property
    def window_samples(self) -> int:
        return 2 * round(self.window_seconds * self.sample_rate / 2)  # an odd window has no centre

    @property
    def hop_samples(self) -> int:
        return round(self.hop_seconds * self.sample_rate)

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next: hop_seconds in whole samples."""
        return self.hop_samples / self.sample_rate

    @property
    def num_channels(self) -> int:
        return 3 if self.deltas else 1

    @property
    def num_contours(self) -> int:
        return len(CONTOURS) if self.prosody else 0


class Mel(MelSpectrogram):
    """torchaudio's, by spectra.power: from spectrum to power five times as fast."""

    def forward(self, waveforms: Tensor) -> Tensor:
        """Power in each band. Shape: (batch, samples) -> (batch, bands, frames)."""
        beyond = self.n_fft // 2   # zeros beyond both ends
        frames = pad(waveforms, (beyond, beyond)).unfold(1, self.n_fft, self.hop_length)
        parts = [power(part, self.spectrogram.window) @ self.mel_scale.fb for part in pieces(frames, 1)]
        return torch.cat(parts, dim=1).transpose(1, 2)


class Frontend(nn.Module):
    """Batched front end on whatever device it is moved to.

    The spectrogram equals librosa's (power, Slaney scale and norm, Hann, centred, zeros beyond both ends).
    What lies in the padding of a batch is cleared first, so it never reaches a frame.
    """

    mean: Tensor
    deviation: Tensor
    contour_scale: Tensor

    def __init__(self, config: FrontendConfig = FrontendConfig()):
        super().__init__()
        self.config = config
        self.mel = Mel(
            sample_rate=config.sample_rate, n_fft=config.window_samples, hop_length=config.hop_samples,
            f_min=config.low_hz, f_max=config.high_hz, n_mels=config.num_bands, norm="slaney", mel_scale="slaney",
        )
        shape = (config.num_channels, 1, config.num_bands)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        scale = torch.tensor([CONTOUR_SCALES[name] for name in CONTOURS])
        self.register_buffer("contour_scale", scale, persistent=False)

    def num_frames(self, num_samples):
        """Frames of an utterance of that many samples (int or Tensor)."""
        return num_samples // self.config.hop_samples + 1

    def log_mel(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel and, where configured, its slopes; not normalised, padding frames zero.

        Shape:  waveforms (batch, samples), num_samples (batch,) -> (batch, channels, frames, bands), (batch,) frames.
        Unit:   natural log of power; waveforms in [-1, 1].
        Raises: ValueError where an utterance has no samples.
        """
        if int(num_samples.min()) < 1:
            raise ValueError("an utterance of 0 samples has no spectrogram. Leave it out of the batch.")
        num_samples = beside(num_samples, waveforms)   # kept on the processor, asking for the least waits for nobody
        inside = mask(num_samples, waveforms.shape[1])
        with torch.autocast(waveforms.device.type, enabled=False):  # bfloat16 would lose the quiet bands
            mel = self.mel(waveforms.float().masked_fill(~inside, 0)).clamp(min=self.config.floor).log()
        mel = mel.transpose(1, 2)  # (batch, frames, bands)
        lengths = self.num_frames(num_samples)
        if self.config.deltas:
            slope = deltas(mel, lengths)
            mel = torch.stack([mel, slope, deltas(slope, lengths)], dim=1)
        else:
            mel = mel.unsqueeze(1)
        return clear(mel, lengths), lengths

    def forward(
        self, waveforms: Tensor, num_samples: Tensor, statistics: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """What a network takes: normalised mel, prosody or None, number of frames.

        Shape: waveforms (batch, samples), num_samples (batch,) -> (batch, channels, frames, bands),
            (batch, frames, contours), (batch,).
        statistics: mean and deviation (batch, channels, 1, bands) of each utterance's speaker, for normalisation
            "speaker"; left out, an utterance counts as all that is known of its speaker.
        """
        mel, lengths = self.log_mel(waveforms, num_samples)
        prosody = self.prosody(waveforms, num_samples, mel[:, 0], lengths) if self.config.prosody else None
        return self.normalise(mel, lengths, statistics), prosody, lengths

    def prosody(self, waveforms: Tensor, num_samples: Tensor, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """The contours of prosody.CONTOURS. They are relative to the utterance, so fixed scales bring them near one.

        Shape: waveforms (batch, samples), num_samples (batch,), log_mel (batch, frames, bands), lengths (batch,) frames
            -> (batch, frames, contours).
        """
        f0_hz, voicing = pitch(
            waveforms, num_samples, self.config.sample_rate, self.config.hop_samples, self.config.pitch
        )
        return contours(f0_hz, voicing, log_mel, lengths) * self.contour_scale

    def normalise(self, mel: Tensor, lengths: Tensor, statistics: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Zero mean, unit deviation for each channel and band; padding frames stay zero."""
        if statistics is not None:
            mean, deviation = statistics
        elif self.config.normalisation == "global":
            mean, deviation = self.mean, self.deviation
        else:
            total, squares, count = moments(mel, lengths)
            mean, deviation = from_moments(total, squares, count)
        return clear((mel - mean) / deviation, lengths)

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Global statistics from batches of (waveforms, num_samples): the training speakers' only."""
        whole = self.by_speaker((*batch, [""] * len(batch[0])) for batch in batches)
        if not whole:
            raise ValueError("no utterance to fit the normalisation on. Give at least one of the training speakers.")
        for buffer, fitted in zip((self.mean, self.deviation), whole[""]):
            buffer.copy_(fitted)

    def fit_voices(self, batches: Iterable[tuple[Tensor, Tensor, Sequence[str]]]) -> None:
        """The mean over the training speakers of each one's statistics, from batches as for `by_speaker`: what a model
        normalised by speaker has for somebody of whom neutral speech alone is known. Voices differ less in themselves
        than from each other, which the statistics of all together would count too."""
        voices = self.by_speaker(batches)
        for buffer, parts in zip((self.mean, self.deviation), zip(*voices.values())):
            buffer.copy_(torch.stack(parts).mean(0))

    @torch.no_grad()
    def by_speaker(
        self, batches: Iterable[tuple[Tensor, Tensor, Sequence[str]]], loud_only: bool = False
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and deviation (channels, 1, bands) by speaker, from batches of (waveforms, num_samples, speakers).

        loud_only: of the frames within 30 dB of the loudest of their utterance, as pauses tell of the room alone.
        """
        sums: dict[str, list[Tensor]] = {}
        for waveforms, num_samples, speakers in batches:
            mel, lengths = self.log_mel(waveforms, num_samples)
            batch = [part.cpu().double() for part in moments(*(loud(mel, lengths) if loud_only else (mel, lengths)))]
            for row, speaker in enumerate(speakers):
                new = [part[row] for part in batch]
                sums[speaker] = [a + b for a, b in zip(sums[speaker], new)] if speaker in sums else new
        found = {speaker: from_moments(*parts) for speaker, parts in sums.items()}
        return {speaker: (mean.float(), deviation.float()) for speaker, (mean, deviation) in found.items()}


def loud(mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mel with all frames zero that are not within 30 dB of the utterance's loudest, and how many are.

    Shape: mel (batch, channels, frames, bands) -> the same, (batch,).
    """
    power = mel[:, 0].logsumexp(-1).masked_fill(~mask(lengths, mel.shape[2]), -torch.inf)
    kept = power > power.amax(1, keepdim=True) - LOUD_NATS
    return mel * kept[:, None, :, None], kept.sum(1)


def moments(mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum, sum of squares and number of frames, to be added up over utterances.

    Shape: mel (batch, channels, frames, bands), zero in the padding -> twice (batch, channels, 1, bands), then
    (batch, 1, 1, 1).
    """
    return mel.sum(2, keepdim=True), mel.square().sum(2, keepdim=True), lengths.float()[:, None, None, None]


def from_moments(total: Tensor, squares: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation. A band that hardly moves (digital silence) keeps a deviation of at least 0.01."""
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=1e-4).sqrt()
