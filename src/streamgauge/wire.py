"""The words for what crosses the wire: a request, timed events, how a stream ended.

No word here knows of a transport, a dialect or OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

__all__ = ["Aside", "Event", "Granularity", "Outcome", "Request", "ServerSentEvent"]


class Outcome(StrEnum):
    """How a stream ended: one closed set, the same on every transport."""

    COMPLETED = "completed"
    """The terminal event was seen, whatever happened after it."""
    FAILED = "failed"
    """An error event, an exception from the source, or an HTTP status of 400 and above."""
    TRUNCATED = "truncated"
    """The source ended with no terminal event, where the dialect has one."""
    CANCELLED = "cancelled"
    """The caller's task was cancelled, or the agent was told to stop."""
    ABANDONED = "abandoned"
    """The caller stopped reading: break, close, dropped, never read."""
    TIMED_OUT = "timed_out"
    """A deadline of the caller's (or of a proxy's) passed."""
    SHUTDOWN = "shutdown"
    """The program ended while the stream was open."""


class Granularity(StrEnum):
    """What one chunk is, so that nobody reads a run's duration as a time to first token."""

    TOKEN = "token"  # noqa: S105  (a word of the telemetry, no secret)
    """Pieces as the model generates them."""
    MESSAGE = "message"
    """Whole messages."""
    SLICED = "sliced"
    """A finished text, cut into slices afterwards."""
    NONE = "none"
    """No generated output in the stream."""


@dataclass(slots=True)  # not frozen, though nobody changes one: that makes it three times dearer to make
class Request:
    """What is known of a stream when it is opened. Empty means unknown."""

    dialect: str = "generic"
    transport: str = "inprocess"
    operation: str = "invoke_agent"
    """The root operation: `invoke_agent` for an agent's stream, `chat` for a model's."""
    agent_name: str = ""
    provider_name: str = ""
    model: str = ""
    conversation_id: str = ""
    server_address: str = ""
    server_port: int = 0
    timeout_s: float = 0.0
    """The caller's deadline, counted from the opening; 0 for none. An end by cancellation or
    abandonment at or after it is `timed_out`."""
    served: bool = False
    """The stream is made here, for somebody else; else it is a client's."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """More attributes for the root span."""

    def updated(self, **changes: Any) -> Request:
        """The same with the non-empty `changes` in place."""
        news = {name: value for name, value in changes.items() if value and value != getattr(self, name)}
        return replace(self, **news) if news else self


@dataclass(frozen=True, slots=True)
class Event:
    """One timed piece of a stream, as capture and replay hold it."""

    at: int
    """Arrival, in nanoseconds of the stream's monotonic clock."""
    data: Any
    """The agent's own object; `bytes` where a framing follows; or an `Aside`."""
    asked: int | None = None
    """When the caller asked for it (same clock); None where nobody asked: the data was pushed."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Something seen beside the stream that belongs to its run: a message that was sent to the agent, a
    model call that a proxy around the model client saw. Dialects read it like an event of the stream;
    it is never counted as data."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)  # not frozen, though nobody changes one: that makes it three times dearer to make
class ServerSentEvent:
    """One dispatched event of an event stream.

    Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".
    """

    data: str
    type: str = "message"
    id: str = ""
    """The last event ID."""
    retry: int | None = None
    """Reconnection time, in milliseconds."""
