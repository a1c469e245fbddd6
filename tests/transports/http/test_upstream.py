"""The upstream's side: what goes wrong there, and how the caller and the tap see it; TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from streamgauge.transports.http import Limits, Route, serve
from transports.http.support import (
    CHUNKED,
    LAST,
    Connection,
    Script,
    always,
    chunk,
    get,
    plain,
    post,
    proxying,
    soon,
    until,
)

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


def ending(*parts: bytes, how: str = "close") -> Script:
    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(*parts)
        if how == "reset":
            await asyncio.sleep(0.05)  # a reset overtakes what was sent
            upstream.reset()
        elif how == "close":
            upstream.close()
        else:
            await upstream.rest()

    return script


BEFORE: dict[str, tuple[Script, str]] = {
    "closes": (ending(), "connection_lost"),
    "resets": (ending(how="reset"), "connection_lost"),
    "closes within the head": (ending(b"HTTP/1.1 200 OK\r\nContent-"), "connection_lost"),
    "garbage": (ending(b"SSH-2.0-OpenSSH_9.6\r\n", how="wait"), "bad_response"),
    "garbage in the head": (ending(b"HTTP/1.1 200 OK\r\nA b\r\n\r\n", how="wait"), "bad_response"),
    "a fold": (ending(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", how="wait"), "bad_response"),
    "a NUL": (ending(b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n", how="wait"), "bad_response"),
    "both framings": (
        ending(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") + chunk(b"x") + LAST, how="wait"),
        "bad_response",
    ),
    "two lengths": (ending(LENGTH.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"), how="wait"), "bad_response"),
    "another coding": (ending(CHUNKED.replace(b": chunked", b": gzip, chunked") + LAST, how="wait"), "bad_response"),
    "an upgrade": (
        ending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", how="wait"),
        "bad_response",
    ),
    "an endless head": (ending(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000, how="wait"), "bad_response"),
    "an endless status": (ending(b"HTTP/1.1 200 " + b"b" * 70_000, how="wait"), "bad_response"),
    "too many fields": (ending(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", how="wait"), "bad_response"),
    "HTTP/2": (ending(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", how="wait"), "bad_response"),
}


@pytest.mark.parametrize("name", BEFORE)
async def test_faults_before_the_head(name: str) -> None:
    script, reason = BEFORE[name]
    async with proxying(script) as proxy:
        head, body = await proxy.ask(post(b"{}"))
        assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"\r\nx-streamgauge-error: streamgauge_upstream_failed\r\n" in head
        assert str(proxy.upstream.port).encode() not in body
        assert proxy.watch.exchanges[0].ends == {"error": None, "outcome": "failed", "error_type": reason}
        assert "responded" not in proxy.watch.exchanges[0].names
        assert proxy.refused == ["upstream_failed"]


WITHIN: dict[str, tuple[Script, bytes, str]] = {
    "closes within a chunked body": (ending(CHUNKED, chunk(b"one")), chunk(b"one"), "incomplete_body"),
    "resets within a chunked body": (ending(CHUNKED, chunk(b"one"), how="reset"), chunk(b"one"), "connection_lost"),
    "closes before the first chunk": (ending(CHUNKED), b"", "incomplete_body"),
    "closes within a chunk": (ending(CHUNKED, b"9\r\none"), chunk(b"one"), "incomplete_body"),
    "closes before the last CR LF": (ending(CHUNKED, chunk(b"one") + b"0\r\n"), chunk(b"one"), "incomplete_body"),
    "garbage within": (ending(CHUNKED, chunk(b"one") + b"zz\r\n", how="wait"), chunk(b"one"), "bad_response"),
    "garbage for CR LF": (ending(CHUNKED, b"3\r\noneXX0\r\n\r\n", how="wait"), chunk(b"one"), "bad_response"),
    "an endless extension": (
        ending(CHUNKED, chunk(b"one"), b"5;" + b"a" * 70_000, how="wait"), chunk(b"one"), "bad_response",
    ),
    "endless trailers": (
        ending(CHUNKED, chunk(b"one"), b"0\r\na: " + b"b" * 70_000, how="wait"), chunk(b"one"), "bad_response",
    ),
    "too many trailers": (
        ending(CHUNKED, chunk(b"one"), b"0\r\n" + b"A: b\r\n" * 200 + b"\r\n", how="wait"),
        chunk(b"one"), "bad_response",
    ),
    "less than it said": (ending(LENGTH, b"short"), b"short", "incomplete_body"),
    "less than it said, and a reset": (ending(LENGTH, b"short", how="reset"), b"short", "connection_lost"),
    "a reset of an answer without an end": (
        ending(UNTIL_CLOSE, b"some", how="reset"), chunk(b"some"), "connection_lost",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHIN)
async def test_faults_within_the_body(name: str) -> None:
    """The caller gets what came, and then a cut: never an end that was made up."""
    script, body, reason = WITHIN[name]
    async with proxying(script) as proxy:
        caller = await proxy.caller()
        await caller.send(post(b"{}"))
        assert (await caller.head()).startswith(b"HTTP/1.1 200 ")
        assert await caller.rest() == body
        assert await proxy.watch.ended() == {"error": None, "outcome": "truncated", "error_type": reason}
        assert proxy.watch.exchanges[0].received in body


async def test_a_cut_is_a_reset_for_a_caller_to_whom_a_close_is_the_end() -> None:
    async with proxying(ending(CHUNKED, chunk(b"one"))) as proxy:
        caller = await proxy.caller()
        await caller.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while await soon(caller.reader.read(100)):
                pass


async def test_more_than_it_said_is_not_the_callers() -> None:
    async with proxying(ending(LENGTH + b"0123456789" + plain(b"more"), how="wait")) as proxy:
        caller = await proxy.caller()
        for _ in range(2):
            await caller.send(post(b"{}"))
            assert (await caller.answer())[1] == b"0123456789"
        assert len(proxy.upstream.connections) == 2  # that one is not used again
        assert proxy.watch.exchanges[0].received == b"0123456789"


async def test_an_idle_connection_that_speaks_is_not_used_again() -> None:
    spoke = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(plain(b"1"))
        await soon(spoke.wait())
        await upstream.send(plain(b"not asked for"))
        assert await upstream.closed()
        spoke.clear()

    async with proxying(script, always(plain(b"2")), limits=Limits(pool_idle_s=60)) as proxy:
        assert (await proxy.ask(get()))[1] == b"1"
        spoke.set()
        await until(lambda: not spoke.is_set())
        assert (await proxy.ask(get()))[1] == b"2"


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"x", "200 OK", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_a_connection_that_is_to_be_closed_is_not_used_again(answer: bytes) -> None:
    async with proxying(always(answer)) as proxy:
        for _ in range(2):
            assert (await proxy.ask(get()))[1] == b"x"
        assert len(proxy.upstream.connections) == 2


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    closed = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(plain())
        assert await upstream.closed()
        closed.set()

    async with proxying(script, limits=Limits(pool_idle_s=0.2)) as proxy:
        await proxy.ask(get())
        await soon(closed.wait())


async def test_only_so_many_are_kept() -> None:
    together = asyncio.Barrier(4)

    async def script(upstream: Connection) -> None:
        while True:
            await upstream.request()
            await soon(together.wait())
            await upstream.send(plain())

    async with proxying(script, limits=Limits(pool_size=2)) as proxy:
        for opened in (4, 6):
            callers = [await proxy.caller() for _ in range(4)]
            for caller in callers:
                await caller.send(get())
            for caller in callers:
                assert (await caller.answer())[1] == b"fine"
            assert len(proxy.upstream.connections) == opened


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = await serve([Route("/", f"http://127.0.0.1:{taken.getsockname()[1]}")])
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        caller = Connection(reader, writer)
        for _ in range(2):  # and the caller's connection stays
            await caller.send(post(b"x"))
            head, body = await caller.answer()
            assert head.startswith(b"HTTP/1.1 502 ")
            assert b"\r\nx-streamgauge-error: streamgauge_upstream_unreachable\r\n" in head
            assert b"127.0.0.1" not in body
        caller.close()
        await server.close()


async def test_no_such_host() -> None:
    server = await serve([Route("/", "http://no-such-host.invalid")])
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    caller = Connection(reader, writer)
    await caller.send(get())
    head, body = await caller.answer()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"invalid" not in body
    caller.close()
    await server.close()


# TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *names: str, asked: list[str | None] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    if asked is not None:
        context.sni_callback = lambda sock, name, context: asked.append(name)  # type: ignore[func-returns-value]
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def test_tls_to_the_upstream(authority: trustme.CA, ca_file: str) -> None:
    asked: list[str | None] = []
    options = {"ssl": serving(authority, "localhost", asked=asked)}
    script = ending(CHUNKED, *[chunk(b"x" * 100_000)] * 20, LAST, how="wait")
    async with proxying(script, upstream_options=options, scheme="https", host="localhost", ca_file=ca_file) as proxy:
        assert (await proxy.ask(post(b"y" * 100_000)))[1] == b"x" * 2_000_000
        assert asked == ["localhost"]
        assert proxy.watch.exchanges[0].more["scheme"] == "https"


@pytest.mark.parametrize(
    ("names", "trusted"), [(("other.example",), True), (("localhost",), False)], ids=["another name", "not trusted"]
)
async def test_a_certificate_that_does_not_verify(
    authority: trustme.CA, ca_file: str, names: tuple[str, ...], trusted: bool
) -> None:
    options = {"ssl": serving(authority, *names)}
    asked: list[bytes] = []

    async def script(upstream: Connection) -> None:
        asked.append((await upstream.request())[0])

    async with proxying(
        script, upstream_options=options, scheme="https", host="localhost", ca_file=ca_file if trusted else ""
    ) as proxy:
        head, body = await proxy.ask(get("/", "Authorization: Bearer secret"))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"other.example" not in body
        assert proxy.watch.exchanges[0].ends == {"error": None, "outcome": "failed", "error_type": "tls_error"}
        assert asked == []


async def test_tls_for_callers(authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    script = ending(CHUNKED, *[chunk(b"x" * 100_000)] * 20, LAST, how="wait")
    async with proxying(script, server={"tls": serving(authority, "localhost")}) as proxy:
        caller = await proxy.caller(ssl=trusting, server_hostname="localhost")
        await caller.send(post(b"y" * 500_000))
        assert (await caller.answer())[1] == b"x" * 2_000_000


async def test_a_caller_of_tls_that_goes(authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    over = asyncio.Event()

    async def script(upstream: Connection) -> None:
        await upstream.request()
        await upstream.send(CHUNKED, chunk(b"one"))
        await upstream.rest()
        over.set()

    async with proxying(script, server={"tls": serving(authority, "localhost")}) as proxy:
        caller = await proxy.caller(ssl=trusting, server_hostname="localhost")
        await caller.send(get())
        await caller.until(b"one\r\n")
        caller.close()
        await soon(over.wait())
        assert (await proxy.watch.ended())["outcome"] == "abandoned"
