"""What a WebSocket client sends and is given, as the tap sees it: whole messages, of the kind that they have on the
wire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from streamgauge.transports._conversation import MAX_MESSAGE_BYTES

__all__ = ["Joined", "Note", "as_received", "noted"]

_clock = time.monotonic_ns


def as_received(message: Any, decode: Any) -> Any:
    """A message that was read, as it was sent. Where the caller wants bytes of all, those that are UTF-8 are text:
    every text is, and hardly any audio or image."""
    if decode is False and message is not None and len(message) <= MAX_MESSAGE_BYTES:
        try:
            return message.decode()
        except UnicodeDecodeError:
            pass
    return message


class Joined:
    """The pieces of one message, kept as long as it may be looked at."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[Any] = []
        self._size = 0

    @property
    def empty(self) -> bool:
        return not self._pieces and not self.large

    @property
    def large(self) -> bool:
        return self._size > MAX_MESSAGE_BYTES

    def add(self, piece: Any) -> None:
        if isinstance(piece, memoryview):
            self._size += piece.nbytes
        elif isinstance(piece, str | bytes | bytearray):
            self._size += len(piece)
        else:
            return  # the library refuses it
        if self.large:
            self._pieces.clear()
        else:
            self._pieces.append(piece if isinstance(piece, str) else bytes(piece))

    def whole(self) -> Any:
        """Text or bytes; None where it was too large to keep."""
        if self.large:
            return None
        pieces = self._pieces
        return ("" if pieces and isinstance(pieces[0], str) else b"").join(pieces)


class Note:
    """A message that is being sent."""

    __slots__ = ("at", "joined", "ready", "text")

    def __init__(self, text: Any, at: int) -> None:
        self.joined = Joined()
        self.text = text
        """Which kind it is sent as, where that is said."""
        self.at = at
        """When it was complete."""
        self.ready = False
        """It is complete: it may be answered already."""

    def add(self, piece: Any) -> None:
        self.joined.add(piece)

    def complete(self, at: int) -> None:
        self.at = at
        self.ready = not self.joined.empty

    def message(self) -> str | bytes | None:
        """All of it; None where it was too large to keep."""
        message: str | bytes | None = self.joined.whole()
        if self.text is True and isinstance(message, bytes):
            return message.decode("utf-8", "replace")
        if self.text is False and isinstance(message, str):
            return message.encode("utf-8", "replace")
        return message


class _Pieces:
    """One iteration of what is sent piece by piece: each is noted as it is made."""

    __slots__ = ("_note", "_pieces")

    def __init__(self, pieces: Iterator[Any], note: Note) -> None:
        self._pieces = pieces
        self._note = note

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._note.complete(_clock())
            raise
        self._note.add(piece)
        return piece


class _AsyncPieces:
    __slots__ = ("_note", "_pieces")

    def __init__(self, pieces: AsyncIterator[Any], note: Note) -> None:
        self._pieces = pieces
        self._note = note

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._note.complete(_clock())
            raise
        self._note.add(piece)
        return piece


class _Sent:
    """Stands in for an iterable that is sent. Its iterator is made when the library asks for it."""

    __slots__ = ("_iterable", "_note")

    def __init__(self, iterable: Iterable[Any], note: Note) -> None:
        self._iterable = iterable
        self._note = note

    def __iter__(self) -> Iterator[Any]:
        return _Pieces(iter(self._iterable), self._note)


class _AsyncSent:
    __slots__ = ("_iterable", "_note")

    def __init__(self, iterable: AsyncIterable[Any], note: Note) -> None:
        self._iterable = iterable
        self._note = note

    def __aiter__(self) -> AsyncIterator[Any]:
        return _AsyncPieces(aiter(self._iterable), self._note)


def noted(message: Any, text: Any, *, asynchronous: bool) -> tuple[Any, Note]:
    """(what is to be sent, what is to be told of it): the message itself, but for one that is sent in pieces.

    Args:
        asynchronous: asynchronous iterables are sent too.
    """
    note = Note(text, _clock())
    if isinstance(message, str | bytes | bytearray | memoryview):
        note.add(message)
        note.complete(note.at)
    elif isinstance(message, Mapping):
        pass  # refused by the library
    elif isinstance(message, Iterable):
        return _Sent(message, note), note
    elif asynchronous and isinstance(message, AsyncIterable):
        return _AsyncSent(message, note), note
    return message, note
