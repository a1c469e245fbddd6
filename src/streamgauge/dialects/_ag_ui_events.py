"""The events of AG-UI 1.0, however they come: what each tells.

Several runs may follow each other in one stream; each is a run here. Below it are its steps, its sub-agents, and the
tool calls whose result comes: a call that the caller is to make itself is only requested. A run that stops for an
interrupt has asked a person, and is complete: its continuation is another run.

Source: as in `ag_ui`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code, either
from streamgauge.dialects._answers import count, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded, plain
from streamgauge.dialects._parameters import text
from streamgauge.dialects._tool_calls import ToolCalls, key
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

__all__ = ["AgUiEvents"]

_REASONING: Final = frozenset({"REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK", "THINKING_TEXT_MESSAGE_CONTENT"})
_SILENT: Final = (
    "STATE_SNAPSHOT", "STATE_DELTA", "MESSAGES_SNAPSHOT", "ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA", "RAW",
    "REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_END", "REASONING_END",
    "REASONING_ENCRYPTED_VALUE", "THINKING_START", "THINKING_END", "THINKING_TEXT_MESSAGE_START",
    "THINKING_TEXT_MESSAGE_END",
)  # fmt: skip


class AgUiEvents(Dialect):
    """The events of one stream."""

    terminal = True
    only_waits_between_chunks = True
    framing = "sse"
    alike = ("delta",)
    noise = ("timestamp",)
    events: ClassVar[Mapping[str, str]] = {
        "RUN_STARTED": "the conversation; after a run's end the next run; within one, a nested run",
        "RUN_FINISHED": "usage, and the end of the run: `cancelled` where its outcome says so, and where that is an "
        "interrupt, a person is asked",
        "RUN_ERROR": "usage, and the end of the run, `failed`",
        "STEP_STARTED": "a step",
        "STEP_FINISHED": "the end of the step",
        "SUBAGENT_STARTED": "a nested run",
        "SUBAGENT_FINISHED": "the end of the nested run",
        "SUBAGENT_ERROR": "the end of the nested run, `failed`",
        "TEXT_MESSAGE_START": "nothing; the role that is no assistant's is kept",
        "TEXT_MESSAGE_CONTENT": "a chunk of text, where an assistant says it",
        "TEXT_MESSAGE_CHUNK": "a chunk of text, where an assistant says it",
        "TEXT_MESSAGE_END": "nothing",
        "TOOL_CALL_START": "nothing yet; where no result comes, the span event streamgauge.tool.requested",
        "TOOL_CALL_ARGS": "a chunk of a tool call",
        "TOOL_CALL_CHUNK": "a chunk of a tool call",
        "TOOL_CALL_END": "nothing yet: the time at which the tool begins",
        "TOOL_CALL_RESULT": "the tool call, from its end to its result",
        "REASONING_MESSAGE_CONTENT": "a chunk of reasoning",
        "REASONING_MESSAGE_CHUNK": "a chunk of reasoning",
        "THINKING_TEXT_MESSAGE_CONTENT": "a chunk of reasoning (before 1.0)",
        "CUSTOM": "nothing; named `on_interrupt`, a person is asked",
        **dict.fromkeys(_SILENT, "nothing"),
    }

    __slots__ = (
        "_agents", "_asked", "_calls", "_echoed", "_last_call", "_nested", "_over", "_run_id", "_started", "_steady",
        "_steps", "_unsaid",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._begin("")
        self._started = False

    def _begin(self, run_id: str) -> None:
        self._run_id = run_id
        self._started = True
        self._asked = False  # a person is, in this run
        self._nested: dict[str, str] = {}  # runs within the run, by id: their keys
        self._agents: dict[str, tuple[str, str]] = {}  # sub-agents, by id: their keys and those above
        self._steps: dict[tuple[str, str], str] = {}
        self._calls = ToolCalls()
        self._last_call = ""  # that a chunk without an id goes on with
        self._echoed: set[str] = set()  # messages that nobody generates: a user's, a developer's
        self._unsaid = False  # the message that chunks without an id belong to is one of those
        self._steady = False  # a text is a chunk of the run, and nothing else

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The thread. See `Dialect.asked`."""
        conversation = text(body, "threadId") or text(body, "thread_id")
        return {"operation": INVOKE_AGENT, "conversation_id": conversation}

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is not dict:
            data = loaded(data)
        kind = data.get("type") if data.__class__ is dict else plain(field(data, "type"))
        if kind == "TEXT_MESSAGE_CONTENT" and self._steady:
            delta = data.get("delta") if data.__class__ is dict else field(data, "delta")
            return Chunk(RUN, at, TEXT, delta) if delta.__class__ is str and delta else NOTHING
        rule = _RULES.get(kind) if kind.__class__ is str else None
        if rule is None or (self._over and kind != "RUN_STARTED"):
            return NOTHING
        signals = rule(self, data, at)
        self._steady = not (self._over or self._echoed or self._agents or self._nested)
        return signals

    def untold(self, at: int) -> Signals:
        return self._calls.left()

    def finish(self, at: int) -> Signals:
        return self._calls.left()

    def _here(self, data: Any) -> str:
        """The key of the operation that an event is about."""
        if self._agents:
            agent = self._agents.get(word(either(data, "subagentRunId", "subagent_run_id")))
            if agent is not None:
                return agent[0]
        return next(reversed(self._nested.values()), RUN)

    def _gone(self, key_: str) -> None:
        """An operation has ended, and with it all that is below it."""
        gone = {key_}
        for id_, (agent, above) in list(self._agents.items()):  # what is below comes after what it is below
            if above in gone:
                gone.add(agent)
                del self._agents[id_]
        self._steps = {place: step for place, step in self._steps.items() if place[0] not in gone}

    # Runs -----------------------------------------------------------------------------------------------------

    def _run_started(self, data: Any, at: int) -> Signals:
        run_id, thread = word(either(data, "runId", "run_id")), word(either(data, "threadId", "thread_id"))
        facts = {semconv.GEN_AI_CONVERSATION_ID: thread} if thread else {}
        if self._over:
            self._over = False
            self._begin(run_id)
            return (Opened(RUN, at, INVOKE_AGENT, attributes=facts),)
        if not self._started:
            self._begin(run_id)
            return (Noted(RUN, at, facts),) if facts else NOTHING
        if run_id in ("", self._run_id) or run_id in self._nested:
            return NOTHING
        parent = next(reversed(self._nested.values()), RUN)
        self._nested[run_id] = f"run:{run_id}"
        return (Opened(self._nested[run_id], at, INVOKE_AGENT, "", parent, facts),)

    def _run_finished(self, data: Any, at: int) -> Signals:
        nested = self._nested.pop(word(either(data, "runId", "run_id")), None)
        outcome = field(data, "outcome")
        how = plain(field(outcome, "type")) or plain(outcome) if outcome is not None else ""
        signals: list[Signal] = [] if nested else self._calls.left()
        if how == "interrupt" and not self._asked:
            signals.append(Noted(nested or RUN, at, {}, PERSON_ASKED))
        signals += _used(data, at, nested or RUN)
        signals.append(Closed(nested or RUN, at, Outcome.CANCELLED if how == "cancelled" else Outcome.COMPLETED))
        self._over = not nested
        self._gone(nested or RUN)
        return signals

    def _run_error(self, data: Any, at: int) -> Signals:
        self._over = True
        error = Closed(RUN, at, Outcome.FAILED, code(field(data, "code")), word(field(data, "message")))
        return [*self._calls.left(), *_used(data, at, RUN), error]

    # What is below --------------------------------------------------------------------------------------------

    def _step_started(self, data: Any, at: int) -> Signals:
        name, parent = word(either(data, "stepName", "step_name")), self._here(data)
        step = self._steps[parent, name] = f"step:{parent}/{name}"
        return (Opened(step, at, semconv.STEP, name, parent),)

    def _step_finished(self, data: Any, at: int) -> Signals:
        step = self._steps.pop((self._here(data), word(either(data, "stepName", "step_name"))), "")
        return (Closed(step, at),) if step else NOTHING

    def _subagent_started(self, data: Any, at: int) -> Signals:
        id_ = word(either(data, "subagentRunId", "subagent_run_id"))
        if id_ in self._agents:
            return NOTHING
        call = word(either(data, "parentToolCallId", "parent_tool_call_id"))
        signals = self._calls.running(call, at)
        above = self._agents.get(word(either(data, "parentSubagentRunId", "parent_subagent_run_id")))
        parent = above[0] if above is not None else next(reversed(self._nested.values()), RUN)
        if call in self._calls:
            parent = key(call)
        self._agents[id_] = (f"agent:{id_}", parent)
        return [*signals, Opened(f"agent:{id_}", at, INVOKE_AGENT, word(field(data, "name")), parent)]

    def _subagent_ended(self, data: Any, at: int) -> Signals:
        agent, _ = self._agents.pop(word(either(data, "subagentRunId", "subagent_run_id")), ("", ""))
        if not agent:
            return NOTHING
        self._gone(agent)
        if plain(field(data, "type")) == "SUBAGENT_FINISHED":
            return (Closed(agent, at),)
        return (Closed(agent, at, Outcome.FAILED, code(field(data, "code")), word(field(data, "message"))),)

    # What is said ---------------------------------------------------------------------------------------------

    def _message_start(self, data: Any, at: int) -> Signals:
        if plain(field(data, "role")) not in ("", "assistant"):
            self._echoed.add(word(either(data, "messageId", "message_id")))
        return NOTHING

    def _message_end(self, data: Any, at: int) -> Signals:
        self._echoed.discard(word(either(data, "messageId", "message_id")))
        return NOTHING

    def _content(self, data: Any, at: int) -> Signals:
        delta = word(field(data, "delta"))
        if not delta or word(either(data, "messageId", "message_id")) in self._echoed:
            return NOTHING
        return Chunk(self._here(data), at, TEXT, delta)

    def _message_chunk(self, data: Any, at: int) -> Signals:
        message, role = word(either(data, "messageId", "message_id")), plain(field(data, "role"))
        if message or role:
            self._unsaid = role not in ("", "assistant") or message in self._echoed
        delta = word(field(data, "delta"))
        return Chunk(self._here(data), at, TEXT, delta) if delta and not self._unsaid else NOTHING

    def _reasoning(self, data: Any, at: int) -> Signals:
        delta = word(field(data, "delta"))
        return Chunk(self._here(data), at, REASONING, delta) if delta else NOTHING

    def _call(self, data: Any, at: int) -> Signals:
        """`TOOL_CALL_START`, `TOOL_CALL_ARGS` or `TOOL_CALL_CHUNK`: the start of a call, more of it, or both."""
        id_ = self._last_call = word(either(data, "toolCallId", "tool_call_id")) or self._last_call
        name = word(either(data, "toolCallName", "tool_call_name"))
        if name:
            here = self._here(data)
            steps = [step for (owner, _), step in self._steps.items() if owner == here]
            self._calls.asked(id_, name, at, steps[-1] if steps else here)
        delta = word(field(data, "delta"))
        if not delta:
            return NOTHING
        self._calls.grew(id_, delta, at)
        return Chunk(self._here(data), at, TOOL_CALL, delta)

    def _call_end(self, data: Any, at: int) -> Signals:
        self._calls.complete(word(either(data, "toolCallId", "tool_call_id")), at)
        return NOTHING

    def _call_result(self, data: Any, at: int) -> Signals:
        id_ = word(either(data, "toolCallId", "tool_call_id"))
        self._gone(key(id_))
        return self._calls.ended(id_, at, field(data, "content"))

    def _custom(self, data: Any, at: int) -> Signals:
        if field(data, "name") != "on_interrupt" or self._asked:
            return NOTHING
        self._asked = True
        return (Noted(RUN, at, {}, PERSON_ASKED),)


_Rule = Callable[[AgUiEvents, Any, int], Signals]

_RULES: Final[Mapping[str, _Rule]] = {
    "RUN_STARTED": AgUiEvents._run_started,
    "RUN_FINISHED": AgUiEvents._run_finished,
    "RUN_ERROR": AgUiEvents._run_error,
    "STEP_STARTED": AgUiEvents._step_started,
    "STEP_FINISHED": AgUiEvents._step_finished,
    "SUBAGENT_STARTED": AgUiEvents._subagent_started,
    "SUBAGENT_FINISHED": AgUiEvents._subagent_ended,
    "SUBAGENT_ERROR": AgUiEvents._subagent_ended,
    "TEXT_MESSAGE_START": AgUiEvents._message_start,
    "TEXT_MESSAGE_CONTENT": AgUiEvents._content,
    "TEXT_MESSAGE_CHUNK": AgUiEvents._message_chunk,
    "TEXT_MESSAGE_END": AgUiEvents._message_end,
    "TOOL_CALL_START": AgUiEvents._call,
    "TOOL_CALL_ARGS": AgUiEvents._call,
    "TOOL_CALL_CHUNK": AgUiEvents._call,
    "TOOL_CALL_END": AgUiEvents._call_end,
    "TOOL_CALL_RESULT": AgUiEvents._call_result,
    "CUSTOM": AgUiEvents._custom,
    **dict.fromkeys(_REASONING, AgUiEvents._reasoning),
}


def _used(data: Any, at: int, run: str) -> list[Signal]:
    """The usage of a run: one entry for each model, added up. A model that is the only one is named."""
    entries = field(data, "usage")
    if not isinstance(entries, list | tuple) or not entries:
        return []
    totals: list[int | None] = [None] * len(_COUNTS)
    for entry in entries:
        for index, names in enumerate(_COUNTS):
            found = count(either(entry, *names))
            if found is not None:
                totals[index] = (totals[index] or 0) + found
    models = {word(field(entry, "model")) for entry in entries} - {""}
    signals: list[Signal] = [
        Noted(run, at, {semconv.GEN_AI_RESPONSE_MODEL: each}) for each in models if len(models) == 1
    ]
    if any(total is not None for total in totals):
        signals.append(Usage(run, at, *totals))
    return signals


_COUNTS: Final = (
    ("inputTokens", "input_tokens"),
    ("outputTokens", "output_tokens"),
    ("cachedInputTokens", "cached_input_tokens"),
    ("cacheWriteInputTokens", "cache_write_input_tokens"),
    ("reasoningTokens", "reasoning_tokens"),
)
"""In the order of `Usage`."""
