"""One agent's run in shipit_agent's event stream: what is open in it, and how its events change that.

In goes one event of that run (`Told`); out come the signals of its steps, model calls and tool calls. Which event does
what is in `_shipit_rules.py`; runs, sub-agents and the forms that events come in are `shipit_agent.py`'s.

Source: shipit-agent 2.2.1, the files that `shipit_agent.py` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from streamgauge import semconv
from streamgauge.dialects._shipit_event import Told, text_of
from streamgauge.dialects._shipit_tools import PARTS, Tool, Tools, attributes, encoded
from streamgauge.semconv import CHAT, EXECUTE_TOOL, INVOKE_AGENT, STEP
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    TOOL_QUEUED,
    TOOL_SKIPPED,
    Chunk,
    Closed,
    Noted,
    Opened,
    Retried,
    Signal,
    Usage,
)
from streamgauge.wire import Granularity, Outcome

__all__ = ["Run", "Signals"]

Signals: TypeAlias = Iterator[Signal]

_PLANNING: Final = "planning"
_COMPACTION: Final = "compaction"
_TICK: Final = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_SUMMARY: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


class Run:
    """One agent's run: the stream's own, or one below it. It holds what is open, and no more."""

    __slots__ = (
        "asked", "before", "call_key", "chat", "children", "compacting", "depth", "ended", "id", "key", "label",
        "numbers", "outer", "over", "spoken", "started", "step", "step_key", "steps", "ticked", "tools", "total",
        "under",
    )  # fmt: skip

    def __init__(self, key: str = RUN, outer: Run | None = None, label: str = "", id: str = "", under: str = ""):
        self.key = key
        self.outer = outer
        self.label = label
        self.id = id
        self.under = under
        """The key of the operation that it was opened below."""
        self.depth: int = outer.depth + 1 if outer else 0
        self.started = self.over = False
        self.numbers = 0
        """Runs that were opened below it so far; they are numbered."""
        self.children: list[Run] = []
        self.step_key = f"{key}/step"
        self.step = ""
        """The open step's name."""
        self.steps = 0
        self.call_key = f"{key}/call"
        self.chat = key
        """Where chunks go: the open model call, else the run itself."""
        self.ended: int | None = None
        """When the model call was over, while its reasoning or its text is still to be told."""
        self.compacting: int | None = None
        """Since when the conversation is being compacted."""
        self.spoken = False
        """Text was seen, or none that a model wrote is to come."""
        self.asked = False
        self.ticked = False
        self.before: tuple[int, ...] = (0, 0, 0, 0)
        """Tokens, in all, up to the open model call."""
        self.total: tuple[int, ...] = self.before
        self.tools = Tools()

    @property
    def here(self) -> str:
        """What operations are opened below: the step, else the run."""
        return self.step_key if self.step else self.key

    def tool_key(self, call: str) -> str:
        return f"{self.key}/tool/{call}"

    def below(self, label: str, id: str, under: str) -> Run:
        self.numbers += 1
        return Run(f"{self.key}/agent/{self.numbers}", self, label, id, under)

    # Steps and model calls ------------------------------------------------------------------------------------

    def step_started(self, told: Told) -> Signals:
        iteration, step = told.payload.get("iteration"), told.payload.get("step")
        names = [str(name) for name in (iteration, step) if name.__class__ in (int, str)]
        yield from self._open_step(told.own, next(filter(None, names), "")[:64])
        if iteration is not None:  # without one it is a step of a class above the agents, which shows no model calls
            yield from self._open_call(told.own)

    def _open_step(self, own: int, name: str) -> Signals:
        yield from self.end_step(own)
        if self.asked:  # it goes on, so there was an answer, or none was needed
            self.asked = False
            yield Noted(self.key, own, {}, PERSON_ANSWERED)
        self.steps += 1
        self.step = name or str(self.steps)
        self.tools.since = own
        yield Opened(self.step_key, own, STEP, self.step, self.key)

    def end_step(self, own: int) -> Signals:
        yield from self.end_call(own)
        if self.step:
            yield Closed(self.step_key, own)
            self.step = ""
            self.compacting = None
            self.tools.clear()
            self.children = [child for child in self.children if child.under == self.key]

    def _open_call(self, own: int) -> Signals:
        self.chat = self.call_key
        yield Opened(self.call_key, own, CHAT, "", self.here)

    def end_call(self, own: int) -> Signals:
        if self.chat is self.call_key:
            yield Closed(self.call_key, own if self.ended is None else self.ended)
            self.chat = self.key
            self.before = self.total
        self.ended = None

    def planning_started(self, told: Told) -> Signals:
        yield from self._open_step(told.own, _PLANNING)

    def planning_completed(self, told: Told) -> Signals:
        if self.step == _PLANNING:
            yield from self.end_step(told.own)

    def compaction_started(self, told: Told) -> Signals:
        yield from self._open_step(told.own, _COMPACTION)
        self.compacting = told.own

    def context_compacted(self, told: Told) -> Signals:
        if self.compacting is not None:
            yield from self.end_step(told.own)

    def llm_retry(self, told: Told) -> Signals:
        delay = told.payload.get("delay")
        seconds = float(delay) if delay.__class__ in (int, float) else None
        yield Retried(self.chat, told.own, "model", told.attempt, "", seconds)

    # Usage ----------------------------------------------------------------------------------------------------

    def usage_tick(self, told: Told) -> Signals:
        """The run's tokens up to now. Those of a tick outside any model call count with the next call."""
        self.total = tuple(map(max, _tokens(told.payload.get("usage"), _TICK), self.total))
        self.ticked = True
        if self.compacting is not None and self.chat is self.key:  # a model wrote the summary
            yield from self._open_call(self.compacting)
        if self.chat is self.call_key:
            call = tuple(now - then for now, then in zip(self.total, self.before, strict=True))
            yield from _usage(self.call_key, told.own, call)
            self.ended = told.own

    def run_summary(self, told: Told) -> Signals:
        reason = told.text("finish_reason")
        if reason:
            yield Noted(self.key, told.at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (reason,)})
        if not self.ticked:  # `stream_v2` has only the sum
            yield from _usage(self.key, told.at, _tokens(told.payload.get("usage"), _SUMMARY))

    # Output ---------------------------------------------------------------------------------------------------

    def text_delta(self, told: Told) -> Signals:
        """A sub-agent's: those of the stream's own run never come this far."""
        text = told.text("chunk")
        if text:
            self.spoken = True
            yield Chunk(self.chat, told.at, TEXT, text)

    def reasoned(self, told: Told) -> Signals:
        text = told.text("chunk", "content")
        if text:
            yield Chunk(self.chat, told.at, REASONING, text)

    def tool_input_delta(self, told: Told) -> Signals:
        text = told.text("delta", "chunk")
        if text:
            yield Chunk(self.chat, told.at, TOOL_CALL, text)

    def final_answer(self, told: Told) -> Signals:
        yield from self.answer(told)
        yield from self.end_step(told.own)

    def answer(self, told: Told) -> Signals:
        """The whole text is one chunk where nothing of it came before: the model's adapter does not stream."""
        text = told.text("content", "text", "output")
        if text and not self.spoken:
            self.spoken = True
            if self.key == RUN:
                yield Noted(RUN, told.at, {semconv.STREAMGAUGE_STREAM_GRANULARITY: Granularity.MESSAGE.value})
            yield Chunk(self.chat, told.at, TEXT, text)

    def notice(self, told: Told) -> Signals:
        """What comes for an answer now is no model's."""
        if told.type != "guardrail_triggered" or told.payload.get("stage") == "input":
            self.spoken = True
        yield from ()

    # Persons --------------------------------------------------------------------------------------------------

    def interactive_request(self, told: Told) -> Signals:
        self.asked = True
        yield Noted(self.key, told.own, {}, PERSON_ASKED)

    def approval_required(self, told: Told) -> Signals:
        call = self.tools.about(told)
        self.asked = True
        yield Noted(self.tool_key(call) if call else self.key, told.own, {}, PERSON_ASKED)

    # Tools ----------------------------------------------------------------------------------------------------

    def group_started(self, told: Told) -> Signals:
        yield from self.end_call(told.own)
        tools = told.payload.get("tools")
        calls = [call for call in tools if call.__class__ is dict] if tools.__class__ is list else []
        named = [(text_of(call.get("call_id")), text_of(call.get("name"))) for call in calls]
        self.tools.pending = {call: name for call, name in named if call}
        self.tools.since = told.own

    def group_completed(self, told: Told) -> Signals:
        self.tools.pending.clear()
        yield from ()

    def tool_called(self, told: Told) -> Signals:
        if self.step == _PLANNING:
            yield from self.end_step(told.own)
        yield from self.end_call(told.own)
        name = told.text(*PARTS)
        call = told.call or name
        if not call:
            return
        arguments = told.payload.get("arguments")
        self.tools.pending.pop(call, None)
        self.tools.open[call] = Tool(name, arguments.__class__ is dict and bool(arguments.get("background")))
        agent = "" if told.text("tool") else told.text("worker", "agent")
        if agent:  # a team's, a crew's or a supervisor's delegation
            yield Opened(self.tool_key(call), told.own, INVOKE_AGENT, agent, self.here)
        else:
            yield Opened(self.tool_key(call), told.own, EXECUTE_TOOL, name, self.here, attributes(told, told.call))

    def tool_completed(self, told: Told) -> Signals:
        yield from self._end_tool(told, Outcome.COMPLETED)

    def tool_failed(self, told: Told) -> Signals:
        metadata, error = told.payload.get("metadata"), told.text("error")
        error_type = text_of(metadata.get("error_type")) if metadata.__class__ is dict else ""
        if error == "tool_not_registered":  # the one code that there is; all else is an exception's text
            error_type = error
        yield from self._end_tool(told, Outcome.FAILED, error_type, error)

    def tool_denied(self, told: Told) -> Signals:
        error_type = "permission_denied" if told.payload.get("decision") == "deny" else "permission_required"
        yield from self._end_tool(told, Outcome.FAILED, error_type, told.text("reason"))

    def tool_rejected(self, told: Told) -> Signals:
        yield from self._end_tool(told, Outcome.FAILED, "missing_required_arguments")

    def tool_put_off(self, told: Told) -> Signals:
        call, name = self.tools.announced(told)
        self.tools.pending.pop(call, None)
        attributes = {semconv.GEN_AI_TOOL_NAME: name} if name else {}
        yield Noted(self.here, told.own, attributes, TOOL_QUEUED if told.type == "action_queued" else TOOL_SKIPPED)

    def tool_retry(self, told: Told) -> Signals:
        """`astream` tells neither the call nor, outside the message, the tool."""
        call = self.tools.about(told) or self.tools.named(told.named) or next(reversed(self.tools.open), "")
        if call:
            yield Retried(self.tool_key(call), told.own, "tool", told.attempt)

    def _end_tool(self, told: Told, outcome: Outcome, error_type: str = "", message: str = "") -> Signals:
        call = self.tools.about(told)
        if not call:
            call, name = self.tools.announced(told)
            if not call:
                return
            # Never called: unregistered, refused, or carried out on approval. It began where the one before ended.
            start = told.own if self.tools.since is None else self.tools.since
            yield Opened(self.tool_key(call), start, EXECUTE_TOOL, name, self.here, attributes(told, call))
        key = self.tool_key(call)
        self.tools.pending.pop(call, None)
        self.tools.open.pop(call, None)
        self.children = [child for child in self.children if child.under != key]
        self.tools.since = told.own
        output = told.payload.get("output")
        if output is not None:
            yield Noted(key, told.own, {semconv.GEN_AI_TOOL_CALL_RESULT: encoded(output)})
        yield Closed(key, told.own, outcome, error_type, message)


def _tokens(usage: Any, names: Sequence[str]) -> tuple[int, ...]:
    counts = [usage.get(name) for name in names] if usage.__class__ is dict else [0, 0, 0, 0]
    return tuple(count if count.__class__ is int and count > 0 else 0 for count in counts)


def _usage(key: str, at: int, tokens: tuple[int, ...]) -> Signals:
    """Zero is what the system writes for unknown. Whether the input includes what was cached depends on the model's
    adapter and is not told; it does not where more was cached than there was input."""
    read, output, cached, written = tokens
    if cached + written > read:
        read += cached + written
    if read or output:
        yield Usage(key, at, read or None, output or None, cached or None, written or None)
