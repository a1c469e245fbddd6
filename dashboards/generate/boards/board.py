"""A board: its rows laid out on the grid of 24 columns, with what all boards have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards.generate.boards import sdk
from dashboards.generate.boards.links import BOARDS, board_links, marks
from dashboards.generate.boards.variables import variables

__all__ = ["COLUMNS", "Row", "board"]

COLUMNS: Final = 24
_NOT_OURS: Final = {
    "variable": ("auto", "auto_count", "auto_min", "skipUrlSync"),
    "annotation": ("builtIn", "placement"),
    "link": ("asDropdown", "placement", "tags", "targetBlank"),
    "data link": ("asDropdown", "icon", "includeVars", "keepTime", "placement", "tags", "tooltip", "type"),
    "panel": ("repeatDirection", "transparent"),
}
"""What the SDK puts everywhere: of other kinds of things, or Grafana's default as it is. `placement` would hide links
and annotations in a menu."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, placed from left to right, and down where the width is used up."""

    title: str
    panels: Sequence[Any]
    collapsed: bool = False
    """Asked for nothing until somebody opens it."""


def board(uid: str, description: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The board as Grafana reads it."""
    title = f"streamgauge / {BOARDS[uid]}"
    made = sdk.dashboard.Dashboard(title).uid(uid).description(description).tags(["streamgauge"]).readonly()
    made.time("now-1h", "now").refresh("30s").timezone("browser").tooltip(sdk.m_dashboard.DashboardCursorSync.CROSSHAIR)
    made.variables(variables()).annotations(marks()).links(board_links(uid))
    found: dict[str, Any] = sdk.plain(made.build())
    _cleaned("variable", found["templating"]["list"])
    _cleaned("annotation", found["annotations"]["list"])
    _cleaned("link", found["links"])
    found["panels"] = _laid_out(rows)
    return found


def _laid_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    y = identity = 0
    for row in rows:
        identity += 1
        at = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        heading: dict[str, Any] = {
            "type": "row", "id": identity, "title": row.title, "collapsed": row.collapsed, "gridPos": at, "panels": [],
        }  # fmt: skip
        placed.append(heading)
        y += 1
        x = tallest = 0
        for builder in row.panels:
            identity += 1
            panel = sdk.plain(builder.build())
            _cleaned("panel", [panel])
            _cleaned("data link", panel["fieldConfig"]["defaults"].get("links", []))
            size = panel["gridPos"]
            if x + size["w"] > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            panel["id"], panel["gridPos"] = identity, {"x": x, "y": y, "w": size["w"], "h": size["h"]}
            x, tallest = x + size["w"], max(tallest, size["h"])
            (heading["panels"] if row.collapsed else placed).append(panel)
        y += tallest
        if row.collapsed:  # what is folded away takes no room
            y = at["y"] + 1
    return placed


def _cleaned(kind: str, things: list[dict[str, Any]]) -> None:
    for thing in things:
        for field in _NOT_OURS[kind]:
            thing.pop(field, None)
