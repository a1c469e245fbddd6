"""Messages are events as they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import FramingError
from streamgauge.framing import MAX_EVENT_BYTES, MessageFraming


@given(st.lists(st.binary() | st.text(st.characters())))
def test_each_message_is_one_event(messages: list[bytes | str]) -> None:
    framing = MessageFraming()
    for message in messages:
        assert framing.feed(message) == [message]
        assert framing.pending_bytes == b""
    assert framing.finish() == []


def test_other_buffers_become_bytes() -> None:
    framing = MessageFraming()
    for message in (bytearray(b"x"), memoryview(b"x")):
        (event,) = framing.feed(message)  # type: ignore[arg-type]
        assert event == b"x"
        assert type(event) is bytes


@pytest.mark.parametrize("fits", [b"1234", "1234", "éé", "\U0001f600", "\ud800a", ""])
def test_the_largest_message(fits: bytes | str) -> None:
    assert MessageFraming(max_event_bytes=4).feed(fits) == [fits]


@pytest.mark.parametrize("larger", [b"12345", "12345", "ééé", "\U0001f600a", "\ud800ab"])
def test_a_larger_message(larger: bytes | str) -> None:
    framing = MessageFraming(max_event_bytes=4)
    for _ in range(2):
        with pytest.raises(FramingError, match="larger than 4 bytes"):
            framing.feed(larger)
    with pytest.raises(FramingError):
        framing.feed(b"")
    with pytest.raises(FramingError):
        framing.finish()


def test_the_limit_by_default() -> None:
    assert len(MessageFraming().feed("x" * MAX_EVENT_BYTES)) == 1
    with pytest.raises(FramingError):
        MessageFraming().feed("x" * (MAX_EVENT_BYTES + 1))
