"""What Alertmanager tells, as a webhook gets it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Notice", "Webhook", "webhook"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert in one notification."""

    status: str
    receiver: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.labels["alertname"]


class Webhook:
    def __init__(self) -> None:
        self.url = ""
        self._lock = threading.Lock()
        self._notices: list[Notice] = []

    def take(self, body: Mapping[str, Any]) -> None:
        with self._lock:
            for alert in body["alerts"]:
                self._notices.append(Notice(alert["status"], body["receiver"], alert["labels"], alert["annotations"]))

    def of(self, job: str, status: str = "firing") -> list[Notice]:
        """All that has come of one job, in order."""
        with self._lock:
            return [notice for notice in self._notices if notice.labels.get("job") == job and notice.status == status]

    def names(self, job: str, status: str = "firing") -> set[str]:
        return {notice.name for notice in self.of(job, status)}

    @property
    def notices(self) -> list[Notice]:
        with self._lock:
            return list(self._notices)


@contextmanager
def webhook() -> Iterator[Webhook]:
    told = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
