"""What lies around the runs of a stream that has several: a connection, or a process. It has a span and no metrics,
which are those of its runs."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from streamgauge import semconv
from streamgauge.recorder.attributes import span_name
from streamgauge.recorder.context import parent_of
from streamgauge.recorder.operations import Operation
from streamgauge.recorder.retries import Retries, context_of
from streamgauge.signals import SESSION, Closed, Opened

__all__ = ["Sessions"]


class Sessions(Retries):
    """One stream's session, where it is one."""

    __slots__ = ("_granularity", "_parent", "_turns", "session")

    session: Operation | None
    """Open from the stream's first moment to its last. Not among `operations`: it is none of a run's."""
    _granularity: str
    _parent: Context
    """What a run is opened in: the session's context, where there is one."""

    def open_session(self, signal: Opened) -> None:
        recorder, request = self.recorder, self.request
        operation = Operation(SESSION, signal.operation, signal.name, None, signal.at)
        operation.label(signal.attributes, request)
        operation.span = recorder.tracer.start_span(
            span_name(operation),
            context=self._parent,
            kind=SpanKind.SERVER if request.served else SpanKind.CLIENT,
            attributes=recorder.attributes.opening(operation, request, self._granularity, signal.attributes),
            start_time=signal.at + self.anchor,
        )
        operation.recorded = operation.span.is_recording()
        operation.above = self._parent
        self.session = operation
        self._turns = 0
        self.opened = signal.at
        self._parent = self.context = self.marked(context_of(operation))
        recorder.streams.add(self)  # type: ignore[arg-type]

    def close_session(self, signal: Closed, error_type: str) -> None:
        """Once: a shutdown may come at the same time."""
        recorder, operation = self.recorder, self.session
        if operation is None:
            return
        with recorder.aggregates.lock:
            if operation.end is not None:
                return
            operation.end = signal.at
        recorder.streams.discard(self)
        span = operation.span
        try:
            if span.is_recording():
                attributes = recorder.attributes.closing(operation, signal.outcome, error_type, ())
                attributes[semconv.STREAMGAUGE_SESSION_TURNS] = self._turns
                span.set_attributes(recorder.attributes.profiled(operation.operation, attributes))
                self.give_status(span, signal)
        finally:
            span.end(signal.at + self.anchor)

    @property
    def session_open(self) -> bool:
        return self.session is not None and self.session.end is None

    def begun_by(self, traceparent: str) -> tuple[Context, list[Link]]:
        """What a run is opened in that a message began which had a trace context of its own; and what that is linked
        to: the session that it came through."""
        carried = parent_of({"traceparent": traceparent})
        if not carried:
            return self._parent, []
        links = [] if self.session is None else [Link(self.session.span.get_span_context())]
        return Context({**self._parent, **carried}), links

    def marked(self, context: Context) -> Context:
        """A context inside which this is the current stream."""
        raise NotImplementedError

    def give_status(self, span: object, signal: Closed) -> None:
        """The status of a span that ends so."""
        raise NotImplementedError
