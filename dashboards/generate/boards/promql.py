"""PromQL as a tree, for the rules that the boards keep. It reads what the boards and the recording rules write: the
whole grammar but for native histograms' literals and quoted names. Grafana's macros may stand for durations and
numbers.

Source: https://prometheus.io/docs/prometheus/latest/querying/basics/ and .../operators/
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from dashboards.generate.boards.syntax import (
    Aggregate,
    Binary,
    Call,
    Expr,
    Literal,
    Matcher,
    Selector,
    Subquery,
    parts,
    selectors,
    walk,
)  # fmt: skip

__all__ = [
    "Aggregate", "Binary", "Call", "Expr", "Literal", "Matcher", "PromQLError", "Selector", "Subquery", "parse",
    "parts", "selectors", "walk",
]  # fmt: skip


class PromQLError(ValueError):
    """This is no expression."""


_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<duration>\$\w+|\$\{\w+\}|(?:\d+(?:ms|[smhdwy]))+(?![\w.]))
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+)
      | (?P<name>:?[a-zA-Z_][a-zA-Z0-9_:]*)
      | (?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){}\[\],@:])""",
    re.VERBOSE,
)
_AGGREGATIONS = frozenset(
    {
        "avg", "bottomk", "count", "count_values", "group", "limitk", "max", "min", "quantile", "stddev", "stdvar",
        "sum", "topk",
    }
)  # fmt: skip
_POWERS = {
    "or": 1, "and": 2, "unless": 2, "==": 3, "!=": 3, "<=": 3, "<": 3, ">=": 3, ">": 3, "+": 4, "-": 4, "*": 5, "/": 5,
    "%": 5, "atan2": 5, "^": 6,
}  # fmt: skip
_NUMBERS = frozenset({"inf", "nan"})


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


@dataclass(slots=True)
class _Reader:
    query: str
    tokens: list[_Token] = field(default_factory=list)
    position: int = 0

    def __post_init__(self) -> None:
        at = 0
        while at < len(self.query):
            found = _TOKEN.match(self.query, at)
            if found is None or found.lastgroup is None:
                raise PromQLError(f"{self.query[at : at + 20]!r} at {at} of {self.query!r}")
            if found.lastgroup != "space":
                self.tokens.append(_Token(found.lastgroup, found.group(), at))
            at = found.end()
        self.tokens.append(_Token("end", "", at))

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.token
        if token.kind == "end":
            raise PromQLError(f"there is more to come after {self.query!r}")
        self.position += 1
        return token

    def took(self, *texts: str) -> str:
        """The token, if it is one of these, which is then read."""
        token = self.token
        if token.kind in ("name", "operator") and token.text in texts:
            self.position += 1
            return token.text
        return ""

    def expect(self, text: str) -> None:
        if not self.took(text):
            raise PromQLError(f"{text!r} is wanted at {self.token.at} of {self.query!r}")

    # Expressions ----------------------------------------------------------------------------------------------

    def expression(self, power: int = 0) -> Expr:
        left = self.unary()
        while (operator := self.token.text) in _POWERS and self.token.kind in ("name", "operator"):
            own = _POWERS[operator]
            if own <= power:
                break
            self.take()
            self.took("bool")
            on = ignoring = group = None
            if word := self.took("on", "ignoring"):
                labels = self.labels()
                on, ignoring = (labels, None) if word == "on" else (None, labels)
                if self.took("group_left", "group_right"):
                    group = self.labels() if self.token.text == "(" else ()
            right = self.expression(own - 1 if operator == "^" else own)
            left = Binary(operator, left, right, on, ignoring, group)
        return left

    def unary(self) -> Expr:
        if sign := self.took("-", "+"):
            inner = self.expression(_POWERS["*"])
            return Binary("*", Literal(f"{sign}1"), inner)
        return self.followed(self.primary())

    def primary(self) -> Expr:
        token = self.token
        if self.took("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if token.text == "{":
            return self.selector("")
        self.take()
        if token.kind in ("number", "string", "duration"):
            return Literal(token.text)
        if token.kind != "name":
            raise PromQLError(f"{token.text!r} at {token.at} of {self.query!r}")
        if token.text.lower() in _AGGREGATIONS and self.token.text in ("(", "by", "without"):
            return self.aggregate(token.text.lower())
        if self.token.text == "(":
            return Call(token.text, self.arguments())
        if token.text.lower() in _NUMBERS:
            return Literal(token.text)
        return self.selector(token.text)

    def aggregate(self, operator: str) -> Aggregate:
        word = self.took("by", "without")
        labels = self.labels() if word else ()
        arguments = self.arguments()
        if not word and (word := self.took("by", "without")):
            labels = self.labels()
        if not arguments:
            raise PromQLError(f"{operator} of nothing in {self.query!r}")
        return Aggregate(operator, arguments, labels, word == "without")

    def arguments(self) -> tuple[Expr, ...]:
        self.expect("(")
        found: list[Expr] = []
        while not self.took(")"):
            found.append(self.expression())
            if not self.took(","):
                self.expect(")")
                break
        return tuple(found)

    def labels(self) -> tuple[str, ...]:
        self.expect("(")
        found: list[str] = []
        while not self.took(")"):
            token = self.take()
            if token.kind != "name":
                raise PromQLError(f"{token.text!r} is no label, at {token.at} of {self.query!r}")
            found.append(token.text)
            if not self.took(","):
                self.expect(")")
                break
        return tuple(found)

    def selector(self, name: str) -> Selector:
        matchers: list[Matcher] = []
        if self.took("{"):
            while not self.took("}"):
                token = self.take()
                operator = self.took("=~", "!~", "!=", "=")
                value = self.take()
                if token.kind != "name" or not operator or value.kind != "string":
                    raise PromQLError(f"no matcher at {token.at} of {self.query!r}")
                matchers.append(Matcher(token.text, operator, value.text[1:-1]))
                if not self.took(","):
                    self.expect("}")
                    break
        return Selector(name, tuple(matchers))

    def followed(self, expression: Expr) -> Expr:
        """What stands behind: a range or a subquery, `offset`, `@`."""
        while True:
            if self.took("["):
                expression = self.ranged(expression)
            elif self.took("offset"):
                sign = self.took("-")
                offset = sign + self.take().text
                if not isinstance(expression, Selector | Subquery):
                    raise PromQLError(f"only a selector has an offset: {self.query!r}")
                expression = _with_offset(expression, offset)
            elif self.took("@"):
                if self.take().kind == "name":  # start(), end()
                    self.arguments()
            else:
                return expression

    def ranged(self, expression: Expr) -> Expr:
        span = self.take()
        if span.kind != "duration":
            raise PromQLError(f"{span.text!r} is no duration, at {span.at} of {self.query!r}")
        if self.took(":"):
            if self.token.text != "]":
                self.take()
            self.expect("]")
            return Subquery(expression, span.text)
        self.expect("]")
        if not isinstance(expression, Selector):
            raise PromQLError(f"only a selector has a range: {self.query!r}")
        return Selector(expression.name, expression.matchers, span.text, expression.offset)


def _with_offset(expression: Selector | Subquery, offset: str) -> Expr:
    if isinstance(expression, Selector):
        return Selector(expression.name, expression.matchers, expression.range, offset)
    return Subquery(expression.inner, expression.range, offset)


@lru_cache(maxsize=2048)  # the rules ask for the trees of the same few hundred queries, each for itself
def parse(query: str) -> Expr:
    """The tree of an expression.

    Raises: PromQLError where it is none.
    """
    reader = _Reader(query)
    found = reader.expression()
    if reader.token.kind != "end":
        raise PromQLError(f"{reader.token.text!r} at {reader.token.at} of {query!r}")
    return found
