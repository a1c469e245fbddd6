"""Text that every format can carry."""

from __future__ import annotations

__all__ = ["writable"]


def writable(value: object) -> str:
    """`value` as text without lone surrogates: UTF-8 has none, and one of them would cost the whole page or request."""
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
