"""The connections themselves: of the class that they would be, with some methods that tell what they do."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from websockets.exceptions import ConnectionClosed

from streamgauge.transports._dropped import dropped, ready
from streamgauge.transports.websocket._link import Link
from streamgauge.transports.websocket._messages import Joined, as_received, noted
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.tap import Tap
    from streamgauge.transports._conversation import Conversation

__all__ = ["creating", "is_watched", "watching"]

Begin: TypeAlias = Callable[[Any, Any], "tuple[Conversation, Any]"]
"""Given a connection and the headers for its handshake: the conversation that begins, and the headers to be sent."""
Failed: TypeAlias = Callable[["Conversation", BaseException], None]
"""The handshake has failed."""

_SLOTS = ("_s_begin", "_s_failed", "_s_link", "_s_wrapped")

_clock = time.monotonic_ns


class _Either:
    """What both kinds of connections are. All names but `_s_` are the library's."""

    __slots__ = ()
    _s_link: Link
    _s_wrapped: Any
    """The connection that this one stands for. It lives as long as this one."""

    def __del__(self) -> None:
        try:
            link: Link = self._s_link
            facts = _Facts(self.protocol, self.recv_messages)  # type: ignore[attr-defined]
        except AttributeError:  # it was never built, or never connected
            return
        if link.open:
            dropped(cast("Tap", _Dropped(link, facts)), _clock())


class _AsyncWatching(_Either):
    """A connection of asyncio's that tells what it sends and receives."""

    __slots__ = ()

    async def recv(self, *args: Any, **kwargs: Any) -> Any:
        plain: Any = super()
        link = self._s_link
        asked = link.ask()
        try:
            message = await plain.recv(*args, **kwargs)
        except BaseException as error:
            self._s_refused(error, asked)
            raise
        link.received(as_received(message, _decode(args, kwargs, 0)))
        return message

    async def recv_streaming(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        plain: Any = super()
        link, whole = self._s_link, Joined()
        pieces = plain.recv_streaming(*args, **kwargs)
        asked = link.ask()
        away, at = False, 0
        try:
            async for piece in pieces:
                at = link.pause(asked)
                whole.add(piece)
                away = True
                yield piece
                away = False
                asked = link.ask()
        except BaseException as error:
            if away:  # the reader's: it closes this, or throws something in
                await pieces.aclose()
            else:
                self._s_refused(error, asked)
            raise
        link.received(as_received(whole.whole(), _decode(args, kwargs, 0)), at)

    async def send(self, message: Any, *args: Any, **kwargs: Any) -> None:
        plain: Any = super()
        link = self._s_link
        waits = self.send_in_progress is not None  # type: ignore[attr-defined]
        passed, note = noted(message, _text(args, kwargs), asynchronous=True)
        link.sending(note)
        try:
            await plain.send(passed, *args, **kwargs)
        except BaseException as error:
            # Cancelled, it was waiting for a slow agent: what it had to send is written.
            link.sent(note, done=isinstance(error, asyncio.CancelledError) and not waits)
            if isinstance(error, ConnectionClosed):
                link.lost(self)
            raise
        link.sent(note)

    async def close(self, *args: Any, **kwargs: Any) -> None:
        plain: Any = super()
        self._s_link.give_up(self)
        try:
            await plain.close(*args, **kwargs)
        finally:
            self._s_link.closed(self)

    def _s_refused(self, error: BaseException, asked: bool) -> None:
        if isinstance(error, ConnectionClosed):
            self._s_link.closed(self)
        else:
            self._s_link.unanswered(error, asked)


class _Watching(_Either):
    """A connection of threads that tells what it sends and receives."""

    __slots__ = ()

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        plain: Any = super()
        self._s_warned()
        link = self._s_link
        asked = link.ask()
        try:
            message = plain.recv(*args, **kwargs)
        except BaseException as error:
            self._s_refused(error, asked)
            raise
        link.received(as_received(message, _decode(args, kwargs, 1)))
        return message

    def recv_streaming(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        plain: Any = super()
        self._s_warned()
        link, whole = self._s_link, Joined()
        pieces = plain.recv_streaming(*args, **kwargs)
        asked = link.ask()
        away, at = False, 0
        try:
            for piece in pieces:
                at = link.pause(asked)
                whole.add(piece)
                away = True
                yield piece
                away = False
                asked = link.ask()
        except BaseException as error:
            if away:
                pieces.close()
            else:
                self._s_refused(error, asked)
            raise
        link.received(as_received(whole.whole(), _decode(args, kwargs, 0)), at)

    def send(self, message: Any, *args: Any, **kwargs: Any) -> None:
        plain: Any = super()
        self._s_warned()
        link = self._s_link
        passed, note = noted(message, _text(args, kwargs), asynchronous=False)
        link.sending(note)
        try:
            plain.send(passed, *args, **kwargs)
        except BaseException as error:
            link.sent(note, done=False)
            if isinstance(error, ConnectionClosed):
                link.lost(self)
            raise
        link.sent(note)

    def close(self, *args: Any, **kwargs: Any) -> None:
        plain: Any = super()
        self._s_warned()
        self._s_link.give_up(self)
        try:
            plain.close(*args, **kwargs)
        finally:
            self._s_link.closed(self)

    def _s_refused(self, error: BaseException, asked: bool) -> None:
        if isinstance(error, ConnectionClosed):
            self._s_link.closed(self)
        else:
            self._s_link.unanswered(error, asked)

    @property
    def _s_warned(self) -> Callable[[], None]:
        """What warns of a use that is deprecated. Called from here it names the caller's line, as it does in the
        library; called from there it would name ours."""
        found: Callable[[], None] = getattr(self, "maybe_raise_legacy_warning", _nothing)
        return found


def _nothing() -> None:
    return None


class _Facts(NamedTuple):
    """What is left of a connection that was dropped."""

    protocol: Any
    recv_messages: Any


class _Dropped:
    """A connection that was dropped, as what ends dropped streams sees it."""

    __slots__ = ("_facts", "_link")
    ended = False

    def __init__(self, link: Link, facts: _Facts) -> None:
        self._link = link
        self._facts = facts

    def end_at(self, at: int, *, outcome: Outcome) -> None:
        self._link.dropped(self._facts, outcome)


@lru_cache(maxsize=64)
def _class_for(kind: Any) -> Any:
    """The class of a watched connection; None where that keeps its state in slots, which cannot be shared."""
    if any(base.__dict__.get("__slots__") for base in kind.__mro__):
        return None
    ours = (_AsyncBegun, _AsyncWatching) if inspect.iscoroutinefunction(kind.recv) else (_Begun, _Watching)
    body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (*ours, kind), {**body, "__slots__": _SLOTS})


def is_watched(connection: object) -> bool:
    return isinstance(connection, _Either)


def watching(connection: Any, conversation: Conversation) -> Any:
    """`connection`, watched from now on; as it is where it cannot be."""
    own: Any = type(connection)
    kind = _class_for(own)
    if kind is None:
        conversation.end(outcome=Outcome.ABANDONED)
        return connection
    double = object.__new__(kind)
    object.__setattr__(double, "__dict__", connection.__dict__)
    double._s_wrapped = connection
    _watched(double, connection, conversation)
    return double


def _watched(double: Any, connection: Any, conversation: Conversation) -> None:
    ready()
    double._s_link = Link(conversation)
    lost = getattr(connection, "connection_lost_waiter", None)
    if lost is not None:
        told = partial(_lost, weakref.ref(double._s_link), weakref.ref(connection))
        lost.add_done_callback(told, context=contextvars.Context())


class _AsyncBegun:
    """What one of asyncio's is besides that is watched from its handshake on."""

    __slots__ = ()
    _s_begin: Begin
    _s_failed: Failed

    async def handshake(self, headers: Any = None, *args: Any, **kwargs: Any) -> None:
        plain: Any = super()
        conversation, headers = self._s_begin(self, headers)
        try:
            await plain.handshake(headers, *args, **kwargs)
        except BaseException as error:
            self._s_failed(conversation, error)
            raise
        _connected(self, conversation)


class _Begun:
    __slots__ = ()
    _s_begin: Begin
    _s_failed: Failed

    def handshake(self, headers: Any = None, *args: Any, **kwargs: Any) -> None:
        plain: Any = super()
        conversation, headers = self._s_begin(self, headers)
        try:
            plain.handshake(headers, *args, **kwargs)
        except BaseException as error:
            self._s_failed(conversation, error)
            raise
        _connected(self, conversation)


def _connected(connection: Any, conversation: Conversation) -> None:
    conversation.answered(connection.response.status_code)
    _watched(connection, connection, conversation)


def creating(kind: Any, begin: Begin, failed: Failed) -> Callable[..., Any]:
    """What makes connections of that class that are watched; for the library's `create_connection`."""
    made = _class_for(kind)
    if made is None:
        return kind  # type: ignore[no-any-return]

    def create(*args: Any, **kwargs: Any) -> Any:
        connection = object.__new__(made)
        connection._s_begin, connection._s_failed = begin, failed
        connection.__init__(*args, **kwargs)
        return connection

    return create


def _lost(link: weakref.ref[Link], connection: weakref.ref[Any], waiter: Any) -> None:
    found, lost = link(), connection()
    if found is not None and lost is not None:
        found.lost(lost)


def _decode(args: tuple[Any, ...], kwargs: dict[str, Any], place: int) -> Any:
    return args[place] if len(args) > place else kwargs.get("decode")


def _text(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("text")
