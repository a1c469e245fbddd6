"""What the proxy holds back for a moment: recorded as if it were told at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import HandClock
from streamgauge import httpwatch, testing
from streamgauge.transports._exchange import HELD_BYTES, HELD_NS
from streamgauge.transports.http import heads, relay
from streamgauge.transports.http.heads import Answer, Request
from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.relay import Relay
from streamgauge.transports.http.routes import Lane, Route
from transports.chat_pieces import DONE, FINISH, PIECES, recorded, said

US, MS = 1_000, 1_000_000
CHUNKS = "streamgauge.stream.chunks"
ADDED = "streamgauge.proxy.added_latency"
ASKS = b'{"model": "m-1", "stream": true}'
Step = tuple[bytes, int, int, bool]
"""A piece, how long the agent took for it, how long the caller then takes none, whether the server looks around."""


class Ends:
    """Both ends of a relay, and what a server does for it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reused = False
        self.write = self.written.append

    def take(self, relay: Relay, *, fresh: bool) -> Ends:
        return self

    def is_last(self, request: Request) -> bool:
        return False

    def _nothing(self, *_: Any, **__: Any) -> None:
        pass

    begin = send_all = release = answered = hold = pause = resume = abort = cut = refuse = _nothing


def asked(ends: Ends) -> Relay:
    lane = Lane(Route("/", "http://agent.example", watch=httpwatch.watch("http")), Limits())
    lane.pool = ends
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nContent-Length: 32\r\n\r\n"
    fields = [(b"Host", b"proxy"), (b"Content-Length", b"32")]
    request = heads.read_request(raw, fields, max_target_bytes=100, max_headers=9)
    made = Relay(ends, lane, request, relay._clock())  # type: ignore[arg-type]
    made.body(ASKS)
    made.finish(None)
    made.open()
    return made


def head() -> Answer:
    answer = Answer(200, b"OK", [(b"content-type", b"text/event-stream")])
    answer.chunked = True
    return answer


def through_the_relay(clock: HandClock, steps: list[Step]) -> None:
    made = asked(Ends())
    clock.now += 3 * MS
    made.answered(head(), clock.now)
    for piece, waits, stuck, looks in steps:
        clock.now += waits
        made.data(piece, clock.now)
        if stuck:
            made.pause()
            clock.now += stuck
            made.resume()
        if looks:
            made.check(clock.now)
    made.complete(None, clock.now, None)


def told_at_once(clock: HandClock, steps: list[Step]) -> None:
    watch = httpwatch.watch("http")
    exchange = watch.exchange("POST", "/v1/chat/completions", [], server_address="agent.example", server_port=80)
    exchange.sent(ASKS)
    exchange.requested()
    clock.now += 3 * MS
    exchange.responded(200, [(b"content-type", b"text/event-stream")])
    for piece, waits, stuck, _ in steps:
        clock.now += waits
        exchange.sink.added(0)
        exchange.data(piece, clock.now)
        if stuck:
            exchange.paused()
            clock.now += stuck
            exchange.resumed()
    exchange.end()


WAITS = st.sampled_from([0, 5 * US, 900 * US, 5 * MS, 19 * MS, 21 * MS, 40 * MS, 300 * MS, 40_000 * MS])
STUCK = st.sampled_from([0, 0, 0, 7 * MS, 2_000 * MS])
RUNS = st.lists(st.tuples(PIECES, st.integers(1, 30), WAITS, STUCK, st.booleans()), max_size=12)


@given(RUNS, st.booleans())
def test_recorded_as_if_told_at_once(runs: list[tuple[bytes, int, int, int, bool]], ends: bool) -> None:
    steps: list[Step] = [(said("a"), MS, 0, False)]
    steps += [(piece, waits, stuck, looks) for piece, count, waits, stuck, looks in runs for _ in range(count)]
    if ends:
        steps += [(FINISH, 0, 0, False), (DONE, 0, 0, False)]
    assert recorded(through_the_relay, steps, relay) == recorded(told_at_once, steps, relay)


@pytest.fixture
def clock(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> HandClock:
    monkeypatch.setattr(relay, "_clock", clock)
    return clock


def begun(clock: HandClock, pieces: int, waits: int = US) -> Relay:
    made = asked(Ends())
    made.answered(head(), clock.now)
    for _ in range(pieces):
        clock.now += waits
        made.data(said("a"), clock.now)
    return made


@pytest.mark.parametrize("how", ["shut", "gone", "lost"])
def test_what_is_held_is_told_at_the_end(how: str, clock: HandClock, seen: testing.Seen) -> None:
    made = begun(clock, 10)
    assert len(made.exchange.held) == 8
    assert seen.value(CHUNKS) == 2
    {"shut": made.shut, "gone": made.gone, "lost": lambda: made.lost("connection_lost", started=True)}[how]()
    assert seen.value(CHUNKS) == 10
    assert seen.count(ADDED) == 10
    outcome = {"shut": "shutdown", "gone": "abandoned", "lost": "truncated"}[how]
    assert [span["attributes"]["streamgauge.outcome"] for span in seen.spans] == [outcome]


def test_where_nothing_more_comes_it_is_told_all_the_same(clock: HandClock, seen: testing.Seen) -> None:
    made = begun(clock, 10)
    made.check(clock.now)
    assert seen.value(CHUNKS) == 2
    made.check(clock.now + HELD_NS + 1)
    assert made.exchange.held == []
    assert seen.value(CHUNKS) == 10
    made.data(said("b"), clock.now + 2 * HELD_NS)
    assert seen.value(CHUNKS) == 11
    made.shut()


def test_so_much_is_held_and_no_longer(clock: HandClock, seen: testing.Seen) -> None:
    made = begun(clock, 2)
    lengths = []
    for _ in range(500):
        made.data(said("a"), clock.now)
        lengths.append(len(made.exchange.held))
    assert max(lengths) == HELD_BYTES // len(said("a")) + 1
    lengths = []
    for _ in range(20):
        clock.now += HELD_NS // 4
        made.data(said("a"), clock.now)
        lengths.append(len(made.exchange.held))
    assert max(lengths[4:]) == 3
    made.shut()


def test_what_drains_is_told_in_order(clock: HandClock, seen: testing.Seen) -> None:
    """Nobody waits for it any more: only what was written has been held up."""
    made = asked(Ends())
    made.lane.route = Route("/", "http://agent.example", on_disconnect="drain")
    made.answered(head(), clock.now)
    for number in range(12):
        clock.now += US
        if number == 6:
            made.gone()
        made.data(said("a"), clock.now)
    made.complete(FINISH + DONE, clock.now, None)
    (span,) = seen.spans
    assert span["attributes"][CHUNKS] == 12
    assert span["attributes"]["streamgauge.outcome"] == "completed"
