"""The answer to an HTTP request: what its head says of its body, and what the body then tells."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import dialects, semconv
from streamgauge.answer import Answer, media_type
from streamgauge.errors import FramingError
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Retried
from streamgauge.wire import Aside, Outcome, ServerSentEvent


class Plain(dialects.Dialect):
    """Every event is a chunk of its text."""

    name = "plain"
    system = "a test's"
    terminal = True
    framing = "sse"
    events: ClassVar[Mapping[str, str]] = {}
    __slots__ = ("seen",)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def feed(self, data: Any, at: int) -> Any:
        self.seen.append(data)
        text = data.data if isinstance(data, ServerSentEvent) else data.decode() if isinstance(data, bytes) else data
        return Chunk(RUN, at, TEXT, text)


class Lines(Plain):
    name = "lines"
    framing = "ndjson"


def head(content_type: str = "text/event-stream", status: int = 200, coding: str = "") -> Aside:
    return Aside("http.response", {"status": status, "content_type": content_type, "coding": coding})


def texts(answer: Answer, *pieces: bytes) -> list[str]:
    signals = [signal for piece in pieces for signal in answer.feed(piece, 1)]
    return [signal.text for signal in [*signals, *answer.finish(2)] if isinstance(signal, Chunk)]


SSE, NDJSON = b"data: a\n\ndata: b\n\n", b'"a"\n"b"\n'
HEADS: dict[str, tuple[str, type[Plain], bytes, list[str], bool]] = {
    # content type: dialect, body, what it is read as, whether an end without a terminal event is too early
    "text/event-stream": ("text/event-stream", Plain, SSE, ["a", "b"], True),
    "with a charset": ("Text/Event-Stream; charset=utf-8", Plain, SSE, ["a", "b"], True),
    "ndjson": ("application/x-ndjson", Plain, NDJSON, ['"a"', '"b"'], True),
    "jsonl": ("application/jsonl", Lines, NDJSON, ['"a"', '"b"'], True),
    "plain json": ("application/json", Plain, b'{"a": 1}', ['{"a": 1}'], False),
    "problem json": ("application/problem+json", Plain, b'{"a": 1}', ['{"a": 1}'], False),
    "lines that call themselves json": ("application/json", Lines, NDJSON, ['"a"', '"b"'], True),
    "none": ("", Plain, SSE, ["a", "b"], True),
    "text/plain": ("text/plain", Lines, NDJSON, ['"a"', '"b"'], True),
}


@pytest.mark.parametrize("case", HEADS)
def test_the_head_says_how_the_body_is_framed(case: str) -> None:
    content_type, kind, body, expected, terminal = HEADS[case]
    answer = Answer(kind())
    assert list(answer.feed(head(content_type), 1)) == [Noted(RUN, 1, {semconv.HTTP_RESPONSE_STATUS_CODE: 200})]
    assert texts(answer, body) == expected
    assert answer.terminal is terminal


def test_a_chunk_alone_goes_straight_through() -> None:
    answer = Answer(Plain())
    list(answer.feed(head(), 1))
    list(answer.feed(b": hello\n\n", 1))
    assert answer.feed(b"data: a\n\n", 7) == Chunk(RUN, 7, TEXT, "a")


@given(st.lists(st.integers(0, 60), max_size=6))
def test_any_cut_of_a_coded_body(cuts: list[int]) -> None:
    body = gzip.compress(SSE * 5)
    bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    answer = Answer(Plain())
    list(answer.feed(head(coding="gzip"), 1))
    assert texts(answer, *(body[a:b] for a, b in itertools.pairwise(bounds) if a < b)) == ["a", "b"] * 5


@pytest.mark.parametrize("coding", ["gzip", "made-up"])
def test_a_body_that_cannot_be_decoded(coding: str) -> None:
    """The tap goes blind by it."""
    answer = Answer(Plain())
    with pytest.raises(FramingError):
        list(answer.feed(head(coding=coding), 1))
        answer.feed(b"no such thing", 1)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
@pytest.mark.parametrize("left", [False, True])
def test_an_errors_body_is_no_stream(status: int, left: bool) -> None:
    dialect = Plain()
    answer = Answer(dialect)
    list(answer.feed(head(status=status), 1))
    assert list(answer.feed(SSE, 2)) == []
    ended = answer.untold(3) if left else answer.finish(3)
    assert list(ended) == [Closed(RUN, 3, Outcome.FAILED, str(status), f"HTTP status {status}")]
    assert dialect.seen == []
    assert not answer.terminal


def test_asides() -> None:
    answer = Answer(Plain())
    retried, resent = answer.feed(Aside("http.retry", {"attempt": 2, "reason": "429", "delay_s": 0.5}), 1)
    assert retried == Retried(RUN, 1, "request", 2, "429", 0.5)
    assert resent == Noted(RUN, 1, {semconv.HTTP_REQUEST_RESEND_COUNT: 2})
    (gone,) = answer.feed(Aside("http.disconnected", {"policy": "drain"}), 1)
    assert gone == Noted(RUN, 1, {semconv.STREAMGAUGE_DISCONNECT: "drain"})


def test_an_aside_of_another_kind_is_the_dialects() -> None:
    dialect = Plain()
    Answer(dialect).feed(Aside("sent", {}), 1)
    assert dialect.seen == [Aside("sent", {})]


def test_a_last_event_without_an_end() -> None:
    answer = Answer(Lines())
    list(answer.feed(head("application/x-ndjson"), 1))
    assert texts(answer, b'"a"\n"b"') == ['"a"', '"b"']


@given(st.binary(max_size=200), st.sampled_from(["", "sse", "text/event-stream", "application/json", "x/y"]))
def test_any_bytes_in_any_type(data: bytes, content_type: str) -> None:
    answer = Answer(dialects.find("generic")())  # type: ignore[misc]
    list(answer.feed(head(content_type), 1))
    list(answer.feed(data, 2))
    list(answer.finish(3))


def test_media_type() -> None:
    assert media_type(" Text/Plain ;charset=x") == "text/plain"


def test_generic_reads_bodies_of_no_type() -> None:
    answer = Answer(dialects.find("generic")())  # type: ignore[misc]
    list(answer.feed(head("audio/mpeg"), 1))
    assert list(answer.feed(json.dumps("x").encode(), 2)) == [Chunk(RUN, 2, TEXT, '"x"')]
