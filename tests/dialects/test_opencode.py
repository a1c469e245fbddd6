"""The table of opencode's lines, from anomalyco/opencode at 00f9806: `packages/opencode/src/cli/cmd/run.ts`, what it
gives to `emit`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects.opencode import Opencode
from streamgauge.wire import Aside, Granularity, Outcome

from .message_streams import FINISH, UNTOLD, anything, lines, sent, sound
from .stdio_streams import claims, facts, replayed, spans, watched

IN_THE_SOURCE = {"tool_use", "step_start", "step_finish", "text", "reasoning", "error", "done"}
STARTED = Aside("started", {"command": "opencode run --format json Hi"})


def line(type_: str, **fields: Any) -> dict[str, Any]:
    return {"type": type_, "timestamp": 1, "sessionID": "s", **fields}


def start(id_: str = "p0") -> dict[str, Any]:
    return line("step_start", part={"id": id_, "type": "step-start"})


def finish(reason: str = "stop", id_: str = "p9", **fields: Any) -> dict[str, Any]:
    return line("step_finish", part={"id": id_, "type": "step-finish", "reason": reason, **fields})


def says(text: str, id_: str = "p1", type_: str = "text") -> dict[str, Any]:
    return line(type_, part={"id": id_, "type": type_, "text": text, "time": {"start": 1, "end": 2}})


def tool(id_: str = "c", status: str = "completed", name: str = "bash", **state: Any) -> dict[str, Any]:
    part = {"id": f"p{id_}", "type": "tool", "callID": id_, "tool": name, "state": {"status": status, **state}}
    return line("tool_use", part=part)


def spent(input_: int, output: int, reasoning: int = 0, read: int = 0, write: int = 0) -> dict[str, Any]:
    return {"input": input_, "output": output, "reasoning": reasoning, "cache": {"read": read, "write": write}}


def failed(name: str = "APIError", **data: Any) -> dict[str, Any]:
    return line("error", error={"name": name, "data": data})


BEGUN = ["@1 + invoke_agent s", "@1 note s", "@1 +chat: chat"]

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "sent": ([sent("more of the prompt"), sent("x"), start()], ["@1 + invoke_agent", "@3 note s", "@1 +chat: chat"]),
    "started": ([STARTED, sent("x"), start()], ["@1 + invoke_agent", "@3 note s", "@1 +chat: chat"]),
    "step_start": ([start()], BEGUN),
    "text": ([start(), says("Hello"), says("Hello"), says("", "p2")], [*BEGUN, "@2 text chat: Hello"]),
    "reasoning": ([start(), says("Hm", "p2", "reasoning")], [*BEGUN, "@2 reasoning chat: Hm"]),
    "tool_use": (
        [start(), tool(input={"c": "ls"}, output="a"), tool(input={"c": "ls"}), says("x"), finish("tool-calls")],
        [*BEGUN, '@2 +tool:c execute_tool bash c {"c":"ls"}', "@2 note tool:c a", "@2 -tool:c", "@4 text chat: x",
         "@5 note chat: tool-calls", "@4 -chat:"]),
    "tool_use: failed": (
        [start(), tool(status="error", error="no"), finish("tool-calls")],
        [*BEGUN, "@2 +tool:c execute_tool bash c", "@2 note tool:c no", "@2 -tool:c failed tool_error",
         "@3 note chat: tool-calls", "@2 -chat:"]),
    "tool_use: no id": ([start(), tool("")], BEGUN),
    "step_finish": (
        [start(), finish("tool-calls", "a", cost=0.5, tokens=spent(1, 2, 3, 4, 5)), start(),
         finish("stop", "b", cost=0.25, tokens=spent(10, 20)), finish("stop", "b", cost=9, tokens=spent(9, 9)), FINISH],
        [*BEGUN, "@2 note chat: tool-calls", "@2 usage chat: 10/5/4/5/3", "@2 usage 10/5/4/5/3", "@2 note 0.5",
         "@2 -chat:", "@3 note s", "@2 +chat: chat", "@4 note chat: stop", "@4 usage chat: 10/20/0/0/0",
         "@4 usage 20/25/4/5/3", "@4 note 0.75", "@4 -chat:", "@6 note stop", "@4 -"]),
    "step_finish: nothing was counted": (
        [start(), finish("", cost="x", tokens=spent(0, 0)), FINISH], [*BEGUN, "@2 -chat:", "@2 -"]),
    "step_finish: of no start": (
        [finish("stop"), FINISH],
        ["@1 + invoke_agent s", "@1 +chat: chat", "@1 note chat: stop", "@1 -chat:", "@2 note stop", "@1 -"]),
    "error": (
        [start(), failed(message="Overloaded", statusCode=529), FINISH, start()],
        [*BEGUN, "@3 - failed 529: Overloaded"]),
    "error: by name": ([failed("ProviderAuthError", message="no key"), UNTOLD],
                       ["@1 + invoke_agent s", "@2 - failed ProviderAuthError: no key"]),
    "error: nothing known": ([line("error"), UNTOLD], ["@1 + invoke_agent s", "@2 - failed"]),
    "error: aborted": (
        [start(), failed("MessageAbortedError"), UNTOLD], [*BEGUN, "@3 note by cancel", "@3 - cancelled"]),
    "error: and it goes on": (
        [start(), failed("ContextOverflowError"), start("p2"), finish(), FINISH],
        [*BEGUN, "@3 note s", "@3 -chat:", "@1 +chat: chat", "@4 note chat: stop", "@4 -chat:", "@5 note stop",
         "@4 -"]),
    "done": (
        [start(), finish(), line("done", reason="idle", rejected=[]), start(), sent("x")],
        [*BEGUN, "@2 note chat: stop", "@2 -chat:", "@3 note stop", "@2 -"]),
    "done: after tools": (
        [start(), finish("tool-calls"), line("done")],
        [*BEGUN, "@2 note chat: tool-calls", "@2 -chat:", "@3 note tool-calls", "@3 -"]),
    "the output ends in mid-turn": ([start(), FINISH, UNTOLD], BEGUN),
    "no event": (["x", "5", "[]", line("new"), '{"type": 5}', Aside("exited", {"code": 0}), FINISH, UNTOLD], []),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_told(steps: list[Any], expected: list[str]) -> None:
    assert lines(Opencode(), steps) == expected


def test_every_type_of_the_source_is_in_the_table() -> None:
    assert set(Opencode.events) == IN_THE_SOURCE | {"sent"}
    assert {row.partition(":")[0] for row in ROWS} >= set(Opencode.events)


def test_a_tool_has_its_own_times() -> None:
    dialect = Opencode()
    dialect.anchor = 10**18
    second = 1_000_000_000
    list(dialect.feed(STARTED, second))
    (opened, closed) = dialect.feed(tool_at(10**9 + 3, 10**9 + 5), 9 * second)[1:]
    assert (opened.at, closed.at) == (3 * second, 5 * second)
    (early, _) = dialect.feed(tool_at(10**9 - 3, 10**9 + 5, "d"), 9 * second)
    assert early.at == second  # not before the run


def tool_at(start_s: float, end_s: float, id_: str = "c") -> Any:
    return json.dumps(tool(id_, time={"start": start_s * 1000, "end": end_s * 1000}))


def test_it_ends_as_the_process_does() -> None:
    steps = [STARTED, start(), says("x")]
    (run,) = spans(watched(Opencode, steps, outcome=Outcome.FAILED, error_type="exit_1"), "invoke_agent")
    assert facts(run, "streamgauge.outcome", "error.type") == ["failed", "exit_1"]
    (run,) = spans(watched(Opencode, steps), "invoke_agent")
    assert facts(run, "streamgauge.outcome") == ["truncated"]
    told = [*steps, failed(message="Overloaded", statusCode=529)]
    (run,) = spans(watched(Opencode, told, outcome=Outcome.FAILED, error_type="exit_1"), "invoke_agent")
    assert facts(run, "streamgauge.outcome", "error.type") == ["failed", "529"]
    (run,) = spans(watched(Opencode, [STARTED], outcome=Outcome.CANCELLED), "invoke_agent")
    assert facts(run, "streamgauge.outcome") == ["cancelled"]


def test_it_forgets_parts_that_are_too_many() -> None:
    dialect = Opencode()
    lines(dialect, [says("x", f"p{number}") for number in range(5000)])
    assert len(dialect._parts) == 4096


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("opencode run --format json Hi", True),
        ("opencode run -m a/b --format=json Hi", True),
        ("npx opencode-ai@latest run --format json Hi", True),
        ("opencode run Hi", False),
        ("opencode acp", False),
        ("myopencode run --format json", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert claims(Opencode, command) is claimed


def test_what_it_says_of_itself() -> None:
    assert (Opencode.terminal, Opencode.granularity, Opencode.framing) == (True, Granularity.MESSAGE, "ndjson")
    told = {"agent_name": "opencode", "model": "claude/x", "provider_name": "anthropic"}
    assert Opencode.asked("opencode run -m anthropic/claude/x Hi", None) == told
    assert Opencode.asked("opencode run Hi", None) == {"agent_name": "opencode"}


def test_the_captures() -> None:
    seen = replayed(Opencode, "opencode-tools")
    assert seen.tree() == [
        "session opencode", "  invoke_agent opencode", "    chat claude-sonnet-4-5", "    execute_tool bash",
        "    execute_tool read", "    chat claude-sonnet-4-5",
    ]  # fmt: skip
    (run,) = spans(seen, "invoke_agent")
    assert facts(run, "streamgauge.cost_usd", "gen_ai.usage.input_tokens", "streamgauge.outcome") == [
        0.0189, 28562, "completed",
    ]  # fmt: skip
    (bash,), (read,) = spans(seen, "execute_tool bash"), spans(seen, "execute_tool read")
    assert ((bash["end"] - bash["start"]) / 1e9, facts(read, "error.type")) == (4.7, ["tool_error"])
    (run,) = spans(replayed(Opencode, "opencode-error"), "invoke_agent")
    assert facts(run, "error.type") == ["529"]


KEYS = [
    "type", "part", "id", "callID", "tool", "state", "status", "input", "output", "time", "start", "end", "text",
    "reason", "tokens", "cost", "cache", "error", "name", "data",
]  # fmt: skip
VALUES = [*IN_THE_SOURCE, "completed", "error", "tool-calls", "stop", "MessageAbortedError", "c"]


@given(anything(KEYS, VALUES))
def test_anything(steps: list[Any]) -> None:
    sound(Opencode(), steps)
    sound(Opencode(), [STARTED, *steps])
