"""What every dialect is: a decoder, events in, signals out.

A dialect is a pure function of timed events with the state of one stream: it opens, sleeps and asks nothing, and
knows neither OpenTelemetry nor transports. An event that it does not know is never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, ClassVar, cast

from streamgauge.signals import Signal, Signals
from streamgauge.wire import Granularity, ServerSentEvent

__all__ = ["NOTHING", "Dialect", "field", "fields", "loaded", "plain"]

NOTHING: tuple[Signal, ...] = ()
_MISSING = object()
_TEXTS = (str, bytes, bytearray)
_LAST_S = 1e11  # the year 5138: beyond it, it is no time in seconds


class Dialect:
    """One stream's decoder. A subclass sets the class attributes and writes `feed`."""

    name: ClassVar[str]
    """Its id, in kebab case: the system's own name."""
    system: ClassVar[str]
    """The system in words, and the version whose behaviour this follows."""
    terminal: ClassVar[bool] = False
    """The system ends a stream with a terminal event: an end without one is `truncated`."""
    granularity: ClassVar[Granularity] = Granularity.TOKEN
    only_waits_between_chunks: ClassVar[bool] = False
    """Between two chunks the source's own code only waits for the next one (what tools and model calls it makes, it
    makes after another event, or in tasks, threads or processes of its own), so that it needs no current span there."""
    provider_name: ClassVar[str] = ""
    """`gen_ai.provider.name` where the system is the provider's own API."""
    framing: ClassVar[str] = "message"
    """How its bytes are framed where there are bytes: `sse`, `ndjson` or `message`."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Of the HTTP requests that it is the answer to: regular expressions of how the path ends, without its query."""
    sockets: ClassVar[tuple[str, ...]] = ()
    """The same of the WebSocket connections whose messages it reads."""
    commands: ClassVar[tuple[str, ...]] = ()
    """The same of a program whose output it reads: regular expressions of what is in its command line."""
    opens_runs: ClassVar[bool] = False
    """It is of a connection or a process in which one run follows the other, and opens and closes each by itself: with
    what the caller says, which comes as the aside `sent` (see `dialogue`), and what is answered."""
    alike: ClassVar[tuple[str, ...]] = ()
    """Keys of a JSON string: after an event that told a chunk of that very text or reasoning, alone, one that differs
    in nothing but that string tells that chunk with another text, and leaves the dialect as it was. HTTP answers are
    then read by `streamgauge.alike`. To be said again by a subclass that has a `feed` of its own."""
    noise: ClassVar[tuple[str, ...]] = ()
    """Keys of such an event whose value, a number or a string, makes no difference, wherever it is."""
    events: ClassVar[Mapping[str, str]] = {}
    """Every event type that the system's source and documentation name, with what it becomes; for the docs and
    the table test."""

    __slots__ = ("anchor",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "feed" in cls.__dict__ and "alike" not in cls.__dict__:
            cls.alike = ()

    def __init__(self) -> None:
        self.anchor = 0
        """Nanoseconds to add to `at` for the time since the epoch. The tap sets it."""

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        """What the HTTP request tells of the stream that answers it: fields of `wire.Request`.

        Args:
            path: with its query.
            body: the request's JSON value; None where it has none, or one too large to look at.
        Raises: never, for any body.
        """
        return {}

    def feed(self, data: Any, at: int) -> Signals:
        """Read one event.

        Args:
            data: the system's own object, or its JSON form as `dict`; framed data comes as `ServerSentEvent`, `str` or
                `bytes`; what was seen beside the stream as `Aside`.
            at: arrival, in nanoseconds.
        Returns: what it tells, in order; a chunk alone comes as it is, without a sequence around it.
        Raises: never, for any data. What it raises all the same makes the tap go blind.
        """
        raise NotImplementedError

    def untold(self, at: int) -> Signals:
        """The stream ends before its source does (closed, cancelled, failed). What was read and is not told yet; no
        ending."""
        return NOTHING

    def finish(self, at: int) -> Signals:
        """The source has ended. What is still to be told; an ending that the dialect knows better than the tap (by
        default: `truncated` where the dialect is `terminal`, else `completed`) comes as `Closed` of the run."""
        return NOTHING

    def when(self, epoch_s: Any, at: int) -> int:
        """The event's own clock on the stream's clock, never after its arrival; `at` where it has none."""
        if (epoch_s.__class__ is float or epoch_s.__class__ is int) and -_LAST_S < epoch_s < _LAST_S:  # nor NaN
            own = int(epoch_s * 1_000_000_000) - self.anchor
            if 0 < at - own < 86_400_000_000_000:  # a day: beyond it the clocks have nothing to do with each other
                return own
        return at


def field(data: Any, name: str, default: Any = None) -> Any:
    """`data.name` of an object, `data["name"]` of a mapping; `default` where there is none."""
    if data.__class__ is dict:  # isinstance of an abstract class costs 0.4 µs
        return data.get(name, default)
    if data is None:
        return default
    found = getattr(data, name, _MISSING)
    if found is not _MISSING:
        return found
    return data.get(name, default) if isinstance(data, Mapping) else default


def fields(data: Any) -> Callable[[str], Any]:
    """`field` of that data, for who asks for many: of a mapping at no more than its own cost."""
    return data.get if data.__class__ is dict else partial(field, data)


def loaded(data: Any) -> Any:
    """The JSON value of framed data; None where it is not JSON. What is no framed data is given back as it is."""
    if isinstance(data, ServerSentEvent):
        data = data.data
    if isinstance(data, _TEXTS):
        try:
            return _reader()(data)
        except (ValueError, RecursionError):
            return None
    return data


@cache
def _reader() -> Callable[[str | bytes | bytearray], Any]:
    """The quickest JSON reader that is there. Imported only where there is framed data."""
    try:
        import msgspec  # 2.5 times as fast: what a proxy reads is a few hundred bytes, over and over
    except ImportError:
        import json

        return json.loads
    return cast("Callable[[str | bytes | bytearray], Any]", msgspec.json.Decoder().decode)


def plain(value: Any) -> str:
    """An enum's value, or the value, as text; empty for None."""
    if value is None:
        return ""
    return str(getattr(value, "value", value))
