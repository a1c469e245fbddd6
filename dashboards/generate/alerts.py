"""The alerts, each once: Prometheus' rules, Grafana's, Alertmanager's inhibitions and the tests are made of these.

One cause is told once (docs/decisions/0016): an alert is quiet where another one has paged for the same job, and for an
SLO that it is `quiet_with`, as far back as its own windows remember.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dashboards.generate import conditions
from dashboards.generate.alert import INFO, PREFIX, Alert, quiet
from dashboards.generate.objectives import ENDS_WELL, FIRST_TOKEN, NO_STALL, PAGE, TICKET, TOOLS, Objectives
from dashboards.generate.slo import burns
from dashboards.generate.texts import Expression, header, to_yaml

__all__ = ["INFO", "PREFIX", "Alert", "alerts", "text"]

_MODEL: Final = (
    "{{ $labels.streamgauge_dialect }}{{ with $labels.gen_ai_provider_name }}, {{ . }}{{ end }}"
    "{{ with $labels.gen_ai_request_model }}, {{ . }}{{ end }}"
)
_PERCENT: Final = "{{ $value | humanizePercentage }}"
_COUNT: Final = "{{ $value | humanize }}"
_EACH: Final = '{{ printf "%.2f" $value }}'
_JOB: Final = "{{ $labels.job }}"


_BURNS: Final[Mapping[str, tuple[str, str, str, tuple[str, ...]]]] = {
    # What is silent has no first token yet, and what fails and is tried again has a later one.
    FIRST_TOKEN: (
        "FirstTokenBurn",
        "First tokens are late",
        "of the streams had their first token too late",
        (FIRST_TOKEN, NO_STALL, ENDS_WELL),
    ),
    NO_STALL: ("StallBurn", "Streams stall", "of the streams stalled", (NO_STALL,)),
    # A deadline passes while nothing comes.
    ENDS_WELL: (
        "OutcomeBurn",
        "Streams do not end well",
        "of the streams that their callers did not end failed, were cut or timed out",
        (ENDS_WELL, NO_STALL),
    ),
    TOOLS: ("ToolBurn", "Tool calls fail", "of the tool calls failed", (TOOLS,)),
}
"""SLO: its alert's name, what to say, and the SLOs whose pages explain it."""


def alerts(objectives: Objectives) -> tuple[Alert, ...]:
    """In the order in which they are evaluated: what explains others comes before them."""
    return (*_symptoms(objectives), *_burns(objectives), *_yesterday(objectives), *_health(objectives))


def _burns(objectives: Objectives) -> list[Alert]:
    return [
        _burn(objectives, slo, severity, hold, keep)
        for severity, hold, keep in ((PAGE, "3m", "5m"), (TICKET, "15m", "15m"))
        for slo in _BURNS
    ]


def _burn(objectives: Objectives, slo: str, severity: str, hold: str, keep: str) -> Alert:
    short, summary, what, quiet_with = _BURNS[slo]
    name = f"{PREFIX}{short}"
    # The ticket of one tool says more than that of all.
    also = f"{PREFIX}ToolFailing" if (slo, severity) == (TOOLS, TICKET) else ""
    windows = [burn.long for burn in objectives.burns_of(severity)]
    return Alert(
        name,
        severity,
        burns(objectives, slo, severity, lambda window: quiet(name, severity, quiet_with, also, window)),
        f"{summary}: the error budget of {slo} of {_JOB} burns.",
        f"{_PERCENT} {what}, within {' or '.join(windows)}. {100 * objectives.budget(slo):.4g}% of them may, within"
        f" {objectives.period_days:g} days.",
        hold,
        keep,
        slo,
        quiet_with,
        also,
        labels={"window": ",".join(windows)},
    )


def _symptoms(objectives: Objectives) -> list[Alert]:
    symptom = objectives.symptom
    memory = symptom.window
    return [
        Alert(
            f"{PREFIX}SilentStreams",
            PAGE,
            conditions.silent(objectives),
            f"Streams of {_JOB} have fallen silent.",
            f"{_PERCENT} of the open streams ({_MODEL}) have had nothing from their source for longer than the stall"
            " limit, now. None of them waits for a tool or a person.",
            "1m",
            "5m",
            NO_STALL,
            (NO_STALL,),
            memory=memory,
        ),
        Alert(
            f"{PREFIX}StallRatio",
            PAGE,
            conditions.stalls(objectives),
            f"Streams of {_JOB} stall.",
            f"{_EACH} stalls for each stream that ended ({_MODEL}), within {symptom.window}.",
            "3m",
            "5m",
            NO_STALL,
            (NO_STALL,),
            memory=memory,
        ),
        Alert(
            f"{PREFIX}ErrorInside200",
            PAGE,
            conditions.errors_inside(objectives),
            f"Streams of {_JOB} fail inside an answer with the status 200.",
            f"{_PERCENT} of the streams ({_MODEL}) that their callers did not end failed by an error within the stream,"
            f" within {symptom.window}. No HTTP status tells of these.",
            "1m",
            "5m",
            ENDS_WELL,
            (ENDS_WELL,),
            memory=memory,
        ),
        # Its SLO is the one that suffers when trying again does not help.
        *(
            Alert(
                f"{PREFIX}RetryStorm",
                PAGE,
                condition,
                f"{_JOB} tries again and again.",
                f"{_EACH} retries of a {{{{ $labels.target }}}} for each stream"
                f" ({{{{ $labels.streamgauge_dialect }}}}), within {symptom.window}.",
                "2m",
                "5m",
                slo,
                (slo,),
                memory=memory,
            )
            for slo, condition in (
                (ENDS_WELL, conditions.call_retries(objectives)),
                (TOOLS, conditions.tool_retries(objectives)),
            )
        ),
        Alert(
            f"{PREFIX}ToolFailing",
            TICKET,
            conditions.tools(objectives),
            "The tool {{ $labels.gen_ai_tool_name }} fails.",
            f"{_PERCENT} of the calls of {{{{ $labels.gen_ai_tool_name }}}} by {_JOB} failed, within {symptom.window}.",
            "2m",
            "5m",
            TOOLS,
            (TOOLS,),
            memory=memory,
        ),
        Alert(
            f"{PREFIX}Overloaded",
            PAGE,
            conditions.overloaded(objectives),
            f"{_JOB} turns callers away.",
            f"{_PERCENT} of the requests were refused within {symptom.window} ({{{{ $labels.reason }}}}).",
            "2m",
            "5m",
        ),
    ]


def _yesterday(objectives: Objectives) -> list[Alert]:
    yesterday = objectives.yesterday
    return [
        Alert(
            f"{PREFIX}AbandonmentJump",
            TICKET,
            conditions.abandonment(objectives),
            f"More callers of {_JOB} stop reading than at this time yesterday.",
            f"{_PERCENT} of the streams were abandoned within {yesterday.window}: more than"
            f" {yesterday.abandonment_factor:g} times as many as {yesterday.offset} before.",
            "15m",
            "15m",
            quiet_with=(FIRST_TOKEN, NO_STALL, ENDS_WELL),
            memory=yesterday.window,
        ),
        Alert(
            f"{PREFIX}ChunkRateDrop",
            TICKET,
            conditions.chunk_rate(objectives),
            f"Streams of {_JOB} are slower than at this time yesterday.",
            "{{ with $labels.gen_ai_request_model }}{{ . }}: {{ end }}"
            f"{_EACH} chunks per second and stream within {yesterday.window}, less than"
            f" {yesterday.chunk_rate_factor:g} times what it was {yesterday.offset} before.",
            "15m",
            "15m",
            quiet_with=(NO_STALL,),
            memory=yesterday.window,
        ),
    ]


def _health(objectives: Objectives) -> list[Alert]:
    health = objectives.health
    reason = "{{ $labels.reason }}"
    counted: tuple[tuple[str, str, Callable[[Objectives], str], str, str], ...] = (
        ("TapBlind", TICKET, conditions.blind, f"{_JOB} no longer reads some streams.",
         f"{_COUNT} streams were no longer decoded ({reason}) within {health.window}. Their bytes pass; what they"
         " say is not in the telemetry."),
        ("TapErrors", TICKET, conditions.tap_errors, f"Something beside the streams of {_JOB} fails.",
         f"{_COUNT} failures ({reason}) within {health.window}. The streams themselves are not touched."),
        ("ExportDropped", TICKET, conditions.dropped, f"{_JOB} loses telemetry.",
         f"{_COUNT} {{{{ $labels.telemetry }}}} were not exported ({reason}) within {health.window}."),
        ("LabelsCapped", INFO, conditions.capped, f"A label of {_JOB} has too many values.",
         f"{_COUNT} values of {{{{ $labels.label }}}} became `other` within {health.labels_window}."),
        ("WorkerRestarts", TICKET, conditions.restarts, f"Workers of {_JOB} die.",
         f"{_COUNT} workers were replaced ({reason}) within {health.window}. The streams that they carried were cut."),
    )  # fmt: skip
    return [
        Alert(
            f"{PREFIX}Absent",
            PAGE,
            conditions.absent(objectives),
            f"Nothing is known of {_JOB}.",
            f"Prometheus has had no metrics of {_JOB} for {health.absent_for}: it is down, or it is not scraped. All"
            " other alerts of it are blind.",
            health.absent_for,
        ),
        Alert(
            f"{PREFIX}AddedLatency",
            TICKET,
            conditions.added_latency(objectives),
            f"{_JOB} holds data up.",
            f"{_PERCENT} of the pieces waited more than {health.added_latency_seconds:g} s in"
            " {{ $labels.instance }} from being read to being written.",
            "5m",
            "15m",
        ),
        *(
            Alert(f"{PREFIX}{name}", severity, condition(objectives), summary, description, keep="15m")
            for name, severity, condition, summary, description in counted
        ),
    ]


def text(objectives: Objectives) -> str:
    """Prometheus' file."""
    rules = [_rule(objectives, alert) for alert in alerts(objectives)]
    group = {"name": "streamgauge-alerts", "interval": objectives.evaluation_interval, "rules": rules}
    return header("Alerts for Prometheus; each has its section in docs/runbooks.md.") + to_yaml({"groups": [group]})


def _rule(objectives: Objectives, alert: Alert) -> dict[str, Any]:
    held = {"for": alert.hold, "keep_firing_for": alert.keep}
    return {
        "alert": alert.name,
        "expr": Expression(alert.expression(objectives)),
        **{key: objectives.duration(value) for key, value in held.items() if value},
        "labels": alert.tells,
        "annotations": alert.annotations(objectives),
    }
