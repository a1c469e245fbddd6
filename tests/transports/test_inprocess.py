"""What passes for the source is the source, to whoever asks: iterators, iterables, context managers, functions, and the
objects of SDKs that are several of these; and what the caller's context, and the memory, have of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import pickle
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context

import streamgauge
from streamgauge import recorder
from streamgauge.pipeline import current_pipeline
from streamgauge.tap import Tap
from streamgauge.transports.inprocess import Gauge, is_wrapped
from transports.shapes import Boom, Both, Delegating, Fresh, Restarting, outcomes


@pytest.fixture(autouse=True)
def _context_is_left() -> Iterator[None]:
    before = otel_context.get_current()
    yield
    assert otel_context.get_current() is before


# The object -------------------------------------------------------------------------------------------------------


class Base:
    kind = "base"


class Source(Base):
    """Its docstring."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.response = {"status": 200}
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.items:
            raise StopIteration
        return self.items.pop(0)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self.items[index] = value

    def __delitem__(self, index: int) -> None:
        del self.items[index]

    def __contains__(self, item: Any) -> bool:
        return item in self.items

    def __bool__(self) -> bool:
        return not self.closed

    def __str__(self) -> str:
        return "text"

    def __repr__(self) -> str:
        return "<source>"

    def __format__(self, spec: str) -> str:
        return f"formatted {spec}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and self.items == other.items

    def __lt__(self, other: Any) -> bool:
        return len(self) < len(other)

    def __hash__(self) -> int:
        return 42

    def __call__(self, x: int, *, y: int) -> int:
        return x + y

    def __reversed__(self) -> Any:
        return reversed(self.items)

    def close(self) -> str:
        self.closed = True
        return "closed"

    @property
    def status(self) -> int:
        return int(self.response["status"])

    def until_done(self) -> list[Any]:
        return self.items


def test_it_passes_for_the_source(seen: Any) -> None:
    source = Source("a", "b", "c")
    stream: Any = streamgauge.wrap(source)
    assert isinstance(stream, Source)
    assert isinstance(stream, Base)
    assert isinstance(stream, Iterator)
    assert stream.__class__ is Source
    assert is_wrapped(stream)
    assert not is_wrapped(source)
    assert (stream.kind, stream.status, stream.__doc__) == ("base", 200, source.__doc__)
    assert stream.response is source.response
    assert stream.until_done() is source.items
    assert (repr(stream), str(stream), f"{stream:x}") == ("<source>", "text", "formatted x")
    assert dir(stream) == dir(source)
    assert (len(stream), stream[1], "c" in stream, "z" in stream, bool(stream)) == (3, "b", True, False, True)
    assert list(reversed(stream)) == ["c", "b", "a"]
    assert stream(1, y=2) == 3
    assert stream == source
    assert source == stream
    assert stream != Source()
    assert Source() < stream
    assert hash(stream) == 42
    assert vars(source).keys() == {"items", "response", "closed"}
    stream[0] = "A"
    del stream[2]
    assert list(stream) == ["A", "b"]
    assert outcomes(seen) == ["completed"]


def test_attributes_are_the_sources(seen: Any) -> None:
    source = Source()
    stream: Any = streamgauge.wrap(source)
    stream.response = "new"
    stream.added = 1
    assert (source.response, source.added) == ("new", 1)  # type: ignore[attr-defined]
    del stream.added
    assert not hasattr(source, "added")
    with pytest.raises(AttributeError, match="'Source' object has no attribute 'gone'"):
        stream.gone  # noqa: B018
    with pytest.raises(AttributeError):
        del stream.gone
    with pytest.raises(AttributeError, match="status"):
        stream.status = 5
    assert list(stream) == []


def test_an_ability_that_the_source_lacks_is_lacking(seen: Any) -> None:
    class Bare:
        def __next__(self) -> str:
            raise StopIteration

    class Unhashable(Bare):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    bare: Any = streamgauge.wrap(Bare())
    for name in (
        "close",
        "send",
        "throw",
        "aclose",
        "asend",
        "__len__",
        "__anext__",
        "__enter__",
        "__aenter__",
        "__call__",
    ):
        assert not hasattr(bare, name), name
    for use in (iter, len):
        with pytest.raises(TypeError):
            use(bare)
    assert not callable(bare)
    assert bare != streamgauge.wrap(Bare())
    assert {bare: 1}[bare] == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(streamgauge.wrap(Unhashable()))


def test_a_copy_is_the_sources(seen: Any) -> None:
    class Copied(Source):
        def __copy__(self) -> str:
            return "copied"

        def __deepcopy__(self, memo: Any) -> str:
            return "deeply"

    made: Any = streamgauge.wrap(Copied())
    assert (copy.copy(made), copy.deepcopy(made)) == ("copied", "deeply")
    stream: Any = streamgauge.wrap(iter([1, 2, 3]))
    assert next(stream) == 1
    for other in (copy.copy(stream), pickle.loads(pickle.dumps(stream))):
        assert not is_wrapped(other)
        assert list(other) == [2, 3]
    assert list(stream) == [2, 3]
    with pytest.raises(TypeError, match="generator"):
        copy.copy(streamgauge.wrap(x for x in ()))


def test_slots_and_getattr(seen: Any) -> None:
    class Slotted:
        __slots__ = ("left",)

        def __init__(self) -> None:
            self.left = 2

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

        def __getattr__(self, name: str) -> str:
            return f"any {name}"

    stream: Any = streamgauge.wrap(Slotted())
    assert (stream.left, stream.other) == (2, "any other")
    assert list(stream) == [1, 0]
    assert stream.left == 0


# Loops ------------------------------------------------------------------------------------------------------------


def test_a_loops_own_beginning(seen: Any) -> None:
    assert list(streamgauge.wrap(Restarting())) == [1, 0]
    assert outcomes(seen) == ["completed"]


def test_sdk_stream_read_by_loop(seen: Any) -> None:
    stream: Any = streamgauge.wrap(Delegating("a", "b"))
    assert (stream.response, isinstance(stream, Delegating)) == ("response", True)
    assert list(stream) == ["a", "b"]
    assert outcomes(seen) == ["completed"]
    assert seen.value("streamgauge.stream.chunks") == 2


def test_sdk_stream_read_by_turns(seen: Any) -> None:
    """By `next`, by one loop that is left and by another: one stream."""
    stream: Any = streamgauge.wrap(Delegating(*"abcde"))
    got = [next(stream)]
    for item in stream:
        got.append(item)
        break
    assert outcomes(seen) == []
    got += [next(stream), *stream]
    assert got == list("abcde")
    assert outcomes(seen) == ["completed"]
    assert seen.value("streamgauge.stream.chunks") == 5


def test_sdk_stream_left(seen: Any) -> None:
    """Nobody holds it any more: neither the loop nor the stream."""
    for _ in streamgauge.wrap(Delegating("a", "b")):
        break
    assert outcomes(seen) == ["abandoned"]
    stream = streamgauge.wrap(Delegating("a", "b"))
    loop = iter(stream)
    del stream
    assert next(loop) == "a"
    assert outcomes(seen) == ["abandoned"]
    del loop
    assert outcomes(seen) == ["abandoned"] * 2


def test_both_sync(seen: Any) -> None:
    stream = streamgauge.wrap(Both("a", "b", "c"))
    assert next(stream) == "a"
    assert list(stream) == ["b", "c"]
    failing = streamgauge.wrap(Both("a", Boom("x")))
    with pytest.raises(Boom):
        list(failing)
    assert outcomes(seen) == ["completed", "failed"]
    assert seen.value("streamgauge.stream.chunks") == 4


async def test_both_async(seen: Any) -> None:
    assert [item async for item in streamgauge.wrap(Both("a", "b"))] == ["a", "b"]
    assert outcomes(seen) == ["completed"]


def test_an_iterable_read_twice_is_two_streams(seen: Any) -> None:
    source: Any = streamgauge.wrap(Fresh("a", "b"), agent_name="x", conversation_id="c")
    assert [list(source), list(source)] == [["a", "b"]] * 2
    for _ in source:
        break
    assert outcomes(seen) == ["completed", "completed", "abandoned"]
    assert [span["attributes"]["gen_ai.conversation.id"] for span in seen.spans] == ["c"] * 3


async def test_an_async_iterable_read_twice(seen: Any) -> None:
    source: Any = streamgauge.wrap(Fresh("a"), agent_name="x")
    assert [[item async for item in source] for _ in range(2)] == [["a"]] * 2
    assert outcomes(seen) == ["completed", "completed"]


def test_an_iterable_that_is_dropped(seen: Any) -> None:
    """Unread: with it. In a loop: with the loop."""
    del_me = streamgauge.wrap(Fresh("a"))
    del del_me
    assert outcomes(seen) == ["abandoned"]
    loop = iter(streamgauge.wrap(Fresh("a", "b")))
    assert next(loop) == "a"
    assert outcomes(seen) == ["abandoned"]
    assert list(loop) == ["b"]
    assert outcomes(seen) == ["abandoned", "completed"]


def test_iter_that_fails(seen: Any) -> None:
    class Failing:
        def __iter__(self) -> Iterator[Any]:
            raise Boom("at the beginning")

    with pytest.raises(Boom):
        list(streamgauge.wrap(Failing()))
    assert outcomes(seen) == ["failed"]


BUILTIN: list[tuple[Callable[[], Any], list[Any]]] = [
    (lambda: iter("ab"), ["a", "b"]), (lambda: [1, 2], [1, 2]), (lambda: range(2), [0, 1]),
    (lambda: map(str, [1]), ["1"]), (lambda: (x for x in "a"), ["a"]), (lambda: {1: 2}.items(), [(1, 2)]),
    (lambda: memoryview(b"a"), [97]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "expected"), BUILTIN, ids=lambda made: type(made()).__name__ if callable(made) else ""
)
def test_builtin_sources(make: Callable[[], Any], expected: list[Any], seen: Any) -> None:
    source = make()
    stream = streamgauge.wrap(source)
    assert isinstance(stream, type(source))
    assert list(stream) == expected
    assert outcomes(seen) == ["completed"]


# Context managers -------------------------------------------------------------------------------------------------


class Managing:
    """Gives anything; suppresses exceptions where told to. Sync and async."""

    def __init__(self, gives: Any = None, *, fails: BaseException | None = None, suppresses: bool = False) -> None:
        self.gives, self.fails, self.suppresses = gives, fails, suppresses
        self.left_with: Any = "never"

    def __enter__(self) -> Any:
        if self.fails is not None:
            raise self.fails
        return self if self.gives is None else self.gives

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        self.left_with = error
        return self.suppresses

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(self, *error: Any) -> bool:
        return self.__exit__(*error)


class ManagingItself(Managing):
    def __init__(self, *items: Any, **options: Any) -> None:
        super().__init__(**options)
        self.items = iter(items)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.items)


class ManagingIterable(Managing):
    def __init__(self, *items: Any, **options: Any) -> None:
        super().__init__(**options)
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        yield from self.items

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.items:
            yield item


MANAGERS: dict[str, Callable[[], Any]] = {
    "gives itself, an iterator": lambda: ManagingItself(*"ab"),
    "gives itself, an iterable": lambda: ManagingIterable(*"ab"),
    "gives an iterator": lambda: Managing(iter("ab")),
    "gives a generator": lambda: Managing(x for x in "ab"),
    "gives an iterable": lambda: Managing(Fresh(*"ab")),
    "gives an SDK's stream": lambda: Managing(Delegating(*"ab")),
    "is an SDK's stream": lambda: Delegating(*"ab"),
}


@pytest.mark.parametrize("case", MANAGERS)
def test_with(case: str, seen: Any) -> None:
    manager = MANAGERS[case]()
    with streamgauge.wrap(manager) as stream:
        assert list(stream) == ["a", "b"]
    assert outcomes(seen) == ["completed"]
    assert getattr(manager, "left_with", None) is None


LEFT: dict[str, tuple[BaseException | None, str]] = {
    "break": (None, "abandoned"),
    "exception": (Boom("x"), "abandoned"),
    "timeout": (TimeoutError(), "timed_out"),
    "cancelled": (asyncio.CancelledError(), "cancelled"),
    "interrupted": (KeyboardInterrupt(), "shutdown"),
    "closed": (GeneratorExit(), "abandoned"),
}


@pytest.mark.parametrize("how", LEFT)
@pytest.mark.parametrize("case", MANAGERS)
def test_with_left_early(case: str, how: str, seen: Any) -> None:
    """It is the exit that says how it ended, with what the caller raised, not the loop that is dropped before."""
    error, outcome = LEFT[how]
    manager = MANAGERS[case]()
    raised: BaseException | None = None
    try:
        with streamgauge.wrap(manager) as stream:
            for item in stream:
                assert item == "a"
                if error is not None:
                    raise error
                break
    except BaseException as found:
        raised = found
    assert raised is error
    assert getattr(manager, "left_with", error) is error
    assert outcomes(seen) == [outcome]


AMANAGERS: dict[str, Callable[[], Any]] = {
    "gives itself": lambda: ManagingIterable(*"ab"),
    "gives an iterable": lambda: Managing(Fresh(*"ab")),
    "gives an async generator": lambda: Managing(aiter(Fresh(*"ab"))),
}


@pytest.mark.parametrize("how", [None, *LEFT])
@pytest.mark.parametrize("case", AMANAGERS)
async def test_async_with(case: str, how: str | None, seen: Any) -> None:
    error, outcome = LEFT[how] if how is not None else (None, "completed")
    manager = AMANAGERS[case]()
    raised: BaseException | None = None
    got = []
    try:
        async with streamgauge.wrap(manager) as stream:
            async for item in stream:
                got.append(item)
                if error is not None:
                    raise error
                if how is not None:
                    break
    except BaseException as found:
        raised = found
    assert raised is error
    assert manager.left_with is error
    assert got == (["a"] if how is not None else ["a", "b"])
    assert outcomes(seen) == [outcome]


def test_with_suppressing(seen: Any) -> None:
    manager = ManagingItself("a", suppresses=True)
    with streamgauge.wrap(manager):
        raise Boom("x")
    assert isinstance(manager.left_with, Boom)
    assert outcomes(seen) == ["abandoned"]


async def test_entering_fails(seen: Any) -> None:
    with pytest.raises(Boom), streamgauge.wrap(Managing(fails=Boom("x"))):
        raise AssertionError("never entered")
    with pytest.raises(Boom):
        async with streamgauge.wrap(Managing(fails=Boom("x"))):
            raise AssertionError("never entered")
    assert outcomes(seen) == ["failed", "failed"]


def test_with_gives_what_is_no_stream(seen: Any) -> None:
    given = object()
    with streamgauge.wrap(Managing(given)) as entered:
        assert entered is given
    assert outcomes(seen) == ["abandoned"]


def test_exit_stack(seen: Any) -> None:
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(streamgauge.wrap(Managing(Fresh("a", "b"))))
        assert next(iter(stream)) == "a"
        assert outcomes(seen) == []
    assert outcomes(seen) == ["abandoned"]


def test_a_manager_that_is_dropped(seen: Any) -> None:
    manager = streamgauge.wrap(ManagingIterable("a", "b"))
    stream = manager.__enter__()
    loop = iter(stream)
    assert next(loop) == "a"
    del manager, stream
    assert outcomes(seen) == [], "the loop still holds it"
    del loop
    assert outcomes(seen) == ["abandoned"]


def test_decorated_manager(seen: Any) -> None:
    """As clients are written: a function with `contextmanager`."""

    @contextlib.contextmanager
    def connect(name: str) -> Generator[Iterator[str], None, None]:
        try:
            yield iter([name, "b"])
        finally:
            left.append(name)

    left: list[str] = []
    wrapped = streamgauge.wrap(connect)
    with wrapped("a") as stream:
        assert list(stream) == ["a", "b"]
    assert left == ["a"]
    assert outcomes(seen) == ["completed"]


# A client's gauge -------------------------------------------------------------------------------------------------


@pytest.fixture
def gauge(seen: Any) -> Gauge:
    return Gauge(
        lambda request, opens_run, at: seen.pipeline.open(request, opens_run, at=at),
        lambda: current_pipeline().current_tap(),
        recorder.ambient(),
        {"agent_name": "user's"},
        lambda transport, **fields: (transport, fields),
    )


def test_what_a_client_of_a_wire_is_watched_with(gauge: Gauge) -> None:
    fields = {"model": "m", "agent_name": "user's"}
    assert gauge.watch(model="m", agent_name="client's") == ("httpx", fields)
    assert gauge.watch("websocket", model="m", agent_name="client's") == ("websocket", fields)


def test_options_win(gauge: Gauge, seen: Any) -> None:
    tap = gauge.open(dialect="generic", agent_name="client's", model="m")
    tap.end()
    (span,) = seen.spans
    assert (span["name"], span["attributes"]["gen_ai.request.model"]) == ("invoke_agent user's", "m")


def test_the_current_tap(gauge: Gauge, seen: Any) -> None:
    """Inside a read, and inside what it starts; of the innermost stream."""
    found: list[Tap | None] = []

    def source() -> Generator[int, None, None]:
        found.append(gauge.current())
        yield contextvars.copy_context().run(lambda: [found.append(gauge.current()), 1][1])

    tap = gauge.open(dialect="generic")
    assert list(gauge.stream(source(), tap)) == [1]
    assert found == [tap, tap]
    assert gauge.current() is None
    other = gauge.open(dialect="generic")
    with gauge.inside(other):
        assert gauge.current() is other
        with contextlib.suppress(Boom), gauge.inside(gauge.open(dialect="generic")) as _:
            raise Boom
        assert gauge.current() is other
    assert gauge.current() is None
    other.end()
    seen.pipeline.close_streams()


MAKE: dict[str, Callable[[], Any]] = {
    "iterator": lambda: iter("ab"),
    "iterable": lambda: Fresh("a", "b"),
    "sdk": lambda: Delegating("a", "b"),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_stream_that_does_not_end_the_tap(make: Callable[[], Any], gauge: Gauge, seen: Any) -> None:
    """A conversation has several; being exhausted, left, dropped or closed is not its end."""
    tap = gauge.open(dialect="generic")
    assert list(gauge.stream(make(), tap, ends=False)) == ["a", "b"]
    for _ in gauge.stream(make(), tap, ends=False):
        break
    stream = gauge.stream(make(), tap, ends=False)
    next(iter(stream))
    if hasattr(stream, "close"):
        stream.close()
    with gauge.stream(Managing(make()), tap, ends=False) as entered:
        assert list(entered) == ["a", "b"]
    del stream, entered
    assert outcomes(seen) == []
    assert not tap.ended
    tap.end()
    assert outcomes(seen) == ["completed"]
    assert seen.value("streamgauge.stream.chunks") == 6


def test_opened_at_a_time_of_the_past(gauge: Gauge, clock: Any, seen: Any) -> None:
    at = clock()
    clock.pass_ms(30)
    tap = gauge.open(dialect="generic", at=at)
    tap.end()
    assert seen.spans[0]["end"] - seen.spans[0]["start"] == 30_000_000


def test_a_run_that_the_dialect_opens(gauge: Gauge, seen: Any) -> None:
    tap = gauge.open(dialect="generic", opens_run=False)
    assert list(gauge.stream(iter("ab"), tap)) == ["a", "b"]
    assert seen.spans == []
    assert seen.value("streamgauge.streams") == 0
