"""What a transport tells of its exchanges, written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamgauge.wire import Outcome


class Sink:
    """Its `asked` is set when the caller asks for the next piece."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def asked(self) -> int:
        return 1

    @asked.setter
    def asked(self, at: int) -> None:
        assert at > 0
        self._exchange.resumed()


@dataclass
class Exchange:
    """One exchange, as it was told."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    server: tuple[str, str, int]
    """Scheme, address, port."""
    calls: list[str] = field(default_factory=list)
    """Method names, in order; a run of `data` and `resumed` is told by `pieces`."""
    body: bytes = b""
    status: int = 0
    answer: list[tuple[bytes, bytes]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    asks: int = 0
    ends: list[tuple[BaseException | None, Outcome | None, str]] = field(default_factory=list)
    """(error, outcome, error_type) of each call of `end`; only the first counts."""

    watched: bool = True

    @property
    def ended(self) -> bool:
        return bool(self.ends)

    @property
    def how(self) -> tuple[Outcome | None, str, str]:
        """(outcome, error_type, the error's type) of the end."""
        error, outcome, error_type = self.ends[0]
        return outcome, error_type, type(error).__name__ if error is not None else ""

    def sent(self, data: bytes) -> None:
        self.calls.append("sent")
        self.body += data

    def requested(self) -> None:
        self.calls.append("requested")

    def traceparent(self) -> dict[str, str]:
        return {"traceparent": "00-ours-01"}

    def responded(self, status: int, headers: Any) -> None:
        self.calls.append("responded")
        self.status, self.answer = status, list(headers)

    def data(self, data: bytes, at: int) -> None:
        assert not self.ended
        assert at > 0
        self.pieces.append(data)

    def told(self, data: bytes, at: int) -> tuple[bytes | tuple[()], int]:
        self.data(data, at)
        return (), 0

    @property
    def held(self) -> list[tuple[bytes, int, int]]:
        return []

    @property
    def sink(self) -> Sink:
        return Sink(self)

    def resumed(self) -> None:
        self.asks += 1

    def end(self, error: BaseException | None = None, *, outcome: Outcome | None = None, error_type: str = "") -> None:
        self.calls.append("end")
        self.watched = False
        self.ends.append((error, outcome, error_type))


class Watch:
    """Makes exchanges, and keeps them. Also the gauge that gives it."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.facts: dict[str, Any] = {}

    def exchange(
        self, method: str, target: str, headers: Any, *, at: int | None = None,
        server_address: str = "", server_port: int = 0, scheme: str = "https",
    ) -> Exchange:  # fmt: skip
        made = Exchange(method, target, list(headers), (scheme, server_address, server_port))
        self.exchanges.append(made)
        return made

    def watch(self, **facts: Any) -> Watch:
        self.facts = facts
        return self
