"""For the tables of model APIs: events told in one line for each signal, and answers as they come over HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from streamgauge import framing, semconv
from streamgauge.dialects import Dialect
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signal, Usage
from streamgauge.wire import Outcome, ServerSentEvent

WIRE = Path(__file__).parents[1] / "wire"
FINISH = object()
"""In the place of an event: the source has ended."""
UNTOLD = object()
"""In the place of an event: the caller has left."""

_SHORT = {
    semconv.GEN_AI_AGENT_ID: "agent-id",
    semconv.GEN_AI_AGENT_NAME: "agent",
    semconv.GEN_AI_CONVERSATION_ID: "conversation",
    semconv.GEN_AI_RESPONSE_FINISH_REASONS: "finish",
    semconv.GEN_AI_RESPONSE_ID: "id",
    semconv.GEN_AI_RESPONSE_MODEL: "model",
    semconv.GEN_AI_TOOL_CALL_ARGUMENTS: "arguments",
    semconv.GEN_AI_TOOL_CALL_ID: "call",
    semconv.GEN_AI_TOOL_NAME: "tool",
    semconv.GEN_AI_TOOL_TYPE: "type",
}


def words(signal: Signal) -> str:
    """A signal in one line, with its time; the run's key is empty, and COMPLETED is not said."""
    return " ".join(_words(signal).split())


def _words(signal: Signal) -> str:
    at = f"@{signal.at} "
    match signal:
        case Opened(key, _, operation, name, parent, attributes):
            return f"{at}+{key} {operation} {name} <{parent}{_facts(attributes)}"
        case Closed(key, _, outcome, error_type, message):
            how = "" if outcome is Outcome.COMPLETED else f" {outcome}"
            return f"{at}-{key}{how}{error_type and ' ' + error_type}{message and ': ' + message}"
        case Chunk(key, _, kind, piece):
            assert piece
            return f"{at}{kind} {key} {piece}"
        case Usage(key):
            return f"{at}usage {key} " + "/".join("" if count is None else str(count) for count in signal.counts())
        case Noted(key, _, attributes, name):
            return f"{at}note {key} {name.removeprefix('streamgauge.')}{_facts(attributes)}"
    raise AssertionError(signal)


def _facts(attributes: Any) -> str:
    return "".join(
        f" {_SHORT[name]}={'+'.join(value) if isinstance(value, tuple) else value}"
        for name, value in attributes.items()
    )


def told(dialect: Dialect, events: Iterable[Any]) -> list[str]:
    """What the events tell, the first at 1, the next at 2."""
    lines = []
    for at, data in enumerate(events, 1):
        if data is FINISH:
            signals = dialect.finish(at)
        elif data is UNTOLD:
            signals = dialect.untold(at)
        else:
            signals = dialect.feed(data, at)
        lines += [words(signal) for signal in signals]
    return lines


def sse(value: Any, type_: str = "message") -> ServerSentEvent:
    return ServerSentEvent(value if isinstance(value, str) else json.dumps(value), type_)


def as_object(value: Any) -> Any:
    """As an SDK has it: attributes for keys. Arguments are the user's own value, and stay."""
    if isinstance(value, dict):
        return SimpleNamespace(
            **{name: each if name == "arguments" else as_object(each) for name, each in value.items()}
        )
    return [as_object(each) for each in value] if isinstance(value, list) else value


# Over HTTP ----------------------------------------------------------------------------------------------------


def wire_files(dialect: str) -> list[Path]:
    found = [path for path in sorted(WIRE.glob("*.http.json")) if json.loads(path.read_text())["dialect"] == dialect]
    assert len(found) >= 3
    return found


def play(path: Path, kind: type[Dialect]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the answer's pieces tell, and what they are expected to."""
    wire = json.loads(path.read_text())
    request, response, expected = wire["request"], wire["response"], wire["expect"]
    pieces = [piece.encode() for piece in response["pieces"]]
    dialect = kind()
    signals: list[tuple[int, Signal]] = []
    if response["headers"]["content-type"] == "text/event-stream":
        found = framing.find("sse")
        assert found is not None
        splitter = found()
        for index, piece in enumerate(pieces):
            signals += [(index, signal) for event in splitter.feed(piece) for signal in dialect.feed(event, index)]
    else:
        last = len(pieces) - 1
        signals += [(last, signal) for signal in dialect.feed(b"".join(pieces), last)]
    signals += [(len(pieces), signal) for signal in dialect.finish(len(pieces))]
    chunks = [(index, signal) for index, signal in signals if isinstance(signal, Chunk)]
    ends = [signal for _, signal in signals if isinstance(signal, Closed) and signal.key == RUN]
    usage = [signal for _, signal in signals if isinstance(signal, Usage)]
    asked = kind.asked(request["path"], request["body"])
    outcome = Outcome.TRUNCATED if dialect.terminal else Outcome.COMPLETED
    found_out = {
        "outcome": str(ends[0].outcome if ends else outcome),
        "chunks": dict(Counter(chunk.kind for _, chunk in chunks)),
        "first_chunk_piece": next((index for index, _ in chunks), None),
        "first_text_piece": next((index for index, chunk in chunks if chunk.kind == TEXT), None),
        "operation": asked["operation"],
        "model": asked["model"],
        "usage": {"input": usage[-1].input_tokens, "output": usage[-1].output_tokens} if usage else None,
    }
    if ends and ends[0].error_type:
        found_out["error_type"] = ends[0].error_type
    return found_out, expected


# Anything -----------------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def half(keys: Iterable[str], types: Iterable[str] = ()) -> Any:
    """Objects that have the right keys, down to any depth, and anything for their values."""
    names = st.sampled_from(sorted(keys))
    values = st.sampled_from(sorted(types)) | st.text(max_size=3) if types else st.text(max_size=3)
    inner = st.recursive(
        values | JUNK | st.integers(0, 3),
        lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(names, deeper, max_size=5),
        max_leaves=12,
    )
    objects = st.dictionaries(names, inner, max_size=6)
    if not types:
        return objects
    return st.builds(lambda rest, type_: {**rest, "type": type_}, objects, st.sampled_from(sorted(types)))


def framed(events: Any) -> Any:
    """The same events in every form that they may come in."""
    return (
        events
        | st.builds(as_object, events)
        | st.builds(lambda event: sse(json.dumps(event)), events)
        | st.builds(json.dumps, events)
        | st.builds(sse, st.text(max_size=9), st.sampled_from(["message", "error"]))
        | st.text(max_size=9)
        | st.binary(max_size=9)
    )


def sound(dialect: Dialect, events: Iterable[Any]) -> None:
    """It never raises; a run that is closed says no more, unless it is opened again; what is opened was not, and lies
    below what is; chunks have text; times never lie in the future, and counts are counts."""
    open_ = {RUN: ""}
    at = 0
    for at, event in enumerate(events, 1):
        for signal in dialect.feed(event, at):
            _follow(signal, open_, at)
    for signal in [*dialect.untold(at + 1), *dialect.finish(at + 2)]:
        _follow(signal, open_, at + 2)


def _follow(signal: Signal, open_: dict[str, str], now: int) -> None:
    assert signal.at <= now
    if isinstance(signal, Opened):
        assert signal.key not in open_
        assert signal.key == RUN or signal.parent in open_
        open_[signal.key] = signal.parent
        return
    assert signal.key in open_
    if isinstance(signal, Closed):
        over = {signal.key}
        while below := {key for key, parent in open_.items() if parent in over and key not in over}:
            over |= below
        for key in over:
            open_.pop(key, None)
    elif isinstance(signal, Chunk):
        assert signal.text
        assert signal.text.__class__ is str
    elif isinstance(signal, Usage):
        assert all(count is None or count >= 0 for count in signal.counts())
        assert any(count is not None for count in signal.counts())
