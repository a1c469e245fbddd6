"""Aggregates as the SDK's public metric data: what its readers would give to an exporter. Pure: numbers in, data out.

Source: OpenTelemetry specification, "Metrics data model".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from streamgauge import semconv
from streamgauge.aggregates import Distribution, Exemplar, Family, Labels
from streamgauge.telemetry.text import writable

__all__ = ["Since", "metrics_data", "risen"]

Counts: TypeAlias = Mapping[semconv.Metric, Mapping[Labels, float | Distribution]]
_DELTA, _CUMULATIVE = export.AggregationTemporality.DELTA, export.AggregationTemporality.CUMULATIVE


@dataclass(frozen=True, slots=True)
class Since:
    """A point in time that values are counted from: its time since the epoch, and what had been counted by then."""

    epoch_ns: int
    counts: Counts

    def get(self, metric: semconv.Metric, labels: Labels) -> float | Distribution | None:
        return self.counts.get(metric, {}).get(labels)


def metrics_data(
    families: Iterable[Family],
    *,
    now_ns: int,
    resource: Resource,
    scope: InstrumentationScope,
    start: Since,
    last: Since,
    deltas: frozenset[str] = frozenset(),
) -> tuple[export.MetricsData, int, list[Exception]]:
    """(what an exporter takes, how many points it has, why series were left out).

    Args:
        now_ns: nanoseconds since the epoch.
        start: what cumulative values count from.
        last: the export before: what deltas count from, and whose exemplars are not sent again.
        deltas: the kinds of metric that are sent as deltas.
    """
    metrics: list[export.Metric] = []
    points = 0
    unfit: list[Exception] = []
    for family in families:
        metric = family.metric
        delta = metric.kind in deltas
        since = last if delta else start
        numbers: list[export.NumberDataPoint] = []
        histograms: list[export.HistogramDataPoint] = []
        for labels in family.series:
            try:
                if metric.kind == semconv.HISTOGRAM:
                    histograms.extend(_histogram(family, labels, now_ns, since, last))
                else:
                    numbers.extend(_numbers(family, labels, now_ns, since))
            except Exception as error:
                unfit.append(error)
        count = len(numbers) + len(histograms)
        if count:
            points += count
            temporality = _DELTA if delta else _CUMULATIVE
            data: export.Sum | export.Gauge | export.Histogram
            if metric.kind == semconv.HISTOGRAM:
                data = export.Histogram(histograms, temporality)
            elif metric.kind == semconv.COUNTER:
                data = export.Sum(numbers, temporality, is_monotonic=True)
            else:
                data = export.Gauge(numbers)
            metrics.append(export.Metric(metric.name, metric.description, metric.unit, data))
    scoped = export.ScopeMetrics(scope, metrics, scope.schema_url or "")
    return export.MetricsData([export.ResourceMetrics(resource, [scoped], resource.schema_url)]), points, unfit


def _numbers(family: Family, labels: Labels, now_ns: int, since: Since) -> Iterator[export.NumberDataPoint]:
    value = family.series[labels]
    before = since.get(family.metric, labels) if family.metric.kind == semconv.COUNTER else None
    assert not isinstance(value, Distribution)
    assert not isinstance(before, Distribution)
    if before is not None:
        value = max(0, value - before)
        if not value:
            return
    yield export.NumberDataPoint(_attributes(family, labels), since.epoch_ns, now_ns, _number(family.metric, value))


def _histogram(
    family: Family, labels: Labels, now_ns: int, since: Since, last: Since
) -> Iterator[export.HistogramDataPoint]:
    value = family.series[labels]
    before = since.get(family.metric, labels)
    assert isinstance(value, Distribution)
    counts, total = value.counts, float(value.sum)
    if isinstance(before, Distribution):
        counts = [max(0, now - then) for now, then in zip(counts, before.counts, strict=True)]
        total -= before.sum
        if not any(counts):
            return
    sent = last.get(family.metric, labels)
    known = sent.exemplars if isinstance(sent, Distribution) else {}
    yield export.HistogramDataPoint(
        attributes=_attributes(family, labels), start_time_unix_nano=since.epoch_ns, time_unix_nano=now_ns,
        count=sum(counts), sum=total, bucket_counts=counts, explicit_bounds=family.metric.buckets,
        min=None, max=None,  # type: ignore[arg-type]  # not kept; the protocol's fields are optional
        exemplars=[_exemplar(new) for index, new in value.exemplars.items() if known.get(index) != new],
    )  # fmt: skip


def _attributes(family: Family, labels: Labels) -> dict[str, str]:
    return {name: writable(value) for name, value in family.named(labels).items()}


def _number(metric: semconv.Metric, value: float) -> float:
    """Of one type for all time, as backends want it: seconds are floats, all else is counted."""
    return float(value) if metric.unit == "s" or value != int(value) else int(value)


def _exemplar(exemplar: Exemplar) -> sdk.Exemplar:
    return sdk.Exemplar({}, float(exemplar.value), exemplar.epoch_ns, exemplar.span_id, exemplar.trace_id)


def risen(families: Iterable[Family], last: Counts) -> Counts:
    """What has been counted. A total that has come down since was misread; it is not counted twice when it is back."""
    counts: dict[semconv.Metric, dict[Labels, float | Distribution]] = {}
    for family in families:
        if family.metric.kind == semconv.GAUGE:
            continue
        series = counts[family.metric] = dict(family.series)
        for labels, then in last.get(family.metric, {}).items():
            now = series.get(labels)
            if isinstance(then, Distribution):
                if not isinstance(now, Distribution) or now.count < then.count:
                    series[labels] = then
            elif not isinstance(now, Distribution):
                series[labels] = max(then, now or 0)
    return counts
