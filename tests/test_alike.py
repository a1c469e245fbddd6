"""Pieces that are like the one before: read without their frame and their JSON, they tell the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.wires import wires
from streamgauge import alike, dialects
from streamgauge.alike import Alike
from streamgauge.answer import Answer
from streamgauge.signals import REASONING, RUN, TEXT, TOOL_CALL, Chunk, Signal
from streamgauge.wire import Aside

NAMES = ("openai-chat", "openai-responses", "anthropic", "cohere", "mistral", "ollama", "ag-ui", "vercel-ai")
KEYS = (b'"content"', b'"reasoning"')
NOISE = (b'"obfuscation"', b'"n"')

TEXTS = st.one_of(
    st.sampled_from(["a", " word", "", '"', "\\", "\n", "x\u2028y", "é", "👩‍👧", "content", "delta", "text", "}\n\n"]),
    st.text(max_size=6),
)


def kinds(name: str) -> tuple[type[dialects.Dialect], type[dialects.Dialect]]:
    """A dialect, and the same without a quick way."""
    kind = dialects.find(name)
    assert kind is not None
    assert kind.alike
    return kind, type("Slow", (kind,), {"alike": (), "__slots__": ()})


@cache
def scripts(name: str) -> list[tuple[bytes, ...]]:
    """The dialect's scripts that are streams."""
    own = [wire for wire in wires().values() if wire.dialect == name]
    return [wire.pieces for wire in own if wire.content_type.partition(";")[0] != "application/json"]


def opened(kind: type[dialects.Dialect]) -> Answer:
    content_type = "application/x-ndjson" if kind.framing == "ndjson" else "text/event-stream"
    answer = Answer(kind())
    list(answer.feed(Aside("http.response", {"status": 200, "content_type": content_type}), 1))
    return answer


@st.composite
def bodies(draw: st.DrawFn, name: str) -> list[bytes]:
    """Pieces of real streams with other texts and noise in them, in any order, some cut or joined."""
    kind = kinds(name)[0]
    named = "|".join((*kind.alike, *kind.noise))
    value = re.compile(rf'("(?:{named})": ?)("(?:[^"\\]|\\.)*"|\d+)'.encode())
    script = draw(st.sampled_from(scripts(name)))
    pieces = list(script[: draw(st.integers(0, len(script)))])
    for _ in range(draw(st.integers(1, 5))):
        piece = draw(st.sampled_from(draw(st.sampled_from(scripts(name)))))
        for _ in range(draw(st.integers(1, 6))):
            to_ascii = draw(st.booleans())
            raw = draw(st.integers(0, 9)) == 0  # no JSON, perhaps, and no UTF-8

            def other(found: re.Match[bytes], raw: bool = raw, to_ascii: bool = to_ascii) -> bytes:
                if found[2].isdigit():
                    return found[1] + str(draw(st.integers(0, 10**19))).encode()
                text = draw(st.binary(max_size=4)) if raw else b""
                return found[1] + (
                    b'"%b"' % text if raw else json.dumps(draw(TEXTS), ensure_ascii=to_ascii).encode(errors="replace")
                )

            pieces.append(value.sub(other, piece))
    if draw(st.booleans()):
        return pieces
    whole = b"".join(pieces)
    ends = [sum(map(len, pieces[:count])) for count in range(len(pieces) + 1)]
    moved = draw(st.lists(st.integers(0, len(whole)), max_size=3))
    kept = draw(st.lists(st.booleans(), min_size=len(ends), max_size=len(ends)))
    cuts = sorted({0, len(whole), *moved, *(end for end, keep in zip(ends, kept, strict=True) if keep or end % 3)})
    return [whole[first:last] for first, last in pairwise(cuts)]


def told(answer: Answer, pieces: list[bytes]) -> Iterator[list[Signal]]:
    for at, piece in enumerate(pieces, 2):
        yield list(answer.feed(piece, at))
    yield list(answer.finish(len(pieces) + 2))


@pytest.mark.parametrize("name", NAMES)
def test_all_is_told_as_without(name: str) -> None:
    quick, slow = kinds(name)

    @given(bodies(name))
    def check(pieces: list[bytes]) -> None:
        assert list(told(opened(quick), pieces)) == list(told(opened(slow), pieces))

    check()


@pytest.mark.parametrize("name", NAMES)
def test_many_at_once_are_told_as_one_by_one(name: str) -> None:
    quick, slow = kinds(name)

    @given(bodies(name), st.integers(1, 4))
    def check(pieces: list[bytes], count: int) -> None:
        expected = iter(told(opened(slow), pieces))
        answer = opened(quick)
        for first in range(0, len(pieces), count):
            some = pieces[first : first + count]
            sizes = answer.sizes(some)
            for number, piece in enumerate(some):
                if sizes is None:
                    assert list(answer.feed(piece, first + number + 2)) == next(expected)
                    continue
                (chunk,) = next(expected)
                assert isinstance(chunk, Chunk)
                assert answer.alike is not None
                assert (chunk.key, chunk.kind) == (answer.alike.key, answer.alike.kind)
                assert len(chunk.text.encode(errors="replace")) == sizes[number]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_of_use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each dialect there is a script where a chunk that comes again is read by the one before."""
    hits = []
    text = Alike.text
    monkeypatch.setattr(Alike, "text", lambda self, piece: hits.append(found := text(self, piece)) or found)
    for script in scripts(name):
        list(told(opened(kinds(name)[0]), [piece for piece in script for _ in range(3)]))
    assert [hit for hit in hits if hit]


# What a piece is like ---------------------------------------------------------------------------------------------


def sse(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def chunk(text: str, kind: str = TEXT) -> Chunk:
    return Chunk(RUN, 1, kind, text)


UNCLEAR: dict[str, tuple[bytes, Chunk]] = {
    "its text is there twice": (sse(content="a", x="a"), chunk("a")),
    "as a key": (sse(content="x", x="b"), chunk("x")),
    "an escape": (sse(content="a", x="é"), chunk("a")),
    "an escape in the text": (sse(content='"'), chunk('"')),
    "another key": (sse(delta="a"), chunk("a")),
    "the text is not there": (sse(content="a"), chunk("b")),
    "a part of the text": (sse(content="ab"), chunk("a")),
    "no text": (sse(content=""), chunk("")),
    "arguments": (sse(content="a"), chunk("a", TOOL_CALL)),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_cannot_be_said_for_sure(case: str) -> None:
    assert Alike.of(*UNCLEAR[case], KEYS, NOISE) is None


PIECES: dict[str, tuple[bytes, bytes, str | None]] = {
    "another text": (sse(content="a"), sse(content="bc"), "bc"),
    "the same": (sse(content="a"), sse(content="a"), "a"),
    "escapes": (sse(content="a"), sse(content='"\n\\é'), '"\n\\é'),
    "no escape": (sse(content="a"), b'data: {"content":"\\x"}\n\n', None),
    "what is not printable": (sse(content="a"), 'data: {"content":"\u00a0\u200d"}\n\n'.encode(), "\u00a0\u200d"),
    "a control character": (sse(content="a"), b'data: {"content":"\t"}\n\n', None),
    "no UTF-8": (sse(content="a"), b'data: {"content":"\xff"}\n\n', "\ufffd"),
    "no text": (sse(content="a"), sse(content=""), None),
    "spaces": (b'data: {"content": "a"}\n\n', b'data: {"content": "b"}\n\n', "b"),
    "two": (sse(content="a"), sse(content="a") * 2, None),
    "another value": (sse(content="a", x=1), sse(content="b", x=2), None),
    "one more": (sse(content="a"), sse(content="b", x=2), None),
    "nothing": (sse(content="a"), b"", None),
    "the half": (sse(content="abcdefgh"), b'data: {"content":"\n\n', None),
    "too large": (sse(content="a"), sse(content="b" * 65_536), None),
    "padding": (sse(content="a", obfuscation="xyz"), sse(content="b", obfuscation="2"), "b"),
    "no padding": (sse(content="a", obfuscation="xyz"), sse(content="b", obfuscation=""), "b"),
    "padding that is none": (sse(content="a", obfuscation="xyz"), sse(content="b", obfuscation='"'), None),
    "a number before it": (sse(n=1, content="a"), sse(n=20, content="b"), "b"),
    "no number": (sse(n=1, content="a"), sse(n=-1, content="b"), None),
    "no JSON number": (sse(n=1, content="a"), b'data: {"n":01,"content":"b"}\n\n', None),
    "both": (sse(n=1, content="a", obfuscation="x"), sse(n=3, content="b", obfuscation="yy"), "b"),
    "both, the other way": (sse(obfuscation="x", content="a", n=1), sse(obfuscation="y", content="b", n=0), "b"),
}


@pytest.mark.parametrize("case", PIECES)
def test_what_is_like_it(case: str) -> None:
    before, piece, expected = PIECES[case]
    found = Alike.of(before, chunk("a" if b"abc" not in before else "abcdefgh"), KEYS, NOISE)
    assert found is not None
    assert found.text(piece) == expected
    if len(piece) <= alike._MAX_BYTES:
        sizes = found.sizes([before, piece])
        assert (None if sizes is None else sizes[1]) == (None if expected is None else len(expected.encode()))


def test_a_number_that_is_no_count_is_no_noise() -> None:
    found = Alike.of(sse(n=1.5, content="a"), chunk("a"), KEYS, NOISE)
    assert found is not None
    assert found.text(sse(n=2.5, content="b")) is None


def test_pieces_that_are_not_cut_between_events() -> None:
    found = Alike.of(sse(content="a"), chunk("a"), KEYS, NOISE)
    assert found is not None
    whole = sse(content="a") * 2
    assert found.sizes([whole]) is None
    assert found.sizes([whole[:-1], whole[-1:]]) is None
    half = "é".encode()
    assert found.sizes([b'data: {"content":"%b"}\n\n' % half[:1], b'data: {"content":"%b"}\n\n' % half[1:]]) == [3, 3]


# When it may be asked ---------------------------------------------------------------------------------------------


def said(text: str, index: int = 0, finish: str | None = None, kind: str = "content", **more: Any) -> bytes:
    return sse(
        id="chatcmpl-1", model="m-1", choices=[{"index": index, "delta": {kind: text}, "finish_reason": finish}], **more
    )


def answering(*pieces: bytes) -> Answer:
    answer = opened(kinds("openai-chat")[0])
    for piece in pieces:
        list(answer.feed(piece, 2))
    return answer


AFTER: dict[str, tuple[tuple[bytes, ...], bool]] = {
    "the first chunk, which names the model": ((said("a"),), False),
    "a chunk alone": ((said("a"), said("b")), True),
    "many": ((said("a"), said("b"), said("c"), said("d")), True),
    "two in a piece": ((said("a"), said("b"), said("c") + said("d")), False),
    "a comment": ((said("a"), said("b"), b": still here\n\n"), False),
    "a piece that is cut": ((said("a"), said("b"), said("c")[:30]), False),
    "its rest": ((said("a"), said("b"), said("c")[:30], said("c")[30:]), False),
    "one after that": ((said("a"), said("b"), said("c")[:30], said("c")[30:], said("d")), True),
    "the finish": ((said("a"), said("b"), said("c", finish="stop")), False),
    "a chunk after a cost": ((said("a"), said("b"), said("c", usage={"completion_tokens": 3})), True),
    "another kind": ((said("a"), said("b"), said("c", kind="reasoning")), True),
}


@pytest.mark.parametrize("case", AFTER)
def test_after(case: str) -> None:
    pieces, expected = AFTER[case]
    assert (answering(*pieces).alike is not None) is expected


def test_an_aside_that_is_the_dialects() -> None:
    answer = answering(said("a"), said("b"))
    list(answer.feed(Aside("sent", {}), 3))
    assert answer.alike is None


def test_a_coded_body_is_not_to_be_known_by_its_pieces() -> None:
    answer = opened(kinds("openai-chat")[0])
    answer._decode = lambda data: data
    for piece in (said("a"), said("b")):
        list(answer.feed(piece, 2))
    assert answer.alike is not None
    assert answer.sizes([said("c")]) is None


def test_what_is_never_alike_is_soon_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two choices in turn."""
    learned = []
    of = Alike.of
    monkeypatch.setattr(Alike, "of", lambda *given: learned.append(given) or of(*given))
    answering(*(said("a", index) for _ in range(100) for index in (0, 1)))
    assert len(learned) == 8


def test_what_is_sometimes_alike_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = []
    of = Alike.of
    monkeypatch.setattr(Alike, "of", lambda *given: learned.append(given) or of(*given))
    answering(said("a"), *(said("b", kind=kind) for _ in range(50) for kind in ("content", "reasoning") for _ in "abc"))
    assert len(learned) == 100


def test_known_again_after_what_was_another(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = []
    of = Alike.of
    monkeypatch.setattr(Alike, "of", lambda *given: learned.append(given) or of(*given))
    answer = answering(said("a"), *(piece for _ in range(50) for piece in (said("b"), said("c"), b": hello\n\n")))
    assert len(learned) == 1
    assert answer.feed(said("d"), 7) == chunk_at("d", 7)


def chunk_at(text: str, at: int) -> Chunk:
    return Chunk(RUN, at, TEXT, text)


def test_who_writes_a_feed_says_it_again() -> None:
    kind = kinds("openai-chat")[0]

    class Own(kind):  # type: ignore[valid-type, misc]
        __slots__ = ()

        def feed(self, data: Any, at: int) -> Any:
            return super().feed(data, at)

    class Renamed(kind):  # type: ignore[valid-type, misc]
        __slots__ = ()

    assert Own.alike == ()
    assert Renamed.alike == kind.alike


def test_reasoning() -> None:
    answer = answering(said("a"), said("b", kind="reasoning"), said("c", kind="reasoning"))
    assert answer.feed(said("d", kind="reasoning"), 5) == Chunk(RUN, 5, REASONING, "d")
