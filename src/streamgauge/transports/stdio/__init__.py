"""The stdio transport: a command between a caller and us, as if we were not there.

Standard output is relayed by a thread that reads what there is, writes it at once, and then tells of it; standard input
likewise, where somebody wants to see it. Standard error is the command's own. The main thread waits for signals and for
the command's end: it passes the one on, and tells the other. Nothing here needs an event loop, as that would cost more
than a tenth of a second before the command is started.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Event, Thread, main_thread

from streamgauge.transports.stdio._command import (
    ENDING,
    PASSED,
    Ended,
    Wiring,
    environment,
    judged,
    leave,
    missing,
    replace_us,
    signal_name,
    spawn,
)
from streamgauge.transports.stdio._guard import Guard, close_inherited, write_all
from streamgauge.transports.stdio._told import Told

__all__ = ["Ended", "Relay", "Told", "Wiring", "environment", "judged", "leave", "missing", "replace_us", "signal_name"]

_clock = time.monotonic_ns
_PIECE = 65_536
"""What a pipe holds."""
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Relay:
    """One command, from its start to its end. For the main thread."""

    def __init__(self, command: list[str], variables: Mapping[str, str], wiring: Wiring, told: Told) -> None:
        self._command = command
        self._variables = variables
        self._wiring = wiring
        self._told = told
        self._mask: set[int] = set()
        self._pid = 0
        self._relayed = Event()
        self._stopped = False
        self._continued = False  # by us, and not stopped since
        self.told_to_end = False
        self.reader_left = False
        self.started_at = self.ended_at = 0

    def start(self, *, keeps_stderr: bool = False) -> None:
        """Start the command, and relay.

        Args:
            keeps_stderr: somebody here will still write to it.
        Raises: OSError where it cannot be started; then everything is as before.
        """
        wanted = PASSED | {signal.SIGCHLD}
        self._mask = {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, wanted)}
        self._source, sink = os.pipe()
        self._woken, self._wake = os.pipe()
        self._guard = Guard(self._source)
        ends = {} if 1 in self._wiring.closed else {1: sink}
        if self._wiring.stderr_joined:
            ends[2] = sink
        if self._wiring.stdin_relayed:
            ends[0], self._feed = os.pipe()
        self.started_at = _clock()
        try:
            self._pid = spawn(self._command, self._variables, self._mask, ends, self._wiring)
        except OSError:
            self._guard.dismiss()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            raise
        for end in {sink, *ends.values()}:
            os.close(end)
        close_inherited()
        if not keeps_stderr:
            _give_up(2)
        self._guard.watches(self._pid)
        if self._wiring.stdin_relayed:
            Thread(target=self._relay_in, name="streamgauge-stdin", daemon=True).start()
        else:
            _give_up(0)
        Thread(target=self._relay_out, name="streamgauge-stdout", daemon=True).start()

    def wait(self) -> Ended:
        """Until the command has ended, and all that it wrote is handed on."""
        wanted = PASSED | {signal.SIGCHLD}
        ended: Ended | None = None
        while ended is None or not self._relayed.is_set():
            number = signal.sigwait(wanted)
            if number != signal.SIGCHLD:
                if ended is None:
                    self._pass_on(number)
                elif number in ENDING:  # nobody reads what is left
                    break
            elif ended is None:
                ended = self._news()
                if ended is not None:
                    self.ended_at = _clock()
                    self._guard.command_over()
                    os.write(self._wake, b"x")
        return ended

    # Signals ----------------------------------------------------------------------------------------------------

    def _pass_on(self, number: int) -> None:
        self.told_to_end |= number in ENDING
        # A stop takes back a SIGCONT that nobody has seen yet, the guard's too. So one that was passed on may have
        # continued what was stopped again already, and then the next stop is passed on whoever has it.
        overtaken = number == signal.SIGTSTP and self._continued
        if not self._guard.also_got(number) or overtaken:
            os.kill(self._pid, number)  # it is there: nobody but us waits for it
            self._continued = number == signal.SIGCONT or (self._continued and not overtaken)
        if number == signal.SIGCONT:
            self._stopped = False
        elif number == signal.SIGTSTP and self._stopped:
            self._stop(number)  # there will be no news of it
        if number in ENDING:
            self._told.aside("signalled", {"signal": signal_name(number)}, _clock())

    def _news(self) -> Ended | None:
        """How the command has ended, if it has. If it has been stopped, so are we."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
            except ChildProcessError:
                return Ended(1)  # somebody else has waited for it
            if found is None:
                return None
            if found.si_pid != self._pid:
                continue  # an orphan, where we are a container's first process
            if found.si_code == os.CLD_EXITED:
                return Ended(code=found.si_status)
            if found.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                return Ended(signal=found.si_status)
            self._stopped = found.si_code == os.CLD_STOPPED
            if self._stopped:
                self._stop(found.si_status)

    def _stop(self, number: int) -> None:
        """Stop, by the signal that stopped the command: a shell is to see it. Returns when we are continued."""
        self._continued = False
        if number in PASSED:
            self._guard.also_got(number)  # else it would be taken for the next one
        os.kill(os.getpid(), number)  # being blocked, it is one with that which came to the group: we stop once
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number} & PASSED)

    # Data -------------------------------------------------------------------------------------------------------

    def _relay_out(self) -> None:
        try:
            self._relay_output()
        finally:
            self._relayed.set()
            signal.pthread_kill(main_thread().ident or 0, signal.SIGCHLD)  # it may be waiting for this alone

    def _relay_output(self) -> None:
        source, told = self._source, self._told
        poller = select.poll()
        poller.register(source, select.POLLIN)
        poller.register(self._woken, select.POLLIN)
        kind = os.fstat(1).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            poller.register(1, 0)  # whether anybody reads it
        left: int | None = None
        """What the command itself has written, and is still to be handed on, once it has ended."""
        while True:
            asked = _clock()
            ready = dict(poller.poll())
            if ready.get(1, 0) & _GONE:
                self._left(source)
                return
            if left is None and self._woken in ready:
                left = _unread(source)
                poller.unregister(self._woken)
            if source in ready and left != 0:
                piece = os.read(source, _PIECE if left is None else min(left, _PIECE))
                at = _clock()
                if not piece:
                    self._finished(source)
                    return
                told.read(piece, at, asked)
                try:
                    write_all(1, piece)
                except OSError:
                    self._left(source)
                    return
                told.written()
                if left is not None:
                    left -= len(piece)
            if left == 0:
                state = dict(poller.poll(0)).get(source, 0)
                if state & select.POLLIN or not state & select.POLLHUP:
                    self._guard.carry_on()  # a grandchild has it
                    os.close(source)
                else:
                    self._finished(source)
                return

    def _left(self, source: int) -> None:
        """Nobody reads any more: the command is to notice when it writes."""
        self.reader_left = True
        os.close(source)
        self._guard.let_go()

    def _finished(self, source: int) -> None:
        """The command writes nothing any more, though it may live on: the reader is to see the end."""
        os.close(source)
        _give_up(1)
        self._guard.let_go()

    def _relay_in(self) -> None:
        feed, told = self._feed, self._told
        poller = select.poll()
        poller.register(0, select.POLLIN)
        poller.register(feed, 0)  # whether anybody reads it
        with suppress(OSError):
            while True:
                ready = dict(poller.poll())
                if feed in ready:
                    break
                try:
                    piece = os.read(0, _PIECE)
                except BlockingIOError:
                    continue
                if not piece:
                    break
                told.sent(piece, _clock())
                write_all(feed, piece)
        os.close(feed)
        _give_up(0)

    def dismiss(self) -> None:
        """The last thing before we end."""
        self._guard.dismiss()


def _give_up(fd: int) -> None:
    """Let go of a standard stream; its number must not become another file's."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, fd)
    os.close(nowhere)


def _unread(pipe: int) -> int:
    """What is in it."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)
