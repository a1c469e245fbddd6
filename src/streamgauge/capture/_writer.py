"""Writes a capture while its stream goes on."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import fields
from types import TracebackType
from typing import IO, Any, Final

from streamgauge.capture._form import jsonable
from streamgauge.capture._redaction import redact_secrets
from streamgauge.wire import Aside, Event, Request

__all__ = ["MAX_BYTES", "CaptureWriter"]

# 64 MiB: a stream of 20,000 chunks, which is a very long answer, comes to about 6 MiB.
MAX_BYTES: Final = 67_108_864
_TRUNCATED = b'{"truncated":true}\n'
_JSON = (dict, list, str, int, float, bool, type(None))
_REDACTION_FAILED = "[redaction failed]"


class CaptureWriter:
    """Writes one stream's capture; from any thread, since what is seen beside a stream may come from others.

    Args:
        target: a path (the file is made readable for its owner only: it holds content), or a file, text or binary,
            which is then left open.
        request: what is known of the stream.
        framing: what the stream's bytes are framed in; None for objects.
        opened_at: when the stream was opened, on the events' clock. By default when the first event was asked for, else
            when it came.
        anchor: nanoseconds to add to that clock for the time since the epoch, as `Dialect.anchor`; 0 where unknown.
        redact: is given the JSON form of each event's data, or its `str` or `bytes` where a framing follows, and
            returns what to write instead. What it raises costs that event's data. None writes all as it is.
        max_bytes: the size of the file at which writing stops, the last line included. The header is always written.

    Raises: what opening and writing the file raises; nothing for any data.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | IO[Any],
        request: Request,
        *,
        framing: str | None = None,
        opened_at: int | None = None,
        anchor: int = 0,
        redact: Callable[[Any], Any] | None = redact_secrets,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.written_bytes = 0
        self.truncated = False
        """The limit was reached: nothing more is written."""
        self.redaction_errors = 0
        self._request = request
        self._framing = framing
        self._zero = opened_at
        self._anchor = anchor
        self._redact = redact
        self._max = max_bytes
        # Reentrant: the JSON form of an object is made by the object's own code, which may come back here.
        self._lock = threading.RLock()
        self._begun = False
        self._ended = False
        self._closed = False
        self._file: IO[Any]
        self._own = isinstance(target, str | os.PathLike)
        if isinstance(target, str | os.PathLike):
            self._file = open(target, "wb", opener=_private)  # noqa: SIM115  (closed by `close`)
        else:
            self._file = target

    def write(self, event: Event, *, type_name: str | None = None) -> None:
        """Write an event.

        Args:
            type_name: the class its data was of, as "module.Class"; by default the class of what it is.
        """
        with self._lock:
            if self._ended or self.truncated:
                return
            self._begin(event.at if event.asked is None else min(event.at, event.asked))
            line: dict[str, Any] = {"at": self._time(event.at)}
            if event.asked is not None:
                line["asked"] = self._time(event.asked)
            line |= self._payload(event.data)
            if "data" in line and "aside" not in line:
                type_name = _type_name(event.data) if type_name is None else type_name
                if type_name:
                    line["type"] = type_name
            self._line(line)

    def note(self, at: int, data: Any) -> None:
        """Write a remark for people; also after the end."""
        with self._lock:
            self._begin(at)
            form = jsonable(data)
            self._line({"at": self._time(at), "note": form if self._redact is None else redact_secrets(form)})

    def end(self, at: int, error: str | None, how: str, outcome: str = "", asked: int | None = None) -> None:
        """Write how the stream ended; only the first call counts, and no event is written after it.

        Args:
            error: the exception's class name; None where there was none.
            how: one of `HOWS`.
            outcome: the `Outcome` that was made of it; empty where nobody judged.
            asked: when the caller had asked for what did not come; None where nobody was reading.
        """
        with self._lock:
            if self._ended:
                return
            self._begin(at)
            times = {"at": self._time(at)} if asked is None else {"at": self._time(at), "asked": self._time(asked)}
            self._line({**times, "end": {"error": error, "how": how, "outcome": str(outcome)}})
            self._ended = True

    def close(self) -> None:
        """Write what is not written yet. Closes the file if it was opened here. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._begin(0)
            self._ended = self._closed = True
            if self._own:
                self._file.close()
            else:
                self._file.flush()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _time(self, at: int) -> int:
        return at - (self._zero or 0)

    def _begin(self, at: int) -> None:
        if self._begun:
            return
        self._begun = True
        if self._zero is None:
            self._zero = at
        request = {item.name: getattr(self._request, item.name) for item in fields(self._request)}
        dialect = request.pop("dialect")
        form = jsonable({name: value for name, value in request.items() if value})
        header = {
            "streamgauge": "capture",
            "version": 1,
            "dialect": dialect,
            "framing": self._framing,
            "request": form if self._redact is None else redact_secrets(form),
            "epoch_ns": self._anchor + self._zero if self._anchor else 0,
        }
        self._put(_encoded(header))

    def _payload(self, data: Any) -> dict[str, Any]:
        cls = type(data)  # an object may say anything of its own class, or raise
        if issubclass(cls, Aside):
            form = self._redacted(jsonable(data.data))
            return {"aside": str(jsonable(data.name)), "data": form if isinstance(form, dict) else {"data": form}}
        if issubclass(cls, bytes | bytearray | memoryview):
            form = self._redacted(bytes(data))
        elif issubclass(cls, str) and self._framing is not None:
            form = self._redacted(str.__str__(data))
            if isinstance(form, str):
                return {"text": form}
        else:
            form = self._redacted(jsonable(data))
        if isinstance(form, bytes):
            return {"bytes": base64.b64encode(form).decode("ascii")}
        return {"data": form}

    def _redacted(self, form: Any) -> Any:
        if self._redact is None:
            return form
        try:
            form = self._redact(form)
        except Exception:  # the hook is the user's; what it could not redact must not be written
            self.redaction_errors += 1
            return _REDACTION_FAILED
        return form if isinstance(form, bytes) else jsonable(form)

    def _line(self, line: dict[str, Any]) -> None:
        if self.truncated or self._closed:
            return
        encoded = _encoded(line)
        if self.written_bytes + len(encoded) + len(_TRUNCATED) > self._max:
            self.truncated = True
            encoded = _TRUNCATED
        self._put(encoded)

    def _put(self, encoded: bytes) -> None:
        self._file.write(encoded.decode("ascii") if isinstance(self._file, io.TextIOBase) else encoded)
        self.written_bytes += len(encoded)


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _type_name(data: Any) -> str:
    cls = type(data)
    if cls in _JSON:
        return ""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
