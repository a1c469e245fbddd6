"""One prompt turn of an ACP agent: what it says, its tools, what it asks of its client.

A tool call is shown before it runs, while its input is written or a person decides. Its execution begins when it is
`in_progress`; where that is not told, when the last was heard of it, or the person allowed it.

Source: as `streamgauge.dialects.acp` has it.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import AUDIO, IMAGE, count, json_text, requested, word
from streamgauge.dialects._dialect import NOTHING, field
from streamgauge.dialects._jsonrpc import MAX_OPEN, bare_id, failed
from streamgauge.dialects._turns import interrupted
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import Outcome

__all__ = ["DENIED", "Turn"]

DENIED: Final = "permission_denied"
_CANCELLED: Final = -32800
"""The JSON-RPC code of a request that was cancelled."""
_SAID: Final = {"agent_message_chunk": TEXT, "agent_thought_chunk": REASONING}
_MEDIA: Final = {"image": IMAGE, "audio": AUDIO}
_TOOLS: Final = frozenset({"tool_call", "tool_call_update"})
_OVER: Final = frozenset({"completed", "failed"})
_MOST_TEXT: Final = 16_384  # characters: what a span shows of a content attribute, by default


class _Call:
    """A tool call that was shown."""

    __slots__ = ("arguments", "denied", "name", "open", "over", "since")

    def __init__(self, at: int) -> None:
        self.name = ""
        self.arguments = ""
        self.since = at
        """From when on it can have run."""
        self.open = self.over = self.denied = False


class Turn:
    """What is open in it."""

    __slots__ = ("_asked", "_calls", "_open", "how", "session")

    def __init__(self, session: str) -> None:
        self.session = session
        self.how = ""
        """The caller has told the agent to stop: `cancel`."""
        self._calls: dict[str, _Call] = {}
        self._asked: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {}
        """What persons were asked, by request: the tool call, its facts, the kinds of their options."""
        self._open: set[str] = set()
        """The client's work, by request."""

    # What the agent says --------------------------------------------------------------------------------------

    def update(self, update: Any, at: int) -> Signals:
        """A `session/update`."""
        kind = word(field(update, "sessionUpdate"))
        said = _SAID.get(kind)
        if said is not None:
            return _said(said, field(update, "content"), at)
        return self._tool(update, at) if kind in _TOOLS else NOTHING

    def _tool(self, told: Any, at: int) -> list[Signal]:
        """A tool call, or news of one; what is not in it has not changed."""
        id_, status = word(field(told, "toolCallId")), word(field(told, "status"))
        call = self._shown(id_, told, at)
        if call is None or call.over:
            return []
        signals: list[Signal] = []
        arguments = json_text(field(told, "rawInput"))[:_MOST_TEXT]
        if arguments not in ("", "{}"):
            if not call.arguments and status not in _OVER:
                signals.append(Chunk(RUN, at, TOOL_CALL, arguments))
            call.arguments = arguments
            if call.open:
                signals.append(Noted(_key(id_), at, {semconv.GEN_AI_TOOL_CALL_ARGUMENTS: arguments}))
        if status == "in_progress" or status in _OVER:
            if not call.open:
                call.open = True
                facts = {semconv.GEN_AI_TOOL_CALL_ID: id_}
                if call.arguments:
                    facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = call.arguments
                since = call.since if status in _OVER else at
                signals.append(Opened(_key(id_), since, semconv.EXECUTE_TOOL, call.name, RUN, facts))
            if status in _OVER:
                signals += _result(id_, call, told, status == "failed", at)
        elif not call.open:
            call.since = at
        return signals

    def _shown(self, id_: str, told: Any, at: int) -> _Call | None:
        """A call, which becomes known here; None of one too many."""
        call = self._calls.get(id_)
        if call is None:
            if not id_ or len(self._calls) >= MAX_OPEN:
                return None
            call = self._calls[id_] = _Call(at)
        call.name = _name(told) or call.name or "other"
        return call

    # What it asks of its client -------------------------------------------------------------------------------

    def permission(self, request: str, params: Any, at: int) -> list[Signal]:
        """A person is asked for leave, or for something else."""
        told = field(params, "toolCall")
        id_ = word(field(told, "toolCallId")) or word(field(params, "toolCallId"))
        call = self._shown(id_, told, at)
        facts = {semconv.GEN_AI_TOOL_NAME: call.name, semconv.GEN_AI_TOOL_CALL_ID: id_} if call is not None else {}
        options = field(params, "options")
        kinds = {
            word(field(option, "optionId")): word(field(option, "kind"))
            for option in (options if options.__class__ is list else ())
        }
        self._asked[request] = id_, facts, kinds
        return [Noted(RUN, at, facts, PERSON_ASKED)]

    def request(self, request: str, method: str, at: int) -> list[Signal]:
        """The client is to do something: read a file, run a command."""
        self._open.add(request)
        facts = {semconv.JSONRPC_REQUEST_ID: bare_id(request)}
        return [Opened(f"rpc:{request}", at, semconv.RPC, method, RUN, facts)]

    def answered(self, request: str, result: Any, error: Any, at: int) -> list[Signal]:
        """The client's answer."""
        if request in self._asked:
            id_, facts, kinds = self._asked.pop(request)
            call = self._calls.get(id_)
            if call is not None and not call.open:
                call.since = at
                chosen = kinds.get(word(field(field(result, "outcome"), "optionId")), "")
                call.denied = chosen.startswith("reject")
            return [Noted(RUN, at, facts, PERSON_ANSWERED)]
        self._open.discard(request)
        key = f"rpc:{request}"
        if error is None:
            return [Closed(key, at)]
        return [Closed(key, at, Outcome.CANCELLED) if _is_cancelled(error) else failed(key, error, at)]

    def dropped(self, request: str, at: int) -> list[Signal]:
        """The agent wants no answer any more."""
        return self.answered(request, None, {"code": _CANCELLED}, at)

    # Its end --------------------------------------------------------------------------------------------------

    def end(self, result: Any, error: Any, at: int) -> list[Signal]:
        """The answer to the prompt."""
        signals: list[Signal] = [
            requested(at, call.name, id_, call.arguments)
            for id_, call in self._calls.items()
            if not (call.open or call.over)
        ]
        reason = word(field(result, "stopReason"))
        if error is not None:
            cancelled = bool(self.how) or _is_cancelled(error)
            ended: tuple[Signal, ...] = (
                interrupted(at, self.how or "cancel") if cancelled else (failed(RUN, error, at),)
            )
            return [*signals, *ended]
        if reason:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (reason,)}))
        used = _usage(field(result, "usage"), at)
        if used is not None:
            signals.append(used)
        ended = interrupted(at, self.how or "cancel") if reason == "cancelled" else (Closed(RUN, at),)
        return [*signals, *ended]


def _said(kind: str, content: Any, at: int) -> Signals:
    text = word(field(content, "text"))
    if text:
        return Chunk(RUN, at, kind, text)
    media, data = _MEDIA.get(word(field(content, "type"))), word(field(content, "data"))
    return Chunk(RUN, at, media, data) if media and data else NOTHING


def _result(id_: str, call: _Call, told: Any, is_failed: bool, at: int) -> list[Signal]:
    call.over = True
    signals: list[Signal] = []
    content = field(told, "content")
    parts = content if content.__class__ is list else ()
    text = "\n".join(filter(None, (word(field(field(part, "content"), "text")) for part in parts)))
    text = text or json_text(field(told, "rawOutput"))
    if text:
        signals.append(Noted(_key(id_), at, {semconv.GEN_AI_TOOL_CALL_RESULT: text[:_MOST_TEXT]}))
    error_type = DENIED if call.denied else "tool_error"
    signals.append(Closed(_key(id_), at, Outcome.FAILED, error_type) if is_failed else Closed(_key(id_), at))
    return signals


def _name(call: Any) -> str:
    """A tool's name, where the agent tells it; else its kind. Its title is for people: each call has another."""
    name = word(field(call, "name"))
    meta = field(call, "_meta")
    if not name and meta.__class__ is dict:
        name = next(filter(None, (word(field(own, "toolName")) for own in meta.values())), "")
    return name or word(field(call, "kind"))


def _usage(usage: Any, at: int) -> Usage | None:
    """A turn's tokens. Where their sum is of all kinds, cached input is told apart from the rest, and thought from
    what is said."""
    names = ("inputTokens", "outputTokens", "cachedReadTokens", "cachedWriteTokens", "thoughtTokens", "totalTokens")
    taken, given, read, written, thought, total = (count(field(usage, name)) for name in names)
    if taken is None and given is None:
        return None
    if taken is not None and given is not None and total is not None and total > taken + given:
        taken += (read or 0) + (written or 0)
        given += thought or 0
    return Usage(RUN, at, taken, given, read, written, thought)


def _is_cancelled(error: Any) -> bool:
    return bool(field(error, "code") == _CANCELLED)


def _key(id_: str) -> str:
    return f"tool:{id_}"
