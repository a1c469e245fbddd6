"""What every framing is: bytes in, events out, with bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

__all__ = ["MAX_EVENT_BYTES", "Framing"]

# 1 MiB. An agent's events are a few hundred bytes, but one with a tool's result or a base64 image is large: asyncio's
# 64 KiB limit for a line is known to break agent streams (zag's Python binding dies of it). websockets takes messages
# up to 1 MiB, aiohttp up to 4 MiB, uvicorn up to 16 MiB. Without any limit a line without an end takes all memory.
MAX_EVENT_BYTES: Final = 1_048_576
"""The largest event, by default."""


class Framing(Protocol):
    """One stream's framing. Wherever the bytes are cut, the same events come out, each with the byte that ends it."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None: ...

    @property
    def pending_bytes(self) -> bytes:
        """What has been fed of an event that is not complete yet; after `finish`, what was left over."""

    @property
    def between(self) -> bool:
        """Surely between two events, with nothing kept back: how the next is read does not depend on what came before.
        False where nobody asks."""

    def feed(self, data: bytes) -> Sequence[Any]:
        """Read what arrived.

        Args:
            data: any bytes, cut anywhere.
        Returns: the events that these bytes complete, in order.
        Raises:
            FramingError: an event is larger than `max_event_bytes`. What came before it is returned first: then the
                next call raises. So does every later one.
        """

    def finish(self) -> Sequence[Any]:
        """The source has ended.

        Returns: the last event, where the end completes it.
        Raises:
            FramingError: as `feed`.
        """
