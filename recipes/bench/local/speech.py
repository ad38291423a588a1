#!/usr/bin/env python3
"""Which speech detector? Real speech with pauses, noise and music added at known levels; each detector's misses.

    local/speech.py RECORDINGS...     files and folders of clean speech

WebRTC's is left out where it is not installed: pip install webrtcvad-wheels.

Where speech is, is told by the power of the clean recordings: within 35 dB of each one's loudest moment, pauses of a
quarter second bridged. Prints a Markdown table: percent of speech missed / of pauses taken for speech, and seconds of
audio a second of one thread.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from emotion import audio
from emotion.detector import SpeechDetector
from emotion.speech import CHUNK_SECONDS

RATE, FRAME = 16_000, 160   # the truth is told every 10 ms
BRIDGE_FRAMES = 25
NOISES = ("white", "pink", "babble", "music")
SNRS_DB = (20, 10, 5)


def spoken(waveform: np.ndarray) -> np.ndarray:
    """Where a clean recording holds speech. Shape: (samples,) -> (frames,)."""
    power = np.convolve(waveform**2, np.full(400, 1 / 400), "same")[::FRAME]
    return bridged(power > power.max() * 10**-3.5, BRIDGE_FRAMES)


def bridged(on: np.ndarray, frames: int) -> np.ndarray:
    places = np.flatnonzero(on)
    for first, second in zip(places[:-1], places[1:]):
        if 1 < second - first <= frames:
            on[first:second] = True
    return on


def talk(paths: list[Path], rng: np.random.Generator, count: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Recordings, equally loud, with pauses of 1 to 2 s between. Shape: (samples,), (frames,)."""
    parts, on = [], []
    for i in rng.choice(len(paths), min(count, len(paths)), replace=False):
        waveform = loud(audio.read(paths[i], RATE))
        waveform = waveform[: len(waveform) // FRAME * FRAME]
        pause = int(rng.uniform(100, 200))
        parts += [waveform, np.zeros(pause * FRAME, np.float32)]
        on += [spoken(waveform)[: len(waveform) // FRAME], np.zeros(pause, bool)]
    return np.concatenate(parts), np.concatenate(on)


def loud(waveform: np.ndarray) -> np.ndarray:
    return (0.05 * waveform / np.sqrt(np.mean(waveform**2))).astype(np.float32)


def noise(kind: str, samples: int, paths: list[Path], rng: np.random.Generator) -> np.ndarray:
    if kind == "white":
        return rng.normal(size=samples)
    if kind == "pink":
        spectrum = np.fft.rfft(rng.normal(size=samples))
        return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    if kind == "babble":
        voices = [np.roll(np.resize(talk(paths, rng)[0], samples), rng.integers(samples)) for _ in range(8)]
        return np.sum(voices, axis=0)
    return music(samples, rng)


def music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A chord each half second, each of three notes with eight harmonics, that fades."""
    waveform = np.zeros(samples)
    for start in range(0, samples, RATE // 2):
        times = np.arange(min(RATE // 2, samples - start)) / RATE
        root = rng.choice([220, 247, 262, 294, 330, 349, 392, 440]) * rng.choice([0.5, 1, 2])
        for hz in root * np.array([1, 1.25, 1.5]):
            for harmonic in range(1, 9):
                waveform[start : start + len(times)] += np.sin(2 * np.pi * hz * harmonic * times) / harmonic
        waveform[start : start + len(times)] *= np.exp(-3 * times)
    return waveform


def silero(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    detector = SpeechDetector().eval()

    @torch.inference_mode()
    def detect(waveform: np.ndarray) -> np.ndarray:
        return detector(torch.from_numpy(waveform)[None], RATE)[0].numpy() > threshold

    return detect


def webrtc(mode: int) -> Callable[[np.ndarray], np.ndarray]:
    import webrtcvad

    detector = webrtcvad.Vad(mode)

    def detect(waveform: np.ndarray) -> np.ndarray:
        content = (waveform.clip(-1, 1) * 32767).astype(np.int16)
        frames = content[: len(content) // 320 * 320].reshape(-1, 320)
        return np.array([detector.is_speech(frame.tobytes(), RATE) for frame in frames])

    return detect


def energy_and_voicing(waveform: np.ndarray) -> np.ndarray:
    """Above the quietest tenth of 6 s by 5 dB, within 0.2 s of a periodic frame. Frames of 50 ms."""
    width = 800
    window = np.hanning(width).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, (0, width)), width)[::width] * window
    power = np.abs(np.fft.rfft(frames, 2 * width)) ** 2
    correlation, own = np.fft.irfft(power)[:, :270], np.correlate(window, window, "full")[width - 1 :]
    periodicity = correlation[:, 32:268] / (own / own[0])[32:268] / np.maximum(correlation[:, :1], 1e-20)
    middle = periodicity[:, 1:-1]
    peaks = np.where((middle > periodicity[:, :-2]) & (middle >= periodicity[:, 2:]), middle, 0).max(1)
    level = 10 * np.log10(power[:, 20:400].sum(1) + 1e-9)
    floor = np.percentile(np.lib.stride_tricks.sliding_window_view(np.pad(level, 60, "edge"), 121), 10, axis=1)
    heard = level > level.max() - 45
    voiced = (peaks > 0.55) & (level > floor + 3) & heard
    return (level > floor + 5) & heard & (np.convolve(voiced, np.ones(7), "same") > 0)


DETECTORS = {   # name: (how it is made, seconds of a frame)
    "Silero, threshold 0.5": (lambda: silero(0.5), CHUNK_SECONDS),
    "Silero, threshold 0.3": (lambda: silero(0.3), CHUNK_SECONDS),
    "energy and voicing": (lambda: energy_and_voicing, 0.05),
    "WebRTC, mode 2": (lambda: webrtc(2), 0.02),
    "WebRTC, mode 3": (lambda: webrtc(3), 0.02),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = [path for one in options.recordings for path in (audio.find(one) if one.is_dir() else [one])]
    rng = np.random.default_rng(0)
    scenes = {}
    for kind in ("clean", *NOISES):
        for snr_db in SNRS_DB if kind != "clean" else (60,):
            waveform, on = talk(paths, rng)
            added = noise("white" if kind == "clean" else kind, len(waveform), paths, rng)
            speech_power = np.mean(waveform[np.repeat(on, FRAME)] ** 2)
            added *= np.sqrt(speech_power / np.mean(added**2) / 10 ** (snr_db / 10))
            scenes[kind if kind == "clean" else f"{kind} {snr_db} dB"] = ((waveform + added).astype(np.float32), on)
    only = (0.4 * music(60 * RATE, rng) / 10).astype(np.float32)
    print("|", " | ".join(["detector", *scenes, "music alone", "s/s"]), "|")
    print("|---" * (len(scenes) + 3) + "|")
    for name, (make, seconds) in DETECTORS.items():
        try:
            detect = make()
        except ModuleNotFoundError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        started, cells = time.process_time(), []
        for waveform, on in scenes.values():
            found = detect(waveform)
            frames = (np.arange(len(on)) * 0.01 / seconds).astype(int).clip(0, len(found) - 1)
            found = bridged(found[frames], 30)
            cells.append(f"{100 * np.mean(~found[on]):.0f} / {100 * np.mean(found[~on]):.0f}")
        total = sum(len(waveform) for waveform, _ in scenes.values()) / RATE
        rate = total / (time.process_time() - started)
        print("|", " | ".join([name, *cells, f"{100 * np.mean(detect(only)):.0f}", f"{rate:.0f}"]), "|")


if __name__ == "__main__":
    main()
