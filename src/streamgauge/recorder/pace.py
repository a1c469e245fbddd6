"""How fast a run's output came: the time per output token, over all operations that generated some. Pure arithmetic."""

from __future__ import annotations

from streamgauge.recorder.operations import Operation
from streamgauge.signals import REASONING

__all__ = ["Pace"]


class Pace:
    """The operations of one run, added as they end. What lies between them (tools, retries) is nobody's pace."""

    __slots__ = ("_gap_ns", "_later", "_reasons", "_starts")

    def __init__(self) -> None:
        self._gap_ns = 0
        """The time from each operation's first chunk to its last."""
        self._later = 0
        """What was generated in it: tokens, and chunks where the tokens are not known."""
        self._starts = 0
        """First chunks: what was generated before the time began."""
        self._reasons = False
        """The stream shows the reasoning; else its tokens were generated unseen."""

    def add(self, operation: Operation) -> None:
        """One of the run's operations, or the run itself, has ended."""
        gaps = operation.gap_count()
        reasons = operation.others is not None and REASONING in operation.others
        self._gap_ns += operation.gap_total()
        self._starts += operation.segments
        self._reasons |= reasons
        tokens = _tokens(operation, reasons) - operation.segments
        self._later += tokens if tokens > 0 and gaps else gaps

    def per_token_s(self, run: Operation) -> float:
        """Seconds per output token after the first; 0 where fewer than two came. `run` was added last."""
        later = self._later
        if not run.child_usage:  # only the run itself knows its tokens
            tokens = _tokens(run, self._reasons) - self._starts
            later = tokens if tokens > 0 else later
        return self._gap_ns / later / 1e9 if later else 0.0


def _tokens(operation: Operation, reasons: bool) -> int:
    """The output tokens that its chunks are made of; 0 where that is not known."""
    used = dict(operation.tokens())
    return used.get("output", 0) - (0 if reasons else used.get("reasoning", 0))
