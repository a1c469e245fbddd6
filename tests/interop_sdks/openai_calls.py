"""What is done with OpenAI's client."""

from __future__ import annotations

from typing import Any

import openai
import pydantic

from interop_sdks.calling import At, Call, caught
from interop_sdks.scripts import JSON_CHAT, refused, wire

__all__ = ["CALLS"]

CHAT = wire("openai-chat-text")
RESPONSES = wire("openai-responses-text")
ASKED: Any = [{"role": "user", "content": "How many files?"}]
MODEL = "gpt-4.1-mini"
WEATHER: Any = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
}


class Colour(pydantic.BaseModel):
    """What an answer is parsed as."""

    colour: str


def client(at: At, **options: Any) -> openai.OpenAI:
    return at.sdk(openai.OpenAI(base_url=at.url + "/v1", api_key="k", **options))


def aclient(at: At, **options: Any) -> openai.AsyncOpenAI:
    return at.sdk(openai.AsyncOpenAI(base_url=at.url + "/v1", api_key="k", **options))


def openai_chat(at: At) -> Any:
    with client(at) as found:
        return list(found.chat.completions.create(model=MODEL, messages=ASKED, stream=True))


async def openai_chat_async(at: At) -> Any:
    async with aclient(at) as found:
        return [each async for each in await found.chat.completions.create(model=MODEL, messages=ASKED, stream=True)]


def openai_chat_plain(at: At) -> Any:
    return client(at).chat.completions.create(model=MODEL, messages=ASKED)


def openai_chat_parse(at: At) -> Any:
    return client(at).chat.completions.parse(model=MODEL, messages=ASKED, response_format=Colour)


def openai_chat_helper(at: At) -> Any:
    with client(at).chat.completions.stream(model=MODEL, messages=ASKED) as stream:
        return [[(each.type, each) for each in stream], stream.get_final_completion()]


def openai_chat_helper_tools(at: At) -> Any:
    with client(at).chat.completions.stream(model=MODEL, messages=ASKED, tools=[WEATHER]) as stream:
        return [[each.type for each in stream], stream.get_final_completion()]


async def openai_chat_helper_async(at: At) -> Any:
    async with aclient(at).chat.completions.stream(model=MODEL, messages=ASKED) as stream:
        return [[each async for each in stream], await stream.get_final_completion()]


def openai_responses(at: At) -> Any:
    return list(client(at).responses.create(model=MODEL, input="How many?", stream=True))


async def openai_responses_async(at: At) -> Any:
    return [each async for each in await aclient(at).responses.create(model=MODEL, input="How many?", stream=True)]


def openai_responses_helper(at: At) -> Any:
    with client(at).responses.stream(model=MODEL, input="How many?") as stream:
        return [[each.type for each in stream], stream.get_final_response()]


def openai_raw_response(at: At) -> Any:
    raw = client(at).chat.completions.with_raw_response.create(model=MODEL, messages=ASKED, stream=True)
    return [raw.status_code, dict(raw.headers)["content-type"], raw.retries_taken, list(raw.parse())]


def openai_streaming_response(at: At) -> Any:
    api = client(at).chat.completions.with_streaming_response
    with api.create(model=MODEL, messages=ASKED, stream=True) as response:
        return [response.status_code, list(response.iter_lines())]


async def openai_streaming_response_async(at: At) -> Any:
    api = aclient(at).chat.completions.with_streaming_response
    async with api.create(model=MODEL, messages=ASKED, stream=True) as response:
        return [response.status_code, [line async for line in response.iter_lines()]]


def openai_with_options(at: At) -> Any:
    found = client(at).with_options(max_retries=0, timeout=5.0).copy(default_headers={"x-a": "b"})
    return [found.max_retries, list(found.chat.completions.create(model=MODEL, messages=ASKED, stream=True))]


def openai_retries(at: At) -> Any:
    raw = client(at, max_retries=3).chat.completions.with_raw_response
    response = raw.create(model=MODEL, messages=ASKED, stream=True)
    return [response.retries_taken, list(response.parse())]


async def openai_retries_async(at: At) -> Any:
    raw = aclient(at, max_retries=3).chat.completions.with_raw_response
    response = await raw.create(model=MODEL, messages=ASKED, stream=True)
    return [response.retries_taken, [each async for each in response.parse()]]


def openai_gives_up(at: At) -> Any:
    return caught(lambda: client(at, max_retries=1).chat.completions.create(model=MODEL, messages=ASKED, stream=True))


def openai_leaves_early(at: At) -> Any:
    with client(at).chat.completions.create(model=MODEL, messages=ASKED, stream=True) as stream:
        return next(iter(stream))


async def openai_leaves_early_async(at: At) -> Any:
    stream = await aclient(at).chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    async with stream:
        return await anext(aiter(stream))


def openai_never_reads(at: At) -> Any:
    stream = client(at).chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    stream.close()
    return stream.response.status_code


def openai_times_out(at: At) -> Any:
    found = client(at, max_retries=0, timeout=0.3)
    return caught(lambda: found.chat.completions.create(model=MODEL, messages=ASKED, stream=True))


def openai_stalls(at: At) -> Any:
    found = client(at, max_retries=0, timeout=0.3)
    return caught(lambda: list(found.chat.completions.create(model=MODEL, messages=ASKED, stream=True)))


async def openai_is_cut_async(at: At) -> Any:
    got = []
    try:
        async for each in await aclient(at).chat.completions.create(model=MODEL, messages=ASKED, stream=True):
            got.append(each)
    except openai.APIError as error:
        got.append(error)
    return got


def openai_error_inside(at: At) -> Any:
    return caught(lambda: list(client(at).chat.completions.create(model=MODEL, messages=ASKED, stream=True)))


def azure_chat(at: At) -> Any:
    found = at.sdk(openai.AzureOpenAI(azure_endpoint=at.url, api_key="k", api_version="2025-01-01", max_retries=0))
    return list(found.chat.completions.create(model=MODEL, messages=ASKED, stream=True))


DONE, FAILED = "chat completed", "chat failed"
CALLS = [
    Call(openai_chat, [CHAT], [DONE]),
    Call(openai_chat_async, [CHAT], [DONE]),
    Call(openai_chat_plain, [JSON_CHAT], [DONE]),
    Call(openai_chat_parse, [JSON_CHAT], [DONE]),
    Call(openai_chat_helper, [CHAT], [DONE]),
    Call(openai_chat_helper_tools, [wire("openai-chat-tools")], [DONE]),
    Call(openai_chat_helper_async, [CHAT], [DONE]),
    Call(openai_responses, [RESPONSES], [DONE]),
    Call(openai_responses_async, [RESPONSES], [DONE]),
    Call(openai_responses_helper, [RESPONSES], [DONE]),
    Call(openai_raw_response, [CHAT], [DONE]),
    Call(openai_streaming_response, [CHAT], [DONE]),
    Call(openai_streaming_response_async, [CHAT], [DONE]),
    Call(openai_with_options, [CHAT], [DONE]),
    Call(openai_retries, [refused(500), refused(429), CHAT], [FAILED, FAILED, DONE]),
    Call(openai_retries_async, [refused(500), refused(429), CHAT], [FAILED, FAILED, DONE]),
    Call(openai_gives_up, [refused(500)], [FAILED, FAILED]),
    Call(openai_leaves_early, [wire("openai-chat-text", "stall", keep=2)], ["chat abandoned"]),
    Call(openai_leaves_early_async, [wire("openai-chat-text", "stall", keep=2)], ["chat abandoned"]),
    Call(openai_never_reads, [wire("openai-chat-text", "stall", keep=2)], ["chat abandoned"]),
    Call(openai_times_out, [wire("openai-chat-text", "silent")], ["chat timed_out"]),
    Call(openai_stalls, [wire("openai-chat-text", "stall", keep=2)], ["chat timed_out"]),
    Call(openai_is_cut_async, [wire("openai-chat-text", "cut", keep=3)], ["chat truncated"]),
    Call(openai_error_inside, [wire("openai-chat-error")], [FAILED]),
    Call(azure_chat, [CHAT], [DONE]),
]
