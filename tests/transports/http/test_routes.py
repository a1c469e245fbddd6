"""Routes: what may be one, and which path goes where."""

from __future__ import annotations

import ssl

import pytest

from streamgauge.errors import UsageError
from streamgauge.transports.http import Limits, Retries, Route
from streamgauge.transports.http.heads import Refused
from streamgauge.transports.http.routes import Lane, Table

UP = "http://up"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"prefix": "openai"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"prefix": "/a/"}, "prefix"),
        ({"prefix": "/a b"}, "prefix"),
        ({"prefix": "/a?b"}, "prefix"),
        ({"prefix": "/a/../b"}, "dot segments"),
        ({"upstream": "ftp://a"}, "upstream"),
        ({"upstream": "a.b"}, "upstream"),
        ({"upstream": "http://"}, "upstream"),
        ({"upstream": "http://a:b"}, "upstream"),
        ({"upstream": "http://a:99999"}, "upstream"),
        ({"upstream": "http://a:0"}, "upstream"),
        ({"upstream": "http://a\r\nb"}, "upstream"),
        ({"upstream": "http://é"}, "upstream"),
        ({"upstream": "http://a b"}, "upstream"),
        ({"upstream": "http://u:p@a"}, "no user"),
        ({"upstream": "http://a?b"}, "query"),
        ({"upstream": "http://a#b"}, "fragment"),
        ({"on_disconnect": "ignore"}, "on_disconnect"),
        ({"tokens": ("",)}, "token"),
        ({"tokens": ("é",)}, "token"),
    ],
)
def test_what_is_no_route(given: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Route(**{"prefix": "/", "upstream": UP, **given})  # type: ignore[arg-type]


def test_no_table_without_routes_or_with_one_twice() -> None:
    with pytest.raises(UsageError, match="no route"):
        Table([], Limits())
    with pytest.raises(UsageError, match="/a"):
        Table([Route("/a", UP), Route("/", UP), Route("/a", UP)], Limits())


@pytest.mark.parametrize(
    ("path", "prefix", "target"),
    [
        (b"/", "/", b"/root/"),
        (b"/x", "/", b"/root/x"),
        (b"/openai", "/openai", b"/"),
        (b"/openai/", "/openai", b"/"),
        (b"/openai/v1/x", "/openai", b"/v1/x"),
        (b"/openai2/v1", "/", b"/root/openai2/v1"),
        (b"/openai/deep/x", "/openai/deep", b"/v1/x"),
        (b"/openai/deep", "/openai/deep", b"/v1"),
        (b"/openai/deeper", "/openai", b"/deeper"),
        (b"//openai/x", "/", b"/root//openai/x"),
        (b"/%6fpenai/x", "/", b"/root/%6fpenai/x"),
    ],
)
def test_the_longest_prefix_counts_by_whole_segments(path: bytes, prefix: str, target: bytes) -> None:
    routes = [Route("/", UP + "/root/"), Route("/openai", UP), Route("/openai/deep", UP + "/v1")]
    table = Table(routes, Limits())
    for _ in range(2):  # found, and remembered
        lane = table.find(path)
        assert lane.route.prefix == prefix
        assert lane.target(path) == target


def test_no_route_for_a_path_and_a_bounded_memory_for_those_that_have_one() -> None:
    table = Table([Route("/a", UP)], Limits())
    with pytest.raises(Refused) as caught:
        table.find(b"/b")
    assert caught.value.status == 404
    for number in range(5_000):
        table.find(b"/a/%d" % number)
    table.find(b"/a/" + b"x" * 1_000)
    assert len(table._found) <= 1_024


@pytest.mark.parametrize(
    ("given", "good"),
    [([b"one"], True), ([b"two"], True), ([], False), ([b""], False), ([b"onetwo"], False), ([b"one", b"two"], False),
     ([b"\xff"], False)],
)  # fmt: skip
def test_tokens(given: list[bytes], good: bool) -> None:
    lane = Lane(Route("/", UP, tokens=("one", "two")), Limits())
    if good:
        lane.admit(given)
    else:
        with pytest.raises(Refused) as caught:
            lane.admit(given)
        assert caught.value.status == 401


def test_a_routes_own_limits_and_the_servers() -> None:
    table = Table([Route("/", UP), Route("/a", UP, limits=Limits(max_streams=1))], Limits(max_streams=2))
    assert [lane.limits.max_streams for lane in table.lanes] == [2, 1]
    lane = table.find(b"/a")
    lane.active = 1
    with pytest.raises(Refused) as caught:
        lane.admit([])
    assert (caught.value.status, caught.value.kind) == (503, "overloaded")


@pytest.mark.parametrize(
    ("upstream", "host", "port", "line"),
    [
        ("http://a", "a", 80, b"Host: a"),
        ("https://a.b", "a.b", 443, b"Host: a.b"),
        ("https://a:8443/x", "a", 8443, b"Host: a:8443"),
        ("http://[::1]:80", "::1", 80, b"Host: [::1]:80"),
    ],
)
def test_where_an_upstream_is(upstream: str, host: str, port: int, line: bytes) -> None:
    lane = Lane(Route("/", upstream), Limits())
    assert (lane.host, lane.port, lane.host_line) == (host, port, line)


def test_tls_is_verified() -> None:
    context = Lane(Route("/", "https://a"), Limits()).context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert Lane(Route("/", "http://a"), Limits()).context() is None


@pytest.mark.parametrize(
    ("method", "fields", "allowed"),
    [
        (b"GET", [], True),
        (b"POST", [], False),
        (b"POST", [(b"idempotency-KEY", b"k")], True),
        (b"PATCH", [(b"X", b"k")], False),
    ],
)
def test_what_may_be_tried_again(method: bytes, fields: list[tuple[bytes, bytes]], allowed: bool) -> None:
    assert Retries().allows(method, fields) is allowed
