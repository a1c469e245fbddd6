"""The conformance matrix of the in-process transport: every capture, sync and async, with every way to end a stream.

Each: the caller's transcript is the source's, the same objects; one run span for each run, ended at once; the right
outcome and the three clocks; nothing is left open, and nothing is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import sys
import traceback
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

import streamgauge
from streamgauge.wire import Outcome

from .sources import CALLER_MS, SOURCE_MS, Boom, Script, aplayed, played, scripts

NAMES = sorted(scripts())
LONG_ENOUGH = [name for name in NAMES if len(scripts()[name].data) >= 2]
STOP = 2
"""Where a stream is stopped that is not read to its end: before, or after, this many events."""


class CallersOwn(Exception):
    """What the caller's loop raises."""


def wrapped(source: Any, script: Script) -> Any:
    return streamgauge.wrap(source, dialect=script.dialect, agent_name="a")


def runs(seen: Any) -> list[dict[str, Any]]:
    """The run spans, in the order of their starts: those without a parent."""
    return sorted((span for span in seen.spans if span["parent_id"] is None), key=lambda span: span["start"])


def check(seen: Any, script: Script, read: int, outcome: Outcome) -> None:
    """After `read` events and an end of the stream that, with no terminal event before it, is `outcome`."""
    expected = script.outcome_after(read, outcome)
    found = runs(seen)
    assert found, seen.tree()
    assert found[-1]["attributes"]["streamgauge.outcome"] == expected
    assert seen.open == 0
    assert len({span["span_id"] for span in seen.spans}) == len(seen.spans), "a span ended twice"
    opened = 1 + sum(index < read for index in script.opens)
    assert len(found) == opened, seen.tree()
    assert seen.value("streamgauge.streams") == opened
    assert seen.value("streamgauge.streams", streamgauge_outcome=str(expected)) >= 1
    in_error = expected not in (Outcome.COMPLETED, Outcome.CANCELLED, Outcome.ABANDONED)
    assert found[-1]["status"] == ("ERROR" if in_error else "UNSET")
    assert ("error.type" in found[-1]["attributes"]) == in_error
    if expected is not Outcome.COMPLETED:
        assert found[-1]["attributes"]["gen_ai.response.finish_reasons"] == ["error"] or read
    clocks(found[0]["attributes"], script, read)


def clocks(attributes: dict[str, Any], script: Script, read: int) -> None:
    def arrival(index: int | None) -> float | None:
        if index is None or index >= read:
            return None
        return (SOURCE_MS + index * (SOURCE_MS + CALLER_MS)) / 1000

    first_end = script.ends_at[0][0] if script.ends_at else read
    assert attributes.get("streamgauge.stream.time_to_first_byte") == (arrival(0) if read else None)
    for name, index in (
        ("gen_ai.response.time_to_first_chunk", script.first_chunk),
        ("streamgauge.stream.time_to_first_answer", script.first_text),
    ):
        if index is not None and index > first_end:
            continue  # of a later run of the same stream
        expected = arrival(index)
        assert attributes.get(name) == (pytest.approx(expected) if expected is not None else None), name


# How a caller may read, sync --------------------------------------------------------------------------------------


def consume(stream: Any, clock: Any, limit: int | None = None) -> list[Any]:
    got = []
    if limit == 0:
        return got
    for item in stream:
        got.append(item)
        if len(got) == limit:
            break
        clock.pass_ms(CALLER_MS)
    return got


def read_all(stream: Any, clock: Any) -> tuple[list[Any], Outcome | None]:
    return consume(stream, clock), None


def break_and_close(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = consume(stream, clock, STOP)
    stream.close()
    return got, Outcome.ABANDONED


def break_inside_with(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    with contextlib.closing(stream) as inside:
        return consume(inside, clock, STOP), Outcome.ABANDONED


def close_unread(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    stream.close()
    return [], Outcome.ABANDONED


def next_then_close(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    first = next(stream)
    stream.close()
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
    return [first], Outcome.ABANDONED


def exception_in_the_callers_loop(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = []
    with pytest.raises(CallersOwn), contextlib.closing(stream):
        for item in stream:
            got.append(item)
            raise CallersOwn
    return got, Outcome.ABANDONED


def thrown_in(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    first = next(stream)
    with pytest.raises(CallersOwn):
        stream.throw(CallersOwn("x"))
    return [first], Outcome.ABANDONED


def timeout_thrown_in(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    first = next(stream)
    with pytest.raises(TimeoutError):
        stream.throw(TimeoutError("x"))
    return [first], Outcome.TIMED_OUT


def shut_down(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = consume(stream, clock, STOP)
    streamgauge.shutdown()
    return got, Outcome.SHUTDOWN


SYNC = [
    read_all, break_and_close, break_inside_with, close_unread, next_then_close, exception_in_the_callers_loop,
    thrown_in, timeout_thrown_in, shut_down,
]  # fmt: skip


@pytest.mark.parametrize("how", SYNC, ids=lambda how: how.__name__)
@pytest.mark.parametrize("name", LONG_ENOUGH)
def test_sync(name: str, how: Callable[..., Any], clock: Any, seen: Any) -> None:
    script = scripts()[name]
    stream = wrapped(played(script, clock), script)
    got, outcome = how(stream, clock)
    assert [a is b for a, b in zip(got, script.data, strict=False)] == [True] * len(got)
    if outcome is None:
        assert len(got) == len(script.data)
        outcome = script.finish
    check(seen, script, len(got), outcome)


@pytest.mark.parametrize("limit", [0, STOP])
@pytest.mark.parametrize("name", LONG_ENOUGH)
def test_dropped(name: str, limit: int, clock: Any, seen: Any) -> None:
    """Never read, or read in part; then the last reference goes."""
    script = scripts()[name]
    stream = wrapped(played(script, clock), script)
    consume(stream, clock, limit)
    del stream
    check(seen, script, limit, Outcome.ABANDONED)


@pytest.mark.parametrize("name", LONG_ENOUGH)
def test_garbage_cycle(name: str, clock: Any, seen: Any) -> None:
    script = scripts()[name]
    stream = wrapped(played(script, clock), script)
    consume(stream, clock, STOP)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    check(seen, script, STOP, Outcome.ABANDONED)


@pytest.mark.parametrize("after", [0, STOP, None])
@pytest.mark.parametrize("name", LONG_ENOUGH)
def test_source_raises(name: str, after: int | None, clock: Any, seen: Any) -> None:
    """The same exception, with our one frame in its traceback."""
    script = scripts()[name]
    after = len(script.data) if after is None else after
    depths = []
    for wrapping in (False, True):
        stream: Any = played(script, clock, fails_after=after)
        stream = wrapped(stream, script) if wrapping else stream
        got = []
        with pytest.raises(Boom) as raised:
            for item in stream:
                got.append(item)
                clock.pass_ms(CALLER_MS)
        assert len(got) == after
        depths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert depths[1] == depths[0] + 1
    check(seen, script, after, Outcome.FAILED)
    if script.outcome_after(after, Outcome.FAILED) is Outcome.FAILED and not script.ends_at:
        assert runs(seen)[-1]["attributes"]["error.type"] == f"{Boom.__module__}.Boom"


# Async ------------------------------------------------------------------------------------------------------------


async def aconsume(stream: Any, clock: Any, limit: int | None = None) -> list[Any]:
    got = []
    if limit == 0:
        return got
    async for item in stream:
        got.append(item)
        if len(got) == limit:
            break
        clock.pass_ms(CALLER_MS)
    return got


async def aread_all(stream: Any, clock: Any) -> tuple[list[Any], Outcome | None]:
    return await aconsume(stream, clock), None


async def abreak_and_close(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = await aconsume(stream, clock, STOP)
    await stream.aclose()
    return got, Outcome.ABANDONED


async def abreak_inside_with(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    async with contextlib.aclosing(stream) as inside:
        return await aconsume(inside, clock, STOP), Outcome.ABANDONED


async def aclose_unread(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    await stream.aclose()
    return [], Outcome.ABANDONED


async def closed_in_another_task(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = await aconsume(stream, clock, STOP)

    async def close() -> None:
        await stream.aclose()

    await asyncio.create_task(close())
    return got, Outcome.ABANDONED


async def read_in_one_task_closed_in_another(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = await asyncio.create_task(aconsume(stream, clock, STOP))
    await asyncio.create_task(abreak_and_close_rest(stream))
    return got, Outcome.ABANDONED


async def abreak_and_close_rest(stream: Any) -> None:
    await stream.aclose()


async def aexception_in_the_callers_loop(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = []
    with pytest.raises(CallersOwn):
        async with contextlib.aclosing(stream):
            async for item in stream:
                got.append(item)
                raise CallersOwn
    return got, Outcome.ABANDONED


async def athrown_in(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    first = await anext(stream)
    with pytest.raises(CallersOwn):
        await stream.athrow(CallersOwn("x"))
    return [first], Outcome.ABANDONED


async def cancelled_thrown_in(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    first = await anext(stream)
    with pytest.raises(asyncio.CancelledError):
        await stream.athrow(asyncio.CancelledError())
    return [first], Outcome.CANCELLED


async def ashut_down(stream: Any, clock: Any) -> tuple[list[Any], Outcome]:
    got = await aconsume(stream, clock, STOP)
    streamgauge.shutdown()
    return got, Outcome.SHUTDOWN


ASYNC = [
    aread_all, abreak_and_close, abreak_inside_with, aclose_unread, closed_in_another_task,
    read_in_one_task_closed_in_another, aexception_in_the_callers_loop, athrown_in, cancelled_thrown_in, ashut_down,
]  # fmt: skip


@pytest.mark.parametrize("how", ASYNC, ids=lambda how: how.__name__)
@pytest.mark.parametrize("name", LONG_ENOUGH)
async def test_async(name: str, how: Callable[..., Any], clock: Any, seen: Any) -> None:
    script = scripts()[name]
    stream = wrapped(aplayed(script, clock), script)
    got, outcome = await how(stream, clock)
    assert [a is b for a, b in zip(got, script.data, strict=False)] == [True] * len(got)
    if outcome is None:
        assert len(got) == len(script.data)
        outcome = script.finish
    check(seen, script, len(got), outcome)


@pytest.mark.parametrize("limit", [0, STOP])
@pytest.mark.parametrize("name", LONG_ENOUGH)
async def test_async_dropped(name: str, limit: int, clock: Any, seen: Any) -> None:
    script = scripts()[name]
    stream = wrapped(aplayed(script, clock), script)
    await aconsume(stream, clock, limit)
    del stream
    check(seen, script, limit, Outcome.ABANDONED)


@pytest.mark.parametrize("after", [0, STOP - 1])
@pytest.mark.parametrize("name", LONG_ENOUGH)
async def test_task_cancelled(name: str, after: int, clock: Any, seen: Any) -> None:
    """Before the first chunk, and between two."""
    script = scripts()[name]
    blocked = asyncio.Event()
    got: list[Any] = []

    async def caller() -> None:
        async for item in wrapped(aplayed(script, clock, blocks_after=after, blocked=blocked.set), script):
            got.append(item)
            clock.pass_ms(CALLER_MS)

    task = asyncio.create_task(caller())
    await blocked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(got) == after
    check(seen, script, after, Outcome.CANCELLED)


@pytest.mark.parametrize("name", LONG_ENOUGH[::8])
async def test_deadline_of_the_callers(name: str, clock: Any, seen: Any) -> None:
    """`timeout_s` tells a deadline from a cancellation: by the time that passed."""
    script = scripts()[name]
    blocked = asyncio.Event()
    source = aplayed(script, clock, blocks_after=0, blocked=blocked.set)
    stream = streamgauge.wrap(source, dialect=script.dialect, timeout_s=5)

    async def caller() -> None:
        async for _ in stream:
            raise AssertionError("it never gives anything")

    task = asyncio.create_task(caller())
    await blocked.wait()
    clock.pass_ms(5_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    check(seen, script, 0, Outcome.TIMED_OUT)
    assert runs(seen)[0]["attributes"]["error.type"] == "timeout"


@pytest.mark.parametrize("after", [0, STOP, None])
@pytest.mark.parametrize("name", LONG_ENOUGH)
async def test_async_source_raises(name: str, after: int | None, clock: Any, seen: Any) -> None:
    script = scripts()[name]
    after = len(script.data) if after is None else after
    depths = []
    for wrapping in (False, True):
        stream: Any = aplayed(script, clock, fails_after=after)
        stream = wrapped(stream, script) if wrapping else stream
        with pytest.raises(Boom) as raised:
            async for _ in stream:
                clock.pass_ms(CALLER_MS)
        depths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert depths[1] == depths[0] + 1
    check(seen, script, after, Outcome.FAILED)


# What stays as it is ----------------------------------------------------------------------------------------------


def test_interpreter_exit() -> None:
    """A stream that is open when the program ends is closed as `shutdown`, and exported."""
    import subprocess

    program = """
import streamgauge
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
stream = streamgauge.wrap(iter(["a", "b"]), agent_name="left open")
next(stream)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count('"name": "invoke_agent left open"') == 1
    assert '"streamgauge.outcome": "shutdown"' in done.stdout


def test_generator_stays_a_generator(seen: Any) -> None:
    def source() -> Generator[str, str, str]:
        """Its own docstring."""
        heard = yield "a"
        yield heard
        return "result"

    inner = source()
    stream = streamgauge.wrap(inner)
    assert isinstance(stream, types.GeneratorType)
    assert inspect.isgenerator(stream)
    assert iter(stream) is stream
    assert (stream.__name__, stream.__qualname__) == (inner.__name__, inner.__qualname__)
    assert stream.gi_frame is inner.gi_frame
    assert repr(stream) == repr(inner)
    assert dir(stream) == dir(inner)
    assert not hasattr(stream, "__anext__")
    assert next(stream) == "a"
    assert stream.send("heard") == "heard"
    with pytest.raises(StopIteration) as stopped:
        next(stream)
    assert stopped.value.value == "result"


def test_yield_from(seen: Any) -> None:
    def source() -> Generator[int, None, str]:
        yield 1
        return "result"

    def outer() -> Generator[int, None, None]:
        found.append((yield from streamgauge.wrap(source())))

    found: list[str] = []
    assert list(outer()) == [1]
    assert found == ["result"]


async def test_async_generator_stays_one(seen: Any) -> None:
    async def source() -> AsyncGenerator[str, str]:
        heard = yield "a"
        yield heard

    stream = streamgauge.wrap(source())
    assert isinstance(stream, types.AsyncGeneratorType)
    assert inspect.isasyncgen(stream)
    assert aiter(stream) is stream
    assert await anext(stream) == "a"
    assert await stream.asend("heard") == "heard"
    assert [item async for item in stream] == []


def test_wrapping_twice_is_wrapping_once(seen: Any) -> None:
    stream = streamgauge.wrap(iter("ab"))
    assert streamgauge.wrap(stream) is stream
    assert list(stream) == ["a", "b"]
    assert seen.value("streamgauge.streams") == 1


def test_any_number_of_streams_at_once(clock: Any, seen: Any) -> None:
    """Interleaved on one object: each is its own."""

    class Agent:
        def stream(self, prompt: str) -> Generator[str, None, None]:
            clock.pass_ms(1)
            yield from (prompt, prompt)

    stream = streamgauge.wrap(Agent().stream)
    streams = [stream(str(number)) for number in range(10)]
    assert [next(each) for each in streams] == [str(number) for number in range(10)]
    assert seen.value("streamgauge.streams.active") == 10
    assert [list(each) for each in streams] == [[str(number)] for number in range(10)]
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 10
    assert seen.value("streamgauge.streams.active") == 0


def test_no_prefetch(seen: Any) -> None:
    """Each read of the source happens in the read of the wrapper, not before."""
    steps: list[str] = []

    def source() -> Generator[int, None, None]:
        for number in range(3):
            steps.append(f"source {number}")
            yield number

    for number in streamgauge.wrap(source()):
        steps.append(f"caller {number}")
    assert steps == ["source 0", "caller 0", "source 1", "caller 1", "source 2", "caller 2"]
