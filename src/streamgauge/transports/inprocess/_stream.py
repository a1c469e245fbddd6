"""What every wrapped stream is, whatever it can do: how it passes for its source, how it ends, what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from types import AsyncGeneratorType, GeneratorType
from typing import Any, ClassVar

from streamgauge.tap import Tap
from streamgauge.transports._dropped import dropped
from streamgauge.transports.inprocess._context import Kept
from streamgauge.wire import Outcome

__all__ = ["NAMED_TYPES", "OpenStream", "Stream", "exception_of", "is_stream", "is_wrapped"]

NAMED_TYPES = frozenset({GeneratorType, AsyncGeneratorType})
"""Types whose objects have the attributes of their type, and no others."""

_THE_LOOP = object()

_clock = time.monotonic_ns


class Stream:
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
    _s_kept: Kept | None
    """Where the source keeps a context of its own from one read to the next."""
    _s_looped: bool
    _s_owner: Any
    """Who ends the tap by being dropped, where it is not this one. It lives as long as this one."""
    _s_source: Any
    _s_tap: Tap
    _s_wrap: ClassVar[Callable[..., Any]]
    """Wraps a stream that this one gives. Every class that is made has it: its parts know nothing of the making."""

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
        if kind in NAMED_TYPES:
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
            kept = Kept(self._s_ambient)
            object.__setattr__(self, "_s_kept", kept)
            object.__setattr__(self, "_s_hot", (*self._s_hot[:3], kept.enter, kept.inside, kept.leave))
            self._s_tap.sink.stay_inward()
        kept.keep(token, context)

    def _s_closed(self) -> None:
        """The source was closed, and has given back what it kept."""
        if self._s_kept is not None:
            self._s_kept.close()

    def _s_loop(self, begin: Callable[[Any], Any]) -> Any:
        """What a loop over it reads: itself; or what the source's own `__iter__` gives.

        The first loop over an iterable is the stream that was opened with it, and each later one a stream of its own.
        An iterator that gives another one can still be read itself, so that the two are one stream.
        """
        try:
            source = begin(self._s_source)
        except BaseException as error:
            self._s_over(error)
            raise
        if source is self._s_source:
            return self
        again = self._s_looped
        put = object.__setattr__
        put(self, "_s_looped", True)
        is_iterator = self._s_hot[2] is not None
        if again and not is_iterator:
            return self._s_wrap(source, self._s_again(), True, self._s_ambient, self._s_again)
        owned = is_iterator or self._s_entered or self._s_owner is not None
        if not owned:
            put(self, "_s_owner", _THE_LOOP)  # who holds the loop holds the stream
        owner = self if owned else None
        return self._s_wrap(source, self._s_tap, self._s_ends, self._s_ambient, self._s_again, owner)

    def _s_enter(self, entered: Any) -> Any:
        """What `with` gives: the manager itself, the stream that it made, or something else that only it knows."""
        if entered is self._s_source:
            object.__setattr__(self, "_s_entered", True)
            return self
        if not is_stream(entered):
            return entered
        # It does not end the tap when it is dropped: that is for the exit to say, with what the caller raised.
        return self._s_wrap(entered, self._s_tap, self._s_ends, self._s_ambient, self._s_again, self)


class OpenStream(Stream):
    """A source whose attributes are not all known from its type."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_s_source"), name)


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
    return issubclass(type(obj), Stream)


def exception_of(error: tuple[Any, ...]) -> BaseException | None:
    """What `throw` was given, as an exception: its old form has a type, a value and a traceback."""
    first = error[0] if error else None
    if isinstance(first, BaseException):
        return first
    value = error[1] if len(error) > 1 else None
    if isinstance(value, BaseException):
        return value
    return BaseException.__new__(first) if isinstance(first, type) and issubclass(first, BaseException) else None
