"""Tool calls of agent protocols that show what a model asks for, and may show what came of it.

A call's execution is told only when its result comes, since then: between the end of its arguments and its result. A
call without a result is one that the caller makes, or a person has yet to approve: it was requested, and no more.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import json_text
from streamgauge.signals import RUN, TOOL_REQUESTED, Closed, Noted, Opened, Signal
from streamgauge.wire import Outcome

__all__ = ["ToolCalls", "key"]

_MOST_TEXT: Final = 16_384  # characters: what a span shows of a content attribute, by default
_MOST_CALLS: Final = 1024  # that nobody answers; beyond it the oldest is forgotten


class _Call:
    __slots__ = ("arguments", "complete", "name", "opened", "owner")

    def __init__(self, name: str, owner: str, at: int) -> None:
        self.name = name
        self.owner = owner
        """The key of the operation that asks for it."""
        self.complete = at
        """When the last of its arguments came."""
        self.arguments = ""
        self.opened = False


class ToolCalls:
    """The tool calls of one run, by id."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}

    def __contains__(self, id_: str) -> bool:
        return id_ in self._calls

    def asked(self, id_: str, name: str, at: int, owner: str = RUN) -> None:
        """The model asks for a call. One that is known gets nothing but the name that it had not."""
        call = self._calls.get(id_)
        if call is None:
            if len(self._calls) >= _MOST_CALLS:
                del self._calls[next(iter(self._calls))]
            self._calls[id_] = _Call(name, owner, at)
        elif name and not call.name:
            call.name = name

    def grew(self, id_: str, text: str, at: int) -> None:
        """More of its arguments came."""
        call = self._calls.get(id_)
        if call is not None:
            call.complete = at
            if len(call.arguments) < _MOST_TEXT:
                call.arguments += text

    def complete(self, id_: str, at: int, arguments: Any = None) -> None:
        """Its arguments are complete; here is the whole of them, where it comes apart from the pieces."""
        call = self._calls.get(id_)
        if call is not None:
            call.complete = at
            if arguments is not None and not call.arguments:
                call.arguments = json_text(arguments)[:_MOST_TEXT]

    def running(self, id_: str, at: int) -> list[Signal]:
        """It is known to be executed: its span opens, as of when its arguments were complete."""
        call = self._calls.get(id_)
        if call is None or call.opened:
            return []
        call.opened = True
        facts = {semconv.GEN_AI_TOOL_CALL_ID: id_ or None, semconv.GEN_AI_TOOL_CALL_ARGUMENTS: call.arguments or None}
        return [Opened(key(id_), min(call.complete, at), semconv.EXECUTE_TOOL, call.name, call.owner, facts)]

    def ended(
        self, id_: str, at: int, result: Any = None, outcome: Outcome = Outcome.COMPLETED, error_type: str = "",
        message: str = "",
    ) -> list[Signal]:  # fmt: skip
        """Its result came. Of a call that is not known nothing is told: nobody knows when it began, or whose it is."""
        signals = self.running(id_, at)
        if self._calls.pop(id_, None) is None:
            return []
        text = result if isinstance(result, str) else json_text(result)
        if text:
            signals.append(Noted(key(id_), at, {semconv.GEN_AI_TOOL_CALL_RESULT: text[:_MOST_TEXT]}))
        signals.append(Closed(key(id_), at, outcome, error_type, message))
        return signals

    def refused(self, id_: str) -> list[Signal]:
        """It will not be executed: it was requested, and no more."""
        call = self._calls.pop(id_, None)
        return [_requested(id_, call)] if call is not None and not call.opened else []

    def left(self) -> list[Signal]:
        """The run ends: what was requested and never answered."""
        calls, self._calls = self._calls, {}
        return [_requested(id_, call) for id_, call in calls.items() if not call.opened]


def key(id_: str) -> str:
    """Of a call's execution."""
    return f"tool:{id_}"


def _requested(id_: str, call: _Call) -> Noted:
    facts = {semconv.GEN_AI_TOOL_NAME: call.name, semconv.GEN_AI_TOOL_CALL_ID: id_}
    facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = call.arguments
    return Noted(call.owner, call.complete, {name: value for name, value in facts.items() if value}, TOOL_REQUESTED)
