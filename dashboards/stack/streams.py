"""The event streams of five systems, as a script says: OpenAI's chat completions, Anthropic's messages, a run of
shipit_agent, a chat with an agent on JAF's server, and a run on a LangGraph server.

Pure: a stream is its pieces, each with how long before it there is nothing. Nothing but the standard library is needed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

__all__ = ["Piece", "Script", "answer"]

Piece: TypeAlias = tuple[float, bytes]
"""Seconds to wait, then what is sent."""

WORDS = ("The", "parser", "keeps", "each", "event's", "offset", "so", "a", "later", "read", "begins", "right", "there")


@dataclass(frozen=True, slots=True)
class Script:
    """What one stream is like."""

    first_s: float = 0.2
    """Until the first generated piece; the head and what opens the stream come at once."""
    chunks: int = 20
    pace_s: float = 0.03
    reasoning: int = 0
    """So many of the chunks are reasoning, and come before the text."""
    size: int = 0
    """Characters of each piece of text; 0 for a word."""
    tool: str = ""
    """A tool: a model API asks for it, an agent calls it."""
    works_s: float = 0.15
    """For how long the tool does."""
    fails: int = 0
    """1: the tool fails."""
    tool_retries: int = 0
    retries: int = 0
    """Of the model call, as an agent announces them."""
    nested: str = ""
    """An agent that the run's tool is; it has a run of its own."""
    stall_s: float = 0.0
    """A silence in the middle of the text."""
    status: int = 200
    refusals: int = 0
    """How often the same request (by its Idempotency-Key) is answered with 503 before it is served."""
    broken: int = 0
    """1: the body is said to be gzip, and is not."""
    end: str = "complete"
    """`complete`, `error` (an error event), `cut` (the connection closes), `cancel` (told so by the agent), `hang`."""

    @classmethod
    def read(cls, text: str) -> Script:
        """
        Raises: ValueError for what is no script.
        """
        known = {field.name.removesuffix("_s"): field for field in fields(cls)}
        given: dict[str, Any] = {}
        for item in text.split():
            name, _, value = item.partition("=")
            if name not in known:
                raise ValueError(f"a script has no {name!r}; it has {', '.join(known)}")
            field = known[name]
            given[field.name] = type(field.default)(value)
        return cls(**given)


def _event(data: Any, kind: str = "") -> bytes:
    named = f"event: {kind}\n" if kind else ""
    return f"{named}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _generated(script: Script, share: float = 1.0) -> Iterator[tuple[float, str, str]]:
    """(seconds to wait, kind, text) of each generated piece, up to where the stream ends."""
    count = max(int(script.chunks * share), 1)
    if script.end != "complete":
        count = max(count // 2, 1)
    for number in range(count):
        wait_s = script.pace_s if number else script.first_s
        if number == max(count // 2, 1):
            wait_s += script.stall_s
        kind = "reasoning" if number < script.reasoning else "text"
        yield wait_s, kind, "x" * script.size if script.size else f" {WORDS[number % len(WORDS)]}"


def _chat(script: Script, path: str, body: Mapping[str, Any]) -> Iterator[Piece]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model", "gpt-5")}

    def chunk(delta: Any, reason: str | None = None) -> bytes:
        return _event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield 0.0, chunk({"role": "assistant"})
    generated = 0
    for wait_s, kind, text in _generated(script):
        generated += 1
        yield wait_s, chunk({"reasoning_content" if kind == "reasoning" else "content": text})
    if script.tool:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": script.tool, "arguments": ""}}
        yield script.pace_s, chunk({"tool_calls": [call]})
        for part in ('{"query":', '"offset', 's"}'):
            generated += 1
            yield script.pace_s, chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    if script.end == "error":
        yield script.pace_s, _event({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}})
    if script.end != "complete":
        return
    yield script.pace_s, chunk({}, "tool_calls" if script.tool else "stop")
    usage = {
        "prompt_tokens": 420,
        "completion_tokens": generated,
        "prompt_tokens_details": {"cached_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": script.reasoning},
    }
    yield 0.0, _event({**base, "choices": [], "usage": usage})
    yield 0.0, b"data: [DONE]\n\n"


def _messages(script: Script, path: str, body: Mapping[str, Any]) -> Iterator[Piece]:
    def told(kind: str, **data: Any) -> bytes:
        return _event({"type": kind, **data}, kind)

    usage = {"input_tokens": 64, "cache_creation_input_tokens": 32, "cache_read_input_tokens": 256, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "stop_reason": None}
    yield 0.0, told("message_start", message={**message, "model": body.get("model", "claude"), "usage": usage})
    yield 0.0, told("ping")
    opened, index, generated = "", -1, 0
    for wait_s, kind, text in _generated(script):
        kind = "thinking" if kind == "reasoning" else "text"
        generated += 1
        if kind != opened:
            if opened:
                yield 0.0, told("content_block_stop", index=index)
            opened, index = kind, index + 1
            yield 0.0, told("content_block_start", index=index, content_block={"type": kind, kind: ""})
        yield wait_s, told("content_block_delta", index=index, delta={"type": f"{kind}_delta", kind: text})
    yield 0.0, told("content_block_stop", index=index)
    if script.tool:
        index += 1
        block = {"type": "tool_use", "id": "toolu_1", "name": script.tool, "input": {}}
        yield script.pace_s, told("content_block_start", index=index, content_block=block)
        for part in ('{"query":', '"offset', 's"}'):
            generated += 1
            delta = {"type": "input_json_delta", "partial_json": part}
            yield script.pace_s, told("content_block_delta", index=index, delta=delta)
        yield 0.0, told("content_block_stop", index=index)
    if script.end == "error":
        yield script.pace_s, told("error", error={"type": "overloaded_error", "message": "Overloaded"})
    if script.end != "complete":
        return
    reason = {"stop_reason": "tool_use" if script.tool else "end_turn", "stop_sequence": None}
    yield script.pace_s, told("message_delta", delta=reason, usage={"output_tokens": generated})
    yield 0.0, told("message_stop")


def _run(script: Script, path: str, body: Mapping[str, Any]) -> Iterator[Piece]:
    def of(kind: str, message: str = "", **payload: Any) -> dict[str, Any]:
        return {"type": kind, "message": message, "payload": payload, "timestamp": time.time()}

    def told(kind: str, message: str = "", **payload: Any) -> bytes:
        return _event(of(kind, message, run_id="run-1", session_id="s-1", **payload), kind)

    def spoken(share: float) -> Iterator[Piece]:
        for wait_s, kind, text in _generated(script, share):
            yield wait_s, told("reasoning_delta" if kind == "reasoning" else "text_delta", chunk=text)

    def tick(steps: int) -> bytes:
        usage = {"prompt_tokens": 300 * steps, "completion_tokens": script.chunks * steps // 2}
        return told("usage_tick", usage=usage, iteration=steps)

    yield 0.0, told("run_started", prompt="hello", model=str(body.get("model", "")))
    yield 0.0, told("step_started", iteration=1)
    for attempt in range(script.retries):
        yield script.pace_s, told("llm_retry", attempt=attempt + 1, error="rate limited", delay=script.pace_s)
    calls = script.tool or script.nested
    yield from spoken(0.5 if calls else 1.0)
    if calls and script.end == "complete":
        name, call = script.tool or script.nested, {"call_id": "call_1", "tool_call_id": "call_1"}
        yield 0.0, tick(1)
        yield 0.0, told("tool_group_started", group_id="g1", iteration=1, tools=[{"name": name, "call_id": "call_1"}])
        yield 0.0, told("tool_called", f"Tool called: {name}", tool=name, arguments={"query": "offsets"}, **call)
        for attempt in range(script.tool_retries):
            yield script.pace_s, told("tool_retry", f"Retrying tool: {name}", attempt=attempt + 1, error="busy", **call)
        if script.nested:
            label = script.nested
            yield 0.0, told("subagent_started", label=label)
            inner = [of("step_started", iteration=1, run_id="run-2")]
            inner += [of("text_delta", chunk=f" {word}", run_id="run-2") for word in WORDS[:4]]
            for event in inner:
                yield script.pace_s, told("subagent_event", label=label, event=event)
            yield 0.0, told("subagent_completed", label=label)
        wait_s = script.works_s
        if script.fails:
            failure = {"error": "no such file", "metadata": {"error_type": "FileNotFoundError"}, "output": "failed"}
            yield wait_s, told("tool_failed", f"Tool failed: {name}", tool=name, **failure, **call)
        else:
            yield wait_s, told("tool_completed", f"Tool completed: {name}", tool=name, output="11 files", **call)
        yield 0.0, told("tool_group_completed", group_id="g1", iteration=1)
        yield 0.0, told("step_started", iteration=2)
        yield from spoken(0.5)
    if script.end == "error":
        yield script.pace_s, told("run_failed", error="overloaded", error_type="RateLimitError")
    if script.end == "cancel":
        yield script.pace_s, told("run_cancelled")
    if script.end != "complete":
        return
    yield 0.0, tick(2 if calls else 1)
    yield script.pace_s, told("final_answer", content="done", format="markdown")
    yield 0.0, told("run_summary", finish_reason="stop")
    yield 0.0, told("run_completed", output="done", content="done")


def _agent_chat(script: Script, path: str, body: Mapping[str, Any]) -> Iterator[Piece]:
    named = re.search(r"/agents/([^/?]+)/chat", path)
    agent = named[1] if named else "support"

    def told(kind: str, **data: Any) -> bytes:
        event = {"type": kind, "data": data, "timestamp": time.time(), "run_id": "r1", "trace_id": "t1"}
        return _event(event, f"StreamingEventType.{kind.upper()}")

    about = {"agent_name": agent, "model_name": str(body.get("model", "unknown")), "turn_count": 1}
    started = json.dumps({"runId": "r1", "traceId": "t1", "conversationId": "conv-1", "agent": agent})
    # As JAF's server has it: no blank line after the first frame, which is a part of the next.
    yield 0.0, f"event: stream_start data: {started}".encode() + told("start", **about)
    if script.tool:
        call = {"tool_name": script.tool, "call_id": "c1"}
        yield script.pace_s, told("tool_call", **call, arguments={"query": "offsets"}, status="started")
        result = {"result": "3 hits", "status": "error" if script.fails else "success"}
        yield script.works_s, told("tool_result", **call, **result)
    for wait_s, _, text in _generated(script):
        yield wait_s, told("chunk", content=text, delta=text, is_complete=False, token_count=1)
    if script.end == "error":
        yield script.pace_s, told("error", detail="overloaded", _tag="ModelBehaviorError")
    if script.end == "complete":
        yield script.pace_s, told("metadata", **about)
        yield 0.0, told("complete", content="done", delta="", is_complete=True, token_count=script.chunks)
    if script.end in ("complete", "error"):
        yield 0.0, _event({"ended": True}, "stream_end")


def _graph_run(script: Script, path: str, body: Mapping[str, Any]) -> Iterator[Piece]:
    model = {"langgraph_node": "agent", "ls_model_name": body.get("model", "gpt-5"), "ls_provider": "openai"}

    def said(text: str, **more: Any) -> bytes:
        message = {"type": "AIMessageChunk", "id": "run--1", "content": text, "additional_kwargs": {}}
        return _event([{**message, "response_metadata": {}, "tool_call_chunks": [], **more}, model], "messages")

    yield 0.0, _event({"run_id": "run-1", "attempt": 1}, "metadata")
    generated = 0
    for wait_s, _, text in _generated(script):
        generated += 1
        yield wait_s, said(text)
    if script.end == "error":
        yield script.pace_s, _event({"error": "RateLimitError", "message": "overloaded"}, "error")
    if script.end != "complete":
        return
    usage = {"input_tokens": 240, "output_tokens": generated, "total_tokens": 240 + generated}
    yield script.pace_s, said("", response_metadata={"finish_reason": "stop"}, usage_metadata=usage)
    yield 0.0, _event(None, "end")


_STREAMS: Mapping[str, Callable[[Script, str, Mapping[str, Any]], Iterator[Piece]]] = {
    r"/v1/chat/completions$": _chat,
    r"/v1/messages$": _messages,
    r"/v1/stream$": _run,
    r"/agents/[^/]+/chat$": _agent_chat,
    r"/runs/stream$": _graph_run,
}


def answer(script: Script, path: str, body: Mapping[str, Any]) -> Iterator[Piece] | None:
    """The stream that answers a request; None where the path is none of ours."""
    return next((stream(script, path, body) for end, stream in _STREAMS.items() if re.search(end, path)), None)
