"""On which line each key of a TOML file stands: what `tomllib` does not tell.

It goes over a text that `tomllib` has taken, so it need not find mistakes; only what ends where.

Source: TOML 1.0.0.
"""

from __future__ import annotations

import tomllib
from typing import TypeAlias

__all__ = ["Path", "key_lines", "shown"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys from the top; the number of an array's element, from 0."""

_BARE_ENDS = frozenset(",]} \t\r\n#")


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of each key, of each table's header and of each element of an array."""
    return _Walk(text).lines


def shown(path: Path) -> str:
    """As a reader would look for it: `proxy.route[2].upstream`, the second one's."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _Walk:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self.lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        """Of tables: how many elements so far."""
        self._document()

    def _document(self) -> None:
        table: Path = ()
        while self._skip(" \t\r\n"):
            if self._text[self._at] != "[":
                self._pair(table)
                continue
            line = self._here()
            double = self._text.startswith("[[", self._at)
            self._at += 2 if double else 1
            names = self._key()
            self._at = self._text.index("]", self._at) + (2 if double else 1)
            table = ()
            for name in names[:-1]:
                table = self._last((*table, name), line)
            table = (*table, names[-1])
            if double:
                number = self._arrays[table] = self._arrays.get(table, -1) + 1
                self.lines.setdefault(table, line)
                table = (*table, number)
            self.lines[table] = line

    def _last(self, table: Path, line: int) -> Path:
        """`table`, or the newest element of it."""
        self.lines.setdefault(table, line)
        return (*table, self._arrays[table]) if table in self._arrays else table

    def _here(self) -> int:
        """The line of where it is."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _skip(self, blank: str) -> bool:
        """Go on behind blanks, and comments where line ends are blanks. Returns: whether there is more."""
        text = self._text
        while self._at < len(text):
            if text[self._at] in blank:
                self._at += 1
            elif text[self._at] == "#" and "\n" in blank:
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                return True
        return False

    def _pair(self, table: Path) -> None:
        line = self._here()
        for name in self._key():
            table = (*table, name)
            self.lines.setdefault(table, line)
        self._at = self._text.index("=", self._at) + 1
        self._skip(" \t")
        self._value(table)

    def _key(self) -> list[str]:
        """The names of a dotted key."""
        names = []
        while True:
            self._skip(" \t")
            start = self._at
            if self._text[start] in "\"'":
                self._string()
                quoted = self._text[start : self._at]
                names.append(str(tomllib.loads(f"key = {quoted}")["key"]))
            else:
                while self._text[self._at] not in " \t.=]":
                    self._at += 1
                names.append(self._text[start : self._at])
            self._skip(" \t")
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._at += 1
            number = 0
            while self._skip(" \t\r\n,") and self._text[self._at] != "]":
                self.lines[(*path, number)] = self._here()
                self._value((*path, number))
                number += 1
            self._at += 1
        elif first == "{":
            self._at += 1
            while self._skip(" \t\r\n,") and self._text[self._at] != "}":
                self._pair(path)
            self._at += 1
        else:
            while self._at < len(self._text) and self._text[self._at] not in _BARE_ENDS:
                self._at += 1
            if self._text[self._at : self._at + 1] == " ":  # a date and a time may have a blank between them
                rest = self._text[self._at + 1 : self._at + 3]
                if rest.isdigit() and len(rest) == 2:
                    self._at += 1
                    self._value(path)

    def _string(self) -> None:
        text, start = self._text, self._at
        quote = text[start]
        triple = quote * 3
        if text.startswith(triple, start):
            self._at += 3
            while not text.startswith(triple, self._at):
                self._at += 2 if quote == '"' and text[self._at] == "\\" else 1
            self._at += 3
            while self._at < len(text) and text[self._at] == quote:  # up to two quotes may stand before the last three
                self._at += 1
            return
        self._at += 1
        while text[self._at] != quote:
            self._at += 2 if quote == '"' and text[self._at] == "\\" else 1
        self._at += 1
