"""The proxy, as a process of its own."""

from __future__ import annotations

import re
import subprocess
import threading
from typing import Any

__all__ = ["Proxy"]

START_S = 20.0
_LISTENING = re.compile(r"http://[\w.:\[\]-]+:\d+")


class Proxy:
    """`streamgauge proxy` in front of one upstream, on a port of its own choice, which it prints."""

    def __init__(self, command: list[str], upstream: str) -> None:
        self._command = [*command, "--upstream", upstream, "--port", "0"]
        self.url = ""

    def __enter__(self) -> Proxy:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        started = threading.Event()
        output: list[str] = []
        stdout: Any = self._process.stdout

        def read() -> None:
            for line in stdout:
                output.append(line)
                found = _LISTENING.search(line)
                if found and not self.url and "upstream" not in line.lower():
                    self.url = found.group()
                    started.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        if not started.wait(START_S):
            self._process.kill()
            raise AssertionError(f"the proxy did not start:\n{''.join(output)}")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(START_S)
        self._reader.join(START_S)
        stdout: Any = self._process.stdout
        stdout.close()
