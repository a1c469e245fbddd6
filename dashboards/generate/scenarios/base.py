"""What a scenario is, and the counters that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dashboards.generate.metrics import COMMON, label
from streamgauge import semconv

__all__ = [
    "CASES",
    "FAULT",
    "FIRING",
    "LOW",
    "OVER",
    "QUIET",
    "RESTARTS",
    "TORN",
    "Expected",
    "Labels",
    "Rates",
    "Scenario",
    "both",
    "counter",
    "gauge",
    "is_bad",
    "model_of",
    "run",
    "steady",
    "volume_of",
]

FIRING, QUIET, LOW, RESTARTS, TORN = CASES = ("firing", "quiet", "low", "restarts", "torn")
MINUTE: Final = "1m"
FAULT: Final = 30
"""Minutes that a fault lasts."""
OVER: Final = 80
"""Minutes until all that looked at it has forgotten it, but for tickets."""
RESTART: Final = 4
"""Minutes between two restarts: there is one in each window."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Expected:
    """An alert that is to be on."""

    labels: Labels
    """Of its series."""
    value: str
    """As the description has it."""
    severity: str = ""
    slo: str = ""
    """Both tell apart alerts of one name."""


@dataclass(slots=True)
class Scenario:
    file: str
    name: str
    alert: str = ""
    interval: str = MINUTE
    """Between two values."""
    evaluated: str = MINUTE
    """Between two evaluations of the rules: of all scenarios of a file."""
    series: dict[str, str] = field(default_factory=dict)
    """Series: its values, as promtool writes them."""
    expected: dict[int, list[Expected]] = field(default_factory=dict)
    """Minute: what is on then."""
    asked: dict[int, list[tuple[str, Mapping[str, float]]]] = field(default_factory=dict)
    """Minute: PromQL, and the series that it gives then."""

    def add(self, metric: str, labels: Labels, values: str) -> None:
        named = ",".join(f'{key}="{value}"' for key, value in labels.items())
        self.series[f"{metric}{{{named}}}"] = values


@dataclass(frozen=True, slots=True)
class Rates:
    """Of a counter, for each minute: in the fault, and else."""

    fault: float
    otherwise: float = 0


def steady(rate: float) -> Rates:
    return Rates(rate, rate)


def counter(rates: Rates, case: str) -> str:
    """The values of a counter over a fault and the time after it."""
    phases = [(rates.fault, FAULT), (rates.otherwise, OVER - FAULT)]
    if case in (RESTARTS, TORN):
        runs = [rate for rate, minutes in phases for _ in range(round(minutes / RESTART))]
        return " ".join(f"0+{rate:g}x{RESTART - 1}" for rate in runs)
    (fault, during), (otherwise, after) = phases
    return f"0+{fault:g}x{during} {fault * during + otherwise:g}+{otherwise:g}x{after}"


def gauge(during: float, after: float) -> str:
    return f"{during:g}+0x{FAULT} {after:g}+0x{OVER - FAULT}"


def run(job: str, operation: str = "chat", **labels: str) -> dict[str, str]:
    """The labels of a stream of the proxy's; empty ones are left out, as Prometheus does."""
    common = dict.fromkeys(COMMON, "")
    common |= {
        label(semconv.GEN_AI_OPERATION_NAME): operation,
        label(semconv.GEN_AI_PROVIDER_NAME): "openai",
        label(semconv.GEN_AI_REQUEST_MODEL): "gpt-5",
        label(semconv.STREAMGAUGE_DIALECT): "openai-chat",
        label(semconv.STREAMGAUGE_TRANSPORT): "http",
    }
    given = {"job": job, "instance": "a:9464", **common, **labels}
    return {key: value for key, value in given.items() if value}


def model_of(job: str) -> dict[str, str]:
    """What the alerts of a model are told apart by."""
    by = (semconv.STREAMGAUGE_DIALECT, semconv.GEN_AI_PROVIDER_NAME, semconv.GEN_AI_REQUEST_MODEL)
    labels = run(job)
    return {"job": job, **{label(attribute): labels[label(attribute)] for attribute in by}}


def volume_of(case: str, volume: float) -> float:
    return volume / 100 if case == LOW else volume


def is_bad(case: str) -> bool:
    return case in (FIRING, LOW, TORN)


def both(labels: Mapping[str, Labels], value: str, severity: str = "", slo: str = "") -> list[Expected]:
    """The alert is on in the two jobs that have the fault and enough traffic."""
    return [Expected(labels[case], value, severity, slo) for case in (FIRING, TORN)]
