"""Anthropic's Messages API: the event stream of one message, or a plain answer.

In go server-sent events, the SDK's objects (of `messages.create(stream=True)` and of `messages.stream`, also of its
Bedrock and Vertex clients) or their dict form; out come the model call's chunks, its usage, the tool calls that it asks
for, the execution of tools on the server's side, and its end at `message_stop`. See `_anthropic_messages`.

Source: anthropic 2.12: `types/raw_message_stream_event.py` and its parts, `types/beta/*` of the same names, the errors
of `types/shared`, `_streaming.py`, `lib/streaming`, `lib/vertex/_client.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import plain_answer
from streamgauge.dialects._anthropic_messages import Messages, parameters_of
from streamgauge.dialects._parameters import text
from streamgauge.signals import TOOL_REQUESTED

__all__ = ["Anthropic"]

_VERTEX: Final = r"/publishers/anthropic/models/([^/:?]+):(streamRawPredict|rawPredict)"


class Anthropic(Messages):
    """A model call of `POST /v1/messages`, or of the same API at Google's Vertex AI."""

    name = "anthropic"
    system = "Anthropic Messages API (anthropic 2.12)"
    provider_name = "anthropic"
    paths = (r"/v1/messages$", f"{_VERTEX}$")
    events: ClassVar[Mapping[str, str]] = {
        "message_start": "response id and model, input tokens",
        "content_block_start": "nothing, but for what it already holds",
        "content_block_start: tool_use": "a tool call begins",
        "content_block_start: server_tool_use": "a call of a tool on the server's side begins",
        "content_block_start: mcp_tool_use": "a call of a tool on the server's side begins",
        "content_block_start: *_tool_result": "the end of that tool's execution; `failed` with the error's code",
        "content_block_start: redacted_thinking": "a chunk of reasoning without text",
        "content_block_start: fallback": "the response model, which has changed",
        "content_block_delta: text_delta": "a chunk of text",
        "content_block_delta: thinking_delta": "a chunk of reasoning",
        "content_block_delta: input_json_delta": "a chunk of tool-call arguments",
        "content_block_delta: compaction_delta": "a chunk of kind `compaction`",
        "content_block_delta: signature_delta": "nothing",
        "content_block_delta: citations_delta": "nothing",
        "content_block_stop": f"of a tool call the span event {TOOL_REQUESTED}; of a server's tool its start",
        "message_delta": "finish reason, usage",
        "message_stop": "the run is complete",
        "ping": "nothing",
        "error": "the run fails",
        "message": "a plain answer: response id and model, finish reason, usage, tool calls; the run is complete",
        "text": "nothing: the SDK's copy",
        "thinking": "nothing: the SDK's copy",
        "input_json": "nothing: the SDK's copy",
        "citation": "nothing: the SDK's copy",
        "signature": "nothing: the SDK's copy",
        "compaction": "nothing: the SDK's copy",
    }

    __slots__ = ()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        attributes = parameters_of(body)
        vertex = re.search(_VERTEX, path)
        if vertex is None:
            attributes.update(plain_answer(body))
            return {"operation": semconv.CHAT, "model": text(body, "model"), "attributes": attributes}
        if vertex[2] == "rawPredict":
            attributes[semconv.GEN_AI_REQUEST_STREAM] = False
        told = {"operation": semconv.CHAT, "model": vertex[1], "provider_name": "gcp.vertex_ai"}
        return {**told, "attributes": attributes}
