"""What watching costs in a client: streams of the openai SDK, bare and instrumented, from memory.

    python -m bench.http.sdk [--quick] [--json FILE]

Each instrumentation has processes of its own. In each, streams that it watches take turns with bare ones (or, where it
cannot be taken off again, come after them), and what is told is the difference. "bare" beside "bare" shows the noise.
Spans go to the SDK's batch processor and are then forgotten, metrics to a reader that nobody asks. Exits with 1 where a
budget is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from bench.http import wire

LENGTHS = (1_000, 20_000)
KEPT_LENGTH = 4_000
"""Of the stream whose memory is looked at, which some make very slow."""
WITHIN_S = 120.0
BUDGET_US = 2.0
BUDGET_BYTES = 1.0
"""Kept per chunk: none, but for what the allocator and the clock leave."""


def _events() -> tuple[bytes, bytes]:
    piece, last = (rendered % time.monotonic_ns() for rendered in (wire.PIECE, wire.LAST))
    return piece.partition(b"\r\n")[2][:-2], last.partition(b"\r\n")[2][: -2 - len(wire.STREAM_END)]


PIECE, LAST = _events()


def memory_clients(length: int) -> tuple[Any, Any]:
    """A client and an asynchronous one, whose answers are streams of so many chunks, one per read."""
    import openai

    # Which it is depends on the SDK's version.
    kind = type(openai.OpenAI(api_key="sk-bench")._client)
    http: Any = importlib.import_module(next(base.__module__.split(".")[0] for base in kind.__mro__[2:]))

    class Body(http.SyncByteStream, http.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(length - 1):
                yield PIECE
            yield LAST

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self.__iter__():
                yield piece

    def answer() -> Any:
        return http.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    class Memory(http.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            return answer()

    class AsyncMemory(http.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            return answer()

    where = {"api_key": "sk-bench", "base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
    return (
        openai.OpenAI(http_client=http.Client(transport=Memory()), **where),
        openai.AsyncOpenAI(http_client=http.AsyncClient(transport=AsyncMemory()), **where),
    )


ASKED: Any = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}


# The candidates -------------------------------------------------------------------------------------------------------
# Each is made once in its process, and gives how a client becomes a watched one, and what switches the watching.

Switch = Callable[[bool], None]
Wrap = Callable[[Any], Any]


def _providers() -> tuple[Any, Any]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(_discarding()))
    return tracers, MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)


def _discarding() -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Discarding(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

    return Discarding()


def _as_it_is(client: Any) -> Any:
    return client


def _nothing(on: bool) -> None:
    pass


def _for_good(on: bool) -> None:
    """Of what cannot be taken off again."""


def ours(dialects_reader: bool = True) -> tuple[Wrap, Switch]:
    if not dialects_reader:
        sys.modules["msgspec"] = None
    import streamgauge
    from streamgauge import pipeline
    from streamgauge.settings import Settings

    tracers, _ = _providers()
    pipeline.use(pipeline.Pipeline(Settings(), tracer_provider=tracers, own_metrics=True))
    return streamgauge.wrap, _nothing


def instrumentor(module: str, name: str) -> tuple[Wrap, Switch]:
    tracers, meters = _providers()
    made = getattr(importlib.import_module(module), name)()

    def switch(on: bool) -> None:
        if on:
            made.instrument(tracer_provider=tracers, meter_provider=meters)
        else:
            made.uninstrument()

    return _as_it_is, switch


def langfuse() -> tuple[Wrap, Switch]:
    from langfuse import Langfuse

    Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9", span_exporter=_discarding())

    def wrap(client: Any) -> Any:
        importlib.import_module("langfuse.openai")  # which changes the SDK's classes
        return client

    return wrap, _for_good


def logfire() -> tuple[Wrap, Switch]:
    import logfire as found

    found.configure(send_to_logfire=False, console=False)

    def wrap(client: Any) -> Any:
        found.instrument_openai(client)
        return client

    return wrap, _for_good


CANDIDATES: dict[str, Callable[[], tuple[Wrap, Switch]]] = {
    "bare": lambda: (_as_it_is, _nothing),
    "streamgauge": ours,
    "streamgauge, json instead of msgspec": lambda: ours(False),
    "opentelemetry-instrumentation-openai-v2": lambda: instrumentor(
        "opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"
    ),
    "opentelemetry-instrumentation-openai": lambda: instrumentor(
        "opentelemetry.instrumentation.openai", "OpenAIInstrumentor"
    ),
    "openinference-instrumentation-openai": lambda: instrumentor(
        "openinference.instrumentation.openai", "OpenAIInstrumentor"
    ),
    "langfuse": langfuse,
    "logfire": logfire,
}


# The measures ---------------------------------------------------------------------------------------------------------


def sync_us(client: Any, length: int) -> float:
    gc.collect()
    began = time.process_time()
    count = sum(1 for _ in client.chat.completions.create(**ASKED))
    taken = time.process_time() - began
    assert count == length, count
    return taken / length * 1e6


def async_us(client: Any, length: int) -> float:
    async def read() -> float:
        gc.collect()
        began = time.process_time()
        count = 0
        async for _ in await client.chat.completions.create(**ASKED):
            count += 1
        taken = time.process_time() - began
        assert count == length, count
        return taken / length * 1e6

    return asyncio.run(read())


def kept_bytes(client: Any, length: int) -> float:
    """What a stream keeps of each chunk, from its thousandth on."""
    gc.collect()
    tracemalloc.start()
    first = last = 0
    for number, _ in enumerate(client.chat.completions.create(**ASKED), 1):
        if number == 1_000:
            gc.collect()
            first = tracemalloc.get_traced_memory()[0]
        elif number == length - 1:
            gc.collect()
            last = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (last - first) / (length - 1_001)


def one(name: str, pairs: tuple[int, int]) -> dict[str, Any]:
    """What one candidate adds, measured in this process: the median of the differences between neighbours.

    Args:
        pairs: of streams, bare and watched, by length.
    """
    wrap, switch = CANDIDATES[name]()
    found: dict[str, Any] = {}
    for_good = switch is _for_good
    plans = []
    for length, count in zip(LENGTHS, pairs, strict=True):
        for how, measure, client in zip(("sync", "async"), (sync_us, async_us), memory_clients(length), strict=True):
            plans.append((f"{how} {length}", measure, length, client, count))
    bare: dict[str, list[float]] = {}
    switch(False)
    for label, measure, length, client, count in plans:
        measure(client, length)  # to warm up
        if for_good:
            bare[label] = [measure(client, length) for _ in range(count)]
    for label, measure, length, client, count in plans:
        watched = wrap(client)
        added = []
        for turn in range(count + 1):
            if not for_good:
                switch(False)
                bare.setdefault(label, []).append(measure(client, length))
                switch(True)
            us = measure(watched, length) - (statistics.median(bare[label]) if for_good else bare[label][-1])
            if turn:  # the first is to warm up
                added.append(us)
        found[label] = {"bare": statistics.median(bare[label]), "added": statistics.median(added)}
    client, _ = memory_clients(KEPT_LENGTH)
    found["kept_bytes"] = kept_bytes(wrap(client), KEPT_LENGTH)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one process each, to see that it runs")
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, nargs=2, default=(15, 2), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one, arguments.pairs)))
        return 0
    rounds, pairs = (1, ("6", "1")) if arguments.quick else (2, ("15", "2"))
    found: dict[str, list[dict[str, Any]]] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for name in CANDIDATES:
            if name in missing:
                continue
            command = [sys.executable, "-m", "bench.http.sdk", "--one", name, "--pairs", *pairs]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=os.environ, check=False, timeout=WITHIN_S
                )
            except subprocess.TimeoutExpired:
                missing[name] = f"not done in {WITHIN_S:g} s"
                print(f"without {name}: {missing[name]}", file=sys.stderr)
                continue
            if done.returncode:
                missing[name] = (done.stderr.strip().splitlines() or ["?"])[-1]
                print(f"without {name}: {missing[name]}", file=sys.stderr)
                continue
            found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    labels = [f"{how} {length}" for how in ("sync", "async") for length in LENGTHS]
    table: dict[str, dict[str, float]] = {}
    for name, each in found.items():
        table[name] = {label: statistics.median(turn[label]["added"] for turn in each) for label in labels}
        table[name]["kept_bytes"] = statistics.median(turn["kept_bytes"] for turn in each)
    bare = {
        label: statistics.median(turn[label]["bare"] for each in found.values() for turn in each) for label in labels
    }
    print("µs per chunk, added to the bare SDK's " + ", ".join(f"{us:.1f} ({label})" for label, us in bare.items()))
    print("\n| instrumentation | " + " | ".join(labels) + " | bytes kept per chunk |")
    print("| --- |" + " --- |" * (len(labels) + 1))
    for name, row in table.items():
        cells = " | ".join(f"{row[label]:.2f}" for label in labels)
        print(f"| {name} | {cells} | {row['kept_bytes']:.1f} |")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"table": table, "bare": bare, "turns": found, "missing": missing}))
    own = table.get("streamgauge", {})
    missed = [label for label in labels if own.get(label, 1e9) > BUDGET_US]
    # Beside the bare SDK, whose client, clock and allocator keep something too.
    if own.get("kept_bytes", 1e9) - table.get("bare", {}).get("kept_bytes", 0.0) > BUDGET_BYTES:
        missed.append("bytes kept per chunk")
    for label in missed:
        print(f"missed: {label}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
