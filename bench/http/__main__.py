"""What the proxy costs, beside nginx, haproxy and litellm's proxy in the same run; a table for docs/performance.md.

    python -m bench.http [--quick] [--json FILE] [--only NAME]

The proxy under test has one core to itself; generator and upstream share the other. Candidates take turns, and the
figures are medians of the turns. Exits with 1 where a budget of the project is missed. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.http import measures, proxies
from bench.http.proxies import NotHereError, Running

OURS = "streamgauge"
PEERS = ("nginx", "haproxy", OURS)
WITH_SPANS = "streamgauge+spans"

STREAMS = {"stream, half": 64, "stream": 160}
"""Connections: with the first our core is about half idle, and whatever comes finds nothing at the processor's hand,
which makes it dearer for each candidate; with the second it is full, as a core is that carries what it can."""

BUDGETS = {
    "chunk": ("CPU per chunk, times nginx's", 2.0),
    "stream": ("CPU µs per stream opened and closed, on a full core", 150.0),
    "json": ("short JSON requests/s, at least", 5_000.0),
    "first p50": ("added first-byte time at 100 streams, p50, times nginx's", 2.0),
    "first p99": ("added first-byte time at 100 streams, p99, times nginx's", 2.0),
    "held": ("paced streams held, of haproxy's, at least", 0.7),
    "memory": ("KiB per open stream, of 1,000", 25.0),
    "litellm": ("times cheaper per chunk than litellm's proxy, at least", 25.0),
}


class Bench:
    """The processes, and what was found: measure, candidate, one dictionary per turn."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.upstream = proxies.start_upstream(folder)
        self.running: dict[str, Running] = {"direct": proxies.direct(self.upstream)}
        self.found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.missing: dict[str, str] = {}

    def start(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name in self.running or name in self.missing:
                continue
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

    def turns(
        self, measure: str, names: tuple[str, ...], rounds: int, take: Callable[[Running], dict[str, Any]]
    ) -> None:
        self.start(names)
        found = self.found.setdefault(measure, {})
        for number in range(rounds):
            here = [name for name in names if name in self.running]
            for name in here if number % 2 else reversed(here):
                candidate = self.running[name]
                candidate.still(False)
                for other in self.running.values():
                    if other is not candidate and other.process is not None:
                        other.still(True)
                try:
                    found.setdefault(name, []).append(take(candidate))
                except RuntimeError as error:
                    print(error, file=sys.stderr)
        for name, each in found.items():
            print(f"{measure:12} {name:18} {_shown(_median(each))}", file=sys.stderr, flush=True)

    def fresh(self, measure: str, names: tuple[str, ...], rounds: int, streams: int) -> None:
        """Memory, of processes that have done nothing else."""
        found = self.found.setdefault(measure, {})
        for _ in range(rounds):
            for name in names:
                try:
                    candidate = proxies.start(name, self.upstream, self.folder)
                except NotHereError:
                    continue
                try:
                    found.setdefault(name, []).append(measures.memory(candidate, self.upstream, streams=streams))
                finally:
                    candidate.stop()
        for name, each in found.items():
            print(f"{measure:12} {name:18} {_shown(_median(each))}", file=sys.stderr, flush=True)

    def median(self, measure: str, name: str, what: str) -> float | None:
        return _median(self.found.get(measure, {}).get(name, [])).get(what)


def _median(turns: list[dict[str, Any]]) -> dict[str, float]:
    names = [name for name, value in turns[0].items() if isinstance(value, (int, float))] if turns else []
    return {name: statistics.median(turn[name] for turn in turns if name in turn) for name in names}


def _shown(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def run(bench: Bench, only: str | None) -> None:
    quick = bench.quick
    rounds, seconds = (1, 1.5) if quick else (5, 2.5)
    up = bench.upstream
    wanted: Callable[[str], bool] = lambda name: only in (None, name)  # noqa: E731
    if wanted("memory"):
        bench.fresh("memory", PEERS, 1 if quick else 3, 1_000)
    everyone = (*PEERS, WITH_SPANS)
    if wanted("chunk") or wanted("stream"):
        bench.turns("chunk", everyone, rounds, lambda one: measures.chunk(one, up, streams=400, seconds=seconds))
    if wanted("stream"):
        for measure, connections in STREAMS.items():
            take_stream = lambda one, many=connections: measures.stream(one, up, connections=many, seconds=1.5)  # noqa: E731
            bench.turns(measure, everyone, rounds, take_stream)
    if wanted("json"):
        bench.turns("json", ("direct", *everyone), rounds, lambda one: measures.short(one, up, seconds=1.5))
    if wanted("first"):
        for streams in (1, 100):
            # One stream: the one that is asked for.
            long = seconds if quick else 6.0  # p99 is to be more than the worst few
            take = lambda one, streams=streams, long=long: measures.first(one, up, streams=streams - 1, seconds=long)  # noqa: E731
            bench.turns(f"first {streams}", ("direct", *PEERS), rounds, take)
    if wanted("held"):
        step = 1.15 if quick else 1.06

        def held(one: Running) -> dict[str, Any]:
            # From well below what the cost of a chunk lets expect.
            us = bench.median("chunk", one.name, "us") or 15.0
            return measures.held(one, up, start=int(0.6 * 1e6 / us / 50), step=step, seconds=1.0)

        bench.turns("held", PEERS, 1 if quick else 3, held)
    if wanted("litellm"):
        # As many streams as it carries; and ours with as few.
        bench.turns(
            "chunk at 20", (OURS, "litellm"), 1 if quick else 3,
            lambda one: measures.chunk(one, up, streams=20, seconds=seconds),
        )  # fmt: skip


def budgets(bench: Bench) -> dict[str, float]:
    median = bench.median
    found: dict[str, float] = {}

    def ratio(one: float | None, other: float | None) -> float | None:
        return one / other if one is not None and other else None

    def by_turn(measure: str, what: str, other: str) -> float | None:
        """The median of the turns' ratios, which what disturbs a whole turn does not touch."""
        turns = bench.found.get(measure, {})
        mine, others = ([turn[what] for turn in turns.get(name, [])] for name in (OURS, other))
        if len(mine) != len(others) or not mine or not all(others):
            return ratio(median(measure, OURS, what), median(measure, other, what))
        return statistics.median(one / beside for one, beside in zip(mine, others, strict=True))

    def note(name: str, value: float | None) -> None:
        if value is not None:
            found[name] = value

    note("chunk", by_turn("chunk", "us", "nginx"))
    note("stream", per_stream(bench, OURS))
    note("json", median("json", OURS, "per_s"))
    for what in ("p50", "p99"):
        note(f"first {what}", ratio(added(bench, OURS, 100, what), added(bench, "nginx", 100, what)))
    note("held", by_turn("held", "held", "haproxy"))
    note("memory", median("memory", OURS, "kib"))
    dear = median("chunk at 20", "litellm", "us")
    note("litellm", ratio(dear, median("chunk", OURS, "us") or median("chunk at 20", OURS, "us")))
    return found


def per_stream(bench: Bench, name: str, measure: str = "stream") -> float | None:
    whole, piece = bench.median(measure, name, "us"), bench.median("chunk", name, "us")
    return None if whole is None or piece is None else whole - 2 * piece


def added(bench: Bench, name: str, streams: int, what: str) -> float | None:
    """Microseconds over the way without a proxy."""
    through, direct = (bench.median(f"first {streams}", one, f"{what}_us") for one in (name, "direct"))
    return None if through is None or direct is None else through - direct


def is_missed(name: str, value: float) -> bool:
    unit, budget = BUDGETS[name]
    return value < budget if "at least" in unit else value > budget


def table(bench: Bench) -> str:
    def cell(value: float | None, form: str = ".1f") -> str:
        return "" if value is None else f"{value:,{form}}"

    lines = [
        "| candidate | CPU µs per chunk | CPU µs per stream, core full / half idle | JSON requests/s (CPU µs each) "
        "| first byte, added µs at 1 stream, p50 / p99 | at 100 | paced streams held | KiB per open stream |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in (*PEERS, WITH_SPANS, "litellm"):
        if name not in bench.running:
            continue
        median = bench.median
        by_streams = [
            " / ".join(cell(added(bench, name, streams, what), ".0f") for what in ("p50", "p99")).strip(" /")
            for streams in (1, 100)
        ]
        streams = " / ".join(
            cell(per_stream(bench, name, measure), ".0f") for measure in ("stream", "stream, half")
        ).strip(" /")
        chunk = median("chunk", name, "us") or median("chunk at 20", name, "us")
        requests, each = median("json", name, "per_s"), median("json", name, "us")
        lines.append(
            f"| {name} | {cell(chunk, '.2f')} | {streams} "
            f"| {cell(requests, '.0f')}{f' ({each:.0f})' if each else ''} "
            f"| {by_streams[0]} | {by_streams[1]} | {cell(median('held', name, 'held'), '.0f')} "
            f"| {cell(median('memory', name, 'kib'))} |"
        )
    return "\n".join(lines)


def doubts(bench: Bench) -> list[str]:
    """What would make the figures somebody else's: a generator at its limit, several chunks per read."""
    found = []
    for measure, candidates in bench.found.items():
        for name, turns in candidates.items():
            for turn in turns:
                for step in turn.get("steps", [turn]):
                    shares = step.get("cpu") or {key[:-6]: turn[key] for key in turn if key.endswith("_share")}
                    busy = shares.get("generator", 0.0) + shares.get("upstream", 0.0)
                    if name != "direct" and busy > 0.9 and shares["proxy"] < 0.9:
                        found.append(f"{measure}, {name}: generator and upstream had {busy:.2f} of their core")
            if measure == "chunk" and (several := _median(turns)["pieces_per_read"]) > 1.05:
                found.append(f"{measure}, {name}: {several:.2f} chunks per read")
    return sorted(set(found))


def watched(bench: Bench) -> dict[str, float]:
    """What our candidates' own metrics say that they saw: that they did all their work."""
    found = {}
    for name in (OURS, WITH_SPANS):
        if name in bench.running and bench.running[name].admin_port:
            bench.running[name].still(False)
            page = bench.running[name].metrics()
            counts = re.findall(
                r"^gen_ai_client_operation_duration_seconds_count\{.*\} ([\d.e+]+)$", page, re.MULTILINE
            )
            found[name] = sum(float(count) for count in counts)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short turn of each, to see that it runs")
    parser.add_argument("--json", metavar="FILE", help="also write all turns there")
    names = ["memory", "chunk", "stream", "json", "first", "held", "litellm"]
    parser.add_argument("--only", metavar="NAME", choices=names, help=f"one measure: {', '.join(names)}")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the proxy, one for generator and upstream")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), arguments.quick)
        stack.callback(bench.stop)
        run(bench, arguments.only)
        found = budgets(bench)
        seen = watched(bench)
        versions = {name: proxies.version(name) for name in bench.running if name in ("nginx", "haproxy", "litellm")}
        print(f"\nPython {platform.python_version()}, {platform.machine()}, {', '.join(versions.values())}; ", end="")
        print(f"{time.monotonic() - began:.0f} s\n")
        print(table(bench))
        print("\n| what | measured | budget |\n| --- | --- | --- |")
        for name, value in found.items():
            unit, budget = BUDGETS[name]
            print(f"| {unit} | {value:,.2f} | {budget:,g}{', **missed**' if is_missed(name, value) else ''} |")
        print(f"\noperations in our own metrics: {seen}")
        alike = [bench.median("chunk at 20", name, "us") for name in ("litellm", OURS)]
        if None not in alike:
            print(f"CPU µs per chunk in 20 streams: litellm {alike[0]:.0f}, ours {alike[1]:.1f}")
        for doubt in doubts(bench):
            print(f"doubtful: {doubt}")
        if arguments.json:
            results = {"turns": bench.found, "budgets": found, "versions": versions, "missing": bench.missing}
            Path(arguments.json).write_text(json.dumps(results, indent=1))
    missed = [name for name, value in found.items() if is_missed(name, value)]
    if not arguments.only:
        missed += [name for name in BUDGETS if name not in found]
    for name in missed:
        print(f"missed: {name}" if name in found else f"not measured: {name}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
