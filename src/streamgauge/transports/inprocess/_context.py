"""The current context around a read of the source: given back after it, unless the source keeps one of its own."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

__all__ = ["Kept", "leave"]


class Kept:
    """Stands in for the context variable of a stream whose source keeps a context of its own from one read to the next,
    as one does that yields inside a `with` of a span."""

    __slots__ = ("_ambient", "_context", "_entered", "_token")

    def __init__(self, ambient: ContextVar[Any]) -> None:
        self._ambient = ambient
        self._token: Token[Any] | None = None
        """Takes ours away again, once the source has given its own back."""
        self._context: Any = None
        self._entered: Any = None

    def keep(self, token: Token[Any], context: Any) -> None:
        if self._token is None:
            self._token, self._context = token, context

    def enter(self, context: Any) -> Token[Any]:
        self._entered = context
        if self._token is not None:
            return self._token  # the source has its own
        self._context = context
        return self._ambient.set(context)

    def inside(self) -> Any:
        """What was entered, if the variable is as we have left it."""
        return self._entered if self._ambient.get(None) is self._context else None

    def leave(self, token: Token[Any]) -> None:
        self._token = None
        with suppress(ValueError):  # given back in another context than it was kept in
            self._ambient.reset(token)

    def close(self) -> None:
        token, self._token = self._token, None
        if token is not None and self._ambient.get(None) is self._context:
            with suppress(ValueError):  # closed in another task
                self._ambient.reset(token)


def leave(ambient: ContextVar[Any], token: Token[Any], context: Any) -> None:
    """Undo what made `context` the current one, if it still is: else the source has changed it on purpose, or another
    task closes it."""
    if ambient.get(None) is context:
        try:
            ambient.reset(token)
        except ValueError:  # another task's context, that happens to hold the same value
            pass
