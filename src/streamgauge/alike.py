"""Pieces of a body that differ from the one before in nothing but their text: what most of a stream is made of.

A piece that was one whole event, and told one chunk, is taken apart around the chunk's text. One that comes right after
it and has the same bytes around another text is the same event with another text: its frame and its JSON need not be
read. This is no guess:

- the text was there as a JSON string, once, in a piece without any escape: it can be nothing else that was read;
- what stands in its place is one JSON string, as the reader of all JSON finds;
- that nothing follows from such an event but its chunk is the dialect's word (`Dialect.alike`); so it is of what tells
  nothing, such as a number or a padding that is another in each event (`Dialect.noise`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from streamgauge.dialects import loaded
from streamgauge.signals import REASONING, TEXT, Chunk

__all__ = ["Alike"]

_MAX_BYTES: Final = 65_536
"""Of a piece; a longer one is read whole, with the limits that hold there."""
_KINDS: Final = frozenset({TEXT, REASONING})
_VALUE: Final = re.compile(rb': ?(?:"([\w.:+/=-]*)"|(\d{1,18})(?=[,}]))')
"""What noise may be: a string that needs no escape, or a count."""
_IN_STRING: Final = re.compile(rb"[\w.:+/=-]*").fullmatch
_IN_NUMBER: Final = re.compile(rb"0|[1-9]\d{0,17}").fullmatch


class Alike:
    """What is around a text: `head`, noise, `neck`, the text, `waist`, noise, `tail`. Without noise before it there is
    no neck, without noise after it no waist."""

    __slots__ = ("_after", "_before", "_head", "_neck", "_seam", "_waist", "key", "kind", "tail")

    def __init__(self, chunk: Chunk, head: bytes, neck: bytes, waist: bytes, tail: bytes) -> None:
        self.key = chunk.key
        self.kind = chunk.kind
        self.tail = tail
        self._head = head
        self._neck = neck
        self._waist = waist
        self._before = _IN_STRING if neck.startswith(b'"') else _IN_NUMBER
        self._after = _IN_STRING if tail.startswith(b'"') else _IN_NUMBER
        self._seam = tail + head

    @classmethod
    def of(cls, piece: bytes, chunk: Chunk, keys: Sequence[bytes], noise: Sequence[bytes]) -> Alike | None:
        """Of a piece that is one whole event and told that chunk; None where it cannot be said for sure.

        Args:
            keys: of the texts, as JSON strings.
            noise: keys of what tells nothing.
        """
        text = chunk.text.encode("utf-8", "replace")
        literal = b'"%b"' % text
        start, end = piece.find(literal) + 1, piece.find(literal) + 1 + len(text)
        named = piece[: max(start - 1, 0)].rstrip(b" ").removesuffix(b":").endswith(tuple(keys))
        if not (named and text and chunk.kind in _KINDS and piece.count(literal) == 1 and b"\\" not in piece):
            return None
        head, neck, waist, tail = piece[:start], b"", b"", piece[end:]
        for key in noise:
            if piece.count(key) == 1 and (value := _VALUE.match(piece, piece.find(key) + len(key))):
                first, last = value.span(value.lastindex or 0)
                if last < start:
                    head, neck = piece[:first], piece[last:start]
                elif first > end:
                    waist, tail = piece[end:first], piece[last:]
        return cls(chunk, head, neck, waist, tail)

    def text(self, piece: bytes) -> str | None:
        """The text of a piece that is like this; None for any other."""
        start, end = len(self._head), len(piece) - len(self.tail)
        if not (piece.startswith(self._head) and start < end <= _MAX_BYTES and piece.endswith(self.tail)):
            return None
        if self._neck:
            found = piece.find(self._neck, start, end)
            if found < 0 or not self._before(piece, start, found):
                return None
            start = found + len(self._neck)
        if self._waist:
            found = piece.find(self._waist, start, end)
            if found < 0 or not self._after(piece, found + len(self._waist), end):
                return None
            end = found
        text = piece[start:end].decode("utf-8", "replace")
        return text if _is_plain(text) else _unescaped(text)

    def sizes(self, pieces: Sequence[bytes]) -> list[int] | None:
        """The bytes of the text of each (of one at least), if all are like this; else None. In a fourth of the time of
        `text`."""
        start, end = len(self._head), -len(self.tail)
        holes: Sequence[bytes] = [piece[start:end] for piece in pieces]
        if b"%b%b%b" % (self._head, self._seam.join(holes), self.tail) != b"".join(pieces):
            return None
        if self._neck:
            noises, found, holes = zip(*[hole.partition(self._neck) for hole in holes], strict=True)
            if b"" in found or not all(map(self._before, noises)):
                return None
        if self._waist:
            holes, found, noises = zip(*[hole.partition(self._waist) for hole in holes], strict=True)
            if b"" in found or not all(map(self._after, noises)):
                return None
        try:
            if all(holes) and _is_plain(b" ".join(holes).decode()):
                return list(map(len, holes))
        except UnicodeDecodeError:
            pass
        sizes: list[int] = []
        for hole in holes:
            text = _unescaped(hole.decode("utf-8", "replace"))
            if text is None:
                return None
            sizes.append(len(text.encode("utf-8", "replace")))
        return sizes


def _is_plain(text: str) -> bool:
    """It is not empty, and as it is in JSON."""
    return text.isprintable() and '"' not in text and "\\" not in text and text != ""


def _unescaped(text: str) -> str | None:
    """What a text is in JSON; None where it is empty, or no text."""
    found = loaded(f'"{text}"')
    return found if isinstance(found, str) and found else None
