"""What the proxy is told: where it listens, its routes and its limits. A flag wins over the environment, that over the
file, that over the default.

The file is the one of the general settings, which are in it too: the tables `[proxy]`, `[proxy.limits]` and
`[[proxy.route]]` are the proxy's. Routes of the same prefix: one from a flag replaces one from the environment or file.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from streamgauge import settings as general
from streamgauge.errors import SettingsError
from streamgauge.proxy.file import Place, Table, mistake, nearest, number, read, text
from streamgauge.proxy.routes import KEYS, limits_of, made, tokens_in, written
from streamgauge.settings import FILE, Settings
from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.routes import Route

__all__ = ["OPTIONS", "ROUTES", "TOKENS", "UPSTREAM", "Config", "load", "variable"]

UPSTREAM = "STREAMGAUGE_PROXY_UPSTREAM"
ROUTES = "STREAMGAUGE_PROXY_ROUTES"
TOKENS = "STREAMGAUGE_PROXY_TOKENS"
_ADMIN = {"metrics_host": "--admin-host", "metrics_port": "--admin-port"}
_PREFIX = "STREAMGAUGE_PROXY_"


def _option(default: Any, help: str, allowed: str, least: float = 0, most: float = float("inf")) -> Any:
    return field(default=default, metadata={"help": help, "allowed": allowed, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class Config:
    """All that one proxy is told."""

    routes: tuple[Route, ...]
    limits: Limits
    settings: Settings
    """The general ones, also where the admin port is: `metrics_host` and `metrics_port`."""
    host: str = _option("127.0.0.1", "Where it listens for callers.", "a host name or an address")
    port: int = _option(8080, "The port for callers; 0 takes a free one.", "0 to 65535", 0, 65_535)
    workers: int = _option(1, "Processes that share the port.", "a whole number from 1 to 256", 1, 256)
    grace_s: float = _option(
        20.0, "How long streams may go on after SIGTERM; with exporters' 5 s it is below Kubernetes' 30 s.",
        "a number from 0",
    )  # fmt: skip
    token_file: str = _option("", "Callers must send one of its lines as x-streamgauge-token.", "a file")
    tls_certificate: str = _option("", "Serve TLS with this certificate chain (PEM).", "a file")
    tls_key: str = _option("", "The certificate's key (PEM), where it is not in the same file.", "a file")

    def tls(self) -> ssl.SSLContext | None:
        """For callers' connections.

        Raises: SettingsError
        """
        if not self.tls_certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.tls_certificate, self.tls_key or None, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            files = " with ".join(filter(None, (self.tls_certificate, self.tls_key)))
            why = getattr(error, "strerror", None) or error
            problem = f"{files} cannot be used: {why}; it takes PEM, without a password"
            raise SettingsError("tls_certificate", problem) from error
        return context


def _no_password() -> str:  # else OpenSSL asks on the terminal
    return ""


OPTIONS = tuple(each for each in fields(Config) if each.metadata)


def variable(name: str) -> str:
    """The variable of an option or a limit."""
    return f"{_PREFIX}{name.upper()}"


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    routes: Sequence[str] = (),
    upstream: str | None = None,
    limits: Mapping[str, str] | None = None,
    general_flags: Mapping[str, Any] | None = None,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    need_routes: bool = True,
) -> Config:
    """What is set.

    Args:
        flags: fields of `Config` by name; None is not given.
        routes, upstream, limits: of the command line.
        general_flags: fields of `Settings`.
        file: instead of the one that `STREAMGAUGE_CONFIG` names.
    Raises: SettingsError, which names where a value stands (in a file: the line) and what is allowed.
    """
    environ = os.environ if environ is None else environ
    path = file or environ.get("STREAMGAUGE_CONFIG") or (FILE if os.path.isfile(FILE) else None)
    whole = read(path) if path else Table({}, FILE, (), {})
    whole.known([*(each.name for each in fields(Settings)), "proxy"])
    table = whole.table("proxy")
    table.known([*(each.name for each in OPTIONS), "upstream", "tokens", "limits", "route"])

    settings = _general(general_flags, environ, path, whole)
    given: dict[str, Any] = {}
    for option in OPTIONS:
        place = _first(option.name, flags or {}, environ, table)
        if place is not None:
            given[option.name] = _converted(option, place)
    found = limits_of(_limits(limits or {}, environ, table.table("limits")), Limits())
    tokens = tokens_in(table.place("tokens")) if "tokens" in table else ()
    if environ.get(TOKENS, "").strip():
        tokens = tokens_in(Place(environ[TOKENS], TOKENS))
    if given.get("token_file"):
        tokens = tokens_in(_first("token_file", flags or {}, environ, table), file=True)
    all_routes = _routes(routes, upstream, environ, table, found, tokens)
    if not all_routes and need_routes:
        raise SettingsError(
            "no route", f"give --upstream URL, --route PREFIX=URL, or [[proxy.route]] in {path or FILE}"
        )
    config = Config(tuple(all_routes), found, settings, **given)
    if config.tls_key and not config.tls_certificate:
        raise SettingsError("tls_key", "is of no use without tls_certificate")
    return config


def _first(name: str, flags: Mapping[str, Any], environ: Mapping[str, str], table: Table) -> Place | None:
    """The value that counts. An empty variable counts as unset."""
    if flags.get(name) is not None:
        return Place(flags[name], f"--{name.removesuffix('_s').replace('_', '-')}")
    if environ.get(variable(name), "").strip():
        return Place(environ[variable(name)].strip(), variable(name))
    return table.place(name) if name in table else None


def _converted(option: Any, place: Place) -> Any:
    about, kind = option.metadata, type(option.default)
    if kind is str:
        value = text(place, about["allowed"])
        if not value:
            raise mistake(place, about["allowed"])
        return value
    return number(place, kind, about["allowed"], about["least"], about["most"])


def _limits(flags: Mapping[str, str], environ: Mapping[str, str], table: Table) -> dict[str, Place]:
    names = [each.name for each in fields(Limits)]
    for name in flags:
        if name not in names:
            raise SettingsError(f"--limit {name}", f"there is no limit {name!r}{nearest(name, names)}")
    table.known(names)
    places = {name: table.place(name) for name in table}
    places |= {
        name: Place(environ[variable(name)].strip(), variable(name))
        for name in names
        if environ.get(variable(name), "").strip()
    }
    return places | {name: Place(value, f"--limit {name}") for name, value in flags.items()}


def _routes(
    flags: Sequence[str], upstream: str | None, environ: Mapping[str, str], table: Table, limits: Limits,
    tokens: tuple[str, ...],
) -> list[Route]:  # fmt: skip
    """Those of all sources: of one prefix, the one of the strongest source."""
    found: dict[str, Route] = {}

    def add(source: dict[str, str], route: Route, where: str) -> None:
        if route.prefix in source:
            first = source[route.prefix]
            raise SettingsError(where, f"a second route with the prefix {route.prefix!r}; the first is {first}")
        source[route.prefix] = where
        found[route.prefix] = route

    in_file: dict[str, str] = {}
    if "upstream" in table:
        place = table.place("upstream")
        add(in_file, made({"upstream": place}, limits, tokens), place.where)
    for each in table.tables("route"):
        each.known(KEYS)
        where = each.place("prefix").where if "prefix" in each else each.where
        if "upstream" not in each:
            raise SettingsError(each.where, 'a route needs an upstream: upstream = "https://..."')
        add(in_file, made({name: each.place(name) for name in each}, limits, tokens, each), where)
    in_environ: dict[str, str] = {}
    if environ.get(UPSTREAM, "").strip():
        add(in_environ, made({"upstream": Place(environ[UPSTREAM].strip(), UPSTREAM)}, limits, tokens), UPSTREAM)
    for line in environ.get(ROUTES, "").split():
        add(in_environ, made(written(line, ROUTES), limits, tokens), f"{ROUTES} {line.partition('=')[0]}")
    in_flags: dict[str, str] = {}
    if upstream is not None:
        add(in_flags, made({"upstream": Place(upstream, "--upstream")}, limits, tokens), "--upstream")
    for line in flags:
        add(in_flags, made(written(line, "--route"), limits, tokens), f"--route {line.partition('=')[0]}")
    return list(found.values())


def _general(flags: Mapping[str, Any] | None, environ: Mapping[str, str], path: str | None, whole: Table) -> Settings:
    """The settings that all of streamgauge has."""
    try:
        return general.load(flags, environ=environ, file=path or os.devnull)
    except SettingsError as error:
        key = error.name.removeprefix(f"{path}, ")
        if error.name in (flags or {}):
            raise SettingsError(_ADMIN.get(error.name, f"--set {error.name}"), error.problem) from error
        if key in whole and key != error.name:
            raise SettingsError(whole.place(key).where, error.problem) from error
        raise
