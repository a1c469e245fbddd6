"""What `streamgauge exec` costs, beside `cat` and beside a bare relay of asyncio's in the same run.

    python -m bench.stdio [--quick] [--json FILE]

Candidates take turns, and the figures are medians of the turns. Exits with 1 where a budget of the project is missed.
Run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CAPTURED = ROOT / "tests" / "captures" / "zag-rust-translator-wire.ndjson"
EXEC = (sys.executable, "-m", "streamgauge", "exec")
WATCHED = (*EXEC, "--no-stdin", "--summary", "--dialect")
RELAYS: dict[str, tuple[str, ...]] = {
    "bare": (),
    "cat": ("/bin/sh", "-c", '"$@" | cat', "sh"),
    "asyncio": (sys.executable, "-m", "bench.stdio.relay"),
    "asyncio, by line": (sys.executable, "-m", "bench.stdio.relay", "--lines"),
    "exec, messages": (*WATCHED, "generic-messages", "--"),
    "exec, zag": (*WATCHED, "zag", "--"),
}
BUDGETS = {
    "throughput": ("of the asyncio relay's bytes/s, at least", 1 / 3),
    "p99": ("ms added per line, p99", 1.0),
    "start": ("ms added to a command that does nothing", 150.0),
}
PACES = """
import os, sys, time
for number in range(int(sys.argv[1])):
    time.sleep(0.002)
    os.write(1, b'{"type":"assistant_message","sent":%020d}\\n' % time.monotonic_ns())
"""


def lines(path: Path, size: int) -> None:
    """A file of captured lines, over and over."""
    written = [
        json.dumps(json.loads(line)["data"]) for line in CAPTURED.read_text().splitlines()[1:] if '"data"' in line
    ]
    block = "".join(f"{line}\n" for line in written).encode()
    path.write_bytes(block * (size // len(block) + 1))


def throughput(relay: tuple[str, ...], path: Path) -> float:
    """Bytes per second, from the first to the last."""
    with subprocess.Popen(
        (*relay, "cat", str(path)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as run:
        assert run.stdout is not None
        fd = run.stdout.fileno()
        total = len(os.read(fd, 1 << 20))
        began = time.perf_counter()
        while data := os.read(fd, 1 << 20):
            total += len(data)
        took = time.perf_counter() - began
    assert total == path.stat().st_size
    return total / took


def latencies(relay: tuple[str, ...], count: int) -> list[float]:
    """Milliseconds from a line's writing to its being read."""
    command = (*relay, sys.executable, "-IS", "-c", PACES, str(count))
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as run:
        assert run.stdout is not None
        for line in run.stdout:
            found.append((time.monotonic_ns() - int(line[-22:-2])) / 1e6)
    assert len(found) == count
    return found[count // 3 :]  # what is loaded at first has been


def start(relay: tuple[str, ...]) -> float:
    """Milliseconds for a command that does nothing."""
    began = time.perf_counter()
    subprocess.run((*relay, "true"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, check=True)
    return (time.perf_counter() - began) * 1e3


def quantile(found: list[float], share: float) -> float:
    return sorted(found)[min(len(found) - 1, int(share * len(found)))]


def turns(rounds: int, measure: Callable[[tuple[str, ...]], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in RELAYS}
    for _ in range(rounds):
        for name, relay in RELAYS.items():
            found[name].append(measure(relay))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns: to see that it works")
    parser.add_argument("--json", metavar="FILE", help="also write all figures there")
    options = parser.parse_args()
    rounds, size, count = (3, 8 << 20, 300) if options.quick else (7, 64 << 20, 2000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        lines(path, size)
        rates = turns(rounds, lambda relay: throughput(relay, path))
    p50 = turns(rounds, lambda relay: quantile(latencies(relay, count), 0.5))
    p99 = turns(rounds, lambda relay: quantile(latencies(relay, count), 0.99))
    starts = turns(rounds * 3, start)
    print("| | MB/s | line p50, ms | line p99, ms | start, ms |\n| --- | --- | --- | --- | --- |")
    for name in RELAYS:
        print(f"| {name} | {rates[name] / 1e6:.0f} | {p50[name]:.3f} | {p99[name]:.3f} | {starts[name]:.0f} |")
    ours = [name for name in RELAYS if name.startswith("exec")]
    found = {
        "throughput": min(rates[name] for name in ours) / rates["asyncio"],
        "p99": max(p99[name] - p99["bare"] for name in ours),
        "start": max(starts[name] - starts["bare"] for name in ours),
    }
    missed = 0
    for name, (what, budget) in BUDGETS.items():
        is_met = found[name] >= budget if name == "throughput" else found[name] <= budget
        missed += not is_met
        print(f"{'ok    ' if is_met else 'MISSED'} {found[name]:.3g} {what} ({budget:.3g})")
    if options.json:
        figures = {"rates": rates, "p50": p50, "p99": p99, "starts": starts, "budgets": found}
        Path(options.json).write_text(json.dumps(figures, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
