"""MCP over standard input and output: both directions of one server's process.

In go the lines of the server's output and, as the aside `sent`, those of its input: JSON-RPC, a message or a batch of
them. Each request of the caller's is a run, from the line that asks to the line that answers, and tells just what it
tells over HTTP: for `tools/call` the tool's execution, for another method an `rpc`. Its parent is the trace context in
`_meta`, where it has one. Requests that overlap are told as `_overlaps` has it: only the oldest is shown while it is
open, and no time is lost, as answers have no chunks.

The server's own requests (a person's input, the caller's model, its roots) do not say which request they belong to: an
elicitation is the oldest open tool call's, else the oldest request's, and a person is waited for until its answer
passes.

Not told: notifications, which nobody answers, and `subscriptions/listen`, which lasts as long as the session.

Source: mcp 2.3.0, `mcp_types/_types.py`, `mcp_types/jsonrpc.py`, `mcp/server/stdio.py`; of the protocol, revisions
2024-11-05 to 2026-07-28, "Transports: stdio" and "Cancellation"; SEP-414 for `_meta.traceparent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import NOTHING, Dialect
from streamgauge.dialects._jsonrpc import MAX_OPEN, id_of, is_answer, messages
from streamgauge.dialects._mcp_messages import CALLERS, ELICITED, NOTICES, answered, request
from streamgauge.dialects._overlaps import Overlaps
from streamgauge.dialects._turns import SENT, interrupted, parent_of
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, RUN, Noted, Opened, Signal, Signals
from streamgauge.wire import Aside, Granularity

__all__ = ["McpStdio"]

_ENDLESS: Final = frozenset({"subscriptions/listen"})
_RUN_BY: Final = r"((npx|bunx|pnpm|uvx|uv|pipx|node|deno|python[\d.]*|docker)(\.exe)?\s(\S+\s+)*?)?"
"""A server is often started by another program."""


class McpStdio(Dialect):
    """What a server and its caller say to each other."""

    name = "mcp-stdio"
    system = "MCP over standard input and output, 2024-11-05 to 2026-07-28 (mcp 2.3.0)"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.NONE
    framing = "ndjson"
    opens_runs = True
    commands = (
        rf"^{_RUN_BY}\S*(mcp[-_]server|@modelcontextprotocol/server-)\S*(\s|$)",
        rf"^{_RUN_BY}\S+-mcp(@\S+|\.\w+)?(\s|$)",
        rf"^{_RUN_BY}\S*mcp\s(run|serve|server|start|stdio)\b",
        r"^\S+\s(mcp-server|mcp\s(serve|server|start|stdio))\b",
    )
    events: ClassVar[Mapping[str, str]] = {
        "result": "the end of the run that it answers: `failed` with `tool_error` where the tool says so; where input "
        "is required, a person is asked. To an elicitation: the person has answered",
        "error": "the end of the run that it answers, `failed`, with the JSON-RPC code. To an elicitation: the person "
        "has answered",
        **dict.fromkeys(CALLERS, "a run, an `rpc` (from the caller)"),
        "tools/call": "a run, the tool's execution (from the caller)",
        "subscriptions/listen": "nothing: it lasts as long as the session",
        "elicitation/create": "a person is asked (from the server)",
        "notifications/elicitation/complete": "nothing: that the person will visit the address was answered before",
        "notifications/cancelled": "the end of the run that it names, `cancelled`; from the server: its own request is "
        "over",
        "notifications/progress": "nothing",
        "sampling/createMessage": "nothing: the caller's own model call, made elsewhere",
        "roots/list": "nothing",
        **dict.fromkeys(NOTICES, "nothing"),
        "ping": "a run, an `rpc`, from the caller; else nothing",
    }

    __slots__ = ("_asked", "_runs", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._runs = Overlaps()
        self._tools: dict[str, bool] = {}  # open requests, by id: whether it is a tool call
        self._asked: dict[str, str] = {}  # what persons were asked, by the request's id: the run that waits

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is not Aside:
            return self._each(data, at, self._of_server)
        return self._each(data.data.get("data"), at, self._of_caller) if data.name == SENT else NOTHING

    def untold(self, at: int) -> Signals:
        return self._runs.untold()

    def finish(self, at: int) -> Signals:
        return self._runs.finish(at)

    def _each(self, line: Any, at: int, read: Any) -> list[Signal]:
        return [signal for message in messages(line) for signal in read(message, at)]

    # The caller's side ----------------------------------------------------------------------------------------

    def _of_caller(self, message: dict[str, Any], at: int) -> Signals:
        if is_answer(message):
            return self._person_answered(id_of(message), at)
        id_, method = id_of(message), word(message.get("method"))
        params = message.get("params")
        if method == "notifications/cancelled":
            return self._end(id_of(params, "requestId"), interrupted(at, "cancel"))
        operation, name, facts = request(message)
        if not operation or not id_ or method in _ENDLESS or id_ in self._runs or self._runs.is_full:
            return NOTHING
        if operation == semconv.EXECUTE_TOOL and name:
            facts[semconv.GEN_AI_TOOL_NAME] = name
        self._tools[id_] = operation == semconv.EXECUTE_TOOL
        return self._runs.open(id_, Opened(RUN, at, operation, name, parent_of(params), facts))

    # The server's side ----------------------------------------------------------------------------------------

    def _of_server(self, message: dict[str, Any], at: int) -> Signals:
        method, id_ = word(message.get("method")), id_of(message)
        if is_answer(message):
            more, end = answered(message.get("result"), message.get("error"), at)
            return self._end(id_, [*more, end])
        if method in ELICITED and id_:
            return self._person_asked(id_, at)
        if method == "notifications/cancelled":
            return self._person_answered(id_of(message.get("params"), "requestId"), at)
        return NOTHING

    def _person_asked(self, id_: str, at: int) -> Signals:
        waiting = next((run for run, is_tool in self._tools.items() if is_tool), next(iter(self._tools), ""))
        if not waiting or id_ in self._asked or len(self._asked) >= MAX_OPEN:
            return NOTHING
        self._asked[id_] = waiting
        return self._runs.tell(waiting, [Noted(RUN, at, {}, PERSON_ASKED)])

    def _person_answered(self, id_: str, at: int) -> Signals:
        waiting = self._asked.pop(id_, "")
        return self._runs.tell(waiting, [Noted(RUN, at, {}, PERSON_ANSWERED)]) if waiting else NOTHING

    def _end(self, id_: str, signals: Any) -> Signals:
        """What ends a run; nothing where it is not open."""
        if self._tools.pop(id_, None) is None:
            return NOTHING
        for asked in [asked for asked, run in self._asked.items() if run == id_]:
            del self._asked[asked]
        return self._runs.tell(id_, signals)
