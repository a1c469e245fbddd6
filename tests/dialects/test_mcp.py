"""The table of MCP's messages, from mcp 2.3.0: `mcp_types/_types.py`, `mcp_types/jsonrpc.py`."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import by_path, find
from streamgauge.dialects.mcp import Mcp
from streamgauge.wire import Granularity

from .agent_streams import JUNK, as_object, check_any, check_wire, sse, told, wire_files, words

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


def request(method: str, id_: Any = 0, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def log() -> dict[str, Any]:
    return notice("notifications/message", level="info", data="so far")


def answer(id_: Any = 7, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def error(code: int, message: str, id_: Any = 7) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}}


def text(words_: str) -> dict[str, Any]:
    return {"type": "text", "text": words_}


ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "result": (
        [answer(content=[text("3 hits")]), log()],
        ["@1 note 3 hits", "@1 -"],
    ),
    "result: the tool failed": (
        [answer(content=[text("no index")], isError=True)],
        ["@1 note no index", "@1 - failed tool_error: no index"],
    ),
    "result: of no text": (
        [answer(content=[{"type": "image", "data": "AA"}])],
        ['@1 note [{"type": "image", "data": "AA"}]', "@1 -"],
    ),
    "result: of another method": (
        [answer(tools=[])],
        ["@1 -"],
    ),
    "result: nothing": (
        [answer()],
        ["@1 -"],
    ),
    "result: input is required": (
        [answer(resultType="input_required", inputRequests={"a": {"method": "elicitation/create"}})],
        ["@1 note person.asked", "@1 -"],
    ),
    "result: the model is required": (
        [answer(resultType="input_required", inputRequests={"a": {"method": "sampling/createMessage"}})],
        ["@1 -"],
    ),
    "error": (
        [error(-32602, "no such tool")],
        ["@1 - failed -32602: no such tool"],
    ),
    "error: an address is to be visited": (
        [error(-32042, "log in first")],
        ["@1 note person.asked", "@1 - failed -32042: log in first"],
    ),
    "elicitation/create": (
        [request("elicitation/create"), log(), answer()],
        ["@1 note person.asked", "@2 note person.answered", "@3 -"],
    ),
    "notifications/elicitation/complete": (
        [request("elicitation/create"), notice("notifications/elicitation/complete")],
        ["@1 note person.asked", "@2 note person.answered"],
    ),
    "notifications/progress": (
        [notice("notifications/progress", progress=1)],
        [],
    ),
    "notifications/cancelled": (
        [
            request("tools/call", 1, name="a"),
            notice("notifications/cancelled", requestId=1),
            notice("notifications/cancelled", requestId=2),
        ],
        ["@1 +call:int:1 execute_tool a < tools/call 1", "@2 -call:int:1 cancelled"],
    ),
    "sampling/createMessage": (
        [request("sampling/createMessage")],
        [],
    ),
    "roots/list": (
        [request("roots/list")],
        [],
    ),
    "tools/call": (
        [request("tools/call", 1, name="a", arguments={"q": 1}), answer(1, content=[text("x")])],
        ['@1 +call:int:1 execute_tool a < tools/call 1 {"q":1}', "@2 note call:int:1 x", "@2 -call:int:1"],
    ),
    "tools/call: two at a time": (
        [
            request("tools/call", 1, name="a"),
            request("tools/call", "1", name="b"),
            answer("1"),
            answer(1, isError=True),
        ],
        [
            "@1 +call:int:1 execute_tool a < tools/call 1",
            "@2 +call:str:1 execute_tool b < tools/call 1",
            "@3 -call:str:1",
            "@4 -call:int:1 failed tool_error",
        ],
    ),
    "tools/call: an answer to nobody": (
        [request("tools/call", 1, name="a"), answer(9), answer(1)],
        ["@1 +call:int:1 execute_tool a < tools/call 1", "@3 -call:int:1"],
    ),
    "tools/list": (
        [request("tools/list", 2), error(-32601, "no", 2)],
        ["@1 +call:int:2 rpc tools/list < tools/list 2", "@2 -call:int:2 failed -32601: no"],
    ),
    "a batch": (
        [[request("tools/list", 2), request("ping", 3)], [answer(2)]],
        ["@1 +call:int:2 rpc tools/list < tools/list 2", "@2 -call:int:2"],
    ),
    "an unknown method": (
        [request("something/new"), notice("notifications/new")],
        [],
    ),
    "no event": (
        [None, 1, [], {}, "not json", "", b"\xff", {"method": 5}, {"result": None}, [1], [[]]],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(Mcp(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    """In an event stream, as a JSON body, and as the SDK's objects, whose results stay dicts."""
    jsonable = [data if isinstance(data, str | bytes) else json.dumps(data) for data in events]
    assert told(Mcp(), jsonable) == expected
    assert told(Mcp(), [sse(data) if isinstance(data, str) else data for data in jsonable]) == expected
    objects = [as_flat(data) if data.__class__ is dict else data for data in events]
    assert told(Mcp(), objects) == expected


def as_flat(data: dict[str, Any]) -> Any:
    """An object of these attributes, whose values stay as they are, in the SDK's envelope."""
    found, envelope = as_object({}), as_object({})
    vars(found).update(data)
    envelope.message = found
    return envelope


def test_every_method_of_the_source_has_words() -> None:
    assert set(Mcp.events) == METHODS | {"result", "error"}
    shown = {row.partition(":")[0] for row in ROWS}
    silent = {name for name, becomes in Mcp.events.items() if becomes.startswith("nothing")}
    callers = {name for name, becomes in Mcp.events.items() if becomes.startswith("an operation")}
    assert shown | silent | callers == set(Mcp.events) | {"a batch", "an unknown method", "no event"}
    for method in silent:
        assert told(Mcp(), [notice(method), request(method)]) == []
    for method in callers:
        facts = f"{method} 3"
        assert told(Mcp(), [request(method, 3), answer(3)]) == [
            f"@1 +call:int:3 rpc {method} < {facts}",
            "@2 -call:int:3",
        ]


def test_the_sdk_has_no_others() -> None:
    types = pytest.importorskip("mcp_types._types")
    kinds = [
        kind
        for kind in vars(types).values()
        if isinstance(kind, type) and "method" in getattr(kind, "model_fields", ())
    ]
    found = {word for kind in kinds for word in typing.get_args(kind.model_fields["method"].annotation)}
    assert {word for word in found if isinstance(word, str)} == METHODS
    rpc = pytest.importorskip("mcp_types.jsonrpc")
    response = rpc.JSONRPCResponse(jsonrpc="2.0", id=7, result={"content": [], "isError": True})
    assert told(Mcp(), [response]) == ["@1 - failed tool_error"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ["@9 -"]),  # a notification's 202, or a stream to be resumed
        ([log(), notice("notifications/tools/list_changed")], ["@9 -"]),  # a server's messages
        ([notice("notifications/progress")], ["@9 - truncated"]),
        ([request("elicitation/create")], ["@9 - truncated"]),
        ([answer()], []),
        ([request("tools/call", 1)], ["@9 - truncated"]),
        ([request("tools/call", 1), answer(1)], ["@9 -"]),
    ],
)
def test_the_stream_ends(events: list[Any], expected: list[str]) -> None:
    dialect = Mcp()
    told(dialect, events)
    assert list(dialect.untold(8)) == []
    assert [words(signal) for signal in dialect.finish(9)] == expected
    assert list(dialect.finish(10)) == []


def test_what_it_says_of_itself() -> None:
    assert find("mcp") is Mcp
    assert (Mcp.terminal, Mcp.granularity, Mcp.framing) == (True, Granularity.NONE, "sse")
    assert [by_path(path) for path in ("/mcp", "/acme/mcp/", "/mcp/x")] == ["mcp", "mcp", None]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            request("tools/call", 7, name="search", arguments={"q": 1}),
            {
                "operation": "execute_tool",
                "attributes": {
                    "mcp.method.name": "tools/call", "jsonrpc.request.id": "7",
                    "gen_ai.tool.call.arguments": '{"q":1}', "gen_ai.tool.name": "search",
                },
            },
        ),
        (
            request("tools/list", "x"),
            {"operation": "rpc", "attributes": {"mcp.method.name": "tools/list", "jsonrpc.request.id": "x"}},
        ),
        (
            notice("notifications/initialized"),
            {
                "operation": "rpc",
                "attributes": {"mcp.method.name": "notifications/initialized"},
            },
        ),
        (
            [notice("notifications/initialized"), request("ping", 2)],
            {"operation": "rpc", "attributes": {"mcp.method.name": "ping", "jsonrpc.request.id": "2"}},
        ),
        (answer(), {"operation": "rpc", "attributes": {}}),  # the caller's own answer to the server
        ({"method": "a sentence of words"}, {"operation": "rpc", "attributes": {}}),
        (
            {"method": "tools/call", "params": 5},
            {"operation": "execute_tool", "attributes": {"mcp.method.name": "tools/call"}},
        ),
        (None, {"operation": "rpc", "attributes": {}}),
        ([], {"operation": "rpc", "attributes": {}}),
    ],
)  # fmt: skip
def test_what_a_request_tells(body: Any, expected: dict[str, Any]) -> None:
    assert Mcp.asked("/mcp", body) == expected


def test_content_that_is_no_json() -> None:
    """Only a program that makes its own messages has such."""
    assert told(Mcp(), [answer(content=[{"data": object()}])]) == ["@1 -"]


def test_it_forgets_calls_that_are_too_many() -> None:
    dialect = Mcp()
    told(dialect, [request("tools/call", number) for number in range(2000)])
    assert len(dialect._calls) == 1024


@pytest.mark.parametrize("path", wire_files("mcp"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, Mcp)


IDS = st.sampled_from([1, 2, "1", None])
LIKELY = st.one_of(
    st.builds(request, st.sampled_from(sorted(METHODS)), IDS),
    st.builds(lambda id_, result: {"id": id_, "result": result}, IDS, JUNK),
    st.builds(lambda id_, content: answer(id_, content=content, isError=True, inputRequests=content), IDS, JUNK),
    st.builds(lambda id_, told_: {"id": id_, "error": told_}, IDS, JUNK),
    st.builds(lambda id_: notice("notifications/cancelled", requestId=id_), IDS),
)


@given(st.lists(LIKELY | JUNK | st.binary(max_size=5) | st.builds(sse, LIKELY | JUNK), max_size=30))
def test_anything(events: list[Any]) -> None:
    check_any(Mcp(), events)
