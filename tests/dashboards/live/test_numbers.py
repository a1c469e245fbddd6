"""What the boards show is what the load has had: between two moments at which no stream was open."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import pytest
from dashboards.stack.load import Load, Totals
from livestack.boards import Target, filled, read_targets
from livestack.processes import ROOT, until
from livestack.prometheus import Answer
from livestack.system import STREAMS, System

from streamgauge import semconv

pytestmark = pytest.mark.timeout(180)

LASTED_S = 15.0
NEAR = 0.02
"""`rate` reaches a little beyond the first and the last sample."""
TARGETS = {target.id: target for target in read_targets(ROOT / "dashboards" / "grafana")}


@dataclass(frozen=True, slots=True)
class Measured:
    """A stretch of time, and what the load had in it."""

    system: System
    start: float
    end: float
    before: Totals
    after: Totals

    def asked(self, id: str, **chosen: str) -> Answer:
        """A panel's query over just that time."""
        target: Target = TARGETS[id]
        window = f"{round((self.end - self.start + 0.1) * 1000)}ms"
        macros = {"__rate_interval": window, "__range": window, "__interval": "1s"}
        query = filled(target.expr, macros, {"job": ["main"], **{name: [value] for name, value in chosen.items()}})
        answer = self.system.prometheus.ask(query, self.end + 0.05)
        assert answer.faults() == []
        return answer

    def counted(self, id: str, label: str, *, per_second: bool) -> dict[str, float]:
        """By a label: how many there were."""
        found: Counter[str] = Counter()
        for series in self.asked(id).series:
            found[series.labels[label]] += series.last * (self.end - self.start if per_second else 1)
        return dict(found)

    def had(self, name: str) -> dict[str, int]:
        before, after = getattr(self.before, name), getattr(self.after, name)
        return {key: after[key] - before[key] for key in after if after[key] > before[key]}

    def values(self, name: str, *paths: str) -> list[tuple[float, ...]]:
        """Those of streams."""
        known = len(getattr(self.before, name))
        return [values for path, *values in list(getattr(self.after, name))[known:] if path.startswith(paths)]


def _at_rest(system: System, load: Load) -> tuple[float, Totals]:
    """Nothing is open; returns when that was scraped, and what there has been until then."""
    system.callers.call(load.rest())
    prometheus = system.prometheus
    # Ended here is not ended there: a caller that leaves is seen to have left a moment later.
    since = prometheus.now()
    scraped = f'timestamp(up{{job="main"}}) > {since:f}'
    none_open = f'sum by (job, instance) (streamgauge_streams_active{{job="main"}}) == 0 and {scraped}'
    until(lambda: prometheus.ask(none_open).series, told="no stream is open")
    return prometheus.ask('timestamp(up{job="main"})').only(), deepcopy(load.totals)


@pytest.fixture(scope="module")
def measured(system: System) -> Measured:
    load = system.jobs["main"].load
    assert load is not None
    start, before = _at_rest(system, load)
    load.resume()
    until(lambda: system.prometheus.now() - start > LASTED_S, told="the load has gone on for a while")
    end, after = _at_rest(system, load)
    load.resume()
    return Measured(system, start, end, before, after)


def _within(value: float, low: float, high: float, bounds: tuple[float, ...]) -> bool:
    """A quantile of a histogram is as good as its buckets."""
    below = max((bound for bound in bounds if bound < low), default=0.0)
    above = min((bound for bound in bounds if bound >= high), default=math.inf)
    return below <= value <= above


def _quantile(values: Iterable[float], rank: float) -> float:
    known = sorted(values)
    return known[max(math.ceil(rank * len(known)) - 1, 0)]


def test_the_load_had_all_of_it(measured: Measured) -> None:
    outcomes = measured.after.outcomes - measured.before.outcomes
    # The seventh, `shutdown`, is the program's own end.
    assert outcomes.keys() == {"completed", "failed", "truncated", "cancelled", "abandoned", "timed_out"}
    assert min(outcomes.values()) >= 3
    assert measured.had("retries").keys() == {"model", "tool", "request"}
    assert measured.had("stalls").keys() == {"generation", "tool"}
    assert measured.after.unreached == 0


def test_every_stream_is_counted_once(measured: Measured) -> None:
    query = 'sum by (streamgauge_outcome) (streamgauge_streams_total{job="main"})'
    prometheus = measured.system.prometheus
    before, after = (
        {series.labels["streamgauge_outcome"]: series.last for series in prometheus.ask(query, at + 0.05).series}
        for at in (measured.start, measured.end)
    )
    assert {outcome: after[outcome] - before[outcome] for outcome in after} == dict(
        measured.after.outcomes - measured.before.outcomes
    )


def test_outcomes(measured: Measured) -> None:
    shown = measured.counted("overview: Streams by how they ended A", "streamgauge_outcome", per_second=True)
    had = dict(measured.after.outcomes - measured.before.outcomes)
    assert shown == pytest.approx(had, rel=NEAR)


@pytest.mark.parametrize(("ref", "rank"), [("A", 0.5), ("B", 0.95), ("C", 0.99)])
def test_first_token(measured: Measured, ref: str, rank: float) -> None:
    shown = measured.asked(f"overview: First token {ref}").only()
    # The agent waited for so long at least, and the caller got it then: what the proxy saw lies between.
    meant, had = ([values[at] for values in measured.values("first_s", "/v1/", "/runs/")] for at in (0, 1))
    low, high = _quantile(meant, rank), _quantile(had, rank)
    assert _within(shown, low, high, semconv.SECONDS), (shown, low, high)


def test_chunk_rate(measured: Measured) -> None:
    shown = measured.asked("overview: Chunk rate A", dialect="openai-chat").only()
    true = _quantile((value for (value,) in measured.values("rates", "/v1/chat/completions")), 0.5)
    assert _within(shown, true, true, semconv.RATE), (shown, true)


def test_chunks(measured: Measured) -> None:
    shown = measured.counted("quality: Chunks A", "kind", per_second=True)
    assert sum(shown.values()) == pytest.approx(measured.after.chunks - measured.before.chunks, rel=NEAR)


def test_stalls(measured: Measured) -> None:
    shown = measured.counted("quality: Stalls by cause A", "during", per_second=False)
    had, meant = measured.had("stalls"), measured.had("meant_stalls")
    # Where the machine has made more than were asked for, it is not said that both have seen the same ones.
    own = sum(had.values()) - sum(meant.values())
    assert shown == pytest.approx(had, rel=NEAR, abs=own)
    assert sum(meant.values()) >= 6


def test_retries(measured: Measured) -> None:
    shown = measured.counted("agents: Retries by target and reason A", "target", per_second=False)
    assert shown == pytest.approx(measured.had("retries"), rel=NEAR)


def test_open_streams(measured: Measured) -> None:
    """In the midst of it each caller has one, but for the time between two, which is the machine's."""
    query = filled(TARGETS["overview: Open and silent streams A"].expr, {}, {"job": ["main"]})
    prometheus = measured.system.prometheus
    middle = prometheus.over(query, measured.start + 5, measured.end - 5)
    assert max(middle.values) <= STREAMS
    assert sum(middle.values) / len(middle.values) > 0.5 * STREAMS
    assert prometheus.ask(query, measured.end + 0.05).values == [0.0]
