"""zag as a process: what `zag exec -o stream-json` prints, and what it is told.

In go the lines of its output and, as the aside `sent`, those of its input. Out comes a run for each turn, with what is
in it, as `zag` has it: the same events tell the same, whoever reads them. Asides of its own:

    started  the process was started: its prompt is on the command line, so the first run begins with it
    sent     data: a line; semantics, where the caller knows what a message in mid-turn means. Else `queue`, as that is
             what Claude does, the one provider that zag gives input to while it streams
    exited   the process ended: no turn follows

A message in mid-turn begins the next run, as of the end of this one; with `between-turns-only` it reaches nobody. With
`interrupt` it ends this one, which is then `cancelled` by it, unless the turn is told to have ended well.

Source: zag 0.18.0, `process.py` and `types.py` of the Python binding; of the wire, the Rust event enum, its Claude
models and translator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamgauge.dialects._command_line import options
from streamgauge.dialects._dialect import NOTHING, field, loaded
from streamgauge.dialects._turns import SENT, interrupted
from streamgauge.dialects._zag_events import EVENTS, ZagEvents
from streamgauge.dialects._zag_turn import text_of
from streamgauge.signals import RUN, Closed, Signal, Signals
from streamgauge.wire import Aside, Granularity, Outcome

__all__ = ["ZagWire"]

_MESSAGE: Final = "user_message"
_QUEUE: Final = "queue"


class ZagWire(ZagEvents):
    """Both sides of one process."""

    name = "zag-wire"
    system = "zag 0.18, its process"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    opens_runs = True
    commands = (r"^(\S*/)?zag\s(.*\s)?(-o|--output)[= ]stream-json\b", r"^(\S*/)?zag\s(.*\s)?-i[= ]stream-json\b")
    events: ClassVar[Mapping[str, str]] = {
        "sent: user_message": "a run; in mid-turn the fact what becomes of it, and maybe the next run",
        **EVENTS,
        "init": "the model; the first run, where none has begun",
    }

    __slots__ = ("_begun", "_cut")

    def __init__(self) -> None:
        super().__init__()
        self._turn = None  # the tap has opened none
        self._begun = False  # there was a run, or a message for one
        self._cut = False  # a message has interrupted the open turn

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """Of a process: what its command line tells.

        Args:
            path: the command line.
        """
        names = {"-p": "agent_name", "--provider": "agent_name", "-m": "model", "--model": "model"}
        return {"agent_name": "zag", **options(path, names)}

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is Aside:
            return self._beside(data, at)
        if self._begun:
            signals = super().feed(data, at)
            return self._judged(signals) if self._cut else signals
        event = loaded(data)
        kind = field(event, "type")
        if kind.__class__ is not str or kind not in EVENTS or kind in ("result", "turn_complete"):
            return super().feed(event, at) if event is not None else NOTHING
        opened: list[Signal] = []
        self._first(at, opened)
        return [*opened, *super().feed(event, at)]

    def _first(self, at: int, signals: list[Signal]) -> None:
        """The run whose prompt was on the command line."""
        self._begun = True
        self._begin(at, signals)

    def _beside(self, aside: Aside, at: int) -> Signals:
        if aside.name == "started" and not self._begun and " discover" not in text_of(aside.data, "command"):
            opened: list[Signal] = []
            self._first(at, opened)
            return opened
        if aside.name == SENT:
            message = loaded(aside.data.get("data"))
            if text_of(message, "type") == _MESSAGE:
                return self._said(aside.data.get("semantics") or _QUEUE, at)
        elif aside.name == "exited":
            return super().feed(Aside("over"), at)
        return NOTHING

    def _said(self, semantics: Any, at: int) -> Signals:
        self._begun = True
        self._cut = semantics == "interrupt" and self._turn is not None and self._turn.ended is None
        return super().feed(Aside(SENT, {"semantics": semantics}), at)

    def _judged(self, signals: Signals) -> Signals:
        """What the turn that was interrupted tells. Its end, where that is no success, is by the message."""
        told: list[Signal] = []
        for signal in signals:
            if isinstance(signal, Closed) and signal.key == RUN:
                self._cut = False
                told += (signal,) if signal.outcome is Outcome.COMPLETED else interrupted(signal.at, "input")
            else:
                told.append(signal)
        return told
