"""The class of a wrapped stream. Special methods are looked up on the type, so there is one class for each set of
abilities that a source has."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from operator import attrgetter
from typing import Any

from streamgauge.tap import Tap
from streamgauge.transports._dropped import ready
from streamgauge.transports.inprocess._async import Aclose, AsyncContext, AsyncGenerator, AsyncIterable, AsyncIterator
from streamgauge.transports.inprocess._stream import NAMED_TYPES, OpenStream, Stream
from streamgauge.transports.inprocess._sync import Close, Context, Generator, Iterable, Iterator, IteratorToo

__all__ = ["wrapped"]

_FORWARDED = (
    "__len__", "__length_hint__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__reversed__",
    "__call__", "__await__", "__bool__", "__str__", "__format__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
    "__ge__", "__hash__", "__copy__", "__deepcopy__",
)  # fmt: skip
"""Where the source's type has its own."""

_ABILITIES: tuple[tuple[type, Callable[[type], bool]], ...] = (
    (Iterator, lambda kind: hasattr(kind, "__next__") and not hasattr(kind, "__anext__")),
    (IteratorToo, lambda kind: hasattr(kind, "__next__") and hasattr(kind, "__anext__")),
    (Generator, lambda kind: hasattr(kind, "send") and hasattr(kind, "throw") and hasattr(kind, "__next__")),
    (Close, lambda kind: hasattr(kind, "close")),
    (AsyncIterator, lambda kind: hasattr(kind, "__anext__")),
    (AsyncGenerator, lambda kind: hasattr(kind, "asend") and hasattr(kind, "athrow")),
    (Aclose, lambda kind: hasattr(kind, "aclose")),
    (Iterable, lambda kind: hasattr(kind, "__iter__") and not hasattr(kind, "__next__")),
    (AsyncIterable, lambda kind: hasattr(kind, "__aiter__") and not hasattr(kind, "__anext__")),
    (Context, lambda kind: hasattr(kind, "__enter__")),
    (AsyncContext, lambda kind: hasattr(kind, "__aenter__")),
)


def wrapped(
    source: Any, tap: Tap, ends: bool, ambient: ContextVar[Any], again: Callable[[], Tap], owner: Any = None
) -> Any:
    kind: Any = type(source)
    ready()
    return _class_for(kind)(source, tap, ends, ambient, again, owner)


@lru_cache(maxsize=1024)  # of types; more than any program streams from
def _class_for(kind: type) -> type[Stream]:
    abilities = tuple(ability for ability, has in _ABILITIES if has(kind)) or (Stream,)
    # Looked up here, as `getattr` also finds what a type has of its own type: each is callable, and has a hash.
    found = {name: base.__dict__[name] for base in kind.__mro__[-2::-1] for name in _FORWARDED if name in base.__dict__}
    names: dict[str, Any] = {name: None if value is None else _forward(name) for name, value in found.items()}
    names["__doc__"] = kind.__doc__
    names["_s_wrap"] = staticmethod(wrapped)
    slots: tuple[str, ...] = ()
    if kind in NAMED_TYPES:
        # No __getattr__ on the class: with one, the interpreter specialises no attribute access (50 ns a chunk). A
        # class takes __qualname__ as a slot only.
        own = {name for ability in abilities for name in dir(ability)} | {"__qualname__"}
        names.update({name: property(attrgetter(f"_s_source.{name}")) for name in dir(kind) if name not in own})
        slots = ("__qualname__",)
    else:
        abilities = (*abilities, OpenStream)
    return type(kind.__name__, abilities, {"__slots__": slots, "__module__": kind.__module__, **names})


def _forward(name: str) -> Callable[..., Any]:
    def special(self: Stream, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._s_source, name)(*args, **kwargs)

    special.__name__ = special.__qualname__ = name
    return special
