"""Content codings: incremental decoders of a copy of an HTTP body. The body itself goes to the caller as it is.

Source: RFC 9110, section 8.4.1 (gzip, deflate, and that codings are listed in the order in which they were applied),
RFC 1950 to 1952, RFC 7932 (br), RFC 8878 and 9659 (zstd). `deflate` is zlib data by the standard and raw deflate from
some servers: both are read. A gzip body may have several members, a zstd body several frames.

What can be decoded comes out at once. Corrupt data raises `FramingError` and nothing else.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from streamgauge.errors import FramingError, MissingExtraError

__all__ = ["CODINGS", "MAX_OUTPUT_BYTES", "Decoder", "decoder"]

# 8 MiB from one read: eight events of the largest size. One read of 64 KiB can hold 64 MiB of deflate (1,032 to 1) and
# far more of br and zstd, where text comes to ten or twenty to one. aiohttp's first bound of this kind was 32 MiB.
MAX_OUTPUT_BYTES: Final = 8_388_608
"""The most that one read may become, by default."""

# As in curl and urllib3: nobody applies more, and each more multiplies what a read can become.
_MAX_CODINGS = 5
# Reads are decoded in slices. zlib copies what is left of a slice at the end of each gzip member (the shortest has 20
# bytes), so the work for a slice is quadratic in its size, and for a read linear.
_SLICE = 4_096
# zstandard has no bound on what one call puts out; a block of 4 bytes becomes up to 128 KiB. This keeps the excess
# over the bound at 4 MiB.
_ZSTD_SLICE = 128
# RFC 9659: a body in HTTP needs no larger window than 8 MiB.
_ZSTD_WINDOW = 8_388_608


class _Stage(Protocol):
    """One coding of one body."""

    size: int
    """The largest slice for `decode`."""

    def decode(self, data: bytes, limit: int) -> bytes:
        """All that `data` gives, or more than `limit` bytes of it."""


class _Gzip:
    size = _SLICE

    def __init__(self) -> None:
        self._member: Any = None

    def decode(self, data: bytes, limit: int) -> bytes:
        parts = []
        while data:
            if self._member is None:
                data = data.lstrip(b"\0")  # padding between or after members, as gzip itself allows
                if not data:
                    break
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            part = self._member.decompress(data, limit + 1)
            parts.append(part)
            limit -= len(part)
            if limit < 0 or not self._member.eof:
                break
            data = self._member.unused_data
            self._member = None
        return b"".join(parts)


class _Deflate:
    size = _SLICE

    def __init__(self) -> None:
        self._head = b""
        self._body: Any = None

    def decode(self, data: bytes, limit: int) -> bytes:
        if self._body is None:
            data = self._head + data
            # A zlib header is 2 bytes, divisible by 31, and names method 8. Raw deflate does not begin so: that would
            # be a stored block with a bit set in its padding.
            if data[0] & 15 == 8 and len(data) < 2:
                self._head = data
                return b""
            is_zlib = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._body = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        if self._body.eof:
            raise FramingError("data after the end of a deflate body")
        output: bytes = self._body.decompress(data, limit + 1)
        if self._body.unused_data:
            raise FramingError("data after the end of a deflate body")
        return output


class _Brotli:
    size = _SLICE

    def __init__(self) -> None:
        module = _package("brotli", "br")
        self._body = module.Decompressor()
        if not hasattr(self._body, "can_accept_more_data"):  # before 1.2 its output cannot be bounded
            raise MissingExtraError("content coding br (brotli 1.2 or later)", "codings")

    def decode(self, data: bytes, limit: int) -> bytes:
        output: bytes = self._body.process(data, output_buffer_limit=limit + 1)
        return output


class _Zstd:
    size = _ZSTD_SLICE

    def __init__(self) -> None:
        module = _package("zstandard", "zstd")
        self._body = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(read_across_frames=True)

    def decode(self, data: bytes, limit: int) -> bytes:
        output: bytes = self._body.decompress(data)
        return output


def _package(name: str, coding: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(f"content coding {coding}", "codings") from None


CODINGS: Final[Mapping[str, Callable[[], _Stage]]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


class Decoder:
    """Decodes one body: `feed` it what arrives. Made by `decoder`."""

    __slots__ = ("_broken", "_max", "_stages")

    def __init__(self, stages: list[_Stage], *, max_output_bytes: int = MAX_OUTPUT_BYTES) -> None:
        self._stages = stages
        self._max = max_output_bytes
        self._broken = ""

    def feed(self, data: bytes) -> bytes:
        """Decode what arrived.

        Returns: all that can be decoded up to here.
        Raises:
            FramingError: the data is corrupt, or one read became more than `max_output_bytes` (in any one coding). So
                does every later call.
        """
        if self._broken:
            raise FramingError(self._broken)
        try:
            for stage in self._stages:
                data = self._decode(stage, data)
        except FramingError as error:
            self._broken = str(error)
            raise
        except Exception as error:  # zlib's, brotli's and zstandard's own, which have no common class
            self._broken = f"the content coding is corrupt: {error}"
            raise FramingError(self._broken) from error
        return data

    def _decode(self, stage: _Stage, data: bytes) -> bytes:
        parts = []
        left = self._max
        for start in range(0, len(data), stage.size):
            part = stage.decode(data[start : start + stage.size], left)
            left -= len(part)
            if left < 0:
                raise FramingError(f"one read was decoded to more than {self._max} bytes")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def decoder(content_encoding: str, *, max_output_bytes: int = MAX_OUTPUT_BYTES) -> Decoder:
    """The decoder for a body with that `Content-Encoding` (all its values, joined by commas; empty for none).

    Raises:
        FramingError: a coding that is not known, or more than five.
        MissingExtraError: a coding whose package is not installed; the extra is `codings`.
    """
    names = [name for name in (part.strip().lower() for part in content_encoding.split(",")) if name]
    names = [name for name in names if name != "identity"]
    if len(names) > _MAX_CODINGS:
        raise FramingError(f"{len(names)} content codings on one body; at most {_MAX_CODINGS} are decoded")
    stages = []
    for name in reversed(names):
        if name not in CODINGS:
            raise FramingError(f"unknown content coding {name[:40]!r}")
        stages.append(CODINGS[name]())
    return Decoder(stages, max_output_bytes=max_output_bytes)
