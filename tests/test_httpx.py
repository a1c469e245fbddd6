"""The public transports: `streamgauge.httpx`, and `streamgauge.httpx2` for its fork."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from opentelemetry import trace

import streamgauge.httpx
import streamgauge.httpx2
from interop_sdks.server import Answer, Server
from streamgauge import testing
from streamgauge.errors import UnknownDialectError, UnwrappableError

CHUNK = (
    'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"a"},'
    '"finish_reason":%s}]}\n\n'
)
CHAT = Answer([CHUNK % "null", CHUNK % '"stop"', "data: [DONE]\n\n"])
ASKED = {"model": "m", "messages": [], "stream": True}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        found.answers(CHAT)
        yield found


@pytest.fixture(params=["httpx", "httpx2"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """(the package, ours)."""
    return {"httpx": (httpx, streamgauge.httpx), "httpx2": (httpx2, streamgauge.httpx2)}[request.param]


def test_a_transport(both: Any, server: Server, seen: testing.Seen) -> None:
    package, ours = both
    transport = ours.Transport()
    assert isinstance(transport, package.BaseTransport)
    with package.Client(transport=transport) as client:
        client.post(server.url + "/v1/chat/completions", json=ASKED)
    (span,) = seen.spans
    assert span["name"] == "chat m"
    told = span["attributes"]
    assert (told["streamgauge.dialect"], told["streamgauge.transport"]) == ("openai-chat", "httpx")
    assert (told["streamgauge.outcome"], told["server.address"]) == ("completed", "127.0.0.1")


async def test_an_async_transport(both: Any, server: Server, seen: testing.Seen) -> None:
    package, ours = both
    transport = ours.AsyncTransport(package.AsyncHTTPTransport(retries=1), provider_name="deepseek")
    assert isinstance(transport, package.AsyncBaseTransport)
    async with package.AsyncClient(transport=transport) as client:
        await client.post(server.url + "/v1/chat/completions", json=ASKED)
    (span,) = seen.spans
    assert span["attributes"]["gen_ai.provider.name"] == "deepseek"


def test_an_existing_client(both: Any, server: Server, seen: testing.Seen) -> None:
    package, ours = both
    with package.Client(base_url=server.url) as client:
        wrapped = ours.wrap(client, propagate=True, conversation_id="c1")
        wrapped.post("/v1/chat/completions", json=ASKED)
        client.post("/v1/chat/completions", json=ASKED)
    (span,) = seen.spans
    assert span["attributes"]["gen_ai.conversation.id"] == "c1"
    sent = server.heard[0].header("traceparent")
    assert sent is not None
    assert sent.startswith(f"00-{span['trace_id']}-{span['span_id']}-")
    assert server.heard[1].header("traceparent") is None


def test_the_parent_is_what_is_current_and_stays_so(both: Any, server: Server, seen: testing.Seen) -> None:
    package, ours = both
    tracer = seen.pipeline.recorder.tracer
    with (
        tracer.start_as_current_span("mine") as mine,
        package.Client(transport=ours.Transport()) as client,
        client.stream("POST", server.url + "/v1/chat/completions", json=ASKED) as response,
    ):
        for _ in response.iter_raw():
            assert trace.get_current_span() is mine
    assert seen.tree() == ["mine", "  chat m"]


def test_an_answer_that_is_no_stream_of_a_known_path_is_no_run(both: Any, server: Server, seen: testing.Seen) -> None:
    package, ours = both
    server.answers(Answer.of_json({"a": 1}))
    with package.Client(transport=ours.Transport()) as client:
        client.get(server.url + "/v1/models")
    assert seen.spans == []


def test_dropped(both: Any, server: Server, seen: testing.Seen) -> None:
    package, ours = both
    with package.Client(transport=ours.Transport()) as client:
        request = client.build_request("POST", server.url + "/v1/chat/completions", json=ASKED)
        response = client.send(request, stream=True)
        assert seen.open == 1
        del response
        gc.collect()
        assert [span["attributes"]["streamgauge.outcome"] for span in seen.spans] == ["abandoned"]


def test_what_it_refuses(both: Any) -> None:
    package, ours = both
    with pytest.raises(UnknownDialectError):
        ours.Transport(dialect="no-such-dialect")
    with package.Client() as client, pytest.raises(UnknownDialectError):
        ours.wrap(client, dialect="no-such-dialect")
    with pytest.raises(UnwrappableError, match=r"builtins\.object is no Client"):
        ours.wrap(object())


def test_both_have_the_same_names() -> None:
    assert streamgauge.httpx.__all__ == streamgauge.httpx2.__all__ == ["AsyncTransport", "Transport", "wrap"]
