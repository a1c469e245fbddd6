"""For the tables of dialects on messages: what both sides say, told in one line for each signal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from streamgauge import capture, dialects, framing, semconv, testing
from streamgauge.dialects import Dialect
from streamgauge.replay import replay
from streamgauge.signals import RUN, SESSION, Chunk, Closed, Noted, Opened, Signal, Usage
from streamgauge.wire import Aside, Outcome

CAPTURES = Path(__file__).parents[1] / "captures"
FINISH = object()
"""In the place of a message: the connection was closed by the agent."""
UNTOLD = object()
"""In the place of a message: it was closed by somebody else."""


def sent(message: Any) -> Aside:
    """A message of the caller's."""
    return Aside("sent", {"data": message if isinstance(message, str | bytes) else json.dumps(message)})


def words(signal: Signal) -> str:
    """A signal in one line, with its time; the run's key is empty, the session's `:session`."""
    at = f"@{signal.at} "
    match signal:
        case Opened(key, _, operation, name, parent, attributes):
            line = f"{at}+{key} {operation} {name} {'<' + parent if parent else ''} {_values(attributes)}"
        case Closed(key, _, outcome, error_type, message):
            how = "" if outcome is Outcome.COMPLETED else f"{outcome}"
            line = f"{at}-{key} {how} {error_type}{message and ': ' + message}"
        case Chunk(key, _, kind, piece):
            assert piece
            line = f"{at}{kind} {key} {piece}"
        case Usage(key):
            line = f"{at}usage {key} " + "/".join("" if each is None else str(each) for each in signal.counts())
        case Noted(key, _, attributes, name):
            by = attributes.get(semconv.STREAMGAUGE_INTERRUPTED_BY)
            line = f"{at}note {key} {name.removeprefix('streamgauge.')} {'by ' + by if by else _values(attributes)}"
        case _:
            line = f"{at}{signal}"
    return " ".join(line.split())


def _values(attributes: Any) -> str:
    return " ".join("+".join(each) if isinstance(each, tuple | list) else str(each) for each in attributes.values())


def fed(dialect: Dialect, messages: Iterable[Any]) -> list[Signal]:
    """What they tell, the first at 1, the next at 2; what is no text, no bytes and no aside comes as JSON."""
    told: list[Signal] = []
    for at, message in enumerate(messages, 1):
        if message is FINISH:
            told += dialect.finish(at)
        elif message is UNTOLD:
            told += dialect.untold(at)
        else:
            plain = isinstance(message, str | bytes | Aside)
            told += dialect.feed(message if plain else json.dumps(message), at)
    return told


def lines(dialect: Dialect, messages: Iterable[Any]) -> list[str]:
    return [words(signal) for signal in fed(dialect, messages)]


def within(signals: Iterable[Signal]) -> list[Signal]:
    """Without the opening and the closing of runs."""
    return [each for each in signals if not (isinstance(each, Opened | Closed) and each.key == RUN)]


def ends(signals: Iterable[Signal]) -> list[tuple[Outcome, str]]:
    return [(each.outcome, each.error_type) for each in signals if isinstance(each, Closed) and each.key == RUN]


def replayed(name: str) -> testing.Seen:
    """What a capture of the repository tells."""
    with testing.recording() as seen:
        replay(capture.read(CAPTURES / f"{name}.ndjson"), seen.pipeline)
    return seen


# Anything -----------------------------------------------------------------------------------------------------

_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def anything(keys: Sequence[str], values: Sequence[str]) -> Any:
    """Messages of both sides with the right keys and words, down to any depth, in any place."""
    leaf = st.sampled_from(sorted(values)) | st.booleans() | st.integers(0, 3) | _JUNK
    inner = st.recursive(
        leaf,
        lambda deeper: (
            st.lists(deeper, max_size=2) | st.dictionaries(st.sampled_from(sorted(keys)), deeper, max_size=4)
        ),
        max_leaves=10,
    )
    objects = st.dictionaries(st.sampled_from(sorted(keys)), inner, max_size=5)
    typed = st.builds(lambda rest, type_: {**rest, "type": type_}, objects, st.sampled_from(sorted(values)))
    data = (objects | typed | _JUNK).map(json.dumps) | st.text(max_size=5) | st.binary(max_size=5)
    return st.lists(data | st.builds(sent, data) | st.just(Aside("closed", {"code": 1000})), max_size=12)


def mixed(rows: Mapping[str, tuple[list[Any], list[str]]]) -> Any:
    """What the rows of a table have, in any order."""
    known = [each for messages, _ in rows.values() for each in messages if each is not FINISH and each is not UNTOLD]
    plain = [each if isinstance(each, str | bytes | Aside) else json.dumps(each) for each in known]
    return st.lists(st.sampled_from(plain), max_size=24)


def sound(dialect: Dialect, messages: Iterable[Any]) -> None:
    """It never raises; a run is told of from its opening to its end and never otherwise, one at a time; what is closed
    was open; times never lie in the future."""
    open_: set[str] = set()
    at = 0
    for at, message in enumerate(messages, 1):
        for signal in dialect.feed(message, at):
            _follow(signal, open_, at)
    for signal in [*dialect.untold(at + 1), *dialect.finish(at + 2)]:
        _follow(signal, open_, at + 2)


def _follow(signal: Signal, open_: set[str], now: int) -> None:
    assert 0 < signal.at <= now
    if signal.key == SESSION:
        assert isinstance(signal, Noted)
        return
    if isinstance(signal, Opened):
        assert signal.key not in open_ or signal.key != RUN
        assert signal.key == RUN or RUN in open_
        open_.add(signal.key)
        return
    assert RUN in open_, signal
    if isinstance(signal, Closed):
        open_.discard(signal.key)  # one that is not open means nothing, but of a run
        if signal.key == RUN:
            open_.clear()
    elif isinstance(signal, Chunk):
        assert signal.text


# Twins --------------------------------------------------------------------------------------------------------


def streams(*patterns: str) -> list[Any]:
    """Captures of streams, as parameters of a test."""
    found = sorted({path for pattern in patterns for path in CAPTURES.glob(f"{pattern}.ndjson")})
    assert found
    return [pytest.param(path, id=path.stem) for path in found]


def told_twice(path: Path, socket: Dialect, request: Any, message: Callable[[Any], Any]) -> tuple[list[Any], list[Any]]:
    """What a captured stream tells through its own dialect, and its events through one of messages: both without the
    opening and the closing of runs, but with how each ends.

    Args:
        request: what the caller says first.
        message: makes of an event's JSON value what comes as a message.
    """
    taken = capture.read(path)
    kind = dialects.find(taken.request.dialect)
    assert kind is not None
    own = kind()
    own.anchor = socket.anchor = taken.epoch_ns
    splitter: Any = framing.find(taken.framing)() if taken.framing else None
    assert taken.ending is not None
    first: list[Signal] = []
    second: list[Signal] = [*socket.feed(sent(request), 0)]
    assert [each.key for each in second] == [RUN]
    for event in taken.events:
        if isinstance(event.data, Aside):
            continue
        for data in splitter.feed(event.data) if splitter is not None else [event.data]:
            first += own.feed(data, event.at)
            value = dialects.loaded(data)
            value = data.data if value is None else value
            second += socket.feed(message(value), event.at)
    last = taken.ending.at
    first += own.finish(last)
    second += socket.finish(last)
    return [*within(first), *ends(first)], [*within(second), *ends(second)]
