"""Answers to play over real sockets: each script's pieces, one after the other, on a clock that is moved by hand.

The upstream sends a piece only when the caller has all before it, so that a transport which holds something back hangs
here instead of passing.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from streamgauge import dialects
from streamgauge.answer import Answer
from streamgauge.signals import RUN, Closed
from streamgauge.wire import Aside, Outcome

WIRES = Path(__file__).parent.parent / "wire"
STEP_MS = 10
"""What passes before each piece."""


@dataclass(frozen=True)
class Wire:
    """One request and its answer."""

    name: str
    dialect: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int
    answer_headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]
    expect: dict[str, Any]

    @property
    def content_type(self) -> str:
        return next((value for name, value in self.answer_headers if name.lower() == "content-type"), "")

    def outcome_after(self, count: int, otherwise: Outcome) -> Outcome:
        """How the last run ends, if the stream ends in another way after `count` pieces."""
        closed, opened = self._ends(count)
        return closed if closed is not None and not opened else otherwise

    def _ends(self, count: int) -> tuple[Outcome | None, bool]:
        kind = dialects.find(self.dialect)
        assert kind is not None
        answer = Answer(kind())
        head = {"status": self.status, "content_type": self.content_type, "coding": ""}
        signals = list(answer.feed(Aside("http.response", head), 1))
        for piece in self.pieces[:count]:
            signals += answer.feed(piece, 2)
        signals += answer.untold(3)
        closed = None
        for signal in signals:
            if isinstance(signal, Closed) and signal.key == RUN and closed is None:
                closed = signal.outcome
        return closed, False


@cache
def wires() -> dict[str, Wire]:
    """All scripts by name."""
    return {path.name.removesuffix(".http.json"): _wire(path) for path in sorted(WIRES.glob("*.http.json"))}


def _wire(path: Path) -> Wire:
    script = json.loads(path.read_text("utf-8"))
    asked, answer = script["request"], script["response"]
    pieces = answer.get("pieces")
    return Wire(
        path.name.removesuffix(".http.json"),
        script["dialect"],
        asked.get("method", "POST"),
        asked["path"],
        tuple((asked.get("headers") or {}).items()),
        json.dumps(asked["body"]).encode() if asked.get("body") is not None else b"",
        answer.get("status", 200),
        tuple((answer.get("headers") or {}).items()),
        tuple(p.encode() for p in pieces)
        if pieces is not None
        else tuple(map(base64.b64decode, answer["pieces_base64"])),
        script["expect"],
    )


class Turns:
    """Whose turn it is: the upstream's to send, or the caller's to receive."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.sent = 0
        self.received = 0
        self.free = False
        """Nobody waits for anybody."""
        self._changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes, write: Callable[[bytes], Any]) -> None:
        """Send a piece, when the caller has all before it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.free or self.received >= self.sent)
        self.clock.pass_ms(STEP_MS)
        self.sent += len(data)
        result = write(data)
        if result is not None:
            await result

    async def settled(self) -> None:
        """The caller has all that was sent."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.free or self.received >= self.sent)

    async def got(self, size: int) -> None:
        async with self._changed:
            self.received += size
            self._changed.notify_all()

    def got_threadsafe(self, size: int) -> None:
        asyncio.run_coroutine_threadsafe(self.got(size), self._loop).result(10)


@dataclass
class Upstream:
    """A server that plays one script for each connection's request, to its end or as `ending` says.

    `ending`: None plays the whole; `("cut", n)` breaks the connection after n pieces; `("wait", n)` sends n pieces and
    waits until the connection is lost.
    """

    wire: Wire
    turns: Turns
    ending: tuple[str, int] | None = None
    port: int = 0
    lost: asyncio.Event | None = None
    """The connection of a stream that waits is lost."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Upstream]:
        self.lost = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            tasks.add(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.lost is not None
        try:
            while await self._request(reader):
                if not await self._answer(reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.lost.set()
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length, chunked = 0, False
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            chunked = chunked or (name.lower() == b"transfer-encoding" and b"chunked" in value)
        if chunked:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        elif length:
            assert await reader.readexactly(length) == self.wire.body
        return True

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        assert self.lost is not None
        wire = self.wire
        how, count = self.ending or ("", len(wire.pieces))
        lines = [f"HTTP/1.1 {wire.status} X", *(f"{name}: {value}" for name, value in wire.answer_headers)]
        writer.write("\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode())
        for piece in wire.pieces[:count]:
            await self.turns.send(piece, lambda data: writer.write(b"%x\r\n%s\r\n" % (len(data), data)))
            await writer.drain()
        await self.turns.settled()
        self.turns.clock.pass_ms(STEP_MS)
        if how == "cut":
            return False
        if how == "wait":
            await reader.read()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
