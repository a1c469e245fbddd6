"""A real MCP server's process and its real client: bare and through `streamgauge exec`, the same transcript, and what
that tells."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import mcp
import mcp_types
import pytest
from mcp.client.stdio import stdio_client
from opentelemetry import trace

from interop_sdks.calling import dumped
from streamgauge import capture, testing
from streamgauge.replay import replay

SERVER = (sys.executable, str(Path(__file__).with_name("scripted_mcp.py")))
EXEC = (sys.executable, "-m", "streamgauge", "exec", "--dialect", "mcp-stdio", "--capture")
PATIENCE_S = 30.0
LEGACY, CURRENT = "legacy", "auto"
"""How the client begins: with `initialize`, up to 2025-11-25, or with `server/discover`, from 2026-07-28 on."""


class Caller:
    """A program that calls the server's tools. Its transcript is all that it gets."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.got: list[Any] = []

    async def person(self, context: Any, params: Any) -> mcp_types.ElicitResult:
        self.got.append(("asked", params.message))
        return mcp_types.ElicitResult(action="accept", content={"sure": True})

    async def model(self, context: Any, params: Any) -> mcp_types.CreateMessageResult:
        self.got.append(("thinks", params.max_tokens))
        hello = mcp_types.TextContent(type="text", text="Hello")
        return mcp_types.CreateMessageResult(role="assistant", content=hello, model="m")

    async def progress(self, done: float, total: float | None, message: str | None) -> None:
        self.got.append(("progress", done, total))

    async def calls(self, client: mcp.Client, *tools: str, **given: Any) -> None:
        for tool in tools:
            try:
                result = await client.call_tool(tool, given or None, progress_callback=self.progress)
                self.got.append(dumped(result))
            except mcp.MCPError as error:
                self.got.append((error.code, error.message))

    async def cancels(self, client: mcp.Client) -> None:
        """A call that has begun."""
        begun = asyncio.Event()

        async def progress(*_: Any) -> None:
            begun.set()

        call = asyncio.create_task(client.call_tool("hang", progress_callback=progress))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        self.got.append("cancelled")

    async def plays(self, command: tuple[str, ...]) -> list[Any]:
        known = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
        server = mcp.StdioServerParameters(command=command[0], args=list(command[1:]), env=known)
        client = mcp.Client(
            stdio_client(server), mode=self.mode, elicitation_callback=self.person, sampling_callback=self.model
        )
        async with asyncio.timeout(PATIENCE_S), client:
            self.got.append((client.protocol_version, [tool.name for tool in (await client.list_tools()).tools]))
            await self.calls(client, "count", to=3)
            await self.calls(client, "broken", "unknown", "book", "think")
            await self.cancels(client)
            await self.calls(client, "count", to=1)
        return self.got


@pytest.mark.parametrize("mode", [LEGACY, CURRENT])
async def test_watched(mode: str, tmp_path: Path) -> None:
    bare = await Caller(mode).plays(SERVER)
    file = tmp_path / "capture.ndjson"
    assert await Caller(mode).plays((*EXEC, str(file), "--", *SERVER)) == bare
    assert ("progress", 3.0, 3.0) in bare
    assert ("asked", "Are you sure?") in bare
    session, *runs = sorted(replayed(file).spans, key=lambda span: span["start"])
    assert session["attributes"]["process.exit.code"] == 0
    assert session["attributes"]["streamgauge.outcome"] == "completed"
    assert {run["parent_id"] for run in runs} == {session["span_id"]}
    thinks = ("completed", None) if mode == LEGACY else ("failed", "-32600")  # a current server has no way to ask
    again = [("execute_tool book", "completed", None)] if mode == CURRENT else []
    assert [(run["name"], *facts(run, "streamgauge.outcome", "error.type")) for run in runs] == [
        ("rpc initialize" if mode == LEGACY else "rpc server/discover", "completed", None),
        ("rpc tools/list", "completed", None),
        ("execute_tool count", "completed", None),
        ("execute_tool broken", "failed", "tool_error"),
        ("execute_tool unknown", "failed", "tool_error"),
        ("execute_tool book", "completed", None),
        *again,
        ("execute_tool think", *thinks),
        ("execute_tool hang", "cancelled", None),
        ("execute_tool count", "completed", None),
    ]
    assert facts(runs[-2], "streamgauge.interrupted_by") == ["cancel"]
    book = next(run for run in runs if run["name"] == "execute_tool book")
    persons = [event["name"] for event in book["events"]]
    assert persons == ["streamgauge.person.asked", "streamgauge.person.answered"][: 2 if mode == LEGACY else 1]
    ids = [run["attributes"]["jsonrpc.request.id"] for run in runs]
    assert ids == [str(number) for number in range(1, len(runs) + 1)]


def replayed(file: Path) -> testing.Seen:
    with testing.recording() as seen:
        replay(capture.read(file), seen.pipeline)
    assert not seen.open
    return seen


def facts(span: dict[str, Any], *names: str) -> list[Any]:
    return [span["attributes"].get(name) for name in names]


async def test_a_call_is_below_what_calls_it(tmp_path: Path) -> None:
    """The client puts what is current in each request."""
    outer = trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    file = tmp_path / "capture.ndjson"
    with trace.use_span(trace.NonRecordingSpan(outer)):
        await Caller(LEGACY).plays((*EXEC, str(file), "--", *SERVER))
    spans = replayed(file).spans
    (session,) = [span for span in spans if span["name"].startswith("session")]
    calls = [span for span in spans if span["name"].startswith("execute_tool")]
    assert len(calls) == 7
    assert {(call["trace_id"], call["parent_id"]) for call in calls} == {(f"{0xABC:032x}", f"{0xDEF:016x}")}
    assert {link["span_id"] for call in calls for link in call["links"]} == {session["span_id"]}


async def gone(command: tuple[str, ...]) -> Any:
    """What the client has of a server that dies in mid-call."""
    server = mcp.StdioServerParameters(command=command[0], args=list(command[1:]), env=dict(os.environ))
    async with asyncio.timeout(PATIENCE_S), stdio_client(server) as streams, mcp.ClientSession(*streams) as session:
        with pytest.raises(mcp.MCPError) as caught:
            await session.initialize()
    return caught.value.code, caught.value.message


async def test_the_server_dies(tmp_path: Path) -> None:
    dies = (sys.executable, "-c", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)")
    file = tmp_path / "capture.ndjson"
    assert await gone((*EXEC, str(file), "--", *dies)) == await gone(dies)
    (run,) = [span for span in replayed(file).spans if span["name"] == "rpc initialize"]
    assert facts(run, "streamgauge.outcome", "error.type") == ["failed", "SIGKILL"]


STAYS = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.write(1, b'{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}\\n')
with open(sys.argv[1], "w") as counts:
    counts.write(signal.Signals(signal.sigwait({signal.SIGTERM})).name)
    counts.write(" again" if signal.sigtimedwait({signal.SIGTERM}, 0.3) else "")
"""


async def stays(command: tuple[str, ...], counts: Path) -> str:
    """A server that does not end with its input: after 2 s the client sends SIGTERM to its process group."""
    server = mcp.StdioServerParameters(command=command[0], args=[*command[1:], str(counts)], env=dict(os.environ))
    async with asyncio.timeout(PATIENCE_S), stdio_client(server) as (read, _):
        await anext(read)
    return await asyncio.to_thread(counts.read_text)


async def test_the_server_stays(tmp_path: Path) -> None:
    command = (sys.executable, "-IS", "-c", STAYS)
    file = tmp_path / "capture.ndjson"
    bare, watched = stays(command, tmp_path / "bare"), stays((*EXEC, str(file), "--", *command), tmp_path / "watched")
    assert await asyncio.gather(bare, watched) == ["SIGTERM", "SIGTERM"]
    (session,) = replayed(file).spans
    assert facts(session, "process.exit.code") == [0]
