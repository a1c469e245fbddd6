"""The proxy as a user has it: a process, its signals, its admin port, and what it says."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.running import (
    CHAT,
    HELD,
    OPENMETRICS,
    Caller,
    Proxy,
    Upstream,
    environment,
    proxy,
    streamed,
    stuck_dialect,
    until,
)
from streamgauge.proxy import process as processes
from streamgauge.proxy.config import load
from streamgauge.proxy.process import Process
from telemetry.parts import Receiver


def outcomes(receiver: Receiver) -> list[str]:
    """Of the run spans that were exported."""
    found = []
    while not receiver.traces.empty():
        for resource in receiver.traces.get().resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {each.key: each.value.string_value for each in span.attributes}
                    found.append(values["streamgauge.outcome"])
    return found


_TRACER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from streamgauge.proxy.process import set_up
from streamgauge.settings import load
{before}
print(type(set_up(load()).recorder.tracer).__name__)
"""


@pytest.mark.parametrize(
    ("before", "tracer"),
    [("", "NoOpTracer"), ("trace.set_tracer_provider(TracerProvider())", "Tracer")],
    ids=["nobody's", "of who started it"],
)
def test_where_nobody_gets_spans_nothing_is_put_together_for_them(before: str, tracer: str) -> None:
    """The tracer that waits for a provider would have each stream's attributes, for none that will come."""
    found = subprocess.run(
        [sys.executable, "-c", _TRACER.format(before=before)], capture_output=True, text=True, check=True,
        env=environment(), timeout=30,
    )  # fmt: skip
    assert found.stdout.split() == [tracer]


# Start ------------------------------------------------------------------------------------------------------------


async def test_one_line_says_where_everything_is(tmp_path: Path, upstream: Upstream) -> None:
    routes = ["--upstream", upstream.url, "--route", f"/a={upstream.url}/b,dialect=ollama"]
    async with proxy(*routes, cwd=tmp_path) as running:
        assert running.told == f"routes / -> {upstream.url}, /a -> {upstream.url}/b"
        assert await streamed(running.port)
        about = (await running.get("/")).body.decode()
        assert f"/a -> {upstream.url}/b  ollama" in about
        for path in ("/metrics", "/healthz", "/readyz"):
            assert f"\n{path} " in about
        assert running.log == []
        running.tell(signal.SIGTERM)
        assert await running.ended() == 0


async def test_who_listens_for_other_machines_without_a_token_is_warned(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "tokens").write_text("secret\n")
    line = f"/a={upstream.url},token_file=tokens"
    async with proxy("--host", "0.0.0.0", "--upstream", upstream.url, "--route", line, cwd=tmp_path) as running:
        warning = await running.logged("asks for no token")
        assert re.search(r"WARNING localhost:\d+ is reached from other machines, and / asks for no token", warning)
    async with proxy("--host", "0.0.0.0", "--route", line, cwd=tmp_path) as running:
        assert (await running.get("/readyz")).status == 200
        assert running.log == []


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def failed(*arguments: str, cwd: Path, **variables: str) -> str:
    """The one line that a mistake is told in."""
    done = subprocess.run(
        [sys.executable, "-m", "streamgauge", "proxy", *arguments],
        cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("streamgauge: ")


def test_mistakes_are_told_in_one_line(tmp_path: Path, taken: int) -> None:
    (tmp_path / "streamgauge.toml").write_text('[[proxy.route]]\nprefix = "/a"\nupstream = "x"\n')
    where = "streamgauge.toml, line 3, proxy.route[1].upstream: a route's upstream is http://host"
    assert failed(cwd=tmp_path).startswith(where)
    (tmp_path / "streamgauge.toml").write_text(f'[proxy]\nport = {taken}\nupstream = "http://x"\n')
    assert failed("--admin-port", "0", cwd=tmp_path) == (
        f"--port (STREAMGAUGE_PROXY_PORT): port {taken} on 127.0.0.1 is taken by another program; choose another one, "
        "or 0 for any free one"
    )
    assert failed("--port", "0", "--admin-host", "127.0.0.1", "--admin-port", str(taken), cwd=tmp_path).startswith(
        f"--admin-port (OTEL_EXPORTER_PROMETHEUS_PORT): port {taken} on 127.0.0.1 is taken"
    )
    assert failed("--host", "no.such.host.invalid", cwd=tmp_path).startswith(
        "--port (STREAMGAUGE_PROXY_PORT): cannot listen on 'no.such.host.invalid': "
    )
    assert failed("--tls-certificate", "nowhere.pem", cwd=tmp_path).startswith("tls_certificate: nowhere.pem cannot be")
    assert failed("--port", "0", "--admin-port", "0", cwd=tmp_path, OTEL_TRACES_EXPORTER="nowhere").startswith(
        "OTEL_TRACES_EXPORTER: "
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_its_packages_the_extra_is_named(tmp_path: Path, workers: str) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
    line = failed(
        "--upstream", "http://x", "--port", "0", "--admin-port", "0", "--workers", workers,
        cwd=tmp_path, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert line == "streamgauge proxy needs an extra: pip install 'streamgauge[proxy]'"


def test_check_says_what_the_file_has(tmp_path: Path) -> None:
    def checked(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "other.toml").write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "streamgauge", "check", "--config", "other.toml"],
            cwd=tmp_path, env=environment(OTEL_METRICS_EXPORTER="none"), capture_output=True, text=True, timeout=30,
        )  # fmt: skip

    done = checked('[[proxy.route]]\nprefix = "/a"\nupstream = "http://x"\ndialect = "ollama"\ntokens = ["geheim"]\n')
    assert done.returncode == 0
    assert re.search(r"^ok       route /a +http://x, ollama, with a token$", done.stdout, re.MULTILINE)
    assert "geheim" not in done.stdout
    done = checked('[[proxy.route]]\nprefix = "/a"\n\nupstream = "http://x"\nhttp3 = true\n')
    assert done.returncode == 1
    problem = (
        r"^problem  proxy +other\.toml, line 5, proxy\.route\[1\]\.http3: there is no key 'http3'; did you mean 'http2'"
    )
    assert re.search(problem, done.stdout, re.MULTILINE)
    done = checked("stall_after_s = 5\n")
    assert done.returncode == 0
    assert re.search(r"^-        proxy +no routes", done.stdout, re.MULTILINE)


async def test_tls_for_callers(tmp_path: Path, upstream: Upstream) -> None:
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    async with proxy("--upstream", upstream.url, "--tls-certificate", "both.pem", cwd=tmp_path) as running:
        assert running.scheme == "https"
        caller = await Caller.ask(running.port, ssl=context, server_hostname="127.0.0.1")
        assert (await caller.rest()).endswith(b"0\r\n\r\n")


# The admin port ---------------------------------------------------------------------------------------------------


async def test_the_admin_port(tmp_path: Path, upstream: Upstream, receiver: Receiver) -> None:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    async with proxy("--upstream", upstream.url, cwd=tmp_path, **exporting) as running:
        for _ in range(3):
            assert await streamed(running.port)

        async def counted() -> bool:
            return (await running.numbers()).sum("streamgauge_streams_total", streamgauge_outcome="completed") == 3

        await until(counted)
        numbers = await running.numbers()
        (first,) = {sample.labels["gen_ai_request_model"] for sample in numbers.samples if "chunk" in sample.name}
        assert first == "gpt-5"
        exemplars = [sample.exemplar for sample in numbers.samples if sample.exemplar]
        assert exemplars
        assert {len(each.labels["trace_id"]) for each in exemplars} == {32}
        for path, text in (("/healthz", b"ready\n"), ("/readyz", b"ready\n")):
            answer = await running.get(path)
            assert (answer.status, answer.body) == (200, text)
            assert answer.headers["cache-control"] == "no-store"
        head = await running.get("/metrics", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 1_000
        packed = await running.get("/metrics", {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body).endswith(b"# EOF\n")
        plain = await running.get("/metrics?name=x")
        assert plain.headers["content-type"].startswith("text/plain; version=")
        for path, method, status in (("/nowhere", "GET", 404), (CHAT, "GET", 404), ("/metrics", "POST", 501)):
            assert (await running.get(path, method=method)).status == status


async def test_metrics_that_go_elsewhere_alone_are_not_served(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, cwd=tmp_path, OTEL_METRICS_EXPORTER="none") as running:
        answer = await running.get("/metrics")
        assert answer.status == 404
        assert b"metrics_exporter" in answer.body
        assert (await running.get("/readyz")).status == 200


async def test_who_is_refused_is_counted(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "tokens").write_text("secret\n")
    async with proxy("--upstream", upstream.url, "--token-file", "tokens", cwd=tmp_path) as running:
        refused = await (await Caller.ask(running.port)).rest()
        assert refused.startswith(b"HTTP/1.1 401 ")
        served = await (await Caller.ask(running.port, headers="x-streamgauge-token: secret\r\n")).rest()
        assert served.startswith(b"HTTP/1.1 200 ")
        numbers = await running.numbers()
        assert numbers.sum("streamgauge_proxy_refused_total", reason="unauthorized") == 1
        assert numbers.sum("streamgauge_proxy_refused_total") == 1


async def test_a_stuck_event_loop_is_not_ready(tmp_path: Path, upstream: Upstream) -> None:
    """Stuck in a dialect that is not ours. The admin port answers, and the loop goes on where it was."""
    stuck_dialect(tmp_path)
    line = f"/={upstream.url},dialect=stuck"
    async with proxy("--route", line, cwd=tmp_path, PYTHONPATH=str(tmp_path)) as running:
        caller = await Caller.ask(running.port)

        async def stuck() -> bytes:
            answer = await running.get("/readyz")
            return answer.body if answer.status == 503 else b""

        assert re.fullmatch(rb"the event loop has not turned for \d+ s\n", await until(stuck))
        assert (await running.get("/healthz")).status == 200
        assert (await running.get("/metrics")).status == 200
        (tmp_path / "released").touch()
        assert (await caller.rest()).endswith(b"0\r\n\r\n")

        async def ready() -> bool:
            return (await running.get("/readyz")).status == 200

        await until(ready)


def test_a_loop_that_never_turns_again_is_not_alive() -> None:
    process = Process(load(upstream="http://x", environ={}), socket.socket(), None)  # type: ignore[arg-type]
    assert process.state() == (True, False, "starting")
    process._beat = time.monotonic() - processes.STUCK_S - 1
    assert process.state() == (True, False, "the event loop has not turned for 6 s")
    process._beat = time.monotonic() - processes.DEAD_S - 1
    assert process.state() == (False, False, "the event loop has not turned for 31 s")
    process._listener.close()


# The end ----------------------------------------------------------------------------------------------------------


async def held(running: Proxy) -> Caller:
    caller = await Caller.ask(running.port, HELD)
    await caller.first()
    return caller


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_streams_may_finish(
    tmp_path: Path, upstream: Upstream, receiver: Receiver, number: signal.Signals
) -> None:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    async with proxy("--upstream", upstream.url, cwd=tmp_path, **exporting) as running:
        caller = await held(running)
        running.tell(number)
        await running.draining()
        assert (await running.get("/healthz")).status == 200
        assert (await running.get("/readyz")).body == b"draining\n"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", running.port)
        assert (await running.numbers()).sum("streamgauge_streams_active") == 1
        upstream.release.set()
        assert (await caller.rest()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert await running.ended() == 0
    assert outcomes(receiver) == ["completed"]


async def test_after_the_grace_the_rest_is_cut(tmp_path: Path, upstream: Upstream, receiver: Receiver) -> None:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    async with proxy("--upstream", upstream.url, "--grace", "0.3", cwd=tmp_path, **exporting) as running:
        caller = await held(running)
        began = time.monotonic()
        running.tell(signal.SIGTERM)
        assert not (await caller.rest()).endswith(b"0\r\n\r\n")
        assert time.monotonic() - began >= 0.3
        await asyncio.wait_for(upstream.left.wait(), 20)
        assert await running.ended() == 0
        assert await running.logged("no more callers are accepted; 1 open streams have 0.3 s")
    assert outcomes(receiver) == ["shutdown"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_told_twice_it_ends_at_once(
    tmp_path: Path, upstream: Upstream, receiver: Receiver, number: signal.Signals, code: int
) -> None:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    async with proxy("--upstream", upstream.url, "--grace", "600", cwd=tmp_path, **exporting) as running:
        caller = await held(running)
        running.tell(number)
        await running.draining()
        running.tell(number)
        assert await running.ended() == code
        assert not (await caller.rest()).endswith(b"0\r\n\r\n")
    assert outcomes(receiver) == ["shutdown"]


async def test_a_hang_up_reloads_nothing_and_says_so(tmp_path: Path, upstream: Upstream) -> None:
    async with proxy("--upstream", upstream.url, cwd=tmp_path) as running:
        running.tell(signal.SIGHUP)
        await running.logged("SIGHUP: nothing is reloaded")
        assert await streamed(running.port)


async def test_a_terminal_that_hangs_up_ends_it(tmp_path: Path, upstream: Upstream) -> None:
    ours, its = os.openpty()
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamgauge", "proxy", "--port", "0", "--admin-port", "0", "--upstream", upstream.url,
        cwd=tmp_path, env=environment(), stdin=its, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    os.close(its)
    assert done.stdout is not None
    await asyncio.wait_for(done.stdout.readline(), 20)
    done.send_signal(signal.SIGHUP)
    assert await asyncio.wait_for(done.wait(), 20) == 0
    os.close(ours)


@pytest.fixture
def silent() -> Iterator[str]:
    """A collector that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_dead_collector_holds_up_neither_streams_nor_the_end(
    tmp_path: Path, upstream: Upstream, silent: str, workers: str
) -> None:
    arguments = ("--upstream", upstream.url, "--set", "shutdown_timeout_s=1", "--workers", workers)
    variables: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": silent, "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    async with proxy(*arguments, cwd=tmp_path, **variables) as running:
        assert all(await asyncio.gather(*(streamed(running.port) for _ in range(10))))
        began = time.monotonic()
        running.tell(signal.SIGTERM)
        assert await running.ended() == 0
        assert time.monotonic() - began < 8, "1 s for exporters, on a busy machine; an exporter by itself takes 10"
