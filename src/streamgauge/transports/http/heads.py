"""Heads of requests and answers: what is refused, what goes on to the other side, and as which bytes. Pure.

A request's head is read twice: by llhttp, which gives the fields, and here as raw bytes, where every line must be one
field. What the two could read differently, or another server behind us, is refused rather than put right.

Header fields go on as they came, in order, duplicates too. What changes: the hop-by-hop fields (RFC 9110, 7.6.1),
`Host` and, where there is one, the caller's token. Neither `Via` nor `Forwarded` is added: upstreams compress, or even
answer, differently when they see one, and the answer is to be the one that the caller would get without us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from itertools import compress
from operator import itemgetter, methodcaller

__all__ = [
    "Answer",
    "Fields",
    "Refused",
    "Request",
    "answer_head",
    "is_keyed",
    "read_answer",
    "read_request",
    "refusal",
    "switching_head",
    "trailer_lines",
    "upstream_head",
]

Fields = list[tuple[bytes, bytes]]

_TOKEN_FIELD = b"x-streamgauge-token"
"""Of the caller's token; `Authorization` is the upstream's."""

_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
        b"proxy-authorization", b"proxy-authenticate", b"http2-settings",
    }
)  # fmt: skip
_READ = _HOP_BY_HOP | {b"host", b"content-length", b"expect", _TOKEN_FIELD}
"""Fields of a request that are looked at; all others just go on."""
_READ_IN_ANSWER = _HOP_BY_HOP | {b"content-length", b"retry-after", b"trailer"}
_name = itemgetter(0)
_lower = methodcaller("lower")
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_NO_TRAILER = _READ | {b"trailer", b"authorization", b"cookie", b"set-cookie", b"content-encoding", b"content-type"}
"""Fields that change how a message is read have no place in trailers (RFC 9110, 6.5.1)."""

_SWITCHING = b"Upgrade: websocket\r\nConnection: Upgrade"
_VISIBLE = bytes(c for c in range(256) if (c >= 0x20 and c != 0x7F) or c == 0x09)
_HOST = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-")
"""Of a name without a port: most."""
_AUTHORITY = re.compile(rb"[A-Za-z0-9._~\-!$&'()*+,;=%]*(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
_DOTS = re.compile(
    rb"(?:^|/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:$|/|\\|%2f|%5c|;|%3b)", re.IGNORECASE
)  # fmt: skip
"""A segment that some server takes for "here" or "one up": also written with %2e, before a path parameter (`..;x`), or
between backslashes."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)


class Refused(Exception):
    """A request that is not served; `kind` and the text are told to the caller."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def _bad(message: str) -> Refused:
    return Refused(400, "bad_request", message)


class Request:
    """A request's head."""

    __slots__ = ("chunked", "continues", "fields", "is_1_0", "keep_alive", "length", "lines", "lows", "method",
                 "offers", "path", "query", "switches", "tokens", "trailers", "upgrade")  # fmt: skip

    def __init__(self, method: bytes, path: bytes, query: bytes, fields: Fields) -> None:
        self.method = method
        self.path = path
        self.query = query
        """With its question mark; empty where there is none."""
        self.fields = fields
        """All, without the caller's token."""
        self.lows: list[bytes] | None = None
        """Their names in lower case, where they are at hand."""
        self.lines: list[bytes] = []
        """The lines of those that go on. `b""` stands where `Host` was."""
        self.is_1_0 = False
        self.keep_alive = True
        self.length: int | None = None
        """Of the body; None where it is not said."""
        self.chunked = False
        self.continues = False
        """It waits for a 100 before it sends the body."""
        self.trailers = False
        """The caller takes trailers."""
        self.tokens: list[bytes] = []
        self.upgrade = b""
        self.offers = False
        """`Connection` says that `upgrade` is meant for us."""
        self.switches = False
        """It asks for a WebSocket, and that goes on to the upstream."""

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.length)

    @property
    def idempotent(self) -> bool:
        return self.method in _IDEMPOTENT or is_keyed(self.fields)


def is_keyed(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """The server can tell a second try from a second request."""
    return any(name.lower() == b"idempotency-key" for name, _ in fields)


def read_request(raw: bytes, fields: Fields, *, max_target_bytes: int, max_headers: int) -> Request:
    """The request of a head.

    Args:
        raw: the head, up to and with its empty line.
        fields: what llhttp found in it.
    Raises: Refused.
    """
    lines = raw.split(b"\r\n")
    if raw.translate(None, _VISIBLE) != b"\r\n" * (len(lines) - 1):
        raise _bad("a control character in the head")
    words = lines[0].split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise _bad("the request line is not one of HTTP/1.1 or HTTP/1.0")
    method, target, version = words
    if len(target) > max_target_bytes:
        raise Refused(414, "target_too_long", f"the target is longer than {max_target_bytes} bytes")
    if len(fields) > max_headers:
        raise Refused(431, "headers_too_large", f"more than {max_headers} header fields")
    if len(fields) != len(lines) - 3:
        raise _bad("a header line that is not one field")

    host: bytes | None = None
    named: set[bytes] | None = None
    request = Request(method, b"", b"", fields)
    kept = lines[1:-2]
    gone: list[int] = []
    request.is_1_0 = version == b"HTTP/1.0"
    request.keep_alive = not request.is_1_0
    lows = list(map(_lower, map(_name, fields)))
    for number in compress(range(len(lows)), map(_READ.__contains__, lows)):  # no step of ours for all the others
        low, value = lows[number], fields[number][1]
        if low == b"host":
            if host is not None:
                raise _bad("more than one Host")
            host = value
            kept[number] = b""
            continue
        if low == b"content-length":
            if request.length is not None or not value.isdigit() or len(value) > 18:
                raise _bad("a Content-Length that is not one number")
            request.length = int(value)
            continue
        gone.append(number)
        if low == b"transfer-encoding":
            if request.chunked or value.lower() != b"chunked" or request.is_1_0:
                raise _bad("a Transfer-Encoding other than chunked")
            request.chunked = True
        elif low == b"connection":
            value = value.lower()
            if value == b"keep-alive":  # nearly always
                continue
            words = [word.strip() for word in value.split(b",")]
            if b"close" in words:
                request.keep_alive = False
            request.offers |= b"upgrade" in words
            extra = set(words) - _HOP_BY_HOP - {b"close", b""}
            if extra:
                named = extra if named is None else named | extra
        elif low == b"te":
            request.trailers |= b"trailers" in [word.strip() for word in value.lower().split(b",")]
        elif low == b"expect":
            if value.lower() != b"100-continue":
                raise Refused(417, "expectation_failed", "an expectation other than 100-continue")
            request.continues = not request.is_1_0
        elif low == b"upgrade":
            request.upgrade = value
        elif low == _TOKEN_FIELD:
            request.tokens.append(value)
    if request.chunked and request.length is not None:
        raise _bad("both Content-Length and Transfer-Encoding")
    if request.is_1_0:
        request.trailers = False
    _read_target(request, target, host)
    if request.tokens:
        request.fields = [field for field in fields if field[0].lower() != _TOKEN_FIELD]
    else:
        request.lows = lows
    for number in reversed(gone):
        del kept[number]
    request.lines = kept
    if named:
        named.discard(b"content-length")
        request.lines = [line for line in kept if not line or line.partition(b":")[0].lower() not in named]
    if host is None:
        request.lines.insert(0, b"")
    request.continues = request.continues and request.has_body
    return request


def _read_target(request: Request, target: bytes, host: bytes | None) -> None:
    """Only the origin form, or an absolute one that names the host it is sent to: there is no other to go to."""
    if not request.is_1_0 and host is None:
        raise _bad("no Host")
    if host is not None and not _HOST.issuperset(host) and not _AUTHORITY.fullmatch(host):
        raise _bad("a Host that is none")
    if request.method == b"CONNECT":
        raise Refused(405, "method_not_allowed", "this is no forward proxy")
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise _bad("the target is not a path")
        if host is None or absolute[1].lower() != host.lower():
            raise _bad("the target's authority is not the Host: this is no forward proxy")
        target = absolute[2] or b"/"
        if target.startswith(b"?"):
            target = b"/" + target
    if not target.isascii() or b"\t" in target or b"#" in target:
        raise _bad("a character in the target that must be percent-encoded")
    path, mark, query = target.partition(b"?")
    if (b"." in path or b"%2" in path) and _DOTS.search(path):
        raise _bad("a path with dot segments")
    request.path, request.query = path, mark + query


def upstream_head(request: Request, target: bytes, host_line: bytes, carried: dict[str, str] | None = None) -> bytes:
    """The head that goes to the upstream, for HTTP/1.1.

    Args:
        target: for the upstream.
        host_line: `Host: ...`.
        carried: fields that stand for the caller's own of the same names: a trace context.
    """
    lines = request.lines
    if carried:
        names = {name.encode("latin-1") for name in carried}
        if b"traceparent" in names:
            names.add(b"tracestate")  # the caller's belongs to the caller's traceparent
        lines = [line for line in lines if not line or line.partition(b":")[0].lower() not in names]
        lines.extend(f"{name}: {value}".encode("latin-1") for name, value in carried.items())
    head = [b"%b %b HTTP/1.1" % (request.method, target)]
    head.extend(lines)
    head[head.index(b"", 1)] = host_line
    if request.chunked:
        head.append(b"Transfer-Encoding: chunked")
    if request.continues:
        head.append(b"Expect: 100-continue")
    if request.switches:
        head.append(_SWITCHING)
    elif request.trailers:
        head.append(b"TE: trailers\r\nConnection: TE")
    head.append(b"\r\n")
    return b"\r\n".join(head)


class Answer:
    """An answer's head, as the upstream gave it."""

    __slots__ = ("chunked", "fields", "kept", "length", "promised", "reason", "retry_after", "status")

    def __init__(self, status: int, reason: bytes, fields: Fields) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        """All of them."""
        self.kept = fields
        """Those that go on."""
        self.length: int | None = None
        self.chunked = False
        self.promised = False
        """It says that trailers will follow."""
        self.retry_after = b""


def read_answer(status: int, reason: bytes, fields: Fields) -> Answer:
    """The answer of a head that llhttp has read.

    Raises: Refused, where its body's end could be read in two ways.
    """
    answer = Answer(status, reason, fields)
    kept = answer.kept = fields.copy()
    gone: list[int] = []
    named: set[bytes] = set()
    lows = list(map(_lower, map(_name, fields)))
    for number in compress(range(len(lows)), map(_READ_IN_ANSWER.__contains__, lows)):
        low, value = lows[number], fields[number][1]
        if low == b"content-length":
            if answer.length is not None or not value.isdigit():
                raise Refused(502, "upstream_failed", "")
            answer.length = int(value)
        elif low == b"retry-after":
            answer.retry_after = value
        elif low == b"trailer":
            answer.promised = True
        else:
            gone.append(number)
            if low == b"transfer-encoding":
                if answer.chunked or value.lower() != b"chunked":
                    raise Refused(502, "upstream_failed", "")
                answer.chunked = True
            elif low == b"connection" and value.lower() not in (b"close", b"keep-alive"):
                named.update(word.strip() for word in value.lower().split(b","))
    if answer.chunked and answer.length is not None:
        raise Refused(502, "upstream_failed", "")
    for number in reversed(gone):
        del kept[number]
    if named:
        named.discard(b"content-length")
        answer.kept = [field for field in kept if field[0].lower() not in named]
    return answer


def answer_head(answer: Answer, *, chunked: bool, close: bool, trailers: bool, bodiless: bool = False) -> bytes:
    """The head that goes to the caller.

    Args:
        chunked: its body is, on the caller's side.
        trailers: they will be passed on.
        bodiless: by its status (204, 1xx); such a head says nothing of a length.
    """
    fields = answer.kept
    if bodiless or (answer.promised and not trailers):
        less = {b"content-length"} if bodiless else {b"trailer"}
        fields = [field for field in fields if field[0].lower() not in less]
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    lines.extend([b"%b: %b\r\n" % field for field in fields])
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if close:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def switching_head(answer: Answer) -> bytes:
    """The head of a 101 that goes to the caller, whose connection is a WebSocket from there on."""
    lines = [b"HTTP/1.1 101 %b" % answer.reason]
    lines.extend([b"%b: %b" % field for field in answer.kept if field[0].lower() != b"content-length"])
    return b"\r\n".join([*lines, _SWITCHING, b"", b""])


def trailer_lines(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Trailers, without those that a trailer may not be."""
    return b"".join(b"%b: %b\r\n" % field for field in fields if field[0].lower() not in _NO_TRAILER)


def refusal(status: int, kind: str, message: str, *, head: bool = False, close: bool = True, retry_s: int = 0) -> bytes:
    """The proxy's own answer, whole.

    Args:
        head: to a HEAD request, which gets no body.
        retry_s: seconds after which to come again.
    """
    body = json.dumps({"error": {"type": f"streamgauge_{kind}", "message": message}}).encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"x-streamgauge-error: streamgauge_{kind}",
    ]
    if retry_s:
        lines.append(f"Retry-After: {retry_s}")
    if status == HTTPStatus.UPGRADE_REQUIRED:
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Connection: Upgrade"]
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else body)
