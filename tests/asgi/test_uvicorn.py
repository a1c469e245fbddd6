"""The middleware in real applications: FastAPI and Starlette on uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.sse import EventSourceResponse
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount, Route

from asgi.serving import PATIENCE_S, Serving, headless, serving, until
from streamgauge import testing
from streamgauge.asgi import Middleware

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
ROUTES = {
    "/chat": "shipit-agent",
    "/{name}/chat": "shipit-agent",
    "GET /events": "shipit-agent",
    "GET /paced": "shipit-agent",
    "/paced": "shipit-agent",
}


def frame(kind: str, **payload: Any) -> str:
    return f"data: {json.dumps({'type': kind, 'payload': payload})}\n\n"


BEGUN, DONE = frame("run_started"), frame("run_completed", output="Hi")
SAID = frame("text_delta", chunk="Hi")
WHOLE = (BEGUN, SAID, SAID, DONE)


class Agent:
    """What the applications serve: as many pieces as a test lets it make."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.go = asyncio.Event()
        """What it waits for after its first text."""
        self.closed = asyncio.Event()
        self.traces: list[Any] = []
        self.pieces = [*WHOLE]

    async def stream(self) -> AsyncIterator[str]:
        try:
            for piece in self.pieces:
                self.made.append(piece)
                self.traces.append(trace.get_current_span().get_span_context())
                yield piece
                if piece is SAID and self.made.count(SAID) == 1:
                    await self.go.wait()
        finally:
            self.closed.set()


@pytest.fixture
def agent() -> Agent:
    return Agent()


async def whole(request: Request) -> Response:
    await request.body()
    return StreamingResponse(iter(WHOLE), media_type=EVENTS)


def application(agent: Agent, *, watched: bool = True, **options: Any) -> FastAPI:
    app = FastAPI()
    app.mount("/starlette", Starlette(routes=[Route("/chat", whole, methods=["POST"])]))

    @app.post("/chat")
    async def chat(body: dict[str, Any]) -> Response:
        return StreamingResponse(iter(WHOLE), media_type=EVENTS)

    @app.post("/paced")
    @app.get("/paced")
    async def paced() -> Response:
        return StreamingResponse(agent.stream(), media_type=EVENTS)

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[dict[str, Any]]:
        agent.traces.append(trace.get_current_span().get_span_context())
        for kind in ("run_started", "run_completed"):
            yield {"type": kind, "payload": {}}

    @app.get("/lines")
    def lines() -> Response:
        def made() -> Iterator[str]:
            for number in range(50):
                yield json.dumps({"number": number, "padding": "x" * 50}) + "\n"

        return StreamingResponse(made(), media_type=LINES)

    @app.post("/plain/chat")
    async def plain() -> dict[str, str]:
        return {"output": "Hi"}

    @app.post("/empty/chat")
    async def empty() -> Response:
        return Response(status_code=204)

    @app.post("/broken/chat")
    async def broken() -> None:
        raise ValueError("before the head")

    @app.post("/torn/chat")
    async def torn() -> Response:
        async def made() -> AsyncIterator[str]:
            yield BEGUN
            yield SAID
            raise ValueError("in mid-stream")

        return StreamingResponse(made(), media_type=EVENTS)

    @app.post("/file/chat")
    async def file() -> Response:
        return FileResponse(__file__, media_type="text/plain")

    @app.post("/later/chat")
    async def later() -> Response:
        async def after() -> None:
            agent.traces.append(trace.get_current_span().get_span_context())
            agent.closed.set()

        return JSONResponse({}, background=BackgroundTask(after))

    if watched:
        app.add_middleware(Middleware, **{"dialects": ROUTES, **options})
    return app


def runs(seen: testing.Seen) -> list[dict[str, Any]]:
    return [span for span in seen.spans if span["kind"] == "SERVER"]


def ended(seen: testing.Seen) -> list[tuple[str, str | None]]:
    return [(run["attributes"]["streamgauge.outcome"], run["attributes"].get("error.type")) for run in runs(seen)]


# The same octets --------------------------------------------------------------------------------------------------

REQUESTS: dict[str, tuple[str, str, bytes | None, str, tuple[str, str | None] | None]] = {
    # method, path, body, headers: outcome and error type, where it is watched
    "server-sent events": ("POST", "/chat", b"{}", "", ("completed", None)),
    "FastAPI's own events": ("GET", "/events", None, "", ("completed", None)),
    "lines": ("GET", "/lines", None, "", ("completed", None)),
    "lines, coded": ("GET", "/lines", None, "Accept-Encoding: gzip\r\n", ("completed", None)),
    "mounted": ("POST", "/starlette/chat", b"{}", "", ("completed", None)),
    "plain JSON": ("POST", "/plain/chat", b"{}", "", ("completed", None)),
    "no content": ("POST", "/empty/chat", b"{}", "", ("completed", None)),
    "a file": ("POST", "/file/chat", b"{}", "", None),
    "a request that is refused": ("POST", "/chat", b"no json", "", ("failed", "422")),
    "no such path": ("POST", "/nowhere/chat", b"{}", "", ("failed", "404")),
    "another path": ("POST", "/elsewhere", b"{}", "", None),
    "HEAD": ("HEAD", "/chat", None, "", None),
    "OPTIONS": ("OPTIONS", "/chat", None, "Origin: http://x\r\nAccess-Control-Request-Method: POST\r\n", None),
    "an exception before the head": ("POST", "/broken/chat", b"{}", "", ("failed", "ValueError")),
    "an exception in mid-stream": ("POST", "/torn/chat", b"{}", "", ("failed", "ValueError")),
    "a body that is announced": (
        "POST", "/chat", b'{"a": "' + b"x" * 100_000 + b'"}', "Expect: 100-continue\r\n", ("completed", None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("inside", [False, True], ids=["outside the others", "inside them"])
@pytest.mark.parametrize("case", REQUESTS)
async def test_the_same_octets(case: str, inside: bool, agent: Agent, seen: testing.Seen) -> None:
    """Chunk by chunk, head and all, as without the middleware."""
    method, path, body, headers, expected = REQUESTS[case]

    async def answer(watched: bool) -> bytes:
        app = application(agent, watched=watched and inside)
        app.add_middleware(GZipMiddleware, minimum_size=10)
        app.add_middleware(CORSMiddleware, allow_origins=["*"])
        app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
        if watched and not inside:
            app.add_middleware(Middleware, dialects=ROUTES)
        async with serving(app) as server:
            return await (await server.call(path, body, method=method, headers=headers)).rest()

    bare = await answer(watched=False)
    assert seen.spans == []
    assert await answer(watched=True) == bare
    assert bare.startswith(b"HTTP/1.1 ")
    if case == "a file":
        assert [end[0] for end in ended(seen)] == ["truncated"]  # a dialect's route, and no event in it
    elif case == "an exception in mid-stream" and not inside:
        # Starlette's BaseHTTPMiddleware completes the answer, and raises afterwards.
        assert ended(seen) == [("truncated", "truncated")]
    elif case == "OPTIONS" and inside:
        assert ended(seen) == []
    else:
        assert ended(seen) == ([expected] if expected else [])


# In time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_piece_is_out_before_the_next_is_made(method: str, agent: Agent, seen: testing.Seen) -> None:
    async with serving(application(agent)) as server:
        caller = await server.call("/paced", None if method == "GET" else b"{}")
        assert SAID.encode() in await caller.until(b'"Hi"}}\n\n')
        assert agent.made == [BEGUN, SAID]
        assert seen.value("streamgauge.streams.active") == 1
        agent.go.set()
        rest = await caller.rest()
    assert rest.count(b"text_delta") == 1
    assert DONE.encode() in rest
    assert ended(seen) == [("completed", None)]
    assert seen.count("gen_ai.server.time_to_first_token") == 1
    assert seen.count("gen_ai.server.time_per_output_token") == 1
    assert seen.count("gen_ai.client.operation.duration", gen_ai_operation_name="invoke_agent") == 0


async def test_what_is_told_of_it(agent: Agent, seen: testing.Seen) -> None:
    agent.go.set()
    app = application(agent, agent_name="helper")
    async with serving(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post("/paced?key=s3cret", headers={"authorization": "Bearer s3cret"})
    assert answer.text == "".join(WHOLE)
    (run,) = runs(seen)
    assert run["name"] == "invoke_agent helper"
    expected = {
        "http.request.method": "POST", "url.path": "/paced", "http.response.status_code": 200,
        "server.address": "127.0.0.1", "server.port": server.port, "streamgauge.dialect": "shipit-agent",
        "streamgauge.transport": "asgi", "streamgauge.stream.chunks": 2,
    }  # fmt: skip
    assert {name: run["attributes"].get(name) for name in expected} == expected
    assert "s3cret" not in str(seen.spans)


# The caller goes --------------------------------------------------------------------------------------------------


async def test_gone_in_mid_stream(agent: Agent, seen: testing.Seen) -> None:
    """The agent is stopped, as without the middleware."""
    async with serving(application(agent)) as server:
        caller = await server.call("/paced", None)
        await caller.until(b'"Hi"}}\n\n')
        caller.abort()
        async with asyncio.timeout(PATIENCE_S):
            await agent.closed.wait()
        await until(lambda: runs(seen))
    assert agent.made == [BEGUN, SAID]
    assert ended(seen) == [("abandoned", None)]
    assert runs(seen)[0]["attributes"]["streamgauge.disconnect"] == "cancel"


async def test_gone_before_the_head(seen: testing.Seen) -> None:
    """The application is not told unless it asks: StreamingResponse does, when it has begun."""
    begun, go, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    app = FastAPI()

    @app.post("/chat")
    async def chat(body: dict[str, Any]) -> Response:
        begun.set()
        await go.wait()

        async def made() -> AsyncIterator[str]:
            try:
                yield BEGUN
                await asyncio.Future()
            finally:
                closed.set()

        return StreamingResponse(made(), media_type=EVENTS)

    app.add_middleware(Middleware, dialects=ROUTES)
    async with serving(app) as server:
        caller = await server.call("/chat")
        await begun.wait()
        caller.abort()
        await until(lambda: not server.server.server_state.connections)
        assert seen.open == 1  # the agent is at work still
        go.set()
        async with asyncio.timeout(PATIENCE_S):
            await closed.wait()
        await until(lambda: runs(seen))
    assert ended(seen) == [("abandoned", None)]
    assert seen.count("gen_ai.server.time_to_first_token") == 0


async def test_gone_before_the_head_and_the_application_asks(agent: Agent, seen: testing.Seen) -> None:
    asked = asyncio.Event()
    app = FastAPI()

    @app.post("/chat")
    async def chat(request: Request) -> Response:
        await request.body()
        asked.set()
        async with asyncio.timeout(PATIENCE_S):
            while not await request.is_disconnected():  # noqa: ASYNC110  (the framework's own way to ask)
                await asyncio.sleep(0.002)
        return Response(status_code=499)

    app.add_middleware(Middleware, dialects=ROUTES)
    async with serving(app) as server:
        caller = await server.call("/chat")
        await asked.wait()
        caller.abort()
        await until(lambda: runs(seen))
    (run,) = runs(seen)
    assert ended(seen) == [("abandoned", None)]
    assert run["attributes"]["streamgauge.disconnect"] == "cancel"


async def test_gone_after_the_terminal_event(agent: Agent, seen: testing.Seen) -> None:
    hold = asyncio.Event()
    app = FastAPI()

    @app.get("/events")
    async def events() -> Response:
        async def made() -> AsyncIterator[str]:
            try:
                for piece in WHOLE:
                    yield piece
                await hold.wait()
            finally:
                agent.closed.set()

        return StreamingResponse(made(), media_type=EVENTS)

    app.add_middleware(Middleware, dialects=ROUTES)
    async with serving(app) as server:
        caller = await server.call("/events", None)
        await caller.until(b'"output": "Hi"}}\n\n')
        await until(lambda: runs(seen))  # it ended with that event
        caller.abort()
        async with asyncio.timeout(PATIENCE_S):
            await agent.closed.wait()
    assert ended(seen) == [("completed", None)]


async def test_a_slow_caller_is_back_pressure_and_then_gone(agent: Agent, seen: testing.Seen) -> None:
    """While the server does not take a piece, it is the caller who is waited for."""
    held: list[tuple[float, float]] = []
    holding: list[float] = []
    app = FastAPI()
    piece = frame("text_delta", chunk="x" * 65_000)

    @app.get("/events")
    async def events() -> Response:
        async def made() -> AsyncIterator[str]:
            yield BEGUN
            while True:
                await asyncio.sleep(0)  # what is sent to nobody is taken at once
                holding[:] = [time.monotonic()]
                yield piece
                held.append((holding[0], time.monotonic()))

        return StreamingResponse(made(), media_type=EVENTS)

    app.add_middleware(Middleware, dialects=ROUTES)
    async with serving(app) as server:
        caller = await server.call("/events", None, window=4_096)
        await until(lambda: holding and time.monotonic() - holding[0] > 0.3)
        blocked = len(held)
        await caller.reader.readexactly(4_000_000)  # it goes on as soon as it is read
        await until(lambda: len(held) > blocked)
        await until(lambda: time.monotonic() - holding[0] > 0.3)
        caller.abort()
        await until(lambda: runs(seen))
    waits = runs(seen)[0]["attributes"]
    assert ended(seen) == [("abandoned", None)]
    assert waits["streamgauge.stream.wait.caller"] > 0.55
    assert waits["streamgauge.stream.wait.source"] < waits["streamgauge.stream.wait.caller"]
    assert "streamgauge.stream.stalls" not in waits


# The server stops, the application fails -----------------------------------------------------------------------


async def test_a_cancelled_task(agent: Agent, seen: testing.Seen) -> None:
    """A server that stops cancels what does not end in time."""
    async with serving(application(agent), timeout_graceful_shutdown=0) as server:
        caller = await server.call("/paced", None)
        await caller.until(b'"Hi"}}\n\n')
        await server.stop()
        await until(lambda: runs(seen))
        await caller.rest()
    assert ended(seen) == [("cancelled", None)]
    assert agent.closed.is_set()


async def test_an_exception_reaches_the_applications_own_handler(agent: Agent, seen: testing.Seen) -> None:
    app = application(agent)

    @app.exception_handler(ValueError)
    async def handled(request: Request, error: ValueError) -> Response:
        return JSONResponse({"handled": str(error)}, status_code=418)

    async with serving(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post("/broken/chat", json={})
    assert (answer.status_code, answer.json()) == (418, {"handled": "before the head"})
    assert ended(seen) == [("failed", "418")]


# The current span, and other variables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"), [("/paced", b"{}"), ("/paced", None), ("/events", None)], ids=["POST", "GET", "FastAPI's own"]
)
@pytest.mark.parametrize("where", ["alone", "inside", "around"])
async def test_the_agents_spans_are_children(
    path: str, body: bytes | None, where: str, agent: Agent, seen: testing.Seen
) -> None:
    """Also those of a task that FastAPI starts before it sends the head; also with a middleware of Starlette's, that
    runs the application in a task of its own. Around such a one there is nothing to know of a body that nobody
    reads."""
    agent.go.set()
    app = application(agent, watched=where != "around")
    if where != "alone":
        app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
    if where == "around":
        app.add_middleware(Middleware, dialects=ROUTES)
        body = body and b""
    async with serving(app) as server:
        await (await server.call(path, body)).rest()
    (run,) = runs(seen)
    assert agent.traces
    assert {(f"{each.trace_id:032x}", f"{each.span_id:016x}") for each in agent.traces} == {
        (run["trace_id"], run["span_id"])
    }


async def test_also_in_the_threads_of_a_plain_generator(agent: Agent, seen: testing.Seen) -> None:
    found: list[Any] = []
    app = FastAPI()

    @app.post("/chat")
    def chat(body: dict[str, Any]) -> Response:
        found.append(trace.get_current_span().get_span_context())

        def made() -> Iterator[str]:
            for piece in WHOLE:
                found.append(trace.get_current_span().get_span_context())
                assert threading.current_thread() is not threading.main_thread()
                yield piece

        return StreamingResponse(made(), media_type=EVENTS)

    app.add_middleware(Middleware, dialects=ROUTES)
    async with serving(app) as server:
        assert headless(await (await server.call("/chat")).rest()).count(b"text_delta") == 2
    assert len(found) == 5
    assert {f"{each.span_id:016x}" for each in found} == {runs(seen)[0]["span_id"]}


async def test_the_next_request_of_a_connection_is_another_trace(agent: Agent, seen: testing.Seen) -> None:
    agent.go.set()
    async with serving(application(agent)) as server, httpx.AsyncClient(base_url=server.url) as client:
        for _ in range(3):
            await client.post("/paced")
            await client.post("/plain/none")
    assert len({run["trace_id"] for run in runs(seen)}) == 3
    assert all(run["parent_id"] is None for run in runs(seen))


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("watched", [False, True])
async def test_variables_are_seen_where_they_were(watched: bool, seen: testing.Seen) -> None:
    """Set by a dependency, by a middleware inside and by one outside; seen in the answer, and after it."""
    after: list[str] = []
    app = FastAPI()

    async def dependency() -> None:
        VARIABLE.set(VARIABLE.get() + ", dependency")

    @app.post("/chat", dependencies=[Depends(dependency)])
    async def chat(body: dict[str, Any]) -> Response:
        async def made() -> AsyncIterator[str]:
            yield BEGUN
            yield frame("text_delta", chunk=VARIABLE.get())
            yield DONE

        return StreamingResponse(made(), media_type=EVENTS)

    class Sets:
        def __init__(self, app: Any, name: str) -> None:
            self.app, self.name = app, name

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                VARIABLE.set(f"{VARIABLE.get()}, {self.name}")
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                after.append(f"{self.name}: {VARIABLE.get()}")

    app.add_middleware(Sets, name="inner")
    if watched:
        app.add_middleware(Middleware, dialects=ROUTES)
    app.add_middleware(Sets, name="outer")
    async with serving(app) as server:
        answer = headless(await (await server.call("/chat")).rest())
    assert b"unset, outer, inner, dependency" in answer
    assert after == ["inner: unset, outer, inner, dependency", "outer: unset, outer, inner, dependency"]
    assert len(runs(seen)) == watched


async def test_what_comes_after_the_answer(agent: Agent, seen: testing.Seen) -> None:
    """A background task runs when the stream has ended."""
    async with serving(application(agent)) as server:
        await (await server.call("/later/chat")).rest()
        async with asyncio.timeout(PATIENCE_S):
            await agent.closed.wait()
    assert ended(seen) == [("completed", None)]
    assert [each.is_valid for each in agent.traces] == [False]


# Lifespan, WebSocket, mounts ----------------------------------------------------------------------------------------


async def test_lifespan_and_state(agent: Agent, seen: testing.Seen) -> None:
    from contextlib import asynccontextmanager

    lived: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
        lived.append("up")
        yield {"greeting": "Hi"}
        lived.append("down")

    async def chat(request: Request) -> Response:
        await request.body()
        return StreamingResponse(iter([BEGUN, request.state.greeting, DONE]), media_type=EVENTS)

    app = Middleware(Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=lifespan), dialects=ROUTES)
    async with serving(app, lifespan="on") as server:
        assert b"Hi" in await (await server.call("/chat")).rest()
    assert lived == ["up", "down"]
    assert len(runs(seen)) == 1


async def test_mounted_with_a_middleware_of_its_own(agent: Agent, seen: testing.Seen) -> None:
    inner = Middleware(Starlette(routes=[Route("/chat", whole, methods=["POST"])]), dialects=ROUTES)
    app = Starlette(routes=[Mount("/api", app=inner)])
    async with serving(app) as server:
        await (await server.call("/api/chat")).rest()
    (run,) = runs(seen)
    assert run["attributes"]["streamgauge.dialect"] == "shipit-agent"
    assert run["attributes"]["url.path"] == "/api/chat"


# Many -------------------------------------------------------------------------------------------------------------

MANY = 1_000


async def test_many_streams_at_once(seen: testing.Seen) -> None:
    """All open before the first ends; each with its own words, in its own trace."""
    open_, go = 0, asyncio.Event()
    inside: dict[str, str] = {}

    async def chat(request: Request) -> Response:
        name = (await request.body()).decode()

        async def made() -> AsyncIterator[str]:
            nonlocal open_
            yield BEGUN
            yield frame("text_delta", chunk=name)
            open_ += 1
            await go.wait()
            inside[name] = f"{trace.get_current_span().get_span_context().span_id:016x}"
            yield frame("text_delta", chunk=name)
            yield DONE

        return StreamingResponse(made(), media_type=EVENTS)

    app = Middleware(Starlette(routes=[Route("/chat", chat, methods=["POST"])]), dialects=ROUTES)

    async def one(server: Serving, number: int) -> bytes:
        caller = await server.call("/chat", f"caller {number:04}".encode())
        return await caller.rest()

    async with serving(app) as server:
        callers = [asyncio.ensure_future(one(server, number)) for number in range(MANY)]
        await until(lambda: open_ == MANY)
        assert seen.value("streamgauge.streams.active") == MANY
        go.set()
        answers = await asyncio.gather(*callers)
    assert [answer.count(f"caller {number:04}".encode()) for number, answer in enumerate(answers)] == [2] * MANY
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == MANY
    assert seen.value("streamgauge.stream.chunks") == 2 * MANY
    assert len(inside) == len(set(inside.values())) == MANY
    assert set(inside.values()) == {run["span_id"] for run in runs(seen)}
