"""How a command is started in our place, and how we end as it did.

It gets the environment, the signal mask, the open files and the standard streams that it would have without us, but for
the pipes between.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from streamgauge.wire import Outcome

__all__ = [
    "ENDING",
    "PASSED",
    "Ended",
    "Wiring",
    "environment",
    "judged",
    "leave",
    "replace_us",
    "signal_name",
    "spawn",
]

_SYNCHRONOUS = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGABRT"}
_OURS = {"SIGKILL", "SIGSTOP", "SIGPIPE", "SIGCHLD", "SIGTTIN", "SIGTTOU"}
PASSED = frozenset(
    number
    for number in signal.valid_signals()
    if number not in {getattr(signal, name, None) for name in _SYNCHRONOUS | _OURS}
)
"""Signals that are passed on to the command. Not those that are the kernel's answer to what a process itself does."""
ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL})
"""Those by which a program is told to end."""

_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
"""What the interpreter ignores, and a command does not expect to be ignored."""
_RELAYED = (stat.S_ISFIFO, stat.S_ISSOCK, stat.S_ISREG)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: by an exit code, or by a signal."""

    code: int = 0
    signal: int = 0

    @property
    def fact(self) -> Mapping[str, Any]:
        """As the aside `exited` has it."""
        return {"signal": signal_name(self.signal)} if self.signal else {"code": self.code}


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time one
        return f"SIG{number}"


def judged(ended: Ended, *, told_to_end: bool, reader_left: bool) -> tuple[Outcome | None, str]:
    """What a command's end is for a turn that is open: an outcome, and the error's type. None where the dialect is to
    say: it ended well.

    Args:
        told_to_end: it got one of `ENDING`.
        reader_left: nobody read its output any more.
    """
    if told_to_end and (ended.signal or ended.code):
        return Outcome.CANCELLED, ""
    if reader_left:
        return Outcome.ABANDONED, ""
    if ended.signal:
        return Outcome.FAILED, signal_name(ended.signal)
    if ended.code:
        return Outcome.FAILED, f"exit_{ended.code}"
    return None, ""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What becomes of the standard streams; of output only that it is relayed."""

    stdin_relayed: bool
    stderr_joined: bool
    """It is the same pipe or file as standard output: what is written to both keeps its order."""
    closed: tuple[int, ...]
    """Those that we were started without."""

    @classmethod
    def of(cls, closed: tuple[int, ...], *, reads_caller: bool) -> Wiring:
        """
        Args:
            closed: as `missing` has found.
            reads_caller: somebody wants to see what the caller says. A terminal is the command's own all the same.
        """
        first, out, err = map(os.fstat, (0, 1, 2))
        relayed = reads_caller and any(is_kind(first.st_mode) for is_kind in _RELAYED)
        return cls(relayed, not stat.S_ISCHR(out.st_mode) and os.path.samestat(out, err), closed)


def missing() -> tuple[int, ...]:
    """The standard streams that we were started without. What is opened next would have their numbers, so nothing is
    there instead: to be called before anything is opened."""
    found: list[int] = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            found.append(fd)
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
    return tuple(found)


def environment() -> dict[str, str]:
    """Ours, as it was when we were started: the interpreter may have set a variable for itself (PEP 538)."""
    found = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as opened:
            had = any(entry.startswith(b"LC_CTYPE=") for entry in opened.read().split(b"\0"))
    except OSError:
        return found
    if not had:
        found.pop("LC_CTYPE", None)
    return found


def spawn(
    command: list[str], variables: Mapping[str, str], mask: set[int], ends: Mapping[int, int], wiring: Wiring
) -> int:
    """Start it.

    Args:
        mask: the signals that are blocked for it.
        ends: its standard streams that are other than ours.
    Returns: its process id.
    Raises: OSError where it cannot be started.
    """
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, end, fd) for fd, end in ends.items()]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in wiring.closed if fd not in ends]

    def started(arguments: list[str]) -> int:
        return os.posix_spawnp(
            arguments[0], arguments, variables, file_actions=actions, setsigmask=mask, setsigdef=_PYTHONS
        )

    try:
        return started(command)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        return started(_by_shell(command, variables))


def replace_us(command: list[str], variables: Mapping[str, str]) -> NoReturn:
    """Become the command.

    Raises: OSError where it cannot be started.
    """
    for number in _PYTHONS:
        signal.signal(number, signal.SIG_DFL)
    # Those that stood in for closed ones are not inherited, and are closed by it.
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        script = _by_shell(command, variables)
        os.execve(script[0], script, variables)  # noqa: S606


def _by_shell(command: list[str], variables: Mapping[str, str]) -> list[str]:
    """A script that does not say what runs it is the shell's, as POSIX has it of `execvp`."""
    import shutil

    return ["/bin/sh", shutil.which(command[0], path=variables.get("PATH")) or command[0], *command[1:]]


def leave(ended: Ended) -> NoReturn:
    """End as the command has ended, so that whoever waits for us learns what it would have learnt of it."""
    if ended.signal:
        import resource

        # The command has dumped its core, where it was to. Ours would overwrite it. 1 is none also where a program
        # takes them (core(5)).
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
        try:
            signal.signal(ended.signal, signal.SIG_DFL)
        except (OSError, ValueError):  # SIGKILL
            pass
        os.kill(os.getpid(), ended.signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {ended.signal})
        # Still here: the first process of a container, which its own signals do not end.
        os._exit(128 + ended.signal)
    os._exit(ended.code)
