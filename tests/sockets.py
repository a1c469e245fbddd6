"""What the tests of WebSocket transports have in common: a dialect of turns, and what is said in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streamgauge import dialects, semconv
from streamgauge.dialects import Dialect
from streamgauge.signals import BINARY, RUN, TEXT, Chunk, Closed, Opened, Signals
from streamgauge.testing import Seen
from streamgauge.wire import Aside, Outcome

__all__ = ["END", "Turns", "ask", "known", "outcomes", "say", "spans"]


class Turns(Dialect):
    """`ask` begins a run, `end` ends it, `error` fails it; what is binary is a chunk."""

    name = "turns"
    system = "a test's"
    terminal = True
    opens_runs = True
    sockets = (r"/turns$",)

    def feed(self, data: Any, at: int) -> Signals:
        if isinstance(data, Aside):
            if data.name != "sent" or not isinstance(data.data["data"], str):
                return ()
            return (Opened(RUN, at, semconv.INVOKE_AGENT, json.loads(data.data["data"])["ask"]),)
        if isinstance(data, bytes):
            return Chunk(RUN, at, BINARY, data.decode("latin-1"))
        said = json.loads(data)
        if "error" in said:
            return (Closed(RUN, at, Outcome.FAILED, said["error"]),)
        return (Closed(RUN, at),) if "end" in said else Chunk(RUN, at, TEXT, said["say"])


END = '{"end": 1}'


def ask(name: str = "") -> str:
    return json.dumps({"ask": name})


def say(text: str) -> str:
    return json.dumps({"say": text})


@contextmanager
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The dialect is one of the built-in ones."""
    monkeypatch.setitem(dialects._found, "turns", Turns)
    monkeypatch.setattr(dialects, "BUILT_IN", {**dialects.BUILT_IN, "turns": "nowhere:Turns"})
    dialects._paths.cache_clear()
    yield
    dialects._paths.cache_clear()


def spans(seen: Seen, name: str) -> list[dict[str, Any]]:
    return [span for span in seen.spans if span["name"].startswith(name)]


def outcomes(seen: Seen, name: str) -> list[tuple[str, str | None]]:
    """(outcome, error type) of each run, or session."""
    found = [span["attributes"] for span in spans(seen, name)]
    return [(told["streamgauge.outcome"], told.get("error.type")) for told in found]
