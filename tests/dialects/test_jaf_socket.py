"""JAF's events over a WebSocket, from jaf-py 2.6.22 `jaf/core/streaming.py`: the turns of a connection, and that each
is told as over server-sent events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from streamgauge import semconv
from streamgauge.dialects._jaf_stream import STREAMED
from streamgauge.dialects.jaf_socket import JafSocket
from streamgauge.signals import Noted

from .message_streams import FINISH, UNTOLD, anything, lines, mixed, replayed, sent, sound, streams, told_twice


def event(type_: str, **data: Any) -> dict[str, Any]:
    return {"type": type_, "data": data, "timestamp": None, "run_id": "1", "trace_id": "2"}


START, COMPLETE = event("start", agent_name="support"), event("complete", content="ab", delta="")
CHUNK = event("chunk", content="a", delta="a")
ASK = sent({"message": "x"})
OPEN = ["@1 + invoke_agent", "@2 note support", "@2 +step:1 step 1"]

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "a turn": ([ASK, START, CHUNK, COMPLETE, CHUNK], [*OPEN, "@3 -step:1", "@3 text a", "@4 -"]),
    "a turn: whose": (
        [sent({"message": "x", "agent_name": "a1", "conversation_id": "c1"})], ["@1 + invoke_agent a1 c1"],
    ),
    "a turn: in a trace": ([sent({"traceparent": "00-x"})], ["@1 + invoke_agent <00-x"]),
    "a tool": (
        [ASK, START, event("tool_call", tool_name="ls", call_id="t1", arguments={}),
         event("tool_result", tool_name="ls", call_id="t1", result="r", status="completed"), COMPLETE],
        [*OPEN, "@3 +tool:t1 execute_tool ls <step:1 t1 function {}", "@4 note tool:t1 r", "@4 -tool:t1", "@4 -step:1",
         "@4 +step:2 step 2", "@5 -step:2", "@5 -"],
    ),
    "failed": (
        [ASK, START, event("error", error_type="ModelBehaviorError", detail="m")],
        [*OPEN, "@3 - failed ModelBehaviorError: m"],
    ),
    "nobody asked": (
        [START, COMPLETE],
        ["@1 + invoke_agent", "@1 note support", "@1 +step:1 step 1", "@2 -step:1", "@2 -"],
    ),
    "two turns": (
        [ASK, START, COMPLETE, ASK, START, COMPLETE],
        [*OPEN, "@3 -step:1", "@3 -", "@4 + invoke_agent", "@5 note support", "@5 +step:1 step 1",
         "@6 -step:1", "@6 -"],
    ),
    "a message waits": (
        [ASK, START, ASK, COMPLETE, START, COMPLETE],
        [*OPEN, "@4 -step:1", "@4 -", "@4 + invoke_agent", "@5 note support", "@5 +step:1 step 1",
         "@6 -step:1", "@6 -"],
    ),
    "a message interrupts": (
        [ASK, START, CHUNK, ASK, START, COMPLETE],
        [*OPEN, "@3 -step:1", "@3 text a", "@3 note by input", "@3 - cancelled", "@4 + invoke_agent", "@5 note support",
         "@5 +step:1 step 1", "@6 -step:1", "@6 -"],
    ),
    "pings": ([sent({"type": "ping"}), ASK, sent({"type": "ping"}), START],
              ["@2 + invoke_agent", "@4 note support", "@4 +step:1 step 1"]),
    "cut": ([ASK, START, CHUNK, FINISH], [*OPEN, "@3 -step:1", "@3 text a"]),
    "left": ([ASK, START, CHUNK, UNTOLD], [*OPEN, "@3 -step:1", "@3 text a"]),
    "unknown": ([{}, "no JSON", "[]", b"\xff", CHUNK, COMPLETE], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(JafSocket(), messages) == expected


def test_its_events_are_those_of_a_stream_and_the_callers() -> None:
    assert set(JafSocket.events) == {*STREAMED, "sent"}


@pytest.mark.parametrize("path", streams("jaf-http-*"))
def test_a_turn_is_told_as_by_jafs_server(path: Path) -> None:
    """But for the conversation and the agent, which the server's first frame tells, and here the caller's message."""
    first, second = told_twice(path, JafSocket(), {"message": "x"}, json.dumps)
    told = [
        each for each in first if not (isinstance(each, Noted) and semconv.GEN_AI_CONVERSATION_ID in each.attributes)
    ]
    assert len(told) > 2
    assert second == told


@given(anything(
    ["type", "data", "timestamp", "delta", "agent_name", "tool_name", "call_id", "arguments", "status", "result"],
    [*JafSocket.events, "t1", "completed"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(JafSocket(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(JafSocket(), messages)


def test_a_connection() -> None:
    seen = replayed("jaf-socket-tool")
    assert [line for line in seen.tree() if "step" not in line and "tool" not in line] == [
        "session jaf-socket", "  invoke_agent support", "  invoke_agent support",
    ]  # fmt: skip
    outcomes = [span["attributes"]["streamgauge.outcome"] for span in seen.spans if "invoke" in span["name"]]
    assert outcomes == ["completed", "failed"]
