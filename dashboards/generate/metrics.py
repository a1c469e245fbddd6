"""What the boards and the rules may ask Prometheus for: every series that streamgauge emits, with its labels.

All of it is computed from `streamgauge.semconv` and from what renders `/metrics`; no name is typed twice. The boards
read the profile `released`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamgauge import semconv
from streamgauge.semconv import COUNTER, HISTOGRAM, Metric
from streamgauge.telemetry.prometheus import family_name, label_names

__all__ = [
    "BESIDES",
    "COMMON",
    "EMITTED",
    "LEFT_OUT",
    "RUN_LABELS",
    "TARGET",
    "WITHOUT_EXEMPLARS",
    "Series",
    "bucket",
    "count",
    "label",
    "name",
    "total",
]

TARGET: Final = ("job", "instance")
"""What Prometheus itself puts on every series that it scrapes."""

_LABELS: Final[Mapping[str, str]] = {
    attribute: plain
    for metric in semconv.RELEASED.metrics
    for attribute, plain in zip(
        (*semconv.COMMON_LABELS, *metric.labels) if metric.common else metric.labels, label_names(metric), strict=True
    )
}


def label(attribute: str) -> str:
    """An attribute's name as Prometheus has it."""
    return _LABELS[attribute]


COMMON: Final = tuple(map(label, semconv.COMMON_LABELS))
"""The labels that every metric of a stream has."""
RUN_LABELS: Final = (*TARGET, *COMMON)
"""Which series of one metric belongs to which of another, where both are told of a stream as a whole."""


def name(metric: Metric) -> str:
    """The name of its only series, or, of a histogram, what the names of its series begin with."""
    return family_name(metric)[0] + ("_total" if metric.kind == COUNTER else "")


def bucket(metric: Metric) -> str:
    """The series of a histogram's buckets."""
    return f"{name(metric)}_bucket"


def count(metric: Metric) -> str:
    """How many values a histogram has."""
    return f"{name(metric)}_count"


def total(metric: Metric) -> str:
    """The sum of a histogram's values."""
    return f"{name(metric)}_sum"


@dataclass(frozen=True, slots=True)
class Series:
    """What one name on `/metrics` is."""

    name: str
    labels: frozenset[str]
    metric: Metric | None = None
    """None where it is not streamgauge's, or tells of the program and not of streams."""
    cumulative: bool = False
    """It only grows, so that its value says nothing without a rate."""
    common: bool = False
    """It has the labels that the boards' variables choose by."""


def _emitted() -> dict[str, Series]:
    found: dict[str, Series] = {}
    for metric in semconv.RELEASED.metrics:
        labels = frozenset({*TARGET, *label_names(metric)})
        histogram = metric.kind == HISTOGRAM
        for each in (bucket(metric), count(metric), total(metric)) if histogram else (name(metric),):
            own = labels | {"le"} if each == bucket(metric) else labels
            found[each] = Series(each, own, metric, histogram or metric.kind == COUNTER, metric.common)
    return found


EMITTED: Final[Mapping[str, Series]] = _emitted()
"""By name, all that streamgauge emits of streams and of itself."""

_TARGET = frozenset(TARGET)
BESIDES: Final[Mapping[str, Series]] = {
    series.name: series
    for series in (
        Series("streamgauge_build_info", _TARGET | {"version"}),
        Series("target_info", _TARGET | {"service_instance_id", "service_name", "service_version"}),
        # Prometheus' own words about a target, and about the rules that it evaluates.
        Series("up", _TARGET),
        Series("scrape_duration_seconds", _TARGET),
        Series("scrape_samples_scraped", _TARGET),
        Series("ALERTS", _TARGET | {"alertname", "alertstate", "severity", "service", "slo", "window"}),
    )
}
"""What else boards and rules may select."""

WITHOUT_EXEMPLARS: Final = frozenset({semconv.ADDED_LATENCY})
"""Histograms that are not of one operation, so that no span could stand for a value."""

LEFT_OUT: Final[Mapping[str, str]] = {
    name(metric): "of the profile `dev`, whose names are not released yet; the boards read `released`"
    for metric in semconv.DEV.metrics
    if metric not in semconv.RELEASED.metrics
}
"""Metrics that are on no board, and why."""
