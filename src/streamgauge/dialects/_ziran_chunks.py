"""ZIRAN's chunks, its adapters', its model clients' and its scanner's: what each tells.

Source: as in `ziran`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded, plain
from streamgauge.signals import RUN, TEXT, TOOL_CALL, TOOL_REQUESTED, Chunk, Closed, Noted, Signal, Signals, Usage
from streamgauge.wire import Granularity, Outcome

__all__ = ["CHUNK", "REMEMBERED", "ZiranChunks"]

REMEMBERED: Final = 256
"""Tool calls of one stream whose length so far is remembered; beyond it the oldest is forgotten."""

_UNREAD: Final = object()
_NO_FIELDS: Final[Mapping[str, Any]] = {}

# A2A's task states that are an ending but no success; the A2A handler hands over the agent's own word.
_TASK_ENDINGS: Final = {
    "TASK_STATE_FAILED": Outcome.FAILED,
    "TASK_STATE_REJECTED": Outcome.FAILED,
    "TASK_STATE_CANCELED": Outcome.CANCELLED,
}
_ONE_WORD: Final = re.compile(r"[A-Za-z_]{1,40}")
# How the websockets package words a closed connection; the handler keeps nothing of it but this text.
_CLOSE_CODE: Final = re.compile(r"received (\d{4}) ")
_NO_CLOSE_CODE: Final = "no close frame received"
_ABNORMAL_CLOSURE: Final = "1006"  # RFC 6455, section 7.4.1

_PROGRESS: Final = {
    "campaign_start": "nothing: ZIRAN has spans of its own for campaign, phase and attack",
    "phase_start": "nothing",
    "phase_attacks_loaded": "nothing",
    "attack_start": "nothing",
    "attack_streaming": "a chunk of text",
    "attack_complete": "nothing",
    "phase_complete": "nothing",
    "campaign_complete": "the run is complete once its source ends",
}
CHUNK: Final = {
    "content_delta": "a chunk of text",
    "is_final": "the end of the run; `failed` where the metadata has an error",
    "metadata": "usage, finish reason, response model, conversation; at the end also tool calls not seen before",
}


class ZiranChunks(Dialect):
    """The chunks of one stream."""

    terminal = True
    only_waits_between_chunks = True
    events: ClassVar[Mapping[str, str]] = {
        **CHUNK,
        "tool_call_delta": f"what its arguments grew by; at the first of a call also the span event {TOOL_REQUESTED}",
        **_PROGRESS,
    }

    __slots__ = ("_campaign_complete", "_lengths", "_metadata")

    def __init__(self) -> None:
        super().__init__()
        self._metadata: Any = _UNREAD  # of the chunk before; it says something only where it changes
        self._lengths: dict[str, int] = {}  # tool call: length of its arguments so far
        self._campaign_complete = False

    def feed(self, data: Any, at: int) -> Signals:
        # Both forms of a chunk have their fields in a dict.
        try:
            fields = data if data.__class__ is dict else data.__dict__
            text = fields["content_delta"]
            if (
                text.__class__ is str
                and text
                and not fields["is_final"]
                and not fields.get("tool_call_delta")
                and fields["metadata"] == self._metadata
            ):
                return Chunk(RUN, at, TEXT, text)
        except Exception:
            pass  # no such event; or an adapter of the user's own has put there what cannot be compared
        read = loaded(data)
        return self._read(data, at) if read is data else self.feed(read, at)

    def finish(self, at: int) -> Signals:
        # Not at the event itself: a scanner of several agents reports one completed campaign for each of them.
        return (Closed(RUN, at),) if self._campaign_complete else NOTHING

    def _read(self, data: Any, at: int) -> Signals:
        text = field(data, "content_delta")
        call = field(data, "tool_call_delta")
        final = field(data, "is_final")
        if text is None and call is None and final is None:
            return self._progress(data, at)
        first, metadata = self._metadata is _UNREAD, field(data, "metadata")
        self._metadata = metadata
        final = final is True
        signals: list[Signal] = []
        if first and final and text:
            # Not a stream at all: the base class waits for `invoke` and hands over its whole answer.
            signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_STREAM_GRANULARITY: Granularity.MESSAGE.value}))
        if isinstance(text, str) and text:
            signals.append(Chunk(RUN, at, TEXT, text))
        if isinstance(call, Mapping):
            self._called(call, at, signals)
        if not isinstance(metadata, Mapping):
            metadata = _NO_FIELDS
        facts = _facts(data, metadata)
        if facts:
            signals.append(Noted(RUN, at, facts))
        usage = _usage(metadata, at)
        if usage:
            signals.append(usage)
        if final:
            calls = metadata.get("tool_calls")
            for call in calls if isinstance(calls, list | tuple) else ():
                if isinstance(call, Mapping) and _key(call) not in self._lengths:
                    signals.append(_requested(call, at))
            signals.append(_ending(metadata, at))
        return signals

    def _called(self, call: Mapping[str, Any], at: int, signals: list[Signal]) -> None:
        key, arguments = _key(call), _as_text(call.get("arguments"))
        length, known = len(arguments), self._lengths.get(key)
        if known is None or (length < known and not _id(call)):  # shorter, and no id to tell: another call
            if len(self._lengths) >= REMEMBERED:
                del self._lengths[next(iter(self._lengths))]
            signals.append(_requested(call, at))
        # The handlers send what they have so far. Shorter than before is a WebSocket server that sends the pieces.
        piece = arguments if known is None or length < known else arguments[known:]
        self._lengths[key] = length
        if piece:
            signals.append(Chunk(RUN, at, TOOL_CALL, piece))

    def _progress(self, data: Any, at: int) -> Signals:
        event = plain(field(data, "event"))
        if event == "attack_streaming":
            text = field(data, "message")
            return (Chunk(RUN, at, TEXT, text),) if isinstance(text, str) and text else NOTHING
        if event == "campaign_complete":
            self._campaign_complete = True
        return NOTHING


def _facts(data: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a chunk tells of its run. Each adapter has its own word for the same."""
    facts: dict[str, Any] = {}
    model = field(data, "model") or metadata.get("model")
    if isinstance(model, str) and model:  # LangChain's adapter puts the model object there
        facts[semconv.GEN_AI_RESPONSE_MODEL] = model
    reason = metadata.get("finish_reason") or metadata.get("stop_reason")
    if isinstance(reason, str) and reason:
        facts[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = [reason]
    conversation = metadata.get("session_id") or metadata.get("context_id")
    if isinstance(conversation, str) and conversation:
        facts[semconv.GEN_AI_CONVERSATION_ID] = conversation
    provider = metadata.get("provider")
    if isinstance(provider, str) and provider not in ("", "litellm"):  # LiteLLM is the library, not the provider
        facts[semconv.GEN_AI_PROVIDER_NAME] = provider
    return facts


def _usage(metadata: Mapping[str, Any], at: int) -> Usage | None:
    """Tokens: flat in the metadata, or the server's own object, in OpenAI's or in Anthropic's words."""
    usage = metadata.get("usage")
    if not isinstance(usage, Mapping):
        usage = metadata
    read = _tokens(field(usage.get("prompt_tokens_details"), "cached_tokens"))
    reasoning = _tokens(field(usage.get("completion_tokens_details"), "reasoning_tokens"))
    write = None
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        taken, given = _tokens(usage.get("prompt_tokens")), _tokens(usage.get("completion_tokens"))
    else:
        taken, given = _tokens(usage.get("input_tokens")), _tokens(usage.get("output_tokens"))
        read, write = _tokens(usage.get("cache_read_input_tokens")), _tokens(usage.get("cache_creation_input_tokens"))
        if taken is not None:
            taken += (read or 0) + (write or 0)  # Anthropic counts cached input apart
    if not taken and not given:  # zeros are the defaults of the models: nobody counted
        return None
    return Usage(RUN, at, taken, given, read, write, reasoning)


def _tokens(value: Any) -> int | None:
    return value if value.__class__ is int and value >= 0 else None


def _id(call: Mapping[str, Any]) -> str:
    value = call.get("id") or call.get("tool_call_id")
    return value if isinstance(value, str) else ""


def _name(call: Mapping[str, Any]) -> str:
    value = call.get("name") or call.get("tool") or call.get("tool_name")
    return value if isinstance(value, str) else ""


def _key(call: Mapping[str, Any]) -> str:
    return _id(call) or _name(call)


def _requested(call: Mapping[str, Any], at: int) -> Noted:
    facts = {semconv.GEN_AI_TOOL_NAME: _name(call), semconv.GEN_AI_TOOL_CALL_ID: _id(call)}
    return Noted(RUN, at, {name: value for name, value in facts.items() if value}, TOOL_REQUESTED)


def _as_text(arguments: Any) -> str:
    """The handlers send arguments as text; what comes over a WebSocket is the server's choice."""
    if isinstance(arguments, str):
        return arguments
    if not arguments:
        return ""
    try:
        return json.dumps(arguments)
    except (TypeError, ValueError, RecursionError):
        return ""


def _ending(metadata: Mapping[str, Any], at: int) -> Closed:
    error = metadata.get("error")
    if error:
        return Closed(RUN, at, Outcome.FAILED, _error_type(error), str(field(error, "message", error)))
    state = plain(metadata.get("task_state"))
    outcome = _TASK_ENDINGS.get(state, Outcome.COMPLETED)
    return Closed(RUN, at, outcome, state if outcome is Outcome.FAILED else "")


def _error_type(error: Any) -> str:
    """A word or a close code, never the message; empty where there is neither."""
    if isinstance(error, BaseException):
        return type(error).__name__
    if isinstance(error, Mapping):
        error = error.get("type") or error.get("code")
        return error if isinstance(error, str) and _ONE_WORD.fullmatch(error) else ""
    text = str(error)
    if _ONE_WORD.fullmatch(text):  # the browser adapter: `timeout`, `no_elements`
        return text
    closed = _CLOSE_CODE.search(text)
    if closed:
        return closed[1]
    return _ABNORMAL_CLOSURE if _NO_CLOSE_CODE in text else ""
