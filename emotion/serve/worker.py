"""The one thread that owns the model. It answers together all that wait, so many seconds of audio at a time.

    waiting:  | call 4 s | call 3 s | 30 s of a lecture | call 5 s | ... | 30 s of another |
               `------------- one turn: at most BATCH_SECONDS -------------'

A long recording comes in blocks, and its next block waits behind all that came meanwhile: however long the others are,
one waits for the turn under way and a block of each that came before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ..analyzer import Analyzer
from ..windows import Recording

BATCH_SECONDS = 120.0


@dataclass(frozen=True)
class _Task:
    work: Recording | Callable[[], Any]
    seconds: float   # of audio in it
    future: Future = field(default_factory=Future)


class Worker:
    """Recordings and calls from any thread in, futures out; a future that is cancelled in time is never begun."""

    def __init__(self, analyzer: Analyzer):
        self.analyzer = analyzer
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._work, name="emotion-model", daemon=True)
        self._thread.start()

    def answer(self, recording: Recording, seconds: float) -> Future:
        """The Timeline of a short recording, answered in one pass with others that wait."""
        return self._add(_Task(recording, seconds))

    def call(self, function: Callable[[], Any], seconds: float) -> Future:
        """What a function returns that asks the model, of so many seconds of audio."""
        return self._add(_Task(function, seconds))

    def close(self) -> None:
        """End the thread after the turn under way; what waits is cancelled."""
        with self._changed:
            self._is_open = False
            while self._waiting:
                self._waiting.popleft().future.cancel()
            self._changed.notify()
        self._thread.join()

    def _add(self, task: _Task) -> Future:
        with self._changed:
            if self._is_open:
                self._waiting.append(task)
                self._changed.notify()
            else:
                task.future.cancel()
        return task.future

    def _work(self) -> None:
        while turn := self._next_turn():
            begun = [task for task in turn if task.future.set_running_or_notify_cancel()]
            self._answer([(task, task.work) for task in begun if isinstance(task.work, Recording)])
            for task in begun:
                if not isinstance(task.work, Recording):
                    _settle(task.future, task.work)

    def _next_turn(self) -> list[_Task]:
        """What waits, in order, up to BATCH_SECONDS; waits for something itself. Empty once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            turn: list[_Task] = []
            seconds = 0.0
            while self._waiting and (not turn or seconds + self._waiting[0].seconds <= BATCH_SECONDS):
                turn.append(self._waiting.popleft())
                seconds += turn[-1].seconds
            return turn

    def _answer(self, tasks: list[tuple[_Task, Recording]]) -> None:
        if not tasks:
            return
        try:
            for (task, _), answer in zip(tasks, self.analyzer.run(recording for _, recording in tasks)):
                task.future.set_result(answer)
        except Exception as error:   # whatever it is, such as no memory, the thread lives on for the next
            for task, _ in tasks:
                if not task.future.done():
                    task.future.set_exception(error)


def _settle(future: Future, function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
