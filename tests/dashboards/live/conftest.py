"""One system for all live tests: it takes longer to start than to ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for livestack, which is these tests' own

from livestack.boards import filled, read_variables
from livestack.phoenix import Phoenix
from livestack.processes import ROOT
from livestack.rules import Rule, read_rules
from livestack.system import MACROS, System, started

_ORDER = ("test_programs.py", "test_numbers.py", "test_exemplars.py", "test_queries.py", "test_alerting.py")
MATURE_S = 35.0
"""What compares with what was before looks so far back."""
IDLE_S = 60.0
"""What was counted before the first scrape is new for the time that a board shows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for the past to be long enough comes after what does not, and what waits for the faults' end last."""
    items.sort(key=lambda item: _ORDER.index(item.path.name) if item.path.name in _ORDER else 0)


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """Begun, and perhaps not ready yet."""
    made = Phoenix(tmp_path_factory.mktemp("traces") / "phoenix")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, phoenix: Phoenix) -> Iterator[System]:
    """It runs, its faults have begun, and a worker of it has ended."""
    with started(tmp_path_factory.mktemp("stack"), phoenix.traces) as made:
        yield made


@pytest.fixture(scope="session")
def aged(system: System) -> System:
    """There is enough of the past for every query."""
    system.aged(MATURE_S)
    return system


@pytest.fixture(scope="session")
def long_aged(aged: System) -> System:
    """For so long that what was there from the start is no news."""
    aged.aged(IDLE_S)
    return aged


@pytest.fixture(scope="session")
def values(aged: System) -> Mapping[str, list[str]]:
    """Of each variable of the boards, what can be chosen."""
    variables = {
        name: (selector, label) for _, name, selector, label in read_variables(ROOT / "dashboards" / "grafana")
    }
    return {
        name: aged.prometheus.get(f"label/{label}/values", **{"match[]": filled(selector, MACROS)})
        for name, (selector, label) in variables.items()
    }


@pytest.fixture(scope="session")
def rules(system: System) -> Sequence[Rule]:
    """As they run here: as in the repository, with windows that are 60 times as short."""
    return read_rules(system.folder / "generated" / "prometheus")
