"""The model calls of one turn of Claude Code: the turn's own, and those of its sub-agents.

A model call is a `chat` from when the CLI says that it sends the request; where it does not say so, from the last thing
that the model had to wait for (the turn's start, a tool's result). With partial messages its stream is read as the
API's own; else its end is its last message: one answer comes as several messages of one id, a content block each.

Source: as `streamgauge.dialects.claude_code` has it.
"""

from __future__ import annotations

from typing import Any

from streamgauge import semconv
from streamgauge.dialects._answers import word
from streamgauge.dialects._anthropic_messages import Messages
from streamgauge.dialects._claude_totals import Tokens, added, tokens_of
from streamgauge.dialects._dialect import NOTHING, field
from streamgauge.signals import RUN, TOOL_REQUESTED, Chunk, Closed, Noted, Opened, Retried, Signal, Signals, Usage
from streamgauge.wire import Granularity, Outcome

__all__ = ["Agent", "Calls", "text_of"]

_INPUT = (
    semconv.GEN_AI_USAGE_INPUT_TOKENS,
    semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
)


class Agent:
    """Whose model calls are told: the turn's own, without an id, or a sub-agent's, with that of its tool call."""

    __slots__ = ("call", "calling", "decoder", "done", "id", "key", "last", "message", "since", "streamed", "tokens")

    def __init__(self, id_: str, since: int | None) -> None:
        self.id = id_
        self.key = f"agent:{id_}" if id_ else RUN
        self.call = f"chat:{id_}"
        self.since = since
        """From when on it can have called the model."""
        self.calling = False
        self.last: int | None = None
        """When the last of the open call came."""
        self.message = ""
        """The id of the open call's message; empty until that has begun."""
        self.done = ""
        """That of the last call that is over."""
        self.streamed = ""
        """That of the last one whose stream was seen: what then comes whole is a copy."""
        self.decoder: Messages | None = None
        """Of the stream of the open call, until its end."""
        self.tokens: Tokens | None = None


class Calls:
    """The agents of one turn, and the model call that each has open. Its methods put what they tell at the end of
    `signals`."""

    __slots__ = ("agents", "model", "own", "partial", "spent")

    def __init__(self, since: int, model: str) -> None:
        self.model = model
        self.own = Agent("", since)
        self.agents = {"": self.own}
        self.spent: Tokens | None = None
        """By the model calls that are over."""
        self.partial = False
        """The stream of a model call was seen."""

    def call(self, agent: Agent, at: int, signals: list[Signal], model: str = "") -> None:
        """The agent's model is called, if it is not already."""
        if agent.calling:
            return
        agent.calling = True
        since = at if agent.since is None else agent.since
        agent.since = agent.last = agent.tokens = None
        signals.append(Opened(agent.call, since, semconv.CHAT, model or self.model, agent.key))

    def request(self, at: int, signals: list[Signal]) -> None:
        """The CLI says that it calls the model."""
        self.end_call(self.own, at, signals)
        self.own.since = at
        self.call(self.own, at, signals)

    def retry(self, agent: Agent, event: Any, reason: str, at: int, signals: list[Signal]) -> None:
        """A request to the API failed, and is sent again after a delay."""
        self.call(agent, at, signals)
        attempt, delay = field(event, "attempt"), field(event, "retry_delay_ms")
        signals.append(
            Retried(
                agent.call,
                at,
                "model",
                attempt if attempt.__class__ is int and attempt > 0 else 1,
                reason,
                delay / 1000 if delay.__class__ in (int, float) and 0 <= delay < 1e12 else None,
            )
        )

    def free(self, event: Any, at: int, signals: list[Signal]) -> None:
        """An agent's model has all it needs, and can be called."""
        agent = self.agents.get(text_of(event, "parent_tool_use_id"))
        if agent is not None:
            self.end_call(agent, at, signals)
            agent.since = at

    def end_call(
        self,
        agent: Agent,
        at: int,
        signals: list[Signal],
        outcome: Outcome = Outcome.TRUNCATED,
        error_type: str = "",
    ) -> None:
        """The open call of an agent is over: as of its last message; where none came, or not to its end, now and with
        that outcome."""
        if agent.calling:
            if agent.message and agent.decoder is None:
                at, outcome, error_type = at if agent.last is None else agent.last, Outcome.COMPLETED, ""
            signals.append(Closed(agent.call, at, outcome, error_type))
            self._called(agent, at)

    def _called(self, agent: Agent, at: int) -> None:
        agent.calling = False
        agent.done, agent.message = agent.message or agent.done, ""
        agent.since, agent.decoder = at, None
        self.spent, agent.tokens = added(self.spent, agent.tokens), None

    def stream(self, agent: Agent, event: Any, at: int) -> Signals:
        """A piece of a model call's stream."""
        signals: list[Signal] = []
        if field(event, "type") == "message_start":
            message = field(event, "message")
            if agent.message or agent.decoder is not None:
                self.end_call(agent, at, signals)
            self.call(agent, at, signals, text_of(message, "model") if agent.id else "")
            agent.message = agent.streamed = text_of(message, "id") or "?"
            agent.decoder = Messages()
            if not self.partial:
                self.partial = True
                signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_STREAM_GRANULARITY: str(Granularity.TOKEN)}))
        decoder = agent.decoder
        if decoder is None:
            return NOTHING
        agent.last = at
        told = decoder.feed(event, at)
        if told.__class__ is Chunk:
            told.key = agent.call
            return told
        for signal in told:
            self._retold(agent, signal, signals)
        return signals

    def _retold(self, agent: Agent, signal: Signal, signals: list[Signal]) -> None:
        """What the model call's own decoder tells of its run is told of the call."""
        if isinstance(signal, Opened):
            signal.parent = agent.call
        elif isinstance(signal, Noted) and signal.name == TOOL_REQUESTED:
            return  # its execution is in the stream
        elif signal.key == RUN:
            signal.key = agent.call
        signals.append(signal)
        if isinstance(signal, Usage):
            self._use(agent, signal.counts()[:4], signal.at, signals)  # type: ignore[arg-type]
        elif isinstance(signal, Closed) and signal.key == agent.call:
            self._called(agent, signal.at)

    def _use(self, agent: Agent, tokens: Tokens, at: int, signals: list[Signal]) -> None:
        """What the turn has used up to now."""
        agent.tokens = tokens
        total = self.spent
        for each in self.agents.values():
            total = added(total, each.tokens)
        signals.append(Usage(RUN, at, *(total or tokens)))

    def begun(self, agent: Agent, id_: str, model: str, message: Any, at: int, signals: list[Signal]) -> None:
        """The first message of a call whose stream is not seen."""
        agent.message = id_
        facts: dict[str, Any] = {}
        if id_ != "?":
            facts[semconv.GEN_AI_RESPONSE_ID] = id_
        if model:
            facts[semconv.GEN_AI_RESPONSE_MODEL] = model
        tokens = tokens_of(field(message, "usage"))
        if tokens is not None:
            # What a message says of the output is not final: it was written when the answer began.
            taken, _, read, written = tokens
            if self.partial:
                signals.append(Usage(agent.call, at, taken, None, read, written))
            else:
                # No usage of the call's own: the turn's total is then nobody's sum, and is what is counted.
                counts = zip(_INPUT, (taken, read, written), strict=True)
                facts.update({name: count for name, count in counts if count is not None})
            self._use(agent, (taken, None, read, written), at, signals)
        if facts:
            signals.append(Noted(agent.call, at, facts))


def text_of(data: Any, name: str) -> str:
    """A field that is text; empty where it is not."""
    return word(field(data, name))
