"""Content codings: what is decoded is what was encoded, at once and within bounds."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.errors import FramingError, MissingExtraError
from streamgauge.framing.coding import CODINGS, decoder


class Encoder:
    """Encodes a body piece by piece; each piece can be decoded as soon as it is there."""

    def __init__(self, write: Callable[[bytes], bytes], end: Callable[[], bytes]) -> None:
        self.write = write
        self.end = end


def of_zlib(wbits: int) -> Encoder:
    body = zlib.compressobj(wbits=wbits)
    return Encoder(lambda data: body.compress(data) + body.flush(zlib.Z_SYNC_FLUSH), body.flush)


def of_brotli() -> Encoder:
    body = brotli.Compressor()
    return Encoder(lambda data: body.process(data) + body.flush(), body.finish)


def of_zstd() -> Encoder:
    body = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return Encoder(lambda data: body.compress(data) + body.flush(flush), body.flush)


ENCODERS: dict[str, tuple[str, Callable[[], Encoder]]] = {
    "identity": ("identity", lambda: Encoder(bytes, bytes)),
    "gzip": ("gzip", lambda: of_zlib(31)),
    "x-gzip": ("x-gzip", lambda: of_zlib(31)),
    "deflate, by the standard": ("deflate", lambda: of_zlib(15)),
    "deflate, raw": ("deflate", lambda: of_zlib(-15)),
    "br": ("br", of_brotli),
    "zstd": ("zstd", of_zstd),
}
KINDS = pytest.mark.parametrize("kind", ENCODERS)
BODIES = st.lists(st.binary(max_size=50) | st.just(b"data: x\n\n" * 500), max_size=6)
PLACES = st.lists(st.integers(0, 100_000), max_size=8)


def encoded(kind: str, pieces: list[bytes]) -> bytes:
    encoder = ENCODERS[kind][1]()
    return b"".join([encoder.write(piece) for piece in pieces]) + encoder.end()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(bounds)]


def decoded(coding: str, pieces: list[bytes], **options: Any) -> bytes:
    body = decoder(coding, **options)
    return b"".join([body.feed(piece) for piece in pieces])


@KINDS
@settings(deadline=None, max_examples=40)
@given(pieces=BODIES, places=PLACES)
def test_any_cut_gives_what_was_encoded(kind: str, pieces: list[bytes], places: list[int]) -> None:
    assert decoded(ENCODERS[kind][0], cut(encoded(kind, pieces), places)) == b"".join(pieces)


@KINDS
def test_byte_by_byte(kind: str) -> None:
    body = encoded(kind, [b"data: x\n\n" * 50])
    assert decoded(ENCODERS[kind][0], [body[place : place + 1] for place in range(len(body))]) == b"data: x\n\n" * 50


@KINDS
def test_nothing_is_withheld(kind: str) -> None:
    encoder = ENCODERS[kind][1]()
    body = decoder(ENCODERS[kind][0])
    for number in range(20):
        event = b"data: %d\n\n" % number
        assert body.feed(encoder.write(event)) == event
        assert body.feed(b"") == b""
    assert body.feed(encoder.end()) == b""


@pytest.mark.parametrize("name", ["", "identity", " Identity ,, identity"])
def test_without_a_coding_the_bytes_come_as_they_are(name: str) -> None:
    body = decoder(name)
    data = b"data: x\n\n"
    assert body.feed(data) is data


def test_several_codings_are_undone_in_reverse() -> None:
    text = b"data: x\n\n" * 99
    assert decoded(" GZIP , br,", [encoded("br", [encoded("gzip", [text])])]) == text
    assert decoded("br, gzip", [encoded("gzip", [encoded("br", [text])])]) == text
    everything = encoded("zstd", [encoded("br", [encoded("deflate, raw", [encoded("gzip", [text])])])])
    assert decoded("gzip,deflate,br,zstd", [everything[:40], everything[40:]]) == text


@settings(deadline=None, max_examples=60)
@given(members=st.lists(st.binary(max_size=30), min_size=1, max_size=6), places=PLACES, padding=st.integers(0, 5))
def test_gzip_has_members(members: list[bytes], places: list[int], padding: int) -> None:
    body = b"".join(gzip.compress(member) + bytes(padding) for member in members)
    assert decoded("gzip", cut(body, places)) == b"".join(members)


@settings(deadline=None, max_examples=60)
@given(frames=st.lists(st.binary(max_size=30), min_size=1, max_size=6), places=PLACES)
def test_zstd_has_frames(frames: list[bytes], places: list[int]) -> None:
    body = b"".join(zstandard.ZstdCompressor().compress(frame) for frame in frames)
    assert decoded("zstd", cut(body, places)) == b"".join(frames)


@pytest.mark.parametrize("coding", CODINGS)
@settings(deadline=None, max_examples=100)
@given(body=st.binary(max_size=200), places=PLACES)
def test_any_bytes_raise_nothing_else(coding: str, body: bytes, places: list[int]) -> None:
    reader = decoder(coding)
    broken = False
    for piece in cut(body, places):
        try:
            reader.feed(piece)
        except FramingError:
            broken = True
        else:
            assert not broken


@KINDS
@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 1_000), value=st.integers(0, 255), places=PLACES)
def test_a_damaged_body_raises_nothing_else(kind: str, place: int, value: int, places: list[int]) -> None:
    body = bytearray(encoded(kind, [b"some text, ", b"some more text"] * 5))
    body[place % len(body)] = value
    reader = decoder(ENCODERS[kind][0], max_output_bytes=100_000)
    try:
        result = b"".join([reader.feed(piece) for piece in cut(bytes(body), places)])
    except FramingError:
        result = b""
    assert len(result) <= 100_000 * 9


@pytest.mark.parametrize("kind", ["gzip", "deflate, by the standard", "deflate, raw", "br", "zstd"])
def test_after_the_end_only_another_member_may_follow(kind: str) -> None:
    reader = decoder(ENCODERS[kind][0])
    assert reader.feed(encoded(kind, [b"text"])) == b"text"
    for _ in range(2):
        with pytest.raises(FramingError):
            reader.feed(b"more, which is none")
    with pytest.raises(FramingError):
        decoder(ENCODERS[kind][0]).feed(encoded(kind, [b"text"]) + b"more, which is none")


@pytest.mark.parametrize("kind", ["gzip", "deflate, by the standard", "deflate, raw", "br", "zstd"])
def test_a_bomb_is_stopped_early(kind: str) -> None:
    bomb = encoded(kind, [bytes(100_000_000)])
    assert len(bomb) < 200_000
    reader = decoder(ENCODERS[kind][0], max_output_bytes=1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(FramingError, match="more than 1000000 bytes"):
            reader.feed(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    with pytest.raises(FramingError):
        reader.feed(b"")


@KINDS
def test_the_bound_is_for_one_read(kind: str) -> None:
    encoder = ENCODERS[kind][1]()
    reader = decoder(ENCODERS[kind][0], max_output_bytes=1_000)
    for _ in range(20):
        assert len(reader.feed(encoder.write(b"x" * 1_000))) == 1_000
    if kind != "identity":  # which becomes nothing larger
        with pytest.raises(FramingError):
            reader.feed(encoder.write(b"x" * 1_001))


def test_a_bomb_within_a_bomb_is_stopped_too() -> None:
    bomb = encoded("gzip", [encoded("gzip", [bytes(100_000_000)])])
    with pytest.raises(FramingError):
        decoder("gzip, gzip", max_output_bytes=1_000_000).feed(bomb)


def test_many_empty_members_take_linear_time() -> None:
    """One copy of the rest for each member would take many minutes here: the test's timeout is the assertion."""
    assert decoder("gzip").feed(gzip.compress(b"") * 1_000_000) == b""


def test_a_window_beyond_what_http_allows() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    body = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = body.compress(b"text") + body.flush()
    with pytest.raises(FramingError, match="corrupt"):
        decoder("zstd").feed(data)


@pytest.mark.parametrize("names", ["compress", "gzip, rot13", "br;q=1"])
def test_a_coding_that_is_not_known(names: str) -> None:
    with pytest.raises(FramingError, match="unknown content coding"):
        decoder(names)


def test_too_many_codings() -> None:
    assert decoder("gzip,gzip,gzip,gzip,gzip,identity").feed(b"") == b""
    with pytest.raises(FramingError, match="at most 5"):
        decoder("gzip,gzip,gzip,gzip,gzip,gzip")


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstandard")])
def test_a_package_that_is_not_installed(coding: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"streamgauge\[codings\]") as caught:
        decoder(f"gzip, {coding}")
    assert caught.value.extra == "codings"


def test_a_brotli_that_cannot_be_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        class Decompressor:
            pass

    monkeypatch.setitem(sys.modules, "brotli", Old)
    with pytest.raises(MissingExtraError, match=r"1\.2"):
        decoder("br")
