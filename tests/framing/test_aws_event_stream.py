"""Amazon's event stream, against messages made by hand and, where it is installed, botocore's own parser."""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge import framing
from streamgauge.errors import FramingError
from streamgauge.framing import AWSEventStreamFraming
from streamgauge.wire import ServerSentEvent

PLACES = st.lists(st.integers(0, 5_000), max_size=8)
FORMATS = {2: "!b", 3: "!h", 4: "!i", 5: "!q", 8: "!q"}


def header(name: str, kind: int, value: Any = None) -> bytes:
    head = bytes([len(name.encode())]) + name.encode() + bytes([kind])
    if kind in FORMATS:
        return head + struct.pack(FORMATS[kind], value)
    if kind in (6, 7):
        value = value.encode() if isinstance(value, str) else value
        return head + struct.pack("!H", len(value)) + value
    return head + (value if kind == 9 else b"")


def message(headers: bytes, payload: bytes = b"") -> bytes:
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    text = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return text + struct.pack("!I", zlib.crc32(text))


def event(type_: str, payload: str, kind: str = "event") -> bytes:
    return message(
        header(f":{kind}-type", 7, type_)
        + header(":content-type", 7, "application/json")
        + header(":message-type", 7, kind),
        payload.encode(),
    )


DELTA = event("contentBlockDelta", '{"delta":{"text":"é"}}')
THROTTLED = event("throttlingException", '{"message":"slow"}', "exception")
ERROR = message(
    header(":message-type", 7, "error") + header(":error-code", 7, "InternalFailure")
    + header(":error-message", 7, "odd")
)  # fmt: skip
OF_ALL_TYPES = message(
    header("a", 0) + header("b", 1) + header("c", 2, -1) + header("d", 3, -2) + header("e", 4, -3)
    + header("f", 5, -4) + header("g", 6, b"\0\1") + header(":event-type", 7, "x") + header("h", 8, 1_700_000_000_000)
    + header("i", 9, uuid.UUID(int=7).bytes),
    b"{}",
)  # fmt: skip


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(bounds)]


def outcome(pieces: list[bytes], limit: int = 10_000) -> tuple[list[ServerSentEvent], str]:
    """The events, and what was wrong with the rest."""
    framed = AWSEventStreamFraming(max_event_bytes=limit)
    events: list[ServerSentEvent] = []
    try:
        for piece in pieces:
            events += framed.feed(piece)
        events += framed.finish()
    except FramingError as error:
        return events, str(error)
    return events, ""


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (DELTA, [ServerSentEvent('{"delta":{"text":"é"}}', "contentBlockDelta")]),
        (DELTA + DELTA[:-1], [ServerSentEvent('{"delta":{"text":"é"}}', "contentBlockDelta")]),
        (THROTTLED, [ServerSentEvent('{"message":"slow"}', "throttlingException", "exception")]),
        (ERROR, [ServerSentEvent('{"message": "odd"}', "InternalFailure", "error")]),
        (OF_ALL_TYPES, [ServerSentEvent("{}", "x")]),
        (message(b""), [ServerSentEvent("")]),
        (message(header(":event-type", 4, 7), b"\xff"), [ServerSentEvent("\ufffd")]),
    ],
    ids=["nothing", "event", "cut", "exception", "error", "all types", "empty", "no text"],
)
def test_messages(stream: bytes, expected: list[ServerSentEvent]) -> None:
    assert outcome([stream]) == (expected, "")
    assert outcome([stream[at : at + 1] for at in range(len(stream))]) == (expected, "")


STREAMS = st.lists(
    st.sampled_from([DELTA, THROTTLED, ERROR, OF_ALL_TYPES, DELTA[:20], b"\0" * 12, message(header("a", 7, "b")[:-1])]),
    max_size=6,
).map(b"".join)


@settings(deadline=None, max_examples=300)
@given(STREAMS, PLACES, st.sampled_from([50, 120, 10_000]))
def test_any_cut_gives_the_same(stream: bytes, places: list[int], limit: int) -> None:
    assert outcome(cut(stream, places), limit) == outcome([stream], limit)


@settings(deadline=None)
@given(st.binary(max_size=200), PLACES)
def test_any_bytes_are_read(stream: bytes, places: list[int]) -> None:
    assert outcome(cut(DELTA + stream, places)) == outcome([DELTA + stream])


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_headers_are_read(headers: bytes, payload: bytes) -> None:
    events, trouble = outcome([message(headers, payload)])
    assert len(events) == (not trouble)


def broken(stream: bytes, at: int) -> bytes:
    return stream[:at] + bytes([stream[at] ^ 1]) + stream[at + 1 :]


@pytest.mark.parametrize("at", range(len(THROTTLED)))
def test_no_wrong_byte_is_missed(at: int) -> None:
    events, trouble = outcome([DELTA + broken(THROTTLED, at) + DELTA])
    assert len(events) == 1
    assert "checksum" in trouble


@pytest.mark.parametrize(("length", "headers"), [(15, 0), (0, 0), (16, 1), (100, 85), (20, 2**32 - 1)])
def test_lengths_that_cannot_be(length: int, headers: int) -> None:
    prelude = struct.pack("!II", length, headers)
    assert "lengths" in outcome([prelude + struct.pack("!I", zlib.crc32(prelude))])[1]


@pytest.mark.parametrize(
    "headers",
    [b"\1a", b"\1a\x0a", b"\5ab\7", header("a", 7, "bc")[:-1], header("a", 5, 1)[:-1], header("a", 7, "b") + b"\0"],
)
def test_headers_that_are_none(headers: bytes) -> None:
    assert "headers" in outcome([message(headers, b"")])[1]


def test_beyond_the_limit_what_came_before_is_returned_first() -> None:
    framed = AWSEventStreamFraming(max_event_bytes=len(DELTA))
    large = event("contentBlockDelta", "x" * 200)
    assert len(framed.feed(DELTA + large + DELTA)) == 1
    for _ in range(2):
        with pytest.raises(FramingError, match=f"larger than {len(DELTA)} bytes"):
            framed.feed(DELTA)
    with pytest.raises(FramingError):
        framed.finish()
    assert framed.pending_bytes == b""


def test_a_message_beyond_the_limit_takes_no_memory() -> None:
    framed = AWSEventStreamFraming(max_event_bytes=1_000)
    with pytest.raises(FramingError):
        framed.feed(event("chunk", "x" * 100_000)[:100])


def test_what_is_unfinished_stays_readable() -> None:
    framed = AWSEventStreamFraming()
    assert len(framed.feed(DELTA + DELTA[:30])) == 1
    assert framed.pending_bytes == DELTA[:30]
    assert framed.finish() == []
    assert framed.pending_bytes == DELTA[:30]


def test_other_buffers_are_taken_too() -> None:
    framed = AWSEventStreamFraming()
    assert len(framed.feed(bytearray(DELTA)) + framed.feed(memoryview(DELTA))) == 2
    with pytest.raises(FramingError):
        framed.feed("data: no binary")  # type: ignore[arg-type]


def test_time_is_linear_in_the_bytes() -> None:
    """Copying what is pending at each byte would take hours here: the test's timeout is the assertion."""
    framed = AWSEventStreamFraming(max_event_bytes=2_000_000)
    stream = event("chunk", "x" * 500_000)
    events = [event for at in range(len(stream)) for event in framed.feed(stream[at : at + 1])]
    assert len(events[0].data) == 500_000
    assert len(AWSEventStreamFraming().feed(DELTA * 20_000)) == 20_000


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)
WHOLE = {2: 8, 3: 16, 4: 32, 5: 64, 8: 64}


@st.composite
def messages(draw: Any) -> bytes:
    headers = b""
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        kind = draw(st.integers(0, 9))
        value: Any = None
        if kind in WHOLE:
            value = draw(st.integers(-(2 ** (WHOLE[kind] - 1)), 2 ** (WHOLE[kind] - 1) - 1))
        elif kind == 6:
            value = draw(st.binary(max_size=20))
        elif kind == 7:
            value = draw(st.text(st.characters(codec="utf-8"), max_size=20))
        elif kind == 9:
            value = draw(st.binary(min_size=16, max_size=16))
        headers += header(name, kind, value)
    type_ = draw(st.sampled_from([":event-type", ":exception-type", ":error-code"]))
    return message(headers + header(type_, 7, draw(NAMES)), draw(st.text(max_size=30)).encode("utf-8", "replace"))


@settings(deadline=None, max_examples=200)
@given(st.lists(messages(), max_size=4), PLACES)
def test_botocore_reads_the_same(parts: list[bytes], places: list[int]) -> None:
    eventstream = pytest.importorskip("botocore.eventstream")
    theirs = eventstream.EventStreamBuffer()
    theirs.add_data(b"".join(parts))
    expected = [
        (next(each.headers[name] for name in each.headers if name in framing.aws_event_stream._TYPES),
         each.payload.decode())
        for each in theirs
    ]  # fmt: skip
    events, trouble = outcome(cut(b"".join(parts), places))
    assert ([(event.type, event.data) for event in events], trouble) == (expected, "")


def test_botocore_and_this_agree_on_the_examples() -> None:
    eventstream = pytest.importorskip("botocore.eventstream")
    for stream in (DELTA, THROTTLED, OF_ALL_TYPES):
        theirs = eventstream.EventStreamBuffer()
        theirs.add_data(stream)
        (each,) = theirs
        (ours,) = AWSEventStreamFraming().feed(stream)
        assert json.loads(ours.data) == json.loads(each.payload)
        assert ours.type in each.headers.values()


def test_it_is_found_by_name() -> None:
    assert framing.find("aws-event-stream") is AWSEventStreamFraming
