"""What is below a run on a LangGraph server: tasks, tools, subgraphs, and LangChain's own events of model calls."""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import field
from streamgauge.dialects._langgraph_messages import EVENTS, Messages, error_word
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import RUN, Closed, Opened, Signals
from streamgauge.wire import Outcome

__all__ = ["Below"]

_MOST_OPEN: Final = 1024
_ENDINGS: Final = {"completed": Outcome.COMPLETED, "failed": Outcome.FAILED, "interrupted": Outcome.COMPLETED}


class Below:
    """The operations below one run."""

    __slots__ = ("_said", "open")

    def __init__(self, said: Messages) -> None:
        self._said = said
        self.open: set[str] = set()
        """The keys of those that have not ended."""

    def task(self, data: Any, path: str, at: int) -> Signals:
        """A task that starts, or its result."""
        id_ = word(field(data, "id"))
        key = f"task:{id_}"
        if data.__class__ is not dict or not id_:
            return
        if "result" not in data and "error" not in data and "interrupts" not in data:
            yield from self._begun(key, at, semconv.STEP, word(data.get("name")), self._above(path))
        elif self._ended(key):
            error = data.get("error")
            if error:
                yield Closed(key, at, Outcome.FAILED, error_word(error), word(error)[:1024])
            else:
                yield Closed(key, at)

    def tool(self, data: Any, path: str, at: int) -> Signals:
        """A part of the mode `tools`, by the names of the server or of the protocol's version 3."""
        calls = self._said.calls
        id_ = word(field(data, "tool_call_id")) or word(field(data, "toolCallId"))
        match field(data, "event"):
            case "on_tool_start" | "tool-started":
                calls.asked(id_, word(field(data, "name")) or word(field(data, "tool_name")), at, self._above(path))
                calls.complete(id_, at, field(data, "input"))
                yield from calls.running(id_, at)
            case "on_tool_end" | "tool-finished":
                yield from calls.ended(id_, at, field(data, "output"))
            case "on_tool_error" | "tool-error":
                error = word(field(data, "error")) or word(field(data, "message"))
                kind = error_word(error) or "tool_error"
                yield from calls.ended(id_, at, None, Outcome.FAILED, kind, error[:1024])

    def subgraph(self, data: Any, path: str, at: int) -> Signals:
        """The start or the end of the subgraph that the path names."""
        key, what = f"graph:{path}", word(field(data, "event"))
        if not path:
            return
        if what == "started":
            name = word(field(data, "graph_name")) or path.rpartition("|")[2].partition(":")[0]
            yield from self._begun(key, at, INVOKE_AGENT, name, self._above(path))
        elif what in _ENDINGS and self._ended(key):
            yield Closed(key, at, _ENDINGS[what], "", word(field(data, "error"))[:1024])

    def event(self, data: Any, at: int) -> Signals:
        """One of LangChain's own events; nothing, where text is taken from pieces of messages."""
        run, said = word(field(data, "run_id")), field(data, "data")
        if not run or not self._said.takes(EVENTS):
            return
        chat, tool = f"chat:{run}", f"run:{run}"
        match field(data, "event"):
            case "on_chat_model_start":
                self._said.form = EVENTS
                model = word(field(field(data, "metadata"), "ls_model_name")) or word(field(data, "name"))
                yield from self._begun(chat, at, semconv.CHAT, model, RUN)
            case "on_chat_model_stream":
                yield from self._said.piece(field(said, "chunk"), at, EVENTS, chat if chat in self.open else RUN)
            case "on_chat_model_end":
                if self._ended(chat):
                    yield Closed(chat, at)
            case "on_tool_start":
                yield from self._begun(tool, at, semconv.EXECUTE_TOOL, word(field(data, "name")), RUN)
            case "on_tool_end":
                if self._ended(tool):
                    # It is the call that the model asked for: not one that nobody made.
                    self._said.calls.refused(word(field(field(said, "output"), "tool_call_id")))
                    yield Closed(tool, at)
            case "on_tool_error":
                if self._ended(tool):
                    error = word(field(said, "error"))
                    yield Closed(tool, at, Outcome.FAILED, error_word(error) or "tool_error", error[:1024])

    def _above(self, path: str) -> str:
        """The task that a part of a subgraph belongs to: the innermost that was seen."""
        for segment in reversed(path.split("|")):
            key = f"task:{segment.partition(':')[2]}"
            if key in self.open:
                return key
        return RUN

    def _begun(self, key: str, at: int, operation: str, name: str, parent: str) -> Signals:
        if key in self.open or len(self.open) >= _MOST_OPEN:
            return ()
        self.open.add(key)
        return (Opened(key, at, operation, name, parent),)

    def _ended(self, key: str) -> bool:
        """It was open, and is no longer."""
        if key not in self.open:
            return False
        self.open.remove(key)
        return True
