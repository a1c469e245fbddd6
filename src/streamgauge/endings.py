"""How a stream ended, by what ended it."""

from __future__ import annotations

import sys

from streamgauge.wire import Outcome, Request

__all__ = ["classify", "error_type_of", "is_late", "message_of"]


def error_type_of(error: BaseException) -> str:
    """The HTTP status that it carries (`status_code`, as HTTP clients name it), else the exception's name, with its
    module unless it is built in."""
    try:
        status = getattr(error, "status_code", None)
    except Exception:  # a property that fails
        status = None
    if isinstance(status, int) and status >= 400:
        return str(status)
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def classify(error: BaseException) -> Outcome:
    """How a stream ended that ended by `error`."""
    asyncio = sys.modules.get("asyncio")  # importing it costs 25 ms, and who cancels has done so
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return Outcome.CANCELLED
    if isinstance(error, GeneratorExit):
        return Outcome.ABANDONED
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return Outcome.SHUTDOWN
    return Outcome.FAILED


def is_late(request: Request, elapsed_ns: int) -> bool:
    """Whether the caller's deadline has passed: to be given up then is to be `timed_out`."""
    return 0 < round(request.timeout_s * 1e9) <= elapsed_ns


def message_of(error: BaseException) -> str:
    """Its text; empty where that fails."""
    try:
        return str(error)
    except Exception:
        return ""
