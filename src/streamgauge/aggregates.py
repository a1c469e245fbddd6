"""Where the numbers are kept: counters and histograms of operations that ended, and a view of those still open.

A chunk never comes here. Each open stream counts for itself; what it has counted is merged when an operation ends,
and read in passing by `collect`, so that a long stream is seen while it runs and recording costs nothing for it. All
counters only grow from one `collect` to the next, whatever ends in between.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from threading import RLock
from typing import Any, NamedTuple, Protocol, TypeAlias

from streamgauge import semconv
from streamgauge.semconv import COMMON_LABELS, Metric

log = logging.getLogger("streamgauge")

__all__ = ["OTHER", "Aggregates", "Distribution", "Exemplar", "Family", "Labels", "Origin", "Point", "Watched"]

OTHER = "other"
"""Stands for every label value beyond the cap."""

Labels: TypeAlias = tuple[str, ...]
"""The values of `COMMON_LABELS` (where the metric has them) and of `Metric.labels`, in that order; empty is absent."""

_BATCH = 8
"""Ended operations whose points are merged together: one alone finds none of the series at the processor's hand, which
costs as much again. At some 10 us each, whoever comes next waits for no longer than for a stream to be opened."""
_CAP_CACHE = 10_000  # label sets remembered; beyond it the memory is given back and they are looked up anew


class Exemplar(NamedTuple):
    """One observation that stands for its bucket."""

    value: float
    epoch_ns: int
    trace_id: int
    span_id: int


class Distribution:
    """A histogram's counts; `counts[i]` belongs to `bounds[i]` and below, the last to all above."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, counts: list[int], total: float) -> None:
        self.counts = counts
        self.sum = total
        self.exemplars: dict[int, Any] = {}
        """Bucket: its `Exemplar`; as it is recorded a value and an `Origin`, made one only where somebody reads it."""

    @property
    def count(self) -> int:
        return sum(self.counts)

    def copy(self) -> Distribution:
        copied = Distribution(self.counts.copy(), self.sum)
        copied.exemplars = {
            bucket: each if each.__class__ is Exemplar else Exemplar(each[0], *each[1])
            for bucket, each in self.exemplars.items()
        }
        return copied

    def merge(self, other: Distribution) -> None:
        self.counts = list(map(add, self.counts, other.counts))
        self.sum += other.sum
        if other.exemplars:
            self.exemplars.update(other.exemplars)


Origin: TypeAlias = tuple[int, int, int]
"""Of an exemplar: epoch in nanoseconds, trace id, span id."""
Point: TypeAlias = tuple[Metric, Labels, float | Distribution, Origin | None]
"""What is recorded: an amount of a counter, a value or a whole distribution of a histogram; and of a histogram's value
where it came from, if it is to be an exemplar. A distribution brings its own."""


class _Series(dict[Labels, Any]):
    """The series of one metric; one that is not there yet begins with nothing counted."""

    __slots__ = ("_bounds",)

    def __init__(self, metric: Metric) -> None:
        self._bounds = len(metric.buckets)

    def __missing__(self, labels: Labels) -> Any:
        begun = self[labels] = Distribution([0] * (self._bounds + 1), 0.0) if self._bounds else 0
        return begun


class _AllSeries(dict[Metric, _Series]):
    """The series of all metrics."""

    __slots__ = ()

    def __missing__(self, metric: Metric) -> _Series:
        begun = self[metric] = _Series(metric)
        return begun


class Watched(Protocol):
    """An open stream, as `collect` reads it from another thread."""

    def common(self) -> Labels: ...
    def opened_ns(self) -> int: ...
    def silent(self, now: int) -> bool: ...
    def partials(self) -> Sequence[object]: ...
    def points(self, partial: object) -> Sequence[Point]: ...


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one metric at one time."""

    metric: Metric
    series: Mapping[Labels, float | Distribution]

    def named(self, labels: Labels) -> dict[str, str]:
        """The labels of a series by name, without the empty ones."""
        names = (*COMMON_LABELS, *self.metric.labels) if self.metric.common else self.metric.labels
        return {name: value for name, value in zip(names, labels, strict=True) if value}


class Aggregates:
    """The numbers of one process. Safe to use from any thread."""

    def __init__(self, metrics: Iterable[Metric] = semconv.RELEASED.metrics, *, label_cap: int = 100) -> None:
        """
        Args:
            metrics: those that `collect` reports, also while they have no series.
            label_cap: distinct values of one label; further ones become `other` and are counted.
        """
        self.lock = RLock()
        """A finalizer or a signal handler may interrupt who holds it, in the same thread, and end a stream there."""
        self.metrics = tuple(metrics)
        self._label_cap = label_cap
        self._values: dict[str, set[str]] = {}
        self._capped: dict[tuple[Labels, Labels], Labels] = {}
        self._series = _AllSeries()
        self._watched: set[Watched] = set()
        self._gauged: dict[Labels, object] = {}
        self._late: list[Sequence[Point]] = []
        """Recorded, and not merged into the series yet."""
        self._folding = False
        self._changes = 0

    # Recording ------------------------------------------------------------------------------------------------

    def cap(self, names: Labels, values: Labels) -> Labels:
        """`values` with those beyond the cap replaced by `other`."""
        known = self._capped.get((names, values))
        if known is not None:
            return known
        with self.lock:
            if len(self._capped) >= _CAP_CACHE:
                self._capped.clear()
            capped = self._capped[names, values] = tuple(map(self._cap_one, names, values))
        return capped

    def _cap_one(self, name: str, value: str) -> str:
        if not value:
            return value
        seen = self._values.setdefault(name, set())
        if value in seen:
            return value
        if len(seen) < self._label_cap:
            seen.add(value)
            return value
        self.record_locked([(semconv.LABELS_CAPPED, (name,), 1, None)])
        return OTHER

    def record(self, points: Sequence[Point]) -> None:
        """Record points, all at once."""
        with self.lock:
            self.record_locked(points)

    def record_locked(self, points: Sequence[Point]) -> None:
        """`record`, for who holds `lock` already."""
        self._changes += 1
        self._late.append(points)
        if len(self._late) >= _BATCH:
            self._fold()

    def _fold(self) -> None:
        """Merge what was recorded into the series."""
        if self._folding:
            return  # this has interrupted the loop below, which goes on with it
        self._folding = True
        late: list[Any] = self._late
        known = self._series
        try:
            while late:
                try:
                    for metric, labels, value, origin in late.pop(0):  # no call: there are 14 in a stream
                        bounds = metric.buckets
                        if not bounds:
                            known[metric][labels] += value
                        elif value.__class__ is Distribution:
                            known[metric][labels].merge(value)
                        else:
                            distribution = known[metric][labels]
                            bucket = bisect_left(bounds, value)
                            distribution.counts[bucket] += 1
                            distribution.sum += value
                            if origin is not None:
                                distribution.exemplars[bucket] = (value, origin)
                except Exception:  # whose they are is not known any more, and it is not whoever happens to be here
                    log.warning("What a stream came to could not be counted.", exc_info=True)
        finally:
            self._folding = False

    def watch(self, stream: Watched) -> None:
        """Count `stream` as open, and read it at each `collect`."""
        with self.lock:
            self._watched.add(stream)

    def unwatch(self, stream: Watched) -> None:
        with self.lock:
            self.unwatch_locked(stream)

    def unwatch_locked(self, stream: Watched) -> None:
        """`unwatch`, for who holds `lock` already."""
        self._watched.discard(stream)

    def forked(self) -> None:
        """Begin anew in a forked child: what was counted and is open belongs to the parent."""
        self.lock = RLock()
        self._late, self._folding = [], False
        self._watched = set()
        self._gauged = {}
        for series in self._series.values():
            series.clear()

    # Reading --------------------------------------------------------------------------------------------------

    def collect(self, now: int) -> list[Family]:
        """All metrics as they stand.

        Args:
            now: nanoseconds of the streams' clock, for the gauges.
        Returns: a family for each metric, in the profile's order; histograms are copies.
        """
        with self.lock:  # only copies under the lock: an ending stream must not wait for 10,000 open ones
            while True:
                self._fold()
                changes = self._changes
                watched = [(stream, stream.partials()) for stream in list(self._watched)]
                merged = _AllSeries()
                for metric, series in list(self._series.items()):
                    merged[metric].update(
                        (labels, value.copy() if isinstance(value, Distribution) else value)
                        for labels, value in list(series.items())
                    )
                # Where this has itself interrupted a merge, that is not through them.
                late = [(*point[:3], None) for points in list(self._late) for point in points]
                if changes == self._changes:  # else interrupted by who has recorded: once more
                    break
        view = Aggregates(())
        view._series = merged
        view.record_locked(late)
        gauges: dict[Labels, list[float]] = {}
        for stream, partials in watched:
            try:
                for partial in partials:
                    view.record_locked(stream.points(partial))
                common = stream.common()
                if not any(common):  # its run has ended since: it is no stream that is open
                    continue
                gauge = gauges.setdefault(common, [0, 0, 0.0])
                gauge[0] += 1
                gauge[1] += stream.silent(now)
                gauge[2] = max(gauge[2], (now - stream.opened_ns()) / 1e9)
            except Exception:  # one that cannot be read is seen when it ends; the others are seen now
                log.debug("An open stream could not be read.", exc_info=True)
        view._fold()
        with self.lock:
            # A gauge that was seen once goes on as 0: a vanished series reads as "no data", not as "no streams".
            self._gauged.update(gauges)
            gauged = list(self._gauged)
        for labels in gauged:
            active, silent, oldest = gauges.get(labels, (0, 0, 0.0))
            merged[semconv.ACTIVE][labels] = active
            merged[semconv.SILENT][labels] = silent
            merged[semconv.OLDEST][labels] = oldest
        return [Family(metric, merged.get(metric, {})) for metric in self.metrics]
