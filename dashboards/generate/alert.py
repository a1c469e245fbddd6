"""One alert, and when it is quiet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dashboards.generate.objectives import PAGE, Objectives
from dashboards.generate.slo import SERVICE

__all__ = ["INFO", "PREFIX", "Alert", "quiet"]

INFO: Final = "info"
PREFIX: Final = "Streamgauge"


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    severity: str
    condition: str
    """PromQL, without what keeps it quiet."""
    summary: str
    description: str
    hold: str = ""
    """How long the condition holds before the alert fires; empty where that is at once."""
    keep: str = ""
    """How long it goes on firing after that."""
    slo: str = ""
    """The one that it tells of; empty where it tells of none."""
    quiet_with: tuple[str, ...] = ()
    """The SLOs whose pages explain it."""
    also: str = ""
    """The name of a ticket that explains it, too."""
    memory: str = ""
    """How far back the condition looks; empty where `condition` has that in itself."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Beyond `service`, `severity` and `slo`."""

    @property
    def anchor(self) -> str:
        """Of its section in the runbook."""
        return self.name.lower()

    @property
    def tells(self) -> dict[str, str]:
        """Its labels, beyond those of the series."""
        own = {"severity": self.severity, "service": SERVICE}
        return {**own, **({"slo": self.slo} if self.slo else {}), **self.labels}

    def annotations(self, objectives: Objectives) -> dict[str, str]:
        return {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{objectives.runbook_url}#{self.anchor}",
        }

    def expression(self, objectives: Objectives) -> str:
        """PromQL: one series for each alert that is on."""
        if not self.memory:
            return self.condition
        condition = f"({self.condition})" if "\nor\n" in self.condition else self.condition
        window = objectives.duration(self.memory)
        return f"{condition}\n{quiet(self.name, self.severity, self.quiet_with, self.also, window)}"


def quiet(name: str, severity: str, slos: tuple[str, ...], also: str, window: str) -> str:
    """PromQL at the end of a condition: what has been told already is not told again."""
    other = f',alertname!="{name}"' if severity == PAGE else ""
    told = [f'severity="{PAGE}",slo=~"{"|".join(slos)}"{other}', *([f'alertname="{also}"'] if also else [])]
    return "\n".join(
        f'unless on (job) present_over_time(ALERTS{{alertstate="firing",{selector}}}[{window}])' for selector in told
    )
