"""For tests of programs that use streamgauge: what was recorded, as plain data.

with streamgauge.testing.recording() as seen:
    for chunk in streamgauge.wrap(stream): ...
assert seen.tree() == ["invoke_agent", "  chat gpt-4o"]
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamgauge import pipeline as pipelines
from streamgauge.aggregates import Distribution, Family
from streamgauge.settings import load
from streamgauge.transports._dropped import settle

__all__ = ["Seen", "recording"]


class Seen:
    """What was recorded since `recording` began."""

    def __init__(self, pipeline: pipelines.Pipeline, exporter: InMemorySpanExporter) -> None:
        self.pipeline = pipeline
        self._exporter = exporter

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The ended spans, in the order of their ends."""
        settle()
        spans = self._exporter.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans if span.context is not None}
        return [_as_dict(span, names) for span in spans]

    def tree(self) -> list[str]:
        """The ended spans' names, two spaces a level, in the order of their starts."""
        spans = sorted(self.spans, key=lambda span: span["start"])
        known = {span["span_id"] for span in spans}
        lines: list[str] = []

        def add(parent: str | None, depth: int) -> None:
            for span in spans:
                above = span["parent_id"] if span["parent_id"] in known else None
                if above == parent:
                    lines.append("  " * depth + span["name"])
                    add(span["span_id"], depth + 1)

        add(None, 0)
        return lines

    @property
    def families(self) -> dict[str, Family]:
        """All metrics by name."""
        settle()
        return {family.metric.name: family for family in self.pipeline.aggregates.collect(time.monotonic_ns())}

    def _matching(self, metric: str, labels: dict[str, str]) -> list[float | Distribution]:
        family = self.families[metric]
        wanted = {name.replace(".", "_"): value for name, value in labels.items()}
        found = []
        for series, value in family.series.items():
            have = {name.replace(".", "_"): text for name, text in family.named(series).items()}
            if all(have.get(name, "") == value for name, value in wanted.items()):
                found.append(value)
        return found

    def value(self, metric: str, **labels: str) -> float:
        """The sum of a counter's or gauge's matching series; of a histogram, of its values. Labels with `_` for `.`."""
        return sum(value.sum if isinstance(value, Distribution) else value for value in self._matching(metric, labels))

    def count(self, metric: str, **labels: str) -> int:
        """How many values a histogram's matching series have."""
        return sum(value.count for value in self._matching(metric, labels) if isinstance(value, Distribution))

    @property
    def open(self) -> int:
        """Operations, and sessions around them, that are still open."""
        settle()
        return sum(len(stream.partials()) + stream.session_open for stream in self.pipeline.recorder.streams)


def _as_dict(span: ReadableSpan, names: dict[int, str]) -> dict[str, Any]:
    context = span.context
    assert context is not None
    parent = span.parent
    return {
        "name": span.name,
        "kind": span.kind.name,
        "parent": names.get(parent.span_id) if parent is not None else None,
        "attributes": {
            name: list(value) if isinstance(value, tuple) else value for name, value in (span.attributes or {}).items()
        },
        "status": span.status.status_code.name,
        "status_message": span.status.description or "",
        "start": span.start_time,
        "end": span.end_time,
        "events": [
            {"name": event.name, "attributes": dict(event.attributes or {}), "at": event.timestamp}
            for event in span.events
        ],
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links
        ],
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{parent.span_id:016x}" if parent is not None else None,
    }


@contextmanager
def recording(**flags: Any) -> Iterator[Seen]:
    """Record into memory instead of the process's pipeline, while the block runs.

    Args:
        flags: fields of `Settings`.
    """
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    pipeline = pipelines.Pipeline(load(flags), tracer_provider=provider, own_metrics=True)
    old = pipelines.use(pipeline)
    try:
        yield Seen(pipeline, exporter)
    finally:
        pipelines.use(old)
        pipeline.close_streams()
        pipeline.observers.stop(1.0)
        provider.shutdown()
