"""Conversations to play over real WebSockets: each capture's messages in turn, by both sides, on a clock that is moved
by hand to the capture's own times.

A message is sent only when the other side has the one before it, so that a transport which holds something back hangs
here instead of passing, and each clock reads the same on any machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed

from streamgauge import dialects
from streamgauge.capture import Capture, Ending, read
from streamgauge.signals import RUN, Closed, Opened
from streamgauge.wire import Aside, Event, Outcome, Request

CAPTURES = Path(__file__).parent.parent / "captures"
BEGAN_NS = 1_000_000_000
EPOCH_NS = 1_790_000_000_000_000_000
SUBPROTOCOL = "chat"
PATIENCE_S = 10

_RESETS = struct.pack("ii", 1, 0)
"""SO_LINGER: what is closed is reset."""


# What is said -----------------------------------------------------------------------------------------------------


@dataclass
class Script:
    """What both sides say in one capture, after the handshake and before the close."""

    name: str
    capture: Capture
    answered_at: int
    """When the handshake was."""
    events: list[Event]
    ended_at: int
    opens: list[int] = field(default_factory=list)
    """Indexes of events that begin a run."""
    closes: list[tuple[int, Outcome]] = field(default_factory=list)
    """(index of the event that ends one, how)."""

    @property
    def dialect(self) -> str:
        return self.capture.request.dialect

    @property
    def terminal(self) -> bool:
        return _kind(self.dialect).terminal

    @property
    def path(self) -> str:
        return str(self.capture.request.attributes["url.path"])

    @property
    def target(self) -> str:
        model = self.capture.request.model
        return f"{self.path}?model={model}" if model else self.path

    @property
    def chosen(self) -> str | None:
        """The dialect as a user would have to name it: not where the path says it."""
        return None if dialects.by_socket(self.path) == self.dialect else self.dialect

    def place(self, name: str) -> int:
        """How many events come before the end: `asked`, only up to the first request; `half`, up to the middle of the
        longest run; `all`."""
        if name == "all":
            return len(self.events)
        if name == "asked":
            return self.opens[0] + 1
        runs = [(self._end_of(index) - index, index) for index in self.opens]
        length, index = max(runs)
        return index + 1 + length // 2

    def _end_of(self, opened: int) -> int:
        return min((index for index, _ in self.closes if index > opened), default=len(self.events))

    def run_is_open(self, count: int) -> bool:
        """After so many events."""
        last = max(index for index in self.opens if index < count)
        return self._end_of(last) >= count

    def untold(self, count: int) -> Outcome | None:
        """How the run that is open has ended by what the dialect has read, and not told yet."""
        decoder = _kind(self.dialect)()
        decoder.anchor = EPOCH_NS
        for event in self.events[:count]:
            for _ in decoder.feed(event.data, BEGAN_NS + event.at):
                pass
        signals = decoder.untold(BEGAN_NS + self.at(count))
        told = [each.outcome for each in signals if isinstance(each, Closed) and each.key == RUN]
        return told[0] if told else None

    def at(self, count: int) -> int:
        """When it ends after so many events."""
        return self.ended_at if count == len(self.events) else self.events[count - 1].at + 5_000_000


def _kind(dialect: str) -> type[dialects.Dialect]:
    kind = dialects.find(dialect)
    assert kind is not None
    return kind


@cache
def conversations() -> dict[str, Script]:
    """All captures of conversations over WebSocket, by name."""
    captures = {path.stem: read(path) for path in sorted(CAPTURES.glob("*.ndjson"))}
    found = {
        name: _script(name, capture)
        for name, capture in captures.items()
        if capture.request.transport == "websocket" and _kind(capture.request.dialect).opens_runs
    }
    return {**found, "made-kinds-and-sizes": _script("made-kinds-and-sizes", _made())}


def _made() -> Capture:
    """What no capture has: bytes of the caller's, messages of no length and of many packets, and any text."""
    noise = random.Random(7).randbytes(200_000)
    said = [noise, "", b"", "\u00fc\U0001f388\x00", noise.hex()]
    events = [Event(5_000_000, Aside("http.response", {"status": 101}))]
    for number, message in enumerate([*said, *reversed(said)]):
        at = 50_000_000 * (number + 1)
        events += [Event(at, Aside("sent", {"data": message})), Event(at + 9_000_000, message)]
    events.append(Event(1_000_000_000, Aside("closed", {"code": 1000, "reason": "", "by": "caller"})))
    facts = {"http.request.method": "GET", "url.path": "/talk"}
    return Capture(Request(dialect="generic-messages", transport="websocket", attributes=facts), None, 0, events)


def _script(name: str, capture: Capture) -> Script:
    first, *events, last = capture.events
    assert (first.data.name, last.data.name) == ("http.response", "closed")
    script = Script(name, capture, first.at, events, last.at)
    decoder = _kind(capture.request.dialect)()
    decoder.anchor = EPOCH_NS
    for index, event in enumerate(events):
        assert not isinstance(event.data, Aside) or event.data.name == "sent"
        for signal in decoder.feed(event.data, BEGAN_NS + event.at):
            if isinstance(signal, Closed) and signal.key == RUN:
                script.closes.append((index, signal.outcome))
            elif isinstance(signal, Opened) and signal.key == RUN:
                script.opens.append(index)
    return script


# How it would be recorded without a socket ------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """How a transport tells of one way to end."""

    closed: tuple[int, str, str] | None
    """Code, reason, by whom; None where it tells of no close."""
    outcome: Outcome | None
    error_type: str = ""


def recorded(script: Script, count: int, told: Told, *, eager: bool, served: bool) -> Capture:
    """The capture's first `count` events and an end, with what a transport knows of when each was asked for.

    Args:
        eager: what comes is asked for since anything was said; else by a caller who reads all the time, since it was
            given the last message, or since the run began.
    """
    asked = 0 if eager else script.answered_at
    events = [Event(script.answered_at, Aside("http.response", {"status": 101}))]
    for index, event in enumerate(script.events[:count]):
        if isinstance(event.data, Aside):
            events.append(Event(event.at, event.data))
            if eager or index in script.opens:
                asked = event.at
        else:
            events.append(Event(event.at, event.data, asked))
            asked = event.at
    at = script.at(count)
    if told.closed is not None:
        code, reason, by = told.closed
        events.append(Event(at, Aside("closed", {"code": code, "reason": reason, "by": by})))
    how = "exhausted" if told.outcome is None else "error"
    ending = Ending(at, how, told.error_type or None, told.outcome or "", asked)
    request = replace(script.capture.request, served=served)
    return Capture(request, None, EPOCH_NS + BEGAN_NS, events, ending)


# Who says it ------------------------------------------------------------------------------------------------------


class Peer:
    """One side of a conversation, and what it got."""

    def __init__(self, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self.got: list[str | bytes] = []
        self.closed: tuple[int | None, str | None] | None = None
        self._changed = asyncio.Event()

    def took(self, message: str | bytes) -> None:
        self.got.append(message)
        self._changed.set()

    def ended(self, code: int | None, reason: str | None) -> None:
        self.closed = (code, reason)
        self._changed.set()

    async def has(self, count: int) -> None:
        """It has so many messages."""
        await self._until(lambda: len(self.got) >= count)

    async def over(self) -> None:
        await self._until(lambda: self.closed is not None)

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def send(self, message: str | bytes) -> None:
        raise NotImplementedError

    async def close(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    @property
    def transcript(self) -> tuple[Any, ...]:
        return self.subprotocol, self.got, self.closed


class Socket(Peer):
    """A connection of the library's, of either side, that is read all the time."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection.subprotocol)
        self.connection = connection
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        connection = self.connection
        try:
            while True:
                self.took(await connection.recv())
        except ConnectionClosed:
            self.ended(connection.close_code, connection.close_reason)

    async def send(self, message: str | bytes) -> None:
        await self.connection.send(message)

    async def close(self, code: int, reason: str) -> None:
        await self.connection.close(code, reason)

    def reset(self) -> None:
        reset(self.connection.transport)

    async def drop(self) -> None:
        """Its user's task is cancelled, and nobody closes it."""
        transport = self.connection.transport
        self.reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.reading
        del self.reading, self.connection
        self.ended(None, None)
        transport.abort()


def reset(transport: Any) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
    transport.abort()


class Served(Peer):
    """The agent in an ASGI application: it reads in one task, and sends in the one that the server called."""

    def __init__(self, receive: Any, send: Any) -> None:
        super().__init__(SUBPROTOCOL)
        self._receive, self._send = receive, send
        self._wanted: asyncio.Queue[tuple[dict[str, Any], asyncio.Future[None]] | None] = asyncio.Queue()
        self.transport: Any = None
        """The server's."""

    async def run(self) -> None:
        reading = asyncio.create_task(self._read())
        while (wanted := await self._wanted.get()) is not None:
            message, done = wanted
            await self._send(message)
            done.set_result(None)
        await reading

    async def _read(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            self.took(message["text"] if message.get("text") is not None else message["bytes"])
        self.ended(message["code"], message.get("reason"))
        self._wanted.put_nowait(None)

    async def _says(self, message: dict[str, Any]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.put_nowait((message, done))
        async with asyncio.timeout(PATIENCE_S):
            await done

    async def send(self, message: str | bytes) -> None:
        await self._says({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code: int, reason: str) -> None:
        await self._says({"type": "websocket.close", "code": code, "reason": reason})

    def reset(self) -> None:
        reset(self.transport)


@dataclass
class Talk:
    """Both sides, connected, and how what is between or around them is shut down."""

    caller: Socket
    agent: Peer
    shut: Callable[[], Awaitable[None]]

    @property
    def transcripts(self) -> dict[str, Any]:
        return {"caller": self.caller.transcript, "agent": self.agent.transcript}


async def say(script: Script, talk: Talk, clock: Any, start: int, stop: int) -> None:
    """The events from `start` on, before `stop`, each at its time."""
    sides: tuple[Peer, Peer] = (talk.caller, talk.agent)
    for event in script.events[start:stop]:
        clock.now = BEGAN_NS + event.at
        if isinstance(event.data, Aside):
            by, to, message = sides[0], sides[1], event.data.data["data"]
        else:
            by, to, message = sides[1], sides[0], event.data
        count = len(to.got) + 1
        await by.send(message)
        await to.has(count)


def said(script: Script, count: int) -> tuple[list[Any], list[Any]]:
    """What the caller is to get of the first `count` events, and the agent."""
    to_caller = [event.data for event in script.events[:count] if not isinstance(event.data, Aside)]
    to_agent = [event.data.data["data"] for event in script.events[:count] if isinstance(event.data, Aside)]
    return to_caller, to_agent
