"""A pipe's bytes as lines, cut anywhere; and what is told before there is somebody to tell."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import duplex, testing
from streamgauge.transports.stdio._lines import Lines
from streamgauge.transports.stdio._told import Told
from streamgauge.wire import Outcome


def read(pieces: list[bytes], limit: int) -> list[str | None]:
    lines = Lines(limit)
    return [line for piece in pieces for line in lines.feed(piece)] + lines.finish()


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.integers(1, 20))
def test_lines_are_the_same_however_they_are_cut(data: bytes, cuts: list[int], limit: int) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[first:last] for first, last in pairwise(edges)]
    assert read(pieces, limit) == read([data], limit)


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1), max_size=9))
def test_lines_are_what_was_written(texts: list[str]) -> None:
    said = [text for text in texts if text.encode().strip()]
    expected = [text.removeprefix("\ufeff") if text is said[0] and text is texts[0] else text for text in said]
    expected = [text for text in expected if text.encode().strip()]
    assert read(["\r\n".join(texts).encode()], 10_000) == expected


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\nb\r\n\n \r\nc", ["a", "b", "c"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        (b"12345\n", ["12345"]),
        (b"12345\r\n", ["12345"]),
        (b"123456\n7", [None, "7"]),
        (b"1234567890\n\n8\n", [None, "8"]),
        (b"1234567890", [None]),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
    ],
)
def test_a_line(data: bytes, found: list[str | None]) -> None:
    assert read([data], 5) == found
    assert read([bytes([byte]) for byte in data], 5) == found


def test_no_more_is_held_than_one_line() -> None:
    lines = Lines(1000)
    for _ in range(100):
        assert lines.feed(b"x" * 1000) == []
        assert len(lines._tail) <= 1001
    assert lines.feed(b"\nnext\n") == [None, "next"]


def opened(seen: testing.Seen) -> Any:
    return duplex.watch("stdio", dialect="generic-messages", pipeline=lambda: seen.pipeline)("", {}, name="x")


def test_what_comes_before_there_is_somebody_is_told_with_its_times() -> None:
    with testing.recording() as seen:
        told, at = Told(), time.monotonic_ns()
        told.sent(b"ask\n", at)
        told.read(b"answer\n", at + 3_000_000_000, at)
        told.written()
        told.aside("exited", {"code": 0}, at + 4_000_000_000)
        told.end(at + 4_000_000_000, None, "")
        told.begin(opened(seen))
        (run,) = [span for span in seen.spans if span["name"] == "invoke_agent"]
        assert run["end"] - run["start"] == 3_000_000_000
        assert seen.open == 0


def test_what_is_read_is_told_before_what_answers_it() -> None:
    """Though the caller may answer before we come to tell."""
    with testing.recording() as seen:
        told = Told()
        told.begin(opened(seen))
        for number in range(3):
            told.sent(b"ask\n", number)
            told.read(b"answer\n", number, number)  # written, and answered at once
        told.written()
        told.written()
        told.end(9, None, "")
        assert seen.tree() == ["session x", *["  invoke_agent"] * 3]
        assert seen.value("streamgauge.stream.chunks") == 3


def test_too_much_before_there_is_somebody_is_passed_over() -> None:
    with testing.recording() as seen:
        told = Told(kept_bytes=20)
        for text in (b"one\n", b"two", b"x" * 100, b"y" * 100):
            told.received(text, 1)
        told.begin(opened(seen))
        told.received(b"still it\nnext\n", 2)
        told.end(3, Outcome.COMPLETED, "")
        assert seen.value("streamgauge.stream.chunks") == 2
        assert seen.value("streamgauge.tap.blind", reason="size") == 1


def test_a_conversation_that_fails_harms_nobody() -> None:
    class Fails:
        tap = None

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    told = Told()
    told.begin(Fails())  # type: ignore[arg-type]
    told.received(b"a\n", 1)
    told.sent(b"a\n", 1)
    told.end(2, None, "")


pytestmark = pytest.mark.logs
