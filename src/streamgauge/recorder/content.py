"""Streams whose output goes on their spans: only where it is asked for, so that the others pay nothing for it."""

from __future__ import annotations

from streamgauge.recorder.stream import Stream
from streamgauge.signals import TEXT, Chunk, Signals

__all__ = ["ContentStream"]


class ContentStream(Stream):
    """A `Stream` that keeps the text of each operation, up to the limit."""

    __slots__ = ()

    def record(self, signals: Signals, asked: int, at: int) -> None:
        limit = self._recorder.attributes.content.max_bytes
        for signal in signals:
            if isinstance(signal, Chunk) and signal.kind == TEXT and isinstance(signal.text, str):
                operation = self._operations.get(signal.key)
                if operation is not None and len(operation.content) < limit:
                    operation.content = (operation.content + signal.text)[:limit]
        super().record(signals, asked, at)
