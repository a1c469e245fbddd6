"""The real zag-agent package, driving a stand-in for the `zag` executable that prints what the real one prints:
unwrapped and wrapped, the same transcript, and what it tells.

A prompt or a message names what the stand-in does with it. It waits for nothing but its input, and logs how it was
called.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from zag import TurnCompleteEvent, ZagBuilder, ZagError, ZagFeatureUnsupportedError, capability_check
from zag.process import StreamingSession

import streamgauge
from streamgauge import testing
from streamgauge.clients._twin import original

STAND_IN = """#!{python} -IS
import json, os, signal, sys

with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + chr(10))

def put(type_, **event):
    print(json.dumps(dict(type=type_, **event)), flush=True)

def usage(taken, given):
    return dict(input_tokens=taken, output_tokens=given, cache_read_tokens=1, cache_creation_tokens=0)

def text(words):
    return dict(type="text", text=words)

def says(*blocks, taken=7, given=2):
    put("assistant_message", content=list(blocks), usage=usage(taken, given))

def tool(words, **result):
    says(text(words), dict(type="tool_use", id="toolu_1", name="Bash", input=dict(command="ls")), taken=10, given=8)
    result = dict(success=True, output=None, error=None, data=None, **{{}}) | result
    put("tool_execution", tool_name="Bash", tool_id="toolu_1", input=None, result=result)

index = 0

def turn(prompt):
    global index
    success, reason = True, "end_turn"
    put("init", model="claude-x", tools=["Bash"], working_directory="/w", metadata=dict(cwd="/w"))
    if prompt == "crash":
        says(text("partial"))
        put("result", success=True, message=None, duration_ms=None, num_turns=None)
        sys.stderr.write("provider died")
        sys.exit(2)
    if prompt == "cut":
        says(text("partial"))
        sys.exit(0)
    if prompt == "hang":
        says(text("partial"))
        while True:
            signal.pause()
    if prompt == "bigline":
        says(text("x" * 100_000))
    if prompt == "asks":
        says()
        says(text("Well"))
        queued.append(sys.stdin.readline())
    if prompt == "tool":
        tool("Let me look.", output="a.txt")
    if prompt == "toolfail":
        tool("Let me look.", success=False, error="exit 1")
    if prompt == "unwell":
        success, reason = False, None
    says(text("echo: " + prompt))
    put("turn_complete", stop_reason=reason, turn_index=index, usage=usage(7, 2))
    put("result", success=success, message="echo: " + prompt, duration_ms=5, num_turns=1)
    index += 1

if sys.argv[1] == "discover":
    features = dict(streaming_input=dict(supported=True, semantics="queue"), max_turns=dict(supported=True))
    print(json.dumps([dict(provider="claude", features=features), dict(provider="gemini", features=dict())]))
    sys.exit(0)

queued = []
turn(sys.argv[-1])
if "-i" in sys.argv:
    while True:
        line = queued.pop(0) if queued else sys.stdin.readline()
        if not line:
            break
        content = json.loads(line)["content"]
        put("user_message", content=[text(content)])
        turn(content)
put("result", success=True, message=None, duration_ms=None, num_turns=None)
"""


class Zag:
    """The stand-in's file, how it was called, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "calls"
        self.path = folder / "zag"
        self.path.write_text(STAND_IN.format(python=sys.executable, log=str(self.log)))
        self.path.chmod(0o755)
        self.processes: list[asyncio.subprocess.Process] = []

    def calls(self) -> list[list[str]]:
        """The arguments of each call since the last look."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    async def end(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            process._transport.close()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
async def zag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Zag]:
    made = Zag(tmp_path)
    start = asyncio.create_subprocess_exec

    async def noting(*args: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*args, **options)
        made.processes.append(process)
        return process

    monkeypatch.setenv("ZAG_BIN", str(made.path))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", noting)
    yield made
    gc.collect()  # generators that were left are closed here, not by a later test
    await made.end()
    capability_check._clear_capability_cache()


def builder() -> ZagBuilder:
    return ZagBuilder().provider("claude").model("sonnet")


async def transcript(stream: Any) -> list[Any]:
    """All that comes, and the error that ends it."""
    got: list[Any] = []
    try:
        async for event in stream:
            got.append(event)
    except Exception as error:
        got.append((type(error), error.args, getattr(error, "exit_code", None), getattr(error, "stderr", None)))
    return got


async def turn(session: Any) -> list[Any]:
    """What comes up to the end of a turn."""
    got: list[Any] = []
    async for event in session.events():
        got.append(event)
        if event.type == "turn_complete":
            break
    return got


def types(events: list[Any]) -> list[Any]:
    return [getattr(event, "type", event) for event in events]


def runs(seen: testing.Seen) -> list[dict[str, Any]]:
    found = [span for span in seen.spans if span["name"].startswith("invoke_agent")]
    return sorted(found, key=lambda span: span["start"])


def outcomes(seen: testing.Seen) -> list[tuple[str, str]]:
    return [(run["attributes"]["streamgauge.outcome"], run["attributes"].get("error.type", "")) for run in runs(seen)]


ONE_CALL = ["invoke_agent claude", "  chat claude-x"]
WITH_TOOL = ["invoke_agent claude", "  chat claude-x", "  execute_tool Bash", "  chat claude-x"]

# Streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "tree", "outcome"),
    [
        ("plain", ONE_CALL, ("completed", "")),
        ("tool", WITH_TOOL, ("completed", "")),
        ("toolfail", WITH_TOOL, ("completed", "")),
        ("unwell", ONE_CALL, ("failed", "result_error")),
        ("crash", ONE_CALL, ("failed", "zag.types.ZagError")),
        ("cut", ONE_CALL, ("truncated", "truncated")),
    ],
)
async def test_a_stream(zag: Zag, prompt: str, tree: list[str], outcome: tuple[str, str]) -> None:
    plain = await transcript(builder().stream(prompt))
    calls = zag.calls()
    with testing.recording() as seen:
        assert await transcript(streamgauge.wrap(builder()).stream(prompt)) == plain
    assert zag.calls() == calls
    assert seen.tree() == tree
    assert outcomes(seen) == [outcome]
    assert seen.open == 0
    assert seen.value("streamgauge.streams", streamgauge_outcome=outcome[0], error_type=outcome[1]) == 1


async def test_a_line_that_zag_cannot_read() -> None:
    with testing.recording() as seen, pytest.raises(ValueError, match="limit"):
        async for _ in streamgauge.wrap(builder()).stream("bigline"):
            pass
    assert seen.tree() == ["invoke_agent claude"]
    assert outcomes(seen) == [("failed", "ValueError")]


async def test_what_a_run_tells() -> None:
    with testing.recording() as seen:
        events = await transcript(streamgauge.wrap(builder()).session_id("s1").stream("tool"))
    assert types(events) == [
        "init", "assistant_message", "tool_execution", "assistant_message", "turn_complete", "result", "result",
    ]  # fmt: skip
    (run,) = runs(seen)
    told = run["attributes"]
    assert told["gen_ai.agent.name"] == "claude"
    assert told["gen_ai.provider.name"] == "anthropic"
    assert told["gen_ai.request.model"] == "claude-x"
    assert told["gen_ai.conversation.id"] == "s1"
    assert told["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert told["streamgauge.turn.index"] == 0
    assert told["streamgauge.stream.granularity"] == "message"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (19, 10)
    tool = next(span for span in seen.spans if span["name"] == "execute_tool Bash")
    assert tool["attributes"]["gen_ai.tool.call.id"] == "toolu_1"
    assert tool["attributes"].keys().isdisjoint({"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"})
    first, second = [span for span in seen.spans if span["name"] == "chat claude-x"]
    assert run["start"] < first["start"] < first["end"] == tool["start"] < tool["end"] == second["start"]
    assert second["end"] <= run["end"]

    common = {"gen_ai_request_model": "claude-x", "gen_ai_provider_name": "anthropic", "streamgauge_dialect": "zag"}
    assert seen.count("gen_ai.client.token.usage", gen_ai_token_type="input", **common) == 2
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="input", **common) == 19
    assert seen.value("gen_ai.client.token.usage", gen_ai_token_type="cache_read", **common) == 2
    assert seen.value("streamgauge.stream.chunks", kind="text") == 2
    assert seen.value("streamgauge.stream.chunks", kind="tool_call") == 1
    assert seen.value("gen_ai.invoke_agent.inference_calls") == 2
    assert seen.value("gen_ai.invoke_agent.tool_calls") == 1
    assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name="Bash", error_type="") == 1
    assert seen.count("streamgauge.stream.time_to_first_answer", streamgauge_stream_granularity="message") == 1


async def test_a_tool_that_fails() -> None:
    with testing.recording() as seen:
        await transcript(streamgauge.wrap(builder()).stream("toolfail"))
    tool = next(span for span in seen.spans if span["name"] == "execute_tool Bash")
    assert (tool["status"], tool["status_message"]) == ("ERROR", "failed")
    assert tool["attributes"]["error.type"] == "tool_error"
    assert [run["status"] for run in runs(seen)] == ["UNSET"]


async def test_the_summary_at_the_end_is_no_run() -> None:
    with testing.recording() as seen:
        events = await transcript(streamgauge.wrap(builder()).stream("plain"))
    assert types(events).count("result") == 2
    assert outcomes(seen) == [("completed", "")]


async def test_a_builder_stays_what_it_is(zag: Zag) -> None:
    plain = builder()
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(plain)
        assert isinstance(wrapped, ZagBuilder)
        assert type(wrapped).__name__ == "ZagBuilder"
        assert wrapped.max_turns(3).auto_approve() is wrapped
        assert plain._max_turns == 3  # state is one
        assert type(plain) is ZagBuilder
        assert streamgauge.wrap(wrapped) is wrapped
        stream = wrapped.quiet().stream(prompt="plain")
        assert inspect.isasyncgen(stream)
        assert await transcript(stream) == await transcript(plain.stream("plain"))
        with pytest.raises(TypeError, match="prompt"):
            wrapped.stream()  # type: ignore[call-arg]
    assert {"--quiet", "--auto-approve", "--max-turns"} < set(zag.calls()[1])  # after `discover`
    assert outcomes(seen) == [("completed", "")]


async def test_what_is_given_to_wrap_wins() -> None:
    with testing.recording() as seen:
        await transcript(streamgauge.wrap(ZagBuilder(), agent_name="reviewer").stream("plain"))
        await transcript(streamgauge.wrap(ZagBuilder()).stream("plain"))
    assert [run["name"] for run in runs(seen)] == ["invoke_agent reviewer", "invoke_agent zag"]
    assert "gen_ai.provider.name" not in runs(seen)[1]["attributes"]


async def test_resume_and_continue(zag: Zag) -> None:
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(builder())
        await transcript(wrapped.stream_resume("s7", "plain"))
        await transcript(wrapped.stream_resume(session_id="s8", prompt="plain"))
        await transcript(wrapped.stream_continue("plain"))
    assert [run["attributes"].get("gen_ai.conversation.id") for run in runs(seen)] == ["s7", "s8", None]
    assert [call[-3:] for call in zag.calls()][:2] == [["--resume", "s7", "plain"], ["--resume", "s8", "plain"]]


async def test_a_missing_executable() -> None:
    with testing.recording() as seen:
        got = await transcript(streamgauge.wrap(builder().bin("/no/such/zag")).stream("plain"))
        with pytest.raises(FileNotFoundError):
            await streamgauge.wrap(ZagBuilder().bin("/no/such/zag")).exec_streaming("plain")
    assert got[0][0] is FileNotFoundError
    assert outcomes(seen) == [("failed", "FileNotFoundError")] * 2


async def test_it_is_left_early(zag: Zag) -> None:
    with testing.recording() as seen:
        stream = streamgauge.wrap(builder()).stream("hang")
        assert (await anext(stream)).type == "init"
        await stream.aclose()
        assert outcomes(seen) == [("abandoned", "")]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert zag.processes[-1].returncode is None  # it runs on, as without us
    assert seen.open == 0


async def test_it_is_left_at_the_end_of_the_turn() -> None:
    with testing.recording() as seen:
        async for event in streamgauge.wrap(builder()).stream("plain"):
            if isinstance(event, TurnCompleteEvent):
                break
        assert outcomes(seen) == [("completed", "")]


async def test_it_is_never_read() -> None:
    with testing.recording() as seen:
        stream = streamgauge.wrap(builder()).stream("plain")
        del stream
        assert outcomes(seen) == [("abandoned", "")]


async def test_it_is_cancelled() -> None:
    waiting = asyncio.Event()

    async def read() -> None:
        async for event in streamgauge.wrap(builder()).stream("hang"):
            if event.type == "assistant_message":
                waiting.set()

    with testing.recording() as seen:
        task = asyncio.create_task(read())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert outcomes(seen) == [("cancelled", "")]
    assert seen.open == 0


async def test_several_at_once() -> None:
    prompts = ["plain", "tool", "toolfail", "crash"]
    alone = [await transcript(builder().stream(prompt)) for prompt in prompts]
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(builder())
        together = await asyncio.gather(*(transcript(wrapped.stream(prompt)) for prompt in prompts))
    assert together == alone
    assert sorted(outcomes(seen)) == [*[("completed", "")] * 3, ("failed", "zag.types.ZagError")]
    assert len({run["trace_id"] for run in runs(seen)}) == 4
    assert sorted(len([span for span in seen.spans if span["trace_id"] == run["trace_id"]]) for run in runs(seen)) == [
        2, 2, 4, 4,
    ]  # fmt: skip


async def test_exec_is_left_alone() -> None:
    """It gives no stream. Its output would be one JSON object: the stand-in's lines are none."""
    with testing.recording() as seen, pytest.raises(ZagError):
        await streamgauge.wrap(builder()).exec("plain")
    assert seen.spans == []


# Sessions -----------------------------------------------------------------------------------------------------


async def three_turns(made: ZagBuilder) -> list[Any]:
    session = await made.exec_streaming("first")
    got = [await turn(session)]
    for message in ("second", "tool"):
        await session.send_user_message(message)
        got.append(await turn(session))
    session.close_input()
    got.append([event async for event in session.events()])
    await session.wait()
    return [*got, session.is_running, type(session).__name__, isinstance(session, StreamingSession)]


async def test_three_turns(zag: Zag) -> None:
    plain = await three_turns(builder())
    calls = zag.calls()
    capability_check._clear_capability_cache()
    with testing.recording() as seen:
        assert await three_turns(streamgauge.wrap(builder())) == plain
    assert zag.calls() == calls  # nothing more was run
    assert [call[0] for call in calls] == ["discover", "exec"]
    assert seen.tree() == [*ONE_CALL, *ONE_CALL, *WITH_TOOL]
    assert outcomes(seen) == [("completed", "")] * 3
    told = [run["attributes"] for run in runs(seen)]
    assert [each["streamgauge.turn.index"] for each in told] == [0, 1, 2]
    assert [each["gen_ai.request.model"] for each in told] == ["claude-x"] * 3
    assert [each["gen_ai.usage.output_tokens"] for each in told] == [2, 2, 10]
    assert "streamgauge.send.semantics" not in told[1]
    assert seen.count("gen_ai.invoke_agent.duration") == 3
    assert seen.open == 0


async def test_a_run_is_open_for_its_turn_only() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("first")
        assert seen.value("streamgauge.streams.active") == 1
        await turn(session)
        assert (seen.open, len(runs(seen))) == (0, 1)
        assert seen.value("streamgauge.streams.active") == 0
        await session.send_user_message("second")
        assert seen.value("streamgauge.streams.active") == 1
        await turn(session)
        first, second = runs(seen)
        assert first["end"] < second["start"]
        await session.wait()
    assert outcomes(seen) == [("completed", "")] * 2


async def mid_turn(made: ZagBuilder) -> list[Any]:
    session = await made.exec_streaming("asks")
    got: list[Any] = []
    async for event in session.events():
        got.append(event)
        if event.type == "assistant_message" and event.content and event.content[0].text == "Well":
            await session.send_user_message("second")
        if types(got).count("turn_complete") == 2 and event.type == "result":
            session.close_input()
    await session.wait()
    return got


async def test_a_message_in_mid_turn() -> None:
    plain = await mid_turn(builder())
    with testing.recording() as seen:
        assert await mid_turn(streamgauge.wrap(builder())) == plain
    assert types(plain).count("turn_complete") == 2
    assert seen.tree() == [*ONE_CALL, *ONE_CALL]
    first, second = runs(seen)
    assert first["attributes"]["streamgauge.send.semantics"] == "queue"
    assert "streamgauge.send.semantics" not in second["attributes"]
    assert first["end"] == second["start"]
    assert outcomes(seen) == [("completed", "")] * 2


async def test_a_turn_that_fails_and_one_that_does_not() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("unwell")
        await turn(session)
        await session.send_user_message("second")
        events = await turn(session)
        await session.wait()
    assert types(events)[0] == "result"
    assert outcomes(seen) == [("failed", "result_error"), ("completed", "")]


async def crashing(made: ZagBuilder) -> list[Any]:
    session = await made.exec_streaming("first")
    got = [await turn(session)]
    await session.send_user_message("crash")
    got.append(await transcript(session.events()))
    with pytest.raises(ZagError) as raised:
        await session.wait()
    return [*got, raised.value.args, raised.value.exit_code, raised.value.stderr]


async def test_a_crash_is_told_by_wait() -> None:
    plain = await crashing(builder())
    with testing.recording() as seen:
        assert await crashing(streamgauge.wrap(builder())) == plain
    assert outcomes(seen) == [("completed", ""), ("failed", "zag.types.ZagError")]
    assert runs(seen)[1]["status_message"] == "zag exited with code 2"
    assert seen.open == 0


async def test_a_crash_that_nobody_waits_for() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("crash")
        assert len(await transcript(session.events())) == 3
        del session
        assert outcomes(seen) == [("truncated", "truncated")]


async def test_output_that_ends_in_mid_turn() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("cut")
        await transcript(session.events())
        await session.wait()
    assert outcomes(seen) == [("truncated", "truncated")]


async def test_it_is_not_read_to_the_end() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("first")
        await session.wait()
    assert outcomes(seen) == [("abandoned", "")]


async def test_it_is_told_to_stop() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("hang")
        events = session.events()
        await anext(events)
        session.terminate()
        assert outcomes(seen) == [("cancelled", "")]
        with pytest.raises(ZagError) as raised:
            await session.wait()
        assert raised.value.exit_code == -15
        await events.aclose()
    assert outcomes(seen) == [("cancelled", "")]


async def test_it_is_told_to_stop_between_turns() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("first")
        await turn(session)
        session.terminate()
    assert outcomes(seen) == [("completed", "")]


async def test_it_is_dropped() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("hang")
        events = session.events()
        assert types([await anext(events), await anext(events)]) == ["init", "assistant_message"]
        await events.aclose()
        assert seen.open == 2
        del events, session
        assert outcomes(seen) == [("abandoned", "")]
    assert seen.open == 0


async def test_reading_is_cancelled() -> None:
    waiting = asyncio.Event()

    async def read() -> None:
        session = await streamgauge.wrap(builder()).exec_streaming("hang")
        async for event in session.events():
            if event.type == "assistant_message":
                waiting.set()

    with testing.recording() as seen:
        task = asyncio.create_task(read())
        await waiting.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        del task  # it holds its exception, which holds the session
        gc.collect()
        assert outcomes(seen) == [("cancelled", "")]


async def test_a_read_that_is_cancelled_can_be_made_again() -> None:
    """With a time limit for each event, say."""
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("asks")
        got = [await anext(session.events()) for _ in range(3)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(session.events())
        await session.send_user_message("second")
        session.close_input()
        got += await transcript(session.events())
        await session.wait()
    assert types(got).count("turn_complete") == 2
    assert outcomes(seen) == [("completed", "")] * 2


async def test_a_read_that_fails() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("bigline")
        with pytest.raises(ValueError, match="limit"):
            await turn(session)
        assert outcomes(seen) == [("failed", "ValueError")]
        while True:  # a line may fail more than once, as it arrives
            with contextlib.suppress(ValueError):
                assert types(await turn(session))[-1] == "turn_complete"
                break
        await session.send_user_message("second")
        await turn(session)
        await session.wait()
    assert outcomes(seen) == [("failed", "ValueError"), ("completed", "")]


async def sending_to_nobody(made: ZagBuilder) -> list[Any]:
    session = await made.exec_streaming("cut")
    await transcript(session.events())
    await session._proc.wait()
    got = []
    for _ in range(2):
        try:
            await session.send_user_message("second")
        except Exception as error:
            got.append((type(error), error.args))
    return [*got, session.is_running]


async def test_a_message_to_nobody() -> None:
    plain = await sending_to_nobody(builder())
    with testing.recording() as seen:
        assert await sending_to_nobody(streamgauge.wrap(builder())) == plain
    assert ConnectionResetError in [error[0] for error in plain[:-1]]
    assert outcomes(seen) == [("truncated", "truncated")]


async def test_messages_that_are_not_zags_own_words() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("first")
        await turn(session)
        await session.send('{"type": "other", "content": "second"}')  # the stand-in takes it for a message
        assert seen.open == 0
        await turn(session)
        with pytest.raises(TypeError):
            await session.send(None)
        session.close_input()
        await session.wait()
    assert outcomes(seen) == [("completed", "")] * 2


async def test_a_message_after_the_last() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("first")
        await turn(session)
        session.close_input()
        with contextlib.suppress(ConnectionError):
            await session.send_user_message("second")
        assert types(await transcript(session.events())) == ["result", "result"]
        await session.wait()
    assert outcomes(seen) == [("completed", "")]


async def test_waiting_is_given_up() -> None:
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("hang")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await session.wait()
        assert seen.open == 1
        session.terminate()
    assert outcomes(seen) == [("cancelled", "")]


async def test_a_provider_that_takes_no_messages() -> None:
    with testing.recording() as seen, pytest.raises(ZagFeatureUnsupportedError):
        await streamgauge.wrap(ZagBuilder().provider("gemini")).exec_streaming("first")
    assert outcomes(seen) == [("failed", "zag.types.ZagFeatureUnsupportedError")]
    assert runs(seen)[0]["attributes"]["gen_ai.provider.name"] == "gcp.gemini"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ZagBuilder(), "queue"),
        (lambda: ZagBuilder().provider("claude"), "queue"),
        (lambda: ZagBuilder().provider("own"), None),
    ],
)
async def test_send_semantics_without_asking(make: Callable[[], ZagBuilder], expected: str | None) -> None:
    """Where the executable knows no such provider, zag runs it all the same."""
    with testing.recording() as seen:
        session = await streamgauge.wrap(make()).exec_streaming("first")
        await session.send_user_message("second")
        await turn(session)
        await turn(session)
        await session.wait()
    assert [run["attributes"].get("streamgauge.send.semantics") for run in runs(seen)] == [expected, None]


async def test_send_semantics_as_the_executable_says(zag: Zag) -> None:
    support = {"supported": True, "semantics": "between-turns-only"}
    capability = {"provider": "claude", "features": {"streaming_input": support}}
    from zag.types import ProviderCapability

    capability_check._set_capabilities_for_testing(str(zag.path), [ProviderCapability.from_dict(capability)])
    with testing.recording() as seen:
        session = await streamgauge.wrap(builder()).exec_streaming("first")
        await session.send_user_message("second")
        await turn(session)
        assert seen.open == 0
        await session.wait()
    assert [run["attributes"]["streamgauge.send.semantics"] for run in runs(seen)] == ["between-turns-only"]


async def test_a_session_is_wrapped_itself() -> None:
    plain = await builder().exec_streaming("first")
    with testing.recording() as seen:
        session = streamgauge.wrap(plain)
        assert isinstance(session, StreamingSession)
        assert original(session) is plain
        assert streamgauge.wrap(session) is session
        assert session.is_running
        await turn(session)
        await session.send_user_message("tool")
        await turn(session)
        await session.wait()
    assert seen.tree() == [
        line.replace("claude", "zag", 1) if "invoke" in line else line for line in [*ONE_CALL, *WITH_TOOL]
    ]
    assert outcomes(seen) == [("completed", "")] * 2


async def test_sessions_at_once() -> None:
    with testing.recording() as seen:
        wrapped = streamgauge.wrap(builder())
        got = await asyncio.gather(*(three_turns(wrapped) for _ in range(3)))
    assert got[0] == got[1] == got[2]
    assert outcomes(seen) == [("completed", "")] * 9
    assert seen.open == 0
