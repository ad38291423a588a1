"""Many recordings through one model: some threads read ahead, others answer batches; what comes out is in order.

    recordings -> read and cut into windows -> groups of 10 minutes -> batches of alike length -> answers, in order

Groups and batches are the same with any number of threads, and so are the answers.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from .windows import Job, Window

GROUP_SECONDS = 600.0   # of audio in memory before the model is asked
BATCH_SECONDS = 30.0   # of audio in one batch, padding included: as fast as 120, in 200 MB less
GPU_BATCH_SECONDS = 600.0   # takes a GPU twice as long as 30
PIECE_SECONDS = 60.0   # of a recording read ahead at a time


def answered(
    jobs: Iterable[Job], answer: Callable[[Sequence[Window]], None], sample_rate: int, threads: int = 1,
    on_gpu: bool = False,
) -> Iterator[Job]:
    """Each job once all its windows are answered, or its reading has failed, in order and as soon as may be.

    answer: finishes the windows of one batch.
    threads: that read and answer; with 1 all is done by the caller's.
    on_gpu: whether the model answers on a CUDA device, which is asked for more at once.
    """
    batch_seconds = GPU_BATCH_SECONDS if on_gpu else BATCH_SECONDS
    waiting: deque[Job] = deque()
    asked: deque[list[Future]] = deque()   # of each group, the batches
    queue: list[Window] = []
    held = 0

    def ask() -> None:
        asked.append([pool.submit(answer, batch) for batch in batches(queue, batch_seconds * sample_rate)])

    def settle(left: int) -> None:
        while len(asked) > left:
            for future in asked.popleft():
                future.result()

    with _pool(threads) as pool:
        for job, windows in _read(jobs, pool, 0 if threads == 1 else 2 * threads, sample_rate):
            if not waiting or job is not waiting[-1]:
                waiting.append(job)
            queue += windows
            held += sum(len(window.waveform) for window in windows)
            if held >= GROUP_SECONDS * sample_rate:
                ask()
                queue, held = [], 0
                settle(0 if threads == 1 else 1)   # while the last group is answered, the next is read
                _trim()
            while waiting and waiting[0].done:
                yield waiting.popleft()
        ask()
        settle(0)
        yield from waiting


def batches(queue: Sequence[Window], most_samples: float) -> Iterator[list[Window]]:
    """Windows of alike length, all with statistics of their speaker or all without; the longest first, so that memory
    is taken once. A batch has so many samples at most, padding included, where it is of more than one window."""
    for enrolled in (False, True):
        alike = [window for window in queue if (window.statistics is not None) == enrolled]
        alike.sort(key=lambda window: len(window.waveform))
        while alike:
            size = max(1, int(most_samples / len(alike[-1].waveform)))
            yield alike[-size:]
            del alike[-size:]


def available_cores() -> int:
    """Processor cores that this process may use, by its affinity and, in a container, its quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):   # no cgroup, or "max"
        return cores


def _trim() -> None:
    """Small answers between large buffers keep glibc from giving those back: 0.8 MB for each minute of audio. It takes
    one or two hundredths of the time."""
    with suppress(AttributeError, OSError, TypeError):   # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _read(jobs: Iterable[Job], pool: Executor, ahead: int, sample_rate: int) -> Iterator[tuple[Job, list[Window]]]:
    """Jobs with the next of their windows, in order, read by the pool; the first piece of so many jobs ahead."""
    size = round(PIECE_SECONDS * sample_rate)
    reading: deque[tuple[Job, Future]] = deque()
    for job in jobs:
        reading.append((job, pool.submit(job.read, size)))
        if len(reading) > ahead:
            yield from _pieces(*reading.popleft(), pool, size)
    while reading:
        yield from _pieces(*reading.popleft(), pool, size)


def _pieces(job: Job, piece: Future, pool: Executor, size: int) -> Iterator[tuple[Job, list[Window]]]:
    windows = piece.result()
    while not (job.complete or job.failure):
        piece = pool.submit(job.read, size)
        yield job, windows
        windows = piece.result()
    yield job, windows


class _Caller(Executor):
    """Does everything at once, in the thread that asks."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _pool(threads: int) -> Iterator[Executor]:
    pool = _Caller() if threads == 1 else ThreadPoolExecutor(threads, "emotion")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)   # an answer that nobody waits for is not begun
