"""Listening sockets, and what to do where one cannot be had."""

from __future__ import annotations

import errno
import ipaddress
import socket

from streamgauge.errors import SettingsError

__all__ = ["address", "bound", "is_loopback"]

_TROUBLE = {
    errno.EADDRINUSE: "is taken by another program; choose another one, or 0 for any free one",
    errno.EACCES: "is not for this user; choose one from 1024, or 0 for any free one",
}


def bound(host: str, port: int, where: str, *, backlog: int = 2_048) -> socket.socket:
    """A socket that listens there; of a name with several addresses, the first, IPv4 before IPv6.

    Args:
        where: the setting, for the message.
    Raises: SettingsError
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingsError(where, f"cannot listen on {host!r}: {getattr(error, 'strerror', None) or error}") from error
    family, kind, protocol, _, name = min(found, key=lambda each: each[0] != socket.AF_INET)
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(name)
        made.listen(backlog)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(where, f"cannot listen on {host!r}: {error.strerror}") from error
        why = _TROUBLE.get(error.errno or 0, f"cannot be used: {error.strerror}")
        raise SettingsError(where, f"port {port} on {host} {why}") from error
    made.setblocking(False)
    return made


def address(of: socket.socket) -> str:
    """`host:port`, as it is written in a URL. Any address is reached by `localhost`."""
    host, port = of.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (asked for by the user)
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(of: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(of.getsockname()[0].partition("%")[0]).is_loopback
