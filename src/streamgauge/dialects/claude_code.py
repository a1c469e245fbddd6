"""Claude Code: what `claude -p --output-format stream-json` prints, and what the Agent SDK says to it.

In go the lines of its output and, as the aside `sent`, those of its input; out comes a run for each turn (see
`_claude_turn`), from the caller's message, or the process's start where the prompt was on the command line, to the
`result`. Asides of its own:

    started  command: the process was started, with that command line, where it is known

A message in mid-turn is read after the tool call that runs, in the same turn; with `priority` `now` it interrupts the
turn, with `later` it waits for the next. What nobody reads in this turn begins the next one, as of this one's end; and
the CLI begins turns itself, when a task in the background is done.

Source: @anthropic-ai/claude-agent-sdk 0.3.330, `sdk.d.ts` (`StdoutMessage`, `SDKControlRequest`); claude-agent-sdk
0.2.187, `_internal/query.py`, `_internal/message_parser.py` and `types.py`; of what only the program knows (`status`
before each request, what `priority` does), the CLI 2.1.330 in that package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._claude_calls import text_of
from streamgauge.dialects._claude_session import MAX_WAITS, Session
from streamgauge.dialects._claude_turn import DENIED
from streamgauge.dialects._command_line import options, program
from streamgauge.dialects._dialect import NOTHING, field, loaded
from streamgauge.signals import RUN, SESSION, USAGE_LIMIT, Noted, Retried, Signal, Signals
from streamgauge.wire import Aside, Granularity, Outcome

__all__ = ["ClaudeCode"]

_TASK_ENDS: Final = {
    "completed": (Outcome.COMPLETED, ""),
    "failed": (Outcome.FAILED, "task_failed"),
    "killed": (Outcome.CANCELLED, ""),
    "stopped": (Outcome.CANCELLED, ""),
}
_HOOK_ENDS: Final = {"error": (Outcome.FAILED, "hook_error"), "cancelled": (Outcome.CANCELLED, "")}
_COMPACTION: Final = "step:compact"


class ClaudeCode(Session):
    """Both sides of one process."""

    name = "claude-code"
    system = "Claude Code 2.1 (claude-agent-sdk 0.2.187)"
    provider_name = "anthropic"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    opens_runs = True
    commands = (program(r"claude(?:-code)?(?:/cli)?") + r"(?:.*\s)?--output-format[= ]stream-json\b",)
    events: ClassVar[Mapping[str, str]] = {
        "sent: user": "a run; in mid-turn the fact what becomes of it, and maybe the next run",
        "sent: control_request": "an interrupt: how the run then ends; a change of model; else nothing",
        "sent: control_response": "the answer of the person who was asked",
        "sent: text": "a run: the prompt",
        "system: init": "conversation id, model, version; the model can be called",
        "system: status": "`requesting`: a model call; `compacting`: a step, until it is over",
        "system: compact_boundary": "the end of that step",
        "system: api_retry": "a retry of the model call",
        "system: model_refusal_fallback": "a retry of the run's model call, and the model from now on",
        "system: model_refusal_no_fallback": "nothing: the message has the finish reason",
        "system: hook_started": "a step",
        "system: hook_progress": "nothing",
        "system: hook_response": "the end of that step",
        "system: task_started": "of a sub-agent its start, and its name",
        "system: task_progress": "nothing",
        "system: task_updated": "of a sub-agent in the background its end",
        "system: task_notification": "of a sub-agent in the background its end",
        "system: background_tasks_changed": "nothing",
        "system: permission_denied": f"the error type of that tool call: `{DENIED}`",
        "system: session_state_changed": "nothing",
        "system: thinking_tokens": "nothing: an estimate",
        "system: control_request_progress": "nothing",
        "system: local_command_output": "nothing",
        "system: informational": "nothing",
        "system: notification": "nothing",
        "system: plugin_install": "nothing",
        "system: commands_changed": "nothing",
        "system: files_persisted": "nothing",
        "system: memory_recall": "nothing",
        "system: elicitation_complete": "nothing",
        "system: mirror_error": "nothing",
        "system: session_writes_lost": "nothing",
        "system: worker_shutting_down": "nothing",
        "assistant": "a model call, a chunk for each block that was not streamed, the start of each tool",
        "user": "the end of each tool whose result it has; the model can be called",
        "stream_event": "the model call's start, its chunks, usage and end; the granularity is `token`",
        "result": "the end of the run, with usage, cost and finish reason; on the session the cost of all",
        "rate_limit_event": f"unless all is well the span event {USAGE_LIMIT}",
        "tool_progress": "of a sub-agent that tries again a retry of its model call; else nothing",
        "tool_use_summary": "nothing",
        "auth_status": "nothing",
        "prompt_suggestion": "nothing",
        "active_goal": "nothing",
        "conversation_reset": "the session's conversation id; the cost counts from zero",
        "control_request": "a person is asked, by `can_use_tool`, `elicitation` or `request_user_dialog`; else nothing",
        "control_response": "nothing",
        "control_cancel_request": "the person who was asked need not answer",
        "keep_alive": "nothing",
    }

    __slots__ = ()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """Of a process: what its command line tells.

        Args:
            path: the command line.
        """
        given = options(path, {"--model": "model", "--effort": "effort"})
        told: dict[str, Any] = {"agent_name": cls.name}
        if "model" in given:
            told["model"] = given["model"]
        if "effort" in given:
            told["attributes"] = {semconv.GEN_AI_REQUEST_REASONING_LEVEL: given["effort"]}
        return told

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            beside = _ASIDES.get(data.name)
            return beside(self, data.data, at) if beside is not None else NOTHING
        event = loaded(data)
        kind = field(event, "type")
        if kind == "stream_event":
            turn = self.turn
            inner = field(event, "event")
            if turn is not None and not field(event, "parent_tool_use_id"):
                return turn.stream(turn.own, inner, at)
            return self._streamed(event, inner, at)
        signals: list[Signal] = []
        handlers: Mapping[str, _Handler] = _EVENTS
        if kind == "system":
            handlers, kind = _SYSTEM, field(event, "subtype")
        handler = handlers.get(kind) if kind.__class__ is str else None
        if handler is not None:
            handler(self, event, at, signals)
        return signals

    def _streamed(self, event: Any, inner: Any, at: int) -> Signals:
        signals: list[Signal] = []
        starts = text_of(inner, "type") == "message_start"
        turn = self.alive(event, at, signals) if starts else self.turn
        agent = turn.agent(event, at, signals) if turn is not None else None
        return [*signals, *turn.stream(agent, inner, at)] if turn is not None and agent is not None else signals

    # What comes within a turn ---------------------------------------------------------------------------------

    def _init(self, event: Any, at: int, signals: list[Signal]) -> None:
        self.model = text_of(event, "model") or self.model
        facts: dict[str, Any] = {}
        version, conversation = text_of(event, "claude_code_version"), text_of(event, "session_id")
        if version:
            facts[semconv.GEN_AI_AGENT_VERSION] = version
        if conversation and conversation != self.conversation:
            self.conversation = facts[semconv.GEN_AI_CONVERSATION_ID] = conversation
        if facts:
            signals.append(Noted(SESSION, at, facts))
        turn = self.turn
        if turn is None:
            if self.said:  # it may come with no turn at all
                self.due = self.due if self.waiting else at
                return
            turn = self.begin(self.since(at), signals)
        else:
            known = {semconv.GEN_AI_REQUEST_MODEL: self.model, semconv.GEN_AI_CONVERSATION_ID: self.conversation}
            signals.append(Noted(RUN, at, {name: value for name, value in known.items() if value}))
        turn.model = self.model
        if not turn.own.calling:
            turn.own.since = at

    def _assistant(self, event: Any, at: int, signals: list[Signal]) -> None:
        turn = self.alive(event, at, signals)
        if turn is not None:
            turn.message(event, at, signals)

    def _user(self, event: Any, at: int, signals: list[Signal]) -> None:
        turn = self.turn
        if turn is None or field(event, "isReplay") is True:
            return
        if text_of(event, "parent_tool_use_id"):
            turn.agent(event, at, signals)
        turn.results(event, at, signals)

    def _status(self, event: Any, at: int, signals: list[Signal]) -> None:
        status = field(event, "status")
        turn = self.alive(event, at, signals) if status == "requesting" else self.turn
        if turn is None:
            return
        if status == "requesting":
            turn.request(at, signals)
        elif status == "compacting":
            turn.step(_COMPACTION, "compact", at, signals)
        elif text_of(event, "compact_result") == "failed":
            turn.end_step(_COMPACTION, at, signals, Outcome.FAILED, "compact_failed")
        elif text_of(event, "compact_result"):
            turn.end_step(_COMPACTION, at, signals)

    def _compact_boundary(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self.turn is not None:
            self.turn.end_step(_COMPACTION, at, signals)

    def _api_retry(self, event: Any, at: int, signals: list[Signal]) -> None:
        turn = self.alive(event, at, signals)
        if turn is not None:
            turn.retry(turn.own, event, _reason(event, "error"), at, signals)

    def _tool_progress(self, event: Any, at: int, signals: list[Signal]) -> None:
        again, turn = field(event, "subagent_retry"), self.turn
        if turn is not None and again is not None:
            id_, name = text_of(event, "tool_use_id"), text_of(event, "subagent_type")
            agent = turn.join(id_, name, at, signals) or turn.own
            turn.retry(agent, again, _reason(again, "error_category"), at, signals)

    def _refusal(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self.turn is not None:
            signals.append(Retried(RUN, at, "model", 1, "refusal"))
        if text_of(event, "scope") != "local":
            self.model = text_of(event, "fallback_model") or self.model

    def _hook_started(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self.turn is not None:
            name = text_of(event, "hook_name") or text_of(event, "hook_event")
            self.turn.step(f"hook:{text_of(event, 'hook_id')}", name, at, signals)

    def _hook_response(self, event: Any, at: int, signals: list[Signal]) -> None:
        if self.turn is not None:
            how = _HOOK_ENDS.get(text_of(event, "outcome"), (Outcome.COMPLETED, ""))
            self.turn.end_step(f"hook:{text_of(event, 'hook_id')}", at, signals, *how)

    def _task_started(self, event: Any, at: int, signals: list[Signal]) -> None:
        task, id_ = text_of(event, "task_id"), text_of(event, "tool_use_id")
        if self.turn is None or text_of(event, "task_type") != "local_agent" or not id_:
            return
        background = field(event, "is_backgrounded") is True
        self.turn.join(id_, text_of(event, "subagent_type"), at, signals, background)
        if background and len(self.tasks) < MAX_WAITS:
            self.tasks[task] = id_

    def _task_ended(self, event: Any, at: int, signals: list[Signal]) -> None:
        status = text_of(event, "status") or text_of(field(event, "patch"), "status")
        task = text_of(event, "task_id")
        if status in _TASK_ENDS and task in self.tasks:
            id_ = self.tasks.pop(task)
            if self.turn is not None:
                self.turn.leave(id_, at, signals, *_TASK_ENDS[status])

    def _permission_denied(self, event: Any, at: int, signals: list[Signal]) -> None:
        self.deny(text_of(event, "tool_use_id"))

    def _rate_limit_event(self, event: Any, at: int, signals: list[Signal]) -> None:
        info = field(event, "rate_limit_info")
        if text_of(info, "status") in ("", "allowed"):
            return
        facts, resets = {}, field(info, "resetsAt")
        if text_of(info, "rateLimitType"):
            facts[f"{USAGE_LIMIT}.scope"] = text_of(info, "rateLimitType")
        if resets.__class__ in (int, float, str):
            facts[f"{USAGE_LIMIT}.reset_at"] = str(resets)
        signals.append(Noted(RUN if self.turn is not None else SESSION, at, facts, USAGE_LIMIT))

    def _conversation_reset(self, event: Any, at: int, signals: list[Signal]) -> None:
        self.totals.reset()
        conversation = text_of(event, "new_conversation_id")
        if conversation:
            self.conversation = conversation
            signals.append(Noted(SESSION, at, {semconv.GEN_AI_CONVERSATION_ID: conversation}))


_Handler = Callable[[ClaudeCode, Any, int, list[Signal]], None]

_EVENTS: Final[Mapping[str, _Handler]] = {
    "assistant": ClaudeCode._assistant,
    "control_cancel_request": ClaudeCode.control_cancel_request,
    "control_request": ClaudeCode.control_request,
    "conversation_reset": ClaudeCode._conversation_reset,
    "rate_limit_event": ClaudeCode._rate_limit_event,
    "result": ClaudeCode.result,
    "tool_progress": ClaudeCode._tool_progress,
    "user": ClaudeCode._user,
}
_SYSTEM: Final[Mapping[str, _Handler]] = {
    "api_retry": ClaudeCode._api_retry,
    "compact_boundary": ClaudeCode._compact_boundary,
    "hook_response": ClaudeCode._hook_response,
    "hook_started": ClaudeCode._hook_started,
    "init": ClaudeCode._init,
    "model_refusal_fallback": ClaudeCode._refusal,
    "permission_denied": ClaudeCode._permission_denied,
    "status": ClaudeCode._status,
    "task_notification": ClaudeCode._task_ended,
    "task_started": ClaudeCode._task_started,
    "task_updated": ClaudeCode._task_ended,
}
_ASIDES: Final[Mapping[str, Callable[[ClaudeCode, Any, int], Signals]]] = {
    "sent": ClaudeCode.sent,
    "started": ClaudeCode.started,
}


def _reason(event: Any, name: str) -> str:
    """Why a request failed: the HTTP status, where there was one, else the CLI's word."""
    status = field(event, "error_status")
    return str(status) if status.__class__ is int else text_of(event, name)
