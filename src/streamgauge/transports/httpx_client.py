"""The transport of an HTTP client: what httpx sends, and the answers that it reads. Its fork httpx2 has the same API
under another name: there is one set of classes for each, made when it is asked for, and neither is imported here.

It sits between a client and the client's own transport, below redirects, authentication and an SDK's retries: each
request that is sent is one exchange. Requests, responses and exceptions are passed on as they are; of a response only
the body's stream is another object, of the same kind. It yields the same pieces, as they come, with the content coding
that they have on the wire. The caller's context is left alone: the exchange's span is never the current one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from streamgauge.transports._dropped import dropped, ready
from streamgauge.transports._exchange import HELD_BYTES
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.tap import Tap
    from streamgauge.transports._exchange import Exchange, Watch

__all__ = ["PACKAGES", "AsyncWatching", "Kinds", "Watching", "kinds", "package_of", "watching"]

PACKAGES = ("httpx", "httpx2")
"""The packages whose transports these are."""

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_NOTHING: bytes | tuple[()] = ()
"""No piece ends with that."""
_SWITCHED = 101
"""From here on the connection speaks another protocol."""

_clock = time.monotonic_ns


class Kinds(NamedTuple):
    """The classes for one package."""

    transport: Any
    """A `BaseTransport`."""
    async_transport: Any
    """An `AsyncBaseTransport`."""
    body: Any
    """A `SyncByteStream`."""
    async_body: Any
    """An `AsyncByteStream`."""


@lru_cache(maxsize=8)
def kinds(package: ModuleType) -> Kinds:
    """The classes for `package`: httpx or httpx2."""

    def made(name: str, ours: type, theirs: type) -> type:
        return type(name, (ours, theirs), {"__module__": __name__, "__doc__": ours.__doc__})

    return Kinds(
        made("Transport", Watching, package.BaseTransport),
        made("AsyncTransport", AsyncWatching, package.AsyncBaseTransport),
        made("Body", _Body, package.SyncByteStream),
        made("AsyncBody", _AsyncBody, package.AsyncByteStream),
    )


def package_of(obj: object) -> ModuleType | None:
    """The package that a client or a transport is of, also one of a subclass; None for all else."""
    names = (base.__module__.partition(".")[0] for base in type(obj).__mro__)
    return next((sys.modules[name] for name in names if name in PACKAGES and name in sys.modules), None)


def watching(wrapped: Any, package: ModuleType, watch: Watch, *, is_async: bool, propagate: bool = False) -> Any:
    """`wrapped`, watched; as it is where it is so already."""
    if isinstance(wrapped, Watching | AsyncWatching):
        return wrapped
    return kinds(package)[is_async](wrapped, package, watch, propagate)


# Transports -------------------------------------------------------------------------------------------------------


class _Either:
    """What both transports are. All names but `_s_` are the wrapped transport's."""

    def __init__(self, wrapped: Any, package: ModuleType, watch: Watch, propagate: bool) -> None:
        self._s_wrapped = wrapped
        self._s_package = package
        self._s_watch = watch
        self._s_propagate = propagate

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_s_"):
            raise AttributeError(name)
        return getattr(self._s_wrapped, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._s_wrapped!r}>"

    def _s_begin(self, request: Any) -> Exchange | None:
        """The exchange of `request`, which is whole unless its body is yet to be made: of such a body nothing is
        told."""
        try:
            url, headers = request.url, request.headers
            exchange = self._s_watch.exchange(
                request.method,
                url.raw_path.decode("latin-1"),
                headers.raw,
                server_address=url.host,
                server_port=url.port or _PORTS.get(url.scheme, 0),
                scheme=url.scheme,
            )
            with suppress(self._s_package.RequestNotRead):
                exchange.sent(request.content)
            exchange.requested()
            if self._s_propagate:
                headers.update(exchange.traceparent())
        except Exception:  # a request or a transport of somebody's own making: it is sent, and nobody watches it
            return None
        return exchange

    def _s_failed(self, exchange: Exchange | None, error: BaseException) -> None:
        if exchange is not None:
            _end(exchange, error, self._s_package, answered=False)

    def _s_answered(self, exchange: Exchange, response: Any, body: type) -> None:
        """The head of the answer is here; its body will be read through a `body`."""
        try:
            exchange.responded(response.status_code, response.headers.raw)
            if response.status_code == _SWITCHED:
                exchange.end()
            elif not exchange.watched:
                pass
            elif response.is_closed:  # read already: made by a mock or a cache, or read by the wrapped transport
                exchange.data(_body_of(response, self._s_package), _clock())
                exchange.end()
            else:
                response.stream = body(response.stream, exchange, self._s_package)
        except Exception as trouble:  # a response of somebody's own making: it is read, and nobody watches it
            exchange.end(trouble)


class Watching(_Either):
    """A transport that tells of each request that the wrapped one sends, and of its answer."""

    def __enter__(self) -> Any:
        self._s_wrapped.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._s_wrapped.__exit__(*error)

    def close(self) -> None:
        self._s_wrapped.close()

    def handle_request(self, request: Any) -> Any:
        exchange = self._s_begin(request)
        try:
            response = self._s_wrapped.handle_request(request)
        except BaseException as error:
            self._s_failed(exchange, error)
            raise
        if exchange is not None:
            self._s_answered(exchange, response, kinds(self._s_package).body)
        return response


class AsyncWatching(_Either):
    """A transport that tells of each request that the wrapped one sends, and of its answer."""

    async def __aenter__(self) -> Any:
        await self._s_wrapped.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._s_wrapped.__aexit__(*error)

    async def aclose(self) -> None:
        await self._s_wrapped.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        exchange = self._s_begin(request)
        try:
            response = await self._s_wrapped.handle_async_request(request)
        except BaseException as error:
            self._s_failed(exchange, error)
            raise
        if exchange is not None:
            self._s_answered(exchange, response, kinds(self._s_package).async_body)
        return response


# Bodies -----------------------------------------------------------------------------------------------------------


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
        _end(self._s_exchange, error, self._s_package, answered=True)

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


class _Body(_EitherBody):
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


class _AsyncBody(_EitherBody):
    """The body of an answer, as the wrapped stream gives it."""

    def __aiter__(self) -> Any:
        pieces = self._s_wrapped.__aiter__()
        return self._generated(pieces) if isinstance(pieces, AsyncGenerator) else _Pieces(self, pieces)

    async def _generated(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """One reading, where the wrapped stream is read by such a generator too: who closes or drops that one does so
        with this one. See `_Body`."""
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

    def __init__(self, body: _AsyncBody, pieces: Any) -> None:
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


def _body_of(response: Any, package: ModuleType) -> bytes:
    """The body of a response that was read, as it was on the wire; empty where that is no longer known."""
    if isinstance(response.stream, package.ByteStream):
        return b"".join(response.stream)
    content: bytes = b"" if "content-encoding" in response.headers else response.content
    return content


def _end(exchange: Exchange, error: BaseException, package: Any, *, answered: bool) -> None:
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
