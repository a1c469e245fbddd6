"""Every test of the proxy runs on both event loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _no_trouble_in_the_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No callback of ours raised: a loop only logs that."""
    with caplog.at_level(logging.WARNING, "asyncio"):
        yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    assert [f"{r.name}: {r.getMessage()}" for r in records if r.name == "asyncio"] == []
