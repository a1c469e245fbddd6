"""What goes on a span, under which name: everything known at the opening, the rest at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamgauge import semconv
from streamgauge.recorder.operations import Operation
from streamgauge.recorder.points import Tallies
from streamgauge.semconv import EXECUTE_TOOL, INFERENCE, INVOKE_AGENT, Profile
from streamgauge.wire import Outcome, Request

__all__ = ["Attributes", "Content", "span_name"]

_USAGE = {
    "input": semconv.GEN_AI_USAGE_INPUT_TOKENS,
    "output": semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
    "cache_read": semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    "cache_write": semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
    "reasoning": semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
}


_CONTENT = semconv.CONTENT_ATTRIBUTES
_NAMED = frozenset({INVOKE_AGENT, semconv.SESSION})
"""Whose span says whom they are with, as a model call's does."""
_AGENTS = frozenset({INVOKE_AGENT, EXECUTE_TOOL, semconv.SESSION})
_SCALARS = frozenset({str, int, float, bool})


@dataclass(frozen=True, slots=True)
class Content:
    """Whether prompts, outputs, arguments and results go on spans; off by default."""

    captured: bool = False
    max_bytes: int = 16_384
    """Of one attribute."""
    redact: Callable[[str, str], str] | None = None
    """Given (attribute, text), returns what to keep."""

    def kept(self, name: str, text: str) -> str:
        """The text as it may be shown: redacted, then cut."""
        if self.redact is not None:
            text = self.redact(name, text)
        return text.encode("utf-8", "replace")[: self.max_bytes].decode("utf-8", "ignore")


class Attributes:
    """Makes attributes, in one profile's names and within one policy of content."""

    def __init__(self, profile: Profile, content: Content) -> None:
        self.content = content
        self._profile = profile

    def plain(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a span takes: scalars and sequences of text; content only where it is asked for."""
        if _SCALARS.issuperset(map(type, given.values())) and _CONTENT.isdisjoint(given):
            return dict(given)
        plain = {
            name: value if value.__class__ in _SCALARS else _scalar(value)
            for name, value in given.items()
            if value is not None and name not in _CONTENT
        }
        if self.content.captured:
            for name in _CONTENT & given.keys():
                kept = self.content.kept(name, str(given[name])) if given[name] is not None else ""
                if kept:
                    plain[name] = kept
        return plain

    def profiled(self, operation: str, attributes: dict[str, Any]) -> dict[str, Any]:
        """The same in the profile's names."""
        profile = self._profile
        if not profile.renamed:
            return attributes
        without = profile.without.get(operation, frozenset())
        return {profile.renamed.get(name, name): value for name, value in attributes.items() if name not in without}

    def opening(
        self, operation: Operation, request: Request, granularity: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What is known when an operation is opened, for the sampler to see; nothing that is empty."""
        kind = operation.operation
        attributes: dict[str, Any] = {semconv.GEN_AI_OPERATION_NAME: kind}
        if operation.parent is None:
            attributes[semconv.STREAMGAUGE_DIALECT] = request.dialect
            attributes[semconv.STREAMGAUGE_TRANSPORT] = request.transport
            if granularity:
                attributes[semconv.STREAMGAUGE_STREAM_GRANULARITY] = granularity
        if kind in INFERENCE:
            attributes[semconv.GEN_AI_REQUEST_STREAM] = True
        if kind in INFERENCE or kind in _NAMED:
            if operation.provider:
                attributes[semconv.GEN_AI_PROVIDER_NAME] = operation.provider
            if operation.model:
                attributes[semconv.GEN_AI_REQUEST_MODEL] = operation.model
            if request.conversation_id:
                attributes[semconv.GEN_AI_CONVERSATION_ID] = request.conversation_id
            if request.server_address:
                attributes[semconv.SERVER_ADDRESS] = request.server_address
                if request.server_port:
                    attributes[semconv.SERVER_PORT] = request.server_port
        if operation.name and kind == EXECUTE_TOOL:
            attributes[semconv.GEN_AI_TOOL_NAME] = operation.name
        elif operation.name and kind == semconv.STEP:
            attributes[semconv.STREAMGAUGE_STEP_NAME] = operation.name
        elif operation.name and kind == semconv.SESSION:
            attributes[semconv.STREAMGAUGE_SESSION_NAME] = operation.name
        if operation.agent and kind in _AGENTS:
            attributes[semconv.GEN_AI_AGENT_NAME] = operation.agent
        if given:
            attributes.update(self.plain(given))
        return self.profiled(kind, attributes)

    def closing(self, operation: Operation, outcome: Outcome, error_type: str, tallies: Tallies) -> dict[str, Any]:
        """What was learned since, without what only the stream as a whole knows. Not in the profile's names yet."""
        kind = operation.operation
        attributes = operation.attributes or {}
        attributes[semconv.STREAMGAUGE_OUTCOME] = outcome.value
        if error_type:
            attributes[semconv.ERROR_TYPE] = error_type
        if operation.unseen:
            attributes[semconv.STREAMGAUGE_END_UNSEEN] = True
        if kind not in INFERENCE and kind != INVOKE_AGENT:
            return attributes
        if outcome is not Outcome.COMPLETED:
            # The conventions: where the expected reason never came, it is `error`.
            attributes.setdefault(semconv.GEN_AI_RESPONSE_FINISH_REASONS, ("error",))
        if operation.first_chunk:
            first = (operation.first_chunk - operation.start) / 1e9
            attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = first
        if operation.gaps is not None:
            chunks = bytes_ = 0
            for _, number, size in tallies:
                chunks += number
                bytes_ += size
            attributes[semconv.STREAMGAUGE_STREAM_CHUNKS] = chunks
            attributes[semconv.STREAMGAUGE_STREAM_BYTES] = bytes_
            if operation.longest:
                attributes[semconv.STREAMGAUGE_STREAM_LONGEST_GAP] = operation.longest / 1e9
        if operation.usage is not None:
            for token_type, count in operation.tokens():
                attributes[_USAGE[token_type]] = count
        if operation.content:
            import json  # 1 ms, and only where content is asked for

            text = self.content.kept(semconv.GEN_AI_OUTPUT_MESSAGES, operation.content)
            if not text:
                return attributes
            message = {"role": "assistant", "parts": [{"type": "text", "content": text}]}
            attributes[semconv.GEN_AI_OUTPUT_MESSAGES] = json.dumps([message], ensure_ascii=False)
        return attributes


def span_name(operation: Operation) -> str:
    """`{operation} {name}`, as the conventions have it."""
    return f"{operation.operation} {operation.name}" if operation.name else operation.operation


def _scalar(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return str(value)
