"""A scripted upstream, a caller on a raw socket, and a watch that notes what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from streamgauge.transports.http import Limits, Route, Server, serve

WAIT_S = 10.0
"""No step of a test takes so long, on any machine."""


async def soon(awaitable: Awaitable[Any], seconds: float = WAIT_S) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


async def until(true: Callable[[], Any]) -> None:
    """Wait for what tells nobody."""

    async def ask() -> None:
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    await soon(ask())


class Noting:
    """A watch and its exchanges: each call as (name, arguments)."""

    def __init__(self, carried: dict[str, str] | None = None) -> None:
        self.exchanges: list[NotingExchange] = []
        self.carried = carried or {}
        self.changed = asyncio.Event()

    def exchange(self, method: str, target: str, headers: Any, **more: Any) -> NotingExchange:
        made = NotingExchange(self, method, target, list(headers), more)
        self.exchanges.append(made)
        return made

    async def until(self, told: Callable[[Noting], Any]) -> Any:
        """What `told` gives, as soon as it is true."""

        async def wait() -> Any:
            while not (found := told(self)):
                self.changed.clear()
                await self.changed.wait()
            return found

        return await soon(wait())

    async def ended(self, number: int = 0) -> dict[str, Any]:
        """How an exchange ended."""
        return await self.until(lambda each: len(each.exchanges) > number and each.exchanges[number].ends)


class NotingExchange:
    def __init__(self, watch: Noting, method: str, target: str, headers: Any, more: dict[str, Any]) -> None:
        self.watch = watch
        self.method, self.target, self.headers, self.more = method, target, headers, more
        self.calls: list[tuple[Any, ...]] = []
        self.ends: dict[str, Any] | None = None
        self.times: list[int] = []
        self.holds = self.times
        self.held: list[tuple[bytes, int, int]] = []

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        self.watch.changed.set()

    @property
    def sink(self) -> NotingExchange:
        return self

    def added(self, waited: int) -> None:
        self.times.append(waited)

    def traceparent(self) -> dict[str, str]:
        self._note("traceparent")
        return self.watch.carried

    def sent(self, data: bytes) -> None:
        self._note("sent", bytes(data))

    def requested(self) -> None:
        self._note("requested")

    def retrying(self, attempt: int, reason: str, delay_s: float | None) -> None:
        self._note("retrying", attempt, reason, delay_s)

    def responded(self, status: int, headers: Any) -> None:
        self._note("responded", status, list(headers))

    def told(self, data: bytes, at: int) -> tuple[tuple[()], int]:
        assert isinstance(data, bytes)
        assert 0 < at <= time.monotonic_ns()
        self._note("data", data)
        return (), 0

    def paused(self) -> None:
        self._note("paused")

    def resumed(self) -> None:
        self._note("resumed")

    def disconnected(self, policy: str) -> None:
        self._note("disconnected", policy)

    def end(self, error: Any = None, *, outcome: Any = None, error_type: str = "") -> None:
        assert self.ends is None, "an exchange ends once"
        self.ends = {"error": error, "outcome": outcome and str(outcome), "error_type": error_type}
        self._note("end")

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    @property
    def received(self) -> bytes:
        return b"".join(call[1] for call in self.calls if call[0] == "data")


class Connection:
    """One end of a connection, for a script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.socket: socket.socket = writer.get_extra_info("socket")

    async def send(self, *data: bytes) -> None:
        for each in data:
            self.writer.write(each)
            await soon(self.writer.drain())

    async def head(self) -> bytes:
        return await soon(self.reader.readuntil(b"\r\n\r\n"))

    async def exactly(self, size: int) -> bytes:
        return await soon(self.reader.readexactly(size))

    async def until(self, end: bytes) -> bytes:
        return await soon(self.reader.readuntil(end))

    async def rest(self) -> bytes:
        """All until the other side closes; a reset counts as that."""
        parts = []
        try:
            while part := await soon(self.reader.read(65_536)):
                parts.append(part)
        except ConnectionError:
            pass
        return b"".join(parts)

    async def request(self) -> tuple[bytes, bytes]:
        """A request's head and its body."""
        head = await self.head()
        return head, await self.body(head)

    async def body(self, head: bytes) -> bytes:
        low = head.lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in low:
            parts = []
            while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
                parts.append((await self.exactly(size + 2))[:-2])
            while await self.until(b"\r\n") != b"\r\n":
                pass
            return b"".join(parts)
        if b"\r\ncontent-length:" in low:
            return await self.exactly(int(low.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0]))
        return b""

    async def answer(self, *, head_only: bool = False) -> tuple[bytes, bytes]:
        """An answer's head and its body."""
        head = await self.head()
        status = int(head.split(b" ")[1])
        if head_only or status in (204, 304) or status < 200:
            return head, b""
        low = head.lower()
        if b"\r\ncontent-length:" in low or b"\r\ntransfer-encoding:" in low:
            return head, await self.body(head)
        return head, await self.rest()

    async def closed(self) -> bool:
        """It ends, or is reset, with nothing more said."""
        return await self.rest() == b""

    def shut(self) -> None:
        """Say no more, but listen."""
        self.writer.write_eof()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


Script = Callable[[Connection], Awaitable[None]]


class Upstream:
    """A server that plays a script on each connection; the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.connections: list[Connection] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.port = 0

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        script = self.scripts[min(len(self.connections), len(self.scripts) - 1)]
        self.connections.append(connection)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            await script(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy has gone; the test sees that by itself
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    @contextlib.asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Upstream]:
        server = await asyncio.start_server(self._play, "127.0.0.1", 0, **options)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


class Proxy:
    """A proxy before a scripted upstream."""

    def __init__(self, server: Server, upstream: Upstream, watch: Noting, refused: list[str]) -> None:
        self.server, self.upstream, self.watch, self.refused = server, upstream, watch, refused
        self.port: int = server.sockets[0].getsockname()[1]
        self.callers: list[Connection] = []

    async def caller(self, **options: Any) -> Connection:
        caller = Connection(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.callers.append(caller)
        return caller

    async def ask(self, request: bytes, *, head_only: bool = False) -> tuple[bytes, bytes]:
        """One request on a connection of its own: the answer's head and body."""
        caller = await self.caller()
        await caller.send(request)
        answer = await caller.answer(head_only=head_only)
        caller.close()
        return answer


@contextlib.asynccontextmanager
async def proxying(
    *scripts: Script,
    carried: dict[str, str] | None = None,
    limits: Limits | None = None,
    upstream_options: dict[str, Any] | None = None,
    scheme: str = "http",
    host: str = "127.0.0.1",
    prefix: str = "/",
    path: str = "",
    server: dict[str, Any] | None = None,
    **route: Any,
) -> AsyncIterator[Proxy]:
    watch = Noting(carried)
    refused: list[str] = []
    async with Upstream(*scripts).serving(**(upstream_options or {})) as upstream:
        where = Route(prefix, f"{scheme}://{host}:{upstream.port}{path}", watch=watch, **route)
        made = await serve([where], limits=limits, on_refused=refused.append, **(server or {}))
        proxy = Proxy(made, upstream, watch, refused)
        try:
            yield proxy
        finally:
            for caller in proxy.callers:
                caller.close()
            await soon(made.close())
        assert made.active.total == 0, "every exchange gave back its place"


def get(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: proxy", *lines, "", ""]).encode("latin-1")


def post(body: bytes, *lines: str, path: str = "/") -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: proxy", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def plain(body: bytes = b"fine", status: str = "200 OK", *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def always(answer: bytes) -> Script:
    """Read a request, give this answer; again."""

    async def script(upstream: Connection) -> None:
        while True:
            await upstream.request()
            await upstream.send(answer)

    return script


async def silent(upstream: Connection) -> None:
    """Read what comes, say nothing."""
    await upstream.rest()


class Stopped:
    """A scripted upstream that tells when its connection ends."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.ready = asyncio.Event()
        self.over = asyncio.Event()
        self.at = 0.0
        self.asked = b""

    async def __call__(self, upstream: Connection) -> None:
        self.asked, _ = await upstream.request()
        await upstream.send(*self.parts)
        self.ready.set()
        await upstream.rest()
        self.at = time.monotonic()
        self.over.set()
