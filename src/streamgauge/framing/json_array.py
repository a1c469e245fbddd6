"""A JSON body, streamed or whole: bytes in, one `bytes` for each JSON value out, unparsed.

A top-level array is a stream: each of its elements is an event, given out with its last byte. So send Google's APIs
without `alt=sse`. Any other top-level value is one event, a `Whole`. A number or a word ends with the byte after it, or
with the body. Several top-level values, one after the other, are several events.

Source: RFC 8259. White space and a byte order mark at the start are passed over. What stands between the brackets of a
value is not judged, only its brackets and strings are followed. Where no value can begin there is no JSON: nothing more
is read, and nothing is raised.
"""

from __future__ import annotations

import re

from streamgauge.errors import FramingError
from streamgauge.framing._framing import MAX_EVENT_BYTES

__all__ = ["JSONFraming", "Whole"]

_BOM = b"\xef\xbb\xbf"
_QUOTE, _BACKSLASH, _COMMA, _OPEN, _CLOSE = b'"\\,[]'
# Each of the patterns that are looked for matches at least the empty text.
_SPACE = re.compile(rb"[ \t\r\n]*+")
# What needs no look at its brackets one by one: whole strings, and brackets with no others between. The classes are
# possessive, so that nothing is read more than three times: where a string or a bracket has no end in this data. The
# groups are not: in CPython before 3.11.5 such ones match wrongly (gh-101955). Unrolled: a third faster.
_PLAIN = rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*"[^"{}\[\]]*+)*'
_FLAT = re.compile(rb"%b(?:[{\[]%b[}\]]%b)*" % (_PLAIN, _PLAIN, _PLAIN), re.DOTALL)
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*', re.DOTALL)
_WORD = re.compile(rb"[-+.0-9A-Za-z]*+")
_SCALAR = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null")


class Whole(bytes):
    """A body that is one value and no array: nothing of it was streamed."""

    __slots__ = ()

    whole = True


class JSONFraming:
    """One body's framing, as `Framing` describes it. Its events are `bytes`, without the white space around."""

    __slots__ = (
        "_broken", "_depth", "_escaped", "_first", "_in_array", "_in_string", "_in_word", "_lost", "_max", "_tail",
    )  # fmt: skip
    between = False

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail = bytearray()  # the value that is not complete yet
        self._depth = 0  # of brackets within it
        self._in_string = False
        self._escaped = False  # the last byte was a backslash in a string
        self._in_word = False  # the value is a number or a word
        self._in_array = False  # the top-level array is open
        self._first = True  # nothing but a part of a byte order mark has come
        self._lost = False  # this is no JSON
        self._broken = ""  # why no more is read

    @property
    def pending_bytes(self) -> bytes:
        """The unfinished value."""
        return bytes(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """Read what arrived; `str` is taken as UTF-8. See `Framing.feed`."""
        if data.__class__ is not bytes:
            data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
        if self._broken:
            raise FramingError(self._broken)
        events: list[bytes] = []
        if self._first:
            data = self._begin(data)
        at = 0
        while at < len(data) and not self._lost:
            if self._depth or self._in_string or self._in_word:
                begun = at
            else:
                begun = self._next(data, at)
                if begun < 0:
                    break
                at = begun
            at, complete = self._follow(data, at)
            if len(self._tail) + at - begun > self._max:
                return self._break(events)
            if complete:
                self._take(data[begun:at], events)
            elif not self._lost:
                self._tail += data[begun:]
        return events

    def finish(self) -> list[bytes]:
        """The source has ended: a number or a word is complete. See `Framing.finish`."""
        if self._broken:
            raise FramingError(self._broken)
        events: list[bytes] = []
        if self._in_word:
            self._take(b"", events)
        return events

    def _begin(self, data: bytes) -> bytes:
        """The body without a byte order mark."""
        data = bytes(self._tail) + data
        self._tail.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._tail += data
            return b""
        self._first = False
        return data.removeprefix(_BOM)

    def _next(self, data: bytes, at: int) -> int:
        """Where the next value begins; -1 where none does."""
        while True:
            at = _SPACE.match(data, at).end()  # type: ignore[union-attr]
            if at == len(data):
                return -1
            byte = data[at]
            if byte == _OPEN and not self._in_array:
                self._in_array = True
            elif byte == _CLOSE and self._in_array:
                self._in_array = False
            elif byte != _COMMA or not self._in_array:
                return at
            at += 1

    def _follow(self, data: bytes, at: int) -> tuple[int, bool]:
        """Go on in a value: where it ends, or the data does, and whether it is the value's end."""
        end = len(data)
        if not (self._depth or self._in_string or self._in_word):
            byte = data[at]
            if byte == _QUOTE:
                self._in_string = True
                at += 1
            elif byte in b"{[":
                self._depth = 1
                at += 1
            elif _WORD.match(data, at).end() > at:  # type: ignore[union-attr]
                self._in_word = True
            else:
                self._lost = True
                return at, False
        if self._in_word:
            at = _WORD.match(data, at).end()  # type: ignore[union-attr]
            return at, at < end
        while at < end:
            if self._in_string:
                at = self._string(data, at)
                if self._in_string:
                    break
                if not self._depth:
                    return at, True
            at = _FLAT.match(data, at).end()  # type: ignore[union-attr]
            if at == end:
                break
            byte = data[at]
            at += 1
            if byte == _QUOTE:
                self._in_string = True
            elif byte in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return at, True
        return end, False

    def _string(self, data: bytes, at: int) -> int:
        """Go on in a string: where it, or the data, ends."""
        if self._escaped:
            self._escaped = False
            at += 1
        at = _STRING.match(data, at).end()  # type: ignore[union-attr]
        if at == len(data):
            return at
        if data[at] == _QUOTE:
            self._in_string = False
        else:  # a backslash, and nothing after it yet
            self._escaped = True
        return at + 1

    def _take(self, end: bytes, events: list[bytes]) -> None:
        value = bytes(self._tail) + end if self._tail else end
        self._tail.clear()
        if self._in_word:
            self._in_word = False
            if not _SCALAR.fullmatch(value):
                self._lost = True
                return
        events.append(value if self._in_array else Whole(value))

    def _break(self, events: list[bytes]) -> list[bytes]:
        """Give up: hand out the events before, or raise where there are none."""
        self._tail = bytearray()
        self._broken = f"a JSON value is larger than {self._max} bytes"
        if events:
            return events
        raise FramingError(self._broken)
