"""The reasoning steps of an AIECS agent, as span events: they come in its result, or as events of their own.

Source: aiecs 2.2.0, domain/agent/hybrid_agent.py.
"""

from __future__ import annotations

from typing import Any

from streamgauge import semconv
from streamgauge.dialects._aiecs_tools import encoded, tool_name
from streamgauge.dialects._dialect import field
from streamgauge.dialects._model_calls import count, word
from streamgauge.signals import RUN, Noted

__all__ = ["REASONING_STEPS", "reasoned"]

REASONING_STEPS = {kind: f"aiecs.{kind}" for kind in ("thought", "action", "observation")}
"""Kind of a reasoning step: the span event that it becomes."""


def reasoned(step: Any, at: int) -> Noted:
    """A span event. It comes with the result: that is its time."""
    kind = word(field(step, "type"))
    number = count(field(step, "iteration"))
    attributes: dict[str, Any] = {} if number is None else {semconv.STREAMGAUGE_STEP_NAME: str(number)}
    if kind == "action":
        attributes[semconv.GEN_AI_TOOL_NAME] = tool_name(field(step, "tool"), field(step, "operation"))
        attributes[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = encoded(field(step, "parameters"))
        attributes[semconv.GEN_AI_TOOL_CALL_RESULT] = encoded(field(step, "result"))
    elif kind == "observation":
        attributes[semconv.GEN_AI_TOOL_CALL_RESULT] = encoded(field(step, "content"))
    else:
        parts = [{"type": "text", "content": word(field(step, "content"))}]
        attributes[semconv.GEN_AI_OUTPUT_MESSAGES] = encoded([{"role": "assistant", "parts": parts}])
    return Noted(RUN, at, attributes, REASONING_STEPS.get(kind, "aiecs.thought"))
