"""WebSockets of the real packages: ZIRAN's handler as a client, shipit_agent's packets from a server, and a browser."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse
from shipit_agent.chat_session import AgentChatSession
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from ziran.domain.entities.target import TargetConfig
from ziran.infrastructure.adapters.protocols.ws_handler import WebSocketProtocolHandler

import streamgauge.websockets
from asgi.serving import PATIENCE_S, serving, until
from interop.test_shipit_agent import HELLO, SEARCH, Turn, agent
from streamgauge import dialects, testing
from streamgauge.asgi import Middleware

SOCKETS = {
    "ziran-socket": "streamgauge.dialects.ziran_socket:ZiranSocket",
    "shipit-agent-socket": "streamgauge.dialects.shipit_agent_socket:ShipitAgentSocket",
}


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dialects, "BUILT_IN", {**SOCKETS, **dialects.BUILT_IN})
    dialects._paths.cache_clear()
    yield
    dialects._paths.cache_clear()


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    with testing.recording() as recorded:
        yield recorded
        assert recorded.open == 0
        assert recorded.value("streamgauge.tap.blind") == 0


def runs(seen: testing.Seen) -> list[tuple[str, Any, Any]]:
    """(outcome, error type, text chunks) of each run."""
    found = [span["attributes"] for span in seen.spans if span["name"].startswith("invoke_agent")]
    return [
        (told["streamgauge.outcome"], told.get("error.type"), told.get("streamgauge.stream.chunks")) for told in found
    ]


# ZIRAN ------------------------------------------------------------------------------------------------------------


async def target(socket: Any) -> None:
    """What ZIRAN speaks to: it does as it is told."""
    async for message in socket:
        asked = json.loads(message)["message"]
        if asked == "plain":
            await socket.send("no JSON at all")
            await socket.send(json.dumps({"type": "done"}))
        elif asked.startswith("cut"):
            await socket.send(json.dumps({"content": "Hel"}))
            await socket.close(int(asked.split()[1]), "why")
        else:
            for word in ("Hel", "lo"):
                await socket.send(json.dumps({"content": word}))
            await socket.send(json.dumps({"type": "done", "model": "m-1", "usage": {"prompt_tokens": 3}}))


async def told(uri: str, messages: list[str], **options: Any) -> list[Any]:
    async with httpx.AsyncClient() as http:
        handler = WebSocketProtocolHandler(http, TargetConfig(url=uri), extra_connect_kwargs=options)
        found = []
        for message in messages:
            found += [chunk.model_dump() async for chunk in handler.stream_send(message)]
        await handler.close()
        return found


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["hi", "plain"], [("completed", None, 2), ("completed", None, 1)]),
        (["hi", "cut 1011"], [("completed", None, 2), ("failed", "1011", 1)]),
        (["cut 1000"], [("truncated", "truncated", 1)]),
    ],
)
async def test_zirans_handler(seen: testing.Seen, messages: list[str], expected: list[Any]) -> None:
    made = streamgauge.websockets.connection_factory(dialect="ziran-socket", agent_name="target")
    async with serve(target, "127.0.0.1", 0) as server:
        uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await told(uri, messages, create_connection=made) == await told(uri, messages)
    assert runs(seen) == expected


# shipit_agent -----------------------------------------------------------------------------------------------------


def application(*turns: Turn, watched: bool = True) -> FastAPI:
    app = FastAPI()

    @app.websocket("/run")
    async def run(socket: WebSocket) -> None:
        await socket.accept()
        session = AgentChatSession(agent=agent(*turns), session_id="s1")
        with suppress(WebSocketDisconnect):
            while True:
                prompt = (await socket.receive_json())["prompt"]
                for packet in session.stream_packets(prompt):
                    await socket.send_json(packet)

    @app.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    if watched:
        app.add_middleware(Middleware, dialects={"/run": "shipit-agent-socket"}, agent_name="helper")
    return app


_OWN = {"run_id", "session_id", "generation", "timestamp", "at", "ts", "created_at", "id", "seq"}


def stable(value: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(value, dict):
        return {
            name: stable(each)
            for name, each in value.items()
            if name not in _OWN and not name.endswith(("_ms", "_id", "_at", "_s"))
        }
    return [stable(each) for each in value] if isinstance(value, list) else value


async def packets(port: int, prompts: int) -> list[Any]:
    found = []
    async with connect(f"ws://127.0.0.1:{port}/run") as socket:
        for _ in range(prompts):
            await socket.send(json.dumps({"prompt": "hello"}))
            while True:
                found.append(json.loads(await socket.recv()))
                if found[-1]["event_type"] in ("run_completed", "run_failed"):
                    break
    return found


async def test_shipit_agents_packets(seen: testing.Seen) -> None:
    script = (Turn(("a",), (SEARCH,)), HELLO, HELLO)
    found = []
    for watched in (False, True):
        async with serving(application(*script, watched=watched), ws="websockets-sansio", lifespan="off") as server:
            found.append(await packets(server.port, 2))
            await until(lambda: not seen.open)
    assert stable(found[0]) == stable(found[1])
    assert len(found[0]) > 10
    assert [(outcome, error) for outcome, error, _ in runs(seen)] == [("completed", None)] * 2
    tree = [line.strip() for line in seen.tree()]
    assert tree[0] == "session shipit-agent-socket"
    assert "execute_tool search" in tree


# A browser --------------------------------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
PAGE = """<!DOCTYPE html><title>waiting</title><pre id="found"></pre><script>
const socket = new WebSocket(`ws://${location.host}/run`), found = [];
socket.onmessage = ({data}) => {
  found.push(data);
  const kind = JSON.parse(data).event_type;
  if (kind === "run_completed" || kind === "run_failed") socket.close(4000, "read");
};
socket.onopen = () => socket.send(JSON.stringify({prompt: "hello"}));
socket.onclose = ({code, reason, wasClean}) => {
  found.push(JSON.stringify({code, reason, wasClean}));
  fetch("/found", {method: "POST", body: JSON.stringify(found)});
};
</script>"""


def reporting(heard: asyncio.Queue[Any]) -> Any:
    async def report(request: Request) -> None:
        heard.put_nowait([json.loads(each) for each in await request.json()])

    return report


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is on PATH")
async def test_a_browser(seen: testing.Seen, tmp_path: Path) -> None:
    found: list[Any] = []
    for watched in (False, True):
        app = application(Turn(("a",), (SEARCH,)), HELLO, watched=watched)
        heard: asyncio.Queue[Any] = asyncio.Queue()

        app.post("/found")(reporting(heard))
        async with serving(app, ws="websockets-sansio", lifespan="off") as server:
            assert BROWSER is not None
            browser = await asyncio.create_subprocess_exec(
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                f"--user-data-dir={tmp_path / str(watched)}", "--remote-debugging-port=0", f"{server.url}/page",
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                found.append(await asyncio.wait_for(heard.get(), PATIENCE_S))
            finally:
                browser.terminate()
                await asyncio.wait_for(browser.wait(), PATIENCE_S)
            await until(lambda: not seen.open)
    assert stable(found[0]) == stable(found[1])
    assert found[0][-1] == {"code": 4000, "reason": "read", "wasClean": True}
    assert [(outcome, error) for outcome, error, _ in runs(seen)] == [("completed", None)]
    (session,) = [span["attributes"] for span in seen.spans if span["name"].startswith("session")]
    assert (session["streamgauge.websocket.close_code"], session["streamgauge.websocket.closed_by"]) == (4000, "caller")
