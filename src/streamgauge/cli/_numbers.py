"""What the tables show: one row for each dialect, read from the pipeline's aggregates. No terminal, no rich."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from streamgauge import semconv
from streamgauge.aggregates import Distribution, Family
from streamgauge.pipeline import Pipeline
from streamgauge.semconv import Metric
from streamgauge.wire import Outcome

__all__ = ["Row", "Times", "quantile", "rows", "seconds", "total"]


@dataclass(slots=True)
class Times:
    """A histogram's values, of several series."""

    metric: Metric
    merged: Distribution

    def quantile(self, share: float) -> float | None:
        return quantile(self.metric.buckets, self.merged.counts, share)


@dataclass(slots=True)
class Row:
    """One dialect's streams."""

    dialect: str
    open: int = 0
    silent: int = 0
    oldest_s: float = 0.0
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    first_byte: Times | None = None
    first_chunk: Times | None = None
    first_answer: Times | None = None
    rate: Times | None = None
    chunks: int = 0
    stalls: int = 0
    retries: int = 0
    blind: int = 0

    @property
    def ended(self) -> int:
        return sum(self.outcomes.values())


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value below which `share` of a histogram's values are: within a bucket they are taken as evenly spread, beyond the last
    bound as being there. None where there are no values. As Prometheus' `histogram_quantile` has it.

    Args:
        counts: `counts[i]` for what is up to `bounds[i]`, and one more for what is above all.
    """
    upto = list(accumulate(counts))
    if not upto or not upto[-1]:
        return None
    rank = share * upto[-1]
    bucket = bisect_left(upto, rank)
    if bucket >= len(bounds):
        return bounds[-1]
    below = upto[bucket - 1] if bucket else 0
    low = bounds[bucket - 1] if bucket else 0.0
    return low + (bounds[bucket] - low) * ((rank - below) / counts[bucket] if counts[bucket] else 0.0)


def rows(pipeline: Pipeline) -> list[Row]:
    """A row for each dialect that had a stream, by name."""
    families = {family.metric: family for family in pipeline.aggregates.collect(time.monotonic_ns())}
    found: dict[str, Row] = {}

    def of(metric: Metric) -> Iterator[tuple[Row, dict[str, str], float | Distribution]]:
        family: Family | None = families.get(metric)
        for labels, value in family.series.items() if family is not None else ():
            named = family.named(labels)  # type: ignore[union-attr]
            dialect = named.get(semconv.STREAMGAUGE_DIALECT, "")
            yield found.setdefault(dialect, Row(dialect)), named, value

    def count(metric: Metric, name: str) -> None:
        for row, _, value in of(metric):
            assert not isinstance(value, Distribution)
            setattr(row, name, getattr(row, name) + int(value))

    def times(metric: Metric, name: str, roots: set[tuple[str, str]] | None = None) -> None:
        for row, named, value in of(metric):
            assert isinstance(value, Distribution)
            if roots is not None and (row.dialect, named.get(semconv.GEN_AI_OPERATION_NAME, "")) not in roots:
                continue
            old: Times | None = getattr(row, name)
            if old is None:
                setattr(row, name, Times(metric, value.copy()))
            else:
                old.merged.merge(value)

    for row, named, value in of(semconv.STREAMS):
        assert not isinstance(value, Distribution)
        outcome = Outcome(named[semconv.STREAMGAUGE_OUTCOME])
        row.outcomes[outcome] = row.outcomes.get(outcome, 0) + int(value)
    for row, _, value in of(semconv.OLDEST):
        assert not isinstance(value, Distribution)
        row.oldest_s = max(row.oldest_s, value)
    count(semconv.ACTIVE, "open")
    count(semconv.SILENT, "silent")
    count(semconv.CHUNKS, "chunks")
    count(semconv.STALLS, "stalls")
    count(semconv.RETRIES, "retries")
    times(semconv.FIRST_BYTE, "first_byte")
    times(semconv.FIRST_ANSWER, "first_answer")
    times(semconv.CHUNK_RATE, "rate")
    # The first token is also published for each model call; a row is about streams.
    roots = {
        (row.dialect, named.get(semconv.GEN_AI_OPERATION_NAME, "")) for row, named, _ in of(semconv.FIRST_BYTE)
    }
    times(pipeline.recorder.profile.first_chunk, "first_chunk", roots)
    return sorted(found.values(), key=lambda row: row.dialect)


def total(pipeline: Pipeline, metric: Metric) -> float:
    """The sum of all series of a counter or gauge."""
    for family in pipeline.aggregates.collect(time.monotonic_ns()):
        if family.metric is metric:
            return sum(value for value in family.series.values() if not isinstance(value, Distribution))
    return 0


def seconds(value: float | None) -> str:
    """A duration, in at most six characters."""
    if value is None:
        return "-"
    if value < 0.0995:
        return f"{value * 1e3:.1f}ms" if value < 0.00995 else f"{value * 1e3:.0f}ms"
    if value < 0.9995:
        return f"{value * 1e3:.0f}ms"
    if value < 99.95:
        return f"{value:.2f}s" if value < 9.995 else f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s"
