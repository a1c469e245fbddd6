"""A WebSocket that is open: each side's bytes go to the other as they came.

Masks, the cuts between frames and what the two sides agreed on (extensions, subprotocol) are theirs. A copy is read for
the tap. The frames are followed in any case: a message that is too long is stopped before it goes on, and where the
proxy itself ends a WebSocket, its close frame must stand between two others.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streamgauge.errors import FramingError
from streamgauge.framing.websocket import CLOSE, Control, Deflate, Skipped, WebSocketFraming, close_frame, extensions
from streamgauge.transports._conversation import Conversation
from streamgauge.transports.http._kernel import has_left
from streamgauge.transports.http.heads import Answer
from streamgauge.transports.http.routes import Lane
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.transports.http.front import Front

__all__ = ["WebSocket"]

_clock = time.monotonic_ns

_GOING_AWAY, _LOST, _POLICY, _TOO_BIG = 1001, 1006, 1008, 1009
"""Close codes (RFC 6455, 7.4.1)."""


class _Side(asyncio.Protocol):
    """One of the two connections, and the frames that come over it."""

    __slots__ = ("__weakref__", "alone", "at", "by", "ended", "frames", "gone", "other", "socket", "stuck", "transport",
                 "write")  # fmt: skip

    other: _Side

    def __init__(self, by: str, transport: Any, frames: WebSocketFraming, socket: WebSocket) -> None:
        self.by = by
        self.transport = transport
        self.frames = frames
        self.socket = socket
        self.write: Callable[[bytes], None] = transport.write
        self.alone = frames.alone
        self.at = 0
        """When something last came."""
        self.stuck = 0
        """Since when it does not take what is written to it; 0 when it does."""
        self.ended = False
        """Nothing more comes."""
        self.gone = False
        """The connection is no more."""

    def eof_received(self) -> None:
        self.socket.ends(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self.socket.ends(self)
        self.socket.left()

    def pause_writing(self) -> None:
        self.stuck = _clock()
        self.socket.hold(self.other)

    def resume_writing(self) -> None:
        self.stuck = 0
        self.socket.let(self.other)


class _Caller(_Side):
    __slots__ = ("_sent",)

    def listen(self, conversation: Conversation) -> None:
        self._sent = conversation.sent

    def data_received(self, data: bytes) -> None:
        at = self.at = _clock()
        text = self.alone(data)
        if text is None:
            self.socket.relay(self, data, at)
            return
        self.other.write(data)
        self._sent(text, at)


class _Agent(_Side):
    __slots__ = ("_received", "_write", "_written")

    def listen(self, conversation: Conversation) -> None:
        self._write = self.other.write
        self._received = conversation.received
        self._written = conversation.written

    def data_received(self, data: bytes) -> None:
        at = self.at = _clock()
        text = self.alone(data)
        if text is None:
            self.socket.relay(self, data, at)
            return
        self._write(data)
        self._written(at, _clock())
        self._received(text, at)


def _not_alone(data: bytes) -> str | None:
    return None


class WebSocket:
    """One WebSocket, with both its sides. To the server it is the caller's connection."""

    __slots__ = ("_blinded", "_deadline", "_lane", "_silent", "agent", "caller", "conversation", "server")

    def __init__(self, front: Front, upstream: Any, lane: Lane, conversation: Conversation, answer: Answer) -> None:
        """
        Args:
            upstream: the transport of its connection.
            answer: what the handshake was answered with.
        """
        self.server = front.server
        self.conversation = conversation
        self._lane = lane
        self._blinded = False
        self._silent = False
        """The proxy has ended it: what still comes goes nowhere."""
        self._deadline = 0
        """When what is left of it is cut (ns); 0 for not yet."""
        fields = [value for name, value in answer.fields if name.lower() == b"sec-websocket-extensions"]
        agreed = extensions(b",".join(fields).decode("latin-1"))
        most, reads = lane.limits.max_message_bytes, conversation.watched and agreed.known

        def frames(deflate: Deflate | None) -> WebSocketFraming:
            return WebSocketFraming(deflate=deflate, max_message_bytes=most, reads=reads)

        self.caller = _Caller("caller", front.transport, frames(agreed.client), self)
        self.agent = _Agent("agent", upstream, frames(agreed.server), self)
        self.caller.other, self.agent.other = self.agent, self.caller
        for side in (self.caller, self.agent):
            side.listen(conversation)
        if not agreed.known:
            self._blind("an extension that is not known here")
        ahead, stuck = front.detach()
        lane.active += 1
        self.server.fronts.add(self)
        for side in (self.caller, self.agent):
            side.transport.set_protocol(side)
        if stuck:
            self.caller.pause_writing()
        conversation.answered(101)
        if ahead:
            self.caller.data_received(ahead)

    def begin(self, behind: bytes, at: int) -> None:
        """
        Args:
            behind: what came with the answer's head, at that time.
        """
        self.caller.at = self.agent.at = at
        if behind:
            self.agent.data_received(behind)
        if self.server.closing:
            self.end(now=False)

    # What passes -------------------------------------------------------------------------------------------------

    def relay(self, side: _Side, data: bytes, at: int) -> None:
        """What came over one side, where that is not just one message of text."""
        frames, other = side.frames, side.other
        passes = frames.walk(data)
        if self._silent or other.ended:
            if frames.closing:
                self._part(side)
            return
        if passes == len(data):
            other.write(data)
        elif passes:
            other.write(data[:passes])
        conversation, is_agent = self.conversation, side is self.agent
        if is_agent:
            conversation.written(at, _clock())
        for event in frames.read():
            if isinstance(event, Control):
                if event.opcode == CLOSE:
                    conversation.closed(*event.close, side.by)
            elif isinstance(event, Skipped):
                conversation.skipped(at, came=is_agent)
            elif is_agent:
                conversation.received(event, at)
            else:
                conversation.sent(event, at)
        if frames.broken:
            self._blind(frames.broken)
        if frames.too_large:
            self.server.refused("message_too_large")
            self.close(_TOO_BIG, f"a message is at most {self._lane.limits.max_message_bytes} bytes")
            self.relay(side, data[passes:], at)

    def _blind(self, why: str) -> None:
        tap = self.conversation.tap
        if tap is not None and not self._blinded:
            self._blinded = True
            tap.unread(FramingError(why))

    def hold(self, side: _Side) -> None:
        """Read no more of a side, as the other one takes nothing."""
        if self._silent or side.transport.is_closing():
            return
        side.transport.pause_reading()
        if side is self.agent:
            self.conversation.paused()
        else:
            self.server.watch(self)

    def let(self, side: _Side) -> None:
        """Read on."""
        if self._silent or side.transport.is_closing():
            return
        side.transport.resume_reading()
        if side is self.agent:
            self.conversation.resumed()
        else:
            self.server.paused.discard(self)

    # Ends --------------------------------------------------------------------------------------------------------

    def ends(self, side: _Side) -> None:
        """Nothing more comes from a side: the other one gets what was on the way to it, and ends too."""
        if side.ended:
            return
        side.ended = True
        if not self._silent:
            side.other.alone = _not_alone
            self._part(side.other)
        self.conversation.closed(_LOST, "", side.by)  # where there was a close frame, that has counted

    def _part(self, side: _Side) -> None:
        """Close a side when what was written to it has gone out."""
        if not self._deadline:
            self._deadline = self.server.due(self._lane.limits.write_timeout_s)
        side.transport.close()

    def left(self) -> None:
        """A connection is no more; with the second one all is over."""
        server = self.server
        if self.caller.gone:
            server.paused.discard(self)
            if self.agent.gone:
                self._silent = True
                self._lane.active -= 1
                server.fronts.discard(self)
                for side in (self.caller, self.agent):
                    del side.other, side.socket  # no cycle is left for the collector
                server.left()

    def close(self, code: int, reason: str = "", *, outcome: Outcome | None = None, error_type: str = "") -> None:
        """End it from here: with a close frame to each side, wherever one can stand, and some time for the answer.

        Args:
            outcome: where that is not what the code says.
        """
        if self._silent:
            return
        self._silent = True
        self._deadline = self.server.due(self.server.limits.linger_s or 0.001)
        self.server.paused.discard(self)
        for side in (self.caller, self.agent):
            side.alone = _not_alone
            before = side.other.frames  # what it was sent up to here
            if side.ended or before.closing or not before.between:
                self._part(side)
                continue
            side.write(close_frame(code, reason, key=os.urandom(4) if side is self.agent else b""))
            if side.frames.closing:
                self._part(side)
            elif side.other.stuck:
                side.transport.resume_reading()
        for side in (self.caller, self.agent):
            side.frames.only_follow()
        if outcome is None:
            self.conversation.closed(code, reason, "proxy")
        else:
            self.conversation.aside("closed", {"code": code, "reason": reason, "by": "proxy"})
            self.conversation.end(outcome=outcome, error_type=error_type)

    # What the server asks of a connection ------------------------------------------------------------------------

    def check(self, now: int) -> None:
        """Whether a time has passed."""
        if self._deadline:
            if now > self._deadline:
                self.abort()
            return
        limits = self._lane.limits
        for side in (self.caller, self.agent):
            if side.stuck:
                if 0 < limits.write_timeout_s < (now - side.stuck) / 1e9:
                    side.transport.abort()
                return
        if self.server.closing:
            self.end(now=False)
        elif 0 < limits.idle_timeout_s < (now - max(self.caller.at, self.agent.at)) / 1e9:
            self.close(_POLICY, "nothing was said for too long", outcome=Outcome.TIMED_OUT, error_type="idle_timeout")

    def end(self, *, now: bool) -> None:
        """The server ends: `now`; or where nothing is under way, between two frames."""
        if now or (not self._busy and self.caller.frames.between and self.agent.frames.between):
            self.close(_GOING_AWAY)

    @property
    def _busy(self) -> bool:
        """A turn is under way; or nobody knows."""
        tap = self.conversation.tap
        return tap is None or tap.sink.run_open

    def has_left(self) -> bool:
        """Asked of the kernel, while the caller is not read."""
        return has_left(self.caller.transport)

    def abort(self) -> None:
        """Cut what is left of it. Unless the proxy does so, the caller has gone, while the agent took nothing."""
        self.ends(self.caller)
        self.caller.transport.abort()
        self.agent.transport.abort()
