"""Routes: which paths go to which upstream, and under which terms; and what belongs to a route while it is served."""

from __future__ import annotations

import hmac
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from streamgauge.errors import UsageError
from streamgauge.transports._conversation import Conversation
from streamgauge.transports.http.heads import Refused, is_keyed
from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.watching import Unwatched, Watch

__all__ = ["Lane", "Retries", "Route", "Table", "unwatched"]

_UPSTREAM = "http://host[:port][/path] or https://..."


@dataclass(frozen=True, slots=True)
class Retries:
    """Which failures before the first byte of an answer are tried again by the proxy, and how.

    Nothing is, unless a route says so: SDKs retry by themselves, and two who do multiply.
    """

    attempts: int = 2
    """After the first one."""
    methods: frozenset[str] = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
    """Idempotent ones. Any request with an `Idempotency-Key` counts as one too."""
    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    connect_errors: bool = True
    """Also a connection that cannot be made, or is lost before the first byte."""
    backoff_s: float = 0.5
    """Before the first retry; doubled for each further one. A random half of it is left out."""
    max_backoff_s: float = 8.0
    max_retry_after_s: float = 30.0
    """An upstream that asks for a longer pause is not asked again; the caller gets its answer."""

    def allows(self, method: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bool:
        return method.decode("latin-1") in self.methods or is_keyed(fields)


@dataclass(frozen=True, slots=True)
class Route:
    """Paths that begin with `prefix`, and the one upstream that they go to.

    Raises: UsageError, which says what is allowed.
    """

    prefix: str
    """`/` for all; a whole segment else: `/openai` is `/openai` and `/openai/...`. It is not sent on."""
    upstream: str
    """`http` or `https`, with a path to put in front of the rest where there is one."""
    dialect: str = ""
    """For who makes the watch; the transport does not look at it."""
    watch: Watch | None = None
    conversations: Callable[..., Conversation] | None = None
    """What WebSockets are watched with, as `duplex.watch` makes it."""
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    """When the caller goes: end the upstream's answer at once; or read it to its end, for what it tells."""
    retries: Retries | None = None
    replace_traceparent: bool = False
    """Send our span's trace context instead of the caller's."""
    tokens: tuple[str, ...] = ()
    """A caller must send one of these as `x-streamgauge-token`; none: anybody is served."""
    limits: Limits | None = None
    """Instead of the server's."""
    http2: bool = False
    """Speak HTTP/2 to the upstream, through httpx."""
    ca_file: str = ""
    """Trust these certificates (PEM) instead of the system's."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"/(?:[!$-.0-9:-~]+(?:/[!$-.0-9:-~]+)*)?", self.prefix) or "?" in self.prefix:
            raise UsageError(f"a route's prefix is a path like /openai, not {self.prefix!r}")
        if any(segment in (".", "..") for segment in self.prefix.split("/")):
            raise UsageError(f"a route's prefix has no dot segments: {self.prefix!r}")
        try:
            url = urlsplit(self.upstream)
            good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            good = False
        if not good or not self.upstream.isascii() or re.search(r"[\x00-\x20\x7f]", self.upstream):
            raise UsageError(f"a route's upstream is {_UPSTREAM}, not {self.upstream!r}")
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise UsageError(f"a route's upstream is {_UPSTREAM}: no user, query or fragment")
        if self.on_disconnect not in ("cancel", "drain"):
            raise UsageError(f"on_disconnect is cancel or drain, not {self.on_disconnect!r}")
        if any(not token or not token.isascii() or not token.isprintable() for token in self.tokens):
            raise UsageError("a route's token is printable ASCII, and not empty")


def unwatched(*args: Any, **about: Any) -> Conversation:
    """A WebSocket that nobody watches."""
    return Conversation(None, lambda tap: {})


@dataclass(eq=False, slots=True)
class Lane:
    """A route while it is served: what can be made ready once is."""

    route: Route
    limits: Limits
    pool: Any = None
    """Where its upstream connections come from."""
    active: int = 0
    """Exchanges under way."""
    orphans: set[Any] = field(default_factory=set)
    """Those that are read to their end though their caller has gone."""
    prefix: bytes = b""
    base: bytes = b""
    """The upstream's own path, without a slash at its end."""
    host_line: bytes = b""
    host: str = ""
    port: int = 0
    scheme: str = "https"
    watch: Watch = field(default_factory=Unwatched)
    conversations: Callable[..., Conversation] = unwatched
    _tokens: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        route = self.route
        url = urlsplit(route.upstream)
        self.prefix = route.prefix.rstrip("/").encode()
        self.base = url.path.rstrip("/").encode()
        self.scheme = url.scheme
        self.host = url.hostname or ""
        self.port = url.port or (443 if url.scheme == "https" else 80)
        self.host_line = f"Host: {url.netloc}".encode()
        self.watch = route.watch if route.watch is not None else Unwatched()
        self.conversations = route.conversations or unwatched
        self._tokens = tuple(token.encode() for token in route.tokens)

    def admit(self, tokens: list[bytes]) -> None:
        """Raises: Refused, unless the caller may be served, now."""
        if self._tokens:
            given = tokens[0] if len(tokens) == 1 else b""
            known = False
            for token in self._tokens:  # all of them, so that the time says nothing
                known |= hmac.compare_digest(given, token)
            if not known:
                raise Refused(401, "unauthorized", "this route asks for a token in x-streamgauge-token")
        if self.active >= self.limits.max_streams:
            raise Refused(503, "overloaded", "too many open streams on this route")

    def target(self, path: bytes) -> bytes:
        """The upstream's path for one of a caller's."""
        return self.base + path[len(self.prefix) :] or b"/"

    def context(self) -> ssl.SSLContext | None:
        """For TLS to the upstream: verified, hostname too."""
        if self.scheme != "https":
            return None
        context = ssl.create_default_context(cafile=self.route.ca_file or None)
        context.set_alpn_protocols(["h2"] if self.route.http2 else ["http/1.1"])
        return context


class Table:
    """All routes; the longest prefix counts.

    Raises: UsageError, for none or two of one prefix.
    """

    __slots__ = ("_all", "_found", "lanes")

    _MOST = 1_024
    """Paths remembered; an agent's are few."""

    def __init__(self, routes: Sequence[Route], limits: Limits) -> None:
        if not routes:
            raise UsageError("no route: nothing could be served")
        self.lanes = [Lane(route, route.limits or limits) for route in routes]
        prefixes = [lane.prefix for lane in self.lanes]
        twice = {prefix for prefix in prefixes if prefixes.count(prefix) > 1}
        if twice:
            raise UsageError(f"two routes with the prefix {(twice.pop() or b'/').decode()!r}")
        self._all = sorted(self.lanes, key=lambda lane: -len(lane.prefix))
        self._found: dict[bytes, Lane] = {}

    def find(self, path: bytes) -> Lane:
        """Raises: Refused, where no route is for that path."""
        lane = self._found.get(path)
        if lane is not None:
            return lane
        for lane in self._all:
            prefix = lane.prefix
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/"):
                if len(path) <= 256:
                    if len(self._found) >= self._MOST:
                        self._found.clear()
                    self._found[path] = lane
                return lane
        raise Refused(404, "no_route", "no route is for this path")
