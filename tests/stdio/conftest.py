"""Fixtures of the tests of processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def _no_signal_is_ignored() -> Iterator[None]:
    """Commands inherit what their caller ignores: where the tests run by `nohup`, or behind a shell's `&`, some."""
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    ignored = [number for number in ignored if number not in (signal.SIGPIPE, signal.SIGXFSZ)]  # Python's own
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
