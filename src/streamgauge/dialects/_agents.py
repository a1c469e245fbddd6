"""What the dialects of agent protocols have in common: names in two spellings, codes of errors, other methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from streamgauge.dialects._dialect import field

__all__ = ["code", "either"]

_ONE_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


def code(value: Any) -> str:
    """An error's code, where it is one word or a number; else nothing: a label is no place for sentences."""
    if value.__class__ is int:
        return str(value)
    return value if isinstance(value, str) and _ONE_WORD.fullmatch(value) else ""


def either(data: Any, camel: str, snake: str) -> Any:
    """A field by either of its names: on the wire it has the first, in Python's objects, and what is made of them, the
    second."""
    if data.__class__ is dict or isinstance(data, Mapping):
        found = data.get(camel)
        return data.get(snake) if found is None else found
    return field(data, snake)
