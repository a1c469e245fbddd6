"""What `streamgauge.websockets` and `streamgauge.websockets.sync` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from streamgauge import duplex

__all__ = ["Fields", "split", "watch"]


class Fields(TypedDict, total=False):
    """What may be said of a connection. It wins over what its handshake says."""

    dialect: str | None
    """How its messages are read; by default as the path of the handshake tells, else `generic-messages`."""
    agent_name: str
    provider_name: str
    model: str
    conversation_id: str
    server_address: str
    timeout_s: float
    """The caller's own deadline for a run: being given up at or after it is `timed_out`."""
    attributes: Mapping[str, Any]
    """More attributes for the session's span."""


def watch(fields: Fields) -> duplex.Watch:
    """Raises: UnknownDialectError; UsageError for a dialect from outside that cannot be loaded."""
    given: dict[str, Any] = dict(fields)
    return duplex.watch("websocket", eager=False, inherits=True, **given)


def split(options: dict[str, Any]) -> Fields:
    """Take what is ours out of the options of a `connect`."""
    found: Any = {name: options.pop(name) for name in Fields.__annotations__ if name in options}
    return found  # type: ignore[no-any-return]
