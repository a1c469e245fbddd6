"""The numbers of all workers as one: those of the living as they reported them last, and those of the dead.

A report has a worker's totals since it was started, so one that is lost, or comes twice, does no harm; it has only the
series that changed. Totals never go back, whoever dies: a worker leaves what it had reported.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from streamgauge import semconv
from streamgauge.aggregates import Aggregates, Distribution, Exemplar, Family, Labels, Point

__all__ = ["Merged", "Reporter"]

_Value: TypeAlias = float | Distribution
_Series: TypeAlias = dict[semconv.Metric, dict[Labels, _Value]]


class Reporter:
    """Says what has changed in a worker's numbers."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, Labels], Any] = {}

    def changes(self, families: Iterable[Family]) -> dict[str, list[Any]]:
        """Metric: [labels, value] of each series that is not as it was said last; for JSON."""
        found: dict[str, list[Any]] = {}
        for family in families:
            name = family.metric.name
            for labels, value in family.series.items():
                form = _form(value)
                if self._said.get((name, labels)) != form:
                    self._said[name, labels] = form
                    found.setdefault(name, []).append([labels, form])
        return found


def _form(value: _Value) -> Any:
    if not isinstance(value, Distribution):
        return value
    return [value.counts, value.sum, [[bucket, *exemplar] for bucket, exemplar in value.exemplars.items()]]


def _value(form: Any) -> _Value:
    if not isinstance(form, list):
        return float(form) if isinstance(form, float) else int(form)
    counts, total, exemplars = form
    made = Distribution(list(counts), total)
    made.exemplars = {bucket: Exemplar(*parts) for bucket, *parts in exemplars}
    return made


class Merged(Aggregates):
    """The supervisor's own numbers, and its workers'. Safe to use from any thread."""

    def __init__(self, metrics: Sequence[semconv.Metric], *, label_cap: int = 100) -> None:
        super().__init__(metrics, label_cap=label_cap)
        self.own = Aggregates(metrics, label_cap=label_cap)
        """The supervisor's."""
        self._by_name = {metric.name: metric for metric in metrics}
        self._merging = threading.Lock()
        self._living: dict[int, _Series] = {}
        self._dead: _Series = {}
        self._shown: _Series = {}
        """What was shown last: gauges go on as 0, and no rounding lets a sum of seconds go back."""

    def record(self, points: Sequence[Point]) -> None:
        self.own.record(points)

    def update(self, worker: int, report: dict[str, list[Any]]) -> None:
        """A worker has reported."""
        with self._merging:
            known = self._living.setdefault(worker, {})
            for name, series in report.items():
                metric = self._by_name.get(name)
                if metric is not None:
                    known.setdefault(metric, {}).update((tuple(labels), _value(form)) for labels, form in series)

    def bury(self, worker: int) -> None:
        """It is dead: what it counted stays, what it had open is gone."""
        with self._merging:
            for metric, series in self._living.pop(worker, {}).items():
                if metric.kind != semconv.GAUGE:
                    self._add(self._dead.setdefault(metric, {}), metric, series)

    def _add(self, to: dict[Labels, _Value], metric: semconv.Metric, series: Mapping[Labels, _Value]) -> None:
        names = (*semconv.COMMON_LABELS, *metric.labels) if metric.common else metric.labels
        for own, value in series.items():
            labels = self.own.cap(names, own)  # each worker has its cap; all of them together have one more
            before = to.get(labels)
            if isinstance(value, Distribution):
                if isinstance(before, Distribution):
                    _merge(before, value)
                else:
                    to[labels] = value.copy()
            elif metric.kind == semconv.GAUGE and metric.unit == "s":
                to[labels] = max(value, _number(before))
            else:
                to[labels] = value + _number(before)

    def collect(self, now: int) -> list[Family]:
        with self._merging:
            merged: _Series = {}
            for source in (self._dead, *self._living.values()):
                for metric, series in source.items():
                    self._add(merged.setdefault(metric, {}), metric, series)
            for family in self.own.collect(now):
                self._add(merged.setdefault(family.metric, {}), family.metric, family.series)
            for metric in self.metrics:
                self._settle(metric, merged.setdefault(metric, {}))
            self._shown = merged
            return [Family(metric, merged[metric]) for metric in self.metrics]

    def _settle(self, metric: semconv.Metric, series: dict[Labels, _Value]) -> None:
        for labels, before in self._shown.get(metric, {}).items():
            value = series.get(labels)
            if isinstance(before, Distribution):
                if isinstance(value, Distribution):
                    value.sum = max(value.sum, before.sum)
            elif metric.kind == semconv.GAUGE:
                series.setdefault(labels, 0)
            else:
                series[labels] = max(_number(value), before)


def _merge(to: Distribution, other: Distribution) -> None:
    newer = {
        bucket: exemplar
        for bucket, exemplar in other.exemplars.items()
        if bucket not in to.exemplars or to.exemplars[bucket][1] < exemplar[1]
    }
    kept = dict(to.exemplars)
    to.merge(other)
    to.exemplars = {**kept, **newer}


def _number(value: _Value | None) -> float:
    assert not isinstance(value, Distribution)
    return value or 0
