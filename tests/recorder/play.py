"""Signals in, spans and points out: what the tests of the recorder share. Times are milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from streamgauge.aggregates import Distribution
from streamgauge.recorder import Stream
from streamgauge.semconv import CHAT, EXECUTE_TOOL, INVOKE_AGENT, STEP
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Retried, Signal, Usage
from streamgauge.testing import Seen
from streamgauge.wire import Outcome, Request

MS = 1_000_000
ANCHOR = 5_000 * MS
"""The spans' times are so much later than the signals'."""
REQUEST = Request(agent_name="a", provider_name="p")
DULL = ("gen_ai.provider.name", "server.address", "streamgauge.dialect", "streamgauge.transport")
"""Labels that `points` leaves out."""


def run(at: float = 0, name: str = "", operation: str = INVOKE_AGENT, **attributes: Any) -> Opened:
    return Opened(RUN, int(at * MS), operation, name, RUN, attributes)


def agent(at: float, key: str, name: str, parent: str = RUN, attributes: Mapping[str, Any] | None = None) -> Opened:
    return Opened(key, int(at * MS), INVOKE_AGENT, name, parent, attributes or {})


def chat(at: float, key: str, name: str, parent: str = RUN, attributes: Mapping[str, Any] | None = None) -> Opened:
    return Opened(key, int(at * MS), CHAT, name, parent, attributes or {})


def tool(at: float, key: str, name: str, parent: str = RUN, attributes: Mapping[str, Any] | None = None) -> Opened:
    return Opened(key, int(at * MS), EXECUTE_TOOL, name, parent, attributes or {})


def step(at: float, key: str, name: str, parent: str = RUN) -> Opened:
    return Opened(key, int(at * MS), STEP, name, parent)


def chunk(at: float, key: str, text: Any = "word", kind: str = TEXT) -> Chunk:
    return Chunk(key, int(at * MS), kind, text)


def use(at: float, key: str, *counts: Any) -> Usage:
    return Usage(key, int(at * MS), *counts)


def note(at: float, key: str, attributes: Mapping[str, Any] | None = None, name: str = "") -> Noted:
    return Noted(key, int(at * MS), attributes or {}, name)


def retry(
    at: float, key: str, target: str = "model", attempt: int = 1, reason: str = "", delay_s: Any = None
) -> Retried:
    return Retried(key, int(at * MS), target, attempt, reason, delay_s)


def close(
    at: float, key: str = RUN, outcome: Outcome = Outcome.COMPLETED, error_type: str = "", message: str = ""
) -> Closed:
    return Closed(key, int(at * MS), outcome, error_type, message)


def play(
    seen: Seen, *signals: Signal, request: Request = REQUEST, asked: Mapping[float, float] | None = None
) -> Stream:
    """Signals of the same time are of one event, which the caller asked for when it had the one before, or as `asked`
    has it: time of the event: when."""
    began = signals[0].at
    stream = seen.pipeline.recorder.stream(request, at=began, anchor=ANCHOR, granularity="token")
    stream.asked = stream.at = began
    for at, group in groupby(signals, lambda signal: signal.at):
        event: Any = list(group)
        if event[0] is signals[0]:  # the opening is no data
            stream.apply(event[:1])
            event = event[1:]
        if event:
            stream.asked = int((asked or {}).get(at / MS, stream.at / MS) * MS)
            alone = len(event) == 1 and isinstance(event[0], Chunk)
            stream.record(event[0] if alone else event, stream.asked, at)
    return stream


def end(stream: Stream, at: float = 10_000, outcome: Outcome = Outcome.COMPLETED) -> None:
    stream.finish(int(at * MS), outcome)


def tree(seen: Seen) -> list[str]:
    """Each span by its start: its parent's own name, its name, from when to when."""
    lines = []
    for span in sorted(seen.spans, key=lambda span: span["start"]):
        above = f"{span['parent'].rpartition(' ')[2]} > " if span["parent"] else ""
        lines.append(f"{above}{span['name']} {_times(span)}")
    return lines


def _times(span: Mapping[str, Any]) -> str:
    start, finish = ((span[name] - ANCHOR) / MS for name in ("start", "end"))
    return f"{start:g}-{finish:g}"


def attributes(seen: Seen, name: str) -> dict[str, Any]:
    """Those of the span of that name."""
    (span,) = [span for span in seen.spans if span["name"] == name]
    found: dict[str, Any] = span["attributes"]
    return found


def typed(attributes: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """With their types: 1, 1.0 and True are not the same."""
    return {name: (type(value).__name__, value) for name, value in attributes.items()}


def points(seen: Seen, prefix: str = "", now: int = 0) -> dict[str, Any]:
    """All series by metric and labels: a number, or (count, sum)."""
    found = {}
    for family in seen.pipeline.aggregates.collect(now):
        if not family.metric.name.startswith(prefix):
            continue
        for labels, value in family.series.items():
            named = " ".join(
                f"{key.rpartition('.')[2]}={text}" for key, text in family.named(labels).items() if key not in DULL
            )
            number = (value.count, round(value.sum, 9)) if isinstance(value, Distribution) else round(value, 9)
            found[f"{family.metric.name} {named}".strip()] = number
    return found
