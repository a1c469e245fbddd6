"""The tool calls of one agent's run in shipit_agent's event stream, and which of them an event is about: not all that
tell of a call have its id.

Source: shipit-agent 2.2.1, the files that `shipit_agent.py` names.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from streamgauge import semconv
from streamgauge.dialects._shipit_event import Told

__all__ = ["PARTS", "Tool", "Tools", "attributes", "encoded"]

PARTS: Final = ("tool", "worker", "task", "agent")
"""Where a tool event has its name: crews, teams and supervisors report delegations as tool calls without a `tool`."""


class Tool(NamedTuple):
    name: str
    background: bool
    """It returns at once; what its sub-agent then does is not below it."""


class Tools:
    """The tool calls of a run's step."""

    __slots__ = ("open", "pending", "since")

    def __init__(self) -> None:
        self.open: dict[str, Tool] = {}
        self.pending: dict[str, str] = {}
        """Announced and not yet called: call id -> tool."""
        self.since: int | None = None
        """When the last tool call ended, or its group began."""

    def clear(self) -> None:
        self.open.clear()
        self.pending.clear()

    def about(self, told: Told) -> str:
        """The open call that an event is about: by its id, else by a name. Not all that end a call have its id."""
        call = told.call
        if call:
            return call if call in self.open else ""
        return next(filter(None, (self.named(told.text(part)) for part in PARTS)), "")

    def named(self, name: str) -> str:
        return next((call for call, tool in self.open.items() if name and tool.name == name), "")

    def announced(self, told: Told) -> tuple[str, str]:
        """(id, name) of a call that was announced and never called. The unregistered tool's event has neither, only a
        message; a sub-agent's has no message: then it is the next in its group, whose calls are made in order."""
        call, name = told.call, told.text("tool")
        if call:
            return call, name or self.pending.get(call, "")
        for call, tool in self.pending.items():
            if tool == (name or told.named):
                return call, tool
        if told.text(*PARTS):
            return name, name
        return next(iter(self.pending.items()), ("", ""))


def attributes(told: Told, call: str) -> dict[str, Any]:
    attributes = {semconv.GEN_AI_TOOL_CALL_ID: call} if call else {}
    if told.payload.get("arguments") is not None:
        attributes[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = encoded(told.payload["arguments"])
    return attributes


def encoded(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except Exception:  # arguments and results are the tool's own objects, and may be anything
        return ""
