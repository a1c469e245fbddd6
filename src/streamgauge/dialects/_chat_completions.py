"""The chunks and answers of the "chat completions" form, as OpenAI made it and many others send it.

In go chunks (`choices` with a `delta`), whole answers (`choices` with a `message`), errors and the mark `[DONE]`, as
framed data, as `dict` or as an SDK's objects. Nothing is asked of a server but that form: what only some of them send
is read where it is there, and what is not known is passed over.

An answer is complete with `[DONE]`; where that never comes, when every choice that was seen has its finish reason.

Source: openai 3.54.0, `types/chat/chat_completion_chunk.py`, `types/chat/chat_completion.py`, `types/completion.py`,
`types/completion_usage.py`, `_streaming.py`; of the servers that send more, their own API references.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import AUDIO, IMAGE, failure, frame, json_text, requested, word
from streamgauge.dialects._chat_pieces import calls, details, parts, piece_of_object, thought_or_argument, usage_of
from streamgauge.dialects._dialect import NOTHING, Dialect, field, fields, loaded
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Signal, Signals
from streamgauge.wire import Granularity, Outcome, ServerSentEvent

__all__ = ["ChatCompletions"]

_DONE: Final = "[DONE]"
_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call", "model_length": "length"}
"""Finish reasons that the conventions call otherwise."""
_FAILED: Final = frozenset({"", "error"})
_PLAIN: Final = frozenset({"content", "role"})
"""What a delta has that is text and nothing else; and, in such a chunk, the choice and the chunk."""
_CHOICE: Final = frozenset({"delta", "finish_reason", "index", "logprobs"})
_CHUNK: Final = "chat.completion.chunk"
_LAST: Final = frozenset(
    {"choices", "created", "id", "model", "object", "obfuscation", "service_tier", "system_fingerprint", "usage"}
)
_NO_ID: Final = "null"
"""What mistralai writes for a tool call's id that is not there."""


class ChatCompletions(Dialect):
    """One answer in this form. A subclass names the system, and may know more than chunks."""

    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.TOKEN
    framing = "sse"
    alike: ClassVar[tuple[str, ...]] = ("content", "reasoning_content", "reasoning")
    noise = ("obfuscation",)
    provider_name: ClassVar[str] = "openai"

    __slots__ = ("_asked", "_ids", "_live", "_named", "_over", "_owed", "_reasons", "_told_reasons")

    def __init__(self) -> None:
        super().__init__()
        self._named = False  # the answer's id and model have been told
        self._live: set[int] = set()  # choices whose text needs no second look
        self._reasons: dict[int, str] = {}  # of each choice that was seen; empty until it has one
        self._told_reasons: tuple[str, ...] = ()
        self._owed: Any = None  # the usage of the last chunk, where every chunk has some and it has not been told
        self._ids: dict[tuple[int, Any], str] = {}  # of tool calls, by their place: only the first piece has it
        self._asked: set[Any] = set()  # tool calls that were told
        self._over = False

    def feed(self, data: Any, at: int) -> Signals:
        event = data
        if data.__class__ is ServerSentEvent:
            if data.data == _DONE:
                signals: list[Signal] = []
                if not self._over:
                    self._close(at, signals)
                return signals
            event = loaded(data)
        # One more piece of one kind, and nothing else: what a stream is made of. An error comes without one, or with a
        # finish reason.
        try:
            if event.__class__ is dict:
                (choice,) = event["choices"]
                delta = choice["delta"]
                index, reason = choice["index"], choice.get("finish_reason")
                if index not in self._live:
                    pass
                elif reason is None:
                    text = delta.get("content")
                    if text.__class__ is str and text and (len(delta) == 1 or (len(delta) == 2 and "role" in delta)):
                        chunk: Chunk | None = Chunk(RUN, at, TEXT, text)
                    else:
                        chunk = thought_or_argument(delta, at)
                    if chunk is not None:
                        usage = event.get("usage")
                        if usage is not None:
                            self._owed = usage
                        return chunk
                elif _LAST.issuperset(event) and _CHOICE.issuperset(choice) and _PLAIN.issuperset(delta):
                    text = delta.get("content", "") or ""
                    known = len(self._reasons) == 1 and event["object"] == _CHUNK
                    if known and reason not in _FAILED and text.__class__ is str:
                        return self._last(index, text, reason, event.get("usage"), at)
            else:
                (choice,) = event.choices
                if choice.index in self._live and choice.finish_reason is None:
                    chunk = piece_of_object(choice.delta, at)
                    if chunk is not None:
                        usage = event.usage
                        if usage is not None:
                            self._owed = usage
                        return chunk
        except Exception:
            pass  # all else
        return self._told(data, event, at)

    def _last(self, index: int, text: str, reason: str, usage: Any, at: int) -> list[Signal]:
        """The last chunk of the only choice, with nothing in it but text and tokens: as `_read`, in a third of the
        time."""
        signals: list[Signal] = [Chunk(RUN, at, TEXT, text)] if text else []
        self._reasons[index] = _REASONS.get(reason, reason)
        self._finished(at, signals)
        if usage:
            self._owed = usage
            if not text:
                self._pay(at, signals)
        return signals

    def untold(self, at: int) -> Signals:
        return self._rest(at)

    def finish(self, at: int) -> Signals:
        return self._rest(at)

    def _rest(self, at: int) -> Signals:
        """What is left when no more comes: whoever leaves after the last finish reason has the whole answer."""
        if self._over:
            return NOTHING
        signals: list[Signal] = []
        if self._reasons and all(self._reasons.values()):
            self._close(at, signals)
            return signals
        self._pay(at, signals)
        if any(self._reasons.values()):  # of several choices, some: the others have the conventions' word for that
            self._finished(at, signals, "error")
        return signals

    def _told(self, data: Any, event: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        whole = isinstance(data, str | bytes | bytearray)
        if whole:
            event = loaded(data)
        framed = whole or event is not data
        failed = data.__class__ is ServerSentEvent and data.type == "error"
        signals: list[Signal] = []
        if event is None and framed:
            words = frame(data)
            if words.startswith(_DONE):
                self._close(at, signals)
            elif failed and words:
                self._fail(at, signals, words)
            return signals
        if self._read(event, at, signals, whole, failed):
            return signals
        inner = field(event, "chunk") or field(event, "data")  # the SDKs' own events around a chunk
        if inner and not framed and not isinstance(inner, str | bytes | bytearray):
            return self.feed(inner, at)
        if whole and event is not None:  # a plain answer of another kind, such as a list of answers: it is complete
            self._close(at, signals)
        return signals

    # One event ------------------------------------------------------------------------------------------------

    def _read(self, event: Any, at: int, signals: list[Signal], whole: bool, failed: bool) -> bool:
        """Read a chunk or a whole answer; whether it was one."""
        get = fields(event)
        groq = get("x_groq")
        error = get("error") or (groq is not None and field(groq, "error"))
        if not error and (failed or get("object") == "error"):
            error, failed = event, True
        choices = get("choices")
        known = isinstance(choices, list | tuple)
        if not (known or error or groq or failed):
            return False
        if not self._named:
            self._name(get, at, signals)
        usage = get("usage") or (groq is not None and field(groq, "usage"))
        for choice in choices if known else ():
            of_choice = fields(choice)
            index = of_choice("index")
            index = index if index.__class__ is int else 0
            whole = self._choice(index, of_choice, at, signals, whole)
            error = error or of_choice("error")
            usage = usage or of_choice("usage")
            failed |= self._reasons[index] == "error"
            if self._named:
                self._live.add(index)
        if not (error or failed):
            self._finished(at, signals)
        if usage:
            self._owed = usage
            if not signals or Chunk not in map(type, signals):
                self._pay(at, signals)
        if error or failed:
            self._fail(at, signals, error)
        elif whole:
            self._close(at, signals)
        return True

    def _name(self, get: Callable[[str], Any], at: int, signals: list[Signal]) -> None:
        id_, model = word(get("id")), word(get("model"))
        if not (id_ or model):  # Azure's first chunk has both, and empty
            return
        self._named = True
        facts = {semconv.GEN_AI_RESPONSE_ID: id_, semconv.GEN_AI_RESPONSE_MODEL: model}
        signals.append(Noted(RUN, at, facts if id_ and model else {name: it for name, it in facts.items() if it}))

    def _choice(self, index: int, get: Callable[[str], Any], at: int, signals: list[Signal], whole: bool) -> bool:
        """Read a choice; whether it is one of a whole answer. `whole`: it came as a JSON document."""
        reason = word(get("finish_reason"))
        if reason:
            self._reasons[index] = _REASONS.get(reason, reason)
        else:
            self._reasons.setdefault(index, "")
        delta = get("delta")
        if delta is not None:
            if delta:
                self._delta(index, delta, at, signals)
            return False
        message = get("message")
        if message is not None:
            for call in calls(message):
                self._call(index, call, at, signals, whole=True)
            return True
        text = word(get("text"))
        if text and not whole:  # a legacy completion has one form for the stream and for the whole
            signals.append(Chunk(RUN, at, TEXT, text))
        return whole

    def _delta(self, index: int, delta: Any, at: int, signals: list[Signal]) -> None:
        get = fields(delta)
        content = get("content")
        if content.__class__ is str and delta.__class__ is dict and _PLAIN.issuperset(delta):
            if content:
                signals.append(Chunk(RUN, at, TEXT, content))
            return
        reasoning = word(get("reasoning_content")) or word(get("reasoning"))
        reasoning = reasoning or details(get("reasoning_details"))  # which repeat it, where it is there
        if reasoning:
            signals.append(Chunk(RUN, at, REASONING, reasoning))
        if content:
            signals.extend([Chunk(RUN, at, kind, text) for kind, text in parts(content)])
        refusal = word(get("refusal"))
        if refusal:
            signals.append(Chunk(RUN, at, TEXT, refusal))
        audio = get("audio")
        if audio:
            pieces = ((TEXT, word(field(audio, "transcript"))), (AUDIO, word(field(audio, "data"))))
            signals.extend(Chunk(RUN, at, kind, text) for kind, text in pieces if text)
        images = get("images")
        if isinstance(images, list):
            urls = (word(field(field(image, "image_url"), "url")) for image in images)
            signals.extend(Chunk(RUN, at, IMAGE, url) for url in urls if url)
        for call in calls(delta):
            self._call(index, call, at, signals)

    def _call(self, index: int, call: Any, at: int, signals: list[Signal], *, whole: bool = False) -> None:
        """A piece of a tool call: its first has id and name, all have the arguments' next characters."""
        function = field(call, "function") or field(call, "custom") or call
        arguments = json_text(field(function, "arguments") or field(function, "input"))
        id_, place = word(field(call, "id")), (index, _hashable(field(call, "index")))
        if id_ and id_ != _NO_ID:
            self._ids[place] = id_
        name = word(field(function, "name"))
        if name:
            id_ = self._ids.get(place, "")
            if whole or (id_ or place) not in self._asked:
                self._asked.add(id_ or place)
                signals.append(requested(at, name, id_, arguments if whole else None))
            if whole:
                self._ids.pop(place, None)
        if arguments and not whole:
            signals.append(Chunk(RUN, at, TOOL_CALL, arguments))

    # Ends -----------------------------------------------------------------------------------------------------

    def _finished(self, at: int, signals: list[Signal], otherwise: str = "") -> None:
        """Tell the finish reasons, one for each choice in order, when each has one."""
        found = self._reasons
        # Most have one choice.
        reasons = tuple(found.values() if len(found) == 1 else [found[index] for index in sorted(found)])
        if otherwise:
            reasons = tuple(reason or otherwise for reason in reasons)
        if reasons and all(reasons) and reasons != self._told_reasons:
            self._told_reasons = reasons
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: reasons}))

    def _pay(self, at: int, signals: list[Signal]) -> None:
        """Tell what it has cost so far."""
        owed, self._owed = self._owed, None
        usage = usage_of(owed, at)
        if usage is not None:
            signals.append(usage)

    def _close(self, at: int, signals: list[Signal]) -> None:
        self._end(at, signals, Closed(RUN, at))

    def _fail(self, at: int, signals: list[Signal], error: Any) -> None:
        self._end(at, signals, failure(at, error))

    def _end(self, at: int, signals: list[Signal], closed: Closed) -> None:
        self._pay(at, signals)
        if closed.outcome is not Outcome.COMPLETED and any(self._reasons.values()):
            self._finished(at, signals, "error")
        signals.append(closed)
        self._over = True
        self._live = set()


def _hashable(index: Any) -> Any:
    return index if index.__class__ is int else None
