"""What a client holds back for a moment: recorded as if it were told at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import HandClock
from streamgauge import httpwatch, testing
from streamgauge.recorder.variants import MeteredStream
from streamgauge.signals import Chunk
from streamgauge.transports import _httpx_body, httpx_client
from streamgauge.transports._exchange import HELD_BYTES, HELD_NS, Exchange
from streamgauge.wire import Outcome
from transports.chat_pieces import DONE, FINISH, HEAD, PIECES, recorded, said

US = 1_000
MS = 1_000_000
CHUNKS = "streamgauge.stream.chunks"
Timed = tuple[bytes, int, int]
"""A piece, how long the source took for it, how long the caller then works."""


@pytest.fixture
def clock(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> HandClock:
    monkeypatch.setattr(_httpx_body, "_clock", clock)
    return clock


def answered(clock: HandClock) -> Exchange:
    exchange = httpwatch.watch("httpx", eager=False).exchange("POST", "/v1/chat/completions", [])
    exchange.sent(b'{"model": "m-1", "stream": true}')
    exchange.requested()
    clock.now += 3 * MS
    exchange.responded(200, [(b"content-type", b"text/event-stream")])
    return exchange


def body_of(clock: HandClock, exchange: Exchange, pieces: list[Timed]) -> Any:
    class Source(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for piece, waits, _ in pieces:
                clock.now += waits
                yield piece

    return httpx_client.kinds(httpx).body(Source(), exchange, httpx)


def async_body_of(clock: HandClock, exchange: Exchange, pieces: list[Timed]) -> Any:
    class Source(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece, waits, _ in pieces:
                clock.now += waits
                yield piece

    return httpx_client.kinds(httpx).async_body(Source(), exchange, httpx)


def read(clock: HandClock, pieces: list[Timed]) -> None:
    works = iter(pieces)
    for _ in body_of(clock, answered(clock), pieces):
        clock.now += next(works)[2]


def read_async(clock: HandClock, pieces: list[Timed]) -> None:
    async def reading() -> None:
        works = iter(pieces)
        async for _ in async_body_of(clock, answered(clock), pieces):
            clock.now += next(works)[2]

    asyncio.run(reading())


def read_at_once(clock: HandClock, pieces: list[Timed]) -> None:
    exchange = answered(clock)
    for piece, waits, works in pieces:
        clock.now += waits
        exchange.data(piece, clock.now)
        clock.now += works
        exchange.resumed()
    exchange.end()


WAITS = st.sampled_from([0, 5 * US, 60 * US, 900 * US, 5 * MS, 40 * MS, 300 * MS, 40_000 * MS])
RUNS = st.lists(st.tuples(PIECES, st.integers(1, 30), WAITS, WAITS), max_size=12)


@given(RUNS, st.booleans())
def test_recorded_as_if_told_at_once(runs: list[tuple[bytes, int, int, int]], ends: bool) -> None:
    pieces = [(HEAD, MS, 0), *((piece, waits, works) for piece, count, waits, works in runs for _ in range(count))]
    if ends:
        pieces += [(FINISH, 0, 0), (DONE, 0, 0)]
    expected = recorded(read_at_once, pieces, _httpx_body)
    assert recorded(read, pieces, _httpx_body) == expected
    assert recorded(read_async, pieces, _httpx_body) == expected


@pytest.mark.parametrize("left", ["closed", "dropped", "shut down"])
def test_what_is_held_is_told_at_the_end(left: str, clock: HandClock, seen: testing.Seen) -> None:
    exchange = answered(clock)
    body = body_of(clock, exchange, [(said("a"), MS, 0)] * 20)
    pieces = iter(body)
    for _ in range(10):
        next(pieces)
    assert len(exchange.held) == 8
    assert seen.value(CHUNKS) == 2
    if left == "closed":
        body.close()
    elif left == "dropped":
        del body, pieces
        gc.collect()
        assert exchange.watched is False
    else:
        seen.pipeline.close_streams()
    assert seen.value(CHUNKS) == 10
    outcome = {"closed": "abandoned", "dropped": "abandoned", "shut down": "shutdown"}[left]
    assert [span["attributes"]["streamgauge.outcome"] for span in seen.spans] == [outcome]


def test_the_terminal_event_is_told_at_once(clock: HandClock, seen: testing.Seen) -> None:
    """The caller need not close what it does not read to the end."""
    exchange = answered(clock)
    pieces = iter(body_of(clock, exchange, [(piece, US, 0) for piece in (HEAD, *[said("a")] * 9, FINISH, DONE, DONE)]))
    for _ in range(12):
        next(pieces)
    (span,) = seen.spans
    assert span["attributes"]["streamgauge.outcome"] == "completed"
    assert span["attributes"][CHUNKS] == 10


@pytest.mark.parametrize(("waits", "most"), [(US, HELD_BYTES // len(said("a")) + 1), (HELD_NS // 4, 3), (HELD_NS, 0)])
def test_so_much_is_held_and_no_longer(waits: int, most: int, clock: HandClock, seen: testing.Seen) -> None:
    exchange = answered(clock)
    lengths = [len(exchange.held) for _ in body_of(clock, exchange, [(said("a"), waits, 0)] * 500)]
    assert max(lengths) == most
    assert seen.value(CHUNKS) == 500


def test_what_is_seen_beside_the_stream_comes_after_what_is_held(clock: HandClock, seen: testing.Seen) -> None:
    exchange = answered(clock)
    pieces = iter(body_of(clock, exchange, [(said("a"), US, 0)] * 9))
    for _ in range(5):
        next(pieces)
    exchange.disconnected("cancel")
    assert exchange.held == []
    assert seen.value(CHUNKS) == 5


def test_what_is_no_bytes_is_not_held(clock: HandClock, seen: testing.Seen) -> None:
    exchange = answered(clock)
    odd: Any = [said("a"), said("a"), bytearray(said("b")), memoryview(said("c")), said("d")]
    body = body_of(clock, exchange, [(piece, US, 0) for piece in odd])
    assert [len(exchange.held) for _ in body] == [0, 0, 0, 0, 1]
    assert seen.value(CHUNKS) == 5


def test_nothing_is_held_where_each_chunk_is_looked_at(clock: HandClock) -> None:
    assert MeteredStream.record_alike is None
    with testing.recording(capture_content="SPAN_ONLY") as seen:
        exchange = answered(clock)
        body = body_of(clock, exchange, [(said("a"), US, 0)] * 5)
        assert [len(exchange.held) for _ in body] == [0] * 5
        assert seen.value(CHUNKS) == 5


def test_nothing_is_held_where_somebody_observes(clock: HandClock, seen: testing.Seen) -> None:
    told: list[Any] = []
    seen.pipeline.observers.add(lambda signal, request: told.append(signal))
    exchange = answered(clock)
    body = body_of(clock, exchange, [(said("a"), US, 0)] * 5)
    assert [len(exchange.held) for _ in body] == [0] * 5
    seen.pipeline.observers.stop(5.0)
    assert len([each for each in told if isinstance(each, Chunk)]) == 5


@pytest.mark.logs
@pytest.mark.parametrize(
    "where", ["streamgauge.answer.Answer.sizes", "streamgauge.recorder.clocks.Clocks.record_alike"]
)
def test_trouble_with_what_was_held_reaches_nobody(
    where: str, clock: HandClock, seen: testing.Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(where, fails)
    exchange = answered(clock)
    assert len(list(body_of(clock, exchange, [(said("a"), US, 0)] * 500))) == 500
    assert seen.value("streamgauge.tap.blind") == 1
    assert len(seen.spans) == 1


def test_ended_by_somebody_else_in_the_middle(clock: HandClock, seen: testing.Seen) -> None:
    exchange = answered(clock)
    pieces = iter(body_of(clock, exchange, [(said("a"), US, 0)] * 200))
    for _ in range(10):
        next(pieces)
    exchange.end(outcome=Outcome.SHUTDOWN)
    assert len(list(pieces)) == 190
    assert seen.value(CHUNKS) == 10
