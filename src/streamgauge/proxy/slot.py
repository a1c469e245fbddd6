"""A worker's place: one process after the other, on a thread of its own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from streamgauge import semconv
from streamgauge.proxy.link import Link
from streamgauge.proxy.process import DEAD_S

if TYPE_CHECKING:
    from streamgauge.proxy.workers import Supervisor

__all__ = ["MARGIN_S", "Slot"]

log = logging.getLogger("streamgauge.proxy")

MARGIN_S = 5.0
"""Beyond what a worker may take to end; then it is killed."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 30.0
_HEALTHY_S = 60.0
"""Who lived so long died of something new: the back-off begins anew."""
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_INSTANCE = "service.instance.id"


class Slot:
    """One worker after the other, on a thread of its own."""

    def __init__(self, number: int, supervisor: Supervisor) -> None:
        self.number = number
        self.ready = False
        self.silent_s = 0.0
        self.over = False
        """No other worker will follow."""
        self.answered = 0
        """The number of the last question."""
        self._supervisor = supervisor
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._starting = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=f"streamgauge-worker-{number}", daemon=True)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def say(self, message: dict[str, Any]) -> bool:
        link = self._link
        return link is not None and link.send(message)

    def stop(self, how: str) -> None:
        with self._starting:  # a worker that is being started is told when it can hear
            self.say({"stop": how})

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _run(self) -> None:
        try:
            self._live_on()
        finally:
            self.over = True
            self._supervisor.news.put("over")

    def _live_on(self) -> None:
        supervisor = self._supervisor
        delay_s = 0.0
        while not supervisor.stopping.wait(delay_s):
            began = time.monotonic()
            try:
                how = self._live()
            except Exception:
                log.exception("worker %d cannot be started", self.number)
                how = "start"
            if supervisor.stopping.is_set() or supervisor.ended(how):
                return
            lived_s = time.monotonic() - began
            delay_s = _FIRST_DELAY_S if lived_s >= _HEALTHY_S or not delay_s else min(delay_s * 2, _LONGEST_DELAY_S)
            told = "worker %d ended (%s) after %.0f s; the next is started in %g s"
            log.warning(told, self.number, how, lived_s, delay_s)

    def _live(self) -> str:
        """One worker's life. Returns: how it ended."""
        merged, identity = self._supervisor.merged, self._supervisor.identity()
        ours, its = socket.socketpair()
        listener = self._supervisor.listener.fileno()
        with ours:
            with its, self._starting:
                if self._supervisor.stopping.is_set():
                    return "stopped"
                self._process = process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", "-m", "streamgauge.proxy.worker", str(listener), str(its.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(listener, its.fileno()),
                    env=_environment(self.number),
                    process_group=0,  # Ctrl-C is for the supervisor
                )
                self._link = link = Link(ours)
                link.silent_after(DEAD_S)
                link.send_config(self._supervisor.config)
            try:
                for message in link.messages():
                    self._heard(message, identity)
            except TimeoutError:
                log.error("worker %d has not reported for %g s and is killed", self.number, DEAD_S)
                process.kill()
            finally:
                self._link = None
                self._ready(False)
            try:
                code = process.wait(MARGIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            merged.bury(identity)
        return f"exit {code}" if code >= 0 else signal.Signals(-code).name

    def _heard(self, message: dict[str, Any], identity: int) -> None:
        if "failed" in message:
            self._supervisor.failed(message["failed"])
            return
        self._supervisor.merged.update(identity, message["series"])
        self.silent_s = message["silent_s"]
        self._ready(message["ready"])
        if self.silent_s >= DEAD_S:
            log.error("the event loop of worker %d has not turned for %.0f s: it is killed", self.number, self.silent_s)
            self.kill()
        if message["asked"]:
            self._supervisor.answered(self, message["asked"])

    def _ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._supervisor.merged.record([(semconv.WORKERS, (), 1 if ready else -1, None)])
            if ready:
                self._supervisor.news.put("ready")


def _environment(number: int) -> dict[str, str]:
    """A worker's: it imports what this process does, and it is an instance of its own to OpenTelemetry."""
    environ = dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    pairs = [pair for pair in environ.get(_RESOURCE, "").split(",") if pair.strip()]
    given = [pair.partition("=")[2].strip() for pair in pairs if pair.partition("=")[0].strip() == _INSTANCE]
    others = [pair for pair in pairs if pair.partition("=")[0].strip() != _INSTANCE]
    instance = f"{given[-1]}-{number}" if given else str(uuid.uuid4())
    environ[_RESOURCE] = ",".join([*others, f"{_INSTANCE}={instance}"])
    return environ
