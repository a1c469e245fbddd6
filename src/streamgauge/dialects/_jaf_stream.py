"""JAF's `run_streaming`: what its events tell, whether they come in process or from JAF's server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._jaf_tools import APART, failed, refused, tool_closed, tool_opened
from streamgauge.dialects._model_calls import ModelCalls, word
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Signals
from streamgauge.wire import Aside, Granularity, Outcome, ServerSentEvent

__all__ = ["STREAMED", "JafStream"]

_UNNAMED = frozenset({"", "default", "unknown"})
"""What `run_streaming` calls a model that it does not know."""
STREAMED: Mapping[str, str] = {
    "start": "the run's agent; the first step",
    "chunk": "a slice of the finished answer: a chunk, unless the model calls were seen themselves",
    "tool_call": "a tool call opens; after the results of another turn, a new step",
    "tool_result": "the tool call closes; with an error, as failed",
    "agent_switch": "noted on the run (JAF 2.6.22 never sends it)",
    "error": "the run failed",
    "complete": "the run completed",
    "metadata": "the model, where one was named",
}
"""Every event type of `run_streaming`, with what it becomes."""


class JafStream(Dialect):
    """The events of one `run_streaming`: chunks, tool calls, turns and how it ended."""

    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.SLICED
    framing = "sse"
    events: ClassVar[Mapping[str, str]] = STREAMED

    __slots__ = ("_calls", "_over", "_settled", "_sliced", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._calls = ModelCalls(results=True)
        self._over = False
        self._sliced = False
        """Slices are what is counted."""
        self._settled = 0
        """When the last tool result came, if no turn has begun since."""
        self._tools: dict[str, str] = {}
        """Open tool calls by id: their keys."""

    def feed(self, data: Any, at: int) -> Signals:
        kind = data.__class__
        if kind is dict:
            type_, body = data.get("type"), data.get("data")
        elif kind in APART:
            return self._apart(data, at)
        else:
            try:
                type_, body = data.type, data.data
            except Exception:  # no event
                return NOTHING
        if type_ == "chunk":
            try:
                text = body["delta"] if body.__class__ is dict else body.delta
            except Exception:  # without a text
                text = None
            if self._sliced and text.__class__ is str and text:
                return Chunk(RUN, at, TEXT, text)
            return self._slice(text, self.when(field(data, "timestamp"), at), at)
        read = _READ.get(type_) if isinstance(type_, str) else None
        if read is None or self._over:
            return NOTHING
        return read(self, body, self.when(field(data, "timestamp"), at))

    def _apart(self, data: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        if data.__class__ is Aside:
            told = self._calls.feed(data, at)
            self._sliced = self._sliced and not self._calls.generated
            return told
        value = loaded(data)
        if value.__class__ is not dict:
            return NOTHING
        if "type" not in value and data.__class__ is ServerSentEvent and data.type == "error":
            self._over, self._sliced = True, False  # of JAF's server: what run_streaming raised
            return (Closed(RUN, at, Outcome.FAILED, "", word(value.get("message"))),)
        return self.feed(value, at)

    def _slice(self, text: Any, own: int, at: int) -> Signals:
        """The first slice, or one that does not count."""
        if self._over or self._calls.generated or not isinstance(text, str) or not text:
            return NOTHING
        self._sliced = True
        return *self._answering(own), *self._calls.finished(own), Chunk(RUN, at, TEXT, text)

    def _start(self, data: Any, at: int) -> Signals:
        agent = word(field(data, "agent_name"))
        noted = [Noted(RUN, at, {semconv.GEN_AI_AGENT_NAME: agent})] if agent else []
        return [*noted, *self._calls.turned(at)] if not self._calls.step else noted

    def _tool_call(self, data: Any, at: int) -> Signals:
        call_id, tool = word(field(data, "call_id")), word(field(data, "tool_name"))
        # A tool of an agent that runs as a tool comes while that one is open: it never begins a turn.
        turned = self._answering(at) if not self._tools else NOTHING
        key = self._tools[call_id] = f"tool:{call_id or tool}"
        return *turned, tool_opened(key, at, tool, call_id, field(data, "arguments"), self._calls.step_of(call_id))

    def _tool_result(self, data: Any, at: int) -> Signals:
        call_id = word(field(data, "call_id"))
        key = self._tools.pop(call_id, "")
        if not key:
            return NOTHING
        if not self._tools:
            self._settled = at
        closed = tool_closed(key, at, field(data, "status"), field(data, "result"))
        return *closed, *self._calls.answered(call_id)

    def _answering(self, at: int) -> Signals:
        """The model has spoken after tool results: where nothing else told its turn, it began with the last of them."""
        settled, self._settled = self._settled, 0
        return self._calls.turned(settled) if settled and not self._calls.seen else NOTHING

    def _agent_switch(self, data: Any, at: int) -> Signals:
        return (Noted(RUN, at, {}, "jaf.agent_switch"),)

    def _metadata(self, data: Any, at: int) -> Signals:
        model = word(field(data, "model_name"))
        return (Noted(RUN, at, {semconv.GEN_AI_REQUEST_MODEL: model}),) if model not in _UNNAMED else NOTHING

    def _error(self, data: Any, at: int) -> Signals:
        self._over, self._sliced = True, False
        return *refused(self._tools, at), failed(RUN, at, data)

    def _complete(self, data: Any, at: int) -> Signals:
        self._over, self._sliced = True, False
        return *refused(self._tools, at), *self._answering(at), *self._calls.finished(at), Closed(RUN, at)


_READ: Mapping[str, Callable[[JafStream, Any, int], Signals]] = {
    "start": JafStream._start,
    "tool_call": JafStream._tool_call,
    "tool_result": JafStream._tool_result,
    "agent_switch": JafStream._agent_switch,
    "error": JafStream._error,
    "complete": JafStream._complete,
    "metadata": JafStream._metadata,
}
