"""The callers' side: keep-alive, pipelining, refusals and limits, over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from streamgauge.transports.http import Limits
from transports.http.support import (
    CHUNKED,
    LAST,
    Connection,
    Stopped,
    chunk,
    get,
    plain,
    post,
    proxying,
    silent,
    soon,
    until,
)


async def echo(upstream: Connection) -> None:
    """Answers with the target and the body that it got."""
    while True:
        head, body = await upstream.request()
        await upstream.send(plain(head.split(b" ")[1] + b" " + body))


# Connections -------------------------------------------------------------------------------------------------------


async def test_a_connection_serves_request_after_request_over_one_upstream_connection() -> None:
    async with proxying(echo) as proxy:
        caller = await proxy.caller()
        for number in range(5):
            await caller.send(post(b"%d" % number, path="/x"))
            assert (await caller.answer())[1] == b"/x %d" % number
        assert proxy.server.active.connections == 1
        assert len(proxy.upstream.connections) == 1


async def test_fields_and_trailers_that_come_twice_go_on_in_order_whatever_came_before() -> None:
    async def keep(upstream: Connection) -> None:
        while True:
            head = await upstream.head()
            trailers = b""
            if b"chunked" in head:
                while await upstream.until(b"\r\n") != b"0\r\n":
                    await upstream.until(b"\r\n")
                while line := (await upstream.until(b"\r\n"))[:-2]:
                    trailers += line + b";"
            else:
                await upstream.body(head)
            lines = head.split(b"\r\n")[2:-2]
            await upstream.send(plain(b";".join(lines) + b"|" + trailers))

    twice = ("X-A: 1", "x-a: 2", "X-A: 3", "X-A: 1")
    chunked = get("/", *twice[:2], "Transfer-Encoding: chunked").replace(b"GET", b"POST", 1)
    cases = {
        get("/", "X-B: 1"): b"X-B: 1|",
        get("/", *twice): b"X-A: 1;x-a: 2;X-A: 3;X-A: 1|",
        post(b"body", "X-B: 1"): b"Content-Length: 4;X-B: 1|",
        post(b"body", *twice[:3]): b"Content-Length: 4;X-A: 1;x-a: 2;X-A: 3|",
        chunked + chunk(b"body") + b"0\r\nT: 1\r\nU: 1\r\nT: 2\r\n\r\n": (
            b"X-A: 1;x-a: 2;Transfer-Encoding: chunked|T: 1;U: 1;T: 2;"
        ),
        chunked + chunk(b"body") + LAST: b"X-A: 1;x-a: 2;Transfer-Encoding: chunked|",
    }
    async with proxying(keep) as proxy:
        caller = await proxy.caller()
        for request, answer in itertools.chain(*itertools.product(cases.items(), repeat=2)):
            await caller.send(request)
            assert (await caller.answer())[1] == answer
        assert proxy.server.active.connections == 1


@pytest.mark.parametrize("line", ["Connection: close", "Connection: CLOSE, x"])
async def test_a_caller_that_asks_for_it_gets_a_close(line: str) -> None:
    async with proxying(echo) as proxy:
        caller = await proxy.caller()
        await caller.send(get("/", line))
        head, _ = await caller.answer()
        assert b"\r\nConnection: close\r\n" in head
        assert await caller.closed()


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    under_way = 0

    async def script(upstream: Connection) -> None:
        nonlocal under_way
        while True:
            head, body = await upstream.request()
            under_way += 1
            assert under_way == 1
            await asyncio.sleep(0)
            under_way -= 1
            await upstream.send(plain(head.split(b" ")[1] + body))

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(
            get("/1") + post(b"b" * 100_000, path="/2") + get("/3") + get("/4", "Connection: close") + get()
        )
        for body in (b"/1", b"/2" + b"b" * 100_000, b"/3", b"/4"):
            assert (await caller.answer())[1] == body
        assert await caller.closed()


async def test_what_is_pipelined_beyond_the_bound_waits_in_the_socket() -> None:
    go = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await soon(go.wait())
        await echo(upstream)

    async with proxying(script, limits=Limits(pipelined_bytes=1_000)) as proxy:
        caller = await proxy.caller()
        await caller.send(get("/first"))
        await proxy.watch.until(lambda watch: watch.exchanges)
        caller.writer.write(post(b"x" * 5_000_000, path="/2"))
        await until(lambda: proxy.server.paused)
        (front,) = proxy.server.fronts
        assert front._pending is not None
        assert len(front._pending) <= 1_000 + 262_144
        go.set()
        assert (await caller.answer())[1] == b"/first "
        assert (await caller.answer())[1] == b"/2 " + b"x" * 5_000_000


@pytest.mark.parametrize("how", ["close", "shut", "reset"])
async def test_a_caller_that_goes_while_it_is_flooded(how: str) -> None:
    upstream = Stopped()
    async with proxying(upstream, limits=Limits(pipelined_bytes=100)) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await soon(upstream.ready.wait())
        await caller.send(b"x" * 1_000)
        await until(lambda: proxy.server.paused)
        getattr(caller, how)()
        assert (await proxy.watch.ended())["outcome"] == "abandoned"
        await soon(upstream.over.wait())


async def test_what_is_behind_a_chunked_body_in_one_read_ends_the_connection() -> None:
    async with proxying(echo) as proxy:
        caller = await proxy.caller()
        await caller.send(
            b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x") + LAST + get("/2")
        )
        head, body = await caller.answer()
        assert body == b"/1 x"
        assert b"\r\nConnection: close\r\n" in head
        assert await caller.closed()
        assert len(proxy.watch.exchanges) == 1


async def test_an_answer_before_the_requests_end_ends_the_connection_but_is_not_lost() -> None:
    async def script(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(plain(b"too much", "413 Content Too Large"))
        await upstream.rest()

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"").replace(b"Length: 0", b"Length: 1000000") + b"x" * 1_000)
        assert (await caller.answer())[1] == b"too much"
        caller.writer.write(b"x" * 999_000)  # it is still written, and read: no reset
        assert await caller.closed()
        await proxy.ask(get())
        assert len(proxy.upstream.connections) == 2  # the first still waits for the rest of that request


async def test_a_refusal_is_not_lost_though_the_caller_goes_on_sending() -> None:
    async with proxying(silent, limits=Limits(max_body_bytes=100)) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"x" * 16_000_000))
        assert (await caller.head()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "h2c, foo"])
async def test_an_offer_to_upgrade_is_not_taken_up(upgrade: str) -> None:
    async with proxying(echo) as proxy:
        caller = await proxy.caller()
        for _ in range(2):
            await caller.send(
                post(b"body", f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: A")
            )
            assert (await caller.answer())[1] == b"/ body"
        sent = proxy.watch.exchanges[0]
        assert (b"Upgrade", upgrade.encode()) in sent.headers


# Refusals ----------------------------------------------------------------------------------------------------------

SMALL = Limits(
    max_target_bytes=200, max_header_bytes=1_000, max_headers=8, max_body_bytes=100, header_timeout_s=0.3,
    body_idle_timeout_s=0.3, linger_s=1.0,
)  # fmt: skip
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "smuggling": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/x"),
        400, "bad_request",
    ),
    "an obsolete fold": (get("/", "A: b", " c") + get(), 400, "bad_request"),
    "a space before the colon": (post(b"", "Transfer-Encoding : chunked") + get(), 400, "bad_request"),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400, "bad_request"),
    "lines that end in LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bad_request"),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
    "a chunk's size with a sign": (CHUNKED_POST + b"+5\r\nhello\r\n", 400, "bad_request"),
    "a chunk's size with 0x": (CHUNKED_POST + b"0x5\r\nhello\r\n", 400, "bad_request"),
    "a chunk's size with a space": (CHUNKED_POST + b"5 \r\nhello\r\n", 400, "bad_request"),
    "a chunk's size that overflows": (CHUNKED_POST + b"10000000000000005\r\nhello\r\n", 400, "bad_request"),
    "a chunk's size with LF": (CHUNKED_POST + b"5\nhello\r\n", 400, "bad_request"),
    "a chunk too long": (CHUNKED_POST + b"5\r\nhelloX\r\n", 400, "bad_request"),
    "an extension with LF": (CHUNKED_POST + b"5;a\nb\r\nhello\r\n", 400, "bad_request"),
    "an extension with NUL": (CHUNKED_POST + b"5;\x00\r\nhello\r\n", 400, "bad_request"),
    "an endless extension": (CHUNKED_POST + b"5;" + b"a" * 2_000, 431, "headers_too_large"),
    "a length in trailers": (CHUNKED_POST + b"0\r\nContent-Length: 5\r\n\r\n", 400, "bad_request"),
    "many trailers": (CHUNKED_POST + b"0\r\n" + b"a: b\r\n" * 20 + b"\r\n", 431, "headers_too_large"),
    "large trailers": (CHUNKED_POST + b"0\r\na: " + b"b" * 2_000, 431, "headers_too_large"),
    "a proxy request": (b"GET http://elsewhere/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
    "CONNECT": (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n", 405, "method_not_allowed"),
    "dot segments": (get("/a/../b"), 400, "bad_request"),
    "a long target": (get("/" + "a" * 300), 414, "target_too_long"),
    "an endless target": (b"GET /" + b"a" * 1_500, 414, "target_too_long"),
    "a large head": (get("/", "A: " + "b" * 1_100), 431, "headers_too_large"),
    "an endless head": (get("/", "A: " + "b" * 1_100)[:-2], 431, "headers_too_large"),
    "many fields": (get("/", *["A: b"] * 9), 431, "headers_too_large"),
    "a large body": (post(b"x" * 101), 413, "body_too_large"),
    "a large body to come": (post(b"").replace(b"Length: 0", b"Length: 101"), 413, "body_too_large"),
    "a large chunked body": (CHUNKED_POST + chunk(b"x" * 60) + chunk(b"x" * 60) + LAST, 413, "body_too_large"),
    "a slow head": (get()[:-2], 408, "request_timeout"),
    "a slow body": (post(b"abc").replace(b"Length: 3", b"Length: 4"), 408, "request_timeout"),
    "a slow chunk": (CHUNKED_POST + b"5\r\nhel", 408, "request_timeout"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_refusals(name: str) -> None:
    """Each is answered, and closes; nothing of it is a second request."""
    raw, status, kind = REFUSED[name]
    async with proxying(silent, limits=SMALL) as proxy:
        caller = await proxy.caller()
        await caller.send(raw)
        head, body = await caller.answer()
        assert int(head.split(b" ")[1]) == status
        assert f"\r\nx-streamgauge-error: streamgauge_{kind}\r\n".encode() in head
        assert b"\r\nConnection: close\r\n" in head
        assert json.loads(body)["error"]["type"] == f"streamgauge_{kind}"
        assert await caller.closed()
        assert proxy.refused == [kind]
        assert len(proxy.watch.exchanges) <= 1
        for exchange in proxy.watch.exchanges:
            assert exchange.ends == {"error": None, "outcome": "failed", "error_type": kind}


async def test_a_refusal_within_an_answer_cuts_it() -> None:
    async def script(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(CHUNKED, chunk(b"one"))
        await upstream.rest()

    async with proxying(script, limits=SMALL) as proxy:
        caller = await proxy.caller()
        await caller.send(CHUNKED_POST)
        await caller.head()
        await caller.send(b"nonsense\r\n")
        assert await caller.rest() == chunk(b"one")
        assert (await proxy.watch.ended())["error_type"] == "bad_request"


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (get("/elsewhere"), 404, "no_route"),
        (get("/api"), 401, "unauthorized"),
        (get("/api", "x-streamgauge-token: wrong"), 401, "unauthorized"),
        (get("/api", "Authorization: Bearer secret"), 401, "unauthorized"),
        (b"HEAD /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no_route"),
    ],
)
async def test_refusals_that_leave_the_connection_open(request_: bytes, status: int, kind: str) -> None:
    async with proxying(echo, prefix="/api", tokens=("secret",)) as proxy:
        caller = await proxy.caller()
        is_head = request_.startswith(b"HEAD")
        for _ in range(2):
            await caller.send(request_)
            head, body = await caller.answer(head_only=is_head)
            assert int(head.split(b" ")[1]) == status
            assert is_head or json.loads(body)["error"]["type"] == f"streamgauge_{kind}"
        await caller.send(get("/api/x", "x-streamgauge-token: secret", "Authorization: Bearer theirs"))
        assert (await caller.answer())[1] == b"/x "
        assert proxy.refused == [kind, kind]


async def test_the_token_is_ours_and_goes_no_further() -> None:
    upstream = Stopped(plain())
    async with proxying(upstream, tokens=("secret",)) as proxy:
        await proxy.ask(get("/", "X-Streamgauge-Token: secret", "Authorization: Bearer theirs"))
        assert b"secret" not in upstream.asked
        assert b"\r\nAuthorization: Bearer theirs\r\n" in upstream.asked
        assert b"secret" not in repr(proxy.watch.exchanges[0].headers).encode()


async def test_refused_requests_pipelined_with_others() -> None:
    async with proxying(echo, prefix="/api") as proxy:
        caller = await proxy.caller()
        await caller.send(get("/x") + get("/api/1") + get("/y") + get("/api/2"))
        answers = [await caller.answer() for _ in range(4)]
        assert [head.split(b" ")[1] for head, _ in answers] == [b"404", b"200", b"404", b"200"]
        assert [body for _, body in answers[1::2]] == [b"/1 ", b"/2 "]


# Overload ----------------------------------------------------------------------------------------------------------


async def test_too_many_streams_on_a_route() -> None:
    upstream = Stopped(CHUNKED)
    async with proxying(upstream, limits=Limits(max_streams=2)) as proxy:
        open_ = [await proxy.caller() for _ in range(2)]
        for caller in open_:
            await caller.send(get())
            await caller.head()
        assert proxy.server.active.streams == {"/": 2}
        head, _ = await proxy.ask(get())
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert proxy.refused == ["overloaded"]
        open_[0].close()
        await proxy.watch.ended()
        caller = await proxy.caller()
        await caller.send(get())
        assert (await caller.head()).startswith(b"HTTP/1.1 200 ")


async def test_too_many_connections() -> None:
    async with proxying(echo, limits=Limits(max_connections=2)) as proxy:
        first = [await proxy.caller() for _ in range(2)]
        for caller in first:
            await caller.send(get())
            await caller.answer()
        more = await proxy.caller()
        head, _ = await more.answer()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert proxy.refused == ["connections"]
        more.close()
        first[0].close()
        await until(lambda: proxy.server.active.connections == 1)
        assert (await proxy.ask(get("/x")))[1] == b"/x "


# Times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("served", [0, 1])
async def test_an_idle_connection_is_closed(served: int) -> None:
    async with proxying(echo, limits=Limits(keepalive_timeout_s=0.2, header_timeout_s=0.2)) as proxy:
        caller = await proxy.caller()
        for _ in range(served):
            await caller.send(get())
            await caller.answer()
        assert await caller.closed()
        assert proxy.refused == []


async def test_a_body_that_comes_slowly_but_comes() -> None:
    async with proxying(echo, limits=Limits(body_idle_timeout_s=0.4)) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"").replace(b"Length: 0", b"Length: 6"))
        for _ in range(6):
            await asyncio.sleep(0.15)  # the pace
            await caller.send(b"x")
        assert (await caller.answer())[1] == b"/ xxxxxx"


async def test_a_caller_that_waits_for_a_100_is_not_slow() -> None:
    async def script(upstream: Connection) -> None:
        head = await upstream.head()
        await asyncio.sleep(0.6)  # longer than a body may be idle
        await upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await upstream.send(plain(await upstream.body(head)))

    async with proxying(script, limits=Limits(body_idle_timeout_s=0.2)) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 4"))
        assert (await caller.head()).startswith(b"HTTP/1.1 100 ")
        await caller.send(b"body")
        assert (await caller.answer())[1] == b"body"


async def test_many_callers_at_once() -> None:
    async with proxying(echo) as proxy:

        async def talk(number: int) -> None:
            caller = await proxy.caller()
            for turn in range(5):
                await caller.send(post(b"%d" % turn, path=f"/{number}"))
                assert (await caller.answer())[1] == b"/%d %d" % (number, turn)

        await asyncio.gather(*(talk(number) for number in range(50)))
        assert len(proxy.upstream.connections) <= 50
