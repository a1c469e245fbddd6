"""Any conversation: the messages of two sides, counted and timed without meaning.

A run begins with what the caller says, and has all that is answered until the caller says something else; what the
agent says unasked is a run of its own. Nothing tells that an answer is complete: a run ends as of its last message,
with the next one or with the connection, and is `completed` however that ends, as nothing is known to be missing. Once
something was answered silence is no stall, since it may be the caller's turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect
from streamgauge.signals import BINARY, PERSON_ASKED, RUN, TEXT, Chunk, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Aside, Granularity

__all__ = ["GenericMessages"]


class GenericMessages(Dialect):
    """Text and bytes of a WebSocket; lines of a process."""

    name = "generic-messages"
    system = "any conversation"
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    opens_runs = True
    events: ClassVar[Mapping[str, str]] = {
        "sent": "the end of the run before, where that was answered; a run",
        "str": "a text chunk; a run, where none is open",
        "bytes": "a chunk of kind `binary`, sized as it is",
    }

    __slots__ = ("_answered", "_open")

    def __init__(self) -> None:
        super().__init__()
        self._open = False
        self._answered: int | None = None  # when the run's last message came

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            return self._sent(at) if data.name == "sent" else NOTHING
        signals: list[Signal] = []
        if not self._open:
            self._open = True
            signals.append(Opened(RUN, at, semconv.INVOKE_AGENT))
        binary = data.__class__ is bytes or data.__class__ is bytearray
        signals.append(Chunk(RUN, at, BINARY if binary else TEXT, data.decode("latin-1") if binary else data))
        if self._answered is None:
            signals.append(Noted(RUN, at, {}, PERSON_ASKED))
        self._answered = at
        return signals if len(signals) > 1 else signals[0]  # type: ignore[return-value]

    def _sent(self, at: int) -> Signals:
        if self._open and self._answered is None:
            return NOTHING  # more of the same request
        signals: list[Signal] = [*self._rest(), Opened(RUN, at, semconv.INVOKE_AGENT)]
        self._open = True
        return signals

    def untold(self, at: int) -> Signals:
        return self._rest()

    def finish(self, at: int) -> Signals:
        return self._rest()

    def _rest(self) -> list[Signal]:
        """The end of a run that was answered."""
        answered, self._answered = self._answered, None
        if answered is None:
            return []
        self._open = False
        return [Closed(RUN, answered)]
