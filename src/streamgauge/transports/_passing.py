"""What passes from a source to its caller, piece by piece, as the tap is told of it: what an HTTP exchange and a
conversation have in common."""

from __future__ import annotations

import time
from typing import Any

from streamgauge.tap import Tap

__all__ = ["Passing"]

_clock = time.monotonic_ns


class Passing:
    """Told of each thing after it was handed on. No method raises, awaits or blocks."""

    __slots__ = ("_eager", "_sink", "_tap")

    def __init__(self, tap: Tap | None, *, eager: bool) -> None:
        """
        Args:
            tap: None where nobody watches, or not yet.
            eager: the transport asks for more by itself as soon as it has handed on a piece, until it is told that the
                caller is slow; else the caller asks, by `resumed`.
        """
        self._tap = tap
        self._sink: Any = tap.sink if tap is not None else None
        self._eager = eager

    def data(self, data: Any, at: int, asked: int | None = None) -> None:
        """A piece of what the source gives, read at `at`, was handed on.

        Args:
            asked: when it was asked for, where that is not when more was last asked for (`resumed`).
        """
        tap = self._tap
        if tap is None:
            return
        sink = self._sink
        if asked is None:
            asked = sink.asked
        else:
            sink.asked = asked
        try:
            signals = tap.read(data, at)
        except Exception as error:
            signals = tap.unread(error)
        try:
            tap.record(signals, asked, at)
        except Exception as error:
            tap.unrecorded(error)
        if self._eager:
            sink.asked = at

    def written(self, read: int, written: int) -> None:
        """What was read at one time was written at the other."""
        if self._sink is not None:
            self._sink.added(written - read)

    def paused(self) -> None:
        """Nothing more is read, as the caller is slow."""
        if self._sink is not None:
            self._sink.asked = self._sink.at - 1

    def resumed(self) -> None:
        """More is asked for: the caller has caught up, or asks for the next piece."""
        if self._sink is not None:
            self._sink.asked = _clock()

    @property
    def watched(self) -> bool:
        """Its stream is open."""
        return self._tap is not None

    @property
    def context(self) -> Any:
        """What is to be current where the source runs; None where no stream is open."""
        return self._sink.context if self._tap is not None else None
