"""The transport of a WebSocket client: the connections of the library websockets, asyncio's and those of threads.

What the caller has is a connection of the same class with the same state: the library's own methods do all, and what
they take and give is told afterwards. Nothing is read that the caller does not ask for, in no other task and no other
thread; what a connection is given to send and gives to read are the very objects. The connection itself is left as it
is.

A connection has ended when the caller is told so, closes it or drops it; of asyncio's also when it is lost and nothing
is left to be read. Until then a read may be cancelled, or time out, and be made again.

Source: websockets 17.4 and 16.1: asyncio/connection.py, asyncio/client.py, sync/connection.py, sync/client.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from streamgauge.transports._conversation import Conversation
from streamgauge.transports._exchange import CARRIED
from streamgauge.transports.websocket._connections import creating, is_watched, watching
from streamgauge.wire import Outcome

__all__ = ["Connecting", "Reconnecting", "connected", "connection_factory", "opened"]

_PORTS = {"ws": 80, "wss": 443}


def _begun(watch: Callable[..., Conversation], uri: str, headers: Any) -> Conversation:
    """The conversation of a connection that is about to be made.

    Args:
        headers: that the caller gives to the handshake.
    """
    try:
        parts = urlsplit(uri)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        address, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        # Others can be read only once, by the library.
        carrier = _carrier(Headers(headers)) if isinstance(headers, Mapping | list | tuple) else {}
    except Exception:  # the library will say what is wrong
        return watch("", {})
    return watch(target, carrier, server_address=address, server_port=port)


def connected(connection: Any, watch: Callable[..., Conversation]) -> Any:
    """A connection that was made by somebody else, watched from now on; as it is where it is so already."""
    if is_watched(connection):
        return connection
    request, uri = connection.request, getattr(connection.protocol, "uri", None)
    conversation = watch(
        request.path if request is not None else "",
        _carrier(request.headers) if request is not None else {},
        server_address=getattr(uri, "host", ""),
        server_port=getattr(uri, "port", 0),
    )
    return _made(connection, conversation)


def _failed(conversation: Conversation, error: BaseException) -> None:
    """There is no connection, by `error`."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        conversation.answered(status)
        conversation.end(error, outcome=Outcome.FAILED, error_type=str(status))
    elif isinstance(error, TimeoutError):
        conversation.end(error, outcome=Outcome.TIMED_OUT)
    elif isinstance(error, OSError):
        conversation.end(error, outcome=Outcome.FAILED, error_type="connect_error")
    else:
        conversation.end(error)


def _with(headers: Any, more: dict[str, str]) -> Any:
    """The handshake's headers, with `more` in the place of the caller's own."""
    found = Headers(headers) if headers is not None else Headers()
    for name, value in more.items():
        if name in found:
            del found[name]
        found[name] = value
    return found


def _first(watch: Callable[..., Conversation], uri: str, headers: Any, propagate: bool) -> tuple[Conversation, Any]:
    """(the conversation that begins, the handshake's headers)."""
    conversation = _begun(watch, uri, headers)
    return conversation, _with(headers, conversation.traceparent()) if propagate else headers


def connection_factory(kind: type, watch: Callable[..., Conversation], propagate: bool) -> Callable[..., Any]:
    """What makes connections of the class `kind` that are watched."""

    def begin(connection: Any, headers: Any) -> tuple[Conversation, Any]:
        uri = connection.protocol.uri
        authority = f"[{uri.host}]" if ":" in uri.host else uri.host
        scheme = "wss" if uri.secure else "ws"
        return _first(watch, f"{scheme}://{authority}:{uri.port}{uri.resource_name}", headers, propagate)

    return creating(kind, begin, _failed)


def _made(connection: Any, conversation: Conversation) -> Any:
    try:
        if connection.response is not None:
            conversation.answered(connection.response.status_code)
        return watching(connection, conversation)
    except Exception as trouble:  # a connection of somebody's own making: it is used, and nobody watches it
        conversation.end(trouble)
        return connection


class Connecting:
    """What `websockets.asyncio.client.connect` is to be besides: each connection that it makes is watched."""

    _s_watch: Callable[..., Conversation]
    _s_propagate: bool

    def __await__(self) -> Generator[Any, None, Any]:
        plain: Any = super()
        own: Any = self
        given = own.additional_headers
        conversation, headers = _first(self._s_watch, own.uri, given, self._s_propagate)
        own.additional_headers = headers
        try:
            connection = yield from plain.__await__()
        except BaseException as error:
            _failed(conversation, error)
            raise
        finally:
            if own.additional_headers is headers:  # else a redirect has taken some away, for good
                own.additional_headers = given
        double = _made(connection, conversation)
        if own.__dict__.get("connection") is connection:  # what it closes in the end
            own.connection = double
        return double


class Reconnecting:
    """The same for `websockets.sync.client.reconnect`."""

    _s_watch: Callable[..., Conversation]
    _s_propagate: bool

    def connect(self) -> Any:
        plain: Any = super()
        own: Any = self
        given = own.additional_headers
        conversation, headers = _first(self._s_watch, own.uri, given, self._s_propagate)
        own.additional_headers = headers
        try:
            connection = plain.connect()
        except BaseException as error:
            _failed(conversation, error)
            raise
        finally:
            if own.additional_headers is headers:  # else a redirect has taken some away, for good
                own.additional_headers = given
        return _made(connection, conversation)


def opened(
    connect: Callable[..., Any], watch: Callable[..., Conversation], uri: str, options: dict[str, Any], propagate: bool
) -> Any:
    """The connection of threads that `connect` makes, watched.

    Args:
        connect: called with the options that are to be others.
        options: that it has.
    """
    conversation, headers = _first(watch, uri, options.get("additional_headers"), propagate)
    try:
        connection = connect(additional_headers=headers)
    except BaseException as error:
        _failed(conversation, error)
        raise
    return _made(connection, conversation)


def _carrier(headers: Headers) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in headers.raw_items()
        if name.lower().encode("latin-1", "replace") in CARRIED
    }
