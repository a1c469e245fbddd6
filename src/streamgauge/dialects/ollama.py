"""Ollama's `/api/chat` and `/api/generate`: the lines of one answer, or a plain answer.

In go lines of JSON, the SDK's objects or their dict form; out come the model call's chunks, its usage, the tool calls
that it asks for, and its end at `done`. A tool call comes whole. An answer whose first object is `done` was not
streamed.

Source: ollama 0.6.3 (the Python SDK): `_types.py`, `_client.py`; Ollama's API reference at docs.ollama.com.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, failure, json_text, requested, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import parameters, text
from streamgauge.signals import (
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    TOOL_REQUESTED,
    Chunk,
    Closed,
    Noted,
    Signal,
    Signals,
    Usage,
)

__all__ = ["Ollama"]

_PARAMETERS: Final = {
    "num_predict": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "top_p": semconv.GEN_AI_REQUEST_TOP_P,
    "top_k": semconv.GEN_AI_REQUEST_TOP_K,
    "seed": semconv.GEN_AI_REQUEST_SEED,
    "stop": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
    "presence_penalty": semconv.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "frequency_penalty": semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY,
}


class Ollama(Dialect):
    """A model call."""

    name = "ollama"
    system = "Ollama API (ollama 0.6)"
    terminal = True
    only_waits_between_chunks = True
    provider_name = "ollama"
    framing = "ndjson"
    alike = ("content", "response")
    noise = ("created_at",)
    paths = (r"/api/chat$", r"/api/generate$")
    events: ClassVar[Mapping[str, str]] = {
        "message.content": "a chunk of text",
        "message.thinking": "a chunk of reasoning",
        "message.tool_calls": f"for each a chunk of tool-call arguments, and the span event {TOOL_REQUESTED}",
        "message.images": "for each a chunk of kind `image`",
        "response": "a chunk of text",
        "thinking": "a chunk of reasoning",
        "image": "a chunk of kind `image`",
        "completed": "nothing: how far an image is",
        "model": "response model",
        "done": "usage and finish reason; the run is complete",
        "error": "the run fails",
    }

    __slots__ = ("_over", "_seen")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._seen = False  # the answer has begun

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        attributes = parameters(field(body, "options"), _PARAMETERS)
        if attributes.get(semconv.GEN_AI_REQUEST_MAX_TOKENS, 0) < 0:  # no limit
            del attributes[semconv.GEN_AI_REQUEST_MAX_TOKENS]
        if text(body, "think"):
            attributes[semconv.GEN_AI_REQUEST_REASONING_LEVEL] = text(body, "think")
        if field(body, "format"):
            attributes[semconv.GEN_AI_OUTPUT_TYPE] = "json"
        if field(body, "stream") is False:
            attributes[semconv.GEN_AI_REQUEST_STREAM] = False
        generates = path.partition("?")[0].endswith("/api/generate")
        operation = semconv.TEXT_COMPLETION if generates else semconv.CHAT
        return {"operation": operation, "model": text(body, "model"), "attributes": attributes}

    def feed(self, data: Any, at: int) -> Signals:
        event = loaded(data)
        try:
            # One piece of text, and nothing else. The SDK's objects have their fields in a dict, too.
            if self._seen and not self._over:
                fields = event if event.__class__ is dict else event.__dict__
                message = fields.get("message")
                if message is None:
                    piece = fields["response"]
                    message = fields
                else:
                    if message.__class__ is not dict:
                        message = message.__dict__
                    piece = message["content"]
                if (
                    piece.__class__ is str
                    and piece
                    and not fields["done"]
                    and not message.get("thinking")
                    and not message.get("tool_calls")
                    and not message.get("images")
                ):
                    return Chunk(RUN, at, TEXT, piece)
        except Exception:
            pass  # all else
        if self._over:
            return NOTHING
        error = field(event, "error")
        if error:
            self._over = True
            return (failure(at, error),)
        done, message = field(event, "done") is True, field(event, "message")
        if message is None and field(event, "response") is None and not done:
            return NOTHING
        return self._read(event, message if message is not None else event, at, done=done)

    def _read(self, event: Any, message: Any, at: int, *, done: bool) -> Signals:
        signals: list[Signal] = []
        model = word(field(event, "model"))
        if model and not self._seen:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_MODEL: model}))
        plain = done and not self._seen
        self._seen = True
        if not plain:
            signals += _chunks(event, message, at)
        calls = field(message, "tool_calls")
        for call in calls if isinstance(calls, list | tuple) else ():
            function = field(call, "function")
            arguments = json_text(field(function, "arguments"))
            if not plain:
                signals.append(Chunk(RUN, at, TOOL_CALL, arguments))
            signals.append(requested(at, word(field(function, "name")), word(field(call, "id")), arguments))
        if done:
            self._over = True
            taken, given = count(field(event, "prompt_eval_count")), count(field(event, "eval_count"))
            if taken is not None or given is not None:
                signals.append(Usage(RUN, at, taken, given))
            reason = word(field(event, "done_reason"))
            if reason:
                signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (reason,)}))
            signals.append(Closed(RUN, at))
        return signals


def _chunks(event: Any, message: Any, at: int) -> list[Signal]:
    """What was generated, in the order in which models do: thoughts, then text, then pictures."""
    pieces = [(REASONING, word(field(message, "thinking")))]
    pieces.append((TEXT, word(field(message, "content")) or word(field(message, "response"))))
    images = field(message, "images")
    pieces += [("image", word(image)) for image in (images if isinstance(images, list | tuple) else ())]
    pieces.append(("image", word(field(event, "image"))))
    return [Chunk(RUN, at, kind, piece) for kind, piece in pieces if piece]
