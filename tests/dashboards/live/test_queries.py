"""Every query of the boards and every rule, asked of a real Prometheus that watches real streams."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pytest
from dashboards.generate.metrics import EMITTED
from livestack.boards import Target, filled, read_annotations, read_targets, read_variables
from livestack.processes import ROOT
from livestack.prometheus import Answer
from livestack.rules import Rule, compared, read_rules
from livestack.system import MACROS, System

from streamgauge.wire import Outcome

pytestmark = pytest.mark.timeout(180)

Chosen: TypeAlias = Mapping[str, Sequence[str]]
"""Values by variable."""

SHOWN_S = 20.0
PATIENCE_S = 5.0
GRAFANA = ROOT / "dashboards" / "grafana"
TARGETS = read_targets(GRAFANA)
RULES = read_rules(ROOT / "dashboards" / "prometheus")
"""In the order of the files. The tests' own have other windows, and so other names, in the same places."""
RECORDED = [place for place, rule in enumerate(RULES) if not rule.alert]

NO_VALUE_CHOOSES: Mapping[tuple[str, str], str] = {}
"""(query, variable): why no single value of the variable has anything to show. A query that has is to be taken out."""

ALSO_WHEN_IDLE = re.compile(
    r"\b(up|streamgauge_build_info|target_info|scrape_\w+|streamgauge_proxy_workers|slo:period_error_budget\w+:ratio)\b"
)
"""What is there, and more than 0, without any stream: processes, and budgets that nobody uses."""

_ASIDE = re.compile(r"unless on \(job\) present_over_time\(ALERTS\{[^}]*\}\[\w+\]\)")
"""What keeps an alert quiet: whether something has been told already."""


def _asked(system: System, expr: str, chosen: Chosen | None = None) -> list[Answer]:
    """At one time, and over a while. No answer, empty or not, is an error, has a warning, or is no number."""
    query = filled(expr, MACROS, chosen)
    now = system.prometheus.now()
    answers = [system.prometheus.ask(query, now), system.prometheus.over(query, now - SHOWN_S, now)]
    assert [fault for answer in answers for fault in answer.faults()] == []
    return answers


def _found(system: System, expr: str, *choices: Chosen) -> list[Answer]:
    """The same, for the first choice that both have something for. On a busy machine a scrape may be late: so they are
    asked again for a while before there is nothing."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        for chosen in choices or ({},):
            answers = _asked(system, expr, chosen)
            if all(answer.series for answer in answers):
                return answers
        if time.monotonic() > deadline:
            return []


def test_there_is_something_to_ask() -> None:
    assert {target.panel.board for target in TARGETS} == {"overview", "quality", "agents", "compare", "health"}
    assert len(TARGETS) > 100
    assert {rule.alert for rule in RULES} == {True, False}


def test_all_that_is_emitted_occurs(aged: System) -> None:
    """So that nothing that is asked for can be missing for want of it."""
    names = "|".join(EMITTED)
    query = f'count by (__name__) ({{__name__=~"{names}"}})'
    assert {series.labels["__name__"] for series in aged.prometheus.ask(query).series} == EMITTED.keys()
    ended = aged.prometheus.ask("count by (streamgauge_outcome) (streamgauge_streams_total)")
    assert {series.labels["streamgauge_outcome"] for series in ended.series} == set(Outcome)


# Boards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.id)
def test_every_query_has_an_answer(aged: System, target: Target) -> None:
    answers = _found(aged, target.expr)
    assert answers
    for answer in answers:
        # An empty label is none; but each line has a name of its own.
        assert target.labels <= {name for series in answer.series for name in series.labels}
        names = [tuple(series.labels.get(name, "") for name in sorted(target.labels)) for series in answer.series]
        assert len(set(names)) == len(names) or not target.legend, names


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.id)
def test_every_query_has_an_answer_for_one_value_and_for_several(
    aged: System, values: Mapping[str, list[str]], target: Target
) -> None:
    for name in target.variables:
        one, several = [{name: [value]} for value in values[name]], {name: values[name]}
        if (target.id, name) in NO_VALUE_CHOOSES:
            assert not any(answer.series for chosen in (*one, several) for answer in _asked(aged, target.expr, chosen))
        else:
            assert _found(aged, target.expr, *one), name
            assert _found(aged, target.expr, several), name


@pytest.mark.parametrize("job", ["idle", "quiet"])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.id)
def test_an_idle_system_shows_nothing_or_zero(long_aged: System, target: Target, job: str) -> None:
    assert target.panel.no_value
    for answer in _asked(long_aged, target.expr, {"job": [job]}):
        if not ALSO_WHEN_IDLE.search(target.expr):
            assert set(answer.values) <= {0.0}, answer.query


@pytest.mark.parametrize(("board", "name", "expr"), read_annotations(GRAFANA))
def test_every_annotation_has_an_answer(aged: System, board: str, name: str, expr: str) -> None:
    prometheus = aged.prometheus
    answer = prometheus.over(filled(expr, MACROS), aged.began - 5, prometheus.now())
    assert answer.faults() == []
    assert answer.series


@pytest.mark.parametrize(("board", "name", "selector", "label"), read_variables(GRAFANA))
def test_every_variable_has_values(
    aged: System, values: Mapping[str, list[str]], board: str, name: str, selector: str, label: str
) -> None:
    found = aged.prometheus.get(f"label/{label}/values", **{"match[]": filled(selector, MACROS)})
    assert found == values[name]
    expected = {
        "job": set(aged.jobs),
        "instance": {job.metrics for job in aged.jobs.values()},
        "dialect": {"anthropic", "jaf-http", "langgraph", "openai-chat", "shipit-agent"},
        "provider": {"anthropic", "openai", "own"},
        "model": {"claude-sonnet-4-5", "gpt-5", "gpt-5-mini", "other"},
        "agent": {"analyst", "billing", "helper", "researcher", "support"},
    }
    assert set(found) >= expected[name]


# Rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(len(RULES)), ids=[rule.id for rule in RULES])
def test_every_rule_has_an_answer(aged: System, rules: Sequence[Rule], place: int) -> None:
    rule = rules[place]
    _asked(aged, rule.expr)
    answers = _found(aged, compared(_ASIDE.sub("", rule.expr)) if rule.alert else rule.expr)
    assert answers
    assert all("job" in series.labels for answer in answers for series in answer.series)


@pytest.mark.parametrize("place", RECORDED, ids=[RULES[place].id for place in RECORDED])
def test_every_recorded_series_is_there(aged: System, rules: Sequence[Rule], place: int) -> None:
    rule = rules[place]
    selector = ",".join(f'{name}="{value}"' for name, value in rule.labels.items())
    now = aged.prometheus.now()
    answer = aged.prometheus.over(f"{rule.name}{{{selector}}}", now - SHOWN_S, now)
    assert answer.faults() == []
    assert {"main", "served"} <= {series.labels["job"] for series in answer.series}


def test_what_is_recorded_of_an_idle_system_is_no_nonsense(aged: System, rules: Sequence[Rule]) -> None:
    names = "|".join(sorted({rule.name for rule in rules if not rule.alert}))
    answer = aged.prometheus.ask(f'{{__name__=~"{names}",job=~"idle|quiet"}}')
    assert answer.faults() == []
    assert {series.labels["__name__"] for series in answer.series} >= {"slo:objective:ratio", "slo:error_budget:ratio"}


def test_prometheus_evaluates_all_rules(aged: System) -> None:
    groups = aged.prometheus.get("rules")["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert len(evaluated) == len(RULES)
    assert [(rule["name"], rule.get("lastError")) for rule in evaluated if rule["health"] != "ok"] == []
