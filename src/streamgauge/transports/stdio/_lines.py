"""A pipe's bytes as lines, for who looks at them: a line that is too large is left out, and the next is read again.

Unlike the framing `ndjson`, which must not lose an event, this keeps to its limit and goes on: what is cut out here has
passed unchanged, and a coding agent that prints one huge tool result is to be followed after it.
"""

from __future__ import annotations

__all__ = ["MAX_LINE_BYTES", "Lines"]

MAX_LINE_BYTES = 1_048_576
"""What a conversation looks at; see `_conversation`."""

_BOM = b"\xef\xbb\xbf"


class Lines:
    """One direction's lines. Never raises, for any bytes; holds at most one line of the limit's size."""

    __slots__ = ("_first", "_max", "_over", "_tail")

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_bytes
        self._tail = bytearray()
        self._over = False  # the line that is not complete yet is too large
        self._first = True

    def feed(self, data: bytes) -> list[str | None]:
        """The lines that `data` completes, without their endings; None for one that was too large. Blank lines are
        none."""
        found: list[str | None] = []
        if self._tail or self._over:
            head, feed, data = data.partition(b"\n")
            self._keep(head)
            if not feed:
                return found
            self._complete(found)
        lines = data.split(b"\n")
        rest = lines.pop()
        for line in lines:
            self._take(line, found)
        if rest:
            self._keep(rest)
        return found

    def lose(self) -> None:
        """Bytes passed that were not shown here: what they were a part of counts as too large."""
        self._over = True
        self._tail.clear()

    def finish(self) -> list[str | None]:
        """The source has ended: a line without an ending is complete."""
        found: list[str | None] = []
        if self._tail or self._over:
            self._complete(found)
        return found

    def _keep(self, data: bytes) -> None:
        if self._over:
            return
        self._tail += data
        if len(self._tail) > self._max + 1:  # a CR does not count
            self.lose()

    def _complete(self, found: list[str | None]) -> None:
        if self._over:
            self._over = self._first = False
            found.append(None)
        else:
            line = bytes(self._tail)
            self._tail.clear()
            self._take(line, found)

    def _take(self, line: bytes, found: list[str | None]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        line = line.removesuffix(b"\r")
        if len(line) > self._max:
            found.append(None)
        elif line and not line.isspace():
            found.append(line.decode("utf-8", "replace"))
