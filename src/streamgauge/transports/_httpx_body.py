"""The bodies of an HTTP client's answers: the pieces that it reads, told as they are given. See `httpx_client`."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from streamgauge.transports._dropped import dropped, ready
from streamgauge.transports._exchange import HELD_BYTES
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.tap import Tap
    from streamgauge.transports._exchange import Exchange

__all__ = ["AsyncBody", "Body", "body_of", "end_by"]

_NOTHING: bytes | tuple[()] = ()
"""No piece ends with that."""

_clock = time.monotonic_ns


class _EitherBody:
    """What both bodies are. All names but `_s_` are the wrapped stream's."""

    def __init__(self, wrapped: Any, exchange: Exchange, package: ModuleType) -> None:
        self._s_wrapped = wrapped
        self._s_exchange = exchange
        self._s_package = package
        ready()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_s_"):
            raise AttributeError(name)
        return getattr(self._s_wrapped, name)

    def __del__(self) -> None:
        try:
            if self._s_exchange.watched:
                dropped(cast("Tap", _Dropped(self._s_exchange)), _clock())
        except AttributeError:  # it was never built
            pass

    def _s_over(self, error: BaseException) -> None:
        end_by(self._s_exchange, error, self._s_package, answered=True)

    def _s_given_up(self) -> None:
        """The caller has closed it. Closed after its end, as most are, this changes nothing."""
        error = sys.exc_info()[1]
        if error is None or isinstance(error, Exception | GeneratorExit):
            self._s_exchange.end(outcome=Outcome.ABANDONED)
        else:  # the caller is on the way out: cancelled, or the program ends
            self._s_over(error)


class _Dropped:
    """An exchange, as what ends dropped streams sees it."""

    __slots__ = ("_exchange",)
    ended = False

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def end_at(self, at: int, *, outcome: Outcome) -> None:
        self._exchange.end(outcome=outcome)


class Body(_EitherBody):
    """The body of an answer, as the wrapped stream gives it."""

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._s_exchange
        told, hold, sink = exchange.told, exchange.held.append, exchange.sink
        asked = sink.asked  # of the first piece: the wait is the one for the answer
        like, until, room = _NOTHING, 0, 0
        try:
            for piece in self._s_wrapped:
                at = _clock()
                # No call of ours here: one alone costs as much as all the rest.
                if at < until and room > 0 and piece.__class__ is bytes and piece.endswith(like):
                    hold((piece, asked, at))
                    room -= len(piece)
                else:
                    like, until = told(piece, at)
                    room = HELD_BYTES
                yield piece
                sink.asked = asked = _clock()
        except GeneratorExit:  # closing the body, or dropping it, will say how it ended
            raise
        except BaseException as error:
            self._s_over(error)
            raise
        exchange.end()

    def close(self) -> None:
        self._s_given_up()
        self._s_wrapped.close()


class AsyncBody(_EitherBody):
    """The body of an answer, as the wrapped stream gives it."""

    def __aiter__(self) -> Any:
        pieces = self._s_wrapped.__aiter__()
        return self._generated(pieces) if isinstance(pieces, AsyncGenerator) else _Pieces(self, pieces)

    async def _generated(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """One reading, where the wrapped stream is read by such a generator too: who closes or drops that one does so
        with this one. See `Body`."""
        exchange = self._s_exchange
        told, hold, sink = exchange.told, exchange.held.append, exchange.sink
        asked = sink.asked
        like, until, room = _NOTHING, 0, 0
        away = False
        try:
            async for piece in pieces:
                at = _clock()
                if at < until and room > 0 and piece.__class__ is bytes and piece.endswith(like):
                    hold((piece, asked, at))
                    room -= len(piece)
                else:
                    like, until = told(piece, at)
                    room = HELD_BYTES
                away = True
                yield piece
                away = False
                sink.asked = asked = _clock()
        except BaseException as error:
            if away:  # the reader's: it closes this, or throws something in
                await pieces.aclose()
            elif not isinstance(error, GeneratorExit):  # that is: this very call was dropped
                self._s_over(error)
            raise
        exchange.end()

    async def aclose(self) -> None:
        self._s_given_up()
        await self._s_wrapped.aclose()


class _Pieces:
    """One reading of an async body that is not read by a generator: nor is this one, which an event loop would have to
    look after."""

    __slots__ = ("_begun", "_body", "_data", "_exchange", "_next", "_pieces", "_resumed")

    def __init__(self, body: AsyncBody, pieces: Any) -> None:
        self._body = body  # it lives as long as it is read
        self._exchange = exchange = body._s_exchange
        self._data, self._resumed = exchange.data, exchange.resumed
        self._begun = False  # until the first piece, the wait is the one for the answer
        self._pieces = pieces
        self._next: Callable[[], Any] = pieces.__anext__

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        if self._begun:
            self._resumed()
        try:
            piece: bytes = await self._next()
        except StopAsyncIteration:
            self._exchange.end()
            raise
        except GeneratorExit:  # this very call was dropped
            raise
        except BaseException as error:
            self._body._s_over(error)
            raise
        self._data(piece, _clock())
        self._begun = True
        return piece


def body_of(response: Any, package: ModuleType) -> bytes:
    """The body of a response that was read, as it was on the wire; empty where that is no longer known."""
    if isinstance(response.stream, package.ByteStream):
        return b"".join(response.stream)
    content: bytes = b"" if "content-encoding" in response.headers else response.content
    return content


def end_by(exchange: Exchange, error: BaseException, package: Any, *, answered: bool) -> None:
    """The exchange has ended by `error`, before its answer's head was here or after."""
    if isinstance(error, package.TimeoutException):
        exchange.end(error, outcome=Outcome.TIMED_OUT, error_type="timeout")
    elif answered and isinstance(error, package.RemoteProtocolError):
        exchange.end(error, outcome=Outcome.TRUNCATED, error_type="incomplete_body")
    elif answered and isinstance(error, package.NetworkError):
        exchange.end(error, outcome=Outcome.TRUNCATED, error_type="connection_lost")
    elif isinstance(error, package.ConnectError):
        exchange.end(error, outcome=Outcome.FAILED, error_type="connect_error")
    elif type(error).__name__ == "Cancelled" and not isinstance(error, Exception):  # trio's
        exchange.end(error, outcome=Outcome.CANCELLED)
    else:
        exchange.end(error)
