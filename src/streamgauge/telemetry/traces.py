"""The tracer provider: the SDK's own, with a batch of spans for each exporter, and a count of those that did not get
out."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock

from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from streamgauge.errors import SettingsError

__all__ = ["SpanBatch", "tracer_provider"]

log = logging.getLogger("streamgauge")

_QUEUE = 2048  # the specification's default


def tracer_provider(resource: Resource, batches: Sequence[SpanBatch]) -> TracerProvider:
    """A provider that hands its spans to `batches`. It samples and limits as the environment says; it does not shut
    itself down when the program ends, as that would have no time limit."""
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for batch in batches:
        provider.add_span_processor(batch)
    return provider


class SpanBatch(SpanProcessor):
    """The SDK's batching processor in front of one exporter, which cannot harm it. `dropped` is told (reason, spans):
    `export_failed`, or `queue_full`.

    The SDK tells nobody that its queue was full. But what came, less what went out, less what was lost, is what waits;
    when that would be more than the queue holds, the SDK has just thrown its oldest span away. Counting this takes no
    lock, since a span may end in a finalizer, in the middle of anything; `settle` passes it on.
    """

    def __init__(self, exporter: SpanExporter, dropped: Callable[[str, int], None]) -> None:
        """
        Raises: SettingsError where `OTEL_BSP_*` do not go together.
        """
        self._dropped = dropped
        self._limit = _queue_size()
        self._telling = Lock()
        self._renew()
        self._exporter = _Guarded(exporter, self)
        try:
            self._batch = BatchSpanProcessor(self._exporter, max_queue_size=self._limit)
        except ValueError as error:
            raise SettingsError(OTEL_BSP_MAX_QUEUE_SIZE, f"{error} (OTEL_BSP_* must go together)") from error
        if hasattr(os, "register_at_fork"):
            here = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (method := here()) and method())

    def _renew(self) -> None:
        self._came = count(1)
        self._losses = count(1)
        self._lost = self._told = 0
        self.went = 0
        self.failed = 0
        """Spans that the exporter did not take."""

    def _after_fork(self) -> None:
        self._telling = Lock()
        self._renew()  # the SDK empties the child's queue

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if next(self._came) - self.went - self._lost > self._limit:
            self._lost = next(self._losses)
        self._batch.on_end(span)

    def settle(self) -> None:
        """Tell of the spans that were lost since the last time."""
        with self._telling:
            lost = self._lost
            new, self._told = lost - self._told, lost
        if new:
            self.tell("queue_full", new)

    def tell(self, reason: str, spans: int) -> None:
        try:
            self._dropped(reason, spans)
        except Exception:
            log.warning("telemetry: spans that were dropped cannot be counted", exc_info=True)

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        """Hand on all that waits. As the SDK has it, this may take longer than `timeout_millis`.

        Returns: whether the exporter took all of it.
        """
        failed = self.failed
        flushed = self._batch.force_flush(timeout_millis)
        self.settle()
        return flushed and self.failed == failed

    def shutdown(self) -> None:
        self._batch.shutdown()  # type: ignore[no-untyped-call]
        self.settle()


class _Guarded(SpanExporter):
    """An exporter whose failures are counted and said once."""

    def __init__(self, exporter: SpanExporter, batch: SpanBatch) -> None:
        self._inner = exporter
        self._batch = batch
        self._logged = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._batch.went += len(spans)  # by one thread at a time: the SDK's processor holds a lock
        self._batch.settle()
        try:
            result = self._inner.export(spans)
            error = None
        except Exception as raised:
            result, error = SpanExportResult.FAILURE, raised
        if result is not SpanExportResult.SUCCESS:
            self._batch.failed += len(spans)
            self._batch.tell("export_failed", len(spans))
            if not self._logged:
                self._logged = True
                log.warning(
                    "telemetry: spans were not exported (said once; see streamgauge.export.dropped)", exc_info=error
                )
        return result

    def shutdown(self) -> None:
        try:
            self._inner.shutdown()
        except Exception:
            log.warning("telemetry: an exporter of spans failed as it was shut down", exc_info=True)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _queue_size() -> int:
    given = os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, "").strip()
    try:
        return int(given) if given else _QUEUE
    except ValueError as error:
        raise SettingsError(OTEL_BSP_MAX_QUEUE_SIZE, f"{given!r} is not a whole number") from error
