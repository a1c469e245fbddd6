"""Overview and SLO: is it fine, what is it about, since when."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards.board import Row, board
from dashboards.generate.boards.budgets import NOT_RECORDED, budgets
from dashboards.generate.boards.links import alerts_firing, spans, to_board
from dashboards.generate.boards.panels import Target, above, below, lines, number, ranks
from dashboards.generate.boards.queries import (
    CALLER_ENDED,
    FAILING,
    RANGE,
    TOKENS,
    chosen,
    matching,
    new,
    of_streams,
    or_zero,
    quantile,
    rate,
    share,
)  # fmt: skip
from dashboards.generate.boards.tables import Column, spans_table, table
from dashboards.generate.objectives import ENDS_WELL, NO_STALL, Objectives
from dashboards.generate.slo import own_ends
from streamgauge import semconv
from streamgauge.semconv import RELEASED
from streamgauge.wire import Outcome

__all__ = ["OUTCOME_COLORS", "overview"]

UID: Final = "streamgauge-overview"
STREAMS: Final = metrics.name(semconv.STREAMS)
OUTCOME: Final = metrics.label(semconv.STREAMGAUGE_OUTCOME)
OUTCOME_COLORS: Final = {
    Outcome.COMPLETED: "green",
    Outcome.FAILED: "red",
    Outcome.TRUNCATED: "orange",
    Outcome.TIMED_OUT: "dark-red",
    Outcome.SHUTDOWN: "purple",
    Outcome.CANCELLED: "light-blue",
    Outcome.ABANDONED: "blue",
}
"""The same on every board: red is a fault, blue is the caller's choice."""
_BY_OUTCOME = spans(
    "Traces that ended so", f'{{ span.streamgauge.outcome = "${{__field.labels.{OUTCOME}:percentencode}}" }}'
)
_RANKS: Final = (0.5, 0.95, 0.99)
_FOR_PEOPLE = 'severity=~"page|ticket"'
_NOT_WELL = '{ span.streamgauge.outcome =~ "failed|truncated|timed_out|shutdown" }'


def overview(objectives: Objectives) -> dict[str, Any]:
    return board(
        UID,
        "Is it fine? The first row answers; the rows below say what it is about and since when. "
        "Everything counts streams, each once, however many model calls are in it.",
        [
            Row("Is it fine?", _numbers(objectives)),
            Row("Objectives", budgets(objectives)),
            Row("Streams", _streams()),
            Row("Speed", _speed(objectives)),
            Row("What goes wrong", _wrong()),
            Row("Traces (asked for when opened)", _traces(), collapsed=True),
        ],
    )


def _numbers(objectives: Objectives) -> list[Any]:
    slo = 'job=~"$job"'
    own = own_ends(objectives)
    well = share(rate(STREAMS, own, matching(semconv.STREAMGAUGE_OUTCOME, "=", Outcome.COMPLETED)), rate(STREAMS, own))
    served = quantile(0.95, semconv.SERVER_FIRST_TOKEN, TOKENS)
    stalls = share(rate(metrics.name(semconv.STALLS), matching(semconv.DURING, "=", "generation")), rate(STREAMS))
    return [
        number(
            "Alerts that fire",
            "Alerts of streamgauge that fire now and that are for people, as Prometheus evaluates them. More than "
            "0: the table below names them, and each has a runbook. Alerts that Grafana itself manages are on its "
            "alert list.",
            "none",
            [Target(or_zero(f"count({alerts_firing(_FOR_PEOPLE)})"))],
            span=3,
            steps=above(1),
            decimals=0,
        ),
        number(
            "Error budget left",
            "What is left, over the objectives' whole period, of the budget of the objective that is worst off. "
            "Below 0 the objective is missed: stop risky changes, and look below which one it is.",
            "percentunit",
            [Target(f"min(slo:period_error_budget_remaining:ratio{{{slo}}})")],
            no_value=NOT_RECORDED,
            steps=below(0, 0.25),
            decimals=0,
        ),
        number(
            "Streams that end well",
            "Completed streams, of those that their caller neither ended nor is to blame for, in the last minutes. "
            f"The objective is {objectives.targets[ENDS_WELL]:.4g} of them. Below it: the panel by outcome says how "
            "they end, the table of errors why.",
            "percentunit",
            [Target(well)],
            steps=below(objectives.targets[ENDS_WELL]),
            links=[to_board("streamgauge-quality")],
        ),
        number(
            "First token, p95",
            "19 of 20 streams of the last minutes had their first token within this time; only those that come as "
            f"they are generated count. The objective is set at {objectives.first_token_seconds:g} s. Above it, "
            "callers wait in front of an empty screen: compare models and providers on the board Compare.",
            "s",
            [Target(f"{quantile(0.95, RELEASED.first_chunk, TOKENS, only=of_streams)} or {served}")],
            steps=above(objectives.first_token_seconds),
            links=[to_board("streamgauge-compare")],
        ),
        number(
            "Stalls per stream",
            "Silences of sources beyond the stall limit, for each stream that ended in the last minutes. Above "
            f"{objectives.budget(NO_STALL):.2g}, which the objective allows, answers freeze while they are read: the "
            "board Stream quality tells stalls of models from those of tools.",
            "percentunit",
            [Target(stalls)],
            span=3,
            steps=above(objectives.budget(NO_STALL)),
            links=[to_board("streamgauge-quality")],
        ),
        number(
            "Open now",
            "Streams that are open. 0 at a time that is usually busy: callers do not get here, so look at what is "
            "in front of streamgauge. Ever more, with as many new ones as before: they do not end.",
            "none",
            [Target(or_zero(f"sum({chosen(metrics.name(semconv.ACTIVE))})"))],
            span=3,
            decimals=0,
        ),
        number(
            "Silent now",
            "Open streams whose source has sent nothing for longer than the stall limit, though no tool and no "
            "person is waited for. These are stuck at this moment, and in no other number yet.",
            "none",
            [Target(or_zero(f"sum({chosen(metrics.name(semconv.SILENT))})"))],
            span=3,
            steps=above(1),
            decimals=0,
        ),
    ]


def _streams() -> list[Any]:
    gauge = metrics.name(semconv.ACTIVE), metrics.name(semconv.SILENT)
    return [
        lines(
            "Streams by how they ended",
            "Every stream once, when it ends. Green completed. Reds and orange are faults: failed (an error event "
            "or an exception), truncated (cut off), timed out, and purple the middleware's own shutdown. Blues are "
            "the caller's choice: more of these than usual often means that it was too slow for them.",
            "suffix:streams/s",
            [Target(rate(STREAMS, by=(OUTCOME,)), f"{{{{{OUTCOME}}}}}")],
            stacked=True,
            colors={str(outcome): color for outcome, color in OUTCOME_COLORS.items()},
            links=[_BY_OUTCOME],
        ),
        lines(
            "Open and silent streams",
            "Streams that are open, and those of them whose source is silent beyond the stall limit. Silent streams "
            "that stay: the source hangs; all at once: the network, or one provider, does.",
            "suffix:streams",
            [
                Target(or_zero(f"sum({chosen(gauge[0])})"), "open"),
                Target(or_zero(f"sum({chosen(gauge[1])})"), "silent"),
            ],
            span=6,
            colors={"open": "blue", "silent": "orange"},
        ),
        lines(
            "Oldest open stream",
            "How long the oldest stream has been open, by dialect. A line that only climbs is a stream that never "
            "ends: nobody reads it any more, or nobody set a deadline.",
            "s",
            [Target(f"max by ({_DIALECT}) ({chosen(metrics.name(semconv.OLDEST))})", f"{{{{{_DIALECT}}}}}")],
            span=6,
        ),
    ]


_DIALECT = metrics.label(semconv.STREAMGAUGE_DIALECT)


def _speed(objectives: Objectives) -> list[Any]:
    return [
        lines(
            "First token",
            "From the call to the first generated piece, for half, 95 and 99 of 100 streams; the line is the "
            "objective's limit. p50 climbs: everything is slower, so the provider or the path to it. Only p99 "
            "climbs: some callers' prompts, or one replica. served: what your own application serves. A point is a "
            "stream, and opens its trace.",
            "s",
            [
                *ranks(RELEASED.first_chunk, *_RANKS, matchers=(TOKENS,), only=of_streams),
                *ranks(semconv.SERVER_FIRST_TOKEN, *_RANKS, matchers=(TOKENS,), name="served"),
            ],
            steps=above(objectives.first_token_seconds),
        ),
        lines(
            "Chunk rate",
            "How fast streams are generated: chunks after the first over the time that they took, one value for each "
            "stream. p5 is the slow end: 19 of 20 are faster. It drops while first token does not: the model is "
            "overloaded in mid-answer, or callers read slowly (Stream quality, waits).",
            "suffix:chunks/s",
            ranks(semconv.CHUNK_RATE, 0.5, 0.05),
        ),
    ]


def _wrong() -> list[Any]:
    labels = {
        OUTCOME: "Outcome", metrics.label(semconv.ERROR_TYPE): "Error", _DIALECT: "Dialect",
        metrics.label(semconv.GEN_AI_PROVIDER_NAME): "Provider", metrics.label(semconv.GEN_AI_REQUEST_MODEL): "Model",
    }  # fmt: skip
    failed = new(STREAMS, FAILING, by=tuple(labels), over=RANGE)
    return [
        table(
            "Errors",
            "What ended streams badly in the time that is shown, the most frequent first. A number is the HTTP "
            "status that was answered; anything else came inside a stream that had begun with 200, where status "
            "codes do not show it.",
            labels,
            [Column("Streams", f"topk(20, {failed} > 0)", "none", decimals=0)],
            span=12,
            height=9,
            no_value="no stream failed",
            sort="Streams",
        ),
        lines(
            "Duration of streams",
            "From the call to the stream's end. It grows while first token and chunk rate stand still: answers have "
            "become longer, or agents make more steps (Agents and tools).",
            "s",
            [
                *ranks(RELEASED.duration, *_RANKS, only=of_streams),
                *ranks(semconv.SERVER_DURATION, *_RANKS, name="served"),
            ],
            span=6,
            height=9,
        ),
        lines(
            "Ended by their callers",
            "Streams that the caller left (abandoned) or stopped (cancelled), of all. They are no faults and in no "
            "objective; a jump says that callers lost patience.",
            "percentunit",
            [
                Target(share(rate(STREAMS, CALLER_ENDED), rate(STREAMS)), "now"),
                Target(share(rate(STREAMS, CALLER_ENDED, offset="1d"), rate(STREAMS, offset="1d")), "a day before"),
            ],
            span=6,
            height=9,
            dashed=["a day before"],
            colors={"now": "blue", "a day before": "text"},
        ),
    ]


def _traces() -> list[Any]:
    return [
        spans_table(
            "Streams that did not end well",
            "The latest spans of runs, model calls and tools that failed, were cut off or timed out, from the trace "
            "data source. A row opens its trace.",
            _NOT_WELL,
        )
    ]
