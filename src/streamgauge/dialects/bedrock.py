"""Amazon Bedrock: the event stream of ConverseStream and of InvokeModelWithResponseStream, or a plain answer.

In go the messages of Amazon's event stream (an event's type, its payload as JSON), or the dicts that boto3 makes of
them (`{"contentBlockDelta": {...}}`); out come the model call's chunks, its usage, the tool calls that it asks for, the
execution of tools on the server's side, and its end. Usage comes after `messageStop`, in `metadata`: the run is
complete with that. What InvokeModel hands through is another API's: see `_bedrock_invoke`.

`inputTokens` is what was neither read from the cache nor written to it: the input is the sum of all three.

Source: botocore 1.44.5, `data/bedrock-runtime/2023-09-30/service-2.json`; for the tokens, the user guide's page on
prompt caching.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from streamgauge import semconv
from streamgauge.dialects._answers import count, json_text, word
from streamgauge.dialects._anthropic_messages import FINISH_REASONS as ANTHROPICS
from streamgauge.dialects._anthropic_messages import parameters_of
from streamgauge.dialects._bedrock_invoke import Invoked, payload
from streamgauge.dialects._block_calls import Call, Calls
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import parameters, text
from streamgauge.signals import (
    REASONING,
    RUN,
    TEXT,
    TOOL_CALL,
    TOOL_REQUESTED,
    Chunk,
    Closed,
    Noted,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import Outcome, ServerSentEvent

__all__ = ["EXCEPTIONS", "FINISH_REASONS", "Bedrock"]

FINISH_REASONS: Final[Mapping[str, str]] = {
    **ANTHROPICS,
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
"""Those that the conventions have a word for."""

EXCEPTIONS: Final = (
    "internalServerException", "modelStreamErrorException", "modelTimeoutException", "serviceUnavailableException",
    "throttlingException", "validationException",
)  # fmt: skip
"""What may end a stream."""

_PATH: Final = re.compile(r"/model/([^/?]+)/(converse-stream|converse|invoke-with-response-stream|invoke)(?:\?|$)")
_PARAMETERS: Final = {
    "maxTokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "topP": semconv.GEN_AI_REQUEST_TOP_P,
    "stopSequences": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
}


class Bedrock(Dialect):
    """A model call."""

    name = "bedrock"
    system = "Amazon Bedrock Runtime (botocore 1.44)"
    terminal = True
    only_waits_between_chunks = True
    provider_name = "aws.bedrock"
    framing = "aws-event-stream"
    paths = (
        r"/model/[^/]+/converse-stream$", r"/model/[^/]+/converse$", r"/model/[^/]+/invoke-with-response-stream$",
        r"/model/[^/]+/invoke$",
    )  # fmt: skip
    events: ClassVar[Mapping[str, str]] = {
        "messageStart": "nothing: the role",
        "contentBlockStart": "nothing, but for what starts",
        "contentBlockStart: toolUse": "a tool call begins",
        "contentBlockStart: toolResult": "the end of that tool's execution; `failed` where its status is `error`",
        "contentBlockDelta: text": "a chunk of text",
        "contentBlockDelta: reasoningContent": "a chunk of reasoning; without text where it is redacted",
        "contentBlockDelta: toolUse": "a chunk of tool-call arguments",
        "contentBlockDelta: image": "a chunk of kind `image`, without text",
        "contentBlockDelta: toolResult": "nothing",
        "contentBlockDelta: citation": "nothing",
        "contentBlockStop": f"of a tool call the span event {TOOL_REQUESTED}; of a server's tool its start",
        "messageStop": "finish reason",
        "metadata": "usage; the run is complete",
        "chunk": "what its bytes are: Anthropic's events, Converse's, else a chunk of text, finish reason, usage",
        **dict.fromkeys(EXCEPTIONS, "the run fails"),
        "an exception or error of another name": "the run fails",
        "output": "a plain answer: finish reason, usage, tool calls; the run is complete",
    }

    __slots__ = ("_calls", "_invoked", "_over", "_stopped")

    def __init__(self) -> None:
        super().__init__()
        self._calls = Calls()
        self._invoked: Invoked | None = None
        self._stopped = False  # the finish reason has come
        self._over = False

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        found = _PATH.search(path)
        model, action = (unquote(found[1]), found[2]) if found is not None else ("", "")
        if action.startswith("invoke"):
            attributes = parameters_of(body)
        else:
            attributes = parameters(field(body, "inferenceConfig"), _PARAMETERS)
            output = field(body, "outputConfig")
            if text(output, "effort"):
                attributes[semconv.GEN_AI_REQUEST_REASONING_LEVEL] = text(output, "effort")
            if field(output, "textFormat"):
                attributes[semconv.GEN_AI_OUTPUT_TYPE] = "json"
        if action in ("converse", "invoke"):
            attributes[semconv.GEN_AI_REQUEST_STREAM] = False
        return {"operation": semconv.CHAT, "model": model, "attributes": attributes}

    def feed(self, data: Any, at: int) -> Signals:
        try:
            if data.__class__ is ServerSentEvent:
                kind, event = data.type, loaded(data)
            else:
                ((kind, event),) = data.items()
            if kind == "contentBlockDelta" and not self._over:
                piece = event["delta"]["text"]
                if piece.__class__ is str and piece:
                    return Chunk(RUN, at, TEXT, piece)
        except Exception:
            pass  # all else
        if self._over:
            return NOTHING
        if data.__class__ is ServerSentEvent:
            if data.id:  # an exception or an error, which are told in it
                return self._failed(data.type, loaded(data), at)
            return self._event(data.type, loaded(data), at)
        return self._union(loaded(data), at, plain=getattr(data, "whole", False))

    def finish(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        if self._stopped:
            return self._end(at)
        return self._invoked.finish(at) if self._invoked is not None else NOTHING

    untold = finish

    def _union(self, data: Any, at: int, *, plain: bool = False) -> Signals:
        """A dict with one event under its name; or a plain answer."""
        if data.__class__ is not dict:
            return NOTHING
        kind = next((name for name in data if name in _HANDLERS or name in EXCEPTIONS), "")
        if kind:
            return self._event(kind, data[kind], at)
        if "output" in data and "stopReason" in data:
            return self._answer(data, at)
        if not plain:
            return NOTHING
        self._over = True
        return Invoked().plain(data, at)

    def _event(self, kind: str, event: Any, at: int) -> Signals:
        if kind in EXCEPTIONS:
            return self._failed(kind, event, at)
        handler = _HANDLERS.get(kind)
        return handler(self, event, at) if handler is not None else NOTHING

    def _end(
        self, at: int, outcome: Outcome = Outcome.COMPLETED, error_type: str = "", message: str = ""
    ) -> tuple[Signal, ...]:
        self._over = True
        return (Closed(RUN, at, outcome, error_type, message),)

    def _failed(self, kind: str, event: Any, at: int) -> Signals:
        return self._end(at, Outcome.FAILED, kind, word(field(event, "message")) or word(field(event, "Message")))

    # The events -----------------------------------------------------------------------------------------------

    def _start(self, event: Any, at: int) -> Signals:
        start = field(event, "start")
        call, result = field(start, "toolUse"), field(start, "toolResult")
        if call is not None:
            self._calls.begin(field(event, "contentBlockIndex"), _call(call))
        id_ = word(field(result, "toolUseId"))
        if not id_:
            return NOTHING
        if word(field(result, "status")) == "error":
            return (Closed(f"tool:{id_}", at, Outcome.FAILED, "tool_error"),)
        return (Closed(f"tool:{id_}", at),)

    def _delta(self, event: Any, at: int) -> Signals:
        delta = field(event, "delta")
        piece = word(field(delta, "text"))
        if piece:
            return Chunk(RUN, at, TEXT, piece)
        piece = word(field(field(delta, "toolUse"), "input"))
        if piece:
            self._calls.add(field(event, "contentBlockIndex"), piece)
            return Chunk(RUN, at, TOOL_CALL, piece)
        reasoning = field(delta, "reasoningContent")
        piece = word(field(reasoning, "text"))
        if piece or field(reasoning, "redactedContent"):
            return Chunk(RUN, at, REASONING, piece)
        return Chunk(RUN, at, "image", "") if field(field(delta, "image"), "source") else NOTHING

    def _stop(self, event: Any, at: int) -> Signals:
        return self._calls.end(field(event, "contentBlockIndex"), at)

    def _message_start(self, event: Any, at: int) -> Signals:
        return NOTHING

    def _message_stop(self, event: Any, at: int) -> Signals:
        self._stopped = True
        reason = word(field(event, "stopReason"))
        if not reason:
            return NOTHING
        return (Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: (FINISH_REASONS.get(reason, reason),)}),)

    def _metadata(self, event: Any, at: int) -> Signals:
        return (*_used(field(event, "usage"), at), *self._end(at))

    def _chunk(self, event: Any, at: int) -> Signals:
        inner = payload(event)
        if inner.__class__ is dict and any(name in _CONVERSE for name in inner):
            return self._union(inner, at)
        if self._invoked is None:
            self._invoked = Invoked()
        signals = self._invoked.feed(inner, at)
        self._over = self._invoked.over
        return signals

    def _answer(self, body: Any, at: int) -> Signals:
        """A plain answer of Converse: nothing was streamed."""
        signals: list[Signal] = [*self._message_stop(body, at), *_used(field(body, "usage"), at)]
        content = field(field(field(body, "output"), "message"), "content")
        for block in content if isinstance(content, list | tuple) else ():
            asked = field(block, "toolUse")
            if asked is not None:
                call = _call(asked)
                call.add(json_text(field(asked, "input")))
                if not call.here:
                    signals.append(call.complete(at))
        return (*signals, *self._end(at))


def _call(asked: Any) -> Call:
    here = word(field(asked, "type")) == "server_tool_use"
    return Call(word(field(asked, "name")), word(field(asked, "toolUseId")), here=here)


def _used(usage: Any, at: int) -> tuple[Signal, ...]:
    taken, given = count(field(usage, "inputTokens")), count(field(usage, "outputTokens"))
    read, write = count(field(usage, "cacheReadInputTokens")), count(field(usage, "cacheWriteInputTokens"))
    if taken is None and given is None:
        return ()
    if taken is not None:
        taken += (read or 0) + (write or 0)
    return (Usage(RUN, at, taken, given, read, write),)


_Handler = Callable[[Bedrock, Any, int], Signals]
_CONVERSE: Final[Mapping[str, _Handler]] = {
    "messageStart": Bedrock._message_start,
    "contentBlockStart": Bedrock._start,
    "contentBlockDelta": Bedrock._delta,
    "contentBlockStop": Bedrock._stop,
    "messageStop": Bedrock._message_stop,
    "metadata": Bedrock._metadata,
}
_HANDLERS: Final[Mapping[str, _Handler]] = {**_CONVERSE, "chunk": Bedrock._chunk}
