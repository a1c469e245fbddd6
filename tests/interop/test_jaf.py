"""The real jaf package, unwrapped and wrapped, with scripted models: the same transcript, and what it tells.

JAF 2.6.22 wakes the reader of `run_streaming` for tool events only. A stream completes if its reader is slower than the
run, and otherwise waits for ever. `patient` is such a slow reader: after each event it waits until the run's tasks are
done.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import asks the network for prices

import jaf
import pytest
from jaf.core.agent_tool import create_agent_tool
from jaf.core.handoff import handoff_tool
from jaf.core.streaming import StreamingCollector, run_streaming
from jaf.core.types import (
    Agent,
    CompletionStreamChunk,
    ContentRole,
    Message,
    ModelConfig,
    RunConfig,
    RunState,
    ToolCallDelta,
    ToolCallFunctionDelta,
    ToolSchema,
    generate_run_id,
    generate_trace_id,
)
from jaf.providers.model import make_litellm_provider
from opentelemetry import trace
from pydantic import BaseModel

import streamgauge
from streamgauge import testing

GIVE_UP_S = 10  # by then a test has failed
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}

# Scripted models and tools ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """A piece of a tool call."""

    name: str | None = None
    arguments: str = "{}"
    id: str | None = None
    index: int = 0


class Model:
    """A model provider that has no stream. A turn is a list of texts, `Ask`s, exceptions, and events to wait for."""

    def __init__(self, *turns: list[Any]) -> None:
        self.turns = list(turns)
        self.configs: list[Any] = []
        self.called = asyncio.Event()
        self.label = "scripted"

    def turn(self, config: Any) -> list[Any]:
        self.configs.append(config)
        self.called.set()
        return self.turns[len(self.configs) - 1]

    async def get_completion(self, state: Any, agent: Any, config: Any) -> dict[str, Any]:
        text = ""
        calls: dict[int, dict[str, Any]] = {}
        for piece in self.turn(config):
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, str):
                text += piece
            elif piece.index in calls:
                calls[piece.index]["function"]["arguments"] += piece.arguments
            else:
                function = {"name": piece.name, "arguments": piece.arguments}
                calls[piece.index] = {"id": piece.id or "call_0", "type": "function", "function": function}
        message = {"content": text, "tool_calls": list(calls.values()) or None}
        return {"id": "r", "model": "m-1", "message": message, "usage": USAGE}


class StreamingModel(Model):
    async def get_completion_stream(self, state: Any, agent: Any, config: Any) -> AsyncIterator[CompletionStreamChunk]:
        for piece in self.turn(config):
            await asyncio.sleep(0)  # as a real one, it gives way between pieces
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, str):
                yield CompletionStreamChunk(delta=piece, raw={"model": "m-1"})
            else:
                function = ToolCallFunctionDelta(name=piece.name, arguments_delta=piece.arguments)
                yield CompletionStreamChunk(
                    tool_call_delta=ToolCallDelta(index=piece.index, id=piece.id, function=function)
                )
        yield CompletionStreamChunk(is_done=True, finish_reason="stop", raw={"usage": USAGE, "id": "r", "model": "m-1"})


class Arguments(BaseModel):
    q: str = ""


@dataclass
class FunctionTool:
    name: str
    body: Callable[[Any], Awaitable[str]]
    asks: bool = False

    @property
    def schema(self) -> ToolSchema[Any]:
        return ToolSchema(name=self.name, description=self.name, parameters=Arguments)

    @property
    def needs_approval(self) -> bool:
        return self.asks

    async def execute(self, args: Any, context: Any) -> str:
        return await self.body(args)


async def found(args: Any) -> str:
    await asyncio.sleep(0)
    return f"result for {args.q}"


async def broken(args: Any) -> str:
    raise ValueError("tool boom")


def agent(name: str, *tools: Any, **fields: Any) -> Agent[Any, Any]:
    return Agent(name=name, instructions=lambda state: "Help.", tools=list(tools), **fields)


def setting(model: Any, *agents: Any, context: Any = None, **fields: Any) -> tuple[Any, Any]:
    """A state and a configuration; the first agent begins."""
    state = RunState(
        run_id=generate_run_id(),
        trace_id=generate_trace_id(),
        messages=[Message(role=ContentRole.USER, content="hello")],
        current_agent_name=agents[0].name,
        context={} if context is None else context,
        turn_count=0,
    )
    return state, RunConfig(agent_registry={agent.name: agent for agent in agents}, model_provider=model, **fields)


SEARCH = Ask("search", '{"q": "x"}', "c1")
DONE = ["Do", "ne"]
WORKER = agent("a1", FunctionTool("search", found), FunctionTool("broken", broken), handoff_tool, handoffs=["b1"])

SCENARIOS: dict[str, list[list[Any]]] = {
    "one tool": [[Ask("search", '{"q"', "c1"), Ask(None, ': "x"}')], DONE],
    "tool failure": [[Ask("broken", "{}", "c1")], DONE],
    "unknown tool": [[Ask("nothing", "{}", "c1")], DONE],
    "two parallel tools": [[SEARCH, Ask("broken", "{}", "c2", 1)], DONE],
    "two turns": [[SEARCH], [Ask("search", "{}", "c2")], DONE],
    "handoff": [[Ask("handoff", '{"agent_name": "b1", "message": "take over"}', "c1")], DONE],
    "failure mid-stream": [[SEARCH], ["par", RuntimeError("cut")], ["recovered"]],
    "empty answer": [[SEARCH], [], DONE],
    "model failure": [[SEARCH], [RuntimeError("down")], [RuntimeError("still down")]],
    "call without id": [[Ask("search", "{}")], DONE],
}


def scene(name: str, kind: type[Model] = StreamingModel) -> tuple[Any, Any]:
    turns = SCENARIOS[name]
    return setting(kind(*turns), WORKER, agent("b1"), max_turns=4)


# Reading ------------------------------------------------------------------------------------------------------


async def at_rest(before: set[Any]) -> None:
    """Wait until all tasks but those of `before` are done."""
    while others := asyncio.all_tasks() - before - {asyncio.current_task()}:
        await asyncio.wait(others)


async def patient(stream: Any) -> list[Any]:
    before = asyncio.all_tasks()
    events = []
    async with asyncio.timeout(GIVE_UP_S):
        async for event in stream:
            events.append(event)
            await at_rest(before)
    return events


def transcript(events: list[Any]) -> list[Any]:
    """Types and values, but for ids and times."""
    rows = []
    for event in events:
        assert type(event) is jaf.StreamingEvent
        data = asdict(event.data)
        data.pop("execution_time_ms", None)
        rows.append((event.type, type(event.data), data))
    return rows


def facts(seen: testing.Seen, name: str) -> dict[str, Any]:
    """The attributes of the only span of that name."""
    [span] = [span for span in seen.spans if span["name"] == name]
    return dict(span["attributes"])


def outcomes(seen: testing.Seen) -> list[tuple[str, str, str | None]]:
    return sorted(
        (span["name"], span["attributes"].get("streamgauge.outcome", ""), span["attributes"].get("error.type"))
        for span in seen.spans
    )


# run_streaming ------------------------------------------------------------------------------------------------

ROOT = "invoke_agent a1"
STREAMED_TREES = {
    "one tool": [ROOT, "  step 1", "    chat", "    execute_tool search", "  step 2", "    chat"],
    "tool failure": [ROOT, "  step 1", "    chat", "    execute_tool broken", "  step 2", "    chat"],
    "unknown tool": [ROOT, "  step 1", "    chat", "    execute_tool nothing", "  step 2", "    chat"],
    "two parallel tools": [
        ROOT, "  step 1", "    chat", "    execute_tool search", "    execute_tool broken", "  step 2", "    chat",
    ],
    "two turns": [
        ROOT, "  step 1", "    chat", "    execute_tool search", "  step 2", "    chat", "    execute_tool search",
        "  step 3", "    chat",
    ],
    "handoff": [ROOT, "  step 1", "    chat", "    execute_tool handoff", "  step 2", "    chat"],
    "failure mid-stream": [
        ROOT, "  step 1", "    chat", "    execute_tool search", "  step 2", "    chat", "    retry model", "    chat",
    ],
    "empty answer": [
        ROOT, "  step 1", "    chat", "    execute_tool search", "  step 2", "    chat", "    retry model", "    chat",
    ],
    "model failure": [
        ROOT, "  step 1", "    chat", "    execute_tool search", "  step 2", "    chat", "    retry model", "    chat",
    ],
    "call without id": [ROOT, "  step 1", "    chat", "    execute_tool search", "  step 2", "    chat"],
}  # fmt: skip


@pytest.mark.parametrize("kind", [StreamingModel, Model])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_stream_is_the_same_and_tells_its_tree(name: str, kind: type[Model]) -> None:
    if kind is Model and name == "failure mid-stream":
        name = "one tool"  # without a stream there is no middle
    original = transcript(await patient(run_streaming(*scene(name, kind))))
    with testing.recording() as seen:
        wrapped = transcript(await patient(streamgauge.wrap(run_streaming)(*scene(name, kind))))

    tree = STREAMED_TREES[name]
    if kind is Model and name == "model failure":
        tree = tree[:-2]  # without a stream JAF has nothing to fall back from
    assert wrapped == original
    assert seen.tree() == tree
    assert seen.open == 0
    failed = name == "model failure"
    assert facts(seen, ROOT)["streamgauge.outcome"] == ("failed" if failed else "completed")
    assert facts(seen, ROOT).get("error.type") == ("ModelBehaviorError" if failed else None)
    assert facts(seen, ROOT)["streamgauge.stream.granularity"] == ("token" if kind is StreamingModel else "message")
    assert not any("streamgauge.end_unseen" in span["attributes"] for span in seen.spans)


async def test_model_calls_are_measured_at_the_provider_and_slices_are_not_counted_again() -> None:
    with testing.recording() as seen:
        events = await patient(streamgauge.wrap(run_streaming)(*scene("one tool"), 1))

    assert sum(event.type == "chunk" for event in events) == 4  # slices of one character
    assert seen.value("streamgauge.stream.chunks", kind="text") == 2
    assert seen.value("streamgauge.stream.chunks", kind="tool_call") == 2
    assert seen.value("streamgauge.stream.bytes", kind="text") == 4
    assert seen.count("gen_ai.client.token.usage", gen_ai_token_type="input") == 2
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="output") == 4
    assert seen.value("gen_ai.invoke_agent.inference_calls", gen_ai_agent_name="a1") == 2
    assert seen.value("gen_ai.invoke_agent.tool_calls", gen_ai_agent_name="a1") == 1
    assert seen.count("gen_ai.client.operation.time_to_first_chunk", streamgauge_stream_granularity="token") == 3
    chats = [span for span in seen.spans if span["name"] == "chat"]
    assert [chat["attributes"]["gen_ai.response.finish_reasons"] for chat in chats] == [["stop"], ["stop"]]
    assert {chat["attributes"]["gen_ai.response.model"] for chat in chats} == {"m-1"}
    root = facts(seen, ROOT)
    assert root["gen_ai.response.time_to_first_chunk"] == pytest.approx(
        (chats[0]["start"] - seen.spans[-1]["start"]) / 1e9
        + chats[0]["attributes"]["gen_ai.response.time_to_first_chunk"]
    )


async def test_a_tool_s_failure_has_a_type_and_the_run_goes_on() -> None:
    with testing.recording() as seen:
        await patient(streamgauge.wrap(run_streaming)(*scene("two parallel tools")))

    assert [row for row in outcomes(seen) if row[0].startswith("execute_tool")] == [
        ("execute_tool broken", "failed", "execution_error"),
        ("execute_tool search", "completed", None),
    ]
    assert facts(seen, "execute_tool search")["gen_ai.tool.call.id"] == "c1"
    assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name="broken", error_type="execution_error") == 1


async def test_a_tool_s_times_are_its_own_however_late_its_events_are_read() -> None:
    with testing.recording() as seen:
        await patient(streamgauge.wrap(run_streaming)(*scene("one tool")))

    spans = {span["name"]: span for span in seen.spans}
    first, second = (span for span in seen.spans if span["name"] == "chat")
    assert first["end"] <= spans["execute_tool search"]["start"]
    assert spans["execute_tool search"]["end"] <= second["start"] == spans["step 1"]["end"]


@pytest.mark.parametrize(
    ("name", "reason"), [("failure mid-stream", "RuntimeError"), ("empty answer", "empty_response")]
)
async def test_what_jaf_silently_tries_again_is_a_retry(name: str, reason: str) -> None:
    with testing.recording() as seen:
        await patient(streamgauge.wrap(run_streaming)(*scene(name)))

    assert seen.value("streamgauge.retries", target="model", reason=reason) == 1
    assert facts(seen, "retry model")["streamgauge.retry.attempt"] == 1


async def test_a_refused_tool_call_is_cancelled_and_waiting_for_approval_raises_as_jaf_does() -> None:
    turns = [[Ask("search", "{}", "c1")], DONE]
    asking = agent("a1", FunctionTool("search", found, asks=True))
    with testing.recording() as seen, pytest.raises(AttributeError) as wrapped:
        await patient(streamgauge.wrap(run_streaming)(*setting(StreamingModel(*turns), asking)))
    with pytest.raises(AttributeError) as original:
        await patient(run_streaming(*setting(StreamingModel(*turns), asking)))

    assert str(wrapped.value) == str(original.value)
    assert facts(seen, ROOT)["error.type"] == "AttributeError"
    assert seen.open == 0


async def first_of(stream: Any, count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


async def hung(stream: Any, events: int) -> asyncio.Task[Any]:
    """A reader that has `events` events, and waits for one that does not come: the run is over."""
    before = asyncio.all_tasks()
    await first_of(stream, events)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await at_rest(before | {reader})
    done, _ = await asyncio.wait({reader}, timeout=0.05)
    assert not done
    return reader


HANGS: dict[str, tuple[list[list[Any]], int, list[tuple[str, str, str | None]]]] = {
    "plain text": (
        [["Hel", "lo"]],
        1,
        [("chat", "completed", None), (ROOT, "cancelled", None), ("step 1", "cancelled", None)],
    ),
    "model failure": (
        [[RuntimeError("down")], [RuntimeError("still down")]],
        1,
        [
            ("chat", "failed", "RuntimeError"),
            ("chat", "failed", "RuntimeError"),
            (ROOT, "cancelled", None),
            ("retry model", "", None),
            ("step 1", "cancelled", None),
        ],
    ),
    "one tool, read at once": (
        SCENARIOS["one tool"],
        3,
        [
            ("chat", "completed", None),
            ("chat", "completed", None),
            ("execute_tool search", "completed", None),
            (ROOT, "cancelled", None),
            ("step 1", "completed", None),
            ("step 2", "cancelled", None),
        ],
    ),
}


@pytest.mark.parametrize("name", HANGS)
async def test_where_jaf_hangs_giving_up_ends_all_spans(name: str) -> None:
    turns, events, expected = HANGS[name]
    original = await hung(run_streaming(*setting(StreamingModel(*turns), WORKER)), events)
    original.cancel()
    with testing.recording() as seen:
        reader = await hung(streamgauge.wrap(run_streaming)(*setting(StreamingModel(*turns), WORKER)), events)
        assert seen.open > 0
        assert seen.value("streamgauge.streams.active", streamgauge_dialect="jaf") == 1

        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader

        assert seen.open == 0
    assert outcomes(seen) == expected


async def test_a_stream_that_jaf_never_ends_can_time_out() -> None:
    state, config = setting(StreamingModel(["Hi"]), WORKER)
    with testing.recording() as seen:
        stream = streamgauge.wrap(run_streaming, timeout_s=0.01)(state, config)
        await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)

    assert facts(seen, ROOT)["streamgauge.outcome"] == "timed_out"
    assert seen.open == 0


@pytest.mark.parametrize("way", ["aclose", "dropped", "cancelled"])
async def test_a_caller_who_leaves_ends_the_run_though_jaf_goes_on(way: str) -> None:
    release = asyncio.Event()

    async def held(args: Any) -> str:
        await release.wait()
        return "late"

    worker = agent("a1", FunctionTool("search", held))
    model = StreamingModel([SEARCH], DONE)
    before = asyncio.all_tasks()
    with testing.recording() as seen:
        stream = streamgauge.wrap(run_streaming)(*setting(model, worker))
        events = await first_of(stream, 2)
        assert [event.type.value for event in events] == ["start", "tool_call"]
        if way == "aclose":
            await stream.aclose()
        elif way == "dropped":
            del stream
        else:
            reader = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.wait({reader})
        assert seen.open == 0
        spans = len(seen.spans)
        release.set()
        async with asyncio.timeout(GIVE_UP_S):
            await at_rest(before)
        assert len(model.configs) == 2  # JAF made its second call for nobody, as it does unwrapped
        assert len(seen.spans) == spans

    outcome = "cancelled" if way == "cancelled" else "abandoned"
    assert facts(seen, ROOT)["streamgauge.outcome"] == outcome
    assert seen.value("streamgauge.streams", streamgauge_outcome=outcome) == 1


async def test_a_model_call_that_runs_when_the_run_is_cancelled_is_cancelled() -> None:
    model = StreamingModel(["Hel", asyncio.Event()])
    with testing.recording() as seen:
        task = asyncio.ensure_future(streamgauge.wrap(jaf.run)(*setting(model, WORKER)))
        await model.called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen.open == 0

    assert outcomes(seen) == [
        ("chat gpt-4o", "cancelled", None),
        (ROOT, "cancelled", None),
        ("step 1", "cancelled", None),
    ]


@pytest.mark.parametrize("function", ["run_streaming", "run"])
async def test_streams_at_once_are_told_apart(function: str) -> None:
    gate = asyncio.Event()
    turns = [[gate, SEARCH], DONE]
    scenes = [setting(StreamingModel(*turns), replace(WORKER, name=name)) for name in ("x", "y", "z")]
    with testing.recording() as seen:
        if function == "run":
            wrapped = streamgauge.wrap(jaf.run)
            waiting = [asyncio.ensure_future(wrapped(*each)) for each in scenes]
        else:
            streaming = streamgauge.wrap(run_streaming)
            waiting = [asyncio.ensure_future(collected(streaming(*each))) for each in scenes]
        for _, config in scenes:
            await config.model_provider.called.wait()
        assert seen.value("streamgauge.streams.active") == 3
        gate.set()
        async with asyncio.timeout(GIVE_UP_S):
            await asyncio.gather(*waiting)

        for name in ("x", "y", "z"):
            assert seen.value("gen_ai.invoke_agent.inference_calls", gen_ai_agent_name=name) == 2
            assert seen.value("gen_ai.invoke_agent.tool_calls", gen_ai_agent_name=name) == 1
        assert seen.open == 0
    assert len({span["trace_id"] for span in seen.spans}) == 3


async def collected(stream: Any) -> list[Any]:
    """As a slow reader whose runs share the loop: after the first event of a tool it waits for the run's task."""
    events = [await anext(stream), await anext(stream)]
    runs = {task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") == "run"}
    await asyncio.wait(runs)
    return events + [event async for event in stream]


# What stays as it was -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [run_streaming, jaf.run])
def test_the_wrapped_function_has_the_same_signature(function: Any) -> None:
    wrapped = streamgauge.wrap(function)
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert (wrapped.__name__, wrapped.__module__) == (function.__name__, function.__module__)
    assert inspect.iscoroutinefunction(wrapped) == inspect.iscoroutinefunction(function)


@pytest.mark.parametrize("args", [(), (1, 2, 3, 4, 5)])
async def test_wrong_arguments_fail_as_they_do(args: tuple[int, ...]) -> None:
    for function in (run_streaming, jaf.run):
        with pytest.raises(TypeError) as original:
            await function(*args)
        with testing.recording() as seen, pytest.raises(TypeError) as wrapped:
            await streamgauge.wrap(function)(*args)
        assert str(wrapped.value) == str(original.value)
        assert seen.open == 0


async def test_a_configuration_that_is_none_fails_as_it_does() -> None:
    state, _ = setting(Model(), WORKER)
    with pytest.raises(AttributeError) as original:
        await jaf.run(state, None)
    with testing.recording() as seen, pytest.raises(AttributeError) as wrapped:
        await streamgauge.wrap(jaf.run)(state, config=None)
    assert str(wrapped.value) == str(original.value)
    assert facts(seen, ROOT)["error.type"] == "AttributeError"


def test_nothing_else_of_jaf_is_wrapped() -> None:
    for other in (jaf, setting(Model(), WORKER)[1]):
        with pytest.raises(streamgauge.UnwrappableError):
            streamgauge.wrap(other)


async def test_the_stream_is_an_async_generator_and_can_be_collected() -> None:
    with testing.recording():
        stream = streamgauge.wrap(run_streaming)(*scene("one tool"))
        assert inspect.isasyncgen(stream) or isinstance(stream, AsyncIterator)
        before = asyncio.all_tasks()
        collector = StreamingCollector()

        async def slowly() -> AsyncIterator[Any]:
            async for event in stream:
                yield event
                await at_rest(before)

        async with asyncio.timeout(GIVE_UP_S):
            buffer = await collector.collect_stream(slowly())
    assert buffer.content == "Done"


@pytest.mark.parametrize("kind", [StreamingModel, Model])
async def test_the_user_s_configuration_and_provider_stay_untouched(kind: type[Model]) -> None:
    state, config = scene("one tool", kind)
    provider = config.model_provider
    before = dict(vars(config))
    with testing.recording():
        await patient(streamgauge.wrap(run_streaming)(state, config=config))

    assert vars(config) == before
    assert vars(provider).keys() == {"turns", "configs", "called", "label"}
    seen = provider.configs[0].model_provider
    assert seen is not provider
    assert isinstance(seen, kind)
    assert type(seen).__name__ == kind.__name__
    assert hasattr(seen, "get_completion_stream") == (kind is StreamingModel)
    assert seen.label == "scripted"
    seen.label = "changed"
    assert provider.label == "changed"


async def test_a_provider_without_subclasses_is_used_as_it_is() -> None:
    inner = StreamingModel(*SCENARIOS["one tool"])

    class Final(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

        def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
            if bases:
                raise TypeError("final")
            return super().__new__(mcs, name, bases, body)

    class Provider(metaclass=Final):
        get_completion = inner.get_completion
        get_completion_stream = inner.get_completion_stream

    with testing.recording() as seen:
        events = await patient(streamgauge.wrap(run_streaming)(*setting(Provider(), WORKER)))

    assert transcript(events) == transcript(await patient(run_streaming(*scene("one tool"))))
    assert facts(seen, ROOT)["streamgauge.stream.granularity"] == "sliced"
    assert seen.tree() == [ROOT, "  step 1", "    execute_tool search", "  step 2"]
    assert seen.value("streamgauge.stream.chunks", kind="text") == 1


async def test_a_provider_whose_stream_is_none_falls_back_as_it_does() -> None:
    class Odd(Model):
        async def get_completion_stream(self, state: Any, agent: Any, config: Any) -> Any:
            return None

    with testing.recording() as seen, pytest.warns(RuntimeWarning, match="never awaited"):
        await patient(streamgauge.wrap(run_streaming)(*scene("one tool", Odd)))
    assert facts(seen, ROOT)["streamgauge.outcome"] == "completed"


async def test_chunks_of_any_shape_pass() -> None:
    class Raising:
        tool_call_delta = None

        @property
        def delta(self) -> str:
            raise LookupError("no delta")

    class Odd(Model):
        async def get_completion_stream(self, state: Any, agent: Any, config: Any) -> AsyncIterator[Any]:
            yield Raising()

    original = transcript(await patient(run_streaming(*scene("one tool", Odd))))
    with testing.recording() as seen:
        wrapped = transcript(await patient(streamgauge.wrap(run_streaming)(*scene("one tool", Odd))))
    assert wrapped == original
    assert seen.open == 0


async def test_an_agent_as_a_tool_is_told_without_false_turns() -> None:
    inner = agent("inner", FunctionTool("lookup", found))
    outer = agent("a1", create_agent_tool(inner, tool_name="ask_inner"))
    turns = [
        [Ask("ask_inner", '{"input": "look"}', "c1")],
        [Ask("lookup", "{}", "c2")],
        ["found it"],
        DONE,
    ]
    original = transcript(await patient(run_streaming(*setting(StreamingModel(*turns), outer))))
    with testing.recording() as seen:
        wrapped = transcript(await patient(streamgauge.wrap(run_streaming)(*setting(StreamingModel(*turns), outer))))

    assert wrapped == original
    # JAF flattens the inner run: its model calls and tools are in the turn of the tool that is the agent.
    assert sorted(seen.tree()[1:6]) == sorted(
        ["  step 1", "    chat", "    execute_tool ask_inner", "    chat", "    execute_tool lookup"]
    )
    assert seen.tree()[6:] == ["    chat", "  step 2", "    chat"]
    agents = [span["attributes"]["gen_ai.agent.name"] for span in seen.spans if span["name"] == "chat"]
    assert agents == ["a1", "inner", "inner", "a1"]


# run ----------------------------------------------------------------------------------------------------------

RUN_TREES = {
    name: [line.replace("chat", "chat gpt-4o") for line in tree if "retry" not in line]
    for name, tree in STREAMED_TREES.items()
}
# JAF's trace has one model call, whatever it needed.
for _name in ("failure mid-stream", "empty answer", "model failure"):
    RUN_TREES[_name].pop()


def result(of: Any) -> Any:
    return type(of), of.outcome, of.final_state.turn_count, len(of.final_state.messages)


@pytest.mark.parametrize("kind", [StreamingModel, Model])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_run_is_the_same_and_tells_its_tree(name: str, kind: type[Model]) -> None:
    if kind is Model and name == "failure mid-stream":
        name = "one tool"
    original = result(await jaf.run(*scene(name, kind)))
    with testing.recording() as seen:
        wrapped = result(await streamgauge.wrap(jaf.run)(*scene(name, kind)))

    assert wrapped == original
    assert seen.tree() == RUN_TREES[name]
    assert seen.open == 0
    failed = name == "model failure"
    assert facts(seen, ROOT)["streamgauge.outcome"] == ("failed" if failed else "completed")
    assert facts(seen, ROOT).get("error.type") == ("ModelBehaviorError" if failed else None)


async def test_a_plain_run_has_true_tokens_usage_and_the_model() -> None:
    worker = agent("a1", model_config=ModelConfig(name="gpt-5"))
    with testing.recording() as seen:
        await streamgauge.wrap(jaf.run)(*setting(StreamingModel(["Hel", "lo ", "wörld"]), worker, conversation_id="s"))

    assert seen.tree() == [ROOT, "  step 1", "    chat gpt-5"]
    chat = facts(seen, "chat gpt-5")
    assert chat["streamgauge.stream.chunks"] == 3
    assert chat["streamgauge.stream.bytes"] == 12
    assert chat["gen_ai.usage.output_tokens"] == 2
    assert chat["gen_ai.response.model"] == "m-1"
    assert facts(seen, ROOT)["gen_ai.conversation.id"] == "s"
    assert (
        seen.count("gen_ai.client.operation.duration", gen_ai_request_model="gpt-5", streamgauge_dialect="jaf-run") == 2
    )
    assert seen.count("gen_ai.client.operation.time_per_output_chunk", gen_ai_request_model="gpt-5") == 2


async def test_the_user_s_listener_hears_all_and_first() -> None:
    def heard_by(function: Any) -> Any:
        events: list[Any] = []

        async def run() -> list[Any]:
            await function(*setting(StreamingModel(*SCENARIOS["two parallel tools"]), WORKER, on_event=events.append))
            return [(type(event), event.type) for event in events]

        return run()

    original = await heard_by(jaf.run)
    with testing.recording() as seen:
        assert await heard_by(streamgauge.wrap(jaf.run)) == original
    assert seen.tree() == RUN_TREES["two parallel tools"]


@pytest.mark.parametrize("where", ["run_start", "llm_call_start", "assistant_message", "tool_call_start", "run_end"])
async def test_a_listener_that_raises_does_what_it_did(where: str) -> None:
    def angry(event: Any) -> None:
        if event.type == where:
            raise LookupError("no")

    async def told(function: Any) -> Any:
        try:
            return result(await function(*setting(StreamingModel(*SCENARIOS["one tool"]), WORKER, on_event=angry)))
        except LookupError as error:
            return type(error), str(error)

    original = await told(jaf.run)
    with testing.recording() as seen:
        assert await told(streamgauge.wrap(jaf.run)) == original
    assert seen.open == 0
    assert seen.tree()[0] == ROOT


async def test_tools_run_inside_the_run_s_trace_and_the_caller_does_not() -> None:
    traces = []

    async def tracing(args: Any) -> str:
        traces.append(trace.get_current_span().get_span_context().trace_id)
        return "ok"

    with testing.recording() as seen:
        worker = agent("a1", FunctionTool("search", tracing))
        await streamgauge.wrap(jaf.run)(*setting(StreamingModel([SEARCH], DONE), worker))
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert [f"{trace_id:032x}" for trace_id in traces] == [seen.spans[0]["trace_id"]]


async def test_agents_that_run_as_tools_at_once_are_nested_runs_with_their_own_words() -> None:
    gate = asyncio.Event()
    one = agent("one", model_config=ModelConfig(name="m-one"))
    two = agent("two", model_config=ModelConfig(name="m-two"))

    class Many(StreamingModel):
        """The turns of each agent, by name; the two inner ones take turns."""

        async def get_completion_stream(self, state: Any, agent: Any, config: Any) -> AsyncIterator[Any]:
            scripts = {
                "one": ["a", gate, "b", "c"],
                "two": ["xx", "yy"],
                "a1": DONE
                if state.turn_count
                else [Ask("one", '{"input": "1"}', "c1"), Ask("two", '{"input": "2"}', "c2", 1)],
            }
            model = StreamingModel(scripts[agent.name])
            async for chunk in model.get_completion_stream(state, agent, config):
                yield chunk
            if agent.name == "two":
                gate.set()

    outer = agent("a1", create_agent_tool(one, tool_name="one"), create_agent_tool(two, tool_name="two"))
    with testing.recording() as seen:
        ended = await streamgauge.wrap(jaf.run)(*setting(Many(), outer))

    assert ended.outcome.output == "Done"
    assert seen.tree() == [
        ROOT,
        "  step 1",
        "    chat gpt-4o",
        "    execute_tool one",
        "      invoke_agent one",
        "        step 1",
        "          chat m-one",
        "    execute_tool two",
        "      invoke_agent two",
        "        step 1",
        "          chat m-two",
        "  step 2",
        "    chat gpt-4o",
    ]
    assert facts(seen, "chat m-one")["streamgauge.stream.bytes"] == 3
    assert facts(seen, "chat m-one")["streamgauge.stream.chunks"] == 3
    assert facts(seen, "chat m-two")["streamgauge.stream.bytes"] == 4
    assert len({span["trace_id"] for span in seen.spans}) == 1


async def test_an_inner_run_of_a_patched_engine_is_not_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from jaf.core import engine

    wrapped = streamgauge.wrap(jaf.run)
    monkeypatch.setattr(engine, "run", wrapped)
    outer = agent("a1", create_agent_tool(agent("inner"), tool_name="ask_inner"))
    turns = [[Ask("ask_inner", '{"input": "look"}', "c1")], ["found"], DONE]
    with testing.recording() as seen:
        await wrapped(*setting(StreamingModel(*turns), outer))

    assert [line.strip() for line in seen.tree()].count("invoke_agent inner") == 1
    assert seen.value("streamgauge.streams") == 1


class Uncopyable:
    """As a context that holds a connection."""

    def __init__(self, *, lock: bool = True) -> None:
        self.lock = threading.Lock() if lock else None


async def test_a_context_that_cannot_be_copied_does_not_fail_the_run() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(Uncopyable())
    turns = SCENARIOS["one tool"]
    original = result(await jaf.run(*setting(StreamingModel(*turns), WORKER, context=Uncopyable())))
    with testing.recording() as seen:
        wrapped = result(
            await streamgauge.wrap(jaf.run)(*setting(StreamingModel(*turns), WORKER, context=Uncopyable()))
        )

    assert wrapped == original
    assert wrapped[1].status == "completed"
    assert seen.tree() == [ROOT, "  step 1", "    chat", "  step 2", "    chat"]  # the provider's side of it
    assert facts(seen, ROOT)["streamgauge.outcome"] == "completed"
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="output") == 4


async def test_a_run_that_cannot_be_heard_still_says_how_it_failed() -> None:
    with testing.recording() as seen:
        ended = await streamgauge.wrap(jaf.run)(
            *setting(StreamingModel([RuntimeError("down")], [ValueError("no")]), WORKER, context=Uncopyable())
        )
    assert ended.outcome.status == "error"
    assert facts(seen, ROOT)["error.type"] == "ModelBehaviorError"
    assert [row for row in outcomes(seen) if row[0] == "chat"] == [
        ("chat", "failed", "RuntimeError"),
        ("chat", "failed", "ValueError"),
    ]


async def test_a_context_that_a_tool_makes_uncopyable_does_not_fail_the_run() -> None:
    def case() -> tuple[Any, Any]:
        context = Uncopyable(lock=False)

        async def connects(args: Any) -> str:
            context.lock = threading.Lock()
            return "connected"

        worker = agent("a1", FunctionTool("search", connects))
        return setting(StreamingModel([SEARCH], DONE), worker, context=context)

    original = result(await jaf.run(*case()))
    with testing.recording() as seen:
        wrapped = result(await streamgauge.wrap(jaf.run)(*case()))

    assert wrapped == original
    assert wrapped[1].status == "completed"
    assert facts(seen, ROOT)["streamgauge.outcome"] == "completed"
    assert seen.tree()[:3] == [ROOT, "  step 1", "    chat gpt-4o"]
    assert seen.open == 0


async def test_waiting_for_approval_is_an_event_of_a_completed_run() -> None:
    asking = agent("a1", FunctionTool("search", found, asks=True))
    with testing.recording() as seen:
        ended = await streamgauge.wrap(jaf.run)(*setting(StreamingModel([SEARCH]), asking))

    assert ended.outcome.status == "interrupted"
    assert facts(seen, ROOT)["streamgauge.outcome"] == "completed"
    assert facts(seen, "execute_tool search")["streamgauge.outcome"] == "cancelled"
    [root] = [span for span in seen.spans if span["name"] == ROOT]
    assert [event["name"] for event in root["events"]] == ["streamgauge.person.asked"]


async def test_guardrails_and_handoffs_are_events_of_the_run() -> None:
    def strict(text: str) -> Any:
        return jaf.InvalidValidationResult(error_message="rude")

    with testing.recording() as seen:
        await streamgauge.wrap(jaf.run)(*setting(StreamingModel(DONE), WORKER, initial_input_guardrails=[strict]))
        await streamgauge.wrap(jaf.run)(*scene("handoff"))

    rejected, handed = (span for span in seen.spans if span["name"] == ROOT)
    assert rejected["attributes"]["error.type"] == "InputGuardrailTripwire"
    assert [event["name"] for event in rejected["events"]] == ["jaf.guardrail_check", "jaf.guardrail_violation"]
    assert [(event["name"], event["attributes"]) for event in handed["events"]] == [
        ("jaf.handoff", {"gen_ai.agent.name": "b1"})
    ]
    assert [span["attributes"]["gen_ai.agent.name"] for span in seen.spans if span["name"] == "chat gpt-4o"] == [
        "a1",
        "b1",
    ]


# The real provider --------------------------------------------------------------------------------------------


class Api:
    """An OpenAI-compatible API on loopback that refuses the first call."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        request = json.loads(await reader.readexactly(length))
        self.requests.append(request)
        if len(self.requests) == 1:
            status, body = "429 Too Many Requests", {"error": {"message": "slow down", "type": "rate_limit"}}
        else:
            called = any(message["role"] == "tool" for message in request["messages"])
            calls = [{"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}]
            message = {"role": "assistant", "content": "ok"} if called else {"role": "assistant", "tool_calls": calls}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            status = "200 OK"
            body = {"id": "r", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
            body["usage"] = USAGE | {"prompt_tokens_details": {"cached_tokens": 3}}
        # The header keeps the API's client from its own retries, which JAF does not see.
        payload = json.dumps(body).encode()
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
            "x-should-retry: false\r\nConnection: close\r\n\r\n".encode()
            + payload
        )
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("function", ["run_streaming", "run"])
async def test_a_refused_request_is_a_retry(function: str) -> None:
    api = Api()
    async with await asyncio.start_server(api, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        provider: Any = make_litellm_provider(f"http://127.0.0.1:{port}/v1")
        state, config = setting(provider, WORKER, prefer_streaming=False, model_override="gpt-4o")
        with testing.recording() as seen:
            if function == "run":
                ended = await streamgauge.wrap(jaf.run)(state, config)
                assert ended.outcome.output == "ok"
            else:
                events = await read_with_api(streamgauge.wrap(run_streaming)(state, config))
                assert events[-1].data.content == "ok"
        await provider.client.close()

    assert len(api.requests) == 3
    assert seen.tree() == [
        ROOT, "  step 1", "    chat gpt-4o", "      retry model", "    execute_tool search", "  step 2",
        "    chat gpt-4o",
    ]  # fmt: skip
    retry = facts(seen, "retry model")
    assert (retry["streamgauge.retry.reason"], retry["streamgauge.retry.delay_s"]) == ("429", 1.0)
    [span] = [span for span in seen.spans if span["name"] == "retry model"]
    assert span["end"] - span["start"] >= 1_000_000_000
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="cache_read") == 6
    assert facts(seen, ROOT)["streamgauge.stream.granularity"] == "message"


async def read_with_api(stream: Any) -> list[Any]:
    """As a slow reader beside the tasks of a server: it waits for the run's task alone."""
    async with asyncio.timeout(GIVE_UP_S):
        return await collected(stream)
