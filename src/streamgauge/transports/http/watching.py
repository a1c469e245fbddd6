"""What the proxy needs of the tap: the two roles that it is given. No method raises, awaits or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from streamgauge.wire import Outcome

__all__ = ["Exchange", "Headers", "Unwatched", "Watch"]

Headers = Sequence[tuple[bytes, bytes]]
"""Names in any case."""


class Exchange(Protocol):
    """One request and its answer. Told of each thing after it was handed on."""

    @property
    def sink(self) -> Any:
        """Once its head was told: where it is kept when the next piece was asked for (`asked`), and what each piece
        was held up for (`added`, ns; `holds.append` for those that are `held`); None where nobody watches."""

    @property
    def held(self) -> list[tuple[bytes, int, int]]:
        """(data, asked, at) of pieces that are `told` later."""

    def sent(self, data: bytes) -> None: ...
    def requested(self) -> None: ...
    def traceparent(self) -> dict[str, str]: ...
    def retrying(self, attempt: int, reason: str, delay_s: float | None) -> None: ...
    def responded(self, status: int, headers: Headers) -> None: ...
    def told(self, data: bytes, at: int) -> tuple[bytes | tuple[()], int]:
        """A piece of the answer, and before it those that are held.

        Returns: what a piece ends with that may be held from now on, and until when.
        """

    def tell_held(self) -> None: ...
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
        lows: Sequence[bytes] | None = None,
    ) -> Exchange: ...


class Unwatched:
    """A route that nobody watches, and each exchange of it."""

    __slots__ = ()

    def exchange(self, *args: Any, **kwargs: Any) -> Unwatched:
        return self

    def traceparent(self) -> dict[str, str]:
        return {}

    sink = None

    @property
    def held(self) -> list[tuple[bytes, int, int]]:
        return []

    def told(self, data: bytes, at: int) -> tuple[tuple[()], int]:
        return (), 0

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        pass

    sent = requested = retrying = responded = tell_held = paused = resumed = disconnected = end = _nothing
