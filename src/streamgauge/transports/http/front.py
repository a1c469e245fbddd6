"""The server's side: one caller's connection, over llhttp.

A connection serves one exchange at a time; what a caller sends ahead waits, within a bound. It is always read, or,
where the bound is reached, asked of the kernel, so that a caller who goes is noticed whatever is under way.

A caller that closes its sending side after a complete request may still read: HTTP allows that, and a caller that has
gone for good looks the same until something is written to it, which before a model's first word can take minutes.
So by default it counts as gone, as for nginx and most other servers; `half_close="allowed"` is for the rare client that
does so on purpose, at the price that others are missed until the answer's next byte.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from streamgauge.transports.http import heads
from streamgauge.transports.http._kernel import has_left
from streamgauge.transports.http.heads import Refused, Request
from streamgauge.transports.http.reading import BODY, CLOSING, HEAD, IDLE, READ, Reading

if TYPE_CHECKING:
    from streamgauge.transports.http.server import Server

__all__ = ["Front"]

_clock = time.monotonic_ns

_TURNED_AWAY = 64
"""Connections beyond the limit that are told so; more are closed without a word."""
_AT_ONCE = struct.pack("ii", 1, 0)


class Front(Reading):
    """One connection of a caller."""

    __slots__ = ("_consuming", "_eof", "_flooded", "_held", "_linger", "_pending", "_served", "_stuck", "transport",
                 "write")  # fmt: skip

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.transport: Any = None
        self._served = False
        self._pending: bytearray | None = None
        """What came ahead."""
        self._consuming = False
        self._held = self._flooded = False
        """Why it is not read: the upstream takes no more; too much came ahead."""
        self._stuck = False
        """It does not take what is written to it."""
        self._eof = False
        """It sends no more, but reads."""
        self._linger = False

    # The connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write = transport.write
        server = self.server
        limits = server.limits
        transport.set_write_buffer_limits(high=limits.high_water_bytes)
        self._deadline = server.due(limits.header_timeout_s)
        server.fronts.add(self)
        if len(server.fronts) > limits.max_connections:
            server.refused("connections")
            if len(server.fronts) > limits.max_connections + _TURNED_AWAY:
                transport.abort()
                return
            self._say(Refused(503, "overloaded", "too many connections"), close=True)

    def connection_lost(self, error: Exception | None) -> None:
        self._state = CLOSING
        server = self.server
        server.fronts.discard(self)
        server.paused.discard(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.gone()
        self._parser = None
        self._pending = None
        server.left()

    def eof_received(self) -> bool:
        state = self._state
        if state == CLOSING:
            self.transport.close()
        elif state == IDLE:
            self._close()
        elif state == READ and self.server.half_close == "allowed":
            self._eof = True
            return True
        else:
            self.abort()
        return False

    def abort(self) -> None:
        """The caller has gone, or is to go, whatever it did not get."""
        relay, self._relay = self._relay, None
        self._state = CLOSING
        if relay is not None:
            relay.gone()
        self.transport.abort()

    def pause_writing(self) -> None:
        self._stuck = True
        if self._relay is not None:
            self._relay.pause()

    def resume_writing(self) -> None:
        self._stuck = False
        if self._relay is not None:
            self._relay.resume()
        elif self._state == READ:
            self._next()

    # What comes -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._consuming or self._state == READ:
            self._ahead(data)
        else:
            self._consume(data)

    def _consume(self, data: bytes) -> None:
        at = _clock()
        self._consuming = True
        try:
            while data and self._state < READ:
                data = self._more_body(data, at) if self._state == BODY else self._more_head(data, at)
        except Refused as refused:
            if self._relay is not None:
                self._relay.refuse(refused)
            else:
                self.refuse(refused)
        finally:
            self._consuming = False
        if data and self._state == READ:
            self._ahead(data)
        relay = self._relay
        if relay is not None and relay.is_new:
            relay.open()

    def _ahead(self, data: bytes) -> None:
        """What a caller sends before it has its answer."""
        if self._pending is None:
            self._pending = bytearray()
        self._pending += data
        if len(self._pending) > self.server.limits.pipelined_bytes and not self._flooded:
            self._flooded = True
            self._read_or_not()

    def detach(self) -> tuple[bytes, bool]:
        """The connection is another protocol's from now on.

        Returns: what came behind the request; whether the caller takes nothing for now.
        """
        ahead, self._pending = bytes(self._pending or b""), None
        self._relay = None
        self._state = CLOSING
        if self._held or self._flooded:
            self.transport.resume_reading()
        self.server.paused.discard(self)
        self.server.fronts.discard(self)
        return ahead, self._stuck

    # What the exchange tells ------------------------------------------------------------------------------------

    def is_last(self, request: Request) -> bool:
        """The connection ends with this answer."""
        if not request.keep_alive or self.server.closing or self._surplus:
            return True
        return self._eof and not self._pending

    def hold(self, held: bool) -> None:
        """The upstream takes no more of the request; or does again."""
        if held is not self._held:
            self._held = held
            if not held and self._state == BODY:
                self._deadline = self.server.due(self.server.limits.body_idle_timeout_s)
            self._read_or_not()

    def _read_or_not(self) -> None:
        if self._state == CLOSING:
            return
        if self._held or self._flooded:
            self.transport.pause_reading()
            self.server.watch(self)
        else:
            self.server.paused.discard(self)
            self.transport.resume_reading()

    def answered(self) -> None:
        """The answer is complete."""
        self._relay = None
        request = self._request
        if self._state == CLOSING:
            return
        if self._state != READ:
            self._leave()  # it came before the request's end
        elif request is None or self.is_last(request):
            self._close()
        elif not self._stuck:
            self._next()

    def refuse(self, refused: Refused) -> None:
        """Answer with an error of the proxy's own. It is the last answer where the request was not read to its end."""
        self._relay = None
        self.server.refused(refused.kind)
        close = self._state != READ or self._request is None or self.is_last(self._request)
        self._say(refused, close=close)
        if not close and not self._stuck:
            self._next()

    def _say(self, refused: Refused, *, close: bool) -> None:
        request = self._request
        is_head = request is not None and request.method == b"HEAD" and self._state >= BODY
        retry_s = 1 if refused.status == 503 else 0
        if self._state == CLOSING:
            return
        self.write(
            heads.refusal(refused.status, refused.kind, refused.message, head=is_head, close=close, retry_s=retry_s)
        )
        if close and self._state == READ:
            self._close()
        elif close:
            self._leave()

    def cut(self) -> None:
        """Close in a way that is not taken for the answer's end: what had come goes out, and nothing after it."""
        self._relay = None
        request = self._request
        if request is not None and request.is_1_0:  # there, closing would be the end
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.abort()
        else:
            self._close()

    def _next(self) -> None:
        """Ready for the next request."""
        self._request = None
        self._served = True
        self._state = IDLE
        self._deadline = self.server.due(self.server.limits.keepalive_timeout_s)
        if self._flooded:
            self._flooded = False
            self._read_or_not()
        if self._pending and not self._consuming:
            data, self._pending = bytes(self._pending), None
            self._consume(data)
        elif self.server.closing or self._eof:
            self._close()

    def _close(self) -> None:
        """Close when all is written."""
        self._state = CLOSING
        self._pending = None
        self._deadline = self.server.due(self.server.limits.write_timeout_s)
        self.transport.close()

    def _leave(self) -> None:
        """Close when the caller has, or after a while: closed at once, a caller that still sends gets a reset, and
        loses the answer."""
        self._state = CLOSING
        self._pending = None
        self._deadline = self.server.due(self.server.limits.linger_s)
        self._linger = True
        if self._held or self._flooded:
            self._held = self._flooded = False
            self.server.paused.discard(self)
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            try:
                self.transport.write_eof()
            except OSError:  # it has just gone
                pass
        if not self.server.limits.linger_s:
            self.transport.close()

    # Times ------------------------------------------------------------------------------------------------------

    def check(self, now: int) -> None:
        """Whether a time has passed."""
        relay = self._relay
        if relay is not None:
            relay.check(now)
        deadline = self._deadline
        if not deadline or now < deadline:
            return
        if self._state == BODY and self._relay is not None:
            if not self._held and not self._relay.waits_for_100():
                self._relay.refuse(Refused(408, "request_timeout", "the request's body did not come in time"))
        elif self._state == HEAD:
            self.refuse(Refused(408, "request_timeout", "the request's head did not come in time"))
        elif self._state == IDLE:
            self._close()
        elif self._state == CLOSING:
            if self._linger and self.transport.get_write_buffer_size():
                self._linger = False
                self._deadline = self.server.due(self.server.limits.write_timeout_s)
            else:
                self.transport.abort()

    def has_left(self) -> bool:
        """Asked of the kernel, while the connection is not read."""
        return has_left(self.transport)

    def end(self, *, now: bool) -> None:
        """The server ends: `now`, or when what is under way is over."""
        relay = self._relay
        if now and relay is not None:
            relay.shut()
        if now and self._state != CLOSING:
            self._close()
        elif self._state == IDLE:
            if self._served:
                self._close()
            else:  # its first request may be on the way
                self._deadline = self.server.due(1.0)
