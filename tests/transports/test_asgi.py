"""The ASGI side without a server: what passes is what would, each to each; and what is told of it."""

from __future__ import annotations

import asyncio
import gc
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

from streamgauge import recorder, testing
from streamgauge.asgi import Middleware
from streamgauge.capture import read
from streamgauge.errors import UnknownDialectError, UsageError
from streamgauge.recorder import ambient
from streamgauge.replay import replay
from streamgauge.transports import asgi
from streamgauge.transports._exchange import MAX_BODY_BYTES, Exchange

EVENTS = [(b"content-type", b"text/event-stream")]
JSON = [(b"content-type", b"application/json")]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BEGUN = b'data: {"type": "run_started", "payload": {}}\n\n'
SAID = b'data: {"type": "text_delta", "payload": {"chunk": "Hi"}}\n\n'
DONE = b'data: {"type": "run_completed", "payload": {"output": "Hi"}}\n\n'
WHOLE = (BEGUN, SAID, SAID, DONE)
ROUTES = {"/chat": "shipit-agent"}


def start(status: int = 200, headers: Any = EVENTS, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def piece(body: Any = b"", *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


END = piece(more=False)


def asked(body: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def request(path: str = "/chat", method: str = "POST", *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-length", b"5"), *headers], "server": ("127.0.0.1", 8000), **more,
    }  # fmt: skip


class Server:
    """The server's side of one request: what it gives, and all that it was given."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given) or [asked(b"hello")]
        self.received: list[Any] = []
        self.sent: list[Any] = []
        self.refuses: BaseException | None = None
        self.before_send: Callable[[Any], Awaitable[None]] | None = None

    async def receive(self) -> Any:
        message = self.given[len(self.received)]
        self.received.append(message)
        return message

    async def send(self, message: Any) -> None:
        if self.before_send is not None:
            await self.before_send(message)
        if self.refuses is not None:
            raise self.refuses
        self.sent.append(message)


async def call(app: Any, scope: dict[str, Any] | None = None, server: Server | None = None, **options: Any) -> Server:
    server = server or Server()
    middleware = Middleware(app, **(options or {"dialects": ROUTES}))
    await middleware(scope or request(), server.receive, server.send)
    return server


def sending(*messages: Any, reads: int = 1) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(reads):
            await receive()
        for message in messages:
            await send(message)

    return app


def served(*pieces: bytes, status: int = 200, headers: Any = EVENTS) -> Any:
    return sending(start(status, headers), *map(piece, pieces), END)


def facts(seen: testing.Seen, number: int = -1) -> dict[str, Any]:
    runs = [span for span in seen.spans if span["kind"] == "SERVER"]
    found: dict[str, Any] = runs[number]["attributes"]
    return found


def ended(seen: testing.Seen) -> tuple[str, str | None]:
    found = facts(seen)
    return found["streamgauge.outcome"], found.get("error.type")


@pytest.fixture
def hand(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(asgi, "_clock", clock)
    return clock


# What passes ------------------------------------------------------------------------------------------------------


async def test_each_message_is_the_very_object(seen: testing.Seen) -> None:
    messages = [start(), *map(piece, WHOLE), END]
    given = [asked(b"he", more=True), asked(b"llo")]
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.extend([await receive(), await receive()])
        for message in messages:
            await send(message)

    server = await call(app, server=Server(*given))
    assert list(map(id, server.sent)) == list(map(id, messages))
    assert list(map(id, received)) == list(map(id, given))
    assert facts(seen)["streamgauge.stream.chunks"] == 2


UNUSUAL: dict[str, list[Any]] = {
    "a pushed resource": [start(), {"type": "http.response.push", "path": "/x", "headers": []}, END],
    "an early hint": [{"type": "http.response.early_hint", "links": []}, start(), END],
    "a debug message": [{"type": "http.response.debug", "info": {}}, start(), END],
    "no headers": [{"type": "http.response.start", "status": 200}, END],
    "headers to be read once": [start(headers=iter(EVENTS)), END],
    "no body in the message": [start(), {"type": "http.response.body"}],
    "a view of bytes": [start(), piece(memoryview(DONE)), END],
    "an array of bytes": [start(), piece(bytearray(DONE)), END],
    "all at once": [start(), piece(b"".join(WHOLE), more=False)],
    "cut anywhere": [start(), *(piece(bytes([octet])) for octet in b"".join(WHOLE)), END],
    "no stream at all": [start(headers=JSON), piece(b"{}", more=False)],
    "a type that nobody knows": [start(), {"type": "http.response.new", "x": 1}, END],
    "no message": [None, 7, "x", {}, start(), END],
    "a status that is none": [start("200"), END],
}


@pytest.mark.parametrize("options", [{"dialects": ROUTES}, {}, {"dialect": "generic"}], ids=["route", "path", "any"])
@pytest.mark.parametrize("case", UNUSUAL)
async def test_whatever_is_sent(case: str, options: dict[str, Any], seen: testing.Seen) -> None:
    messages = UNUSUAL[case]
    server = await call(sending(*messages), **options)
    assert list(map(id, server.sent)) == list(map(id, messages))
    assert len(server.received) == 1


@pytest.mark.parametrize("given", [asked(b"x" * (MAX_BODY_BYTES + 1)), {}, None, {"type": "http.new"}])
async def test_whatever_is_received(given: Any, seen: testing.Seen) -> None:
    got = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append(await receive())
        await sending(start(), END, reads=0)(scope, receive, send)

    await call(app, server=Server(given))
    assert got[0] is given


async def test_nothing_is_received_that_was_not_asked_for(seen: testing.Seen) -> None:
    server = await call(sending(start(), *map(piece, WHOLE), END, reads=0))
    assert server.received == []
    assert ended(seen) == ("completed", None)


async def test_what_send_gives_comes_before_anything_is_told(seen: testing.Seen) -> None:
    """In the server's `send` of a piece, the tap has not seen it yet."""
    told = []

    async def look(message: Any) -> None:
        told.append(seen.value("streamgauge.stream.bytes"))

    server = Server()
    server.before_send = look
    await call(served(*WHOLE), server=server)
    assert told == [0, 0, 0, 2, 4, 4]


SCOPES: dict[str, dict[str, Any]] = {
    "lifespan": {"type": "lifespan"},
    "websocket": {"type": "websocket", "path": "/chat"},
    "of tomorrow": {"type": "new"},
    "HEAD": request(method="HEAD"),
    "excluded": request("/health"),
    "strange": {"type": "http"},
    "stranger": {"type": "http", "method": "POST", "path": None, "headers": 5},
}


@pytest.mark.parametrize("case", SCOPES)
async def test_what_is_left_alone(case: str, seen: testing.Seen) -> None:
    """The application has the server's own `receive` and `send`."""
    scope, server = SCOPES[case], Server()
    before = dict(scope)
    called = []

    async def app(*given: Any) -> None:
        called.append(given)
        await given[2](start())
        await given[2](piece(SAID))

    await Middleware(app, dialects=ROUTES, exclude=["/health"])(scope, server.receive, server.send)
    assert called == [(scope, server.receive, server.send)]
    assert called[0][0] is scope
    assert scope == before
    assert seen.spans == []


async def test_the_scope_is_the_servers(seen: testing.Seen) -> None:
    """What a router writes into it is seen outside."""
    scope = request()

    async def app(given: Any, receive: Any, send: Any) -> None:
        given["route"] = "found"
        await served(*WHOLE)(given, receive, send)

    await call(app, scope)
    assert scope["route"] == "found"


def test_the_application_is_kept_by_its_usual_name() -> None:
    app = sending()
    assert Middleware(app).app is app


# How it ends ------------------------------------------------------------------------------------------------------

GONE = {"type": "http.disconnect"}
ENDINGS: dict[str, tuple[Any, tuple[str, str | None]]] = {
    # the application: outcome, error type
    "whole": (served(*WHOLE), ("completed", None)),
    "the terminal event, and no end": (sending(start(), *map(piece, WHOLE)), ("completed", None)),
    "no terminal event": (served(BEGUN, SAID), ("truncated", "truncated")),
    "no end": (sending(start(), piece(BEGUN), piece(SAID)), ("truncated", "incomplete_body")),
    "only a head": (sending(start()), ("truncated", "incomplete_body")),
    "nothing": (sending(), ("failed", "no_response")),
    "an error status": (served(b'{"detail": "no"}', status=422, headers=JSON), ("failed", "422")),
    "no content": (served(status=204, headers=[]), ("completed", None)),
    "not modified": (served(status=304, headers=[]), ("completed", None)),
    "plain JSON": (served(b'{"output": "Hi"}', headers=JSON), ("completed", None)),
    "a file": (sending(start(), {"type": "http.response.pathsend", "path": "/x"}), ("completed", None)),
    "a file, in parts": (
        sending(
            start(), {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
            {"type": "http.response.zerocopysend", "file": 3, "more_body": False},
        ), ("completed", None),
    ),
    "a part of a file": (
        sending(start(), {"type": "http.response.zerocopysend", "file": 3, "more_body": True}),
        ("truncated", "incomplete_body"),
    ),
    "trailers": (
        sending(
            start(trailers=True), *map(piece, (BEGUN, SAID)), END,
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
            {"type": "http.response.trailers", "headers": []},
        ), ("truncated", "truncated"),
    ),
    "trailers, and more that never come": (
        sending(
            start(trailers=True), *map(piece, (BEGUN, SAID)), END,
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
        ), ("truncated", "incomplete_body"),
    ),
    "trailers that never come": (
        sending(start(trailers=True), *map(piece, (BEGUN, SAID)), END), ("truncated", "incomplete_body"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDINGS)
async def test_endings(case: str, seen: testing.Seen) -> None:
    app, expected = ENDINGS[case]
    await call(app)
    assert ended(seen) == expected
    assert seen.value("streamgauge.streams") == 1


WINDOWS: dict[str, tuple[list[Any], str]] = {
    # what the application does after the caller has gone; before it: the outcome, what came of it
    "before the head": ([], "abandoned"),
    "in mid-stream": ([start(), piece(BEGUN), piece(SAID)], "abandoned"),
    "after the terminal event": ([start(), *map(piece, WHOLE)], "completed"),
}


@pytest.mark.parametrize("then", ["returns", "raises", "is cancelled", "goes on"])
@pytest.mark.parametrize("case", WINDOWS)
async def test_the_caller_goes(case: str, then: str, seen: testing.Seen) -> None:
    before, outcome = WINDOWS[case]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sending(*before)(scope, receive, send)
        assert await receive() is GONE
        if then == "raises":
            raise ValueError("what now")
        if then == "is cancelled":
            raise asyncio.CancelledError
        if then == "goes on":
            await sending(*([] if before else [start()]), piece(SAID), END, reads=0)(scope, receive, send)

    error = {"raises": ValueError, "is cancelled": asyncio.CancelledError}.get(then)
    server = Server(asked(b"x"), GONE)
    if error is None:
        await call(app, server=server)
    else:
        with pytest.raises(error):
            await call(app, server=server)
    assert ended(seen) == (outcome, None)
    policy = None if outcome == "completed" else "drain" if then == "goes on" else "cancel"
    assert facts(seen).get("streamgauge.disconnect") == policy


async def test_an_error_that_nobody_gets_is_no_failure(seen: testing.Seen) -> None:
    app = sending(start(499, JSON), piece(b"{}"), END, reads=2)
    await call(app, server=Server(asked(b"x"), GONE))
    assert ended(seen) == ("abandoned", None)
    assert facts(seen)["streamgauge.disconnect"] == "cancel"


async def test_a_server_that_says_so_when_it_is_sent_to(seen: testing.Seen) -> None:
    """As ASGI 2.4 has it: `send` raises an OSError, which the application gets."""
    server = Server()
    refused = OSError("gone")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sending(start(), piece(BEGUN))(scope, receive, send)
        server.refuses = refused
        with pytest.raises(OSError, match="gone") as caught:
            await send(piece(SAID))
        assert caught.value is refused

    await call(app, server=server)
    assert ended(seen) == ("abandoned", None)


ERRORS: dict[str, tuple[BaseException, tuple[str, str | None]]] = {
    "an exception": (ValueError("no"), ("failed", "ValueError")),
    "a cancelled task": (asyncio.CancelledError(), ("cancelled", None)),
    "the program ends": (KeyboardInterrupt(), ("shutdown", "shutdown")),
}


@pytest.mark.parametrize("before", [[], [start()], [start(), piece(SAID)]], ids=["no head", "a head", "a piece"])
@pytest.mark.parametrize("case", ERRORS)
async def test_the_applications_exception_is_its_own(case: str, before: list[Any], seen: testing.Seen) -> None:
    error, expected = ERRORS[case]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sending(*before)(scope, receive, send)
        raise error

    with pytest.raises(type(error)) as caught:
        await call(app)
    assert caught.value is error
    assert caught.value.__context__ is None
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][1:]
    assert frames == ["call", "__call__", "app"]
    error.__traceback__ = None
    assert ended(seen) == expected


async def test_after_the_answer_nothing_is_told(seen: testing.Seen) -> None:
    """A background task that fails is no failure of the stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await served(*WHOLE)(scope, receive, send)
        assert seen.open == 0
        raise ValueError("in the background")

    with pytest.raises(ValueError, match="in the background"):
        await call(app)
    assert ended(seen) == ("completed", None)


@pytest.mark.parametrize("how", ["closed", "found by the collector"])
async def test_an_application_that_is_dropped(how: str, seen: testing.Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a task is that nobody finishes. In a collection nothing is recorded: anybody's locks may be held there."""
    end, ends = Exchange.end, []

    def noted(self: Exchange, *args: Any, **kwargs: Any) -> None:
        ends.append(threading.current_thread().name)
        end(self, *args, **kwargs)

    monkeypatch.setattr(Exchange, "end", noted)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sending(start(), piece(SAID))(scope, receive, send)
        await asyncio.Future()

    running: Any = call(app)
    running.send(None)
    assert seen.open == 1
    if how == "closed":
        running.close()
    else:
        cycle = [running]
        cycle.append(cycle)
        del running, cycle
        gc.collect()
    assert ended(seen) == ("abandoned", None)
    assert ends == ["MainThread" if how == "closed" else "streamgauge-dropped"]


# Which requests ---------------------------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "bare": {},
    "a dialect": {"dialect": "shipit-agent"},
    "routes": {"dialects": {"/chat": "shipit-agent", "GET /events": "ziran", "/agents/{name}/chat": "jaf"}},
    "all below": {"dialects": {"/files/{rest:path}": "jaf"}, "exclude": ["/files/{name}/raw", "GET /ask"]},
}
CHOSEN: list[tuple[str, str, str, Any, str | None]] = [
    # options, method, path, the answer's head: dialect
    ("bare", "POST", "/ask", EVENTS, "generic"),
    ("bare", "POST", "/ask", JSON, None),
    ("bare", "GET", "/ask", [], None),
    ("bare", "POST", "/v1/chat/completions", EVENTS, "openai-chat"),
    ("bare", "POST", "/v1/chat/completions", JSON, "openai-chat"),
    ("bare", "GET", "/v1/chat/completions", JSON, None),
    ("bare", "GET", "/anything", [(b"Content-Type", b"application/x-ndjson; charset=utf-8")], "generic"),
    ("a dialect", "POST", "/chat", EVENTS, "shipit-agent"),
    ("a dialect", "POST", "/login", JSON, None),
    ("a dialect", "GET", "/events", EVENTS, "shipit-agent"),
    ("a dialect", "OPTIONS", "/chat", [], None),
    ("routes", "POST", "/chat", EVENTS, "shipit-agent"),
    ("routes", "POST", "/chat", JSON, "shipit-agent"),
    ("routes", "GET", "/chat", JSON, None),
    ("routes", "GET", "/chat", EVENTS, "shipit-agent"),
    ("routes", "POST", "/chat/-", EVENTS, "generic"),
    ("routes", "POST", "/chat/more", EVENTS, "generic"),
    ("routes", "GET", "/events", EVENTS, "ziran"),
    ("routes", "GET", "/events", JSON, "ziran"),
    ("routes", "POST", "/events", EVENTS, "generic"),
    ("routes", "POST", "/agents/helper/chat", EVENTS, "jaf"),
    ("routes", "POST", "/agents/a/b/chat", EVENTS, "generic"),
    ("all below", "POST", "/files/a/b", EVENTS, "jaf"),
    ("all below", "POST", "/files/a/raw", EVENTS, None),
    ("all below", "GET", "/ask", EVENTS, None),
    ("all below", "POST", "/ask", EVENTS, "generic"),
]


@pytest.mark.parametrize(("options", "method", "path", "head", "expected"), CHOSEN)
async def test_the_dialect(
    options: str, method: str, path: str, head: Any, expected: str | None, seen: testing.Seen
) -> None:
    await Middleware(served(b"", headers=head), **OPTIONS[options])(
        request(path, method), (server := Server()).receive, server.send
    )
    chosen = [span["attributes"]["streamgauge.dialect"] for span in seen.spans if span["kind"] == "SERVER"]
    assert chosen == ([expected] if expected else [])


async def test_a_claimed_path_of_its_own_dialect_needs_no_stream(seen: testing.Seen) -> None:
    scope = request("/v1/chat/completions")
    await call(served(b"{}", headers=JSON), scope, dialect="openai-chat")
    assert ended(seen) == ("completed", None)


MOUNTS: dict[str, tuple[str, str, str]] = {
    # path, root_path: the path that a route has to match
    "not mounted": ("/chat", "", "/chat"),
    "mounted": ("/api/chat", "/api", "/chat"),
    "mounted, and the server leaves that out": ("/chat", "/api", "/chat"),
    "another that begins alike": ("/apis/chat", "/api", "/apis/chat"),
    "the mount itself": ("/api", "/api", "/"),
}


@pytest.mark.parametrize("case", MOUNTS)
async def test_a_mounted_application(case: str, seen: testing.Seen) -> None:
    """Routes are the application's own; what is told is the whole path."""
    path, root, route = MOUNTS[case]
    await call(served(*WHOLE), request(path, root_path=root), dialects={route: "shipit-agent"})
    assert facts(seen)["streamgauge.dialect"] == "shipit-agent"
    assert facts(seen)["url.path"] == path


async def test_one_below_the_other_is_one_stream(seen: testing.Seen) -> None:
    inner = Middleware(served(*WHOLE), dialect="generic")
    server = await call(inner)
    assert len(server.sent) == 6
    assert seen.value("streamgauge.streams") == 1
    assert facts(seen)["streamgauge.dialect"] == "shipit-agent"


async def test_the_inner_one_has_what_the_outer_one_excludes(seen: testing.Seen) -> None:
    await call(Middleware(served(*WHOLE), dialects=ROUTES), dialect="generic", exclude=["/chat"])
    assert facts(seen)["streamgauge.dialect"] == "shipit-agent"


async def test_a_request_made_inside_is_one_of_its_own(seen: testing.Seen) -> None:
    inner = Middleware(served(*WHOLE), dialects=ROUTES)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        server = Server()
        await inner(request(), server.receive, server.send)
        await sending(start(), *map(piece, WHOLE), END, reads=0)(scope, receive, send)

    await call(app)
    assert seen.value("streamgauge.streams") == 2
    assert seen.tree() == ["invoke_agent", "  invoke_agent"]


async def test_what_is_said_of_it(seen: testing.Seen) -> None:
    await call(
        served(*WHOLE), request("/v1/chat"), dialect="shipit-agent", agent_name="helper", model="m", provider_name="p",
        operation="chat", server_address="api.test", attributes={"team": "a"},
    )  # fmt: skip
    (run,) = (span for span in seen.spans if span["kind"] == "SERVER")
    assert run["name"] == "chat m"
    expected = {
        "gen_ai.request.model": "m", "gen_ai.provider.name": "p", "server.address": "api.test", "team": "a",
        "http.request.method": "POST", "url.path": "/v1/chat", "http.response.status_code": 200,
        "streamgauge.transport": "asgi",
    }  # fmt: skip
    assert {name: run["attributes"].get(name) for name in expected} == expected
    assert seen.value("streamgauge.streams", gen_ai_agent_name="helper") == 1


async def test_what_the_request_says(seen: testing.Seen) -> None:
    body = b'{"model": "m-1", "stream": true, "temperature": 0.5}'
    server = Server(asked(body[:9], more=True), asked(body[9:]))
    app = sending(start(), END, reads=2)
    await call(app, request("/v1/chat/completions", query_string=b"key=s3cret"), server, exclude=["/none"])
    assert facts(seen)["gen_ai.request.model"] == "m-1"
    assert facts(seen)["gen_ai.request.temperature"] == 0.5
    assert "s3cret" not in str(seen.spans)


@pytest.mark.parametrize("server", [None, ("/run/app.sock", None), ("::1", 80)])
async def test_where_it_is_served(server: Any, seen: testing.Seen) -> None:
    await call(served(*WHOLE), request(server=server))
    assert facts(seen).get("server.address") == (server[0] if server else None)
    assert facts(seen).get("server.port") == (server[1] if server else None)


@pytest.mark.parametrize("route", ["chat", "", "get /chat", "POST  /chat"])
def test_a_route_that_is_none(route: str) -> None:
    with pytest.raises(UsageError, match="is no route"):
        Middleware(sending(), dialects={route: "generic"})
    with pytest.raises(UsageError, match="is no route"):
        Middleware(sending(), exclude=[route])


@pytest.mark.parametrize("options", [{"dialect": "no-such"}, {"dialects": {"/chat": "no-such"}}])
def test_an_unknown_dialect_is_told_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UnknownDialectError):
        Middleware(sending(), **options)


# The current span -------------------------------------------------------------------------------------------------


@pytest.fixture
def spans(seen: testing.Seen) -> Callable[[str], Any]:
    return lambda name: seen.pipeline.recorder.tracer.start_as_current_span(name)


NO_BODY: dict[str, dict[str, Any]] = {
    "a length of none": {"headers": [(b"content-length", b"0")]},
    "no length": {"headers": []},
    "a GET": {"headers": [], "method": "GET", "http_version": "2"},
}


@pytest.mark.parametrize("case", [*NO_BODY, "a body"])
async def test_the_run_is_current_from_when_the_request_is_complete(
    case: str, seen: testing.Seen, spans: Callable[[str], Any]
) -> None:
    routes = {"GET /chat": "shipit-agent", **ROUTES}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if case == "a body":
            with spans("too early"):
                pass
            await receive()
        with spans("before the head"):
            pass
        await send(start())
        with spans("between"):
            pass
        await asyncio.create_task(aside())
        for message in map(piece, WHOLE):
            await send(message)
        await send(END)
        with spans("in the background"):
            pass

    async def aside() -> None:
        with spans("in a task"):
            pass

    await call(app, request(**NO_BODY.get(case, {})), dialects=routes)
    inside = ["  before the head", "  between", "  in a task"]
    assert seen.tree() == ["invoke_agent", *inside, *(["too early"] if case == "a body" else []), "in the background"]


@pytest.mark.parametrize("case", ["HTTP/2", "chunked"])
async def test_else_from_the_head_on(case: str, seen: testing.Seen, spans: Callable[[str], Any]) -> None:
    """A request whose body the application leaves unread."""
    headers = [(b"transfer-encoding", b"chunked")] if case == "chunked" else []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with spans("early"):
            pass
        await send(start())
        with spans("late"):
            pass
        await sending(*map(piece, WHOLE), END, reads=0)(scope, receive, send)

    await call(app, request(headers=headers, http_version="2" if case == "HTTP/2" else "1.1"))
    assert sorted(seen.tree()) == ["  late", "early", "invoke_agent"]


HOW: dict[str, Any] = {
    "completes": served(*WHOLE),
    "is cut": sending(start(), piece(SAID)),
    "is no stream": served(b"{}", headers=JSON),
    "sends nothing": sending(),
}


@pytest.mark.parametrize("case", [*HOW, "raises"])
async def test_what_was_current_is_given_back(case: str, seen: testing.Seen) -> None:
    async def raising(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ValueError("no")

    before = ambient().get(None)
    with seen.pipeline.recorder.tracer.start_as_current_span("around") as around:
        try:
            await call(HOW.get(case, raising))
        except ValueError:
            assert case == "raises"
        assert trace.get_current_span() is around
    assert ambient().get(None) is before


async def test_in_a_task_that_goes_on_it_is_given_back_with_the_answer(seen: testing.Seen) -> None:
    """A worker that answers several requests, one after the other."""
    to_do: asyncio.Queue[Any] = asyncio.Queue()
    between = []

    async def work() -> None:
        while True:
            send, done = await to_do.get()
            between.append(recorder.current())
            await sending(start(), *map(piece, WHOLE), END, reads=0)({}, None, send)
            between.append(recorder.current())
            done.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        done = asyncio.Event()
        to_do.put_nowait((send, done))
        await done.wait()

    worker = asyncio.create_task(work())
    await call(app)
    await call(app)
    worker.cancel()
    assert between == [None] * 4
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 2


async def test_what_the_application_makes_current_itself_is_its_own(seen: testing.Seen) -> None:
    """Even if that is what we had given back."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        inside = otel_context.get_current()
        await sending(start(), *map(piece, WHOLE), END, reads=0)(scope, receive, send)
        assert otel_context.get_current() is not inside
        otel_context.attach(inside)

    await asyncio.create_task(call(app))
    assert ended(seen) == ("completed", None)


async def test_in_a_task_that_was_begun_too_early_it_is_current_from_the_head_on(
    seen: testing.Seen, spans: Callable[[str], Any]
) -> None:
    """As Starlette answers: in one task, while another waits for the caller to go."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked = asyncio.Event()

        async def answer() -> None:
            await asked.wait()
            await send(start())
            with spans("inside"):
                await send(piece(DONE))
            await send(END)

        answering = asyncio.create_task(answer())
        await receive()
        asked.set()
        await answering

    await call(app)
    assert seen.tree() == ["invoke_agent", "  inside"]


async def test_a_span_of_the_applications_own_stays_the_current_one(
    seen: testing.Seen, spans: Callable[[str], Any]
) -> None:
    """One that it opens before the answer and closes after it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with spans("own") as own:
            await sending(start(), *map(piece, WHOLE), END, reads=0)(scope, receive, send)
            assert trace.get_current_span() is own

    await call(app)
    assert seen.tree() == ["invoke_agent", "  own"]
    assert recorder.current() is None


async def test_variables_of_the_application_are_its_own(seen: testing.Seen) -> None:
    """Set inside, they are seen outside, as without a middleware: it is the same task and the same context."""
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable", default="unset")
    tasks = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        variable.set("inside")
        tasks.append(asyncio.current_task())
        await served(*WHOLE)(scope, receive, send)

    await call(app)
    assert variable.get() == "inside"
    assert tasks == [asyncio.current_task()]


async def test_the_callers_span_is_the_parent(seen: testing.Seen) -> None:
    await call(served(*WHOLE), request("/chat", "POST", (b"traceparent", PARENT.encode())))
    assert seen.spans[-1]["trace_id"] == PARENT.split("-")[1]
    assert seen.spans[-1]["parent_id"] == PARENT.split("-")[2]


async def test_the_servers_own_span_is_the_parent_where_there_is_one(
    seen: testing.Seen, spans: Callable[[str], Any]
) -> None:
    """As one of OpenTelemetry's own instrumentation, which is the caller's child itself."""
    with spans("POST /chat"):
        await call(served(*WHOLE), request("/chat", "POST", (b"traceparent", PARENT.encode())))
    assert seen.tree() == ["POST /chat", "  invoke_agent"]


# Whose the waiting was --------------------------------------------------------------------------------------------


async def test_a_slow_caller_is_back_pressure(hand: Any) -> None:
    """Also the upload of the request; the rest is the application's."""
    silent = []

    class Slow(Server):
        async def receive(self) -> Any:
            hand.pass_ms(40)
            return await super().receive()

        async def send(self, message: Any) -> None:
            if message.get("body") == SAID:
                hand.pass_ms(2_000)
                silent.append(seen.value("streamgauge.streams.silent"))
            await super().send(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        hand.pass_ms(300)
        await send(start())
        for message in map(piece, WHOLE):
            hand.pass_ms(10)
            await send(message)
        await send(END)

    with testing.recording(stall_after_s=1.0) as seen:
        await call(app, server=Slow())
        waits = facts(seen)
    assert waits["streamgauge.stream.wait.source"] == pytest.approx(0.34)
    assert waits["streamgauge.stream.wait.caller"] == pytest.approx(4.04)
    assert silent == [0, 0]
    assert "streamgauge.stream.stalls" not in waits


async def test_cancelled_while_the_caller_is_slow(hand: Any) -> None:
    async def hang(message: Any) -> None:
        if message.get("body"):
            hand.pass_ms(5_000)
            raise asyncio.CancelledError

    server = Server()
    server.before_send = hang
    with testing.recording(stall_after_s=1.0) as seen:
        with pytest.raises(asyncio.CancelledError):
            await call(served(*WHOLE), server=server)
        waits = facts(seen)
    assert (waits["streamgauge.stream.wait.caller"], waits["streamgauge.stream.wait.source"]) == (5.0, 0.0)
    assert "streamgauge.stream.stalls" not in waits


WAITS: dict[str, tuple[list[tuple[str, int]], float, float]] = {
    # what takes how many milliseconds: how long the application was waited for, and the caller
    "nothing is sent": ([("receive", 40), ("work", 300)], 0.3, 0.04),
    "nothing but a head": ([("receive", 40), ("work", 300), ("head", 20), ("work", 10)], 0.33, 0.04),
    "cut after a slow piece": ([("receive", 40), ("head", 0), ("piece", 500), ("work", 30)], 0.03, 0.54),
    "slow pieces": ([("receive", 0), ("head", 0), *[("work", 10), ("piece", 50)] * 3], 0.03, 0.15),
    "the request goes on below the answer": (
        [("head", 0), ("work", 10), ("piece", 50), ("receive", 20), ("work", 10), ("piece", 50)], 0.04, 0.1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WAITS)
async def test_who_was_waited_for(case: str, hand: Any) -> None:
    """What an application does while it answers, reading on too, is its own time."""
    steps, source, caller = WAITS[case]
    takes = 0

    class Slow(Server):
        async def receive(self) -> Any:
            hand.pass_ms(takes)
            return await super().receive()

        async def send(self, message: Any) -> None:
            hand.pass_ms(takes)
            await super().send(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal takes
        for step, takes in steps:
            if step == "work":
                hand.pass_ms(takes)
            else:
                await {"receive": receive, "head": lambda: send(start()), "piece": lambda: send(piece(SAID))}[step]()

    with testing.recording() as seen:
        await call(app, server=Slow())
        waits = facts(seen)
    assert waits["streamgauge.stream.wait.source"] == pytest.approx(source)
    assert waits["streamgauge.stream.wait.caller"] == pytest.approx(caller)


async def test_a_silent_application_is_a_stall(hand: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await send(piece(SAID))
        hand.pass_ms(3_000)
        assert seen.value("streamgauge.streams.silent") == 1
        await send(piece(DONE))
        await send(END)

    with testing.recording(stall_after_s=1.0) as seen:
        await call(app)
        assert facts(seen)["streamgauge.stream.stalls"] == 1


@pytest.mark.parametrize("case", ["completes", "is cut"])
async def test_what_is_captured_replays_the_same(case: str, hand: Any, tmp_path: Path) -> None:
    class Slow(Server):
        async def send(self, message: Any) -> None:
            hand.pass_ms(30)
            await super().send(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def slowly(message: Any) -> None:
            hand.pass_ms(10)
            await send(message)

        await HOW[case](scope, receive, slowly)

    with testing.recording(capture_dir=str(tmp_path)) as seen:
        await call(app, server=Slow())
    (file,) = tmp_path.glob("*.ndjson")  # noqa: ASYNC240
    with testing.recording() as again:
        replay(read(file), again.pipeline)
    assert seen.spans
    names = ("name", "kind", "attributes", "status", "start", "end")
    assert [[span[name] for name in names] for span in again.spans] == [
        [span[name] for name in names] for span in seen.spans
    ]


# Trouble ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from streamgauge.pipeline import Pipeline

    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(Pipeline, "open", fails)
    return None


@pytest.mark.logs
@pytest.mark.usefixtures("broken")
async def test_what_fails_of_ours_reaches_nobody(seen: testing.Seen) -> None:
    server = await call(served(*WHOLE))
    assert [message.get("body") for message in server.sent[1:]] == [*WHOLE, b""]


async def test_many_at_once_in_one_task_group(seen: testing.Seen) -> None:
    """1,000 streams that are all open before the first one ends."""
    opened = asyncio.Barrier(1_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sending(start(), *map(piece, (BEGUN, SAID)))(scope, receive, send)
        await opened.wait()
        await sending(piece(SAID), piece(DONE), END, reads=0)(scope, receive, send)

    middleware = Middleware(app, dialects=ROUTES)

    async def one() -> Server:
        server = Server()
        await middleware(request(), server.receive, server.send)
        return server

    servers = await asyncio.gather(*(one() for _ in range(1_000)))
    assert {len(server.sent) for server in servers} == {6}
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 1_000
    assert seen.value("streamgauge.stream.chunks") == 2_000
    assert len({span["trace_id"] for span in seen.spans}) == 1_000
