"""OpenAI Responses over a WebSocket: `response.create` from the caller, and the events of the responses.

What an event tells is read as `openai_responses` reads it, so that a response is told as over server-sent events; each
is a run of its own, from its `response.create` to its last event. Responses of several lanes (`stream_id`) run side by
side: see `_lanes`. A response that the caller steers, and that so makes room for the next, is `cancelled`; the next
begins there.

An `error` is about the oldest response of its lane; but one with a `status` where several wait is the refusal of the
newest.

Source: openai 3.54.0, `types/responses/responses_client_event.py`, `responses_server_event.py`,
`response_steer_event.py`; the trace context in `client_metadata` as Codex sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, loaded
from streamgauge.dialects._lanes import Lane, Lanes
from streamgauge.dialects._parameters import text
from streamgauge.dialects._response_events import ResponseEvents
from streamgauge.dialects._turns import SENT, interrupted, opening, parent_of
from streamgauge.signals import RUN, Chunk, Closed, Signal, Signals
from streamgauge.wire import Aside

__all__ = ["OpenAIResponsesSocket"]

_BEGINNINGS: Final = frozenset({"response.created", "response.queued"})


class OpenAIResponsesSocket(Dialect):
    """The responses of one connection."""

    name = "openai-responses-socket"
    system = "OpenAI Responses API over a WebSocket (openai 3.54)"
    terminal = True
    only_waits_between_chunks = True
    provider_name = "openai"
    opens_runs = True
    sockets = (r"/responses$",)
    events: ClassVar[Mapping[str, str]] = {
        "response.create": "a run (from the caller)",
        "response.steer": "nothing; the response that ends by it was interrupted (from the caller)",
        **ResponseEvents.events,
        "response.created": "the response's id, model and conversation; a run, where none was asked for",
        "response.incomplete": "the same; the finish reason says why: `steered` is the end of the run, `cancelled`",
    }

    __slots__ = ("_ended", "_lanes", "_last")

    def __init__(self) -> None:
        super().__init__()
        self._lanes = Lanes()
        self._ended = 0  # when a steered response made room for the next
        self._last: dict[str, Any] = {}  # what the caller asked for last

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        return ResponseEvents.asked(path, {**body, "stream": True} if isinstance(body, Mapping) else None)

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            return self._sent(loaded(data.data.get("data")), at) if data.name == SENT else NOTHING
        event = loaded(data)
        if event.__class__ is not dict:
            return NOTHING
        lanes = self._lanes
        lane = lanes.live
        if lane is None or not lanes.alone or text(event, "stream_id") != lane.key:
            return self._apart(event, at)
        signals = lane.decoder.feed(event, at)
        if signals.__class__ is Chunk and not lane.mute:
            return signals
        return lanes.tell(lane, self._cut(event, signals, at))

    def untold(self, at: int) -> Signals:
        lane = self._lanes.live
        return self._lanes.tell(lane, lane.decoder.untold(at)) if lane is not None else NOTHING

    def finish(self, at: int) -> Signals:
        return self.untold(at)

    def _sent(self, message: Any, at: int) -> Signals:
        if text(message, "type") != "response.create":
            return NOTHING
        self._ended, self._last = 0, self.asked("", message)
        return self._open(at, text(message, "stream_id"), self._last, parent_of(message))

    def _open(self, at: int, key: str, told: dict[str, Any], parent: str = RUN) -> list[Signal]:
        decoder = ResponseEvents()
        decoder.anchor = self.anchor
        return self._lanes.open(Lane(key, decoder, opening(at, {"operation": semconv.CHAT, **told}, parent)))

    def _apart(self, event: dict[str, Any], at: int) -> Signals:
        """An event where several responses are open, or none."""
        key, type_ = text(event, "stream_id"), text(event, "type")
        own = [lane for lane in self._lanes if lane.key == key]
        if not own:
            if type_ not in _BEGINNINGS:
                return NOTHING
            # A response that follows by itself has the settings of the one before.
            told = {**self._last, "conversation_id": ""} if self._ended else {}
            since, self._ended = self._ended or at, 0
            opened = self._open(since, key, told)
            own = [lane for lane in self._lanes if lane.key == key]
            return [*opened, *self._lanes.tell(own[0], own[0].decoder.feed(event, at))] if own else opened
        refused = type_ == "error" and "status" in event
        lane = own[-1] if refused else own[0]
        return self._lanes.tell(lane, self._cut(event, lane.decoder.feed(event, at), at))

    def _cut(self, event: dict[str, Any], signals: Signals, at: int) -> Signals:
        """What it tells; a response that was steered was interrupted."""
        if text(event, "type") == "response.incomplete":
            response = event.get("response")
            details = response.get("incomplete_details") if response.__class__ is dict else None
            if text(details, "reason") == "steered":
                self._ended = at
                return [*(each for each in signals if each.__class__ is not Closed), *interrupted(at, "input")]
        return signals
