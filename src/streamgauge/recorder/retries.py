"""Retries: those that a stream announces, and those that a run sees when a stream is opened again in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context

from streamgauge import semconv
from streamgauge.aggregates import Labels, Point
from streamgauge.recorder.clocks import Clocks
from streamgauge.recorder.operations import Operation
from streamgauge.signals import RUN, Retried
from streamgauge.wire import Outcome, Request

if TYPE_CHECKING:
    from streamgauge.recorder import Recorder

__all__ = ["Retries", "context_of"]

_FAILURES = frozenset({Outcome.FAILED, Outcome.TRUNCATED, Outcome.TIMED_OUT})


class Retries(Clocks):
    """One stream's retries, and its place in the run around it."""

    __slots__ = ("_resumes", "anchor", "failed", "outer", "request")

    def __init__(self, recorder: Recorder, context: Context, inward: bool, request: Request, anchor: int) -> None:
        super().__init__(recorder, context, inward)
        self.request: Request = request
        self.anchor = anchor
        """Nanoseconds to add to the stream's clock for the time since the epoch."""
        self.outer: Retries | None = None
        """The run that this stream is in."""
        self.failed: dict[str, tuple[str, int, int]] = {}
        """Dialect: (error type, when, attempts) of a stream below this run that failed and was not opened again."""
        self._resumes: Retries | None = None
        """The run in which this stream is a retry, until its first data."""

    def retry(self, signal: Retried, common: Labels | None = None) -> None:
        operation = self.operations.get(signal.key) or self.operations.get(RUN)
        if operation is None:
            return
        if operation.retry is not None:
            self.end_retry(operation, signal.at)
        for each in self.operations.values():  # the next chunk of it, or of any below, is a sign of life
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
        operation.retry = self.recorder.tracer.start_span(
            f"{semconv.RETRY} {signal.target}",
            context=context_of(operation),
            attributes=attributes,
            start_time=signal.at + self.anchor,
        )
        capped = self.recorder.aggregates.cap(semconv.RETRIES.labels, (signal.target, signal.reason))
        point: Point = (semconv.RETRIES, (*(common or self.common_of(operation)), *capped), 1, None)
        self.recorder.record([point], context_of(operation))

    def alive(self, operation: Operation, at: int) -> None:
        """A sign of life of an operation: also of those above."""
        above: Operation | None = operation
        while above is not None:
            if above.retry is not None:
                self.end_retry(above, at)
            above = above.parent

    def end_retry(self, operation: Operation, at: int) -> None:
        span, operation.retry = operation.retry, None
        span.end(max(at + self.anchor, span.start_time if hasattr(span, "start_time") else 0))

    # A stream in a run ----------------------------------------------------------------------------------------

    def retries_outer(self, run: Operation, at: int) -> None:
        """A stream opened again, in a run in which one like it failed, is a retry of that."""
        outer = self.outer
        failure = outer.failed.get(self.request.dialect) if outer is not None and outer.run_open else None
        if outer is None or failure is None:
            return
        reason, when, attempts = failure
        outer.failed[self.request.dialect] = (reason, when, attempts + 1)
        outer.retry(Retried(RUN, at, "request", attempts, reason, (at - when) / 1e9), self.common_of(run))
        self._resumes = outer

    def resumed(self, at: int) -> None:
        """The first data, or the end, of a stream that is a retry."""
        outer, self._resumes = self._resumes, None
        run = outer.operations.get(RUN) if outer is not None else None
        if outer is not None and run is not None and run.retry is not None:
            outer.end_retry(run, at)

    def tell_outer(self, outcome: Outcome, error_type: str, at: int) -> None:
        """How this stream ended, for the run around it."""
        self.resumed(at)
        if self.outer is None:
            return
        failed = self.outer.failed
        dialect = self.request.dialect
        if outcome in _FAILURES:
            _, _, attempts = failed.get(dialect, ("", 0, 1))
            failed[dialect] = (error_type, at, attempts)
        else:
            failed.pop(dialect, None)

    def common_of(self, operation: Operation) -> Labels:
        """The common labels of an operation."""
        raise NotImplementedError


def context_of(operation: Operation) -> Context:
    """The context that holds an operation's span: made when it is wanted, as most have nothing below them."""
    if operation.context is None:
        operation.context = trace.set_span_in_context(operation.span, operation.above)
    context: Context = operation.context
    return context
