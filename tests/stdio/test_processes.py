"""`streamgauge.stdio`: asyncio's own processes, watched."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Any

import pytest

import streamgauge.stdio
from streamgauge import dialects, testing
from streamgauge.errors import UnknownDialectError, UsageError

ECHO = "import os\nwhile said := os.read(0, 65536): os.write(1, said)"


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-IS", "-c", program)


def spans(seen: testing.Seen, name: str) -> list[dict[str, Any]]:
    return [span for span in seen.spans if span["name"].startswith(name)]


async def test_it_is_asyncios_process_and_its_bytes_are_the_same(seen: testing.Seen) -> None:
    process = await streamgauge.stdio.create_subprocess_exec(*python(ECHO), stdin=PIPE, stdout=PIPE)
    assert type(process) is Process
    assert process.stdin is not None
    assert process.stdout is not None
    assert (type(process.stdin), type(process.stdout)) == (asyncio.StreamWriter, asyncio.StreamReader)
    for said in (b'{"ask": 1}\n', b'{"ask": 2}\n'):
        process.stdin.write(said)
        await process.stdin.drain()
        assert await process.stdout.readline() == said
    process.stdin.writelines([b"a", b"b\n"])
    assert await process.stdout.readexactly(3) == b"ab\n"
    process.stdin.close()
    assert await process.stdout.read() == b""
    assert await process.wait() == 0
    await until_closed(seen)
    assert seen.tree() == [f"session {sys.executable.rpartition('/')[2]}", *["  invoke_agent"] * 3]
    (session,) = spans(seen, "session")
    assert session["attributes"]["process.exit.code"] == 0
    assert session["attributes"]["streamgauge.transport"] == "stdio"


async def test_communicate_is_asyncios_own(seen: testing.Seen) -> None:
    noise = bytes(range(256)) * 8192 + b"\nlast"
    process = await streamgauge.stdio.create_subprocess_exec(*python(ECHO), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await process.communicate(noise) == (noise, b"")
    assert process.returncode == 0
    await until_closed(seen)


async def test_the_parent_is_what_is_current_and_the_process_is_given_its_span(seen: testing.Seen) -> None:
    with streamgauge.run("outer"):
        process = await streamgauge.stdio.create_subprocess_exec(
            "sh", "-c", "echo $TRACEPARENT $MINE", stdout=PIPE, env={"PATH": "/bin:/usr/bin", "MINE": "here"}
        )
        out, _ = await process.communicate()
    await until_closed(seen)
    (session,), (outer,) = spans(seen, "session"), spans(seen, "invoke_agent outer")
    traceparent, mine = out.decode().split()
    assert (traceparent[:-3], mine) == (f"00-{session['trace_id']}-{session['span_id']}", "here")
    assert session["parent_id"] == outer["span_id"]


@pytest.mark.parametrize(
    ("program", "how", "outcome", "error"),
    [
        ("echo a; exit 3", None, "failed", "exit_3"),
        ("echo a; kill -9 $$", None, "failed", "SIGKILL"),
        ("echo a; exec cat", "terminate", "cancelled", None),
        ("echo a; exec cat", "kill", "cancelled", None),
        ("echo a; exit 0", None, "completed", None),
    ],
)
async def test_how_it_ended(program: str, how: str | None, outcome: str, error: str | None, seen: testing.Seen) -> None:
    process = await streamgauge.stdio.create_subprocess_exec("sh", "-c", program, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"a\n"
    if how:
        getattr(process, how)()
    await process.stdout.read()
    await process.wait()
    await until_closed(seen)
    (session,) = spans(seen, "session")
    assert (session["attributes"]["streamgauge.outcome"], session["attributes"].get("error.type")) == (outcome, error)


async def until_closed(seen: testing.Seen) -> None:
    """The event loop tells of an exit and of an end of output in either order, and `wait` returns with the first."""
    async with asyncio.timeout(20):
        while seen.open:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_grandchild_that_keeps_the_output_is_the_same_session(seen: testing.Seen) -> None:
    process = await streamgauge.stdio.create_subprocess_exec(
        "sh", "-c", "(read x; echo late) <&3 3<&- & exit 0", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout is not None
    await process.wait()
    await process.stdout.read()
    await until_closed(seen)
    assert len(spans(seen, "session")) == 1


async def test_a_command_that_is_not_there(seen: testing.Seen) -> None:
    with pytest.raises(FileNotFoundError):
        await streamgauge.stdio.create_subprocess_exec("no-such-command")
    (session,) = seen.spans
    assert (session["name"], session["attributes"]["error.type"]) == ("session no-such-command", "FileNotFoundError")


async def test_a_mistake_starts_nothing(seen: testing.Seen) -> None:
    with pytest.raises(UnknownDialectError):
        await streamgauge.stdio.create_subprocess_exec("true", dialect="nobodys")
    with pytest.raises(UsageError, match="reads sse"):
        await streamgauge.stdio.create_subprocess_exec("true", dialect="vercel-ai")
    assert seen.spans == []


async def test_a_process_that_there_is_already(seen: testing.Seen) -> None:
    process = await asyncio.create_subprocess_exec(*python(ECHO), stdin=PIPE, stdout=PIPE)
    assert streamgauge.stdio.wrap(process, name="echo") is process
    assert streamgauge.stdio.wrap(process) is process
    assert await process.communicate(b"a\n") == (b"a\n", None)
    await until_closed(seen)
    assert seen.tree() == ["session echo", "  invoke_agent"]


async def test_wrap_takes_a_process_too(seen: testing.Seen) -> None:
    process = await asyncio.create_subprocess_exec(*python(ECHO), stdin=PIPE, stdout=PIPE)
    with pytest.raises(UsageError, match="timeout_s and operation"):
        streamgauge.wrap(process, timeout_s=1.0)
    assert streamgauge.wrap(process, agent_name="echo", conversation_id="c-1") is process
    assert streamgauge.wrap(process) is process
    assert await process.communicate(b"a\n") == (b"a\n", None)
    await until_closed(seen)
    assert [span["attributes"]["gen_ai.conversation.id"] for span in spans(seen, "invoke_agent echo")] == ["c-1"]


async def test_a_process_that_has_ended(seen: testing.Seen) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
    await process.wait()
    streamgauge.stdio.wrap(process)
    (session,) = seen.spans
    assert session["attributes"]["error.type"] == "exit_4"


async def test_a_dialect_of_one_run(seen: testing.Seen) -> None:
    process = await streamgauge.stdio.create_subprocess_exec(
        "sh", "-c", """echo '{"type":"init","model":"m"}'""", stdout=PIPE, dialect="zag",
        fields={"conversation_id": "c-1"},
    )  # fmt: skip
    await process.communicate()
    await until_closed(seen)
    (run,) = spans(seen, "invoke_agent")
    assert run["name"] == "invoke_agent sh"
    assert run["attributes"]["gen_ai.conversation.id"] == "c-1"
    assert run["attributes"]["streamgauge.outcome"] == "truncated"


async def test_a_slow_caller_is_the_callers_wait(seen: testing.Seen) -> None:
    process = await streamgauge.stdio.create_subprocess_exec(
        *python("import os\nfor _ in range(64): os.write(1, b'x' * 65535 + b'\\n')"), stdout=PIPE, limit=4096
    )
    assert process.stdout is not None
    size = 0
    while data := await process.stdout.read(65_536):
        size += len(data)
    assert size == 64 * 65_536
    await until_closed(seen)
    assert seen.value("streamgauge.stream.chunks") == 64


async def test_where_nobody_watches_it_is_harmless(seen: testing.Seen) -> None:
    process = await streamgauge.stdio.create_subprocess_exec("sh", "-c", "exit 2")
    assert await process.wait() == 2
    assert not seen.open


@pytest.mark.parametrize(
    ("command", "dialect"),
    [
        (("/opt/bin/zag", "exec", "-o", "stream-json", "Hi there"), "zag-wire"),
        (("claude", "-p", "Hi there", "--output-format", "stream-json"), "claude-code"),
        (("claude", "-p", "Hi there"), "generic-messages"),
        (("cat",), "generic-messages"),
    ],
)
def test_the_dialect_is_the_one_that_claims_the_command_line(command: tuple[str, ...], dialect: str) -> None:
    if dialect not in dialects.names():
        pytest.skip("it is not registered")
    assert streamgauge.stdio.by_command(command) == dialect
