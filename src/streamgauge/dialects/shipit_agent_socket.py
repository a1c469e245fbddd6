"""shipit_agent over a WebSocket: the packets of a chat session, and the caller's prompts.

What a packet tells is read as `shipit_agent` reads it, so that a turn is told as over server-sent events. The package
makes the packets and leaves the connection to the program, and so the form of a prompt: any message of the caller's is
one, but JSON whose `type` is `cancel`, `ping`, `pong` or `stop`. A program of another form subclasses `asks`.

A packet `agent_result` is a whole run that was not streamed: its steps and tools are told with their own times, and no
chunks.

Source: shipit-agent 2.2.1, `chat_session.py` (stream_packets, send_result_packet) and `packets.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge.dialects._dialect import Dialect
from streamgauge.dialects._parameters import text
from streamgauge.dialects._shipit_stream import STOPPED, ShipitStream
from streamgauge.dialects._turns import BESIDE, Turns
from streamgauge.signals import RUN, Chunk, Closed, Signal, Signals
from streamgauge.wire import Aside

__all__ = ["ShipitAgentSocket"]

_RESULT: Final = "agent_result"
_BEGINNING: Final = "run_started"


class ShipitAgentSocket(Turns):
    """The turns of a chat session."""

    name = "shipit-agent-socket"
    system = "shipit_agent 2.2, a chat session's WebSocket packets"
    granularity = ShipitStream.granularity
    decoder = ShipitStream
    events: ClassVar[Mapping[str, str]] = {
        "sent": f"a run; while one is open, what the next one answers; nothing where its type is {sorted(BESIDE)}",
        **ShipitStream.events,
        "run_started": "the conversation; where no run is open a run; in a run without an id a nested one",
        "agent_result": "the run's events without their chunks, and the end of the run",
    }

    __slots__ = ()

    def begins(self, event: Any) -> bool:
        return _type_of(event) in (_BEGINNING, _RESULT)

    def read(self, answer: Dialect, event: Any, data: Any, at: int) -> Signals:
        if _type_of(event) != _RESULT:
            return answer.feed(data if event is None else event, at)
        result = event.get("result")
        events = result.get("events") if result.__class__ is dict else None
        told: list[Signal] = []
        for each in events if events.__class__ is list else ():
            told += [signal for signal in answer.feed(each, at) if signal.__class__ is not Chunk]
        told += answer.finish(at)
        over = any(signal.__class__ is Closed and signal.key == RUN for signal in told)
        return told if over else [*told, Closed(RUN, at)]

    def cancels(self, answer: Dialect, at: int) -> None:
        answer.feed(Aside(STOPPED), at)


def _type_of(event: Any) -> str:
    """The type of an event, alone or in its packet."""
    if event.__class__ is not dict:
        return ""
    inner = event.get("event")
    return text(inner, "type") or text(event, "type") or text(event, "packet_type")
