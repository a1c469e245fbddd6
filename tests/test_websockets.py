"""Connections of the library websockets, asyncio's: what passes is what would, and what is told of it. The servers are
the library's own."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as plain_connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedError, InvalidStatus

import sockets
import streamgauge.websockets
from sockets import END, ask, outcomes, say, spans
from streamgauge import testing
from streamgauge.errors import UnknownDialectError, UnwrappableError
from streamgauge.transports._conversation import MAX_MESSAGE_BYTES

PATIENCE_S = 20
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LARGE = "x" * (16 * 1024 * 1024)

Handler = Callable[[Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def _turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with sockets.known(monkeypatch):
        yield


@asynccontextmanager
async def agent(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """The URL of a server."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/turns?key=secret"


async def answering(socket: Any) -> None:
    """Each request is answered as it says: by its words, one at a time, and an end."""
    async for message in socket:
        text = message if isinstance(message, str) else message.decode()
        for word in sockets.json.loads(text)["ask"].split():
            await socket.send(say(word))
        await socket.send(END)


async def turn(socket: Any, words: str = "a b") -> list[Any]:
    await socket.send(ask(words))
    return [await socket.recv() for _ in range(len(words.split()) + 1)]


def connect(uri: str, **options: Any) -> Any:
    return streamgauge.websockets.connect(uri, **options)


# What passes ------------------------------------------------------------------------------------------------------

Play = Callable[[Any], Awaitable[list[Any]]]


async def texts(socket: Any) -> list[Any]:
    for message in ("plain", "", "ünï 🎈", "x" * 70_000):
        await socket.send(message)
    return [await socket.recv() for _ in range(4)]


async def binaries(socket: Any) -> list[Any]:
    for message in (b"\x00\xff", bytearray(b"array"), memoryview(b"view")[1:], b""):
        await socket.send(message)
    return [await socket.recv() for _ in range(4)]


async def other_kinds(socket: Any) -> list[Any]:
    await socket.send(b"text", text=True)
    await socket.send("binary", text=False)
    await socket.send("t")
    await socket.send(b"b")
    return [
        await socket.recv(), await socket.recv(), await socket.recv(decode=False), await socket.recv(decode=True),
    ]  # fmt: skip


async def in_pieces(socket: Any) -> list[Any]:
    async def made() -> AsyncIterator[bytes]:
        for piece in (b"a", b"", b"bc"):
            yield piece

    await socket.send(["one", "", "two"])
    await socket.send(piece for piece in ("ü", "ber"))
    await socket.send(made())
    await socket.send([b"te", b"xt"], text=True)
    await socket.send([])
    await socket.send(())
    return [await socket.recv() for _ in range(4)]


async def large(socket: Any) -> list[Any]:
    await socket.send(LARGE)
    await socket.send([LARGE[:100], LARGE])
    return [await socket.recv() == LARGE, len(await socket.recv())]


async def iterated(socket: Any) -> list[Any]:
    await socket.send("a")
    await socket.send("close 1000")
    return [message async for message in socket]


async def streamed(socket: Any) -> list[Any]:
    await socket.send("pieces")
    found = [[piece async for piece in socket.recv_streaming()]]
    await socket.send("pieces")
    found += [[piece async for piece in socket.recv_streaming(decode=False)]]
    await socket.send("last")
    return [*found, await socket.recv()]


async def streamed_in_part(socket: Any) -> list[Any]:
    await socket.send("pieces")
    async for piece in socket.recv_streaming():
        with pytest.raises(ConcurrencyError) as refused:
            await socket.recv()
        return [piece, str(refused.value)]
    return []


async def refused(socket: Any) -> list[Any]:
    """What the library refuses, and does not close for."""
    found = []
    for message in ({"a": 1}, 7, None, object):
        with pytest.raises(TypeError) as error:
            await socket.send(message)
        found.append(str(error.value))
    reading = asyncio.ensure_future(socket.recv())
    await asyncio.sleep(0)
    with pytest.raises(ConcurrencyError) as concurrent:
        await socket.recv()
    await socket.send("still there")
    return [*found, str(concurrent.value), await reading]


def wrong_pieces(*pieces: Any) -> Play:
    """A message that cannot be finished closes the connection."""

    async def play(socket: Any) -> list[Any]:
        def made() -> Iterator[Any]:
            yield "first"
            yield from pieces
            raise ValueError("in the middle")

        with pytest.raises((TypeError, ValueError)) as error:
            await socket.send(made())
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        return [repr(error.value), str(closed.value)]

    return play


async def cancelled(socket: Any) -> list[Any]:
    """Nothing is lost by a read that was cancelled."""
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.001)
    await socket.send("here")
    return [await socket.recv()]


async def closed_by_it(socket: Any) -> list[Any]:
    await socket.send("close 4001")
    found: list[Any] = []
    for call in (socket.recv, lambda: socket.send("x"), socket.ping, lambda: anext(socket.recv_streaming())):
        with pytest.raises(ConnectionClosedError) as error:
            await call()
        found.append((str(error.value), error.value.rcvd, error.value.sent, error.value.rcvd_then_sent))
    await socket.wait_closed()
    return [*found, socket.close_code, socket.close_reason, socket.state.name]


async def closed_by_us(socket: Any) -> list[Any]:
    await socket.send("a")
    found = [await socket.recv()]
    await socket.close(4002, "done")
    await socket.close()
    with pytest.raises(ConnectionClosed) as error:
        await socket.recv()
    return [*found, str(error.value), socket.close_code, socket.close_reason]


async def too_large(socket: Any) -> list[Any]:
    await socket.send("large")
    with pytest.raises(ConnectionClosedError) as error:
        await socket.recv()
    return [str(error.value)]


async def pings(socket: Any) -> list[Any]:
    pong = await socket.ping(b"1234")
    await socket.pong(b"unasked")
    return [await pong > 0, socket.latency > 0]


PLAYS: dict[str, Play] = {
    **{play.__name__: play for play in (
        texts, binaries, other_kinds, in_pieces, iterated, streamed, streamed_in_part, refused, cancelled, closed_by_it,
        closed_by_us, pings,
    )},
    "pieces that fail": wrong_pieces(),
    "pieces of two kinds": wrong_pieces(b"second"),
}  # fmt: skip


def echoing(heard: list[Any]) -> Handler:
    async def handler(socket: Any) -> None:
        try:
            async for message in socket:
                heard.append(message)
                if message == "pieces":
                    await socket.send(["a", "b", "ü"])
                elif message == "large":
                    await socket.send("x" * 5_000_000)
                elif isinstance(message, str) and message.startswith("close "):
                    await socket.close(int(message[6:]), "as asked")
                else:
                    await socket.send(message)
        except ConnectionClosed as error:
            heard.append(str(error))

    return handler


async def played(play: Play, how: Callable[..., Any], **options: Any) -> tuple[list[Any], list[Any]]:
    """(what the caller had, what the agent had)."""
    heard: list[Any] = []
    async with agent(echoing(heard), max_size=None) as uri, how(uri, **options) as socket:
        async with asyncio.timeout(PATIENCE_S):
            return await play(socket), heard


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("play", PLAYS.values(), ids=list(PLAYS))
async def test_what_passes_is_what_would(play: Play, compression: Any, seen: testing.Seen) -> None:
    options = {"compression": compression}
    plain = await played(play, plain_connect, **options)
    assert plain[0]
    assert await played(play, connect, **options, dialect="generic-messages") == plain
    assert len(spans(seen, "session")) == 1


@pytest.mark.logs
async def test_a_large_message_passes_and_the_next_is_read(seen: testing.Seen) -> None:
    async def play(socket: Any) -> list[Any]:
        return [await large(socket), await socket.send("after"), await socket.recv()]

    for compression in (None, "deflate"):
        plain = await played(play, plain_connect, compression=compression, max_size=None)
        watched = await played(play, connect, compression=compression, max_size=None, dialect="generic-messages")
        assert watched == plain
    assert seen.value("streamgauge.tap.blind", reason="size") == 8
    assert seen.value("streamgauge.stream.chunks") == 2


async def test_a_message_beyond_the_callers_limit_fails(seen: testing.Seen) -> None:
    plain = await played(too_large, plain_connect)
    assert await played(too_large, connect, dialect="generic-messages") == plain
    assert outcomes(seen, "session") == [("failed", "1009")]


async def test_it_is_the_librarys_own_object(seen: testing.Seen) -> None:
    async with agent(answering, subprotocols=["chat"]) as uri:
        options = {"subprotocols": ["chat"], "user_agent_header": "me"}
        async with connect(uri, **options) as socket:
            assert isinstance(socket, ClientConnection)
            kind = type(socket)
            assert (kind.__name__, kind.__qualname__, kind.__module__) == (
                "ClientConnection", "ClientConnection", ClientConnection.__module__,
            )  # fmt: skip
            assert set(dir(socket._s_wrapped)) <= set(dir(socket))
            for name, value in vars(socket._s_wrapped).items():
                assert getattr(socket, name) is value, name
            assert socket.subprotocol == "chat"
            assert socket.request.headers["user-agent"] == "me"
            assert socket.response.status_code == 101
            assert socket.remote_address[0] == "127.0.0.1"
            for name in ("recv", "send", "close", "ping", "pong", "wait_closed"):
                assert inspect.iscoroutinefunction(getattr(socket, name))
            assert inspect.isasyncgenfunction(socket.recv_streaming)
            socket.mine = 1
            assert socket._s_wrapped.mine == 1
            assert await socket.__aenter__() is socket


async def test_a_class_of_the_callers_own(seen: testing.Seen) -> None:
    class Mine(ClientConnection):
        async def recv(self, decode: Any = None) -> Any:
            return f"mine {await super().recv(decode)!s}"

    class Slotted(ClientConnection):
        __slots__ = ("own",)

    async with agent(answering) as uri:
        async with connect(uri, create_connection=Mine, dialect="generic-messages") as socket:
            assert isinstance(socket, Mine)
            assert await turn(socket, "a") == [f"mine {say('a')}", f"mine {END}"]
        async with connect(uri, create_connection=Slotted) as socket:  # its state cannot be shared
            assert type(socket) is Slotted
            assert await turn(socket, "a") == [say("a"), END]
    assert outcomes(seen, "invoke_agent") == [("completed", None)]


async def test_each_object_is_the_very_one(seen: testing.Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    sent: list[Any] = []

    class Keeping(ClientConnection):
        async def recv(self, *args: Any) -> Any:
            read.append(await super().recv(*args))
            return read[-1]

        async def send(self, message: Any, **options: Any) -> None:
            sent.append(message)
            await super().send(message, **options)

    messages = [ask("a"), bytearray(b"\x00")]
    async with agent(echoing([])) as uri, connect(uri, create_connection=Keeping, dialect="generic-messages") as socket:
        for message in messages:
            await socket.send(message)
        found = [await socket.recv(), await socket.recv()]
    assert [each is other for each, other in zip(found, read, strict=True)] == [True, True]
    assert [each is other for each, other in zip(sent, messages, strict=True)] == [True, True]


async def test_it_reads_in_the_callers_task_and_nothing_ahead(seen: testing.Seen) -> None:
    tasks: set[Any] = set()

    class Told(ClientConnection):
        reads = 0

        async def recv(self, *args: Any) -> Any:
            tasks.add(asyncio.current_task())
            Told.reads += 1
            return await super().recv(*args)

    async with agent(answering) as uri, connect(uri, create_connection=Told) as socket:
        await socket.send(ask("a b c"))
        assert await socket.recv() == say("a")
        assert Told.reads == 1
        async for message in socket:
            if message == END:
                break
    assert tasks == {asyncio.current_task()}


# What is told -----------------------------------------------------------------------------------------------------


async def test_each_turn_is_a_run(seen: testing.Seen) -> None:
    async with agent(answering) as uri, connect(uri, agent_name="helper") as socket:
        assert await turn(socket, "a b") == [say("a"), say("b"), END]
        assert await turn(socket, "c") == [say("c"), END]
        assert seen.open == 1
    assert seen.tree() == ["session turns", "  invoke_agent a b", "  invoke_agent c"]
    (session,) = spans(seen, "session")
    told = session["attributes"]
    assert (told["streamgauge.transport"], told["streamgauge.dialect"]) == ("websocket", "turns")
    assert (told["url.path"], told["http.response.status_code"]) == ("/v1/turns", 101)
    assert (told["server.address"], told["streamgauge.session.turns"]) == ("127.0.0.1", 2)
    assert session["kind"] == "CLIENT"
    assert "secret" not in str(seen.spans)
    assert outcomes(seen, "invoke_agent") == [("completed", None)] * 2
    assert [span["attributes"]["streamgauge.stream.chunks"] for span in spans(seen, "invoke")] == [2, 1]
    assert seen.value("streamgauge.streams", streamgauge_transport="websocket") == 2


async def test_a_message_in_pieces_is_one_message(seen: testing.Seen) -> None:
    async def handler(socket: Any) -> None:
        await socket.recv()
        await socket.send([say("a b")[:5], say("a b")[5:]])
        await socket.send([END[:3], END[3:]])

    async with agent(handler) as uri, connect(uri) as socket:
        await socket.send(piece for piece in (ask("x")[:4], ask("x")[4:]))
        assert "".join([piece async for piece in socket.recv_streaming()]) == say("a b")
        assert b"".join([piece async for piece in socket.recv_streaming(decode=False)]).decode() == END
    (run,) = spans(seen, "invoke_agent")
    assert run["name"] == "invoke_agent x"
    assert run["attributes"]["streamgauge.stream.chunks"] == 1
    assert run["attributes"]["streamgauge.outcome"] == "completed"


async def test_text_is_text_however_it_is_read_and_sent(seen: testing.Seen) -> None:
    async def handler(socket: Any) -> None:
        await socket.recv()
        await socket.send(say("a"))
        await socket.send(b"\xff\x00")
        await socket.send(END)

    async with agent(handler) as uri, connect(uri) as socket:
        await socket.send(ask("x").encode(), text=True)
        assert [await socket.recv(decode=False) for _ in range(3)] == [say("a").encode(), b"\xff\x00", END.encode()]
    assert outcomes(seen, "invoke_agent") == [("completed", None)]
    assert seen.value("streamgauge.stream.chunks", kind="text") == 1
    assert seen.value("streamgauge.stream.chunks", kind="binary") == 1


async def test_the_parent_is_what_is_current_and_stays_so(seen: testing.Seen) -> None:
    tracer = seen.pipeline.recorder.tracer
    with tracer.start_as_current_span("mine") as mine:
        async with agent(answering) as uri, connect(uri) as socket:
            await turn(socket)
            assert trace.get_current_span() is mine
    assert seen.tree() == ["mine", "  session turns", "    invoke_agent a b"]


@pytest.mark.parametrize("own", [{}, {"traceparent": PARENT, "x-mine": "1"}, [("Traceparent", PARENT)]])
@pytest.mark.parametrize("propagate", [False, True])
async def test_the_handshake_carries_our_span_where_it_is_asked_to(
    seen: testing.Seen, own: Any, propagate: bool
) -> None:
    heard: list[Any] = []

    async def handler(socket: Any) -> None:
        heard.append(socket.request.headers)

    async with agent(handler) as uri, connect(uri, propagate=propagate, additional_headers=own) as socket:
        await socket.wait_closed()
    (session,) = spans(seen, "session")
    sent = heard[0].get_all("traceparent")
    ours = f"00-{session['trace_id']}-{session['span_id']}"
    assert [value.rpartition("-")[0] for value in sent] == (
        [ours] if propagate else [PARENT.rpartition("-")[0]] if own else []
    )
    assert heard[0].get("x-mine") == ("1" if "x-mine" in own else None)
    if own:  # and nothing is current
        assert session["trace_id"] == PARENT.split("-")[1]


async def test_a_connection_that_exists(seen: testing.Seen) -> None:
    async with agent(answering) as uri, plain_connect(uri) as socket:
        await turn(socket)
        wrapped = streamgauge.websockets.wrap(socket, conversation_id="c-1")
        assert streamgauge.websockets.wrap(wrapped) is wrapped
        assert isinstance(wrapped, ClientConnection)
        assert type(socket) is ClientConnection
        await turn(wrapped, "later")
        await turn(socket, "unseen")
        await wrapped.close()
        assert socket.close_code == 1000
    assert seen.tree() == ["session turns", "  invoke_agent later"]
    (session,) = spans(seen, "session")
    assert session["attributes"]["gen_ai.conversation.id"] == "c-1"
    assert session["attributes"]["url.path"] == "/v1/turns"
    assert session["attributes"]["server.address"] == "127.0.0.1"


async def test_what_makes_the_connections_of_somebody_else(seen: testing.Seen) -> None:
    class Mine(ClientConnection):
        pass

    heard: list[Any] = []

    async def handler(socket: Any) -> None:
        heard.append(socket.request.headers.get("traceparent"))
        await answering(socket)

    made = streamgauge.websockets.connection_factory(Mine, propagate=True, conversation_id="c-1")
    async with agent(handler) as uri:
        for _ in range(2):
            async with plain_connect(uri, create_connection=made) as socket:
                assert isinstance(socket, Mine)
                assert (type(socket).__name__, type(socket).__qualname__) == ("Mine", Mine.__qualname__)
                assert await turn(socket, "a") == [say("a"), END]
                assert streamgauge.websockets.wrap(socket) is socket
    assert seen.tree() == ["session turns", "  invoke_agent a"] * 2
    for session, header in zip(spans(seen, "session"), heard, strict=True):
        told = session["attributes"]
        assert header.startswith(f"00-{session['trace_id']}-{session['span_id']}-")
        assert (told["url.path"], told["http.response.status_code"]) == ("/v1/turns", 101)
        assert (told["server.address"], told["gen_ai.conversation.id"]) == ("127.0.0.1", "c-1")
        assert (told["streamgauge.outcome"], told["streamgauge.websocket.closed_by"]) == ("abandoned", "caller")


async def test_what_it_makes_may_be_denied_or_lost(seen: testing.Seen) -> None:
    made = streamgauge.websockets.connection_factory()
    async with agent(ending("lost")) as uri:
        socket = await plain_connect(uri, create_connection=made)
        await socket.send(ask("x"))
        await socket.wait_closed()
        assert [await socket.recv()] == [say("a")]
        with pytest.raises(ConnectionClosedError):
            await socket.recv()
    async with agent(answering, process_request=lambda socket, request: socket.respond(503, "no\n")) as uri:
        with pytest.raises(InvalidStatus):
            await plain_connect(uri, create_connection=made)
    assert outcomes(seen, "session") == [("truncated", "1006"), ("failed", "503")]


async def test_what_it_refuses() -> None:
    with pytest.raises(UnknownDialectError):
        connect("ws://localhost/", dialect="no-such-dialect")
    with pytest.raises(UnwrappableError, match=r"builtins\.object is no client's connection"):
        streamgauge.websockets.wrap(object())
    with pytest.raises(TypeError):
        streamgauge.websockets.connect()  # type: ignore[call-arg]


# How it ends ------------------------------------------------------------------------------------------------------


def ending(how: str) -> Handler:
    """An agent that says `a`, and then ends it in this way; with a terminal event before where `how` begins so."""

    async def handler(socket: Any) -> None:
        async for _ in socket:
            await socket.send(say("a"))
            if how.startswith("end, "):
                await socket.send(END)
            step = how.removeprefix("end, ")
            if step == "lost":
                socket.transport.abort()
            elif step == "waits":
                await socket.wait_closed()
            elif step == "error":
                await socket.send('{"error": "quota"}')
            else:
                await socket.close(int(step), "why")

    return handler


@pytest.mark.parametrize(
    ("how", "run", "session"),
    [
        ("end, 1000", ("completed", None), ("completed", None)),
        ("end, 1001", ("completed", None), ("completed", None)),
        ("end, lost", ("completed", None), ("truncated", "1006")),
        ("1000", ("truncated", "truncated"), ("truncated", "truncated")),
        ("lost", ("truncated", "1006"), ("truncated", "1006")),
        ("1011", ("failed", "1011"), ("failed", "1011")),
        ("1008", ("failed", "1008"), ("failed", "1008")),
        ("4000", ("failed", "4000"), ("failed", "4000")),
    ],
)
async def test_how_the_agent_ends_it(seen: testing.Seen, how: str, run: Any, session: Any) -> None:
    async with agent(ending(how)) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        with suppress(ConnectionClosed):
            async for _ in socket:
                pass
        assert seen.open == 0, "at once, and not when the caller leaves"
    assert (outcomes(seen, "invoke_agent"), outcomes(seen, "session")) == ([run], [session])
    told = spans(seen, "session")[0]["attributes"]
    assert told["streamgauge.websocket.closed_by"] == "agent"
    code = how.removeprefix("end, ")
    assert told["streamgauge.websocket.close_code"] == (1006 if code == "lost" else int(code))
    assert told.get("streamgauge.websocket.close_reason") == (None if code == "lost" else "why")


async def test_an_error_event_is_the_runs(seen: testing.Seen) -> None:
    async with agent(ending("error")) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        assert [await socket.recv(), await socket.recv()] == [say("a"), '{"error": "quota"}']
        assert await turn(socket, "x") == [say("a"), '{"error": "quota"}']
    assert outcomes(seen, "invoke_agent") == [("failed", "quota")] * 2
    assert outcomes(seen, "session") == [("abandoned", None)]


async def test_a_connection_that_is_lost_while_nobody_reads(seen: testing.Seen) -> None:
    async with agent(ending("lost")) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        assert await socket.recv() == say("a")
        await socket.wait_closed()
        await asyncio.sleep(0)
        assert seen.open == 0
        assert outcomes(seen, "invoke_agent") == [("truncated", "1006")]


async def test_what_came_before_it_was_closed_is_still_read(seen: testing.Seen) -> None:
    async with agent(ending("end, 1000")) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        await socket.wait_closed()
        with pytest.raises(ConnectionClosed):
            await socket.send("more")
        await asyncio.sleep(0)
        assert seen.open == 2
        assert [message async for message in socket] == [say("a"), END]
    assert outcomes(seen, "invoke_agent") == [("completed", None)]


async def test_what_came_and_was_not_read(seen: testing.Seen) -> None:
    async with agent(ending("end, 1000")) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        await socket.wait_closed()
    assert outcomes(seen, "invoke_agent") == [("abandoned", None)]
    assert spans(seen, "session")[0]["attributes"]["streamgauge.websocket.closed_by"] == "agent"


@pytest.mark.parametrize("code", [1000, 1011, 4999])
async def test_the_caller_closes_it(seen: testing.Seen, code: int) -> None:
    async with agent(ending("waits")) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        await socket.recv()
        await socket.close(code, "enough")
    assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [("abandoned", None)]
    told = spans(seen, "session")[0]["attributes"]
    assert [told[f"streamgauge.websocket.{name}"] for name in ("close_code", "close_reason", "closed_by")] == [
        code, "enough", "caller",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ValueError("x"), ("abandoned", None)), (TimeoutError(), ("timed_out", "timeout")),
     (asyncio.CancelledError(), ("cancelled", None)), (SystemExit(), ("shutdown", "shutdown"))],
)  # fmt: skip
async def test_the_caller_leaves_by_an_exception(seen: testing.Seen, error: BaseException, outcome: Any) -> None:
    async with agent(ending("waits")) as uri:
        with pytest.raises(type(error)) as raised:
            async with connect(uri) as socket:
                await socket.send(ask("x"))
                await socket.recv()
                raise error
        assert raised.value is error
    assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [outcome]


async def test_a_task_that_is_cancelled(seen: testing.Seen) -> None:
    begun = asyncio.Event()

    async def call(uri: str) -> None:
        async with connect(uri) as socket:
            await socket.send(ask("x"))
            await socket.recv()
            begun.set()
            await socket.recv()

    async with agent(ending("waits")) as uri:
        task = asyncio.ensure_future(call(uri))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert outcomes(seen, "invoke_agent") == [("cancelled", None)]


async def test_a_task_that_is_cancelled_and_closes_nothing(seen: testing.Seen) -> None:
    begun = asyncio.Event()
    kept: list[Any] = []

    async def call(uri: str) -> None:
        socket = await connect(uri)
        kept.append(socket._s_wrapped)
        await socket.send(ask("x"))
        await socket.recv()
        begun.set()
        await socket.recv()

    async with agent(ending("waits")) as uri:
        task = asyncio.ensure_future(call(uri))
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)  # asyncio itself holds it until then
        gc.collect()
        assert outcomes(seen, "invoke_agent") == [("cancelled", None)]
        await kept[0].close()


async def test_dropped(seen: testing.Seen) -> None:
    async with agent(ending("waits")) as uri:
        socket = await connect(uri)
        plain = socket._s_wrapped
        await socket.send(ask("x"))
        await socket.recv()
        del socket  # by its last reference: at once
        assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [("abandoned", None)]
        assert plain.state.name == "OPEN", "it is the library's to look after it"
        await plain.close()


async def test_dropped_after_it_was_lost(seen: testing.Seen) -> None:
    async with agent(ending("1011")) as uri:
        socket = await connect(uri)
        await socket.send(ask("x"))
        await socket.wait_closed()
        del socket
        assert outcomes(seen, "session") == [("abandoned", None)]
        assert spans(seen, "session")[0]["attributes"]["streamgauge.websocket.close_code"] == 1011


async def test_to_break_off_a_loop_ends_nothing(seen: testing.Seen) -> None:
    async with agent(answering) as uri, connect(uri) as socket:
        await socket.send(ask("a b"))
        async for message in socket:
            assert message == say("a")
            break
        assert seen.open == 2
        assert [await socket.recv(), await socket.recv()] == [say("b"), END]
    assert outcomes(seen, "invoke_agent") == [("completed", None)]


async def test_the_program_ends(seen: testing.Seen) -> None:
    async with agent(ending("waits")) as uri, connect(uri) as socket:
        await socket.send(ask("x"))
        await socket.recv()
        seen.pipeline.close_streams()
        assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [("shutdown", "shutdown")]
    assert len(seen.spans) == 2


PROGRAM = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from websockets.asyncio.server import serve
import streamgauge.websockets

provider = TracerProvider()
line = lambda span: f"{span.name} {span.attributes['streamgauge.outcome']}\\n"
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
trace.set_tracer_provider(provider)

async def handler(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    server = await serve(handler, "127.0.0.1", 0)
    global socket
    socket = await streamgauge.websockets.connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
    await socket.send("a")
    print(await socket.recv())

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


def test_the_interpreter_exits() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, cwd=Path(__file__).parent
    )
    assert ended.stdout.splitlines() == ["a", "invoke_agent completed", "session generic-messages shutdown"]
    assert ended.returncode == 0


# Handshakes -------------------------------------------------------------------------------------------------------


async def test_a_handshake_that_is_denied(seen: testing.Seen) -> None:
    def deny(connection: Any, request: Any) -> Any:
        return connection.respond(403, "no\n")

    async with agent(answering, process_request=deny) as uri:
        with pytest.raises(InvalidStatus) as denied:
            await connect(uri)
    assert denied.value.response.status_code == 403
    assert outcomes(seen, "session") == [("failed", "403")]
    assert spans(seen, "session")[0]["attributes"]["http.response.status_code"] == 403
    assert seen.value("streamgauge.streams") == 0


async def test_nobody_is_there(seen: testing.Seen) -> None:
    async with agent(answering) as uri:
        pass
    with pytest.raises(ConnectionRefusedError):
        await connect(uri)
    assert outcomes(seen, "session") == [("failed", "connect_error")]


async def test_a_handshake_that_is_not_answered(seen: testing.Seen) -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    with pytest.raises(TimeoutError, match="timed out during opening handshake"):
        await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/turns", open_timeout=0.05)
    assert outcomes(seen, "session") == [("timed_out", "timeout")]
    server.close()


async def test_a_handshake_that_is_cancelled(seen: testing.Seen) -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    connecting = connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/turns")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connecting, 0.05)
    assert outcomes(seen, "session") == [("cancelled", None)]
    server.close()


async def test_it_connects_again_and_again(seen: testing.Seen) -> None:
    count = 0

    async def handler(socket: Any) -> None:
        nonlocal count
        count += 1
        await socket.recv()
        await socket.send(END)
        await socket.close(1012 if count < 3 else 1000)

    async with agent(handler) as uri:
        async for socket in connect(uri, propagate=True):
            assert isinstance(socket, ClientConnection)
            try:
                await socket.send(ask(str(count)))
                async for _ in socket:
                    pass
            except ConnectionClosed:
                continue
            break
    assert seen.tree() == [
        "session turns", "  invoke_agent 1", "session turns", "  invoke_agent 2", "session turns", "  invoke_agent 3",
    ]  # fmt: skip
    assert outcomes(seen, "session") == [("failed", "1012"), ("failed", "1012"), ("completed", None)]


async def test_messages_larger_than_are_looked_at_are_not_kept(seen: testing.Seen) -> None:
    from streamgauge.transports.websocket._messages import Joined

    joined = Joined()
    for _ in range(20):
        joined.add("x" * (MAX_MESSAGE_BYTES // 10))
    assert (joined.large, joined.whole(), joined._pieces) == (True, None, [])
