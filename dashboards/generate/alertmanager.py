"""Alertmanager's file: who is told, and what is not told while its explanation is.

Prometheus' own rules keep an alert quiet that has been explained, also for a while after; see `alerts`. Here is the
same once more for alerts that are on at the same time: of several Prometheus servers, or before one could look back.
No alert inhibits one that inhibits it, else both would be lost.
"""

from __future__ import annotations

from typing import Any

from dashboards.generate.alerts import PREFIX, Alert, alerts
from dashboards.generate.objectives import PAGE, TICKET, Objectives
from dashboards.generate.slo import SERVICE
from dashboards.generate.texts import header, to_yaml

__all__ = ["inhibitions", "text"]


def text(objectives: Objectives) -> str:
    return header("Alertmanager: who is told of what. Take the inhibitions into your own file.") + to_yaml(
        {"route": _route(objectives), "inhibit_rules": inhibitions(objectives), "receivers": _receivers(objectives)}
    )


def _route(objectives: Objectives) -> dict[str, Any]:
    def waits(group: str, repeat: str) -> dict[str, str]:
        return {
            "group_wait": objectives.duration(group),
            "group_interval": objectives.duration("5m"),
            "repeat_interval": objectives.duration(repeat),
        }

    return {
        "receiver": "nobody",  # info: to be seen on the boards
        "group_by": ["alertname", "job"],
        **waits("30s", "4h"),
        "routes": [
            {"matchers": [f'severity="{PAGE}"'], "receiver": PAGE},
            {"matchers": [f'severity="{TICKET}"'], "receiver": TICKET, **waits("5m", "3d")},
        ],
    }


def _receivers(objectives: Objectives) -> list[dict[str, Any]]:
    urls = {PAGE: objectives.notify.page_url, TICKET: objectives.notify.ticket_url}
    told = [
        {"name": name, **({"webhook_configs": [{"url": url, "send_resolved": True}]} if url else {})}
        for name, url in urls.items()
    ]
    return [{"name": "nobody"}, *told]


def inhibitions(objectives: Objectives) -> list[dict[str, list[str]]]:
    """As Alertmanager takes them."""
    absent, service = f'alertname="{PREFIX}Absent"', f'service="{SERVICE}"'
    rules = [
        _rule([absent, service], [service, f'alertname!="{PREFIX}Absent"'], "job"),
        # Of one SLO the page says all that its tickets say.
        _rule([f'severity="{PAGE}"', 'slo=~".+"'], [f'severity="{TICKET}"', 'slo=~".+"'], "job", "slo"),
    ]
    before: dict[str, list[str]] = {}
    for alert in alerts(objectives):
        if alert.severity == PAGE and alert.slo:
            earlier = before.setdefault(alert.slo, [])
            if earlier:
                source = [f'severity="{PAGE}"', _one_of("alertname", earlier)]
                rules.append(_rule(source, [_named(alert), f'severity="{PAGE}"'], "job", "slo"))
            earlier.append(alert.name)
        others = [slo for slo in alert.quiet_with if slo != alert.slo]
        if others:
            target = [_named(alert), f'severity="{alert.severity}"']
            rules.append(_rule([f'severity="{PAGE}"', _one_of("slo", others)], target, "job"))
        if alert.also:
            target = [_named(alert), f'severity="{alert.severity}"']
            rules.append(_rule([f'alertname="{alert.also}"'], target, "job"))
    return rules


def _rule(source: list[str], target: list[str], *equal: str) -> dict[str, list[str]]:
    return {"source_matchers": source, "target_matchers": target, "equal": list(equal)}


def _named(alert: Alert) -> str:
    return f'alertname="{alert.name}"'


def _one_of(label: str, values: list[str]) -> str:
    return f'{label}=~"{"|".join(values)}"' if len(values) > 1 else f'{label}="{values[0]}"'
