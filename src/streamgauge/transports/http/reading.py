"""How a caller's requests are read: heads, bodies and what is wrong with them, over llhttp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools

from streamgauge.transports.http import heads
from streamgauge.transports.http.handshake import Handshake, is_asked_for, judge
from streamgauge.transports.http.heads import Fields, Refused, Request
from streamgauge.transports.http.relay import Relay

if TYPE_CHECKING:
    from streamgauge.transports.http.server import Server

__all__ = ["BODY", "CLOSING", "HEAD", "IDLE", "READ", "Reading"]

IDLE, HEAD, BODY, READ, CLOSING = range(5)
"""Of the request: none yet, in its head, in its body, complete; and the connection is to be closed."""


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


class Reading(asyncio.Protocol):
    """The requests of one connection, one after the other. `Front` is the connection."""

    __slots__ = ("_deadline", "_head", "_left", "_named", "_parser", "_relay", "_request", "_state", "_stray",
                 "_surplus", "_trailers", "on_header", "server")  # fmt: skip

    def __init__(self, server: Server) -> None:
        self.server = server
        self._parser: Any = None
        self._relay: Relay | None = None
        self._request: Request | None = None
        self._state = IDLE
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
        self._surplus = False
        """More came behind a chunked body than can be told apart."""

    def refuse(self, refused: Refused) -> None:
        """Answer with an error of the proxy's own."""
        raise NotImplementedError

    # A head -----------------------------------------------------------------------------------------------------

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
                self._state = HEAD
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
        self._state = HEAD
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
            self._state = READ
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
        relay = self._relay = kind(self, lane, request, at)  # type: ignore[arg-type]  # it is a `Front`
        if request.has_body:
            self._state = BODY
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

    # A body -----------------------------------------------------------------------------------------------------

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
            if self._state == BODY:
                raise Refused(400, "bad_request", "the body is not chunked as HTTP/1.1 has it") from None
        self._stray += len(data)
        if self._stray > self.server.limits.max_header_bytes:
            raise Refused(431, "headers_too_large", "trailers, or what stands between chunks, are too large")
        return b""

    def _complete(self, relay: Relay, trailers: Fields | None) -> None:
        self._state = READ
        self._deadline = 0
        relay.finish(trailers)

    # llhttp's calls ---------------------------------------------------------------------------------------------

    def _on_trailer(self, name: bytes, value: bytes) -> None:
        if self._trailers is not None:
            self._trailers.append((name, value))  # what they may be in all is bounded in bytes

    def on_message_begin(self) -> None:
        if self._state == READ:  # behind a chunked body; where it begins is not known, so the connection ends
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
        if self._state == BODY and self._relay is not None and self._request is not None and self._request.chunked:
            fields = self._trailers or []
            if len(fields) > self.server.limits.max_headers:
                raise Refused(431, "headers_too_large", "too many trailers")
            self._complete(self._relay, fields)
