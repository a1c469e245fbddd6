"""How rules are written to files: YAML with PromQL over several lines, durations as Prometheus has them."""

from __future__ import annotations

from typing import Any, Final

import yaml

__all__ = ["Expression", "header", "to_yaml"]

_WIDTH: Final = 10_000  # a template is not broken


class Expression(str):
    """Text that is written as it stands, line by line."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Indents lists, as people do, and never refers from one place to another."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


_Dumper.add_representer(
    Expression,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", str(text), style="|" if "\n" in text else None
    ),
)


def to_yaml(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)


def header(what: str) -> str:
    """The first lines of a file that nobody is to edit."""
    lines = "".join(f"# {line}\n" for line in what.splitlines())
    return f"{lines}# Written by `python -m dashboards.generate` from dashboards/objectives.toml: change it there.\n"
