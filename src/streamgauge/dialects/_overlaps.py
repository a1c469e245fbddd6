"""Runs of one process that overlap: the first is told as it comes, the others once it is over.

A stream has one run at a time. What the others tell is kept, with its times, but for their chunks: a chunk's time is
when it is told, so that a run whose chunks began to come while it waited has none. A run that is over is told whole, as
soon as none is open; of those that are not, the oldest is then the one that is told as it comes. So no run waits longer
than for the one that was open when it began.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from streamgauge.signals import RUN, Chunk, Closed, Opened, Signal
from streamgauge.wire import Outcome

__all__ = ["MAX_KEPT", "MAX_RUNS", "Overlaps"]

MAX_RUNS: Final = 256
"""Runs that are open, or wait to be told, at one time. Of more nothing is told."""
MAX_KEPT: Final = 1024
"""Signals of one run that are kept; of more its end alone is."""


class _Run:
    __slots__ = ("kept", "key", "mute")

    def __init__(self, key: str) -> None:
        self.key = key
        self.kept: list[Signal] = []
        self.mute = False
        """It has had chunks that were not told."""


class Overlaps:
    """The runs that are open, by a key of the dialect's, in the order of their beginnings."""

    __slots__ = ("_live", "_over", "_waiting")

    def __init__(self) -> None:
        self._live: _Run | None = None
        self._waiting: dict[str, _Run] = {}
        self._over: list[_Run] = []

    def __contains__(self, key: str) -> bool:
        return key in self._waiting or (self._live is not None and self._live.key == key)

    def __len__(self) -> int:
        return len(self._waiting) + (self._live is not None)

    @property
    def is_full(self) -> bool:
        return len(self) + len(self._over) >= MAX_RUNS

    def is_told(self, key: str) -> bool:
        """What it tells is told as it comes, and all of it was."""
        return self._live is not None and self._live.key == key and not self._live.mute

    def open(self, key: str, opened: Opened) -> list[Signal]:
        """A run began. Its key is not open, and there is room."""
        run = _Run(key)
        if self._live is None:
            self._live = run
            return [opened]
        run.kept.append(opened)
        self._waiting[key] = run
        return []

    def tell(self, key: str, signals: Iterable[Signal]) -> list[Signal]:
        """What one of them told, and so what is to be told now. Nothing follows its end."""
        live = self._live
        run = live if live is not None and live.key == key else self._waiting.get(key)
        if run is None:
            return []
        told: list[Signal] = []
        over = False
        for signal in signals:
            over = isinstance(signal, Closed) and signal.key == RUN
            if signal.__class__ is Chunk and (run is not live or run.mute):
                run.mute = True
            elif run is live:
                told.append(signal)
            elif over or len(run.kept) < MAX_KEPT:
                run.kept.append(signal)
            if over:
                break
        if not over:
            return told
        if run is not live:
            self._over.append(self._waiting.pop(key))
            return told
        self._live = None
        return [*told, *self._next()]

    def _next(self) -> list[Signal]:
        """None is open: those that are over, and the beginning of the oldest that is not."""
        told = [signal for run in self._over for signal in run.kept]
        self._over.clear()
        if self._waiting:
            self._live = self._waiting.pop(next(iter(self._waiting)))
            told += self._live.kept
            self._live.kept = []
        return told

    def untold(self) -> list[Signal]:
        """The process ends before they do: what waits is told as operations below the open run, which end with it."""
        told: list[Signal] = []
        for number, run in enumerate([*self._over, *self._waiting.values()]):
            below = f"run:{number}"
            for signal in run.kept:
                kept = replace(signal, key=f"{below}/{signal.key}" if signal.key != RUN else below)
                if isinstance(kept, Opened):
                    kept.parent = RUN if signal.key == RUN else f"{below}/{kept.parent}" if kept.parent else below
                told.append(kept)
        self._over.clear()
        self._waiting.clear()
        return told

    def finish(self, at: int) -> list[Signal]:
        """The source has ended: all are truncated. The last is left to the tap."""
        told: list[Signal] = []
        while self._live is not None and (self._waiting or self._over):
            told += self.tell(self._live.key, [Closed(RUN, at, Outcome.TRUNCATED)])
        return told
