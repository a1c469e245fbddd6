"""An upstream of HTTP/2: streaming, cancellation, back-pressure, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest
import trustme

from streamgauge.transports.http import Limits, Retries, Route, serve
from transports.http.support import Noting, Proxy, Upstream, chunk, get, post, soon, until

OK = [(b":status", b"200"), (b"content-type", b"text/event-stream")]
SMALL_WINDOW = 65_535


class Server(asyncio.Protocol):
    """One connection; what a stream does is told by `plays`."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.bodies: dict[int, bytes] = {}
        self.heads: dict[int, dict[bytes, bytes]] = {}
        self.trailers: dict[int, Any] = {}
        self.resets: list[tuple[int, int]] = []
        self.windows = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.home.streams,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self.home.window,
            },
        )
        self.h2.initiate_connection()
        self.home.connections.append(self)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.home.lost.set()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:  # it came when we had said that we go
            return
        for event in events:
            number = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.RequestReceived):
                self.heads[number] = dict(event.headers)
                self.home.order.append(list(event.headers))
                self.bodies[number] = b""
                self.home.task(self, number, self.home.plays)
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[number] += event.data
                if self.home.reads:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, number)
                self.home.changed.set()
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[number] = event.headers
            elif isinstance(event, h2.events.StreamEnded):
                self.home.ended.add(number)
                self.home.changed.set()
            elif isinstance(event, h2.events.StreamReset):
                self.resets.append((number, event.error_code))
                self.home.reset_at = time.monotonic()
                self.home.reset.set()
            elif isinstance(event, h2.events.WindowUpdated):
                self.windows.set()
        self.flush()

    async def body(self, number: int) -> bytes:
        async def all_of_it() -> bytes:
            while number not in self.home.ended:
                self.home.changed.clear()
                await self.home.changed.wait()
            return self.bodies[number]

        return await soon(all_of_it())

    def head(self, number: int, *more: tuple[bytes, bytes], end: bool = False) -> None:
        self.h2.send_headers(number, [*OK, *more], end_stream=end)
        self.flush()

    async def data(self, number: int, data: bytes, *, end: bool = False) -> None:
        while data or end:
            room = min(self.h2.local_flow_control_window(number), 16_384, len(data))
            if data and room <= 0:
                self.windows.clear()
                self.home.full.set()
                await self.windows.wait()
                continue
            piece, data = data[:room], data[room:]
            self.h2.send_data(number, piece, end_stream=end and not data)
            self.home.sent += len(piece)
            self.flush()
            if not data:
                return


Play = Callable[[Server, int], Any]


class Home:
    """A server of HTTP/2."""

    def __init__(self, plays: Play, *, streams: int = 100, window: int = SMALL_WINDOW) -> None:
        self.plays = plays
        self.streams = streams
        self.window = window
        self.connections: list[Server] = []
        self.order: list[list[tuple[bytes, bytes]]] = []
        self.ended: set[int] = set()
        self.reads = True
        self.sent = 0
        self.changed, self.reset, self.lost, self.full = (asyncio.Event() for _ in range(4))
        self.reset_at = 0.0
        self.tasks: list[asyncio.Task[None]] = []

    def task(self, server: Server, number: int, play: Play) -> None:
        self.tasks.append(asyncio.ensure_future(play(server, number)))


@contextlib.asynccontextmanager
async def proxying(
    home: Home, *, tls: ssl.SSLContext | None = None, limits: Limits | None = None, **route: Any
) -> AsyncIterator[Proxy]:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Server(home), "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    watch = Noting()
    where = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    made = await serve([Route("/", where, watch=watch, http2=True, **route)], limits=limits)
    upstream = Upstream()
    upstream.port = port
    proxy = Proxy(made, upstream, watch, [])
    try:
        yield proxy
    finally:
        for caller in proxy.callers:
            caller.close()
        await soon(made.close())
        listener.close()
        for task in home.tasks:
            task.cancel()
        for end in await asyncio.gather(*home.tasks, return_exceptions=True):
            assert end is None or isinstance(end, asyncio.CancelledError), end
        for connection in home.connections:
            connection.transport.abort()
    assert made.active.total == 0


async def echo(server: Server, number: int) -> None:
    body = await server.body(number)
    server.head(number, (b"content-length", b"%d" % len(body)), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    await server.data(number, body, end=True)


async def test_requests_and_answers() -> None:
    home = Home(echo)
    async with proxying(home) as proxy:
        caller = await proxy.caller()
        for body in (b"one", b"x" * 3_000_000, b"three"):
            await caller.send(post(body, "X-A: 1", "Connection: X-Hop", "X-Hop: 1", "Expect: 100-continue", "x-a: 2"))
            head, got = await caller.answer()
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert head.count(b"set-cookie: ") == 2
            assert got == body
        assert len(home.connections) == 1
        assert home.order[0] == [
            (b":method", b"POST"), (b":scheme", b"http"), (b":authority", f"127.0.0.1:{proxy.upstream.port}".encode()),
            (b":path", b"/"), (b"content-length", b"3"), (b"x-a", b"1"), (b"x-a", b"2"),
        ]  # fmt: skip
        assert proxy.watch.exchanges[1].received == b"x" * 3_000_000
        assert await proxy.watch.ended(2) == {"error": None, "outcome": None, "error_type": ""}


async def test_a_chunked_request_and_an_answer_of_no_length() -> None:
    async def play(server: Server, number: int) -> None:
        body = await server.body(number)
        server.head(number)
        for piece in (body, b"more"):
            await server.data(number, piece)
        server.h2.end_stream(number)
        server.flush()

    async with proxying(Home(play)) as proxy:
        head, body = await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"one") + b"0\r\n\r\n"
        )
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        assert body == b"onemore"


async def test_a_caller_that_waits_for_a_100_gets_one() -> None:
    async with proxying(Home(echo)) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 4"))
        assert await caller.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(b"body")
        assert (await caller.answer())[1] == b"body"


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
async def test_an_answer_without_a_body(method: bytes) -> None:
    async def play(server: Server, number: int) -> None:
        server.head(number, (b"content-length", b"0"), end=True)

    async with proxying(Home(play)) as proxy:
        caller = await proxy.caller()
        for _ in range(2):
            await caller.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await caller.answer(head_only=method == b"HEAD"))[1] == b""


async def test_trailers_and_hints() -> None:
    async def play(server: Server, number: int) -> None:
        server.h2.send_headers(number, [(b":status", b"103"), (b"link", b"</a>")])
        server.head(number, (b"trailer", b"x-t"))
        await server.data(number, b"one")
        server.h2.send_headers(number, [(b"x-t", b"1")], end_stream=True)
        server.flush()

    async with proxying(Home(play)) as proxy:
        caller = await proxy.caller()
        await caller.send(get("/", "TE: trailers", "Connection: TE"))
        assert await caller.head() == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        await caller.head()
        assert await caller.exactly(8) == chunk(b"one")
        assert await caller.until(b"\r\n\r\n") == b"0\r\nx-t: 1\r\n\r\n"


async def test_the_first_piece_is_out_before_the_second_is_sent() -> None:
    seen = [asyncio.Event() for _ in range(3)]

    async def play(server: Server, number: int) -> None:
        server.head(number)
        for event in seen:
            await server.data(number, b"piece")
            await soon(event.wait())
        server.h2.end_stream(number)
        server.flush()

    async with proxying(Home(play)) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.head()
        for event in seen:
            assert await caller.exactly(10) == chunk(b"piece")
            event.set()
        assert await caller.exactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("how", ["close", "shut", "reset"])
@pytest.mark.parametrize("window", ["before the head", "within the body", "within the request"])
async def test_a_caller_that_goes_resets_the_stream_and_no_other(window: str, how: str) -> None:
    ready = asyncio.Event()

    async def play(server: Server, number: int) -> None:
        if server.heads[number][b":path"] == b"/other":
            await echo(server, number)
            return
        if window == "within the body":
            server.head(number)
            await server.data(number, b"one")
        ready.set()

    quickest = 1e9
    for _ in range(3):
        home = Home(play)
        ready.clear()
        async with proxying(home) as proxy:
            caller, other = await proxy.caller(), await proxy.caller()
            request = (
                post(b"body") if window != "within the request" else post(b"body").replace(b"Length: 4", b"Length: 5")
            )
            await caller.send(request)
            await soon(ready.wait())
            if window == "within the body":
                await caller.until(b"one\r\n")
            began = time.monotonic()
            getattr(caller, how)()
            await soon(home.reset.wait())
            quickest = min(quickest, home.reset_at - began)
            assert home.connections[0].resets == [(1, h2.errors.ErrorCodes.CANCEL)]
            assert (await proxy.watch.ended())["outcome"] == "abandoned"
            await other.send(post(b"fine", path="/other"))
            assert (await other.answer())[1] == b"fine"
            assert len(home.connections) == 1
        if quickest < 0.05:
            break
    assert quickest < 0.05


async def test_a_slow_caller_holds_its_own_stream_only() -> None:
    total = 24 * 1_048_576
    sent = 0

    async def play(server: Server, number: int) -> None:
        nonlocal sent
        if server.heads[number][b":path"] == b"/other":
            await echo(server, number)
            return
        server.head(number)
        while sent < total:
            await server.data(number, b"x" * 16_384)
            sent += 16_384
            await asyncio.sleep(0)
        server.h2.end_stream(number)
        server.flush()

    home = Home(play)
    async with proxying(home) as proxy:
        caller, other = await proxy.caller(limit=1_000), await proxy.caller()
        await caller.send(get())
        await proxy.watch.until(lambda watch: watch.exchanges and "paused" in watch.exchanges[0].names)
        await soon(home.full.wait())
        await other.send(post(b"fine" * 100_000, path="/other"))
        assert (await other.answer())[1] == b"fine" * 100_000
        assert sent < total / 2
        _, body = await caller.answer()
        assert len(body) == total
        assert (await proxy.watch.ended())["outcome"] is None


async def test_a_slow_upstream_holds_the_caller() -> None:
    total = 16 * 1_048_576

    async def play(server: Server, number: int) -> None:
        await soon(go.wait())
        server.home.reads = True
        server.h2.acknowledge_received_data(len(server.bodies[number]), number)
        server.flush()
        body = await server.body(number)
        server.head(number, (b"content-length", b"%d" % len(b"%d" % len(body))))
        await server.data(number, b"%d" % len(body), end=True)

    go = asyncio.Event()
    home = Home(play)
    home.reads = False
    async with proxying(home) as proxy:
        caller = await proxy.caller()
        caller.writer.write(post(b"x" * total))
        await until(lambda: proxy.server.paused)
        assert sum(len(call[1]) for call in proxy.watch.exchanges[0].calls if call[0] == "sent") < total / 2
        go.set()
        assert (await caller.answer())[1] == b"%d" % total


async def test_more_streams_than_one_connection_takes() -> None:
    together = asyncio.Barrier(5)

    async def play(server: Server, number: int) -> None:
        await soon(together.wait())
        await echo(server, number)

    home = Home(play, streams=2)
    async with proxying(home) as proxy:
        callers = [await proxy.caller() for _ in range(5)]
        for number, caller in enumerate(callers):
            await caller.send(post(b"%d" % number))
        for number, caller in enumerate(callers):
            assert (await caller.answer())[1] == b"%d" % number
        assert 3 <= len(home.connections) <= 5


FAULTS: dict[str, tuple[str, str, bool]] = {
    "reset before": ("failed", "connection_lost", True),
    "closes before": ("failed", "connection_lost", True),
    "garbage": ("failed", "connection_lost", True),
    "reset within": ("truncated", "connection_lost", False),
    "closes within": ("truncated", "connection_lost", False),
    "less than it said": ("truncated", "connection_lost", False),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_faults(name: str) -> None:
    outcome, reason, before = FAULTS[name]

    async def play(server: Server, number: int) -> None:
        if not before:
            server.head(number, *([(b"content-length", b"99")] if name.startswith("less") else []))
            await server.data(number, b"one")
            await proxy.watch.until(lambda watch: "data" in watch.exchanges[0].names)
        if name.startswith("reset"):
            server.h2.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
            server.flush()
        elif name == "garbage":
            server.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
        elif name.startswith("less"):
            server.transport.write(b"\x00\x00\x00\x00\x01" + number.to_bytes(4, "big"))
        else:
            server.transport.abort()

    async with proxying(Home(play)) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        head = await caller.head()
        if before:
            assert head.startswith(b"HTTP/1.1 502 ")
        else:
            assert await caller.rest() == chunk(b"one") or b"content-length" in head
        ended = await proxy.watch.ended()
        assert ended == {"error": None, "outcome": outcome, "error_type": reason}


async def test_a_stream_that_was_refused_is_sent_again() -> None:
    async def play(server: Server, number: int) -> None:
        if len(home.connections) == 1:
            server.h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            server.flush()
            return
        await echo(server, number)

    home = Home(play)
    async with proxying(home) as proxy:
        assert (await proxy.ask(post(b"body")))[1] == b"body"


async def test_it_is_sent_again_only_once() -> None:
    async def play(server: Server, number: int) -> None:
        server.h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
        server.flush()

    home = Home(play)
    async with proxying(home) as proxy:
        head, _ = await proxy.ask(post(b"body"))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert len(home.order) == 2


async def test_a_connection_that_goes_away_is_left() -> None:
    async def play(server: Server, number: int) -> None:
        if server is home.connections[0]:
            server.h2.close_connection(last_stream_id=0)
            server.flush()
            return
        await echo(server, number)

    home = Home(play)
    async with proxying(home) as proxy:
        for body in (b"one", b"two"):
            assert (await proxy.ask(post(body)))[1] == body
        assert len(home.connections) == 2
        assert "retrying" not in proxy.watch.exchanges[0].names


async def test_retries_go_by_the_status() -> None:
    async def play(server: Server, number: int) -> None:
        await server.body(number)
        if len(home.order) == 1:
            server.h2.send_headers(number, [(b":status", b"503")], end_stream=True)
            server.flush()
            return
        await echo(server, number)

    home = Home(play)
    policy = Retries(backoff_s=0.01, methods=frozenset({"POST"}))
    async with proxying(home, retries=policy) as proxy:
        assert (await proxy.ask(post(b"x")))[1] == b"x"
        assert "retrying" in proxy.watch.exchanges[0].names


@pytest.mark.parametrize("protocols", [["h2"], ["http/1.1"]])
async def test_tls_and_what_was_agreed_on(protocols: list[str], tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(protocols)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with proxying(Home(echo), tls=context, ca_file=str(tmp_path / "ca.pem")) as proxy:
        head, body = await proxy.ask(post(b"body"))
        if protocols == ["h2"]:
            assert body == b"body"
        else:
            assert head.startswith(b"HTTP/1.1 502 ")
            assert proxy.watch.exchanges[0].ends == {
                "error": None,
                "outcome": "failed",
                "error_type": "connect_error",
            }


async def test_an_idle_connection_is_closed() -> None:
    home = Home(echo)
    async with proxying(home, limits=Limits(pool_idle_s=0.2)) as proxy:
        await proxy.ask(post(b"x"))
        await soon(home.lost.wait())
