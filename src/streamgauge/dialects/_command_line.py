"""What the command line tells of the process whose output is read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Final

__all__ = ["options", "program", "words_of"]

_STARTERS: Final = r"(?:\S*/)?(?:bun|bunx|dlx|env|exec|nice|node|npx|pnpm|stdbuf|sudo|timeout|x|yarn)"
"""Programs that start another one, and how they are told to."""


def program(name: str) -> str:
    """The beginning of a pattern for command lines: a program of that name (a pattern), by its path, as a package, or
    started by another one. What follows is its first argument."""
    return rf"(?s)^(?:(?:{_STARTERS}|-\S+|\w+=\S*|\d\S*)\s)*(?:'[^']*/|\S*/)?{name}(?:@\S+|\.exe|\.js)?'?\s"


def words_of(command: Any) -> list[str]:
    """A command line's words, up to a `--`; none where it is no text, or has a quote that nothing closes."""
    try:
        words = shlex.split(command) if command.__class__ is str else []
    except ValueError:
        return []
    return words[: words.index("--")] if "--" in words else words


def options(command: Any, names: Mapping[str, str]) -> dict[str, str]:
    """The values of some options, `--name value` or `--name=value`. Of one that comes twice, the last.

    Args:
        names: option: what its value is called.
    """
    found: dict[str, str] = {}
    words = words_of(command)
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name in names and value and not (value.startswith("-") and not equals):
            found[names[name]] = value
    return found
