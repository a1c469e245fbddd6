"""Streams that are ill."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.alerts import PREFIX
from dashboards.generate.metrics import count, label, name
from dashboards.generate.objectives import ENDS_WELL, TOOLS, Objectives
from dashboards.generate.scenarios.base import (
    CASES,
    FAULT,
    FIRING,
    LOW,
    OVER,
    QUIET,
    RESTARTS,
    TORN,
    Rates,
    Scenario,
    both,
    counter,
    gauge,
    is_bad,
    model_of,
    run,
    steady,
    volume_of,
)
from streamgauge import semconv

__all__ = ["symptoms"]


def symptoms(objectives: Objectives) -> Iterator[Scenario]:
    yield _silent()
    yield _stalls()
    yield _errors()
    yield from _retries(objectives)
    yield _tools()
    yield _overloaded()


def _silent() -> Scenario:
    """A gauge, that a restart sets to nothing."""
    made = Scenario("symptoms", "streams are silent now", f"{PREFIX}SilentStreams")
    for case, (silent, open_) in {
        FIRING: (20, 40), QUIET: (1, 40), LOW: (1, 1), RESTARTS: (0, 40), TORN: (20, 40),
    }.items():  # fmt: skip
        gauges = {semconv.SILENT: silent, semconv.ACTIVE: open_}
        for metric, value in gauges.items():
            after = 0 if metric is semconv.SILENT else value
            torn = " ".join(f"{value:g}+0x5 0+0x0" for _ in range(FAULT // 7)) + f" {after:g}+0x{OVER}"
            made.add(name(metric), run(case), torn if case == RESTARTS else gauge(value, after))
    made.expected = {0: [], 25: both({case: model_of(case) for case in CASES}, "50%"), OVER: []}
    return made


def _stalls() -> Scenario:
    made = Scenario("symptoms", "streams stall", f"{PREFIX}StallRatio")
    for case in CASES:
        volume = volume_of(case, 100)
        made.add(
            name(semconv.STREAMS), run(case, **{label(semconv.STREAMGAUGE_OUTCOME): "completed"}),
            counter(steady(volume), case),
        )  # fmt: skip
        stalled = Rates(volume / 2, 0) if is_bad(case) else steady(volume / 50)
        made.add(name(semconv.STALLS), run(case, during="generation"), counter(stalled, case))
        if case == QUIET:
            made.add(name(semconv.STALLS), run(case, during="tool"), counter(steady(volume), case))
    made.expected = {2: [], 25: both({case: model_of(case) for case in CASES}, "0.50"), OVER: []}
    return made


def _errors() -> Scenario:
    """In `quiet` they have a status, or were cut."""
    outcome, error = label(semconv.STREAMGAUGE_OUTCOME), label(semconv.ERROR_TYPE)
    made = Scenario("symptoms", "errors inside a 200", f"{PREFIX}ErrorInside200")
    for case in CASES:
        volume = volume_of(case, 100)
        bad = Rates(volume / 2, 0) if is_bad(case) else steady(volume / 100)
        good = Rates(volume - bad.fault, volume - bad.otherwise)
        made.add(name(semconv.STREAMS), run(case, **{outcome: "completed"}), counter(good, case))
        failed = {outcome: "failed", error: "overloaded_error"}
        made.add(name(semconv.STREAMS), run(case, **failed), counter(bad, case))
        if case == QUIET:
            every = counter(steady(volume), case)
            for kind in ("429", "503", "connect_error", "httpx.ConnectTimeout"):
                made.add(name(semconv.STREAMS), run(case, **{outcome: "failed", error: kind}), every)
            for ended, kind in (("truncated", "truncated"), ("timed_out", "timeout")):
                made.add(name(semconv.STREAMS), run(case, **{outcome: ended, error: kind}), every)
            inside = {label(semconv.STREAMGAUGE_TRANSPORT): "inprocess"}
            made.add(name(semconv.STREAMS), run(case, **failed, **inside), every)
    made.expected = {0: [], 25: both({case: model_of(case) for case in CASES}, "50%"), OVER: []}
    return made


def _retries(objectives: Objectives) -> Iterator[Scenario]:
    dialect = label(semconv.STREAMGAUGE_DIALECT)
    symptom = objectives.symptom
    for target, limit, slo in (
        ("request", symptom.request_retries, ENDS_WELL),
        ("model", symptom.other_retries, ENDS_WELL),
        ("tool", symptom.other_retries, TOOLS),
    ):
        made = Scenario("symptoms", f"retries of a {target}", f"{PREFIX}RetryStorm")
        for case in CASES:
            volume = volume_of(case, 100)
            outcome = {label(semconv.STREAMGAUGE_OUTCOME): "completed"}
            made.add(name(semconv.STREAMS), run(case, **outcome), counter(steady(volume), case))
            tried = Rates(2 * limit * volume, 0) if is_bad(case) else steady(limit / 2 * volume)
            # A retry has the model of the call, a stream that of its run.
            again = run(case, target=target, reason="503", **{label(semconv.GEN_AI_REQUEST_MODEL): "of-the-call"})
            made.add(name(semconv.RETRIES), again, counter(tried, case))
        labels = {case: {"job": case, dialect: "openai-chat", "target": target} for case in CASES}
        made.expected = {1: [], 25: both(labels, f"{2 * limit:.2f}", slo=slo), OVER: []}
        yield made


def _tools() -> Scenario:
    made = Scenario("symptoms", "a tool fails", f"{PREFIX}ToolFailing")
    tool = label(semconv.GEN_AI_TOOL_NAME)
    for case in CASES:
        volume = volume_of(case, 50)
        # Not so many that the SLO of all tools pages: another tool is called more often.
        bad = Rates(volume / 4, 0) if is_bad(case) else steady(volume / 100)
        good = Rates(volume - bad.fault, volume - bad.otherwise)
        calls = count(semconv.TOOL_DURATION)
        other = run(case, "execute_tool", **{tool: "calculator"})
        made.add(calls, other, counter(steady(0 if case == LOW else 50 * volume), case))
        made.add(calls, run(case, "execute_tool", **{tool: "search"}), counter(good, case))
        failed = {tool: "search", label(semconv.ERROR_TYPE): "_OTHER"}
        made.add(calls, run(case, "execute_tool", **failed), counter(bad, case))
    labels = {case: {"job": case, tool: "search"} for case in CASES}
    made.expected = {1: [], 25: both(labels, "25%"), OVER: []}
    return made


def _overloaded() -> Scenario:
    made = Scenario("symptoms", "callers are turned away", f"{PREFIX}Overloaded")
    for case in CASES:
        volume = volume_of(case, 100)
        completed = {label(semconv.STREAMGAUGE_OUTCOME): "completed"}
        refused = Rates(volume, 0) if is_bad(case) else steady(volume / 50)
        made.add(name(semconv.STREAMS), run(case, **completed), counter(steady(volume), case))
        target = {"job": case, "instance": "a:9464"}
        made.add(name(semconv.REFUSED), {**target, "reason": "overloaded"}, counter(refused, case))
        if case == QUIET:
            made.add(name(semconv.REFUSED), {**target, "reason": "unauthorized"}, counter(steady(volume), case))
    labels = {case: {"job": case, "reason": "overloaded"} for case in CASES}
    made.expected = {1: [], 25: both(labels, "50%"), OVER: []}
    return made
