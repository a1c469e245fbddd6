"""PromQL is read as Prometheus reads it."""

from __future__ import annotations

import pytest
from dashboards.generate.boards.promql import (
    Aggregate,
    Binary,
    Call,
    Literal,
    Matcher,
    PromQLError,
    Selector,
    Subquery,
    parse,
    selectors,
)

A, B, C = Selector("a"), Selector("b"), Selector("c")
TREES = {
    "a": A,
    " a # a comment\n": A,
    'a{x="1",y!~"b|c",}': Selector("a", (Matcher("x", "=", "1"), Matcher("y", "!~", "b|c"))),
    """{__name__='a', x=~`\\d`}""": Selector("", (Matcher("__name__", "=", "a"), Matcher("x", "=~", "\\d"))),
    'a{x="}{)([5m]\\""}': Selector("a", (Matcher("x", "=", '}{)([5m]\\"'),)),
    "slo:sli_error:ratio_rate5m": Selector("slo:sli_error:ratio_rate5m"),
    "a[5m]": Selector("a", range="5m"),
    "a[1h30m] offset -1d": Selector("a", range="1h30m", offset="-1d"),
    "a offset $__range": Selector("a", offset="$__range"),
    "rate(a[$__rate_interval])": Call("rate", (Selector("a", range="$__rate_interval"),)),
    "time()": Call("time", ()),
    "sum(a)": Aggregate("sum", (A,)),
    "sum by (x, y) (a)": Aggregate("sum", (A,), ("x", "y")),
    "sum(a) without (x)": Aggregate("sum", (A,), ("x",), True),
    "topk(5, a)": Aggregate("topk", (Literal("5"), A)),
    "sum": Selector("sum"),
    "a + b * c": Binary("+", A, Binary("*", B, C)),
    "a * b + c": Binary("+", Binary("*", A, B), C),
    "a - b - c": Binary("-", Binary("-", A, B), C),
    "a ^ b ^ c": Binary("^", A, Binary("^", B, C)),
    "(a + b) * c": Binary("*", Binary("+", A, B), C),
    "a or b and c": Binary("or", A, Binary("and", B, C)),
    "a > bool b": Binary(">", A, B),
    "-a": Binary("*", Literal("-1"), A),
    "a / on (x) group_left (y) b": Binary("/", A, B, on=("x",), group=("y",)),
    "a / ignoring (x) group_right b": Binary("/", A, B, ignoring=("x",), group=()),
    "a unless on () b": Binary("unless", A, B, on=()),
    "a >= 1.5e3": Binary(">=", A, Literal("1.5e3")),
    "max_over_time(a[1h:5m])": Call("max_over_time", (Subquery(A, "1h"),)),
    "max_over_time(a[1h:])": Call("max_over_time", (Subquery(A, "1h"),)),
    "a @ 1609746000 offset 5m": Selector("a", offset="5m"),
    'label_replace(a, "x", "$1", "y", "(.*)")': Call(
        "label_replace", (A, *(Literal(f'"{text}"') for text in ("x", "$1", "y", "(.*)")))
    ),
}


@pytest.mark.parametrize("query", TREES)
def test_promql_is_read(query: str) -> None:
    assert parse(query) == TREES[query]


@pytest.mark.parametrize(
    "query",
    [
        "", "a b", "sum(", "sum()", "a{x}", "a{x=1}", "a{", "a[5]", "a[5m", "(a", "a +", "1 offset 5m", "sum(a)[5m]",
        'a{x="1"', "sum by (1) (a)", "a ? b", "'a",
    ],
)  # fmt: skip
def test_what_is_no_promql_is_refused(query: str) -> None:
    with pytest.raises(PromQLError):
        parse(query)


def test_all_selectors_are_found() -> None:
    query = 'sum(rate(a{x="b{}"}[5m])) / on () (sum(c offset 1d) > 0) unless on (x) max_over_time(d[1h:]) or {y="e"}'
    assert [each.name for each in selectors(parse(query))] == ["a", "c", "d", ""]
