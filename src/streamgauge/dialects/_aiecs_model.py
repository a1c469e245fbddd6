"""The model calls of one AIECS stream, one after the other, each with the tools that its answer asks for.

A call is opened by an aside or, where none is told, by its first event; it ends by an aside, by the `cache_status` that
follows its last chunk, or when the agent is seen to go on. A call that failed stays open until what follows tells
whether it is tried again.

Source: aiecs 2.2.0, domain/agent/{llm,tool,hybrid}_agent.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamgauge import semconv
from streamgauge.dialects._aiecs_tools import ToolBatch
from streamgauge.dialects._dialect import NOTHING, field
from streamgauge.dialects._model_calls import answer, count, word
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Opened, Retried, Signal, Usage
from streamgauge.wire import Outcome

__all__ = ["ASIDES", "EVENTS", "MAX_CALLS", "ModelCall"]

MAX_CALLS = 1024
"""Of tools in one answer; no model asks for as many."""
_CHAT = "chat"
"""The key of a model call that no aside told."""
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class ModelCall:
    """The stream's model call, and its tools."""

    __slots__ = ("_lengths", "_retries", "_tools", "failed", "key", "one_by_one", "parent", "since")

    def __init__(self) -> None:
        self.key = ""
        """The open call's; empty where none is."""
        self.parent = RUN
        """What model calls and tools are below."""
        self.one_by_one = False
        """Each tool has its own times."""
        self.since: int | None = None
        """From when a model call may be open that has not shown yet."""
        self.failed: tuple[str, str, int] | None = None
        """(type, message, time) of the open model call's failure."""
        self._retries = 0
        self._lengths: dict[str, int] = {}
        """Tool call id: how much of its arguments has come."""
        self._tools = ToolBatch()

    # From its opening to its end ------------------------------------------------------------------------------

    def shown(self) -> list[Signal]:
        """The model shows itself: its call is open, or has been since it could be."""
        if self.key or self.since is None:
            return []
        since, self.since = self.since, None
        return [self._opened(_CHAT, since, "")]

    def settled(self, at: int) -> list[Signal]:
        """The agent goes on: the model call before is over, if it still looks open."""
        signals: list[Signal] = []
        if self.key:
            if self.failed is not None:
                error_type, message, when = self.failed
                signals.append(Closed(self.key, when, Outcome.FAILED, error_type, message))
            else:
                signals.append(Closed(self.key, self._tools.ready or at))
        self.key = ""
        self.since = None
        self.failed = None
        self._tools = ToolBatch()
        return signals

    def _opened(self, key: str, at: int, model: str) -> Signal:
        self.key = key
        self._lengths.clear()
        self._retries = 0
        return Opened(key, at, semconv.CHAT, model, self.parent)

    def _over(self, at: int) -> list[Signal]:
        """The model call has ended; the agent turns to the tools that it asked for."""
        closed = Closed(self.key, at)
        self.key = ""
        self.failed = None
        return [closed, *self._tools.begin(at, self.parent, one_by_one=self.one_by_one)]

    # Its events -----------------------------------------------------------------------------------------------

    def token(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        kind = TEXT if data.get("type") == "token" else REASONING
        # Where no model call is open, this is the whole answer that a ToolAgent gives when it had no tokens.
        return *self.shown(), Chunk(self.key or RUN, at, kind, word(data.get("content")))

    def delta(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        return *self.shown(), *self._new_arguments(data.get("tool_call"), at)

    def _new_arguments(self, call: Any, at: int) -> Sequence[Signal]:
        """Each delta has all that came so far."""
        call_id = word(field(call, "id"))
        arguments = word(field(field(call, "function"), "arguments"))
        before = self._lengths.get(call_id, -1)
        if len(arguments) <= before:
            return NOTHING
        if len(self._lengths) >= MAX_CALLS:
            self._lengths.clear()
        self._lengths[call_id] = len(arguments)
        return (Chunk(self.key or RUN, at, TOOL_CALL, arguments[max(before, 0) :]),)

    def calls_ready(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        signals = self.shown()
        calls = data.get("tool_calls")
        self._tools = ToolBatch(calls, at)
        for call in calls if isinstance(calls, list) else ():
            signals += self._new_arguments(call, at)
        return signals

    def cache_status(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        signals = self.shown()
        if self.key != _CHAT:  # an aside tells more
            return signals
        cached = count(data.get("cache_read_tokens"))
        if cached:  # 0 is also what it says where nothing is known
            signals.append(Usage(_CHAT, at, cache_read_tokens=cached))
        return [*signals, *self._over(at)]

    def tool_call(self, data: Mapping[str, Any], own: int, at: int) -> Sequence[Signal]:
        """`own` is the event's own time."""
        return *self._at_tools(at), *self._tools.called(data, own)

    def tool_answer(self, data: Mapping[str, Any], own: int, at: int) -> Sequence[Signal]:
        return *self._at_tools(at), *self._tools.answered(data, own)

    def _at_tools(self, at: int) -> Sequence[Signal]:
        return self._over(self._tools.ready or at) if self.key else NOTHING

    # Asides ---------------------------------------------------------------------------------------------------

    def told_opened(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        model = word(data.get("model"))
        key = f"chat:{word(data.get('call'))}"
        if not data.get("stream"):
            whole = {semconv.GEN_AI_REQUEST_STREAM: False}
            return (Opened(key, at, semconv.CHAT, model, self.parent, whole),)
        if self.key and self.failed is not None:
            (error_type, _, when), self.failed = self.failed, None
            self._retries += 1
            return (Retried(self.key, at, "model", self._retries, error_type, max(0, at - when) / 1e9),)
        signals = self.settled(at)
        signals.append(self._opened(key, at, model))
        return signals

    def told_usage(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        return answer(self._told_key(data), at, data)

    def told_closed(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        key = self._told_key(data)
        outcome = _OUTCOMES.get(word(data.get("outcome")), Outcome.COMPLETED)
        error_type, message = word(data.get("error_type")), word(data.get("message"))
        if not data.get("stream"):
            return *answer(key, at, data), Closed(key, at, outcome, error_type, message)
        if not self.key:
            return NOTHING
        if outcome is Outcome.COMPLETED:
            return self._over(at)
        if outcome is Outcome.FAILED:
            self.failed = (error_type, message, at)
            return NOTHING
        self.key = ""
        return (Closed(key, at, outcome),)

    def _told_key(self, data: Mapping[str, Any]) -> str:
        return self.key if data.get("stream") else f"chat:{word(data.get('call'))}"


_Read = Callable[[ModelCall, Mapping[str, Any], int], Sequence[Signal]]

EVENTS: Mapping[str, _Read] = {
    "token": ModelCall.token,
    "thinking_token": ModelCall.token,
    "tool_call_delta": ModelCall.delta,
    "tool_calls_ready": ModelCall.calls_ready,
    "cache_status": ModelCall.cache_status,
}
ASIDES: Mapping[str, _Read] = {
    "model.opened": ModelCall.told_opened,
    "model.thought": ModelCall.token,
    "model.usage": ModelCall.told_usage,
    "model.closed": ModelCall.told_closed,
}
