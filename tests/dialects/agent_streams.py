"""What the tests of agent protocols over HTTP have in common: signals as lines, and how an exchange is played."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from streamgauge import framing, semconv
from streamgauge.dialects import Dialect, by_path
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Retried, Signal, Usage
from streamgauge.wire import Outcome, ServerSentEvent

WIRE = Path(__file__).parents[1] / "wire"
_FRAMINGS = {"text/event-stream": "sse", "application/json": "json"}
JUNK: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def words(signal: Signal) -> str:
    """A signal in one line, with its time; the run's key is empty."""
    return " ".join(_words(signal).split())


def _words(signal: Signal) -> str:
    at = f"@{signal.at} "
    match signal:
        case Opened(key, _, operation, name, parent, attributes):
            return f"{at}+{key} {operation} {name} <{parent}" + _values(attributes)
        case Closed(key, _, outcome, error_type, message):
            how = "" if outcome is Outcome.COMPLETED else f" {outcome}"
            return f"{at}-{key}{how}{error_type and ' ' + error_type}{message and ': ' + message}"
        case Chunk(key, _, kind, piece):
            return f"{at}{kind} {key} {piece}"
        case Usage(key):
            return f"{at}usage {key} " + "/".join("" if each is None else str(each) for each in signal.counts())
        case Noted(key, _, attributes, name):
            return f"{at}note {key} {name.removeprefix('streamgauge.')}" + _values(attributes)
        case Retried(key, _, target, attempt, reason, _):
            return f"{at}retry {key} {target} {attempt} {reason}"
    raise AssertionError(signal)


def _values(attributes: Any) -> str:
    given = (value for value in attributes.values() if value is not None)
    return "".join(f" {' '.join(each) if isinstance(each, tuple) else each}" for each in given)


def told(dialect: Dialect, events: Iterable[Any]) -> list[str]:
    """What the events tell, the first at 1, the next at 2."""
    return [words(signal) for at, data in enumerate(events, 1) for signal in dialect.feed(data, at)]


def as_object(data: Any) -> Any:
    """A dict as an object with attributes, as an SDK's models are."""
    if isinstance(data, dict):
        return types.SimpleNamespace(**{name: as_object(value) for name, value in data.items()})
    return [as_object(each) for each in data] if isinstance(data, list) else data


def sse(data: Any, type_: str = "message") -> ServerSentEvent:
    return ServerSentEvent(data if isinstance(data, str) else json.dumps(data), type_)


def check_any(dialect: Dialect, events: Sequence[Any]) -> None:
    """Whatever comes: nothing is raised, only what is open is closed, and every chunk is of something open."""
    open_ = {RUN}
    for at, event in enumerate(events, 1):
        for signal in dialect.feed(event, at):
            _follow(signal, open_, at)
    for signal in [*dialect.finish(len(events) + 1), *dialect.untold(len(events) + 2)]:
        _follow(signal, open_, len(events) + 2)


def _follow(signal: Signal, open_: set[str], now: int) -> None:
    assert 0 < signal.at <= now
    if isinstance(signal, Opened):
        assert signal.key != RUN or RUN not in open_
        open_.add(signal.key)  # where it is open, the recorder closes the one before
    elif isinstance(signal, Closed):
        assert signal.key in open_
        open_.remove(signal.key)
        if signal.key == RUN:
            open_.clear()
    elif isinstance(signal, Chunk):
        assert signal.key in open_
        assert signal.text.__class__ is str


def wire_files(dialect: str) -> list[Path]:
    return sorted(WIRE.glob(f"{dialect}-*.http.json"))


def check_wire(path: Path, kind: type[Dialect]) -> None:
    """Play an HTTP exchange as it goes over the wire, and compare what it expects."""
    exchange = json.loads(path.read_text("utf-8"))
    request, response, expect = exchange["request"], exchange["response"], exchange["expect"]
    assert exchange["dialect"] == kind.name
    if kind.paths:
        assert by_path(request["path"].partition("?")[0]) == kind.name
    asked = kind.asked(request["path"], request["body"])
    assert asked.get("operation", "invoke_agent") == expect["operation"]
    assert asked.get("model", "") == expect["model"]
    framed = framing.find(_FRAMINGS[response["headers"]["content-type"]])
    assert framed is not None
    bytes_, dialect, signals = framed(), kind(), []
    for number, piece in enumerate(response["pieces"]):
        signals += [signal for event in bytes_.feed(piece.encode()) for signal in dialect.feed(event, number)]
    at = len(response["pieces"])
    signals += [signal for event in bytes_.finish() for signal in dialect.feed(event, at)] + list(dialect.finish(at))
    chunks = [signal for signal in signals if isinstance(signal, Chunk)]
    assert {what: sum(each.kind == what for each in chunks) for what in {each.kind for each in chunks}} == expect[
        "chunks"
    ]
    assert next((chunk.at for chunk in chunks), None) == expect["first_chunk_piece"]
    assert next((chunk.at for chunk in chunks if chunk.kind == TEXT), None) == expect["first_text_piece"]
    usages = [signal for signal in signals if isinstance(signal, Usage) and signal.key == RUN]
    counts = dict(zip(semconv.TOKEN_TYPES, usages[-1].counts(), strict=True)) if usages else {}
    assert {name: count for name, count in counts.items() if count is not None} == expect["usage"]
    closed = [signal.outcome for signal in signals if isinstance(signal, Closed) and signal.key == RUN]
    assert (closed or [Outcome.TRUNCATED if kind.terminal else Outcome.COMPLETED])[0] == expect["outcome"]
