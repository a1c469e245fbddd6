"""What MCP's requests and answers tell, whatever carries them.

Source: as `streamgauge.dialects.mcp` has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import json_text, word
from streamgauge.dialects._dialect import field
from streamgauge.dialects._jsonrpc import bare_id, failed, id_of
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import PERSON_ASKED, RUN, Closed, Noted, Signal
from streamgauge.wire import Outcome

__all__ = ["CALLERS", "ELICITED", "NOTICES", "answered", "request"]

CALLERS: Final = (
    "initialize", "server/discover", "tools/call", "tools/list", "prompts/get", "prompts/list", "resources/read",
    "resources/list", "resources/templates/list", "resources/subscribe", "resources/unsubscribe",
    "subscriptions/listen", "completion/complete", "logging/setLevel", "tasks/get", "tasks/list", "tasks/result",
    "tasks/cancel",
)  # fmt: skip
"""Requests of the caller's."""
NOTICES: Final = (
    "notifications/message", "notifications/initialized", "notifications/tools/list_changed",
    "notifications/prompts/list_changed", "notifications/resources/list_changed", "notifications/resources/updated",
    "notifications/roots/list_changed", "notifications/subscriptions/acknowledged", "notifications/tasks/status",
    "ping",
)  # fmt: skip
"""What tells nothing of a request."""
ELICITED: Final = frozenset({"elicitation/create"})
"""Requests of the server's that are for a person."""

_METHOD: Final = re.compile(r"[a-z]+(/[A-Za-z_]+){0,3}")
_URL_ELICITATION: Final = -32042
"""The error that says: the user is to visit an address first."""
_MOST_TEXT: Final = 16_384  # characters: what a span shows of a content attribute, by default


def request(body: Any) -> tuple[str, str, dict[str, Any]]:
    """The operation that a request is, its name, and its attributes."""
    method = word(field(body, "method"))
    facts: dict[str, Any] = {}
    if not _METHOD.fullmatch(method):
        return "", "", facts
    facts[semconv.MCP_METHOD_NAME] = method
    id_ = id_of(body)
    if id_:
        facts[semconv.JSONRPC_REQUEST_ID] = bare_id(id_)
    if method != "tools/call":
        return semconv.RPC, method, facts
    params = field(body, "params")
    arguments = json_text(field(params, "arguments"))
    if arguments:
        facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments[:_MOST_TEXT]
    return EXECUTE_TOOL, word(field(params, "name")), facts


def answered(result: Any, error: Any, at: int) -> tuple[list[Signal], Closed]:
    """What the answer to a request tells, and the end that it is."""
    if error is None:
        return _told(result, at), _ended(result, at)
    asked = field(error, "code") == _URL_ELICITATION
    return [Noted(RUN, at, {}, PERSON_ASKED)] if asked else [], failed(RUN, error, at)


def _told(result: Any, at: int) -> list[Signal]:
    """What a tool gave, and whether the caller is to ask a person."""
    signals: list[Signal] = []
    content = field(result, "content")
    if isinstance(content, list) and content:
        told = _text(content)
        if not told:
            try:
                told = json.dumps(content, ensure_ascii=False)
            except (TypeError, ValueError, RecursionError):  # of a program's own making
                told = ""
        if told:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_TOOL_CALL_RESULT: told[:_MOST_TEXT]}))
    requests = field(result, "inputRequests", field(result, "input_requests"))
    if isinstance(requests, Mapping) and any(field(each, "method") in ELICITED for each in _hashable(requests)):
        signals.append(Noted(RUN, at, {}, PERSON_ASKED))
    return signals


def _hashable(requests: Mapping[Any, Any]) -> list[Any]:
    return [each for each in requests.values() if isinstance(field(each, "method"), str)]


def _ended(result: Any, at: int) -> Closed:
    if field(result, "isError", field(result, "is_error")) is not True:
        return Closed(RUN, at)
    content = field(result, "content")
    message = _text(content) if isinstance(content, list) else ""
    return Closed(RUN, at, Outcome.FAILED, "tool_error", message[:1024])


def _text(content: list[Any]) -> str:
    return "".join(word(field(part, "text")) for part in content)
