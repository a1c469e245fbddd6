"""The in-process transport: a stream of Python objects, with the caller in the same program.

What the caller gets is a delegating object: `isinstance` and all attributes are the source's, each read of it is one
read of the source, in the same thread and task, with the same objects and exceptions; our frame is the only one
added. Nothing is prefetched. While the source is being read the run's span is the current one, so that what the
agent does inside becomes its child; it is never left current when the caller goes on. (A dialect may know that its
source only waits between two chunks: there it is spared, at 0.12 µs a chunk.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from streamgauge.tap import Tap
from streamgauge.transports.inprocess._classes import wrapped
from streamgauge.transports.inprocess._context import leave
from streamgauge.transports.inprocess._stream import is_stream, is_wrapped
from streamgauge.wire import Request

__all__ = ["Gauge", "is_stream", "is_wrapped", "leave"]

Opener = Callable[[Request, bool, int | None], Tap]


class Gauge:
    """What a drop-in client is given: how to open a run, and how to wrap a stream."""

    __slots__ = ("_ambient", "_current", "_open", "_options", "_watcher")

    def __init__(
        self,
        opener: Opener,
        current: Callable[[], Tap | None],
        ambient: ContextVar[Any],
        options: dict[str, Any],
        watcher: Callable[..., Any],
    ) -> None:
        """
        Args:
            ambient: the variable that holds the current telemetry context.
            options: fields of `Request` that the user gave; they win over what a client knows.
            watcher: given a transport and fields of `Request`, makes what its exchanges, or conversations, are watched
                with.
        """
        self._watcher = watcher
        self._open = opener
        self._current = current
        self._ambient = ambient
        self._options = options

    def open(self, *, dialect: str, opens_run: bool = True, at: int | None = None, **fields: Any) -> Tap:
        """Open a stream's run, now.

        Args:
            opens_run: whether its run begins now; else the dialect opens it.
            at: when it was opened, where it is not now.
            fields: of `Request`.
        """
        return self._open(Request(**{"dialect": dialect, **fields, **self._options}), opens_run, at)

    def watch(self, transport: str = "httpx", **fields: Any) -> Any:
        """What the HTTP exchanges of a client are watched with: a `transports._exchange.Watch`; of another transport,
        what makes its conversations.

        Args:
            fields: of `Request`.
        """
        return self._watcher(transport, **{**fields, **self._options})

    def stream(self, source: Any, tap: Tap, *, ends: bool = True) -> Any:
        """`source`, wrapped: an iterator, generator, iterable or context manager, sync or async.

        Args:
            ends: the end of this stream is the end of the tap.
        """
        return wrapped(source, tap, ends, self._ambient, lambda: self._open(tap.request, True, None))

    @contextmanager
    def inside(self, tap: Tap) -> Iterator[None]:
        """While the block runs, the run's span is the current one. For code that is no read of a stream: the block
        must not `yield` to the caller."""
        ambient, context = self._ambient, tap.sink.context
        token = ambient.set(context)
        try:
            yield
        finally:
            leave(ambient, token, context)

    def current(self) -> Tap | None:
        """The tap whose source is being read in this context, also in tasks and threads that it started."""
        return self._current()
