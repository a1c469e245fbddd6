"""What a stream can do that is read in the caller's own task."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamgauge.transports.inprocess._stream import Stream, exception_of

__all__ = ["Aclose", "AsyncContext", "AsyncGenerator", "AsyncIterable", "AsyncIterator"]

_clock = time.monotonic_ns


class AsyncIterator(Stream):
    __slots__ = ()

    def __aiter__(self) -> Any:
        return self._s_loop(aiter)

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


class AsyncGenerator(Stream):
    __slots__ = ()

    async def asend(self, value: Any) -> Any:
        return await self._s_drive(self._s_source.asend, (value,), None)

    async def athrow(self, *error: Any) -> Any:
        return await self._s_drive(self._s_source.athrow, error, exception_of(error))

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


class Aclose(Stream):
    __slots__ = ()

    async def aclose(self, *args: Any, **kwargs: Any) -> Any:
        self._s_given_up(None)
        try:
            return await self._s_source.aclose(*args, **kwargs)
        finally:
            self._s_closed()


class AsyncIterable(Stream):
    __slots__ = ()

    def __aiter__(self) -> Any:
        return self._s_loop(aiter)


class AsyncContext(Stream):
    __slots__ = ()

    async def __aenter__(self) -> Any:
        try:
            entered = await self._s_source.__aenter__()
        except BaseException as error:
            self._s_over(error)
            raise
        return self._s_enter(entered)

    async def __aexit__(self, *error: Any) -> Any:
        self._s_given_up(error[1])
        return await self._s_source.__aexit__(*error)
