"""A2A 1.0 and 0.3: what an agent answers to a message, over JSON-RPC or plain HTTP, streamed or not.

In go JSON-RPC answers, the results in them, or the SDK's objects; out come the run, the texts of messages and
artifacts, and how the task ended. A task that needs input or a login has asked a person. Whole messages, and whatever
pieces of an artifact the agent chooses to send, are what a chunk is here: mind the granularity.

Promised: what an agent says while it is still working (`status.message` of `working`) is a notice, no output. A run
ends with the task's end, in 0.3 with the event that says `final`; for input it ends when the agent closes the stream.
Of the plain answers to other methods only errors are told.

Source: a2a-sdk 1.3.0, `types/a2a_pb2.pyi`, `server/routes/jsonrpc_dispatcher.py` and `rest_dispatcher.py`,
`utils/errors.py`; `compat/v0_3/`, its `types.py` above all. JAF (jaf-py 2.6.22, `jaf/a2a`) sends 0.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code, either
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded, plain
from streamgauge.dialects._parameters import text
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, RUN, TEXT, Chunk, Closed, Noted, Signal, Signals
from streamgauge.wire import Granularity, Outcome

__all__ = ["A2a"]

_ENDS: Final = {
    "completed": Outcome.COMPLETED,
    "failed": Outcome.FAILED,
    "rejected": Outcome.FAILED,
    "canceled": Outcome.CANCELLED,
    "cancelled": Outcome.CANCELLED,
}
_WAITS: Final = frozenset({"input-required", "auth-required"})
_SPOKEN: Final = _WAITS | {"completed"}
"""States whose message is the agent's word, and no notice."""
# The numbers of the protocol buffers' enumeration.
_NUMBERED: Final = (
    "", "submitted", "working", "completed", "failed", "canceled", "input-required", "rejected", "auth-required",
)  # fmt: skip
_KINDS: Final = ("task", "message", "statusUpdate", "artifactUpdate", "status_update", "artifact_update", "msg")
_RUNS: Final = frozenset(
    {"message/send", "message/stream", "tasks/resubscribe", "SendMessage", "SendStreamingMessage", "SubscribeToTask"}
)
_AGENT_PATH: Final = re.compile(r"/a2a/agents/([^/?]+)")  # of JAF's server
_TAIL: Final = 64  # characters by which a text is known again
_MOST_ARTIFACTS: Final = 1024


class A2a(Dialect):
    """The answer of an A2A agent."""

    name = "a2a"
    system = "A2A 1.0 and 0.3 (a2a-sdk 1.3.0)"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.MESSAGE
    framing = "sse"
    paths = (
        r"/message:(send|stream)$",
        r"/tasks/[^/]+:subscribe$",
        r"/a2a/?$",
        r"/a2a/agents/[^/]+$",
    )
    events: ClassVar[Mapping[str, str]] = {
        "task": "the conversation; a chunk for each new text of its artifacts; the run's end, where the task has ended",
        "message": "the conversation, a chunk of its text, and the end of the run",
        "status-update": "the end of the run, where the task has ended or the event is final; input or a login that "
        "is required: a person is asked",
        "artifact-update": "a chunk of what its text grew by",
        "error": "the end of the run, `failed`, with the JSON-RPC code",
    }

    __slots__ = ("_artifacts", "_asked", "_conversation", "_ended", "_over")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._asked = False  # a person is, and has not answered
        self._conversation = ""
        self._ended: Closed | None = None  # how the task ended whose final event has not come
        self._artifacts: dict[str, tuple[int, str]] = {}  # by id: how much of the text came, and what it ended with

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The method, its JSON-RPC id, the conversation. See `Dialect.asked`."""
        params = field(body, "params", body) if isinstance(body, Mapping) else None
        message = params.get("message") if isinstance(params, Mapping) else None
        asked: dict[str, Any] = {
            "operation": INVOKE_AGENT,
            "conversation_id": text(message, "contextId") or text(message, "context_id"),
        }
        agent = _AGENT_PATH.search(path)
        if agent is not None:
            asked["agent_name"] = agent[1]
        method = text(body, "method")
        if method and method not in _RUNS:
            asked["operation"] = semconv.RPC
        id_ = body.get("id") if isinstance(body, Mapping) and method else None
        if id_.__class__ in (str, int):
            asked["attributes"] = {semconv.JSONRPC_REQUEST_ID: str(id_)}
        return asked

    def feed(self, data: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        if data.__class__ is tuple and len(data) == 2:  # of the 0.3 client: the task, and what is new of it
            data = data[0] if data[1] is None else data[1]
        body = isinstance(data, str | bytes | bytearray)
        value = loaded(data)
        if isinstance(value, list) and body:  # a batch
            failed = [each for each in value if field(each, "error") is not None]
            value = failed[0] if failed else {}
        value = field(value, "root", value)
        error = field(value, "error")
        if error is not None:
            return self._failed(error, at)
        result = field(value, "result", value)
        kind, event = _event(result)
        if body:
            return self._answered(kind, event, at) if isinstance(value, Mapping) else NOTHING
        signals: list[Signal] = []
        match kind:
            case "artifact-update":
                self._belongs(event, at, signals)
                self._artifact(field(event, "artifact"), field(event, "append") is True, at, signals)
            case "status-update":
                self._belongs(event, at, signals)
                self._status(event, field(event, "final"), at, signals)
            case "task":
                self._belongs(event, at, signals)
                for artifact in _items(field(event, "artifacts")):
                    self._artifact(artifact, False, at, signals)
                self._status(event, None, at, signals)
            case "message":
                self._belongs(event, at, signals)
                signals += (Chunk(RUN, at, TEXT, each) for each in _texts(event))
                signals.append(self._close(Closed(RUN, at)))
        return signals

    def untold(self, at: int) -> Signals:
        return self.finish(at)

    def finish(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        if self._ended is not None:
            return (self._close(self._ended),)
        return (self._close(Closed(RUN, at)),) if self._asked else NOTHING

    def _close(self, end: Closed) -> Closed:
        self._over = True
        return end

    def _answered(self, kind: str, event: Any, at: int) -> Signals:
        """A plain answer: nothing was streamed, so there are no chunks."""
        signals: list[Signal] = []
        end = Closed(RUN, at)
        if kind:
            self._belongs(event, at, signals)
        if kind == "task":
            status = field(event, "status")
            state = _state(status)
            end = _end(status, state, at) or end
            if state in _WAITS:
                signals.append(Noted(RUN, at, {}, PERSON_ASKED))
        return [*signals, self._close(end)]

    def _failed(self, error: Any, at: int) -> Signals:
        reasons = [code(field(detail, "reason")) for detail in _items(field(error, "details"))]  # of HTTP+JSON
        kind = next((each for each in reasons if each), "") or code(field(error, "code"))
        message = word(error) or word(field(error, "message"))
        return (self._close(Closed(RUN, at, Outcome.FAILED, kind, message)),)

    def _belongs(self, event: Any, at: int, signals: list[Signal]) -> None:
        conversation = word(either(event, "contextId", "context_id"))
        if conversation and not self._conversation:
            self._conversation = conversation
            signals.append(Noted(RUN, at, {semconv.GEN_AI_CONVERSATION_ID: conversation}))

    def _status(self, event: Any, final: Any, at: int, signals: list[Signal]) -> None:
        """
        Args:
            final: as 0.3 says it; None where the protocol has no such word.
        """
        status = field(event, "status")
        state = _state(status)
        if self._asked and state not in _WAITS:
            self._asked = False
            signals.append(Noted(RUN, at, {}, PERSON_ANSWERED))
        if state in _SPOKEN:
            signals += (Chunk(RUN, at, TEXT, each) for each in _texts(field(status, "message")))
        if state in _WAITS and not self._asked:
            self._asked = True
            signals.append(Noted(RUN, at, {}, PERSON_ASKED))
        end = _end(status, state, at)
        if final is True or (end is not None and final is not False):
            signals.append(self._close(end or self._ended or Closed(RUN, at)))
        elif end is not None:
            self._ended = end

    def _artifact(self, artifact: Any, more: bool, at: int, signals: list[Signal]) -> None:
        """
        Args:
            more: it is to be appended to what came before; else it is the whole of it, and may be longer than before.
        """
        whole = "".join(_texts(artifact))
        id_ = word(either(artifact, "artifactId", "artifact_id"))
        told, tail = self._artifacts.get(id_, (0, ""))
        new = whole
        if not more and told and whole[max(0, told - len(tail)) : told] == tail:
            new = whole[told:]
        if not more:
            told, tail = (told, tail) if new is not whole else (0, "")
        if not new:
            return
        if id_ not in self._artifacts and len(self._artifacts) >= _MOST_ARTIFACTS:
            del self._artifacts[next(iter(self._artifacts))]
        self._artifacts[id_] = (told + len(new), (tail + new[-_TAIL:])[-_TAIL:])
        signals.append(Chunk(RUN, at, TEXT, new))


def _event(result: Any) -> tuple[str, Any]:
    """What kind of result it is, and the event itself; two empty words for any other."""
    which = getattr(result, "WhichOneof", None)
    if which is not None:  # a protocol buffer: its fields are there even where they are not set
        try:
            kind = which("payload")
            return (_named(kind), getattr(result, kind)) if kind else ("", None)
        except Exception:  # of another message
            return "", None
    kind = plain(field(result, "kind"))
    if kind in A2a.events:
        return kind, result
    if isinstance(result, Mapping):
        for name in _KINDS:
            if name in result and isinstance(result[name], Mapping):
                return _named(name), result[name]
        if "status" in result and "id" in result:
            return "task", result
        if "role" in result and "parts" in result:
            return "message", result
    return "", None


def _named(kind: str) -> str:
    return {"statusUpdate": "status-update", "artifactUpdate": "artifact-update", "msg": "message"}.get(
        kind, kind.replace("_", "-")
    )


def _state(status: Any) -> str:
    """The task's state, as 0.3 spells it."""
    state = field(status, "state")
    if state.__class__ is int:
        return _NUMBERED[state] if 0 <= state < len(_NUMBERED) else ""
    return plain(state).removeprefix("TASK_STATE_").lower().replace("_", "-")


def _end(status: Any, state: str, at: int) -> Closed | None:
    outcome = _ENDS.get(state)
    if outcome is not Outcome.FAILED:
        return Closed(RUN, at, outcome) if outcome is not None else None
    return Closed(RUN, at, outcome, state, "".join(_texts(field(status, "message")))[:1024])


def _texts(holder: Any) -> list[str]:
    """The texts of a message's or an artifact's parts. A message of the caller's own has none."""
    if plain(field(holder, "role")) in ("user", "ROLE_USER", "1"):
        return []
    parts = (field(part, "root", part) for part in _items(field(holder, "parts")))
    return [each for each in (word(field(part, "text")) for part in parts) if each]


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        return value
    # The containers of protocol buffers are no lists.
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()
