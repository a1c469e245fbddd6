"""shipit_agent's events, however they come: runs, sub-agents, and the forms that events come in.

What an event means within one run is `_shipit_run`'s.

Source: as in `shipit_agent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._shipit_event import Told, text_of
from streamgauge.dialects._shipit_rules import OF_THE_CALL, RULES
from streamgauge.dialects._shipit_run import Run
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signals
from streamgauge.wire import Aside, Outcome, ServerSentEvent

__all__ = ["DEEPEST", "STOPPED", "ShipitStream"]

STOPPED: Final = "cancel"
"""The aside that says: the agent was told to stop. Its stream then just ends."""

DEEPEST: Final = 4
"""Of sub-agents below sub-agents; the package itself stops at 2."""

_BEGINNINGS: Final = frozenset({"run_started", "step_started", "iteration_started"})
"""What a sub-agent is first seen by. Anything else of one that is not open is a straggler."""

_SILENT: Final = (
    "agent_decision", "agent_observation", "agent_result", "artifact_created", "checkpoint_saved",
    "connection_requested", "context_snapshot", "lockdown_engaged", "mcp_attached", "model_output_recovered",
    "progress_summary_failed", "rag_sources", "reasoning_started", "research_complete", "skill_catalog_ready",
    "skill_loaded", "skills_selected", "step", "stop_blocked", "stop_hook_error", "stop_unresolved", "stream_hello",
    "tool_call_healed", "tool_calls_ignored", "tool_input_started", "tool_output_delta", "tool_output_started",
    "tools_discovered", "tools_rebound", "verify_required", "verify_skipped",
)  # fmt: skip


class ShipitStream(Dialect):
    """One stream of events, alone or in packets."""

    terminal = True
    only_waits_between_chunks = True
    framing = "sse"
    events: ClassVar[Mapping[str, str]] = {
        "run_started": "the conversation; after a run's end the next run; in a run without an id a nested one",
        "run_completed": "the end of the run; a chunk of text where none came before",
        "run_failed": "the end of the run, `failed`",
        "run_cancelled": "the end of the run, `cancelled`",
        "sub_agent_event": "a nested run, its event read by these same rules",
        "subagent_started": "a nested run",
        "subagent_event": "the nested run's event, read by these same rules",
        "subagent_completed": "the end of the nested run",
        **{kind: words for kind, (_, words) in RULES.items()},
        "agent_event": "a packet: the event in it",
        "error": "the end of the run, `failed` (an SSE frame of `serve`, that is no event)",
        **dict.fromkeys(_SILENT, "nothing"),
    }

    __slots__ = ("_cancelled", "_inner_last", "_run")

    def __init__(self) -> None:
        super().__init__()
        self._run = Run()
        self._cancelled = False
        self._inner_last = False  # the last that was told is that a run within the run completed

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is dict:
            kind = data.get("type")
            payload = data.get("payload")
        else:
            try:
                kind = data.type
                payload = data.payload
            except Exception:  # no event: framed data, or anything
                return self._framed(data, at)
        if kind == "text_delta":
            if payload.__class__ is dict:
                text = payload.get("chunk")
                if text.__class__ is str and text:
                    run = self._run
                    run.spoken = True
                    return Chunk(run.chat, at, TEXT, text)
            return NOTHING
        if kind.__class__ is not str or kind == "agent_event":
            return self._packet(field(data, "event"), at)
        run = self._run
        if run.over and kind != "run_started":
            return NOTHING
        told = self._told(data, at, at)
        if told is None:
            return NOTHING
        self._inner_last = False
        return list(self._tell(run, told))

    def finish(self, at: int) -> Signals:
        run = self._run
        if run.over:
            return NOTHING
        signals = list(run.end_call(at)) if run.ended is not None else []
        if self._cancelled:
            signals.append(Closed(RUN, at, Outcome.CANCELLED))
        elif self._inner_last:  # a class that hands over another agent's stream and has no terminal event of its own
            signals.append(Closed(RUN, at))
        return signals

    # Forms ----------------------------------------------------------------------------------------------------

    def _packet(self, event: Any, at: int) -> Signals:
        """One layer of it: a packet in a packet is none."""
        if event.__class__ is dict and event.get("type").__class__ is str and event["type"] != "agent_event":
            return self.feed(event, at)
        return NOTHING

    def _framed(self, data: Any, at: int) -> Signals:
        if isinstance(data, Aside):
            self._cancelled = self._cancelled or data.name == STOPPED
            return NOTHING
        failed = isinstance(data, ServerSentEvent) and data.type == "error"
        if isinstance(data, bytes | bytearray):
            data = data.decode("utf-8", "replace")
        if isinstance(data, str):  # one frame of `stream_packets` or `stream_sse`, or its JSON alone
            lines = [line[5:] for line in data.splitlines() if line.startswith("data:")]
            data = "\n".join(lines) or data
        data = loaded(data)
        if data.__class__ is not dict:
            return NOTHING
        if not failed:
            return self.feed(data, at)
        if self._run.over:
            return NOTHING
        self._run.over = True
        return (Closed(RUN, at, Outcome.FAILED, "", text_of(data.get("error"))),)

    def _told(self, data: Any, own: int, at: int) -> Told | None:
        kind, payload, message = field(data, "type"), field(data, "payload"), text_of(field(data, "message"))
        if kind.__class__ is not str or not (kind in RULES or kind in _RUNS):
            return None
        own = self.when(field(data, "timestamp"), own)
        return Told(kind, message, payload if payload.__class__ is dict else {}, own, at)

    def _tell(self, run: Run, told: Told) -> Signals:
        if run.ended is not None and told.type not in OF_THE_CALL and told.type != "run_completed":
            yield from run.end_call(run.ended)
        rule = _RUNS.get(told.type)
        yield from rule(self, run, told) if rule else RULES[told.type][0](run, told)

    # Runs -----------------------------------------------------------------------------------------------------

    def _run_started(self, run: Run, told: Told) -> Signals:
        id = told.text("run_id")
        if run is not self._run:  # a sub-agent's
            run.id = run.id or id
            return
        # What is still open has ended as a cancelled one does: without a word.
        unsaid = Outcome.CANCELLED if self._cancelled else Outcome.TRUNCATED
        if run.outer is not None:
            yield from self._end_run(run, told, unsaid)
            run = run.outer
        if run.started and not run.over and id and not run.id:
            # A pipeline's, or another class's that hands over its agents' streams: it has no run id of its own.
            self._run = inner = run.below("", id, run.here)
            inner.started = True
            yield Opened(inner.key, told.own, INVOKE_AGENT, "", run.here)
            return
        if run.started or run.over:  # the next turn on one connection
            if not run.over:
                yield Closed(RUN, told.at, unsaid)
            self._run = run = Run()
            self._cancelled = False
            yield Opened(RUN, told.at, INVOKE_AGENT)
        run.started = True
        run.id = id
        facts = {
            semconv.GEN_AI_CONVERSATION_ID: told.text("session_id"),
            semconv.GEN_AI_REQUEST_MODEL: told.text("model"),
        }
        if any(facts.values()):
            yield Noted(RUN, told.at, {name: value for name, value in facts.items() if value})

    def _run_completed(self, run: Run, told: Told) -> Signals:
        if told.payload.get("cancelled") is True:
            yield from self._end_run(run, told, Outcome.CANCELLED)
            return
        yield from run.answer(told)
        yield from run.end_step(told.own)
        yield from self._end_run(run, told, Outcome.COMPLETED)

    def _run_failed(self, run: Run, told: Told) -> Signals:
        yield from self._end_run(run, told, Outcome.FAILED, told.text("error_type"), told.text("error"))

    def _run_cancelled(self, run: Run, told: Told) -> Signals:
        yield from self._end_run(run, told, Outcome.CANCELLED)

    def _end_run(self, run: Run, told: Told, outcome: Outcome, error_type: str = "", message: str = "") -> Signals:
        run.over = True
        outer = run.outer
        if outer is None:
            yield Closed(RUN, told.at, outcome, error_type, message)
            return
        if run is self._run:
            self._run = outer
            self._inner_last = outcome is Outcome.COMPLETED
        outer.children = [child for child in outer.children if child is not run]
        yield Closed(run.key, told.own, outcome, error_type, message)

    # Sub-agents -----------------------------------------------------------------------------------------------

    def _sub_agent_event(self, run: Run, told: Told) -> Signals:
        data = {"type": told.payload.get("inner_type"), "payload": told.payload.get("inner")}
        yield from self._child_told(run, told.text("agent"), data, told)

    def _subagent_event(self, run: Run, told: Told) -> Signals:
        yield from self._child_told(run, told.text("label"), told.payload.get("event"), told)

    def _subagent_started(self, run: Run, told: Told) -> Signals:
        yield from self._open_child(run, told.text("label"), "", told)

    def _subagent_completed(self, run: Run, told: Told) -> Signals:
        child = _child(run, told.text("label"), "")
        if child is not None:
            yield from child.end_step(told.own)
            yield from self._end_run(child, told, Outcome.COMPLETED)

    def _child_told(self, run: Run, label: str, data: Any, outer: Told) -> Signals:
        told = self._told(data, outer.own, outer.at)
        if told is None:
            return
        id = told.text("run_id")
        if told.type in _BEGINNINGS and _child(run, label, id) is None:
            yield from self._open_child(run, label, id, told)
        child = _child(run, label, id)
        if child is not None:
            yield from self._tell(child, told)

    def _open_child(self, run: Run, label: str, id: str, told: Told) -> Signals:
        if run.depth >= DEEPEST:
            return
        under = run.key
        for (
            call,
            tool,
        ) in run.tools.open.items():  # an `AgentTool` reports under its own name, `sub_agent` under a role's
            if not tool.background and tool.name in (label, "sub_agent"):
                under = run.tool_key(call)
        child = run.below(label, id, under)
        run.children.append(child)
        yield Opened(child.key, told.own, INVOKE_AGENT, label, under)


def _child(run: Run, label: str, id: str) -> Run | None:
    """The open sub-agent that an event is about. Not every event has the id of its run."""
    known = [child for child in run.children if id and child.id == id]
    same = [child for child in run.children if child.label == label and not (id and child.id)]
    return next(reversed(known or same), None)


_RUNS: Final[Mapping[str, Callable[[ShipitStream, Run, Told], Signals]]] = {
    "run_started": ShipitStream._run_started,
    "run_completed": ShipitStream._run_completed,
    "run_failed": ShipitStream._run_failed,
    "run_cancelled": ShipitStream._run_cancelled,
    "sub_agent_event": ShipitStream._sub_agent_event,
    "subagent_started": ShipitStream._subagent_started,
    "subagent_event": ShipitStream._subagent_event,
    "subagent_completed": ShipitStream._subagent_completed,
}
