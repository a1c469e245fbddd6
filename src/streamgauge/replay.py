"""Replay: a captured stream's timed events, once more through a pipeline.

The way is that of a live stream: `Pipeline.open`, then the tap's `feed`, `aside_at` and `end_at`, so that the same
capture gives the same spans with the same times, and the same metrics, as often as it is played. Only this layer
sleeps, and only where a speed is given.

What a capture does not hold, replay cannot give back: an exception's message, and what was current when the stream was
opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamgauge import dialects
from streamgauge.capture import Capture, Ending
from streamgauge.errors import CaptureError, FramingError, UnknownDialectError
from streamgauge.pipeline import Pipeline
from streamgauge.wire import Aside, Outcome

__all__ = ["replay"]

_clock = time.monotonic_ns
_HOWS = {
    "closed": Outcome.ABANDONED,
    "dropped": Outcome.ABANDONED,
    "thrown": Outcome.ABANDONED,
    "cancelled": Outcome.CANCELLED,
    "shutdown": Outcome.SHUTDOWN,
    "error": Outcome.FAILED,
}
_PLAUSIBLE_S = (1_000_000_000, 10_000_000_000)  # 2001 to 2286: beyond it is no wall clock in seconds


def replay(
    capture: Capture,
    pipeline: Pipeline,
    *,
    speed: float | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Play one stream, from its opening to its end.

    The spans have the capture's own times. Where it does not know the wall clock, the events' own timestamps tell it;
    where there are none, the stream begins now. A capture without an ending is of a program that ended before its
    stream did: `shutdown`.

    Args:
        speed: 1 is as fast as it was, 10 ten times as fast; None waits for nothing.
        sleep: given seconds; what is between two events.
    Raises: UnknownDialectError; CaptureError for a framing that is not known. What `sleep` raises ends the stream as it
        would end a live one.
    """
    kind = dialects.find(capture.request.dialect)
    if kind is None:
        raise UnknownDialectError(capture.request.dialect, dialects.names())
    # The capture's 0 is now: the gauges, which are read on today's clock, then show the stream's true age.
    zero = _clock()
    epoch = capture.epoch_ns or _epoch_of_events(capture, kind) or time.time_ns()
    try:
        tap = pipeline.open(capture.request, at=zero, anchor=epoch - zero, framing=capture.framing)
    except FramingError as error:
        raise CaptureError(f"the capture's framing cannot be undone: {error}") from error
    last = 0
    try:
        for event in capture.events:
            if speed is not None:
                _wait(zero + event.at / speed, sleep)
            last = max(last, event.at)
            at = zero + event.at
            if isinstance(event.data, Aside):
                tap.aside_at(event.data, at)
                continue
            # What nobody asked for was pushed: it was waited for since the last event.
            asked = tap.sink.at if event.asked is None else zero + event.asked
            tap.sink.asked = asked
            tap.feed(event.data, asked, at)
            if event.asked is None:
                tap.sink.asked = at
        ending = capture.ending or Ending(last, "shutdown")
        if speed is not None:
            _wait(zero + ending.at / speed, sleep)
    except BaseException as error:
        tap.end_at(zero + last, error)
        raise
    at = zero + ending.at
    if ending.asked is not None:
        tap.sink.asked = zero + ending.asked
    outcome = _outcome(ending)
    if outcome is None:
        tap.end_at(at)
    else:
        tap.end_at(at, outcome=outcome, error_type=ending.error or "")


def _outcome(ending: Ending) -> Outcome | None:
    """What an ending on record says; None where the source was exhausted: then dialect and tap judge, as live."""
    if ending.how == "exhausted":
        return None
    if ending.outcome:
        return Outcome(ending.outcome)
    error = (ending.error or "").rpartition(".")[2]
    if ending.how in ("error", "thrown"):
        if error == "CancelledError":
            return Outcome.CANCELLED
        if ending.how == "thrown" and error == "TimeoutError":
            return Outcome.TIMED_OUT
    if ending.how in _HOWS:
        return _HOWS[ending.how]
    if ending.how in tuple(Outcome):
        return Outcome(ending.how)
    return Outcome.FAILED if ending.error else None


def _wait(until: float, sleep: Callable[[float], object]) -> None:
    seconds = (until - _clock()) / 1e9
    if seconds > 0:
        sleep(seconds)


def _epoch_of_events(capture: Capture, kind: type[dialects.Dialect]) -> int:
    """The wall clock at 0, by the timestamps that the dialect finds in the events: the earliest for which none of them
    is after its own arrival. 0 where there are none."""
    told: list[int] = []

    class Listening(kind):  # type: ignore[misc, valid-type]  # a class that is only known now
        __slots__ = ()

        def when(self, epoch_s: Any, at: int) -> int:
            if isinstance(epoch_s, int | float) and _PLAUSIBLE_S[0] < epoch_s < _PLAUSIBLE_S[1]:
                told.append(int(epoch_s * 1_000_000_000) - at)
            return at

    decoder = Listening()
    try:
        for event in capture.events:
            decoder.feed(event.data, event.at)
    except Exception:  # the tap will say so; what was told up to here is good
        pass
    return max(told, default=0)
