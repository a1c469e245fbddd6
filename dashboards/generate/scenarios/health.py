"""A streamgauge that is ill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dashboards.generate.alerts import PREFIX
from dashboards.generate.metrics import bucket, count, name
from dashboards.generate.objectives import Objectives, seconds_of
from dashboards.generate.scenarios.base import (
    CASES,
    FAULT,
    FIRING,
    LOW,
    OVER,
    QUIET,
    RESTARTS,
    TORN,
    Expected,
    Rates,
    Scenario,
    both,
    counter,
    is_bad,
    run,
    steady,
    volume_of,
)
from streamgauge import semconv

__all__ = ["health"]


def health(objectives: Objectives) -> Iterator[Scenario]:
    yield from _absent(objectives)
    yield _added_latency(objectives)
    yield from _counted(objectives)


def _absent(objectives: Objectives) -> Iterator[Scenario]:
    """It is of the jobs that are named, so each case is a test of its own."""
    alert, job = f"{PREFIX}Absent", objectives.jobs[0]
    there = {"job": job, "instance": "a:9464", "version": "0.1.0"}
    others = [Expected({"job": other}, "") for other in objectives.jobs[1:]]
    gone = [Expected({"job": job}, ""), *others]
    minutes = int(seconds_of(objectives.health.absent_for) / 60)
    cases = {
        FIRING: (f"1+0x{FAULT} stale", {FAULT: others, FAULT + 2 * minutes: gone}),
        QUIET: (f"1+0x{OVER}", {FAULT: others}),
        # Nobody streams anything, and it is there all the same.
        LOW: (f"1+0x{OVER}", {FAULT: others, OVER: others}),
        RESTARTS: (f"1+0x10 stale _x{minutes - 2} 1+0x{OVER}", {12: others, FAULT: others}),
    }
    for case, (values, expected) in cases.items():
        made = Scenario("health", f"a job is absent: {case}", alert)
        made.add("streamgauge_build_info", there, values)
        made.expected = expected
        yield made


def _added_latency(objectives: Objectives) -> Scenario:
    made = Scenario("health", "data is held up", f"{PREFIX}AddedLatency")
    for case in CASES:
        volume = volume_of(case, 6000)
        late = Rates(volume / 10, 0) if is_bad(case) else steady(volume / 1000)
        quick = Rates(volume - late.fault, volume - late.otherwise)
        bound = f"{objectives.health.added_latency_seconds:g}"
        made.add(count(semconv.ADDED_LATENCY), run(case), counter(steady(volume), case))
        made.add(bucket(semconv.ADDED_LATENCY), {**run(case), "le": bound}, counter(quick, case))
    labels = {case: {"job": case, "instance": "a:9464"} for case in CASES}
    made.expected = {4: [], 25: both(labels, "10%"), OVER: []}
    return made


def _counted(objectives: Objectives) -> Iterator[Scenario]:
    """Counters of what is rare: also in a series that begins with the fault, as it had nothing to count before."""
    limits = objectives.health
    for short, metric, labels, minimum in (
        ("TapBlind", semconv.TAP_BLIND, {"reason": "dialect"}, limits.minimum_count),
        ("TapErrors", semconv.TAP_ERRORS, {"reason": "sink"}, limits.minimum_count),
        ("ExportDropped", semconv.EXPORT_DROPPED, {"telemetry": "spans", "reason": "timeout"}, limits.minimum_dropped),
        ("LabelsCapped", semconv.LABELS_CAPPED, {"label": "gen_ai.request.model"}, limits.minimum_capped),
        ("WorkerRestarts", semconv.WORKER_RESTARTS, {"reason": "SIGKILL"}, limits.minimum_count),
    ):
        made = Scenario("health", f"{metric.name} counts", f"{PREFIX}{short}")
        window = seconds_of(limits.labels_window if metric is semconv.LABELS_CAPPED else limits.window) / 60
        before, after = int(window) + 5, int(window) + 20  # it goes on firing for a quarter of an hour
        cases: dict[str, Sequence[str]] = {
            # Each event at once: no rate of it is seen.
            FIRING: (f"_x{before}", f"{2 * minimum:g}+0x{after}"),
            QUIET: (f"500+0x{before + after}",),
            LOW: (f"_x{before}", f"1+0x{after}"),
            RESTARTS: (f"500+0x{before}", f"0+0x{after}"),
            TORN: (f"500+0x{before}", f"{2 * minimum:g}+0x{after}"),
        }
        for case, values in cases.items():
            target = {"job": case, "instance": "a:9464"}
            made.add("up", target, f"1+0x{before + after}")
            made.add(name(metric), {**target, **labels}, " ".join(values))
        by = {case: {"job": case, **labels} for case in CASES}
        on = both(by, f"{2 * minimum:g}")
        made.expected = {before - 1: [], before + 2: on, before + after: []}
        yield made
