"""Reads a capture: version 1, and the form that was before it."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import IO, Any, Final

from streamgauge.capture import _older
from streamgauge.capture._capture import Capture, Ending, Note
from streamgauge.capture._older import Problem
from streamgauge.errors import CaptureError
from streamgauge.wire import Aside, Event, Outcome, Request

__all__ = ["read"]

_VERSION: Final = 1
_REQUEST_KINDS: Final = {
    item.name: type(item.default) if item.default is not dataclasses.MISSING else dict
    for item in dataclasses.fields(Request)
}


def read(source: str | os.PathLike[str] | IO[Any], *, dialect: str | None = None) -> Capture:
    """Read a capture.

    Args:
        source: a path, or a file, text or binary, which is left open.
        dialect: the system's dialect, for the older form (`py_type`, `t_ms` and `event` on each line), which does not
            name it.
    Raises:
        CaptureError: it is no capture, or not a sound one; the message names the file and the line.
        OSError: the file cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        with open(source, "rb") as file:
            data = file.read()
    else:
        name = str(getattr(source, "name", "capture"))
        data = source.read()
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    number = 0
    try:
        lines = _objects(data)
        number, first = next(lines, (1, None))
        if first is None:
            raise Problem("it is empty")
        if first.get("streamgauge") == "capture":
            capture = _opened(first)
            take = _take
        elif _older.is_older(first):
            if dialect is None:
                raise Problem("the older form of a capture does not name its dialect: give one")
            capture = Capture(Request(dialect=dialect), None, 0)
            take = _older.take
            capture = take(capture, first)
        else:
            raise Problem('the first line is no capture header (it has no "streamgauge": "capture")')
        for numbered in lines:
            number, line = numbered
            capture = dataclasses.replace(capture, truncated=True) if line is None else take(capture, line)
    except Problem as problem:
        raise CaptureError(f"{name}, line {problem.line or number}: {problem}") from None
    return capture


def _objects(data: bytes) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each line's number and object; None for a last line that was not written to its end."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            loaded = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            # The program that recorded it was killed; what comes before is sound.
            if 1 < number == len(lines):
                yield number, None
                return
            raise Problem(f"not JSON: {error}", number) from None
        if not isinstance(loaded, dict):
            raise Problem("not a JSON object", number)
        yield number, loaded


def _opened(header: dict[str, Any]) -> Capture:
    version = header.get("version")
    if version != _VERSION or isinstance(version, bool):
        raise Problem(f"version {version!r} of the capture format is not known, only {_VERSION}")
    framing = header.get("framing")
    if framing is not None and not isinstance(framing, str):
        raise Problem('"framing" is neither a string nor null')
    dialect = header.get("dialect")
    if not isinstance(dialect, str) or not dialect:
        raise Problem('"dialect" is missing or no string')
    given = header.get("request", {})
    if not isinstance(given, dict):
        raise Problem('"request" is no object')
    known: dict[str, Any] = {}
    for name, kind in _REQUEST_KINDS.items():
        value = given.get(name)
        if value is None or name == "dialect":
            continue
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise Problem(f'"request": "{name}" is no {kind.__name__}')
        known[name] = value
    return Capture(Request(dialect=dialect, **known), framing, _integer(header, "epoch_ns"))


def _take(capture: Capture, line: dict[str, Any]) -> Capture:
    if line.get("truncated") is True:
        return dataclasses.replace(capture, truncated=True)
    at = _integer(line, "at")
    if "note" in line:
        capture.notes.append(Note(at, line["note"], len(capture.events)))
        return capture
    if capture.ending is not None:
        raise Problem("nothing may come after the end")
    if "end" in line:
        return dataclasses.replace(
            capture, ending=_ending(at, line["end"], _integer(line, "asked") if "asked" in line else None)
        )
    data, type_name = _data(line)
    capture.events.append(Event(at, data, _integer(line, "asked") if "asked" in line else None))
    capture.types.append(type_name)
    return capture


def _data(line: dict[str, Any]) -> tuple[Any, str]:
    if "aside" in line:
        name, data = line["aside"], line.get("data", {})
        if not isinstance(name, str) or not isinstance(data, dict):
            raise Problem('"aside" is no string, or its "data" no object')
        return Aside(name, data), ""
    if "data" in line:
        type_name = line.get("type", "")
        if not isinstance(type_name, str):
            raise Problem('"type" is no string')
        return line["data"], type_name
    if "text" in line:
        if not isinstance(line["text"], str):
            raise Problem('"text" is no string')
        return line["text"], ""
    if "bytes" in line:
        try:
            return base64.b64decode(line["bytes"], validate=True), ""
        except (binascii.Error, TypeError, ValueError):
            raise Problem('"bytes" is not base64') from None
    raise Problem('it has none of "data", "text", "bytes", "aside", "note" and "end"')


def _ending(at: int, end: Any, asked: int | None) -> Ending:
    if not isinstance(end, dict):
        raise Problem('"end" is no object')
    how, error, outcome = end.get("how"), end.get("error"), end.get("outcome", "")
    if not isinstance(how, str) or not how:
        raise Problem('"how" is missing or no string')
    if error is not None and not isinstance(error, str):
        raise Problem('"error" is neither a string nor null')
    if outcome not in ("", *Outcome):
        raise Problem(f'"outcome" is {outcome!r}, not one of {", ".join(Outcome)}')
    return Ending(at, how, error, outcome, asked)


def _integer(line: dict[str, Any], name: str) -> int:
    value = line.get(name)
    if type(value) is not int:
        raise Problem(f'"{name}" is missing or no integer')
    return value
