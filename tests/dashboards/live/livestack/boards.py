"""The boards as Grafana reads them, and what it makes of their queries.

Source: Grafana's documentation of dashboard JSON, and of variables and macros in Prometheus queries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ALL", "VARIABLES", "Panel", "Target", "filled", "read_annotations", "read_targets", "read_variables"]

ALL = ".*"
VARIABLES = ("job", "instance", "dialect", "provider", "model", "agent")
_USED = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Panel:
    board: str
    title: str
    no_value: str
    """What it says where there is nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    panel: Panel
    ref: str
    expr: str
    legend: str
    exemplar: bool

    @property
    def id(self) -> str:
        return f"{self.panel.board}: {self.panel.title} {self.ref}"

    @property
    def variables(self) -> list[str]:
        used = {first or second for first, second in _USED.findall(self.expr)}
        return [name for name in VARIABLES if name in used]

    @property
    def labels(self) -> set[str]:
        """That its series are told apart by."""
        return set(_LEGEND.findall(self.legend))


def _board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def read_targets(folder: Path) -> list[Target]:
    """All queries to Prometheus, of all boards."""
    return [
        Target(
            Panel(path.stem, panel["title"], panel["fieldConfig"]["defaults"].get("noValue", "")),
            target["refId"],
            target["expr"],
            target.get("legendFormat", ""),
            bool(target.get("exemplar")),
        )
        for path in sorted(folder.glob("*.json"))
        for panel in _panels(_board(path))
        for target in panel.get("targets", ())
        if "expr" in target
    ]


def read_annotations(folder: Path) -> list[tuple[str, str, str]]:
    """(board, name, query) of all."""
    return [
        (path.stem, each["name"], each["expr"])
        for path in sorted(folder.glob("*.json"))
        for each in _board(path)["annotations"]["list"]
        if "expr" in each
    ]


def read_variables(folder: Path) -> list[tuple[str, str, str, str]]:
    """(board, name, selector, label) of all that Prometheus is asked for."""
    found = []
    for path in sorted(folder.glob("*.json")):
        for variable in _board(path)["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert asked is not None, variable
                found.append((path.stem, variable["name"], asked[1], asked[2]))
    return found


def filled(expr: str, macros: Mapping[str, str], chosen: Mapping[str, Sequence[str]] | None = None) -> str:
    """A query without variables and macros, as Grafana sends it.

    Args:
        chosen: values by variable; all where there are none.
    Raises: KeyError for a macro that is not known.
    """
    given = {name: _pattern((chosen or {}).get(name, ())) for name in VARIABLES} | dict(macros)
    return _USED.sub(lambda match: given[match[1] or match[2]], expr)


def _pattern(values: Sequence[str]) -> str:
    if not values:
        return ALL
    # For a regular expression within a string of PromQL.
    escaped = [re.sub(r"[.*+?^${}()|\[\]/\\]", lambda match: f"\\\\{match[0]}", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
