"""A real Prometheus that scrapes each second, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from livestack.processes import ROOT, Process, command, free_port, until

__all__ = ["Answer", "Prometheus", "Series"]

DASHBOARDS = ROOT / "dashboards"


@dataclass(frozen=True, slots=True)
class Series:
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Time and value."""

    @property
    def last(self) -> float:
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Answer:
    """To one query."""

    query: str
    series: Sequence[Series]
    warnings: Sequence[str] = ()
    error: str = ""

    @property
    def values(self) -> list[float]:
        return [value for series in self.series for _, value in series.points]

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, self.values))

    def faults(self) -> list[str]:
        """What no answer may have, empty or not."""
        found = [f"error: {self.error}"] if self.error else []
        found += [f"warning: {warning}" for warning in self.warnings]
        if not self.finite:
            odd = next(s for s in self.series if not all(math.isfinite(value) for _, value in s.points))
            found.append(f"not finite: {dict(odd.labels)} {[value for _, value in odd.points][-3:]}")
        return found

    def only(self) -> float:
        """Of one series."""
        assert len(self.series) == 1, (self.query, self.series)
        return self.series[0].last


class Prometheus:
    """Started; `stop` ends it."""

    def __init__(
        self,
        folder: Path,
        data: Path,
        jobs: Mapping[str, str],
        rules: Sequence[Path],
        alertmanager: str,
        scrape_s: float = 1.0,
    ) -> None:
        """
        Args:
            data: its storage, which may hold something already.
            jobs: by name, whose metrics are scraped: host and port.
            alertmanager: host and port.
        """
        folder.mkdir()
        config: dict[str, Any] = yaml.safe_load((DASHBOARDS / "prometheus" / "prometheus.yml").read_text("utf-8"))
        config["global"] |= {"scrape_interval": f"{scrape_s:g}s", "evaluation_interval": f"{scrape_s:g}s"}
        config["rule_files"] = [str(path) for path in rules]
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
        config["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in jobs.items()
        ]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self.jobs = jobs
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process = Process(
            command("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={data}",
            f"--web.listen-address={self.url.removeprefix('http://')}", "--enable-feature=exemplar-storage",
            "--log.level=warn", cwd=folder, name="prometheus",
        )  # fmt: skip
        self._client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=30, trust_env=False)

    def ready(self) -> None:
        until(lambda: self._up() == set(self.jobs), told=f"all of {sorted(self.jobs)} are scraped")

    def _up(self) -> set[str]:
        assert self.process.alive(), self.process.log
        try:
            if not self._client.get(f"{self.url}/-/ready").is_success:
                return set()
        except httpx.TransportError:
            return set()
        return {series.labels["job"] for series in self.ask("up == 1").series}

    def stop(self) -> None:
        self._client.close()
        self.process.end()

    # Questions --------------------------------------------------------------------------------------------------

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self._client.get(path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def ask(self, query: str, at: float | None = None) -> Answer:
        """At one time, by default now."""
        return self._asked("query", query, {} if at is None else {"time": at})

    def over(self, query: str, start: float, end: float, step_s: float = 1.0) -> Answer:
        return self._asked("query_range", query, {"start": start, "end": end, "step": step_s})

    def now(self) -> float:
        """As Prometheus has it."""
        return self.ask("time()").only()

    def _asked(self, path: str, query: str, times: Mapping[str, float]) -> Answer:
        # By POST, as Grafana does: a query may be longer than a target should be.
        answer = self._client.post(path, data={"query": query, **{name: str(value) for name, value in times.items()}})
        told = answer.json()
        if told["status"] != "success":
            return Answer(query, (), error=told["error"])
        return Answer(query, _series(told["data"]), told.get("warnings", ()))


def _series(data: Mapping[str, Any]) -> list[Series]:
    result = data["result"]
    if data["resultType"] in ("scalar", "string"):
        return [Series({}, [(float(result[0]), float(result[1]))])]
    return [
        Series(each["metric"], [(float(at), float(value)) for at, value in each.get("values") or [each["value"]]])
        for each in result
    ]
