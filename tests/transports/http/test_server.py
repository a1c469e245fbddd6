"""A server's life: sockets, counts, and its end."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref

import pytest

from streamgauge.errors import UsageError
from streamgauge.transports.http import Limits, Route, serve
from transports.http.support import (
    CHUNKED,
    LAST,
    Connection,
    Noting,
    Stopped,
    Upstream,
    always,
    chunk,
    get,
    plain,
    post,
    proxying,
    soon,
    until,
)


async def test_a_socket_made_elsewhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        async with proxying(always(plain()), server={"sock": sock.dup()}) as proxy:
            assert proxy.port == port
            assert (await proxy.ask(get()))[1] == b"fine"


async def test_two_servers_share_a_port() -> None:
    async with Upstream(always(plain())).serving() as upstream:
        routes = [Route("/", f"http://127.0.0.1:{upstream.port}")]
        first = await serve(routes, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await serve(routes, port=port, reuse_port=True)
        assert second.sockets[0].getsockname()[1] == port
        await first.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        caller = Connection(reader, writer)
        await caller.send(get())
        assert (await caller.answer())[1] == b"fine"
        caller.close()
        await second.close()


async def test_what_cannot_be_served() -> None:
    with pytest.raises(UsageError, match="no route"):
        await serve([])
    with pytest.raises(UsageError, match="half_close"):
        await serve([Route("/", "http://a")], half_close="maybe")  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve([Route("/", "http://a")], port=taken.getsockname()[1])


async def test_what_is_active() -> None:
    upstream = Stopped(CHUNKED)
    async with proxying(upstream) as proxy:
        assert (proxy.server.active.connections, proxy.server.active.total) == (0, 0)
        caller = await proxy.caller()
        await caller.send(get())
        await caller.head()
        active = proxy.server.active
        assert (active.connections, active.streams, active.total) == (1, {"/": 1}, 1)


async def test_close_lets_a_stream_finish_and_closes_what_is_idle() -> None:
    go = asyncio.Event()

    async def script(upstream: Connection) -> None:
        head, _ = await upstream.request()
        if head.startswith(b"GET /idle"):
            await upstream.send(plain())
            head, _ = await upstream.request()
        await upstream.send(CHUNKED, chunk(b"one"))
        await soon(go.wait())
        await upstream.send(chunk(b"two") + LAST)

    async with proxying(script) as proxy:
        idle, streaming = await proxy.caller(), await proxy.caller()
        await idle.send(get("/idle"))
        await idle.answer()
        await streaming.send(get())
        await streaming.until(b"one\r\n")
        closing = asyncio.ensure_future(proxy.server.close(grace_s=20))
        assert await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        assert not closing.done()
        go.set()
        assert await streaming.rest() == chunk(b"two") + LAST
        await soon(closing)
        assert (await proxy.watch.ended(1))["outcome"] is None


async def test_close_says_so_to_callers_whose_answer_begins_later() -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        asked.set()
        await soon(go.wait())
        await upstream.send(plain())

    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await soon(asked.wait())
        closing = asyncio.ensure_future(proxy.server.close(grace_s=20))
        await asyncio.sleep(0)
        go.set()
        head, _ = await caller.answer()
        assert b"\r\nConnection: close\r\n" in head
        assert await caller.closed()
        await soon(closing)


async def test_a_first_request_that_was_on_the_way_is_served() -> None:
    async with proxying(always(plain())) as proxy:
        caller = await proxy.caller()
        await until(lambda: proxy.server.active.connections)
        closing = asyncio.ensure_future(proxy.server.close(grace_s=20))
        await asyncio.sleep(0)
        await caller.send(get())
        assert (await caller.answer())[1] == b"fine"
        await soon(closing)


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_what_is_open_after_the_grace_period_is_shut(policy: str) -> None:
    upstream, later = Stopped(CHUNKED, chunk(b"one")), Stopped()
    async with proxying(upstream, later, on_disconnect=policy) as proxy:
        caller, waiting = await proxy.caller(), await proxy.caller()
        await caller.send(get())
        await caller.until(b"one\r\n")
        await waiting.send(post(b"x"))
        await soon(later.ready.wait())
        began = time.monotonic()
        await soon(proxy.server.close(grace_s=0.2))
        assert time.monotonic() - began >= 0.19
        assert await caller.rest() == b""  # and no last chunk
        head, _ = await waiting.answer()
        assert head.startswith(b"HTTP/1.1 503 ")
        for number, told in enumerate((upstream, later)):
            assert await proxy.watch.ended(number) == {
                "error": None,
                "outcome": "shutdown",
                "error_type": "shutdown",
            }
            await soon(told.over.wait())
        assert proxy.server.active.connections == 0


async def test_a_stream_without_a_caller_is_shut_too() -> None:
    upstream = Stopped(CHUNKED, chunk(b"one"))
    async with proxying(upstream, on_disconnect="drain") as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.until(b"one\r\n")
        caller.close()
        await proxy.watch.until(lambda watch: ("disconnected", "drain") in watch.exchanges[0].calls)
        await soon(proxy.server.close(grace_s=0.1))
        assert (await proxy.watch.ended())["outcome"] == "shutdown"


async def test_a_stream_without_a_caller_may_finish() -> None:
    go = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED, chunk(b"one"))
        await soon(go.wait())
        await upstream.send(LAST)

    async with proxying(script, on_disconnect="drain") as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.until(b"one\r\n")
        caller.close()
        await proxy.watch.until(lambda watch: ("disconnected", "drain") in watch.exchanges[0].calls)
        closing = asyncio.ensure_future(proxy.server.close(grace_s=20))
        await asyncio.sleep(0)
        go.set()
        await soon(closing)
        assert (await proxy.watch.ended())["outcome"] is None


async def test_close_twice_and_with_nothing_open() -> None:
    async with proxying(always(plain())) as proxy:
        await soon(proxy.server.close(grace_s=20))
        await soon(proxy.server.close(grace_s=20))


async def test_nothing_is_left_of_a_connection() -> None:
    """Neither by a reference, nor by a cycle that waits for the collector."""
    async with proxying(always(CHUNKED + chunk(b"x") + LAST)) as proxy:
        caller = await proxy.caller()
        await caller.send(get())
        await caller.answer()
        (front,) = proxy.server.fronts
        gone = weakref.ref(proxy.watch.exchanges[0])
        proxy.watch.exchanges.clear()
        gc.collect()
        assert gone() is None  # an idle connection holds nothing of its last exchange
        caller.close()
        await until(lambda: not proxy.server.fronts)
        assert front._parser is None


async def test_a_route_without_a_watch() -> None:
    async with Upstream(always(plain())).serving() as upstream:
        server = await serve([Route("/", f"http://127.0.0.1:{upstream.port}", replace_traceparent=True)])
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        caller = Connection(reader, writer)
        await caller.send(post(b"x", "traceparent: theirs"))
        assert (await caller.answer())[1] == b"fine"
        caller.close()
        await server.close()


async def test_routes_go_to_their_upstreams() -> None:
    watch = Noting()
    async with Upstream(always(plain(b"one"))).serving() as one, Upstream(always(plain(b"two"))).serving() as two:
        routes = [
            Route("/one", f"http://127.0.0.1:{one.port}", watch=watch),
            Route("/two", f"http://127.0.0.1:{two.port}", limits=Limits(max_body_bytes=1)),
        ]
        server = await serve(routes)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        caller = Connection(reader, writer)
        for path, status, body in (("/one/x", b"200", b"one"), ("/two/x", b"413", None), ("/two", b"413", None)):
            await caller.send(post(b"xy", path=path))
            head, got = await caller.answer()
            assert head.split(b" ")[1] == status
            if body is not None:
                assert got == body
            else:
                break
        assert [exchange.target for exchange in watch.exchanges] == ["/x"]
        caller.close()
        await server.close()
