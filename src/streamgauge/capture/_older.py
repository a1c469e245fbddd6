"""The older form of a capture: `{"py_type": "module.Class", "t_ms": …, "event": …}` on each line.

Not every line is an event. Those of the type `capture.note` are remarks, and some of them tell the ending: an
iterator's end, a close. A line whose event has `raised` is the exception that came out of the stream. All of them are
kept as notes, so that nothing is lost.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from streamgauge.capture._capture import Capture, Ending, Note
from streamgauge.wire import Event

__all__ = ["Problem", "is_older", "take"]

_NOTE = "capture.note"
_CLOSE = re.compile(r"\ba?close\b")  # "aclose after break", "generator.close()"; not "close_input"


class Problem(Exception):
    """What is wrong with a line. Never leaves the package."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line


def is_older(line: dict[str, Any]) -> bool:
    """Whether a line is of this form."""
    return line.keys() >= {"py_type", "t_ms", "event"}


def take(capture: Capture, line: dict[str, Any]) -> Capture:
    """The capture with one line more."""
    if not is_older(line):
        raise Problem('it has not all of "py_type", "t_ms" and "event"')
    py_type, t_ms, data = line["py_type"], line["t_ms"], line["event"]
    if not isinstance(py_type, str):
        raise Problem('"py_type" is no string')
    if type(t_ms) is not int and not (type(t_ms) is float and math.isfinite(t_ms)):
        raise Problem('"t_ms" is no number')
    at = round(t_ms * 1_000_000)
    raised = isinstance(data, dict) and data.get("raised") is True
    if py_type != _NOTE and not raised:
        capture.events.append(Event(at, data))
        capture.types.append("" if py_type in ("dict", "list", "str") else py_type)
        return capture
    note = data
    ending: Ending | None
    if raised:
        error = py_type.rpartition(".")[2]
        ending = Ending(at, "cancelled" if error == "CancelledError" else "error", error)
        note = {**data, "raised": py_type}
    else:
        # The first end counts, unless an exception follows (zag raises it after its iterator has ended).
        ending = capture.ending
        if ending is None and isinstance(data, dict):
            ending = _told(at, data)
    capture.notes.append(Note(at, note, len(capture.events)))
    return dataclasses.replace(capture, ending=ending)


def _told(at: int, note: dict[str, Any]) -> Ending | None:
    """The ending that a note tells, if it tells one."""
    end = note.get("end", note.get("events_iterator"))
    if isinstance(end, str):
        if "cancelled" in end:  # the recording script's own doing, where the stream hung
            return Ending(at, "cancelled", "CancelledError")
        return Ending(at, "exhausted")
    action = note.get("action")
    if isinstance(action, str) and _CLOSE.search(action):
        return Ending(at, "closed")
    return None
