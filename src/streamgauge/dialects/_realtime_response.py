"""One response of OpenAI's Realtime API: the events that are about it in, what its run tells out.

Source: openai 3.54.0, `types/realtime/realtime_server_event.py`, `realtime_response.py`, `realtime_response_status.py`,
`realtime_response_usage.py`; the names of the beta from `types/beta/realtime/realtime_server_event.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import AUDIO, count, failure, word
from streamgauge.dialects._audio_tokens import audio_tokens
from streamgauge.dialects._dialect import NOTHING, field
from streamgauge.dialects._response_items import Items
from streamgauge.signals import RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Signal, Signals, Usage
from streamgauge.wire import Outcome

__all__ = ["DELTAS", "READ", "Response"]

DELTAS: Final[Mapping[str, str]] = {
    "response.output_text.delta": TEXT,
    "response.text.delta": TEXT,
    "response.output_audio_transcript.delta": TEXT,
    "response.audio_transcript.delta": TEXT,
    "response.output_audio.delta": AUDIO,
    "response.audio.delta": AUDIO,
    "response.function_call_arguments.delta": TOOL_CALL,
    "response.mcp_call_arguments.delta": TOOL_CALL,
}
"""Events that are one more piece of what the model makes: its kind. Each in the words of now, and of the beta."""
_INCOMPLETE: Final = {"max_output_tokens": "length"}
_INTERRUPTED: Final = {"turn_detected": "barge_in", "client_cancelled": "cancel"}


class Response:
    """What is known of one response."""

    __slots__ = ("_items", "asked_by", "automatic", "created", "how", "id")

    def __init__(self, asked_by: str = "", *, automatic: bool = False) -> None:
        self.asked_by = asked_by
        """The `event_id` of the caller's event."""
        self.automatic = automatic
        """The service makes it by itself, as somebody has spoken."""
        self.created = False
        """`response.created` was read."""
        self.id = ""
        self.how = ""
        """What the caller has done to it since."""
        self._items = Items()

    def feed(self, event: Mapping[str, Any], at: int) -> Signals:
        type_ = event["type"]
        kind = DELTAS.get(type_)
        if kind is not None:
            text = event.get("delta")
            return Chunk(RUN, at, kind, text) if text.__class__ is str and text else NOTHING
        read = READ.get(type_)
        if read is None:
            return NOTHING
        signals: list[Signal] = []
        read(self, event, at, signals)
        return signals

    def _created(self, event: Any, at: int, signals: list[Signal]) -> None:
        self.created = True
        self._named(event.get("response"), at, signals)

    def _named(self, response: Any, at: int, signals: list[Signal]) -> None:
        id_ = word(field(response, "id"))
        if not id_ or id_ == self.id:
            return
        self.id = id_
        facts = {semconv.GEN_AI_RESPONSE_ID: id_}
        conversation = word(field(response, "conversation_id"))
        if conversation:
            facts[semconv.GEN_AI_CONVERSATION_ID] = conversation
        signals.append(Noted(RUN, at, facts))

    def _added(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.added(event.get("item"), at, signals)

    def _done(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.done(event.get("item"), at, signals)

    def _runs(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.runs(word(event.get("item_id")), at, signals)

    def _ran(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.ran(word(event.get("item_id")), at, signals)

    def _ran_in_vain(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.ran(word(event.get("item_id")), at, signals, "tool_error")

    def _over(self, event: Any, at: int, signals: list[Signal]) -> None:
        response = event.get("response")
        self._named(response, at, signals)
        output = field(response, "output")
        for item in output if isinstance(output, list) else ():
            self._items.ask(item, at, signals)
        status, details = word(field(response, "status")), field(response, "status_details")
        reason = word(field(details, "reason"))
        finish = ""
        if status in ("completed", ""):
            finish = "tool_call" if self._items.asked else "stop"
        elif status == "incomplete":
            finish = _INCOMPLETE.get(reason, reason)
        if finish:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (finish,)}))
        _used(field(response, "usage"), at, signals)
        if status == "failed":
            signals.append(failure(at, field(details, "error")))
        elif status == "cancelled":
            by = _INTERRUPTED.get(reason) or self.how
            if by:
                signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_INTERRUPTED_BY: by}))
            signals.append(Closed(RUN, at, Outcome.CANCELLED))
        else:
            signals.append(Closed(RUN, at))


def _used(usage: Any, at: int, signals: list[Signal]) -> None:
    taken, given = count(field(usage, "input_tokens")), count(field(usage, "output_tokens"))
    if not taken and not given:
        return
    inward, outward = field(usage, "input_token_details"), field(usage, "output_token_details")
    signals.append(Usage(RUN, at, taken, given, count(field(inward, "cached_tokens"))))
    signals += audio_tokens(field(inward, "audio_tokens"), field(outward, "audio_tokens"), at)


READ: Final[Mapping[str, Callable[[Response, Any, int, list[Signal]], None]]] = {
    "response.created": Response._created,
    "response.output_item.added": Response._added,
    "response.output_item.done": Response._done,
    "response.mcp_call_arguments.done": Response._runs,
    "response.mcp_call.in_progress": Response._runs,
    "response.mcp_call.completed": Response._ran,
    "response.mcp_call.failed": Response._ran_in_vain,
    "response.done": Response._over,
}
