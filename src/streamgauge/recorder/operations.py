"""The state of one open operation, and the metric points that it comes to. Pure arithmetic: no clock, no
OpenTelemetry calls.

Times are nanoseconds of the stream's clock; what is reported is in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from streamgauge import semconv
from streamgauge.aggregates import Distribution, Exemplar, Labels, Point
from streamgauge.semconv import EXECUTE_TOOL, INFERENCE, INVOKE_AGENT, Profile
from streamgauge.signals import TEXT, Usage
from streamgauge.wire import Outcome, Request

__all__ = ["FIRST", "Operation", "closing_points", "live_points", "usage_points"]


FIRST = -1
"""Every gap is beyond it."""


class Operation:
    """What gets a span, while it is open. Slotted and flat: there are thousands, and a chunk updates it in place."""

    __slots__ = (
        "agent", "attributes", "child_usage", "content", "context", "end", "first_answer", "first_chunk", "frozen",
        "gap_ns", "gaps", "granularity", "inference_calls", "key", "last", "longest", "model", "name", "operation",
        "others", "parent", "provider", "retry", "seen_texts", "segment", "segments", "span", "start", "steady",
        "text_bytes", "tool_calls", "unseen", "usage", "usual",
    )  # fmt: skip

    def __init__(self, key: str, operation: str, name: str, parent: Operation | None, start: int) -> None:
        self.key = key
        self.operation = operation
        self.name = name
        self.parent = parent
        self.start = start
        self.end = 0
        self.span: Any = None
        self.context: Any = None
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
        # Chunks.
        self.first_chunk = self.first_answer = 0
        self.last = 0
        """The last chunk's time."""
        self.usual = FIRST
        """A gap beyond it is looked at more closely: `FIRST` where the next chunk starts a new run of gaps, else the
        longest gap so far, or what counts as a pause if that is less."""
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
        self.model = given.get(semconv.GEN_AI_REQUEST_MODEL) or (parent.model if parent else request.model)
        self.provider = given.get(semconv.GEN_AI_PROVIDER_NAME) or (
            parent.provider if parent else request.provider_name
        )
        self.agent = parent.agent if parent else request.agent_name
        if self.operation in INFERENCE:
            self.name = self.model = self.name or self.model
        elif self.operation == INVOKE_AGENT:
            self.agent = self.name = self.name or ("" if parent else self.agent)

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
        self.provider = str(noted.get(semconv.GEN_AI_PROVIDER_NAME) or self.provider)
        self.granularity = str(noted.get(semconv.STREAMGAUGE_STREAM_GRANULARITY) or self.granularity)

    # Chunks ---------------------------------------------------------------------------------------------------

    def starts(self, at: int, pause_ns: int, buckets: int) -> None:
        """The first chunk, or the first after a retry."""
        self.segment = at
        self.segments += 1
        self.usual = min(self.longest, pause_ns)
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
        if self.usual != FIRST:
            self.gap_ns += self.last - self.segment
            self.usual = FIRST

    def gap_total(self) -> int:
        """The sum of all gaps, in nanoseconds."""
        return self.gap_ns + (self.last - self.segment if self.usual != FIRST else 0)

    def gap_count(self) -> int:
        return sum(self.gaps) if self.gaps is not None else 0

    def tallies(self) -> Iterator[tuple[str, int, int]]:
        """(kind, chunks, bytes) of each kind that came."""
        texts = self.segments + self.gap_count()  # all of them: nothing is counted twice per chunk
        if self.others:
            for kind, (chunks, size) in list(self.others.items()):
                texts -= chunks
                yield kind, chunks, size
        # Read from another thread the two counts are of two moments: what was once seen is never taken back.
        texts = self.seen_texts = max(texts, self.seen_texts)
        if texts:
            yield TEXT, texts, self.text_bytes

    def below(self, other: Operation) -> bool:
        """It is open somewhere below `other`."""
        parent = self.parent
        while parent is not None:
            if parent is other:
                return True
            parent = parent.parent
        return False

    def told_above(self) -> None:
        """It ends: count it in the nearest agent's run above."""
        agent = self.parent
        while agent is not None and agent.operation != INVOKE_AGENT:
            agent = agent.parent
        if agent is not None:
            agent.tool_calls += self.operation == EXECUTE_TOOL
            agent.inference_calls += self.operation in INFERENCE
            agent.child_usage |= self.usage is not None or self.child_usage


def live_points(operation: Operation, common: Labels, profile: Profile, exemplar: Exemplar | None) -> Iterator[Point]:
    """What an operation has counted up to now: these are the same points while it is open and when it ends."""
    for kind, chunks, size in operation.tallies():
        yield semconv.CHUNKS, (*common, kind), chunks, None
        yield semconv.BYTES, (*common, kind), size, None
    gaps = operation.gaps
    if gaps is not None and any(gaps):
        yield profile.per_chunk, common, Distribution(gaps.copy(), operation.gap_total() / 1e9), exemplar


def closing_points(
    operation: Operation,
    common: Labels,
    profile: Profile,
    *,
    outcome: Outcome,
    error_type: str,
    granularity: str,
    tool_name: str,
) -> Iterator[Point]:
    """What an operation comes to when it ends, beyond its `live_points`."""
    duration = (operation.end - operation.start) / 1e9
    kind = operation.operation
    if kind in INFERENCE:
        yield profile.inference_duration, (*common, error_type, outcome), duration, None
    elif kind == INVOKE_AGENT:
        yield profile.duration, (*common, error_type, outcome), duration, None
        yield semconv.AGENT_DURATION, (*common, error_type), duration, None
        yield semconv.AGENT_INFERENCE_CALLS, (*common, error_type), operation.inference_calls, None
        yield semconv.AGENT_TOOL_CALLS, (*common, error_type), operation.tool_calls, None
    elif kind == EXECUTE_TOOL:
        yield semconv.TOOL_DURATION, (*common, tool_name, error_type), duration, None
    if operation.first_chunk and (operation.parent is None or kind in INFERENCE):
        first = (operation.first_chunk - operation.start) / 1e9
        yield profile.first_chunk, (*common, granularity), first, None
    if operation.usage is not None and (kind in INFERENCE or not operation.child_usage):
        yield from usage_points(operation.usage, common, profile)


def usage_points(usage: Usage, common: Labels, profile: Profile) -> Iterator[Point]:
    """Tokens of one leaf operation. Absent counts stay absent."""
    counts = zip(
        semconv.TOKEN_TYPES,
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        ),
        strict=True,
    )
    for kind, count in counts:
        if count is not None:
            for metric, labels in profile.tokens[kind]:
                yield metric, (*common, *labels), count, None
