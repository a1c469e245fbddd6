"""Middleware health: whether the numbers of the other boards can be believed, and what measuring costs."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards.board import Row, board
from dashboards.generate.boards.panels import Target, above, below, heat, lines, number, ranks
from dashboards.generate.boards.queries import RANGE, chosen, new, or_zero, quantile
from dashboards.generate.boards.tables import Column, table
from dashboards.generate.objectives import Objectives
from streamgauge import semconv
from streamgauge.semconv import Metric

__all__ = ["health"]

BUILD: Final = "streamgauge_build_info"
NO_PROXY: Final = "no proxy"
_OF_OURS: Final = f"and on (job, instance) last_over_time({chosen(BUILD, over=RANGE)})"


def health(objectives: Objectives) -> dict[str, Any]:
    return board(
        "streamgauge-health",
        "Is streamgauge itself fine? Streams pass whatever goes wrong here: what is lost is what is known of them. "
        "While this board is red, do not trust the others.",
        [
            Row("Is it fine?", _numbers(objectives)),
            Row("What is not seen", _lost()),
            Row("What it costs", _cost(objectives)),
            Row("The proxy", _proxy()),
        ],
    )


def _numbers(objectives: Objectives) -> list[Any]:
    def many(title: str, description: str, metric: Metric, unit: str = "none", limit: float = 1) -> Any:
        counted = or_zero(new(metrics.name(metric), over=RANGE))
        return number(title, description, unit, [Target(counted)], span=3, steps=above(limit), decimals=0)

    return [
        number(
            "Instances",
            "Processes with streamgauge in them that answer Prometheus now. Fewer than were started: the others are "
            "not scraped, and not on any board.",
            "none",
            [Target(or_zero(f"count({chosen(BUILD)})"))],
            span=3,
            steps=below(1),
            decimals=0,
        ),
        number(
            "Instances that do not answer",
            "Targets that answered within the time that is shown, are still scraped, and do not answer now. They "
            "are down, or too busy to answer in time.",
            "none",
            [Target(or_zero(f"count(({chosen('up')} == 0) {_OF_OURS})"))],
            span=3,
            steps=above(1),
            decimals=0,
        ),
        many(
            "Blind streams",
            "Streams that were no longer decoded, in the time that is shown. They passed as ever, and are missing "
            "from the numbers. The row below says why.",
            semconv.TAP_BLIND,
        ),
        many(
            "Failures beside streams",
            "Captures, observers and pages of metrics that failed, in the time that is shown. No stream was touched.",
            semconv.TAP_ERRORS,
        ),
        many(
            "Not exported",
            "Spans and metric points that were lost on their way out, in the time that is shown. Traces have holes, "
            "and exemplars may lead nowhere.",
            semconv.EXPORT_DROPPED,
        ),
        many(
            "Labels capped",
            "Values of labels that became `other`, in the time that is shown, since there were too many. Two models "
            "or tools may be one line on the boards: raise `label_cap`, or give names that repeat.",
            semconv.LABELS_CAPPED,
        ),
        many(
            "Refused by the proxy",
            "Requests and connections that the proxy did not serve, in the time that is shown: over a limit, "
            "without a token, while it was shutting down. Callers got an error of the proxy's own.",
            semconv.REFUSED,
        ),
        number(
            "Added latency, p99",
            "What the proxy adds to a piece of data, from read to written, for 99 of 100 pieces of the last "
            "minutes. Usually far below a millisecond; above the limit the proxy is overloaded.",
            "s",
            [Target(quantile(0.99, semconv.ADDED_LATENCY))],
            span=3,
            no_value=NO_PROXY,
            steps=above(objectives.health.added_latency_seconds),
        ),
    ]


def _lost() -> list[Any]:
    def each(title: str, description: str, metric: Metric, unit: str, none: str, *labels: str) -> Any:
        by = tuple(map(metrics.label, labels))
        legend = " ".join(f"{{{{{label}}}}}" for label in by)
        counted = Target(new(metrics.name(metric), by=by), legend)
        return lines(title, description, unit, [counted], span=6, stacked=True, bars=True, no_value=none)

    return [
        each(
            "Blind streams by reason",
            "In each interval. dialect: events are not what the dialect knows, so the system has probably been "
            "updated. framing: the bytes are no such stream, so the wrong dialect is set. slow: decoding took too "
            "long. sink: a fault of streamgauge's own, which its log has.",
            semconv.TAP_BLIND, "suffix:streams", "no blind stream", semconv.REASON,
        ),
        each(
            "Failures beside streams by reason",
            "In each interval. capture: a capture cannot be written. observer, observer_queue_full: a callback of "
            "yours fails, or is too slow. metrics_page: a series cannot be shown. sink: streamgauge's own fault.",
            semconv.TAP_ERRORS, "suffix:failures", "no failure", semconv.REASON,
        ),
        each(
            "Not exported, by what and why",
            "In each interval. queue_full: more spans than the collector takes. export_failed and timeout: it is "
            "away, refuses them, or is too slow; its own log says which.",
            semconv.EXPORT_DROPPED, "suffix:items", "nothing dropped", "telemetry", semconv.REASON,
        ),
        each(
            "Labels capped, by label",
            "Values that became `other`, in each interval. A name with an id or a date in it is the usual cause.",
            semconv.LABELS_CAPPED, "suffix:values", "no label capped", semconv.LABEL,
        ),
    ]  # fmt: skip


def _cost(objectives: Objectives) -> list[Any]:
    return [
        heat(
            "Added latency",
            "From data read to data written, of each piece that the proxy passes on. A band below a millisecond is "
            "normal. Cells far above come with a busy event loop: too many streams for one process (see Scaling "
            "out).",
            "s",
            semconv.ADDED_LATENCY,
            span=8,
            no_value=NO_PROXY,
        ),
        lines(
            "Added latency by instance",
            "Half and 99 of 100 pieces waited less, by instance. One instance alone: it has more streams than the "
            "others, or a noisy neighbour.",
            "s",
            ranks(semconv.ADDED_LATENCY, 0.5, 0.99, by=("instance",)),
            span=8,
            height=9,
            no_value=NO_PROXY,
            steps=above(objectives.health.added_latency_seconds),
        ),
        lines(
            "Open streams by instance",
            "How the load is spread. Streams are long: round robin piles them up where a balancer does not look.",
            "suffix:streams",
            [Target(f"sum by (instance) ({chosen(metrics.name(semconv.ACTIVE))})", "{{instance}}")],
            span=8,
            height=9,
            stacked=True,
        ),
        lines(
            "Duration of a scrape",
            "How long Prometheus waited for the page. It grows with the number of series; near the scrape's "
            "time-out (10 s as a rule) there will be gaps on all boards.",
            "s",
            [Target(f"{chosen('scrape_duration_seconds')} {_NOW_OURS}", "{{job}} {{instance}}")],
            span=8,
            no_value="not scraped",
        ),
        lines(
            "Series of a scrape",
            "How many series the page has: what streamgauge costs Prometheus. It only grows with new label values; "
            "a steady climb is a label that should repeat and does not.",
            "short",
            [Target(f"{chosen('scrape_samples_scraped')} {_NOW_OURS}", "{{job}} {{instance}}")],
            span=8,
            no_value="not scraped",
        ),
        table(
            "Versions",
            "Which release each instance runs. More than one is a rollout that is going on, or that stopped half-way.",
            {"version": "Version", "job": "Job", "instance": "Instance"},
            [Column("Here", f"count by (version, job, instance) ({chosen(BUILD)})", "none")],
            span=8,
            height=8,
            no_value="no instance answers",
            hidden=["Here"],
        ),
    ]


_NOW_OURS: Final = f"and on (job, instance) {chosen(BUILD)}"


def _proxy() -> list[Any]:
    reason = metrics.label(semconv.REASON)
    return [
        lines(
            "Workers",
            "Workers that are ready, by instance, where the proxy runs with several. Below what `--workers` says: "
            "some do not come up, and the log has why.",
            "suffix:workers",
            [Target(f"sum by (instance) ({chosen(metrics.name(semconv.WORKERS))})", "{{instance}}")],
            span=8,
            no_value="no proxy with several workers",
        ),
        lines(
            "Workers that were replaced",
            "Workers that died, in each interval, by how. Each took its open streams with it, which end as "
            "truncated for their callers. SIGKILL is mostly the memory limit.",
            "suffix:workers",
            [
                Target(
                    new(metrics.name(semconv.WORKER_RESTARTS), by=("instance", reason)),
                    f"{{{{instance}}}} {{{{{reason}}}}}",
                )
            ],
            span=8,
            stacked=True,
            bars=True,
            no_value="no worker died",
        ),
        lines(
            "Refused by reason",
            "Requests and connections that were not served, in each interval. Over a limit: scale out, or raise it. "
            "The reasons are those of the page on the proxy, Limits.",
            "suffix:requests",
            [Target(new(metrics.name(semconv.REFUSED), by=(reason,)), f"{{{{{reason}}}}}")],
            span=8,
            stacked=True,
            bars=True,
            no_value="nothing refused",
        ),
    ]
