"""Vercel AI SDK: the UI message stream, version 1, as an event stream, as JSON, or as pydantic-ai's objects.

Out come the run, its steps, and the tool calls whose result comes: a call that the browser is to make itself is only
requested. An approval that is asked for is a person who is asked; the run that goes on after it is another request.

Promised: the run ends with `[DONE]`. A stream may be merged of several, each with a `finish` of its own, so that is no
end yet; but where it is the last that comes, the run is complete.

Source: vercel/ai 6.0, `packages/ai/src/ui-message-stream/ui-message-chunks.ts`, as pydantic-ai-slim 2.68.0 has it in
`ui/vercel_ai/response_types.py`, and its `_event_stream.py` for the order; ai-sdk.dev, "Stream Protocols".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import either
from streamgauge.dialects._answers import count, first, frame, json_text, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import text
from streamgauge.dialects._tool_calls import ToolCalls
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import (
    PERSON_ASKED,
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import Outcome

__all__ = ["FILE", "VercelAi"]

FILE: Final = "file"
"""The kind of a chunk that is a file: an image, say, that the model made."""

_DONE: Final = "[DONE]"
_REASONS: Final = {"content-filter": "content_filter", "tool-calls": "tool_call"}
_SILENT: Final = (
    "start", "text-start", "text-end", "reasoning-start", "reasoning-end", "source-url", "source-document",
)  # fmt: skip


class VercelAi(Dialect):
    """The stream of a chat route of the AI SDK."""

    name = "vercel-ai"
    system = "Vercel AI SDK UI message stream v1 (ai 5 to 7)"
    terminal = True
    only_waits_between_chunks = True
    framing = "sse"
    alike = ("delta",)
    events: ClassVar[Mapping[str, str]] = {
        "start-step": "a step",
        "finish-step": "the end of the step",
        "text-delta": "a chunk of text",
        "reasoning-delta": "a chunk of reasoning",
        "tool-input-start": "nothing yet; where no result comes, the span event streamgauge.tool.requested",
        "tool-input-delta": "a chunk of a tool call",
        "tool-input-available": "the time at which the tool begins; a chunk of a tool call, where no pieces of it came",
        "tool-input-error": "the span event streamgauge.tool.requested: the call was no valid one",
        "tool-approval-request": "a person is asked",
        "tool-output-available": "the tool call, from its input to its output; the last one, where that comes in parts",
        "tool-output-error": "the tool call, `failed`",
        "tool-output-denied": "the span event streamgauge.tool.requested: a person has refused it",
        "file": "a chunk of its own kind",
        "message-metadata": "usage, where the metadata has `usage` or `totalUsage` of the AI SDK",
        "finish": "the finish reason; usage, as `message-metadata`",
        "abort": "the end of the run, `cancelled`",
        "error": "the end of the run, `failed`",
        "done": "the end of the run (`[DONE]` on the wire)",
        "data-*": "nothing",
        **dict.fromkeys(_SILENT, "nothing"),
    }

    __slots__ = ("_calls", "_finished", "_over", "_step")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._finished: int | None = None  # when the last `finish` came
        self._calls = ToolCalls()
        self._step = 0  # the number of the last

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The chat's id. See `Dialect.asked`."""
        return {"operation": INVOKE_AGENT, "conversation_id": text(body, "id")}

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is not dict:
            part = loaded(data)
            if part is None and frame(data) == _DONE:
                part = {"type": "done"}
            data = part
        kind = data.get("type") if data.__class__ is dict else field(data, "type")
        if self._over or kind.__class__ is not str:
            return NOTHING
        if kind == "text-delta":
            delta = field(data, "delta")
            self._finished = None
            return Chunk(RUN, at, TEXT, delta) if delta.__class__ is str and delta else NOTHING
        rule = _RULES.get(kind)
        return rule(self, data, at) if rule is not None else NOTHING

    def untold(self, at: int) -> Signals:
        return self.finish(at)

    def finish(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        if self._finished is None:
            return self._calls.left()
        return self._end(Closed(RUN, at))

    def _end(self, end: Closed) -> list[Signal]:
        self._over = True
        return [*self._calls.left(), end]

    def _key(self) -> str:
        return f"step:{self._step}"

    # Parts ----------------------------------------------------------------------------------------------------

    def _start_step(self, data: Any, at: int) -> Signals:
        self._step += 1
        return (Opened(self._key(), at, semconv.STEP, str(self._step)),)

    def _finish_step(self, data: Any, at: int) -> Signals:
        return (Closed(self._key(), at),) if self._step else NOTHING

    def _reasoning(self, data: Any, at: int) -> Signals:
        delta = word(field(data, "delta"))
        return Chunk(RUN, at, REASONING, delta) if delta else NOTHING

    def _input_start(self, data: Any, at: int) -> Signals:
        owner = self._key() if self._step else RUN
        self._calls.asked(_call(data), word(either(data, "toolName", "tool_name")), at, owner)
        return NOTHING

    def _input_delta(self, data: Any, at: int) -> Signals:
        delta = word(either(data, "inputTextDelta", "input_text_delta"))
        if not delta:
            return NOTHING
        self._calls.grew(_call(data), delta, at)
        return Chunk(RUN, at, TOOL_CALL, delta)

    def _input_available(self, data: Any, at: int) -> Signals:
        id_ = _call(data)
        whole = id_ not in self._calls
        self._input_start(data, at)
        arguments = json_text(field(data, "input"))
        self._calls.complete(id_, at, arguments)
        return Chunk(RUN, at, TOOL_CALL, arguments) if whole and arguments else NOTHING

    def _refused(self, data: Any, at: int) -> Signals:
        if word(field(data, "type")) == "tool-input-error":
            self._input_start(data, at)
        return self._calls.refused(_call(data))

    def _output(self, data: Any, at: int) -> Signals:
        if field(data, "preliminary") is True:
            return self._calls.running(_call(data), at)
        return self._calls.ended(_call(data), at, field(data, "output"))

    def _output_error(self, data: Any, at: int) -> Signals:
        message = word(either(data, "errorText", "error_text"))
        return self._calls.ended(_call(data), at, None, Outcome.FAILED, "tool_error", message)

    def _approval(self, data: Any, at: int) -> Signals:
        return (Noted(RUN, at, {}, PERSON_ASKED),)

    def _file(self, data: Any, at: int) -> Signals:
        url = word(field(data, "url"))
        return Chunk(RUN, at, FILE, url if url.startswith("data:") else "")

    def _metadata(self, data: Any, at: int) -> list[Signal]:
        metadata = either(data, "messageMetadata", "message_metadata")
        usage = field(metadata, "totalUsage") or field(metadata, "usage")
        if not isinstance(usage, Mapping):
            return []
        into, out = usage.get("inputTokenDetails"), usage.get("outputTokenDetails")
        counts = (
            count(usage.get("inputTokens")),
            count(usage.get("outputTokens")),
            first(count(field(into, "cacheReadTokens")), count(usage.get("cachedInputTokens"))),
            count(field(into, "cacheWriteTokens")),
            first(count(field(out, "reasoningTokens")), count(usage.get("reasoningTokens"))),
        )
        return [Usage(RUN, at, *counts)] if any(each is not None for each in counts) else []

    def _finish(self, data: Any, at: int) -> Signals:
        self._finished = at
        reason = word(either(data, "finishReason", "finish_reason"))
        signals = self._metadata(data, at)
        if reason:
            facts = {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (_REASONS.get(reason, reason),)}
            signals.append(Noted(RUN, at, facts))
        return signals

    def _done(self, data: Any, at: int) -> Signals:
        return self._end(Closed(RUN, at))

    def _abort(self, data: Any, at: int) -> Signals:
        return self._end(Closed(RUN, at, Outcome.CANCELLED, "", word(field(data, "reason"))))

    def _error(self, data: Any, at: int) -> Signals:
        return self._end(Closed(RUN, at, Outcome.FAILED, "", word(either(data, "errorText", "error_text"))))


_RULES: Final[Mapping[str, Callable[[VercelAi, Any, int], Signals]]] = {
    "start-step": VercelAi._start_step,
    "finish-step": VercelAi._finish_step,
    "reasoning-delta": VercelAi._reasoning,
    "tool-input-start": VercelAi._input_start,
    "tool-input-delta": VercelAi._input_delta,
    "tool-input-available": VercelAi._input_available,
    "tool-input-error": VercelAi._refused,
    "tool-output-denied": VercelAi._refused,
    "tool-approval-request": VercelAi._approval,
    "tool-output-available": VercelAi._output,
    "tool-output-error": VercelAi._output_error,
    "file": VercelAi._file,
    "message-metadata": VercelAi._metadata,
    "finish": VercelAi._finish,
    "abort": VercelAi._abort,
    "error": VercelAi._error,
    "done": VercelAi._done,
}


def _call(data: Any) -> str:
    return word(either(data, "toolCallId", "tool_call_id"))
