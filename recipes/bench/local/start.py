#!/usr/bin/env python3
"""How long the command takes to start, beside what it cannot do without.

    local/start.py [--rounds 5] RECORDING
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

PYTHON = [sys.executable]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("recording")
    options = parser.parse_args()
    commands = {
        "import torch, torchaudio": [*PYTHON, "-c", "import torch, torchaudio"],
        "emotion score one.wav": [*PYTHON, "-m", "emotion", "score", options.recording],
        "emotion --help": [*PYTHON, "-m", "emotion", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(options.rounds + 1):
        for name, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if turn:   # the first fills the disk's cache
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print("| | s | times the import |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {median / medians['import torch, torchaudio']:.2f} |")


if __name__ == "__main__":
    main()
