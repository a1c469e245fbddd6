"""The messages of a LangGraph run, as LangChain writes them in JSON: messages in, signals out.

They come in pieces (`messages`), cumulatively (`messages/partial`) or whole (`updates`, `values`, `messages/complete`).
Where a run is asked for in several of these forms, each message comes in several: the text, and what it cost, is taken
from the first form that brings any, and whole messages count only where there are no pieces. The result of a tool is
a message too: it ends the tool's execution, in whatever form it comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import count, json_text, word
from streamgauge.dialects._tool_calls import ToolCalls
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Noted, Signal, Usage
from streamgauge.wire import Granularity, Outcome

__all__ = ["COMPLETE", "EVENTS", "PARTIAL", "PIECES", "Messages", "error_word"]

PIECES: Final = "messages"
PARTIAL: Final = "messages/partial"
EVENTS: Final = "events"
COMPLETE: Final = "whole"

_MODEL: Final = frozenset({"AIMessageChunk", "ai", "AIMessage"})
_TOOL: Final = frozenset({"tool", "ToolMessage", "ToolMessageChunk"})
_REASONS: Final = {
    "tool_calls": "tool_call", "tool_use": "tool_call", "end_turn": "stop", "STOP": "stop", "max_tokens": "length",
    "MAX_TOKENS": "length", "stop_sequence": "stop",
}  # fmt: skip
_NOTHING_USED: Final[list[int | None]] = [None] * 5
_MOST: Final = 4096  # messages that are remembered; beyond it the oldest is forgotten


class Messages:
    """What the messages of one run have told so far."""

    __slots__ = ("_indexes", "_told", "_total", "_used", "calls", "form", "known")

    def __init__(self) -> None:
        self.form = ""
        """The form that the text is taken from."""
        self.calls = ToolCalls()
        self.known: dict[str, dict[str, int]] = {}
        """Messages, by id: how much of each kind came."""
        self._indexes: dict[tuple[str, Any], str] = {}  # of tool calls in pieces: their ids
        self._used: dict[str, list[int | None]] = {}
        self._total = list(_NOTHING_USED)
        self._told: dict[str, Any] = {}  # facts that were noted

    def takes(self, form: str) -> bool:
        """Whether text is taken from this form."""
        return self.form in ("", form) or self.form == COMPLETE

    def seen(self, message: Any) -> None:
        """It was there before the run: nothing of it is generated."""
        self._lengths(_id(message))

    def piece(self, message: Any, at: int, form: str = PIECES, key: str = RUN) -> Iterator[Signal]:
        """What a message grew by."""
        kind = message.get("type") if message.__class__ is dict else None
        if kind in _TOOL:
            yield from self._result(message, at)
        if kind not in _MODEL or not self.takes(form):
            return
        id_ = _id(message)
        if kind != "AIMessageChunk" and id_ in self.known:
            return  # the whole of what has come in pieces
        self.form = form
        lengths = self._lengths(id_)
        for what, text in _texts(message):
            lengths[what] = lengths.get(what, 0) + len(text)
            yield Chunk(key, at, what, text)
        pieces = _list(message, "tool_call_chunks")
        for piece in pieces:
            yield from self._call_piece(id_, piece, at, key)
        if not pieces:
            yield from self._calls(message, at, key, lengths)
        yield from self._cost(id_, message, at, key, adds=True)
        yield from self._facts(message, at, key)

    def grown(self, message: Any, at: int) -> Iterator[Signal]:
        """A message so far."""
        kind = message.get("type") if message.__class__ is dict else None
        if kind in _TOOL:
            yield from self._result(message, at)
        if kind not in _MODEL or not self.takes(PARTIAL):
            return
        self.form = PARTIAL
        id_ = _id(message)
        lengths = self._lengths(id_)
        whole: dict[str, str] = {}
        for what, text in _texts(message):
            whole[what] = whole.get(what, "") + text
        for what, text in whole.items():
            yield from _growth(lengths, what, what, text, at)
        for number, piece in enumerate(_list(message, "tool_call_chunks") or _list(message, "tool_calls")):
            call = word(piece.get("id"))
            arguments = piece.get("args")
            self.calls.asked(call, word(piece.get("name")), at)
            for chunk in _growth(lengths, f"call:{number}", TOOL_CALL, json_text(arguments), at):
                self.calls.grew(call, chunk.text, at)
                yield chunk
        yield from self._cost(id_, message, at, RUN, adds=False)
        yield from self._facts(message, at, RUN)

    def whole(self, message: Any, at: int) -> Iterator[Signal]:
        """A complete message."""
        kind = message.get("type") if message.__class__ is dict else None
        if kind in _TOOL:
            yield from self._result(message, at)
        id_ = _id(message)
        if kind not in _MODEL or self.form not in ("", COMPLETE) or not id_ or id_ in self.known:
            return
        if not self.form:
            yield Noted(RUN, at, {semconv.STREAMGAUGE_STREAM_GRANULARITY: str(Granularity.MESSAGE)})
        self.form = COMPLETE
        lengths = self._lengths(id_)
        yield from (Chunk(RUN, at, what, text) for what, text in _texts(message))
        yield from self._calls(message, at, RUN, lengths)
        yield from self._cost(id_, message, at, RUN, adds=False)
        yield from self._facts(message, at, RUN)

    def _lengths(self, id_: str) -> dict[str, int]:
        lengths = self.known.get(id_)
        if lengths is None:
            if len(self.known) >= _MOST:
                oldest = next(iter(self.known))
                del self.known[oldest]
            lengths = self.known[id_] = {}
        return lengths

    # Tools ----------------------------------------------------------------------------------------------------

    def _call_piece(self, message: str, piece: Mapping[str, Any], at: int, key: str) -> Iterator[Signal]:
        index, id_ = piece.get("index"), word(piece.get("id"))
        place = (message, index if index.__class__ in (int, str) else None)
        if id_:
            if len(self._indexes) >= _MOST:
                self._indexes.clear()
            self._indexes[place] = id_
        id_ = self._indexes.get(place, "")
        if id_:
            self.calls.asked(id_, word(piece.get("name")), at)
        arguments = word(piece.get("args"))
        if arguments:
            self.calls.grew(id_, arguments, at)
            yield Chunk(key, at, TOOL_CALL, arguments)

    def _calls(self, message: Mapping[str, Any], at: int, key: str, lengths: dict[str, int]) -> Iterator[Signal]:
        """Tool calls that come whole."""
        for call in _list(message, "tool_calls"):
            id_, arguments = word(call.get("id")), json_text(call.get("args"))
            if f"call:{id_}" in lengths:
                continue
            lengths[f"call:{id_}"] = len(arguments)
            self.calls.asked(id_, word(call.get("name")), at)
            self.calls.complete(id_, at, arguments)
            if arguments:
                yield Chunk(key, at, TOOL_CALL, arguments)

    def _result(self, message: Mapping[str, Any], at: int) -> list[Signal]:
        id_, content = word(message.get("tool_call_id")), message.get("content")
        if message.get("status") != "error":
            return self.calls.ended(id_, at, content)
        return self.calls.ended(id_, at, content, Outcome.FAILED, "tool_error", word(content)[:1024])

    # What it cost, and what it says of itself -----------------------------------------------------------------

    def _cost(self, id_: str, message: Mapping[str, Any], at: int, key: str, *, adds: bool) -> Iterator[Signal]:
        usage = message.get("usage_metadata")
        if usage.__class__ is not dict:
            return
        into, out = usage.get("input_token_details"), usage.get("output_token_details")
        into, out = into if isinstance(into, Mapping) else {}, out if isinstance(out, Mapping) else {}
        found = [
            count(usage.get("input_tokens")), count(usage.get("output_tokens")), count(into.get("cache_read")),
            count(into.get("cache_creation")), count(out.get("reasoning")),
        ]  # fmt: skip
        if not any(found):
            return  # zeros are what some providers' pieces have before the last
        own = key != RUN  # a model call that has a span
        before = self._used.get(id_, _NOTHING_USED)
        now = _sum(before, found) if adds else found
        if id_ not in self._used and len(self._used) >= _MOST:
            del self._used[next(iter(self._used))]
        self._used[id_] = now
        for index, (was, is_) in enumerate(zip(before, now, strict=True)):
            if is_ is not None:
                self._total[index] = (self._total[index] or 0) + is_ - (was or 0)
        yield Usage(key, at, *(now if own else self._total))

    def _facts(self, message: Mapping[str, Any], at: int, key: str) -> Iterator[Signal]:
        said = message.get("response_metadata")
        if said.__class__ is not dict or not said:
            return
        reason = word(said.get("finish_reason")) or word(said.get("stop_reason"))
        model = word(said.get("model_name")) or word(said.get("model"))
        facts: dict[str, Any] = {semconv.GEN_AI_RESPONSE_MODEL: model} if model else {}
        if reason:
            facts[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = (_REASONS.get(reason, reason),)
        if key == RUN:
            facts = {name: value for name, value in facts.items() if self._told.get(name) != value}
            self._told.update(facts)
        if facts:
            yield Noted(key, at, facts)


def _growth(lengths: dict[str, int], place: str, kind: str, text: str, at: int) -> Iterator[Chunk]:
    before = lengths.get(place, 0)
    lengths[place] = len(text)
    if len(text) > before:
        yield Chunk(RUN, at, kind, text[before:])


def _texts(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, text) of what the model says, in the forms that LangChain's providers have."""
    content = message.get("content")
    extra = message.get("additional_kwargs")
    if extra.__class__ is dict and extra:
        thought = word(extra.get("reasoning_content"))
        if thought:
            yield REASONING, thought
    if content.__class__ is str:
        if content:
            yield TEXT, content
        return
    for part in content if content.__class__ is list else ():
        if part.__class__ is str and part:
            yield TEXT, part
        elif part.__class__ is dict:
            kind = part.get("type")
            if kind == "text" and word(part.get("text")):
                yield TEXT, part["text"]
            elif kind in ("thinking", "reasoning"):
                thought = word(part.get("thinking")) or word(part.get("reasoning"))
                thought = thought or "".join(word(each.get("text")) for each in _list(part, "summary"))
                if thought:
                    yield REASONING, thought


def _list(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    return [each for each in found if each.__class__ is dict] if found.__class__ is list else []


def _id(message: Any) -> str:
    return word(message.get("id")) if message.__class__ is dict else ""


def _sum(some: list[int | None], more: list[int | None]) -> list[int | None]:
    """Of each kind, what is known, added up."""
    return [each if one is None else one + (each or 0) for one, each in zip(some, more, strict=True)]


def error_word(text: Any) -> str:
    """The exception's name of an error that is told as its `repr`."""
    return code(word(text).partition("(")[0])
