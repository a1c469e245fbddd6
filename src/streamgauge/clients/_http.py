"""Drop-ins for what sends through httpx or httpx2: their clients, and the clients of SDKs that Stainless generates
(openai, anthropic), which hold one.

A client's twin has the same transports, pool, cookies, hooks and settings; only what a request is sent through is
watched. An SDK client's twin has such an HTTP client, whichever it is given; all that the SDK makes of it, its copies
too, are watched then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from streamgauge.clients._twin import original, twin
from streamgauge.transports.httpx_client import package_of, watching

__all__ = ["http_client", "named", "sdk_client"]

T = TypeVar("T")

_OF_THE_CLIENT = frozenset({"with_raw_response", "with_streaming_response"})
"""Attributes that are made of the client, and hold what is."""


def http_client(client: T, watch: Any, *, propagate: bool = False) -> T | None:
    """The twin of a `Client` or an `AsyncClient`; None for all else."""
    if original(client) is not client:
        return client  # a twin already
    package = package_of(client)
    is_async = package is not None and isinstance(client, package.AsyncClient)
    if package is None or not (is_async or isinstance(client, package.Client)):
        return None

    def chosen(self: Any, url: Any) -> Any:
        found = type(client)._transport_for_url(self, url)  # type: ignore[attr-defined]
        return watching(found, package, watch, is_async=is_async, propagate=propagate)

    return twin(client, {"_transport_for_url": chosen}, again=lambda other: http_client(other, watch) or other)


def sdk_client(client: T, watch: Any, makers: Mapping[str, Callable[[Any], Any]] | None = None) -> T:
    """The twin of an SDK's client, which keeps its HTTP client in `_client`.

    Args:
        makers: by name, attributes that know the client, with what makes them of it; more than are found here.
    """
    kind: Any = type(client)
    state: dict[str, Any] = client.__dict__
    seen: tuple[Any, Any] = (None, None)

    def sent_through(self: Any) -> Any:
        nonlocal seen
        held = seen
        try:
            found = state["_client"]
        except KeyError:
            raise AttributeError("_client") from None
        if found is not held[0]:
            seen = held = found, http_client(found, watch) or found
        return held[1]

    def send_through(self: Any, value: Any) -> None:
        state["_client"] = value

    def again(other: T) -> T:
        return other if original(other) is not other else sdk_client(other, watch, makers)

    def copied(name: str) -> Callable[..., Any]:
        method = getattr(kind, name)

        @functools.wraps(method)
        def copy(self: Any, *args: Any, **kwargs: Any) -> Any:
            # On the client itself: what an SDK copies may depend on its exact type.
            return again(method(client, *args, **kwargs))

        return copy

    found = {**_makers(client), **(makers or {})}
    own: dict[str, Any] = {name: _of_its_own(name, make) for name, make in found.items()}
    own["_client"] = property(sent_through, send_through)
    own.update({name: copied(name) for name in ("copy", "with_options") if hasattr(kind, name)})
    return twin(client, own, again=again)


def _makers(client: Any) -> dict[str, Callable[[Any], Any]]:
    """Attributes that know the client, so that a twin needs its own: by name, what makes them. Some are made when they
    are asked for; the others (with older SDKs, most) were made when the client was."""
    makers: dict[str, Callable[[Any], Any]] = {}
    for name, value in client.__dict__.items():
        state = getattr(value, "__dict__", {})
        if state.get("_client") is client or name in _OF_THE_CLIENT:
            makers[name] = type(value)
        elif state.get("_http_client", client) is client.__dict__.get("_client"):  # what signs in sends by it too
            makers[name] = functools.partial(_sent_alike, value)
    for base in reversed(type(client).__mro__):
        for name, lazy in base.__dict__.items():
            # One that was set, or made without the client, is everybody's.
            if isinstance(lazy, functools.cached_property) and (name in makers or name not in client.__dict__):
                makers[name] = lazy.func
    return makers


def _sent_alike(helper: T, double: Any) -> T:
    """The twin of a `helper` that sends by itself, but as its client does."""
    return twin(helper, {"_http_client": property(lambda self: double._client)})


def _of_its_own(name: str, make: Callable[[Any], Any]) -> property:
    """The attribute `name`, made of the twin when it is first asked for."""
    made: list[Any] = []

    def get(self: Any) -> Any:
        if not made:
            made.append(make(self))
        return made[0]

    def put(self: Any, value: Any) -> None:
        made[:] = [value]

    def remove(self: Any) -> None:
        if not made:
            raise AttributeError(name)
        made.clear()

    return property(get, put, remove, make.__doc__)


def named(client: object, table: dict[str, str]) -> str:
    """What `table` says of the client's class, or of the nearest base that is in it. By name: many of them need
    packages of their own to be imported."""
    return next((table[base.__name__] for base in type(client).__mro__ if base.__name__ in table), "")
