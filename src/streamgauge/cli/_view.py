"""What is shown on the terminal while streams are played, and after: tables, and one trace as a tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from streamgauge.cli._numbers import Row, Times, fitted, rows, seconds
from streamgauge.errors import MissingExtraError
from streamgauge.pipeline import Pipeline
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from streamgauge.cli._traces import Node

__all__ = ["console", "live", "summary"]

_PER_SECOND = 4
_WIDE = 110  # from here on there is room between the columns
_ELSEWHERE = 120  # columns, where the output is no terminal
_AROUND = 8  # lines: title, headings, what is between, and one to spare
_HEADINGS = {Outcome.TIMED_OUT: "timed\nout", Outcome.SHUTDOWN: "shut\ndown"}
_NARROW = {
    Outcome.COMPLETED: "com-\npleted",
    Outcome.TRUNCATED: "trun-\ncated",
    Outcome.CANCELLED: "can-\ncelled",
    Outcome.ABANDONED: "aban-\ndoned",
}
_STYLES = {
    Outcome.COMPLETED: "green",
    Outcome.FAILED: "red",
    Outcome.TRUNCATED: "red",
    Outcome.TIMED_OUT: "red",
    Outcome.CANCELLED: "yellow",
    Outcome.ABANDONED: "yellow",
    Outcome.SHUTDOWN: "blue",
}


def console() -> Console:
    """The terminal, or plain text where it is none or wants none.

    Raises: MissingExtraError where rich is not installed.
    """
    try:
        from rich.console import Console
    except ImportError as error:
        raise MissingExtraError("this command", "cli") from error

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich calls this where it caught the error, and would exit with 1

    made = Piped(highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made = Piped(highlight=False, width=_ELSEWHERE)
    return made


def live(console: Console, pipeline: Pipeline, title: Callable[[], str]) -> Live:
    """The tables as they stand, in as many rows as the terminal is high, again and again, until it is left; then it is
    gone."""
    from rich.console import Group
    from rich.live import Live

    def draw() -> RenderableType:
        most = (console.height - _AROUND) // 2  # each is in both tables
        return Group(title(), "", tables(fitted(rows(pipeline), most), console.width))

    return Live(console=console, get_renderable=draw, refresh_per_second=_PER_SECOND, transient=True)


def summary(console: Console, found: Sequence[Row], trace: Node | None) -> None:
    """What it all came to, and one of the traces."""
    console.print(tables(found, console.width, ended=True))
    if trace is not None:
        console.print("\n[bold]one trace[/bold]")
        console.print(_tree(trace))
    console.print()


def tables(found: Sequence[Row], width: int, *, ended: bool = False) -> RenderableType:
    """How streams end, and how fast they are.

    Args:
        width: the terminal's columns.
        ended: nothing is open any more.
    """
    from rich.console import Group

    return Group(_endings(found, width, ended), "", _clocks(found, width))


def _table(width: int, *headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 3 if width >= _WIDE else 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    return table


def _endings(found: Sequence[Row], width: int, ended: bool) -> RenderableType:
    from rich.text import Text

    shown = [outcome for outcome in Outcome if outcome is not Outcome.SHUTDOWN or ended]
    headings = _HEADINGS if width >= _WIDE else {**_HEADINGS, **_NARROW}
    table = _table(width, "dialect", "ended" if ended else "open", *(headings.get(one, one) for one in shown))
    for row in found:
        first = row.ended if ended else row.open
        cells = [Text(str(row.outcomes[one]), _STYLES[one]) if row.outcomes.get(one) else _nothing() for one in shown]
        table.add_row(row.dialect, str(first) if first else _nothing(), *cells)
    return table  # type: ignore[no-any-return]  # rich is optional, and its table is made by `_table`


def _clocks(found: Sequence[Row], width: int) -> RenderableType:
    both = "\n   p50    p95"
    wide = width >= _WIDE
    first_byte = f"first byte{both}" if wide else "first\nbyte"
    table = _table(
        width, "dialect", first_byte, f"first token{both}", f"first answer{both}", "chunks\nper s", "stalls", "retries",
    )  # fmt: skip
    for row in found:
        table.add_row(
            row.dialect,
            _both(row.first_byte) if wide else _median(row.first_byte),
            _both(row.first_token),
            _both(row.first_answer),
            _rate(row.rate),
            str(row.stalls) if row.stalls else _nothing(),
            str(row.retries) if row.retries else _nothing(),
        )
    return table  # type: ignore[no-any-return]


def _nothing() -> Any:
    from rich.text import Text

    return Text("-", "dim")


def _rate(times: Times) -> Any:
    rate = times.quantile(0.5)
    if rate is None:
        return _nothing()
    # Where a system hands over a finished text in slices, they come at once.
    return f"{rate:.0f}{'+' if rate >= times.bounds[-1] else ''}"


def _median(times: Times) -> Any:
    median = times.quantile(0.5)
    return _nothing() if median is None else seconds(median)


def _both(times: Times) -> Any:
    median = times.quantile(0.5)
    if median is None:
        return _nothing()
    return f"{seconds(median):>6} {seconds(times.quantile(0.95)):>6}"


def _tree(root: Node) -> RenderableType:
    """A trace: names, durations, outcomes, clocks."""
    from rich.tree import Tree

    def grow(branch: Any, node: Node) -> Any:
        for below in node.below:
            grow(branch.add(_line(below)), below)
        return branch

    return grow(Tree(_line(root), guide_style="dim"), root)  # type: ignore[no-any-return]


def _line(node: Node) -> RenderableType:
    from rich.text import Text

    line = Text(node.span.name, "bold")
    line.append(f"  {seconds(node.duration_s)}", "not bold")
    outcome = node.outcome
    if outcome is not None and (outcome is not Outcome.COMPLETED or node.span.parent is None):
        line.append(f"  {outcome.replace('_', ' ')}", f"not bold {_STYLES[outcome]}")
    if node.remarks:
        line.append("  " + ", ".join(node.remarks), "not bold dim")
    return line
