"""What the rules are tried on: counters of programs in which something goes wrong, or seems to. See `promtool`."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.objectives import Objectives
from dashboards.generate.scenarios.base import CASES, Expected, Scenario
from dashboards.generate.scenarios.burns import burns
from dashboards.generate.scenarios.causes import causes
from dashboards.generate.scenarios.health import health
from dashboards.generate.scenarios.ratios import ratios
from dashboards.generate.scenarios.symptoms import symptoms
from dashboards.generate.scenarios.yesterday import yesterday

__all__ = ["CASES", "Expected", "Scenario", "scenarios"]


def scenarios(objectives: Objectives) -> Iterator[Scenario]:
    """By file, in the order in which they stand there."""
    for each in (ratios, burns, symptoms, yesterday, health, causes):
        yield from each(objectives)
