"""Gemini Live (`BidiGenerateContent`): both sides of a session's messages in; a run out for each turn of the model.

A turn begins with what ends the caller's: `clientContent` that is complete, a text, the end of activity, answers of
tools where no turn is open; with speech that nobody marks the end of, it begins where speech was last heard of (the
service's voice activity, the transcription of the input, the end of the audio stream, else the last audio that was
sent) once the model speaks. It ends with `turnComplete`; but as of `generationComplete`, since the service then waits
until what was said has been played. A turn that is `interrupted` while it is generated is `cancelled`.

A tool of the caller's is at work from `toolCall` to its `toolResponse`.

Usage is of one generation, and told with each of its messages anew or once; a turn has one more generation after each
answer of tools, and their sum.

Promised: names in camel case and in snake case are read alike, as text or as bytes. Sound is counted as it is sent, and
never decoded.

Source: google-genai 3.4, `live.py` (paths, what is sent), `types.py` (LiveClientMessage, LiveServerMessage and what
they have in them), `_live_converters.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import failure, json_text, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._gemini_parts import CODE, REASONS, Parts, configured, either
from streamgauge.dialects._live_usage import Used
from streamgauge.dialects._parameters import text
from streamgauge.dialects._turns import SENT, interrupted, opening, parent_of
from streamgauge.signals import RUN, SESSION, TEXT, TOOL_CALL, Chunk, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Aside, Outcome

__all__ = ["GO_AWAY", "GeminiLive"]

GO_AWAY: Final = "gemini.go_away"
"""The span event by which the service says that it will close the connection soon."""

_STOP: Final = "stop"
_OTHER_REASONS: Final = {"MALFORMED_FUNCTION_CALL": "error", "NEED_MORE_INPUT": "NEED_MORE_INPUT"}
_FILTER: Final = "content_filter"
_UNSPECIFIED: Final = "TURN_COMPLETE_REASON_UNSPECIFIED"
_AUDIO: Final = "AUDIO"


class GeminiLive(Dialect):
    """The turns of one session."""

    name = "gemini-live"
    system = "Gemini Live API (google-genai 3.4)"
    terminal = True
    only_waits_between_chunks = True
    provider_name = "gcp.gemini"
    opens_runs = True
    sockets = (r"[./]BidiGenerateContent(Constrained)?$",)
    events: ClassVar[Mapping[str, str]] = {
        "setup": "the session's model and parameters, for each run (from the caller)",
        "clientContent": "a run, where it is complete; the turn that is then interrupted was so by it "
        "(from the caller)",
        "realtimeInput.audio": "nothing; a run may begin with the last (from the caller)",
        "realtimeInput.mediaChunks": "the same (from the caller)",
        "realtimeInput.video": "nothing (from the caller)",
        "realtimeInput.text": "a run, where none is open (from the caller)",
        "realtimeInput.activityStart": "nothing (from the caller)",
        "realtimeInput.activityEnd": "a run, where none is open (from the caller)",
        "realtimeInput.audioStreamEnd": "the time at which a run may begin (from the caller)",
        "toolResponse": "the end of the tool calls; a run, where none is open (from the caller)",
        "contextUpdate": "nothing (from the caller)",
        "setupComplete": "the session's id",
        "serverContent.modelTurn": f"chunks of text, reasoning, `audio`, `image`, `video`; the tool {CODE}",
        "serverContent.outputTranscription": "a chunk of text",
        "serverContent.inputTranscription": "the time at which a run may begin",
        "serverContent.interimInputTranscription": "nothing",
        "serverContent.generationComplete": "the time at which the run ends, once its turn is complete",
        "serverContent.turnComplete": "finish reason, usage, the end of the run",
        "serverContent.turnCompleteReason": "the finish reason: `error`, or `content_filter`",
        "serverContent.interrupted": "the run is `cancelled` when its turn is complete, where it was being generated",
        "serverContent.groundingMetadata": "nothing",
        "serverContent.urlContextMetadata": "nothing",
        "serverContent.waitingForInput": "nothing",
        "serverContent.interactionStatus": "nothing",
        "toolCall": "chunks of tool-call arguments, and the start of each tool",
        "toolCallCancellation": "the end of those tools, `cancelled`",
        "usageMetadata": "usage, told when the turn is complete, or has ended",
        "goAway": f"the span event {GO_AWAY} of the session",
        "sessionResumptionUpdate": "nothing",
        "voiceActivityDetectionSignal": "the end of speech is the time at which a run may begin",
        "voiceActivity": "the same",
        "error": "the end of the run, `failed`",
    }

    __slots__ = (
        "_cancelled", "_early", "_generated", "_how", "_mark", "_open", "_parts", "_setup", "_sound",
        "_spoke", "_tools", "_used", "_waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._setup: dict[str, Any] = {"operation": semconv.GENERATE_CONTENT}
        self._waiting: tuple[int, str] | None = None  # when the caller asked for the turn after the open one, and where
        self._mark = 0  # when speech was last heard of since the last turn
        self._sound = 0  # when sound was last sent
        self._open = False
        self._begin()

    def _begin(self) -> None:
        self._spoke = False  # the model has
        self._early = False  # what waits was asked before it had: one answer may be to both
        self._generated: int | None = None  # when all that the turn has was generated
        self._cancelled: int | None = None  # when it was interrupted
        self._how = ""  # by what it would be
        self._used = Used()
        self._tools: set[str] = set()
        self._parts = Parts()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        told: dict[str, Any] = {"operation": semconv.GENERATE_CONTENT}
        if "aiplatform" in path:
            told["provider_name"] = "gcp.vertex_ai"
        return told

    def feed(self, data: Any, at: int) -> Signals:
        sent = data.__class__ is Aside
        if sent and data.name != SENT:
            return NOTHING
        message = loaded(data.data.get("data") if sent else data)
        if message.__class__ is not dict:
            return NOTHING
        signals: list[Signal] = []
        if sent:
            self._sent(message, at, signals)
        else:
            self._received(message, at, signals)
        return signals[0] if len(signals) == 1 and signals[0].__class__ is Chunk else signals

    def finish(self, at: int) -> Signals:
        return self.untold(at)

    def untold(self, at: int) -> Signals:
        """What was used; and the end of a turn that was generated to its end, or interrupted."""
        signals: list[Signal] = []
        if self._open:
            if self._generated is not None or self._cancelled is not None:
                self._end(at, signals)
            else:
                signals += self._used.told(at)
        return signals

    # The caller's side ----------------------------------------------------------------------------------------

    def _sent(self, message: dict[str, Any], at: int, signals: list[Signal]) -> None:
        setup = message.get("setup")
        if setup.__class__ is dict:
            self._configured(setup, at, signals)
        content = either(message, "clientContent", "client_content")
        if content is not None:
            if self._open:
                self._how = "input"
            if either(content, "turnComplete", "turn_complete") is True:
                self._request(at, parent_of(message), signals)
        heard = either(message, "realtimeInput", "realtime_input")
        if heard is not None:
            self._heard(heard, parent_of(message), at, signals)
        answers = either(message, "toolResponse", "tool_response")
        if answers is not None:
            self._answered(answers, at, signals)

    def _configured(self, setup: dict[str, Any], at: int, signals: list[Signal]) -> None:
        config = either(setup, "generationConfig", "generation_config")
        attributes = configured(config)
        modalities = either(config, "responseModalities", "response_modalities")
        if modalities.__class__ is list and _AUDIO in modalities:
            attributes[semconv.GEN_AI_OUTPUT_TYPE] = "speech"
        model = text(setup, "model").rpartition("/")[2]
        self._setup = {"operation": semconv.GENERATE_CONTENT, "model": model, "attributes": attributes}
        if model:
            signals.append(Noted(SESSION, at, {semconv.GEN_AI_REQUEST_MODEL: model}))

    def _heard(self, heard: Any, parent: str, at: int, signals: list[Signal]) -> None:
        if either(heard, "audio", "audio") is not None or either(heard, "mediaChunks", "media_chunks") is not None:
            self._sound = at
        if either(heard, "audioStreamEnd", "audio_stream_end") is True:
            self._mark = at
        if field(heard, "text") or either(heard, "activityEnd", "activity_end") is not None:
            if self._open:
                self._mark = at
            else:
                self._request(at, parent, signals)
        elif either(heard, "activityStart", "activity_start") is not None:
            self._mark = 0

    def _request(self, at: int, parent: str, signals: list[Signal]) -> None:
        """The caller's turn is complete."""
        if not self._open:
            self._start(at, signals, parent)
        elif self._waiting is None:
            self._waiting, self._early = (at, parent), not self._spoke

    def _answered(self, answers: Any, at: int, signals: list[Signal]) -> None:
        found = either(answers, "functionResponses", "function_responses")
        for each in found if isinstance(found, list) else ():
            key = _key(each)
            if key in self._tools:
                self._tools.discard(key)
                result = json_text(field(each, "response"))
                if result:
                    signals.append(Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: result}))
                signals.append(Closed(key, at))
        if not self._open:
            self._start(at, signals)
        else:
            self._used.again(at)
            self._generated = None

    # The service's side ---------------------------------------------------------------------------------------

    def _received(self, message: dict[str, Any], at: int, signals: list[Signal]) -> None:
        if self._spoke and self._generated is None and self._cancelled is None and len(message) == 1:
            content = message.get("serverContent")
            if content.__class__ is dict and len(content) == 1 and "modelTurn" in content:  # more of the same, mostly
                parts = field(content["modelTurn"], "parts")
                for part in parts if isinstance(parts, list) else ():
                    self._parts.read(part, at, signals, plain=False)
                return
        ready = either(message, "setupComplete", "setup_complete")
        id_ = word(either(ready, "sessionId", "session_id"))
        if id_:
            signals.append(Noted(SESSION, at, {semconv.GEN_AI_CONVERSATION_ID: id_}))
        activity = either(message, "voiceActivity", "voice_activity")
        signal = either(message, "voiceActivityDetectionSignal", "voice_activity_detection_signal")
        if (
            word(either(activity, "voiceActivityType", "voice_activity_type")).endswith("ACTIVITY_END")
            or word(either(signal, "vadSignalType", "vad_signal_type")) == "VAD_SIGNAL_TYPE_EOS"
        ):
            self._mark = at
        if either(message, "goAway", "go_away") is not None:
            signals.append(Noted(SESSION, at, {}, GO_AWAY))
        content = either(message, "serverContent", "server_content")
        calls = either(message, "toolCall", "tool_call")
        usage = either(message, "usageMetadata", "usage_metadata")
        if calls is not None:
            self._called(calls, at, signals)
        cancelled = either(message, "toolCallCancellation", "tool_call_cancellation")
        ids = field(cancelled, "ids")
        for each in ids if isinstance(ids, list) else ():
            key = f"tool:{word(each)}"
            if key in self._tools:
                self._tools.discard(key)
                signals.append(Closed(key, at, Outcome.CANCELLED))
        if content is not None:
            self._content(content, usage, at, signals)
        elif usage is not None and self._open:
            self._used.last = usage
        error = message.get("error") or (message if "code" in message and "message" in message else None)
        if error and self._open:
            signals += self._used.told(at)
            closed = failure(at, error)
            closed.error_type = word(field(error, "status")) or closed.error_type
            signals.append(closed)
            self._over(signals)

    def _content(self, content: Any, usage: Any, at: int, signals: list[Signal]) -> None:
        parts = field(either(content, "modelTurn", "model_turn"), "parts")
        said = word(field(either(content, "outputTranscription", "output_transcription"), "text"))
        heard = word(field(either(content, "inputTranscription", "input_transcription"), "text"))
        if parts:
            self._speaks(at, signals)
            for part in parts if isinstance(parts, list) else ():
                self._parts.read(part, at, signals, plain=False)
        if said and self._open:  # it may come late: it begins no turn, and ends none
            self._said(at)
            signals.append(Chunk(RUN, at, TEXT, said))
        if heard and not (self._open and self._spoke and self._cancelled is None):
            self._mark = at  # else it is about the question that is being answered
        if not self._open:
            return
        if usage is not None:
            self._used.last = usage
        if either(content, "generationComplete", "generation_complete") is True and self._cancelled is None:
            self._generated = at
        if field(content, "interrupted") is True and self._generated is None:
            self._cancelled = at
        if either(content, "turnComplete", "turn_complete") is True:
            self._finished(content, at, signals)
            self._end(at, signals)

    def _speaks(self, at: int, signals: list[Signal]) -> None:
        """Something that the model says now. Where the turn before is only waiting for its last word, that was it."""
        if self._open and (self._cancelled is not None or (self._generated is not None and self._waiting is not None)):
            self._end(at, signals)
        if not self._open:
            self._start(self._mark or self._sound or at, signals)
        self._said(at)

    def _said(self, at: int) -> None:
        self._spoke = True
        if self._generated is not None:
            self._generated = at

    def _called(self, calls: Any, at: int, signals: list[Signal]) -> None:
        self._speaks(at, signals)
        found = either(calls, "functionCalls", "function_calls")
        for each in found if isinstance(found, list) else ():
            name, id_ = word(field(each, "name")), word(field(each, "id"))
            arguments = json_text(field(each, "args"))
            facts = {semconv.GEN_AI_TOOL_CALL_ID: id_, semconv.GEN_AI_TOOL_CALL_ARGUMENTS: arguments}
            known = {key: value for key, value in facts.items() if value}
            if arguments:
                signals.append(Chunk(RUN, at, TOOL_CALL, arguments))
            self._tools.add(_key(each))
            signals.append(Opened(_key(each), at, semconv.EXECUTE_TOOL, name, RUN, known))

    # Turns ----------------------------------------------------------------------------------------------------

    def _start(self, at: int, signals: list[Signal], parent: str = RUN) -> None:
        self._begin()
        self._open = True
        self._mark = self._sound = 0
        signals.append(opening(at, self._setup, parent))

    def _finished(self, content: Any, at: int, signals: list[Signal]) -> None:
        """Why the turn is complete."""
        reason = word(either(content, "turnCompleteReason", "turn_complete_reason"))
        if self._cancelled is None or reason:
            told = _STOP if reason in ("", _UNSPECIFIED) else REASONS.get(reason, _OTHER_REASONS.get(reason, _FILTER))
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (told,)}))

    def _end(self, at: int, signals: list[Signal]) -> None:
        signals += self._used.told(at)
        if self._cancelled is not None:
            signals += interrupted(self._cancelled, self._how or "barge_in")
        else:
            signals.append(Closed(RUN, at if self._generated is None else self._generated))
        self._over(signals)

    def _over(self, signals: list[Signal]) -> None:
        waiting, self._waiting = self._waiting, None
        if self._early and self._cancelled is None:
            waiting = None
        self._open = False
        self._begin()
        if waiting is not None:
            self._start(waiting[0], signals, waiting[1])


def _key(call: Any) -> str:
    return f"tool:{word(field(call, 'id')) or word(field(call, 'name'))}"
