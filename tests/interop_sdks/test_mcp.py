"""MCP's streamable HTTP: a real server, and its client with an HTTP client that is wrapped or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx2
import mcp
import mcp.client.streamable_http
import pytest

from interop_sdks.calling import At, dumped
from interop_sdks.mcp_server import mcp_server
from streamgauge import testing


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mcp_server() as found:
        yield found


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
