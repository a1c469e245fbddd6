"""The connections of one route over HTTP/2: the same calls as of `pool`. Several exchanges share one."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from streamgauge.transports.http.http2 import Connection, Stream

if TYPE_CHECKING:
    from streamgauge.transports.http.relay import Relay
    from streamgauge.transports.http.routes import Lane

__all__ = ["Http2Pool"]

_ENDLESS_S = 86_400.0


class Http2Pool:
    """The connections of one route: one, as long as it has room."""

    def __init__(self, lane: Lane) -> None:
        self.limits = lane.limits
        self.scheme = lane.scheme.encode()
        self._lane = lane
        self._context = lane.context()
        self._loop = asyncio.get_running_loop()
        self._connections: list[Connection] = []
        self._waiting: dict[Relay, bool] = {}
        """Whether no connection will do that served another."""
        self._making: asyncio.Task[None] | None = None

    def take(self, relay: Relay, *, fresh: bool) -> Stream | None:
        connection = self._with_room(fresh)
        if connection is not None:
            return Stream(connection)
        self._waiting[relay] = fresh
        if self._making is None:
            self._making = self._loop.create_task(self._connect())
        return None

    def give_up(self, relay: Relay) -> None:
        self._waiting.pop(relay, None)
        if not self._waiting and self._making is not None:
            self._making.cancel()
            self._making = None

    async def _connect(self) -> None:
        lane = self._lane
        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {
                "ssl": self._context,
                "server_hostname": lane.host,
                "ssl_handshake_timeout": 2 * self.limits.connect_timeout_s or _ENDLESS_S,  # the sweep comes first
            }
        try:
            _, made = await self._loop.create_connection(self._new, lane.host, lane.port, **tls)
        except Exception as error:
            self._making = None
            waiting, self._waiting = self._waiting, {}
            for relay in waiting:
                relay.unconnected("tls_error" if isinstance(error, ssl.SSLError) else "connect_error")
            return
        self._making = None
        if not made.usable:
            waiting, self._waiting = self._waiting, {}
            for relay in waiting:
                relay.unconnected("connect_error")
            return
        self._connections.append(made)
        self.serve_waiting()

    def _new(self) -> Connection:
        return Connection(self)

    def serve_waiting(self) -> None:
        """Give the streams that there is room for to those that wait."""
        for relay, fresh in list(self._waiting.items()):
            connection = self._with_room(fresh)
            if connection is not None:
                del self._waiting[relay]
                relay.connected(Stream(connection))
        if self._waiting and self._making is None:
            self._making = self._loop.create_task(self._connect())

    def _with_room(self, fresh: bool) -> Connection | None:
        for connection in reversed(self._connections):
            if connection.has_room and not (fresh and connection.served):
                return connection
        return None

    def forget(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def sweep(self, now: int) -> None:
        for connection in list(self._connections):
            if not connection.streams and now - connection.idle_since > self.limits.pool_idle_s * 1e9:
                self.forget(connection)
                connection.transport.close()

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
        for connection in list(self._connections):
            connection.transport.abort()
        self._connections.clear()
