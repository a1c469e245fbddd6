"""Whose time it is: the agent's, who is waited for, or the caller's, who does not ask. With a clock in the hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import sockets
from conftest import HandClock
from sockets import END, ask, say, spans
from streamgauge import duplex, testing
from streamgauge.transports import _conversation, _passing
from streamgauge.transports.websocket import _connections, _link, _messages


class Connection:
    """One whose messages come when a test has them come."""

    connection_lost_waiter = None
    send_in_progress = None

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.protocol = SimpleNamespace(
            close_rcvd=None, close_sent=None, close_rcvd_then_sent=None, state=SimpleNamespace(name="OPEN")
        )
        self.come: list[Any] = []
        self.while_sending: Callable[[], Any] | None = None

    async def recv(self, decode: Any = None) -> Any:
        """Each is (milliseconds until it comes, what it is): an exception is raised."""
        after, message = self.come.pop(0)
        self.clock.pass_ms(after)
        if isinstance(message, BaseException):
            raise message
        return message

    async def recv_streaming(self, decode: Any = None) -> AsyncIterator[Any]:
        while self.come[0][1] is not None:
            yield await Connection.recv(self)
        self.come.pop(0)

    async def send(self, message: Any, text: Any = None) -> None:
        if self.while_sending is not None:
            await self.while_sending()

    async def close(self) -> None:
        self.protocol.close_sent = SimpleNamespace(code=1000, reason="")


@pytest.fixture
def hand(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[HandClock]:
    for module in (_conversation, _passing, _connections, _link, _messages):
        monkeypatch.setattr(module, "_clock", clock)
    with sockets.known(monkeypatch):
        yield clock


@pytest.fixture
def connection(hand: HandClock, seen: testing.Seen) -> Any:
    return Connection(hand)


@pytest.fixture
def socket(connection: Connection) -> Any:
    conversation = duplex.watch("websocket", eager=False, inherits=True)("/turns", {})
    watched: Any = _connections.watching(connection, conversation)
    return watched


def waits(seen: testing.Seen) -> tuple[float, float]:
    """(on the source, on the caller), of the one run."""
    (run,) = spans(seen, "invoke_agent")
    told = run["attributes"]
    return told["streamgauge.stream.wait.source"], told["streamgauge.stream.wait.caller"]


async def test_who_is_waited_for(socket: Any, connection: Connection, hand: HandClock, seen: testing.Seen) -> None:
    connection.come = [(1000, say("a")), (200, say("b")), (30, END)]
    await socket.send(ask("x"))
    hand.pass_ms(5000)  # the caller does something else
    await socket.recv()
    hand.pass_ms(400)
    await socket.recv()
    hand.pass_ms(7)
    await socket.recv()
    await socket.close()
    assert waits(seen) == (1.23, 5.407)
    (run,) = spans(seen, "invoke_agent")
    assert run["attributes"]["gen_ai.response.time_to_first_chunk"] == 6.0
    assert run["end"] - run["start"] == 6_637_000_000


async def test_polling_is_waiting(socket: Any, connection: Connection, hand: HandClock, seen: testing.Seen) -> None:
    connection.come = [(100, asyncio.CancelledError()), (100, TimeoutError()), (50, say("a")), (0, END)]
    await socket.send(ask("x"))
    for _ in range(2):
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await socket.recv()
        hand.pass_ms(10)
    await socket.recv()
    await socket.recv()
    await socket.close()
    assert waits(seen) == (0.25, 0.02)


async def test_what_was_asked_in_vain_before_the_request_is_none_of_its_time(
    socket: Any, connection: Connection, hand: HandClock, seen: testing.Seen
) -> None:
    connection.come = [(60_000, TimeoutError()), (50, say("a")), (0, END)]
    with pytest.raises(TimeoutError):
        await socket.recv()
    await socket.send(ask("x"))
    await socket.recv()
    await socket.recv()
    await socket.close()
    assert waits(seen) == (0.05, 0.0)


async def test_a_message_that_is_read_in_pieces(
    socket: Any, connection: Connection, hand: HandClock, seen: testing.Seen
) -> None:
    text = say("ab")
    connection.come = [(100, text[:3]), (200, text[3:]), (0, None), (0, END)]
    await socket.send(ask("x"))
    async for _ in socket.recv_streaming():
        hand.pass_ms(10)
    await socket.recv()
    await socket.close()
    assert waits(seen) == (0.3, 0.02)
    (run,) = spans(seen, "invoke_agent")
    assert run["attributes"]["gen_ai.response.time_to_first_chunk"] == 0.31


async def test_an_answer_may_be_read_before_the_call_that_asked_has_returned(
    socket: Any, connection: Connection, hand: HandClock, seen: testing.Seen
) -> None:
    connection.come = [(100, say("a")), (100, END)]

    async def answer() -> None:
        await socket.recv()
        await socket.recv()
        hand.pass_ms(5000)

    connection.while_sending = answer
    await socket.send(ask("x"))
    await socket.close()
    (run,) = spans(seen, "invoke_agent")
    assert run["attributes"]["streamgauge.outcome"] == "completed"
    assert run["end"] - run["start"] == 200_000_000


@pytest.mark.parametrize(("error", "runs"), [(RuntimeError(), 0), (asyncio.CancelledError(), 1)])
async def test_a_request_that_could_not_be_sent_is_none(
    socket: Any, connection: Connection, seen: testing.Seen, error: BaseException, runs: int
) -> None:
    async def fail() -> None:
        raise error

    connection.while_sending = fail
    with pytest.raises(type(error)):
        await socket.send(ask("x"))
    await socket.close()
    assert len(spans(seen, "invoke_agent")) == runs
