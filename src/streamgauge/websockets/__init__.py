"""WebSocket connections that are watched: `connect` of the library websockets, with the same arguments and objects.

    async with streamgauge.websockets.connect("wss://agent.example/chat") as socket:
        await socket.send("Hello")
        async for message in socket: ...

A connection that exists already: `streamgauge.websockets.wrap(socket)`, or just `streamgauge.wrap(socket)`. For an SDK
that connects by itself: `create_connection=streamgauge.websockets.connection_factory()` among its options. For threads
there is `streamgauge.websockets.sync`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from websockets.asyncio import client

from streamgauge._websockets import Fields, split, watch
from streamgauge.errors import UnwrappableError
from streamgauge.transports.websocket import Connecting, connected
from streamgauge.transports.websocket import connection_factory as made_by

__all__ = ["connect", "connection_factory", "wrap"]

T = TypeVar("T")


class connect(Connecting, client.connect):
    """As `websockets.asyncio.client.connect`: to be awaited, entered, or iterated to connect again and again. Each
    connection that it makes is watched."""

    def __init__(self, uri: str, *, propagate: bool = False, **options: Any) -> None:
        """
        Args:
            propagate: send our span in the handshake's header `traceparent`, in the place of the caller's own.
            options: see `Fields`; all others are the library's.
        Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded; as the library.
        """
        self._s_watch = watch(split(options))
        self._s_propagate = propagate
        super().__init__(uri, **options)


def connection_factory(
    kind: type[client.ClientConnection] = client.ClientConnection, *, propagate: bool = False, **fields: Unpack[Fields]
) -> Callable[..., Any]:
    """For an SDK that connects by itself, and takes options for that: what to give as `create_connection`.

    Args:
        kind: the class of the connections.
        propagate: as for `connect`.
        fields: see `Fields`.
    Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded.
    """
    return made_by(kind, watch(fields), propagate)


def wrap(connection: T, **fields: Unpack[Fields]) -> T:
    """A drop-in for a client's connection that is open, asyncio's or one of threads, of the same type: what it sends
    and receives from now on is watched.

    It shares the connection's state; the connection itself is left as it is. Closing one closes the other.

    Args:
        fields: see `Fields`.
    Raises: UnwrappableError for all else; UnknownDialectError; UsageError for a dialect from outside that cannot be
        loaded.
    """
    watched = watch(fields)
    threads = sys.modules.get("websockets.sync.client")
    kinds = (client.ClientConnection,) if threads is None else (client.ClientConnection, threads.ClientConnection)
    if not isinstance(connection, kinds):
        kind = type(connection)
        raise UnwrappableError(f"{kind.__module__}.{kind.__qualname__} is no client's connection of websockets")
    found: T = connected(connection, watched)
    return found
