"""The recording rules: the series of the SLOs, in the shape that users of Sloth know, and those of yesterday's alerts.

Only the shortest window reads the counters themselves. The longer ones are put together of what that has recorded, as
sums of events over sums of events: three days of every series of a histogram would be read each minute otherwise, and
an average of ratios would weigh a quiet night like a busy day.
"""

from __future__ import annotations

from typing import Any

from dashboards.generate.metrics import count, label, name, total
from dashboards.generate.objectives import Objectives, seconds_of
from dashboards.generate.slo import NOT_GENERATED, SERVICE, Sli, events_of, slis
from dashboards.generate.texts import Expression, header, to_yaml
from streamgauge import semconv

__all__ = ["ABANDONED", "CHUNK_COUNT", "CHUNK_MEAN", "ENDED", "text"]

_MODEL = f"{label(semconv.GEN_AI_PROVIDER_NAME)}, {label(semconv.GEN_AI_REQUEST_MODEL)}"
_OUTCOME = label(semconv.STREAMGAUGE_OUTCOME)
ENDED = "job:streamgauge_streams:rate{window}"
ABANDONED = "job:streamgauge_streams_abandoned:ratio_rate{window}"
CHUNK_COUNT = "job_provider_model:streamgauge_stream_chunk_rate_count:rate{window}"
CHUNK_MEAN = "job_provider_model:streamgauge_stream_chunk_rate:mean{window}"


def text(objectives: Objectives) -> str:
    groups = [
        # One group: its rules are evaluated one after the other, at one time.
        _group(
            objectives,
            "streamgauge-slo",
            [
                *(rule for sli in slis(objectives) for rule in _sli_rules(objectives, sli)),
                *_window_rules(objectives),
                *_budget_rules(objectives),
            ],
        ),
        _group(objectives, "streamgauge-yesterday", _yesterday_rules(objectives)),
    ]
    return header("Recording rules for Prometheus.") + to_yaml({"groups": groups})


def _group(objectives: Objectives, group: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": group, "interval": objectives.evaluation_interval, "rules": rules}


def _rule(record: str, expression: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"record": record, "expr": Expression(expression), **({"labels": labels} if labels else {})}


def _sli_rules(objectives: Objectives, sli: Sli) -> list[dict[str, Any]]:
    """What happened, and what should: without a bad event the share is 0, and without an event there is none."""
    window, labels = objectives.base_window, {"service": SERVICE, "slo": sli.slo}
    events = events_of(objectives, sli.slo)
    every_job = "group by (job) (streamgauge_build_info)"
    return [
        _rule(f"slo:sli_events:rate{window}", sli.events, labels),
        *(_rule(record, expression) for record, expression in sli.before),
        _rule(f"slo:sli_errors:rate{window}", f"(\n{sli.bad}\n)\nor on (job)\n0 * {events}", labels),
        _rule("slo:objective:ratio", f"{every_job} * {objectives.targets[sli.slo]:g}", labels),
        _rule("slo:error_budget:ratio", f"{every_job} * {objectives.budget(sli.slo):g}", labels),
        _rule("slo:time_period:days", f"{every_job} * {objectives.period_days:g}", labels),
    ]


def _window_rules(objectives: Objectives) -> list[dict[str, Any]]:
    base = objectives.base_window
    errors, events = f"slo:sli_errors:rate{base}", f"slo:sli_events:rate{base}"
    rules = [_rule(f"slo:sli_error:ratio_rate{base}", f"{errors} / ({events} > 0)")]
    # A value stands for the time until the next: where there is none there were no events.
    step = seconds_of(objectives.evaluation_interval)
    for window in (*objectives.windows[1:], objectives.period):
        over, seconds = objectives.duration(window), objectives.seconds(window)
        summed = f"sum_over_time({events}[{over}])"
        rules += [
            _rule(f"slo:sli_events:rate{window}", f"{summed} * {step:g} / {seconds:.10g}"),
            _rule(f"slo:sli_error:ratio_rate{window}", f"sum_over_time({errors}[{over}]) / ({summed} > 0)"),
        ]
    return rules


def _budget_rules(objectives: Objectives) -> list[dict[str, Any]]:
    budget = "slo:error_budget:ratio"
    return [
        _rule("slo:current_burn_rate:ratio", f"slo:sli_error:ratio_rate{objectives.base_window} / {budget}"),
        _rule("slo:period_burn_rate:ratio", f"slo:sli_error:ratio_rate{objectives.period} / {budget}"),
        _rule("slo:period_error_budget_remaining:ratio", "1 - slo:period_burn_rate:ratio"),
    ]


def _yesterday_rules(objectives: Objectives) -> list[dict[str, Any]]:
    window = objectives.yesterday.window
    over = objectives.duration(window)
    streams = name(semconv.STREAMS)
    rated = f'{label(semconv.STREAMGAUGE_STREAM_GRANULARITY)}="token"'
    counted, summed = (
        f"sum by (job, {_MODEL}) (rate({series}{{{rated}}}[{over}]))"
        for series in (count(semconv.CHUNK_RATE), total(semconv.CHUNK_RATE))
    )
    ended = f"sum by (job) (rate({streams}{{{NOT_GENERATED}}}[{over}]))"
    abandoned = f'sum by (job) (rate({streams}{{{NOT_GENERATED},{_OUTCOME}="abandoned"}}[{over}]))'
    given = {"window": window}
    return [
        _rule(ENDED.format(**given), ended),
        _rule(ABANDONED.format(**given), f"({abandoned} or 0 * {ended})\n/ ({ended} > 0)"),
        _rule(CHUNK_COUNT.format(**given), counted),
        _rule(CHUNK_MEAN.format(**given), f"{summed}\n/ ({counted} > 0)"),
    ]
