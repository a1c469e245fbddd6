"""The last traces, kept in memory, and one of them as a tree."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from streamgauge import semconv
from streamgauge.cli._numbers import seconds
from streamgauge.pipeline import Pipeline
from streamgauge.wire import Outcome

__all__ = ["Node", "Traces"]

_TRACES = 100  # the demo ends some ten a second: enough to choose from
_SPANS = 40  # of one trace that is shown; a longer one says less


@dataclass(slots=True)
class Node:
    """A span, and what is below it."""

    span: ReadableSpan
    below: list[Node] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        return ((self.span.end_time or 0) - (self.span.start_time or 0)) / 1e9

    def get(self, name: str) -> Any:
        return (self.span.attributes or {}).get(name)

    @property
    def outcome(self) -> Outcome | None:
        """None for a retry, which has none."""
        outcome = self.get(semconv.STREAMGAUGE_OUTCOME)
        return Outcome(outcome) if outcome else None

    @property
    def remarks(self) -> list[str]:
        """The error type, the clocks, the chunks and tokens, what a retry is one of."""
        found = []
        if self.outcome in (Outcome.FAILED, Outcome.TRUNCATED) and self.get(semconv.ERROR_TYPE) != self.outcome:
            found.append(str(self.get(semconv.ERROR_TYPE)))
        if self.get(semconv.STREAMGAUGE_END_UNSEEN):
            found.append("its end was not seen")
        clocks = (
            ("byte", semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_BYTE),
            ("token", semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
            ("answer", semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_ANSWER),
        )
        times = [f"{word} {seconds(self.get(name))}" for word, name in clocks if self.get(name) is not None]
        if times:
            found.append("first " + " ".join(times))
        counts = (
            ("chunk", semconv.STREAMGAUGE_STREAM_CHUNKS),
            ("token in", semconv.GEN_AI_USAGE_INPUT_TOKENS),
            ("token out", semconv.GEN_AI_USAGE_OUTPUT_TOKENS),
            ("stall", semconv.STREAMGAUGE_STREAM_STALLS),
        )
        found += [_counted(self.get(name), word) for word, name in counts if self.get(name)]
        if attempt := self.get(semconv.STREAMGAUGE_RETRY_ATTEMPT):
            reason = self.get(semconv.STREAMGAUGE_RETRY_REASON)
            found.append(f"attempt {attempt}{f' after {reason}' if reason else ''}")
        return found


def _counted(number: int, what: str) -> str:
    noun, space, rest = what.partition(" ")
    return f"{number} {noun}{'' if number == 1 else 's'}{space}{rest}"


class Traces(SpanProcessor):
    """Keeps the spans of the last traces."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: OrderedDict[int, list[ReadableSpan]] = OrderedDict()

    @classmethod
    def of(cls, pipeline: Pipeline) -> Traces:
        """Those of `pipeline` from now on. Where nothing exports its spans it has no provider: then one is made."""
        traces = cls()
        provider = pipeline.telemetry.tracer_provider if pipeline.telemetry is not None else None
        if not isinstance(provider, TracerProvider):
            provider = TracerProvider(shutdown_on_exit=False)
            pipeline.trace_with(provider)
        provider.add_span_processor(traces)
        return traces

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None:
            return
        with self._lock:
            self._spans.setdefault(span.context.trace_id, []).append(span)
            self._spans.move_to_end(span.context.trace_id)
            while len(self._spans) > _TRACES:
                self._spans.popitem(last=False)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def most_telling(self) -> Node | None:
        """Of the traces that have ended, the one with the most kinds of things in it."""
        with self._lock:
            kept = [list(spans) for spans in self._spans.values()]
        told = [spans for spans in kept if len(spans) <= _SPANS and _root(spans) is not None]
        if not told:
            return None
        return _tree(max(told, key=_interest))


def _root(spans: Sequence[ReadableSpan]) -> ReadableSpan | None:
    return next((span for span in spans if span.parent is None), None)


def _interest(spans: Sequence[ReadableSpan]) -> tuple[bool, int, bool, int]:
    kinds = {span.name.partition(" ")[0] for span in spans}
    outcomes = {(span.attributes or {}).get(semconv.STREAMGAUGE_OUTCOME) for span in spans}
    # The end of the program says nothing of a stream.
    return Outcome.SHUTDOWN not in outcomes, len(kinds), Outcome.FAILED in outcomes, len(spans)


def _tree(spans: Sequence[ReadableSpan]) -> Node:
    nodes = {span.context.span_id: Node(span) for span in spans if span.context is not None}
    root = next(node for node in nodes.values() if node.span.parent is None)
    for node in sorted(nodes.values(), key=lambda node: node.span.start_time or 0):
        if node.span.parent is not None:
            nodes.get(node.span.parent.span_id, root).below.append(node)
    return root
