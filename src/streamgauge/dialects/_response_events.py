"""The events of the Responses API, over whichever wire they come, or a whole response: what each tells.

The run is the model call; tools that the service runs itself are `execute_tool` spans below it, from where the model
has written what they need to where they are done. Tools that the caller is to run are asked for, no more. After an end
each `response.created` is a new run.

Source: as in `openai_responses`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import AUDIO, IMAGE, count, failure, output_type, plain_answer, word
from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded
from streamgauge.dialects._parameters import parameters, text
from streamgauge.dialects._response_items import Items
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Closed, Noted, Opened, Signal, Signals, Usage
from streamgauge.wire import Granularity, Outcome, ServerSentEvent

__all__ = ["ResponseEvents"]

_PARAMETERS: Final = {
    "max_output_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "top_p": semconv.GEN_AI_REQUEST_TOP_P,
}
_REASONING: Final = {"effort": semconv.GEN_AI_REQUEST_REASONING_LEVEL}
_INCOMPLETE: Final = {"max_output_tokens": "length"}
"""Why a response is incomplete, where the conventions call it otherwise."""
_DELTAS: Final[Mapping[str, str]] = {
    "response.output_text.delta": TEXT,
    "response.refusal.delta": TEXT,
    "response.reasoning_text.delta": REASONING,
    "response.reasoning_summary_text.delta": REASONING,
    "response.function_call_arguments.delta": TOOL_CALL,
    "response.custom_tool_call_input.delta": TOOL_CALL,
    "response.mcp_call_arguments.delta": TOOL_CALL,
    "response.code_interpreter_call_code.delta": TOOL_CALL,
    "response.shell_call_command.delta": TOOL_CALL,
    "response.audio.transcript.delta": TEXT,
    "response.audio.delta": AUDIO,
}
"""Events that are one more piece of what the model makes: its kind."""
_SILENT: Final = (
    "response.audio.done", "response.audio.transcript.done", "response.code_interpreter_call.in_progress",
    "response.compaction.compacting", "response.content_part.added", "response.content_part.done",
    "response.custom_tool_call_input.done", "response.file_search_call.in_progress",
    "response.file_search_call.searching", "response.function_call_arguments.done",
    "response.image_generation_call.generating", "response.image_generation_call.in_progress",
    "response.mcp_call.in_progress", "response.mcp_list_tools.completed", "response.mcp_list_tools.failed",
    "response.mcp_list_tools.in_progress", "response.output_text.annotation.added", "response.output_text.done",
    "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.done", "response.reasoning_text.done", "response.refusal.done",
    "response.shell_call_command.added", "response.shell_call_command.done", "response.shell_call_output_content.delta",
    "response.shell_call_output_content.done", "response.steer.accepted", "response.steer.failed",
    "response.steer.pending", "response.web_search_call.in_progress", "response.web_search_call.searching",
)  # fmt: skip


class ResponseEvents(Dialect):
    """The responses of one stream or connection."""

    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.TOKEN
    provider_name = "openai"
    framing = "sse"
    alike = ("delta",)
    noise = ("sequence_number", "obfuscation")
    events: ClassVar[Mapping[str, str]] = {
        "response.created": "the response's id, model and conversation; after a response's end a new run",
        "response.queued": "the same",
        "response.in_progress": "the same",
        "response.output_item.added": "the start of a web search, a file search or an image; the others' later",
        "response.output_item.done": "a tool that is asked for; the end of one that the service runs, or its start",
        **{event: f"a chunk of {kind.replace('_', '-')}" for event, kind in _DELTAS.items()},
        "response.image_generation_call.partial_image": "a chunk of kind `image`, as base64",
        "response.code_interpreter_call_code.done": "the start of the tool",
        "response.code_interpreter_call.interpreting": "the start of the tool, where it has not begun",
        "response.mcp_call_arguments.done": "the start of the tool",
        "response.code_interpreter_call.completed": "the end of the tool",
        "response.file_search_call.completed": "the end of the tool",
        "response.image_generation_call.completed": "the end of the tool",
        "response.mcp_call.completed": "the end of the tool",
        "response.mcp_call.failed": "the end of the tool, `failed`",
        "response.web_search_call.completed": "the end of the tool",
        "response.completed": "finish reason, tokens, the end of the run",
        "response.incomplete": "the same; the finish reason says why",
        "response.failed": "tokens, the end of the run, `failed`",
        "response.cancelled": "tokens, the end of the run, `cancelled`",
        "error": "the end of the run, `failed`",
        **dict.fromkeys(_SILENT, "nothing"),
    }

    __slots__ = ("_deltas", "_items", "_named", "_over")

    def __init__(self) -> None:
        super().__init__()
        self._over = False
        self._begin()

    def _begin(self) -> None:
        self._deltas = _DELTAS
        self._named = False  # the response's id and model have been told
        self._items = Items()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        attributes = parameters(body, _PARAMETERS)
        conversation = ""
        if isinstance(body, Mapping):
            attributes |= parameters(body.get("reasoning"), _REASONING)
            form = body.get("text")
            attributes |= output_type(form.get("format") if isinstance(form, Mapping) else None)
            conversation = text(body, "conversation") or text(body.get("conversation"), "id")
        return {
            "operation": semconv.CHAT,
            "model": text(body, "model"),
            "conversation_id": conversation or text(body, "previous_response_id"),
            "attributes": attributes | plain_answer(body),
        }

    def feed(self, data: Any, at: int) -> Signals:
        event = loaded(data) if data.__class__ is ServerSentEvent else data
        if event.__class__ is dict:
            type_ = event.get("type")
            if type_.__class__ is str:
                kind = self._deltas.get(type_)
                if kind is not None:
                    text = event.get("delta")
                    return Chunk(RUN, at, kind, text) if text.__class__ is str and text else NOTHING
        elif isinstance(event, str | bytes | bytearray):
            event = loaded(event)
            return self.feed(event, at) if event.__class__ is dict else NOTHING
        else:
            type_ = field(event, "type")
            kind = self._deltas.get(type_) if type_.__class__ is str else None
            if kind is not None:
                text = field(event, "delta")
                return Chunk(RUN, at, kind, text) if text.__class__ is str and text else NOTHING
        if type_.__class__ is not str:
            type_ = data.type if data is not event else ""  # of a frame whose data has none
        return self._told(type_, event, at)

    def _told(self, type_: str, event: Any, at: int) -> Signals:
        signals: list[Signal] = []
        if self._over:
            if type_ not in _BEGINNINGS:
                return NOTHING
            self._over = False
            self._begin()
            signals.append(Opened(RUN, at, semconv.CHAT))
        read = _EVENTS.get(type_)
        if read is not None:
            read(self, event, at, signals)
        elif field(event, "object") == "response":
            self._ended(event, word(field(event, "status")) or "completed", at, signals)
        elif type_ in ("", "message"):
            error = field(event, "error")
            if error:
                self._end(failure(at, error), signals)
        return signals

    # The response ---------------------------------------------------------------------------------------------

    def _begun(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._name(field(event, "response"), at, signals)

    def _name(self, response: Any, at: int, signals: list[Signal]) -> None:
        if self._named or response is None:
            return
        facts = {
            semconv.GEN_AI_RESPONSE_ID: word(field(response, "id")),
            semconv.GEN_AI_RESPONSE_MODEL: word(field(response, "model")),
            semconv.GEN_AI_CONVERSATION_ID: word(field(field(response, "conversation"), "id")),
        }
        if any(facts.values()):
            self._named = True
            signals.append(Noted(RUN, at, {name: value for name, value in facts.items() if value}))

    def _completed(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._ended(field(event, "response"), "completed", at, signals)

    def _incomplete(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._ended(field(event, "response"), "incomplete", at, signals)

    def _failed(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._ended(field(event, "response"), "failed", at, signals)

    def _cancelled(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._ended(field(event, "response"), "cancelled", at, signals)

    def _ended(self, response: Any, status: str, at: int, signals: list[Signal]) -> None:
        """The whole response, streamed or not. One that is queued is a whole answer too, though its call goes on."""
        self._name(response, at, signals)
        output = field(response, "output")
        for item in output if isinstance(output, list) else ():
            self._items.ask(item, at, signals)
        reason = ""
        if status == "completed":
            reason = "tool_call" if self._items.asked else "stop"
        elif status == "incomplete":
            reason = word(field(field(response, "incomplete_details"), "reason"))
        if reason:
            reasons = (_INCOMPLETE.get(reason, reason),)
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_FINISH_REASONS: reasons}))
        usage = _usage(field(response, "usage"), at)
        if usage is not None:
            signals.append(usage)
        if status == "failed":
            self._end(failure(at, field(response, "error")), signals)
        else:
            self._end(Closed(RUN, at, Outcome.CANCELLED if status == "cancelled" else Outcome.COMPLETED), signals)

    def _error(self, event: Any, at: int, signals: list[Signal]) -> None:
        error = field(event, "error")  # over a WebSocket
        own = {"code": field(event, "code"), "message": field(event, "message")}
        self._end(failure(at, error or own), signals)

    def _end(self, closed: Closed, signals: list[Signal]) -> None:
        signals.append(closed)
        self._over = True
        self._deltas = {}

    # What it puts out -----------------------------------------------------------------------------------------

    def _added(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.added(field(event, "item"), at, signals)

    def _done(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.done(field(event, "item"), at, signals)

    def _runs(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.runs(word(field(event, "item_id")), at, signals)

    def _ran(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.ran(word(field(event, "item_id")), at, signals)

    def _ran_in_vain(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._items.ran(word(field(event, "item_id")), at, signals, "tool_error")

    def _image(self, event: Any, at: int, signals: list[Signal]) -> None:
        image = word(field(event, "partial_image_b64"))
        if image:
            signals.append(Chunk(RUN, at, IMAGE, image))


def _usage(usage: Any, at: int) -> Usage | None:
    """The tokens of a response; None where it tells none."""
    taken, given = count(field(usage, "input_tokens")), count(field(usage, "output_tokens"))
    if not taken and not given:
        return None
    read = field(usage, "input_tokens_details")
    return Usage(
        RUN,
        at,
        taken,
        given,
        count(field(read, "cached_tokens")),
        count(field(read, "cache_write_tokens")),
        count(field(field(usage, "output_tokens_details"), "reasoning_tokens")),
    )


_EVENTS: Final[Mapping[str, Callable[[ResponseEvents, Any, int, list[Signal]], None]]] = {
    "response.created": ResponseEvents._begun,
    "response.queued": ResponseEvents._begun,
    "response.in_progress": ResponseEvents._begun,
    "response.output_item.added": ResponseEvents._added,
    "response.output_item.done": ResponseEvents._done,
    "response.image_generation_call.partial_image": ResponseEvents._image,
    "response.code_interpreter_call_code.done": ResponseEvents._runs,
    "response.code_interpreter_call.interpreting": ResponseEvents._runs,
    "response.mcp_call_arguments.done": ResponseEvents._runs,
    "response.code_interpreter_call.completed": ResponseEvents._ran,
    "response.file_search_call.completed": ResponseEvents._ran,
    "response.image_generation_call.completed": ResponseEvents._ran,
    "response.mcp_call.completed": ResponseEvents._ran,
    "response.mcp_call.failed": ResponseEvents._ran_in_vain,
    "response.web_search_call.completed": ResponseEvents._ran,
    "response.completed": ResponseEvents._completed,
    "response.incomplete": ResponseEvents._incomplete,
    "response.failed": ResponseEvents._failed,
    "response.cancelled": ResponseEvents._cancelled,
    "error": ResponseEvents._error,
}
_BEGINNINGS: Final = frozenset({"response.created", "response.queued"})
"""What the next response of a connection begins with."""
