"""All of it at once: scripted agents, what stands before them, their callers, Prometheus and Alertmanager.

Each proxy is a job of its own:

- `main` has every outcome, retry and stall, and its spans go to a trace store;
- `served` is no proxy, but a program that serves streams itself;
- `troubled` has what goes wrong beside streams: workers that end, label caps, captures and exports that fail;
- `idle` has had no callers, and `quiet` has had some, of every kind, who have gone;
- one for each fault, whose callers have nothing but good streams until the fault begins.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
from dashboards.stack.load import Load, Play, read_plays

from livestack import past
from livestack.processes import ROOT, Process, command, environment, free_port, until
from livestack.prometheus import Prometheus
from livestack.webhook import Webhook, webhook

__all__ = ["FAULTS", "MACROS", "STALL_AFTER_S", "STREAMS", "Fault", "System", "started"]

DASHBOARDS = ROOT / "dashboards"
OBJECTIVES = Path(__file__).parents[1] / "objectives.toml"
STALL_AFTER_S = 2.0
STREAMS = 24
"""Of the job `main`, at any time."""
MACROS = {"__rate_interval": "15s", "__range": "30s", "__range_s": "30", "__interval": "1s"}
"""Grafana's, as for a board of the last minutes with a scrape each second."""
BEFORE_S = 8.0
"""How long all is well."""
FAULTY_S = 20.0
"""For how long there are faults, at least."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fault:
    """What an agent is told to do wrong, and what is to be told of it."""

    kind: str
    alert: str
    told: Mapping[str, Any]
    plays: Sequence[str]
    """What its callers ask for: few enough kinds that each has traffic to speak of."""

    @property
    def job(self) -> str:
        return self.kind


_FEW = "chunks=8 pace=0.07"
"""They are to be many streams, and not many chunks."""
_ANSWERS = ("quick answer",)
_RUNS = ("run with a tool", "run of a run")
FAULTS = (
    Fault("stall", "StreamgaugeStallRatio", {"one_in": 5, "seconds": 3.2}, _ANSWERS),
    Fault("error_inside_200", "StreamgaugeErrorInside200", {"one_in": 3}, _ANSWERS),
    # Later than the objective, and sooner than what is a stall.
    Fault("slow_first_token", "StreamgaugeFirstTokenBurn", {"seconds": 0.8}, _ANSWERS),
    Fault("retry_storm", "StreamgaugeRetryStorm", {"count": 5}, _RUNS),
)


class Callers:
    """Loads, on an event loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="callers", daemon=True)
        self._thread.start()
        self._tasks: list[asyncio.Task[None]] = []

    def call(self, what: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def begin(self, load: Load) -> None:
        async def begin() -> None:
            self._tasks.append(asyncio.ensure_future(load.run()))

        self.call(begin())

    def failed(self) -> list[BaseException]:
        """Loads run until they are ended: what ended one before is a fault of its own."""
        return [task.exception() or RuntimeError("ended") for task in self._tasks if task.done()]

    def end(self) -> None:
        if self._loop.is_closed():
            return

        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@dataclass(slots=True)
class Job:
    """Something that is scraped, and what it is scraped of."""

    name: str
    process: Process
    url: str
    metrics: str
    """Host and port."""
    agent: str = ""
    """The URL of its scripted agent."""
    load: Load | None = None

    def fault(self, kind: str, **more: Any) -> None:
        httpx.post(f"{self.agent}/fault", json={"kind": kind, **more}, trust_env=False).raise_for_status()


class System:
    def __init__(self, folder: Path, stack: ExitStack, told: Webhook) -> None:
        self.folder = folder
        self.webhook = told
        self.callers = Callers()
        stack.callback(self.callers.end)
        self.processes: list[Process] = []
        self._stack = stack
        self.jobs: dict[str, Job] = {}
        self.prometheus: Prometheus
        self.alertmanager = f"127.0.0.1:{free_port()}"
        self.began = self._spoiled = 0.0
        """When all of it was there, and when the faults began, as Prometheus has the time."""
        self._mending: threading.Thread

    def started(self, process: Process) -> Process:
        self._stack.callback(process.end)
        self.processes.append(process)
        return process

    def python(self, name: str, *arguments: str | Path, **variables: str) -> Process:
        return self.started(Process.python(*arguments, cwd=self.folder, name=name, variables=variables))

    # Parts ------------------------------------------------------------------------------------------------------

    def agent(self, name: str) -> Process:
        return self.python(f"agent of {name}", DASHBOARDS / "stack" / "agent.py", "--port", "0")

    def proxy(self, name: str, agent: str, *arguments: str, **variables: str) -> Process:
        settings = self.folder / f"{name}.toml"
        given = (DASHBOARDS / "stack" / "streamgauge.toml").read_text("utf-8")
        settings.write_text(given.replace("http://agent:8000", agent), "utf-8")
        return self.python(
            name, "-m", "streamgauge", "proxy", f"--config={settings}", "--port=0", "--admin-port=0",
            f"--set=stall_after_s={STALL_AFTER_S}", *arguments, **variables,
        )  # fmt: skip

    def proxied(self, name: str, process: Process, agent: str) -> Job:
        found = process.said(r"(http://[\d.]+:\d+), admin http://([\d.]+:\d+)")
        self.jobs[name] = job = Job(name, process, found[1], found[2], agent)
        return job

    def load(self, job: Job, plays: Sequence[Play], streams: int) -> None:
        job.load = Load(job.url, plays=plays, streams=streams, stall_after_s=STALL_AFTER_S)
        self.callers.begin(job.load)

    def generated(self) -> None:
        """Boards and rules with the tests' objectives."""
        url = self.webhook.url
        notify = f'[notify]\npage_url = "{url}/page"\nticket_url = "{url}/ticket"\n'
        (self.folder / "objectives.toml").write_text(f"{OBJECTIVES.read_text('utf-8')}\n{notify}", "utf-8")
        arguments = ["--objectives", self.folder / "objectives.toml", "--output", self.folder / "generated"]
        subprocess.run(
            [sys.executable, "-m", "dashboards.generate", *map(str, arguments)],
            cwd=ROOT, env=environment(), check=True, timeout=60,
        )  # fmt: skip

    def watched(self) -> None:
        """Prometheus and Alertmanager."""
        generated = self.folder / "generated"
        arguments = (
            f"--config.file={generated / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={self.alertmanager}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )
        program = command("prometheus-alertmanager", "alertmanager")
        # There, Debian's finds its templates: see scripts/get_tools.
        self.started(Process(program, *arguments, cwd=ROOT / ".tools", name="alertmanager"))
        rules = [generated / "prometheus" / f"streamgauge.{kind}.yml" for kind in ("rules", "alerts")]
        main, quiet = self.jobs["main"], self.jobs["quiet"]
        assert main.load is not None
        assert quiet.load is not None
        for load in (main.load, quiet.load):
            until(lambda load=load: load.rounds > 1, told="there has been one of each")
        self.callers.call(quiet.load.rest())
        data = self.folder / "data"
        past.write(self.folder, data, "main", main.metrics, past.pages(main.metrics, 60, 0.15), 3.0)
        targets = {job.name: job.metrics for job in self.jobs.values()}
        self.prometheus = Prometheus(self.folder / "prometheus", data, targets, rules, self.alertmanager)
        self._stack.callback(self.prometheus.stop)

    # Time -------------------------------------------------------------------------------------------------------

    @property
    def age_s(self) -> float:
        return self.prometheus.now() - self.began

    def aged(self, seconds: float) -> None:
        """It has been scraped for so long."""
        left_s = max(seconds - self.age_s, 0)
        until(lambda: self.age_s >= seconds, told=f"{seconds:g} s of data", timeout_s=left_s + 20)

    def spoil(self) -> None:
        """All faults begin, and a worker is told to end in the midst of its streams."""
        self._spoiled = self.prometheus.now()
        for fault in FAULTS:
            self.jobs[fault.job].fault(fault.kind, **fault.told)
        os.kill(self.jobs["troubled"].process.children()[0], signal.SIGTERM)
        self._mending = threading.Thread(target=self._mend, name="mending", daemon=True)
        self._mending.start()

    def _mend(self) -> None:
        """The faults end when they have been told, but not before any other alert that could come of them has come. As
        nobody waits for that, other tests go on meanwhile."""
        told = self.webhook

        def all_told() -> bool:
            known = all(fault.alert in told.names(fault.job) for fault in FAULTS)
            return known and self.prometheus.now() - self._spoiled > FAULTY_S

        try:
            until(all_told, told="the faults are told", timeout_s=60)
        except TimeoutError:
            pass  # it is the test's to say what was told
        for fault in FAULTS:
            self.jobs[fault.job].fault("none")

    def mended(self) -> None:
        """The faults have ended."""
        self._mending.join(90)
        assert not self._mending.is_alive()


def _served(plays: Sequence[Play]) -> list[Play]:
    """What needs no proxy."""
    return [play for play in plays if play.does == "read" and not play.prefix and "status=" not in play.script]


def _troubled(plays: Sequence[Play]) -> list[Play]:
    """More models than the cap has room for, and answers that are not what they say."""
    (first, *_) = plays
    models = [replace(first, model=f"model-{number}") for number in range(10)]
    return [*models, replace(first, script=f"{first.script} broken=1")]


@contextmanager
def started(folder: Path, traces: str) -> Iterator[System]:
    """
    Args:
        traces: where spans go, by OTLP over HTTP.
    """
    with ExitStack() as stack:
        made = System(folder, stack, stack.enter_context(webhook()))
        names = ("main", "troubled", "idle", "quiet", *(fault.job for fault in FAULTS))
        # What takes long is begun first, and waited for when it is wanted.
        agents = {name: made.agent(name) for name in names}
        urls = {name: agent.said(r"http://\S+")[0] for name, agent in agents.items()}
        sampled = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.2"}
        variables: dict[str, Mapping[str, str]] = {
            "main": _exporting(traces) | sampled,
            "troubled": _exporting(f"http://127.0.0.1:{free_port()}") | {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1"},
        }
        variables["served"] = variables["main"] | {
            "PYTHONPATH": str(DASHBOARDS / "stack"),
            "STREAMGAUGE_STALL_AFTER_S": f"{STALL_AFTER_S}",
        }
        served = made.python("served", Path(__file__).with_name("served.py"), **variables["served"])
        arguments = {
            "troubled": (
                "--workers=2", "--grace=0.2", "--limit=max_streams=3", "--set=label_cap=6",
                f"--set=capture_dir={folder / 'objectives.toml' / 'captures'}",
            ),
        }  # fmt: skip
        proxies = {
            name: made.proxy(name, urls[name], *arguments.get(name, ()), **variables.get(name, {})) for name in names
        }
        made.generated()
        for name, process in proxies.items():
            made.proxied(name, process, urls[name])
        found = served.said(r"served: (\d+), metrics (\d+)")
        made.jobs["served"] = Job("served", served, f"http://127.0.0.1:{found[1]}", f"127.0.0.1:{found[2]}")
        plays = read_plays()
        made.load(made.jobs["main"], plays, STREAMS)
        made.load(made.jobs["quiet"], [replace(play, times=1) for play in plays], 16)
        made.load(made.jobs["troubled"], _troubled(plays), 8)
        made.load(made.jobs["served"], _served(plays), 6)
        for fault in FAULTS:
            few = [replace(play, script=f"{play.script} {_FEW}") for play in plays if play.name in fault.plays]
            made.load(made.jobs[fault.job], few, 8)
        made.watched()
        made.prometheus.ready()
        made.began = made.prometheus.now()
        made.aged(BEFORE_S)
        made.spoil()
        try:
            yield made
            made.mended()
            assert made.callers.failed() == []
        finally:
            made.callers.end()  # first: a proxy waits for its streams
            for process in made.processes:
                process.tell()


def _exporting(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }
