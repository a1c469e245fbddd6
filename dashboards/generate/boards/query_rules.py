"""What a query on a board must keep to. In: PromQL as it stands in a panel. Out: what is wrong with it, in words.

The rules are those of dashboard-linter, and against the faults that boards for language models have: counters shown as
they are, quantiles of quantiles, averages of ratios, sums of seconds that nothing divides, NaN when nothing happens.
"""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.boards.promql import (
    Aggregate,
    Binary,
    Call,
    Expr,
    Literal,
    PromQLError,
    Selector,
    Subquery,
    parse,
    parts,
    selectors,
    walk,
)  # fmt: skip
from dashboards.generate.boards.queries import INTERVAL, RANGE, VARIABLES
from dashboards.generate.metrics import BESIDES, EMITTED, TARGET, Series

__all__ = ["faults", "known", "labels_of"]

_RATES = frozenset({"rate", "increase"})
_FILTERS = frozenset({"and", "unless"})
_WITHOUT_INSTANCE = frozenset({"ALERTS"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


def known(name: str) -> Series | None:
    """A series that there is: streamgauge's, Prometheus' own, or one that the rules record for each objective."""
    if name.startswith("slo:"):
        return Series(name, frozenset({"job", "slo", "service"}))
    return EMITTED.get(name) or BESIDES.get(name)


def faults(query: str, *, instant: bool = False) -> list[str]:
    """What is wrong with a query.

    Args:
        instant: it is asked once, for the end of the time that is shown.
    """
    try:
        tree = parse(query)
    except PromQLError as error:
        return [f"cannot be read: {error}"]
    rules = (_selected, _raw, _over_interval, _quantiles, _ratios, _averages, _seconds, _labels)
    return [
        *(found for rule in rules for found in rule(tree)),
        *(found for found in _ranges(tree, instant=instant)),
    ]


# What is selected ---------------------------------------------------------------------------------------------


def _selected(tree: Expr) -> Iterator[str]:
    for selector in selectors(tree):
        series = known(selector.name)
        if series is None:
            yield f"{selector.name or 'a selector without a name'} is nothing that there is"
            continue
        for matcher in selector.matchers:
            if matcher.label not in series.labels:
                yield f"{selector.name} has no label {matcher.label}"
        for label, variable in _wanted(series).items():
            values = [
                matcher.value for matcher in selector.matchers if matcher.label == label and matcher.operator == "=~"
            ]
            if not any(value in (f"${variable}", f"${variable}|") for value in values):
                yield f"{selector.name} is not narrowed by ${variable}"


def _wanted(series: Series) -> dict[str, str]:
    if series.common:
        return VARIABLES
    own = ("job",) if series.name in _WITHOUT_INSTANCE else TARGET
    return {label: label for label in own if label in series.labels}


# Counters -----------------------------------------------------------------------------------------------------


def _raw(tree: Expr) -> Iterator[str]:
    """Counters that are shown as they are. To filter by one is to ask whether it is there, not what it is."""
    match tree:
        case Selector(name=name):
            series = known(name)
            if series is not None and series.cumulative:
                yield f"{name} only grows: without a rate it says nothing"
        case Call(function=function) if function in _RATES:
            return
        case Binary(operator=operator, left=left) if operator in _FILTERS:
            if not _born(tree):
                yield from _raw(left)
        case _:
            for part in parts(tree):
                yield from _raw(part)


def _born(tree: Binary) -> bool:
    """`x unless last_over_time(x[...] offset ...)`: what a counter has that was not there before is what was added."""
    match tree:
        case Binary("unless", Selector() as now, Call("last_over_time", (Selector() as before,))):
            return (now.name, now.matchers) == (before.name, before.matchers) and before.offset in (INTERVAL, RANGE)
    return False


def _over_interval(tree: Expr) -> Iterator[str]:
    for part in walk(tree):
        if not isinstance(part, Call) or not part.arguments:
            continue
        first = part.arguments[0]
        if part.function in ("irate", "idelta", "deriv", "delta"):
            yield f"{part.function} is not used here: rate and increase know when a counter was reset"
        if part.function in _RATES and isinstance(first, Selector):
            series = known(first.name)
            if series is not None and not series.cumulative:
                yield f"{first.name} is no counter: a rate of it says nothing"
        elif part.function in _RATES:
            yield f"{part.function} of something else than a series"


def _ranges(tree: Expr, *, instant: bool) -> Iterator[str]:
    for part in walk(tree):
        match part:
            case Call(function=function, arguments=(Selector(range=over),)) if function in _RATES:
                if over != INTERVAL and not (over == RANGE and instant):
                    yield f"{function} is over {over}, not {INTERVAL}" + (f" or {RANGE}" if instant else "")
            case Subquery():
                yield "a subquery: slow, and a rate of rates more often than not"


# Quantiles and ratios -----------------------------------------------------------------------------------------


def _quantiles(tree: Expr) -> Iterator[str]:
    guarded = {
        id(part.left)
        for part in walk(tree)
        if isinstance(part, Binary) and part.operator == ">=" and part.right == Literal("0")
    }
    for part in walk(tree):
        is_quantile = isinstance(part, Call) and part.function == "histogram_quantile"
        combines = isinstance(part, Aggregate | Subquery) or is_quantile or _over_time(part)
        if combines and any(_quantile(inner) for each in parts(part) for inner in walk(each)):
            yield "a quantile of quantiles, or their sum or average"
        if isinstance(part, Call) and part.function == "histogram_quantile":
            if id(part) not in guarded:
                yield "a quantile that is NaN when nothing happens: compare it, >= 0"
            yield from _summed(part.arguments[-1])


def _quantile(tree: Expr) -> bool:
    return (isinstance(tree, Call) and tree.function == "histogram_quantile") or (
        isinstance(tree, Aggregate) and tree.operator == "quantile"
    )


def _over_time(tree: Expr) -> bool:
    return isinstance(tree, Call) and tree.function.endswith("_over_time")


def _summed(buckets: Expr) -> Iterator[str]:
    match buckets:
        case Aggregate("sum", (inner,), labels, False) if "le" in labels:
            while isinstance(inner, Binary) and inner.operator in _FILTERS:
                inner = inner.left
            match inner:
                case Call("rate" | "increase", (Selector(name=name),)) if name.endswith("_bucket"):
                    return
            yield "a quantile of something else than rates of buckets"
        case _:
            yield "a quantile of buckets that are not summed up by le"


def _ratios(tree: Expr) -> Iterator[str]:
    for part in walk(tree):
        if not isinstance(part, Binary) or part.operator != "/" or isinstance(part.right, Literal):
            continue
        match part.right:
            case Binary(">", _, Literal("0")):
                pass
            case _:
                yield "a ratio that is NaN when nothing happens: divide by (... > 0)"
        if not (_all_summed(part.left) and _all_summed(part.right)):
            yield "a ratio of single series: divide sums"


def _all_summed(tree: Expr) -> bool:
    match tree:
        case Aggregate(operator="sum" | "count"):
            return True
        case Selector():
            return False
        case Binary(operator=operator, left=left) if operator in _FILTERS:
            return _all_summed(left)
        case _:
            return all(_all_summed(part) for part in parts(tree))


def _averages(tree: Expr) -> Iterator[str]:
    for part in walk(tree):
        inner = [each for whole in parts(part) for each in walk(whole)]
        divides = any(isinstance(each, Binary) and each.operator == "/" for each in inner)
        grows = any(isinstance(each, Selector) and (found := known(each.name)) and found.cumulative for each in inner)
        if isinstance(part, Aggregate) and part.operator in ("avg", "sum", "quantile", "stddev", "stdvar") and divides:
            yield f"{part.operator} of ratios: divide the sums instead"
        elif isinstance(part, Aggregate) and part.operator == "avg" and grows:
            yield "an average of rates: busy and idle series count alike; divide sums"
        elif _over_time(part) and divides:
            yield "a ratio over time: divide what came in that time"


def _seconds(tree: Expr, divided: bool = False) -> Iterator[str]:
    """The rate of a sum of seconds is no latency, before it is divided by how many there were."""
    match tree:
        case Selector(name=name):
            series = known(name)
            if name.endswith("_sum") and series and series.metric and series.metric.unit == "s" and not divided:
                yield f"{name} is a sum of seconds: divide it"
        case Binary(operator=operator, left=left, right=right):
            divided = divided or operator == "/"
            yield from _seconds(left, divided)
            if operator not in _FILTERS:
                yield from _seconds(right, divided)
        case _:
            for part in parts(tree):
                yield from _seconds(part, divided)


# Labels -------------------------------------------------------------------------------------------------------


def labels_of(tree: Expr) -> frozenset[str]:
    """The labels that a result may have."""
    match tree:
        case Selector(name=name):
            series = known(name)
            return series.labels if series is not None else frozenset()
        case Aggregate(operator=operator, arguments=arguments, labels=labels, without=without):
            inner = labels_of(arguments[-1])
            if operator in ("topk", "bottomk", "limitk"):
                return inner
            return inner - set(labels) if without else frozenset(labels) & inner
        case Call(function="histogram_quantile", arguments=(_, inner)):
            return labels_of(inner) - {"le"}
        case Call(arguments=arguments):
            return frozenset().union(*map(labels_of, arguments))
        case Subquery(inner=inner):
            return labels_of(inner)
        case Binary(operator="or", left=left, right=right):
            return labels_of(left) | labels_of(right)
        case Binary(operator=operator, left=left, right=right, on=on, group=group):
            if operator in _FILTERS or group is not None or isinstance(right, Literal):
                return labels_of(left) | set(group or ())
            if isinstance(left, Literal):
                return labels_of(right)
            return labels_of(left) & labels_of(right) if on is None else frozenset(on)
        case _:
            return frozenset()


def _labels(tree: Expr) -> Iterator[str]:
    for part in walk(tree):
        match part:
            case Aggregate(arguments=arguments, labels=labels):
                for label in sorted(set(labels) - labels_of(arguments[-1])):
                    yield f"there is no label {label} to aggregate by"
            case Binary(left=left, right=right, on=on) if on:
                for label in sorted(set(on) - (labels_of(left) & labels_of(right))):
                    yield f"there is no label {label} on both sides"
            case Binary(operator=operator, left=left, right=right, on=None, ignoring=None):
                if operator in _COMPARISONS or isinstance(left, Literal) or isinstance(right, Literal):
                    continue
                if operator not in ("or", *_FILTERS) and labels_of(left) != labels_of(right):
                    yield f"the sides of {operator} have not the same labels: nothing would match"
