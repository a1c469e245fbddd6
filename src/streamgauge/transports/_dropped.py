"""Streams that were dropped: ended at once, and never under somebody's lock.

Most are dropped by their last reference, in the caller's own code, and are ended there. One that the garbage collector
finds is ended while any code may be running in that thread, ours, the SDK's or a logger's, with its locks held: to
record there could wait for ever. So it is only noted, with its time, and ended a moment later by a thread.
"""

from __future__ import annotations

import gc
import os
import threading
from queue import SimpleQueue
from typing import Any

from streamgauge.tap import Tap
from streamgauge.wire import Outcome

__all__ = ["dropped", "ready", "settle"]

_queue: SimpleQueue[tuple[Tap, int] | threading.Event] = SimpleQueue()  # its `put` may be called anywhere, by design
_starting = threading.Lock()
_collecting: int | None = None
_pid = 0


def dropped(tap: Tap, at: int) -> None:
    """Nobody holds the stream of `tap` any more."""
    if tap.ended:
        return
    if _collecting == threading.get_ident():
        _queue.put((tap, at))
    else:
        tap.end_at(at, outcome=Outcome.ABANDONED)


def ready() -> None:
    """Have the thread run: from here on, as it cannot be started where it is needed."""
    global _pid
    if _pid != os.getpid():
        with _starting:
            if _pid != os.getpid():
                threading.Thread(target=_run, name="streamgauge-dropped", daemon=True).start()
                _pid = os.getpid()


def settle(timeout_s: float = 1.0) -> None:
    """Wait until all that was noted is ended."""
    if _pid == os.getpid() and not _queue.empty():
        done = threading.Event()
        _queue.put(done)
        done.wait(timeout_s)


def _run() -> None:
    while True:
        noted = _queue.get()
        if isinstance(noted, threading.Event):
            noted.set()
        else:
            noted[0].end_at(noted[1], outcome=Outcome.ABANDONED)
        del noted


def _note_collection(phase: str, info: dict[str, Any]) -> None:
    global _collecting
    _collecting = threading.get_ident() if phase == "start" else None


gc.callbacks.append(_note_collection)
