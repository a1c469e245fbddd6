"""What each event within a run of shipit_agent becomes: the rule that reads it, and that rule in words.

Source: shipit-agent 2.2.1, the files that `shipit_agent.py` names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamgauge.dialects._shipit_event import Told
from streamgauge.dialects._shipit_run import Run, Signals
from streamgauge.signals import TOOL_QUEUED, TOOL_SKIPPED

__all__ = ["OF_THE_CALL", "RULES"]

_ENDS: Final = "the end of the tool call"
_NOT_GENERATED: Final = "what follows is no generated answer"
RULES: Final[dict[str, tuple[Callable[[Run, Told], Signals], str]]] = {
    "run_summary": (Run.run_summary, "the finish reason; usage of the run where the stream has no `usage_tick`"),
    "step_started": (Run.step_started, "a step, with a model call where it has an iteration"),
    "iteration_started": (Run.step_started, "a step with a model call"),
    "planning_started": (Run.planning_started, "a step"),
    "planning_completed": (Run.planning_completed, "the end of that step"),
    "context_compaction_started": (Run.compaction_started, "a step; a model call in it where usage follows"),
    "context_compacted": (Run.context_compacted, "the end of that step"),
    "llm_retry": (Run.llm_retry, "a retry of the model call"),
    "usage_tick": (Run.usage_tick, "usage of the model call, and its end"),
    "text_delta": (Run.text_delta, "a chunk of text"),
    "reasoning_delta": (Run.reasoned, "a chunk of reasoning"),
    "reasoning_completed": (Run.reasoned, "a chunk of reasoning"),
    "tool_input_delta": (Run.tool_input_delta, "a chunk of a tool call's arguments"),
    "final_answer": (Run.final_answer, "the end of the step; a chunk of text where none came before"),
    "guardrail_triggered": (Run.notice, f"nothing; at the input: {_NOT_GENERATED}"),
    "prompt_blocked": (Run.notice, _NOT_GENERATED),
    "budget_exhausted": (Run.notice, _NOT_GENERATED),
    "budget_unavailable": (Run.notice, _NOT_GENERATED),
    "interactive_request": (Run.interactive_request, "a person is asked"),
    "approval_required": (Run.approval_required, "a person is asked"),
    "tool_group_started": (Run.group_started, "the end of the model call; which calls follow"),
    "tool_group_completed": (Run.group_completed, "no more calls of that group"),
    "tool_called": (Run.tool_called, "a tool call, or the nested run of a team's, crew's or supervisor's agent"),
    "tool_completed": (Run.tool_completed, _ENDS),
    "tool_failed": (Run.tool_failed, f"{_ENDS}, `failed`"),
    "tool_denied": (Run.tool_denied, f"{_ENDS}, `failed`"),
    "tool_arguments_rejected": (Run.tool_rejected, f"{_ENDS}, `failed`"),
    "tool_skipped_duplicate": (Run.tool_put_off, f"the span event {TOOL_SKIPPED}"),
    "action_queued": (Run.tool_put_off, f"the span event {TOOL_QUEUED}"),
    "tool_retry": (Run.tool_retry, "a retry of the tool call"),
}
"""Event type: (its rule, that rule in words)."""

OF_THE_CALL: Final = frozenset(
    ("usage_tick", "text_delta", "reasoning_delta", "reasoning_completed", "tool_input_delta", "final_answer")
)
"""After a model call's usage these may still be about it."""
