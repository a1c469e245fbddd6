"""WebSockets between raw sockets, and a conversation that notes what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from streamgauge.framing.websocket import unmasked
from streamgauge.transports._conversation import Conversation
from transports.http.support import Connection, Proxy, get, proxying, soon

KEY = b"\x12\x34\xf0\x0d"
ASKED = (
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
ACCEPTED = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + ACCEPTED + b"\r\n\r\n"


def frame(first: int, data: bytes = b"", key: bytes = b"") -> bytes:
    size, mask = len(data), 0x80 if key else 0
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 65_536:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + key + (unmasked(data, key) if key else data)


def text(data: str, key: bytes = b"") -> bytes:
    return frame(0x81, data.encode(), key)


def close(code: int, reason: str = "", key: bytes = b"") -> bytes:
    return frame(0x88, code.to_bytes(2, "big") + reason.encode(), key)


class Noted(Conversation):
    """Each call as (name, arguments)."""

    def __init__(self, *told: Any, **about: Any) -> None:
        super().__init__(None, lambda tap: {})
        self.told, self.about = told, about
        self.calls: list[tuple[Any, ...]] = []
        self.changed = asyncio.Event()
        self.ends: dict[str, Any] | None = None
        self.carried: dict[str, str] = {}
        self.times: list[tuple[int, int]] = []
        self.blind: list[str] = []
        self.run_open = True

    def note(self, *call: Any) -> None:
        self.calls.append(call)
        self.changed.set()

    @property
    def watched(self) -> bool:
        return True

    @property
    def tap(self) -> Any:
        return SimpleNamespace(sink=self, unread=lambda error: self.blind.append(str(error)))

    def traceparent(self) -> dict[str, str]:
        return self.carried

    def answered(self, status: int) -> None:
        self.note("answered", status)

    def sent(self, data: Any, at: int | None = None) -> None:
        assert at is not None
        assert 0 < at <= time.monotonic_ns()
        self.note("sent", data)

    def received(self, data: Any, at: int, asked: int | None = None) -> None:
        assert 0 < at <= time.monotonic_ns()
        self.note("received", data)

    def skipped(self, at: int, *, came: bool = True) -> None:
        self.note("skipped")

    def written(self, read: int, written: int) -> None:
        self.times.append((read, written))

    def paused(self) -> None:
        self.note("paused")

    def resumed(self) -> None:
        self.note("resumed")

    def aside(self, name: str, data: Any) -> None:
        self.note("aside", name, dict(data))

    def closed(self, code: int, reason: str, by: str) -> None:
        if self.ends is None:
            self.ends = {"code": code, "reason": reason, "by": by}
            self.note("closed", code, reason, by)

    def end(self, error: Any = None, *, outcome: Any = None, error_type: str = "") -> None:
        assert self.ends is None
        self.ends = {"outcome": str(outcome), "error_type": error_type}
        self.note("end")

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    async def until(self, told: Callable[[Noted], Any]) -> Any:
        async def wait() -> Any:
            while not (found := told(self)):
                self.changed.clear()
                await self.changed.wait()
            return found

        return await soon(wait())

    async def ended(self) -> dict[str, Any]:
        return await self.until(lambda noted: noted.ends)

    async def has(self, *call: Any) -> None:
        await self.until(lambda noted: call in noted.calls)


class Joined:
    """A caller and an agent with the proxy between them; the handshake is done."""

    def __init__(self, proxy: Proxy, caller: Connection, agent: Connection, noted: Noted) -> None:
        self.proxy, self.caller, self.agent, self.noted = proxy, caller, agent, noted

    async def over(self) -> None:
        """The proxy has let go of both connections."""
        async with asyncio.timeout(30):
            while self.proxy.server.fronts:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.001)

    @property
    def names(self) -> list[str]:
        return [name for name in self.noted.names if name not in ("paused", "resumed")]


class Agent:
    """Answers a handshake, and hands the connection to the test; it is open until the test is over."""

    def __init__(self, answer: bytes = SWITCHED, behind: bytes = b"") -> None:
        self.answer, self.behind = answer, behind
        self.head = b""
        self.joined: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    async def __call__(self, upstream: Connection) -> None:
        self.head = await upstream.head()
        await upstream.send(self.answer + self.behind)
        self.joined.set_result(upstream)
        await self.over.wait()


@contextlib.asynccontextmanager
async def watched(
    *scripts: Any, noted: Noted | None = None, **options: Any
) -> AsyncIterator[tuple[Proxy, list[Noted]]]:
    """A proxy with routes that are noted."""
    made: list[Noted] = []

    def conversation(*told: Any, **about: Any) -> Noted:
        new = noted or Noted()
        new.told, new.about = told, about
        made.append(new)
        return new

    async with proxying(*scripts, conversations=conversation, **options) as proxy:
        yield proxy, made


@contextlib.asynccontextmanager
async def joined(
    *lines: str, answer: bytes = SWITCHED, behind: bytes = b"", ahead: bytes = b"",
    caller: dict[str, Any] | None = None, **options: Any,
) -> AsyncIterator[Joined]:  # fmt: skip
    """
    Args:
        lines: more of the caller's request.
        behind: what the agent sends together with its answer.
        ahead: what the caller sends without having waited for that.
    """
    agent = Agent(answer, behind)
    async with watched(agent, **options) as (proxy, made):
        asks = await proxy.caller(**(caller or {}))
        await asks.send(get("/chat?q=1", *ASKED, *lines) + ahead)
        head = await asks.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        try:
            yield Joined(proxy, asks, await soon(agent.joined), made[0])
        finally:
            agent.over.set()


async def within(seconds: float, attempt: Callable[[], Awaitable[float]], attempts: int = 3) -> None:
    """One of several attempts takes no longer: the machine may be busy."""
    quickest = 1e9
    for _ in range(attempts):
        quickest = min(quickest, await attempt())
        if quickest < seconds:
            return
    assert quickest < seconds
