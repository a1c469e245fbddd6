"""Converts captures of the older form (`py_type`, `t_ms`, `event` on each line) into version 1.

    python scripts/import_captures.py SOURCE_FOLDER TARGET_FOLDER

The dialect comes from the file's name. Nothing is lost: what is no event stays as a note. What the older form could not
say is worked out here: the wall clock from the events' own timestamps, messages that were sent to the agent, and the
ending of a stream that was read to its end without a remark.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

from streamgauge.capture import Capture, CaptureWriter, Ending, Note, read
from streamgauge.errors import CaptureError
from streamgauge.framing import SSEFraming
from streamgauge.wire import Aside, Event, Request

# The beginning of the file's name and the dialect; the first that fits counts.
PREFIXES = (
    ("ziran-litellm-", "ziran-llm"),
    ("ziran-llm-", "ziran-llm"),
    ("ziran-", "ziran"),
    ("zag-", "zag"),
    ("jaf-run-on_event-", "jaf-run"),
    ("jaf-", "jaf"),
    ("shipit-", "shipit-agent"),
    ("aiecs-", "aiecs"),
)

# The stream hung, and the deadline that the recording script had set around it cancelled it: what is on record is the
# exception that this became outside the stream.
CANCELLED_BY_DEADLINE = {"zag-stream-stderrflood"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="the folder with the captures (*.ndjson)")
    parser.add_argument("target", type=Path, help="the folder for the converted ones, under the same names")
    options = parser.parse_args(arguments)
    options.target.mkdir(parents=True, exist_ok=True)
    paths = sorted(options.source.glob("*.ndjson"))
    try:
        for path in paths:
            convert(path, options.target / path.name)
    except (CaptureError, UnknownPrefixError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(paths)} captures")
    return 0


class UnknownPrefixError(Exception):
    """A file whose name tells no dialect."""


def convert(source: Path, target: Path) -> None:
    """Convert one capture."""
    dialect = next((dialect for prefix, dialect in PREFIXES if source.name.startswith(prefix)), None)
    if dialect is None:
        raise UnknownPrefixError(f"{source}: no dialect is known for a name like this")
    capture = read(source, dialect=dialect)
    framing = "sse" if is_event_stream(capture) else None
    operation = "chat" if dialect == "ziran-llm" else "invoke_agent"
    with (
        target.open("wb") as file,
        CaptureWriter(
            file,
            Request(dialect=dialect, operation=operation),
            framing=framing,
            opened_at=0,
            anchor=epoch_ns(capture, framing),
            redact=None,  # these are recordings of scripted models; a test wants them as they came
        ) as writer,
    ):
        write(writer, capture, ending(capture, source.stem))


def write(writer: CaptureWriter, capture: Capture, ended: Ending) -> None:
    """Write the lines in the order in which they were recorded."""
    notes = deque(capture.notes)
    turn_is_on = True

    def remark(note: Note) -> None:
        nonlocal turn_is_on
        writer.note(note.at, note.data)
        if isinstance(note.data, dict) and "sent" in note.data:
            writer.write(Event(note.at, Aside("user_message", {"mid_turn": turn_is_on})))
            turn_is_on = True

    for index, event in enumerate(capture.events):
        while notes and notes[0].after <= index:
            remark(notes.popleft())
        writer.write(event, type_name=capture.types[index])
        if isinstance(event.data, dict) and event.data.get("type") == "turn_complete":
            turn_is_on = False
    while notes and notes[0].at <= ended.at:
        remark(notes.popleft())
    writer.end(ended.at, ended.error, ended.how, ended.outcome)
    for note in notes:
        remark(note)


def is_event_stream(capture: Capture) -> bool:
    """Whether the events are the text of server-sent events."""
    texts = [event.data for event in capture.events if isinstance(event.data, str)]
    return bool(texts) and all(text.startswith(("event: ", "id: ")) and text.endswith("\n\n") for text in texts)


def ending(capture: Capture, stem: str) -> Ending:
    """The ending on record, else the last line's time: the recording scripts read on until nothing more came."""
    if capture.ending is None:
        return Ending(max([event.at for event in capture.events] + [note.at for note in capture.notes]), "exhausted")
    if stem in CANCELLED_BY_DEADLINE:
        return Ending(capture.ending.at, "cancelled", capture.ending.error)
    return capture.ending


def epoch_ns(capture: Capture, framing: str | None) -> int:
    """The wall clock at 0, by the first event that has a timestamp; 0 where none has one."""
    for event in capture.events:
        data = event.data
        if framing == "sse":
            data = next((loaded(dispatched.data) for dispatched in SSEFraming().feed(data)), None)
        own = timestamp_ns(data.get("timestamp")) if isinstance(data, dict) else 0
        if own:
            return own - event.at
    return 0


def loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def timestamp_ns(timestamp: Any) -> int:
    """JAF and shipit_agent give seconds since the epoch, aiecs ISO 8601, in UTC where it has no offset."""
    if isinstance(timestamp, str):
        moment = datetime.datetime.fromisoformat(timestamp)
        timestamp = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    # As `Dialect.when` reckons: to the nanosecond the same.
    return int(timestamp * 1_000_000_000) if isinstance(timestamp, float) else 0


if __name__ == "__main__":
    sys.exit(main())
