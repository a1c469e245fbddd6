"""AG-UI over a WebSocket: `RunAgentInput` from the caller, and the agent's events, each a JSON message.

What an event tells is read as `ag_ui` reads it, so that a turn is told as over server-sent events. The protocol names
the transport and leaves the connection to the program: an input may come as it is, or in another message's `input`,
`payload`, `data` or `body`. A caller's message that is no input begins no run; the next `RUN_STARTED` does, as of that
message.

Source: ag-ui-protocol 1.0.0, `ag_ui/_generated/models.py` (RunAgentInput, EventType) and `core/types.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge.dialects._ag_ui_events import AgUiEvents
from streamgauge.dialects._agents import either
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import Dialect
from streamgauge.dialects._parameters import text
from streamgauge.dialects._turns import Turns, parent_of
from streamgauge.signals import Opened, Signals

__all__ = ["AgUiSocket"]

_WRAPPED: Final = ("input", "payload", "data", "body")
_STARTED: Final = "RUN_STARTED"


class AgUiSocket(Turns):
    """The runs of an AG-UI agent, one after the other."""

    name = "ag-ui-socket"
    system = "AG-UI 1.0 over a WebSocket (ag-ui-protocol 1.0.0)"
    decoder = AgUiEvents
    events: ClassVar[Mapping[str, str]] = {
        "sent": "a run, where it is a `RunAgentInput`; while one is open, what the next one answers",
        **AgUiEvents.events,
        "RUN_STARTED": "the conversation; where no run is open a run; with the id of a message in mid-run that one's, "
        "else a nested run",
    }

    __slots__ = ("_run_id",)

    def __init__(self) -> None:
        super().__init__()
        self._run_id = ""

    def asks(self, message: Any) -> bool:
        return bool(_run_of(_input_of(message)) or _thread_of(_input_of(message)))

    def begins(self, event: Any) -> bool:
        return text(event, "type") == _STARTED

    def follows(self, event: Any) -> bool:
        if text(event, "type") != _STARTED:
            return False
        run = _run_of(event)
        return bool(run) and run != self._run_id and any(run == _run_of(_input_of(said)) for _, said in self._waiting)

    def told_by(self, message: Any) -> dict[str, Any]:
        return self.decoder.asked("", _input_of(message))

    def read(self, answer: Dialect, event: Any, data: Any, at: int) -> Signals:
        if text(event, "type") == _STARTED:
            self._run_id = self._run_id or _run_of(event)
        return super().read(answer, event, data, at)

    def _open(self, at: int, message: Any) -> Opened:
        self._run_id = ""
        opened = super()._open(at, message)
        opened.parent = opened.parent or parent_of(_input_of(message))
        return opened


def _input_of(message: Any) -> Any:
    """The input that a message is, or has in it."""
    if message.__class__ is not dict or _run_of(message) or _thread_of(message):
        return message
    wrapped = (message.get(name) for name in _WRAPPED)
    return next((each for each in wrapped if each.__class__ is dict), message)


def _run_of(data: Any) -> str:
    return word(either(data, "runId", "run_id"))


def _thread_of(data: Any) -> str:
    return word(either(data, "threadId", "thread_id"))
