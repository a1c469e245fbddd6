"""Calls that may never return: exporters and the SDK's own `force_flush` and `shutdown` do not keep to a timeout.

Each runs on a daemon thread, and who made it waits no longer than it wants to. What hangs is left behind.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

__all__ = ["Call", "prepare", "within"]

log = logging.getLogger("streamgauge")

NO_THREADS_AT_EXIT = (3, 12, 0) <= sys.version_info[:3] < (3, 12, 3)
"""These Pythons start no thread once the program is ending (python/cpython#113964)."""
_SPARES = 2

_for_spares: SimpleQueue[Callable[[], None]] = SimpleQueue()
_spares: list[Thread] = []


def prepare() -> None:
    """Have threads waiting for calls that are made while the program ends, where none could be started then."""
    while NO_THREADS_AT_EXIT and len(_spares) < _SPARES:
        thread = Thread(target=_spare, name="streamgauge-spare", daemon=True)
        thread.start()
        _spares.append(thread)


def _spare() -> None:
    while True:
        _for_spares.get()()


class Call:
    """One such call, begun at once."""

    def __init__(self, function: Callable[[], object], name: str = "streamgauge-call") -> None:
        self.ok = False
        """It has returned, and not False."""
        self._function = function
        self._over = Event()
        try:
            Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            if _spares:
                _for_spares.put(self._run)
            else:  # nothing is left but to make it here, unbounded
                self._run()

    def _run(self) -> None:
        try:
            self.ok = self._function() is not False
        except Exception:
            log.warning("telemetry: a call of an exporter or provider failed", exc_info=True)
        finally:
            self._over.set()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Whether it was over in time."""
        return self._over.wait(max(0.0, timeout_s))


def within(timeout_s: float, function: Callable[[], object]) -> bool:
    """Whether `function` was done in time, and did neither raise nor return False."""
    call = Call(function)
    return call.wait(timeout_s) and call.ok


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_spares.clear)  # a child has none of its parent's threads
