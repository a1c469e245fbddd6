"""What is done with the other packages: each is given an HTTP client, or a client that can be wrapped."""

from __future__ import annotations

from typing import Any

import a2a.client
import a2a.types
import ag_ui.core
import agents
import cohere
import httpx
import httpx2
import langchain_openai
import litellm
import mistralai.client
import ollama
import openai
import pydantic
import pydantic_ai
import pydantic_ai.models.openai
import pydantic_ai.providers.openai
from google import genai
from google.protobuf import json_format

from interop_sdks.calling import At, Call, caught
from interop_sdks.scripts import A2A, AG_UI, refused, wire

__all__ = ["CALLS"]

ASKED: Any = [{"role": "user", "content": "Hi"}]
MODEL = "gpt-4.1-mini"

# Model APIs -------------------------------------------------------------------------------------------------------


def gemini(at: At) -> Any:
    options = genai.types.HttpOptions(base_url=at.url, httpx_client=at.http(httpx2))
    with genai.Client(api_key="k", http_options=options) as client:
        return list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi"))


def gemini_older(at: At) -> Any:
    options = genai.types.HttpOptions(base_url=at.url, httpx_client=at.http(httpx))
    with genai.Client(api_key="k", http_options=options) as client:
        return list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi"))


async def gemini_async(at: At) -> Any:
    options = genai.types.HttpOptions(base_url=at.url, httpx_async_client=at.async_http(httpx2))
    client = genai.Client(api_key="k", http_options=options).aio
    pieces = await client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
    return [each async for each in pieces]


def gemini_plain(at: At) -> Any:
    options = genai.types.HttpOptions(base_url=at.url, httpx_client=at.http(httpx2))
    with genai.Client(api_key="k", http_options=options) as client:
        return client.models.generate_content(model="gemini-2.5-flash", contents="Hi").text


def ollama_chat(at: At) -> Any:
    client = ollama.Client(host=at.url)
    client._client = at.sdk(client._client)
    return list(client.chat(model="llama3.2", messages=ASKED, stream=True))


async def ollama_chat_async(at: At) -> Any:
    client = ollama.AsyncClient(host=at.url)
    client._client = at.sdk(client._client)
    return [each async for each in await client.chat(model="llama3.2", messages=ASKED, stream=True)]


def mistral(at: At) -> Any:
    with (
        mistralai.client.Mistral(api_key="k", server_url=at.url, client=at.http(httpx2)) as client,
        client.chat.stream(model="mistral-small-latest", messages=ASKED) as stream,
    ):
        return list(stream)


async def mistral_async(at: At) -> Any:
    http = at.async_http(httpx2)
    async with mistralai.client.Mistral(api_key="k", server_url=at.url, async_client=http) as client:
        stream = await client.chat.stream_async(model="mistral-small-latest", messages=ASKED)
        return [each async for each in stream]


def cohere_chat(at: At) -> Any:
    client = cohere.ClientV2(api_key="k", base_url=at.url, httpx_client=at.http(httpx))
    return list(client.chat_stream(model="command-a-03-2025", messages=ASKED))


async def cohere_chat_async(at: At) -> Any:
    client = cohere.AsyncClientV2(api_key="k", base_url=at.url, httpx_client=at.async_http(httpx))
    return [each async for each in client.chat_stream(model="command-a-03-2025", messages=ASKED)]


# Frameworks over OpenAI's client ----------------------------------------------------------------------------------


def langchain(at: At) -> Any:
    model = langchain_openai.ChatOpenAI(
        model=MODEL, base_url=at.url + "/v1", api_key="k", http_client=at.http(httpx2), max_retries=1
    )
    return [(each.content, each.response_metadata) for each in model.stream("Hi")]


async def langchain_async(at: At) -> Any:
    model = langchain_openai.ChatOpenAI(
        model=MODEL, base_url=at.url + "/v1", api_key="k", http_client=at.http(httpx2),
        http_async_client=at.async_http(httpx2),
    )  # fmt: skip
    return [(each.content, each.response_metadata) async for each in model.astream("Hi")]


async def openai_agents(at: At) -> Any:
    agents.set_tracing_disabled(True)
    client = at.sdk(openai.AsyncOpenAI(base_url=at.url + "/v1", api_key="k"))
    model = agents.OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
    result = agents.Runner.run_streamed(agents.Agent("helper", model=model), "Hi")
    return [[each.type async for each in result.stream_events()], result.final_output]


async def openai_agents_responses(at: At) -> Any:
    agents.set_tracing_disabled(True)
    client = at.sdk(openai.AsyncOpenAI(base_url=at.url + "/v1", api_key="k"))
    model = agents.OpenAIResponsesModel(model=MODEL, openai_client=client)
    result = agents.Runner.run_streamed(agents.Agent("helper", model=model), "Hi")
    return [[each.type async for each in result.stream_events()], result.final_output]


async def pydantic_ai_chat(at: At) -> Any:
    client = at.sdk(openai.AsyncOpenAI(base_url=at.url + "/v1", api_key="k"))
    provider = pydantic_ai.providers.openai.OpenAIProvider(openai_client=client)
    agent = pydantic_ai.Agent(pydantic_ai.models.openai.OpenAIChatModel(MODEL, provider=provider))
    async with agent.run_stream("Hi") as result:
        return [each async for each in result.stream_text(delta=True, debounce_by=None)]


def litellm_chat(at: At) -> Any:
    client = at.sdk(openai.OpenAI(base_url=at.url + "/v1", api_key="k"))
    stream = litellm.completion(model=f"openai/{MODEL}", messages=ASKED, client=client, stream=True)
    return [(each.choices[0].delta.content, each.choices[0].finish_reason) for each in stream]


async def litellm_chat_async(at: At) -> Any:
    client = at.sdk(openai.AsyncOpenAI(base_url=at.url + "/v1", api_key="k"))
    stream = await litellm.acompletion(model=f"openai/{MODEL}", messages=ASKED, client=client, stream=True)
    return [(each.choices[0].delta.content, each.choices[0].finish_reason) async for each in stream]


def litellm_refused(at: At) -> Any:
    client = at.sdk(openai.OpenAI(base_url=at.url + "/v1", api_key="k", max_retries=0))
    call = {"model": f"openai/{MODEL}", "messages": ASKED, "client": client, "stream": True, "num_retries": 0}
    return type(caught(lambda: litellm.completion(**call))).__name__


# Agent protocols --------------------------------------------------------------------------------------------------


async def a2a_message(at: At) -> Any:
    card = a2a.types.AgentCard(
        name="helper",
        supported_interfaces=[
            a2a.types.AgentInterface(url=at.url + "/a2a", protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        capabilities=a2a.types.AgentCapabilities(streaming=True),
    )
    async with at.async_http(httpx) as http:
        client = a2a.client.ClientFactory(a2a.client.ClientConfig(httpx_client=http)).create(card)
        part = a2a.types.Part(text="Hi")
        message = a2a.types.Message(message_id="m1", role=a2a.types.Role.ROLE_USER, parts=[part])
        request = a2a.types.SendMessageRequest(message=message)
        return [json_format.MessageToDict(each) async for each in client.send_message(request)]


async def ag_ui_run(at: At) -> Any:
    """The package has the events and no client: it is read with an HTTP client."""
    events = pydantic.TypeAdapter(ag_ui.core.Event)
    asked = {"threadId": "t1", "runId": "r1", "state": {}, "messages": [], "tools": [], "context": []}
    headers = {"accept": "text/event-stream"}
    async with at.async_http(httpx) as http, http.stream("POST", at.url + "/agent", json=asked, headers=headers) as got:
        lines = [line async for line in got.aiter_lines()]
    return [events.validate_json(line[6:]) for line in lines if line]


DONE, FAILED = "chat completed", "chat failed"
CHAT = wire("openai-chat-text")
CALLS = [
    Call(gemini, [wire("gemini-text")], ["generate_content completed"]),
    Call(gemini_older, [wire("gemini-text")], ["generate_content completed"]),
    Call(gemini_async, [wire("gemini-text")], ["generate_content completed"]),
    Call(gemini_plain, [wire("gemini-plain")], ["generate_content completed"]),
    Call(ollama_chat, [wire("ollama-text")], [DONE]),
    Call(ollama_chat_async, [wire("ollama-text")], [DONE]),
    Call(mistral, [wire("mistral-text")], [DONE]),
    Call(mistral_async, [wire("mistral-text")], [DONE]),
    Call(cohere_chat, [wire("cohere-text")], [DONE]),
    Call(cohere_chat_async, [wire("cohere-text")], [DONE]),
    Call(langchain, [refused(500), CHAT], [FAILED, DONE]),
    Call(langchain_async, [CHAT], [DONE]),
    Call(openai_agents, [CHAT], [DONE]),
    Call(openai_agents_responses, [wire("openai-responses-text")], [DONE]),
    Call(pydantic_ai_chat, [CHAT], [DONE]),
    Call(litellm_chat, [CHAT], [DONE]),
    Call(litellm_chat_async, [CHAT], [DONE]),
    Call(litellm_refused, [refused(500)], [FAILED]),
    Call(a2a_message, [A2A], ["invoke_agent completed"]),
    Call(ag_ui_run, [AG_UI], ["invoke_agent completed"]),
]
