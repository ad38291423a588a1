#!/usr/bin/env python3
"""What a GPU makes of training and of scoring.

    local/gpu.py train [--conf FILE] [--epochs 10] [--at-once 6] TRAIN_DIR VALID_DIR     data directories
    local/gpu.py score [--model bundled] RECORDINGS                                      a folder

train: `emotion train` as it is, then launching each kernel by itself (fit.cuda_graphs=false), then so many trainings at
once; median seconds of an epoch but the first, in which memory is taken and passes are recorded, and how much of the
time the GPU was busy, by nvidia-smi. score: from memory, by the size of the batch that the network is asked for, then
the whole analysis of recordings, of five minutes of them in one, and from their files, by the number of threads.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

CONF = Path(__file__).parents[2] / "ravdess" / "conf" / "serial.yaml"
RATE = 16_000
BATCHES = (30, 120, 600)   # seconds of audio
UTTERANCE, CALL = 4, 300   # seconds
ROUNDS = 10


@contextmanager
def watched() -> Iterator[Callable[[float], str]]:
    """Samples how busy the first GPU is; gives what answers the mean percent of the last so many seconds, and nothing
    where nobody can tell."""
    command = "nvidia-smi -i 0 --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 200"
    with tempfile.TemporaryFile("w+") as told:
        try:
            process = subprocess.Popen(command.split(), stdout=told, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            yield lambda seconds: ""
            return

        def mean(seconds: float) -> str:
            told.seek(0)
            samples = [float(line) for line in told if line.strip().isdecimal()][-round(5 * seconds):]
            return f"{statistics.mean(samples):.0f}" if samples else ""

        try:
            yield mean
        finally:
            process.kill()
            process.wait()


def train(options: argparse.Namespace) -> None:
    print("| | seconds an epoch | all epochs, s | with start and end, s | GPU busy % |")
    print("|---|---|---|---|---|")
    for name, count, settings in (
        ("emotion train", 1, []), ("each kernel launched by itself", 1, ["fit.cuda_graphs=false"]),
        (f"{options.at_once} at once", options.at_once, []),
    ):
        with tempfile.TemporaryDirectory() as folder, watched() as busy:
            begun = time.perf_counter()
            processes = [subprocess.Popen([
                sys.executable, "-m", "emotion", "train", "--conf", options.conf, "--train", options.train_dir,
                "--valid", options.valid_dir, "--exp", f"{folder}/{k}", "--device", options.device, "--seed", str(k),
                "--set", f"fit.max_epochs={options.epochs}", *settings,
            ], stderr=subprocess.DEVNULL) for k in range(count)]
            if any([process.wait() for process in processes]):
                raise SystemExit(f"gpu.py: emotion train failed ({name}). Run it by itself to see why.")
            whole = time.perf_counter() - begun
            seconds = [epochs(Path(folder, str(k), "epochs.csv")) for k in range(count)]
            per_training = statistics.mean(map(sum, seconds))
            share = busy(per_training)
        later = [second for own in seconds for second in own[1:]]
        print(f"| {name} | {statistics.median(later):.2f} | {per_training:.0f} | {whole:.0f} | {share} |", flush=True)


def epochs(path: Path) -> list[float]:
    with open(path, newline="") as table:
        return [float(row["seconds"]) for row in csv.DictReader(table)]


def score(options: argparse.Namespace) -> None:
    from emotion import Analyzer, audio, checkpoint
    from emotion.engine import Engine

    paths = audio.find(options.recordings)[:720]
    voices = [audio.read(path, RATE) for path in paths]
    everything = np.concatenate(voices)
    calls = [everything[i : i + CALL * RATE] for i in range(0, len(everything), CALL * RATE)]
    print("| network and detector asked for | precision | ms | seconds of audio a second |")
    print("|---|---|---|---|")
    for precision in ("float32", "bfloat16"):
        engine = Engine(checkpoint.read(options.model), options.device, precision=precision)
        for size in BATCHES:
            batch = np.resize(everything, (max(1, size // UTTERANCE), UTTERANCE * RATE))
            took = seconds_of(engine.answer, batch, np.full(len(batch), batch.shape[1]))
            print(f"| {size} s | {precision} | {1e3 * took:.1f} | {batch.size / RATE / took:.0f} |", flush=True)
    print("\n| whole analysis, s/s | recordings in memory | five minutes each | from files |")
    print("|---|---|---|---|")
    for threads in options.threads:
        analyzer = Analyzer(options.model, options.device, threads=threads)
        list(analyzer.analyze(voices[:40], RATE))
        rates = []
        for source in (voices, calls, paths):
            begun = time.perf_counter()
            list(analyzer.analyze(list(source), RATE))
            rates.append(len(everything) / RATE / (time.perf_counter() - begun))
        print(f"| {threads} threads | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |", flush=True)


def seconds_of(work: Callable[..., object], *given: object) -> float:
    """Median of a few; what is answered is on the processor, so nothing is left to wait for."""
    took = []
    for _ in range(ROUNDS + 2):
        begun = time.perf_counter()
        work(*given)
        took.append(time.perf_counter() - begun)
    return statistics.median(took[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    ways = parser.add_subparsers(required=True)
    training = ways.add_parser("train")
    training.add_argument("--conf", default=str(CONF))
    training.add_argument("--epochs", type=int, default=10)
    training.add_argument("--at-once", type=int, default=6)
    training.add_argument("train_dir")
    training.add_argument("valid_dir")
    training.set_defaults(run=train)
    scoring = ways.add_parser("score")
    scoring.add_argument("--model", default="bundled")
    scoring.add_argument("--threads", type=int, nargs="+", default=[1, 3, 8])
    scoring.add_argument("recordings")
    scoring.set_defaults(run=score)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
