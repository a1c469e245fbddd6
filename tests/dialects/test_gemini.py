"""The table of Gemini's answers, from google-genai 3.4, `types.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture import read
from streamgauge.dialects import find
from streamgauge.dialects.gemini import FINISH_REASONS, MAX_CANDIDATES, Gemini
from streamgauge.framing import JSONFraming
from streamgauge.signals import Closed
from streamgauge.wire import Outcome

from .model_answers import CAPTURES, JSON, as_object, check_any, check_wire, sse, told, wire_files, words

PARTS = {
    "text", "functionCall", "executableCode", "codeExecutionResult", "toolCall", "toolResponse", "inlineData",
    "fileData", "functionResponse",
}  # fmt: skip
PART_FIELDS = PARTS | {
    "thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata", "audioTranscription",
    "mediaProcessing", "speechMetadata", "documentMetadata", "spreadsheetMetadata", "audioMetadata",
}  # fmt: skip
REASONS = {
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST",
    "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER",
    "NO_IMAGE", "IMAGE_RECITATION", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE", "ESCALATION", "PUP_LIMITED_DISABLED", "CONTINUATION", "MODEL_ARMOR",
}  # fmt: skip
AS_THEY_ARE = {"OTHER", "IMAGE_OTHER", "NO_IMAGE", "ESCALATION", "PUP_LIMITED_DISABLED", "CONTINUATION"}


def candidate(*parts: Any, reason: str | None = None, index: int | None = 0) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    if reason is not None:
        found["finishReason"] = reason
    return found if index is None else {**found, "index": index}


def says(*parts: Any, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"candidates": [candidate(*parts, reason=reason)], **more}


def text(words_: str = "a") -> dict[str, Any]:
    return {"text": words_}


def call(name: str | None = "weather", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more} if name else more}


def tokens(taken: int = 8, given_: int | None = 5, **more: int) -> dict[str, Any]:
    given_tokens = {} if given_ is None else {"candidatesTokenCount": given_}
    return {"promptTokenCount": taken, **given_tokens, **more}


ERROR = {"error": {"code": 503, "message": "odd", "status": "UNAVAILABLE"}}
CODE = {"executableCode": {"language": "PYTHON", "code": "1+1"}}


def code_result(outcome: str = "OUTCOME_OK") -> dict[str, Any]:
    return {"codeExecutionResult": {"outcome": outcome, "output": "2"}}


ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # One part of each kind
    "text": ([says(text())], ["@1 text a"]),
    "text: more": ([says(text()), says(text("b"))], ["@1 text a", "@2 text b"]),
    "text: empty": ([says(text("")), says({"text": None})], []),
    "text: with a signature": ([says(text(), {"text": "", "thoughtSignature": "eA=="})], ["@1 text a"]),
    "text: a thought": ([says({"text": "hm", "thought": True})], ["@1 reasoning hm"]),
    "text: no thought": ([says({"text": "hm", "thought": False})], ["@1 text hm"]),
    "functionCall": (
        [says(call(args={"city": "Rome"}, id="c1"))],
        ['@1 note requested weather c1 {"city":"Rome"}', '@1 tool_call {"city":"Rome"}'],
    ),
    "functionCall: no arguments": ([says(call())], ["@1 note requested weather", "@1 tool_call"]),
    "functionCall: streamed": (
        [says(call(willContinue=True)),
         says(call(None, partialArgs=[{"jsonPath": "$.city", "stringValue": "Ro"}], willContinue=True)),
         says(call(None, partialArgs=[{"jsonPath": "$.city", "stringValue": "me"}, {"boolValue": True}])),
         says(call(None))],
        ["@1 note requested weather", "@1 tool_call", "@2 tool_call Ro", "@3 tool_call me"],
    ),
    "executableCode": ([says(CODE)], ["@1 tool_call 1+1", "@1 +tool:1 execute_tool code_execution < 1+1"]),
    "codeExecutionResult": (
        [says(CODE), says(code_result()), says(CODE), says(code_result("OUTCOME_FAILED"))],
        ["@1 tool_call 1+1", "@1 +tool:1 execute_tool code_execution < 1+1", "@2 -tool:1", "@3 tool_call 1+1",
         "@3 +tool:2 execute_tool code_execution < 1+1", "@4 -tool:2 failed code_failed"],
    ),
    "codeExecutionResult: too late": (
        [says({"executableCode": {"code": "x", "id": "e"}}),
         says({"codeExecutionResult": {"outcome": "OUTCOME_DEADLINE_EXCEEDED", "id": "e"}})],
        ["@1 tool_call x", "@1 +tool:e execute_tool code_execution < x", "@2 -tool:e failed timeout"],
    ),
    "toolCall": (
        [says({"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1", "args": {"q": "Rome"}}}),
         says({"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1", "response": {}}})],
        ['@1 +tool:s1 execute_tool google_search_web < s1 {"q":"Rome"}', "@2 -tool:s1"],
    ),
    "toolCall: no id": (
        [says({"toolCall": {"toolType": "URL_CONTEXT"}}), says({"toolResponse": {"toolType": "URL_CONTEXT"}})],
        ["@1 +tool:url_context execute_tool url_context <", "@2 -tool:url_context"],
    ),
    "inlineData": ([says({"inlineData": {"mimeType": "image/png", "data": "iVBO"}})], ["@1 image iVBO"]),
    "inlineData: sound": ([says({"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AA"}})], ["@1 audio AA"]),
    "inlineData: other": ([says({"inlineData": {"mimeType": "text/csv", "data": "AA"}})], []),
    "fileData": ([says({"fileData": {"fileUri": "gs://x"}})], []),
    "functionResponse": ([says({"functionResponse": {"name": "weather", "response": {}}})], []),
    "a part of a kind to come": ([says({"hologram": {}})], []),
    # Whose it is, and usage
    "responseId": (
        [says(text(), responseId="r", modelVersion="m"), says(text("b"), responseId="r", modelVersion="m")],
        ["@1 note r m", "@1 text a", "@2 text b"],
    ),
    "usageMetadata": ([{"usageMetadata": tokens()}], []),
    "usageMetadata: with the finish reason": (
        [says(text(), usageMetadata=tokens(8, 1)), says(text("b"), usageMetadata=tokens(8, 2)),
         says(text("c"), reason="STOP", usageMetadata=tokens(8, 3, thoughtsTokenCount=4, cachedContentTokenCount=5))],
        ["@1 text a", "@2 text b", "@3 text c", "@3 note stop", "@3 usage 8/7/5//4"],
    ),
    "usageMetadata: after the finish reason": (
        [says(text(), reason="STOP"), {"usageMetadata": tokens()}],
        ["@1 text a", "@1 note stop", "@2 usage 8/5///"],
    ),
    "usageMetadata: what tools put in": (
        [says(reason="STOP", usageMetadata=tokens(80, 173, toolUsePromptTokenCount=237, thoughtsTokenCount=60,
                                                  totalTokenCount=550))],
        ["@1 note stop", "@1 usage 317/233///60"],
    ),
    "usageMetadata: thoughts are counted in": (
        [says(reason="STOP", usageMetadata=tokens(8, 30, thoughtsTokenCount=20, totalTokenCount=38))],
        ["@1 note stop", "@1 usage 8/30///20"],
    ),
    "usageMetadata: thoughts alone": (
        [says(reason="MAX_TOKENS", usageMetadata=tokens(8, None, thoughtsTokenCount=20, totalTokenCount=28))],
        ["@1 note length", "@1 usage 8/20///20"],
    ),
    "usageMetadata: output alone": (
        [says(reason="STOP", usageMetadata={"candidatesTokenCount": 5})], ["@1 note stop", "@1 usage /5///"]
    ),
    "usageMetadata: no counts": ([says(reason="STOP", usageMetadata={"trafficType": "ON_DEMAND"})], ["@1 note stop"]),
    # Finish reasons
    **{
        f"finish reason {reason}": ([says(reason=reason)], [f"@1 note {FINISH_REASONS.get(reason, reason)}"])
        for reason in sorted(REASONS - {"FINISH_REASON_UNSPECIFIED"})
    },
    "finish reason: none": ([says(text(), reason="FINISH_REASON_UNSPECIFIED")], ["@1 text a"]),
    "finish reason: no content": (
        [says(text()), {"candidates": [{"finishReason": "SAFETY", "index": 0}]}],
        ["@1 text a", "@2 note content_filter"],
    ),
    "finish reason: with every piece": (
        [says(text(each), reason="STOP") for each in "abc"],
        ["@1 text a", "@1 note stop", "@2 text b", "@3 text c"],
    ),
    "finish reason: before the first piece": (
        [says(reason="STOP"), says(text()), says(text("b")), says(reason="MAX_TOKENS")],
        ["@1 note stop", "@2 text a", "@3 text b", "@4 note length"],
    ),
    "two candidates": (
        [{"candidates": [candidate(text()), candidate(text("x"), index=1)]},
         {"candidates": [candidate(text("b"), reason="STOP")]},
         {"candidates": [candidate(reason="SAFETY", index=1)]}],
        ["@1 text a", "@1 text x", "@2 text b", "@3 note stop content_filter"],
    ),
    "two candidates without an index": (
        [{"candidates": [candidate(text(), index=None, reason="STOP"), candidate(reason="STOP", index=None)]}],
        ["@1 text a", "@1 note stop stop"],
    ),
    "promptFeedback": ([{"promptFeedback": {"blockReason": "SAFETY"}}], ["@1 note content_filter"]),
    "promptFeedback: nothing is wrong": ([{"promptFeedback": {"safetyRatings": []}}], []),
    "error": ([says(text()), ERROR, says(text())], ["@1 text a", "@2 - failed UNAVAILABLE: odd"]),
    "error: usage is kept": (
        [says(text(), usageMetadata=tokens()), ERROR],
        ["@1 text a", "@2 usage 8/5///", "@2 - failed UNAVAILABLE: odd"],
    ),
    "error: no status": ([{"error": {"code": 500, "message": "odd"}}], ["@1 - failed 500: odd"]),
    "nothing": ([{}, {"candidates": []}, {"candidates": [{}]}, {"candidates": None}], []),
    # Automatic function calling
    "another answer in the same stream": (
        [says(call(), reason="STOP", responseId="r1", modelVersion="m", usageMetadata=tokens()),
         says(text(), responseId="r2", modelVersion="m"), says(text("b"), responseId="r2", reason="STOP")],
        ["@1 note r1 m", "@1 note requested weather", "@1 tool_call", "@1 note stop", "@1 usage 8/5///", "@1 -",
         "@1 + generate_content <", "@2 note r2 m", "@2 text a", "@3 text b", "@3 note stop"],
    ),
    "another id before the end is the same answer": (
        [says(text(), responseId="r1"), says(text("b"), responseId="r2")],
        ["@1 note r1", "@1 text a", "@2 note r2", "@2 text b"],
    ),
}  # fmt: skip


def snaked(data: Any) -> Any:
    """In the SDK's words."""
    if isinstance(data, dict):
        return {re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name): _kept(name, value)
                for name, value in data.items()}  # fmt: skip
    return [snaked(each) for each in data] if isinstance(data, list) else data


def _kept(name: str, value: Any) -> Any:
    return value if name == "args" else snaked(value)


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(Gemini(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    assert told(Gemini(), [sse(event) for event in events]) == expected
    assert told(Gemini(), [json.dumps(event).encode() for event in events]) == expected
    assert told(Gemini(), [snaked(event) for event in events]) == expected
    assert told(Gemini(), JSONFraming().feed(json.dumps(events, indent=2).encode())) or not expected


def test_objects_tell_the_same() -> None:
    events, expected = ROWS["usageMetadata: with the finish reason"]
    for event in events:
        event.setdefault("responseId", None)
        event["candidates"][0].setdefault("finishReason", None)
        event["candidates"][0]["content"]["parts"][0]["thought"] = None
    assert told(Gemini(), [as_object(snaked(event)) for event in events]) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (says(text(), reason="STOP", usageMetadata=tokens(), responseId="r", modelVersion="m"),
         ["@1 note r m", "@1 note stop", "@1 usage 8/5///", "@1 -"]),
        (says(call(args={"a": 1}), CODE, code_result(), reason="STOP"),
         ['@1 note requested weather {"a":1}', "@1 note stop", "@1 -"]),
        ({"promptFeedback": {"blockReason": "OTHER"}}, ["@1 note content_filter", "@1 -"]),
        (says(text()), ["@1 -"]),
        (ERROR, ["@1 - failed UNAVAILABLE: odd"]),
    ],
)  # fmt: skip
def test_plain_answers(body: Any, expected: list[str]) -> None:
    dialect = Gemini()
    assert told(dialect, JSONFraming().feed(json.dumps(body).encode())) == expected
    assert list(dialect.finish(9)) == []


@pytest.mark.parametrize(
    ("events", "expected", "left"),
    [
        ([], [], []),
        ([says(text())], ["@9 - truncated"], []),
        ([says(text(), usageMetadata=tokens())], ["@9 usage 8/5///", "@9 - truncated"], ["@9 usage 8/5///"]),
        ([says(text()), says(text(), reason="STOP")], ["@2 -"], ["@2 -"]),
        ([says(text(), reason="STOP"), {"usageMetadata": tokens()}], ["@2 -"], ["@2 -"]),
        ([says(text(), reason="STOP"), says(text())], ["@9 - truncated"], []),
        ([{"candidates": [candidate(reason="STOP"), candidate(text(), index=1)]}], ["@9 - truncated"], []),
        ([{"promptFeedback": {"blockReason": "SAFETY"}}], ["@1 -"], ["@1 -"]),
        ([ERROR], [], []),
    ],
)
def test_the_source_has_ended(events: list[Any], expected: list[str], left: list[str]) -> None:
    for end, lines in ((Gemini.finish, expected), (Gemini.untold, left)):
        dialect = Gemini()
        told(dialect, events)
        assert [words(signal) for signal in end(dialect, 9)] == lines
        assert list(end(dialect, 9)) == []


def test_every_part_and_reason_of_the_source_is_known() -> None:
    fields = {"finishReason", "promptFeedback", "usageMetadata", "responseId", "modelVersion", "error"}
    assert set(Gemini.events) == PARTS | fields
    assert set(FINISH_REASONS) == REASONS - AS_THEY_ARE - {"FINISH_REASON_UNSPECIFIED"}


def test_what_it_says_of_itself() -> None:
    assert find("gemini") is Gemini
    assert (Gemini.framing, Gemini.terminal, Gemini.provider_name) == ("sse", True, "gcp.gemini")


CONFIG = {
    "temperature": 1, "topP": 0.9, "topK": 40, "maxOutputTokens": 9, "stopSequences": ["x"], "candidateCount": 2,
    "seed": 7, "responseMimeType": "application/json", "thinkingConfig": {"thinkingLevel": "LOW"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models/gemini-x:streamGenerateContent?alt=sse", {"model": "gemini-x"}),
        ("/v1beta/models/gemini-x:generateContent", {"model": "gemini-x", "plain": True}),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-x:streamGenerateContent",
         {"model": "gemini-x", "provider_name": "gcp.vertex_ai"}),
        ("/elsewhere", {}),
    ],
)  # fmt: skip
def test_what_was_asked(path: str, expected: dict[str, Any]) -> None:
    asked = Gemini.asked(path, {"generationConfig": CONFIG})
    plain = {"gen_ai.request.stream": False} if expected.pop("plain", False) else {}
    assert asked.pop("attributes") == {
        "gen_ai.request.temperature": 1.0, "gen_ai.request.top_p": 0.9, "gen_ai.request.top_k": 40,
        "gen_ai.request.max_tokens": 9, "gen_ai.request.stop_sequences": ("x",), "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 7, "gen_ai.output.type": "json", "gen_ai.request.reasoning.level": "low", **plain,
    }  # fmt: skip
    assert asked == {"operation": "generate_content", **expected}


@given(st.text(max_size=20), JSON)
def test_any_request_can_be_asked(path: str, body: Any) -> None:
    assert Gemini.asked(path, body)["operation"] == "generate_content"
    assert Gemini.asked(path, {"generationConfig": body})["operation"] == "generate_content"


SOME = st.sampled_from([event for events, _ in ROWS.values() for event in events])
PART = st.dictionaries(st.sampled_from(sorted(PART_FIELDS)), JSON, max_size=2) | JSON
ODD = st.fixed_dictionaries(
    {}, optional={"candidates": st.lists(st.builds(lambda parts, reason: {"content": {"parts": parts},
                  "finishReason": reason}, st.lists(PART, max_size=2), JSON), max_size=2) | JSON,
                  "usageMetadata": JSON, "responseId": st.sampled_from(["a", "b"]) | JSON, "promptFeedback": JSON,
                  "error": JSON, "modelVersion": JSON}
)  # fmt: skip


@given(st.lists(SOME | ODD | JSON | JSON.map(json.dumps) | st.binary(max_size=5), max_size=12))
def test_anything(events: list[Any]) -> None:
    check_any(Gemini(), events)


def test_memory_is_bounded() -> None:
    dialect = Gemini()
    for index in range(MAX_CANDIDATES * 2):
        dialect.feed({"candidates": [candidate(text(), index=index)]}, 1)
    assert len(dialect._reasons) == MAX_CANDIDATES


OWN = sorted(
    path for path in CAPTURES.glob("gemini-*.ndjson") if not path.stem.startswith(("gemini-cli", "gemini-live"))
)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_captures(path: Path) -> None:
    capture = read(path)
    dialect = Gemini()
    signals = [signal for event in capture.events for signal in dialect.feed(event.data, event.at)]
    signals += dialect.finish(capture.events[-1].at)
    closed = [signal.outcome for signal in signals if isinstance(signal, Closed) and signal.key == ""]
    last = {"cut": Outcome.TRUNCATED, "error": Outcome.FAILED}.get(path.stem.partition("-")[2], Outcome.COMPLETED)
    assert closed[-1] == last
    assert len(closed) == 1 + ("function-calling" in path.stem)


@pytest.mark.parametrize("path", wire_files("gemini"), ids=lambda path: path.name)
def test_on_the_wire(path: Path) -> None:
    check_wire(path, Gemini)


# Against the SDK, where it is installed ---------------------------------------------------------------------------


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)


def test_the_sdk_names_no_other_part_or_reason() -> None:
    types = pytest.importorskip("google.genai.types")
    assert {camel(name) for name in types.Part.model_fields} == PART_FIELDS
    assert {reason.value for reason in types.FinishReason} == REASONS
    wanted = {"candidates", "create_time", "model_version", "prompt_feedback", "response_id", "usage_metadata"}
    sdks_own = {"sdk_http_response", "automatic_function_calling_history", "parsed", "model_status"}
    assert set(types.GenerateContentResponse.model_fields) == wanted | sdks_own


@pytest.mark.parametrize("name", [*ROWS.keys() - {"error: no status", "nothing"}])
def test_the_sdks_objects_tell_the_same(name: str) -> None:
    types = pytest.importorskip("google.genai.types")
    events, expected = ROWS[name]
    if any("error" in event or "hologram" in str(event) for event in events):
        return  # the SDK raises
    objects = [types.GenerateContentResponse.model_validate(event) for event in events]
    lines = told(Gemini(), objects)
    without_size = [re.sub("(image|audio) .*", r"\1", line) for line in expected]  # its data is bytes, not base64
    assert lines == without_size
