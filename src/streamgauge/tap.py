"""The guard between a stream and all that watches it: it reads a copy, and never raises, awaits or prefetches.

What goes wrong here makes the tap *blind*: it goes on counting time, stops decoding, says so in one log line and one
metric, and the stream goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from streamgauge import semconv
from streamgauge.endings import classify, error_type_of, is_late, message_of
from streamgauge.errors import FramingError
from streamgauge.signals import RUN, SESSION, Chunk, Closed, Noted, Opened, Signals
from streamgauge.wire import Aside, Event, Outcome, Request

__all__ = ["Capturing", "Decoder", "Sink", "Tap"]

SLOW_NS = 100_000_000
"""Reading one event for longer is a strike; a scheduler's slice or a collection stays well below it."""
STRIKES = 3
"""After so many it goes blind."""
FORGOTTEN_NS = 60_000_000_000
"""A strike counts no longer after that."""

_HOW = {Outcome.ABANDONED: "closed", Outcome.CANCELLED: "cancelled", Outcome.SHUTDOWN: "shutdown"}

_clock = time.monotonic_ns


class Decoder(Protocol):
    """What the tap needs of a dialect."""

    @property
    def terminal(self) -> bool: ...
    def feed(self, data: Any, at: int) -> Signals: ...
    def untold(self, at: int) -> Signals: ...
    def finish(self, at: int) -> Signals: ...


class Sink(Protocol):
    """What the tap and a transport need of a recorder: one stream's recording."""

    asked: int
    """When the caller asked for the next event; kept by the transport."""
    at: int
    """When the last event came."""
    context: Any
    """What is to be current while the source is being read."""
    inward: bool
    """Whether it is to be."""
    holds: list[int]
    """For how long (ns) a proxy held pieces, from reading them to writing them; `added` adds to it, and counts them."""
    tap: Any

    @property
    def run_open(self) -> bool: ...
    def record(self, signals: Signals, asked: int, at: int) -> None: ...
    def apply(self, signals: Signals) -> None: ...
    def stay_inward(self) -> None: ...
    def added(self, waited: int) -> None: ...
    def ending(self, at: int) -> None: ...
    def finish(self, at: int) -> None: ...


class Capturing(Protocol):
    """What the tap needs of a capture."""

    def write(self, event: Event) -> None: ...
    def end(self, at: int, error: str | None, how: str, outcome: str, asked: int | None) -> None: ...
    def close(self) -> None: ...


class Tap:
    """One stream's guard. Every method is safe to call at any time, in any order; none raises.

    `read` and `record` are the two steps of an event, for a transport that has no call to spare: each in a `try` of
    its own, whose exceptions go to `unread` and `unrecorded`. `feed` is just that.
    """

    __slots__ = (
        "__weakref__", "_blinded", "_capture", "_decoder", "_framing", "_joins", "_observe", "_opened", "_report",
        "_session", "_strikes", "ended", "held", "read", "record", "request", "sink",
    )  # fmt: skip

    read: Callable[[Any, int], Signals]
    """(data, at): what the data tells."""
    record: Callable[[Signals, int, int], None]
    """(signals, asked, at): data came, and told that."""

    def __init__(
        self,
        request: Request,
        decoder: Decoder,
        sink: Sink,
        *,
        report: Callable[[str, str, BaseException | None], None],
        framing: Any = None,
        capture: Capturing | None = None,
        observe: Callable[[Request, Signals], None] | None = None,
    ) -> None:
        """
        Args:
            report: told of trouble: `("blind" | "error", reason, exception)`.
            framing: for a stream of bytes; without one, data goes to the dialect as it is.
            observe: given every signal.
        """
        self.request = request
        self.sink = sink
        sink.tap = self
        self.ended = False
        self.record = sink.record
        self._decoder = decoder
        self._report = report
        self._framing = framing
        self._capture = capture
        self._observe = observe
        self._strikes = 0
        self._blinded = False
        self._opened = 0
        self._session = False
        self.held: list[tuple[Any, int, int]] = []
        """(data, asked, at) of what the transport holds back: it is told before anything else is, see `alike`."""
        watched = framing is not None or capture is not None or observe is not None
        self.read = self._read_watched if watched else decoder.feed
        self._joins = not watched and hasattr(decoder, "sizes") and getattr(sink, "record_alike", None) is not None

    # A life ---------------------------------------------------------------------------------------------------

    def open(self, at: int, *, opens_run: bool = True, session: str | None = None) -> None:
        """The stream was opened. Without `opens_run` the dialect opens its runs itself; they are in a session of that
        name, where there is one."""
        self._opened = self.sink.at = at
        self.sink.asked = at - 1  # nobody has yet
        if session is not None:
            self._session = True
            self._tell((Opened(SESSION, at, semconv.SESSION, session, RUN, self.request.attributes),))
        elif opens_run:
            request = self.request
            self._tell((Opened(RUN, at, request.operation, _name(request), RUN, request.attributes),))

    def feed(self, data: Any, asked: int, at: int) -> None:
        """One event that the caller asked for at `asked`, and that came at `at`."""
        try:
            signals = self.read(data, at)
        except Exception as error:
            signals = self.unread(error)
        try:
            self.record(signals, asked, at)
        except Exception as error:
            self.unrecorded(error)

    @property
    def alike(self) -> bytes | tuple[()]:
        """What data ends with that seems to be one more chunk like the last, and so may be `held` for a moment: what
        `bytes.endswith` takes. Nothing ends with `()`."""
        if not self._joins or self._blinded or self.ended:
            return ()
        alike = self._decoder.alike  # type: ignore[attr-defined]
        return alike.tail if alike is not None else ()

    def tell_held(self) -> None:
        """Read and record what was held back, with the times at which it came."""
        held = self.held[:]
        del self.held[:]  # no other thread comes in between
        if not held:
            return
        decoder: Any = self._decoder
        data, asked, at = zip(*held, strict=True)
        sizes = None
        if self.read == decoder.feed:
            try:
                sizes = decoder.sizes(data)
            except Exception as error:
                self.unread(error)
        if sizes is None:
            for each in held:
                self.feed(*each)
            return
        try:
            self.sink.record_alike(decoder.alike.key, decoder.alike.kind, sizes, asked, at)  # type: ignore[attr-defined]
        except Exception as error:
            self.unrecorded(error)

    def push(self, data: Any) -> None:
        """An event that the source pushed, now: a callback's."""
        if self.ended:
            return
        at = _clock()
        self.feed(data, self.sink.at, at)
        self.sink.asked = at

    def aside(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Something seen beside the stream, now."""
        self.aside_at(Aside(name, data or {}), _clock())

    def aside_at(self, aside: Aside, at: int) -> None:
        """`aside`, at a time of the past: for replay."""
        if self.ended:
            return
        if self.held:
            self.tell_held()
        if self._capture is not None:
            self._captured(Event(at, aside))
        if not self._blinded:
            self._tell(self._safely(self._decoder.feed, aside, at))

    def end(self, error: BaseException | None = None, *, outcome: Outcome | None = None) -> None:
        """The stream has ended: by itself, by `error`, or by an `outcome` that the transport knows. Only the first
        call counts; after the terminal event or an error event it changes nothing but closes what is left."""
        self.end_at(_clock(), error, outcome=outcome)

    def end_at(
        self, at: int, error: BaseException | None = None, *, outcome: Outcome | None = None, error_type: str = ""
    ) -> None:
        """`end`, at a time of the past: for replay, which knows an exception by its `error_type` alone."""
        if self.ended:
            return
        if self.held:
            self.tell_held()
        self.ended = True
        exhausted = error is None and outcome is None
        if error is not None:
            error_type = error_type or error_type_of(error)
        asked = self.sink.asked if self.sink.asked >= self.sink.at else None
        try:
            self.sink.ending(at)
        except Exception as trouble:
            self.unrecorded(trouble)
        try:
            outcome = self._judged(at, error, outcome)
        except Exception as trouble:
            self.unread(trouble)
            outcome = outcome or (Outcome.COMPLETED if error is None else classify(error))
        try:
            running = self.sink.run_open
            if self._session and exhausted and not running:  # between two runs, a source that just ends has not failed
                outcome = Outcome.COMPLETED
            if running or self._session:
                failed = outcome in (Outcome.FAILED, Outcome.TRUNCATED)
                closed = Closed(RUN, at, outcome, error_type if failed else "")
                if failed and error is not None:
                    closed.message = message_of(error)
                if running:
                    self._tell((closed,))
                if self._session:
                    self._tell((replace(closed, key=SESSION),))
            self.sink.finish(at)
        except Exception as trouble:
            self.unrecorded(trouble)
        if self._capture is not None:
            try:
                how = "exhausted" if exhausted else _HOW.get(outcome, "error")
                self._capture.end(at, error_type or None, how, str(outcome), asked)
                self._capture.close()
            except Exception as trouble:
                self._uncaptured(trouble)
        # No cycle is left for the collector, and what may still come is not decoded.
        self.sink.tap = None
        self.read, self.record = _nothing, _nothing_recorded

    def _judged(self, at: int, error: BaseException | None, outcome: Outcome | None) -> Outcome:
        """How it ended, if no event has told it: where the source just ended, that is the dialect's to say."""
        if error is None and outcome is None:
            rest = self._rest()
            if rest:
                self.feed(rest, at, at)
            if not self._blinded:
                self._tell(self._safely(self._decoder.finish, at))
            # Blind, it cannot know of a terminal event.
            unended = not self._blinded and self._decoder.terminal
            return Outcome.TRUNCATED if unended else Outcome.COMPLETED
        if not self._blinded:
            self._tell(self._safely(self._decoder.untold, at))
        if outcome is None:
            outcome = classify(cast("BaseException", error))
        if outcome in (Outcome.CANCELLED, Outcome.ABANDONED) and is_late(self.request, at - self._opened):
            return Outcome.TIMED_OUT
        return outcome

    # What may go wrong ----------------------------------------------------------------------------------------

    def unread(self, error: BaseException) -> Signals:
        """The dialect failed: stop decoding. The sink still counts time, and closes what is open."""
        self._blind("framing" if isinstance(error, FramingError) else "dialect", error)
        return ()

    def unrecorded(self, error: BaseException) -> None:
        """The sink failed: it is given nothing more but the end, which must close what is open."""
        self.record = _nothing_recorded
        self._blind("sink", error)

    def skip(self, asked: int, at: int, *, came: bool = True) -> None:
        """A message is too large to be looked at: it is counted as blind, and what follows is decoded again.

        Args:
            came: it is of the source's; else the caller has sent it.
        """
        if self.ended:
            return
        if came:
            if self.held:
                self.tell_held()
            try:
                self.record((), asked, at)
            except Exception as error:
                self.unrecorded(error)
        self._report("blind", "size", None)

    def suspect(self) -> None:
        """Much time passed between two reads: the caller's, or ours? From here on each reading is timed."""
        if self._blinded or self._strikes:
            return
        self._strikes = 1
        read = self.read
        last = 0

        def timed(data: Any, at: int) -> Signals:
            nonlocal last
            began = _clock()
            signals = read(data, at)
            if _clock() - began > SLOW_NS:
                # A machine that slept once an hour is no slow dialect.
                self._strikes = self._strikes + 1 if began - last < FORGOTTEN_NS else 2
                last = began
                if self._strikes > STRIKES:
                    self._blind("slow", None)
            return signals

        self.read = timed

    def _read_watched(self, data: Any, at: int) -> Signals:
        """`read`, for a stream with a capture, observers or a framing."""
        if data.__class__ is not _Rest:
            self._captured(Event(at, data, self.sink.asked))
        feed = self._decoder.feed
        if self._framing is None:
            signals = _listed(feed(data, at))
        else:
            signals = [signal for event in self._events(data) for signal in feed(event, at)]
        self._show(signals)
        return signals

    def _read_blind(self, data: Any, at: int) -> Signals:
        """What could not be decoded is what somebody wants to look at."""
        if data.__class__ is not _Rest:
            self._captured(Event(at, data, self.sink.asked))
        return ()

    def _captured(self, event: Event) -> None:
        if self._capture is not None:
            try:
                self._capture.write(event)
            except Exception as error:
                self._uncaptured(error)

    def _uncaptured(self, error: BaseException) -> None:
        """The capture failed: what it has is kept, and nothing more is written."""
        capture, self._capture = self._capture, None
        self._report("error", "capture", error)
        try:
            if capture is not None:
                capture.close()
        except Exception:  # as it failed before
            pass

    def _events(self, data: Any) -> Sequence[Any]:
        if data.__class__ is _Rest:
            return data
        try:
            return cast("Sequence[Any]", self._framing.feed(data))
        except Exception as error:
            self._blind("framing", error)
            return ()

    def _rest(self) -> _Rest:
        if self._framing is None or self._blinded:
            return _Rest()
        try:
            return _Rest(self._framing.finish())
        except Exception as error:
            self._blind("framing", error)
            return _Rest()

    def _tell(self, signals: Signals) -> None:
        """Something that was no data told `signals`: the source's clocks are not touched."""
        try:
            if signals.__class__ not in _LISTED:
                signals = _listed(signals)
            self.sink.apply(signals)
        except Exception as error:
            self.unrecorded(error)
        if self._observe is not None:
            self._show(signals)

    def _show(self, signals: Signals) -> None:
        if self._observe is not None and signals != ():
            try:
                self._observe(self.request, signals)
            except Exception as error:
                self._observe = None
                self._report("error", "observer", error)

    def _safely(self, read: Callable[..., Signals], *args: Any) -> Signals:
        try:
            return read(*args)
        except Exception as error:
            return self.unread(error)

    def _blind(self, reason: str, error: BaseException | None) -> None:
        self.read = self._read_blind if self._capture is not None else _nothing
        if not self._blinded:
            self._blinded = True
            self._report("blind", reason, error)
            if reason != "sink":
                self._tell((Noted(RUN, self.sink.at, {semconv.STREAMGAUGE_BLIND: reason}),))


def _name(request: Request) -> str:
    """What the run's span is called."""
    if request.operation in semconv.INFERENCE:
        return request.model
    named = _NAMED.get(request.operation)
    return request.agent_name if named is None else str(request.attributes.get(named) or "")


_NAMED = {semconv.EXECUTE_TOOL: semconv.GEN_AI_TOOL_NAME, semconv.RPC: semconv.MCP_METHOD_NAME}


class _Rest(list[Any]):
    """The events that a framing still had at the end: no data that came."""


def _listed(signals: Signals) -> Signals:
    """To be read by more than one: a dialect of somebody's may be a generator."""
    return signals if signals.__class__ in _LISTED else tuple(signals)


_LISTED = frozenset({tuple, list, Chunk})


def _nothing(data: Any, at: int) -> Signals:
    return ()


def _nothing_recorded(signals: Signals, asked: int, at: int) -> None:
    return None
