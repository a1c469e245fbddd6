"""The messages that ZIRAN's WebSocket handler exchanges, from ziran 0.42.0
`infrastructure/adapters/protocols/ws_handler.py`: told as ZIRAN's own chunks, and as the same text over server-sent
events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects.ziran_socket import ZiranSocket
from streamgauge.dialects.ziran_sse import ZiranSse

from .message_streams import (
    FINISH,
    UNTOLD,
    anything,
    ends,
    fed,
    lines,
    mixed,
    replayed,
    sent,
    sound,
    streams,
    told_twice,
    within,
)
from .model_apis import sse

ASK, TOOLS = sent({"message": "x"}), sent({"type": "list_tools"})
DONE = {"type": "done"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
BEGUN = "@1 + invoke_agent"


def says(text: Any, **more: Any) -> dict[str, Any]:
    return {"type": "chunk", "content": text, **more}


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"tool_call": {"id": "t1", "name": "ls", "arguments": arguments}, **more}


ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "sent": ([ASK, says("a"), says("b"), DONE, says("late")], [BEGUN, "@2 text a", "@3 text b", "@4 -",
                                                           "@5 + invoke_agent", "@5 text late"]),
    "sent: in a trace": ([sent({"message": "x", "traceparent": "00-x"})], ["@1 + invoke_agent <00-x"]),
    "sent: no JSON": ([sent("hello"), DONE], [BEGUN, "@2 -"]),
    "sent: while an answer comes": (
        [ASK, says("a"), ASK, says("b"), DONE],
        [BEGUN, "@2 text a", "@3 note by input", "@3 - cancelled", "@3 + invoke_agent", "@4 text b", "@5 -"],
    ),
    "sent: for the tools": ([TOOLS, {"tools": []}, ASK, TOOLS, DONE], ["@3 + invoke_agent", "@5 -"]),
    "content_field": (
        [ASK, says({"a": 1}), says(7), says(None), says(""), says([1])],
        [BEGUN, '@2 text {"a": 1}', "@3 text 7", "@6 text [1]"],
    ),
    "type_field": (
        [ASK, {"type": "done", "content": "all"}],
        [BEGUN, "@2 note message", "@2 text all", "@2 -"],
    ),
    "tool_call": (
        [ASK, call('{"a"'), call('{"a":1}'), {"tool_call": "ls"}, DONE],
        [BEGUN, "@2 note tool.requested ls t1", '@2 tool_call {"a"', "@3 tool_call :1}", "@5 -"],
    ),
    "function_call": (
        [ASK, {"function_call": {"name": "ls", "arguments": {"a": 1}}}],
        [BEGUN, "@2 note tool.requested ls", '@2 tool_call {"a": 1}'],
    ),
    "model": ([ASK, says("a", model="m1"), DONE], [BEGUN, "@2 text a", "@2 note m1", "@3 -"]),
    "usage": ([ASK, {**DONE, "model": "m1", "usage": USAGE}], [BEGUN, "@2 note m1", "@2 usage 3/2///", "@2 -"]),
    "error": (
        [ASK, {"type": "error", "error": {"type": "overloaded", "message": "m"}}], [BEGUN, "@2 - failed overloaded: m"],
    ),
    "text that is no JSON": ([ASK, "a b ", b"c", b"\xff"], [BEGUN, "@2 text a b", "@3 text c", "@4 text \ufffd"]),
    "JSON that is no object": ([ASK, "[1]", '"a"', "7"], [BEGUN]),
    "cut": ([ASK, says("a"), FINISH], [BEGUN, "@2 text a"]),
    "left": ([ASK, says("a"), UNTOLD], [BEGUN, "@2 text a"]),
    "nobody asked": (
        [says("a"), DONE, DONE, says(""), "a", ASK, DONE],
        [BEGUN, "@1 text a", "@2 -", "@5 + invoke_agent", "@5 text a", "@5 -", "@6 + invoke_agent", "@7 -"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(ZiranSocket(), messages) == expected


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(ZiranSocket.events)


def test_a_target_of_its_own() -> None:
    class Acme(ZiranSocket):
        name = "acme"
        content_field, type_field, done_type = "text", "kind", "end"

    assert lines(Acme(), [ASK, {"text": "a", "kind": "x"}, {"kind": "end"}]) == [BEGUN, "@2 text a", "@3 -"]


def message(chunk: dict[str, Any]) -> str:
    """What the handler made that chunk of."""
    metadata = {key: value for key, value in chunk["metadata"].items() if key in ("model", "usage")}
    made = {"content": chunk["content_delta"], "tool_call": chunk["tool_call_delta"], **metadata}
    return json.dumps({**made, "type": "done" if chunk["is_final"] else "chunk"})


@pytest.mark.parametrize(
    "path", streams("ziran-ws-handler-plain", "ziran-ws-handler-text", "ziran-http-adapter-with-ws-*")
)
def test_a_turn_is_told_as_inside_ziran(path: Path) -> None:
    """Of what the real handler made of its messages."""
    first, second = told_twice(path, ZiranSocket(), {"message": "x"}, message)
    assert len(first) >= 2
    assert second == first


def test_a_turn_is_told_as_over_server_sent_events() -> None:
    class Plain(ZiranSse):
        name = "plain"
        content_field, finish_field, openai = "content", "none", False

    events = [says("Hel"), says("lo"), says(" there")]
    over_socket = fed(ZiranSocket(), [ASK, *events, DONE])
    stream = Plain()
    over_sse = [each for at, event in enumerate([*events, "[DONE]"], 2) for each in stream.feed(sse(event), at)]
    assert within(over_socket) == within(over_sse)
    assert len(within(over_socket)) == 3
    assert ends(over_socket) == ends(over_sse)


@given(anything(
    ["type", "content", "tool_call", "function_call", "model", "usage", "error", "id", "name", "arguments"],
    ["done", "chunk", "list_tools", "t1"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(ZiranSocket(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(ZiranSocket(), messages)


def test_a_connection() -> None:
    seen = replayed("ziran-socket-turns")
    assert seen.tree() == ["session ziran-socket", "  invoke_agent", "  invoke_agent"]
    first, second = [span["attributes"] for span in seen.spans if span["name"].startswith("invoke")]
    assert (first["streamgauge.outcome"], first["gen_ai.usage.input_tokens"]) == ("completed", 12)
    assert (second["streamgauge.outcome"], second["error.type"]) == ("truncated", "1006")
