"""A corpus of tones whose arousal is known by construction."""

import numpy as np
import soundfile

from emotion.datadir import Utterance

RATE = 16_000


def tone(rng, arousal, emotion="sadness", harmonic=0.2, seconds=None):
    """Pitch and level rise with arousal, three octaves and 12 dB. Emotion is another matter: anger is noisy."""
    times = np.arange(int(RATE * (seconds or rng.uniform(0.25, 0.35)))) / RATE
    phase = 2 * np.pi * 200 * 8**arousal * rng.uniform(0.97, 1.03) * times
    noise = {"anger": 0.5, "sadness": 0.01}[emotion] * rng.standard_normal(len(times))
    return 0.03 * 10 ** (12 * arousal / 20) * (np.sin(phase) + harmonic * np.sin(2 * phase) + noise)


def utterances(folder, speakers, takes):
    """Of speakers with voices of their own, half of them in each of two emotions, of any arousal."""
    rng, found = np.random.default_rng(takes), []
    folder.mkdir()
    for speaker in speakers:
        level, harmonic = rng.uniform(0.7, 1.3), rng.uniform(0.05, 0.3)
        for take in range(takes):
            arousal, emotion = float(rng.uniform()), ("anger", "sadness")[take % 2]
            path = folder / f"{speaker}-{emotion}{take}.wav"
            soundfile.write(path, level * tone(rng, arousal, emotion, harmonic), RATE)
            found.append(Utterance(path.stem, speaker, str(path), emotion, arousal=arousal))
    return found
