"""How an utterance is said: pitch, voicing, energy and spectral tilt, on the frame grid of the mel.

    waveform -> low-pass, decimate -> autocorrelation -> candidates -> Viterbi -> f0, voicing -> contours
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .hardware import beside
from .masking import mask
from .slopes import deltas

CONTOURS = ("pitch", "pitch_slope", "voicing", "energy", "energy_slope", "tilt", "tilt_slope")
NUM_CONTOURS = len(CONTOURS)
FAINTEST = 1e-10  # of the loudest frame's power: a frame below holds rounding errors
LOBES = 6  # of the sinc that is the low-pass, on each side: more are sharper and slower
BLOCK = 16  # decimated samples computed from one stretch of input


@dataclass(frozen=True, kw_only=True)
class PitchConfig:
    """Thresholds and costs are in units of autocorrelation: 1 is perfectly periodic, 0 is not at all."""

    lowest_hz: float = 60.0
    highest_hz: float = 500.0
    window_seconds: float = 0.050
    bandwidth_hz: float = 1600.0   # nothing above is looked at: a voice's strong harmonics lie below
    num_candidates: int = 6   # per frame, besides "unvoiced"
    voicing_threshold: float = 0.45   # a frame less periodic than this is unvoiced
    silence_threshold: float = 0.02   # so is one fainter than this share of the loudest frame's amplitude
    octave_cost: float = 0.05   # per octave below highest_hz: among multiples of the period the first wins
    octave_jump_cost: float = 0.35   # per octave of change in 10 ms
    voicing_change_cost: float = 0.25   # per change between voiced and unvoiced in 10 ms

    def __post_init__(self):
        if not 0 < self.lowest_hz < self.highest_hz <= self.bandwidth_hz / 2:
            raise ValueError(
                f"lowest_hz={self.lowest_hz}, highest_hz={self.highest_hz} must satisfy 0 < lowest < highest <= "
                f"{self.bandwidth_hz / 2}: a voice needs two harmonics within bandwidth_hz. Lower highest_hz."
            )
        if self.window_seconds * self.lowest_hz < 2:
            raise ValueError(
                f"window_seconds={self.window_seconds} must hold two periods of lowest_hz={self.lowest_hz}: one has "
                f"nothing to be compared with. Raise window_seconds to {2 / self.lowest_hz:.3f} or raise lowest_hz."
            )
        if self.num_candidates < 1:
            raise ValueError(f"num_candidates={self.num_candidates} must be at least 1: no pitch, no path. Give 6.")
        if not (0 < self.voicing_threshold < 1 and 0 < self.silence_threshold < 1):
            raise ValueError(
                f"voicing_threshold={self.voicing_threshold}, silence_threshold={self.silence_threshold} must be in "
                "(0, 1): at the ends all frames would be voiced, or none. Give 0.45 and 0.02."
            )
        if min(self.octave_cost, self.octave_jump_cost, self.voicing_change_cost) < 0:
            raise ValueError(
                f"octave_cost={self.octave_cost}, octave_jump_cost={self.octave_jump_cost}, voicing_change_cost="
                f"{self.voicing_change_cost} must be at least 0: below, they reward errors. Give 0 for none."
            )


@torch.no_grad()
def pitch(
    waveforms: Tensor, num_samples: Tensor, sample_rate: int, hop_samples: int, config: PitchConfig = PitchConfig()
) -> tuple[Tensor, Tensor]:
    """Fundamental frequency of each frame, 0 where unvoiced, and how periodic the frame is; no gradient.

    Frame i is centred on sample i * hop_samples (to the nearest decimated one: within 0.13 ms at 16 kHz), with zeros
    beyond both ends, as the mel's is. How periodic: the autocorrelation at the pitch, or at the best candidate.

    Shape:  waveforms (batch, samples), num_samples (batch,) -> twice (batch, samples // hop_samples + 1), float32.
    Unit:   Hz, and from 0 to 1; zero in the padding, whatever lies there.
    Raises: ValueError where an utterance has no samples, or the sample rate is too low for config.bandwidth_hz.
    Source: Boersma 1993, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
            of a sampled sound; here on a decimated waveform, and a frame is loud by its power, not its peak.
    """
    if sample_rate < 2 * config.bandwidth_hz:
        raise ValueError(
            f"sample_rate={sample_rate} must be at least {2 * config.bandwidth_hz:g}: nothing is recorded above half "
            f"of it, and bandwidth_hz is {config.bandwidth_hz:g}. Lower bandwidth_hz."
        )
    if hop_samples < 1:
        raise ValueError(f"hop_samples={hop_samples} must be at least 1: the frames would not advance. Give 160.")
    if int(num_samples.min()) < 1:
        raise ValueError("an utterance of 0 samples has no pitch. Leave it out of the batch.")
    num_samples = beside(num_samples, waveforms)
    inside = mask(num_samples // hop_samples + 1, waveforms.shape[1] // hop_samples + 1)  # (batch, frames)
    with torch.autocast(waveforms.device.type, enabled=False):
        cleared = waveforms.float().masked_fill(~mask(num_samples, waveforms.shape[1]), 0)
        frames, rate = _decimated_frames(cleared, sample_rate, hop_samples, inside.shape[1], config)
        periodicity, loudness, lags = _autocorrelation(frames, inside, rate, config)
        hz, strength = _candidates(periodicity, lags, config)
        states = _states(hz, strength, loudness, config)
        path = best_path(states[:, 0], _gains(hz, states, inside, hop_samples / sample_rate, config))
        f0_hz = pad(hz, (1, 0)).gather(2, path)[..., 0]
        voicing = torch.cat([strength.amax(2, keepdim=True), strength], dim=2).gather(2, path)[..., 0]
    return f0_hz * inside, voicing.clamp(0, 1) * inside


def _decimated_frames(waveforms: Tensor, sample_rate: int, hop_samples: int, count: int, config: PitchConfig):
    """Frames of the low-passed waveform, of which every factor-th sample is left: (batch, frames, width), rate in Hz.

    A block of outputs comes from one stretch of input by one matrix product, faster than a convolution:

        input    |<-------- stretch -------->|
        output       o   o   o   o   o   o         one column of the matrix each, a sinc shifted by factor
    """
    device = waveforms.device
    factor = max(1, int(sample_rate / (2.5 * config.bandwidth_hz)))  # 2 would leave the low-pass no room to fall
    rate = sample_rate / factor
    width = 2 * round(config.window_seconds * rate / 2)
    centres = (torch.arange(count, device=device) * hop_samples + factor // 2) // factor
    blocks = -(-(((count - 1) * hop_samples + factor // 2) // factor + width) // BLOCK)
    stretch = factor * (BLOCK - 1 + 2 * LOBES)
    offset = torch.arange(stretch, device=device)[:, None] / factor - torch.arange(BLOCK, device=device) - LOBES
    lowpass = torch.sinc(offset) * torch.cos(torch.pi / 2 * (offset / LOBES).clamp(-1, 1)).square() / factor
    before = factor * (width // 2 + LOBES)
    after = factor * BLOCK * (blocks - 1) + stretch - before - waveforms.shape[1]
    decimated = (pad(waveforms, (before, after)).unfold(1, stretch, factor * BLOCK) @ lowpass).flatten(1)
    return decimated[:, centres[:, None] + torch.arange(width, device=device)], rate


def _autocorrelation(frames: Tensor, inside: Tensor, rate: float, config: PitchConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Each frame's autocorrelation over its window's, from the power spectrum.

    Matrices of cosines and sines stand for the FFT, which the exporter to ONNX does not know (the pitch takes as long),
    and for its inverse: so the lags may be finer than the samples, and few.

    Shape: frames (batch, frames, width), inside (batch, frames) -> (batch, frames, lags), loudness (batch, frames) as
           a share of the loudest frame's amplitude, (lags,) in seconds, one beyond each end of the range.
    """
    width = int(frames.shape[2])  # a number, where the export traces sizes
    step = 1 / (6 * config.bandwidth_hz)  # the fastest cosine is sampled six times
    count = int((1 / config.lowest_hz - 1 / config.highest_hz) / step) + 4
    lags = 1 / config.highest_hz + step * torch.arange(-1, count - 1, device=frames.device)
    size = -(-(width + int(rate / config.lowest_hz) + 3) // 32) * 32  # no lag wraps; by 32, as models were trained
    hz = torch.arange(int(config.bandwidth_hz * size / rate) + 1, device=frames.device) * rate / size
    cosines = torch.cos(2 * torch.pi * hz[:, None] * pad(lags, (1, 0)))  # (bins, 1 + lags): at first no lag
    cosines[0] /= 2  # 0 Hz has no twin below it
    turns = torch.arange(width, device=frames.device)[:, None] * torch.arange(len(hz), device=frames.device) % size
    angles = 2 * torch.pi / size * turns
    waves = angles.cos(), angles.sin()

    def correlated(windowed: Tensor) -> Tensor:
        return ((windowed @ waves[0]).square() + (windowed @ waves[1]).square()) @ cosines

    window = torch.hann_window(width, device=frames.device)
    cosines /= correlated(window)
    ours = correlated((frames - frames.mean(2, keepdim=True)) * window)
    power = ours[..., 0].masked_fill(~inside, 0)
    loudest = power.amax(1, keepdim=True).clamp(min=1e-20)  # not 0 in digital silence
    return ours[..., 1:] / (power + FAINTEST * loudest)[..., None], (power / loudest).sqrt(), lags


def _candidates(periodicity: Tensor, lags: Tensor, config: PitchConfig) -> tuple[Tensor, Tensor]:
    """The highest peaks of each frame, refined by a parabola through each and its neighbours.

    Shape: periodicity (batch, frames, lags) -> Hz and strength (batch, frames, candidates); -1 where peaks are too few.
    """
    middle = periodicity[..., 1:-1]
    is_peak = (middle > periodicity[..., :-2]) & (middle >= periodicity[..., 2:])
    peak, place = torch.where(is_peak, middle, -1).topk(min(config.num_candidates, middle.shape[2]), dim=2)
    before, after = periodicity.gather(2, place), periodicity.gather(2, place + 2)
    offset = ((after - before) / 2 / (2 * peak - before - after).clamp(min=1e-9)).clamp(-0.5, 0.5)  # in steps
    period = lags[1:-1][place] + offset * (lags[1] - lags[0])
    strength = torch.where(peak > -1, peak + offset * (after - before) / 4, -1)
    return (1 / period).clamp(config.lowest_hz, config.highest_hz), strength.clamp(max=1)


def _states(hz: Tensor, strength: Tensor, loudness: Tensor, config: PitchConfig) -> Tensor:
    """How well a frame is described by being unvoiced, which comes first, and by each candidate.

    Shape: hz, strength (batch, frames, candidates), loudness (batch, frames) -> (batch, frames, 1 + candidates).
    """
    faintness = 2 - loudness * (1 + config.voicing_threshold) / config.silence_threshold
    unvoiced = config.voicing_threshold + faintness.clamp(min=0)
    voiced = strength - config.octave_cost * torch.log2(config.highest_hz / hz)
    states = torch.cat([unvoiced[..., None], voiced], dim=2)
    return states - states.amax(2, keepdim=True)  # sums over long recordings stay small and keep their digits


def _gains(hz: Tensor, states: Tensor, inside: Tensor, hop_seconds: float, config: PitchConfig) -> Tensor:
    """What each step from state to state adds, nothing in the padding. Shape: -> (frames - 1, batch, from, to)."""
    octave = torch.log2(hz)
    jump = config.octave_jump_cost * (octave[:, :-1, :, None] - octave[:, 1:, None, :]).abs()
    cost = pad(jump, (1, 0, 1, 0), value=config.voicing_change_cost)
    cost[:, :, 0, 0] = 0  # unvoiced stays unvoiced
    gains = states[:, 1:, None, :] - cost * (0.010 / hop_seconds)
    return (gains * inside[:, 1:, None, None]).transpose(0, 1)


def best_path(total: Tensor, gains: Tensor) -> Tensor:
    """States with the largest sum (Viterbi): (batch, states), (steps, batch, from, to) -> (batch, steps + 1, 1).

    The export compiles it with TorchScript, which does not take all of Python.
    """
    origins: list[Tensor] = []
    for gain in gains:
        total, origin = (total[:, :, None] + gain).max(1)
        origins.append(origin)
    path = [total.argmax(1, keepdim=True)]
    for i in range(len(origins)):
        path.append(origins[-1 - i].gather(1, path[-1]))
    return torch.stack(path, dim=1).flip(1)


def contours(f0_hz: Tensor, voicing: Tensor, log_mel: Tensor, lengths: Tensor) -> Tensor:
    """What the networks see of prosody: the CONTOURS of each frame.

    pitch    semitones above the median of the utterance's own voiced frames: high and low voices compare. A fall to 0
             at every consonant would drown the intonation, so unvoiced frames lie on the straight line between their
             voiced neighbours, and hold the first and last at the ends. 0 where nothing is voiced.
    voicing  how periodic the frame is, and 0 where unvoiced: it says where the pitch is filled in.
    energy   log of the power summed over bands, relative to the utterance's mean over frames.
    tilt     regression slope of the log-mel over its bands, per band (whose width in Hz or octaves is not asked).
    *_slope  their slopes over time, per frame.

    Shape:  f0_hz, voicing (batch, frames), log_mel (batch, frames, bands), lengths (batch,) in frames
            -> (batch, frames, NUM_CONTOURS); zero in the padding, whatever lies there.
    Unit:   log_mel: natural log of power, not normalised; energy and tilt are natural logs too.
    Raises: ValueError where the frames of pitch and mel differ in number, or the mel has one band.
    """
    if not f0_hz.shape == voicing.shape == log_mel.shape[:2]:
        raise ValueError(
            f"f0_hz {tuple(f0_hz.shape)}, voicing {tuple(voicing.shape)} and log_mel {tuple(log_mel.shape)} must agree "
            "in batch and frames: they would tell of different moments. Give pitch the waveforms and hop of the mel."
        )
    if log_mel.shape[2] < 2:
        raise ValueError(f"log_mel with {log_mel.shape[2]} band has no tilt: it takes 2. Raise num_bands.")
    inside = mask(lengths, f0_hz.shape[1])
    voiced = inside & (f0_hz > 0)
    log_mel = log_mel.float().masked_fill(~inside[..., None], 0)
    energy = log_mel.logsumexp(2)
    energy = energy - (energy * inside).sum(1, keepdim=True) / lengths[:, None]
    place = torch.arange(log_mel.shape[2], device=log_mel.device) - (log_mel.shape[2] - 1) / 2
    tilt = (log_mel * (place / place.square().sum())).sum(2)
    levels = torch.stack([_filled_semitones(f0_hz, voiced), energy, tilt], dim=2)
    pairs = torch.stack([levels, deltas(levels, lengths)], dim=3).flatten(2)  # pitch, pitch_slope, energy, ...
    together = torch.cat([pairs[..., :2], torch.where(voiced, voicing, 0)[..., None], pairs[..., 2:]], dim=2)
    return together.masked_fill(~inside[..., None], 0)


def _filled_semitones(f0_hz: Tensor, voiced: Tensor) -> Tensor:
    """Semitones above the voiced frames' median, in straight lines across the others. Shape: (batch, frames)."""
    semitones = 12 * torch.log2(torch.where(voiced, f0_hz, 1.0))
    count = voiced.long().cumsum(1)  # of voiced frames up to here
    last = (count[:, -1:] - 1).clamp(min=0)
    median = torch.where(voiced, semitones, torch.inf).sort(1).values.gather(1, last // 2)
    semitones = torch.where(voiced, semitones - median, 0.0)
    frame = torch.arange(voiced.shape[1], device=voiced.device).expand_as(voiced)
    places = torch.where(voiced, frame, frame[:, -1:]).sort(1).values  # of the voiced frames, first come first
    before = places.gather(1, (count - 1).clamp(min=0))  # the nearest voiced frame; in front of all, the first
    after = places.gather(1, torch.minimum(count - voiced.long(), last))  # likewise; behind all, the last
    share = (frame - before) / (after - before).clamp(min=1)
    return torch.lerp(semitones.gather(1, before), semitones.gather(1, after), share)
