"""The admin port by itself: what it says when what it shows is in trouble, and what it does not take part in."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from proxy.running import fetched
from streamgauge.proxy import admin as admins
from streamgauge.proxy.admin import Admin, State
from streamgauge.proxy.sockets import address, bound, is_loopback


class Shown:
    """What the port shows."""

    def __init__(self) -> None:
        self.state = State(True, True, "ready")
        self.error: Exception | None = None

    def page(self, accept: str | None) -> tuple[bytes, str]:
        if self.error is not None:
            raise self.error
        return f"for {accept}\n".encode(), "text/plain"


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def port(shown: Shown) -> Iterator[int]:
    listener = bound("127.0.0.1", 0, "port")
    number = listener.getsockname()[1]
    admin = Admin(listener, state=lambda: shown.state, page=shown.page, about="about\n")
    yield number
    admin.close()
    with pytest.raises(ConnectionRefusedError):
        fetched(number, "/")


@pytest.mark.parametrize(
    ("state", "alive", "ready"),
    [
        (State(True, True, "ready"), 200, 200),
        (State(True, False, "draining"), 200, 503),
        (State(False, False, "stuck"), 503, 503),
    ],
)
def test_probes(shown: Shown, port: int, state: State, alive: int, ready: int) -> None:
    shown.state = state
    assert [fetched(port, path).status for path in ("/healthz", "/readyz?verbose")] == [alive, ready]
    assert fetched(port, "/readyz").body == f"{state.detail}\n".encode()


def test_the_page_is_for_who_asks(shown: Shown, port: int) -> None:
    assert fetched(port, "/metrics", {"Accept": "a/b"}).body == b"for a/b\n"
    assert fetched(port, "/metrics").body == b"for None\n"


@pytest.mark.logs
def test_a_page_that_fails_is_told_without_its_error(shown: Shown, port: int) -> None:
    shown.error = ValueError("secret")
    answer = fetched(port, "/metrics")
    assert answer.status == 500
    assert b"secret" not in answer.body
    shown.error = None
    assert fetched(port, "/metrics").status == 200


def test_idle_connections_are_bounded(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(admins._MOST)]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as refused:
        assert refused.recv(1) == b""
    for connection in idle:
        connection.close()


def test_where_it_listens() -> None:
    cases = {"127.0.0.1": ("127.0.0.1", True), "0.0.0.0": ("localhost", False), "localhost": ("127.0.0.1", True)}
    for host, (told, loopback) in cases.items():
        with bound(host, 0, "port") as listener:
            assert address(listener) == f"{told}:{listener.getsockname()[1]}"
            assert is_loopback(listener) is loopback


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_where_it_listens_by_ipv6() -> None:
    for host, told in (("::1", "[::1]"), ("::", "localhost")):
        with bound(host, 0, "port") as listener:
            assert address(listener) == f"{told}:{listener.getsockname()[1]}"
            assert is_loopback(listener) is (host == "::1")
