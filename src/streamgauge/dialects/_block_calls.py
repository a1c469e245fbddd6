"""Tool calls whose arguments come in pieces, each call in a block of its own with an index."""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import requested
from streamgauge.signals import RUN, Noted, Opened

__all__ = ["MAX_ARGUMENTS", "MAX_CALLS", "Call", "Calls"]

MAX_CALLS: Final = 256
"""Calls that are open at one time; what is beyond them is not told."""
MAX_ARGUMENTS: Final = 65_536
"""Characters of one call's arguments that are kept until it is complete; of a longer call none are told."""


class Call:
    """A tool call."""

    __slots__ = ("_kept", "_pieces", "here", "id", "name")

    def __init__(self, name: str, id_: str, *, here: bool = False) -> None:
        self.name = name
        self.id = id_
        self.here = here
        """The service runs the tool itself."""
        self._pieces: list[str] = []
        self._kept = 0

    def add(self, piece: str) -> None:
        self._kept += len(piece)
        if self._kept <= MAX_ARGUMENTS:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def complete(self, at: int) -> Noted | Opened:
        """What a complete call is: asked for; or, of a tool that the service runs itself, the start of that."""
        asked = requested(at, self.name, self.id, "".join(self._pieces))
        if not (self.here and self.id):  # without an id nothing would tell its end
            return asked
        return Opened(f"tool:{self.id}", at, semconv.EXECUTE_TOOL, self.name, RUN, asked.attributes)


class Calls:
    """The calls whose block is open."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[int, Call] = {}

    def begin(self, index: Any, call: Call) -> None:
        if index.__class__ is int and (len(self._open) < MAX_CALLS or index in self._open):
            self._open[index] = call

    def add(self, index: Any, piece: str) -> None:
        call = self._open.get(index) if index.__class__ is int else None
        if call is not None:
            call.add(piece)

    def end(self, index: Any, at: int) -> tuple[Noted | Opened, ...]:
        """The block is complete."""
        call = self._open.pop(index, None) if index.__class__ is int else None
        return (call.complete(at),) if call is not None else ()
