"""The table of what JAF's server answers, from jaf-py 2.6.22: `jaf/server/server.py`, `jaf/server/types.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import by_path, find
from streamgauge.dialects.jaf import Jaf
from streamgauge.dialects.jaf_http import JafHttp
from streamgauge.wire import Granularity, ServerSentEvent

from .agent_streams import JUNK, check_any, check_wire, sse, told, wire_files


def event(type_: str, **data: Any) -> dict[str, Any]:
    return {"type": type_, "data": data, "timestamp": None}


def framed(type_: str, **data: Any) -> ServerSentEvent:
    """As Python 3.11 and later name the member of an enumeration."""
    return sse(event(type_, **data), f"StreamingEventType.{type_.upper()}")


START = 'stream_start data: {"runId": "r", "traceId": "t", "conversationId": "conv", "agent": "helper"}'
FIRST = sse(event("start", agent_name="helper"), f"{START}event: StreamingEventType.START")
CALL = framed("tool_call", tool_name="search", arguments={"q": 1}, call_id="c1")

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "stream_start": (
        [FIRST],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <"],
    ),
    "stream_start: a frame of its own": (
        [sse({"runId": "r", "conversationId": "c", "agent": "a"}, "stream_start"), framed("start", agent_name="a")],
        ["@1 note c a", "@2 note a", "@2 +step:1 step 1 <"],
    ),
    "stream_start: none": (
        [framed("start", agent_name="a"), framed("chunk", delta="x")],
        ["@1 note a", "@1 +step:1 step 1 <", "@2 -step:1", "@2 text x"],
    ),
    "stream_start: nothing follows but an error": (
        [sse({"message": "no such provider"}, START + "event: error")],
        ["@1 note conv helper", "@1 - failed: no such provider"],
    ),
    "stream_start: that is none": (
        [sse({"type": "start", "data": {}}, "stream_start data: {}event: {x}")],
        ["@1 +step:1 step 1 <"],
    ),
    "start": (
        [FIRST, framed("start", agent_name="b")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 note b"],
    ),
    "chunk": (
        [FIRST, framed("chunk", content="Hel", delta="Hel"), framed("chunk", content="Hello", delta="lo")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 -step:1", "@2 text Hel", "@3 text lo"],
    ),
    "tool_call": (
        [FIRST, CALL],
        [
            "@1 note conv helper",
            "@1 note helper",
            "@1 +step:1 step 1 <",
            '@2 +tool:c1 execute_tool search <step:1 c1 function {"q": 1}',
        ],
    ),
    "tool_result": (
        [FIRST, CALL, framed("tool_result", call_id="c1", result="ok", status="success")],
        [
            "@1 note conv helper",
            "@1 note helper",
            "@1 +step:1 step 1 <",
            '@2 +tool:c1 execute_tool search <step:1 c1 function {"q": 1}',
            "@3 note tool:c1 ok",
            "@3 -tool:c1",
        ],
    ),
    "agent_switch": (
        [FIRST, framed("agent_switch")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 note jaf.agent_switch"],
    ),
    "metadata": (
        [FIRST, framed("metadata", model_name="m"), framed("metadata", model_name="default")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 note m"],
    ),
    "complete": (
        [FIRST, framed("complete", content=""), sse({"ended": True}, "stream_end")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 -step:1", "@2 -"],
    ),
    "error": (
        [FIRST, framed("error", _tag="MaxTurnsExceeded", turns=3), sse({"ended": True}, "stream_end")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 - failed MaxTurnsExceeded"],
    ),
    "error: the server's own": (
        [FIRST, sse({"message": "it broke"}, "error"), sse({"ended": True}, "stream_end")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <", "@2 - failed: it broke"],
    ),
    "stream_end": (
        [FIRST, sse({"ended": True}, "stream_end")],
        ["@1 note conv helper", "@1 note helper", "@1 +step:1 step 1 <"],
    ),
    "a capture's events": (
        [event("start", agent_name="a"), event("chunk", delta="x"), event("complete")],
        ["@1 note a", "@1 +step:1 step 1 <", "@2 -step:1", "@2 text x", "@3 -"],
    ),
    "no event": (
        [None, 1, [], {}, sse("not json"), sse(5), sse("")],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(JafHttp(), events) == expected


def answered(success: bool = True, refusal: Any = None, **outcome: Any) -> dict[str, Any]:
    data = {"run_id": "r", "messages": [], "outcome": outcome, "turn_count": 1, "conversation_id": "conv"}
    return {"success": success, "data": data if success else None, "error": refusal}


ANSWERS: dict[str, tuple[Any, list[str]]] = {
    "completed": (answered(status="completed", output="Hi"), ["@1 note conv", "@1 -"]),
    "an error": (
        answered(status="error", error={"type": "ModelBehaviorError", "message": "again"}),
        ["@1 note conv", "@1 - failed ModelBehaviorError: again"],
    ),
    "an error in words": (answered(status="error", error="no"), ["@1 note conv", "@1 - failed: no"]),
    "an error of another form": (
        answered(status="error", error={"turns": 3}),
        ["@1 note conv", '@1 - failed: {"turns": 3}'],
    ),
    "too many turns": (answered(status="max_turns"), ["@1 note conv", "@1 - failed max_turns"]),
    "interrupted": (
        answered(status="interrupted", interruptions=[{"type": "tool_approval"}]),
        ["@1 note conv", "@1 note person.asked", "@1 -"],
    ),
    "no success": (answered(False, "Agent 'x' not found"), ["@1 - failed: Agent 'x' not found"]),
    "no answer": ({}, ["@1 -"]),
    "no object": (5, []),
}


@pytest.mark.parametrize(("body", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_a_plain_answer_has_no_chunks(body: Any, expected: list[str]) -> None:
    assert told(JafHttp(), [json.dumps(body).encode()]) == expected


def test_every_event_of_the_source_has_words() -> None:
    assert set(JafHttp.events) == set(Jaf.events) | {"stream_start", "stream_end"}
    assert {row.partition(":")[0] for row in ROWS} >= set(JafHttp.events)


def test_what_it_says_of_itself() -> None:
    assert find("jaf-http") is JafHttp
    assert (JafHttp.terminal, JafHttp.granularity, JafHttp.framing) == (True, Granularity.SLICED, "sse")
    assert [by_path(path) for path in ("/chat", "/agents/helper/chat", "/approvals/stream")] == [
        "jaf-http", "jaf-http", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "agent"),
    [
        ("/chat", {"agent_name": "helper", "conversation_id": "conv"}, "helper"),
        ("/agents/other/chat", {"agent_name": "helper", "conversation_id": "conv"}, "other"),
        ("/chat", {"conversation_id": "conv"}, ""),
    ],
)
def test_what_a_request_tells(path: str, body: Any, agent: str) -> None:
    expected = {"operation": "invoke_agent", "agent_name": agent, "conversation_id": "conv"}
    assert JafHttp.asked(path, body) == expected
    assert JafHttp.asked("/chat", None)["agent_name"] == ""


@pytest.mark.parametrize("path", wire_files("jaf-http"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, JafHttp)


TYPES = st.sampled_from([*JafHttp.events, f"{START}event: error", START])
FIELDS = st.dictionaries(st.sampled_from(["call_id", "tool_name", "delta", "agent_name", "_tag", "message"]), JUNK)
LIKELY = st.builds(lambda type_, data, name: sse(event(type_, **data), name), TYPES, FIELDS, TYPES)


@given(st.lists(LIKELY | JUNK | st.binary(max_size=5) | st.builds(sse, JUNK, TYPES), max_size=30))
def test_anything(events: list[Any]) -> None:
    dialect = JafHttp()
    check_any(dialect, events)
