"""One turn of a CLI that tells of whole messages and of tools, and nothing of its model calls.

A `chat` is what can be seen of one: from the last thing that the model had to wait for (the turn's start, the end of
the last tool that ran) to the last message, or to the start of the tool that it asks for.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._block_calls import MAX_CALLS
from streamgauge.signals import RUN, TOOL_CALL, Chunk, Closed, Noted, Opened, Retried, Signal
from streamgauge.wire import Outcome

__all__ = ["CALL", "Turn"]

CALL: Final = "chat:"


class Turn:
    """What is open in it. Its methods put what they tell at the end of `signals`."""

    __slots__ = ("_at", "_calling", "_last", "_since", "_tools", "error", "model")

    def __init__(self, since: int, model: str = "") -> None:
        self.model = model
        self.error = ""
        """The words of an error that was told, and may be the turn's end."""
        self._since: int | None = since
        self._calling = False
        self._last: int | None = None
        self._tools: set[str] = set()

    def free(self, at: int) -> None:
        """The model has all it needs, and can be called."""
        if not self._calling:
            self._since = at

    def call(self, at: int, signals: list[Signal]) -> bool:
        """The model is called, if it is not already; False where a tool runs that it waits for."""
        if not self._calling and not self._tools:
            since = at if self._since is None else self._since
            self._calling, self._last = True, None
            signals.append(Opened(CALL, since, semconv.CHAT, self.model))
        return self._calling

    def chunk(self, kind: str, text: str, at: int, signals: list[Signal]) -> None:
        """A piece of what the model says."""
        if text:
            key = CALL if self.call(at, signals) else RUN
            signals.append(Chunk(key, at, kind, text))
            self._last = at

    def retry(self, attempt: int, reason: str, at: int, signals: list[Signal]) -> None:
        """A request to the API failed, and is sent again."""
        key = CALL if self.call(at, signals) else RUN
        signals.append(Retried(key, at, "model", attempt, reason))

    def begin(self, id_: str, name: str, arguments: str, at: int, signals: list[Signal], *, runs: bool = True) -> None:
        """A tool is started; or, where that is not to be seen, asked for, while the model may go on."""
        if not id_ or id_ in self._tools or len(self._tools) >= MAX_CALLS:
            return
        self.call(at, signals)
        self.chunk(TOOL_CALL, arguments, at, signals)
        if runs:
            self.end_call(at, signals)
        self._tools.add(id_)
        facts: dict[str, Any] = {semconv.GEN_AI_TOOL_CALL_ID: id_}
        if arguments:
            facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments
        signals.append(Opened(f"tool:{id_}", at, semconv.EXECUTE_TOOL, name, RUN, facts))

    def end(
        self, id_: str, error_type: str, facts: dict[str, Any], at: int, signals: list[Signal], failed: bool = False
    ) -> None:
        """A tool has ended."""
        if id_ not in self._tools:
            return
        self.end_call(at, signals)
        self._tools.discard(id_)
        key = f"tool:{id_}"
        known = {name: value for name, value in facts.items() if value not in (None, "")}
        if known:
            signals.append(Noted(key, at, known))
        signals.append(Closed(key, at, Outcome.FAILED, error_type) if failed else Closed(key, at))
        if not self._tools:
            self._since = at

    def has(self, id_: str) -> bool:
        return id_ in self._tools

    def end_call(
        self, at: int, signals: list[Signal], outcome: Outcome = Outcome.COMPLETED, error_type: str = ""
    ) -> None:
        """The model call is over: as of the last that came of it; where nothing did, now, and so."""
        if self._calling:
            self._calling, self._since = False, self._last
            if self._last is None:
                signals.append(Closed(CALL, at, outcome, error_type))
            else:
                signals.append(Closed(CALL, self._last))
