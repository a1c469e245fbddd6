"""What zag tells, event by event, and what is seen beside it: see `streamgauge.dialects.zag`, whose source this has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._zag_turn import Turn, text_of
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    RUN,
    TEXT,
    USAGE_LIMIT,
    Chunk,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
)
from streamgauge.wire import Aside, Outcome

__all__ = ["EVENTS", "ZagEvents"]

EVENTS: Final[Mapping[str, str]] = {
    "init": "the model, and when it can first be called; no run: it comes as often as the provider prints it",
    "user_message": "a run, where none is open; the model can be called",
    "assistant_message": "a model call, its usage, a chunk for each text and tool call, the start of each tool",
    "tool_execution": "the end of the tool; the model can be called",
    "turn_complete": "finish reason, index, the end of all that is open in the turn; of the run with its `result`",
    "result": "the end of the run, as of its `turn_complete`: `failed` where it was no success; else nothing",
    "error": "the run fails; the rest of its turn is passed over",
    "permission_request": "a person is asked, and where it is granted, has answered",
    "usage_limit_detected": f"the span event {USAGE_LIMIT}; the error type where the turn then fails",
}

_ONE_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class ZagEvents(Dialect):
    """The turns of one zag."""

    __slots__ = (
        "_eof", "_model", "_owed", "_passing", "_result_owed", "_sent", "_shut", "_steady", "_turn", "_unheard",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._model = ""
        self._turn: Turn | None = Turn(None, "")  # the tap has opened the first run
        self._sent: int | None = None  # when the message was sent that the next turn answers
        self._unheard = False  # the run was opened by a message, and no event has come since
        self._result_owed = False  # a turn's run was closed before its `result` came
        self._passing = False  # what comes is the rest of a turn that has failed
        self._shut = False  # no turn follows
        self._eof: int | None = None
        self._steady: Turn | None = None  # the turn whose model call is open, and may say one more thing
        self._owed: Any = None  # the usage of the last message, where it has not been told

    def feed(self, data: Any, at: int) -> Signals:
        turn = self._steady
        if turn is not None:
            # One more text of the same model call: what the call has cost so far is told when somebody asks.
            try:
                if data.__class__ is dict:
                    type_, usage, nested = data["type"], data["usage"], data.get("parent_tool_use_id")
                    (block,) = data["content"]
                    kind, text = block["type"], block["text"]
                else:
                    type_, usage, nested = data.type, data.usage, getattr(data, "parent_tool_use_id", None)
                    (block,) = data.content
                    kind, text = block.type, block.text
                if type_ == "assistant_message" and kind == "text" and text.__class__ is str and text and not nested:
                    turn.own.last = at
                    self._owed = usage
                    return Chunk(turn.own.call, at, TEXT, text)
            except Exception:
                pass  # all else
        return self._told(data, at)

    def _told(self, data: Any, at: int) -> Signals:
        read = loaded(data)
        if read is not data:
            return self.feed(read, at) if read is not None else NOTHING
        signals: list[Signal] = []
        self._pay(at, signals)
        self._steady = None
        if data.__class__ is Aside:
            beside = _ASIDES.get(data.name)
            if beside is not None:
                beside(self, data.data, at, signals)
        else:
            type_ = field(data, "type")
            handler = _EVENTS.get(type_) if type_.__class__ is str else None
            if handler is not None:
                self._unheard = False
                if type_ not in _OF_ENDED:
                    self._settle(signals)
                handler(self, data, at, signals)
        turn = self._turn
        if turn is not None and turn.ended is None and turn.own.calling and not self._unheard:
            self._steady = turn
        return signals

    def untold(self, at: int) -> Signals:
        signals: list[Signal] = []
        self._pay(at, signals)
        return signals

    def finish(self, at: int) -> Signals:
        signals: list[Signal] = []
        self._pay(at, signals)
        self._over(None, at, signals)
        if self._turn is not None and self._eof is not None:
            self._end(self._eof, signals, Outcome.TRUNCATED)
        return signals

    def _pay(self, at: int, signals: list[Signal]) -> None:
        """Tell what the texts since have cost."""
        owed, self._owed = self._owed, None
        if owed is not None and self._turn is not None:
            self._turn.cost(owed, at, signals)

    # Turns ----------------------------------------------------------------------------------------------------

    def _begin(self, at: int, signals: list[Signal]) -> None:
        if not self._shut:
            self._turn = Turn(at, self._model)
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
        """Close the run. A message that was sent meanwhile is answered next."""
        signals.append(Closed(RUN, at, outcome, error_type, message))
        self._turn, self._unheard = None, False
        sent, self._sent = self._sent, None
        if sent is not None:
            self._begin(max(at, sent), signals)

    def _settle(self, signals: list[Signal]) -> None:
        """A turn that is complete waits for its `result` no longer."""
        if self._turn is not None and self._turn.ended is not None:
            self._result_owed = True
            self._end(self._turn.ended, signals)

    def _alive(self, at: int, signals: list[Signal]) -> Turn | None:
        """The turn that an event belongs to: the open one, or else one that begins now."""
        if self._turn is None and not self._passing:
            self._begin(at, signals)
        return self._turn

    def _turn_complete(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        self._result_owed = self._turn is None
        if self._turn is not None:
            self._turn.complete(event, at, signals)

    def _result(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        turn, success = self._turn, field(event, "success", False)
        if self._result_owed:
            self._result_owed = False
        elif turn is not None and not success:
            # Its message is not told: it is what the model said last, even where that is an error's text.
            ended = at if turn.ended is None else turn.ended
            self._end(ended, signals, Outcome.FAILED, "usage_limit" if turn.limited else "result_error")
        elif turn is not None and turn.ended is not None:
            self._end(turn.ended, signals)

    # What comes within a turn ---------------------------------------------------------------------------------

    def _init(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._model = text_of(event, "model") or self._model
        turn = self._turn
        if turn is not None:
            turn.model = self._model
            if self._model:
                signals.append(Noted(RUN, at, {semconv.GEN_AI_REQUEST_MODEL: self._model}))
            if not turn.own.calling:
                turn.own.since = at

    def _user_message(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        turn = self._alive(at, signals)
        if turn is not None:
            turn.free("", at, signals)

    def _assistant_message(self, event: Any, at: int, signals: list[Signal]) -> None:
        # A sub-agent that outlives its turn is no sign of another.
        turn = self._turn if text_of(event, "parent_tool_use_id") else self._alive(at, signals)
        if turn is not None:
            turn.message(event, at, signals)

    def _tool_execution(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self._turn is not None:
            self._turn.executed(event, at, signals)

    def _permission_request(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self._alive(at, signals) is not None:
            tool = text_of(event, "tool_name")
            facts = {semconv.GEN_AI_TOOL_NAME: tool} if tool else {}
            signals.append(Noted(RUN, at, facts, PERSON_ASKED))
            if field(event, "granted") is True:
                signals.append(Noted(RUN, at, facts, PERSON_ANSWERED))

    def _usage_limit_detected(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self._turn is not None:
            self._turn.limited = True
            facts = {f"{USAGE_LIMIT}.{name}": text_of(event, name) for name in ("scope", "reset_at")}
            signals.append(Noted(RUN, at, {name: text for name, text in facts.items() if text}, USAGE_LIMIT))

    def _error(self, event: Any, at: int, signals: list[Signal]) -> None:
        details = field(event, "details")
        word = text_of(details, "type") or text_of(details, "code")
        self._fail(at, signals, word if _ONE_WORD.fullmatch(word) else "", text_of(event, "message"))

    def _fail(self, at: int, signals: list[Signal], error_type: str, message: str = "") -> None:
        if self._turn is not None:
            self._end(at, signals, Outcome.FAILED, error_type, message)
            self._passing = self._turn is None

    # What is seen beside the stream ---------------------------------------------------------------------------

    def _started(self, data: Any, at: int, signals: list[Signal]) -> None:
        if self._turn is not None:
            self._turn.own.since = at

    def _sending(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._passing = False
        turn, semantics = self._turn, text_of(data, "semantics")
        if turn is None:
            self._begin(at, signals)
            self._unheard = True
            return
        if turn.ended is None:
            if semantics:
                signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_SEND_SEMANTICS: semantics}))
            if semantics == "between-turns-only":
                return  # it reaches nobody
        if self._sent is None:
            self._sent = at

    def _send_failed(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._sent = None
        if self._unheard and self._turn is not None:
            self._end(at, signals, Outcome.FAILED, text_of(data, "error_type"))

    def _left(self, data: Any, at: int, signals: list[Signal]) -> None:
        # The caller may be away for hours. A turn that looks as if it failed waits for the word all the same.
        if self._turn is not None and self._turn.ended_well:
            self._settle(signals)

    def _read_failed(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._settle(signals)
        self._fail(at, signals, text_of(data, "error_type"))

    def _stdout_ended(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._eof = at
        self._over(data, at, signals)

    def _over(self, data: Any, at: int, signals: list[Signal]) -> None:
        self._sent, self._shut = None, True
        self._settle(signals)


Handler = Callable[[ZagEvents, Any, int, list[Signal]], None]

_EVENTS: Final[Mapping[str, Handler]] = {
    "assistant_message": ZagEvents._assistant_message,
    "error": ZagEvents._error,
    "init": ZagEvents._init,
    "permission_request": ZagEvents._permission_request,
    "result": ZagEvents._result,
    "tool_execution": ZagEvents._tool_execution,
    "turn_complete": ZagEvents._turn_complete,
    "usage_limit_detected": ZagEvents._usage_limit_detected,
    "user_message": ZagEvents._user_message,
}
_OF_ENDED: Final = frozenset({"result", "usage_limit_detected"})
"""What may come after `turn_complete` and still be about that turn."""
_ASIDES: Final[Mapping[str, Handler]] = {
    "left": ZagEvents._left,
    "over": ZagEvents._over,
    "read_failed": ZagEvents._read_failed,
    "send_failed": ZagEvents._send_failed,
    "sent": ZagEvents._sending,
    "started": ZagEvents._started,
    "stdout_ended": ZagEvents._stdout_ended,
}
