"""`__all__` is what a module shows: all its public names, no others, in ruff's order (constants, classes, the rest)."""

from __future__ import annotations

import ast
import importlib
import logging
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

import streamgauge

SRC = Path(streamgauge.__file__).parent


def named(file: Path) -> str:
    parts = file.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {named(file): file for file in sorted(SRC.rglob("*.py"))}
WITHOUT = {
    "streamgauge.__main__": set(),
    "streamgauge._version": set(),
    "streamgauge.semconv": {"*"},  # all of it is names
    "streamgauge.transports": set(),
}
"""Modules that have no `__all__`."""
INNER = {
    "streamgauge.dialects.shipit_agent": {"MAX_DEPTH"},
    "streamgauge.dialects.ziran": {"MAX_CALLS"},
    "streamgauge.tap": {"FORGOTTEN_NS", "SLOW_NS", "STRIKES"},
    "streamgauge.telemetry.bounded": {"NO_THREADS_AT_EXIT"},
    "streamgauge.telemetry.metric_data": {"Counts"},
    "streamgauge.transports.inprocess": {"Opener"},
}
"""Names without an underscore that are shown to nobody: limits that tests set, and names of types."""


def defined(module: ModuleType, file: Path) -> set[str]:
    """The public names that the module itself makes, without its loggers and type variables."""
    names: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
    return {
        name
        for name in names
        if not name.startswith("_") and not isinstance(getattr(module, name), logging.Logger | TypeVar)
    }


def brought(module: ModuleType, file: Path) -> set[str]:
    """The public names that a package's front has from files of the package."""
    return {
        alias.asname or alias.name
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{module.__name__}.")
        for alias in node.names
    }


def in_order(names: list[str]) -> list[str]:
    def kind(name: str) -> int:
        return 0 if name.isupper() else 1 if name[:1].isupper() else 2

    return sorted(names, key=lambda name: (kind(name), name))


@pytest.mark.parametrize("name", FILES)
def test_all_is_what_is_public(name: str) -> None:
    module, file = importlib.import_module(name), FILES[name]
    if name in WITHOUT:
        assert not hasattr(module, "__all__")
        assert bool(defined(module, file)) == bool(WITHOUT[name])
        return
    listed = list(module.__all__)
    assert listed == in_order(listed)
    assert len(listed) == len(set(listed))
    assert [each for each in listed if not hasattr(module, each)] == []
    own = defined(module, file) - INNER.get(name, set())
    if name == "streamgauge":
        assert set(listed) == brought(module, file)
    elif file.name == "__init__.py":
        assert own <= set(listed) <= own | brought(module, file)
    elif file.name.startswith("_"):
        assert set(listed) <= own  # nobody outside its package sees it
    else:
        assert set(listed) == own


def test_the_list_of_inner_names_is_of_what_there_is() -> None:
    gone = {
        f"{name}.{each}"
        for name, inner in INNER.items()
        for each in inner - defined(importlib.import_module(name), FILES[name])
    }
    assert gone == set()


def test_the_front_shows_nothing_else() -> None:
    shown = {
        name
        for name, value in vars(streamgauge).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert shown | {"__version__"} == set(streamgauge.__all__)


def test_every_error_is_shown() -> None:
    from streamgauge import errors

    assert set(errors.__all__) <= set(streamgauge.__all__)
