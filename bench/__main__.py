"""Run all benchmarks, alternating what is compared, and print a table for docs/performance.md.

    python -m bench [--quick] [--json FILE]

Exits with 1 where a budget of the project is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import streamgauge
from bench.events import MODEL_CALL, Stream, streams
from bench.peers import UtilGenAI, acheapest, cheapest
from streamgauge import pipeline
from streamgauge.settings import Settings

CANDIDATES = ("cheapest", "streamgauge", "util-genai")
BUDGETS = {
    "chunk, sync": ("µs added per text chunk", 0.9),
    "chunk, async": ("µs added per text chunk", 1.0),
    "times cheaper than util-genai": ("times, at least", 9.0),
    "stream": ("µs per stream", 120.0),
    "memory": ("KiB per open stream", 10.0),
    "growth": ("cost per chunk at 1,000,000 over that at 100", 1.1),
    "import": ("ms beyond opentelemetry-api", 30.0),
}


class Discarding(SpanExporter):
    """Takes spans as an exporter would, and forgets them."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def providers() -> tuple[TracerProvider, MeterProvider]:
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(BatchSpanProcessor(Discarding()))
    return tracer_provider, MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)


def timed(stream: Any) -> float:
    began = time.perf_counter()
    for _ in stream:
        pass
    return time.perf_counter() - began


async def _atimed(stream: Any) -> float:
    began = time.perf_counter()
    async for _ in stream:
        pass
    return time.perf_counter() - began


def atimed(make: Callable[[], Any]) -> float:
    async def run() -> float:
        return await _atimed(make())

    return asyncio.run(run())


def alternating(candidates: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each, measured in turns."""
    for candidate in candidates.values():
        candidate()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            gc.collect()
            times[name].append(candidate())
    return {name: statistics.median(found) for name, found in times.items()}


def per_chunk(stream: Stream, util: UtilGenAI, chunks: int, rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds per text chunk, sync and async: bare, and added by each."""

    def ours(source: Any) -> Any:
        return streamgauge.wrap(source, dialect=stream.dialect)

    sync = alternating(
        {
            "bare": lambda: timed(stream.events(chunks)),
            "cheapest": lambda: timed(cheapest(stream.events(chunks))),
            "streamgauge": lambda: timed(ours(stream.events(chunks))),
            "util-genai": lambda: timed(util.wrap(stream.events(chunks))),
        },
        rounds,
    )
    asynchronous = alternating(
        {
            "bare": lambda: atimed(lambda: stream.aevents(chunks)),
            "cheapest": lambda: atimed(lambda: acheapest(stream.aevents(chunks))),
            "streamgauge": lambda: atimed(lambda: ours(stream.aevents(chunks))),
            "util-genai": lambda: atimed(lambda: util.awrap(stream.aevents(chunks))),
        },
        rounds,
    )
    return {"sync": _added(sync, chunks), "async": _added(asynchronous, chunks)}


def _added(times: dict[str, float], chunks: int) -> dict[str, float]:
    bare = times.pop("bare")
    return {"bare": bare / chunks * 1e9} | {name: (found - bare) / chunks * 1e9 for name, found in times.items()}


def growth(stream: Stream, rounds: int) -> dict[str, float]:
    """Nanoseconds added per chunk in streams of 100 and of 1,000,000 chunks; what a stream costs once is taken off."""

    def many(chunks: int, times: int, wrap: bool) -> float:
        total = 0.0
        for _ in range(times):
            source = stream.events(chunks)
            total += timed(streamgauge.wrap(source, dialect=stream.dialect) if wrap else source)
        return total

    found = alternating(
        {
            "0": lambda: many(1, 2_000, True) - many(1, 2_000, False),
            "100": lambda: many(101, 2_000, True) - many(101, 2_000, False),
            "1000000": lambda: many(1_000_001, 1, True) - many(1_000_001, 1, False),
        },
        rounds,
    )
    once = found["0"] / 2_000
    return {
        "100": (found["100"] / 2_000 - once) / 100 * 1e9,
        "1000000": (found["1000000"] - once) / 1_000_000 * 1e9,
    }


def per_stream(stream: Stream, rounds: int) -> float:
    """Microseconds for one whole stream: opened, a run span, a model call, one chunk, metrics, closed."""
    count = 2_000

    def whole(wrap: bool) -> float:
        began = time.perf_counter()
        for _ in range(count):
            source = stream.events(1)
            for _ in streamgauge.wrap(source, dialect=stream.dialect) if wrap else source:
                pass
        return time.perf_counter() - began

    found = alternating({"bare": lambda: whole(False), "wrapped": lambda: whole(True)}, rounds)
    return (found["wrapped"] - found["bare"]) / count * 1e6


def per_stream_alone(quick: bool) -> float:
    """The same of the smallest whole stream, in a process of its own: no program has the packages of five agent systems
    in it, beside which everything costs some 5 % more."""
    command = [sys.executable, "-m", "bench", "--per-stream", *(["--quick"] if quick else [])]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(stream: Stream) -> dict[str, float]:
    """KiB per open stream with its spans, of 10,000 at once, after 5 and after 500 chunks each, without its source."""
    count = 10_000
    sources = [stream.events(1_000) for _ in range(count)]
    for source in sources:  # its frame, and what the source itself holds, is not ours
        next(source)
    gc.collect()
    tracemalloc.start()
    opened = [streamgauge.wrap(source, dialect=stream.dialect) for source in sources]
    found = {}
    read = 0
    for chunks in (5, 500):
        for each in opened:
            for _ in range(chunks - read):
                next(each)
        read = chunks
        gc.collect()
        found[str(chunks)] = tracemalloc.get_traced_memory()[0] / count / 1024
    tracemalloc.stop()
    for each in opened:
        each.close()
    return found


def importing() -> float:
    """Milliseconds that `import streamgauge` takes beyond opentelemetry-api: the median of 15 of each, in turns."""

    def run(program: str) -> float:
        code = f"import time; a = time.perf_counter(); {program}; print(time.perf_counter() - a)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    api = "from opentelemetry import trace, context, metrics"
    times: list[float] = []
    for _ in range(15):
        times.append(run(f"{api}; import streamgauge") - run(api))
    return statistics.median(times) * 1e3


def rows(results: dict[str, Any]) -> Iterator[str]:
    yield "| system | how | bare ns | cheapest, added | **streamgauge, added** | util-genai, added | times cheaper |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for dialect, modes in results["per_chunk_ns"].items():
        for mode, found in modes.items():
            times = found["util-genai"] / found["streamgauge"]
            bare, cheapest, ours, util = (f"{found[name]:.0f}" for name in ("bare", *CANDIDATES))
            yield f"| {dialect} | {mode} | {bare} | {cheapest} | **{ours}** | {util} | {times:.1f} |"
    yield ""
    yield "| what | measured | budget |"
    yield "| --- | --- | --- |"
    for name, (unit, budget) in BUDGETS.items():
        yield f"| {name}: {unit} | {results['budgets'][name]:.2f} | {budget:g} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it runs")
    parser.add_argument("--json", help="also write the results there")
    parser.add_argument("--per-stream", action="store_true", help="only what a whole stream costs, in µs")
    arguments = parser.parse_args()
    rounds, chunks = (3, 5_000) if arguments.quick else (9, 20_000)
    tracer_provider, meter_provider = providers()
    # As `setup()` leaves it: spans through the SDK's batch processor, metrics in the aggregates.
    made = pipeline.Pipeline(Settings(), tracer_provider=tracer_provider, own_metrics=True)
    pipeline.use(made)
    if arguments.per_stream:
        print(per_stream(MODEL_CALL, rounds))
        return 0
    util = UtilGenAI(tracer_provider, meter_provider)
    known = {stream.dialect: stream for stream in streams()}
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "per_chunk_ns": {name: per_chunk(stream, util, chunks, rounds) for name, stream in known.items()},
        "growth_ns": growth(known["shipit-agent"], 3 if arguments.quick else 5),
        "per_stream_us": {"run and model call": per_stream_alone(arguments.quick)}
        | {"the same, beside five systems' packages": per_stream(MODEL_CALL, rounds)}
        | {name: per_stream(stream, rounds) for name, stream in known.items()},
        "memory_kib": memory(MODEL_CALL),
        "import_ms": importing(),
    }
    by_mode = {mode: [found[mode] for found in results["per_chunk_ns"].values()] for mode in ("sync", "async")}
    cheaper = [each["util-genai"] / each["streamgauge"] for found in by_mode.values() for each in found]
    results["budgets"] = {
        "chunk, sync": max(found["streamgauge"] for found in by_mode["sync"]) / 1e3,
        "chunk, async": max(found["streamgauge"] for found in by_mode["async"]) / 1e3,
        "times cheaper than util-genai": min(cheaper),
        "stream": results["per_stream_us"]["run and model call"],
        "memory": max(results["memory_kib"].values()),
        "growth": results["growth_ns"]["1000000"] / results["growth_ns"]["100"],
        "import": results["import_ms"],
    }
    print(f"Python {results['python']}, {platform.machine()}, {rounds} rounds of {chunks} chunks, medians\n")
    print("\n".join(rows(results)))
    print(f"\nper stream, µs: {results['per_stream_us']}\nmemory, KiB after 5 and 500 chunks: {results['memory_kib']}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    missed = [
        name
        for name, (unit, budget) in BUDGETS.items()
        if (results["budgets"][name] < budget if "at least" in unit else results["budgets"][name] > budget)
    ]
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    pipeline.use(None)
    tracer_provider.shutdown()
    meter_provider.shutdown()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
