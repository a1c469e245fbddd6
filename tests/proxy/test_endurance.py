"""Streams that nobody has in mind: a gigabyte of them, a line that never ends. They pass, and memory stays as it is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.running import BODY, CHAT, event, proxy

GIB = 1 << 30
MIB = 1 << 20
MORE_MIB = 24
"""What a process may grow by: some buffers of 64 KiB, and what the allocator keeps."""


def pieces_of_events() -> Iterator[bytes]:
    """A gibibyte of events, 64 KiB of them at a time."""
    one = event("word " * 40)
    piece = one * (65_536 // len(one))
    for _ in range(GIB // len(piece) + 1):
        yield piece


def pieces_of_a_line() -> Iterator[bytes]:
    """One line of 32 MiB, without an end."""
    yield b"data: "
    for _ in range(512):
        yield b"x" * 65_536


@asynccontextmanager
async def flooding(pieces: Any) -> AsyncIterator[tuple[str, list[Any]]]:
    """An upstream that sends `pieces` as fast as they are taken; and the digest of what it sent."""
    sent: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest, size = hashlib.blake2b(), 0
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(BODY))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            for piece in pieces():
                digest.update(piece)
                size += len(piece)
                writer.write(piece)
                await writer.drain()
            sent.append((size, digest.hexdigest()))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent
    finally:
        server.close()


async def taken(port: int) -> tuple[int, str]:
    """The size and the digest of an answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {CHAT} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n".encode()
        + BODY
    )
    await reader.readuntil(b"\r\n\r\n")
    digest, size = hashlib.blake2b(), 0
    while data := await reader.read(MIB):
        digest.update(data)
        size += len(data)
    writer.close()
    return size, digest.hexdigest()


def memory_mib(pid: int) -> float:
    """The most that a process has held so far."""
    (peak,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024


@pytest.mark.timeout(180)
async def test_a_gibibyte_passes_in_flat_memory(tmp_path: Path) -> None:
    async with flooding(pieces_of_events) as (url, sent), proxy("--upstream", url, cwd=tmp_path) as running:
        before = memory_mib(running.pid)
        found = await taken(running.port)
        assert [found] == sent
        assert found[0] > GIB
        assert memory_mib(running.pid) - before < MORE_MIB
        numbers = await running.numbers()
        events = found[0] // len(event("word " * 40))
        assert numbers.sum("streamgauge_stream_chunks_total") == events
        assert numbers.sum("streamgauge_tap_blind_total") == 0


async def test_a_line_without_an_end_passes_and_makes_the_tap_blind(tmp_path: Path) -> None:
    async with flooding(pieces_of_a_line) as (url, sent), proxy("--upstream", url, cwd=tmp_path) as running:
        before = memory_mib(running.pid)
        found = await taken(running.port)
        assert [found] == sent
        assert memory_mib(running.pid) - before < MORE_MIB
        numbers = await running.numbers()
        assert numbers.sum("streamgauge_tap_blind_total", reason="framing") == 1
        assert numbers.sum("streamgauge_streams_total") == 1
        assert "no longer decoded" in await running.logged("no longer decoded")


@pytest.mark.timeout(120)
async def test_a_caller_who_takes_nothing_is_not_read_for(tmp_path: Path) -> None:
    """The upstream is held back: what is on its way stays within the sockets' and the proxy's buffers."""
    written = 0

    def counted() -> Iterator[bytes]:
        nonlocal written
        for piece in pieces_of_events():
            written += len(piece)
            yield piece

    async with flooding(counted) as (url, _), proxy("--upstream", url, cwd=tmp_path) as running:
        before = memory_mib(running.pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.write(f"POST {CHAT} HTTP/1.0\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        await reader.readuntil(b"\r\n\r\n")
        last = -1
        async with asyncio.timeout(30):
            while last != written:  # nothing tells that a source is held back, but half a second without a piece does
                last = written
                await asyncio.sleep(0.5)
        assert 0 < written < 64 * MIB, "no more than kernels keep for two connections"
        assert memory_mib(running.pid) - before < MORE_MIB
        numbers = await running.numbers()
        assert numbers.sum("streamgauge_streams_active") == 1
        writer.transport.abort()
