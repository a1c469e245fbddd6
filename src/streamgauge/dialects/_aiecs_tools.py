"""The tools that one answer of a model asks an AIECS agent to use.

A HybridAgent runs them one after the other and hands out all their events when the last has ended, each stamped when it
happened. A ToolAgent stamps them all at the end: its tools last as long as their batch does. Either way the first tool
is opened when the model call ends, not when its event arrives: so the agent is known to be at its tools while it is.

Source: aiecs 2.2.0, domain/agent/hybrid_agent.py (`_process_tool_calls_batch`), domain/agent/tool_agent.py
(`_run_fc_tool_calls`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from streamgauge import semconv
from streamgauge.dialects._dialect import field
from streamgauge.dialects._model_calls import word
from streamgauge.signals import RUN, Closed, Noted, Opened, Signal
from streamgauge.wire import Outcome

__all__ = ["ToolBatch", "encoded", "ran_alone", "tool_name"]

_MAX_CONTENT = 16_384
"""Characters of one tool's arguments or result; encoding stops there, so that a big result costs no more."""
_RAISED = re.compile(r"state=finished raised (\w+)>")
"""A tool's exception, in the message of the retries that AIECS has around every tool."""


class ToolBatch:
    """The tools of one batch, in order: each call gets one result or one error."""

    __slots__ = ("_answered", "_calls", "_one_by_one", "_opened", "_parent", "_turned", "ready")

    def __init__(self, calls: Any = None, at: int = 0) -> None:
        self._calls: Sequence[Any] = calls if isinstance(calls, list) else ()
        self.ready = at
        """When the batch was complete; 0 where no batch was announced."""
        self._parent = RUN
        self._one_by_one = True
        self._opened = self._answered = 0
        self._turned = 0
        """When the agent turned to the tool that it is at."""

    def begin(self, at: int, parent: str, *, one_by_one: bool) -> list[Signal]:
        """The model call has ended.

        Args:
            parent: the key of the operation above the tools.
            one_by_one: each tool has its own times.
        """
        self._turned = at
        self._parent = parent
        self._one_by_one = one_by_one
        return [self._open(at) for _ in (self._calls[:1] if one_by_one else self._calls)]

    def called(self, event: Mapping[str, Any], at: int) -> Sequence[Signal]:
        """A `tool_call`, stamped `at`."""
        return (self._open(at, event),) if self._answered == self._opened else ()

    def answered(self, event: Mapping[str, Any], at: int) -> Sequence[Signal]:
        """A `tool_result` or `tool_error`, stamped `at`. It may come with no `tool_call` before it."""
        ended = max(at, self._turned)
        signals = [self._open(self._turned or ended, event)] if self._answered == self._opened else []
        key = f"tool:{self._answered}"
        self._answered += 1
        if self._one_by_one:
            self._turned = ended
        if event.get("type") == "tool_error":
            message = word(event.get("error"))
            signals.append(Closed(key, ended, Outcome.FAILED, _error_type(event, message), message))
        else:
            signals.append(Noted(key, ended, {semconv.GEN_AI_TOOL_CALL_RESULT: encoded(event.get("result"))}))
            signals.append(Closed(key, ended))
        return signals

    def _open(self, at: int, event: Mapping[str, Any] | None = None) -> Signal:
        """The next tool. Its name is the one that the model called: the tool's and the operation's in one."""
        index, self._opened = self._opened, self._opened + 1
        call = self._calls[index] if index < len(self._calls) else None
        function = field(call, "function")
        name = word(field(function, "name"))
        arguments = field(function, "arguments")
        if event is not None and not name:
            name = tool_name(event.get("tool_name"), event.get("operation"))
            arguments = event.get("parameters")
        attributes: dict[str, Any] = {semconv.GEN_AI_TOOL_TYPE: "function"}
        call_id = word(field(call, "id"))
        if call_id:
            attributes[semconv.GEN_AI_TOOL_CALL_ID] = call_id
        if arguments is not None:
            attributes[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = encoded(arguments)
        return Opened(f"tool:{index}", at, semconv.EXECUTE_TOOL, name, self._parent, attributes)


def ran_alone(result: Mapping[str, Any], at: int) -> Sequence[Signal]:
    """The tool of a ToolAgent that was told which one to use: the task is that tool's execution, and its `result` all
    that is told of it."""
    tool = word(result.get("tool_used"))
    if not tool:
        return ()
    return (
        Opened("tool", at - _nanoseconds(result.get("execution_time")), semconv.EXECUTE_TOOL, tool),
        Noted("tool", at, {semconv.GEN_AI_TOOL_CALL_RESULT: encoded(result.get("output"))}),
        Closed("tool", at),
    )


def tool_name(tool: Any, operation: Any) -> str:
    """As the model calls it."""
    return "_".join(part for part in (word(tool), word(operation)) if part)


def encoded(value: Any) -> str:
    """As JSON, as far as it is wanted; text as it is."""
    if isinstance(value, str):
        return value[:_MAX_CONTENT]
    pieces: list[str] = []
    size = 0
    try:
        for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_CONTENT:
                break
    except Exception:  # a tool's own object, whose str() may do anything
        return ""
    return "".join(pieces)[:_MAX_CONTENT]


def _nanoseconds(seconds: Any) -> int:
    return int(seconds * 1e9) if isinstance(seconds, int | float) and 0 <= seconds < 86_400 else 0


def _error_type(event: Mapping[str, Any], message: str) -> str:
    if event.get("tool_name") == "unknown":
        return "unknown_tool"
    raised = _RAISED.search(message)
    return raised[1] if raised is not None else "tool_error"
