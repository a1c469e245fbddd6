"""Drop-in for the connections of the library websockets, asyncio's and those of threads: each turn of the conversation
is a run, by the dialect that the handshake's path tells.

For an SDK that speaks by WebSocket: wrap the connection that it holds.

Source: websockets 17.4, 16.1.
"""

from __future__ import annotations

import sys
from typing import Any

from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of a client's open connection; None for all else."""
    for module in ("websockets.asyncio.client", "websockets.sync.client"):
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(obj, loaded.ClientConnection):
            from streamgauge.transports.websocket import connected

            return connected(obj, gauge.watch(transport="websocket"))
    return None
