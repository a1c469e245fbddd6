"""Signals in; spans and metric points out. The one layer that owns OpenTelemetry's API.

Every operation that it opens it closes exactly once, whichever way the stream ends. Spans are made with explicit
times and parents; none stays attached to the current context across a `yield`: a transport makes `Stream.context`
current around one read of the source, no longer. What happens per chunk calls nothing of OpenTelemetry.

Source of the rules: the GenAI conventions (`semconv`), and the table of endings in `docs/telemetry.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from streamgauge import semconv
from streamgauge.aggregates import Aggregates, Point
from streamgauge.recorder.attributes import Attributes, Content
from streamgauge.recorder.context import ambient, carried, is_traced, parent_of
from streamgauge.recorder.stream import Stream, current, within
from streamgauge.recorder.variants import ContentStream, MeteredContentStream, MeteredStream
from streamgauge.semconv import Profile
from streamgauge.wire import Request

__all__ = ["Content", "Recorder", "Stream", "ambient", "carried", "current", "is_traced", "parent_of", "within"]


class Recorder:
    """Makes a `Stream` for each stream, and keeps those that are open."""

    def __init__(
        self,
        tracer: Tracer,
        aggregates: Aggregates,
        *,
        profile: Profile = semconv.RELEASED,
        stall_after_s: float = 10.0,
        intended_ends_are_errors: bool = False,
        exemplars: str = "trace_based",
        content: Content | None = None,
        mirror: Callable[[Sequence[Point], Context], None] | None = None,
        meter_chunks: bool = False,
    ) -> None:
        """
        Args:
            stall_after_s: a source silent for longer has stalled.
            intended_ends_are_errors: give spans of cancelled and abandoned streams the status Error.
            exemplars: `trace_based`, `always_on` or `always_off`, as `OTEL_METRICS_EXEMPLAR_FILTER` has it.
            content: by default none goes on spans.
            mirror: also given every point, for a host's own meters.
            meter_chunks: each chunk gap is a point for the mirror; else it has none of them.
        """
        self.tracer = tracer
        self.aggregates = aggregates
        self.profile = profile
        self.stall_ns = int(stall_after_s * 1e9)
        self.intended_ends_are_errors = intended_ends_are_errors
        self.exemplars = exemplars
        self.attributes = Attributes(profile, content or Content())
        self.streams: set[Stream] = set()
        self._mirror = mirror
        kinds = {(False, False): Stream, (True, False): ContentStream, (False, True): MeteredStream}
        metered = meter_chunks and mirror is not None
        self._kind = kinds.get((self.attributes.content.captured, metered), MeteredContentStream)

    def stream(
        self,
        request: Request,
        *,
        at: int,
        anchor: int,
        granularity: str = "",
        counted: bool = True,
        inward: bool = True,
        parent: Context | None = None,
    ) -> Stream:
        """The recording of one stream, or (not `counted`) of a run that groups streams.

        Args:
            at: when it is opened, on its own clock.
            anchor: nanoseconds to add to the stream's clock for the time since the epoch.
            inward: the run's span is to be current in every read of the source, also between two chunks.
            parent: the telemetry context that it is opened in; by default the current one.
        """
        return self._kind(self, request, at, anchor, granularity, counted, inward, parent)

    def count(self, metric: semconv.Metric, *labels: str, amount: float = 1) -> None:
        """Count something of the middleware's own health."""
        self.record([(metric, labels, amount, None)], Context())

    def record(self, points: Sequence[Point], context: Context) -> None:
        """Record points; `context` holds the span that they belong to."""
        self.aggregates.record(points)
        self.mirror(points, context)

    @property
    def mirrored(self) -> bool:
        """Somebody else has the points too."""
        return self._mirror is not None

    def mirror(self, points: Sequence[Point], context: Context) -> None:
        """Give points, recorded already, to the host's meters."""
        if self._mirror is not None:
            self._mirror(points, context)
