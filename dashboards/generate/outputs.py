"""The files of rules: those of Prometheus with their tests, Alertmanager's, and the alerts for Grafana."""

from __future__ import annotations

from dashboards.generate import alertmanager, alerts, grafana_alerts, promtool, recording
from dashboards.generate.objectives import Objectives

__all__ = ["rule_outputs"]


def rule_outputs(objectives: Objectives) -> dict[str, str]:
    """Path below `dashboards/`: text. The tests are of windows as they are, not of scaled ones."""
    return {
        "prometheus/streamgauge.rules.yml": recording.text(objectives),
        "prometheus/streamgauge.alerts.yml": alerts.text(objectives),
        "alertmanager/alertmanager.yml": alertmanager.text(objectives),
        "provisioning/alerting/streamgauge.yml": grafana_alerts.text(objectives),
        **(promtool.outputs(objectives) if objectives.time_scale == 1 else {}),
    }
