"""A real proxy in a process of its own, a scripted upstream, and callers."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families

PATIENCE_S = 30.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
BODY = b'{"model": "gpt-5", "stream": true, "messages": []}'
CHAT = "/v1/chat/completions"
HELD = "/held/v1/chat/completions"
"""The upstream sends a first event, and the rest when it is told."""

_LINE = re.compile(r"streamgauge proxy: (https?)://(\S+?):(\d+), admin http://(\S+?):(\d+)/(?:metrics)?, (.*)")


def event(text: str) -> bytes:
    return b'data: {"id":"1","model":"gpt-5","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode()


FIRST = event("a")
REST = event("b") + b'data: {"id":"1","model":"gpt-5","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
REST += b"data: [DONE]\n\n"


async def until(what: Callable[[], Awaitable[Any]], timeout_s: float = PATIENCE_S) -> Any:
    """What `what` gives, once that is true: for the state of another process, which nothing tells us."""
    async with asyncio.timeout(timeout_s):
        while not (found := await what()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


class Upstream:
    """Answers with an event stream."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.port = 0
        self.left = asyncio.Event()
        """A held stream was given up."""
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                self._chunk(writer, FIRST)
                await writer.drain()
                if b" /held" in head.partition(b"\r\n")[0]:
                    gone = asyncio.ensure_future(reader.read(1))
                    told = asyncio.ensure_future(self.release.wait())
                    await asyncio.wait((gone, told), return_when=asyncio.FIRST_COMPLETED)
                    has_left = gone.done()
                    for each in (gone, told):
                        each.cancel()
                    await asyncio.gather(gone, told, return_exceptions=True)
                    if has_left:
                        self.left.set()
                        return
                self._chunk(writer, REST)
                self._chunk(writer, b"")
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()

    def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._handlers):
                task.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def fetched(port: int, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        got = connection.getresponse()
        return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
    finally:
        connection.close()


class Caller:
    """One request, and its answer as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def ask(cls, port: int, path: str = CHAT, headers: str = "", **options: Any) -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}"
        writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        return cls(reader, writer)

    async def first(self) -> None:
        """The answer's first event has come."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reader.readuntil(FIRST)

    async def rest(self) -> bytes:
        """All that is still to come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._reader.read()
        except ConnectionError:
            return b""
        finally:
            self._writer.close()


async def streamed(port: int, path: str = CHAT) -> bool:
    """Whether a whole stream came."""
    try:
        caller = await Caller.ask(port, path)
    except OSError:
        return False
    return (await caller.rest()).endswith(b"0\r\n\r\n")


def environment(**variables: str) -> dict[str, str]:
    """Nothing is set, whatever is where the tests run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
    ours.pop("PYTHONPATH", None)
    return {**ours, "PYTHONWARNINGS": "error", **variables}


class Proxy:
    """`python -m streamgauge proxy`, started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.scheme = ""
        self.port = self.admin = 0
        self.told = ""
        """The end of its first line."""
        self.log: list[str] = []
        self._logged = asyncio.Condition()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._logged:
                self.log.append(line.decode().rstrip())
                self._logged.notify_all()

    async def logged(self, pattern: str) -> str:
        """The first line of the log that has this."""

        def found() -> list[str]:
            return [line for line in self.log if re.search(pattern, line)]

        async with self._logged, asyncio.timeout(PATIENCE_S):
            await self._logged.wait_for(found)
            return found()[0]

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        """The processes that it has started."""
        found: list[int] = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
        return sorted(found)

    def tell(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await self._reading
        return code

    async def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """From the admin port."""
        return await asyncio.to_thread(fetched, self.admin, path, headers, method)

    async def numbers(self) -> Numbers:
        answer = await self.get("/metrics", {"Accept": OPENMETRICS})
        assert answer.status == 200
        return Numbers(answer.body.decode())

    async def draining(self) -> None:
        async def is_draining() -> bool:
            return (await self.get("/readyz")).status == 503

        await until(is_draining)


class Numbers:
    """A page of `/metrics`; reading it proves that it is OpenMetrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )

    @property
    def totals(self) -> dict[tuple[Any, ...], float]:
        """All that may only grow."""
        ends = ("_total", "_count", "_sum", "_bucket")
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for sample in self.samples
            if sample.name.endswith(ends)
        }


def stuck_dialect(folder: Path) -> None:
    """Install one that holds the event loop until there is a file `released`."""
    package = folder / "stuck-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stuck\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[streamgauge.dialects]\nstuck = stuck:Stuck\n")
    (folder / "stuck.py").write_text(
        "import os, time\nfrom streamgauge import Dialect\n"
        "class Stuck(Dialect):\n    name = 'stuck'\n    framing = 'sse'\n"
        "    def feed(self, data, at):\n"
        "        while not os.path.exists('released'):\n            time.sleep(0.01)\n        return ()\n"
    )


@asynccontextmanager
async def proxy(*arguments: str, cwd: Path, first: str = "", **variables: str) -> AsyncIterator[Proxy]:
    """Started, and killed at the end where it still runs.

    Args:
        first: statements that it runs before all else.
    """
    program = ("-c", f"import sys; {first}; from streamgauge.cli import main; sys.exit(main())")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *(program if first else ("-m", "streamgauge")), "proxy", "--port", "0", "--admin-port", "0",
        *arguments,
        cwd=cwd, env=environment(**variables), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Proxy(process)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = (await process.stdout.readline()).decode()
        match = _LINE.fullmatch(line.rstrip())
        assert match is not None, (line, running.log)
        running.scheme, running.told = match[1], match[6]
        running.port, running.admin = int(match[3]), int(match[5])
        yield running
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await running._reading
        assert await process.stdout.read() == b"", "one line, and no more"


def alive(pid: int) -> bool:
    """Whether it still runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
