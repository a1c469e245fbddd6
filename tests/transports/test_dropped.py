"""Streams that nobody holds any more: ended at once, and never under somebody's lock."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import streamgauge
from streamgauge.transports._dropped import settle


def in_a_cycle() -> None:
    stream: Any = streamgauge.wrap(iter("ab"), agent_name="cyclic")
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)


def test_found_by_the_collector_under_our_own_lock(seen: Any) -> None:
    """What ends a stream takes this lock: to end it there would wait for ever."""
    in_a_cycle()
    with seen.pipeline.aggregates.lock:
        gc.collect()
    settle()
    assert seen.value("streamgauge.streams", streamgauge_outcome="abandoned") == 1
    assert seen.tree() == ["invoke_agent cyclic"]


def test_it_ended_when_it_was_found(clock: Any, seen: Any) -> None:
    in_a_cycle()
    clock.pass_ms(50)
    gc.collect()
    clock.pass_ms(1_000)
    settle()
    (span,) = seen.spans
    assert span["end"] - span["start"] == 50_000_000


def test_dropped_by_its_last_reference_it_ends_in_the_callers_thread(seen: Any) -> None:
    ended_in: list[int] = []

    def source() -> Iterator[str]:
        yield "a"

    stream = streamgauge.wrap(source())
    next(stream)
    tap = object.__getattribute__(stream, "_s_tap")
    end_at = type(tap).end_at
    try:
        type(tap).end_at = lambda self, *args, **kwargs: (
            ended_in.append(threading.get_ident()),
            end_at(self, *args, **kwargs),
        )[1]
        del stream
    finally:
        type(tap).end_at = end_at
    assert ended_in == [threading.get_ident()]
