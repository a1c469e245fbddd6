"""The real ziran package, unwrapped and wrapped, against agents on loopback: the same transcript, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve
from ziran.application.agent_scanner.progress import ProgressEvent, ProgressEventType
from ziran.application.agent_scanner.scanner import AgentScanner
from ziran.domain.entities.phase import CoverageLevel, ScanPhase
from ziran.domain.entities.streaming import AgentResponseChunk, LLMResponseChunk
from ziran.domain.entities.target import ProtocolType, TargetConfig
from ziran.domain.interfaces.adapter import AgentResponse, AgentState, BaseAgentAdapter
from ziran.infrastructure.adapters.http_adapter import HttpAgentAdapter
from ziran.infrastructure.adapters.protocols import ProtocolError
from ziran.infrastructure.adapters.protocols.sse_handler import SSEProtocolHandler
from ziran.infrastructure.adapters.protocols.ws_handler import WebSocketProtocolHandler
from ziran.infrastructure.llm.base import BaseLLMClient, LLMConfig, LLMError, LLMResponse

import streamgauge
from streamgauge import testing
from streamgauge.clients import ziran as client
from streamgauge.dialects.ziran import Ziran, ZiranLLM
from streamgauge.signals import TOOL_REQUESTED

# An agent on loopback ---------------------------------------------------------------------------------------


class Reply:
    """One response of the agent: an event stream in chunked coding, piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def start(self, *, chunked: bool = True) -> None:
        coding = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        self.chunked = chunked
        self.writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n" + coding + b"\r\n"
        )
        await self.writer.drain()

    async def send(self, data: Any) -> None:
        line = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        self.writer.write(b"%x\r\n%s\r\n" % (len(line), line) if self.chunked else line)
        await self.writer.drain()

    async def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        await self.send({"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    async def call(self, index: int, arguments: str, **first: str) -> None:
        function = {"arguments": arguments, **({"name": first["name"]} if first else {})}
        call = {"index": index, "function": function, **({"id": first["id"], "type": "function"} if first else {})}
        await self.delta(tool_calls=[call])

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def refuse(self, status: int) -> None:
        self.writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" % status)
        await self.writer.drain()


async def plain(reply: Reply) -> None:
    await reply.start()
    await reply.delta(role="assistant", content="")
    for text in ("Hel", "lo ", "wörld"):
        await reply.delta(content=text)
    await reply.delta("stop")
    await reply.send("[DONE]")
    await reply.end()


async def tools(reply: Reply) -> None:
    await reply.start()
    await reply.call(0, "", id="call_1", name="search")
    await reply.call(0, '{"q":')
    await reply.call(0, ' "x"}')
    await reply.call(1, "", id="call_2", name="lookup")
    await reply.call(1, "{}")
    await reply.delta("tool_calls")
    await reply.send("[DONE]")
    await reply.end()


async def cut(reply: Reply) -> None:
    await reply.start()
    await reply.delta(content="par")  # and no end of the chunked coding


async def unfinished(reply: Reply) -> None:
    await reply.start(chunked=False)
    await reply.delta(content="par")  # the end of the connection is a proper end of such a body


async def hold(reply: Reply) -> None:
    await reply.start()
    await reply.delta(content="a")
    await reply.reader.read()  # until the caller has hung up


async def too_many(reply: Reply) -> None:
    await reply.refuse(429)


SCRIPTS = {script.__name__: script for script in (plain, tools, cut, unfinished, hold, too_many)}


class Agent:
    """An OpenAI-compatible agent; the last user message names the script that it answers by."""

    def __init__(self) -> None:
        self.requests = 0
        self.hung_up = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = json.loads(await reader.readexactly(length))
        self.requests += 1
        with contextlib.suppress(ConnectionError):
            await SCRIPTS[body["messages"][-1]["content"]](Reply(reader, writer))
            writer.close()
            await writer.wait_closed()
        self.hung_up.set()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    agent = Agent()
    server = await asyncio.start_server(agent, "127.0.0.1")
    agent.port = server.sockets[0].getsockname()[1]
    agent.url = f"http://127.0.0.1:{agent.port}"
    async with server:
        yield agent


@pytest.fixture
async def adapter(agent: Agent) -> AsyncIterator[HttpAgentAdapter]:
    adapter = HttpAgentAdapter(TargetConfig(url=agent.url, protocol=ProtocolType.OPENAI))
    yield adapter
    await adapter.close()


async def transcript(stream: AsyncIterator[Any]) -> list[Any]:
    """All that a caller sees: the events, and how it ends."""
    seen: list[Any] = []
    try:
        async for chunk in stream:
            seen.append((type(chunk), chunk.model_dump()))
    except Exception as error:
        seen.append((type(error), str(error), getattr(error, "status_code", None)))
    return seen


def events(span: dict[str, Any]) -> list[Any]:
    return [(event["name"], *event["attributes"].values()) for event in span["events"]]


# HttpAgentAdapter, protocol openai --------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["plain", "tools", "cut", "unfinished", "too_many"])
async def test_the_transcript_is_the_same(adapter: HttpAgentAdapter, agent: Agent, script: str) -> None:
    unwrapped = await transcript(adapter.stream(script))
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(adapter)
        assert isinstance(wrapped, HttpAgentAdapter)
        assert await transcript(wrapped.stream(script)) == unwrapped
        assert seen.open == 0
        assert len(seen.spans) == 1
        assert seen.value("streamgauge.tap.blind") == 0
    assert agent.requests == 2


async def test_plain_text(adapter: HttpAgentAdapter, agent: Agent) -> None:
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(adapter)
        await transcript(wrapped.stream("plain"))
        await transcript(adapter.stream("plain"))  # the original is left as it was

        [span] = seen.spans
        assert span["name"] == "invoke_agent"
        assert span["status"] == "UNSET"
        assert (
            span["attributes"].items()
            >= {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4",
                "server.address": "127.0.0.1",
                "server.port": agent.port,
                "streamgauge.dialect": "ziran",
                "streamgauge.outcome": "completed",
                "streamgauge.stream.granularity": "token",
                "streamgauge.stream.chunks": 3,
            }.items()
        )
        assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 1
        assert seen.value("streamgauge.stream.chunks", kind="text") == 3
        assert seen.value("streamgauge.stream.bytes", kind="text") == len("Hello wörld".encode())
        assert seen.count("gen_ai.client.operation.time_to_first_chunk", server_address="127.0.0.1") == 1
        assert seen.count("streamgauge.stream.time_to_first_answer") == 1
        # State is shared: both turns are in one conversation.
        assert [turn["role"] for turn in adapter.get_state().conversation_history] == ["user", "assistant"] * 2
        assert wrapped.get_state() == adapter.get_state()


async def test_tool_calls_are_noted_not_executed(adapter: HttpAgentAdapter) -> None:
    with testing.recording() as seen:
        await transcript(streamgauge.wrap(adapter, agent_name="bot", model="own").stream("tools"))
        [span] = seen.spans
        assert span["name"] == "invoke_agent bot"
        assert span["attributes"]["gen_ai.request.model"] == "own"
        assert events(span) == [(TOOL_REQUESTED, "search", "call_1"), (TOOL_REQUESTED, "lookup", "call_2")]
        assert seen.value("streamgauge.stream.chunks", kind="tool_call") == 3
        assert seen.value("streamgauge.stream.bytes", kind="tool_call") == len('{"q": "x"}' + "{}")
        assert seen.count("gen_ai.execute_tool.duration") == 0
        assert seen.count("streamgauge.stream.time_to_first_answer") == 0
        assert "x" not in str(span["events"])


@pytest.mark.parametrize(("script", "chunks"), [("too_many", 0), ("cut", 1)])
async def test_an_exception_is_a_failure(adapter: HttpAgentAdapter, script: str, chunks: int) -> None:
    with testing.recording() as seen:
        with pytest.raises(ProtocolError):
            async for _ in streamgauge.wrap(adapter).stream(script):
                pass
        [span] = seen.spans
        assert span["status"] == "ERROR"
        assert span["attributes"]["streamgauge.outcome"] == "failed"
        assert seen.value("streamgauge.stream.chunks") == chunks
        assert seen.value("streamgauge.streams", streamgauge_outcome="failed") == 1
        assert seen.count("gen_ai.client.operation.time_to_first_chunk") == chunks


async def test_an_end_without_the_done_marker_cannot_be_told(adapter: HttpAgentAdapter) -> None:
    with testing.recording() as seen:
        await transcript(streamgauge.wrap(adapter).stream("unfinished"))
        assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 1


async def first_then_close(stream: AsyncIterator[Any]) -> str:
    async for chunk in stream:
        await stream.aclose()
        return chunk.content_delta
    return ""


async def test_an_early_close_is_abandoned(adapter: HttpAgentAdapter, agent: Agent) -> None:
    assert await first_then_close(adapter.stream("hold")) == "a"
    unwrapped = adapter.get_state()
    await agent.hung_up.wait()
    agent.hung_up.clear()
    adapter.reset_state()
    with testing.recording() as seen:
        assert await first_then_close(streamgauge.wrap(adapter).stream("hold")) == "a"
        assert seen.open == 0
        [span] = seen.spans
        assert span["attributes"]["streamgauge.outcome"] == "abandoned"
        assert span["status"] == "UNSET"
    await agent.hung_up.wait()
    assert adapter.get_state().conversation_history == unwrapped.conversation_history


async def test_a_break_is_abandoned(adapter: HttpAgentAdapter, agent: Agent) -> None:
    with testing.recording() as seen:
        async for _ in streamgauge.wrap(adapter).stream("hold"):
            break
        assert seen.open == 0
        assert seen.value("streamgauge.streams", streamgauge_outcome="abandoned") == 1
    await agent.hung_up.wait()


async def test_a_cancelled_task_is_cancelled(adapter: HttpAgentAdapter, agent: Agent) -> None:
    with testing.recording() as seen:
        began = asyncio.Event()

        async def read() -> None:
            async for _ in streamgauge.wrap(adapter).stream("hold"):
                began.set()

        task = asyncio.create_task(read())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen.open == 0
        assert seen.value("streamgauge.streams", streamgauge_outcome="cancelled") == 1
    await agent.hung_up.wait()


async def test_concurrent_streams_of_one_adapter_are_apart(adapter: HttpAgentAdapter) -> None:
    await adapter._ensure_initialized()  # of its own, it would make a client for each of the first streams
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(adapter)
        await asyncio.gather(*(transcript(wrapped.stream(script)) for script in ("plain", "tools", "plain", "cut")))
        assert sorted(span["attributes"].get("streamgauge.stream.chunks", 0) for span in seen.spans) == [1, 3, 3, 3]
        assert len({span["trace_id"] for span in seen.spans}) == 4
        assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 3
        assert seen.value("streamgauge.streams", streamgauge_outcome="failed") == 1


# A user's own adapter ---------------------------------------------------------------------------------------


class Echo(BaseAgentAdapter):
    """No streaming of its own: the base class makes one chunk of `invoke`."""

    name = "echo"

    def __init__(self) -> None:
        self.invoked = 0

    async def invoke(self, message: str, **kwargs: Any) -> AgentResponse:
        self.invoked += 1
        calls = [{"name": "t", "arguments": {"secret": 1}}]
        return AgentResponse(content=message, tool_calls=calls, prompt_tokens=3, completion_tokens=2)

    async def discover_capabilities(self) -> list[Any]:
        return []

    def get_state(self) -> AgentState:
        return AgentState(session_id="s")

    def reset_state(self) -> None:
        self.invoked = 0

    def observe_tool_call(self, tool_name: str, inputs: dict[str, Any], outputs: Any) -> None:
        raise NotImplementedError


class Breaking(Echo):
    async def stream(self, message: str, **kwargs: Any) -> AsyncIterator[AgentResponseChunk]:
        yield AgentResponseChunk(content_delta="a")
        raise RuntimeError("agent exploded")


class Asking(Echo):
    """An adapter that asks another one while it streams."""

    name = "asking"

    def __init__(self, other: BaseAgentAdapter) -> None:
        super().__init__()
        self.other = other

    async def stream(self, message: str, **kwargs: Any) -> AsyncIterator[AgentResponseChunk]:
        async for chunk in self.other.stream(message):
            yield AgentResponseChunk(content_delta=chunk.content_delta.upper())
        yield AgentResponseChunk(is_final=True)


async def test_the_base_classes_fallback_counts_once() -> None:
    unwrapped = await transcript(Echo().stream("full"))
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(Echo())
        assert isinstance(wrapped, Echo)
        assert await transcript(wrapped.stream("full")) == unwrapped
        assert wrapped.invoked == 1
        [span] = seen.spans
        assert span["name"] == "invoke_agent echo"
        assert (
            span["attributes"].items()
            >= {
                "gen_ai.usage.input_tokens": 3,
                "gen_ai.usage.output_tokens": 2,
                "streamgauge.stream.granularity": "message",
            }.items()
        )
        assert events(span) == [(TOOL_REQUESTED, "t")]
        assert seen.value("streamgauge.streams", gen_ai_agent_name="echo") == 1
        assert seen.count("gen_ai.client.operation.time_to_first_chunk", streamgauge_stream_granularity="token") == 0


async def test_invoke_is_left_alone() -> None:
    with testing.recording() as seen:
        assert (await streamgauge.wrap(Echo()).invoke("x")).content == "x"
        assert not seen.spans


async def test_an_adapter_that_raises_mid_stream() -> None:
    unwrapped = await transcript(Breaking().stream("x"))
    with testing.recording() as seen:
        assert await transcript(streamgauge.wrap(Breaking()).stream("x")) == unwrapped
        [span] = seen.spans
        assert span["attributes"]["error.type"] == "RuntimeError"
        assert span["status"] == "ERROR"


async def test_an_adapter_within_an_adapter() -> None:
    unwrapped = await transcript(Asking(Echo()).stream("x"))
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(Asking(streamgauge.wrap(Echo())))
        assert await transcript(wrapped.stream("x")) == unwrapped
        assert seen.tree() == ["invoke_agent asking", "  invoke_agent echo"]


async def test_an_adapter_that_does_not_tell_its_name_streams_all_the_same() -> None:
    class Shy(Echo):
        @property
        def name(self) -> str:  # type: ignore[override]
            raise RuntimeError("not yet")

    with testing.recording() as seen:
        assert await transcript(streamgauge.wrap(Shy()).stream("x")) == await transcript(Shy().stream("x"))
        assert seen.tree() == ["invoke_agent"]


async def test_bad_arguments_are_the_callers_own() -> None:
    with testing.recording() as seen:
        with pytest.raises(TypeError, match="message"):
            streamgauge.wrap(Echo()).stream()
        assert seen.open == 0


async def test_a_scan_has_one_run_for_each_prompt(adapter: HttpAgentAdapter) -> None:
    with testing.recording() as seen:
        told: list[ProgressEvent] = []
        scanner = AgentScanner(adapter=streamgauge.wrap(Echo()))
        await scanner.run_campaign(
            phases=[ScanPhase.RECONNAISSANCE],
            coverage=CoverageLevel.ESSENTIAL,
            streaming=True,
            on_progress=told.append,
        )
        prompts = sum(event.event is ProgressEventType.ATTACK_STREAMING for event in told)
        assert prompts > 1
        assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == prompts
        assert seen.open == 0


# Handlers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["plain", "tools", "cut", "unfinished", "too_many"])
async def test_the_sse_handler(agent: Agent, script: str) -> None:
    async with httpx.AsyncClient() as http:
        config = TargetConfig(url=agent.url)
        unwrapped = await transcript(SSEProtocolHandler(http, config, model="m1").stream_send(script))
        with testing.recording() as seen:
            wrapped = streamgauge.wrap(SSEProtocolHandler(http, config, model="m1"))
            assert isinstance(wrapped, SSEProtocolHandler)
            assert await transcript(wrapped.stream_send(script)) == unwrapped
            [span] = seen.spans
            assert span["attributes"]["gen_ai.request.model"] == "m1"
            reasons = {"plain": "stop", "tools": "tool_calls", "unfinished": None}
            found = span["attributes"].get("gen_ai.response.finish_reasons", [None])
            assert list(found) == [reasons.get(script, "error")]


async def test_send_of_a_handler_is_one_stream(agent: Agent) -> None:
    async with httpx.AsyncClient() as http:
        with testing.recording() as seen:
            wrapped = streamgauge.wrap(SSEProtocolHandler(http, TargetConfig(url=agent.url)))
            assert (await wrapped.send("plain"))["content"] == "Hello wörld"
            assert len(seen.spans) == 1


async def frames_plain(socket: ServerConnection) -> None:
    await socket.send(json.dumps({"content": "Hel"}))
    await socket.send(json.dumps({"tool_call": {"id": "c", "name": "search", "arguments": {"q": 1}}}))
    await socket.send("lo")
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    await socket.send(json.dumps({"type": "done", "model": "m1", "usage": usage}))


async def frames_close(socket: ServerConnection) -> None:
    await socket.send(json.dumps({"content": "par"}))
    await socket.close()


async def frames_fail(socket: ServerConnection) -> None:
    await socket.send(json.dumps({"content": "par"}))
    await socket.close(1011, "boom")


async def frames_cut(socket: ServerConnection) -> None:
    await socket.send(json.dumps({"content": "par"}))
    await socket.recv()  # the caller has read it
    socket.transport.abort()


async def over_websocket(
    script: Callable[[ServerConnection], Awaitable[None]], wrap: Callable[[Any], Any], message: str = "hi"
) -> list[Any]:
    async def answer(socket: ServerConnection) -> None:
        await socket.recv()
        await script(socket)
        await socket.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server, httpx.AsyncClient() as http:
        port = server.sockets[0].getsockname()[1]
        handler = WebSocketProtocolHandler(http, TargetConfig(url=f"http://127.0.0.1:{port}"))
        got = []
        try:
            async for chunk in wrap(handler).stream_send(message):
                got.append((type(chunk), chunk.model_dump()))
                if script is frames_cut and not chunk.is_final:
                    await handler._ws.send("read")
        finally:
            await handler.close()
        return got


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (frames_plain, {"streamgauge.outcome": "completed", "gen_ai.response.model": "m1"}),
        (frames_close, {"streamgauge.outcome": "truncated", "error.type": "truncated"}),
        (frames_fail, {"streamgauge.outcome": "failed", "error.type": "1011"}),
        (frames_cut, {"streamgauge.outcome": "failed", "error.type": "1006"}),
    ],
)
async def test_the_websocket_handler(script: Any, expected: dict[str, Any]) -> None:
    unwrapped = await over_websocket(script, lambda handler: handler)
    with testing.recording() as seen:
        assert await over_websocket(script, streamgauge.wrap) == unwrapped
        [span] = seen.spans
        assert span["attributes"].items() >= expected.items()
        assert (span["status"] == "UNSET") is (expected["streamgauge.outcome"] == "completed")


async def test_what_a_websocket_server_tells() -> None:
    with testing.recording() as seen:
        await over_websocket(frames_plain, streamgauge.wrap)
        [span] = seen.spans
        assert events(span) == [(TOOL_REQUESTED, "search", "c")]
        assert span["attributes"]["gen_ai.usage.input_tokens"] == 3
        assert seen.value("streamgauge.stream.chunks", kind="text") == 2
        assert seen.value("streamgauge.stream.chunks", kind="tool_call") == 1


async def test_a_websocket_that_refuses() -> None:
    async with httpx.AsyncClient() as http:
        async with serve(frames_plain, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        handler = WebSocketProtocolHandler(http, TargetConfig(url=url))
        unwrapped = await transcript(handler.stream_send("hi"))
        with testing.recording() as seen:
            assert await transcript(streamgauge.wrap(handler).stream_send("hi")) == unwrapped
            assert unwrapped[0][0] is ProtocolError
            assert seen.value("streamgauge.streams", streamgauge_outcome="failed") == 1


async def test_a_websocket_handler_inside_an_adapter() -> None:
    async def adapted(handler: WebSocketProtocolHandler) -> HttpAgentAdapter:
        adapter = HttpAgentAdapter(TargetConfig(url="http://configured.invalid", protocol=ProtocolType.REST))
        await adapter._ensure_initialized()
        adapter._handler = handler
        return adapter

    async def answer(socket: ServerConnection) -> None:
        async for _ in socket:
            await frames_plain(socket)

    async with serve(answer, "127.0.0.1", 0) as server, httpx.AsyncClient() as http:
        port = server.sockets[0].getsockname()[1]
        handler = WebSocketProtocolHandler(
            http, TargetConfig(url="http://unused.invalid"), ws_url=f"ws://127.0.0.1:{port}"
        )
        adapter = await adapted(handler)
        unwrapped = await transcript(adapter.stream("hi"))
        with testing.recording() as seen:
            assert await transcript(streamgauge.wrap(adapter).stream("again")) == unwrapped  # on the same connection
            [span] = seen.spans
            assert span["attributes"]["server.port"] == port
        await adapter.close()


# Model clients ----------------------------------------------------------------------------------------------


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # read when it is imported: no look-up on the network
    monkeypatch.setenv("TEST_API_KEY", "none")


def litellm_client(agent: Agent) -> BaseLLMClient:
    from ziran.infrastructure.llm.factory import create_llm_client

    url = f"{agent.url}/v1"
    return create_llm_client(model="openai/gpt-4o", base_url=url, api_key_env="TEST_API_KEY")


@pytest.mark.usefixtures("litellm")
async def test_litellm_streams(agent: Agent) -> None:
    messages = [{"role": "user", "content": "plain"}]
    unwrapped = await transcript(litellm_client(agent).stream_complete(messages))
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(litellm_client(agent))
        assert isinstance(wrapped, BaseLLMClient)
        assert await transcript(wrapped.stream_complete(messages)) == unwrapped
        [span] = seen.spans
        assert span["name"] == "chat openai/gpt-4o"
        assert span["kind"] == "CLIENT"
        assert (
            span["attributes"].items()
            >= {
                "gen_ai.provider.name": "openai",
                "server.address": "127.0.0.1",
                "streamgauge.dialect": "ziran-llm",
                "streamgauge.outcome": "completed",
            }.items()
        )
        assert list(span["attributes"]["gen_ai.response.finish_reasons"]) == ["stop"]
        assert seen.count("gen_ai.client.operation.time_to_first_chunk", gen_ai_operation_name="chat") == 1
        assert seen.value("streamgauge.stream.chunks", kind="text") == 3


@pytest.mark.usefixtures("litellm")
async def test_litellm_fails(agent: Agent) -> None:
    messages = [{"role": "user", "content": "too_many"}]
    with testing.recording() as seen:
        with pytest.raises(LLMError, match="429"):
            async for _ in streamgauge.wrap(litellm_client(agent)).stream_complete(
                messages, num_retries=0, max_retries=0
            ):
                pass
        assert seen.value("streamgauge.streams", streamgauge_outcome="failed") == 1


class Canned(BaseLLMClient):
    async def complete(self, messages: list[dict[str, str]], **kwargs: Any) -> LLMResponse:
        return LLMResponse(content="hi", model="m-2", prompt_tokens=1, completion_tokens=2)

    async def health_check(self) -> bool:
        return True


async def test_a_model_client_without_streaming() -> None:
    config = LLMConfig(provider="bedrock", model="m")
    unwrapped = await transcript(Canned(config).stream_complete([]))
    with testing.recording() as seen:
        assert await transcript(streamgauge.wrap(Canned(config)).stream_complete([])) == unwrapped
        [span] = seen.spans
        assert span["name"] == "chat m"
        assert (
            span["attributes"].items()
            >= {
                "gen_ai.provider.name": "aws.bedrock",
                "gen_ai.response.model": "m-2",
                "gen_ai.usage.input_tokens": 1,
                "streamgauge.stream.granularity": "message",
            }.items()
        )
        assert seen.count("gen_ai.client.token.usage", gen_ai_token_type="output") == 1


# Drift ------------------------------------------------------------------------------------------------------


def test_the_tables_know_all_that_ziran_emits() -> None:
    assert AgentResponseChunk.model_fields.keys() | {str(kind) for kind in ProgressEventType} == Ziran.events.keys()
    assert LLMResponseChunk.model_fields.keys() == ZiranLLM.events.keys()


def test_websockets_words_a_close_as_expected() -> None:
    closed = websockets.exceptions.ConnectionClosedError(websockets.frames.Close(1011, "boom"), None)
    final = AgentResponseChunk(is_final=True, metadata={"error": str(closed)})
    assert Ziran().feed(final, 1)[-1].error_type == "1011"


def test_what_is_no_stream_of_zirans_is_not_wrapped() -> None:
    assert client.wrap(object(), None) is None  # type: ignore[arg-type]
