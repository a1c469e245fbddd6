"""Read-only observers: callables that are given signals live, for early detection, guardrails or a user interface.

Each has a thread and a bounded queue of its own, so that one that blocks or fails holds nothing up: neither the
stream nor another observer. What it misses is counted.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

from streamgauge.signals import Signal, Signals
from streamgauge.wire import Request

__all__ = ["Observer", "Observers"]

log = logging.getLogger("streamgauge")

Observer: TypeAlias = Callable[[Signal, Request], None]
"""Given each signal, and the request of the stream that it belongs to. What it returns is ignored."""

_QUEUE_LIMIT = 10_000  # batches of signals: seconds of a busy program, some 5 MB


class _Post:
    """One observer's queue and thread."""

    def __init__(self, observer: Observer, count: Callable[[str], None]) -> None:
        self.observer = observer
        self._count = count
        self._queue: SimpleQueue[tuple[Request, Signals] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._told = False
        self._starting = threading.Lock()

    def offer(self, request: Request, signals: Signals) -> None:
        if self._queue.qsize() >= _QUEUE_LIMIT:
            self._count("observer_queue_full")
            return
        self._queue.put((request, signals))
        if self._thread is None or self._pid != os.getpid():  # a fork has the object, not the thread
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="streamgauge-observer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            request, signals = batch
            for signal in signals:
                try:
                    self.observer(signal, request)
                except BaseException:  # also SystemExit: it would end this thread, and nothing else
                    self._count("observer")
                    if not self._told:
                        self._told = True
                        log.warning(
                            "An observer failed; the stream is not touched. Its further failures are only counted.",
                            exc_info=True,
                        )

    def stop(self, timeout_s: float) -> None:
        """Let it see what is queued, for at most `timeout_s`."""
        self._queue.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                self.discard()

    def discard(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            self._queue.put(None)


class Observers:
    """All observers of one pipeline."""

    def __init__(self, count: Callable[[str], None]) -> None:
        """
        Args:
            count: told of trouble: `observer` (it failed) or `observer_queue_full`.
        """
        self._count = count
        self._posts: tuple[_Post, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._posts)

    def add(self, observer: Observer) -> Callable[[], None]:
        """Show `observer` every signal of the streams opened from now on. Returns what removes it."""
        post = _Post(observer, self._count)
        self._posts += (post,)

        def remove() -> None:
            self._posts = tuple(other for other in self._posts if other is not post)
            post.stop(0.0)

        return remove

    def adopt(self, others: Observers) -> None:
        """Go on with those of another pipeline."""
        self._posts += others._posts

    def offer(self, request: Request, signals: Signals) -> None:
        for post in self._posts:
            post.offer(request, signals)

    def stop(self, timeout_s: float) -> None:
        for post in self._posts:
            post.stop(timeout_s)
        self._posts = ()
