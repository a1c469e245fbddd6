"""Plain text: columns and a few colours, for what must work without rich."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["columns", "paint", "width"]

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_NARROWEST = 24  # a last column with less room is not worth breaking


def width() -> int:
    """The terminal's; 0, for any, where the output goes elsewhere: a line that a program reads is one line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def paint(text: str, colour: str) -> str:
    """`text` in a colour, on a terminal that wants one."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def columns(headings: Sequence[str] | None, lines: Iterable[Sequence[str]], *, limit: int | None = None) -> str:
    """A table. Its last column is broken into lines where the terminal ends.

    Args:
        headings: None for a table without.
        limit: the terminal's width; 0 for any.
    """
    limit = width() if limit is None else limit
    table = [tuple(line) for line in (headings, *lines) if line is not None]
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    indent = sum(size + 2 for size in sizes[:-1])
    room = max(limit - indent, _NARROWEST) if limit else 0
    text = []
    for number, line in enumerate(table):
        parts = [line[-1]]
        if room:  # a name must stay in one piece: it is there to be copied
            parts = textwrap.wrap(line[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        start = "".join(part.ljust(size + 2) for part, size in zip(line[:-1], sizes[:-1], strict=True))
        first = (start + parts[0]).rstrip()
        text.append(paint(first, "bold") if headings is not None and not number else first)
        text += [" " * indent + part for part in parts[1:]]
    return "\n".join(text)
