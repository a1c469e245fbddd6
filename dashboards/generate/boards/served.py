"""The row on streams that an application serves, of the board Stream quality."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate.boards.panels import above, lines, ranks
from dashboards.generate.objectives import Objectives
from streamgauge import semconv
from streamgauge.semconv import Metric

__all__ = ["served"]

SERVED: Final = "no stream is served by an ASGI app"


def served(objectives: Objectives) -> list[Any]:
    def each(title: str, description: str, metric: Metric, **more: Any) -> Any:
        return lines(
            title, description, "s", ranks(metric, 0.5, 0.95, 0.99), span=8, no_value=SERVED, **more
        )  # fmt: skip

    return [
        each(
            "Request that is served",
            "Of streams that an application of yours serves (ASGI middleware): from the request to the stream's end.",
            semconv.SERVER_DURATION,
        ),
        each(
            "First token that is served",
            "From the request to the first token, of streams that completed: what your users wait for. Above the "
            "calls that your application makes, it is your application's own time.",
            semconv.SERVER_FIRST_TOKEN,
            steps=above(objectives.first_token_seconds),
        ),
        each(
            "Time per token that is served",
            "The pace of completed streams, without what lies between two model calls. Readers follow up to about "
            "0.1 s.",
            semconv.SERVER_PER_TOKEN,
        ),
    ]
