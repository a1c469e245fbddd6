"""What Claude Code says that a session has used and cost: it counts on over all turns, and a turn's share is what was
added since the last one.

Source: as `streamgauge.dialects.claude_code` has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from streamgauge.dialects._answers import count
from streamgauge.dialects._dialect import field

__all__ = ["Tokens", "Totals", "added", "tokens_of"]

Tokens: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""Input (cached included), output, read from the cache, written to it."""

_OF_TURN: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_OF_MODEL: Final = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")


def tokens_of(usage: Any, names: tuple[str, ...] = _OF_TURN) -> Tokens | None:
    """None where nobody counted: zeros are of a message that the CLI wrote itself."""
    taken, given, read, written = (count(field(usage, name)) for name in names)
    if taken is not None:
        taken += (read or 0) + (written or 0)
    return (taken, given, read, written) if taken or given else None


def added(one: Tokens | None, other: Tokens | None) -> Tokens | None:
    if one is None or other is None:
        return one or other
    taken, given, read, written = (
        a if b is None else b if a is None else a + b for a, b in zip(one, other, strict=True)
    )
    return taken, given, read, written


class Totals:
    """What was told up to now."""

    __slots__ = ("_cost", "_known", "_tokens", "cost")

    def __init__(self) -> None:
        self.cost: float | None = None
        """Of the session, as last told."""
        self._cost = 0.0
        self._tokens: Tokens = (0, 0, 0, 0)
        self._known = True

    def resumed(self) -> None:
        """The first total has what was spent in an earlier process."""
        self._known = False

    def reset(self) -> None:
        """The CLI counts from zero again."""
        self._cost, self._tokens, self._known = 0.0, (0, 0, 0, 0), True

    def turn(self, result: Any) -> tuple[float | None, Tokens | None]:
        """What the turn of a `result` has cost and used; None where that cannot be told."""
        known, own = self._known, tokens_of(field(result, "usage"))
        cost, share = _number(field(result, "total_cost_usd")), None
        models = field(result, "modelUsage")
        if not cost and not models:
            cost = None  # a crash is told with zeros
        if cost is not None:
            share = round(cost - self._cost if cost >= self._cost else cost, 9) if known else None
            self.cost = self._cost = cost
        total: Tokens | None = None
        for usage in models.values() if isinstance(models, Mapping) else ():
            total = added(total, tokens_of(usage, _OF_MODEL))
        if cost is not None or total is not None:
            self._known = True
        if total is None:
            return share, own
        before, self._tokens = self._tokens, total
        grown = tuple((now or 0) - (then or 0) for now, then in zip(total, before, strict=True))
        if not known or min(grown) < 0:
            return share, own
        taken, given, read, written = grown
        return share, (taken, given, read, written) if taken or given else own


def _number(value: Any) -> float | None:
    known = value.__class__ in (int, float) and 0 <= value < 1e12  # nor NaN
    return float(value) if known else None
