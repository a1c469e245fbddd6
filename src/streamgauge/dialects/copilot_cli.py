"""GitHub Copilot CLI: what `copilot -p ... --output-format json` prints.

In go the lines of its output, which are the session events of Copilot's SDK and at the end a `result`. Out comes one
run (see `_copilot_turn`), from the process's start to the `result`, whose exit code says how it went. Asides of its
own:

    started  the process was started: the run begins

As a server for an editor (`copilot --acp`) it speaks ACP: that is the dialect `acp`.

Its lines have the tokens of a model's answer, and those of its input only where it prints `assistant.usage`. What they
tell of cost is in requests and credits, no money.

Source: github/copilot-cli at 9532bda, `changelog.md` (`--output-format json`); github/copilot-sdk at cc0438d (CLI
1.0.81), `nodejs/src/generated/session-events.ts` for the events, `docs/features/streaming-events.md`. The last line,
`result`, is in neither: it is read as the output of its users has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import word
from streamgauge.dialects._command_line import options
from streamgauge.dialects._copilot_turn import MAX_OPEN, Work, error_type_of
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._turns import interrupted
from streamgauge.signals import (
    PERSON_ANSWERED,
    PERSON_ASKED,
    REASONING,
    RUN,
    SESSION,
    TEXT,
    TOOL_CALL,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
)
from streamgauge.wire import Aside, Outcome

__all__ = ["CopilotCli"]

_COMPACTION: Final = "step:compact"
_ASKED: Final = (
    "auto_mode_switch.requested", "elicitation.requested", "exit_plan_mode.requested", "mcp.oauth_required",
    "permission.requested", "session_limits_exhausted.requested", "user_input.requested",
)  # fmt: skip
_ANSWERED: Final = (
    "auto_mode_switch.completed", "elicitation.completed", "exit_plan_mode.completed", "mcp.oauth_completed",
    "permission.completed", "session_limits_exhausted.completed", "user_input.completed",
)  # fmt: skip
_SILENT: Final = (
    "assistant.idle", "assistant.intent", "assistant.message_start", "assistant.server_tool_progress",
    "assistant.streaming_delta", "capabilities.changed", "command.completed", "command.execute", "command.queued",
    "commands.changed", "external_tool.completed", "external_tool.requested", "factory.run_settled",
    "factory.run_started", "factory.run_updated", "hook.progress", "mcp.headers_refresh_completed",
    "mcp.headers_refresh_required", "mcp.prompts.list_changed", "mcp.resources.list_changed", "mcp.tools.list_changed",
    "mcp_app.tool_call_complete", "pending_messages.modified", "sampling.completed", "sampling.requested",
    "session.autopilot_objective_changed", "session.background_tasks_changed", "session.binary_asset",
    "session.canvas.closed", "session.canvas.opened", "session.canvas.recorded", "session.canvas.registry_changed",
    "session.canvas.removed", "session.canvas.unavailable", "session.context_changed", "session.context_cleared",
    "session.custom_agents_updated", "session.custom_notification", "session.extensions.attachments_pushed",
    "session.extensions_loaded", "session.handoff", "session.idle", "session.info",
    "session.managed_settings_enforced", "session.managed_settings_resolved", "session.mcp_server_status_changed",
    "session.mcp_servers_loaded", "session.mode_changed", "session.permissions_changed", "session.plan_changed",
    "session.remote_steerable_changed", "session.schedule_cancelled", "session.schedule_created",
    "session.schedule_rearmed", "session.session_limits_changed", "session.shutdown", "session.skills_loaded",
    "session.snapshot_rewind", "session.task_complete", "session.title_changed", "session.todos_changed",
    "session.tools_updated", "session.truncation", "session.usage_checkpoint", "session.usage_info",
    "session.warning", "session.workspace_file_changed", "skill.invoked", "subagent.deselected", "subagent.selected",
    "system.message", "system.notification", "tool.execution_partial_result", "tool.execution_progress",
    "tool.user_requested", "tool_search.activated", "ui.ephemeral_query",
)  # fmt: skip


class CopilotCli(Dialect):
    """What one process prints."""

    name = "copilot-cli"
    system = "GitHub Copilot CLI 1.0"
    terminal = True
    only_waits_between_chunks = True
    framing = "ndjson"
    opens_runs = True
    commands = (r"^(\S+\s(-\S+\s)*)?(\S*[/'])?copilot(@\S+|\.exe|\.js)?'?\s(.*\s)?--output-format[= ]json\b",)
    events: ClassVar[Mapping[str, str]] = {
        "user.message": "a run, where none has begun",
        "session.start": "conversation id, model, version",
        "session.resume": "the same",
        "session.model_change": "the model from now on",
        "session.auto_mode_resolved": "the same",
        "session.error": "nothing; how the run then fails",
        "session.compaction_start": "a step",
        "session.compaction_complete": "the end of that step",
        "assistant.turn_start": "a model call",
        "assistant.message_delta": "a text chunk",
        "assistant.reasoning_delta": "a chunk of reasoning",
        "assistant.tool_call_delta": "a chunk of tool-call arguments",
        "assistant.message": "chunks for what was not streamed: text, arguments; the tokens of the answer",
        "assistant.reasoning": "a chunk of reasoning, where it was not streamed",
        "assistant.usage": "model, finish reason and tokens of the model call",
        "assistant.turn_end": "the end of the model call",
        "model.call_failure": "the end of the model call, `failed`",
        "tool.execution_start": "the end of the model call; the start of a tool",
        "tool.execution_complete": "the end of that tool",
        "subagent.started": "a nested run below its tool call",
        "subagent.completed": "the end of the nested run",
        "subagent.failed": "the same, `failed`",
        "hook.start": "a step",
        "hook.end": "the end of that step",
        "abort": "nothing; the run then ends `cancelled`",
        "result": "conversation id; the end of the run, by its exit code",
        **dict.fromkeys(_ASKED, "a person is asked"),
        **dict.fromkeys(_ANSWERED, "the person has answered"),
        **dict.fromkeys(_SILENT, "nothing"),
    }

    __slots__ = ("_aborted", "_asked", "_error", "_over", "_work")

    def __init__(self) -> None:
        super().__init__()
        self._work: Work | None = None
        self._over = self._aborted = False
        self._error: Any = None  # the last one
        self._asked: dict[str, dict[str, Any]] = {}  # persons, by request: facts

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """Of a process: what its command line tells.

        Args:
            path: the command line.
        """
        return {"agent_name": cls.name, **options(path, {"--model": "model"})}

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            return self._begin(at) if data.name == "started" and self._work is None else NOTHING
        event = loaded(data)
        type_ = event.get("type") if event.__class__ is dict else None
        if type_.__class__ is not str or type_ not in CopilotCli.events or self._over:
            return NOTHING
        signals: list[Signal] = []
        if self._work is None:
            signals += self._begin(at)
        work = self._work
        assert work is not None
        if type_ in _ASKED or type_ in _ANSWERED:
            self._person(type_ in _ASKED, field(event, "data"), at, signals)
        else:
            handler = _EVENTS.get(type_)
            if handler is not None:
                handler(self, work, event, field(event, "data"), at, signals)
        return signals

    def _begin(self, at: int) -> list[Signal]:
        self._work = Work()
        return [Opened(RUN, at, semconv.INVOKE_AGENT)]

    def untold(self, at: int) -> Signals:
        """Ended by a signal, or with an exit code. An error that was told says why."""
        if self._work is None or self._over or self._error is None:
            return NOTHING
        return [self._failure(at, "")]

    def _failure(self, at: int, error_type: str) -> Closed:
        told = error_type_of(self._error)
        return Closed(RUN, at, Outcome.FAILED, told or error_type, word(field(self._error, "message")))

    # The session ----------------------------------------------------------------------------------------------

    def _session(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        model, session = word(field(data, "selectedModel")), word(field(data, "sessionId"))
        version = word(field(data, "copilotVersion"))
        if version:
            signals.append(Noted(SESSION, at, {semconv.GEN_AI_AGENT_VERSION: version}))
        self._known(work, model, session, at, signals)

    def _model(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        self._known(work, word(field(data, "newModel")) or word(field(data, "chosenModel")), "", at, signals)

    def _known(self, work: Work, model: str, session: str, at: int, signals: list[Signal]) -> None:
        work.model = model or work.model
        facts = {semconv.GEN_AI_REQUEST_MODEL: model, semconv.GEN_AI_CONVERSATION_ID: session}
        facts = {name: value for name, value in facts.items() if value}
        if facts:
            signals += Noted(SESSION, at, facts), Noted(RUN, at, facts)

    def _failed(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        self._error = data

    def _abort(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        self._aborted = True

    def _result(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        self._over = True
        self._known(work, "", word(field(event, "sessionId")), at, signals)
        work.end(at, signals)
        exit_code = field(event, "exitCode", field(data, "exitCode"))
        if self._aborted:
            signals += interrupted(at, "cancel")
        elif exit_code.__class__ is int and exit_code:
            signals.append(self._failure(at, f"exit_{exit_code}"))
        else:
            signals.append(Closed(RUN, at))

    def _person(self, is_asked: bool, data: Any, at: int, signals: list[Signal]) -> None:
        id_, request = word(field(data, "requestId")), field(data, "permissionRequest")
        if not is_asked:
            facts = self._asked.pop(id_, None)
            if facts is not None:
                signals.append(Noted(RUN, at, facts, PERSON_ANSWERED))
        elif id_ and field(data, "resolvedByHook") is not True and len(self._asked) < MAX_OPEN:
            call = word(field(request, "toolCallId"))
            self._asked[id_] = {semconv.GEN_AI_TOOL_CALL_ID: call} if call else {}
            signals.append(Noted(RUN, at, self._asked[id_], PERSON_ASKED))

    # What goes on ---------------------------------------------------------------------------------------------

    def _turn_start(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        agent = work.agent(event, at, signals)
        work.end_call(agent, at, signals)
        work.call(agent, word(field(data, "model")), at, signals)

    def _turn_end(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        work.end_call(work.agent(event, at, signals), at, signals)

    def _delta(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        kind, id_, text = _DELTAS[event["type"]]
        agent = work.agent(event, at, signals)
        work.chunk(agent, kind, word(field(data, text)), word(field(data, id_)), at, signals)

    def _message(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        work.message(work.agent(event, at, signals), data, at, signals)

    def _reasoning(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        work.reasoning(work.agent(event, at, signals), data, at, signals)

    def _usage(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        work.usage(work.agent(event, at, signals), data, at, signals)

    def _call_failure(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        agent = work.agent(event, at, signals)
        work.end_call(agent, at, signals, Outcome.FAILED, error_type_of(data))

    def _tool_start(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        work.run(work.agent(event, at, signals), data, at, signals)

    def _tool_complete(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        work.ran(data, at, signals)

    def _subagent(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        id_, type_ = word(field(data, "toolCallId")), event["type"]
        if type_ == "subagent.started":
            work.join(id_, word(field(data, "agentName")), at, signals)
        elif type_ == "subagent.failed":
            work.leave(id_, at, signals, Outcome.FAILED, "subagent_error")
        else:
            work.leave(id_, at, signals, Outcome.CANCELLED if field(data, "cancelled") is True else Outcome.COMPLETED)

    def _hook(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        key = f"hook:{word(field(data, 'hookInvocationId'))}"
        if event["type"] == "hook.start":
            work.step(key, word(field(data, "hookType")), at, signals)
        else:
            work.end_step(key, at, signals, "hook_error" if field(data, "success") is False else "")

    def _compaction(self, work: Work, event: Any, data: Any, at: int, signals: list[Signal]) -> None:
        if event["type"] == "session.compaction_start":
            work.step(_COMPACTION, "compact", at, signals)
        else:
            work.end_step(_COMPACTION, at, signals, "compact_failed" if field(data, "success") is False else "")


_DELTAS: Final = {
    "assistant.message_delta": (TEXT, "messageId", "deltaContent"),
    "assistant.reasoning_delta": (REASONING, "reasoningId", "deltaContent"),
    "assistant.tool_call_delta": (TOOL_CALL, "toolCallId", "inputDelta"),
}
_Handler = Callable[[CopilotCli, Work, Any, Any, int, list[Signal]], None]
_EVENTS: Final[Mapping[str, _Handler]] = {
    "abort": CopilotCli._abort,
    "assistant.message": CopilotCli._message,
    "assistant.reasoning": CopilotCli._reasoning,
    "assistant.turn_end": CopilotCli._turn_end,
    "assistant.turn_start": CopilotCli._turn_start,
    "assistant.usage": CopilotCli._usage,
    "hook.end": CopilotCli._hook,
    "hook.start": CopilotCli._hook,
    "model.call_failure": CopilotCli._call_failure,
    "result": CopilotCli._result,
    "session.auto_mode_resolved": CopilotCli._model,
    "session.compaction_complete": CopilotCli._compaction,
    "session.compaction_start": CopilotCli._compaction,
    "session.error": CopilotCli._failed,
    "session.model_change": CopilotCli._model,
    "session.resume": CopilotCli._session,
    "session.start": CopilotCli._session,
    "subagent.completed": CopilotCli._subagent,
    "subagent.failed": CopilotCli._subagent,
    "subagent.started": CopilotCli._subagent,
    "tool.execution_complete": CopilotCli._tool_complete,
    "tool.execution_start": CopilotCli._tool_start,
    **dict.fromkeys(_DELTAS, CopilotCli._delta),
}
