"""Connections of the library websockets that are of threads: what passes is what would, and what is told of it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync import client
from websockets.sync.server import serve

import sockets
import streamgauge.websockets
import streamgauge.websockets.sync
from sockets import END, ask, outcomes, say, spans
from streamgauge import testing
from streamgauge.errors import UnknownDialectError

PATIENCE_S = 20
HAS_RECONNECT = hasattr(client, "reconnect")
LEGACY: dict[str, Any] = {"legacy": True} if HAS_RECONNECT else {}

Play = Callable[[Any], list[Any]]


@pytest.fixture(autouse=True)
def _turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with sockets.known(monkeypatch):
        yield


@contextmanager
def agent(handler: Callable[[Any], None], **options: Any) -> Iterator[str]:
    """The URL of a server."""
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1/turns?key=secret"
        server.shutdown()
    thread.join(PATIENCE_S)


def connect(uri: str, **options: Any) -> Any:
    return streamgauge.websockets.sync.connect(uri, **LEGACY, **options)


def plain_connect(uri: str, **options: Any) -> Any:
    return client.connect(uri, **LEGACY, **options)


def answering(socket: Any) -> None:
    with suppress(ConnectionClosed):
        while True:
            for word in sockets.json.loads(socket.recv())["ask"].split():
                socket.send(say(word))
            socket.send(END)


def turn(socket: Any, words: str = "a b") -> list[Any]:
    socket.send(ask(words))
    return [socket.recv() for _ in range(len(words.split()) + 1)]


# What passes ------------------------------------------------------------------------------------------------------


def messages(socket: Any) -> list[Any]:
    for message in ("plain", "", "ünï 🎈", b"\x00\xff", bytearray(b"array"), memoryview(b"view")[1:]):
        socket.send(message)
    socket.send(b"text", text=True)
    socket.send("binary", text=False)
    return [socket.recv() for _ in range(6)] + [socket.recv(decode=False), socket.recv(None, True)]


def in_pieces(socket: Any) -> list[Any]:
    socket.send(["one", "", "two"])
    socket.send(piece for piece in (b"a", b"b"))
    socket.send([])
    return [socket.recv(), socket.recv()]


def streamed(socket: Any) -> list[Any]:
    socket.send("pieces")
    found: list[Any] = [list(socket.recv_streaming())]
    socket.send("pieces")
    return [*found, list(socket.recv_streaming(decode=False))]


def waited(socket: Any) -> list[Any]:
    """Nothing is lost by a read that timed out."""
    found = []
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError) as error:
            socket.recv(timeout)
        found.append(str(error.value))
    socket.send("here")
    return [*found, socket.recv(timeout=PATIENCE_S)]


def refused(socket: Any) -> list[Any]:
    found = []
    for message in ({"a": 1}, 7, None):
        with pytest.raises(TypeError) as error:
            socket.send(message)
        found.append(str(error.value))
    socket.send("pieces")
    pieces = socket.recv_streaming()
    found.append(next(pieces))
    with pytest.raises(ConcurrencyError) as concurrent:
        socket.recv()
    return [*found, str(concurrent.value), list(pieces)]


def wrong_pieces(socket: Any) -> list[Any]:
    with pytest.raises(TypeError) as error:
        socket.send(["first", b"second"])
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv()
    return [str(error.value), str(closed.value)]


def iterated(socket: Any) -> list[Any]:
    socket.send("a")
    socket.send("close 1000")
    return list(socket)


def closed_by_it(socket: Any) -> list[Any]:
    socket.send("close 4001")
    found: list[Any] = []
    for call in (socket.recv, lambda: socket.send("x"), socket.ping, lambda: next(socket.recv_streaming())):
        with pytest.raises(ConnectionClosedError) as error:
            call()
        found.append(str(error.value))
    return [*found, socket.close_code, socket.close_reason]


def closed_by_us(socket: Any) -> list[Any]:
    socket.close(4002, "done")
    socket.close()
    with pytest.raises(ConnectionClosed) as error:
        socket.recv()
    return [str(error.value), socket.close_code, socket.close_reason]


PLAYS = (
    messages, in_pieces, streamed, waited, refused, wrong_pieces, iterated, closed_by_it, closed_by_us,
)  # fmt: skip


def echoing(socket: Any) -> None:
    with suppress(ConnectionClosed):
        while True:
            message = socket.recv()
            if message == "pieces":
                socket.send(["a", "b", "ü"])
            elif isinstance(message, str) and message.startswith("close "):
                socket.close(int(message[6:]), "as asked")
            else:
                socket.send(message)


def played(play: Play, how: Callable[..., Any], **options: Any) -> list[Any]:
    with agent(echoing) as uri, how(uri, **options) as socket:
        return play(socket)


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_what_passes_is_what_would(play: Play, seen: testing.Seen) -> None:
    plain = played(play, plain_connect)
    assert plain
    assert played(play, connect, dialect="generic-messages") == plain
    assert len(spans(seen, "session")) == 1


def test_it_is_the_librarys_own_object(seen: testing.Seen) -> None:
    with agent(answering) as uri, connect(uri) as socket:
        assert isinstance(socket, client.ClientConnection)
        assert (type(socket).__name__, type(socket).__module__) == ("ClientConnection", "websockets.sync.client")
        assert set(dir(socket._s_wrapped)) <= set(dir(socket))
        assert socket.__enter__() is socket
        assert socket.response.status_code == 101


@pytest.mark.skipif(not HAS_RECONNECT, reason="this version has no such warning")
@pytest.mark.parametrize("call", [
    lambda socket: socket.send("x"), lambda socket: socket.recv(timeout=PATIENCE_S), lambda socket: socket.close(),
    lambda socket: next(socket.recv_streaming()),
])  # fmt: skip
def test_a_warning_names_the_callers_line(seen: testing.Seen, call: Any) -> None:
    def greeting(socket: Any) -> None:
        socket.send("hello")
        with suppress(ConnectionClosed):
            socket.recv()

    with agent(greeting) as uri:
        for how, options in (
            (client.connect, {}), (streamgauge.websockets.sync.connect, {"dialect": "generic-messages"}),
        ):  # fmt: skip
            socket: Any = how(uri, **options)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                call(socket)
                assert [warning.filename for warning in told] == [__file__]
                socket.close()


# What is told -----------------------------------------------------------------------------------------------------


def test_each_turn_is_a_run(seen: testing.Seen) -> None:
    with agent(answering) as uri, connect(uri, agent_name="helper") as socket:
        assert turn(socket, "a b") == [say("a"), say("b"), END]
        assert turn(socket, "c") == [say("c"), END]
    assert seen.tree() == ["session turns", "  invoke_agent a b", "  invoke_agent c"]
    assert outcomes(seen, "invoke_agent") == [("completed", None)] * 2
    assert seen.value("streamgauge.streams", streamgauge_transport="websocket") == 2


def test_one_thread_reads_and_another_writes(seen: testing.Seen) -> None:
    with agent(answering) as uri, connect(uri, dialect="generic-messages") as socket:
        found: list[Any] = []
        reading = threading.Thread(target=lambda: found.extend(socket))
        reading.start()
        for number in range(200):
            socket.send(ask(f"a{number}"))
        while len(found) < 400:
            reading.join(0.005)
        socket.close()
        reading.join(PATIENCE_S)
    assert found == [message for number in range(200) for message in (say(f"a{number}"), END)]
    assert {outcome for outcome, _ in outcomes(seen, "invoke_agent")} == {"completed"}
    assert seen.value("streamgauge.stream.chunks") == 400


def test_the_handshake_carries_our_span_where_it_is_asked_to(seen: testing.Seen) -> None:
    heard: list[Any] = []

    def handler(socket: Any) -> None:
        heard.append(socket.request.headers.get("traceparent"))

    with agent(handler) as uri:
        for propagate in (False, True):
            with connect(uri, propagate=propagate) as socket, suppress(ConnectionClosed):
                socket.recv()
    (_, told) = sorted(spans(seen, "session"), key=lambda span: span["start"])
    assert heard[0] is None
    assert heard[1].startswith(f"00-{told['trace_id']}-{told['span_id']}-")


def test_a_connection_that_exists(seen: testing.Seen) -> None:
    with agent(answering) as uri, plain_connect(uri) as socket:
        wrapped = streamgauge.websockets.wrap(socket)
        assert streamgauge.websockets.wrap(wrapped) is wrapped
        assert turn(wrapped, "a") == turn(socket, "a")
        wrapped.close()
        assert socket.close_code == 1000
    assert seen.tree() == ["session turns", "  invoke_agent a"]


def test_what_makes_the_connections_of_somebody_else(seen: testing.Seen) -> None:
    made = streamgauge.websockets.sync.connection_factory(agent_name="helper")
    with agent(answering) as uri, plain_connect(uri, create_connection=made) as socket:
        assert isinstance(socket, client.ClientConnection)
        assert turn(socket, "a") == [say("a"), END]
    with pytest.raises(ConnectionRefusedError):
        plain_connect(uri, create_connection=made)
    assert seen.tree() == ["session turns", "  invoke_agent a"]


def test_what_it_refuses() -> None:
    with pytest.raises(UnknownDialectError):
        connect("ws://localhost/", dialect="no-such-dialect")


# How it ends ------------------------------------------------------------------------------------------------------


def ending(how: str) -> Callable[[Any], None]:
    def handler(socket: Any) -> None:
        socket.recv()
        socket.send(say("a"))
        if how.startswith("end, "):
            socket.send(END)
        step = how.removeprefix("end, ")
        if step == "lost":
            socket.close_socket()
        elif step == "waits":
            with suppress(ConnectionClosed):
                socket.recv()
        else:
            socket.close(int(step), "why")

    return handler


@pytest.mark.parametrize(
    ("how", "run", "session"),
    [
        ("end, 1000", ("completed", None), ("completed", None)),
        ("end, lost", ("completed", None), ("truncated", "1006")),
        ("1000", ("truncated", "truncated"), ("truncated", "truncated")),
        ("lost", ("truncated", "1006"), ("truncated", "1006")),
        ("1011", ("failed", "1011"), ("failed", "1011")),
        ("1008", ("failed", "1008"), ("failed", "1008")),
    ],
)
def test_how_the_agent_ends_it(seen: testing.Seen, how: str, run: Any, session: Any) -> None:
    with agent(ending(how)) as uri, connect(uri) as socket:
        socket.send(ask("x"))
        with suppress(ConnectionClosed):
            for _ in socket:
                pass
        assert seen.open == 0
    assert (outcomes(seen, "invoke_agent"), outcomes(seen, "session")) == ([run], [session])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, ("abandoned", None)), (ValueError(), ("abandoned", None)), (TimeoutError(), ("timed_out", "timeout")),
     (KeyboardInterrupt(), ("shutdown", "shutdown"))],
)  # fmt: skip
def test_how_the_caller_ends_it(seen: testing.Seen, error: BaseException | None, outcome: Any) -> None:
    allowed = suppress(*([] if error is None else [type(error)]))
    with agent(ending("waits")) as uri, allowed, connect(uri) as socket:
        socket.send(ask("x"))
        socket.recv()
        if error is not None:
            raise error
    assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [outcome]


@pytest.mark.parametrize(("waits", "outcome"), [(False, ("abandoned", None)), (True, ("timed_out", "timeout"))])
def test_dropped(seen: testing.Seen, waits: bool, outcome: Any) -> None:
    with agent(ending("waits")) as uri:
        socket = connect(uri)
        plain = socket._s_wrapped
        socket.send(ask("x"))
        socket.recv()
        if waits:
            with pytest.raises(TimeoutError):
                socket.recv(timeout=0.001)
        del socket
        assert outcomes(seen, "invoke_agent") == [outcome]
        plain.pending_legacy_warning = False
        plain.close()


def test_a_handshake_that_fails(seen: testing.Seen) -> None:
    def deny(socket: Any, request: Any) -> Any:
        return socket.respond(403, "no\n")

    with agent(answering, process_request=deny) as uri, pytest.raises(InvalidStatus):
        connect(uri)
    with pytest.raises(ConnectionRefusedError):
        connect(uri)
    assert outcomes(seen, "session") == [("failed", "403"), ("failed", "connect_error")]


@pytest.mark.skipif(not HAS_RECONNECT, reason="this version has no reconnect")
def test_it_connects_again_and_again(seen: testing.Seen) -> None:
    count = 0

    def handler(socket: Any) -> None:
        nonlocal count
        count += 1
        socket.recv()
        socket.send(END)
        socket.close(1012 if count < 2 else 1000)

    with agent(handler) as uri:
        for made in (
            streamgauge.websockets.sync.reconnect(uri, propagate=True),
            streamgauge.websockets.sync.connect(uri, legacy=False),
        ):
            assert isinstance(made, client.reconnect)
            for socket in made:
                try:
                    socket.send(ask("x"))
                    for _ in socket:
                        pass
                except ConnectionClosed:
                    continue
                break
    assert outcomes(seen, "session") == [("failed", "1012"), ("completed", None), ("completed", None)]
    assert all(span["parent_id"] is None for span in spans(seen, "session"))
