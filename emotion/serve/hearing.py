"""One request's recording on its way to its answers: decoded beside the model's thread, block by block, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import audio
from ..analyzer import Analyzer
from ..timeline import Timeline
from ..windows import Recording
from .picture import Picture
from .worker import Worker

if TYPE_CHECKING:
    from ..features import FrontendConfig

BLOCK_SECONDS = 30.0   # a recording no longer is answered in one pass with others


class TooMuch(ValueError):
    """A recording that holds more than may be asked."""


class Upload:
    """An open file to be read, under the name that its sender gave it: it tells the kind of audio and is never a path.

    It shows no mode: to one that can be written to PyAV would write.
    """

    def __init__(self, file: BinaryIO, name: str):
        self.name = name
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class Hearing:
    """The answers to one recording, of at most max_seconds as decoded, channels by themselves counting each.

    pictured: whether a Picture goes with each answer.
    """

    def __init__(self, source: Upload, worker: Worker, max_seconds: float, pictured: bool):
        self._source: Any = source   # a file, as far as audio reads it
        self._worker, self._max_seconds, self._pictured = worker, max_seconds, pictured
        self._rate = worker.analyzer.sample_rate
        self._seconds = 0.0

    async def answers(self, separate: bool) -> list[tuple[Timeline, Picture | None]]:
        """One for the mixed channels, or one for each.

        Raises: AudioError for what cannot be read, TooMuch.
        """
        seconds = await in_thread(audio.told_duration, self._source)
        if not separate:
            self._check(seconds)
            return [await self._answer(None, 1)]
        count = await in_thread(audio.num_channels, self._source)
        self._check(seconds * count)
        if count > audio.MAX_CHANNELS:
            raise TooMuch(f"{self._source.name}: {count} channels are more than {audio.MAX_CHANNELS}, each by itself. "
                          "Ask for channels=mix, or send fewer.")
        return [await self._answer(channel, count) for channel in range(1, count + 1)]

    async def _answer(self, channel: int | None, count: int) -> tuple[Timeline, Picture | None]:
        name, analyzer = self._source.name, self._worker.analyzer
        picture = Picture(self._rate, _frontend(analyzer), count) if self._pictured else None
        blocks = audio.blocks(self._source, self._rate, BLOCK_SECONDS, channel)
        first, stream = await self._next(blocks, picture), None
        held = np.empty(0, np.float32) if first is None else first
        while (block := await self._next(blocks, picture)) is not None:
            stream = stream or analyzer.stream(self._rate, name)
            await self._call(stream.feed, held)
            held = block
        if stream is None:
            seconds = len(held) / self._rate
            answer = await asyncio.wrap_future(
                self._worker.answer(Recording(name, lambda: [held], channel=channel), seconds))
        else:
            await self._call(stream.feed, held)
            answer = replace(await asyncio.wrap_future(self._worker.call(stream.close, 0.0)), channel=channel)
        return answer, picture

    async def _next(self, blocks: Iterator[np.ndarray], picture: Picture | None) -> np.ndarray | None:
        """The next block, counted and seen; None behind the last."""
        block = await in_thread(next, blocks, None)
        if block is None:
            return None
        self._seconds += len(block) / self._rate
        self._check(self._seconds)   # a header need not tell the truth
        if picture is not None:
            await in_thread(picture.hear, block)
            if picture.frontend:
                picture.see(await self._call(self._worker.analyzer.spectrogram, block))
        return block

    def _check(self, seconds: float) -> None:
        if seconds > self._max_seconds:
            raise TooMuch(f"{self._source.name}: is longer than {self._max_seconds / 60:g} minutes, channels apart "
                          "counted each. Send a part of it, or start with a larger --max-minutes.")

    async def _call(self, function: Callable[[np.ndarray], Any], block: np.ndarray) -> Any:
        return await asyncio.wrap_future(self._worker.call(lambda: function(block), len(block) / self._rate))


def _frontend(analyzer: Analyzer) -> FrontendConfig | None:
    try:
        return analyzer.checkpoint.frontend.config
    except ValueError:   # an exported model keeps it in its graph
        return None


async def in_thread(function: Callable, *arguments: Any) -> Any:
    """What a function returns that takes its time. Who is cancelled still waits for it: it may be reading a file that
    is closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
