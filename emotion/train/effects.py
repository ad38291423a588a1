"""What can happen to a voice on its way: speed, rooms, noise, telephones; on waveforms, of a batch at once.

Lengths, and how strong each is to be, are on the processor; waveforms where they are computed. What is drawn comes from
the global random state.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchaudio.functional import fftconvolve, mu_law_decoding, mu_law_encoding
from torchaudio.transforms import Resample

from ..hardware import beside
from ..masking import mask

NOISE_SAMPLES = 2**15   # noise repeats after this: drawing and transforming all of an utterance costs twice as much
BABBLE_VOICES = (3, 7)   # fewest and most
TELEPHONE_RATE, TELEPHONE_HZ = 8000, (300, 3400)   # between these all of it is heard
EDGE_HZ = 100   # of a filter, from all to nothing: a steeper one rings


def _quiet(batch: Tensor, lengths: Tensor) -> Tensor:
    """Zeros in the padding. Shape: batch (batch, samples), lengths (batch,) -> like batch."""
    shortest = int(lengths.min())   # utterances of like length have little to clear
    if shortest >= batch.shape[1]:
        return batch
    quiet = batch.clone()
    quiet[:, shortest:].masked_fill_(~mask(beside(lengths - shortest, batch), batch.shape[1] - shortest), 0)
    return quiet


def perturb_speed(batch: Tensor, lengths: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    """Play faster (speed > 1) or slower. Shape: (batch, samples), (batch,) -> (batch, samples / speed), (batch,).

    Source: Ko et al. 2015, Audio augmentation for speech recognition.
    """
    percent = round(100 * speed)
    if percent == 100:
        return batch, lengths
    faster = _resampler(percent, batch.device)(_quiet(batch, lengths))
    lengths = (lengths * 100 // percent).clamp(1, faster.shape[1])
    return _quiet(faster, lengths), lengths


@lru_cache
def _resampler(percent: int, device: torch.device) -> Resample:
    """Its filter is computed once, not for each batch."""
    return Resample(percent, 100, dtype=torch.float32).to(device)


def shift(batch: Tensor, lengths: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros at an end (samples > 0), or a piece of it cut off (samples < 0), but of both never more than half.

    Shape: batch (batch, samples), lengths, before, after (batch,) -> (batch, longest), (batch,).
    """
    before, after = (torch.maximum(samples, -(lengths // 4)) for samples in (before, after))
    furthest, kept = int(before.abs().max()), lengths + before + after
    longest = int(kept.max())
    padded = pad(_quiet(batch, lengths), (furthest, max(0, furthest + longest - batch.shape[1])))
    windows = padded.unfold(1, longest, 1)   # (batch, starts, longest), a view: no index of every sample is needed
    rows = torch.arange(len(batch), device=batch.device)
    return _quiet(windows[rows, beside(furthest - before, batch)], kept), kept


def reverberate(
    batch: Tensor, lengths: Tensor, rt60_seconds: Tensor, direct_db: Tensor, sample_rate: int
) -> Tensor:
    """A room of its own for each utterance, as loud, as long and no later than without; echoes past the end are cut.

    Shape: batch (batch, samples), lengths, rt60_seconds, direct_db (batch,) -> like batch.
    """
    batch, width = _quiet(batch, lengths), batch.shape[1]
    enough = width + math.ceil(float(rt60_seconds.max()) * sample_rate)
    size = _fast_size(enough) - width + 1
    room = impulse_response(beside(rt60_seconds, batch), beside(direct_db, batch), size, sample_rate)
    heard = _quiet(fftconvolve(batch, room)[:, :width], lengths)
    return heard * (batch.norm(dim=1) / heard.norm(dim=1).clamp(min=1e-10))[:, None]


def impulse_response(rt60_seconds: Tensor, direct_db: Tensor, size: int, sample_rate: int) -> Tensor:
    """What a clap sounds like in a room: the clap, then noise that loses 60 dB of its energy in each rt60_seconds.

    Shape: rt60_seconds, direct_db (batch,) -> (batch, size).
    Source: Polack 1988, La transmission de l'énergie sonore dans les salles (his model of diffuse echoes).
    """
    seconds = torch.arange(size, device=rt60_seconds.device) / sample_rate
    echoes = torch.randn(len(rt60_seconds), size, device=rt60_seconds.device)
    echoes = echoes * torch.exp(-3 * math.log(10) / rt60_seconds[:, None] * seconds)
    echoes[:, 0] = 0
    echoes = echoes * (10 ** (-direct_db / 20) / echoes.norm(dim=1))[:, None]
    echoes[:, 0] = 1
    return echoes


def tilt(batch: Tensor, lengths: Tensor, decibel: Tensor) -> Tensor:
    """The highest frequency louder than the lowest by so much, on a straight line between; each as loud as before.

    Shape: batch (batch, samples), lengths, decibel (batch,) -> like batch.
    """
    batch, size = _quiet(batch, lengths), _fast_size(batch.shape[1])
    along = torch.linspace(-0.5, 0.5, size // 2 + 1, device=batch.device)
    spectrum = torch.fft.rfft(batch, size) * 10 ** (beside(decibel, batch)[:, None] * along / 20)
    heard = _quiet(torch.fft.irfft(spectrum, size)[:, : batch.shape[1]], lengths)
    return heard * (batch.norm(dim=1) / heard.norm(dim=1).clamp(min=1e-10))[:, None]


def low_pass(batch: Tensor, lengths: Tensor, hertz: Tensor, sample_rate: int) -> Tensor:
    """Nothing above so many hertz. Shape: batch (batch, samples), lengths, hertz (batch,) -> like batch."""
    size = _fast_size(batch.shape[1])
    frequency = torch.arange(size // 2 + 1, device=batch.device) * (sample_rate / size)
    passes = ((beside(hertz, batch)[:, None] - frequency) / EDGE_HZ + 0.5).clamp(0, 1)
    spectrum = torch.fft.rfft(_quiet(batch, lengths), size) * passes
    return _quiet(torch.fft.irfft(spectrum, size)[:, : batch.shape[1]], lengths)


def add_tone(batch: Tensor, lengths: Tensor, snr_db: Tensor, sample_rate: int) -> Tensor:
    """A tone of its own in each utterance, from 50 Hz to the highest, each octave as likely, at a distance to it.

    Shape: batch (batch, samples), lengths, snr_db (batch,) -> like batch.   Unit: decibel.
    """
    octaves = math.log2(sample_rate / 2 / 50)
    hertz = 50 * 2 ** (octaves * torch.rand(len(batch), 1, device=batch.device))
    times = torch.arange(batch.shape[1], device=batch.device) / sample_rate
    return _add_at(snr_db, batch, torch.sin(2 * math.pi * hertz * times), lengths)


def add_noise(batch: Tensor, lengths: Tensor, snr_db: Tensor) -> Tensor:
    """Noise between white and pink (power as 1 / frequency), each utterance its own colour, at a signal-to-noise ratio.

    Shape: batch (batch, samples), lengths (batch,), snr_db (batch,) -> like batch.   Unit: decibel.
    """
    size = min(NOISE_SAMPLES, _fast_size(batch.shape[1]))
    bins = size // 2 + 1
    spectrum = torch.randn(len(batch), bins, dtype=torch.complex64, device=batch.device)
    frequency = torch.arange(1, bins + 1, device=batch.device)
    slope = torch.rand(len(batch), 1, device=batch.device) / 2  # amplitude falls as frequency ** -slope
    noise = torch.fft.irfft(spectrum * frequency**-slope, size)   # its end meets its start: repeated, it has no seam
    noise = noise.repeat(1, -(-batch.shape[1] // size))[:, : batch.shape[1]]
    return _add_at(snr_db, batch, noise, lengths)


def add_babble(batch: Tensor, lengths: Tensor, rows: Tensor, snr_db: Tensor) -> Tensor:
    """Three to seven others of the batch talk at once behind each of those rows, rolled in time.

    Shape: batch (batch, samples), lengths (batch,), rows, snr_db (rows,) -> (rows, samples), alone unchanged.
    Source: Snyder et al. 2018, X-vectors: robust DNN embeddings for speaker recognition (three to seven, 13 to 20 dB).
    """
    fewest, most = BABBLE_VOICES
    voices = int(torch.randint(fewest, most + 1, ()))
    rolled = _quiet(batch, lengths).repeat(1, 2).unfold(1, batch.shape[1], 1)   # (batch, starts, samples), a view
    speech = batch[beside(rows, batch)]
    babble = torch.zeros_like(speech)
    for away in (1 + torch.randperm(len(batch) - 1)[:voices]).tolist():   # never 0, oneself, and never twice the same
        whose, when = (rows + away) % len(batch), torch.randint_like(rows, batch.shape[1])
        babble += rolled[beside(whose, batch), beside(when, batch)]
    return _add_at(snr_db, speech, babble, lengths[rows])


def _add_at(snr_db: Tensor, batch: Tensor, noise: Tensor, lengths: Tensor) -> Tensor:
    """Noise at that distance to the speech, both measured in the utterance's own length; none in the padding.

    torchaudio's add_noise answers NaN where the noise is silent, and fills the padding.
    """
    noise = _quiet(noise, lengths)
    scale = _quiet(batch, lengths).norm(dim=1) / noise.norm(dim=1).clamp(min=1e-10)
    return batch + (scale * beside(10 ** (-snr_db / 20), batch))[:, None] * noise


def telephone(batch: Tensor, lengths: Tensor, sample_rate: int) -> Tensor:
    """What a telephone lets through: 300 to 3400 Hz, 8000 samples a second of 8 bits, overdriven beyond full scale.

    Shape: batch (batch, samples), lengths (batch,) -> like batch.
    Source: ITU-T G.711 (mu-law) between the two filters of G.712.
    """
    size = _fast_size(batch.shape[1] + sample_rate // 10)   # a tenth of a second for the filter to die away
    slow = 2 * round(size * TELEPHONE_RATE / sample_rate / 2)
    bins = min(slow, size) // 2 + 1   # the same at both rates
    frequency = torch.arange(bins, device=batch.device) * (sample_rate / size)
    low, high = TELEPHONE_HZ
    inside = torch.minimum(frequency - low, high - frequency) / EDGE_HZ   # in edges; 0 at the corners
    passes = (math.pi / 2 * (inside + 1).clamp(0, 1)).sin().square()

    spectrum = torch.fft.rfft(_quiet(batch, lengths), size)[:, :bins]
    line = torch.fft.irfft(spectrum * passes, slow) * (slow / size)
    line = mu_law_decoding(mu_law_encoding(line.clamp(-1, 1), 256), 256)
    heard = torch.fft.irfft(torch.fft.rfft(line)[:, :bins] * passes, size)[:, : batch.shape[1]] * (size / slow)
    return _quiet(heard, lengths)


def _fast_size(size: int) -> int:
    """The next size without large prime factors, which would take up to eight times as long to transform."""
    return min(odd << (-(-size // odd) - 1).bit_length() for odd in (1, 3, 5, 9, 15))
