"""One route of the proxy's settings, from a table of the file or from one line: `PREFIX=URL,key=value,...`."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal, cast

from streamgauge import dialects
from streamgauge.errors import SettingsError, UnknownDialectError, UsageError
from streamgauge.pipeline import known_dialect
from streamgauge.proxy.file import Place, Table, mistake, nearest, number, text, truth, words
from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.routes import Retries, Route

__all__ = ["KEYS", "ROUTE_LIMITS", "limits_of", "made", "tokens_in", "written"]

_UPSTREAM = "http://host[:port][/path] or https://..."
_LIMITS = {each.name: type(each.default) for each in fields(Limits)}
ROUTE_LIMITS = frozenset(_LIMITS) - {
    "max_target_bytes", "max_header_bytes", "max_headers", "max_connections", "pipelined_bytes", "header_timeout_s",
    "body_idle_timeout_s", "keepalive_timeout_s", "linger_s",
}  # fmt: skip
"""Limits that one route may have of its own. The others hold before a connection's route is known."""
KEYS = (
    "prefix", "upstream", "dialect", "on_disconnect", "retries", "replace_traceparent", "tokens", "token_file", "http2",
    "ca_file", "limits",
)  # fmt: skip
"""Of a `[[proxy.route]]`. One line takes them too, but for the tables, and limits by their own names."""
_IN_LINE = (*(key for key in KEYS if key not in ("prefix", "upstream", "tokens", "limits")), *sorted(ROUTE_LIMITS))


def written(line: str, source: str) -> dict[str, Place]:
    """What one line says of a route."""
    prefix, equals, rest = line.partition("=")
    prefix = prefix.strip()
    where = f"{source} {prefix}"
    if not equals or not prefix.startswith("/"):
        raise SettingsError(source, f"{prefix!r} is not PREFIX=URL, as in /openai=https://api.openai.com")
    upstream, *pairs = re.split(r",(?=\s*[a-z0-9_]+=)", rest)  # a URL may have commas
    given = {"prefix": Place(prefix, where), "upstream": Place(upstream.strip(), where)}
    for pair in pairs:
        key, _, value = pair.partition("=")
        key = key.strip()
        if key in _LIMITS and key not in ROUTE_LIMITS:
            raise SettingsError(where, f"{key} holds for all routes: give it with --limit {key}=...")
        if key not in _IN_LINE:
            raise SettingsError(where, f"there is no key {key!r}{nearest(key, _IN_LINE)}")
        if key in given:
            raise SettingsError(where, f"{key} is given twice")
        given[key] = Place(value.strip(), f"{where}, {key}")
    return given


def made(given: Mapping[str, Place], limits: Limits, tokens: tuple[str, ...], table: Table | None = None) -> Route:
    """A route of its parts.

    Args:
        limits, tokens: those of the whole proxy, where the route has none of its own.
        table: the file's table of it.
    Raises: SettingsError for the first part that cannot be.
    """
    parts: dict[str, Any] = {}
    place = given.get("prefix", Place("/", ""))
    prefix = text(place, "a path like /openai")
    parts["prefix"] = _checked(place, prefix=prefix.rstrip("/") or prefix).prefix
    place = given["upstream"]
    parts["upstream"] = _checked(place, upstream=text(place, _UPSTREAM)).upstream
    if "dialect" in given:
        parts["dialect"] = _dialect(given["dialect"])
    if "on_disconnect" in given:
        place = given["on_disconnect"]
        if place.value not in ("cancel", "drain"):
            raise mistake(place, "cancel or drain")
        parts["on_disconnect"] = cast('Literal["cancel", "drain"]', place.value)
    for name in ("replace_traceparent", "http2"):
        if name in given:
            parts[name] = truth(given[name])
    if "ca_file" in given:
        parts["ca_file"] = _ca_file(given["ca_file"])
    if "retries" in given:
        parts["retries"] = _retries(given["retries"], table)
    if "tokens" in given:
        tokens = tokens_in(given["tokens"])
    if "token_file" in given:
        tokens = tokens_in(given["token_file"], file=True)
    own = {name: place for name, place in given.items() if name in _LIMITS}
    if table is not None and "limits" in table:
        below = table.table("limits")
        for name in below:
            if name in _LIMITS and name not in ROUTE_LIMITS:
                raise SettingsError(below.place(name).where, f"{name} holds for all routes: put it into [proxy.limits]")
        below.known(ROUTE_LIMITS)
        own = {name: below.place(name) for name in below}
    return Route(**parts, tokens=tokens, limits=limits_of(own, limits) if own else None)


def _checked(place: Place, *, prefix: str = "/", upstream: str = "http://upstream") -> Route:
    """As `Route` itself allows the one that is given."""
    try:
        return Route(prefix, upstream)
    except UsageError as error:
        raise SettingsError(place.where, str(error)) from error


def limits_of(places: Mapping[str, Place], base: Limits) -> Limits:
    """`base` with these instead."""
    found: dict[str, Any] = {}
    for name, place in places.items():
        value: float = (
            number(place, int, "a whole number", float("-inf"))
            if _LIMITS[name] is int
            else number(place, float, "a number", float("-inf"))
        )
        try:
            replace(base, **cast("Any", {name: value}))
        except UsageError as error:
            raise SettingsError(place.where, str(error)) from error
        found[name] = value
    try:
        return replace(base, **found)
    except UsageError as error:  # each may be, but not all of them together
        raise SettingsError(next(iter(places.values())).where, str(error)) from error


def tokens_in(place: Place | None, file: bool = False) -> tuple[str, ...]:
    """Never shown, not even where they are wrong.

    Args:
        file: `place` has the name of a file with one in each line; `#` begins a comment.
    """
    assert place is not None
    if file:
        path = text(place, "a file")
        try:
            with open(path, encoding="utf-8") as opened:
                lines = [line.strip() for line in opened]
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not UTF-8"
            raise SettingsError(place.where, f"{path!r} cannot be read: {why}") from error
        tokens = [line for line in lines if line and not line.startswith("#")]
        if not tokens:
            raise SettingsError(place.where, f"{path!r} has no token; it takes one in each line")
    else:
        try:
            tokens = words(place, "")
        except SettingsError as error:
            raise SettingsError(place.where, "it takes a list of texts") from error
    try:
        Route("/", "http://upstream", tokens=tuple(tokens))
    except UsageError as error:
        raise SettingsError(place.where, str(error)) from error
    return tuple(tokens)


def _dialect(place: Place) -> str:
    name = text(place, "the name of a dialect")
    try:
        known_dialect(name)
    except UnknownDialectError as error:
        raise SettingsError(place.where, f"there is no dialect {name!r}{nearest(name, dialects.names())}") from error
    except UsageError as error:
        raise SettingsError(place.where, str(error)) from error
    return name


def _ca_file(place: Place) -> str:
    path = text(place, "a file of certificates (PEM)")
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        why = "it has no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(place.where, f"{path!r} cannot be used: {why}; it takes PEM") from error
    return path


def _retries(place: Place, table: Table | None) -> Retries | None:
    """How often, or a table."""
    if not isinstance(place.value, dict) or table is None:
        attempts = number(place, int, "how many after the first attempt, or a table [proxy.route.retries]")
        return Retries(attempts=attempts) if attempts else None
    below = table.table("retries")
    known = {each.name: each for each in fields(Retries)}
    below.known(known)
    parts: dict[str, Any] = {}
    for name in below:
        inner = below.place(name)
        if name == "methods":
            allowed = 'methods of HTTP, as ["GET", "POST"]'
            methods = words(inner, allowed)
            if not all(re.fullmatch("[A-Z]+", method) for method in methods):
                raise mistake(inner, allowed)
            parts[name] = frozenset(methods)
        elif name == "statuses":
            allowed = "statuses from 400 to 599, as [429, 503]"
            if not isinstance(inner.value, list):
                raise mistake(inner, allowed)
            if not all(type(each) is int and 400 <= each <= 599 for each in inner.value):
                raise mistake(inner, allowed)
            parts[name] = frozenset(inner.value)
        elif name == "connect_errors":
            parts[name] = truth(inner)
        elif name == "attempts":
            parts[name] = number(inner, int, "a whole number from 0")
        else:
            parts[name] = number(inner, float, "a number from 0")
    return Retries(**parts) if parts.get("attempts", 1) else None
