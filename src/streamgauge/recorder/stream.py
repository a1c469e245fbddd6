"""One stream's recording: what the tap calls a sink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import ReferenceType, ref

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode

from streamgauge import semconv
from streamgauge.aggregates import Distribution, Labels, Origin, Point
from streamgauge.recorder.attributes import span_name
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
    wait_points,
)
from streamgauge.recorder.retries import context_of
from streamgauge.recorder.sessions import Sessions
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, RUN, SESSION, Closed, Noted, Opened, Retried, Usage
from streamgauge.wire import Outcome, Request

if TYPE_CHECKING:
    from streamgauge.recorder import Recorder

__all__ = ["Stream", "current", "within"]

_CURRENT = otel_context.create_key("streamgauge-stream")
"""A weak reference: the stream itself holds the context."""
_UNSET_STATUS = frozenset({Outcome.COMPLETED, Outcome.CANCELLED, Outcome.ABANDONED})
_ERROR_TYPES = {
    Outcome.FAILED: semconv.ERROR_TYPE_OTHER,
    Outcome.TRUNCATED: "truncated",
    Outcome.TIMED_OUT: "timeout",
    Outcome.SHUTDOWN: "shutdown",
}
_CALLS = semconv.INFERENCE | {semconv.RPC}
"""Operations that are a request to somebody else."""
_NAMING = frozenset(
    {
        semconv.GEN_AI_REQUEST_MODEL,
        semconv.GEN_AI_AGENT_NAME,
        semconv.GEN_AI_TOOL_NAME,
        semconv.GEN_AI_PROVIDER_NAME,
        semconv.GEN_AI_CONVERSATION_ID,
        semconv.STREAMGAUGE_STREAM_GRANULARITY,
    }
)
"""Attributes that say what an operation is called, or whose it is."""


def current() -> Stream | None:
    """The stream, or run, whose code is running in this context."""
    return _stream_in(otel_context.get_current())


def within(context: Context) -> Context:
    """A stream's context over all else that is current here; what is current here where that is inside it already."""
    around = otel_context.get_current()
    if not around:
        return context
    inside = otel_context.get_value(_CURRENT, around) is otel_context.get_value(_CURRENT, context)
    return around if inside else Context({**around, **context})


def _stream_in(context: Context) -> Stream | None:
    found = otel_context.get_value(_CURRENT, context)
    return found() if isinstance(found, ReferenceType) else None


def _error_type(signal: Closed) -> str:
    """Of what did not just complete."""
    outcome = signal.outcome
    if signal.error_type and outcome in (Outcome.FAILED, Outcome.TRUNCATED):
        return signal.error_type
    return _ERROR_TYPES.get(outcome, "")


class Stream(Sessions):
    """The operations of one stream, or of a run that groups streams."""

    __slots__ = ("__weakref__", "_counted", "_ended", "_gap_ns", "_gaps", "_pace")

    def __init__(
        self,
        recorder: Recorder,
        request: Request,
        at: int,
        anchor: int,
        granularity: str,
        counted: bool,
        inward: bool,
        parent: Context | None,
    ) -> None:
        self._parent = otel_context.get_current() if parent is None else parent
        self._granularity = granularity
        self._counted = counted
        self._pace: Pace | None = None
        self.session = None
        self._ended: Labels = ()
        """The common labels of the last run that ended."""
        outer = _stream_in(self._parent)
        if outer is not None:
            request = request.updated(
                conversation_id=request.conversation_id or outer.request.conversation_id,
                timeout_s=outer.left_s(at, request.timeout_s),
            )
        super().__init__(recorder, self._parent, inward, request, anchor)
        if outer is not None and not outer._counted:
            self.outer = outer

    def left_s(self, at: int, timeout_s: float) -> float:
        """The deadline of what is opened in this stream at `at`, with `timeout_s` of its own; 0 is none. Never beyond
        this one's."""
        own = self.request.timeout_s
        if not own:
            return timeout_s
        left = max(own - (at - self.opened) / 1e9, 1e-9)
        return min(timeout_s, left) if timeout_s else left

    def begin_run(self) -> None:
        super().begin_run()
        self._gaps = self._gap_ns = 0

    # Operations -----------------------------------------------------------------------------------------------

    def _open(self, signal: Opened) -> None:
        recorder = self.recorder
        if signal.key == SESSION:
            self.open_session(signal)
            return
        if signal.key in self.operations:
            self._close(Closed(signal.key, signal.at))
        parent = None
        given = signal.attributes
        if signal.key == RUN:
            if self.session is None:  # else they are the session's
                given = {**self.request.attributes, **given}
            self.begin_run()
            self.opened = signal.at
            if self.at < signal.at:
                self.asked = self.at = signal.at
            elif self.reading and signal.at < self.at:
                self.began_before(signal.at)
        else:
            parent = self.operations.get(signal.parent) or self.operations.get(RUN)
            if parent is None:  # the run has ended, or has not begun
                return
            self.alive(parent, signal.at)
        operation = Operation(signal.key, signal.operation, signal.name, parent, signal.at)
        operation.label(given, self.request)
        if signal.operation == EXECUTE_TOOL:
            self.tools += 1
        above, links = (context_of(parent) if parent is not None else self._parent), None
        if signal.parent and parent is None:
            above, links = self.begun_by(signal.parent)
        tracer = recorder.tracer
        if tracer.__class__ is NoOpTracer:  # where there are no spans, nothing is put together for them
            operation.span = tracer.start_span("", context=above)
        else:
            operation.span = span = tracer.start_span(
                span_name(operation),
                context=above,
                kind=self._kind_of(operation),
                attributes=recorder.attributes.opening(operation, self.request, self._granularity, given),
                links=links,
                start_time=signal.at + self.anchor,
            )
            operation.recorded = span.is_recording()
        operation.above = above
        self.operations[signal.key] = operation
        if signal.key == RUN:
            self._pace = Pace() if self.request.served else None
            operation.context = self.context = self.marked(context_of(operation))
            if self.session is not None:
                self._turns += 1
            recorder.streams.add(self)
            self.retries_outer(operation, signal.at)
            if self._counted:
                recorder.aggregates.watch(self)

    def marked(self, context: Context) -> Context:
        return otel_context.set_value(_CURRENT, ref(self), context)

    def _kind_of(self, operation: Operation) -> SpanKind:
        if operation.key == RUN and self.request.served:
            return SpanKind.SERVER
        return SpanKind.CLIENT if operation.operation in _CALLS else SpanKind.INTERNAL

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
                        aggregates.unwatch_locked(self)
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
            if self._added is not None:
                points.append((semconv.ADDED_LATENCY, common, cast("Distribution", self.take_added()), None))
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
        if not self.operations and self._added is None and self._ended and self.session is None:
            return  # its end came with an event, and has closed all
        try:
            added = self.take_added()
            if added is not None and (labels := self._ended or self.common()):
                self.recorder.record([(semconv.ADDED_LATENCY, labels, added, None)], self.context)
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
        self.recorder.aggregates.unwatch(self)

    # The other signals ----------------------------------------------------------------------------------------

    def _use(self, signal: Usage) -> None:
        operation = self.operations.get(signal.key)
        if operation is not None:
            operation.usage = signal

    def _note(self, signal: Noted) -> None:
        operation = self.operations.get(signal.key)
        if operation is None:
            operation = self.session
            if operation is None or signal.key != SESSION:
                return
        if operation.recorded:
            attributes = self.recorder.attributes.plain(signal.attributes)
            if signal.name:
                operation.span.add_event(signal.name, attributes, signal.at + self.anchor)
            elif operation.attributes is None:
                operation.attributes = attributes
            else:
                operation.attributes.update(attributes)
        if signal.name:
            if signal.name == PERSON_ASKED:
                self.persons += 1
                for each in self.operations.values():  # the next chunk of any ends the wait, and is no gap's end
                    each.interrupted()
            elif signal.name == PERSON_ANSWERED:
                self.persons = max(0, self.persons - 1)
            return
        if not _NAMING.isdisjoint(signal.attributes):
            self._renamed(operation, signal)

    def _renamed(self, operation: Operation, signal: Noted) -> None:
        """What was noted is part of the operation's name or labels."""
        before = span_name(operation)
        operation.relabel(signal.attributes)
        if operation.key == RUN:
            self._granularity = operation.granularity or self._granularity
            conversation = signal.attributes.get(semconv.GEN_AI_CONVERSATION_ID)
            if conversation:
                self.request = self.request.updated(conversation_id=str(conversation))
        name = span_name(operation)
        if name != before:
            operation.span.update_name(name)

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

    # As the aggregates read it, from another thread -----------------------------------------------------------

    def common(self) -> Labels:
        run = self.operations.get(RUN)
        return self.common_of(run) if run is not None else ("",) * len(semconv.COMMON_LABELS)

    def opened_ns(self) -> int:
        return self.opened

    def silent(self, now: int) -> bool:
        """Its source has been asked, and silent, for longer than the stall limit."""
        if self.tools or self.persons or self.asked < self.at:
            return False
        return now - self.asked > self.recorder.stall_ns

    def partials(self) -> Sequence[object]:
        return list(self.operations.values())

    def points(self, partial: object) -> Sequence[Point]:
        assert isinstance(partial, Operation)
        waits = (0, 0)
        if partial.key == RUN and self._counted:
            running = self.waits()
            # Of a run that has ended since, only its own count: the stream may be in its next one.
            waits = partial.waits or running
        if not partial.segments and not any(waits):
            return []  # and a name that comes later may still be its label
        recorder = self.recorder
        common = self._settled(partial)
        live = live_points(partial, common, recorder.profile, None, recorder.aggregates, partial.tallies())
        return live + wait_points(waits, common)


Stream.apply_one = {
    Opened: Stream._open,
    Usage: Stream._use,
    Noted: Stream._note,
    Retried: Stream.retry,
    Closed: Stream._close,
}
