"""Calls that may never return: exporters and the SDK's own `force_flush` and `shutdown` do not keep to a timeout.

Each runs on a daemon thread, and who made it waits no longer than it wants to. What hangs is left behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

__all__ = ["Call", "within"]

log = logging.getLogger("streamgauge")


class Call:
    """One such call, begun at once."""

    def __init__(self, function: Callable[[], object], name: str = "streamgauge-call") -> None:
        self.ok = False
        """It has returned, and not False."""
        self._function = function
        self._over = Event()
        try:
            Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:  # the interpreter is going down and starts no more threads: then here, though unbounded
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
