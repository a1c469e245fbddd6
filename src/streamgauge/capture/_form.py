"""The JSON form of any object: never an exception, never without bound."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

__all__ = ["jsonable"]

# An agent's event is a handful of levels and some hundred values. Beyond these bounds something else was handed over:
# a client, a graph of objects, a structure whose shared parts multiply.
_DEPTH: Final = 64
_VALUES: Final = 100_000
_REPR_CHARACTERS: Final = 1_000
# Python refuses to write integers of thousands of digits, JSON readers begin to lose them much earlier.
_LARGEST: Final = 1 << 1024

_CYCLE: Final = "<cycle>"
_DEEP: Final = "<deep>"
_MORE: Final = "<more>"

_AS_TEXT = (uuid.UUID, decimal.Decimal, pathlib.PurePath)


def jsonable(obj: Any) -> Any:
    """The JSON form of an object: what `json.dumps` writes and `json.loads` gives back.

    Dataclasses, pydantic models, named tuples, objects with `to_dict` and plain objects become dicts of their fields
    (of plain objects, the public ones), enums their values, bytes text (base64 where they are no UTF-8), sets sorted
    lists. A cycle, what is deeper than 64 levels and all after 100,000 values is replaced by a short text in angle
    brackets, and what has no form at all by its `repr`, of at most 1,000 characters. Iterators are left alone.

    Raises: never.
    """
    return _Former().form(obj, 0)


class _Former:
    __slots__ = ("left", "path")

    def __init__(self) -> None:
        self.left = _VALUES
        self.path: set[int] = set()  # the ids of what encloses the present value

    def form(self, obj: Any, depth: int) -> Any:
        cls = type(obj)
        if cls is str or cls is bool or obj is None:
            return obj
        try:
            if isinstance(obj, enum.Enum):
                return self.form(obj.value, depth + 1) if depth < _DEPTH else _DEEP
            if isinstance(obj, int):
                number = int.__int__(obj)
                return number if -_LARGEST < number < _LARGEST else _short(hex(number))
            if isinstance(obj, float):
                number_ = float.__float__(obj)
                return number_ if math.isfinite(number_) else repr(number_)
            if isinstance(obj, str):
                return str.__str__(obj)
            return self._container(obj, cls, depth)
        except Exception:  # the object's own code may raise anything
            return _repr(obj)

    def _container(self, obj: Any, cls: type, depth: int) -> Any:
        if depth >= _DEPTH:
            return _DEEP
        if id(obj) in self.path:
            return _CYCLE
        self.path.add(id(obj))
        try:
            return self._formed(obj, cls, depth + 1)
        finally:
            self.path.discard(id(obj))

    def _formed(self, obj: Any, cls: type, depth: int) -> Any:
        if isinstance(obj, Mapping):
            return self._dict(obj.items(), depth)
        if cls is list or cls is tuple:
            return self._list(obj, depth)
        if isinstance(obj, bytes | bytearray | memoryview):
            return _text(bytes(obj))
        if isinstance(obj, type):
            return f"{obj.__module__}.{obj.__qualname__}"
        fields = _fields(obj, cls)
        if fields is not None:
            return self._dict(fields, depth)
        if isinstance(obj, Set):
            return sorted(self._list(obj, depth), key=repr)
        if isinstance(obj, Sequence):
            return self._list(obj, depth)
        if isinstance(obj, _AS_TEXT):
            return str(obj)
        if isinstance(obj, datetime.timedelta):
            return obj.total_seconds()
        if callable(getattr(cls, "isoformat", None)):
            return str(obj.isoformat())
        if isinstance(obj, BaseException):
            return {"error": cls.__name__, "message": str(obj)}
        attributes = _attributes(obj, cls)
        return self._dict(attributes.items(), depth) if attributes else _repr(obj)

    def _dict(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in items:
            if self.left <= 0:
                result[_MORE] = _MORE
                break
            self.left -= 1
            result[key if type(key) is str else _key(key)] = self.form(value, depth)
        return result

    def _list(self, items: Iterable[Any], depth: int) -> list[Any]:
        result = []
        for value in items:
            if self.left <= 0:
                result.append(_MORE)
                break
            self.left -= 1
            result.append(self.form(value, depth))
        return result


def _fields(obj: Any, cls: Any) -> Iterable[tuple[Any, Any]] | None:
    """The fields of an object that declares them. Methods are looked up on the class: a proxy may pretend to any."""
    if dataclasses.is_dataclass(cls):
        # Before `to_dict`: a system's own dict may leave fields out (JAF's drops all that is None).
        names = [field.name for field in dataclasses.fields(cls)]
        return [(name, getattr(obj, name)) for name in names if hasattr(obj, name)]
    if callable(getattr(cls, "model_dump", None)):
        try:
            dumped = obj.model_dump(warnings=False)
        except TypeError:  # not pydantic's
            dumped = obj.model_dump()
        if isinstance(dumped, Mapping):
            return dumped.items()
    if isinstance(obj, tuple) and hasattr(cls, "_fields"):
        return zip(cls._fields, obj, strict=False)
    if callable(getattr(cls, "to_dict", None)):
        dumped = obj.to_dict()
        if isinstance(dumped, Mapping):
            return dumped.items()
    return None


def _attributes(obj: Any, cls: type) -> dict[str, Any]:
    """The public attributes of a plain object, from its slots and its `__dict__`."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("_") and hasattr(obj, name):
                found[name] = getattr(obj, name)
    for name, value in list(getattr(obj, "__dict__", {}).items()):
        if not name.startswith("_"):
            found[name] = value
    return found


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, bytes):
        return _text(key)
    return _repr(key)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()


def _repr(obj: Any) -> str:
    try:
        return _short(repr(obj))
    except Exception:  # a repr may raise anything
        return f"<{type(obj).__name__}>"


def _short(text: str) -> str:
    return text if len(text) <= _REPR_CHARACTERS else text[: _REPR_CHARACTERS - 1] + "…"
