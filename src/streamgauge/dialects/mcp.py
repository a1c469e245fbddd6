"""MCP streamable HTTP: what a server sends for one request, as an event stream or as one JSON body.

The run is the request: for `tools/call` the tool's execution, for another method an `rpc`, named by the method. It ends
with the answer. What comes before it on the stream is about the run and no output: progress, log messages, the server's
own requests. When the server asks the user for something (an elicitation), a person is asked, until the next message
comes; an answer that says `input_required` ends the run, and its continuation is another one.

Where both directions are seen (a capture of a whole session, standard input and output), the caller's requests are
there too: then each is an operation below the run, matched to its answer by id, and the run is the session.

Promised: a stream that ends with neither answer nor progress is complete: it is that of a notification, a stream of a
server's messages, or one that the server asks to have resumed.

Source: mcp 2.3.0, `mcp_types/_types.py`, `mcp_types/jsonrpc.py`, `mcp/server/streamable_http.py` and
`_streamable_http_modern.py`; of the protocol, revisions 2025-03-26 to 2026-07-28. OpenTelemetry's MCP conventions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import json_text, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import text
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, RUN, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Granularity, Outcome

__all__ = ["Mcp"]

_METHOD: Final = re.compile(r"[a-z]+(/[A-Za-z_]+){0,3}")
_ELICITED: Final = frozenset({"elicitation/create"})
_PENDING: Final = frozenset({"notifications/progress", "sampling/createMessage", "elicitation/create", "roots/list"})
"""What only comes while a request waits for its answer."""
_CALLERS: Final = (
    "initialize", "server/discover", "tools/call", "tools/list", "prompts/get", "prompts/list", "resources/read",
    "resources/list", "resources/templates/list", "resources/subscribe", "resources/unsubscribe",
    "subscriptions/listen", "completion/complete", "logging/setLevel", "tasks/get", "tasks/list", "tasks/result",
    "tasks/cancel",
)  # fmt: skip
_NOTICES: Final = (
    "notifications/message", "notifications/initialized", "notifications/tools/list_changed",
    "notifications/prompts/list_changed", "notifications/resources/list_changed", "notifications/resources/updated",
    "notifications/roots/list_changed", "notifications/subscriptions/acknowledged", "notifications/tasks/status",
    "ping",
)  # fmt: skip
_URL_ELICITATION: Final = -32042
"""The error that says: the user is to visit an address first."""
_MOST_TEXT: Final = 16_384  # characters: what a span shows of a content attribute, by default
_MOST_CALLS: Final = 1024


class Mcp(Dialect):
    """What an MCP server sends for one request."""

    name = "mcp"
    system = "MCP streamable HTTP, 2025-03-26 to 2026-07-28 (mcp 2.3.0)"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.NONE
    framing = "sse"
    paths = (r"/mcp/?$",)
    events: ClassVar[Mapping[str, str]] = {
        "result": "the end of the run: `failed` with `tool_error` where the tool says so; where input is required, a "
        "person is asked",
        "error": "the end of the run, `failed`, with the JSON-RPC code",
        "elicitation/create": "a person is asked; the next message is the answer's consequence",
        "notifications/elicitation/complete": "the person has answered",
        "notifications/progress": "nothing",
        "notifications/cancelled": "the end of the request that it names, `cancelled`, where both directions are seen",
        "sampling/createMessage": "nothing: the caller's own model call, made elsewhere",
        "roots/list": "nothing",
        **dict.fromkeys(_CALLERS, "an operation below the run, where both directions are seen; else the run itself"),
        "tools/call": "a tool call below the run, where both directions are seen; else the run itself",
        **dict.fromkeys(_NOTICES, "nothing"),
    }

    __slots__ = ("_asked", "_calls", "_over", "_pending", "_session")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._asked = False  # a person is, and has not answered
        self._pending = False  # something came that only comes before an answer
        self._session = False  # the caller's requests are seen
        self._calls: dict[str, str] = {}  # open ones, by id: their keys

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The method, its id, and of `tools/call` the tool. See `Dialect.asked`."""
        if isinstance(body, list):  # a batch is named by its first request
            body = next((each for each in body if text(each, "method") and "id" in each), None)
        operation, name, facts = _request(body)
        asked: dict[str, Any] = {"operation": operation or semconv.RPC, "attributes": facts}
        if operation == EXECUTE_TOOL and name:
            facts[semconv.GEN_AI_TOOL_NAME] = name
        return asked

    def feed(self, data: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        message = loaded(data)
        if message.__class__ is not dict:
            message = field(message, "message", message)  # of the SDK's session
            message = field(message, "root", message)
        if isinstance(message, list):
            return [signal for each in message for signal in self.feed(each, at)] if _flat(message) else NOTHING
        method = word(field(message, "method"))
        signals: list[Signal] = []
        if self._asked and message is not None:
            self._asked = False
            signals.append(Noted(RUN, at, {}, PERSON_ANSWERED))
        if method:
            signals += self._message(method, message, at)
            return signals
        result, error = field(message, "result"), field(message, "error")
        if result is None and error is None:
            return signals
        if error is not None:
            end = _failed(error, at)
            if field(error, "code") == _URL_ELICITATION:
                signals.append(Noted(RUN, at, {}, PERSON_ASKED))
        else:
            signals += _told(result, at)
            end = _ended(result, at)
        key = self._calls.pop(_id(message), "")
        if key:
            end.key = key
            for signal in signals:
                if isinstance(signal, Noted) and not signal.name:
                    signal.key = key
        elif self._session:
            return signals  # of the other direction
        else:
            self._over = True
        return [*signals, end]

    def finish(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        self._over = True
        unanswered = bool(self._calls) if self._session else self._pending
        return (Closed(RUN, at, Outcome.TRUNCATED if unanswered else Outcome.COMPLETED),)

    def _message(self, method: str, message: Any, at: int) -> list[Signal]:
        """A request or a notification."""
        self._pending = self._pending or method in _PENDING
        if method in _ELICITED:
            self._asked = True
            return [Noted(RUN, at, {}, PERSON_ASKED)]
        if method == "notifications/cancelled":
            key = self._calls.pop(_id(field(message, "params"), "requestId"), "")
            return [Closed(key, at, Outcome.CANCELLED)] if key else []
        id_ = _id(message)
        if method not in _OF_CALLERS or not id_ or id_ in self._calls:
            return []
        self._session = True
        if len(self._calls) >= _MOST_CALLS:
            del self._calls[next(iter(self._calls))]
        key = self._calls[id_] = f"call:{id_}"
        operation, name, facts = _request(message)
        return [Opened(key, at, operation, name, RUN, facts)]


_OF_CALLERS: Final = frozenset(_CALLERS)


def _request(body: Any) -> tuple[str, str, dict[str, Any]]:
    """The operation that a request is, its name, and its attributes."""
    method = word(field(body, "method"))
    facts: dict[str, Any] = {}
    if not _METHOD.fullmatch(method):
        return "", "", facts
    facts[semconv.MCP_METHOD_NAME] = method
    id_ = _id(body)
    if id_:
        facts[semconv.JSONRPC_REQUEST_ID] = id_.partition(":")[2]
    if method != "tools/call":
        return semconv.RPC, method, facts
    params = field(body, "params")
    arguments = json_text(field(params, "arguments"))
    if arguments:
        facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = arguments[:_MOST_TEXT]
    return EXECUTE_TOOL, word(field(params, "name")), facts


def _id(message: Any, name: str = "id") -> str:
    """A request's id with its type, since 1 and "1" are two; empty where there is none."""
    id_ = field(message, name)
    return f"{id_.__class__.__name__}:{id_}" if id_.__class__ in (int, str) else ""


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
    if isinstance(requests, Mapping) and any(field(each, "method") in _ELICITED for each in _hashable(requests)):
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


def _failed(error: Any, at: int) -> Closed:
    return Closed(RUN, at, Outcome.FAILED, code(field(error, "code")), word(error) or word(field(error, "message")))


def _text(content: list[Any]) -> str:
    return "".join(word(field(part, "text")) for part in content)


def _flat(batch: list[Any]) -> bool:
    return all(isinstance(each, dict) for each in batch)
