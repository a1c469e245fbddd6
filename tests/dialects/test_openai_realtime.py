"""The table of the Realtime API's events, from openai 3.54.0 `types/realtime/realtime_server_event.py` and
`realtime_client_event.py`, and of the beta's from `types/beta/realtime/`."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from hypothesis import given

from streamgauge import dialects
from streamgauge.dialects.openai_realtime import OpenAIRealtime

from .message_streams import FINISH, UNTOLD, anything, lines, mixed, replayed, sent, sound

SERVER = {
    "conversation.created", "conversation.item.added", "conversation.item.created", "conversation.item.deleted",
    "conversation.item.done", "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.delta", "conversation.item.input_audio_transcription.failed",
    "conversation.item.input_audio_transcription.segment", "conversation.item.retrieved",
    "conversation.item.truncated", "error", "input_audio_buffer.cleared", "input_audio_buffer.committed",
    "input_audio_buffer.dtmf_event_received", "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
    "input_audio_buffer.timeout_triggered", "mcp_list_tools.completed", "mcp_list_tools.failed",
    "mcp_list_tools.in_progress", "output_audio_buffer.cleared", "output_audio_buffer.started",
    "output_audio_buffer.stopped", "rate_limits.updated", "response.content_part.added", "response.content_part.done",
    "response.created", "response.done", "response.function_call_arguments.delta",
    "response.function_call_arguments.done", "response.mcp_call.completed", "response.mcp_call.failed",
    "response.mcp_call.in_progress", "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done",
    "response.output_audio.delta", "response.output_audio.done", "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done", "response.output_item.added", "response.output_item.done",
    "response.output_text.delta", "response.output_text.done", "session.created", "session.updated",
}  # fmt: skip
BETA_ONLY = {
    "response.audio.delta", "response.audio.done", "response.audio_transcript.delta", "response.audio_transcript.done",
    "response.text.delta", "response.text.done", "transcription_session.updated",
}  # fmt: skip
CLIENT = {
    "conversation.item.create", "conversation.item.delete", "conversation.item.retrieve", "conversation.item.truncate",
    "input_audio_buffer.append", "input_audio_buffer.clear", "input_audio_buffer.commit", "output_audio_buffer.clear",
    "response.cancel", "response.create", "session.update",
}  # fmt: skip

CREATE = sent({"type": "response.create"})
CANCEL = sent({"type": "response.cancel"})
USAGE = {
    "input_tokens": 90, "output_tokens": 50, "total_tokens": 140,
    "input_token_details": {"cached_tokens": 40, "text_tokens": 60, "audio_tokens": 30},
    "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
}  # fmt: skip
VAD = {"type": "server_vad", "create_response": True, "interrupt_response": True}


def event(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "event_id": "e", **more}


def session(kind: str = "created", **more: Any) -> dict[str, Any]:
    return event(f"session.{kind}", session={"type": "realtime", "model": "m1", **more})


def created(id_: str = "r1") -> dict[str, Any]:
    return event("response.created", response={"id": id_, "status": "in_progress", "conversation_id": "c1"})


def done(status: str = "completed", id_: str = "r1", **more: Any) -> dict[str, Any]:
    return event("response.done", response={"id": id_, "status": status, **more})


def delta(kind: str, piece: str = "a", id_: str = "r1") -> dict[str, Any]:
    return event(f"response.{kind}.delta", response_id=id_, item_id="i1", delta=piece)


def about(type_: str, **more: Any) -> dict[str, Any]:
    return event(type_, item_id="i1", output_index=0, **more)


def item(what: str, kind: str, **more: Any) -> dict[str, Any]:
    return event(f"response.output_item.{what}", response_id="r1", item={"id": "i1", "type": kind, **more})


def error(code: str = "bad", **more: Any) -> dict[str, Any]:
    return event("error", error={"type": "invalid_request_error", "code": code, "message": "m", **more})


def reason(why: str, **more: Any) -> dict[str, Any]:
    return {"status_details": {"type": "cancelled", "reason": why, **more}}


HEARD = session(audio={"input": {"turn_detection": VAD}}, output_modalities=["audio"])
STOPPED, COMMITTED = event("input_audio_buffer.speech_stopped"), event("input_audio_buffer.committed")
STARTED = event("input_audio_buffer.speech_started")
FUNCTION = {"call_id": "t1", "name": "ls", "arguments": "{}"}
OPEN = ["@1 + chat", "@2 note r1 c1"]

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # The session
    "session.created": (
        [session(), session(), CREATE], ["@1 note :session m1", "@3 + chat m1"],
    ),
    "session.updated": (
        [session(), session("updated", model="m2"), session("updated", model="m2", temperature=0.6), CREATE],
        ["@1 note :session m1", "@2 note :session m2", "@4 + chat m2 0.6"],
    ),
    "session.created: junk": ([event("session.created"), event("session.created", session=7)], []),
    "conversation.created": (
        [event("conversation.created", conversation={"id": "c1"}), event("conversation.created")],
        ["@1 note :session c1"],
    ),
    "transcription_session.updated": ([event("transcription_session.updated", session={})], []),
    # A response that is asked for
    "response.create": (
        [sent({"type": "response.create", "response": {"max_output_tokens": 9, "output_modalities": ["text"]}})],
        ["@1 + chat 9 text"],
    ),
    "response.create: in a trace": (
        [sent({"type": "response.create", "response": {"metadata": {"traceparent": "00-x"}}})], ["@1 + chat <00-x"],
    ),
    "response.create: its answer": (
        [CREATE, created(), event("rate_limits.updated", rate_limits=[]), item("added", "message"),
         delta("output_text"), event("response.output_text.done", text="a"), done(usage=USAGE), delta("output_text")],
        [*OPEN, "@5 text a", "@7 note stop", "@7 usage 90/50/40//", "@7 note 30 40", "@7 -"],
    ),
    "response.created": ([created(), done()], ["@1 + chat", "@1 note r1 c1", "@2 note stop", "@2 -"]),
    "response.output_text.delta": ([CREATE, created(), delta("output_text")], [*OPEN, "@3 text a"]),
    "response.text.delta": ([CREATE, created(), delta("text")], [*OPEN, "@3 text a"]),
    "response.output_audio.delta": ([CREATE, created(), delta("output_audio", "AAAA")], [*OPEN, "@3 audio AAAA"]),
    "response.audio.delta": ([CREATE, created(), delta("audio", "AAAA")], [*OPEN, "@3 audio AAAA"]),
    "response.output_audio_transcript.delta": (
        [CREATE, created(), delta("output_audio_transcript")], [*OPEN, "@3 text a"],
    ),
    "response.audio_transcript.delta": ([CREATE, created(), delta("audio_transcript")], [*OPEN, "@3 text a"]),
    "response.function_call_arguments.delta": (
        [CREATE, created(), delta("function_call_arguments", "{}"), item("done", "function_call", **FUNCTION),
         done(output=[{"type": "function_call", **FUNCTION}])],
        [*OPEN, "@3 tool_call {}", "@4 note tool.requested ls t1 {}", "@5 note tool_call", "@5 -"],
    ),
    "response.output_item.done": (
        [CREATE, created(), item("done", "message"), item("done", "mcp_approval_request", name="ls", arguments="{}")],
        [*OPEN, "@4 note tool.queued ls i1 {}"],
    ),
    "response.output_item.added": (
        [CREATE, created(), item("added", "mcp_call", name="ls"), item("done", "mcp_call", name="ls", error={"m": 1})],
        [*OPEN, "@3 +tool:i1 execute_tool ls i1 extension", "@4 -tool:i1 failed tool_error"],
    ),
    "response.mcp_call_arguments.delta": ([CREATE, created(), delta("mcp_call_arguments")], [*OPEN, "@3 tool_call a"]),
    "response.mcp_call_arguments.done": (
        [CREATE, created(), item("added", "mcp_call", name="ls"), about("response.mcp_call_arguments.done"),
         about("response.mcp_call.in_progress"), about("response.mcp_call.completed")],
        [*OPEN, "@4 +tool:i1 execute_tool ls i1 extension", "@6 -tool:i1"],
    ),
    "response.mcp_call.in_progress": (
        [CREATE, created(), item("added", "mcp_call", name="ls"), about("response.mcp_call.in_progress")],
        [*OPEN, "@4 +tool:i1 execute_tool ls i1 extension"],
    ),
    "response.mcp_call.completed": ([CREATE, created(), about("response.mcp_call.completed")], OPEN),
    "response.mcp_call.failed": (
        [CREATE, created(), item("added", "mcp_call", name="ls"), about("response.mcp_call.in_progress"),
         about("response.mcp_call.failed")],
        [*OPEN, "@4 +tool:i1 execute_tool ls i1 extension", "@5 -tool:i1 failed tool_error"],
    ),
    # How it ends
    "response.done": ([CREATE, done()], ["@1 + chat", "@2 note r1", "@2 note stop", "@2 -"]),
    "response.done: of none": ([done()], []),
    "response.done: no tokens": (
        [CREATE, created(), done(usage={"input_tokens": 0, "output_tokens": 0})], [*OPEN, "@3 note stop", "@3 -"],
    ),
    "response.done: incomplete": (
        [CREATE, created(), done("incomplete", **reason("max_output_tokens"))], [*OPEN, "@3 note length", "@3 -"],
    ),
    "response.done: filtered": (
        [CREATE, created(), done("incomplete", **reason("content_filter"))], [*OPEN, "@3 note content_filter", "@3 -"],
    ),
    "response.done: failed": (
        [CREATE, created(), done("failed", usage=USAGE, status_details={
            "type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}})],
        [*OPEN, "@3 usage 90/50/40//", "@3 note 30 40", "@3 - failed rate_limit_exceeded"],
    ),
    "response.cancel": (
        [CREATE, created(), delta("output_text"), CANCEL, done("cancelled", **reason("client_cancelled"))],
        [*OPEN, "@3 text a", "@5 note by cancel", "@5 - cancelled"],
    ),
    "response.cancel: the service says no reason": (
        [CREATE, created(), CANCEL, done("cancelled")], [*OPEN, "@4 note by cancel", "@4 - cancelled"],
    ),
    "response.cancel: of another": (
        [CREATE, created(), sent({"type": "response.cancel", "response_id": "r9"}), done("cancelled")],
        [*OPEN, "@4 - cancelled"],
    ),
    # Speech
    "input_audio_buffer.committed": (
        [HEARD, sent({"type": "input_audio_buffer.append", "audio": "AAAA"}), STARTED, STOPPED, COMMITTED, created(),
         delta("output_audio", "AAAA"), done()],
        ["@1 note :session m1", "@4 + chat m1 speech", "@6 note r1 c1", "@7 audio AAAA", "@8 note stop", "@8 -"],
    ),
    "input_audio_buffer.committed: the beta's session": (
        [session(turn_detection={"type": "server_vad"}, modalities=["text"]), COMMITTED],
        ["@1 note :session m1", "@2 + chat m1 text"],
    ),
    "input_audio_buffer.committed: more is said before the answer": (
        [HEARD, STOPPED, COMMITTED, STARTED, STOPPED, COMMITTED, created(), done()],
        ["@1 note :session m1", "@2 + chat m1 speech", "@7 note r1 c1", "@8 note stop", "@8 -"],
    ),
    "input_audio_buffer.speech_stopped": (
        [STARTED, STOPPED, COMMITTED, created(), done()],
        ["@2 + chat", "@4 note r1 c1", "@5 note stop", "@5 -"],
    ),
    "input_audio_buffer.commit": (
        [HEARD, sent({"type": "input_audio_buffer.commit"}), COMMITTED, CREATE], ["@1 note :session m1",
         "@4 + chat m1 speech"],
    ),
    "nobody answers by itself": (
        [session(audio={"input": {"turn_detection": {**VAD, "create_response": False}}}), STOPPED, COMMITTED, CREATE],
        ["@1 note :session m1", "@4 + chat m1"],
    ),
    "a transcription session": (
        [event("session.created", session={"type": "transcription", "audio": {"input": {"turn_detection": VAD}}}),
         STOPPED, COMMITTED], [],
    ),
    "input_audio_buffer.speech_started": (
        [HEARD, COMMITTED, created(), delta("output_audio", "AAAA"), STARTED,
         done("cancelled", usage=USAGE, **reason("turn_detected")), STOPPED, COMMITTED, created("r2")],
        ["@1 note :session m1", "@2 + chat m1 speech", "@3 note r1 c1", "@4 audio AAAA", "@6 usage 90/50/40//",
         "@6 note 30 40", "@6 note by barge_in", "@6 - cancelled", "@7 + chat m1 speech", "@9 note r2 c1"],
    ),
    "input_audio_buffer.speech_started: the service says no reason": (
        [CREATE, created(), STARTED, done("cancelled")], [*OPEN, "@4 note by barge_in", "@4 - cancelled"],
    ),
    # Errors
    "error": (
        [session(), error(), CREATE, created(), error("worse"), done()],
        ["@1 note :session m1", "@2 note :session openai.error bad", "@3 + chat m1", "@4 note r1 c1",
         "@5 note openai.error worse", "@6 note stop", "@6 -"],
    ),
    "error: about the request": (
        [sent({"type": "response.create", "event_id": "q1"}), error(event_id="q1")],
        ["@1 + chat", "@2 - failed bad: m"],
    ),
    "error: about nothing else": ([CREATE, error()], ["@1 + chat", "@2 - failed bad: m"]),
    "error: about something else": (
        [CREATE, sent({"type": "session.update", "session": {}}), error()],
        ["@1 + chat", "@3 note openai.error bad"],
    ),
    "error: another one runs": (
        [CREATE, created(), CREATE, error("conversation_already_has_active_response"), done()],
        [*OPEN, "@5 note stop", "@5 -", "@3 + chat", "@4 - failed conversation_already_has_active_response: m"],
    ),
    "error: of no form": ([event("error"), event("error", error="m")],
                          ["@1 note :session openai.error _OTHER", "@2 note :session openai.error _OTHER"]),
    # Two at a time
    "beside another": (
        [CREATE, created(), CREATE, created("r2"), delta("output_text", "b", "r2"), delta("output_text"), done(),
         delta("output_text", "c", "r2"), done(id_="r2", usage=USAGE)],
        [*OPEN, "@6 text a", "@7 note stop", "@7 -", "@3 + chat", "@4 note r2 c1", "@9 note stop",
         "@9 usage 90/50/40//", "@9 note 30 40", "@9 -"],
    ),
    "beside another: over before it": (
        [CREATE, created(), CREATE, created("r2"), done(id_="r2"), done()],
        [*OPEN, "@6 note stop", "@6 -", "@3 + chat", "@4 note r2 c1", "@5 note stop", "@5 -"],
    ),
    "beside another: its first word comes in time": (
        [CREATE, created(), CREATE, done(), created("r2"), delta("output_text", "b", "r2")],
        [*OPEN, "@4 note stop", "@4 -", "@3 + chat", "@5 note r2 c1", "@6 text b"],
    ),
    # Anything else
    **{kind: ([CREATE, created(), event(kind), event(kind, response_id="r1")], OPEN) for kind in sorted(
        {kind for kind, becomes in OpenAIRealtime.events.items() if becomes == "nothing"})},
    **{kind: ([sent({"type": kind})], []) for kind in sorted(CLIENT - {"response.create", "response.cancel",
                                                                       "input_audio_buffer.commit"})},
    "cut": ([CREATE, created(), delta("output_text"), FINISH], [*OPEN, "@3 text a"]),
    "left": ([CREATE, created(), delta("output_text"), UNTOLD], [*OPEN, "@3 text a"]),
    "unknown": ([b"{}", "[]", "no JSON", {"type": 7}, {}, sent("hello"), sent(b"\xff"), event("tomorrow")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(OpenAIRealtime(), messages) == expected


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(OpenAIRealtime.events)
    assert set(OpenAIRealtime.events) == SERVER | BETA_ONLY | CLIENT


def types_of(union: Any) -> set[str]:
    while typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return {value for kind in typing.get_args(union) for value in typing.get_args(kind.model_fields["type"].annotation)}


def test_the_sdk_has_no_more() -> None:
    realtime = pytest.importorskip("openai.types.realtime")
    beta = pytest.importorskip("openai.types.beta.realtime")
    assert types_of(realtime.RealtimeServerEvent) == SERVER
    assert types_of(realtime.RealtimeClientEvent) == CLIENT
    assert types_of(beta.RealtimeServerEvent) <= SERVER | BETA_ONLY


def test_the_path_tells_the_model() -> None:
    assert OpenAIRealtime.asked("/v1/realtime?model=gpt-realtime", None)["model"] == "gpt-realtime"
    assert OpenAIRealtime.asked("/openai/realtime?api-version=1&deployment=mine", None)["model"] == "mine"
    assert OpenAIRealtime.asked("/v1/realtime", None)["model"] == ""
    assert dialects.by_socket("/v1/realtime") == "openai-realtime"
    assert dialects.by_socket("/v1/responses") == "openai-responses-socket"


@given(anything(
    ["type", "response", "response_id", "id", "status", "status_details", "reason", "usage", "item", "error",
     "event_id", "session", "audio", "input", "turn_detection", "model", "delta", "output", "code"],
    [*OpenAIRealtime.events, "completed", "cancelled", "r1", "mcp_call", "function_call"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(OpenAIRealtime(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(OpenAIRealtime(), messages)


def test_a_voice_session_with_barge_in() -> None:
    seen = replayed("openai-realtime-voice")
    assert seen.tree() == ["session openai-realtime", "  chat gpt-realtime", "  chat gpt-realtime"]
    first, second = [span["attributes"] for span in seen.spans if span["name"].startswith("chat")]
    assert (first["streamgauge.outcome"], first["streamgauge.interrupted_by"]) == ("cancelled", "barge_in")
    assert second["streamgauge.outcome"] == "completed"
    assert first["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.42)
