"""JAF's own server: what it answers to a chat request, streamed or not.

Streamed, these are the events of `run_streaming` (see `_jaf_stream`), each framed with the name that Python gives its
type. The first frame has no blank line after it, so that its data comes as a part of the next event's type: run,
conversation and agent are read from there. `stream_end` comes after any ending, and says nothing.

Source: jaf-py 2.6.22, `jaf/server/server.py` (`/chat`, `/agents/{name}/chat`) and `jaf/server/types.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._agents import code
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import NOTHING, field, loaded
from streamgauge.dialects._jaf_stream import STREAMED, JafStream
from streamgauge.dialects._parameters import text
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import PERSON_ASKED, RUN, Closed, Noted, Signal, Signals
from streamgauge.wire import Outcome, ServerSentEvent

__all__ = ["JafHttp"]

_START: Final = "stream_start"
_RUN_ON: Final = re.compile(r"stream_start data: (?P<start>\{.*\})event: (?P<type>[^{}]*)", re.DOTALL)
_AGENT_PATH: Final = re.compile(r"/agents/([^/?]+)/chat")
_PLAIN: Final = (str, bytes, bytearray)


class JafHttp(JafStream):
    """The answer of JAF's server."""

    name = "jaf-http"
    system = "JAF (jaf-py 2.6.22), its server"
    paths = (r"/agents/[^/]+/chat$", r"^/chat$")
    events: ClassVar[Mapping[str, str]] = {
        **STREAMED,
        "stream_start": "the conversation and the agent",
        "stream_end": "nothing",
    }

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        super().__init__()
        self._begun = False  # the first frame was read

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """The agent and the conversation. See `Dialect.asked`."""
        agent = _AGENT_PATH.search(path)
        return {
            "operation": INVOKE_AGENT,
            "agent_name": agent[1] if agent else text(body, "agent_name"),
            "conversation_id": text(body, "conversation_id"),
        }

    def feed(self, data: Any, at: int) -> Signals:
        if self._begun:
            return super().feed(data, at)
        if isinstance(data, _PLAIN):
            self._begun = True
            return self._answered(loaded(data), at)
        if data.__class__ is not ServerSentEvent:
            return super().feed(data, at)
        self._begun = True
        told: list[Signal] = []
        start = loaded(data) if data.type == _START else None
        joined = _RUN_ON.fullmatch(data.type)
        if joined is not None:
            start = loaded(joined["start"])
            data = ServerSentEvent(data.data, joined["type"], data.id, data.retry)
        facts = {
            semconv.GEN_AI_CONVERSATION_ID: word(field(start, "conversationId")),
            semconv.GEN_AI_AGENT_NAME: word(field(start, "agent")),
        }
        if any(facts.values()):
            told.append(Noted(RUN, at, {name: value for name, value in facts.items() if value}))
        return [*told, *(super().feed(data, at) if data.type != _START else NOTHING)]

    def _answered(self, answer: Any, at: int) -> Signals:
        """A plain answer: nothing was streamed, so there are no chunks."""
        if answer.__class__ is not dict:
            return NOTHING
        self._over = True
        data = answer.get("data")
        conversation = word(field(data, "conversation_id"))
        told: list[Signal] = []
        if conversation:
            told.append(Noted(RUN, at, {semconv.GEN_AI_CONVERSATION_ID: conversation}))
        if answer.get("success") is False:
            return [*told, Closed(RUN, at, Outcome.FAILED, "", word(answer.get("error")))]
        outcome = field(data, "outcome")
        status, error = field(outcome, "status"), field(outcome, "error")
        if status in ("error", "max_turns"):
            kind = code(field(error, "type")) or ("max_turns" if status == "max_turns" else "")
            message = word(error) or word(field(error, "message")) or (json.dumps(error) if error else "")
            return [*told, Closed(RUN, at, Outcome.FAILED, kind, message)]
        if status == "interrupted":
            told.append(Noted(RUN, at, {}, PERSON_ASKED))
        return [*told, Closed(RUN, at)]
