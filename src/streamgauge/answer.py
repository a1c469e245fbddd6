"""The answer to an HTTP request as a dialect's stream: its head and the bytes of its body in, signals out.

It puts together what the head says is needed: a content decoder, a framing, the dialect. Like them it is a pure
function of timed events, so that a captured answer replays as it was live. What is not of the body comes as asides:

    http.response      status, content_type, coding: the head
    http.retry         attempt, reason, delay_s: this is not the first attempt
    http.disconnected  policy: the caller has gone; what the transport did then (`cancel` or `drain`)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from streamgauge import dialects, framing, semconv
from streamgauge.alike import Alike
from streamgauge.framing import coding
from streamgauge.signals import RUN, Chunk, Closed, Noted, Retried, Signal, Signals
from streamgauge.wire import Aside, Outcome

__all__ = ["DISCONNECTED", "RESPONSE", "RETRY", "STREAMING", "Answer", "media_type"]

RESPONSE = "http.response"
RETRY = "http.retry"
DISCONNECTED = "http.disconnected"

STREAMING = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "application/jsonlines": "ndjson",
    "application/stream+json": "ndjson",
    "application/json-seq": "ndjson",
    "application/vnd.amazon.eventstream": "aws-event-stream",
}
"""Media type: the framing of a body that is a stream."""
_FAILED = 400
_BODILESS = frozenset({204, 205, 304})
_TRIES = 8
"""How often it is learned in vain what a stream's pieces are like: to learn it costs about as much as to read one."""


def media_type(content_type: str) -> str:
    """The media type alone, in lower case."""
    return content_type.partition(";")[0].strip().lower()


@cache
def _as_json(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(f'"{key}"'.encode() for key in keys)


@lru_cache(maxsize=1_024)  # one upstream says few
def _form(content_type: str, usual: str) -> tuple[Any, bool]:
    """What an answer's body is framed by, and whether it is a stream.

    Args:
        usual: the dialect's own framing.
    """
    kind = media_type(content_type)
    name, streams = STREAMING.get(kind), True
    if name is None:
        name = "json" if kind == "application/json" or kind.endswith("+json") else usual
        # Some name no type for their stream, or a plain one.
        streams = name not in ("json", "message") and name == usual
        if name == "json" and usual in ("ndjson", "json"):
            name, streams = usual, True
    return framing.find(name) if name != "message" else None, streams


class Answer:
    """A decoder over a dialect, as the tap takes one: `feed` is given `bytes` and `Aside`s."""

    __slots__ = (
        "_decode", "_dialect", "_feed", "_framing", "_keys", "_known", "_noise", "_status", "_streams", "_tries",
        "alike",
    )  # fmt: skip

    def __init__(self, dialect: dialects.Dialect) -> None:
        self._dialect = dialect
        self._feed = dialect.feed
        self._framing: Any = None
        self._decode: Any = None
        self._status = 0
        self._streams = True
        self.alike: Alike | None = None
        """What the last piece was like, where the next may be read by that."""
        self._known: Alike | None = None  # the last that was
        self._keys = _as_json(dialect.alike)
        self._noise = _as_json(dialect.noise)
        self._tries = _TRIES if self._keys else 0

    @property
    def terminal(self) -> bool:
        """A plain body ends where it ends."""
        return self._streams and self._dialect.terminal

    def feed(self, data: Any, at: int) -> Signals:
        """A piece of the body, or an aside.

        Raises: FramingError for a body that its framing or coding cannot be.
        """
        if data.__class__ is not bytes:
            if data.__class__ is Aside:
                return self._aside(data, at)
            data = bytes(data)
        if self._framing is None:
            return dialects.NOTHING if self._status >= _FAILED else self._feed(data, at)
        if self._decode is not None:
            data = self._decode(data)
        alike = self.alike
        if alike is not None:  # the usual read, whose cost is the proxy's cost
            text = alike.text(data)
            if text is not None:
                self._tries = _TRIES
                return Chunk(alike.key, at, alike.kind, text)
            self.alike = None
        between = self._tries and self._framing.between
        events = self._framing.feed(data)
        if len(events) != 1:
            return self._all(events, at)
        signals = self._feed(events[0], at)
        if between and signals.__class__ is Chunk and self._framing.between:
            self.alike = self._learned(data, signals)
        return signals

    def sizes(self, pieces: Sequence[bytes]) -> list[int] | None:
        """The bytes of the text of each of the next pieces of the body, if they are all `alike` the last one, so that
        there is nothing else to know of them; else None, and they are still to be fed."""
        if self.alike is None or self._decode is not None:
            return None
        sizes = self.alike.sizes(pieces)
        if sizes is not None:
            self._tries = _TRIES
        return sizes

    def _learned(self, piece: bytes, chunk: Chunk) -> Alike | None:
        known = self._known
        if known is None or known.text(piece) != chunk.text or (known.key, known.kind) != (chunk.key, chunk.kind):
            self._tries -= 1
            self._known = known = Alike.of(piece, chunk, self._keys, self._noise)
        return known

    def untold(self, at: int) -> Signals:
        if self._status >= _FAILED:
            return (self._refused(at),)
        return self._dialect.untold(at)

    def finish(self, at: int) -> Signals:
        if self._status >= _FAILED:
            return (self._refused(at),)
        signals = self._all(self._framing.finish(), at) if self._framing is not None else []
        return [*signals, *self._dialect.finish(at)]

    def _all(self, events: Any, at: int) -> list[Signal]:
        feed = self._feed
        return [signal for event in events for signal in feed(event, at)]

    def _refused(self, at: int) -> Closed:
        return Closed(RUN, at, Outcome.FAILED, str(self._status), f"HTTP status {self._status}")

    def _aside(self, aside: Aside, at: int) -> Signals:
        data = aside.data
        if aside.name == RESPONSE:
            return self._responded(data, at)
        if aside.name == RETRY:
            attempt = int(data.get("attempt") or 1)
            resent = Noted(RUN, at, {semconv.HTTP_REQUEST_RESEND_COUNT: attempt})
            return (Retried(RUN, at, "request", attempt, str(data.get("reason") or ""), data.get("delay_s")), resent)
        if aside.name == DISCONNECTED:
            return (Noted(RUN, at, {semconv.STREAMGAUGE_DISCONNECT: str(data.get("policy"))}),)
        self.alike = None  # the dialect may be another now
        return self._feed(aside, at)

    def _responded(self, head: Any, at: int) -> Signals:
        self._status = int(head.get("status") or 0)
        noted = Noted(RUN, at, {semconv.HTTP_RESPONSE_STATUS_CODE: self._status})
        if self._status >= _FAILED or self._status in _BODILESS:  # an error's body is no stream of the dialect's
            self._streams = False
            return (noted,)
        framed, self._streams = _form(str(head.get("content_type") or ""), self._dialect.framing)
        self._framing = framed() if framed is not None else None
        encoded = str(head.get("coding") or "")
        if encoded and self._framing is not None:
            self._decode = coding.decoder(encoded).feed
        return (noted,)
