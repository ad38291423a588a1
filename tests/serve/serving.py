"""A server in this process, and what its tests ask of it."""

import contextlib
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn

from emotion.analyzer import Analyzer
from emotion.serve import Limits, listening
from emotion.serve.app import build
from emotion.serve.worker import Worker
from emotion.timeline import Timeline

RATE = 16_000
HOSTILE = [
    "../../etc/passwd.wav", "C:\\calls\\..\\a.wav", "<img src=x onerror=window.ran=1>.wav", "a\r\nb: c.wav",
    "~root.wav", "rm -rf . |", "left \u202evaw.thgir.wav", "..", "", "a" * 300 + ".wav", "%2e%2e%2f$(id).wav",
]


@contextlib.contextmanager
def running(analyzer: Analyzer, limits: Limits = Limits(), host: str | None = "127.0.0.1"):
    """A client of a server in this process, with its gate, worker and address."""
    worker = Worker(analyzer)
    app = build(worker, "tiny", limits, host)
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                client.gate, client.worker, client.address = app, worker, listener.getsockname()
                until(lambda: server.started)
                yield client
        finally:
            server.should_exit = True
            thread.join()


def record(path: Path, waveform: np.ndarray) -> Path:
    soundfile.write(path, waveform, RATE)
    return path


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(RATE * seconds)).astype(np.float32)


def post(client, content, name: str = "call.wav", **query):
    content = content.read_bytes() if isinstance(content, Path) else content
    return client.post("/analyze", params=query, files={"file": (name, content)})


def check_same(told: dict, answer: Timeline) -> None:
    """Served and analyzed answers are equal, but for rounding in the last digits, as in any two batches."""
    expected = answer.to_dict()
    for name in ("label", "channel", "flags", "duration_seconds"):
        assert told[name] == expected.get(name)
    for name in ("confidence", "entropy", "probabilities", "dimensions"):
        assert told[name] == pytest.approx(expected.get(name), abs=1e-5)
    for part, other in zip(told["segments"], expected["segments"], strict=True):
        for name in ("probabilities", "dimensions"):
            assert part.pop(name) == pytest.approx(other.pop(name, None), abs=1e-5)
        assert part == pytest.approx(other, abs=1e-5)
    steps = told["steps"]
    assert np.allclose(steps["times_seconds"], answer.step_times, atol=1e-4)
    assert np.allclose(steps["probabilities"], answer.step_probabilities, atol=1e-4)
    assert np.allclose(steps["speech"], answer.step_speech, atol=1e-4)


def until(holds) -> None:
    """Waits until it holds, half a minute at most."""
    stop = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < stop
        time.sleep(0.01)


@contextlib.contextmanager
def held(worker: Worker):
    """The model is busy."""
    release = threading.Event()
    begun = threading.Event()
    worker.call(lambda: (begun.set(), release.wait(30)), 0)
    begun.wait(30)
    try:
        yield
    finally:
        release.set()
