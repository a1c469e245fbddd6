"""PromQL of the boards, put together so that no board can get it wrong: filtered by the variables, rates over the rate
interval, sums before ratios and quantiles, and nothing that could be NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from dashboards.generate import metrics
from streamgauge import semconv
from streamgauge.semconv import Metric
from streamgauge.wire import Granularity, Outcome

__all__ = [
    "CALLER_ENDED",
    "FAILING",
    "INTERVAL",
    "MODEL_CALLS",
    "NOT_CALLER_ENDED",
    "RANGE",
    "TOKENS",
    "VARIABLES",
    "Only",
    "average",
    "buckets",
    "chosen",
    "everything",
    "matching",
    "new",
    "of_streams",
    "or_zero",
    "quantile",
    "rate",
    "ratio",
    "share",
    "within_runs",
]

INTERVAL: Final = "$__rate_interval"
RANGE: Final = "$__range"
"""For tables and totals of the time that is shown: asked once, at its end."""
_BEFORE: Final = "1h"
"""How long a series must have been away to count as new: longer than a scrape target usually is."""

VARIABLES: Final = {
    "job": "job",
    "instance": "instance",
    metrics.label(semconv.STREAMGAUGE_DIALECT): "dialect",
    metrics.label(semconv.GEN_AI_PROVIDER_NAME): "provider",
    metrics.label(semconv.GEN_AI_REQUEST_MODEL): "model",
    metrics.label(semconv.GEN_AI_AGENT_NAME): "agent",
}
"""Label: the variable that chooses by it."""


def matching(label: str, operator: str, *values: str) -> str:
    """One matcher, of an attribute or of a label that has no other name."""
    try:
        label = metrics.label(label)
    except KeyError:
        pass  # Prometheus' own
    return f'{label}{operator}"{"|".join(values)}"'


MODEL_CALLS: Final = matching(semconv.GEN_AI_OPERATION_NAME, "=~", *sorted(semconv.INFERENCE))
"""Operations that are one model call, those of an agent's run and those that are the whole stream."""
TOKENS: Final = matching(semconv.STREAMGAUGE_STREAM_GRANULARITY, "=", Granularity.TOKEN)
"""Streams that come as they are generated. The first token of others is as late as their last."""
_BY_CALLER = (Outcome.ABANDONED, Outcome.CANCELLED)
CALLER_ENDED: Final = matching(semconv.STREAMGAUGE_OUTCOME, "=~", *_BY_CALLER)
NOT_CALLER_ENDED: Final = matching(semconv.STREAMGAUGE_OUTCOME, "!~", *_BY_CALLER)
FAILING: Final = matching(
    semconv.STREAMGAUGE_OUTCOME, "=~", *(each for each in Outcome if each not in (*_BY_CALLER, Outcome.COMPLETED))
)


def chosen(series: str, *matchers: str, over: str = "", offset: str = "") -> str:
    """A selector that the variables narrow."""
    known = {**metrics.EMITTED, **metrics.BESIDES}[series]
    labels = VARIABLES if known.common else metrics.TARGET
    own = [f'{label}=~"${VARIABLES[label]}"' for label in labels]
    behind = (f"[{over}]" if over else "") + (f" offset {offset}" if offset else "")
    return f"{series}{{{','.join((*own, *matchers))}}}{behind}"


def _by(labels: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(labels)})" if labels else "sum"


Only: TypeAlias = Callable[[str], str]
"""Narrows rates to those of some operations."""


def everything(inner: str) -> str:
    return inner


def of_streams(inner: str) -> str:
    """Only what is told of a stream as a whole, and not also of the operations within it.

    `streamgauge_streams_total` is counted for runs alone, with the labels that the run has everywhere.
    """
    return f"{inner} and on ({', '.join(metrics.RUN_LABELS)}) {chosen(metrics.name(semconv.STREAMS))}"


def within_runs(inner: str) -> str:
    """Only operations of agents' runs, not the model calls and tools that are a stream of their own. What is within a
    run has its dialect, transport and server."""
    labels = (semconv.STREAMGAUGE_DIALECT, semconv.STREAMGAUGE_TRANSPORT, semconv.SERVER_ADDRESS)
    on = ", ".join((*metrics.TARGET, *map(metrics.label, labels)))
    runs = chosen(metrics.name(semconv.STREAMS), matching(semconv.GEN_AI_OPERATION_NAME, "=", semconv.INVOKE_AGENT))
    return f"{inner} and on ({on}) {runs}"


def rate(
    series: str,
    *matchers: str,
    by: tuple[str, ...] = (),
    over: str = INTERVAL,
    offset: str = "",
    only: Only = everything,
) -> str:
    """Per second, added up."""
    inner = f"rate({chosen(series, *matchers, over=over, offset=offset)})"
    return f"{_by(by)} ({only(inner)})"


def new(series: str, *matchers: str, by: tuple[str, ...] = (), over: str = INTERVAL) -> str:
    """How many came in that time, of what is so rare that the first matters.

    A counter is first seen with its first event, already at 1: `increase` never tells of that one, so the whole value
    of a series is taken that was not there before.
    """
    born = f"{chosen(series, *matchers)} unless last_over_time({chosen(series, *matchers, over=_BEFORE, offset=over)})"
    return f"{_by(by)} (({born}) or increase({chosen(series, *matchers, over=over)}))"


def or_zero(query: str) -> str:
    """For a sum without labels: no series is none."""
    return f"{query} or vector(0)"


def ratio(top: str, bottom: str, *, on: tuple[str, ...] | None = None) -> str:
    """Nothing, rather than NaN, where there is nothing to divide by.

    Args:
        on: where the top has labels that the bottom lacks: those that they share.
    """
    match = "" if on is None else f" on ({', '.join(on)}) group_left ()"
    return f"{top} /{match} ({bottom} > 0)"


def share(top: str, bottom: str) -> str:
    """`ratio`, and 0 where the top has never been counted. Both have the same labels."""
    return ratio(f"({top} or 0 * {bottom})", bottom)


def average(
    metric: Metric, *matchers: str, by: tuple[str, ...] = (), over: str = INTERVAL, only: Only = everything
) -> str:
    """Of a histogram's values: their sum over their number."""
    top = rate(metrics.total(metric), *matchers, by=by, over=over, only=only)
    return ratio(top, rate(metrics.count(metric), *matchers, by=by, over=over, only=only))


def quantile(
    rank: float, metric: Metric, *matchers: str, by: tuple[str, ...] = (), over: str = INTERVAL, only: Only = everything
) -> str:
    """Of all values together. A quantile of no values is NaN, to which nothing compares: so it is left out."""
    series = metrics.bucket(metric)
    return f"histogram_quantile({rank:g}, {rate(series, *matchers, by=('le', *by), over=over, only=only)}) >= 0"


def buckets(metric: Metric, *matchers: str, only: Only = everything) -> str:
    """For a heatmap: how many values came into each bucket."""
    inner = f"increase({chosen(metrics.bucket(metric), *matchers, over=INTERVAL)})"
    return f"sum by (le) ({only(inner)})"
