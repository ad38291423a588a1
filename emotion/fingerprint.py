"""Is it the same recording? Tells by the sound, not by the bytes: another format, level, rate or silence around it.

    waveform at 8 kHz -> frames of 256 ms every 8 ms -> energy in 33 bands, 300 to 3000 Hz
                      -> for each frame 32 bits: where energy moves from a band to the next, against 32 ms before
    recordings that share words of 32 bits at one distance in time -> share of bits that differ where both are loud

Source: Haitsma and Kalker, A Highly Robust Audio Fingerprinting System, ISMIR 2002; frames as short as suits recordings
of a second. On RAVDESS, 1,440 recordings of two sentences, copies differ in less than 0.2 of the bits, two takes of a
sentence by one actor in 0.23 and more, by two actors in 0.3 and more; on EMO-DB and nEMO any two in 0.36 and more.

Limits: not found are recordings with less than 0.4 s of speech, played faster or at another pitch, under noise nearly
as loud as they are, and about half of those squeezed to 6 kbit/s. An excerpt is found in what it was cut from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 8_000   # what copies for a telephone keep
WINDOW, HOP, LAG = 2048, 64, 4   # samples, samples, frames
LOW_HZ, HIGH_HZ, BITS = 300.0, 3000.0, 32
LOUD_DB = 25.0   # below the loudest frame; what is fainter may be the room
BLOCK_FRAMES = 2048   # at once, in 16 MB
MIN_FRAMES = 50   # 0.4 s
MOST_NEIGHBOURS = 32   # frames looked at for one word: more hold it by chance
MIN_WORDS = 2   # shared at one distance in time before bits are compared
MOST_WRONG = 0.2   # share of bits
MIN_SHARED = 0.8   # of the loud frames of the shorter


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Shape: words (frames,) uint32; loud (frames,) bool: frames that tell of the voice."""

    words: np.ndarray
    loud: np.ndarray


def fingerprint(waveform: np.ndarray) -> Fingerprint:
    """Of a recording (samples,) at SAMPLE_RATE; the silence before and after it changes nothing but the place."""
    from scipy.fft import rfft

    padded = np.pad(waveform, WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = np.hanning(WINDOW).astype(np.float32)
    edges = np.searchsorted(np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE), np.geomspace(LOW_HZ, HIGH_HZ, BITS + 2))
    energies = []
    for start in range(0, len(frames), BLOCK_FRAMES):
        spectrum = rfft(frames[start : start + BLOCK_FRAMES] * window, axis=1)[:, : edges[-1]]
        energies.append(np.add.reduceat(spectrum.real**2 + spectrum.imag**2, edges[:-1], axis=1))
    bands = np.concatenate(energies)   # (frames, BITS + 1)
    total = bands.sum(axis=1)
    loud = (total > total.max() * 10 ** (-LOUD_DB / 10)) & (total > 0)
    across = bands[:, :-1] - bands[:, 1:]
    bits = across[LAG:] > across[:-LAG]
    return Fingerprint(np.packbits(bits, axis=1).view(np.uint32).ravel(), loud[LAG:] & loud[:-LAG])


def copies(prints: Sequence[Fingerprint], groups: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of recordings (i, j), i < j, that are the same one and lie in different groups."""
    found = set()
    for i, j, offset in _candidates(prints, np.asarray(groups)):
        if (i, j) not in found and _same(prints[i], prints[j], offset):
            found.add((i, j))
    return sorted(found)


def _candidates(prints: Sequence[Fingerprint], groups: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(i, j, frames that j is later than i by) where loud frames hold MIN_WORDS words in common."""
    chosen = [np.flatnonzero(one.loud) if one.loud.sum() >= MIN_FRAMES else np.empty(0, int) for one in prints]
    owner = np.repeat(np.arange(len(prints)), [len(frames) for frames in chosen])
    if not len(owner):
        return
    words = np.concatenate([one.words[frames] for one, frames in zip(prints, chosen)])
    order = np.argsort(words, kind="stable")   # alike words by owner
    words, owner, frame = words[order], owner[order], np.concatenate(chosen)[order]
    shared = []
    for step in range(1, MOST_NEIGHBOURS + 1):
        first = np.flatnonzero(words[:-step] == words[step:])
        if not len(first):
            break
        first = first[groups[owner[first]] != groups[owner[first + step]]]
        shared.append(np.stack([owner[first], owner[first + step], frame[first] - frame[first + step]], axis=1))
    rows, counts = np.unique(np.concatenate(shared), axis=0, return_counts=True) if shared else ((), ())
    for (i, j, offset), count in zip(rows, counts):
        if count >= MIN_WORDS:
            yield int(i), int(j), int(offset)


def _same(one: Fingerprint, other: Fingerprint, offset: int) -> bool:
    start, stop = max(0, offset), min(len(one.words), len(other.words) + offset)
    mine, theirs = slice(start, stop), slice(start - offset, stop - offset)
    both = one.loud[mine] & other.loud[theirs]
    if both.sum() < MIN_SHARED * min(one.loud.sum(), other.loud.sum()):
        return False
    differing = (one.words[mine] ^ other.words[theirs])[both]
    return np.unpackbits(differing.view(np.uint8)).mean() < MOST_WRONG
