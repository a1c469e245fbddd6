"""What `streamgauge.httpx` and `streamgauge.httpx2` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar

from streamgauge import httpwatch
from streamgauge.clients._http import http_client
from streamgauge.errors import UnwrappableError
from streamgauge.transports._exchange import Watch

__all__ = ["Fields", "watch", "wrapped_client"]

T = TypeVar("T")


class Fields(TypedDict, total=False):
    """What may be said of the requests. It wins over what a request or its answer says."""

    dialect: str | None
    """How the answers are read; by default as the path of each request tells."""
    operation: str
    """`chat`, or `invoke_agent`."""
    agent_name: str
    provider_name: str
    model: str
    conversation_id: str
    server_address: str
    timeout_s: float
    """The caller's own deadline: being given up at or after it is `timed_out`."""
    attributes: Mapping[str, Any]
    """More attributes for each run's span."""


def watch(fields: Fields) -> Watch:
    """Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded."""
    given: dict[str, Any] = dict(fields)
    return httpwatch.watch("httpx", eager=False, inherits=True, **given)


def wrapped_client(client: T, propagate: bool, fields: Fields) -> T:
    """Raises: UnwrappableError; as `watch`."""
    found = http_client(client, watch(fields), propagate=propagate)
    if found is None:
        kind = type(client)
        raise UnwrappableError(f"{kind.__module__}.{kind.__qualname__} is no Client or AsyncClient of httpx or httpx2")
    return found
