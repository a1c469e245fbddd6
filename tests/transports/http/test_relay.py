"""What goes through, unchanged; who waits for whom; and how it ends."""

from __future__ import annotations

import asyncio
import gzip
import re
import time

import pytest

from streamgauge.transports.http import Limits, Retries, relay
from transports.http.support import (
    CHUNKED,
    LAST,
    Connection,
    Stopped,
    always,
    chunk,
    get,
    plain,
    post,
    proxying,
    silent,
    soon,
)

# Unchanged --------------------------------------------------------------------------------------------------------


async def test_the_bytes_of_a_body_are_the_upstreams_with_their_content_coding() -> None:
    packed = gzip.compress(b"data: one\n\n" * 1_000)
    asked = b"\x00\xff" + bytes(range(256)) * 40
    got: list[bytes] = []

    async def script(upstream: Connection) -> None:
        got.append((await upstream.request())[1])
        await upstream.send(plain(packed, "200 OK", "Content-Encoding: gzip", "Content-Type: text/event-stream"))

    async with proxying(script) as proxy:
        head, body = await proxy.ask(post(asked))
        assert body == packed
        assert b"\r\nContent-Encoding: gzip\r\n" in head
        assert got == [asked]
        exchange = proxy.watch.exchanges[0]
        assert exchange.received == packed
        assert exchange.names[:3] == ["sent", "requested", "responded"]
        assert exchange.names[-1] == "end"
        assert b"".join(call[1] for call in exchange.calls if call[0] == "sent") == asked
        assert exchange.ends == {"error": None, "outcome": None, "error_type": ""}
        assert all(waited >= 0 for waited in exchange.times)
        assert len(exchange.times) == exchange.names.count("data")


async def test_request_headers_go_on_in_order_with_duplicates_and_their_case() -> None:
    lines = [
        "X-One: 1", "cookie: a=b", "X-One: 2", "BAGGAGE: k=v", "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "x-spaced:   much   space ", "X-Empty:", "X-Latin: \xe9", "Authorization: Bearer sk-1", "Date: today",
    ]  # fmt: skip
    hop = [
        "Connection: keep-alive, X-Named", "X-Named: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x", "TE: gzip",
        "Proxy-Authorization: Basic x", "x-streamgauge-token: t",
    ]  # fmt: skip
    upstream = Stopped(plain())
    async with proxying(upstream) as proxy:
        await proxy.ask(get("/v1/x?q=%2F&q=2", *lines[:4], *hop, *lines[4:]))
        port = proxy.upstream.port
    first, *rest = upstream.asked.decode("latin-1").split("\r\n")[:-2]
    assert first == "GET /v1/x?q=%2F&q=2 HTTP/1.1"
    assert rest == [f"Host: 127.0.0.1:{port}", *lines]


async def test_answer_headers_go_on_in_order_with_duplicates() -> None:
    lines = ["Date: Mon", "Server: theirs", "Set-Cookie: a=1", "X-a: 1", "Set-Cookie: b=2", "x-A: 2", "Vary:"]
    hop = ["Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: x"]
    async with proxying(always(plain(b"x", "299 All Right", *lines[:3], *hop, *lines[3:]))) as proxy:
        head, _ = await proxy.ask(get())
        told = proxy.watch.exchanges[0].calls[1]
    first, length, *rest = head.decode().split("\r\n")[:-2]
    assert first == "HTTP/1.1 299 All Right"
    assert length == "Content-Length: 1"
    assert [line.replace(": ", ":") for line in rest] == [line.replace(": ", ":") for line in lines]
    assert told[:2] == ("responded", 299)
    assert (b"Set-Cookie", b"b=2") in told[2]


async def test_what_is_told_of_a_request() -> None:
    async with proxying(always(plain()), prefix="/openai", path="/base/", tokens=("t",)) as proxy:
        await proxy.ask(get("/openai/v1/chat?a=b", "x-streamgauge-token: t", "X: y"))
        (exchange,) = proxy.watch.exchanges
        assert (exchange.method, exchange.target) == ("GET", "/base/v1/chat?a=b")
        assert exchange.headers == [(b"Host", b"proxy"), (b"X", b"y")]
        at = exchange.more.pop("at")
        assert 0 < at <= time.monotonic_ns()
        assert exchange.more.pop("lows") in (None, [b"host", b"x"])
        assert exchange.more == {
            "server_address": "127.0.0.1",
            "server_port": proxy.upstream.port,
            "scheme": "http",
        }


@pytest.mark.parametrize(
    ("answer", "framing", "body"),
    [
        (plain(b"12345"), "Content-Length: 5", b"12345"),
        (CHUNKED + chunk(b"12") + chunk(b"345") + LAST, "Transfer-Encoding: chunked", b"12345"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n12345", "Transfer-Encoding: chunked", b"12345"),
        (b"HTTP/1.0 200 OK\r\n\r\n12345", "Transfer-Encoding: chunked", b"12345"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", "Content-Length: 77", b""),
        (plain(b""), "Content-Length: 0", b""),
    ],
)
async def test_bodies_of_each_framing(answer: bytes, framing: str, body: bytes) -> None:
    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(answer)
        if b"Connection: close" in answer or b"HTTP/1.0" in answer:
            upstream.close()
        else:
            await upstream.rest()

    async with proxying(script) as proxy:
        head, got = await proxy.ask(get())
        assert got == body
        found = re.findall(r"(?im)^((?:content-length|transfer-encoding):[^\r]*)", head.decode())
        assert found == ([framing] if framing else [])
        assert (await proxy.watch.ended())["outcome"] is None
        assert proxy.watch.exchanges[0].received == body


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", CHUNKED])
async def test_an_answer_to_head_has_no_body_and_the_connections_go_on(answer: bytes) -> None:
    async with proxying(always(answer)) as proxy:
        caller = await proxy.caller()
        for _ in range(3):
            await caller.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await caller.head()
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert (b"Content-Length: 5" in head) == (b"Content-Length: 5" in answer)
        assert await proxy.watch.ended(2) == {"error": None, "outcome": None, "error_type": ""}
        assert len(proxy.upstream.connections) == 1


async def test_a_caller_of_http_1_0_gets_no_chunks_and_a_close() -> None:
    async with proxying(
        always(b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED + chunk(b"one") + chunk(b"two") + LAST)
    ) as p:
        caller = await p.caller()
        await caller.send(b"GET / HTTP/1.0\r\n\r\n")
        head = await caller.head()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Connection: close" in head
        assert await caller.rest() == b"onetwo"


async def test_answers_before_the_answer_go_on() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with proxying(always(hints + plain())) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        assert await caller.exactly(len(hints)) == hints
        assert (await caller.answer())[1] == b"fine"
        assert [call[1] for call in proxy.watch.exchanges[0].calls if call[0] == "responded"] == [200]


async def test_a_100_is_asked_of_the_upstream_and_given_to_the_caller() -> None:
    async def script(upstream: Connection) -> None:
        head = await upstream.head()
        assert b"\r\nExpect: 100-continue\r\n" in head
        await upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await upstream.send(plain(await upstream.body(head)))

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 4"))
        assert await caller.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(b"body")
        assert (await caller.answer())[1] == b"body"


async def test_an_upstream_that_wants_no_body_is_heard_before_it() -> None:
    async def script(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(plain(b"no", "417 No"))
        assert await upstream.closed()

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 4"))
        assert (await caller.answer())[1] == b"no"
        assert await caller.closed()


@pytest.mark.parametrize("asks", [True, False])
async def test_trailers_go_to_a_caller_that_takes_them(asks: bool) -> None:
    trailers = b"X-Sum: 1\r\nX-Sum: 2\r\n"
    answer = CHUNKED.replace(b"\r\n\r\n", b"\r\nTrailer: X-Sum\r\n\r\n") + chunk(b"one") + b"0\r\n" + trailers
    upstream = Stopped(answer + b"Authorization: x\r\n\r\n")
    async with proxying(upstream) as proxy:
        caller = await proxy.caller()
        await caller.send(get("/", *(["TE: trailers, deflate", "Connection: TE"] if asks else ["TE: gzip"])))
        head = await caller.head()
        assert (b"Trailer: X-Sum" in head) == asks
        assert (b"\r\nTE: trailers\r\nConnection: TE\r\n" in upstream.asked) == asks
        assert await caller.exactly(8) == chunk(b"one")
        expected = b"0\r\n" + (trailers if asks else b"") + b"\r\n"
        assert await caller.exactly(len(expected)) == expected


async def test_a_chunked_request_goes_up_at_once_piece_by_piece() -> None:
    ends: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(upstream: Connection) -> None:
        head = await upstream.head()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        for _ in range(2):
            ends.put_nowait(await upstream.exactly(8))
        ends.put_nowait(await upstream.until(b"X-T: 1\r\n\r\n"))
        await upstream.send(plain())

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two"):
            await caller.send(chunk(piece))
            assert await soon(ends.get()) == chunk(piece)  # before the next is sent
        await caller.send(b"0\r\nX-T: 1\r\n\r\n")
        assert await soon(ends.get()) == b"0\r\nX-T: 1\r\n\r\n"
        assert (await caller.answer())[1] == b"fine"


async def test_the_first_piece_is_out_before_the_upstream_sends_the_second() -> None:
    seen = [asyncio.Event() for _ in range(3)]

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED)
        await soon(seen[0].wait())
        for event in seen[1:]:
            await upstream.send(chunk(b"data: piece\n\n"))
            await soon(event.wait())
        await upstream.send(LAST)

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.head()
        seen[0].set()
        for event in seen[1:]:
            assert await caller.exactly(18) == chunk(b"data: piece\n\n")
            event.set()
        assert await caller.exactly(5) == LAST


@pytest.mark.parametrize(
    ("carried", "sent"),
    [
        ({}, ["traceparent: theirs", "tracestate: t"]),
        ({"traceparent": "ours"}, ["traceparent: ours"]),
        ({"traceparent": "ours", "tracestate": "o"}, ["traceparent: ours", "tracestate: o"]),
        ({"x-b3": "ours"}, ["traceparent: theirs", "tracestate: t", "x-b3: ours"]),
    ],
)
@pytest.mark.parametrize("replace", [True, False])
async def test_trace_context(carried: dict[str, str], sent: list[str], replace: bool) -> None:
    upstream = Stopped(plain())
    async with proxying(upstream, carried=carried, replace_traceparent=replace) as proxy:
        await proxy.ask(get("/", "Traceparent: theirs", "tracestate: t", "Baggage: a=b"))
        asked = upstream.asked.decode()
        assert ("traceparent" in proxy.watch.exchanges[0].names) == replace
    wanted = sent if replace else ["Traceparent: theirs", "tracestate: t"]
    assert [line for line in asked.split("\r\n") if re.match("(?i)trace|x-b3", line)] == (
        [line.replace("traceparent: theirs", "Traceparent: theirs") for line in wanted]
    )
    assert "Baggage: a=b" in asked


# The caller goes ---------------------------------------------------------------------------------------------------

QUICK_S = 0.05


async def measured(upstream: Stopped, leave: object) -> float:
    began = time.monotonic()
    leave()  # type: ignore[operator]
    await soon(upstream.over.wait())
    return upstream.at - began


HOW = ["close", "shut", "reset"]
WINDOWS = {
    "before the head": (),
    "before the first byte of the body": (CHUNKED,),
    "within the body": (CHUNKED, chunk(b"data: one\n\n")),
    "within a chunk": (CHUNKED, b"ff\r\ndata"),
    "behind the terminal event": (CHUNKED, chunk(b"data: [DONE]\n\n")),
    "within a body of a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n123",),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("window", WINDOWS)
async def test_a_caller_that_goes_ends_the_upstreams_answer(window: str, how: str) -> None:
    parts = WINDOWS[window]
    quickest = 1e9
    for _ in range(3):  # the machine may be busy
        upstream = Stopped(*parts)
        async with proxying(upstream) as proxy:
            caller = await proxy.caller()
            await caller.send(post(b"{}"))
            await soon(upstream.ready.wait())
            if parts:
                await caller.head()
            quickest = min(quickest, await measured(upstream, getattr(caller, how)))
            assert await proxy.watch.ended() == {"error": None, "outcome": "abandoned", "error_type": ""}
            assert ("disconnected", "cancel") in proxy.watch.exchanges[0].calls
            assert proxy.server.active.total == 0
        if quickest < QUICK_S:
            break
    assert quickest < QUICK_S


@pytest.mark.parametrize("how", HOW)
async def test_a_caller_that_goes_while_we_connect(how: str) -> None:
    """The upstream takes the connection, but says nothing of TLS."""
    quickest = 1e9
    for _ in range(3):
        upstream = Silent()
        async with proxying(upstream, scheme="https") as proxy:
            caller = await proxy.caller()
            await caller.send(post(b"{}"))
            await soon(upstream.ready.wait())
            quickest = min(quickest, await measured(upstream, getattr(caller, how)))
            assert (await proxy.watch.ended())["outcome"] == "abandoned"
        if quickest < QUICK_S:
            break
    assert quickest < QUICK_S


class Silent(Stopped):
    async def __call__(self, upstream: Connection) -> None:
        self.ready.set()
        await upstream.rest()
        self.at = time.monotonic()
        self.over.set()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("ahead", [0, 1_000])
async def test_a_slow_caller_that_goes(how: str, ahead: int) -> None:
    """It takes nothing, so that the answer is paused; and may have sent more than we read ahead."""
    quickest = 1e9
    for _ in range(3):
        upstream = Flood()
        async with proxying(upstream, limits=Limits(pipelined_bytes=100)) as proxy:
            caller = await proxy.caller(limit=1_000)
            await caller.send(post(b"{}"))
            await soon(upstream.full.wait())
            await proxy.watch.until(lambda watch: "paused" in watch.exchanges[0].names)
            if ahead:
                caller.writer.write(b"x" * ahead)
                await proxy.watch.until(lambda watch: True)
            quickest = min(quickest, await measured(upstream, getattr(caller, how)))
            assert (await proxy.watch.ended())["outcome"] == "abandoned"
        if quickest < QUICK_S:
            break
    assert quickest < QUICK_S


class Flood(Stopped):
    """Sends until nothing more is taken; then until it ends."""

    def __init__(self, total: int = 0) -> None:
        super().__init__()
        self.full = asyncio.Event()
        self.total = total
        self.sent = 0

    async def __call__(self, upstream: Connection) -> None:
        await upstream.request()
        upstream.writer.transport.set_write_buffer_limits(high=1)
        await upstream.send(CHUNKED)
        piece = chunk(b"x" * 16_384)
        gone = asyncio.ensure_future(upstream.rest())
        while not gone.done() and (not self.total or self.sent < self.total):
            upstream.writer.write(piece)
            self.sent += 16_384
            drained = asyncio.ensure_future(upstream.writer.drain())
            done, _ = await asyncio.wait({gone, drained}, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self.full.set()
                await asyncio.wait({gone, drained}, return_when=asyncio.FIRST_COMPLETED)
            if not drained.done() or drained.exception() is not None:
                drained.cancel()
                break
        if self.total and not gone.done():
            await upstream.send(LAST)
        await gone
        self.at = time.monotonic()
        self.over.set()


async def test_a_slow_caller_holds_the_upstream_and_gets_all() -> None:
    """What waits is bounded: by the buffers of three sockets, and by ours."""
    total = 48 * 1_048_576
    upstream = Flood(total)
    async with proxying(upstream) as proxy:
        caller = await proxy.caller(limit=1_000)
        await caller.send(get())
        await soon(upstream.full.wait())
        held = upstream.sent
        assert held < total / 2
        assert len(proxy.watch.exchanges[0].received) < held
        (front,) = proxy.server.fronts
        assert front.transport.get_write_buffer_size() < 65_536 + 300_000
        _, body = await caller.answer()
        assert len(body) == total
        assert body.strip(b"x") == b""
        await proxy.watch.ended()
        assert {"paused", "resumed"} <= set(proxy.watch.exchanges[0].names)


async def test_a_slow_upstream_holds_the_caller_and_gets_all() -> None:
    total = 32 * 1_048_576
    go = asyncio.Event()
    got: list[int] = []

    async def script(upstream: Connection) -> None:
        head = await upstream.head()
        await soon(go.wait())
        got.append(len(await upstream.body(head)))
        await upstream.send(plain())

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        caller.writer.write(post(b"", "X: y").replace(b"Length: 0", b"Length: %d" % total))
        sent = 0
        caller.writer.transport.set_write_buffer_limits(high=1)
        while sent < total:
            caller.writer.write(b"x" * 65_536)
            sent += 65_536
            try:
                await asyncio.wait_for(caller.writer.drain(), 0.3)
            except TimeoutError:
                break
        assert sent < total
        assert len(b"".join(call[1] for call in proxy.watch.exchanges[0].calls if call[0] == "sent")) <= sent
        go.set()
        await soon(caller.writer.drain())
        await caller.send(b"x" * (total - sent))
        assert (await caller.answer())[1] == b"fine"
        assert got == [total]


@pytest.mark.parametrize("how", HOW)
async def test_a_caller_that_goes_within_its_request_while_it_is_held(how: str) -> None:
    """Its socket is not read then; the kernel knows all the same, if what it sent before fits in there."""
    stop = asyncio.Event()
    gone = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.head()
        await soon(stop.wait())
        await upstream.rest()
        gone.set()

    async with proxying(script, on_disconnect="drain") as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"").replace(b"Length: 0", b"Length: 60000000"))
        sent = 0
        while not proxy.server.paused:
            sent += 16_384
            assert sent < 60_000_000
            await caller.send(b"x" * 16_384)
            await asyncio.sleep(0)
        getattr(caller, how)()
        assert (await proxy.watch.ended())["outcome"] == "abandoned"
        assert ("disconnected", "cancel") in proxy.watch.exchanges[0].calls  # an incomplete request is of no use
        stop.set()
        await soon(gone.wait())


@pytest.mark.parametrize("how", HOW)
async def test_drain_reads_the_answer_to_its_end(how: str) -> None:
    go = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED, chunk(b"one"))
        await soon(go.wait())
        await upstream.send(chunk(b"two") + LAST)
        await upstream.rest()

    async with proxying(script, on_disconnect="drain") as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.until(b"one\r\n")
        getattr(caller, how)()
        await proxy.watch.until(lambda watch: ("disconnected", "drain") in watch.exchanges[0].calls)
        assert proxy.server.active.total == 1
        go.set()
        assert await proxy.watch.ended() == {"error": None, "outcome": None, "error_type": ""}
        assert proxy.watch.exchanges[0].received == b"onetwo"
        assert proxy.server.active.total == 0


async def test_drain_goes_on_when_the_caller_was_slow() -> None:
    upstream = Flood(24 * 1_048_576)
    async with proxying(upstream, on_disconnect="drain") as proxy:
        caller = await proxy.caller(limit=1_000)
        await caller.send(get())
        await soon(upstream.full.wait())
        caller.reset()
        assert (await proxy.watch.ended())["outcome"] is None
        assert len(proxy.watch.exchanges[0].received) == 24 * 1_048_576


async def test_drain_is_bounded_by_the_total_time() -> None:
    upstream = Stopped(CHUNKED, chunk(b"one"))
    async with proxying(upstream, on_disconnect="drain", limits=Limits(total_timeout_s=0.4)) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.until(b"one\r\n")
        caller.close()
        assert await proxy.watch.ended() == {"error": None, "outcome": "timed_out", "error_type": "total_timeout"}
        await soon(upstream.over.wait())


async def test_half_closed_callers_may_be_allowed() -> None:
    go = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED, chunk(b"one"))
        await soon(go.wait())
        await upstream.send(chunk(b"two") + LAST)

    async with proxying(script, server={"half_close": "allowed"}) as proxy:
        caller = await proxy.caller()
        await caller.send(get() + get())
        caller.shut()
        await caller.until(b"one\r\n")
        go.set()
        rest = await caller.rest()
        assert rest.startswith(chunk(b"two") + LAST + b"HTTP/1.1 200 OK\r\n")
        assert rest.endswith(chunk(b"one") + chunk(b"two") + LAST)
        assert [each.ends and each.ends["outcome"] for each in proxy.watch.exchanges] == [None, None]


async def test_a_half_closed_caller_that_was_allowed_and_goes_is_noticed_by_the_next_byte() -> None:
    upstream = Beating()
    async with proxying(upstream, server={"half_close": "allowed"}) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.until(b"beat\r\n")
        caller.reset()
        await soon(upstream.over.wait())
        assert (await proxy.watch.ended())["outcome"] == "abandoned"


class Beating(Stopped):
    async def __call__(self, upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED)
        gone = asyncio.ensure_future(upstream.rest())
        try:
            while not gone.done():
                await upstream.send(chunk(b"beat"))
                await asyncio.sleep(0.01)  # the beat
        except ConnectionError:
            pass
        finally:
            gone.cancel()
            self.over.set()


# Again -------------------------------------------------------------------------------------------------------------

SOON = Retries(attempts=2, backoff_s=0.01, methods=frozenset({"POST"}))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_answer_of_some_status_is_tried_again(status: int) -> None:
    bodies: list[bytes] = []

    def script(answer: bytes) -> object:
        async def play(upstream: Connection) -> None:
            while True:
                bodies.append((await upstream.request())[1])
                await upstream.send(answer)

        return play

    async with proxying(
        script(plain(b"no", f"{status} No")), script(plain(b"no", f"{status} No")), script(plain()), retries=SOON
    ) as proxy:
        assert (await proxy.ask(post(b"body")))[1] == b"fine"
        (exchange,) = proxy.watch.exchanges
        again = [call for call in exchange.calls if call[0] == "retrying"]
        assert [call[1:3] for call in again] == [(1, str(status)), (2, str(status))]
        assert 0.005 <= again[0][3] <= 0.01 <= again[1][3] <= 0.02
        assert exchange.names.count("responded") == 1
        assert bodies == [b"body"] * 3


@pytest.mark.parametrize(
    ("retries", "request_", "why"),
    [
        (None, post(b"x"), "no retries by default"),
        (Retries(backoff_s=0.01), post(b"x"), "the method is not allowed"),
        (Retries(attempts=0, methods=frozenset({"POST"})), post(b"x"), "no attempts"),
        (Retries(statuses=frozenset({429}), methods=frozenset({"POST"})), post(b"x"), "not that status"),
        (SOON, post(b"x" * 400_000), "the body is not kept"),
    ],
)
async def test_what_is_not_tried_again(retries: Retries | None, request_: bytes, why: str) -> None:
    async with proxying(always(plain(b"busy", "503 Busy")), retries=retries) as proxy:
        head, body = await proxy.ask(request_)
        assert head.startswith(b"HTTP/1.1 503 Busy"), why
        assert body == b"busy"
        assert "retrying" not in proxy.watch.exchanges[0].names


async def test_a_keyed_request_is_tried_again_and_the_last_failure_is_told() -> None:
    async with proxying(always(plain(b"busy", "503 Busy")), retries=Retries(attempts=2, backoff_s=0.01)) as proxy:
        head, body = await proxy.ask(post(b"x", "Idempotency-Key: k"))
        assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 503 Busy", b"busy")
        assert proxy.watch.exchanges[0].names.count("retrying") == 2


@pytest.mark.parametrize(
    ("after", "least"), [("0", 0.0), ("1", 1.0), ("31", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None), ("-1", None)]
)
async def test_retry_after_is_honoured_within_a_bound(after: str, least: float | None) -> None:
    async with proxying(
        always(plain(b"", "429 Slow Down", f"Retry-After: {after}")), always(plain()), retries=SOON
    ) as proxy:
        began = time.monotonic()
        head, _ = await proxy.ask(post(b"x"))
        if least is None:
            assert head.startswith(b"HTTP/1.1 429 ")
        else:
            assert head.startswith(b"HTTP/1.1 200 ")
            assert time.monotonic() - began >= least - 0.01
            (told,) = [call for call in proxy.watch.exchanges[0].calls if call[0] == "retrying"]
            assert told[3] >= max(least, 0.005)


async def test_a_connection_that_is_lost_before_the_first_byte_is_tried_again() -> None:
    async def lost(upstream: Connection) -> None:
        await upstream.request()
        upstream.reset()

    async with proxying(lost, always(plain()), retries=SOON) as proxy:
        assert (await proxy.ask(post(b"x")))[1] == b"fine"
        assert [call[1:3] for call in proxy.watch.exchanges[0].calls if call[0] == "retrying"] == [
            (1, "connection_lost")
        ]


async def test_nothing_is_tried_again_behind_the_first_byte() -> None:
    async def lost(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED, chunk(b"one"))
        upstream.close()

    async with proxying(lost, always(plain()), retries=SOON) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"x"))
        await caller.head()
        assert await caller.rest() == chunk(b"one")
        assert len(proxy.upstream.connections) == 1


async def test_a_caller_that_goes_while_we_pause_before_a_retry() -> None:
    slow = Retries(backoff_s=30.0, max_backoff_s=30.0)
    async with proxying(always(plain(b"", "503 Busy")), retries=slow) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await proxy.watch.until(lambda watch: watch.exchanges and "retrying" in watch.exchanges[0].names)
        caller.close()
        assert (await proxy.watch.ended())["outcome"] == "abandoned"


async def test_a_request_that_still_comes_while_we_pause_is_sent_whole() -> None:
    bodies: list[bytes] = []

    async def busy(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(plain(b"", "503 Busy"))
        await upstream.rest()

    async def fine(upstream: Connection) -> None:
        bodies.append((await upstream.request())[1])
        await upstream.send(plain())

    policy = Retries(backoff_s=0.2, methods=frozenset({"POST"}))
    async with proxying(busy, fine, retries=policy) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"").replace(b"Length: 0", b"Length: 200000") + b"a")
        await proxy.watch.until(lambda watch: watch.exchanges and "retrying" in watch.exchanges[0].names)
        await caller.send(b"b" * 199_999)
        assert (await caller.answer())[1] == b"fine"
        assert bodies == [b"a" + b"b" * 199_999]


# A stale connection --------------------------------------------------------------------------------------------------


async def once_then_close(upstream: Connection) -> None:
    await upstream.request()
    await upstream.send(plain(b"first"))
    await upstream.request()
    upstream.reset()


async def test_a_reused_connection_that_turns_out_closed_costs_nothing() -> None:
    bodies: list[bytes] = []

    async def fresh(upstream: Connection) -> None:
        bodies.append((await upstream.request())[1])
        await upstream.send(plain(b"second"))

    async with proxying(once_then_close, fresh) as proxy:
        assert (await proxy.ask(post(b"1")))[1] == b"first"
        assert (await proxy.ask(post(b"2")))[1] == b"second"
        assert bodies == [b"2"]
        assert "retrying" not in proxy.watch.exchanges[1].names


@pytest.mark.parametrize("limits", [Limits(replay_bytes=0), Limits()])
async def test_it_is_sent_again_only_once_and_only_if_it_is_kept(limits: Limits) -> None:
    async def lost(upstream: Connection) -> None:
        await upstream.request()
        upstream.reset()

    async with proxying(once_then_close, lost, always(plain()), limits=limits) as proxy:
        assert (await proxy.ask(post(b"1")))[1] == b"first"
        head, _ = await proxy.ask(post(b"2"))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert len(proxy.upstream.connections) == (2 if limits.replay_bytes else 1)
        assert proxy.watch.exchanges[1].ends == {
            "error": None,
            "outcome": "failed",
            "error_type": "connection_lost",
        }


@pytest.mark.parametrize(
    ("request_", "again"), [(post(b"2"), False), (get(), True), (post(b"2", "Idempotency-Key: k"), True)]
)
async def test_what_was_perhaps_acted_on_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, request_: bytes, again: bool
) -> None:
    """The connection was not stale: it was lost later than that."""
    monkeypatch.setattr(relay, "_STALE_NS", 0)
    async with proxying(once_then_close, always(plain(b"second"))) as proxy:
        assert (await proxy.ask(post(b"1")))[1] == b"first"
        head, _ = await proxy.ask(request_)
        assert head.startswith(b"HTTP/1.1 200 " if again else b"HTTP/1.1 502 ")


# Times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "status", "reason"),
    [
        (Limits(first_byte_timeout_s=0.2), b"504", "first_byte_timeout"),
        (Limits(total_timeout_s=0.2), b"504", "total_timeout"),
    ],
)
async def test_an_upstream_that_does_not_answer(limits: Limits, status: bytes, reason: str) -> None:
    async with proxying(silent, limits=limits) as proxy:
        head, body = await proxy.ask(post(b"{}"))
        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"x-streamgauge-error: streamgauge_upstream_timeout\r\n" in head
        assert b"127.0.0.1" not in body
        assert proxy.watch.exchanges[0].ends == {"error": None, "outcome": "timed_out", "error_type": reason}
        assert proxy.refused == ["upstream_timeout"]


async def test_an_upstream_that_does_not_shake_hands() -> None:
    async with proxying(silent, scheme="https", limits=Limits(connect_timeout_s=0.3)) as proxy:
        head, _ = await proxy.ask(get())
        assert head.startswith(b"HTTP/1.1 504 ")
        assert proxy.watch.exchanges[0].ends == {"error": None, "outcome": "timed_out", "error_type": "connect_timeout"}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(idle_timeout_s=0.2), "idle_timeout"), (Limits(total_timeout_s=0.3), "total_timeout")],
)
async def test_an_answer_that_stops_is_cut(limits: Limits, reason: str) -> None:
    upstream = Stopped(CHUNKED, chunk(b"one"))
    async with proxying(upstream, limits=limits) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.head()
        assert await caller.rest() == chunk(b"one")  # and no last chunk
        assert proxy.watch.exchanges[0].ends == {"error": None, "outcome": "timed_out", "error_type": reason}
        await soon(upstream.over.wait())


async def test_the_idle_time_does_not_run_while_the_caller_is_slow_but_its_own_does() -> None:
    upstream = Flood()
    async with proxying(upstream, limits=Limits(idle_timeout_s=0.2, write_timeout_s=1.2)) as proxy:
        caller = await proxy.caller(limit=1_000)
        await caller.send(get())
        assert await proxy.watch.ended() == {"error": None, "outcome": "abandoned", "error_type": ""}
        await soon(upstream.over.wait())
