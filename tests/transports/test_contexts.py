"""What the caller's context, and the memory, have of a wrapped stream: nothing that was not there before."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import streamgauge
from streamgauge import recorder
from streamgauge.signals import RUN, Closed, Opened
from transports.shapes import Boom, Both, Delegating, Fresh, outcomes, tap_of


@pytest.fixture(autouse=True)
def _context_is_left() -> Iterator[None]:
    before = otel_context.get_current()
    yield
    assert otel_context.get_current() is before


# Contexts ---------------------------------------------------------------------------------------------------------


def current() -> Any:
    return trace.get_current_span().get_span_context().span_id


def looking(found: list[int], count: int = 3) -> Generator[int, Any, None]:
    for number in range(count):
        found.append(current())
        yield number
    found.append(current())


async def alooking(found: list[int], count: int = 3) -> AsyncGenerator[int, Any]:
    for number in range(count):
        await asyncio.sleep(0)
        found.append(current())
        yield number
    found.append(current())


async def test_current_inside_and_not_outside(seen: Any) -> None:
    """In each read and in the last, also by `send`; never while the caller has its turn."""
    found: list[int] = []
    outside: list[int] = []
    stream = streamgauge.wrap(looking(found))
    next(stream)
    outside.append(current())
    stream.send(1)
    for _ in stream:
        outside.append(current())
    outside.append(current())
    astream = streamgauge.wrap(alooking(found))
    await anext(astream)
    outside.append(current())
    await astream.asend(1)
    async for _ in astream:
        outside.append(current())
    outside.append(current())
    assert set(outside) == {0}
    ids = [int(span["span_id"], 16) for span in seen.spans]
    assert found == [ids[0]] * 4 + [ids[1]] * 4


async def test_current_in_tasks_and_threads_that_the_source_starts(seen: Any) -> None:
    async def source() -> AsyncGenerator[int, None]:
        yield await asyncio.create_task(inside())
        yield await asyncio.to_thread(current)

    async def inside() -> int:
        return int(current())

    found = [item async for item in streamgauge.wrap(source())]
    assert found == [int(seen.spans[0]["span_id"], 16)] * 2


def test_read_in_another_thread(seen: Any) -> None:
    """Each piece in a thread of its own."""
    found: list[int] = []
    stream = streamgauge.wrap(looking(found))
    got: list[int] = []
    outside: list[int] = []

    def read() -> None:
        got.append(next(stream, -1))
        outside.append(current())

    for _ in range(4):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join(20)
    assert got == [0, 1, 2, -1]
    assert set(outside) == {0}
    assert found == [int(seen.spans[0]["span_id"], 16)] * 4
    assert outcomes(seen) == ["completed"]


async def test_read_and_closed_in_contexts_of_their_own(seen: Any) -> None:
    found: list[int] = []
    stream = streamgauge.wrap(looking(found))
    for _ in range(2):
        contextvars.copy_context().run(next, stream)
        contextvars.Context().run(current)
    contextvars.Context().run(stream.close)
    assert outcomes(seen) == ["abandoned"]
    assert len(set(found)) == 1


def test_streams_inside_streams(seen: Any) -> None:
    def outer() -> Generator[str, None, None]:
        for text in streamgauge.wrap(inner(), agent_name="inner"):
            with seen.pipeline.recorder.tracer.start_as_current_span("work"):
                yield_me = text.upper()
            yield yield_me

    def inner() -> Generator[str, None, None]:
        yield from streamgauge.wrap(iter("ab"), agent_name="innermost")

    assert list(streamgauge.wrap(outer(), agent_name="outer")) == ["A", "B"]
    assert seen.tree() == [
        "invoke_agent outer", "  invoke_agent inner", "    invoke_agent innermost", "  work", "  work",
    ]  # fmt: skip


def test_what_the_source_sets_for_its_caller_stays_set(seen: Any) -> None:
    """A variable of its own, and the telemetry context where it changes that on purpose."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    mine = otel_context.set_value("mine", True)

    def source() -> Generator[int, None, None]:
        variable.set("set")
        yield 1
        recorder.ambient().set(mine)
        yield 2

    stream = streamgauge.wrap(source())
    before = otel_context.get_current()
    assert next(stream) == 1
    assert variable.get() == "set"
    assert otel_context.get_current() is before
    assert next(stream) == 2
    assert otel_context.get_current() is mine
    recorder.ambient().set(before)
    assert list(stream) == []


# Memory -----------------------------------------------------------------------------------------------------------


class Piece:
    pass


def finished(stream: Any) -> None:
    list(stream)


def closed(stream: Any) -> None:
    next(iter(stream))
    if hasattr(stream, "close"):
        stream.close()


def left(stream: Any) -> None:
    for _ in stream:
        break


def unread(stream: Any) -> None:
    return None


SOURCES: dict[str, Callable[[], Any]] = {
    "generator": lambda: (Piece() for _ in range(3)),
    "iterator": lambda: Delegating(Piece(), Piece()),
    "iterable": lambda: Fresh(Piece(), Piece()),
    "both": lambda: Both(Piece(), Piece()),
}


@pytest.mark.parametrize("how", [finished, closed, left, unread], ids=lambda how: how.__name__)
@pytest.mark.parametrize("watched", [False, True], ids=["", "observed"])
@pytest.mark.parametrize("case", SOURCES)
def test_nothing_is_left_for_the_collector(case: str, watched: bool, how: Callable[[Any], None], seen: Any) -> None:
    """Without cycles, all is gone with the last reference."""
    if watched:
        streamgauge.observe(lambda signal, request: None)
    gc.collect()
    gc.disable()
    try:
        source = SOURCES[case]()
        stream: Any = streamgauge.wrap(source)
        tap = tap_of(stream)
        held = [weakref.ref(each) for each in (source, stream, tap, tap.sink)]
        del source, tap
        how(stream)
        del stream
        assert outcomes(seen) == ["completed" if how is finished else "abandoned"]
        assert [type(ref()).__name__ for ref in held if ref() is not None] == []
    finally:
        gc.enable()


def test_an_ended_stream_holds_no_span(seen: Any) -> None:
    stream = streamgauge.wrap(iter("a"))
    list(stream)
    sink: Any = tap_of(stream).sink
    assert sink.partials() == []
    assert sink.tap is None
    assert list(stream) == []


# A source with a span of its own ----------------------------------------------------------------------------------


def name_of_current() -> str:
    return str(getattr(trace.get_current_span(), "name", "none"))


def spanning(tracer: Any, found: list[str]) -> Generator[int, Any, None]:
    """Keeps spans current from one piece to the next."""
    yield 0
    with tracer.start_as_current_span("inner"):
        for number in (1, 2):
            found.append(f"in {name_of_current()}")
            yield number
        with tracer.start_as_current_span("deeper"):
            found.append(f"in {name_of_current()}")
            yield 3
        found.append(f"in {name_of_current()}")
        yield 4
    found.append(f"in {name_of_current()}")
    yield 5


async def aspanning(tracer: Any, found: list[str]) -> AsyncGenerator[int, Any]:
    for number in spanning(tracer, found):
        yield number


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_span_that_the_source_keeps_current(kind: str, seen: Any) -> None:
    """From one piece to the next, as without us; and when it gives it back, the caller has its own."""
    tracer = seen.pipeline.recorder.tracer
    transcripts = []
    for wrapping in (False, True):
        found: list[str] = []
        source: Any = (spanning if kind == "sync" else aspanning)(tracer, found)
        with tracer.start_as_current_span("caller"):
            stream = streamgauge.wrap(source, agent_name="a") if wrapping else source
            if kind == "sync":
                for _ in stream:
                    found.append(f"out {name_of_current()}")
            else:
                async for _ in stream:
                    found.append(f"out {name_of_current()}")
            found.append(f"after {name_of_current()}")
        transcripts.append(found)
    # Its base is the run, where without us it is what the caller has.
    assert transcripts[1] == [line.replace("in caller", "in invoke_agent a") for line in transcripts[0]]
    assert seen.tree()[-4:] == ["caller", "  invoke_agent a", "    inner", "      deeper"]


def thrown_into(stream: Any) -> None:
    with contextlib.suppress(Boom):
        stream.throw(Boom("x"))


ENDS: dict[str, Callable[[Any], Any]] = {
    "closed": lambda stream: stream.close(),
    "thrown into": thrown_into,
    "dropped": lambda stream: None,
}


@pytest.mark.parametrize("how", ENDS)
def test_ended_while_the_source_keeps_one(how: str, seen: Any) -> None:
    before = otel_context.get_current()
    stream = streamgauge.wrap(spanning(seen.pipeline.recorder.tracer, []), agent_name="a")
    assert [next(stream), next(stream)] == [0, 1]
    assert name_of_current() == "inner"
    ENDS[how](stream)
    del stream
    left_with = otel_context.get_current()
    recorder.ambient().set(before)
    assert left_with is before


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_ends_while_it_is_read(fails: bool, seen: Any) -> None:
    """What was made current is undone, whatever has become of the run: here a callback tells of its next turn."""

    def source() -> Generator[int, None, None]:
        yield 1
        tap_of(stream).sink.apply((Closed(RUN, 5), Opened(RUN, 6, "invoke_agent", "next")))
        if fails:
            raise Boom

    before = otel_context.get_current()
    stream = streamgauge.wrap(source(), agent_name="a")
    with contextlib.suppress(Boom):
        assert list(stream) == [1]
    left_with = otel_context.get_current()
    recorder.ambient().set(before)
    assert left_with is before


def test_dropped_while_somebody_else_has_the_source(seen: Any) -> None:
    """It is not closed: it was not only ours."""
    before = otel_context.get_current()
    source = spanning(seen.pipeline.recorder.tracer, [])
    stream = streamgauge.wrap(source, agent_name="a")
    assert [next(stream), next(stream)] == [0, 1]
    del stream
    assert list(source) == [2, 3, 4, 5]
    recorder.ambient().set(before)
    assert outcomes(seen) == ["abandoned"]


# A forked child ---------------------------------------------------------------------------------------------------


def test_the_parents_streams_are_the_parents_to_tell_of() -> None:
    """A child that reads on, ends or drops what its parent opened gets the data, and records nothing of it."""
    program = """
import os
import streamgauge
from streamgauge import testing
with testing.recording() as seen:
    read, closed, dropped = (streamgauge.wrap(x for x in "abc") for _ in range(3))
    run = streamgauge.run("r")
    run.__enter__()
    for stream in (read, closed, dropped):
        next(stream)
    pid = os.fork()
    if pid == 0:
        rest = list(read)
        closed.close()
        del dropped
        run.__exit__(None, None, None)
        own = list(streamgauge.wrap(iter("xy"), agent_name="own"))
        print(rest, own, [span["name"] for span in seen.spans], seen.value("streamgauge.streams"), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(list(read), closed.close(), seen.value("streamgauge.streams"))
    run.__exit__(None, None, None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['b', 'c'] ['x', 'y'] ['invoke_agent own'] 1",
        "['b', 'c'] None 2",
    ]
