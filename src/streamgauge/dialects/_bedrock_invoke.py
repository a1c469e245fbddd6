"""What Bedrock's InvokeModel hands through: another API's answer, in the form that its model's maker gave it.

Of Anthropic's models it is the Messages API, and read as that; of Amazon's Nova it is Converse's own events, which are
Bedrock's to read. All others are read for what most of them have: a text, a finish reason. Every stream's last chunk
has Bedrock's own counts, and with these it is complete.

Source: the Bedrock user guide, "Inference request parameters and response fields for foundation models"; anthropic
2.12, `lib/bedrock/_stream_decoder.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, word
from streamgauge.dialects._anthropic_messages import Messages
from streamgauge.dialects._dialect import NOTHING, field, loaded
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Signal, Signals, Usage

__all__ = ["Invoked", "payload"]

_METRICS: Final = "amazon-bedrock-invocationMetrics"
_TEXTS: Final = ("generation", "outputText", "completion", "text")
"""Where Meta, Amazon's Titan, older models of Anthropic's, and Cohere have it."""
_REASONS: Final = ("stop_reason", "completionReason", "finish_reason")
_WORDS: Final[Mapping[str, str]] = {
    "FINISH": "stop",
    "FINISHED": "stop",
    "COMPLETE": "stop",
    "LENGTH": "length",
    "MAX_TOKENS": "length",
    "CONTENT_FILTERED": "content_filter",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_calls": "tool_call",
}
"""Finish reasons that the conventions have another word for."""


def payload(part: Any) -> Any:
    """The JSON value in a chunk's `bytes`: base64 on the wire, bytes in the SDK. None where there is none."""
    data = field(part, "bytes")
    if isinstance(data, str):
        try:
            data = base64.b64decode(data)
        except ValueError:
            return None
    return loaded(data) if isinstance(data, bytes | bytearray) else None


class Invoked:
    """One answer's decoder."""

    __slots__ = ("_finished", "_messages", "_over")

    def __init__(self) -> None:
        self._messages: Messages | None = None
        self._finished = False  # the finish reason has come
        self._over = False

    @property
    def over(self) -> bool:
        """The run was closed."""
        return self._over if self._messages is None else self._messages.over

    def feed(self, event: Any, at: int) -> Signals:
        """Read a chunk's JSON value."""
        if self._messages is None and word(field(event, "type")):
            self._messages = Messages()
        if self._messages is not None:
            return self._messages.feed(event, at)
        if self._over or event.__class__ is not dict:
            return NOTHING
        signals: list[Signal] = []
        place = _place(event)
        piece = next((text for text in (word(field(place, name)) for name in _TEXTS) if text), "")
        if piece:
            signals.append(Chunk(RUN, at, TEXT, piece))
        self._told(place, event, at, signals)
        metrics = event.get(_METRICS)
        if metrics is not None:
            signals += _used(metrics, at)
            signals += self.finish(at, complete=True)
        return signals

    def plain(self, body: Any, at: int) -> Signals:
        """Read a plain answer."""
        if word(field(body, "type")):
            return Messages().feed(body, at)
        signals: list[Signal] = []
        self._told(_place(body), body, at, signals)
        return (*signals, *self.finish(at, complete=True))

    def finish(self, at: int, *, complete: bool = False) -> Signals:
        """The source has ended, or the answer is complete."""
        if self._messages is not None:
            return self._messages.finish(at)
        if self._over or not (complete or self._finished):
            return NOTHING
        self._over = True
        return (Closed(RUN, at),)

    def _told(self, place: Any, event: Any, at: int, signals: list[Signal]) -> None:
        reasons = [word(field(data, name)) for data in (place, event) for name in _REASONS]
        reason = next((reason for reason in reasons if reason), "")
        if reason and not self._finished:
            self._finished = True
            reasons = [_WORDS.get(reason, reason)]
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: tuple(reasons)}))


def _place(event: Any) -> Any:
    """Where an answer's text is: in the first of its `outputs` (Mistral), `results` (Titan), or `choices` (the form of
    chat completions), or in itself."""
    for name in ("outputs", "results", "choices"):
        several = field(event, name)
        if isinstance(several, list | tuple) and several:
            first = several[0]
            delta = field(first, "delta") or field(first, "message")
            if delta is None:
                return first
            return {"text": field(delta, "content"), "finish_reason": field(first, "finish_reason")}
    return event


def _used(metrics: Any, at: int) -> Signals:
    taken, given = count(field(metrics, "inputTokenCount")), count(field(metrics, "outputTokenCount"))
    read = count(field(metrics, "cacheReadInputTokenCount"))
    write = count(field(metrics, "cacheWriteInputTokenCount"))
    if taken is None and given is None:
        return NOTHING
    if taken is not None:
        taken += (read or 0) + (write or 0)
    return (Usage(RUN, at, taken, given, read, write),)
