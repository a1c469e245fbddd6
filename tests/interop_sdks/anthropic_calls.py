"""What is done with Anthropic's client."""

from __future__ import annotations

from typing import Any

import anthropic

from interop_sdks.calling import At, Call, caught
from interop_sdks.scripts import refused, wire

__all__ = ["CALLS"]

TEXT = wire("anthropic-text")
ASKED: Any = {"model": "claude-test", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}


def client(at: At, **options: Any) -> anthropic.Anthropic:
    return at.sdk(anthropic.Anthropic(base_url=at.url, api_key="k", **options))


def aclient(at: At, **options: Any) -> anthropic.AsyncAnthropic:
    return at.sdk(anthropic.AsyncAnthropic(base_url=at.url, api_key="k", **options))


def anthropic_create(at: At) -> Any:
    with client(at) as found:
        return list(found.messages.create(**ASKED, stream=True))


async def anthropic_create_async(at: At) -> Any:
    async with aclient(at) as found:
        return [each async for each in await found.messages.create(**ASKED, stream=True)]


def anthropic_plain(at: At) -> Any:
    return client(at).messages.create(**ASKED)


def anthropic_helper(at: At) -> Any:
    with client(at).messages.stream(**ASKED) as stream:
        return [list(stream.text_stream), stream.get_final_message(), stream.response.status_code]


async def anthropic_helper_async(at: At) -> Any:
    async with aclient(at).messages.stream(**ASKED) as stream:
        return [[each async for each in stream.text_stream], await stream.get_final_message()]


def anthropic_tools(at: At) -> Any:
    with client(at).messages.stream(**ASKED) as stream:
        return [[each.type for each in stream], stream.get_final_message()]


def anthropic_beta(at: At) -> Any:
    return list(client(at).beta.messages.create(**ASKED, stream=True))


def anthropic_raw_response(at: At) -> Any:
    raw = client(at).messages.with_raw_response.create(**ASKED, stream=True)
    return [raw.status_code, raw.headers["content-type"], list(raw.parse())]


def anthropic_streaming_response(at: At) -> Any:
    with client(at).messages.with_streaming_response.create(**ASKED, stream=True) as response:
        return [response.status_code, list(response.iter_lines())]


def anthropic_with_options(at: At) -> Any:
    found = client(at).with_options(max_retries=0).copy(timeout=5.0)
    return [found.max_retries, list(found.messages.create(**ASKED, stream=True))]


def anthropic_middleware(at: At) -> Any:
    """What is set between the SDK and its transport is a part of its client."""
    seen: list[str] = []

    def middleware(request: Any, call_next: Any) -> Any:
        seen.append(request.method)
        return call_next(request)

    return [list(client(at, middleware=[middleware]).messages.create(**ASKED, stream=True)), seen]


def anthropic_retries(at: At) -> Any:
    return list(client(at, max_retries=2).messages.create(**ASKED, stream=True))


async def anthropic_retries_async(at: At) -> Any:
    return [each async for each in await aclient(at, max_retries=2).messages.create(**ASKED, stream=True)]


def anthropic_leaves_early(at: At) -> Any:
    with client(at).messages.stream(**ASKED) as stream:
        return next(iter(stream.text_stream))


def anthropic_stalls(at: At) -> Any:
    found = client(at, max_retries=0, timeout=0.3)
    return caught(lambda: list(found.messages.create(**ASKED, stream=True)))


def anthropic_is_cut(at: At) -> Any:
    return caught(lambda: list(client(at).messages.create(**ASKED, stream=True)))


def anthropic_error_inside(at: At) -> Any:
    return caught(lambda: list(client(at).messages.create(**ASKED, stream=True)))


def vertex(at: At) -> Any:
    found = at.sdk(anthropic.AnthropicVertex(base_url=at.url, region="r", project_id="p", access_token="t"))
    return list(found.messages.create(**ASKED, stream=True))


DONE, FAILED = "chat completed", "chat failed"
CALLS = [
    Call(anthropic_create, [TEXT], [DONE]),
    Call(anthropic_create_async, [TEXT], [DONE]),
    Call(anthropic_plain, [wire("anthropic-plain")], [DONE]),
    Call(anthropic_helper, [TEXT], [DONE]),
    Call(anthropic_helper_async, [TEXT], [DONE]),
    Call(anthropic_tools, [wire("anthropic-tools")], [DONE]),
    Call(anthropic_beta, [TEXT], [DONE]),
    Call(anthropic_raw_response, [TEXT], [DONE]),
    Call(anthropic_streaming_response, [TEXT], [DONE]),
    Call(anthropic_with_options, [TEXT], [DONE]),
    Call(anthropic_middleware, [TEXT], [DONE]),
    Call(anthropic_retries, [refused(529), refused(429), TEXT], [FAILED, FAILED, DONE]),
    Call(anthropic_retries_async, [refused(529), refused(429), TEXT], [FAILED, FAILED, DONE]),
    Call(anthropic_leaves_early, [wire("anthropic-text", "stall", keep=4)], ["chat abandoned"]),
    Call(anthropic_stalls, [wire("anthropic-text", "stall", keep=4)], ["chat timed_out"]),
    Call(anthropic_is_cut, [wire("anthropic-text", "cut", keep=4)], ["chat truncated"]),
    Call(anthropic_error_inside, [wire("anthropic-error")], [FAILED]),
    Call(vertex, [TEXT], [DONE]),
]
