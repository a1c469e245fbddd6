"""The table of MCP's messages on lines, from mcp 2.3.0: `mcp_types/_types.py`, `mcp_types/jsonrpc.py`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from streamgauge import testing
from streamgauge.dialects._overlaps import MAX_KEPT, MAX_RUNS, Overlaps
from streamgauge.dialects.mcp import Mcp
from streamgauge.dialects.mcp_stdio import McpStdio
from streamgauge.signals import RUN, Closed, Noted, Opened
from streamgauge.wire import Aside, Granularity, Outcome, Request

from .message_streams import FINISH, UNTOLD, anything, lines, sent, sound
from .stdio_streams import claims, facts, replayed, spans, watched

METHODS = {
    "completion/complete", "elicitation/create", "initialize", "logging/setLevel", "notifications/cancelled",
    "notifications/elicitation/complete", "notifications/initialized", "notifications/message",
    "notifications/progress", "notifications/prompts/list_changed", "notifications/resources/list_changed",
    "notifications/resources/updated", "notifications/roots/list_changed", "notifications/subscriptions/acknowledged",
    "notifications/tasks/status", "notifications/tools/list_changed", "ping", "prompts/get", "prompts/list",
    "resources/list", "resources/read", "resources/subscribe", "resources/templates/list", "resources/unsubscribe",
    "roots/list", "sampling/createMessage", "server/discover", "subscriptions/listen", "tasks/cancel", "tasks/get",
    "tasks/list", "tasks/result", "tools/call", "tools/list",
}  # fmt: skip
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(method: str, id_: Any = 0, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def answer(id_: Any, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def error(code: int, message: str, id_: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}}


def call(id_: Any, name: str = "t", **params: Any) -> Aside:
    return sent(request("tools/call", id_, name=name, **params))


def gave(id_: Any, words: str, **more: Any) -> dict[str, Any]:
    return answer(id_, content=[{"type": "text", "text": words}], **more)


RUN_7 = "@1 + execute_tool t tools/call 7 t"

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "tools/call": ([call(7, arguments={"q": 1}), gave(7, "3 hits")],
                   ['@1 + execute_tool t tools/call 7 {"q":1} t', "@2 note 3 hits", "@2 -"]),
    "result: the tool failed": ([call(7), gave(7, "no", isError=True)],
                                [RUN_7, "@2 note no", "@2 - failed tool_error: no"]),
    "result: input is required": (
        [call(7), answer(7, resultType="input_required", inputRequests={"a": {"method": "elicitation/create"}})],
        [RUN_7, "@2 note person.asked", "@2 -"]),
    "result: to nobody": ([answer(7), call(7), answer(8), answer("7")], ["@2 + execute_tool t tools/call 7 t"]),
    "error": ([call(7), error(-32602, "no such tool", 7)], [RUN_7, "@2 - failed -32602: no such tool"]),
    "error: an address is to be visited": (
        [call(7), error(-32042, "log in", 7)], [RUN_7, "@2 note person.asked", "@2 - failed -32042: log in"]),
    "a parent": (
        [sent(request("tools/list", "a", _meta={"traceparent": OTHER})), answer("a", tools=[])],
        [f"@1 + rpc tools/list <{OTHER} tools/list a", "@2 -"]),
    "elicitation/create": (
        [call(7), request("elicitation/create", 7), sent(answer(7, action="accept")), gave(7, "x")],
        [RUN_7, "@2 note person.asked", "@3 note person.answered", "@4 note x", "@4 -"]),
    "elicitation/create: refused, or dropped": (
        [call(7), request("elicitation/create", 1), sent(error(-1, "no", 1)), request("elicitation/create", 2),
         notice("notifications/cancelled", requestId=2), request("elicitation/create", 3), answer(7),
         sent(answer(3, action="accept"))],
        [RUN_7, "@2 note person.asked", "@3 note person.answered", "@4 note person.asked", "@5 note person.answered",
         "@6 note person.asked", "@7 -"]),
    "elicitation/create: of the oldest tool call": (
        [sent(request("tools/list", 1)), call(7), request("elicitation/create", 1), answer(1), answer(7)],
        ["@1 + rpc tools/list tools/list 1", "@4 -", "@2 + execute_tool t tools/call 7 t", "@3 note person.asked",
         "@5 -"]),
    "elicitation/create: of nobody": ([request("elicitation/create", 1)], []),
    "notifications/cancelled": (
        [call(7), sent(notice("notifications/cancelled", requestId=7)), answer(7),
         sent(notice("notifications/cancelled", requestId=9))],
        [RUN_7, "@2 note by cancel", "@2 - cancelled"]),
    "subscriptions/listen": ([sent(request("subscriptions/listen", 1)), answer(1)], []),
    "ping": ([sent(request("ping", 1)), answer(1), request("ping", 1), sent(answer(1))],
             ["@1 + rpc ping ping 1", "@2 -"]),
    "a batch": (
        [sent([request("tools/list", 2), request("tools/call", 3, name="t"), 5]), [gave(3, "x"), answer(2)]],
        ["@1 + rpc tools/list tools/list 2", "@2 -", "@1 + execute_tool t tools/call 3 t", "@2 note x", "@2 -"]),
    "three that overlap": (
        [call(1, "a"), call(2, "b"), call(3, "c"), gave(3, "z"), answer(1), answer(2)],
        ["@1 + execute_tool a tools/call 1 a", "@5 -", "@3 + execute_tool c tools/call 3 c", "@4 note z", "@4 -",
         "@2 + execute_tool b tools/call 2 b", "@6 -"]),
    "an id that is open": ([call(1, "a"), call(1, "b"), call("1", "c")], ["@1 + execute_tool a tools/call 1 a"]),
    "the server ends": (
        [call(1, "a"), call(2, "b"), call(3, "c"), answer(3), FINISH],
        ["@1 + execute_tool a tools/call 1 a", "@5 - truncated", "@3 + execute_tool c tools/call 3 c", "@4 -",
         "@2 + execute_tool b tools/call 2 b"]),
    "it is ended": (
        [call(1, "a"), call(2, "b"), call(3, "c"), gave(3, "z"), UNTOLD, answer(2)],
        ["@1 + execute_tool a tools/call 1 a", "@3 +run:0 execute_tool c tools/call 3 c", "@4 note run:0 z",
         "@4 -run:0", "@2 +run:1 execute_tool b tools/call 2 b"]),
    "no message": (
        ["x", "5", "[]", "[[]]", "{}", '{"id": 1}', sent("x"), sent(b"\xff"), sent({"method": "A b", "id": 1}),
         sent(notice("notifications/initialized")), Aside("exited", {"code": 0}), FINISH, UNTOLD], []),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_told(steps: list[Any], expected: list[str]) -> None:
    assert lines(McpStdio(), steps) == expected


def test_every_method_of_the_source_has_words() -> None:
    assert set(McpStdio.events) == METHODS | {"result", "error"}
    for method, becomes in McpStdio.events.items():
        told = lines(McpStdio(), [sent(request(method, 3)), request(method, 4), answer(3)])
        if becomes.startswith("a run, an `rpc`"):
            assert told == [f"@1 + rpc {method} {method} 3", "@3 -"]
        if becomes.startswith("nothing: it"):
            assert told == []
        if becomes.startswith("nothing"):
            assert lines(McpStdio(), [notice(method), request(method, 3), sent(notice(method))]) == []


def over_http(asked: dict[str, Any], *messages: dict[str, Any]) -> dict[str, Any]:
    with testing.recording() as seen:
        request_ = Request(dialect="mcp", transport="httpx", **Mcp.asked("/mcp", asked))
        tap = seen.pipeline.open(request_, framing="message", at=10**15)
        for number, message in enumerate(messages, 1):
            tap.feed(json.dumps(message).encode(), 10**15, 10**15 + number * 1_000_000_000)
        tap.end_at(10**15 + 10_000_000_000)
    (span,) = seen.spans
    return span


@pytest.mark.parametrize(
    ("asked", "messages"),
    [
        (request("tools/call", 7, name="search", arguments={"q": 1}), [gave(7, "3 hits")]),
        (request("tools/call", "x", name="search"), [notice("notifications/progress"), gave("x", "no", isError=True)]),
        (request("tools/list", 1), [answer(1, tools=[])]),
        (request("prompts/get", 1, name="p"), [error(-32602, "no such prompt", 1)]),
        (request("tools/call", 2, name="search"), [error(-32042, "log in", 2)]),
        (request("tools/call", 2, name="search"), [answer(2, inputRequests={"a": {"method": "elicitation/create"}})]),
        (request("tools/call", 2, name="search"), [notice("notifications/progress")]),
    ],
)
def test_it_tells_the_same_as_over_http(asked: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    http = over_http(asked, *messages)
    (stdio,) = spans(watched(McpStdio, [sent(asked), *messages]), http["name"])
    for span in (http, stdio):
        for name in ("dialect", "transport", "stream.wait.source", "stream.wait.caller", "stream.time_to_first_byte"):
            span["attributes"].pop(f"streamgauge.{name}", None)
    same = ("name", "kind", "attributes", "status", "status_message")
    assert {name: stdio[name] for name in same} == {name: http[name] for name in same}
    assert [event["name"] for event in stdio["events"]] == [event["name"] for event in http["events"]]


def test_requests_that_overlap_are_spans_of_their_own() -> None:
    steps = [
        call(1, "slow", _meta={"traceparent": OTHER}), call(2, "quick"), gave(2, "x"), call(3, "last"), gave(1, "y"),
        gave(3, "z"),
    ]  # fmt: skip
    seen = watched(McpStdio, steps)
    slow, quick, last = spans(seen, "execute_tool")
    assert [(each["name"], (each["end"] - each["start"]) / 1e9) for each in (slow, quick, last)] == [
        ("execute_tool slow", 4.0), ("execute_tool quick", 1.0), ("execute_tool last", 2.0),
    ]  # fmt: skip
    assert f"00-{slow['trace_id']}-{slow['parent_id']}-01" == OTHER
    (session,) = spans(seen, "session")
    assert {quick["parent_id"], last["parent_id"]} == {session["span_id"]}
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 3
    assert seen.count("gen_ai.execute_tool.duration") == 3


def test_what_is_open_ends_as_the_process_does() -> None:
    steps = [call(1, "a"), call(2, "b"), call(3, "c"), gave(3, "x")]
    seen = watched(McpStdio, steps, outcome=Outcome.CANCELLED)
    assert seen.tree() == ["session mcp-stdio", "  execute_tool a", "    execute_tool b", "    execute_tool c"]
    outcomes = {each["name"]: each["attributes"]["streamgauge.outcome"] for each in seen.spans}
    assert outcomes == {
        "execute_tool a": "cancelled", "execute_tool b": "cancelled", "execute_tool c": "completed",
        "session mcp-stdio": "cancelled",
    }  # fmt: skip


def test_the_runs_that_are_kept_are_bounded() -> None:
    runs = Overlaps()
    for number in range(MAX_RUNS):
        assert not runs.is_full
        runs.open(str(number), Opened(RUN, 1, "rpc"))
    assert runs.is_full
    runs.tell("1", [Noted(RUN, 2)] * (MAX_KEPT * 2))
    runs.tell("1", [Closed(RUN, 3)])
    told = runs.tell("0", [Closed(RUN, 4)])
    assert len(told) == 1 + MAX_KEPT + 1 + 1  # its end, the other's whole, with the end, the third's beginning
    assert lines(McpStdio(), [sent([request("ping", number) for number in range(MAX_RUNS + 9)])]) == [
        "@1 + rpc ping ping 0"
    ]


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("uvx mcp-server-git --repository .", True),
        ("npx -y @modelcontextprotocol/server-filesystem /tmp", True),
        ("github-mcp-server stdio", True),
        ("python -m mcp_server_fetch", True),
        ("uv run mcp run server.py", True),
        ("docker run -i --rm mcp/github-mcp-server", True),
        ("codex mcp-server", True),
        ("claude mcp serve", True),
        ("npx some-mcp@latest", True),
        ("cat mcp-servers.txt", False),
        ("python agent.py", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert claims(McpStdio, command) is claimed


def test_what_it_says_of_itself() -> None:
    assert (McpStdio.terminal, McpStdio.granularity, McpStdio.framing) == (True, Granularity.NONE, "ndjson")
    assert McpStdio.opens_runs


def test_the_captures() -> None:
    seen = replayed(McpStdio, "mcp-stdio-session")
    assert seen.tree() == [
        "session mcp-stdio", "  rpc initialize", "  rpc tools/list", "  execute_tool search", "  execute_tool read",
        "  execute_tool book", "  execute_tool search",
    ]  # fmt: skip
    assert [facts(each, "streamgauge.outcome", "error.type") for each in spans(seen, "execute_tool")] == [
        ["completed", None], ["failed", "tool_error"], ["completed", None], ["cancelled", None],
    ]  # fmt: skip
    (book,) = spans(seen, "execute_tool book")
    assert [event["name"] for event in book["events"]] == ["streamgauge.person.asked", "streamgauge.person.answered"]
    assert replayed(McpStdio, "mcp-stdio-cut").tree() == [
        "session mcp-stdio",
        "  rpc initialize",
        "  execute_tool search",
    ]


KEYS = [
    "id",
    "method",
    "params",
    "result",
    "error",
    "requestId",
    "name",
    "arguments",
    "content",
    "isError",
    "code",
    "_meta",
]
VALUES = [*METHODS, "1"]


@given(anything(KEYS, VALUES))
def test_anything(steps: list[Any]) -> None:
    sound(McpStdio(), steps)
