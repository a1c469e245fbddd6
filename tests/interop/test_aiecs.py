"""The real aiecs package, unwrapped and wrapped, with model clients that follow a script: the same transcript, and what
it tells."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what AIECS and its dependencies warn of when they are imported
    from aiecs.domain.agent import AgentConfiguration, BaseAIAgent, HybridAgent, LLMAgent, RetryPolicy, ToolAgent
    from aiecs.domain.agent.exceptions import TaskExecutionError
    from aiecs.domain.agent.models import AgentState, AgentType
    from aiecs.domain.agent.plugins.models import PluginConfig
    from aiecs.llm.clients.base_client import BaseLLMClient, LLMResponse, RateLimitError
    from aiecs.llm.clients.openai_compatible_mixin import StreamChunk
    from aiecs.tools.base_tool import BaseTool

import streamgauge
from streamgauge import testing
from streamgauge.clients import aiecs as client
from streamgauge.clients._twin import original
from streamgauge.dialects.aiecs import Aiecs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # utcnow(), throughout


@pytest.fixture(autouse=True)
def _aiecs_is_quiet() -> Iterator[None]:
    """It logs each failure of a model or a tool, which the scripts are full of. What streamgauge logs is still seen."""
    logger = logging.getLogger("aiecs")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


TASK = {"description": "say hello", "task_id": "t1"}
BUSY = RateLimitError("429: try later")

# A model and its tools --------------------------------------------------------------------------------------


def text(content: str) -> StreamChunk:
    return StreamChunk(type="token", content=content)


def thought(content: str) -> StreamChunk:
    return StreamChunk(type="thought", content=content)


def usage(**more: int) -> StreamChunk:
    return StreamChunk(
        type="usage",
        usage={"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cache_read_tokens": 3, **more},
    )


def calls(*functions: str, arguments: str = '{"q": "x"}') -> list[StreamChunk]:
    """The chunks of an answer that asks for tools: two deltas for each, then all."""
    made = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, name in enumerate(functions, 1)
    ]
    begun = [{**call, "function": {**call["function"], "arguments": arguments[:5]}} for call in made]
    deltas = [StreamChunk(type="tool_call", tool_call=call) for pair in zip(begun, made, strict=True) for call in pair]
    return [*deltas, StreamChunk(type="tool_calls", tool_calls=made)]


class Script(BaseLLMClient):
    """A model client: one list of pieces for each call. An exception is raised, an event is waited for."""

    def __init__(self, *turns: list[Any], provider: str = "OpenAI") -> None:
        super().__init__(provider)
        self.turns = turns
        self.calls = 0
        self.closed = 0

    def turn(self) -> list[Any]:
        self.calls += 1
        return self.turns[self.calls - 1]

    async def generate_text(
        self,
        messages: Any,
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        context: Any = None,
        tools: Any = None,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> LLMResponse:
        (answer,) = self.turn()
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def stream_text(
        self,
        messages: Any,
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        context: Any = None,
        tools: Any = None,
        tool_choice: Any = None,
        return_chunks: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        try:
            for piece in self.turn():
                await asyncio.sleep(0)
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                    continue
                yield piece
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


class Search(BaseTool):
    """A tool of two operations."""

    def lookup(self, q: str) -> str:
        """Look something up."""
        return f"result for {q}"

    def boom(self, q: str) -> str:
        """Fail."""
        raise ValueError("no")


class Quick(BaseTool):
    """A tool that fails at once: the retries that a tool has take seconds."""

    async def run_async(self, operation: str | None = None, **kwargs: Any) -> Any:
        if operation == "boom":
            raise LookupError("not here")
        return f"result for {kwargs['q']}"

    def lookup(self, q: str) -> str:
        """Look something up."""
        return ""

    def boom(self, q: str) -> str:
        """Fail."""
        return ""


def configured(**more: Any) -> AgentConfiguration:
    retries = RetryPolicy(
        max_retries=2, base_delay=0.001, max_delay=0.002, rate_limit_base_delay=0.001, rate_limit_max_delay=0.002
    )
    return AgentConfiguration(llm_model="gpt-9", retry_policy=retries, **more)


def llm_agent(*turns: list[Any], **client_options: Any) -> LLMAgent:
    return LLMAgent(agent_id="a1", name="Ada", llm_client=Script(*turns, **client_options), config=configured())


def tool_agent(*turns: list[Any], tool: type[BaseTool] = Quick) -> ToolAgent:
    return ToolAgent(
        agent_id="a1", name="Ada", llm_client=Script(*turns), tools={"search": tool()}, config=configured()
    )


def hybrid_agent(
    *turns: list[Any], tool: type[BaseTool] = Quick, iterations: int = 5, **configuration: Any
) -> HybridAgent:
    return HybridAgent(
        agent_id="a1",
        name="Ada",
        llm_client=Script(*turns),
        tools={"search": tool()},
        config=configured(**configuration),
        max_iterations=iterations,
    )


FLOW = """---
name: mini-flow
placement: {placement}
---

## Instruction:
Work.

## Contract
### Action
Do it.
### Prompt Completion Marker: `<STEP_DONE>`
### DAWP Completion Marker: `<ALL_DONE>`

<Prompt 0>
### Gather facts
Gather.
</Prompt 0>

<Prompt 1>
### Summarize
Sum up.
</Prompt 1>
"""


def nested_agent(
    folder: Path, *turns: list[Any], placement: str = "pre_main_loop", boundary: bool = True, iterations: int = 8
) -> HybridAgent:
    """An agent with a workflow of two prompts, each a nested run's step."""
    path = folder / "mini.dawp.md"
    path.write_text(FLOW.format(placement=placement))
    options = {"document_path": str(path), "stream_boundary_events": boundary}
    return hybrid_agent(*turns, iterations=iterations, plugins=[PluginConfig(name="dawp", options=options)])


# Unwrapped and wrapped ----------------------------------------------------------------------------------------

VARYING = frozenset({"timestamp", "execution_time", "duration_ms", "run_id", "task_id"})


def scrubbed(value: Any) -> Any:
    """The value without what no two runs have in common."""
    if isinstance(value, dict):
        return {name: scrubbed(inner) for name, inner in value.items() if name not in VARYING}
    if isinstance(value, list | tuple):
        return [scrubbed(inner) for inner in value]
    return re.sub(r"0x[0-9a-f]+", "0x", value) if isinstance(value, str) else value


async def transcript(stream: AsyncIterator[Any]) -> list[Any]:
    seen: list[Any] = []
    try:
        async for event in stream:
            seen.append((type(event), scrubbed(event)))
    except Exception as error:
        seen.append((type(error), scrubbed(str(error))))
    return seen


async def ready(agent: Any, **options: Any) -> Any:
    """The wrapped agent, initialised by itself."""
    wrapped = streamgauge.wrap(agent, **options)
    await wrapped.initialize()
    return wrapped


async def both(make: Callable[[], Any], stream: Callable[[Any], AsyncIterator[Any]]) -> testing.Seen:
    """Read `stream` of an agent unwrapped, wrapped before it is initialised, and wrapped after: all the same."""
    plain = make()
    await plain.initialize()
    expected = await transcript(stream(plain))
    assert expected
    first = make()
    with testing.recording() as before:
        agent = await ready(first)
        assert isinstance(agent, type(first))
        assert repr(agent) == repr(first)
        assert await transcript(stream(agent)) == expected
        assert agent.state == first.state == plain.state
        assert before.open == 0
    second = make()
    await second.initialize()
    with testing.recording() as seen:
        assert await transcript(stream(streamgauge.wrap(second))) == expected
        assert second.state == plain.state
        assert seen.open == 0
        assert seen.tree() == before.tree()
    return seen


def task(agent: Any) -> AsyncIterator[Any]:
    return agent.execute_task_streaming(TASK, {})  # type: ignore[no-any-return]


def message(agent: Any) -> AsyncIterator[Any]:
    return agent.process_message_streaming("hello", sender_id="me")  # type: ignore[no-any-return]


def root(seen: testing.Seen) -> dict[str, Any]:
    (span,) = (span for span in seen.spans if span["parent"] is None)
    return span


def named(seen: testing.Seen, name: str) -> list[dict[str, Any]]:
    spans = [span for span in seen.spans if span["name"] == name]
    assert spans
    return sorted(spans, key=lambda span: span["start"])


def outcomes(seen: testing.Seen) -> list[tuple[str, str]]:
    spans = sorted(seen.spans, key=lambda span: span["start"])
    return [(span["name"], span["attributes"]["streamgauge.outcome"]) for span in spans if "retry" not in span["name"]]


HELLO = [text("Hel"), text("lo"), usage()]

TREES: dict[str, tuple[Callable[[], Any], list[str], str]] = {
    "LLMAgent": (lambda: llm_agent(HELLO), ["invoke_agent Ada", "  chat gpt-9"], "completed"),
    "LLMAgent, plain text and no usage": (
        lambda: llm_agent(["Hel", "lo"]),
        ["invoke_agent Ada", "  chat gpt-9"],
        "completed",
    ),
    "LLMAgent, retry before the first chunk": (
        lambda: llm_agent([BUSY], HELLO),
        ["invoke_agent Ada", "  chat gpt-9", "    retry model"],
        "completed",
    ),
    "LLMAgent, all retries fail": (
        lambda: llm_agent([BUSY], [BUSY], [BUSY]),
        ["invoke_agent Ada", "  chat gpt-9", "    retry model", "    retry model"],
        "failed",
    ),
    "LLMAgent, error mid-stream": (
        lambda: llm_agent([text("Hel"), RuntimeError("provider exploded")]),
        ["invoke_agent Ada", "  chat gpt-9"],
        "failed",
    ),
    "ToolAgent, text": (lambda: tool_agent(HELLO), ["invoke_agent Ada", "  chat gpt-9"], "completed"),
    "ToolAgent, two tools": (
        lambda: tool_agent([text("Hm"), *calls("search_lookup", "search_boom"), usage()]),
        ["invoke_agent Ada", "  chat gpt-9", "  execute_tool search_lookup", "  execute_tool search_boom"],
        "completed",
    ),
    "ToolAgent, thinking": (
        lambda: tool_agent([thought("hm"), text("Hel"), usage()]),
        ["invoke_agent Ada", "  chat gpt-9"],
        "completed",
    ),
    "ToolAgent, text only with the usage": (
        lambda: tool_agent([usage(content="whole")]),  # type: ignore[arg-type]
        ["invoke_agent Ada", "  chat gpt-9"],
        "completed",
    ),
    "HybridAgent": (lambda: hybrid_agent(HELLO), ["invoke_agent Ada", "  step 1", "    chat gpt-9"], "completed"),
    "HybridAgent, thinking": (
        lambda: hybrid_agent([thought("hm"), *HELLO]),
        ["invoke_agent Ada", "  step 1", "    chat gpt-9"],
        "completed",
    ),
    "HybridAgent, retry before the first chunk": (
        lambda: hybrid_agent([ConnectionError("reset")], HELLO),
        ["invoke_agent Ada", "  step 1", "    chat gpt-9", "      retry model"],
        "completed",
    ),
    "HybridAgent, error mid-stream": (
        lambda: hybrid_agent([text("Hel"), RuntimeError("provider exploded")]),
        ["invoke_agent Ada", "  step 1", "    chat gpt-9"],
        "failed",
    ),
    "HybridAgent, unknown tool": (
        lambda: hybrid_agent([*calls("nope"), usage()], HELLO),
        ["invoke_agent Ada", "  step 1", "    chat gpt-9", "    execute_tool nope", "  step 2", "    chat gpt-9"],
        "completed",
    ),
    "HybridAgent, tools in two iterations": (
        lambda: hybrid_agent(
            [text("Hm"), *calls("search_lookup", "search_boom"), usage()], [*calls("search_lookup"), usage()], HELLO
        ),
        [
            "invoke_agent Ada",
            "  step 1",
            "    chat gpt-9",
            "    execute_tool search_lookup",
            "    execute_tool search_boom",
            "  step 2",
            "    chat gpt-9",
            "    execute_tool search_lookup",
            "  step 3",
            "    chat gpt-9",
        ],
        "completed",
    ),
    "HybridAgent, tools and no usage": (
        lambda: hybrid_agent([*calls("search_lookup")], [text("Hello")]),
        [
            "invoke_agent Ada",
            "  step 1",
            "    chat gpt-9",
            "    execute_tool search_lookup",
            "  step 2",
            "    chat gpt-9",
        ],
        "completed",
    ),
    "HybridAgent, out of iterations": (
        lambda: hybrid_agent([*calls("search_lookup"), usage()], iterations=1),
        ["invoke_agent Ada", "  step 1", "    chat gpt-9", "    execute_tool search_lookup"],
        "completed",
    ),
}


@pytest.mark.parametrize(("make", "tree", "outcome"), TREES.values(), ids=TREES)
async def test_a_task(make: Callable[[], Any], tree: list[str], outcome: str) -> None:
    seen = await both(make, task)
    assert seen.tree() == tree
    assert root(seen)["attributes"]["streamgauge.outcome"] == outcome
    assert root(seen)["status"] == ("ERROR" if outcome == "failed" else "UNSET")
    assert not any("streamgauge.end_unseen" in span["attributes"] for span in seen.spans)
    assert seen.value("streamgauge.streams", streamgauge_outcome=outcome) == 1
    assert not [name for name, family in seen.families.items() if "streamgauge.tap" in name and family.series]


# What it tells --------------------------------------------------------------------------------------------------


async def test_a_model_call_has_model_tokens_and_first_token() -> None:
    seen = await both(lambda: hybrid_agent([thought("hm"), *calls("search_lookup"), usage()], HELLO), task)
    for chat in named(seen, "chat gpt-9"):
        attributes = chat["attributes"]
        assert attributes["gen_ai.provider.name"] == "openai"
        assert attributes["gen_ai.request.model"] == "gpt-9"
        assert attributes["gen_ai.usage.input_tokens"] == 10
        assert attributes["gen_ai.usage.output_tokens"] == 4
        assert attributes["gen_ai.usage.cache_read.input_tokens"] == 3
        assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    labels = {"gen_ai_request_model": "gpt-9", "gen_ai_provider_name": "openai", "gen_ai_agent_name": "Ada"}
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="input", **labels) == 20
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="output", **labels) == 8
    assert seen.count("gen_ai.client.operation.time_to_first_chunk", gen_ai_operation_name="chat", **labels) == 2
    assert seen.value("streamgauge.stream.chunks", kind="text") == 2
    assert seen.value("streamgauge.stream.chunks", kind="reasoning") == 1
    assert seen.value("streamgauge.stream.chunks", kind="tool_call") == 2
    assert seen.value("streamgauge.stream.bytes", kind="tool_call") == len('{"q": "x"}')
    assert seen.value("gen_ai.invoke_agent.inference_calls") == 2
    assert seen.value("gen_ai.invoke_agent.tool_calls") == 1
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 1


async def test_the_thoughts_of_an_llm_agent_are_counted_though_it_hides_them() -> None:
    seen = await both(lambda: llm_agent([thought("hm"), *HELLO]), task)
    assert seen.value("streamgauge.stream.chunks", kind="reasoning") == 1
    assert seen.value("streamgauge.stream.chunks", kind="text") == 2


async def test_a_retry_has_its_reason() -> None:
    seen = await both(lambda: llm_agent([BUSY], [BUSY], HELLO), task)
    first, second = named(seen, "retry model")
    reason = "aiecs.llm.clients.base_client.RateLimitError"
    assert first["attributes"]["streamgauge.retry.attempt"] == 1
    assert second["attributes"]["streamgauge.retry.attempt"] == 2
    assert first["attributes"]["streamgauge.retry.reason"] == reason
    assert first["attributes"]["streamgauge.retry.delay_s"] > 0
    assert seen.value("streamgauge.retries", target="model", reason=reason) == 2
    assert [outcome for _, outcome in outcomes(seen)] == ["completed", "completed"]


async def test_an_error_has_the_type_of_the_exception() -> None:
    seen = await both(lambda: hybrid_agent([text("Hel"), RuntimeError("provider exploded")]), task)
    assert {span["attributes"]["error.type"] for span in seen.spans} == {"RuntimeError"}
    assert {span["status_message"] for span in named(seen, "chat gpt-9")} == {"provider exploded"}
    assert seen.value("streamgauge.streams", streamgauge_outcome="failed", error_type="RuntimeError") == 1


async def test_tools_are_told_apart_and_have_ids_and_durations() -> None:
    seen = await both(lambda: hybrid_agent([*calls("search_lookup", "search_boom"), usage()], HELLO), task)
    (chat, _), (lookup,), (boom,) = (
        named(seen, name) for name in ("chat gpt-9", "execute_tool search_lookup", "execute_tool search_boom")
    )
    assert chat["end"] <= lookup["start"] < lookup["end"] <= boom["start"] < boom["end"]
    assert lookup["attributes"]["gen_ai.tool.call.id"] == "call_1"
    assert boom["attributes"]["gen_ai.tool.call.id"] == "call_2"
    assert lookup["status"] == "UNSET"
    assert (boom["status"], boom["attributes"]["error.type"]) == ("ERROR", "tool_error")
    assert boom["status_message"] == "Tool execution failed: not here"
    assert not {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"} & lookup["attributes"].keys()
    assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name="search_lookup") == 1
    assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name="search_boom", error_type="tool_error") == 1


async def test_content_where_it_is_asked_for() -> None:
    with testing.recording(capture_content=True) as seen:
        await transcript(task(await ready(hybrid_agent([*calls("search_lookup"), usage()], HELLO))))
    (tool,) = named(seen, "execute_tool search_lookup")
    assert tool["attributes"]["gen_ai.tool.call.arguments"] == '{"q": "x"}'
    assert tool["attributes"]["gen_ai.tool.call.result"] == "result for x"
    assert [event["name"] for event in root(seen)["events"]] == ["aiecs.thought", "aiecs.action", "aiecs.thought"]
    assert "Hello" in root(seen)["events"][-1]["attributes"]["gen_ai.output.messages"]


async def test_a_tool_lasts_as_long_as_its_hidden_retries() -> None:
    """Three seconds, which is AIECS's own doing."""
    with testing.recording() as seen:
        agent = await ready(hybrid_agent([*calls("search_boom"), usage()], HELLO, tool=Search))
        events = await transcript(task(agent))
    assert "tool_error" in [event["type"] for _, event in events]
    (tool,) = named(seen, "execute_tool search_boom")
    assert tool["attributes"]["error.type"] == "ValueError"
    assert tool["end"] - tool["start"] > 1e9
    assert root(seen)["attributes"]["streamgauge.outcome"] == "completed"


async def test_a_task_that_names_its_tool() -> None:
    def told(agent: Any) -> AsyncIterator[Any]:
        given = {"tool": "search", "operation": "lookup", "parameters": {"q": "x"}}
        return agent.execute_task_streaming(given, {})  # type: ignore[no-any-return]

    seen = await both(tool_agent, told)
    assert seen.tree() == ["invoke_agent Ada", "  execute_tool search"]


async def test_running_out_of_iterations_is_told_by_the_finish_reason() -> None:
    seen = await both(lambda: hybrid_agent([*calls("search_lookup"), usage()], iterations=1), task)
    assert root(seen)["attributes"]["gen_ai.response.finish_reasons"] == ["max_iterations_reached"]
    assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 1


async def test_a_task_that_is_none() -> None:
    for make in (llm_agent, hybrid_agent):
        seen = await both(make, lambda agent: agent.execute_task_streaming({}, {}))
        assert root(seen)["attributes"]["error.type"] == "invalid_task"


@pytest.mark.parametrize(
    ("provider", "name", "tokens"),
    [
        ("OpenAI", "openai", (10, 4, 3, 2, 1)),
        ("AnthropicVertex", "anthropic", (15, 4, 3, 2, 1)),
        ("Vertex", "gcp.vertex_ai", (10, 5, 3, 2, 1)),
        ("xAI", "x_ai", (10, 4, 3, 2, 1)),
    ],
)
async def test_tokens_are_counted_as_the_conventions_do(provider: str, name: str, tokens: tuple[int, ...]) -> None:
    told = [text("Hello"), usage(cache_creation_tokens=2, thinking_tokens=1)]
    seen = await both(lambda: llm_agent(told, provider=provider), task)
    (chat,) = named(seen, "chat gpt-9")
    assert chat["attributes"]["gen_ai.provider.name"] == name
    names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_creation.input_tokens")
    found = [chat["attributes"][f"gen_ai.usage.{each}"] for each in (*names, "reasoning.output_tokens")]
    assert tuple(found) == tokens


# Messages -------------------------------------------------------------------------------------------------------

MESSAGES: dict[str, tuple[Callable[[], Any], list[str], str]] = {
    "LLMAgent": (lambda: llm_agent(HELLO), ["invoke_agent Ada", "  chat gpt-9"], "completed"),
    "ToolAgent": (
        lambda: tool_agent([*calls("search_lookup"), usage()]),
        ["invoke_agent Ada", "  chat gpt-9", "  execute_tool search_lookup"],
        "completed",
    ),
    "HybridAgent": (lambda: hybrid_agent(HELLO), ["invoke_agent Ada", "  step 1", "    chat gpt-9"], "completed"),
    "error": (
        lambda: llm_agent([text("Hel"), RuntimeError("provider exploded")]),
        ["invoke_agent Ada", "  chat gpt-9"],
        "failed",
    ),
}


@pytest.mark.parametrize(("make", "tree", "outcome"), MESSAGES.values(), ids=MESSAGES)
async def test_a_message_is_one_run(make: Callable[[], Any], tree: list[str], outcome: str) -> None:
    seen = await both(make, message)
    assert seen.tree() == tree
    assert root(seen)["attributes"]["streamgauge.outcome"] == outcome
    assert seen.value("streamgauge.streams", streamgauge_outcome=outcome) == 1


async def test_a_message_that_is_given_up_ends_at_once() -> None:
    """The agent leaves its own stream to be collected; the run does not wait for that."""
    with testing.recording() as seen:
        agent = await ready(llm_agent([text("Hel"), asyncio.Event()]))
        closed = message(agent)
        assert await anext(closed) == "Hel"
        await closed.aclose()  # type: ignore[attr-defined]
        assert outcomes(seen) == [("invoke_agent Ada", "abandoned"), ("chat gpt-9", "abandoned")]
        assert seen.open == 0
        await until(lambda: agent.state == AgentState.ACTIVE)


async def test_a_message_that_is_dropped_ends_at_once() -> None:
    with testing.recording() as seen:
        agent = await ready(llm_agent([text("Hel"), asyncio.Event()]))
        async for token in message(agent):
            assert token == "Hel"
            break
        assert outcomes(seen) == [("invoke_agent Ada", "abandoned"), ("chat gpt-9", "abandoned")]
        await until(lambda: agent.state == AgentState.ACTIVE)


async def test_a_message_that_is_never_read() -> None:
    with testing.recording() as seen:
        agent = await ready(llm_agent(HELLO))
        message(agent)
        gc.collect()
        assert outcomes(seen) == [("invoke_agent Ada", "abandoned")]
        assert len(await transcript(task(agent))) == 5


# Being left, in the midst ---------------------------------------------------------------------------------------


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 (the event loop's own collecting tells nobody; the test has a time limit)
        await asyncio.sleep(0)


async def read_until(stream: AsyncIterator[Any], type_: str) -> list[Any]:
    events = []
    async for event in stream:
        events.append(scrubbed(event))
        if event["type"] == type_:
            return events
    raise AssertionError(f"no {type_}")


@pytest.mark.parametrize("wrapped", [False, True], ids=["unwrapped", "wrapped"])
async def test_closed_early(wrapped: bool) -> None:
    model = Script([text("Hel"), asyncio.Event()])
    agent = HybridAgent(agent_id="a1", name="Ada", llm_client=model, tools={"search": Quick()}, config=configured())
    with testing.recording() as seen:
        double = await ready(agent) if wrapped else agent
        if not wrapped:
            await agent.initialize()
        stream = task(double)
        assert inspect.isasyncgen(stream) or wrapped
        await read_until(stream, "token")
        await stream.aclose()  # type: ignore[attr-defined]
        assert agent.state == AgentState.ACTIVE
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await until(lambda: model.closed == 1)
        if wrapped:
            names = ["invoke_agent Ada", "step 1", "chat gpt-9"]
            assert outcomes(seen) == [(name, "abandoned") for name in names]
            assert root(seen)["status"] == "UNSET"


async def test_dropped() -> None:
    with testing.recording() as seen:
        agent = await ready(hybrid_agent([text("Hel"), asyncio.Event()]))
        await read_until(task(agent), "token")
        assert {outcome for _, outcome in outcomes(seen)} == {"abandoned"}
        assert seen.open == 0
        await until(lambda: agent.state == AgentState.ACTIVE)


@pytest.mark.parametrize("stream", [task, message])
async def test_cancelled(stream: Callable[[Any], AsyncIterator[Any]]) -> None:
    with testing.recording() as seen:
        agent = await ready(hybrid_agent([text("Hel"), asyncio.Event()]))
        reached = asyncio.Event()

        async def read() -> None:
            async for event in stream(agent):
                if event == "Hel" or event["type"] == "token":
                    reached.set()

        reader = asyncio.ensure_future(read())
        await reached.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        names = ["invoke_agent Ada", "step 1", "chat gpt-9"]
        assert outcomes(seen) == [(name, "cancelled") for name in names]
        await until(lambda: agent.state == AgentState.ACTIVE)


async def test_a_busy_agent() -> None:
    go = asyncio.Event()
    with testing.recording() as seen:
        agent = await ready(llm_agent([text("Hel"), go, text("lo"), usage()]))
        first = task(agent)
        await read_until(first, "token")
        ((_, refused),) = await transcript(task(agent))
        assert refused["type"] == "error"
        go.set()
        assert [event["type"] for _, event in await transcript(first)] == ["token", "cache_status", "result"]
        assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9", "invoke_agent Ada"]
        busy = {"streamgauge_outcome": "failed", "error_type": "InvalidStateTransitionError"}
        assert seen.value("streamgauge.streams", **busy) == 1
        assert seen.value("streamgauge.streams", streamgauge_outcome="completed") == 1


async def test_several_agents_at_once() -> None:
    count = 8
    turns = [[text("a"), *calls("search_lookup"), usage()], HELLO]
    alone = hybrid_agent(*turns)
    await alone.initialize()
    expected = await transcript(task(alone))
    with testing.recording() as seen:
        agents = [await ready(hybrid_agent(*turns)) for _ in range(count)]
        assert await asyncio.gather(*(transcript(task(agent)) for agent in agents)) == [expected] * count
        tree = ["invoke_agent Ada", "  step 1", "    chat gpt-9", "    execute_tool search_lookup", "  step 2"]
        assert seen.tree() == [*tree, "    chat gpt-9"] * count
        assert len({span["trace_id"] for span in seen.spans}) == count
        assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="input") == 20 * count


# Nested runs ----------------------------------------------------------------------------------------------------

GATHERED = [[*calls("search_lookup"), usage()], [text("facts\n"), text("<STEP_DONE>"), usage()]]
SUMMED = [text("summary\n"), text("<ALL_DONE>"), usage()]
NESTED = [
    "invoke_agent mini-flow",
    "  step gather-facts",
    "    chat gpt-9",
    "    execute_tool search_lookup",
    "    chat gpt-9",
    "  step summarize",
    "    chat gpt-9",
]


@pytest.mark.parametrize("boundary", [True, False], ids=["ends marked", "ends not marked"])
async def test_a_nested_run(tmp_path: Path, boundary: bool) -> None:
    seen = await both(lambda: nested_agent(tmp_path, *GATHERED, SUMMED, HELLO, boundary=boundary), task)
    assert seen.tree() == ["invoke_agent Ada", *(f"  {line}" for line in NESTED), "  step 1", "    chat gpt-9"]
    assert {outcome for _, outcome in outcomes(seen)} == {"completed"}
    assert not any("streamgauge.end_unseen" in span["attributes"] for span in seen.spans)
    assert seen.value("gen_ai.invoke_agent.inference_calls", gen_ai_agent_name="mini-flow") == 3
    (nested,), (step,) = named(seen, "invoke_agent mini-flow"), named(seen, "step 1")
    assert nested["end"] <= step["start"]


async def test_a_nested_run_that_an_answer_triggers(tmp_path: Path) -> None:
    placement = "on_response_trigger\ndawp_trigger: <GO_DAWP>"
    turns = [[text("ok\n"), text("<GO_DAWP>"), usage()], *GATHERED, SUMMED, HELLO]
    seen = await both(lambda: nested_agent(tmp_path, *turns, placement=placement), task)
    assert seen.tree() == [
        "invoke_agent Ada",
        "  step 1",
        "    chat gpt-9",
        *(f"    {line}" for line in NESTED),
        "  step 2",
        "    chat gpt-9",
    ]


@pytest.mark.parametrize("boundary", [True, False], ids=["ends marked", "ends not marked"])
async def test_a_nested_run_that_fails(tmp_path: Path, boundary: bool) -> None:
    turns = [[text("fa"), RuntimeError("nested exploded")]]
    seen = await both(lambda: nested_agent(tmp_path, *turns, boundary=boundary), task)
    assert seen.tree() == ["invoke_agent Ada", *(f"  {line}" for line in NESTED[:3])]
    assert {outcome for _, outcome in outcomes(seen)} == {"failed"}
    assert {span["attributes"]["error.type"] for span in seen.spans} == {"RuntimeError"}


async def test_a_nested_run_that_is_not_completed(tmp_path: Path) -> None:
    """Its budget is the whole task's."""
    seen = await both(lambda: nested_agent(tmp_path, HELLO, HELLO, iterations=2), task)
    assert [outcome for name, outcome in outcomes(seen) if "mini-flow" in name or "step" in name] == ["failed"] * 2
    assert named(seen, "step gather-facts")[0]["attributes"]["error.type"] == "incomplete"
    assert root(seen)["attributes"]["streamgauge.outcome"] == "completed"


async def test_a_structured_result_of_a_nested_run(tmp_path: Path) -> None:
    def structured(agent: Any) -> AsyncIterator[Any]:
        return agent.execute_task_streaming(TASK, {"dawp_emit_structured_result": True})  # type: ignore[no-any-return]

    seen = await both(lambda: nested_agent(tmp_path, *GATHERED, SUMMED, HELLO), structured)
    (noted,) = (event for event in root(seen)["events"] if event["name"] == "aiecs.dawp_result")
    assert noted["attributes"] == {"gen_ai.response.finish_reasons": ("completed",)}


async def test_closing_inside_a_nested_run_is_as_bad_as_it_is(tmp_path: Path) -> None:
    """AIECS yields while it is being closed; the event loop is told, the caller is not."""
    loop = asyncio.get_running_loop()

    async def close_inside(agent: Any) -> list[str]:
        told: list[str] = []
        loop.set_exception_handler(lambda _, context: told.append(f"{context['message']}: {context.get('exception')}"))
        try:
            stream = task(agent)
            await read_until(stream, "token")
            await stream.aclose()  # type: ignore[attr-defined]
            del stream
            for _ in range(50):
                await asyncio.sleep(0)
                gc.collect(0)
        finally:
            loop.set_exception_handler(None)
        return [re.sub(r"<.*>", "", line) for line in told]

    plain = nested_agent(tmp_path, [text("facts"), asyncio.Event()])
    await plain.initialize()
    expected = await close_inside(plain)
    assert any("async generator ignored GeneratorExit" in line for line in expected)
    with testing.recording() as seen:
        agent = await ready(nested_agent(tmp_path, [text("facts"), asyncio.Event()]))
        assert await close_inside(agent) == expected
        assert agent.state == plain.state
        assert seen.tree() == ["invoke_agent Ada", *(f"  {line}" for line in NESTED[:3])]
        assert {outcome for _, outcome in outcomes(seen)} == {"abandoned"}


# Agents of one's own --------------------------------------------------------------------------------------------


class Own(BaseAIAgent):
    """An agent that streams nothing itself: the base class makes a stream of its one answer."""

    def __init__(self, model: Any = None) -> None:
        super().__init__("o1", "Own", AgentType.CONVERSATIONAL, configured(), llm_client=model)

    async def _initialize(self) -> None:
        pass

    async def _shutdown(self) -> None:
        pass

    async def execute_task(self, task: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        if "fail" in task:
            raise TaskExecutionError("cannot", agent_id=self.agent_id)
        answer = await self._call_llm([], context) if self._llm_client else None
        return {"success": True, "output": answer.content if answer else "done"}

    async def process_message(self, message: str, sender_id: str | None = None) -> dict[str, Any]:
        return {"response": f"you said {message}"}


class Streaming(Own):
    """An agent with events of its own making."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        super().__init__()
        self.events = events

    async def execute_task_streaming(self, task: Any, context: Any) -> AsyncIterator[dict[str, Any]]:
        for event in self.events:
            yield event


async def test_an_agent_that_streams_nothing() -> None:
    seen = await both(Own, task)
    assert seen.tree() == ["invoke_agent Own"]
    assert root(seen)["attributes"]["streamgauge.outcome"] == "completed"


async def test_a_whole_answer_is_a_model_call_too() -> None:
    answer = LLMResponse(
        "Hello", "openai", "gpt-9-mini", prompt_tokens=10, completion_tokens=4,
        metadata={"response_id": "r1", "stop_reason": "stop"},
    )  # fmt: skip
    seen = await both(lambda: Own(Script([BUSY], [answer])), task)
    assert seen.tree() == ["invoke_agent Own", "  chat gpt-9", "  chat gpt-9"]
    failed, chat = named(seen, "chat gpt-9")
    assert failed["attributes"]["error.type"] == "aiecs.llm.clients.base_client.RateLimitError"
    assert chat["attributes"]["gen_ai.request.stream"] is False
    assert chat["attributes"]["gen_ai.response.model"] == "gpt-9-mini"
    assert chat["attributes"]["gen_ai.response.id"] == "r1"
    assert chat["attributes"]["gen_ai.response.finish_reasons"] == ["stop"]
    assert chat["attributes"]["gen_ai.usage.input_tokens"] == 10


async def test_an_error_event_and_then_the_exception() -> None:
    seen = await both(Own, lambda agent: agent.execute_task_streaming({"fail": 1}, context={}))
    assert root(seen)["attributes"]["streamgauge.outcome"] == "failed"
    assert "cannot" in root(seen)["status_message"]


async def test_a_message_that_no_task_is_behind() -> None:
    seen = await both(Own, message)
    assert seen.tree() == ["invoke_agent Own"]
    assert root(seen)["attributes"]["streamgauge.outcome"] == "completed"
    assert seen.value("streamgauge.stream.chunks", kind="text") == 1


async def test_events_are_the_same_objects() -> None:
    events = [{"type": "started"}, {"type": "token", "content": "x"}, {"type": "result"}]
    with testing.recording():
        agent = await ready(Streaming(events))
        for event, expected in zip([event async for event in task(agent)], events, strict=True):
            assert event is expected


async def test_a_stream_that_only_stops_is_truncated() -> None:
    with testing.recording() as seen:
        await transcript(task(await ready(Streaming([{"type": "started"}, {"type": "token", "content": "x"}]))))
    assert outcomes(seen) == [("invoke_agent Own", "truncated"), ("chat gpt-9", "truncated")]


async def test_each_strategy_of_a_recovery_is_a_run() -> None:
    def recovering(agent: Any) -> AsyncIterator[Any]:
        return agent.execute_with_recovery_streaming(TASK, {}, strategies=["retry", "simplify"])  # type: ignore[no-any-return]

    seen = await both(lambda: llm_agent([RuntimeError("no")], HELLO), recovering)
    assert [outcome for name, outcome in outcomes(seen) if "invoke" in name] == ["failed", "completed"]


async def test_wrong_arguments_are_refused_as_ever() -> None:
    with testing.recording() as seen:
        agent = await ready(llm_agent(HELLO))
        for call in (agent.execute_task_streaming, agent.process_message_streaming):
            with pytest.raises(TypeError, match="required positional argument"):
                call()
        assert {outcome for _, outcome in outcomes(seen)} == {"failed"}
        assert len(outcomes(seen)) == 2


# The drop-in itself ---------------------------------------------------------------------------------------------


async def test_what_the_user_says_wins() -> None:
    with testing.recording() as seen:
        agent = await ready(llm_agent(HELLO), agent_name="Bob", provider_name="mine", conversation_id="c1")
        await transcript(agent.execute_task_streaming(TASK, {"session_id": "s1"}))
        attributes = root(seen)["attributes"]
        assert root(seen)["name"] == "invoke_agent Bob"
        assert attributes["gen_ai.provider.name"] == "mine"
        assert attributes["gen_ai.conversation.id"] == "c1"


async def test_the_session_is_the_conversation() -> None:
    with testing.recording() as seen:
        agent = await ready(llm_agent(HELLO))
        await transcript(agent.execute_task_streaming(TASK, context={"session_id": "s1"}))
    assert root(seen)["attributes"]["gen_ai.conversation.id"] == "s1"


async def test_wrapped_twice_is_told_once() -> None:
    with testing.recording() as seen:
        agent = await ready(streamgauge.wrap(llm_agent(HELLO)))
        await transcript(task(agent))
        assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9"]


async def test_the_agent_itself_is_left_as_it_is() -> None:
    with testing.recording() as seen:
        agent = llm_agent(HELLO)
        model = agent.llm_client
        double = streamgauge.wrap(agent)
        await double.initialize()
        await transcript(task(agent))
        assert agent.llm_client is model
        assert type(agent) is LLMAgent
        assert seen.spans == []


async def test_the_model_client_passes_for_the_users() -> None:
    agent = llm_agent(HELLO)
    model = agent.llm_client
    double = streamgauge.wrap(agent)
    seen = double.llm_client
    assert isinstance(seen, Script)
    assert seen is double.llm_client
    assert original(seen) is model
    assert seen.provider_name == "OpenAI"
    assert inspect.signature(seen.generate_text) == inspect.signature(model.generate_text)
    assert inspect.signature(seen.stream_text) == inspect.signature(model.stream_text)
    assert inspect.iscoroutinefunction(seen.generate_text)
    # Outside of the agent's streams it is the user's.
    stream = seen.stream_text([])
    assert inspect.isasyncgen(stream)
    assert [chunk.type async for chunk in stream] == ["token", "token", "usage"]
    assert model.calls == 1


async def test_another_model_client_takes_its_place() -> None:
    with testing.recording() as seen:
        agent = llm_agent([])
        double = await ready(agent)
        other = Script(HELLO, provider="xAI")
        double.llm_client = other
        assert agent.llm_client is other
        double.llm_client = double.llm_client
        assert agent.llm_client is other
        await transcript(task(double))
        assert root(seen)["attributes"]["gen_ai.provider.name"] == "x_ai"
        assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9"]
        del double.llm_client
        for each in (agent, double):
            with pytest.raises(AttributeError, match="llm_client"):
                _ = each.llm_client
        with pytest.raises(AttributeError, match="llm_client"):
            del double.llm_client


class Iterable:
    """What `stream_text` may also return: something that gives its iterator when it is asked."""

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks = chunks
        self.extra = "kept"

    async def __aiter__(self) -> AsyncIterator[Any]:
        for chunk in self.chunks:
            yield chunk


class Odd:
    """A model client that is no BaseLLMClient, and has its streams ready made."""

    provider_name = "odd"

    def __init__(self, chunks: Any) -> None:
        self.chunks = chunks

    async def generate_text(self, **kwargs: Any) -> Any:
        raise AssertionError("not called")

    def stream_text(self, **kwargs: Any) -> Any:
        if isinstance(self.chunks, Exception):
            raise self.chunks
        return Iterable(self.chunks)

    async def close(self) -> None:
        pass


def odd_agent(chunks: Any, **replaced: Any) -> LLMAgent:
    model = Odd(chunks)
    vars(model).update(replaced)
    return LLMAgent(agent_id="a1", name="Ada", llm_client=model, config=configured())


async def test_a_model_client_of_ones_own() -> None:
    seen = await both(lambda: odd_agent(HELLO), task)
    (chat,) = named(seen, "chat gpt-9")
    assert chat["attributes"]["gen_ai.usage.input_tokens"] == 10
    assert chat["attributes"]["gen_ai.provider.name"] == "odd"


async def test_a_model_client_that_fails_before_it_streams() -> None:
    seen = await both(lambda: odd_agent(KeyError("key")), task)
    assert {span["attributes"]["error.type"] for span in seen.spans} == {"KeyError"}


async def test_a_model_client_that_cannot_be_told_of_is_seen_by_the_events() -> None:
    def stream(**kwargs: Any) -> Any:
        return Iterable(HELLO)

    seen = await both(lambda: odd_agent([], stream_text=stream), task)
    assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9"]
    (chat,) = named(seen, "chat gpt-9")
    assert chat["attributes"]["gen_ai.usage.cache_read.input_tokens"] == 3
    assert "gen_ai.usage.input_tokens" not in chat["attributes"]


async def test_a_model_client_that_lets_nothing_be_made_of_it() -> None:
    class Final(Odd):
        def __init_subclass__(cls) -> None:
            raise TypeError("final")

    def make() -> LLMAgent:
        return LLMAgent(agent_id="a1", name="Ada", llm_client=Final(HELLO), config=configured())

    seen = await both(make, task)
    assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9"]


async def test_a_model_client_that_only_streams() -> None:
    class Only:
        stream_text = Odd.stream_text
        chunks = HELLO

    seen = await both(lambda: Own(Only()), lambda agent: own_stream(agent))
    assert seen.tree() == ["invoke_agent Own"]


async def own_stream(agent: Own) -> AsyncIterator[Any]:
    """A model call outside of the agent's streams, then a task that fails for want of `generate_text`."""
    async for chunk in agent._llm_client.stream_text():  # type: ignore[union-attr]
        yield chunk.type
    async for event in task(agent):
        yield event


async def test_an_agent_that_keeps_its_model_client_its_own_way() -> None:
    class Keeping(LLMAgent):
        kept: Any = None

        @property
        def llm_client(self) -> Any:
            return self.kept

        @llm_client.setter
        def llm_client(self, model: Any) -> None:
            self.kept = model

    def make() -> LLMAgent:
        return Keeping(agent_id="a1", name="Ada", llm_client=Script(HELLO), config=configured())

    seen = await both(make, task)
    assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9"]


async def test_an_agent_of_which_nothing_is_known() -> None:
    class Secretive(LLMAgent):
        def get_config(self) -> Any:
            raise PermissionError

    def make() -> LLMAgent:
        return Secretive(agent_id="a1", name="Ada", llm_client=Script(HELLO), config=configured())

    seen = await both(make, task)
    assert seen.tree() == ["invoke_agent", "  chat gpt-9"]


async def test_an_error_that_cannot_be_put_into_words() -> None:
    class Wordless(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    seen = await both(lambda: llm_agent([Wordless()]), task)
    (chat,) = named(seen, "chat gpt-9")
    assert chat["attributes"]["error.type"].endswith("Wordless")
    assert "no words" not in chat["status_message"]
    assert root(seen)["status_message"] == "no words"


async def test_a_message_can_be_driven_by_hand() -> None:
    def driven(agent: Any) -> AsyncIterator[Any]:
        async def read() -> AsyncIterator[Any]:
            stream: Any = message(agent)
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    yield await stream.asend(None)

        return read()

    seen = await both(lambda: llm_agent(HELLO), driven)
    assert seen.tree() == ["invoke_agent Ada", "  chat gpt-9"]
    assert seen.value("streamgauge.stream.chunks", kind="text") == 2
    seen = await both(Own, driven)
    assert seen.value("streamgauge.stream.chunks", kind="text") == 1


async def test_a_model_stream_passes_for_the_clients() -> None:
    watched: list[Any] = []

    class Watching(LLMAgent):
        async def _stream_llm(self, messages: Any, context: Any, **extra: Any) -> AsyncIterator[Any]:
            stream = self.llm_client.stream_text(messages=messages)
            watched.append((isinstance(stream, Iterable), stream.extra, hasattr(stream, "aclose")))
            async for chunk in stream:
                yield chunk

    def make() -> LLMAgent:
        return Watching(agent_id="a1", name="Ada", llm_client=Odd(HELLO), config=configured())

    await both(make, task)
    assert watched == [(True, "kept", False)] * 3


async def test_a_model_call_in_another_run_is_not_told_there() -> None:
    double = streamgauge.wrap(llm_agent([LLMResponse("x", "openai", "m")]))

    async def other() -> AsyncIterator[str]:
        response = await double.llm_client.generate_text([])
        yield response.content

    with testing.recording() as seen:
        assert [item async for item in streamgauge.wrap(other())] == ["x"]
        assert seen.tree() == ["invoke_agent"]


async def test_an_agent_that_uses_another_as_its_tool() -> None:
    inner = streamgauge.wrap(hybrid_agent(HELLO), agent_name="Inner")

    class Ask(BaseTool):
        async def run_async(self, operation: str | None = None, **kwargs: Any) -> Any:
            await inner.initialize()
            return "".join([token async for token in message(inner)])

        def lookup(self, q: str) -> str:
            """Ask."""
            return ""

    with testing.recording() as seen:
        await transcript(task(await ready(hybrid_agent([*calls("search_lookup"), usage()], HELLO, tool=Ask))))
        tree = seen.tree()
    assert [line.strip() for line in tree].count("chat gpt-9") == 3
    (found,) = named(seen, "invoke_agent Inner")
    assert found["parent"] is not None
    assert len({span["trace_id"] for span in seen.spans}) == 1


def test_what_is_no_agent_is_not_known() -> None:
    for obj in (Script(), HybridAgent, Search):
        assert client.wrap(obj, None) is None  # type: ignore[arg-type]


def test_the_dialect_names_every_event_of_the_source() -> None:
    """Each dict with a type that the package makes where an event is made."""
    package = Path(inspect.getfile(BaseAIAgent)).parent
    files = [
        *(package / f"{name}_agent.py" for name in ("base", "llm", "tool", "hybrid")),
        package / "plugins" / "manager.py",
        package / "plugins" / "dawp" / "loop_scope.py",
        package / "plugins" / "hooks" / "dispatch.py",
        package / "verification" / "dawp_result.py",
    ]
    found = {name for file in files for name in re.findall(r'"type": "(\w+)"', file.read_text())}
    kinds_of_something_else = {"function", "fc", "preference", "history", "config", "analysis"}
    assert found - kinds_of_something_else <= set(Aiecs.events)
    assert set(Aiecs.events) - found <= {"dawp_result"}
