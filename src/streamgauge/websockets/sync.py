"""WebSocket connections of threads that are watched: `connect` of `websockets.sync.client`, with the same arguments and
objects.

    with streamgauge.websockets.sync.connect("wss://agent.example/chat") as socket:
        socket.send("Hello")
        for message in socket: ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Unpack

from websockets.sync import client

from streamgauge._websockets import Fields, split, watch
from streamgauge.transports.websocket import Reconnecting, opened
from streamgauge.transports.websocket import connection_factory as made_by

__all__ = ["connect", "connection_factory", "reconnect"]


def connect(uri: str, *, propagate: bool = False, **options: Any) -> Any:
    """As `websockets.sync.client.connect`; the connection is watched.

    Args:
        propagate: send our span in the handshake's header `traceparent`, in the place of the caller's own.
        options: see `streamgauge._websockets.Fields`; all others are the library's.
    Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded; as the library.
    """
    if options.get("legacy") is False:
        del options["legacy"]
        return reconnect(uri, propagate=propagate, **options)
    watched = watch(split(options))
    return opened(lambda **changed: client.connect(uri, **{**options, **changed}), watched, uri, options, propagate)


def connection_factory(
    kind: type[client.ClientConnection] = client.ClientConnection, *, propagate: bool = False, **fields: Unpack[Fields]
) -> Callable[..., Any]:
    """As `streamgauge.websockets.connection_factory`, for `websockets.sync.client.connect`."""
    return made_by(kind, watch(fields), propagate)


def reconnect(uri: str, *, propagate: bool = False, **options: Any) -> Any:
    """As `websockets.sync.client.reconnect`, which the library has since 17.1: to be entered, or iterated to connect
    again and again. Each connection that it makes is watched.

    Args, Raises: as `connect`.
    """
    watched = watch(split(options))
    made = _reconnect()(uri, **options)
    made._s_watch, made._s_propagate = watched, propagate
    return made


@cache
def _reconnect() -> Any:
    return type("reconnect", (Reconnecting, client.reconnect), {"__module__": __name__})
