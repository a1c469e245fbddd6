"""What streamgauge emits is on a board, or it is said why not; and what boards and rules ask for is emitted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.generate import metrics
from dashboards.generate.boards.board_rules import queries
from dashboards.generate.boards.promql import Aggregate, Binary, Expr, Selector, parse, parts, selectors, walk
from dashboards.generate.boards.query_rules import known
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from streamgauge import semconv
from streamgauge.aggregates import Aggregates
from streamgauge.telemetry.prometheus import label_names, render

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def _rules(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(file, rule) of all recording rules and alerts of Prometheus."""
    return [
        (path.name, rule)
        for path in sorted((folder / "prometheus").glob("streamgauge.*.yml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


def _grafana_queries(folder: Path) -> Iterator[tuple[str, str]]:
    """(alert, PromQL) of what Grafana itself evaluates. Expressions over results have no PromQL."""
    for path in sorted((folder / "provisioning" / "alerting").glob("*.yml")):
        for group in yaml.safe_load(path.read_text("utf-8")).get("groups", ()):
            for rule in group["rules"]:
                for query in rule["data"]:
                    if query["datasourceUid"] != "__expr__":
                        yield rule["title"], query["model"]["expr"]


@pytest.fixture(scope="module")
def recorded(folder: Path) -> set[str]:
    """What the rules record."""
    return {rule["record"] for _, rule in _rules(folder) if "record" in rule}


# What there is ------------------------------------------------------------------------------------------------


def test_names_and_labels_are_those_of_the_page() -> None:
    """A point of every metric, shown, read back."""
    aggregates = Aggregates(semconv.RELEASED.metrics)
    for metric in semconv.RELEASED.metrics:
        aggregates.record([(metric, ("x",) * len(label_names(metric)), 1, None)])
    target = {"service.name": "s", "service.instance.id": "i", "service.version": "1"}
    page, _ = render(aggregates, OPENMETRICS, target=target)
    shown: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            shown.setdefault(sample.name, set()).update(sample.labels)
    expected = {name: set(series.labels) - {*metrics.TARGET} for name, series in metrics.EMITTED.items()}
    ours = {"streamgauge_build_info", "target_info"}
    expected |= {name: set(metrics.BESIDES[name].labels) - {*metrics.TARGET} for name in ours}
    assert shown == expected


def test_a_name_is_computed_for_each_kind() -> None:
    assert metrics.name(semconv.STREAMS) == "streamgauge_streams_total"
    assert metrics.name(semconv.ACTIVE) == "streamgauge_streams_active"
    assert metrics.bucket(semconv.FIRST_CHUNK) == "gen_ai_client_operation_time_to_first_chunk_seconds_bucket"
    assert metrics.count(semconv.CHUNK_RATE) == "streamgauge_stream_chunk_rate_per_second_count"
    assert metrics.total(semconv.TOKEN_USAGE) == "gen_ai_client_token_usage_sum"
    assert metrics.label(semconv.GEN_AI_REQUEST_MODEL) == "gen_ai_request_model"
    assert metrics.EMITTED["streamgauge_streams_total"].cumulative
    assert not metrics.EMITTED["streamgauge_streams_active"].cumulative
    assert "le" in metrics.EMITTED["streamgauge_stream_chunk_rate_per_second_bucket"].labels
    assert not metrics.EMITTED["streamgauge_tap_blind_total"].common


# What is asked for --------------------------------------------------------------------------------------------


def _on_boards(boards: list[dict[str, Any]]) -> set[str]:
    """The series that panels show: those that only filter are not on the board."""
    return {
        selector.name
        for board in boards
        for where, query, _ in queries(board)
        if not where.startswith("annotation ")
        for selector in _shown(parse(query))
    }


def _shown(tree: Expr) -> Iterator[Selector]:
    """What a query shows, without what it only filters by."""
    if isinstance(tree, Selector):
        yield tree
    filters = isinstance(tree, Binary) and tree.operator in ("and", "unless")
    for part in parts(tree)[:1] if filters else parts(tree):
        yield from _shown(part)


def test_each_metric_is_on_a_board_or_left_out_with_a_reason(boards: list[dict[str, Any]]) -> None:
    on_boards = _on_boards(boards)
    emitted = {metric for profile in semconv.PROFILES.values() for metric in profile.metrics}
    missing = {
        metrics.name(metric)
        for metric in emitted
        if not any(series.startswith(metrics.name(metric)) for series in on_boards)
    }
    assert missing == set(metrics.LEFT_OUT)
    assert all(len(reason) > 20 for reason in metrics.LEFT_OUT.values())


def test_what_filters_is_not_on_a_board() -> None:
    tree = parse("sum by (le) (rate(a_bucket[5m]) and on (x) b_total) / on () (sum(c unless d) > 0) or e")
    assert [each.name for each in _shown(tree)] == ["a_bucket", "c", "e"]


def test_boards_ask_for_what_there_is(boards: list[dict[str, Any]], recorded: set[str]) -> None:
    for board in boards:
        for where, query, _ in queries(board):
            for selector in selectors(parse(query)):
                there = known(selector.name) is not None
                assert there, f"{board['uid']}, {where}: {selector.name}"
                if ":" in selector.name:
                    assert selector.name in recorded, f"{board['uid']}, {where}: {selector.name} is not recorded"


def test_variables_ask_for_what_there_is(boards: list[dict[str, Any]]) -> None:
    asked = 0
    for board in boards:
        for variable in board["templating"]["list"]:
            if variable["type"] != "query":
                continue
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert found is not None
            (selector,) = selectors(parse(found[1]))
            names = [selector.name] if selector.name else _alternatives(selector, "__name__")
            for name in names:
                series = known(name)
                assert series is not None, name
                used = {found[2], *(each.label for each in selector.matchers)} - {"__name__"}
                assert used <= series.labels
            asked += 1
    assert asked == 6 * len(boards)


def _alternatives(selector: Selector, label: str) -> list[str]:
    (value,) = (matcher.value for matcher in selector.matchers if matcher.label == label)
    return value.split("|")


def test_rules_ask_for_what_there_is(folder: Path, recorded: set[str]) -> None:
    asked = [(f"{file}: {rule.get('record') or rule['alert']}", rule["expr"]) for file, rule in _rules(folder)]
    asked += _grafana_queries(folder)
    assert len(asked) > 50
    for where, query in asked:
        for selector in selectors(parse(query)):
            if selector.name in recorded:
                continue
            series = metrics.EMITTED.get(selector.name) or metrics.BESIDES.get(selector.name)
            assert series is not None, f"{where}: {selector.name!r}"
            for matcher in selector.matchers:
                assert matcher.label in series.labels, f"{where}: {selector.name} has no label {matcher.label}"


def test_limits_of_rules_are_buckets(folder: Path) -> None:
    """A limit that is no bucket selects nothing, and nobody is told."""
    checked = 0
    asked = [(rule.get("record") or rule["alert"], rule["expr"]) for _, rule in _rules(folder)]
    for where, query in [*asked, *_grafana_queries(folder)]:
        for selector in selectors(parse(query)):
            series = metrics.EMITTED.get(selector.name)
            for matcher in selector.matchers:
                if matcher.label == "le" and series is not None and series.metric is not None:
                    bounds = [str(float(bound)) for bound in series.metric.buckets]
                    pattern = matcher.value if matcher.operator == "=~" else re.escape(matcher.value)
                    assert any(re.fullmatch(pattern, bound) for bound in bounds), f"{where}: le {matcher.value}"
                    checked += 1
    assert checked


def test_only_sums_by_labels_that_are_there(folder: Path, recorded: set[str]) -> None:
    for file, rule in _rules(folder):
        for part in walk(parse(rule["expr"])):
            if isinstance(part, Aggregate) and part.labels and not part.without:
                for selector in selectors(part):
                    series = metrics.EMITTED.get(selector.name)
                    if series is not None and selector in list(_shown(part)):
                        assert set(part.labels) <= series.labels, f"{file}: {rule.get('record') or rule['alert']}"
