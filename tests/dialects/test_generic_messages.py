"""Any conversation: a run for each thing that the caller says."""

from __future__ import annotations

from typing import Any

import pytest

from streamgauge import semconv
from streamgauge.dialects.generic_messages import GenericMessages
from streamgauge.signals import BINARY, PERSON_ASKED, RUN, TEXT, Chunk, Closed, Noted, Opened, Signal
from streamgauge.wire import Aside

SENT = Aside("sent", {"data": "x"})


def opened(at: int) -> Opened:
    return Opened(RUN, at, semconv.INVOKE_AGENT)


def told(*events: Any) -> list[list[Signal]]:
    """Of each event, which comes at 1, 2, 3 ...; and of the end."""
    dialect = GenericMessages()
    return [*(list(dialect.feed(event, at)) for at, event in enumerate(events, 1)), list(dialect.finish(99))]


@pytest.mark.parametrize(
    ("events", "signals"),
    [
        ((), [[]]),
        ((SENT,), [[opened(1)], []]),
        ((SENT, SENT), [[opened(1)], [], []]),
        (
            (SENT, "a", "b", SENT, "c"),
            [
                [opened(1)],
                [Chunk(RUN, 2, TEXT, "a"), Noted(RUN, 2, {}, PERSON_ASKED)],
                [Chunk(RUN, 3, TEXT, "b")],
                [Closed(RUN, 3), opened(4)],
                [Chunk(RUN, 5, TEXT, "c"), Noted(RUN, 5, {}, PERSON_ASKED)],
                [Closed(RUN, 5)],
            ],
        ),
        (
            ("hello", SENT),
            [
                [opened(1), Chunk(RUN, 1, TEXT, "hello"), Noted(RUN, 1, {}, PERSON_ASKED)],
                [Closed(RUN, 1), opened(2)],
                [],
            ],
        ),
        (
            (SENT, b"\x00\xff", bytearray(b"\xfe")),
            [
                [opened(1)],
                [Chunk(RUN, 2, BINARY, "\x00\xff"), Noted(RUN, 2, {}, PERSON_ASKED)],
                [Chunk(RUN, 3, BINARY, "\xfe")],
                [Closed(RUN, 3)],
            ],
        ),
        ((Aside("closed", {"code": 1000}), Aside("http.response", {"status": 101})), [[], [], []]),
    ],
)
def test_events_and_signals(events: tuple[Any, ...], signals: list[list[Signal]]) -> None:
    assert told(*events) == signals
