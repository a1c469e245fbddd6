"""Transports for httpx2: what a client sends through one is watched.

    client = httpx2.Client(transport=streamgauge.httpx2.Transport())

A client that is given a transport makes none itself, so `verify`, `http2`, `limits` and the proxies of the environment
are the transport's to be given. An existing client keeps its own: `streamgauge.httpx2.wrap(client)`, or just
`streamgauge.wrap(client)`.
"""

from __future__ import annotations

from typing import TypeVar, Unpack

import httpx2

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


class Transport(Watching, httpx2.BaseTransport):
    """A transport that watches what another one sends."""

    def __init__(
        self, wrapped: httpx2.BaseTransport | None = None, *, propagate: bool = False, **fields: Unpack[Fields]
    ) -> None:
        """
        Args:
            wrapped: what sends; by default an `httpx2.HTTPTransport()`.
            propagate: send our span in the header `traceparent`, in the place of the caller's own.
            fields: see `Fields`.
        Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded.
        """
        super().__init__(wrapped or httpx2.HTTPTransport(), httpx2, watch(fields), propagate)


class AsyncTransport(AsyncWatching, httpx2.AsyncBaseTransport):
    """A transport that watches what another one sends."""

    def __init__(
        self, wrapped: httpx2.AsyncBaseTransport | None = None, *, propagate: bool = False, **fields: Unpack[Fields]
    ) -> None:
        """
        Args:
            wrapped: what sends; by default an `httpx2.AsyncHTTPTransport()`.
            propagate: send our span in the header `traceparent`, in the place of the caller's own.
            fields: see `Fields`.
        Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded.
        """
        super().__init__(wrapped or httpx2.AsyncHTTPTransport(), httpx2, watch(fields), propagate)
