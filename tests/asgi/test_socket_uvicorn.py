"""WebSockets of real applications: FastAPI and Starlette on uvicorn, over real sockets, with a client of websockets."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import sockets
from asgi.serving import PATIENCE_S, Serving, serving, until
from sockets import END, ask, outcomes, say, spans
from streamgauge import testing
from streamgauge.asgi import Middleware

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .websockets. implementation is deprecated", "ignore::DeprecationWarning", "error:::streamgauge"
)


@pytest.fixture(autouse=True)
def _turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with sockets.known(monkeypatch):
        yield


@pytest.fixture(params=["websockets-sansio", "websockets"])
def implementation(request: pytest.FixtureRequest) -> str:
    """uvicorn's own, of which the second is the older."""
    return str(request.param)


class Agent:
    """What the applications serve: each request is answered by its words, and then as its last one says."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.traces: list[int] = []
        self.waiting = asyncio.Event()

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept(socket.scope["subprotocols"][0] if socket.scope["subprotocols"] else None)
        with suppress(WebSocketDisconnect):
            while True:
                words = json.loads(await socket.receive_text())["ask"].split()
                self.traces.append(trace.get_current_span().get_span_context().trace_id)
                for word in words:
                    if not await self.step(socket, word):
                        return
                await socket.send_text(END)
        self.seen.append(f"gone, {socket.client_state.name}")

    async def step(self, socket: WebSocket, word: str) -> bool:
        """Whether it goes on."""
        if word.startswith("close-"):
            await socket.close(int(word[6:]), "why")
            return False
        if word == "returns":
            return False
        if word == "raises":
            raise ValueError("in mid-turn")
        if word == "waits":
            self.waiting.set()
            await socket.receive_text()
        elif word == "writes":
            self.waiting.set()
            while True:
                await socket.send_text(say("x" * 1000))
                await asyncio.sleep(0.001)  # the agent's pace; it ends when the caller is gone
        elif word == "bytes":
            await socket.send_bytes(b"\x00\xff")
        else:
            await socket.send_text(say(word))
        return True


def application(agent: Agent, *, watched: bool = True) -> FastAPI:
    app = FastAPI()
    app.mount("/starlette", Starlette(routes=[Mount("/v1", routes=[WebSocketRoute("/turns", agent.serve)])]))
    app.add_api_websocket_route("/v1/turns", agent.serve)

    @app.websocket("/denied/turns")
    async def denied(socket: WebSocket) -> None:
        await socket.close()

    @app.websocket("/limited/turns")
    async def limited(socket: WebSocket) -> None:
        await socket.send_denial_response(PlainTextResponse("slowly", 429))

    if watched:
        app.add_middleware(Middleware)
    return app


@asynccontextmanager
async def served(agent: Agent, implementation: str, **options: Any) -> AsyncIterator[Serving]:
    async with serving(application(agent, **options), ws=implementation, lifespan="off") as server:
        yield server


def at(server: Serving, path: str = "/v1/turns") -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


async def transcript(server: Serving, words: str, **options: Any) -> list[Any]:
    """All that a caller sees of it."""
    async with connect(at(server), **options) as socket:
        found: list[Any] = [socket.subprotocol, sorted(socket.response.headers)]
        await socket.send(ask(words))
        with suppress(ConnectionClosed):
            while True:
                found.append(await socket.recv())
                if found[-1] == END:
                    await socket.send(ask("close-1000"))
        return [*found, socket.close_code, socket.close_reason]


@pytest.mark.parametrize("words", ["a b", "bytes", "a close-1000", "a close-1008", "a close-4001"])
@pytest.mark.parametrize("compression", ["deflate", None])
async def test_the_caller_sees_what_it_would(
    seen: testing.Seen, implementation: str, words: str, compression: Any
) -> None:
    found = []
    for watched in (False, True):
        async with served(Agent(), implementation, watched=watched) as server:
            found.append(await transcript(server, words, compression=compression, subprotocols=["chat"]))
    assert found[0] == found[1]
    assert len(found[0]) > 4
    assert len(spans(seen, "session")) == 1


@pytest.mark.parametrize(
    ("words", "run", "session"),
    [
        ("a close-1000", ("truncated", "truncated"), ("truncated", "truncated")),
        ("a close-1008", ("failed", "1008"), ("failed", "1008")),
        ("a close-1011", ("failed", "1011"), ("failed", "1011")),
        ("a returns", ("truncated", "truncated"), ("truncated", "truncated")),
        ("a raises", ("failed", "ValueError"), ("failed", "ValueError")),
    ],
)
async def test_how_the_agent_ends_it(
    seen: testing.Seen, implementation: str, words: str, run: Any, session: Any
) -> None:
    async with served(Agent(), implementation) as server, connect(at(server)) as socket:
        await socket.send(ask(words))
        with suppress(ConnectionClosed):
            async for _ in socket:
                pass
        await until(lambda: not seen.open)
    assert (outcomes(seen, "invoke_agent"), outcomes(seen, "session")) == ([run], [session])


async def test_turns(seen: testing.Seen, implementation: str) -> None:
    agent = Agent()
    async with served(agent, implementation) as server, connect(at(server, "/starlette/v1/turns")) as socket:
        for words in ("a b", "c"):
            await socket.send(ask(words))
            assert [await socket.recv() for _ in range(len(words.split()) + 1)] == [*map(say, words.split()), END]
        await socket.close()
        await until(lambda: not seen.open)
    assert seen.tree() == ["session turns", "  invoke_agent a b", "  invoke_agent c"]
    runs, (session,) = spans(seen, "invoke_agent"), spans(seen, "session")
    assert agent.traces == [int(run["trace_id"], 16) for run in runs]
    assert outcomes(seen, "invoke_agent") == [("completed", None)] * 2
    told = session["attributes"]
    assert (told["streamgauge.websocket.close_code"], told["streamgauge.websocket.closed_by"]) == (1000, "caller")
    assert told["url.path"] == "/starlette/v1/turns"
    assert agent.seen == ["gone, DISCONNECTED"]


@pytest.mark.parametrize("word", ["waits", "writes"])
@pytest.mark.parametrize("politely", [True, False])
async def test_the_caller_goes_in_mid_turn(seen: testing.Seen, implementation: str, word: str, politely: bool) -> None:
    agent = Agent()
    async with served(agent, implementation) as server:
        socket = await connect(at(server), close_timeout=0.1)
        await socket.send(ask(f"a {word}"))
        await agent.waiting.wait()
        assert await socket.recv() == say("a")
        if politely:
            await socket.close(1001)
        else:
            socket.transport.abort()
        await until(lambda: not seen.open)
    assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [("abandoned", None)]


async def test_the_server_stops_in_mid_turn(seen: testing.Seen, implementation: str) -> None:
    agent = Agent()
    async with served(agent, implementation) as server, connect(at(server)) as socket:
        await socket.send(ask("a waits"))
        await agent.waiting.wait()
        await server.stop()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(anext(_rest(socket)), PATIENCE_S)
        assert socket.close_code == 1012
    assert outcomes(seen, "invoke_agent") == outcomes(seen, "session") == [("shutdown", "shutdown")]


async def _rest(socket: Any) -> AsyncIterator[Any]:
    """What comes after the first word."""
    assert await socket.recv() == say("a")
    yield await socket.recv()


@pytest.mark.parametrize(("path", "status"), [("/denied/turns", 403), ("/limited/turns", 429)])
async def test_a_handshake_that_is_denied(seen: testing.Seen, implementation: str, path: str, status: int) -> None:
    async with served(Agent(), implementation) as server:
        with pytest.raises(InvalidStatus) as denied:
            await connect(at(server, path))
        assert denied.value.response.status_code == status
        await until(lambda: not seen.open)
    assert outcomes(seen, "session") == [("failed", str(status))]


@pytest.mark.logs
async def test_a_large_message_passes(seen: testing.Seen) -> None:
    data = os.urandom(16 * 1024 * 1024)

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_bytes(await socket.receive_bytes())
        await socket.close()

    app = FastAPI()
    app.add_api_websocket_route("/echo", echo)
    app.add_middleware(Middleware)
    async with serving(app, ws="websockets-sansio", ws_max_size=2**26, lifespan="off") as server:
        async with connect(at(server, "/echo"), max_size=None) as socket:
            await socket.send(data)
            assert await socket.recv() == data
        await until(lambda: not seen.open)
    assert seen.value("streamgauge.tap.blind", reason="size") == 2
