"""Metrics over any of the SDK's metric exporters, from the same aggregates as `/metrics`: the same numbers by
construction.

The SDK has no way to hand finished aggregates to its readers, so this builds the data that a reader would give to the
exporter, and has a thread of its own for it. Nothing that an exporter does reaches anyone else: what it raises, refuses
or hangs on is counted.

Source: OpenTelemetry specification, "Metrics data model" and "Periodic exporting MetricReader".
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # the SDK's own readers use it; there is no public way
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.environment_variables import OTEL_METRIC_EXPORT_TIMEOUT
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from streamgauge import semconv
from streamgauge.aggregates import Aggregates
from streamgauge.telemetry.bounded import Call, within
from streamgauge.telemetry.metric_data import Since, metrics_data, risen

__all__ = ["PeriodicExport"]

log = logging.getLogger("streamgauge")

_DELTA = export.AggregationTemporality.DELTA
_EXPORT_TIMEOUT_MS = 30_000.0


class _Attempt:
    """One export on its way."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.counted = False
        """As not exported."""


class PeriodicExport:
    """Exports the aggregates at an interval, from a thread of its own, and once more when it is shut down."""

    def __init__(
        self,
        exporter: export.MetricExporter,
        aggregates: Aggregates,
        *,
        resource: Callable[[], Resource],
        scope: InstrumentationScope,
        interval_s: float,
        dropped: Callable[[str, int], None],
        timeout_s: float | None = None,
        start_ns: int | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            resource: asked at each export, as a fork changes it.
            dropped: told (reason, points) of what was not exported: `export_failed` or `timeout`.
            timeout_s: of one export; by default `OTEL_METRIC_EXPORT_TIMEOUT`.
            start_ns: when counting began, since the epoch; by default now.
            clock: the streams'.
            wall: nanoseconds since the epoch.
            before: called ahead of each reading of the aggregates.
        """
        self._exporter = exporter
        self._aggregates = aggregates
        self._resource = resource
        self._scope = scope
        self._interval_s = interval_s
        self._timeout_s = _export_timeout_s() if timeout_s is None else timeout_s
        self._dropped = dropped
        self._clock = clock
        self._wall = wall
        self._before = before
        self._deltas = _deltas(exporter)
        self._start = self._last = Since(wall() if start_ns is None else start_ns, {})
        self._logged = False
        self._renew()
        if hasattr(os, "register_at_fork"):
            here = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (method := here()) and method())

    def _renew(self) -> None:
        self._turn = Lock()
        """Held while an export is begun and waited for: an exporter is called by one thread at a time."""
        self._counting = Lock()
        self._call: Call | None = None
        self._attempt = _Attempt(0)
        self._stop = Event()
        Thread(target=self._run, name="streamgauge-metrics", daemon=True).start()

    def _after_fork(self) -> None:
        """In the child: what the parent has counted is the parent's to export."""
        if self._stop.is_set():
            return
        counts = self._last.counts
        lock = self._aggregates.lock
        if lock.acquire(blocking=False):  # else it was held by a thread that is not in the child, for good
            lock.release()
            try:
                counts = risen(self._aggregates.collect(self._clock()), {})
            except Exception as error:
                self._say("the metrics cannot be read", error)
        self._start = self._last = Since(self._wall(), counts)
        self._renew()

    def _run(self) -> None:
        stop = self._stop
        while not stop.wait(self._interval_s):
            self._export(self._timeout_s)

    # One export -----------------------------------------------------------------------------------------------

    def _export(self, timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        if not self._turn.acquire(timeout=max(0.0, timeout_s)):
            return False
        try:
            if self._call is not None and not self._call.wait(until - time.monotonic()):
                self._drop("timeout", self._attempt.points)  # it still hangs, so these were not sent this time either
                return False
            try:
                self._before()
                families = self._aggregates.collect(self._clock())
                last = self._last
                now_ns = self._wall()
                data, points, unfit = metrics_data(
                    families, now_ns=now_ns, resource=self._resource(), scope=self._scope, start=self._start, last=last,
                    deltas=self._deltas,
                )  # fmt: skip
                now = Since(now_ns, risen(families, last.counts))
            except Exception as error:
                self._say("the metrics cannot be read", error)
                self._drop("export_failed", 1)
                return False
            if unfit:
                self._say("series of metrics cannot be exported", unfit[0])
                self._drop("export_failed", len(unfit))
            if not points:
                return not unfit
            attempt = self._attempt = _Attempt(points)
            self._call = call = Call(lambda: self._send(data, attempt, now), "streamgauge-metrics-export")
            if not call.wait(until - time.monotonic()) and self._first_to_count(attempt):
                self._say(f"an exporter of metrics took longer than {timeout_s:.3g} s", None)
                self._drop("timeout", points)
            return call.ok and not unfit
        finally:
            self._turn.release()

    def _send(self, data: export.MetricsData, attempt: _Attempt, now: Since) -> bool:
        token = otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            result = self._exporter.export(data, timeout_millis=self._timeout_s * 1e3)
            error = None
        except Exception as raised:
            result, error = export.MetricExportResult.FAILURE, raised
        finally:
            otel_context.detach(token)
        if result is export.MetricExportResult.SUCCESS:
            self._last = now  # what was not sent stays in the next delta
            return True
        if self._first_to_count(attempt):
            self._say("metrics were not exported", error)
            self._drop("export_failed", attempt.points)
        return False

    def _first_to_count(self, attempt: _Attempt) -> bool:
        """It fails once: either in its own thread, or for who gave up waiting."""
        with self._counting:
            counted, attempt.counted = attempt.counted, True
        return not counted

    def _drop(self, reason: str, points: int) -> None:
        try:
            self._dropped(reason, points)
        except Exception as error:
            self._say("what was not exported cannot be counted", error)

    def _say(self, what: str, error: Exception | None) -> None:
        if not self._logged:
            self._logged = True
            log.warning("telemetry: %s (said once; see streamgauge.export.dropped)", what, exc_info=error)

    # From outside ---------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> bool:
        """Export now.

        Returns: whether all of it was taken in time.
        """
        if self._stop.is_set():
            return False
        until = time.monotonic() + timeout_s
        return self._export(timeout_s) and within(
            until - time.monotonic(), lambda: self._exporter.force_flush(max(0.0, until - time.monotonic()) * 1e3)
        )

    def shutdown(self, timeout_s: float) -> bool:
        """Export for the last time, and end the exporter.

        Returns: whether it was done in time.
        """
        if self._stop.is_set():
            return True
        self._stop.set()
        until = time.monotonic() + timeout_s
        sent = self._export(timeout_s * 0.9)  # an exporter that hangs still has its end to be told
        return within(until - time.monotonic(), self._exporter.shutdown) and sent


def _export_timeout_s() -> float:
    try:
        return float(os.environ.get(OTEL_METRIC_EXPORT_TIMEOUT) or _EXPORT_TIMEOUT_MS) / 1e3
    except ValueError:
        log.warning("%s is not a number; 30000 is used", OTEL_METRIC_EXPORT_TIMEOUT)
        return _EXPORT_TIMEOUT_MS / 1e3


def _deltas(exporter: export.MetricExporter) -> frozenset[str]:
    """The kinds that an exporter wants as deltas: OTLP's take `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`,
    others have a preference of their own. The SDK's readers ask in the same way."""
    temporality = getattr(exporter, "_preferred_temporality", None) or {}
    aggregation = (getattr(exporter, "_preferred_aggregation", None) or {}).get(sdk.Histogram)
    if isinstance(aggregation, ExponentialBucketHistogramAggregation):
        log.info("telemetry: histograms keep their explicit buckets; exponential ones were asked for")
    kinds: Sequence[tuple[str, type]] = ((semconv.COUNTER, sdk.Counter), (semconv.HISTOGRAM, sdk.Histogram))
    return frozenset(kind for kind, instrument in kinds if temporality.get(instrument) is _DELTA)
