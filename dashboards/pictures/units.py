"""A number as people read it, in one of Grafana's units.

Source: the unit ids of Grafana's `@grafana/data`, `valueFormats/categories.ts`, those that the boards use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["beside", "is_binary", "on_axis", "written"]

_Steps: TypeAlias = Sequence[tuple[float, str]]
"""(From which size on, what that is called), the largest first."""

_SECONDS: _Steps = ((86_400, " d"), (3_600, " h"), (60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs"))
_IEC: _Steps = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1, " B"))
_SI: _Steps = ((1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B"))
_COUNT: _Steps = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))
_SCALES: Mapping[str, tuple[_Steps, str]] = {
    "s": (_SECONDS, ""), "bytes": (_IEC, ""), "binBps": (_IEC, "/s"), "decbytes": (_SI, ""), "Bps": (_SI, "/s"),
    "short": (_COUNT, ""),
}  # fmt: skip
_PLAIN = {"none": "", "": "", "percent": "%", "percentunit": "%"}


def written(value: float, unit: str = "", decimals: int | None = None) -> str:
    """
    Args:
        unit: a unit's id; `suffix:x` and `count:x` put x behind.
        decimals: how many; three digits that count where not given.

    Raises: KeyError for a unit that no board has had yet.
    """
    if math.isnan(value):
        return "no value"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    kind, _, word = unit.partition(":")
    if kind == "count":
        return f"{written(value, 'short', decimals)} {word}"
    if kind == "suffix":
        return f"{_number(value, decimals)} {word}"
    if kind in _SCALES:
        steps, rate = _SCALES[kind]
        size, name = next((step for step in steps if abs(value) >= step[0]), _least(steps, value))
        return _number(value / size, decimals) + name + rate
    return _number(value * 100 if kind == "percentunit" else value, decimals) + _PLAIN[kind]


def _least(steps: _Steps, value: float) -> tuple[float, str]:
    """For what is smaller than every step."""
    if steps is _COUNT:
        return 1, ""
    return steps[-1] if value else (1, next(name for size, name in steps if size == 1))


def is_binary(unit: str) -> bool:
    """Whether its round numbers are powers of two."""
    return unit in ("bytes", "binBps")


def beside(unit: str) -> str:
    """What stands beside the title, since it is too long for each number of an axis: a unit that is a word."""
    kind, _, word = unit.partition(":")
    return word if kind in ("suffix", "count") and len(word) > 2 else ""


def on_axis(unit: str) -> str:
    """The unit of an axis' numbers."""
    return "short" if beside(unit) else unit


def _number(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    if value == 0:
        return "0"
    places = min(max(2 - math.floor(math.log10(abs(value))), 0), 4)
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
