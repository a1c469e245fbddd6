"""A real server on loopback, in this process and loop, and a caller that speaks HTTP by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

__all__ = ["PATIENCE_S", "Caller", "Serving", "headless", "serving", "until"]

PATIENCE_S = 20


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens in another task."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  (it is of another thread or library)
            await asyncio.sleep(0.002)


@dataclass
class Serving:
    """A server that runs."""

    port: int
    server: uvicorn.Server
    task: Any = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self.server.should_exit = True
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def call(self, path: str, body: bytes | None = b"{}", **more: Any) -> Caller:
        return await Caller.begin(self.port, path, body, **more)


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Serving]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(app, log_level="critical", access_log=False, date_header=False, backlog=2048, **options)
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve([listener]))
    await until(lambda: server.started or task.done())
    running = Serving(listener.getsockname()[1], server, task)
    try:
        yield running
    finally:
        await running.stop()
        listener.close()


class Caller:
    """One connection, one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def begin(
        cls, port: int, path: str, body: bytes | None = b"{}", *, method: str = "", headers: str = "", window: int = 0
    ) -> Caller:
        """
        Args:
            body: None for a GET.
            window: of the socket, for one who reads slowly.
        """
        sock = socket.socket()
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=window or 2**16)
        method = method or ("GET" if body is None else "POST")
        head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + (body or b""))
        return cls(reader, writer)

    async def until(self, mark: bytes) -> bytes:
        """All up to `mark`."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """All up to the end of the connection, which is closed."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.reader.read()
        await self.hang_up()
        return data

    async def hang_up(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass

    def abort(self) -> None:
        """Go, without a word."""
        self.writer.transport.abort()


def headless(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
