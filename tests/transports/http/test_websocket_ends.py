"""How a WebSocket through the proxy ends, who waits for whom, and its limits."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from streamgauge import dialects, duplex, semconv, testing
from streamgauge.framing.websocket import Control, WebSocketFraming
from streamgauge.signals import RUN, TEXT, Chunk, Opened, Signals
from streamgauge.transports.http import Limits
from streamgauge.transports.http.front import Front
from streamgauge.wire import Aside
from transports.http.support import Connection, get, proxying, soon, until
from transports.http.websocket_parts import (
    ASKED,
    KEY,
    Agent,
    Joined,
    close,
    frame,
    joined,
    text,
    within,
)

detached = Front.detach

QUICK_S = 0.05
"""One side is gone: so soon the other is closed."""

# Clean -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "agent"])
@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (1001, ""), (1008, "policy"), (1011, "oh"), (4999, "ä")])
async def test_a_close_and_its_answer_pass_as_they_came(by: str, code: int, reason: str) -> None:
    async with joined() as ends:
        one, other = (ends.caller, ends.agent) if by == "caller" else (ends.agent, ends.caller)
        keys = (KEY, b"") if by == "caller" else (b"", KEY)
        first, answer = close(code, reason, keys[0]), close(code, "", keys[1])
        await one.send(first)
        assert await other.exactly(len(first)) == first
        assert await ends.noted.ended() == {"code": code, "reason": reason, "by": by}
        await other.send(answer)
        assert await one.exactly(len(answer)) == answer
        ends.agent.close()
        assert await ends.caller.closed()
        await soon(ends.over())
        assert ends.proxy.server.active.total == 0


async def test_a_close_without_a_code() -> None:
    async with joined() as ends:
        await ends.agent.send(frame(0x88))
        assert await ends.caller.exactly(2) == frame(0x88)
        assert await ends.noted.ended() == {"code": 1005, "reason": "", "by": "agent"}


async def test_what_an_agent_says_last_arrives_though_it_closes_at_once() -> None:
    async with joined() as ends:
        data = b"".join(frame(0x82, b"x" * 50_000) for _ in range(40)) + close(1000)
        await ends.agent.send(data)
        ends.agent.close()
        assert await ends.caller.rest() == data
        assert await ends.noted.ended() == {"code": 1000, "reason": "", "by": "agent"}
        assert ends.noted.names.count("received") == 40


# Lost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "shut"])
@pytest.mark.parametrize("by", ["caller", "agent"])
async def test_who_goes_without_a_word_takes_the_other_along(how: str, by: str) -> None:
    async def attempt() -> float:
        async with joined() as ends:
            one, other = (ends.caller, ends.agent) if by == "caller" else (ends.agent, ends.caller)
            await ends.agent.send(text("hello"))
            assert await ends.caller.exactly(7) == text("hello")
            began = time.monotonic()
            getattr(one, how)()
            assert await other.closed()
            took = time.monotonic() - began
            assert await ends.noted.ended() == {"code": 1006, "reason": "", "by": by}
            await soon(ends.over())
            return took

    await within(QUICK_S, attempt)


async def test_within_a_message_too() -> None:
    async with joined() as ends:
        cut = frame(0x81, b"x" * 1_000)[:500]
        await ends.agent.send(cut)
        ends.agent.close()
        assert await ends.caller.rest() == cut
        assert await ends.noted.ended() == {"code": 1006, "reason": "", "by": "agent"}
        assert ends.noted.names == ["answered", "closed"]


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_caller_that_goes_while_the_agent_takes_nothing(how: str) -> None:
    async def attempt() -> float:
        async with joined() as ends:
            await filled(ends.caller, frame(0x82, b"x" * 65_000, KEY))
            await until(lambda: ends.proxy.server.paused)
            gone = asyncio.ensure_future(connection_ends(ends.agent))
            began = time.monotonic()
            getattr(ends.caller, how)()
            await until(lambda: not ends.proxy.server.fronts)
            took = time.monotonic() - began
            await soon(gone)
            assert await ends.noted.ended() == {"code": 1006, "reason": "", "by": "caller"}
            return took

    await within(QUICK_S, attempt)


async def connection_ends(connection: Connection) -> None:
    await connection.rest()


# Slow --------------------------------------------------------------------------------------------------------------


async def filled(connection: Connection, piece: bytes, most: int = 64 * 1_048_576) -> int:
    """Send until nothing more is taken. Returns: how much was."""
    connection.writer.transport.set_write_buffer_limits(high=1)
    sent = 0
    while sent < most:
        connection.writer.write(piece)
        sent += len(piece)
        try:
            await asyncio.wait_for(connection.writer.drain(), 0.3)
        except TimeoutError:
            return sent
    raise AssertionError("all was taken")


@pytest.mark.parametrize("slow", ["caller", "agent"])
async def test_a_slow_reader_stops_the_source_and_gets_all(slow: str) -> None:
    async with joined(caller={"limit": 1_000}) as ends:
        source, reader = (ends.agent, ends.caller) if slow == "caller" else (ends.caller, ends.agent)
        reader.writer.transport.pause_reading()
        piece = frame(0x82, bytes(range(250)) * 64, KEY if slow == "agent" else b"")
        sent = await filled(source, piece)
        assert sent < 32 * 1_048_576
        (websocket,) = ends.proxy.server.fronts
        for side in (websocket.caller, websocket.agent):  # type: ignore[union-attr]
            assert side.transport.get_write_buffer_size() < 65_536 + 300_000
        assert bool(ends.proxy.server.paused) == (slow == "agent")
        reader.writer.transport.resume_reading()
        assert await reader.exactly(sent) == piece * (sent // len(piece))
        if slow == "caller":
            await ends.noted.has("resumed")
            assert ends.noted.names.index("paused") < ends.noted.names.index("resumed")
        else:
            assert "paused" not in ends.noted.names
        await until(lambda: ends.noted.names.count("sent") + ends.noted.names.count("received") == sent // len(piece))
        await source.send(piece)  # it goes on
        assert await reader.exactly(len(piece)) == piece


async def test_the_wait_for_a_slow_caller_is_the_callers() -> None:
    with testing.recording() as seen:
        agent = Agent()
        watch = duplex.watch("websocket", pipeline=lambda: seen.pipeline)
        async with proxying(agent, conversations=watch) as proxy:
            caller = await proxy.caller(limit=1_000)
            await caller.send(get("/", *ASKED) + text("go", KEY))
            await caller.head()
            upstream = await soon(agent.joined)
            assert await upstream.exactly(8) == text("go", KEY)
            caller.writer.transport.pause_reading()
            piece = frame(0x82, b"x" * 16_000)
            sent = await filled(upstream, piece)
            caller.writer.transport.resume_reading()
            assert len(await caller.exactly(sent)) == sent
            await upstream.send(close(1000))
            upstream.close()
            await caller.rest()
            agent.over.set()
        waits = {on: seen.value("streamgauge.stream.wait", on=on) for on in ("caller", "source")}
    assert waits["caller"] > 0.2  # the test waited 0.3 s for the source to be stopped
    assert waits["caller"] > waits["source"]


@pytest.mark.parametrize("slow", ["caller", "agent"])
async def test_who_takes_nothing_for_too_long_is_gone(slow: str) -> None:
    async with joined(caller={"limit": 1_000}, limits=Limits(write_timeout_s=0.1)) as ends:
        source, reader = (ends.agent, ends.caller) if slow == "caller" else (ends.caller, ends.agent)
        reader.writer.transport.pause_reading()
        source.writer.write(frame(0x82, b"x" * 32_000_000))
        assert await ends.noted.ended() == {"code": 1006, "reason": "", "by": slow}
        await soon(ends.over())


# Limits ------------------------------------------------------------------------------------------------------------


def masked_close(data: bytes) -> tuple[int, str]:
    """What the agent was told."""
    assert data[0] == 0x88
    assert data[1] & 0x80
    (event,) = WebSocketFraming().feed(data)
    assert isinstance(event, Control)
    return event.close


TOO_LONG = "a message is at most 1000 bytes"


@pytest.mark.parametrize("by", ["caller", "agent"])
@pytest.mark.parametrize("how", ["one", "fragments", "behind others"])
async def test_a_message_beyond_the_limit_goes_no_further(by: str, how: str) -> None:
    async with joined(limits=Limits(max_message_bytes=1_000)) as ends:
        key = KEY if by == "caller" else b""
        fine = frame(0x82, b"x" * 1_000, key)
        before, large = {
            "one": (b"", frame(0x82, b"x" * 1_001, key)),
            "fragments": (frame(2, b"x" * 600, key) + frame(0x89, b"", key), frame(0x80, b"x" * 600, key)),
            "behind others": (fine + fine, frame(0x81, b"x" * 70_000, key)),
        }[how]
        one = ends.caller if by == "caller" else ends.agent
        await one.send(before + large)
        to_caller = close(1009, TOO_LONG)
        assert await ends.noted.ended() == {"code": 1009, "reason": TOO_LONG, "by": "proxy"}
        assert ends.noted.names.count("sent") + ends.noted.names.count("received") == (
            2 if how == "behind others" else 0
        )
        if by == "caller":
            assert await ends.agent.exactly(len(before)) == before
            assert await ends.caller.exactly(len(to_caller)) == to_caller
        else:
            got = await ends.caller.exactly(len(before) + len(to_caller))
            assert got == before + to_caller
        assert masked_close(await ends.agent.exactly(6 + 2 + len(TOO_LONG))) == (1009, TOO_LONG)
        await ends.agent.send(close(1009))
        await ends.caller.send(close(1009, "", KEY))
        assert await ends.agent.closed()
        assert await ends.caller.closed()
        await soon(ends.over())
        assert ends.proxy.refused == ["message_too_large"]


async def test_one_whose_head_has_passed_in_part_is_cut() -> None:
    async with joined(limits=Limits(max_message_bytes=1_000, linger_s=0.05)) as ends:
        large = frame(0x82, b"x" * 1_001, KEY)
        await ends.caller.send(large[:1])
        assert await ends.agent.exactly(1) == large[:1]
        await ends.caller.send(large[1:])
        assert await ends.agent.closed()
        assert (await ends.caller.exactly(4))[2:] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("most", [0, 100_000])
async def test_a_message_within_the_limit_and_one_without_a_limit(most: int) -> None:
    async with joined(limits=Limits(max_message_bytes=most)) as ends:
        data = frame(2, b"x" * 60_000) + frame(0x80, b"x" * 40_000)
        await ends.agent.send(data)
        assert await ends.caller.exactly(len(data)) == data


async def test_silence_on_both_sides_ends_it_and_a_ping_is_a_word() -> None:
    async with joined(limits=Limits(idle_timeout_s=60)) as ends:
        (websocket,) = ends.proxy.server.fronts
        began = websocket.caller.at  # type: ignore[union-attr]
        await ends.caller.send(frame(0x89, b"", KEY))
        assert await ends.agent.exactly(6) == frame(0x89, b"", KEY)
        said = websocket.caller.at  # type: ignore[union-attr]
        assert said > began
        websocket.check(said + 59_900_000_000)
        assert ends.noted.ends is None
        websocket.check(said + 60_100_000_000)
        reason = "nothing was said for too long"
        assert await ends.caller.exactly(4 + len(reason)) == close(1008, reason)
        assert masked_close(await ends.agent.exactly(8 + len(reason))) == (1008, reason)
        assert await ends.noted.ended() == {"outcome": "timed_out", "error_type": "idle_timeout"}
        assert ("aside", "closed", {"code": 1008, "reason": reason, "by": "proxy"}) in ends.noted.calls


async def test_a_day_is_no_limit() -> None:
    async with joined(limits=Limits(idle_timeout_s=0)) as ends:
        (websocket,) = ends.proxy.server.fronts
        websocket.check(time.monotonic_ns() + 86_400_000_000_000)
        await ends.agent.send(text("still"))
        assert await ends.caller.exactly(7) == text("still")


async def test_peers_that_do_not_answer_a_close_are_cut() -> None:
    async with joined(limits=Limits(max_message_bytes=10, linger_s=0.05)) as ends:
        await ends.agent.send(frame(0x82, b"x" * 11))
        await soon(ends.over())
        assert (await ends.caller.rest()).startswith(b"\x88")


# The server ends ---------------------------------------------------------------------------------------------------


async def shut(ends: Joined, code: int = 1001) -> None:
    """Both sides are closed by the proxy, and say so too."""
    assert await ends.caller.exactly(4) == close(code)
    assert masked_close(await ends.agent.exactly(8)) == (code, "")
    await ends.caller.send(close(code, "", KEY))
    await ends.agent.send(close(code))
    assert await ends.caller.closed()
    assert await ends.agent.closed()


async def test_an_idle_one_is_closed_at_once() -> None:
    async with joined() as ends:
        ends.noted.run_open = False
        closing = asyncio.ensure_future(ends.proxy.server.close(30.0))
        await shut(ends)
        await soon(closing)
        assert await ends.noted.ended() == {"code": 1001, "reason": "", "by": "proxy"}


async def test_a_turn_goes_on_to_its_end_and_then_it_is_closed() -> None:
    async with joined() as ends:
        closing = asyncio.ensure_future(ends.proxy.server.close(30.0))
        await ends.agent.send(text("still"))
        assert await ends.caller.exactly(7) == text("still")
        await ends.noted.has("received", "still")
        assert ends.noted.ends is None
        ends.noted.run_open = False
        await shut(ends)
        await soon(closing)


async def test_what_is_busy_is_closed_at_the_end_of_the_grace() -> None:
    async with joined() as ends:
        closing = asyncio.ensure_future(ends.proxy.server.close(0.1))
        await shut(ends)
        await soon(closing)
        assert await ends.noted.ended() == {"code": 1001, "reason": "", "by": "proxy"}


async def test_nothing_is_put_into_a_frame() -> None:
    async with joined() as ends:
        ends.noted.run_open = False
        half = frame(0x81, b"x" * 100)
        await ends.agent.send(half[:50])
        assert await ends.caller.exactly(50) == half[:50]
        closing = asyncio.ensure_future(ends.proxy.server.close(30.0))
        await until(lambda: ends.proxy.server.closing)
        (websocket,) = ends.proxy.server.fronts
        websocket.check(time.monotonic_ns())
        assert ends.noted.ends is None
        await ends.agent.send(half[50:])
        assert await ends.caller.exactly(52) == half[50:]
        await shut(ends)
        await soon(closing)


async def test_a_half_frame_at_the_end_of_the_grace_is_cut() -> None:
    async with joined() as ends:
        half = frame(0x81, b"x" * 100)[:50]
        await ends.agent.send(half)
        assert await ends.caller.exactly(50) == half
        closing = asyncio.ensure_future(ends.proxy.server.close(0.05))
        assert await ends.caller.closed()
        assert masked_close(await ends.agent.exactly(8)) == (1001, "")
        assert await ends.agent.closed()
        await soon(closing)


@pytest.mark.parametrize("stuck", [False, True])
async def test_peers_that_do_not_answer_do_not_hold_the_end_up(stuck: bool) -> None:
    async with joined(caller={"limit": 1_000}) as ends:
        if stuck:
            ends.caller.writer.transport.pause_reading()
            ends.agent.writer.write(frame(0x82, b"x" * 32_000_000))
            await ends.noted.has("paused")
        began = time.monotonic()
        await soon(ends.proxy.server.close(0.0))
        assert time.monotonic() - began < 5
        assert not ends.proxy.server.fronts
        assert await ends.noted.ended() == {"code": 1001, "reason": "", "by": "proxy"}


async def test_a_handshake_that_is_answered_while_it_drains() -> None:
    go = asyncio.Event()
    agent = Agent()

    async def script(upstream: Connection) -> None:
        await soon(go.wait())
        await agent(upstream)

    with testing.recording() as seen:
        watch = duplex.watch("websocket", pipeline=lambda: seen.pipeline)
        async with proxying(script, conversations=watch) as proxy:
            caller = await proxy.caller()
            await caller.send(get("/", *ASKED))
            await until(lambda: proxy.upstream.connections)
            closing = asyncio.ensure_future(proxy.server.close(30.0))
            await until(lambda: proxy.server.closing)
            go.set()
            assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
            assert await caller.exactly(4) == close(1001)
            await caller.send(close(1001, "", KEY))
            agent.over.set()
            await soon(closing)
        (session,) = seen.spans
        assert session["attributes"]["streamgauge.outcome"] == "shutdown"


class Turns(dialects.Dialect):
    """Any message of the caller's begins a turn, which never ends."""

    name = "turns"
    system = "a test's"
    terminal = True
    opens_runs = True

    def feed(self, data: Any, at: int) -> Signals:
        if isinstance(data, Aside):
            return (Opened(RUN, at, semconv.INVOKE_AGENT),) if data.name == "sent" else ()
        return Chunk(RUN, at, TEXT, data)


ENDINGS: dict[str, tuple[Any, str, str]] = {
    "a close within a turn": (lambda ends: ends.agent.send(close(1000)), "truncated", "truncated"),
    "an error": (lambda ends: ends.agent.send(close(1011)), "failed", "1011"),
    "policy": (lambda ends: ends.agent.send(close(1008)), "failed", "1008"),
    "lost": (lambda ends: ends.agent.reset(), "truncated", "1006"),
    "the caller closes": (lambda ends: ends.caller.send(close(1000, "", KEY)), "abandoned", ""),
    "the caller goes": (lambda ends: ends.caller.reset(), "abandoned", ""),
    "too large": (lambda ends: ends.agent.send(frame(0x82, b"x" * 9_999)), "failed", "1009"),
    "shutdown": (lambda ends: ends.proxy.server.close(0.05), "shutdown", "shutdown"),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_how_it_ended_is_on_the_span_of_the_turn_that_was_open(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects._found, "turns", Turns)
    act, outcome, error_type = ENDINGS[how]
    agent = Agent()
    with testing.recording() as seen:
        watch = duplex.watch("websocket", dialect="turns", pipeline=lambda: seen.pipeline)
        async with proxying(agent, conversations=watch, limits=Limits(max_message_bytes=5_000)) as proxy:
            caller = await proxy.caller()
            await caller.send(get("/", *ASKED))
            await caller.head()
            upstream = await soon(agent.joined)
            await caller.send(text("ask", KEY))
            await upstream.exactly(9)
            await upstream.send(text("a word"))
            await caller.exactly(8)
            done = act(Joined(proxy, caller, upstream, None))  # type: ignore[arg-type]
            if done is not None:
                await done
            await until(lambda: not seen.open)
            agent.over.set()
    run, session = sorted(seen.spans, key=lambda span: span["name"].startswith("session"))
    assert run["attributes"]["streamgauge.outcome"] == session["attributes"]["streamgauge.outcome"] == outcome
    assert run["attributes"].get("error.type", "") == error_type


async def test_nothing_of_it_is_left_for_the_collector() -> None:
    async with joined() as ends:
        (websocket,) = ends.proxy.server.fronts
        seen = weakref.ref(websocket.caller)  # type: ignore[union-attr]
        del websocket
        gc.collect()
        gc.disable()
        try:
            await ends.agent.send(text("hello") + close(1000))
            ends.agent.close()
            await ends.caller.rest()
            await soon(ends.over())
            await until(lambda: seen() is None)
        finally:
            gc.enable()


async def test_a_caller_that_was_slow_before_the_handshake_is_so_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Front, "detach", lambda front: (detached(front)[0], True))
    async with joined(behind=text("hello")) as ends:
        assert await ends.caller.exactly(7) == text("hello")
        await ends.agent.send(text("later"))
        assert ends.noted.names == ["paused", "answered", "received"]
        (websocket,) = ends.proxy.server.fronts
        websocket.caller.resume_writing()  # type: ignore[union-attr]
        assert await ends.caller.exactly(7) == text("later")
        assert ends.noted.names[3] == "resumed"
