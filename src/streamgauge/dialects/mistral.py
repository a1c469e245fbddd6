"""Mistral: chat, fill-in-the-middle and agent completions, and the events of conversations.

Completions are model calls in the form of `_chat_completions`, with content that may be a list of parts. A conversation
is an agent's run: it may call tools of the service, which are `execute_tool` spans, and hand over to other agents,
each a nested run from the hand-over on, with what it says. In go event-stream events, JSON documents, their `dict`
form, or the SDK's own objects.

`/v1/chat/completions` is every such server's path, and read as OpenAI's unless this dialect is named.

Source: mistralai 3.7, `client/models/completionchunk.py`, `conversationevents.py`, `conversationresponse.py`,
`conversationusageinfo.py` and what they name; `client/chat.py`, `fim.py`, `agents.py`, `conversations.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._answers import count, failure, json_text, output_type, plain_answer, requested, word
from streamgauge.dialects._chat_completions import ChatCompletions
from streamgauge.dialects._chat_pieces import parts
from streamgauge.dialects._dialect import NOTHING, field, loaded
from streamgauge.dialects._parameters import parameters, text
from streamgauge.signals import (
    RUN,
    TOOL_CALL,
    TOOL_QUEUED,
    TOOL_REQUESTED,
    Chunk,
    Closed,
    Noted,
    Opened,
    Signal,
    Signals,
    Usage,
)
from streamgauge.wire import ServerSentEvent

__all__ = ["Mistral"]

_PARAMETERS: Final = {
    "frequency_penalty": semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY,
    "max_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "n": semconv.GEN_AI_REQUEST_CHOICE_COUNT,
    "presence_penalty": semconv.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "random_seed": semconv.GEN_AI_REQUEST_SEED,
    "reasoning_effort": semconv.GEN_AI_REQUEST_REASONING_LEVEL,
    "stop": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "top_k": semconv.GEN_AI_REQUEST_TOP_K,
    "top_p": semconv.GEN_AI_REQUEST_TOP_P,
}
_CONVERSATION: Final = re.compile(r"/conversations(?:/([^/?]+)(?:/restart)?)?$")


class Mistral(ChatCompletions):
    """One answer: of a completion, or of a conversation."""

    name = "mistral"
    system = "Mistral API (mistralai 3.7)"
    provider_name = "mistral_ai"
    alike = ("content",)
    paths = (r"/fim/completions$", r"/agents/completions$", r"/conversations(/[^/]+(/restart)?)?$")
    events: ClassVar[Mapping[str, str]] = {
        "delta.content": "a chunk of text, or of reasoning where a part of it is thinking",
        "delta.tool_calls": "a chunk of arguments; with the name, the event of a tool that is asked for",
        "delta.role": "nothing",
        "finish_reason": "the finish reasons, when every choice has one; `error` is the end of the run, `failed`",
        "usage": "the tokens, in total",
        "message": "a whole answer: finish reasons, tools asked for, tokens, the end of the run; no chunk",
        "error": "the end of the run, `failed`",
        "[DONE]": "the end of the run",
        "conversation.response.started": "the conversation's id",
        "message.output.delta": "a chunk of text or of reasoning; the model's name",
        "tool.execution.started": "a tool of the service begins; a chunk, where it has arguments already",
        "tool.execution.delta": "a chunk of arguments",
        "tool.execution.done": "the end of the tool",
        "agent.handoff.started": "the name of the run's agent; the end of the agent that was handed over to before",
        "agent.handoff.done": "a nested run of the next agent",
        "function.call.delta": "a chunk of arguments; at first, the event of a tool that is asked for",
        "conversation.response.done": "tokens, the end of the run",
        "conversation.response.error": "the end of the run, `failed`",
    }

    __slots__ = ("_agent", "_agents", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._agent = RUN  # the key of the run, or nested run, that says what comes
        self._agents = 0
        self._tools: dict[str, str] = {}  # those that are at work, by id: whose they are

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        path = path.partition("?")[0]
        conversation = _CONVERSATION.search(path)
        attributes = parameters(body, _PARAMETERS)
        if isinstance(body, Mapping):
            own = body.get("completion_args")
            attributes |= parameters(own, _PARAMETERS)
            attributes |= output_type((own if isinstance(own, Mapping) else body).get("response_format"))
        agent = text(body, "agent_id")
        if agent:
            attributes[semconv.GEN_AI_AGENT_ID] = agent
        if conversation is None:
            attributes |= plain_answer(body)
        asked = {"model": text(body, "model"), "attributes": attributes}
        if conversation is not None:
            return {**asked, "operation": semconv.INVOKE_AGENT, "conversation_id": conversation[1] or ""}
        fim = path.endswith("/fim/completions")
        return {**asked, "operation": semconv.TEXT_COMPLETION if fim else semconv.CHAT}

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is not ServerSentEvent and data.__class__ is not dict:
            inner = getattr(data, "data", None)  # of an SDK's event
            data = data if inner is None else inner
        return super().feed(data, at)

    def _told(self, data: Any, event: Any, at: int) -> Signals:
        if self._over:
            return NOTHING
        if isinstance(data, str | bytes | bytearray):
            event = loaded(data)
        type_ = field(event, "type")
        if type_.__class__ is not str and data.__class__ is ServerSentEvent:
            type_ = data.type
        read = _EVENTS.get(type_) if type_.__class__ is str else None
        if read is None and field(event, "object") == "conversation.response":
            read = Mistral._answered
        if read is None:
            return super()._told(data, event, at)
        signals: list[Signal] = []
        read(self, event, at, signals)
        return signals

    # Conversations --------------------------------------------------------------------------------------------

    def _started(self, event: Any, at: int, signals: list[Signal]) -> None:
        id_ = word(field(event, "conversation_id"))
        if id_:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_CONVERSATION_ID: id_}))

    def _model(self, event: Any, at: int, signals: list[Signal]) -> None:
        model = word(field(event, "model"))
        if model and not self._named:
            self._named = True
            signals.append(Noted(RUN, at, {semconv.GEN_AI_RESPONSE_MODEL: model}))

    def _output(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._model(event, at, signals)
        content = field(event, "content")
        if content:
            signals.extend(Chunk(self._agent, at, kind, piece) for kind, piece in parts(content))

    def _arguments(self, event: Any, at: int, signals: list[Signal]) -> None:
        arguments = json_text(field(event, "arguments"))
        if arguments:
            signals.append(Chunk(self._agent, at, TOOL_CALL, arguments))

    def _tool_started(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._model(event, at, signals)
        self._arguments(event, at, signals)
        id_ = word(field(event, "id"))
        if id_ and id_ not in self._tools:
            facts = {semconv.GEN_AI_TOOL_CALL_ID: id_, semconv.GEN_AI_TOOL_TYPE: "extension"}
            name = word(field(event, "name"))
            self._tools[id_] = self._agent
            signals.append(Opened(f"tool:{id_}", at, semconv.EXECUTE_TOOL, name, self._agent, facts))

    def _tool_done(self, event: Any, at: int, signals: list[Signal]) -> None:
        id_ = word(field(event, "id"))
        if id_ in self._tools:
            del self._tools[id_]
            signals.append(Closed(f"tool:{id_}", at))

    def _handing_over(self, event: Any, at: int, signals: list[Signal]) -> None:
        name = word(field(event, "previous_agent_name"))
        if name and not self._agents:
            signals.append(Noted(RUN, at, {semconv.GEN_AI_AGENT_NAME: name}))
        self._leave(at, signals)

    def _leave(self, at: int, signals: list[Signal]) -> None:
        """The agent that was handed over to is done, with all that it has at work."""
        if self._agent != RUN:
            self._tools = {id_: agent for id_, agent in self._tools.items() if agent != self._agent}
            signals.append(Closed(self._agent, at))
            self._agent = RUN

    def _handed_over(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._leave(at, signals)
        self._agents += 1
        self._agent = f"agent:{self._agents}"
        id_ = word(field(event, "next_agent_id"))
        facts = {semconv.GEN_AI_AGENT_ID: id_} if id_ else {}
        name = word(field(event, "next_agent_name"))
        signals.append(Opened(self._agent, at, semconv.INVOKE_AGENT, name, attributes=facts))

    def _function_call(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._model(event, at, signals)
        self._ask(event, at, signals)
        self._arguments(event, at, signals)

    def _ask(self, call: Any, at: int, signals: list[Signal], *, whole: bool = False) -> None:
        id_, name = word(field(call, "tool_call_id")), word(field(call, "name"))
        if name and id_ not in self._asked:
            self._asked.add(id_)
            arguments = field(call, "arguments") if whole else None
            event = TOOL_QUEUED if field(call, "confirmation_status") == "pending" else TOOL_REQUESTED
            signals.append(requested(at, name, id_, arguments, event))

    def _answered(self, answer: Any, at: int, signals: list[Signal]) -> None:
        """A whole answer."""
        self._started(answer, at, signals)
        outputs = field(answer, "outputs")
        for entry in outputs if isinstance(outputs, list) else ():
            self._model(entry, at, signals)
            if field(entry, "type") == "function.call":
                self._ask(entry, at, signals, whole=True)
        self._complete(answer, at, signals)

    def _complete(self, event: Any, at: int, signals: list[Signal]) -> None:
        usage = _usage(field(event, "usage"), at)
        if usage is not None:
            signals.append(usage)
        self._close(at, signals)

    def _failed(self, event: Any, at: int, signals: list[Signal]) -> None:
        self._end(at, signals, failure(at, {"code": field(event, "code"), "message": field(event, "message")}))


def _usage(usage: Any, at: int) -> Usage | None:
    """The tokens of a conversation's answer: what its connectors put in is input, and counted apart."""
    taken, given = count(field(usage, "prompt_tokens")), count(field(usage, "completion_tokens"))
    if not taken and not given:
        return None
    connectors = count(field(usage, "connector_tokens"))
    if connectors and taken is not None and count(field(usage, "total_tokens")) == taken + (given or 0) + connectors:
        taken += connectors
    return Usage(RUN, at, taken, given)


_EVENTS: Final[Mapping[str, Callable[[Mistral, Any, int, list[Signal]], None]]] = {
    "conversation.response.started": Mistral._started,
    "message.output.delta": Mistral._output,
    "tool.execution.started": Mistral._tool_started,
    "tool.execution.delta": Mistral._arguments,
    "tool.execution.done": Mistral._tool_done,
    "agent.handoff.started": Mistral._handing_over,
    "agent.handoff.done": Mistral._handed_over,
    "function.call.delta": Mistral._function_call,
    "conversation.response.done": Mistral._complete,
    "conversation.response.error": Mistral._failed,
}
