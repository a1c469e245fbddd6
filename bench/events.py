"""Streams of the five systems' own objects: what a run of theirs begins with, a text chunk, and what it ends with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stream:
    """One system's stream: `before`, then any number of `chunk`, then `after`."""

    dialect: str
    before: tuple[Any, ...]
    chunk: Any
    after: tuple[Any, ...]

    def events(self, chunks: int) -> Iterator[Any]:
        yield from self.before
        chunk = self.chunk
        for _ in range(chunks):
            yield chunk
        yield from self.after

    async def aevents(self, chunks: int) -> AsyncIterator[Any]:
        for event in self.before:
            yield event
        chunk = self.chunk
        for _ in range(chunks):
            yield chunk
        for event in self.after:
            yield event


_STAMP = "2026-11-21T01:05:26.960410"
MODEL_CALL = Stream(
    "aiecs",
    ({"type": "status", "status": "started", "timestamp": _STAMP},),
    {"type": "token", "content": "token ", "timestamp": _STAMP},
    ({"type": "result", "success": True, "output": "token ", "timestamp": _STAMP},),
)
"""The smallest whole stream: a run with one model call (of aiecs' LLMAgent)."""


def streams() -> list[Stream]:
    """One of each system, of the real packages' classes."""
    from jaf.core.streaming import StreamingChunk, StreamingEvent, StreamingEventType, StreamingMetadata
    from shipit_agent.models import AgentEvent
    from zag.types import AssistantMessageEvent, InitEvent, ResultEvent, TextBlock, TurnCompleteEvent, Usage
    from ziran.domain.entities.streaming import AgentResponseChunk

    def jaf(kind: Any, data: Any) -> Any:
        return StreamingEvent(type=kind, data=data, run_id="r", trace_id="t")

    metadata = StreamingMetadata(
        agent_name="a", model_name="m", turn_count=1, total_tokens=0, execution_time_ms=0, performance_metrics=None
    )
    usage = Usage(input_tokens=3, output_tokens=2, cache_read_tokens=0, cache_creation_tokens=0)
    return [
        Stream(
            "ziran",
            (),
            AgentResponseChunk(content_delta="token "),
            (AgentResponseChunk(content_delta="", is_final=True),),
        ),
        Stream(
            "zag",
            (InitEvent(model="m", tools=[], working_directory="/w", metadata={}),),
            AssistantMessageEvent(content=[TextBlock(text="token ")], usage=usage),
            (
                TurnCompleteEvent(stop_reason="end_turn", turn_index=0, usage=usage),
                ResultEvent(success=True, message="done", duration_ms=5, num_turns=1),
            ),
        ),
        Stream(
            "jaf",
            (jaf(StreamingEventType.START, metadata),),
            jaf(
                StreamingEventType.CHUNK,
                StreamingChunk(content="token ", delta="token ", is_complete=False, token_count=None),
            ),
            (
                jaf(
                    StreamingEventType.COMPLETE,
                    StreamingChunk(content="token ", delta="", is_complete=True, token_count=1),
                ),
            ),
        ),
        Stream(
            "shipit-agent",
            (
                AgentEvent("run_started", "", {"prompt": "p", "run_id": "r", "session_id": "s", "sequence": 1}),
                AgentEvent("step_started", "", {"iteration": 1, "tool_count": 0, "run_id": "r", "sequence": 2}),
            ),
            AgentEvent("text_delta", "", {"chunk": "token ", "run_id": "r", "session_id": "s", "sequence": 3}),
            (
                AgentEvent("usage_tick", "", {"usage": {"prompt_tokens": 3, "completion_tokens": 2}, "iteration": 1}),
                AgentEvent("final_answer", "", {"content": "token "}),
                AgentEvent("run_completed", "", {"output": "token "}),
            ),
        ),
        Stream(
            "aiecs",
            (
                {"type": "started", "timestamp": _STAMP},
                {"type": "iteration_start", "iteration": 1, "max_iterations": 5, "remaining": 5, "timestamp": _STAMP},
            ),
            {"type": "token", "content": "token ", "timestamp": _STAMP},
            (
                {"type": "cache_status", "cache_hit": False, "cache_read_tokens": 0, "timestamp": _STAMP},
                {"type": "result", "success": True, "output": "token ", "timestamp": _STAMP},
                {"type": "completed", "success": True, "execution_time": 0.1, "timestamp": _STAMP},
            ),
        ),
    ]
