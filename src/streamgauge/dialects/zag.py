"""zag: the events of one run, or of a conversation of several turns.

In go zag's event objects, their dict form, or lines of its NDJSON output; and the asides below, from who sees the session's
methods. Out comes a run for each turn, with the tools in it, the agents below it, and a `chat` operation for each answer of the
model.

    started        the stream was opened
    sent           semantics: a message was sent; what a send in mid-turn means: `queue`, `interrupt`, `between-turns-only`
    send_failed    error_type: the last `sent` was not sent
    input_closed   no message can be sent any more
    left           the caller has stopped reading, and may come back
    read_failed    error_type: reading failed
    stdout_ended   the agent's output has ended; how, its exit will tell
    over           nothing more is read

zag hands over whole messages, without times, and a message says nothing of the model call that it came from. So a `chat` is what
can be seen of one: from the last thing that the model had to wait for (the start, a message to it, a tool's result) to the last
message before the next such thing. Its tokens are the last message's: one answer may come as several messages, each with the
tokens of all. Thinking comes as a message without content: the `chat` begins, but no chunk came.

A turn ends with `turn_complete`, but only the `result` after it says whether it went well; until that is read, the run stays open,
and then ends when the turn did. zag prints one more `result` when its process ends, without a turn: it says nothing.

Source: zag 0.18.0, `bindings/python/src/zag/types.py` and `process.py` (objects), `zag-agent/src/output.rs` and
`providers/claude` (wire: `parent_tool_use_id` and `usage_limit_detected` are there only).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Opened,
    Signal,
    Usage,
)
from streamgauge.wire import Aside, Granularity, Outcome

__all__ = ["USAGE_LIMIT", "Zag"]

USAGE_LIMIT: Final = "streamgauge.usage_limit"
"""The span event of a provider's limit that was reached, with its scope and when it is lifted."""

# Claude stops its own error messages so, and one that it was cut off from has no reason at all.
_DOUBTFUL: Final = (None, "", "stop_sequence")
_ONE_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

_Tokens = tuple[int | None, int | None, int | None, int | None]
"""Input (cached included), output, read from the cache, written to it."""


class _Agent:
    """Whose model calls are told: the run's (its id is empty), or a sub-agent's (the id of the tool call that it is)."""

    __slots__ = ("calling", "id", "last", "since", "tokens")

    def __init__(self, id_: str, since: int | None) -> None:
        self.id = id_
        self.since = since
        """From when on it can have called the model; None where that was not seen."""
        self.calling = False
        self.last = 0
        """When the last message of the call came."""
        self.tokens: _Tokens | None = None

    @property
    def key(self) -> str:
        return f"agent:{self.id}" if self.id else RUN

    @property
    def call(self) -> str:
        return f"chat:{self.id}"


class Zag(Dialect):
    """What `stream` and a streaming session give, and what `zag exec -o stream-json` prints."""

    name = "zag"
    system = "zag 0.18"
    terminal = True
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    events: ClassVar[Mapping[str, str]] = {
        "init": "the model, and the moment from which it can be called; no run: it comes as often as the provider likes",
        "user_message": "a run, where none is open; the model can be called",
        "assistant_message": "a chunk for each text and each tool call, a tool for each call, the model call's usage",
        "tool_execution": "the end of the tool; the model can be called",
        "turn_complete": "finish reason, index, the end of all that is open in the turn; the run ends with its `result`",
        "result": "the end of the run, as of its `turn_complete`: `failed` where it was no success; else nothing",
        "error": "the run fails; the rest of its turn is passed over",
        "permission_request": "a person is asked; and has answered, where it is granted",
        "usage_limit_detected": f"the span event {USAGE_LIMIT}; the reason where the turn then fails",
    }

    __slots__ = (
        "_agents", "_ended", "_ended_well", "_eof", "_limited", "_model", "_open", "_passing", "_result_owed", "_running",
        "_sent", "_shut", "_spent", "_unheard",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._model = ""
        self._running = True  # the tap has opened the first run
        self._agents = {"": _Agent("", None)}
        self._open: dict[
            str, str
        ] = {}  # key of each open tool and sub-agent: the key above it, in the order of opening
        self._spent: _Tokens | None = None  # by the turn's model calls that are over
        self._limited = False
        self._ended: int | None = None  # when the turn ended whose `result` has not come
        self._ended_well = False
        self._result_owed = False  # its run was closed before that came
        self._sent: int | None = None  # when the first message was sent that the next turn answers
        self._unheard = False  # the run was opened by a message, and nothing of it was seen yet
        self._passing = False  # the rest of a turn that has failed
        self._shut = False
        self._eof: int | None = None

    def feed(self, data: Any, at: int) -> Sequence[Signal]:
        handler: _Handler | None
        if data.__class__ is Aside:
            handler, data = _ASIDES.get(data.name), data.data
        else:
            if data.__class__ is not dict:
                data = loaded(data)
            type_ = field(data, "type")
            handler = _EVENTS.get(type_) if type_.__class__ is str else None
        if handler is None:
            return NOTHING
        signals: list[Signal] = []
        handler(self, data, at, signals)
        return signals

    def finish(self, at: int) -> Sequence[Signal]:
        signals: list[Signal] = []
        self._over(None, at, signals)
        if self._running and self._eof is not None:
            self._end(self._eof, signals, Outcome.TRUNCATED)
        return signals

    # Turns ----------------------------------------------------------------------------------------------------

    def _begin(self, at: int, signals: list[Signal]) -> None:
        if self._shut:
            return
        self._running = True
        self._agents = {"": _Agent("", at)}
        attributes = {semconv.GEN_AI_REQUEST_MODEL: self._model} if self._model else {}
        signals.append(Opened(RUN, at, semconv.INVOKE_AGENT, attributes=attributes))

    def _end(
        self,
        at: int,
        signals: list[Signal],
        outcome: Outcome = Outcome.COMPLETED,
        error_type: str = "",
        message: str = "",
    ) -> None:
        signals.append(Closed(RUN, at, outcome, error_type, message))
        self._running = self._limited = self._unheard = False
        self._ended = self._spent = None
        self._agents, self._open = {}, {}
        sent, self._sent = self._sent, None
        if sent is not None:
            self._begin(max(at, sent), signals)

    def _settle(self, signals: list[Signal]) -> None:
        """The turn that ended gets no `result` any more."""
        if self._ended is not None:
            self._end(self._ended, signals)
            self._result_owed = True

    def _alive(self, at: int, signals: list[Signal]) -> bool:
        """An event of a turn: its run is open, or is opened now. Not so in the rest of a failed turn."""
        self._settle(signals)
        self._unheard = False
        if not self._running and not self._passing:
            self._begin(at, signals)
        return self._running

    def _turn_complete(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._settle(signals)
        self._passing = self._unheard = False
        self._result_owed = not self._running
        if not self._running:
            return
        reason, index, tokens = field(event, "stop_reason"), field(event, "turn_index"), _tokens(field(event, "usage"))
        facts: dict[str, Any] = {}
        if index.__class__ is int:
            facts[semconv.STREAMGAUGE_TURN_INDEX] = index
        if reason and reason.__class__ is str:
            facts[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = [reason]
            if self._agents[""].calling:
                signals.append(Noted(self._agents[""].call, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: [reason]}))
        if facts:
            signals.append(Noted(RUN, at, facts))
        # These are the last message's; they are news only where the messages had none.
        if tokens and self._spent is None and not any(agent.tokens for agent in self._agents.values()):
            self._use(self._agents[""], tokens, at, signals)
        for agent in reversed(self._agents.values()):
            self._end_call(agent, signals)
        # What is open still has ended, unseen: of several results in one message zag tells the first alone.
        for key in reversed(self._open):
            if key.startswith("tool:"):
                signals.append(Noted(key, at, {semconv.STREAMGAUGE_END_UNSEEN: True}))
            signals.append(Closed(key, at))
        self._open = {}
        self._ended, self._ended_well = at, reason not in _DOUBTFUL

    def _result(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        success = field(event, "success", False)
        if self._result_owed:
            self._result_owed = False
        elif self._ended is not None or (self._running and not success):
            ended = at if self._ended is None else self._ended
            if success:
                self._end(ended, signals)
            else:
                # Its message is no error's: it is what the model said last.
                self._end(ended, signals, Outcome.FAILED, "usage_limit" if self._limited else "result_error")

    # Events within a turn -------------------------------------------------------------------------------------

    def _init(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._settle(signals)
        model = field(event, "model")
        if model and model.__class__ is str:
            self._model = model
        if self._running:
            if self._model:
                signals.append(Noted(RUN, at, {semconv.GEN_AI_REQUEST_MODEL: self._model}))
            if not self._agents[""].calling:
                self._agents[""].since = at

    def _user_message(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        if self._alive(at, signals):
            self._end_call(self._agents[""], signals)
            self._agents[""].since = at

    def _assistant_message(self, event: Any, at: int, signals: list[Signal]) -> None:
        parent = _id(event, "parent_tool_use_id")
        if parent and not self._running:  # a sub-agent that has outlived its turn
            return
        if not self._alive(at, signals):
            return
        agent = self._agent(parent, at, signals)
        if agent is None:
            return
        if not agent.calling:
            agent.calling = True
            since = at if agent.since is None else agent.since
            signals.append(Opened(agent.call, since, semconv.CHAT, self._model, agent.key))
        agent.last = at
        content = field(event, "content")
        for block in content if isinstance(content, list | tuple) else ():
            type_ = field(block, "type")
            if type_ == "text":
                text = field(block, "text")
                if text and text.__class__ is str:
                    signals.append(Chunk(agent.call, at, TEXT, text))
            elif type_ == "tool_use":
                self._tool_use(agent, block, at, signals)
        tokens = _tokens(field(event, "usage"))
        if tokens:
            self._use(agent, tokens, at, signals)

    def _tool_use(self, agent: _Agent, block: Any, at: int, signals: list[Signal]) -> None:
        arguments = _json(field(block, "input"))
        if arguments:
            signals.append(Chunk(agent.call, at, TOOL_CALL, arguments))
        id_, name = _id(block, "id"), field(block, "name")
        if id_ and f"tool:{id_}" not in self._open:
            facts = {semconv.GEN_AI_TOOL_CALL_ID: id_}
            if arguments:
                facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments
            self._open[f"tool:{id_}"] = agent.key
            name = name if name.__class__ is str else ""
            signals.append(Opened(f"tool:{id_}", at, semconv.EXECUTE_TOOL, name, agent.key, facts))

    def _tool_execution(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._settle(signals)
        self._unheard = False
        key, result = f"tool:{_id(event, 'tool_id')}", field(event, "result")
        agent = self._agents.get(_id(event, "parent_tool_use_id"))
        if agent is not None:
            self._end_call(agent, signals)
            agent.since = at
        if key not in self._open:
            return
        success = field(result, "success", False)
        outcome, error_type = (Outcome.COMPLETED, "") if success else (Outcome.FAILED, "tool_error")
        for below in [other for other in reversed(self._open) if self._is_below(other, key)]:
            if below.startswith("agent:"):
                self._end_call(self._agents.pop(below[6:]), signals)
            signals.append(Closed(below, at, outcome, error_type))
            del self._open[below]
        # An error's text goes the same way: it is the tool's output, and may be all of it.
        output = field(result, "output") or field(result, "error")
        if output and output.__class__ is str:
            signals.append(Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: output}))
        signals.append(Closed(key, at, outcome, error_type))
        del self._open[key]

    def _permission_request(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self._alive(at, signals):
            tool = field(event, "tool_name")
            facts = {semconv.GEN_AI_TOOL_NAME: tool} if tool and tool.__class__ is str else {}
            signals.append(Noted(RUN, at, facts, PERSON_ASKED))
            if field(event, "granted") is True:
                signals.append(Noted(RUN, at, facts, PERSON_ANSWERED))

    def _usage_limit_detected(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self._running and self._ended is None:
            self._limited = True
            facts = {f"{USAGE_LIMIT}.{name}": field(event, name) for name in ("scope", "reset_at")}
            words = {name: value for name, value in facts.items() if value.__class__ is str}
            signals.append(Noted(RUN, at, words, USAGE_LIMIT))

    def _error(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._settle(signals)
        if self._running:
            details, message = field(event, "details"), field(event, "message")
            word = field(details, "type") or field(details, "code")
            error_type = word if word.__class__ is str and _ONE_WORD.fullmatch(word) else ""
            self._end(at, signals, Outcome.FAILED, error_type, message if message.__class__ is str else "")
            self._passing = not self._running

    # Model calls and sub-agents -------------------------------------------------------------------------------

    def _agent(self, id_: str, at: int, signals: list[Signal]) -> _Agent | None:
        agent = self._agents.get(id_)
        if agent is None:
            agent = self._agents[id_] = _Agent(id_, at)
            above = f"tool:{id_}" if f"tool:{id_}" in self._open else RUN
            self._open[agent.key] = above
            signals.append(Opened(agent.key, at, semconv.INVOKE_AGENT, "", above))
        return agent

    def _is_below(self, key: str, other: str) -> bool:
        above = self._open.get(key, RUN)
        while above != RUN and above != other:
            above = self._open.get(above, RUN)
        return above == other

    def _use(self, agent: _Agent, tokens: _Tokens, at: int, signals: list[Signal]) -> None:
        agent.tokens = tokens
        if agent.calling:
            signals.append(Usage(agent.call, at, *tokens))
        total = self._spent
        for each in self._agents.values():
            total = _sum(total, each.tokens)
        if total is not None:
            signals.append(Usage(RUN, at, *total))

    def _end_call(self, agent: _Agent, signals: list[Signal]) -> None:
        if agent.calling:
            agent.calling = False
            signals.append(Closed(agent.call, agent.last))
            agent.since = agent.last
        self._spent, agent.tokens = _sum(self._spent, agent.tokens), None

    # Beside the stream ----------------------------------------------------------------------------------------

    def _started(self, data: Any, at: int, signals: list[Signal]) -> None:
        if self._running:
            self._agents[""].since = at

    def _sent_message(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        if not self._running:
            self._begin(at, signals)
            self._unheard = self._running
            return
        semantics = field(data, "semantics")
        if self._ended is None and semantics and semantics.__class__ is str:
            signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_SEND_SEMANTICS: semantics}))
        heard = self._ended is not None or semantics != "between-turns-only"
        if heard and self._sent is None and not self._shut:
            self._sent = at

    def _send_failed(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._sent = None
        if self._unheard:
            self._end(at, signals, Outcome.FAILED, _id(data, "error_type"))

    def _input_closed(self, data: Any, at: int, signals: list[Signal]) -> None:
        """What is sent from now on reaches nobody; what was sent before is answered."""

    def _left(self, data: Any, at: int, signals: list[Signal]) -> None:
        # The caller may be away for hours. Where the turn may have failed, its run waits for the word all the same.
        if self._ended_well:
            self._settle(signals)

    def _read_failed(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._settle(signals)
        if self._running:
            self._end(at, signals, Outcome.FAILED, _id(data, "error_type"))
            self._passing = not self._running

    def _stdout_ended(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._over(data, at, signals)
        self._eof = at

    def _over(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._sent = None
        self._shut = True
        self._settle(signals)


_Handler = Callable[[Zag, Any, int, list[Signal]], None]

_EVENTS: Final[Mapping[str, _Handler]] = {
    "assistant_message": Zag._assistant_message,
    "error": Zag._error,
    "init": Zag._init,
    "permission_request": Zag._permission_request,
    "result": Zag._result,
    "tool_execution": Zag._tool_execution,
    "turn_complete": Zag._turn_complete,
    "usage_limit_detected": Zag._usage_limit_detected,
    "user_message": Zag._user_message,
}
_ASIDES: Final[Mapping[str, _Handler]] = {
    "input_closed": Zag._input_closed,
    "left": Zag._left,
    "over": Zag._over,
    "read_failed": Zag._read_failed,
    "send_failed": Zag._send_failed,
    "sent": Zag._sent_message,
    "started": Zag._started,
    "stdout_ended": Zag._stdout_ended,
}


def _id(data: Any, name: str) -> str:
    value = field(data, name)
    return value if isinstance(value, str) else ""


def _json(value: Any) -> str:
    if value is None:
        return ""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return ""


def _tokens(usage: Any) -> _Tokens | None:
    """None where nobody counted: zeros are what zag puts there itself."""
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
    counts = (field(usage, name) for name in names)
    taken, given, read, written = (count if count.__class__ is int and count >= 0 else None for count in counts)
    if taken is not None:
        taken += (read or 0) + (written or 0)  # Claude counts cached input apart
    return (taken, given, read, written) if taken or given else None


def _sum(one: _Tokens | None, other: _Tokens | None) -> _Tokens | None:
    if one is None or other is None:
        return one or other
    taken, given, read, written = (
        a if b is None else b if a is None else a + b for a, b in zip(one, other, strict=True)
    )
    return taken, given, read, written
