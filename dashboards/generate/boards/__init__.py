"""The five Grafana boards. In: the objectives. Out: their JSON in the Classic model, which Grafana 11 to 13 import and
provision."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from dashboards.generate.boards.agents import agents
from dashboards.generate.boards.compare import compare
from dashboards.generate.boards.health import health
from dashboards.generate.boards.overview import overview
from dashboards.generate.boards.quality import quality
from dashboards.generate.objectives import Objectives

__all__ = ["board_outputs"]

_BOARDS: Final[dict[str, Callable[[Objectives], dict[str, Any]]]] = {
    "overview": overview,
    "quality": quality,
    "agents": agents,
    "compare": compare,
    "health": health,
}


def board_outputs(objectives: Objectives) -> dict[str, str]:
    """Path below `dashboards/`: text."""
    return {
        f"grafana/{name}.json": json.dumps(made(objectives), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, made in _BOARDS.items()
    }
