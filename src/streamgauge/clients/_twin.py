"""A twin: a true instance of the same type with the same state, and some methods of its own."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["original", "twin"]

T = TypeVar("T")


def twin(obj: T, methods: Mapping[str, Callable[..., Any] | property], *, again: Callable[[T], T] | None = None) -> T:
    """An object that stands for `obj`, which stays untouched.

    It is an instance of a subclass made here, so `isinstance` holds, and what the object's own code calls on `self`
    is found here first. State is shared, not copied: it has the same `__dict__`, and each slot is read and written
    on the original, whoever changes it. The original lives as long as the twin does.

    Args:
        methods: by name, what the twin has of its own (functions, properties, class and static methods).
        again: makes the twin of a copy of `obj`, or of a new object of its type; needed where `methods` know `obj`.
    Raises: TypeError where the type cannot be subclassed.
    """
    kind = type(obj)
    if again is None:
        again = functools.partial(twin, methods=methods)
    body: dict[str, Any] = {
        "__slots__": ("_twin_of",),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    body.update({name: _shared(name) for name in _slots(kind)})
    if hasattr(kind, "__del__"):
        body["__del__"] = _nothing  # the original's own runs once, when both are gone

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        # What calls the type of a twin (`dataclasses.replace`, a `clone` method) gets a twin of a new object. It is no
        # instance of `cls`'s own making, so its `__init__` has run once, not twice.
        return again(kind(*args, **kwargs))

    def copied(self: Any) -> Any:
        return again(copy.copy(obj))

    def copied_deeply(self: Any, memo: Any) -> Any:
        return again(copy.deepcopy(obj, memo))

    def reduced(self: Any, protocol: Any) -> Any:
        # Pickled, it is the object itself, by itself: it is watched where `wrap` is called.
        return operator.itemgetter(0), ((obj,),)

    if kind.__eq__ is not object.__eq__:
        body["__eq__"] = lambda self, other: obj == original(other)
        body["__hash__"] = (lambda self: hash(obj)) if kind.__hash__ is not None else None
    body.update({"__new__": new, "__copy__": copied, "__deepcopy__": copied_deeply, "__reduce_ex__": reduced})
    body.update(methods)
    meta: Any = type(kind)
    made = meta(kind.__name__, (kind,), body)
    double: Any = object.__new__(made)
    object.__setattr__(double, "_twin_of", obj)
    if hasattr(obj, "__dict__"):
        object.__setattr__(double, "__dict__", obj.__dict__)
    found: T = double
    return found


def original(double: T) -> T:
    """The object that a twin stands for; anything else is given back."""
    try:
        found: T = object.__getattribute__(double, "_twin_of")
    except AttributeError:
        return double
    return found


def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__", "_twin_of"):
                private = name.startswith("__") and not name.endswith("__")
                names.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return names


def _shared(name: str) -> property:
    def get(self: Any) -> Any:
        return getattr(self._twin_of, name)

    def put(self: Any, value: Any) -> None:
        object.__setattr__(self._twin_of, name, value)

    def remove(self: Any) -> None:
        object.__delattr__(self._twin_of, name)

    return property(get, put, remove)


def _nothing(self: Any) -> None:
    return None
