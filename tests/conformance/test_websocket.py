"""The conformance matrix over WebSocket: every dialect's conversations, through each transport that carries them, over
real sockets, with every way to end one.

Each: both sides get the same messages, of the same kinds, and the same close; one session's span, and a run's for each
turn, ended once, with the outcome, the clocks and the metrics that the same messages give without any socket.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_agent

import streamgauge.asgi
import streamgauge.websockets
from streamgauge import duplex, pipeline, replay, semconv, testing
from streamgauge.aggregates import Distribution
from streamgauge.transports import _asgi_socket, _conversation, _passing
from streamgauge.transports import asgi as asgi_transport
from streamgauge.transports.http import Route, serve
from streamgauge.transports.http import front as fronts
from streamgauge.transports.http import pool as pools
from streamgauge.transports.http import relay as relays
from streamgauge.transports.http import server as servers
from streamgauge.transports.http import upstream as upstreams
from streamgauge.transports.http import websocket as websockets
from streamgauge.transports.websocket import _connections, _link, _messages
from streamgauge.wire import Outcome

from .sockets import (
    BEGAN_NS,
    EPOCH_NS,
    PATIENCE_S,
    SUBPROTOCOL,
    Script,
    Served,
    Socket,
    Talk,
    Told,
    conversations,
    recorded,
    said,
    say,
)

NAMES = sorted(conversations())
DULL = (semconv.STREAMGAUGE_TRANSPORT, semconv.SERVER_ADDRESS, semconv.SERVER_PORT)
"""Attributes and labels that say where, not what."""

# Transports -------------------------------------------------------------------------------------------------------

Transport = Callable[[Script, Any], AbstractAsyncContextManager[Talk]]


async def nothing() -> None:
    return None


async def calls(url: str, script: Script, connecting: Callable[..., Any] = connect, **options: Any) -> Socket:
    return Socket(await connecting(url + script.target, subprotocols=[SUBPROTOCOL], proxy=None, **options))


@asynccontextmanager
async def agents(script: Script, clock: Any) -> AsyncIterator[tuple[str, asyncio.Future[Socket]]]:
    """A server of the library's for one connection: (its URL, the agent's side of that)."""
    over = asyncio.Event()
    joined: asyncio.Future[Socket] = asyncio.get_running_loop().create_future()

    async def handle(connection: Any) -> None:
        joined.set_result(Socket(connection))
        await over.wait()

    def answering(connection: Any, request: Any) -> None:
        clock.now = BEGAN_NS + script.answered_at

    options: Any = {"process_request": answering, "subprotocols": [SUBPROTOCOL]}
    async with serve_agent(handle, "127.0.0.1", 0, **options) as server:
        try:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", joined
        finally:
            over.set()


@asynccontextmanager
async def bare(script: Script, clock: Any) -> AsyncIterator[Talk]:
    """No transport of ours: what both sides see without it."""
    async with agents(script, clock) as (url, joined):
        yield Talk(await calls(url, script), await joined, nothing)


@asynccontextmanager
async def proxy(script: Script, clock: Any) -> AsyncIterator[Talk]:
    async with agents(script, clock) as (url, joined):
        watch = duplex.watch("websocket", dialect=script.chosen)
        server = await serve([Route("/", url.replace("ws", "http"), conversations=watch)])
        try:
            port = server.sockets[0].getsockname()[1]
            yield Talk(await calls(f"ws://127.0.0.1:{port}", script), await joined, server.close)
            async with asyncio.timeout(PATIENCE_S):
                while server.fronts:  # noqa: ASYNC110 (it tells nobody)
                    await asyncio.sleep(0.001)
            assert server.active.total == 0
        finally:
            await server.close()


@asynccontextmanager
async def client(script: Script, clock: Any) -> AsyncIterator[Talk]:
    async def shut() -> None:
        streamgauge.shutdown()

    async with agents(script, clock) as (url, joined):
        caller = await calls(url, script, streamgauge.websockets.connect, dialect=script.chosen)
        yield Talk(caller, await joined, shut)


@asynccontextmanager
async def application(script: Script, clock: Any, *, watched: bool) -> AsyncIterator[Talk]:
    joined: asyncio.Future[Served] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        clock.now = BEGAN_NS + script.answered_at
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        agent = Served(receive, send)
        joined.set_result(agent)
        await agent.run()

    found: Any = app
    if watched:
        found = streamgauge.asgi.Middleware(app, dialects={script.path: script.chosen} if script.chosen else None)
    config = uvicorn.Config(found, lifespan="off", log_config=None, ws="websockets-sansio")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        try:
            caller = await calls(f"ws://127.0.0.1:{listener.getsockname()[1]}", script)
            agent = await joined
            (protocol,) = server.server_state.connections
            agent.transport = protocol.transport
            del protocol
            yield Talk(caller, agent, server.shutdown)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*server.server_state.tasks)
        finally:
            for each in server.servers:
                each.close()
                await each.wait_closed()


def bare_application(script: Script, clock: Any) -> AbstractAsyncContextManager[Talk]:
    return application(script, clock, watched=False)


def middleware(script: Script, clock: Any) -> AbstractAsyncContextManager[Talk]:
    return application(script, clock, watched=True)


TRANSPORTS: dict[str, tuple[Transport, Transport]] = {
    "proxy": (proxy, bare), "client": (client, bare), "asgi": (middleware, bare_application),
}  # fmt: skip
"""(ours, what there is without it)."""

# Ends -------------------------------------------------------------------------------------------------------------


async def caller_closes(talk: Talk) -> None:
    await talk.caller.close(1000, "done")


async def agent_closes(talk: Talk) -> None:
    await talk.agent.close(1000, "bye")


async def agent_is_lost(talk: Talk) -> None:
    talk.agent.reset()


async def agent_fails(talk: Talk) -> None:
    await talk.agent.close(1011, "oh")


async def policy(talk: Talk) -> None:
    await talk.agent.close(1008, "no")


async def caller_leaves(talk: Talk) -> None:
    await talk.caller.close(1001, "away")


async def caller_is_lost(talk: Talk) -> None:
    talk.caller.reset()


async def caller_drops_it(talk: Talk) -> None:
    await talk.caller.drop()


async def shutdown(talk: Talk) -> None:
    await talk.shut()


_CLOSED = {
    caller_closes: (1000, "done", "caller"), agent_closes: (1000, "bye", "agent"), agent_is_lost: (1006, "", "agent"),
    agent_fails: (1011, "oh", "agent"), policy: (1008, "no", "agent"), caller_leaves: (1001, "away", "caller"),
    caller_is_lost: (1006, "", "caller"),
}  # fmt: skip
_OUTCOMES = {
    caller_closes: Outcome.ABANDONED, agent_closes: None, agent_is_lost: Outcome.TRUNCATED,
    agent_fails: Outcome.FAILED, policy: Outcome.FAILED, caller_leaves: Outcome.ABANDONED,
    caller_is_lost: Outcome.ABANDONED, caller_drops_it: Outcome.CANCELLED, shutdown: Outcome.SHUTDOWN,
}  # fmt: skip
_OTHERS = {
    ("proxy", shutdown): Told((1001, "", "proxy"), Outcome.SHUTDOWN),
    ("asgi", shutdown): Told((1012, "", "agent"), Outcome.SHUTDOWN),
    # To the application it is the caller that is lost, whoever it was; and its server calls that 1005.
    ("asgi", agent_is_lost): Told((1005, "", "caller"), Outcome.ABANDONED),
    ("asgi", caller_is_lost): Told((1005, "", "caller"), Outcome.ABANDONED),
}


def told_of(transport: str, end: Any) -> Told:
    """How it is to be told of."""
    other = _OTHERS.get((transport, end))
    if other is not None:
        return other
    closed, outcome = _CLOSED.get(end), _OUTCOMES[end]
    failed = outcome in (Outcome.TRUNCATED, Outcome.FAILED)
    return Told(closed, outcome, str(closed[0]) if failed and closed is not None else "")


ENDS: list[tuple[Any, str]] = [
    (caller_closes, "all"),
    *((agent_closes, place) for place in ("asked", "half", "all")),
    *((agent_is_lost, place) for place in ("asked", "half", "all")),
    (agent_fails, "half"), (agent_fails, "all"),
    (policy, "half"),
    (caller_leaves, "asked"), (caller_leaves, "half"),
    (caller_is_lost, "half"),
    (caller_drops_it, "asked"), (caller_drops_it, "half"),
    (shutdown, "half"), (shutdown, "all"),
]  # fmt: skip


def cells() -> Iterator[Any]:
    for transport in TRANSPORTS:
        for end, place in ENDS:
            # Only the client's transport is in the caller's program: it sees a connection that is dropped, and is
            # itself lost with its caller.
            if (transport == "client" and end is caller_is_lost) or (transport != "client" and end is caller_drops_it):
                continue
            for name in NAMES:
                cell = f"{transport}-{end.__name__}-{place}-{name}"
                yield pytest.param(name, transport, end, place, id=cell)


# What is recorded -------------------------------------------------------------------------------------------------


@pytest.fixture
def timed(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hand-moved clock, also of the transports."""
    for module in (
        fronts, pools, relays, servers, upstreams, websockets, asgi_transport, _asgi_socket, _conversation, _passing,
        _connections, _link, _messages, replay,
    ):  # fmt: skip
        monkeypatch.setattr(module, "_clock", clock)
    monkeypatch.setattr(pipeline.time, "time_ns", lambda: EPOCH_NS + clock())
    clock.now = BEGAN_NS
    return clock


@pytest.fixture(autouse=True)
def _no_trouble_in_the_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No callback raised, and no server met an error: both only log it."""
    yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    assert [
        f"{r.name}: {r.getMessage()}"
        for r in records
        if r.levelno >= logging.WARNING and r.name.startswith(("asyncio", "uvicorn", "websockets"))
    ] == []


def told(seen: testing.Seen) -> list[Any]:
    """All that spans say of what happened, and when; in the order of their ends."""
    return [
        {
            **{name: span[name] for name in ("name", "kind", "parent", "status", "status_message", "start", "end")},
            "attributes": {name: value for name, value in span["attributes"].items() if name not in DULL},
            "events": span["events"],
            "links": len(span["links"]),
        }
        for span in seen.spans
    ]


def measured(seen: testing.Seen) -> dict[Any, Any]:
    """Every series: how much, or how many values in each bucket and their sum."""
    found = {}
    for name, family in seen.families.items():
        if name == semconv.ADDED_LATENCY.name:
            continue
        for series, value in family.series.items():
            labels = tuple(item for item in family.named(series).items() if item[0] not in DULL)
            number = (value.counts, round(value.sum, 9)) if isinstance(value, Distribution) else round(value, 9)
            found[name, labels] = number
    return found


async def settle(seen: testing.Seen) -> None:
    """The transport has noticed the end, in its own tasks."""
    async with asyncio.timeout(PATIENCE_S):
        while seen.open:  # noqa: ASYNC110 (what ends a conversation tells nobody)
            await asyncio.sleep(0.001)


async def played(script: Script, through: Transport, end: Any, place: str, clock: Any) -> dict[str, Any]:
    """What each side saw of it."""
    clock.now = BEGAN_NS
    count = script.place(place)
    async with through(script, clock) as talk:
        await say(script, talk, clock, 0, count)
        clock.now = BEGAN_NS + script.at(count)
        await end(talk)
        if end is shutdown and through in (client, bare):  # which leaves the conversation as it is
            assert talk.caller.closed is None
            await say(script, talk, clock, count, len(script.events))
            await caller_closes(talk)
        await talk.caller.over()
        await talk.agent.over()
        return talk.transcripts


@pytest.mark.parametrize(("name", "transport", "end", "place"), list(cells()))
async def test_conversation(name: str, transport: str, end: Any, place: str, timed: Any) -> None:
    script = conversations()[name]
    ours, theirs = TRANSPORTS[transport]
    count = script.place(place)
    expected = await played(script, theirs, end, place, timed)
    with testing.recording() as seen:
        transcripts = await played(script, ours, end, place, timed)
        await settle(seen)
        spans, series = told(seen), measured(seen)
        identities = [span["span_id"] for span in seen.spans]
        runs_below = check_tree(seen, script, count)
        added = seen.count(semconv.ADDED_LATENCY.name)

    # What passed.
    whole = said(script, len(script.events) if (transport, end) == ("client", shutdown) else count)
    if (transport, end) == ("proxy", shutdown):  # then it is the proxy that closes it
        gone = (1001, "")
        assert transcripts == {
            "caller": (SUBPROTOCOL, whole[0], gone), "agent": (SUBPROTOCOL, whole[1], gone),
        }  # fmt: skip
    else:
        assert transcripts == expected
        assert (transcripts["caller"][1], transcripts["agent"][1]) == whole

    # What was recorded.
    assert len(set(identities)) == len(identities)
    how = told_of(transport, end)
    check_outcomes(script, count, how, runs_below, spans[-1])
    capture = recorded(script, count, how, eager=transport != "client", served=transport == "asgi")
    timed.now = BEGAN_NS
    with testing.recording() as again:
        replay.replay(capture, again.pipeline)
        assert spans == told(again)
        assert series == measured(again)
    if transport == "proxy":
        assert added >= len(whole[0])


_WORDS = {Outcome.TRUNCATED: "truncated", Outcome.SHUTDOWN: "shutdown"}
"""The error's type where nothing else says it."""


def check_tree(seen: testing.Seen, script: Script, count: int) -> list[dict[str, Any]]:
    """One session, and below it the runs. Returns: those."""
    assert seen.open == 0
    sessions = [span for span in seen.spans if span["parent_id"] is None]
    assert [span["attributes"]["gen_ai.operation.name"] for span in sessions] == ["session"]
    runs = [span for span in seen.spans if span["parent_id"] == sessions[0]["span_id"]]
    assert len(runs) == len([index for index in script.opens if index < count])
    assert seen.value("streamgauge.streams") == len(runs)
    assert seen.value("streamgauge.streams.active") == 0
    return runs


def check_outcomes(script: Script, count: int, how: Told, runs: list[dict[str, Any]], session: dict[str, Any]) -> None:
    """Each run's that has ended before by itself, and what the end was to the one that was open and to the session."""
    outcomes = [outcome for index, outcome in script.closes if index < count]
    is_open, untold = script.run_is_open(count), script.untold(count)
    at_end, error_type = how.outcome, how.error_type
    if at_end is None:
        at_end = Outcome.TRUNCATED if is_open and script.terminal else Outcome.COMPLETED
    if is_open:
        outcomes.append(untold or at_end)
    assert [run["attributes"]["streamgauge.outcome"] for run in runs] == outcomes
    assert session["name"].startswith("session ")
    assert session["attributes"]["streamgauge.outcome"] == at_end
    assert session["attributes"].get("error.type", "") == (error_type or _WORDS.get(at_end, ""))
    if is_open and not untold:
        assert runs[-1]["attributes"].get("error.type", "") == (error_type or _WORDS.get(at_end, ""))
