"""Drop-ins for what sends through httpx or httpx2: their own clients, and SDK clients built over one, here made-up ones
of the older and the newer make. The real SDKs are in tests/interop_sdks."""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

import streamgauge
from interop_sdks.server import Answer, Server
from streamgauge import testing
from streamgauge.clients import httpx as clients_httpx
from streamgauge.clients._http import http_client, named, sdk_client
from streamgauge.clients._twin import original
from streamgauge.transports.httpx_client import Watching, watching
from transports.exchanges import Watch

STREAM = Answer(["data: 1\n\n", "data: 2\n\n"])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        found.answers(STREAM)
        yield found


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


# Clients of httpx -------------------------------------------------------------------------------------------------


def test_a_client_is_itself_but_for_what_it_sends_through(package: Any, server: Server) -> None:
    watch = Watch()
    with package.Client(headers={"x-mine": "1"}, base_url=server.url) as client:
        wrapped: Any = http_client(client, watch)
        assert isinstance(wrapped, package.Client)
        assert wrapped is not client
        assert (wrapped._transport, wrapped.cookies, wrapped.headers) == (
            client._transport,
            client.cookies,
            client.headers,
        )
        assert http_client(wrapped, watch) is wrapped
        assert wrapped.get("/a").text == "data: 1\n\ndata: 2\n\n"
        assert client.get("/b").status_code == 200
        assert [each.target for each in watch.exchanges] == ["/a"]
        wrapped.headers["x-more"] = "2"
        client.get("/c")
        assert server.heard[2].header("x-more") == "2"
    assert wrapped.is_closed


async def test_an_async_client_too(package: Any, server: Server) -> None:
    watch = Watch()
    async with package.AsyncClient() as client:
        wrapped: Any = http_client(client, watch)
        assert isinstance(wrapped, package.AsyncClient)
        async with wrapped.stream("GET", server.url) as response:
            assert [line async for line in response.aiter_lines()] == ["data: 1", "", "data: 2", ""]
        assert [each.how for each in watch.exchanges] == [(None, "", "")]


def test_entering_and_closing_are_the_clients(package: Any) -> None:
    client = package.Client()
    with http_client(client, Watch()) as wrapped:
        assert wrapped._state is client._state
        assert client._state.name == "OPENED"
    assert client.is_closed


def test_mounts_and_proxies_are_kept(package: Any, server: Server) -> None:
    used: list[str] = []

    class Mounted(package.HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            used.append(request.url.path)
            return super().handle_request(request)

    watch = Watch()
    with package.Client(mounts={server.url: Mounted()}) as client:
        http_client(client, watch).get(server.url + "/mounted")
    assert used == ["/mounted"]
    assert [each.target for each in watch.exchanges] == ["/mounted"]
    # Through a proxy the target is the whole address; what is told of it is the same.
    with package.Client(proxy=server.url) as client:
        http_client(client, watch).get("http://elsewhere.test/a")
    assert server.heard[-1].target == "http://elsewhere.test/a"
    assert (watch.exchanges[-1].target, watch.exchanges[-1].server) == ("/a", ("http", "elsewhere.test", 80))


def test_a_transport_that_is_watched_is_not_watched_twice(package: Any, server: Server) -> None:
    inner, outer = Watch(), Watch()
    transport = watching(package.HTTPTransport(), package, inner, is_async=False)
    with package.Client(transport=transport) as client:
        http_client(client, outer).get(server.url)
    assert (len(inner.exchanges), len(outer.exchanges)) == (1, 0)


def test_a_copy_of_a_drop_in_is_one(package: Any, server: Server) -> None:
    watch = Watch()
    with package.Client() as client:
        copied = copy.copy(http_client(client, watch))
        copied.get(server.url)
    assert len(watch.exchanges) == 1


def test_our_span_is_sent_where_asked(package: Any, server: Server) -> None:
    with package.Client() as client:
        http_client(client, Watch(), propagate=True).get(server.url)
    assert server.heard[0].header("traceparent") == "00-ours-01"


@pytest.mark.parametrize("thing", [object(), "a", 1, httpx.Response(200), httpx.URL("http://a")])
def test_all_else_is_none(thing: Any) -> None:
    assert http_client(thing, Watch()) is None
    assert clients_httpx.wrap(thing, Watch()) is None  # type: ignore[arg-type]


# SDK clients ------------------------------------------------------------------------------------------------------


class Resource:
    def __init__(self, client: Any) -> None:
        self._client = client

    def ask(self) -> str:
        return self._client.post("/ask")


class Signer:
    """What signs in, and sends by itself for that."""

    def __init__(self, http_client: Any) -> None:
        self._http_client = http_client

    def sign(self, url: str) -> str:
        return self._http_client.get(url + "/token").text


class SDK:
    """A client of the newer make: what is made of it is made when it is asked for."""

    def __init__(self, url: str, http_client: Any = None, key: str = "k") -> None:
        self.url, self.key = url, key
        self._client = http_client or httpx2.Client()
        self._signer = Signer(self._client)

    def post(self, path: str) -> str:
        return self._client.post(self.url + path, headers={"x-key": self.key}).text

    def copy(self, *, key: str = "", http_client: Any = None) -> SDK:
        """As Anthropic's: what is handed on depends on the exact type."""
        assert type(self) is SDK
        return self.__class__(self.url, http_client or self._client, key or self.key)

    with_options = copy

    @functools.cached_property
    def chat(self) -> Resource:
        """Chat."""
        return Resource(self)

    @functools.cached_property
    def region(self) -> str:
        raise RuntimeError("no region")

    def close(self) -> None:
        if hasattr(self, "_client"):
            self._client.close()


class OlderRaw:
    def __init__(self, client: Any) -> None:
        self.chat = client.chat


class Older(SDK):
    """Of the older make: all is made at once."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.files = Resource(self)
        self.with_raw_response = OlderRaw(self)


@pytest.fixture
def sdk(server: Server) -> Iterator[SDK]:
    client = SDK(server.url)
    yield client
    client.close()


def test_an_sdks_client_is_itself(sdk: SDK) -> None:
    watch = Watch()
    sdk.chat.ask()  # so that it is there
    wrapped = sdk_client(sdk, watch)
    assert isinstance(wrapped, SDK)
    assert (wrapped.url, wrapped.key) == (sdk.url, sdk.key)
    assert wrapped.chat.ask() == "data: 1\n\ndata: 2\n\n"
    assert wrapped.chat is wrapped.chat
    assert wrapped.chat is not sdk.chat
    assert type(wrapped).chat.__doc__ == "Chat."
    assert len(watch.exchanges) == 1
    sdk.chat.ask()
    assert len(watch.exchanges) == 1
    with pytest.raises(RuntimeError):
        _ = wrapped.region


def test_what_was_set_in_the_place_of_what_is_made_is_everybodys(sdk: SDK) -> None:
    sdk.region = "here"
    wrapped = sdk_client(sdk, Watch())
    assert wrapped.region == "here"
    wrapped.region = "there"
    assert sdk.region == "there"


def test_what_is_made_of_the_drop_in_can_be_set_and_removed(sdk: SDK) -> None:
    wrapped = sdk_client(sdk, Watch())
    with pytest.raises(AttributeError):
        del wrapped.chat
    wrapped.chat = found = Resource(sdk)
    assert wrapped.chat is found
    del wrapped.chat
    assert wrapped.chat is not found
    assert "chat" not in vars(sdk)


def test_what_was_made_at_once_is_made_again(server: Server) -> None:
    watch = Watch()
    client = Older(server.url)
    wrapped = sdk_client(client, watch)
    wrapped.files.ask()
    wrapped.with_raw_response.chat.ask()
    assert len(watch.exchanges) == 2
    assert client.files._client is client
    client.close()


def test_what_sends_by_itself_is_watched_too(sdk: SDK) -> None:
    watch = Watch()
    wrapped = sdk_client(sdk, watch)
    wrapped._signer.sign(sdk.url)
    assert [each.target for each in watch.exchanges] == ["/token"]
    assert original(wrapped._signer) is sdk._signer


def test_copies_are_drop_ins(sdk: SDK) -> None:
    watch = Watch()
    wrapped = sdk_client(sdk, watch)
    with httpx.Client() as other:
        made = [
            wrapped.copy(key="b"),
            wrapped.with_options(http_client=other),
            type(wrapped)(sdk.url),
            copy.copy(wrapped),
        ]
        for number, each in enumerate(made, 1):
            each.chat.ask()
            assert len(watch.exchanges) == number
    assert [each.key for each in made] == ["b", "k", "k", "k"]
    made[2].close()


def test_an_http_client_that_is_put_in_later(sdk: SDK) -> None:
    watch = Watch()
    wrapped = sdk_client(sdk, watch)
    sdk._client.close()
    with httpx.Client() as other:
        wrapped._client = other
        assert sdk._client is other
        wrapped.chat.ask()
        assert len(watch.exchanges) == 1
        del sdk.__dict__["_client"]
        assert not hasattr(wrapped, "_client")
        sdk._client = other


def test_makers_of_ones_own(sdk: SDK) -> None:
    wrapped: Any = sdk_client(sdk, Watch(), {"_chain": lambda client: ("made of", client)})
    assert wrapped._chain == ("made of", wrapped)


def test_the_client_lives_as_long_as_its_drop_in(server: Server) -> None:
    """One of an SDK's own making closes itself when it is dropped."""

    class Closing(httpx2.Client):
        def __del__(self) -> None:
            self.close()

    wrapped = sdk_client(SDK(server.url, Closing()), Watch())
    gc.collect()
    assert wrapped.chat.ask() == "data: 1\n\ndata: 2\n\n"
    held = Closing()
    client = SDK(server.url, held)
    wrapped = sdk_client(client, Watch())
    wrapped.chat.ask()
    del wrapped
    gc.collect()
    assert not held.is_closed
    assert client.chat.ask() == "data: 1\n\ndata: 2\n\n"


def test_a_class_is_known_by_its_nearest_name() -> None:
    table = {"SDK": "all", "Older": "older"}
    assert named(Older("http://a"), table) == "older"
    assert named(SDK("http://a"), table) == "all"
    assert named(object(), table) == ""


# With the real pipeline -------------------------------------------------------------------------------------------


def test_wrapped_by_streamgauge(package: Any, server: Server, seen: testing.Seen) -> None:
    with package.Client() as client:
        wrapped = streamgauge.wrap(client, agent_name="a", dialect="generic")
        assert not isinstance(client._transport, Watching)
        wrapped.post(server.url)
    (span,) = seen.spans
    assert span["name"] == "invoke_agent a"
    assert span["attributes"]["streamgauge.transport"] == "httpx"
    assert span["attributes"]["streamgauge.outcome"] == "completed"
