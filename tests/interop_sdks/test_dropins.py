"""A drop-in for an SDK's client is that client: of its type, with its settings, and all that is made of it is watched.
The client itself is left as it is."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

import streamgauge
from interop_sdks.calling import At
from interop_sdks.scripts import refused, wire
from interop_sdks.server import Server
from streamgauge import testing

ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
CLAUDE: Any = {**ASKED, "max_tokens": 10}


@pytest.fixture
def at(server: Server) -> At:
    server.answers(wire("openai-chat-text"))
    return At(server.url + "/v1")


def asked(client: openai.OpenAI) -> int:
    return len(list(client.chat.completions.create(**ASKED)))


def test_it_is_of_the_same_type(at: At) -> None:
    azure = {"azure_endpoint": at.url, "api_key": "k", "api_version": "1"}
    aws = {"aws_access_key": "a", "aws_secret_key": "b", "aws_region": "r"}
    for client in (
        openai.OpenAI(api_key="k"),
        openai.AsyncOpenAI(api_key="k"),
        openai.AzureOpenAI(**azure),
        openai.AsyncAzureOpenAI(**azure),
        anthropic.Anthropic(api_key="k"),
        anthropic.AsyncAnthropic(api_key="k"),
        anthropic.AnthropicBedrock(**aws),
        anthropic.AsyncAnthropicBedrock(**aws),
        anthropic.AnthropicVertex(region="r", project_id="p", access_token="t"),
    ):
        wrapped: Any = streamgauge.wrap(client)
        kind = type(client)
        assert isinstance(wrapped, kind)
        assert (type(wrapped).__name__, type(wrapped).__module__) == (kind.__name__, kind.__module__)
        assert isinstance(wrapped._client, httpx2.Client | httpx2.AsyncClient)
        assert wrapped._client is wrapped._client
        assert streamgauge.wrap(wrapped) is wrapped
        for name in (name for name in dir(client) if not name.startswith("_")):
            try:
                there = getattr(client, name)
            except Exception as error:
                with pytest.raises(type(error)):
                    getattr(wrapped, name)
            else:
                assert type(getattr(wrapped, name)).__name__ == type(there).__name__, name


def test_the_client_itself_is_left_as_it_is(at: At, seen: testing.Seen) -> None:
    client = at.sdk(openai.OpenAI(base_url=at.url, api_key="k"))
    before = dict(vars(client))
    wrapped = streamgauge.wrap(client)
    assert asked(wrapped) == asked(client)
    assert len(seen.spans) == 1
    assert {**vars(client)} == {**before, "chat": client.chat}
    assert client.chat._client is client
    assert wrapped.chat._client is wrapped


def test_they_share_what_is_set(at: At, server: Server) -> None:
    client = at.sdk(openai.OpenAI(base_url=at.url, api_key="k"))
    wrapped = streamgauge.wrap(client)
    client.api_key, wrapped.max_retries = "new", 7
    asked(wrapped)
    assert server.heard[0].header("authorization") == "Bearer new"
    assert client.max_retries == 7
    other = at.sdk(httpx2.Client())
    wrapped._client = other
    assert client._client is other
    assert isinstance(wrapped._client, httpx2.Client)


def test_all_that_is_made_of_it_is_watched(at: At, seen: testing.Seen) -> None:
    wrapped = streamgauge.wrap(at.sdk(openai.OpenAI(base_url=at.url, api_key="k")))
    other = at.sdk(httpx2.Client())
    made = [
        wrapped.with_options(timeout=3),
        wrapped.copy(http_client=other),
        wrapped.with_options(max_retries=1).copy(),
        copy.copy(wrapped),
        type(wrapped)(base_url=at.url, api_key="k2", http_client=other),
    ]
    for number, client in enumerate(made, 1):
        asked(client)
        assert len(seen.spans) == number
    assert [type(each).__name__ for each in made] == ["OpenAI"] * 5
    assert (made[0].timeout, made[2].max_retries, made[4].api_key) == (3, 1, "k2")


def test_a_subclass_of_ones_own(at: At, server: Server, seen: testing.Seen) -> None:
    class Mine(openai.OpenAI):
        def __init__(self, tenant: str) -> None:
            super().__init__(base_url=at.url, api_key="k", default_headers={"x-tenant": tenant})
            self.tenant = tenant

        @functools.cached_property
        def completions_of_mine(self) -> Any:
            return self.chat.completions

    client = at.sdk(Mine("a"))
    wrapped = streamgauge.wrap(client)
    assert wrapped.tenant == "a"
    list(wrapped.completions_of_mine.create(**ASKED))
    assert server.heard[0].header("x-tenant") == "a"
    assert len(seen.spans) == 1
    list(client.completions_of_mine.create(**ASKED))
    assert len(seen.spans) == 1


def test_either_may_be_dropped(at: At, seen: testing.Seen) -> None:
    """An SDK closes an HTTP client of its own making when that is dropped; the two have one pool."""
    wrapped = streamgauge.wrap(openai.OpenAI(base_url=at.url, api_key="k"))
    gc.collect()
    assert asked(wrapped) > 0
    wrapped.close()
    client = at.sdk(openai.OpenAI(base_url=at.url, api_key="k"))
    wrapped = streamgauge.wrap(client)
    asked(wrapped)
    del wrapped
    gc.collect()
    assert not client.is_closed()
    assert asked(client) > 0


def test_closing_one_closes_the_other(at: At) -> None:
    client = openai.OpenAI(base_url=at.url, api_key="k")
    with streamgauge.wrap(client) as wrapped:
        asked(wrapped)
    assert client.is_closed()
    assert wrapped.is_closed()


def test_the_users_own_http_client_is_kept(at: At, server: Server, seen: testing.Seen) -> None:
    hooks: list[str] = []

    class Mounted(httpx2.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            hooks.append("mount")
            return super().handle_request(request)

    http = at.sdk(
        httpx2.Client(
            mounts={"all://127.0.0.1": Mounted()},
            event_hooks={"request": [lambda request: hooks.append("request")], "response": []},
            headers={"x-mine": "1"},
            timeout=7,
        )
    )
    wrapped = streamgauge.wrap(openai.OpenAI(base_url=at.url, api_key="k", http_client=http))
    asked(wrapped)
    assert hooks == ["request", "mount"]
    assert server.heard[0].header("x-mine") == "1"
    assert wrapped.timeout == httpx2.Timeout(7)
    assert len(seen.spans) == 1


def test_an_older_http_client_is_kept(at: At, seen: testing.Seen) -> None:
    wrapped = streamgauge.wrap(openai.OpenAI(base_url=at.url, api_key="k", http_client=at.sdk(httpx.Client())))
    assert isinstance(wrapped._client, httpx.Client)
    asked(wrapped)
    assert len(seen.spans) == 1


def test_what_is_said_in_wrap_is_told(at: At, seen: testing.Seen) -> None:
    client = at.sdk(openai.OpenAI(base_url=at.url, api_key="k"))
    asked(streamgauge.wrap(client, provider_name="deepseek", conversation_id="c1"))
    (span,) = seen.spans
    assert span["attributes"]["gen_ai.provider.name"] == "deepseek"
    assert span["attributes"]["gen_ai.conversation.id"] == "c1"


def test_the_provider_is_that_of_the_class(at: At, server: Server, seen: testing.Seen) -> None:
    azure = openai.AzureOpenAI(azure_endpoint=server.url, api_key="k", api_version="1")
    asked(streamgauge.wrap(at.sdk(azure)))
    (span,) = seen.spans
    assert span["attributes"]["gen_ai.provider.name"] == "azure.ai.openai"


def test_attempts_are_told_as_such(at: At, server: Server, seen: testing.Seen) -> None:
    server.answers(refused(500), refused(429), wire("openai-chat-text"))
    asked(streamgauge.wrap(at.sdk(openai.OpenAI(base_url=at.url, api_key="k", max_retries=2))))
    calls = [span for span in seen.spans if span["name"] == "chat m"]
    calls.sort(key=lambda span: span["start"])
    told = [(each["attributes"].get("http.request.resend_count"), each["attributes"]["streamgauge.outcome"])
            for each in calls]  # fmt: skip
    assert told == [(None, "failed"), (1, "failed"), (2, "completed")]
    assert seen.value("streamgauge.retries") == 2


def test_credentials_that_only_a_true_client_hands_on(server: Server) -> None:
    """Anthropic's client gives a copy its credentials only if its type is exactly that."""
    server.answers(wire("anthropic-text"))

    def token(**options: Any) -> Any:
        return anthropic.AccessToken(token="t", expires_at=None)

    client = anthropic.Anthropic(base_url=server.url, credentials=token)
    copied, expected = streamgauge.wrap(client).with_options(max_retries=0), client.with_options(max_retries=0)
    assert copied.credentials is not None
    assert copied.credentials == expected.credentials
    client.close()


def test_pickled_it_fails_as_the_client_does(at: At) -> None:
    client = at.sdk(openai.OpenAI(base_url=at.url, api_key="k"))
    with pytest.raises(TypeError) as theirs:
        pickle.dumps(client)
    with pytest.raises(TypeError) as ours:
        pickle.dumps(streamgauge.wrap(client))
    assert str(ours.value) == str(theirs.value)


def test_a_stream_of_the_sdk_is_no_client(at: At, seen: testing.Seen) -> None:
    client = at.sdk(openai.OpenAI(base_url=at.url, api_key="k"))
    stream = streamgauge.wrap(client.chat.completions.create(**ASKED))
    assert isinstance(stream, openai.Stream)
    assert len(list(stream)) > 0
    assert [span["attributes"]["streamgauge.transport"] for span in seen.spans] == ["inprocess"]
