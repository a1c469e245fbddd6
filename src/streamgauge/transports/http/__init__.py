"""The HTTP proxy: asyncio protocols over llhttp on both sides, a state machine of callbacks between them.

`serve` listens; each connection is a `Front`, each exchange a `Relay`, each upstream connection an `Upstream` from its
route's `Pool`. What one read brings is written to the other side at once, and then told to the tap.
"""

from __future__ import annotations

from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.routes import Retries, Route
from streamgauge.transports.http.server import Active, Server, serve

__all__ = ["Active", "Limits", "Retries", "Route", "Server", "serve"]
