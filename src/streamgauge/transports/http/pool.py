"""The upstream connections of one route: those that are idle, and those that are being made."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING

from streamgauge.transports.http.upstream import Upstream

if TYPE_CHECKING:
    from streamgauge.transports.http.relay import Relay
    from streamgauge.transports.http.routes import Lane

__all__ = ["Pool"]

_clock = time.monotonic_ns

_ENDLESS_S = 86_400.0


class Pool:
    """Last in, first out: what has been idle for long is closed, by `sweep`."""

    __slots__ = ("_context", "_idle", "_idle_ns", "_lane", "_loop", "_making", "limits")

    def __init__(self, lane: Lane) -> None:
        self.limits = lane.limits
        self._lane = lane
        self._context = lane.context()
        self._idle: list[Upstream] = []
        self._idle_ns = round(lane.limits.pool_idle_s * 1e9)
        self._loop = asyncio.get_running_loop()
        self._making: dict[Relay, asyncio.Task[None]] = {}

    def take(self, relay: Relay, *, fresh: bool) -> Upstream | None:
        """An idle connection; else None, and `relay` is told `connected` or `unconnected`, once.

        Args:
            fresh: no idle one will do.
        """
        if not fresh and self._idle:
            return self._idle.pop()
        self._making[relay] = self._loop.create_task(self._connect(relay))
        return None

    def give_up(self, relay: Relay) -> None:
        """It no longer waits for a connection."""
        task = self._making.pop(relay, None)
        if task is not None:
            task.cancel()

    async def _connect(self, relay: Relay) -> None:
        lane = self._lane
        try:
            if self._context is None:
                _, made = await self._loop.create_connection(self._new, lane.host, lane.port)
            else:
                _, made = await self._loop.create_connection(
                    self._new,
                    lane.host,
                    lane.port,
                    ssl=self._context,
                    server_hostname=lane.host,
                    ssl_handshake_timeout=2 * self.limits.connect_timeout_s or _ENDLESS_S,  # the sweep comes first
                )
        except Exception as error:  # mostly an OSError; a host name that cannot be encoded is a ValueError
            if self._making.pop(relay, None) is not None:
                relay.unconnected("tls_error" if isinstance(error, ssl.SSLError) else "connect_error")
            return
        if self._making.pop(relay, None) is None:
            made.abort()
        elif made.closed:
            relay.unconnected("connect_error")
        else:
            relay.connected(made)

    def _new(self) -> Upstream:
        return Upstream(self)

    def put(self, upstream: Upstream) -> None:
        """It is idle from now on."""
        if len(self._idle) >= self.limits.pool_size or not self._idle_ns:
            upstream.abort()
            return
        upstream.idle_since = _clock()
        self._idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """It is closed."""
        if upstream.relay is None and upstream in self._idle:
            self._idle.remove(upstream)

    def sweep(self, now: int) -> None:
        """Close what has been idle for too long; the oldest come first."""
        old = 0
        for upstream in self._idle:
            if now - upstream.idle_since < self._idle_ns:
                break
            old += 1
        if old:
            out, self._idle = self._idle[:old], self._idle[old:]
            for upstream in out:
                upstream.abort()

    async def close(self) -> None:
        """Close what is idle; what is in use belongs to its exchange."""
        idle, self._idle = self._idle, []
        for upstream in idle:
            upstream.abort()
        self._idle_ns = 0
