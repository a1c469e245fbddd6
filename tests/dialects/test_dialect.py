"""What every dialect inherits."""

from __future__ import annotations

from typing import Any

import pytest

from streamgauge.dialects import Dialect
from streamgauge.dialects._dialect import field, loaded, plain

ANCHOR = 1_700_000_000_000_000_000
AT = 60_000_000_000
NOW_S = (ANCHOR + AT) / 1e9


@pytest.mark.parametrize(
    ("epoch_s", "expected"),
    [
        (NOW_S - 2, AT - 2_000_000_000),
        (int(NOW_S) - 60, 0),
        (NOW_S + 5, AT),
        (NOW_S - 100_000, AT),
        (float("nan"), AT),
        (float("inf"), AT),
        (-1e299, AT),
        (1e299, AT),
        (10**400, AT),
        (True, AT),
        ("1700000000", AT),
        (None, AT),
    ],
)
def test_an_events_own_clock(epoch_s: Any, expected: int) -> None:
    """Not from the future, nor from another day; and whatever stands where a time should."""
    dialect = Dialect()
    dialect.anchor = ANCHOR
    assert dialect.when(epoch_s, AT) == pytest.approx(expected, abs=1_000)


def test_fields_of_anything() -> None:
    class Thing:
        a = 1

    assert [field(each, "a", 9) for each in (Thing(), {"a": 1}, {}, None, 5)] == [1, 1, 9, 9, 9]


@pytest.mark.parametrize(
    ("data", "expected"),
    [('{"a": 1}', {"a": 1}), (b"[1]", [1]), ("no", None), (b"\xff", None), (7, 7), ("[" * 9999, None)],
)
def test_what_is_framed_is_loaded(data: Any, expected: Any) -> None:
    assert loaded(data) == expected


def test_an_enum_in_words() -> None:
    assert [plain(each) for each in (None, "x", 5)] == ["", "x", "5"]
