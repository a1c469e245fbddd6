"""WebSockets through the proxy: the handshake, and that what passes is what came."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge import duplex, testing
from streamgauge.framing.websocket import Control, WebSocketFraming
from streamgauge.transports.http import Limits, Retries
from transports.http.support import Connection, get, plain, post, proxying, silent, soon, until
from transports.http.websocket_parts import (
    ACCEPTED,
    ASKED,
    KEY,
    SWITCHED,
    Agent,
    Noted,
    close,
    frame,
    joined,
    text,
    watched,
    within,
)

# The handshake -----------------------------------------------------------------------------------------------------


async def test_a_handshake_goes_through_with_its_headers() -> None:
    more = [
        "Origin: https://app.example", "Cookie: a=b", "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "traceparent: 00-ab-cd-01",
        "X-Two: 1", "X-Two: 2", "Authorization: Bearer sk",
    ]  # fmt: skip
    hop = ["x-streamgauge-token: t", "TE: trailers", "Keep-Alive: 5", "Proxy-Authorization: Basic x"]
    agent = Agent()
    async with watched(agent, prefix="/agent", path="/base/", tokens=("t",)) as (proxy, made):
        caller = await proxy.caller()
        await caller.send(get("/agent/chat?q=%20", *more[:3], *ASKED, *hop, *more[3:]))
        assert await caller.head() == SWITCHED.replace(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"").replace(
            b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        await soon(agent.joined)
        (noted,) = made
        assert noted.told == ("/base/chat?q=%20", {"traceparent": "00-ab-cd-01"})
        at = noted.about.pop("at")
        assert 0 < at <= time.monotonic_ns()
        assert noted.about == {"server_address": "127.0.0.1", "server_port": proxy.upstream.port}
        assert noted.calls == [("answered", 101)]
        assert proxy.server.active.streams == {"/agent": 1}
        agent.over.set()
        port = proxy.upstream.port
    first, *lines = agent.head.decode().split("\r\n")[:-2]
    assert first == "GET /base/chat?q=%20 HTTP/1.1"
    assert lines == [
        f"Host: 127.0.0.1:{port}", *more[:3], *ASKED[2:], *more[3:], "Upgrade: websocket", "Connection: Upgrade",
    ]  # fmt: skip


async def test_the_answers_headers_come_as_they_are() -> None:
    lines = ["Server: theirs", "Set-Cookie: a=1", "Set-Cookie: b=2", "Sec-WebSocket-Protocol: superchat"]
    answer = "\r\n".join(["HTTP/1.1 101 Over To You", "UPGRADE: WebSocket", *lines, "connection: upgrade, X", "X: 1"])
    agent = Agent(answer.encode() + b"\r\n" + ACCEPTED + b"\r\n\r\n")
    async with watched(agent) as (proxy, _):
        caller = await proxy.caller()
        await caller.send(get("/", *ASKED))
        head = (await caller.head()).decode()
        assert head.split("\r\n") == [
            "HTTP/1.1 101 Over To You", *lines, ACCEPTED.decode(), "Upgrade: websocket", "Connection: Upgrade", "", "",
        ]  # fmt: skip
        agent.over.set()


async def test_an_early_hint_comes_before_it() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    agent = Agent(hint + SWITCHED, text("hello"))
    async with watched(agent) as (proxy, made):
        caller = await proxy.caller()
        await caller.send(get("/", *ASKED))
        assert await caller.head() == hint
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.exactly(7) == text("hello")
        await made[0].has("received", "hello")
        agent.over.set()


async def test_our_span_goes_along_where_the_route_says_so() -> None:
    noted = Noted()
    noted.carried = {"traceparent": "00-ours-1-01"}
    agent = Agent()
    async with watched(agent, noted=noted, replace_traceparent=True) as (proxy, _):
        caller = await proxy.caller()
        await caller.send(get("/", "traceparent: 00-theirs-2-01", "tracestate: x=y", *ASKED))
        await caller.head()
        agent.over.set()
    assert b"\r\ntraceparent: 00-ours-1-01\r\n" in agent.head
    assert b"theirs" not in agent.head
    assert b"tracestate" not in agent.head


@pytest.mark.parametrize("cut", [1, 10, 60, len(SWITCHED) - 1])
async def test_an_answer_in_pieces(cut: int) -> None:
    async def script(upstream: Connection) -> None:
        await upstream.head()
        upstream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await upstream.send(SWITCHED[:cut])
        await soon(go.wait())
        await upstream.send(SWITCHED[cut:] + text("first"))
        await upstream.rest()

    go = asyncio.Event()
    async with watched(script) as (proxy, made):
        caller = await proxy.caller()
        await caller.send(get("/", *ASKED))
        await until(lambda: made)
        go.set()
        await caller.head()
        assert await caller.exactly(7) == text("first")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (plain(b'{"error": 1}', "403 Forbidden", "X-Why: not you"), "403"),
        (plain(b"", "426 Upgrade Required", "Sec-WebSocket-Version: 14"), "426"),
        (plain(b"<html>", "200 OK"), "200"),
        (plain(b"", "302 Found", "Location: /elsewhere"), "302"),
        (b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n0\r\n\r\n", "401"),
    ],
)
async def test_a_refusal_by_the_upstream_comes_unchanged_and_the_connection_goes_on(answer: bytes, error: str) -> None:
    async def script(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(answer)
        await upstream.head()
        await upstream.send(plain(b"next"))

    async with watched(script) as (proxy, made):
        caller = await proxy.caller()
        await caller.send(get("/", *ASKED))
        head, body = await caller.answer()
        assert (head + body).replace(b"3\r\nwhy\r\n0\r\n\r\n", b"why") == answer.replace(
            b"3\r\nwhy\r\n0\r\n\r\n", b"why"
        )
        assert await made[0].ended() == {"outcome": "failed", "error_type": error}
        assert made[0].calls[0] == ("answered", int(error))
        assert proxy.server.active.total == 0
        await caller.send(get())
        assert (await caller.answer())[1] == b"next"
        assert len(proxy.upstream.connections) == 1


NO_HANDSHAKE: dict[str, tuple[bytes, int, str]] = {
    "HTTP/1.0": (get("/", *ASKED).replace(b"HTTP/1.1", b"HTTP/1.0"), 426, "upgrade_required"),
    "another version": (get("/", *ASKED).replace(b"Version: 13", b"Version: 8"), 426, "upgrade_required"),
    "no version": (get("/", *ASKED[:2], ASKED[3]), 426, "upgrade_required"),
    "two versions": (get("/", *ASKED, ASKED[2]), 426, "upgrade_required"),
    "no key": (get("/", *ASKED[:3]), 400, "bad_request"),
    "two keys": (get("/", *ASKED, ASKED[3]), 400, "bad_request"),
    "a short key": (get("/", *ASKED[:3], "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), 400, "bad_request"),
    "a key for this hop": (
        get("/", *ASKED[2:], "Upgrade: websocket", "Connection: Upgrade, Sec-WebSocket-Key"), 400, "bad_request",
    ),
    "no offer for this hop": (get("/", ASKED[0], *ASKED[2:]), 400, "bad_request"),
    "another method": (get("/", *ASKED).replace(b"GET ", b"PUT "), 400, "bad_request"),
    "a body": (post(b"body", *ASKED).replace(b"POST", b"GET"), 400, "bad_request"),
    "no route": (get("/elsewhere", *ASKED), 404, "no_route"),
    "no token": (get("/", *ASKED).replace(b"/ HTTP", b"/mine HTTP"), 401, "unauthorized"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_HANDSHAKE)
async def test_what_is_no_handshake_is_refused(name: str) -> None:
    asked, status, kind = NO_HANDSHAKE[name]
    asked = asked.replace(b"/ HTTP", b"/mine HTTP")
    async with watched(silent, prefix="/mine", tokens=("t",) if name == "no token" else ()) as (proxy, made):
        head, _ = await proxy.ask(asked)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert f"x-streamgauge-error: streamgauge_{kind}".encode() in head
        assert (b"\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" in head) == (status == 426)
        assert (proxy.refused, made, proxy.upstream.connections) == ([kind], [], [])


async def test_an_upstream_of_http_2_has_no_websockets() -> None:
    async with watched(silent, http2=True) as (proxy, made):
        head, _ = await proxy.ask(get("/", *ASKED))
        assert head.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
        assert (proxy.refused, made) == (["upgrade_unsupported"], [])


async def test_other_words_beside_websocket() -> None:
    async with joined("Upgrade: foo, WebSocket") as ends:  # the last one counts
        await ends.agent.send(text("hello"))
        assert await ends.caller.exactly(7) == text("hello")


async def test_an_answer_that_switches_to_nothing_is_a_bad_one() -> None:
    async def script(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + text("x"))
        await upstream.rest()

    async with watched(script) as (proxy, made):
        head, _ = await proxy.ask(get("/", *ASKED))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert await made[0].ended() == {"outcome": "failed", "error_type": "bad_response"}


async def test_the_handshake_has_its_time() -> None:
    async with watched(silent, limits=Limits(handshake_timeout_s=0.05)) as (proxy, made):
        head, _ = await proxy.ask(get("/", *ASKED))
        assert head.startswith(b"HTTP/1.1 504 ")
        assert await made[0].ended() == {"outcome": "timed_out", "error_type": "first_byte_timeout"}


async def test_an_upstream_that_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with watched(silent, host="127.0.0.1") as (proxy, made):
        lane = proxy.server.table.lanes[0]
        lane.port = port
        head, _ = await proxy.ask(get("/", *ASKED))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert await made[0].ended() == {"outcome": "failed", "error_type": "connect_error"}


async def test_a_handshake_is_tried_again_where_the_route_says_so() -> None:
    async def busy(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(plain(b"", "503 Busy"))
        await upstream.rest()

    agent = Agent()
    async with watched(busy, agent, retries=Retries(attempts=1, backoff_s=0.01)) as (proxy, made):
        caller = await proxy.caller()
        await caller.send(get("/", *ASKED))
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert [noted.calls for noted in made] == [[("answered", 101)]]
        agent.over.set()


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_a_caller_that_goes_before_the_answer_takes_the_upstream_with_it(policy: str) -> None:
    async def attempt() -> float:
        asked, gone = asyncio.Event(), asyncio.Event()
        at = 0.0

        async def script(upstream: Connection) -> None:
            nonlocal at
            await upstream.head()
            asked.set()
            await upstream.rest()
            at = time.monotonic()
            gone.set()

        async with watched(script, on_disconnect=policy) as (proxy, made):
            caller = await proxy.caller()
            await caller.send(get("/", *ASKED))
            await soon(asked.wait())
            left = time.monotonic()
            caller.close()
            await soon(gone.wait())
            assert (await made[0].ended())["outcome"] == "abandoned"
            assert ("aside", "http.disconnected", {"policy": "cancel"}) in made[0].calls
            return at - left

    await within(0.05, attempt)


async def test_open_websockets_count_as_streams() -> None:
    async with joined(limits=Limits(max_streams=1)) as ends:
        head, _ = await ends.proxy.ask(get("/", *ASKED))
        assert head.startswith(b"HTTP/1.1 503 ")
        assert ends.proxy.refused == ["overloaded"]
        ends.caller.close()
        await soon(ends.over())
        assert ends.proxy.server.active.total == 0


# What passes -------------------------------------------------------------------------------------------------------


async def test_each_sides_bytes_are_the_others() -> None:
    async with joined() as ends:
        said = text("Hällo", KEY) + frame(0x82, bytes(range(256)) * 3, KEY) + frame(0x89, b"p", KEY)
        await ends.caller.send(said)
        assert await ends.agent.exactly(len(said)) == said
        told = text("a" * 200) + frame(1, b"b") + frame(0x8A, b"p") + frame(0x80, b"c") + frame(0x82, b"\x00")
        await ends.agent.send(told)
        assert await ends.caller.exactly(len(told)) == told
        await ends.noted.has("received", b"\x00")
        assert ends.noted.calls == [
            ("answered", 101), ("sent", "Hällo"), ("sent", bytes(range(256)) * 3), ("received", "a" * 200),
            ("received", "bc"), ("received", b"\x00"),
        ]  # fmt: skip
        assert all(read <= written for read, written in ends.noted.times)
        assert ends.noted.times


async def test_what_came_with_the_handshake_is_not_lost() -> None:
    async with joined(ahead=text("early", KEY) + text("bird", KEY)[:3], behind=text("first") + text("second")) as ends:
        assert await ends.caller.exactly(15) == text("first") + text("second")
        await ends.caller.send(text("bird", KEY)[3:])
        assert await ends.agent.exactly(21) == text("early", KEY) + text("bird", KEY)
        await ends.noted.has("sent", "bird")
        await ends.noted.has("received", "second")


async def test_much_ahead_of_the_answer_waits() -> None:
    said = b"".join(text(f"{number:05}", KEY) for number in range(20_000))
    agent = Agent()
    async with watched(agent, limits=Limits(pipelined_bytes=1_000)) as (proxy, made):
        caller = await proxy.caller()
        sending = asyncio.ensure_future(caller.send(get("/", *ASKED) + said))
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await (await soon(agent.joined)).exactly(len(said)) == said
        await sending
        await made[0].has("sent", "19999")
        assert made[0].names.count("sent") == 20_000
        agent.over.set()


@pytest.mark.parametrize("answer", ["permessage-deflate", "permessage-deflate; server_no_context_takeover"])
async def test_compressed_messages_pass_as_they_are_and_are_read(answer: str) -> None:
    extended = SWITCHED[:-2] + f"Sec-WebSocket-Extensions: {answer}\r\n\r\n".encode()
    async with joined(answer=extended) as ends:
        body = zlib.compressobj(wbits=-15)
        for number in range(3):
            data = (body.compress(b"hello " * 9) + body.flush(zlib.Z_SYNC_FLUSH))[:-4]
            await ends.agent.send(frame(0xC1, data))
            assert await ends.caller.exactly(len(data) + 2) == frame(0xC1, data)
            await ends.noted.until(lambda noted, number=number: noted.names.count("received") == number + 1)
            if "no_context" in answer:
                body = zlib.compressobj(wbits=-15)
        assert {call for call in ends.noted.calls if call[0] == "received"} == {("received", "hello " * 9)}


async def test_an_unknown_extension_is_only_passed_on() -> None:
    extended = SWITCHED[:-2] + b"Sec-WebSocket-Extensions: x-own\r\n\r\n"
    async with joined(answer=extended) as ends:
        odd = frame(0xB3, b"any") + frame(0x81, b"text")
        await ends.agent.send(odd)
        assert await ends.caller.exactly(len(odd)) == odd
        assert ends.noted.blind == ["an extension that is not known here"]
        await ends.agent.send(close(1000))
        await ends.caller.exactly(4)
        assert ends.noted.names == ["answered"]


@pytest.mark.parametrize("by", ["caller", "agent"])
async def test_what_is_no_websocket_passes_too_and_nothing_more_is_read_of_it(by: str) -> None:
    async with joined() as ends:
        one, other = (ends.caller, ends.agent) if by == "caller" else (ends.agent, ends.caller)
        odd = text("before") + b"\x83\x01x" + b"\x81\x7f\xff" + b"\x00" * 9 + b"anything" * 1_000
        await one.send(odd)
        assert await other.exactly(len(odd)) == odd
        await one.send(text("after 1"))
        assert await other.exactly(9) == text("after 1")
        await other.send(text("from there"))
        assert await one.exactly(12) == text("from there")
        there, back = ("sent", "received") if by == "caller" else ("received", "sent")
        await ends.noted.has(back, "from there")
        assert ends.noted.calls == [("answered", 101), (there, "before"), (back, "from there")]
        assert ends.noted.blind == ["a frame that may not be here"]


@pytest.mark.parametrize("packed", [False, True])
async def test_16_mib_pass_and_are_not_read_but_what_follows_is(packed: bool) -> None:
    answer = SWITCHED[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" if packed else SWITCHED
    chosen = random.Random(1)
    large = bytes(chosen.getrandbits(8) for _ in range(65_536)) * 256
    async with joined(answer=answer) as ends:
        for first, one, other, key in ((2, ends.agent, ends.caller, b""), (2, ends.caller, ends.agent, KEY)):
            body = zlib.compressobj(wbits=-15, level=1)
            framed = []
            for first, data in ((0x82, large), (0x81, b"and then")):
                if packed:
                    data = (body.compress(data) + body.flush(zlib.Z_SYNC_FLUSH))[:-4]
                framed.append(frame(first | 0x40 if packed else first, data, key))
            sending = asyncio.ensure_future(one.send(*framed))
            assert await other.exactly(sum(map(len, framed))) == b"".join(framed)
            await sending
        await ends.noted.has("received", "and then")
        await ends.noted.has("sent", "and then")
        assert ends.names == ["answered", "skipped", "received", "skipped", "sent"]
        assert ends.noted.blind == []


async def test_nobody_need_watch() -> None:
    agent = Agent()
    async with proxying(agent) as proxy:
        caller = await proxy.caller()
        await caller.send(get("/", *ASKED))
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        upstream = await soon(agent.joined)
        for one, other, key in ((upstream, caller, b""), (caller, upstream, KEY)):
            said = text("hello", key) + frame(0x82, b"x" * 70_000, key) + close(1000, key=key)
            await one.send(said)
            assert await other.exactly(len(said)) == said
        agent.over.set()
        await upstream.closed()


# Any sequence ------------------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("message"), st.sampled_from([0x81, 0x82]), st.binary(max_size=300)),
    st.tuples(st.just("message"), st.sampled_from([0x81, 0x82]), st.sampled_from([b"y" * 126, b"z" * 66_000])),
    st.tuples(st.just("fragments"), st.sampled_from([1, 2]), st.lists(st.binary(max_size=40), min_size=2, max_size=4)),
    st.tuples(st.just("control"), st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)),
)
SIDE = st.lists(STEP, max_size=6)


def framed(steps: list[Any], key: bytes) -> bytes:
    out = []
    for kind, first, data in steps:
        if kind != "fragments":
            out.append(frame(first, data, key))
            continue
        for number, part in enumerate(data):
            opcode = first if number == 0 else 0
            out.append(frame(opcode | (0x80 if number == len(data) - 1 else 0), part, key) + frame(0x89, b"", key))
    return b"".join(out)


def meant(data: bytes) -> list[Any]:
    return [event for event in WebSocketFraming().feed(data) if not isinstance(event, Control)]


async def transcripts(said: bytes, told: bytes, seed: int) -> tuple[bytes, bytes, Noted]:
    """What the agent got, what the caller got."""

    async def pieces(connection: Connection, data: bytes, choose: random.Random) -> None:
        at = 0
        while at < len(data):
            size = choose.choice([1, 2, 7, 100, 5_000, 70_000])
            await connection.send(data[at : at + size])
            at += size
            if choose.random() < 0.3:
                await asyncio.sleep(0)

    async with joined() as ends:
        for each in (ends.caller, ends.agent):
            each.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, _, got, came = await asyncio.gather(
            pieces(ends.caller, said, random.Random(seed)),
            pieces(ends.agent, told, random.Random(seed + 1)),
            ends.agent.exactly(len(said)),
            ends.caller.exactly(len(told)),
        )
        ends.agent.close()
        assert await ends.caller.closed()
        await ends.noted.ended()
        return got, came, ends.noted


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, st.sampled_from([None, 1000, 1011, 4000]), st.sampled_from(["caller", "agent"]), st.integers(0, 999))
def test_any_sequence_gives_the_peers_transcript_unchanged(
    loop: Any, caller: list[Any], agent: list[Any], code: int | None, by: str, seed: int
) -> None:
    said, told = framed(caller, KEY), framed(agent, b"")
    heard, answered = meant(said), meant(told)
    if code is not None:
        if by == "caller":
            said += close(code, "enough", KEY)
        else:
            told += close(code, "enough")
    with asyncio.Runner(loop_factory=loop) as runner:
        got, came, noted = runner.run(transcripts(said, told, seed))
    assert (got, came) == (said, told)
    if code is None:
        assert noted.ends == {"code": 1006, "reason": "", "by": "agent"}
        assert [call[1] for call in noted.calls if call[0] == "sent"] == heard
        assert [call[1] for call in noted.calls if call[0] == "received"] == answered
    else:
        assert noted.ends == {"code": code, "reason": "enough", "by": by}
        assert [call[1] for call in noted.calls if call[0] == ("sent" if by == "caller" else "received")] == (
            heard if by == "caller" else answered
        )
    assert noted.blind == []


# TLS ---------------------------------------------------------------------------------------------------------------


async def test_tls_on_both_sides(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    contexts = []
    for _ in range(2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        contexts.append(context)
    asks = ssl.create_default_context(cafile=str(ca_file))
    async with joined(
        upstream_options={"ssl": contexts[0]}, scheme="https", host="localhost", ca_file=str(ca_file),
        server={"tls": contexts[1]}, caller={"ssl": asks, "server_hostname": "localhost"},
        behind=text("first"), ahead=text("early", KEY),
    ) as ends:  # fmt: skip
        assert await ends.caller.exactly(7) == text("first")
        assert await ends.agent.exactly(11) == text("early", KEY)
        for one, other, key in ((ends.agent, ends.caller, b""), (ends.caller, ends.agent, KEY)):
            said = [frame(0x82, b"x" * 100_000, key)] * 20
            sending = asyncio.ensure_future(one.send(*said))
            assert await other.exactly(sum(map(len, said))) == b"".join(said)
            await sending
        await ends.agent.send(close(1000, "done"))
        ends.agent.close()
        assert await ends.caller.rest() == close(1000, "done")
        assert await ends.noted.ended() == {"code": 1000, "reason": "done", "by": "agent"}
        await soon(ends.over())


# What it is told as ------------------------------------------------------------------------------------------------


async def test_a_turn_is_a_run_and_the_time_in_the_proxy_is_measured() -> None:
    with testing.recording() as seen:
        agent = Agent()
        watch = duplex.watch("websocket", pipeline=lambda: seen.pipeline)
        async with proxying(agent, conversations=watch) as proxy:
            caller = await proxy.caller()
            await caller.send(get("/live", *ASKED, "traceparent: 00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"))
            await caller.head()
            upstream = await soon(agent.joined)
            await caller.send(text("question", KEY))
            await upstream.exactly(14)
            for number in range(3):
                await upstream.send(text(f"answer {number}"))
                await caller.exactly(10)
            await upstream.send(close(1000))
            upstream.close()
            await caller.rest()
            await until(lambda: not seen.open)
            agent.over.set()
        assert seen.tree() == ["session generic-messages", "  invoke_agent"]
        session = next(span for span in seen.spans if span["name"].startswith("session"))
        assert session["trace_id"] == "ab" * 16
        assert session["attributes"]["http.response.status_code"] == 101
        assert session["attributes"]["streamgauge.websocket.close_code"] == 1000
        assert (
            seen.value("streamgauge.streams", streamgauge_outcome="completed", streamgauge_transport="websocket") == 1
        )
