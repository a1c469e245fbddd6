"""One direction's permessage-deflate (RFC 7692): the payloads of compressed messages, with bounded memory.

A window goes on from message to message where the two sides agreed on that; so also what is too large to be looked at
is inflated, and thrown away.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

__all__ = ["MAX_INFLATED_BYTES", "Inflater"]

# Twice the largest message that is expected to pass. Deflate makes at most 1,032 bytes of one: inflating so much takes
# some 30 ms, in which no other stream is served.
MAX_INFLATED_BYTES: Final = 33_554_432
"""What one message may become, though nobody looks at it. Beyond that no more is read."""

_END = b"\x00\x00\xff\xff"
"""What a sender leaves out at a message's end."""
_AT_ONCE = 65_536


class Inflater:
    """The compressed messages of one direction, one after the other."""

    __slots__ = ("_alone", "_bits", "_body", "_size")

    def __init__(self, no_context_takeover: bool, window_bits: int) -> None:
        self._alone = no_context_takeover
        self._bits = max(window_bits, 9)  # some compressors take 9 where 8 was agreed on
        self._body: Any = None
        self._size = 0

    def feed(self, data: bytes, room: int) -> bytes | None:
        """A piece of a message.

        Args:
            room: the most bytes that are wanted.
        Returns: what it gives; None where that is more.
        Raises: zlib.error for what is no deflate, or becomes too much.
        """
        output: list[bytes] | None = [] if room >= 0 else None
        while data or self._body is not None:
            body = self._body
            if body is None:
                body = self._body = zlib.decompressobj(-self._bits)
            wanted = _AT_ONCE if output is None else min(room + 1, _AT_ONCE)
            part = body.decompress(data, wanted)
            self._size += len(part)
            if self._size > MAX_INFLATED_BYTES:
                raise zlib.error(f"a message becomes more than {MAX_INFLATED_BYTES} bytes")
            if output is not None:
                output.append(part)
                room -= len(part)
                if room < 0:
                    output = None
            if body.eof:  # a block that says it is the last: a compressor begins anew after that (7.2.3.4)
                data = body.unused_data
                self._body = None
                continue
            data = body.unconsumed_tail
            if not data and len(part) < wanted:
                break
        if output is None:
            return None
        return output[0] if len(output) == 1 else b"".join(output)

    def end(self, room: int) -> bytes | None:
        """The message is complete. As `feed`."""
        rest = self.feed(_END, room) if self._body is not None else b""
        self._size = 0
        if self._alone:
            self._body = None
        return rest
