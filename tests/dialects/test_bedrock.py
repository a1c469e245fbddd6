"""The table of Bedrock's events, from botocore 1.44.5, the service model of `bedrock-runtime`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture import read
from streamgauge.dialects import find
from streamgauge.dialects.bedrock import EXCEPTIONS, FINISH_REASONS, Bedrock
from streamgauge.framing import JSONFraming
from streamgauge.signals import Closed
from streamgauge.wire import Outcome, ServerSentEvent

from .model_answers import CAPTURES, JSON, WIRE, check_any, check_wire, told, wire_files, words

CONVERSE = {
    "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
}  # fmt: skip
DELTAS = {"text", "toolUse", "toolResult", "reasoningContent", "citation", "image"}
REASONS = {
    "end_turn", "tool_use", "max_tokens", "stop_sequence", "guardrail_intervened", "content_filtered",
    "malformed_model_output", "malformed_tool_use", "model_context_window_exceeded",
}  # fmt: skip
METRICS = {"inputTokenCount": 12, "outputTokenCount": 9, "cacheReadInputTokenCount": 100}


def begin(index: int = 0, **start: Any) -> dict[str, Any]:
    return {"contentBlockStart": {"contentBlockIndex": index, "start": start}}


def delta(index: int = 0, **more: Any) -> dict[str, Any]:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": more}}


def stop(index: int = 0) -> dict[str, Any]:
    return {"contentBlockStop": {"contentBlockIndex": index}}


def ended(reason: str = "end_turn") -> dict[str, Any]:
    return {"messageStop": {"stopReason": reason}}


def metadata(**usage: Any) -> dict[str, Any]:
    return {"metadata": {"usage": usage, "metrics": {"latencyMs": 800}}}


def chunk(event: Any) -> dict[str, Any]:
    return {"chunk": {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}}


def last(**event: Any) -> dict[str, Any]:
    return chunk({**event, "amazon-bedrock-invocationMetrics": METRICS})


def tool(**more: Any) -> dict[str, Any]:
    return begin(toolUse={"toolUseId": "t1", "name": "weather", **more})


PIECE = delta(toolUse={"input": '{"city":"Rome"}'})
START = {"messageStart": {"role": "assistant"}}
MESSAGE = {"message": {"role": "assistant", "content": [
    {"text": "hi"}, {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Rome"}}},
    {"toolUse": {"toolUseId": "t2", "name": "search", "input": {}, "type": "server_tool_use"}},
]}}  # fmt: skip
ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # One event of each type
    "messageStart": ([START], []),
    "contentBlockStart": ([begin()], []),
    "contentBlockDelta: text": ([delta(text="a")], ["@1 text a"]),
    "contentBlockDelta: no text": ([delta(text="")], []),
    "contentBlockDelta: reasoningContent": ([delta(reasoningContent={"text": "hm"})], ["@1 reasoning hm"]),
    "contentBlockDelta: redacted": ([delta(reasoningContent={"redactedContent": "eA=="})], ["@1 reasoning"]),
    "contentBlockDelta: signature": ([delta(reasoningContent={"signature": "s"})], []),
    "contentBlockDelta: toolUse": ([PIECE, stop()], ['@1 tool_call {"city":"Rome"}']),
    "contentBlockDelta: toolResult": ([delta(toolResult=[{"text": "a"}])], []),
    "contentBlockDelta: citation": ([delta(citation={"title": "a"})], []),
    "contentBlockDelta: image": ([delta(image={"source": {"bytes": "eA=="}})], ["@1 image"]),
    "contentBlockDelta: an image that failed": ([delta(image={"error": {"message": "a"}})], []),
    "contentBlockStop": ([stop()], []),
    "messageStop": ([ended()], ["@1 note stop"]),
    "metadata": ([metadata(inputTokens=20, outputTokens=9, totalTokens=29)], ["@1 usage 20/9///", "@1 -"]),
    "metadata: cached": (
        [metadata(inputTokens=20, outputTokens=9, cacheReadInputTokens=100, cacheWriteInputTokens=3)],
        ["@1 usage 123/9/100/3/", "@1 -"],
    ),
    "metadata: output alone": ([metadata(outputTokens=9)], ["@1 usage /9///", "@1 -"]),
    "metadata: no usage": ([{"metadata": {"metrics": {}}}], ["@1 -"]),
    **{name: ([{name: {"message": "odd"}}], [f"@1 - failed {name}: odd"]) for name in EXCEPTIONS},
    "an event of a name to come": ([{"contentBlockPause": {}}], []),
    **{f"finish reason {each}": ([ended(each)], [f"@1 note {FINISH_REASONS[each]}"]) for each in sorted(REASONS)},
    # Tools
    "a tool call": (
        [tool(), PIECE, stop(), ended("tool_use")],
        ['@2 tool_call {"city":"Rome"}', '@3 note requested weather t1 {"city":"Rome"}', "@4 note tool_call"],
    ),
    "the server's tool": (
        [tool(type="server_tool_use"), PIECE, stop(), begin(1, toolResult={"toolUseId": "t1", "status": "success"})],
        ['@2 tool_call {"city":"Rome"}', '@3 +tool:t1 execute_tool weather < weather t1 {"city":"Rome"}',
         "@4 -tool:t1"],
    ),
    "the server's tool: it failed": (
        [tool(type="server_tool_use"), stop(), begin(1, toolResult={"toolUseId": "t1", "status": "error"})],
        ["@2 +tool:t1 execute_tool weather < weather t1", "@3 -tool:t1 failed tool_error"],
    ),
    "after the end": ([metadata(), delta(text="a"), metadata(), {"throttlingException": {}}, chunk({})], ["@1 -"]),
    "after an exception": ([{"throttlingException": {}}, delta(text="a")], ["@1 - failed throttlingException"]),
    # Plain answers
    "a plain answer": (
        [{"output": MESSAGE, "stopReason": "tool_use", "usage": {"inputTokens": 2, "outputTokens": 3}}],
        ["@1 note tool_call", "@1 usage 2/3///", '@1 note requested weather t1 {"city":"Rome"}', "@1 -"],
    ),
    # InvokeModel
    "chunk: Anthropic's": (
        [chunk({"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 2}}}),
         chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}),
         chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
         last(type="message_stop")],
        ["@1 note i m", "@1 usage 2////", "@2 text a", "@3 note stop", "@3 usage 2/3///", "@4 -"],
    ),
    "chunk: Nova's": (
        [chunk(START), chunk(delta(text="a")), chunk(ended()),
         last(**metadata(inputTokens=2, outputTokens=3)), chunk(delta(text="b"))],
        ["@2 text a", "@3 note stop", "@4 usage 2/3///", "@4 -"],
    ),
    "chunk: Llama's": (
        [chunk({"generation": "a", "stop_reason": None}), last(generation="", stop_reason="stop")],
        ["@1 text a", "@2 note stop", "@2 usage 112/9/100//", "@2 -"],
    ),
    "chunk: Titan's": (
        [last(outputText="a", index=0, completionReason="FINISH")],
        ["@1 text a", "@1 note stop", "@1 usage 112/9/100//", "@1 -"],
    ),
    "chunk: Mistral's": (
        [chunk({"outputs": [{"text": "a", "stop_reason": None}]}),
         last(outputs=[{"text": "", "stop_reason": "length"}])],
        ["@1 text a", "@2 note length", "@2 usage 112/9/100//", "@2 -"],
    ),
    "chunk: chat completions": (
        [chunk({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}),
         last(choices=[{"delta": {"content": ""}, "finish_reason": "tool_calls"}])],
        ["@1 text a", "@2 note tool_call", "@2 usage 112/9/100//", "@2 -"],
    ),
    "chunk: Cohere's": (
        [chunk({"event_type": "text-generation", "text": "a"}), chunk({"event_type": "stream-end",
         "finish_reason": "COMPLETE"}), last()],
        ["@1 text a", "@2 note stop", "@3 usage 112/9/100//", "@3 -"],
    ),
    "chunk: half of the counts": (
        [chunk({"completion": "a", "amazon-bedrock-invocationMetrics": {"outputTokenCount": 9}})],
        ["@1 text a", "@1 usage /9///", "@1 -"],
    ),
    "chunk: no counts": ([chunk({"amazon-bedrock-invocationMetrics": {}})], ["@1 -"]),
    "chunk: of a form to come": ([chunk({"tokens": ["a"]}), last()], ["@2 usage 112/9/100//", "@2 -"]),
    "chunk: no JSON": ([{"chunk": {"bytes": "eA=="}}, {"chunk": {"bytes": "a"}}, {"chunk": {}}, {"chunk": None}], []),
    "chunk: an exception": (
        [chunk({"generation": "a"}), {"modelTimeoutException": {"message": "odd"}}],
        ["@1 text a", "@2 - failed modelTimeoutException: odd"],
    ),
}  # fmt: skip


def framed(event: dict[str, Any]) -> ServerSentEvent:
    ((name, data),) = event.items()
    return ServerSentEvent(json.dumps(data), name, "exception" if name in EXCEPTIONS else "")


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(Bedrock(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    assert told(Bedrock(), [json.dumps(event) for event in events]) == expected
    if "output" not in events[0]:
        assert told(Bedrock(), [framed(event) for event in events]) == expected


def test_boto3_hands_over_bytes() -> None:
    assert told(Bedrock(), [{"chunk": {"bytes": b'{"generation": "a"}'}}]) == ["@1 text a"]


@pytest.mark.parametrize("kind", ["exception", "error"])
def test_what_says_it_is_an_exception_is_one(kind: str) -> None:
    events = [ServerSentEvent('{"Message": "odd"}', "newException", kind), ServerSentEvent("{}", "metadata")]
    assert told(Bedrock(), events) == ["@1 - failed newException: odd"]
    assert told(Bedrock(), [ServerSentEvent("x", "InternalFailure", kind)]) == ["@1 - failed InternalFailure"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "i", "type": "message", "model": "m", "content": [], "stop_reason": "end_turn"},
         ["@1 note i m", "@1 note stop", "@1 -"]),
        ({"generation": "a", "stop_reason": "length", "prompt_token_count": 3}, ["@1 note length", "@1 -"]),
        ({"results": [{"outputText": "a", "completionReason": "FINISH"}]}, ["@1 note stop", "@1 -"]),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}, ["@1 note stop", "@1 -"]),
        ({}, ["@1 -"]),
    ],
)  # fmt: skip
def test_plain_answers_of_invoke(body: Any, expected: list[str]) -> None:
    dialect = Bedrock()
    assert told(dialect, JSONFraming().feed(json.dumps(body).encode())) == expected
    assert list(dialect.finish(9)) == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        ([delta(text="a")], []),
        ([ended()], ["@9 -"]),
        ([ended(), metadata()], []),
        ([chunk({"generation": "a"})], []),
        ([chunk({"generation": "a", "stop_reason": "stop"})], ["@9 -"]),
        ([last(generation="a")], []),
        ([chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})], ["@9 -"]),
        ([last(type="message_stop")], []),
        ([chunk(ended())], ["@9 -"]),
    ],
)
def test_the_source_has_ended(events: list[Any], expected: list[str]) -> None:
    for end in (Bedrock.finish, Bedrock.untold):
        dialect = Bedrock()
        told(dialect, events)
        assert [words(signal) for signal in end(dialect, 9)] == expected
        assert list(end(dialect, 9)) == []


def test_every_event_of_the_source_has_words() -> None:
    named = {event.partition(":")[0] for event in Bedrock.events}
    assert named == CONVERSE | set(EXCEPTIONS) | {"chunk", "output", "an exception or error of another name"}
    assert {event.partition(": ")[2] for event in Bedrock.events if event.startswith("contentBlockDelta")} == DELTAS
    assert set(FINISH_REASONS) >= REASONS


def test_what_it_says_of_itself() -> None:
    assert find("bedrock") is Bedrock
    assert (Bedrock.framing, Bedrock.terminal, Bedrock.provider_name) == ("aws-event-stream", True, "aws.bedrock")


CONFIG = {
    "inferenceConfig": {"maxTokens": 9, "temperature": 1, "topP": 0.5, "stopSequences": ["x"]},
    "outputConfig": {"effort": "low", "textFormat": {"type": "json_schema"}},
}  # fmt: skip
ASKED = {
    "gen_ai.request.max_tokens": 9, "gen_ai.request.temperature": 1.0, "gen_ai.request.top_p": 0.5,
    "gen_ai.request.stop_sequences": ("x",), "gen_ai.request.reasoning.level": "low", "gen_ai.output.type": "json",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "model", "attributes"),
    [
        ("/model/a.b-v1%3A0/converse-stream", CONFIG, "a.b-v1:0", ASKED),
        ("/model/a/converse", {}, "a", {"gen_ai.request.stream": False}),
        ("/model/a/invoke-with-response-stream", {"max_tokens": 3}, "a", {"gen_ai.request.max_tokens": 3}),
        ("/model/a/invoke", None, "a", {"gen_ai.request.stream": False}),
        ("/elsewhere", None, "", {}),
    ],
)
def test_what_was_asked(path: str, body: Any, model: str, attributes: dict[str, Any]) -> None:
    assert Bedrock.asked(path, body) == {"operation": "chat", "model": model, "attributes": attributes}


@given(st.text(max_size=20), JSON)
def test_any_request_can_be_asked(path: str, body: Any) -> None:
    for each in (path, "/model/x/invoke", "/model/x/converse"):
        assert set(Bedrock.asked(each, body)) == {"operation", "model", "attributes"}


SOME = st.sampled_from([event for events, _ in ROWS.values() for event in events])
NAMES = st.sampled_from([*sorted(CONVERSE), *EXCEPTIONS, "chunk", "output", "new"])
ODD = st.dictionaries(NAMES, JSON, max_size=2)
ODD_CHUNK = st.dictionaries(
    st.sampled_from(["type", "outputs", "choices", "text", "stop_reason", "amazon-bedrock-invocationMetrics", "delta"]),
    JSON,
    max_size=3,
).map(chunk)
ODD_FRAMED = st.builds(
    lambda name, data, id_: ServerSentEvent(json.dumps(data), name, id_), NAMES, JSON, st.sampled_from(["", "error"])
)


@given(st.lists(SOME | ODD | ODD_CHUNK | ODD_FRAMED | JSON | st.binary(max_size=5), max_size=12))
def test_anything(events: list[Any]) -> None:
    check_any(Bedrock(), events)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("bedrock-*.ndjson")), ids=lambda path: path.stem)
def test_captures(path: Path) -> None:
    capture = read(path)
    dialect = Bedrock()
    signals = [signal for event in capture.events for signal in dialect.feed(event.data, event.at)]
    closed = [signal.outcome for signal in signals if isinstance(signal, Closed) and signal.key == ""]
    assert closed == ([] if "cut" in path.stem else [Outcome.FAILED if "error" in path.stem else Outcome.COMPLETED])


@pytest.mark.parametrize("path", wire_files("bedrock"), ids=lambda path: path.name)
def test_on_the_wire(path: Path) -> None:
    check_wire(path, Bedrock)


# Against the SDK, where it is installed ---------------------------------------------------------------------------


def service() -> Any:
    pytest.importorskip("botocore")
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


@pytest.mark.filterwarnings("ignore")
def test_the_service_model_names_no_other_event() -> None:
    model = service()
    converse, invoke = model.shape_for("ConverseStreamOutput"), model.shape_for("ResponseStream")
    assert set(converse.members) | set(invoke.members) == CONVERSE | set(EXCEPTIONS) | {"chunk"}
    assert set(model.shape_for("ContentBlockDelta").members) == DELTAS
    assert set(model.shape_for("StopReason").enum) == REASONS


class Raw:
    """A response's body, as botocore takes one."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def stream(self) -> Iterator[bytes]:
        return iter(self._pieces)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "operation"), [("text", "ConverseStream"), ("tools", "ConverseStream"), ("invoke",
                                                                                     "InvokeModelWithResponseStream")]
)  # fmt: skip
def test_boto3_makes_of_the_wire_what_is_read_from_it(name: str, operation: str) -> None:
    model = service()
    from botocore.eventstream import EventStream
    from botocore.parsers import EventStreamJSONParser

    exchange = json.loads((WIRE / f"bedrock-{name}.http.json").read_text("utf-8"))
    pieces = [base64.b64decode(piece) for piece in exchange["response"]["pieces_base64"]]
    shape = model.shape_for("ConverseStreamOutput" if operation == "ConverseStream" else "ResponseStream")
    events = list(EventStream(Raw(pieces), shape, EventStreamJSONParser(), operation))
    usage = exchange["expect"]["usage"]
    lines = told(Bedrock(), events)
    assert lines[-1].endswith(" -")
    assert any(f"usage {usage['input']}/{usage['output']}/" in line for line in lines)
    assert sum(" text " in line for line in lines) == exchange["expect"]["chunks"]["text"]
