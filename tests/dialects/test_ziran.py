"""The table of ZIRAN's events, from ziran 0.42.0: `domain/entities/streaming.py` (chunks), `infrastructure/adapters/*`
(what they put into the metadata), `application/agent_scanner/progress.py` (the scanner's events)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import find
from streamgauge.dialects.ziran import MAX_CALLS, Ziran, ZiranLLM
from streamgauge.semconv import (
    GEN_AI_CONVERSATION_ID,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_NAME,
    STREAMGAUGE_STREAM_GRANULARITY,
)
from streamgauge.signals import RUN, TEXT, TOOL_CALL, TOOL_REQUESTED, Chunk, Closed, Noted, Signal, Usage
from streamgauge.wire import Aside, Outcome, ServerSentEvent

AT = 7


@dataclasses.dataclass
class AgentResponseChunk:
    """As ZIRAN's own: fields with defaults, kept in the instance's dict."""

    content_delta: str = ""
    tool_call_delta: dict[str, Any] | None = None
    is_final: bool = False
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class LLMResponseChunk:
    content_delta: str = ""
    is_final: bool = False
    model: str = ""
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class SlottedChunk:
    content_delta: str = ""
    tool_call_delta: dict[str, Any] | None = None
    is_final: bool = False
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ProgressEvent:
    event: str
    phase: str | None = None
    attack_name: str = ""
    message: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def chunk(text: str = "", *, call: dict[str, Any] | None = None, final: bool = False, **metadata: Any) -> Any:
    return AgentResponseChunk(text, call, final, metadata)


def final(**metadata: Any) -> Any:
    return chunk(final=True, **metadata)


def answer(text: str, **metadata: Any) -> Any:
    """The base class's only chunk: the answer of `invoke`."""
    return chunk(text, final=True, **metadata)


def call(arguments: Any, name: str = "search", id: str = "call_1") -> Any:
    return chunk(call={"id": id, "name": name, "arguments": arguments})


def text(*texts: str) -> tuple[Signal, ...]:
    return tuple(Chunk(RUN, AT, TEXT, each) for each in texts)


def piece(arguments: str) -> Chunk:
    return Chunk(RUN, AT, TOOL_CALL, arguments)


def noted(**facts: Any) -> Noted:
    names = {
        "model": GEN_AI_RESPONSE_MODEL,
        "finish": GEN_AI_RESPONSE_FINISH_REASONS,
        "conversation": GEN_AI_CONVERSATION_ID,
        "provider": GEN_AI_PROVIDER_NAME,
        "granularity": STREAMGAUGE_STREAM_GRANULARITY,
    }
    return Noted(RUN, AT, {names[fact]: value for fact, value in facts.items()})


def requested(name: str = "search", id: str = "call_1") -> Noted:
    facts = {GEN_AI_TOOL_NAME: name, GEN_AI_TOOL_CALL_ID: id}
    return Noted(RUN, AT, {fact: value for fact, value in facts.items() if value}, TOOL_REQUESTED)


WHOLE = noted(granularity="message")
DONE = Closed(RUN, AT)


def failed(error_type: str, message: str) -> Closed:
    return Closed(RUN, AT, Outcome.FAILED, error_type, message)


def fed(dialect: Ziran, events: list[Any]) -> list[Signal]:
    return [signal for event in events for signal in dialect.feed(event, AT)]


ROWS: dict[str, tuple[list[Any], list[Signal]]] = {
    # text
    "text": ([chunk("Hel", protocol="openai"), chunk("lo", protocol="openai")], [*text("Hel", "lo")]),
    "text, then the end": ([chunk("Hel"), final(protocol="sse", tool_calls=[])], [*text("Hel"), DONE]),
    "an empty chunk says nothing": ([chunk(), chunk("a")], [*text("a")]),
    "text that is also final": ([chunk("a"), chunk("b", final=True)], [*text("a", "b"), DONE]),
    "finish reason beside text": (
        [chunk("a", protocol="openai"), chunk("b", protocol="openai", finish_reason="stop")],
        [*text("a", "b"), noted(finish=["stop"])],
    ),
    "finish reason alone": ([chunk(finish_reason="stop")], [noted(finish=["stop"])]),
    "no finish reason yet": ([chunk("a", finish_reason=None)], [*text("a")]),
    # tool calls: the arguments so far, as the OpenAI and the SSE handler send them
    "a tool call's arguments grow": (
        [call(""), call('{"q":'), call('{"q": "x"}'), final()],
        [requested(), piece('{"q":'), piece(' "x"}'), DONE],
    ),
    "the same state again is no piece": ([call("{}"), call("{}")], [requested(), piece("{}")]),
    "one call after another": (
        [call(""), call("{1}"), call("", "lookup", "call_2"), call("{2}", "lookup", "call_2")],
        [requested(), piece("{1}"), requested("lookup", "call_2"), piece("{2}")],
    ),
    "two calls by turns": (
        [call("ab"), call("12", "lookup", "call_2"), call("abcd"), call("1234", "lookup", "call_2")],
        [requested(), piece("ab"), requested("lookup", "call_2"), piece("12"), piece("cd"), piece("34")],
    ),
    "text beside a tool call": (
        [chunk("a", call={"id": "call_1", "name": "search", "arguments": "{}"})],
        [*text("a"), requested(), piece("{}")],
    ),
    "calls without ids: a shorter one is another": (
        [call("", id=""), call("{1}", id=""), call("", id=""), call("{2}", id="")],
        [requested(id=""), piece("{1}"), requested(id=""), piece("{2}")],
    ),
    "a shorter one with the same id is a piece": (
        [call('{"q":'), call("1}")],
        [requested(), piece('{"q":'), piece("1}")],
    ),
    "arguments that are an object": ([call({"q": 1})], [requested(), piece('{"q": 1}')]),
    "arguments that are nothing": ([call(None)], [requested()]),
    "arguments that cannot be text": ([call({"q": object()})], [requested()]),
    "names that are no text": (
        [chunk(call={"id": 5, "name": ["x"], "arguments": "{}"})],
        [requested("", ""), piece("{}")],
    ),
    "the calls at the end were seen before": (
        [call("{}"), final(tool_calls=[{"id": "call_1", "name": "search", "arguments": "{}"}])],
        [requested(), piece("{}"), DONE],
    ),
    "a call seen at the end only": ([final(tool_calls=[{"id": "c", "name": "f"}])], [requested("f", "c"), DONE]),
    "the end's calls in each adapter's own words": (
        [
            answer(
                "a",
                tool_calls=[
                    {"tool": "f", "input": {}, "output": "secret"},  # AgentCore, Bedrock, LangGraph, browser
                    {"tool_name": "g", "tool_input": {}, "tool_call_id": "toolu_1"},  # Anthropic
                    "not a call",
                ],
            )
        ],
        [WHOLE, *text("a"), requested("f", ""), requested("g", "toolu_1"), DONE],
    ),
    "no list of calls": ([final(tool_calls="many")], [DONE]),
    # the base class's fallback: one chunk, first and last
    "a whole answer": ([answer("full", k=1)], [WHOLE, *text("full"), DONE]),
    "a whole answer, with usage": (
        [answer("full", prompt_tokens=3, completion_tokens=2, total_tokens=5)],
        [WHOLE, *text("full"), Usage(RUN, AT, 3, 2), DONE],
    ),
    "an empty answer": ([answer("", prompt_tokens=0, completion_tokens=0, total_tokens=0)], [DONE]),
    # what the metadata says
    "zeros: nobody counted": ([answer("a", prompt_tokens=0, completion_tokens=0)], [WHOLE, *text("a"), DONE]),
    "usage of a WebSocket server": (
        [chunk("a"), final(protocol="websocket", model="m1", usage={"prompt_tokens": 3, "completion_tokens": 2})],
        [*text("a"), noted(model="m1"), Usage(RUN, AT, 3, 2), DONE],
    ),
    "usage in OpenAI's detail": (
        [
            final(
                usage={
                    "prompt_tokens": 30,
                    "completion_tokens": 20,
                    "prompt_tokens_details": {"cached_tokens": 10},
                    "completion_tokens_details": {"reasoning_tokens": 15},
                }
            )
        ],
        [Usage(RUN, AT, 30, 20, 10, None, 15), DONE],
    ),
    "usage in Anthropic's words: cached input is apart": (
        [
            final(
                usage={
                    "input_tokens": 3,
                    "output_tokens": 2,
                    "cache_read_input_tokens": 10,
                    "cache_creation_input_tokens": 20,
                }
            )
        ],
        [Usage(RUN, AT, 33, 2, 10, 20), DONE],
    ),
    "usage that is half known": ([final(usage={"output_tokens": 2})], [Usage(RUN, AT, None, 2), DONE]),
    "usage that is no count": ([final(usage={"prompt_tokens": "3", "completion_tokens": True})], [DONE]),
    "usage before the end": ([chunk("a", usage={"prompt_tokens": 3})], [*text("a"), Usage(RUN, AT, 3)]),
    "the same metadata again says nothing new": (
        [chunk("a", model="m"), chunk("b", model="m"), chunk("c", model="n")],
        [*text("a"), noted(model="m"), *text("b", "c"), noted(model="n")],
    ),
    "Anthropic's stop reason": (
        [answer("a", model="claude", stop_reason="end_turn")],
        [WHOLE, *text("a"), noted(model="claude", finish=["end_turn"]), DONE],
    ),
    "Bedrock's session": ([chunk("a", session_id="s")], [*text("a"), noted(conversation="s")]),
    "A2A's context": ([final(protocol="a2a", context_id="c")], [noted(conversation="c"), DONE]),
    "a model that is no text": ([answer("a", model={"llm": 1})], [WHOLE, *text("a"), DONE]),
    "LiteLLM is no provider": ([chunk("a", provider="litellm")], [*text("a")]),
    "a provider": ([chunk("a", provider="groq")], [*text("a"), noted(provider="groq")]),
    "metadata that is no mapping": ([AgentResponseChunk("a", None, True, [])], [WHOLE, *text("a"), DONE]),  # type: ignore[arg-type]
    # endings
    "a WebSocket closed with a code": (
        [final(error="received 1011 (internal error) boom; then sent 1011 (internal error) boom")],
        [failed("1011", "received 1011 (internal error) boom; then sent 1011 (internal error) boom")],
    ),
    "a WebSocket cut": (
        [final(error="no close frame received or sent")],
        [failed("1006", "no close frame received or sent")],
    ),
    "an error of one word": ([final(error="no_elements")], [failed("no_elements", "no_elements")]),
    "an error in a sentence": ([final(error="it broke at 0x12")], [failed("", "it broke at 0x12")]),
    "an error as an exception": ([final(error=ValueError("boom"))], [failed("ValueError", "boom")]),
    "an error as an object": (
        [final(error={"type": "overloaded_error", "message": "try later"})],
        [failed("overloaded_error", "try later")],
    ),
    "an error as an object without a word": ([final(error={"code": 12})], [failed("", "{'code': 12}")]),
    "a failed A2A task": (
        [answer("a", task_state="TASK_STATE_FAILED")],
        [WHOLE, *text("a"), failed("TASK_STATE_FAILED", "")],
    ),
    "a cancelled A2A task": ([final(task_state="TASK_STATE_CANCELED")], [Closed(RUN, AT, Outcome.CANCELLED)]),
    "a completed A2A task": ([final(task_state="TASK_STATE_COMPLETED")], [DONE]),
    # the scanner
    "attack_streaming": ([ProgressEvent("attack_streaming", message="I can't")], [*text("I can't")]),
    "attack_streaming without text": ([ProgressEvent("attack_streaming", extra={"is_final": True})], []),
    "campaign_start": ([ProgressEvent("campaign_start", message="Starting campaign")], []),
    "phase_start": ([ProgressEvent("phase_start", "reconnaissance")], []),
    "phase_attacks_loaded": ([ProgressEvent("phase_attacks_loaded", message="Loaded 6 attacks")], []),
    "attack_start": ([ProgressEvent("attack_start", attack_name="Canary", message="Running: Canary")], []),
    "attack_complete": ([ProgressEvent("attack_complete", attack_name="Canary", message="Done: Canary")], []),
    "phase_complete": ([ProgressEvent("phase_complete", "reconnaissance")], []),
    "campaign_complete": ([ProgressEvent("campaign_complete", message="0 vulnerabilities")], []),
    # not ZIRAN's
    "unknown": ([ProgressEvent("invented"), {"event": 5}, {}, None, 5, [], "", object(), Aside("x"), Ziran], []),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_an_object_tells(row: str) -> None:
    events, signals = ROWS[row]
    assert fed(Ziran(), events) == signals


JSON_ROWS = [row for row in ROWS if row not in ("unknown", "arguments that cannot be text", "an error as an exception")]


@pytest.mark.parametrize("row", JSON_ROWS)
def test_a_dict_and_framed_json_tell_the_same(row: str) -> None:
    events, signals = ROWS[row]
    dicts = [dataclasses.asdict(event) for event in events]
    assert fed(Ziran(), dicts) == signals
    lines = [json.dumps(each) for each in dicts]
    assert fed(Ziran(), lines) == signals
    assert fed(Ziran(), [line.encode() for line in lines]) == signals
    assert fed(Ziran(), [ServerSentEvent(line) for line in lines]) == signals


def test_an_object_without_a_dict_tells_the_same() -> None:
    events = [SlottedChunk("Hel"), SlottedChunk("lo"), SlottedChunk(is_final=True)]
    assert fed(Ziran(), events) == [*text("Hel", "lo"), DONE]


def test_metadata_that_cannot_be_compared_is_read() -> None:
    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    events = [chunk("a", scores=Array()), chunk("b", scores=Array()), final(scores=Array(), model="m")]
    assert fed(Ziran(), events) == [*text("a", "b"), noted(model="m"), DONE]


LLM_ROWS: dict[str, tuple[list[Any], list[Signal]]] = {
    "LiteLLM's stream": (
        [
            LLMResponseChunk("", False, "gpt-4o", {"provider": "litellm", "finish_reason": None}),
            LLMResponseChunk("Hel", False, "gpt-4o", {"provider": "litellm", "finish_reason": None}),
            LLMResponseChunk("lo", False, "gpt-4o", {"provider": "litellm", "finish_reason": None}),
            LLMResponseChunk("", True, "gpt-4o", {"provider": "litellm", "finish_reason": "stop"}),
        ],
        [noted(model="gpt-4o"), *text("Hel", "lo"), noted(model="gpt-4o", finish=["stop"]), DONE],
    ),
    "the base class's fallback": (
        [LLMResponseChunk("hi", True, "m", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})],
        [WHOLE, *text("hi"), noted(model="m"), Usage(RUN, AT, 1, 1), DONE],
    ),
    "no model": ([LLMResponseChunk("hi")], [*text("hi")]),
}


@pytest.mark.parametrize("row", LLM_ROWS)
def test_what_a_model_client_tells(row: str) -> None:
    events, signals = LLM_ROWS[row]
    assert fed(ZiranLLM(), events) == signals
    assert fed(ZiranLLM(), [dataclasses.asdict(event) for event in events]) == signals


def test_a_campaign_is_complete_when_its_source_ends() -> None:
    dialect = Ziran()
    fed(dialect, [ProgressEvent("campaign_start"), ProgressEvent("campaign_complete")])
    assert dialect.finish(AT) == (Closed(RUN, AT),)


def test_a_stream_without_its_final_chunk_is_left_to_the_tap() -> None:
    dialect = Ziran()
    fed(dialect, [chunk("par", protocol="websocket")])
    assert not dialect.finish(AT)
    assert Ziran.terminal


def test_the_table_of_events_is_whole() -> None:
    fields = {field.name for field in dataclasses.fields(AgentResponseChunk)}
    progress = {event.event for events, _ in ROWS.values() for event in events if isinstance(event, ProgressEvent)}
    assert Ziran.events.keys() == fields | progress - {"invented"}
    assert ZiranLLM.events.keys() == {field.name for field in dataclasses.fields(LLMResponseChunk)}


def test_both_are_found_by_name() -> None:
    assert find("ziran") is Ziran
    assert find("ziran-llm") is ZiranLLM


def test_memory_does_not_grow_with_the_calls() -> None:
    dialect = Ziran()
    for number in range(3 * MAX_CALLS):
        dialect.feed(call("{}", id=f"call_{number}"), AT)
    assert len(dialect._lengths) == MAX_CALLS
    assert fed(dialect, [call("{} ", id=f"call_{3 * MAX_CALLS - 1}")]) == [piece(" ")]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("content_delta", "tool_call_delta", "is_final", "metadata", "event", "message", "model")
WORDS = ("id", "name", "arguments", "tool_calls", "usage", "prompt_tokens", "input_tokens", "error", "finish_reason")
INNER = JUNK | st.dictionaries(st.sampled_from(WORDS), JUNK | st.dictionaries(st.sampled_from(WORDS), JUNK))
CHUNKS = st.dictionaries(st.sampled_from(NAMES), INNER | st.booleans() | st.lists(INNER, max_size=3))


@given(st.lists(JUNK | CHUNKS | CHUNKS.map(lambda fields: AgentResponseChunk(**_known(fields))), max_size=6))
def test_no_data_makes_it_raise(events: list[Any]) -> None:
    for dialect in (Ziran(), ZiranLLM()):
        for signal in [*fed(dialect, events), *dialect.finish(AT)]:
            assert signal.key == RUN
            assert not isinstance(signal, Chunk) or (isinstance(signal.text, str) and signal.text)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in AgentResponseChunk.__dataclass_fields__}
