"""What an operation comes to in metrics. Pure arithmetic: no clock, no OpenTelemetry calls.

Times are nanoseconds of the stream's clock; what is reported is in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from streamgauge import semconv
from streamgauge.aggregates import Aggregates, Distribution, Labels, Origin, Point
from streamgauge.recorder.operations import Operation
from streamgauge.recorder.pace import Pace
from streamgauge.semconv import EXECUTE_TOOL, INFERENCE, INVOKE_AGENT, Profile
from streamgauge.signals import REASONING, TEXT, TOOL_CALL
from streamgauge.wire import Granularity, Outcome

__all__ = [
    "LabelSets",
    "Tallies",
    "closing_points",
    "granularity_label",
    "label_sets",
    "live_points",
    "run_points",
    "served_points",
    "wait_points",
]

Tallies: TypeAlias = Sequence[tuple[str, int, int]]
"""Of an operation's chunks: (kind, how many, bytes)."""

_KINDS = frozenset({TEXT, REASONING, TOOL_CALL})
_GRANULARITIES = frozenset({"", *map(str, Granularity)})


class LabelSets(NamedTuple):
    """The label sets that the points of like operations share: put together once, not for each."""

    common: Labels
    failed: Labels
    """With the error's type."""
    duration: Labels
    """With the error's type and the outcome."""
    granular: Labels
    """With the granularity."""
    ended: Labels
    """With the outcome and the error's type."""


@lru_cache(maxsize=1024)  # the caps on labels keep them few; beyond it they are put together anew
def label_sets(common: Labels, outcome: Outcome, error_type: str, granularity: str) -> LabelSets:
    return LabelSets(
        common,
        (*common, error_type),
        (*common, error_type, outcome),
        (*common, granularity),
        (*common, outcome, error_type),
    )


def granularity_label(aggregates: Aggregates, granularity: str) -> str:
    """A dialect from outside may have words of its own: as many as any other label."""
    if granularity in _GRANULARITIES:
        return granularity
    return aggregates.cap((semconv.STREAMGAUGE_STREAM_GRANULARITY,), (granularity,))[0]


def closing_points(
    operation: Operation,
    sets: LabelSets,
    profile: Profile,
    origin: Origin | None,
    tool_labels: Labels,
    served: bool = False,
) -> list[Point]:
    """What an operation comes to when it ends, beyond its `live_points`.

    Args:
        tool_labels: of a tool's execution: its name and the error's type.
        served: it is the run of a stream that is served: its duration and its first token are in `served_points`.
    """
    start = operation.start
    duration = ((operation.end or start) - start) / 1e9
    kind = operation.operation
    inference = kind in INFERENCE
    points: list[Point] = []
    if kind == INVOKE_AGENT:
        failed = sets.failed
        points += (
            (semconv.AGENT_DURATION, failed, duration, origin),
            (semconv.AGENT_INFERENCE_CALLS, failed, operation.inference_calls, origin),
            (semconv.AGENT_TOOL_CALLS, failed, operation.tool_calls, origin),
        )
        if not served:
            points.append((profile.duration, sets.duration, duration, origin))
    elif inference and not served:
        points.append((profile.inference_duration, sets.duration, duration, origin))
    elif kind == EXECUTE_TOOL:
        points.append((semconv.TOOL_DURATION, (*sets.common, *tool_labels), duration, origin))
    if operation.first_chunk and not served and (inference or operation.parent is None):
        points.append((profile.first_chunk, sets.granular, (operation.first_chunk - start) / 1e9, origin))
    if operation.usage is not None and (inference or not operation.child_usage):
        for token_type, count in operation.tokens():
            points += [(metric, (*sets.common, *own), count, origin) for metric, own in profile.tokens[token_type]]
    return points


def served_points(run: Operation, sets: LabelSets, origin: Origin | None, completed: bool, pace: Pace) -> list[Point]:
    """What the run of a stream that is served comes to for who serves it. The clocks are, as the conventions have it,
    those of successful answers."""
    points: list[Point] = [
        (semconv.SERVER_DURATION, sets.duration, ((run.end or run.start) - run.start) / 1e9, origin),
    ]
    if completed and run.first_chunk:
        points.append((semconv.SERVER_FIRST_TOKEN, sets.granular, (run.first_chunk - run.start) / 1e9, origin))
        # What comes in whole messages, or was sliced afterwards, does not come as it was generated.
        per_token = pace.per_token_s(run) if sets.granular[-1] == Granularity.TOKEN else 0.0
        if per_token:
            points.append((semconv.SERVER_PER_TOKEN, sets.common, per_token, origin))
    return points


def run_points(
    run: Operation, sets: LabelSets, origin: Origin | None, first_byte: int, waits: tuple[int, int], rate: float
) -> list[Point]:
    """What a whole stream comes to when its run ends.

    Args:
        first_byte: when the first data came; 0 where none did.
        waits: nanoseconds, as `Clocks.waits`.
        rate: chunks per second; 0 where fewer than two came.
    """
    points = wait_points(waits, sets.common)
    points.append((semconv.STREAMS, sets.ended, 1, None))
    if first_byte:
        points.append((semconv.FIRST_BYTE, sets.common, (first_byte - run.start) / 1e9, origin))
    if run.first_answer:
        points.append((semconv.FIRST_ANSWER, sets.granular, (run.first_answer - run.start) / 1e9, origin))
    if rate:
        points.append((semconv.CHUNK_RATE, sets.granular, rate, origin))
    return points


def live_points(
    operation: Operation,
    common: Labels,
    profile: Profile,
    origin: Origin | None,
    aggregates: Aggregates,
    tallies: Tallies,
) -> list[Point]:
    """What an operation has counted up to now: these are the same points while it is open and when it ends."""
    points: list[Point] = []
    for kind, chunks, size in tallies:
        if kind not in _KINDS:
            (kind,) = aggregates.cap((semconv.KIND,), (kind,))
        labels = (*common, kind)
        points.append((semconv.CHUNKS, labels, chunks, None))
        points.append((semconv.BYTES, labels, size, None))
    longest, gaps = operation.longest, operation.gaps
    if longest and gaps is not None:
        distribution = Distribution(gaps.copy(), operation.gap_total() / 1e9)
        if origin is not None:
            distribution.exemplars[bisect_left(profile.per_chunk.buckets, longest / 1e9)] = (longest / 1e9, origin)
        points.append((profile.per_chunk, common, distribution, None))
    return points


def wait_points(waits: tuple[int, int], common: Labels) -> list[Point]:
    """How long a stream waited for its source and for its caller."""
    source, caller = waits
    points: list[Point] = []
    if source:
        points.append((semconv.WAIT, (*common, "source"), source / 1e9, None))
    if caller:
        points.append((semconv.WAIT, (*common, "caller"), caller / 1e9, None))
    return points
