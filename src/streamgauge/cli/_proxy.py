"""`streamgauge proxy`: a reverse proxy that measures the streams that pass."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add"]


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "proxy",
        help="measure the streams of any client, by its base URL",
        description="""\
Pass HTTP on, byte for byte and at once, and measure the streams in it: point a
client's base URL here. Each path prefix has one fixed upstream. /metrics,
/healthz and /readyz are on a port of their own.

SIGTERM or Ctrl-C lets open streams finish for --grace seconds; a second one
ends them at once.""",
        epilog="""\
examples:
  streamgauge proxy --upstream https://api.openai.com
  streamgauge proxy --route /openai=https://api.openai.com \\
                    --route /local=http://127.0.0.1:11434,dialect=ollama
  streamgauge proxy --config streamgauge.toml --workers 4
  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python your_program.py
""",
        **options,
    )
    routes = parser.add_argument_group("routes")
    routes.add_argument("--upstream", metavar="URL", help="where all paths go that no route is for")
    routes.add_argument(
        "--route", action="append", default=[], metavar="PREFIX=URL[,KEY=VALUE...]",
        help="where paths under PREFIX go; keys: dialect, on_disconnect, ...; may be given again",
    )  # fmt: skip
    routes.add_argument("--config", metavar="FILE", help="settings file (default: streamgauge.toml, if it is there)")
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", help="for callers (default: 127.0.0.1)")
    where.add_argument("--port", metavar="N", help="for callers; 0 takes a free one (default: 8080)")
    where.add_argument("--admin-host", metavar="HOST", help="for /metrics and probes (default: localhost)")
    where.add_argument("--admin-port", metavar="N", help="for /metrics and probes (default: 9464)")
    where.add_argument("--tls-certificate", metavar="FILE", help="serve TLS with this chain (PEM)")
    where.add_argument("--tls-key", metavar="FILE", help="its key, where it is in a file of its own")
    where.add_argument("--token-file", metavar="FILE", help="callers must send one of its lines as x-streamgauge-token")
    life = parser.add_argument_group("life and limits")
    life.add_argument("--workers", metavar="N", help="processes that share the port (default: 1)")
    life.add_argument("--grace", metavar="SECONDS", dest="grace_s", help="for open streams after SIGTERM (default: 20)")
    life.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE", type=pair, dest="limits",
        help="a limit, such as max_streams=500; may be given again",
    )  # fmt: skip
    life.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=pair, dest="general",
        help="a general setting, such as stall_after_s=5; may be given again",
    )  # fmt: skip
    parser.set_defaults(run=run)


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def run(options: argparse.Namespace) -> int:
    # Here, and not above: `--help` need not wait for it.
    from streamgauge.proxy import config, process

    names = [option.name for option in config.OPTIONS]
    admin = {"metrics_host": options.admin_host, "metrics_port": options.admin_port}
    found = config.load(
        {name: getattr(options, name) for name in names},
        routes=options.route,
        upstream=options.upstream,
        limits=dict(options.limits),
        general_flags=dict(options.general) | {name: value for name, value in admin.items() if value is not None},
        file=options.config,
    )
    process.logging_to_stderr()
    return process.run(found)
