"""A board as one picture: its panels in the board's own grid."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from dashboards.pictures import graphs, tables, values
from dashboards.pictures.fields import Field, fields
from dashboards.pictures.prometheus import Answers, Get, Window, asked
from dashboards.pictures.units import beside

__all__ = ["CAPTION", "drawn", "size", "variables"]

CAPTION = "Drawn from Prometheus by scripts/draw_boards.py; not a Grafana screenshot."
WIDTH, ROW, GAP, MARGIN, HEAD, FOOT = 1600, 34, 8, 12, 52, 30
"""Pixels: of the picture, of a row of the grid, between panels, around all, above and below them."""
_COLUMNS = 24
_DPI = 100
_COLORS = 256
"""Of the palette: what is drawn has hardly more, and the file is half the size."""


def variables(board: Mapping[str, Any]) -> dict[str, str]:
    """What each variable of the board stands for where "All" is chosen."""
    made = {}
    for each in board.get("templating", {}).get("list", ()):
        current = (each.get("current") or {}).get("value", "")
        current = current[0] if isinstance(current, list) and current else current
        made[each["name"]] = each.get("allValue") or ".*" if each.get("includeAll") else str(current)
    return made


def size(board: Mapping[str, Any]) -> tuple[int, int]:
    """Of the picture, in pixels."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    return WIDTH, HEAD + rows * (ROW + GAP) + FOOT


def drawn(board: Mapping[str, Any], get: Get, window: Window) -> bytes:
    """The picture, as PNG: of the same size for the same board.

    Raises: ValueError where a panel is of a kind that cannot be drawn.
    """
    page = _Page(size(board)[1])
    page.say(MARGIN, page.height - HEAD / 2, board["title"], 15, weight="bold")
    page.say(MARGIN, FOOT / 2, CAPTION, 9, color=graphs.MUTED)
    chosen = variables(board)
    for panel in board["panels"]:  # those in closed rows are not among them
        ours = replace(window, least_s=_seconds(panel.get("interval") or "1s"))
        targets = [target for target in panel.get("targets", ()) if "expr" in target]
        page.place(panel, [asked(get, target, ours, chosen) for target in targets], ours)
    return page.png()


def _seconds(interval: str) -> float:
    return float(interval.lstrip("<>=")[:-1]) * {"s": 1, "m": 60, "h": 3600}[interval[-1]]


class _Page:
    """Measured in pixels, from the lower left."""

    def __init__(self, height: int) -> None:
        self.height = height
        self._figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="#F4F5F7")
        FigureCanvasAgg(self._figure)

    def say(self, x: float, y: float, text: str, points: float, **style: Any) -> None:
        style = {"color": graphs.INK, **style}
        self._figure.text(x / WIDTH, y / self.height, text, fontsize=points, va="center", **style)

    def axes(self, left: float, bottom: float, wide: float, tall: float) -> Axes:
        at = left / WIDTH, bottom / self.height, wide / WIDTH, tall / self.height
        return self._figure.add_axes(at, facecolor="white")

    def place(self, panel: Mapping[str, Any], answers: Sequence[Answers], window: Window) -> None:
        """Draw a panel where the board has it."""
        grid = panel["gridPos"]
        column = (WIDTH - 2 * MARGIN + GAP) / _COLUMNS
        left, wide = MARGIN + grid["x"] * column, grid["w"] * column - GAP
        tall = grid["h"] * (ROW + GAP) - GAP
        bottom = self.height - HEAD - grid["y"] * (ROW + GAP) - tall
        if panel["type"] == "row":
            closed = "▸ " if panel.get("collapsed") else ""
            self.say(left, bottom + tall / 2, closed + panel["title"], 11, weight="bold")
            return
        box = Rectangle(
            (left / WIDTH, bottom / self.height), wide / WIDTH, tall / self.height, transform=self._figure.transFigure,
            facecolor="white", edgecolor="#D8DCE0", linewidth=0.8, zorder=-1,
        )  # fmt: skip
        self._figure.add_artist(box)
        is_graph = panel["type"] in ("timeseries", "heatmap")
        title, unit = panel["title"], beside(panel.get("fieldConfig", {}).get("defaults", {}).get("unit") or "")
        if is_graph and unit and unit not in title.lower():
            title = f"{title}, {unit}"
        title = textwrap.shorten(title, max(int(wide / 7), 8), placeholder="…")
        self.say(left + 9, bottom + tall - 15, title, 9.5, weight="bold")
        shown = fields(panel, answers)
        side, below = (66, 24) if is_graph else (10, 6)
        if panel["type"] == "timeseries":
            _, rows = graphs.legend_grid(graphs.names_of(shown, answers), wide - side - 14)
            below += 8 + rows * graphs.LEGEND_ROW
        ax = self.axes(left + side, bottom + below, wide - side - 14, tall - below - 34)
        _draw(ax, panel, shown, answers, window)

    def png(self) -> bytes:
        canvas = io.BytesIO()
        self._figure.savefig(canvas, format="png", metadata={"Software": None})
        made = io.BytesIO()
        few = Image.open(canvas).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
        few.save(made, "PNG", optimize=True)
        return made.getvalue()


def _draw(
    ax: Axes, panel: Mapping[str, Any], shown: Sequence[Field], answers: Sequence[Answers], window: Window
) -> None:
    if not shown:
        values.blank(ax)
        told = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue") or "No data"
        ax.text(0.5, 0.5, told, ha="center", va="center", color=graphs.MUTED, fontsize=10)
        return
    match panel["type"]:
        case "timeseries":
            graphs.timeseries(ax, panel, shown, answers, window)
        case "heatmap":
            graphs.heatmap(ax, panel, shown, answers, window)
        case "table":
            tables.table(ax, panel, answers)
        case "stat":
            values.stat(ax, panel, shown)
        case other:
            raise ValueError(f"panel {panel.get('id')}, {panel['title']!r}: a {other} cannot be drawn")
