"""WebSocket frames: by tables, at every cut, and against the `websockets` library's own protocol."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from streamgauge.framing import MAX_EVENT_BYTES
from streamgauge.framing._inflate import MAX_INFLATED_BYTES
from streamgauge.framing.websocket import (
    CLOSE,
    PING,
    PONG,
    Control,
    Deflate,
    Event,
    Extensions,
    Skipped,
    WebSocketFraming,
    close_frame,
    extensions,
    unmasked,
)

KEY = b"\x12\x34\xf0\x0d"


def frame(first: int, data: bytes = b"", *, key: bytes = b"", form: int = 0) -> bytes:
    """
    Args:
        form: 126 or 127 for a length that is written longer than it must be.
    """
    size, mask = len(data), 0x80 if key else 0
    form = form or (126 if 125 < size < 65_536 else 127 if size > 125 else 0)
    if form == 126:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    elif form == 127:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    else:
        head = bytes((first, mask | size))
    return head + key + (unmasked(data, key) if key else data)


def packed(*messages: bytes, bits: int = 15, anew: bool = False, last: bool = False) -> list[bytes]:
    """Payloads as permessage-deflate has them."""
    body = zlib.compressobj(wbits=-bits)
    found = []
    for message in messages:
        data = body.compress(message)
        if last:
            found.append(data + body.flush(zlib.Z_FINISH) + b"\x00")
            body = zlib.compressobj(wbits=-bits)
        else:
            found.append((data + body.flush(zlib.Z_SYNC_FLUSH))[:-4])
        if anew:
            body = zlib.compressobj(wbits=-bits)
    return found


def read(data: bytes, **options: Any) -> tuple[list[Event], str]:
    framing = WebSocketFraming(**options)
    return list(framing.feed(data)), framing.broken


# One by one --------------------------------------------------------------------------------------------------------

FINE: dict[str, tuple[bytes, list[Event]]] = {
    "RFC 6455, 5.7: a text": (b"\x81\x05Hello", ["Hello"]),
    "RFC 6455, 5.7: masked": (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", ["Hello"]),
    "RFC 6455, 5.7: fragmented": (b"\x01\x03Hel\x80\x02lo", ["Hello"]),
    "RFC 6455, 5.7: ping and pong": (
        b"\x89\x05Hello\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [Control(PING, b"Hello"), Control(PONG, b"Hello")]
    ),
    "RFC 6455, 5.7: 256 bytes": (b"\x82\x7e\x01\x00" + b"x" * 256, [b"x" * 256]),
    "RFC 6455, 5.7: 64 KiB": (b"\x82\x7f" + (65_536).to_bytes(8, "big") + b"x" * 65_536, [b"x" * 65_536]),
    "nothing": (b"", []),
    "an empty text": (frame(0x81), [""]),
    "an empty text, masked": (frame(0x81, key=KEY), [""]),
    "empty bytes in empty fragments": (frame(2) + frame(0) + frame(0x80), [b""]),
    "bytes": (frame(0x82, b"\x00\xff"), [b"\x00\xff"]),
    "125, 126 and 127 bytes": (
        b"".join(frame(0x81, b"x" * n) for n in (125, 126, 127)), ["x" * n for n in (125, 126, 127)]
    ),
    "masked, each form": (
        b"".join(frame(0x81, b"abcde" * n, key=KEY) for n in (1, 40, 20_000)), ["abcde" * n for n in (1, 40, 20_000)]
    ),
    "longer lengths than must be": (frame(0x81, b"abc", form=126) + frame(0x81, b"abc", form=127), ["abc", "abc"]),
    "a control frame between fragments": (
        frame(1, b"a") + frame(0x89, b"p") + frame(0, b"b") + frame(0x8A) + frame(0x80, b"c"),
        [Control(PING, b"p"), Control(PONG, b""), "abc"],
    ),
    "a character in two fragments": (frame(1, b"\xc3") + frame(0x80, b"\xa4"), ["ä"]),
    "no UTF-8": (frame(0x81, b"a\xff"), ["a�"]),
    "a close": (frame(0x88, b"\x03\xe8bye"), [Control(CLOSE, b"\x03\xe8bye")]),
    "data after a close": (frame(0x88) + frame(0x81, b"a"), [Control(CLOSE, b""), "a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_is_in_frames(name: str) -> None:
    data, events = FINE[name]
    assert read(data) == (events, "")


@pytest.mark.parametrize("name", FINE)
def test_the_same_wherever_it_is_cut(name: str) -> None:
    data, events = FINE[name]
    for size in (1, 2, 3, 5) if len(data) < 2_000 else (997, 4_096):
        framing = WebSocketFraming()
        got = [event for at in range(0, len(data), size) for event in framing.feed(data[at : at + size])]
        assert got == events
        assert framing.between


BROKEN: dict[str, bytes] = {
    "an unknown opcode": frame(0x83, b"x"),
    "an unknown control": frame(0x8B, b"x"),
    "a bit that nobody agreed on": frame(0xC1, b"x"),
    "another": frame(0xA1, b"x"),
    "the third": frame(0x91, b"x"),
    "a fragment of nothing": frame(0x80, b"x"),
    "a message within a message": frame(1, b"x") + frame(0x81, b"y"),
    "a ping in fragments": frame(0x09, b"x"),
    "a long ping": frame(0x89, b"x" * 126),
    "a long close": frame(0x88, b"x" * 126),
    "a length beyond all": b"\x81\x7f\x80" + b"\0" * 7 + b"x",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_websocket_makes_it_blind_but_frames_are_followed(name: str) -> None:
    framing = WebSocketFraming()
    assert list(framing.feed(frame(0x81, b"before") + BROKEN[name])) == ["before"]
    assert framing.broken
    lost = name == "a length beyond all"
    assert framing.between is not lost
    assert list(framing.feed(frame(0x81, b"after six"))) == []
    assert framing.alone(frame(0x81, b"after six")) is None
    framing.walk(frame(0x81, b"after")[:-1])
    assert not framing.between
    framing.walk(b"x")
    assert framing.between is not lost


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", 1005, ""), (b"\x03", 1005, ""), (b"\x03\xe8", 1000, ""), (b"\x0f\xa0ach \xc3\xa4", 4000, "ach ä"),
        (b"\x03\xf3\xff", 1011, "�"),
    ],
)  # fmt: skip
def test_what_a_close_says(data: bytes, code: int, reason: str) -> None:
    assert Control(CLOSE, data).close == (code, reason)


def test_a_close_frame_of_ours() -> None:
    assert close_frame(1001) == b"\x88\x02\x03\xe9"
    assert read(close_frame(1009, "too much")) == ([Control(CLOSE, b"\x03\xf1too much")], "")
    assert read(close_frame(1008, "x", key=KEY)) == ([Control(CLOSE, b"\x03\xf0x")], "")
    assert close_frame(1001, key=KEY)[1:6] == b"\x82" + KEY
    assert read(close_frame(1000, "ä" * 80))[1] == ""


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4), st.integers(0, 9))
def test_unmasking_is_an_exclusive_or_of_each_byte(data: bytes, key: bytes, phase: int) -> None:
    plain = bytes(byte ^ key[(number + phase) % 4] for number, byte in enumerate(data))
    assert unmasked(data, key, phase) == plain


# Alone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 5, 125, 126, 300, 65_535])
@pytest.mark.parametrize("key", [b"", KEY])
def test_one_text_is_read_without_a_walk(size: int, key: bytes) -> None:
    whole = frame(0x81, b"x" * size, key=key)
    framing = WebSocketFraming()
    assert framing.alone(whole) == "x" * size
    assert framing.alone(whole + b"\x81") is None
    assert framing.alone(whole[:-1]) is None
    assert list(framing.feed(whole)) == ["x" * size]


@given(st.binary(min_size=1, max_size=12))
def test_what_is_alone_is_what_a_walk_finds(data: bytes) -> None:
    data = b"\x81" + data
    framing = WebSocketFraming()
    text = framing.alone(data)
    found = list(framing.feed(data))
    if text is not None:
        assert (found, framing.between, framing.broken) == ([text], True, "")
    else:
        assert not (len(found) == 1 and isinstance(found[0], str) and framing.between and len(data) >= 6)


def test_within_a_message_or_a_frame_nothing_is_alone() -> None:
    whole = frame(0x81, b"abcdef")
    for before in (frame(1, b"a"), whole[:1], whole[:4]):
        framing = WebSocketFraming()
        framing.feed(before)
        assert framing.alone(whole) is None
    framing = WebSocketFraming()
    framing.feed(frame(1, b"a") + frame(0x80))
    assert framing.alone(whole) == "abcdef"
    assert WebSocketFraming(reads=False).alone(whole) is None
    assert WebSocketFraming(max_message_bytes=5).alone(whole) is None
    assert WebSocketFraming(max_event_bytes=5).alone(whole) is None


# Too large ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 7, 1_000])
def test_a_message_too_large_to_keep_is_passed_over(cut: int) -> None:
    for key in (b"", KEY):
        data = (
            frame(0x81, b"x" * 101, key=key) + frame(0x82, b"x" * 100, key=key) + frame(1, b"x" * 60, key=key)
            + frame(0x89, b"p", key=key) + frame(0, b"x" * 60, key=key) + frame(0x80, b"", key=key)
            + frame(0x81, b"fine", key=key)
        )  # fmt: skip
        framing = WebSocketFraming(max_event_bytes=100)
        got = [event for at in range(0, len(data), cut) for event in framing.feed(data[at : at + cut])]
        assert got == [Skipped(1), b"x" * 100, Control(PING, b"p"), Skipped(1), "fine"]


@pytest.mark.parametrize("anew", [False, True])
def test_what_is_too_large_when_inflated_is_passed_over_and_the_window_goes_on(anew: bool) -> None:
    texts = [b"a long beginning " * 3, b"y" * 90_000, b"a long beginning " * 4, b"z" * 101, b"a long beginning "]
    for step in (1, 50, 10_000):
        framing = WebSocketFraming(max_event_bytes=100, deflate=Deflate(anew))
        data = b"".join(frame(0xC1, each, key=KEY) for each in packed(*texts, anew=anew))
        got = [event for at in range(0, len(data), step) for event in framing.feed(data[at : at + step])]
        assert got == [texts[0].decode(), Skipped(1), texts[2].decode(), Skipped(1), texts[4].decode()]


def test_16_mib_are_passed_over_in_bounded_memory() -> None:
    body = packed(b"\0" * 16_777_216, b"after")
    framing = WebSocketFraming(deflate=Deflate())
    plain = frame(0x82, b"x" * 16_777_216)
    tracemalloc.start()
    try:
        got = list(framing.feed(frame(0xC2, body[0]) + frame(0xC1, body[1])))
        for at in range(0, len(plain), 65_536):
            got += framing.feed(plain[at : at + 65_536])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == [Skipped(2), "after", Skipped(2)]
    assert peak < 4 * MAX_EVENT_BYTES


def test_a_bomb_ends_the_reading() -> None:
    (bomb,) = packed(b"\0" * (MAX_INFLATED_BYTES + 1))
    assert len(bomb) < 65_536
    got, broken = read(frame(0xC2, bomb) + frame(0x81, b"after"), deflate=Deflate())
    assert got == []
    assert f"more than {MAX_INFLATED_BYTES} bytes" in broken


def test_a_walk_stops_before_a_message_that_is_too_long() -> None:
    fine = frame(0x81, b"x" * 100)
    framing = WebSocketFraming(max_message_bytes=100)
    assert framing.walk(fine + frame(0x81, b"x" * 101)) == len(fine)
    assert (framing.too_large, framing.between) == (True, True)
    assert list(framing.read()) == ["x" * 100]
    framing = WebSocketFraming(max_message_bytes=100, reads=False)
    fragments = frame(1, b"x" * 60) + frame(0x89) + frame(0, b"x" * 40)
    assert framing.walk(fragments + frame(0x80, b"x")) == len(fragments)
    assert framing.too_large
    framing = WebSocketFraming(max_message_bytes=100)
    long = frame(0x81, b"x" * 101)
    assert [framing.walk(long[:1]), framing.walk(long[1:])] == [1, 0]
    assert framing.too_large
    framing = WebSocketFraming(max_message_bytes=100)
    assert framing.walk(fragments + frame(0x80) + fragments + frame(0x80)) == 2 * len(fragments) + 4
    assert not framing.too_large


# Compressed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("last", [False, True])
def test_compressed_messages(anew: bool, bits: int, last: bool) -> None:
    texts = [b"Hello", b"Hello", b"", bytes(range(256)).decode("latin-1").encode() * 30, b"Hello"]
    data = b""
    for number, each in enumerate(packed(*texts, bits=bits, anew=anew, last=last)):
        if number % 2:
            data += frame(0x41, each[:1]) + frame(0x89) + frame(0, b"") + frame(0x80, each[1:])
        else:
            data += frame(0xC1, each) + frame(0x81, b"plain")
    framing = WebSocketFraming(deflate=Deflate(anew, bits))
    got = [event for at in range(0, len(data), 3) for event in framing.feed(data[at : at + 3])]
    assert [event for event in got if isinstance(event, str) and event != "plain"] == [each.decode() for each in texts]
    assert got.count("plain") == 3
    assert framing.broken == ""


def test_the_examples_of_rfc_7692() -> None:
    hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
    assert read(b"\xc1\x07" + hello, deflate=Deflate()) == (["Hello"], "")
    assert read(b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", deflate=Deflate()) == (["Hello"], "")
    both = b"\xc1\x07" + hello + b"\xc1\x05\xf2\x00\x11\x00\x00"
    assert read(both, deflate=Deflate()) == (["Hello", "Hello"], "")
    assert read(b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", deflate=Deflate()) == (["Hello"], "")
    assert read(b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", deflate=Deflate()) == (["Hello"], "")
    two = b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
    assert read(two, deflate=Deflate()) == (["Hello"], "")


@pytest.mark.parametrize("bad", [b"\xff\xff\xff", b"\x07", b"\xf2\x48\xcd\xc9\xc9\x07\x00" * 2 + b"\x06"])
def test_what_is_no_deflate_makes_it_blind(bad: bytes) -> None:
    framing = WebSocketFraming(deflate=Deflate())
    framing.feed(frame(0xC1, bad) + frame(0xC1, b"\xff\xff\xff"))
    assert "not compressed as was agreed on" in framing.broken
    assert list(framing.feed(frame(0x81, b"after"))) == []
    assert framing.between


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", Extensions()),
        (" , ", Extensions()),
        ("permessage-deflate", Extensions(Deflate(), Deflate())),
        ("Permessage-Deflate ; client_no_context_takeover", Extensions(Deflate(True), Deflate())),
        (
            'permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits="10"',
            Extensions(Deflate(False, 10), Deflate(True, 9)),
        ),
        ("permessage-deflate; server_max_window_bits = 8", Extensions(Deflate(), Deflate(False, 8))),
        *(
            (value, Extensions(known=False))
            for value in (
                "x-webkit-deflate-frame", "permessage-deflate, permessage-deflate", "permessage-deflate; other",
                "permessage-deflate; server_max_window_bits", "permessage-deflate; server_max_window_bits=16",
                "permessage-deflate; server_max_window_bits=09", "permessage-deflate; client_no_context_takeover=1",
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "permessage-deflate; ;",
                "permessage-deflate; =", "foo, permessage-deflate",
            )
        ),
    ],
)  # fmt: skip
def test_what_was_agreed_on(value: str, found: Extensions) -> None:
    assert extensions(value) == found


@given(st.text())
def test_any_text_may_stand_for_extensions(value: str) -> None:
    assert isinstance(extensions(value), Extensions)
    assert isinstance(extensions(f"permessage-deflate;{value}"), Extensions)


# Against the library -----------------------------------------------------------------------------------------------

MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["text", "bytes"]), st.lists(st.binary(max_size=40), min_size=1, max_size=4)),
        st.tuples(st.sampled_from(["text", "bytes"]), st.integers(100, 70_000).map(lambda size: [b"ab" * (size // 2)])),
        st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=20).map(lambda data: [data])),
    ),
    max_size=6,
)


def sent(side: Any, messages: Sequence[tuple[str, list[bytes]]], code: int | None, deflate: Deflate | None) -> bytes:
    """The bytes with which the library sends these. Between two fragments it pings."""
    protocol = Protocol(side)
    if deflate is not None:
        bits = max(9, deflate.window_bits)
        protocol.extensions = [
            PerMessageDeflate(True, deflate.no_context_takeover, 15, bits, {"memLevel": 1}),
        ]
    for kind, parts in messages:
        if kind in ("ping", "pong"):
            getattr(protocol, f"send_{kind}")(parts[0])
            continue
        send = protocol.send_text if kind == "text" else protocol.send_binary
        send(parts[0], fin=len(parts) == 1)
        for number, part in enumerate(parts[1:], 2):
            protocol.send_ping(b"between")
            protocol.send_continuation(part, fin=number == len(parts))
    if code is not None:
        protocol.send_close(code, "reason ä")
    return b"".join(protocol.data_to_send())


def understood(side: Any, data: bytes, deflate: Deflate | None) -> list[Event]:
    """What the library's other side reads of them."""
    protocol = Protocol(side, max_size=None)
    if deflate is not None:
        protocol.extensions = [PerMessageDeflate(deflate.no_context_takeover, True, deflate.window_bits, 15)]
    protocol.receive_data(data)
    found: list[Event] = []
    kind, parts = Opcode.TEXT, b""
    for each in protocol.events_received():
        body = bytes(each.data)
        if each.opcode >= 8:
            found.append(Control(int(each.opcode), body))
            continue
        if each.opcode != Opcode.CONT:
            kind, parts = each.opcode, b""
        parts += body
        if each.fin:
            found.append(parts.decode("utf-8", "replace") if kind == Opcode.TEXT else parts)
    return found


def cut(data: bytes, seed: int, most: int) -> Iterator[bytes]:
    choose = random.Random(seed)
    at = 0
    while at < len(data):
        size = choose.randint(1, most)
        yield data[at : at + size]
        at += size


@settings(max_examples=150, deadline=None)
@given(
    MESSAGES, st.sampled_from([None, 1000, 1011, 4999]), st.booleans(),
    st.none() | st.builds(Deflate, st.booleans(), st.integers(9, 15)), st.integers(0, 1_000),
    st.sampled_from([1, 3, 40, 5_000, 1_000_000]),
)  # fmt: skip
def test_the_same_as_the_library_reads(
    messages: list[tuple[str, list[bytes]]], code: int | None, client: bool, deflate: Deflate | None, seed: int,
    most: int,
) -> None:  # fmt: skip
    data = sent(CLIENT if client else SERVER, messages, code, deflate)
    expected = understood(SERVER if client else CLIENT, data, deflate)
    framing = WebSocketFraming(deflate=deflate)
    got: list[Event] = []
    for piece in cut(data, seed, most):
        text = framing.alone(piece)
        got += framing.feed(piece) if text is None else [text]
    assert got == expected
    assert (framing.between, framing.broken, framing.closing) == (True, "", code is not None)


FIRSTS = st.sampled_from([0, 1, 2, 0x80, 0x81, 0x82, 0x88, 0x89, 0xC1, 0x41, 0x83, 0x0F]).map(lambda one: bytes((one,)))
NOISE = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.builds(frame, st.integers(0, 255), st.binary(max_size=8), key=st.sampled_from([b"", KEY])),
        st.builds(lambda first, rest: first + rest, FIRSTS, st.binary(max_size=14)),
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(NOISE, st.integers(0, 1_000), st.sampled_from([None, Deflate(), Deflate(True, 9)]), st.sampled_from([0, 5]))
def test_any_bytes_are_read_alike_however_they_are_cut(
    data: bytes, seed: int, deflate: Deflate | None, most: int
) -> None:
    def fed(pieces: Iterator[bytes]) -> tuple[list[Event], list[int], WebSocketFraming]:
        framing = WebSocketFraming(deflate=deflate, max_message_bytes=most)
        events: list[Event] = []
        passed = []
        for piece in pieces:
            if not framing.too_large:
                passed.append(framing.walk(piece))
                events += framing.read()
        return events, passed, framing

    whole, passed, at_once = fed(iter((data,)))
    events, several, framing = fed(cut(data, seed, 4))
    assert events == whole
    assert bool(framing.broken) == bool(at_once.broken)
    assert framing.too_large == at_once.too_large
    assert framing.closing == at_once.closing
    assert 0 <= sum(several) - sum(passed) <= 13  # of a head in pieces some have passed
    if not framing.too_large:
        assert sum(several) == sum(passed) == len(data)
        assert framing.between == at_once.between


@settings(max_examples=100)
@given(NOISE)
def test_following_without_reading_comes_to_the_same_place(data: bytes) -> None:
    reading, following = WebSocketFraming(max_message_bytes=9), WebSocketFraming(max_message_bytes=9, reads=False)
    assert reading.walk(data) == following.walk(data)
    assert list(following.read()) == []
    assert (reading.between, reading.closing, reading.too_large) == (
        following.between, following.closing, following.too_large,
    )  # fmt: skip


@pytest.mark.parametrize("cut", [1, 4, 50])
def test_what_did_not_pass_can_be_followed_still(cut: int) -> None:
    data = frame(0x82, b"x" * 101, key=KEY) + close_frame(1000, key=KEY) + frame(0x8A)
    framing = WebSocketFraming(max_message_bytes=100)
    passed = framing.walk(data[:cut]) if cut < 6 else 0
    assert framing.walk(data[passed:]) == 0
    assert (framing.too_large, framing.between) == (True, not passed)
    framing.only_follow()
    framing.walk(data[passed:])
    assert (framing.closing, framing.between, framing.too_large) == (True, True, False)
    assert list(framing.read()) == []
