"""Whatever fails beside a stream, wherever: the caller's transcript is the source's, one log line and one metric say
so, and every span ends once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

import streamgauge
from streamgauge import capture, dialects
from streamgauge.dialects import Dialect
from streamgauge.endings import classify, error_type_of, is_late, message_of
from streamgauge.observers import Observers
from streamgauge.recorder import Stream
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signals
from streamgauge.tap import Tap
from streamgauge.transports.inprocess import Gauge
from streamgauge.wire import Aside, Outcome, Request

EVENTS = ["open", "text", "text", "close", "text", "end"]


class Trouble(Exception):
    pass


class Words(Dialect):
    """One operation below the run, with chunks; it has a terminal event."""

    name, system, terminal = "words", "a test's", True

    __slots__ = ("fed",)

    def __init__(self) -> None:
        super().__init__()
        self.fed = 0

    def feed(self, data: Any, at: int) -> Signals:
        self.fed += 1
        if isinstance(data, Aside):
            return (Noted(RUN, at, {"aside": data.name}),)
        if data == "open":
            return (Opened("c", at, "chat", "m"),)
        if data == "close":
            return [Closed("c", at)]
        if data == "end":
            return (Closed(RUN, at),)
        return Chunk("c", at, TEXT, "word")


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects._found, "words", Words)


def fails(*args: Any, **kwargs: Any) -> Any:
    raise Trouble("by design")


def at_call(number: int, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """What fails the n-th time it is called, from 1, and each time after."""
    calls = 0

    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return fails() if calls >= number else otherwise(*args, **kwargs)

    return called


class Case(NamedTuple):
    install: Callable[[Any, pytest.MonkeyPatch, Path], None]
    metrics: dict[str, int]
    """What is counted, by `what reason`."""
    outcome: str | None = "completed"
    """Of the run's span after all events; None where there is none."""
    others: int = 1
    """Other spans that there are."""
    how: str = ""
    """Only then; else nothing fails."""
    logs: int | None = None
    """Where it is not one for each metric."""


def dialect(**methods: Any) -> Callable[..., None]:
    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setitem(dialects._found, "words", type("Words", (Words,), {"__slots__": (), **methods}))

    return install


def sink(name: str, number: int = 1, owner: type = Stream) -> Callable[..., None]:
    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr(owner, name, at_call(number, getattr(owner, name)))

    return install


def writer(name: str, number: int = 1, otherwise: Callable[..., Any] | None = None) -> Callable[..., None]:
    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        failing = otherwise or at_call(number, getattr(capture.CaptureWriter, name))
        monkeypatch.setattr(capture.CaptureWriter, name, failing)
        capturing(seen, folder)

    return install


def capturing(seen: Any, folder: Path) -> None:
    object.__setattr__(seen.pipeline.settings, "capture_dir", str(folder / "captures"))


def no_folder(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "captures").write_text("a file is in the way")
    capturing(seen, folder)


def observer(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(Observers, "offer", fails)
    streamgauge.observe(print)


def aggregates(name: str) -> Callable[..., None]:
    from streamgauge.aggregates import Aggregates

    return sink(name, 1, Aggregates)


def processor(**methods: Any) -> Callable[..., None]:
    """A span processor that fails, as an exporter in the caller's thread may."""

    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        provider = seen.pipeline.recorder.tracer.span_processor
        provider.add_span_processor(type("Failing", (SpanProcessor,), methods)())

    return install


def mirror(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    seen.pipeline.recorder._mirror = at_call(1, lambda *args: None)


def log_handler(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Both the dialect and the host's logging fail."""
    dialect(feed=fails)(seen, monkeypatch, folder)
    monkeypatch.setattr(logging.getLogger("streamgauge"), "warning", fails)


class BadSampler(Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        return fails()

    def get_description(self) -> str:
        return "bad"


def sampler(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    seen.pipeline.recorder.tracer = TracerProvider(sampler=BadSampler(), shutdown_on_exit=False).get_tracer("t")


def fails_at(number: int) -> Callable[..., Signals]:
    """A `feed` that fails at the n-th event."""
    return lambda self, data, at: fails() if self.fed + 1 == number else Words.feed(self, data, at)


def yields(self: Words, data: Any, at: int) -> Signals:
    """A `feed` that is a generator, and fails when it is read."""
    for signal in Words.feed(self, data, at):
        yield fails() if data == "close" else signal


def closes_and_fails(self: capture.CaptureWriter) -> None:
    CLOSE(self)
    fails()


CLOSE = capture.CaptureWriter.close

CASES: dict[str, Case] = {
    "nothing": Case(lambda *_: None, {}),
    # The dialect. After it failed nobody knows of a terminal event.
    "dialect.feed, at once": Case(dialect(feed=fails), {"blind dialect": 1}, others=0),
    **{f"dialect.feed, event {n}": Case(dialect(feed=fails_at(n)), {"blind dialect": 1}) for n in range(2, 7)},
    "dialect.feed gives nothing": Case(dialect(feed=lambda self, data, at: None), {"blind sink": 1}, others=0),
    "dialect.feed gives no signals": Case(dialect(feed=lambda self, data, at: ("x",)), {"blind sink": 1}, others=0),
    "dialect.feed, as a generator": Case(dialect(feed=yields), {"blind sink": 1}),
    "dialect.finish": Case(dialect(finish=fails), {"blind dialect": 1}, how="exhausted"),
    "dialect.untold": Case(dialect(untold=fails), {"blind dialect": 1}, how="fails"),
    "dialect.terminal": Case(dialect(terminal=property(fails)), {"blind dialect": 1}, how="exhausted"),
    "dialect.__init__": Case(dialect(__init__=fails), {"blind dialect": 1}, others=0),
    # The recorder.
    "sink.record, at once": Case(sink("record"), {"blind sink": 1}, others=0),
    **{f"sink.record, event {n}": Case(sink("record", n), {"blind sink": 1}) for n in range(2, 7)},
    "sink.apply, at the opening": Case(sink("apply"), {"blind sink": 1}, None, 0),
    "sink.ending": Case(sink("ending"), {"blind sink": 1}),
    "sink.finish": Case(sink("finish"), {"blind sink": 1}),
    "aggregates.cap": Case(aggregates("cap"), {"blind sink": 1}),
    "aggregates.record_locked": Case(aggregates("record_locked"), {}, logs=1),
    "aggregates.watch": Case(aggregates("watch"), {"blind sink": 1}, others=0),
    "the mirror": Case(mirror, {"blind sink": 1}),
    # OpenTelemetry.
    "processor.on_start": Case(processor(on_start=fails), {"blind sink": 1}, None, 0),
    "processor.on_end": Case(processor(on_end=fails), {"blind sink": 1}),
    "the sampler": Case(sampler, {"blind sink": 1}, None, 0),
    # What watches.
    "an observer's queue": Case(observer, {"error observer": 1}),
    "capture.__init__": Case(writer("__init__"), {"error capture": 1}),
    "capture.write": Case(writer("write"), {"error capture": 1}),
    "capture.write, later": Case(writer("write", 3), {"error capture": 1}),
    "capture.end": Case(writer("end"), {"error capture": 1}),
    "capture.close": Case(writer("close", otherwise=closes_and_fails), {"error capture": 1}),
    "the capture's folder": Case(no_folder, {"error capture": 1}),
    "the log": Case(log_handler, {"blind dialect": 1}, others=0, logs=0),
}


def source(error: BaseException | None = None) -> Generator[str, None, str]:
    yield from EVENTS
    if error is not None:
        raise error
    return "result"


def transcript(stream: Any, how: str) -> list[Any]:
    """All that the caller sees."""
    got: list[Any] = []
    try:
        if how == "closed":
            got += [next(stream), next(stream)]
            stream.close()
        while True:
            got.append(next(stream))
    except StopIteration as stopped:
        got.append(("result", stopped.value))
    except BaseException as error:
        got.append(error)
    return got


class Lives(SpanProcessor):
    def __init__(self) -> None:
        self.began: list[Any] = []
        self.ended: list[Any] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.began.append(span)

    def on_end(self, span: Any) -> None:
        self.ended.append(span)


@pytest.mark.logs
@pytest.mark.parametrize("how", ["exhausted", "fails", "closed"])
@pytest.mark.parametrize("case", CASES)
def test_whatever_fails(
    case: str, how: str, seen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install, metrics, outcome, others, only, logs = CASES[case]
    lives = Lives()
    add = seen.pipeline.recorder.tracer.span_processor.add_span_processor
    if case != "processor.on_start":  # what it begins nobody is given to end
        add(lives)
    error = ValueError("the source's") if how == "fails" else None
    expected = transcript(source(error), how)
    with monkeypatch.context() as patched:
        install(seen, patched, tmp_path)
        stream = streamgauge.wrap(source(error), dialect="words", agent_name="a")
        assert transcript(stream, how) == expected
        del stream
    assert [span.name for span in lives.began if span.end_time is None] == [], "each span ended"
    assert len({id(span) for span in lives.ended}) == len(lives.ended), "once"
    assert seen.open == 0
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
    if how == "closed":  # after two events; what would have failed later did not
        return
    if only not in ("", how):
        metrics = {}
    counted = {
        f"{what} {labels[0]}": value
        for what, name in (("blind", "streamgauge.tap.blind"), ("error", "streamgauge.tap.errors"))
        for labels, value in seen.families[name].series.items()
    }
    assert counted == metrics
    logged = [record.getMessage() for record in caplog.records if record.name == "streamgauge"]
    assert len(logged) == (len(metrics) if logs is None else logs)
    assert all("goes on, unchanged" in message for message in logged)
    if how == "exhausted":
        spans = {span["name"]: span["attributes"] for span in seen.spans}
        run = spans.pop("invoke_agent a", None)
        assert len(spans) == others
        assert (run["streamgauge.outcome"] if run else None) == outcome
        went_blind = "blind dialect" in metrics and not only
        assert run is None or run.get("streamgauge.blind") == ("dialect" if went_blind else None)


# One thing at a time ----------------------------------------------------------------------------------------------


class Framing:
    """Splits lines; fails where it is told to."""

    def __init__(self, fails_in: str = "") -> None:
        self.fails_in = fails_in
        self.left = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, self.left = (self.left + data).split(b"\n")
        return fails() if self.fails_in == "feed" and b"text" in lines else [line.decode() for line in lines]

    def finish(self) -> list[str]:
        return fails() if self.fails_in == "finish" else [self.left.decode()] if self.left else []


@pytest.mark.logs
@pytest.mark.parametrize("fails_in", ["", "feed", "finish"])
def test_framing(fails_in: str, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamgauge import recorder, semconv

    monkeypatch.setattr("streamgauge.framing.FRAMINGS", {"lines": lambda: Framing(fails_in)})
    stream = seen.pipeline.open(Request(dialect="words", agent_name="a"), framing="lines")
    gauge = Gauge(fails, fails, recorder.ambient(), {}, fails)
    pieces = [b"open\nte", b"xt\ntext\nclose\n", b"text\nen", b"d"]
    assert list(gauge.stream(iter(pieces), stream)) == pieces
    run = {span["name"]: span["attributes"] for span in seen.spans}["invoke_agent a"]
    assert run["streamgauge.outcome"] == "completed"
    assert run.get(semconv.STREAMGAUGE_BLIND) == ("framing" if fails_in else None)
    assert seen.value("streamgauge.stream.chunks") == {"": 2, "feed": 0, "finish": 2}[fails_in]
    assert seen.value("streamgauge.tap.blind", reason="framing") == bool(fails_in)


@pytest.mark.logs
def test_what_could_not_be_decoded_is_captured(seen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is what somebody wants to look at."""
    dialect(feed=fails_at(2))(seen, monkeypatch, tmp_path)
    capturing(seen, tmp_path)
    list(streamgauge.wrap(source(), dialect="words"))
    (file,) = (tmp_path / "captures").iterdir()
    assert [event.data for event in capture.read(file).events] == EVENTS


@pytest.mark.logs
def test_the_same_trouble_is_told_once_a_minute(
    clock: Any, seen: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The metric has every case."""
    monkeypatch.setitem(dialects._found, "words", type("Words", (Words,), {"feed": fails}))
    for _ in range(3):
        list(streamgauge.wrap(source(), dialect="words"))
        clock.pass_ms(31_000)
    assert len(caplog.records) == 2
    assert caplog.records[0].getMessage() == (
        "A stream of dialect words is no longer decoded (it goes on, unchanged): its dialect failed."
    )
    assert seen.value("streamgauge.tap.blind", reason="dialect") == 3


def test_an_observer_that_blocks_for_ever(seen: Any) -> None:
    """The stream runs, and is recorded, to its end; and so is the next."""
    ever, entered = threading.Event(), threading.Event()
    streamgauge.observe(lambda signal, request: (entered.set(), ever.wait(50)))
    for _ in range(2):
        assert list(streamgauge.wrap(source(), dialect="words", agent_name="a")) == EVENTS
        assert entered.wait(20)
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 2
    ever.set()


# Slow -------------------------------------------------------------------------------------------------------------


def slow(clock: Any, *milliseconds: float) -> type[Dialect]:
    """Takes so long for each event, in turn."""
    left = list(milliseconds)

    def feed(self: Any, data: Any, at: int) -> Signals:
        clock.pass_ms(left.pop(0) if left else 0)
        return Chunk(RUN, at, TEXT, data)

    return type("Words", (Words,), {"feed": feed, "terminal": False})


SLOW: dict[str, tuple[list[float], bool]] = {
    "never": ([1] * 10, False),
    "below the limit": ([100] * 10, False),
    "the second finds that the first was, three more prove it": ([101] * 5, True),
    "two more do not": ([101] * 4, False),
    "with others between": ([500, 1, 500, 1, 500, 1, 500], True),
}


@pytest.mark.logs
@pytest.mark.parametrize("case", SLOW)
def test_slow(
    case: str, clock: Any, seen: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    durations, is_blind = SLOW[case]
    monkeypatch.setitem(dialects._found, "words", slow(clock, *durations))
    items = [str(number) for number in range(12)]
    assert list(streamgauge.wrap(iter(items), dialect="words", agent_name="a")) == items
    assert seen.value("streamgauge.tap.blind", reason="slow") == is_blind
    assert [record.getMessage() for record in caplog.records] == is_blind * [
        "A stream of dialect words is no longer decoded (it goes on, unchanged): reading it took too long."
    ]
    (span,) = seen.spans
    assert (span["attributes"]["streamgauge.outcome"], span["attributes"].get("streamgauge.blind")) == (
        "completed", "slow" if is_blind else None,
    )  # fmt: skip
    assert span["attributes"]["streamgauge.stream.chunks"] == (
        12 if not is_blind else len(durations) - (durations[-1] == 1)
    )


def test_a_strike_is_forgotten(clock: Any, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that sleeps now and then makes no dialect a slow one."""
    monkeypatch.setitem(dialects._found, "words", slow(clock, *[500] * 12))
    got = []
    for item in streamgauge.wrap(iter("abcdefghijkl"), dialect="words"):
        got.append(item)
        clock.pass_ms(61_000)
    assert "".join(got) == "abcdefghijkl"
    assert seen.value("streamgauge.tap.blind") == 0
    assert seen.value("streamgauge.stream.chunks") == 12


def test_a_slow_caller_is_not_our_fault(clock: Any, seen: Any) -> None:
    """It is timed from then on, and found quick."""
    stream = streamgauge.wrap(source(), dialect="words", agent_name="a")
    for _ in stream:
        clock.pass_ms(5_000)
    assert seen.value("streamgauge.tap.blind") == 0
    assert seen.value("streamgauge.stream.chunks") == 2


# The tap alone ----------------------------------------------------------------------------------------------------


class Sink:
    """A recording that only notes what it is asked to do, or fails at all of it."""

    def __init__(self, failing: bool = False) -> None:
        self.asked = self.at = 0
        self.context: Any = None
        self.inward = True
        self.tap: Any = None
        self.calls: list[Any] = []
        self.failing = failing

    @property
    def run_open(self) -> bool:
        self._note("run_open")
        return True

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failing:
            fails()

    def record(self, signals: Signals, asked: int, at: int) -> None:
        self._note("record", list(signals), asked, at)

    def apply(self, signals: Signals) -> None:
        self._note("apply", list(signals))

    def ending(self, at: int) -> None:
        self._note("ending", at)

    def finish(self, at: int) -> None:
        self._note("finish", at)


def made(sink: Sink, decoder: Any = None, **options: Any) -> tuple[Tap, list[Any]]:
    told: list[Any] = []
    return Tap(Request(), decoder or Words(), sink, report=lambda *call: told.append(call[:2]), **options), told


METHODS: dict[str, Callable[[Tap], Any]] = {
    "open": lambda t: t.open(5),
    "feed": lambda t: t.feed("text", 5, 6),
    "push": lambda t: t.push("text"),
    "aside": lambda t: t.aside("x", {"y": 1}),
    "aside_at": lambda t: t.aside_at(Aside("x"), 7),
    "suspect": lambda t: t.suspect(),
    "end": lambda t: t.end(),
    "end with an error": lambda t: t.end(Trouble("x")),
    "end_at": lambda t: t.end_at(9, outcome=Outcome.SHUTDOWN),
}


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_no_method_raises(method: str, failing: bool, ended: bool) -> None:
    """At any time, whatever is beneath; and after the end nothing is told."""
    sink = Sink(failing)
    broken = type("Words", (Words,), {"feed": fails, "finish": fails, "untold": fails, "terminal": property(fails)})
    for decoder in (Words(), broken()):
        tapped, told = made(sink, decoder)
        if ended:
            tapped.end()
            sink.calls.clear()
            told.clear()
        if not (ended and method == "open"):
            METHODS[method](tapped)
        tapped.end()
        assert tapped.ended
        if ended:
            assert (sink.calls, told) == ([], [])


def test_a_life() -> None:
    sink = Sink()
    tapped, told = made(sink)
    tapped.open(5)
    tapped.feed("open", 6, 7)
    tapped.feed("text", 7, 8)
    tapped.aside_at(Aside("x"), 9)
    tapped.end_at(10, Trouble("why"))
    tapped.end_at(11)
    assert told == []
    assert sink.calls == [
        ("apply", [Opened(RUN, 5, "invoke_agent")]),
        ("record", [Opened("c", 7, "chat", "m")], 6, 7),
        ("record", [Chunk("c", 8, TEXT, "word")], 7, 8),
        ("apply", [Noted(RUN, 9, {"aside": "x"})]),
        ("ending", 10),
        ("apply", []),
        ("run_open",),
        ("apply", [Closed(RUN, 10, Outcome.FAILED, f"{Trouble.__module__}.Trouble", "why")]),
        ("finish", 10),
    ]
    assert sink.tap is None


def test_pushed_events_were_waited_for_since_the_last(clock: Any) -> None:
    sink = Sink()
    tapped, _ = made(sink)
    tapped.open(clock())
    began = clock()
    clock.pass_ms(10)
    tapped.push("text")
    sink.at = clock()
    clock.pass_ms(20)
    tapped.push("text")
    times = [
        ((asked - began) / 1e6, (at - began) / 1e6) for _, _, asked, at in (c for c in sink.calls if c[0] == "record")
    ]
    assert times == [(0, 10), (10, 30)]
    assert sink.asked == clock(), "the source is waited for"


class Status(Exception):
    def __init__(self, status_code: Any) -> None:
        self.status_code = status_code


class Failing(Exception):
    @property
    def status_code(self) -> int:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x"), "ValueError"), (Trouble(), f"{Trouble.__module__}.Trouble"), (Status(429), "429"),
        (Status(200), f"{Status.__module__}.Status"), (Status("429"), f"{Status.__module__}.Status"),
        (Status(None), f"{Status.__module__}.Status"), (Status(True), f"{Status.__module__}.Status"),
        (Failing(), f"{Failing.__module__}.Failing"), (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)  # fmt: skip
def test_error_types(error: BaseException, expected: str) -> None:
    assert error_type_of(error) == expected


def test_messages() -> None:
    assert (message_of(ValueError("why")), message_of(Failing()), message_of(KeyError("k"))) == ("why", "", "'k'")


def test_classes_of_endings() -> None:
    import asyncio

    table = {
        Outcome.CANCELLED: asyncio.CancelledError(), Outcome.ABANDONED: GeneratorExit(), Outcome.FAILED: TimeoutError(),
        Outcome.SHUTDOWN: KeyboardInterrupt(),
    }  # fmt: skip
    assert {outcome: classify(error) for outcome, error in table.items()} == {outcome: outcome for outcome in table}
    assert classify(SystemExit(1)) is Outcome.SHUTDOWN
    assert classify(ExceptionGroup("x", [ValueError()])) is Outcome.FAILED


@pytest.mark.parametrize(
    ("timeout_s", "elapsed_ms", "late"),
    [(0, 10**9, False), (5, 4_999.999999, False), (5, 5_000, True), (0.1 + 0.2, 300, True), (4.9, 4_900, True)],
)
def test_deadlines(timeout_s: float, elapsed_ms: float, late: bool) -> None:
    assert is_late(Request(timeout_s=timeout_s), round(elapsed_ms * 1e6)) is late


@pytest.mark.logs
def test_a_deadline_that_is_no_number_ends_no_stream(seen: Any) -> None:
    stream = streamgauge.wrap(source(), timeout_s="5", agent_name="a")  # type: ignore[arg-type]
    next(stream)
    stream.close()
    assert seen.value("streamgauge.streams", streamgauge_outcome="abandoned") == 1
