"""One turn of Claude Code: whose the messages are, the tools, the hooks.

Source: as `streamgauge.dialects.claude_code` has it.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import json_text, word
from streamgauge.dialects._block_calls import MAX_CALLS
from streamgauge.dialects._claude_calls import Agent, Calls, text_of
from streamgauge.dialects._dialect import field
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Opened, Signal
from streamgauge.wire import Outcome

__all__ = ["DENIED", "Turn"]

DENIED: Final = "permission_denied"
_SYNTHETIC: Final = "<synthetic>"
"""The model of a message that the CLI wrote itself."""
_TEXTS: Final = {"text": ("text", TEXT), "thinking": ("thinking", REASONING)}
_ON_SERVER: Final = frozenset({"server_tool_use", "mcp_tool_use"})


class Turn(Calls):
    """What is open in one turn. Its methods put what they tell at the end of `signals`."""

    __slots__ = ("cut_by", "denied", "error", "open", "steps")

    def __init__(self, since: int, model: str) -> None:
        super().__init__(since, model)
        self.open: dict[str, str] = {}
        """Key of each open tool and sub-agent, in the order of opening: the key above it."""
        self.steps: set[str] = set()
        """Keys of hooks, and of a compaction, that are going on."""
        self.denied: set[str] = set()
        """Ids of tool calls that were not allowed."""
        self.error = ""
        """What the CLI called the last error of the API."""
        self.cut_by = ""
        """The caller has interrupted it: by a request, `cancel`, or by a message, `input`."""

    # Whose it is ----------------------------------------------------------------------------------------------

    def agent(self, event: Any, at: int, signals: list[Signal]) -> Agent | None:
        """Whose an event is. None of one too many."""
        id_ = text_of(event, "parent_tool_use_id")
        return self.agents.get(id_) or self.join(id_, text_of(event, "subagent_type"), at, signals)

    def join(self, id_: str, name: str, at: int, signals: list[Signal], background: bool = False) -> Agent | None:
        """A sub-agent has begun. One in the background outlives the tool call that started it."""
        if not id_ or id_ in self.agents:
            return self.agents.get(id_)
        if len(self.agents) > MAX_CALLS:
            return None
        agent = self.agents[id_] = Agent(id_, at)
        above = f"tool:{id_}"
        above = (self.open[above] if background else above) if above in self.open else RUN
        self.open[agent.key] = above
        facts = {semconv.GEN_AI_AGENT_NAME: name} if name else {}
        signals.append(Opened(agent.key, at, semconv.INVOKE_AGENT, name, above, facts))
        return agent

    def leave(self, id_: str, at: int, signals: list[Signal], outcome: Outcome, error_type: str = "") -> None:
        """A sub-agent has ended."""
        if id_ and id_ in self.agents:
            self._close(f"agent:{id_}", at, signals, outcome, error_type)

    # Messages -------------------------------------------------------------------------------------------------

    def message(self, event: Any, at: int, signals: list[Signal]) -> None:
        """An assistant's message: of a call whose stream is seen, or all that is seen of it."""
        self.error = text_of(event, "error") or self.error
        message = field(event, "message")
        model, id_ = text_of(message, "model"), text_of(message, "id") or "?"
        agent = self.agent(event, at, signals) if model != _SYNTHETIC else None
        if agent is None:
            return
        copy, late = (id_ != "?" and id_ == seen for seen in (agent.streamed, agent.done))
        if not copy and not late:
            if agent.decoder is not None or agent.message not in ("", id_):
                self.end_call(agent, at, signals)
            self.call(agent, at, signals, model if agent.id else "")
            if not agent.message:
                self.begun(agent, id_, model, message, at, signals)
            agent.last = at
        for block in _blocks(message):
            self._block(agent, block, at, signals, copy, agent.key if late else agent.call)

    def _block(self, agent: Agent, block: Any, at: int, signals: list[Signal], copy: bool, key: str) -> None:
        kind = text_of(block, "type")
        if kind in _TEXTS:
            name, chunk = _TEXTS[kind]
            piece = text_of(block, name)
            if piece and not copy:
                signals.append(Chunk(key, at, chunk, piece))
            return
        if copy and kind != "tool_use":
            return  # the stream has told of the tools on the API's side
        if kind == "tool_use" or kind in _ON_SERVER:
            arguments = json_text(field(block, "input"))
            if arguments and not copy:
                signals.append(Chunk(key, at, TOOL_CALL, arguments))
            self._begin(block, arguments, agent.key, at, signals)
        elif kind.endswith("_tool_result"):
            self._result(block, at, signals)

    # Tools ----------------------------------------------------------------------------------------------------

    def _begin(self, block: Any, arguments: str, above: str, at: int, signals: list[Signal]) -> None:
        id_ = text_of(block, "id")
        key = f"tool:{id_}"
        if not id_ or key in self.open or len(self.open) >= MAX_CALLS:
            return
        facts = {semconv.GEN_AI_TOOL_CALL_ID: id_}
        if arguments:
            facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments
        self.open[key] = above
        signals.append(Opened(key, at, semconv.EXECUTE_TOOL, text_of(block, "name"), above, facts))

    def results(self, event: Any, at: int, signals: list[Signal]) -> None:
        """A user's message of the CLI's own: what tools gave."""
        found = [block for block in _blocks(field(event, "message")) if text_of(block, "type") == "tool_result"]
        for block in found:
            self._result(block, at, signals)
        if found:
            self.free(event, at, signals)

    def _result(self, block: Any, at: int, signals: list[Signal]) -> None:
        id_ = text_of(block, "tool_use_id")
        key = f"tool:{id_}"
        if key not in self.open:
            return
        content = field(block, "content")
        output = word(content) or "".join(text_of(part, "text") for part in _blocks(block))
        if output:
            signals.append(Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: output}))
        if id_ in self.denied:
            self.denied.discard(id_)
            self._close(key, at, signals, Outcome.FAILED, DENIED)
        elif field(block, "is_error") is True or text_of(content, "error_code"):
            self._close(key, at, signals, Outcome.FAILED, text_of(content, "error_code") or "tool_error")
        else:
            self._close(key, at, signals, Outcome.COMPLETED)

    def _close(self, key: str, at: int, signals: list[Signal], outcome: Outcome, error_type: str = "") -> None:
        """The end of a tool or a sub-agent, and of what is below it."""
        below = [other for other in reversed(self.open) if self._is_below(other, key)]
        for each in (*below, key):
            agent = self.agents.pop(each.removeprefix("agent:"), None) if each.startswith("agent:") else None
            if agent is not None:
                self.end_call(agent, at, signals, outcome, error_type)
            signals.append(Closed(each, at, outcome, error_type))
            del self.open[each]

    def _is_below(self, key: str, other: str) -> bool:
        above = self.open[key]
        while above not in (RUN, other):
            above = self.open.get(above, RUN)
        return above == other

    # Hooks, compaction ----------------------------------------------------------------------------------------

    def step(self, key: str, name: str, at: int, signals: list[Signal]) -> None:
        if key not in self.steps and len(self.steps) < MAX_CALLS:
            self.steps.add(key)
            signals.append(Opened(key, at, semconv.STEP, name))

    def end_step(
        self, key: str, at: int, signals: list[Signal], outcome: Outcome = Outcome.COMPLETED, error_type: str = ""
    ) -> None:
        if key in self.steps:
            self.steps.discard(key)
            signals.append(Closed(key, at, outcome, error_type))

    def end(self, at: int, signals: list[Signal], outcome: Outcome, error_type: str) -> None:
        """The turn is over. What else is open ends with the run, and so says that its own end was not seen."""
        how = Outcome.TRUNCATED if outcome is Outcome.COMPLETED else outcome
        for agent in reversed(self.agents.values()):
            self.end_call(agent, at, signals, how, error_type)


def _blocks(message: Any) -> list[Any]:
    """A message's content blocks; none where that is just text."""
    content = field(message, "content")
    return content if content.__class__ is list else []
