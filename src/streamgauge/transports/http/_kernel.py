"""What the kernel knows of a connection that nobody reads."""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["has_left"]

_TCP_INFO = getattr(socket, "TCP_INFO", 11)
_GONE = (7, 8)
"""States of a connection, as Linux counts them: closed, and closed by the other side."""


def has_left(transport: Any) -> bool:
    """Whether the other side has closed the connection."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is not None and sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] in _GONE
    except OSError:
        return True
