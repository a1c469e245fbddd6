"""The table of JAF's trace events, from jaf-py 2.6.22: core/types.py ("Trace event types", `TraceEvent`), and the
asides of the drop-in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import find
from streamgauge.dialects.jaf_run import JafRun
from streamgauge.semconv import (
    CHAT,
    ERROR_TYPE,
    EXECUTE_TOOL,
    GEN_AI_AGENT_NAME,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
    INVOKE_AGENT,
    STEP,
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
from streamgauge.wire import Aside, Outcome

from .jaf_events import (
    ASKS,
    AT,
    CHAT_1,
    OPENED,
    OPENED_STEP,
    Fields,
    TraceEvent,
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


def test_the_table_has_every_event_type_of_the_source() -> None:
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


def test_it_is_found_by_name() -> None:
    assert find("jaf-run") is JafRun


@given(st.lists(any_event(JafRun.events), max_size=12))
def test_no_data_makes_it_raise(events: list[Any]) -> None:
    decoder = JafRun()
    told = feed(decoder, *events)
    assert sum(isinstance(signal, Closed) and signal.key == RUN for signal in told) <= 1
    assert all(isinstance(signal.text, str) and signal.text for signal in told if isinstance(signal, Chunk))
    assert all(signal.name.__class__ is str for signal in told if isinstance(signal, Opened))
    assert decoder.finish(AT) == ()
