"""The real Claude Agent SDK, driving a scripted CLI: bare and through `streamgauge exec`, the same transcript, and what
that tells."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    Transport,
)

from streamgauge import capture, testing
from streamgauge.replay import replay

CLI = Path(__file__).with_name("scripted_cli.py")
SCRIPTED = (sys.executable, "-IS", str(CLI))
EXEC = (sys.executable, "-m", "streamgauge", "exec", "--dialect", "claude-code")
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "TRACEPARENT", "STREAMGAUGE_CAPTURE_DIR"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Cli:
    """What is given to the SDK as its CLI: a script of two lines, as the how-to has it."""

    folder: Path
    watched: bool
    said: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        made = self.folder / ("watched" if self.watched else "bare")
        before = (*EXEC, "--capture", str(self.file), *self.said, "--") if self.watched else ()
        made.write_text(f'#!/bin/sh\nexec {shlex.join((*before, *SCRIPTED))} "$@"\n')
        made.chmod(0o755)
        return made

    @property
    def file(self) -> Path:
        return self.folder / "capture.ndjson"

    def told(self) -> testing.Seen:
        with testing.recording() as seen:
            replay(capture.read(self.file), seen.pipeline)
        assert not seen.open
        return seen


# What the callers do ------------------------------------------------------------------------------------------------


class Caller:
    """A program on the SDK. Its transcript is all that it gets, and what ends it."""

    def __init__(self, **options: Any) -> None:
        self.got: list[Any] = []
        self._options = options

    async def _may(self, name: str, given: dict[str, Any], context: Any) -> Any:
        self.got.append(("asked", name, given, context.tool_use_id))
        if self._options.get("denies"):
            return PermissionResultDeny(message="No.")
        return PermissionResultAllow(updated_input={"command": "ls -l"})

    async def _hooked(self, given: Any, id_: str | None, context: Any) -> Any:
        self.got.append(("hook", given, id_))
        return {}

    def options(self, cli: Cli) -> ClaudeAgentOptions:
        @claude_agent_sdk.tool("add", "Add two numbers.", {"a": int, "b": int})
        async def add(given: dict[str, Any]) -> dict[str, Any]:
            self.got.append(("add", given))
            return {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}

        return ClaudeAgentOptions(
            cli_path=cli.path,
            can_use_tool=self._may,
            hooks={"PreToolUse": [HookMatcher(hooks=[self._hooked])]},
            mcp_servers={"calc": claude_agent_sdk.create_sdk_mcp_server("calc", tools=[add])},
            include_partial_messages=bool(self._options.get("partial")),
            stderr=lambda line: self.got.append(("stderr", line)) if self._options.get("stderr") else None,
        )

    async def turns(self, client: ClaudeSDKClient, *prompts: str) -> None:
        for prompt in prompts:
            await client.query(prompt)
            async for message in client.receive_response():
                self.got.append(message)

    async def plays(self, cli: Cli, *prompts: str, transport: Transport | None = None) -> list[Any]:
        try:
            async with asyncio.timeout(PATIENCE_S), ClaudeSDKClient(self.options(cli), transport) as client:
                await self.turns(client, *prompts)
        except Exception as error:
            self.got.append((type(error), str(error), getattr(error, "exit_code", None)))
        return self.got


async def both(folder: Path, play: Callable[[Cli], Any]) -> testing.Seen:
    """What is told of what was watched; its transcript is that of what was not."""
    bare = await play(Cli(folder, watched=False))
    cli = Cli(folder, watched=True)
    assert await play(cli) == bare
    assert any(isinstance(each, claude_agent_sdk.AssistantMessage) for each in bare)
    return cli.told()


# What is told -------------------------------------------------------------------------------------------------------


def spans(seen: testing.Seen, name: str = "") -> list[dict[str, Any]]:
    return sorted((each for each in seen.spans if each["name"].startswith(name)), key=lambda each: each["start"])


def runs(seen: testing.Seen) -> list[dict[str, Any]]:
    (session,) = spans(seen, "session")
    return [each for each in spans(seen, "invoke_agent") if each["parent_id"] == session["span_id"]]


def outcomes(seen: testing.Seen) -> list[tuple[str, str]]:
    return [(run["attributes"]["streamgauge.outcome"], run["attributes"].get("error.type", "")) for run in runs(seen)]


def below(seen: testing.Seen) -> list[str]:
    """Each span below the session, by its way from there. In no order: what is read at once begins at one time."""
    known = {span["span_id"]: span for span in seen.spans}

    def way(span: dict[str, Any]) -> list[str]:
        above = known.get(span["parent_id"])
        return [*(way(above) if above is not None else []), span["name"]]

    ways = [way(span) for span in seen.spans]
    (session,) = [found for found in ways if found[-1].startswith("session")]
    return sorted(" / ".join(found[len(session) :]) for found in ways if len(found) > len(session))


RUN = "invoke_agent claude-code"
CHAT = f"{RUN} / chat claude-opus-4-8"
PLAIN = [RUN, CHAT]
TOOL = [RUN, CHAT, CHAT, f"{RUN} / execute_tool Bash"]
TASK = f"{RUN} / execute_tool Task"
SUB_AGENT = f"{TASK} / invoke_agent general-purpose"
SUB_CHAT = f"{SUB_AGENT} / chat claude-haiku-4-5-20251001"
AGENT = [RUN, CHAT, CHAT, TASK, SUB_AGENT, SUB_CHAT, SUB_CHAT, f"{SUB_AGENT} / execute_tool Grep"]
HOOK = [RUN, CHAT, CHAT, f"{RUN} / execute_tool mcp__calc__add", f"{RUN} / step PreToolUse:mcp__calc__add"]


@pytest.mark.parametrize("partial", [False, True], ids=["whole", "partial"])
@pytest.mark.parametrize(
    ("prompt", "tree", "outcome"),
    [
        ("plain", PLAIN, ("completed", "")),
        ("tool", TOOL, ("completed", "")),
        ("agent", AGENT, ("completed", "")),
        ("hook", HOOK, ("completed", "")),
        ("noise", PLAIN, ("completed", "")),
        ("limit", PLAIN, ("failed", "error_max_turns")),
        ("refused", [RUN], ("failed", "529")),
        ("exits", PLAIN, ("failed", "exit_3")),
        ("dies", PLAIN, ("failed", "SIGKILL")),
        ("leaves", PLAIN, ("truncated", "truncated")),
    ],
)
async def test_a_turn(prompt: str, tree: list[str], outcome: tuple[str, str], partial: bool, tmp_path: Path) -> None:
    seen = await both(tmp_path, lambda cli: Caller(partial=partial).plays(cli, prompt))
    assert below(seen) == sorted(tree)
    assert outcomes(seen) == [outcome]


async def test_three_turns(tmp_path: Path) -> None:
    seen = await both(tmp_path, lambda cli: Caller(partial=True).plays(cli, "plain", "tool", "agent"))
    assert below(seen) == sorted([*PLAIN, *TOOL, *AGENT])
    assert outcomes(seen) == [("completed", "")] * 3
    (session,) = spans(seen, "session")
    told = [run["attributes"] for run in runs(seen)]
    assert session["attributes"]["process.exit.code"] == 0
    assert session["attributes"]["gen_ai.agent.version"] == "2.1.330"
    assert session["attributes"]["streamgauge.session.turns"] == 3
    assert session["attributes"]["streamgauge.cost_usd"] == pytest.approx(0.06)
    assert [each["streamgauge.cost_usd"] for each in told] == [pytest.approx(0.02)] * 3
    assert [(each["gen_ai.usage.input_tokens"], each["gen_ai.usage.output_tokens"]) for each in told] == [(15, 20)] * 3
    assert {each["gen_ai.conversation.id"] for each in told} == {"5f0c6d1e-6a52-4b1e-9d38-0d4c5a1f7b20"}
    assert {each["streamgauge.stream.granularity"] for each in told} == {"token"}
    assert {each["streamgauge.transport"] for each in told} == {"stdio"}
    assert seen.count("gen_ai.invoke_agent.duration") == 4  # and the sub-agent's
    assert seen.value("streamgauge.stream.chunks", kind="text") > 0
    first, second, third = runs(seen)
    assert first["end"] <= second["start"] <= second["end"] <= third["start"]


@pytest.mark.parametrize("denies", [False, True], ids=["allowed", "denied"])
async def test_a_permission_is_a_wait_for_a_person(denies: bool, tmp_path: Path) -> None:
    seen = await both(tmp_path, lambda cli: Caller(denies=denies).plays(cli, "tool"))
    (run,), (tool,) = runs(seen), spans(seen, "execute_tool")
    waits = [event for event in run["events"] if event["name"].startswith("streamgauge.person.")]
    assert [event["name"] for event in waits] == ["streamgauge.person.asked", "streamgauge.person.answered"]
    assert {event["attributes"]["gen_ai.tool.call.id"] for event in waits} == {"toolu_1"}
    assert tool["start"] <= waits[0]["at"] <= waits[1]["at"] <= tool["end"]
    assert tool["attributes"].get("error.type") == ("permission_denied" if denies else None)
    assert outcomes(seen) == [("completed", "")]


async def interrupted(cli: Cli) -> list[Any]:
    caller = Caller()
    async with asyncio.timeout(PATIENCE_S), ClaudeSDKClient(caller.options(cli)) as client:
        await client.query("hang")
        async for message in client.receive_response():
            caller.got.append(message)
            if isinstance(message, claude_agent_sdk.AssistantMessage):
                await client.interrupt()
        await caller.turns(client, "plain")
    return caller.got


async def test_an_interrupt(tmp_path: Path) -> None:
    seen = await both(tmp_path, interrupted)
    assert outcomes(seen) == [("cancelled", ""), ("completed", "")]
    assert [run["attributes"].get("streamgauge.interrupted_by") for run in runs(seen)] == ["cancel", None]
    assert [run["status"] for run in runs(seen)] == ["UNSET", "UNSET"]


async def heard_in_mid_turn(cli: Cli) -> list[Any]:
    caller = Caller()
    async with asyncio.timeout(PATIENCE_S), ClaudeSDKClient(caller.options(cli)) as client:
        await client.query("listens")
        async for message in client.receive_response():
            caller.got.append(message)
            if isinstance(message, claude_agent_sdk.AssistantMessage):
                await client.query("plain")
        caller.got += [message async for message in client.receive_response()]
    return caller.got


async def test_a_message_in_mid_turn(tmp_path: Path) -> None:
    seen = await both(tmp_path, heard_in_mid_turn)
    first, second = runs(seen)
    assert outcomes(seen) == [("completed", "")] * 2
    assert first["attributes"]["streamgauge.send.semantics"] == "queue"
    assert "streamgauge.send.semantics" not in second["attributes"]
    assert second["start"] == first["end"]


async def test_a_retry_and_a_limit(tmp_path: Path) -> None:
    seen = await both(tmp_path, lambda cli: Caller(partial=True).plays(cli, "retry"))
    assert seen.value("streamgauge.retries") == 1
    (run,) = runs(seen)
    (limit,) = [event for event in run["events"] if event["name"] == "streamgauge.usage_limit"]
    assert limit["attributes"]["streamgauge.usage_limit.scope"] == "five_hour"
    assert outcomes(seen) == [("completed", "")]


async def asked_once(cli: Cli) -> list[Any]:
    options = ClaudeAgentOptions(cli_path=cli.path, model="opus")
    async with asyncio.timeout(PATIENCE_S):
        return [message async for message in claude_agent_sdk.query(prompt="plain", options=options)]


async def test_one_query(tmp_path: Path) -> None:
    seen = await both(tmp_path, asked_once)
    assert below(seen) == PLAIN
    assert outcomes(seen) == [("completed", "")]


async def left(cli: Cli, prompt: str) -> list[Any]:
    caller = Caller()
    async with asyncio.timeout(PATIENCE_S), ClaudeSDKClient(caller.options(cli)) as client:
        await client.query(prompt)
        async for message in client.receive_response():
            caller.got.append(message)
            if isinstance(message, claude_agent_sdk.AssistantMessage):
                break
    return caller.got


async def test_it_is_left_in_mid_turn(tmp_path: Path) -> None:
    """The SDK closes the CLI's input, which ends it."""
    seen = await both(tmp_path, lambda cli: left(cli, "hang"))
    assert outcomes(seen) == [("truncated", "truncated")]


async def test_it_is_left_and_stays(tmp_path: Path) -> None:
    """Where that does not end it, the SDK sends SIGTERM after 5 s."""
    cli = Cli(tmp_path, watched=True)
    bare, got = await asyncio.gather(left(Cli(tmp_path, watched=False), "stays"), left(cli, "stays"))
    assert got == bare
    (run,) = runs(cli.told())
    told = [run["attributes"].get(f"streamgauge.{name}") for name in ("outcome", "interrupted_by")]
    assert told == ["cancelled", "signal"]


async def test_a_summary_for_the_sdks_own_callback(tmp_path: Path) -> None:
    cli = Cli(tmp_path, watched=True, said=("--summary",))
    got = await Caller(stderr=True).plays(cli, "exits")
    said = [line for kind, line, *_ in (each for each in got if isinstance(each, tuple)) if kind == "stderr"]
    assert said[0] == "it broke"
    assert "exited with 3" in said[1]
    assert any("claude-code" in line and "1 failed" in line for line in said)
    assert got[-1][2] == 3
