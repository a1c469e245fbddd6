"""Whatever fails beside a stream, wherever: the caller's transcript is the source's, one log line and one metric say so, and
every span ends once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

import streamgauge
from streamgauge import capture, dialects
from streamgauge.dialects import Dialect
from streamgauge.observers import Observers
from streamgauge.recorder import Stream
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signals
from streamgauge.wire import Aside

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


def dialect(**methods: Any) -> Callable[..., None]:
    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setitem(dialects._found, "words", type("Words", (Words,), {"__slots__": (), **methods}))

    return install


def sink(name: str, number: int = 1, owner: type = Stream) -> Callable[..., None]:
    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr(owner, name, at_call(number, getattr(owner, name)))

    return install


def writer(name: str, number: int = 1) -> Callable[..., None]:
    def install(seen: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr(capture.CaptureWriter, name, at_call(number, getattr(capture.CaptureWriter, name)))
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


class Unended(property):
    pass


CASES: dict[str, Case] = {
    "nothing": Case(lambda *_: None, {}),
    # The dialect. After it failed nobody knows of a terminal event.
    "dialect.feed, at once": Case(dialect(feed=fails), {"blind dialect": 1}, others=0),
    **{
        f"dialect.feed, event {number}": Case(
            dialect(feed=lambda self, data, at, number=number: fails() if self.fed + 1 == number else Words.feed(self, data, at)),
            {"blind dialect": 1},
        )
        for number in range(2, 7)
    },
    "dialect.feed gives nothing": Case(dialect(feed=lambda self, data, at: None), {"blind sink": 1}, others=0),
    "dialect.feed gives no signals": Case(dialect(feed=lambda self, data, at: ("text",)), {"blind sink": 1}, others=0),
    "dialect.feed, as a generator": Case(
        dialect(feed=lambda self, data, at: (fails() if data == "close" else each for each in Words.feed(self, data, at))),
        {"blind sink": 1},
    ),
    "dialect.finish": Case(dialect(finish=fails), {"blind dialect": 1}),
    "dialect.terminal": Case(dialect(terminal=property(fails)), {"blind dialect": 1}),
    "dialect.__init__": Case(dialect(__init__=fails), {"blind dialect": 1}, others=0),
    # The recorder.
    **{f"sink.record, event {number}": Case(sink("record", number), {"blind sink": 1}, others=int(number > 1)) for number in range(1, 7)},
    "sink.apply, at the opening": Case(sink("apply", 1), {"blind sink": 1}, None, 0),
    "sink.ending": Case(sink("ending"), {"blind dialect": 1}),
    "sink.finish": Case(sink("finish"), {"blind sink": 1}),
    "aggregates.cap": Case(aggregates("cap"), {"blind sink": 1}),
    "aggregates.record_locked": Case(aggregates("record_locked"), {}),
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
    "capture.close": Case(writer("close"), {"error capture": 1}),
    "the capture's folder": Case(no_folder, {"error capture": 1}),
    "the log": Case(log_handler, {"blind dialect": 1}, others=0),
}  # fmt: skip


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
    install, metrics, outcome, others = CASES[case]
    lives = Lives()
    seen.pipeline.recorder.tracer.span_processor.add_span_processor(lives)
    error = ValueError("the source's") if how == "fails" else None
    expected = transcript(source(error), how)
    with monkeypatch.context() as patched:
        install(seen, patched, tmp_path)
        stream = streamgauge.wrap(source(error), dialect="words", agent_name="a")
        assert transcript(stream, how) == expected
        del stream
    if case == "the capture's folder" or how != "closed":
        counted = {
            f"{what} {labels[0]}": value
            for what in ("blind", "errors")
            for labels, value in seen.families[f"streamgauge.tap.{what}"].series.items()
        }
        assert counted == {name.replace("error ", "errors "): value for name, value in metrics.items()}
        logged = [record for record in caplog.records if record.name == "streamgauge"]
        assert len(logged) == (0 if case == "the log" else len(metrics))
        assert all("goes on, unchanged" in record.getMessage() for record in logged)
        spans = {span["name"]: span["attributes"]["streamgauge.outcome"] for span in seen.spans}
        if how == "exhausted":
            assert spans.get("invoke_agent a") == outcome
            assert len(spans) == others + (outcome is not None)
    assert [span.name for span in lives.began if span.end_time is None] == [], "each span ended"
    assert len({id(span) for span in lives.ended}) == len(lives.ended), "once"
    assert seen.open == 0
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
