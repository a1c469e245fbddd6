"""Framings: bytes in, events out, chosen by name.

A framing is a pure, incremental decoder of one stream. It never raises for any bytes, other than `FramingError` beyond
its limit, and takes time linear in them. To add one: a file here and a line in the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamgauge.framing._framing import MAX_EVENT_BYTES, Framing
from streamgauge.framing.aws_event_stream import AWSEventStreamFraming
from streamgauge.framing.json_array import JSONFraming
from streamgauge.framing.message import MessageFraming
from streamgauge.framing.ndjson import NDJSONFraming
from streamgauge.framing.sse import SSEFraming

__all__ = [
    "FRAMINGS",
    "MAX_EVENT_BYTES",
    "AWSEventStreamFraming",
    "Framing",
    "JSONFraming",
    "MessageFraming",
    "NDJSONFraming",
    "SSEFraming",
    "find",
]

FRAMINGS: Mapping[str, type[Framing]] = {
    "sse": SSEFraming,
    "ndjson": NDJSONFraming,
    "message": MessageFraming,
    "json": JSONFraming,
    "aws-event-stream": AWSEventStreamFraming,
}


def find(name: str) -> type[Framing] | None:
    """The framing of that name; None where there is none."""
    return FRAMINGS.get(name)
