"""The real shipit_agent package, served by FastAPI as its documentation has it, on uvicorn: the same events with the
middleware and without it, and what it tells."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from opentelemetry import trace
from shipit_agent.streaming import hello_frame, sse

from asgi.serving import PATIENCE_S, headless, serving, until
from interop.test_shipit_agent import HELLO, SCENARIOS, SEARCH, STEP1, Turn, agent, stable
from streamgauge import testing
from streamgauge.asgi import Middleware

OPTIONS: dict[str, Any] = {
    "dialects": {"/run": "shipit-agent", "/arun": "shipit-agent"}, "agent_name": "helper", "model": "scripted-1",
}  # fmt: skip


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    with testing.recording() as recorded:
        yield recorded
        assert recorded.open == 0
        assert recorded.value("streamgauge.tap.blind") == 0
        assert recorded.value("streamgauge.tap.errors") == 0


def application(made: Any, *, watched: bool = True) -> FastAPI:
    app = FastAPI()

    @app.post("/run")
    def run(body: dict[str, Any]) -> Response:
        return StreamingResponse(made.stream_sse(body["prompt"]), media_type="text/event-stream")

    @app.post("/arun")
    async def arun(body: dict[str, Any]) -> Response:
        async def frames() -> AsyncIterator[str]:
            yield sse(hello_frame())
            async for event in made.astream(body["prompt"]):
                yield sse(event)
            yield "event: done\ndata: [DONE]\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream")

    if watched:
        app.add_middleware(Middleware, **OPTIONS)
    return app


BODY = b'{"prompt": "hello"}'


async def answered(path: str, made: Any, *, watched: bool) -> bytes:
    async with serving(application(made, watched=watched)) as server:
        return await (await server.call(path, BODY)).rest()


_OWN = {"run_id", "session_id", "generation", "timestamp", "at", "ts", "created_at"}


def events(answer: bytes) -> list[Any]:
    """The events, without what differs from run to run."""
    text = re.sub(rb"(?m)^[0-9a-f]+\r\n|\r\n", b"", headless(answer)).decode()
    found: list[Any] = []
    for line in text.splitlines():
        data = line.removeprefix("data: ")
        if line.startswith("data: {"):
            told = stable(json.loads(data))
            found.append({name: value for name, value in told.items() if name not in _OWN})
        else:
            found.append(line)
    return found


@pytest.mark.parametrize("path", ["/run", "/arun"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_same_events_and_their_tree(name: str, path: str, seen: testing.Seen) -> None:
    make, tree = SCENARIOS[name]
    plain = events(await answered(path, make(), watched=False))
    assert seen.spans == []
    assert events(await answered(path, make(), watched=True)) == plain
    assert seen.tree() == tree
    (run,) = (span for span in seen.spans if span["kind"] == "SERVER")
    failed = "failed" if path == "/run" else "truncated"  # astream swallows the error and just ends
    outcome = failed if name == "the model fails" else "completed"
    assert run["attributes"]["streamgauge.outcome"] == outcome
    assert seen.count("gen_ai.server.request.duration", streamgauge_outcome=outcome) == 1
    assert seen.count("gen_ai.client.operation.duration", gen_ai_operation_name="invoke_agent") == 0


async def test_the_servers_clocks(seen: testing.Seen) -> None:
    make, _ = SCENARIOS["a tool"]
    await answered("/run", make(), watched=True)
    assert seen.count("gen_ai.server.time_to_first_token", gen_ai_agent_name="helper") == 1
    assert seen.count("gen_ai.server.time_per_output_token", gen_ai_agent_name="helper") == 1
    assert seen.count("gen_ai.client.operation.time_to_first_chunk", gen_ai_operation_name="chat") == 2
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="output") == 8
    assert seen.value("gen_ai.invoke_agent.tool_calls") == 1


async def test_a_token_is_out_before_the_model_says_the_next(seen: testing.Seen) -> None:
    go = threading.Event()
    made = agent(Turn(("Hel",), wait=lambda: go.wait(PATIENCE_S)))
    async with serving(application(made)) as server:
        caller = await server.call("/run", BODY)
        await caller.until(b"Hel")
        assert not go.is_set()
        assert seen.value("streamgauge.streams.active") == 1
        go.set()
        assert b"[DONE]" in await caller.rest()


async def test_tools_run_inside_the_runs_trace(seen: testing.Seen) -> None:
    found: list[Any] = []

    def search(q: str) -> str:
        """Search."""
        found.append(trace.get_current_span().get_span_context())
        return "found"

    await answered("/run", agent(Turn((), (SEARCH,)), HELLO, tools=(search,)), watched=True)
    (run,) = (span for span in seen.spans if span["kind"] == "SERVER")
    assert [f"{each.trace_id:032x}" for each in found] == [run["trace_id"]]


async def test_the_caller_goes_in_mid_run(seen: testing.Seen) -> None:
    """Of `astream`: `stream` holds a lock of its thread, which nobody gives back when it is dropped."""
    go = threading.Event()
    made = agent(Turn(("Hel",), wait=lambda: go.wait(PATIENCE_S)))
    async with serving(application(made)) as server:
        caller = await server.call("/arun", BODY)
        await caller.until(b"Hel")
        caller.abort()
        await until(lambda: not server.server.server_state.connections)
        go.set()
        await until(lambda: not seen.open)
    assert seen.value("streamgauge.streams", streamgauge_outcome="abandoned") == 1
    assert seen.tree() == STEP1
