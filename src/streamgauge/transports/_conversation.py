"""One WebSocket connection, or one process, as the tap sees it: what its transports have in common.

The transport tells a `Conversation` each message of either side after it has been handed on; no method raises, awaits
or blocks. A run begins with a message of the caller's and ends with one of the agent's; which ones those are is the
dialect's to know. Around the runs lies the session, from the handshake (or the process's start) to the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from streamgauge.tap import Tap
from streamgauge.transports._passing import Passing
from streamgauge.wire import Aside, Outcome

__all__ = ["MAX_MESSAGE_BYTES", "Conversation", "Opener", "ending"]

_clock = time.monotonic_ns

Opener: TypeAlias = Callable[..., "Tap | None"]
"""Opens the tap of a conversation; None where nothing is to be watched."""

MAX_MESSAGE_BYTES = 1_048_576
"""A larger message passes without being looked at; it is counted as blind."""

_ENDED_WELL = frozenset({1000, 1001, 1005})
"""Close codes (RFC 6455, 7.4.1) by which nothing is said to have gone wrong: normal, going away, none given."""
_LOST = 1006


def ending(code: int, by: str) -> tuple[Outcome | None, str]:
    """What a WebSocket's close is for the run that it ends: an outcome, and the error's type. None where the dialect is
    to say: the agent just closed.

    Args:
        code: 1006 where the connection was lost without a close frame, 1005 where that had no code.
        by: `caller`, `agent` or `proxy`.
    """
    if by == "caller":
        return Outcome.ABANDONED, ""
    if by == "proxy":
        return (Outcome.SHUTDOWN, "") if code == 1001 else (Outcome.FAILED, str(code))
    if code in _ENDED_WELL:
        return None, ""
    return (Outcome.TRUNCATED if code == _LOST else Outcome.FAILED), str(code)


class Conversation(Passing):
    """Both directions of one connection or process. Every method is safe to call at any time, in any order."""

    __slots__ = ("__weakref__", "_propagate")

    def __init__(self, tap: Tap | None, propagate: Callable[[Tap], dict[str, str]], *, eager: bool = True) -> None:
        """
        Args:
            tap: None where nobody watches.
            propagate: the headers that carry a tap's span.
            eager: see `Passing`.
        """
        super().__init__(tap, eager=eager)
        self._propagate = propagate

    def traceparent(self) -> dict[str, str]:
        """The headers that carry the session's span, in lower case."""
        return self._propagate(self._tap) if self._tap is not None else {}

    def answered(self, status: int) -> None:
        """The handshake was answered."""
        self.aside("http.response", {"status": status})

    def sent(self, data: str | bytes, at: int | None = None) -> None:
        """A whole message, or line, of the caller's has been handed on."""
        tap = self._tap
        if tap is None:
            return
        at = _clock() if at is None else at
        if len(data) > MAX_MESSAGE_BYTES:
            tap.skip(at, at, came=False)
            return
        tap.aside_at(Aside("sent", {"data": data}), at)
        if self._eager:
            self._sink.asked = at

    def received(self, data: str | bytes, at: int, asked: int | None = None) -> None:
        """A whole message of the agent's, read at `at`, has been handed on.

        Args:
            asked: when it was asked for, where that is not when the conversation was last `resumed`.
        """
        tap = self._tap
        if tap is None:
            return
        if len(data) > MAX_MESSAGE_BYTES:
            if asked is not None:
                self._sink.asked = asked
            self.skipped(at)
        else:
            self.data(data, at, asked)

    def skipped(self, at: int, *, came: bool = True) -> None:
        """A message passed that the transport did not keep, as it is too large to be looked at.

        Args:
            came: it is the agent's; else the caller has sent it.
        """
        if self._tap is not None:
            self._tap.skip(self._sink.asked, at, came=came)
            if self._eager and came:
                self._sink.asked = at

    def aside(self, name: str, data: Mapping[str, Any]) -> None:
        """Something seen beside the messages, now: see `dialogue`."""
        if self._tap is not None:
            self._tap.aside(name, data)

    def closed(self, code: int, reason: str, by: str) -> None:
        """The WebSocket was closed, which ends the conversation; as `ending` has it."""
        self.aside("closed", {"code": code, "reason": reason, "by": by})
        outcome, error_type = ending(code, by)
        self.end(outcome=outcome, error_type=error_type)

    def end(self, error: BaseException | None = None, *, outcome: Outcome | None = None, error_type: str = "") -> None:
        """It has ended, by what is given, or by itself. Only the first call counts."""
        tap, self._tap = self._tap, None
        if tap is not None:
            tap.end_at(_clock(), error, outcome=outcome, error_type=error_type)

    @property
    def tap(self) -> Tap | None:
        """For who wraps what reads it."""
        return self._tap
