"""Limits: each may be set, none to nonsense."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from streamgauge.errors import UsageError
from streamgauge.transports.http import Limits, limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), "1", None, True])
def test_nonsense_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_zero_is_no_time_limit_but_no_size() -> None:
    assert Limits(idle_timeout_s=0).idle_timeout_s == 0
    with pytest.raises(UsageError, match="max_streams is at least 1"):
        Limits(max_streams=0)


def test_each_limit_is_explained() -> None:
    source = Path(limits.__file__).read_text()
    for field in fields(Limits):
        assert re.search(rf'    {field.name}: \w+ = [\w.]+\n    """\w', source), field.name


def test_memory_per_stream_is_the_sum_of_what_may_be_held() -> None:
    small = Limits(max_header_bytes=1, high_water_bytes=1, pipelined_bytes=1, replay_bytes=1)
    assert small.memory_per_stream == 6 + 2 * 262_144
    assert Limits().memory_per_stream < 2 * 1_048_576
