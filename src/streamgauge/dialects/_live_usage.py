"""What one turn of Gemini Live has used: its last generation's tokens as they were told last, and those before it."""

from __future__ import annotations

from typing import Any

from streamgauge.dialects._answers import word
from streamgauge.dialects._audio_tokens import audio_tokens
from streamgauge.dialects._dialect import field
from streamgauge.dialects._gemini_parts import either, used
from streamgauge.signals import RUN, Signal, Usage

__all__ = ["Used"]


class Used:
    """The tokens of one turn."""

    __slots__ = ("_before", "last")

    def __init__(self) -> None:
        self.last: Any = None
        """The usage of the generation that goes on, as it was told last."""
        self._before: tuple[int | None, ...] = ()

    def again(self, at: int) -> None:
        """Another generation begins."""
        if self.last is not None:
            self._before, self.last = self._sum(at), None

    def told(self, at: int) -> list[Signal]:
        """The turn's usage; nothing where none was told."""
        last, total = self.last, self._sum(at)
        self.last, self._before = None, ()
        if all(each is None for each in total):
            return []
        taken = _sound(either(last, "promptTokensDetails", "prompt_tokens_details"))
        given = _sound(either(last, "responseTokensDetails", "response_tokens_details"))
        return [Usage(RUN, at, *total), *audio_tokens(taken, given, at)]

    def _sum(self, at: int) -> tuple[int | None, ...]:
        now = used(self.last, at) if self.last is not None else None
        counts = now.counts() if now is not None else ()
        if self._before and counts:
            return tuple(_added(pair) for pair in zip(self._before, counts, strict=True))
        return counts or self._before


def _added(pair: tuple[int | None, int | None]) -> int | None:
    known = [each for each in pair if each is not None]
    return sum(known) if known else None


def _sound(details: Any) -> Any:
    """The tokens of sound, of those of each modality."""
    for each in details if isinstance(details, list) else ():
        if word(field(each, "modality")) == "AUDIO":
            return either(each, "tokenCount", "token_count")
    return None
