"""The tables of JAF's events, from jaf-py 2.6.22: core/streaming.py (`StreamingEventType`), core/types.py ("Trace event
types", `TraceEvent`), and the asides of the drop-in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import find
from streamgauge.dialects.jaf import Jaf, JafRun
from streamgauge.semconv import (
    CHAT,
    ERROR_TYPE,
    EXECUTE_TOOL,
    GEN_AI_AGENT_NAME,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_REQUEST_STREAM,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_CALL_RESULT,
    GEN_AI_TOOL_TYPE,
    INVOKE_AGENT,
    STEP,
    STREAMGAUGE_STREAM_GRANULARITY,
)
from streamgauge.signals import (
    PERSON_ASKED,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Opened,
    Retried,
    Signal,
    Usage,
)
from streamgauge.wire import Aside, Outcome, ServerSentEvent

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


# run_streaming ------------------------------------------------------------------------------------------------

STREAMED = [
    # the stream so far, the event, its signals
    ([], START, [Noted(RUN, AT, {GEN_AI_AGENT_NAME: "a1"}), OPENED_STEP]),
    ([START], START, [Noted(RUN, AT, {GEN_AI_AGENT_NAME: "a1"})]),
    ([], event("start"), [OPENED_STEP]),
    # The first slice: the last turn is over.
    ([START], event("chunk", content="Hel", delta="Hel"), [Closed("step:1", AT), Chunk(RUN, AT, TEXT, "Hel")]),
    ([START, event("chunk", delta="Hel")], event("chunk", delta="lo"), [Chunk(RUN, AT, TEXT, "lo")]),
    ([START, event("chunk", delta="Hel")], event("chunk", delta=""), []),
    ([START], event("chunk", delta=None), []),
    ([START], event("chunk", delta=5), []),
    (
        [START],
        CALL,
        [Opened("tool:c1", AT, EXECUTE_TOOL, "search", "step:1", tool_attributes("c1", '{"q": "x"}'))],
    ),
    (
        [START],
        event("tool_call", tool_name="search", arguments=None),
        [Opened("tool:search", AT, EXECUTE_TOOL, "search", "step:1", tool_attributes(None, None))],
    ),
    (
        [START],
        event("tool_call", tool_name="search", arguments={1: {2}, (3,): 4}, call_id="c1"),  # no JSON
        [Opened("tool:c1", AT, EXECUTE_TOOL, "search", "step:1", tool_attributes("c1", None))],
    ),
    ([START, CALL], RESULT, [result_told("ok"), Closed("tool:c1", AT)]),
    ([START], RESULT, []),
    (
        [START, CALL],
        event("tool_result", call_id="c1", result=failure("execution_error"), status="error"),
        [result_told(failure("execution_error")), Closed("tool:c1", AT, Outcome.FAILED, "execution_error", "it broke")],
    ),
    (
        [START, CALL],
        event("tool_result", call_id="c1", result=failure("new in 3.0 at 12:05"), status="error"),
        [result_told(failure("new in 3.0 at 12:05")), Closed("tool:c1", AT, Outcome.FAILED, "", "it broke")],
    ),
    (
        [START, CALL],
        event("tool_result", call_id="c1", result="no JSON", status="error"),
        [result_told("no JSON"), Closed("tool:c1", AT, Outcome.FAILED)],
    ),
    (
        [START, CALL],
        event("tool_result", call_id="c1", result=failure("execution_timeout"), status="timeout"),
        [result_told(failure("execution_timeout")), Closed("tool:c1", AT, Outcome.FAILED, "timeout", "it broke")],
    ),
    # A tool call after results: a new turn, begun with the last of them.
    (
        [START, CALL, RESULT],
        event("tool_call", tool_name="search", call_id="c2"),
        [
            Closed("step:1", AT),
            Opened("step:2", AT, STEP, "2"),
            Opened("tool:c2", AT, EXECUTE_TOOL, "search", "step:2", tool_attributes("c2", None)),
        ],
    ),
    # While another tool runs, it is no new turn: a tool beside it, or one of an agent that runs as that tool.
    (
        [START, CALL, event("tool_call", tool_name="inner", call_id="c2"), event("tool_result", call_id="c2")],
        event("tool_call", tool_name="inner", call_id="c3"),
        [Opened("tool:c3", AT, EXECUTE_TOOL, "inner", "step:1", tool_attributes("c3", None))],
    ),
    (
        [START, CALL, RESULT],
        event("chunk", delta="Hi"),
        [
            Closed("step:1", AT),
            Opened("step:2", AT, STEP, "2"),
            Closed("step:2", AT),
            Chunk(RUN, AT, TEXT, "Hi"),
        ],
    ),
    ([START], event("agent_switch", agent_name="b1"), [Noted(RUN, AT, {}, "jaf.agent_switch")]),
    ([START], event("metadata", model_name="default", turn_count=1), []),
    ([START], event("metadata", model_name="gpt-4o"), [Noted(RUN, AT, {GEN_AI_REQUEST_MODEL: "gpt-4o"})]),
    ([START], event("complete", content="Hi", delta=""), [Closed("step:1", AT), Closed(RUN, AT)]),
    ([START, event("chunk", delta="Hi")], event("complete", content="Hi", delta=""), [Closed(RUN, AT)]),
    (
        [START, CALL, RESULT],
        event("complete", content="", delta=""),
        [Closed("step:1", AT), Opened("step:2", AT, STEP, "2"), Closed("step:2", AT), Closed(RUN, AT)],
    ),
    # A tool call without a result: a person has refused it.
    (
        [START, CALL],
        event("complete"),
        [Closed("tool:c1", AT, Outcome.CANCELLED), Closed("step:1", AT), Closed(RUN, AT)],
    ),
    (
        [START, CALL],
        event("error", _tag="ModelBehaviorError", detail="again"),
        [
            Closed("tool:c1", AT, Outcome.CANCELLED),
            Closed(RUN, AT, Outcome.FAILED, "ModelBehaviorError", "again"),
        ],
    ),
    # As StreamingEvent.to_dict has it.
    (
        [START],
        event("error", error_type="InputGuardrailTripwire", reason="rude"),
        [Closed(RUN, AT, Outcome.FAILED, "InputGuardrailTripwire", "rude")],
    ),
    ([START], event("error", _tag="MaxTurnsExceeded", turns=3), [Closed(RUN, AT, Outcome.FAILED, "MaxTurnsExceeded")]),
    ([START], event("something_new", x=1), []),
    # Nothing after the end.
    ([START, event("complete")], event("chunk", delta="x"), []),
    ([START, event("chunk", delta="x"), event("complete")], event("chunk", delta="x"), []),
    ([START, event("chunk", delta="x"), event("error")], event("chunk", delta="x"), []),
    ([START, event("chunk", delta="x")], event("chunk", delta=5), []),
    ([START, event("complete")], event("error", _tag="E"), []),
    ([START, event("complete")], Aside("model.opened", {"call": "1"}), []),
]


@pytest.mark.parametrize(("before", "data", "signals"), STREAMED)
def test_each_streaming_event_tells_its_signals(before: list[Any], data: Any, signals: list[Signal]) -> None:
    assert last(Jaf(), *before, data) == signals


def test_jaf_s_own_objects_are_read_like_their_json() -> None:
    events = [
        StreamingEvent(StreamingEventType.START, Fields(agent_name="a1")),
        StreamingEvent(StreamingEventType.TOOL_CALL, Fields(tool_name="t", arguments={}, call_id="c1")),
        StreamingEvent(StreamingEventType.TOOL_RESULT, Fields(call_id="c1", result="r", status="error")),
        StreamingEvent(StreamingEventType.CHUNK, StreamingChunk("Hi", "Hi")),
        StreamingEvent(StreamingEventType.CHUNK, StreamingChunk("Hi you", " you")),
        StreamingEvent(StreamingEventType.METADATA, Fields(model_name="m")),
        StreamingEvent(StreamingEventType.COMPLETE, StreamingChunk("Hi you", "")),
    ]
    as_json = [{"type": e.type.value, "data": vars(e.data), "timestamp": e.timestamp} for e in events]

    told = feed(Jaf(), *events)

    assert told == feed(Jaf(), *as_json)
    assert [signal for signal in told if isinstance(signal, Chunk)] == [
        Chunk(RUN, AT + 3, TEXT, "Hi"),
        Chunk(RUN, AT + 4, TEXT, " you"),
    ]
    assert told[-1] == Closed(RUN, AT + 6)


def test_an_event_s_own_clock_is_used_but_for_chunks() -> None:
    dialect = Jaf()
    dialect.anchor = 1_000_000_000_000
    early = (dialect.anchor + AT - 500_000_000) / 1e9

    opened = last(dialect, START, {**CALL, "timestamp": early})[0]
    closed = last(dialect, {**RESULT, "timestamp": early + 0.25})[1]
    chunks = last(dialect, {**event("chunk", delta="x"), "timestamp": early + 0.3})

    assert (opened.at, closed.at) == (AT - 500_000_000, AT - 250_000_000)
    assert [(signal.at, type(signal)) for signal in chunks] == [
        (AT - 250_000_000, Closed),
        (AT - 250_000_000, Opened),
        (AT - 200_000_000, Closed),
        (AT, Chunk),
    ]


FRAMED = [
    (ServerSentEvent(json.dumps(event("chunk", delta="x")), "StreamingEventType.CHUNK"), [Chunk(RUN, AT, TEXT, "x")]),
    (json.dumps(event("chunk", delta="x")), [Chunk(RUN, AT, TEXT, "x")]),
    (json.dumps(event("chunk", delta="x")).encode(), [Chunk(RUN, AT, TEXT, "x")]),
    (ServerSentEvent('{"message": "no such agent"}', "error"), [Closed(RUN, AT, Outcome.FAILED, "", "no such agent")]),
    (ServerSentEvent('{"ended": true}', "stream_end"), []),
    (ServerSentEvent("no JSON", "error"), []),
    (b"\xff", []),
]


@pytest.mark.parametrize(("data", "signals"), FRAMED)
def test_framed_events_are_read_as_jaf_s_server_sends_them(data: Any, signals: list[Signal]) -> None:
    assert last(Jaf(), data) == signals


# Model calls beside the stream --------------------------------------------------------------------------------

OPENED = model("opened", model="m", agent="a1", stream=True, turn=0)
CHAT_1 = [
    Opened("model:1", AT, CHAT, "m", "step:1", {GEN_AI_AGENT_NAME: "a1"}),
    granular("model:1", "token"),
]
FIRST_PIECE = [granular(RUN, "token"), Chunk("model:1", AT, TEXT, "Hel")]
HEL = model("chunk", kind="text", text="Hel")
CLOSED_1 = model("closed", tool_calls=[])
ASKS = model("closed", tool_calls=["c1"])

ASIDES = [
    ([START], OPENED, CHAT_1),
    ([], OPENED, [OPENED_STEP, *CHAT_1]),
    (
        [START],
        model("opened", stream=False, turn=0),
        [
            Opened("model:1", AT, CHAT, "", "step:1", {GEN_AI_REQUEST_STREAM: False}),
            granular("model:1", "message"),
        ],
    ),
    ([START, OPENED], HEL, FIRST_PIECE),
    ([START, OPENED, HEL], model("chunk", kind="text", text="lo"), [Chunk("model:1", AT, TEXT, "lo")]),
    (
        [START, OPENED, HEL],
        model("chunk", kind="tool_call", text="{}"),
        [Chunk("model:1", AT, TOOL_CALL, "{}")],
    ),
    (
        [START, model("opened", stream=False, turn=0)],
        HEL,
        [granular(RUN, "message"), Chunk("model:1", AT, TEXT, "Hel")],
    ),
    ([START, OPENED], model("chunk", kind="text", text=""), []),
    ([START, OPENED], model("chunk", kind="image", text="x"), []),
    ([START], HEL, []),  # of no open call
    (
        [START, OPENED],
        model("retried", attempt=1, reason="429", delay_s=1),
        [Retried("model:1", AT, "model", 1, "429", 1.0)],
    ),
    ([START, OPENED], model("retried"), [Retried("model:1", AT, "model", 1)]),
    ([START, OPENED], CLOSED_1, [Closed("model:1", AT)]),
    ([START], CLOSED_1, []),
    (
        [START, OPENED],
        model(
            "closed",
            model="m-1",
            id="r1",
            finish_reason="stop",
            usage={
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 3},
                "cache_creation_input_tokens": 2,
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        ),
        [
            Noted(
                "model:1",
                AT,
                {
                    GEN_AI_RESPONSE_MODEL: "m-1",
                    GEN_AI_RESPONSE_ID: "r1",
                    GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
                },
            ),
            Usage("model:1", AT, 9, 4, 3, 2, 1),
            Closed("model:1", AT),
        ],
    ),
    (
        [START, OPENED],
        model("closed", usage={"prompt_tokens": 9, "completion_tokens": True, "cache_read_input_tokens": 5}),
        [Usage("model:1", AT, 9, None, 5), Closed("model:1", AT)],
    ),
    ([START, OPENED], model("closed", usage={"total": 3}), [Closed("model:1", AT)]),
    (
        [START, OPENED],
        model("closed", outcome="failed", error_type="RuntimeError", message="boom"),
        [Closed("model:1", AT, Outcome.FAILED, "RuntimeError", "boom")],
    ),
    # The same turn again: a retry, from the end of the call before.
    (
        [START, OPENED, model("closed", outcome="failed", error_type="RuntimeError")],
        model("opened", "2", stream=True, turn=0),
        [
            Retried("step:1", AT, "model", 1, "RuntimeError"),
            Opened("model:2", AT, CHAT, "", "step:1"),
            granular("model:2", "token"),
        ],
    ),
    (
        [START, OPENED, CLOSED_1],
        model("opened", "2", stream=True, turn=0),
        [
            Retried("step:1", AT, "model", 1, "empty_response"),
            Opened("model:2", AT, CHAT, "", "step:1"),
            granular("model:2", "token"),
        ],
    ),
    # A call beside one that is not known to have ended is no retry, and one of a nested agent never is.
    (
        [START, OPENED],
        model("opened", "2", stream=True, turn=0),
        [Opened("model:2", AT, CHAT, "", "step:1"), granular("model:2", "token")],
    ),
    (
        [START, OPENED, CLOSED_1],
        model("opened", "2", stream=True, turn=7, nested=True),
        [Opened("model:2", AT, CHAT, "", "step:1"), granular("model:2", "token")],
    ),
    (
        [START, model("opened", "9", stream=True, turn=0, nested=True), model("closed", "9", nested=True)],
        OPENED,
        CHAT_1,
    ),
    # The next turn.
    (
        [START, OPENED, CLOSED_1],
        model("opened", "2", stream=True, turn=1),
        [
            Closed("step:1", AT),
            Opened("step:2", AT, STEP, "2"),
            Opened("model:2", AT, CHAT, "", "step:2"),
            granular("model:2", "token"),
        ],
    ),
    ([START, OPENED, HEL, CLOSED_1], event("chunk", delta="Hel"), []),
    ([START, event("chunk", delta="H"), OPENED, HEL], event("chunk", delta="x"), []),
    # The stream's own events no longer tell turns.
    ([START, OPENED, CLOSED_1, CALL, RESULT], event("complete"), [Closed("step:1", AT), Closed(RUN, AT)]),
    ([START], Aside("something.else", {"call": "1"}), []),
    ([START], Aside("model.opened", None), []),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("before", "data", "signals"), ASIDES)
def test_each_aside_tells_its_signals(before: list[Any], data: Any, signals: list[Signal]) -> None:
    assert last(Jaf(), *before, data) == signals


def test_a_turn_whose_results_are_read_late_ends_when_it_ended() -> None:
    dialect = Jaf()
    feed(dialect, START, OPENED, ASKS)

    told = feed(dialect, model("opened", "2", stream=True, turn=1), model("closed", "2", tool_calls=[]), at=AT + 100)
    late = feed(dialect, CALL, RESULT, at=AT + 200)

    assert not [signal for signal in told if signal == Closed("step:1", AT + 100)]
    assert late[0] == Opened("tool:c1", AT + 200, EXECUTE_TOOL, "search", "step:1", tool_attributes("c1", '{"q": "x"}'))
    assert late[-2:] == [Closed("tool:c1", AT + 201), Closed("step:1", AT + 100)]


def test_the_last_turn_ends_with_its_model_call_and_a_refused_tool_s_turn_when_it_ended() -> None:
    dialect = Jaf()
    feed(dialect, START, OPENED, ASKS, CALL)
    feed(dialect, model("opened", "2", stream=True, turn=1), at=AT + 100)
    feed(dialect, model("closed", "2", tool_calls=[]), at=AT + 200)

    told = feed(dialect, event("complete"), at=AT + 300)

    assert told == [
        Closed("tool:c1", AT + 300, Outcome.CANCELLED),
        Closed("step:1", AT + 100),
        Closed("step:2", AT + 200),
        Closed(RUN, AT + 300),
    ]


# run ----------------------------------------------------------------------------------------------------------

RUN_START = event("run_start", run_id="r1", trace_id="t", session_id=None, agent_name="a1")
LLM_START = event("llm_call_start", agent_name="a1", model="gpt-4o", run_id="r1")
TOOL_START = event("tool_call_start", tool_name="search", args={"q": "x"}, run_id="r1", call_id="c1")
NESTED_START = event("run_start", run_id="r2", agent_name="sub")


def says(content: Any, *arguments: Any) -> dict[str, Any]:
    calls = [{"id": f"c{i}", "function": {"name": "t", "arguments": text}} for i, text in enumerate(arguments)]
    return event("assistant_message", message={"role": "assistant", "content": content, "tool_calls": calls or None})


def llm_end(message: Any = None, run_id: str = "r1", **choice: Any) -> dict[str, Any]:
    return event("llm_call_end", run_id=run_id, choice={"message": message, **choice})


def run_end(run_id: str = "r1", **outcome: Any) -> dict[str, Any]:
    return event("run_end", run_id=run_id, outcome=outcome)


def retry(**data: Any) -> dict[str, Any]:
    return event("retry", **{"run_id": "r1", "attempt": 1, "max_retries": 3, "operation": "llm_call", **data})


CHAT_OPENED = [
    Noted(RUN, AT, {GEN_AI_REQUEST_MODEL: "gpt-4o"}),
    Opened("step:1", AT, STEP, "1"),
    Opened("chat", AT, CHAT, "gpt-4o", "step:1", {GEN_AI_AGENT_NAME: "a1"}),
]
TALKING = [RUN_START, LLM_START]

TRACED = [
    ([], RUN_START, [Noted(RUN, AT, {GEN_AI_AGENT_NAME: "a1"})]),
    (
        [],
        event("run_start", run_id="r1", agent_name="a1", session_id="s"),
        [Noted(RUN, AT, {GEN_AI_AGENT_NAME: "a1", GEN_AI_CONVERSATION_ID: "s"})],
    ),
    ([RUN_START], RUN_START, []),
    ([RUN_START], NESTED_START, [Opened("run:r2", AT, INVOKE_AGENT, "sub", RUN)]),
    ([*TALKING, TOOL_START], NESTED_START, [Opened("run:r2", AT, INVOKE_AGENT, "sub", "tool:c1")]),
    # Which of two tools it is, only the aside says.
    (
        [*TALKING, TOOL_START, event("tool_call_start", tool_name="t", run_id="r1", call_id="c2")],
        NESTED_START,
        [Opened("run:r2", AT, INVOKE_AGENT, "sub", RUN)],
    ),
    (
        [
            *TALKING,
            TOOL_START,
            event("tool_call_start", tool_name="t", run_id="r1", call_id="c2"),
            Aside("run.called", {"run_id": "r2", "by": "r1", "call_id": "c2"}),
        ],
        NESTED_START,
        [Opened("run:r2", AT, INVOKE_AGENT, "sub", "tool:c2")],
    ),
    ([RUN_START], LLM_START, CHAT_OPENED),
    ([RUN_START], event("llm_call_start"), [Opened("step:1", AT, STEP, "1"), Opened("chat", AT, CHAT, "", "step:1")]),
    (
        [RUN_START, NESTED_START],
        event("llm_call_start", agent_name="sub", model="m", run_id="r2"),
        [
            Noted("run:r2", AT, {GEN_AI_REQUEST_MODEL: "m"}),
            Opened("run:r2/step:1", AT, STEP, "1", "run:r2"),
            Opened("run:r2/chat", AT, CHAT, "m", "run:r2/step:1", {GEN_AI_AGENT_NAME: "sub"}),
        ],
    ),
    # The next turn; a tool that is still open was refused by a person.
    (
        [*TALKING, llm_end(), TOOL_START],
        LLM_START,
        [
            Closed("tool:c1", AT, Outcome.CANCELLED),
            Closed("step:1", AT),
            Opened("step:2", AT, STEP, "2"),
            Opened("chat", AT, CHAT, "gpt-4o", "step:2", {GEN_AI_AGENT_NAME: "a1"}),
        ],
    ),
    (TALKING, says("Hel"), [granular("chat", "token"), Chunk("chat", AT, TEXT, "Hel")]),
    ([*TALKING, says("Hel")], says("Hello"), [Chunk("chat", AT, TEXT, "lo")]),
    ([*TALKING, says("Hel")], says("Hel"), []),
    ([*TALKING, says("Hel"), says("He")], says("Hel"), [Chunk("chat", AT, TEXT, "l")]),
    (TALKING, says(""), []),
    (TALKING, says([{"type": "text", "text": "x"}]), []),
    (TALKING, event("assistant_message"), []),
    (TALKING, says("", ""), []),
    (TALKING, says("", '{"q"'), [granular("chat", "token"), Chunk("chat", AT, TOOL_CALL, '{"q"')]),
    ([*TALKING, says("", '{"q"')], says("", '{"q":1}'), [Chunk("chat", AT, TOOL_CALL, ":1}")]),
    ([*TALKING, says("", '{"q":1}')], says("", '{"q":1}', "{}"), [Chunk("chat", AT, TOOL_CALL, "{}")]),
    (
        [*TALKING, says("a")],
        says("ab", "{}"),
        [Chunk("chat", AT, TEXT, "b"), Chunk("chat", AT, TOOL_CALL, "{}")],
    ),
    ([*TALKING, says("a"), run_end(status="completed")], says("ab"), []),
    (
        [*TALKING, NESTED_START, event("llm_call_start", run_id="r2"), Aside("run.speaks", {"run_id": "r1"})],
        says("x"),
        [granular("chat", "token"), Chunk("chat", AT, TEXT, "x")],
    ),
    (
        [*TALKING, NESTED_START, event("llm_call_start", run_id="r2")],
        says("x"),
        [granular("run:r2/chat", "token"), Chunk("run:r2/chat", AT, TEXT, "x")],
    ),
    ([*TALKING, says("Hi")], llm_end({"content": "Hi"}), [Closed("chat", AT)]),
    (
        [*TALKING, says("Hi")],
        llm_end({"content": "Hi"}, model="m-1", id="x", usage={"prompt_tokens": 5, "completion_tokens": 3}),
        [
            Noted("chat", AT, {GEN_AI_RESPONSE_MODEL: "m-1", GEN_AI_RESPONSE_ID: "x"}),
            Usage("chat", AT, 5, 3),
            Closed("chat", AT),
        ],
    ),
    # Nothing was streamed: the whole message is one chunk, and says so.
    (
        TALKING,
        llm_end({"content": "Hi", "tool_calls": [{"function": {"arguments": "{}"}}]}),
        [
            granular(RUN, "message"),
            granular("chat", "message"),
            Chunk("chat", AT, TEXT, "Hi"),
            Chunk("chat", AT, TOOL_CALL, "{}"),
            Closed("chat", AT),
        ],
    ),
    (
        [*TALKING, says("Hi"), llm_end(), LLM_START],
        llm_end({"content": "Ho"}),
        [granular("chat", "message"), Chunk("chat", AT, TEXT, "Ho"), Closed("chat", AT)],
    ),
    (TALKING, event("llm_call_end", run_id="r1", choice=None), [Closed("chat", AT)]),
    ([RUN_START], llm_end(), []),
    (
        TALKING,
        TOOL_START,
        [Opened("tool:c1", AT, EXECUTE_TOOL, "search", "step:1", tool_attributes("c1", '{"q": "x"}'))],
    ),
    (
        [*TALKING, TOOL_START],
        event("tool_call_end", run_id="r1", call_id="c1", result="ok", execution_status="success"),
        [result_told("ok"), Closed("tool:c1", AT)],
    ),
    (
        [*TALKING, event("tool_call_start", tool_name="c1", run_id="r1")],
        event("tool_call_end", tool_name="c1", run_id="r1", result="ok"),
        [result_told("ok"), Closed("tool:c1", AT)],
    ),
    (
        [*TALKING, TOOL_START],
        event("tool_call_end", run_id="r1", call_id="c1", result=failure("tool_not_found"), status="error"),
        [result_told(failure("tool_not_found")), Closed("tool:c1", AT, Outcome.FAILED, "tool_not_found", "it broke")],
    ),
    (TALKING, event("tool_call_end", run_id="r1", call_id="c1"), []),
    (TALKING, event("handoff", from_="a1", to="b1"), [Noted(RUN, AT, {GEN_AI_AGENT_NAME: "b1"}, "jaf.handoff")]),
    (TALKING, event("guardrail_check", guardrail_name="g"), [Noted(RUN, AT, {}, "jaf.guardrail_check")]),
    (
        TALKING,
        event("guardrail_violation", stage="input", reason="rude"),
        [Noted(RUN, AT, {ERROR_TYPE: "InputGuardrailTripwire"}, "jaf.guardrail_violation")],
    ),
    (
        TALKING,
        event("guardrail_violation", stage="output", reason="rude"),
        [Noted(RUN, AT, {ERROR_TYPE: "OutputGuardrailTripwire"}, "jaf.guardrail_violation")],
    ),
    (
        [],
        event("memory_operation", operation="load", conversation_id="s", status="start"),
        [Noted(RUN, AT, {GEN_AI_CONVERSATION_ID: "s"})],
    ),
    (TALKING, event("memory_operation", status="end"), [Noted(RUN, AT, {}, "jaf.memory_operation")]),
    (
        TALKING,
        event("memory_operation", status="fail", error="down"),
        [Noted(RUN, AT, {ERROR_TYPE: "MemoryError"}, "jaf.memory_operation")],
    ),
    (TALKING, event("output_parse", status="start", content="x"), []),
    (TALKING, event("output_parse", status="end", content="x"), [Noted(RUN, AT, {}, "jaf.output_parse")]),
    (
        TALKING,
        event("output_parse", status="fail", content="x"),
        [Noted(RUN, AT, {ERROR_TYPE: "DecodeError"}, "jaf.output_parse")],
    ),
    (
        TALKING,
        retry(delay=2.0, reason="HTTP 429 - Rate Limit", error_details={"status_code": 429, "error_type": "E"}),
        [Retried("chat", AT, "model", 1, "429", 2.0)],
    ),
    (
        TALKING,
        retry(attempt=2, error_details={"error_type": "Timeout"}),
        [Retried("chat", AT, "model", 2, "Timeout")],
    ),
    (TALKING, retry(operation="tool_call", reason="at 12:05"), [Retried(RUN, AT, "tool", 1)]),
    (TALKING, retry(operation="workflow_step"), [Retried(RUN, AT, "request", 1)]),
    (
        TALKING,
        event("fallback", from_model="m", to_model="n", fallback_type="context_window", attempt=1, run_id="r1"),
        [Retried("chat", AT, "model", 1, "context_window"), Noted("chat", AT, {GEN_AI_REQUEST_MODEL: "n"})],
    ),
    (
        TALKING,
        event("fallback", attempt=2, run_id="r1", error_details={"error_type": "E"}),
        [Retried("chat", AT, "model", 2, "E")],
    ),
    (TALKING, run_end(status="completed", output="Hi"), [Closed("step:1", AT), Closed(RUN, AT)]),
    ([RUN_START], run_end(status="completed", output="Hi"), [Closed(RUN, AT)]),
    (
        TALKING,
        run_end(status="error", error={"_tag": "MaxTurnsExceeded", "turns": 5}),
        [Closed(RUN, AT, Outcome.FAILED, "MaxTurnsExceeded")],
    ),
    (
        [*TALKING, TOOL_START],
        run_end(status="interrupted", interruptions=[{}]),
        [
            Closed("tool:c1", AT, Outcome.CANCELLED),
            Noted(RUN, AT, {}, PERSON_ASKED),
            Closed("step:1", AT),
            Closed(RUN, AT),
        ],
    ),
    ([*TALKING, NESTED_START], run_end("r2", status="completed"), [Closed("run:r2", AT)]),
    (
        [*TALKING, NESTED_START],
        run_end("r2", status="error", error=Fields(_tag="ModelBehaviorError", detail="boom")),
        [Closed("run:r2", AT, Outcome.FAILED, "ModelBehaviorError", "boom")],
    ),
    ([*TALKING, run_end(status="completed")], LLM_START, []),
    ([*TALKING, run_end(status="completed")], Aside("run.closed", {"status": "completed"}), []),
    (TALKING, event("something_new"), []),
    # A run whose trace events are not heard.
    ([], OPENED, [OPENED_STEP, *CHAT_1]),
    (
        [OPENED, ASKS],
        model("opened", "2", turn=1, stream=True),
        [Closed("step:1", AT), Opened("step:2", AT, STEP, "2")],
    ),
    ([OPENED], Aside("run.closed", {"status": "completed"}), [Closed("step:1", AT), Closed(RUN, AT)]),
    (
        [OPENED],
        Aside("run.closed", {"status": "error", "error_type": "ModelBehaviorError", "message": "boom"}),
        [Closed(RUN, AT, Outcome.FAILED, "ModelBehaviorError", "boom")],
    ),
    # Framed.
    (TALKING, json.dumps(says("Hel")), [granular("chat", "token"), Chunk("chat", AT, TEXT, "Hel")]),
    (TALKING, b"no JSON", []),
]


@pytest.mark.parametrize(("before", "data", "signals"), TRACED)
def test_each_trace_event_tells_its_signals(before: list[Any], data: Any, signals: list[Signal]) -> None:
    told = last(JafRun(), *before, data)
    if isinstance(data, Aside) and data.name == "model.opened" and before:
        told = told[: len(signals)]  # what a model call itself tells is in the table of asides
    assert told == signals


def test_jaf_s_own_trace_objects_are_read_like_their_json() -> None:
    def as_object(value: Any) -> Any:
        return Fields(**{k: as_object(v) for k, v in value.items()}) if isinstance(value, dict) else value

    events = [RUN_START, LLM_START, says("Hel"), says("Hello"), llm_end({"content": "Hello"}, model="m"), TOOL_START]
    events.append(event("tool_call_end", run_id="r1", call_id="c1", result="ok", status="success"))
    events.append(run_end(status="completed"))
    objects = [TraceEvent(e["type"], as_object(e["data"])) for e in events]
    objects[5] = TraceEvent("tool_call_start", Fields(**TOOL_START["data"]))

    told = feed(JafRun(), *objects)

    assert told == feed(JafRun(), *events)
    assert told[-1] == Closed(RUN, AT + 7)


# Both ---------------------------------------------------------------------------------------------------------


def types_of(rows: list[Any]) -> set[str]:
    return {data["type"] for _, data, _ in rows if isinstance(data, dict)} - {"something_new"}


def test_the_tables_have_every_event_type_of_the_source() -> None:
    assert set(Jaf.events) == {member.value for member in StreamingEventType} == types_of(STREAMED)
    assert set(JafRun.events) == types_of(TRACED)
    assert set(JafRun.events) == {
        "run_start",
        "guardrail_check",
        "guardrail_violation",
        "memory_operation",
        "output_parse",
        "llm_call_start",
        "llm_call_end",
        "assistant_message",
        "tool_call_start",
        "tool_call_end",
        "handoff",
        "run_end",
        "retry",
        "fallback",
    }


@pytest.mark.parametrize(("name", "dialect"), [("jaf", Jaf), ("jaf-run", JafRun)])
def test_it_is_found_by_name(name: str, dialect: type) -> None:
    assert find(name) is dialect


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3))
_NAMES = """type data timestamp run_id call_id call turn tool_calls usage delta message content function arguments
choice outcome error status result error_details stream kind text"""
NAMES = st.sampled_from(_NAMES.split())
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [*Jaf.events, *JafRun.events, *(f"model.{n}" for n in ("opened", "chunk", "retried", "closed"))]
)
ANY_EVENT = st.one_of(
    JUNK,
    st.builds(lambda type_, data: {"type": type_, "data": data, "timestamp": 1.0}, TYPES, JUNK),
    st.builds(StreamingEvent, TYPES | JUNK, JUNK, LEAVES),
    st.builds(Aside, TYPES | st.sampled_from(["run.speaks", "run.called", "run.closed"]), JUNK),
    st.builds(lambda data, type_: ServerSentEvent(json.dumps(data, default=str), type_), JUNK, TYPES),
)


@pytest.mark.parametrize("dialect", [Jaf, JafRun])
@given(st.lists(ANY_EVENT, max_size=12))
def test_no_data_makes_it_raise(dialect: type[Jaf | JafRun], events: list[Any]) -> None:
    decoder = dialect()
    told = feed(decoder, *events)
    assert sum(isinstance(signal, Closed) and signal.key == RUN for signal in told) <= 1
    assert all(isinstance(signal.text, str) and signal.text for signal in told if isinstance(signal, Chunk))
    assert all(signal.name.__class__ is str for signal in told if isinstance(signal, Opened))
    assert decoder.finish(AT) == ()
