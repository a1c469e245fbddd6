"""`streamgauge.wrap` of functions: what they give is wrapped if it is a stream, from the call on."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context

import streamgauge
from streamgauge.errors import UnwrappableError
from streamgauge.transports.inprocess import is_stream
from transports.shapes import Boom, outcomes


@pytest.fixture(autouse=True)
def _context_is_left() -> Iterator[None]:
    before = otel_context.get_current()
    yield
    assert otel_context.get_current() is before


# Functions --------------------------------------------------------------------------------------------------------


def simple(*items: Any) -> Iterator[Any]:
    """Gives a stream."""
    return iter(items)


def generator(*items: Any) -> Generator[Any, None, None]:
    yield from items


async def agenerator(*items: Any) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


async def coroutine(*items: Any) -> AsyncGenerator[Any, None]:
    await asyncio.sleep(0)
    return agenerator(*items)


def decorated(*items: Any) -> Any:
    return coroutine(*items)


class Callable_:
    def __call__(self, *items: Any) -> Iterator[Any]:
        return iter(items)

    async def method(self, *items: Any) -> AsyncGenerator[Any, None]:
        return agenerator(*items)

    @classmethod
    def of_class(cls, *items: Any) -> Iterator[Any]:
        return iter(items)

    @staticmethod
    def static(*items: Any) -> Iterator[Any]:
        return iter(items)


FUNCTIONS: dict[str, Any] = {
    "function": simple,
    "generator function": generator,
    "async generator function": agenerator,
    "coroutine function": coroutine,
    "function that gives a coroutine": decorated,
    "partial": functools.partial(simple, "a"),
    "lambda": lambda *items: iter(items),
    "partial of a coroutine function": functools.partial(coroutine, "a"),
    "object": Callable_(),
    "method": Callable_().method,
    "class method": Callable_.of_class,
    "static method": Callable_.static,
}


@pytest.mark.parametrize("case", FUNCTIONS)
async def test_functions(case: str, seen: Any) -> None:
    function = FUNCTIONS[case]
    items = ("b",) if isinstance(function, functools.partial) else ("a", "b")
    wrapped = streamgauge.wrap(function, agent_name="x")
    for _ in range(2):
        result = wrapped(*items)
        if inspect.isawaitable(result):
            result = await result
        got = [item async for item in result] if hasattr(result, "__anext__") else list(result)
        assert got == ["a", "b"]
    assert outcomes(seen) == ["completed"] * 2
    assert {span["name"] for span in seen.spans} == {"invoke_agent x"}


def test_a_function_keeps_its_face(seen: Any) -> None:
    wrapped = streamgauge.wrap(simple)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == ("simple", "Gives a stream.", simple)  # type: ignore[attr-defined]
    assert inspect.signature(wrapped) == inspect.signature(simple)
    assert inspect.iscoroutinefunction(streamgauge.wrap(coroutine))


class Model:
    """As pydantic's: it compares by value, and iterates over its fields."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model)

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Any]:
        yield ("field", 1)


VALUES: list[Any] = [None, 5, "text", b"x", {"a": 1}, [1], (1, 2), {1}, Model(), range(3), object()]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
async def test_a_result_that_is_no_stream_is_left_as_it_is(value: Any, seen: Any) -> None:
    """A client's method that streams only if it is told to."""

    async def later() -> Any:
        return value

    assert streamgauge.wrap(lambda: value)() is value
    assert await streamgauge.wrap(later)() is value
    assert await streamgauge.wrap(lambda: later())() is value
    assert seen.spans == []


async def test_a_call_that_fails_is_a_stream_that_failed(clock: Any, seen: Any) -> None:
    """From the call on. The exception is the caller's."""
    error = Boom("refused")

    def refused() -> Iterator[str]:
        clock.pass_ms(20)
        raise error

    async def arefused() -> AsyncIterator[str]:
        clock.pass_ms(20)
        raise error

    for function in (refused, arefused, lambda: arefused()):
        with pytest.raises(Boom) as raised:
            await streamgauge.wrap(function, agent_name="x")()  # type: ignore[misc]
        assert raised.value is error
    assert outcomes(seen) == ["failed"] * 3
    assert [span["end"] - span["start"] for span in seen.spans] == [20_000_000] * 3
    assert {span["attributes"]["error.type"] for span in seen.spans} == {f"{Boom.__module__}.Boom"}


async def test_a_call_that_is_cancelled(seen: Any) -> None:
    reached = asyncio.Event()

    async def connecting() -> AsyncIterator[str]:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    task = asyncio.ensure_future(streamgauge.wrap(connecting)())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(seen) == ["cancelled"]


async def test_a_stream_is_opened_when_the_function_is_called(clock: Any, seen: Any) -> None:
    """What connecting takes is the caller's time to the first byte too."""

    def connect() -> Iterator[str]:
        clock.pass_ms(100)
        return iter("a")

    async def aconnect() -> Iterator[str]:
        clock.pass_ms(100)
        return iter("a")

    assert list(streamgauge.wrap(connect)()) == ["a"]
    assert list(await streamgauge.wrap(aconnect)()) == ["a"]
    assert [span["attributes"]["streamgauge.stream.time_to_first_byte"] for span in seen.spans] == [0.1, 0.1]


# What cannot be wrapped -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", [None, 5, "text", b"bytes", {"a": 1}, bytearray(b"x"), object(), str, Exception("x")])
def test_unwrappable(obj: Any, seen: Any) -> None:
    with pytest.raises(UnwrappableError, match=r"^nothing of [\w.]+ streams: give wrap\(\) an iterator"):
        streamgauge.wrap(obj)
    with pytest.raises(TypeError):
        streamgauge.wrap(obj)
    assert not is_stream(obj)
    assert seen.open == 0
