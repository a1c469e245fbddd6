"""OpenAI Responses over a WebSocket: what the caller says, lanes, and that a response is told as over server-sent
events. From openai 3.54.0 `types/responses/responses_client_event.py` and `responses_server_event.py`."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects import find
from streamgauge.dialects.openai_responses_socket import OpenAIResponsesSocket

from .message_streams import FINISH, UNTOLD, anything, lines, mixed, replayed, sent, sound, streams, told_twice

CLIENT = {"response.create", "response.steer"}
USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}


def create(**more: Any) -> Any:
    return sent({"type": "response.create", "model": "m1", **more})


def event(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "sequence_number": 1, **more}


def response(type_: str, id_: str = "r1", lane: str = "", **more: Any) -> dict[str, Any]:
    told = event(f"response.{type_}", response={"id": id_, "object": "response", "model": "m1-1", **more})
    return {**told, "stream_id": lane} if lane else told


def delta(piece: str = "a", lane: str = "") -> dict[str, Any]:
    told = event("response.output_text.delta", delta=piece)
    return {**told, "stream_id": lane} if lane else told


def refused(lane: str = "") -> dict[str, Any]:
    told = event("error", status=400, error={"type": "invalid_request_error", "code": "busy", "message": "m"})
    return {**told, "stream_id": lane} if lane else told


CREATED, COMPLETED = response("created"), response("completed", usage=USAGE)
STEERED = response("incomplete", incomplete_details={"reason": "steered"})
OPEN = ["@1 + chat m1", "@2 note r1 m1-1"]
DONE = ["@4 note stop", "@4 usage 9/5///", "@4 -"]

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "response.create": ([create(), CREATED, delta(), COMPLETED], [*OPEN, "@3 text a", *DONE]),
    "response.create: what it asks for": (
        [create(previous_response_id="r0", max_output_tokens=9, reasoning={"effort": "low"})],
        ["@1 + chat r0 m1 9 low"],
    ),
    "response.create: in a trace": ([create(metadata={"traceparent": "00-x"})], ["@1 + chat <00-x m1"]),
    "response.create: in Codex's trace": (
        [create(client_metadata={"ws_request_header_traceparent": "00-x"})], ["@1 + chat <00-x m1"],
    ),
    "response.create: one after the other": (
        [create(), CREATED, delta(), COMPLETED, delta("late"), create(previous_response_id="r1"),
         response("created", "r2"), delta("b"), response("completed", "r2")],
        [*OPEN, "@3 text a", *DONE, "@6 + chat r1 m1", "@7 note r2 m1-1", "@8 text b", "@9 note stop", "@9 -"],
    ),
    "response.created: nobody asked": ([CREATED, delta()], ["@1 + chat", "@1 note r1 m1-1", "@2 text a"]),
    "response.steer": (
        [create(), CREATED, delta(), sent({"type": "response.steer", "previous_response_id": "r1", "input": "x"}),
         event("response.steer.accepted"), STEERED, response("created", "r2"), delta("b"), response("completed", "r2")],
        [*OPEN, "@3 text a", "@6 note steered", "@6 note by input", "@6 - cancelled", "@6 + chat m1", "@7 note r2 m1-1",
         "@8 text b", "@9 note stop", "@9 -"],
    ),
    "error": ([create(), refused()], ["@1 + chat m1", "@2 - failed busy: m"]),
    "error: the newest is refused": (
        [create(), CREATED, create(), refused(), COMPLETED],
        [*OPEN, "@5 note stop", "@5 usage 9/5///", "@5 -", "@3 + chat m1", "@4 - failed busy: m"],
    ),
    "error: of the response": (
        [create(), CREATED, create(), event("error", code="server_error", message="m")],
        [*OPEN, "@4 - failed server_error: m", "@3 + chat m1"],
    ),
    "one waits": (
        [create(), CREATED, create(), COMPLETED, response("created", "r2"), delta("b")],
        [*OPEN, *DONE, "@3 + chat m1", "@5 note r2 m1-1", "@6 text b"],
    ),
    "lanes": (
        [create(stream_id="a"), create(stream_id="b"), response("created", "r1", "a"), response("created", "r2", "b"),
         delta("b", "b"), delta("a", "a"), response("completed", "r2", "b", usage=USAGE),
         response("completed", "r1", "a", usage=USAGE)],
        ["@1 + chat m1", "@3 note r1 m1-1", "@6 text a", "@8 note stop", "@8 usage 9/5///", "@8 -", "@2 + chat m1",
         "@4 note r2 m1-1", "@7 note stop", "@7 usage 9/5///", "@7 -"],
    ),
    "lanes: one goes on": (
        [create(stream_id="a"), create(stream_id="b"), response("completed", "r1", "a"), delta("b", "b"),
         response("completed", "r2", "b"), delta("late", "b")],
        ["@1 + chat m1", "@3 note r1 m1-1", "@3 note stop", "@3 -", "@2 + chat m1", "@4 text b", "@5 note r2 m1-1",
         "@5 note stop", "@5 -"],
    ),
    "lanes: of another's": ([create(stream_id="a"), delta("b", "b"), delta("a", "a")], ["@1 + chat m1", "@3 text a"]),
    "cut": ([create(), CREATED, delta(), FINISH], [*OPEN, "@3 text a"]),
    "left": ([create(), CREATED, delta(), UNTOLD], [*OPEN, "@3 text a"]),
    "as bytes": ([create(), json.dumps(delta()).encode()], ["@1 + chat m1", "@2 text a"]),
    "unknown": (["no JSON", "[]", {}, {"type": 7}, sent("hello"), sent(b"\xff"), sent({"type": "tomorrow"}), delta()],
                []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(OpenAIResponsesSocket(), messages) == expected


def test_its_events_are_those_of_a_stream_and_the_callers() -> None:
    stream = find("openai-responses")
    assert stream is not None
    assert set(OpenAIResponsesSocket.events) == {*stream.events, *CLIENT}
    assert {name.partition(":")[0] for name in ROWS} >= CLIENT


@pytest.mark.parametrize("path", streams("openai-responses-[!s]*", "openai-responses-server*"))
def test_a_response_is_told_as_over_server_sent_events(path: Path) -> None:
    request = {"type": "response.create", "model": "gpt-5-mini"}
    first, second = told_twice(path, OpenAIResponsesSocket(), request, json.dumps)
    assert len(first) >= 2
    assert second == first


def test_the_sdk_has_no_more() -> None:
    responses = pytest.importorskip("openai.types.responses")
    union = typing.get_args(responses.ResponsesClientEvent)[0]
    types = {value for kind in typing.get_args(union)
             for value in typing.get_args(kind.model_fields["type"].annotation)}  # fmt: skip
    assert types == CLIENT


@given(anything(
    ["type", "response", "id", "stream_id", "status", "error", "incomplete_details", "reason", "delta", "output",
     "item", "usage", "model", "item_id"],
    [*OpenAIResponsesSocket.events, "a", "steered", "web_search_call"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(OpenAIResponsesSocket(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(OpenAIResponsesSocket(), messages)


def test_two_turns_and_a_tool_of_the_callers() -> None:
    seen = replayed("openai-responses-socket-tool")
    assert seen.tree() == ["session openai-responses-socket", "  chat gpt-5-mini", "  chat gpt-5-mini"]
    first, second = [span["attributes"] for span in seen.spans if span["name"].startswith("chat")]
    assert first["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert second["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.31)
    assert second["gen_ai.conversation.id"] == "resp_1"
