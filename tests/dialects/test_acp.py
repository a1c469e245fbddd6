"""The table of ACP's messages, from agentclientprotocol/agent-client-protocol at b7f0005: `schema/v1/meta.json` and
`schema/v1/schema.json` (`SessionUpdate`, `ToolCallStatus`, `StopReason`)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects.acp import Acp
from streamgauge.signals import Chunk
from streamgauge.wire import Aside, Granularity, Outcome

from .message_streams import FINISH, UNTOLD, anything, fed, lines, sent, sound
from .stdio_streams import claims, facts, replayed, spans, watched

METHODS = {
    "initialize", "authenticate", "session/new", "session/load", "session/set_mode", "session/set_config_option",
    "session/prompt", "session/cancel", "session/list", "session/delete", "session/resume", "session/close", "logout",
    "session/request_permission", "session/update", "fs/write_text_file", "fs/read_text_file", "terminal/create",
    "terminal/output", "terminal/release", "terminal/wait_for_exit", "terminal/kill", "elicitation/create",
    "elicitation/complete", "$/cancel_request",
}  # fmt: skip
UPDATES = {
    "user_message_chunk", "agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan",
    "available_commands_update", "current_mode_update", "config_option_update", "session_info_update", "usage_update",
}  # fmt: skip
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MODEL = [{"id": "m", "category": "model", "type": "select", "currentValue": "m-2"}]


def request(method: str, id_: Any, /, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def notice(method: str, /, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def answer(id_: Any, /, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def error(id_: Any, code: int, message: str = "no") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}}


def prompt(id_: Any = 1, session: str = "s", **more: Any) -> Aside:
    return sent(request("session/prompt", id_, sessionId=session, prompt=[{"type": "text", "text": "Hi"}], **more))


def update(kind: str, /, session: str = "s", **fields: Any) -> dict[str, Any]:
    return notice("session/update", sessionId=session, update={"sessionUpdate": kind, **fields})


def says(words: str, session: str = "s") -> dict[str, Any]:
    return update("agent_message_chunk", session, content={"type": "text", "text": words})


def tool(status: str | None = None, id_: str = "c", **fields: Any) -> dict[str, Any]:
    news = {"status": status} if status else {}
    return update("tool_call_update", toolCallId=id_, **news, **fields)


def asks(id_: Any = 0, call: str = "c", session: str = "s") -> dict[str, Any]:
    options = [{"optionId": "y", "name": "Yes", "kind": "allow_once"}, {"optionId": "n", "kind": "reject_once"}]
    return request("session/request_permission", id_, sessionId=session, toolCall={"toolCallId": call}, options=options)


def chose(option: str, id_: Any = 0) -> Aside:
    return sent(answer(id_, outcome={"outcome": "selected", "optionId": option}))


def ended(reason: str = "end_turn", id_: Any = 1, **more: Any) -> dict[str, Any]:
    return answer(id_, stopReason=reason, **more)


BEGUN = "@1 + invoke_agent s"
CALL = update("tool_call", toolCallId="c", title="Reading /x", kind="read", status="pending", rawInput={"path": "x"})
SHOWN = '@2 tool_call {"path":"x"}'

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "session/prompt": ([prompt(), ended()], [BEGUN, "@2 note end_turn", "@2 -"]),
    "session/prompt: max_tokens": ([prompt(), ended("max_tokens")], [BEGUN, "@2 note max_tokens", "@2 -"]),
    "session/prompt: max_turn_requests": (
        [prompt(), ended("max_turn_requests")], [BEGUN, "@2 note max_turn_requests", "@2 -"]),
    "session/prompt: refusal": ([prompt(), ended("refusal")], [BEGUN, "@2 note refusal", "@2 -"]),
    "session/prompt: cancelled": (
        [prompt(), ended("cancelled")], [BEGUN, "@2 note cancelled", "@2 note by cancel", "@2 - cancelled"]),
    "session/prompt: an error": ([prompt(), error(1, -32603, "gone")], [BEGUN, "@2 - failed -32603: gone"]),
    "session/prompt: an error that says it was cancelled": (
        [prompt(), error(1, -32800)], [BEGUN, "@2 note by cancel", "@2 - cancelled"]),
    "session/prompt: its parent": (
        [prompt(_meta={"traceparent": OTHER}), ended()],
        [f"@1 + invoke_agent <{OTHER} s", "@2 note end_turn", "@2 -"]),
    "session/prompt: tokens of all kinds": (
        [prompt(), ended(usage={"totalTokens": 30, "inputTokens": 10, "outputTokens": 5, "thoughtTokens": 3,
                                "cachedReadTokens": 8, "cachedWriteTokens": 4})],
        [BEGUN, "@2 note end_turn", "@2 usage 22/8/8/4/3", "@2 -"]),
    "session/prompt: tokens in one another": (
        [prompt(), ended(usage={"totalTokens": 15, "inputTokens": 10, "outputTokens": 5, "thoughtTokens": 3})],
        [BEGUN, "@2 note end_turn", "@2 usage 10/5///3", "@2 -"]),
    "session/prompt: twice with one id": ([prompt(), prompt()], [BEGUN]),
    "session/cancel": (
        [prompt(), sent(notice("session/cancel", sessionId="t")), sent(notice("session/cancel", sessionId="s")),
         says("oh"), error(1, -32603)],
        [BEGUN, "@4 text oh", "@5 note by cancel", "@5 - cancelled"]),
    "session/cancel: too late": (
        [prompt(), sent(notice("session/cancel", sessionId="s")), ended()], [BEGUN, "@3 note end_turn", "@3 -"]),
    "$/cancel_request": (
        [prompt(), sent(notice("$/cancel_request", requestId=1)), sent(notice("$/cancel_request", requestId=9)),
         error(1, -32603)],
        [BEGUN, "@4 note by cancel", "@4 - cancelled"]),
    "$/cancel_request: of the agent": (
        [prompt(), request("terminal/wait_for_exit", 0, sessionId="s"), asks(1),
         notice("$/cancel_request", requestId=0), notice("$/cancel_request", requestId=1),
         notice("$/cancel_request", requestId=1), sent(answer(0))],
        [BEGUN, "@2 +rpc:int:0 rpc terminal/wait_for_exit 0", "@3 note person.asked other c",
         "@4 -rpc:int:0 cancelled", "@5 note person.answered other c"]),
    "initialize": (
        [sent(request("initialize", 0)), answer(0, agentInfo={"name": "dock"}), prompt()],
        ["@2 note :session dock", "@3 + invoke_agent dock s"]),
    "initialize: no name": ([sent(request("initialize", 0)), answer(0)], []),
    "session/new": (
        [sent(request("session/new", 0)), answer(0, sessionId="s", configOptions=MODEL), prompt()],
        ["@3 + invoke_agent s m-2"]),
    "session/load": (
        [sent(request("session/load", 0, sessionId="s")), says("of before"), answer(0, configOptions=MODEL), prompt()],
        ["@4 + invoke_agent s m-2"]),
    "session/set_config_option": (
        [prompt(), sent(request("session/set_config_option", 2, sessionId="s")), answer(2, configOptions=MODEL)],
        [BEGUN, "@3 note m-2"]),
    "config_option_update: of another thing": (
        [prompt(), update("config_option_update", configOptions=[{"category": "mode", "currentValue": "x"}, 5])],
        [BEGUN]),
    "config_option_update": ([prompt(), update("config_option_update", configOptions=MODEL)], [BEGUN, "@2 note m-2"]),
    "session/request_permission": (
        [prompt(), CALL, asks(), chose("y"), tool("in_progress"), tool("completed")],
        [BEGUN, SHOWN, "@3 note person.asked read c", "@4 note person.answered read c",
         '@5 +tool:c execute_tool read c {"path":"x"}', "@6 -tool:c"]),
    "session/request_permission: refused": (
        [prompt(), CALL, asks(), chose("n"), tool("failed")],
        [BEGUN, SHOWN, "@3 note person.asked read c", "@4 note person.answered read c",
         '@4 +tool:c execute_tool read c {"path":"x"}', "@5 -tool:c failed permission_denied"]),
    "session/request_permission: of no open turn": ([asks(), chose("y")], []),
    "session/request_permission: of a turn that is over": (
        [prompt(), asks(), ended(), chose("y")],
        [BEGUN, "@2 note person.asked other c", "@3 note tool.requested other c", "@3 note end_turn", "@3 -"]),
    "elicitation/create": (
        [prompt(), request("elicitation/create", 0, sessionId="s", message="Which?"), sent(answer(0, action="accept"))],
        [BEGUN, "@2 note person.asked", "@3 note person.answered"]),
    "fs/read_text_file": (
        [prompt(), request("fs/read_text_file", "a", sessionId="s"), sent(answer("a", content="x"))],
        [BEGUN, "@2 +rpc:str:a rpc fs/read_text_file a", "@3 -rpc:str:a"]),
    "fs/write_text_file: refused": (
        [prompt(), request("fs/write_text_file", 0, sessionId="s"), request("fs/write_text_file", 0, sessionId="s"),
         sent(error(0, -32002, "no such file")), sent(answer(0))],
        [BEGUN, "@2 +rpc:int:0 rpc fs/write_text_file 0", "@4 -rpc:int:0 failed -32002: no such file"]),
    "agent_message_chunk": (
        [prompt(), says("Hello"), update("agent_message_chunk", content={"type": "image", "data": "AA"}),
         update("agent_message_chunk", content={"type": "audio", "data": "BB"}),
         update("agent_message_chunk", content={"type": "resource_link", "uri": "x"}), says("of another", "t")],
        [BEGUN, "@2 text Hello", "@3 image AA", "@4 audio BB"]),
    "agent_thought_chunk": (
        [prompt(), update("agent_thought_chunk", content={"type": "text", "text": "Hm"})], [BEGUN, "@2 reasoning Hm"]),
    "tool_call": (
        [prompt(), CALL, tool("in_progress"),
         tool("completed", content=[{"type": "content", "content": {"type": "text", "text": "a"}}, {"type": "diff"},
                                    {"type": "content", "content": {"type": "text", "text": "b"}}]), tool("failed")],
        [BEGUN, SHOWN, '@3 +tool:c execute_tool read c {"path":"x"}', "@4 note tool:c a b", "@4 -tool:c"]),
    "tool_call: at once": (
        [prompt(), update("tool_call", toolCallId="c", status="completed", rawOutput={"n": 1}, kind="fetch")],
        [BEGUN, "@2 +tool:c execute_tool fetch c", '@2 note tool:c {"n":1}', "@2 -tool:c"]),
    "tool_call: its name": (
        [prompt(), update("tool_call", toolCallId="c", kind="execute", status="in_progress",
                          _meta={"x": 1, "claudeCode": {"toolName": "Bash"}}),
         update("tool_call", toolCallId="d", kind="execute", name="shell", status="in_progress"),
         update("tool_call", toolCallId="e", status="in_progress")],
        [BEGUN, "@2 +tool:c execute_tool Bash c", "@3 +tool:d execute_tool shell d",
         "@4 +tool:e execute_tool other e"]),
    "tool_call: never run": (
        [prompt(), CALL, ended("cancelled")],
        [BEGUN, SHOWN, '@3 note tool.requested read c {"path":"x"}', "@3 note cancelled", "@3 note by cancel",
         "@3 - cancelled"]),
    "tool_call_update": (
        [prompt(), update("tool_call", toolCallId="c", kind="edit", rawInput={}), tool(rawInput={"p": 1}),
         tool("failed")],
        [BEGUN, '@3 tool_call {"p":1}', '@3 +tool:c execute_tool edit c {"p":1}', "@4 -tool:c failed tool_error"]),
    "tool_call_update: its input comes late": (
        [prompt(), tool("in_progress"), tool(rawInput={"p": 1}), tool(rawInput={"p": 2}), tool("")],
        [BEGUN, "@2 +tool:c execute_tool other c", '@3 tool_call {"p":1}', '@3 note tool:c {"p":1}',
         '@4 note tool:c {"p":2}']),
    "usage_update": (
        [sent(request("session/new", 0)), answer(0, sessionId="s"), prompt(), update("usage_update", used=1, size=2),
         update("usage_update", cost={"amount": 0.25, "currency": "USD"}), ended(), prompt(2),
         update("usage_update", cost={"amount": 0.75, "currency": "USD"}),
         update("usage_update", cost={"amount": 1, "currency": "EUR"})],
        ["@3 + invoke_agent s", "@5 note 0.25", "@6 note end_turn", "@6 -", "@7 + invoke_agent s", "@8 note 0.5"]),
    "usage_update: what it was before is not known": (
        [prompt(), update("usage_update", cost={"amount": 9, "currency": "USD"}), ended(), prompt(2),
         update("usage_update", cost={"amount": 9.5, "currency": "USD"})],
        [BEGUN, "@3 note end_turn", "@3 -", "@4 + invoke_agent s", "@5 note 0.5"]),
    "two sessions": (
        [prompt(1, "s"), prompt(2, "t"), says("a", "s"), says("b", "t"), ended("end_turn", 1), says("c", "t"),
         update("tool_call", "t", toolCallId="c", status="in_progress"), ended("end_turn", 2)],
        [BEGUN, "@3 text a", "@5 note end_turn", "@5 -", "@2 + invoke_agent t", "@7 +tool:c execute_tool other c",
         "@8 note end_turn", "@8 -"]),
    "two sessions: the second ends first": (
        [prompt(1, "s"), prompt(2, "t"), error(2, -32603), says("a"), ended()],
        [BEGUN, "@4 text a", "@5 note end_turn", "@5 -", "@2 + invoke_agent t", "@3 - failed -32603: no"]),
    "the agent ends": (
        [prompt(1, "s"), prompt(2, "t"), FINISH], [BEGUN, "@3 - truncated", "@2 + invoke_agent t"]),
    "it is ended": (
        [prompt(1, "s"), prompt(2, "t"), update("tool_call", "t", toolCallId="c", status="in_progress"), UNTOLD],
        [BEGUN, "@2 +run:0 invoke_agent t", "@3 +run:0/tool:c execute_tool other <run:0 c"]),
    "no message": (
        ["x", "[]", "{}", "[1]", sent("x"), sent({"method": "session/prompt"}), Aside("exited", {}), says("x"),
         answer(4), request("fs/read_text_file", 1), request("_own/method", 2), notice("_own/note"), CALL], []),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_told(steps: list[Any], expected: list[str]) -> None:
    assert lines(Acp(), steps) == expected


def test_every_method_and_update_of_the_source_has_words() -> None:
    assert set(Acp.events) == METHODS | UPDATES
    shown = {row.partition(":")[0] for row in ROWS}
    for name, becomes in Acp.events.items():
        steps = [prompt(), sent(request(name, 7, sessionId="s")), request(name, 8, sessionId="s")]
        if name in UPDATES:
            steps = [prompt(), update(name, content=[], plan=[], toolCallId="x")]
        told = lines(Acp(), steps)
        if becomes.startswith("an `rpc`"):
            assert told == [BEGUN, f"@3 +rpc:int:8 rpc {name} 8"]
        elif becomes == "nothing":
            assert told == [BEGUN]
        else:
            assert name in shown or becomes in ("the same", "by its kind:"), name


def test_what_comes_again_and_again_is_a_chunk_alone() -> None:
    dialect = Acp()
    fed(dialect, [prompt()])
    assert isinstance(dialect.feed(json.dumps(says("x")), 2), Chunk)


def test_turns_that_overlap() -> None:
    steps = [
        prompt(1, "s"), prompt(2, "t", _meta={"traceparent": OTHER}), says("a", "s"), says("b", "t"),
        ended("end_turn", 1), ended("end_turn", 2),
    ]  # fmt: skip
    seen = watched(Acp, steps)
    first, second = spans(seen, "invoke_agent")
    assert [(each["end"] - each["start"]) / 1e9 for each in (first, second)] == [4.0, 4.0]
    assert f"00-{second['trace_id']}-{second['parent_id']}-01" == OTHER
    names = ("gen_ai.conversation.id", "streamgauge.outcome", "gen_ai.response.time_to_first_chunk")
    assert [facts(each, *names) for each in (first, second)] == [["s", "completed", 2.0], ["t", "completed", None]]
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 2


def test_a_person_is_no_stall() -> None:
    steps = [prompt(), says("x"), asks(), chose("y"), ended()]
    (run,) = spans(watched(Acp, steps, step_ns=60_000_000_000), "invoke_agent")
    assert run["attributes"]["streamgauge.stream.stalls"] == 3  # the first chunk, the request, and what came after it
    (person,) = spans(watched(Acp, [prompt(), asks(), says("x"), ended()], step_ns=60_000_000_000), "invoke_agent")
    assert person["attributes"]["streamgauge.stream.stalls"] == 2


def test_what_is_open_ends_as_the_process_does() -> None:
    steps = [prompt(1, "s"), prompt(2, "t"), update("tool_call", "t", toolCallId="c", status="in_progress")]
    seen = watched(Acp, steps, outcome=Outcome.FAILED, error_type="SIGKILL")
    assert seen.tree() == ["session acp", "  invoke_agent", "    invoke_agent", "      execute_tool other"]
    assert {each["attributes"]["error.type"] for each in seen.spans} == {"SIGKILL"}


def test_it_forgets_what_is_too_much() -> None:
    dialect = Acp()
    fed(dialect, [sent([request("session/list", number, sessionId="s") for number in range(2000)])])
    assert len(dialect._calls) == 1024
    fed(dialect, [prompt("p"), *(tool(id_=str(number)) for number in range(1100)),
                  *(asks(number, str(number)) for number in range(1100)),
                  *(request("terminal/output", f"x{number}", sessionId="s") for number in range(9))])  # fmt: skip
    turn = dialect._turns["str:p"]
    assert (len(turn._calls), len(dialect._asks), len(turn._asked)) == (1024, 1024, 1024)
    fed(dialect, [*(prompt(f"q{number}", f"s{number}") for number in range(1100))])
    assert len(dialect._turns) == 256
    assert lines(dialect, [ended("end_turn", "p")])[-1] == "@1 + invoke_agent s0"
    assert not dialect._asks
    cost = {"amount": 1, "currency": "USD"}
    fed(dialect, [update("usage_update", f"u{number}", cost=cost) for number in range(2000)])
    assert len(dialect._sessions) == 1024


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("gemini --experimental-acp", True),
        ("gemini --model x --acp", True),
        ("copilot --acp", True),
        ("opencode acp", True),
        ("npx -y @zed-industries/claude-code-acp@latest", True),
        ("claude-agent-acp", True),
        ("codex-acp", True),
        ("claude -p acp", False),
        ("python agent.py", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert claims(Acp, command) is claimed


def test_what_it_says_of_itself() -> None:
    assert (Acp.terminal, Acp.granularity, Acp.framing, Acp.opens_runs) == (True, Granularity.TOKEN, "ndjson", True)


def test_the_captures() -> None:
    seen = replayed(Acp, "acp-permission")
    assert seen.tree() == [
        "session acp", "  invoke_agent harbour-agent", "    execute_tool execute", "    rpc terminal/create",
        "    rpc terminal/wait_for_exit", "    rpc fs/read_text_file", "  invoke_agent harbour-agent",
    ]  # fmt: skip
    first, second = spans(seen, "invoke_agent")
    names = ("streamgauge.outcome", "streamgauge.interrupted_by", "streamgauge.cost_usd", "gen_ai.request.model")
    assert facts(first, *names) == ["completed", None, 0.031, "lantern-2"]
    assert facts(second, *names) == ["cancelled", "cancel", None, "lantern-2"]
    assert [event["name"] for event in first["events"]] == ["streamgauge.person.asked", "streamgauge.person.answered"]
    seen = replayed(Acp, "acp-two-sessions")
    assert [facts(each, "gen_ai.conversation.id", "error.type") for each in spans(seen, "invoke_agent")] == [
        ["sess-1", None], ["sess-2", "-32603"],
    ]  # fmt: skip


KEYS = [
    "id", "method", "params", "result", "error", "sessionId", "update", "sessionUpdate", "content", "text",
    "toolCallId", "status", "rawInput", "requestId", "toolCall", "options", "optionId", "kind", "outcome", "cost",
    "amount", "currency", "configOptions", "category", "currentValue", "stopReason", "usage", "inputTokens", "_meta",
    "code",
]  # fmt: skip
VALUES = [*METHODS, *UPDATES, "s", "in_progress", "completed", "failed", "cancelled", "USD", "model", "c"]


@given(anything(KEYS, VALUES))
def test_anything(steps: list[Any]) -> None:
    sound(Acp(), [prompt(), *steps])
