"""What the demo plays: captured and scripted streams of every dialect, and what may happen to each.

A pure function of the seed; only `source` and `paused_source` sleep.
"""

from __future__ import annotations

import asyncio
import datetime
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from typing import Any

from streamgauge.capture import Capture, read

__all__ = [
    "STALL_AFTER_S",
    "Manner",
    "Play",
    "Scripted",
    "Step",
    "captures",
    "paused_source",
    "plays",
    "source",
    "steps",
]

_AGENTS = ("billing", "research", "support")
_LEAST_S = 1.0  # recordings of scripted models are over in a tenth of a second; no real stream is
_STRETCH = 4.0  # at most: tokens that came every 20 ms must not come every second
STALL_AFTER_S = 1.0
"""The demo's limit: who watches for 20 seconds should see some."""
_STALL_S = 1.7


class Manner(StrEnum):
    """What happens to a stream besides being read."""

    READ = "read"
    STALLED = "stalled"
    """Its source is silent for a while."""
    SLOW_CALLER = "slow_caller"
    CUT = "cut"
    """Its source just ends."""
    BROKEN = "broken"
    """Its source raises."""
    RETRIED = "retried"
    """Its source raises, and the caller opens it again."""
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    TIMED_OUT = "timed_out"


# Two thirds of all streams just run; each manner comes once in a round.
_ROUND = (*[Manner.READ] * 2 * (len(Manner) - 1), *(manner for manner in Manner if manner is not Manner.READ))


@dataclass(frozen=True, slots=True)
class Play:
    """One stream to be played."""

    capture: Capture
    manner: Manner
    agent: str
    pace: float
    """How many times slower than captured."""
    where: float
    """Which part of the stream passes before the manner shows, from 0 to 1."""
    pause_s: float
    """Before it begins."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a source gives next."""

    wait_s: float
    data: Any
    """Data, or an exception to raise."""
    lag_s: float = 0.0
    """How long before its arrival the event happened, by its own timestamp."""


def captures() -> dict[str, list[Capture]]:
    """The streams of the demo, by dialect."""
    found: dict[str, list[Capture]] = {}
    folder = resources.files("streamgauge").joinpath("demo")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".ndjson"):
            with file.open("rb") as opened:
                capture = read(opened)
            found.setdefault(capture.request.dialect, []).append(capture)
    return found


def plays(seed: int, caller: str, known: list[Capture]) -> Iterator[Play]:
    """What one caller plays, without end: each stream and each manner once in a round, in an order of the seed's."""
    chance = random.Random(f"{seed} {caller}")  # noqa: S311  (no secret)
    streams: list[Capture] = []
    manners: list[Manner] = []
    while True:
        if not streams:
            streams = chance.sample(known, len(known))
        if not manners:
            manners = chance.sample(_ROUND, len(_ROUND))
        capture = streams.pop()
        manner = manners.pop()
        last = max((event.at for event in capture.events), default=0) / 1e9
        stretch = min(max(_LEAST_S / last, 1.0), _STRETCH) if last else 1.0
        yield Play(
            capture=capture,
            manner=manner,
            agent=chance.choice(_AGENTS),
            pace=stretch * chance.uniform(0.8, 1.3),
            where=chance.uniform(0.3, 0.8),
            pause_s=chance.uniform(0.1, 1.2),
        )


def steps(play: Play) -> list[Step]:
    """The stream, as its source is to give it."""
    found: list[Step] = []
    before = 0
    for event in play.capture.events:
        lag_s = max((play.capture.epoch_ns + event.at) / 1e9 - (_timestamp(event.data) or math.inf), 0.0)
        found.append(Step((event.at - before) / 1e9 * play.pace, event.data, lag_s * play.pace))
        before = event.at
    ending = play.capture.ending
    if ending is not None and ending.how == "error":
        found.append(Step(0.0, _error(ending.error or "Exception")))
    strikes = max(min(round(len(found) * play.where), len(found) - 1), 0)
    if play.manner is Manner.CUT:
        return found[:strikes]
    if play.manner in (Manner.BROKEN, Manner.RETRIED):
        return [*found[:strikes], Step(0.05, _error("ConnectionResetError"))]
    if play.manner is Manner.STALLED:
        found[strikes] = replace(found[strikes], wait_s=found[strikes].wait_s + _STALL_S)
    return found


class Scripted(Exception):
    """What a source raises because it is to: no fault of the demo."""


def _error(name: str) -> Scripted:
    """One that says that it is of another class: of a captured one, the name is all that is known."""
    kind = type(name.rpartition(".")[2], (Scripted,), {"__module__": "builtins"})
    made: Scripted = kind("scripted")
    return made


async def source(given: list[Step]) -> AsyncIterator[Any]:
    """An agent's stream, async."""
    for step in given:
        await asyncio.sleep(step.wait_s)
        yield _today(step)


def paused_source(given: list[Step], pause: Callable[[float], object]) -> Iterator[Any]:
    """An agent's stream, for a thread.

    Args:
        pause: sleeps for so many seconds, or raises what ends the thread.
    """
    for step in given:
        pause(step.wait_s)
        yield _today(step)


def _today(step: Step) -> Any:
    """The data, with its own timestamp as if it happened today: dialects time tools by it.

    Raises: Scripted where that is what comes.
    """
    if isinstance(step.data, Scripted):
        raise step.data
    if _timestamp(step.data) is None:
        return step.data
    now = time.time() - step.lag_s
    if isinstance(step.data["timestamp"], str):
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(tzinfo=None)
        return {**step.data, "timestamp": moment.isoformat()}
    return {**step.data, "timestamp": now}


def _timestamp(data: Any) -> float | None:
    """An event's own, in seconds since the epoch."""
    told = data.get("timestamp") if isinstance(data, dict) else None
    if isinstance(told, str):
        return datetime.datetime.fromisoformat(told).replace(tzinfo=datetime.UTC).timestamp()
    return told if isinstance(told, float) else None
