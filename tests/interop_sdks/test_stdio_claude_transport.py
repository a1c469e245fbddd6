"""The real Claude Agent SDK over a process of `streamgauge.stdio`, by the SDK's own extension point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest

import streamgauge.stdio
from interop_sdks.test_stdio_claude_agent import AGENT, HOOK, PLAIN, SCRIPTED, TOOL, Caller, Cli, below, outcomes, spans
from streamgauge import testing


class Process(claude_agent_sdk.Transport):
    """asyncio's, or one that is watched."""

    def __init__(self, *, watched: bool) -> None:
        self._watched = watched
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> Any:
        assert self._process is not None
        return self._process

    async def connect(self) -> None:
        start = streamgauge.stdio.create_subprocess_exec if self._watched else asyncio.create_subprocess_exec
        known = {"dialect": "claude-code"} if self._watched else {}
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "limit": 2**24}
        self._process = await start(*SCRIPTED, **pipes, **known)

    async def write(self, data: str) -> None:
        self.process.stdin.write(data.encode())
        await self.process.stdin.drain()

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        async for line in self.process.stdout:
            try:
                yield json.loads(line)
            except ValueError:
                continue
        if await self.process.wait():
            raise claude_agent_sdk.ProcessError("ended", exit_code=self.process.returncode)

    async def close(self) -> None:
        await self.end_input()
        await self.process.wait()

    def is_ready(self) -> bool:
        return self._process is not None

    async def end_input(self) -> None:
        self.process.stdin.close()


async def until_closed(seen: testing.Seen) -> None:
    """The event loop tells of an exit and of an end of output in either order, and `wait` returns with the first."""
    async with asyncio.timeout(20):
        while seen.open:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("prompts", "tree", "outcome"),
    [
        (("plain", "tool", "agent", "hook"), [*PLAIN, *TOOL, *AGENT, *HOOK], [("completed", "")] * 4),
        (("plain", "exits"), [*PLAIN, *PLAIN], [("completed", ""), ("failed", "exit_3")]),
        (("noise",), PLAIN, [("completed", "")]),
    ],
    ids=["turns", "exits", "noise"],
)
async def test_a_transport_over_our_process(
    prompts: tuple[str, ...], tree: list[str], outcome: list[tuple[str, str]], tmp_path: Path
) -> None:
    cli = Cli(tmp_path, watched=False)
    bare = await Caller().plays(cli, *prompts, transport=Process(watched=False))
    with testing.recording() as seen, streamgauge.run("outer"):
        assert await Caller().plays(cli, *prompts, transport=Process(watched=True)) == bare
    await until_closed(seen)
    assert [each for each in bare if isinstance(each, claude_agent_sdk.AssistantMessage)]
    (session,), (outer,) = spans(seen, "session"), spans(seen, "invoke_agent outer")
    assert session["parent_id"] == outer["span_id"]
    assert below(seen) == sorted(tree)
    assert outcomes(seen) == outcome
