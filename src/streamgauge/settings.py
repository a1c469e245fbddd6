"""Settings: one frozen dataclass, filled from flags, the environment, a file and defaults, in that order.

Where OpenTelemetry has a variable of its own, that one is the setting's variable: there is no second name for it.
What exporters read by themselves (`OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER`, ...) is left to them.

The file is TOML: `streamgauge.toml` in the working directory, or the one that `STREAMGAUGE_CONFIG` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from streamgauge.errors import SettingsError

__all__ = ["FILE", "Settings", "load"]

FILE = "streamgauge.toml"
_OTHERS = frozenset({"proxy"})  # tables of the file that are read by whom they are for


def _setting(default: Any, variable: str, help: str, allowed: str, check: Callable[[Any], bool] | None = None) -> Any:
    return field(
        default=default,
        metadata={"variable": variable, "help": help, "allowed": allowed, "check": check or (lambda _: True)},
    )


def _exporters(value: str) -> bool:
    return bool(value.strip())


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be set. Each field's metadata names its variable, what it does and what is allowed."""

    service_name: str = _setting("", "OTEL_SERVICE_NAME", "The resource's service.name.", "text")
    disabled: bool = _setting(False, "OTEL_SDK_DISABLED", "Export nothing; streams pass all the same.", "true or false")
    traces_exporter: str = _setting(
        "none", "OTEL_TRACES_EXPORTER", "Where spans go; by default to otlp where an endpoint for it is set.",
        "otlp, console, none, or an installed exporter's name", _exporters,
    )  # fmt: skip
    metrics_exporter: str = _setting(
        "prometheus", "OTEL_METRICS_EXPORTER",
        "Where metrics go, separated by commas; by default also to otlp where an endpoint for it is set.",
        "otlp, prometheus, console, none, or an installed exporter's name", _exporters,
    )  # fmt: skip
    metric_export_interval_ms: int = _setting(
        60_000, "OTEL_METRIC_EXPORT_INTERVAL", "Milliseconds between two exports of metrics.",
        "a whole number from 100", lambda value: value >= 100,
    )  # fmt: skip
    exemplar_filter: str = _setting(
        "trace_based", "OTEL_METRICS_EXEMPLAR_FILTER", "Which observations become exemplars.",
        "trace_based, always_on or always_off", lambda value: value in ("trace_based", "always_on", "always_off"),
    )  # fmt: skip
    metrics_host: str = _setting("localhost", "OTEL_EXPORTER_PROMETHEUS_HOST", "Where /metrics listens.", "a host name")
    metrics_port: int = _setting(
        9464, "OTEL_EXPORTER_PROMETHEUS_PORT", "The port of /metrics; 0 takes a free one.", "0 to 65535",
        lambda value: 0 <= value <= 65_535,
    )  # fmt: skip
    capture_content: str = _setting(
        "NO_CONTENT", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        "Whether prompts, outputs, tool arguments and results go on spans.",
        "NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT, true or false",
        lambda value: value.upper() in ("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT", "TRUE", "FALSE"),
    )  # fmt: skip
    content_max_bytes: int = _setting(
        16_384, "STREAMGAUGE_CONTENT_MAX_BYTES", "The longest content attribute.", "a whole number from 0",
        lambda value: value >= 0,
    )  # fmt: skip
    profile: str = _setting(
        "released", "STREAMGAUGE_PROFILE", "Which names of the GenAI conventions are used.", "released or dev",
        lambda value: value in ("released", "dev"),
    )  # fmt: skip
    stall_after_s: float = _setting(
        10.0, "STREAMGAUGE_STALL_AFTER_S", "Seconds of silence that are a stall.", "a number above 0",
        lambda value: value > 0,
    )  # fmt: skip
    label_cap: int = _setting(
        100, "STREAMGAUGE_LABEL_CAP", "Distinct values of one metric label; further ones become `other`.",
        "a whole number from 1", lambda value: value >= 1,
    )  # fmt: skip
    intended_ends_are_errors: bool = _setting(
        False, "STREAMGAUGE_INTENDED_ENDS_ARE_ERRORS",
        "Spans of cancelled and abandoned streams have the status Error.", "true or false",
    )  # fmt: skip
    chunk_meter: bool = _setting(
        False, "STREAMGAUGE_CHUNK_METER",
        "Without setup(): record each chunk gap on the host's meter too, at 7 µs a chunk.", "true or false",
    )  # fmt: skip
    capture_dir: str = _setting("", "STREAMGAUGE_CAPTURE_DIR", "Write each stream to a capture file there.", "a folder")
    capture_max_bytes: int = _setting(
        67_108_864, "STREAMGAUGE_CAPTURE_MAX_BYTES", "The longest capture file.", "a whole number from 1024",
        lambda value: value >= 1024,
    )  # fmt: skip
    shutdown_timeout_s: float = _setting(
        5.0, "STREAMGAUGE_SHUTDOWN_TIMEOUT_S", "The longest that shutting down waits for exporters.", "a number from 0",
        lambda value: value >= 0,
    )  # fmt: skip

    @property
    def spans_have_content(self) -> bool:
        return self.capture_content.upper() in ("SPAN_ONLY", "SPAN_AND_EVENT", "TRUE")

    def exporters(self, kind: str) -> tuple[str, ...]:
        """The names in `traces` or `metrics` exporters, without `none`."""
        listed = self.traces_exporter if kind == "traces" else self.metrics_exporter
        return tuple(name for name in (part.strip() for part in listed.split(",")) if name and name != "none")


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> Settings:
    """The settings as they stand.

    Args:
        flags: fields by name; None is not given.
        environ: the environment; by default the process's. An empty variable counts as unset, as OpenTelemetry has it.
        file: instead of the one that `STREAMGAUGE_CONFIG` names.
    Raises: SettingsError for a value that cannot be; it names where the value stands and what is allowed.
    """
    environ = os.environ if environ is None else environ
    given: dict[str, Any] = {}
    from_file = _read(file or environ.get("STREAMGAUGE_CONFIG") or None)
    # OpenTelemetry's own default is otlp to a collector on this machine: where there is none, an error a minute.
    for kind, otherwise in (("traces", ""), ("metrics", "prometheus,")):
        if environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{kind.upper()}_ENDPOINT"):
            given[f"{kind}_exporter"] = f"{otherwise}otlp"
    known = {setting.name: setting for setting in fields(Settings)}
    for name, (value, where) in from_file.items():
        if name not in known:
            raise SettingsError(where, f"there is no setting {name!r}; known are {', '.join(sorted(known))}")
        given[name] = _converted(known[name], value, where)
    for name, setting in known.items():
        text = environ.get(setting.metadata["variable"], "").strip()
        if text:
            given[name] = _converted(setting, text, setting.metadata["variable"])
    for name, value in (flags or {}).items():
        if name not in known:
            raise SettingsError(name, f"there is no such setting; known are {', '.join(sorted(known))}")
        if value is not None:
            given[name] = _converted(known[name], value, name)
    return Settings(**given)


def _read(file: str | os.PathLike[str] | None) -> dict[str, tuple[Any, str]]:
    path = os.fspath(file or FILE)
    if file is None and not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as opened:
            text = opened.read()
    except OSError as error:
        raise SettingsError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(path, f"is not UTF-8: {error}") from error
    import tomllib  # 3 ms, and only where there is a file

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, f"is not TOML: {error}") from error
    return {name: (value, f"{path}, {name}") for name, value in table.items() if name not in _OTHERS}


_FROM: dict[type, tuple[type, ...]] = {
    str: (str, os.PathLike, int, float),
    int: (str, int),
    float: (str, int, float),
}
"""What a value may be given as: text in the environment, TOML's own types in a file, anything in a flag."""


def _converted(setting: Any, value: Any, where: str) -> Any:
    kind = type(setting.default)
    problem = SettingsError(where, f"{value!r} is not allowed; it takes {setting.metadata['allowed']}")
    try:
        if kind is bool:
            converted: Any = {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        elif isinstance(value, bool) and kind is str and "true or false" in setting.metadata["allowed"]:
            converted = str(value).lower()
        elif not isinstance(value, _FROM[kind]) or isinstance(value, bool):
            raise problem
        else:
            converted = kind(value)
            if kind is float and not isfinite(converted):
                raise problem
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise problem from error
    if not setting.metadata["check"](converted):
        raise problem
    return converted
