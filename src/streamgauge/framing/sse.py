"""Event streams (server-sent events): bytes in, `ServerSentEvent` out.

Follows the WHATWG HTML standard, sections 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream", to
the letter: one byte order mark is dropped; lines end with LF, CR or CR LF and nothing else; an id with a NUL and a
retry that is not all ASCII digits are ignored; an event without data is not dispatched; what follows the last blank
line is discarded. An event ends with the *first* byte of its blank line's ending: a CR is not held back until it is
known whether an LF follows.
"""

from __future__ import annotations

from streamgauge.errors import FramingError
from streamgauge.framing._framing import MAX_EVENT_BYTES
from streamgauge.wire import ServerSentEvent

__all__ = ["SSEFraming"]

_BOM = b"\xef\xbb\xbf"
_COLON = ord(":")
# A reconnection time of more digits is beyond any clock (and Python refuses to read thousands of them).
_RETRY_DIGITS = 18


class SSEFraming:
    """One event stream's framing, as `Framing` describes it. Its events are `ServerSentEvent`s."""

    __slots__ = (
        "_block",
        "_block_bytes",
        "_broken",
        "_first",
        "_id",
        "_max",
        "_skip_lf",
        "_tail",
        "between",
        "comments",
    )

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.comments = 0
        """Comment lines so far: keep-alives are data, but no events."""
        self._max = max_event_bytes
        self._block: list[bytes] = []  # the field lines of the event that is not complete yet
        self._block_bytes = 0
        self._tail = bytearray()  # the line that is not complete yet
        self.between = True
        """See `Framing`."""
        self._first = True  # the first line has not come: it may begin with a byte order mark
        self._skip_lf = False  # the last byte was a CR, which has already ended its line
        self._id = ""
        self._broken = ""  # why no more is read

    @property
    def pending_bytes(self) -> bytes:
        """The unfinished event: its lines, with LF for every ending and without comments. The standard discards it at
        the end of the stream; it stays readable here."""
        return b"".join([line + b"\n" for line in self._block]) + bytes(self._tail)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Read what arrived; `str` is taken as UTF-8. See `Framing.feed`."""
        if data.__class__ is not bytes:
            data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
        end = len(data) - 2
        # The usual read is one event of one data line: it needs neither lines nor a block.
        if (
            self.between
            and data.startswith(b"data:")
            and data.find(b"\n") == end <= self._max
            and data[-1] == 10
            and b"\r" not in data
        ):
            start = 6 if data[5] == 32 else 5
            self._first = False
            return [ServerSentEvent(data[start:end].decode("utf-8", "replace"), "message", self._id)]
        if self.between and data.startswith(b"data:") and data.endswith(b"\n\n") and b"\r" not in data:
            blocks = data[:-2].split(b"\n\n")  # the same of several, as a stream's last event comes with its mark
            if data.count(b"\n") == 2 * len(blocks) and max(map(len, blocks)) <= self._max:
                texts = [block.decode("utf-8", "replace") for block in blocks if block.startswith(b"data:")]
                if len(texts) == len(blocks):
                    self._first = False
                    id_ = self._id
                    return [ServerSentEvent(text[6 if text[5:6] == " " else 5 :], "message", id_) for text in texts]
        if self._broken:
            raise FramingError(self._broken)
        if not data:
            return []
        return self._feed(data)

    def finish(self) -> list[ServerSentEvent]:
        """The source has ended. See `Framing.finish`; the end completes no event."""
        if self._broken:
            raise FramingError(self._broken)
        return []

    def _feed(self, data: bytes) -> list[ServerSentEvent]:
        skip_lf, self._skip_lf = self._skip_lf, data[-1] == 13
        if skip_lf and data[0] == 10:
            data = data[1:]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        events: list[ServerSentEvent] = []
        for line in lines:
            if self._tail:
                line = bytes(self._tail) + line
                self._tail.clear()
            if self._first:
                self._first = False
                line = line.removeprefix(_BOM)
            if not line:
                if self._block:
                    self._dispatch(events)
            elif len(line) > self._max:
                return self._break(events)
            elif line[0] == _COLON:
                self.comments += 1
            else:
                self._block_bytes += len(line) + 1
                if self._block_bytes > self._max + 1:  # the last line's ending does not count
                    return self._break(events)
                self._block.append(line)
        if rest:
            self._tail += rest
            if len(self._tail) > self._max and len(self._tail) - self._mark() > self._max:
                return self._break(events)
        self.between = not (self._tail or self._block or self._skip_lf)
        return events

    def _mark(self) -> int:
        """The bytes of the line so far that are a byte order mark, or may become one: they do not count."""
        return len(_BOM) if self._first and (self._tail.startswith(_BOM) or _BOM.startswith(self._tail)) else 0

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        data: list[bytes] = []
        type_ = b""
        retry: int | None = None
        for line in self._block:
            name, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if name == b"data":
                data.append(value)
            elif name == b"event":
                type_ = value
            elif name == b"id":
                if b"\0" not in value:
                    self._id = value.decode("utf-8", "replace")
            elif name == b"retry" and value.isdigit():  # of bytes: ASCII digits only
                digits = value.lstrip(b"0")
                if len(digits) <= _RETRY_DIGITS:
                    retry = int(digits or b"0")
        self._block = []
        self._block_bytes = 0
        if data:
            text = b"\n".join(data).decode("utf-8", "replace")
            events.append(ServerSentEvent(text, type_.decode("utf-8", "replace") or "message", self._id, retry))

    def _break(self, events: list[ServerSentEvent]) -> list[ServerSentEvent]:
        """Give up: hand out the events before, or raise where there are none."""
        self.between = False
        self._block = []
        self._tail = bytearray()
        self._broken = f"an event of the event stream is larger than {self._max} bytes"
        if events:
            return events
        raise FramingError(self._broken)
