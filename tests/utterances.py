"""Utterances to make data directories of."""

from emotion.datadir import Utterance


def corpus(folder, speakers=("s1", "s2", "s10"), emotions=("anger", "neutral"), takes=2):
    """Utterances of distinct audio files of equal size."""
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for speaker in speakers:
        for emotion in emotions:
            for take in range(takes):
                wav = folder / f"{speaker}-{emotion}-{take}.wav"
                wav.write_text(f"{wav.stem:>40}")
                seconds = 1.5 + take / 3
                utterances.append(Utterance(wav.stem, speaker, str(wav), emotion, duration_seconds=seconds))
    return utterances


def spans(wav, speaker, edges, emotion="calm"):
    """Utterances cut out of one recording at these edges."""
    return [
        Utterance(f"{speaker}-{n}", speaker, str(wav), emotion, start, stop)
        for n, (start, stop) in enumerate(zip(edges, edges[1:]))
    ]
