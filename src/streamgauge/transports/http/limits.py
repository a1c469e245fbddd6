"""Every limit of the proxy: its default, its unit, and why it is that."""

from __future__ import annotations

from dataclasses import dataclass, fields

from streamgauge.errors import UsageError

__all__ = ["Limits"]

_MAY_BE_NONE = ("max_body_bytes", "max_message_bytes", "pool_size", "replay_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server, and one route of it, puts up with. A time of 0 is no limit.

    A route's own limits stand for `max_body_bytes`, `max_streams`, the times of its upstream, the pool and the replay;
    what concerns a connection before its route is known (heads, idle times, `max_connections`) is always the server's.

    Raises: UsageError for a limit that cannot be.
    """

    max_target_bytes: int = 8_192
    """A request's target. Nginx and most servers end there too. Answered with 414."""
    max_header_bytes: int = 65_536
    """A whole head, of a request (431) or of an answer (502); also trailers. Room for several signed tokens."""
    max_headers: int = 128
    """Fields in a head; SDKs send about 20. As `max_header_bytes`."""
    max_body_bytes: int = 67_108_864
    """A request's body: twice what model APIs take (32 MB); 0 for no limit. Answered with 413."""
    max_message_bytes: int = 67_108_864
    """A WebSocket's message, either side's, as its frames say; 0 for no limit. Both sides are closed with 1009."""
    max_streams: int = 1_000
    """Open exchanges and WebSockets per route; beyond, 503 with Retry-After. What one core carries at a usual pace."""
    max_connections: int = 4_096
    """Callers' connections in all, idle ones too; beyond, 503 with Retry-After."""
    high_water_bytes: int = 65_536
    """What waits for a slow reader, in each direction, before the other side is no longer read."""
    pipelined_bytes: int = 65_536
    """What a caller may send ahead of the answer to its last request; beyond, it is no longer read."""
    replay_bytes: int = 262_144
    """A request's body up to this is kept until the first byte of the answer, so that it can be sent again."""

    header_timeout_s: float = 10.0
    """From a head's first byte to its last, and a TLS handshake (slow header attacks). Answered with 408."""
    body_idle_timeout_s: float = 30.0
    """Between two pieces of a request's body (slow body attacks). Answered with 408."""
    keepalive_timeout_s: float = 75.0
    """A caller's idle connection; longer than the 5 to 60 s after which clients and balancers drop theirs."""
    write_timeout_s: float = 300.0
    """A caller that takes nothing for so long, while data waits for it, is gone."""
    connect_timeout_s: float = 10.0
    """Name, TCP and TLS. Answered with 504."""
    first_byte_timeout_s: float = 600.0
    """From the request's end to the answer's head: the openai and anthropic SDKs wait as long. 504."""
    handshake_timeout_s: float = 10.0
    """From a WebSocket's request to the upstream's answer; clients wait no longer. 504."""
    idle_timeout_s: float = 600.0
    """Between two bytes of an answer; a model that thinks may be silent for minutes. The caller's answer is cut. Of a
    WebSocket in either direction, pings too; both sides are closed with 1008."""
    total_timeout_s: float = 3_600.0
    """A whole exchange, also one that is read on after its caller has gone. A WebSocket has no such limit."""
    pool_idle_s: float = 4.0
    """An upstream connection that nobody uses: uvicorn and Node close theirs after 5 s, others later."""
    pool_size: int = 256
    """Upstream connections kept for reuse, per route."""
    linger_s: float = 2.0
    """After an answer that came before the request's end, the rest is read for so long, so that the caller gets the
    answer and not a reset."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise UsageError(f"{field.name} is a number, not {value!r}")
            may_be_none = field.name.endswith("_s") or field.name in _MAY_BE_NONE
            least = 0 if may_be_none else 1
            if value < least:
                raise UsageError(f"{field.name} is at least {least}, not {value!r}")

    @property
    def memory_per_stream(self) -> int:
        """Bytes that one exchange may hold at most, without what the kernel holds: the head, both buffers with one
        read each (256 KiB) on top, what was pipelined and the body that may be sent again."""
        reads = 2 * 262_144
        return 2 * self.max_header_bytes + 2 * self.high_water_bytes + self.pipelined_bytes + self.replay_bytes + reads
