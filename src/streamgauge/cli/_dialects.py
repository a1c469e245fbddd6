"""`streamgauge dialects`: the agent systems whose streams are understood, and what becomes of each event."""

from __future__ import annotations

import argparse
from importlib.metadata import entry_points
from typing import Any

from streamgauge import dialects
from streamgauge.cli._text import columns
from streamgauge.dialects import Dialect
from streamgauge.errors import UnknownDialectError, UsageError

__all__ = ["add"]


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "dialects",
        help="list the agent systems whose streams are understood",
        description="""\
List the dialects: the agent systems whose streams are understood, with those
that other packages register. With NAME: what becomes of each of its events.""",
        epilog="""\
examples:
  streamgauge dialects
  streamgauge dialects zag
""",
        **options,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one dialect's events")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.name:
        _show(options.name)
    else:
        _list()
    return 0


def _list() -> None:
    lines = []
    for name in dialects.names():
        try:
            dialect = dialects.find(name)
            assert dialect is not None
            lines.append(_line(name, dialect))
        except Exception as error:  # a dialect from outside may fail in any way; the others are shown all the same
            lines.append((name, "-", "-", "-", "-", f"broken{_package(name)}: {_reason(error)}"))
    print(columns(("NAME", "GRANULARITY", "TERMINAL", "FRAMING", "EVENTS", "SYSTEM"), lines))
    print()
    print("GRANULARITY  what one chunk is: a token, a message, a slice of a finished text, or nothing generated at all")
    print("TERMINAL     the system ends a stream with a last event: without one, a stream is `truncated`")
    print("EVENTS       how many event types it knows: see them with `streamgauge dialects NAME`")


def _line(name: str, dialect: type[Dialect]) -> tuple[str, ...]:
    terminal = "yes" if dialect.terminal else "no"
    system = dialect.system + _package(name)
    return name, str(dialect.granularity), terminal, dialect.framing, str(len(dialect.events)), system


def _show(name: str) -> None:
    if name not in dialects.names():
        raise UnknownDialectError(name, dialects.names())
    try:
        dialect = dialects.find(name)
        assert dialect is not None
        _, granularity, terminal, framing, events, system = _line(name, dialect)
        described = dict(dialect.events)
    except Exception as error:
        raise UsageError(f"the dialect {name!r}{_package(name)} cannot be loaded: {_reason(error)}") from error
    print(f"{name}: {system}")
    print(f"granularity {granularity}, terminal event: {terminal}, framing {framing}, {events} event types")
    print()
    print(columns(("EVENT", "WHAT IT BECOMES"), described.items()))


def _package(name: str) -> str:
    """Where a dialect from outside comes from."""
    if name in dialects.BUILT_IN:
        return ""
    for point in entry_points(group=dialects.ENTRY_POINT_GROUP, name=name):
        return f" (from {point.dist.name} {point.dist.version})" if point.dist is not None else f" (from {point.value})"
    return ""


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
