"""Kill runs at random moments, let them go on, and compare what they leave with what nobody disturbed.

    python tests/kill.py --times 100                 each task so often; a line for each, a summary at the end
    python tests/kill.py --times 20 score train

A task is a list of commands. It is killed (SIGKILL, no handler can soften it) at a moment drawn evenly from its whole
length; whatever has its name then must be whole. It is started again until it ends, and may be killed again on the way;
its results must be those of the undisturbed one, byte for byte.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
RATE = 16_000
EMODB = ("anger", "W"), ("happiness", "F"), ("neutral", "N"), ("sadness", "T")
CONF = """
scheme: emodb4
model: {name: serial, channels: [4, 8], pools: [[2, 2], [2, 2]], stem_stride: [2, 2], features: 8, lstm_width: 8}
frontend: {num_bands: 20}
fit: {max_epochs: 5, batch_size: 8, precision: float32, warmup_epochs: 0}
"""


@dataclass(frozen=True)
class Task:
    """What is run in a folder, where corpus and model are ../given, and what of it counts."""

    name: str
    run: Callable[[], None]   # in the working directory
    results: tuple[str, ...]   # patterns of files

    def left(self, folder: Path) -> dict[str, bytes]:
        """The results that are there."""
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for pattern in self.results for path in sorted(folder.glob(pattern)) if path.is_file()
        }


def command(*arguments: str) -> None:
    from emotion.cli import main

    if code := main(arguments):
        raise SystemExit(code)


def score() -> None:
    from emotion import scores

    scores.CHUNK_RECORDINGS = 4
    for table in ("scores.csv", "scores.jsonl"):
        command("score", "../given/wavs", "-o", table, "--model", "../given/model", "--threads", "1")


def train() -> None:
    import torch

    torch.set_num_threads(1)
    command("train", "--conf", "../given/conf.yaml", "--train", "../given/train", "--valid", "../given/valid", "--exp",
            "exp", "--device", "cpu", "--seed", "1")


def prepare() -> None:
    sys.argv = ["prepare.py", "../given/emodb", "data/all"]
    runpy.run_path(str(ROOT / "recipes" / "emodb" / "local" / "prepare.py"), run_name="__main__")
    command("data", "split", "data/all", "../given/split.yaml", "data/folds")
    command("data", "combine", "data/again", "data/folds/fold1/train", "data/folds/fold1/test")


def export() -> None:
    command("export", "../given/model", "-o", "model.onnx")


TASKS = {
    task.name: task for task in (
        Task("score", score, ("scores.*",)),
        Task("train", train, ("exp/model.safetensors",)),
        Task("prepare", prepare, ("data/*/[a-z]*", "data/folds/*/*/[a-z]*")),
        Task("export", export, ("model.onnx",)),
    )
}


def given(folder: Path) -> None:
    """A corpus in the layout of EMO-DB, data directories of it, recordings, and an untrained model."""
    from tiny import tiny

    from emotion import checkpoint, datadir
    from emotion.datadir import Utterance

    rng, utterances = np.random.default_rng(1), []
    (folder / "emodb" / "wav").mkdir(parents=True)
    for speaker in ("03", "08", "09", "10"):
        for text in ("a01", "a02"):
            for emotion, code in EMODB:
                path = folder / "emodb" / "wav" / f"{speaker}{text}{code}a.wav"
                soundfile.write(path, rng.normal(0, 0.1, RATE // 4), RATE)
                utterances.append(Utterance(f"{speaker}-{path.stem}", speaker, str(path), emotion))
    datadir.write(folder / "train", [u for u in utterances if u.speaker in ("03", "08", "09")])
    datadir.write(folder / "valid", [u for u in utterances if u.speaker == "10"])
    (folder / "split.yaml").write_text("name: two\nsource: made here\nfolds:\n- {test: [emodb03], valid: [emodb08]}\n"
                                       "- {test: [emodb09], valid: [emodb10]}\n")
    (folder / "conf.yaml").write_text(CONF)
    (folder / "wavs").mkdir()
    for k in range(30):
        soundfile.write(folder / "wavs" / f"{k:02}.wav", rng.normal(0, 0.1, int(rng.uniform(0.2, 1.5) * RATE)), RATE)
    (folder / "wavs" / "07.wav").write_bytes(b"RIFF, but no more")
    (folder / "model").mkdir()
    checkpoint.write(tiny("emodb4"), folder / "model" / checkpoint.FILE_NAME)


def start(task: Task, folder: Path, file_bytes: int | None = None) -> multiprocessing.Process:
    """The task as a process of its own, which has imported what it needs before it is counted.

    file_bytes: no file can grow larger, as on a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "soundfile", "scipy.signal", "lightning", "emotion.train.fit",
                                    "emotion.export", "emotion.scoring", "onnxruntime"])
    process = context.Process(target=work, args=(task.name, str(folder), file_bytes))
    process.start()
    return process


def work(name: str, folder: str, file_bytes: int | None) -> None:
    os.chdir(folder)
    with open("log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        TASKS[name].run()
    except SystemExit as end:   # a bad recording ends `score` with 1
        print(end.code)


def trial(task: Task, base: Path, expected: dict[str, bytes], seconds: float, draw: random.Random) -> int:
    """Kill it once or more on its way; how often. Raises: AssertionError where something is not as it should be."""
    folder = Path(tempfile.mkdtemp(prefix=f"{task.name}-", dir=base))
    kills = 0
    while True:
        process = start(task, folder)
        last = kills and draw.random() < 0.6   # else it is killed again
        process.join(None if last else draw.uniform(0, seconds))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
        elif kills:
            break
        else:   # it ended before: another one
            shutil.rmtree(folder)
            folder.mkdir()
            continue
        for name, found in task.left(folder).items():
            if not name.endswith((".part", ".part.json")):
                assert found == expected[name], f"{folder}/{name} has its name and is not whole"
    left = {name: found for name, found in task.left(folder).items() if ".part" not in name}
    assert left == expected, f"{folder}: {sorted(left)} are not as in an undisturbed run"
    shutil.rmtree(folder)
    return kills


def undisturbed(task: Task, base: Path) -> tuple[dict[str, bytes], float]:
    """Its results, and how long it takes."""
    folder = base / f"{task.name}-undisturbed"
    folder.mkdir()
    process, started = start(task, folder), time.monotonic()
    process.join()
    results = task.left(folder)
    assert results, (folder / "log").read_text()
    return results, time.monotonic() - started


@contextlib.contextmanager
def laboratory() -> Iterator[Path]:
    """A folder with ../given for all tasks."""
    with tempfile.TemporaryDirectory() as folder:
        given(Path(folder, "given"))
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    summary = {}
    with laboratory() as base:
        for name in options.tasks or TASKS:
            task, draw, kills, failures = TASKS[name], random.Random(options.seed), 0, []
            expected, seconds = undisturbed(task, base)
            for k in range(options.times):
                try:
                    count = trial(task, base, expected, seconds, draw)
                    kills += count
                    print(f"{name} {k + 1}: killed {count} times, as undisturbed", flush=True)
                except AssertionError as error:
                    failures.append(str(error))
                    print(f"{name} {k + 1}: FAILED {error}", flush=True)
            summary[name] = {"trials": options.times, "kills": kills, "failures": failures, "seconds": seconds}
    print(json.dumps(summary, indent=1))
    sys.exit(any(told["failures"] for told in summary.values()))


if __name__ == "__main__":
    main()
