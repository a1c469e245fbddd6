"""`streamgauge replay`: captured streams once more, as they were."""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamgauge import dialects
from streamgauge.errors import CaptureError, UnknownDialectError, UsageError

if TYPE_CHECKING:
    from streamgauge.capture import Capture

__all__ = ["add"]


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "replay",
        help="play captured streams once more, and show what they did",
        description="""\
Play captured streams once more, on the same path as live: the same spans with
the same times, the same metrics. Shows how they ended, their clocks, and one
trace as a tree.

Exports nothing, unless OTEL_EXPORTER_OTLP_ENDPOINT is set.""",
        epilog="""\
examples:
  STREAMGAUGE_CAPTURE_DIR=captures python your_program.py    record
  streamgauge replay captures/*.ndjson                       at once
  streamgauge replay --speed 1 capture.ndjson                as it was, live
  streamgauge replay --dialect zag capture.ndjson            read it as zag's
""",
        **options,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a capture; - reads standard input")
    parser.add_argument(
        "--speed", type=_speed, metavar="N", help="N times as fast as it was (default: as fast as possible)"
    )
    parser.add_argument(
        "--dialect",
        metavar="D",
        help="how the events are read, whatever the file says; captures of the older form do not say",
    )
    parser.set_defaults(run=run)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return speed


def run(options: argparse.Namespace) -> int:
    from streamgauge import pipeline as pipelines
    from streamgauge.cli import _view
    from streamgauge.cli._exports import start
    from streamgauge.cli._numbers import blind, rows
    from streamgauge.cli._traces import Traces
    from streamgauge.replay import replay

    console = _view.console()
    captures = [_read(file, options.dialect) for file in options.files]
    pipeline = start(page=False)
    traces = Traces.of(pipeline)
    what = f"{len(captures)} capture{'s' if len(captures) > 1 else ''}"
    watched = options.speed and console.is_terminal
    began = time.monotonic()
    code = 0
    try:
        with _view.live(console, pipeline, lambda: f"replaying {what}") if watched else nullcontext():
            for capture in captures:
                replay(capture, pipeline, speed=options.speed)
    except KeyboardInterrupt:  # what has been played is shown
        code = 130
    finally:
        pipelines.shutdown()
    events = sum(len(capture.events) for capture in captures)
    played = f"{'stopped after' if code else 'played in'} {time.monotonic() - began:.2f} s"
    console.print(f"{what}, {events} event{'s' if events != 1 else ''}, {played}\n")
    _view.summary(console, rows(pipeline), traces.most_telling())
    if unread := blind(pipeline):
        print(f"streamgauge: {unread} of the streams could not be decoded to the end; see above", file=sys.stderr)
        return code or 1
    return code


def _read(file: str, dialect: str | None) -> Capture:
    from dataclasses import replace

    from streamgauge.capture import read

    if dialect is not None and dialect not in dialects.names():
        raise UnknownDialectError(dialect, dialects.names())
    try:
        capture = read(sys.stdin.buffer if file == "-" else Path(file), dialect=dialect)
    except OSError as error:
        raise UsageError(f"{file}: {(error.strerror or str(error)).lower()}; give a capture file") from error
    except CaptureError as error:
        if str(error).endswith("give one"):
            raise CaptureError(f"{error} with --dialect: {', '.join(dialects.names())}") from error
        raise
    if dialect is not None:
        capture = replace(capture, request=replace(capture.request, dialect=dialect))
    if capture.request.dialect not in dialects.names():
        raise CaptureError(f"{file}: {UnknownDialectError(capture.request.dialect, dialects.names())}")
    return capture
