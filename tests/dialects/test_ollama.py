"""The table of Ollama's answers, from ollama 0.6.3, `_types.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture import read
from streamgauge.dialects import find
from streamgauge.dialects.ollama import Ollama
from streamgauge.signals import Closed
from streamgauge.wire import Outcome

from .model_answers import CAPTURES, JSON, as_object, check_any, check_wire, told, wire_files, words

BASE = {
    "model", "created_at", "done", "done_reason", "total_duration", "load_duration", "prompt_eval_count",
    "prompt_eval_duration", "eval_count", "eval_duration",
}  # fmt: skip
GENERATED = {"response", "thinking", "context", "logprobs", "image", "completed", "total"}
MESSAGE = {"role", "content", "thinking", "images", "tool_name", "tool_calls"}


def says(**message: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": False}


def generates(text: str = "", **more: Any) -> dict[str, Any]:
    return {"model": "m", "response": text, "done": False, **more}


def done(reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {**says(), "done": True, "done_reason": reason, **more}


CALL = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "model": ([says(), says()], ["@1 note m"]),
    "message.content": ([says(content="a"), says(content="b")], ["@1 note m", "@1 text a", "@2 text b"]),
    "message.thinking": ([says(thinking="hm")], ["@1 note m", "@1 reasoning hm"]),
    "message.thinking: and text": ([says(), says(thinking="hm", content="a")], ["@1 note m", "@2 reasoning hm",
                                                                               "@2 text a"]),
    "message.tool_calls": (
        [says(tool_calls=[CALL, {**CALL, "id": "c2"}])],
        ["@1 note m", '@1 tool_call {"city":"Rome"}', '@1 note requested weather {"city":"Rome"}',
         '@1 tool_call {"city":"Rome"}', '@1 note requested weather c2 {"city":"Rome"}'],
    ),
    "message.tool_calls: after text": (
        [says(content="a"), says(content="b", tool_calls=[CALL])],
        ["@1 note m", "@1 text a", "@2 text b", '@2 tool_call {"city":"Rome"}',
         '@2 note requested weather {"city":"Rome"}'],
    ),
    "message.images": ([says(images=["iVBO"])], ["@1 note m", "@1 image iVBO"]),
    "response": ([generates("a"), generates("b")], ["@1 note m", "@1 text a", "@2 text b"]),
    "thinking": ([generates("", thinking="hm")], ["@1 note m", "@1 reasoning hm"]),
    "image": ([generates("", image="iVBO")], ["@1 note m", "@1 image iVBO"]),
    "completed": ([{"model": "m", "completed": 1, "total": 4, "done": False}], []),
    "done": (
        [says(content="a"), done(prompt_eval_count=26, eval_count=11)],
        ["@1 note m", "@1 text a", "@2 usage 26/11///", "@2 note stop", "@2 -"],
    ),
    "done: with the last text": (
        [generates("a"), {**generates("b"), "done": True}], ["@1 note m", "@1 text a", "@2 text b", "@2 -"]
    ),
    "done: for length": ([says(), done("length")], ["@1 note m", "@2 note length", "@2 -"]),
    "done: the prompt was cached": ([says(), done(None, eval_count=1)], ["@1 note m", "@2 usage /1///", "@2 -"]),
    "error": ([says(content="a"), {"error": "odd thing"}], ["@1 note m", "@1 text a", "@2 - failed: odd thing"]),
    "error: with a code": ([{"error": {"code": "x", "message": "odd"}}], ["@1 - failed x: odd"]),
    "after the end": ([says(), done(None), says(content="a"), {"error": "x"}], ["@1 note m", "@2 -"]),
    "a plain answer": (
        [{**done(prompt_eval_count=2, eval_count=3), "message": says(content="hi", tool_calls=[CALL])["message"]}],
        ["@1 note m", '@1 note requested weather {"city":"Rome"}', "@1 usage 2/3///", "@1 note stop", "@1 -"],
    ),
    "a plain answer: generated": ([{**generates("hi"), "done": True}], ["@1 note m", "@1 -"]),
    "only loaded": ([done("load")], ["@1 note m", "@1 note load", "@1 -"]),
    "something else": ([{"status": "pulling"}, {}, {"done": False}], []),
}  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(Ollama(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    assert told(Ollama(), [json.dumps(event) for event in events]) == expected
    assert told(Ollama(), [json.dumps(event).encode() for event in events]) == expected
    if not any("tool_calls" in str(event) for event in events):  # whose arguments stay a dict in the SDK
        assert told(Ollama(), [as_object(event) for event in events]) == expected


@pytest.mark.parametrize("events", [[], [says(content="a")], [says(), done()]])
def test_the_source_has_ended(events: list[Any]) -> None:
    for end in (Ollama.finish, Ollama.untold):
        dialect = Ollama()
        told(dialect, events)
        assert [words(signal) for signal in end(dialect, 9)] == []


def test_what_it_says_of_itself() -> None:
    assert find("ollama") is Ollama
    assert (Ollama.framing, Ollama.terminal, Ollama.provider_name) == ("ndjson", True, "ollama")
    words_ = {event.removeprefix("message.") for event in Ollama.events}
    assert words_ <= BASE | GENERATED | MESSAGE | {"error"}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/api/chat", {"model": "m"}, {}),
        ("/api/chat", {"model": "m", "stream": False}, {"gen_ai.request.stream": False}),
        ("/api/chat?x", {"model": "m", "options": {"num_predict": -1}}, {}),
        (
            "/api/chat",
            {"model": "m", "options": {"num_predict": 9, "temperature": 1, "top_k": 3, "top_p": 0.5, "seed": 7,
                                       "stop": "x"}, "think": "high", "format": {"type": "object"}},
            {"gen_ai.request.max_tokens": 9, "gen_ai.request.temperature": 1.0, "gen_ai.request.top_k": 3,
             "gen_ai.request.top_p": 0.5, "gen_ai.request.seed": 7, "gen_ai.request.stop_sequences": ("x",),
             "gen_ai.request.reasoning.level": "high", "gen_ai.output.type": "json"},
        ),
    ],
)  # fmt: skip
def test_what_was_asked(path: str, body: Any, expected: dict[str, Any]) -> None:
    assert Ollama.asked(path, body) == {"operation": "chat", "model": "m", "attributes": expected}


def test_generate_is_no_chat() -> None:
    assert Ollama.asked("/api/generate", {})["operation"] == "text_completion"


@given(st.text(max_size=20), JSON)
def test_any_request_can_be_asked(path: str, body: Any) -> None:
    assert set(Ollama.asked(path, body)) == {"operation", "model", "attributes"}


SOME = st.sampled_from([event for events, _ in ROWS.values() for event in events])
ODD = st.dictionaries(st.sampled_from(sorted(BASE | GENERATED | {"message", "error"})), JSON, max_size=4)
ODD_MESSAGE = st.builds(
    lambda message, done_: {"message": message, "done": done_},
    st.dictionaries(st.sampled_from(sorted(MESSAGE)), JSON, max_size=3),
    JSON,
)


@given(st.lists(SOME | ODD | ODD_MESSAGE | JSON | JSON.map(json.dumps) | st.binary(max_size=5), max_size=12))
def test_anything(events: list[Any]) -> None:
    check_any(Ollama(), events)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("ollama-*.ndjson")), ids=lambda path: path.stem)
def test_captures(path: Path) -> None:
    capture = read(path)
    dialect = Ollama()
    signals = [signal for event in capture.events for signal in dialect.feed(event.data, event.at)]
    closed = [signal.outcome for signal in signals if isinstance(signal, Closed)]
    assert closed == ([] if "cut" in path.stem else [Outcome.FAILED if "error" in path.stem else Outcome.COMPLETED])


@pytest.mark.parametrize("path", wire_files("ollama"), ids=lambda path: path.name)
def test_on_the_wire(path: Path) -> None:
    check_wire(path, Ollama)


# Against the SDK, where it is installed ---------------------------------------------------------------------------


def test_the_sdk_names_no_other_field() -> None:
    ollama = pytest.importorskip("ollama")
    assert set(ollama.ChatResponse.model_fields) == BASE | {"message", "logprobs"}
    assert set(ollama.GenerateResponse.model_fields) == BASE | GENERATED
    assert set(ollama.Message.model_fields) == MESSAGE


@pytest.mark.parametrize("name", ["message.content", "message.tool_calls", "done", "message.thinking: and text"])
def test_the_sdks_objects_tell_the_same(name: str) -> None:
    ollama = pytest.importorskip("ollama")
    events, expected = ROWS[name]
    lines = told(Ollama(), [ollama.ChatResponse(**event) for event in events])
    assert lines == [line.replace(" c2", "") for line in expected]  # it has no field for a call's id


def test_the_sdks_generated_objects_tell_the_same() -> None:
    ollama = pytest.importorskip("ollama")
    events, expected = ROWS["done: with the last text"]
    assert told(Ollama(), [ollama.GenerateResponse(**event) for event in events]) == expected
