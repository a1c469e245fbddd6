"""The rules as Prometheus reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

__all__ = ["Rule", "compared", "read_rules"]

_COMPARISON = re.compile(r"""("(?:\\.|[^"\\])*"|\{(?:[^"}]|"(?:\\.|[^"\\])*")*\})|(>=|<=|==|!=|>|<)(?!\s*bool)""")


@dataclass(frozen=True, slots=True)
class Rule:
    group: str
    number: int
    """Among those of its name in the group: several may record one series."""
    name: str
    expr: str
    alert: bool
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name} {self.number}"


def read_rules(folder: Path) -> list[Rule]:
    """Those of all files, in order."""
    found: list[Rule] = []
    for path in sorted(folder.glob("streamgauge.*.yml")):
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                number = sum(each.name == name and each.group == group["name"] for each in found)
                found.append(Rule(group["name"], number, name, rule["expr"], "alert" in rule, rule.get("labels", {})))
    return found


def compared(expr: str) -> str:
    """A condition that is not dropped where it does not hold: so that it is seen whether it has all it compares."""
    return _COMPARISON.sub(lambda match: match[1] or f"{match[2]} bool", expr)
