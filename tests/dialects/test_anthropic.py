"""The table of Anthropic's events, from anthropic 2.12: `types`, `types/beta` and `lib/streaming`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.capture import read
from streamgauge.dialects import find
from streamgauge.dialects._block_calls import MAX_ARGUMENTS, MAX_CALLS
from streamgauge.dialects.anthropic import Anthropic
from streamgauge.signals import Closed, Noted
from streamgauge.wire import Granularity, Outcome, ServerSentEvent

from .model_answers import CAPTURES, JSON, as_object, check_any, check_wire, sse, told, wire_files, words

RAW = {
    "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
    "content_block_stop",
}  # fmt: skip
DELTAS = {
    "text_delta", "input_json_delta", "citations_delta", "thinking_delta", "signature_delta", "compaction_delta",
}  # fmt: skip
HELPERS = {"text", "citation", "thinking", "signature", "input_json", "compaction"}
ON_THE_WIRE_ONLY = {"ping", "error"}
RESULTS = [
    "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result", "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result", "tool_search_tool_result", "advisor_tool_result", "mcp_tool_result",
]  # fmt: skip


def start(**usage: Any) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    return {"type": "message_start", "message": message}


def block(type_: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": type_, **fields}}


def delta(type_: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": type_, **fields}}


def stop(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def say(text: str) -> dict[str, Any]:
    return delta("text_delta", text=text)


def ended(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def error(type_: str = "overloaded_error", message: str = "Overloaded") -> dict[str, Any]:
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"}


def tool(kind: str = "tool_use", id_: str = "t1", name: str = "weather", **more: Any) -> dict[str, Any]:
    return block(kind, id=id_, name=name, input={}, **more)


def plain(*content: Any, reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {**start(**usage)["message"], "content": list(content), "stop_reason": reason}


END = {"type": "message_stop"}
PING = {"type": "ping"}
JSON_1 = delta("input_json_delta", partial_json='{"city": ')
JSON_2 = delta("input_json_delta", partial_json='"Rome"}')
PIECES = ['@2 tool_call {"city":', '@3 tool_call "Rome"}']

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # One event of each type
    "message_start": (
        [start(input_tokens=12, cache_creation_input_tokens=3, cache_read_input_tokens=100, output_tokens=1)],
        ["@1 note msg_1 claude-x", "@1 usage 115/1/100/3/"],
    ),
    "message_start: no usage": ([start()], ["@1 note msg_1 claude-x"]),
    "ping": ([PING], []),
    "content_block_start": ([block("text", text="")], []),
    "content_block_start: text in it": ([block("text", text="a")], ["@1 text a"]),
    "content_block_start: thinking": ([block("thinking", thinking="", signature="")], []),
    "content_block_start: redacted": ([block("redacted_thinking", data="gAAAA")], ["@1 reasoning"]),
    "content_block_start: container_upload": ([block("container_upload", file_id="f")], []),
    "content_block_start: mcp_tool_listing": ([block("mcp_tool_listing", mcp_server_name="s", tools=[])], []),
    "content_block_start: compaction": ([block("compaction", content=None)], []),
    "content_block_start: fallback": (
        [block("fallback", **{"from": {"model": "claude-x"}, "to": {"model": "claude-y"}, "trigger": {}})],
        ["@1 note claude-y"],
    ),
    "content_block_start: of a type to come": ([block("holo", text="a")], []),
    "text_delta": ([say("a")], ["@1 text a"]),
    "text_delta: empty": ([say(""), delta("text_delta", text=None)], []),
    "thinking_delta": ([delta("thinking_delta", thinking="hm")], ["@1 reasoning hm"]),
    "thinking_delta: not shown": ([delta("thinking_delta", thinking="", estimated_tokens=5)], []),
    "signature_delta": ([delta("signature_delta", signature="s")], []),
    "citations_delta": ([delta("citations_delta", citation={"type": "char_location"})], []),
    "compaction_delta": ([delta("compaction_delta", content="so far")], ["@1 compaction so far"]),
    "input_json_delta: of no call": ([JSON_1, stop()], ['@1 tool_call {"city":']),
    "a delta of a type to come": ([delta("holo_delta", text="a")], []),
    "content_block_stop": ([stop()], []),
    "message_delta": ([ended("end_turn", output_tokens=9)], ["@1 note stop", "@1 usage /9///"]),
    "message_delta: no reason yet": ([ended(None, output_tokens=9)], ["@1 usage /9///"]),
    "message_stop": ([END], ["@1 -"]),
    "error": ([error()], ["@1 - failed overloaded_error: Overloaded"]),
    "error: in words": ([{"type": "error", "error": "odd"}], ["@1 - failed: odd"]),
    "error: a gateway's": ([{"error": {"code": 529, "message": "no"}}], ["@1 - failed 529: no"]),
    "an event of a type to come": ([{"type": "message_pause"}, {"type": 7}, {}], []),
    # Tools
    "a tool call": (
        [tool(), JSON_1, JSON_2, stop(), ended("tool_use")],
        [*PIECES, '@4 note requested weather t1 {"city": "Rome"}', "@5 note tool_call"],
    ),
    "a tool call: whole at once": (
        [block("tool_use", id="t1", name="weather", input={"city": "Rome"}), stop()],
        ['@1 tool_call {"city":"Rome"}', '@2 note requested weather t1 {"city":"Rome"}'],
    ),
    "a tool call: no arguments": ([tool(), stop()], ["@2 note requested weather t1"]),
    "a tool call: cut": ([tool(), JSON_1, END], [PIECES[0], "@3 -"]),
    "two tool calls in each other": (
        [tool(), {**tool(id_="t2", name="time"), "index": 1}, {**JSON_2, "index": 1}, JSON_1, stop(1), stop()],
        ['@3 tool_call "Rome"}', '@4 tool_call {"city":', '@5 note requested time t2 "Rome"}',
         '@6 note requested weather t1 {"city":'],
    ),
    **{
        f"the server's tool: {kind}": (
            [tool("server_tool_use"), JSON_1, JSON_2, stop(), block(kind, 1, tool_use_id="t1", content=[]), stop(1)],
            [*PIECES, '@4 +tool:t1 execute_tool weather < weather t1 {"city": "Rome"}', "@5 -tool:t1"],
        )
        for kind in RESULTS
    },
    "the server's tool: it failed": (
        [tool("server_tool_use"), stop(),
         block("web_search_tool_result", 1, tool_use_id="t1",
               content={"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"})],
        ["@2 +tool:t1 execute_tool weather < weather t1", "@3 -tool:t1 failed max_uses_exceeded"],
    ),
    "an MCP tool": (
        [tool("mcp_tool_use", server_name="s"), stop(),
         block("mcp_tool_result", 1, tool_use_id="t1", is_error=False, content=[{"type": "text", "text": "a"}])],
        ["@2 +tool:t1 execute_tool weather < weather t1", "@3 -tool:t1"],
    ),
    "an MCP tool: it failed": (
        [tool("mcp_tool_use", server_name="s"), stop(),
         block("mcp_tool_result", 1, tool_use_id="t1", is_error=True, content="no")],
        ["@2 +tool:t1 execute_tool weather < weather t1", "@3 -tool:t1 failed tool_error"],
    ),
    "a result of a tool of an earlier message": (
        [block("code_execution_tool_result", tool_use_id="t0", content={"type": "code_execution_result"})],
        ["@1 -tool:t0"],
    ),
    "a result of nothing": ([block("web_search_tool_result", content=[])], []),
    "the server pauses": ([tool("server_tool_use"), stop(), ended("pause_turn"), END],
                          ["@2 +tool:t1 execute_tool weather < weather t1", "@3 note pause_turn", "@4 -"]),
    # Usage
    "usage is merged": (
        [start(input_tokens=12, cache_read_input_tokens=100, output_tokens=1), ended(output_tokens=9),
         ended("end_turn", output_tokens=20, input_tokens=15, output_tokens_details={"thinking_tokens": 7})],
        ["@1 note msg_1 claude-x", "@1 usage 112/1/100//", "@2 note stop", "@2 usage 112/9/100//", "@3 note stop",
         "@3 usage 115/20/100//7"],
    ),
    "usage: a later zero is a blank": (
        [start(input_tokens=12, output_tokens=1), ended("end_turn", input_tokens=0, output_tokens=9)],
        ["@1 note msg_1 claude-x", "@1 usage 12/1///", "@2 note stop", "@2 usage 12/9///"],
    ),
    # The end
    **{
        f"finish reason {reason}": ([ended(reason)], [f"@1 note {word}"])
        for reason, word in {
            "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_call",
            "refusal": "content_filter", "pause_turn": "pause_turn", "model_context_window_exceeded": "length",
            "compaction": "compaction", "new": "new",
        }.items()
    },
    "after the end": ([END, say("a"), start(), END, error(), tool(), stop()], ["@1 -"]),
    "after an error": ([error(), say("a"), END], ["@1 - failed overloaded_error: Overloaded"]),
    # Plain answers
    "a plain answer": (
        [plain({"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"},
               {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
               {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
               reason="tool_use", input_tokens=12, output_tokens=9)],
        ["@1 note msg_1 claude-x", "@1 note tool_call", "@1 usage 12/9///",
         '@1 note requested weather t1 {"city":"Rome"}', "@1 -"],
    ),
    "a plain answer: an error": ([error("api_error", "odd")], ["@1 - failed api_error: odd"]),
}  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(Anthropic(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    assert told(Anthropic(), [json.dumps(event) for event in events]) == expected
    assert told(Anthropic(), [json.dumps(event).encode() for event in events]) == expected
    assert told(Anthropic(), [sse(event, str(event.get("type"))) for event in events]) == expected
    objects = [{**event, "content_block": as_object(event["content_block"])} if event.get("content_block", {}).get(
        "type") in ("tool_use", "fallback") else as_object(event) for event in events]  # fmt: skip
    if not any(event.get("type") == "message" for event in events):  # a tool's input stays a dict in the SDK
        assert [line.replace(" {}", "") for line in told(Anthropic(), [*map(_shallow, objects)])] == expected


def _shallow(event: Any) -> Any:
    """What the SDK keeps as a dict is one: a tool's input."""
    found = getattr(event, "content_block", None) if not isinstance(event, dict) else event["content_block"]
    given = getattr(found, "input", None)
    if given is not None:
        found.input = dict(vars(given))
    return event


def test_an_error_that_is_no_json() -> None:
    dialect = Anthropic()
    (closed,) = dialect.feed(ServerSentEvent("upstream broke", "error"), 5)
    assert closed == Closed("", 5, Outcome.FAILED, "", "upstream broke")
    assert list(dialect.feed(ServerSentEvent("again", "error"), 6)) == []


def test_what_is_no_json() -> None:
    assert told(Anthropic(), [ServerSentEvent("[DONE]"), "x", b"\xff", None, 3]) == []


def test_every_event_of_the_source_has_words() -> None:
    assert {event.partition(":")[0] for event in Anthropic.events} == RAW | HELPERS | ON_THE_WIRE_ONLY | {"message"}
    assert {event.partition(": ")[2] for event in Anthropic.events if event.startswith("content_block_delta")} == DELTAS


def test_what_it_says_of_itself() -> None:
    assert find("anthropic") is Anthropic
    assert (Anthropic.framing, Anthropic.terminal, Anthropic.granularity) == ("sse", True, Granularity.TOKEN)
    assert Anthropic.provider_name == "anthropic"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        ([start(), say("a")], []),
        ([start(), say("a"), ended("end_turn")], ["@9 -"]),
        ([start(), ended(None)], []),
        ([ended("end_turn"), END], []),
    ],
)
def test_the_source_has_ended(events: list[Any], expected: list[str]) -> None:
    for end in (Anthropic.finish, Anthropic.untold):
        dialect = Anthropic()
        told(dialect, events)
        assert [words(signal) for signal in end(dialect, 9)] == expected
        assert list(end(dialect, 9)) == []


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/messages", {"model": "m", "stream": True, "max_tokens": 5}, {"gen_ai.request.max_tokens": 5}),
        ("/v1/messages?beta=true", {"model": "m"}, {"gen_ai.request.stream": False}),
        (
            "/v1/messages",
            {"model": "m", "stream": True, "temperature": 1, "top_p": 0.5, "top_k": 3, "stop_sequences": ["x"],
             "output_config": {"effort": "high", "format": {"type": "json_schema"}}},
            {"gen_ai.request.temperature": 1.0, "gen_ai.request.top_p": 0.5, "gen_ai.request.top_k": 3,
             "gen_ai.request.stop_sequences": ("x",), "gen_ai.request.reasoning.level": "high",
             "gen_ai.output.type": "json"},
        ),
    ],
)  # fmt: skip
def test_what_was_asked(path: str, body: Any, expected: dict[str, Any]) -> None:
    assert Anthropic.asked(path, body) == {"operation": "chat", "model": "m", "attributes": expected}


def test_what_was_asked_at_vertex() -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/../publishers/anthropic/models/claude-x@1:"
    asked = {"operation": "chat", "model": "claude-x@1", "provider_name": "gcp.vertex_ai"}
    assert Anthropic.asked(path + "streamRawPredict", {}) == {**asked, "attributes": {}}
    assert Anthropic.asked(path + "rawPredict", {}) == {**asked, "attributes": {"gen_ai.request.stream": False}}


@given(st.text(max_size=20), JSON)
def test_any_request_can_be_asked(path: str, body: Any) -> None:
    assert Anthropic.asked(path, body)["operation"] == "chat"


SOME = st.sampled_from([event for events, _ in ROWS.values() for event in events])


@given(st.lists(SOME | JSON | JSON.map(json.dumps) | st.text(max_size=5) | st.binary(max_size=5), max_size=12))
def test_anything(events: list[Any]) -> None:
    check_any(Anthropic(), events)


@given(st.sampled_from(sorted(RAW)), JSON, JSON, JSON)
def test_any_fields(type_: str, first: Any, second: Any, index: Any) -> None:
    event = {"type": type_, "message": first, "delta": second, "content_block": first, "usage": second, "index": index}
    check_any(Anthropic(), [event, {**event, "delta": {"type": "text_delta", "text": first}}, END])


def test_memory_is_bounded() -> None:
    dialect = Anthropic()
    for number in range(MAX_CALLS + 5):
        dialect.feed({**tool(), "index": number}, 1)
    assert len(list(dialect.feed(stop(MAX_CALLS - 1), 1))) == 1
    assert list(dialect.feed(stop(MAX_CALLS), 1)) == []
    dialect.feed(tool(), 1)
    for _ in range(3):
        dialect.feed(delta("input_json_delta", partial_json="x" * (MAX_ARGUMENTS // 2)), 1)
    (noted,) = dialect.feed(stop(), 1)
    assert isinstance(noted, Noted)
    assert semconv.GEN_AI_TOOL_CALL_ARGUMENTS not in noted.attributes


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("anthropic-*.ndjson")), ids=lambda path: path.stem)
def test_captures(path: Path) -> None:
    capture = read(path)
    dialect = Anthropic()
    signals = [signal for event in capture.events for signal in dialect.feed(event.data, event.at)]
    assert capture.request.dialect == "anthropic"
    closed = [signal.outcome for signal in signals if isinstance(signal, Closed) and signal.key == ""]
    assert closed == ([] if "cut" in path.stem else [Outcome.FAILED if "error" in path.stem else Outcome.COMPLETED])


@pytest.mark.parametrize("path", wire_files("anthropic"), ids=lambda path: path.name)
def test_on_the_wire(path: Path) -> None:
    check_wire(path, Anthropic)


# Against the SDK, where it is installed ---------------------------------------------------------------------------


def discriminators(union: Any) -> set[str]:
    """The `type` of each of a union's models."""
    members = get_args(get_args(union)[0])
    return {literal for each in members for literal in get_args(each.model_fields["type"].annotation)}


def test_the_sdk_names_no_other_event() -> None:
    pytest.importorskip("anthropic")
    from anthropic.lib.streaming import _beta_types, _types
    from anthropic.types import raw_content_block_delta, raw_message_stream_event
    from anthropic.types.beta import (
        beta_raw_content_block_delta,
        beta_raw_content_block_start_event,
        beta_raw_message_stream_event,
    )

    events = discriminators(raw_message_stream_event.RawMessageStreamEvent)
    events |= discriminators(beta_raw_message_stream_event.BetaRawMessageStreamEvent)
    assert events == RAW
    assert discriminators(_types.MessageStreamEvent) == RAW | HELPERS - {"compaction"}
    assert discriminators(_beta_types.ParsedBetaMessageStreamEvent) >= HELPERS - {"compaction"}
    deltas = discriminators(raw_content_block_delta.RawContentBlockDelta)
    assert deltas | discriminators(beta_raw_content_block_delta.BetaRawContentBlockDelta) == DELTAS
    blocks = discriminators(beta_raw_content_block_start_event.ContentBlock)
    assert {each for each in blocks if each.endswith("_tool_result")} == set(RESULTS)


@pytest.mark.parametrize("name", ["a tool call", "usage is merged", "the server's tool: it failed", "text_delta"])
def test_the_sdks_objects_tell_the_same(name: str) -> None:
    pytest.importorskip("anthropic")
    from anthropic._models import construct_type
    from anthropic.types import RawMessageStreamEvent

    events, expected = ROWS[name]
    objects = [construct_type(type_=RawMessageStreamEvent, value=event) for event in events]  # type: ignore[arg-type]
    assert told(Anthropic(), objects) == expected


def test_the_sdks_helper_counts_nothing_twice() -> None:
    pytest.importorskip("anthropic")
    from anthropic import NOT_GIVEN
    from anthropic._models import construct_type
    from anthropic.lib.streaming._messages import accumulate_event, build_events
    from anthropic.types import RawMessageStreamEvent

    raw = [
        start(input_tokens=12, output_tokens=1), block("thinking", thinking="", signature=""),
        delta("thinking_delta", thinking="hm"), delta("signature_delta", signature="s"), stop(),
        block("text", 1, text=""), delta("text_delta", 1, text="hi"), stop(1), tool() | {"index": 2},
        JSON_1 | {"index": 2}, JSON_2 | {"index": 2}, stop(2), ended("tool_use", output_tokens=9), END,
    ]  # fmt: skip
    events: list[Any] = []
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for each in raw:
        event: Any = construct_type(type_=RawMessageStreamEvent, value=each)  # type: ignore[arg-type]
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers, output_format=NOT_GIVEN)
        events += build_events(event=event, message_snapshot=snapshot)
    assert len(events) > len(raw)
    lines = [line.partition(" ")[2] for line in told(Anthropic(), events)]
    assert lines == [line.partition(" ")[2] for line in told(Anthropic(), raw)]
