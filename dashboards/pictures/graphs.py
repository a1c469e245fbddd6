"""Panels over time: lines, stacks, bars and heatmaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, MultipleLocator

from dashboards.pictures.fields import Field, color_of, colors
from dashboards.pictures.prometheus import Answers, Exemplar, Window
from dashboards.pictures.units import is_binary, on_axis, written

__all__ = [
    "EXEMPLAR",
    "GRID",
    "INK",
    "MUTED",
    "counted",
    "heatmap",
    "legend_grid",
    "names_of",
    "threshold",
    "timeseries",
]

Floats: TypeAlias = npt.NDArray[np.float64]

INK, MUTED, GRID = "#24292E", "#6E7781", "#E4E7EB"
EXEMPLAR = "#0B7285"
_HEAT = LinearSegmentedColormap.from_list("heat", ["#FFF3E6", "#FF9830", "#C4162A", "#4A0D2B"])
_TICKS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 604_800, 2_592_000)
"""Seconds between two times on the axis."""
_LETTER, _KEY, _ROWS = 6.1, 34, 4
"""Of a legend: pixels of a letter, and of what stands before it; and its rows."""
LEGEND_ROW = 17
"""Pixels."""


def timeseries(
    ax: Axes, panel: Mapping[str, Any], shown: Sequence[Field], answers: Sequence[Answers], window: Window
) -> None:
    """Lines, areas or bars over time, with exemplars as diamonds."""
    _time_axis(ax, window)
    grid = _grid(window)
    below = np.zeros(len(grid))
    for each, color in zip(shown, colors(shown), strict=True):
        opacity = each.custom.get("fillOpacity", 0) / 100
        if (each.custom.get("stacking") or {}).get("mode", "none") == "none":
            _line(ax, each, color, opacity, window)
            continue
        top = below + np.nan_to_num(_on(grid, np.array(each.series.times), np.array(each.series.values)))
        ax.fill_between(grid, below, top, color=color, alpha=max(opacity, 0.35), linewidth=0, step="mid")
        edge = np.where(top > below, top, np.nan)
        ax.plot(grid, edge, color=color, linewidth=1, label=_told(each), drawstyle="steps-mid")
        below = top
    _value_axis(ax, panel, shown)
    _thresholds(ax, panel)
    low, high = ax.get_ylim()
    # As Grafana has it: the axis is the series', and what lies beyond is at its edge.
    _diamonds(ax, answers, lambda exemplar: min(max(exemplar.value, low), high))
    ax.set_ylim(low, high)
    _names(ax)


def _line(ax: Axes, each: Field, color: str, opacity: float, window: Window) -> None:
    times, values = np.array(each.series.times), np.array(each.series.values)
    style = each.custom.get("drawStyle", "line")
    if style == "bars":
        ax.bar(times, values, width=window.step_s * 0.9, color=color, alpha=max(opacity, 0.6), label=_told(each))
        return
    times, values = _with_gaps(times, values, window)
    dashed = (each.custom.get("lineStyle") or {}).get("fill") == "dash"
    marker = "o" if style == "points" or np.count_nonzero(np.isfinite(values)) == 1 else None
    ax.plot(
        times, values, color=color, linewidth=1.4, label=_told(each), marker=marker, markersize=3,
        linestyle=(0, (5, 3)) if dashed else "-",
    )  # fmt: skip
    if opacity:
        ax.fill_between(times, 0, values, color=color, alpha=min(opacity, 0.25), linewidth=0)


def _told(each: Field) -> str:
    """A series' name in the legend, with its last value."""
    values = [value for value in each.series.values if math.isfinite(value)]
    name = each.name or "(empty)"
    return f"{name}  {written(values[-1], each.unit, each.decimals)}" if values else name


def _diamonds(ax: Axes, answers: Sequence[Answers], height: Callable[[Exemplar], float]) -> None:
    """Exemplars; the same one is given to each query of the same histogram."""
    found = sorted({exemplar for answer in answers for exemplar in answer.exemplars})
    if found:
        ax.scatter(
            [each.time for each in found], [height(each) for each in found], label="exemplars",
            marker="D", s=9, color=EXEMPLAR, edgecolors="white", linewidths=0.3, alpha=0.8, zorder=5, clip_on=False,
        )  # fmt: skip


def heatmap(
    ax: Axes, panel: Mapping[str, Any], shown: Sequence[Field], answers: Sequence[Answers], window: Window
) -> None:
    """How many fell into each bucket, for each step of time: the classic histogram's own buckets."""
    _time_axis(ax, window)
    grid = _grid(window)
    bounds, counts = counted(shown, grid)
    least = ((panel.get("options") or {}).get("filterValues") or {}).get("le", 0.0)
    used = np.flatnonzero((counts > least).any(axis=1))
    if not len(used):
        return
    low, high = max(used[0] - 1, 0), min(used[-1] + 2, len(bounds))
    cells = np.where(counts[low:high] > least, counts[low:high], np.nan)
    edges = np.arange(high - low + 1) - 0.5
    times = np.append(grid, grid[-1] + window.step_s) - window.step_s / 2
    ax.pcolormesh(times, edges, cells, cmap=_HEAT, norm=PowerNorm(0.5, vmin=0))
    unit = (panel.get("options", {}).get("yAxis") or {}).get("unit") or (shown[0].unit if shown else "")
    spots = np.linspace(0, high - low - 1, min(high - low, 7)).round().astype(int)
    ax.yaxis.set_major_locator(FixedLocator(list(spots)))
    ax.yaxis.set_major_formatter(FixedFormatter([f"≤ {written(bounds[low + spot], on_axis(unit))}" for spot in spots]))
    ax.grid(visible=False)
    _diamonds(ax, answers, lambda exemplar: float(np.searchsorted(bounds, exemplar.value)) - low)
    ax.set_ylim(edges[0], edges[-1])


def counted(shown: Sequence[Field], grid: Floats) -> tuple[list[float], Floats]:
    """How many are in each bucket (rows, by their upper bounds) at each time; the series count all up to a bound."""
    buckets: dict[float, Floats] = {}
    for each in shown:
        bound = float(each.series.labels["le"])
        row = np.nan_to_num(_on(grid, np.array(each.series.times), np.array(each.series.values)))
        buckets[bound] = buckets.get(bound, np.zeros(len(grid))) + row
    bounds = sorted(buckets)
    return bounds, np.diff(np.array([buckets[bound] for bound in bounds]), axis=0, prepend=0).clip(min=0)


def threshold(each: Field, value: float) -> str | None:
    """The color of the highest step that the value reaches; None where the panel has no steps to speak of."""
    steps = (each.config.get("thresholds") or {}).get("steps") or []
    reached = [step["color"] for step in steps if step.get("value") is None or value >= step["value"]]
    return color_of(reached[-1]) if reached and not math.isnan(value) else None


def _grid(window: Window) -> Floats:
    """The times at which Prometheus gives a value."""
    return np.arange(window.start, window.end + window.step_s / 2, window.step_s)


def _on(grid: Floats, times: Floats, values: Floats) -> Floats:
    """The values at the grid's times; NaN where there is none."""
    made = np.full(len(grid), np.nan)
    if len(times):
        spots = np.rint((times - grid[0]) / (grid[1] - grid[0])).astype(int)
        inside = (spots >= 0) & (spots < len(grid))
        made[spots[inside]] = values[inside]
    return made


def _with_gaps(times: Floats, values: Floats, window: Window) -> tuple[Floats, Floats]:
    """With a NaN where points are missing, so that no line is drawn over it."""
    holes = np.flatnonzero(np.diff(times) > window.step_s * 1.5) + 1
    return np.insert(times, holes, times[holes] - window.step_s / 2), np.insert(values, holes, np.nan)


def _time_axis(ax: Axes, window: Window) -> None:
    ax.set_xlim(window.start, window.end)
    every = next(each for each in _TICKS if (window.end - window.start) / each <= 6)
    ticks = np.arange(math.ceil(window.start / every) * every, window.end, every)
    form = "%H:%M" if every % 60 == 0 else "%H:%M:%S"
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_major_formatter(FixedFormatter([datetime.fromtimestamp(tick, UTC).strftime(form) for tick in ticks]))
    ax.tick_params(colors=MUTED, labelsize=8, length=0)
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_visible(False)


def _value_axis(ax: Axes, panel: Mapping[str, Any], shown: Sequence[Field]) -> None:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    custom = defaults.get("custom") or {}
    unit, decimals = defaults.get("unit") or "", defaults.get("decimals")
    if (custom.get("scaleDistribution") or {}).get("type") == "log":
        ax.set_yscale("log")
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        found = [value for each in shown for value in each.series.values if math.isfinite(value)]
        if min(found, default=0) >= 0:
            ax.set_ylim(0, None if any(found) else 1)
        if is_binary(unit):
            ax.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(max(ax.get_ylim()[1], 1) / 5))))
    if defaults.get("min") is not None:
        ax.set_ylim(bottom=defaults["min"])
    if defaults.get("max") is not None:
        ax.set_ylim(top=defaults["max"])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, on_axis(unit), decimals or None)))


def _thresholds(ax: Axes, panel: Mapping[str, Any]) -> None:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    style = (defaults.get("custom") or {}).get("thresholdsStyle") or {}
    if style.get("mode", "off") == "off":
        return
    bottom, top = ax.get_ylim()
    for step in (defaults.get("thresholds") or {}).get("steps", ()):
        if step.get("value") is not None and bottom < step["value"] <= top:
            ax.axhline(step["value"], color=color_of(step["color"]), linewidth=1, linestyle=(0, (6, 4)))


def legend_grid(names: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of a legend in so many pixels."""
    if not names:
        return 1, 0
    columns = max(1, min(len(names), int(width / (_LETTER * max(map(len, names)) + _KEY))))
    return columns, min(math.ceil(len(names) / columns), _ROWS)


def names_of(shown: Sequence[Field], answers: Sequence[Answers]) -> list[str]:
    """All that is in the legend."""
    return [*map(_told, shown), *(["exemplars"] if any(answer.exemplars for answer in answers) else [])]


def _names(ax: Axes) -> None:
    """Below the graph, in as many columns as there is room for."""
    handles, names = ax.get_legend_handles_labels()
    extent = ax.get_window_extent()
    columns, rows = legend_grid(names, extent.width)
    room = columns * rows
    if len(names) > room:
        handles, names = handles[:room], [*names[: room - 1], f"and {len(names) - room + 1} more"]
    # Matplotlib fills columns first; people read rows first.
    order = [spot for column in range(columns) for spot in range(column, len(names), columns)]
    if names:
        ax.legend(
            [handles[spot] for spot in order], [names[spot] for spot in order], ncols=columns, fontsize=8,
            loc="upper left", bbox_to_anchor=(0, -22 / extent.height), frameon=False, labelcolor=INK,
            handlelength=1.2, columnspacing=1.4, handletextpad=0.5, borderpad=0, borderaxespad=0,
        )  # fmt: skip
