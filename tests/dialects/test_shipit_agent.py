"""The table of shipit_agent's events, from shipit-agent 2.2.1: `models.py` (the published types), `runtime.py`,
`runtime_core.py`, `async_runtime.py`, `graph.py` (what is emitted), `packets.py`, `streaming.py`, `serve.py` (wire)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import by_path, find
from streamgauge.dialects.shipit_agent import CANCEL, MAX_DEPTH, ShipitAgent
from streamgauge.signals import Chunk, Closed, Noted, Opened, Retried, Signal, Usage
from streamgauge.wire import Aside, Outcome, ServerSentEvent

from .agent_streams import check_wire, wire_files

CAPTURES = sorted(
    path for path in (Path(__file__).parents[1] / "captures").glob("shipit-*.ndjson") if "-socket-" not in path.stem
)
AT = 7


@dataclasses.dataclass(slots=True)
class AgentEvent:
    """As shipit_agent's own."""

    type: str
    message: str = ""
    payload: dict[str, Any] = dataclasses.field(default_factory=dict)
    timestamp: float = 0.0


def event(type_: str, message_: str = "", **payload: Any) -> dict[str, Any]:
    return {"type": type_, "message": message_, "payload": payload, "timestamp": 0.0}


def inner(type_: str, agent: str = "researcher", **payload: Any) -> dict[str, Any]:
    """A sub-agent's event, as its parent tells it."""
    return event("sub_agent_event", agent=agent, task="look", inner_type=type_, inner=payload)


def words(signal: Signal) -> str:
    """A signal in one line."""
    match signal:
        case Opened(key, _, operation, name, parent):
            return f"+{key} {operation} {name} <{parent}".replace("  ", " ")
        case Closed(key, _, outcome, error_type, message):
            how = "" if outcome is Outcome.COMPLETED else f" {outcome}"
            return f"-{key}{how}{error_type and ' ' + error_type}{message and ': ' + message}"
        case Chunk(key, _, kind, text):
            return f"{kind} {key} {text}"
        case Usage(key):
            counts = (signal.input_tokens, signal.output_tokens, signal.cache_read_tokens, signal.cache_write_tokens)
            return f"usage {key} " + "/".join("" if count is None else str(count) for count in counts)
        case Noted(key, _, attributes, name):
            return f"note {key} {name}" + "".join(f" {value}" for value in attributes.values())
        case Retried(key, _, target, attempt, reason, delay):
            return f"retry {key} {target} {attempt} {reason}{delay}"
    raise AssertionError(signal)


def told(events: Iterable[Any], dialect: ShipitAgent | None = None) -> list[str]:
    dialect = dialect or ShipitAgent()
    return [words(signal) for data in events for signal in dialect.feed(data, AT)]


STEP = event("step_started", iteration=1, tool_count=1)
GROUP = event(
    "tool_group_started", group_id="g", tools=[{"name": "search", "call_id": "c1"}, {"name": "x", "call_id": "c2"}]
)
CALLED = event("tool_called", "Tool called: search", tool="search", call_id="c1", iteration=1)
OPEN_STEP = ["+/step step 1 <", "+/call chat </step"]
OPEN_TOOL = ["-/call", "+/tool/c1 execute_tool search </step"]


def tick(read: int, output: int, cached: int = 0, written: int = 0) -> dict[str, Any]:
    usage = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
    usage |= {"cache_read_input_tokens": cached, "cache_creation_input_tokens": written}
    return event("usage_tick", usage=usage, iteration=1)


ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # Runs (runtime.py `_run_inner`, `stream`)
    "run_started": ([event("run_started", run_id="r", session_id="s")], ["note   s"]),
    "run_started: v2 has the model": ([event("run_started", model="m", tools=[])], ["note   m"]),
    "run_started: async has nothing": ([event("run_started", prompt="hi")], []),
    "run_completed": ([event("run_completed", output="")], ["-"]),
    "run_completed: a second one": ([event("run_completed"), event("run_completed", output="late")], ["-"]),
    "run_completed: cancelled": (
        [STEP, event("run_completed", cancelled=True, output="x")],
        [*OPEN_STEP, "- cancelled"],
    ),
    "run_cancelled": (
        [STEP, event("run_cancelled"), event("run_completed", cancelled=True)],
        [*OPEN_STEP, "- cancelled"],
    ),
    "run_failed": (
        [STEP, event("run_failed", error_type="ValueError", error="boom", retryable=False)],
        [*OPEN_STEP, "- failed ValueError: boom"],
    ),
    "run_failed: v2 goes on": (
        [event("run_failed", error="boom"), event("run_summary", usage={"input_tokens": 1}), event("run_completed")],
        ["- failed: boom"],
    ),
    "rag_sources": ([event("run_completed"), event("rag_sources", sources=[])], ["-"]),
    "after the end": ([event("run_completed"), STEP, CALLED, tick(1, 1)], ["-"]),
    "the next turn": (
        [
            event("run_started", run_id="1"),
            event("run_completed"),
            event("run_started", run_id="2", session_id="s"),
            STEP,
        ],
        ["-", "+ invoke_agent <", "note   s", *OPEN_STEP],
    ),
    "the next turn after one that was cancelled": (
        [event("run_started", run_id="1"), STEP, event("run_started", run_id="2")],
        [*OPEN_STEP, "- truncated", "+ invoke_agent <"],
    ),
    "the next turn after the caller's cancel": (
        [event("run_started", run_id="1"), Aside(CANCEL), event("run_started", run_id="2")],
        ["- cancelled", "+ invoke_agent <"],
    ),
    # Steps and model calls
    "step_started": ([STEP], OPEN_STEP),
    "iteration_started": ([event("iteration_started", iteration=1)], OPEN_STEP),
    "step_started: the next": (
        [STEP, event("step_started", iteration=2)],
        [*OPEN_STEP, "-/call", "-/step", "+/step step 2 <", "+/call chat </step"],
    ),
    "step_started: of the computer": ([event("step_started", iteration=0)], ["+/step step 0 <", "+/call chat </step"]),
    "step_started: of a goal": ([event("step_started", step=3, task="x")], ["+/step step 3 <"]),
    "step_started: of a pipeline": ([event("step_started", step="draft")], ["+/step step draft <"]),
    "step_started: bare": (
        [event("step_started"), event("step_started")],
        ["+/step step 1 <", "-/step", "+/step step 2 <"],
    ),
    "planning": (
        [event("planning_started"), event("planning_completed")],
        ["+/step step planning <", "-/step"],
    ),
    "planning_completed: another step is open": ([STEP, event("planning_completed")], OPEN_STEP),
    "planning: ends where it delegates": (
        [event("planning_started", round=1), event("tool_called", agent="writer", prompt="p")],
        ["+/step step planning <", "-/step", "+/tool/writer invoke_agent writer <"],
    ),
    "text_delta": ([STEP, event("text_delta", chunk="hi")], [*OPEN_STEP, "text /call hi"]),
    "text_delta: outside": ([event("text_delta", chunk="hi")], ["text  hi"]),
    "text_delta: empty": ([event("text_delta", chunk=""), event("text_delta", chunk=None), event("text_delta")], []),
    "text_delta: junk": ([{**event("text_delta"), "payload": None}], []),
    "tool_input_delta: empty": ([event("tool_input_delta", delta="")], []),
    "reasoning_completed": (
        [STEP, tick(1, 1), event("reasoning_started"), event("reasoning_completed", content="hm"), GROUP],
        [*OPEN_STEP, "usage /call 1/1//", "reasoning /call hm", "-/call"],
    ),
    "reasoning_completed: of a reflection": ([event("reasoning_completed", quality=0.9, feedback="good")], []),
    "reasoning_delta": ([STEP, event("reasoning_delta", chunk="hm")], [*OPEN_STEP, "reasoning /call hm"]),
    "tool_input_delta": ([STEP, event("tool_input_delta", call_id="c", delta="a")], [*OPEN_STEP, "tool_call /call a"]),
    "tool_input_delta: v2": ([STEP, event("tool_input_delta", chunk="{")], [*OPEN_STEP, "tool_call /call {"]),
    "llm_retry": (
        [STEP, event("text_delta", chunk="par"), event("llm_retry", attempt=1, error="net", delay=0.5)],
        [*OPEN_STEP, "text /call par", "retry /call model 1 0.5"],
    ),
    "llm_retry: no delay": ([event("llm_retry", attempt=2, error="net")], ["retry  model 2 None"]),
    "usage_tick": ([STEP, tick(10, 4)], [*OPEN_STEP, "usage /call 10/4//"]),
    "usage_tick: sums": (
        [STEP, tick(10, 4, 2), event("step_started", iteration=2), tick(30, 9, 2)],
        [
            *OPEN_STEP,
            "usage /call 10/4/2/",
            "-/call",
            "-/step",
            "+/step step 2 <",
            "+/call chat </step",
            "usage /call 20/5//",
        ],
    ),
    "usage_tick: nothing reported": ([STEP, tick(0, 0)], OPEN_STEP),
    "usage_tick: the cache was not in the input": ([STEP, tick(5, 4, 20, 3)], [*OPEN_STEP, "usage /call 28/4/20/3"]),
    "usage_tick: two for one call": (
        [STEP, tick(10, 4), tick(15, 6)],
        [*OPEN_STEP, "usage /call 10/4//", "usage /call 15/6//"],
    ),
    "usage_tick: outside counts with the next call": (
        [tick(10, 4), STEP, tick(30, 9)],
        [*OPEN_STEP, "usage /call 30/9//"],
    ),
    "final_answer": (
        [STEP, event("text_delta", chunk="hi"), event("final_answer", content="hi")],
        [*OPEN_STEP, "text /call hi", "-/call", "-/step"],
    ),
    "final_answer: no delta before": (
        [STEP, tick(1, 1), event("final_answer", content="hi"), event("run_completed", output="hi")],
        [*OPEN_STEP, "usage /call 1/1//", "note   message", "text /call hi", "-/call", "-/step", "-"],
    ),
    "final_answer: v2": (
        [STEP, event("final_answer", text="hi")],
        [*OPEN_STEP, "note   message", "text /call hi", "-/call", "-/step"],
    ),
    "run_completed: the answer's only place": (
        [STEP, event("run_completed", output="hi", content="hi")],
        [*OPEN_STEP, "note   message", "text /call hi", "-/call", "-/step", "-"],
    ),
    "guardrail_triggered: at the input": (
        [event("guardrail_triggered", stage="input"), event("run_completed", output="blocked")],
        ["-"],
    ),
    "guardrail_triggered: at a tool's output": (
        [event("guardrail_triggered", stage="tool_output"), event("run_completed", output="hi")],
        ["note   message", "text  hi", "-"],
    ),
    "prompt_blocked": ([event("prompt_blocked", reason="r"), event("run_completed", output="no")], ["-"]),
    "budget_exhausted": ([event("budget_exhausted"), event("final_answer", content="stopped")], []),
    "budget_unavailable": ([event("budget_unavailable"), event("final_answer", content="stopped")], []),
    "run_summary": ([event("run_summary", finish_reason="stop", usage={}), event("run_summary")], ["note   ('stop',)"]),
    "run_summary: v2 has the only usage": (
        [
            event(
                "run_summary",
                usage={"input_tokens": 20, "output_tokens": 8, "cache_read_tokens": 5},
                stop_reason="finished",
            )
        ],
        ["usage  20/8/5/"],
    ),
    "run_summary: known already": (
        [STEP, tick(1, 1), event("run_summary", usage={"input_tokens": 9, "output_tokens": 9})],
        [*OPEN_STEP, "usage /call 1/1//", "-/call"],
    ),
    "compaction": (
        [STEP, event("context_compaction_started"), tick(5, 2), event("context_compacted", before=9)],
        [
            *OPEN_STEP,
            "-/call",
            "-/step",
            "+/step step compaction <",
            "+/call chat </step",
            "usage /call 5/2//",
            "-/call",
            "-/step",
        ],
    ),
    "compaction: without a model": (
        [event("context_compaction_started"), STEP],
        ["+/step step compaction <", "-/step", *OPEN_STEP],
    ),
    "context_compacted: by fitting alone": ([STEP, event("context_compacted", mode="hard_fit")], OPEN_STEP),
    # Persons
    "interactive_request": (
        [event("interactive_request", kind="ask_user"), STEP],
        ["note  streamgauge.person.asked", "note  streamgauge.person.answered", *OPEN_STEP],
    ),
    "approval_required": (
        [STEP, CALLED, event("approval_required", tool="search", tool_call_id="c1")],
        [*OPEN_STEP, *OPEN_TOOL, "note /tool/c1 streamgauge.person.asked"],
    ),
    "approval_required: of no call": ([event("approval_required")], ["note  streamgauge.person.asked"]),
    # Tools (runtime.py `_execute_single_tool`)
    "tool_called": ([STEP, GROUP, CALLED], [*OPEN_STEP, *OPEN_TOOL]),
    "tool_called: v2": ([STEP, event("tool_called", tool="search", tool_call_id="c1")], [*OPEN_STEP, *OPEN_TOOL]),
    "tool_called: of nothing": ([event("tool_called")], []),
    "tool_called: of a crew": (
        [event("tool_called", task="draft", agent="writer"), event("tool_failed", task="draft", error="boom")],
        ["+/tool/draft invoke_agent writer <", "-/tool/draft failed: boom"],
    ),
    "tool_called: of a supervisor": (
        [event("tool_called", worker="bob", task="dig"), event("tool_completed", worker="bob", output="")],
        ["+/tool/bob invoke_agent bob <", 'note /tool/bob  ""', "-/tool/bob"],
    ),
    "tool_output": (
        [STEP, CALLED, event("tool_output_started", call_id="c1"), event("tool_output_delta", call_id="c1", chunk="x")],
        [*OPEN_STEP, *OPEN_TOOL],
    ),
    "tool_completed": (
        [STEP, CALLED, event("tool_completed", tool="search", call_id="c1", output="found", metadata={})],
        [*OPEN_STEP, *OPEN_TOOL, 'note /tool/c1  "found"', "-/tool/c1"],
    ),
    "tool_completed: v2": (
        [STEP, CALLED, event("tool_completed", "found", tool="search", tool_call_id="c1", duration_ms=1.0)],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1"],
    ),
    "tool_completed: by name": (
        [STEP, CALLED, event("tool_completed", tool="search")],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1"],
    ),
    "tool_completed: of a goal's step": ([event("tool_completed", "Step 1 output", step=1, output="x")], []),
    "tool_completed: of a goal's evaluation": ([event("tool_completed", "Criteria met: [0]", criteria_met=[0])], []),
    "tool_completed: never called, since approved of": (
        [STEP, GROUP, event("tool_completed", tool="search", call_id="c1", action_id="a")],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1"],
    ),
    "tool_failed": (
        [STEP, CALLED, event("tool_failed", call_id="c1", error="boom", metadata={"error_type": "ValueError"})],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1 failed ValueError: boom"],
    ),
    "tool_failed: after retries": (
        [STEP, CALLED, event("tool_failed", call_id="c1", error="net", metadata={"error": "net"})],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1 failed: net"],
    ),
    "tool_failed: not registered": (
        [STEP, GROUP, event("tool_failed", "Tool failed: x", error="tool_not_registered", iteration=1)],
        [
            *OPEN_STEP,
            "-/call",
            "+/tool/c2 execute_tool x </step",
            "-/tool/c2 failed tool_not_registered: tool_not_registered",
        ],
    ),
    "tool_failed: not registered, no message": (
        [STEP, GROUP, CALLED, event("tool_failed", error="tool_not_registered", iteration=1)],
        [
            *OPEN_STEP,
            *OPEN_TOOL,
            "+/tool/c2 execute_tool x </step",
            "-/tool/c2 failed tool_not_registered: tool_not_registered",
        ],
    ),
    "tool_failed: of a team without that agent": ([event("tool_failed", "Agent 'bob' not found", agent="bob")], []),
    "tool_denied": (
        [STEP, GROUP, event("tool_denied", tool="search", call_id="c1", reason="no", decision="deny")],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1 failed permission_denied: no"],
    ),
    "tool_denied: asks": (
        [STEP, GROUP, event("tool_denied", tool="search", call_id="c1", reason="ask", decision="ask")],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1 failed permission_required: ask"],
    ),
    "tool_denied: after it was called": (
        [STEP, CALLED, event("tool_denied", tool="search", call_id="c1", decision="deny")],
        [*OPEN_STEP, *OPEN_TOOL, "-/tool/c1 failed permission_denied"],
    ),
    "tool_arguments_rejected": (
        [STEP, GROUP, event("tool_arguments_rejected", tool="x", arguments={})],
        [*OPEN_STEP, "-/call", "+/tool/c2 execute_tool x </step", "-/tool/c2 failed missing_required_arguments"],
    ),
    "tool_arguments_rejected: not announced": (
        [event("tool_arguments_rejected", tool="x", arguments={})],
        ["+/tool/x execute_tool x <", "-/tool/x failed missing_required_arguments"],
    ),
    "tool_skipped_duplicate": (
        [STEP, GROUP, event("tool_skipped_duplicate", tool="x", iteration=1)],
        [*OPEN_STEP, "-/call", "note /step streamgauge.tool.skipped x"],
    ),
    "action_queued": (
        [STEP, GROUP, event("action_queued", tool="x", call_id="c2", action_id="a", title="Send")],
        [*OPEN_STEP, "-/call", "note /step streamgauge.tool.queued x"],
    ),
    "tool_group_completed": (
        [
            STEP,
            GROUP,
            event("tool_group_completed"),
            event("tool_failed", "Tool failed: x", error="tool_not_registered"),
        ],
        [*OPEN_STEP, "-/call"],
    ),
    "tool_group_started: v2": ([STEP, event("tool_group_started", tools=["search"])], [*OPEN_STEP, "-/call"]),
    "tool_retry": (
        [STEP, CALLED, event("tool_retry", tool="search", call_id="c1", attempt=1, error="net")],
        [*OPEN_STEP, *OPEN_TOOL, "retry /tool/c1 tool 1 None"],
    ),
    "tool_retry: async": (
        [
            STEP,
            CALLED,
            event("tool_called", tool="x", call_id="c2"),
            event("tool_retry", "Retrying tool: search", attempt=1),
        ],
        [*OPEN_STEP, *OPEN_TOOL, "+/tool/c2 execute_tool x </step", "retry /tool/c1 tool 1 None"],
    ),
    "tool_retry: async, inside a sub-agent": (
        [STEP, CALLED, event("tool_retry", attempt=2)],
        [*OPEN_STEP, *OPEN_TOOL, "retry /tool/c1 tool 2 None"],
    ),
    "tool_retry: of no call": ([event("tool_retry", attempt=2)], []),
    "a step ends with its tools open": (
        [STEP, CALLED, event("step_started", iteration=2), event("tool_completed", tool="search")],
        [
            *OPEN_STEP,
            *OPEN_TOOL,
            "-/step",
            "+/step step 2 <",
            "+/call chat </step",
            "+/tool/search execute_tool search </step",
            "-/tool/search",
        ],
    ),
}

DELEGATE = event("tool_called", tool="sub_agent", call_id="d1", arguments={"task": "look"})
OPEN_DELEGATE = ["+/tool/d1 execute_tool sub_agent <", "+/agent/1 invoke_agent researcher </tool/d1"]
CHILD = "/agent/1"
OPEN_CHILD_STEP = [f"+{CHILD}/step step 1 <{CHILD}", f"+{CHILD}/call chat <{CHILD}/step"]

ROWS |= {
    "sub_agent_event": (
        [
            DELEGATE, inner("run_started", run_id="r2"), inner("step_started", run_id="r2", iteration=1),
            inner("text_delta", run_id="r2", chunk="hi"), inner("text_delta", run_id="r2"),
            inner("usage_tick", run_id="r2", usage={"prompt_tokens": 3, "completion_tokens": 1}),
            inner("final_answer", run_id="r2", content="hi"), inner("run_completed", run_id="r2", output="hi"),
            inner("rag_sources"), inner("run_completed", run_id="r2"), event("tool_completed", call_id="d1"),
        ],
        [
            *OPEN_DELEGATE, *OPEN_CHILD_STEP, f"text {CHILD}/call hi", f"usage {CHILD}/call 3/1//", f"-{CHILD}/call",
            f"-{CHILD}/step", f"-{CHILD}", "-/tool/d1",
        ],
    ),
    "sub_agent_event: its own calls": (
        [
            DELEGATE, inner("step_started", iteration=1), inner("tool_called", tool="search", call_id="d1"),
            inner("tool_failed", tool="search", call_id="d1", error="boom"),
        ],
        [
            *OPEN_DELEGATE, *OPEN_CHILD_STEP, f"-{CHILD}/call", f"+{CHILD}/tool/d1 execute_tool search <{CHILD}/step",
            f"-{CHILD}/tool/d1 failed: boom",
        ],
    ),
    "sub_agent_event: fails without its id": (
        [DELEGATE, inner("run_started", run_id="r2"), inner("run_failed", error_type="ValueError", error="boom")],
        [*OPEN_DELEGATE, f"-{CHILD} failed ValueError: boom"],
    ),
    "sub_agent_event: its answer is no chunk of its own granularity": (
        [DELEGATE, inner("run_started", run_id="r2"), inner("run_completed", run_id="r2", output="hi")],
        [*OPEN_DELEGATE, f"text {CHILD} hi", f"-{CHILD}"],
    ),
    "sub_agent_event: two at once": (
        [
            inner("run_started", run_id="r2"), inner("run_started", run_id="r3"),
            inner("text_delta", run_id="r2", chunk="a"), inner("text_delta", run_id="r3", chunk="b"),
        ],
        [
            "+/agent/1 invoke_agent researcher <", "+/agent/2 invoke_agent researcher <",
            "text /agent/1 a", "text /agent/2 b",
        ],
    ),
    "sub_agent_event: in the background": (
        [
            event("tool_called", tool="sub_agent", call_id="d1", arguments={"task": "look", "background": True}),
            inner("run_started", run_id="r2"), event("tool_completed", call_id="d1"), STEP,
            inner("text_delta", run_id="r2", chunk="a"),
        ],
        [
            "+/tool/d1 execute_tool sub_agent <", "+/agent/1 invoke_agent researcher <", "-/tool/d1", *OPEN_STEP,
            "text /agent/1 a",
        ],
    ),
    "sub_agent_event: of an agent that is a tool": (
        [event("tool_called", tool="expert", call_id="d1"), inner("run_started", "expert", run_id="r2")],
        ["+/tool/d1 execute_tool expert <", "+/agent/1 invoke_agent expert </tool/d1"],
    ),
    "sub_agent_event: stragglers": ([inner("tool_completed", tool="x"), inner("usage_tick"), inner("unheard_of")], []),
    "sub_agent_event: ends with its tool": (
        [
            DELEGATE, inner("run_started", run_id="r2"), event("tool_failed", call_id="d1", error="timeout"),
            inner("text_delta", run_id="r2", chunk="late"),
        ],
        [*OPEN_DELEGATE, "-/tool/d1 failed: timeout"],
    ),
    "subagent_started": (
        [
            DELEGATE, event("subagent_started", label="researcher", task="t"),
            event("subagent_event", label="researcher", event=event("iteration_started", iteration=1)),
            event("subagent_event", label="researcher", event=event("text_delta", chunk="hi")),
            event("subagent_completed", label="researcher"), event("subagent_completed", label="researcher"),
        ],
        [*OPEN_DELEGATE, *OPEN_CHILD_STEP, f"text {CHILD}/call hi", f"-{CHILD}/call", f"-{CHILD}/step", f"-{CHILD}"],
    ),
    "a pipeline": (
        [
            event("run_started", stages=2), event("step_started", step="draft"), event("run_started", run_id="r2"),
            STEP, event("text_delta", chunk="hi"), event("run_completed", run_id="r2", output="hi"),
            event("tool_completed", step="draft", output="hi"), event("run_completed", output="hi"),
        ],
        [
            "+/step step draft <", "+/agent/1 invoke_agent </step", *OPEN_CHILD_STEP, f"text {CHILD}/call hi",
            f"-{CHILD}/call", f"-{CHILD}/step", f"-{CHILD}", "note   message", "text  hi", "-/step", "-",
        ],
    ),
    "a pipeline: a stage is cut short": (
        [
            event("run_started", stages=2), event("step_started", step="draft"), event("run_started", run_id="r2"),
            event("run_started", run_id="r3"), event("run_completed", run_id="r3"), event("run_completed"),
        ],
        [
            "+/step step draft <", "+/agent/1 invoke_agent </step", "-/agent/1 truncated",
            "+/agent/2 invoke_agent </step", "-/agent/2", "-/step", "-",
        ],
    ),
    "a persistent agent": (
        [
            event("step_started", step=1), event("run_started", run_id="r"), STEP, event("run_completed", run_id="r"),
            event("step_started", step=2), event("run_started", run_id="r2"), event("run_completed", run_id="r2"),
            event("run_completed", output="x", steps=2),
        ],
        [
            "+/step step 1 <", "-/step", *OPEN_STEP, "-/call", "-/step", "-", "+ invoke_agent <", "-",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    events, expected = ROWS[name]
    assert told(events) == expected
    objects = [data if isinstance(data, Aside) else AgentEvent(**data) for data in events]
    assert told(objects) == expected


def test_every_type_is_in_the_table() -> None:
    published = (  # models.py, `EventType`
        "run_started iteration_started reasoning_started reasoning_delta reasoning_completed text_delta "
        "tool_group_started tool_called tool_input_delta tool_output_delta tool_completed tool_failed tool_denied "
        "tool_arguments_rejected tool_group_completed skill_catalog_ready skill_loaded mcp_attached "
        "tools_discovered tools_rebound subagent_started subagent_event subagent_completed "
        "context_compaction_started context_compacted approval_required checkpoint_saved usage_tick llm_retry "
        "final_answer run_summary run_completed run_failed run_cancelled "
    )
    emitted = (  # runtime.py, runtime_core.py, async_runtime.py, agent.py, context_tracker.py, deep/channel.py
        "action_queued agent_decision agent_observation artifact_created budget_exhausted budget_unavailable "
        "connection_requested context_snapshot guardrail_triggered interactive_request lockdown_engaged "
        "model_output_recovered planning_completed planning_started progress_summary_failed prompt_blocked "
        "rag_sources research_complete skills_selected step step_started stop_blocked stop_hook_error "
        "stop_unresolved sub_agent_event tool_call_healed tool_calls_ignored tool_input_started "
        "tool_output_started tool_retry tool_skipped_duplicate verify_required verify_skipped "
    )
    framed = "stream_hello agent_event agent_result error"  # streaming.py, packets.py, serve.py
    assert set(ShipitAgent.events) == {*published.split(), *emitted.split(), *framed.split()}
    assert all(ShipitAgent.events.values())


@pytest.mark.parametrize("kind", [kind for kind, what in ShipitAgent.events.items() if what == "nothing"])
def test_silent_types(kind: str) -> None:
    assert (
        told([STEP, event(kind, "about: x", chunk="x", tool="x", call_id="c", iteration=1), event("unheard_of")])
        == OPEN_STEP
    )


def test_it_is_registered() -> None:
    assert find("shipit-agent") is ShipitAgent
    assert (ShipitAgent.name, ShipitAgent.terminal, ShipitAgent.framing) == ("shipit-agent", True, "sse")


# Forms ---------------------------------------------------------------------------------------------------------


def forms(data: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(data, sort_keys=True)
    frame = json.dumps({**data, "durability": "provisional", "generation": "1-1", "sequence": 3})
    packet = {"packet_type": "agent_event", "event": data}
    return {
        "object": AgentEvent(**data),
        "dict": data,
        "callback packet": packet,
        "websocket packet": {"type": "agent_event", "event_type": data["type"], **packet},
        "websocket message": json.dumps({"type": "agent_event", "event_type": data["type"], **packet}),
        "line": text.encode(),
        "dispatched": ServerSentEvent(text, data["type"]),
        "sse_event_packet": f"event: {data['type']}\ndata: {text}\n\n",
        "stream_sse": f"id: 3\nevent: {data['type']}\ndata: {frame}\n\n".encode(),
    }


@pytest.mark.parametrize("form", forms(STEP))
def test_forms(form: str) -> None:
    assert told([forms(STEP)[form], forms(event("text_delta", chunk="hi"))[form]]) == [*OPEN_STEP, "text /call hi"]


def test_frames_that_are_no_events() -> None:
    hello = {"type": "stream_hello", "durability": "control", "payload": {"generation": "1-1"}, "sequence": 0}
    done = "event: done\ndata: [DONE]\n\n"
    result = {"type": "agent_result", "packet_type": "agent_result", "result": {"output": "x"}}
    assert told([hello, done, ServerSentEvent("[DONE]", "done"), "", b"\xff", result]) == []
    nested = {"type": "agent_event", "event": {"type": "agent_event", "event": STEP}}
    assert told([nested]) == []


def test_the_servers_error_frame() -> None:
    frame = ServerSentEvent('{"error": "boom"}', "error")
    assert told([STEP, frame, frame]) == [*OPEN_STEP, "- failed: boom"]
    assert told([ServerSentEvent("no json", "error")]) == []


# Ends -----------------------------------------------------------------------------------------------------------


def finished(*events: Any) -> list[str]:
    dialect = ShipitAgent()
    told(events, dialect)
    return [words(signal) for signal in dialect.finish(AT)]


def test_an_end_without_a_terminal_event() -> None:
    assert finished(event("run_started"), STEP) == []  # the tap knows: truncated
    assert finished(event("run_started"), STEP, tick(1, 1)) == ["-/call"]


def test_an_end_after_the_callers_cancel() -> None:
    assert finished(STEP, Aside(CANCEL)) == ["- cancelled"]
    assert finished(STEP, Aside("else")) == []
    assert finished(STEP, Aside(CANCEL), event("run_completed")) == []


def test_an_end_with_another_agents_terminal_event() -> None:
    adaptive = [
        event("run_started", created_tools=[]),
        event("run_started", run_id="r"),
        event("run_completed", run_id="r"),
    ]
    assert finished(*adaptive) == ["-"]
    assert finished(*adaptive, event("rag_sources")) == ["-"]
    assert finished(*adaptive, STEP) == []
    assert finished(*adaptive[:2], event("run_failed", error="boom")) == []


# Times -----------------------------------------------------------------------------------------------------------


def test_times_are_the_events_own_but_for_chunks_and_the_end() -> None:
    dialect = ShipitAgent()
    dialect.anchor = 1_000_000_000_000

    def at(seconds: float, data: dict[str, Any]) -> list[int]:
        """Arrives 5 s late, as with a slow caller."""
        now = int((seconds + 5) * 1e9)
        return [signal.at for signal in dialect.feed({**data, "timestamp": 1000 + seconds}, now)]

    assert at(1, STEP) == [1_000_000_000] * 2
    assert at(2, event("text_delta", chunk="x")) == [7_000_000_000]
    assert at(3, tick(1, 1)) == [3_000_000_000]
    assert at(4, event("reasoning_completed", content="x")) == [9_000_000_000]
    assert at(5, CALLED) == [3_000_000_000, 5_000_000_000]  # the model call ended where its usage was told
    assert at(8, event("tool_completed", call_id="c1")) == [8_000_000_000]
    denied = event("tool_denied", tool="x", call_id="c2", decision="deny")
    assert at(20, denied) == [8_000_000_000, 20_000_000_000]  # a person may have thought about it in between
    assert at(30, event("run_completed")) == [30_000_000_000, 35_000_000_000]


def test_a_sub_agents_time_is_its_own_where_it_is_told() -> None:
    dialect = ShipitAgent()
    wrapped = {**event("iteration_started", iteration=1), "timestamp": 2.0}
    outer = {**event("subagent_event", label="a", event=wrapped), "timestamp": 3.0}
    assert [signal.at for signal in dialect.feed(outer, 9_000_000_000)] == [2_000_000_000] * 3
    told = dialect.feed({**inner("step_started", "a", iteration=2), "timestamp": 4.0}, 9_000_000_000)
    assert [signal.at for signal in told] == [4_000_000_000] * 4


# What it keeps to itself -------------------------------------------------------------------------------------------


def test_content_is_only_where_the_recorder_looks_for_it() -> None:
    dialect = ShipitAgent()
    (opened,) = dialect.feed(event("tool_called", tool="t", call_id="c", arguments={"q": "s3cret"}), AT)
    assert isinstance(opened, Opened)
    assert opened.attributes == {"gen_ai.tool.call.id": "c", "gen_ai.tool.call.arguments": '{"q": "s3cret"}'}
    noted, closed = dialect.feed(event("tool_completed", call_id="c", output={"found": "s3cret"}), AT)
    assert isinstance(noted, Noted)
    assert noted.attributes == {"gen_ai.tool.call.result": '{"found": "s3cret"}'}
    assert noted.attributes.keys() <= semconv.CONTENT_ATTRIBUTES
    assert "s3cret" not in repr(closed)


def test_arguments_that_are_no_json() -> None:
    class Evil:
        def __str__(self) -> str:
            raise RuntimeError

    loop: list[Any] = []
    loop.append(loop)
    for arguments in ({"q": object()}, {"q": Evil()}, loop, {(1, 2): 3}):
        assert told([event("tool_called", tool="t", call_id="c", arguments=arguments)]) == ["+/tool/c execute_tool t <"]


def test_depth_is_bounded() -> None:
    data = event("step_started", iteration=1)
    for _ in range(MAX_DEPTH + 20):
        data = inner(data["type"], **data["payload"])
    assert told([data]) == []
    begin = event("run_started")
    dialect = ShipitAgent()
    opened = []
    for _ in range(MAX_DEPTH + 20):
        begin = inner(begin["type"], **begin["payload"])
        opened += told([begin], dialect)
    assert [line.split()[0] for line in opened] == [f"+{'/agent/1' * depth}" for depth in range(1, MAX_DEPTH + 1)]


def test_memory_is_of_what_is_open() -> None:
    dialect = ShipitAgent()
    for number in range(200):
        told(
            [
                event("step_started", iteration=number),
                event("tool_group_started", tools=[{"name": "t", "call_id": f"{number}-{n}"} for n in range(5)]),
                event("tool_called", tool="sub_agent", call_id=f"{number}-0"),
                inner("run_started", run_id=f"r{number}"),
                event("tool_completed", call_id=f"{number}-0"),
            ],
            dialect,
        )
    told([event("step_started", iteration=999)], dialect)
    run = dialect._run
    assert (run.tools.open, run.tools.pending, run.children) == ({}, {}, [])


# Captures -----------------------------------------------------------------------------------------------------------


def captured(path: Path) -> list[tuple[int, Any]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(r["at"], r.get("data", r.get("text"))) for r in records if r.keys() & {"data", "text"}]


def balanced(signals: Iterable[Signal]) -> dict[str, int]:
    """Plays signals as a recorder does; returns what is still open. Each is told only of what is open."""
    open_: dict[str, str] = {"": ""}
    for signal in signals:
        if isinstance(signal, Opened):
            assert signal.key not in open_, signal
            assert not signal.key or signal.parent in open_, signal
            open_[signal.key] = signal.parent
        else:
            assert signal.key in open_, signal
        if isinstance(signal, Closed):
            gone = {signal.key}
            for key, parent in open_.items():
                if parent in gone and key:
                    gone.add(key)
            for key in gone:
                del open_[key]
    return dict.fromkeys(open_, 1)


ENDS = {
    "shipit-astream-early-aclose": False,
    "shipit-astream-llm-retries-exhausted": False,
    "shipit-early-break-close": False,
}


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_capture(path: Path) -> None:
    dialect = ShipitAgent()
    signals = [signal for at, data in captured(path) for signal in dialect.feed(data, at)]
    left = balanced(signals)
    assert ("" not in left) is ENDS.get(path.stem, True)
    assert left == {} or "" in left
    assert {type(signal) for signal in signals} >= {Opened}


def test_there_are_captures() -> None:
    assert len(CAPTURES) >= 20


# Anything ------------------------------------------------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["c1", "a", "r"])
)
JSON = st.recursive(
    LEAVES, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts), max_leaves=5
)
NAMES = st.sampled_from(
    [
        "chunk", "delta", "content", "text", "output", "tool", "call_id", "tool_call_id", "tools", "usage", "iteration",
        "step", "run_id", "session_id", "error", "error_type", "metadata", "arguments", "agent", "worker", "task",
        "label", "cancelled", "stage", "decision", "attempt", "delay", "message", "event", "finish_reason"
    ]
)  # fmt: skip
KINDS = st.sampled_from(sorted(ShipitAgent.events))
PAYLOADS = st.dictionaries(NAMES, JSON, max_size=6)
EVENTS = st.fixed_dictionaries({"type": KINDS, "payload": PAYLOADS, "timestamp": LEAVES, "message": LEAVES})
INNER = st.builds(
    lambda kind, agent, payload: event("sub_agent_event", agent=agent, inner_type=kind, inner=payload),
    KINDS,
    LEAVES,
    PAYLOADS,
)
FAIR = st.one_of(
    EVENTS,
    INNER,
    st.sampled_from(
        [STEP, GROUP, CALLED, DELEGATE, inner("run_started", run_id="r"), event("run_started", run_id="r"), tick(9, 9)]
    ),
)
JUNK = st.one_of(
    JSON,
    st.binary(max_size=9),
    st.fixed_dictionaries({"type": JSON, "payload": JSON, "event": JSON}),
    st.builds(AgentEvent, JSON, JSON, JSON, JSON),
    st.builds(ServerSentEvent, st.text(max_size=9), st.sampled_from(["error", "message"])),
    st.builds(Aside, st.text(max_size=3)),
    st.builds(object),
)


@given(st.lists(FAIR | JUNK, max_size=25))
def test_anything(events: list[Any]) -> None:
    dialect = ShipitAgent()
    for at, data in enumerate(events):
        for signal in dialect.feed(data, at):
            assert isinstance(signal, Signal)
            assert isinstance(signal.key, str)
            if isinstance(signal, Chunk):
                assert signal.text
    dialect.finish(len(events))


@given(st.sampled_from(CAPTURES), st.randoms())
def test_captures_in_disorder(path: Path, random: Any) -> None:
    events = [data for _, data in captured(path)]
    chosen = [random.choice(events) for _ in range(2 * len(events))]
    dialect = ShipitAgent()
    signals = [signal for at, data in enumerate(chosen) for signal in dialect.feed(data, at)]
    assert all(words(signal) for signal in [*signals, *dialect.finish(999)])


# Over HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", wire_files("shipit-agent"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, ShipitAgent)


def test_the_paths_of_its_own_server() -> None:
    """Its other one, `/v1/chat/completions`, answers in OpenAI's form."""
    assert [by_path(path) for path in ("/v1/stream", "/stream")] == ["shipit-agent"] * 2
    assert by_path("/v1/chat/completions") != "shipit-agent"
    assert by_path("/runs/stream") == "langgraph"
