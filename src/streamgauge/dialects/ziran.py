"""ZIRAN: the chunks of an agent adapter, of a protocol handler and of a model client.

In goes `AgentResponseChunk` (`Ziran`) or `LLMResponseChunk` (`ZiranLLM`), as the object or as a dict; out come the
run's chunks, its usage, the tool calls that it asked for, and its end at `is_final`. The scanner's `ProgressEvent`s are
understood too. All of it is about the run: ZIRAN looks at its target from outside, so neither the model calls nor
the tools' execution inside the agent are in the stream.

Promised: a tool call that the model asks for is noted on the run; it gets no span, because nothing here tells when it
was executed, by whom, or whether it was.

Source: ziran 0.42.0, `domain/entities/streaming.py`, `domain/interfaces/adapter.py`, `infrastructure/adapters/*`,
`infrastructure/llm/*`, `application/agent_scanner/progress.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from streamgauge.dialects._ziran_chunks import CHUNK, REMEMBERED, ZiranChunks

__all__ = ["Ziran", "ZiranLLM"]

MAX_CALLS: Final = REMEMBERED
"""Tool calls of one stream whose length so far is remembered; beyond it the oldest is forgotten."""


class Ziran(ZiranChunks):
    """The stream of an adapter (`stream`) or of a protocol handler (`stream_send`)."""

    name = "ziran"
    system = "ZIRAN 0.42 agent adapters"

    __slots__ = ()


class ZiranLLM(Ziran):
    """The stream of a model client (`stream_complete`): the run is the model call itself."""

    name = "ziran-llm"
    system = "ZIRAN 0.42 LLM clients"
    events: ClassVar[Mapping[str, str]] = {**CHUNK, "model": "the response model"}

    __slots__ = ()
