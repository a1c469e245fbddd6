"""Newline-delimited JSON: bytes in, one `str` for each line out, unparsed.

Source: the NDJSON specification (github.com/ndjson/ndjson-spec) and JSON Lines (jsonlines.org): lines end with LF, a CR
before it is white space; UTF-8, here decoded with replacement. Empty lines are no events. A byte order mark at the
start is dropped, as RFC 8259, section 8.1 allows. A last line without an ending is an event when the stream has ended.
"""

from __future__ import annotations

from streamgauge.errors import FramingError
from streamgauge.framing._framing import MAX_EVENT_BYTES

__all__ = ["NDJSONFraming"]

_BOM = b"\xef\xbb\xbf"


class NDJSONFraming:
    """One stream's framing, as `Framing` describes it. Its events are `str`, without the line's ending."""

    __slots__ = ("_broken", "_first", "_max", "_tail")

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail = bytearray()  # the line that is not complete yet
        self._first = True  # the first line has not come: it may begin with a byte order mark
        self._broken = ""  # why no more is read

    @property
    def pending_bytes(self) -> bytes:
        """The unfinished line."""
        return bytes(self._tail)

    @property
    def between(self) -> bool:
        """See `Framing`."""
        return not (self._first or self._tail or self._broken)

    def feed(self, data: bytes) -> list[str]:
        """Read what arrived; `str` is taken as UTF-8. See `Framing.feed`."""
        if data.__class__ is not bytes:
            data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
        if self._broken:
            raise FramingError(self._broken)
        events: list[str] = []
        lines = data.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if self._tail:
                line = bytes(self._tail) + line
                self._tail.clear()
            if not self._take(line, events):
                return self._break(events)
        if rest:
            self._tail += rest
            if len(self._tail) > self._max and self._size(self._tail) > self._max:
                return self._break(events)
        return events

    def finish(self) -> list[str]:
        """The source has ended: a line without an ending is complete. See `Framing.finish`."""
        if self._broken:
            raise FramingError(self._broken)
        events: list[str] = []
        line = bytes(self._tail)
        self._tail.clear()
        if not self._take(line, events):
            return self._break(events)
        return events

    def _take(self, line: bytes, events: list[str]) -> bool:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        line = line.removesuffix(b"\r")
        if len(line) > self._max:
            return False
        if line.strip(b" \t\r"):
            events.append(line.decode("utf-8", "replace"))
        return True

    def _size(self, line: bytearray) -> int:
        """Without what does not count: a byte order mark, a CR that may belong to the ending."""
        mark = self._first and (line.startswith(_BOM) or _BOM.startswith(line))
        return len(line) - len(_BOM) * mark - line.endswith(b"\r")

    def _break(self, events: list[str]) -> list[str]:
        """Give up: hand out the events before, or raise where there are none."""
        self._tail = bytearray()
        self._broken = f"a line is longer than {self._max} bytes"
        if events:
            return events
        raise FramingError(self._broken)
