"""The same recording in another format, at another level, with other silence around it; and what only sounds alike."""

import importlib.util
import io
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from emotion import audio
from emotion.fingerprint import SAMPLE_RATE, copies, fingerprint

RATE = 16_000


@pytest.fixture(scope="module")
def voices() -> list[np.ndarray]:
    """Twelve utterances of the mini corpus: four speakers, three emotions."""
    path = Path(__file__).parents[1] / "recipes/mini/local/synthesise.py"
    spec = importlib.util.spec_from_file_location("synthesise_voices", path)
    mini = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mini)
    return [
        mini.utterance(speaker, emotion, np.random.default_rng(k)).astype(np.float32)
        for k, (speaker, emotion) in enumerate(itertools.product(mini.SPEAKERS[:4], ("anger", "neutral", "sadness")))
    ]


def through(waveform, container, encoding, rate=RATE):
    """What is heard of a waveform after a codec, at the rate of fingerprints."""
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(waveform, RATE, rate), rate, format=container, subtype=encoding)
    return audio.read(io.BytesIO(file.getvalue()), SAMPLE_RATE)


def room(seconds, seed=1):
    return np.random.default_rng(seed).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)


def trimmed(waveform):
    loud = np.flatnonzero(np.abs(waveform) > 0.05 * np.abs(waveform).max())
    return waveform[loud[0] : loud[-1]]


WAV = ("WAV", "PCM_16")
COPIES = {
    "another container": lambda x: through(x, "FLAC", "PCM_16"),
    "Vorbis": lambda x: through(x, "OGG", "VORBIS"),
    "Opus": lambda x: through(x, "OGG", "OPUS", 48_000),
    "MP3": lambda x: through(x, "MP3", "MPEG_LAYER_III"),
    "CD rate": lambda x: through(x, *WAV, 44_100),
    "telephone": lambda x: through(x, "WAV", "ULAW", 8_000),
    "20 dB softer": lambda x: through(0.1 * x, *WAV),
    "upside down": lambda x: through(-x, *WAV),
    "silence around": lambda x: through(np.concatenate([room(0.3137), x, room(0.71)]), *WAV),
    "silence cut off": lambda x: through(trimmed(x), *WAV),
    "all at once": lambda x: through(np.concatenate([room(0.1234), 0.3 * trimmed(x)]), "MP3", "MPEG_LAYER_III", 44_100),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found_among_others(change, voices):
    prints = [fingerprint(soxr.resample(voice, RATE, SAMPLE_RATE)) for voice in voices]
    prints += [fingerprint(COPIES[change](voice)) for voice in voices]
    halves = np.repeat([0, 1], len(voices))
    assert copies(prints, halves) == [(k, k + len(voices)) for k in range(len(voices))]


def test_different_recordings_are_none_of_each_other(voices):
    prints = [fingerprint(soxr.resample(voice, RATE, SAMPLE_RATE)) for voice in voices]
    assert copies(prints, range(len(prints))) == []


def test_copies_within_one_group_are_no_matter(voices):
    one = fingerprint(soxr.resample(voices[0], RATE, SAMPLE_RATE))
    assert copies([one, one, one], [0, 0, 1]) == [(0, 2), (1, 2)]


def test_an_excerpt_is_found_in_what_it_was_cut_from(voices):
    whole = np.concatenate([voices[0], room(0.2), voices[1], room(0.2), voices[2]])
    prints = [fingerprint(soxr.resample(one, RATE, SAMPLE_RATE)) for one in (whole, voices[1])]
    assert copies(prints, [0, 1]) == [(0, 1)]


def test_what_is_too_short_or_silent_is_like_nothing(voices):
    shorts = [np.zeros(8000, np.float32), voices[0][3000:3400], np.zeros(1, np.float32)]
    prints = [fingerprint(one) for one in (*shorts, *shorts)]
    assert copies(prints, [0] * 3 + [1] * 3) == []
    assert copies([], []) == []


def test_a_long_recording_has_the_print_of_its_parts(voices):
    long = np.tile(soxr.resample(voices[0], RATE, SAMPLE_RATE), 12)   # beyond one block of frames
    one, both = fingerprint(long), fingerprint(np.concatenate([long, long]))
    same = one.words[200:-200] == both.words[200 : len(one.words) - 200]
    assert same.all()


def test_of_an_actors_takes_only_the_byte_identical_pair_is_the_same(corpora):
    paths = sorted((corpora / "ravdess").glob("*/Actor_07/*"))
    prints = [fingerprint(audio.read(path, SAMPLE_RATE)) for path in paths]
    assert [[paths[k].stem for k in pair] for pair in copies(prints, range(len(prints)))] == [
        ["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]
    ]


def test_whole_sentences_spoken_by_other_actors_are_not_the_same(corpora):
    paths = sorted((corpora / "emodb").glob("wav/*a01*.wav"))   # one sentence
    prints = [fingerprint(audio.read(path, SAMPLE_RATE)) for path in paths]
    assert len(prints) > 20 and copies(prints, range(len(prints))) == []
