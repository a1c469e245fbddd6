"""The settings file, and the other places of the proxy's settings: each value with where it stands, each mistake with
what is allowed there."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, overload

from streamgauge.errors import SettingsError
from streamgauge.proxy.lines import Path, key_lines, shown

__all__ = ["Place", "Table", "mistake", "nearest", "number", "read", "text", "truth", "words"]


@dataclass(frozen=True, slots=True)
class Place:
    """A value, and where it stands."""

    value: Any
    where: str
    """For a message: a flag, a variable, or a file with line and key."""


class Table:
    """A table of the file, or what a flag gives instead of one."""

    def __init__(self, value: Mapping[str, Any], file: str, path: Path, lines: Mapping[Path, int]) -> None:
        self._value = value
        self._file = file
        self._path = path
        self._lines = lines

    def __contains__(self, name: str) -> bool:
        return name in self._value

    @property
    def where(self) -> str:
        return self._where(self._path)

    def _where(self, path: Path) -> str:
        line = self._lines.get(path)
        at = "" if line is None else f", line {line}"
        return f"{self._file}{at}, {shown(path)}" if path else f"{self._file}{at}"

    def place(self, name: str) -> Place:
        return Place(self._value[name], self._where((*self._path, name)))

    def table(self, name: str) -> Table:
        """The table of that name; an empty one where there is none.

        Raises: SettingsError where it is something else.
        """
        value = self._value.get(name, {})
        if not isinstance(value, dict):
            place = self.place(name)
            raise mistake(place, f"a table: [{shown((*self._path, name))}]")
        return Table(value, self._file, (*self._path, name), self._lines)

    def tables(self, name: str) -> list[Table]:
        """The array of tables of that name."""
        value = self._value.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise mistake(self.place(name), f"tables, each under a line [[{shown((*self._path, name))}]]")
        path = (*self._path, name)
        return [Table(each, self._file, (*path, number), self._lines) for number, each in enumerate(value)]

    def known(self, names: Iterable[str]) -> None:
        """
        Raises: SettingsError for the first key that is none of `names`.
        """
        names = list(names)
        for name in self._value:
            if name not in names:
                raise SettingsError(self.place(name).where, f"there is no key {name!r}{nearest(name, names)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)


def read(file: str | os.PathLike[str]) -> Table:
    """The whole file.

    Raises: SettingsError where it cannot be read, or is no TOML.
    """
    path = os.fspath(file)
    try:
        with open(path, "rb") as opened:
            content = opened.read().decode("utf-8")
        return Table(tomllib.loads(content), path, (), key_lines(content.replace("\r\n", "\n")))
    except OSError as error:
        raise SettingsError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(path, f"is not UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, f"is not TOML: {error}") from error


def mistake(place: Place, allowed: str) -> SettingsError:
    """What was given is not allowed."""
    return SettingsError(place.where, f"{place.value!r} is not allowed; it takes {allowed}")


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name."""
    known = sorted(names)
    close = get_close_matches(name, known, 1, 0.6)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" known are {', '.join(known)}"


# Values: text in a flag or a variable, TOML's own types in the file ------------------------------------------------


def text(place: Place, allowed: str = "text") -> str:
    if not isinstance(place.value, str):
        raise mistake(place, allowed)
    return place.value.strip()


@overload
def number(place: Place, kind: type[int], allowed: str, least: float = ..., most: float = ...) -> int: ...
@overload
def number(place: Place, kind: type[float], allowed: str, least: float = ..., most: float = ...) -> float: ...
def number(
    place: Place, kind: type[int] | type[float], allowed: str, least: float = 0, most: float = float("inf")
) -> float:
    value: Any = place.value
    types: tuple[type, ...] = (int, str) if kind is int else (int, float, str)
    try:
        fits = isinstance(value, types) and not isinstance(value, bool)
        if not fits:
            raise ValueError
        found: float = int(value) if kind is int else float(value)
        if not isfinite(found) or not least <= found <= most:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise mistake(place, allowed) from error
    return found


def truth(place: Place) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    try:
        return known[str(place.value).lower()]
    except KeyError as error:
        raise mistake(place, "true or false") from error


def words(place: Place, allowed: str) -> list[str]:
    """A list of texts; in a flag or a variable, with commas between."""
    value = place.value.split(",") if isinstance(place.value, str) else place.value
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise mistake(place, allowed)
    return [word.strip() for word in value if word.strip()]
