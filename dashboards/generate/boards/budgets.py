"""The row on objectives, of the board Overview and SLO."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate.boards.links import alerts_firing, runbooks
from dashboards.generate.boards.panels import Target, below, lines, number
from dashboards.generate.boards.tables import Column, table
from dashboards.generate.objectives import Objectives

__all__ = ["NOT_RECORDED", "budgets"]

NOT_RECORDED: Final = "no streams yet, or no rules"
"""The budgets are recorded by rules: where these are not loaded, there are none."""


def budgets(objectives: Objectives) -> list[Any]:
    slo = 'job=~"$job"'
    first, *rest = sorted(burn.factor for burn in objectives.burns)
    fastest = rest[-1] if rest else first
    return [
        number(
            "Error budget left, by objective",
            "What each objective still allows in its period: 100 % is untouched, below 0 % it is missed. "
            "first-token: the first token came in time. no-stall: no silence in mid-stream. ends-well: completed, "
            "of those that the caller did not end. tools: tool calls that succeeded.",
            "percentunit",
            [Target(f"min by (slo) (slo:period_error_budget_remaining:ratio{{{slo}}})", "{{slo}}")],
            no_value=NOT_RECORDED,
            span=6,
            height=8,
            steps=below(0, 0.25),
            named=True,
            decimals=1,
        ),
        lines(
            "Burn rate",
            "How many times faster than the objective allows its budget is used up. 1 uses it up just in time. The "
            f"lines are where alerts begin: {objectives.period_days:g} days' budget that burns at {fastest:g} is "
            f"gone in {objectives.period_days / fastest:.1f} days.",
            "suffix:x",
            [Target(f"max by (slo) (slo:current_burn_rate:ratio{{{slo}}})", "{{slo}}")],
            no_value=NOT_RECORDED,
            span=9,
            steps=((None, "green"), (first, "yellow"), *((factor, "red") for factor in rest)),
        ),
        table(
            "Which alerts fire",
            "Which alerts of streamgauge fire now. The runbook says for each what it means, how to look and what to "
            "do. Empty is good.",
            {"alertname": "Alert", "severity": "Severity", "slo": "Objective", "job": "Job"},
            [Column("Firing", f"count by (alertname, severity, slo, job) ({alerts_firing()})", "none")],
            span=9,
            height=8,
            no_value="no alert fires",
            hidden=["Firing"],
            links=runbooks(objectives.runbook_url),
        ),
    ]
