"""How one stream's operations end: what they come to in metrics, and the end of their spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import Span, Status, StatusCode

from streamgauge import semconv
from streamgauge.aggregates import Labels, Origin, Point
from streamgauge.recorder.operations import Operation
from streamgauge.recorder.pace import Pace
from streamgauge.recorder.points import (
    Tallies,
    closing_points,
    granularity_label,
    label_sets,
    live_points,
    run_points,
    served_points,
)
from streamgauge.recorder.retries import context_of
from streamgauge.recorder.sessions import Sessions
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import RUN, SESSION, Closed
from streamgauge.wire import Outcome

__all__ = ["Closing"]

_UNSET_STATUS = frozenset({Outcome.COMPLETED, Outcome.CANCELLED, Outcome.ABANDONED})
_ERROR_TYPES = {
    Outcome.FAILED: semconv.ERROR_TYPE_OTHER,
    Outcome.TRUNCATED: "truncated",
    Outcome.TIMED_OUT: "timeout",
    Outcome.SHUTDOWN: "shutdown",
}


def _error_type(signal: Closed) -> str:
    """Of what did not just complete."""
    outcome = signal.outcome
    if signal.error_type and outcome in (Outcome.FAILED, Outcome.TRUNCATED):
        return signal.error_type
    return _ERROR_TYPES.get(outcome, "")


class Closing(Sessions):
    """One stream's endings."""

    __slots__ = ("_counted", "_ended", "_gap_ns", "_gaps", "_pace")

    _counted: bool
    """It is a stream, and no run that groups streams."""
    _ended: Labels
    """The common labels of the last run that ended."""
    _gap_ns: int
    """The sum of the gaps between its run's chunks; how many there were is `_gaps`."""
    _gaps: int
    _pace: Pace | None
    """Of a stream that is served."""

    def _close(self, signal: Closed) -> None:
        operation = self.operations.get(signal.key)
        if operation is None:
            if signal.key == SESSION:
                self.close_session(signal, _error_type(signal))
            return
        if len(self.operations) == 1:
            self._finish(operation, signal)
            return
        ending = [other for other in reversed(self.operations.values()) if other.below(operation)]
        for below in ending:
            below.unseen = signal.outcome is Outcome.COMPLETED
        self._finish_all([*ending, operation], signal)

    def _finish_all(self, operations: Sequence[Operation], signal: Closed) -> None:
        """Close them all, in this order, whatever fails on the way."""
        trouble = None
        for operation in operations:
            try:
                self._finish(operation, signal)
            except Exception as error:
                trouble = error
        if trouble is not None:
            raise trouble

    def _finish(self, operation: Operation, signal: Closed) -> None:
        """Close one operation that has none open below it. Once: a shutdown may come at the same time."""
        at = signal.at
        if at < operation.below_until:
            at = operation.below_until
        gaps = operation.gaps
        if gaps is not None and at < operation.last:
            at = operation.last
        parent = operation.parent
        if parent is not None and parent.below_until < at:
            parent.below_until = at  # it lasts at least as long: a chunk may be read after its step was over
        recorder = self.recorder
        aggregates = recorder.aggregates
        with aggregates.lock:
            if operation.end is not None:
                return
            operation.end = at
        outcome = signal.outcome
        error_type = "" if outcome is Outcome.COMPLETED else _error_type(signal)
        is_run = operation.key == RUN
        if operation.operation == EXECUTE_TOOL:
            self.tools -= 1
        around = self.outer.operations.get(RUN) if self.outer is not None else None
        if parent is not None or around is not None:
            operation.told_above(around)
        if gaps is not None:
            self._gaps += sum(gaps)
            self._gap_ns += operation.gap_total()
        if self._pace is not None:
            self._pace.add(operation)
        points: list[Point] = []
        tallies: Tallies = ()
        try:
            if operation.retry is not None:
                self.end_retry(operation, at)
            tallies = operation.tallies()
            points = self._points(operation, outcome, error_type, at, tallies)
        finally:  # whatever fails, it is gone, and its span ends
            try:
                with aggregates.lock:  # counted here, gone there: nothing is seen twice, or not at all
                    self.operations.pop(operation.key, None)
                    if is_run:
                        aggregates.unwatch_locked(self)  # type: ignore[arg-type]
                        if self.session is None:
                            recorder.streams.discard(self)
                    aggregates.record_locked(points)
            finally:
                self._end_span(operation, signal, outcome, error_type, at, tallies)
        if recorder.mirrored:
            recorder.mirror(points, context_of(operation))
        if is_run:
            self._ended = operation.frozen or ()
            if self.session is not None:
                self.context = self._parent
            self.tell_outer(outcome, error_type, at)

    def _points(
        self, operation: Operation, outcome: Outcome, error_type: str, at: int, tallies: Tallies
    ) -> list[Point]:
        aggregates, profile = self.recorder.aggregates, self.recorder.profile
        common = operation.frozen or self._settled(operation)
        tool_labels: Labels = ()
        if operation.operation == EXECUTE_TOOL:
            tool_labels = aggregates.cap(semconv.TOOL_DURATION.labels, (operation.name, error_type))
            error_type = tool_labels[1]
        elif error_type:
            (error_type,) = aggregates.cap((semconv.ERROR_TYPE,), (error_type,))
        granularity = granularity_label(aggregates, operation.granularity or self._granularity)
        sets = label_sets(common, outcome, error_type, granularity)
        origin = self.origin(operation, at)
        pace = self._pace if operation.key == RUN else None
        points = closing_points(operation, sets, profile, origin, tool_labels, served=pace is not None)
        if pace is not None:
            points += served_points(operation, sets, origin, outcome is Outcome.COMPLETED, pace)
        if tallies:
            points += live_points(operation, common, profile, origin, aggregates, tallies)
        if operation.key == RUN and self._counted:
            if self.at <= self.asked < at and not self.reading:  # the caller ended it, while the source was silent
                self.source_ns += at - self.asked
            operation.waits = self.waits()
            rate = self._gaps * 1e9 / self._gap_ns if self._gap_ns else 0.0
            points += run_points(operation, sets, origin, self.first_byte, operation.waits, rate)
            if self.holds or self._added is not None:
                points += self.added_points(common)
        return points

    def _end_span(
        self, operation: Operation, signal: Closed, outcome: Outcome, error_type: str, at: int, tallies: Tallies
    ) -> None:
        span: Span = operation.span
        recorder = self.recorder
        try:
            if operation.recorded and span.is_recording():  # somebody else may have ended it
                attributes = recorder.attributes.closing(operation, outcome, error_type, tallies)
                if operation.key == RUN and self._counted:
                    self._stream_attributes(operation, attributes)
                span.set_attributes(recorder.attributes.profiled(operation.operation, attributes))
                if outcome is not Outcome.COMPLETED:
                    self.give_status(span, signal)
        finally:
            span.end(at + self.anchor)

    def give_status(self, span: Any, signal: Closed) -> None:
        intended = signal.outcome in _UNSET_STATUS and not self.recorder.intended_ends_are_errors
        if not intended and signal.outcome is not Outcome.COMPLETED:
            span.set_status(Status(StatusCode.ERROR, signal.message[:1024] or str(signal.outcome)))

    def _stream_attributes(self, run: Operation, attributes: dict[str, Any]) -> None:
        if self.first_byte:
            first = (self.first_byte - run.start) / 1e9
            attributes[semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_BYTE] = first
        if run.first_answer:
            answer = (run.first_answer - run.start) / 1e9
            attributes[semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_ANSWER] = answer
        if self.stalls:
            attributes[semconv.STREAMGAUGE_STREAM_STALLS] = self.stalls
        attributes[semconv.STREAMGAUGE_STREAM_WAIT_SOURCE] = self.source_ns / 1e9
        attributes[semconv.STREAMGAUGE_STREAM_WAIT_CALLER] = self.caller_ns / 1e9

    def finish(self, at: int, outcome: Outcome = Outcome.COMPLETED) -> None:
        """Close all that is still open, whatever fails on the way."""
        if not self.operations and not self.holds and self._added is None and self._ended and self.session is None:
            return  # its end came with an event, and has closed all
        try:
            if (self.holds or self._added is not None) and (labels := self._ended or self.common()):
                self.recorder.record(self.added_points(labels), self.context)
            self._finish_all(list(reversed(self.operations.values())), Closed(RUN, at, outcome))
        finally:
            if self.session is not None:
                ended = Closed(SESSION, at, outcome)
                self.close_session(ended, _error_type(ended))
            self.forget()

    def forget(self) -> None:
        """Whatever is open is somebody else's to close: in a forked child, the parent's."""
        self.operations.clear()
        self.recorder.streams.discard(self)
        self.recorder.aggregates.unwatch(self)  # type: ignore[arg-type]

    # Labels ---------------------------------------------------------------------------------------------------

    def common_of(self, operation: Operation) -> Labels:
        if operation.frozen is not None:
            return operation.frozen
        request = self.request
        values = (
            operation.operation,
            operation.provider,
            operation.model,
            operation.agent,
            request.server_address,
            request.dialect,
            request.transport,
        )
        return self.recorder.aggregates.cap(semconv.COMMON_LABELS, values)

    def _settled(self, operation: Operation) -> Labels:
        """The same, from now on for good: two threads may ask, and a counter is not to change its series."""
        with self.recorder.aggregates.lock:
            common = operation.frozen = self.common_of(operation)
            return common

    def origin(self, operation: Operation | None, at: int) -> Origin | None:
        """What the exemplars of an operation point at."""
        kept = self.recorder.exemplars
        if operation is None or kept == "always_off":
            return None
        context = operation.span.get_span_context()
        if not context.is_valid or not (context.trace_flags.sampled or kept == "always_on"):
            return None
        return at + self.anchor, context.trace_id, context.span_id

    def common(self) -> Labels:
        run = self.operations.get(RUN)
        return self.common_of(run) if run is not None else ("",) * len(semconv.COMMON_LABELS)
