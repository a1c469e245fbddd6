"""What streamgauge is measured beside: the cheapest conceivable wrapper, and OpenTelemetry's own."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from typing import Any

from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.stream import AsyncStreamWrapper, SyncStreamWrapper

_BOUNDS = tuple(10_000_000 * 2**power for power in range(14))


def cheapest(source: Iterator[Any]) -> Iterator[Any]:
    """A clock read and one bucket count per item: less cannot tell a chunk gap."""
    clock = time.monotonic_ns
    counts = [0] * (len(_BOUNDS) + 1)
    last = clock()
    for item in source:
        now = clock()
        counts[bisect_left(_BOUNDS, now - last)] += 1
        last = now
        yield item


async def acheapest(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    clock = time.monotonic_ns
    counts = [0] * (len(_BOUNDS) + 1)
    last = clock()
    async for item in source:
        now = clock()
        counts[bisect_left(_BOUNDS, now - last)] += 1
        last = now
        yield item


class _Invoked:
    """The hooks that an instrumentation of util-genai writes, with no work of its own per chunk."""

    _self_invocation: Any

    def _process_chunk(self, chunk: Any) -> None:
        return None

    def _on_stream_end(self) -> None:
        self._self_invocation.stop()

    def _on_stream_error(self, error: BaseException) -> None:
        self._self_invocation.fail(error)


class _Sync(_Invoked, SyncStreamWrapper[Any]):
    pass


class _Async(_Invoked, AsyncStreamWrapper[Any]):
    pass


class UtilGenAI:
    """opentelemetry-util-genai's stream wrapper, around one model call."""

    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        self._handler = TelemetryHandler(tracer_provider=tracer_provider, meter_provider=meter_provider)

    def _invocation(self) -> Any:
        return self._handler.inference("openai", request_model="m", _attach_to_context=False)

    def wrap(self, source: Any) -> Iterator[Any]:
        return _Sync(source, self._invocation())

    def awrap(self, source: Any) -> AsyncIterator[Any]:
        return _Async(source, self._invocation())
