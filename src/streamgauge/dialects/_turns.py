"""The turns of one connection, read by the decoder of a single stream: a run each, from the caller's message to the
event that ends the answer.

A message that comes while a run is open is what the next run answers, as an agent reads one message after the other;
where the agent then says that the open run was cancelled, or just begins another one, it was interrupted by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, loaded
from streamgauge.dialects._parameters import text
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import RUN, Chunk, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Aside, Outcome

__all__ = ["BESIDE", "SENT", "Turns", "interrupted", "opening", "parent_of"]

SENT: Final = "sent"
"""The aside that is a message of the caller's."""
BESIDE: Final = frozenset({"cancel", "ping", "pong", "stop"})
"""Of the `type` of a message that asks nothing of the agent."""
_CANCELS: Final = frozenset({"cancel", "stop"})

MAX_WAITING: Final = 64
"""Messages that wait for an answer at one time; beyond it the oldest is forgotten."""

_ATTRIBUTES: Final = {
    "agent_name": semconv.GEN_AI_AGENT_NAME,
    "conversation_id": semconv.GEN_AI_CONVERSATION_ID,
    "model": semconv.GEN_AI_REQUEST_MODEL,
}
_ENVELOPES: Final = ("metadata", "_meta", "headers", "client_metadata", "forwardedProps", "forwarded_props")
_PARENT: Final = "traceparent"
_CARRIED: Final = "ws_request_header_traceparent"
"""What Codex calls it (openai/codex, `codex-rs/codex-api/src/common.rs`): a header that has no place on a WebSocket."""


def parent_of(message: Any) -> str:
    """The trace context that a message carries: `traceparent`, in it or in what it is wrapped in."""
    if message.__class__ is not dict:
        return ""
    found = text(message, _PARENT)
    for name in _ENVELOPES:
        if found:
            break
        envelope = message.get(name)
        if envelope.__class__ is dict:
            found = text(envelope, _PARENT) or text(envelope, _CARRIED)
    return found


def opening(at: int, told: Mapping[str, Any], parent: str = RUN) -> Opened:
    """The run that a message begins.

    Args:
        told: what it tells, as `Dialect.asked` has it.
    """
    facts = {name: told[key] for key, name in _ATTRIBUTES.items() if told.get(key)}
    return Opened(
        RUN, at, told.get("operation") or INVOKE_AGENT, "", parent, {**facts, **(told.get("attributes") or {})}
    )


def interrupted(at: int, by: str) -> tuple[Signal, Signal]:
    """The end of a run that its caller cut short: `by` input, cancel or barge_in."""
    return Noted(RUN, at, {semconv.STREAMGAUGE_INTERRUPTED_BY: by}), Closed(RUN, at, Outcome.CANCELLED)


class Turns(Dialect):
    """A dialect of conversations over the one of a stream. A subclass names that, and says what its messages are."""

    terminal = True
    only_waits_between_chunks = True
    opens_runs = True
    decoder: ClassVar[type[Dialect]]
    """Of what one answer is."""

    __slots__ = ("_answer", "_ended", "_how", "_last", "_waiting")

    def __init__(self) -> None:
        super().__init__()
        self._answer: Dialect | None = None  # the decoder of the open run
        self._last = 0  # when its last event came
        self._ended = 0  # when the last run ended
        self._how = ""  # what the caller has done to the open run
        self._waiting: deque[tuple[int, Any]] = deque(maxlen=MAX_WAITING)  # messages that no run has answered

    # What a subclass may say ----------------------------------------------------------------------------------

    def asks(self, message: Any) -> bool:
        """A message of the caller's begins a turn, where none is open."""
        return not (message.__class__ is dict and text(message, "type") in BESIDE)

    def begins(self, event: Any) -> bool:
        """An event is the first of an answer: of one that nobody asked for, where no run is open."""
        raise NotImplementedError

    def follows(self, event: Any) -> bool:
        """An event is the first of another answer than the one that is open."""
        return False

    def told_by(self, message: Any) -> dict[str, Any]:
        """What the caller's message tells of the run that answers it."""
        return self.decoder.asked("", message if message.__class__ is dict else None)

    def read(self, answer: Dialect, event: Any, data: Any, at: int) -> Signals:
        """What an event of the open run tells: its JSON value, None where it is none, and as it came."""
        return answer.feed(event, at) if event.__class__ is dict else NOTHING

    def cancels(self, answer: Dialect, at: int) -> None:
        """The caller tells the agent to stop the open run."""

    # The two sides --------------------------------------------------------------------------------------------

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            return self._sent(data.data.get("data"), at) if data.name == SENT else NOTHING
        event = loaded(data)
        answer = self._answer
        if answer is not None:
            if self._waiting and self.follows(event):
                cut = self._cut("input")
                return [*cut, *self._unasked(event, data, at)]
            signals = self.read(answer, event, data, at)
            if signals.__class__ is not Chunk:
                signals = self._told(signals)
            self._last = at
            return signals
        return self._unasked(event, data, at) if self.begins(event) else NOTHING

    def untold(self, at: int) -> Signals:
        return NOTHING if self._answer is None else self._told(self._answer.untold(at))

    def finish(self, at: int) -> Signals:
        return NOTHING if self._answer is None else self._told(self._answer.finish(at))

    def _sent(self, said: Any, at: int) -> Signals:
        message = loaded(said)
        if message is None:
            message = said
        if self._answer is None and self.asks(message):
            self._waiting.clear()
            return (self._open(at, message),)
        kind = text(message, "type")
        if kind not in BESIDE:
            self._how = "input"
            self._waiting.append((at, message))
        elif self._answer is not None and kind in _CANCELS:
            self._how = "cancel"
            self.cancels(self._answer, at)
        return NOTHING

    def _open(self, at: int, message: Any) -> Opened:
        self._answer = self.decoder()
        self._answer.anchor = self.anchor
        self._last, self._how = at, ""
        return opening(at, self.told_by(message), parent_of(message))

    def _unasked(self, event: Any, data: Any, at: int) -> Signals:
        """An answer begins that no message has opened: it is to the first that waits, or to none."""
        sent, message = self._waiting.popleft() if self._waiting else (at, None)
        opened = self._open(max(sent, self._ended), message)
        assert self._answer is not None
        self._last = at
        told = self._told(self.read(self._answer, event, data, at))
        return [opened, *told]

    def _cut(self, by: str) -> list[Signal]:
        """The end of the open run, as of its last event, by what the caller has said meanwhile."""
        answer, self._answer = self._answer, None
        self._ended = self._last
        rest = answer.untold(self._last) if answer is not None else NOTHING
        return [*rest, *interrupted(self._last, by)]

    def _told(self, signals: Signals) -> list[Signal]:
        """What the decoder tells, with who cut the run short; and whether it is over."""
        told: list[Signal] = []
        answer = self._answer
        for signal in signals:
            if isinstance(signal, Closed) and signal.key == RUN:
                told += self._closed(signal)
                self._answer, self._ended = None, told[-1].at
            elif isinstance(signal, Opened) and signal.key == RUN:  # the decoder's own: another run has begun
                sent, message = self._waiting.popleft() if self._waiting else (signal.at, None)
                self._answer, self._how = answer, ""
                told.append(opening(max(sent, self._ended), self.told_by(message), parent_of(message)))
            else:
                told.append(signal)
        return told

    def _closed(self, closed: Closed) -> tuple[Signal, ...]:
        """Cancelled, or ended without a word, with a message of the caller's before: that is what ended it."""
        by = self._how
        if by and closed.outcome is Outcome.TRUNCATED:
            return interrupted(self._last, by)
        return interrupted(closed.at, by) if by and closed.outcome is Outcome.CANCELLED else (closed,)
