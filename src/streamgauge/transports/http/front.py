"""The server's side: one caller's connection, over llhttp.

A connection serves one exchange at a time; what a caller sends ahead waits, within a bound. It is always read, or,
where the bound is reached, asked of the kernel, so that a caller who goes is noticed whatever is under way.

A caller that closes its sending side after a complete request may still read: HTTP allows that, and a caller that has
gone for good looks the same until something is written to it, which before a model's first word can take minutes.
So by default it counts as gone, as for nginx and most other servers; `half_close="allowed"` is for the rare client that
does so on purpose, at the price that others are missed until the answer's next byte.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools

from streamgauge.transports.http import heads
from streamgauge.transports.http._kernel import has_left
from streamgauge.transports.http.handshake import Handshake, is_asked_for, judge
from streamgauge.transports.http.heads import Fields, Refused, Request
from streamgauge.transports.http.relay import Relay

if TYPE_CHECKING:
    from streamgauge.transports.http.server import Server

__all__ = ["Front"]

_clock = time.monotonic_ns

_IDLE, _HEAD, _BODY, _READ, _CLOSING = range(5)
"""Of the request: none yet, in its head, in its body, complete; and the connection is to be closed."""

_TURNED_AWAY = 64
"""Connections beyond the limit that are told so; more are closed without a word."""
_AT_ONCE = struct.pack("ii", 1, 0)


class _Fields:
    """All fields of a head, as llhttp finds them."""

    def __init__(self) -> None:
        self.found: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name, value))


def _fields_of(head: bytes) -> Fields:
    """Those of a head that may be none."""
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return fields.found


class Front(asyncio.Protocol):
    """One connection of a caller."""

    __slots__ = ("_consuming", "_deadline", "_eof", "_flooded", "_head", "_held", "_left", "_linger", "_named",
                 "_parser", "_pending", "_relay", "_request", "_served", "_state", "_stray", "_stuck", "_surplus",
                 "_trailers", "on_header", "server", "transport", "write")  # fmt: skip

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport: Any = None
        self._parser: Any = None
        self._relay: Relay | None = None
        self._request: Request | None = None
        self._state = _IDLE
        self._served = False
        self._deadline = 0
        """When its state has taken too long (ns); 0 for never."""
        self._head: bytearray | None = None
        """Of a head, as much as has come, where that is not all."""
        self._named: dict[bytes, bytes] = {}
        """Fields of a head, as llhttp finds them: a dictionary's own method is called for each, none of ours. Where one
        comes twice, the head is read again."""
        self.on_header: Callable[[bytes, bytes], None] = self._named.__setitem__
        self._trailers: Fields | None = None
        self._left = 0
        """Of a body whose length is said: what is still to come. Of a chunked one: what may."""
        self._stray = 0
        """Bytes since the last piece of a chunked body."""
        self._pending: bytearray | None = None
        """What came ahead."""
        self._consuming = False
        self._held = self._flooded = False
        """Why it is not read: the upstream takes no more; too much came ahead."""
        self._stuck = False
        """It does not take what is written to it."""
        self._eof = False
        """It sends no more, but reads."""
        self._surplus = False
        """More came behind a chunked body than can be told apart."""
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
        self._state = _CLOSING
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
        if state == _CLOSING:
            self.transport.close()
        elif state == _IDLE:
            self._close()
        elif state == _READ and self.server.half_close == "allowed":
            self._eof = True
            return True
        else:
            self.abort()
        return False

    def abort(self) -> None:
        """The caller has gone, or is to go, whatever it did not get."""
        relay, self._relay = self._relay, None
        self._state = _CLOSING
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
        elif self._state == _READ:
            self._next()

    # What comes -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._consuming or self._state == _READ:
            self._ahead(data)
        else:
            self._consume(data)

    def _consume(self, data: bytes) -> None:
        at = _clock()
        self._consuming = True
        try:
            while data and self._state < _READ:
                data = self._more_body(data, at) if self._state == _BODY else self._more_head(data, at)
        except Refused as refused:
            if self._relay is not None:
                self._relay.refuse(refused)
            else:
                self.refuse(refused)
        finally:
            self._consuming = False
        if data and self._state == _READ:
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

    def _more_head(self, data: bytes, at: int) -> bytes:
        """Returns what comes after the head."""
        limits = self.server.limits
        head = self._head
        if head is None:
            if data[0] in b"\r\n":  # a client of old may send an empty line after a body
                data = data.lstrip(b"\r\n")
                if not data:
                    return b""
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._head = bytearray(data)
                self._state = _HEAD
                self._deadline = self.server.due(limits.header_timeout_s)
                self._no_endless_head(self._head)
                return b""
            if end == len(data):
                raw, data = data, b""
            else:
                raw, data = data[:end], data[end:]
        else:
            start = len(head) - 3
            head += data
            end = head.find(b"\r\n\r\n", max(0, start)) + 4
            if end < 4:
                self._no_endless_head(head)
                return b""
            raw, data = bytes(head[:end]), bytes(head[end:])
            self._head = None
        if end > limits.max_header_bytes:
            self._no_endless_head(raw)
        try:
            return self._open(raw, data, at)
        except Refused as refused:
            self.refuse(refused)
        return data

    def _no_endless_head(self, head: bytes | bytearray) -> None:
        limits = self.server.limits
        if len(head) > limits.max_target_bytes and head.find(b"\r\n", 0, limits.max_target_bytes + 32) < 0:
            raise Refused(414, "target_too_long", f"the target is longer than {limits.max_target_bytes} bytes")
        if len(head) > limits.max_header_bytes:
            raise Refused(431, "headers_too_large", f"the head is longer than {limits.max_header_bytes} bytes")
        if b"\n\n" in head:
            raise Refused(400, "bad_request", "lines of the head do not end in CR LF")

    def _open(self, raw: bytes, rest: bytes, at: int) -> bytes:
        """A head is complete: an exchange begins. Returns what is left of what came behind the head."""
        server = self.server
        limits = server.limits
        named = self._named
        named.clear()
        self._state = _HEAD
        if self._parser is None or self._trailers is not None:
            self._trailers = None
            self.on_header = named.__setitem__
            self._parser = httptools.HttpRequestParser(self)
        is_http = True
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            self._parser = None  # it would read no body any more
        except httptools.HttpParserError:
            self._parser = None
            is_http = False
        fields = list(named.items()) if is_http and len(named) == raw.count(b"\r\n") - 2 else _fields_of(raw)
        request = heads.read_request(
            raw, fields, max_target_bytes=limits.max_target_bytes, max_headers=limits.max_headers
        )
        if not is_http:
            raise Refused(400, "bad_request", "the head is not one of HTTP/1.1")
        self._request = request
        if not request.has_body:
            self._state = _READ
        lane = server.table.find(request.path)
        kind: type[Relay] = Relay
        if request.upgrade and is_asked_for(request):
            judge(request, lane)
            kind = Handshake
        if request.length is not None and request.length > lane.limits.max_body_bytes > 0:
            raise Refused(413, "body_too_large", f"a body is at most {lane.limits.max_body_bytes} bytes")
        lane.admit(request.tokens)
        if request.chunked or (self._parser is None and request.has_body):
            self._resume_parser(request)
        self._deadline = 0
        relay = self._relay = kind(self, lane, request, at)
        if request.has_body:
            self._state = _BODY
            self._left = lane.limits.max_body_bytes if request.length is None else request.length
            self._stray = 0
            self._deadline = at + server.body_idle_ns
        else:
            relay.finish(None)
        return rest

    def _resume_parser(self, request: Request) -> None:
        """One that reads the body of a request whose offer to upgrade is not taken up, as clients in Java make it; or
        one with trailers, which may come twice."""
        self.on_header = self._on_trailer
        self._parser = httptools.HttpRequestParser(self)
        framing = b"Transfer-Encoding: chunked" if request.chunked else b"Content-Length: %d" % (request.length or 0)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._trailers = []

    def detach(self) -> tuple[bytes, bool]:
        """The connection is another protocol's from now on.

        Returns: what came behind the request; whether the caller takes nothing for now.
        """
        ahead, self._pending = bytes(self._pending or b""), None
        self._relay = None
        self._state = _CLOSING
        if self._held or self._flooded:
            self.transport.resume_reading()
        self.server.paused.discard(self)
        self.server.fronts.discard(self)
        return ahead, self._stuck

    def _more_body(self, data: bytes, at: int) -> bytes:
        """Returns what comes after the body."""
        request, relay = self._request, self._relay
        assert request is not None
        assert relay is not None
        self._deadline = at + self.server.body_idle_ns
        if not request.chunked:
            rest = b""
            if len(data) > self._left:
                data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            self._parser.feed_data(data)
            relay.body(data)
            if not self._left:
                self._complete(relay, None)
            return rest
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._parser = None
            if isinstance(error.__context__, Refused):
                raise error.__context__ from None
            if self._state == _BODY:
                raise Refused(400, "bad_request", "the body is not chunked as HTTP/1.1 has it") from None
        self._stray += len(data)
        if self._stray > self.server.limits.max_header_bytes:
            raise Refused(431, "headers_too_large", "trailers, or what stands between chunks, are too large")
        return b""

    def _complete(self, relay: Relay, trailers: Fields | None) -> None:
        self._state = _READ
        self._deadline = 0
        relay.finish(trailers)

    # llhttp's calls ---------------------------------------------------------------------------------------------

    def _on_trailer(self, name: bytes, value: bytes) -> None:
        if self._trailers is not None:
            self._trailers.append((name, value))  # what they may be in all is bounded in bytes

    def on_message_begin(self) -> None:
        if self._state == _READ:  # behind a chunked body; where it begins is not known, so the connection ends
            self._surplus = True
            raise ValueError("more than one request")

    def on_body(self, data: bytes) -> None:
        request, relay = self._request, self._relay
        if request is None or not request.chunked or relay is None:
            return
        self._left -= len(data)
        self._stray = 0
        if self._left < 0 and relay.lane.limits.max_body_bytes:
            raise Refused(413, "body_too_large", f"a body is at most {relay.lane.limits.max_body_bytes} bytes")
        relay.body(data)

    def on_message_complete(self) -> None:
        if self._state == _BODY and self._relay is not None and self._request is not None and self._request.chunked:
            fields = self._trailers or []
            if len(fields) > self.server.limits.max_headers:
                raise Refused(431, "headers_too_large", "too many trailers")
            self._complete(self._relay, fields)

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
            if not held and self._state == _BODY:
                self._deadline = self.server.due(self.server.limits.body_idle_timeout_s)
            self._read_or_not()

    def _read_or_not(self) -> None:
        if self._state == _CLOSING:
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
        if self._state == _CLOSING:
            return
        if self._state != _READ:
            self._leave()  # it came before the request's end
        elif request is None or self.is_last(request):
            self._close()
        elif not self._stuck:
            self._next()

    def refuse(self, refused: Refused) -> None:
        """Answer with an error of the proxy's own. It is the last answer where the request was not read to its end."""
        self._relay = None
        self.server.refused(refused.kind)
        close = self._state != _READ or self._request is None or self.is_last(self._request)
        self._say(refused, close=close)
        if not close and not self._stuck:
            self._next()

    def _say(self, refused: Refused, *, close: bool) -> None:
        request = self._request
        is_head = request is not None and request.method == b"HEAD" and self._state >= _BODY
        retry_s = 1 if refused.status == 503 else 0
        if self._state == _CLOSING:
            return
        self.write(
            heads.refusal(refused.status, refused.kind, refused.message, head=is_head, close=close, retry_s=retry_s)
        )
        if close and self._state == _READ:
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
        self._state = _IDLE
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
        self._state = _CLOSING
        self._pending = None
        self._deadline = self.server.due(self.server.limits.write_timeout_s)
        self.transport.close()

    def _leave(self) -> None:
        """Close when the caller has, or after a while: closed at once, a caller that still sends gets a reset, and
        loses the answer."""
        self._state = _CLOSING
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
        if self._state == _BODY and self._relay is not None:
            if not self._held and not self._relay.waits_for_100():
                self._relay.refuse(Refused(408, "request_timeout", "the request's body did not come in time"))
        elif self._state == _HEAD:
            self.refuse(Refused(408, "request_timeout", "the request's head did not come in time"))
        elif self._state == _IDLE:
            self._close()
        elif self._state == _CLOSING:
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
        if now and self._state != _CLOSING:
            self._close()
        elif self._state == _IDLE:
            if self._served:
                self._close()
            else:  # its first request may be on the way
                self._deadline = self.server.due(1.0)
