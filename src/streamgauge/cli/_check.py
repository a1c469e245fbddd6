"""`streamgauge check`: what is set and by what, what is installed, what answers, and whether a stream is measured."""

from __future__ import annotations

import argparse
import os
import platform
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from streamgauge import dialects, semconv
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates
from streamgauge.cli._text import columns, paint
from streamgauge.errors import MissingExtraError, SettingsError, UsageError
from streamgauge.settings import FILE, Settings, load

__all__ = ["add"]

_OK, _PROBLEM, _ABSENT = "ok", "problem", "-"
_ANSWERS_S = 1.0  # a collector is near; the user is waiting
_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([\w-]+)['\"]")


class Finding(NamedTuple):
    """One line."""

    state: str
    """`ok`; `problem`; or `-` for what is not there, and need not be."""
    what: str
    detail: str


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="say what is set, what is installed and what answers",
        description="""\
Print every setting with where it comes from, then check what it takes to work:
exporters, the port of /metrics, the OTLP endpoint, optional dependencies, and
one stream of its own; and the proxy's routes and limits, where the settings
file has them. Exports nothing. The exit code is 1 if there is a problem.""",
        epilog="""\
examples:
  streamgauge check
  streamgauge check --set metrics_exporter=prometheus --set metrics_port=9000
  streamgauge check --config streamgauge.toml
  OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 streamgauge check
""",
        **options,
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=_pair, dest="flags",
        help="check as if setup(NAME=VALUE) was called; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--config", metavar="FILE", help="the settings file (default: streamgauge.toml, if it is there)"
    )
    parser.set_defaults(run=run)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def run(options: argparse.Namespace) -> int:
    flags = dict(options.flags)
    read = _read(flags, options.config)
    print(columns(("SETTING", "VALUE", "FROM"), _sources(read, flags)))
    print()
    problems = 0
    for finding in _checked(read, flags):
        problems += finding.state == _PROBLEM
        _show(finding)
    print()
    if not problems:
        print(paint("All is well.", "green"))
        return 0
    print(paint(f"{problems} problem{'s' if problems > 1 else ''}.", "red"))
    return 1


class Read(NamedTuple):
    """The settings, without what cannot be."""

    settings: Settings
    environ: Mapping[str, str]
    file: str
    errors: list[SettingsError]
    given_file: str
    """As it was named, also where it cannot be read."""


def _read(flags: Mapping[str, str], given: str | None) -> Read:
    """A bad variable or file is what a check is there to find: it is left out, and all else is checked."""
    environ = dict(os.environ)
    file = given or environ.get("STREAMGAUGE_CONFIG") or (FILE if Path(FILE).is_file() else os.devnull)
    given_file = file
    errors: list[SettingsError] = []
    while True:
        try:
            return Read(load(flags, environ=environ, file=file), environ, file, errors, given_file)
        except SettingsError as error:
            if error.name in flags:
                raise UsageError(f"--set {error}") from error
            errors.append(error)
            if error.name in environ:
                del environ[error.name]
            elif file != os.devnull:
                file = os.devnull
            else:
                raise


def _show(finding: Finding) -> None:
    colour = {_OK: "green", _PROBLEM: "red", _ABSENT: "dim"}[finding.state]
    line = columns(None, [(f"{finding.state:<7}", f"{finding.what:<18}", finding.detail)])
    print(line.replace(finding.state, paint(finding.state, colour), 1), flush=True)


def _sources(read: Read, flags: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each setting's name, value and where that comes from."""
    in_file = tomllib.loads(Path(read.file).read_text("utf-8"))
    for setting in fields(read.settings):
        variable = setting.metadata["variable"]
        if setting.name in flags:
            source = "--set"
        elif read.environ.get(variable, "").strip():
            source = variable
        elif setting.name in in_file:
            source = read.file
        else:
            source = f"default; {variable}"
        value = getattr(read.settings, setting.name)
        yield setting.name, str(value).lower() if isinstance(value, bool) else str(value), source


def _checked(read: Read, flags: Mapping[str, str]) -> Iterator[Finding]:
    settings = read.settings
    for error in read.errors:
        yield Finding(_PROBLEM, "settings", f"{error}. It is left out of what is checked here")
    yield Finding(_OK, "streamgauge", f"{__version__}, Python {platform.python_version()}")
    yield Finding(_OK, "opentelemetry", f"API {_version('opentelemetry-api')}, SDK {_version('opentelemetry-sdk')}")
    yield from _extras()
    yield from _dialects()
    if settings.disabled:
        yield Finding(_ABSENT, "exporters", "none: disabled; unset OTEL_SDK_DISABLED to export")
    else:
        yield from _exporters(settings)
        yield from _page(settings)
        yield from _endpoints(settings)
    yield from _proxy(read)
    if read.errors:
        yield Finding(_ABSENT, "self-test", "not run: the settings cannot be read")
    else:
        yield _self_test(flags)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> Iterator[Finding]:
    packages: dict[str, list[str]] = {}
    for requirement in metadata.requires("streamgauge") or ():
        if (match := _EXTRA.match(requirement)) and match[2] != "all":
            packages.setdefault(match[2], []).append(match[1])
    for extra, needed in packages.items():
        missing = [package for package in needed if _version(package) is None]
        if missing:
            yield Finding(
                _ABSENT,
                f"extra {extra}",
                f"not installed: {', '.join(missing)}; to have it: pip install 'streamgauge[{extra}]'",
            )
        else:
            yield Finding(_OK, f"extra {extra}", ", ".join(f"{package} {_version(package)}" for package in needed))


def _dialects() -> Iterator[Finding]:
    working = []
    for name in dialects.names():
        try:
            dialects.find(name)
            working.append(name)
        except Exception as error:  # one from outside may fail in any way
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(_PROBLEM, f"dialect {name}", f"cannot be loaded: {reason}; mend or remove its package")
    yield Finding(_OK, "dialects", ", ".join(working))


def _exporters(settings: Settings) -> Iterator[Finding]:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from streamgauge.telemetry.bounded import within
    from streamgauge.telemetry.exporters import load as load_exporter

    for kind, interface in (("traces", SpanExporter), ("metrics", MetricExporter)):
        names = [name for name in settings.exporters(kind) if name != "prometheus"]
        if not settings.exporters(kind):
            yield Finding(_ABSENT, f"{kind} exporter", f"none: OTEL_{kind.upper()}_EXPORTER=otlp sends {kind}")
        for name in names:
            try:
                exporter = load_exporter(kind, name, interface)
            except (SettingsError, MissingExtraError) as error:
                yield Finding(_PROBLEM, f"{kind} exporter", f"{error}; or set OTEL_{kind.upper()}_EXPORTER=none")
            else:
                within(_ANSWERS_S, exporter.shutdown)
                yield Finding(_OK, f"{kind} exporter", name)


def _page(settings: Settings) -> Iterator[Finding]:
    from streamgauge.telemetry.prometheus import Page, Server

    if "prometheus" not in settings.exporters("metrics"):
        yield Finding(_ABSENT, "/metrics", "not served: OTEL_METRICS_EXPORTER=otlp,prometheus serves it")
        return
    try:
        server = Server(Page(Aggregates()), settings.metrics_host, settings.metrics_port)
    except SettingsError as error:
        yield Finding(_PROBLEM, "/metrics", f"{error}")
        return
    address = server.address
    server.close()
    yield Finding(_OK, "/metrics", f"port {address[1]} on {settings.metrics_host} is free")


def _endpoints(settings: Settings) -> Iterator[Finding]:
    kinds: dict[tuple[str, int], list[str]] = {}
    for kind in ("traces", "metrics"):
        if "otlp" in settings.exporters(kind):
            try:
                kinds.setdefault(_address(kind), []).append(kind)
            except ValueError as error:
                yield Finding(_PROBLEM, "OTLP endpoint", f"{kind}: {error}; it is a URL such as http://localhost:4318")
    for (host, port), names in kinds.items():
        what = f"{host}:{port} ({' and '.join(names)})"
        try:
            socket.create_connection((host, port), _ANSWERS_S).close()
        except OSError as error:
            none = " ".join(f"OTEL_{name.upper()}_EXPORTER=none" for name in names)
            yield Finding(
                _PROBLEM,
                "OTLP endpoint",
                f"{what} does not answer: {error.strerror or error}. Start an OpenTelemetry collector there, say where "
                f"it is with OTEL_EXPORTER_OTLP_ENDPOINT, or export nothing: {none}",
            )
        else:
            yield Finding(_OK, "OTLP endpoint", f"{what} answers")


def _address(kind: str) -> tuple[str, int]:
    """Where OTLP goes, as its exporters read their variables."""

    def given(name: str) -> str:
        for variable in (f"OTEL_EXPORTER_OTLP_{kind.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if text := os.environ.get(variable, "").strip():
                return text
        return ""

    default = 4317 if given("PROTOCOL") == "grpc" else 4318
    endpoint = given("ENDPOINT") or f"http://localhost:{default}"
    url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    if not url.hostname:
        raise ValueError(f"{endpoint!r} has no host")
    return url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme, default)


def _proxy(read: Read) -> Iterator[Finding]:
    """Its routes and limits, without starting it."""
    from streamgauge.proxy.config import load as load_proxy

    if read.errors and read.file == os.devnull:
        return  # the file itself cannot be used, which is said already
    try:
        config = load_proxy(environ=read.environ, file=read.given_file, need_routes=False)
        config.tls()
    except SettingsError as error:
        yield Finding(_PROBLEM, "proxy", f"{error}")
        return
    if not config.routes:
        yield Finding(_ABSENT, "proxy", f"no routes: {FILE} may have them, as [[proxy.route]]")
    for route in config.routes:
        told = f"{route.upstream}, {route.dialect or 'dialect by path'}{', with a token' if route.tokens else ''}"
        yield Finding(_OK, f"route {route.prefix}", told)


def _self_test(flags: Mapping[str, str]) -> Finding:
    """One stream through a pipeline of its own."""
    from streamgauge import testing, wrap

    # Neither captured nor disabled, whatever is set.
    with testing.recording(**{**flags, "capture_dir": "", "disabled": False}) as seen:
        for _ in wrap(iter(("a", "b", "c")), agent_name="check"):
            pass
        completed = seen.value(semconv.STREAMS.name, streamgauge_outcome="completed")
        chunks, spans = seen.value(semconv.CHUNKS.name), len(seen.spans)
    sampler = os.environ.get("OTEL_TRACES_SAMPLER", "")
    if completed != 1 or chunks != 3 or (spans != 1 and not sampler):
        return Finding(
            _PROBLEM,
            "self-test",
            f"a stream of 3 chunks came to {completed:g} streams, {chunks:g} chunks and {spans} spans",
        )
    unsampled = "" if spans else f" (not sampled: OTEL_TRACES_SAMPLER={sampler})"
    return Finding(_OK, "self-test", f"a stream of 3 chunks came to 1 stream, 3 chunks and {spans} span{unsampled}")
