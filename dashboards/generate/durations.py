"""How long something is, as Prometheus writes it, in one unit."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ObjectivesError", "duration_of", "seconds_of"]

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+)(ms|s|m|h|d)")


class ObjectivesError(ValueError):
    """The file says something that no rule can be made of. Whose fault: the file's."""


def seconds_of(duration: str) -> float:
    """How long `5m`, `1d` or `500ms` is.

    Raises: ObjectivesError for what is no duration of one unit.
    """
    found = _DURATION.fullmatch(duration)
    if found is None or int(found[1]) == 0:
        raise ObjectivesError(f"{duration!r} is no duration: a whole number and one of {', '.join(_UNITS)}")
    return int(found[1]) * _UNITS[found[2]]


def duration_of(seconds: float) -> str:
    """`5m` for 300, `500ms` for a half. What is below a millisecond is lost."""
    milliseconds = round(seconds * 1000)
    for unit in reversed(_UNITS):
        size = round(_UNITS[unit] * 1000)
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    raise AssertionError(seconds)  # a millisecond divides all
