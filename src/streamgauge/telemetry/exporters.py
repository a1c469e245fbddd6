"""Exporters by the names of `OTEL_TRACES_EXPORTER` and `OTEL_METRICS_EXPORTER`, as they are installed.

Any package's will do: they are found by OpenTelemetry's own entry points. They read their own variables.
"""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from streamgauge.errors import MissingExtraError, SettingsError

__all__ = ["installed", "load"]

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""The value of `OTEL_EXPORTER_OTLP_PROTOCOL`: the entry point that speaks it."""
_BUILT_IN = {"traces": ("otlp",), "metrics": ("otlp", "prometheus")}


def installed(kind: str) -> dict[str, EntryPoint]:
    """The entry points of `traces` or `metrics` exporters by name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"opentelemetry_{kind}_exporter"):
        found.setdefault(entry.name, entry)  # of two packages the one that comes first on the path, as in the SDK
    return found


def load(kind: str, name: str, interface: type) -> Any:
    """A new exporter.

    Args:
        kind: `traces` or `metrics`.
        interface: what it must be.
    Raises: MissingExtraError where OTLP is not installed, SettingsError for a name that nobody has or that does not
    work.
    """
    variable = f"OTEL_{kind.upper()}_EXPORTER"
    found = installed(kind)
    if name == "otlp" or name in _PROTOCOLS.values():
        entry = found.get(_otlp(kind) if name == "otlp" else name)
        if entry is None:
            raise MissingExtraError("OTLP export", "otlp")
    elif name in found:
        entry = found[name]
    else:
        known = ", ".join(sorted({*found, *_BUILT_IN[kind], "none"}))
        raise SettingsError(variable, f"there is no exporter {name!r}; installed are {known}")
    try:
        exporter = entry.load()()
    except ImportError as error:
        if entry.name in _PROTOCOLS.values():
            raise MissingExtraError("OTLP export", "otlp") from error
        raise SettingsError(variable, f"the exporter {name!r} cannot be imported: {error}") from error
    except Exception as error:
        raise SettingsError(variable, f"the exporter {name!r} cannot be set up: {error}") from error
    if not isinstance(exporter, interface):
        raise SettingsError(variable, f"{name!r} is no {interface.__name__}, so it cannot be used here")
    return exporter


def _otlp(kind: str) -> str:
    for variable in (f"OTEL_EXPORTER_OTLP_{kind.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable, "").strip()
        if protocol:
            if protocol not in _PROTOCOLS:
                raise SettingsError(variable, f"{protocol!r} is not allowed; it takes {' or '.join(_PROTOCOLS)}")
            return _PROTOCOLS[protocol]
    return _PROTOCOLS["http/protobuf"]
