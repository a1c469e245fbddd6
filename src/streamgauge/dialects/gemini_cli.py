"""Gemini CLI: what `gemini --output-format stream-json` prints.

In go the lines of its output and, as the aside `sent`, those of its input, which is its prompt, or more of it. Out
comes one run (see `_codex_turn`): from the prompt, or the process's start where the prompt was on the command line, to
the `result`. Asides of its own:

    started  the process was started

The model's text comes in pieces, as it is generated; its thoughts do not. The tools of one answer run after it is
complete, and their results come together, when the last one is done.

Source: google-gemini/gemini-cli at 5411f113cafae26161b4969b0237b8e1e024e2c2 (0.56 nightly):
`packages/core/src/output/types.ts` and `stream-json-formatter.ts`, `packages/cli/src/nonInteractiveCli.ts`,
`packages/cli/src/nonInteractiveCliAgentSession.ts`, `packages/cli/src/utils/errors.ts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, json_text, word
from streamgauge.dialects._codex_turn import Turn
from streamgauge.dialects._command_line import options, program
from streamgauge.dialects._dialect import Dialect, field, loaded
from streamgauge.signals import RUN, SESSION, TEXT, Closed, Noted, Opened, Signal, Signals, Usage
from streamgauge.wire import Aside, Outcome

__all__ = ["GeminiCli"]

_ONE_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CANCELLED: Final = "FatalCancellationError"


class GeminiCli(Dialect):
    """Both sides of one process."""

    name = "gemini-cli"
    system = "Gemini CLI 0.56"
    provider_name = "gcp.gen_ai"
    terminal = True
    only_waits_between_chunks = True
    framing = "ndjson"
    opens_runs = True
    commands = (program(r"gemini(?:-cli)?") + r"(?:.*\s)?(?:-o|--output-format)[= ]stream-json\b",)
    events: ClassVar[Mapping[str, str]] = {
        "sent": "a run: the prompt",
        "init": "a run, where none is open; the session's conversation id, the model",
        "message": "of the assistant a text chunk of a model call; of the user nothing",
        "tool_use": "a chunk of tool-call arguments; the start of a tool",
        "tool_result": "the end of that tool",
        "error": "nothing; its words, for when the run then fails",
        "result": "the end of the run, with what was used",
    }

    __slots__ = ("_over", "_started", "_turn")

    def __init__(self) -> None:
        super().__init__()
        self._turn: Turn | None = None
        self._started: int | None = None  # when the process was
        self._over = False

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
            if data.name == "sent":
                self._alive(at, signals)
            elif data.name == "started":
                self._started = at
            return signals
        event = loaded(data)
        kind = field(event, "type")
        handler = _EVENTS.get(kind) if kind.__class__ is str else None
        if handler is not None:
            turn = self._alive(self._started if self._started is not None else at, signals)
            if turn is not None:
                handler(self, turn, event, at, signals)
        return signals

    def _alive(self, at: int, signals: list[Signal]) -> Turn | None:
        """The run, which begins where it has not; None once it is over."""
        if self._turn is None and not self._over:
            self._turn = Turn(at)
            signals.append(Opened(RUN, at, semconv.INVOKE_AGENT))
        return self._turn

    def _init(self, turn: Turn, event: Any, at: int, signals: list[Signal]) -> None:
        turn.model = word(field(event, "model"))
        facts = {
            semconv.GEN_AI_REQUEST_MODEL: turn.model,
            semconv.GEN_AI_CONVERSATION_ID: word(field(event, "session_id")),
        }
        known = {name: value for name, value in facts.items() if value}
        if known:
            signals += Noted(SESSION, at, known), Noted(RUN, at, known)
        turn.free(at)

    def _message(self, turn: Turn, event: Any, at: int, signals: list[Signal]) -> None:
        if word(field(event, "role")) == "assistant":
            turn.chunk(TEXT, word(field(event, "content")), at, signals)
        else:
            turn.free(at)

    def _tool_use(self, turn: Turn, event: Any, at: int, signals: list[Signal]) -> None:
        id_, name = word(field(event, "tool_id")), word(field(event, "tool_name"))
        turn.begin(id_, name, json_text(field(event, "parameters")), at, signals, runs=False)

    def _tool_result(self, turn: Turn, event: Any, at: int, signals: list[Signal]) -> None:
        error = field(event, "error")
        kind = word(field(error, "type"))
        facts = {semconv.GEN_AI_TOOL_CALL_RESULT: word(field(event, "output")) or word(field(error, "message"))}
        error_type = kind if _ONE_WORD.fullmatch(kind) else "tool_error"
        failed = word(field(event, "status")) == "error"
        turn.end(word(field(event, "tool_id")), error_type, facts, at, signals, failed)

    def _error(self, turn: Turn, event: Any, at: int, signals: list[Signal]) -> None:
        if word(field(event, "severity")) == "error":
            turn.error = word(field(event, "message"))

    def _result(self, turn: Turn, event: Any, at: int, signals: list[Signal]) -> None:
        self._turn, self._over = None, True
        error, outcome = field(event, "error"), Outcome.COMPLETED
        kind = word(field(error, "type"))
        error_type = message = ""
        if kind == _CANCELLED:
            outcome = Outcome.CANCELLED
            signals.append(Noted(RUN, at, {semconv.STREAMGAUGE_INTERRUPTED_BY: "signal"}))
        elif word(field(event, "status")) == "error":
            outcome, message = Outcome.FAILED, word(field(error, "message")) or turn.error
            # What only its words tell was an answer that cannot be used.
            error_type = kind if _ONE_WORD.fullmatch(kind) else "invalid_stream" if turn.error else ""
        turn.end_call(at, signals, outcome, error_type)
        self._used(field(event, "stats"), at, signals)
        signals.append(Closed(RUN, at, outcome, error_type, message))

    def _used(self, stats: Any, at: int, signals: list[Signal]) -> None:
        models = field(stats, "models")
        if models.__class__ is dict and len(models) == 1:
            (model,) = models
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_MODEL: model}))
        taken, given, cached = (count(field(stats, name)) for name in ("input_tokens", "output_tokens", "cached"))
        if taken or given:  # zeros are of a process that ended before any request
            signals.append(Usage(RUN, at, taken, given, cached))


_Handler = Callable[[GeminiCli, Turn, Any, int, list[Signal]], None]
_EVENTS: Final[Mapping[str, _Handler]] = {
    "error": GeminiCli._error,
    "init": GeminiCli._init,
    "message": GeminiCli._message,
    "result": GeminiCli._result,
    "tool_result": GeminiCli._tool_result,
    "tool_use": GeminiCli._tool_use,
}
