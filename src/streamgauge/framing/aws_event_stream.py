"""Amazon's event stream (`application/vnd.amazon.eventstream`): bytes in, `ServerSentEvent` out.

A message is: its length, its headers' length, a checksum of these two, headers, a payload, a checksum of all before it.
The event's type is the header `:event-type`, or of an exception `:exception-type`, or of an error `:error-code`; its
data is the payload's text, or of an error without one `{"message": ...}`; its id is the header `:message-type`, where
that is not `event`. So an exception can be told from an event that nobody knows.

Source: the event stream encoding of AWS (the Smithy specification "Amazon Event Stream"); botocore 1.44.5,
`eventstream.py` and `parsers.py`. A wrong checksum, and lengths that cannot be, raise `FramingError`: nothing after
them could be trusted.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from struct import Struct, error
from typing import Final

from streamgauge.errors import FramingError
from streamgauge.framing._framing import MAX_EVENT_BYTES
from streamgauge.wire import ServerSentEvent

__all__ = ["AWSEventStreamFraming"]

_PRELUDE: Final = Struct("!III")
_CHECKSUM: Final = Struct("!I")
_LENGTH: Final = Struct("!H")
_SMALLEST: Final = _PRELUDE.size + _CHECKSUM.size
# Of the ten types of a header's value those of a fixed size: true, false, byte, short, integer, long, time, UUID.
_SIZES: Final[Mapping[int, int]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES: Final = 6
_TEXT: Final = 7
_TYPES: Final = (":event-type", ":exception-type", ":error-code")


class AWSEventStreamFraming:
    """One stream's framing, as `Framing` describes it. Its events are `ServerSentEvent`s."""

    __slots__ = ("_broken", "_checked", "_max", "_tail", "_wanted")
    between = False

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail = bytearray()  # the message that is not complete yet
        self._wanted = _PRELUDE.size  # bytes without which there is nothing to read
        self._checked = False  # the prelude has been read: `_wanted` is the whole message
        self._broken = ""  # why no more is read

    @property
    def pending_bytes(self) -> bytes:
        """The unfinished message."""
        return bytes(self._tail)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Read what arrived. See `Framing.feed`."""
        if self._broken:
            raise FramingError(self._broken)
        events: list[ServerSentEvent] = []
        tail = self._tail
        tail += data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        at = 0
        while len(tail) - at >= self._wanted:
            if not self._checked:
                self._broken = self._prelude(tail, at)
                if self._broken:
                    break
                continue
            message = bytes(tail[at : at + self._wanted])
            at += self._wanted
            self._wanted, self._checked = _PRELUDE.size, False
            end = len(message) - _CHECKSUM.size
            if zlib.crc32(memoryview(message)[:end]) != _CHECKSUM.unpack_from(message, end)[0]:
                self._broken = "a message of the event stream has a wrong checksum"
                break
            event = _event(message, end)
            if event is None:
                self._broken = "a message of the event stream has headers that cannot be read"
                break
            events.append(event)
        if self._broken:
            self._tail = bytearray()
            if not events:
                raise FramingError(self._broken)
        else:
            del tail[:at]
        return events

    def finish(self) -> list[ServerSentEvent]:
        """The source has ended. See `Framing.finish`; the end completes no message."""
        if self._broken:
            raise FramingError(self._broken)
        return []

    def _prelude(self, tail: bytearray, at: int) -> str:
        """Learn how long the message is. Returns: what is wrong with it; empty where nothing is."""
        length, headers, checksum = _PRELUDE.unpack_from(tail, at)
        if zlib.crc32(tail[at : at + 8]) != checksum:
            return "a message of the event stream has a wrong checksum in its prelude"
        if length < _SMALLEST or headers > length - _SMALLEST:
            return "a message of the event stream has lengths that cannot be"
        if length > self._max:
            return f"a message of the event stream is larger than {self._max} bytes"
        self._wanted, self._checked = length, True
        return ""


def _event(message: bytes, end: int) -> ServerSentEvent | None:
    """A whole message, whose payload ends there; None where its headers are no headers."""
    start = _PRELUDE.size + _PRELUDE.unpack_from(message)[1]
    try:
        texts = _texts(message, start)
    except (IndexError, KeyError, error):
        return None
    kind = texts.get(":message-type", "event")
    type_ = next((texts[name] for name in _TYPES if texts.get(name)), "message")
    data = message[start:end].decode("utf-8", "replace")
    if not data and ":error-message" in texts:
        data = json.dumps({"message": texts[":error-message"]})
    return ServerSentEvent(data, type_, "" if kind == "event" else kind)


def _texts(message: bytes, end: int) -> dict[str, str]:
    """The headers whose value is text; all others are passed over.

    Raises: IndexError, KeyError or struct.error where they are no headers.
    """
    texts: dict[str, str] = {}
    at = _PRELUDE.size
    while at < end:
        value = at + 2 + message[at]  # after the name and the value's type
        name = message[at + 1 : value - 1]
        kind = message[value - 1]
        if kind in (_BYTES, _TEXT):
            (size,) = _LENGTH.unpack_from(message, value)
            value += _LENGTH.size
        else:
            size = _SIZES[kind]
        at = value + size
        if kind == _TEXT and at <= end:
            texts[name.decode("utf-8", "replace")] = message[value:at].decode("utf-8", "replace")
    if at != end:
        raise IndexError
    return texts
