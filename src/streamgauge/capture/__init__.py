"""Captures: the timed data of one stream as JSON lines, and back.

Version 1, one JSON object on each line, ASCII only:

    {"streamgauge": "capture", "version": 1, "dialect": …, "framing": … | null, "request": {…}, "epoch_ns": …}
    {"at": …, "asked": …, "data": the JSON form of an object, "type": "module.Class"}
    {"at": …, "asked": …, "text": …} or {"at": …, "asked": …, "bytes": base64}     where a framing follows
    {"at": …, "aside": name, "data": {…}}                                          seen beside the stream
    {"at": …, "note": {…}}                                                         for people; no event
    {"at": …, "end": {"error": class name | null, "how": …, "outcome": … | ""}}    at most one; no event after it
    {"truncated": true}                                                            the size limit was reached here

Times are nanoseconds since the stream was opened, where that is known, else since it was first asked for data;
`epoch_ns` is the wall clock at 0, itself 0 where that is unknown. `request` holds the fields of `wire.Request` that are
not empty, save the dialect. `asked` is absent where nobody asked, `type` where the object was of JSON's own kind.
`outcome` is what was made of the ending when it was recorded, empty where nobody judged. Unknown keys are ignored.
"""

from __future__ import annotations

from streamgauge.capture._capture import HOWS, Capture, Ending, Note
from streamgauge.capture._form import jsonable
from streamgauge.capture._reader import read
from streamgauge.capture._redaction import REDACTED, redact_secrets
from streamgauge.capture._writer import MAX_BYTES, CaptureWriter

__all__ = [
    "HOWS",
    "MAX_BYTES",
    "REDACTED",
    "Capture",
    "CaptureWriter",
    "Ending",
    "Note",
    "jsonable",
    "read",
    "redact_secrets",
]
