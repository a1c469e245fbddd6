"""Streams whose output goes on their spans: only where it is asked for, so that the others pay nothing for it."""

from __future__ import annotations

from streamgauge.recorder.stream import Stream
from streamgauge.signals import TEXT, Chunk, Signals

__all__ = ["ContentStream"]

_MARGIN = 4_096
"""As long as anything that a redaction looks for."""


class ContentStream(Stream):
    """A `Stream` that keeps the text of each operation, up to the limit."""

    __slots__ = ()

    def record(self, signals: Signals, asked: int, at: int) -> None:
        if isinstance(signals, Chunk):
            self._keep(signals)
            super().record(signals, asked, at)
            return
        super().record((), asked, at)
        for signal in signals:  # one by one: a chunk's operation may have been opened just before it
            if isinstance(signal, Chunk):
                self._keep(signal)
                super().record(signal, at, at)
            else:
                self.apply((signal,))

    def _keep(self, chunk: Chunk) -> None:
        # Beyond the limit too: what is redacted must not have been cut before.
        limit = self._recorder.attributes.content.max_bytes + _MARGIN
        operation = self._operations.get(chunk.key)
        if operation is not None and chunk.kind == TEXT and isinstance(chunk.text, str):
            missing = limit - len(operation.content)
            if missing > 0:
                operation.content += chunk.text[:missing]
