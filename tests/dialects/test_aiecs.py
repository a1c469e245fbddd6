"""The table of AIECS's events, from aiecs 2.2.0: domain/agent/{base,llm,tool,hybrid}_agent.py, plugins/manager.py,
plugins/dawp/loop_scope.py, plugins/hooks/dispatch.py, verification/dawp_result.py."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import find
from streamgauge.dialects._aiecs_model import MAX_CALLS
from streamgauge.dialects._aiecs_tools import encoded
from streamgauge.dialects.aiecs import Aiecs
from streamgauge.semconv import (
    CHAT,
    ERROR_TYPE,
    EXECUTE_TOOL,
    GEN_AI_OUTPUT_MESSAGES,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_STREAM,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_CALL_RESULT,
    GEN_AI_TOOL_NAME,
    GEN_AI_TOOL_TYPE,
    INVOKE_AGENT,
    STEP,
    STREAMGAUGE_STEP_NAME,
)
from streamgauge.signals import (
    REASONING,
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

FAILED = Outcome.FAILED
NS = 1_000_000_000
EPOCH = 1_795_223_126  # 2026-11-21T01:05:26, in UTC


def stamp(seconds: float, *, zone: str = "") -> str:
    return f"2026-11-21T01:05:{26 + seconds:09.6f}{zone}"


def event(type_: str, **rest: Any) -> dict[str, Any]:
    return {"type": type_, **rest}


def call(call_id: str, name: str, arguments: Any = '{"q": 1}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def iteration(number: int = 1, **rest: Any) -> dict[str, Any]:
    return event("iteration_start", iteration=number, max_iterations=5, remaining=5, **rest)


def cached(tokens: int = 0, **rest: Any) -> dict[str, Any]:
    return event("cache_status", cache_hit=tokens > 0, cache_read_tokens=tokens, **rest)


def scoped(run: str = "dawp-1", step: str = "gather") -> dict[str, Any]:
    return {"loop_scope": {"kind": "dawp", "run_id": run, "workflow_id": "flow", "step_id": step, "step_index": 0}}


def after(*events: Any) -> Aiecs:
    """A dialect that has read these, one each nanosecond from 1."""
    dialect = Aiecs()
    for at, each in enumerate(events, 1):
        dialect.feed(each, at)
    return dialect


def told(name: str, **data: Any) -> Aside:
    return Aside(name, data)


STARTED = event("started", timestamp=stamp(0))
STATUS = event("status", status="started", timestamp=stamp(0))
TOKEN = event("token", content="Hel", timestamp=stamp(0))
TOOLS_READY = event("tool_calls_ready", tool_calls=[call("c1", "search_find"), call("c2", "search_count")])

ROWS: list[tuple[str, list[Any], Any, list[Signal]]] = [
    # LLMAgent
    ("status", [], STATUS, []),
    ("status of another kind", [], event("status", status="thinking"), []),
    ("status again", [STATUS, TOKEN], STATUS, []),
    ("the first token", [STATUS], TOKEN, [Opened("chat", 1, CHAT), Chunk("chat", 9, TEXT, "Hel")]),
    ("a token", [STATUS, TOKEN], TOKEN, [Chunk("chat", 9, TEXT, "Hel")]),
    ("usage without a token", [STATUS], cached(), [Opened("chat", 1, CHAT), Closed("chat", 9)]),
    ("cached tokens", [STATUS, TOKEN], cached(3), [Usage("chat", 9, cache_read_tokens=3), Closed("chat", 9)]),
    (
        "result of an LLMAgent",
        [STATUS, TOKEN, cached()],
        event("result", success=True, output="Hel", provider="OpenAI", execution_time=1.5),
        [Closed("step", 9), Noted(RUN, 9, {GEN_AI_PROVIDER_NAME: "openai"}), Closed(RUN, 9)],
    ),
    (
        "result without usage before",
        [STATUS, TOKEN],
        event("result", success=True),
        [Closed("chat", 9), Closed("step", 9), Closed(RUN, 9)],
    ),
    ("error", [STATUS, TOKEN], event("error", error="boom"), [Closed(RUN, 9, FAILED, "", "boom")]),
    ("error with no message", [], event("error", error=None), [Closed(RUN, 9, FAILED)]),
    (
        "error: busy",
        [],
        event("error", error="Invalid state transition for agent 'a': cannot transition from 'busy' to 'busy'"),
        [
            Closed(
                RUN, 9, FAILED, "InvalidStateTransitionError",
                "Invalid state transition for agent 'a': cannot transition from 'busy' to 'busy'",
            )
        ],
    ),
    # ToolAgent
    ("started", [], STARTED, []),
    ("thinking", [STARTED, TOKEN], event("thinking_token", content="hm"), [Chunk("chat", 9, REASONING, "hm")]),
    (
        "the first delta of a tool call",
        [STARTED, TOKEN],
        event("tool_call_delta", tool_call=call("c1", "f", "")),
        [Chunk("chat", 9, TOOL_CALL, "")],
    ),
    (
        "a delta has all that came so far",
        [STARTED, event("tool_call_delta", tool_call=call("c1", "f", '{"q"'))],
        event("tool_call_delta", tool_call=call("c1", "f", '{"q": 1}')),
        [Chunk("chat", 9, TOOL_CALL, ": 1}")],
    ),
    (
        "a delta with nothing new",
        [STARTED, event("tool_call_delta", tool_call=call("c1", "f", '{"q"'))],
        event("tool_call_delta", tool_call=call("c1", "f", '{"q"')),
        [],
    ),
    (
        "two calls at once",
        [STARTED, event("tool_call_delta", tool_call=call("c1", "f", '{"q"'))],
        event("tool_call_delta", tool_call=call("c2", "f", "{}")),
        [Chunk("chat", 9, TOOL_CALL, "{}")],
    ),
    (
        "tool calls that had no delta",
        [STARTED],
        TOOLS_READY,
        [
            Opened("chat", 1, CHAT),
            Chunk("chat", 9, TOOL_CALL, '{"q": 1}'),
            Chunk("chat", 9, TOOL_CALL, '{"q": 1}'),
        ],
    ),
    (
        "a batch of a ToolAgent has no times of its own",
        [STARTED, TOOLS_READY],
        cached(),
        [
            Closed("chat", 9),
            Opened(
                "tool:0", 9, EXECUTE_TOOL, "search_find", RUN,
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ID: "c1", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            ),
            Opened(
                "tool:1", 9, EXECUTE_TOOL, "search_count", RUN,
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ID: "c2", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            ),
        ],
    ),
    (
        "tool_call of an open tool",
        [STARTED, TOOLS_READY, cached()],
        event("tool_call", tool_name="search", operation="find", parameters={"q": 1}),
        [],
    ),
    (
        "tool_result",
        [STARTED, TOOLS_READY, cached()],
        event("tool_result", tool_name="search", result={"found": ["é"]}),
        [Noted("tool:0", 9, {GEN_AI_TOOL_CALL_RESULT: '{"found": ["é"]}'}), Closed("tool:0", 9)],
    ),
    (
        "the second tool_result",
        [STARTED, TOOLS_READY, cached(), event("tool_result", result="a")],
        event("tool_result", tool_name="search", result="b"),
        [Noted("tool:1", 9, {GEN_AI_TOOL_CALL_RESULT: "b"}), Closed("tool:1", 9)],
    ),
    (
        "a tool that was not announced",
        [STARTED],
        event("tool_call", tool_name="search", operation="find", parameters={"q": 1}),
        [
            Opened(
                "tool:0", 9, EXECUTE_TOOL, "search_find", RUN,
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            )
        ],
    ),
    (
        "a tool that was told to be used",
        [],
        event("result", success=True, output=[1], tool_used="search", execution_time=0.000_000_004),
        [
            Closed("step", 9),
            Opened("tool", 5, EXECUTE_TOOL, "search"),
            Noted("tool", 9, {GEN_AI_TOOL_CALL_RESULT: "[1]"}),
            Closed("tool", 9),
            Closed(RUN, 9),
        ],
    ),
    (
        "the answer of a ToolAgent that had no tokens",
        [STARTED, cached()],
        event("token", content="all", is_fallback=True),
        [Chunk(RUN, 9, TEXT, "all")],
    ),
    # HybridAgent
    ("iteration_start", [STARTED], iteration(), [Opened("step", 9, STEP, "1"), Opened("chat", 9, CHAT, "", "step")]),
    (
        "the next iteration_start",
        [STARTED, iteration(), TOKEN],
        iteration(2),
        [Closed("chat", 9), Opened("step", 9, STEP, "2"), Opened("chat", 9, CHAT, "", "step")],
    ),
    (
        "the model call is over when its tools are ready",
        [STARTED, iteration(), TOOLS_READY],
        iteration(2),
        [Closed("chat", 3), Opened("step", 9, STEP, "2"), Opened("chat", 9, CHAT, "", "step")],
    ),
    (
        "the first tool of a HybridAgent",
        [STARTED, iteration(), TOOLS_READY],
        cached(),
        [
            Closed("chat", 9),
            Opened(
                "tool:0", 9, EXECUTE_TOOL, "search_find", "step",
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ID: "c1", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            ),
        ],
    ),
    (
        "the next tool of a HybridAgent",
        [STARTED, iteration(), TOOLS_READY, cached(), event("tool_call"), event("tool_result", result="a")],
        event("tool_call", tool_name="search", operation="count", parameters={}),
        [
            Opened(
                "tool:1", 9, EXECUTE_TOOL, "search_count", "step",
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ID: "c2", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            )
        ],
    ),
    (
        "an error with no tool_call before it lasts from the tool before",
        [STARTED, iteration(), TOOLS_READY, cached(), event("tool_call"), event("tool_result", result="a")],
        event("tool_error", tool_name="unknown", error="Cannot resolve"),
        [
            Opened(
                "tool:1", 6, EXECUTE_TOOL, "search_count", "step",
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ID: "c2", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            ),
            Closed("tool:1", 9, FAILED, "unknown_tool", "Cannot resolve"),
        ],
    ),
    (
        "an error of a tool that was not announced",
        [STARTED],
        event("tool_error", tool_name="search", error="no"),
        [
            Opened("tool:0", 9, EXECUTE_TOOL, "search", RUN, {GEN_AI_TOOL_TYPE: "function"}),
            Closed("tool:0", 9, FAILED, "tool_error", "no"),
        ],
    ),
    (
        "an error after retries names the exception",
        [STARTED, iteration(), TOOLS_READY, cached(), event("tool_call")],
        event("tool_error", error="Error executing f: RetryError[<Future at 0x7f state=finished raised ValueError>]"),
        [
            Closed(
                "tool:0", 9, FAILED, "ValueError",
                "Error executing f: RetryError[<Future at 0x7f state=finished raised ValueError>]",
            )
        ],
    ),
    (
        "tools of a client that gives no usage",
        [STARTED, iteration(), TOOLS_READY],
        event("tool_call", tool_name="search"),
        [
            Closed("chat", 3),
            Opened(
                "tool:0", 3, EXECUTE_TOOL, "search_find", "step",
                {GEN_AI_TOOL_TYPE: "function", GEN_AI_TOOL_CALL_ID: "c1", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'},
            ),
        ],
    ),
    (
        "result of a HybridAgent",
        [STARTED, iteration(), TOKEN, cached()],
        event(
            "result",
            success=True,
            reason=None,
            reasoning_steps=[
                {"type": "thought", "content": "é", "iteration": 1},
                {"type": "action", "tool": "s", "operation": "f", "parameters": {"q": 1}, "result": "r"},
                {"type": "observation", "content": "no", "iteration": 2, "has_error": True},
                {"type": "other"},
                None,
            ],
        ),
        [
            Closed("step", 9),
            Noted(
                RUN, 9,
                {
                    STREAMGAUGE_STEP_NAME: "1",
                    GEN_AI_OUTPUT_MESSAGES: '[{"role": "assistant", "parts": [{"type": "text", "content": "é"}]}]',
                },
                "aiecs.thought",
            ),
            Noted(
                RUN, 9,
                {
                    GEN_AI_TOOL_NAME: "s_f",
                    GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}',
                    GEN_AI_TOOL_CALL_RESULT: "r",
                },
                "aiecs.action",
            ),
            Noted(RUN, 9, {STREAMGAUGE_STEP_NAME: "2", GEN_AI_TOOL_CALL_RESULT: "no"}, "aiecs.observation"),
            Closed(RUN, 9),
        ],
    ),
    (
        "max iterations are no error of the stream",
        [STARTED],
        event("result", success=False, reason="max_iterations_reached"),
        [
            Closed("step", 9),
            Noted(RUN, 9, {GEN_AI_RESPONSE_FINISH_REASONS: ("max_iterations_reached",)}),
            Closed(RUN, 9),
        ],
    ),
    (
        "a hook's own words are no finish reason",
        [STARTED],
        event("result", success=False, reason="You may not ask for that."),
        [Closed("step", 9), Noted(RUN, 9, {GEN_AI_RESPONSE_FINISH_REASONS: ("unsuccessful",)}), Closed(RUN, 9)],
    ),
    (
        "a stop condition",
        [STARTED],
        event("result", success=True, stop_reason="tool_result_matched"),
        [
            Closed("step", 9),
            Noted(RUN, 9, {GEN_AI_RESPONSE_FINISH_REASONS: ("tool_result_matched",)}),
            Closed(RUN, 9),
        ],
    ),
    ("completed after result", [STARTED, event("result")], event("completed", success=True), []),
    ("completed alone", [STARTED], event("completed", success=True), [Closed("step", 9), Closed(RUN, 9)]),
    ("result twice", [STARTED, event("result")], event("result"), []),
    ("error after result", [STARTED, event("result")], event("error", error="late"), []),
    (
        "the next run",
        [STARTED, iteration(), TOKEN, event("result"), event("completed")],
        STARTED,
        [Opened(RUN, 9, INVOKE_AGENT)],
    ),
    ("the next run, after an error", [STARTED, event("error", error="x")], STATUS, [Opened(RUN, 9, INVOKE_AGENT)]),
    (
        "the next run's model call",
        [STARTED, iteration(), event("error", error="x"), STATUS],
        TOKEN,
        [Opened("chat", 4, CHAT), Chunk("chat", 9, TEXT, "Hel")],
    ),
    ("thought", [STARTED], event("thought", content=None), [Noted(RUN, 9, {
        GEN_AI_OUTPUT_MESSAGES: '[{"role": "assistant", "parts": [{"type": "text", "content": ""}]}]'
    }, "aiecs.thought")]),
    ("action", [STARTED], event("action", tool="s"), [Noted(RUN, 9, {
        GEN_AI_TOOL_NAME: "s", GEN_AI_TOOL_CALL_ARGUMENTS: "null", GEN_AI_TOOL_CALL_RESULT: "null"}, "aiecs.action")]),
    ("observation", [STARTED], event("observation", content="o"), [
        Noted(RUN, 9, {GEN_AI_TOOL_CALL_RESULT: "o"}, "aiecs.observation")]),
    # Nested runs
    (
        "dawp_run_started",
        [STARTED],
        event("dawp_run_started", run_id="dawp-1", workflow_id="flow", placement="pre_main_loop", trigger="config"),
        [Opened("dawp:dawp-1", 9, INVOKE_AGENT, "flow", "step")],
    ),
    (
        "dawp_step_started",
        [STARTED, event("dawp_run_started", run_id="dawp-1")],
        event("dawp_step_started", run_id="dawp-1", step_id="gather", **scoped()),
        [Opened("nested step", 9, STEP, "gather", "dawp:dawp-1")],
    ),
    (
        "dawp_step_started of a run whose ends are not marked",
        [STARTED],
        event("dawp_step_started", run_id="dawp-1", step_id="gather", **scoped()),
        [
            Opened("dawp:dawp-1", 9, INVOKE_AGENT, "flow", "step"),
            Opened("nested step", 9, STEP, "gather", "dawp:dawp-1"),
        ],
    ),
    (
        "a nested iteration_start is a model call",
        [STARTED, event("dawp_step_started", step_id="gather", **scoped())],
        iteration(**scoped()),
        [Opened("chat", 9, CHAT, "", "nested step")],
    ),
    (
        "a nested token",
        [STARTED, event("dawp_step_started", **scoped()), iteration(**scoped())],
        event("token", content="x", **scoped()),
        [Chunk("chat", 9, TEXT, "x")],
    ),
    (
        "plugins run inside a nested run, unscoped",
        [STARTED, event("dawp_step_started", **scoped()), iteration(**scoped())],
        event("plugin_phase_started", phase="on_tool_batch_end"),
        [],
    ),
    (
        "a nested result is not the end",
        [STARTED, event("dawp_step_started", **scoped()), iteration(**scoped())],
        event("result", success=True, output="x", **scoped()),
        [Closed("chat", 9)],
    ),
    (
        "dawp_step_completed",
        [STARTED, event("dawp_step_started", **scoped()), iteration(**scoped())],
        event("dawp_step_completed", success=True, **scoped()),
        [Closed("chat", 9), Closed("nested step", 9)],
    ),
    (
        "dawp_step_completed without success",
        [STARTED, event("dawp_step_started", **scoped())],
        event("dawp_step_completed", success=False, **scoped()),
        [Closed("nested step", 9, FAILED, "incomplete")],
    ),
    (
        "dawp_run_completed",
        [STARTED, event("dawp_step_started", **scoped()), event("dawp_step_completed", success=True, **scoped())],
        event("dawp_run_completed", run_id="dawp-1", success=True, step_summaries=[], **scoped()),
        [Closed("dawp:dawp-1", 9)],
    ),
    (
        "dawp_run_completed: out of tries",
        [STARTED, event("dawp_step_started", **scoped()), event("dawp_step_completed", success=False, **scoped())],
        event("dawp_run_completed", run_id="dawp-1", success=False, **scoped()),
        [Closed("dawp:dawp-1", 9, FAILED, "incomplete")],
    ),
    (
        "dawp_run_completed: an exception on its way out closes the model call with it",
        [STARTED, event("dawp_step_started", **scoped()), iteration(**scoped())],
        event("dawp_run_completed", run_id="dawp-1", success=False, **scoped()),
        [Closed("dawp:dawp-1", 9, FAILED, "incomplete")],
    ),
    (
        "back in the main loop",
        [STARTED, event("dawp_step_started", **scoped()), event("dawp_step_completed", success=True, **scoped())],
        iteration(),
        [Closed("dawp:dawp-1", 3), Opened("step", 9, STEP, "1"), Opened("chat", 9, CHAT, "", "step")],
    ),
    (
        "back in the main loop, out of tries",
        [STARTED, event("dawp_step_started", **scoped()), event("dawp_step_completed", success=False, **scoped())],
        iteration(),
        [
            Closed("dawp:dawp-1", 3, FAILED, "incomplete"),
            Opened("step", 9, STEP, "1"),
            Opened("chat", 9, CHAT, "", "step"),
        ],
    ),
    (
        "one nested run after the other",
        [STARTED, event("dawp_step_started", **scoped())],
        event("dawp_step_started", step_id="sum", **scoped("dawp-2")),
        [
            Closed("dawp:dawp-1", 9),
            Opened("dawp:dawp-2", 9, INVOKE_AGENT, "flow", "step"),
            Opened("nested step", 9, STEP, "sum", "dawp:dawp-2"),
        ],
    ),
    (
        "an error out of a nested run",
        [STARTED, event("dawp_step_started", **scoped()), iteration(**scoped())],
        event("error", error="boom"),
        [Closed(RUN, 9, FAILED, "", "boom")],
    ),
    (
        "dawp_result",
        [STARTED],
        event("dawp_result", success=False, dawp_result={"status": "partial", "chain_state": {"run_id": "dawp-1"}}),
        [Noted(RUN, 9, {GEN_AI_RESPONSE_FINISH_REASONS: ("partial",)}, "aiecs.dawp_result")],
    ),
    # Plugins and others
    ("plugin_config_resolved", [STARTED], event("plugin_config_resolved", plugin_count=8, merge_log_summary=[]), []),
    ("plugin_phase_started", [STARTED], event("plugin_phase_started", phase="pre_task", plugin_count=2), []),
    ("plugin_hook_started", [STARTED], event("plugin_hook_started", phase="pre_task", plugin_name="memory"), []),
    ("plugin_hook_completed", [STARTED], event("plugin_hook_completed", plugin_name="memory", duration_ms=0.1), []),
    (
        "plugin_hook_failed",
        [STARTED],
        event("plugin_hook_failed", error={"message": "secret", "details": {"error_type": "KeyError"}}),
        [Noted(RUN, 9, {ERROR_TYPE: "KeyError"}, "aiecs.plugin_hook_failed")],
    ),
    (
        "plugin_hook_failed without a type",
        [STARTED],
        event("plugin_hook_failed", error="?"),
        [Noted(RUN, 9, {ERROR_TYPE: "_OTHER"}, "aiecs.plugin_hook_failed")],
    ),
    ("agent_hook", [STARTED], event("agent_hook", event="stop", blocked=False, hook_count=1, duration_ms=0.1), []),
    ("recovery_result", [STARTED], event("recovery_result", recovery={"success": True}), []),
    ("unknown", [STARTED], event("other"), []),
    ("no type", [STARTED], {"content": "x"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("before", "given_", "signals"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_event(before: list[Any], given_: Any, signals: list[Signal]) -> None:
    assert list(after(*before).feed(given_, 9)) == signals


def test_the_table_names_every_event_of_the_source() -> None:
    assert {row[2]["type"] for row in ROWS if "type" in row[2]} - {"other"} == set(Aiecs.events)


def test_it_is_found_by_its_name() -> None:
    assert find("aiecs") is Aiecs
    assert Aiecs.terminal


# Times ------------------------------------------------------------------------------------------------------


def test_tools_of_a_hybrid_agent_have_their_own_times() -> None:
    """All events of a batch arrive at its end, seconds after the first tool was called."""
    dialect = after(STARTED, iteration(), TOOLS_READY)
    dialect.anchor = EPOCH * NS
    dialect.feed(cached(), 1 * NS)
    end = 20 * NS
    events = [
        event("tool_call", timestamp=stamp(1.5)),
        event("tool_result", result="a", timestamp=stamp(4)),
        event("tool_call", timestamp=stamp(4.5, zone="+00:00")),
        event("tool_error", tool_name="search", error="no", timestamp=stamp(9, zone="+00:00")),
    ]
    signals = [signal for each in events for signal in dialect.feed(each, end)]
    assert [(type(signal), signal.key, round(signal.at / NS, 6)) for signal in signals] == [
        (Noted, "tool:0", 4),
        (Closed, "tool:0", 4),
        (Opened, "tool:1", 4.5),
        (Closed, "tool:1", 9),
    ]


def test_tools_of_a_tool_agent_last_as_long_as_their_batch() -> None:
    dialect = after(STARTED, TOOLS_READY)
    dialect.anchor = EPOCH * NS
    opened = [signal for signal in dialect.feed(cached(), 1 * NS) if isinstance(signal, Opened)]
    events = [
        event("tool_call", timestamp=stamp(8)),
        event("tool_result", result="a", timestamp=stamp(8)),
        event("tool_error", error="no", timestamp=stamp(8)),
    ]
    closed = [s for each in events for s in dialect.feed(each, 9 * NS) if isinstance(s, Closed)]
    assert [(signal.key, signal.at / NS) for signal in opened] == [("tool:0", 1), ("tool:1", 1)]
    assert [(signal.key, round(signal.at / NS, 6)) for signal in closed] == [("tool:0", 8), ("tool:1", 8)]


@pytest.mark.parametrize("bad", ["", "yesterday", None, 5, "0001-01-01T00:00:00", "9999-12-31T23:59:59.9"])
def test_a_time_that_is_none_is_the_arrival(bad: Any) -> None:
    signals = after(STARTED, iteration(), TOOLS_READY, cached()).feed(event("tool_result", timestamp=bad), 9)
    assert [signal.at for signal in signals] == [9, 9]


@pytest.mark.parametrize("bad", [None, "1", -1, float("inf"), float("nan")])
def test_a_duration_that_is_none_is_no_time(bad: Any) -> None:
    signals = Aiecs().feed(event("result", tool_used="search", execution_time=bad), 9)
    assert Opened("tool", 9, EXECUTE_TOOL, "search") in signals


# Model calls that are told ------------------------------------------------------------------------------------

TOLD = Aside("model.told")
OPENED = told("model.opened", call="1", stream=True, model="gpt-9")
CLOSED = told("model.closed", call="1", stream=True)
BROKEN = told("model.closed", call="1", stream=True, outcome="failed", error_type="Busy", message="try later")

ASIDES: list[tuple[str, list[Any], Any, list[Signal]]] = [
    ("told", [STARTED], TOLD, []),
    ("an iteration opens no model call itself", [TOLD, STARTED], iteration(), [Opened("step", 9, STEP, "1")]),
    ("opened", [TOLD, STARTED, iteration()], OPENED, [Opened("chat:1", 9, CHAT, "gpt-9", "step")]),
    ("opened without a model", [TOLD, STATUS], told("model.opened", call="1", stream=True, model=None),
     [Opened("chat:1", 9, CHAT)]),
    ("a token", [TOLD, STATUS, OPENED], TOKEN, [Chunk("chat:1", 9, TEXT, "Hel")]),
    ("a thought that has no event", [TOLD, STATUS, OPENED], told("model.thought", content="hm"),
     [Chunk("chat:1", 9, REASONING, "hm")]),
    ("usage", [TOLD, STATUS, OPENED], told("model.usage", call="1", stream=True, usage={
        "prompt_tokens": 10, "completion_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2,
        "completion_tokens_details": {"reasoning_tokens": 1}}), [Usage("chat:1", 9, 10, 4, 3, 2, 1)]),
    ("what cache_status says is known", [TOLD, STATUS, OPENED], cached(3), []),
    ("closed", [TOLD, STATUS, OPENED], CLOSED, [Closed("chat:1", 9)]),
    ("closed with tools to come", [TOLD, STARTED, iteration(), OPENED, TOOLS_READY], CLOSED, [
        Closed("chat:1", 9),
        Opened("tool:0", 9, EXECUTE_TOOL, "search_find", "step", {GEN_AI_TOOL_TYPE: "function",
               GEN_AI_TOOL_CALL_ID: "c1", GEN_AI_TOOL_CALL_ARGUMENTS: '{"q": 1}'})]),
    ("closed twice", [TOLD, STATUS, OPENED, CLOSED], CLOSED, []),
    ("cancelled", [TOLD, STATUS, OPENED], told("model.closed", stream=True, outcome="cancelled"),
     [Closed("chat:1", 9, Outcome.CANCELLED)]),
    ("failed: what follows tells", [TOLD, STATUS, OPENED], BROKEN, []),
    ("failed, and tried again", [TOLD, STATUS, OPENED, BROKEN], told("model.opened", call="2", stream=True),
     [Retried("chat:1", 9, "model", 1, "Busy", 5e-9)]),
    ("failed twice", [TOLD, STATUS, OPENED, BROKEN, told("model.opened", call="2", stream=True), BROKEN],
     told("model.opened", call="3", stream=True), [Retried("chat:1", 9, "model", 2, "Busy", 3e-9)]),
    ("failed for good", [TOLD, STATUS, OPENED, BROKEN], event("error", error="try later"),
     [Closed("chat:1", 4, FAILED, "Busy", "try later"), Closed(RUN, 9, FAILED, "Busy", "try later")]),
    ("failed, and the agent goes on", [TOLD, STARTED, iteration(), OPENED, BROKEN], iteration(2),
     [Closed("chat:1", 5, FAILED, "Busy", "try later"), Opened("step", 9, STEP, "2")]),
    ("failed in a nested run", [TOLD, STARTED, event("dawp_step_started", **scoped()), OPENED, BROKEN],
     event("dawp_run_completed", success=False, **scoped()),
     [Closed("chat:1", 5, FAILED, "Busy", "try later"), Closed("dawp:dawp-1", 9, FAILED, "Busy", "try later")]),
    ("failed in a nested run, and with it the run", [TOLD, STARTED, event("dawp_step_started", **scoped()), OPENED,
     BROKEN, event("dawp_run_completed", success=False, **scoped())], event("error", error="try later"),
     [Closed(RUN, 9, FAILED, "Busy", "try later")]),
    ("the next model call", [TOLD, STATUS, OPENED], told("model.opened", call="2", stream=True, model="b"),
     [Closed("chat:1", 9), Opened("chat:2", 9, CHAT, "b")]),
    ("one beside the stream", [TOLD, STARTED, iteration(), OPENED],
     told("model.opened", call="2", stream=False, model="b"),
     [Opened("chat:2", 9, CHAT, "b", "step", {GEN_AI_REQUEST_STREAM: False})]),
    ("one beside the stream, closed", [TOLD, STARTED, iteration(), OPENED], told(
        "model.closed", call="2", stream=False, model="b-1", id="r", finish_reason="stop",
        usage={"prompt_tokens": 5, "completion_tokens": None}),
     [Noted("chat:2", 9, {GEN_AI_RESPONSE_MODEL: "b-1", GEN_AI_RESPONSE_ID: "r",
                          GEN_AI_RESPONSE_FINISH_REASONS: ("stop",)}),
      Usage("chat:2", 9, 5), Closed("chat:2", 9)]),
    ("one beside the stream, failed", [TOLD, STARTED, iteration(), OPENED], told(
        "model.closed", call="2", stream=False, outcome="failed", error_type="Busy", message="later"),
     [Closed("chat:2", 9, FAILED, "Busy", "later")]),
    ("the provider is known", [TOLD, STATUS], event("result", provider="OpenAI"), [Closed("step", 9), Closed(RUN, 9)]),
    ("of another system", [STATUS], told("run.closed", status="x"), []),
    ("with no data", [STATUS], Aside("model.opened", None), []),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("before", "given_", "signals"), [row[1:] for row in ASIDES], ids=[row[0] for row in ASIDES])
def test_aside(before: list[Any], given_: Any, signals: list[Signal]) -> None:
    assert list(after(*before).feed(given_, 9)) == signals


# Forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda data: json.dumps(data),
        lambda data: json.dumps(data).encode(),
        lambda data: ServerSentEvent(json.dumps(data)),
        MappingProxyType,
    ],
    ids=["line", "bytes", "server-sent event", "mapping"],
)
def test_framed_events(form: Any) -> None:
    dialect = Aiecs()
    signals = [signal for data in (STATUS, TOKEN, event("result")) for signal in dialect.feed(form(data), 9)]
    assert signals == [
        Opened("chat", 9, CHAT),
        Chunk("chat", 9, TEXT, "Hel"),
        Closed("chat", 9),
        Closed("step", 9),
        Closed(RUN, 9),
    ]


def test_the_text_of_process_message_streaming() -> None:
    dialect = Aiecs()
    assert [signal for text in ("Hel", "", "12") for signal in dialect.feed(text, 9)] == [
        Chunk(RUN, 9, TEXT, "Hel"),
        Chunk(RUN, 9, TEXT, "12"),
    ]
    assert list(dialect.finish(10)) == [Closed(RUN, 10)]


def test_a_stream_of_events_that_only_stops_is_not_closed_here() -> None:
    assert list(after(STATUS, TOKEN).finish(9)) == []
    assert list(after("text", event("error", error="x")).finish(9)) == []


# Never an error, never without bounds -----------------------------------------------------------------------

TYPES = sorted(Aiecs.events)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "content", "status", "tool_call", "tool_calls", "cache_read_tokens", "tool_name", "operation", "parameters",
    "result", "error", "iteration", "success", "reason", "output", "provider", "reasoning_steps", "tool_used",
    "execution_time", "timestamp", "loop_scope", "run_id", "workflow_id", "step_id", "dawp_result",
)  # fmt: skip
EVENTS = st.builds(
    lambda type_, rest: {"type": type_, **rest},
    st.sampled_from(TYPES) | JUNK,
    st.dictionaries(st.sampled_from(FIELDS), JUNK | st.just(scoped()["loop_scope"]), max_size=5),
)
SANE = st.sampled_from([row[2] for row in (*ROWS, *ASIDES)])
ASIDE = st.builds(
    Aside,
    st.sampled_from(["model.told", "model.opened", "model.thought", "model.usage", "model.closed"])
    | st.text(max_size=3),
    st.dictionaries(
        st.sampled_from(["call", "stream", "model", "usage", "outcome", "error_type", "message", "content"]), JUNK
    ),
)


@given(st.lists(SANE | EVENTS | ASIDE | JUNK, max_size=20))
def test_any_data_in_any_order(stream: list[Any]) -> None:
    dialect = Aiecs()
    for at, data in enumerate(stream, 1):
        for signal in dialect.feed(data, at):
            assert signal.at <= at
            if isinstance(signal, Opened):
                assert isinstance(signal.name, str)
            if isinstance(signal, Closed):
                assert isinstance(signal.error_type, str)
    for signal in dialect.finish(len(stream) + 1):
        assert isinstance(signal, Closed)


def test_memory_does_not_grow_with_the_stream() -> None:
    dialect = after(STARTED, iteration())
    for number in range(2 * MAX_CALLS):
        dialect.feed(event("tool_call_delta", tool_call=call(f"c{number}", "f", "{}")), 9)
    assert len(dialect._call._lengths) <= MAX_CALLS
    for number in range(100):
        dialect.feed(iteration(number), 9)
        dialect.feed(TOOLS_READY, 9)
        dialect.feed(cached(), 9)
        dialect.feed(event("tool_result", result="x"), 9)
    assert len(dialect._call._lengths) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ({"é": [1, None]}, '{"é": [1, null]}'),
        ({"at": object}, '{"at": "<class \'object\'>"}'),
        ("x" * 20_000, "x" * 16_384),
        (["x"] * 20_000, ('["x"' + ', "x"' * 20_000)[:16_384]),
    ],
    ids=["text", "json", "an object", "long text", "a long list"],
)
def test_content_is_json_and_bounded(value: Any, text: str) -> None:
    assert encoded(value) == text


def test_content_that_cannot_be_json_is_none() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert encoded(circle) == ""


def test_content_stays_under_its_names() -> None:
    secret = "s3cret"
    stream = [
        iteration(),
        event("token", content=secret),
        event("tool_calls_ready", tool_calls=[call("c1", "f", secret)]),
        cached(),
        event("tool_call", tool_name="f", parameters={"q": secret}),
        event("tool_result", tool_name="f", result=secret),
        event("plugin_hook_failed", error={"message": secret}),
        event("result", reason=f"no {secret}", output=secret, tool_used="t", reasoning_steps=[
            {"type": "thought", "content": secret},
            {"type": "action", "tool": "f", "parameters": secret, "result": secret},
            {"type": "observation", "content": secret},
        ]),
    ]  # fmt: skip
    dialect = Aiecs()
    signals = [signal for data in stream for signal in dialect.feed(data, 9)]
    named = [(name, str(value)) for signal in signals for name, value in getattr(signal, "attributes", {}).items()]
    assert {name for name, value in named if secret in value} == {
        GEN_AI_TOOL_CALL_ARGUMENTS,
        GEN_AI_TOOL_CALL_RESULT,
        GEN_AI_OUTPUT_MESSAGES,
    }
    assert {name for name, value in named if secret in value} <= semconv.CONTENT_ATTRIBUTES
