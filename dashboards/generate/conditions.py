"""When a stream, or streamgauge itself, is ill: the PromQL of the alerts that are of no budget.

A share has events enough behind it, or there is none. What is counted rarely is counted from its first time on.
"""

from __future__ import annotations

from typing import Final

from dashboards.generate.metrics import bucket, count, label, name
from dashboards.generate.objectives import Objectives
from dashboards.generate.recording import ABANDONED, CHUNK_COUNT, CHUNK_MEAN, ENDED
from dashboards.generate.slo import FAILED, NOT_GENERATED, bound, own_ends, tool_calls
from streamgauge import semconv

__all__ = [
    "NOT_IN_AN_ANSWER",
    "abandonment",
    "absent",
    "added_latency",
    "blind",
    "call_retries",
    "capped",
    "chunk_rate",
    "dropped",
    "errors_inside",
    "overloaded",
    "restarts",
    "silent",
    "stalls",
    "tap_errors",
    "tool_retries",
    "tools",
]

_DIALECT: Final = label(semconv.STREAMGAUGE_DIALECT)
_MODEL: Final = f"job, {_DIALECT}, {label(semconv.GEN_AI_PROVIDER_NAME)}, {label(semconv.GEN_AI_REQUEST_MODEL)}"
_ERROR: Final = label(semconv.ERROR_TYPE)

NOT_IN_AN_ANSWER: Final = (
    "[1-5][0-9][0-9]",  # the status itself
    "connect_error", "connection_lost", "tls_error", "bad_response", "no_response",  # there was no answer
    "bad_request", "body_too_large", "headers_too_large", "request_timeout",  # the proxy did not take the request
    "httpx2?[.].*",  # a client's own words for these
)  # fmt: skip
"""The error types of streams over HTTP that failed before they could tell so themselves."""
_HTTP: Final = f'{label(semconv.STREAMGAUGE_TRANSPORT)}=~"asgi|http|httpx"'


def _rate(series: str, selector: str, by: str, window: str) -> str:
    return f"sum by ({by}) (rate({series}{f'{{{selector}}}' if selector else ''}[{window}]))"


def _share(part: str, whole: str, limit: float, enough: str) -> str:
    return f"{part}\n/ ({whole} > 0)\n> {limit:g}\nand {enough}"


def silent(objectives: Objectives) -> str:
    symptom = objectives.symptom
    window = objectives.duration(symptom.silent_window)
    now, open_ = (
        f"sum by ({_MODEL}) (avg_over_time({name(metric)}[{window}]))" for metric in (semconv.SILENT, semconv.ACTIVE)
    )
    return _share(now, open_, symptom.silent_ratio, f"{now} >= {symptom.minimum_silent:g}")


def _enough(series: str, selector: str, by: str, window: str, minimum: float) -> str:
    return f"sum by ({by}) (increase({series}{f'{{{selector}}}' if selector else ''}[{window}])) >= {minimum:g}"


def stalls(objectives: Objectives) -> str:
    symptom = objectives.symptom
    window, streams = objectives.duration(symptom.window), name(semconv.STREAMS)
    stalled = _rate(name(semconv.STALLS), f'during="generation",{NOT_GENERATED}', _MODEL, window)
    return _share(
        stalled,
        _rate(streams, NOT_GENERATED, _MODEL, window),
        symptom.stall_ratio,
        _enough(streams, NOT_GENERATED, _MODEL, window, symptom.minimum_streams),
    )


def errors_inside(objectives: Objectives) -> str:
    """Of those that failed, what did not happen before or instead of an answer. An error within a stream that its
    provider gives nothing but the number of a status is taken for that status."""
    symptom = objectives.symptom
    window, streams = objectives.duration(symptom.window), name(semconv.STREAMS)
    own = f"{own_ends(objectives)},{_HTTP}"
    inside = f'{own},{label(semconv.STREAMGAUGE_OUTCOME)}="failed",{_ERROR}!~"{"|".join(NOT_IN_AN_ANSWER)}"'
    return _share(
        _rate(streams, inside, _MODEL, window),
        _rate(streams, own, _MODEL, window),
        symptom.error_ratio,
        _enough(streams, own, _MODEL, window, symptom.minimum_streams),
    )


def _retries(objectives: Objectives, target: str, limit: float) -> str:
    """Of a dialect as a whole: a retry has the model of the call that is tried again, a stream that of its run."""
    symptom = objectives.symptom
    window, streams, by = objectives.duration(symptom.window), name(semconv.STREAMS), f"job, {_DIALECT}"
    again = _rate(name(semconv.RETRIES), f'target="{target}"', f"{by}, target", window)
    return (
        f"{again}\n/ on ({by}) group_left () ({_rate(streams, '', by, window)} > 0)\n> {limit:g}\n"
        f"and on ({by}) {_enough(streams, '', by, window, symptom.minimum_streams)}"
    )


def call_retries(objectives: Objectives) -> str:
    """A request that is tried again is one more stream, so that these are a share; of model calls a stream has many."""
    symptom = objectives.symptom
    return "\nor\n".join(
        (
            _retries(objectives, "request", symptom.request_retries),
            _retries(objectives, "model", symptom.other_retries),
        )
    )


def tool_retries(objectives: Objectives) -> str:
    return _retries(objectives, "tool", objectives.symptom.other_retries)


def tools(objectives: Objectives) -> str:
    symptom = objectives.symptom
    window, calls = objectives.duration(symptom.window), count(semconv.TOOL_DURATION)
    by = f"job, {label(semconv.GEN_AI_TOOL_NAME)}"
    return _share(
        f"sum by ({by}) (rate({calls}{tool_calls(objectives, FAILED)}[{window}]))",
        f"sum by ({by}) (rate({calls}{tool_calls(objectives)}[{window}]))",
        symptom.tool_ratio,
        f"sum by ({by}) (increase({calls}{tool_calls(objectives)}[{window}])) >= {symptom.minimum_tool_calls:g}",
    )


def overloaded(objectives: Objectives) -> str:
    """What is refused is no stream: it is in no SLO."""
    health, window = objectives.health, objectives.duration(objectives.symptom.window)
    full, streams = 'reason=~"connections|overloaded"', _rate(name(semconv.STREAMS), "", "job", window)
    refused = _rate(name(semconv.REFUSED), full, "job, reason", window)
    every = f"({_rate(name(semconv.REFUSED), full, 'job', window)} + ({streams} or on (job) 0 * group by (job) (up)))"
    return (
        f"{refused}\n/ on (job) group_left () ({every} > 0)\n> {health.overloaded_ratio:g}\n"
        f"and {_enough(name(semconv.REFUSED), full, 'job, reason', window, health.minimum_refused)}"
    )


def abandonment(objectives: Objectives) -> str:
    yesterday = objectives.yesterday
    given = {"window": yesterday.window}
    ratio, streams = ABANDONED.format(**given), ENDED.format(**given)
    before = f"offset {objectives.duration(yesterday.offset)}"
    enough = f"* {objectives.seconds(yesterday.window):.10g} >= {yesterday.minimum_streams:g}"
    return (
        f"{ratio} > {yesterday.abandonment_factor:g} * {ratio} {before}\n"
        f"and {ratio} - {ratio} {before} > {yesterday.abandonment_rise:g}\n"
        f"and {streams} {enough}\n"
        f"and {streams} {before} {enough}"
    )


def chunk_rate(objectives: Objectives) -> str:
    yesterday = objectives.yesterday
    given = {"window": yesterday.window}
    mean, streams = CHUNK_MEAN.format(**given), CHUNK_COUNT.format(**given)
    before = f"offset {objectives.duration(yesterday.offset)}"
    enough = f"* {objectives.seconds(yesterday.window):.10g} >= {yesterday.minimum_streams:g}"
    return (
        f"{mean} < {yesterday.chunk_rate_factor:g} * {mean} {before}\n"
        f"and {streams} {enough}\n"
        f"and {streams} {before} {enough}"
    )


# Health -------------------------------------------------------------------------------------------------------------


def absent(objectives: Objectives) -> str:
    return "\nor\n".join(f'absent(streamgauge_build_info{{job="{job}"}})' for job in objectives.jobs)


def added_latency(objectives: Objectives) -> str:
    health, window = objectives.health, objectives.duration(objectives.symptom.window)
    by = "job, instance"
    pieces = _rate(count(semconv.ADDED_LATENCY), "", by, window)
    quick = _rate(bucket(semconv.ADDED_LATENCY), bound(health.added_latency_seconds), by, window)
    return (
        f"1 - {quick} / ({pieces} > 0)\n> {health.added_latency_ratio:g}\n"
        f"and {_enough(count(semconv.ADDED_LATENCY), '', by, window, health.minimum_pieces)}"
    )


def blind(objectives: Objectives) -> str:
    return _counted(objectives, semconv.TAP_BLIND, "job, reason", objectives.health.minimum_count)


def tap_errors(objectives: Objectives) -> str:
    return _counted(objectives, semconv.TAP_ERRORS, "job, reason", objectives.health.minimum_count)


def dropped(objectives: Objectives) -> str:
    return _counted(objectives, semconv.EXPORT_DROPPED, "job, telemetry, reason", objectives.health.minimum_dropped)


def restarts(objectives: Objectives) -> str:
    return _counted(objectives, semconv.WORKER_RESTARTS, "job, reason", objectives.health.minimum_count)


def capped(objectives: Objectives) -> str:
    health = objectives.health
    return _counted(objectives, semconv.LABELS_CAPPED, "job, label", health.minimum_capped, health.labels_window)


def _counted(objectives: Objectives, metric: semconv.Metric, by: str, minimum: float, window: str | None = None) -> str:
    """A series is there from its first event on, which `increase` does not see: in a target that was scraped before the
    window, and had none then, the whole value is new."""
    over = objectives.duration(window or objectives.health.window)
    series = name(metric)
    fresh = f"({series} unless {series} offset {over}) and on (job, instance) up offset {over}"
    return f"sum by ({by}) (\n  {fresh}\n  or\n  increase({series}[{over}])\n)\n>= {minimum:g}"
