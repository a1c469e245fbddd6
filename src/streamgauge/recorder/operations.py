"""The state of one open operation. Pure arithmetic: no clock, no OpenTelemetry calls.

Times are nanoseconds of the stream's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamgauge import semconv
from streamgauge.aggregates import Labels
from streamgauge.semconv import EXECUTE_TOOL, INFERENCE, INVOKE_AGENT
from streamgauge.signals import TEXT, Usage
from streamgauge.wire import Request

__all__ = ["Operation"]

_TOO_MANY = 2**63  # no attribute takes it


class Operation:
    """What gets a span, while it is open. Slotted and flat: there are thousands, and a chunk updates it in place."""

    __slots__ = (
        "above", "agent", "attributes", "below_until", "bucket", "child_usage", "content", "context", "end",
        "first_answer", "first_chunk", "frozen", "gap_ns", "gaps", "granularity", "high", "inference_calls", "key",
        "last", "longest", "low", "model", "name", "operation", "others", "parent", "provider", "recorded", "retry",
        "seen_texts", "segment", "segments", "span", "start", "starting", "steady", "text_bytes", "tool_calls",
        "unseen", "usage", "waits",
    )  # fmt: skip

    def __init__(self, key: str, operation: str, name: str, parent: Operation | None, start: int) -> None:
        self.key = key
        self.operation = operation
        self.name = name
        self.parent = parent
        self.start = start
        self.end: int | None = None
        self.below_until = start
        """The latest end of an operation below."""
        self.span: Any = None
        self.recorded = False
        """Somebody gets the span."""
        self.context: Any = None
        self.above: Any = None
        """The telemetry context that it was opened in."""
        self.model = self.provider = self.agent = self.granularity = ""
        self.attributes: dict[str, Any] | None = None
        """What was noted since the opening; set on the span when it ends."""
        self.frozen: Labels | None = None
        """The common labels, once a series of it has been seen from outside: they must not change under a counter."""
        self.retry: Any = None
        self.usage: Usage | None = None
        self.child_usage = False
        self.inference_calls = self.tool_calls = 0
        self.unseen = False
        """It was closed with its parent; its own end was not seen."""
        self.content = ""
        self.waits: tuple[int, int] | None = None
        """Of a run that has ended: how long it waited for its source and for its caller."""
        # Chunks.
        self.first_chunk = self.first_answer = 0
        self.last = 0
        """The last chunk's time."""
        self.starting = True
        """The next chunk starts a new run of gaps."""
        self.bucket = self.low = self.high = 0
        """The bucket of the last gap: what is above `low` and up to `high` falls into it, and is nothing new."""
        self.steady = ""
        """`TEXT` once there was some: what most chunks then are."""
        self.segment = 0
        """The time of the chunk that the present run of gaps started with."""
        self.segments = 0
        """How many runs of gaps there were: each has one chunk more than gaps."""
        self.gap_ns = 0
        """The sum of the gaps of earlier runs. Within one, gaps add up to last - segment: nothing to add per chunk."""
        self.gaps: list[int] | None = None
        self.longest = 0
        self.text_bytes = self.seen_texts = 0
        self.others: dict[str, list[int]] | None = None
        """Kind: [chunks, bytes], for all but text."""

    # Labels ---------------------------------------------------------------------------------------------------

    def label(self, given: Mapping[str, Any], request: Request) -> None:
        """Whose it is: what was given, else what holds for the operation above, else what the request says."""
        parent = self.parent
        self.model = str(given.get(semconv.GEN_AI_REQUEST_MODEL) or (parent.model if parent else request.model))
        self.provider = str(
            given.get(semconv.GEN_AI_PROVIDER_NAME) or (parent.provider if parent else request.provider_name)
        )
        agent = given.get(semconv.GEN_AI_AGENT_NAME)
        self.agent = str(agent or (parent.agent if parent else request.agent_name))
        if self.operation in INFERENCE:
            self.name = self.model = self.name or self.model
        elif self.operation == INVOKE_AGENT:
            # One below another is not that one: it has a name of its own, or none.
            self.agent = self.name = self.name or ("" if parent and not agent else self.agent)

    def relabel(self, noted: Mapping[str, Any]) -> None:
        """Take in what was noted since."""
        model = noted.get(semconv.GEN_AI_REQUEST_MODEL)
        if model:
            self.model = str(model)
            if self.operation in INFERENCE:
                self.name = self.model
        agent = noted.get(semconv.GEN_AI_AGENT_NAME)
        if agent:
            self.agent = str(agent)
            if self.operation == INVOKE_AGENT:
                self.name = self.agent
        if self.operation == EXECUTE_TOOL:
            self.name = str(noted.get(semconv.GEN_AI_TOOL_NAME) or self.name)
        self.provider = str(noted.get(semconv.GEN_AI_PROVIDER_NAME) or self.provider)
        self.granularity = str(noted.get(semconv.STREAMGAUGE_STREAM_GRANULARITY) or self.granularity)

    # Chunks ---------------------------------------------------------------------------------------------------

    def starts(self, at: int, buckets: int) -> None:
        """The first chunk, or the first after a retry."""
        self.segment = at
        self.segments += 1
        self.starting = False
        if self.gaps is None:
            self.gaps = [0] * buckets
        above: Operation | None = self
        while above is not None:
            if not above.first_chunk:
                above.first_chunk = at
            above = above.parent

    def tally(self, kind: str, size: int, at: int) -> None:
        """A chunk that is not text, or the first text."""
        if kind == TEXT:
            self.text_bytes += size
            self.steady = TEXT
            above: Operation | None = self
            while above is not None:
                if not above.first_answer:
                    above.first_answer = at
                above = above.parent
            return
        if self.others is None:
            self.others = {}
        tally = self.others.setdefault(kind, [0, 0])
        tally[0] += 1
        tally[1] += size

    def interrupted(self) -> None:
        """What comes next is no gap between two chunks: a retry lies between."""
        if not self.starting:
            self.gap_ns += self.last - self.segment
            self.starting = True
            self.low = self.high = 0

    def gap_total(self) -> int:
        """The sum of all gaps, in nanoseconds."""
        return self.gap_ns + (self.last - self.segment if not self.starting else 0)

    def gap_count(self) -> int:
        return sum(self.gaps) if self.gaps is not None else 0

    def tallies(self) -> list[tuple[str, int, int]]:
        """(kind, chunks, bytes) of each kind that came."""
        found: list[tuple[str, int, int]] = []
        texts = self.segments  # and the gaps: all chunks, as nothing is counted twice per chunk
        if not texts and not self.others:
            return found
        if self.gaps is not None:
            texts += sum(self.gaps)
        if self.others:
            for kind, (chunks, size) in list(self.others.items()):
                texts -= chunks
                found.append((kind, chunks, size))
        # Read from another thread the two counts are of two moments: what was once seen is never taken back.
        if texts < self.seen_texts:
            texts = self.seen_texts
        self.seen_texts = texts
        if texts:
            found.append((TEXT, texts, self.text_bytes))
        return found

    def below(self, other: Operation) -> bool:
        """It is open somewhere below `other`."""
        parent = self.parent
        while parent is not None:
            if parent is other:
                return True
            parent = parent.parent
        return False

    def told_above(self, around: Operation | None) -> None:
        """It ends: count it in the nearest agent's run above. `around` is the run that its stream is in."""
        used = self.usage is not None or self.child_usage
        agent = self.parent
        while agent is not None:
            agent.child_usage |= used
            if agent.operation == INVOKE_AGENT:
                break
            agent = agent.parent
        agent = agent or around
        if agent is not None:
            agent.tool_calls += self.operation == EXECUTE_TOOL
            agent.inference_calls += self.operation in INFERENCE

    def tokens(self) -> list[tuple[str, int]]:
        """(token type, count) of what was used. What is no count, straight from somebody's JSON, is left out."""
        found: list[tuple[str, int]] = []
        if self.usage is None:
            return found
        for kind, count in zip(semconv.TOKEN_TYPES, self.usage.counts(), strict=True):
            if count is None:
                continue
            is_count = count.__class__ is int or (isinstance(count, int | float) and not isinstance(count, bool))
            if is_count and 0 <= count < _TOO_MANY:
                found.append((kind, int(count)))
        return found
