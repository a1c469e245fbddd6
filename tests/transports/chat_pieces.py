"""Pieces of a chat's answer, for tests of what is held; and what is recorded of a stream of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st

from conftest import HandClock
from streamgauge import tap, testing
from streamgauge.aggregates import Distribution
from streamgauge.transports import _exchange, _passing

T = TypeVar("T")


def said(text: str, finish: str | None = None, kind: str = "content") -> bytes:
    delta = {kind: text} if text else {}
    chunk = {"id": "chatcmpl-1", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


HEAD, FINISH, DONE = said("a"), said("", "stop"), b"data: [DONE]\n\n"
PIECES = st.one_of(
    st.builds(said, st.sampled_from([" word", "é", '"\n', "x" * 900, "👍"])),
    st.builds(said, st.just("thought"), st.none(), st.just("reasoning")),
    st.sampled_from([HEAD, b": still here\n\n", said("a") + said("b"), said("cut")[:40], said("cut")[40:], b"x}\n\n"]),
)


def recorded(read: Callable[[HandClock, list[T]], None], steps: list[T], transport: ModuleType) -> Any:
    """All that is recorded of a stream, by a clock that `read` moves.

    Args:
        transport: the module whose clock that is, too.
    """
    clock = HandClock()
    with pytest.MonkeyPatch.context() as patch, testing.recording() as seen:
        for module in (transport, _exchange, _passing, tap):
            patch.setattr(module, "_clock", clock)
        read(clock, steps)
        (span,) = seen.spans
        metrics = {
            (name, labels): (value.counts, value.sum) if isinstance(value, Distribution) else value
            for name, family in seen.families.items()
            for labels, value in family.series.items()
        }
        return metrics, span["attributes"], span["end"] - span["start"], span["events"], span["status"]
