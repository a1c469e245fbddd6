"""The six signals: what a dialect reads from events, and all that a recorder or an observer gets to see.

A signal states a fact about an *operation* (what gets a span), named by its key. The key of the run, the root
operation of a stream, is `RUN`; all others are a dialect's own choice, unique among the operations that are
open at one time. `at` is in nanoseconds, on the same clock as the events.

A key that is not open is never an error: `Opened` of an open key closes the old one first, all else is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from streamgauge.wire import Outcome

__all__ = [
    "BINARY",
    "PERSON_ANSWERED",
    "PERSON_ASKED",
    "REASONING",
    "RUN",
    "SESSION",
    "TEXT",
    "TOOL_CALL",
    "TOOL_QUEUED",
    "TOOL_REQUESTED",
    "TOOL_SKIPPED",
    "USAGE_LIMIT",
    "Chunk",
    "Closed",
    "Noted",
    "Opened",
    "Retried",
    "Signal",
    "Signals",
    "Usage",
]

RUN: Final = ""
"""The key of the run."""
SESSION: Final = ":session"
"""The key of what lies around the runs of a connection or a process that has several, one after the other."""

TEXT: Final = "text"
REASONING: Final = "reasoning"
TOOL_CALL: Final = "tool_call"
BINARY: Final = "binary"
"""Of a message of bytes that nobody reads: each is a character of the chunk's text (Latin-1)."""

PERSON_ASKED: Final = "streamgauge.person.asked"
"""The name of a `Noted` that says: the agent now waits for a person. Until `PERSON_ANSWERED`, the next chunk or
the end, silence is no stall."""
PERSON_ANSWERED: Final = "streamgauge.person.answered"
TOOL_QUEUED: Final = "streamgauge.tool.queued"
"""The name of a `Noted`: a tool call waits for somebody's approval, and the run goes on without it."""
TOOL_SKIPPED: Final = "streamgauge.tool.skipped"
"""The name of a `Noted`: a tool call was not made, because it had been made already."""
TOOL_REQUESTED: Final = "streamgauge.tool.requested"
"""The name of a `Noted`: the model asks for a tool call whose execution the stream does not show. With the tool's
name and call id."""
USAGE_LIMIT: Final = "streamgauge.usage_limit"
"""The name of a `Noted`: a provider's limit was reached, with its `.scope` and when it is lifted, `.reset_at`."""


@dataclass(slots=True)
class Opened:
    """An operation began."""

    key: str
    at: int
    operation: str
    """`chat`, `execute_tool`, `invoke_agent` or `step`, as `semconv` lists them."""
    name: str = ""
    """What the span's name ends with: the model, the tool, the agent, the step's number."""
    parent: str = RUN
    """The key of the operation above. One that is not open stands for the run. Of a run: the `traceparent` that the
    message had which began it, where it had one."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Chunk:
    """A piece of *generated* output: text, reasoning or tool-call arguments, never a service notice."""

    key: str
    at: int
    kind: str
    """`TEXT`, `REASONING` or `TOOL_CALL`; or what else a system generates, such as `audio`."""
    text: str
    """The increment alone, also where the system sends what it has so far."""

    def __iter__(self) -> Iterator[Chunk]:
        """A chunk alone is what one event tells, without a sequence around it: it is what a stream is made of, and at a
        million a second building and looping over one is 7 % of what the tap costs."""
        yield self


@dataclass(slots=True)
class Usage:
    """Tokens that the operation has used up to now, in total: a later one replaces an earlier one. None is unknown."""

    key: str
    at: int
    input_tokens: int | None = None
    """All input, cached tokens included."""
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    def counts(self) -> tuple[int | None, ...]:
        """In the order of `semconv.TOKEN_TYPES`."""
        return (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
        )


@dataclass(slots=True)
class Noted:
    """A fact about an operation: span attributes; with a `name`, a span event that has them."""

    key: str
    at: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(slots=True)
class Retried:
    """An operation is tried again. The retry lasts until the operation's next sign of life."""

    key: str
    at: int
    target: str
    """`model`, `tool` or `request`."""
    attempt: int
    """1 for the first retry."""
    reason: str = ""
    """Of low cardinality: an error's type or code, never its message."""
    delay_s: float | None = None


@dataclass(slots=True)
class Closed:
    """An operation ended, and with it all that is open below it."""

    key: str
    at: int
    outcome: Outcome = Outcome.COMPLETED
    error_type: str = ""
    """Of low cardinality; on `failed` the recorder puts `_OTHER` where it is empty."""
    message: str = ""
    """For the span's status. Never on a metric."""


Signal: TypeAlias = Opened | Chunk | Usage | Noted | Retried | Closed

Signals: TypeAlias = Iterable[Signal]
"""What one event tells: a sequence, or a chunk alone."""
