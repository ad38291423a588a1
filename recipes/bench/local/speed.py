#!/usr/bin/env python3
"""How fast a folder is scored, beside what people run today and the floor of reading and transforming it.

    local/speed.py [--rounds 9] [--files 200] RECORDINGS

The recordings are written as WAV of 16 and of 48 kHz. Each way of scoring is a process of its own that has loaded its
model and scored some files before it is timed; all take turns. One thread each, where not said otherwise. Peers that
are not installed are left out: pip install opensmile transformers tensorflow-cpu. Networks of peers have random
weights, which take as long as trained ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from turns import READY, worker

RATES = (16_000, 48_000)
WARM = 40   # files
Score = Callable[[list[Path]], None]


def decode(threads: int) -> Score:
    def score(paths: list[Path]) -> None:
        for path in paths:
            soundfile.read(path, dtype="float32")

    return score


def log_mel(threads: int) -> Score:
    """Torchaudio's, file by file, 64 bands."""
    import torch
    import torchaudio

    torch.set_num_threads(threads)
    mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=512, win_length=400, hop_length=160, n_mels=64)
    to_16 = torchaudio.transforms.Resample(48_000, 16_000)

    @torch.inference_mode()
    def score(paths: list[Path]) -> None:
        for path in paths:
            waveform, rate = soundfile.read(path, dtype="float32")
            waveform = torch.from_numpy(waveform)
            (mel(waveform if rate == 16_000 else to_16(waveform)) + 1e-10).log()

    return score


def emotion(threads: int, precision: str = "float32", exported: bool = False) -> Score:
    """As `emotion score` does: the table is written, segments and flags are found."""
    from emotion import Analyzer, checkpoint, scores

    if exported:
        from emotion.export import export

        with tempfile.TemporaryDirectory() as folder:
            export(checkpoint.read("bundled"), f"{folder}/model.onnx")
            analyzer = Analyzer(f"{folder}/model.onnx", threads=threads)
    else:
        analyzer = Analyzer(device="cpu", threads=threads, precision=precision)

    def score(paths: list[Path]) -> None:
        with tempfile.TemporaryDirectory() as folder, scores.growing(f"{folder}/s.csv", analyzer, paths) as table:
            for chunk in scores.chunks(paths):
                for answer in analyzer.analyze(chunk):
                    table.add(answer)
                table.settle(table.done + len(chunk))

    return score


def keras(threads: int) -> Score:
    """Conv2D 32 and 64, LSTM 128 on a log-mel that was computed before: the network alone."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from tensorflow.keras import Sequential, layers

    network = Sequential([
        layers.Input((300, 64, 1)), layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
        layers.Reshape((75, 16 * 64)), layers.LSTM(128), layers.Dense(8, activation="softmax"),
    ])

    def score(paths: list[Path]) -> None:
        frames = sum(soundfile.info(path).duration for path in paths) * 100
        mel = np.zeros((round(frames / 300), 300, 64, 1), np.float32)   # as many seconds in pieces of three
        network.predict(mel, batch_size=32, verbose=0)

    return score


def librosa_mlp(threads: int) -> Score:
    """Means of 128 mel, 40 MFCC and chroma, and a multilayer perceptron: the tutorial of many."""
    import librosa
    from sklearn.neural_network import MLPClassifier

    def features(path: Path) -> np.ndarray:
        waveform, rate = librosa.load(path, sr=16_000)
        stft = np.abs(librosa.stft(waveform))
        return np.concatenate([
            librosa.feature.mfcc(y=waveform, sr=rate, n_mfcc=40).mean(1),
            librosa.feature.chroma_stft(S=stft, sr=rate).mean(1),
            librosa.feature.melspectrogram(y=waveform, sr=rate).mean(1),
        ])

    rng = np.random.default_rng(0)
    network = MLPClassifier((300,), max_iter=2).fit(rng.normal(size=(80, 180)), np.arange(80) % 8)

    def score(paths: list[Path]) -> None:
        network.predict(np.stack([features(path) for path in paths]))

    return score


def opensmile_svm(threads: int) -> Score:
    """eGeMAPS functionals and a support vector machine."""
    import opensmile
    from sklearn.svm import SVC

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals, num_workers=1)
    rng = np.random.default_rng(0)
    machine = SVC().fit(rng.normal(size=(1000, 88)), np.arange(1000) % 8)

    def score(paths: list[Path]) -> None:
        machine.predict(np.concatenate([smile.process_file(path).to_numpy() for path in paths]))

    return score


def wav2vec2(threads: int) -> Score:
    """The classifier of transformers in its published configuration, base."""
    import torch
    from torchaudio.functional import resample
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    torch.set_num_threads(threads)
    network = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=8)).eval()

    @torch.inference_mode()
    def score(paths: list[Path]) -> None:
        for path in paths:
            waveform, rate = soundfile.read(path, dtype="float32")
            network(resample(torch.from_numpy(waveform), rate, 16_000)[None])

    return score


# of each way: how it scores, threads, and which share of the files it is given, one in so many
WAYS: dict[str, tuple[Callable[[int], Score], int, int]] = {
    "decode": (decode, 1, 1),
    "decode, resample, torchaudio log-mel, file by file": (log_mel, 1, 1),
    "emotion": (emotion, 1, 1),
    "emotion, two threads": (emotion, 2, 1),
    "emotion, bfloat16": (partial(emotion, precision="bfloat16"), 1, 1),
    "emotion, bfloat16, two threads": (partial(emotion, precision="bfloat16"), 2, 1),
    "emotion, exported, in onnxruntime": (partial(emotion, exported=True), 1, 1),
    "Keras CNN-LSTM on a mel computed before": (keras, 1, 1),
    "librosa mel, MFCC, chroma + MLP": (librosa_mlp, 1, 4),
    "openSMILE eGeMAPS + SVM": (opensmile_svm, 1, 10),
    "transformers wav2vec2-base": (wav2vec2, 1, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("recordings", type=Path)
    options = parser.parse_args()
    if options.way:
        return work(options.way, options.recordings)
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, str(rate)) for rate in RATES]
        write(options.recordings, folders, options.files)
        rates = measure(folders, options.rounds)
    print(table(rates))


def write(recordings: Path, folders: list[Path], count: int) -> None:
    """Evenly chosen recordings as WAV of 16 bits, in a folder for each rate."""
    from emotion import audio

    paths = audio.find(recordings)
    for rate, folder in zip(RATES, folders):
        folder.mkdir()
        for path in paths[:: max(1, len(paths) // count)][:count]:
            soundfile.write(folder / f"{path.stem}.wav", audio.read(path, rate), rate, subtype="PCM_16")


def work(way: str, folder: Path) -> None:
    """Load, then time a pass over a folder for each that is named on standard input."""
    make, threads, share = WAYS[way]
    score = make(threads)
    chosen = {str(rate): sorted(folder.with_name(str(rate)).iterdir())[::share] for rate in RATES}
    for paths in chosen.values():
        score(paths[:WARM])
    print(READY, flush=True)
    for line in sys.stdin:
        paths = chosen[line.strip()]
        begun = time.perf_counter()
        score(paths)
        elapsed = time.perf_counter() - begun
        print(sum(soundfile.info(path).duration for path in paths) / elapsed, flush=True)


def measure(folders: list[Path], rounds: int) -> dict[str, np.ndarray]:
    """Rates of each way (rounds, sample rates). All are loaded once and take turns, for a machine that others share is
    fast and slow by turns too."""
    with ExitStack() as loaded:
        begun = {way: loaded.enter_context(worker(__file__, way, folders[0])) for way in WAYS}
        asks = {way: ask for way, ask in begun.items() if ask is not None}
        seen: dict[str, list[list[float]]] = {way: [] for way in asks}
        for _ in range(rounds):
            turns = [[ask(rate)[0] for ask in asks.values()] for rate in RATES]
            for row, way in zip(zip(*turns), asks):
                seen[way].append(list(row))
    return {way: np.array(rows) for way, rows in seen.items()}


def table(rates: dict[str, np.ndarray]) -> str:
    """Medians: of rates, and of how much faster emotion was in the same round."""
    if "emotion" not in rates:
        sys.exit("speed.py: emotion was left out, for the reason above, and all is compared with it. Mend that first.")
    lines = ["| | 16 kHz, s/s | emotion is so many times as fast | 48 kHz, s/s | emotion is so many times as fast |",
             "|---|---|---|---|---|"]
    for way, rows in rates.items():
        cells = zip(np.median(rows, axis=0), np.median(rates["emotion"] / rows, axis=0))
        lines.append(f"| {way} | " + " | ".join(f"{rate:.0f} | {ratio:.2f}" for rate, ratio in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
