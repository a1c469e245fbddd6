"""What a chunk or an answer of the "chat completions" form is made of: content, reasoning, tool calls, tokens.

Source: what `_chat_completions` names.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge.dialects._answers import count, first, word
from streamgauge.dialects._dialect import field, fields
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Usage

__all__ = ["calls", "details", "parts", "piece_of_object", "thought_or_argument", "usage_of"]

_PLAIN: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_THINKING: Final = frozenset({"content", "reasoning", "reasoning_content", "reasoning_details", "role"})


def thought_or_argument(delta: dict[str, Any], at: int) -> Chunk | None:
    """The chunk of a delta that is one more piece of reasoning, or of one tool call's arguments, and nothing else.

    Raises: what a delta of another form makes it.
    """
    asked = delta.get("tool_calls")
    if asked is None:
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if text and text.__class__ is str and delta.keys() <= _THINKING and not delta.get("content"):
            return Chunk(RUN, at, REASONING, text)
    elif len(delta) == 1:
        (call,) = asked
        function = call["function"]
        text = function["arguments"]
        if text.__class__ is str and text and not (call.get("id") or function.get("name")):
            return Chunk(RUN, at, TOOL_CALL, text)
    return None


def piece_of_object(delta: Any, at: int) -> Chunk | None:
    """The same of an SDK's object, and of text too: where each attribute that is not there costs a microsecond.

    Raises: what a delta of another form makes it.
    """
    text, asked, extra = delta.content, delta.tool_calls, delta.model_extra
    if asked:
        (call,) = asked
        function = call.function
        arguments = function.arguments
        if arguments.__class__ is str and arguments and not (call.id or function.name or text or extra):
            return Chunk(RUN, at, TOOL_CALL, arguments)
    elif not extra:
        if text.__class__ is str and text:
            return Chunk(RUN, at, TEXT, text)
    elif not text and extra.keys() <= _THINKING:
        text = extra.get("reasoning_content") or extra.get("reasoning")
        if text and text.__class__ is str:
            return Chunk(RUN, at, REASONING, text)
    return None


def usage_of(usage: Any, at: int) -> Usage | None:
    """The tokens of a `usage` object; None where it tells none: a call that took no tokens is a server's blank."""
    if not usage:
        return None
    get = fields(usage)
    taken, given = count(get("prompt_tokens")), count(get("completion_tokens"))
    if not taken and not given:
        return None
    if usage.__class__ is dict and usage.keys() <= _PLAIN:
        return Usage(RUN, at, taken, given)
    read, written = fields(get("prompt_tokens_details")), fields(get("completion_tokens_details"))
    reasoning = first(count(written("reasoning_tokens")), count(get("reasoning_tokens")))
    if taken and given is not None and reasoning and count(get("total_tokens")) == taken + given + reasoning:
        given += reasoning  # xAI counts them apart
    return Usage(
        RUN,
        at,
        taken,
        given,
        first(
            count(read("cached_tokens")),
            count(get("prompt_cache_hit_tokens")),  # DeepSeek
            count(get("cache_read_input_tokens")),  # LiteLLM
            count(get("cached_tokens")),  # Moonshot
        ),
        first(count(read("cache_write_tokens")), count(get("cache_creation_input_tokens"))),
        reasoning,
    )


def parts(content: Any) -> list[tuple[str, str]]:
    """(kind, text) of content that is text, a part or a list of parts; all but text and thinking is left out."""
    if content.__class__ is str:
        return [(TEXT, content)] if content else []
    found: list[tuple[str, str]] = []
    for part in content if isinstance(content, list | tuple) else (content,):
        thinking = field(part, "thinking")
        if thinking:
            texts = thinking if isinstance(thinking, list | tuple) else (thinking,)
            found += [(REASONING, text) for each in texts if (text := word(each) or word(field(each, "text")))]
        else:
            text = word(part) or word(field(part, "text"))
            if text:
                found.append((TEXT, text))
    return found


def details(details: Any) -> str:
    """The text of OpenRouter's reasoning details: text or a summary; what is encrypted is none."""
    if not isinstance(details, list | tuple):
        return ""
    return "".join(word(field(each, "text")) or word(field(each, "summary")) for each in details)


def calls(message: Any) -> list[Any]:
    """The tool calls of a delta or a message; the legacy function call is one without an id."""
    asked = field(message, "tool_calls")
    found = list(asked) if isinstance(asked, list | tuple) else []
    legacy = field(message, "function_call")
    return [*found, legacy] if legacy else found
