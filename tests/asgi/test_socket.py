"""WebSockets on the ASGI side, without a server: what passes is what would, each to each; and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

import sockets
from conftest import HandClock
from sockets import END, ask, outcomes, say, spans
from streamgauge import testing
from streamgauge.asgi import Middleware
from streamgauge.errors import UnknownDialectError, UsageError
from streamgauge.recorder import ambient
from streamgauge.transports import _asgi_socket, _conversation, _passing, asgi

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept", "subprotocol": None, "headers": []}


@pytest.fixture(autouse=True)
def _turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with sockets.known(monkeypatch):
        yield


def scope(path: str = "/turns", *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "scheme": "ws",
        "path": path, "raw_path": path.encode(), "query_string": b"key=secret", "root_path": "", "headers": [*headers],
        "server": ("127.0.0.1", 8000), "subprotocols": [], **more,
    }  # fmt: skip


def heard(data: str | bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}


def said(data: str | bytes) -> dict[str, Any]:
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


def gone(code: int | None = 1000, reason: str = "") -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def close(code: int = 1000, reason: str = "") -> dict[str, Any]:
    return {"type": "websocket.close", "code": code, "reason": reason}


class Server:
    """The server's side of one connection: what it gives, and all that it was given."""

    def __init__(self, *given: Any) -> None:
        self.given = [CONNECT, *given]
        self.received: list[Any] = []
        self.sent: list[Any] = []
        self.refuses: BaseException | None = None

    async def receive(self) -> Any:
        message = self.given[len(self.received)]
        self.received.append(message)
        return message

    async def send(self, message: Any) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.sent.append(message)


async def call(app: Any, *given: Any, at: dict[str, Any] | None = None, **options: Any) -> Server:
    server = Server(*given)
    await Middleware(app, **options)(at or scope(), server.receive, server.send)
    return server


def playing(*steps: Any) -> Any:
    """An application that receives where a step is None, raises it where it is an exception, and sends it else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            if step is None:
                await receive()
            elif isinstance(step, BaseException):
                raise step
            else:
                await send(step)

    return app


TURN = (None, said(say("a")), said(END))


# What passes ------------------------------------------------------------------------------------------------------


async def test_each_message_is_the_very_object(seen: testing.Seen) -> None:
    given = [heard(ask("x")), heard(b"\x00"), {"type": "websocket.receive", "text": None, "bytes": b"y"}, gone()]
    sent = [ACCEPT, said(say("a")), said(b"\xff"), {"type": "websocket.send", "text": None, "bytes": b"z"}, said(END)]
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        for message in sent[:1]:
            await send(message)
        received.extend([await receive() for _ in given[:-1]])
        for message in sent[1:]:
            await send(message)
        received.append(await receive())

    server = await call(app, *given)
    assert list(map(id, server.sent)) == list(map(id, sent))
    assert list(map(id, received)) == list(map(id, [CONNECT, *given]))
    assert seen.value("streamgauge.stream.chunks", kind="binary") == 2
    assert outcomes(seen, "invoke_agent") == [("completed", None)]


@pytest.mark.parametrize("message", [
    {}, {"type": "websocket.unheard"}, {"type": "websocket.send"}, {"type": "websocket.send", "text": 7},
    {"type": "websocket.close", "code": None}, 7, None, [],
], ids=str)  # fmt: skip
async def test_a_message_that_is_none_is_for_the_server_and_the_application(seen: testing.Seen, message: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        assert await receive() is message
        await send(message)
        await send(close())

    server = await call(app, message)
    assert server.sent[1] is message
    assert len(spans(seen, "session")) == 1


async def test_exceptions_pass_as_they_are(seen: testing.Seen) -> None:
    for error in (ValueError("x"), asyncio.CancelledError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            await call(playing(None, ACCEPT, *TURN[:2], error), heard(ask("x")))
        assert raised.value is error
    assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [
        ("failed", "ValueError"), ("cancelled", None), ("shutdown", "shutdown"),
    ]  # fmt: skip


async def test_a_scope_of_a_servers_own_making_is_served_unwatched(seen: testing.Seen) -> None:
    bare = {"type": "websocket"}
    server = await call(playing(None, ACCEPT, *TURN, close()), heard(ask("x")), at=bare)
    assert len(server.sent) == 4
    assert bare == {"type": "websocket"}
    assert seen.spans == []


# What is told -----------------------------------------------------------------------------------------------------


async def test_each_turn_is_a_run_that_is_served(seen: testing.Seen) -> None:
    await call(
        playing(None, ACCEPT, *TURN, *TURN, close(1000, "bye")), heard(ask("one")), heard(ask("two")),
        agent_name="helper",
    )  # fmt: skip
    assert seen.tree() == ["session turns", "  invoke_agent one", "  invoke_agent two"]
    (session,) = spans(seen, "session")
    told = session["attributes"]
    assert session["kind"] == "SERVER"
    assert (told["http.response.status_code"], told["url.path"], told["http.request.method"]) == (101, "/turns", "GET")
    assert (told["server.address"], told["server.port"]) == ("127.0.0.1", 8000)
    assert (told["streamgauge.transport"], told["streamgauge.session.turns"]) == ("asgi", 2)
    assert (told["streamgauge.websocket.close_reason"], told["streamgauge.websocket.closed_by"]) == ("bye", "agent")
    assert outcomes(seen, "session") == [("completed", None)]
    assert {run["kind"] for run in spans(seen, "invoke_agent")} == {"SERVER"}
    assert seen.count("gen_ai.server.request.duration") == 2
    assert "secret" not in str(seen.spans)


async def test_whose_time_it_is(seen: testing.Seen, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (asgi, _asgi_socket, _conversation, _passing):
        monkeypatch.setattr(module, "_clock", clock)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        clock.pass_ms(1000)  # the application makes it
        await send(said(say("a")))
        clock.pass_ms(200)
        await send(said(END))

    server = Server(heard(ask("x")))

    async def send(message: Any) -> None:
        clock.pass_ms(50)  # the caller is slow to take it
        await server.send(message)

    await Middleware(app)(scope(), server.receive, send)
    (run,) = spans(seen, "invoke_agent")
    told = run["attributes"]
    assert told["gen_ai.response.time_to_first_chunk"] == 1.0
    assert (told["streamgauge.stream.wait.source"], told["streamgauge.stream.wait.caller"]) == (1.2, 0.05)


@pytest.mark.parametrize(
    ("steps", "given", "run", "session"),
    [
        ((*TURN, None), [gone(1001)], ("completed", None), ("abandoned", None)),
        ((*TURN, close()), [], ("completed", None), ("completed", None)),
        (TURN, [], ("completed", None), ("completed", None)),
        ((*TURN[:2], close()), [], ("truncated", "truncated"), ("truncated", "truncated")),
        (TURN[:2], [], ("truncated", "truncated"), ("truncated", "truncated")),
        ((*TURN[:2], close(1011)), [], ("failed", "1011"), ("failed", "1011")),
        ((*TURN[:2], close(1008)), [], ("failed", "1008"), ("failed", "1008")),
        ((*TURN[:2], None), [gone(1006)], ("abandoned", None), ("abandoned", None)),
        ((*TURN[:2], None, ValueError()), [gone(None)], ("abandoned", None), ("abandoned", None)),
        ((*TURN[:2], None, said(END)), [gone(1005)], ("abandoned", None), ("abandoned", None)),
        ((*TURN[:2], None), [gone(1012)], ("shutdown", "shutdown"), ("shutdown", "shutdown")),
    ],
)  # fmt: skip
async def test_how_it_ends(seen: testing.Seen, steps: Any, given: Any, run: Any, session: Any) -> None:
    try:
        await call(playing(None, ACCEPT, *steps), heard(ask("x")), *given)
    except ValueError:
        pass
    assert (outcomes(seen, "invoke_agent"), outcomes(seen, "session")) == ([run], [session])


async def test_a_server_that_says_that_the_caller_has_gone(seen: testing.Seen) -> None:
    server = Server(heard(ask("x")))
    error = OSError("gone")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        server.refuses = error
        await send(said(say("a")))

    with pytest.raises(OSError, match="gone") as raised:
        await Middleware(app)(scope(), server.receive, server.send)
    assert raised.value is error
    assert outcomes(seen, "invoke_agent") == [("abandoned", None)]
    assert spans(seen, "session")[0]["attributes"]["streamgauge.websocket.close_code"] == 1006
    assert seen.value("streamgauge.stream.chunks") == 0


@pytest.mark.parametrize(
    ("steps", "error_type"),
    [
        ([close()], "403"),
        ([{"type": "websocket.http.response.start", "status": 429, "headers": []},
          {"type": "websocket.http.response.body", "body": b"slowly"}], "429"),
        ([], "no_response"),
    ],
)  # fmt: skip
async def test_a_handshake_that_is_denied(seen: testing.Seen, steps: Any, error_type: str) -> None:
    server = await call(playing(None, *steps))
    assert server.sent == steps
    assert seen.tree() == ["session turns"]
    assert outcomes(seen, "session") == [("failed", error_type)]


async def test_the_application_is_dropped(seen: testing.Seen) -> None:
    server = Server(heard(ask("x")))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            await receive()
        await asyncio.sleep(60)  # until it is cancelled

    running = Middleware(app)(scope(), server.receive, server.send)
    running.send(None)
    del running
    assert outcomes(seen, "invoke_agent") == [("abandoned", None)]


# Which are watched, and how ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "path", "name"),
    [
        ({}, "/turns", "turns"),
        ({}, "/else", "generic-messages"),
        ({"dialect": "turns"}, "/else", "turns"),
        ({"dialect": "ag-ui"}, "/else", "generic-messages"),
        ({"dialects": {"/chat/{room}": "turns"}}, "/chat/7", "turns"),
        ({"dialects": {"WEBSOCKET /chat": "turns", "POST /chat": "ag-ui"}}, "/chat", "turns"),
        ({"dialects": {"/turns": "ag-ui"}}, "/turns", "turns"),
        ({"exclude": ["/turns"]}, "/turns", None),
        ({"exclude": ["WEBSOCKET /{rest:path}"]}, "/turns", None),
        ({"exclude": ["POST /turns"]}, "/turns", "turns"),
    ],
)
async def test_the_dialect(seen: testing.Seen, options: Any, path: str, name: str | None) -> None:
    await call(playing(None, ACCEPT, close()), at=scope(path), **options)
    assert [span["name"] for span in seen.spans] == ([] if name is None else [f"session {name}"])


def test_what_it_refuses() -> None:
    with pytest.raises(UsageError, match="'ag-ui' reads no WebSocket"):
        Middleware(playing(), dialects={"WEBSOCKET /chat": "ag-ui"})
    with pytest.raises(UnknownDialectError):
        Middleware(playing(), dialects={"WEBSOCKET /chat": "no-such-dialect"})


async def test_one_middleware_in_another(seen: testing.Seen) -> None:
    await call(Middleware(playing(None, ACCEPT, *TURN, close())), heard(ask("x")))
    assert seen.tree() == ["session turns", "  invoke_agent x"]


async def test_the_parent(seen: testing.Seen) -> None:
    await call(playing(None, ACCEPT, close()), at=scope("/turns", (b"traceparent", PARENT.encode())))
    tracer = seen.pipeline.recorder.tracer
    with tracer.start_as_current_span("around"):
        await call(playing(None, ACCEPT, close()), at=scope("/turns", (b"traceparent", PARENT.encode())))
    carried, current = spans(seen, "session")
    assert carried["trace_id"] == PARENT.split("-")[1]
    assert current["parent"] == "around"


# The current span -------------------------------------------------------------------------------------------------


async def test_the_run_is_current_in_its_turn_and_the_session_around(seen: testing.Seen) -> None:
    tracer = seen.pipeline.recorder.tracer

    def work(name: str) -> None:
        tracer.start_span(name).end()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        work("before")
        await receive()
        await send(ACCEPT)
        for number in (1, 2):
            await receive()
            work(f"in {number}")
            await send(said(say("a")))
            await asyncio.ensure_future(asyncio.to_thread(work, f"in a thread, in {number}"))
            await send(said(END))
            work(f"after {number}")
        await send(close())
        work("outside")

    ambient().set(ambient().get())
    before = ambient().get()
    await call(app, heard(ask("1")), heard(ask("2")))
    assert ambient().get() is before
    assert seen.tree() == [
        "session turns",
        "  before",
        "  invoke_agent 1", "    in 1", "    in a thread, in 1",
        "  after 1",
        "  invoke_agent 2", "    in 2", "    in a thread, in 2",
        "  after 2",
        "outside",
    ]  # fmt: skip


async def test_a_task_that_outlives_a_turn_has_the_next_ones(seen: testing.Seen) -> None:
    tracer = seen.pipeline.recorder.tracer
    asked: asyncio.Queue[Any] = asyncio.Queue()
    done = asyncio.Event()

    async def write(send: Any) -> None:
        for number in (1, 2):
            await asked.get()
            await send(said(say("a")))
            tracer.start_span(f"in {number}").end()
            await send(said(END))
            done.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        writing = asyncio.ensure_future(write(send))
        asked.put_nowait(1)
        await done.wait()
        await receive()
        asked.put_nowait(2)
        await writing
        await send(close())

    await call(app, heard(ask("1")), heard(ask("2")))
    assert seen.tree() == ["session turns", "  invoke_agent 1", "    in 1", "  invoke_agent 2", "    in 2"]


async def test_a_span_of_the_applications_own_is_left_current(seen: testing.Seen) -> None:
    tracer = seen.pipeline.recorder.tracer

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        with tracer.start_as_current_span("own") as own:
            for _ in range(2):
                await receive()
                assert trace.get_current_span() is own
                await send(said(END))
                assert trace.get_current_span() is own
        await send(close())

    await call(app, heard(ask("1")), heard(ask("2")))
    assert [line.strip() for line in seen.tree()] == ["session turns", "own", "invoke_agent 1", "invoke_agent 2"]


async def test_many_tasks_leave_nothing_behind(seen: testing.Seen) -> None:
    made: list[Any] = []

    class Kept(_asgi_socket._Inside):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        for _ in range(50):
            await receive()
            await asyncio.ensure_future(send(said(END)))
        assert len(made[0]._made) < 5
        await send(close())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_asgi_socket, "_Inside", Kept)
        await call(app, *[heard(ask("x"))] * 50)
    assert len(made) == 1
