"""A worker: `python -m streamgauge.proxy.worker LISTENER LINK`, started by the supervisor with two open sockets.

It reports its numbers each second, and when asked; it ends, as by SIGTERM, when the supervisor has gone.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from typing import Any

from streamgauge.errors import StreamgaugeError
from streamgauge.pipeline import Pipeline
from streamgauge.proxy.config import Config
from streamgauge.proxy.link import Link
from streamgauge.proxy.merged import Reporter
from streamgauge.proxy.process import Process, flush, logging_to_stderr, set_up

__all__ = ["REPORT_S", "main"]

log = logging.getLogger("streamgauge.proxy")

REPORT_S = 1.0
"""Between two reports: what a worker that is killed takes with it."""


class _Reports:
    """Sends them, from a thread of its own and when asked."""

    def __init__(self, link: Link, made: Pipeline, process: Process) -> None:
        self._link = link
        self._pipeline = made
        self._process = process
        self._reporter = Reporter()
        self._turn = threading.Lock()
        self._over = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="streamgauge-report", daemon=True).start()

    def _run(self) -> None:
        while not self._over.wait(REPORT_S):
            self.send()

    def send(self, asked: int = 0) -> None:
        """
        Args:
            asked: the number of the question that this answers.
        """
        with self._turn:
            try:
                changes = self._reporter.changes(self._pipeline.aggregates.collect(time.monotonic_ns()))
            except Exception:
                log.warning("the numbers cannot be read; the next report has them", exc_info=True)
                changes = {}
            state = self._process.state()
            self._link.send(
                {"asked": asked, "series": changes, "ready": state.ready, "silent_s": self._process.silent_s()}
            )

    def stop(self) -> None:
        self._over.set()


def main(arguments: list[str]) -> int:
    listener, end = (socket.socket(fileno=int(number)) for number in arguments)
    with listener, end:
        link = Link(end)
        config = link.receive_config()
        if config is None:
            return 0  # the supervisor has gone already
        logging_to_stderr()
        try:
            return _work(config, listener, link)
        except StreamgaugeError as error:
            link.send({"failed": str(error)})
            return 2


def _work(config: Config, listener: socket.socket, link: Link) -> int:
    made = set_up(config.settings)
    process = Process(config, listener, made)
    reports = _Reports(link, made, process)

    def listen() -> None:
        for message in link.messages():
            _obey(message, process, reports)
        process.tell("supervisor")  # it has gone

    def ready() -> None:
        reports.send()
        reports.start()
        threading.Thread(target=listen, name="streamgauge-link", daemon=True).start()

    code = process.run(ready)
    reports.send()  # before the exporters: they may take their time
    flush(made, process.flush_s)
    reports.stop()
    reports.send()
    return code


def _obey(message: dict[str, Any], process: Process, reports: _Reports) -> None:
    match message:
        case {"report": int(number)}:
            reports.send(number)
        case {"stop": "now"}:
            process.tell("now")
        case {"stop": _}:
            process.tell("supervisor")
        case _:
            log.warning("the supervisor says what is not known here")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.exit(code)
