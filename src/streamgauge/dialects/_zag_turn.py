"""One turn of zag: the model calls in it, the tools, the sub-agents, and what they cost.

zag hands over whole messages, without times, and a message says nothing of the model call that it came from. So a
`chat` is what can be seen of one: from the last thing that the model had to wait for (the start, a message to it, a
tool's result) to the last message before the next such thing. Its tokens are the last message's: one answer may come as
several messages, each with the tokens of all. Thinking comes as a message without content: the `chat` begins, with no
chunk.

Source: as `streamgauge.dialects.zag` has it.
"""

from __future__ import annotations

import json
from typing import Any

from streamgauge import semconv
from streamgauge.dialects._dialect import field
from streamgauge.signals import RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Opened, Signal, Usage
from streamgauge.wire import Outcome

__all__ = ["Turn", "text_of"]

Tokens = tuple[int | None, int | None, int | None, int | None]
"""Input (cached included), output, read from the cache, written to it."""


class Agent:
    """Whose model calls are told: the turn's own, without an id, or a sub-agent's, with that of its tool call."""

    __slots__ = ("call", "calling", "key", "last", "since", "tokens")

    def __init__(self, id_: str, since: int | None) -> None:
        self.key = f"agent:{id_}" if id_ else RUN
        self.call = f"chat:{id_}"
        self.since = since
        """From when on it can have called the model; None where that was not seen."""
        self.calling = False
        self.last = 0
        """When the last message of the call came."""
        self.tokens: Tokens | None = None


class Turn:
    """What is open in one turn. Its methods put what they tell at the end of `signals`."""

    __slots__ = ("agents", "ended", "ended_well", "limited", "model", "open", "own", "spent")

    def __init__(self, since: int | None, model: str) -> None:
        self.model = model
        self.own = Agent("", since)
        self.agents = {"": self.own}
        self.open: dict[str, str] = {}
        """Key of each open tool and sub-agent, in the order of opening: the key above it."""
        self.spent: Tokens | None = None
        """By the model calls that are over."""
        self.limited = False
        """A usage limit was reached."""
        self.ended: int | None = None
        """When it was complete. Its run is still open: the `result` has not come."""
        self.ended_well = False
        """It was the model that ended it."""

    def free(self, id_: str, at: int, signals: list[Signal]) -> None:
        """That agent's model has all it needs, and can be called."""
        agent = self.agents.get(id_)
        if agent is not None:
            self._end_call(agent, signals)
            agent.since = at

    def message(self, event: Any, at: int, signals: list[Signal]) -> None:
        """An `assistant_message`."""
        id_ = text_of(event, "parent_tool_use_id")
        agent = self.agents.get(id_)
        if agent is None:
            agent = self.agents[id_] = Agent(id_, at)
            above = f"tool:{id_}" if f"tool:{id_}" in self.open else RUN
            self.open[agent.key] = above
            signals.append(Opened(agent.key, at, semconv.INVOKE_AGENT, "", above))
        if not agent.calling:
            agent.calling = True
            since = at if agent.since is None else agent.since
            signals.append(Opened(agent.call, since, semconv.CHAT, self.model, agent.key))
        agent.last = at
        content = field(event, "content")
        for block in content if isinstance(content, list | tuple) else ():
            if text_of(block, "type") == "tool_use":
                self._tool_use(agent, block, at, signals)
            else:
                text = text_of(block, "text")
                if text:
                    signals.append(Chunk(agent.call, at, TEXT, text))
        tokens = _tokens(field(event, "usage"))
        if tokens:
            self._use(agent, tokens, at, signals)

    def cost(self, usage: Any, at: int, signals: list[Signal]) -> None:
        """What the turn's own model call has cost up to now."""
        tokens = _tokens(usage)
        if tokens:
            self._use(self.own, tokens, at, signals)

    def executed(self, event: Any, at: int, signals: list[Signal]) -> None:
        """A `tool_execution`: the tool's end."""
        self.free(text_of(event, "parent_tool_use_id"), at, signals)
        key, result = f"tool:{text_of(event, 'tool_id')}", field(event, "result")
        if key not in self.open:
            return
        success = field(result, "success", False)
        outcome, error_type = (Outcome.COMPLETED, "") if success else (Outcome.FAILED, "tool_error")
        for below in [other for other in reversed(self.open) if self._is_below(other, key)]:
            if below.startswith("agent:"):
                self._end_call(self.agents.pop(below.removeprefix("agent:")), signals)
            signals.append(Closed(below, at, outcome, error_type))
            del self.open[below]
        # An error's text is the tool's output too, and may be all of it: so it is content, and no status message.
        output = text_of(result, "output") or text_of(result, "error")
        if output:
            signals.append(Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: output}))
        signals.append(Closed(key, at, outcome, error_type))
        del self.open[key]

    def complete(self, event: Any, at: int, signals: list[Signal]) -> None:
        """A `turn_complete`: all ends but the run itself."""
        reason, index = text_of(event, "stop_reason"), field(event, "turn_index")
        facts: dict[str, Any] = {}
        if index.__class__ is int:
            facts[semconv.STREAMGAUGE_TURN_INDEX] = index
        if reason:
            facts[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = [reason]
            if self.own.calling:
                signals.append(Noted(self.own.call, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: [reason]}))
        if facts:
            signals.append(Noted(RUN, at, facts))
        # Its tokens are those of the last message, and news only where no message had any.
        tokens = _tokens(field(event, "usage"))
        if tokens and self.spent is None and not any(agent.tokens for agent in self.agents.values()):
            self._use(self.own, tokens, at, signals)
        for agent in reversed(self.agents.values()):
            self._end_call(agent, signals)
        # What is still open has ended unseen: of several results in one message zag tells the first alone.
        for key in reversed(self.open):
            if key.startswith("tool:"):
                signals.append(Noted(key, at, {semconv.STREAMGAUGE_END_UNSEEN: True}))
            signals.append(Closed(key, at))
        self.open = {}
        # Claude's own error messages stop by "stop_sequence"; a call that broke off has no reason.
        self.ended, self.ended_well = at, reason not in ("", "stop_sequence")

    def _tool_use(self, agent: Agent, block: Any, at: int, signals: list[Signal]) -> None:
        arguments = _json(field(block, "input"))
        if arguments:
            signals.append(Chunk(agent.call, at, TOOL_CALL, arguments))
        id_ = text_of(block, "id")
        key = f"tool:{id_}"
        if id_ and key not in self.open:
            facts = {semconv.GEN_AI_TOOL_CALL_ID: id_}
            if arguments:
                facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments
            self.open[key] = agent.key
            signals.append(Opened(key, at, semconv.EXECUTE_TOOL, text_of(block, "name"), agent.key, facts))

    def _is_below(self, key: str, other: str) -> bool:
        above = self.open[key]
        while above not in (RUN, other):
            above = self.open.get(above, RUN)
        return above == other

    def _use(self, agent: Agent, tokens: Tokens, at: int, signals: list[Signal]) -> None:
        agent.tokens = tokens
        if agent.calling:
            signals.append(Usage(agent.call, at, *tokens))
        total = self.spent
        for each in self.agents.values():
            total = _sum(total, each.tokens)
        signals.append(Usage(RUN, at, *(total or tokens)))

    def _end_call(self, agent: Agent, signals: list[Signal]) -> None:
        if agent.calling:
            agent.calling = False
            signals.append(Closed(agent.call, agent.last))
        self.spent, agent.tokens = _sum(self.spent, agent.tokens), None


def text_of(data: Any, name: str) -> str:
    """A field that is text; empty where it is not."""
    value = field(data, name)
    return value if isinstance(value, str) else ""


def _json(value: Any) -> str:
    if value is None:
        return ""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return ""


def _tokens(usage: Any) -> Tokens | None:
    """None where nobody counted: zeros are what zag puts there itself."""
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
    counts = (field(usage, name) for name in names)
    taken, given, read, written = (count if count.__class__ is int and count >= 0 else None for count in counts)
    if taken is not None:
        taken += (read or 0) + (written or 0)  # Claude counts cached input apart
    return (taken, given, read, written) if taken or given else None


def _sum(one: Tokens | None, other: Tokens | None) -> Tokens | None:
    if one is None or other is None:
        return one or other
    taken, given, read, written = (
        a if b is None else b if a is None else a + b for a, b in zip(one, other, strict=True)
    )
    return taken, given, read, written
