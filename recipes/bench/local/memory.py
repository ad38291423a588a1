#!/usr/bin/env python3
"""How much memory a long recording takes: `emotion score` on files of one minute, one hour and ten, one thread.

    local/memory.py RECORDINGS...     files or folders; they follow each other in a random order until a file is full
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from emotion import audio

RATE, MINUTES = 16_000, (1, 60, 600)
MOST = 600   # recordings kept in memory to write from


def main() -> None:
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    rng = np.random.default_rng(0)
    paths = [path for name in sys.argv[1:] for path in (audio.find(name) if Path(name).is_dir() else [name])]
    voices = [audio.read(paths[i], RATE) for i in rng.permutation(len(paths))[:MOST]]
    print("| minutes | peak memory MB | processor s | seconds of audio a processor second |")
    print("|---|---|---|---|")
    for minutes in MINUTES:
        with tempfile.TemporaryDirectory() as folder:
            left, path = 60 * RATE * minutes, Path(folder) / "long.wav"
            with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
                while left:
                    voice = voices[rng.integers(len(voices))][:left]
                    file.write(voice)
                    left -= len(voice)
            command = [sys.executable, "-m", "emotion", "score", str(path), "-o", f"{path}.csv", "--threads", "1"]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)   # of this child alone
        if status:
            raise SystemExit(f"memory.py: emotion score failed on {minutes} minutes.")
        seconds, unit = used.ru_utime + used.ru_stime, 1e6 if sys.platform == "darwin" else 1e3
        print(f"| {minutes} | {used.ru_maxrss * 1.024 / unit:.0f} | {seconds:.0f} | {60 * minutes / seconds:.0f} |",
              flush=True)


if __name__ == "__main__":
    main()
