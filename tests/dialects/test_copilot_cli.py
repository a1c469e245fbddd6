"""The table of Copilot CLI's lines, from github/copilot-sdk at cc0438d: `nodejs/src/generated/session-events.ts`, the
members of `SessionEvent`; and the `result` that the CLI adds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects._copilot_turn import MAX_OPEN, MAX_STREAMED
from streamgauge.dialects.copilot_cli import CopilotCli
from streamgauge.wire import Aside, Granularity, Outcome

from .message_streams import FINISH, UNTOLD, anything, lines, sent, sound
from .stdio_streams import claims, facts, replayed, spans, watched

IN_THE_SOURCE = {
    "abort", "assistant.idle", "assistant.intent", "assistant.message", "assistant.message_delta",
    "assistant.message_start", "assistant.reasoning", "assistant.reasoning_delta", "assistant.server_tool_progress",
    "assistant.streaming_delta", "assistant.tool_call_delta", "assistant.turn_end", "assistant.turn_start",
    "assistant.usage", "auto_mode_switch.completed", "auto_mode_switch.requested", "capabilities.changed",
    "command.completed", "command.execute", "command.queued", "commands.changed", "elicitation.completed",
    "elicitation.requested", "exit_plan_mode.completed", "exit_plan_mode.requested", "external_tool.completed",
    "external_tool.requested", "factory.run_settled", "factory.run_started", "factory.run_updated", "hook.end",
    "hook.progress", "hook.start", "mcp.headers_refresh_completed", "mcp.headers_refresh_required",
    "mcp.oauth_completed", "mcp.oauth_required", "mcp.prompts.list_changed", "mcp.resources.list_changed",
    "mcp.tools.list_changed", "mcp_app.tool_call_complete", "model.call_failure", "pending_messages.modified",
    "permission.completed", "permission.requested", "sampling.completed", "sampling.requested",
    "session.auto_mode_resolved", "session.autopilot_objective_changed", "session.background_tasks_changed",
    "session.binary_asset", "session.canvas.closed", "session.canvas.opened", "session.canvas.recorded",
    "session.canvas.registry_changed", "session.canvas.removed", "session.canvas.unavailable",
    "session.compaction_complete", "session.compaction_start", "session.context_changed", "session.context_cleared",
    "session.custom_agents_updated", "session.custom_notification", "session.error",
    "session.extensions.attachments_pushed", "session.extensions_loaded", "session.handoff", "session.idle",
    "session.info", "session.managed_settings_enforced", "session.managed_settings_resolved",
    "session.mcp_server_status_changed", "session.mcp_servers_loaded", "session.mode_changed", "session.model_change",
    "session.permissions_changed", "session.plan_changed", "session.remote_steerable_changed", "session.resume",
    "session.schedule_cancelled", "session.schedule_created", "session.schedule_rearmed",
    "session.session_limits_changed", "session.shutdown", "session.skills_loaded", "session.snapshot_rewind",
    "session.start", "session.task_complete", "session.title_changed", "session.todos_changed",
    "session.tools_updated", "session.truncation", "session.usage_checkpoint", "session.usage_info",
    "session.warning", "session.workspace_file_changed", "session_limits_exhausted.completed",
    "session_limits_exhausted.requested", "skill.invoked", "subagent.completed", "subagent.deselected",
    "subagent.failed", "subagent.selected", "subagent.started", "system.message", "system.notification",
    "tool.execution_complete", "tool.execution_partial_result", "tool.execution_progress", "tool.execution_start",
    "tool.user_requested", "tool_search.activated", "ui.ephemeral_query", "user.message", "user_input.completed",
    "user_input.requested",
}  # fmt: skip
STARTED = Aside("started", {"command": "copilot -p Hi --output-format json"})


def line(type_: str, agent: str | None = None, /, **data: Any) -> dict[str, Any]:
    envelope = {"id": "e", "timestamp": "2026-11-18T09:00:00.000Z", "parentId": None, "type": type_, "data": data}
    return envelope if agent is None else {**envelope, "agentId": agent}


def result(code: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": "result", "timestamp": "2026-11-18T09:00:00.000Z", "exitCode": code, **more}


def delta(text: str, agent: str | None = None, id_: str = "m") -> dict[str, Any]:
    return line("assistant.message_delta", agent, messageId=id_, deltaContent=text)


def message(text: str = "", agent: str | None = None, /, id_: str = "m", **more: Any) -> dict[str, Any]:
    return line("assistant.message", agent, messageId=id_, content=text, **more)


def call(id_: str = "t", name: str = "bash", **arguments: Any) -> dict[str, Any]:
    return {"toolCallId": id_, "name": name, "arguments": arguments, "type": "function"}


def runs(id_: str = "t", agent: str | None = None, name: str = "bash", **more: Any) -> dict[str, Any]:
    return line("tool.execution_start", agent, toolCallId=id_, toolName=name, **more)


def ran(id_: str = "t", agent: str | None = None, success: bool = True, **more: Any) -> dict[str, Any]:
    return line("tool.execution_complete", agent, toolCallId=id_, success=success, **more)


def joins(id_: str = "t", name: str = "tester") -> dict[str, Any]:
    return line("subagent.started", toolCallId=id_, agentName=name, agentDisplayName="T", agentDescription="")


TURN = line("assistant.turn_start", turnId="0")
BEGUN = ["@1 + invoke_agent", "@1 +chat: chat"]
TOOL = ["@1 + invoke_agent", "@1 +tool:t execute_tool bash t"]
NESTED = [*TOOL, "@2 +agent:t invoke_agent tester <tool:t tester"]
OVER = line("assistant.turn_end", turnId="0")

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "started": ([STARTED, STARTED, TURN], ["@1 + invoke_agent", "@3 +chat: chat"]),
    "user.message": ([line("user.message", content="Hi"), line("user.message")], ["@1 + invoke_agent"]),
    "session.start": (
        [line("session.start", sessionId="s", selectedModel="m", copilotVersion="1.0.81"), TURN],
        ["@1 + invoke_agent", "@1 note :session 1.0.81", "@1 note :session m s", "@1 note m s", "@2 +chat: chat m"]),
    "session.resume": ([line("session.resume")], ["@1 + invoke_agent"]),
    "session.model_change": (
        [line("session.model_change", newModel="n"), TURN],
        ["@1 + invoke_agent", "@1 note :session n", "@1 note n", "@2 +chat: chat n"]),
    "session.auto_mode_resolved": (
        [line("session.auto_mode_resolved", chosenModel="n")],
        ["@1 + invoke_agent", "@1 note :session n", "@1 note n"]),
    "session.error": (
        [line("session.error", errorType="quota", message="none left"), result(1), result()],
        ["@1 + invoke_agent", "@2 - failed quota: none left"]),
    "session.error: without a result": (
        [line("session.error", errorType="quota", statusCode=429, message="none left"), UNTOLD],
        ["@1 + invoke_agent", "@2 - failed 429: none left"]),
    "session.error: and all is well": ([line("session.error", errorType="x"), result()], ["@1 + invoke_agent", "@2 -"]),
    "session.compaction_start": (
        [line("session.compaction_start"), line("session.compaction_start"),
         line("session.compaction_complete", success=True), line("session.compaction_complete")],
        ["@1 + invoke_agent", "@1 +step:compact step compact", "@3 -step:compact"]),
    "session.compaction_complete": (
        [line("session.compaction_start"), line("session.compaction_complete", success=False, error="x")],
        ["@1 + invoke_agent", "@1 +step:compact step compact", "@2 -step:compact failed compact_failed"]),
    "assistant.turn_start": (
        [TURN, line("assistant.turn_start", turnId="1", model="n")], [*BEGUN, "@2 -chat:", "@2 +chat: chat n"]),
    "assistant.message_delta": (
        [TURN, delta("a"), delta("b"), delta(""), message("ab"), OVER],
        [*BEGUN, "@2 text chat: a", "@3 text chat: b", "@5 -chat:"]),
    "assistant.reasoning_delta": (
        [TURN, line("assistant.reasoning_delta", reasoningId="r", deltaContent="Hm"), message("x"),
         line("assistant.reasoning", reasoningId="r", content="Hm"), OVER],
        [*BEGUN, "@2 reasoning chat: Hm", "@3 text chat: x", "@4 -chat:"]),
    "assistant.tool_call_delta": (
        [TURN, line("assistant.tool_call_delta", toolCallId="t", inputDelta='{"a"'), message(toolRequests=[call()])],
        [*BEGUN, '@2 tool_call chat: {"a"']),
    "assistant.message": (
        [message("hi", toolRequests=[call("t", c="ls"), 5], outputTokens=7, model="n"),
         message("more", id_="n", outputTokens=9), OVER],
        ["@1 + invoke_agent", "@1 +chat: chat n", "@1 text chat: hi", '@1 tool_call chat: {"c":"ls"}',
         "@1 usage chat: /7///", "@1 usage /7///", "@2 text chat: more", "@2 -chat:"]),
    "assistant.reasoning": (
        [TURN, line("assistant.reasoning", reasoningId="r", content="Hm")], [*BEGUN, "@2 reasoning chat: Hm"]),
    "assistant.usage": (
        [TURN, delta("a"),
         line("assistant.usage", model="n", finishReason="stop", inputTokens=30, outputTokens=5, cacheReadTokens=20,
              reasoningTokens=2, cost=1),
         message("a", outputTokens=5), OVER, TURN, line("assistant.usage", model="n", inputTokens=1, outputTokens=1)],
        [*BEGUN, "@2 text chat: a", "@3 note chat: n stop", "@3 usage chat: 30/5/20//2", "@3 usage 30/5/20//2",
         "@4 -chat:", "@6 +chat: chat", "@7 note chat: n", "@7 usage chat: 1/1///", "@7 usage 31/6/20//2"]),
    "assistant.usage: of a call that is over": (
        [line("assistant.usage", model="n", outputTokens=5), line("assistant.usage", model="n")],
        ["@1 + invoke_agent", "@1 usage /5///"]),
    "assistant.turn_end": ([TURN, OVER, OVER], [*BEGUN, "@2 -chat:"]),
    "model.call_failure": (
        [TURN, delta("a"), line("model.call_failure", source="top_level", statusCode=503, errorCode="x"),
         line("model.call_failure", errorCode="x"), delta("b")],
        [*BEGUN, "@2 text chat: a", "@3 -chat: failed 503", "@5 +chat: chat", "@5 text chat: b"]),
    "tool.execution_start": (
        [TURN, message("x"), runs(arguments={"c": 1}), runs(), runs("")],
        [*BEGUN, "@2 text chat: x", "@2 -chat:", '@3 +tool:t execute_tool bash t {"c":1}']),
    "tool.execution_complete": (
        [runs(), runs("u"), ran(result={"content": "out"}),
         ran("u", success=False, error={"message": "no", "code": "denied"}), ran("v")],
        [*TOOL, "@2 +tool:u execute_tool bash u", "@3 note tool:t out", "@3 -tool:t", "@4 note tool:u no",
         "@4 -tool:u failed denied"]),
    "tool.execution_complete: failed": (
        [runs(), ran(success=False, error={"message": "no"})],
        [*TOOL, "@2 note tool:t no", "@2 -tool:t failed tool_error"]),
    "subagent.started": (
        [runs(), joins(), message("x", "a1"), runs("u", "a1"), ran("u", "a1"), ran()],
        [*NESTED, "@3 +chat:t chat <agent:t", "@3 text chat:t x", "@3 -chat:t",
         "@4 +tool:u execute_tool bash <agent:t u", "@5 -tool:u", "@6 -agent:t", "@6 -tool:t"]),
    "subagent.started: by the older mark": (
        [runs(), joins(), line("assistant.message", parentToolCallId="t", messageId="m", content="x")],
        [*NESTED, "@3 +chat:t chat <agent:t", "@3 text chat:t x"]),
    "subagent.started: two": (
        [runs("t"), runs("u"), joins("t", "one"), joins("u", "two"), delta("a", "x", "1"), delta("b", "y", "2"),
         delta("c", "x", "1")],
        ["@1 + invoke_agent", "@1 +tool:t execute_tool bash t", "@2 +tool:u execute_tool bash u",
         "@3 +agent:t invoke_agent one <tool:t one", "@4 +agent:u invoke_agent two <tool:u two",
         "@5 +chat:t chat <agent:t", "@5 text chat:t a", "@6 +chat:u chat <agent:u", "@6 text chat:u b",
         "@7 text chat:t c"]),
    "subagent.started: not seen": (
        [delta("a", "x")],
        ["@1 + invoke_agent", "@1 +agent:x invoke_agent", "@1 +chat:x chat <agent:x", "@1 text chat:x a"]),
    "subagent.completed": (
        [runs(), joins(), delta("a", "x"), line("subagent.completed", toolCallId="t"),
         line("subagent.completed", toolCallId="t")],
        [*NESTED, "@3 +chat:t chat <agent:t", "@3 text chat:t a", "@3 -chat:t", "@4 -agent:t"]),
    "subagent.completed: cancelled": (
        [runs(), joins(), line("subagent.completed", toolCallId="t", cancelled=True)],
        [*NESTED, "@3 -agent:t cancelled"]),
    "subagent.failed": (
        [runs(), joins(), line("subagent.failed", toolCallId="t", error="x")],
        [*NESTED, "@3 -agent:t failed subagent_error"]),
    "hook.start": (
        [line("hook.start", hookInvocationId="h", hookType="preToolUse"),
         line("hook.end", hookInvocationId="h", hookType="preToolUse", success=True)],
        ["@1 + invoke_agent", "@1 +hook:h step preToolUse", "@2 -hook:h"]),
    "hook.end": (
        [line("hook.start", hookInvocationId="h", hookType="stop"),
         line("hook.end", hookInvocationId="h", success=False)],
        ["@1 + invoke_agent", "@1 +hook:h step stop", "@2 -hook:h failed hook_error"]),
    "permission.requested": (
        [line("permission.requested", requestId="r", permissionRequest={"kind": "shell", "toolCallId": "t"}),
         line("permission.completed", requestId="r", result={"kind": "approved"}),
         line("permission.completed", requestId="r"),
         line("permission.requested", requestId="q", resolvedByHook=True)],
        ["@1 + invoke_agent", "@1 note person.asked t", "@2 note person.answered t"]),
    "abort": ([line("abort", reason="user_initiated"), result(130)],
              ["@1 + invoke_agent", "@2 note by cancel", "@2 - cancelled"]),
    "result": (
        [TURN, result(0, sessionId="s"), TURN, STARTED],
        [*BEGUN, "@2 note :session s", "@2 note s", "@2 -chat:", "@2 -"]),
    "result: failed": ([TURN, result(3)], [*BEGUN, "@2 -chat:", "@2 - failed exit_3"]),
    "the output ends in mid-turn": ([TURN, FINISH, UNTOLD], BEGUN),
    "no event": (["x", "5", "[]", {"type": "new.event"}, '{"type": 5}', sent("x"), Aside("exited", {}), UNTOLD], []),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_told(steps: list[Any], expected: list[str]) -> None:
    assert lines(CopilotCli(), steps) == expected


def test_every_type_of_the_source_is_in_the_table() -> None:
    assert set(CopilotCli.events) == IN_THE_SOURCE | {"result"}
    shown = {row.partition(":")[0] for row in ROWS}
    for name, becomes in CopilotCli.events.items():
        if becomes == "nothing":
            assert lines(CopilotCli(), [line(name, requestId="r")]) == ["@1 + invoke_agent"]
        elif becomes == "a person is asked":
            answer = (
                name.rpartition("_" if "oauth" in name else ".")[0] + ("_" if "oauth" in name else ".") + "completed"
            )
            assert CopilotCli.events[answer] == "the person has answered"
            told = lines(CopilotCli(), [line(name, requestId="r"), line(answer, requestId="r")])
            assert told == ["@1 + invoke_agent", "@1 note person.asked", "@2 note person.answered"]
        else:
            assert name in shown or becomes == "the person has answered", name


def test_it_ends_as_the_process_does() -> None:
    steps = [STARTED, TURN, delta("x")]
    (run,) = spans(watched(CopilotCli, steps, outcome=Outcome.FAILED, error_type="SIGKILL"), "invoke_agent")
    assert facts(run, "streamgauge.outcome", "error.type") == ["failed", "SIGKILL"]
    (run,) = spans(watched(CopilotCli, steps), "invoke_agent")
    assert facts(run, "streamgauge.outcome") == ["truncated"]


def test_it_forgets_what_is_too_much() -> None:
    dialect = CopilotCli()
    many = range(2 * MAX_STREAMED)
    lines(dialect, [delta("x", None, f"m{number}") for number in many])
    lines(dialect, [runs(f"t{number}") for number in many])
    lines(dialect, [delta("x", f"a{number}") for number in many])
    lines(dialect, [line("user_input.requested", requestId=f"r{number}") for number in many])
    work = dialect._work
    assert work is not None
    assert (len(work._streamed), len(work._own_ids)) == (MAX_STREAMED, MAX_OPEN)
    assert len(work._agents) == MAX_OPEN + 1
    assert (len(dialect._asked), len(work._open)) == (MAX_OPEN, 2 * MAX_OPEN)


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("copilot -p Hi --output-format json", True),
        ("npx @github/copilot@latest -p Hi --output-format=json", True),
        ("copilot -p Hi", False),
        ("copilot --acp", False),
        ("copilot -p Hi --output-format text", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert claims(CopilotCli, command) is claimed


def test_what_it_says_of_itself() -> None:
    assert (CopilotCli.terminal, CopilotCli.granularity, CopilotCli.framing) == (True, Granularity.TOKEN, "ndjson")
    assert CopilotCli.asked("copilot -p Hi --model gpt-5", None) == {"agent_name": "copilot-cli", "model": "gpt-5"}


def test_the_captures() -> None:
    seen = replayed(CopilotCli, "copilot-cli-subagent")
    (run,) = spans(seen, "invoke_agent copilot")
    names = ("streamgauge.outcome", "gen_ai.usage.output_tokens", "gen_ai.conversation.id")
    assert facts(run, *names) == ["completed", 242, "d24ecec2-ddf1"]
    (nested,) = spans(seen, "invoke_agent tester")
    assert nested["parent"] == "execute_tool task"
    assert [each["parent"] for each in spans(seen, "execute_tool bash")] == [
        "invoke_agent copilot-cli", "invoke_agent tester",
    ]  # fmt: skip
    (run,) = spans(replayed(CopilotCli, "copilot-cli-quota"), "invoke_agent")
    assert facts(run, "streamgauge.outcome", "error.type") == ["failed", "429"]


KEYS = [
    "type", "data", "agentId", "toolCallId", "parentToolCallId", "messageId", "content", "deltaContent",
    "toolRequests", "arguments", "outputTokens", "success", "error", "code", "result", "exitCode", "requestId",
    "hookInvocationId", "agentName", "model",
]  # fmt: skip
VALUES = [name for name, becomes in CopilotCli.events.items() if becomes != "nothing"]


@given(anything(KEYS, [*VALUES, "t", "u"]))
def test_anything(steps: list[Any]) -> None:
    sound(CopilotCli(), steps)
    sound(CopilotCli(), [STARTED, *steps])
