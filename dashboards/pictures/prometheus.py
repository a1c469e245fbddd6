"""What a Prometheus answers to the queries of a board's panels.

In: a panel's query as the board has it. Out: its series, with the macros and variables of Grafana filled in as Grafana
would for a picture of this width. Source: Prometheus, HTTP API v1.
"""

from __future__ import annotations

import json
import re
import statistics
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Answers", "Exemplar", "Get", "Series", "Window", "asked", "filled", "over_http"]

POINTS = 120
"""In a series: about what a panel of a third of the page can show."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")

Get = Callable[[str, Mapping[str, str]], Any]
"""(path below /api/v1, parameters) -> `data` of the answer."""


class Series(NamedTuple):
    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


class Exemplar(NamedTuple):
    time: float
    value: float


@dataclass(frozen=True, slots=True)
class Window:
    """What time is shown, and how finely."""

    start: float
    end: float
    scrape_s: float
    """Between two scrapes: rates are over four of them at least, as Grafana has it."""
    least_s: float = 1
    """The panel's least interval."""

    @property
    def step_s(self) -> int:
        return max(round((self.end - self.start) / POINTS), round(self.least_s))

    @property
    def macros(self) -> dict[str, str]:
        rate_s = max(self.step_s + self.scrape_s, 4 * self.scrape_s)
        range_s = round(self.end - self.start)
        return {
            "__rate_interval": f"{max(round(rate_s), 1)}s",
            "__interval": f"{self.step_s}s",
            "__range": f"{range_s}s",
            "__range_s": str(range_s),
        }


def filled(expression: str, window: Window, variables: Mapping[str, str]) -> str:
    """Without macros and variables.

    Raises: KeyError for a variable that the board has not.
    """
    known = {**variables, **window.macros}
    return _VARIABLE.sub(lambda match: known[match[1] or match[2]], expression)


class Answers(NamedTuple):
    """To one query of a panel."""

    ref: str
    series: Sequence[Series]
    exemplars: Sequence[Exemplar] = ()


def asked(get: Get, target: Mapping[str, Any], window: Window, variables: Mapping[str, str]) -> Answers:
    """The series of one of a panel's queries: over the window, or as it is at its end."""
    query = filled(target["expr"], window, variables)
    if target.get("instant") and not target.get("range"):
        found = get("query", {"query": query, "time": str(window.end)})
    else:
        times = {"start": str(window.start), "end": str(window.end), "step": str(window.step_s)}
        found = get("query_range", {"query": query, **times})
    exemplars: list[Exemplar] = []
    if target.get("exemplar"):
        given = get("query_exemplars", {"query": query, "start": str(window.start), "end": str(window.end)})
        exemplars = [
            Exemplar(float(each["timestamp"]), float(each["value"]))
            for series in given
            for each in series["exemplars"]
            if "trace_id" in each["labels"]
        ]
        exemplars = _told_apart(exemplars, window)
    return Answers(target.get("refId", "A"), _series(found), exemplars)


def _told_apart(exemplars: list[Exemplar], window: Window) -> list[Exemplar]:
    """Those that Grafana shows: of each step the highest, and those below it that are two standard deviations apart.

    Source: Grafana, `pkg/promlib/models` and `querydata/exemplar/sampler_stddev.go`.
    """
    if len(exemplars) < 2:
        return exemplars
    apart = 2 * statistics.pstdev(each.value for each in exemplars)
    steps: dict[int, list[Exemplar]] = {}
    for each in sorted(exemplars, key=lambda each: -each.value):
        kept = steps.setdefault(int((each.time - window.start) // window.step_s), [])
        if not kept or kept[-1].value - each.value >= apart:
            kept.append(each)
    return [each for step in sorted(steps) for each in steps[step]]


def _series(found: Any) -> list[Series]:
    if found["resultType"] == "scalar":
        time, value = found["result"]
        return [Series({}, [float(time)], [float(value)])]
    made = []
    for each in found["result"]:
        points = each["values"] if "values" in each else [each["value"]]
        made.append(Series(each["metric"], [float(at) for at, _ in points], [float(value) for _, value in points]))
    return sorted(made, key=lambda series: sorted(series.labels.items()))


def over_http(url: str) -> Get:
    """
    Args:
        url: Prometheus' own, without /api/v1.
    """

    def get(path: str, parameters: Mapping[str, str]) -> Any:
        # By POST where anything is given: a query may be longer than a target should be.
        data = urllib.parse.urlencode(parameters).encode() or None
        with urllib.request.urlopen(f"{url}/api/v1/{path}", data, timeout=30) as answer:  # noqa: S310 (the caller's)
            return json.load(answer)["data"]

    return get
