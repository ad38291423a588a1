"""Ways that take turns: each is a process of its own, which loads once and then answers a line with a line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

READY = "ready"   # what a process says once it has loaded


@contextmanager
def worker(script: str, way: str, folder: Path) -> Iterator[Callable[[object], list[float]] | None]:
    """`script --way WAY FOLDER` with one thread, to be asked; None, and a line that says why, where it cannot begin."""
    process = subprocess.Popen(
        [sys.executable, script, "--way", way, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None   # it is a pipe
    answers = process.stdout

    def ask(question: object) -> list[float]:
        print(question, file=process.stdin, flush=True)
        return [float(word) for word in answers.readline().split()]

    try:
        if answers.readline().strip() == READY:
            yield ask
        else:
            error = process.communicate()[1].strip().splitlines()
            print(f"left out: {way}: {error[-1] if error else 'no answer'}", file=sys.stderr)
            yield None
    finally:
        process.kill()
        process.wait()
