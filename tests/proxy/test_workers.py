"""Several workers behind one port: one page of numbers, whoever dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from proxy.running import CHAT, HELD, Caller, Numbers, Proxy, Upstream, alive, proxy, streamed, stuck_dialect, until
from telemetry.parts import Receiver

STREAMS = "streamgauge_streams_total"
RESTARTS = "streamgauge_proxy_worker_restarts_total"
WORKERS = "streamgauge_proxy_workers"


async def asked(running: Proxy, times: int) -> None:
    assert all(await asyncio.gather(*(streamed(running.port) for _ in range(times))))


async def counted(running: Proxy, streams: int) -> Numbers:
    """The page, once it has so many streams: one that has come whole may be counted a moment later."""

    async def found() -> Numbers | None:
        numbers = await running.numbers()
        return numbers if numbers.sum(STREAMS) >= streams else None

    numbers: Numbers = await until(found)
    assert numbers.sum(STREAMS) == streams
    return numbers


async def replaced(running: Proxy, killed: list[int], restarts: int) -> Numbers:
    """The page, once others are in the place of those."""

    async def found() -> Numbers | None:
        numbers = await running.numbers()
        done = numbers.sum(RESTARTS) >= restarts and numbers.sum(WORKERS) == 2
        return numbers if done and not set(killed) & set(running.workers()) else None

    numbers: Numbers = await until(found)
    return numbers


async def test_one_page_for_all_with_exemplars(tmp_path: Path, upstream: Upstream, receiver: Receiver) -> None:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path, **exporting) as running:
        assert running.told == f"2 workers, routes / -> {upstream.url}"
        assert len(running.workers()) == 2
        await asked(running, 40)
        numbers = await counted(running, 40)
        assert numbers.sum(STREAMS, streamgauge_outcome="completed", gen_ai_request_model="gpt-5") == 40
        assert numbers.sum("gen_ai_client_operation_duration_seconds_count") == 40
        assert numbers.sum(WORKERS) == 2
        assert numbers.sum(RESTARTS) == 0
        exemplars = [sample.exemplar for sample in numbers.samples if sample.exemplar]
        assert exemplars
        assert {(len(each.labels["trace_id"]), len(each.labels["span_id"])) for each in exemplars} == {(32, 16)}
        assert (await running.get("/readyz")).body == b"2 of 2 workers are ready\n"
        assert (await running.get("/healthz")).status == 200
        running.tell(signal.SIGTERM)
        assert await running.ended() == 0
        assert running.log == [line for line in running.log if "no more callers are accepted; 0 open" in line]


async def test_promtool_finds_nothing_wrong(tmp_path: Path, upstream: Upstream) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: it comes with Prometheus (Debian: apt-get install prometheus)"
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        await asked(running, 10)
        await counted(running, 10)
        page = (await running.get("/metrics")).body
        assert b"streamgauge_proxy_workers 2.0" in page
        run = partial(subprocess.run, [promtool, "check", "metrics"], input=page, capture_output=True, check=False)
        checked = await asyncio.to_thread(run)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_a_killed_worker_takes_no_counts_along(tmp_path: Path, upstream: Upstream) -> None:
    """All that it had counted was reported at the last scrape, so the numbers are exact."""
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        total = 0
        before: dict[Any, float] = {}
        for round_ in range(1, 3):
            await asked(running, 20)
            total += 20
            numbers = await counted(running, total)
            killed = running.workers()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            after = await replaced(running, killed, 2 * round_)
            assert after.sum(STREAMS) == total
            assert after.sum(RESTARTS, reason="SIGKILL") == 2 * round_
            grown = {key: value for key, value in numbers.totals.items() if after.totals.get(key, -1) < value}
            assert grown == {}
            assert before.keys() <= numbers.totals.keys()
            before = numbers.totals
        await asked(running, 10)
        await counted(running, total + 10)
        assert (await running.get("/readyz")).body == b"2 of 2 workers are ready\n"
        assert await running.logged(r"worker [12] ended \(SIGKILL\) after \d+ s; the next is started in 0\.1 s")


async def test_a_worker_killed_under_load(tmp_path: Path, upstream: Upstream) -> None:
    """What it lost is at most what it had not reported; no number goes back, and no more is counted than there was."""
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        started = whole = 0
        over = asyncio.Event()

        async def load() -> None:
            nonlocal started, whole
            while not over.is_set():
                started += 1
                whole += await streamed(running.port)

        callers = [asyncio.ensure_future(load()) for _ in range(4)]
        last: dict[Any, float] = {}

        async def scraped() -> Numbers:
            nonlocal last
            numbers = await running.numbers()
            backwards = [key for key, value in last.items() if numbers.totals.get(key, -1.0) < value]
            assert backwards == []
            last = numbers.totals
            return numbers

        async def busy() -> bool:
            return (await scraped()).sum(STREAMS) >= 50

        await until(busy)
        seen = (await scraped()).sum(STREAMS)
        pid = running.workers()[0]
        os.kill(pid, signal.SIGKILL)
        at_kill = whole

        async def back() -> bool:
            numbers = await scraped()
            return numbers.sum(RESTARTS) == 1 and numbers.sum(WORKERS) == 2 and pid not in running.workers()

        await until(back)
        target = whole + 50

        async def more() -> bool:
            await scraped()
            return whole >= target

        await until(more)
        over.set()
        await asyncio.gather(*callers)
        final = (await scraped()).sum(STREAMS)
        assert final <= started
        lost = whole - final
        assert lost <= at_kill - seen + len(callers), "what was counted between the last scrape and the kill"
        assert (await running.numbers()).sum("streamgauge_streams_active") == 0


async def held(running: Proxy) -> Caller:
    caller = await Caller.ask(running.port, HELD)
    await caller.first()
    return caller


async def test_gauges_of_the_dead_are_gone(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        caller = await held(running)
        assert (await running.numbers()).sum("streamgauge_streams_active") == 1
        killed = running.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert not (await caller.rest()).endswith(b"0\r\n\r\n")
        numbers = await replaced(running, killed, 2)
        assert numbers.sum("streamgauge_streams_active") == 0
        assert numbers.sum(STREAMS) == 0, "nobody saw how it ended"


async def test_streams_may_finish_also_where_the_whole_group_is_told(tmp_path: Path, upstream: Upstream) -> None:
    """As a service manager does it: the supervisor and the workers each get the signal."""
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        caller = await held(running)
        workers = running.workers()
        for pid in (running.pid, *workers):
            os.kill(pid, signal.SIGTERM)
        await running.draining()
        assert (await running.get("/healthz")).status == 200
        upstream.release.set()
        assert (await caller.rest()).endswith(b"0\r\n\r\n")
        assert await running.ended() == 0
        assert not any(map(alive, workers))


async def test_a_worker_may_be_ended_by_itself(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        await asked(running, 10)
        pid = running.workers()[0]
        os.kill(pid, signal.SIGTERM)
        numbers = await replaced(running, [pid], 1)
        assert numbers.sum(RESTARTS, reason="exit_0") == 1
        await counted(running, 10)


async def test_told_twice_all_end_at_once(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, "--workers", "2", "--grace", "600", cwd=tmp_path) as running:
        caller = await held(running)
        workers = running.workers()
        running.tell(signal.SIGTERM)
        await running.draining()
        running.tell(signal.SIGTERM)
        assert await running.ended() == 143
        assert not (await caller.rest()).endswith(b"0\r\n\r\n")
        assert not any(map(alive, workers))


async def test_workers_end_with_their_supervisor(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        caller = await held(running)
        workers = running.workers()
        os.kill(running.pid, signal.SIGKILL)

        async def closed() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", running.port)
            except OSError:
                return True
            writer.close()
            return False

        await until(closed)
        upstream.release.set()
        assert (await caller.rest()).endswith(b"0\r\n\r\n"), "what was open may finish"

        async def gone() -> bool:
            return not any(map(alive, workers))

        await until(gone)


async def test_each_worker_is_an_instance_of_its_own(tmp_path: Path, upstream: Upstream, receiver: Receiver) -> None:
    exporting = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-7,deployment.environment.name=test",
    }
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path, **exporting) as running:
        one, two = running.workers()
        for serving, paused in ((one, two), (two, one)):
            os.kill(paused, signal.SIGSTOP)
            try:
                await asked(running, 5)
            finally:
                os.kill(paused, signal.SIGCONT)
            assert alive(serving)
        await counted(running, 10)
        running.tell(signal.SIGTERM)
        assert await running.ended() == 0
    streams: dict[str, float] = {}
    metrics: dict[str, set[str]] = {}
    while not receiver.metrics.empty():
        for instance, name, value in _points(receiver.metrics.get()):
            metrics.setdefault(instance, set()).add(name)
            if name == "streamgauge.streams":
                streams[instance] = value
    assert set(metrics) == {"pod-7", "pod-7-1", "pod-7-2"}
    assert streams == {"pod-7-1": 5, "pod-7-2": 5}
    assert "streamgauge.proxy.workers" in metrics["pod-7"]


def _points(request: ExportMetricsServiceRequest) -> list[tuple[str, str, float]]:
    found = []
    for resource in request.resource_metrics:
        attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
        assert attributes["deployment.environment.name"] == "test"
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = [*metric.sum.data_points, *metric.gauge.data_points]
                value = sum(point.as_int or point.as_double for point in points)
                found.append((attributes["service.instance.id"], metric.name, value))
    return found


async def test_a_scrape_does_not_wait_for_a_worker_that_hangs(tmp_path: Path, upstream: Upstream) -> None:
    """A stopped process reports nothing, and the others serve."""
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path) as running:
        await asked(running, 10)
        await counted(running, 10)
        pid = running.workers()[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            numbers = await asyncio.wait_for(running.numbers(), 10)
            assert numbers.sum(STREAMS) == 10
            assert (await running.get("/healthz")).status == 200
            assert await streamed(running.port, CHAT)
        finally:
            os.kill(pid, signal.SIGCONT)


SOONER = "from streamgauge.proxy import slot; slot.DEAD_S = 3.0"


async def test_a_worker_that_reports_no_more_is_killed(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, "--workers", "2", cwd=tmp_path, first=SOONER) as running:
        pid = running.workers()[0]
        os.kill(pid, signal.SIGSTOP)
        numbers = await replaced(running, [pid], 1)
        assert numbers.sum(RESTARTS, reason="SIGKILL") == 1
        assert await running.logged("has not reported for 3 s and is killed")


async def test_a_worker_whose_loop_is_stuck_is_killed(tmp_path: Path, upstream: Upstream) -> None:
    stuck_dialect(tmp_path)
    line = f"/={upstream.url},dialect=stuck"
    variables = {"PYTHONPATH": str(tmp_path)}
    async with proxy("--route", line, "--workers", "2", cwd=tmp_path, first=SOONER, **variables) as running:
        before = running.workers()
        caller = await held(running)
        assert not (await caller.rest()).endswith(b"0\r\n\r\n")
        await running.logged(r"the event loop of worker [12] has not turned for \d+ s: it is killed")
        (tmp_path / "released").touch()

        async def one_is_new() -> bool:
            numbers = await running.numbers()
            return len(set(running.workers()) - set(before)) == 1 and numbers.sum(WORKERS) == 2

        await until(one_is_new)
        assert await streamed(running.port)
