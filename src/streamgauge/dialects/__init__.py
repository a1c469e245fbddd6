"""Dialects: one decoder for each agent system, chosen by name, never by guessing at content.

A dialect from outside registers itself by the entry-point group `streamgauge.dialects`: the entry point's name is the
dialect's, its object the `Dialect` subclass.
"""

from __future__ import annotations

import importlib

from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded, plain

__all__ = ["BUILT_IN", "ENTRY_POINT_GROUP", "NOTHING", "Dialect", "field", "find", "loaded", "names", "plain"]

ENTRY_POINT_GROUP = "streamgauge.dialects"

BUILT_IN = {
    "generic": "streamgauge.dialects.generic:Generic",
    "ziran": "streamgauge.dialects.ziran:Ziran",
    "ziran-llm": "streamgauge.dialects.ziran:ZiranLLM",
    "zag": "streamgauge.dialects.zag:Zag",
    "jaf": "streamgauge.dialects.jaf:Jaf",
    "jaf-run": "streamgauge.dialects.jaf:JafRun",
    "shipit-agent": "streamgauge.dialects.shipit_agent:ShipitAgent",
    "aiecs": "streamgauge.dialects.aiecs:Aiecs",
}

_found: dict[str, type[Dialect]] = {}


def names() -> tuple[str, ...]:
    """All dialects that there are, built-in ones first."""
    from importlib import metadata  # 20 ms, and seldom needed

    outside = {point.name for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN, *sorted(outside - BUILT_IN.keys()))


def find(name: str) -> type[Dialect] | None:
    """The dialect of that name; None where there is none."""
    dialect = _found.get(name)
    if dialect is None:
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            dialect = getattr(importlib.import_module(module), attribute)
        else:
            from importlib import metadata

            for point in metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
                dialect = point.load()
                break
            else:
                return None
        _found[name] = dialect
    return dialect
