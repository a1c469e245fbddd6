"""Heads as tables: what is refused, and what goes on."""

from __future__ import annotations

import json

import httptools
import pytest

from streamgauge.transports.http import heads
from streamgauge.transports.http.heads import Fields, Refused, Request


class Parsed:
    def __init__(self, raw: bytes) -> None:
        self.fields: Fields = []
        try:
            httptools.HttpRequestParser(self).feed_data(raw)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            pass

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def read(raw: bytes, *, llhttp: bool = True) -> Request:
    fields = Parsed(raw).fields if llhttp else loosely(raw)
    return heads.read_request(raw, fields, max_target_bytes=100, max_headers=10)


def loosely(raw: bytes) -> Fields:
    """As a parser that lets all pass."""
    lines = raw.split(b"\r\n")[1:-2]
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


def request(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bool = True) -> bytes:
    return b"\r\n".join([first, *([b"Host: a"] if host else []), *lines, b"", b""])


REFUSED: dict[str, tuple[bytes, int]] = {
    "length and chunked": (request(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "chunked and length": (request(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
    "two lengths": (request(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "two equal lengths": (request(b"Content-Length: 5", b"Content-Length: 5"), 400),
    "a list of lengths": (request(b"Content-Length: 5, 5"), 400),
    "a signed length": (request(b"Content-Length: +5"), 400),
    "a length that is none": (request(b"Content-Length: 5x"), 400),
    "no length": (request(b"Content-Length:"), 400),
    "an endless length": (request(b"Content-Length: 1" + b"0" * 20), 400),
    "a length in other digits": (request(b"Content-Length: \xb2"), 400),
    "xchunked": (request(b"Transfer-Encoding: xchunked"), 400),
    "chunked, identity": (request(b"Transfer-Encoding: chunked, identity"), 400),
    "identity": (request(b"Transfer-Encoding: identity"), 400),
    "gzip, chunked": (request(b"Transfer-Encoding: gzip, chunked"), 400),
    "chunked twice": (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "chunked in HTTP/1.0": (request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"), 400),
    "a folded line": (request(b"A: b", b" c"), 400),
    "a folded Transfer-Encoding": (request(b"Transfer-Encoding:", b" chunked"), 400),
    "a space before the colon": (request(b"Transfer-Encoding : chunked"), 400),
    "a tab before the colon": (request(b"Transfer-Encoding\t: chunked"), 400),
    "a space before the name": (request(b" Transfer-Encoding: chunked"), 400),
    "a vertical tab": (request(b"Transfer-Encoding:\x0bchunked"), 400),
    "no name": (request(b": chunked"), 400),
    "no colon": (request(b"Transfer-Encoding"), 400),
    "a NUL in a value": (request(b"A: b\x00c"), 400),
    "a NUL in a name": (request(b"A\x00: b"), 400),
    "a bare CR": (request(b"A: b\rTransfer-Encoding: chunked"), 400),
    "a bare LF": (request(b"A: b\nTransfer-Encoding: chunked"), 400),
    "a DEL": (request(b"A: \x7f"), 400),
    "no Host": (request(host=False), 400),
    "two Hosts": (request(b"host: b"), 400),
    "a Host with a path": (request(b"Host: a/b", host=False), 400),
    "a Host with a user": (request(b"Host: a@b", host=False), 400),
    "a list of Hosts": (request(b"Host: a b", host=False), 400),
    "another authority": (request(first=b"GET http://b/ HTTP/1.1"), 400),
    "another port": (request(first=b"GET http://a:1/ HTTP/1.1"), 400),
    "a user in the authority": (request(first=b"GET http://x@a/ HTTP/1.1"), 400),
    "another scheme": (request(first=b"GET ftp://a/ HTTP/1.1"), 400),
    "an authority and no Host": (request(first=b"GET http://b/ HTTP/1.0", host=False), 400),
    "the asterisk form": (request(first=b"OPTIONS * HTTP/1.1"), 400),
    "CONNECT": (request(first=b"CONNECT a:443 HTTP/1.1"), 405),
    "no slash": (request(first=b"GET a HTTP/1.1"), 400),
    "a fragment": (request(first=b"GET /a#b HTTP/1.1"), 400),
    "two spaces": (request(first=b"GET  / HTTP/1.1"), 400),
    "a space in the target": (request(first=b"GET /a b HTTP/1.1"), 400),
    "a tab in the target": (request(first=b"GET /a\tb HTTP/1.1"), 400),
    "a byte beyond ASCII in the target": (request(first=b"GET /\xff HTTP/1.1"), 400),
    "no version": (request(first=b"GET /"), 400),
    "HTTP/2": (request(first=b"GET / HTTP/2.0"), 400),
    "HTTP/1.2": (request(first=b"GET / HTTP/1.2"), 400),
    "HTTP/0.9": (request(first=b"GET / HTTP/0.9"), 400),
    "another protocol": (request(first=b"GET / ICE/1.0"), 400),
    "a target too long": (request(first=b"GET /" + b"a" * 100 + b" HTTP/1.1"), 414),
    "too many fields": (request(*[b"A: b"] * 10), 431),
    "another expectation": (request(b"Expect: 200-ok"), 417),
    **{
        f"the path {path.decode()}": (request(first=b"GET %b HTTP/1.1" % path), 400)
        for path in (
            b"/..", b"/.", b"/a/../b", b"/a/./b", b"/a/..", b"/a/%2e%2e/b", b"/a/.%2E/b", b"/a/%2e/b", b"/..;/b",
            b"/a/..;x=y/b", b"/..%3b/b", b"/a/..%2fb", b"/a%2f..%2fb", b"/a\\..\\b", b"/a%5c..%5Cb", b"/a/.%2e",
            b"/../?x=y",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("llhttp", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, llhttp: bool) -> None:
    """Also by itself, without what llhttp refuses; but a header name that is no token is llhttp's to know."""
    raw, status = REFUSED[name]
    with pytest.raises(Refused) as caught:
        found = read(raw, llhttp=llhttp)
        assert not llhttp, found  # names: below
        assert any(b" " in field or b"\t" in field or not field for field, _ in found.fields)
        raise Refused(400, "", "")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/v1/chat/completions?stream=true", b"/v1/chat/completions", b"?stream=true"),
        (b"/?", b"/", b"?"),
        (b"/a?b?c/../d", b"/a", b"?b?c/../d"),
        (b"/.well-known/agent.json", b"/.well-known/agent.json", b""),
        (b"/models/gemini-1.5-pro:streamGenerateContent", b"/models/gemini-1.5-pro:streamGenerateContent", b""),
        (b"/a...b/...", b"/a...b/...", b""),
        (b"/a%2Fb%2e", b"/a%2Fb%2e", b""),
        (b"/a//b", b"/a//b", b""),
        (b"//a/b", b"//a/b", b""),
        (b"http://a/b?c", b"/b", b"?c"),
        (b"HTTPS://A", b"/", b""),
        (b"http://a?b", b"/", b"?b"),
    ],
)
def test_targets(target: bytes, path: bytes, query: bytes) -> None:
    found = read(request(first=b"GET %b HTTP/1.1" % target))
    assert (found.path, found.query) == (path, query)


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"[::1]:8080", b"", b"a_b"])
def test_hosts(host: bytes) -> None:
    assert read(request(b"Host: " + host, host=False)).lines == [b""]


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (request(), {"keep_alive": True, "is_1_0": False, "has_body": False, "length": None}),
        (request(b"Connection: close"), {"keep_alive": False}),
        (request(b"Connection: x, Close"), {"keep_alive": False}),
        (request(b"Connection: x", b"Connection: close"), {"keep_alive": False}),
        (request(first=b"GET / HTTP/1.0", host=False), {"keep_alive": False, "is_1_0": True}),
        (request(b"Connection: keep-alive", first=b"GET / HTTP/1.0"), {"keep_alive": False}),
        (request(b"Content-Length: 5"), {"length": 5, "has_body": True, "chunked": False}),
        (request(b"Content-Length: 0"), {"length": 0, "has_body": False}),
        (request(b"Transfer-Encoding: Chunked"), {"length": None, "has_body": True, "chunked": True}),
        (request(b"Content-Length: 5", b"Expect: 100-Continue"), {"continues": True}),
        (request(b"Expect: 100-continue"), {"continues": False}),
        (request(b"Content-Length: 5", b"Expect: 100-continue", first=b"POST / HTTP/1.0"), {"continues": False}),
        (request(b"TE: trailers"), {"trailers": True}),
        (request(b"TE: gzip;q=1, Trailers"), {"trailers": True}),
        (request(b"TE: gzip"), {"trailers": False}),
        (request(b"TE: trailers", first=b"GET / HTTP/1.0"), {"trailers": False}),
        (request(b"Upgrade: websocket"), {"upgrade": b"websocket"}),
        (request(b"x-streamgauge-token: a", b"X-Streamgauge-Token: b"), {"tokens": [b"a", b"b"]}),
        (request(b"Idempotency-Key: a", first=b"POST / HTTP/1.1"), {"idempotent": True}),
        (request(first=b"POST / HTTP/1.1"), {"idempotent": False}),
        (request(first=b"DELETE / HTTP/1.1"), {"idempotent": True}),
    ],
)
def test_what_a_head_says(raw: bytes, what: dict[str, object]) -> None:
    found = read(raw)
    assert {name: getattr(found, name) for name in what} == what


def test_a_connection_field_cannot_take_away_what_frames_the_request() -> None:
    found = read(request(b"Connection: Content-Length, Host, X-A", b"Content-Length: 5", b"X-a: 1", b"X-B: 2"))
    assert found.lines == [b"", b"Content-Length: 5", b"X-B: 2"]


def test_upstream_heads() -> None:
    found = read(
        request(b"A: b", b"TE: trailers", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"C:d",
                first=b"PUT /p/x?y HTTP/1.1")
    )  # fmt: skip
    head = heads.upstream_head(found, b"/base/x?y", b"Host: up")
    assert head == (
        b"PUT /base/x?y HTTP/1.1\r\nHost: up\r\nA: b\r\nC:d\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
        b"TE: trailers\r\nConnection: TE\r\n\r\n"
    )
    again = Parsed(head)
    assert (b"Host", b"up") in again.fields


def test_an_upstream_head_has_a_host_where_the_callers_had_none() -> None:
    found = read(request(b"A: b", first=b"GET / HTTP/1.0", host=False))
    assert heads.upstream_head(found, b"/", b"Host: up") == b"GET / HTTP/1.1\r\nHost: up\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"-1")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
    ],
)
def test_answers_whose_end_is_in_doubt(fields: Fields) -> None:
    with pytest.raises(Refused):
        heads.read_answer(200, b"OK", fields)


def test_answer_heads() -> None:
    fields = [(b"A", b"1"), (b"Trailer", b"T"), (b"Connection", b"x, close"), (b"X", b"1"), (b"Content-Length", b"2")]
    answer = heads.read_answer(200, b"Fine", fields)
    whole = heads.answer_head(answer, chunked=False, close=True, trailers=True)
    assert whole == b"HTTP/1.1 200 Fine\r\nA: 1\r\nTrailer: T\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    less = heads.answer_head(answer, chunked=False, close=False, trailers=False, bodiless=True)
    assert less == b"HTTP/1.1 200 Fine\r\nA: 1\r\nTrailer: T\r\n\r\n" or less == b"HTTP/1.1 200 Fine\r\nA: 1\r\n\r\n"
    assert b"Trailer" not in heads.answer_head(answer, chunked=True, close=False, trailers=False)


def test_trailers() -> None:
    fields = [
        (b"X", b"1"),
        (b"Content-Length", b"1"),
        (b"Transfer-encoding", b"x"),
        (b"Authorization", b"x"),
        (b"Y", b""),
    ]
    assert heads.trailer_lines(fields) == b"X: 1\r\nY: \r\n"


def test_our_own_answers() -> None:
    answer = heads.refusal(503, "overloaded", "too many", retry_s=3)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable", b"Content-Type: application/json", b"Content-Length: %d" % len(body),
        b"x-streamgauge-error: streamgauge_overloaded", b"Retry-After: 3", b"Connection: close",
    ]  # fmt: skip
    assert json.loads(body) == {"error": {"type": "streamgauge_overloaded", "message": "too many"}}
    bare = heads.refusal(404, "no_route", "none", head=True, close=False)
    assert bare.endswith(b"\r\n\r\n")
    assert b"Connection" not in bare
