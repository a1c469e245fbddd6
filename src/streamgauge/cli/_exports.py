"""What the commands that play streams export: nothing that was not asked for."""

from __future__ import annotations

import os
from typing import Any

from streamgauge import pipeline as pipelines
from streamgauge.errors import SettingsError
from streamgauge.pipeline import Pipeline
from streamgauge.settings import Settings, load

__all__ = ["start"]

_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"


def start(*, page: bool, **flags: Any) -> Pipeline:
    """`setup`, with OTLP only where an endpoint is named, and other exporters only where their variable is set.

    Args:
        page: serve /metrics; on a free port, where the usual one is taken.
        flags: fields of `Settings`.
    Raises: SettingsError, MissingExtraError
    """
    otlp = any(os.environ.get(variable) for variable in _ENDPOINTS)
    metrics = os.environ.get("OTEL_METRICS_EXPORTER") or ("otlp" if otlp else "none")
    flags |= {
        "disabled": False,  # there is nothing else to see
        "traces_exporter": None if otlp or os.environ.get("OTEL_TRACES_EXPORTER") else "none",
        "metrics_exporter": f"{metrics},prometheus" if page else metrics,
    }
    try:
        return pipelines.setup(**flags)
    except SettingsError as error:
        if error.name != _PORT or load().metrics_port != Settings().metrics_port:
            raise
        return pipelines.setup(**flags, metrics_port=0)
