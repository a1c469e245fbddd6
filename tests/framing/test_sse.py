"""The event stream's framing, against a plain reading of the standard and its own examples."""

from __future__ import annotations

import re
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamgauge import framing
from streamgauge.errors import FramingError
from streamgauge.framing import MAX_EVENT_BYTES, SSEFraming
from streamgauge.wire import ServerSentEvent

# What matters to the framing, and a little of what does not.
PIECES = st.sampled_from(
    [b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"\0", b"7", b"-"],
) | st.sampled_from(
    [b"\xef\xbb\xbf", "é".encode(), b"\xff", b"\xe2\x82", "\u2028".encode(), b"\x0b", b"\x0c", b"\x1c", b"\x85"]
)
STREAMS = st.lists(PIECES, max_size=40).map(b"".join)


def by_the_standard(stream: bytes) -> list[ServerSentEvent]:
    """The standard's algorithm on a whole stream, as it is written there."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)[:-1]  # the last is not ended
    data, type_, id_buffer, last_id, retry = "", "", "", "", None
    events = []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            last_id = id_buffer
            if data:
                events.append(ServerSentEvent(data.removesuffix("\n"), type_ or "message", last_id, retry))
            data, type_, retry = "", "", None
        elif name == "data" and line != "":
            data += value + "\n"
        elif name == "event":
            type_ = value
        elif name == "id" and "\0" not in value:
            id_buffer = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return events


def fed(pieces: list[bytes], sse: SSEFraming | None = None) -> list[ServerSentEvent]:
    sse = sse or SSEFraming()
    return [event for piece in pieces for event in sse.feed(piece)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(bounds)]


def outcome(pieces: list[bytes], limit: int) -> tuple[list[ServerSentEvent], bool]:
    """The events, and whether the limit was passed."""
    sse = SSEFraming(max_event_bytes=limit)
    events = []
    for piece in pieces:
        try:
            events += sse.feed(piece)
        except FramingError:
            return events, True
    try:
        sse.finish()
    except FramingError:
        return events, True
    return events, False


@settings(deadline=None, max_examples=400)
@given(STREAMS, st.lists(st.integers(0, 1_000), max_size=8))
@example(b"data: a\r\n\r\ndata: b\r\r\n", [9])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example(b"data: a\r\n\n", [8])
def test_any_cut_gives_what_the_standard_says(stream: bytes, places: list[int]) -> None:
    assert fed(cut(stream, places)) == by_the_standard(stream)


@settings(deadline=None)
@given(STREAMS)
@example(b"data: a\r\rdata: b\r\n\r\n")
def test_an_event_leaves_with_the_byte_that_completes_it(stream: bytes) -> None:
    sse = SSEFraming()
    events: list[ServerSentEvent] = []
    for end in range(1, len(stream) + 1):
        events += sse.feed(stream[end - 1 : end])
        assert events == by_the_standard(stream[:end])


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_read(stream: bytes, places: list[int]) -> None:
    assert fed(cut(stream, places)) == by_the_standard(stream)


@settings(deadline=None, max_examples=300)
@given(STREAMS, st.lists(st.integers(0, 1_000), max_size=8), st.integers(0, 24))
@example(b"\xef\xbb\xbf\n", [2], 1)
@example(b"data: 1\n\ndata: 22\n\n", [9], 7)
def test_the_limit_does_not_depend_on_the_cut(stream: bytes, places: list[int], limit: int) -> None:
    whole = outcome([stream], limit)
    assert outcome(cut(stream, places), limit) == whole
    assert whole[0] == by_the_standard(stream)[: len(whole[0])]


READS = st.sampled_from(
    [
        b"data: a\n\n",
        b"data:\n\n",
        b"data: a\rdata: b\n\n",
        b"data: a\r\r",
        b"\n",
        b"data: a\ndata: b\n\n",
        b"data: a\n",
    ]
) | st.sampled_from(
    [b"data: a", b"id: 7\n", b": c\n\n", b"\ndata: b\n\n", b"event: e\ndata: a\r\n\r\n", b"data: a\n\ndata: b\n\n"]
)


@settings(deadline=None, max_examples=400)
@given(st.lists(READS, max_size=8))
def test_usual_reads_give_what_the_standard_says(reads: list[bytes]) -> None:
    assert fed(reads) == by_the_standard(b"".join(reads))


def test_the_limit_is_for_one_event() -> None:
    sse = SSEFraming(max_event_bytes=13)
    assert len(fed([b"data:a\ndata:b\n\n"] * 50 + [b"data: 1234567\n\n"] * 50, sse)) == 100
    with pytest.raises(FramingError):
        SSEFraming(max_event_bytes=12).feed(b"data:a\ndata:b\n\n")


TEXTS = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            ServerSentEvent,
            data=st.lists(TEXTS, min_size=1, max_size=4).map("\n".join),
            type=TEXTS.filter(bool),
            id=TEXTS,
            retry=st.none() | st.integers(0, 10**17),
        ),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.lists(st.integers(0, 1_000), max_size=8),
)
def test_round_trip(events: list[ServerSentEvent], ending: str, places: list[int]) -> None:
    stream = "".join(
        ending.join(
            [f"event: {event.type}", f"id: {event.id}", *(f"data: {line}" for line in event.data.split("\n"))]
            + ([] if event.retry is None else [f"retry: {event.retry}"])
            + ["", ""]
        )
        for event in events
    )
    assert fed(cut(stream.encode(), places)) == events


# The standard's own examples (9.2.6).
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: YHOO\ndata: +2\ndata: 10\n\n", [("YHOO\n+2\n10", "")]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [("first event", "1"), ("second event", ""), (" third event", "")],
        ),
        ("data: first event\n\ndata: third event\n", [("first event", "")]),
        ("data\n\ndata\ndata\n\ndata:", [("", ""), ("\n", "")]),
        ("data:test\n\ndata: test\n\n", [("test", ""), ("test", "")]),
    ],
)
def test_examples_of_the_standard(stream: str, events: list[tuple[str, str]]) -> None:
    assert fed([stream.encode()]) == [ServerSentEvent(data, "message", id_) for data, id_ in events]


def test_named_events() -> None:
    stream = b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: x\n\n"
    assert [(event.type, event.data) for event in fed([stream])] == [
        ("add", "73857293"),
        ("remove", "2153"),
        ("message", "x"),
    ]


@pytest.mark.parametrize(
    "stream", [b"\n\n", b": hello\n\n", b"event: x\n\n", b"id: 1\n\n", b"data : x\n\n", b"Data: x\n\n"]
)
def test_without_data_nothing_is_dispatched(stream: bytes) -> None:
    assert fed([stream]) == []


def test_an_id_without_data_counts_for_the_next_event() -> None:
    assert fed([b"id: 1\n\ndata: x\n\n"]) == [ServerSentEvent("x", "message", "1")]


def test_an_id_of_an_unfinished_event_does_not() -> None:
    sse = SSEFraming()
    assert fed([b"id: 1\ndata: x\n\nid: 2\n"], sse)[0].id == "1"
    assert sse.pending_bytes == b"id: 2\n"


def test_an_id_with_nul_is_ignored() -> None:
    assert [event.id for event in fed([b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"])] == ["1", "1"]


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        ("3000", 3000),
        ("007", 7),
        ("0", 0),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1_0", None),
        ("1.5", None),
        ("٣", None),
        ("1 ", None),
        ("0" * 5_000 + "9", 9),
        ("9" * 5_000, None),
    ],
)
def test_retry_is_ascii_digits(value: str, retry: int | None) -> None:
    assert fed([f"retry:{value}\ndata: x\n\n".encode()]) == [ServerSentEvent("x", retry=retry)]


@pytest.mark.parametrize("other", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_nothing_else_ends_a_line(other: str) -> None:
    assert fed([f"data: a{other}data: b\n\n".encode()]) == [ServerSentEvent(f"a{other}data: b")]


@pytest.mark.parametrize("start", [b"", b": comment\n\n", b"data: before\n\n"])
def test_the_usual_read_is_read_like_any_other(start: bytes) -> None:
    sse = SSEFraming()
    sse.feed(start)
    assert sse.feed(b"data: x\n\n") == [ServerSentEvent("x")]
    assert sse.feed(b"data:\n\n") == [ServerSentEvent("")]
    assert sse.feed(b"data:a\n") == []
    assert sse.feed(b"data:b\n\n") == [ServerSentEvent("a\nb")]
    assert sse.feed(b"data: \xff\n\n") == [ServerSentEvent("\ufffd")]


def test_only_one_byte_order_mark_is_dropped() -> None:
    assert fed([b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n"]) == [
        ServerSentEvent("a"),
        ServerSentEvent("c"),
    ]


def test_a_line_feed_after_the_carriage_return_is_no_second_ending() -> None:
    sse = SSEFraming()
    assert sse.feed(b"data: a\r\n\r") == [ServerSentEvent("a")]
    assert sse.feed(b"\n") == []
    assert sse.feed(b"\ndata: b\r") == []
    assert sse.feed(b"\r") == [ServerSentEvent("b")]
    assert sse.feed(b"") == []
    assert sse.feed(b"\ndata: c\n\n") == [ServerSentEvent("c")]


def test_comments_are_counted() -> None:
    sse = SSEFraming()
    assert fed([b":\n", b": keep-alive\n\n: keep", b"-alive\r\ndata: x\n:\n\n"], sse) == [ServerSentEvent("x")]
    assert sse.comments == 4


def test_what_is_unfinished_stays_readable() -> None:
    sse = SSEFraming()
    assert fed([b"data: a\n\n: c\nevent: b\r\ndata: b\r\nda"], sse) == [ServerSentEvent("a")]
    assert sse.pending_bytes == b"event: b\ndata: b\nda"
    assert sse.finish() == []
    assert sse.pending_bytes == b"event: b\ndata: b\nda"


def test_text_and_other_buffers_are_taken_too() -> None:
    sse = SSEFraming()
    assert sse.feed("data: é\n\n") == [ServerSentEvent("é")]  # type: ignore[arg-type]
    assert sse.feed(bytearray(b"data: x\n\n")) == [ServerSentEvent("x")]
    assert sse.feed(memoryview(b"data: y\n\n")) == [ServerSentEvent("y")]


def test_beyond_the_limit_what_came_before_is_returned_first() -> None:
    sse = SSEFraming(max_event_bytes=10)
    assert sse.feed(b"data: 1234\n\ndata: 12345\n\ndata: 1\n\n") == [ServerSentEvent("1234")]
    for _ in range(2):
        with pytest.raises(FramingError, match="larger than 10 bytes"):
            sse.feed(b"data: 1\n\n")
    with pytest.raises(FramingError):
        sse.finish()
    assert sse.pending_bytes == b""


@pytest.mark.parametrize(
    "piece", [b"x" * 1_000, b": " + b"x" * 1_000, b"id: 1\n" * 100, b"data:\n" * 100, b"q\r\n" * 99]
)
def test_memory_is_bounded(piece: bytes) -> None:
    sse = SSEFraming(max_event_bytes=50_000)
    largest = reads = 0
    while True:
        try:
            sse.feed(piece)
        except FramingError:
            break
        reads += 1
        largest = max(largest, len(sse.pending_bytes))
        assert reads < 1_000
    assert 49_000 < largest <= 50_001
    assert sse.pending_bytes == b""


def test_comments_and_blank_lines_take_no_memory() -> None:
    sse = SSEFraming()
    piece = b": keep-alive\n\n" * 1_000
    sse.feed(piece)
    tracemalloc.start()
    try:
        for _ in range(300):
            assert sse.feed(piece) == []
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 50_000
    assert sse.comments == 301_000


def test_time_is_linear_in_the_bytes() -> None:
    """Copying what is pending at each byte would take hours here: the test's timeout is the assertion."""
    sse = SSEFraming(max_event_bytes=2_000_000)
    for _ in range(1_000_000):
        sse.feed(b"x")
    assert len(sse.pending_bytes) == 1_000_000


def test_an_event_of_the_largest_size_is_read() -> None:
    data = b"data: " + b"x" * (MAX_EVENT_BYTES - 6)
    assert len(fed([data + b"\n\n"])[0].data) == MAX_EVENT_BYTES - 6
    with pytest.raises(FramingError):
        fed([data + b"x\n\n"])


def test_framings_are_found_by_name() -> None:
    assert framing.find("sse") is SSEFraming
    assert framing.find("ndjson") is framing.NDJSONFraming
    assert framing.find("message") is framing.MessageFraming
    assert framing.find("morse") is None
