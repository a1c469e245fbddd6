"""What the dialects over JSON-RPC lines have in common: requests of both sides, matched to their answers by id.

Source: the JSON-RPC 2.0 specification, sections 4 to 6.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import field, loaded
from streamgauge.signals import Closed
from streamgauge.wire import Outcome

__all__ = ["MAX_OPEN", "bare_id", "failed", "id_of", "is_answer", "messages"]

MAX_OPEN: Final = 1024
"""Requests of one side that are followed at one time; beyond it the oldest is forgotten."""


def id_of(message: Any, name: str = "id") -> str:
    """A request's id with its type, since 1 and "1" are two; empty where there is none."""
    id_ = field(message, name)
    return f"{id_.__class__.__name__}:{id_}" if id_.__class__ in (int, str) else ""


def bare_id(id_: str) -> str:
    """The same without its type, as an attribute has it."""
    return id_.partition(":")[2]


def messages(line: Any) -> list[dict[str, Any]]:
    """The messages of one line: one, those of a batch, or none, where it is no JSON-RPC."""
    message = loaded(line)
    if message.__class__ is dict:
        return [message]
    return [each for each in message if each.__class__ is dict] if message.__class__ is list else []


def is_answer(message: dict[str, Any]) -> bool:
    return "method" not in message and ("result" in message or message.get("error") is not None)


def failed(key: str, error: Any, at: int) -> Closed:
    """The end of a request by an error."""
    message = word(error) or word(field(error, "message"))
    return Closed(key, at, Outcome.FAILED, code(field(error, "code")), message)
