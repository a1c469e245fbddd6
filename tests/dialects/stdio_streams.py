"""For the tests of dialects of processes: an exchange in real pipes' place, and command lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamgauge import capture, dialects, duplex, testing
from streamgauge.dialects import Dialect
from streamgauge.replay import replay
from streamgauge.testing import Seen
from streamgauge.wire import Aside

from .message_streams import CAPTURES


@contextmanager
def known(kind: type[Dialect]) -> Iterator[None]:
    """It is found by its name, whether the table has it or not."""
    before = dialects._found.get(kind.name)
    dialects._found[kind.name] = kind
    try:
        yield
    finally:
        if before is None:
            dialects._found.pop(kind.name, None)
        else:
            dialects._found[kind.name] = before


def watched(kind: type[Dialect], steps: Sequence[Any], *, step_ns: int = 1_000_000_000, **end: Any) -> Seen:
    """What is recorded of a process: each step a line of its output, an `Aside` of the caller's line or of something
    else, one second after the other.

    Args:
        end: how it ends, as `Conversation.end` has it.
    """
    with known(kind), testing.recording() as seen:
        began = 10**15
        watch = duplex.watch("stdio", dialect=kind.name, pipeline=lambda: seen.pipeline)
        conversation = watch("", {}, at=began)
        tap = conversation.tap
        assert tap is not None
        at = began
        for step in steps:
            at += step_ns
            if not isinstance(step, Aside):
                conversation.received(step if isinstance(step, str) else json.dumps(step), at)
            else:
                tap.aside_at(step, at)
        tap.end_at(at + step_ns, **end)
    assert not seen.open
    return seen


def replayed(kind: type[Dialect], name: str) -> Seen:
    """What a capture of the repository tells."""
    with known(kind), testing.recording() as seen:
        replay(capture.read(CAPTURES / f"{name}.ndjson"), seen.pipeline)
    assert not seen.open
    return seen


def spans(seen: Seen, name: str = "") -> list[dict[str, Any]]:
    """In the order of their beginnings."""
    return sorted((each for each in seen.spans if each["name"].startswith(name)), key=lambda each: each["start"])


def facts(span: dict[str, Any], *names: str) -> list[Any]:
    return [span["attributes"].get(name) for name in names]


def claims(kind: type[Dialect], command: str) -> bool:
    return any(re.search(pattern, command) for pattern in kind.commands)
