"""Model calls that a proxy around a model client saw, and the turns they show: asides in, signals out.

    model.opened   call, model, agent, stream, turn; nested, where an agent that runs as a tool makes it
    model.chunk    call, kind (text | tool_call), text
    model.retried  call, attempt, reason, delay_s
    model.closed   call, model, id, finish_reason, usage, tool_calls (the ids asked for);
                   of a call that failed: outcome, error_type, message

`call` is the proxy's number of the call, unique in its stream; `turn` the system's own count of turns. `usage` is as
OpenAI's chat completions have it, with the names that LiteLLM adds for caches.

A caller who reads slowly gets a turn's tool events long after the next turn has begun. So a turn ends only when its
tool results were read, with the time at which it really ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, field
from streamgauge.signals import RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Opened, Retried, Signal, Signals, Usage
from streamgauge.wire import Aside, Granularity, Outcome

__all__ = ["ModelCalls", "answer", "count", "granular", "word"]

_KINDS = {"text": TEXT, "tool_call": TOOL_CALL}
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class ModelCalls:
    """The model calls and turns of one stream."""

    __slots__ = (
        "_awaited", "_called", "_finished", "_granularities", "_late", "_number", "_results", "_retries", "_turn",
        "generated", "seen", "step",
    )  # fmt: skip

    def __init__(self, *, results: bool) -> None:
        """
        Args:
            results: the stream itself brings the results of tools.
        """
        self.seen = False
        """A call was told: turns need not be guessed from other events."""
        self.generated = False
        """Output was seen where the model generates it: what the stream itself brings of it later is a copy."""
        self.step = ""
        """The key of the turn's step; empty before the first."""
        self._number = 0
        self._finished = False
        self._turn: int | None = None
        self._results = results
        self._granularities: dict[str, Granularity] = {}
        """Of the calls that are open, by key."""
        self._called: tuple[int, str] | None = None
        """(end, why it was not enough) of the last call of this turn."""
        self._retries = 0
        self._awaited: dict[str, str] = {}
        """Tool calls whose results were not read yet, by id: their step."""
        self._late: dict[str, int] = {}
        """Steps that are over but for such results: when they ended."""

    # Turns ----------------------------------------------------------------------------------------------------

    def turned(self, at: int) -> list[Signal]:
        """The next turn began."""
        signals: list[Signal] = []
        if self.step in self._awaited.values():
            self._late[self.step] = at
        elif self.step:
            signals.append(Closed(self.step, at))
        self._number += 1
        self.step = f"step:{self._number}"
        self._called, self._retries = None, 0
        signals.append(Opened(self.step, at, semconv.STEP, str(self._number)))
        return signals

    def finished(self, at: int) -> list[Signal]:
        """No turn follows: the last one ended with its model call, or else now."""
        signals: list[Signal] = [Closed(step, ended) for step, ended in self._late.items()]
        self._late.clear()
        if self.step and not self._finished:
            self._finished = True
            signals.append(Closed(self.step, self._called[0] if self._called is not None else at))
        return signals

    def step_of(self, tool_call: str) -> str:
        """The step that asked for this tool call."""
        return self._awaited.get(tool_call, self.step)

    def answered(self, tool_call: str) -> Signals:
        """A tool's result was read."""
        step = self._awaited.pop(tool_call, "")
        if step in self._late and step not in self._awaited.values():
            return (Closed(step, self._late.pop(step)),)
        return NOTHING

    # Calls ----------------------------------------------------------------------------------------------------

    def feed(self, aside: Aside, at: int) -> Signals:
        """Read an aside; one of another name tells nothing."""
        read = _ASIDES.get(word(aside.name))
        return read(self, aside.data, at) if read is not None and isinstance(aside.data, Mapping) else NOTHING

    def _opened(self, data: Mapping[str, Any], at: int) -> Signals:
        self.seen = True
        signals = [] if data.get("nested") is True else self._again_or_next(count(data.get("turn")), at)
        key = _key(data)
        granularity = Granularity.TOKEN if data.get("stream") is True else Granularity.MESSAGE
        attributes: dict[str, Any] = {}
        if granularity is Granularity.MESSAGE:
            attributes[semconv.GEN_AI_REQUEST_STREAM] = False
        agent = word(data.get("agent"))
        if agent:
            attributes[semconv.GEN_AI_AGENT_NAME] = agent
        self._granularities[key] = granularity
        signals.append(Opened(key, at, semconv.CHAT, word(data.get("model")), self.step, attributes))
        signals.append(granular(key, at, granularity))
        return signals

    def _again_or_next(self, turn: int | None, at: int) -> list[Signal]:
        """A second call in one turn is a retry of the first: that failed, or gave nothing to go on with."""
        if not self.step or self._turn not in (turn, None):
            self._turn = turn
            return self.turned(at)
        self._turn = turn
        if self._called is None:
            return []
        (ended, reason), self._called = self._called, None
        self._retries += 1
        return [Retried(self.step, ended, "model", self._retries, reason)]

    def _chunk(self, data: Mapping[str, Any], at: int) -> Signals:
        key = _key(data)
        granularity = self._granularities.get(key)
        kind = _KINDS.get(word(data.get("kind")))
        text = word(data.get("text"))
        if granularity is None or kind is None or not text:
            return NOTHING
        piece = Chunk(key, at, kind, text)
        if self.generated:
            return (piece,)
        self.generated = True
        # The run's clocks stop at this piece, so its granularity is what they are to be read by.
        return granular(RUN, at, granularity), piece

    def _retried(self, data: Mapping[str, Any], at: int) -> Signals:
        delay = data.get("delay_s")
        delay_s = float(delay) if delay.__class__ in (int, float) else None
        return (Retried(_key(data), at, "model", count(data.get("attempt")) or 1, word(data.get("reason")), delay_s),)

    def _closed(self, data: Mapping[str, Any], at: int) -> Signals:
        key = _key(data)
        if self._granularities.pop(key, None) is None:
            return NOTHING
        tool_calls = data.get("tool_calls")
        if self._results and isinstance(tool_calls, list | tuple):
            self._awaited.update((word(tool_call), self.step) for tool_call in tool_calls)
        outcome = _OUTCOMES.get(word(data.get("outcome")), Outcome.COMPLETED)
        error_type = word(data.get("error_type"))
        if data.get("nested") is not True:
            self._called = at, error_type or ("empty_response" if outcome is Outcome.COMPLETED else str(outcome))
        return *answer(key, at, data), Closed(key, at, outcome, error_type, word(data.get("message")))


_ASIDES: Mapping[str, Callable[[ModelCalls, Mapping[str, Any], int], Signals]] = {
    "model.opened": ModelCalls._opened,
    "model.chunk": ModelCalls._chunk,
    "model.retried": ModelCalls._retried,
    "model.closed": ModelCalls._closed,
}


def answer(key: str, at: int, response: Any) -> list[Signal]:
    """What a model's response says of itself: model, id, finish reason, usage."""
    told = {
        semconv.GEN_AI_RESPONSE_MODEL: word(field(response, "model")),
        semconv.GEN_AI_RESPONSE_ID: word(field(response, "id")),
    }
    attributes: dict[str, Any] = {name: value for name, value in told.items() if value}
    reason = word(field(response, "finish_reason"))
    if reason:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)
    signals: list[Signal] = [Noted(key, at, attributes)] if attributes else []
    usage = field(response, "usage")
    if usage is not None:
        cached = count(field(usage, "cache_read_input_tokens"))
        if cached is None:
            cached = count(field(field(usage, "prompt_tokens_details"), "cached_tokens"))
        tokens = Usage(
            key,
            at,
            count(field(usage, "prompt_tokens")),
            count(field(usage, "completion_tokens")),
            cached,
            count(field(usage, "cache_creation_input_tokens")),
            count(field(field(usage, "completion_tokens_details"), "reasoning_tokens")),
        )
        if tokens != Usage(key, at):
            signals.append(tokens)
    return signals


def granular(key: str, at: int, granularity: Granularity) -> Noted:
    """What the operation's chunks are."""
    return Noted(key, at, {semconv.STREAMGAUGE_STREAM_GRANULARITY: str(granularity)})


def word(value: Any) -> str:
    """The value, where it is text; else nothing."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """The value, where it is a count."""
    return value if value.__class__ is int and value >= 0 else None


def _key(data: Mapping[str, Any]) -> str:
    return f"model:{word(data.get('call'))}"
