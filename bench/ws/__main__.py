"""What a WebSocket through the proxy costs, beside nginx and a plain relay in the same run.

    python -m bench.ws [--quick] [--json FILE]

The proxy under test has one core to itself; generator and agent share the other. Candidates take turns, and the figures
are medians of the turns. Exits with 1 where a budget of the project is missed. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.http.proxies import LOAD_CORE, NotHereError, Running, pinned
from bench.http.proxies import version as version_of
from bench.ws import proxies

OURS, WITH_SPANS, RELAY = "streamgauge", "streamgauge+spans", "websockets"
CANDIDATES = ("nginx", OURS, WITH_SPANS, RELAY)
PACE_MS = 20

BUDGETS = {
    "nginx": ("CPU per frame with full telemetry, times nginx's", 3.0),
    "relay": ("CPU per frame with full telemetry, of the plain relay's", 1.0),
}


class Bench:
    """The processes, and what was found: measure, candidate, one dictionary per turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = proxies.start_upstream(folder)
        self.running: dict[str, Running] = {}
        self.found: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.missing: dict[str, str] = {}

    def start(self) -> None:
        for name in CANDIDATES:
            try:
                self.running[name] = proxies.start(name, self.upstream, self.folder)
            except NotHereError as error:
                self.missing[name] = str(error)
                print(f"without {name}: {error}", file=sys.stderr)

    def stop(self) -> None:
        for each in self.running.values():
            each.still(False)
            each.stop()
        self.upstream.stop()

    def turns(self, measure: str, rounds: int, **spec: Any) -> None:
        found = self.found.setdefault(measure, {})
        for number in range(rounds):
            names = list(self.running)
            for name in names if number % 2 else reversed(names):
                candidate = self.running[name]
                candidate.still(False)
                for other in self.running.values():
                    if other is not candidate:
                        other.still(True)
                found.setdefault(name, []).append(self._take(candidate, measure, spec))
        for name, each in found.items():
            shown = "  ".join(f"{what} {value:.4g}" for what, value in median(each).items())
            print(f"{measure:8} {name:18} {shown}", file=sys.stderr, flush=True)

    def _take(self, candidate: Running, measure: str, spec: dict[str, Any]) -> dict[str, float]:
        pids = {"proxy": candidate.pids, "upstream": self.upstream.pids}
        given = {"mode": measure, "port": candidate.port, "pids": pids, **spec}
        command = pinned(LOAD_CORE, [sys.executable, "-m", "bench.ws.load", json.dumps(given)])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{measure} through {candidate.name}: {done.stderr.strip().splitlines()[-1:]}")
        time.sleep(0.3)  # until what was open is closed
        found = json.loads(done.stdout)
        taken = {f"{name}_share": cpu_s / found["seconds"] for name, cpu_s in found["cpu_s"].items()}
        told = {name: found[name] for name in ("p50_us", "p99_us") if name in found}
        if "wanted" in found:
            told |= {"arrived": found["pieces"] / found["wanted"], "per_read": found["pieces"] / found["reads"]}
        return {
            "us": found["cpu_s"]["proxy"] / found["pieces"] * 1e6,
            "per_s": found["pieces"] / found["seconds"],
            **told,
            **taken,
        }

    def us(self, name: str) -> float | None:
        return median(self.found["paced"].get(name, [])).get("us")

    def ratio(self, other: str) -> float | None:
        """The median of the turns' ratios, which what disturbs a whole turn does not touch."""
        mine, others = (self.found["paced"].get(name, []) for name in (WITH_SPANS, other))
        if not mine or len(mine) != len(others):
            return None
        return statistics.median(one["us"] / beside["us"] for one, beside in zip(mine, others, strict=True))

    def doubts(self) -> list[str]:
        """What would make the figures somebody else's."""
        found = []
        for name, turns in self.found["paced"].items():
            for turn in turns:
                busy = turn["generator_share"] + turn["upstream_share"]
                if busy > 0.9:
                    found.append(f"{name}: generator and agent had {busy:.2f} of their core")
                if turn["per_read"] > 1.05:
                    found.append(f"{name}: {turn['per_read']:.2f} frames per read")
                if turn["arrived"] < 0.97:
                    found.append(f"{name}: {turn['arrived']:.2f} of the frames arrived in time")
        return sorted(set(found))

    def watched(self) -> dict[str, float]:
        """The chunks that our candidates' own metrics count: that they did all their work."""
        found = {}
        for name in (OURS, WITH_SPANS):
            if name in self.running:
                self.running[name].still(False)
                counts = re.findall(
                    r"^streamgauge_stream_chunks_total\{.*\} ([\d.e+]+)$", self.running[name].metrics(), re.MULTILINE
                )
                found[name] = sum(map(float, counts))
        return found


def median(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]} if turns else {}


def table(bench: Bench) -> str:
    lines = [
        "| candidate | CPU µs per frame | transit, µs, p50 / p99 | frames/s of a flood (CPU µs each) |",
        "| --- | --- | --- | --- |",
    ]
    for name in bench.running:
        paced, flood = (median(bench.found[measure][name]) for measure in ("paced", "flood"))
        lines.append(
            f"| {name} | {paced['us']:.2f} | {paced['p50_us']:.0f} / {paced['p99_us']:.0f} "
            f"| {flood['per_s']:,.0f} ({flood['us']:.2f}) |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short turn of each, to see that it runs")
    parser.add_argument("--json", metavar="FILE", help="also write all turns there")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the proxy, one for generator and agent")
    rounds, streams, seconds = (1, 100, 1.5) if arguments.quick else (5, 400, 3.0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder))
        stack.callback(bench.stop)
        bench.start()
        bench.turns("paced", rounds, streams=streams, pace=PACE_MS, settle=1.0, seconds=seconds)
        bench.turns("flood", rounds, streams=20, settle=0.3, seconds=min(seconds, 1.5))
        found = {"nginx": bench.ratio("nginx"), "relay": bench.ratio(RELAY)}
        peers = [version_of("nginx")] if "nginx" in bench.running else []
        print(f"\nPython {platform.python_version()}, {platform.machine()}, ", end="")
        print(", ".join([*peers, f"websockets {version('websockets')}"]), end="\n\n")
        print(table(bench))
        print("\n| what | measured | budget |\n| --- | --- | --- |")
        missed = []
        for name, (unit, budget) in BUDGETS.items():
            value = found[name]
            if value is None or value > budget:
                missed.append(name)
            shown = "not measured" if value is None else f"{value:.2f}"
            print(f"| {unit} | {shown} | {budget:g}{', **missed**' if name in missed else ''} |")
        print(f"\nchunks in our own metrics: {bench.watched()}")
        for doubt in bench.doubts():
            print(f"doubtful: {doubt}")
        if arguments.json:
            results = {"turns": bench.found, "budgets": found, "missing": bench.missing}
            Path(arguments.json).write_text(json.dumps(results, indent=1))
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
