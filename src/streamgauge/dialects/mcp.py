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

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._jsonrpc import MAX_OPEN, id_of
from streamgauge.dialects._mcp_messages import CALLERS, ELICITED, NOTICES, answered, request
from streamgauge.dialects._parameters import text
from streamgauge.semconv import EXECUTE_TOOL
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, RUN, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Granularity, Outcome

__all__ = ["Mcp"]

_PENDING: Final = frozenset({"notifications/progress", "sampling/createMessage", "elicitation/create", "roots/list"})
"""What only comes while a request waits for its answer."""
_OF_CALLERS: Final = frozenset(CALLERS)


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
        **dict.fromkeys(CALLERS, "an operation below the run, where both directions are seen; else the run itself"),
        "tools/call": "a tool call below the run, where both directions are seen; else the run itself",
        **dict.fromkeys(NOTICES, "nothing"),
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
        operation, name, facts = request(body)
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
            flat = all(isinstance(each, dict) for each in message)
            return [signal for each in message for signal in self.feed(each, at)] if flat else NOTHING
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
        more, end = answered(result, error, at)
        signals += more
        key = self._calls.pop(id_of(message), "")
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
        if method in ELICITED:
            self._asked = True
            return [Noted(RUN, at, {}, PERSON_ASKED)]
        if method == "notifications/cancelled":
            key = self._calls.pop(id_of(field(message, "params"), "requestId"), "")
            return [Closed(key, at, Outcome.CANCELLED)] if key else []
        id_ = id_of(message)
        if method not in _OF_CALLERS or not id_ or id_ in self._calls:
            return []
        self._session = True
        if len(self._calls) >= MAX_OPEN:
            del self._calls[next(iter(self._calls))]
        key = self._calls[id_] = f"call:{id_}"
        operation, name, facts = request(message)
        return [Opened(key, at, operation, name, RUN, facts)]
