"""One process that serves callers: from the start to the last stream.

SIGTERM or SIGINT: no more connections are accepted, `/readyz` answers 503, streams go on for `grace_s`, those that are
left end as `shutdown`, and the exit code is 0. A second one cuts the streams at once. SIGHUP changes nothing.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from streamgauge import duplex, httpwatch, pipeline, semconv, telemetry
from streamgauge.errors import MissingExtraError
from streamgauge.pipeline import Pipeline, known_dialect
from streamgauge.proxy.admin import Admin, State
from streamgauge.proxy.config import Config
from streamgauge.proxy.sockets import address, bound, is_loopback
from streamgauge.settings import Settings
from streamgauge.transports.http.routes import Route

if TYPE_CHECKING:
    from streamgauge.transports.http import Server

__all__ = ["DEAD_S", "STUCK_S", "Process", "about", "announce", "flush", "hung_up", "logging_to_stderr", "run",
           "serves_page", "set_up", "watched"]  # fmt: skip

log = logging.getLogger("streamgauge.proxy")

_TRANSPORT = "http"
_WEBSOCKET = "websocket"
_BEAT_S = 0.25
STUCK_S = 5.0
"""An event loop that has not turned for so long serves nobody: not ready. A healthy one does in milliseconds."""
DEAD_S = 30.0
"""After so long it will not recover: a restart costs its streams, which get nothing anyway."""
_SWITCH_S = 0.000_5
"""For how long a thread that renders `/metrics` keeps the interpreter from the event loop: with Python's own 5 ms, each
piece of a stream took 5.2 ms to pass meanwhile (median), with this 0.8 ms."""
_YOUNG = 20_000
"""New objects until Python looks for cycles among them. What streams leave behind is freed without that, but with
Python's own 700 it looks ten times for a hundred streams that come at once, and in vain: a twentieth of all CPU."""
_CUT_S = 0.25
_AT_ONCE_S = 1.0
"""For exporters, after a second signal."""


class Process:
    """The event loop, and how it is."""

    def __init__(self, config: Config, listener: socket.socket, made: Pipeline) -> None:
        self.config = config
        self._listener = listener
        self._pipeline = made
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = time.monotonic()
        self._accepting = False
        self._told: set[str] = set()
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()
        self.code = 0

    # Asked from any thread --------------------------------------------------------------------------------------

    def silent_s(self) -> float:
        """Since the event loop last turned."""
        return time.monotonic() - self._beat

    @property
    def accepting(self) -> bool:
        return self._accepting

    def state(self) -> State:
        silent_s = self.silent_s()
        if silent_s >= STUCK_S:
            return State(silent_s < DEAD_S, False, f"the event loop has not turned for {silent_s:.0f} s")
        if self._accepting:
            return State(True, True, "ready")
        return State(True, False, "draining" if self._stopping.is_set() else "starting")

    def tell(self, what: str, number: int = 0) -> None:
        """As `stop`, from any thread."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self.stop, what, number)
            except RuntimeError:
                pass  # it is over

    # On the event loop ------------------------------------------------------------------------------------------

    def stop(self, what: str, number: int = 0) -> None:
        """Stop accepting, and end; at once where the same has been said before.

        Args:
            what: who says it: `signal` or `supervisor`; `now` for at once.
            number: of the signal.
        """
        if what == "now" or what in self._told:
            self.code = 128 + number if number else self.code
            self._now.set()
        self._told.add(what)
        self._stopping.set()

    def run(self, ready: Callable[[], None]) -> int:
        """Serve until told to stop.

        Args:
            ready: called when callers are accepted.
        Returns: the exit code. Exporters are still to be flushed.
        Raises: MissingExtraError; SettingsError for certificates that cannot be used
        """
        try:
            import uvloop
        except ImportError as error:
            raise MissingExtraError("streamgauge proxy", "proxy") from error
        sys.setswitchinterval(_SWITCH_S)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(ready))
        return self.code

    async def _serve(self, ready: Callable[[], None]) -> None:
        try:
            from streamgauge.transports.http import serve
        except ImportError as error:
            raise MissingExtraError("streamgauge proxy", "proxy") from error
        loop = self._loop = asyncio.get_running_loop()
        made = self._pipeline
        server = await serve(
            [watched(route, made) for route in self.config.routes],
            sock=self._listener,
            limits=self.config.limits,
            tls=self.config.tls(),
            on_refused=lambda reason: made.recorder.count(semconv.REFUSED, reason),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, "signal", number)
        loop.add_signal_handler(signal.SIGHUP, hung_up, lambda: self.stop("signal", signal.SIGHUP))
        httpwatch.warm()
        gc.collect()
        gc.freeze()  # what is there from the start is not looked at again by each collection
        gc.set_threshold(_YOUNG)
        self._turn()
        self._accepting = True
        ready()
        await self._stopping.wait()
        self._accepting = False
        grace_s = self.config.grace_s
        streams = server.active.total
        log.info("no more callers are accepted; %d open streams have %g s", streams, grace_s)
        closing = asyncio.ensure_future(server.close(grace_s))
        at_once = asyncio.ensure_future(self._now.wait())
        await asyncio.wait((closing, at_once), return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            log.info("told again: %d open streams are cut", server.active.total)
            await self._cut(server, closing)
        at_once.cancel()
        (closed, _) = await asyncio.gather(closing, at_once, return_exceptions=True)
        if isinstance(closed, Exception):
            log.error("the server could not be closed in order", exc_info=closed)
        made.close_streams()

    async def _cut(self, server: Server, closing: asyncio.Future[None]) -> None:
        """End the streams that `closing` waits for."""
        for front in list(server.fronts):
            front.end(now=True)
        for lane in server.table.lanes:
            for relay in list(lane.orphans):
                relay.shut()
        await asyncio.wait((closing,), timeout=_CUT_S)
        if not closing.done():  # callers who take nothing
            for front in list(server.fronts):
                front.abort()
            await asyncio.wait((closing,), timeout=_CUT_S)
        closing.cancel()

    def _turn(self) -> None:
        self._beat = time.monotonic()
        if self._loop is not None:
            self._loop.call_later(_BEAT_S, self._turn)

    @property
    def flush_s(self) -> float:
        """What exporters get at the end."""
        given = self.config.settings.shutdown_timeout_s
        return min(given, _AT_ONCE_S) if self._now.is_set() else given


def watched(route: Route, made: Pipeline) -> Route:
    """A route with what watches it. Its dialect is one of answers or one of messages; what goes over the other wire is
    read by its path."""
    kind = known_dialect(route.dialect) if route.dialect else None
    of_messages = kind is not None and kind.opens_runs
    return replace(
        route,
        watch=httpwatch.watch(
            _TRANSPORT, dialect=None if of_messages else route.dialect or None, pipeline=lambda: made
        ),
        conversations=duplex.watch(_WEBSOCKET, dialect=route.dialect if of_messages else None, pipeline=lambda: made),
    )


def hung_up(stop: Callable[[], None]) -> None:
    """SIGHUP: of a terminal that is gone, which ends a program; or of somebody who expects a reload."""
    try:
        terminal = os.isatty(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        terminal = False
    if terminal:
        stop()
    else:
        log.warning("SIGHUP: nothing is reloaded; start anew for other settings (SIGTERM lets streams finish)")


def set_up(settings: Settings) -> Pipeline:
    """This process's pipeline with its exporters, but without a page of its own: that is the admin port's."""
    names = [name for name in settings.exporters("metrics") if name != "prometheus"]
    settings = replace(settings, metrics_exporter=",".join(names) or "none")
    made = Pipeline(settings, own_metrics=True)
    made.telemetry = telemetry.start(
        settings,
        made.aggregates,
        lambda kind, reason, count: made.recorder.count(semconv.EXPORT_DROPPED, kind, reason, amount=count),
    )
    made.trace_with(made.telemetry.tracer_provider, for_good=True)
    pipeline.use(made)
    atexit.register(pipeline.shutdown)
    return made


def logging_to_stderr() -> None:
    """As a program does it whose log is its own: one line each, with its time and process."""
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)


def flush(made: Pipeline, within_s: float) -> None:
    """Close what is open, and export for the last time."""
    made.settings = replace(made.settings, shutdown_timeout_s=within_s)
    pipeline.shutdown()


# What the process shows ------------------------------------------------------------------------------------------


def serves_page(settings: Settings) -> bool:
    return "prometheus" in settings.exporters("metrics") and not settings.disabled


def announce(config: Config, listener: socket.socket, admin: socket.socket) -> None:
    """One line that says where it listens, where the metrics are, and which routes there are."""
    scheme = "https" if config.tls_certificate else "http"
    page = "/metrics" if serves_page(config.settings) else "/"
    workers = f", {config.workers} workers" if config.workers > 1 else ""
    routes = ", ".join(f"{route.prefix} -> {route.upstream}" for route in config.routes)
    print(  # noqa: T201  (a command's own line)
        f"streamgauge proxy: {scheme}://{address(listener)}, admin http://{address(admin)}{page}{workers}, "
        f"routes {routes}",
        flush=True,
    )
    bare = [route.prefix for route in config.routes if not route.tokens]
    if bare and not is_loopback(listener):
        log.warning(
            "%s is reached from other machines, and %s asks for no token: whoever reaches it uses the upstream. Give "
            "--token-file, or let only those reach it who may",
            address(listener),
            ", ".join(bare),
        )


def about(config: Config) -> str:
    """For `/` of the admin port."""
    lines = [
        "/metrics  the metrics, for Prometheus",
        "/healthz  200 while it is alive; 503 where only a restart helps",
        "/readyz   200 while it accepts callers; 503 while it starts, drains or is stuck",
        "",
        *(f"{route.prefix} -> {route.upstream}  {route.dialect or 'dialect by path'}" for route in config.routes),
    ]
    return "\n".join(lines) + "\n"


def run(config: Config) -> int:
    """`streamgauge proxy`. Returns its exit code.

    Raises: SettingsError, MissingExtraError
    """
    config.tls()  # before anything is begun
    settings = config.settings
    listener = bound(config.host, config.port, "--port (STREAMGAUGE_PROXY_PORT)")
    where = "--admin-port (OTEL_EXPORTER_PROMETHEUS_PORT)"
    with listener, bound(settings.metrics_host, settings.metrics_port, where, backlog=64) as admin_listener:
        if config.workers > 1:
            from streamgauge.proxy.workers import Supervisor

            return Supervisor(config, listener, admin_listener).run()
        made = set_up(settings)
        process = Process(config, listener, made)
        page = (lambda accept: made.telemetry.render(accept)) if serves_page(settings) else None
        admin = Admin(admin_listener, state=process.state, page=page, about=about(config))
        try:
            code = process.run(lambda: announce(config, listener, admin_listener))
            flush(made, process.flush_s)
        finally:
            admin.close()
        return code
