"""A real MCP server, with one tool that reports its progress."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import mcp.server
import uvicorn

__all__ = ["mcp_server"]

START_S = 20.0


@contextlib.contextmanager
def mcp_server() -> Iterator[str]:
    """Gives its URL."""
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
