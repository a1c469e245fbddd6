"""The table of Gemini Live's messages, from google-genai 3.4 `types.py` (LiveClientMessage, LiveServerMessage)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from streamgauge import dialects
from streamgauge.dialects.gemini_live import GeminiLive

from .message_streams import FINISH, UNTOLD, anything, lines, mixed, replayed, sent, sound

CLIENT = {"setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate"}
SERVER = {
    "setupComplete", "serverContent", "toolCall", "toolCallCancellation", "usageMetadata", "goAway",
    "sessionResumptionUpdate", "voiceActivityDetectionSignal", "voiceActivity",
}  # fmt: skip
CONTENT = {
    "modelTurn", "turnComplete", "interrupted", "groundingMetadata", "generationComplete", "inputTranscription",
    "outputTranscription", "urlContextMetadata", "turnCompleteReason", "waitingForInput", "interimInputTranscription",
    "interactionStatus",
}  # fmt: skip
HEARD = {"mediaChunks", "audio", "audioStreamEnd", "video", "text", "activityStart", "activityEnd"}


def content(**more: Any) -> dict[str, Any]:
    return {"serverContent": more}


def says(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return content(modelTurn={"parts": list(parts)}, **more)


def asks(complete: bool = True, **more: Any) -> Any:
    return sent({"client_content": {"turns": [{"parts": [{"text": "x"}]}], "turn_complete": complete}, **more})


def heard(**more: Any) -> Any:
    return sent({"realtimeInput": more})


def usage(prompt: int, response: int, **more: Any) -> dict[str, Any]:
    return {"usageMetadata": {"promptTokenCount": prompt, "responseTokenCount": response,
                              "totalTokenCount": prompt + response, **more}}  # fmt: skip


SOUND = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAAA"}}
AUDIO = {"data": "AAAA", "mimeType": "audio/pcm;rate=16000"}
DONE = content(turnComplete=True)
GENERATED = content(generationComplete=True)
INTERRUPTED = content(interrupted=True)
CALL = {"toolCall": {"functionCalls": [{"id": "t1", "name": "ls", "args": {"a": 1}}]}}
ANSWER = sent({"toolResponse": {"functionResponses": [{"id": "t1", "name": "ls", "response": {"r": 1}}]}})
CALLED = ['tool_call {"a":1}', '+tool:t1 execute_tool ls t1 {"a":1}']
BEGUN = "@1 + generate_content"
STOP = "note stop"

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # The session
    "setup": (
        [sent({"setup": {"model": "models/m1", "generationConfig": {
            "temperature": 0.5, "responseModalities": ["AUDIO"]}}}), asks()],
        ["@1 note :session m1", "@2 + generate_content m1 0.5 speech"],
    ),
    "setupComplete": ([{"setupComplete": {"sessionId": "s1"}}, {"setupComplete": {}}], ["@1 note :session s1"]),
    "goAway": ([{"goAway": {"timeLeft": "10s"}}], ["@1 note :session gemini.go_away"]),
    "sessionResumptionUpdate": ([asks(), {"sessionResumptionUpdate": {"newHandle": "h", "resumable": True}}], [BEGUN]),
    "contextUpdate": ([sent({"contextUpdate": {}})], []),
    # A turn
    "clientContent": (
        [asks(), says({"text": "a"}), says({"text": "b"}), GENERATED, {**DONE, **usage(9, 5)}],
        [BEGUN, "@2 text a", "@3 text b", "@5 note stop", "@5 usage 9/5///", "@4 -"],
    ),
    "clientContent: not complete": ([asks(False), asks(False), asks()], ["@3 + generate_content"]),
    "clientContent: in a trace": ([asks(metadata={"traceparent": "00-x"})], ["@1 + generate_content <00-x"]),
    "serverContent.modelTurn": (
        [asks(), says({"text": "a", "thought": True}, SOUND), says({"executableCode": {"code": "1"}}),
         says({"codeExecutionResult": {"outcome": "OUTCOME_OK"}}), says(SOUND, turnComplete=True)],
        [BEGUN, "@2 reasoning a", "@2 audio AAAA", "@3 tool_call 1", "@3 +tool:1 execute_tool code_execution 1",
         "@4 -tool:1", "@5 audio AAAA", "@5 note stop", "@5 -"],
    ),
    "serverContent.outputTranscription": (
        [asks(), content(outputTranscription={"text": "a"}), DONE, content(outputTranscription={"text": "late"})],
        [BEGUN, "@2 text a", "@3 note stop", "@3 -"],
    ),
    "serverContent.turnComplete": ([asks(), DONE, DONE], [BEGUN, "@2 note stop", "@2 -"]),
    "serverContent.turnCompleteReason": (
        [asks(), content(turnComplete=True, turnCompleteReason="RESPONSE_REJECTED"), asks(),
         content(turnComplete=True, turnCompleteReason="MALFORMED_FUNCTION_CALL"), asks(),
         content(turnComplete=True, turnCompleteReason="NEED_MORE_INPUT")],
        [BEGUN, "@2 note content_filter", "@2 -", "@3 + generate_content", "@4 note error", "@4 -",
         "@5 + generate_content", "@6 note NEED_MORE_INPUT", "@6 -"],
    ),
    "serverContent.generationComplete": (
        [asks(), says(SOUND), GENERATED, content(outputTranscription={"text": "a"}), DONE],
        [BEGUN, "@2 audio AAAA", "@4 text a", "@5 note stop", "@4 -"],
    ),
    "serverContent.generationComplete: and then nothing": (
        [asks(), says(SOUND), GENERATED, UNTOLD], [BEGUN, "@2 audio AAAA", "@3 -"],
    ),
    "usageMetadata": (
        [asks(), {**says(SOUND), **usage(9, 1)}, usage(9, 5, thoughtsTokenCount=2, promptTokensDetails=[
            {"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 4}],
            responseTokensDetails=[{"modality": "AUDIO", "tokenCount": 5}]), DONE],
        [BEGUN, "@2 audio AAAA", "@4 note stop", "@4 usage 9/5///2", "@4 note 4 5", "@4 -"],
    ),
    "usageMetadata: cut": ([asks(), {**says(SOUND), **usage(9, 1)}, FINISH],
                           [BEGUN, "@2 audio AAAA", "@3 usage 9/1///"]),
    # Speech
    "realtimeInput.audio": (
        [heard(audio=AUDIO), heard(audio=AUDIO), says(SOUND), DONE],
        ["@2 + generate_content", "@3 audio AAAA", "@4 note stop", "@4 -"],
    ),
    "realtimeInput.mediaChunks": ([heard(mediaChunks=[AUDIO]), says(SOUND)],
                                  ["@1 + generate_content", "@2 audio AAAA"]),
    "realtimeInput.video": ([heard(video=AUDIO), says(SOUND)], ["@2 + generate_content", "@2 audio AAAA"]),
    "realtimeInput.text": ([heard(text="x"), heard(text="y"), says(SOUND)], [BEGUN, "@3 audio AAAA"]),
    "realtimeInput.activityEnd": (
        [heard(activityStart={}), heard(audio=AUDIO), heard(activityEnd={}), says(SOUND)],
        ["@3 + generate_content", "@4 audio AAAA"],
    ),
    "realtimeInput.activityStart": ([heard(audioStreamEnd=True), heard(activityStart={}), says(SOUND)],
                                    ["@3 + generate_content", "@3 audio AAAA"]),
    "realtimeInput.audioStreamEnd": (
        [heard(audio=AUDIO), heard(audioStreamEnd=True), heard(video=AUDIO), says(SOUND)],
        ["@2 + generate_content", "@4 audio AAAA"],
    ),
    "serverContent.inputTranscription": (
        [heard(audio=AUDIO), content(inputTranscription={"text": "x"}), heard(audio=AUDIO), says(SOUND),
         content(inputTranscription={"text": "late"}), DONE, says(SOUND)],
        ["@2 + generate_content", "@4 audio AAAA", "@6 note stop", "@6 -", "@7 + generate_content", "@7 audio AAAA"],
    ),
    "voiceActivity": (
        [{"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}},
         {"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}}, heard(audio=AUDIO), says(SOUND)],
        ["@2 + generate_content", "@4 audio AAAA"],
    ),
    "voiceActivityDetectionSignal": (
        [{"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_EOS"}}, heard(audio=AUDIO), says(SOUND)],
        [BEGUN, "@3 audio AAAA"],
    ),
    # Interruptions
    "serverContent.interrupted": (
        [asks(), says(SOUND), heard(audio=AUDIO), {**INTERRUPTED, **usage(9, 5)},
         content(outputTranscription={"text": "a"}), DONE, content(inputTranscription={"text": "y"}), says(SOUND)],
        [BEGUN, "@2 audio AAAA", "@5 text a", "@6 usage 9/5///", "@4 note by barge_in", "@4 - cancelled",
         "@7 + generate_content", "@8 audio AAAA"],
    ),
    "serverContent.interrupted: by a message": (
        [asks(), says(SOUND), asks(), INTERRUPTED, DONE, says({"text": "b"}), DONE],
        [BEGUN, "@2 audio AAAA", "@4 note by input", "@4 - cancelled", "@3 + generate_content", "@6 text b",
         "@7 note stop", "@7 -"],
    ),
    "serverContent.interrupted: before the first word": (
        [asks(), asks(), INTERRUPTED, DONE, says({"text": "b"})],
        [BEGUN, "@3 note by input", "@3 - cancelled", "@2 + generate_content", "@5 text b"],
    ),
    "serverContent.interrupted: what was generated is being played": (
        [asks(), says(SOUND), GENERATED, heard(audio=AUDIO), INTERRUPTED, DONE],
        [BEGUN, "@2 audio AAAA", "@6 note stop", "@3 -"],
    ),
    "serverContent.interrupted: the last word never comes": (
        [asks(), says(SOUND), asks(), INTERRUPTED, says({"text": "b"})],
        [BEGUN, "@2 audio AAAA", "@4 note by input", "@4 - cancelled", "@3 + generate_content", "@5 text b"],
    ),
    "serverContent.interrupted: of none": ([INTERRUPTED], []),
    "two questions, one answer": (
        [asks(), asks(), says(SOUND), DONE], [BEGUN, "@3 audio AAAA", "@4 note stop", "@4 -"],
    ),
    "a question in mid-turn that waits": (
        [asks(), says(SOUND), asks(), DONE, says(SOUND)],
        [BEGUN, "@2 audio AAAA", "@4 note stop", "@4 -", "@3 + generate_content", "@5 audio AAAA"],
    ),
    # Tools
    "toolCall": (
        [asks(), {**CALL, **usage(9, 2)}, ANSWER, {**says({"text": "a"}), **usage(20, 1)}, {**DONE, **usage(20, 3)}],
        [BEGUN, *(f"@2 {line}" for line in CALLED), '@3 note tool:t1 {"r":1}', "@3 -tool:t1", "@4 text a",
         "@5 note stop", "@5 usage 29/5///", "@5 -"],
    ),
    "toolResponse": (
        [asks(), CALL, DONE, ANSWER, says({"text": "a"})],
        [BEGUN, *(f"@2 {line}" for line in CALLED), "@3 note stop", "@3 -", "@4 + generate_content", "@5 text a"],
    ),
    "toolCallCancellation": (
        [asks(), CALL, {"toolCallCancellation": {"ids": ["t1", "t2"]}}, INTERRUPTED, DONE],
        [BEGUN, *(f"@2 {line}" for line in CALLED), "@3 -tool:t1 cancelled", "@4 note by barge_in", "@4 - cancelled"],
    ),
    # Errors
    "error": (
        [asks(), {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "m"}}],
        [BEGUN, "@2 - failed INVALID_ARGUMENT: m"],
    ),
    "error: bare": ([asks(), {"code": 500, "message": "m", "status": "INTERNAL"}], [BEGUN, "@2 - failed INTERNAL: m"]),
    "error: of no run": ([{"error": {"code": 400}}], []),
    # Anything else
    **{f"serverContent.{kind}": ([asks(), content(**{kind: {}})], [BEGUN]) for kind in (
        "groundingMetadata", "interimInputTranscription", "interactionStatus", "urlContextMetadata",
        "waitingForInput")},
    "as bytes": ([asks(), json.dumps(says({"text": "a"})).encode(), json.dumps(DONE).encode()],
                 [BEGUN, "@2 text a", "@3 note stop", "@3 -"]),
    "in snake case": (
        [asks(), {"server_content": {"model_turn": {"parts": [{"text": "a"}]}, "turn_complete": True},
                  "usage_metadata": {"prompt_token_count": 1, "response_token_count": 2}}],
        [BEGUN, "@2 text a", "@2 note stop", "@2 usage 1/2///", "@2 -"],
    ),
    "unknown": ([b"{}", "[]", "no JSON", {"tomorrow": {}}, {}, sent("hello"), sent(b"\xff")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(GeminiLive(), messages) == expected


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(GeminiLive.events)
    inner = {f"serverContent.{kind}" for kind in CONTENT} | {f"realtimeInput.{kind}" for kind in HEARD}
    assert set(GeminiLive.events) == (CLIENT | SERVER | inner | {"error"}) - {"serverContent", "realtimeInput"}


def test_the_sdk_has_no_more() -> None:
    types = pytest.importorskip("google.genai.types")

    def names(kind: Any) -> set[str]:
        return {field.alias for field in kind.model_fields.values()}

    assert names(types.LiveClientMessage) == CLIENT
    assert names(types.LiveServerMessage) == SERVER
    assert names(types.LiveServerContent) == CONTENT
    assert names(types.LiveClientRealtimeInput) == HEARD


def test_the_path_tells_the_provider() -> None:
    path = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
    assert GeminiLive.asked(path, None)["provider_name"] == "gcp.vertex_ai"
    assert dialects.by_socket(path) == "gemini-live"
    assert "provider_name" not in GeminiLive.asked(path.replace("cloud.aiplatform", "ai.generativelanguage"), None)


@given(anything(
    [*CLIENT, *SERVER, *CONTENT, *HEARD, "parts", "text", "thought", "inlineData", "data", "mimeType", "functionCalls",
     "functionResponses", "id", "name", "args", "ids", "error", "code", "message", "promptTokenCount",
     "executableCode", "codeExecutionResult", "functionCall"],
    ["t1", "audio/pcm", "ls"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(GeminiLive(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(GeminiLive(), messages)


def test_a_session_with_a_tool_and_barge_in() -> None:
    seen = replayed("gemini-live-voice")
    assert seen.tree() == [
        "session gemini-live", "  generate_content gemini-live-2.5-flash", "    execute_tool get_weather",
        "  generate_content gemini-live-2.5-flash",
    ]  # fmt: skip
    first, second = [span["attributes"] for span in seen.spans if span["name"].startswith("generate")]
    assert (first["streamgauge.outcome"], first["gen_ai.response.finish_reasons"]) == ("completed", ["stop"])
    assert (second["streamgauge.outcome"], second["streamgauge.interrupted_by"]) == ("cancelled", "barge_in")
