"""What a capture holds, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from streamgauge.wire import Event, Request

__all__ = ["HOWS", "Capture", "Ending", "Note"]

HOWS: Final = ("exhausted", "error", "closed", "dropped", "cancelled", "shutdown", "thrown")
"""What ended a stream: its source was exhausted or raised; the caller closed it, dropped it, cancelled it or threw into
it; the program ended."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stream ended."""

    at: int
    how: str
    """One of `HOWS`; another word where another program recorded it."""
    error: str | None = None
    """The exception's class name."""
    outcome: str = ""
    """A `wire.Outcome`: what was made of it when it was recorded; empty where nobody judged."""
    asked: int | None = None
    """When the caller had asked for what did not come; None where nobody was reading."""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on a capture, for people. It is no event, and nothing reads it."""

    at: int
    data: Any
    after: int = 0
    """How many events come before it."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One stream, as it was recorded. All times are nanoseconds on the capture's own clock, whose 0 is the opening."""

    request: Request
    framing: str | None
    """What the `bytes` and `str` of the events are framed in; None for objects."""
    epoch_ns: int
    """The wall clock at 0; 0 where it is unknown."""
    events: list[Event] = field(default_factory=list)
    """In order. Objects come in their JSON form."""
    ending: Ending | None = None
    """None where the recording says nothing of it."""
    types: list[str] = field(default_factory=list)
    """For each event the class that its data was of, as "module.Class"; empty where JSON's own kind says it."""
    notes: list[Note] = field(default_factory=list)
    truncated: bool = False
    """The recording stopped before the stream did: at its size limit, or in the middle of a line."""
