"""How many of a model call's tokens are sound: they have a price of their own, and no series of their own."""

from __future__ import annotations

from typing import Final

from streamgauge import semconv
from streamgauge.dialects._answers import count
from streamgauge.signals import RUN, Noted, Signal

__all__ = ["INPUT_AUDIO_TOKENS", "OUTPUT_AUDIO_TOKENS", "audio_tokens"]

INPUT_AUDIO_TOKENS: Final = semconv.STREAMGAUGE_USAGE_INPUT_AUDIO_TOKENS
OUTPUT_AUDIO_TOKENS: Final = semconv.STREAMGAUGE_USAGE_OUTPUT_AUDIO_TOKENS


def audio_tokens(taken: object, given: object, at: int) -> list[Signal]:
    """What the run took and gave of them, where it did."""
    facts = {INPUT_AUDIO_TOKENS: count(taken), OUTPUT_AUDIO_TOKENS: count(given)}
    known = {name: value for name, value in facts.items() if value}
    return [Noted(RUN, at, known)] if known else []
