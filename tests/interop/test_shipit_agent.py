"""The real shipit_agent package with scripted model adapters, unwrapped and wrapped: the same transcript, and what it
tells."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import inspect
import io
import os
import re
import threading
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or a cost table is fetched at the first run

import pytest
import shipit_agent
from opentelemetry import trace
from shipit_agent import Agent, streaming
from shipit_agent.chat_session import AgentChatSession
from shipit_agent.deep.deep_agent import DeepAgent
from shipit_agent.deep.reflective_agent import ReflectiveAgent
from shipit_agent.llms.base import LLMResponse
from shipit_agent.models import AgentEvent, EventType, ToolCall
from shipit_agent.permissions import PermissionEngine
from shipit_agent.pipeline.pipeline import Pipeline
from shipit_agent.pipeline.step import Step
from shipit_agent.policies import RetryPolicy
from shipit_agent.team.team import AgentTeam, TeamAgent
from shipit_agent.tools.ask_user import AskUserTool
from shipit_agent.tools.base import ToolOutput
from shipit_agent.tools.function import FunctionTool
from shipit_agent.tools.sub_agent.sub_agent_tool import SubAgentTool

import streamgauge
from streamgauge import testing
from streamgauge.clients._twin import original
from streamgauge.dialects.shipit_agent import ShipitAgent
from streamgauge.signals import TOOL_SKIPPED

# Scripted agents ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Turn:
    """One completion of the model."""

    say: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    think: str | None = None
    error: Exception | None = None
    wait: Callable[[], object] | None = None
    """Called after what it says."""


class Model:
    """A streaming adapter."""

    model = "scripted-1"

    def __init__(self, *turns: Turn) -> None:
        self.turns = iter(turns)

    def complete(self, *, text_delta_callback: Any = None, **options: Any) -> LLMResponse:
        turn = next(self.turns)
        for piece in turn.say:
            if text_delta_callback is not None:
                text_delta_callback(piece)
        if turn.wait is not None:
            turn.wait()
        if turn.error is not None:
            raise turn.error
        usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
        return LLMResponse("".join(turn.say), list(turn.calls), {}, turn.think, usage)


class Silent(Model):
    """An adapter that does not stream."""

    def complete(
        self, *, messages: Any, tools: Any = None, system_prompt: Any = None, metadata: Any = None
    ) -> LLMResponse:
        return super().complete()


def search(q: str) -> str:
    """Search."""
    return f"result for {q}"


def broken(q: str) -> str:
    """Break."""
    raise ValueError("tool boom")


def unreachable(q: str) -> str:
    """Fail in a way that is worth a retry."""
    raise ConnectionError("net")


SEARCH = ToolCall("search", {"q": "x"}, id="c1")
HELLO = Turn(("Hel", "lo"))


def agent(
    *turns: Turn, model: type[Model] = Model, tools: tuple[Any, ...] = (search, broken, unreachable), **options: Any
):
    return Agent(
        llm=model(*turns),
        prompt="sys",
        tools=[FunctionTool.from_callable(tool) if inspect.isfunction(tool) else tool for tool in tools],
        observability=False,
        retry_policy=RetryPolicy(llm_retry_base_delay=0),
        **{"name": "helper", "session_id": "s1", **options},
    )


def read(streaming: Any, method: str = "stream") -> list[Any]:
    stream = getattr(streaming, method)("hello")
    if hasattr(stream, "__anext__"):

        async def all_of() -> list[Any]:
            return [event async for event in stream]

        return asyncio.run(all_of())
    return list(stream)


_UNSTABLE = {"run_id", "session_id", "duration_ms", "timestamp", "duration_seconds", "prefix_fingerprint"}
_UNSTABLE |= {"tool_discovery", "usage_diagnostics", "events"}


def stable(value: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(value, AgentEvent):
        return type(value), value.type, value.message, stable(value.payload)
    if isinstance(value, dict):
        return {name: stable(part) for name, part in value.items() if name not in _UNSTABLE}
    if isinstance(value, list):
        return [stable(part) for part in value]
    return value


def types(events: list[Any]) -> list[str]:
    return [event.type for event in events]


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    with testing.recording() as recorded:
        yield recorded
        assert recorded.open == 0
        assert recorded.value("streamgauge.tap.blind") == 0
        assert recorded.value("streamgauge.tap.errors") == 0


def outcomes(seen: testing.Seen) -> dict[str, float]:
    ends = ("completed", "failed", "truncated", "cancelled", "abandoned", "timed_out", "shutdown")
    counts = {end: seen.value("streamgauge.streams", streamgauge_outcome=end) for end in ends}
    return {end: count for end, count in counts.items() if count}


def span(seen: testing.Seen, name: str) -> dict[str, Any]:
    (found,) = [span for span in seen.spans if span["name"] == name]
    return found


# The same transcript, and its spans -------------------------------------------------------------------------------

STEP1 = ["invoke_agent helper", "  step 1", "    chat scripted-1"]
STEP2 = ["  step 2", "    chat scripted-1"]

SCENARIOS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "plain text": (lambda: agent(HELLO), STEP1),
    "no deltas": (lambda: agent(HELLO, model=Silent), STEP1),
    "reasoning": (lambda: agent(Turn(("Hi",), think="well")), STEP1),
    "a tool": (lambda: agent(Turn(("Let me ",), (SEARCH,)), HELLO), [*STEP1, "    execute_tool search", *STEP2]),
    "two tools": (
        lambda: agent(Turn((), (SEARCH, ToolCall("search", {"q": "y"}, id="c2"))), HELLO),
        [*STEP1, "    execute_tool search", "    execute_tool search", *STEP2],
    ),
    "two iterations of tools": (
        lambda: agent(Turn((), (SEARCH,)), Turn((), (ToolCall("search", {"q": "y"}, id="c2"),)), HELLO),
        [*STEP1, "    execute_tool search", *STEP2, "    execute_tool search", "  step 3", "    chat scripted-1"],
    ),
    "a tool fails": (
        lambda: agent(Turn((), (ToolCall("broken", {"q": "x"}, id="c1"),)), HELLO),
        [*STEP1, "    execute_tool broken", *STEP2],
    ),
    "a tool that is not there": (
        lambda: agent(Turn((), (SEARCH, ToolCall("nope", {}, id="c2"))), HELLO),
        [*STEP1, "    execute_tool search", "    execute_tool nope", *STEP2],
    ),
    "the model is retried": (
        lambda: agent(Turn(("par",), error=ConnectionError("net")), HELLO),
        [*STEP1, "      retry model"],
    ),
    "a tool's retries are exhausted": (
        lambda: agent(Turn((), (ToolCall("unreachable", {"q": "x"}, id="c1"),)), HELLO),
        [*STEP1, "    execute_tool unreachable", "      retry tool", *STEP2],
    ),
    "the model fails": (lambda: agent(Turn(("par",), error=ValueError("exploded"))), STEP1),
    "the iterations are used up": (
        lambda: agent(Turn((), (SEARCH,)), HELLO, max_iterations=1),
        [*STEP1, "    execute_tool search", *STEP2],
    ),
}


@pytest.mark.parametrize("method", ["stream", "astream"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_transcript_is_the_same(name: str, method: str, seen: testing.Seen) -> None:
    make, tree = SCENARIOS[name]
    plain = read(make(), method)
    assert seen.spans == []
    watched = read(streamgauge.wrap(make()), method)
    assert stable(watched) == stable(plain)
    assert seen.tree() == tree
    failed = "failed" if method == "stream" else "truncated"  # astream swallows the error and just ends
    assert outcomes(seen) == {failed if name == "the model fails" else "completed": 1}


@pytest.mark.parametrize("name", ["plain text", "no deltas", "reasoning", "a tool", "a tool fails", "the model fails"])
def test_v2_transcript_is_the_same(name: str, seen: testing.Seen) -> None:
    def make() -> Any:
        made = SCENARIOS[name][0]()
        if isinstance(made.llm, Silent):  # that loop needs the callbacks
            made.llm = Model(*made.llm.turns)
        return made

    plain = read(make(), "stream_v2")
    watched = read(streamgauge.wrap(make()), "stream_v2")
    assert stable(watched) == stable(plain)
    tools = {"a tool": "search", "a tool fails": "broken"}
    assert seen.tree() == [*STEP1, *([f"    execute_tool {tools[name]}", *STEP2] if name in tools else [])]
    assert outcomes(seen) == {"failed" if name == "the model fails" else "completed": 1}


def test_facts_of_a_run(seen: testing.Seen) -> None:
    list(streamgauge.wrap(agent(Turn(("Let me ",), (SEARCH,)), HELLO)).stream("hello"))
    run = span(seen, "invoke_agent helper")
    assert run["attributes"]["gen_ai.conversation.id"] == "s1"
    assert run["attributes"]["gen_ai.request.model"] == "scripted-1"
    assert run["attributes"]["streamgauge.stream.granularity"] == "token"
    assert run["status"] == "UNSET"
    first, second = (s for s in seen.spans if s["name"] == "chat scripted-1")
    for chat in (first, second):  # the system has sums only; each call has its own
        assert chat["attributes"]["gen_ai.usage.input_tokens"] == 10
        assert chat["attributes"]["gen_ai.usage.output_tokens"] == 4
    assert second["attributes"]["streamgauge.stream.chunks"] == 2
    tool = span(seen, "execute_tool search")
    assert tool["attributes"]["gen_ai.tool.call.id"] == "c1"
    assert "gen_ai.tool.call.arguments" not in tool["attributes"]
    assert (
        first["start"] < tool["start"] <= tool["end"] <= second["start"]
    )  # the call lasts until its last chunk is read
    labels = {"gen_ai_agent_name": "helper", "streamgauge_dialect": "shipit-agent"}
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="input", **labels) == 20
    assert seen.value("streamgauge.stream.chunks", kind="text", **labels) == 3
    assert seen.count("gen_ai.client.operation.time_to_first_chunk", gen_ai_operation_name="invoke_agent") == 1
    assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name="search") == 1
    assert seen.value("gen_ai.invoke_agent.inference_calls", **labels) == 2


class OpenAIChatLLM(Model):
    """Named like the package's own, which needs a client."""


def test_the_adapters_provider_and_what_the_user_says(seen: testing.Seen) -> None:
    plain = agent(HELLO, HELLO, model=OpenAIChatLLM)
    list(streamgauge.wrap(plain).stream("hello"))
    list(streamgauge.wrap(plain, provider_name="azure.ai.openai", agent_name="mine", model="gpt").stream("hello"))
    assert seen.value("streamgauge.streams", gen_ai_provider_name="openai", gen_ai_agent_name="helper") == 1
    assert seen.value("streamgauge.streams", gen_ai_provider_name="azure.ai.openai", gen_ai_agent_name="mine") == 1
    assert seen.tree()[-3:] == ["invoke_agent mine", "  step 1", "    chat gpt"]


def test_a_run_without_deltas_is_of_one_message(seen: testing.Seen) -> None:
    list(streamgauge.wrap(agent(HELLO, model=Silent)).stream("hello"))
    assert span(seen, "invoke_agent helper")["attributes"]["streamgauge.stream.granularity"] == "message"
    assert seen.value("streamgauge.stream.chunks", kind="text") == 1
    assert seen.value("streamgauge.stream.bytes", kind="text") == 5


def test_v2_has_the_usage_of_the_run(seen: testing.Seen) -> None:
    list(streamgauge.wrap(agent(Turn((), (SEARCH,)), HELLO)).stream_v2("hello"))
    assert span(seen, "invoke_agent helper")["attributes"]["gen_ai.usage.output_tokens"] == 8
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="output") == 8


@pytest.mark.parametrize("method", ["stream", "astream"])
def test_errors_of_tools(method: str, seen: testing.Seen) -> None:
    calls = ("broken", "nope", "unreachable")
    turn = Turn((), tuple(ToolCall(name, {"q": "x"}, id=name) for name in calls))
    read(streamgauge.wrap(agent(turn, HELLO)), method)
    assert {name: span(seen, f"execute_tool {name}")["attributes"]["error.type"] for name in calls} == {
        "broken": "ValueError",
        "nope": "tool_not_registered",
        "unreachable": "_OTHER",  # of a retried tool only the message is told
    }
    assert span(seen, "execute_tool nope")["attributes"]["gen_ai.tool.call.id"] == "nope"
    assert seen.value("streamgauge.retries", target="tool") == 1
    assert outcomes(seen) == {"completed": 1}


def test_a_failed_run(seen: testing.Seen) -> None:
    list(streamgauge.wrap(agent(Turn(("par",), error=ValueError("exploded")))).stream("hello"))
    run = span(seen, "invoke_agent helper")
    assert (run["status"], run["status_message"]) == ("ERROR", "exploded")
    assert run["attributes"]["error.type"] == "ValueError"
    assert span(seen, "chat scripted-1")["attributes"]["streamgauge.outcome"] == "failed"


def test_a_denied_tool(seen: testing.Seen) -> None:
    def make() -> Any:
        return agent(Turn((), (SEARCH,)), HELLO, permissions=PermissionEngine(deny=["search"]))

    events = read(streamgauge.wrap(make()))
    assert "tool_denied" in types(events)
    assert stable(events) == stable(read(make()))
    tool = span(seen, "execute_tool search")
    assert tool["attributes"]["error.type"] == "permission_denied"
    assert tool["attributes"]["gen_ai.tool.call.id"] == "c1"


def test_a_call_without_its_arguments_and_one_too_many(seen: testing.Seen) -> None:
    def look(q: str) -> str:
        """Look."""
        return q

    def make() -> Any:
        reading = FunctionTool.from_callable(look, read_only=True)
        again = Turn((), (ToolCall("look", {"q": "x"}, id="c2"), ToolCall("search", {}, id="c3")))
        return agent(Turn((), (ToolCall("look", {"q": "x"}, id="c1"),)), again, HELLO, tools=(reading, search))

    events = read(streamgauge.wrap(make()))
    assert {"tool_skipped_duplicate", "tool_arguments_rejected"} <= set(types(events))
    assert stable(events) == stable(read(make()))
    assert span(seen, "execute_tool search")["attributes"]["error.type"] == "missing_required_arguments"
    assert [event["name"] for event in span(seen, "step 2")["events"]] == [TOOL_SKIPPED]
    assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name="look") == 1


def test_a_person_is_asked(seen: testing.Seen) -> None:
    ask = ToolCall("ask_user", {"question": "Which?"}, id="c1")
    events = read(streamgauge.wrap(agent(Turn((), (ask,)), HELLO, tools=(AskUserTool(),))))
    assert "interactive_request" in types(events)
    told = [event["name"] for event in span(seen, "invoke_agent helper")["events"]]
    assert told == ["streamgauge.person.asked", "streamgauge.person.answered"]


# Ends --------------------------------------------------------------------------------------------------------


def workers_are_gone() -> None:
    for thread in threading.enumerate():
        if thread.name == "shipit-agent-stream":
            thread.join(10)
            assert not thread.is_alive()


def test_break_and_close(seen: testing.Seen) -> None:
    gate = threading.Event()
    watched = streamgauge.wrap(agent(Turn(("par",), wait=lambda: gate.wait(10)), stream_join_timeout=0.0))
    stream = watched.stream("hello")
    for event in stream:
        if event.type == "text_delta":
            break
    stream.close()
    assert outcomes(seen) == {"abandoned": 1}
    assert seen.tree() == STEP1
    gate.set()
    workers_are_gone()
    with pytest.raises(StopIteration):
        next(stream)


def test_a_dropped_stream(seen: testing.Seen) -> None:
    for _ in streamgauge.wrap(agent(HELLO)).stream("hello"):
        break
    assert outcomes(seen) == {"abandoned": 1}
    workers_are_gone()


def test_cancel_from_another_thread(seen: testing.Seen) -> None:
    def read_cancelled(cancelled: Any, gate: threading.Event) -> list[Any]:
        events = []
        for event in cancelled.stream("hello"):
            events.append(event)
            if event.type == "text_delta":
                canceller = threading.Thread(target=lambda: (cancelled.cancel(), gate.set()))
                canceller.start()
                canceller.join()
        return events

    def make() -> tuple[Any, threading.Event]:
        gate = threading.Event()
        return agent(Turn(("par",), (SEARCH,), wait=lambda: gate.wait(10)), HELLO), gate

    plain, gate = make()
    expected = read_cancelled(plain, gate)
    watched, gate = make()
    watched = streamgauge.wrap(watched)
    events = read_cancelled(watched, gate)
    assert types(events)[-1] == "text_delta"
    assert stable(events) == stable(expected)
    assert outcomes(seen) == {"cancelled": 1}
    assert span(seen, "invoke_agent helper")["status"] == "UNSET"
    watched.llm = Model(HELLO)
    assert types(read(watched))[-1] == "run_completed"
    assert outcomes(seen) == {"cancelled": 1, "completed": 1}


def test_cancel_of_an_idle_agent_is_forgotten(seen: testing.Seen) -> None:
    watched = streamgauge.wrap(agent(Turn(("par",), error=ValueError("exploded"))))
    stream = watched.astream("hello")
    watched.cancel()

    async def rest() -> None:
        async for _ in stream:
            pass

    asyncio.run(rest())
    assert outcomes(seen) == {"truncated": 1}


async def test_cancel_of_an_async_stream(seen: testing.Seen) -> None:
    watched = streamgauge.wrap(agent(Turn((), (SEARCH,)), HELLO))
    events = []
    async for event in watched.astream("hello"):
        events.append(event)
        if event.type == "tool_called":
            watched.cancel()
    assert "run_cancelled" in types(events)
    assert outcomes(seen) == {"cancelled": 1}


class AsyncModel(Model):
    """One that never answers."""

    async def acomplete(self, *, text_delta_callback: Any = None, **options: Any) -> LLMResponse:
        text_delta_callback("par")
        await asyncio.Event().wait()
        raise AssertionError


async def test_aclose(seen: testing.Seen) -> None:
    stream = streamgauge.wrap(agent(model=AsyncModel)).astream("hello")
    async for event in stream:
        if event.type == "text_delta":
            break
    await stream.aclose()
    assert outcomes(seen) == {"abandoned": 1}


async def test_a_cancelled_task(seen: testing.Seen) -> None:
    reached = asyncio.Event()

    async def consume() -> None:
        async with contextlib.aclosing(streamgauge.wrap(agent(model=AsyncModel)).astream("hello")) as stream:
            async for event in stream:
                if event.type == "text_delta":
                    reached.set()

    task = asyncio.create_task(consume())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(seen) == {"cancelled": 1}


def test_a_wrong_call_raises_as_ever(seen: testing.Seen) -> None:
    with pytest.raises(TypeError):
        streamgauge.wrap(agent(HELLO)).stream()
    assert outcomes(seen) == {"failed": 1}


# Sub-agents ----------------------------------------------------------------------------------------------------


def test_a_sub_agent(seen: testing.Seen) -> None:
    def make() -> Any:
        child = Model(Turn(("child ",), (SEARCH,)), Turn(("report",)))
        delegate = ToolCall("sub_agent", {"task": "look it up", "agent_type": ""}, id="d1")
        return agent(Turn((), (delegate,)), HELLO, tools=(search, SubAgentTool(llm=child)))

    events = read(streamgauge.wrap(make()))
    assert "sub_agent_event" in types(events)
    assert stable(events) == stable(read(make()))
    assert seen.tree() == [
        *STEP1,
        "    execute_tool sub_agent",
        "      invoke_agent sub-agent",
        "        step 1",
        "          chat scripted-1",
        "          execute_tool search",
        "        step 2",
        "          chat scripted-1",
        *STEP2,
    ]
    assert outcomes(seen) == {"completed": 1}
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="input") == 40


def test_an_agent_as_a_tool_is_seen_once(seen: testing.Seen) -> None:
    specialist = streamgauge.wrap(agent(Turn(("expert ",)), name="expert", tools=()))
    tool = specialist.as_tool(description="Knows.")
    ask = ToolCall("expert", {"task": "think"}, id="d1")
    list(streamgauge.wrap(agent(Turn((), (ask,)), HELLO, tools=(tool,))).stream("hello"))
    nested = ["    execute_tool expert", "      invoke_agent expert", "        step 1", "          chat scripted-1"]
    assert seen.tree() == [*STEP1, *nested, *STEP2]
    assert outcomes(seen) == {"completed": 1}


def test_a_sub_agent_that_fails(seen: testing.Seen) -> None:
    child = Model(Turn(("par",), error=ValueError("exploded")))
    delegate = ToolCall("sub_agent", {"task": "look it up"}, id="d1")
    list(streamgauge.wrap(agent(Turn((), (delegate,)), HELLO, tools=(SubAgentTool(llm=child),))).stream("hello"))
    assert span(seen, "invoke_agent sub-agent")["attributes"]["error.type"] == "ValueError"
    assert outcomes(seen) == {"completed": 1}


# Conversations ------------------------------------------------------------------------------------------------


def test_two_turns_of_a_conversation(seen: testing.Seen) -> None:
    session = streamgauge.wrap(agent(HELLO, Turn((), (SEARCH,)), HELLO)).chat_session(session_id="talk")
    assert isinstance(session, AgentChatSession)
    given: list[Any] = []
    session.add_event_callback(given.append)
    events = [event for prompt in ("first", "second") for event in session.stream(prompt)]
    assert all(told is event for told, event in zip(given, events, strict=True))
    assert [message.text for message in session.history() if message.role == "user"] == ["first", "second"]
    assert seen.tree() == [*STEP1, *STEP1, "    execute_tool search", *STEP2]
    runs = [span for span in seen.spans if span["parent_id"] is None]
    assert [run["attributes"]["gen_ai.conversation.id"] for run in runs] == ["talk", "talk"]
    assert outcomes(seen) == {"completed": 2}


@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_packets_count_once(transport: str, seen: testing.Seen) -> None:
    def packets(session: Any) -> list[Any]:
        return list(session.stream_packets("hello", transport=transport))

    expected = packets(AgentChatSession(agent=agent(HELLO), session_id="talk"))
    watched = packets(streamgauge.wrap(AgentChatSession(agent=agent(HELLO), session_id="talk")))
    assert [type(packet) for packet in watched] == [type(packet) for packet in expected]
    if transport == "websocket":
        assert stable(watched) == stable(expected)
    assert seen.tree() == STEP1
    assert outcomes(seen) == {"completed": 1}


def test_a_session_made_from_a_wrapped_agent_counts_once(seen: testing.Seen) -> None:
    session = AgentChatSession(agent=streamgauge.wrap(agent(HELLO)), session_id="talk")
    assert streamgauge.wrap(session) is session
    list(session.stream("hello"))
    assert outcomes(seen) == {"completed": 1}
    assert span(seen, "invoke_agent helper")["attributes"]["gen_ai.conversation.id"] == "talk"


def test_send_is_no_stream(seen: testing.Seen) -> None:
    assert streamgauge.wrap(agent(HELLO)).chat_session(session_id="talk").send("hello").output == "Hello"
    assert seen.spans == []


def test_every_type_in_the_source_is_known() -> None:
    emitted = re.compile(r"""(?:(?:AgentEvent|StreamFrame)\(\s*type=|_event\(\s*|emit\(\s*(?:state,\s*)?)"(\w+)\"""")
    folder = Path(shipit_agent.__file__).parent
    files = [path for path in folder.rglob("*.py") if "tests" not in path.parts]
    found = {kind for path in files for kind in emitted.findall(path.read_text("utf-8"))}
    assert {"text_delta", "usage_tick", "iteration_started", "sub_agent_event", "stream_hello"} <= found
    found |= {*typing.get_args(EventType), *streaming._CANONICAL, *streaming._PROVISIONAL}
    assert found - set(ShipitAgent.events) == set()


# What passes for an agent -----------------------------------------------------------------------------------------


def test_it_is_an_agent(seen: testing.Seen) -> None:
    plain = agent(HELLO)
    watched = streamgauge.wrap(plain)
    assert isinstance(watched, Agent)
    assert watched is not plain
    assert watched.tools is plain.tools
    assert (type(watched).__name__, repr(watched)) == ("Agent", repr(plain))
    assert streamgauge.wrap(watched) is watched
    for name in ("stream", "astream", "stream_v2", "chat_session", "cancel", "as_tool"):
        assert inspect.signature(getattr(watched, name)) == inspect.signature(getattr(plain, name))
    watched.name = "renamed"
    assert plain.name == "renamed"
    with watched as entered:
        assert entered is watched
    list(plain.stream("hello"))
    assert seen.spans == []


def test_copies_are_watched_too(seen: testing.Seen) -> None:
    watched = streamgauge.wrap(agent(HELLO, HELLO, HELLO))
    names = ("clone", "replaced", "copied")
    copies = (watched.clone(name="clone"), dataclasses.replace(watched, name="replaced"), copy.copy(watched))
    copies[2].name = "copied"
    for made in copies:
        assert isinstance(made, Agent)
        assert original(made) is not original(watched)
        list(made.stream("hello"))
    assert watched.name == "helper"
    assert [line for line in seen.tree() if not line.startswith(" ")] == [f"invoke_agent {name}" for name in names]


def test_what_is_built_on_the_stream(seen: testing.Seen) -> None:
    watched = streamgauge.wrap(agent(HELLO, HELLO, HELLO, HELLO))
    assert watched.run_live("hello", file=io.StringIO(), style="plain") == "Hello"
    assert list(watched.stream_sse("hello"))[-1] == "event: done\ndata: [DONE]\n\n"
    assert len(list(watched.narrate("hello"))) > 0
    assert [packet.kind.value for packet in watched.packets_v2("hello")][-1] == "final"
    assert outcomes(seen) == {"completed": 4}


def test_a_subclass_is_seen_once(seen: testing.Seen) -> None:
    class Polite(Agent):
        def stream(self, user_prompt: str, **options: Any) -> Iterator[AgentEvent]:
            yield from super().stream(f"please: {user_prompt}", **options)

    plain = agent(HELLO)
    watched = streamgauge.wrap(Polite(llm=plain.llm, name="polite", observability=False))
    assert isinstance(watched, Polite)
    assert next(iter(watched.stream("hello"))).payload["prompt"] == "please: hello"
    assert [line for line in seen.tree() if not line.startswith(" ")] == ["invoke_agent polite"]
    workers_are_gone()


def test_the_agents_work_is_inside_the_run(seen: testing.Seen) -> None:
    def inspecting(q: str) -> str:
        """Tell the current span."""
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"

    tool = ToolCall("inspecting", {"q": "x"}, id="c1")
    events = list(streamgauge.wrap(agent(Turn((), (tool,)), HELLO, tools=(inspecting,))).stream("hello"))
    (output,) = [event.payload["output"] for event in events if event.type == "tool_completed"]
    assert output == span(seen, "invoke_agent helper")["trace_id"]
    assert not trace.get_current_span().get_span_context().is_valid


def test_streams_of_several_agents_at_once(seen: testing.Seen) -> None:
    count = 4
    together = threading.Barrier(count, timeout=10)
    transcripts: dict[int, list[Any]] = {}

    def consume(number: int) -> None:
        made = agent(Turn(("Let me ",), (SEARCH,), wait=together.wait), HELLO, name=f"agent-{number}")
        transcripts[number] = list(streamgauge.wrap(made).stream("hello"))

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    expected = stable(list(agent(Turn(("Let me ",), (SEARCH,)), HELLO).stream("hello")))
    assert [stable(transcripts[number]) for number in range(count)] == [expected] * count
    one = [*STEP1, "    execute_tool search", *STEP2][1:]
    for number in range(count):
        root = span(seen, f"invoke_agent agent-{number}")
        below = [span for span in seen.spans if span["trace_id"] == root["trace_id"] and span is not root]
        assert sorted(s["name"] for s in below if s["span_id"] != root["span_id"]) == sorted(
            line.strip() for line in one
        )
    assert outcomes(seen) == {"completed": count}


def test_two_interleaved_streams_of_one_agent(seen: testing.Seen) -> None:
    watched = streamgauge.wrap(agent(HELLO, HELLO))
    first, second = watched.stream("hello"), watched.stream("hello")
    assert next(first).type == next(second).type == "run_started"
    assert types(list(second))[-1] == "run_completed"
    assert types(list(first))[-1] == "run_completed"
    assert outcomes(seen) == {"completed": 2}


# Classes that drive agents ------------------------------------------------------------------------------------------


def test_a_pipeline(seen: testing.Seen) -> None:
    def make() -> Any:
        steps = (
            Step(name="draft", agent=agent(HELLO), prompt="go"),
            Step(name="edit", agent=agent(HELLO), prompt="go on"),
        )
        return Pipeline(*steps)

    watched = streamgauge.wrap(make())
    assert isinstance(watched, Pipeline)
    assert stable(list(watched.stream(topic="x"))) == stable(list(make().stream(topic="x")))
    inner = ["    invoke_agent", "      step 1", "        chat"]
    assert seen.tree() == ["invoke_agent Pipeline", "  step draft", *inner, "  step edit", *inner]
    assert outcomes(seen) == {"completed": 1}


def test_a_team(seen: testing.Seen) -> None:
    def make() -> Any:
        decide = Turn(('{"next_agent": "writer", "prompt": "write"}',))
        done = Turn(('{"done": true, "final_answer": "ready"}',))
        writer = TeamAgent(name="writer", role="writes", agent=agent(HELLO))
        return AgentTeam(name="press", coordinator=Model(decide, done), agents=[writer])

    watched = streamgauge.wrap(make())
    assert stable(list(watched.stream("a text"))) == stable(list(make().stream("a text")))
    assert seen.tree() == ["invoke_agent press", "  step planning", "  invoke_agent writer", "  step planning"]
    assert outcomes(seen) == {"completed": 1}


def test_a_reflective_agent(seen: testing.Seen) -> None:
    def make() -> Any:
        verdict = Turn(('{"feedback": "good", "quality_score": 0.9, "revision_needed": false}',))
        return ReflectiveAgent(llm=Model(HELLO, verdict), tools=[])

    watched = streamgauge.wrap(make())
    assert stable(list(watched.stream("a text"))) == stable(list(make().stream("a text")))
    assert seen.tree() == ["invoke_agent ReflectiveAgent", "  step 1"]
    assert outcomes(seen) == {"completed": 1}


def test_a_deep_agent_that_verifies(seen: testing.Seen) -> None:
    watched = streamgauge.wrap(DeepAgent(llm=Model(HELLO, HELLO), verify=True, name="deep"))
    events = list(watched.stream("hello"))
    assert types(events).count("run_completed") == 2
    assert seen.tree() == ["invoke_agent deep", "  step 1", "    chat scripted-1"]
    assert outcomes(seen) == {"completed": 1}
    list(watched.chat(session_id="talk").stream("hello"))
    assert outcomes(seen) == {"completed": 2}


def test_what_is_no_agent_is_not_known() -> None:
    with pytest.raises(streamgauge.errors.UnwrappableError):
        streamgauge.wrap(ToolOutput(text="x"))
