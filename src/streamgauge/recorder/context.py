"""The variable that holds the current OpenTelemetry context."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import Any

from opentelemetry import context as otel_context

__all__ = ["ambient"]

_OWN: ContextVar[Any] = ContextVar("streamgauge-context")


@cache
def ambient() -> ContextVar[Any]:
    """The variable itself: a set and a reset of it is all that a read of a source can afford (0.1 µs, where `attach`
    and `detach` cost 0.18), and a reset by a token of another context can be avoided instead of logged.

    The SDK's runtime context keeps it in a private place. Where that is not found, a variable of our own stands in,
    and only the nesting of what the agent does inside is lost; a test says so before a release does.
    """
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    found = getattr(runtime, "_current_context", None)
    return found if isinstance(found, ContextVar) else _OWN
