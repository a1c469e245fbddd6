"""Panels of single values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from dashboards.pictures.fields import Field
from dashboards.pictures.graphs import INK, MUTED, threshold
from dashboards.pictures.prometheus import Series
from dashboards.pictures.units import written

__all__ = ["blank", "dark", "last", "stat"]

_MARGIN = 3
"""Pixels around a colored field."""


def last(series: Series) -> float:
    """Its last value; NaN where it has none."""
    return next((value for value in reversed(series.values) if not math.isnan(value)), math.nan)


def stat(ax: Axes, panel: Mapping[str, Any], shown: Sequence[Field]) -> None:
    """A large number for each series: beside each other, or one in each row."""
    blank(ax)
    extent = ax.get_window_extent()
    across = panel.get("options", {}).get("orientation") != "horizontal"
    share = 1 / len(shown)
    wide, tall = (share, 1.0) if across else (1.0, share)
    named = len(shown) > 1
    for place, each in enumerate(shown):
        left, bottom = (place * share, 0.0) if across else (0.0, 1 - (place + 1) * share)
        value = last(each.series)
        text = written(value, each.unit, each.decimals)
        color = threshold(each, value) or INK
        pad_x, pad_y = _MARGIN / extent.width, _MARGIN / extent.height
        ax.add_patch(
            Rectangle(
                (left + pad_x, bottom + pad_y), wide - 2 * pad_x, tall - 2 * pad_y,
                facecolor=color, alpha=0.16, linewidth=0,
            )
        )  # fmt: skip
        room = extent.width * wide * (0.5 if named and not across else 1)
        size = min(24.0, extent.height * tall * 0.36, 0.9 * room / max(len(text), 3))
        x = left + wide * (0.75 if named and not across else 0.5)
        y = bottom + tall * (0.42 if named and across else 0.5)
        ax.text(x, y, text, color=dark(color), fontsize=size, weight="bold", ha="center", va="center")
        if named and across:
            ax.text(x, bottom + 0.86 * tall, each.name, color=MUTED, fontsize=8.5, ha="center", va="center")
        elif named:
            ax.text(left + 0.06 * wide, y, each.name, color=INK, fontsize=10, va="center")


def dark(color: str) -> tuple[float, float, float]:
    """Dark enough for text on white."""
    red, green, blue = to_rgb(color)
    return red * 0.72, green * 0.72, blue * 0.72


def blank(ax: Axes) -> None:
    """No axes: a field from 0 to 1 each way."""
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.axis("off")
