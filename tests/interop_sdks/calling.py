"""How an SDK's call is written down, so that it can be made direct, wrapped and through the proxy."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

import streamgauge
from interop_sdks.server import Answer

__all__ = ["At", "Call", "caught", "dumped"]

T = TypeVar("T")
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class At:
    """Where a call goes, and whether what it is made with is wrapped."""

    url: str
    wrapped: bool = False
    _opened: list[Any] = field(default_factory=list)

    def sdk(self, client: T) -> T:
        """The SDK's client, or a drop-in for it. It is closed when the call is over."""
        found = streamgauge.wrap(client) if self.wrapped else client
        self._opened.append(found)
        return found

    async def aclose(self) -> None:
        for client in reversed(self._opened):
            closed = (getattr(client, "aclose", None) or client.close)()
            if inspect.isawaitable(closed):
                await closed

    def http(self, package: ModuleType, **options: Any) -> Any:
        """A `Client` for SDKs that take one."""
        return self.sdk(package.Client(**{"timeout": TIMEOUT_S, **options}))

    def async_http(self, package: ModuleType, **options: Any) -> Any:
        """An `AsyncClient` for SDKs that take one."""
        return self.sdk(package.AsyncClient(**{"timeout": TIMEOUT_S, **options}))


@dataclass(frozen=True)
class Call:
    """One call: what the service answers, what the caller does, and what streamgauge is to tell of it."""

    run: Callable[[At], Any]
    """Gives the transcript: all that the caller sees, as plain values. It may be a coroutine function."""
    answers: Sequence[Answer]
    runs: Sequence[str]
    """`{operation} {outcome}` of each run, in order."""
    wraps: bool = True
    """The package takes an HTTP client, or a client that can be wrapped; else only the proxy sees its calls."""

    @property
    def name(self) -> str:
        return self.run.__name__

    def played(self, at: At) -> Any:
        try:
            if not inspect.iscoroutinefunction(self.run):
                return dumped(self.run(at))
            return dumped(asyncio.run(self._in_time(at)))
        finally:
            asyncio.run(at.aclose())

    async def _in_time(self, at: At) -> Any:
        try:
            return await asyncio.wait_for(self.run(at), 3 * TIMEOUT_S)
        finally:
            await at.aclose()


def dumped(value: Any) -> Any:
    """`value` as plain values that can be compared."""
    if isinstance(value, list | tuple):
        return [dumped(each) for each in value]
    if isinstance(value, dict):
        return {name: dumped(each) for name, each in value.items()}
    if hasattr(value, "model_dump"):
        return type(value).__name__, value.model_dump(mode="json", warnings=False)
    if isinstance(value, BaseException):
        return type(value).__name__, type(value.__cause__).__name__, str(value)
    return value


def caught(call: Callable[[], Any]) -> Any:
    """What `call` gives, or the exception that it raises."""
    try:
        return call()
    except Exception as error:
        return error
