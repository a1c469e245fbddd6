"""WebSockets through the real process: a client and a server of the `websockets` library, one worker and two."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from proxy.running import PATIENCE_S, Proxy, Upstream, proxy, streamed, until
from telemetry.parts import Receiver


async def agent(connection: ServerConnection) -> None:
    """Answers each message with it, in three parts; `stop` with a close."""
    try:
        async for message in connection:
            if message == "stop":
                await connection.close(4000, "told to")
                return
            for part in range(3):
                await connection.send(f"{part}: {message}" if isinstance(message, str) else message)
    except ConnectionClosed:
        pass


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(agent, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as running:  # type: ignore[list-item]
        yield running


def url(server: Server) -> str:
    return f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def connecting(running: Proxy, path: str = "/talk", **options: object) -> connect:
    options = {"max_size": None, "proxy": None, "subprotocols": ["chat"], **options}
    return connect(f"ws://127.0.0.1:{running.port}{path}", **options)  # type: ignore[arg-type]


async def asked(connection: ClientConnection, message: str | bytes) -> list[str | bytes]:
    async with asyncio.timeout(PATIENCE_S):
        await connection.send(message)
        return [await connection.recv() for _ in range(3)]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("compression", ["deflate", None])
async def test_many_turns_on_many_connections(
    tmp_path: Path, server: Server, workers: str, compression: str | None
) -> None:
    async with proxy("--upstream", url(server), "--workers", workers, cwd=tmp_path) as running:

        async def talk(number: int) -> None:
            async with connecting(running, compression=compression) as connection:
                assert connection.subprotocol == "chat"
                for turn in range(4):
                    assert await asked(connection, f"{number}/{turn}") == [
                        f"{part}: {number}/{turn}" for part in range(3)
                    ]
                data = bytes(range(256)) * 300
                assert await asked(connection, data) == [data] * 3
                await (await connection.ping())
                await connection.send("stop")
                async with asyncio.timeout(PATIENCE_S):
                    await connection.wait_closed()
                assert (connection.close_code, connection.close_reason) == (4000, "told to")

        await asyncio.gather(*map(talk, range(6)))

        async def counted() -> bool:
            numbers = await running.numbers()
            name = "streamgauge_streams_total"
            return numbers.sum(name, streamgauge_transport="websocket", streamgauge_outcome="completed") >= 30

        assert await until(counted)
        assert running.log == []


async def test_16_mib_pass(tmp_path: Path, server: Server) -> None:
    async with proxy("--upstream", url(server), cwd=tmp_path) as running, connecting(running) as connection:
        data = b"x" * 16_777_216
        assert await asked(connection, data) == [data] * 3
        assert await asked(connection, "small") == ["0: small", "1: small", "2: small"]
        await running.logged("too large to be looked at|it is too large")


async def test_http_and_websocket_on_one_port(tmp_path: Path, server: Server, upstream: Upstream) -> None:
    token = "t-" + "x" * 20
    (tmp_path / "tokens").write_text(token)
    routes = [
        f"/socket={url(server)},dialect=generic-messages,token_file=tokens", f"/={upstream.url},dialect=openai-chat",
    ]  # fmt: skip
    async with proxy("--route", routes[0], "--route", routes[1], cwd=tmp_path) as running:
        assert await streamed(running.port)
        async with connecting(running, "/socket/x", additional_headers={"x-streamgauge-token": token}) as connection:
            assert len(await asked(connection, "hello")) == 3
        with pytest.raises(InvalidStatus) as refused:
            async with connecting(running, "/socket/x"):
                raise AssertionError("it was let in")
        assert refused.value.response.status_code == 401
        with pytest.raises(InvalidStatus):  # the other upstream knows no WebSockets
            async with connecting(running, "/"):
                raise AssertionError("it was let in")

        async def both() -> bool:
            numbers = await running.numbers()
            dialects = {"websocket": "generic-messages", "http": "openai-chat"}
            return all(
                numbers.sum("streamgauge_streams_total", streamgauge_transport=wire, streamgauge_dialect=dialect) >= 1
                for wire, dialect in dialects.items()
            )

        assert await until(both)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_end_of_the_process_closes_both_sides(
    tmp_path: Path, server: Server, receiver: Receiver, workers: str
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    arguments = ("--upstream", url(server), "--grace", "0.5", "--workers", workers)
    async with proxy(*arguments, cwd=tmp_path, **variables) as running:
        idle = await connecting(running)
        busy = await connecting(running)
        assert len(await asked(busy, "hello")) == 3
        running.tell(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await idle.wait_closed()
            await busy.wait_closed()
        assert (idle.close_code, busy.close_code) == (1001, 1001)
        assert await running.ended() == 0
    found = []
    while not receiver.traces.empty():
        for resource in receiver.traces.get().resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {each.key: each.value for each in span.attributes}
                    code = values["streamgauge.websocket.close_code"].int_value if "session" in span.name else 0
                    found.append((span.name, values["streamgauge.outcome"].string_value, code))
    session = ("session generic-messages", "shutdown", 1001)
    assert sorted(found) == [("invoke_agent", "completed", 0), session, session]


async def test_told_twice_it_cuts_them(tmp_path: Path, server: Server) -> None:
    async with proxy("--upstream", url(server), cwd=tmp_path) as running:
        connection = await connecting(running)
        assert len(await asked(connection, "hello")) == 3
        running.tell(signal.SIGTERM)
        await running.draining()
        running.tell(signal.SIGTERM)
        assert await running.ended() == 143
        async with asyncio.timeout(PATIENCE_S):
            await connection.wait_closed()
        assert connection.close_code == 1001
