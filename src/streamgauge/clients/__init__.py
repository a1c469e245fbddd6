"""Drop-ins for agent clients, chosen by the package that an object's class (or a function) comes from."""

from __future__ import annotations

import importlib
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from streamgauge.transports.inprocess import Gauge

__all__ = ["CLIENTS", "wrap"]

CLIENTS = {
    "ziran": "streamgauge.clients.ziran",
    "zag": "streamgauge.clients.zag",
    "jaf": "streamgauge.clients.jaf",
    "shipit_agent": "streamgauge.clients.shipit_agent",
    "aiecs": "streamgauge.clients.aiecs",
    "openai": "streamgauge.clients.openai",
    "anthropic": "streamgauge.clients.anthropic",
    "httpx": "streamgauge.clients.httpx",
    "httpx2": "streamgauge.clients.httpx",
    "websockets": "streamgauge.clients.websockets",
}
"""Package: the module that knows its objects."""


_STREAMS = frozenset({GeneratorType, AsyncGeneratorType})
"""What most streams are; no client is one."""


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """A drop-in for `obj`; None where it comes from no known package, or nothing of it streams."""
    if type(obj) in _STREAMS:
        return None
    for package in _packages(obj):
        if package in CLIENTS:
            found = importlib.import_module(CLIENTS[package]).wrap(obj, gauge)
            if found is not None:
                return found
    return None


def _packages(obj: Any) -> list[str]:
    """The top-level packages behind `obj`: a function's own; of an object, those of its class and all its bases, so
    that a user's subclass is known too."""
    if hasattr(obj, "__code__") or hasattr(obj, "__func__"):
        modules = [getattr(obj, "__module__", None)]
    else:
        modules = [getattr(base, "__module__", None) for base in type(obj).__mro__]
    return list(dict.fromkeys(module.partition(".")[0] for module in modules if isinstance(module, str)))
