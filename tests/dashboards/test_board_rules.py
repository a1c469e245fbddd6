"""Each rule of boards catches a board that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from dashboards.generate.boards.board_rules import faults, panels

Board = dict[str, Any]


def _board(boards: list[Board], name: str) -> Board:
    return next(board for board in boards if board["uid"] == f"streamgauge-{name}")


def _panel(board: Board, kind: str = "timeseries", title: str = "") -> Any:
    return next(each for each in panels(board) if each["type"] == kind and (not title or each["title"] == title))


def _variable(board: Board, name: str) -> Any:
    return next(each for each in board["templating"]["list"] if each["name"] == name)


def _defaults(board: Board) -> Any:
    return _panel(board)["fieldConfig"]["defaults"]


def _first_two(board: Board) -> tuple[Any, Any]:
    first, second, *_ = (panel for panel in panels(board) if panel["type"] == "timeseries")
    return first, second


def _two_at_once(board: Board) -> None:
    first, second = _first_two(board)
    second["gridPos"] = {**first["gridPos"], "x": first["gridPos"]["x"] + 1}


def _twice(board: Board, field: str) -> None:
    first, second = _first_two(board)
    second[field] = first[field]


def _query(board: Board, kind: str = "timeseries", **fields: Any) -> None:
    for name, value in fields.items():
        _panel(board, kind)["targets"][0][name] = value


BAD_BOARDS: dict[str, tuple[Callable[[Board], object], str]] = {
    "a schema that is too old": (lambda b: b.update(schemaVersion=36), "schemaVersion 36"),
    "the model V2": (lambda b: b.pop("schemaVersion"), "schemaVersion None"),
    "editable": (lambda b: b.update(editable=True), "it can be edited"),
    "no shared cursor": (lambda b: b.update(graphTooltip=0), "the cursor is not shared"),
    "somebody's id": (lambda b: b.update(id=7), "the id of somebody's Grafana"),
    "an input at import": (lambda b: b.update(__inputs=[]), "__inputs"),
    "no description of the board": (lambda b: b.update(description="Health"), "no description"),
    "a uid twice": (lambda b: b.update(uid="streamgauge-health"), "two boards have the uid"),
    "a variable less": (lambda b: b["templating"]["list"].pop(), "the variables are"),
    "variables in another order": (lambda b: b["templating"]["list"].reverse(), "the variables are"),
    "a data source of somebody's": (
        lambda b: _variable(b, "datasource").update(current={"value": "P1809F7CD0C75ACF3"}),
        "the author's own",
    ),
    "traces in another store": (lambda b: _variable(b, "traces").update(query="jaeger"), "of the type tempo"),
    "a variable that is not asked again": (lambda b: _variable(b, "model").update(refresh=1), "is not asked again"),
    "a variable of one value": (lambda b: _variable(b, "agent").update(multi=False), "$agent does not take several"),
    "all that leaves out the empty": (lambda b: _variable(b, "agent").update(allValue=".+"), "$agent does not take"),
    "a variable with a value": (
        lambda b: _variable(b, "job").update(current={"value": ["mine"]}),
        "$job does not begin with all",
    ),
    "a variable of a fixed data source": (
        lambda b: _variable(b, "job").update(datasource={"type": "prometheus", "uid": "abc"}),
        "$job is not asked of $datasource",
    ),
    "a variable that is not there": (lambda b: _panel(b).update(title="Of $route"), "$route is no variable"),
    "a panel of a fixed data source": (
        lambda b: _panel(b).update(datasource={"type": "prometheus", "uid": "abc"}),
        "not the variable",
    ),
    "a query of a fixed data source": (lambda b: _query(b, datasource="Prometheus"), "'Prometheus', not the variable"),
    "a query without a data source": (lambda b: _panel(b)["targets"][0].pop("datasource"), "without a data source"),
    "a panel without a query": (lambda b: _panel(b).update(targets=[]), "has no target"),
    "beyond the grid": (lambda b: _panel(b)["gridPos"].update(x=20), "not within the 24 columns"),
    "no height": (lambda b: _panel(b)["gridPos"].update(h=0), "not within the 24 columns"),
    "one over the other": (_two_at_once, "lies over"),
    "an id twice": (lambda b: _twice(b, "id"), "is there twice"),
    "no id": (lambda b: _panel(b).pop("id"), "is there twice, or is none"),
    "a title twice": (lambda b: _twice(b, "title"), "two panels are called"),
    "an open row with panels": (
        lambda b: b["panels"][0].update(panels=[{**_panel(b), "id": 999, "title": "Another"}]),
        "a row that is open has panels",
    ),
    "a link that forgets the time": (lambda b: b["links"][0].update(keepTime=False), "loses the variables, or"),
    "a link that forgets what was chosen": (lambda b: b["links"][0].update(includeVars=False), "loses the variables"),
    "no link to a board": (lambda b: b["links"].pop(), "there is no link to"),
    "a link to nowhere": (lambda b: b["links"][0].update(url="/d/streamgauge-cost"), "which is no board"),
    "a data link to nowhere": (
        lambda b: _defaults(b).update(links=[{"title": "x", "url": "/d/gone?${__url_time_range}&${__all_variables}"}]),
        "a link to gone",
    ),
    "a data link that forgets": (
        lambda b: _defaults(b).update(links=[{"title": "x", "url": "/d/streamgauge-health"}]),
        "the link x loses",
    ),
    "a link to a fixed store": (
        lambda b: _defaults(b).update(links=[{"title": "x", "url": '/explore?panes={"datasource":"tempo"}'}]),
        "the link x is not to $traces",
    ),
    "a link by a label that is not there": (
        lambda b: _defaults(b).update(
            links=[{"title": "x", "url": '/explore?panes={"datasource":"${traces}","q":"${__field.labels.route}"}'}]
        ),
        "a link names route",
    ),
    "no title": (lambda b: _panel(b).update(title=""), "it has no title"),
    "no description": (lambda b: _panel(b).update(description="Latency"), "it has no description"),
    "no unit": (lambda b: _defaults(b).pop("unit"), "it has no unit"),
    "nothing for idle": (lambda b: _defaults(b).pop("noValue"), "nothing to show"),
    "two queries of one name": (
        lambda b: _panel(b)["targets"].append(copy.deepcopy(_panel(b)["targets"][0])),
        "the targets are called",
    ),
    "a heatmap of series": (lambda b: _query(b, "heatmap", format="time_series"), "a heatmap wants buckets"),
    "a heatmap of a quantile": (
        lambda b: _query(b, "heatmap", expr="histogram_quantile(0.95, sum by (le) (rate(up[5m])))"),
        "a heatmap of something else than buckets",
    ),
    "a heatmap of rates of counts": (
        lambda b: _query(b, "heatmap", expr="sum by (le) (increase(streamgauge_streams_total[$__rate_interval]))"),
        "than the increase of buckets",
    ),
    "buckets made of buckets": (lambda b: _panel(b, "heatmap")["options"].update(calculate=True), "buckets of buckets"),
    "a heatmap without exemplars": (lambda b: _query(b, "heatmap", exemplar=False), "exemplars are off"),
    "a quantile without exemplars": (
        lambda b: _panel(b, title="First token by granularity (p95)")["targets"][0].update(exemplar=False),
        "exemplars are off",
    ),
    "exemplars of a counter": (
        lambda b: _panel(b, title="Chunks")["targets"][0].update(exemplar=True),
        "exemplars are on, where there are none",
    ),
    "a legend of a label that is gone": (
        lambda b: _panel(b, title="Chunks")["targets"][0].update(legendFormat="{{kind}} {{route}}"),
        "the legend names route",
    ),
    "a legend that tells nothing apart": (
        lambda b: _panel(b, title="Chunks")["targets"][0].update(legendFormat="chunks"),
        "does not tell series apart by kind",
    ),
    "a query that is none": (lambda b: _query(b, expr="sum(rate("), "cannot be read"),
    "a query of nothing": (lambda b: _query(b, expr="sum(vllm_requests_total)"), "vllm_requests_total is nothing"),
    "an annotation of nothing": (
        lambda b: b["annotations"]["list"][0].update(expr="changes(deploys[5m])"),
        "deploys is nothing that there is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BOARDS)
def test_a_bad_board_is_caught(boards: list[Board], case: str) -> None:
    spoil, expected = BAD_BOARDS[case]
    assert faults(boards) == []
    spoil(_board(boards, "quality"))
    assert any(expected in fault for fault in faults(boards)), faults(boards)


def test_a_number_that_may_be_old_is_caught(boards: list[Board]) -> None:
    _panel(_board(boards, "overview"), "stat")["targets"][0]["instant"] = False
    assert any("the last one there is may be an old one" in fault for fault in faults(boards))


def test_a_table_of_a_label_that_is_gone_is_caught(boards: list[Board]) -> None:
    organize = _panel(_board(boards, "compare"), "table")["transformations"][-1]
    organize["options"]["renameByName"]["route"] = "Route"
    assert any("a column is made of route" in fault for fault in faults(boards))


def test_what_is_folded_away_is_looked_at(boards: list[Board]) -> None:
    board = _board(boards, "agents")
    (row,) = (panel for panel in board["panels"] if panel.get("panels"))
    assert {panel["datasource"]["uid"] for panel in row["panels"]} == {"${traces}"}
    row["panels"][0]["description"] = ""
    row["panels"][1]["gridPos"]["x"] = 6
    found = faults(boards)
    assert any("it has no description" in fault for fault in found)
    assert any("lies over" in fault for fault in found)
