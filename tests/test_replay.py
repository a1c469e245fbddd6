"""Replay: what went through live goes through again, and comes to the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import streamgauge
from streamgauge import replay as replaying
from streamgauge import semconv, testing
from streamgauge.aggregates import Distribution
from streamgauge.capture import Capture, Ending, read
from streamgauge.errors import CaptureError, UnknownDialectError
from streamgauge.pipeline import current_pipeline
from streamgauge.replay import replay
from streamgauge.signals import RUN
from streamgauge.wire import Event, Outcome, Request

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.ndjson"))
MS = 1_000_000
IDS = ("trace_id", "span_id", "parent_id")
NOW = (semconv.ACTIVE.name, semconv.SILENT.name, semconv.OLDEST.name)
EPOCH_NS = 1_700_000_000_000_000_000


def spans(seen: testing.Seen, *without: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in span.items() if name not in (*IDS, *without)} for span in seen.spans]


def metrics(seen: testing.Seen) -> dict[str, Any]:
    """All series, save the gauges, which are of a moment."""

    def plain(value: float | Distribution) -> Any:
        return (value.counts, value.sum) if isinstance(value, Distribution) else value

    return {
        name: {labels: plain(value) for labels, value in family.series.items()}
        for name, family in seen.families.items()
        if name not in NOW
    }


def played(capture: Capture, **options: Any) -> testing.Seen:
    with testing.recording() as seen:
        replay(capture, seen.pipeline, **options)
        assert seen.open == 0
    return seen


def texts(*at_ms: int, ending: Ending | None = None, asked: bool = True, framing: str | None = None) -> Capture:
    """A generic stream with a chunk at each time."""
    capture = Capture(Request(agent_name="a"), framing, EPOCH_NS, ending=ending)
    before = 0
    for at in at_ms:
        capture.events.append(Event(at * MS, "text", before * MS if asked else None))
        before = at
    return capture


# As live -----------------------------------------------------------------------------------------------------------


class Live:
    """A stream that is played in front of a real wrap, on a clock that is moved by hand, and captured."""

    def __init__(self, clock: Any, folder: Path) -> None:
        self.clock = clock
        self.folder = folder

    def source(self, events: list[Any], error: Exception | None = None) -> Iterator[Any]:
        for event in events:
            self.clock.pass_ms(7)
            yield event
        self.clock.pass_ms(3)
        if error is not None:
            raise error

    async def asource(self, events: list[Any]) -> AsyncIterator[Any]:
        for event in events:
            await asyncio.sleep(0)
            self.clock.pass_ms(7)
            yield event

    def record(self, dialect: str, run: Callable[[Callable[[Any], Any]], Any]) -> tuple[testing.Seen, Capture]:
        """`run` is given a function that wraps a source."""
        with testing.recording(capture_dir=str(self.folder)) as seen:
            run(lambda source: streamgauge.wrap(source, dialect=dialect, agent_name="a", conversation_id="c"))
            assert seen.open == 0
        (file,) = self.folder.iterdir()
        return seen, read(file)


@pytest.fixture
def live(clock: Any, tmp_path: Path) -> Live:
    return Live(clock, tmp_path)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_stream_gives_the_same_spans_and_metrics_as_live(live: Live, path: Path) -> None:
    events = [event.data for event in read(path).events if not isinstance(event.data, streamgauge.wire.Aside)]

    def run(wrapped: Callable[[Any], Any]) -> None:
        for number, _ in enumerate(wrapped(live.source(events))):
            live.clock.pass_ms(number % 3)

    seen, capture = live.record(read(path).request.dialect, run)
    again = played(capture)
    assert spans(again) == spans(seen)
    assert metrics(again) == metrics(seen)
    begun_by_the_caller = {"acp", "mcp-stdio"}  # without what the caller says there is no run
    assert seen.value(semconv.STREAMS.name) >= 1 or read(path).request.dialect in begun_by_the_caller


def closed(wrapped: Any, live: Live) -> None:
    stream = wrapped(live.source(["a", "b", "c"]))
    next(stream)
    live.clock.pass_ms(40)
    stream.close()


def dropped(wrapped: Any, live: Live) -> None:
    next(wrapped(live.source(["a", "b"])))


def never_read(wrapped: Any, live: Live) -> None:
    wrapped(live.source(["a"]))


def thrown_into(wrapped: Any, live: Live) -> None:
    stream = wrapped(live.source(["a", "b"]))
    next(stream)
    with pytest.raises(KeyError):
        stream.throw(KeyError("mine"))


def timed_out(wrapped: Any, live: Live) -> None:
    stream = wrapped(live.source(["a", "b"]))
    next(stream)
    with pytest.raises(TimeoutError):
        stream.throw(TimeoutError())


def raised(wrapped: Any, live: Live) -> None:
    with pytest.raises(ConnectionError):
        list(wrapped(live.source(["a", "b"], ConnectionError("secret"))))


def cancelled(wrapped: Any, live: Live) -> None:
    async def run() -> None:
        stream = wrapped(live.asource(["a", "b", "c"]))
        await anext(stream)
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(run())


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (closed, "abandoned"),
        (dropped, "abandoned"),
        (never_read, "abandoned"),
        (thrown_into, "abandoned"),
        (timed_out, "timed_out"),
        (raised, "failed"),
        (cancelled, "cancelled"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_ending_gives_the_same_spans_and_metrics_as_live(live: Live, run: Any, outcome: str) -> None:
    seen, capture = live.record("generic", lambda wrapped: run(wrapped, live))
    again = played(capture)
    # A capture has an exception's class, not its message.
    assert spans(again, "status_message") == spans(seen, "status_message")
    assert metrics(again) == metrics(seen)
    assert again.value(semconv.STREAMS.name, streamgauge_outcome=outcome) == 1


def test_asides_come_again_in_their_place(live: Live) -> None:
    events = [event.data for event in read(CAPTURES[0].parent / "zag-stream-tool.ndjson").events]

    def source() -> Iterator[Any]:
        tap = current_pipeline().current_tap()
        assert tap is not None
        for number, event in enumerate(live.source(events)):
            if number == 2:
                tap.aside("sent", {"semantics": "queue"})
                live.clock.pass_ms(1)
            yield event

    seen, capture = live.record("zag", lambda wrapped: list(wrapped(source())))
    assert [type(event.data).__name__ for event in capture.events].count("Aside") == 1
    again = played(capture)
    assert spans(again) == spans(seen)
    assert metrics(again) == metrics(seen)


# Every capture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_capture_is_decoded_to_its_end_and_leaves_nothing_open(path: Path) -> None:
    capture = read(path)
    seen = played(capture)
    assert seen.value(semconv.TAP_BLIND.name) == 0
    assert seen.value(semconv.TAP_ERRORS.name) == 0
    assert seen.value(semconv.STREAMS.name) >= 1
    ending = capture.ending
    assert ending is not None
    for span in seen.spans:
        assert span["start"] <= span["end"]
        if capture.epoch_ns:
            assert capture.epoch_ns <= span["start"]
            assert span["end"] <= capture.epoch_ns + ending.at


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_played_twice_it_gives_the_same_save_the_ids(path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a capture does not know the wall clock, it begins now.
    monkeypatch.setattr(replaying.time, "time_ns", lambda: EPOCH_NS)
    first = played(read(path))
    clock.pass_ms(1234)
    second = played(read(path))
    assert spans(first) == spans(second)
    assert metrics(first) == metrics(second)
    assert not {span["span_id"] for span in first.spans} & {span["span_id"] for span in second.spans}


# Endings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "outcome", "error_type"),
    [
        (Ending(9 * MS, "exhausted"), "completed", None),
        (Ending(9 * MS, "exhausted", None, "truncated"), "completed", None),
        (Ending(9 * MS, "closed"), "abandoned", None),
        (Ending(9 * MS, "dropped"), "abandoned", None),
        (Ending(9 * MS, "thrown", "KeyError"), "abandoned", None),
        (Ending(9 * MS, "thrown", "asyncio.TimeoutError"), "timed_out", "timeout"),
        (Ending(9 * MS, "cancelled", "CancelledError"), "cancelled", None),
        (Ending(9 * MS, "shutdown"), "shutdown", "shutdown"),
        (Ending(9 * MS, "error", "zag.ZagError"), "failed", "zag.ZagError"),
        (Ending(9 * MS, "error"), "failed", "_OTHER"),
        (Ending(9 * MS, "error", "asyncio.exceptions.CancelledError"), "cancelled", None),
        (Ending(9 * MS, "error", "ValueError", "failed"), "failed", "ValueError"),
        (Ending(9 * MS, "timed_out", None, "timed_out"), "timed_out", "timeout"),
        (Ending(9 * MS, "truncated"), "truncated", "truncated"),
        (Ending(9 * MS, "a word of another program", "OSError"), "failed", "OSError"),
        (Ending(9 * MS, "a word of another program"), "completed", None),
        (None, "shutdown", "shutdown"),
    ],
)
def test_endings(ending: Ending | None, outcome: str, error_type: str | None) -> None:
    seen = played(texts(2, 5, ending=ending))
    (span,) = seen.spans
    assert span["attributes"]["streamgauge.outcome"] == outcome
    assert span["attributes"].get("error.type") == error_type
    assert span["start"] == EPOCH_NS
    assert span["end"] == EPOCH_NS + (9 if ending else 5) * MS


def test_a_deadline_is_judged_as_live() -> None:
    capture = texts(2, 5, ending=Ending(900 * MS, "cancelled"))
    capture = Capture(capture.request.updated(timeout_s=0.9), None, EPOCH_NS, capture.events, capture.ending)
    (span,) = played(capture).spans
    assert span["attributes"]["streamgauge.outcome"] == "timed_out"


# Times -------------------------------------------------------------------------------------------------------------


def test_a_chunk_at_the_very_opening_is_timed() -> None:
    seen = played(texts(0, 4, ending=Ending(4 * MS, "exhausted")))
    assert seen.count(semconv.FIRST_BYTE.name) == 1
    assert seen.count(semconv.FIRST_CHUNK.name) == 1


def test_what_nobody_asked_for_was_waited_for_since_the_last() -> None:
    seen = played(texts(200, 500, asked=False, ending=Ending(600 * MS, "exhausted")))
    assert seen.value(semconv.WAIT.name, on="source") == pytest.approx(0.6)
    assert seen.value(semconv.WAIT.name, on="caller") == 0


def test_the_callers_time_is_the_callers() -> None:
    capture = texts(200, ending=Ending(600 * MS, "exhausted"))
    capture.events.append(Event(600 * MS, "b", 500 * MS))
    seen = played(capture)
    assert seen.value(semconv.WAIT.name, on="source") == pytest.approx(0.3)
    assert seen.value(semconv.WAIT.name, on="caller") == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["aiecs-hybrid-one-tool", "shipit-one-tool-call", "jaf-one-tool-call-slow-consumer"])
def test_the_events_timestamps_stand_for_a_wall_clock_that_is_not_known(name: str) -> None:
    capture = read(CAPTURES[0].parent / f"{name}.ndjson")
    unknown = Capture(capture.request, capture.framing, 0, capture.events, capture.ending, capture.types)
    known, found = played(capture).spans, played(unknown).spans
    assert len(found) == len(known)
    for one, other in zip(known, found, strict=True):
        assert other["start"] == pytest.approx(one["start"], abs=10 * MS)
        assert other["end"] - other["start"] == pytest.approx(one["end"] - one["start"], abs=10 * MS)


class HandSleep:
    """Moves the clock instead of sleeping."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.pass_ms(seconds * 1000)


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_speed(clock: Any, monkeypatch: pytest.MonkeyPatch, speed: float) -> None:
    monkeypatch.setattr(replaying, "_clock", clock)
    sleep = HandSleep(clock)
    seen = played(texts(200, 500, ending=Ending(600 * MS, "exhausted")), speed=speed, sleep=sleep)
    assert sleep.slept == pytest.approx([0.2 / speed, 0.3 / speed, 0.1 / speed])
    (span,) = seen.spans
    assert (span["start"], span["end"]) == (EPOCH_NS, EPOCH_NS + 600 * MS)


def test_without_a_speed_nothing_sleeps() -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(seconds)

    played(texts(200, 500_000, ending=Ending(600_000 * MS, "exhausted")), sleep=sleep)


def test_interrupted_it_ends_the_stream_and_lets_the_interruption_through() -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with testing.recording() as seen:
        with pytest.raises(KeyboardInterrupt):
            replay(texts(0, 500_000), seen.pipeline, speed=1, sleep=interrupted)
        assert seen.open == 0
        assert seen.value(semconv.STREAMS.name, streamgauge_outcome="shutdown") == 1


# Framed captures ---------------------------------------------------------------------------------------------------


def framed(name: str, cut: Callable[[bytes], list[bytes]]) -> tuple[Capture, Capture]:
    """A capture of texts, and the same as bytes in other pieces."""
    capture = read(CAPTURES[0].parent / f"{name}.ndjson")
    again = Capture(capture.request, capture.framing, capture.epoch_ns, [], capture.ending)
    for event in capture.events:
        again.events.extend(Event(event.at, piece, event.asked) for piece in cut(event.data.encode()))
    return capture, again


@pytest.mark.parametrize("name", ["shipit-agent-stream_sse", "shipit-session-stream_packets-sse"])
def test_a_framing_is_undone_wherever_the_bytes_were_cut(name: str) -> None:
    whole, pieces = framed(name, lambda data: [data[:3], data[3:-1], data[-1:]])
    assert len(pieces.events) == 3 * len(whole.events)
    one, other = played(whole), played(pieces)
    assert len(one.spans) > 1
    assert spans(one) == spans(other)
    assert metrics(one) == metrics(other)


def test_what_the_framing_still_holds_at_the_end_is_read() -> None:
    capture = Capture(Request(dialect="ziran"), "ndjson", EPOCH_NS, ending=Ending(9 * MS, "exhausted"))
    capture.events.append(Event(5 * MS, b'{"content_delta": "hello", "is_final": true}'))
    assert played(capture).value(semconv.STREAMS.name, streamgauge_outcome="completed") == 1


@pytest.mark.logs
def test_data_beyond_the_framings_limit_makes_it_blind_as_live() -> None:
    capture = Capture(Request(), "sse", EPOCH_NS, ending=Ending(9 * MS, "exhausted"))
    capture.events.append(Event(5 * MS, b"data: " + b"x" * 2_000_000))
    seen = played(capture)
    assert seen.value(semconv.TAP_BLIND.name) == 1
    assert seen.value(semconv.STREAMS.name) == 1


# Mistakes ----------------------------------------------------------------------------------------------------------


def test_an_unknown_framing_is_an_error_of_the_capture(seen: testing.Seen) -> None:
    with pytest.raises(CaptureError, match="known are sse, ndjson, message"):
        replay(Capture(Request(), "morse", 0), seen.pipeline)


def test_an_unknown_dialect(seen: testing.Seen) -> None:
    with pytest.raises(UnknownDialectError):
        replay(Capture(Request(dialect="nope"), None, 0), seen.pipeline)


def test_signals_reach_observers_as_live() -> None:
    with testing.recording() as seen:
        told: list[Any] = []
        seen.pipeline.observers.add(lambda signal, request: told.append((signal.key, request.agent_name)))
        replay(texts(2, 5, ending=Ending(9 * MS, "exhausted")), seen.pipeline)
    assert told == [(RUN, "a")] * 4


def test_outcomes_are_those_of_the_wire() -> None:
    assert set(replaying._HOWS.values()) < set(Outcome)
