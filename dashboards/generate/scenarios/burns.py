"""Error budgets that burn."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.alerts import PREFIX
from dashboards.generate.metrics import bucket, count, label, name
from dashboards.generate.objectives import ENDS_WELL, FIRST_TOKEN, NO_STALL, PAGE, TICKET, TOOLS, Objectives
from dashboards.generate.scenarios.base import (
    CASES,
    LOW,
    OVER,
    QUIET,
    Labels,
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

__all__ = ["burns"]


def burns(objectives: Objectives) -> Iterator[Scenario]:
    for severity, share in ((PAGE, 1.0), (TICKET, 0.0)):
        yield from _of_severity(objectives, severity, share)


def _of_severity(objectives: Objectives, severity: str, share: float) -> Iterator[Scenario]:
    """A page for streams that are all bad; a ticket for twice as many as may be."""
    names = {FIRST_TOKEN: "FirstTokenBurn", NO_STALL: "StallBurn", ENDS_WELL: "OutcomeBurn", TOOLS: "ToolBurn"}
    for slo, short in names.items():
        bad = share or 2 * objectives.budget(slo)
        made = Scenario("burns", f"{slo}, {severity}", f"{PREFIX}{short}")
        for case in CASES:
            volume = volume_of(case, 100)
            part = (1.0 if case == LOW else bad) if is_bad(case) else objectives.budget(slo) / 2
            _sli(made, objectives, slo, case, volume, Rates(volume * part, volume * objectives.budget(slo) / 2))
        labels = {case: {"job": case} for case in CASES}
        on = both(labels, f"{100 * bad:g}%", severity, slo)
        # The page of what is on is told at once, the ticket after a quarter of an hour, and hours after it is over.
        made.expected = {2: [], 25: on, OVER: []} if severity == PAGE else {10: [], 25: on}
        yield made


def _sli(made: Scenario, objectives: Objectives, slo: str, job: str, volume: float, bad: Rates) -> None:
    """The counters of one SLO, and in `quiet` what must not count as bad."""
    every = counter(steady(volume), job)
    good = Rates(volume - bad.fault, volume - bad.otherwise)
    outcome, error = label(semconv.STREAMGAUGE_OUTCOME), label(semconv.ERROR_TYPE)
    granularity = label(semconv.STREAMGAUGE_STREAM_GRANULARITY)
    streams = name(semconv.STREAMS)

    def first(labels: Labels, kind: str, in_time: Rates) -> None:
        late = f"{objectives.first_token_seconds:.1f}"
        made.add(count(semconv.FIRST_CHUNK), {**labels, granularity: kind}, every)
        made.add(bucket(semconv.FIRST_CHUNK), {**labels, granularity: kind, "le": late}, counter(in_time, job))

    def stalls(during: str, rates: Rates, short: Rates) -> None:
        labels = run(job, during=during)
        limit = f"{objectives.stall_seconds:.1f}"
        made.add(count(semconv.STALL_DURATION), labels, counter(rates, job))
        made.add(bucket(semconv.STALL_DURATION), {**labels, "le": limit}, counter(short, job))

    none, all_ = steady(0), steady(volume)
    if slo == FIRST_TOKEN:
        made.add(streams, run(job, **{outcome: "completed"}), every)
        first(run(job), "token", good)
        if job == QUIET:
            # Whole messages are as late as their last token, and a model call within a run is no stream.
            whole = run(job, **{label(semconv.GEN_AI_REQUEST_MODEL): "whole"})
            made.add(streams, {**whole, outcome: "completed"}, every)
            first(whole, "message", none)
            first(run(job, **{label(semconv.STREAMGAUGE_DIALECT): "shipit-agent"}), "token", none)
    elif slo == NO_STALL:
        made.add(streams, run(job, **{outcome: "completed"}), every)
        stalls("generation", bad, none)
        if job == QUIET:
            stalls("tool", all_, none)
            made.add(
                count(semconv.STALL_DURATION),
                run(job, during="generation", **{label(semconv.GEN_AI_REQUEST_MODEL): "short"}),
                every,
            )
            made.add(
                bucket(semconv.STALL_DURATION),
                run(job, during="generation", le=f"{objectives.stall_seconds:.1f}")
                | {label(semconv.GEN_AI_REQUEST_MODEL): "short"},
                every,
            )
    elif slo == ENDS_WELL:
        made.add(streams, run(job, **{outcome: "completed"}), counter(good, job))
        made.add(streams, run(job, **{outcome: "failed", error: "500"}), counter(bad, job))
        if job == QUIET:
            for ended in ("abandoned", "cancelled"):
                made.add(streams, run(job, **{outcome: ended}), every)
            made.add(streams, run(job, **{outcome: "failed", error: "422"}), every)
            # A program's own end, and a tool's failure, which is in the SLO of tools.
            transport = {label(semconv.STREAMGAUGE_TRANSPORT): "inprocess"}
            made.add(streams, run(job, **{outcome: "shutdown", error: "shutdown"}, **transport), every)
            made.add(streams, run(job, "execute_tool", **{outcome: "failed", error: "tool_error"}), every)
    else:
        tool = {label(semconv.GEN_AI_TOOL_NAME): "search"}
        made.add(count(semconv.TOOL_DURATION), run(job, "execute_tool", **tool), counter(good, job))
        made.add(
            count(semconv.TOOL_DURATION), run(job, "execute_tool", **tool, **{error: "timeout"}), counter(bad, job)
        )
        if job == QUIET:
            made.add(
                count(semconv.TOOL_DURATION), run(job, "execute_tool", **tool, **{error: "permission_denied"}), every
            )
