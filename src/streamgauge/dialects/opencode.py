"""opencode: what `opencode run --format json` prints.

In go the lines of its output and, as the aside `sent`, those of its input, which are more of its prompt. Out comes one
run, from the process's start to the last step. A step is a `chat` and the tools that the model asked for in it: the
model call ends with its last text, or with the start of its first tool, and the tools have their own times. What a
tool was given is no chunk: it is printed when the tool has ended. No line says that the turn is over: it is when a step
ended for another reason than tools, and opencode ends well. Asides of its own:

    started  the process was started: the run begins

Texts and tools are printed when they are complete, and the model's name, sub-agents' events and retries are not.

Source: anomalyco/opencode (formerly sst/opencode), `packages/opencode/src/cli/cmd/run.ts` at 00f9806;
`packages/opencode/src/session/message-v2.ts` at 007a940 for the parts; of their tokens, `getUsage` in
`packages/opencode/src/session/`: input without what is cached, output without reasoning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import count, json_text, word
from streamgauge.dialects._command_line import options
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._turns import interrupted
from streamgauge.signals import (
    REASONING,
    RUN,
    TEXT,
    Chunk,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import Aside, Granularity, Outcome

__all__ = ["Opencode"]

_CALL: Final = "chat:"
_ABORTED: Final = "MessageAbortedError"
_TOOLS: Final = "tool-calls"
"""Why a step ended after which there is another."""
_MOST_TEXT: Final = 16_384  # characters: what a span shows of a content attribute, by default
_MOST_PARTS: Final = 4096
"""Parts whose ids are kept: one may be printed again."""

_Counts = tuple[int, int, int, int, int]


class Opencode(Dialect):
    """What one process prints."""

    name = "opencode"
    system = "opencode 1, run --format json"
    only_waits_between_chunks = True
    terminal = True
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    opens_runs = True
    commands = (r"^(\S+\s(-\S+\s)*)?(\S*[/'])?opencode(-ai)?(@\S+|\.exe)?'?\s(.*\s)?run\s(.*\s)?--format[= ]json\b",)
    events: ClassVar[Mapping[str, str]] = {
        "sent": "a run, where none has begun: more of the prompt",
        "step_start": "a run, where none has begun, with the conversation id; a model call",
        "text": "a text chunk",
        "reasoning": "a chunk of reasoning",
        "tool_use": "a tool call, with its own times: `failed` where its status is `error`",
        "step_finish": "finish reason, tokens and cost; the end of the model call; of the run, where no step follows",
        "error": "nothing; how the run then fails, where no step follows",
        "done": "the end of the run, as of its last step (not in all versions)",
    }

    __slots__ = (
        "_calling", "_cost", "_error", "_finished", "_last", "_over", "_parts", "_reason", "_run", "_since", "_spent",
        "_tool",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._run = self._over = False
        self._calling = False
        self._since = 0  # from when on the model can have been called
        self._last = 0  # when the last of its model call came
        self._tool: int | None = None  # when the first tool of the step began
        self._finished: int | None = None  # when the last step did, if it may be the turn's last
        self._reason = ""
        self._error: Any = None  # the last one
        self._spent: _Counts | None = None
        self._cost: float | None = None
        self._parts: set[str] = set()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """Of a process: what its command line tells.

        Args:
            path: the command line.
        """
        given = options(path, {"-m": "model", "--model": "model"})
        provider, _, model = given.get("model", "").partition("/")
        return {"agent_name": cls.name, **({"model": model, "provider_name": provider} if model else {})}

    def feed(self, data: Any, at: int) -> Signals:
        signals: list[Signal] = []
        if data.__class__ is Aside:
            if data.name in ("started", "sent") and not self._over:
                self._begin(at, "", signals)
            return signals
        event = loaded(data)
        type_ = field(event, "type")
        handler = _EVENTS.get(type_) if type_.__class__ is str else None
        if handler is None or self._over:
            return NOTHING
        self._begin(at, word(field(event, "sessionID")), signals)
        handler(self, event, field(event, "part"), at, signals)
        return signals

    def untold(self, at: int) -> Signals:
        """Ended by a signal, or with an exit code. An error that was told says why."""
        signals: list[Signal] = []
        if self._run and self._error is not None:
            self._end(at, signals)
        return signals

    def finish(self, at: int) -> Signals:
        signals: list[Signal] = []
        if self._run and (self._error is not None or self._finished is not None):
            self._end(at, signals)
        return signals

    def _begin(self, at: int, session: str, signals: list[Signal]) -> None:
        if self._run:
            return
        self._run = True
        self._since = at
        facts = {semconv.GEN_AI_CONVERSATION_ID: session} if session else {}
        signals.append(Opened(RUN, self._since, semconv.INVOKE_AGENT, attributes=facts))

    def _own_time(self, event: Any, name: str, at: int) -> int:
        epoch_ms = field(event, name)
        return self.when(epoch_ms / 1000, at) if epoch_ms.__class__ in (int, float) else at

    def _is_new(self, part: Any) -> bool:
        id_ = word(field(part, "id"))
        if not id_ or id_ in self._parts or len(self._parts) >= _MOST_PARTS:
            return not id_ or id_ not in self._parts
        self._parts.add(id_)
        return True

    # Events ---------------------------------------------------------------------------------------------------

    def _step_start(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        session = word(field(event, "sessionID"))
        if session:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_CONVERSATION_ID: session}))
        self._end_call(at, signals)
        self._error = self._finished = None  # what failed was tried again
        self._call(signals)

    def _call(self, signals: list[Signal]) -> None:
        """The model is called, from when it had all it needs: a step is told of when its answer begins."""
        if not self._calling:
            self._calling, self._tool, self._last = True, None, 0
            signals.append(Opened(_CALL, self._since, semconv.CHAT))

    def _said(self, kind: str, part: Any, at: int, signals: list[Signal]) -> None:
        text = word(field(part, "text"))
        if text and self._is_new(part):
            self._call(signals)
            signals.append(Chunk(_CALL, at, kind, text))
            self._last = at

    def _text(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        self._said(TEXT, part, at, signals)

    def _reasoning(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        self._said(REASONING, part, at, signals)

    def _tool_use(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        id_, state = word(field(part, "callID")), field(part, "state")
        if not id_ or not self._is_new(part):
            return
        times = field(state, "time")
        ended = self._own_time(times, "end", at)
        began = min(self._own_time(times, "start", ended), ended)
        began = max(began, self._since)
        self._call(signals)
        arguments = json_text(field(state, "input"))[:_MOST_TEXT]
        self._tool = began if self._tool is None else min(self._tool, began)
        key = f"tool:{id_}"
        facts = {semconv.GEN_AI_TOOL_CALL_ID: id_}
        if arguments not in ("", "{}"):
            facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments
        signals.append(Opened(key, began, semconv.EXECUTE_TOOL, word(field(part, "tool")), RUN, facts))
        failed = field(state, "status") == "error"
        result = word(field(state, "error" if failed else "output"))
        if result:
            signals.append(Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: result[:_MOST_TEXT]}))
        ended = max(began, ended)
        signals.append(Closed(key, ended, Outcome.FAILED, "tool_error") if failed else Closed(key, ended))

    def _step_finish(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        if not self._is_new(part):
            return
        self._call(signals)
        self._reason = word(field(part, "reason"))
        if self._reason:
            signals.append(Noted(_CALL, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (self._reason,)}))
        spent = _tokens(field(part, "tokens"))
        if spent is not None:
            signals.append(Usage(_CALL, at, *spent))
            self._spent = spent if self._spent is None else _sum(self._spent, spent)
            signals.append(Usage(RUN, at, *self._spent))
        cost = field(part, "cost")
        if cost.__class__ in (int, float) and 0 <= cost < 1e12:
            self._cost = round((self._cost or 0.0) + cost, 12)
            signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_COST_USD: self._cost}))
        self._end_call(at, signals)
        self._since = at
        self._finished = at if self._reason != _TOOLS else None

    def _end_call(self, at: int, signals: list[Signal]) -> None:
        """As of its last text, or the start of its first tool, whichever is later; where it had neither, now."""
        if self._calling:
            self._calling = False
            signals.append(Closed(_CALL, max(self._last, self._tool or 0) or at))

    def _failed(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        self._error = field(event, "error") or {}

    def _done(self, event: Any, part: Any, at: int, signals: list[Signal]) -> None:
        self._end(at, signals)

    def _end(self, at: int, signals: list[Signal]) -> None:
        self._run, self._over = False, True
        if self._reason and self._error is None:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (self._reason,)}))
        if self._error is None:
            signals.append(Closed(RUN, at if self._finished is None else self._finished))
            return
        kind, data = field(self._error, "name"), field(self._error, "data")
        if kind == _ABORTED:
            signals += interrupted(at, "cancel")
            return
        status = field(data, "statusCode")
        error_type = str(status) if status.__class__ is int else code(kind)
        signals.append(Closed(RUN, at, Outcome.FAILED, error_type, word(field(data, "message"))))


def _tokens(tokens: Any) -> _Counts | None:
    cache = field(tokens, "cache")
    told = (field(tokens, "input"), field(tokens, "output"), field(cache, "read"), field(cache, "write"))
    taken, given, read, written = (count(each) or 0 for each in told)
    thought = count(field(tokens, "reasoning")) or 0
    total = (taken + read + written, given + thought, read, written, thought)
    return total if any(total) else None


def _sum(one: _Counts, other: _Counts) -> _Counts:
    a, b, c, d, e = (mine + its for mine, its in zip(one, other, strict=True))
    return a, b, c, d, e


_Handler = Callable[[Opencode, Any, Any, int, list[Signal]], None]
_EVENTS: Final[Mapping[str, _Handler]] = {
    "done": Opencode._done,
    "error": Opencode._failed,
    "reasoning": Opencode._reasoning,
    "step_finish": Opencode._step_finish,
    "step_start": Opencode._step_start,
    "text": Opencode._text,
    "tool_use": Opencode._tool_use,
}
