"""One exchange: a caller's request, the upstream's answer, and who has to wait for whom.

A state machine of callbacks, without a task of its own: the front and the upstream's connection call it, and the
server's sweep asks it whether a time has passed. Everything is handed on before the tap is told of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from streamgauge.transports._exchange import HELD_BYTES
from streamgauge.transports.http import heads
from streamgauge.transports.http.heads import Answer, Fields, Request
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.transports.http.front import Front
    from streamgauge.transports.http.routes import Lane

__all__ = ["Relay"]

_clock = time.monotonic_ns

_NEW, _CONNECTING, _WAITING, _PAUSING, _ANSWERING, _OVER = range(6)
_STALE_NS = 1_000_000_000
"""A connection that was idle, and is lost within this time of being used, had been closed by the upstream before. Later
than that the upstream may have acted on the request, which is then not sent again unasked."""

_MESSAGES = {
    "connect_error": (502, "upstream_unreachable", "the upstream cannot be reached"),
    "tls_error": (502, "upstream_unreachable", "the upstream cannot be reached by verified TLS"),
    "connect_timeout": (504, "upstream_timeout", "the upstream could not be reached in time"),
    "first_byte_timeout": (504, "upstream_timeout", "the upstream did not answer in time"),
    "total_timeout": (504, "upstream_timeout", "the upstream did not answer in time"),
    "connection_lost": (502, "upstream_failed", "the upstream closed the connection without an answer"),
    "bad_response": (502, "upstream_failed", "the upstream's answer is not HTTP"),
    "shutdown": (503, "shutting_down", "the proxy is shutting down"),
}


def _nowhere(data: bytes) -> None:
    """Where the answer goes when the caller has gone."""


class Relay:
    """From a request's head to the end of its answer."""

    upgrades: ClassVar[bool] = False
    """A 101 is an answer."""

    __slots__ = ("_added", "_adds", "_answer", "_attempt", "_chunked", "_finished", "_free", "_hold", "_kept",
                 "_kept_bytes", "_like", "_paused", "_replayed", "_room", "_since", "_sink", "_state", "_target",
                 "_timer", "_trailers", "_until", "_up", "_write", "at", "exchange", "front", "lane",
                 "request")  # fmt: skip

    def __init__(self, front: Front, lane: Lane, request: Request, at: int) -> None:
        self.front: Front | None = front
        self.lane = lane
        self.request = request
        self.at = at
        """When its head came."""
        self._target = lane.target(request.path) + request.query
        self.exchange = self._watched()
        self._write: Callable[[bytes], None] = front.write
        self._sink: Any = None
        """Where it is kept what passed, once the answer's head has."""
        self._added: Callable[[int], None] | None = None
        """Given how long a piece was held up, before it is told."""
        self._adds: Callable[[int], None] | None = None
        """The same, of what is held."""
        self._hold: Callable[[tuple[bytes, int, int]], None] | None = None
        self._like: bytes | tuple[()] = ()
        """What a piece ends with that need not be told at once, but may be held until then, while there is room."""
        self._until = self._room = 0
        self._up: Any = None
        self._state = _NEW
        self._since = at
        """When its state began; of an answer, when its last byte came."""
        self._paused = 0
        """Since when the caller, slow, holds the answer; 0 when it does not."""
        self._kept: list[bytes] | None = []
        """The request's body so far, while it may have to be sent again."""
        self._kept_bytes = 0
        self._answer: tuple[Answer, bytes] | None = None
        """With its head, while that waits for the body's first piece, which came with it."""
        self._trailers = b""
        self._finished = False
        """The request is complete."""
        self._free = True
        """The upstream takes more of the request."""
        self._chunked = False
        """The answer's body is, on the caller's side."""
        self._attempt = 0
        self._replayed = False
        self._timer: asyncio.TimerHandle | None = None
        lane.active += 1

    def _watched(self) -> Any:
        """The exchange as it is told of."""
        lane, request = self.lane, self.request
        return lane.watch.exchange(
            request.method.decode("latin-1"),
            self._target.decode("latin-1"),
            request.fields,
            at=self.at,
            server_address=lane.host,
            server_port=lane.port,
            scheme=lane.scheme,
            lows=request.lows,
        )

    # The request ------------------------------------------------------------------------------------------------

    @property
    def is_new(self) -> bool:
        return self._state == _NEW

    def open(self) -> None:
        """Find a connection, and send what there is of the request. What came with its head is here already."""
        if self.lane.route.replace_traceparent:
            self._tell_request()  # the span that goes along is to know what is asked for
            self._connect(self.at, fresh=False)
        else:
            self._connect(self.at, fresh=False)
            self._tell_request()
        self._forget_much()

    def _tell_request(self) -> None:
        for data in self._kept or ():
            self.exchange.sent(data)
        if self._finished:
            self.exchange.requested()

    def _connect(self, at: int, *, fresh: bool) -> None:
        self._timer = None
        self._state = _CONNECTING
        self._since = at
        up = self.lane.pool.take(self, fresh=fresh)
        if up is not None:
            self._send(up)
        elif self._kept_bytes > self.lane.limits.high_water_bytes:
            self.hold_caller(True)

    def connected(self, up: Any) -> None:
        """The pool has a connection."""
        self._since = _clock()
        self._send(up)
        self._forget_much()
        self._let_caller()

    def _send(self, up: Any) -> None:
        lane, request = self.lane, self.request
        carried = self.exchange.traceparent() if lane.route.replace_traceparent else None
        head = heads.upstream_head(request, self._target, lane.host_line, carried)
        self._up = up
        self._state = _WAITING
        self._free = True
        up.begin(self, head, bodiless=request.method == b"HEAD", chunked=request.chunked)
        up.send_all(self._kept or (), self._trailers if self._finished else None)
        if lane.route.http2 and self.waits_for_100():  # HTTP/2 has no use for it
            self.request.continues = False
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def unconnected(self, reason: str) -> None:
        """The pool has none."""
        retries = self.lane.route.retries
        if retries is not None and retries.connect_errors and self._again(reason):
            return
        self.fail(Outcome.FAILED, reason)

    def body(self, data: bytes) -> None:
        """A piece of the request."""
        if self._state == _OVER:
            return
        up = self._up
        if up is not None:
            up.send(data)
            if self._state == _WAITING:
                self._since = _clock()
        if self._kept is not None:
            self._kept.append(data)
            self._kept_bytes += len(data)
            if self._state == _NEW:
                return
            if up is not None:
                self._forget_much()
            elif self._kept_bytes > self.lane.limits.high_water_bytes:
                self.hold_caller(True)
        self.exchange.sent(data)

    def finish(self, trailers: Fields | None) -> None:
        """The request is complete."""
        if self._state == _OVER:
            return
        self._finished = True
        if trailers:
            self._trailers = heads.trailer_lines(trailers)
        if self._up is not None:
            self._up.finish(self._trailers)
            if self._state == _WAITING:
                self._since = _clock()
        if self._state != _NEW:
            self.exchange.requested()

    def hold_caller(self, held: bool) -> None:
        """The upstream takes no more of the request for now; or does again."""
        self._free = not held
        self._let_caller()

    def _let_caller(self) -> None:
        if self.front is not None:
            self.front.hold(not self._free)

    def _forget_much(self) -> None:
        if self._up is not None and self._kept_bytes > self.lane.limits.replay_bytes:
            self._kept = None

    # The answer -------------------------------------------------------------------------------------------------

    def informational(self, answer: Answer) -> None:
        """An answer before the answer: 100 or 103. A caller of HTTP/1.0 knows none."""
        if self.front is not None and not self.request.is_1_0:
            self._write(heads.answer_head(answer, chunked=False, close=False, trailers=False, bodiless=True))

    def switched(self, answer: Answer, behind: bytes, at: int) -> None:
        """The answer is 101; `behind` came behind its head. Only where it `upgrades`."""
        raise NotImplementedError

    def answered(self, answer: Answer, at: int, *, more: bool = False) -> None:
        """The answer's head came. Afterwards the connection is this exchange's no more, if it is to be tried again.

        Args:
            more: the same read brought more: `began` or `complete` follows.
        """
        retries = self.lane.route.retries
        if retries is not None and answer.status in retries.statuses and self._again(str(answer.status), answer):
            return
        request = self.request
        status = answer.status
        bodiless = status == 204 or status == 304 or request.method == b"HEAD"
        self._chunked = not bodiless and answer.length is None and not request.is_1_0
        self._state = _ANSWERING
        self._since = at
        self._kept = None
        head = b""
        if self.front is not None:
            head = heads.answer_head(
                answer,
                chunked=self._chunked,
                close=self.front.is_last(request),
                trailers=request.trailers and self._chunked,
                bodiless=status == 204,
            )
        if more:
            self._answer = answer, head
        else:
            self._write(head)
            self._responded(answer)

    def _responded(self, answer: Answer) -> None:
        exchange = self.exchange
        exchange.responded(answer.status, answer.fields)
        self._sink = sink = exchange.sink
        if sink is not None:
            self._hold = exchange.held.append
            if self.front is not None:
                self._added, self._adds = sink.added, sink.holds.append

    def began(self, data: bytes, at: int) -> None:
        """The first piece of the answer's body came with its head."""
        assert self._answer is not None
        answer, head = self._answer
        self._answer = None
        self._write(b"%b%x\r\n%b\r\n" % (head, len(data), data) if self._chunked else head + data)
        self._responded(answer)
        self._tell(data, at)

    def data(self, data: bytes, at: int, chunks: bytes = b"") -> None:
        """A piece of the answer's body, read at `at`.

        Args:
            chunks: the same as it came, in whole chunks.
        """
        asked, self._since = self._since, at
        self._write((chunks or b"%x\r\n%b\r\n" % (len(data), data)) if self._chunked else data)
        if at < self._until and self._room > 0 and data.endswith(self._like):
            # Most pieces of most streams: told one by one they cost as much as to pass them on.
            self._hold((data, asked, at))  # type: ignore[misc]
            self._room -= len(data)
            self._sink.asked = at
            if self._adds is not None:
                self._adds(_clock() - at)
        else:
            self._tell(data, at)

    def _tell(self, data: bytes, at: int) -> None:
        """A piece has been handed on."""
        if self._sink is None:
            return
        if self._added is not None:
            self._added(_clock() - at)
        self._like, self._until = self.exchange.told(data, at)
        self._room = HELD_BYTES

    def complete(self, data: bytes | None, at: int, trailers: Fields | None) -> None:
        """The answer is complete, with this last piece."""
        up, self._up = self._up, None
        out = []
        held = self._answer
        if held is not None:
            self._answer = None
            out.append(held[1])
        if self._chunked:
            if data:
                out.append(b"%x\r\n%b\r\n" % (len(data), data))
            out.append(b"0\r\n%b\r\n" % (heads.trailer_lines(trailers) if trailers and self.request.trailers else b""))
        elif data:
            out.append(data)
        if out:
            self._write(b"".join(out) if len(out) > 1 else out[0])
        if self._paused:
            up.resume()
        up.release(whole=self._finished)
        exchange = self.exchange
        if held is not None:
            self._responded(held[0])
        if data:
            self._tell(data, at)
        exchange.end()
        front = self._over()
        if front is not None:
            front.answered()

    def lost(self, reason: str, *, started: bool) -> None:
        """The upstream's connection is no more, or what it says is no HTTP.

        Args:
            started: some byte of an answer came.
        """
        up, self._up = self._up, None
        if self._state == _ANSWERING:
            self._end(Outcome.TRUNCATED, reason)
            return
        if not started:
            quick = _clock() - self._since < _STALE_NS or self.request.idempotent
            if up.reused and quick and self._kept is not None and not self._replayed:
                self._replayed = True
                self._connect(_clock(), fresh=True)
                self._let_caller()
                return
            retries = self.lane.route.retries
            if retries is not None and retries.connect_errors and self._again(reason):
                return
        self.fail(Outcome.FAILED, reason)

    # Again ------------------------------------------------------------------------------------------------------

    def _again(self, reason: str, answer: Answer | None = None) -> bool:
        """Try again after a while, if the route says so and the request is still at hand."""
        retries, request = self.lane.route.retries, self.request
        if retries is None or self._attempt >= retries.attempts or self._kept is None or self.front is None:
            return False
        if not retries.allows(request.method, request.fields):
            return False
        delay_s = min(retries.backoff_s * 2**self._attempt, retries.max_backoff_s) * random.uniform(0.5, 1.0)  # noqa: S311
        if answer is not None and answer.retry_after:
            asked = answer.retry_after
            if not asked.isdigit() or int(asked) > retries.max_retry_after_s:
                return False  # a date, or too long: the caller is told, and decides
            delay_s = max(delay_s, float(asked))
        if self._up is not None:
            self._up.abort()
            self._up = None
        self._attempt += 1
        self._state = _PAUSING
        self._since = _clock()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._retry)
        self.exchange.retrying(self._attempt, reason, delay_s)
        return True

    def _retry(self) -> None:
        self._connect(_clock(), fresh=False)
        self._let_caller()

    # A slow caller, and one that has gone -----------------------------------------------------------------------

    def pause(self) -> None:
        """The caller does not take what there is: read no more of it."""
        if self._state == _ANSWERING and self._up is not None:
            self._paused = _clock()
            self._up.pause()
            self.exchange.paused()

    def resume(self) -> None:
        """The caller takes more."""
        if self._paused:
            self._paused = 0
            self._since = _clock()
            if self._up is not None:
                self._up.resume()
                self.exchange.resumed()

    def gone(self) -> None:
        """The caller has gone. What becomes of the upstream is the route's to say; an incomplete request is of no use
        to it, though."""
        if self._state == _OVER:
            return
        front, self.front = self.front, None
        self._write = _nowhere
        policy = self.lane.route.on_disconnect if self._finished and not self.upgrades else "cancel"
        if policy == "drain" and front is not None:
            self._added = self._adds = None
            self.lane.orphans.add(self)
            self.exchange.disconnected(policy)
            self.resume()
            return
        self._let_up_go()
        self.exchange.disconnected(policy)
        self.exchange.end(outcome=Outcome.ABANDONED)
        self._over()

    # Ends -------------------------------------------------------------------------------------------------------

    def check(self, now: int) -> None:
        """Whether a time has passed."""
        if self._until and self._until < now:
            self._until = 0
            self.exchange.tell_held()
        limits = self.lane.limits
        state, waited_s = self._state, (now - self._since) / 1e9
        if limits.total_timeout_s and now - self.at > limits.total_timeout_s * 1e9:
            self.fail(Outcome.TIMED_OUT, "total_timeout")
        elif state == _CONNECTING:
            if 0 < limits.connect_timeout_s < waited_s:
                self.fail(Outcome.TIMED_OUT, "connect_timeout")
        elif state == _WAITING:
            patience_s = limits.handshake_timeout_s if self.upgrades else limits.first_byte_timeout_s
            if self._finished and 0 < patience_s < waited_s:
                self.fail(Outcome.TIMED_OUT, "first_byte_timeout")
        elif state == _ANSWERING:
            if self._paused:
                if 0 < limits.write_timeout_s < (now - self._paused) / 1e9 and self.front is not None:
                    self.front.abort()
            elif 0 < limits.idle_timeout_s < waited_s:
                self.fail(Outcome.TIMED_OUT, "idle_timeout")

    def waits_for_100(self) -> bool:
        """The caller may rightly be silent, as it was not told to go on."""
        return self.request.continues and not self._kept_bytes and self._state <= _WAITING

    def shut(self) -> None:
        """The server ends."""
        self.fail(Outcome.SHUTDOWN, "shutdown")

    def refuse(self, refused: heads.Refused) -> None:
        """The request's rest is not one that is served."""
        if self._state == _OVER:
            return
        self._let_up_go()
        self.exchange.end(outcome=Outcome.FAILED, error_type=refused.kind)
        answering = self._state == _ANSWERING
        front = self._over()
        if front is not None:
            if answering:
                front.cut()
            else:
                front.refuse(refused)

    def fail(self, outcome: Outcome, reason: str) -> None:
        """It ends otherwise than by an answer: the caller gets an error, or, within an answer, a cut."""
        if self._state == _OVER:
            return
        self._let_up_go()
        if self._state == _ANSWERING:
            self._end(outcome, reason)
            return
        self.exchange.end(outcome=outcome, error_type=reason)
        front = self._over()
        if front is not None:
            front.refuse(heads.Refused(*_MESSAGES.get(reason, _MESSAGES["connection_lost"])))

    def _end(self, outcome: Outcome, reason: str) -> None:
        """Within an answer: its end is never made up."""
        front = self._over()
        if front is not None:
            front.cut()
        self.exchange.end(outcome=outcome, error_type=reason)

    def _let_up_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._up is not None:
            self._up.abort()
            self._up = None
        elif self._state == _CONNECTING:
            self.lane.pool.give_up(self)

    def _over(self) -> Front | None:
        """The exchange has ended; what is left is its caller, if there is one."""
        front, self.front = self.front, None
        if front is None:
            self.lane.orphans.discard(self)
        self._state = _OVER
        self._kept = None
        self.lane.active -= 1
        return front
