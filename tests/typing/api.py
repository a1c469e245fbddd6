"""The public API as a user sees it: type-checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import streamgauge
from streamgauge.signals import Signal


class Agent:
    def stream(self, prompt: str) -> Generator[str, None, int]:
        yield prompt
        return 1

    async def astream(self, prompt: str) -> AsyncGenerator[str, None]:
        yield prompt


def observer(signal: Signal, request: streamgauge.Request) -> None:
    print(signal.key, request.dialect)


def sync() -> int:
    agent: Agent = streamgauge.wrap(Agent())
    stream: Generator[str, None, int] = streamgauge.wrap(agent.stream("x"), dialect="generic", agent_name="a")
    with streamgauge.run("support", conversation_id="c", timeout_s=30):
        for text in stream:
            print(text.upper())
    remove = streamgauge.observe(observer)
    remove()
    return 0


async def asynchronous() -> None:
    async with streamgauge.run("support") as run:
        kind: streamgauge.Run = run
        async for text in streamgauge.wrap(Agent().astream("x")):
            print(kind, text.upper())
    pipeline: streamgauge.Pipeline = streamgauge.setup(service_name="x", metrics_port=0, profile="dev")
    settings: streamgauge.Settings = pipeline.settings
    print(settings.service_name, streamgauge.Outcome.COMPLETED.value)
    streamgauge.shutdown()
