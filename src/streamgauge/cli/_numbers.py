"""What the tables show: one row for each dialect, read from the pipeline's aggregates. Knows no terminal."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from streamgauge import dialects, semconv
from streamgauge.aggregates import Distribution, Family
from streamgauge.pipeline import Pipeline
from streamgauge.semconv import Metric
from streamgauge.wire import Outcome

__all__ = ["Row", "Times", "blind", "fitted", "quantile", "rows", "seconds"]


@dataclass(frozen=True, slots=True)
class Times:
    """The values of a histogram."""

    bounds: Sequence[float] = ()
    counts: Sequence[int] = ()

    def quantile(self, share: float) -> float | None:
        return quantile(self.bounds, self.counts, share)

    def __add__(self, other: Times) -> Times:
        if not (self.counts and other.counts):
            return self if self.counts else other
        return Times(self.bounds, [one + more for one, more in zip(self.counts, other.counts, strict=True)])


@dataclass(frozen=True, slots=True)
class Row:
    """One dialect's streams, or those of all."""

    dialect: str
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    open: int = 0
    first_byte: Times = Times()
    first_token: Times = Times()
    first_answer: Times = Times()
    rate: Times = Times()
    chunks: int = 0
    stalls: int = 0
    retries: int = 0

    @property
    def ended(self) -> int:
        return sum(self.outcomes.values())


_PROTOCOLS = frozenset({"a2a", "ag-ui", "jaf-http", "langgraph", "mcp", "vercel-ai", "ziran-sse"})
"""What agents are asked over a wire with; a model's API is told by its provider."""


def fitted(found: Sequence[Row], most: int) -> list[Row]:
    """At most so many rows, if that can be: first the model APIs become one, then what programs print, then the
    protocols, then all else."""
    shown = list(found)
    for family in ("model APIs", "programs", "protocols", "agents"):
        if len(shown) <= most:
            break
        members = [row for row in found if _family(row.dialect) == family]
        if len(members) > 1:
            shown = [*(row for row in shown if row not in members), _together(f"{len(members)} {family}", members)]
    return shown


def _family(name: str) -> str:
    kind = dialects.find(name) if name in dialects.BUILT_IN else None
    if kind is None or name.startswith("generic"):
        return "agents"
    if kind.opens_runs and kind.framing == "ndjson":
        return "programs"
    if kind.provider_name:
        return "model APIs"
    return "protocols" if name in _PROTOCOLS or kind.opens_runs else "agents"


def _together(name: str, members: Sequence[Row]) -> Row:
    def times(of: Callable[[Row], Times]) -> Times:
        return sum((of(row) for row in members), Times())

    return Row(
        name,
        {one: sum(row.outcomes.get(one, 0) for row in members) for one in Outcome},
        sum(row.open for row in members),
        times(lambda row: row.first_byte),
        times(lambda row: row.first_token),
        times(lambda row: row.first_answer),
        times(lambda row: row.rate),
        sum(row.chunks for row in members),
        sum(row.stalls for row in members),
        sum(row.retries for row in members),
    )


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value below which `share` of a histogram's values are; None where it has none.

    Within a bucket the values are taken as evenly spread, above the last bound as being there.

    Args:
        counts: `counts[i]` for what is up to `bounds[i]`, and one more for what is above all.
    Source: Prometheus, `histogram_quantile`.
    """
    below = list(accumulate(counts, initial=0))
    if not below[-1]:
        return None
    rank = share * below[-1]
    bucket = bisect_left(below, rank, lo=1) - 1
    if bucket >= len(bounds):
        return bounds[-1]
    low = bounds[bucket - 1] if bucket else 0.0
    return low + (bounds[bucket] - low) * (rank - below[bucket]) / max(counts[bucket], 1)


def rows(pipeline: Pipeline) -> list[Row]:
    """A row for each dialect that had a stream, by name."""
    families = {family.metric: family for family in pipeline.aggregates.collect(time.monotonic_ns())}
    outcomes: dict[str, dict[Outcome, int]] = {}
    for named, value in _series(families, semconv.STREAMS):
        ended = outcomes.setdefault(named[semconv.STREAMGAUGE_DIALECT], {})
        outcome = Outcome(named[semconv.STREAMGAUGE_OUTCOME])
        ended[outcome] = ended.get(outcome, 0) + int(_amount(value))
    opened = _sums(families, semconv.ACTIVE)
    chunks = _sums(families, semconv.CHUNKS)
    stalls = _sums(families, semconv.STALLS)
    retries = _sums(families, semconv.RETRIES)
    first_byte = _times(families, semconv.FIRST_BYTE)
    first_answer = _times(families, semconv.FIRST_ANSWER)
    rates = _times(families, semconv.CHUNK_RATE)
    # The first token is published for each model call too; a row is about streams, whose root operations these are.
    roots = {_operation(named) for named, _ in _series(families, semconv.FIRST_BYTE)}
    first_token = _times(families, pipeline.recorder.profile.first_chunk, lambda named: _operation(named) in roots)
    return [
        Row(
            dialect,
            outcomes.get(dialect, {}),
            opened.get(dialect, 0),
            first_byte.get(dialect, Times()),
            first_token.get(dialect, Times()),
            first_answer.get(dialect, Times()),
            rates.get(dialect, Times()),
            chunks.get(dialect, 0),
            stalls.get(dialect, 0),
            retries.get(dialect, 0),
        )
        for dialect in sorted(opened.keys() | outcomes.keys())
    ]


def blind(pipeline: Pipeline) -> int:
    """How many streams could not be decoded to their end."""
    families = pipeline.aggregates.collect(time.monotonic_ns())
    return sum(
        int(_amount(value))
        for family in families
        if family.metric is semconv.TAP_BLIND
        for value in family.series.values()
    )


_Families = Mapping[Metric, Family]
_Series = list[tuple[dict[str, str], float | Distribution]]


def _series(families: _Families, metric: Metric) -> _Series:
    family = families[metric]
    return [(family.named(labels), value) for labels, value in family.series.items() if any(labels)]


def _amount(value: float | Distribution) -> float:
    assert not isinstance(value, Distribution)
    return value


def _operation(named: Mapping[str, str]) -> tuple[str, str]:
    return named[semconv.STREAMGAUGE_DIALECT], named.get(semconv.GEN_AI_OPERATION_NAME, "")


def _sums(families: _Families, metric: Metric) -> dict[str, int]:
    """By dialect."""
    sums: dict[str, int] = {}
    for named, value in _series(families, metric):
        dialect = named[semconv.STREAMGAUGE_DIALECT]
        sums[dialect] = sums.get(dialect, 0) + int(_amount(value))
    return sums


def _times(
    families: _Families, metric: Metric, wanted: Callable[[Mapping[str, str]], bool] = lambda _: True
) -> dict[str, Times]:
    """By dialect."""
    counts: dict[str, list[int]] = {}
    for named, value in _series(families, metric):
        assert isinstance(value, Distribution)
        if wanted(named):
            dialect = named[semconv.STREAMGAUGE_DIALECT]
            so_far = counts.get(dialect, [0] * len(value.counts))
            counts[dialect] = [one + more for one, more in zip(so_far, value.counts, strict=True)]
    return {dialect: Times(metric.buckets, found) for dialect, found in counts.items()}


def seconds(value: float | None) -> str:
    """A duration, in at most six characters; `-` for none."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1e3:.1f}ms" if value < 0.00995 else f"{value * 1e3:.0f}ms"
    if value < 99.95:
        return f"{value:.2f}s" if value < 9.995 else f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s"
