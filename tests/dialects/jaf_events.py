"""JAF's events, and what the tables of its dialects share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hypothesis import strategies as st

from streamgauge.semconv import (
    CHAT,
    GEN_AI_AGENT_NAME,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_CALL_RESULT,
    GEN_AI_TOOL_TYPE,
    STEP,
    STREAMGAUGE_STREAM_GRANULARITY,
)
from streamgauge.signals import (
    RUN,
    TEXT,
    Chunk,
    Noted,
    Opened,
    Signal,
)
from streamgauge.wire import Aside, ServerSentEvent

AT = 7_000_000_000


class StreamingEventType(str, Enum):  # noqa: UP042 (as JAF has it)
    START = "start"
    CHUNK = "chunk"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    AGENT_SWITCH = "agent_switch"
    ERROR = "error"
    COMPLETE = "complete"
    METADATA = "metadata"


@dataclass(frozen=True)
class StreamingEvent:
    type: Any
    data: Any
    timestamp: Any = None


@dataclass(frozen=True)
class StreamingChunk:
    content: str
    delta: str


@dataclass(frozen=True)
class TraceEvent:
    type: str
    data: Any


class Fields:
    """An object with these attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def event(type_: str, /, **data: Any) -> dict[str, Any]:
    return {"type": type_, "data": data, "timestamp": None}


def feed(dialect: Any, *events: Any, at: int = AT) -> list[Signal]:
    """What all of `events` tell, each a nanosecond after the other."""
    return [signal for i, data in enumerate(events) for signal in dialect.feed(data, at + i)]


def last(dialect: Any, *events: Any) -> list[Signal]:
    """What the last of `events` tells, at `AT`."""
    for data in events[:-1]:
        dialect.feed(data, AT)
    return list(dialect.feed(events[-1], AT))


def model(name: str, call: str = "1", **data: Any) -> Aside:
    return Aside(f"model.{name}", {"call": call, **data})


def granular(key: str, granularity: str, at: int = AT) -> Noted:
    return Noted(key, at, {STREAMGAUGE_STREAM_GRANULARITY: granularity})


def tool_attributes(call_id: str | None, arguments: str | None) -> dict[str, Any]:
    return {
        GEN_AI_TOOL_CALL_ID: call_id,
        GEN_AI_TOOL_TYPE: "function",
        GEN_AI_TOOL_CALL_ARGUMENTS: arguments,
    }


START = event("start", agent_name="a1", model_name="unknown", turn_count=0)
CALL = event("tool_call", tool_name="search", arguments={"q": "x"}, call_id="c1", status="started")
RESULT = event("tool_result", tool_name="search", call_id="c1", result="ok", status="success")
OPENED_STEP = Opened("step:1", AT, STEP, "1")


def failure(hitl_status: str) -> str:
    return json.dumps({"hitl_status": hitl_status, "message": "it broke", "tool_name": "search"})


def result_told(result: Any) -> Noted:
    return Noted("tool:c1", AT, {GEN_AI_TOOL_CALL_RESULT: result})


OPENED = model("opened", model="m", agent="a1", stream=True, turn=0)
CHAT_1 = [
    Opened("model:1", AT, CHAT, "m", "step:1", {GEN_AI_AGENT_NAME: "a1"}),
    granular("model:1", "token"),
]
FIRST_PIECE = [granular(RUN, "token"), Chunk("model:1", AT, TEXT, "Hel")]
HEL = model("chunk", kind="text", text="Hel")
CLOSED_1 = model("closed", tool_calls=[])
ASKS = model("closed", tool_calls=["c1"])


def types_of(rows: list[Any]) -> set[str]:
    """The event types of a table's rows."""
    return {data["type"] for _, data, _ in rows if isinstance(data, dict)} - {"something_new"}


_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3))
_NAMES = """type data timestamp run_id call_id call turn tool_calls usage delta message content function arguments
choice outcome error status result error_details stream kind text"""
NAMES = st.sampled_from(_NAMES.split())
JUNK = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


def any_event(types: Iterable[str]) -> st.SearchStrategy[Any]:
    """Anything, and what looks like an event or an aside of one of these types."""
    kinds = st.sampled_from([*types, *(f"model.{n}" for n in ("opened", "chunk", "retried", "closed"))])
    return st.one_of(
        JUNK,
        st.builds(lambda type_, data: {"type": type_, "data": data, "timestamp": 1.0}, kinds, JUNK),
        st.builds(StreamingEvent, kinds | JUNK, JUNK, _LEAVES),
        st.builds(Aside, kinds | st.sampled_from(["run.speaks", "run.called", "run.closed"]), JUNK),
        st.builds(lambda data, type_: ServerSentEvent(json.dumps(data, default=str), type_), JUNK, kinds),
    )
