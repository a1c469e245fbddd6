"""Compare: model by provider by dialect by transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards.board import Row, board
from dashboards.generate.boards.links import spans
from dashboards.generate.boards.panels import IDLE, Target, above, lines
from dashboards.generate.boards.queries import (
    FAILING,
    INTERVAL,
    MODEL_CALLS,
    NOT_CALLER_ENDED,
    RANGE,
    TOKENS,
    Only,
    average,
    everything,
    matching,
    new,
    of_streams,
    quantile,
    rate,
    ratio,
    share,
)  # fmt: skip
from dashboards.generate.boards.tables import Column, table
from dashboards.generate.objectives import ENDS_WELL, Objectives
from streamgauge import semconv
from streamgauge.semconv import RELEASED

__all__ = ["compare"]

MODEL: Final = metrics.label(semconv.GEN_AI_REQUEST_MODEL)
PROVIDER: Final = metrics.label(semconv.GEN_AI_PROVIDER_NAME)
DIALECT: Final = metrics.label(semconv.STREAMGAUGE_DIALECT)
TRANSPORT: Final = metrics.label(semconv.STREAMGAUGE_TRANSPORT)
CALLS: Final = metrics.count(RELEASED.inference_duration)
_DIMENSIONS: Final = {
    "model": (MODEL, "gen_ai.request.model", "A model that is slower than the others everywhere is slow itself."),
    "provider": (
        PROVIDER, "gen_ai.provider.name", "All models of one provider are slower: its service, or the path to it.",
    ),
    "dialect": (DIALECT, "streamgauge.dialect", "One dialect alone: the system that speaks it, or how it is called."),
    "transport": (
        TRANSPORT, "streamgauge.transport",
        "One transport alone: what is between, such as a proxy that buffers. In process is what there is without a "
        "network.",
    ),
}  # fmt: skip
"""Name: (label, attribute of spans, what a difference says)."""


def compare(objectives: Objectives) -> dict[str, Any]:
    return board(
        "streamgauge-compare",
        "Which model, provider, dialect or transport it is. The same four panels for each side. Model calls are "
        "counted, those within agents' runs and those that are the whole stream, so that all are measured alike; only "
        "transports are compared by whole streams, since those that are served are no calls. Times to the first "
        "token are of what comes as it is generated.",
        [
            Row("All in the time that is shown", [_table(objectives)]),
            *(Row(f"By {name}", _side(objectives, name, *side)) for name, side in _DIMENSIONS.items()),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is compared: its queries, by some labels."""

    name: str
    idle: str
    ended: str
    """The counter of those that ended, by outcome."""
    matchers: tuple[str, ...]
    only: Only

    def first_token(self, rank: float, by: tuple[str, ...], over: str = INTERVAL) -> str:
        return quantile(rank, RELEASED.first_chunk, TOKENS, *self.matchers, by=by, over=over, only=self.only)

    def failing(self, by: tuple[str, ...], over: str = INTERVAL) -> str:
        return share(
            rate(self.ended, FAILING, *self.matchers, by=by, over=over),
            rate(self.ended, NOT_CALLER_ENDED, *self.matchers, by=by, over=over),
        )

    def pace(self, by: tuple[str, ...], over: str = INTERVAL) -> str:
        """Chunks a second while chunks come: one over the average gap."""
        gaps, waited = metrics.count(RELEASED.per_chunk), metrics.total(RELEASED.per_chunk)
        return ratio(rate(gaps, *self.matchers, by=by, over=over), rate(waited, *self.matchers, by=by, over=over))


class _Streams(_Counted):
    """Also those that are served, which have a clock of their own."""

    __slots__ = ()

    def first_token(self, rank: float, by: tuple[str, ...], over: str = INTERVAL) -> str:
        client = _Counted.first_token(self, rank, by, over)
        return f"{client} or {quantile(rank, semconv.SERVER_FIRST_TOKEN, TOKENS, by=by, over=over)}"


_CALLS: Final = _Counted("model calls", "no model calls", CALLS, (MODEL_CALLS,), everything)
_STREAMS: Final = _Streams("streams", IDLE, metrics.name(semconv.STREAMS), (), of_streams)


def _table(objectives: Objectives) -> Any:
    labels = {MODEL: "Model", PROVIDER: "Provider", DIALECT: "Dialect", TRANSPORT: "Transport"}
    by = tuple(labels)
    output = matching(semconv.GEN_AI_TOKEN_TYPE, "=", "output")

    def ranked(rank: float, metric: semconv.Metric) -> str:
        return quantile(rank, metric, MODEL_CALLS, by=by, over=RANGE)

    return table(
        "Model calls",
        "One row for each model, provider, dialect and transport that was used in the time that is shown. Sort by a "
        "column to find the slow ones; a few calls make a poor quantile, so look at the first column too. An empty "
        "name was not told.",
        labels,
        [
            Column("Calls", f"{new(CALLS, MODEL_CALLS, by=by, over=RANGE)} > 0", "none", decimals=0),
            Column("Failing", _CALLS.failing(by, RANGE), "percentunit", above(objectives.budget(ENDS_WELL)), 1),
            Column("First token p50", _CALLS.first_token(0.5, by, RANGE), "s"),
            Column("First token p95", _CALLS.first_token(0.95, by, RANGE), "s", above(objectives.first_token_seconds)),
            Column("Gap p95", ranked(0.95, RELEASED.per_chunk), "s"),
            Column("Chunk rate", _CALLS.pace(by, RANGE), "suffix:chunks/s", decimals=1),
            Column("Duration p95", ranked(0.95, RELEASED.inference_duration), "s"),
            Column(
                "Output tokens",
                average(semconv.TOKEN_USAGE, output, MODEL_CALLS, by=by, over=RANGE),
                "none",
                decimals=0,
            ),
        ],
        height=11,
        no_value=_CALLS.idle,
        sort="Calls",
    )


def _side(objectives: Objectives, name: str, label: str, attribute: str, says: str) -> list[Any]:
    by, legend = (label,), f"{{{{{label}}}}}"
    counted = _STREAMS if label == TRANSPORT else _CALLS
    link = [spans(f"Traces of this {name}", f'{{ span.{attribute} = "${{__field.labels.{label}:percentencode}}" }}')]
    return [
        lines(
            f"First token by {name} (p50)",
            f"Half of the {counted.name} had their first token within this time. {says}",
            "s",
            [Target(counted.first_token(0.5, by), legend, exemplar=True)],
            span=6,
            no_value=counted.idle,
            links=link,
        ),
        lines(
            f"First token by {name} (p95)",
            f"19 of 20 {counted.name} had it within this time. Far from p50: queues or cold starts, not the usual "
            f"case. {says}",
            "s",
            [Target(counted.first_token(0.95, by), legend, exemplar=True)],
            span=6,
            no_value=counted.idle,
            steps=above(objectives.first_token_seconds),
            links=link,
        ),
        lines(
            f"Chunk rate by {name}",
            "Chunks a second while chunks come. Dialects cut text into chunks of different sizes: compare what "
            f"speaks alike. {says}",
            "suffix:chunks/s",
            [Target(counted.pace(by), legend)],
            span=6,
            no_value=counted.idle,
            links=link,
        ),
        lines(
            f"Failing by {name}",
            f"How many {counted.name} failed, were cut off or timed out, of those that their caller did not end. "
            f"{says}",
            "percentunit",
            [Target(counted.failing(by), legend)],
            span=6,
            top=1,
            no_value=counted.idle,
            steps=above(objectives.symptom.error_ratio),
            links=link,
        ),
    ]
