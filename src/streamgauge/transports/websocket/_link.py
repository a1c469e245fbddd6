"""What is told of one WebSocket connection of a client's: who asks, what was sent and received, and how it ended.

A connection of threads may be read in one and written in another: what is told is told by one at a time. An answer may
be read before the call that sent the request has returned; what was being sent is then told before it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Any

from streamgauge.endings import classify
from streamgauge.transports._conversation import Conversation, ending
from streamgauge.transports.websocket._messages import Note
from streamgauge.wire import Outcome

__all__ = ["Link"]

_LOST = 1006

_clock = time.monotonic_ns


class Link:
    """One connection's. No method raises, awaits or blocks."""

    __slots__ = (
        "__weakref__", "_asking", "_conversation", "_gave_up", "_given_up", "_lock", "_refused", "_sending", "_waited",
    )  # fmt: skip

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._lock = threading.RLock()
        self._sending: deque[Note] = deque()
        self._asking = 0
        """When the caller asked for what it waits for; 0 while it does not."""
        self._waited = 0
        """How long it has asked in vain since the last message."""
        self._gave_up = False
        """It has closed the connection,"""
        self._given_up = Outcome.ABANDONED
        """for this reason."""
        self._refused: Outcome | None = None
        """How the last read ended, where it gave no message: dropped after it, that is why."""

    @property
    def open(self) -> bool:
        return self._conversation.watched

    # What is read -----------------------------------------------------------------------------------------------

    def ask(self) -> bool:
        """The caller asks for a message. False where somebody does already: the library will refuse."""
        with self._lock:
            tap = self._conversation.tap
            if tap is None or self._asking:
                return False
            self._asking = now = _clock()
            self._refused = None
            # What was asked before in vain, as by polling, was waiting for the agent too.
            tap.sink.asked = max(now - self._waited, tap.sink.at)
            return True

    def pause(self, asked: bool) -> int:
        """The caller has got a piece of a message, or nothing: it waits no longer.

        Args:
            asked: what `ask` said.
        Returns: when.
        """
        at = _clock()
        with self._lock:
            if asked and self._asking:
                self._waited += at - self._asking
                self._asking = 0
                self._conversation.paused()
        return at

    def unanswered(self, error: BaseException, asked: bool) -> None:
        """A read was cancelled, or timed out; the next one may be answered."""
        self.pause(asked)
        if isinstance(error, TimeoutError):
            self._refused = Outcome.TIMED_OUT
        elif not isinstance(error, Exception) and not isinstance(error, GeneratorExit):
            self._refused = classify(error)

    def received(self, message: str | bytes | None, at: int | None = None) -> None:
        """A message was given to the caller; None is one too large to be looked at.

        Args:
            at: when its last piece was, where it was read in pieces.
        """
        pieces, at = at is not None, _clock() if at is None else at
        with self._lock:
            tap = self._conversation.tap
            if tap is None:
                return
            for note in [note for note in self._sending if note.ready]:
                self._tell(note)
                self._sending.remove(note)
            if pieces:
                tap.sink.asked = max(at - self._waited, tap.sink.at)
            self._asking = self._waited = 0
            if message is None:
                self._conversation.skipped(at)
            else:
                self._conversation.received(message, at)

    # What is sent -----------------------------------------------------------------------------------------------

    def sending(self, note: Note) -> None:
        with self._lock:
            self._refused = None
            if self.open:
                self._sending.append(note)

    def sent(self, note: Note, *, done: bool = True) -> None:
        """The call has returned, or (not `done`) has failed: then nothing was sent."""
        with self._lock:
            if note in self._sending:  # else it was told with its answer
                if done:
                    self._tell(note)
                self._sending.remove(note)

    def _tell(self, note: Note) -> None:
        if note.ready:
            message = note.message()
            if message is None:
                self._conversation.skipped(note.at, came=False)
            else:
                self._conversation.sent(message, note.at)

    # How it ends ------------------------------------------------------------------------------------------------

    def give_up(self, connection: Any) -> None:
        """The caller closes the connection. What is read meanwhile still counts."""
        error = sys.exc_info()[1]
        with self._lock:
            if not self._gave_up:
                self._gave_up = connection.protocol.close_sent is None
                self._given_up = _given_up(error)

    def lost(self, connection: Any) -> None:
        """There is no connection any more; the caller may still read what came before."""
        if not _unread(connection):
            self.closed(connection)

    def closed(self, connection: Any) -> None:
        """The caller was told that it is closed, or has closed it."""
        with self._lock:
            if not self.open:
                return
            self._gave_up_waiting()
            code, reason, by, failed = _facts(connection.protocol, self._gave_up)
            outcome, error_type = (Outcome.FAILED, str(code)) if failed else ending(code, by)
            if by == "caller" and not failed:
                outcome = self._given_up
            elif by == "agent" and _unread(connection):  # closed in good order, but that was not what it waited for
                outcome, error_type = self._given_up, ""
            self._conversation.aside("closed", {"code": code, "reason": reason, "by": by})
            self._conversation.end(outcome=outcome, error_type=error_type)

    def dropped(self, connection: Any, outcome: Outcome) -> None:
        """Nobody holds it any more, and nobody closed it."""
        with self._lock:
            self._gave_up_waiting()
            if self._refused is not None:
                outcome = self._refused
            self._given_up = outcome
            if connection.protocol.state.name == "CLOSED":
                self.closed(connection)
            self._conversation.end(outcome=outcome)

    def _gave_up_waiting(self) -> None:
        """What was last asked for, in vain, was waiting for the agent, though nobody asks any more."""
        tap = self._conversation.tap
        if tap is not None and not self._asking and self._waited:
            tap.sink.asked = max(_clock() - self._waited, tap.sink.at)


def _given_up(error: BaseException | None) -> Outcome:
    """How a conversation ends that the caller leaves with `error`."""
    if isinstance(error, TimeoutError):
        return Outcome.TIMED_OUT
    if error is None or isinstance(error, Exception | GeneratorExit):
        return Outcome.ABANDONED
    return classify(error)


def _facts(protocol: Any, gave_up: bool) -> tuple[int, str, str, bool]:
    """(code, reason, by whom it was closed, the library itself closed it as something was wrong)."""
    received, sent = protocol.close_rcvd, protocol.close_sent
    if received is not None and protocol.close_rcvd_then_sent is not False:
        return received.code, received.reason, "agent", False
    if sent is not None:  # a protocol error, a message beyond `max_size`, no pong
        return sent.code, sent.reason, "caller", not gave_up
    return _LOST, "", "agent", False


def _unread(connection: Any) -> bool:
    """The caller has not read all that came."""
    try:
        frames = connection.recv_messages.frames
        return bool(len(frames) if hasattr(frames, "__len__") else frames.qsize())
    except AttributeError:  # of another version
        return False
