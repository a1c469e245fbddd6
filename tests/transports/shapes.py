"""Sources of the shapes that programs and SDKs have, and what was recorded of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from streamgauge.tap import Tap


class Boom(Exception):
    pass


class Restarting:
    """Begins anew whenever it is looped over."""

    def __iter__(self) -> Any:
        self.left = 2
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left


class Delegating:
    """As SDKs do it: an iterator, and what a loop reads is a generator over the same."""

    def __init__(self, *items: Any) -> None:
        self.inner = iter(items)
        self.response = "response"

    def __iter__(self) -> Iterator[Any]:
        yield from self.inner

    def __next__(self) -> Any:
        return next(self.inner)

    def close(self) -> None:
        self.inner = iter(())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class Both:
    """Sync and async at once."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)

    def __iter__(self) -> Any:
        return self

    def __aiter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if not self.items:
            raise StopIteration
        if isinstance(self.items[0], BaseException):
            raise self.items.pop(0)
        return self.items.pop(0)

    async def __anext__(self) -> Any:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None


class Fresh:
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        yield from self.items

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.items:
            yield item


def outcomes(seen: Any) -> list[str]:
    return [span["attributes"]["streamgauge.outcome"] for span in seen.spans if span["name"].startswith("invoke_agent")]


def tap_of(stream: Any) -> Tap:
    found: Tap = object.__getattribute__(stream, "_s_tap")
    return found
