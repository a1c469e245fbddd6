"""The admin port: `/metrics`, `/healthz`, `/readyz`, and `/`, which says so.

It is apart from the callers' port, and on threads of its own: it answers while the event loop is busy, tells when the
loop is stuck, and a page of a thousand series is rendered beside the loop.
"""

from __future__ import annotations

import gzip
import http.server
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from streamgauge._version import __version__
from streamgauge.telemetry.bounded import within

__all__ = ["Admin", "State"]

log = logging.getLogger("streamgauge")

_TIMEOUT_S = 10.0
"""For a scraper to say what it wants, and to take it; Prometheus itself gives up after that."""
_MOST = 32
"""Connections at once: each has a thread. Scrapers and probes are few."""
_COMPRESSED_FROM = 1_024


class State(NamedTuple):
    """How the process is."""

    alive: bool
    """False where nothing but a restart will help."""
    ready: bool
    """It accepts callers."""
    detail: str


class Admin:
    """The port, served until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        state: Callable[[], State],
        page: Callable[[str | None], tuple[bytes, str]] | None,
        about: str,
    ) -> None:
        """
        Args:
            listener: listens already; this closes it.
            state: asked by each probe.
            page: gives the metrics' (body, content type) for an `Accept` header; None where they are not served.
            about: what `/` says besides.
        """
        self._server = _Server(listener, state, page, about)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="streamgauge-admin", daemon=True
        )
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop listening."""
        within(timeout_s, self._server.shutdown)
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, state: Any, page: Any, about: str) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.state, self.page, self.about = state, page, about
        self._free = threading.BoundedSemaphore(_MOST)
        self.rendering = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("The admin port had trouble with a request.", exc_info=True)  # most: the scraper has gone


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    server_version = "streamgauge"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S  # of each read and write

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path in ("/healthz", "/readyz"):
            state = self.server.state()
            good = state.alive if path == "/healthz" else state.ready
            self._answer(200 if good else 503, f"{state.detail}\n")
        elif path == "/":
            self._answer(200, f"streamgauge {__version__} proxy: the admin port\n\n{self.server.about}")
        else:
            self._answer(404, "here are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET

    def _metrics(self) -> None:
        if self.server.page is None:
            self._answer(404, "metrics are not served here: metrics_exporter has no prometheus\n")
            return
        try:
            with self.server.rendering:  # one at a time: two would take twice as long
                body, content_type = self.server.page(self.headers.get("Accept"))
        except Exception:
            log.warning("The metrics page cannot be rendered.", exc_info=True)
            self._answer(500, "the metrics page cannot be rendered; the log says why\n")
            return
        headers = {"Vary": "Accept, Accept-Encoding"}
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) >= _COMPRESSED_FROM:
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        self._answer(200, body, content_type, headers)

    def _answer(
        self,
        status: int,
        body: str | bytes,
        content_type: str = "text/plain; charset=utf-8",
        headers: dict[str, str] | None = None,
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {
            "Content-Type": content_type,
            "Content-Length": str(len(data)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass
