"""SDKs that speak by WebSocket, against scripted services: the same events with our connections and without, and
what is told is what a replay of the script tells."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from fastapi import FastAPI, WebSocket

import streamgauge.websockets
import streamgauge.websockets.sync
from asgi.serving import serving, until
from interop_sdks.socket_scripts import Script, certified, scripted
from streamgauge import capture, dialects, replay, testing
from streamgauge.asgi import Middleware

SOCKETS = {
    "openai-realtime": "streamgauge.dialects.openai_realtime:OpenAIRealtime",
    "openai-responses-socket": "streamgauge.dialects.openai_responses_socket:OpenAIResponsesSocket",
    "gemini-live": "streamgauge.dialects.gemini_live:GeminiLive",
}


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dialects, "BUILT_IN", {**SOCKETS, **dialects.BUILT_IN})
    dialects._paths.cache_clear()
    yield
    dialects._paths.cache_clear()


def timeless(seen: testing.Seen) -> list[Any]:
    """What was told of the runs and all below them, without times and without what only a connection has."""
    found = []
    for span in sorted(seen.spans, key=lambda span: span["start"]):
        if span["name"].startswith("session "):
            continue
        told = {name: value for name, value in span["attributes"].items() if not isinstance(value, float)}
        for name in ("server.address", "server.port"):
            told.pop(name, None)
        found.append((span["name"], span["kind"], span["status"], span["parent"], told))
    return found


def replayed(script: Script) -> list[Any]:
    with testing.recording() as again:
        replay.replay(capture.read(script.file), again.pipeline)
    return timeless(again)


def dumped(events: list[Any]) -> list[Any]:
    return [event.to_dict() for event in events]


async def openai_plays(script: Script, open_connection: Any) -> list[Any]:
    """All the events that the SDK gives."""
    found: list[Any] = []
    async with open_connection as connection:
        for asked, answers in script.turns:
            for message in asked:
                await connection.send(json.loads(message))
            found += [await connection.recv() for _ in answers]
    return dumped(found)


@pytest.mark.parametrize("name", ["openai-realtime-text", "openai-realtime-voice"])
async def test_openais_realtime(seen: testing.Seen, name: str) -> None:
    script = Script(name)
    plays = []
    for options in ({}, {"create_connection": streamgauge.websockets.connection_factory(propagate=True)}):
        async with scripted(script) as place:
            client = openai.AsyncOpenAI(api_key="k", base_url=f"http://{place}/v1")
            made: Any = {"websocket_connection_options": options} if options else {}
            plays.append(await openai_plays(script, client.realtime.connect(model="gpt-realtime", **made)))
    assert plays[0] == plays[1]
    assert len(plays[0]) > 10
    assert script.heard[: len(script.heard) // 2] == script.heard[len(script.heard) // 2 :]
    assert timeless(seen) == replayed(script)
    (session,) = [span for span in seen.spans if span["name"].startswith("session")]
    assert session["attributes"]["url.path"] == "/v1/realtime"
    assert session["attributes"]["streamgauge.websocket.closed_by"] == "caller"
    assert "traceparent" not in script.headers[0]
    assert session["span_id"] in script.headers[1]["traceparent"]


async def test_openais_realtime_of_threads(seen: testing.Seen) -> None:
    script = Script("openai-realtime-text")

    def play(place: str, **made: Any) -> list[Any]:
        found: list[Any] = []
        client = openai.OpenAI(api_key="k", base_url=f"http://{place}/v1")
        with client.realtime.connect(model="gpt-realtime", **made) as connection:
            for asked, answers in script.turns:
                for message in asked:
                    connection.send(json.loads(message))
                found += [connection.recv() for _ in answers]
        return dumped(found)

    factory = streamgauge.websockets.sync.connection_factory()
    async with scripted(script) as place:
        plain = await asyncio.to_thread(play, place)
        options: Any = {"create_connection": factory}
        assert await asyncio.to_thread(play, place, websocket_connection_options=options) == plain
    assert threading.active_count() < 20
    assert timeless(seen) == replayed(script)


async def test_openais_connection_that_is_open(seen: testing.Seen) -> None:
    script = Script("openai-realtime-text")
    async with scripted(script) as place:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"http://{place}/v1")
        connection = await client.realtime.connect(model="gpt-realtime").enter()
        connection._connection = streamgauge.websockets.wrap(connection._connection)
        for asked, answers in script.turns:
            for message in asked:
                await connection.send(json.loads(message))
            for _ in answers:
                await connection.recv()
        await connection.close()
    assert timeless(seen) == replayed(script)


async def test_openais_responses(seen: testing.Seen) -> None:
    script = Script("openai-responses-socket-tool")
    plays = []
    for options in ({}, {"create_connection": streamgauge.websockets.connection_factory()}):
        async with scripted(script) as place:
            client = openai.AsyncOpenAI(api_key="k", base_url=f"http://{place}/v1")
            made: Any = {"websocket_connection_options": options} if options else {}
            plays.append(await openai_plays(script, client.responses.connect(**made)))
    assert plays[0] == plays[1]
    assert timeless(seen) == replayed(script)


async def test_googles_live_client(seen: testing.Seen, tmp_path: Path) -> None:
    from google import genai

    script = Script("gemini-live-voice")
    plays = []
    with certified(tmp_path) as (ours, theirs):
        for options in ({}, {"create_connection": streamgauge.websockets.connection_factory()}):
            async with scripted(script, ssl=ours) as place:
                client = genai.Client(
                    api_key="k",
                    http_options={
                        "base_url": f"https://{place}",
                        "async_client_args": {"ssl": theirs, **options},
                    },  # type: ignore[arg-type]
                )
                found: list[Any] = []
                (_, setup), *turns = script.turns
                spoken: Any = {"response_modalities": ["AUDIO"]}
                async with client.aio.live.connect(model="gemini-live-2.5-flash", config=spoken) as session:
                    found.append(session.setup_complete)
                    rest = [(script.turns[0][0][1:], setup[1:]), *turns]
                    for asked, answers in rest:
                        for message in asked:
                            await session._ws.send(message)
                        found += [await session._receive() for _ in answers]
                plays.append([str(each) for each in found])
    assert plays[0] == plays[1]
    assert len(plays[0]) > 3
    assert timeless(seen) == replayed(script)


async def test_a_client_of_aiohttps(seen: testing.Seen) -> None:
    """It speaks to an application with the middleware."""
    app = FastAPI()

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept("chat")
        while (asked := await socket.receive_text()) != "bye":
            for word in asked.split():
                await socket.send_text(word)
            await socket.send_bytes(b"\x00" * len(asked))
        await socket.close(4000, "as asked")

    async def play(port: int, compress: int) -> list[Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/chat", protocols=["chat"], compress=compress) as socket,
        ):
            found: list[Any] = [socket.protocol]
            for asked in ("a b", "c" * 5000):
                await socket.send_str(asked)
                found += [(message.type, message.data) for _ in range(len(asked.split()) + 1)
                          for message in [await socket.receive()]]  # fmt: skip
            await socket.ping()
            await socket.send_str("bye")
            last = await socket.receive()
            return [*found, last.type, last.data, last.extra, socket.close_code]

    for compress in (0, 15):
        async with serving(app, ws="websockets-sansio", lifespan="off") as server:
            plain = await play(server.port, compress)
        async with serving(Middleware(app), ws="websockets-sansio", lifespan="off") as server:
            assert await play(server.port, compress) == plain
            await until(lambda: not seen.open)
    sessions = [span["attributes"] for span in seen.spans if span["name"].startswith("session")]
    assert [told["streamgauge.websocket.close_code"] for told in sessions] == [4000, 4000]
    assert seen.value("streamgauge.stream.chunks", streamgauge_dialect="generic-messages") == 10
