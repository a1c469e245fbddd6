"""A scripted agent and model API: `python agent.py --host HOST --port PORT`.

It answers with the event streams of `streams.py`, by path. What a stream is like, the request says in a header:

    x-script: first=0.3 chunks=20 pace=0.04 tool=search end=cut

(the names are those of `Script`, without `_s`), so that a load that always asks for the same gets the same. Without it
every stream completes. `POST /fault {"kind": "stall"}` makes streams worse from then on, whatever their script says;
`{"kind": "none"}` makes them good again: see `Fault`. Nothing but the standard library is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from streams import Piece, Script, answer

__all__ = ["FAULTS", "Agent", "Fault", "main"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the streams now, in one of every `one_in` of them."""

    kind: str = "none"
    one_in: int = 1
    seconds: float = 0.0
    """Of a silence, or until the first token. 0 is what breaks the objectives as they are set (objectives.toml)."""
    count: int = 4
    """Of retries in a storm."""

    def __post_init__(self) -> None:
        if self.kind not in FAULTS or self.one_in < 1:
            raise ValueError(f"a fault is one of {', '.join(FAULTS)}, in one_in streams from 1")

    def applied(self, script: Script) -> Script:
        return FAULTS[self.kind](self, script)


FAULTS: Mapping[str, Callable[[Fault, Script], Script]] = {
    "none": lambda fault, script: script,
    "stall": lambda fault, script: replace(script, stall_s=fault.seconds or 12.0),
    "error_inside_200": lambda fault, script: replace(script, end="error"),
    "slow_first_token": lambda fault, script: replace(script, first_s=fault.seconds or 3.0),
    "retry_storm": lambda fault, script: replace(script, retries=fault.count),
}
"""`retry_storm` is of model calls within a run, which then succeed: so only streams that tell of retries, those of
shipit_agent, are in it, and none of them fails."""


class Agent:
    """Serves streams, as the scripts and the fault say."""

    def __init__(self) -> None:
        self.port = 0
        self.fault = Fault()
        self._served = 0
        self._refused: dict[str, int] = {}
        self._handlers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Agent]:
        server = await asyncio.start_server(self._connected, host, port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._handlers):
                task.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.CancelledError, EOFError, OSError, ValueError, asyncio.LimitOverrunError):
            pass  # the caller has gone, or speaks no HTTP; or this server ends
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. Returns: whether the connection is of use afterwards."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, target, _ = head[0].split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        try:
            body = json.loads(raw or b"{}")
            if target == "/fault":
                self.fault = Fault(**body)
                answered = self._plain(writer, 200, {"kind": self.fault.kind})
            elif target == "/healthz":
                answered = self._plain(writer, 200, {"status": "ok"})
            else:
                script = Script.read(headers.get("x-script", ""))
                answered = await self._model(reader, writer, script, target, headers.get("idempotency-key", ""), body)
        except (ValueError, TypeError) as error:
            answered = self._plain(writer, 400, {"error": {"message": str(error)}})
        return answered and headers.get("connection", "").lower() != "close"

    async def _model(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        script: Script,
        target: str,
        key: str,
        body: Any,
    ) -> bool:
        if self._refused.get(key, 0) < script.refusals:
            self._refused[key] = self._refused.get(key, 0) + 1
            return self._plain(writer, 503, {"error": {"message": "busy", "type": "server_error"}})
        self._refused.pop(key, None)
        if script.status >= 400:
            return self._plain(writer, script.status, {"error": {"message": "refused", "type": "server_error"}})
        self._served += 1
        if self._served % self.fault.one_in == 0:
            script = self.fault.applied(script)
        pieces = answer(script, target.partition("?")[0], body if isinstance(body, dict) else {})
        if pieces is None:
            return self._plain(writer, 404, {"error": {"message": f"there is no {target} here"}})
        return await self._stream(reader, writer, script, pieces)

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Script, pieces: Iterator[Piece]
    ) -> bool:
        coding = "Content-Encoding: gzip\r\n" if script.broken else ""
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        clock = asyncio.get_running_loop().time
        due = clock()
        for wait_s, data in pieces:
            if wait_s:
                due += wait_s
                await asyncio.sleep(due - clock())
            if writer.transport.is_closing():
                return False
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            if script.size:  # much: whoever reads slowly holds it up, and the times are then not ours
                await writer.drain()
                due = clock()
        if script.end == "cut":
            await writer.drain()
            return False
        if script.end == "hang":
            await reader.read(1)  # until the caller has gone
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _plain(self, writer: asyncio.StreamWriter, status: int, body: Any) -> bool:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} .\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        return True


async def _serve(host: str, port: int) -> None:
    async with Agent().serving(host, port) as agent:
        print(f"scripted agent: http://{host}:{agent.port}", flush=True)  # noqa: T201  (a command's own line)
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        await told.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    asyncio.run(_serve(given.host, given.port))


if __name__ == "__main__":
    main()
