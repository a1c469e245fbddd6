"""The WebSocket messages that ZIRAN's `WebSocketProtocolHandler` exchanges with a target agent.

A message of the agent's is JSON, in which one field is the text and another the type, whose value `done` ends the
answer; or it is no JSON, and then all of it is text. Each is made the chunk that ZIRAN makes of it, and that is read as
`ziran` reads it: a turn is told here as it is inside ZIRAN. A target with fields of its own gets a subclass that says
them, as ZIRAN's handler is given them:

    class Acme(ZiranSocket):
        name = "acme"
        content_field = "text"
        done_type = "end"

Beyond what the handler reads, an `error` in a message is told, which it passes over. A message that it sends while an
answer still comes ends that one, as it does for the handler: what comes from then on is the answer to the later one.

Source: ziran 0.42.0, `infrastructure/adapters/protocols/ws_handler.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge.dialects._answers import failure
from streamgauge.dialects._dialect import NOTHING, Dialect, loaded
from streamgauge.dialects._parameters import text
from streamgauge.dialects._turns import Turns
from streamgauge.dialects._ziran_chunks import ZiranChunks
from streamgauge.signals import RUN, TOOL_REQUESTED, Closed, Opened, Signals

__all__ = ["ZiranSocket"]

_LIST_TOOLS: Final = "list_tools"
_CALL: Final = ("id", "name", "arguments")
_NO_METADATA: Final[Mapping[str, Any]] = {}


class ZiranSocket(Turns):
    """The turns of an agent that is ZIRAN's target."""

    name = "ziran-socket"
    system = "ZIRAN 0.42 targets over a WebSocket"
    decoder = ZiranChunks
    events: ClassVar[Mapping[str, str]] = {
        "sent": "a run; the end of the one before, `cancelled`, where that is open; nothing where it is `list_tools`",
        "content_field": "a chunk of text (`content`); a run, where none is open",
        "type_field": "the end of the run, where it is `done` (`type`)",
        "tool_call": f"what its arguments grew by; at the first of a call also the span event {TOOL_REQUESTED}",
        "function_call": "the same",
        "model": "the response model",
        "usage": "usage",
        "error": "the end of the run, `failed`",
        "text that is no JSON": "a chunk of text",
    }
    content_field: ClassVar[str] = "content"
    type_field: ClassVar[str] = "type"
    done_type: ClassVar[str] = "done"

    __slots__ = ("_unheard",)

    def __init__(self) -> None:
        super().__init__()
        self._unheard = False  # the open run answers no message that was seen

    def asks(self, message: Any) -> bool:
        return text(message, "type") != _LIST_TOOLS

    def begins(self, event: Any) -> bool:
        """It has some of an answer; a list of tools has none."""
        if event.__class__ is not dict:
            return event is None
        return bool(_text_of(event.get(self.content_field)) or event.get("tool_call") or event.get("function_call"))

    def read(self, answer: Dialect, event: Any, data: Any, at: int) -> Signals:
        if event is None and isinstance(data, str | bytes | bytearray):
            said = data if isinstance(data, str) else data.decode("utf-8", "replace")
            return answer.feed({"content_delta": said, "is_final": False, "metadata": _NO_METADATA}, at)
        if event.__class__ is not dict:
            return NOTHING  # JSON that is no object: the handler cannot read it
        error = event.get("error")
        if error:
            return (failure(at, error),)
        call = event.get("tool_call") or event.get("function_call")
        chunk = {
            "content_delta": _text_of(event.get(self.content_field)),
            "tool_call_delta": {name: call.get(name, "") for name in _CALL} if call.__class__ is dict else None,
            "is_final": event.get(self.type_field, "") == self.done_type,
            "metadata": {name: event[name] for name in ("model", "usage") if name in event},
        }
        return answer.feed(chunk, at)

    def _sent(self, said: Any, at: int) -> Signals:
        message = loaded(said)
        if self._answer is None or not self.asks(message):
            return super()._sent(said, at) if self.asks(message) else ()
        if self._unheard:  # a greeting, say: nothing tells that it was not complete
            last, self._answer = self._last, None
            return [Closed(RUN, last), *super()._sent(said, at)]
        self._last = at
        cut = self._cut("input")
        return [*cut, *super()._sent(said, at)]

    def _open(self, at: int, message: Any) -> Opened:
        self._unheard = message is None
        return super()._open(at, message)

    def told_by(self, message: Any) -> dict[str, Any]:
        return {}


def _text_of(content: Any) -> str:
    """As the handler makes text of it."""
    if content.__class__ is str:
        return str(content)
    if content.__class__ is dict:
        try:
            return json.dumps(content)
        except (TypeError, ValueError, RecursionError):
            return ""
    return str(content) if content else ""
