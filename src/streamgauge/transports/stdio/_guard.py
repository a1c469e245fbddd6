"""A second process beside the command: it sees and does what one process alone cannot.

It is forked before anything else is started, does nothing of its own accord, and is of the same process group. It

- tells which signals came to the whole group, a terminal's Ctrl-C among them: the command has those already;
- kills the command where this process was killed: without us, that would have been the command's end;
- goes on relaying for a grandchild that still has the command's output, so that this process can end with the command.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

__all__ = ["Guard", "close_inherited", "write_all"]

_ASK, _COMMAND, _OVER, _LET_GO, _CARRY_ON, _FAREWELL = b"?", b"p", b"o", b"l", b"c", b"x"
_PATIENCE_MS = 5_000
"""For the guard's answer, on a machine that has other things to do. One that is gone answers at once."""
_APART_S = 0.005
"""What may lie between the signal's coming here and there: the sender goes from process to process."""
_PIECE = 65_536


class Guard:
    """The guard, as this process has it. Where there can be none, all goes on without."""

    def __init__(self, source: int) -> None:
        """
        Args:
            source: what it would relay to standard output.
        """
        asked, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:  # no more processes: the command has the better use for one
            self.pid = -1
        if self.pid == 0:
            try:
                _stand(source, asked, answer)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answer)
        self._stays = False
        self._got = 0

    def watches(self, command: int) -> None:
        self._tell(_COMMAND + command.to_bytes(8, "big"))

    def also_got(self, number: int) -> bool:
        """Whether a signal that came here came to the whole group."""
        self._tell(_ASK + bytes([number]))
        poller = select.poll()
        poller.register(self._answers, select.POLLIN)
        try:
            if poller.poll(_PATIENCE_MS):
                self._got |= int.from_bytes(os.read(self._answers, 16), "big")
        except OSError:  # it is gone
            pass
        got, self._got = self._got >> number & 1, self._got & ~(1 << number)
        return bool(got)

    def command_over(self) -> None:
        """There is no command to kill any more."""
        self._tell(_OVER)

    def let_go(self) -> None:
        """Of the output: nobody reads it, or nobody writes it, and whoever is at the other end is to notice."""
        self._tell(_LET_GO)

    def carry_on(self) -> None:
        """Relay the rest, and outlive this process."""
        self._stays = True
        self._tell(_CARRY_ON)

    def dismiss(self) -> None:
        self._tell(_FAREWELL)
        if self.pid > 0 and not self._stays:
            try:
                os.waitpid(self.pid, 0)
            except OSError:
                pass

    def _tell(self, what: bytes) -> None:
        try:
            os.write(self._ask, what)
        except OSError:  # it is gone, and with it what only it can do
            pass


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, as fast as the reader takes it; also to what somebody has made non-blocking.

    Raises: OSError, which is BrokenPipeError where nobody reads any more.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


def close_inherited() -> None:
    """Close what was inherited but the standard streams: who reads it is to see its end when the command is through
    with it. What was opened here is not inheritable."""
    _close(os.get_inheritable)


def _close(unwanted: Callable[[int], bool]) -> None:
    try:
        listed = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return
    for fd in listed:
        try:
            if fd > 2 and unwanted(fd):
                os.close(fd)
        except OSError:  # the listing's own
            pass


def _stand(source: int, asked: int, answer: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 2):
        os.dup2(nowhere, fd)
    _close(lambda fd: fd not in (source, asked, answer))
    command = 0
    while True:
        said = os.read(asked, 1)
        if said == _ASK:
            os.write(answer, _taken(os.read(asked, 1)[0]).to_bytes(16, "big"))
        elif said == _COMMAND:
            command = _handle(int.from_bytes(os.read(asked, 8), "big"))
        elif said == _OVER:
            command = 0
        elif said == _LET_GO:
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.close(source)
        elif said == _FAREWELL:
            return
        else:
            if not said and command:
                _kill(command)
            break
    try:
        while piece := os.read(source, _PIECE):
            write_all(1, piece)
    except OSError:
        pass


def _taken(number: int) -> int:
    """The signals that came since the last time, as bits; also that one, if it is about to come. All are blocked here,
    so they wait."""
    bits = _bit(number, _APART_S)
    for pending in signal.sigpending():
        bits |= _bit(pending, 0.0)
    return bits


def _bit(number: int, timeout_s: float) -> int:
    """That signal's, if it comes. One that was pending may be gone again: a stop and SIGCONT take each other back."""
    if hasattr(signal, "sigtimedwait"):
        return 1 << number if signal.sigtimedwait({number}, timeout_s) is not None else 0
    return 1 << signal.sigwait({number}) if number in signal.sigpending() else 0


def _handle(pid: int) -> int:
    """What the command is killed by: it must not be another process that has got its number since. Negative: a pid."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -pid


def _kill(command: int) -> None:
    try:
        if command > 0:
            signal.pidfd_send_signal(command, signal.SIGKILL)
        else:
            os.kill(-command, signal.SIGKILL)
    except OSError:
        pass
