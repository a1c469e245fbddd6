"""A connection or a process in both directions as a dialect's stream: what the agent says comes as data, what the
caller says as an aside, signals out.

Like `answer` it is a pure function of timed events, so that a captured session replays as it was live. The asides:

    sent           data: a whole message, or line, of the caller's: text, or bytes. For the dialect
    started        command: the process was started; its program, subcommands and the names of its options
    http.response  status: how the handshake was answered
    closed         code, reason, by: the WebSocket was closed, by `caller`, `agent` or `proxy`
    signalled      signal: the caller sent it one
    exited         code or signal: the process ended
    http.disconnected  policy: the caller has gone

`sent` in mid-run is an interruption only where the dialect knows it as one.
"""

from __future__ import annotations

from typing import Any

from streamgauge import dialects, semconv
from streamgauge.signals import RUN, SESSION, Noted, Signals
from streamgauge.wire import Aside

__all__ = ["CLOSED", "DISCONNECTED", "EXITED", "RESPONSE", "SENT", "SIGNALLED", "Dialogue"]

SENT = "sent"
RESPONSE = "http.response"
CLOSED = "closed"
EXITED = "exited"
SIGNALLED = "signalled"
DISCONNECTED = "http.disconnected"


class Dialogue:
    """A decoder over a dialect, as the tap takes one."""

    __slots__ = ("_around", "_dialect", "_read", "untold")

    def __init__(self, dialect: dialects.Dialect) -> None:
        self._dialect = dialect
        self._around = SESSION if dialect.opens_runs else RUN
        """Where the session's facts are told: a dialect of a single run has no session."""
        self._read = dialect.feed
        self.untold = dialect.untold

    @property
    def terminal(self) -> bool:
        return self._dialect.terminal

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is not Aside or data.name == SENT:
            return self._read(data, at)
        noted = _facts(data)
        if data.name == SIGNALLED:
            return (Noted(RUN, at, {semconv.STREAMGAUGE_INTERRUPTED_BY: "signal"}), *self._read(data, at))
        told = tuple(self._read(data, at))
        return (Noted(self._around, at, noted), *told) if noted else told

    def finish(self, at: int) -> Signals:
        return self._dialect.finish(at)


def _facts(aside: Aside) -> dict[str, Any]:
    """What it tells of the session."""
    data = aside.data
    if aside.name == RESPONSE:
        return {semconv.HTTP_RESPONSE_STATUS_CODE: int(data.get("status") or 0)}
    if aside.name == CLOSED:
        facts = {
            semconv.STREAMGAUGE_WEBSOCKET_CLOSE_CODE: data.get("code"),
            semconv.STREAMGAUGE_WEBSOCKET_CLOSE_REASON: data.get("reason"),
            semconv.STREAMGAUGE_WEBSOCKET_CLOSED_BY: data.get("by"),
        }
        return {name: value for name, value in facts.items() if value}
    if aside.name == EXITED:
        code = data.get("code")
        return {semconv.PROCESS_EXIT_CODE: int(code)} if code is not None else {}
    if aside.name == DISCONNECTED:
        return {semconv.STREAMGAUGE_DISCONNECT: str(data.get("policy"))}
    return {}
