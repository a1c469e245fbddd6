"""LangGraph's server: the events of one run, in any mix of its stream modes, with or without subgraphs.

In go events of the event stream, the SDK's `StreamPart`s, or its version 2 dicts; out come the run, a step for each
task, tool calls, and with `events` the model calls. A part of a subgraph (`messages|node:task`) belongs to its task.
How text is told where several modes bring it is in `_langgraph_messages`, what is below a run in `_langgraph_below`.

Promised: the set of events is open, an unknown one says nothing. A run may end without a word: servers are allowed to
just close the stream, as they do when it is cut. So an end is `completed`, unless a task was seen that did not end.

Source: langgraph-sdk 0.4.14, `schema.py` (`StreamMode`, `StreamPartV2` and its payloads), `_shared/utilities.py`,
`_async/http.py` and `stream/decoders.py`; of the server that is open source (langchain-ai/langgraphjs),
`libs/langgraph-api/src/stream.mts`, `queue.mts` and `api/runs.mts`; langchain-core 1.7.2 `messages/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._langgraph_below import Below
from streamgauge.dialects._langgraph_messages import PARTIAL, PIECES, Messages
from streamgauge.dialects._parameters import text
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import (
    PERSON_ASKED,
    RUN,
    TEXT,
    Chunk,
    Closed,
    Noted,
    Opened,
    Retried,
    Signals,
)
from streamgauge.wire import Outcome, ServerSentEvent

__all__ = ["Langgraph"]

_THREAD: Final = re.compile(r"/threads/([^/?]+)/")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TASKS: Final = ("task", "task_result")
_CANCELLED: Final = frozenset({"CancelledError", "UserInterrupt", "UserRollback"})


class Langgraph(Dialect):
    """The stream of one run on a LangGraph server."""

    name = "langgraph"
    system = "LangGraph server (langgraph-sdk 0.4)"
    terminal = False
    only_waits_between_chunks = True
    framing = "sse"
    paths = (r"/runs/stream$", r"/runs/[^/]+/stream$")
    events: ClassVar[Mapping[str, str]] = {
        "metadata": "the conversation; a later attempt is a retry; after a run's end the next run",
        "messages": "what the message grew by: chunks, tool calls, usage; the model that is asked",
        "messages-tuple": "as `messages`: the mode's own name",
        "messages/partial": "what the message so far grew by: chunks, tool calls, usage",
        "messages/complete": "a chunk for the whole message, where no pieces of messages come",
        "messages/metadata": "nothing",
        "updates": "chunks for whole messages, where no pieces come; ends of tool calls; an interrupt: a person is "
        "asked",
        "values": "as `updates`, of messages that were not there before",
        "tasks": "a step, from its start to its result; an interrupt: a person is asked",
        "debug": "of tasks, as `tasks`",
        "tools": "a tool call, from its start to its end",
        "lifecycle": "a subgraph: a nested run",
        "events": "model calls with their chunks, and tool calls",
        "checkpoints": "nothing",
        "custom": "nothing",
        "feedback": "nothing",
        "error": "the end of the run: `failed`, or `cancelled` where a user stopped it",
        "end": "the end of the run",
        "run_done": "the end of the run, on a thread's stream",
    }

    __slots__ = ("_asked", "_attempt", "_below", "_model", "_over", "_said", "_state", "_steady")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._begin()

    def _begin(self) -> None:
        self._said = Messages()
        self._below = Below(self._said)
        self._asked = False  # a person is, in this run
        self._attempt = 1
        self._model = ""
        self._state = False  # the state before the run was seen
        self._steady = False  # pieces of messages are what is read

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The thread; the assistant, where it is named and not only numbered. See `Dialect.asked`."""
        thread = _THREAD.search(path)
        asked: dict[str, Any] = {"operation": INVOKE_AGENT, "conversation_id": thread[1] if thread else ""}
        assistant = text(body, "assistant_id")
        if not _UUID.fullmatch(assistant):
            asked["agent_name"] = assistant
        return asked

    def feed(self, data: Any, at: int) -> Signals:
        payload: Any
        if data.__class__ is ServerSentEvent:
            kind, _, path = data.type.partition("|")
            if kind not in _RULES:
                return NOTHING  # a state or a checkpoint may be large, and is not looked into
            payload = loaded(data)
        else:
            if data.__class__ is not dict:
                data = loaded(data)
            kind, _, path = (word(field(data, "event")) or word(field(data, "type"))).partition("|")
            payload = field(data, "data")
            above, waiting = field(data, "ns"), field(data, "interrupts")
            if above.__class__ is list:
                path = "|".join(each for each in above if each.__class__ is str)
            if waiting and payload.__class__ is dict and kind == "values":
                payload = {**payload, "__interrupt__": waiting}
        if kind == PIECES and self._steady and payload.__class__ is list and payload:
            message = payload[0]
            if message.__class__ is dict and message.get("type") == "AIMessageChunk":
                said, id_ = message.get("content"), message.get("id")
                if (
                    said.__class__ is str
                    and said
                    and id_.__class__ is str
                    and id_ in self._said.known
                    and not (message.get("tool_call_chunks") or message.get("usage_metadata"))
                    and not (message.get("response_metadata") or message.get("additional_kwargs"))
                ):
                    return Chunk(RUN, at, TEXT, said)
        rule = _RULES.get(kind)
        if rule is None or (self._over and kind != "metadata"):
            return NOTHING
        return list(rule(self, payload, path, at))

    def untold(self, at: int) -> Signals:
        return self._said.calls.left() if not self._over else NOTHING

    def finish(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        left = self._said.calls.left()
        if self._below.open and not self._asked:
            return [*left, Closed(RUN, at, Outcome.TRUNCATED)]
        return left

    # Runs -----------------------------------------------------------------------------------------------------

    def _metadata(self, data: Any, path: str, at: int) -> Signals:
        thread, attempt = word(field(data, "thread_id")), field(data, "attempt")
        facts = {semconv.GEN_AI_CONVERSATION_ID: thread} if thread else {}
        if self._over:
            self._over = False
            self._begin()
            yield Opened(RUN, at, INVOKE_AGENT, attributes=facts)
        elif facts:
            yield Noted(RUN, at, facts)
        if attempt.__class__ is int and attempt > self._attempt:
            self._attempt = attempt
            yield Retried(RUN, at, "request", attempt - 1)

    def _end(self, data: Any, path: str, at: int) -> Signals:
        self._over, self._steady = True, False
        yield from self._said.calls.left()
        yield Closed(RUN, at)

    def _error(self, data: Any, path: str, at: int) -> Signals:
        self._over, self._steady = True, False
        kind = code(field(data, "error")) or code(field(data, "code"))
        message = word(field(data, "message")) or word(data)
        outcome = Outcome.CANCELLED if kind in _CANCELLED else Outcome.FAILED
        yield from self._said.calls.left()
        yield Closed(RUN, at, outcome, "" if outcome is Outcome.CANCELLED else kind, message)

    def _interrupted(self, at: int) -> Signals:
        if not self._asked:
            self._asked = True
            yield Noted(RUN, at, {}, PERSON_ASKED)

    # Messages -------------------------------------------------------------------------------------------------

    def _pieces(self, data: Any, path: str, at: int) -> Signals:
        if data.__class__ is not list or not data:
            return
        model = word(field(data[1], "ls_model_name")) if len(data) > 1 else ""
        if model and not self._model:
            self._model = model
            yield Noted(RUN, at, {semconv.GEN_AI_REQUEST_MODEL: model})
        yield from self._said.piece(data[0], at)
        self._steady = self._said.form == PIECES

    def _partial(self, data: Any, path: str, at: int) -> Signals:
        for message in data if data.__class__ is list else ():
            yield from self._said.grown(message, at)

    def _complete(self, data: Any, path: str, at: int) -> Signals:
        for message in data if data.__class__ is list else ():
            yield from self._said.whole(message, at)

    def _updates(self, data: Any, path: str, at: int) -> Signals:
        if data.__class__ is not dict:
            return
        if data.get("__interrupt__"):
            yield from self._interrupted(at)
        for update in data.values():
            for each in update if update.__class__ is list else [update]:
                for message in _messages(each):
                    yield from self._said.whole(message, at)

    def _values(self, data: Any, path: str, at: int) -> Signals:
        if data.__class__ is not dict:
            return
        if data.get("__interrupt__"):
            yield from self._interrupted(at)
        if path:
            return  # a subgraph's state: what was there before it is not known
        first, self._state = not self._state, True
        for message in _messages(data):
            if first:
                self._said.seen(message)
            else:
                yield from self._said.whole(message, at)

    def _task(self, data: Any, path: str, at: int) -> Signals:
        if field(data, "interrupts"):
            yield from self._interrupted(at)
        yield from self._below.task(data, path, at)

    def _debug(self, data: Any, path: str, at: int) -> Signals:
        return self._task(field(data, "payload"), path, at) if field(data, "type") in _TASKS else NOTHING

    def _tools(self, data: Any, path: str, at: int) -> Signals:
        return self._below.tool(data, path, at)

    def _lifecycle(self, data: Any, path: str, at: int) -> Signals:
        return self._below.subgraph(data, path, at)

    def _events(self, data: Any, path: str, at: int) -> Signals:
        return self._below.event(data, at)


def _messages(state: Any) -> list[Any]:
    found = state.get("messages") if state.__class__ is dict else None
    return found if found.__class__ is list else [found]


_RULES: Final[Mapping[str, Callable[[Langgraph, Any, str, int], Signals]]] = {
    "metadata": Langgraph._metadata,
    "messages": Langgraph._pieces,
    "messages-tuple": Langgraph._pieces,
    PARTIAL: Langgraph._partial,
    "messages/complete": Langgraph._complete,
    "updates": Langgraph._updates,
    "values": Langgraph._values,
    "tasks": Langgraph._task,
    "debug": Langgraph._debug,
    "tools": Langgraph._tools,
    "lifecycle": Langgraph._lifecycle,
    "events": Langgraph._events,
    "error": Langgraph._error,
    "end": Langgraph._end,
    "run_done": Langgraph._end,
}
