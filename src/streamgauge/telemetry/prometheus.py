"""The `/metrics` page: the aggregates in Prometheus' text format, or in OpenMetrics with exemplars, as the scraper
asks.

Names are those that OpenTelemetry's Prometheus exporter would give (dots become underscores, the unit a suffix); that
exporter itself drops exemplars. A series always has all labels of its metric: an empty one is, to Prometheus, one that
is absent.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics compatibility"; OpenMetrics 1.0.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import socket
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as PrometheusFamily
from prometheus_client.samples import Exemplar as PrometheusExemplar
from prometheus_client.samples import Timestamp
from prometheus_client.utils import floatToGoString

from streamgauge import semconv
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates, Distribution, Exemplar, Labels
from streamgauge.errors import SettingsError
from streamgauge.telemetry.bounded import within
from streamgauge.telemetry.text import writable

__all__ = ["Page", "Server", "family_name", "label_names", "render", "target_labels"]

log = logging.getLogger("streamgauge")

_UNITS = {"s": "seconds", "By": "bytes", "1": ""}
_PER = {"s": "second"}
_ANNOTATION = re.compile(r"{[^}]*}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]+")
_PORT_TROUBLE = {
    errno.EADDRINUSE: "is taken by another program; choose another one, or 0 for any free one",
    errno.EACCES: "is not for this user; choose one from 1024, or 0 for any free one",
}


def _unit(unit: str) -> str:
    top, _, below = _ANNOTATION.sub("", unit).partition("/")
    top = _UNITS.get(top, top)
    if below:
        below = f"per_{_PER.get(below, below)}"
    return "_".join(part for part in (top, below) if part)


@lru_cache(maxsize=256)  # one for each metric there is
def family_name(metric: semconv.Metric) -> tuple[str, str]:
    """(name without `_total`, unit) of a metric in Prometheus."""
    name, unit = _plain(metric.name), _unit(metric.unit)
    return (name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"), unit


@lru_cache(maxsize=256)
def _bounds(metric: semconv.Metric) -> tuple[str, ...]:
    """The values of `le`, as Prometheus writes them."""
    return tuple(str(floatToGoString(bound)) for bound in (*metric.buckets, math.inf))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=256)
def label_names(metric: semconv.Metric) -> tuple[str, ...]:
    """The names that go with the values of its series."""
    names = (*semconv.COMMON_LABELS, *metric.labels) if metric.common else metric.labels
    return tuple(map(_plain, names))


def target_labels(attributes: Mapping[str, object]) -> dict[str, str]:
    """A resource's attributes as the labels of `target_info`. Those that come to one name are joined by `;`."""
    labels: dict[str, str] = {}
    for name in sorted(attributes):
        label, value = _plain(name), writable(attributes[name])
        labels[label] = f"{labels[label]};{value}" if label in labels else value
    return labels


def _plain(name: str) -> str:
    plain = _NOT_IN_NAMES.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() else plain


class Page:
    """What prometheus-client calls a collector. One series that cannot be shown is left out; the others are shown."""

    def __init__(
        self,
        aggregates: Aggregates,
        *,
        target: Callable[[], Mapping[str, object]] = dict,
        clock: Callable[[], int] = time.monotonic_ns,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            target: gives the resource's attributes.
            clock: the streams' clock, in nanoseconds.
            before: called ahead of each reading of the aggregates.
        """
        self._aggregates = aggregates
        self._target = target
        self._clock = clock
        self._before = before
        self._logged = False

    def describe(self) -> list[PrometheusFamily]:
        """The families without their series."""
        families = [_family(metric) for metric in self._aggregates.metrics]
        return [InfoMetricFamily("target", "Target metadata"), _build_info(), *families]

    def collect(self) -> Iterator[PrometheusFamily]:
        target = target_labels(self._target())
        if target:
            yield InfoMetricFamily("target", "Target metadata", target)
        yield _build_info()
        try:
            self._before()
            families = self._aggregates.collect(self._clock())
        except Exception as error:
            self._failed("the metrics", error)
            return
        for family in families:
            shown = _family(family.metric)
            for labels, value in family.series.items():
                try:
                    _show(shown, family.metric, labels, value)
                except Exception as error:
                    self._failed(f"a series of {family.metric.name}", error)
            yield shown

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """The page as (body, content type), for a scraper with that `Accept` header."""
        registry = CollectorRegistry()
        registry.register(self)
        encode, content_type = choose_encoder(accept or "")
        return encode(registry), content_type

    def _failed(self, what: str, error: Exception) -> None:
        self._aggregates.record([(semconv.TAP_ERRORS, ("metrics_page",), 1, None)])
        if not self._logged:
            self._logged = True
            log.warning("telemetry: %s cannot be shown on /metrics (said once)", what, exc_info=error)


def render(
    aggregates: Aggregates,
    accept: str | None = None,
    *,
    target: Mapping[str, object] | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[bytes, str]:
    """The page as (body, content type), for a scraper with that `Accept` header. It takes a millisecond for each few
    series: not for an event loop."""
    return Page(aggregates, target=lambda: target or {}, clock=clock).render(accept)


def _build_info() -> PrometheusFamily:
    return InfoMetricFamily("streamgauge_build", "The version of streamgauge.", {"version": __version__})


def _family(metric: semconv.Metric) -> PrometheusFamily:
    name, unit = family_name(metric)
    names = label_names(metric)
    if metric.kind == semconv.HISTOGRAM:
        return HistogramMetricFamily(name, metric.description, labels=names, unit=unit)
    if metric.kind == semconv.COUNTER:
        return CounterMetricFamily(name, metric.description, labels=names, unit=unit)
    return GaugeMetricFamily(name, metric.description, labels=names, unit=unit)


def _show(family: PrometheusFamily, metric: semconv.Metric, labels: Labels, value: float | Distribution) -> None:
    values = [writable(label) for _, label in zip(label_names(metric), labels, strict=True)]
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Distribution)
        _check(value.sum)
        buckets: list[tuple[str, float] | tuple[str, float, PrometheusExemplar]] = []
        for index, (bound, count) in enumerate(zip(_bounds(metric), accumulate(value.counts), strict=True)):
            exemplar = value.exemplars.get(index)
            buckets.append((bound, count) if exemplar is None else (bound, count, _exemplar(exemplar)))
        family.add_metric(values, buckets, value.sum)
        return
    assert not isinstance(value, Distribution)
    if isinstance(family, CounterMetricFamily):
        _check(value)
        family.add_metric(values, value)
    elif isinstance(family, GaugeMetricFamily):
        family.add_metric(values, float(value))


def _check(total: float) -> None:
    if not (math.isfinite(total) and total >= 0):  # a strict parser would refuse the whole page
        raise ValueError(f"{total!r} is no total")


def _exemplar(exemplar: Exemplar) -> PrometheusExemplar:
    ids = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    return PrometheusExemplar(ids, exemplar.value, Timestamp(*divmod(exemplar.epoch_ns, 1_000_000_000)))


class Server:
    """Serves a page over HTTP, on threads of its own. A process that was forked from this one does not serve it: its
    numbers are not those of its parent, and one port cannot be two targets."""

    def __init__(self, page: Page, host: str, port: int) -> None:
        """
        Args:
            port: 0 takes a free one.
        Raises: SettingsError where it cannot listen there.
        """
        registry = CollectorRegistry()
        registry.register(page)
        try:
            self._server, self._thread = prometheus_client.start_http_server(port, host, registry)
        except (OSError, ValueError, OverflowError) as error:  # ValueError: a name that no host can have
            raise _explained(error, host, port) from error
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._pid = os.getpid()
        if hasattr(os, "register_at_fork"):
            here = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (method := here()) and method())

    def _after_fork(self) -> None:
        self._server.socket.close()  # the child's copy: else the port would stay taken when the parent has gone

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop listening."""
        if self._pid == os.getpid():
            within(timeout_s, self._server.shutdown)
            self._server.server_close()


def _explained(error: OSError | ValueError | OverflowError, host: str, port: int) -> SettingsError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError | socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return SettingsError("OTEL_EXPORTER_PROMETHEUS_HOST", f"cannot listen on {host!r}: {error}")
    why = _PORT_TROUBLE.get(number or 0, f"cannot be used: {error}")
    return SettingsError("OTEL_EXPORTER_PROMETHEUS_PORT", f"port {port} on {host} {why}")
