"""Changes of a training batch that leave the emotion as it is; on the batch's device, from the global random state.

What is drawn for waveforms is drawn on the processor, where their lengths are too: a GPU that is asked for a number
would have to finish all its work first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hardware import beside
from ..masking import clear
from ..settings import SettingError
from . import effects

WARPED = 0.6   # of the frequencies, up to where a vocal tract scales them: 4800 of 8000 Hz, as its source


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is drawn anew for each utterance (the speed and mixup: for each batch), in the order in which it happens."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)   # one for each batch; changes pitch and rate together
    shift_seconds: float = 0.0   # at each end zeros added, or a piece cut off, up to this; at least half remains
    room_probability: float = 0.0
    room_rt60_seconds: tuple[float, float] = (0.2, 0.8)   # the echoes fall by 60 dB in this time
    room_direct_db: tuple[float, float] = (0.0, 12.0)   # energy of the direct path over that of the echoes
    tilt_db: float = 0.0   # the highest frequency above or below the lowest by up to this, on a line between
    noise_probability: float = 0.25
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    tone_probability: float = 0.0   # a hum or a whistle, at one frequency anywhere above 50 Hz
    tone_snr_db: tuple[float, float] = (15.0, 40.0)
    babble_probability: float = 0.0   # other utterances of the batch, talking at once
    babble_snr_db: tuple[float, float] = (13.0, 20.0)
    codec_probability: float = 0.0   # a telephone: 300 to 3400 Hz, 8 bits of mu-law
    lowpass_probability: float = 0.0   # nothing above a frequency, as after MP3 and its like
    lowpass_hz: tuple[float, float] = (3000.0, 8000.0)
    gain_db: float = 6.0   # louder or softer by up to this
    warp: float = 0.0   # length of the vocal tract: frequencies by a factor of 1 - warp to 1 + warp
    band_shift: int = 0   # the whole spectrogram up or down by up to this many bands
    time_masks: int = 1   # SpecAugment: stretches of frames set to the mean
    time_mask_frames: int = 25   # longest; never more than a fifth of the utterance
    band_masks: int = 1
    band_mask_bands: int = 10   # widest
    mixup_alpha: float = 0.0   # weights of mixed pairs from Beta(alpha, alpha)

    def __post_init__(self):
        if not self.speeds or not all(0.01 <= speed < math.inf and math.isclose(100 * speed, round(100 * speed))
                                      for speed in self.speeds):
            raise SettingError(
                f"augment.speeds={self.speeds} must hold factors of 0.01 or more, in whole hundredths: nothing plays "
                "backwards, and finer steps nobody hears. Use (1.0,) for none."
            )
        for name in ("room_probability", "noise_probability", "tone_probability", "babble_probability",
                     "codec_probability", "lowpass_probability"):
            self._check(name, 0, 1, "in [0, 1]: it is the share of the utterances that change. Use 0 for none")
        self._check("warp", 0, 0.5, "in [0, 0.5]: no throat is so short or long. Use 0 for none, 0.1 for people")
        for name in ("shift_seconds", "tilt_db", "gain_db", "band_shift", "time_masks", "time_mask_frames",
                     "band_masks", "band_mask_bands", "mixup_alpha"):
            self._check(name, 0, math.inf, "0 or more and finite: it says how far a change may go. Use 0 for none")
        for name in ("room_rt60_seconds", "room_direct_db", "noise_snr_db", "tone_snr_db", "babble_snr_db",
                     "lowpass_hz"):
            low, high = getattr(self, name)
            if not -math.inf < low <= high < math.inf:
                raise SettingError(f"augment.{name}={(low, high)} must be finite, (low, high) in order. Swap them.")
        if self.lowpass_hz[0] <= 0:
            raise SettingError(f"augment.lowpass_hz={self.lowpass_hz} must be above 0: nothing would be left to hear. "
                               "Use augment.lowpass_probability=0 for none.")
        if self.room_rt60_seconds[0] <= 0:
            raise SettingError(
                f"augment.room_rt60_seconds={self.room_rt60_seconds} must be above 0: echoes take time to fall. "
                "Use augment.room_probability=0 for no room."
            )

    def _check(self, name: str, low: float, high: float, allowed: str) -> None:
        value = getattr(self, name)
        if not (low <= value <= high and math.isfinite(value)):
            raise SettingError(f"augment.{name}={value} must be {allowed}.")


def waveforms(
    batch: Tensor, lengths: Tensor, config: AugmentConfig, sample_rate: int = 16_000
) -> tuple[Tensor, Tensor]:
    """Speed, shift, room, tilt, noise, tone, babble, codec, low pass and gain; what is off draws nothing.

    Shape: batch (batch, samples), lengths (batch,), on the processor -> the same, longer or shorter.
    Unit: full scale is 1.
    """
    def some(rows: Tensor) -> Tensor:
        return batch[beside(rows, batch)]

    speed = int(torch.randint(len(config.speeds), ())) if len(config.speeds) > 1 else 0
    batch, lengths = effects.perturb_speed(batch, lengths, config.speeds[speed])
    if config.shift_seconds:
        furthest = config.shift_seconds * sample_rate
        batch, lengths = effects.shift(
            batch, lengths, *(_uniform((-furthest, furthest), lengths).round().long() for _ in range(2))
        )
    batch = _some(batch, config.room_probability, lambda rows: effects.reverberate(
        some(rows), lengths[rows], _uniform(config.room_rt60_seconds, rows),
        _uniform(config.room_direct_db, rows), sample_rate,
    ))
    if config.tilt_db:
        batch = effects.tilt(batch, lengths, _uniform((-config.tilt_db, config.tilt_db), lengths))
    batch = _some(batch, config.noise_probability, lambda rows: effects.add_noise(
        some(rows), lengths[rows], _uniform(config.noise_snr_db, rows)
    ))
    batch = _some(batch, config.tone_probability, lambda rows: effects.add_tone(
        some(rows), lengths[rows], _uniform(config.tone_snr_db, rows), sample_rate
    ))
    batch = _some(batch, config.babble_probability, lambda rows: effects.add_babble(
        batch, lengths, rows, _uniform(config.babble_snr_db, rows)
    ))
    batch = _some(batch, config.codec_probability, lambda rows: effects.telephone(
        some(rows), lengths[rows], sample_rate
    ))
    batch = _some(batch, config.lowpass_probability, lambda rows: effects.low_pass(
        some(rows), lengths[rows], _uniform(config.lowpass_hz, rows), sample_rate
    ))
    if config.gain_db:
        batch = batch * beside(10 ** (_uniform((-config.gain_db, config.gain_db), lengths)[:, None] / 20), batch)
    return batch, lengths


def _some(batch: Tensor, probability: float, effect: Callable[[Tensor], Tensor]) -> Tensor:
    """The batch with drawn rows changed; `effect` is given their numbers, for what it costs is paid by the row."""
    if not probability:
        return batch
    rows = (torch.rand(len(batch)) < probability).nonzero().squeeze(1)
    return batch.index_copy(0, beside(rows, batch), effect(rows)) if len(rows) else batch


def _uniform(limits: tuple[float, float], rows: Tensor) -> Tensor:
    """A number between the limits for each row. Shape: (rows,) -> (rows,)."""
    low, high = limits
    return low + (high - low) * torch.rand(len(rows), device=rows.device)


def features(
    mel: Tensor, prosody: Tensor | None, lengths: Tensor, config: AugmentConfig, corners_hz: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Warp, shift of the bands, then SpecAugment, on normalised features: masked regions take the mean, 0.

    A stretch of time is masked in both: prosody would tell what the spectrogram hides, and be all that is learnt from.
    Its contours are not normalised, and take their mean over the utterance.

    Shape: mel (batch, channels, frames, bands), prosody (batch, frames, contours) or None, lengths (batch,), corners_hz
           (bands + 2,), from the lower end of the first band's triangle to the upper one of the last -> the first two.
    Source: Park et al. 2019, SpecAugment.
    """
    if config.warp:
        mel = warp_bands(mel, _uniform((1 - config.warp, 1 + config.warp), lengths), corners_hz)
    if config.band_shift:
        mel = shift_bands(mel, torch.randint_like(lengths, -config.band_shift, config.band_shift + 1))
    longest = (lengths // 5).clamp(max=config.time_mask_frames)
    if config.time_masks:
        stretches = [_stretch(longest, lengths, mel.shape[2]) for _ in range(config.time_masks)]
        kept = torch.stack(stretches).prod(0)[:, :, None]
        mel = mel * kept[:, None]
        if prosody is not None:
            prosody = torch.where(kept > 0, prosody, _means(prosody, lengths))
    bands = torch.full_like(lengths, mel.shape[3])
    widest = torch.full_like(lengths, min(config.band_mask_bands, mel.shape[3] // 2))
    for _ in range(config.band_masks):
        mel = mel * _stretch(widest, bands, mel.shape[3])[:, None, None, :]
    return mel, prosody


def _means(prosody: Tensor, lengths: Tensor) -> Tensor:
    """Of each contour over true frames. Shape: (batch, frames, contours), (batch,) -> (batch, 1, contours)."""
    return clear(prosody, lengths).sum(1, keepdim=True) / lengths[:, None, None]


def warp_bands(mel: Tensor, factors: Tensor, corners_hz: Tensor) -> Tensor:
    """A shorter vocal tract (factor > 1) or a longer one: what is at a frequency comes to that times the factor, but
    above a bend on a straight line to the highest, which stays. Between bands by interpolation.

    Shape: mel (batch, channels, frames, bands), factors (batch,), corners_hz (bands + 2,) of the bands' triangles
           -> like mel.
    Source: Jaitly and Hinton 2013, Vocal tract length perturbation (VTLP) improves speech recognition.
    """
    centres, highest, factors = corners_hz[1:-1], corners_hz[-1], factors[:, None]
    bend = WARPED * highest * factors.clamp(max=1)
    slope = (highest - bend / factors) / (highest - bend)
    hertz = torch.where(centres <= bend, centres / factors, highest - (highest - centres) * slope)   # it comes from
    above = torch.searchsorted(centres, hertz).clamp(1, len(centres) - 1)
    width = centres[above] - centres[above - 1]
    places = above - 1 + ((hertz - centres[above - 1]) / width).clamp(0, 1)
    below = places.floor()
    return torch.lerp(_bands(mel, below), _bands(mel, below + 1), (places - below)[:, None, None])


def shift_bands(mel: Tensor, steps: Tensor) -> Tensor:
    """Move all up by that many bands. Shape: mel (batch, channels, frames, bands), steps (batch,) -> like mel."""
    return _bands(mel, torch.arange(mel.shape[3], device=mel.device) - steps[:, None])


def _bands(mel: Tensor, places: Tensor) -> Tensor:
    """The bands at those places, beyond the edges the edge. Shape: mel (batch, ..., bands), places (batch, bands)."""
    places = places.long().clamp(0, mel.shape[3] - 1)
    return mel.gather(3, places[:, None, None].expand_as(mel))


def _stretch(widest: Tensor, sizes: Tensor, size: int) -> Tensor:
    """0 in a random stretch of up to `widest` places, 1 elsewhere. Shape: (batch,) -> (batch, size)."""
    width = (torch.rand(len(sizes), device=sizes.device) * (widest + 1)).long()
    start = (torch.rand(len(sizes), device=sizes.device) * (sizes - width + 1)).long()
    places = torch.arange(size, device=sizes.device)
    return ((places < start[:, None]) | (places >= (start + width)[:, None])).float()


def mixup(
    mel: Tensor, prosody: Tensor | None, lengths: Tensor, targets: Tensor, alpha: float
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Mix each utterance with another one, and its target with the other's; never less than half is its own.

    Shape:  mel (batch, channels, frames, bands), prosody (batch, frames, contours) or None, lengths (batch,),
            targets (batch, classes), distributions -> the same; a mixed utterance is as long as the longer of the two.
    Source: Zhang et al. 2018, mixup: beyond empirical risk minimization (one weight for a batch, as in their code).
    """
    if not alpha:
        return mel, prosody, lengths, targets
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    weight = max(weight, 1 - weight)
    partner = beside(torch.randperm(len(mel)), mel)

    def mixed(own: Tensor) -> Tensor:
        return torch.lerp(own[partner], own, weight)

    mel = mixed(clear(mel, lengths))
    if prosody is not None:
        prosody = mixed(clear(prosody, lengths))
    return mel, prosody, torch.maximum(lengths, lengths[partner]), mixed(targets)
