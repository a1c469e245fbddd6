"""Processes that are started for the tests, and ended with them."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

__all__ = ["ROOT", "Process", "command", "environment", "free_port", "until"]

ROOT = Path(__file__).parents[4]
PATIENCE_S = 45.0
_T = TypeVar("_T")


def until(what: Callable[[], _T], *, told: str, timeout_s: float = PATIENCE_S) -> _T:
    """What `what` gives, once that is true: for the state of other processes, which nothing tells us."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {told}")
        time.sleep(0.1)
    return found


def free_port() -> int:
    """For programs that cannot take one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def command(*names: str) -> str:
    """The first of these programs that there is: of `scripts/get_tools`, or on the PATH."""
    places = f"{ROOT / '.tools/usr/bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    found = next(filter(None, (shutil.which(name, path=places) for name in names)), None)
    if found is None:
        pytest.fail(f"there is no {names[0]}: scripts/get_tools gets it")
    return found


def environment(**variables: str) -> dict[str, str]:
    """Nothing is set, whatever is where the tests run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
    return {**ours, "PYTHONUNBUFFERED": "1", **variables}


class Process:
    """One that says in lines what it does; they are kept for those who look why a test failed."""

    def __init__(
        self, *arguments: str | Path, cwd: Path, name: str, variables: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=cwd, env=environment(**(variables or {})), text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def python(
        cls, *arguments: str | Path, cwd: Path, name: str, variables: Mapping[str, str] | None = None
    ) -> Process:
        return cls(sys.executable, *arguments, cwd=cwd, name=name, variables=variables)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip())
            self._lines.put(line)
        self._lines.put(None)

    def said(self, pattern: str) -> re.Match[str]:
        """What is found in its first line that has this."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))
            if line is None:
                raise RuntimeError(f"{self.name} ended: {self.log[-20:]}")
            found = re.search(pattern, line)
            if found is not None:
                return found

    def children(self) -> list[int]:
        found: list[int] = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
        return sorted(found)

    def alive(self) -> bool:
        return self.process.poll() is None

    def tell(self) -> None:
        """To end."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        self.tell()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
