"""The demo's callers: who opens the streams and reads them, some as tasks and some in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, closing, suppress
from dataclasses import replace
from typing import Any

import streamgauge
from streamgauge.capture import Capture
from streamgauge.cli._streams import Manner, Play, Scripted, Step, paused_source, plays, source, steps
from streamgauge.pipeline import Pipeline

__all__ = ["Callers"]

_OF_EACH = 3  # callers of each dialect
_IN_THREADS = "shipit-agent"  # the one system whose usual stream is sync
_SLOW_S = 0.04  # what a slow caller does with each event
_AGAIN_S = 0.3  # until a stream that failed is opened again


class _Over(SystemExit):
    """The program ends: what a thread's stream is ended by."""


class Callers:
    """All of them."""

    def __init__(self, pipeline: Pipeline, captures: dict[str, list[Capture]], seed: int) -> None:
        self._pipeline = pipeline
        self._captures = captures
        self._seed = seed
        self._over = threading.Event()

    async def play(self, until: asyncio.Event, seconds: float) -> None:
        """Play until the event is set, or for so long; then end what is open, as the end of the program does."""
        callers = [(dialect, f"{dialect} {number}") for dialect in self._captures for number in range(_OF_EACH)]
        threads = [
            threading.Thread(target=self._call_in_thread, args=caller, name=caller[1], daemon=True)
            for caller in callers
            if caller[0] == _IN_THREADS
        ]
        for thread in threads:
            thread.start()
        tasks = [asyncio.create_task(self._call(*caller)) for caller in callers if caller[0] != _IN_THREADS]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await until.wait()
        finally:
            self._over.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            self._pipeline.close_streams()
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

    # As a task ------------------------------------------------------------------------------------------------

    async def _call(self, dialect: str, caller: str) -> None:
        for play in plays(self._seed, caller, self._captures[dialect]):
            await asyncio.sleep(play.pause_s)
            with suppress(Scripted, TimeoutError):
                if play.manner is Manner.RETRIED:
                    async with streamgauge.run(play.agent):
                        with suppress(Scripted):
                            await self._read(play)
                        await asyncio.sleep(_AGAIN_S)
                        await self._read(replace(play, manner=Manner.READ))
                else:
                    await self._read(play)

    async def _read(self, play: Play) -> None:
        given = steps(play)
        lasts = sum(step.wait_s for step in given) * play.where
        if play.manner is Manner.TIMED_OUT:
            stream = _wrapped(play, source(given), timeout_s=lasts)
            async with asyncio.timeout(lasts):
                await _read_to_end(stream)
            return
        stream = _wrapped(play, source(given))
        if play.manner is Manner.CANCELLED:
            reading = asyncio.create_task(_read_to_end(stream))
            try:
                await asyncio.wait({reading}, timeout=lasts)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        elif play.manner is Manner.ABANDONED:
            async with aclosing(stream):
                for _ in range(_some(given, play)):
                    await anext(stream, None)
        else:
            await _read_to_end(stream, _SLOW_S if play.manner is Manner.SLOW_CALLER else 0.0)

    # In a thread ----------------------------------------------------------------------------------------------

    def _call_in_thread(self, dialect: str, caller: str) -> None:
        with suppress(_Over):
            for play in plays(self._seed, caller, self._captures[dialect]):
                self._pause(play.pause_s)
                with suppress(Scripted):
                    if play.manner is Manner.RETRIED:
                        with streamgauge.run(play.agent):
                            with suppress(Scripted):
                                self._read_in_thread(play)
                            self._pause(_AGAIN_S)
                            self._read_in_thread(replace(play, manner=Manner.READ))
                    else:
                        self._read_in_thread(play)

    def _read_in_thread(self, play: Play) -> None:
        given = steps(play)
        lasts = sum(step.wait_s for step in given) * play.where
        hurried = play.manner is Manner.TIMED_OUT
        stream = _wrapped(play, paused_source(given, self._pause), timeout_s=lasts if hurried else 0.0)
        until = time.monotonic() + lasts if hurried else float("inf")
        # A thread cannot be cancelled: it stops reading.
        most = _some(given, play) if play.manner in (Manner.ABANDONED, Manner.CANCELLED) else len(given)
        with closing(stream):
            for number, _ in enumerate(stream, 1):
                if (number >= most and most < len(given)) or time.monotonic() > until:
                    break
                if play.manner is Manner.SLOW_CALLER:
                    self._pause(_SLOW_S)

    def _pause(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise _Over


def _wrapped(play: Play, stream: Any, *, timeout_s: float = 0.0) -> Any:
    """As any program has it."""
    request = play.capture.request
    return streamgauge.wrap(
        stream,
        dialect=request.dialect,
        operation=request.operation,
        agent_name=play.agent,
        provider_name=request.provider_name,
        model=request.model,
        timeout_s=timeout_s,
        attributes=dict(request.attributes),
    )


def _some(given: list[Step], play: Play) -> int:
    return min(max(round(len(given) * play.where), 1), len(given))


async def _read_to_end(stream: AsyncIterator[Any], pause_s: float = 0.0) -> None:
    async for _ in stream:
        if pause_s:
            await asyncio.sleep(pause_s)
