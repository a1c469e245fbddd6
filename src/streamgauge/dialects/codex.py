"""Codex: what `codex exec --json` prints.

In go the lines of its output and, as the aside `sent`, those of its input: its prompt. Out comes a run for each turn
(see `_codex_turn`): from the prompt, or the process's start where the prompt was on the command line, to
`turn.completed` or `turn.failed`. Asides of its own:

    started  command: the process was started, with that command line, where it is known

The usage that it tells is the thread's, over all turns and all processes that had it: a turn's is what was added since
the last one. So of a thread that was resumed, which only the command line says, the first turn's is not known.

Source: @openai/codex-sdk 0.163.0, `dist/index.d.ts`; openai/codex at e328232510870ff1b681078f1953e2910e23270c,
`codex-rs/exec/src/event_processor_with_jsonl_output.rs` and its tests; at 08a1f30ca23f51922d1a4a4965b5ab999b64bead,
`codex-rs/exec/src/exec_events.rs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, json_text, word
from streamgauge.dialects._codex_turn import Turn
from streamgauge.dialects._command_line import options, program, words_of
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.signals import REASONING, RUN, SESSION, TEXT, Closed, Noted, Opened, Signal, Signals, Usage
from streamgauge.wire import Aside, Granularity, Outcome

__all__ = ["Codex"]

_USAGE: Final = (
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens",
)  # fmt: skip
"""In the order of a `Usage`'s counts."""
_RETRY: Final = re.compile(r"Reconnecting\.\.\. (\d{1,4})/\d")
_STATUS: Final = re.compile(r"\bstatus (\d{3})\b")
_REROUTED: Final = re.compile(r"model rerouted: \S+ -> (\S+)")
_CAUSES: Final = (
    ("usage limit", "usage_limit"),
    ("context window", "context_window_exceeded"),
    ("stream disconnected", "stream_disconnected"),
    ("high demand", "server_overloaded"),
)
"""Words of an error's message, the only thing that it has: its type."""
_MESSAGES: Final = {"agent_message": TEXT, "reasoning": REASONING}


class Codex(Dialect):
    """Both sides of one process."""

    name = "codex"
    system = "Codex (@openai/codex-sdk 0.163)"
    provider_name = "openai"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    opens_runs = True
    commands = (program(r"codex") + r"(?=(?:.*\s)?--(?:experimental-)?json\b)(?:.*\s)?e(?:xec)?\s",)
    events: ClassVar[Mapping[str, str]] = {
        "sent": "a run: the prompt",
        "thread.started": "a run, where none is open; the session's conversation id",
        "turn.started": "a run, where none is open; the model can be called",
        "turn.completed": "the end of the run, with what was used",
        "turn.failed": "the run fails",
        "item.started": "the start of a tool",
        "item.updated": "nothing",
        "item.completed": "the end of a tool",
        "item.completed: agent_message": "a text chunk of a model call",
        "item.completed: reasoning": "a chunk of reasoning of a model call",
        "item: command_execution": "a tool; `failed` by another exit code than 0, or as `declined`",
        "item: file_change": "a tool",
        "item: mcp_tool_call": "a tool, `server.tool`",
        "item: collab_tool_call": "a tool: what is done with another agent",
        "item: web_search": "a tool",
        "item: todo_list": "nothing",
        "item: error": "nothing, it is a warning; but for the model that a request went to instead",
        "error": "a retry of the model call; else its words, for when the stream ends with no more than that",
    }

    __slots__ = ("_conversation", "_known", "_said", "_started", "_turn", "_used")

    def __init__(self) -> None:
        super().__init__()
        self._turn: Turn | None = None
        self._conversation = ""
        self._started: int | None = None  # when the process was
        self._said = False  # the prompt was seen, or a turn
        self._used: tuple[int | None, ...] = ()  # by the thread, up to the last turn
        self._known = True  # what it had used before this process: nothing

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """Of a process: what its command line tells.

        Args:
            path: the command line.
        """
        given = options(path, {"-m": "model", "--model": "model"})
        return {"agent_name": cls.name, **given}

    def feed(self, data: Any, at: int) -> Signals:
        signals: list[Signal] = []
        if data.__class__ is Aside:
            if data.name == "sent" and not self._said and self._turn is None:
                self._begin(at, signals)
            elif data.name == "started":
                self._started = at
                self._known = "resume" not in words_of(field(data.data, "command"))
            return signals
        event = loaded(data)
        kind = field(event, "type")
        handler = _EVENTS.get(kind) if kind.__class__ is str else None
        if handler is not None:
            handler(self, event, at, signals)
        return signals

    def finish(self, at: int) -> Signals:
        turn, signals = self._turn, list(NOTHING)
        if turn is not None and turn.error:
            self._fail(turn, turn.error, at, signals)
        return signals

    def _begin(self, at: int, signals: list[Signal]) -> Turn:
        self._said = True
        turn = self._turn = Turn(at)
        facts = {semconv.GEN_AI_CONVERSATION_ID: self._conversation} if self._conversation else {}
        signals.append(Opened(RUN, at, semconv.INVOKE_AGENT, attributes=facts))
        return turn

    def _alive(self, at: int, signals: list[Signal]) -> Turn:
        """The open turn; or one that begins: the first one with the process."""
        if self._turn is not None:
            return self._turn
        started, self._started = self._started, None
        return self._begin(at if started is None or self._said else started, signals)

    def _thread_started(self, event: Any, at: int, signals: list[Signal]) -> None:
        if not self._said:
            self._alive(at, signals)
        conversation = word(field(event, "thread_id"))
        if conversation:
            self._conversation = conversation
            facts = {semconv.GEN_AI_CONVERSATION_ID: conversation}
            signals.append(Noted(SESSION, at, facts))
            if self._turn is not None:
                signals.append(Noted(RUN, at, facts))

    def _turn_started(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._alive(at, signals).free(at)

    def _turn_completed(self, event: Any, at: int, signals: list[Signal]) -> None:
        used, before = field(event, "usage"), self._used
        counts = tuple(count(field(used, name)) for name in _USAGE)
        known, self._known = self._known, True
        self._used = counts if any(counts) else before
        turn, self._turn = self._turn, None
        if turn is None:
            return
        turn.end_call(at, signals)
        if known and any(counts):
            # Of what a count begins with in mid-thread nothing is known; zeros are of no request.
            grown = [
                now if then is None or now is None or now < then else now - then
                for now, then in zip(counts, before or (None,) * len(counts), strict=True)
            ]
            signals.append(Usage(RUN, at, *grown))
        signals.append(Closed(RUN, at))

    def _turn_failed(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self._turn is not None:
            message = word(field(field(event, "error"), "message")) or self._turn.error
            self._fail(self._turn, message, at, signals)

    def _fail(self, turn: Turn, message: str, at: int, signals: list[Signal]) -> None:
        error_type = _cause(message)
        turn.end_call(at, signals, Outcome.FAILED, error_type)
        signals.append(Closed(RUN, at, Outcome.FAILED, error_type, message))
        self._turn = None

    def _error(self, event: Any, at: int, signals: list[Signal]) -> None:
        message = word(field(event, "message"))
        turn = self._alive(at, signals)
        retry = _RETRY.match(message)
        if retry is not None:
            turn.retry(max(int(retry[1]), 1), _cause(message), at, signals)
        else:
            turn.error = message

    # Items ----------------------------------------------------------------------------------------------------

    def _item_started(self, event: Any, at: int, signals: list[Signal]) -> None:
        item = field(event, "item")
        name = _tool(item)
        if name:
            self._alive(at, signals).begin(word(field(item, "id")), name, _arguments(item), at, signals)

    def _item_completed(self, event: Any, at: int, signals: list[Signal]) -> None:
        item = field(event, "item")
        kind = word(field(item, "type"))
        if kind in _MESSAGES:
            self._alive(at, signals).chunk(_MESSAGES[kind], word(field(item, "text")), at, signals)
        elif kind == "error":
            rerouted = _REROUTED.match(word(field(item, "message")))
            if rerouted is not None and self._turn is not None:
                self._turn.model = rerouted[1]
                signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_MODEL: rerouted[1]}))
        elif _tool(item):
            self._tool_ended(item, at, signals)

    def _tool_ended(self, item: Any, at: int, signals: list[Signal]) -> None:
        turn, id_ = self._alive(at, signals), word(field(item, "id"))
        if not turn.has(id_):
            turn.begin(id_, _tool(item), _arguments(item), at, signals)
        status, code = word(field(item, "status")), field(item, "exit_code")
        facts: dict[str, Any] = {semconv.GEN_AI_TOOL_CALL_RESULT: _output(item)}
        if code.__class__ is int:
            facts[semconv.PROCESS_EXIT_CODE] = code
        if word(field(item, "type")) == "web_search":  # only its end has the query
            facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = _arguments(item)
        failed = status in ("failed", "declined")
        turn.end(id_, "declined" if status == "declined" else "tool_error", facts, at, signals, failed)


_Handler = Callable[[Codex, Any, int, list[Signal]], None]
_EVENTS: Final[Mapping[str, _Handler]] = {
    "error": Codex._error,
    "item.completed": Codex._item_completed,
    "item.started": Codex._item_started,
    "thread.started": Codex._thread_started,
    "turn.completed": Codex._turn_completed,
    "turn.failed": Codex._turn_failed,
    "turn.started": Codex._turn_started,
}


def _tool(item: Any) -> str:
    """The name of the tool that an item is of; empty for all else."""
    kind = word(field(item, "type"))
    if kind in ("command_execution", "file_change", "web_search"):
        return kind
    if kind == "mcp_tool_call":
        names = (word(field(item, name)) for name in ("server", "tool"))
        return ".".join(filter(None, names)) or kind
    return word(field(item, "tool")) or kind if kind == "collab_tool_call" else ""


def _arguments(item: Any) -> str:
    kind = word(field(item, "type"))
    if kind == "mcp_tool_call":
        return json_text(field(item, "arguments"))
    given = {name: field(item, name) for name in ("command", "changes", "query", "prompt")}
    known = {name: value for name, value in given.items() if value}
    return json_text(known) if known else ""


def _output(item: Any) -> str:
    """What a tool gave; of a failed one its error."""
    output = word(field(item, "aggregated_output")) or word(field(field(item, "error"), "message"))
    content = field(field(item, "result"), "content")
    parts = content if content.__class__ is list else ()
    return output or "".join(word(field(part, "text")) for part in parts)


def _cause(message: str) -> str:
    """An error's type, by its words; empty where they are others."""
    status = _STATUS.search(message)
    return status[1] if status else next((type_ for words, type_ in _CAUSES if words in message), "")
