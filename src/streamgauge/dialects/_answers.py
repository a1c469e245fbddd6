"""What the answers of model APIs have in common, whoever's they are: words, counts, failures, tools asked for."""

from __future__ import annotations

import re
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._dialect import field
from streamgauge.dialects._parameters import is_object, text
from streamgauge.signals import RUN, TOOL_REQUESTED, Closed, Noted
from streamgauge.wire import Outcome

__all__ = [
    "AUDIO",
    "IMAGE",
    "count",
    "failure",
    "first",
    "frame",
    "json_text",
    "output_type",
    "plain_answer",
    "requested",
    "word",
]

AUDIO: Final = "audio"
"""The kind of a chunk of sound; its text is base64."""
IMAGE: Final = "image"
"""The kind of a chunk that is a picture; its text is base64, or a URL that mostly has the picture in it."""

_ONE_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_OUTPUT_TYPES: Final = {"text": "text", "json_object": "json", "json_schema": "json"}


def word(value: Any) -> str:
    """The value, where it is text; else nothing."""
    return value if value.__class__ is str else value.value if _is_word(value) else ""


def _is_word(value: Any) -> bool:
    """An SDK's enum of text."""
    return isinstance(value, str) and getattr(value, "value", None).__class__ is str


def count(value: Any) -> int | None:
    """The value, where it is a count; some APIs write theirs as floats."""
    if value.__class__ is int:
        return int(value) if value >= 0 else None
    return int(value) if value.__class__ is float and value >= 0 and value.is_integer() else None


def first(*counts: int | None) -> int | None:
    """The first that is known."""
    return next((each for each in counts if each is not None), None)


def frame(data: Any) -> str:
    """Framed data that is no JSON, as text: a mark, or an error in words."""
    data = getattr(data, "data", data)
    if isinstance(data, bytes | bytearray):
        return data.decode("utf-8", "replace").strip()
    return data.strip() if isinstance(data, str) else ""


def failure(at: int, error: Any) -> Closed:
    """The end of a run by the error that the stream told: an object, or its words alone."""
    kinds = [field(error, name) for name in ("code", "type")] if not isinstance(error, str) else []
    words = [kind for kind in kinds if isinstance(kind, str) and _ONE_WORD.fullmatch(kind)]
    numbers = [str(kind) for kind in kinds if kind.__class__ is int]
    message = word(error) or word(field(error, "message"))
    return Closed(RUN, at, Outcome.FAILED, next(iter(words + numbers), ""), message)


def requested(at: int, name: str, id_: str, arguments: Any = None, event: str = TOOL_REQUESTED) -> Noted:
    """The model asks for a tool call."""
    facts: dict[str, Any] = {semconv.GEN_AI_TOOL_NAME: name, semconv.GEN_AI_TOOL_CALL_ID: id_}
    facts[semconv.GEN_AI_TOOL_CALL_ARGUMENTS] = json_text(arguments)
    return Noted(RUN, at, {name: value for name, value in facts.items() if value}, event)


def json_text(value: Any) -> str:
    """Arguments as text: most APIs have them so, and some have the JSON value."""
    if value.__class__ is str:
        return str(value)
    if value.__class__ is not dict:
        return ""
    import json  # seldom

    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):  # of a program's own making
        return ""


def plain_answer(body: Any) -> dict[str, Any]:
    """The attribute that tells that no stream was asked for; none where the body is not known."""
    return {semconv.GEN_AI_REQUEST_STREAM: False} if is_object(body) and body.get("stream") is not True else {}


def output_type(format_: Any) -> dict[str, Any]:
    """The attribute of what form of output was asked for."""
    kind = _OUTPUT_TYPES.get(text(format_, "type"))
    return {semconv.GEN_AI_OUTPUT_TYPE: kind} if kind else {}
