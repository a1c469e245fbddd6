"""What goes on in one Copilot CLI: the model calls, the tools, the sub-agents.

A model call is a `chat` from `assistant.turn_start` to the last that came of it, before its tools. Its stream is told
as it comes; what then comes whole is a copy.

Source: as `streamgauge.dialects.copilot_cli` has it.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import count, json_text, word
from streamgauge.dialects._dialect import field
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Opened, Signal, Usage
from streamgauge.wire import Outcome

__all__ = ["MAX_OPEN", "Work", "error_type_of"]

MAX_OPEN: Final = 256
"""Sub-agents, and tools, that are open at one time; what is beyond them is not told."""
MAX_STREAMED: Final = 1024
"""Messages whose stream was seen, by their ids."""
_MOST_TEXT: Final = 16_384  # characters: what a span shows of a content attribute, by default

_Counts = tuple[int | None, int | None, int | None, int | None, int | None]
_NOTHING: Final[_Counts] = (None, None, None, None, None)


class _Agent:
    """Whose model calls are told: the run's own, without an id, or a sub-agent's, with that of its tool call."""

    __slots__ = ("bound", "call", "calling", "key", "last", "tokens")

    def __init__(self, id_: str) -> None:
        self.key = f"agent:{id_}" if id_ else RUN
        self.call = f"chat:{id_}"
        self.calling = False
        self.last: int | None = None
        self.tokens: _Counts = _NOTHING
        """Of the open call."""
        self.bound = not id_
        """It is known which events are its own."""


class Work:
    """What is open in the run. Its methods put what they tell at the end of `signals`."""

    __slots__ = ("_agents", "_open", "_own_ids", "_spent", "_streamed", "model")

    def __init__(self, model: str = "") -> None:
        self.model = model
        self._agents = {"": _Agent("")}
        self._own_ids: dict[str, str] = {}  # an agent's id in events: that of its tool call
        self._open: dict[str, str] = {}  # key of each open tool, sub-agent and step: the key above it
        self._spent: _Counts = _NOTHING
        self._streamed: set[str] = set()

    def agent(self, event: Any, at: int, signals: list[Signal]) -> _Agent:
        """Whose an event is. The first event with an unknown id is the oldest sub-agent's that had none."""
        id_, tool = word(field(event, "agentId")), word(field(field(event, "data"), "parentToolCallId"))
        if not id_ and not tool:
            return self._agents[""]
        found = tool if tool and tool in self._agents else self._own_ids.get(id_, id_)
        if found not in self._agents:
            found = next((other for other, agent in self._agents.items() if not agent.bound), "")
            if not found:
                if len(self._agents) > MAX_OPEN:
                    return self._agents[""]
                found = id_ or tool
                self.join(found, "", at, signals)
        agent = self._agents[found]
        agent.bound = True
        if id_ and len(self._own_ids) < MAX_STREAMED:
            self._own_ids[id_] = found
        return agent

    def join(self, id_: str, name: str, at: int, signals: list[Signal]) -> None:
        """A sub-agent has begun, by a tool call of that id."""
        if not id_ or id_ in self._agents or len(self._agents) > MAX_OPEN:
            return
        agent = self._agents[id_] = _Agent(id_)
        above = f"tool:{id_}" if f"tool:{id_}" in self._open else RUN
        self._open[agent.key] = above
        facts = {semconv.GEN_AI_AGENT_NAME: name} if name else {}
        signals.append(Opened(agent.key, at, semconv.INVOKE_AGENT, name, above, facts))

    def leave(self, id_: str, at: int, signals: list[Signal], outcome: Outcome, error_type: str = "") -> None:
        if id_ and id_ in self._agents:
            self._close(f"agent:{id_}", at, signals, outcome, error_type)

    # Model calls ----------------------------------------------------------------------------------------------

    def call(self, agent: _Agent, model: str, at: int, signals: list[Signal]) -> None:
        """The model is called."""
        if not agent.calling:
            agent.calling, agent.last = True, None
            signals.append(Opened(agent.call, at, semconv.CHAT, model or self.model, agent.key))

    def chunk(self, agent: _Agent, kind: str, text: str, id_: str, at: int, signals: list[Signal]) -> None:
        """A piece of a stream, whose whole will come with that id."""
        if text:
            if len(self._streamed) < MAX_STREAMED:
                self._streamed.add(id_)
            self.call(agent, "", at, signals)
            signals.append(Chunk(agent.call, at, kind, text))
            agent.last = at

    def whole(self, agent: _Agent, kind: str, text: str, id_: str, at: int, signals: list[Signal]) -> None:
        """A message; news only where its stream was not seen."""
        if id_ in self._streamed:
            self._streamed.discard(id_)
        elif text:
            self.call(agent, "", at, signals)
            signals.append(Chunk(agent.call, at, kind, text))
        if agent.calling:
            agent.last = at

    def message(self, agent: _Agent, data: Any, at: int, signals: list[Signal]) -> None:
        """`assistant.message`."""
        self.call(agent, word(field(data, "model")), at, signals)
        self.whole(agent, TEXT, word(field(data, "content")), word(field(data, "messageId")), at, signals)
        requests = field(data, "toolRequests")
        for request in requests if requests.__class__ is list else ():
            arguments = json_text(field(request, "arguments"))
            self.whole(agent, TOOL_CALL, arguments, word(field(request, "toolCallId")), at, signals)
        given = count(field(data, "outputTokens"))
        if given and agent.tokens[1] is None:
            self._use(agent, (None, given, None, None, None), at, signals)

    def reasoning(self, agent: _Agent, data: Any, at: int, signals: list[Signal]) -> None:
        """`assistant.reasoning`, which comes after the message."""
        if agent.calling or word(field(data, "reasoningId")) not in self._streamed:
            self.whole(agent, REASONING, word(field(data, "content")), word(field(data, "reasoningId")), at, signals)

    def usage(self, agent: _Agent, data: Any, at: int, signals: list[Signal]) -> None:
        """`assistant.usage`: what one model call has cost."""
        model, reason = word(field(data, "model")), word(field(data, "finishReason"))
        facts: dict[str, Any] = {semconv.GEN_AI_REQUEST_MODEL: model} if model else {}
        if reason:
            facts[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)
        if facts and agent.calling:
            signals.append(Noted(agent.call, at, facts))
        names = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "reasoningTokens")
        taken, given, read, written, thought = (count(field(data, name)) for name in names)
        if taken or given:
            self._use(agent, (taken, given, read, written, thought), at, signals)

    def end_call(
        self, agent: _Agent, at: int, signals: list[Signal], outcome: Outcome = Outcome.COMPLETED, error_type: str = ""
    ) -> None:
        """As of the last that came of it; where nothing did, or it failed, now."""
        self._spent, agent.tokens = _sum(self._spent, agent.tokens), _NOTHING
        if agent.calling:
            agent.calling = False
            ended = at if agent.last is None or outcome is not Outcome.COMPLETED else agent.last
            signals.append(Closed(agent.call, ended, outcome, error_type))

    def _use(self, agent: _Agent, tokens: _Counts, at: int, signals: list[Signal]) -> None:
        agent.tokens = tokens
        if agent.calling:
            signals.append(Usage(agent.call, at, *tokens))
        total = self._spent
        for each in self._agents.values():
            total = _sum(total, each.tokens)
        signals.append(Usage(RUN, at, *total))

    # Tools, and other steps -----------------------------------------------------------------------------------

    def run(self, agent: _Agent, data: Any, at: int, signals: list[Signal]) -> None:
        """`tool.execution_start`."""
        id_ = word(field(data, "toolCallId"))
        key = f"tool:{id_}"
        if not id_ or key in self._open or len(self._open) >= MAX_OPEN:
            return
        self.end_call(agent, at, signals)
        arguments = json_text(field(data, "arguments"))[:_MOST_TEXT]
        facts = {semconv.GEN_AI_TOOL_CALL_ID: id_}
        if arguments not in ("", "{}"):
            facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments
        self._open[key] = agent.key
        signals.append(Opened(key, at, semconv.EXECUTE_TOOL, word(field(data, "toolName")), agent.key, facts))

    def ran(self, data: Any, at: int, signals: list[Signal]) -> None:
        """`tool.execution_complete`."""
        key = f"tool:{word(field(data, 'toolCallId'))}"
        if key not in self._open:
            return
        error = field(data, "error")
        result = word(field(field(data, "result"), "content")) or word(field(error, "message"))
        if result:
            signals.append(Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: result[:_MOST_TEXT]}))
        if field(data, "success") is False:
            self._close(key, at, signals, Outcome.FAILED, code(field(error, "code")) or "tool_error")
        else:
            self._close(key, at, signals)

    def step(self, key: str, name: str, at: int, signals: list[Signal]) -> None:
        if key not in self._open and len(self._open) < MAX_OPEN:
            self._open[key] = RUN
            signals.append(Opened(key, at, semconv.STEP, name))

    def end_step(self, key: str, at: int, signals: list[Signal], error_type: str = "") -> None:
        if key in self._open:
            self._close(key, at, signals, Outcome.FAILED if error_type else Outcome.COMPLETED, error_type)

    def _close(
        self, key: str, at: int, signals: list[Signal], outcome: Outcome = Outcome.COMPLETED, error_type: str = ""
    ) -> None:
        """Close it, and what is below it first, which ended as it did."""
        for below in [other for other, above in self._open.items() if above == key]:
            self._close(below, at, signals, outcome, error_type)
        agent = self._agents.get(key.removeprefix("agent:")) if key.startswith("agent:") else None
        if agent is not None:
            self.end_call(agent, at, signals)
            del self._agents[key.removeprefix("agent:")]
        signals.append(Closed(key, at, outcome, error_type))
        del self._open[key]

    def end(self, at: int, signals: list[Signal]) -> None:
        """The run ends: its model calls are over."""
        for agent in self._agents.values():
            self.end_call(agent, at, signals)


def error_type_of(data: Any) -> str:
    """Of an error: the HTTP status, where there was one, else the CLI's word."""
    status = field(data, "statusCode")
    return str(status) if status.__class__ is int else code(field(data, "errorCode")) or code(field(data, "errorType"))


def _sum(one: _Counts, other: _Counts) -> _Counts:
    a, b, c, d, e = (
        mine if its is None else its if mine is None else mine + its for mine, its in zip(one, other, strict=True)
    )
    return a, b, c, d, e
