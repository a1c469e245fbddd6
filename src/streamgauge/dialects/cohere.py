"""Cohere chat, version 2: the events of a streamed answer, or the whole answer, in; one model call out.

In go event-stream events, their JSON, its `dict` form, or the SDK's own objects. The answer does not name its model.

Cohere tells tokens twice: those that were read and written, and those that are billed. The conventions want the billed
ones. Tokens that came from a cache are counted among those that were read: where they are more than the billed input,
they are not told.

Source: cohere 7.3, `v2/types/v2chat_stream_response.py`, `v2/types/v2chat_response.py`, `v2/raw_client.py`,
`types/chat_finish_reason.py`, `types/usage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, failure, first, frame, output_type, plain_answer, requested, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import parameters, text
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Signal, Signals, Usage
from streamgauge.wire import Granularity, ServerSentEvent

__all__ = ["Cohere"]

_PARAMETERS: Final = {
    "frequency_penalty": semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY,
    "k": semconv.GEN_AI_REQUEST_TOP_K,
    "max_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "p": semconv.GEN_AI_REQUEST_TOP_P,
    "presence_penalty": semconv.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "seed": semconv.GEN_AI_REQUEST_SEED,
    "stop_sequences": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
}
_REASONS: Final = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_call",
    "ERROR": "error",
    "TIMEOUT": "error",
}
_FAILURES: Final = {"ERROR": "error", "TIMEOUT": "timeout"}
"""Finish reasons of an answer that failed: the error's type."""


class Cohere(Dialect):
    """One answer of `/v2/chat`."""

    name = "cohere"
    system = "Cohere API v2 chat (cohere 7.3)"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.TOKEN
    provider_name = "cohere"
    framing = "sse"
    alike = ("text",)
    paths = (r"/v2/chat$",)
    events: ClassVar[Mapping[str, str]] = {
        "message-start": "the answer's id",
        "content-start": "a chunk, where it has text already",
        "content-delta": "a chunk of text, or of reasoning where it is thinking",
        "content-end": "nothing",
        "tool-plan-delta": "a chunk of reasoning",
        "tool-call-start": "the event of a tool that is asked for; a chunk, where it has arguments already",
        "tool-call-delta": "a chunk of arguments",
        "tool-call-end": "nothing",
        "citation-start": "nothing",
        "citation-end": "nothing",
        "message-end": "finish reason, tokens, the end of the run: `failed` where the reason is an error or a time-out",
        "debug": "nothing",
    }

    __slots__ = ("_named", "_over")

    def __init__(self) -> None:
        super().__init__()
        self._named = False
        self._over = False

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        attributes = parameters(body, _PARAMETERS)
        if isinstance(body, Mapping):
            attributes |= output_type(body.get("response_format"))
        return {
            "operation": semconv.CHAT,
            "model": text(body, "model"),
            "attributes": attributes | plain_answer(body),
        }

    def feed(self, data: Any, at: int) -> Signals:
        event = data
        if data.__class__ is ServerSentEvent or isinstance(data, str | bytes | bytearray):
            event = loaded(data)
        if self._over:
            return NOTHING
        type_ = event.get("type") if event.__class__ is dict else field(event, "type")
        if type_ == "content-delta":
            # What a stream is made of.
            try:
                text = event["delta"]["message"]["content"]["text"]
                if text.__class__ is str and text:
                    return Chunk(RUN, at, TEXT, text)
            except Exception:
                pass  # thinking, or an object
        signals: list[Signal] = []
        read = _EVENTS.get(type_) if type_.__class__ is str else None
        if read is not None:
            read(self, event, at, signals)
        elif type_ is None:
            self._untyped(event, at, signals, data)
        return signals

    def _untyped(self, event: Any, at: int, signals: list[Signal], data: Any) -> None:
        """A whole answer, or an error."""
        message = field(event, "message")
        error = field(event, "error")
        if error or message.__class__ is str or (data.__class__ is ServerSentEvent and data.type == "error"):
            self._end(failure(at, error or event or frame(data)), signals)
        elif message is not None:
            self._name(event, at, signals)
            self._calls(message, at, signals, whole=True)
            self._ended(event, at, signals)

    # Events ---------------------------------------------------------------------------------------------------

    def _name(self, event: Any, at: int, signals: list[Signal]) -> None:
        id_ = word(field(event, "id"))
        if id_ and not self._named:
            self._named = True
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_ID: id_}))

    def _content(self, event: Any, at: int, signals: list[Signal]) -> None:
        content = field(_message(event), "content")
        pieces = ((REASONING, word(field(content, "thinking"))), (TEXT, word(field(content, "text"))))
        signals.extend(Chunk(RUN, at, kind, text) for kind, text in pieces if text)

    def _plan(self, event: Any, at: int, signals: list[Signal]) -> None:
        plan = word(field(_message(event), "tool_plan"))
        if plan:
            signals.append(Chunk(RUN, at, REASONING, plan))

    def _tool_call(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._calls(_message(event), at, signals)

    def _calls(self, message: Any, at: int, signals: list[Signal], *, whole: bool = False) -> None:
        """In a stream they come one by one, the first piece of each with its name."""
        calls = field(message, "tool_calls")
        for call in calls if isinstance(calls, list | tuple) else (calls,):
            function = field(call, "function")
            name, arguments = word(field(function, "name")), word(field(function, "arguments"))
            if name:
                signals.append(requested(at, name, word(field(call, "id")), arguments if whole else None))
            if arguments and not whole:
                signals.append(Chunk(RUN, at, TOOL_CALL, arguments))

    def _message_end(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._name(event, at, signals)
        self._ended(field(event, "delta"), at, signals)

    def _ended(self, answer: Any, at: int, signals: list[Signal]) -> None:
        reason = word(field(answer, "finish_reason"))
        if reason:
            reasons = (_REASONS.get(reason, reason),)
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: reasons}))
        usage = _usage(field(answer, "usage"), at)
        if usage is not None:
            signals.append(usage)
        error = field(answer, "error")
        if error or reason in _FAILURES:
            closed = failure(at, error)
            closed.error_type = closed.error_type or _FAILURES.get(reason, "")
        else:
            closed = Closed(RUN, at)
        self._end(closed, signals)

    def _end(self, closed: Closed, signals: list[Signal]) -> None:
        self._over = True
        signals.append(closed)


def _message(event: Any) -> Any:
    return field(field(event, "delta"), "message")


def _usage(usage: Any, at: int) -> Usage | None:
    """The tokens of an answer; None where it tells none."""
    billed, used = field(usage, "billed_units"), field(usage, "tokens")
    taken = first(count(field(billed, "input_tokens")), count(field(used, "input_tokens")))
    given = first(count(field(billed, "output_tokens")), count(field(used, "output_tokens")))
    if not taken and not given:
        return None
    cached = count(field(usage, "cached_tokens"))
    return Usage(RUN, at, taken, given, cached if cached is not None and cached <= (taken or 0) else None)


_EVENTS: Final[Mapping[str, Callable[[Cohere, Any, int, list[Signal]], None]]] = {
    "message-start": Cohere._name,
    "content-start": Cohere._content,
    "content-delta": Cohere._content,
    "tool-plan-delta": Cohere._plan,
    "tool-call-start": Cohere._tool_call,
    "tool-call-delta": Cohere._tool_call,
    "message-end": Cohere._message_end,
}
