"""A server: its routes, its callers' connections, and the one timer that all their limits share."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from streamgauge.errors import UsageError
from streamgauge.transports.http.front import Front
from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.pool import Pool
from streamgauge.transports.http.routes import Lane, Route, Table
from streamgauge.transports.http.websocket import WebSocket

__all__ = ["Active", "Server", "serve"]

_clock = time.monotonic_ns

_ENDLESS_S = 1e9
_SWEEP_S = 0.25
_WATCH_S = 0.02
"""How often the kernel is asked for callers that are not read."""


class Active:
    """What is under way."""

    __slots__ = ("connections", "streams")

    def __init__(self, connections: int, streams: dict[str, int]) -> None:
        self.connections = connections
        """Callers', idle ones too."""
        self.streams = streams
        """Per route's prefix."""

    @property
    def total(self) -> int:
        return sum(self.streams.values())


class Server:
    """A proxy that is listening. Made by `serve`."""

    def __init__(
        self,
        table: Table,
        limits: Limits,
        *,
        half_close: Literal["gone", "allowed"],
        on_refused: Callable[[str], None] | None,
    ) -> None:
        self.table = table
        self.limits = limits
        self.half_close = half_close
        self.closing = False
        self.fronts: set[Front | WebSocket] = set()
        self.paused: set[Front | WebSocket] = set()
        """Those that are not read."""
        self.body_idle_ns = int((limits.body_idle_timeout_s or _ENDLESS_S) * 1e9)
        self.listener: Any = None
        self._loop = asyncio.get_running_loop()
        self._on_refused = on_refused
        self._idle = asyncio.Event()
        self._watching: asyncio.TimerHandle | None = None
        every = [limits, *(lane.limits for lane in table.lanes)]
        times = [getattr(each, name) for each in every for name in Limits.__slots__ if name.endswith("_s")]
        self._every_s = max(0.01, min([_SWEEP_S, *(value / 4 for value in times if value)]))
        self._sweeper = self._loop.call_later(self._every_s, self._sweep)

    @property
    def active(self) -> Active:
        return Active(len(self.fronts), {lane.route.prefix: lane.active for lane in self.table.lanes})

    @property
    def sockets(self) -> Sequence[Any]:
        """That it listens on."""
        return tuple(self.listener.sockets) if self.listener is not None else ()

    # For the connections ----------------------------------------------------------------------------------------

    def due(self, after_s: float) -> int:
        """When a limit that begins now will have passed; 0 for no limit."""
        return _clock() + int(after_s * 1e9) if after_s else 0

    def refused(self, reason: str) -> None:
        if self._on_refused is not None:
            self._on_refused(reason)

    def watch(self, front: Front | WebSocket) -> None:
        """Look after a connection that is not read."""
        self.paused.add(front)
        if self._watching is None:
            self._watching = self._loop.call_later(_WATCH_S, self._watch)

    def _watch(self) -> None:
        self._watching = None
        for front in [front for front in self.paused if front.has_left()]:
            front.abort()
        if self.paused:
            self._watching = self._loop.call_later(_WATCH_S, self._watch)

    def left(self) -> None:
        """A connection has ended."""
        if self.closing and not self.fronts:
            self._idle.set()

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(self._every_s, self._sweep)
        now = _clock()
        for front in list(self.fronts):
            front.check(now)
        for lane in self.table.lanes:
            for relay in list(lane.orphans):
                relay.check(now)
            lane.pool.sweep(now)

    # The end ----------------------------------------------------------------------------------------------------

    async def close(self, grace_s: float = 0.0) -> None:
        """Accept no more; let what is under way finish, for so long; end the rest (`Outcome.SHUTDOWN`)."""
        if self.closing:
            return
        self.closing = True
        if self.listener is not None:
            self.listener.close()
        ends = self._loop.time() + grace_s
        for front in list(self.fronts):
            front.end(now=False)
        while grace_s > 0 and (self.fronts or self._orphans()):
            left_s = ends - self._loop.time()
            if left_s <= 0:
                break
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), min(left_s, 0.05) if self._orphans() else left_s)
            except TimeoutError:
                pass
        for front in list(self.fronts):
            front.end(now=True)
        for relay in self._orphans():
            relay.shut()
        self._idle.clear()
        if self.fronts:
            try:
                await asyncio.wait_for(self._idle.wait(), 0.25)  # for what is written to go out
            except TimeoutError:
                for front in list(self.fronts):
                    front.abort()
        self._sweeper.cancel()
        if self._watching is not None:
            self._watching.cancel()
        for lane in self.table.lanes:
            await lane.pool.close()

    def _orphans(self) -> list[Any]:
        return [relay for lane in self.table.lanes for relay in lane.orphans]


def _pool(lane: Lane) -> Any:
    if lane.route.http2:
        from streamgauge.transports.http.http2_pool import Http2Pool

        return Http2Pool(lane)
    return Pool(lane)


async def serve(
    routes: Sequence[Route],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sock: socket.socket | None = None,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    half_close: Literal["gone", "allowed"] = "gone",
    on_refused: Callable[[str], None] | None = None,
    reuse_port: bool = False,
    backlog: int = 2_048,
) -> Server:
    """Listen, and serve `routes`.

    Args:
        sock: one that is bound, or listens, already: instead of `host` and `port`.
        tls: for the callers' side.
        half_close: what a caller is that sends no more after its request; see `front`.
        on_refused: told why a request was not served, each time: the error's type without `streamgauge_`, or
            `connections`.
        reuse_port: several workers bind the same port.
    Raises: UsageError for routes that cannot be; OSError for an address that cannot be bound.
    """
    limits = limits or Limits()
    if half_close not in ("gone", "allowed"):
        raise UsageError(f"half_close is gone or allowed, not {half_close!r}")
    table = Table(routes, limits)
    for lane in table.lanes:
        lane.pool = _pool(lane)
    server = Server(table, limits, half_close=half_close, on_refused=on_refused)
    where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": port}
    if sock is None and reuse_port:
        where["reuse_port"] = True
    if tls is not None:
        where |= {"ssl": tls, "ssl_handshake_timeout": limits.header_timeout_s or None}
    try:
        server.listener = await server._loop.create_server(lambda: Front(server), backlog=backlog, **where)
    except BaseException:
        await server.close()
        raise
    return server
