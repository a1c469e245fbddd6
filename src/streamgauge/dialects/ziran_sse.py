"""The event stream that ZIRAN's `SSEProtocolHandler` reads from a target agent.

A frame is JSON, in which two dotted paths lead to the text and to the finish reason; or it is no JSON, and then all of
it is text. By default the paths are those of OpenAI's chat completions, and so are the pieces of tool calls. A target
with paths of its own gets a subclass that says them, as ZIRAN's handler is given them:

    class Acme(ZiranSse):
        name = "acme"
        content_field = "delta.text"
        finish_field = "done_reason"
        openai = False

Promised: what the handler takes for a piece of the answer is a chunk here, and nothing else is. Beyond it, an error
inside the stream is told, which the handler passes over, and so are model, id and usage of an OpenAI frame.

Source: ziran 0.42.0, `infrastructure/adapters/protocols/sse_handler.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, failure, frame, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import text
from streamgauge.dialects._tool_calls import ToolCalls
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Signal, Signals, Usage

__all__ = ["ZiranSse"]

_DONE: Final = "[DONE]"
_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call"}
_FRAMED: Final = (str, bytes, bytearray)


class ZiranSse(Dialect):
    """The answer of an agent that is ZIRAN's target."""

    name = "ziran-sse"
    system = "ZIRAN 0.42 targets over SSE"
    terminal = True
    only_waits_between_chunks = True
    framing = "sse"
    events: ClassVar[Mapping[str, str]] = {
        "content_field": "a chunk of text (`choices.0.delta.content`)",
        "finish_field": "the finish reason (`choices.0.finish_reason`)",
        "tool_calls": "chunks of tool calls; the span event streamgauge.tool.requested when the run ends",
        "usage": "usage",
        "error": "the end of the run, `failed`",
        "text that is no JSON": "a chunk of text",
        "[DONE]": "the end of the run",
    }
    content_field: ClassVar[str] = "choices.0.delta.content"
    """Where a frame has its piece of text: names and numbers, with dots between."""
    finish_field: ClassVar[str] = "choices.0.finish_reason"
    """Where the last frame says why it is the last."""
    openai: ClassVar[bool] = True
    """Frames have OpenAI's pieces of tool calls."""

    __slots__ = ("_calls", "_content", "_finish", "_ids", "_noted", "_over", "_reason")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._reason = ""
        self._noted = False  # id and model are
        self._calls = ToolCalls()
        self._ids: dict[int, str] = {}  # of the tool calls, by their index
        self._content = _steps(self.content_field)
        self._finish = _steps(self.finish_field)

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The model. See `Dialect.asked`."""
        return {"operation": INVOKE_AGENT, "model": text(body, "model")}

    def feed(self, data: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        value = data if data.__class__ is dict else loaded(data)
        if value is None:
            said = frame(data)
            if said == _DONE:
                return self._end(Closed(RUN, at))
            return Chunk(RUN, at, TEXT, said) if said else NOTHING
        error = field(value, "error")
        if error:
            return self._end(failure(at, error))
        if isinstance(data, _FRAMED):
            return self._answered(value, at)
        said = _found(value, self._content)
        signals: list[Signal] = []
        if not self._noted:
            self._facts(value, at, signals)
        if said.__class__ is str and said:
            signals.append(Chunk(RUN, at, TEXT, said))
        if self.openai:
            self._tools(_found(value, _TOOL_CALLS), at, signals)
            self._used(field(value, "usage"), at, signals)
        reason = word(_found(value, self._finish))
        if reason:
            self._reason = reason
            facts = {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (_REASONS.get(reason, reason),)}
            signals.append(Noted(RUN, at, facts))
        return signals

    def untold(self, at: int) -> Signals:
        return self.finish(at)

    def finish(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        return self._end(Closed(RUN, at)) if self._reason else self._calls.left()

    def _end(self, end: Closed) -> list[Signal]:
        self._over = True
        return [*self._calls.left(), end]

    def _answered(self, value: Any, at: int) -> Signals:
        """A plain answer: nothing was streamed, so there are no chunks."""
        signals: list[Signal] = []
        self._facts(value, at, signals)
        self._used(field(value, "usage"), at, signals)
        reason = word(_found(value, self._finish))
        if reason:
            facts = {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (_REASONS.get(reason, reason),)}
            signals.append(Noted(RUN, at, facts))
        return [*signals, *self._end(Closed(RUN, at))]

    def _facts(self, value: Any, at: int, signals: list[Signal]) -> None:
        if not self.openai:
            return
        told = {semconv.GEN_AI_RESPONSE_ID: field(value, "id"), semconv.GEN_AI_RESPONSE_MODEL: field(value, "model")}
        facts = {name: word(each) for name, each in told.items() if word(each)}
        if facts:
            self._noted = True
            signals.append(Noted(RUN, at, facts))

    def _tools(self, pieces: Any, at: int, signals: list[Signal]) -> None:
        for piece in pieces if isinstance(pieces, list) else ():
            index, function = field(piece, "index", 0), field(piece, "function")
            index = index if index.__class__ is int else 0
            id_ = self._ids.setdefault(index, word(field(piece, "id")) or str(index))
            self._calls.asked(id_, word(field(function, "name")), at)
            arguments = word(field(function, "arguments"))
            if arguments:
                self._calls.grew(id_, arguments, at)
                signals.append(Chunk(RUN, at, TOOL_CALL, arguments))

    def _used(self, usage: Any, at: int, signals: list[Signal]) -> None:
        if not isinstance(usage, Mapping):
            return
        counts = (
            count(usage.get("prompt_tokens")),
            count(usage.get("completion_tokens")),
            count(field(usage.get("prompt_tokens_details"), "cached_tokens")),
            None,
            count(field(usage.get("completion_tokens_details"), "reasoning_tokens")),
        )
        if any(each is not None for each in counts):
            signals.append(Usage(RUN, at, *counts))


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(int(name) if name.isdecimal() else name for name in path.split("."))


_TOOL_CALLS: Final = _steps("choices.0.delta.tool_calls")


def _found(value: Any, steps: tuple[str | int, ...]) -> Any:
    """What a path leads to; None where it leads nowhere."""
    for step in steps:
        if value.__class__ is dict:
            value = value.get(str(step))
        elif value.__class__ is list and step.__class__ is int:
            value = value[step] if step < len(value) else None
        else:
            return None
    return value
