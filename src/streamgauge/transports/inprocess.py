"""The in-process transport: a stream of Python objects, with the caller in the same program.

What the caller gets is a delegating object: `isinstance` and all attributes are the source's, each read of it is one
read of the source, in the same thread and task, with the same objects and exceptions; our frame is the only one
added. Nothing is prefetched. While the source is being read the run's span is the current one, so that what the
agent does inside becomes its child; it is never left current when the caller goes on. (A dialect may know that its
source only waits between two chunks: there it is spared, at 0.12 µs a chunk.)

Special methods are looked up on the type, so there is one class for each set of abilities that a source has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from functools import lru_cache
from operator import attrgetter
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from streamgauge.tap import Tap
from streamgauge.transports._dropped import dropped, ready
from streamgauge.wire import Outcome, Request

__all__ = ["Gauge", "is_stream", "is_wrapped", "leave"]

_clock = time.monotonic_ns

Opener = Callable[[Request, bool, int | None], Tap]


class Gauge:
    """What a drop-in client is given: how to open a run, and how to wrap a stream."""

    __slots__ = ("_ambient", "_current", "_open", "_options")

    def __init__(
        self,
        opener: Opener,
        current: Callable[[], Tap | None],
        ambient: ContextVar[Any],
        options: dict[str, Any],
    ) -> None:
        """
        Args:
            ambient: the variable that holds the current telemetry context.
            options: fields of `Request` that the user gave; they win over what a client knows.
        """
        self._open = opener
        self._current = current
        self._ambient = ambient
        self._options = options

    def open(self, *, dialect: str, opens_run: bool = True, at: int | None = None, **fields: Any) -> Tap:
        """Open a stream's run, now.

        Args:
            opens_run: whether its run begins now; else the dialect opens it.
            at: when it was opened, where it is not now.
            fields: of `Request`.
        """
        return self._open(Request(**{"dialect": dialect, **fields, **self._options}), opens_run, at)

    def stream(self, source: Any, tap: Tap, *, ends: bool = True) -> Any:
        """`source`, wrapped: an iterator, generator, iterable or context manager, sync or async.

        Args:
            ends: the end of this stream is the end of the tap.
        """
        return _wrapped(source, tap, ends, self._ambient, lambda: self._open(tap.request, True, None))

    @contextmanager
    def inside(self, tap: Tap) -> Iterator[None]:
        """While the block runs, the run's span is the current one. For code that is no read of a stream: the block
        must not `yield` to the caller."""
        ambient, context = self._ambient, tap.sink.context
        token = ambient.set(context)
        try:
            yield
        finally:
            leave(ambient, token, context)

    def current(self) -> Tap | None:
        """The tap whose source is being read in this context, also in tasks and threads that it started."""
        return self._current()


def is_stream(obj: object) -> bool:
    """Whether `obj` can be wrapped as a stream: something that iterates, or a context manager that may give it."""
    kind = type(obj)
    if isinstance(obj, type | str | bytes | bytearray | dict):
        return False
    return any(
        hasattr(kind, name) for name in ("__next__", "__anext__", "__iter__", "__aiter__", "__enter__", "__aenter__")
    )


def is_wrapped(obj: object) -> bool:
    """Whether `obj` is a stream that is wrapped already."""
    return issubclass(type(obj), _Stream)


class _Kept:
    """Stands in for the context variable of a stream whose source keeps a context of its own from one read to the next,
    as one does that yields inside a `with` of a span."""

    __slots__ = ("_ambient", "_context", "_entered", "_token")

    def __init__(self, ambient: ContextVar[Any]) -> None:
        self._ambient = ambient
        self._token: Token[Any] | None = None
        """Takes ours away again, once the source has given its own back."""
        self._context: Any = None
        self._entered: Any = None

    def keep(self, token: Token[Any], context: Any) -> None:
        if self._token is None:
            self._token, self._context = token, context

    def enter(self, context: Any) -> Token[Any]:
        self._entered = context
        if self._token is not None:
            return self._token  # the source has its own
        self._context = context
        return self._ambient.set(context)

    def inside(self) -> Any:
        """What was entered, if the variable is as we have left it."""
        return self._entered if self._ambient.get(None) is self._context else None

    def leave(self, token: Token[Any]) -> None:
        self._token = None
        with suppress(ValueError):  # given back in another context than it was kept in
            self._ambient.reset(token)

    def close(self) -> None:
        token, self._token = self._token, None
        if token is not None and self._ambient.get(None) is self._context:
            with suppress(ValueError):  # closed in another task
                self._ambient.reset(token)


class _Stream:
    """What every wrapped stream is. `_s_` names are ours; all others are the source's."""

    __slots__ = (
        "__weakref__", "_s_again", "_s_ambient", "_s_ends", "_s_entered", "_s_hot", "_s_kept", "_s_looped", "_s_owner",
        "_s_source", "_s_tap",
    )  # fmt: skip

    _s_again: Callable[[], Tap]
    """Opens another stream of the same request: for an iterable that is read again."""
    _s_ambient: ContextVar[Any]
    _s_ends: bool
    """The end of this stream is the end of the tap."""
    _s_entered: bool
    """It is inside a `with` of its own: that will say how it ended."""
    _s_hot: tuple[Any, ...]
    """All that a read needs, in one look-up."""
    _s_kept: _Kept | None
    """Where the source keeps a context of its own from one read to the next."""
    _s_looped: bool
    _s_owner: Any
    """Who ends the tap by being dropped, where it is not this one. It lives as long as this one."""
    _s_source: Any
    _s_tap: Tap

    def __init__(
        self, source: Any, tap: Tap, ends: bool, ambient: ContextVar[Any], again: Callable[[], Tap], owner: Any
    ) -> None:
        kind = type(source)
        read = getattr(kind, "__anext__", None) or getattr(kind, "__next__", None)
        put = object.__setattr__
        put(self, "_s_source", source)
        put(self, "_s_tap", tap)
        step = read.__get__(source, kind) if read is not None else None
        put(self, "_s_hot", (tap.sink, tap, step, ambient.set, ambient.get, ambient.reset))
        put(self, "_s_ends", ends)
        put(self, "_s_ambient", ambient)
        put(self, "_s_again", again)
        put(self, "_s_owner", owner)
        put(self, "_s_kept", None)
        put(self, "_s_entered", False)
        put(self, "_s_looped", False)
        if kind in _NAMED_TYPES:
            put(self, "__qualname__", source.__qualname__)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # what isinstance asks
        return self._s_source.__class__

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._s_source, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._s_source, name)

    def __dir__(self) -> list[str]:
        return dir(self._s_source)

    def __repr__(self) -> str:
        return repr(self._s_source)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._s_source.__reduce_ex__(protocol)  # a copy is one of the source, and nobody watches it

    def __del__(self) -> None:
        # The source is closed by its own collection, as it would be without us.
        try:
            if self._s_ends and self._s_owner is None:
                dropped(self._s_tap, _clock())
            if self._s_kept is not None:
                object.__setattr__(self, "_s_hot", ())
                object.__setattr__(self, "_s_source", None)  # closed now, unless somebody else has it
                self._s_closed()
        except AttributeError:  # it was never built
            pass

    def _s_over(self, error: BaseException | None, outcome: Outcome | None = None) -> None:
        """The source has ended, or the caller has."""
        if self._s_ends:
            self._s_tap.end(error, outcome=outcome)

    def _s_given_up(self, error: BaseException | None) -> None:
        """The caller has ended it: closed it, or left it with `error`, which is not the source's."""
        if error is not None and isinstance(error, TimeoutError):
            outcome = Outcome.TIMED_OUT
        elif error is not None and not isinstance(error, Exception) and not isinstance(error, GeneratorExit):
            self._s_over(error)
            return
        else:
            outcome = Outcome.ABANDONED
        self._s_over(None, outcome)

    def _s_leave(self, token: Token[Any] | None, context: Any) -> None:
        """The source is no longer being read."""
        *_, inside, leave = self._s_hot
        if token is not None and inside() is context:
            with suppress(ValueError):  # another task's context, that happens to hold the same value
                leave(token)

    def _s_keep(self, token: Token[Any], context: Any) -> None:
        """The source has left a context of its own current: it stays, as it would without us, until the source gives it
        back. Then ours is current, and has to go."""
        kept = self._s_kept
        if kept is None:
            kept = _Kept(self._s_ambient)
            object.__setattr__(self, "_s_kept", kept)
            object.__setattr__(self, "_s_hot", (*self._s_hot[:3], kept.enter, kept.inside, kept.leave))
            self._s_tap.sink.stay_inward()
        kept.keep(token, context)

    def _s_closed(self) -> None:
        """The source was closed, and has given back what it kept."""
        if self._s_kept is not None:
            self._s_kept.close()


class _Open(_Stream):
    """A source whose attributes are not all known from its type."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_s_source"), name)


class _Iterator(_Stream):
    __slots__ = ()

    def __iter__(self) -> Any:
        return _looped(self, iter)

    def __next__(self) -> Any:
        sink, tap, read, enter, inside, leave = self._s_hot
        context = sink.context
        token = enter(context) if sink.inward else None
        asked = sink.asked = _clock()
        try:
            item = read()
        except StopIteration:
            self._s_leave(token, context)
            self._s_over(None)
            raise
        except BaseException as error:
            self._s_leave(token, context)
            self._s_over(error)
            raise
        at = _clock()
        if token is not None:
            if inside() is context:
                leave(token)
            else:
                self._s_keep(token, context)
        try:
            signals = tap.read(item, at)
        except Exception as error:
            signals = tap.unread(error)
        try:
            tap.record(signals, asked, at)
        except Exception as error:
            tap.unrecorded(error)
        return item


class _Driven(_Stream):
    __slots__ = ()

    def _s_drive(self, step: Callable[..., Any], args: tuple[Any, ...], thrown: BaseException | None) -> Any:
        sink, _, _, enter, inside, _ = self._s_hot
        context = sink.context
        token = enter(context)
        asked = sink.asked = _clock()
        try:
            item = step(*args)
        except StopIteration:
            self._s_leave(token, context)
            self._s_over(None)
            raise
        except BaseException as error:
            self._s_leave(token, context)
            if error is thrown or type(error) is type(thrown):
                self._s_given_up(error)
            else:
                self._s_over(error)
            raise
        at = _clock()
        if inside() is context:
            self._s_leave(token, context)
        else:
            self._s_keep(token, context)
        self._s_tap.feed(item, asked, at)
        return item


class _IteratorToo(_Driven):
    """A sync iterator that is an async one as well: what a read needs at hand is the async one's."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return _looped(self, iter)

    def __next__(self) -> Any:
        return self._s_drive(next, (self._s_source,), None)


class _Generator(_Driven):
    __slots__ = ()

    def send(self, value: Any) -> Any:
        return self._s_drive(self._s_source.send, (value,), None)

    def throw(self, *error: Any) -> Any:
        return self._s_drive(self._s_source.throw, error, _thrown(error))


class _Close(_Stream):
    __slots__ = ()

    def close(self, *args: Any, **kwargs: Any) -> Any:
        self._s_given_up(None)
        try:
            return self._s_source.close(*args, **kwargs)
        finally:
            self._s_closed()


class _AsyncIterator(_Stream):
    __slots__ = ()

    def __aiter__(self) -> Any:
        return _looped(self, aiter)

    async def __anext__(self) -> Any:
        sink, tap, read, enter, inside, leave = self._s_hot
        context = sink.context
        token = enter(context) if sink.inward else None
        asked = sink.asked = _clock()
        try:
            item = await read()
        except StopAsyncIteration:
            self._s_leave(token, context)
            self._s_over(None)
            raise
        except BaseException as error:
            self._s_leave(token, context)
            self._s_over(error)
            raise
        at = _clock()
        if token is not None:
            if inside() is context:
                leave(token)
            else:
                self._s_keep(token, context)
        try:
            signals = tap.read(item, at)
        except Exception as error:
            signals = tap.unread(error)
        try:
            tap.record(signals, asked, at)
        except Exception as error:
            tap.unrecorded(error)
        return item


class _AsyncGenerator(_Stream):
    __slots__ = ()

    async def asend(self, value: Any) -> Any:
        return await self._s_drive(self._s_source.asend, (value,), None)

    async def athrow(self, *error: Any) -> Any:
        return await self._s_drive(self._s_source.athrow, error, _thrown(error))

    async def _s_drive(self, step: Callable[..., Any], args: tuple[Any, ...], thrown: BaseException | None) -> Any:
        sink, _, _, enter, inside, _ = self._s_hot
        context = sink.context
        token = enter(context)
        asked = sink.asked = _clock()
        try:
            item = await step(*args)
        except StopAsyncIteration:
            self._s_leave(token, context)
            self._s_over(None)
            raise
        except BaseException as error:
            self._s_leave(token, context)
            if error is thrown or type(error) is type(thrown):
                self._s_given_up(error)
            else:
                self._s_over(error)
            raise
        at = _clock()
        if inside() is context:
            self._s_leave(token, context)
        else:
            self._s_keep(token, context)
        self._s_tap.feed(item, asked, at)
        return item


class _Aclose(_Stream):
    __slots__ = ()

    async def aclose(self, *args: Any, **kwargs: Any) -> Any:
        self._s_given_up(None)
        try:
            return await self._s_source.aclose(*args, **kwargs)
        finally:
            self._s_closed()


class _Iterable(_Stream):
    __slots__ = ()

    def __iter__(self) -> Any:
        return _looped(self, iter)


class _AsyncIterable(_Stream):
    __slots__ = ()

    def __aiter__(self) -> Any:
        return _looped(self, aiter)


class _Context(_Stream):
    __slots__ = ()

    def __enter__(self) -> Any:
        try:
            entered = self._s_source.__enter__()
        except BaseException as error:
            self._s_over(error)
            raise
        return _entered(self, entered)

    def __exit__(self, *error: Any) -> Any:
        self._s_given_up(error[1])
        return self._s_source.__exit__(*error)


class _AsyncContext(_Stream):
    __slots__ = ()

    async def __aenter__(self) -> Any:
        try:
            entered = await self._s_source.__aenter__()
        except BaseException as error:
            self._s_over(error)
            raise
        return _entered(self, entered)

    async def __aexit__(self, *error: Any) -> Any:
        self._s_given_up(error[1])
        return await self._s_source.__aexit__(*error)


def leave(ambient: ContextVar[Any], token: Token[Any], context: Any) -> None:
    """Undo what made `context` the current one, if it still is: else the source has changed it on purpose, or another
    task closes it."""
    if ambient.get(None) is context:
        try:
            ambient.reset(token)
        except ValueError:  # another task's context, that happens to hold the same value
            pass


def _looped(whole: _Stream, begin: Callable[[Any], Any]) -> Any:
    """What a loop over `whole` reads: itself; or what the source's own `__iter__` gives.

    The first loop over an iterable is the stream that was opened with it, and each later one a stream of its own. An
    iterator that gives another one can still be read itself, so that the two are one stream.
    """
    try:
        source = begin(whole._s_source)
    except BaseException as error:
        whole._s_over(error)
        raise
    if source is whole._s_source:
        return whole
    again = whole._s_looped
    put = object.__setattr__
    put(whole, "_s_looped", True)
    is_iterator = whole._s_hot[2] is not None
    if again and not is_iterator:
        return _wrapped(source, whole._s_again(), True, whole._s_ambient, whole._s_again)
    owned = is_iterator or whole._s_entered or whole._s_owner is not None
    if not owned:
        put(whole, "_s_owner", _THE_LOOP)  # who holds the loop holds the stream
    owner = whole if owned else None
    return _wrapped(source, whole._s_tap, whole._s_ends, whole._s_ambient, whole._s_again, owner)


def _entered(manager: _Stream, entered: Any) -> Any:
    """What `with` gives: the manager itself, the stream that it made, or something else that only it knows."""
    if entered is manager._s_source:
        object.__setattr__(manager, "_s_entered", True)
        return manager
    if not is_stream(entered):
        return entered
    # It does not end the tap when it is dropped: that is for the exit to say, with what the caller raised.
    return _wrapped(entered, manager._s_tap, manager._s_ends, manager._s_ambient, manager._s_again, manager)


def _thrown(error: tuple[Any, ...]) -> BaseException | None:
    """What `throw` was given, as an exception: its old form has a type, a value and a traceback."""
    first = error[0] if error else None
    if isinstance(first, BaseException):
        return first
    value = error[1] if len(error) > 1 else None
    if isinstance(value, BaseException):
        return value
    return BaseException.__new__(first) if isinstance(first, type) and issubclass(first, BaseException) else None


_THE_LOOP = object()

_FORWARDED = (
    "__len__", "__length_hint__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__reversed__",
    "__call__", "__await__", "__bool__", "__str__", "__format__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
    "__ge__", "__hash__", "__copy__", "__deepcopy__",
)  # fmt: skip
"""Where the source's type has its own."""
_ABILITIES: tuple[tuple[type, Callable[[type], bool]], ...] = (
    (_Iterator, lambda kind: hasattr(kind, "__next__") and not hasattr(kind, "__anext__")),
    (_IteratorToo, lambda kind: hasattr(kind, "__next__") and hasattr(kind, "__anext__")),
    (_Generator, lambda kind: hasattr(kind, "send") and hasattr(kind, "throw") and hasattr(kind, "__next__")),
    (_Close, lambda kind: hasattr(kind, "close")),
    (_AsyncIterator, lambda kind: hasattr(kind, "__anext__")),
    (_AsyncGenerator, lambda kind: hasattr(kind, "asend") and hasattr(kind, "athrow")),
    (_Aclose, lambda kind: hasattr(kind, "aclose")),
    (_Iterable, lambda kind: hasattr(kind, "__iter__") and not hasattr(kind, "__next__")),
    (_AsyncIterable, lambda kind: hasattr(kind, "__aiter__") and not hasattr(kind, "__anext__")),
    (_Context, lambda kind: hasattr(kind, "__enter__")),
    (_AsyncContext, lambda kind: hasattr(kind, "__aenter__")),
)


_NAMED_TYPES = frozenset({GeneratorType, AsyncGeneratorType})
"""Types whose objects have the attributes of their type, and no others."""


@lru_cache(maxsize=1024)  # of types; more than any program streams from
def _class_for(kind: type) -> type[_Stream]:
    abilities = tuple(ability for ability, has in _ABILITIES if has(kind)) or (_Stream,)
    # Looked up here, as `getattr` also finds what a type has of its own type: each is callable, and has a hash.
    found = {name: base.__dict__[name] for base in kind.__mro__[-2::-1] for name in _FORWARDED if name in base.__dict__}
    names: dict[str, Any] = {name: None if value is None else _forward(name) for name, value in found.items()}
    names["__doc__"] = kind.__doc__
    slots: tuple[str, ...] = ()
    if kind in _NAMED_TYPES:
        # No __getattr__ on the class: with one, the interpreter specialises no attribute access (50 ns a chunk). A
        # class takes __qualname__ as a slot only.
        own = {name for ability in abilities for name in dir(ability)} | {"__qualname__"}
        names.update({name: property(attrgetter(f"_s_source.{name}")) for name in dir(kind) if name not in own})
        slots = ("__qualname__",)
    else:
        abilities = (*abilities, _Open)
    return type(kind.__name__, abilities, {"__slots__": slots, "__module__": kind.__module__, **names})


def _forward(name: str) -> Callable[..., Any]:
    def special(self: _Stream, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._s_source, name)(*args, **kwargs)

    special.__name__ = special.__qualname__ = name
    return special


def _wrapped(
    source: Any, tap: Tap, ends: bool, ambient: ContextVar[Any], again: Callable[[], Tap], owner: Any = None
) -> Any:
    kind: Any = type(source)
    ready()
    return _class_for(kind)(source, tap, ends, ambient, again, owner)
