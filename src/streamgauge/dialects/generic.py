"""Any stream: counts and times without meaning. Every event with text in it is a chunk; there is no terminal event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from streamgauge.dialects._dialect import NOTHING, Dialect
from streamgauge.signals import RUN, TEXT, Chunk, Signals
from streamgauge.wire import Aside, ServerSentEvent

__all__ = ["Generic"]


class Generic(Dialect):
    """Text, bytes, server-sent events; of any other object only that it came."""

    name = "generic"
    system = "any stream"
    framing = "message"
    events: ClassVar[Mapping[str, str]] = {
        "str": "a text chunk",
        "bytes": "a text chunk, sized as it is",
        "ServerSentEvent": "a text chunk of its data",
        "any other object": "a text chunk without text: counted and timed",
    }

    __slots__ = ()

    def feed(self, data: Any, at: int) -> Signals:
        kind = data.__class__
        if kind is str:
            return Chunk(RUN, at, TEXT, data)
        if kind is bytes or kind is bytearray:
            return Chunk(RUN, at, TEXT, data.decode("latin-1"))
        if kind is ServerSentEvent:
            return Chunk(RUN, at, TEXT, data.data)
        if kind is Aside:
            return NOTHING
        return Chunk(RUN, at, TEXT, "")
