"""Table panels: the answers of several queries, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from dashboards.pictures.fields import Field, styled
from dashboards.pictures.graphs import GRID, INK, MUTED, threshold
from dashboards.pictures.prometheus import Answers, Series
from dashboards.pictures.units import written
from dashboards.pictures.values import blank, dark, last

__all__ = ["Cell", "Table", "table", "tabled"]

_LINE = 21
"""Pixels, of a row."""


class Cell(NamedTuple):
    text: str
    key: float | str
    """What the column is sorted by."""
    color: str = INK


class Table(NamedTuple):
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: Sequence[bool]


def tabled(panel: Mapping[str, Any], answers: Sequence[Answers]) -> Table:
    """One row for each set of labels, with one value for each query.

    Of Grafana's transformations those that the boards use: `merge`, and `organize`.
    """
    values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for answer in answers:
        values[f"Value #{answer.ref}" if len(answers) > 1 else "Value"] = {
            tuple(sorted(series.labels.items())): last(series) for series in answer.series
        }
    rows = list(dict.fromkeys(labels for column in values.values() for labels in column))
    organized: Mapping[str, Any] = {}
    for transformation in panel.get("transformations", ()):
        if transformation["id"] == "organize":
            organized = transformation["options"]
        elif transformation["id"] != "merge":
            raise ValueError(f"{panel['title']!r}: {transformation['id']} cannot be drawn")
    out, renamed, order = (organized.get(key) or {} for key in ("excludeByName", "renameByName", "indexByName"))
    labels = dict.fromkeys(name for row in rows for name, _ in row if name != "__name__")
    names = sorted((name for name in [*labels, *values] if not out.get(name)), key=lambda name: order.get(name, 99))
    cells = [
        [
            _number(panel, renamed.get(name, name), values[name].get(row, math.nan))
            if name in values
            else Cell(dict(row).get(name, ""), dict(row).get(name, ""))
            for name in names
        ]
        for row in rows
    ]
    columns = [renamed.get(name, name) for name in names]
    for wanted in (panel.get("options") or {}).get("sortBy") or ():
        spot = columns.index(wanted["displayName"])
        cells.sort(key=lambda row: row[spot].key, reverse=wanted.get("desc", False))
    return Table(columns, cells, [name in values for name in names])


def _number(panel: Mapping[str, Any], column: str, value: float) -> Cell:
    if math.isnan(value):
        return Cell("", -math.inf, MUTED)
    made = styled(panel, Field(column, "", Series({}, [0.0], [value])))
    is_colored = (made.custom.get("cellOptions") or {}).get("type", "auto") != "auto"
    return Cell(
        written(value, made.unit, made.decimals), value, (threshold(made, value) if is_colored else None) or INK
    )


def table(ax: Axes, panel: Mapping[str, Any], answers: Sequence[Answers]) -> None:
    """Its rows, as many as there is room for."""
    blank(ax)
    made = tabled(panel, answers)
    extent = ax.get_window_extent()
    line = _LINE / extent.height
    room = max(int(extent.height / _LINE) - 1, 1)
    rows = made.rows if len(made.rows) <= room else made.rows[: room - 1]
    widths = [max(len(name), *(len(row[spot].text) for row in rows), 4) + 3 for spot, name in enumerate(made.columns)]
    left = 0.0
    for spot, name in enumerate(made.columns):
        share = widths[spot] / sum(widths)
        at, side = (left + share - 0.008, "right") if made.numeric[spot] else (left + 0.004, "left")
        ax.text(at, 1 - line / 2, name, color=MUTED, fontsize=8, weight="bold", ha=side, va="center")
        for number, row in enumerate(rows, 1):
            color = row[spot].color if row[spot].color == INK else dark(row[spot].color)
            ax.text(at, 1 - line * (number + 0.5), row[spot].text, color=color, fontsize=8.5, ha=side, va="center")
        left += share
    for number in range(len(rows) + 1):
        ax.axhline(1 - line * (number + 1), color=GRID, linewidth=0.7)
    if len(rows) < len(made.rows):
        told = f"and {len(made.rows) - len(rows)} more"
        ax.text(0.004, 1 - line * (len(rows) + 1.5), told, color=MUTED, fontsize=8, va="center")
