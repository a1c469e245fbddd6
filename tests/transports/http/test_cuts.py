"""Any cut of a request or of an answer gives the same bytes on the other side, and tells the tap the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.transports.http import Limits, Route, Server
from streamgauge.transports.http.front import Front
from streamgauge.transports.http.pool import Pool
from streamgauge.transports.http.routes import Table
from streamgauge.transports.http.upstream import Upstream
from transports.http.support import CHUNKED, LAST, Noting, chunk, get, plain, post


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.out += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def write_eof(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int) -> None:
        assert high

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return None


class Bench:
    """A caller's connection and an upstream's, without sockets."""

    def __init__(self) -> None:
        self.watch = Noting()
        limits = Limits(pool_idle_s=60)
        table = Table([Route("/", "http://up", watch=self.watch)], limits)
        (lane,) = table.lanes
        lane.pool = Pool(lane)
        self.server = Server(table, limits, half_close="gone", on_refused=None)
        self.caller, self.up = Transport(), Transport()
        self.front = Front(self.server)
        self.front.connection_made(self.caller)
        self.upstream = Upstream(lane.pool)
        self.upstream.connection_made(self.up)
        lane.pool.put(self.upstream)

    async def close(self) -> None:
        self.front.connection_lost(None)
        self.upstream.connection_lost(None)
        await self.server.close()

    def told(self) -> list[Any]:
        """What the tap was told, pieces joined: where they are cut is the only thing that may differ."""
        found: list[Any] = []
        for exchange in self.watch.exchanges:
            for call in exchange.calls:
                if call[0] in ("sent", "data") and found and found[-1][0] == call[0]:
                    found[-1] = (call[0], found[-1][1] + call[1])
                else:
                    found.append(call)
        return found


def played(request: list[bytes], answer: list[bytes]) -> tuple[bytes, bytes, bool, bool, list[Any]]:
    async def play() -> tuple[bytes, bytes, bool, bool, list[Any]]:
        bench = Bench()
        for piece in request:
            bench.front.data_received(piece)
        for piece in answer:
            bench.upstream.data_received(piece)
        found = bytes(bench.up.out), bytes(bench.caller.out), bench.up.closed, bench.caller.closed, bench.told()
        await bench.close()
        return found

    return asyncio.run(play())


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(bounds)]


def unchunked(stream: bytes) -> bytes:
    """A head, and its body without its chunks, which may be cut otherwise."""
    head, _, rest = stream.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 1"):
        return head + b"\r\n\r\n" + unchunked(rest)
    if b"Transfer-Encoding: chunked" not in head:
        return stream
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return head + b"\r\n\r\n" + body + b" last " + rest
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    return head + b"\r\n\r\n" + body


CHUNKED_POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUESTS = {
    "get": get("/v1/models?x=y", "A: b"),
    "post": post(b'{"stream": true}', "Content-Type: application/json"),
    "chunked": CHUNKED_POST + chunk(b"one") + b"3;ext=1\r\ntwo\r\n" + chunk(b"x" * 300) + LAST,
    "trailers": CHUNKED_POST + chunk(b"one") + b"0\r\nX-T: 1\r\n\r\n",
    "an empty line before": b"\r\n" + post(b"x"),
    "smuggled": CHUNKED_POST.replace(b"Host: a", b"Host: a\r\nContent-Length: 3") + chunk(b"one") + LAST,
    "badly chunked": CHUNKED_POST + chunk(b"one") + b"x\r\n",
    "an offer": post(b"body", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AA"),
    "a chunked offer": CHUNKED_POST[:-2] + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + chunk(b"x") + LAST,
}  # fmt: skip
ANSWERS = {
    "length": plain(b"data: one\n\n" * 9, "200 OK", "Content-Type: text/event-stream"),
    "chunked": CHUNKED + b"".join(chunk(b"data: %d\n\n" % number) for number in range(9)) + LAST,
    "extensions": CHUNKED + b"3;a=b\r\none\r\n" + chunk(b"x" * 999) + LAST,
    "trailers": CHUNKED + chunk(b"one") + b"0\r\nX-T: 1\r\nX-U: 2\r\n\r\n",
    "hints and chunks": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + CHUNKED + chunk(b"one") * 3 + LAST,
    "hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + plain(b"x"),
    "nothing": b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n",
    "garbage": b"SSH-2.0-OpenSSH_9.6\r\n",
    "garbage within": CHUNKED + chunk(b"one") + b"zz\r\n",
    "both framings": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n") + chunk(b"o") + LAST,
    "two": plain(b"one") + plain(b"two"),
    "until it closes": b"HTTP/1.1 200 OK\r\n\r\nsome",
}


@pytest.mark.parametrize("name", REQUESTS)
@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_of_a_request(name: str, places: list[int]) -> None:
    check(lambda request: played(request, [plain()] if name not in ("smuggled", "badly chunked") else []), name, places)


def check(play: Callable[[list[bytes]], Any], name: str, places: list[int]) -> None:
    data = REQUESTS[name]
    whole, cut = play([data]), play(pieces(data, places))
    assert cut[1] == whole[1]
    assert cut[3] == whole[3]
    if name == "badly chunked":  # what came before the fault may have gone on before it was known
        assert whole[0] == b""
        assert cut[0] == b"" or b"one".startswith(unchunked(cut[0]).partition(b"\r\n\r\n")[2])
        assert cut[4][-1] == whole[4][-1] == ("end",)
    else:
        assert unchunked(cut[0]) == unchunked(whole[0])
        assert cut[4] == whole[4]


@pytest.mark.parametrize("name", ANSWERS)
@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_of_an_answer(name: str, places: list[int]) -> None:
    data = ANSWERS[name]
    request = [get("/", "TE: trailers", "Connection: TE")]
    if name == "two":  # what is behind an answer belongs to nobody; cut off, it comes when nobody asked
        places = []
    whole, cut = played(request, [data]), played(request, pieces(data, places))
    assert unchunked(cut[1]) == unchunked(whole[1])
    assert cut[0] == whole[0]
    assert cut[2:] == whole[2:]


PARTS = {
    "one": chunk(b"data: 1\n\n"), "two": chunk(b"x" * 300), "three": chunk(b"3"), "like a chunk": chunk(b"1\r\n1\r\n"),
    "upper case": b"A\r\n0123456789\r\n", "zeros": b"003\r\none\r\n", "extension": b"3;a=b\r\none\r\n",
    "prefix": b"0x1\r\na\r\n", "underscore": b"1_0\r\n0123456789abcdef\r\n", "minus": b"-2\r\n", "plus": b"+1\r\na\r\n",
    "no end": b"1\r\nabc", "too short": b"9\r\nabc\r\n", "too long": b"2\r\nabc\r\n", "huge": b"ffffffff\r\nabc\r\n",
    "not its end": b"1\r\nab\r\n", "an end": b"0\r\n\r\n", "an empty line": b"\r\n",
}  # fmt: skip
"""Of a chunked body: as nearly all write it, as some may, and as nobody may."""


@settings(max_examples=400, deadline=None)
@given(
    reads=st.lists(st.lists(st.sampled_from(sorted(PARTS)), max_size=3), min_size=1, max_size=5),
    with_head=st.booleans(),
    old=st.booleans(),
)
def test_chunks_that_come_whole_are_read_as_llhttp_reads_them(
    reads: list[list[str]], with_head: bool, old: bool
) -> None:
    """All that comes in one read with its end is llhttp's alone; what comes chunk by chunk need not be."""
    request = [get() if not old else b"GET / HTTP/1.0\r\n\r\n"]
    found = [b"".join(PARTS[name] for name in names) for names in reads] + [LAST]
    first = [CHUNKED + found[0], *found[1:]] if with_head else [CHUNKED, *found]
    one = played(request, [b"".join(first)])
    each = played(request, [data for data in first if data])
    assert each[0] == one[0]
    assert each[2:4] == one[2:4]
    assert bodies(each[4]) == bodies(one[4])
    assert unchunked(each[1]) == unchunked(one[1])


def bodies(told: list[Any]) -> list[Any]:
    """What the tap was told, without what is known only when a fault is."""
    return [call for call in told if call[0] in ("responded", "data", "end")]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_byte_by_byte(name: str) -> None:
    check(lambda request: played(request, []), name, list(range(len(REQUESTS[name]))))


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "two"])
def test_an_answer_byte_by_byte(name: str) -> None:
    data = ANSWERS[name]
    one = played([get()], [data])
    each = played([get()], [data[place : place + 1] for place in range(len(data))])
    assert unchunked(each[1]) == unchunked(one[1])
    assert each[2:] == one[2:]


@settings(max_examples=30, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_of_requests_one_behind_the_other(places: list[int]) -> None:
    """All are answered, in order, however they come."""
    requests = [get("/1"), post(b"two", path="/2"), get("/3")]
    data = b"".join(requests)

    async def play() -> None:
        bench = Bench()
        for piece in pieces(data, places):
            bench.front.data_received(piece)
        for number in range(1, 4):
            assert len(bench.watch.exchanges) == number  # one at a time
            bench.upstream.data_received(plain(b"%d" % number))
        assert bench.caller.out == b"".join(
            plain(b"%d" % number).replace(b"\r\n\r\n", b"\r\n\r\n") for number in (1, 2, 3)
        )
        assert [exchange.target for exchange in bench.watch.exchanges] == ["/1", "/2", "/3"]
        await bench.close()

    asyncio.run(play())


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), places=st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_are_no_answer_that_breaks_us(data: bytes, places: list[int]) -> None:
    """Neither side of the proxy raises; what is made of it does not depend on the cut."""
    whole, cut = played([get()], [data]), played([get()], pieces(data, places))
    assert unchunked(whole[1]) == unchunked(cut[1])
    request = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"]
    played(request + pieces(data, places), [])
    played(pieces(data, places), [])
