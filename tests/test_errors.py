"""The tree of errors is as its module draws it, by blame; each message says what to do."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable

import pytest

from streamgauge import errors
from streamgauge.errors import (
    CaptureError,
    FormatError,
    FramingError,
    MissingExtraError,
    SettingsError,
    StreamgaugeError,
    UnknownDialectError,
    UnwrappableError,
    UsageError,
)

TREE: dict[type[BaseException], tuple[type[BaseException], ...]] = {
    StreamgaugeError: (Exception,),
    UsageError: (StreamgaugeError,),
    SettingsError: (UsageError,),
    UnknownDialectError: (UsageError,),
    UnwrappableError: (UsageError, TypeError),
    MissingExtraError: (StreamgaugeError, ImportError),
    FormatError: (StreamgaugeError, ValueError),
    CaptureError: (FormatError,),
    FramingError: (FormatError,),
}
MADE = [
    (
        SettingsError("STREAMGAUGE_X", "'a' is not allowed"),
        "STREAMGAUGE_X: 'a' is not allowed",
        {"name": "STREAMGAUGE_X"},
    ),
    (
        UnknownDialectError("morse", ("generic", "zag")),
        "there is no dialect 'morse'; known are generic, zag. A dialect of your own is registered by the entry-point "
        "group 'streamgauge.dialects'.",
        {"name": "morse", "known": ("generic", "zag")},
    ),
    (
        MissingExtraError("OTLP export", "otlp"),
        "OTLP export needs an extra: pip install 'streamgauge[otlp]'",
        {"feature": "OTLP export", "extra": "otlp"},
    ),
    (UnwrappableError("nothing streams"), "nothing streams", {}),
    (CaptureError("line 3"), "line 3", {}),
    (FramingError("too long"), "too long", {}),
]


def test_the_tree() -> None:
    classes = {kind for kind in vars(errors).values() if inspect.isclass(kind)}
    assert classes == set(TREE) == {getattr(errors, name) for name in errors.__all__}
    assert {kind: kind.__bases__ for kind in TREE} == TREE


def test_the_tree_is_as_it_is_drawn() -> None:
    """Each line is a class, below the nearest line above that is less far in."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found[1])
        above = [each for each in above if each[0] < depth]
        drawn[found[2]] = above[-1][1] if above else "Exception"
        above.append((depth, found[2]))
    assert drawn == {kind.__name__: bases[0].__name__ for kind, bases in TREE.items()}


@pytest.mark.parametrize(("error", "message", "facts"), MADE, ids=lambda value: type(value).__name__)
def test_what_an_error_says(error: StreamgaugeError, message: str, facts: dict[str, object]) -> None:
    assert str(error) == message
    assert {name: getattr(error, name) for name in facts} == facts


@pytest.mark.parametrize("error", [error for error, _, _ in MADE], ids=lambda error: type(error).__name__)
def test_an_error_can_be_caught_by_its_blame(error: StreamgaugeError) -> None:
    for kind in type(error).__mro__[:-2]:
        with pytest.raises(kind) as raised:
            raise error
        assert raised.value is error


@pytest.mark.parametrize("kind", sorted(TREE, key=lambda kind: kind.__name__))
def test_every_error_is_described(kind: type[BaseException]) -> None:
    assert (kind.__doc__ or "").endswith(".")


@pytest.mark.parametrize("error", [pytest.param(error, id=type(error).__name__) for error, _, _ in MADE])
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_error_goes_to_another_process(
    error: StreamgaugeError, again: Callable[[StreamgaugeError], StreamgaugeError]
) -> None:
    double = again(error)
    assert (type(double), str(double), vars(double)) == (type(error), str(error), vars(error))
