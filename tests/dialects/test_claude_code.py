"""The table of Claude Code's lines, from @anthropic-ai/claude-agent-sdk 0.3.330: `sdk.d.ts`, and claude-agent-sdk
0.2.187: `_internal/query.py`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects._claude_totals import Totals
from streamgauge.dialects.claude_code import ClaudeCode
from streamgauge.signals import RUN, Chunk, Closed, Opened
from streamgauge.wire import Aside, Granularity

from .agent_streams import JUNK, told, words

IN_THE_SDK = {
    "assistant", "user", "result", "stream_event", "tool_progress", "auth_status", "tool_use_summary",
    "rate_limit_event", "prompt_suggestion", "conversation_reset", "active_goal", "control_request",
    "control_response", "control_cancel_request", "keep_alive",
}  # fmt: skip
"""`StdoutMessage`, but for `system`."""
SUBTYPES = {
    "init", "compact_boundary", "status", "api_retry", "control_request_progress", "model_refusal_fallback",
    "model_refusal_no_fallback", "local_command_output", "hook_started", "hook_progress", "hook_response",
    "plugin_install", "task_notification", "task_started", "task_updated", "task_progress",
    "background_tasks_changed", "thinking_tokens", "session_state_changed", "worker_shutting_down",
    "commands_changed", "notification", "files_persisted", "memory_recall", "elicitation_complete",
    "permission_denied", "mirror_error", "informational", "session_writes_lost",
}  # fmt: skip
SENT = {"sent: user", "sent: control_request", "sent: control_response", "sent: text"}


def line(type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, "session_id": "s-1", "uuid": "u", **fields})


def system(subtype: str, **fields: Any) -> str:
    return line("system", subtype=subtype, **fields)


def sent(type_: str, **fields: Any) -> Aside:
    return Aside("sent", {"data": line(type_, **fields)})


def said(text: str = "hi", **fields: Any) -> Aside:
    return sent("user", message={"role": "user", "content": text}, **fields)


def says(id_: str, *blocks: Any, parent: str | None = None, model: str = "opus", **fields: Any) -> str:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}
    message = {"id": id_, "model": model, "content": list(blocks), "usage": usage, "stop_reason": None}
    return line("assistant", message=message, parent_tool_use_id=parent, **fields)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(id_: str, name: str = "Bash", **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def gave(id_: str, content: Any = "ok", parent: str | None = None, **fields: Any) -> str:
    block = {"type": "tool_result", "tool_use_id": id_, "content": content, **fields}
    return line("user", message={"role": "user", "content": [block]}, parent_tool_use_id=parent)


def piece(event: Any, parent: str | None = None) -> str:
    return line("stream_event", event=event, parent_tool_use_id=parent)


def starts(id_: str, parent: str | None = None) -> str:
    message = {"id": id_, "model": "opus", "usage": {"input_tokens": 3, "output_tokens": 1}}
    return piece({"type": "message_start", "message": message}, parent)


def block(index: int, content: Any) -> str:
    return piece({"type": "content_block_start", "index": index, "content_block": content})


def of_model(taken: int, given: int, read: int = 0) -> dict[str, Any]:
    return {"inputTokens": taken, "outputTokens": given, "cacheReadInputTokens": read, "cacheCreationInputTokens": 0}


def delta(words: str) -> str:
    return piece({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}})


STOPS = [
    piece({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
    piece({"type": "message_stop"}),
]
USED = {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 7}


def result(subtype: str = "success", **fields: Any) -> str:
    return line("result", subtype=subtype, **{"is_error": subtype != "success", **fields})


def control(subtype: str, id_: str = "c", **fields: Any) -> dict[str, Any]:
    return {"request_id": id_, "request": {"subtype": subtype, **fields}}


def answer(id_: str = "c", subtype: str = "success", **fields: Any) -> Aside:
    return sent("control_response", response={"subtype": subtype, "request_id": id_, "response": fields})


INIT = system("init", model="opus", claude_code_version="2.1.330")
ASKS = line("control_request", **control("can_use_tool", tool_name="Bash", tool_use_id="t1"))
TASK = {"task_id": "k", "tool_use_id": "t1", "task_type": "local_agent", "subagent_type": "finder"}
"""A sub-agent's."""
DUE = result(total_cost_usd=0.5)

# fmt: off
ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "system: init": (
        [INIT, INIT],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@2 note :session 2.1.330",
         "@2 note opus s-1"],
    ),
    "system: init: where the caller speaks": (
        [sent("control_request", **control("initialize")), INIT, says("m1", text("a"))],
        ["@2 note :session 2.1.330 s-1", "@2 + invoke_agent < opus s-1", "@2 +chat: chat opus <", "@3 usage 10//5/2/",
         "@3 note chat: m1 opus 10 5 2", "@3 text chat: a"],
    ),
    "system: init: the process was started": (
        [Aside("started", {"command": "claude -p hi"}), system("hook_started", hook_id="h"), INIT],
        ["@3 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1"],
    ),
    "sent: user": (
        [said(), INIT, says("m1", text("a")), DUE],
        ["@1 + invoke_agent <", "@2 note :session 2.1.330 s-1", "@2 note opus s-1", "@2 +chat: chat opus <",
         "@3 usage 10//5/2/", "@3 note chat: m1 opus 10 5 2", "@3 text chat: a", "@4 note :session 0.5", "@3 -chat:",
         "@4 note 0.5", "@4 -"],
    ),
    "sent: user: in mid-turn": (
        [said(), said(), said(priority="later"), result(queued_turn_count=1), says("m2", text("b"))],
        ["@1 + invoke_agent <", "@2 note queue", "@3 note between-turns-only", "@4 -", "@4 + invoke_agent <",
         "@4 +chat: chat <", "@5 usage 10//5/2/", "@5 note chat: m2 opus 10 5 2", "@5 text chat: b"],
    ),
    "sent: user: in mid-turn, and nothing says whether it was read": (
        [said(), said(), result(), INIT, says("m2", text("b"))],
        ["@1 + invoke_agent <", "@2 note queue", "@3 -", "@4 note :session 2.1.330 s-1",
         "@3 + invoke_agent < opus s-1", "@3 +chat: chat opus <", "@5 usage 10//5/2/", "@5 note chat: m2 opus 10 5 2",
         "@5 text chat: b"],
    ),
    "sent: user: in mid-turn, and was read": (
        [said(), said(), result(queued_turn_count=0), INIT, says("m2", text("b"))],
        ["@1 + invoke_agent <", "@2 note queue", "@3 -", "@4 note :session 2.1.330 s-1",
         "@4 + invoke_agent < opus s-1", "@4 +chat: chat opus <", "@5 usage 10//5/2/", "@5 note chat: m2 opus 10 5 2",
         "@5 text chat: b"],
    ),
    "sent: user: interrupts": (
        [said(), said(priority="now"), result("error_during_execution", terminal_reason="aborted_tools"), said()],
        ["@1 + invoke_agent <", "@2 note interrupt", "@3 note input", "@3 - cancelled", "@4 + invoke_agent <"],
    ),
    "sent: user: asks for no turn": (
        [said(shouldQuery=False)],
        [],
    ),
    "sent: text": (
        [Aside("sent", {"data": "Fix it"}), Aside("sent", {"data": "please"}), INIT],
        ["@1 + invoke_agent <", "@3 note :session 2.1.330 s-1", "@3 note opus s-1"],
    ),
    "sent: control_request": (
        [said(), says("m1", text("a")), sent("control_request", **control("interrupt")),
         result("error_during_execution")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 text chat: a", "@2 -chat:", "@4 note cancel", "@4 - cancelled"],
    ),
    "sent: control_request: set_model": (
        [sent("control_request", **control("set_model", model="haiku")), said()],
        ["@2 + invoke_agent < haiku"],
    ),
    "sent: control_response": (
        [said(), says("m1", use("t1")), ASKS, answer(behavior="allow"), gave("t1")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}", "@3 note person.asked Bash t1",
         "@4 note person.answered Bash t1", "@5 note tool:t1 ok", "@5 -tool:t1", "@2 -chat:"],
    ),
    "sent: control_response: denied": (
        [said(), says("m1", use("t1")), ASKS, answer(behavior="deny"), gave("t1", "no", is_error=True)],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}", "@3 note person.asked Bash t1",
         "@4 note person.answered Bash t1", "@5 note tool:t1 no", "@5 -tool:t1 failed permission_denied", "@2 -chat:"],
    ),
    "sent: control_response: denied, and stop": (
        [said(), ASKS, answer(behavior="deny", interrupt=True), result("error_during_execution")],
        ["@1 + invoke_agent <", "@2 note person.asked Bash t1", "@3 note person.answered Bash t1", "@4 note cancel",
         "@4 - cancelled"],
    ),
    "sent: control_response: an error": (
        [said(), says("m1", use("t1")), ASKS, answer(subtype="error"), gave("t1", "no", is_error=True)],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}", "@3 note person.asked Bash t1",
         "@4 note person.answered Bash t1", "@5 note tool:t1 no", "@5 -tool:t1 failed permission_denied", "@2 -chat:"],
    ),
    "control_request": (
        [line("control_request", **control("can_use_tool")), said(),
         line("control_request", **control("hook_callback")), line("control_request", **control("elicitation")),
         line("control_request", **control("request_user_dialog", "d"))],
        ["@2 + invoke_agent <", "@4 note person.asked", "@5 note person.asked"],
    ),
    "control_cancel_request": (
        [said(), ASKS, line("control_cancel_request", request_id="c"), line("control_cancel_request", request_id="c")],
        ["@1 + invoke_agent <", "@2 note person.asked Bash t1", "@3 note person.answered Bash t1"],
    ),
    "control_response": (
        [line("control_response", response={"subtype": "success", "request_id": "r"})],
        [],
    ),
    "assistant": (
        [INIT, says("m1", {"type": "thinking", "thinking": "hm"}), says("m1", text("a")),
         says("m1", use("t1", command="ls")), gave("t1"), says("m2", text("b"))],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 reasoning chat: hm", "@3 text chat: a",
         '@4 tool_call chat: {"command":"ls"}', '@4 +tool:t1 execute_tool Bash < t1 {"command":"ls"}',
         "@5 note tool:t1 ok", "@5 -tool:t1", "@4 -chat:", "@5 +chat: chat opus <", "@6 usage 20//10/4/",
         "@6 note chat: m2 opus 10 5 2", "@6 text chat: b"],
    ),
    "assistant: two answers without a tool between": (
        [INIT, says("m1", text("a")), says("m2", text("b"))],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 text chat: a", "@2 -chat:", "@2 +chat: chat opus <",
         "@3 usage 20//10/4/", "@3 note chat: m2 opus 10 5 2", "@3 text chat: b"],
    ),
    "assistant: more of an answer after a tool's result": (
        [INIT, says("m1", use("t1")), gave("t1"), says("m1", use("t2")), gave("t2")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}",
         "@3 note tool:t1 ok", "@3 -tool:t1", "@2 -chat:", "@4 tool_call {}", "@4 +tool:t2 execute_tool Bash < t2 {}",
         "@5 note tool:t2 ok", "@5 -tool:t2"],
    ),
    "assistant: the CLI's own": (
        [INIT, says("m1", text("Not logged in"), model="<synthetic>", error="authentication_failed"),
         result(is_error=True, result="Not logged in")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1",
         "@3 - failed authentication_failed: Not logged in"],
    ),
    "assistant: a tool of the API's": (
        [INIT,
         says(
             "m1", {"type": "server_tool_use", "id": "w1", "name": "web_search", "input": {"query": "x"}},
             {"type": "web_search_tool_result", "tool_use_id": "w1", "content": []},
          ),
         says(
             "m1", {"type": "web_fetch_tool_result", "tool_use_id": "w2", "content": {"error_code": "unavailable"}},
          )],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", '@2 tool_call chat: {"query":"x"}',
         '@2 +tool:w1 execute_tool web_search < w1 {"query":"x"}', "@2 -tool:w1"],
    ),
    "assistant: a sub-agent": (
        [INIT, says("m1", use("t1", "Task")),
         says("s1", use("t2", "Read"), parent="t1", model="haiku", subagent_type="finder"), gave("t2", parent="t1"),
         says("s2", text("b"), parent="t1", model="haiku"), gave("t1", [text("found")]), says("m2", text("c"))],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Task < t1 {}",
         "@3 +agent:t1 invoke_agent finder <tool:t1 finder", "@3 +chat:t1 chat haiku <agent:t1", "@3 usage 20//10/4/",
         "@3 note chat:t1 s1 haiku 10 5 2", "@3 tool_call chat:t1 {}",
         "@3 +tool:t2 execute_tool Read <agent:t1 t2 {}", "@4 note tool:t2 ok", "@4 -tool:t2", "@3 -chat:t1",
         "@4 +chat:t1 chat haiku <agent:t1", "@5 usage 30//15/6/", "@5 note chat:t1 s2 haiku 10 5 2",
         "@5 text chat:t1 b", "@6 note tool:t1 found", "@5 -chat:t1", "@6 -agent:t1", "@6 -tool:t1", "@2 -chat:",
         "@6 +chat: chat opus <", "@7 usage 40//20/8/", "@7 note chat: m2 opus 10 5 2", "@7 text chat: c"],
    ),
    "assistant: a sub-agent's with no turn": (
        [says("s1", text("b"), parent="t1")],
        [],
    ),
    "user": (
        [INIT, says("m1", use("t1")), gave("t1", [text("a"), text("b")]), gave("t9")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}",
         "@3 note tool:t1 ab", "@3 -tool:t1", "@2 -chat:"],
    ),
    "user: a tool that failed": (
        [INIT, says("m1", use("t1")), gave("t1", "Exit code 1", is_error=True)],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}",
         "@3 note tool:t1 Exit code 1", "@3 -tool:t1 failed tool_error", "@2 -chat:"],
    ),
    "user: not of a tool": (
        [INIT, line("user", message={"role": "user", "content": "x"}),
         line("user", isReplay=True, message={"content": []}),
         line("user", parent_tool_use_id="t1", message={"content": [text("Find")]})],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@4 +agent:t1 invoke_agent <"],
    ),
    "stream_event": (
        [INIT, system("status", status="requesting"), starts("m1"), delta("a"), says("m1", text("a")), *STOPS, DUE],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@2 +chat: chat opus <", "@3 note token",
         "@3 note chat: m1 opus", "@3 usage chat: 3/1///", "@3 usage 3/1///", "@4 text chat: a", "@6 note chat: stop",
         "@6 usage chat: 3/9///", "@6 usage 3/9///", "@7 -chat:", "@8 note :session 0.5", "@8 note 0.5", "@8 -"],
    ),
    "stream_event: a tool": (
        [INIT, starts("m1"), block(0, use("t1")),
         piece(
             {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
          ),
         says("m1", use("t1", command="ls")), piece({"type": "content_block_stop", "index": 0}), *STOPS, gave("t1"),
         starts("m2"), delta("b")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 note token",
         "@2 note chat: m1 opus", "@2 usage chat: 3/1///", "@2 usage 3/1///", "@4 tool_call chat: {}",
         '@5 +tool:t1 execute_tool Bash < t1 {"command":"ls"}', "@7 note chat: stop", "@7 usage chat: 3/9///",
         "@7 usage 3/9///", "@8 -chat:", "@9 note tool:t1 ok", "@9 -tool:t1", "@9 +chat: chat opus <",
         "@10 note chat: m2 opus", "@10 usage chat: 3/1///", "@10 usage 6/10///", "@11 text chat: b"],
    ),
    "stream_event: a tool of the API's": (
        [INIT, starts("m1"), block(0, {"type": "server_tool_use", "id": "w1", "name": "web_search"}),
         piece({"type": "content_block_stop", "index": 0}),
         says("m1", {"type": "server_tool_use", "id": "w1", "name": "web_search", "input": {}}),
         block(1, {"type": "web_search_tool_result", "tool_use_id": "w1", "content": []})],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 note token",
         "@2 note chat: m1 opus", "@2 usage chat: 3/1///", "@2 usage 3/1///",
         "@4 +tool:w1 execute_tool web_search <chat: web_search w1", "@6 -tool:w1"],
    ),
    "stream_event: broken off, and once more": (
        [INIT, starts("m1"), delta("a"), starts("m2"), delta("b"), says("m3", text("whole"))],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 note token",
         "@2 note chat: m1 opus", "@2 usage chat: 3/1///", "@2 usage 3/1///", "@3 text chat: a",
         "@4 -chat: truncated", "@4 +chat: chat opus <", "@4 note chat: m2 opus", "@4 usage chat: 3/1///",
         "@4 usage 6/2///", "@5 text chat: b", "@6 -chat: truncated", "@6 +chat: chat opus <",
         "@6 usage chat: 10//5/2/", "@6 usage 16/2/5/2/", "@6 note chat: m3 opus", "@6 text chat: whole"],
    ),
    "stream_event: an error": (
        [INIT, starts("m1"), piece({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
         system("api_retry", attempt=1, error="overloaded", error_status=529, retry_delay_ms=500)],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 note token",
         "@2 note chat: m1 opus", "@2 usage chat: 3/1///", "@2 usage 3/1///",
         "@3 -chat: failed overloaded_error: busy", "@3 +chat: chat opus <", "@4 retry chat: model 1 529"],
    ),
    "stream_event: of a sub-agent": (
        [INIT, starts("m1"), says("m1", use("t1", "Task")), starts("s1", "t1"),
         says("s2", text("b"), parent="t1", model="haiku")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 note token",
         "@2 note chat: m1 opus", "@2 usage chat: 3/1///", "@2 usage 3/1///", "@3 +tool:t1 execute_tool Task < t1 {}",
         "@4 +agent:t1 invoke_agent <tool:t1", "@4 +chat:t1 chat opus <agent:t1", "@4 note chat:t1 s1 opus",
         "@4 usage chat:t1 3/1///", "@4 usage 6/2///", "@5 -chat:t1 truncated", "@5 +chat:t1 chat haiku <agent:t1",
         "@5 usage chat:t1 10//5/2/", "@5 usage 16/2/5/2/", "@5 note chat:t1 s2 haiku", "@5 text chat:t1 b"],
    ),
    "stream_event: begins a turn that nobody asked for": (
        [said(), result(), piece({"type": "ping"}), starts("m2"), delta("b")],
        ["@1 + invoke_agent <", "@2 -", "@4 + invoke_agent <", "@4 +chat: chat <", "@4 note token",
         "@4 note chat: m2 opus", "@4 usage chat: 3/1///", "@4 usage 3/1///", "@5 text chat: b"],
    ),
    "result": (
        [INIT, result(total_cost_usd=0.5, usage=USED, stop_reason="end_turn", result_index=0)],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@2 note :session 0.5", "@2 usage 10/7/5/2/",
         "@2 note stop 0 0.5", "@2 -"],
    ),
    "result: of two turns": (
        [said(), result(total_cost_usd=0.5, modelUsage={"opus": of_model(3, 4, 5), "haiku": of_model(1, 1)}), said(),
         result(total_cost_usd=0.75, modelUsage={"opus": of_model(13, 6, 5), "haiku": of_model(1, 1)})],
        ["@1 + invoke_agent <", "@2 note :session 0.5", "@2 usage 9/5/5/0/", "@2 note 0.5", "@2 -",
         "@3 + invoke_agent <", "@4 note :session 0.75", "@4 usage 10/2/0/0/", "@4 note 0.25", "@4 -"],
    ),
    "result: of a session that was resumed": (
        [Aside("started", {"command": "claude -p hi --resume s-1"}), INIT,
         result(total_cost_usd=0.5, usage=USED, modelUsage={"opus": of_model(900, 400)}), INIT, says("m2", text("b")),
         result(total_cost_usd=0.75)],
        ["@2 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@3 note :session 0.5", "@3 usage 10/7/5/2/",
         "@3 -", "@4 note :session 2.1.330", "@4 + invoke_agent < opus s-1", "@4 +chat: chat opus <",
         "@5 usage 10//5/2/", "@5 note chat: m2 opus 10 5 2", "@5 text chat: b", "@6 note :session 0.75", "@5 -chat:",
         "@6 note 0.25", "@6 -"],
    ),
    "result: error_max_turns": (
        [INIT, says("m1", use("t1")),
         result("error_max_turns", errors=["Reached maximum number of turns (1)"], stop_reason="tool_use")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 usage 10//5/2/",
         "@2 note chat: m1 opus 10 5 2", "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}",
         "@2 -chat:", "@3 note tool_call", "@3 - failed error_max_turns: Reached maximum number of turns (1)"],
    ),
    "result: error_during_execution": (
        [INIT, result("error_during_execution", errors=["a", 1, "b"])],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@2 - failed error_during_execution: a; b"],
    ),
    "result: aborted, and not by the caller": (
        [INIT, starts("m1"), result("error_during_execution", terminal_reason="aborted_streaming")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <", "@2 note token",
         "@2 note chat: m1 opus", "@2 usage chat: 3/1///", "@2 usage 3/1///", "@3 -chat: cancelled", "@3 note signal",
         "@3 - cancelled"],
    ),
    "result: an error of the API's": (
        [INIT, system("status", status="requesting"),
         result(is_error=True, api_error_status=529, result="API Error: 529")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@2 +chat: chat opus <",
         "@3 -chat: failed 529", "@3 - failed 529: API Error: 529"],
    ),
    "result: a failure before the first turn": (
        [result("error_during_execution", startup_failure_reason="cwd_unavailable", errors=["No such directory"])],
        ["@1 + invoke_agent <", "@1 - failed cwd_unavailable: No such directory"],
    ),
    "result: of no turn": (
        [result(total_cost_usd=0.25)],
        ["@1 note :session 0.25"],
    ),
    "result: a tool is deferred": (
        [INIT, result(deferred_tool_use={"id": "t1", "name": "Bash", "input": {}}, terminal_reason="tool_deferred")],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@2 note tool.queued Bash t1", "@2 -"],
    ),
    "system: status": (
        [said(), system("status", status="compacting"), system("status", status=None, compact_result="success"),
         system("status", status="requesting"), system("status", status=None), says("m1", text("a"))],
        ["@1 + invoke_agent <", "@2 +step:compact step compact <", "@3 -step:compact", "@4 +chat: chat <",
         "@6 usage 10//5/2/", "@6 note chat: m1 opus 10 5 2", "@6 text chat: a"],
    ),
    "system: status: begins a turn that nobody asked for": (
        [said(), result(), system("status", status=None), system("status", status="requesting")],
        ["@1 + invoke_agent <", "@2 -", "@4 + invoke_agent <", "@4 +chat: chat <"],
    ),
    "system: status: a compaction that failed": (
        [said(), system("status", status="compacting"), system("status", status=None, compact_result="failed")],
        ["@1 + invoke_agent <", "@2 +step:compact step compact <", "@3 -step:compact failed compact_failed"],
    ),
    "system: compact_boundary": (
        [system("compact_boundary"), said(), system("status", status="compacting"),
         system("compact_boundary", compact_metadata={"trigger": "auto"}), system("compact_boundary")],
        ["@2 + invoke_agent <", "@3 +step:compact step compact <", "@4 -step:compact"],
    ),
    "system: api_retry": (
        [INIT,
         system("api_retry", attempt=1, max_retries=10, retry_delay_ms=500, error_status=429, error="rate_limit"),
         system("api_retry", attempt=2, error_status=None, error="unknown"), says("m1", text("a"))],
        ["@1 note :session 2.1.330 s-1", "@1 + invoke_agent < opus s-1", "@1 +chat: chat opus <",
         "@2 retry chat: model 1 429", "@3 retry chat: model 2 unknown", "@4 usage 10//5/2/",
         "@4 note chat: m1 opus 10 5 2", "@4 text chat: a"],
    ),
    "system: model_refusal_fallback": (
        [said(), system("model_refusal_fallback", fallback_model="sonnet", scope="session"),
         system("model_refusal_fallback", fallback_model="haiku", scope="local"), result(), said()],
        ["@1 + invoke_agent <", "@2 retry model 1 refusal", "@3 retry model 1 refusal", "@4 -",
         "@5 + invoke_agent < sonnet"],
    ),
    "system: hook_started": (
        [said(), system("hook_started", hook_id="h", hook_name="PreToolUse:Bash"),
         system("hook_started", hook_id="h", hook_name="PreToolUse:Bash"),
         system("hook_started", hook_id="i", hook_event="Stop")],
        ["@1 + invoke_agent <", "@2 +hook:h step PreToolUse:Bash <", "@4 +hook:i step Stop <"],
    ),
    "system: hook_response": (
        [said(), system("hook_started", hook_id="h", hook_name="a"),
         system("hook_response", hook_id="h", outcome="error"), system("hook_started", hook_id="i", hook_name="b"),
         system("hook_response", hook_id="i", outcome="success"), system("hook_response", hook_id="i"),
         system("hook_started", hook_id="j", hook_name="c"),
         system("hook_response", hook_id="j", outcome="cancelled")],
        ["@1 + invoke_agent <", "@2 +hook:h step a <", "@3 -hook:h failed hook_error", "@4 +hook:i step b <",
         "@5 -hook:i", "@7 +hook:j step c <", "@8 -hook:j cancelled"],
    ),
    "system: task_started": (
        [said(), says("m1", use("t1", "Task")), system("task_started", **TASK),
         says("s1", text("b"), parent="t1", model="haiku"),
         system("task_notification", task_id="k", status="completed"), gave("t1")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Task < t1 {}",
         "@3 +agent:t1 invoke_agent finder <tool:t1 finder", "@3 +chat:t1 chat haiku <agent:t1", "@4 usage 20//10/4/",
         "@4 note chat:t1 s1 haiku 10 5 2", "@4 text chat:t1 b", "@6 note tool:t1 ok", "@4 -chat:t1", "@6 -agent:t1",
         "@6 -tool:t1", "@2 -chat:"],
    ),
    "system: task_started: no sub-agent": (
        [said(), system("task_started", **{**TASK, "task_type": "local_bash"}),
         system("task_started", task_id="k", task_type="local_agent")],
        ["@1 + invoke_agent <"],
    ),
    "system: task_notification": (
        [said(), says("m1", use("t1", "Task")), system("task_started", **TASK, is_backgrounded=True),
         gave("t1", "started"), says("s1", text("b"), parent="t1", model="haiku"),
         system("task_notification", task_id="k", status="failed")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Task < t1 {}",
         "@3 +agent:t1 invoke_agent finder < finder", "@4 note tool:t1 started", "@4 -tool:t1", "@2 -chat:",
         "@3 +chat:t1 chat haiku <agent:t1", "@5 usage 20//10/4/", "@5 note chat:t1 s1 haiku 10 5 2",
         "@5 text chat:t1 b", "@5 -chat:t1", "@6 -agent:t1 failed task_failed"],
    ),
    "system: task_notification: in another turn": (
        [said(), system("task_started", **TASK, is_backgrounded=True), result(),
         system("task_notification", task_id="k", status="completed")],
        ["@1 + invoke_agent <", "@2 +agent:t1 invoke_agent finder < finder", "@3 -"],
    ),
    "system: task_updated": (
        [said(), system("task_started", **TASK, is_backgrounded=True),
         system("task_updated", task_id="k", patch={"status": "running"}),
         system("task_updated", task_id="k", patch={"status": "killed"}),
         system("task_updated", task_id="k", patch={"status": "killed"})],
        ["@1 + invoke_agent <", "@2 +agent:t1 invoke_agent finder < finder", "@4 -agent:t1 cancelled"],
    ),
    "system: permission_denied": (
        [said(), says("m1", use("t1")), system("permission_denied", tool_name="Bash", tool_use_id="t1"),
         gave("t1", "no", is_error=True)],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Bash < t1 {}", "@4 note tool:t1 no",
         "@4 -tool:t1 failed permission_denied", "@2 -chat:"],
    ),
    "tool_progress": (
        [said(), says("m1", use("t1", "Task")), line("tool_progress", tool_use_id="t1", elapsed_time_seconds=3),
         line(
             "tool_progress", tool_use_id="t1", subagent_type="finder",
             subagent_retry={"attempt": 2, "retry_delay_ms": 10, "error_status": 429, "error_category": "rate_limit"},
          )],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 usage 10//5/2/", "@2 note chat: m1 opus 10 5 2",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool Task < t1 {}",
         "@4 +agent:t1 invoke_agent finder <tool:t1 finder", "@4 +chat:t1 chat <agent:t1",
         "@4 retry chat:t1 model 2 429"],
    ),
    "rate_limit_event": (
        [line("rate_limit_event", rate_limit_info={"status": "allowed"}),
         line(
             "rate_limit_event", rate_limit_info={"status": "rejected", "rateLimitType": "five_hour", "resetsAt": 17},
          ),
         said(), line("rate_limit_event", rate_limit_info={"status": "allowed_warning"})],
        ["@2 note :session usage_limit five_hour 17", "@3 + invoke_agent <", "@4 note usage_limit"],
    ),
    "conversation_reset": (
        [said(), DUE, line("conversation_reset", new_conversation_id="s-2"), said(), DUE],
        ["@1 + invoke_agent <", "@2 note :session 0.5", "@2 note 0.5", "@2 -", "@3 note :session s-2",
         "@4 + invoke_agent < s-2", "@5 note :session 0.5", "@5 note 0.5", "@5 -"],
    ),
}
# fmt: on


@pytest.mark.parametrize(("events", "lines"), ROWS.values(), ids=ROWS)
def test_what_is_told(events: list[Any], lines: list[str]) -> None:
    assert told(ClaudeCode(), events) == lines


def test_every_type_of_the_source_is_in_the_table() -> None:
    types = {*IN_THE_SDK, *(f"system: {subtype}" for subtype in SUBTYPES), *SENT}
    assert set(ClaudeCode.events) == types
    rows = {": ".join(name.split(": ")[: 1 + name.startswith(("system", "sent"))]) for name in ROWS}
    silent = {name for name, what in ClaudeCode.events.items() if what.startswith("nothing")}
    assert types - silent <= rows


def test_what_tells_nothing_tells_nothing() -> None:
    silent = [name.split(": ") for name, what in ClaudeCode.events.items() if what.startswith("nothing")]
    events = [line(names[0], **({"subtype": names[1]} if names[1:] else {})) for names in silent]
    assert len(events) > 20
    assert told(ClaudeCode(), events) == []
    assert told(ClaudeCode(), [said(), *events]) == ["@1 + invoke_agent <"]


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("zag exec -p claude --output-format stream-json hi", False),
        ("env A=1 timeout 60 claude --output-format stream-json", True),
        ("claude -p a  --output-format stream-json", True),
        ("claude -p hi --output-format stream-json --verbose", True),
        ("/opt/x/_bundled/claude --output-format stream-json --verbose --input-format stream-json", True),
        ("npx @anthropic-ai/claude-code@2 -p --output-format=stream-json hi", True),
        ("node /x/claude-code/cli.js --output-format stream-json", True),
        ("claude --system-prompt 'a\nb' --output-format stream-json", True),
        ("'/opt/my programs/claude' --output-format stream-json", True),
        ("claude -p hi", False),
        ("claude -p hi --output-format json", False),
        ("claudette --output-format stream-json", False),
        ("gemini --output-format stream-json", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert any(re.search(pattern, command) for pattern in ClaudeCode.commands) is claimed


def test_what_it_says_of_itself() -> None:
    assert (ClaudeCode.terminal, ClaudeCode.granularity, ClaudeCode.framing) == (True, Granularity.MESSAGE, "ndjson")
    assert ClaudeCode.opens_runs
    assert ClaudeCode.asked("claude -p 'a --model b' --model opus --effort=high", None) == {
        "agent_name": "claude-code", "model": "opus", "attributes": {"gen_ai.request.reasoning.level": "high"},
    }  # fmt: skip
    for path in ("", "claude -p 'not closed", "claude --model -- x", "claude --model --verbose"):
        assert ClaudeCode.asked(path, None) == {"agent_name": "claude-code"}


@pytest.mark.parametrize(
    ("costs", "shares"),
    [
        ((0.1, 0.3, 0.3), (0.1, 0.2, 0.0)),
        ((0.3, 0.1), (0.3, 0.1)),
        ((0.3, None, 0.4), (0.3, None, 0.1)),
        ((True, "1", float("nan"), -1, 10**400), (None,) * 5),
    ],
)
def test_a_cost_is_never_added_twice(costs: tuple[Any, ...], shares: tuple[Any, ...]) -> None:
    totals = Totals()
    assert tuple(totals.turn({"total_cost_usd": cost, "modelUsage": {"m": 1}})[0] for cost in costs) == shares


def test_a_crash_is_told_with_zeros() -> None:
    totals = Totals()
    totals.turn({"total_cost_usd": 0.3, "modelUsage": {"m": {"inputTokens": 9, "outputTokens": 1}}})
    assert totals.turn({"total_cost_usd": 0, "modelUsage": {}, "usage": {"input_tokens": 0}}) == (None, None)
    assert totals.cost == 0.3
    assert totals.turn({"total_cost_usd": 0.4, "modelUsage": {"m": {"inputTokens": 11, "outputTokens": 2}}}) == (
        0.1, (2, 1, 0, 0),
    )  # fmt: skip


def test_it_forgets_what_is_too_many() -> None:
    dialect = ClaudeCode()
    told(dialect, [said(), *(says("m", use(f"t{number}")) for number in range(300))])
    assert dialect.turn is not None
    assert len(dialect.turn.open) == 256
    told(dialect, [says("s", text("a"), parent=f"a{number}") for number in range(300)])
    told(dialect, [system("hook_started", hook_id=str(number)) for number in range(300)])
    told(dialect, [system("permission_denied", tool_use_id=str(number)) for number in range(300)])
    asks = [line("control_request", **control("can_use_tool", str(number))) for number in range(300)]
    assert len(told(dialect, asks)) == 256
    assert (len(dialect.turn.agents), len(dialect.turn.steps), len(dialect.turn.denied)) == (257, 256, 256)


IDS = st.sampled_from(["", "a", "b", "c"])
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "server_tool_use", "tool_result", "x_tool_result"])},
    optional={
        "id": IDS, "tool_use_id": IDS, "name": IDS, "text": st.just("t"), "thinking": JUNK, "input": JUNK,
        "content": JUNK, "is_error": JUNK,
    },
)  # fmt: skip
MESSAGES = st.fixed_dictionaries(
    {}, optional={"id": IDS, "model": IDS, "content": st.lists(BLOCKS, max_size=3) | JUNK, "usage": JUNK}
)
PIECES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
             "message_stop", "error", "ping"]
        )
    },
    optional={
        "message": MESSAGES, "index": st.integers(0, 1), "content_block": BLOCKS, "usage": JUNK,
        "delta": st.just({"type": "text_delta", "text": "x"}) | JUNK,
    },
)  # fmt: skip
LIKELY = st.builds(
    lambda type_, fields: {**fields, "type": type_},
    st.sampled_from(sorted({"system", *IN_THE_SDK})),
    st.fixed_dictionaries(
        {},
        optional={
            "subtype": st.sampled_from(sorted(SUBTYPES | {"success", "error_during_execution"})),
            "parent_tool_use_id": IDS | st.none(), "tool_use_id": IDS, "task_id": IDS, "hook_id": IDS,
            "request_id": IDS, "message": MESSAGES | JUNK, "event": PIECES | JUNK, "usage": JUNK, "modelUsage": JUNK,
            "status": st.sampled_from(["requesting", "compacting", "completed", None]), "attempt": JUNK,
            "task_type": st.just("local_agent"), "is_backgrounded": st.booleans(), "is_error": JUNK,
            "request": st.fixed_dictionaries({"subtype": st.sampled_from(["can_use_tool", "interrupt", "set_model"])}),
            "response": st.fixed_dictionaries({"request_id": IDS}, optional={"response": JUNK}),
            "total_cost_usd": JUNK, "queued_turn_count": JUNK, "patch": JUNK, "rate_limit_info": JUNK,
            "subagent_retry": JUNK, "errors": JUNK, "retry_delay_ms": JUNK,
        },
    ),
)  # fmt: skip
LINES = (LIKELY | JUNK).map(json.dumps) | st.text(max_size=5)


@given(
    st.lists(
        LINES | JUNK | st.binary(max_size=5) | st.builds(Aside, st.sampled_from(["sent", "started", "exited"]), JUNK)
        | LINES.map(lambda data: Aside("sent", {"data": data})),
        max_size=40,
    )
)  # fmt: skip
def test_anything(events: list[Any]) -> None:
    dialect, open_ = ClaudeCode(), set[str]()
    for at, event in enumerate(events, 1):
        for signal in dialect.feed(event, at):
            assert 0 < signal.at <= at, words(signal)
            if isinstance(signal, Opened):
                assert signal.key not in open_ or signal.key.startswith("tool:"), words(signal)
                assert RUN in open_ or signal.key == RUN
                open_.add(signal.key)
            elif isinstance(signal, Closed):
                assert signal.key in open_ or signal.key.startswith("tool:"), words(signal)
                open_ = set() if signal.key == RUN else open_ - {signal.key}
            elif isinstance(signal, Chunk):
                assert signal.key in open_
                assert signal.text.__class__ is str
    assert list(dialect.finish(99)) == list(dialect.untold(99)) == []


@given(JUNK | st.text())
def test_any_command_line(command: Any) -> None:
    assert ClaudeCode.asked(command, None)["agent_name"] == "claude-code"
