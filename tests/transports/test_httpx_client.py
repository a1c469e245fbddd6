"""The transport of an HTTP client, over real sockets: what the caller gets is what it gets without, and what is told of
it is true. Everything holds for httpx and for httpx2, in both colours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest

from interop_sdks.server import WAIT_S, Answer, Fault, Server
from streamgauge.transports._dropped import settle
from streamgauge.transports.httpx_client import kinds, package_of, watching
from streamgauge.wire import Outcome
from transports.exchanges import Exchange, Watch

PIECES = ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        found.answers(Answer(PIECES))
        yield found


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def watch() -> Watch:
    return Watch()


def client(package: Any, watch: Any = None, **options: Any) -> Any:
    transport = package.HTTPTransport()
    if watch is not None:
        transport = watching(transport, package, watch, is_async=False)
    return package.Client(transport=transport, **{"timeout": WAIT_S, **options})


def async_client(package: Any, watch: Any = None, **options: Any) -> Any:
    transport = package.AsyncHTTPTransport()
    if watch is not None:
        transport = watching(transport, package, watch, is_async=True)
    return package.AsyncClient(transport=transport, **{"timeout": WAIT_S, **options})


# The caller's side ------------------------------------------------------------------------------------------------


def facts(package: Any, response: Any) -> dict[str, Any]:
    """What can be seen of a response, but for what differs from one to the next."""
    return {
        "status": response.status_code,
        "reason": response.reason_phrase,
        "version": response.http_version,
        "headers": response.headers.raw,
        "extensions": sorted(response.extensions),
        "sync": isinstance(response.stream, package.SyncByteStream),
        "async": isinstance(response.stream, package.AsyncByteStream),
        "closed": response.is_closed,
        "consumed": response.is_stream_consumed,
        "type": type(response),
    }


READS: dict[str, Callable[[Any], Any]] = {
    "iter_raw": lambda response: list(response.iter_raw()),
    "iter_bytes": lambda response: list(response.iter_bytes()),
    "iter_bytes in slices": lambda response: list(response.iter_bytes(4)),
    "iter_text": lambda response: list(response.iter_text()),
    "iter_lines": lambda response: list(response.iter_lines()),
    "read": lambda response: response.read(),
    "the stream": lambda response: list(response.stream),
    "json": lambda response: response.read() and response.num_bytes_downloaded,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_response_is_what_it_is_without(
    package: Any, server: Server, watch: Watch, read: Callable[[Any], Any], coding: str
) -> None:
    if coding:
        squeezed = gzip.compress("".join(PIECES).encode(), mtime=0)
        server.answers(Answer([squeezed[:12], squeezed[12:]], headers={"content-encoding": coding}))

    def transcript(watch: Any) -> list[Any]:
        with client(package, watch) as http, http.stream("GET", server.url) as response:
            seen = [facts(package, response), read(response), facts(package, response)]
            response.close()
            return [*seen, response.elapsed.total_seconds() >= 0, facts(package, response)]

    assert transcript(watch) == transcript(None)
    (exchange,) = watch.exchanges
    assert exchange.how == (None, "", "")
    assert gzip.decompress(b"".join(exchange.pieces)).decode() == "".join(PIECES) if coding else exchange.pieces


ASYNC_READS: dict[str, Callable[[Any], Any]] = {
    "aiter_raw": lambda response: response.aiter_raw(),
    "aiter_bytes": lambda response: response.aiter_bytes(),
    "aiter_lines": lambda response: response.aiter_lines(),
    "the stream": lambda response: response.stream,
}


@pytest.mark.parametrize("read", ASYNC_READS.values(), ids=ASYNC_READS)
async def test_an_async_response_is_what_it_is_without(
    package: Any, server: Server, watch: Watch, read: Callable[[Any], AsyncIterator[Any]]
) -> None:
    async def transcript(watch: Any) -> list[Any]:
        async with async_client(package, watch) as http, http.stream("POST", server.url, json={}) as response:
            seen = [facts(package, response), [piece async for piece in read(response)], facts(package, response)]
            await response.aclose()
            return [*seen, response.elapsed.total_seconds() >= 0, facts(package, response)]

    assert await transcript(watch) == await transcript(None)
    (exchange,) = watch.exchanges
    assert b"".join(exchange.pieces).decode() == "".join(PIECES)
    assert exchange.how == (None, "", "")


def test_each_piece_is_out_before_the_next_is_sent(package: Any, server: Server, watch: Watch) -> None:
    gate = threading.Semaphore(0)
    server.answers(Answer(PIECES, gate=gate))
    with client(package, watch) as http, http.stream("GET", server.url) as response:
        for piece, sent in zip(response.iter_raw(), PIECES, strict=True):
            assert piece.decode() == sent
            assert watch.exchanges[0].pieces[-1] is piece
            gate.release()


async def test_each_piece_is_out_before_the_next_is_sent_async(package: Any, server: Server, watch: Watch) -> None:
    gate = threading.Semaphore(0)
    server.answers(Answer(PIECES, gate=gate))
    got = []
    async with async_client(package, watch) as http, http.stream("GET", server.url) as response:
        async for piece in response.aiter_raw():
            got.append(piece.decode())
            assert watch.exchanges[0].pieces[-1] is piece
            gate.release()
    assert got == PIECES


def test_what_is_told(package: Any, server: Server, watch: Watch) -> None:
    with client(package, watch) as http:
        headers = {"x-stainless-retry-count": "1"}
        http.post(server.url + "/v1/chat/completions?a=%20b", json={"model": "m"}, headers=headers)
    (exchange,) = watch.exchanges
    assert exchange.calls == ["sent", "requested", "responded", "end", "end"]  # read to the end, then closed
    assert exchange.ends[0] == (None, None, "")
    assert (exchange.method, exchange.target) == ("POST", "/v1/chat/completions?a=%20b")
    assert exchange.server == ("http", "127.0.0.1", server.port)
    assert (exchange.body, exchange.status) == (server.heard[0].body, 200)
    assert {name.lower(): value for name, value in exchange.headers}[b"x-stainless-retry-count"] == b"1"
    assert (b"content-type", b"text/event-stream") in [(name.lower(), value) for name, value in exchange.answer]
    # Asked for the second and the third, and for the one that did not come; for the first, by sending the request.
    assert (len(exchange.pieces), exchange.asks) == (3, 3)


@pytest.mark.parametrize(("url", "port"), [("http://a/", 80), ("https://a/", 443), ("https://a:8443/", 8443)])
def test_the_port_is_told_where_the_scheme_says_it(package: Any, watch: Watch, url: str, port: int) -> None:
    transport = watching(package.MockTransport(lambda _: package.Response(204)), package, watch, is_async=False)
    with package.Client(transport=transport) as http:
        http.get(url)
    assert watch.exchanges[0].server == (url.split(":")[0], "a", port)


def test_each_request_of_a_redirect_is_one(package: Any, server: Server, watch: Watch) -> None:
    server.answers(Answer([""], 307, {"location": "/there"}, chunked=False), Answer(PIECES))
    with client(package, watch, follow_redirects=True) as http:
        response = http.post(server.url + "/here", content=b"x")
    assert (len(response.history), response.text) == (1, "".join(PIECES))
    assert [(each.target, each.status) for each in watch.exchanges] == [("/here", 307), ("/there", 200)]


def test_a_body_that_is_yet_to_be_made_is_sent_as_it_is(package: Any, server: Server, watch: Watch) -> None:
    def made() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    with client(package, watch) as http:
        http.post(server.url, content=made())
    assert server.heard[0].body == b"ab"
    assert server.heard[0].header("transfer-encoding") == "chunked"
    assert watch.exchanges[0].calls == ["requested", "responded", "end", "end"]


# How it ends ------------------------------------------------------------------------------------------------------


def read_all(response: Any) -> None:
    for _ in response.iter_raw():
        pass


def leave(response: Any) -> None:
    for _ in response.iter_raw():
        break


def never_read(response: Any) -> None:
    pass


class Interrupt(KeyboardInterrupt):
    pass


def interrupted(response: Any) -> None:
    pieces = response.iter_raw()
    next(pieces)
    raise Interrupt


ENDS: list[tuple[Fault, Callable[[Any], None], tuple[Outcome | None, str, str]]] = [
    ("", read_all, (None, "", "")),
    ("", leave, (Outcome.ABANDONED, "", "")),
    ("", never_read, (Outcome.ABANDONED, "", "")),
    ("", interrupted, (None, "", "Interrupt")),
    ("cut", read_all, (Outcome.TRUNCATED, "incomplete_body", "RemoteProtocolError")),
    ("short", read_all, (Outcome.TRUNCATED, "incomplete_body", "RemoteProtocolError")),
    ("reset", read_all, (Outcome.TRUNCATED, "connection_lost", "ReadError")),
    ("stall", read_all, (Outcome.TIMED_OUT, "timeout", "ReadTimeout")),
    ("stall", leave, (Outcome.ABANDONED, "", "")),
    ("silent", read_all, (Outcome.TIMED_OUT, "timeout", "ReadTimeout")),
    ("hang_up", read_all, (None, "", "RemoteProtocolError")),
]
IDS = [f"{fault or 'whole'}, {read.__name__}" for fault, read, _ in ENDS]


@pytest.mark.parametrize(("fault", "read", "how"), ENDS, ids=IDS)
def test_ends(package: Any, server: Server, watch: Watch, fault: Fault, read: Any, how: Any) -> None:
    server.answers(Answer(PIECES, fault=fault))

    def play(watch: Any) -> Any:
        timeout = package.Timeout(WAIT_S, read=0.2 if fault in ("stall", "silent") else WAIT_S)
        with client(package, watch, timeout=timeout) as http:
            try:
                with http.stream("GET", server.url) as response:
                    read(response)
            except (package.HTTPError, Interrupt) as error:
                return type(error), str(error), type(error.__cause__), their_frames(error)
            return None

    assert play(watch) == play(None)
    (exchange,) = watch.exchanges
    assert exchange.how == how


@pytest.mark.parametrize(("fault", "read", "how"), [row for row in ENDS if row[1] is read_all])
async def test_ends_async(package: Any, server: Server, watch: Watch, fault: Fault, read: Any, how: Any) -> None:
    server.answers(Answer(PIECES, fault=fault))

    async def play(watch: Any) -> Any:
        timeout = package.Timeout(WAIT_S, read=0.2 if fault in ("stall", "silent") else WAIT_S)
        async with async_client(package, watch, timeout=timeout) as http:
            try:
                async with http.stream("GET", server.url) as response:
                    async for _ in response.aiter_raw():
                        pass
            except package.HTTPError as error:
                return type(error), str(error), type(error.__cause__), their_frames(error)
            return None

    assert await play(watch) == await play(None)
    assert watch.exchanges[0].how == how


def their_frames(error: BaseException) -> list[tuple[str, str]]:
    """The traceback, less our own frames and the test's."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = ("streamgauge/transports", "tests/transports")
    return [(frame.filename, frame.name) for frame in frames if not any(part in frame.filename for part in ours)]


def test_nobody_there(package: Any, watch: Watch) -> None:
    with Server() as server:
        url = server.url
    with client(package, watch) as http, pytest.raises(package.ConnectError) as caught:
        http.get(url)
    assert sum("streamgauge" in frame.filename for frame in traceback.extract_tb(caught.tb)) == 1
    assert watch.exchanges[0].how == (Outcome.FAILED, "connect_error", "ConnectError")
    assert watch.exchanges[0].calls == ["requested", "end"] or watch.exchanges[0].calls == ["sent", "requested", "end"]


@pytest.mark.parametrize("fault", ["silent", "stall"])
async def test_cancelled(package: Any, server: Server, watch: Watch, fault: Fault) -> None:
    server.answers(Answer(PIECES, fault=fault))
    got = asyncio.Event()

    async def call(http: Any) -> None:
        async with http.stream("GET", server.url) as response:
            left = len("".join(PIECES))
            async for piece in response.aiter_raw():
                left -= len(piece)
                if left == 0:
                    got.set()

    async with async_client(package, watch) as http:
        task = asyncio.create_task(call(http))
        if fault == "stall":
            await asyncio.wait_for(got.wait(), WAIT_S)
        else:
            await until(lambda: bool(server.heard))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert watch.exchanges[0].how == (None, "", "CancelledError")
    assert server.hung_up.acquire(timeout=WAIT_S)


async def test_cancelled_in_the_callers_own_code(package: Any, server: Server, watch: Watch) -> None:
    """Closing the response is all that the transport sees of it."""
    inside = asyncio.Event()

    async def call(http: Any) -> None:
        async with http.stream("GET", server.url) as response:
            async for _ in response.aiter_raw():
                inside.set()
                await asyncio.Event().wait()

    async with async_client(package, watch) as http:
        task = asyncio.create_task(call(http))
        await asyncio.wait_for(inside.wait(), WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert watch.exchanges[0].how == (None, "", "CancelledError")


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not happened():  # noqa: ASYNC110 (another thread's doing)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("read", [0, 1], ids=["unread", "in the middle"])
def test_dropped(package: Any, server: Server, watch: Watch, read: int) -> None:
    server.answers(Answer(PIECES, fault="stall"))
    with client(package, watch) as http:
        response: Any = http.send(http.build_request("GET", server.url), stream=True)
        pieces = response.iter_raw()
        for _ in range(read):
            next(pieces)
        del pieces, response
        gc.collect()
        settle()
        assert watch.exchanges[0].how == (Outcome.ABANDONED, "", "")


def test_read_while_nobody_holds_the_response(package: Any, server: Server, watch: Watch) -> None:
    with client(package, watch) as http:
        pieces = iter(http.send(http.build_request("GET", server.url), stream=True).stream)
        gc.collect()
        assert b"".join(pieces).decode() == "".join(PIECES)
    assert watch.exchanges[0].how == (None, "", "")


async def test_read_while_nobody_holds_the_response_async(package: Any, server: Server, watch: Watch) -> None:
    async with async_client(package, watch) as http:
        response = await http.send(http.build_request("GET", server.url), stream=True)
        pieces = aiter(response.stream)
        del response
        gc.collect()
        assert b"".join([piece async for piece in pieces]).decode() == "".join(PIECES)
    assert watch.exchanges[0].how == (None, "", "")


def test_trios_cancellation_is_one(package: Any, watch: Watch) -> None:
    class Cancelled(BaseException):
        """As trio's, which asyncio knows nothing of."""

    def cancelled(request: Any) -> Any:
        raise Cancelled

    transport = watching(package.MockTransport(cancelled), package, watch, is_async=False)
    with package.Client(transport=transport) as http, pytest.raises(Cancelled):
        http.get("http://a/")
    assert watch.exchanges[0].how == (Outcome.CANCELLED, "", "Cancelled")


# Other transports -------------------------------------------------------------------------------------------------


def test_a_response_that_was_read_is_left_as_it_is(package: Any, watch: Watch) -> None:
    squeezed = gzip.compress(b"abc", mtime=0)
    made = [
        package.Response(200, content=squeezed, headers={"content-encoding": "gzip"}),
        package.Response(200, json={"a": 1}),
    ]
    streams = [response.stream for response in made]
    answers = iter(made)
    transport = watching(package.MockTransport(lambda _: next(answers)), package, watch, is_async=False)
    for stream, text in zip(streams, ["abc", '{"a":1}'], strict=True):
        response = transport.handle_request(package.Request("GET", "http://a/"))
        assert response.stream is stream
        assert response.text == text
    assert [each.pieces for each in watch.exchanges] == [[squeezed], [b'{"a":1}']]
    assert [each.how for each in watch.exchanges] == [(None, "", "")] * 2


def test_a_response_that_the_wrapped_transport_has_read(package: Any, server: Server, watch: Watch) -> None:
    class Reading(package.HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            response.read()
            return response

    transport = watching(Reading(), package, watch, is_async=False)
    with package.Client(transport=transport) as http:
        assert http.get(server.url).text == "".join(PIECES)
    assert watch.exchanges[0].pieces == ["".join(PIECES).encode()]


def test_a_connection_that_speaks_another_protocol_is_left_alone(package: Any, watch: Watch) -> None:
    switched = package.Response(101, stream=package.ByteStream(b""))
    stream = switched.stream
    transport = watching(package.MockTransport(lambda _: switched), package, watch, is_async=False)
    assert transport.handle_request(package.Request("GET", "http://a/")).stream is stream
    assert watch.exchanges[0].how == (None, "", "")


def test_an_answer_that_nobody_watches_is_left_alone(package: Any, server: Server) -> None:
    class Blind(Watch):
        def exchange(self, *args: Any, **kwargs: Any) -> Exchange:
            made = super().exchange(*args, **kwargs)
            made.watched = False
            return made

    watch = Blind()
    with client(package, watch) as http, http.stream("GET", server.url) as response:
        assert "streamgauge" not in type(response.stream._stream).__module__
        assert response.read().decode() == "".join(PIECES)
    assert watch.exchanges[0].calls == ["requested", "responded"] or "sent" in watch.exchanges[0].calls


def test_a_watch_that_fails_costs_nothing_but_the_watching(package: Any, server: Server) -> None:
    class Broken:
        def exchange(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("broken")

    with client(package, Broken()) as http:
        assert http.get(server.url).text == "".join(PIECES)


def test_an_odd_stream_of_somebody_elses(package: Any, watch: Watch) -> None:
    """What is neither a generator, nor closes itself."""

    class Odd(package.SyncByteStream):  # type: ignore[misc]
        closed = 0
        left = 2

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return b"x"

        def close(self) -> None:
            self.closed += 1

    odd = Odd()
    transport = watching(
        package.MockTransport(lambda _: package.Response(200, stream=odd)), package, watch, is_async=False
    )
    with package.Client(transport=transport) as http, http.stream("GET", "http://a/") as response:
        assert response.stream._stream.left == 2  # its own attributes are there
        assert list(response.iter_raw()) == [b"x", b"x"]
    assert odd.closed == 1
    assert watch.exchanges[0].pieces == [b"x", b"x"]


async def test_an_odd_async_stream_of_somebody_elses(package: Any, watch: Watch) -> None:
    class Odd(package.AsyncByteStream):  # type: ignore[misc]
        closed = 0
        left = 2

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return b"x"

        async def aclose(self) -> None:
            self.closed += 1

    odd = Odd()
    transport = watching(
        package.MockTransport(lambda _: package.Response(200, stream=odd)), package, watch, is_async=True
    )
    async with package.AsyncClient(transport=transport) as http, http.stream("GET", "http://a/") as response:
        assert [piece async for piece in response.aiter_raw()] == [b"x", b"x"]
    assert odd.closed == 1
    assert watch.exchanges[0].pieces == [b"x", b"x"]


async def test_a_generator_is_closed_by_who_reads_it(package: Any, watch: Watch) -> None:
    """httpx2 closes what reads a stream, if it is an async generator; ours passes for one, and passes it on."""
    closed: list[str] = []

    class Stream(package.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                for _ in range(3):
                    yield b"x"
            finally:
                closed.append("generator")

    transport = watching(
        package.MockTransport(lambda _: package.Response(200, stream=Stream())), package, watch, is_async=True
    )
    response = await transport.handle_async_request(package.Request("GET", "http://a/"))
    pieces: Any = aiter(response.stream)
    assert await anext(pieces) == b"x"
    assert await pieces.asend(None) == b"x"
    with contextlib.suppress(ValueError):
        await pieces.athrow(ValueError())
    await pieces.aclose()
    assert closed == ["generator"]
    await response.aclose()
    assert watch.exchanges[0].how == (Outcome.ABANDONED, "", "")


# The transport itself ---------------------------------------------------------------------------------------------


def test_a_transport_is_one(package: Any, watch: Watch) -> None:
    inner, ainner = package.HTTPTransport(), package.AsyncHTTPTransport()
    transport = watching(inner, package, watch, is_async=False)
    atransport = watching(ainner, package, watch, is_async=True)
    assert isinstance(transport, package.BaseTransport)
    assert isinstance(atransport, package.AsyncBaseTransport)
    assert watching(transport, package, watch, is_async=False) is transport
    assert transport._pool is inner._pool
    assert repr(inner) in repr(transport)
    with pytest.raises(AttributeError):
        _ = transport.no_such_thing
    assert [package_of(each) for each in (inner, ainner, transport, object())] == [package, package, package, None]
    assert kinds(package) is kinds(package)
    other = httpx if package is httpx2 else httpx2
    assert not isinstance(transport, other.BaseTransport)


def test_a_transport_is_entered_and_closed_as_the_wrapped_one(package: Any, watch: Watch) -> None:
    calls: list[str] = []

    class Inner(package.BaseTransport):  # type: ignore[misc]
        def __enter__(self) -> Any:
            calls.append("enter")
            return self

        def __exit__(self, *error: Any) -> None:
            calls.append("exit")

        def close(self) -> None:
            calls.append("close")

    transport = watching(Inner(), package, watch, is_async=False)
    with transport as entered:
        assert entered is transport
    transport.close()
    with package.Client(transport=transport):
        pass
    assert calls == ["enter", "exit", "close", "enter", "exit"]


async def test_an_async_transport_is_entered_and_closed_as_the_wrapped_one(package: Any, watch: Watch) -> None:
    calls: list[str] = []

    class Inner(package.AsyncBaseTransport):  # type: ignore[misc]
        async def __aenter__(self) -> Any:
            calls.append("enter")
            return self

        async def __aexit__(self, *error: Any) -> None:
            calls.append("exit")

        async def aclose(self) -> None:
            calls.append("close")

    transport = watching(Inner(), package, watch, is_async=True)
    async with transport as entered:
        assert entered is transport
    await transport.aclose()
    assert calls == ["enter", "exit", "close"]


def test_our_span_is_sent_only_where_asked(package: Any, server: Server, watch: Watch) -> None:
    for propagate, sent in ((False, "00-theirs-01"), (True, "00-ours-01")):
        inner = package.HTTPTransport()
        transport = watching(inner, package, watch, is_async=False, propagate=propagate)
        with package.Client(transport=transport) as http:
            http.get(server.url, headers={"traceparent": "00-theirs-01"})
        assert server.heard[-1].header("traceparent") == sent


def test_threads_share_a_client(package: Any, server: Server, watch: Watch) -> None:
    server.answers(Answer(PIECES))
    texts: list[str] = []
    with client(package, watch) as http:
        threads = [threading.Thread(target=lambda: texts.append(http.get(server.url).text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert texts == ["".join(PIECES)] * 8
    assert [each.how for each in watch.exchanges] == [(None, "", "")] * 8


def test_no_package_is_found_by_its_name_alone() -> None:
    class Client:
        __module__ = "httpx.never_imported"

    assert package_of(Client()) is httpx
    assert package_of(SimpleNamespace()) is None
    assert isinstance(package_of(httpx2.Client()), ModuleType)


# What goes wrong beside it ----------------------------------------------------------------------------------------


def test_a_copy_that_is_half_made_says_so(package: Any, watch: Watch) -> None:
    found = kinds(package)
    for kind in found:
        with pytest.raises(AttributeError, match="_s_wrapped"):
            _ = kind.__new__(kind).anything


def test_a_request_that_nobody_watches_fails_as_it_does(package: Any) -> None:
    class Broken:
        def exchange(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("broken")

    def refused(request: Any) -> Any:
        raise package.ConnectError("no")

    transport = watching(package.MockTransport(refused), package, Broken(), is_async=False)
    with package.Client(transport=transport) as http, pytest.raises(package.ConnectError):
        http.get("http://a/")


async def test_a_request_that_nobody_watches_async(package: Any, server: Server) -> None:
    class Broken:
        def exchange(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("broken")

    async with async_client(package, Broken()) as http:
        assert (await http.get(server.url)).text == "".join(PIECES)


def test_an_odd_response_of_somebody_elses(package: Any, watch: Watch) -> None:
    odd = SimpleNamespace(status_code=200, headers={})
    inner = SimpleNamespace(handle_request=lambda request: odd)
    transport = watching(inner, package, watch, is_async=False)
    assert transport.handle_request(package.Request("GET", "http://a/")) is odd
    assert watch.exchanges[0].how == (None, "", "AttributeError")


async def test_a_call_that_is_dropped_in_the_middle(package: Any, watch: Watch) -> None:
    """It is the body's end that tells, not that of one call for a piece."""

    class Waiting(package.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    transport = watching(
        package.MockTransport(lambda _: package.Response(200, stream=Waiting())), package, watch, is_async=True
    )
    response = await transport.handle_async_request(package.Request("GET", "http://a/"))
    call: Any = anext(aiter(response.stream))
    call.send(None)
    call.close()
    assert not watch.exchanges[0].ended
    await response.aclose()
    assert watch.exchanges[0].how == (Outcome.ABANDONED, "", "")
