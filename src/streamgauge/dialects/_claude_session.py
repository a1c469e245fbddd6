"""Both sides of one Claude Code: the turns, what ends them, and what the caller says.

Source: as `streamgauge.dialects.claude_code` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._anthropic_messages import FINISH_REASONS
from streamgauge.dialects._claude_calls import text_of
from streamgauge.dialects._claude_totals import Totals
from streamgauge.dialects._claude_turn import Turn
from streamgauge.dialects._command_line import words_of
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    RUN,
    SESSION,
    TOOL_QUEUED,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import Outcome

__all__ = ["MAX_WAITS", "Session"]

MAX_WAITS: Final = 256
"""Of what is waited for at one time; what is beyond it is not told."""
_SEMANTICS: Final = {"now": "interrupt", "later": "between-turns-only"}
_OF_PERSONS: Final = frozenset({"can_use_tool", "elicitation", "request_user_dialog"})
_ABORTED: Final = frozenset({"aborted_streaming", "aborted_tools"})
_RESUMES: Final = frozenset({"-c", "--continue", "-r", "--resume"})


class Session(Dialect):
    """What is known between the lines. Its methods are those of the events that begin, end or interrupt a turn."""

    __slots__ = (
        "_waits", "conversation", "due", "model", "said", "started_at", "tasks", "totals", "turn", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.turn: Turn | None = None
        self.model = ""
        self.conversation = ""
        self.started_at: int | None = None  # when the process was
        self.said = False  # the caller has sent something
        self.due: int | None = None  # from when on the next turn is waited for, where that is before its first event
        self.waiting = False  # a message was sent in mid-turn that the turn may not read
        self._waits: dict[str, tuple[str, dict[str, Any]]] = {}  # what persons were asked: tool call, facts
        self.tasks: dict[str, str] = {}  # sub-agents in the background: task id, tool call
        self.totals = Totals()

    # Turns ----------------------------------------------------------------------------------------------------

    def begin(self, at: int, signals: list[Signal]) -> Turn:
        self.due, self.waiting = None, False
        turn = self.turn = Turn(at, self.model)
        facts = {semconv.GEN_AI_REQUEST_MODEL: self.model} if self.model else {}
        if self.conversation:
            facts[semconv.GEN_AI_CONVERSATION_ID] = self.conversation
        signals.append(Opened(RUN, at, semconv.INVOKE_AGENT, attributes=facts))
        return turn

    def alive(self, event: Any, at: int, signals: list[Signal]) -> Turn | None:
        """The turn that an event belongs to: the open one, or else one that begins; not with a sub-agent's."""
        if self.turn is not None or text_of(event, "parent_tool_use_id"):
            return self.turn
        return self.begin(self.since(at), signals)

    def since(self, at: int) -> int:
        """When the next turn began that was not seen to."""
        if self.due is not None:
            return self.due
        started, self.started_at = self.started_at, None
        return at if started is None or self.said else started

    def result(self, event: Any, at: int, signals: list[Signal]) -> None:
        failed = field(event, "is_error") is True
        turn = self.turn
        if turn is None and failed:
            turn = self.begin(self.since(at), signals)
        cost, tokens = self.totals.turn(event)
        if self.totals.cost is not None:
            signals.append(Noted(SESSION, at, {semconv.STREAMGAUGE_COST_USD: self.totals.cost}))
        self._waits.clear()
        if turn is None:
            return
        outcome, error_type, message = self._how(turn, event, failed)
        turn.end(at, signals, outcome, error_type)
        if tokens is not None:
            signals.append(Usage(RUN, at, *tokens))
        self._noted(turn, event, cost, outcome, at, signals)
        signals.append(Closed(RUN, at, outcome, error_type, message))
        self.turn = None
        queued = field(event, "queued_turn_count")
        if queued.__class__ is int:  # it says itself whether a message waits
            self.waiting = False
            if queued > 0:
                self.begin(at, signals)
        elif self.waiting:
            self.due = at

    def _how(self, turn: Turn, event: Any, failed: bool) -> tuple[Outcome, str, str]:
        """How the turn has ended, by its `result`."""
        subtype = text_of(event, "subtype")
        aborted = text_of(event, "terminal_reason") in _ABORTED
        if aborted or (turn.cut_by and subtype == "error_during_execution"):
            turn.cut_by = turn.cut_by or "signal"
            return Outcome.CANCELLED, "", ""
        if subtype == "success":
            if not failed:
                return Outcome.COMPLETED, "", ""
            status = field(event, "api_error_status")
            error_type = str(status) if status.__class__ is int else turn.error or "api_error"
            return Outcome.FAILED, error_type, text_of(event, "result")
        errors = field(event, "errors")
        told = "; ".join(each for each in errors if each.__class__ is str) if errors.__class__ is list else ""
        return Outcome.FAILED, text_of(event, "startup_failure_reason") or subtype or "result_error", told

    def _noted(
        self, turn: Turn, event: Any, cost: float | None, outcome: Outcome, at: int, signals: list[Signal]
    ) -> None:
        """The facts of the turn's end."""
        facts: dict[str, Any] = {}
        reason, index = text_of(event, "stop_reason"), field(event, "result_index")
        if reason:
            facts[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = (FINISH_REASONS.get(reason, reason),)
        if index.__class__ is int:
            facts[semconv.STREAMGAUGE_TURN_INDEX] = index
        if cost is not None:
            facts[semconv.STREAMGAUGE_COST_USD] = cost
        if outcome is Outcome.CANCELLED:
            facts[semconv.STREAMGAUGE_INTERRUPTED_BY] = turn.cut_by
        if facts:
            signals.append(Noted(RUN, at, facts))
        deferred = field(event, "deferred_tool_use")
        if text_of(deferred, "id"):
            tool = {semconv.GEN_AI_TOOL_NAME: "name", semconv.GEN_AI_TOOL_CALL_ID: "id"}
            signals.append(Noted(RUN, at, {name: text_of(deferred, of) for name, of in tool.items()}, TOOL_QUEUED))

    # Persons --------------------------------------------------------------------------------------------------

    def control_request(self, event: Any, at: int, signals: list[Signal]) -> None:
        request, id_ = field(event, "request"), text_of(event, "request_id")
        if text_of(request, "subtype") not in _OF_PERSONS or self.turn is None or len(self._waits) >= MAX_WAITS:
            return
        tool, call = text_of(request, "tool_name"), text_of(request, "tool_use_id")
        facts = {semconv.GEN_AI_TOOL_NAME: tool, semconv.GEN_AI_TOOL_CALL_ID: call}
        self._waits[id_] = call, {name: value for name, value in facts.items() if value}
        signals.append(Noted(RUN, at, self._waits[id_][1], PERSON_ASKED))

    def control_cancel_request(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._answered(text_of(event, "request_id"), at, signals)

    def _answered(self, id_: str, at: int, signals: list[Signal]) -> str:
        """The person has answered, or need not: for which tool call."""
        if id_ not in self._waits:
            return ""
        call, facts = self._waits.pop(id_)
        signals.append(Noted(RUN, at, facts, PERSON_ANSWERED))
        return call

    def deny(self, id_: str) -> None:
        """A tool call is not allowed."""
        if id_ and self.turn is not None and len(self.turn.denied) < MAX_WAITS:
            self.turn.denied.add(id_)

    # What the caller says, and what is seen beside ------------------------------------------------------------

    def started(self, data: Any, at: int) -> Signals:
        self.started_at = at
        if not _RESUMES.isdisjoint(words_of(field(data, "command"))):
            self.totals.resumed()
        return NOTHING

    def sent(self, data: Any, at: int) -> Signals:
        line = field(data, "data")
        message = loaded(line)
        signals: list[Signal] = []
        kind = text_of(message, "type")
        handler = _SENT.get(kind)
        if handler is not None:
            self.said = True
            handler(self, message, at, signals)
        elif not kind and line and not self.said:
            # The prompt, as it is; what follows is more of it.
            self.said = True
            if self.turn is None:
                self.begin(at, signals)
        return signals

    def sent_user(self, message: Any, at: int, signals: list[Signal]) -> None:
        if field(message, "shouldQuery") is False:
            return
        turn = self.turn
        if turn is None:
            self.begin(at, signals)
            return
        priority = text_of(message, "priority")
        signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_SEND_SEMANTICS: _SEMANTICS.get(priority, "queue")}))
        self.waiting = True
        if priority == "now":
            turn.cut_by = turn.cut_by or "input"

    def sent_control_request(self, message: Any, at: int, signals: list[Signal]) -> None:
        request = field(message, "request")
        subtype = text_of(request, "subtype")
        if subtype == "interrupt" and self.turn is not None:
            self.turn.cut_by = self.turn.cut_by or "cancel"
        elif subtype == "set_model":
            self.model = text_of(request, "model")

    def sent_control_response(self, message: Any, at: int, signals: list[Signal]) -> None:
        response = field(message, "response")
        call = self._answered(text_of(response, "request_id"), at, signals)
        answer = field(response, "response")
        if text_of(answer, "behavior") == "deny" or text_of(response, "subtype") == "error":
            self.deny(call)
        if field(answer, "interrupt") is True and self.turn is not None:
            self.turn.cut_by = self.turn.cut_by or "cancel"


_SENT: Final[Mapping[str, Callable[[Session, Any, int, list[Signal]], None]]] = {
    "control_request": Session.sent_control_request,
    "control_response": Session.sent_control_response,
    "user": Session.sent_user,
}
