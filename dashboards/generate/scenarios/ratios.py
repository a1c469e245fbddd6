"""The recorded series of the SLOs: what is counted, how often, and what there is where nothing happens."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.metrics import bucket, count, label, name
from dashboards.generate.objectives import ENDS_WELL, FIRST_TOKEN, NO_STALL, SLOS, Objectives
from dashboards.generate.scenarios.base import OVER, Scenario, counter, run, steady
from streamgauge import semconv

__all__ = ["ratios"]

_MINUTE: int = 60
"""When it is asked."""
_PACE: int = 60
"""Streams in a minute: one a second."""


def ratios(objectives: Objectives) -> Iterator[Scenario]:
    yield _idle(objectives)
    yield _counted_once(objectives)
    yield _stalls_beyond_streams(objectives)


def _idle(objectives: Objectives) -> Scenario:
    """Streams that ended once, and none since: no share of bad ones, never a NaN, and yet an objective."""
    made = Scenario("ratios", "nothing happens")
    ended = {label(semconv.STREAMGAUGE_OUTCOME): "completed"}
    made.add(name(semconv.STREAMS), run("idle", **ended), f"50+0x{OVER}")
    made.add("streamgauge_build_info", {"job": "idle", "instance": "a:9464", "version": "0.1.0"}, f"1+0x{OVER}")
    labels = f'job="idle", service="streamgauge", slo="{ENDS_WELL}"'
    every = '{__name__=~"slo:.*",job="idle"}'
    made.asked[_MINUTE] = [
        (f'slo:sli_events:rate{objectives.base_window}{{slo="{ENDS_WELL}"}}', {
            f'slo:sli_events:rate{objectives.base_window}{{{labels}}}': 0
        }),
        ('{__name__=~"slo:sli_error:ratio_.*|slo:.*_burn_rate:ratio|slo:period_error_budget_remaining:ratio"}', {}),
        (f"count({every}) - count({every} > -Inf)", {"{}": 0}),  # no NaN is more than anything
        ("count(slo:objective:ratio)", {"{}": len(SLOS)}),
    ]  # fmt: skip
    return made


def _counted_once(objectives: Objectives) -> Scenario:
    """An agent's streams, of which each has a run and three model calls: one event a stream. A tenth is late, a fifth
    fails, as many are abandoned."""
    made = Scenario("ratios", "a stream is one event")
    outcome, error = label(semconv.STREAMGAUGE_OUTCOME), label(semconv.ERROR_TYPE)
    granularity = label(semconv.STREAMGAUGE_STREAM_GRANULARITY)
    late = f"{objectives.first_token_seconds:.1f}"
    agent = {label(semconv.STREAMGAUGE_DIALECT): "shipit-agent"}
    for ended, share in ((("completed", ""), 0.6), (("failed", "_OTHER"), 0.2), (("abandoned", ""), 0.2)):
        labels = run("agent", "invoke_agent", **agent, **{outcome: ended[0]}, **({error: ended[1]} if ended[1] else {}))
        made.add(name(semconv.STREAMS), labels, counter(steady(_PACE * share), "agent"))
    for operation, each, in_time in (("invoke_agent", 1, 0.9), ("chat", 3, 0.0)):
        labels = run("agent", operation, **agent, **{granularity: "token"})
        made.add(count(semconv.FIRST_CHUNK), labels, counter(steady(_PACE * each), "agent"))
        made.add(bucket(semconv.FIRST_CHUNK), {**labels, "le": late}, counter(steady(_PACE * each * in_time), "agent"))
    made.asked[_MINUTE] = [
        (f'round(slo:sli_events:rate{objectives.base_window}, 0.001)', {
            f'{{job="agent", service="streamgauge", slo="{slo}"}}': events
            for slo, events in ((FIRST_TOKEN, 1), (NO_STALL, 1), (ENDS_WELL, 0.8))
        }),
        (f'round(slo:sli_error:ratio_rate{objectives.base_window}, 0.001)', {
            f'{{job="agent", service="streamgauge", slo="{slo}"}}': ratio
            for slo, ratio in ((FIRST_TOKEN, 0.1), (NO_STALL, 0), (ENDS_WELL, 0.25))
        }),
    ]  # fmt: skip
    return made


def _stalls_beyond_streams(objectives: Objectives) -> Scenario:
    """Each stream stalls three times: no more than all of them are bad."""
    made = Scenario("ratios", "more stalls than streams")
    ended = {label(semconv.STREAMGAUGE_OUTCOME): "completed"}
    made.add(name(semconv.STREAMS), run("stalling", **ended), counter(steady(_PACE), "stalling"))
    stalled = run("stalling", during="generation")
    short = {**stalled, "le": f"{objectives.stall_seconds:.1f}"}
    made.add(count(semconv.STALL_DURATION), stalled, counter(steady(3 * _PACE), "stalling"))
    made.add(bucket(semconv.STALL_DURATION), short, counter(steady(0), "stalling"))
    ratio = f'round(slo:sli_error:ratio_rate{objectives.base_window}{{slo="{NO_STALL}"}}, 0.001)'
    made.asked[_MINUTE] = [(ratio, {f'{{job="stalling", service="streamgauge", slo="{NO_STALL}"}}': 1})]
    return made
