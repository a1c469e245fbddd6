"""What the tests of the dialects of model APIs have in common: signals as lines, and how a wire file is played."""

from __future__ import annotations

import base64
import json
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from streamgauge import framing, semconv
from streamgauge.dialects import Dialect, by_path
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signal, Usage
from streamgauge.wire import Outcome, ServerSentEvent

WIRE = Path(__file__).parents[1] / "wire"
CAPTURES = Path(__file__).parents[1] / "captures"
FRAMINGS = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/json": "json",
    "application/vnd.amazon.eventstream": "aws-event-stream",
}
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
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
            return f"{at}note {key} {name.rpartition('.')[2]}" + _values(attributes)
    raise AssertionError(signal)


def _values(attributes: Any) -> str:
    return "".join(f" {' '.join(each) if isinstance(each, tuple) else each}" for each in attributes.values())


def told(dialect: Dialect, events: Iterable[Any]) -> list[str]:
    """What the events tell, the first at 1, the next at 2."""
    return [words(signal) for at, data in enumerate(events, 1) for signal in dialect.feed(data, at)]


def as_object(data: Any) -> Any:
    """A dict as an object with attributes, as an SDK's models are."""
    if isinstance(data, dict):
        return types.SimpleNamespace(**{name: as_object(value) for name, value in data.items()})
    return [as_object(each) for each in data] if isinstance(data, list) else data


def check_any(dialect: Dialect, events: list[Any]) -> None:
    """Whatever comes, nothing is raised; times never go back, and no run is closed that is not open."""
    open_, now = 1, 0
    for at, event in enumerate(events, 1):
        for signal in dialect.feed(event, at):
            assert 0 < signal.at <= at
            open_, now = _followed(signal, open_), max(now, signal.at)
    for signal in [*dialect.finish(len(events) + 1), *dialect.untold(len(events) + 2)]:
        open_ = _followed(signal, open_)


def _followed(signal: Signal, open_: int) -> int:
    if signal.key == RUN and isinstance(signal, Closed):
        assert open_ == 1
        return 0
    if signal.key == RUN and isinstance(signal, Opened):
        assert open_ == 0
        return 1
    return open_


def wire_files(dialect: str) -> list[Path]:
    return sorted(WIRE.glob(f"{dialect}-*.http.json"))


def check_wire(path: Path, kind: type[Dialect]) -> None:
    """Play an HTTP exchange as it goes over the wire, and compare what it expects."""
    exchange = json.loads(path.read_text("utf-8"))
    request, response, expect = exchange["request"], exchange["response"], exchange["expect"]
    assert exchange["dialect"] == kind.name
    assert by_path(request["path"].partition("?")[0]) == kind.name
    asked = kind.asked(request["path"], request["body"])
    assert (asked["operation"], asked["model"]) == (expect["operation"], expect["model"])
    plain = response["headers"]["content-type"] == "application/json" and not expect["chunks"]
    assert (asked["attributes"].get(semconv.GEN_AI_REQUEST_STREAM) is False) == plain
    pieces = [piece.encode() for piece in response.get("pieces", ())]
    pieces += [base64.b64decode(piece) for piece in response.get("pieces_base64", ())]
    framed = framing.find(FRAMINGS[response["headers"]["content-type"]])
    assert framed is not None
    bytes_, dialect, signals = framed(), kind(), []
    for number, piece in enumerate(pieces):
        signals += [signal for event in bytes_.feed(piece) for signal in dialect.feed(event, number)]
    at = len(pieces)
    signals += [signal for event in bytes_.finish() for signal in dialect.feed(event, at)] + list(dialect.finish(at))
    chunks = [signal for signal in signals if isinstance(signal, Chunk)]
    counted = {kind: sum(chunk.kind == kind for chunk in chunks) for kind in {chunk.kind for chunk in chunks}}
    assert counted == expect["chunks"]
    assert next((chunk.at for chunk in chunks), None) == expect["first_chunk_piece"]
    assert next((chunk.at for chunk in chunks if chunk.kind == TEXT), None) == expect["first_text_piece"]
    usages = [signal for signal in signals if isinstance(signal, Usage)]
    counts = dict(zip(semconv.TOKEN_TYPES, usages[-1].counts(), strict=True)) if usages else {}
    assert {name: count for name, count in counts.items() if count is not None} == expect["usage"]
    closed = [signal.outcome for signal in signals if isinstance(signal, Closed) and signal.key == RUN]
    assert (closed or [Outcome.TRUNCATED if kind.terminal else Outcome.COMPLETED]) == [expect["outcome"]]


def sse(data: Any, type_: str = "message") -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data), type_)
