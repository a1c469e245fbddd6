from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dashboards.generate.objectives import Objectives, load

FOLDER = Path(__file__).parents[2] / "dashboards"


@pytest.fixture(scope="session")
def folder() -> Path:
    """Where the boards, the rules and the stack are."""
    return FOLDER


@pytest.fixture(scope="session")
def objectives() -> Objectives:
    """Those that are committed."""
    return load()


@pytest.fixture
def boards(folder: Path) -> list[dict[str, Any]]:
    """The boards that are committed, by name; a test may change them."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((folder / "grafana").glob("*.json"))]
