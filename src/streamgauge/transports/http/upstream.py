"""The client's side: one HTTP/1.1 connection to an upstream, over llhttp.

An exchange takes a connection with `begin`, writes its body, and is told of the answer in order: `informational`,
`answered`, `data`, `complete`; or, once, `lost`. What one read gave is told in one call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httptools

from streamgauge.transports.http import heads
from streamgauge.transports.http.heads import Answer

if TYPE_CHECKING:
    from streamgauge.transports.http.pool import Pool
    from streamgauge.transports.http.relay import Relay

__all__ = ["Upstream"]

_clock = time.monotonic_ns

_HEAD, _END, _BAD, _REUSE, _BODILESS, _CHUNKED, _WAITING, _PARTIAL = 1, 2, 4, 8, 16, 32, 64, 128
_MORE = _HEAD | _END | _BAD | _WAITING | _PARTIAL
"""Set while a read may be more than a piece of the body."""
_SIZE_LINE = 9
"""Of a chunk that is not left to llhttp: with its CR LF."""


def _whole_chunks(data: bytes) -> list[bytes]:
    """The bodies of the chunks that are all of `data`, one after the other; empty where it is anything else: a part of
    one, the last, one whose size is not written as nearly all do."""
    bodies: list[bytes] = []
    start = 0
    while start < len(data):
        end = data.find(b"\r\n", start + 1, start + _SIZE_LINE)
        line = data[start:end] if end > 0 else b""
        try:
            size = int(line, 16)
        except ValueError:
            return []
        start = end + 2 + size
        if size <= 0 or line != b"%x" % size or data[start : start + 2] != b"\r\n":
            return []
        bodies.append(data[end + 2 : start])
        start += 2
    return bodies


class Upstream(asyncio.Protocol):
    """One connection. Its life: made by the pool, then exchange after exchange, idle in the pool between them."""

    __slots__ = ("_answer", "_behind", "_between", "_bodies", "_body", "_feed", "_fields", "_flags", "_head",
                 "_parser", "_pool", "_reason", "_size", "_trailers", "closed", "idle_since", "relay", "reused",
                 "transport", "write")  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.relay: Relay | None = None
        self.transport: Any = None
        self.closed = False
        self.idle_since = 0
        self.reused = False
        """It served an exchange before."""
        self._flags = 0
        self._answer: Answer | None = None
        self._between = False
        """All that was read ended with a chunk's end: what comes next begins with a chunk's size. While whole chunks
        come, llhttp stays at such a place too, and need not be given them; they go on as they came."""
        self._body: bytes | None = None
        """The first piece of a body in this read."""
        self._bodies: list[bytes] | None = None
        """Further ones."""
        self._fields: heads.Fields = []
        self._behind: bytes | None = None
        """What came behind a 101."""
        self._trailers: heads.Fields | None = None
        self._reason = b""
        self._head = b""
        self._size = 0
        """Bytes of a head, or of trailers, that are not complete."""
        self._parser: Any = None

    # The connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write = transport.write
        transport.set_write_buffer_limits(high=self._pool.limits.high_water_bytes)
        self._parse_anew()

    def _parse_anew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._pool.forget(self)
        relay = self.relay
        if relay is not None:
            self._lost(relay, clean=error is None)
        self._parser = self._feed = None

    def eof_received(self) -> None:
        """The upstream sends no more: it ends an answer that ends so; any other is cut."""
        self.closed = True
        self._pool.forget(self)
        if self.relay is not None:
            self._lost(self.relay, clean=True)

    def _lost(self, relay: Relay, *, clean: bool) -> None:
        answer = self._answer
        if clean and answer is not None and not answer.chunked and answer.length is None:
            relay.complete(None, _clock(), None)
            return
        self.abort()
        started = not self._flags & _WAITING
        relay.lost("incomplete_body" if clean and answer is not None else "connection_lost", started=started)

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.hold_caller(True)

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.hold_caller(False)

    # What an exchange does --------------------------------------------------------------------------------------

    def begin(self, relay: Relay, head: bytes, *, bodiless: bool, chunked: bool) -> None:
        """Take a request's head. It is sent with what there is of the body: `send_all` follows.

        Args:
            bodiless: the answer will have no body, whatever its head says.
            chunked: the request's body is.
        """
        self.relay = relay
        self._flags = _WAITING | (_BODILESS if bodiless else 0) | (_CHUNKED if chunked else 0)
        self._answer = self._body = self._bodies = self._trailers = None
        self._between = False
        self._size = 0
        self._head = head

    def send_all(self, pieces: Sequence[bytes], trailers: bytes | None) -> None:
        """The head, and as much of the body as there is.

        Args:
            trailers: None where there is more to come.
        """
        head, self._head = self._head, b""
        if self._flags & _CHUNKED:
            pieces = [b"%x\r\n%b\r\n" % (len(data), data) for data in pieces]
            if trailers is not None:
                pieces.append(b"0\r\n%b\r\n" % trailers)
        self.write(b"".join([head, *pieces]) if pieces else head)

    def send(self, data: bytes) -> None:
        """A further piece of the request's body, not an empty one."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data) if self._flags & _CHUNKED else data)

    def finish(self, trailers: bytes = b"") -> None:
        """The request is complete."""
        if self._flags & _CHUNKED:
            self.write(b"0\r\n%b\r\n" % trailers)

    def pause(self) -> None:
        if not self.closed:
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.closed:
            self.transport.resume_reading()

    def release(self, *, whole: bool) -> None:
        """The exchange is over; `whole`: its request was sent to the end."""
        self.relay = None
        self._answer = self._body = self._bodies = self._trailers = None
        self._fields = []
        if whole and self._flags & _REUSE and not self.closed:
            if self._flags & _BODILESS:
                self._parse_anew()  # llhttp still waits for the body that the head spoke of
            self.reused = True
            self._pool.put(self)
        else:
            self.abort()

    def detach(self) -> Any:
        """The connection's transport, which is another protocol's from now on."""
        self.relay = None
        self.closed = True
        self._parser = self._feed = None
        return self.transport

    def abort(self) -> None:
        """Close at once, whatever was still to be sent."""
        self.relay = None
        self.closed = True
        self.transport.abort()

    # What comes -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        relay = self.relay
        if relay is None:
            self._pool.forget(self)  # it speaks without having been asked
            self.abort()
            return
        at = _clock()
        if self._between:
            end = data.find(b"\r\n", 1, _SIZE_LINE)
            size = len(data) - end - 4
            if size > 0 and data[:end] == b"%x" % size and data.endswith(b"\r\n"):  # most reads: one chunk
                relay.data(data[end + 2 : -2], at, data)
                return
            bodies = _whole_chunks(data)
            if bodies:
                relay.data(b"".join(bodies), at, data)
                return
            self._between = False
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade as switched:
            self._behind = data[switched.args[0] :]
        except Exception:  # llhttp's, or one of a callback below; both say that this is no answer
            self._flags |= _BAD
        body = self._body
        if body is None or self._flags & _MORE:
            self._told(relay, data, at)
            return
        self._body = None
        if self._bodies is not None:
            body = b"".join([body, *self._bodies])
            self._bodies = None
        relay.data(body, at)

    def _told(self, relay: Relay, data: bytes, at: int) -> None:
        """A read that brought something else than pieces of the body."""
        flags = self._flags
        self._flags = flags & ~(_HEAD | _WAITING | _PARTIAL)
        if self._behind is not None and self._answer is not None:
            relay.switched(self._answer, self._behind, at)
            return
        body, self._body = self._body, None
        if self._bodies is not None:
            body = b"".join([body or b"", *self._bodies])
            self._bodies = None
        if flags & _HEAD:
            answer = self._answer
            assert answer is not None
            more = body is not None or flags & (_END | _BODILESS) != 0
            if answer.chunked and flags & _WAITING:  # the head was in this read as a whole
                rest = data[data.find(b"\r\n\r\n") + 4 :]
                self._between = not rest or bool(_whole_chunks(rest))
            relay.answered(answer, at, more=more)
            if self.relay is not relay:  # it is not the answer that the exchange wants
                return
        if flags & _END or (flags & _HEAD and flags & _BODILESS):
            if flags & _BODILESS and body is not None:
                body = None
                self._flags &= ~_REUSE
            relay.complete(body, at, self._trailers)
            return
        if body is not None:
            if flags & _HEAD:
                relay.began(body, at)
            else:
                relay.data(body, at)
            if self.relay is not relay:
                return
        if body is not None or flags & _HEAD:
            self._size = 0
        else:  # a part of a head, of a chunk's size line or of trailers
            self._size += len(data)
            self._flags |= _PARTIAL
            if self._size > self._pool.limits.max_header_bytes:
                flags |= _BAD
        if flags & _BAD:
            self.abort()
            relay.lost("bad_response", started=True)

    # llhttp's calls ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._flags & _END:
            self._flags &= ~_REUSE
            raise ValueError("more than one answer")
        self._fields = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        if status < 200:
            if status == 101 and self.relay is not None and self.relay.upgrades and parser.should_upgrade():
                self._answer = heads.read_answer(status, self._reason, self._fields)
                self._fields = []
                return
            if status < 100 or status == 101 or self.relay is None or len(self._fields) > self._pool.limits.max_headers:
                raise ValueError("an answer that was not asked for")
            self.relay.informational(heads.read_answer(status, self._reason, self._fields))
            return
        fields, self._fields = self._fields, []
        if len(fields) > self._pool.limits.max_headers:
            raise ValueError("too many fields")
        self._answer = heads.read_answer(status, self._reason, fields)
        self._flags |= _HEAD
        if self._flags & _BODILESS and parser.should_keep_alive():
            self._flags |= _REUSE

    def on_body(self, body: bytes) -> None:
        if self._body is None:
            self._body = body
        elif self._bodies is None:
            self._bodies = [body]
        else:
            self._bodies.append(body)

    def on_message_complete(self) -> None:
        if self._answer is None:
            return  # of a 1xx
        self._flags |= _END
        if self._parser.should_keep_alive():
            self._flags |= _REUSE
        if self._fields:
            if len(self._fields) > self._pool.limits.max_headers:
                self._flags ^= _END | _BAD
            self._trailers, self._fields = self._fields, []
