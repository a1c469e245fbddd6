"""A WebSocket's handshake (RFC 6455, 4): which requests are one, and the exchange that it is."""

from __future__ import annotations

import re
from typing import Any

from streamgauge.transports._conversation import Conversation
from streamgauge.transports._exchange import CARRIED
from streamgauge.transports.http import heads
from streamgauge.transports.http.heads import Answer, Refused, Request
from streamgauge.transports.http.relay import Relay
from streamgauge.transports.http.routes import Lane
from streamgauge.transports.http.websocket import WebSocket
from streamgauge.wire import Outcome

__all__ = ["Handshake", "is_asked_for", "judge"]

_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
"""16 bytes in base64."""


def is_asked_for(request: Request) -> bool:
    """Whether the request's offer to upgrade is of a WebSocket; any other is passed over."""
    return b"websocket" in [word.strip() for word in request.upgrade.lower().split(b",")]


def judge(request: Request, lane: Lane) -> None:
    """Take the request for a handshake.

    Raises: Refused, where it is none of RFC 6455, or could not go on.
    """
    if lane.route.http2:
        raise Refused(
            501, "upgrade_unsupported", "this route's upstream is spoken to over HTTP/2: it has no WebSockets"
        )
    if request.is_1_0:
        raise Refused(426, "upgrade_required", "a WebSocket begins with a request of HTTP/1.1")
    if request.method != b"GET" or request.has_body or not request.offers:
        raise Refused(400, "bad_request", "a WebSocket begins with a GET with Connection: Upgrade, and without a body")
    keys, versions = [], []
    for line in request.lines:  # what goes on
        name, _, value = line.partition(b":")
        match name.lower():
            case b"sec-websocket-key":
                keys.append(value.strip())
            case b"sec-websocket-version":
                versions.append(value.strip())
    if versions != [b"13"]:
        raise Refused(426, "upgrade_required", "of WebSocket, only version 13 is spoken")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise Refused(400, "bad_request", "a Sec-WebSocket-Key that is none")
    request.switches = True


class _Asking:
    """A handshake as a relay tells of it."""

    __slots__ = ("_status", "conversation")

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self._status = 0

    def traceparent(self) -> dict[str, str]:
        return self.conversation.traceparent()

    def responded(self, status: int, headers: heads.Fields) -> None:
        self._status = status
        self.conversation.answered(status)

    def disconnected(self, policy: str) -> None:
        self.conversation.aside("http.disconnected", {"policy": policy})

    def end(self, error: BaseException | None = None, *, outcome: Outcome | None = None, error_type: str = "") -> None:
        if self._status:  # an answer that opened no WebSocket, whatever became of its body
            outcome, error_type = Outcome.FAILED, str(self._status)
        self.conversation.end(error, outcome=outcome, error_type=error_type)

    def _nothing(self, *args: Any) -> None:
        pass

    sink = None  # a body is of no interest
    sent = requested = retrying = paused = resumed = _nothing


class Handshake(Relay):
    """From a WebSocket's request to the answer. One that is not a 101 goes to the caller like that of any request."""

    upgrades = True

    __slots__ = ()

    def _watched(self) -> _Asking:
        lane, request = self.lane, self.request
        carrier = {
            name.lower().decode("latin-1"): value.decode("latin-1")
            for name, value in request.fields
            if name.lower() in CARRIED
        }
        return _Asking(
            lane.conversations(
                self._target.decode("latin-1"),
                carrier,
                at=self.at,
                server_address=lane.host,
                server_port=lane.port,
            )
        )

    def switched(self, answer: Answer, behind: bytes, at: int) -> None:
        up, self._up = self._up, None
        front = self._over()
        assert front is not None  # when the caller goes, the upstream's connection does
        self._write(heads.switching_head(answer))
        WebSocket(front, up.detach(), self.lane, self.exchange.conversation, answer).begin(behind, at)
