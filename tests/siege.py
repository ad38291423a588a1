"""Clients of all kinds at once against `emotion serve`: good, huge, slow, hostile, and ones that go away.

    python tests/siege.py --seconds 600 --clients 8        with the bundled model

Good requests must all be answered right, the others with a 4xx, and when it is over there is no temporary file left
and no more memory in use than after the first third.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import soundfile

RATE = 16_000
MAX_MB, MAX_MINUTES = 5, 2
FORM = "multipart/form-data"
HOSTILE_NAMES = ("../../etc/passwd", "<script>alert(1)</script>.wav", "a\r\nX-Mine: 1.wav", "\u202e.wav", "x" * 5000)


def wav(seconds: float, seed: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))
    soundfile.write(file, noise, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def declaring_hours() -> bytes:
    """A kilobyte whose header declares 24 hours."""
    content, size = bytearray(wav(0.02, 0)[:1024]), 24 * 3600 * RATE * 2
    content[4:8], content[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    return bytes(content)


class Siege:
    """What its clients share: where the server is, what is right, and what went wrong."""

    def __init__(self, port: int, answer: Callable[[bytes], dict[str, float]]):
        self.port, self.told, self.wrong = port, Counter(), []
        self.good = [wav(seconds, seed) for seed, seconds in enumerate((0.3, 1.0, 2.5, 6.0, 30.0))]
        self.right = [answer(content) for content in self.good]
        self.end = threading.Event()
        self.kinds = [self.well, self.well, self.well, self.huge, self.slow, self.hostile, self.malformed, self.away]

    def client(self, seed: int) -> None:
        draw = random.Random(seed)
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120) as http:
            while not self.end.is_set():
                kind = draw.choice(self.kinds)
                try:
                    kind(http, draw)
                    self.told[kind.__name__] += 1
                except Exception as error:
                    self.wrong.append(f"{kind.__name__}: {type(error).__name__} {error}"[:300])

    def well(self, http: httpx.Client, draw: random.Random) -> None:
        i = draw.randrange(len(self.good))
        reply = http.post("/analyze", files={"file": ("a.wav", self.good[i])})
        if reply.status_code == 503:   # no room just now, which is an answer
            self.told["told to come again"] += 1
            return time.sleep(0.2)
        assert reply.status_code == 200, f"{reply.status_code} {reply.text[:100]}"
        told = reply.json()["answers"][0]["probabilities"]
        assert all(abs(told[label] - p) < 1e-4 for label, p in self.right[i].items()), f"recording {i}: {told}"

    def refused(self, reply: httpx.Response) -> None:
        assert 400 <= reply.status_code < 500 or reply.status_code == 503, f"{reply.status_code} {reply.text[:100]}"
        assert "Traceback" not in reply.text

    def huge(self, http: httpx.Client, draw: random.Random) -> None:
        block = bytes(1 << 16)
        blocks = (block for _ in range(200))   # 13 MB, not declared
        content = blocks if draw.random() < 0.5 else bytes(6_000_000)
        with suppress(httpx.WriteError, httpx.RemoteProtocolError):   # the line was cut while it was sent
            self.refused(http.post("/analyze", content=content, headers={"content-type": f"{FORM}; boundary=x"}))

    def slow(self, http: httpx.Client, draw: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            line.sendall(b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                         b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
            for _ in range(draw.randrange(2, 10)):
                if self.end.wait(0.3):
                    break
                line.sendall(b"a")

    def hostile(self, http: httpx.Client, draw: random.Random) -> None:
        noise = draw.randbytes(5000)
        contents = {
            "hours": declaring_hours(), "nothing": b"", "four bytes": b"RIFF", "zeros": bytes(5000),
            "long": wav(140, 1), "cut": self.good[1][:-1000], "noise": noise, "noisy Ogg": b"OggS" + noise,
            "noisy FLAC": b"fLaC" + noise, "noisy WAV": self.good[0][:20] + noise,
        }
        kind = draw.choice([*contents])
        reply = http.post("/analyze", files={"file": (draw.choice(HOSTILE_NAMES), contents[kind])})
        assert 400 <= reply.status_code < 500 or reply.status_code == 503, f"{kind}: {reply.status_code}"

    def malformed(self, http: httpx.Client, draw: random.Random) -> None:
        ask = draw.choice([
            lambda: http.post("/analyze", content=b"--x\r\nno form", headers={"content-type": FORM}),
            lambda: http.post("/analyze", files={"other": ("a.wav", self.good[0])}),
            lambda: http.post("/analyze", params={"format": "exe"}, files={"file": ("a.wav", self.good[0])}),
            lambda: http.post("/convert", content=b'{"path": [' * 500, headers={"content-type": "application/json"}),
            lambda: http.get("/analyze"), lambda: http.get("/../../etc/passwd"),
            lambda: http.post("/analyze", headers={"host": "elsewhere.org"}, files={"file": ("a.wav", self.good[0])}),
        ])
        self.refused(ask())

    def away(self, http: httpx.Client, draw: random.Random) -> None:
        """Sends a long recording and goes before it is answered."""
        hasty = httpx.Client(base_url=http.base_url, timeout=draw.uniform(0.05, 0.5))
        with hasty, suppress(httpx.TimeoutException):
            hasty.post("/analyze", files={"file": ("a.wav", wav(100, 3))})


@contextmanager
def serving(model: str | None, temporary: Path) -> Iterator[tuple[int, int]]:
    """`emotion serve` as a process of its own: its port and its number."""
    command = [sys.executable, "-m", "emotion", "serve", "--port", "0", "--device", "cpu", "--threads", "1",
               "--max-mb", str(MAX_MB), "--max-minutes", str(MAX_MINUTES), *(["--model", model] if model else [])]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline())[1])
            yield port, process.pid
            assert process.poll() is None, "the server has ended"
        finally:
            process.terminate()


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def siege(model: str | None, seconds: float, clients: int, seed: int = 1) -> dict:
    """What happened: requests of each kind, what went wrong, memory at each tenth of the time, files left."""
    from emotion import Analyzer

    analyzer = Analyzer(model, "cpu")

    def answer(content: bytes) -> dict[str, float]:
        told = analyzer.analyze(io.BytesIO(content))
        return dict(zip(told.labels, told.probabilities.tolist()))

    with tempfile.TemporaryDirectory() as folder, serving(model, Path(folder)) as (port, pid):
        attack = Siege(port, answer)
        threads = [threading.Thread(target=attack.client, args=(seed + k,)) for k in range(clients)]
        for thread in threads:
            thread.start()
        memory = []
        for _ in range(10):
            time.sleep(seconds / 10)
            memory.append(round(resident_mb(pid)))
        for _ in range(100):   # a slow machine may not have got to all kinds yet
            if attack.told.keys() >= {kind.__name__ for kind in attack.kinds}:
                break
            time.sleep(0.2)
        attack.end.set()
        for thread in threads:
            thread.join()
        started = time.monotonic()
        attack.well(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120), random.Random(0))
        return {
            "requests": dict(attack.told), "wrong": attack.wrong, "memory_mb": memory,
            "files_left": os.listdir(folder), "next_answer_seconds": round(time.monotonic() - started, 2),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--model")
    options = parser.parse_args()
    print(json.dumps(siege(options.model, options.seconds, options.clients), indent=1))
