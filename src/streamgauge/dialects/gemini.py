"""Gemini's `streamGenerateContent` and `generateContent`: the stream of one answer, or a plain answer.

In go server-sent events (`alt=sse`), the elements of a JSON array (without it), google-genai's objects or their dict
form; out come the model call's chunks, its usage, the tool calls that it asks for, and the execution of tools on
Google's side. Whole numbers of tokens come with every event: they are told when the answer is complete, or has ended.

There is no terminal mark. The answer is complete when every candidate's last word had a finish reason; which is known
only when nothing more comes, since usage may follow, older models send `STOP` with every piece, and some gateways send
it before the first. So the end is told when the source has ended, or the caller has left, as of the last event. What
then comes with another response id is the next call of the SDK's automatic function calling: a run of its own.

Source: google-genai 3.4: `types.py` (GenerateContentResponse and its parts), `models.py` (paths, function calling,
continuation), `_api_client.py` (errors in a stream). Tool-use prompt tokens are not in `promptTokenCount`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import failure, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._gemini_parts import CODE, REASONS, Parts, configured, either, used
from streamgauge.signals import RUN, TEXT, TOOL_REQUESTED, Chunk, Closed, Noted, Opened, Signal, Signals
from streamgauge.wire import Outcome, ServerSentEvent

__all__ = ["FINISH_REASONS", "MAX_CANDIDATES", "Gemini"]

MAX_CANDIDATES: Final = 64
"""Candidates of one answer that are followed. The API gives at most 8."""

FINISH_REASONS: Final = REASONS
"""Those that the conventions have a word for."""

_NO_REASON: Final = "FINISH_REASON_UNSPECIFIED"
_PATH: Final = re.compile(r"/([^/:?]+):(streamGenerateContent|generateContent)(?:\?|$)")


class Gemini(Dialect):
    """A model call of the Gemini API, or of the same API at Vertex AI."""

    name = "gemini"
    system = "Gemini API, generateContent (google-genai 3.4)"
    terminal = True
    # Automatic function calling runs the caller's functions between two chunks.
    only_waits_between_chunks = False
    provider_name = "gcp.gemini"
    framing = "sse"
    paths = (r":streamGenerateContent$", r":generateContent$")
    events: ClassVar[Mapping[str, str]] = {
        "text": "a chunk of text; of reasoning where the part is a thought",
        "functionCall": f"a chunk of tool-call arguments, and the span event {TOOL_REQUESTED}",
        "executableCode": f"a chunk of tool-call arguments, and the start of the tool {CODE}",
        "codeExecutionResult": "the end of that tool; `failed` where its outcome is not OK",
        "toolCall": "the start of a tool on Google's side",
        "toolResponse": "the end of that tool",
        "inlineData": "a chunk of kind `image`, `audio` or `video`",
        "fileData": "nothing: it names a file",
        "functionResponse": "nothing: it is the caller's",
        "finishReason": "finish reason; the answer is complete once every candidate has one and nothing more comes",
        "promptFeedback": "finish reason `content_filter` where the prompt was blocked; the answer is complete",
        "usageMetadata": "usage, told with the finish reason or at the end",
        "responseId": "response id; another one than before begins the next run",
        "modelVersion": "response model",
        "error": "the run fails",
    }

    __slots__ = ("_id", "_last", "_model", "_over", "_owed", "_parts", "_reasons", "_seen", "_told")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._id = ""
        self._model = ""
        self._begin()

    def _begin(self) -> None:
        self._seen = False  # the answer has begun
        self._reasons: dict[int, str] = {}  # of each candidate; empty while it goes on
        self._told: tuple[str, ...] = ()  # the finish reasons that were told
        self._owed: Any = None  # the usage of the last event, where it has not been told
        self._last = 0  # the last event's time
        self._parts = Parts()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        attributes = configured(field(body, "generationConfig") or field(body, "generation_config"))
        told: dict[str, Any] = {"operation": semconv.GENERATE_CONTENT, "attributes": attributes}
        found = _PATH.search(path)
        if found is not None:
            told["model"] = found[1]
            if found[2] == "generateContent":
                attributes[semconv.GEN_AI_REQUEST_STREAM] = False
        if "/publishers/" in path or "/endpoints/" in path:
            told["provider_name"] = "gcp.vertex_ai"
        return told

    def feed(self, data: Any, at: int) -> Signals:
        event = loaded(data) if data.__class__ is ServerSentEvent else data
        try:
            # One piece of text of the only candidate, which goes on. An SDK's objects have their fields in a dict, too.
            fields = event if event.__class__ is dict else event.__dict__
            (candidate,) = fields["candidates"]
            if candidate.__class__ is dict:
                (part,) = candidate["content"]["parts"]
                usage = fields.get("usageMetadata") or fields.get("usage_metadata")
                fits = len(part) == 1 and "finishReason" not in candidate and "finish_reason" not in candidate
                fits = (
                    fits and fields.get("responseId", "") == self._id and not self._reasons[candidate.get("index", 0)]
                )
            else:
                candidate = candidate.__dict__
                (part,) = candidate["content"].__dict__["parts"]
                part, usage = part.__dict__, fields["usage_metadata"]
                fits = part["thought"] is None and candidate["finish_reason"] is None
                fits = fits and (fields["response_id"] or "") == self._id and not self._reasons[candidate["index"] or 0]
            piece = part["text"]
            if fits and piece.__class__ is str and piece and not self._over and not self._told:
                if usage is not None:
                    self._owed = usage
                self._last = at
                return Chunk(RUN, at, TEXT, piece)
        except Exception:
            pass  # all else
        event = loaded(event)
        if self._over or event is None:
            return NOTHING
        return self._read(event, at, plain=getattr(data, "whole", False))

    def finish(self, at: int) -> Signals:
        # A JSON array that ends early is no plain answer, though its media type is that.
        cut = self._seen and not self._over and not self._finished()
        return (*self.untold(at), Closed(RUN, at, Outcome.TRUNCATED)) if cut else self.untold(at)

    def untold(self, at: int) -> Signals:
        if self._over:
            return NOTHING
        self._over = True
        return (*self._paid(at), *self._complete())

    # One event ------------------------------------------------------------------------------------------------

    def _read(self, event: Any, at: int, *, plain: bool) -> Signals:
        error = field(event, "error")
        if error:
            self._over = True
            closed = failure(at, error)
            closed.error_type = word(field(error, "status")) or closed.error_type
            return (*self._paid(at), closed)
        candidates = field(event, "candidates")
        candidates = candidates if isinstance(candidates, list | tuple) else ()
        blocked = either(either(event, "promptFeedback", "prompt_feedback"), "blockReason", "block_reason")
        usage = either(event, "usageMetadata", "usage_metadata")
        if not candidates and not word(blocked) and usage is None:
            return NOTHING
        signals: list[Signal] = []
        self._named(event, at, signals)
        self._seen, self._last = True, at
        if usage is not None:
            self._owed = usage
        for place, candidate in enumerate(candidates):
            self._candidate(candidate, place, at, signals, plain=plain)
        if word(blocked):
            self._reasons = {0: "content_filter"}
        reasons = self._finished()
        if reasons and reasons != self._told:
            self._told = reasons
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: reasons}))
        if reasons:
            signals += self._paid(at)
        if plain:
            signals += self._complete() or (Closed(RUN, at),)
            self._over = True
        return signals

    def _named(self, event: Any, at: int, signals: list[Signal]) -> None:
        """Tell whose the answer is. Another one's begins the next run, where the last is complete."""
        id_ = word(either(event, "responseId", "response_id"))
        model = word(either(event, "modelVersion", "model_version"))
        if id_ and self._id and id_ != self._id and self._finished():
            last = self._last
            signals += self._paid(last)
            signals += self._complete()
            signals.append(Opened(RUN, last, semconv.GENERATE_CONTENT))
            self._model = ""
            self._begin()
        facts = {}
        if id_ and id_ != self._id:
            facts[semconv.GEN_AI_RESPONSE_ID] = self._id = id_
        if model and model != self._model:
            facts[semconv.GEN_AI_RESPONSE_MODEL] = self._model = model
        if facts:
            signals.append(Noted(RUN, at, facts))

    def _candidate(self, candidate: Any, place: int, at: int, signals: list[Signal], *, plain: bool) -> None:
        index = field(candidate, "index")
        index = index if index.__class__ is int else place
        parts = field(field(candidate, "content"), "parts")
        for part in parts if isinstance(parts, list | tuple) else ():
            self._parts.read(part, at, signals, plain=plain)
        if index in self._reasons or len(self._reasons) < MAX_CANDIDATES:
            reason = word(either(candidate, "finishReason", "finish_reason"))
            reason = "" if reason == _NO_REASON else reason
            self._reasons[index] = FINISH_REASONS.get(reason, reason)

    # The end --------------------------------------------------------------------------------------------------

    def _finished(self) -> tuple[str, ...]:
        """The finish reasons, in the candidates' order; empty while any goes on."""
        reasons = self._reasons
        return tuple(reasons[index] for index in sorted(reasons)) if all(reasons.values()) else ()

    def _paid(self, at: int) -> tuple[Signal, ...]:
        """Tell what was used up to now."""
        owed, self._owed = self._owed, None
        usage = used(owed, at) if owed is not None else None
        return (usage,) if usage is not None else ()

    def _complete(self) -> tuple[Signal, ...]:
        """The end of the run, where the answer is complete."""
        return (Closed(RUN, self._last),) if self._finished() else ()
