"""Transports for httpx: what a client sends through one is watched.

    client = httpx.Client(transport=streamgauge.httpx.Transport())

A client that is given a transport makes none itself, so `verify`, `http2`, `limits` and the proxies of the environment
are the transport's to be given. An existing client keeps its own: `streamgauge.httpx.wrap(client)`, or just
`streamgauge.wrap(client)`. For httpx2, its fork, see `streamgauge.httpx2`.
"""

from __future__ import annotations

from typing import TypeVar, Unpack

import httpx

from streamgauge._httpx import Fields, watch, wrapped_client
from streamgauge.transports.httpx_client import AsyncWatching, Watching

__all__ = ["AsyncTransport", "Transport", "wrap"]

T = TypeVar("T")


def wrap(client: T, *, propagate: bool = False, **fields: Unpack[Fields]) -> T:
    """A drop-in for a `Client` or an `AsyncClient`, of the same type: what it sends is watched.

    It shares the client's transports, connection pool, cookies, hooks and settings; the client itself is left as it
    is. Closing one closes the other.

    Args:
        propagate: send our span in the header `traceparent`, in the place of the caller's own.
        fields: see `Fields`.
    Raises: UnwrappableError for all else; UnknownDialectError; UsageError for a dialect from outside that cannot be
        loaded.
    """
    return wrapped_client(client, propagate, fields)


class Transport(Watching, httpx.BaseTransport):
    """A transport that watches what another one sends."""

    def __init__(
        self, wrapped: httpx.BaseTransport | None = None, *, propagate: bool = False, **fields: Unpack[Fields]
    ) -> None:
        """
        Args:
            wrapped: what sends; by default an `httpx.HTTPTransport()`.
            propagate: send our span in the header `traceparent`, in the place of the caller's own.
            fields: see `Fields`.
        Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded.
        """
        super().__init__(wrapped or httpx.HTTPTransport(), httpx, watch(fields), propagate)


class AsyncTransport(AsyncWatching, httpx.AsyncBaseTransport):
    """A transport that watches what another one sends."""

    def __init__(
        self, wrapped: httpx.AsyncBaseTransport | None = None, *, propagate: bool = False, **fields: Unpack[Fields]
    ) -> None:
        """
        Args:
            wrapped: what sends; by default an `httpx.AsyncHTTPTransport()`.
            propagate: send our span in the header `traceparent`, in the place of the caller's own.
            fields: see `Fields`.
        Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded.
        """
        super().__init__(wrapped or httpx.AsyncHTTPTransport(), httpx, watch(fields), propagate)
