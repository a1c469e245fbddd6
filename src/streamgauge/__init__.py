"""streamgauge: OpenTelemetry-instrumented streaming middleware for agents.

    import streamgauge

    agent = streamgauge.wrap(agent)

Importing this loads neither the OpenTelemetry SDK nor any optional dependency.
"""

from streamgauge._version import __version__
from streamgauge.assembly import Run, run, wrap
from streamgauge.dialects import Dialect
from streamgauge.errors import (
    CaptureError,
    FormatError,
    FramingError,
    MissingExtraError,
    SettingsError,
    StreamgaugeError,
    UnknownDialectError,
    UnwrappableError,
    UsageError,
)
from streamgauge.pipeline import Pipeline, observe, setup, shutdown
from streamgauge.settings import Settings
from streamgauge.wire import Granularity, Outcome, Request

__all__ = [
    "CaptureError",
    "Dialect",
    "FormatError",
    "FramingError",
    "Granularity",
    "MissingExtraError",
    "Outcome",
    "Pipeline",
    "Request",
    "Run",
    "Settings",
    "SettingsError",
    "StreamgaugeError",
    "UnknownDialectError",
    "UnwrappableError",
    "UsageError",
    "__version__",
    "observe",
    "run",
    "setup",
    "shutdown",
    "wrap",
]
