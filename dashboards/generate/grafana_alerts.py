"""The same alerts as Grafana evaluates them itself, for a Prometheus whose rules one may not write.

They read the recorded series, so the recording rules are wanted all the same. What keeps an alert quiet while it is
explained looks at Prometheus' own alerts; where those are not loaded, each alert is told by itself.

Source: Grafana, pkg/services/provisioning/alerting (`keepFiringFor` is spelt like this, and is not known before 12).
"""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate.alerts import PREFIX, Alert, alerts
from dashboards.generate.objectives import Objectives
from dashboards.generate.texts import Expression, header, to_yaml

__all__ = ["DATASOURCE", "FOLDER", "text"]

DATASOURCE: Final = "prometheus"
"""The uid of the data source."""
FOLDER: Final = "streamgauge"
_LOOK_BACK_S: Final = 600
"""What a query may see; an instant query takes the newest of it."""


def text(objectives: Objectives) -> str:
    group = {
        "orgId": 1,
        "name": "streamgauge-alerts",
        "folder": FOLDER,
        "interval": objectives.evaluation_interval,
        "rules": [_rule(objectives, alert) for alert in alerts(objectives)],
    }
    return header(
        "Alerts that Grafana evaluates: instead of those of Prometheus, not besides them.\n"
        f"The data source's uid is `{DATASOURCE}`."
    ) + to_yaml({"apiVersion": 1, "groups": [group]})


def _rule(objectives: Objectives, alert: Alert) -> dict[str, Any]:
    keep = {"keepFiringFor": objectives.duration(alert.keep)} if alert.keep else {}
    return {
        "uid": _uid(alert),
        "title": _title(alert),
        "condition": "C",
        "data": [
            _query(
                "A", DATASOURCE, {"expr": Expression(alert.expression(objectives)), "instant": True, "range": False}
            ),
            # A series that is there is an alert that is on, whatever its value.
            _query("C", "__expr__", {"type": "math", "expression": "is_number($A) || is_nan($A) || is_inf($A)"}),
        ],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": objectives.duration(alert.hold) if alert.hold else "0s",
        **keep,
        "labels": alert.tells,
        "annotations": {
            name: words.replace("$value", "$values.A.Value") for name, words in alert.annotations(objectives).items()
        },
    }


def _query(ref_id: str, datasource: str, model: dict[str, Any]) -> dict[str, Any]:
    kind = "__expr__" if datasource == "__expr__" else "prometheus"
    return {
        "refId": ref_id,
        "relativeTimeRange": {"from": _LOOK_BACK_S, "to": 0},
        "datasourceUid": datasource,
        "model": {"refId": ref_id, "datasource": {"type": kind, "uid": datasource}, **model},
    }


def _title(alert: Alert) -> str:
    """Unlike those of Prometheus no two may be called the same."""
    return " ".join((alert.name, *filter(None, (alert.slo, alert.severity))))


def _uid(alert: Alert) -> str:
    short = alert.anchor.removeprefix(PREFIX.lower())
    return "-".join(("sg", short, *filter(None, (alert.slo, alert.severity))))
