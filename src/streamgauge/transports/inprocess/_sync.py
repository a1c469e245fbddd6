"""What a stream can do that is read in the caller's own thread: to iterate, to be sent to, closed and entered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamgauge.transports.inprocess._stream import Stream, exception_of

__all__ = ["Close", "Context", "Generator", "Iterable", "Iterator", "IteratorToo"]

_clock = time.monotonic_ns


class Iterator(Stream):
    __slots__ = ()

    def __iter__(self) -> Any:
        return self._s_loop(iter)

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


class _Driven(Stream):
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


class IteratorToo(_Driven):
    """A sync iterator that is an async one as well: what a read needs at hand is the async one's."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return self._s_loop(iter)

    def __next__(self) -> Any:
        return self._s_drive(next, (self._s_source,), None)


class Generator(_Driven):
    __slots__ = ()

    def send(self, value: Any) -> Any:
        return self._s_drive(self._s_source.send, (value,), None)

    def throw(self, *error: Any) -> Any:
        return self._s_drive(self._s_source.throw, error, exception_of(error))


class Close(Stream):
    __slots__ = ()

    def close(self, *args: Any, **kwargs: Any) -> Any:
        self._s_given_up(None)
        try:
            return self._s_source.close(*args, **kwargs)
        finally:
            self._s_closed()


class Iterable(Stream):
    __slots__ = ()

    def __iter__(self) -> Any:
        return self._s_loop(iter)


class Context(Stream):
    __slots__ = ()

    def __enter__(self) -> Any:
        try:
            entered = self._s_source.__enter__()
        except BaseException as error:
            self._s_over(error)
            raise
        return self._s_enter(entered)

    def __exit__(self, *error: Any) -> Any:
        self._s_given_up(error[1])
        return self._s_source.__exit__(*error)
