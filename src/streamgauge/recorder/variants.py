"""Streams that do more per chunk than the usual ones: only where it is asked for, so that the others pay nothing."""

from __future__ import annotations

from streamgauge.recorder.retries import context_of
from streamgauge.recorder.stream import Stream
from streamgauge.signals import TEXT, Chunk, Signals

__all__ = ["ContentStream", "MeteredContentStream", "MeteredStream"]

_MARGIN = 4_096
"""Characters beyond the limit, as long as anything that a redaction looks for: what it looks at must not be cut yet."""


class _Looking(Stream):
    """Looks at each chunk in its turn: its operation may have been opened just before it, by the same event."""

    __slots__ = ()

    record_alike = None  # type: ignore[assignment]  # it looks at texts

    def record(self, signals: Signals, asked: int, at: int) -> None:
        if isinstance(signals, Chunk):
            self._look(signals, at)
            super().record(signals, asked, at)
            return
        super().record((), asked, at)
        for signal in signals:
            if isinstance(signal, Chunk):
                self._look(signal, at)
                super().record(signal, at, at)
            else:
                self.apply((signal,))

    def _look(self, chunk: Chunk, at: int) -> None:
        """Before it is recorded."""


class ContentStream(_Looking):
    """Keeps the text of each operation for its span, up to the limit."""

    __slots__ = ()

    def _look(self, chunk: Chunk, at: int) -> None:
        operation = self.operations.get(chunk.key)
        if operation is not None and chunk.kind == TEXT and isinstance(chunk.text, str):
            missing = self.recorder.attributes.content.max_bytes + _MARGIN - len(operation.content)
            if missing > 0:
                operation.content += chunk.text[:missing]
        super()._look(chunk, at)


class MeteredStream(_Looking):
    """Gives each chunk gap to the host's meter."""

    __slots__ = ()

    def _look(self, chunk: Chunk, at: int) -> None:
        recorder = self.recorder
        operation = self.operations.get(chunk.key)
        if operation is not None and not operation.starting:
            gap = (at - operation.last) / 1e9
            recorder.mirror([(recorder.profile.per_chunk, self.common_of(operation), gap, None)], context_of(operation))
        super()._look(chunk, at)


class MeteredContentStream(MeteredStream, ContentStream):
    """Both."""

    __slots__ = ()
