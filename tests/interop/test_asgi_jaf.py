"""JAF's own server, on uvicorn, with scripted models: the same events with the middleware and without it, and what it
tells.

JAF 2.6.22 wakes the reader of `run_streaming` for tool events only: a stream completes if its reader is slower than the
run, and otherwise waits for ever. So the server's reader is made a slow one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jaf.server.server
import pytest
from jaf.server.server import create_jaf_server
from jaf.server.types import ServerConfig

from asgi.serving import headless, serving, until
from interop.test_jaf import DONE, SCENARIOS, WORKER, StreamingModel, agent, at_rest, run_streaming, setting
from streamgauge import testing
from streamgauge.asgi import Middleware


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    with testing.recording() as recorded:
        yield recorded
        assert recorded.open == 0
        assert recorded.value("streamgauge.tap.blind") == 0
        assert recorded.value("streamgauge.tap.errors") == 0


@pytest.fixture(autouse=True)
def _slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    async def patient(state: Any, config: Any) -> AsyncIterator[Any]:
        before = asyncio.all_tasks()
        async for event in run_streaming(state, config):
            yield event
            await at_rest(before)

    monkeypatch.setattr(jaf.server.server, "run_streaming", patient)


def application(*turns: list[Any], watched: bool = True) -> Any:
    _, config = setting(StreamingModel(*turns), WORKER, agent("b1"), max_turns=4)
    app = create_jaf_server(ServerConfig(agent_registry=config.agent_registry, run_config=config))
    if watched:
        app.add_middleware(Middleware)
    return app


def asking(*, stream: bool, **more: Any) -> bytes:
    messages = [{"role": "user", "content": "hello"}]
    return json.dumps({"messages": messages, "agent_name": "a1", "stream": stream, **more}).encode()


async def answered(app: Any, body: bytes, path: str = "/chat") -> bytes:
    async with serving(app) as server:
        return await (await server.call(path, body)).rest()


_NAMES = rb"runId|traceId|run_id|trace_id|timestamp|execution_time_ms|conversationId|conversation_id"
_OWN = rb'"(' + _NAMES + rb')": *("[^"]*"|[0-9.e+-]+)'


def stable(answer: bytes) -> bytes:
    """Without ids, times, and the sizes of chunks."""
    return re.sub(rb"(?m)^[0-9a-f]+\r\n|\r\n", b"", re.sub(_OWN, b"", headless(answer)))


def run_of(seen: testing.Seen) -> dict[str, Any]:
    (run,) = (span for span in seen.spans if span["kind"] == "SERVER")
    return run


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_stream_is_the_same_and_tells_its_tree(name: str, seen: testing.Seen) -> None:
    turns, body = SCENARIOS[name], asking(stream=True, conversation_id="c-1")
    plain = await answered(application(*turns, watched=False), body)
    assert seen.spans == []
    assert stable(await answered(application(*turns), body)) == stable(plain)
    assert b"stream_end" in plain
    run = run_of(seen)
    assert run["name"] == "invoke_agent a1"
    assert run["attributes"]["streamgauge.dialect"] == "jaf-http"
    assert run["attributes"]["streamgauge.stream.granularity"] == "sliced"
    assert run["attributes"]["gen_ai.conversation.id"] == "c-1"
    failed = name == "model failure"
    assert run["attributes"]["streamgauge.outcome"] == ("failed" if failed else "completed")
    tools = [line.strip() for line in seen.tree() if "execute_tool" in line]
    assert len(tools) == plain.count(b'"type": "tool_call"')
    # A sliced text tells nothing of how fast the model was.
    assert seen.count("gen_ai.server.request.duration") == 1
    assert seen.count("gen_ai.server.time_per_output_token") == 0


async def test_a_plain_answer(seen: testing.Seen) -> None:
    body = asking(stream=False)
    plain = await answered(application(DONE, watched=False), body)
    assert stable(await answered(application(DONE), body)) == stable(plain)
    assert b'"Done"' in plain
    run = run_of(seen)
    assert (run["name"], run["attributes"]["streamgauge.outcome"]) == ("invoke_agent a1", "completed")


async def test_a_plain_answer_that_failed(seen: testing.Seen) -> None:
    answer = await answered(application([RuntimeError("down")], [RuntimeError("still down")]), asking(stream=False))
    assert answer.startswith(b"HTTP/1.1 200")
    assert run_of(seen)["attributes"]["streamgauge.outcome"] == "failed"


@pytest.mark.parametrize("path", ["/health", "/agents", "/openapi.json"])
async def test_what_is_no_agents_is_left_alone(path: str, seen: testing.Seen) -> None:
    async with serving(application(DONE)) as server:
        assert (await (await server.call(path, None)).rest()).startswith(b"HTTP/1.1 200")
    assert seen.spans == []


async def test_a_request_that_is_refused(seen: testing.Seen) -> None:
    answer = await answered(application(DONE), b'{"messages": []}')
    assert answer.startswith(b"HTTP/1.1 422")
    assert run_of(seen)["attributes"]["error.type"] == "422"


async def test_the_caller_goes_before_the_model_answers(seen: testing.Seen) -> None:
    hold = asyncio.Event()
    async with serving(application([hold, "late"])) as server:
        caller = await server.call("/chat", asking(stream=True))
        await caller.until(b"stream_start")
        caller.abort()
        await until(lambda: not seen.open)
        hold.set()
    run = run_of(seen)
    assert run["attributes"]["streamgauge.outcome"] == "abandoned"
    assert run["attributes"]["streamgauge.disconnect"] == "cancel"
