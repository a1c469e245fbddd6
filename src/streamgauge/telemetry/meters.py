"""The metrics on a host's own meter provider, where `setup()` was not called: the host's pipeline exports them.

Histograms are recorded as they come, with the context that gives them their exemplars. The distributions of chunks are
left out: no meter takes a whole one. Counters and gauges are observed: they are read from the aggregates when the host
collects.

This needs OpenTelemetry's API and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Lock

from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    Meter,
    MeterProvider,
    NoOpMeter,
    Observation,
    get_meter_provider,
)

from streamgauge import semconv
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates, Distribution, Family, Point
from streamgauge.semconv import Metric, Profile

__all__ = ["Mirror"]

log = logging.getLogger("streamgauge")

_FRESH_NS = 100_000_000
"""One reading of the aggregates serves all instruments that a collection asks, which it does within less than this."""


class Mirror:
    """Call it with the points of each operation. As long as nobody has set a meter provider it does next to nothing."""

    def __init__(
        self,
        meter_provider: MeterProvider | None,
        aggregates: Aggregates,
        profile: Profile = semconv.RELEASED,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Args:
            meter_provider: the host's; None for the global one, also where it is set only later.
            clock: the streams', in nanoseconds.
        """
        self._aggregates = aggregates
        self._profile = profile
        self._clock = clock
        self._lock = Lock()
        self._histograms: Mapping[Metric, Histogram] = {}
        self._families: Mapping[Metric, Family] = {}
        self._read_at: int | None = None
        self._logged = False
        provider = get_meter_provider() if meter_provider is None else meter_provider
        self._waits = _is_proxy(provider)
        """For a host to set the global provider."""
        if not self._waits:
            self._use(provider)

    def __call__(self, points: Sequence[Point], context: Context) -> None:
        """Record an operation's points. Never raises."""
        histograms = self._histograms
        if not histograms:
            if not self._waits:
                return
            provider = get_meter_provider()
            if _is_proxy(provider):
                return
            self._use(provider)
            histograms = self._histograms
        try:
            for metric, labels, value, _ in points:
                histogram = histograms.get(metric)
                if histogram is not None and not isinstance(value, Distribution):
                    histogram.record(value, Family(metric, {}).named(labels), context)
        except Exception as error:
            self._say("a meter failed", error)

    def _use(self, provider: MeterProvider) -> None:
        """Make the instruments, once."""
        with self._lock:
            if self._histograms:
                return
            self._waits = False
            try:
                meter = provider.get_meter("streamgauge", __version__, self._profile.schema_url)
                if not isinstance(meter, NoOpMeter):
                    self._histograms = self._instruments(meter)
            except Exception as error:
                self._say("the meter provider makes no instruments", error)

    def _instruments(self, meter: Meter) -> Mapping[Metric, Histogram]:
        histograms: dict[Metric, Histogram] = {}
        for metric in self._profile.metrics:
            if metric.kind == semconv.HISTOGRAM:
                histograms[metric] = meter.create_histogram(
                    metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
                )
                continue
            create = (
                meter.create_observable_counter if metric.kind == semconv.COUNTER else meter.create_observable_gauge
            )
            create(metric.name, [partial(self._observe, metric)], metric.unit, metric.description)
        return histograms

    def _observe(self, metric: Metric, options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            now = self._clock()
            if self._read_at is None or now - self._read_at >= _FRESH_NS:
                try:
                    self._families = {family.metric: family for family in self._aggregates.collect(now)}
                except Exception as error:
                    self._say("the metrics cannot be read", error)
                self._read_at = self._clock()  # when it was done: a slow reading, too, serves the whole collection
            family = self._families.get(metric)
        if family is None:
            return []
        return [
            Observation(value, family.named(labels))
            for labels, value in family.series.items()
            if not isinstance(value, Distribution)
        ]

    def _say(self, what: str, error: Exception) -> None:
        if not self._logged:
            self._logged = True
            log.warning("telemetry: %s (said once)", what, exc_info=error)


def _is_proxy(provider: MeterProvider) -> bool:
    """Whether it is the API's own stand-in: nobody has set a provider yet. Its class is private, its home is not."""
    module = type(provider).__module__
    return module.startswith("opentelemetry.metrics") and hasattr(provider, "on_set_meter_provider")
