"""One HTTP request and its answer, as the tap sees them: what the proxy, the client transport and the ASGI middleware
have in common.

The transport tells an `Exchange` what has passed, after it has passed; no method raises, awaits or blocks. Which
dialect an exchange is of is known from its route or its path when the request is complete; one of no known path is
watched by the `generic` dialect if its answer turns out to be a stream, and else left alone.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import itemgetter, methodcaller
from typing import Any, TypeAlias

from streamgauge.tap import Tap
from streamgauge.transports._passing import Passing
from streamgauge.wire import Aside, Outcome

__all__ = ["CARRIED", "Exchange", "Headers", "Opener", "Watch"]

_clock = time.monotonic_ns

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names in any case."""
Opener: TypeAlias = Callable[["Asked"], "Tap | None"]
"""Opens the tap of an exchange; None where nothing is to be watched."""

MAX_BODY_BYTES = 1_048_576
"""Of a request, to be looked at for its model and parameters; a larger one is passed on all the same."""
_UNTYPED = "application/octet-stream"
"""What an answer is that does not say (RFC 9110, 8.3)."""
HELD_BYTES = 16_384
"""About 60 chunks of a model's."""
HELD_NS = 250_000_000
"""The first piece after that tells them."""
_REMEMBERED = 4_096
"""Requests whose next attempt is known as one."""
_REMEMBERED_NS = 600_000_000_000

CARRIED = frozenset(
    {
        b"traceparent", b"tracestate", b"baggage", b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled",
        b"x-b3-parentspanid", b"x-b3-flags", b"uber-trace-id", b"x-amzn-trace-id",
    }
)  # fmt: skip
"""What a propagator may read. No other header goes any further."""
_WANTED = CARRIED | {b"content-type", b"x-stainless-retry-count", b"idempotency-key"}
"""Of a request."""
_TELLING = frozenset({b"content-type", b"content-encoding"})
"""Of an answer."""
_name = itemgetter(0)
_lower = methodcaller("lower")


class Asked:
    """What is known of a request when it is complete."""

    __slots__ = ("at", "body", "carrier", "content_type", "media_type", "method", "resent", "server_address",
                 "server_port", "target")  # fmt: skip

    def __init__(self, method: str, target: str, at: int, server_address: str, server_port: int) -> None:
        self.method = method
        self.target = target
        """The path, with its query."""
        self.at = at
        self.server_address = server_address
        self.server_port = server_port
        self.carrier: dict[str, str] = {}
        """The trace context that came with it."""
        self.content_type = ""
        self.body: bytes | None = b""
        """None where it was too large to keep."""
        self.media_type: str | None = None
        """Of the answer, where that had to be waited for."""
        self.resent = 0
        """Which attempt this is, after the first."""


class Watch:
    """What a transport is given: it makes an `Exchange` of each request."""

    __slots__ = ("_eager", "_failures", "_open", "_propagate")

    def __init__(self, opener: Opener, propagate: Callable[[Tap], dict[str, str]], *, eager: bool = True) -> None:
        """
        Args:
            propagate: the headers that carry a tap's span.
            eager: see `Passing`.
        """
        self._open = opener
        self._propagate = propagate
        self._eager = eager
        self._failures: OrderedDict[tuple[bytes, ...], tuple[int, str, int]] = OrderedDict()
        """Request: (attempts so far, why the last one failed, when); to know the next attempt by."""

    def exchange(
        self,
        method: str,
        target: str,
        headers: Headers,
        *,
        at: int | None = None,
        server_address: str = "",
        server_port: int = 0,
        scheme: str = "https",
        lows: Sequence[bytes] | None = None,
    ) -> Exchange:
        """A request begins.

        Args:
            target: the path, with its query.
            at: when, where it is not now.
            server_address, server_port: whom it is for.
            lows: the headers' names in lower case, where they are at hand.
        """
        asked = Asked(method, target, _clock() if at is None else at, server_address, server_port)
        return Exchange(self, asked, headers, lows)

    # Attempts: the same request again ---------------------------------------------------------------------------

    def attempt(self, keys: Sequence[tuple[bytes, ...]], at: int) -> tuple[int, str, int]:
        """(how many attempts of this request failed before, why the last did, when)."""
        for key in keys:
            found = self._failures.get(key)
            if found is not None and at - found[2] < _REMEMBERED_NS:
                return found
        return (0, "", 0)

    def failed(self, keys: Sequence[tuple[bytes, ...]], attempts: int, reason: str, at: int) -> None:
        for key in keys:
            self._failures[key] = (attempts, reason, at)
            self._failures.move_to_end(key)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, keys: Sequence[tuple[bytes, ...]]) -> None:
        for key in keys:
            self._failures.pop(key, None)


class Exchange(Passing):
    """One request and its answer. Every method is safe to call at any time, in any order; none raises."""

    __slots__ = ("__weakref__", "_asked", "_attempts", "_body", "_ended", "_head", "_keys", "_size", "_watch")

    def __init__(self, watch: Watch, asked: Asked, headers: Headers, lows: Sequence[bytes] | None = None) -> None:
        super().__init__(None, eager=watch._eager)
        self._watch = watch
        self._asked = asked
        self._body: list[bytes] | None = []
        self._size = 0
        self._ended = False
        self._attempts = 0
        self._head: dict[str, Any] | None = None
        self._keys: list[tuple[bytes, ...]] = []
        retry = key = trace = b""
        if lows is None:
            lows = list(map(_lower, map(_name, headers)))
        for number in compress(range(len(lows)), map(_WANTED.__contains__, lows)):  # no step of ours for all the others
            name, value = lows[number], headers[number][1]
            if name == b"content-type":
                asked.content_type = value.decode("latin-1")
            elif name == b"x-stainless-retry-count":
                retry = value
            elif name == b"idempotency-key":
                key = value
            else:
                asked.carrier[name.decode("latin-1")] = value.decode("latin-1")
                if name == b"traceparent":
                    trace = value.split(b"-")[1] if value.count(b"-") >= 3 else b""
        if key:
            self._keys.append((b"key", key))
        elif trace:
            self._keys.append((trace, asked.target.encode("utf-8", "replace")))
        if retry.isdigit() and len(retry) < 4:
            asked.resent = int(retry)

    # The request ------------------------------------------------------------------------------------------------

    def sent(self, data: bytes) -> None:
        """A piece of the request's body passed."""
        if self._body is None:
            return
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            self._body = None
        else:
            self._body.append(bytes(data))

    def requested(self) -> None:
        """The request is complete: from here on its stream is open, since the exchange began."""
        if self._tap is None and not self._ended:
            self._open()

    def _open(self, media_type: str | None = None) -> None:
        asked, body = self._asked, self._body
        asked.body = None if body is None else body[0] if len(body) == 1 else b"".join(body)
        asked.media_type = media_type
        self._tap = self._watch._open(asked)
        if self._tap is None:
            return
        asked.body, self._body = b"", []  # it is not kept for the length of the stream
        self._sink = self._tap.sink
        self._sink.asked = asked.at
        before, reason, when = self._watch.attempt(self._keys, asked.at) if self._keys else (0, "", 0)
        attempt = max(asked.resent, before)
        if attempt:
            delay_s = (asked.at - when) / 1e9 if when else None
            self._tap.aside_at(
                Aside("http.retry", {"attempt": attempt, "reason": reason, "delay_s": delay_s}), asked.at
            )
        self._attempts = attempt

    def traceparent(self) -> dict[str, str]:
        """The headers that carry this exchange's span, in lower case. Its stream is opened by this if it is not yet,
        and then without what the request's body would have told."""
        if self._tap is None and not self._ended:
            self._open("")
        return self._watch._propagate(self._tap) if self._tap is not None else {}

    def retrying(self, attempt: int, reason: str, delay_s: float | None = None) -> None:
        """The transport itself tries again."""
        if self._tap is not None:
            self._tap.aside("http.retry", {"attempt": attempt, "reason": reason, "delay_s": delay_s})

    # The answer -------------------------------------------------------------------------------------------------

    def responded(self, status: int, headers: Headers) -> None:
        """The answer's head came."""
        if self._ended:
            return
        content_type = coding = ""
        lows = list(map(_lower, map(_name, headers)))
        for number in compress(range(len(lows)), map(_TELLING.__contains__, lows)):
            value = headers[number][1]
            if lows[number] == b"content-type":
                content_type = value.decode("latin-1")
            else:
                coding = f"{coding},{value.decode('latin-1')}" if coding else value.decode("latin-1")
        if self._tap is None:
            self._open(content_type or _UNTYPED)
        self._head = {"status": status, "content_type": content_type, "coding": coding}
        if self._tap is not None:
            self._tap.aside("http.response", self._head)

    def told(self, data: bytes, at: int) -> tuple[bytes | tuple[()], int]:
        """As `data`, after what is `held`.

        Returns: what the pieces end with that may be held from now on, and until when.
        """
        tap = self._tap
        if tap is None:
            return (), 0
        if tap.held:
            tap.tell_held()
        self.data(data, at)
        return tap.alike, at + HELD_NS

    def tell_held(self) -> None:
        """What is `held`, where nothing more has come for a while."""
        if self._tap is not None and self._tap.held:
            self._tap.tell_held()

    @property
    def held(self) -> list[tuple[bytes, int, int]]:
        """Pieces that have not been told yet, as (data, asked, at). A transport keeps there what looks like one more
        chunk like the last, up to `HELD_BYTES`: between two pieces other work takes all that the processor had at
        hand, so that what is told alone costs three times as much as what is told together. What is of another kind
        is `told` at once, after these. They are told before an end, too, whoever brings that about."""
        return self._tap.held if self._tap is not None else []

    def disconnected(self, policy: str) -> None:
        """The caller has gone; `policy` is what the transport does then: `cancel` or `drain`."""
        if self._tap is not None:
            self._tap.aside("http.disconnected", {"policy": policy})

    def end(self, error: BaseException | None = None, *, outcome: Outcome | None = None, error_type: str = "") -> None:
        """The answer is complete, or has ended otherwise. Only the first call counts."""
        if self._ended:
            return
        self._ended = True
        if self._tap is None and (error is not None or outcome is not None) and self._head is None:
            self._open()  # it failed before it was complete
        tap, self._tap = self._tap, None
        if tap is None:
            return
        at = _clock()
        tap.end_at(at, error, outcome=outcome, error_type=error_type)
        if self._keys:
            self._remember(outcome, error, error_type, at)

    def _remember(self, outcome: Outcome | None, error: BaseException | None, error_type: str, at: int) -> None:
        status = self._head["status"] if self._head is not None else 0
        if status >= 400:
            reason = str(status)
        elif outcome in (Outcome.FAILED, Outcome.TRUNCATED, Outcome.TIMED_OUT) or (error is not None and not outcome):
            reason = error_type or (type(error).__qualname__ if error is not None else str(outcome))
        else:
            self._watch.succeeded(self._keys)
            return
        self._watch.failed(self._keys, self._attempts + 1, reason, at)

    @property
    def sink(self) -> Any:
        """Where it is kept when the next piece was asked for; None where no stream was opened."""
        return self._sink


def described(headers: Mapping[str, str]) -> Headers:
    """Headers of a mapping, as an exchange takes them."""
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()]
