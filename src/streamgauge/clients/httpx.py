"""Drop-in for the clients of httpx and of httpx2: each request is watched, by the dialect that its path tells.

For an SDK that takes an HTTP client: give it `streamgauge.wrap(httpx.Client(...))`.

Source: httpx 0.28.1, httpx2 2.16.2.
"""

from __future__ import annotations

from typing import Any

from streamgauge.clients._http import http_client
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of a client; None for all else."""
    return http_client(obj, gauge.watch())
