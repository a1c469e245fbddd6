"""Any signals, in any order, at any time, from any thread: nothing is raised, each span ends once, nothing stays open,
no context stays attached, and no counter ever goes back."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from streamgauge import semconv
from streamgauge.aggregates import Aggregates, Distribution, Family
from streamgauge.recorder import Content, Recorder
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Opened,
    Retried,
    Signal,
    Usage,
)  # fmt: skip
from streamgauge.wire import Outcome, Request

ATTRIBUTES = (semconv.GEN_AI_REQUEST_MODEL, semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_OUTPUT_MESSAGES, "x")
TEXTS = st.text(max_size=3)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), TEXTS, st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, st.integers(), max_size=1),
)  # fmt: skip
KEYS = st.sampled_from([RUN, RUN, "a", "b", "c", "d"])
NAMES = st.sampled_from(["", "x", "y"])
GIVEN = st.dictionaries(st.sampled_from(ATTRIBUTES), VALUES, max_size=2)
OPERATIONS = st.sampled_from([*semconv.SPANS, "new"])
KINDS = st.sampled_from([TEXT, TEXT, REASONING, TOOL_CALL, "new"])
TARGETS = st.sampled_from(["model", "tool", "request"])
TIMES = st.integers(0, 3_000_000_000)
COUNTS = st.one_of(st.none(), st.integers(-1, 100), st.floats(), st.text(max_size=2))

SIGNALS: st.SearchStrategy[Signal] = st.one_of(
    st.builds(Opened, KEYS, TIMES, OPERATIONS, NAMES, KEYS, GIVEN),
    st.builds(Chunk, KEYS, TIMES, KINDS, st.one_of(TEXTS, VALUES)),
    st.builds(Usage, KEYS, TIMES, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    st.builds(Noted, KEYS, TIMES, GIVEN, st.sampled_from(["", "", "event", PERSON_ASKED, PERSON_ANSWERED])),
    st.builds(Retried, KEYS, TIMES, TARGETS, st.integers(0, 3), NAMES, st.one_of(st.none(), st.floats())),
    st.builds(Closed, KEYS, TIMES, st.sampled_from(Outcome), NAMES, NAMES),
)  # fmt: skip


class Lives(SpanProcessor):
    """How often each span began and ended."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.ended: list[int] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.began.append(span.context.span_id)

    def on_end(self, span: Any) -> None:
        assert span.end_time >= span.start_time
        self.ended.append(span.context.span_id)


@contextmanager
def recorder(**options: Any) -> Iterator[tuple[Recorder, Lives]]:
    provider, lives = TracerProvider(shutdown_on_exit=False), Lives()
    provider.add_span_processor(lives)
    before = otel_context.get_current()
    made = Recorder(provider.get_tracer("t"), Aggregates(label_cap=3), stall_after_s=0.5, **options)
    yield made, lives
    assert otel_context.get_current() is before
    assert made.streams == set()
    assert made.aggregates._watched == set()
    assert sorted(lives.ended) == sorted(lives.began)
    assert len(set(lives.ended)) == len(lives.ended)
    active = {family.metric: family for family in made.aggregates.collect(0)}[semconv.ACTIVE]
    assert set(active.series.values()) <= {0}


def totals(families: list[Family]) -> Mapping[tuple[str, Any], Any]:
    """All that may only grow: counters, and of histograms each bucket and the sum."""
    found: dict[tuple[str, Any], Any] = {}
    for family in families:
        for labels, value in family.series.items():
            if isinstance(value, Distribution):
                found[family.metric.name, labels] = [*value.counts, value.sum]
            elif family.metric.kind == semconv.COUNTER:
                found[family.metric.name, labels] = [value]
    return found


def assert_grown(before: Mapping[tuple[str, Any], Any], after: Mapping[tuple[str, Any], Any]) -> None:
    for series, values in before.items():
        assert series in after, series
        assert all(new >= old - 1e-9 for old, new in zip(values, after[series], strict=True)), series


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


EVENTS = st.lists(st.tuples(st.booleans(), st.lists(SIGNALS, max_size=4)), max_size=25)


@QUICK
@given(EVENTS, st.booleans(), st.sampled_from(Outcome), TIMES)
def test_any_signals(events: list[tuple[bool, list[Signal]]], captured: bool, outcome: Outcome, at: int) -> None:
    """With times that go to and fro."""
    with recorder(content=Content(captured, 10), intended_ends_are_errors=captured) as (made, _):
        stream = made.stream(Request(agent_name="a"), at=0, anchor=0)
        for is_data, signals in events:
            arrived = signals[-1].at if signals else 0
            if is_data:
                stream.record(signals, arrived // 2, arrived)
            else:
                stream.apply(signals)
            made.aggregates.collect(arrived)
        stream.finish(at, outcome)
        assert stream.partials() == []
        stream.record([Chunk(RUN, at, TEXT, "late")], at, at)
        stream.finish(at)


NO_TIME = st.just(0)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("data"), st.integers(0, 700_000_000), st.integers(0, 400_000_000),
            st.lists(SIGNALS, min_size=1, max_size=3),
        ),
        st.tuples(st.just("aside"), NO_TIME, NO_TIME, st.lists(SIGNALS, max_size=2)),
        st.tuples(st.just("collect"), NO_TIME, NO_TIME, st.just([])),
    ),
    max_size=30,
)  # fmt: skip


@QUICK
@given(st.lists(STEPS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_no_counter_goes_back(plans: list[Any], order: random.Random) -> None:
    """Of several streams at once, read at any time, while labels change and operations end and begin."""
    with recorder() as (made, _):
        now = 1
        streams = [made.stream(Request(agent_name=f"a{number}"), at=now, anchor=0) for number in range(len(plans))]
        for number, stream in enumerate(streams):
            stream.asked = stream.at = now
            stream.apply([Opened(RUN, now, ("chat", "invoke_agent")[number % 2])])
        left = [list(plan) for plan in plans]
        before: Mapping[tuple[str, Any], Any] = {}
        while any(left):
            which = order.choice([number for number, steps in enumerate(left) if steps])
            kind, waits, holds, signals = left[which].pop(0)
            stream = streams[which]
            if kind == "collect":
                after = totals(made.aggregates.collect(now))
                assert_grown(before, after)
                before = after
                continue
            asked = max(now, stream.at) + holds
            now = asked + waits
            for signal in signals:
                signal.at = now  # what has come is not older than what came before
            if kind == "aside":
                stream.apply(signals)
            else:
                stream.asked = asked
                alone = len(signals) == 1 and isinstance(signals[0], Chunk)
                stream.record(signals[0] if alone else signals, asked, now)
        for stream in streams:
            stream.finish(now)
        assert_grown(before, totals(made.aggregates.collect(now)))


THREADS, EACH, CHUNKS = 4, 60, 20


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns a hundred times as often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("impatient")
def test_read_while_streams_run_and_end() -> None:
    """Collected by two threads, written by four: nothing is lost, counted twice, or taken back."""
    problems: list[BaseException] = []
    done = threading.Event()
    start = threading.Barrier(THREADS + 2)

    def run_streams(made: Recorder, thread: int) -> None:
        try:
            start.wait(20)
            for number in range(EACH):
                at = number * 1_000_000_000 + 1
                stream = made.stream(Request(agent_name=f"a{thread}"), at=at, anchor=0)
                stream.apply([Opened(RUN, at, "invoke_agent")])
                stream.record([Noted(RUN, at, {semconv.GEN_AI_REQUEST_MODEL: f"m{number % 2}"})], at, at)
                stream.record([Opened("c", at, "chat", "m")], at, at)
                for chunk in range(CHUNKS):
                    at += 1_000_000
                    stream.record(Chunk("c", at, TEXT if chunk % 5 else REASONING, "four"), at - 500_000, at)
                stream.record([Closed("c", at), Closed(RUN, at)], at, at)
                stream.finish(at)
        except BaseException as error:
            problems.append(error)

    def collect(made: Recorder) -> None:
        try:
            start.wait(20)
            before: Mapping[tuple[str, Any], Any] = {}
            while not done.is_set():
                after = totals(made.aggregates.collect(0))
                assert_grown(before, after)
                before = after
        except BaseException as error:
            problems.append(error)

    with recorder() as (made, lives):
        writers = [threading.Thread(target=run_streams, args=(made, number)) for number in range(THREADS)]
        readers = [threading.Thread(target=collect, args=(made,)) for _ in range(2)]
        for thread in (*writers, *readers):
            thread.start()
        for thread in writers:
            thread.join(40)
        done.set()
        for thread in readers:
            thread.join(20)
        assert problems == []
        assert len(lives.ended) == 2 * THREADS * EACH
        found = totals(made.aggregates.collect(0))
        chunks = sum(values[0] for (name, _), values in found.items() if name == semconv.CHUNKS.name)
        gaps = sum(sum(values[:-1]) for (name, _), values in found.items() if name == semconv.PER_CHUNK.name)
        ended = sum(values[0] for (name, _), values in found.items() if name == semconv.STREAMS.name)
        assert (ended, gaps) == (THREADS * EACH, THREADS * EACH * (CHUNKS - 1))
        assert chunks == THREADS * EACH * CHUNKS


@pytest.mark.usefixtures("impatient")
def test_a_shutdown_at_the_same_time() -> None:
    """What one thread reads another one closes: each span ends once, and each stream is counted once."""
    for _ in range(25):
        with recorder() as (made, _lives):
            stream = made.stream(Request(), at=1, anchor=0)
            stream.apply([Opened(RUN, 1, "invoke_agent"), *(Opened(str(n), 1, "step", str(n)) for n in range(20))])
            start = threading.Barrier(2)

            def close(made: Recorder = made, stream: Any = stream, start: threading.Barrier = start) -> None:
                start.wait(20)
                stream.finish(5, Outcome.SHUTDOWN)

            other = threading.Thread(target=close)
            other.start()
            start.wait(20)
            stream.finish(5, Outcome.ABANDONED)
            other.join(20)
            found = totals(made.aggregates.collect(0))
            assert sum(values[0] for (name, _), values in found.items() if name == semconv.STREAMS.name) == 1
