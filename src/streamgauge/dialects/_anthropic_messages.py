"""What Anthropic's Messages API streams, for the dialects that carry it.

The SDK's message streams repeat what came, in events of their own and as snapshots on others: these copies are passed
over. What a tool on the server's side is asked is generated before it runs: its span begins when its block is complete,
and ends with the block of its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, failure, json_text, word
from streamgauge.dialects._block_calls import Call, Calls
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import parameters
from streamgauge.signals import (
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import Outcome, ServerSentEvent

__all__ = ["COMPACTION", "FINISH_REASONS", "Messages", "parameters_of"]

COMPACTION: Final = "compaction"
"""The kind of a chunk that is the summary of what the conversation was so far."""
FINISH_REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
    "compaction": "compaction",
}
"""Those that the conventions have a word for. `pause_turn` stays as it is: the server's tools have not finished."""

_PARAMETERS: Final = {
    "max_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "top_p": semconv.GEN_AI_REQUEST_TOP_P,
    "top_k": semconv.GEN_AI_REQUEST_TOP_K,
    "stop_sequences": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
}
_TOKENS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
# Delta type: (where its text is, what kind of chunk it is).
_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "text_delta": ("text", TEXT),
    "thinking_delta": ("thinking", REASONING),
    "input_json_delta": ("partial_json", TOOL_CALL),
    "compaction_delta": ("content", COMPACTION),
}
# Of a block that already holds some when it starts.
_BLOCKS: Final[Mapping[str, tuple[str, str]]] = {
    "text": ("text", TEXT),
    "thinking": ("thinking", REASONING),
    COMPACTION: ("content", COMPACTION),
}
_CALLS: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


def parameters_of(body: Any) -> dict[str, Any]:
    """The attributes that a request's body tells."""
    attributes = parameters(body, _PARAMETERS)
    output = field(body, "output_config")
    effort = _text(output, "effort")
    if effort:
        attributes[semconv.GEN_AI_REQUEST_REASONING_LEVEL] = effort
    if field(output, "format") or field(body, "output_format"):
        attributes[semconv.GEN_AI_OUTPUT_TYPE] = "json"
    return attributes


class Messages(Dialect):
    """One message's decoder. A subclass says whose API it is."""

    terminal = True
    only_waits_between_chunks = True
    framing = "sse"
    alike = ("text", "thinking")

    __slots__ = ("_calls", "_stopped", "_tokens", "over")

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, int] = {}  # the counts so far, in the API's words
        self._calls = Calls()
        self._stopped = False  # the finish reason has come
        self.over = False
        """The run was closed."""

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is ServerSentEvent:
            read = loaded(data)
            if data.type == "error" and read.__class__ is not dict:
                return self._end(at, Outcome.FAILED, "", data.data)
            data = read
        try:
            # The SDK's objects have their fields in a dict, too.
            fields = data if data.__class__ is dict else data.__dict__
            if fields["type"] == "content_block_delta":
                delta = fields["delta"]
                if delta.__class__ is not dict:
                    delta = delta.__dict__
                if delta["type"] == "text_delta" and not self.over:
                    piece = delta["text"]
                    if piece.__class__ is str and piece:
                        return Chunk(RUN, at, TEXT, piece)
        except Exception:
            pass  # all else
        data = loaded(data)
        if self.over or data is None:
            return NOTHING
        kind = field(data, "type")
        handler = _HANDLERS.get(kind) if kind.__class__ is str else None
        if handler is not None:
            return handler(self, data, at)
        if kind is None and field(data, "error"):  # a gateway's own
            return self._error(data, at)
        return NOTHING

    def finish(self, at: int) -> Signals:
        # `message_stop` tells nothing more.
        return self._end(at) if self._stopped and not self.over else NOTHING

    untold = finish

    def used(self, usage: Any, at: int) -> Signals:
        """What was used up to now. A count that is left out stays what it was: not every event has them all."""
        tokens = self._tokens
        for name in _TOKENS:
            found = count(field(usage, name))
            if found is not None and (found or name not in tokens):  # some services end with a zero
                tokens[name] = found
        thinking = count(field(field(usage, "output_tokens_details"), "thinking_tokens"))
        if thinking is not None:
            tokens["thinking_tokens"] = thinking
        if not tokens:
            return NOTHING
        known = tokens.get
        return (
            Usage(
                RUN,
                at,
                sum(known(name, 0) for name in _TOKENS[:3]) if tokens.keys() & _TOKENS[:3] else None,
                known("output_tokens"),
                known("cache_read_input_tokens"),
                known("cache_creation_input_tokens"),
                known("thinking_tokens"),
            ),
        )

    def _end(
        self, at: int, outcome: Outcome = Outcome.COMPLETED, error_type: str = "", message: str = ""
    ) -> tuple[Signal, ...]:
        if self.over:
            return NOTHING
        self.over = True
        return (Closed(RUN, at, outcome, error_type, message),)

    # The events -----------------------------------------------------------------------------------------------

    def _message_start(self, event: Any, at: int) -> Signals:
        message = field(event, "message")
        return (*_noted(message, at), *self.used(field(message, "usage"), at))

    def _content_block_start(self, event: Any, at: int) -> Signals:
        block = field(event, "content_block")
        kind = _text(block, "type")
        if kind in _BLOCKS:
            name, chunk = _BLOCKS[kind]
            piece = _text(block, name)
            return Chunk(RUN, at, chunk, piece) if piece else NOTHING
        if kind in _CALLS:
            call = Call(_text(block, "name"), _text(block, "id"), here=kind != "tool_use")
            self._calls.begin(field(event, "index"), call)
            if not field(block, "input"):
                return NOTHING
            piece = json_text(field(block, "input"))  # whole at once: so do services that imitate this API
            call.add(piece)
            return Chunk(RUN, at, TOOL_CALL, piece)
        if kind.endswith("_tool_result"):
            return _result(block, at)
        if kind == "redacted_thinking":
            return Chunk(RUN, at, REASONING, "")
        if kind == "fallback":
            model = _text(field(block, "to"), "model")
            return (Noted(RUN, at, {semconv.GEN_AI_RESPONSE_MODEL: model}),) if model else NOTHING
        return NOTHING

    def _content_block_delta(self, event: Any, at: int) -> Signals:
        delta = field(event, "delta")
        name, kind = _DELTAS.get(_text(delta, "type"), ("", ""))
        piece = _text(delta, name) if name else ""
        if not piece:
            return NOTHING
        if kind is TOOL_CALL:
            self._calls.add(field(event, "index"), piece)
        return Chunk(RUN, at, kind, piece)

    def _content_block_stop(self, event: Any, at: int) -> Signals:
        return self._calls.end(field(event, "index"), at)

    def _message_delta(self, event: Any, at: int) -> Signals:
        return (*self._reason(field(event, "delta"), at), *self.used(field(event, "usage"), at))

    def _message_stop(self, event: Any, at: int) -> Signals:
        return self._end(at)

    def _error(self, event: Any, at: int) -> Signals:
        closed = failure(at, field(event, "error"))
        return self._end(at, Outcome.FAILED, closed.error_type, closed.message)

    def _message(self, message: Any, at: int) -> Signals:
        """A plain answer. Nothing was streamed: no chunks, and no times of the server's tools."""
        signals: list[Signal] = [*_noted(message, at), *self._reason(message, at)]
        signals += self.used(field(message, "usage"), at)
        content = field(message, "content")
        for block in content if isinstance(content, list | tuple) else ():
            if _text(block, "type") == "tool_use":
                call = Call(_text(block, "name"), _text(block, "id"))
                call.add(json_text(field(block, "input")))
                signals.append(call.complete(at))
        return (*signals, *self._end(at))

    def _reason(self, told: Any, at: int) -> Signals:
        reason = _text(told, "stop_reason")
        if not reason:
            return NOTHING
        self._stopped = True
        reasons = (FINISH_REASONS.get(reason, reason),)
        return (Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: reasons}),)


def _noted(message: Any, at: int) -> Signals:
    facts = {
        semconv.GEN_AI_RESPONSE_ID: _text(message, "id"),
        semconv.GEN_AI_RESPONSE_MODEL: _text(message, "model"),
    }
    facts = {name: value for name, value in facts.items() if value}
    return (Noted(RUN, at, facts),) if facts else NOTHING


def _result(block: Any, at: int) -> Signals:
    """The end of a tool on the server's side. An MCP server's says `is_error`; the others have an error's object."""
    id_ = _text(block, "tool_use_id")
    if not id_:
        return NOTHING
    code = _text(field(block, "content"), "error_code")
    if code or field(block, "is_error") is True:
        return (Closed(f"tool:{id_}", at, Outcome.FAILED, code or "tool_error"),)
    return (Closed(f"tool:{id_}", at),)


def _text(data: Any, name: str) -> str:
    return word(field(data, name))


_Handler = Callable[[Messages, Any, int], Signals]
_HANDLERS: Final[Mapping[str, _Handler]] = {
    "message_start": Messages._message_start,
    "content_block_start": Messages._content_block_start,
    "content_block_delta": Messages._content_block_delta,
    "content_block_stop": Messages._content_block_stop,
    "message_delta": Messages._message_delta,
    "message_stop": Messages._message_stop,
    "error": Messages._error,
    "message": Messages._message,
}
