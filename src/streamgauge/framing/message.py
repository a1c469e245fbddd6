"""Messages: what the transport hands over in one piece (a WebSocket message, an item of an iterator) is one event."""

from __future__ import annotations

from streamgauge.errors import FramingError
from streamgauge.framing._framing import MAX_EVENT_BYTES

__all__ = ["MessageFraming"]


class MessageFraming:
    """One stream's framing, as `Framing` describes it. Its events are the messages: `str` or `bytes`, as they came."""

    __slots__ = ("_broken", "_max")
    between = False

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._broken = ""  # why no more is read

    @property
    def pending_bytes(self) -> bytes:
        """Nothing: a message is never unfinished."""
        return b""

    def feed(self, data: bytes | str) -> list[bytes | str]:
        """Read a message. See `Framing.feed`."""
        if self._broken:
            raise FramingError(self._broken)
        if not isinstance(data, str):
            if data.__class__ is not bytes:
                data = bytes(data)
            size = len(data)
        elif len(data) * 4 <= self._max:  # no character takes more than four bytes
            return [data]
        else:
            size = len(data.encode("utf-8", "surrogatepass"))
        if size > self._max:
            self._broken = f"a message is larger than {self._max} bytes"
            raise FramingError(self._broken)
        return [data]

    def finish(self) -> list[bytes | str]:
        """The source has ended. See `Framing.finish`; there is never anything left."""
        if self._broken:
            raise FramingError(self._broken)
        return []
