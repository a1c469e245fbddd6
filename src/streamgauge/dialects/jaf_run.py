"""JAF 2.6.22: the trace events of `run`, as `RunConfig.on_event` gets them.

Where a proxy around the model provider tells the model calls by asides (`_model_calls` lists them), those are read too.
Further asides, of the drop-in:

    run.speaks   run_id: whose model the next `assistant_message` is from; the event does not say it
    run.called   run_id, by (the run that calls), call_id: the tool call that the run is the inside of
    run.closed   status, error_type, message: what `run` returned; news where its trace events were not heard

Source: jaf/core/types.py ("Trace event types") and engine.py, providers/model.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._jaf_tools import APART, failed, refused, tool_closed, tool_opened
from streamgauge.dialects._model_calls import ModelCalls, answer, count, granular, word
from streamgauge.signals import (
    PERSON_ASKED,
    RUN,
    TEXT,
    TOOL_CALL,
    Chunk,
    Closed,
    Noted,
    Opened,
    Retried,
    Signal,
    Signals,
)
from streamgauge.wire import Aside, Granularity

__all__ = ["JafRun"]


class _Run:
    """One run among the trace events: the outermost, or one of an agent that runs as a tool."""

    __slots__ = ("answered", "arguments", "chat", "key", "steps", "text", "tools")

    def __init__(self, key: str) -> None:
        self.key = key
        self.steps = 0
        self.chat = ""
        """The key of the last model call."""
        self.text = 0
        """How much of the answer's text came so far."""
        self.arguments: list[int] = []
        """How much of each tool call's arguments."""
        self.tools: dict[str, str] = {}
        """Open tool calls by id: their keys."""

    def inside(self, name: str) -> str:
        return f"{self.key}/{name}" if self.key else name


class JafRun(Dialect):
    """The trace events of one `run`, as `RunConfig.on_event` gets them. They have no clock of their own."""

    name = "jaf-run"
    system = "JAF (jaf-py 2.6.22), run with on_event"
    terminal = True
    granularity = Granularity.TOKEN
    events: ClassVar[Mapping[str, str]] = {
        "run_start": "the run's agent and conversation; of an agent that runs as a tool: a nested run",
        "guardrail_check": "noted on the run",
        "guardrail_violation": "noted on the run, with the tripwire's name",
        "memory_operation": "its end or failure, noted on the run",
        "output_parse": "its end or failure, noted on the run",
        "llm_call_start": "a new step, and in it a model call opens",
        "llm_call_end": "usage, model, id; the model call closes",
        "assistant_message": "what was added to the text and to the tool calls' arguments: chunks",
        "tool_call_start": "a tool call opens",
        "tool_call_end": "the tool call closes; with an error, as failed",
        "handoff": "noted on the run",
        "retry": "the model call, or the run, is tried again",
        "fallback": "the model call is tried again, with another model",
        "run_end": "the run ends: completed, failed, or (interrupted) it asks a person and is completed",
    }

    __slots__ = ("_calls", "_generated", "_over", "_parents", "_root", "_runs", "_speaker")

    def __init__(self) -> None:
        super().__init__()
        self._calls = ModelCalls(results=False)
        self._over = False
        self._generated = False
        """A piece of output came."""
        self._root = self._speaker = _Run(RUN)
        self._runs: dict[str, _Run] = {}
        """Those that are open, by run id."""
        self._parents: dict[str, str] = {}
        """Of nested runs that are about to start: the key of their tool call."""

    def feed(self, data: Any, at: int) -> Signals:
        kind = data.__class__
        if kind is dict:
            type_, body = data.get("type"), data.get("data")
        elif kind in APART:
            return self._apart(data, at)
        else:
            type_, body = getattr(data, "type", None), getattr(data, "data", None)
        if type_ == "assistant_message":
            message = body.get("message") if body.__class__ is dict else field(body, "message")
            if message.__class__ is dict:
                text, tool_calls = message.get("content"), message.get("tool_calls")
            else:
                text, tool_calls = field(message, "content"), field(message, "tool_calls")
            run = self._speaker
            if run.text and not tool_calls and text.__class__ is str and len(text) > run.text:
                piece = Chunk(run.chat, at, TEXT, text[run.text :])
                run.text = len(text)
                return (piece,)
            return self._said(run, text, tool_calls, at)
        read = _TRACED.get(type_) if isinstance(type_, str) else None
        return read(self, body, at) if read is not None and not self._over else NOTHING

    def _apart(self, data: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        if data.__class__ is not Aside:
            value = loaded(data)
            return self.feed(value, at) if value.__class__ is dict else NOTHING
        told = data.data
        match data.name:
            case "run.speaks":
                self._speaker = self._run(told)
            case "run.called":
                by = self._runs.get(word(field(told, "by")), self._root)
                self._parents[word(field(told, "run_id"))] = by.tools.get(word(field(told, "call_id")), by.key)
            case "run.closed":
                return self._ended(self._root, told, told, at)
            case _:
                return self._calls.feed(data, at)
        return NOTHING

    def _run(self, data: Any) -> _Run:
        return self._runs.get(word(field(data, "run_id")), self._root)

    # Runs -----------------------------------------------------------------------------------------------------

    def _run_start(self, data: Any, at: int) -> Signals:
        run_id, agent = word(field(data, "run_id")), word(field(data, "agent_name"))
        if not self._runs:
            self._runs[run_id] = self._root
            conversation = word(field(data, "session_id"))
            told = {semconv.GEN_AI_AGENT_NAME: agent, semconv.GEN_AI_CONVERSATION_ID: conversation}
            return (Noted(RUN, at, {name: value for name, value in told.items() if value}),)
        if run_id in self._runs:
            return NOTHING
        tools = [key for run in self._runs.values() for key in run.tools.values()]
        parent = self._parents.pop(run_id, tools[0] if len(tools) == 1 else RUN)
        run = self._runs[run_id] = _Run(f"run:{run_id}")
        return (Opened(run.key, at, semconv.INVOKE_AGENT, agent, parent),)

    def _run_end(self, data: Any, at: int) -> Signals:
        run_id = word(field(data, "run_id"))
        run = self._runs.pop(run_id, self._root)
        outcome = field(data, "outcome")
        return self._ended(run, outcome, field(outcome, "error"), at)

    def _ended(self, run: _Run, outcome: Any, error: Any, at: int) -> Signals:
        if run is self._root:
            self._over = True
            run.text = 0
        unanswered = refused(run.tools, at)
        status = word(field(outcome, "status"))
        if status == "error":
            return *unanswered, failed(run.key, at, error)
        asked = [Noted(run.key, at, {}, PERSON_ASKED)] if status == "interrupted" else []
        steps = [Closed(run.inside(f"step:{run.steps}"), at)] if run.steps else self._calls.finished(at)
        return *unanswered, *asked, *steps, Closed(run.key, at)

    # Model calls ----------------------------------------------------------------------------------------------

    def _llm_call_start(self, data: Any, at: int) -> Signals:
        run = self._speaker = self._run(data)
        model, agent = word(field(data, "model")), word(field(data, "agent_name"))
        # JAF gathers a turn's tools before the next: one that is still open was refused, and will not be told of again.
        signals = refused(run.tools, at)
        if run.steps:
            signals.append(Closed(run.inside(f"step:{run.steps}"), at))
        elif model:
            signals.append(Noted(run.key, at, {semconv.GEN_AI_REQUEST_MODEL: model}))
        run.steps += 1
        step = run.inside(f"step:{run.steps}")
        run.chat, run.text, run.arguments = run.inside("chat"), 0, []
        attributes = {semconv.GEN_AI_AGENT_NAME: agent} if agent else {}
        signals.append(Opened(step, at, semconv.STEP, str(run.steps), run.key))
        signals.append(Opened(run.chat, at, semconv.CHAT, model, step, attributes))
        return signals

    def _said(self, run: _Run, text: Any, tool_calls: Any, at: int) -> Signals:
        """The answer so far, cumulative."""
        if self._over:
            return NOTHING
        first = not run.text and not any(run.arguments)
        signals = self._grown(run, text, tool_calls, at)
        if first and signals:
            self._generated = True
            signals.insert(0, granular(run.chat, at, Granularity.TOKEN))
        return signals

    def _grown(self, run: _Run, text: Any, tool_calls: Any, at: int) -> list[Signal]:
        signals: list[Signal] = []
        if isinstance(text, str):
            if len(text) > run.text:
                signals.append(Chunk(run.chat, at, TEXT, text[run.text :]))
            run.text = len(text)
        if isinstance(tool_calls, list | tuple):
            run.arguments += [0] * (len(tool_calls) - len(run.arguments))
            for index, tool_call in enumerate(tool_calls):
                arguments = word(field(field(tool_call, "function"), "arguments"))
                if len(arguments) > run.arguments[index]:
                    signals.append(Chunk(run.chat, at, TOOL_CALL, arguments[run.arguments[index] :]))
                run.arguments[index] = len(arguments)
        return signals

    def _llm_call_end(self, data: Any, at: int) -> Signals:
        run = self._run(data)
        choice = field(data, "choice")
        signals: list[Signal] = []
        if not run.text and not any(run.arguments):  # nothing was streamed: here is the whole of it
            message = field(choice, "message")
            signals = self._grown(run, field(message, "content"), field(message, "tool_calls"), at)
            if signals:
                signals.insert(0, granular(run.chat, at, Granularity.MESSAGE))
                if not self._generated:
                    self._generated = True
                    signals.insert(0, granular(RUN, at, Granularity.MESSAGE))
        chat, run.chat = run.chat, ""
        return *signals, *answer(chat, at, choice), *((Closed(chat, at),) if chat else ())

    def _retry(self, data: Any, at: int) -> Signals:
        run = self._run(data)
        delay = field(data, "delay")
        delay_s = float(delay) if delay.__class__ in (int, float) else None
        operation = field(data, "operation")
        target = "model" if operation == "llm_call" else "tool" if operation == "tool_call" else "request"
        key = run.chat if target == "model" else run.key
        return (Retried(key, at, target, count(field(data, "attempt")) or 1, _reason(data), delay_s),)

    def _fallback(self, data: Any, at: int) -> Signals:
        run = self._run(data)
        reason = _reason(data) or word(field(data, "fallback_type"))
        retried = Retried(run.chat, at, "model", count(field(data, "attempt")) or 1, reason)
        model = word(field(data, "to_model"))
        return (retried, Noted(run.chat, at, {semconv.GEN_AI_REQUEST_MODEL: model})) if model else (retried,)

    # Tools and the rest ---------------------------------------------------------------------------------------

    def _tool_call_start(self, data: Any, at: int) -> Signals:
        run = self._run(data)
        call_id, tool = word(field(data, "call_id")), word(field(data, "tool_name"))
        key = run.tools[call_id or tool] = run.inside(f"tool:{call_id or tool}")
        step = run.inside(f"step:{run.steps}")
        return (tool_opened(key, at, tool, call_id, field(data, "args"), step),)

    def _tool_call_end(self, data: Any, at: int) -> Signals:
        key = self._run(data).tools.pop(word(field(data, "call_id")) or word(field(data, "tool_name")), "")
        status = field(data, "execution_status") or field(data, "status")
        return tool_closed(key, at, status, field(data, "result")) if key else NOTHING

    def _handoff(self, data: Any, at: int) -> Signals:
        return (Noted(RUN, at, {semconv.GEN_AI_AGENT_NAME: word(field(data, "to"))}, "jaf.handoff"),)

    def _guardrail_check(self, data: Any, at: int) -> Signals:
        return (Noted(RUN, at, {}, "jaf.guardrail_check"),)

    def _guardrail_violation(self, data: Any, at: int) -> Signals:
        tripwire = "OutputGuardrailTripwire" if field(data, "stage") == "output" else "InputGuardrailTripwire"
        return (Noted(RUN, at, {semconv.ERROR_TYPE: tripwire}, "jaf.guardrail_violation"),)

    def _memory_operation(self, data: Any, at: int) -> Signals:
        conversation = word(field(data, "conversation_id"))
        told = (Noted(RUN, at, {semconv.GEN_AI_CONVERSATION_ID: conversation}),) if conversation else ()
        return *told, *_stage("jaf.memory_operation", "MemoryError", data, at)

    def _output_parse(self, data: Any, at: int) -> Signals:
        return _stage("jaf.output_parse", "DecodeError", data, at)


_TRACED: Mapping[str, Callable[[JafRun, Any, int], Signals]] = {
    "run_start": JafRun._run_start,
    "guardrail_check": JafRun._guardrail_check,
    "guardrail_violation": JafRun._guardrail_violation,
    "memory_operation": JafRun._memory_operation,
    "output_parse": JafRun._output_parse,
    "llm_call_start": JafRun._llm_call_start,
    "llm_call_end": JafRun._llm_call_end,
    "tool_call_start": JafRun._tool_call_start,
    "tool_call_end": JafRun._tool_call_end,
    "handoff": JafRun._handoff,
    "retry": JafRun._retry,
    "fallback": JafRun._fallback,
    "run_end": JafRun._run_end,
}


def _stage(name: str, failure: str, data: Any, at: int) -> Signals:
    status = field(data, "status")
    if status == "fail":
        return (Noted(RUN, at, {semconv.ERROR_TYPE: failure}, name),)
    return (Noted(RUN, at, {}, name),) if status == "end" else NOTHING


def _reason(data: Any) -> str:
    """The HTTP status or the exception's name; the event's own reason may be a message."""
    details = field(data, "error_details")
    status = count(field(details, "status_code"))
    return str(status) if status else word(field(details, "error_type"))
