"""Fixtures of the proxy's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from proxy.running import Upstream
from telemetry.parts import Receiver


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream().running() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An OTLP collector."""
    running = Receiver()
    yield running
    running.close()
