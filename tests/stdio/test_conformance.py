"""The conformance matrix over pipes: each capture of a dialect that reads lines, played by a process, with every way to
end one. The caller gets the bytes that it gets without us, each line before the next is written, and the telemetry is
what the same lines give without a process.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from stdio.running import EXEC, PATIENCE_S, done, python, running
from streamgauge import capture, dialects, testing
from streamgauge.replay import replay
from streamgauge.wire import Aside

CAPTURES = Path(__file__).parent.parent / "captures"
LOUD = (
    "streamgauge.outcome", "error.type", "gen_ai.response.finish_reasons", "gen_ai.request.model", "gen_ai.tool.name",
    "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "streamgauge.stream.chunks",
)  # fmt: skip

PLAYS = """
import os, signal, sys
count, how = int(sys.argv[2]), sys.argv[3]
lines = open(sys.argv[1], "rb").read().splitlines(True)
for line in lines[:count]:
    os.write(1, line)
    assert os.read(0, 1) == b"."
if how.startswith("SIG"):
    os.kill(os.getpid(), getattr(signal, how))
os._exit(int(how))
"""
ENDS = {"0": (0, None), "3": (3, "exit_3"), "SIGKILL": (-signal.SIGKILL, "SIGKILL")}


def lines(name: str) -> tuple[str, list[bytes]]:
    """The dialect, and the agent's lines."""
    found = capture.read(CAPTURES / f"{name}.ndjson")
    written = []
    for event in found.events:
        if isinstance(event.data, Aside):
            continue
        text = event.data if isinstance(event.data, str) else json.dumps(event.data)
        written.append(text.encode() + b"\n")
    return found.request.dialect, written


def readable(path: Path) -> bool:
    head = json.loads(path.read_text().splitlines()[0])
    kind = dialects.find(head.get("dialect", ""))
    if kind is None or kind.framing != "ndjson" or (kind.opens_runs and not kind.commands and kind.sockets):
        return False
    try:
        return all(not isinstance(event.data, bytes) for event in capture.read(path).events)
    except Exception:
        return False


NAMES = sorted(path.stem for path in CAPTURES.glob("*.ndjson") if readable(path))


def facts(spans: list[dict[str, Any]]) -> list[Any]:
    told = [
        (span["name"].split()[0], [span["attributes"].get(name) for name in LOUD], span["status"])
        for span in spans
        if not span["name"].startswith("session")
    ]
    return sorted(told, key=repr)


def test_there_are_such_captures() -> None:
    assert len(NAMES) >= 3


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_process_that_plays_a_capture(name: str, how: str, tmp_path: Path) -> None:
    dialect, written = lines(name)
    (tmp_path / "lines").write_bytes(b"".join(written))
    count = len(written) if how == "0" else len(written) // 2
    before = (*EXEC, "--dialect", dialect, "--no-stdin")
    code, _ = ENDS[how]
    player = python(PLAYS, "lines", str(count), how)
    with running(*player, cwd=tmp_path, before=before, stdin=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        got = b""
        for line in written[:count]:
            wanted = len(got) + len(line)
            while len(got) < wanted:  # it writes no more before it is told to
                piece = os.read(process.stdout.fileno(), 65_536)
                assert piece
                got += piece
            os.write(process.stdin.fileno(), b".")
        assert process.stdout.read() == b""
        assert process.wait(PATIENCE_S) == code
    assert got == b"".join(written[:count])
    played = capture.read(tmp_path / "capture.ndjson")
    with testing.recording() as seen:
        replay(played, seen.pipeline)
        spans = seen.spans
    assert facts(spans) == facts(expected(dialect, written[:count], how, player))


def expected(dialect: str, written: list[bytes], how: str, player: tuple[str, ...]) -> list[dict[str, Any]]:
    """The same lines, without a process."""
    from streamgauge import duplex
    from streamgauge.wire import Outcome

    with testing.recording() as seen:
        watch = duplex.watch("stdio", dialect=dialect, pipeline=lambda: seen.pipeline, agent_name="x")
        conversation = watch("", {}, name="x", command=player)
        for at, line in enumerate(written):
            conversation.received(line.decode().rstrip("\n"), at)
        _, error = ENDS[how]
        conversation.end(outcome=Outcome.FAILED if error else None, error_type=error or "")
        return seen.spans


@pytest.mark.parametrize("name", NAMES)
def test_a_flood_of_it_is_the_same_bytes(name: str, tmp_path: Path) -> None:
    dialect, written = lines(name)
    (tmp_path / "lines").write_bytes(b"".join(written) * 50)
    code, out, err = done("cat", "lines", cwd=tmp_path, before=(*EXEC, "--dialect", dialect))
    assert (code, out, err) == (0, b"".join(written) * 50, b"")
