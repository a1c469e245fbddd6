"""ASGI middleware: the agent streams that an application serves are watched. For FastAPI, Starlette, any ASGI app.

    app.add_middleware(streamgauge.asgi.Middleware, dialects={"/chat": "ag-ui"})

    app = streamgauge.asgi.Middleware(app)

Of a stream that is served, the run's span is of kind SERVER, and its clocks are `gen_ai.server.*`. That span is current
inside the application, so that spans of the agent's own are its children. A WebSocket is a session, with a run for each
turn. No dependency is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from streamgauge import dialects as known
from streamgauge import duplex, httpwatch, recorder
from streamgauge.errors import UsageError
from streamgauge.pipeline import known_dialect
from streamgauge.transports._exchange import Watch
from streamgauge.transports.asgi import Application, Watching

__all__ = ["Middleware"]

_ROUTE = re.compile(r"(?:([A-Z]+) )?(/.*)", re.DOTALL)
_PLACE = re.compile(r"\{[^{}:]*(:path)?\}")
_SOCKET = "WEBSOCKET"
"""In the place of a route's method."""


class Middleware(Watching):
    """An ASGI application that watches what another one serves.

    A route is a path as Starlette and FastAPI write it, `/agents/{name}/chat`, matched as a whole: `{name}` is one
    segment, `{rest:path}` any number of them. It is the path below where the application is mounted, and it may begin
    with a method: `GET /events`. Without one it stands for POST, PUT and PATCH, whose answers are watched whatever they
    are (a stream, plain JSON, a failure before either); those to other methods, if they are a stream. Where its dialect
    is of a conversation it stands for WebSockets, as it does with `WEBSOCKET /chat`.
    """

    def __init__(
        self,
        app: Application,
        *,
        dialect: str | None = None,
        dialects: Mapping[str, str] | None = None,
        exclude: Iterable[str] = (),
        agent_name: str = "",
        operation: str = "",
        provider_name: str = "",
        model: str = "",
        server_address: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            app: what is watched; Starlette's `add_middleware` gives it.
            dialect: how every stream is read that no route of `dialects` has; by default as the path tells, else by
                `generic`, a WebSocket by `generic-messages`.
            dialects: route: how its answers are read. The first that matches counts.
            exclude: routes to leave alone, whatever `dialects` says.
            agent_name, operation, provider_name, model, server_address, attributes: what is known of what is served;
                it wins over what a request or its answer says.
        Raises: UnknownDialectError; UsageError for a route that is none, or a dialect from outside that cannot be
            loaded.
        """
        given: dict[str, Any] = {
            "agent_name": agent_name, "operation": operation, "provider_name": provider_name, "model": model,
            "server_address": server_address, "attributes": attributes or {},
        }  # fmt: skip

        def watch(name: str | None, answering: Iterable[str]) -> Watch:
            return httpwatch.watch(
                "asgi", dialect=name, eager=False, inherits=True, served=True, answering=frozenset(answering), **given
            )

        def converse(name: str | None) -> duplex.Watch:
            return duplex.watch("asgi", dialect=name, eager=False, inherits=True, served=True, **given)

        excluded = [_route(text) for text in exclude]
        routes: list[tuple[str, re.Pattern[str], Watch]] = []
        sockets: list[tuple[re.Pattern[str], duplex.Watch]] = []
        for text, name in (dialects or {}).items():
            method, pattern = _route(text)
            if method in ("", _SOCKET) and _is_of_conversations(name):
                sockets.append((pattern, converse(name)))
            elif method == _SOCKET:
                raise UsageError(f"the dialect {name!r} reads no WebSocket")
            else:
                routes.append((method, pattern, watch(name, (method,) if method else httpwatch.ANSWERING)))
        claimed = watch(dialect, httpwatch.ANSWERING)
        # Of an application's other answers nobody has said that they are the agent's: only the streams are.
        other = watch(dialect, ()) if dialect else claimed

        @lru_cache(maxsize=1024)
        def watch_of(method: str, path: str) -> Watch | None:
            if any(wanted in ("", method) and pattern.fullmatch(path) for wanted, pattern in excluded):
                return None
            found = (made for wanted, pattern, made in routes if wanted in ("", method) and pattern.fullmatch(path))
            return next(found, claimed if dialect and known.by_path(path) == dialect else other)

        talk = converse(dialect if dialect and _is_of_conversations(dialect) else None)

        @lru_cache(maxsize=1024)
        def converse_of(path: str) -> duplex.Watch | None:
            if any(wanted in ("", _SOCKET) and pattern.fullmatch(path) for wanted, pattern in excluded):
                return None
            return next((made for pattern, made in sockets if pattern.fullmatch(path)), talk)

        super().__init__(app, watch_of, recorder.ambient(), recorder.within, converse_of)


def _is_of_conversations(dialect: str) -> bool:
    """Raises: as `known_dialect`."""
    return known_dialect(dialect).opens_runs


def _route(text: str) -> tuple[str, re.Pattern[str]]:
    """The method, empty where any will do, and the path."""
    found = _ROUTE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no route: it is a path, such as '/chat', or 'GET /chat', or '/agents/{{name}}'")
    method, path = found[1] or "", found[2]
    pattern, end = "", 0
    for place in _PLACE.finditer(path):
        pattern += re.escape(path[end : place.start()]) + (".*" if place[1] else "[^/]+")
        end = place.end()
    return method, re.compile(pattern + re.escape(path[end:]), re.DOTALL)
