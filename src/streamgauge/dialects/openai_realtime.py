"""OpenAI Realtime: both sides of a session's events in; a model call out for each response.

A response begins with the caller's `response.create`; or, where the session detects turns and answers them by itself,
with the end of speech (`input_audio_buffer.speech_stopped`, else `.committed`); or, where neither was seen, with its
`response.created`. It ends with `response.done`. Responses outside the conversation may run beside another: see
`_lanes`.

Most errors are about one of the caller's events and change nothing else. One fails a response where it names the event
that asked for it, or names none and nothing but a response is waited for.

Promised: the events of the beta are read as those of now. Sound is counted as it is sent, and never decoded.

Source: openai 3.54.0, `types/realtime/realtime_server_event.py`, `realtime_client_event.py`, `realtime_error_event.py`,
`realtime_session_create_request.py`, `realtime_audio_input_turn_detection.py`; `types/beta/realtime/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import failure, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._lanes import Lane, Lanes
from streamgauge.dialects._parameters import parameters, text
from streamgauge.dialects._realtime_response import DELTAS, READ, Response
from streamgauge.dialects._turns import SENT, opening, parent_of
from streamgauge.signals import RUN, SESSION, Noted, Signal, Signals
from streamgauge.wire import Aside

__all__ = ["ERROR", "OpenAIRealtime"]

ERROR: Final = "openai.error"
"""The span event of an error by which nothing ended, with its type."""

_MODEL: Final = re.compile(r"[?&](?:model|deployment)=([^&]+)")
_BUSY: Final = "conversation_already_has_active_response"
"""The error of a response that is asked for while another one runs."""
_PARAMETERS: Final = {
    "max_response_output_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "max_output_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
}
_REASONING: Final = {"effort": semconv.GEN_AI_REQUEST_REASONING_LEVEL}
_SILENT: Final = (
    "conversation.item.added", "conversation.item.created", "conversation.item.deleted", "conversation.item.done",
    "conversation.item.input_audio_transcription.completed", "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.failed", "conversation.item.input_audio_transcription.segment",
    "conversation.item.retrieved", "conversation.item.truncated", "input_audio_buffer.cleared",
    "input_audio_buffer.dtmf_event_received", "input_audio_buffer.timeout_triggered", "mcp_list_tools.completed",
    "mcp_list_tools.failed", "mcp_list_tools.in_progress", "output_audio_buffer.cleared",
    "output_audio_buffer.started", "output_audio_buffer.stopped", "rate_limits.updated", "response.audio.done",
    "response.audio_transcript.done", "response.content_part.added", "response.content_part.done",
    "response.function_call_arguments.done", "response.output_audio.done", "response.output_audio_transcript.done",
    "response.output_text.done", "response.text.done", "transcription_session.updated",
)  # fmt: skip
_SENT_SILENT: Final = (
    "conversation.item.create", "conversation.item.delete", "conversation.item.retrieve", "conversation.item.truncate",
    "input_audio_buffer.append", "input_audio_buffer.clear", "output_audio_buffer.clear", "session.update",
)  # fmt: skip


class OpenAIRealtime(Dialect):
    """The responses of one session."""

    name = "openai-realtime"
    system = "OpenAI Realtime API (openai 3.54)"
    terminal = True
    only_waits_between_chunks = True
    provider_name = "openai"
    opens_runs = True
    sockets = (r"/realtime$",)
    events: ClassVar[Mapping[str, str]] = {
        "response.create": "a run (from the caller)",
        "response.cancel": "nothing; a response that then is cancelled was interrupted by it (from the caller)",
        "input_audio_buffer.commit": "nothing; what is committed by it is not answered by itself (from the caller)",
        **dict.fromkeys(_SENT_SILENT, "nothing (from the caller)"),
        "session.created": "the session's model; whether its turns are answered by themselves",
        "session.updated": "the same",
        "conversation.created": "the session's conversation",
        "input_audio_buffer.speech_started": "nothing; a response that then is cancelled was interrupted by it",
        "input_audio_buffer.speech_stopped": "the time at which the run begins that answers it",
        "input_audio_buffer.committed": "a run, where turns are answered by themselves",
        "response.created": "the response's id and conversation; a run, where none was asked for",
        "response.output_item.added": "nothing yet; the start of an MCP tool later",
        "response.output_item.done": "a tool that is asked for; the end of an MCP tool",
        **{event: f"a chunk of {kind.replace('_', '-')}" for event, kind in DELTAS.items()},
        "response.mcp_call_arguments.done": "the start of the tool",
        "response.mcp_call.in_progress": "the start of the tool, where it has not begun",
        "response.mcp_call.completed": "the end of the tool",
        "response.mcp_call.failed": "the end of the tool, `failed`",
        "response.done": "finish reason, tokens, the end of the run: as its status says, and by whom it was cancelled",
        "error": f"the end of the run that it is about, `failed`; else the span event {ERROR}",
        **dict.fromkeys(_SILENT, "nothing"),
    }

    __slots__ = (
        "_answers", "_asking", "_committing", "_config", "_lanes", "_model", "_spoken", "_told_model",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._lanes = Lanes()
        self._answers = False  # the session answers by itself what is said
        self._asking = False  # of the caller's events but sound, the last asked for a response
        self._committing = False  # the caller ends what it says itself
        self._spoken = 0  # when somebody was last heard to have spoken
        self._model = self._told_model = ""
        self._config: dict[str, Any] = {}  # of the session, for each of its responses

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        found = _MODEL.search(path)
        return {"operation": semconv.CHAT, "model": found[1] if found else ""}

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            return self._sent(loaded(data.data.get("data")), at) if data.name == SENT else NOTHING
        event = loaded(data)
        if event.__class__ is not dict:
            return NOTHING
        type_ = event.get("type")
        if type_.__class__ is not str:
            return NOTHING
        lanes = self._lanes
        if type_ in DELTAS:
            lane = lanes.live
            if lane is not None and lanes.alone and not lane.mute:
                signals: Signals = lane.decoder.feed(event, at)
                return signals
        elif type_ not in READ:
            read = _SESSION.get(type_)
            return read(self, event, at) if read is not None else NOTHING
        elif type_ == "response.created":
            return self._created(event, at)
        found = self._about(event)
        return lanes.tell(found, found.decoder.feed(event, at)) if found is not None else NOTHING

    # The caller's side ----------------------------------------------------------------------------------------

    def _sent(self, event: Any, at: int) -> Signals:
        type_ = text(event, "type")
        if type_ == "input_audio_buffer.append":
            return NOTHING
        self._asking = type_ == "response.create"
        if type_ == "response.create":
            own = event.get("response")
            return self._open(at, Response(text(event, "event_id")), own, parent_of(event) or parent_of(own))
        if type_ == "input_audio_buffer.commit":
            self._committing = True
        elif type_ == "response.cancel":
            id_ = text(event, "response_id")
            for lane in self._lanes:
                if lane.decoder.created and id_ in ("", lane.decoder.id):
                    lane.decoder.how = "cancel"
        return NOTHING

    def _open(self, at: int, response: Response, own: Any = None, parent: str = RUN) -> list[Signal]:
        told = {"operation": semconv.CHAT, "model": self._model, "attributes": {**self._config, **_asked_for(own)}}
        return self._lanes.open(Lane("", response, opening(at, told, parent)))

    # Responses ------------------------------------------------------------------------------------------------

    def _created(self, event: dict[str, Any], at: int) -> Signals:
        waiting = [lane for lane in self._lanes if not lane.decoder.created]
        told: list[Signal] = []
        if not waiting:
            told += self._open(self._spoken or at, Response(automatic=True))
            waiting = [lane for lane in self._lanes if not lane.decoder.created]
        self._spoken = 0
        return [*told, *self._lanes.tell(waiting[0], waiting[0].decoder.feed(event, at))] if waiting else told

    def _about(self, event: dict[str, Any]) -> Lane | None:
        """The response that an event is about. Those of tools do not say it."""
        id_ = text(event, "response_id") or text(event.get("response"), "id")
        known: list[Lane] = [lane for lane in self._lanes if lane.decoder.created]
        own = [lane for lane in known if id_ and lane.decoder.id == id_]
        if not own and id_ and any(lane.decoder.id for lane in known):
            return None
        return next(iter(own or known or self._lanes), None)

    def _error(self, event: dict[str, Any], at: int) -> Signals:
        error = event.get("error")
        about = text(error, "event_id")
        lanes: list[Lane] = list(self._lanes)
        waiting = [lane for lane in lanes if not lane.decoder.created and not lane.decoder.automatic]
        own = [lane for lane in lanes if about and lane.decoder.asked_by == about]
        closed = failure(at, error)
        if not about and closed.error_type == _BUSY:
            own = [lane for lane in lanes if not lane.decoder.created][-1:]
        elif not about and self._asking:
            own = waiting[-1:]
        if own:
            return self._lanes.tell(own[0], [closed])
        facts = {semconv.ERROR_TYPE: closed.error_type or semconv.ERROR_TYPE_OTHER}
        return (Noted(RUN if lanes else SESSION, at, facts, ERROR),)

    # The session ----------------------------------------------------------------------------------------------

    def _session(self, event: dict[str, Any], at: int) -> Signals:
        session = event.get("session")
        if session.__class__ is not dict:
            return NOTHING
        self._model = text(session, "model") or self._model
        self._config = _asked_for(session)
        heard = field(field(session.get("audio"), "input"), "turn_detection") or session.get("turn_detection")
        speaks = text(session, "type") != "transcription"
        self._answers = speaks and heard.__class__ is dict and heard.get("create_response") is not False
        if self._model == self._told_model:
            return NOTHING
        self._told_model = self._model
        return (Noted(SESSION, at, {semconv.GEN_AI_REQUEST_MODEL: self._model}),)

    def _conversed(self, event: dict[str, Any], at: int) -> Signals:
        id_ = word(field(event.get("conversation"), "id"))
        return (Noted(SESSION, at, {semconv.GEN_AI_CONVERSATION_ID: id_}),) if id_ else NOTHING

    def _speaks(self, event: dict[str, Any], at: int) -> Signals:
        self._spoken = 0
        for lane in self._lanes:
            if lane.decoder.created and not lane.decoder.how:
                lane.decoder.how = "barge_in"
        return NOTHING

    def _spoke(self, event: dict[str, Any], at: int) -> Signals:
        self._spoken = at
        return NOTHING

    def _committed(self, event: dict[str, Any], at: int) -> Signals:
        since, self._spoken = self._spoken or at, 0
        committing, self._committing = self._committing, False
        if committing:
            return NOTHING
        if not self._answers:
            self._spoken = since
            return NOTHING
        if any(lane.decoder.automatic and not lane.decoder.created for lane in self._lanes):
            return NOTHING  # more was said before the answer began
        return self._open(since, Response(automatic=True))


def _asked_for(own: Any) -> dict[str, Any]:
    """What a response, or the session for all of its own, is to be like."""
    if own.__class__ is not dict:
        return {}
    facts = parameters(own, _PARAMETERS) | parameters(own.get("reasoning"), _REASONING)
    modalities = own.get("output_modalities") or own.get("modalities")
    if modalities.__class__ is list and modalities:
        facts[semconv.GEN_AI_OUTPUT_TYPE] = "speech" if "audio" in modalities else "text"
    return facts


_SESSION: Final[Mapping[str, Callable[[OpenAIRealtime, dict[str, Any], int], Signals]]] = {
    "session.created": OpenAIRealtime._session,
    "session.updated": OpenAIRealtime._session,
    "conversation.created": OpenAIRealtime._conversed,
    "input_audio_buffer.speech_started": OpenAIRealtime._speaks,
    "input_audio_buffer.speech_stopped": OpenAIRealtime._spoke,
    "input_audio_buffer.committed": OpenAIRealtime._committed,
    "error": OpenAIRealtime._error,
}
