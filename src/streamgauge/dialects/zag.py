"""zag: the events of one run, or of a conversation of several turns.

In go zag's event objects, their dict form, or lines of its NDJSON output; and asides, from who sees the methods that
the caller uses. Out comes a run for each turn, with what is in it (see `_zag_turn`). The asides:

    started        the stream was opened
    sent           semantics: a message is sent; what that means in mid-turn: `queue`, `interrupt`, `between-turns-only`
    send_failed    error_type: it was not sent
    left           the caller has stopped reading, and may come back
    read_failed    error_type: reading failed
    stdout_ended   zag's output has ended; only its exit will tell how
    over           nothing more will be read

A turn is over with `turn_complete`, but only the `result` after it says whether it went well: until that is read, the
run stays open, and then it ends as of `turn_complete`. When its process ends zag prints one more `result`, which is
about no turn and always a success: it tells nothing.

Source: zag 0.18.0, `types.py` and `process.py` of the Python binding; of the wire, the Rust event enum, its Claude
models and translator (`parent_tool_use_id` and `usage_limit_detected` are there only).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from streamgauge.dialects._zag_events import EVENTS, ZagEvents
from streamgauge.wire import Granularity

__all__ = ["Zag"]


class Zag(ZagEvents):
    """What `stream` and a streaming session give, and what `zag exec -o stream-json` prints."""

    name = "zag"
    system = "zag 0.18"
    terminal = True
    only_waits_between_chunks = True
    granularity = Granularity.MESSAGE
    framing = "ndjson"
    events: ClassVar[Mapping[str, str]] = EVENTS

    __slots__ = ()
