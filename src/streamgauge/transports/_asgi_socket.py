"""A WebSocket connection that an ASGI application serves: what it receives and sends, as the tap sees it.

The session's span is current inside the application from its call on, and from each request of the caller's to the end
of its answer the run's is: in the task that receives the request or sends the answer, and in those that it starts then.

Source: ASGI 3.0, WebSocket connection scope 2.5, with the extension `websocket.http.response`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import WeakValueDictionary

from streamgauge.transports._conversation import Conversation
from streamgauge.transports._dropped import dropped
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.tap import Tap

__all__ = ["ServedSocket"]

Message: TypeAlias = MutableMapping[str, Any]

_SWITCHING, _DENIED = 101, 403
_LOST, _RESTART = 1006, 1012
_OPENING, _OPEN, _OVER = "opening", "open", "over"

_clock = time.monotonic_ns


class ServedSocket:
    """What the application is given to receive and to send with."""

    __slots__ = ("_asked", "_conversation", "_inside", "_receive", "_send", "_state")

    def __init__(
        self,
        conversation: Conversation,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        ambient: ContextVar[Any],
        within: Callable[[Any], Any],
    ) -> None:
        self._conversation = conversation
        self._receive = receive
        self._send = send
        self._inside = _Inside(ambient, within)
        self._asked = _clock()
        """When the application began to make what it sends next."""
        self._state = _OPENING

    def begin(self) -> None:
        """In the task that calls the application."""
        self._inside.begin(self._conversation.context)

    # What the application calls -------------------------------------------------------------------------------

    async def receive(self) -> Message:
        message = await self._receive()
        if self._state != _OVER:
            try:
                self._received(message)
            except Exception:  # a message that is none: the application will see
                pass
        return message

    async def send(self, message: Message) -> None:
        if self._state == _OVER:
            await self._send(message)
            return
        conversation = self._conversation
        data = _data(message) if isinstance(message, dict) and message.get("type") == "websocket.send" else None
        asked, at = self._asked, _clock()
        if data is not None:
            conversation.paused()  # until the server takes it: it waits for a slow caller
        try:
            await self._send(message)
            if data is not None:
                conversation.received(data, at, asked)
        except OSError:  # as a server says that the caller has gone (ASGI 2.4)
            self._closed(_LOST, "", "caller")
            raise
        finally:
            if data is not None:
                self._asked = _clock()
                conversation.resumed()
        try:
            if data is not None:
                self._inside.enter(conversation.context)
            else:
                self._sent(message)
        except Exception:  # a message that is none, though the server took it
            pass

    # What is told of it ---------------------------------------------------------------------------------------

    def _received(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.receive":
            data = _data(message)
            if data is not None:
                self._conversation.sent(data)
                self._asked = _clock()
                self._conversation.resumed()
                self._inside.enter(self._conversation.context)
        elif kind == "websocket.disconnect":
            code = message.get("code")
            code = 1005 if code is None else code
            # No caller says that a service restarts: the server does, to its own application, as it stops.
            self._closed(code, message.get("reason") or "", "agent" if code == _RESTART else "caller")

    def _sent(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close":
            if self._state == _OPENING:
                self._denied(_DENIED)
            else:
                code = message.get("code")
                self._closed(1000 if code is None else code, message.get("reason") or "", "agent")
        elif kind == "websocket.accept":
            self._state = _OPEN
            self._conversation.answered(_SWITCHING)
        elif kind == "websocket.http.response.start":
            self._denied(message["status"])

    def _denied(self, status: int) -> None:
        self._state = _OVER
        self._conversation.answered(status)
        self._conversation.end(outcome=Outcome.FAILED, error_type=str(status))
        self._inside.end()

    def _closed(self, code: int, reason: str, by: str) -> None:
        self._state = _OVER
        if code == _RESTART and by == "agent":
            self._conversation.aside("closed", {"code": code, "reason": reason, "by": by})
            self._conversation.end(outcome=Outcome.SHUTDOWN)
        else:
            self._conversation.closed(code, reason, by)
        self._inside.end()

    # How the application ends -----------------------------------------------------------------------------------

    def returned(self) -> None:
        """It has returned; the server closes what it has left open."""
        if self._state == _OPENING:
            self._conversation.end(outcome=Outcome.FAILED, error_type="no_response")
        else:
            self._conversation.end()
        self._over()

    def failed(self, error: BaseException) -> None:
        """It has raised `error`, or was cancelled. Where the connection was over before, that is nothing of it."""
        if isinstance(error, GeneratorExit):
            if self._state != _OVER:
                dropped(cast("Tap", _Dropped(self._conversation)), _clock())
        else:
            self._conversation.end(error)
        self._over()

    def _over(self) -> None:
        self._state = _OVER
        self._inside.end()


class _Inside:
    """What is current where the application runs."""

    __slots__ = ("_ambient", "_made", "_token", "_within")

    def __init__(self, ambient: ContextVar[Any], within: Callable[[Any], Any]) -> None:
        self._ambient = ambient
        self._within = within
        self._token: Token[Any] | None = None
        self._made: WeakValueDictionary[int, Any] = WeakValueDictionary()
        """The contexts made here that are current in some task: the application has none of its own over them."""

    def begin(self, context: Any) -> None:
        if context is not None:
            made = self._within(context)
            if made is not self._ambient.get(None):
                self._made[id(made)] = made
                self._token = self._ambient.set(made)

    def enter(self, context: Any) -> None:
        """From here on `context` is current in this task, over all else that was."""
        current = self._ambient.get(None)
        if context is None or (current and all(current.get(name) is value for name, value in context.items())):
            return
        own = self._made.get(id(current))
        if own is not None and own is current:
            made = type(context)({**own, **context})
        else:
            made = self._within(context)
            if made is current:  # the application has a span of its own there, below one of ours
                return
        self._made[id(made)] = made
        self._ambient.set(made)

    def end(self) -> None:
        """Give back what was current when it began, where ours still is. In another task than that this changes
        nothing: that task's own context ends with it."""
        current = self._ambient.get(None)
        if self._token is not None and current is not None and self._made.get(id(current)) is current:
            try:
                self._ambient.reset(self._token)
            except ValueError:  # another task's
                return
            self._token = None


class _Dropped:
    """A connection whose application was dropped unfinished, as what ends dropped streams sees it."""

    __slots__ = ("_conversation",)
    ended = False

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def end_at(self, at: int, *, outcome: Outcome) -> None:
        self._conversation.end(outcome=outcome)


def _data(message: Message) -> str | bytes | None:
    """The message's text or bytes."""
    data = message.get("text")
    if data is None:
        data = message.get("bytes")
    return data if isinstance(data, str) else None if data is None else bytes(data)
