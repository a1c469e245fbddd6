"""One stream's recording: what the tap calls a sink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, SpanKind

from streamgauge import semconv
from streamgauge.aggregates import Point
from streamgauge.recorder.attributes import span_name
from streamgauge.recorder.closing import Closing
from streamgauge.recorder.operations import Operation
from streamgauge.recorder.pace import Pace
from streamgauge.recorder.points import (
    live_points,
    wait_points,
)
from streamgauge.recorder.retries import context_of
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, RUN, SESSION, Closed, Noted, Opened, Retried, Usage
from streamgauge.wire import Request

if TYPE_CHECKING:
    from streamgauge.recorder import Recorder

__all__ = ["Stream", "current", "within"]

_CURRENT = otel_context.create_key("streamgauge-stream")
"""A weak reference: the stream itself holds the context."""
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


class Stream(Closing):
    """The operations of one stream, or of a run that groups streams."""

    __slots__ = ("__weakref__",)

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
        self._pace = None
        self.session = None
        self._ended = ()
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

    # As the aggregates read it, from another thread -----------------------------------------------------------

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
