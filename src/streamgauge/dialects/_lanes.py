"""Answers of one connection that overlap: the first is told as it comes, the next when that one is over.

A stream has one run at a time. What the others tell is kept until it is their turn, with its times, but for their
chunks: those are told as they come or not at all, since a chunk's time is when it is told. An answer whose chunks began
to come while it waited has none, and so no clock but its duration.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamgauge.signals import RUN, Chunk, Closed, Opened, Signal

__all__ = ["Lane", "Lanes"]

MAX_LANES = 64
"""Answers that are followed at one time. What comes of more is passed over."""
MAX_KEPT = 1024
"""Signals of one answer that are kept for later; of more the end alone is."""


class Lane:
    """One answer."""

    __slots__ = ("decoder", "kept", "key", "mute", "opened", "over")

    def __init__(self, key: str, decoder: Any, opened: Opened) -> None:
        self.key = key
        """What its events have in common."""
        self.decoder = decoder
        self.opened = opened
        self.kept: list[Signal] = [opened]
        self.mute = False
        """It has had chunks that were not told."""
        self.over = False


class Lanes:
    """The answers that are open, in the order in which they were asked for."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[Lane] = []

    def __iter__(self) -> Any:
        return iter([lane for lane in self._all if not lane.over])

    @property
    def live(self) -> Lane | None:
        """The one that is told as it comes."""
        return self._all[0] if self._all else None

    @property
    def alone(self) -> bool:
        return len(self._all) == 1

    def open(self, lane: Lane) -> list[Signal]:
        if len(self._all) >= MAX_LANES:
            lane.over = True
            return []
        self._all.append(lane)
        return self._begin(lane) if len(self._all) == 1 else []

    def tell(self, lane: Lane, signals: Iterable[Signal]) -> list[Signal]:
        """What one of them told, and so what is to be told now."""
        told: list[Signal] = []
        for signal in signals:
            if lane.over:
                break
            if signal.__class__ is Chunk:
                if lane is not self.live or lane.mute:
                    lane.mute = True
                    continue
            elif signal.__class__ is Closed and signal.key == RUN:
                lane.over = True
            if lane is self.live:
                told.append(signal)
            elif lane.over or len(lane.kept) < MAX_KEPT:
                lane.kept.append(signal)
        while self._all and self._all[0].over:
            del self._all[0]
            if self._all:
                told += self._begin(self._all[0])
        return told

    def _begin(self, lane: Lane) -> list[Signal]:
        kept, lane.kept = lane.kept, []
        return kept
