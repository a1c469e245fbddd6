"""Newline-delimited JSON's framing."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamgauge.errors import FramingError
from streamgauge.framing import MAX_EVENT_BYTES, NDJSONFraming

STREAMS = st.lists(
    st.sampled_from([b"{}", b"x", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", "é".encode(), b"\xff", b"\x0b"])
    | st.sampled_from(["\u2028".encode(), "\x85".encode()]),
    max_size=30,
).map(b"".join)
PLACES = st.lists(st.integers(0, 1_000), max_size=8)


def plainly(stream: bytes) -> list[str]:
    """All lines of a whole stream."""
    lines = [line.removesuffix(b"\r") for line in stream.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    return [line.decode("utf-8", "replace") for line in lines if line.strip(b" \t\r")]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(bounds)]


def outcome(pieces: list[bytes], limit: int = MAX_EVENT_BYTES) -> tuple[list[str], bool]:
    """The events, and whether the limit was passed."""
    lines = NDJSONFraming(max_event_bytes=limit)
    events: list[str] = []
    try:
        for piece in pieces:
            events += lines.feed(piece)
        events += lines.finish()
    except FramingError:
        return events, True
    return events, False


@settings(deadline=None, max_examples=300)
@given(STREAMS, PLACES)
def test_any_cut_gives_the_same_lines(stream: bytes, places: list[int]) -> None:
    assert outcome(cut(stream, places)) == (plainly(stream), False)


@settings(deadline=None)
@given(st.binary(max_size=300), PLACES)
def test_any_bytes_are_read(stream: bytes, places: list[int]) -> None:
    assert outcome(cut(stream, places)) == (plainly(stream), False)


@settings(deadline=None)
@given(STREAMS)
def test_a_line_leaves_with_the_byte_that_completes_it(stream: bytes) -> None:
    lines = NDJSONFraming()
    events: list[str] = []
    for end in range(1, len(stream) + 1):
        events += lines.feed(stream[end - 1 : end])
        assert events == plainly(stream[: stream.rfind(b"\n", 0, end) + 1])


@settings(deadline=None, max_examples=300)
@given(STREAMS, PLACES, st.integers(0, 12))
@example(b"\xef\xbb\xbf{}\r\n", [2, 6], 2)
@example(b"{}\n{}x", [3], 2)
def test_the_limit_does_not_depend_on_the_cut(stream: bytes, places: list[int], limit: int) -> None:
    whole = outcome([stream], limit)
    assert outcome(cut(stream, places), limit) == whole
    assert whole[0] == plainly(stream)[: len(whole[0])]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5
)


@settings(deadline=None)
@given(st.lists(VALUES), PLACES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_round_trip(values: list[object], places: list[int], ending: str, ended: bool) -> None:
    stream = ending.join(json.dumps(value) for value in values) + ending * ended
    events, broke = outcome(cut(stream.encode(), places))
    assert [json.loads(event) for event in events] == values
    assert not broke


def test_a_last_line_without_an_ending_comes_at_the_end() -> None:
    lines = NDJSONFraming()
    assert lines.feed(b'{"a": 1}\n\n  \n{"b"') == ['{"a": 1}']
    assert lines.pending_bytes == b'{"b"'
    assert lines.feed(b": 2}\r") == []
    assert lines.finish() == ['{"b": 2}']
    assert lines.pending_bytes == b""
    assert lines.finish() == []


def test_nothing_else_ends_a_line() -> None:
    assert outcome(["a\u2028b\x85c\rd\x0be\n".encode()]) == (["a\u2028b\x85c\rd\x0be"], False)


def test_text_and_other_buffers_are_taken_too() -> None:
    lines = NDJSONFraming()
    assert lines.feed('"é"\n') == ['"é"']  # type: ignore[arg-type]
    assert lines.feed(bytearray(b"1\n")) == ["1"]
    assert lines.feed(memoryview(b"2\n")) == ["2"]


def test_beyond_the_limit_what_came_before_is_returned_first() -> None:
    lines = NDJSONFraming(max_event_bytes=4)
    assert lines.feed(b"1234\r\n12345\n1\n") == ["1234"]
    for _ in range(2):
        with pytest.raises(FramingError, match="longer than 4 bytes"):
            lines.feed(b"1\n")
    with pytest.raises(FramingError):
        lines.finish()


def test_the_last_line_has_the_limit_too() -> None:
    lines = NDJSONFraming(max_event_bytes=2)
    assert lines.feed(b"12\r") == []  # the CR may belong to the ending
    assert lines.finish() == ["12"]
    lines = NDJSONFraming(max_event_bytes=2)
    assert lines.feed(b"1\n12\r") == ["1"]
    with pytest.raises(FramingError):
        lines.feed(b"3")


def test_what_may_become_a_byte_order_mark_does_not_count_until_it_is_none() -> None:
    lines = NDJSONFraming(max_event_bytes=1)
    assert lines.feed(b"\xef\xbb") == []
    with pytest.raises(FramingError):
        lines.finish()


def test_memory_is_bounded() -> None:
    lines = NDJSONFraming(max_event_bytes=50_000)
    for number in range(1, 51):
        lines.feed(b"x" * 1_000)
        assert len(lines.pending_bytes) == number * 1_000
    with pytest.raises(FramingError):
        lines.feed(b"x")
    assert lines.pending_bytes == b""


def test_time_is_linear_in_the_bytes() -> None:
    """Copying what is pending at each byte would take hours here: the test's timeout is the assertion."""
    lines = NDJSONFraming(max_event_bytes=2_000_000)
    for _ in range(1_000_000):
        lines.feed(b"x")
    assert len(lines.finish()[0]) == 1_000_000
