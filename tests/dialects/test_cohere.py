"""The table of Cohere's events, from cohere 7.3 `v2/types/v2chat_stream_response.py`."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import find
from streamgauge.dialects.cohere import Cohere
from streamgauge.wire import Granularity

from .model_apis import FINISH, JUNK, UNTOLD, as_object, framed, half, play, sound, sse, told, wire_files

IN_THE_SDK = {
    "citation-end", "citation-start", "content-delta", "content-end", "content-start", "debug", "message-end",
    "message-start", "tool-call-delta", "tool-call-end", "tool-call-start", "tool-plan-delta",
}  # fmt: skip
FINISH_REASONS = {"COMPLETE", "STOP_SEQUENCE", "MAX_TOKENS", "TOOL_CALL", "ERROR", "TIMEOUT"}


def event(type_: str, message: Any = None, **more: Any) -> dict[str, Any]:
    delta = {} if message is None else {"delta": {"message": message}}
    return {"type": type_, **delta, **more}


def content(text: Any, kind: str = "text", type_: str = "content-delta") -> dict[str, Any]:
    return event(type_, {"content": {kind: text}}, index=0)


def call(type_: str, **function: Any) -> dict[str, Any]:
    return event(type_, {"tool_calls": {"id": "t1", "type": "function", "function": function}}, index=0)


def end(reason: Any = "COMPLETE", usage: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage, **more}}


def usage(billed: Any = None, used: Any = None, **more: Any) -> dict[str, Any]:
    names = ("input_tokens", "output_tokens")
    return {
        "billed_units": dict(zip(names, billed, strict=True)) if billed else None,
        "tokens": dict(zip(names, used, strict=True)) if used else None,
        **more,
    }


START = {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}}
CALLS = [{"id": "t1", "type": "function", "function": {"name": "ls", "arguments": "{}"}},
         {"id": "t2", "type": "function", "function": {"name": "cat"}}]  # fmt: skip
ANSWER = {"id": "c1", "finish_reason": "COMPLETE", "message": {"role": "assistant",
          "content": [{"type": "text", "text": "a"}]}, "usage": usage((5, 2))}  # fmt: skip
NAMED = "@1 note id=c1"

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "message-start": ([START, START], [NAMED]),
    "content-start": (
        [content("", type_="content-start"), content("a", type_="content-start"),
         content("", "thinking", "content-start")],
        ["@2 text a"],
    ),
    "content-delta": ([content("He"), content("llo"), content(""), content(None)], ["@1 text He", "@2 text llo"]),
    "content-delta: thinking": ([content("hm", "thinking")], ["@1 reasoning hm"]),
    "content-delta: without": ([event("content-delta"), event("content-delta", {}), event("content-delta", "a")], []),
    "content-end": ([event("content-end", index=0)], []),
    "tool-plan-delta": ([event("tool-plan-delta", {"tool_plan": "I will"}), event("tool-plan-delta", {})],
                        ["@1 reasoning I will"]),
    "tool-call-start": ([call("tool-call-start", name="ls", arguments="")], ["@1 note tool.requested tool=ls call=t1"]),
    "tool-call-start: with arguments": (
        [call("tool-call-start", name="ls", arguments="{}")],
        ["@1 note tool.requested tool=ls call=t1", "@1 tool_call {}"],
    ),
    "tool-call-delta": (
        [call("tool-call-delta", arguments='{"p":'), call("tool-call-delta", arguments="1}"), event("tool-call-delta")],
        ['@1 tool_call {"p":', "@2 tool_call 1}"],
    ),
    "tool-call-end": ([event("tool-call-end", index=0)], []),
    "citation-start": ([event("citation-start", {"citations": {"start": 0, "end": 1, "text": "a"}})], []),
    "citation-end": ([event("citation-end", index=0)], []),
    "message-end": (
        [START, end("COMPLETE", usage((5, 2), (71, 4), cached_tokens=3)), sse("[DONE]"), content("a")],
        [NAMED, "@2 note finish=stop", "@2 usage 5/2/3//", "@2 -"],
    ),
    "message-end: only what was used": (
        [end("MAX_TOKENS", usage(None, (71.0, 4.0), cached_tokens=64.0))],
        ["@1 note finish=length", "@1 usage 71/4/64//", "@1 -"],
    ),
    "message-end: more from the cache than billed": (
        [end("STOP_SEQUENCE", usage((5, 2), (71, 4), cached_tokens=64))],
        ["@1 note finish=stop", "@1 usage 5/2///", "@1 -"],
    ),
    "message-end: only output": ([end("TOOL_CALL", usage((None, 2), cached_tokens=1))],
                                 ["@1 note finish=tool_call", "@1 usage /2///", "@1 -"]),
    "message-end: the id at last, an unknown reason": (
        [{**end("LATER"), "id": "c1"}],
        [NAMED, "@1 note finish=LATER", "@1 -"],
    ),
    "message-end: no reason": ([event("message-end")], ["@1 -"]),
    "message-end: an error": (
        [content("a"), end("ERROR", error="it broke")],
        ["@1 text a", "@2 note finish=error", "@2 - failed error: it broke"],
    ),
    "message-end: an error without a reason": ([end(None, error="it broke")], ["@1 - failed: it broke"]),
    "message-end: it took too long": (
        [end("TIMEOUT", usage((5, 2)))],
        ["@1 note finish=error", "@1 usage 5/2///", "@1 - failed timeout"],
    ),
    "debug": ([event("debug", prompt="<s>")], []),
    # Errors
    "an error": ([START, {"error": {"code": "overloaded", "message": "m"}}], [NAMED, "@2 - failed overloaded: m"]),
    "an error in words": ([{"id": "e1", "message": "too many tokens"}], ["@1 - failed: too many tokens"]),
    "an event of type error": ([sse({"x": 1}, "error")], ["@1 - failed"]),
    "an event of type error, in words": ([sse("it broke", "error")], ["@1 - failed: it broke"]),
    # A plain answer
    "a plain answer": (
        [json.dumps(ANSWER)],
        [NAMED, "@1 note finish=stop", "@1 usage 5/2///", "@1 -"],
    ),
    "a plain answer: tools": (
        [{**ANSWER, "finish_reason": "TOOL_CALL", "usage": None,
          "message": {"role": "assistant", "tool_plan": "I will", "tool_calls": CALLS}}],
        [NAMED, "@1 note tool.requested tool=ls call=t1 arguments={}", "@1 note tool.requested tool=cat call=t2",
         "@1 note finish=tool_call", "@1 -"],
    ),
    # Ends
    "cut": ([START, content("a"), FINISH], [NAMED, "@2 text a"]),
    "left": ([START, content("a"), UNTOLD], [NAMED, "@2 text a"]),
    "unknown": ([event("tomorrow"), sse("{}"), sse("hello"), None, 7, [], {}, {"type": [1]}, "x", b"x"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    events, expected = ROWS[name]
    assert told(Cohere(), events) == expected


@pytest.mark.parametrize("name", ROWS)
def test_every_form_tells_the_same(name: str) -> None:
    """As `dict`, as an SDK's object, framed, and as text."""
    events, expected = ROWS[name]
    for form in (as_object, lambda event: sse(event, event.get("type", "message")), json.dumps):
        formed = [form(event) if isinstance(event, dict) and event and name != "unknown" else event for event in events]
        assert told(Cohere(), formed) == expected


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(Cohere.events)
    assert set(Cohere.events) == IN_THE_SDK


def test_the_sdk_has_no_more() -> None:
    types = pytest.importorskip("cohere.v2.types")
    union = typing.get_args(types.V2ChatStreamResponse)[0]
    assert {kind.model_fields["type"].default for kind in typing.get_args(union)} == IN_THE_SDK
    reasons = typing.get_args(pytest.importorskip("cohere").ChatFinishReason)[0]
    assert set(typing.get_args(reasons)) == FINISH_REASONS


def test_the_sdks_objects() -> None:
    cohere = pytest.importorskip("cohere")
    parse = cohere.core.unchecked_base_model.construct_type
    kind = pytest.importorskip("cohere.v2.types").V2ChatStreamResponse
    events = [START, content("a"), content("hm", "thinking"), call("tool-call-start", name="ls", arguments=""),
              call("tool-call-delta", arguments="{}"), end("TOOL_CALL", usage((5.0, 2.0), (71.0, 4.0)))]  # fmt: skip
    models = [parse(type_=kind, object_=each) for each in events]
    assert not any(isinstance(model, dict) for model in models)
    assert told(Cohere(), models) == told(Cohere(), events)


def test_a_chunk_alone_is_no_sequence() -> None:
    assert type(Cohere().feed(sse(content("a")), 1)).__name__ == "Chunk"


def test_what_it_is() -> None:
    assert find("cohere") is Cohere
    assert (Cohere.terminal, Cohere.granularity, Cohere.framing) == (True, Granularity.TOKEN, "sse")
    assert Cohere.provider_name == "cohere"


@pytest.mark.parametrize(
    ("body", "model", "attributes"),
    [
        ({"model": "m", "stream": True}, "m", {}),
        ({"model": "m"}, "m", {semconv.GEN_AI_REQUEST_STREAM: False}),
        ({"stream": True, "temperature": 0.5, "p": 0.9, "k": 3, "seed": 7, "max_tokens": 9, "stop_sequences": ["a"],
          "frequency_penalty": 0.1, "presence_penalty": 0.2, "response_format": {"type": "json_object"}}, "", {
            semconv.GEN_AI_REQUEST_TEMPERATURE: 0.5, semconv.GEN_AI_REQUEST_TOP_P: 0.9,
            semconv.GEN_AI_REQUEST_TOP_K: 3, semconv.GEN_AI_REQUEST_SEED: 7, semconv.GEN_AI_REQUEST_MAX_TOKENS: 9,
            semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ("a",), semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: 0.1,
            semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: 0.2, semconv.GEN_AI_OUTPUT_TYPE: "json"}),
        (None, "", {}),
    ],
)  # fmt: skip
def test_asked(body: Any, model: str, attributes: dict[str, Any]) -> None:
    assert Cohere.asked("/v2/chat", body) == {"operation": "chat", "model": model, "attributes": attributes}


@pytest.mark.parametrize("path", wire_files("cohere"), ids=lambda path: path.name)
def test_over_http(path: Path) -> None:
    found, expected = play(path, Cohere)
    assert found == expected


KEYS = {
    "billed_units", "cached_tokens", "content", "delta", "error", "finish_reason", "function", "id", "input_tokens",
    "message", "name", "output_tokens", "text", "thinking", "tokens", "tool_calls", "tool_plan", "type", "usage",
}  # fmt: skip


@given(st.lists(framed(st.just(content("a")) | half(KEYS, Cohere.events) | half(KEYS) | JUNK), max_size=20))
def test_anything(events: list[Any]) -> None:
    sound(Cohere(), events)


@given(JUNK | half({"model", "stream", "response_format", "type", "p", "k"}))
def test_any_request(body: Any) -> None:
    assert Cohere.asked("/v2/chat", body)["operation"] == "chat"
