"""The table of the events of JAF's `run_streaming`, from jaf-py 2.6.22: core/streaming.py (`StreamingEventType`), and
the asides of the drop-in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import find
from streamgauge.dialects.jaf import Jaf
from streamgauge.semconv import (
    CHAT,
    EXECUTE_TOOL,
    GEN_AI_AGENT_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_REQUEST_STREAM,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
    STEP,
)
from streamgauge.signals import (
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

from .jaf_events import (
    ASKS,
    AT,
    CALL,
    CHAT_1,
    CLOSED_1,
    FIRST_PIECE,
    HEL,
    OPENED,
    OPENED_STEP,
    RESULT,
    START,
    Fields,
    StreamingChunk,
    StreamingEvent,
    StreamingEventType,
    any_event,
    event,
    failure,
    feed,
    granular,
    last,
    model,
    result_told,
    tool_attributes,
    types_of,
)

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


def test_the_table_has_every_event_type_of_the_source() -> None:
    assert set(Jaf.events) == {member.value for member in StreamingEventType} == types_of(STREAMED)


def test_it_is_found_by_name() -> None:
    assert find("jaf") is Jaf


@given(st.lists(any_event(Jaf.events), max_size=12))
def test_no_data_makes_it_raise(events: list[Any]) -> None:
    decoder = Jaf()
    told = feed(decoder, *events)
    assert sum(isinstance(signal, Closed) and signal.key == RUN for signal in told) <= 1
    assert all(isinstance(signal.text, str) and signal.text for signal in told if isinstance(signal, Chunk))
    assert all(signal.name.__class__ is str for signal in told if isinstance(signal, Opened))
    assert decoder.finish(AT) == ()
