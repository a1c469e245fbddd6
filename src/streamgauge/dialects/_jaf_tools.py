"""What the dialects of JAF share: how its tool calls and failures are told, and what is no event yet."""

from __future__ import annotations

import json
from typing import Any

from streamgauge import semconv
from streamgauge.dialects._dialect import field, loaded
from streamgauge.dialects._model_calls import word
from streamgauge.signals import Closed, Noted, Opened, Signal
from streamgauge.wire import Aside, Outcome, ServerSentEvent

__all__ = ["APART", "failed", "refused", "tool_closed", "tool_opened"]

APART = frozenset({Aside, ServerSentEvent, str, bytes, bytearray})
"""What is no event yet."""
_TOOL_FAILURES = frozenset({"execution_error", "tool_not_found", "validation_error"})


def tool_opened(key: str, at: int, tool: str, call_id: str, arguments: Any, parent: str) -> Opened:
    attributes = {
        semconv.GEN_AI_TOOL_CALL_ID: call_id or None,
        semconv.GEN_AI_TOOL_TYPE: "function",
        semconv.GEN_AI_TOOL_CALL_ARGUMENTS: _content(arguments),
    }
    return Opened(key, at, semconv.EXECUTE_TOOL, tool, parent, attributes)


def tool_closed(key: str, at: int, status: Any, result: Any) -> list[Signal]:
    signals: list[Signal] = [Noted(key, at, {semconv.GEN_AI_TOOL_CALL_RESULT: _content(result)})]
    if status == "timeout":
        signals.append(Closed(key, at, Outcome.FAILED, "timeout", _told_by(result, "message")))
    elif status == "error":
        failure = _told_by(result, "hitl_status")
        error_type = failure if failure in _TOOL_FAILURES else ""
        signals.append(Closed(key, at, Outcome.FAILED, error_type, _told_by(result, "message")))
    else:
        signals.append(Closed(key, at))
    return signals


def refused(tools: dict[str, str], at: int) -> list[Signal]:
    """The end of tool calls that nothing more will be told of: a person has refused them, or has yet to approve."""
    unanswered: list[Signal] = [Closed(key, at, Outcome.CANCELLED) for key in tools.values()]
    tools.clear()
    return unanswered


def failed(key: str, at: int, error: Any) -> Closed:
    error_type = word(field(error, "_tag")) or word(field(error, "error_type"))
    message = word(field(error, "detail")) or word(field(error, "reason")) or word(field(error, "message"))
    return Closed(key, at, Outcome.FAILED, error_type, message)


def _told_by(result: Any, name: str) -> str:
    """A tool's result is a JSON object as text: one of its fields."""
    value = loaded(result)
    return word(value.get(name)) if value.__class__ is dict else ""


def _content(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # no JSON: its keys, or a cycle
        return None
