"""shipit_agent's packets over a WebSocket, from shipit-agent 2.2.1 `chat_session.py` and `packets.py`: the turns of a
connection, and that each is told as over server-sent events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects import find
from streamgauge.dialects.shipit_agent_socket import ShipitAgentSocket

from .message_streams import FINISH, UNTOLD, anything, lines, mixed, replayed, sent, sound, streams, told_twice


def told(type_: str, message: str = "", **payload: Any) -> dict[str, Any]:
    return {"type": type_, "message": message, "payload": payload, "timestamp": None}


def packet(event: Any) -> dict[str, Any]:
    return {"type": "agent_event", "packet_type": "agent_event", "event_type": event["type"], "event": event}


def result(*events: Any) -> dict[str, Any]:
    return {"type": "agent_result", "packet_type": "agent_result", "result": {"output": "a", "events": list(events)}}


STARTED = packet(told("run_started", run_id="1", session_id="s1"))
STEP = packet(told("step_started", iteration=1))
TEXT = packet(told("text_delta", chunk="a"))
COMPLETED = packet(told("run_completed"))
CANCELLED = packet(told("run_cancelled"))
PROMPT = sent("hello")
OPEN = ["@1 + invoke_agent", "@2 note s1"]

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "a turn": ([PROMPT, STARTED, TEXT, COMPLETED, TEXT], [*OPEN, "@3 text a", "@4 -"]),
    "two turns": (
        [PROMPT, STARTED, COMPLETED, sent({"prompt": "x"}), STARTED, COMPLETED],
        [*OPEN, "@3 -", "@4 + invoke_agent", "@5 note s1", "@6 -"],
    ),
    "in a trace": ([sent({"prompt": "x", "traceparent": "00-x"})], ["@1 + invoke_agent <00-x"]),
    "nobody asked": ([STARTED, TEXT, COMPLETED], ["@1 + invoke_agent", "@1 note s1", "@2 text a", "@3 -"]),
    "without packets": ([PROMPT, STARTED["event"], TEXT["event"], COMPLETED["event"]], [*OPEN, "@3 text a", "@4 -"]),
    "failed": (
        [PROMPT, STARTED, packet(told("run_failed", error_type="ValueError", error="m"))],
        [*OPEN, "@3 - failed ValueError: m"],
    ),
    "a message waits": (
        [PROMPT, STARTED, sent("more"), TEXT, COMPLETED, STARTED, COMPLETED],
        [*OPEN, "@4 text a", "@5 -", "@5 + invoke_agent", "@6 note s1", "@7 -"],
    ),
    "a message interrupts": (
        [PROMPT, STARTED, TEXT, sent("more"), CANCELLED, STARTED, COMPLETED],
        [*OPEN, "@3 text a", "@5 note by input", "@5 - cancelled", "@5 + invoke_agent", "@6 note s1", "@7 -"],
    ),
    "a message interrupts, without a word": (
        [PROMPT, STARTED, TEXT, sent("more"), STARTED, TEXT, COMPLETED],
        [*OPEN, "@3 text a", "@3 note by input", "@3 - cancelled", "@4 + invoke_agent", "@5 note s1", "@6 text a",
         "@7 -"],
    ),
    "it is told to stop": (
        [PROMPT, STARTED, sent({"type": "stop"}), CANCELLED], [*OPEN, "@4 note by cancel", "@4 - cancelled"],
    ),
    "it is told to stop, and just ends": (
        [PROMPT, STARTED, TEXT, sent({"type": "cancel"}), FINISH],
        [*OPEN, "@3 text a", "@5 note by cancel", "@5 - cancelled"],
    ),
    "it stops by itself": ([PROMPT, STARTED, CANCELLED], [*OPEN, "@3 - cancelled"]),
    "pings": (
        [sent({"type": "ping"}), PROMPT, STARTED, sent({"type": "ping"}), CANCELLED],
        ["@2 + invoke_agent", "@3 note s1", "@5 - cancelled"],
    ),
    "agent_result": (
        [PROMPT, result(told("run_started", run_id="1", session_id="s1"), told("step_started", iteration=1),
                        told("text_delta", chunk="a"), told("tool_called", "ls", tool="ls", call_id="t1"),
                        told("tool_completed", "ls", tool="ls", call_id="t1"), told("run_completed", output="a"))],
        ["@1 + invoke_agent", "@2 note s1", "@2 +/step step 1", "@2 +/call chat </step", "@2 -/call",
         "@2 +/tool/t1 execute_tool ls </step t1", "@2 -/tool/t1", "@2 -/step", "@2 -"],
    ),
    "agent_result: without events": ([PROMPT, result()], ["@1 + invoke_agent", "@2 -"]),
    "agent_result: nobody asked": ([result()], ["@1 + invoke_agent", "@1 -"]),
    "cut": (
        [PROMPT, STARTED, STEP, TEXT, FINISH],
        [*OPEN, "@3 +/step step 1", "@3 +/call chat </step", "@4 text /call a"],
    ),
    "left": ([PROMPT, STARTED, TEXT, UNTOLD], [*OPEN, "@3 text a"]),
    "unknown": ([{}, "no JSON", "[]", b"\xff", TEXT, packet({"type": "tomorrow"})], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(ShipitAgentSocket(), messages) == expected


def test_its_events_are_those_of_a_stream_and_the_callers() -> None:
    stream = find("shipit-agent")
    assert stream is not None
    assert set(ShipitAgentSocket.events) == {*stream.events, "sent"}


@pytest.mark.parametrize(
    "path",
    streams(
        "shipit-session-*",
        "shipit-[op]*",
        "shipit-chat-session-*",
        "shipit-t[ow]*",
        "shipit-llm-*",
        "shipit-agent-stream_sse",
    ),
)
def test_a_turn_is_told_as_over_server_sent_events(path: Path) -> None:
    """Of real sequences."""
    first, second = told_twice(path, ShipitAgentSocket(), "hello", lambda event: json.dumps(packet(_event(event))))
    assert len(first) > 2
    assert second == first


def _event(value: Any) -> Any:
    """A captured frame of `stream_packets`, or the event itself."""
    if isinstance(value, str):
        data = "".join(line[5:] for line in value.splitlines() if line.startswith("data:"))
        value = json.loads(data) if data else {}
    return {"type": "", **value}


@given(anything(
    ["type", "event", "payload", "message", "result", "events", "run_id", "iteration", "chunk", "tool", "call_id",
     "output"],
    [*ShipitAgentSocket.events, "a"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(ShipitAgentSocket(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(ShipitAgentSocket(), messages)


def test_a_chat_session() -> None:
    seen = replayed("shipit-agent-socket-session")
    assert [line.strip() for line in seen.tree() if not line.startswith("    ")] == [
        "session shipit-agent-socket", "invoke_agent", "invoke_agent",
    ]  # fmt: skip
    below = [span for span in seen.spans if span["name"] != "session shipit-agent-socket"]
    assert {span["attributes"]["streamgauge.outcome"] for span in below} == {"completed"}
