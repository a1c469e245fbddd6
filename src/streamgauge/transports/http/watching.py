"""What the proxy needs of the tap: the two roles that it is given. No method raises, awaits or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from streamgauge.wire import Outcome

__all__ = ["Exchange", "Headers", "Unwatched", "Watch"]

Headers = Sequence[tuple[bytes, bytes]]
"""Names in any case."""


class Exchange(Protocol):
    """One request and its answer. Told of each thing after it was handed on.

    One that has `written` besides, a callable, is given of each piece of the answer when it was read and when it was
    written (monotonic ns).
    """

    def sent(self, data: bytes) -> None: ...
    def requested(self) -> None: ...
    def traceparent(self) -> dict[str, str]: ...
    def retrying(self, attempt: int, reason: str, delay_s: float | None) -> None: ...
    def responded(self, status: int, headers: Headers) -> None: ...
    def data(self, data: bytes, at: int) -> None: ...
    def paused(self) -> None: ...
    def resumed(self) -> None: ...
    def disconnected(self, policy: str) -> None: ...
    def end(
        self, error: BaseException | None = None, *, outcome: Outcome | None = None, error_type: str = ""
    ) -> None: ...


class Watch(Protocol):
    """What one route is watched with."""

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
    ) -> Exchange: ...


class Unwatched:
    """A route that nobody watches, and each exchange of it."""

    __slots__ = ()

    def exchange(self, *args: Any, **kwargs: Any) -> Unwatched:
        return self

    def traceparent(self) -> dict[str, str]:
        return {}

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        pass

    sent = requested = retrying = responded = data = paused = resumed = disconnected = end = _nothing
