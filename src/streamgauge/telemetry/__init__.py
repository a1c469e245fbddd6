"""OpenTelemetry's SDK, set up from the settings: spans and metrics to OTLP or any other exporter, and the `/metrics`
page.

The only package that knows the SDK, exporters and prometheus-client; importing it imports none of them yet.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.trace import TracerProvider

from streamgauge import semconv
from streamgauge._version import __version__
from streamgauge.telemetry.bounded import Call, prepare, within

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from streamgauge.aggregates import Aggregates
    from streamgauge.settings import Settings
    from streamgauge.telemetry.otlp import PeriodicExport
    from streamgauge.telemetry.prometheus import Page, Server
    from streamgauge.telemetry.traces import SpanBatch

__all__ = ["CountDropped", "Telemetry", "start"]

log = logging.getLogger("streamgauge")

CountDropped: TypeAlias = Callable[[str, str, int], None]
"""Told (telemetry, reason, amount): the labels of `semconv.EXPORT_DROPPED`, and how many spans or metric points."""

_ours: WeakSet[TracerProvider] = WeakSet()
"""The providers made here: a second `start` must not take the first one's for a host's."""


class Telemetry:
    """What `start` has set up."""

    def __init__(self, tracer_provider: TracerProvider) -> None:
        self.tracer_provider = tracer_provider
        """Ours, or the one that the program had set."""
        self.metrics_address: tuple[str, int] | None = None
        """Where `/metrics` is served."""
        self._own = False
        self._batches: Sequence[SpanBatch] = ()
        self._exports: Sequence[PeriodicExport] = ()
        self._server: Server | None = None
        self._page: Page | None = None
        self._over = False

    def render(self, accept: str | None = None) -> tuple[bytes, str] | None:
        """The metrics page as (body, content type), for a scraper with that `Accept` header; None where telemetry is
        disabled. It takes a millisecond for each few series: not for an event loop."""
        return self._page.render(accept) if self._page is not None else None

    def flush(self, timeout_s: float) -> bool:
        """Export all that there is, spans first.

        Returns: whether all of it was taken in time.
        """
        if self._over:
            return False
        until = time.monotonic() + timeout_s
        if self._own:
            flushes = [batch.force_flush for batch in self._batches]
        else:
            flush_spans = getattr(self.tracer_provider, "force_flush", None)
            flushes = [] if flush_spans is None else [flush_spans]
        flushed = self._spans(flushes, timeout_s)
        for export, share in self._shares(until):
            flushed &= export.flush(share)
        return flushed

    def shutdown(self, timeout_s: float) -> None:
        """Export for the last time, and stop. A provider that the program had set stays as it is. Takes no longer than
        `timeout_s`, whatever an exporter does; what it hangs on is then lost. Only the first call counts."""
        if self._over:
            return
        self._over = True
        atexit.unregister(self.shutdown)
        until = time.monotonic() + timeout_s
        done = self._spans([batch.shutdown for batch in self._batches], timeout_s)
        for export, share in self._shares(until):
            done &= export.shutdown(share)
        if self._server is not None:
            self._server.close(max(0.0, until - time.monotonic()))
        self.metrics_address = None
        if not done:
            log.warning("telemetry: not everything was exported in the %g s that shutting down may take", timeout_s)

    def _spans(self, calls: Sequence[Callable[[], object]], timeout_s: float) -> bool:
        """Make these calls, all at once: none waits for one that hangs. Metrics are to follow, so they get half of the
        time at most."""
        until = time.monotonic() + (timeout_s / 2 if self._exports else timeout_s)
        running = [Call(call) for call in calls]
        for call in running:
            call.wait(until - time.monotonic())
        return all(call.ok for call in running)

    def _shares(self, until: float) -> list[tuple[PeriodicExport, float]]:
        """Each export, with its part of the time that is left."""
        left = max(0.0, until - time.monotonic())
        return [(export, left / len(self._exports)) for export in self._exports]

    def _settle(self) -> None:
        for batch in self._batches:
            batch.settle()


def start(settings: Settings, aggregates: Aggregates, count_dropped: CountDropped) -> Telemetry:
    """Set up what the settings ask for. It is shut down when the program ends, if not before.

    Where the program has set a global tracer provider, spans go there, and `OTEL_TRACES_EXPORTER` is left to it. Else a
    provider of ours becomes the global one; with no exporter for spans there is none, until the program sets one.

    Args:
        count_dropped: called from any thread with what was not exported.
    Raises: SettingsError for what cannot be (an unknown exporter, a taken port), MissingExtraError where OTLP is not
    installed. Then nothing has been set up.
    """
    if settings.disabled:
        return Telemetry(trace.NoOpTracerProvider())
    # Only here: this package can be imported without the SDK.
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from streamgauge.telemetry.exporters import load
    from streamgauge.telemetry.otlp import PeriodicExport
    from streamgauge.telemetry.prometheus import Page, Server
    from streamgauge.telemetry.traces import SpanBatch, tracer_provider

    def dropped(telemetry: str) -> Callable[[str, int], None]:
        return lambda reason, amount: count_dropped(telemetry, reason, amount)

    present = trace.get_tracer_provider()
    hosted = not isinstance(present, trace.ProxyTracerProvider) and present not in _ours
    span_names = () if hosted else tuple(dict.fromkeys(settings.exporters("traces")))
    metric_names = tuple(dict.fromkeys(settings.exporters("metrics")))
    telemetry = Telemetry(present if present not in _ours else trace.NoOpTracerProvider())
    resource = _resource(settings, telemetry)
    with ExitStack() as undo:
        batches: list[SpanBatch] = []
        for name in span_names:
            batches.append(SpanBatch(load("traces", name, SpanExporter), dropped("spans")))
            undo.callback(within, 1.0, batches[-1].shutdown)
        exporters: list[MetricExporter] = []
        for name in metric_names:
            if name != "prometheus":
                exporters.append(load("metrics", name, MetricExporter))
                undo.callback(within, 1.0, exporters[-1].shutdown)
        if batches:
            telemetry.tracer_provider = tracer_provider(resource(), batches)
            telemetry._own = True
            _ours.add(telemetry.tracer_provider)
        telemetry._batches = batches
        telemetry._page = Page(aggregates, target=lambda: resource().attributes, before=telemetry._settle)
        if "prometheus" in metric_names:
            telemetry._server = Server(telemetry._page, settings.metrics_host, settings.metrics_port)
            telemetry.metrics_address = telemetry._server.address
        undo.pop_all()
    telemetry._exports = [
        PeriodicExport(
            exporter,
            aggregates,
            resource=resource,
            scope=InstrumentationScope("streamgauge", __version__, semconv.PROFILES[settings.profile].schema_url),
            interval_s=settings.metric_export_interval_ms / 1e3,
            dropped=dropped("metrics"),
            before=telemetry._settle,
        )
        for exporter in exporters
    ]
    if hosted:
        log.info("telemetry: spans go to the program's own tracer provider; OTEL_TRACES_EXPORTER is not used")
    elif telemetry._own and present in _ours:
        log.info(
            "telemetry: an earlier set-up's tracer provider stays the global one; only streamgauge's spans go here"
        )
    elif telemetry._own:
        trace.set_tracer_provider(telemetry.tracer_provider)
    prepare()
    atexit.register(telemetry.shutdown, settings.shutdown_timeout_s)
    return telemetry


def _resource(settings: Settings, telemetry: Telemetry) -> Callable[[], Resource]:
    """Gives the resource of spans and metrics alike: the tracer provider's, where it has one. The SDK gives that one a
    new instance id in a process that was forked."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    named = {SERVICE_NAME: settings.service_name} if settings.service_name else {}
    made: dict[int, Resource] = {}

    def resource() -> Resource:
        own = getattr(telemetry.tracer_provider, "resource", None)
        if isinstance(own, Resource):
            return own if telemetry._own else own.merge(Resource(named))
        pid = os.getpid()
        if pid not in made:
            made[pid] = Resource.create(named)
        return made[pid]

    return resource
