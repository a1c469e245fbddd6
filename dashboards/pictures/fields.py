"""How a panel shows its series: name, unit, color, by the panel's defaults and its overrides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards.pictures.prometheus import Answers, Series

__all__ = ["PALETTE", "Field", "color_of", "fields", "legend", "styled"]

_SHADES = ("dark-", "semi-dark-", "", "light-", "super-light-")
_HUES = {
    "red": ("#C4162A", "#E02F44", "#F2495C", "#FF7383", "#FFA6B0"),
    "orange": ("#FA6400", "#FF780A", "#FF9830", "#FFB357", "#FFCB7D"),
    "yellow": ("#E0B400", "#F2CC0C", "#FADE2A", "#FFEE52", "#FFF899"),
    "green": ("#37872D", "#56A64B", "#73BF69", "#96D98D", "#C8F2C2"),
    "blue": ("#1F60C4", "#3274D9", "#5794F2", "#8AB8FF", "#C0D8FF"),
    "purple": ("#8F3BB8", "#A352CC", "#B877D9", "#CA95E5", "#DEB6F2"),
}
"""Grafana's named colors: those that a board gives by name are the same here."""
_NAMED = {shade + hue: hexa for hue, row in _HUES.items() for shade, hexa in zip(_SHADES, row, strict=True)}
_NAMED |= {"gray": "#8E8E8E", "text": "#24292E", "transparent": "#24292E"}
PALETTE = (
    "#3274D9", "#37872D", "#E0B400", "#C4162A", "#8F3BB8", "#FF780A", "#2A9D8F", "#E36588", "#7A6C5D", "#5794F2",
)  # fmt: skip
"""For series that the board gives no color: dark enough for lines on white."""


@dataclass(slots=True)
class Field:
    """One series, and what the panel says of it."""

    name: str
    ref: str
    series: Series
    config: dict[str, Any] = field(default_factory=dict)
    """`fieldConfig.defaults`, with the overrides for this series in it."""

    @property
    def unit(self) -> str:
        return str(self.config.get("unit") or "")

    @property
    def decimals(self) -> int | None:
        return self.config.get("decimals")

    @property
    def custom(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.config.get("custom") or {}
        return found


def color_of(name: str) -> str:
    """As hexadecimal."""
    return _NAMED.get(name, name if name.startswith("#") else _NAMED["gray"])


def legend(target: Mapping[str, Any], series: Series) -> str:
    """A series' name by its query's `legendFormat`; where that is left to Grafana, its labels."""
    wanted = target.get("legendFormat") or "__auto"
    if wanted != "__auto":
        return re.sub(r"\{\{\s*([\w.]+)\s*\}\}", lambda match: series.labels.get(match[1], ""), wanted).strip()
    labels = {name: value for name, value in series.labels.items() if name != "__name__"}
    if len(labels) == 1:
        return next(iter(labels.values()))
    told = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if value)
    return series.labels.get("__name__", "") + (f"{{{told}}}" if told else "") or str(target.get("expr", ""))


def fields(panel: Mapping[str, Any], answers: Sequence[Answers]) -> list[Field]:
    """All series of a panel, in the order of its queries."""
    targets = {target.get("refId", "A"): target for target in panel.get("targets", ())}
    return [
        styled(panel, Field(legend(targets[answer.ref], series), answer.ref, series))
        for answer in answers
        for series in answer.series
    ]


def styled(panel: Mapping[str, Any], made: Field) -> Field:
    """With the panel's settings for it."""
    config = panel.get("fieldConfig", {})
    made.config = _merged({}, config.get("defaults", {}))
    for override in config.get("overrides", ()):
        if _meant(override["matcher"], made):
            for prop in override["properties"]:
                made.config = _merged(made.config, _nested(prop["id"], prop.get("value")))
    made.name = made.config.get("displayName") or made.name
    return made


def _meant(matcher: Mapping[str, Any], made: Field) -> bool:
    options = matcher.get("options")
    match matcher["id"]:
        case "byName":
            return made.name == options
        case "byRegexp":
            return re.search(str(options).strip("/"), made.name) is not None
        case "byFrameRefID":
            return made.ref == options
    return False


def _nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(under)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(made.get(name), Mapping)
        made[name] = _merged(made[name], value) if both else value
    return made


def colors(shown: Sequence[Field]) -> Iterator[str]:
    """One for each: the board's own, else the next of the palette."""
    free = 0
    for each in shown:
        color = each.config.get("color") or {}
        if color.get("mode") == "fixed" and color.get("fixedColor"):
            yield color_of(color["fixedColor"])
        else:
            yield PALETTE[free % len(PALETTE)]
            free += 1
