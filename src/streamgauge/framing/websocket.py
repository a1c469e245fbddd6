"""WebSocket frames (RFC 6455): the bytes of one direction in, messages and control frames out, also compressed ones
(RFC 7692).

Unlike the other framings this one is of a connection, not of what it carries, and is not in the table. It reads a copy
in two steps: `walk` only follows the frames, as a relay needs it before it hands the bytes on; `read` gives what was in
them. It never raises, for any bytes. What is no WebSocket makes it blind (`broken`), and it goes on to follow frames as
long as it can. A message too large to be kept is passed over, and the next is read again.

Whether text is UTF-8, and a side masks as it must, is the peers' to judge: text is decoded with replacement, and what
says that it is masked is unmasked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from streamgauge.framing._framing import MAX_EVENT_BYTES
from streamgauge.framing._inflate import Inflater

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "Control",
    "Deflate",
    "Event",
    "Extensions",
    "Skipped",
    "WebSocketFraming",
    "close_frame",
    "extensions",
    "unmasked",
]

TEXT, BINARY = 1, 2
CLOSE, PING, PONG = 8, 9, 10

_FIN, _RSV1 = 0x80, 0x40
_CONTROLS = frozenset({_FIN | CLOSE, _FIN | PING, _FIN | PONG})
_GOES_ON = _CONTROLS | {0, _FIN}
"""What a frame may begin with within a message that is in several."""
_BEGINS = _CONTROLS | {TEXT, BINARY, _FIN | TEXT, _FIN | BINARY}
"""What else."""
_COMPRESSED = frozenset({_RSV1 | TEXT, _RSV1 | BINARY, _FIN | _RSV1 | TEXT, _FIN | _RSV1 | BINARY})
_PLAIN_TEXT = _FIN | TEXT
_MOST_IN_CONTROL = 125
_NOT_STATED = 1005

_PARAMETER = re.compile(r'([A-Za-z0-9!#$%&\'*+.^_`|~-]+)(?:\s*=\s*(?:"([^"\\]*)"|([^\s",;]+)))?')


class Control(NamedTuple):
    """A control frame."""

    opcode: int
    data: bytes

    @property
    def close(self) -> tuple[int, str]:
        """The code and the reason of a close; 1005 where none is stated (RFC 6455, 7.1.5)."""
        if len(self.data) < 2:
            return _NOT_STATED, ""
        return int.from_bytes(self.data[:2], "big"), self.data[2:].decode("utf-8", "replace")


class Skipped(NamedTuple):
    """A message that was too large to be kept."""

    opcode: int


Event: TypeAlias = str | bytes | Control | Skipped
"""A text message, a binary one, or what else there is."""


class Deflate(NamedTuple):
    """How one direction compresses."""

    no_context_takeover: bool = False
    """Each message by itself."""
    window_bits: int = 15


class Extensions(NamedTuple):
    """What the answer to a handshake agreed on."""

    client: Deflate | None = None
    server: Deflate | None = None
    known: bool = True
    """False where what goes over the wire cannot be read here."""


def extensions(value: str) -> Extensions:
    """What a `Sec-WebSocket-Extensions` field of an answer says (several are joined with commas). For any text.

    Where it names another extension than permessage-deflate, or that one in a way that is not RFC 7692's, nothing is
    known of what the messages mean.
    """
    unknown = Extensions(known=False)
    offers = [offer.strip() for offer in value.split(",")]
    offers = [offer for offer in offers if offer]
    if not offers:
        return Extensions()
    if len(offers) > 1:
        return unknown
    name, *parts = (part.strip() for part in offers[0].split(";"))
    if name.lower() != "permessage-deflate":
        return unknown
    given: dict[str, str | None] = {}
    for part in parts:
        match = _PARAMETER.fullmatch(part)
        if match is None or match[1].lower() in given:
            return unknown
        given[match[1].lower()] = match[2] if match[2] is not None else match[3]
    found = []
    for side in ("client", "server"):
        alone = f"{side}_no_context_takeover"
        takes_over = alone not in given
        if given.pop(alone, None) is not None:
            return unknown
        bits = given.pop(f"{side}_max_window_bits", "15")
        if bits is None or not re.fullmatch("8|9|1[0-5]", bits):
            return unknown
        found.append(Deflate(not takes_over, int(bits)))
    return unknown if given else Extensions(found[0], found[1])


def unmasked(data: bytes, key: bytes, phase: int = 0) -> bytes:
    """The payload that `data` is when it is masked with `key`; or the other way round.

    Args:
        phase: bytes of the payload that came before.
    """
    size = len(data)
    phase &= 3
    if phase:
        key = key[phase:] + key[:phase]
    mask = (key * ((size >> 2) + 1))[:size]
    # One operation on two large numbers, and not one on each byte.
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def close_frame(code: int, reason: str = "", *, key: bytes = b"") -> bytes:
    """A close frame; masked with `key` where one is given, as a client's must be."""
    data = (code.to_bytes(2, "big") + reason.encode())[:_MOST_IN_CONTROL]
    if not key:
        return bytes((_FIN | CLOSE, len(data))) + data
    return bytes((_FIN | CLOSE, 0x80 | len(data))) + key + unmasked(data, key)


class WebSocketFraming:
    """One direction of one connection, behind the handshake."""

    __slots__ = ("_allowed", "_begins", "_calm", "_control", "_first", "_head", "_inflater", "_key", "_left", "_lost",
                 "_max", "_max_message", "_message", "_opcode", "_packed", "_parts", "_phase", "_pieces", "_reads",
                 "_short", "_size", "broken", "closing", "too_large")  # fmt: skip

    def __init__(
        self,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        deflate: Deflate | None = None,
        max_message_bytes: int = 0,
        reads: bool = True,
    ) -> None:
        """
        Args:
            max_event_bytes: the largest message that is kept.
            deflate: how messages are compressed, where that was agreed on.
            max_message_bytes: where a longer message begins `walk` stops; as the frames' heads say, compressed or not.
                0 for no limit.
            reads: whether anybody wants to know what is in the frames.
        """
        self.broken = ""
        """Why no more is read."""
        self.too_large = False
        """A message is longer than `max_message_bytes`."""
        self.closing = False
        """A close frame has begun."""
        self._max = max_event_bytes
        self._max_message = max_message_bytes
        self._reads = reads
        self._begins = _BEGINS | _COMPRESSED if deflate is not None else _BEGINS
        self._inflater = Inflater(*deflate) if deflate is not None else None
        # What is followed.
        self._head = b""  # a frame's head that is not complete yet
        self._left = 0  # bytes of a frame's payload that are still to come
        self._lost = False  # nobody knows where the next frame begins
        self._allowed = self._begins
        self._message = 0  # bytes of a message in its frames so far
        self._first, self._key, self._phase = 0, b"", 0  # of the frame: its first byte, its mask, how much has come
        self._short = min(max_event_bytes, max_message_bytes or max_event_bytes) >= 0xFFFF
        self._calm = reads and self._short
        # What is read.
        self._pieces: list[tuple[int, bytes, int, bytes, bool]] = []
        self._control = b""
        self._opcode, self._packed = TEXT, False
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def between(self) -> bool:
        """Between two frames: here another may be put in."""
        return not (self._left or self._head or self._lost)

    def feed(self, data: bytes) -> Sequence[Event]:
        """Read what arrived: `walk`, and `read`.

        Args:
            data: any bytes, cut anywhere.
        Returns: what these bytes complete, in order.
        """
        self.walk(data)
        return self.read()

    def alone(self, data: bytes) -> str | None:
        """The text that `data` is, if it is one whole frame with one message of text, not compressed, as nearly all is
        that agents stream; then there is nothing to walk. Else None, and nothing has been done."""
        size = len(data)
        if not self._calm or size < 6 or data[0] != _PLAIN_TEXT:
            return None
        second = data[1]
        if second < 126:
            return data[2:].decode("utf-8", "replace") if size == second + 2 else None
        if second == 126:
            return data[4:].decode("utf-8", "replace") if size == (data[2] << 8 | data[3]) + 4 else None
        if second < 254:
            if second == 127 or size != second - 122:
                return None
            return unmasked(data[6:], data[2:6]).decode("utf-8", "replace")
        if second == 255 or size < 8 or size != (data[2] << 8 | data[3]) + 8:
            return None
        return unmasked(data[8:], data[4:8]).decode("utf-8", "replace")

    # Following ---------------------------------------------------------------------------------------------------

    def walk(self, data: bytes) -> int:
        """Follow the frames of what arrived.

        Returns: how many of these bytes come before a message that is longer than `max_message_bytes`: all, mostly.
        """
        if self._lost or self.too_large:
            return len(data)
        before = len(self._head)
        if before:
            data, self._head = self._head + data, b""
        size, at = len(data), 0
        while True:
            if self._left:
                end = at + self._left
                if end > size:
                    self._take(data[at:] if at else data, False)
                    self._left = end - size
                    break
                self._take(data[at:end], True)
                self._left = 0
                at = end
            if at == size:
                break
            start = self._open(data, at, size)
            if start == at:
                if self._lost:
                    break
                if not self.too_large:
                    self._head = data[at:]
                    break
                self._calm = False
                self._head = data[at:before]
                return max(at - before, 0)
            at = start
        self._calm = self._reads and self._short and not self._left and not self._head and self._allowed is self._begins
        return size - before

    def only_follow(self) -> None:
        """Nobody reads any more, and no message is too long; what is walked next is what did not pass."""
        self._reads = self._calm = self.too_large = False
        self._max_message = 0

    def _open(self, data: bytes, at: int, size: int) -> int:
        """A frame's head. Returns: where its payload begins; `at` where there is more to come, or no way on."""
        start = at + 2
        if start > size:
            return at
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        if length == 126:
            start += 2
        elif length == 127:
            start += 8
        masked = second & 0x80
        if masked:
            start += 4
        if start > size:
            return at
        if length >= 126:
            length = int.from_bytes(data[at + 2 : at + 4 if length == 126 else at + 10], "big")
        if length >> 63:
            self._break("a frame with a length that none has")
            self._lost = True
            return at
        opcode = first & 0x0F
        if first not in self._allowed or (opcode >= CLOSE and length > _MOST_IN_CONTROL):
            self._break("a frame that may not be here")
        if opcode < CLOSE:
            message = length if opcode else self._message + length
            if 0 < self._max_message < message:
                self.too_large = True
                return at
            last = first & _FIN
            self._message = 0 if last else message
            self._allowed = self._begins if last else _GOES_ON
        elif opcode == CLOSE:
            self.closing = True
        self._first = first
        self._key = data[start - 4 : start] if masked else b""
        self._phase = 0
        self._left = length
        if not length:
            self._take(b"", True)
        return start

    def _take(self, data: bytes, ends: bool) -> None:
        """A piece of a frame's payload."""
        if self._reads:
            self._pieces.append((self._first, self._key, self._phase, data, ends))
            self._phase += len(data)

    def _break(self, why: str) -> None:
        if not self.broken:
            self.broken = why
        self._reads = False

    # Reading -----------------------------------------------------------------------------------------------------

    def read(self) -> Sequence[Event]:
        """What was in the frames that have been walked."""
        pieces = self._pieces
        if not pieces:
            return ()
        self._pieces = []
        events: list[Event] = []
        for first, key, phase, data, ends in pieces:
            opcode = first & 0x0F
            if key and data and (self._size <= self._max or opcode >= CLOSE or self._packed):
                data = unmasked(data, key, phase)
            if opcode >= CLOSE:
                if self._control:
                    data = self._control + data
                self._control = b"" if ends else data
                if ends:
                    events.append(Control(opcode, data))
                continue
            if opcode:
                self._opcode, self._packed = opcode, bool(first & _RSV1)
            try:
                self._add(data, last=ends and first & _FIN != 0)
            except zlib.error as error:
                self._break(f"a message that is not compressed as was agreed on: {error}")
                self._calm = False
                break
            if ends and first & _FIN:
                events.append(self._message_read())
        if self.broken:
            self._parts.clear()
        return events

    def _add(self, data: bytes, last: bool) -> None:
        """A piece of a message."""
        if not self._packed:
            self._keep(data)
            return
        assert self._inflater is not None
        self._keep(self._inflater.feed(data, self._max - self._size))
        if last:
            self._keep(self._inflater.end(self._max - self._size))

    def _keep(self, data: bytes | None) -> None:
        if data is None or self._size + len(data) > self._max:
            self._size = self._max + 1
            self._parts.clear()
        elif data and self._size <= self._max:
            self._size += len(data)
            self._parts.append(data)

    def _message_read(self) -> Event:
        parts, size = self._parts, self._size
        self._parts, self._size = [], 0
        if size > self._max:
            return Skipped(self._opcode)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        return data.decode("utf-8", "replace") if self._opcode == TEXT else data
