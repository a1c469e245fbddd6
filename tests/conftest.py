"""What all tests share: nothing is logged by OpenTelemetry behind our back, and time can be held in the hand."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from streamgauge import assembly, pipeline, tap, testing
from streamgauge.transports import _exchange, _passing
from streamgauge.transports.inprocess import _async, _stream, _sync


class HandClock:
    """A clock that stands still until it is moved. Nanoseconds."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        self.now += int(milliseconds * 1_000_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew (see tests/test_semconv.py)")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    hand = HandClock()
    for module in (assembly, pipeline, tap, _exchange, _passing, _stream, _sync, _async):
        monkeypatch.setattr(module, "_clock", hand)
    return hand


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    """What is recorded during the test, which leaves nothing open."""
    with testing.recording(stall_after_s=1.0) as found:
        yield found
        if found.open:
            gc.collect()  # what a failed test holds is not open by our fault
        assert found.open == 0


@pytest.fixture(autouse=True)
def _nothing_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No "created in a different Context", no failed detach, no blind tap, unless the test expects it (`logs`)."""
    with caplog.at_level(logging.WARNING):
        yield
    if request.node.get_closest_marker("logs") is None:
        records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
        ours = [
            r for r in records if r.levelno >= logging.WARNING and r.name.startswith(("streamgauge", "opentelemetry"))
        ]
        assert [f"{r.name}: {r.getMessage()}" for r in ours] == []
