"""All of it at once: scripted agents, what stands before them, their callers, Prometheus and Alertmanager.

Each proxy is a job of its own:

- `main` has every outcome, retry and stall, and its spans go to a trace store;
- `served` is no proxy, but a program that serves streams itself;
- `troubled` has what goes wrong beside streams: workers that end, label caps, captures and exports that fail;
- `idle` has no callers;
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

from livestack.processes import ROOT, Process, command, environment, free_port, until
from livestack.prometheus import Prometheus
from livestack.webhook import Webhook, webhook

__all__ = ["FAULTS", "STALL_AFTER_S", "Fault", "System", "system"]

DASHBOARDS = ROOT / "dashboards"
OBJECTIVES = Path(__file__).parents[1] / "objectives.toml"
STALL_AFTER_S = 1.0
STREAMS = 24
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fault:
    """What an agent is told to do wrong, and what is to be told of it."""

    kind: str
    alert: str
    told: Mapping[str, Any]

    @property
    def job(self) -> str:
        return self.kind


FAULTS = (
    Fault("stall", "StreamgaugeStallRatio", {"one_in": 2, "seconds": 2.5}),
    Fault("error_inside_200", "StreamgaugeErrorInside200", {"one_in": 3}),
    # Later than the objective, and sooner than what is a stall.
    Fault("slow_first_token", "StreamgaugeFirstTokenBurn", {"seconds": 0.8}),
    Fault("retry_storm", "StreamgaugeRetryStorm", {"count": 5}),
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
        self.began = 0.0
        """When all of it was there, as Prometheus has the time."""

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
        objectives = OBJECTIVES.read_text("utf-8")
        objectives += f'\n[notify]\npage_url = "{self.webhook.url}/page"\nticket_url = "{self.webhook.url}/ticket"\n'
        (self.folder / "objectives.toml").write_text(objectives, "utf-8")
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
        targets = {job.name: job.metrics for job in self.jobs.values()}
        self.prometheus = Prometheus(self.folder / "prometheus", targets, rules, self.alertmanager)
        self._stack.callback(self.prometheus.stop)

    # Time -------------------------------------------------------------------------------------------------------

    @property
    def age_s(self) -> float:
        return self.prometheus.now() - self.began

    def aged(self, seconds: float) -> None:
        """It has been scraped for so long."""
        left_s = max(seconds - self.age_s, 0)
        until(lambda: self.age_s >= seconds, told=f"{seconds:g} s of data", timeout_s=left_s + 20)

    def troubles(self) -> None:
        """A worker is told to end in the midst of its streams, as by whoever looks after processes."""
        job = self.jobs["troubled"]
        os.kill(job.process.children()[0], signal.SIGTERM)


def _good(plays: Sequence[Play]) -> list[Play]:
    return [replace(play, times=1) for play in plays if not play.rare]


def _served(plays: Sequence[Play]) -> list[Play]:
    """What needs no proxy."""
    return [play for play in plays if play.does == "read" and not play.prefix and "status=" not in play.script]


def _troubled(plays: Sequence[Play]) -> list[Play]:
    """More models than the cap has room for, and answers that are not what they say."""
    (first, *_) = plays
    models = [replace(first, model=f"model-{number}") for number in range(10)]
    return [*models, replace(first, script=f"{first.script} broken=1")]


@contextmanager
def system(folder: Path, traces: str) -> Iterator[System]:
    """
    Args:
        traces: where spans go, by OTLP over HTTP.
    """
    with ExitStack() as stack:
        made = System(folder, stack, stack.enter_context(webhook()))
        names = ("main", "troubled", "idle", *(fault.job for fault in FAULTS))
        # What takes long is begun first, and waited for when it is wanted.
        agents = {name: made.agent(name) for name in names}
        served = made.python("served", Path(__file__).with_name("served.py"), PYTHONPATH=str(DASHBOARDS / "stack"))
        urls = {name: agent.said(r"http://\S+")[0] for name, agent in agents.items()}
        sampled = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.2"}
        variables: dict[str, Mapping[str, str]] = {
            "main": _exporting(traces) | sampled,
            "troubled": _exporting(f"http://127.0.0.1:{free_port()}") | {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1"},
        }
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
        made.load(made.jobs["troubled"], _troubled(plays), 8)
        made.load(made.jobs["served"], _served(plays), 6)
        for fault in FAULTS:
            made.load(made.jobs[fault.job], _good(plays), 8)
        made.watched()
        made.prometheus.ready()
        made.began = made.prometheus.now()
        yield made
        assert made.callers.failed() == []


def _exporting(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }
