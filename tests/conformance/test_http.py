"""The conformance matrix over HTTP: every dialect's answers, through each transport that carries HTTP, over real
sockets, with every way to end one.

Each: the caller gets the same status, headers and bytes; the first piece before the upstream sends the second; one run
span, ended once, with the outcome and the clocks that the same bytes give without any socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httptools
import httpx
import httpx2
import pytest
import uvicorn

import streamgauge.asgi
import streamgauge.httpx
from streamgauge import httpwatch, pipeline, testing
from streamgauge.transports import _httpx_body, httpx_client
from streamgauge.transports import asgi as asgi_transport
from streamgauge.transports.http import Route, serve
from streamgauge.transports.http import front as fronts
from streamgauge.transports.http import relay as relays
from streamgauge.transports.http import server as servers
from streamgauge.transports.http import upstream as upstreams
from streamgauge.wire import Outcome

from .wires import STEP_MS, Turns, Upstream, Wire, wires

NAMES = sorted(wires())
BEGAN_NS = 1_000_000_000
EPOCH_NS = 1_790_000_000_000_000_000
DULL = ("streamgauge.transport", "server.address", "server.port")
"""Attributes that say where, not what."""


@dataclass
class Answered:
    """What a caller got."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    error: BaseException | None = None


# Callers ----------------------------------------------------------------------------------------------------------


class _Reader:
    """A response's head and body, piece by piece."""

    def __init__(self, answered: Answered) -> None:
        self.answered = answered
        self.parser = httptools.HttpResponseParser(self)
        self.complete = False
        self.fresh = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answered.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.answered.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answered.body += body
        self.fresh += len(body)

    def on_message_complete(self) -> None:
        self.complete = True


async def ask(port: int, wire: Wire, turns: Turns, *, leaves_after: int | None = None) -> Answered:
    """A caller of its own: a raw connection, closed after so many bytes of the body if that is asked for."""
    answered = Answered()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{wire.method} {wire.path} HTTP/1.1", "host: api.test", *(f"{n}: {v}" for n, v in wire.headers)]
    if wire.body:
        lines += ["content-type: application/json", f"content-length: {len(wire.body)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + wire.body)
    parsed = _Reader(answered)
    try:
        while not parsed.complete:
            data = await reader.read(65_536)
            if not data:
                raise ConnectionResetError("the answer was cut")
            parsed.parser.feed_data(data)
            fresh, parsed.fresh = parsed.fresh, 0
            if leaves_after is not None and len(answered.body) >= leaves_after:
                break
            if fresh:
                await turns.got(fresh)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        answered.error = error
    finally:
        writer.transport.abort()
    return answered


async def ask_httpx(client: Any, url: str, wire: Wire, turns: Turns, *, leaves_after: int | None = None) -> Answered:
    answered = Answered()
    headers = {**dict(wire.headers), "content-type": "application/json"}
    try:
        async with client.stream(wire.method, url + wire.path, content=wire.body, headers=headers) as response:
            answered.status = response.status_code
            answered.headers = [(name.lower(), value) for name, value in response.headers.raw]
            async for piece in response.aiter_raw():
                answered.body += piece
                if leaves_after is not None and len(answered.body) >= leaves_after:
                    break
                await turns.got(len(piece))
    except (httpx.TransportError, httpx2.TransportError) as error:
        answered.error = error
    return answered


def ask_httpx_sync(client: Any, url: str, wire: Wire, turns: Turns, *, leaves_after: int | None = None) -> Answered:
    answered = Answered()
    headers = {**dict(wire.headers), "content-type": "application/json"}
    try:
        with client.stream(wire.method, url + wire.path, content=wire.body, headers=headers) as response:
            answered.status = response.status_code
            answered.headers = [(name.lower(), value) for name, value in response.headers.raw]
            for piece in response.iter_raw():
                answered.body += piece
                if leaves_after is not None and len(answered.body) >= leaves_after:
                    break
                turns.got_threadsafe(len(piece))
    except (httpx.TransportError, httpx2.TransportError) as error:
        answered.error = error
    return answered


# Transports -------------------------------------------------------------------------------------------------------

Caller = Callable[..., Awaitable[Answered]]


@asynccontextmanager
async def bare(upstream: Upstream) -> AsyncIterator[Caller]:
    """No transport of ours: what the caller gets without it."""
    yield lambda **how: ask(upstream.port, upstream.wire, upstream.turns, **how)


@asynccontextmanager
async def proxy(upstream: Upstream) -> AsyncIterator[Caller]:
    watch = httpwatch.watch("http", dialect=upstream.wire.dialect)
    server = await serve([Route("/", f"http://127.0.0.1:{upstream.port}", watch=watch)])
    try:
        port = server.sockets[0].getsockname()[1]
        yield lambda **how: ask(port, upstream.wire, upstream.turns, **how)
    finally:
        await server.close()


@asynccontextmanager
async def httpx_async(upstream: Upstream) -> AsyncIterator[Caller]:
    transport = streamgauge.httpx.AsyncTransport(dialect=upstream.wire.dialect)
    async with httpx.AsyncClient(transport=transport, timeout=20) as client:
        url = f"http://127.0.0.1:{upstream.port}"
        yield lambda **how: ask_httpx(client, url, upstream.wire, upstream.turns, **how)


@asynccontextmanager
async def httpx2_async(upstream: Upstream) -> AsyncIterator[Caller]:
    async with streamgauge.wrap(httpx2.AsyncClient(timeout=20), dialect=upstream.wire.dialect) as client:
        url = f"http://127.0.0.1:{upstream.port}"
        yield lambda **how: ask_httpx(client, url, upstream.wire, upstream.turns, **how)


@asynccontextmanager
async def httpx_sync(upstream: Upstream) -> AsyncIterator[Caller]:
    transport = streamgauge.httpx.Transport(dialect=upstream.wire.dialect)
    with httpx.Client(transport=transport, timeout=20) as client:
        url = f"http://127.0.0.1:{upstream.port}"
        yield lambda **how: asyncio.to_thread(ask_httpx_sync, client, url, upstream.wire, upstream.turns, **how)


@asynccontextmanager
async def asgi(upstream: Upstream) -> AsyncIterator[Caller]:
    """The upstream is the application behind the middleware."""
    wire, turns = upstream.wire, upstream.turns

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        assert body == wire.body
        headers = [(name.encode(), value.encode()) for name, value in wire.answer_headers]
        await send({"type": "http.response.start", "status": wire.status, "headers": headers})
        how, count = upstream.ending or ("", len(wire.pieces))
        for piece in wire.pieces[:count]:
            await turns.send(piece, lambda data: send({"type": "http.response.body", "body": data, "more_body": True}))
        await turns.settled()
        turns.clock.pass_ms(STEP_MS)
        if how == "cut":
            return  # without a last piece: the server breaks the connection
        if how == "wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            assert upstream.lost is not None
            upstream.lost.set()
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    watched = streamgauge.asgi.Middleware(
        app, dialects={f"{wire.method} {wire.path.partition(chr(63))[0]}": wire.dialect}
    )
    config = uvicorn.Config(watched, port=0, lifespan="off", log_level="critical", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 (it has no event to wait for)
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield lambda **how: ask(port, wire, turns, **how)
    finally:
        server.should_exit = True
        await task


TRANSPORTS: dict[str, Any] = {
    "proxy": proxy, "httpx": httpx_async, "httpx2": httpx2_async, "httpx sync": httpx_sync, "asgi": asgi,
}  # fmt: skip


# What is recorded -------------------------------------------------------------------------------------------------


def direct(wire: Wire, clock: Any, count: int | None, **end: Any) -> list[Any]:
    """The spans that the same bytes give at the same times, without a socket."""
    clock.now = BEGAN_NS
    with testing.recording() as seen:
        watch = httpwatch.watch("direct", dialect=wire.dialect)
        headers = [(name.encode(), value.encode()) for name, value in wire.headers]
        exchange = watch.exchange(wire.method, wire.path, [*headers, (b"content-type", b"application/json")])
        exchange.sent(wire.body)
        exchange.requested()
        exchange.responded(wire.status, [(n.encode(), v.encode()) for n, v in wire.answer_headers])
        for piece in wire.pieces[:count]:
            clock.pass_ms(STEP_MS)
            exchange.data(piece, clock())
        clock.pass_ms(STEP_MS)
        exchange.end(**end)
        return told(seen)


def told(seen: testing.Seen) -> list[Any]:
    """All that spans say of what happened, and when, from the start of the first."""
    zero = min((span["start"] for span in seen.spans), default=0)
    return [
        (
            span["name"],
            span["parent"],
            span["status"],
            span["start"] - zero,
            span["end"] - zero,
            {name: value for name, value in span["attributes"].items() if name not in DULL},
            [{**event, "at": event["at"] - zero} for event in span["events"]],
        )
        for span in seen.spans
    ]


def run_of(seen: testing.Seen) -> dict[str, Any]:
    (run,) = [span for span in seen.spans if span["parent_id"] is None]
    return run


@pytest.fixture
def timed(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hand-moved clock, also of the transports."""
    for module in (fronts, relays, servers, upstreams, httpx_client, _httpx_body, asgi_transport):
        monkeypatch.setattr(module, "_clock", clock, raising=False)
    monkeypatch.setattr(pipeline.time, "time_ns", lambda: EPOCH_NS + clock())
    return clock


async def settle(seen: testing.Seen) -> None:
    """The transport has noticed the end, in its own tasks."""
    async with asyncio.timeout(10):
        while seen.open:  # noqa: ASYNC110 (what ends a stream tells nobody)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_whole_answer(name: str, transport: str, timed: Any) -> None:
    wire = wires()[name]
    async with Upstream(wire, Turns(timed)).serving() as upstream, bare(upstream) as caller:
        expected = await caller()
    timed.now = BEGAN_NS
    with testing.recording() as seen:
        async with Upstream(wire, Turns(timed)).serving() as upstream, TRANSPORTS[transport](upstream) as caller:
            answered = await caller()
            await settle(seen)
        assert answered.error is None
        assert answered.status == expected.status
        assert answered.body == expected.body == b"".join(wire.pieces)
        if transport != "asgi":  # whose server adds its own
            assert answered.headers == expected.headers
        assert run_of(seen)["attributes"]["streamgauge.outcome"] == wire.expect["outcome"]
        found = told(seen)
    expected_spans = direct(wire, timed, None)
    if transport == "httpx sync":  # in a thread of its own, it asks for the next piece when it gets to it
        for *_, attributes, _ in (*found, *expected_spans):
            attributes.pop("streamgauge.stream.wait.source", None)
            attributes.pop("streamgauge.stream.wait.caller", None)
    assert found == expected_spans


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_cut_answer(name: str, transport: str, timed: Any) -> None:
    """The connection is lost in the middle of the body."""
    wire = wires()[name]
    cut = max(1, len(wire.pieces) // 2)
    with testing.recording() as seen:
        upstream = Upstream(wire, Turns(timed), ("cut", cut))
        async with upstream.serving(), TRANSPORTS[transport](upstream) as caller:
            answered = await caller()
            await settle(seen)
        assert answered.error is not None, "no made-up end"
        assert answered.body == b"".join(wire.pieces[:cut])
        assert run_of(seen)["attributes"]["streamgauge.outcome"] == wire.outcome_after(cut, Outcome.TRUNCATED)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_caller_who_leaves(name: str, transport: str, timed: Any) -> None:
    """After some pieces, while the upstream is silent: it is told, and the stream is `abandoned`."""
    wire = wires()[name]
    count = max(1, len(wire.pieces) // 2)
    with testing.recording() as seen:
        upstream = Upstream(wire, Turns(timed), ("wait", count))
        async with upstream.serving(), TRANSPORTS[transport](upstream) as caller:
            upstream.turns.received = -sum(map(len, wire.pieces))  # it leaves before it says that it has all
            upstream.turns.free = True
            await caller(leaves_after=sum(map(len, wire.pieces[:count])))
            assert upstream.lost is not None
            async with asyncio.timeout(10):
                await upstream.lost.wait()
            await settle(seen)
        assert run_of(seen)["attributes"]["streamgauge.outcome"] == wire.outcome_after(count, Outcome.ABANDONED)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [404, 429, 500])
async def test_an_error_status(status: int, transport: str, timed: Any) -> None:
    wire = replace(
        wires()["openai-chat-text"],
        status=status,
        answer_headers=(("content-type", "application/json"), ("retry-after", "1")),
        pieces=(b'{"error": {"message": "no"}}',),
    )
    with testing.recording() as seen:
        async with Upstream(wire, Turns(timed)).serving() as upstream, TRANSPORTS[transport](upstream) as caller:
            answered = await caller()
            await settle(seen)
        assert (answered.status, answered.body) == (status, wire.pieces[0])
        attributes = run_of(seen)["attributes"]
        assert (attributes["streamgauge.outcome"], attributes["error.type"]) == ("failed", str(status))
