"""The ASGI side of a server: what an application receives and sends for an HTTP request, or by WebSocket, is watched.
Pure ASGI, for any server and framework.

Each message goes to the server, or to the application, as it came: the same object, in the same task, and before
anything is told of it. Nothing is received that the application did not ask for, no body is kept back, no task is made.
What is neither (`lifespan`) is left alone. For WebSockets see `_asgi_socket`.

The exchange's stream is opened at the latest moment that is early enough: when the application has been given the whole
request, so that what it does then is inside the stream's span; or when it sends the head of its answer. From then on
that span is the current one in the task that received or sent, and in those that it starts, until the answer is
complete or the application returns.

Source: ASGI 3.0, HTTP connection scope 2.5, with the extensions `http.response.pathsend`, `http.response.zerocopysend`
and `http.response.trailers`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from streamgauge.transports._asgi_socket import ServedSocket
from streamgauge.transports._conversation import Conversation
from streamgauge.transports._dropped import dropped, ready
from streamgauge.transports._exchange import CARRIED, Exchange, Watch
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.tap import Tap

__all__ = ["Application", "Message", "Receive", "Scope", "Send", "Watching"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_MARK = "streamgauge.asgi"
"""In the scope of a request that is watched, so that a middleware below leaves it alone."""
_UNFRAMED = frozenset({"1.0", "1.1"})
"""Versions of HTTP in which a request with a body has a header that says so."""

_FAILED = 400

_clock = time.monotonic_ns


def _left_alone(path: str) -> None:
    return None


class Watching:
    """An application, watched."""

    def __init__(
        self,
        app: Application,
        watch_of: Callable[[str, str], Watch | None],
        ambient: ContextVar[Any],
        within: Callable[[Any], Any],
        converse: Callable[[str], Callable[..., Conversation] | None] = _left_alone,
    ) -> None:
        """
        Args:
            watch_of: given a method and a path below where the application is mounted, what it is watched with; None
                where it is left alone.
            ambient: holds the current telemetry context.
            within: given a stream's context, what is to be current inside it.
            converse: the same as `watch_of` for a WebSocket's path: it makes the conversation.
        """
        self.app = app
        self._watch_of = watch_of
        self._converse = converse
        self._ambient = ambient
        self._within = within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        served: _Served | ServedSocket | None = None
        if kind == "http":
            served = self._begin(scope, receive, send)
        elif kind == "websocket":
            served = self._connect(scope, receive, send)
        if served is None:
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, served.receive, served.send)
        except BaseException as error:
            served.failed(error)
            raise
        served.returned()

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> _Served | None:
        try:
            method = scope["method"]
            # The answer to a HEAD has no body, whatever the application makes of it.
            watch = None if _MARK in scope or method == "HEAD" else self._watch_of(method, _path(scope))
            if watch is None:
                return None
            headers = scope["headers"]
            if not isinstance(headers, list | tuple):  # to be read once, by the application
                headers = ()
            host, port = scope.get("server") or ("", None)
            at = _clock()
            exchange = watch.exchange(
                method, _target(scope), headers,
                at=at, server_address=host or "", server_port=port or 0, scheme=scope.get("scheme") or "http",
            )  # fmt: skip
            served = _Served(exchange, receive, send, at, self._ambient, self._within)
            scope[_MARK] = True
            ready()
            if _has_no_body(scope, headers):
                served.asked()
        except Exception:  # a server of somebody's own making: the application is called, and nobody watches it
            return None
        return served

    def _connect(self, scope: Scope, receive: Receive, send: Send) -> ServedSocket | None:
        try:
            converse = None if _MARK in scope else self._converse(_path(scope))
            if converse is None:
                return None
            headers = scope["headers"]
            carrier = {}
            if isinstance(headers, list | tuple):
                carrier = {str(k, "latin-1"): str(v, "latin-1") for k, v in headers if k in CARRIED}
            host, port = scope.get("server") or ("", None)
            method = "GET" if scope.get("http_version") in _UNFRAMED else "CONNECT"
            conversation = converse(
                _target(scope), carrier, method=method, server_address=host or "", server_port=port or 0
            )
            served = ServedSocket(conversation, receive, send, self._ambient, self._within)
            scope[_MARK] = True
            ready()
            served.begin()
        except Exception:  # as in `_begin`
            return None
        return served


class _Served:
    """One request that the application serves: what it is given to receive and to send with. What it sees of the
    server's is the server's."""

    __slots__ = (
        "_ambient", "_asked", "_entered", "_exchange", "_gone", "_opaque", "_open", "_receive", "_send", "_started",
        "_trailers", "_within",
    )  # fmt: skip

    def __init__(
        self,
        exchange: Exchange,
        receive: Receive,
        send: Send,
        at: int,
        ambient: ContextVar[Any],
        within: Callable[[Any], Any],
    ) -> None:
        self._exchange: Exchange | None = exchange
        """None from when there is no more to tell."""
        self._receive = receive
        self._send = send
        self._ambient = ambient
        self._within = within
        self._entered: list[tuple[Any, Token[Any]]] = []
        """What was made current, each time in a task of its own; and what takes it away again."""
        self._asked = at
        """When the application began to make what it sends next."""
        self._open = True
        """The request is not complete yet."""
        self._started = False
        """The head of the answer was sent."""
        self._trailers = False
        """They follow the body."""
        self._opaque = False
        """The server sends a file by itself: its bytes are not seen here."""
        self._gone = False
        """The caller has disconnected, and the server said so."""

    # What the application calls -------------------------------------------------------------------------------

    async def receive(self) -> Message:
        message = await self._receive()
        if self._exchange is not None:
            try:
                self._received(self._exchange, message)
            except Exception:  # a message that is none: the application will see
                pass
        return message

    async def send(self, message: Message) -> None:
        exchange = self._exchange
        if exchange is None:
            await self._send(message)
            return
        body = message.get("body") if isinstance(message, dict) else None
        asked, at = self._asked, _clock()
        if body:
            exchange.paused()  # until the server takes it: it waits for a slow caller
        try:
            await self._send(message)
            if body:
                exchange.data(body, at, asked)
        except OSError:  # as a server says that the caller has gone (ASGI 2.4)
            self._gone = True
            raise
        finally:
            if body:
                self._asked = _clock()
                exchange.resumed()
        try:
            self._sent(exchange, message)
        except Exception:  # a message that is none, though the server took it
            pass

    # What is told of it ---------------------------------------------------------------------------------------

    def _received(self, exchange: Exchange, message: Message) -> None:
        kind = message["type"]
        if kind == "http.disconnect":
            self._gone = True
        elif kind == "http.request" and self._open:
            body = message.get("body")
            if body and not self._started:
                exchange.sent(body)
            if not message.get("more_body"):
                self.asked()

    def asked(self) -> None:
        """The application has the whole request."""
        exchange = self._exchange
        self._open = False
        if exchange is not None and not self._started:
            exchange.requested()
            self._asked = _clock()
            exchange.resumed()  # up to here it was the caller who was waited for
            self._enter(exchange)

    def _sent(self, exchange: Exchange, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            if not message.get("more_body"):
                self._bodied(exchange)
        elif kind == "http.response.start":
            self._head(exchange, message)
        elif kind == "http.response.pathsend" or kind == "http.response.zerocopysend":
            self._opaque = True
            if not message.get("more_body"):
                self._bodied(exchange)
        elif kind == "http.response.trailers" and not message.get("more_trailers"):
            self._complete(exchange)

    def _head(self, exchange: Exchange, message: Message) -> None:
        self._started = True
        self._trailers = bool(message.get("trailers"))
        status, headers = message["status"], message.get("headers")
        if self._gone and status >= _FAILED:  # told to nobody: that the caller has gone is no failure
            self._exchange = None
            self._given_up(exchange)
            self._leave()
            return
        exchange.responded(status, headers if isinstance(headers, list | tuple) else ())
        if exchange.watched:
            self._enter(exchange)
        else:
            self._exchange = None

    def _bodied(self, exchange: Exchange) -> None:
        if not self._trailers:
            self._complete(exchange)

    def _complete(self, exchange: Exchange) -> None:
        self._exchange = None
        if self._gone:  # it went on all the same, to the end
            exchange.disconnected("drain")
            exchange.end(outcome=Outcome.ABANDONED)
        elif self._opaque:
            exchange.end(outcome=Outcome.COMPLETED)
        else:
            exchange.end()
        self._leave()

    # How the application ends -----------------------------------------------------------------------------------

    def returned(self) -> None:
        """It has returned; of a complete answer nothing is left to tell."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._gone:
                self._given_up(exchange)
            elif self._started:
                exchange.end(outcome=Outcome.TRUNCATED, error_type="incomplete_body")
            else:
                exchange.end(outcome=Outcome.FAILED, error_type="no_response")
        self._leave()

    def failed(self, error: BaseException) -> None:
        """It has raised `error`, or was cancelled. Where the caller had gone before, that is why."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._gone:
                self._given_up(exchange)
            elif isinstance(error, GeneratorExit):
                dropped(cast("Tap", _Dropped(exchange)), _clock())
            else:
                exchange.end(error)
        self._leave()

    def _given_up(self, exchange: Exchange) -> None:
        exchange.disconnected("cancel")
        exchange.end(outcome=Outcome.ABANDONED)

    # The current span -------------------------------------------------------------------------------------------

    def _enter(self, exchange: Exchange) -> None:
        if exchange.watched:
            context = self._within(exchange.context)
            if context is not self._ambient.get(None):
                self._entered.append((context, self._ambient.set(context)))

    def _leave(self) -> None:
        """Give back what was current, where ours still is. In another task than it was made current in this changes
        nothing: that task's own context ends with it."""
        for each in self._entered[:]:
            context, token = each
            if self._ambient.get(None) is context:
                try:
                    self._ambient.reset(token)
                except ValueError:  # another task's
                    continue
                self._entered.remove(each)


class _Dropped:
    """An exchange whose application was dropped unfinished, as what ends dropped streams sees it."""

    __slots__ = ("_exchange",)
    ended = False

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def end_at(self, at: int, *, outcome: Outcome) -> None:
        self._exchange.end(outcome=outcome)


def _path(scope: Scope) -> str:
    """The path below where the application is mounted, as a router there has it."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    if not root or not path.startswith(root):
        return path
    below = path[len(root) :] or "/"
    return below if below[0] == "/" else path


def _target(scope: Scope) -> str:
    """The path and query as they were sent."""
    raw = scope.get("raw_path")
    target: str = raw.decode("latin-1") if raw else scope["path"]
    query = scope.get("query_string")
    return f"{target}?{query.decode('latin-1')}" if query else target


def _has_no_body(scope: Scope, headers: Any) -> bool:
    """Whether the request is complete with its head, so that the application may not even ask for more."""
    for name, value in headers:
        if name == b"content-length":
            return bool(value == b"0")
        if name == b"transfer-encoding":
            return False
    return scope["method"] == "GET" or scope.get("http_version") in _UNFRAMED
