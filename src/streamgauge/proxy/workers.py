"""Several workers behind one port: the supervisor listens, starts them, starts them again, and sums up their numbers.

Workers are fresh interpreters that are given the listening socket, so that the kernel gives each connection to one of
them, and a worker that dies takes no waiting connection with it. A worker is told what to do over its link, not by
signals: a service manager that signals the whole group then signals nobody twice.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue

from streamgauge import semconv, telemetry
from streamgauge.aggregates import Aggregates
from streamgauge.errors import UsageError
from streamgauge.proxy.admin import Admin, State
from streamgauge.proxy.config import Config
from streamgauge.proxy.merged import Merged
from streamgauge.proxy.process import STUCK_S, about, announce, hung_up, serves_page
from streamgauge.proxy.slot import MARGIN_S, Slot
from streamgauge.settings import Settings

__all__ = ["Supervisor"]

log = logging.getLogger("streamgauge.proxy")

_ANSWER_S = 0.5
"""For workers to report when `/metrics` is asked for; of one that does not, the last report counts."""


class Supervisor:
    """Starts workers, and has no callers itself."""

    def __init__(self, config: Config, listener: socket.socket, admin_listener: socket.socket) -> None:
        self.config = config
        self.listener = listener
        self._admin_listener = admin_listener
        settings = config.settings
        metrics = semconv.PROFILES[settings.profile].metrics
        self.merged = Merged(metrics, label_cap=settings.label_cap)
        self.merged.record([(semconv.WORKERS, (), 0, None)])
        self.stopping = threading.Event()
        self.news: SimpleQueue[str | int] = SimpleQueue()
        """Signals' numbers, and words of the slots. Its `put` may be called in a signal handler."""
        self._slots = [Slot(number, self) for number in range(1, config.workers + 1)]
        self._identities = 0
        self._questions = 0
        self._answers = threading.Condition()
        self._begun = False
        self._failure = ""

    # Told by the slots ------------------------------------------------------------------------------------------

    def identity(self) -> int:
        with self._answers:
            self._identities += 1
            return self._identities

    def answered(self, slot: Slot, question: int) -> None:
        with self._answers:
            slot.answered = question
            self._answers.notify_all()

    def failed(self, why: str) -> None:
        """A worker cannot work, and says why."""
        if self._begun:
            log.error("a worker cannot work: %s", why)
        else:
            self._failure = why

    def ended(self, how: str) -> bool:
        """A worker has ended that was not to. Returns: whether none is to follow, as not even the first ones start."""
        if self._begun:
            self.merged.record([(semconv.WORKER_RESTARTS, (how.replace(" ", "_"),), 1, None)])
            return False
        self._failure = self._failure or f"a worker ended as it was started: {how}"
        self.news.put("ended")
        return True

    # For the admin port -----------------------------------------------------------------------------------------

    def state(self) -> State:
        working = sum(slot.ready and slot.silent_s < STUCK_S for slot in self._slots)
        detail = f"{working} of {len(self._slots)} workers are ready"
        if self.stopping.is_set():
            return State(True, False, f"draining; {detail}")
        return State(True, working > 0, detail)

    def ask(self) -> None:
        """Have all workers report, for a bounded time."""
        with self._answers:
            self._questions += 1
            question = self._questions
        asked = [slot for slot in self._slots if slot.say({"report": question})]
        with self._answers:
            self._answers.wait_for(
                lambda: all(slot.answered >= question or not slot.ready for slot in asked), _ANSWER_S
            )

    def page(self, accept: str | None) -> tuple[bytes, str]:
        self.ask()
        rendered = self._rendered.render(accept)
        assert rendered is not None  # telemetry is not disabled: this is not called then
        return rendered

    # Life -------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until it is told to stop. Returns the exit code.

        Raises: SettingsError
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self.news.put(number))
        settings = self.config.settings
        exported = _exports(settings, self.merged.own, settings.exporters("metrics"))
        self._rendered = _exports(settings, self.merged, ())
        admin = Admin(
            self._admin_listener,
            state=self.state,
            page=self.page if serves_page(settings) else None,
            about=about(self.config),
        )
        for slot in self._slots:
            slot.thread.start()
        try:
            return self._started() or self._ended(self._signalled())
        finally:
            for slot in self._slots:
                slot.kill()
            exported.shutdown(min(settings.shutdown_timeout_s, 1.0))
            admin.close()

    def _signalled(self) -> int:
        """Wait for a signal to stop. Returns: its number; 0 where a worker ended and the start is not done."""
        while True:
            news = self.news.get()
            if news == signal.SIGHUP:
                hung_up(lambda: self.news.put(int(signal.SIGTERM)))
            elif isinstance(news, int):
                return news
            elif not self._begun and (news == "ended" or all(slot.ready for slot in self._slots)):
                return 0

    def _started(self) -> int:
        """Wait for the workers. Returns: an exit code where they do not start, else 0."""
        number = self._signalled()
        if not number and all(slot.ready for slot in self._slots):
            self._begun = True
            announce(self.config, self.listener, self._admin_listener)
            return 0
        code = self._ended(number or -1)
        if number:
            return code or 128 + number
        raise UsageError(self._failure)

    def _ended(self, number: int) -> int:
        """Have the workers end, and wait for it. Returns the exit code.

        Args:
            number: of the signal; -1 for at once.
        """
        config = self.config
        code = 0
        self.stopping.set()
        self.listener.close()
        self._tell("grace" if number > 0 else "now")
        bound_s = config.settings.shutdown_timeout_s + 1.0 + MARGIN_S
        deadline = time.monotonic() + (config.grace_s if number > 0 else 0.0) + bound_s
        while not all(slot.over for slot in self._slots):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                log.error("workers that do not end are killed")
                return code
            try:
                news = self.news.get(timeout=left_s)
            except Empty:
                continue
            if isinstance(news, int) and news != signal.SIGHUP and not code:
                code = 128 + news
                self._tell("now")
                deadline = min(deadline, time.monotonic() + bound_s)
        return code

    def _tell(self, how: str) -> None:
        for slot in self._slots:
            slot.stop(how)


def _exports(settings: Settings, numbers: Aggregates, names: Sequence[str]) -> telemetry.Telemetry:
    """The supervisor's own numbers go out over OTLP; those of the workers do so from each worker. The page has all."""
    others = ",".join(name for name in names if name != "prometheus")
    return telemetry.start(
        replace(settings, traces_exporter="none", metrics_exporter=others or "none"),
        numbers,
        lambda kind, reason, count: numbers.record([(semconv.EXPORT_DROPPED, (kind, reason), count, None)]),
    )
