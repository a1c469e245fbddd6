"""The real zag-agent package, whose executable is `streamgauge exec` before a stand-in for zag: the same transcript as
with the stand-in alone, and what it tells. A real collector's side receives that over OTLP.

Also `streamgauge.stdio` under the binding: it starts its processes by asyncio.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from zag import ZagBuilder, ZagError, capability_check
from zag.discover import get_all_capabilities

import streamgauge.stdio
from streamgauge import testing
from telemetry.parts import Receiver

EXEC = (sys.executable, "-m", "streamgauge", "exec", "--dialect", "zag-wire", "--")
PATIENCE_S = 30.0
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAND_IN = """#!{python} -IS
import json, os, signal, sys

def put(type_, **event):
    print(json.dumps(dict(type=type_, **event)), flush=True)

def usage(taken, given):
    return dict(input_tokens=taken, output_tokens=given, cache_read_tokens=1, cache_creation_tokens=0)

def text(words):
    return dict(type="text", text=words)

def says(*blocks, taken=7, given=2, **more):
    put("assistant_message", content=list(blocks), usage=usage(taken, given), **more)

def tool(id_, name, **more):
    says(text("Let me look."), dict(type="tool_use", id=id_, name=name, input=dict(command="ls")), **more)

def used(id_, name, **more):
    result = dict(success=True, output="a.txt", error=None, data=None)
    put("tool_execution", tool_name=name, tool_id=id_, input=None, result=result, **more)

index = 0

def turn(prompt):
    global index
    success = True
    put("init", model="claude-x", tools=["Bash"], working_directory="/w", metadata=dict(cwd="/w"))
    if prompt == "crash":
        says(text("partial"))
        sys.stderr.write("provider died")
        sys.exit(2)
    if prompt == "cut":
        says(text("partial"))
        sys.exit(0)
    if prompt == "hang":
        says(text("partial"))
        while True:
            signal.pause()
    if prompt == "tool":
        tool("toolu_1", "Bash")
        used("toolu_1", "Bash")
    if prompt == "agent":
        tool("toolu_1", "Task")
        tool("toolu_2", "Grep", parent_tool_use_id="toolu_1")
        used("toolu_2", "Grep", parent_tool_use_id="toolu_1")
        says(text("In line 41."), parent_tool_use_id="toolu_1")
        used("toolu_1", "Task")
    if prompt == "limited":
        put("usage_limit_detected", scope="five_hour", reset_at="2026-11-21T20:00:00Z", message="limit")
        success = False
    if prompt == "where":
        says(text(os.environ["TRACEPARENT"]))
    says(text("echo: " + prompt))
    put("turn_complete", stop_reason="end_turn" if success else None, turn_index=index, usage=usage(7, 2))
    put("result", success=success, message="echo: " + prompt, duration_ms=5, num_turns=1)
    index += 1

if sys.argv[1] == "discover":
    features = dict(streaming_input=dict(supported=True, semantics="queue"))
    print(json.dumps([dict(provider="claude", features=features)]))
    sys.exit(0)

if "stream-json" not in sys.argv:
    print(json.dumps(dict(agent="claude", session_id="s1", events=[], result="echo", is_error=False)))
    sys.exit(0)

turn(sys.argv[-1])
if "-i" in sys.argv:
    while line := sys.stdin.readline():
        content = json.loads(line)["content"]
        put("user_message", content=[text(content)])
        turn(content)
put("result", success=True, message=None, duration_ms=None, num_turns=None)
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@dataclass
class Zag:
    """What the binding is given as its executable: a script of two lines, as the how-to has it."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "script"

    def use(self, *before: str) -> None:
        """What the binding knows of the executable's capabilities, it has asked of the first."""
        stand_in = self.folder / "zag"
        stand_in.write_text(STAND_IN.replace("{python}", sys.executable))
        self.path.write_text(f'#!/bin/sh\nexec {shlex.join((*before, str(stand_in)))} "$@"\n')
        for each in (stand_in, self.path):
            each.chmod(0o755)


@pytest.fixture
def zag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Iterator[Zag]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("STREAMGAUGE_SHUTDOWN_TIMEOUT_S", "20")
    monkeypatch.setenv("TRACEPARENT", PARENT)
    made = Zag(tmp_path)
    monkeypatch.setenv("ZAG_BIN", str(made.path))
    yield made
    capability_check._clear_capability_cache()


def builder() -> ZagBuilder:
    return ZagBuilder().provider("claude").model("sonnet")


async def ended(events: AsyncIterator[Any]) -> list[Any]:
    """All that comes, and the error that ends it."""
    got: list[Any] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for event in events:
                got.append(event)
    except ZagError as error:
        got.append((str(error), error.exit_code, error.stderr))
    return got


class Told:
    """Spans that a collector got, of one process."""

    def __init__(self, receiver: Receiver) -> None:
        self.spans: list[Span] = []
        while not receiver.traces.empty():
            for resource in receiver.traces.get_nowait().resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.spans = sorted(self.spans, key=lambda span: span.start_time_unix_nano)
        self._known = {span.span_id: span for span in self.spans}

    def way(self, span: Span) -> str:
        above = self._known.get(span.parent_span_id)
        return span.name if above is None or above.name.startswith("session") else f"{self.way(above)} / {span.name}"

    @property
    def ways(self) -> list[str]:
        """Each span below the session. In no order: what is read at once begins at one time."""
        return sorted(self.way(span) for span in self.spans if not span.name.startswith("session"))

    @property
    def session(self) -> Span:
        (found,) = [span for span in self.spans if span.name.startswith("session")]
        return found

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [facts(span) for span in self.spans if span.parent_span_id == self.session.span_id]

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(run["streamgauge.outcome"], run.get("error.type", "")) for run in self.runs]


def facts(span: Span) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


RUN = "invoke_agent claude"
CHAT = f"{RUN} / chat claude-x"
TASK = f"{RUN} / execute_tool Task"
SUB_AGENT = f"{TASK} / invoke_agent"
ONE_CALL = [RUN, CHAT]
WITH_TOOL = [RUN, CHAT, CHAT, f"{RUN} / execute_tool Bash"]
WITH_AGENT = [
    RUN,
    CHAT,
    CHAT,
    TASK,
    SUB_AGENT,
    *[f"{SUB_AGENT} / chat claude-x"] * 2,
    f"{SUB_AGENT} / execute_tool Grep",
]


@pytest.mark.parametrize(
    ("prompt", "tree", "outcome"),
    [
        ("plain", ONE_CALL, ("completed", "")),
        ("tool", WITH_TOOL, ("completed", "")),
        ("agent", WITH_AGENT, ("completed", "")),
        ("limited", ONE_CALL, ("failed", "usage_limit")),
        ("crash", ONE_CALL, ("failed", "exit_2")),
        ("cut", ONE_CALL, ("truncated", "truncated")),
    ],
)
async def test_a_stream(prompt: str, tree: list[str], outcome: tuple[str, str], zag: Zag, receiver: Receiver) -> None:
    zag.use()
    bare = await ended(builder().stream(prompt))
    zag.use(*EXEC)
    assert await ended(builder().stream(prompt)) == bare
    told = Told(receiver)
    assert told.ways == sorted(tree)
    assert told.outcomes == [outcome]
    assert told.session.name == "session zag"
    assert facts(told.session)["process.exit.code"] == (2 if prompt == "crash" else 0)


async def test_the_trace_goes_through(zag: Zag, receiver: Receiver) -> None:
    """The caller's span is the session's parent, and what zag starts is below the session."""
    zag.use(*EXEC)
    events = await ended(builder().stream("where"))
    session = Told(receiver).session
    trace_id, parent = PARENT.split("-")[1:3]
    assert (session.trace_id.hex(), session.parent_span_id.hex()) == (trace_id, parent)
    said = next(event for event in events if event.type == "assistant_message")
    assert said.content[0].text == f"00-{trace_id}-{session.span_id.hex()}-01"


async def test_what_is_no_stream(zag: Zag) -> None:
    """The binding asks what a provider can do, and runs without streaming: its answers are the same."""
    zag.use()
    bare = await get_all_capabilities(str(zag.path)), await builder().exec("plain")
    zag.use(*EXEC)
    assert (await get_all_capabilities(str(zag.path)), await builder().exec("plain")) == bare
    assert bare[1].result == "echo"


async def three_turns() -> list[Any]:
    session = await builder().exec_streaming("plain")
    got: list[Any] = []
    for message in ("tool", "agent", ""):
        async for event in session.events():
            got.append(event)
            if event.type == "turn_complete":
                break
        if message:
            await session.send_user_message(message)
    session.close_input()
    got += await ended(session.events())
    await session.wait()
    return [*got, session.is_running]


async def test_three_turns(zag: Zag, receiver: Receiver) -> None:
    zag.use()
    bare = await three_turns()
    zag.use(*EXEC)
    assert await three_turns() == bare
    told = Told(receiver)
    assert told.ways == sorted([*ONE_CALL, *WITH_TOOL, *WITH_AGENT])
    assert told.outcomes == [("completed", "")] * 3
    assert [run["streamgauge.turn.index"] for run in told.runs] == [0, 1, 2]
    assert facts(told.session)["streamgauge.session.turns"] == 3


async def terminated() -> list[Any]:
    session = await builder().exec_streaming("hang")
    got: list[Any] = []
    async for event in session.events():
        got.append(event)
        if event.type == "assistant_message":
            session.terminate()
    with pytest.raises(ZagError) as caught:
        await session.wait()
    return [*got, caught.value.exit_code, caught.value.stderr]


async def test_it_is_terminated(zag: Zag, receiver: Receiver) -> None:
    zag.use()
    bare = await terminated()
    assert bare[-2] == -15
    zag.use(*EXEC)
    assert await terminated() == bare
    told = Told(receiver)
    assert told.outcomes == [("cancelled", "")]
    assert told.runs[0]["streamgauge.interrupted_by"] == "signal"


# Under the binding --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["started", "wrapped"])
async def test_processes_of_ours(way: str, zag: Zag, monkeypatch: pytest.MonkeyPatch) -> None:
    """The binding's own processes, watched in the program itself."""
    zag.use()
    bare = await three_turns()
    start = asyncio.create_subprocess_exec

    async def watched(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
        try:
            if way == "wrapped":
                return streamgauge.stdio.wrap(await start(*command, **options), dialect="zag-wire", agent_name="claude")
            return await streamgauge.stdio.create_subprocess_exec(
                *command, dialect="zag-wire", fields={"agent_name": "claude"}, **options
            )
        finally:
            monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    with testing.recording() as seen:
        assert await three_turns() == bare
        async with asyncio.timeout(PATIENCE_S):
            while seen.open:  # noqa: ASYNC110 (an exit and the end of output are told in either order)
                await asyncio.sleep(0)
        runs = [span for span in seen.spans if span["parent"] is not None and span["parent"].startswith("session")]
    assert [(run["name"], run["attributes"]["streamgauge.outcome"]) for run in runs] == [(RUN, "completed")] * 3
    assert sum(span["name"] == "execute_tool Bash" for span in seen.spans) == 1
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="output") > 0
