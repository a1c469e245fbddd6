"""What happens per event: the clocks of one stream, and the counts of its chunks.

This is the hot path. A chunk costs a look-up of its operation and a few integer updates; nothing here calls
OpenTelemetry but the rare stall.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import sub
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.context import Context

from streamgauge import semconv
from streamgauge.aggregates import Distribution, Labels, Origin, Point
from streamgauge.recorder.operations import Operation
from streamgauge.signals import BINARY, RUN, Chunk, Signals

if TYPE_CHECKING:
    from streamgauge.recorder import Recorder

__all__ = ["Clocks"]

_GAP_BOUNDS_NS = tuple(int(bound * 1e9) for bound in semconv.GAP_SECONDS)
_PAUSE_NS = 100_000_000
"""A time between two events from which on it is asked whose it was."""
_UNREAD = -1
"""A pause that the first data is always beyond, so that it needs no test of its own."""
_MANY_HOLDS = 16
"""Kept as they are; more are counted."""
_FEW_HOLDS = 4
"""Cheaper to count one by one than by a histogram that is merged."""
_NEVER = 1 << 62
"""A pause that nothing is beyond."""


class Clocks:
    """One stream's clocks. What opens and closes its operations is `Stream`."""

    __slots__ = (
        "_added", "_inward_between", "_pause_ns", "asked", "at", "caller_ns", "context", "first_byte", "holds",
        "inward", "opened", "operations", "persons", "reading", "recorder", "source_ns", "stalls", "tap", "tools",
    )  # fmt: skip

    apply_one: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {}
    """Signal: what it does to the stream. All but `Chunk`, which is read here."""

    def __init__(self, recorder: Recorder, context: Context, inward: bool) -> None:
        self.recorder = recorder
        self.operations: dict[str, Operation] = {}
        """Those that are open, by key, in the order in which they were opened."""
        self.context = context
        """Holds the run's span: to be current while the source is being read."""
        self.inward = True
        """Whether it is to be: not right after a chunk, where the source only waits between two."""
        self._inward_between = inward
        self.asked = self.at = self.opened = 0
        self.tap: Any = None
        """The tap that this is the recording of."""
        self.holds: list[int] = []
        """For how long a proxy held each piece (ns), from reading it to writing it, as far as that is not in `_added`
        yet. Who adds to it calls `added` now and then."""
        self._added: Distribution | None = None
        self.reading = False
        """What is applied now was told by data that has just come."""
        self.begin_run()

    def begin_run(self) -> None:
        """What belongs to one run: a stream may have several, one after the other."""
        self._pause_ns = _UNREAD
        self.source_ns = self.caller_ns = self.first_byte = self.stalls = self.persons = self.tools = 0

    def began_before(self, opened: int) -> None:
        """What has just come is of a run that was open before: it has waited for its first data since."""
        self.first_byte = self.at
        self.source_ns = self.at - max(opened, self.asked)
        self._pause_ns = min(self.recorder.stall_ns, _PAUSE_NS)

    def record(self, signals: Signals, asked: int, at: int) -> None:
        """Data came at `at`, for which the caller had asked at `asked`, and it told `signals`.

        A chunk alone goes straight through; its cost is the middleware's cost.
        """
        self.source_ns += at - asked
        if signals.__class__ is not Chunk:
            if at - self.at > self._pause_ns:
                self._paused(asked, at)
            self.at = at
            self.inward = True
            self.reading = True
            for signal in signals:
                if signal.__class__ is Chunk:
                    Clocks.record(self, signal, at, at)
                else:
                    self.apply_one[signal.__class__](self, signal)
            self.reading = False
            return
        operation = self.operations.get(signals.key)
        if operation is None:
            return
        # What kind it is is counted before that it came: who reads in between must not take it for text.
        if signals.kind is operation.steady:
            text = signals.text
            try:
                operation.text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            except AttributeError:  # no text after all: counted, without a size
                pass
        else:
            self._tally(operation, signals, at)
        gap = at - operation.last
        operation.last = at
        if operation.low < gap <= operation.high:  # in the bucket of the gap before
            operation.gaps[operation.bucket] += 1  # type: ignore[index]
        else:
            self._gap(operation, gap, asked, at)
        self.at = at
        self.inward = self._inward_between

    def record_alike(self, key: str, kind: str, sizes: Sequence[int], asked: Sequence[int], at: Sequence[int]) -> None:
        """The same of many chunks, alone each, of one operation and one kind, with texts of those sizes. In a tenth of
        the time."""
        self.source_ns += sum(at) - sum(asked)
        operation = self.operations.get(key)
        if operation is None:
            return
        if kind is operation.steady:
            operation.text_bytes += sum(sizes)
        else:
            for size, time in zip(sizes, at, strict=True):
                operation.tally(kind, size, time)
        gaps = list(map(sub, at, (operation.last, *at)))
        longest = max(gaps)
        if longest <= operation.high and operation.low < min(gaps):
            operation.gaps[operation.bucket] += len(gaps)  # type: ignore[index]
            operation.last = self.at = at[-1]
        elif longest <= min(self._pause_ns, _PAUSE_NS) and not operation.starting:
            counts: Any = operation.gaps
            bucket = 0
            for gap in gaps:
                bucket = bisect_left(_GAP_BOUNDS_NS, gap)
                counts[bucket] += 1
            self._like_this(operation, longest, bucket)
            operation.last = self.at = at[-1]
        else:
            for gap, time, since in zip(gaps, at, asked, strict=True):
                operation.last = time
                if operation.low < gap <= operation.high:
                    operation.gaps[operation.bucket] += 1  # type: ignore[index]
                else:
                    self._gap(operation, gap, since, time)
                self.at = time
        self.inward = self._inward_between

    def stay_inward(self) -> None:
        """The source keeps contexts of its own: in no read of it is ours to be spared."""
        self._inward_between = self.inward = True

    def added(self, waited: int) -> None:
        """A proxy held one more piece."""
        holds = self.holds
        holds.append(waited)
        if len(holds) > _MANY_HOLDS:
            self._count_holds()

    def _count_holds(self) -> Distribution:
        if self._added is None:
            self._added = Distribution([0] * (len(_GAP_BOUNDS_NS) + 1), 0.0)
        counts = self._added.counts
        for waited in self.holds:
            counts[bisect_left(_GAP_BOUNDS_NS, waited)] += 1
        self._added.sum += sum(self.holds) / 1e9
        self.holds.clear()
        return self._added

    def added_points(self, labels: Labels) -> list[Point]:
        """What a proxy added since the last time."""
        if self._added is None and len(self.holds) <= _FEW_HOLDS:
            points: list[Point] = [(semconv.ADDED_LATENCY, labels, waited / 1e9, None) for waited in self.holds]
            self.holds.clear()
            return points
        points = [(semconv.ADDED_LATENCY, labels, self._count_holds(), None)]
        self._added = None
        return points

    def apply(self, signals: Signals) -> None:
        """Signals of something that was no data of the source: its clocks are not touched."""
        for signal in signals:
            if signal.__class__ is Chunk:
                at, pause_ns, inward = self.at, self._pause_ns, self.inward
                self._pause_ns = _NEVER
                try:
                    self.record(signal, signal.at, signal.at)
                finally:
                    self.at, self._pause_ns, self.inward = at, pause_ns, inward
            else:
                self.apply_one[signal.__class__](self, signal)

    def _gap(self, operation: Operation, gap: int, asked: int, at: int) -> None:
        """A chunk that is not like the one before: the first, in another bucket, the longest gap so far, or a pause."""
        if at - self.at > self._pause_ns:
            self._paused(asked, at)
        if operation.starting:
            self.persons = 0
            operation.starts(at, len(_GAP_BOUNDS_NS) + 1)
            self.alive(operation, at)
            return
        bucket = bisect_left(_GAP_BOUNDS_NS, gap)
        operation.gaps[bucket] += 1  # type: ignore[index]
        self._like_this(operation, gap, bucket)

    def _like_this(self, operation: Operation, gap: int, bucket: int) -> None:
        """What the next gap may be that is nothing new."""
        operation.longest = max(operation.longest, gap)
        operation.bucket = bucket
        operation.low = _GAP_BOUNDS_NS[bucket - 1] if bucket else -1
        # Beyond the longest so far, and beyond a pause, it is looked at again.
        operation.high = (
            min(_GAP_BOUNDS_NS[bucket], operation.longest, _PAUSE_NS) if bucket < len(_GAP_BOUNDS_NS) else 0
        )

    def _tally(self, operation: Operation, signal: Any, at: int) -> None:
        """A chunk that is not text, or the first text."""
        text = signal.text
        size = 0
        if isinstance(text, str):  # a byte is a character of what is binary
            size = len(text) if signal.kind == BINARY else len(text.encode("utf-8", "replace"))
        operation.tally(signal.kind, size, at)

    def _paused(self, asked: int, at: int) -> None:
        """The first data, or data after a pause: of the source's, of the caller's, or of ours."""
        if self._pause_ns == _UNREAD:
            self._pause_ns = min(self.recorder.stall_ns, _PAUSE_NS)
            self.first_byte = at
            self.resumed(at)
        elif asked - self.at > _PAUSE_NS and self.tap is not None:
            self.tap.suspect()
        if at - asked > self.recorder.stall_ns:
            self._stalled(at - asked, at)

    def _stalled(self, waited: int, at: int) -> None:
        """The source was silent for too long, with no person to wait for."""
        if self.persons or not self.operations:
            return
        self.stalls += 1
        labels = (*self.common(), "tool" if self.tools else "generation")
        origin = self.origin(self.operations.get(RUN), at)
        points: list[Point] = [
            (semconv.STALLS, labels, 1, None),
            (semconv.STALL_DURATION, labels, waited / 1e9, origin),
        ]
        self.recorder.record(points, self.context)

    def ending(self, at: int) -> None:
        """The stream ends. The time since the last data was the source's, if the caller was in a read, else the
        caller's."""
        if self.asked >= self.at and self.run_open:
            waited = at - self.asked
            self.source_ns += waited
            if waited > self.recorder.stall_ns:
                self._stalled(waited, at)
        self.at = max(self.at, at)

    @property
    def run_open(self) -> bool:
        return RUN in self.operations

    def waits(self) -> tuple[int, int]:
        """Nanoseconds waited for the source, and for the caller: its share is what is left. Neither ever shrinks,
        though the two are read one after the other."""
        source = self.source_ns
        self.caller_ns = max(self.caller_ns, self.at - self.opened - source)
        return source, self.caller_ns

    # What `Retries` and `Stream` write: a clock needs it, and knows neither labels nor spans -----------------------

    def common(self) -> Labels:
        """The run's common labels."""
        raise NotImplementedError

    def origin(self, operation: Operation | None, at: int) -> Origin | None:
        """What the exemplars of an operation point at."""
        raise NotImplementedError

    def alive(self, operation: Operation, at: int) -> None:
        """A sign of life of an operation: also of those above."""
        raise NotImplementedError

    def resumed(self, at: int) -> None:
        """The first data, or the end, of a stream that is a retry."""
        raise NotImplementedError
