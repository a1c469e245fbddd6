"""The parts of Gemini's content, and its counts of tokens: in the API's words and in the SDK's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, json_text, requested, word
from streamgauge.dialects._dialect import field
from streamgauge.dialects._parameters import parameters, text
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Opened, Signal, Usage
from streamgauge.wire import Outcome

__all__ = ["CODE", "REASONS", "Parts", "configured", "either", "used"]

CODE: Final = "code_execution"
"""The tool that runs what the model writes, on Google's side."""

_FILTERED: Final = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
)  # fmt: skip
_MISMADE: Final = (
    "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
)  # fmt: skip
REASONS: Final[Mapping[str, str]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
    **dict.fromkeys(_MISMADE, "error"),
}
"""Finish reasons that the conventions have a word for."""

_PARAMETERS: Final = {
    "maxOutputTokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "topP": semconv.GEN_AI_REQUEST_TOP_P,
    "topK": semconv.GEN_AI_REQUEST_TOP_K,
    "stopSequences": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
    "candidateCount": semconv.GEN_AI_REQUEST_CHOICE_COUNT,
    "seed": semconv.GEN_AI_REQUEST_SEED,
    "presencePenalty": semconv.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "frequencyPenalty": semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY,
}
_FAILED: Final = {"OUTCOME_FAILED": "code_failed", "OUTCOME_DEADLINE_EXCEEDED": "timeout"}
_MEDIA: Final = frozenset({"image", "audio", "video"})


def either(data: Any, camel: str, snake: str) -> Any:
    """A field that the API and its SDK spell otherwise."""
    if data.__class__ is dict and camel in data:
        return data[camel]
    return field(data, snake)


def configured(config: Any) -> dict[str, Any]:
    """What a generation's configuration asks for, as attributes."""
    attributes = parameters(config, _PARAMETERS)
    level = text(field(config, "thinkingConfig"), "thinkingLevel")
    if level:
        attributes[semconv.GEN_AI_REQUEST_REASONING_LEVEL] = level.lower()
    if text(config, "responseMimeType") == "application/json":
        attributes[semconv.GEN_AI_OUTPUT_TYPE] = "json"
    return attributes


class Parts:
    """The parts of one answer, as they come."""

    __slots__ = ("_codes",)

    def __init__(self) -> None:
        self._codes = 0  # executions of code so far: most come without an id

    def read(self, part: Any, at: int, signals: list[Signal], *, plain: bool) -> None:
        """Tell what a part is. Of a plain answer only what is asked for: nothing was streamed, nothing has its time."""
        call = either(part, "functionCall", "function_call")
        if call is not None and word(field(call, "name")):
            signals.append(requested(at, word(field(call, "name")), word(field(call, "id")), field(call, "args")))
        if plain:
            return
        piece = field(part, "text")
        if piece is not None:
            if piece.__class__ is str and piece:
                signals.append(Chunk(RUN, at, REASONING if field(part, "thought") is True else TEXT, piece))
        elif call is not None:
            _arguments(call, at, signals)
        else:
            self._tool(part, at, signals)

    def _tool(self, part: Any, at: int, signals: list[Signal]) -> None:
        code = either(part, "executableCode", "executable_code")
        if code is not None:
            self._codes += 1
            text = word(field(code, "code"))
            facts = {semconv.GEN_AI_TOOL_CALL_ARGUMENTS: text} if text else {}
            signals.append(Chunk(RUN, at, TOOL_CALL, text))
            signals.append(Opened(self._key(code), at, semconv.EXECUTE_TOOL, CODE, RUN, facts))
            return
        result = either(part, "codeExecutionResult", "code_execution_result")
        if result is not None:
            failed = _FAILED.get(word(field(result, "outcome")), "")
            signals.append(Closed(self._key(result), at, Outcome.FAILED if failed else Outcome.COMPLETED, failed))
            return
        call = either(part, "toolCall", "tool_call")
        if call is not None:
            name, id_ = word(either(call, "toolType", "tool_type")).lower(), word(field(call, "id"))
            facts = dict(requested(at, "", id_, field(call, "args")).attributes)
            signals.append(Opened(f"tool:{id_ or name}", at, semconv.EXECUTE_TOOL, name, RUN, facts))
            return
        response = either(part, "toolResponse", "tool_response")
        if response is not None:
            name = word(either(response, "toolType", "tool_type")).lower()
            signals.append(Closed(f"tool:{word(field(response, 'id')) or name}", at))
            return
        blob = either(part, "inlineData", "inline_data")
        kind = word(either(blob, "mimeType", "mime_type")).partition("/")[0]
        if kind in _MEDIA:
            signals.append(Chunk(RUN, at, kind, word(field(blob, "data"))))  # the SDK's is bytes, of another size

    def _key(self, code: Any) -> str:
        return f"tool:{word(field(code, 'id')) or self._codes}"


def _arguments(call: Any, at: int, signals: list[Signal]) -> None:
    """The arguments, whole; or, where the request wants them streamed, in pieces, each for one place in them."""
    partial = either(call, "partialArgs", "partial_args")
    if isinstance(partial, list | tuple):
        for each in partial:
            text = word(either(each, "stringValue", "string_value"))
            if text:
                signals.append(Chunk(RUN, at, TOOL_CALL, text))
    elif word(field(call, "name")):
        signals.append(Chunk(RUN, at, TOOL_CALL, json_text(field(call, "args"))))


def used(usage: Any, at: int) -> Usage | None:
    """The tokens of an answer up to now; None where there are none. What Google's tools have put in is input."""
    taken = count(either(usage, "promptTokenCount", "prompt_token_count"))
    by_tools = count(either(usage, "toolUsePromptTokenCount", "tool_use_prompt_token_count"))
    given = count(either(usage, "candidatesTokenCount", "candidates_token_count"))
    if given is None:  # the Live API's word
        given = count(either(usage, "responseTokenCount", "response_token_count"))
    thought = count(either(usage, "thoughtsTokenCount", "thoughts_token_count"))
    cached = count(either(usage, "cachedContentTokenCount", "cached_content_token_count"))
    if taken is None and given is None and thought is None:
        return None
    if taken is not None:
        taken += by_tools or 0
    total = count(either(usage, "totalTokenCount", "total_token_count"))
    inside = given is not None and total == (taken or 0) + given  # some count the thoughts in already
    if thought is not None and not inside:
        given = (given or 0) + thought
    return Usage(RUN, at, taken, given, cached, None, thought)
