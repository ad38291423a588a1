"""Changes of a training batch that leave the emotion as it is; on the batch's device, from the global random state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchaudio.functional import resample

from ..masking import mask
from ..settings import SettingError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    gain_db: float = 6.0   # louder or softer by up to this
    noise_probability: float = 0.25
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)   # one for each batch; changes pitch and rate together
    time_masks: int = 1   # SpecAugment: stretches of frames set to the mean
    time_mask_frames: int = 25   # longest; never more than a fifth of the utterance
    band_masks: int = 1
    band_mask_bands: int = 10   # widest

    def __post_init__(self):
        if not self.speeds or min(self.speeds) <= 0:
            raise SettingError(f"augment.speeds={self.speeds} must hold factors above 0. Use (1.0,) for none.")
        if not 0 <= self.noise_probability <= 1 or self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise SettingError(
                f"augment.noise_probability={self.noise_probability} must be in [0, 1] and "
                f"augment.noise_snr_db={self.noise_snr_db} (low, high) in order."
            )


def waveforms(batch: Tensor, lengths: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    """Speed, noise and gain. Shape: batch (batch, samples), lengths (batch,) -> the same, longer or shorter."""
    speed = config.speeds[int(torch.randint(len(config.speeds), ()))]
    batch, lengths = perturb_speed(batch, lengths, speed)
    noisy = torch.rand(len(batch), device=batch.device) < config.noise_probability
    low, high = config.noise_snr_db
    snr_db = low + (high - low) * torch.rand(len(batch), device=batch.device)
    batch = torch.where(noisy[:, None], add_noise(batch, lengths, snr_db), batch)
    gain_db = config.gain_db * (2 * torch.rand(len(batch), 1, device=batch.device) - 1)
    return batch * 10 ** (gain_db / 20), lengths


def perturb_speed(batch: Tensor, lengths: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    """Play faster (speed > 1) or slower. Shape: (batch, samples), (batch,) -> (batch, samples / speed), (batch,).

    Source: Ko et al. 2015, Audio augmentation for speech recognition.
    """
    percent = round(100 * speed)
    if percent == 100:
        return batch, lengths
    faster = resample(batch, percent, 100)
    return faster, (lengths * 100 // percent).clamp(1, faster.shape[1])


def add_noise(batch: Tensor, lengths: Tensor, snr_db: Tensor) -> Tensor:
    """Noise between white and pink (power as 1 / frequency), each utterance its own colour, at a signal-to-noise ratio.

    Shape: batch (batch, samples), lengths (batch,), snr_db (batch,) -> like batch.   Unit: decibel.
    """
    spectrum = torch.fft.rfft(torch.randn_like(batch))
    frequency = torch.arange(1, spectrum.shape[1] + 1, device=batch.device)
    slope = torch.rand(len(batch), 1, device=batch.device) / 2  # amplitude falls as frequency ** -slope
    noise = torch.fft.irfft(spectrum * frequency**-slope, n=batch.shape[1])
    inside = mask(lengths, batch.shape[1])
    speech_power = (batch * inside).square().sum(1) / lengths
    noise_power = (noise * inside).square().sum(1) / lengths
    scale = (speech_power / noise_power.clamp(min=1e-20) / 10 ** (snr_db / 10)).sqrt()
    return batch + scale[:, None] * noise * inside


def spectrogram(mel: Tensor, lengths: Tensor, config: AugmentConfig) -> Tensor:
    """SpecAugment on normalised features: masked regions take the mean, 0.

    Shape: mel (batch, channels, frames, bands), lengths (batch,) -> like mel.
    Source: Park et al. 2019, SpecAugment.
    """
    longest = torch.minimum(lengths // 5, torch.tensor(config.time_mask_frames, device=mel.device))
    for _ in range(config.time_masks):
        mel = mel * _stretch(longest, lengths, mel.shape[2])[:, None, :, None]
    bands = torch.full_like(lengths, mel.shape[3])
    widest = torch.full_like(lengths, min(config.band_mask_bands, mel.shape[3] // 2))
    for _ in range(config.band_masks):
        mel = mel * _stretch(widest, bands, mel.shape[3])[:, None, None, :]
    return mel


def _stretch(widest: Tensor, sizes: Tensor, size: int) -> Tensor:
    """0 in a random stretch of up to `widest` places, 1 elsewhere. Shape: (batch,) -> (batch, size)."""
    width = (torch.rand(len(sizes), device=sizes.device) * (widest + 1)).long()
    start = (torch.rand(len(sizes), device=sizes.device) * (sizes - width + 1)).long()
    places = torch.arange(size, device=sizes.device)
    return ((places < start[:, None]) | (places >= (start + width)[:, None])).float()
