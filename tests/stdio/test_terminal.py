"""`streamgauge exec` as a job of a shell at a terminal: Ctrl-C, Ctrl-Z, `fg`, and the window's size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stdio.running import BARE, EXEC, PATIENCE_S, asides, environment

TELLS = """
import os, signal, sys
signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b"size %d\\n" % os.get_terminal_size(0).columns))
os.write(1, b"up %d\\n" % os.isatty(0))
while said := os.read(0, 100):
    os.write(1, b"said " + said)
"""


class Terminal:
    """An interactive shell, and what it shows."""

    def __init__(self, folder: Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environment(PS1="$ ", TERM="dumb"))
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """What is shown next that has this."""
        end = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.shown)):
            assert select.select([self.fd], [], [], max(0.0, end - time.monotonic()))[0], self.shown
            self.shown += os.read(self.fd, 4096).decode(errors="replace").replace("\r\n", "\n")
        self.shown = self.shown[found.end() :]
        return found


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "tells.py").write_text(TELLS)
    made = Terminal(tmp_path)
    try:
        made.type("stty -echo\n")
        made.until(r"stty.*\n\$ $")
        yield made
    finally:
        os.close(made.fd)
        os.kill(made.pid, signal.SIGKILL)
        os.waitpid(made.pid, 0)


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_job_at_a_terminal(before: tuple[str, ...], terminal: Terminal, tmp_path: Path) -> None:
    command = " ".join([*before, *(["--"] if before else []), "python3 -IS tells.py"])
    terminal.type(f"{command}\n")
    terminal.until(r"up 1\n")
    terminal.type("one\n")
    terminal.until(r"said one\n")
    for _ in range(2):
        terminal.type("\x1a")
        terminal.until(r"\[1\]\+  Stopped")
        terminal.type("echo $?\n")
        assert terminal.until(r"(\d+)\n")[1] == "148", "by SIGTSTP"
        terminal.type("fg\n")
        terminal.until(r"tells\.py\n")
        terminal.type("two\n")
        terminal.until(r"said two\n")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 133, 0, 0))
    terminal.until(r"size 133\n")
    assert "size" not in terminal.shown
    terminal.type("\x03")
    terminal.until(r"\$ $")
    terminal.type("echo code $?\n")
    assert terminal.until(r"code (\d+)\n")[1] == "130"
    terminal.type(f"{command}\n")
    terminal.until(r"up 1\n")
    terminal.type("\x04")
    terminal.until(r"\$ $")
    terminal.type("echo code $?\n")
    assert terminal.until(r"code (\d+)\n")[1] == "0"
    if before:
        assert asides(tmp_path)[-1] == ("exited", {"code": 0})


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_ctrl_c_comes_once(before: tuple[str, ...], terminal: Terminal, tmp_path: Path) -> None:
    counts = "import signal, time, os; signal.signal(2, lambda *_: os.write(1, b'int\\n')); os.write(1, b'up\\n')"
    (tmp_path / "counts.py").write_text(counts + "\nwhile True: signal.pause()\n")
    terminal.type(" ".join([*before, *(["--"] if before else []), "python3 -IS counts.py\n"]))
    terminal.until(r"up\n")
    for _ in range(3):
        terminal.type("\x03")
        terminal.until(r"int\n")
        assert "int" not in terminal.shown
    terminal.type("\x1c")
    terminal.until(r"\$ $")
    terminal.type("echo code $?\n")
    assert terminal.until(r"code (\d+)\n")[1] == "131"
