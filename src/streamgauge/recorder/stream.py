"""One stream's recording: what the tap calls a sink."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from streamgauge import semconv
from streamgauge.aggregates import Labels, Point
from streamgauge.recorder.attributes import span_name
from streamgauge.recorder.operations import Operation, Origin, closing_points, live_points
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    RUN,
    Chunk,
    Closed,
    Noted,
    Opened,
    Retried,
    Signals,
    Usage,
)
from streamgauge.wire import Outcome, Request

if TYPE_CHECKING:
    from streamgauge.recorder import Recorder

__all__ = ["Stream", "context_of", "current"]

_CURRENT = otel_context.create_key("streamgauge-stream")
"""A weak reference: the stream itself holds the context."""
_GAP_BOUNDS_NS = tuple(int(bound * 1e9) for bound in semconv.GAP_SECONDS)
_UNSET_STATUS = frozenset({Outcome.COMPLETED, Outcome.CANCELLED, Outcome.ABANDONED})
_FAILURES = frozenset({Outcome.FAILED, Outcome.TRUNCATED, Outcome.TIMED_OUT})
_ERROR_TYPES = {
    Outcome.FAILED: semconv.ERROR_TYPE_OTHER,
    Outcome.TRUNCATED: "truncated",
    Outcome.TIMED_OUT: "timeout",
    Outcome.SHUTDOWN: "shutdown",
}
_PAUSE_NS = 100_000_000
"""A time between two events from which on it is asked whose it was."""
_UNREAD = -1
"""A pause that the first data is always beyond, so that it needs no test of its own."""
_NEVER = 1 << 62
"""A pause that nothing is beyond."""


def current() -> Stream | None:
    """The stream, or run, whose code is running in this context."""
    return _stream_in(otel_context.get_current())


def _stream_in(context: Context) -> Stream | None:
    found = otel_context.get_value(_CURRENT, context)
    return found() if isinstance(found, ReferenceType) else None


class Stream:
    """The operations of one stream, or of a run that groups streams."""

    __slots__ = (
        "__weakref__", "_caller_ns", "_counted", "_first_byte", "_gap_ns", "_gaps", "_granularity",
        "_inward_between", "_operations", "_outer", "_parent", "_pause_ns", "_persons", "_recorder", "_resumes",
        "_source_ns", "_stalls", "_tools", "anchor", "asked", "at", "context", "failed", "inward", "opened",
        "request", "tap",
    )  # fmt: skip

    def __init__(
        self, recorder: Recorder, request: Request, at: int, anchor: int, granularity: str, counted: bool, inward: bool
    ) -> None:
        self._recorder = recorder
        self._granularity = granularity
        self._counted = counted
        self._operations: dict[str, Operation] = {}
        self._parent = otel_context.get_current()
        outer = _stream_in(self._parent)
        if outer is not None:
            request = request.updated(
                conversation_id=request.conversation_id or outer.request.conversation_id,
                timeout_s=outer.left_s(at, request.timeout_s),
            )
        self._outer = outer if outer is not None and not outer._counted else None
        self._resumes: Stream | None = None
        """The run in which this stream is a retry, until its first data."""
        self.request: Request = request
        self.anchor = anchor
        self.context: Context = self._parent
        """Holds the run's span: to be current while the source is being read."""
        self.inward = True
        """Whether it is to be: not right after a chunk, where the source only waits between two."""
        self._inward_between = inward
        self.asked = self.at = self.opened = 0
        self.failed: dict[str, tuple[str, int, int]] = {}
        """Dialect: (error type, when, attempts) of a stream below this run that failed and was not opened again."""
        self.tap: Any = None
        """The tap that this is the recording of."""
        self._fresh()

    def left_s(self, at: int, timeout_s: float) -> float:
        """The deadline of what is opened in this stream at `at`, with `timeout_s` of its own; 0 is none. Never beyond
        this one's."""
        own = self.request.timeout_s
        if not own:
            return timeout_s
        left = max(own - (at - self.opened) / 1e9, 1e-9)
        return min(timeout_s, left) if timeout_s else left

    def _fresh(self) -> None:
        """What belongs to one run: a stream may have several, one after the other."""
        self._pause_ns = _UNREAD
        self._source_ns = self._caller_ns = self._first_byte = self._stalls = 0
        self._gaps = self._gap_ns = self._persons = self._tools = 0

    # Per event ------------------------------------------------------------------------------------------------

    def record(self, signals: Signals, asked: int, at: int) -> None:
        """Data came at `at`, for which the caller had asked at `asked`, and it told `signals`.

        A chunk alone goes straight through; its cost is the middleware's cost.
        """
        self._source_ns += at - asked
        if signals.__class__ is not Chunk:
            if at - self.at > self._pause_ns:
                self._paused(asked, at)
            self.at = at
            self.inward = True
            for signal in signals:
                if signal.__class__ is Chunk:
                    Stream.record(self, signal, at, at)
                else:
                    _APPLY[signal.__class__](self, signal)
            return
        operation = self._operations.get(signals.key)
        if operation is None:
            return
        gap = at - operation.last
        operation.last = at
        if operation.low < gap <= operation.high:  # in the bucket of the gap before
            operation.gaps[operation.bucket] += 1  # type: ignore[index]
        else:
            self._gap(operation, gap, asked, at)
        self.at = at
        self.inward = self._inward_between
        if signals.kind is operation.steady:
            text = signals.text
            try:
                operation.text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            except AttributeError:  # no text after all: counted, without a size
                pass
        else:
            self._tally(operation, signals, at)

    def stay_inward(self) -> None:
        """The source keeps contexts of its own: in no read of it is ours to be spared."""
        self._inward_between = self.inward = True

    def apply(self, signals: Signals) -> None:
        """Signals of something that was no data of the source: its clocks are not touched."""
        for signal in signals:
            if signal.__class__ is Chunk:
                at, pause_ns, inward = self.at, self._pause_ns, self.inward
                self._pause_ns = _NEVER
                try:
                    self.record(signal, signal.at, signal.at)
                finally:
                    self.at, self._pause_ns, self.inward = at, pause_ns, inward
            else:
                _APPLY[signal.__class__](self, signal)

    def _gap(self, operation: Operation, gap: int, asked: int, at: int) -> None:
        """A chunk that is not like the one before: the first, in another bucket, the longest gap so far, or a pause."""
        if at - self.at > self._pause_ns:
            self._paused(asked, at)
        if operation.starting:
            self._persons = 0
            operation.starts(at, len(_GAP_BOUNDS_NS) + 1)
            self._alive(operation, at)
            return
        bucket = bisect_left(_GAP_BOUNDS_NS, gap)
        operation.gaps[bucket] += 1  # type: ignore[index]
        operation.longest = max(operation.longest, gap)
        operation.bucket = bucket
        operation.low = _GAP_BOUNDS_NS[bucket - 1] if bucket else -1
        # Beyond the longest so far, and beyond a pause, it is looked at again.
        operation.high = (
            min(_GAP_BOUNDS_NS[bucket], operation.longest, _PAUSE_NS) if bucket < len(_GAP_BOUNDS_NS) else 0
        )

    def _tally(self, operation: Operation, signal: Any, at: int) -> None:
        """A chunk that is not text, or the first text."""
        size = len(signal.text.encode("utf-8", "replace")) if isinstance(signal.text, str) else 0
        operation.tally(signal.kind, size, at)

    def _paused(self, asked: int, at: int) -> None:
        """The first data, or data after a pause: of the source's, of the caller's, or of ours."""
        if self._pause_ns == _UNREAD:
            self._pause_ns = min(self._recorder.stall_ns, _PAUSE_NS)
            self._first_byte = at
            self._resumed(at)
        elif asked - self.at > _PAUSE_NS and self.tap is not None:
            self.tap.suspect()
        if at - asked > self._recorder.stall_ns:
            self._stalled(at - asked, at)

    def _stalled(self, waited: int, at: int) -> None:
        """The source was silent for too long, with no person to wait for."""
        if self._persons or not self._operations:
            return
        self._stalls += 1
        labels = (*self.common(), "tool" if self._tools else "generation")
        origin = self._origin(self._operations.get(RUN), at)
        exemplar = (waited / 1e9, *origin) if origin is not None else None
        points: list[Point] = [
            (semconv.STALLS, labels, 1, None),
            (semconv.STALL_DURATION, labels, waited / 1e9, exemplar),
        ]
        self._recorder.record(points, self.context)

    def ending(self, at: int) -> None:
        """The stream ends. The time since the last data was the source's, if the caller was in a read, else the
        caller's."""
        if self.asked >= self.at and self.run_open:
            waited = at - self.asked
            self._source_ns += waited
            if waited > self._recorder.stall_ns:
                self._stalled(waited, at)
        self.at = max(self.at, at)

    # Operations -----------------------------------------------------------------------------------------------

    @property
    def run_open(self) -> bool:
        return RUN in self._operations

    def _open(self, signal: Opened) -> None:
        recorder = self._recorder
        if signal.key in self._operations:
            self._close(Closed(signal.key, signal.at))
        parent = None
        given = signal.attributes
        if signal.key == RUN:
            given = {**self.request.attributes, **given}
            self._fresh()
            self.opened = signal.at
            if self.at < signal.at:
                self.asked = self.at = signal.at
        else:
            parent = self._operations.get(signal.parent) or self._operations.get(RUN)
            if parent is None:  # the run has ended, or has not begun
                return
            self._alive(parent, signal.at)
        operation = Operation(signal.key, signal.operation, signal.name, parent, signal.at)
        operation.label(given, self.request)
        if signal.operation == EXECUTE_TOOL:
            self._tools += 1
        above = context_of(parent) if parent is not None else self._parent
        operation.span = recorder.tracer.start_span(
            span_name(operation),
            context=above,
            kind=SpanKind.CLIENT if signal.operation in semconv.INFERENCE else SpanKind.INTERNAL,
            attributes=recorder.attributes.opening(operation, self.request, self._granularity, given),
            start_time=signal.at + self.anchor,
        )
        operation.above = above
        self._operations[signal.key] = operation
        if signal.key == RUN:
            operation.context = self.context = otel_context.set_value(_CURRENT, ref(self), context_of(operation))
            recorder.streams.add(self)
            self._retries_outer(operation, signal.at)
            if self._counted:
                recorder.aggregates.watch(self)

    def _close(self, signal: Closed) -> None:
        operation = self._operations.get(signal.key)
        if operation is None:
            return
        ending = [other for other in reversed(self._operations.values()) if other.below(operation)]
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
        at = max(signal.at, operation.start)
        if operation.segments:
            at = max(at, operation.last)
        with self._recorder.aggregates.lock:
            if operation.end is not None:
                return
            operation.end = at
        outcome = signal.outcome
        error_type = _ERROR_TYPES.get(outcome, "")
        if outcome in (Outcome.FAILED, Outcome.TRUNCATED) and signal.error_type:
            error_type = signal.error_type
        is_run = operation.key == RUN
        if operation.operation == EXECUTE_TOOL:
            self._tools -= 1
        operation.told_above(self._outer._operations.get(RUN) if self._outer is not None else None)
        self._gaps += operation.gap_count()
        self._gap_ns += operation.gap_total()
        recorder = self._recorder
        points: list[Point] = []
        try:
            if operation.retry is not None:
                self._end_retry(operation, at)
            points = self._points(operation, outcome, error_type, at)
        finally:  # whatever fails, it is gone, and its span ends
            try:
                with recorder.aggregates.lock:  # counted here, gone there: nothing is seen twice, or not at all
                    self._operations.pop(operation.key, None)
                    if is_run:
                        recorder.aggregates.unwatch_locked(self)
                        recorder.streams.discard(self)
                    recorder.aggregates.record_locked(points)
            finally:
                self._end_span(operation, signal, outcome, error_type, at)
        if recorder.mirrored:
            recorder.mirror(points, context_of(operation))
        if is_run:
            self._tell_outer(outcome, error_type, at)

    def _points(self, operation: Operation, outcome: Outcome, error_type: str, at: int) -> list[Point]:
        common = self._settled(operation)
        cap = self._recorder.aggregates.cap
        profile = self._recorder.profile
        granularity = operation.granularity or self._granularity
        origin = self._origin(operation, at)
        tool_name = ""
        if operation.operation == EXECUTE_TOOL:
            tool_name, error_type = cap(semconv.TOOL_DURATION.labels, (operation.name, error_type))
        elif error_type:
            (error_type,) = cap((semconv.ERROR_TYPE,), (error_type,))
        points = closing_points(
            operation,
            common,
            profile,
            origin,
            outcome=outcome,
            error_type=error_type,
            granularity=granularity,
            tool_name=tool_name,
        )
        points += live_points(operation, common, profile, origin)
        if operation.key != RUN or not self._counted:
            return points
        operation.waits = self._waits()
        points.append((semconv.STREAMS, (*common, outcome, error_type), 1, None))
        points += _wait_points(operation.waits, common)
        values = [
            (semconv.FIRST_BYTE, common, (self._first_byte - operation.start) / 1e9 if self._first_byte else None),
            (
                semconv.FIRST_ANSWER,
                (*common, granularity),
                (operation.first_answer - operation.start) / 1e9 if operation.first_answer else None,
            ),
            (semconv.CHUNK_RATE, (*common, granularity), self._gaps * 1e9 / self._gap_ns if self._gap_ns else None),
        ]
        for metric, labels, value in values:
            if value is not None:
                points.append((metric, labels, value, (value, *origin) if origin is not None else None))
        return points

    def _waits(self) -> tuple[int, int]:
        """Nanoseconds waited for the source, and for the caller: its share is what is left. Neither ever shrinks,
        though the two are read one after the other."""
        source = self._source_ns
        self._caller_ns = max(self._caller_ns, self.at - self.opened - source)
        return source, self._caller_ns

    def _end_span(self, operation: Operation, signal: Closed, outcome: Outcome, error_type: str, at: int) -> None:
        span: Span = operation.span
        recorder = self._recorder
        try:
            if span.is_recording():
                attributes = recorder.attributes.closing(operation, outcome, error_type)
                if operation.key == RUN and self._counted:
                    self._stream_attributes(operation, attributes)
                span.set_attributes(recorder.attributes.profiled(operation.operation, attributes))
                intended = outcome in _UNSET_STATUS and not recorder.intended_ends_are_errors
                if not intended and outcome is not Outcome.COMPLETED:
                    span.set_status(Status(StatusCode.ERROR, signal.message[:1024] or str(outcome)))
        finally:
            span.end(at + self.anchor)

    def _stream_attributes(self, run: Operation, attributes: dict[str, Any]) -> None:
        if self._first_byte:
            first = (self._first_byte - run.start) / 1e9
            attributes[semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_BYTE] = first
        if run.first_answer:
            answer = (run.first_answer - run.start) / 1e9
            attributes[semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_ANSWER] = answer
        if self._stalls:
            attributes[semconv.STREAMGAUGE_STREAM_STALLS] = self._stalls
        attributes[semconv.STREAMGAUGE_STREAM_WAIT_SOURCE] = self._source_ns / 1e9
        attributes[semconv.STREAMGAUGE_STREAM_WAIT_CALLER] = self._caller_ns / 1e9

    def finish(self, at: int, outcome: Outcome = Outcome.COMPLETED) -> None:
        """Close all that is still open, whatever fails on the way."""
        try:
            self._finish_all(list(reversed(self._operations.values())), Closed(RUN, at, outcome))
        finally:
            self.forget()

    def forget(self) -> None:
        """Whatever is open is somebody else's to close: in a forked child, the parent's."""
        self._operations.clear()
        self._recorder.streams.discard(self)
        self._recorder.aggregates.unwatch(self)

    # The other signals ----------------------------------------------------------------------------------------

    def _use(self, signal: Usage) -> None:
        operation = self._operations.get(signal.key)
        if operation is not None:
            operation.usage = signal

    def _note(self, signal: Noted) -> None:
        operation = self._operations.get(signal.key)
        if operation is None:
            return
        attributes = self._recorder.attributes.plain(signal.attributes)
        if signal.name:
            if signal.name == PERSON_ASKED:
                self._persons += 1
                for each in self._operations.values():  # the next chunk of any ends the wait, and is no gap's end
                    each.interrupted()
            elif signal.name == PERSON_ANSWERED:
                self._persons = max(0, self._persons - 1)
            operation.span.add_event(signal.name, attributes, signal.at + self.anchor)
            return
        operation.attributes = {**(operation.attributes or {}), **attributes}
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

    def _retry(self, signal: Retried, common: Labels | None = None) -> None:
        operation = self._operations.get(signal.key) or self._operations.get(RUN)
        if operation is None:
            return
        if operation.retry is not None:
            self._end_retry(operation, signal.at)
        for each in self._operations.values():  # the next chunk of it, or of any below, is a sign of life
            if each is operation or each.below(operation):
                each.interrupted()
        attributes: dict[str, Any] = {
            semconv.STREAMGAUGE_RETRY_TARGET: signal.target,
            semconv.STREAMGAUGE_RETRY_ATTEMPT: signal.attempt,
        }
        if signal.reason:
            attributes[semconv.STREAMGAUGE_RETRY_REASON] = signal.reason
        if signal.delay_s is not None:
            attributes[semconv.STREAMGAUGE_RETRY_DELAY_S] = signal.delay_s
        operation.retry = self._recorder.tracer.start_span(
            f"{semconv.RETRY} {signal.target}",
            context=context_of(operation),
            attributes=attributes,
            start_time=signal.at + self.anchor,
        )
        capped = self._recorder.aggregates.cap(semconv.RETRIES.labels, (signal.target, signal.reason))
        point: Point = (semconv.RETRIES, (*(common or self._common(operation)), *capped), 1, None)
        self._recorder.record([point], context_of(operation))

    def _alive(self, operation: Operation, at: int) -> None:
        """A sign of life of an operation: also of those above."""
        above: Operation | None = operation
        while above is not None:
            if above.retry is not None:
                self._end_retry(above, at)
            above = above.parent

    def _end_retry(self, operation: Operation, at: int) -> None:
        span, operation.retry = operation.retry, None
        span.end(max(at + self.anchor, span.start_time if hasattr(span, "start_time") else 0))

    # A stream in a run ----------------------------------------------------------------------------------------

    def _retries_outer(self, run: Operation, at: int) -> None:
        """A stream opened again, in a run in which one like it failed, is a retry of that."""
        outer = self._outer
        failure = outer.failed.get(self.request.dialect) if outer is not None and outer.run_open else None
        if outer is None or failure is None:
            return
        reason, when, attempts = failure
        outer.failed[self.request.dialect] = (reason, when, attempts + 1)
        outer._retry(Retried(RUN, at, "request", attempts, reason, (at - when) / 1e9), self._common(run))
        self._resumes = outer

    def _resumed(self, at: int) -> None:
        """The first data, or the end, of a stream that is a retry."""
        outer, self._resumes = self._resumes, None
        run = outer._operations.get(RUN) if outer is not None else None
        if outer is not None and run is not None and run.retry is not None:
            outer._end_retry(run, at)

    def _tell_outer(self, outcome: Outcome, error_type: str, at: int) -> None:
        """How this stream ended, for the run around it."""
        self._resumed(at)
        if self._outer is None:
            return
        failed = self._outer.failed
        dialect = self.request.dialect
        if outcome in _FAILURES:
            _, _, attempts = failed.get(dialect, ("", 0, 1))
            failed[dialect] = (error_type, at, attempts)
        else:
            failed.pop(dialect, None)

    # Labels ---------------------------------------------------------------------------------------------------

    def _common(self, operation: Operation) -> Labels:
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
        return self._recorder.aggregates.cap(semconv.COMMON_LABELS, values)

    def _settled(self, operation: Operation) -> Labels:
        """The same, from now on for good: two threads may ask, and a counter is not to change its series."""
        common = self._common(operation)
        with self._recorder.aggregates.lock:
            if operation.frozen is None:
                operation.frozen = common
            return operation.frozen

    def _origin(self, operation: Operation | None, at: int) -> Origin | None:
        """What the exemplars of an operation point at."""
        kept = self._recorder.exemplars
        if operation is None or kept == "always_off":
            return None
        context = operation.span.get_span_context()
        if not context.is_valid or not (context.trace_flags.sampled or kept == "always_on"):
            return None
        return at + self.anchor, context.trace_id, context.span_id

    # As the aggregates read it, from another thread -----------------------------------------------------------

    def common(self) -> Labels:
        run = self._operations.get(RUN)
        return self._common(run) if run is not None else ("",) * len(semconv.COMMON_LABELS)

    def opened_ns(self) -> int:
        return self.opened

    def silent(self, now: int) -> bool:
        """Its source has been asked, and silent, for longer than the stall limit."""
        if self._tools or self._persons or self.asked < self.at:
            return False
        return now - self.asked > self._recorder.stall_ns

    def partials(self) -> Sequence[object]:
        return list(self._operations.values())

    def points(self, partial: object) -> Iterable[Point]:
        assert isinstance(partial, Operation)
        waits = (0, 0)
        if partial.key == RUN and self._counted:
            running = self._waits()
            # Of a run that has ended since, only its own count: the stream may be in its next one.
            waits = partial.waits or running
        if not partial.segments and not any(waits):
            return []  # and a name that comes later may still be its label
        common = self._settled(partial)
        return live_points(partial, common, self._recorder.profile, None) + _wait_points(waits, common)


def context_of(operation: Operation) -> Context:
    """The context that holds an operation's span: made when it is wanted, as most have nothing below them."""
    if operation.context is None:
        operation.context = trace.set_span_in_context(operation.span, operation.above)
    context: Context = operation.context
    return context


def _wait_points(waits: tuple[int, int], common: Labels) -> list[Point]:
    named = zip(("source", "caller"), waits, strict=True)
    return [(semconv.WAIT, (*common, on), waited / 1e9, None) for on, waited in named if waited]


_APPLY: Mapping[type, Callable[[Stream, Any], None]] = {
    Opened: Stream._open,
    Usage: Stream._use,
    Noted: Stream._note,
    Retried: Stream._retry,
    Closed: Stream._close,
}
