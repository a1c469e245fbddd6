"""MCP's streamable HTTP: a real server, and its client with an HTTP client that is wrapped or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import mcp
import mcp.client.streamable_http
import mcp.server
import pytest
import uvicorn

from interop_sdks.calling import At, dumped
from streamgauge import testing

START_S = 20.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = mcp.server.MCPServer("helper")

    @server.tool()
    async def count(to: int, ctx: mcp.server.mcpserver.Context) -> str:
        for number in range(to):
            await ctx.report_progress(number + 1, to)
        return "done"

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    running = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    running.should_exit = True
    thread.join(START_S)
    listening.close()


async def called(at: At) -> Any:
    progress: list[tuple[float, float | None]] = []

    async def told(done: float, total: float | None, message: str | None) -> None:
        progress.append((done, total))

    async with contextlib.AsyncExitStack() as stack:
        http = at.async_http(httpx2, follow_redirects=True)
        transport = mcp.client.streamable_http.streamable_http_client(at.url, http_client=http)
        client = await stack.enter_async_context(mcp.Client(transport))
        tools = await client.list_tools()
        result = await client.call_tool("count", {"to": 3}, progress_callback=told)
        transcript = [[each.name for each in tools.tools], dumped(result), progress]
    await at.aclose()
    return transcript


def test_wrapped(url: str, seen: testing.Seen) -> None:
    direct = asyncio.run(called(At(url)))
    assert asyncio.run(called(At(url, wrapped=True))) == direct
    assert seen.spans  # the answers are streams
    assert seen.open == 0
    outcomes = {span["attributes"].get("streamgauge.outcome") for span in seen.spans}
    assert outcomes <= {"completed", "abandoned", "cancelled", None}
