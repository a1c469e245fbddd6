"""The measures: each takes one candidate in one turn, and gives numbers. Medians are made of them afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from bench.http.proxies import LOAD_CORE, Running, pinned

PACE_MS = 20
LATE_MS = 50


def load(candidate: Running, upstream: Running, mode: str, **spec: Any) -> dict[str, Any]:
    """What the generator found.

    Raises: RuntimeError where it could not do its work.
    """
    spec = {
        "mode": mode,
        "port": candidate.port,
        "pids": {"proxy": candidate.pids, "upstream": upstream.pids},
        **spec,
    }
    command = pinned(LOAD_CORE, [sys.executable, "-m", "bench.http.load", json.dumps(spec)])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise RuntimeError(f"{mode} through {candidate.name}: {done.stderr.strip().splitlines()[-1:]}")
    time.sleep(0.3)  # until what was open is closed
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _shares(found: dict[str, Any]) -> dict[str, float]:
    """Of a core, by process."""
    return {f"{name}_share": cpu_s / found["seconds"] for name, cpu_s in found["cpu_s"].items()}


def chunk(candidate: Running, upstream: Running, *, streams: int, seconds: float) -> dict[str, float]:
    """CPU of the proxy per piece, in so many streams of one each 20 ms."""
    found = load(candidate, upstream, "paced", streams=streams, pace=PACE_MS, settle=1.0, seconds=seconds)
    if not found["pieces"]:
        raise RuntimeError(f"paced through {candidate.name}: nothing came")
    return {
        "us": found["cpu_s"]["proxy"] / found["pieces"] * 1e6,
        "pieces_per_read": found["pieces"] / found["reads"],
        "arrived": found["pieces"] / found["wanted"],
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
        **_shares(found),
    }


def stream(candidate: Running, upstream: Running, *, connections: int, seconds: float) -> dict[str, float]:
    """CPU per stream of two pieces, one after the other on so many kept connections. The pieces' part is in it."""
    found = load(
        candidate, upstream, "closed", connections=connections, model=f"p{PACE_MS}n2", stream=True, seconds=seconds
    )  # fmt: skip
    return {
        "us": found["cpu_s"]["proxy"] / found["answers"] * 1e6,
        "per_s": found["answers"] / found["seconds"],
        **_shares(found),
    }


def short(candidate: Running, upstream: Running, *, seconds: float) -> dict[str, float]:
    """JSON requests, by 64 callers that each ask again when they have their answer."""
    found = load(candidate, upstream, "closed", connections=64, model="json", stream=False, seconds=seconds)
    return {
        "per_s": found["answers"] / found["seconds"],
        "us": found["cpu_s"].get("proxy", 0.0) / found["answers"] * 1e6,
        **_shares(found),
    }


def first(candidate: Running, upstream: Running, *, streams: int, seconds: float) -> dict[str, float]:
    """Microseconds from a request to the first piece of its answer, while so many streams go on."""
    return load(candidate, upstream, "first", streams=streams, pace=PACE_MS, seconds=seconds)


def held(candidate: Running, upstream: Running, *, start: int, step: float, seconds: float) -> dict[str, Any]:
    """How many paced streams pass in time."""
    return load(
        candidate, upstream, "held", streams=start, pace=PACE_MS, step=step, most=8_000, settle=0.7, seconds=seconds,
        p99_ms=LATE_MS, one_in=20,
    )  # fmt: skip


def memory(candidate: Running, upstream: Running, *, streams: int) -> dict[str, float]:
    """KiB that one of so many open streams takes. The candidate is fresh but for a few streams."""
    load(candidate, upstream, "paced", streams=20, pace=PACE_MS, settle=0.2, seconds=0.3)
    return load(candidate, upstream, "open", streams=streams, pace=100, settle=1.5)
