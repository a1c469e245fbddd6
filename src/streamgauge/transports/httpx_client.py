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
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from streamgauge.transports._httpx_body import AsyncBody, Body, body_of, end_by

if TYPE_CHECKING:
    from streamgauge.transports._exchange import Exchange, Watch

__all__ = ["PACKAGES", "AsyncWatching", "Kinds", "Watching", "kinds", "package_of", "watching"]

PACKAGES = ("httpx", "httpx2")
"""The packages whose transports these are."""

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
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
        made("Body", Body, package.SyncByteStream),
        made("AsyncBody", AsyncBody, package.AsyncByteStream),
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
            end_by(exchange, error, self._s_package, answered=False)

    def _s_answered(self, exchange: Exchange, response: Any, body: type) -> None:
        """The head of the answer is here; its body will be read through a `body`."""
        try:
            exchange.responded(response.status_code, response.headers.raw)
            if response.status_code == _SWITCHED:
                exchange.end()
            elif not exchange.watched:
                pass
            elif response.is_closed:  # read already: made by a mock or a cache, or read by the wrapped transport
                exchange.data(body_of(response, self._s_package), _clock())
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
