"""JAF over a WebSocket: the events of `run_streaming` as `stream_to_websocket` sends them, and the caller's messages.

What an event tells is read as JAF's server's are (see `jaf_http`), so that a turn is told as over server-sent events.
JAF sends, and leaves the connection to the program, and so the form of a question: any message of the caller's is one,
but JSON whose `type` is `cancel`, `ping`, `pong` or `stop`. A program of another form subclasses `asks`.

Source: jaf-py 2.6.22, `jaf/core/streaming.py` (stream_to_websocket, StreamingEvent.to_json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from streamgauge.dialects._dialect import Dialect
from streamgauge.dialects._jaf_stream import STREAMED, JafStream
from streamgauge.dialects._parameters import text
from streamgauge.dialects._turns import BESIDE, Turns
from streamgauge.signals import Opened, Signals

__all__ = ["JafSocket"]


class JafSocket(Turns):
    """The turns of a JAF agent."""

    name = "jaf-socket"
    system = "JAF (jaf-py 2.6.22), its events over a WebSocket"
    granularity = JafStream.granularity
    decoder = JafStream
    events: ClassVar[Mapping[str, str]] = {
        "sent": f"a run; while one is open, what the next one answers; nothing where its type is {sorted(BESIDE)}",
        **STREAMED,
        "start": "the run's agent, the first step; where no run is open a run; after a message in mid-run the next one",
    }

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        super().__init__()
        self._begun = False  # the open run's `start` was read

    def told_by(self, message: Any) -> dict[str, Any]:
        """The words of JAF's own server (`jaf/server/types.py`), where a message has them."""
        return {
            "agent_name": text(message, "agent_name"),
            "conversation_id": text(message, "conversation_id"),
        }

    def begins(self, event: Any) -> bool:
        return text(event, "type") == "start"

    def follows(self, event: Any) -> bool:
        return self._begun and text(event, "type") == "start"

    def read(self, answer: Dialect, event: Any, data: Any, at: int) -> Signals:
        if not self._begun and text(event, "type") == "start":
            self._begun = True
        return super().read(answer, event, data, at)

    def _open(self, at: int, message: Any) -> Opened:
        self._begun = False
        return super()._open(at, message)
