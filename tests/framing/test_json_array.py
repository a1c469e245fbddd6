"""A JSON body's framing, against a plain reading with the standard library's decoder."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamgauge import framing
from streamgauge.errors import FramingError
from streamgauge.framing import MAX_EVENT_BYTES, JSONFraming

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
PLACES = st.lists(st.integers(0, 1_000), max_size=8)
PIECES = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b",", b" ", b"\n", b"1", b"-", b"true", b"x", b":", b'"a"'])
    | st.sampled_from([b"\xef\xbb\xbf", b"\xff", "é".encode(), b"{}", b"null", b"<"]),
    max_size=30,
).map(b"".join)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[start:end] for start, end in pairwise(bounds)]


def outcome(pieces: list[bytes], limit: int = MAX_EVENT_BYTES) -> tuple[list[bytes], bool]:
    """The events, and whether the limit was passed."""
    body = JSONFraming(max_event_bytes=limit)
    events: list[bytes] = []
    try:
        for piece in pieces:
            events += body.feed(piece)
        events += body.finish()
    except FramingError:
        return events, True
    return events, False


def read(*pieces: bytes) -> list[Any]:
    events, broken = outcome(list(pieces))
    assert not broken
    return [json.loads(event) for event in events]


INDENTS = st.sampled_from([None, 0, 2])


@settings(deadline=None, max_examples=300)
@given(st.lists(VALUES, max_size=5), INDENTS, st.booleans(), PLACES)
@example([{"a": '"}]\\'}, "x", -1.5e10, None, [[]]], 2, True, [3, 4, 5, 6])
def test_each_element_of_an_array_is_an_event_wherever_it_is_cut(
    elements: list[Any], indent: int | None, ascii_: bool, places: list[int]
) -> None:
    body = json.dumps(elements, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    assert read(*cut(body, places)) == elements


@settings(deadline=None, max_examples=200)
@given(VALUES.filter(lambda value: not isinstance(value, list)), INDENTS, PLACES)
def test_any_other_value_is_one_event(value: Any, indent: int | None, places: list[int]) -> None:
    events, broken = outcome(cut(json.dumps(value, indent=indent).encode(), places))
    assert not broken
    assert [json.loads(event) for event in events] == [value]
    assert [getattr(event, "whole", False) for event in events] == [True]


@settings(deadline=None)
@given(st.lists(VALUES.filter(lambda value: isinstance(value, dict | list | str)), max_size=4), INDENTS)
def test_an_element_leaves_with_its_last_byte(elements: list[Any], indent: int | None) -> None:
    framed, told = JSONFraming(), []
    told += framed.feed(b"[")
    for number, element in enumerate(elements):
        text = json.dumps(element, indent=indent).encode()
        told += framed.feed((b",\n" if number else b" ") + text[:-1])
        assert len(told) == number
        told += framed.feed(text[-1:])
        assert told[-1] == text
        assert type(told[-1]) is bytes
    assert framed.feed(b"]\n") == []
    assert framed.pending_bytes == b""


@settings(deadline=None, max_examples=400)
@given(PIECES, PLACES, st.sampled_from([0, 1, 3, 8, 1_000]))
@example(b"\xef\xbb\xbf[]", [1, 2], 1)
@example(b'["\\\\\\""]', [3, 4, 5, 6], 20)
@example(b"[1,x]", [3], 20)
def test_any_cut_gives_the_same(body: bytes, places: list[int], limit: int) -> None:
    whole = outcome([body], limit)
    assert outcome(cut(body, places), limit) == whole
    assert outcome([body[at : at + 1] for at in range(len(body))], limit) == whole
    assert all(len(event) <= limit for event in whole[0])


@settings(deadline=None)
@given(st.binary(max_size=300), PLACES)
def test_any_bytes_are_read(body: bytes, places: list[int]) -> None:
    whole = outcome([body])
    assert outcome(cut(body, places)) == whole
    assert not whole[1]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"", []),
        (b"  \n", []),
        (b"[]", []),
        (b"[ \n]", []),
        (b'[{"a":1}\n,\r\n{"b":[2]}\n]', [b'{"a":1}', b'{"b":[2]}']),
        (b'[{"a":1},{"b"', [b'{"a":1}']),
        (b'\xef\xbb\xbf {"a": {}}\n', [b'{"a": {}}']),
        (b'"a\\"]b"', [b'"a\\"]b"']),
        (b"[1,2 , true,null]", [b"1", b"2", b"true", b"null"]),
        (b"-1.5e+3", [b"-1.5e+3"]),
        (b"[[1],[]]", [b"[1]", b"[]"]),
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),  # lines of JSON that call themselves JSON
        # No JSON
        (b"<html>{}</html>", []),
        (b"data: {}\n\n", []),
        (b"hello", []),
        (b"01", []),
        (b"[1.]", []),
        (b"[{}x{}]", [b"{}"]),
        (b"[x,{}]", []),
        (b"]", []),
        (b",{}", []),
        (b"}{}", []),
        (b"\xff\xfe[", []),
    ],
)
def test_bodies(body: bytes, events: list[bytes]) -> None:
    assert outcome([body]) == (events, False)


def test_a_whole_body_is_told_from_an_element() -> None:
    framed = JSONFraming()
    (element,) = framed.feed(b'[{"a":1}]')
    (body,) = JSONFraming().feed(b'{"a":1}')
    assert (element, getattr(element, "whole", False)) == (body, False)
    assert getattr(body, "whole", False)


def test_what_is_unfinished_stays_readable() -> None:
    framed = JSONFraming()
    assert framed.feed(b'[{"a":1}, {"b": "x') == [b'{"a":1}']
    assert framed.pending_bytes == b'{"b": "x'
    assert framed.finish() == []
    assert framed.pending_bytes == b'{"b": "x'


def test_a_number_at_the_end_is_complete() -> None:
    framed = JSONFraming()
    assert framed.feed(b"12") == []
    assert framed.finish() == [b"12"]
    assert framed.finish() == []
    assert framed.pending_bytes == b""


def test_text_and_other_buffers_are_taken_too() -> None:
    framed = JSONFraming()
    assert framed.feed('["é",') == ['"é"'.encode()]  # type: ignore[arg-type]
    assert framed.feed(bytearray(b"{},")) == [b"{}"]
    assert framed.feed(memoryview(b"[]")) == [b"[]"]


def test_beyond_the_limit_what_came_before_is_returned_first() -> None:
    framed = JSONFraming(max_event_bytes=4)
    assert framed.feed(b"[{  },{   },{}]") == [b"{  }"]
    for _ in range(2):
        with pytest.raises(FramingError, match="larger than 4 bytes"):
            framed.feed(b"{}")
    with pytest.raises(FramingError):
        framed.finish()
    assert framed.pending_bytes == b""


def test_memory_is_bounded() -> None:
    framed = JSONFraming(max_event_bytes=50_000)
    framed.feed(b"[")
    for number in range(1, 51):
        framed.feed(b"[" * 1_000)
        assert len(framed.pending_bytes) == number * 1_000
    with pytest.raises(FramingError):
        framed.feed(b"[")


def test_garbage_takes_no_memory() -> None:
    framed = JSONFraming()
    for _ in range(2_000):
        assert framed.feed(b"<p>no JSON</p>" * 100) == []
    assert framed.pending_bytes == b""


@pytest.mark.parametrize("piece", [b"x", b"[", b'"', b"\\", b'{"a":'])
def test_time_is_linear_in_the_bytes(piece: bytes) -> None:
    """Copying or reading what is pending again at each piece would take hours here: the timeout is the assertion."""
    framed = JSONFraming(max_event_bytes=3_000_000)
    framed.feed(b'["')
    for _ in range(300_000):
        framed.feed(piece)
    JSONFraming(max_event_bytes=3_000_000).feed(b'["' + piece * 500_000)
    JSONFraming(max_event_bytes=3_000_000).feed(b"[[" + piece * 500_000)


def test_it_is_found_by_name() -> None:
    assert framing.find("json") is JSONFraming
