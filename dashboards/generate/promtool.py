"""The unit tests of the rules, for `promtool test rules`.

A test of an alert has several jobs at once, which do not see each other: in `firing` there is a fault, for half an
hour; in `quiet` there is none, but all that may be taken for it; in `low` everything is bad, but there is next to
nothing of it; in `restarts` all counters begin anew again and again, and nothing is wrong; in `torn` they do, and there
is the fault. The alert fires for `firing` and `torn`, and for no other; and no longer, some time after the fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dashboards.generate import scenarios
from dashboards.generate.alerts import Alert, alerts
from dashboards.generate.objectives import Objectives
from dashboards.generate.scenarios import Expected, Scenario
from dashboards.generate.texts import header, to_yaml

__all__ = ["outputs", "rendered"]

_RULES: Final = ["../streamgauge.rules.yml", "../streamgauge.alerts.yml"]
_WITH: Final = re.compile(r"{{ with \$labels\.(\w+) }}(.*?){{ \. }}(.*?){{ end }}")
_LABEL: Final = re.compile(r"{{ \$labels\.(\w+) }}")
_VALUE: Final = re.compile(r"{{ (?:\$value \| \w+|printf \"[^\"]*\" \$value) }}")


def outputs(objectives: Objectives) -> dict[str, str]:
    """Path below `dashboards/`: text."""
    by_file: dict[str, list[dict[str, Any]]] = {}
    intervals: dict[str, str] = {}
    for scenario in scenarios.scenarios(objectives):
        by_file.setdefault(scenario.file, []).append(_test(objectives, scenario))
        intervals[scenario.file] = scenario.evaluated
    return {
        f"prometheus/tests/{file}.yml": header("Tests for `promtool test rules`.")
        + to_yaml({"rule_files": _RULES, "evaluation_interval": intervals[file], "tests": tests})
        for file, tests in by_file.items()
    }


def _test(objectives: Objectives, scenario: Scenario) -> dict[str, Any]:
    alerted = [
        {
            "eval_time": f"{minute}m",
            "alertname": scenario.alert,
            "exp_alerts": [_expected(objectives, scenario.alert, each) for each in expected],
        }
        for minute, expected in scenario.expected.items()
    ]
    asked = [
        {
            "eval_time": f"{minute}m",
            "expr": expression,
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
        }
        for minute, questions in scenario.asked.items()
        for expression, samples in questions
    ]
    return {
        "name": scenario.name,
        "interval": scenario.interval,
        "input_series": [{"series": series, "values": values} for series, values in scenario.series.items()],
        **{key: tests for key, tests in (("alert_rule_test", alerted), ("promql_expr_test", asked)) if tests},
    }


def _expected(objectives: Objectives, name: str, expected: Expected) -> dict[str, Any]:
    alert = _alert(objectives, name, expected)
    labels = {**alert.tells, **expected.labels}
    annotations = alert.annotations(objectives)
    return {
        "exp_labels": labels,
        "exp_annotations": {key: rendered(words, labels, expected.value) for key, words in annotations.items()},
    }


def _alert(objectives: Objectives, name: str, expected: Expected) -> Alert:
    wanted = {key: value for key, value in (("severity", expected.severity), ("slo", expected.slo)) if value}
    (found,) = (alert for alert in alerts(objectives) if alert.name == name and wanted.items() <= alert.tells.items())
    return found


def rendered(template: str, labels: Mapping[str, str], value: str) -> str:
    """A template as Prometheus fills it in, of those that the alerts are written with."""
    text = _WITH.sub(lambda found: f"{found[2]}{labels[found[1]]}{found[3]}" if labels.get(found[1]) else "", template)
    text = _LABEL.sub(lambda found: labels.get(found[1], ""), text)
    return _VALUE.sub(lambda _: value, text)
