"""Streams that are not what they were a day before."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.alerts import PREFIX
from dashboards.generate.metrics import count, label, name, total
from dashboards.generate.objectives import Objectives, seconds_of
from dashboards.generate.scenarios.base import (
    CASES,
    FIRING,
    LOW,
    QUIET,
    RESTARTS,
    TORN,
    Scenario,
    both,
    run,
)
from streamgauge import semconv

__all__ = ["yesterday"]


def yesterday(objectives: Objectives) -> Iterator[Scenario]:
    """A day, and the same hour again: values each five minutes, as the windows are of an hour."""
    settings = objectives.yesterday
    step = 5
    day = int(seconds_of(settings.offset) / 60)
    now = day + int(seconds_of(settings.window) / 60) + 90

    def over(before: float, after: float, case: str) -> str:
        """The values of a counter with a rate of one day, and that of the next."""
        steps, later = day // step, (now - day) // step
        if case in (RESTARTS, TORN):
            half = steps // 2
            first, second = f"0+{before * step:g}x{half}", f"0+{before * step:g}x{steps - half}"
            return f"{first} {second} 0+{after * step:g}x{later // 2} 0+{after * step:g}x{later}"
        return f"0+{before * step:g}x{steps} {before * day + after * step:g}+{after * step:g}x{later}"

    # What had next to nothing then, or has now, cannot be compared.
    cases = {**dict.fromkeys(CASES, (10.0, 10.0)), LOW: (0.1, 0.1), "new": (0.1, 10.0), "fading": (10.0, 0.1)}
    outcome = label(semconv.STREAMGAUGE_OUTCOME)
    made = Scenario("yesterday", "callers stop reading", f"{PREFIX}AbandonmentJump", f"{step}m", f"{step}m")
    for case, (then, later) in cases.items():
        much = 0.11 if case in (QUIET, RESTARTS) else 0.4
        made.add(name(semconv.STREAMS), run(case, **{outcome: "abandoned"}), over(then * 0.1, later * much, case))
        good = over(then * 0.9, later * (1 - much), case)
        made.add(name(semconv.STREAMS), run(case, **{outcome: "completed"}), good)
    # A day without anybody is nothing to compare with.
    made.add(name(semconv.STREAMS), run("empty", **{outcome: "abandoned"}), over(0, 5, FIRING))
    made.expected = {day: [], now: both({case: {"job": case} for case in CASES}, "40%")}
    yield made

    made = Scenario("yesterday", "chunks come more slowly", f"{PREFIX}ChunkRateDrop", f"{step}m", f"{step}m")
    model = (label(semconv.GEN_AI_PROVIDER_NAME), label(semconv.GEN_AI_REQUEST_MODEL))
    granularity = label(semconv.STREAMGAUGE_STREAM_GRANULARITY)
    for case, (then, later) in cases.items():
        pace = 45.0 if case in (QUIET, RESTARTS) else 20.0
        labels = {**run(case), granularity: "token"}
        made.add(count(semconv.CHUNK_RATE), labels, over(then, later, case))
        made.add(total(semconv.CHUNK_RATE), labels, over(then * 50, later * pace, case))
    by = {case: {"job": case, **{key: run(case)[key] for key in model}} for case in CASES}
    made.expected = {day: [], now: both(by, "20.00")}
    yield made
