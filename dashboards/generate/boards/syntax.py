"""The tree of a PromQL expression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = [
    "Aggregate", "Binary", "Call", "Expr", "Literal", "Matcher", "Selector", "Subquery", "parts", "selectors", "walk",
]  # fmt: skip


class Matcher(NamedTuple):
    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """Series by name and labels; `range` and `offset` are as they are written, empty where there is none."""

    name: str
    matchers: tuple[Matcher, ...] = ()
    range: str = ""
    offset: str = ""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, or a text in quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    operator: str
    arguments: tuple[Expr, ...]
    """The last is what is aggregated."""
    labels: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Expr
    right: Expr
    on: tuple[str, ...] | None = None
    ignoring: tuple[str, ...] | None = None
    group: tuple[str, ...] | None = None
    """The labels that `group_left` or `group_right` brings; None where there is neither."""


@dataclass(frozen=True, slots=True)
class Subquery:
    inner: Expr
    range: str
    offset: str = ""


Expr: TypeAlias = Selector | Literal | Call | Aggregate | Binary | Subquery


def parts(expression: Expr) -> tuple[Expr, ...]:
    """The parts of an expression."""
    match expression:
        case Call(arguments=arguments) | Aggregate(arguments=arguments):
            return arguments
        case Binary(left=left, right=right):
            return (left, right)
        case Subquery(inner=inner):
            return (inner,)
        case _:
            return ()


def walk(expression: Expr) -> Iterator[Expr]:
    """The expression and all its parts."""
    yield expression
    for part in parts(expression):
        yield from walk(part)


def selectors(expression: Expr) -> Iterator[Selector]:
    """What it reads."""
    return (part for part in walk(expression) if isinstance(part, Selector))
