"""Streams to play: each capture as a sync or async source that holds the clock, and what its dialect says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from streamgauge import dialects
from streamgauge.capture import Capture, read
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Opened
from streamgauge.wire import Aside, Outcome

CAPTURES = Path(__file__).parent.parent / "captures"
SOURCE_MS = 10
CALLER_MS = 3


class Boom(Exception):
    """What a source raises."""


@dataclass
class Script:
    """A capture's data, ready to be played any number of times."""

    name: str
    dialect: str
    data: list[Any]
    ends_at: list[tuple[int, Outcome]] = field(default_factory=list)
    """(index of the event that closes a run, how)."""
    finish: Outcome | None = None
    """How the dialect itself ends the last run when the source is exhausted."""
    first_chunk: int | None = None
    first_text: int | None = None
    runs: int = 1

    def outcome_after(self, count: int, otherwise: Outcome) -> Outcome:
        """How the last run ends that was open after `count` events, if then the stream ends in another way."""
        closed = [(index, outcome) for index, outcome in self.ends_at if index < count]
        if not closed:
            return self._untold(count) or otherwise
        last, outcome = closed[-1]
        reopened = any(last < index < count for index in self.opens)
        return otherwise if reopened else outcome

    def _untold(self, count: int) -> Outcome | None:
        """How the run has ended by what the dialect had read, and not told yet."""
        kind = dialects.find(self.dialect)
        assert kind is not None
        decoder = kind()
        for index, event in enumerate(self.data[:count]):
            for _ in decoder.feed(event, 1_000 + index):
                pass
        told = [each.outcome for each in decoder.untold(2_000) if isinstance(each, Closed) and each.key == RUN]
        return told[0] if told else None

    opens: list[int] = field(default_factory=list)
    """Indexes of events that open a run anew."""


@cache
def scripts() -> dict[str, Script]:
    """All captures of streams by name; those of conversations are for transports that carry both directions."""
    captures = {path.stem: read(path) for path in sorted(CAPTURES.glob("*.ndjson"))}
    return {name: _script(name, found) for name, found in captures.items() if not _converses(found)}


def _converses(capture: Capture) -> bool:
    kind = dialects.find(capture.request.dialect)
    assert kind is not None
    return kind.opens_runs


def _script(name: str, capture: Capture) -> Script:
    data = [event.data for event in capture.events if not isinstance(event.data, Aside)]
    script = Script(name, capture.request.dialect, data)
    kind = dialects.find(script.dialect)
    assert kind is not None
    decoder = kind()
    is_open = True
    for index, event in enumerate(data):
        for signal in decoder.feed(event, 1_000 + index):
            if isinstance(signal, Closed) and signal.key == RUN and is_open:
                script.ends_at.append((index, signal.outcome))
                is_open = False
            elif isinstance(signal, Opened) and signal.key == RUN:
                script.opens.append(index)
                script.runs += 1
                is_open = True
            elif isinstance(signal, Chunk) and is_open:
                if script.first_chunk is None:
                    script.first_chunk = index
                if script.first_text is None and signal.kind == TEXT:
                    script.first_text = index
    for signal in decoder.finish(2_000_000):
        if isinstance(signal, Closed) and signal.key == RUN and is_open:
            script.finish = signal.outcome
    if script.finish is None:
        script.finish = Outcome.TRUNCATED if kind.terminal else Outcome.COMPLETED
    return script


def played(script: Script, clock: Any, *, fails_after: int | None = None) -> Generator[Any, Any, str]:
    """The capture as a generator, each event 10 ms after it was asked for."""
    for index, item in enumerate(script.data):
        if index == fails_after:
            raise Boom("source")
        clock.pass_ms(SOURCE_MS)
        yield item
    if fails_after is not None:
        raise Boom("source")
    return "done"


async def aplayed(
    script: Script,
    clock: Any,
    *,
    fails_after: int | None = None,
    blocks_after: int | None = None,
    blocked: Callable[[], None] | None = None,
) -> AsyncGenerator[Any, None]:
    """The capture as an async generator; it can stop before an event and wait for ever."""
    for index, item in enumerate(script.data):
        if index == fails_after:
            raise Boom("source")
        if index == blocks_after:
            assert blocked is not None
            blocked()
            await asyncio.Event().wait()
        clock.pass_ms(SOURCE_MS)
        yield item
    if fails_after is not None:
        raise Boom("source")
