"""`streamgauge demo`: streams of every dialect, played through the real in-process transport."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgauge.capture import Capture
    from streamgauge.cli._streams import Play
    from streamgauge.pipeline import Pipeline

__all__ = ["add"]

_CALLERS = 3  # of each dialect, at one time
_IN_THREADS = "shipit-agent"  # its streams are sync, as most callers of it have them
_DEADLINE_S = 0.8  # of a stream that is to time out

_NEXT = """\
[bold]what to try next[/bold]
  streamgauge demo --duration 600     and in another terminal:
    curl -s {url}
  streamgauge dialects zag            what becomes of each event
  streamgauge check                   your settings, exporters and endpoints
  streamgauge replay FILE             a stream of yours, recorded with STREAMGAUGE_CAPTURE_DIR=captures

[bold]in your own program[/bold]  (docs/quickstart.md)
  import streamgauge
  streamgauge.setup()
  agent = streamgauge.wrap(agent)     the same agent, whose streams are measured"""


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it work: scripted streams of every dialect, no service needed",
        description="Play captured and scripted streams of every dialect at once, with tool failures, retries, stalls, cuts,\n"
        "cancellations and time-outs among them, measured as in your program. Shows the numbers live, serves\n"
        "them on /metrics, and ends with a summary and one trace as a tree. Needs no service.\n"
        "Spans and metrics also go to OTLP, if OTEL_EXPORTER_OTLP_ENDPOINT is set.",
        epilog="""examples:
  streamgauge demo
  streamgauge demo --duration 600                            until Ctrl-C, or ten minutes
  curl -s http://localhost:9464/metrics                      what Prometheus sees of it
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 streamgauge demo
""",
        **options,
    )
    parser.add_argument(
        "--duration", type=_duration, default=20.0, metavar="SECONDS", help="how long to play (default: 20)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="play the same streams again (default: 1)")
    parser.set_defaults(run=run)


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def run(options: argparse.Namespace) -> int:
    from streamgauge import pipeline as pipelines
    from streamgauge.cli import _view
    from streamgauge.cli._exports import start
    from streamgauge.cli._numbers import rows
    from streamgauge.cli._streams import STALL_AFTER_S, captures
    from streamgauge.cli._traces import Traces

    console = _view.console()
    pipeline = start(page=True, stall_after_s=STALL_AFTER_S)
    url = _url(*pipeline.telemetry.metrics_address)
    traces = Traces.of(pipeline)
    demo = Demo(pipeline, captures(), options.seed)
    began = time.monotonic()

    def title() -> str:
        return f"[bold]streamgauge demo[/bold]  {time.monotonic() - began:.0f} of {options.duration:g} s  {url}  [dim]Ctrl-C ends[/dim]"

    if not console.is_terminal:
        print(f"/metrics: {url}", flush=True)
    shown = _view.live(console, pipeline, title) if console.is_terminal else nullcontext()
    with shown:
        stopped = asyncio.run(demo.play(options.duration))
    console.print(f"[bold]streamgauge demo[/bold]  {time.monotonic() - began:.0f} s, seed {options.seed}\n")
    console.print(_view.tables(rows(pipeline), console.width, ended=True))
    root = traces.most_telling()
    if root is not None:
        console.print("\n[bold]one trace[/bold]")
        console.print(_view.tree(root))
    console.print()
    console.print(_NEXT.format(url=url))
    pipelines.shutdown()
    return 128 + stopped if stopped else 0


def _url(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104  (asked for by the user; it is reached by this name)
        host = "localhost"
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"


class _Over(SystemExit):
    """Ends a thread's stream as the end of the program does."""


class Demo:
    """All callers, and how they stop."""

    def __init__(self, pipeline: Pipeline, captures: dict[str, list[Capture]], seed: int) -> None:
        self._pipeline = pipeline
        self._captures = captures
        self._seed = seed
        self._over = threading.Event()
