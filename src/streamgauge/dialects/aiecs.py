"""The dict events of an AIECS agent's `execute_task_streaming`, or the plain text of its `process_message_streaming`.

What the events do not tell of model calls, the drop-in tells by asides. `call` is its number of the call; `stream` is
false for a call beside the agent's stream, such as a hook's:

    model.told       model calls will be told: they need not be guessed from other events
    model.opened     call, stream, model; a second call where the first has failed is a retry of it
    model.thought    content; from an agent whose stream has no event for it
    model.usage      call, stream, usage as OpenAI's chat completions have it
    model.closed     call, stream; of a whole response also model, id, finish_reason, usage;
                     of a call that failed: outcome, error_type, message

Without them a model call begins with `iteration_start` or, where there are no iterations, with `started`, and ends with
the `cache_status` that follows its last chunk.

Source: aiecs 2.2.0, domain/agent/{base,llm,tool,hybrid}_agent.py, domain/agent/plugins/manager.py,
plugins/dawp/loop_scope.py, plugins/hooks/dispatch.py, verification/dawp_result.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from streamgauge import semconv
from streamgauge.dialects._aiecs_model import ASIDES, EVENTS, ModelCall
from streamgauge.dialects._aiecs_reasoning import REASONING_STEPS, reasoned
from streamgauge.dialects._aiecs_tools import ran_alone
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._model_calls import count, word
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Aside, Outcome

__all__ = ["Aiecs"]

_STEP = "step"
_NESTED_STEP = "nested step"
_INCOMPLETE = "incomplete"
_KNOWN_ERRORS = (
    ("Invalid state transition", "InvalidStateTransitionError"),  # it is busy with another stream
    ("Agent is not ready", "agent_not_ready"),
    ("Task must contain", "invalid_task"),
)
"""An `error` has no type. These come before any model call, with the same words each time."""


class Aiecs(Dialect):
    """One stream of an AIECS agent: LLMAgent, ToolAgent, HybridAgent, or a class of one's own."""

    name = "aiecs"
    system = "AIECS 2.2.0, execute_task_streaming"
    terminal = True
    only_waits_between_chunks = True
    framing = "ndjson"
    events: ClassVar[Mapping[str, str]] = {
        "started": "the run; after an ended one, the next",
        "status": "as started, where that is the status",
        "token": "a chunk of text",
        "thinking_token": "a chunk of reasoning",
        "tool_call_delta": "a chunk of a tool call: what is new of it",
        "tool_calls_ready": "names and ids of the tools to come",
        "cache_status": "cached tokens; the model call ends",
        "tool_call": "a tool opens, at the event's own time",
        "tool_result": "the tool closes, at the event's own time",
        "tool_error": "the tool fails; the run goes on",
        "iteration_start": "a step; in a nested run, its next model call",
        "result": "the run completes; with success false, its reason as the finish reason",
        "completed": "the run completes, where no result came before",
        "error": "the run fails",
        "thought": "the span event `aiecs.thought`; it comes in the result's reasoning_steps",
        "action": "the span event `aiecs.action`; it comes in the result's reasoning_steps",
        "observation": "the span event `aiecs.observation`; it comes in the result's reasoning_steps",
        "dawp_run_started": "a nested run",
        "dawp_run_completed": "the nested run closes",
        "dawp_step_started": "a step of the nested run",
        "dawp_step_completed": "the step of the nested run closes",
        "dawp_result": "the span event `aiecs.dawp_result`, with the status",
        "plugin_config_resolved": "nothing",
        "plugin_phase_started": "nothing",
        "plugin_hook_started": "nothing",
        "plugin_hook_completed": "nothing",
        "plugin_hook_failed": "the span event `aiecs.plugin_hook_failed`, with the error's type",
        "agent_hook": "nothing",
        "recovery_result": "nothing: each strategy was a run of its own",
    }

    __slots__ = ("_call", "_ended", "_incomplete", "_nested", "_nested_at", "_spoken", "_told")

    def __init__(self) -> None:
        super().__init__()
        self._told = False
        """Model calls are told by asides."""
        self._spoken = False
        """Text came that is no event."""
        self._ended = False
        self._fresh()

    def _fresh(self) -> None:
        """Nothing is open but the run."""
        self._call = ModelCall()
        self._nested = ""
        """The key of the open nested run."""
        self._nested_at = 0
        """When its last step ended, and, below, whether that had failed."""
        self._incomplete = False

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is dict:
            if data.get("type") == "token" and self._call.key:
                return Chunk(self._call.key, at, TEXT, data.get("content", ""))
            return self._event(data, at)
        if isinstance(data, Aside):
            told = _ASIDES.get(word(data.name))
            return told(self, data.data, at) if told is not None and isinstance(data.data, Mapping) else NOTHING
        event = loaded(data)
        if isinstance(event, Mapping):
            return self._event(event, at)
        if isinstance(data, str) and data:
            self._spoken = True
            return Chunk(RUN, at, TEXT, data)
        return NOTHING

    def finish(self, at: int) -> Sequence[Signal]:
        return (Closed(RUN, at),) if self._spoken and not self._ended else NOTHING

    def _event(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        type_ = word(data.get("type"))
        beside = _BESIDE.get(type_)
        if beside is not None:
            return beside(self, data, at)
        read = _READ.get(type_)
        if read is None:
            return NOTHING
        scope = data.get("loop_scope")
        run_id = word(field(scope, "run_id")) if scope is not None else ""
        run_id = run_id or word(data.get("run_id"))
        key = f"dawp:{run_id}" if run_id else ""
        if key == self._nested:
            return read(self, data, at)
        workflow = word(field(scope, "workflow_id")) or word(data.get("workflow_id"))
        return *self._moved(key, workflow, at), *read(self, data, at)

    # The run --------------------------------------------------------------------------------------------------

    def _started(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        if data.get("status", "started") != "started":
            return NOTHING
        turn: Sequence[Signal] = NOTHING
        if self._ended:
            self._ended = False
            self._fresh()
            turn = (Opened(RUN, at, semconv.INVOKE_AGENT),)
        if not self._call.key:
            self._call.since = at
        return turn

    def _result(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        signals = self._call.settled(at)
        if self._nested or self._ended:  # a nested run's own result; none is handed out by 2.2.0
            return signals
        self._ended = True
        signals.append(Closed(_STEP, at))
        signals += ran_alone(data, at)
        noted: dict[str, Any] = {}
        reason = word(data.get("reason")) or word(data.get("stop_reason"))
        if reason.isidentifier():  # a code: a hook may put its own words there
            noted[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)
        elif data.get("success") is False:
            noted[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = ("unsuccessful",)
        provider = word(data.get("provider"))
        if provider and not self._told:  # else it is known, as the conventions spell it
            noted[semconv.GEN_AI_PROVIDER_NAME] = provider.lower()
        if noted:
            signals.append(Noted(RUN, at, noted))
        steps = data.get("reasoning_steps")
        if isinstance(steps, list):
            signals += [reasoned(step, at) for step in steps if word(field(step, "type")) in REASONING_STEPS]
        signals.append(Closed(RUN, at))
        return signals

    def _completed(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        if self._ended:
            return NOTHING
        self._ended = True
        return *self._call.settled(at), Closed(_STEP, at), Closed(RUN, at)

    def _error(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        if self._ended:
            return NOTHING
        message = word(data.get("error"))
        error_type = next((type_ for words, type_ in _KNOWN_ERRORS if message.startswith(words)), "")
        signals: Sequence[Signal] = NOTHING
        if self._call.failed is not None:
            error_type = self._call.failed[0]
            signals = self._call.settled(at)
        self._ended = True
        self._fresh()
        return *signals, Closed(RUN, at, Outcome.FAILED, error_type, message)

    def _reasoning(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        return (reasoned(data, at),)

    def _hook_failed(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        error_type = word(field(field(data.get("error"), "details"), "error_type")) or semconv.ERROR_TYPE_OTHER
        return (Noted(RUN, at, {semconv.ERROR_TYPE: error_type}, "aiecs.plugin_hook_failed"),)

    # Steps and nested runs ------------------------------------------------------------------------------------

    def _iteration(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        call = self._call
        signals = call.settled(at)
        call.one_by_one = True  # this is a HybridAgent
        call.since = at
        if not self._nested:  # there it is always the first of one
            number = count(data.get("iteration"))
            signals.append(Opened(_STEP, at, semconv.STEP, "" if number is None else str(number)))
            call.parent = _STEP
        if not self._told:
            signals += call.shown()
        return signals

    def _moved(self, key: str, workflow: str, at: int) -> Sequence[Signal]:
        """Into a nested run, or out of it: their scope tells, also where the agent does not mark the ends."""
        signals = self._call.settled(at)
        if self._nested:
            signals.append(_done(self._nested, self._nested_at or at, not self._incomplete))
        self._nested = key
        self._nested_at = 0
        self._incomplete = False
        self._call.parent = key or _STEP
        if key:
            signals.append(Opened(key, at, semconv.INVOKE_AGENT, workflow, _STEP))
        return signals

    def _nested_started(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        return NOTHING  # `_moved` has opened it

    def _nested_completed(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        success = data.get("success") is not False
        failed = self._call.failed
        # Without success, a model call that is still open was ended by an exception: it fails with the nested run.
        signals = self._call.settled(at) if success or failed is not None else []
        signals.append(_done(self._nested, at, success, failed))
        self._call.settled(at)  # what is open still was closed with it
        self._nested = ""
        self._call.parent = _STEP
        self._call.failed = failed  # for the `error` that follows
        return signals

    def _nested_step(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        signals = self._call.settled(at)
        self._call.parent = _NESTED_STEP
        signals.append(Opened(_NESTED_STEP, at, semconv.STEP, word(data.get("step_id")), self._nested))
        return signals

    def _nested_step_completed(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        signals = self._call.settled(at)
        self._nested_at = at
        self._incomplete = data.get("success") is False
        self._call.parent = self._nested
        signals.append(_done(_NESTED_STEP, at, not self._incomplete))
        return signals

    def _nested_result(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        status = word(field(data.get("dawp_result"), "status"))
        return (Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (status,)}, "aiecs.dawp_result"),)

    # Tools ----------------------------------------------------------------------------------------------------

    def _tool_call(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        return self._call.tool_call(data, self._own(data, at), at)

    def _tool_answer(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        return self._call.tool_answer(data, self._own(data, at), at)

    def _own(self, data: Mapping[str, Any], at: int) -> int:
        """The event's own time: UTC, though most do not say so."""
        try:
            moment = datetime.fromisoformat(word(data.get("timestamp")))
            return self.when((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), at)
        except (ValueError, OverflowError):
            return at

    # Asides ---------------------------------------------------------------------------------------------------

    def _model_told(self, data: Mapping[str, Any], at: int) -> Sequence[Signal]:
        self._told = True
        return NOTHING


_Read = Callable[[Aiecs, Mapping[str, Any], int], Sequence[Signal]]


def _of_the_call(read: Callable[[ModelCall, Mapping[str, Any], int], Sequence[Signal]]) -> _Read:
    return lambda dialect, data, at: read(dialect._call, data, at)


_READ: Mapping[str, _Read] = {
    "started": Aiecs._started,
    "status": Aiecs._started,
    "tool_call": Aiecs._tool_call,
    "tool_result": Aiecs._tool_answer,
    "tool_error": Aiecs._tool_answer,
    "iteration_start": Aiecs._iteration,
    "result": Aiecs._result,
    "completed": Aiecs._completed,
    "dawp_run_started": Aiecs._nested_started,
    "dawp_run_completed": Aiecs._nested_completed,
    "dawp_step_started": Aiecs._nested_step,
    "dawp_step_completed": Aiecs._nested_step_completed,
    "dawp_result": Aiecs._nested_result,
    **{type_: _of_the_call(read) for type_, read in EVENTS.items()},
}
_BESIDE: Mapping[str, _Read] = {
    "error": Aiecs._error,  # it closes the nested run that it came out of, as failed
    "plugin_hook_failed": Aiecs._hook_failed,
    **dict.fromkeys(REASONING_STEPS, Aiecs._reasoning),
}
"""Whose missing scope does not say that a nested run is over."""
_ASIDES: Mapping[str, _Read] = {
    "model.told": Aiecs._model_told,
    **{name: _of_the_call(read) for name, read in ASIDES.items()},
}


def _done(key: str, at: int, success: bool, failed: tuple[str, str, int] | None = None) -> Closed:
    if success:
        return Closed(key, at)
    error_type, message, _ = failed or (_INCOMPLETE, "", 0)
    return Closed(key, at, Outcome.FAILED, error_type, message)
