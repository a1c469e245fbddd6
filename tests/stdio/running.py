"""Real commands, bare and through `streamgauge exec`, and what is told of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0
BARE = ()
EXEC = (sys.executable, "-m", "streamgauge", "exec", "--capture", "capture.ndjson")
"""It watches: there is something to keep."""


def environment(**variables: str) -> dict[str, str]:
    """Nothing is set, whatever is where the tests run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
    for name in ("PYTHONPATH", "TRACEPARENT", "TRACESTATE"):
        ours.pop(name, None)
    return {**ours, **variables}


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """A command that is a program of Python's, as quick to start as that can be."""
    return (sys.executable, "-IS", "-c", program, *arguments)


@contextmanager
def running(
    *command: str, cwd: Path, before: tuple[str, ...] = EXEC, env: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Started, and killed at the end where it still runs.

    Args:
        before: what stands before the command: `EXEC`, or `BARE`.
    """
    line = (*before, "--", *command) if before else command
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=cwd, env=env or environment(), **{**streams, **options}) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def done(
    *command: str, cwd: Path, before: tuple[str, ...] = EXEC, said: bytes | None = None, **options: Any
) -> tuple[int, bytes, bytes]:
    """How it ended, and what it wrote to output and to error."""
    if said is not None:
        options["stdin"] = subprocess.PIPE
    with running(*command, cwd=cwd, before=before, **options) as process:
        out, err = process.communicate(said, timeout=PATIENCE_S)
        return process.returncode, out, err


def captured(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "capture.ndjson").read_text().splitlines()]


def lines_of(folder: Path) -> list[str]:
    """What was told of the command's output."""
    return [entry["data"] for entry in captured(folder) if "data" in entry and "aside" not in entry]


def ending(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = captured(folder)[-1]["end"]
    return found


def asides(folder: Path) -> list[tuple[str, Any]]:
    """After the first, which says what was started."""
    (_, *found) = [(entry["aside"], entry["data"]) for entry in captured(folder) if "aside" in entry]
    return found


def children(pid: int) -> list[int]:
    """The processes that it has started."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, listed.read_text().split())
    return sorted(found)


def state(pid: int) -> str:
    """R, S, D, T (stopped), Z; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def commands(pid: int) -> list[int]:
    """Of the processes that it has started, those that are not ours."""
    return [each for each in children(pid) if b"streamgauge" not in Path(f"/proc/{each}/cmdline").read_bytes()]


def files(pid: int) -> list[str]:
    """What it has open."""
    try:
        return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []
