"""One event of shipit_agent's stream, whichever form it came in.

Source: shipit-agent 2.2.1, the files that `shipit_agent.py` names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Told", "text_of"]


class Told(NamedTuple):
    """One event, whichever form it came in."""

    type: str
    message: str
    payload: dict[str, Any]
    own: int
    """Its own time, on the stream's clock."""
    at: int

    def text(self, *names: str) -> str:
        """The first of these that the payload has as text."""
        return next(filter(None, map(text_of, map(self.payload.get, names))), "")

    @property
    def call(self) -> str:
        return self.text("call_id", "tool_call_id")

    @property
    def named(self) -> str:
        """What its message ends with: `Tool failed: search`."""
        return self.message.partition(": ")[2]

    @property
    def attempt(self) -> int:
        attempt = self.payload.get("attempt")
        return attempt if attempt.__class__ is int and attempt > 0 else 1


def text_of(value: Any) -> str:
    """Text as it is, else none."""
    return value if value.__class__ is str else ""
