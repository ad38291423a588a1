#!/usr/bin/env python3
"""Synthesise the mini corpus: five emotions spoken by a source-filter voice, in seconds, without a download.

    speaker, emotion -> cues -> segments -> control tracks every 4 ms: F0, F1..F7, voicing, noise

    glottal pulses  -- frames -- FFT -- x vocal tract x tilt x radiation --+
    breath noise    -- frames -- FFT -- x vocal tract ---------------------+-- inverse FFT, overlap-add
    consonant noise -- frames -- FFT -- x one resonance -------------------+   -> waveform

It is nonsense speech: it proves that a pipeline works, not that a model knows emotions. Files are
OUT_DIR/mini01/mini01-anger-03.wav and so on, 1.5 to 2.5 s at 16 kHz and 16 bit. An utterance depends on its
name and the seed only: fewer speakers or utterances are a part of the same corpus.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000
SOURCE_RATE = 2 * SAMPLE_RATE  # pulses are drawn at twice the rate, the upper half is dropped after the FFT
CONTROL = 64  # samples between control points: 4 ms
HOP = 2 * CONTROL  # the filter moves every 8 ms, cross-faded by Hann windows of 16 ms
FFT = 768  # 48 ms: a formant 60 Hz wide has fallen by 52 dB where its response would wrap around


@dataclass(frozen=True)
class Cues:
    """What one utterance sounds like; pitch, rate, level, tilt, smile are relative to the speaker's own."""

    pitch_semitones: float  # mean F0 over voiced speech
    accent_semitones: float  # rise of F0 on a stressed syllable
    contour_semitones: float  # F0 at the end of the utterance less F0 at its start
    accent_width: float  # in syllables, about: abrupt below 1, smooth above
    rate: float  # syllables per second of speech, over the speaker's
    pauses: float  # expected number
    level_db: float  # of voiced speech
    accent_db: float  # a stressed syllable over the others
    tilt_db_per_octave: float  # of the source, above 500 Hz
    open_quotient: float  # part of the period in which the glottis is open: tense 0.4, breathy 0.8
    harmonics_db: float  # harmonics over breath noise
    jitter: float  # standard deviation of one period, as a part of it
    tremor_semitones: float  # amplitude of a wobble at 5 to 8 Hz
    attack_seconds: float  # from silence to half of the voice at an onset
    articulation: float  # size of the vowel space and speed of the formants
    smile: float  # formants: spread lips shorten the tract


# What reviews report against neutral: + more, - less, = the same; A anger, F fear, H happiness, S sadness.
# Sizes are ours, so that emotions overlap between and within speakers. In brackets: reported, not followed.
#   Sch  Scherer (2003), Vocal communication of emotion: a review of research paradigms, Speech Commun. 40
#   JL   Juslin & Laukka (2003), Communication of emotions in vocal expression and music performance,
#        Psychological Bulletin 129, tables 7 and 11
#   BS   Banse & Scherer (1996), Acoustic profiles in vocal emotion expression, J. Pers. Soc. Psychology 70
#   MA   Murray & Arnott (1993), Toward the simulation of emotion in synthetic speech, JASA 93, table 1
CUES = {
    # Pitch. Sch JL BS MA: A+ F+ H+ S-.   Range. Sch JL MA: A+ H+ S-; F- JL (F+ MA, either Sch).
    # Contour. JL: F+ H+ S- (A+); MA: H up, S down.   Width. MA: A abrupt on stressed syllables, H smooth.
    #                    neutral  anger   fear  happiness  sadness   spread  effort  lowest
    "pitch_semitones":    (0.000, 3.800, 5.000,     4.500,  -1.600,   0.800,  1.000, -5.000),
    "accent_semitones":   (3.000, 6.000, 1.800,     6.500,   1.300,   0.800,  0.300,  0.500),
    "contour_semitones":  (-3.00, -2.50, 0.500,     1.000,  -3.500,   1.200,  0.000, -8.000),
    "accent_width":       (1.000, 0.650, 0.800,     1.350,   1.300,   0.120,  0.000,  0.400),
    # Rate. Sch JL: A+ F+ H+ S-; MA: A slightly +, F much +, S slightly - (H + or -).   Pauses. JL: S long.
    "rate":               (1.000, 1.120, 1.250,     1.100,   0.780,   0.060,  0.020,  0.600),
    "pauses":             (0.300, 0.200, 0.500,     0.200,   0.900,   0.100,  0.000,  0.000),
    # Level. Sch JL BS MA: A+ H+ S-; F= MA (F+ Sch, F- JL but for panic).   Variability. JL: A+ F+ S-.
    "level_db":           (0.000, 7.000, 0.500,     4.000,  -5.500,   1.200,  2.000, -12.00),
    "accent_db":          (3.000, 6.000, 4.500,     3.000,   1.500,   0.800,  0.300,  0.000),
    # High frequencies. Sch JL BS: A+ S-; F- JL (F+ Sch); H slightly + Sch JL.
    # Voice. JL: A F S irregular, H regular; MA: F irregular (A H breathy).   Onsets. JL: A H fast, S slow.
    "tilt_db_per_octave": (0.000, 2.800, -0.40,     0.800,  -2.200,   0.400,  0.500, -4.000),
    "open_quotient":      (0.600, 0.420, 0.680,     0.600,   0.740,   0.040, -0.030,  0.350),
    "harmonics_db":       (22.00, 20.00, 14.00,     20.00,   15.00,   2.000,  1.000,  6.000),
    "jitter":             (0.008, 0.015, 0.020,     0.006,   0.013,   0.003,  0.000,  0.003),
    "tremor_semitones":   (0.050, 0.050, 0.450,     0.050,   0.120,   0.050,  0.000,  0.000),
    "attack_seconds":     (0.035, 0.016, 0.028,     0.022,   0.060,   0.006, -0.002,  0.010),
    # Articulation. MA: A tense, S slurred.   Smile. Tartter (1980), Happy talk, Percept. Psychophys. 27: H+.
    "articulation":       (1.000, 1.200, 1.000,     1.100,   0.780,   0.060,  0.030,  0.600),
    "smile":              (1.000, 1.000, 1.000,     1.050,   0.985,   0.010,  0.000,  0.950),
}
# An utterance departs from its emotion by SPREAD times a normal number in each cue, and by EFFORT times one
# number in all of them: to raise the voice is no emotion yet.
NEUTRAL, ANGER, FEAR, HAPPINESS, SADNESS, SPREAD, EFFORT, LOWEST = (
    Cues(**dict(zip(CUES, column, strict=True))) for column in zip(*CUES.values(), strict=True))
EMOTIONS = {"anger": ANGER, "fear": FEAR, "happiness": HAPPINESS, "neutral": NEUTRAL, "sadness": SADNESS}


@dataclass(frozen=True)
class Speaker:
    """One voice: who it is before any emotion."""

    id: str
    sex: str
    pitch_hertz: float  # mean F0 when neutral
    formant_scale: float  # formants over those of an average man: the inverse of the vocal tract's length
    rate: float  # syllables per second
    level_db: float  # voiced speech over full scale
    tilt_db_per_octave: float  # of voice and microphone
    breath_db: float  # breath noise over that of a clear voice
    expression: float  # how far this speaker goes from neutral


# F0 of men and women: Traunmueller & Eriksson (1995). Odd speakers are men, even ones women.
SPEAKERS = tuple(Speaker(*row) for row in (
    ("mini01", "m", 118, 1.00, 4.4, -29, 0.3, 0, 0.95),
    ("mini02", "f", 208, 1.17, 4.6, -31, 0.0, 1, 1.00),
    ("mini03", "m", 102, 0.96, 4.1, -32, -0.3, 2, 1.00),
    ("mini04", "f", 185, 1.12, 5.0, -33, -0.5, 3, 1.05),
    ("mini05", "m", 139, 1.05, 4.8, -34, 0.0, 1, 1.08),
    ("mini06", "f", 228, 1.21, 4.3, -30, 0.4, 0, 0.92),
    ("mini07", "m", 125, 1.02, 5.0, -30, -0.6, 3, 0.98),
    ("mini08", "f", 197, 1.15, 4.2, -32, -0.2, 2, 1.02),
    ("mini09", "m", 110, 0.98, 4.7, -33, 0.4, 0, 1.04),
    ("mini10", "f", 218, 1.14, 4.8, -29, 0.2, 1, 0.97),
    ("mini11", "m", 147, 1.07, 4.3, -31, -0.4, 2, 0.94),
    ("mini12", "f", 176, 1.19, 4.5, -34, 0.1, 3, 1.00),
))

# F1, F2, F3 of 45 men, in Hz: Hillenbrand et al. (1995), Acoustic characteristics of American English vowels.
VOWELS = np.array([
    (342, 2322, 3000), (427, 2034, 2684), (476, 2089, 2691), (580, 1799, 2605), (588, 1952, 2601),
    (768, 1333, 2522), (652, 997, 2538), (497, 910, 2459), (469, 1122, 2434), (378, 997, 2343),
    (623, 1200, 2550), (474, 1379, 1710)])
SCHWA = np.array((500.0, 1500.0, 2500.0))  # a uniform tube of 17.5 cm
UPPER_FORMANTS = (3500.0, 4500.0, 5500.0, 6500.0)
BANDWIDTHS = np.array((60.0, 80.0, 120.0, 180.0, 250.0, 320.0, 400.0))
FRICTION = 0.6  # of the voice's RMS, for a consonant of noise amplitude 1

# Parts of a consonant: (relative duration, voicing, noise, its centre in Hz). Then F1, F2, F3 at its release.
CONSONANTS = (
    (((0.55, 0, 0, 3000), (0.12, 0, 0.9, 1200), (0.15, 0, 0.15, 1500)), (300, 1000, 2300)),  # p
    (((0.50, 0, 0, 4500), (0.12, 0, 1.0, 4500), (0.20, 0, 0.25, 4000)), (300, 1800, 2700)),  # t
    (((0.50, 0, 0, 2200), (0.15, 0, 1.0, 2200), (0.20, 0, 0.25, 2200)), (300, 2000, 2400)),  # k
    (((0.45, 0.15, 0, 1200), (0.10, 0.2, 0.6, 1200)), (250, 1000, 2300)),  # b
    (((0.40, 0.15, 0, 4000), (0.10, 0.2, 0.6, 4000)), (250, 1800, 2700)),  # d
    (((0.85, 0, 0.65, 6000),), (320, 1700, 2600)),  # s
    (((0.85, 0, 0.60, 3200),), (320, 1800, 2500)),  # sh
    (((0.75, 0, 0.22, 5000),), (320, 1200, 2400)),  # f
    (((0.70, 0.35, 0.30, 6000),), (300, 1700, 2600)),  # z
    (((0.70, 0.45, 0, 3000),), (250, 1100, 2300)),  # m
    (((0.70, 0.45, 0, 3000),), (250, 1600, 2600)),  # n
    (((0.60, 0.55, 0, 3000),), (350, 1100, 2700)),  # l
    (((0.60, 0.55, 0, 3000),), (300, 750, 2300)),  # w
    (((0.60, 0.55, 0, 3000),), (280, 2200, 2900)),  # y
)


def utterance(speaker: Speaker, emotion: str, rng: np.random.Generator) -> np.ndarray:
    """One utterance of nonsense in the voice of a speaker.

    Shape:  -> float32 (samples,) at SAMPLE_RATE, 1.5 to 2.5 s.   Unit: full scale; peaks within 0.9, mean 0.
    Raises: ValueError for an emotion that is not in EMOTIONS.
    """
    if emotion not in EMOTIONS:
        known = ", ".join(EMOTIONS)
        raise ValueError(f"emotion {emotion!r} is not among {known}: nothing says how it sounds. Choose one "
                         "of them, or add a column to CUES.")
    cues = draw(EMOTIONS[emotion], speaker.expression, rng)
    points = 2 * int(rng.uniform(1.5 * SAMPLE_RATE / HOP + 1, 2.5 * SAMPLE_RATE / HOP))
    tracks = plan(speaker, cues, points, rng)
    waveform = voice(speaker, cues, tracks, rng)
    waveform += 10 ** (rng.normal(-74, 2) / 20) * rng.standard_normal(len(waveform))  # the room
    waveform -= waveform.mean()
    return (waveform * min(1.0, 0.9 / np.abs(waveform).max())).astype(np.float32)


def draw(target: Cues, expression: float, rng: np.random.Generator) -> Cues:
    """The cues of one utterance: those of its emotion, more or less strongly, with SPREAD and EFFORT."""
    target, neutral, spread, effort, lowest = np.array([
        astuple(cues) for cues in (target, NEUTRAL, SPREAD, EFFORT, LOWEST)])
    drawn = neutral + expression * rng.uniform(0.75, 1.25) * (target - neutral)
    drawn += effort * rng.standard_normal() + spread * rng.standard_normal(len(spread))
    return Cues(*np.maximum(drawn, lowest).tolist())


@dataclass(frozen=True, eq=False)
class Tracks:
    """Control tracks, one row every CONTROL samples."""

    pitch_hertz: np.ndarray  # (points,)
    formants: np.ndarray  # (points, 7) Hz
    voicing: np.ndarray  # (points,) amplitude
    noise: np.ndarray  # (points,) amplitude
    noise_hertz: np.ndarray  # (points,)


def plan(speaker: Speaker, cues: Cues, points: int, rng: np.random.Generator) -> Tracks:
    """Syllables, pauses and accents, as smooth control tracks."""
    seconds = points * CONTROL / SAMPLE_RATE
    times = (np.arange(points) + 0.5) * seconds / points
    margins = rng.uniform(0.05, 0.12, 2)
    pauses = rng.uniform(0.12, 0.30, min(rng.poisson(cues.pauses), 2))
    speech = seconds - margins.sum() - pauses.sum()
    num_syllables = max(2, round(speech * speaker.rate * cues.rate))

    rows, syllables = segments(num_syllables, cues, rng)
    rows[:, 0] *= speech / rows[:, 0].sum()
    for pause in pauses:  # before a syllable, never before the first
        first = rng.choice(np.flatnonzero(np.diff(syllables))) + 1
        rows = np.insert(rows, first, (pause, 0, 0, 3000, *rows[first, 4:]), axis=0)
        syllables = np.insert(syllables, first, syllables[first])
    ends = margins[0] + np.cumsum(rows[:, 0])
    vowels = rows[:, 1] == 1  # one in each syllable
    middles = ends[vowels] - rows[vowels, 0] / 2
    steps = rows[np.minimum(np.searchsorted(ends, times), len(rows) - 1)]
    steps[(times < margins[0]) | (times > ends[-1]), 1:3] = 0  # silence keeps the formants of its neighbour

    stress = rng.uniform(0.5, 1.0, num_syllables) * (rng.random(num_syllables) < 0.45)
    stress[rng.integers(num_syllables)] = 1.0
    width = 0.4 * cues.accent_width * speech / num_syllables
    accents = np.exp(-0.5 * ((times[:, None] - middles) / width) ** 2) @ stress
    loudness = 10 ** (cues.accent_db * np.minimum(accents, 1) / 20)
    loudness *= np.interp(times, [ends[-1] - 0.5, ends[-1]], [1.0, 0.7])  # breath runs out
    voicing = smooth(steps[:, 1] * loudness, 2 * cues.attack_seconds)

    tremor = np.sin(2 * np.pi * (rng.uniform(5, 8) * times + rng.random()))
    semitones = (cues.accent_semitones * accents + cues.contour_semitones * times / seconds
                 + cues.tremor_semitones * tremor + 2 * smooth(rng.standard_normal(points), 0.3))
    semitones += cues.pitch_semitones - semitones[voicing > 0.2].mean()

    formants = smooth(steps[:, 4:], 0.06 / cues.articulation) * cues.smile
    formants = np.column_stack([formants, np.tile(UPPER_FORMANTS, (points, 1))]) * speaker.formant_scale
    pitch = speaker.pitch_hertz * 2 ** (semitones / 12)
    return Tracks(pitch, formants, voicing, smooth(steps[:, 2], 0.012), steps[:, 3])


def segments(num_syllables: int, cues: Cues, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Consonant-vowel(-nasal) syllables.

    Shape:  -> (segments, 7): relative duration, voicing, noise, its centre in Hz, F1, F2, F3;
            (segments,): which syllable.
    """
    rows: list[tuple[float, ...]] = []
    syllables: list[int] = []
    for syllable in range(num_syllables):
        if rng.random() < 0.9:
            parts, locus = CONSONANTS[rng.integers(len(CONSONANTS))]
            rows += [(*part, *locus) for part in parts]
        vowel = SCHWA + cues.articulation * (VOWELS[rng.integers(len(VOWELS))] - SCHWA)
        final = 1.4 if syllable == num_syllables - 1 else 1.0  # lengthening before a pause
        rows.append((final * rng.uniform(0.9, 1.5), 1, 0, 3000, *vowel))
        if rng.random() < 0.2:
            rows.append((0.5, 0.4, 0, 3000, 250, 1500, 2500))
        syllables += [syllable] * (len(rows) - len(syllables))
    return np.array(rows, float), np.array(syllables)


def voice(speaker: Speaker, cues: Cues, tracks: Tracks, rng: np.random.Generator) -> np.ndarray:
    """Source and filter: control tracks (points,) -> waveform (points * CONTROL,), without 0 Hz."""
    samples = len(tracks.voicing) * CONTROL
    voicing, noise = at_samples(tracks.voicing, samples), at_samples(tracks.noise, samples)
    flow = glottal_flow(at_samples(tracks.pitch_hertz, 2 * samples), cues, rng)

    frequencies = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE).astype(np.float32)
    damping = np.ones(len(BANDWIDTHS))
    damping[0] += 3 * max(0.0, cues.open_quotient - 0.55)  # an open glottis damps F1
    tract = resonances(tracks.formants[::2], BANDWIDTHS * speaker.formant_scale * damping)
    slope = (cues.tilt_db_per_octave + speaker.tilt_db_per_octave) / 6.02
    radiation = (1j * frequencies * (1 + (frequencies / 500) ** 2) ** (slope / 2)).astype(np.complex64)

    harmonics = overlap_add(spectra(flow * at_samples(tracks.voicing, 2 * samples), 2) * tract * radiation)
    breath = overlap_add(spectra(rng.standard_normal(samples) * voicing, 1) * tract * (frequencies > 300))
    centres, frame_centres = np.unique(tracks.noise_hertz[::2], return_inverse=True)
    hiss = resonances(centres[:, None], np.array([1600.0])) * frequencies
    friction = overlap_add(spectra(rng.standard_normal(samples) * noise, 1) * hiss[frame_centres])

    breath_db = speaker.breath_db - cues.harmonics_db
    waveform = harmonics / rms(harmonics) + breath * (10 ** (breath_db / 20) / rms(breath))
    if noise.any():  # an utterance may have sonorants only
        waveform += friction * (FRICTION * rms(noise) / rms(voicing) / rms(friction))
    return waveform * (10 ** ((speaker.level_db + cues.level_db) / 20) / rms(waveform[voicing > 0.2]))


def glottal_flow(pitch_hertz: np.ndarray, cues: Cues, rng: np.random.Generator) -> np.ndarray:
    """Air flow through the glottis: rises, falls faster, and shuts abruptly, which excites the formants.

    Shape:  pitch_hertz (samples,) -> (samples,) at SOURCE_RATE.
    Source: Rosenberg (1971), Effect of glottal pulse shape on the quality of natural vowels, JASA 49 (B).
    """
    period = np.floor(np.cumsum(pitch_hertz) / SOURCE_RATE).astype(int)
    jitter, shimmer = 1 + cues.jitter * rng.standard_normal((2, 2 * period[-1] + 2)) * ((1.0,), (4.0,))
    phase = np.cumsum(pitch_hertz * np.clip(jitter[period], 0.8, 1.2)) / SOURCE_RATE
    period = np.floor(phase).astype(int)
    part = (phase - period) / cues.open_quotient  # of the open phase
    opening = np.minimum(part / 0.67, 1)
    closing = np.clip((part - 0.67) / 0.33, 0, 1)
    return (opening**2 * (3 - 2 * opening) - closing**2) * np.clip(shimmer[period], 0.5, 1.5)


def resonances(formants: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Frequency response of resonators in cascade, 1 at 0 Hz.

    Shape:  formants (frames, formants), bandwidths (formants,), both in Hz -> complex (frames, FFT / 2 + 1).
    Source: Klatt (1980), Software for a cascade/parallel formant synthesizer, JASA 67.
    """
    radius = np.exp(-np.pi * bandwidths / SAMPLE_RATE)
    poles = radius * np.exp(2j * np.pi * formants / SAMPLE_RATE)
    denominator = np.zeros((len(formants), 2 * formants.shape[1] + 1))
    denominator[:, 0] = 1
    for pole in poles.T[:, :, None]:
        previous = denominator.copy()
        denominator[:, 1:] -= 2 * pole.real * previous[:, :-1]
        denominator[:, 2:] += abs(pole) ** 2 * previous[:, :-2]
    return (denominator.sum(axis=1, keepdims=True) / np.fft.rfft(denominator, FFT)).astype(np.complex64)


def spectra(signal: np.ndarray, oversampling: int) -> np.ndarray:
    """Frames of a signal, every HOP samples of SAMPLE_RATE, with its octaves above SAMPLE_RATE / 2 left out.

    Shape:  signal (frames * HOP * oversampling,) -> complex (frames, FFT / 2 + 1).
    """
    hop = HOP * oversampling
    window = np.hanning(2 * hop + 1)[:-1].astype(np.float32)  # two neighbours add up to 1
    signal = np.pad(signal.astype(np.float32), (hop, 0))
    frames = np.lib.stride_tricks.sliding_window_view(signal, 2 * hop)[::hop]
    return np.fft.rfft(frames * window, FFT * oversampling)[:, : FFT // 2 + 1] / oversampling


def overlap_add(spectrum: np.ndarray) -> np.ndarray:
    """The waveform of filtered frames: (frames, FFT / 2 + 1) -> (frames * HOP,). Undoes `spectra`."""
    frames = np.fft.irfft(spectrum).reshape(len(spectrum), -1, HOP)
    blocks = np.zeros((len(frames) + frames.shape[1], HOP), frames.dtype)
    for delay in range(frames.shape[1]):
        blocks[delay : delay + len(frames)] += frames[:, delay]
    return blocks[1 : len(frames) + 1].ravel()


def smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """Moving average of a control track (points, ...) under a Hann window; the ends are repeated."""
    half = max(1, round(seconds * SAMPLE_RATE / CONTROL / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(track, [(half, half)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, len(window), axis=0) @ (window / window.sum())


def at_samples(track: np.ndarray, samples: int) -> np.ndarray:
    """A control track (points,) drawn out to (samples,), linearly between the middles of its steps."""
    return np.interp((np.arange(samples) + 0.5) / samples * len(track) - 0.5, np.arange(len(track)), track)


def rms(values: np.ndarray) -> float:
    """Root mean square, of real or complex values."""
    return float(np.linalg.norm(values) / np.sqrt(values.size))


def corpus(directory: Path, num_speakers: int, utterances_per_class: int, seed: int) -> int:
    """Write the corpus and return how many seconds it lasts."""
    import soundfile

    samples = 0
    for i, speaker in enumerate(SPEAKERS[:num_speakers]):
        (directory / speaker.id).mkdir(parents=True, exist_ok=True)
        for j, emotion in enumerate(sorted(EMOTIONS)):
            for number in range(1, utterances_per_class + 1):
                waveform = utterance(speaker, emotion, np.random.default_rng((seed, i, j, number)))
                path = directory / speaker.id / f"{speaker.id}-{emotion}-{number:02d}.wav"
                soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
                samples += len(waveform)
    return round(samples / SAMPLE_RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Synthesise a small corpus of emotional nonsense speech.")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path)
    parser.add_argument("--speakers", type=int, default=8, help=f"1 to {len(SPEAKERS)} (default: 8)")
    parser.add_argument("--utterances-per-class", type=int, default=12, help="1 to 99 (default: 12)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, value, most in (("--speakers", options.speakers, len(SPEAKERS)),
                              ("--utterances-per-class", options.utterances_per_class, 99)):
        if not 1 <= value <= most:
            parser.error(f"{name} {value} is not in 1 to {most}, for which there are voices and file names. "
                         f"Choose {name} in that range.")
    start = time.perf_counter()
    seconds = corpus(options.out_dir, options.speakers, options.utterances_per_class, options.seed)
    utterances = options.speakers * len(EMOTIONS) * options.utterances_per_class
    print(f"wrote {utterances} utterances, {seconds} s of speech, to {options.out_dir} "
          f"in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
