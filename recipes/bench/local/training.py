#!/usr/bin/env python3
"""How long one epoch of training takes on the CPU, beside what people write by hand.

    local/training.py [--rounds 2] [--utterances 1000] RECORDINGS

The recordings are written as WAV of 16 kHz, cut or padded to three seconds. All ways read 64 mel bands every 10 ms in
batches of 32 and learn eight classes, which follow from the order of the files: for speed they do not matter. The
network is three blocks of convolution, batch norm, ReLU and max pooling (32, 64 and 128 channels), two bidirectional
LSTMs of 128 and a dense layer. Each way is a process of its own with one thread, which has trained on a few batches
before it is timed; all take turns. Keras is left out where it is not installed: pip install tensorflow-cpu.

The rows of emotion are `emotion train` itself: the seconds are those that it writes into epochs.csv. They include
augmentation, the average of weights and a validation on eight utterances, which the other ways do not have.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from turns import READY, worker

RATE, SECONDS, BANDS, WINDOW, HOP = 16_000, 3, 64, 400, 160   # the last two in samples
CHANNELS, WIDTH, CLASSES, BATCH = (32, 64, 128), 128, 8, 32
BASELINE = "librosa in the DataLoader"
Epoch = Callable[[str], tuple[float, float]]   # trains on "warm" or "train"; answers seconds and the mean loss


def log_mel(path: str | Path) -> np.ndarray:
    """Librosa's, roughly from -1 to 1. Shape: (frames, bands)."""
    import librosa

    waveform, rate = librosa.load(path, sr=RATE)
    mel = librosa.feature.melspectrogram(y=waveform, sr=rate, n_fft=WINDOW, hop_length=HOP, n_mels=BANDS)
    return (librosa.power_to_db(mel, ref=np.max) / 40 + 1).astype(np.float32).T


def listed(folder: Path, part: str) -> list[tuple[str, int]]:
    """Path and class of each utterance of a part."""
    from emotion import datadir, labels

    utterances = datadir.read(folder / part)
    return list(zip((u.wav for u in utterances), labels.scheme("ravdess8").indices(u.emotion for u in utterances)))


def network():
    """The network in PyTorch: mel (batch, 1, frames, bands) -> logits (batch, classes)."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(*(layer for inputs, outputs in pairwise((1, *CHANNELS)) for layer in (
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                nn.MaxPool2d(2),
            )))
            self.lstm = nn.LSTM(CHANNELS[-1] * (BANDS // 8), WIDTH, 2, batch_first=True, bidirectional=True)
            self.dense = nn.Linear(2 * WIDTH, CLASSES)

        def forward(self, mel):
            steps = self.blocks(mel).transpose(1, 2).flatten(2)
            ends = self.lstm(steps)[1][0]   # (layers and directions, batch, width)
            return self.dense(torch.cat([ends[-2], ends[-1]], dim=1))

    return Network()


def count(module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def plain_loop(datasets: dict) -> tuple[int, Epoch]:
    """What tutorials write: float32, Adam, no worker processes."""
    import torch
    from torch.utils.data import DataLoader

    torch.manual_seed(0)
    model, loss_of = network(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 0.001)

    def epoch(part: str) -> tuple[float, float]:
        begun, total = time.perf_counter(), 0.0
        for mel, targets in DataLoader(datasets[part], batch_size=BATCH, shuffle=True):
            optimizer.zero_grad()
            loss = loss_of(model(mel), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        return time.perf_counter() - begun, total / len(datasets[part])

    return count(model), epoch


def librosa_loader(folder: Path) -> tuple[int, Epoch]:
    """Each recording is read and transformed when its turn comes."""
    import torch
    from torch.utils.data import Dataset

    class Files(Dataset):
        def __init__(self, part: str):
            self.rows = listed(folder, part)

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, i: int):
            path, target = self.rows[i]
            return torch.from_numpy(log_mel(path).copy())[None], target

    return plain_loop({part: Files(part) for part in ("warm", "train")})


def cached(folder: Path) -> tuple[int, Epoch]:
    """Features were computed before, all of them in memory."""
    import torch
    from torch.utils.data import TensorDataset

    mel = torch.from_numpy(np.load(folder / "mel.npy"))[:, None]
    datasets = {}
    for part in ("warm", "train"):
        targets = torch.tensor([target for _, target in listed(folder, part)])
        datasets[part] = TensorDataset(mel[: len(targets)], targets)
    return plain_loop(datasets)


def keras(folder: Path) -> tuple[int, Epoch]:
    """The same network and features by model.fit."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tensorflow.keras import Sequential, layers, utils

    utils.set_random_seed(0)
    mel = np.load(folder / "mel.npy")[..., None]
    frames, bands = (size // 8 for size in mel.shape[1:3])
    model = Sequential([
        layers.Input(mel.shape[1:]),
        *(layer for channels in CHANNELS for layer in (
            layers.Conv2D(channels, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
            layers.MaxPooling2D(2),
        )),
        layers.Reshape((frames, bands * CHANNELS[-1])),
        layers.Bidirectional(layers.LSTM(WIDTH, return_sequences=True)), layers.Bidirectional(layers.LSTM(WIDTH)),
        layers.Dense(CLASSES, activation="softmax"),
    ])
    model.compile("adam", "sparse_categorical_crossentropy")

    def epoch(part: str) -> tuple[float, float]:
        targets = np.array([target for _, target in listed(folder, part)])
        inputs = mel[: len(targets)]
        begun = time.perf_counter()
        history = model.fit(inputs, targets, batch_size=BATCH, epochs=1, verbose=0)
        return time.perf_counter() - begun, history.history["loss"][0]

    return sum(int(np.prod(weights.shape)) for weights in model.trainable_weights), epoch


def emotion_train(folder: Path, model: dict) -> tuple[int, Epoch]:
    """`emotion train` with one epoch to go; all that is not named here is as it comes."""
    from emotion import checkpoint, labels
    from emotion.features import FrontendConfig
    from emotion.train.config import Config, FitConfig
    from emotion.train.fit import train

    config = Config(
        scheme="ravdess8", model=model, fit=FitConfig(max_epochs=1, batch_size=BATCH),
        frontend=FrontendConfig(num_bands=BANDS, window_seconds=WINDOW / RATE, hop_seconds=HOP / RATE, deltas=False),
    )
    options = {key: value for key, value in model.items() if key != "name"}
    fresh = checkpoint.build(model["name"], options, config.frontend, labels.scheme(config.scheme))

    def epoch(part: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as exp_dir:
            train(config, str(folder / part), str(folder / "valid"), exp_dir, device="cpu")
            with open(Path(exp_dir, "epochs.csv"), newline="") as table:
                row, = csv.DictReader(table)
        return float(row["seconds"]), float(row["train_loss"])

    return count(fresh.model), epoch


def emotion(folder: Path) -> tuple[int, Epoch]:
    """The serial model with as many channels and LSTMs. Its stem shortens time by four before the residual blocks."""
    return emotion_train(folder, {
        "name": "serial", "channels": list(CHANNELS), "kernel": 3, "lstm_layers": 2, "lstm_width": WIDTH,
    })


def emotion_same(folder: Path) -> tuple[int, Epoch]:
    """The network of the other ways as one more model of emotion."""
    import torch

    from emotion.heads import HeadConfig
    from emotion.models import MODELS, Inputs, Network, Output

    class Same(Network):
        Config, uses_prosody = HeadConfig, False

        def __init__(self, inputs: Inputs, num_classes: int, config: HeadConfig):
            super().__init__(inputs, num_classes, config)
            self.network = network()

        def forward(self, mel: torch.Tensor, prosody: None, lengths: torch.Tensor) -> Output:
            logits = self.network(mel).float()
            return Output(logits, logits[:, None], torch.ones_like(lengths), torch.ones(len(mel), 1), {})

    MODELS["same"] = Same
    return emotion_train(folder, {"name": "same"})


WAYS = {
    BASELINE: librosa_loader,
    "cached features, plain loop": cached,
    "Keras on cached features": keras,
    "emotion, serial model": emotion,
    "emotion, the same network as above": emotion_same,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--utterances", type=int, default=1000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("recordings", type=Path)
    options = parser.parse_args()
    if options.way:
        return work(options.way, options.recordings)
    with tempfile.TemporaryDirectory() as folder:
        write(options.recordings, Path(folder), options.utterances)
        measured = measure(Path(folder), options.rounds)
    print(table(measured))


def write(recordings: Path, folder: Path, wanted: int) -> None:
    """Data directories train, warm (a few of train) and valid (eight more), and the mel of the first in one array."""
    from emotion import audio, datadir, labels

    paths = audio.find(recordings)
    if len(paths) < wanted + CLASSES:
        sys.exit(f"{recordings} holds {len(paths)} recordings, {wanted + CLASSES} are needed. Lower --utterances.")
    names, utterances = labels.scheme("ravdess8").classes, []
    for i, path in enumerate(paths[: wanted + CLASSES]):
        waveform = audio.read(path, RATE)[: SECONDS * RATE]
        speaker = "valid" if i >= wanted else "train1" if i < BATCH else "train2"   # training refuses one alone
        wav = folder / f"{speaker}-{i:05}.wav"
        soundfile.write(wav, np.pad(waveform, (0, SECONDS * RATE - len(waveform))), RATE, subtype="PCM_16")
        utterances.append(datadir.Utterance(wav.stem, speaker, str(wav), names[i % CLASSES]))
    few = 2 * BATCH + wanted % BATCH   # the last batch of an epoch may be smaller: some libraries compile for it
    for part, rows in (("train", utterances[:wanted]), ("warm", utterances[:few]), ("valid", utterances[wanted:])):
        datadir.write(folder / part, rows)
    np.save(folder / "mel.npy", np.stack([log_mel(utterance.wav) for utterance in utterances[:wanted]]))


def work(way: str, folder: Path) -> None:
    """Load, then train for an epoch on each part that is named on standard input."""
    parameters, epoch = WAYS[way](folder)
    epoch("warm")
    print(READY, flush=True)
    for line in sys.stdin:
        print(parameters, *epoch(line.strip()), flush=True)


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Parameters, median seconds and median loss of each way. In a round each takes its turn, loaded anew."""
    seen: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for way in WAYS:
            with worker(__file__, way, folder) as ask:
                if ask is not None:
                    seen.setdefault(way, []).append(ask("train"))
    return {way: [statistics.median(column) for column in zip(*rows)] for way, rows in seen.items()}


def table(measured: dict[str, list[float]]) -> str:
    slowest = measured[BASELINE][1]
    lines = [f"| | parameters | seconds an epoch | so many times as fast as {BASELINE} | training loss |",
             "|---|---|---|---|---|"]
    for way, (parameters, seconds, loss) in measured.items():
        lines.append(f"| {way} | {parameters:,.0f} | {seconds:.1f} | {slowest / seconds:.2f} | {loss:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
