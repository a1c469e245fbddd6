"""`streamgauge demo`: streams of every dialect, played through the real in-process transport."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgauge.cli._callers import Callers

__all__ = ["add"]

_NEXT = """\
[bold]what to try next[/bold]
  streamgauge demo --duration 600  and then, in another terminal:
    curl -s {url}
  streamgauge dialects zag         what becomes of each event of a system
  streamgauge check                your settings, exporters and endpoints
  streamgauge replay FILE          a stream of yours: STREAMGAUGE_CAPTURE_DIR
                                   records them

[bold]in your own program[/bold]
  import streamgauge
  streamgauge.setup()
  agent = streamgauge.wrap(agent)  the same agent, its streams are measured

[bold]with no line of code[/bold]
  streamgauge proxy --upstream https://api.openai.com
  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python your_program.py
  streamgauge exec -- claude -p "Fix the tests" --output-format stream-json"""


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it work, with scripted streams of every dialect",
        description="""\
Play captured and scripted streams of every dialect at once, with tool failures,
retries, stalls, cuts, cancellations and time-outs among them, measured as in
your program. Shows the numbers live, serves them on /metrics, and ends with a
summary and one trace as a tree. Needs no service.

Spans and metrics also go to OTLP, if OTEL_EXPORTER_OTLP_ENDPOINT is set.""",
        epilog="""\
examples:
  streamgauge demo
  streamgauge demo --duration 600           ten minutes, or until Ctrl-C
  curl -s http://localhost:9464/metrics     meanwhile: what Prometheus sees
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
    # Here, and not above: the SDK and rich take a quarter of a second, which `--help` need not wait for.
    from streamgauge import pipeline as pipelines
    from streamgauge.cli import _view
    from streamgauge.cli._callers import Callers
    from streamgauge.cli._exports import start
    from streamgauge.cli._numbers import rows
    from streamgauge.cli._streams import STALL_AFTER_S, captures
    from streamgauge.cli._traces import Traces

    console = _view.console()
    service = os.environ.get("OTEL_SERVICE_NAME") or "streamgauge-demo"
    pipeline = start(page=True, service_name=service, stall_after_s=STALL_AFTER_S)
    url = _url(*pipeline.telemetry.metrics_address)
    traces = Traces.of(pipeline)
    callers = Callers(pipeline, captures(), options.seed)
    began = time.monotonic()

    def title() -> str:
        now = f"{time.monotonic() - began:.0f} of {options.duration:g} s"
        return f"[bold]streamgauge demo[/bold]  {now}  {url}  [dim]Ctrl-C ends it[/dim]"

    if not console.is_terminal:
        print(f"streamgauge demo: {options.duration:g} s, {url}", flush=True)
    with _view.live(console, pipeline, title) if console.is_terminal else nullcontext():
        stopped = asyncio.run(_play(callers, options.duration))
    console.print(f"[bold]streamgauge demo[/bold]  {time.monotonic() - began:.0f} s, seed {options.seed}\n")
    _view.summary(console, rows(pipeline), traces.most_telling())
    console.print(_NEXT.format(url=url))
    pipelines.shutdown()
    return 128 + stopped if stopped else 0


async def _play(callers: Callers, seconds: float) -> int:
    """Returns the number of what ended it early: Ctrl-C, or SIGTERM. A second one ends it without a summary."""
    loop = asyncio.get_running_loop()
    until = asyncio.Event()
    stopped = 0

    def stop(number: int) -> None:
        nonlocal stopped
        stopped = number
        until.set()
        for other in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(other)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await callers.play(until, seconds)
    return stopped


def _url(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104  (asked for by the user; from here it is reached by this name)
        host = "localhost"
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"
