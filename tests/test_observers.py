"""Observers: shown every signal, in order, on a thread of their own; whatever they do, nothing is held up."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

import streamgauge
from streamgauge import observers
from streamgauge.observers import Observers
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Opened, Signal
from streamgauge.wire import Request

Counted = dict[str, int]


@pytest.fixture
def counted() -> Counted:
    return {}


@pytest.fixture
def watching(counted: Counted) -> Generator[Observers, None, None]:
    made = Observers(lambda reason: counted.__setitem__(reason, counted.get(reason, 0) + 1))
    yield made
    made.stop(10)


class Shown:
    """What an observer was shown, and a way to wait for it."""

    def __init__(self) -> None:
        self.signals: queue.Queue[tuple[Signal, Request, int]] = queue.Queue()

    def __call__(self, signal: Signal, request: Request) -> None:
        self.signals.put((signal, request, threading.get_ident()))

    def next(self) -> Signal:
        return self.signals.get(timeout=20)[0]


def chunk(text: Any) -> Chunk:
    return Chunk(RUN, 1, TEXT, text)


def test_every_signal_in_order(watching: Observers, counted: Counted) -> None:
    """A chunk alone, and several signals of one event; on one thread, which is not the stream's."""
    shown = Shown()
    watching.add(shown)
    assert watching
    request = Request(agent_name="a")
    expected: list[Signal] = []
    for number in range(50):
        alone, several = chunk(str(number)), [Opened(str(number), 1, "step"), Closed(str(number), 1)]
        watching.offer(request, alone)
        watching.offer(request, several)
        expected += [alone, *several]
    watching.stop(20)
    seen = [shown.signals.get_nowait() for _ in expected]
    assert [signal for signal, _, _ in seen] == expected
    assert {id(given) for _, given, _ in seen} == {id(request)}
    threads = {thread for _, _, thread in seen}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert counted == {}


def test_none_are_false(watching: Observers) -> None:
    assert not watching
    watching.offer(Request(), chunk("x"))
    remove = watching.add(Shown())
    assert watching
    remove()
    assert not watching


FAILURES: dict[str, Callable[..., Any]] = {
    "raises": lambda signal, request: 1 / 0,
    "asks the program to end": lambda signal, request: sys.exit(3),
    "interrupts": lambda signal, request: (_ for _ in ()).throw(KeyboardInterrupt),
    "takes too few": lambda signal: None,
}


@pytest.mark.logs
@pytest.mark.parametrize("case", FAILURES)
def test_one_that_fails(case: str, watching: Observers, counted: Counted, caplog: pytest.LogCaptureFixture) -> None:
    """It is shown what comes all the same; each failure is counted, the first is told; the others are not touched."""
    shown = Shown()
    calls: list[Signal] = []

    def failing(*args: Any) -> Any:
        calls.append(args[0])
        return FAILURES[case](*args)

    watching.add(failing)
    watching.add(shown)
    for number in range(5):
        watching.offer(Request(), chunk(number))
    watching.stop(20)
    assert len(calls) == shown.signals.qsize() == 5
    assert counted == {"observer": 5}
    assert [record.getMessage() for record in caplog.records] == [
        "An observer failed; the stream is not touched. Its further failures are only counted."
    ]


def test_one_that_blocks_holds_nothing_up(
    watching: Observers, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue fills up, and what it misses is counted; the others see all. To stop does not wait for it."""
    monkeypatch.setattr(observers, "_QUEUE_LIMIT", 3)
    blocked, entered = threading.Event(), threading.Event()
    shown = Shown()
    watching.add(lambda signal, request: (entered.set(), blocked.wait(30)))
    watching.add(shown)
    watching.offer(Request(), chunk(0))
    assert entered.wait(20)
    shown.next()
    for number in range(1, 6):
        watching.offer(Request(), chunk(number))
        assert shown.next() == chunk(number)
    assert counted == {"observer_queue_full": 2}
    watching.stop(0.01)
    blocked.set()


def test_after_a_stop_it_sees_nothing(watching: Observers) -> None:
    shown = Shown()
    remove = watching.add(shown)
    watching.offer(Request(), chunk(1))
    assert shown.next() == chunk(1)
    remove()
    remove()
    watching.offer(Request(), chunk(2))
    watching.stop(10)
    assert shown.signals.empty()


def test_what_is_queued_is_seen_before_a_stop(watching: Observers) -> None:
    go, shown = threading.Event(), Shown()
    watching.add(lambda signal, request: (go.wait(20), shown(signal, request)))
    for number in range(10):
        watching.offer(Request(), chunk(number))
    go.set()
    watching.stop(20)
    assert shown.signals.qsize() == 10


def test_it_may_remove_itself(watching: Observers) -> None:
    shown = Shown()
    removed = threading.Event()

    def once(signal: Signal, request: Request) -> None:
        shown(signal, request)
        remove()
        removed.set()

    remove = watching.add(once)
    watching.offer(Request(), chunk(1))
    assert removed.wait(20)
    watching.offer(Request(), chunk(2))
    watching.stop(10)
    assert shown.signals.qsize() == 1


def test_another_pipelines_go_on(watching: Observers, counted: Counted) -> None:
    shown = Shown()
    watching.add(shown)
    new = Observers(lambda reason: None)
    new.adopt(watching)
    new.offer(Request(), chunk(1))
    assert shown.next() == chunk(1)


# With a pipeline --------------------------------------------------------------------------------------------------


def test_once_removed_it_sees_nothing_of_open_streams(seen: Any) -> None:
    shown = Shown()
    remove = streamgauge.observe(shown)
    stream = streamgauge.wrap(iter(["a", "b"]), agent_name="one")
    assert isinstance(shown.next(), Opened)
    remove()
    assert list(stream) == ["a", "b"]
    assert list(streamgauge.wrap(iter(["c"]), agent_name="two")) == ["c"]
    seen.pipeline.observers.stop(10)
    assert shown.signals.empty()


def test_live(seen: Any) -> None:
    """While the stream runs: the caller can act on it before the next piece."""
    shown = Shown()
    streamgauge.observe(shown)
    for text in streamgauge.wrap(iter(["a", "b"]), agent_name="one"):
        if text == "a":
            opened = shown.next()
            assert isinstance(opened, Opened)
            assert opened.name == "one"
        told = shown.next()
        assert isinstance(told, Chunk)
        assert told.text == text
    closed = shown.next()
    assert isinstance(closed, Closed)
    assert closed.outcome == "completed"


def test_recording_is_the_same_with_observers(clock: Any) -> None:
    from streamgauge import testing

    found = []
    for watched in (False, True):
        with testing.recording() as seen:
            if watched:
                streamgauge.observe(lambda signal, request: None)
            list(streamgauge.wrap(iter(["a", "b"]), agent_name="one"))
            found.append([(span["name"], span["attributes"]) for span in seen.spans])
    assert found[0] == found[1]


def test_in_a_forked_child() -> None:
    """The thread is not in the child; a new one is, with the first signal."""
    program = """
import os, threading
import streamgauge
from streamgauge import testing
with testing.recording() as seen:
    shown = threading.Event()
    def observer(signal, request):
        if request.agent_name == str(os.getpid()):
            shown.set()
    streamgauge.observe(observer)
    list(streamgauge.wrap(iter("a"), agent_name=str(os.getpid())))
    assert shown.wait(20)
    pid = os.fork()
    if pid == 0:
        shown = threading.Event()
        list(streamgauge.wrap(iter("a"), agent_name=str(os.getpid())))
        os._exit(0 if shown.wait(20) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("0\n", "")
